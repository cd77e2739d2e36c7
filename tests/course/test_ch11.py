"""Chapter 11, calibration and ensembles: its reference against the package, its studies by hand, its sentences."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest
import torch

from cql_tutorial import losses, make_agent
from cql_tutorial.course.exercises import ch11
from cql_tutorial.course.figures import Course, bounded_push, critics_agree, online_curves
from cql_tutorial.course.registry import EXERCISES
from cql_tutorial.course.sliders import explore_bound
from cql_tutorial.course.studies import ch11 as study
from cql_tutorial.course.studies.common import numbers
from cql_tutorial.errors import DataError
from experiments import calibration
from tests import ROOT

torch.set_num_threads(1)
DOUBLE = torch.float64
NOTEBOOK = ROOT / "notebooks" / "11_extensions.ipynb"


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


# ---------------------------------------------------------------- 11.1
@pytest.mark.parametrize("seed", range(3))
def test_the_calibrated_penalty_is_the_packages(seed: int) -> None:
    q, density, q_data, returns = normal(6, 7, seed=seed), normal(6, 7, seed=9), normal(6, seed=8), normal(6, seed=7)
    own = torch.arange(7) >= 3
    parts = [x.clone().requires_grad_() for x in (q, q_data) for _ in range(2)]
    mine = ch11.calibrated_penalty(parts[0], density, own, parts[2], returns)
    raised = torch.cat([parts[1][:, :3], losses.calibrate(parts[1][:, 3:], returns)], -1)
    theirs = losses.cql_penalty(raised[None], density, parts[3][None])[0]
    torch.testing.assert_close(mine.mean(), theirs, rtol=1e-12, atol=1e-12)
    first = torch.autograd.grad(mine.mean(), parts[::2])
    second = torch.autograd.grad(theirs, parts[1::2])
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert bool(((first[0] == 0) == (own & (q < returns[:, None]))).all())


def test_the_penalty_is_cqls_where_nothing_is_below_the_bound() -> None:
    q, density, q_data = normal(4, 5), normal(4, 5, seed=1), normal(4, seed=2)
    own = torch.tensor([False, True, True, False, True])
    found = ch11.calibrated_penalty(q, density, own, q_data, torch.full((4,), -100.0, dtype=DOUBLE))
    torch.testing.assert_close(found.mean(), losses.cql_penalty(q[None], density, q_data[None])[0])


def test_where_the_push_lands_is_exact_and_adds_up_without_a_bound() -> None:
    free, tied = (study.push_of(ch11.calibrated_penalty, bound) for bound in (-1.0, 5.0))
    assert float(free.share.sum()) == pytest.approx(1.0, abs=1e-12)
    assert bool((free.actions.diff() >= 0).all()) and int(free.from_policy.sum()) == 2000
    assert bool((tied.share[tied.from_policy] == 0).all()) and 0 < float(tied.share.sum()) < 0.1
    caption = bounded_push({-1.0: free, 5.0: tied}, "one penalty").caption
    assert caption.startswith("One penalty; the pull-up is 1. return-to-go -1: 0% of the policy's candidates raised")
    assert "return-to-go 5: 100% of the policy's candidates raised, push-down 0.00 on them" in caption
    assert "return-to-go 5: 100%" in explore_bound({-1.0: free, 5.0: tied}).captions[1]


# ---------------------------------------------------------------- 11.2
def test_run_x_has_the_mistake_of_its_letter() -> None:
    log = study.narrow_log(episodes=2)
    settings = {"state_dim": 2, "action_dim": 2, "hidden_dim": 8, "cql_n_actions": 2, "device": "cpu"}
    agent = study.run_x(settings)
    assert agent.config.version == "uniform_too" and "uniform" in ch11.MISTAKES[ch11.mistake_of_run_x()]
    assert sorted(ch11.MISTAKES) == list("abcdef") and len(EXERCISES["11.2"].mutants) == 5
    returns = agent.prepare_dataset(log).batch_returns
    found = study.beside_returns(agent, log, returns, every=1)
    assert found["returns"] == pytest.approx(float(returns.mean())) and 0 <= found["bound rate"] <= 1
    low = study.beside_returns(agent, log, returns + 1000, every=1)
    assert low["bound rate"] == 1.0 and low["logged"] == pytest.approx(found["logged"] - 1000, abs=1e-2)
    kept = study.with_returns(log, torch.full((len(log),), -3.0))
    assert agent.prepare_dataset(kept).batch_returns.unique().tolist() == [-3.0]


def test_what_a_run_reads_rules_out_the_letters_of_other_returns() -> None:
    """11.2 prints the mean of the returns-to-go that each run was trained on: b and f would change it, d does not."""
    log = study.narrow_log(episodes=2)
    settings = {"state_dim": 2, "action_dim": 2, "hidden_dim": 8, "cql_n_actions": 2, "discount": 0.95, "device": "cpu"}

    def reads(version: str) -> float:
        agent = make_agent("cal-ql-version", {**settings, "version": version})
        return float(agent.prepare_dataset(log).batch_returns.double().mean())

    right = reads("correct")
    assert [reads(name) for name in ("uniform_too", "after_density", "min_for_max")] == [right] * 3
    assert float(study.run_x(settings).prepare_dataset(log).batch_returns.double().mean()) == right
    assert reads("undiscounted") > 1.3 * right and reads("other_unit") == pytest.approx(10 * right, rel=1e-5)


def test_the_chapters_settings_are_those_of_the_table() -> None:
    """The live runs and the tables speak of one agent."""
    cells = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    source = next(text for text in cells if "WIDE = {" in text)
    narrow = study.narrow_log()
    scope: dict[str, Any] = {"script_log": narrow}
    exec("WIDE = {" + source.partition("WIDE = {")[2].partition("}")[0] + "}", scope)
    job = calibration.Job("wide", calibration.SETTINGS_OF["wide"], "cal-ql", "kept", 0)
    theirs = calibration.settings_of(job)
    assert scope["WIDE"] == {key: theirs[key] for key in scope["WIDE"]}
    assert set(theirs) - set(scope["WIDE"]) <= {"seed", "backup_entropy"}
    assert torch.equal(narrow.actions, calibration.log(0).actions)


# ---------------------------------------------------------------- rows by hand
def made(setting: str, algorithm: str, arm: str, draw: int, returns: list[float], **more: Any) -> list[dict[str, str]]:
    about = {"setting": setting, "algorithm": algorithm, "arm": arm, "draw": str(draw), "split": "report"}
    rows = []
    for i, x in enumerate(returns):
        values = {"return": str(x), "predicted": str(x - 1), "true": "" if i % 2 else str(x)}
        rows.append({**about, "step": str(60 * i), **values, **more})
    return rows


def table(dropped: float) -> list[dict[str, str]]:
    """Three draws; kept, both stay at 40; dropped, CQL reaches 41 and Cal-QL 41 plus ``dropped`` on average."""
    rows = []
    for draw in range(3):
        for algorithm in ("cql", "cal-ql"):
            rows += made("wide", algorithm, "kept", draw, [40.0, 40.0 + 0.1 * draw, 40.0])
            more = dropped if algorithm == "cal-ql" else 0.0
            rows += made("wide", algorithm, "dropped", draw, [40.0, 38.0 + more, 44.0 + more + 0.1 * draw * (more > 0)])
    return rows


def test_curves_are_summed_up_and_paired_draw_by_draw() -> None:
    rows = table(5.0)
    curve = study.curves(rows, "wide", "cql", "dropped", "return")
    assert curve[1] == {0: 40.0, 60: 38.0, 120: 44.0}
    found = {what: study.summary(curve[1], what) for what in ("first", "last", "mean", "fall")}
    assert found == {"first": 40.0, "last": 44.0, "mean": 41.0, "fall": -2.0}
    assert study.summary({0: 1.0, 60: 2.0}, "fall") == 0.0
    assert study.curves(rows, "wide", "cql", "dropped", "true")[0] == {0: 40.0, 120: 44.0}
    mean, half, draws = study.gain(rows, ("wide", "cal-ql", "dropped"), ("wide", "cql", "dropped"), "last")
    assert (mean, draws) == (pytest.approx(5.1), 3) and 0 < half < 0.3
    assert study.reached(rows, ("wide", "cal-ql", "dropped"), 49.05) == (2, 3)
    with pytest.raises(DataError, match="return of iql, kept, in wide"):
        study.curves(rows, "wide", "iql", "kept", "return")


def test_a_plan_must_not_be_beaten_and_no_draw_may_fall_far() -> None:
    rows = table(5.0)
    for draw in range(3):
        for arm in ("kept", "dropped"):
            rows += made("narrow", "cal-ql", arm, draw, [40.0, 41.0, 41.0 + 0.1 * draw])
            rows += made("narrow", "cql", arm, draw, [40.0, 40.5, 41.5 + 0.1 * draw + (arm == "dropped")])
    assert study.plan_fault(rows, "cal-ql", ("wide", "dropped")) is None
    said = str(study.plan_fault(rows, "cal-ql", ("narrow", "dropped")))
    assert said.startswith("another of its plans earned 5.0 ± ") and "wide" not in said  # which one is the answer
    assert study.plan_fault(rows, "cql", ("narrow", "dropped")) is None
    assert "another of its plans earned 0.5" in str(study.plan_fault(rows, "cql", ("narrow", "kept")))
    deep = [row for row in rows if (row["setting"], row["algorithm"], row["draw"]) != ("narrow", "cql", "2")]
    for arm in ("kept", "dropped"):
        deep += made("narrow", "cql", arm, 2, [40.0, 35.5, 47.0])
    said = str(study.plan_fault(deep, "cql", ("narrow", "dropped")))
    assert "one draw fell from 40.0 to 35.5" in said and "a tenth" in said


def test_versions_are_compared_with_the_right_one_on_the_same_draw() -> None:
    rows = [
        {"version": name, "draw": str(draw), "split": "report", "return": str(40 + shift + draw)}
        for name, shift in (("correct", 0.0), ("no_bound", -1.0), ("other_unit", -30.0))
        for draw in range(3)
    ]
    found = study.version_differences(rows, {"return": "return"})["return"]
    assert found == {"no_bound: CQL": {"": (-1.0, 0.0)}, "other_unit": {"": (-30.0, 0.0)}}
    assert study.told_apart((-1.0, 0.5)) and not study.told_apart((1.0, 1.5))


def test_columns_are_taken_along_the_steps_all_seeds_have() -> None:
    about = {"variant": "two-min", "updates_per_step": "5", "split": "report"}
    rows = [
        {**about, "step": str(step), "return": str(seed + step)}
        for seed in range(3)
        for step in (0, 400, *[800] * (seed < 2))
    ]
    assert numbers(rows, "return", variant="two-min", updates_per_step=5, step=400) == [400, 401, 402]
    found = study.along(rows, "return", updates_per_step=5)
    assert list(found) == [0, 400] and found[400][0] == 401
    with pytest.raises(DataError):
        study.along(rows, "return", updates_per_step=20)


# ---------------------------------------------------------------- pictures
def test_online_curves_tell_first_and_last_and_draw_every_draw() -> None:
    rows = table(5.0)
    columns = ("return", "predicted", "true")
    course = {
        name: Course(*[study.curves(rows, "wide", key, "dropped", column) for column in columns])
        for name, key in (("CQL", "cql"), ("Cal-QL", "cal-ql"))
    }
    figure = online_curves({"dropped": course}, 39.0, 44.0)
    assert figure.caption == (
        "Mean return, first and last. dropped, 3 draws: CQL from 40.0 to 44.0 (lowest of a draw 38.0), Cal-QL from "
        "40.0 to 49.1 (lowest of a draw 40.0)."
    )
    upper, lower = figure.axes
    assert len(upper.get_lines()) == 3 + 1 + 3 + 1 + 1 and len(lower.get_lines()) == 5
    assert list(lower.get_lines()[1].get_xdata()) == [0, 120]  # the truth, where it was measured
    assert not upper.texts
    fallen = course["CQL"].returns[0] | {120: 3.0}
    flat = {"CQL": Course(*[{0: {0: 39.0, 60: 39.1}}] * 3)}
    figure = online_curves({"dropped": course, "control": flat}, 39.0, 44.0)
    assert figure.axes[3].get_title() == "a scale of its own" and not figure.axes[2].get_title()
    figure = online_curves({"dropped": course, "again": course}, 39.0, 44.0)
    assert figure.axes[2].get_ylim() == figure.axes[3].get_ylim() and not figure.axes[3].get_title()
    deep = {"CQL": course["CQL"]._replace(returns={**course["CQL"].returns, 0: fallen})}
    figure = online_curves({"dropped": deep}, 39.0, 44.0)
    assert "(lowest of a draw 3.0)" in figure.caption
    assert figure.axes[0].get_ylim()[0] == 30.0 and figure.axes[0].get_ylim()[1] > 44.2
    (mark,) = figure.axes[0].texts
    assert mark.get_text().startswith("CQL, one draw: to 3.0") and mark.get_position()[0] == 120


def test_critics_that_agree_are_told_with_their_error() -> None:
    offline = {"two": ([6.0, -8.0], [0.2, 0.4]), "ten": ([1.0, 1.0], [0.1, 0.1])}
    online = {"two, 1 a step": {0: (-1200.0, 10.0), 400: (-900.0, 20.0)}}
    figure = critics_agree(offline, online)
    assert figure.caption == (
        "Offline. two: spread 0.30, size of the error 7.0; ten: spread 0.10, size of the error 1.0. "
        "Online, mean return: two, 1 a step -900 at step 400."
    )
