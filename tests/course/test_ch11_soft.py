"""Chapter 11, sections 3 and 4: the references against independent solutions, the studies, and what the figures say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cql_tutorial.course import SESSION
from cql_tutorial.course.checker import check_answer
from cql_tutorial.course.exercises import ch11
from cql_tutorial.course.figures import ch11_soft as figures
from cql_tutorial.course.studies import ch11_soft as study
from cql_tutorial.envs import Gridworld
from cql_tutorial.envs.tabular import TabularWorld
from cql_tutorial.errors import DataError
from cql_tutorial.evaluation.true_values import soft_optimal_q

torch.set_num_threads(1)
DOUBLE = torch.float64


# ---------------------------------------------------------------- 11.4
@pytest.mark.parametrize(("discount", "steps"), [(0.5, 3), (0.9, 1), (0.95, 40)])
def test_a_constant_adds_up_as_a_loop_says(discount: float, steps: int) -> None:
    constants = (0.7 * 3 * math.log(2), 0.7 * math.log(11))
    for found, constant in zip(ch11.shift_of_q(0.7, 3, 11, discount, steps), constants, strict=True):
        shift = 0.0  # of Q on the last step
        for _ in range(steps - 1):
            shift = discount * (shift + constant)
        assert found == pytest.approx(shift, abs=1e-12)


def test_in_a_world_without_an_end_the_two_forms_differ_by_it() -> None:
    draw = torch.Generator().manual_seed(3)
    chances = torch.softmax(torch.randn(5, 4, 5, generator=draw, dtype=DOUBLE), -1)
    world = TabularWorld.from_tables(chances, torch.randn(5, 4, generator=draw, dtype=DOUBLE), [False] * 5)
    both = [soft_optimal_q(world, 0.3, 0.9, prior=prior) for prior in ("none", "uniform")]
    shift = ch11.shift_of_q(0.3, 2, 4, 0.9, math.inf)[1]
    torch.testing.assert_close(both[0] - both[1], torch.full((5, 4), shift, dtype=DOUBLE))


# ---------------------------------------------------------------- 11.5
def bisected(q: Any, shares: Any, alpha: float) -> float:
    """V by halving an interval: no closed form."""
    low, high = float(min(q)) - 1, float(max(q)) + 2 * alpha
    for _ in range(200):
        v = 0.5 * (low + high)
        weight = sum(p * max(1 + (x - v) / (2 * alpha), 0) for x, p in zip(q, shares, strict=True))
        low, high = (v, high) if weight > 1 else (low, v)
    return 0.5 * (low + high)


@given(
    values=st.lists(st.floats(-20, 20), min_size=1, max_size=8),
    alpha=st.floats(0.01, 20),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=120, deadline=None, derandomize=True)
def test_the_sparse_value_is_the_root(values: list[float], alpha: float, seed: int) -> None:
    shares = np.random.default_rng(seed).dirichlet(np.ones(len(values)))
    found = ch11.sparse_value(torch.tensor(values, dtype=DOUBLE), torch.from_numpy(shares), alpha)
    assert float(found) == pytest.approx(bisected(values, shares, alpha), abs=1e-7)


@pytest.mark.parametrize(("id", "answer"), [("11.5", lambda q, p, a: torch.tensor(bisected(q, p, a), dtype=DOUBLE))])
def test_another_way_to_the_same_number_passes(id: str, answer: Any) -> None:
    assert check_answer(SESSION.find(id), answer).status == "passed"


def by_one_pass_over_all(q: torch.Tensor, shares: torch.Tensor, alpha: float) -> torch.Tensor:
    return (shares * (1 + q / (2 * alpha))).sum() * 2 * alpha - 2 * alpha


def log_mean_exp(q: torch.Tensor, shares: torch.Tensor, alpha: float) -> torch.Tensor:
    return alpha * (shares * (q / alpha).exp()).sum().log()


def constants_for_ever(temperature: float, dim: int, many: int, discount: float, steps: int) -> list[float]:
    return [temperature * x * discount / (1 - discount) for x in (math.log(2**dim), math.log(many))]


@pytest.mark.parametrize(
    ("id", "answer", "mutant"),
    [
        ("11.4", constants_for_ever, "for ever"),
        ("11.5", by_one_pass_over_all, "mean"),
        ("11.5", log_mean_exp, "exponential"),
        ("11.6", lambda: 7, "line 7"),
    ],
)
def test_an_answer_written_otherwise_gets_the_message_that_fits(id: str, answer: Any, mutant: str) -> None:
    assert check_answer(SESSION.find(id), answer).mutant == mutant


def test_the_quiz_s_number_is_the_exercise_s() -> None:
    q, shares = torch.tensor([6.0, 2.0], dtype=DOUBLE), torch.tensor([0.1, 0.9], dtype=DOUBLE)
    for alpha, counts in ((0.199, False), (0.201, True)):
        v = float(ch11.sparse_value(q, shares, alpha))
        assert (1 + (2.0 - v) / (2 * alpha) > 1e-9) is counts


# ---------------------------------------------------------------- 11.6
@pytest.mark.parametrize(("share", "weight"), [(2.0, 0.5), (1.0, 1.0)])  # the listing's 1 / (2 alpha), and 1 / alpha
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.5])
def test_the_listing_s_loss_rests_where_the_mean_weight_is_one_half(share: float, weight: float, alpha: float) -> None:
    rows = torch.tensor([1.0, 0.8, 0.8, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0], dtype=DOUBLE)
    v, mean = study.at_rest(rows, alpha, 1 / (share * alpha))
    assert mean == pytest.approx(weight, abs=1e-6)
    equal = torch.full((10,), 0.1, dtype=DOUBLE)
    right = float(ch11.sparse_value(rows, equal, alpha))
    assert v == pytest.approx(right, abs=1e-6) if weight == 1 else v > right


# ---------------------------------------------------------------- two equal peaks
def test_what_is_kept_of_two_peaks() -> None:
    world, points = study.two_peaks(), torch.linspace(-1, 1, 2001, dtype=DOUBLE)
    flat = study.kept(world, points, torch.ones(2001))
    mean = 2 * 0.15 * math.sqrt(2 * math.pi) / 2  # the area of two bumps over the length of the axis, up to their tails
    assert flat.reward == pytest.approx(mean, abs=2e-3) and flat.lesser == pytest.approx(0.5, abs=1e-3)
    assert flat.valley == pytest.approx(0.2, abs=2e-3)
    right = study.kept(world, points, (-0.5 * ((points - 0.5) / 0.02) ** 2).exp())
    assert right.reward > 0.98 and right.lesser < 1e-6 and right.valley < 1e-6


def test_a_log_of_uniform_actions_is_one_step_long() -> None:
    log = study.uniform_log(study.two_peaks(), 300, seed=1)
    assert len(log) == 300 and bool(log.terminations.all())
    torch.testing.assert_close(log.rewards, study.two_peaks().reward_function(log.actions))
    assert float(log.actions.abs().max()) <= 1 and abs(float(log.actions.mean())) < 0.1


# ---------------------------------------------------------------- the cliff
def test_the_sum_form_stays_away_from_the_goal_and_the_mean_form_does_not() -> None:
    world = Gridworld()
    mean, total = (study.solved(world, 1.0, form) for form in ("mean", "sum"))
    assert total.greedy_true < -2 < 4.2 < mean.greedy_true <= 4.25
    assert total.own > 20 and mean.own < mean.softmax_true  # the prior costs, the bonus pays
    for found in (mean, total):
        assert found.greedy_true >= found.softmax_true
        assert float(found.greedy_values[world.start_state]) == found.greedy_true


# ---------------------------------------------------------------- a good and a bad action
@pytest.mark.parametrize("level", [0.3, 0.5, 0.7, 0.9])
def test_an_expectile_is_where_its_two_sides_balance(level: float) -> None:
    draw = torch.Generator().manual_seed(5)
    q, shares = torch.randn(6, generator=draw, dtype=DOUBLE), torch.softmax(torch.randn(6, generator=draw), 0).double()
    v = study.expectile(q, shares, level)
    assert float((shares * (level - (q < v).double()).abs() * (q - v)).sum()) == pytest.approx(0, abs=1e-12)


def test_methods_agree_where_they_must_and_sparse_weights_are_0_right_of_the_line() -> None:
    good = torch.linspace(0.05, 0.95, 19, dtype=DOUBLE)
    found = study.extracted(ch11.sparse_value, good, alpha=0.1)
    assert list(found) == list(study.METHODS)
    torch.testing.assert_close(found["BC"].value, good)
    torch.testing.assert_close(found["BC"].bad, 1 - good)
    torch.testing.assert_close(found["sparse"].value, found["sparse, (Q - V)+"].value)
    assert bool((found["sparse"].bad[good > 0.2001] == 0).all() and (found["sparse"].bad[good < 0.1999] > 0).all())
    assert float(found["sparse, (Q - V)+"].bad.max()) == 0
    below = good < 0.1999
    torch.testing.assert_close(found["sparse"].value[below], good[below])  # V is the mean
    doubled = study.extracted(ch11.sparse_value, good, alpha=0.2, distance=2.0)["sparse"]  # in another unit of reward
    torch.testing.assert_close(doubled.value, 2 * found["sparse"].value)
    torch.testing.assert_close(doubled.bad, found["sparse"].bad)


# ---------------------------------------------------------------- logs mixed with noise
def test_a_mixed_log_has_its_share_of_random_episodes() -> None:
    pure, half, noise = (study.mixed_maze_log(share, episodes=20, seed=2) for share in (0.0, 0.5, 1.0))
    assert len(pure) == len(half) == len(noise) == 20 * 60
    returns = [log.rewards.view(20, 60).sum(1) for log in (pure, half, noise)]
    assert float(returns[0].min()) > 30 and float(returns[2].max()) < 20
    assert bool((returns[1][:10] > 30).all()) and bool((returns[1][10:] < 20).all())


# ---------------------------------------------------------------- the tables
ROWS = [
    {"split": split, "method": method, "share": share, "draw": str(draw), "return": value}
    for split, method, share, draw, value in (
        ("report", "a", "0.90", 0, "1.5"),
        ("report", "a", "0.90", 1, "2.5"),
        ("report", "b", "0.9", 1, "4.0"),
        ("report", "b", "", 0, "9.0"),
        ("tune", "a", "0.9", 7, "99"),
        ("report", "a", "0.5", 0, ""),
    )
]


def test_numbers_are_chosen_by_value_and_tuning_rows_never() -> None:
    assert study.numbers(ROWS, "return", method="a", share=0.9) == [1.5, 2.5]
    assert study.numbers(ROWS, "return", method="b") == [4.0, 9.0]
    assert study.paired(ROWS, "return", {"method": "b", "share": 0.9}, {"method": "a", "share": 0.9}) == [1.5]
    for empty in ({"method": "c"}, {"method": "a", "share": 0.5}):
        with pytest.raises(DataError, match="return"):
            study.numbers(ROWS, "return", **empty)
    with pytest.raises(DataError, match="no draw with both"):
        study.paired(ROWS, "return", {"method": "b"}, {"method": "c"})


def test_mixed_logs_are_read_by_method_and_share_of_noise() -> None:
    rows = [
        {"algorithm": name, "noise": noise, "draw": str(draw), "split": "report", "return": str(draw + float(noise))}
        for name in study.MIXED.values()
        for noise in ("0.0", "0.75")
        for draw in (0, 1)
    ]
    found = study.mixed([*rows, rows[0] | {"split": "tune"}], "return", without=("BC",))
    assert list(found) == list(study.MIXED)[1:]
    assert all(curve == {0.0: [0.0, 1.0], 0.75: [0.75, 1.75]} for curve in found.values())
    assert study.told_apart([1.0, 1.1, 0.9]) == "more" and study.told_apart([-1.0, -1.1, -0.9]) == "less"
    assert study.told_apart([1.0, -1.1, 0.3]) == "not told apart"


# ---------------------------------------------------------------- figures
def test_the_peaks_picture_says_what_its_densities_do() -> None:
    points = np.linspace(-0.99, 0.99, 199)
    exact = sum(np.exp(-0.5 * ((points - c) / 0.05) ** 2) for c in (-0.5, 0.5))
    left, across = np.exp(-0.5 * ((points + 0.5) / 0.05) ** 2), np.exp(-0.5 * (points / 0.6) ** 2)
    drawn = np.concatenate([np.full(40, -0.5), np.full(60, 0.5)])
    said = figures.two_peaks_densities(points, exact, [left, across], drawn).caption
    assert said.startswith("Every tanh-Gaussian leaves") and said.endswith("keeps both peaks.")
    said = figures.two_peaks_densities(points, exact, [left, exact], drawn[50:]).caption
    assert said.startswith("Not every") and said.endswith("keeps one peak.")


def test_the_table_of_peaks_tells_each_panel_s_means() -> None:
    panel = {"energy": {4: [0.5, 0.7], 64: [0.1, 0.1]}, "gaussian": [0.4, 0.6], "best": 0.45}
    figure = figures.two_peaks_table({f"panel {i}": panel for i in range(4)}, unit="distance")
    assert "panel 3: SAC 0.50, best Gaussian 0.45, energy 0.60 (K = 4), 0.10 (K = 64)" in figure.caption
    assert len(figure.axes) == 6


def test_good_and_bad_tells_the_probabilities_where_asked() -> None:
    good = torch.linspace(0.05, 0.95, 19, dtype=DOUBLE)
    found = study.extracted(ch11.sparse_value, good, alpha=0.1)
    caption = figures.good_and_bad(good, found, alpha=0.1, at=(0.1, 0.5)).caption
    assert "p = 0.1: BC 0.90" in caption and "sparse 0.45" in caption and "p = 0.5: BC 0.50" in caption


def maze_rows() -> list[dict[str, str]]:
    """Two draws of every agent of `soft-maze` at alpha 0.1, of two without the penalty, and a tuning row."""
    rows = []
    for number, (name, wanted) in enumerate(study.BACKUPS.items()):
        for alpha in (0.1, 0.0) if name in ("CQL with an actor", "mean form, T = 1") else (0.1,):
            for draw in (0, 1):
                measured = {column: number + draw - alpha for column in study.COLUMNS.values()}
                about = {**wanted, "cql_alpha": alpha, "draw": draw, "split": "report"}
                rows.append({key: str(value) for key, value in (about | measured).items()})
    return [*rows, rows[0] | {"split": "tune", "return": "999", "estimation_error": ""}]


def test_backups_are_told_by_agent_those_without_a_penalty_last() -> None:
    found = study.backups(maze_rows())
    last = ["no penalty: SAC", "no penalty: mean form, T = 1"]
    assert list(found) == [*study.BACKUPS, *last]
    assert found["E[Q], T = 0.1"]["own"] == pytest.approx([1.9, 2.9])
    assert found[last[1]]["greedy"] == [4.0, 5.0]
    caption = figures.soft_backups(found).caption
    assert "Means over 2 draws. CQL with an actor: return 0.4, drawn 0.4, error +0.4, to its own truth +0.4" in caption


def test_mixed_logs_tell_means_and_intervals() -> None:
    returns, errors = [1.0, 2.0, 3.0], [-1.0, 0.0, 4.0]
    curve = {"BC": {0.0: returns, 0.9: errors}, "other": {0.0: returns, 0.9: returns}}
    figure = figures.mixed_logs({"return": curve, "V": curve}, caption="Return", labels={"V": "estimation error"})
    assert figure.caption.startswith("Return at 0.9 random rows: BC 1.0") and "other 2.0" in figure.caption
    assert len(figure.png()) > 1000
