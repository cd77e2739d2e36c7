"""Chapter 09: the dual's end by another route, the two listings, the five runs, and the regrets of the six rules."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from cql_tutorial import losses
from cql_tutorial.agents import cql
from cql_tutorial.course.exercises import ch09
from cql_tutorial.course.figures import alpha_ladders, held_table, multipliers, regrets
from cql_tutorial.course.sliders import explore_target
from cql_tutorial.course.studies import ch09 as study
from cql_tutorial.course.studies.common import result_rows
from cql_tutorial.errors import ConfigError, DataError
from experiments import off_policy_tables
from experiments.alpha import ALPHAS, LOGS, REPORTED
from tests import ROOT

WORLD = study.Actions()
OPE = result_rows("ope")


def inside(share: float) -> float:
    return WORLD.floor() + share * (WORLD.natural_gap() - WORLD.floor())


# ---------------------------------------------------------------- the dual
@pytest.mark.parametrize("alpha", [0.03, 1.0, 40.0])
def test_a_solved_table_has_the_least_loss(alpha: float) -> None:
    """Against a plain gradient descent in torch on the same loss, written apart."""
    b, r = torch.tensor(WORLD.shares), torch.tensor(WORLD.rewards)
    q = torch.zeros(21, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([q], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-15)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (b * (q - r).square()).sum() + alpha * (torch.logsumexp(q, 0) - math.log(21) - (b * q).sum())
        loss.backward()
        return loss

    for _ in range(20):
        optimizer.step(closure)
    np.testing.assert_allclose(WORLD.solve(alpha), q.detach().numpy(), atol=2e-4)


def test_the_gap_lies_between_floor_and_natural_gap_and_falls_with_alpha() -> None:
    gaps = [WORLD.gap(WORLD.solve(alpha)) for alpha in (1e-3, 0.1, 1.0, 10.0, 1e3)]
    assert gaps == sorted(gaps, reverse=True) and WORLD.natural_gap() > gaps[0] and gaps[-1] > WORLD.floor()
    assert gaps[-1] - WORLD.floor() < 1e-5 and WORLD.natural_gap() - gaps[0] < 0.01
    assert WORLD.gap(np.full(21, 7.0)) == pytest.approx(0)
    assert WORLD.floor() == pytest.approx(WORLD.gap(np.log(WORLD.shares)))  # that of the best critic for the penalty
    assert study.Actions(unit=3.0).floor() == WORLD.floor() and study.Actions(unit=3.0).natural_gap() > 1


def test_dual_ascent_ends_where_bisection_does() -> None:
    target = inside(0.4)
    right = WORLD.alpha_for(target)
    assert WORLD.gap(WORLD.solve(right)) == pytest.approx(target, abs=1e-8)
    for of_log in (True, False):
        assert study.ascend(WORLD, target, of_log=of_log).multiplier[-1] == pytest.approx(right, rel=1e-3)
    with pytest.raises(ConfigError, match="between floor and natural gap"):
        WORLD.alpha_for(WORLD.floor() - 0.1)


def test_the_multiplier_is_stepped_as_in_the_package() -> None:
    """Five steps of Adam on `losses.multiplier_loss` with the same gaps."""
    run = study.ascend(WORLD, inside(0.4), updates=6, step=0.02)
    log_multiplier = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([log_multiplier], lr=0.02)
    for update in range(6):
        assert run.multiplier[update] == pytest.approx(float(log_multiplier.detach().exp()), rel=1e-7)
        optimizer.zero_grad()
        losses.multiplier_loss(log_multiplier, torch.tensor(run.gap[update]), run.target).backward()
        optimizer.step()
    assert study.RANGE == cql.MULTIPLIER_RANGE


def test_each_run_shows_what_the_messages_say() -> None:
    ends = {letter: study.run_of(letter) for letter in study.RUNS}
    off = {letter: run.gap[-1] - run.target for letter, run in ends.items()}
    last = {letter: run.multiplier[-1] for letter, run in ends.items()}
    low, high = study.RANGE
    assert last["V"] == pytest.approx(high) and last["Z"] == pytest.approx(high) and last["Y"] == pytest.approx(low)
    assert off["V"] > 0.05 and off["Z"] < -0.2 and off["Y"] < -0.05 and abs(off["X"]) < 1e-3 and off["W"] < -0.2
    np.testing.assert_allclose(ends["W"].multiplier, 3.0)
    assert set(ch09.CAUSES) == set(study.RUNS) and set(ch09.CAUSES.values()) == set(ch09.SUSPECTS)
    assert set(ch09.SYMPTOMS) == {(r, c) for r in ch09.CAUSES for c in ch09.SUSPECTS if ch09.CAUSES[r] != c}


# ---------------------------------------------------------------- the listings
def test_the_listings_do_what_the_chapter_says() -> None:
    for multiplier in (0.5, 2.0, 10.0):
        found = study.factor_on_penalty(study.summed_loss, multiplier)
        assert found == pytest.approx(float(ch09.factor_in_the_sum(torch.tensor(multiplier))))
    moved = {}
    for where in (torch.float32, torch.float64):
        multiplier = study.Multiplier(0.1, where)
        for _ in range(5):
            multiplier.update(torch.tensor(2.0), 1.0)
        moved[where] = multiplier.value().item()
    assert moved[torch.float32] > 1.5 and moved[torch.float64] == 1.0
    assert ch09.FROZEN in "".join(
        "".join(cell["source"])
        for cell in json.loads((ROOT / "notebooks/09_alpha_and_lagrange.ipynb").read_text(encoding="utf-8"))["cells"]
    )
    assert f" {ch09.frozen_line()}  " in ch09.FROZEN and ".to(device)" in ch09.FROZEN.splitlines()[4]


def test_the_converter_is_the_package_s() -> None:
    for raw, dim, many in ((5.0, 1, 30), (-1.0, 6, 12)):
        assert ch09.to_cql_gap(raw, 1.0, dim, many) == pytest.approx(losses.normalised_target(raw, dim, many))
    q = torch.zeros(2, 3, 12)  # a flat Q: raw gap A log 2 + log K, CQL gap 0
    raw = float((torch.logsumexp(q - losses.uniform_log_density(4), -1)).mean())
    assert ch09.to_cql_gap(5 * raw, 5.0, 4, 12) == pytest.approx(0, abs=1e-6)


def test_a_multiplier_takes_as_long_as_derived() -> None:
    run = study.ascend(WORLD, -50.0, updates=700, step=0.01)  # so far away that the gradient hardly changes
    arrived = int((run.multiplier >= 100).argmax())
    assert arrived == pytest.approx(ch09.updates_needed(1.0, 100.0, 0.01, True), rel=0.02)


# ---------------------------------------------------------------- choosing
def test_the_regrets_are_those_of_the_data_sheet() -> None:
    logs = study.candidates(OPE)
    names = {"cloning": "cloning", "largest-alpha": "largest-alpha"}
    for rule in study.RULES:
        for world, value in study.regret_of_rule(logs, rule).items():
            assert value == pytest.approx(off_policy_tables.mean_regret(world, names.get(rule, rule)), abs=1e-6)
    for world, value in study.by_world(logs, lambda _, log: log.random_regret()).items():
        assert value == pytest.approx(off_policy_tables.mean_regret(world, "random"), abs=1e-6)
    with pytest.raises(DataError, match="12"):
        study.candidates(OPE, (99,))


def test_the_bar_is_below_every_single_rule_and_ranks_merge_by_hand() -> None:
    fresh = study.candidates(OPE, study.FRESH)
    bar = study.bar(fresh)
    assert all(max(study.regret_of_rule(fresh, rule).values()) >= bar for rule in study.RULES)
    names, way = ch09.procedure()
    assert max(study.regret_of_choices(fresh, study.combined(fresh, names, way)).values()) < bar - 5
    log = fresh[0]._replace(
        scores=np.array([[3.0, 1.0, 2.0], [np.nan, 5.0, 4.0], [0.0, 2.0, 1.0], [1.0, 2.0, 3.0]]), names=("a", "b", "c")
    )
    assert study.combined([log], ["fqe", "initial-value"], "sum") == [0]  # ranks 2 0 1 and 0 2 1: all sums are 2
    assert study.combined([log], ["fqe", "initial-value"], "lowest") == [2]
    assert study.combined([log], ["fqe", "wis", "td-error"], "median") == [2]
    with pytest.raises(ConfigError, match="way"):
        study.combined([log], ["fqe"], "mean")


@pytest.mark.parametrize(
    "answer",
    [None, 3, "fqe", ("fqe", "sum"), (("fqe", "fqe"), "sum"), (("q",), "sum"), (("fqe",), "mean"), ((), "sum")],
)
def test_an_odd_procedure_is_sent_back(answer: object) -> None:
    assert any(word in str(ch09._judge_procedure(answer)) for word in ("part", "pair", "one text"))


def test_a_procedure_that_is_sent_back_is_told_what_its_scores_lose() -> None:
    fresh = study.candidates(OPE, study.FRESH)
    told = str(ch09._judge_procedure((("initial-value", "wis"), "lowest")))
    alone = [study.regret_of_choices(fresh, study.single_choices(fresh, name)) for name in ("initial-value", "wis")]
    assert "The worst is pendulum-medium" in told
    assert "initial-value {:.0f}, wis {:.0f}.".format(*(each["pendulum-medium"] for each in alone)) in told
    assert "each name in its own quotes" in str(ch09._judge_procedure(("fqe, wis", "sum")))
    assert "below 57 and this is no less" in str(ch09._judge_procedure((("wis", "td-error"), "lowest")))
    for found in (("td-error", "sum"), ["fqe", "median"]):
        assert "with a comma" in str(ch09._judge_procedure(found)) and "one text" in str(ch09._judge_procedure(found))


# ---------------------------------------------------------------- tables and figures
def ladder(log: str = "pendulum-random") -> study.Ladder:
    returns = {alpha: [-100.0 - 10 * alpha, -110.0 - 10 * alpha] for alpha in study.LADDER}
    errors = {alpha: [4.0 - alpha, 4.2 - alpha] for alpha in study.LADDER}
    gaps = {alpha: [1.0 - math.log1p(alpha)] * 2 for alpha in study.LADDER}
    return study.Ladder(log, "alpha", 0.5, returns, errors, gaps)


def test_a_ladder_by_hand() -> None:
    found = ladder()
    assert (found.best, found.rule, found.truest) == (0.0, 10.0, 5.0)
    assert found.regret(10.0) == pytest.approx(50) and found.paired(10.0, 0.5)[0] == pytest.approx(-95)
    assert found.window == (pytest.approx(1 - math.log(21)), 1.0)
    assert found.nearest(1.2) is None and found.nearest(-0.1) == 2.0
    assert ladder("maze").rule is None


def test_ladders_are_read_from_complete_logs_or_a_headline_table() -> None:
    rows = [
        {"log": "maze", "variant": "cql", "cql_alpha": f"{alpha:g}", "unit": "1", "split": split, "draw": str(draw),
         "return": f"{-alpha - draw}", "estimation_error": "1", "log_cql_gap": f"{-alpha}"}
        for alpha in study.LADDER for split, draws in (("tune", (200,)), ("report", REPORTED)) for draw in draws
    ]  # fmt: skip
    (found,) = study.ladders(rows)
    assert found.returns[2.0] == [-2.0 - draw for draw in REPORTED] and found.tuned == 0 and found.table == "alpha"
    assert study.ladders([row for row in rows if row["draw"] != "22"]) == []
    older = [{"algorithm": "cql", "cql_alpha": "2", "split": split, "draw": "1", "return": value,
              "estimation_error": "0"}
             for split, value in (("tune", "1"), ("report", "2"), ("report", "4"))]  # fmt: skip
    (found,) = study.ladders([], {"maze": older})
    assert found.returns == {2.0: [3.0]} and found.table == "maze"
    assert tuple(ALPHAS) == study.LADDER and {name: log.rule for name, log in LOGS.items()} == {
        name: study.RULE[name] for name in LOGS
    }


def test_windows_come_from_the_tuning_draws() -> None:
    found = study.windows(result_rows("pitfalls"))
    narrow = found["arm-narrow"]
    assert narrow.floor < narrow.gaps[narrow.best] < narrow.natural and narrow.regret_at(narrow.gaps[narrow.best]) == 0
    assert narrow.regret_at(narrow.floor - 1) is None


def test_the_figures_say_what_they_show() -> None:
    said = str(alpha_ladders([ladder(), ladder("maze")]))
    assert "pendulum-random: best 0; rule 10, regret 50 %" in said and "maze: best 0; rule no word" in said
    runs = {"X": study.run_of("X"), "V": study.run_of("V")}
    assert "X: multiplier 0.28, gap on its target; V: multiplier 1e+04, gap above" in str(
        multipliers(runs, {"X": 0.28})
    )
    table, chance = {"a": {"w": 10.0, "v": 60.0}, "b": {"w": 50.0, "v": 20.0}}, {"w": 30.0, "v": 30.0}
    assert str(regrets(table, chance)) == "Worse than a choice by lot. w: b. v: a."
    assert "above the natural gap" in str(held_table(WORLD, 0.3)) and "held" in str(held_table(WORLD, -0.3))
    assert "below the floor" in explore_target(WORLD, [-0.7, 0.0]).children[-1].value
