"""Figures carry a caption: it follows the data, and the picture shows them."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cql_tutorial import History
from cql_tutorial.course.figures import (
    HANGING,
    errors_by_draw,
    forest,
    logged_curves,
    maze_paths,
    maze_values,
    penalty_errors,
    pendulum_moment,
    pendulum_strip,
    prediction_and_truth,
    push_and_error,
    push_down_shares,
    record_path,
    tuning_curves,
)
from cql_tutorial.course.figures.base import ALGORITHMS, BLACK, GREEN, LEARNED, VERMILION, algorithm_style, word_for
from cql_tutorial.course.sliders import Explorer, explore_maze, explore_pitfalls, watch_maze, watch_pendulum
from cql_tutorial.course.studies import ch08 as studies_08
from cql_tutorial.course.studies.common import histories
from cql_tutorial.envs import Maze, Pendulum


def history(predicted: float, over: float, impossible: float) -> History:
    measured = {"predicted": predicted, "predicted_p90": predicted + 1, "true": -60.0}
    rows: list[dict[str, float]] = [{"step": 50.0, "td_loss": 1.0}]  # a row of training metrics, without a measurement
    for step in (100.0, 200.0):
        rows.append({"step": step, **measured, "share_over": over, "share_impossible": impossible})
    return History(rows)


def test_the_caption_follows_the_data() -> None:
    figure = prediction_and_truth({"A": [history(20.0, 1.0, 0.8)], "B": [history(-70.0, 0.4, 0.0)] * 3})
    caption = (
        "A: the prediction ends above the truth at nearly every state, above it on average; many of its values cannot "
        "exist. B: the prediction ends on both sides of the truth, near it on average; few or none of its values are "
        "impossible."
    )
    assert repr(figure) == str(figure) == caption
    below = prediction_and_truth({"C": [history(-90.0, 0.05, 0.1)]})
    assert "below the truth at nearly every state, below it on average; few or none" in repr(below)
    few_high = repr(prediction_and_truth({"C": [history(-40.0, 0.6, 0.0)]}))
    assert "on both sides of the truth, above it on average" in few_high, "a mean far off is told whatever the shares"
    unbounded = prediction_and_truth({"A": [history(20.0, 1.0, 0.8)]}, bound=None)
    assert repr(unbounded) == "A: the prediction ends above the truth at nearly every state, above it on average."
    assert not unbounded.axes[0].texts and unbounded.axes[0].get_ylim()[0] > -70.0


def test_the_rows_of_the_signature_table_are_histories_by_seed() -> None:
    rows = [
        {"task": "maze", "algorithm": name, "cql_alpha": alpha, "seed": seed, "step": step, "predicted": f"{seed}.5"}
        for name, alpha in (("sac", ""), ("cql", "5"))
        for seed in ("0", "2")
        for step in ("250", "500")
    ]
    runs = histories(rows)
    assert list(runs) == ["offline SAC", "CQL, alpha = 5"] and all(len(each) == 2 for each in runs.values())
    assert [run["step"] for run in runs["offline SAC"]] == [[250.0, 500.0]] * 2
    assert [run.last("predicted") for run in runs["CQL, alpha = 5"]] == [0.5, 2.5]


def test_an_algorithm_has_one_colour_whatever_its_panel_is_called() -> None:
    assert algorithm_style("offline SAC (no penalty)") is ALGORITHMS["SAC"]
    assert algorithm_style("CQL, alpha 10, three seeds") is algorithm_style("CQL: mine") is ALGORITHMS["CQL"]
    assert algorithm_style("hard maximum") is LEARNED and algorithm_style("catalog") is LEARNED
    figure = prediction_and_truth({"offline SAC": [history(20.0, 1.0, 0.8)], "CQL": [history(-70.0, 0.1, 0.0)]})
    drawn = [axis.get_lines()[1].get_color() for axis in figure.axes]
    assert drawn == [ALGORITHMS["SAC"]["color"], ALGORITHMS["CQL"]["color"]]
    assert [word_for(e) for e in (0.1, -0.1, 1e-9)] == ["over", "under", "exact"]


def test_the_curves_are_the_measured_rows_on_common_limits() -> None:
    figure = prediction_and_truth({"A": [history(20.0, 1.0, 0.8)], "B": [history(-70.0, 0.1, 0.0)] * 3})
    first, second = figure.axes
    assert first.get_ylim() == second.get_ylim() and first.get_ylim()[1] > 20.0
    solid = [line for line in first.get_lines() if line.get_label().startswith("predicted (min")]
    assert solid[0].get_xdata().tolist() == [100.0, 200.0] and solid[0].get_ydata().tolist() == [20.0, 20.0]
    assert not any(math.isnan(y) for line in second.get_lines() for y in line.get_ydata())
    assert len(second.get_lines()) == 3 * 4 + 1  # three seeds and their mean, three curves; the bound
    assert figure.png().startswith(b"\x89PNG")


# ---------------------------------------------------------------- policies that act
def still(observations: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.zeros(len(observations), 1)


def test_a_recorded_path_is_the_worlds_own() -> None:
    world, start = Pendulum(), torch.tensor([[0.1, 0.0], [3.0, 0.5]])
    path = record_path(world, still, start, steps=3)
    assert path.shape == (4, 2, 2) and torch.equal(path[0], start)
    assert torch.allclose(path[2], world.step(path[1], torch.zeros(2, 1))[0])
    assert len(record_path(world, still, HANGING)) == world.horizon + 1


def test_a_strip_tells_from_when_on_a_pendulum_is_upright() -> None:
    angles = {"up": [0.1, 0.0, -0.2], "CQL": [3.0, 0.5, 0.2], "log": [3.0, 0.1, 2.0], "hangs": [3.0, 3.3, 3.0]}
    paths = {name: torch.tensor([[a, 0.0] for a in column]) for name, column in angles.items()}
    figure = pendulum_strip(paths, moments=3)
    assert repr(figure) == (
        "up is upright all the time; CQL stays upright from 0.1 s on; log does not end upright; hangs never gets up."
    )
    rods = [line for line in figure.axes[0].get_lines() if line.get_linewidth() == 3.5]
    tips = [line.get_xydata()[1] - line.get_xydata()[0] for line in rods]
    assert len(rods) == 12 and tips[0] == pytest.approx([-math.sin(0.1), math.cos(0.1)])
    told = repr(pendulum_moment(paths, 1))
    assert told == (
        "After 0.05 s: up is upright; CQL is 29 degrees from upright; log is upright; hangs is 171 degrees "
        "from upright."
    )


def test_the_ways_through_the_maze_are_counted_at_the_goal() -> None:
    up = torch.tensor([[[-0.8, 0.0], [-0.7, 0.0]], [[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.9], [0.0, 0.5]]])
    figure = maze_paths(Maze(), {"CQL": up, "log": up.flip(2)})
    assert repr(figure) == "CQL: 1 of 2 starts reach the goal; log: 0 of 2 starts reach the goal within 2 steps."
    assert "CQL: 0 of 2 starts reach the goal; " in repr(maze_paths(Maze(), {"CQL": up, "log": up}, at=1))
    films = watch_maze(Maze(), {"CQL": up}, frames=3), watch_pendulum({"CQL": up[:, :1]}, frames=3)
    assert [len(film.captions) for film in films] == [3, 3] and films[0].play.max == 2
    films[0].slider.index = 2
    assert "CQL: 1 of 2" in films[0].caption.value


# ---------------------------------------------------------------- chapter 07
def test_penalty_errors_are_told_as_means() -> None:
    panels = {
        "A = 1": {"correct": torch.tensor([-0.3, -0.1]), "hard_max": [1.0, 2.0]},
        "A = 6": {"correct": [-0.5, -0.5], "hard_max": [4.0, 5.0]},
    }
    figure = penalty_errors(panels)
    assert figure.caption == (
        "Error of one update's estimate, mean ± standard deviation. A = 6: correct -0.5 ± 0.0, hard max +4.5 ± 0.5."
    )
    first, second = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["correct", "hard max"]
    marks = [line.get_xdata()[0] for line in second.get_lines() if line.get_marker() in ("s", "o")]
    assert marks == [-0.5, 4.5] and figure.png().startswith(b"\x89PNG")


def test_push_down_shares_stack_to_one_beside_the_exact_share() -> None:
    panels = {
        "one": {"exact": [0.25, 0.5, 0.25], "correct": [0.24, 0.5, 0.26], "policy_only": [1.0, 0.0, 0.0]},
        "six": {"exact": [0.04, 0.01, 0.95], "correct": [0.06, 0.0, 0.94], "policy_only": [0.97, 0.0, 0.03]},
    }
    figure = push_down_shares(panels)
    assert figure.caption == (
        "Share of the push-down on the policy's actions. six: exact 0.04, correct 0.06, policy only 0.97."
    )
    for axis, truth in zip(figure.axes, (0.25, 0.04), strict=True):
        ends = [bar.get_x() + bar.get_width() for bar in axis.patches][-3:]
        assert ends == pytest.approx([1.0] * 3)
        assert [line.get_xdata()[0] for line in axis.get_lines()] == [truth]
    assert figure.axes[0].get_yticklabels()[0].get_text() == "exact softmax(Q)"
    assert figure.png().startswith(b"\x89PNG")


def test_logged_curves_tell_the_second_half_and_skip_what_a_run_does_not_log() -> None:
    nan = math.nan
    rows = [{"step": 10.0 * i, "cql_gap": g, "q_value": q} for i, (g, q) in enumerate([(0, 9), (5, 1), (3, 2), (1, 5)])]
    plain = [{"step": 10.0 * i, "q_value": q} for i, q in enumerate([0.0, 1.0, nan, 2.0, 8.0])]
    histories = {"CQL": History(rows), "SAC": History(plain)}
    figure = logged_curves(histories, {"q_value": "mean Q", "cql_gap": "CQL gap"})
    assert figure.caption == "Second half of the runs. mean Q: CQL rises, SAC rises; CQL gap: CQL falls."
    values, gaps = figure.axes
    assert [len(line.get_xdata()) for line in values.get_lines()] == [4, 4]  # the nan is left out
    assert [line.get_label() for line in gaps.get_lines()] == ["CQL"]
    other = History([{"step": row["step"], "cql_gap": -row["cql_gap"], "q_value": row["q_value"]} for row in rows])
    seeds = logged_curves({"CQL": [histories["CQL"], other]}, {"q_value": "mean Q", "cql_gap": "CQL gap"})
    assert seeds.caption == "Second half of the runs. mean Q: CQL rises; CQL gap: CQL no clear trend."
    assert [len(axis.get_lines()) for axis in seeds.axes] == [2, 2]
    assert figure.png().startswith(b"\x89PNG")


def test_a_forest_names_what_is_told_apart_and_worse() -> None:
    panels = {
        "maze": {"batch_max": {"one": (-3.0, 1.0), "own": (-1.0, 1.5)}, "hard_max": {"one": (2.0, 1.0)}},
        "arm": {"batch_max": {"one": (-0.5, 0.6)}, "hard_max": {"one": (-300.0, 20.0), "own": (0.1, 0.2)}},
    }
    figure = forest(panels, unit="return", than="the correct penalty's", worse="left")
    assert figure.caption == ("Return, lower than the correct penalty's. maze: batch max (one). arm: hard max (one).")
    maze, arm = figure.axes
    marks = [line for line in maze.get_lines() if line.get_marker() in ("o", "s")]
    assert [(m.get_marker(), m.get_color()) for m in marks] == [("o", VERMILION), ("s", BLACK), ("o", GREEN)]
    assert [m.get_markerfacecolor() for m in marks] == [VERMILION, "white", GREEN]
    assert [text.get_text() for text in maze.texts + arm.texts] == ["-300"]  # beyond the panel: told by its number
    assert max(arm.get_xlim()) < 10 and [line.get_marker() for line in arm.get_lines()].count("<") == 1
    assert [label.get_text() for label in maze.get_yticklabels()] == ["batch max", "hard max"]
    turned = forest({"maze": {"no_importance_correction": {"one": (3.0, 1.0)}}}, unit="error", than="it", worse="right")
    assert turned.caption == "Error, higher than it. maze: no density: CQL(rho)."
    assert figure.png().startswith(b"\x89PNG") and turned.png().startswith(b"\x89PNG")


def test_errors_by_draw_count_what_lies_above_the_truth() -> None:
    figure = errors_by_draw({"arm": {"tuned": [4.0, 5.0], "push only": [-1.0, 0.5]}}, unit="error")
    assert figure.caption == "Runs that over-estimate. arm: tuned 2 of 2, push only 1 of 2."
    (axis,) = figure.axes
    assert [c.get_offsets()[:, 0].tolist() for c in axis.collections] == [[4.0, 5.0], [-1.0, 0.5]]
    means = [line.get_xdata()[0] for line in axis.get_lines() if line.get_color() == BLACK]
    assert means == [4.5, -0.25] and figure.png().startswith(b"\x89PNG")


def test_tuning_curves_ring_the_best_alpha() -> None:
    figure = tuning_curves({"arm": {"correct": {0.3: 1.0, 1.0: 2.0, 3.0: 2.0}, "hard_max": {0.3: 5.0}}}, unit="return")
    assert figure.caption == "Best alpha on the tuning draws. arm: correct 3, hard max 0.3."
    rings = [line for line in figure.axes[0].get_lines() if line.get_markerfacecolor() == "none"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in rings] == [(3.0, 2.0), (0.3, 5.0)]
    assert figure.axes[0].get_xscale() == "log" and figure.png().startswith(b"\x89PNG")


def plane() -> tuple[Any, torch.Tensor]:
    """Nine states, 41 actions: everything logged at -0.5, the policy at 0.5, the reward 1 everywhere."""
    actions = torch.linspace(-1, 1, 41, dtype=torch.float64)
    behaviour = torch.zeros(9, 41, dtype=torch.float64)
    behaviour[:, 10] = 1.0
    world = SimpleNamespace(
        states=torch.linspace(-1, 1, 9, dtype=torch.float64),
        actions=actions,
        truth=torch.ones(9, 41),
        behaviour=behaviour,
        peak=torch.full((9,), 0.5, dtype=torch.float64),
    )
    return world, torch.ones(9, 41, dtype=torch.float64)


def test_push_and_error_tell_the_push_at_the_policy_and_both_errors() -> None:
    world, q = plane()
    q[:, 10], q[:, 30] = 0.75, 5.0  # a little too low at the log; too high at one of nine actions near the policy
    pushed = torch.zeros(9, 41, dtype=torch.float64)
    pushed[:, 30], pushed[:, 0] = 0.25, 0.75
    figure = push_and_error("hard_max", world, q, pushed)
    assert figure.caption == (
        "hard max: 25% of the push-down lies near the policy's actions; mean error there +0.4, at logged actions -0.25."
    )
    nothing = push_and_error("correct", world, world.truth, torch.zeros(9, 41, dtype=torch.float64))
    assert nothing.caption.startswith("correct: 0% of") and "there +0.0, at logged actions +0.00" in nothing.caption
    meshes = [axis.collections[0].get_array() for axis in figure.axes[:2]]
    assert meshes[0].reshape(41, 9)[10, 0] == 1.0 and meshes[0].reshape(41, 9)[0, 0] == -0.75  # up minus down
    assert meshes[1].reshape(41, 9)[30, 0] == 4.0
    assert figure.png().startswith(b"\x89PNG") and nothing.png().startswith(b"\x89PNG")


# ---------------------------------------------------------------- chapter 08
def snapshot(places: torch.Tensor, good: bool) -> dict[str, torch.Tensor]:
    """The right way with values that grow towards the goal; or: everywhere down and to the left, values all alike."""
    x, y = places.T
    inward = (x.abs() > 0.2).to(x)
    action = torch.stack([-inward * x.sign(), 1 - inward], 1) if good else torch.full_like(places, -0.7)
    distance = torch.where(x.abs() > 0.2, x.abs() + 0.75, (0.75 - y).clamp(min=0))
    value = 18.0 * 0.8 ** (5 * distance) if good else torch.full_like(x, 7.0)
    return {"action": action, "value": value, "error": 0.1 * x}


def test_the_maze_tells_the_way_the_policy_goes_and_where_the_values_are() -> None:
    world = Maze()
    places = studies_08.maze_places(world)
    found = maze_values(world, places, snapshot(places, True), "after 2,000 updates")
    lost = maze_values(world, places, snapshot(places, False), "after 0 updates")
    assert found.caption.startswith(
        "after 2,000 updates: in the left arm the policy goes rightwards, at the crossing up"
    )
    assert "largest at the goal" in found.caption and "not largest" not in found.caption
    assert "falls off with the distance" in found.caption
    assert "goes not rightwards, at the crossing down" in lost.caption and "flat" in lost.caption
    assert [len(axis.collections[0].get_offsets()) for axis in found.axes[:2]] == [len(places)] * 2
    assert found.png().startswith(b"\x89PNG") and lost.png().startswith(b"\x89PNG")


def explorers() -> list[tuple[Explorer, list[str]]]:
    """Both new sliders on small data, and how their captions begin."""
    world, q = plane()
    fitted = {"correct": (q, torch.full_like(q, 1 / 41)), "hard_max": (q + 1, torch.full_like(q, 1 / 41))}
    maze, starts = Maze(), [0, 1500]
    places = studies_08.maze_places(maze, 0.2)
    shots = {updates: snapshot(places, updates > 0) for updates in starts}
    return [
        (explore_pitfalls(world, fitted), ["correct: ", "hard max: "]),
        (explore_maze(maze, places, shots), ["after 0 updates: ", "after 1,500 updates: "]),
    ]


@pytest.mark.slow
def test_the_sliders_of_chapters_07_and_08_swap_pictures_and_leave_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CQL_TUTORIAL_STATIC", raising=False)
    for explorer, begins in explorers():
        assert len(explorer.captions) == 2 and explorer.slider.options[0][0] in ("correct", "0")
        assert all(text.startswith(begin) for text, begin in zip(explorer.captions, begins, strict=True))
        assert begins[0] in explorer.caption.value
        first = bytes(explorer.picture.value)
        explorer.slider.value = 1
        assert bytes(explorer.picture.value) != first and begins[1] in explorer.caption.value
        assert "application/vnd.jupyter.widget-view+json" in explorer._repr_mimebundle_()
        monkeypatch.setenv("CQL_TUTORIAL_STATIC", "1")
        assert explorer._repr_mimebundle_() == {"text/plain": repr(explorer)} and "2 settings" in repr(explorer)
        monkeypatch.delenv("CQL_TUTORIAL_STATIC")
