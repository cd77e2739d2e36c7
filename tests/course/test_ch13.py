"""Chapter 13: every planted defect is found and mended, truths are right, and a page is judged by its numbers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from cql_tutorial.course import SESSION
from cql_tutorial.course.checker import check_answer
from cql_tutorial.course.exercises import ch13
from cql_tutorial.course.sliders import explore_shares
from cql_tutorial.course.studies import ch13 as study
from cql_tutorial.course.studies.ch13_log import (
    PLANT,
    TOGETHER,
    Dryer,
    choose_defects,
    compare_with_clean,
    make_log,
    operator,
    read,
)
from cql_tutorial.datasets import OfflineDataset, defects, mend
from cql_tutorial.errors import ConfigError

SEEDS = range(30, 52)


# ---------------------------------------------------------------- logs
@pytest.mark.parametrize("seed", SEEDS)
def test_planted_defects_are_found_and_mended_rows_are_the_clean_ones(seed: int) -> None:
    log = make_log(seed)
    found = {one.mend for one in defects.find(log.stored)}
    assert len(log.planted) == 5 and set(log.planted) <= found
    more = found - set(log.planted)
    assert not more or more == study.shadows(log)  # what else is found is a symptom, and no planted one is
    mended = read(log)
    rows = compare_with_clean(mended, log)
    assert rows["same"] == log.recoverable > 3000 and rows["changed"] <= log.ambiguous
    assert rows["strange"] == rows["twice"] == 0 and mended.defects() == []
    assert log.recoverable <= len(mended) <= log.recoverable + log.ambiguous


def test_every_defect_is_planted_by_some_seed_and_the_clean_log_has_none() -> None:
    chosen = [choose_defects(seed) for seed in SEEDS]
    assert set(itertools.chain.from_iterable(chosen)) == set(PLANT) and len(set(chosen)) > 15
    log = make_log(3, ())
    assert defects.find(log.stored) == [] and study.shadows(log) == set()
    assert compare_with_clean(log.clean, log)["same"] == len(log.clean) == log.recoverable


def test_an_unmended_log_is_not_the_clean_one() -> None:
    """So that the comparison could fail: each defect left in shows in it, or in the number of rows."""
    for name in PLANT:
        log = make_log(4, (name,))
        if name in ("not-finite", "jumps", "inner-flags"):  # these do not load, or change flags alone
            continue
        rows = compare_with_clean(OfflineDataset.from_arrays(**log.stored, out_of_bounds="clip"), log)
        assert rows["changed"] + rows["strange"] + rows["twice"] > 0 or name == "clip", name


def test_a_seed_gives_one_log_and_wrong_names_are_refused(tmp_path: Any) -> None:
    one, again = make_log(9), make_log(9)
    assert all(np.array_equal(one.table[k], again.table[k], equal_nan=True) for k in defects.COLUMNS)
    with pytest.raises(ConfigError, match="typo"):
        make_log(0, ("typo",))
    with pytest.raises(ConfigError, match="no pair"):
        make_log(0, sorted(TOGETHER[0]))


def test_the_file_holds_what_the_columns_do(tmp_path: Any) -> None:
    pytest.importorskip("pandas")
    from cql_tutorial.datasets.tables import from_csv

    log = make_log(4)
    stored = from_csv(log.to_csv(tmp_path / "a.csv"), log.roles, raw=True, warn=False)
    for name in (*defects.COLUMNS, "episode_starts"):
        assert np.array_equal(stored[name], log.stored[name], equal_nan=name == "observations"), name


# ---------------------------------------------------------------- truth
def test_values_are_those_of_a_linear_quadratic_plant() -> None:
    """Without trips, caps and bounds the value is quadratic: V = -z'Pz - p, P by a Lyapunov equation."""
    gains = torch.tensor(((-0.05, 0.0, 0.0, 0.0), (0.0, 0.05, 0.0, 0.0)), dtype=torch.float64)
    m, b = Dryer.matrices()
    f = torch.cat([gains, torch.zeros(2, 6).double()], 1)
    closed = 0.8 * (m + b @ f)  # damped, so that no cost is capped
    cost = torch.diag(torch.tensor([0.25, 0.25, *[0.0] * 8], dtype=torch.float64)) + 0.05 * f.T @ f
    p = cost.clone()
    for _ in range(400):
        p = cost + 0.9 * closed.T @ p @ closed
    noise = torch.tensor([0.20, 0.20, 0.30, 0.20, 0.30, 0.40, 0.30, 0.40, 0.60, 0.14]).double().square()
    exact = 10 - 0.9 / 0.1 * float((noise * p.diagonal()).sum())

    class Damped(Dryer):
        @staticmethod
        def matrices() -> tuple[torch.Tensor, torch.Tensor]:
            return 0.8 * m, 0.8 * b

    world, policy = Damped(trip=1e9), operator(gains.tolist(), noise=0.0)
    z, generator = torch.zeros(4000, 10, dtype=torch.float64), torch.Generator().manual_seed(0)
    total = torch.zeros(4000).double()
    for step in range(90):
        z, rewards, ended = world.step(z, policy(world.observe(z)), generator)
        total += 0.9**step * rewards
        assert not ended.any()
    assert float(total.mean()) == pytest.approx(exact, abs=4 * float(total.std()) / 4000**0.5 + 1e-3)


def test_states_and_observations_are_inverse_and_a_trip_ends() -> None:
    world = Dryer()
    z = world.reset(50, torch.Generator().manual_seed(1), torch.float64)
    assert torch.allclose(world.states_of(world.observe(z)), z)
    z[0, 0] = 50.0
    _, rewards, ended = world.step(z, torch.full((50, 2), 50.0).double(), torch.Generator().manual_seed(1))
    assert bool(ended[0]) and float(rewards[0]) == -5.0


# ---------------------------------------------------------------- the page
@pytest.mark.parametrize("seed", [2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (31, 36))])
def test_the_engineers_page_gets_full_marks_and_each_entry_counts(seed: int) -> None:
    log = make_log(seed)
    page = study.engineers_page(log)
    assert study.judge_page(page, log) is None
    other = next(name for name in mend.REMEDIES if name not in log.planted)
    for change, said in (
        ({"defects": []}, "5 of the 5"),
        ({"defects": [*log.planted[1:], other]}, "1 of the 5 that were planted are not on the page, and 1 of"),
        ({"defects": [*log.planted, "made-up"]}, "'made-up' is no remedy's name"),
        ({"defects": 5}, "a list of remedies' names"),
        ({"policy": lambda observations: page["policy"](observations)[0]}, "[3, 2] is wanted"),
        ({"defects": ", ".join(log.planted)}, "one text stands there"),
        ({"policy": lambda observations: page["policy"](observations) / 100}, "within -1 to 1"),
        ({"policy": lambda observations: page["policy"](observations).flip(1)}, "the heater first"),
        ({"low": 12.0, "high": 14.0}, "undiscounted"),
        ({"rows": "3,369"}, "rows: one number"),
        ({"low": None}, "low: one number"),
        ({"high": (7.0, 9.0)}, "high: one number"),
        ({"rows": log.recoverable - 1}, "fewer than can be kept"),
        ({"low": 8.5, "high": 9.5}, "lies below it"),
        ({"low": -9.0}, "wide"),
        ({"policy": 3}, "a function"),
    ):
        told = study.judge_page({**page, **change}, log)
        assert told is not None and said in told
    told = study.judge_page({**page, "policy": ch13._half_power, "low": -4.0, "high": -2.0}, log)
    assert told is not None and "that the operators earn on average. Its actions are the same" in told
    earned, best = study.reach(seed)
    for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6):  # on the way to half power: worse, and still no nonsense
        between = _between(page["policy"], ch13._half_power, share)
        value = study.true_value(between)[0]
        if earned < value < best - study.REGRET * (best - earned):
            break
    told = study.judge_page({**page, "policy": between, "low": value - 0.5, "high": value + 0.5}, log)
    assert told is not None and "best known" in told

    assert "entries" in (study.judge_page("CQL", log) or "")


def _between(one: Any, other: Any, share: float) -> Any:
    return lambda observations: (1 - share) * one(observations) + share * other(observations)


def test_importance_weights_are_those_of_a_plain_loop() -> None:
    ratio, returns = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double(), torch.arange(6).double()
    weights = []
    for row in ratio.tolist():
        weight = 1.0
        for one in row:
            weight *= float(np.exp(one))
        weights.append(weight)
    estimate = sum(w * g for w, g in zip(weights, returns.tolist(), strict=True)) / sum(weights)
    number = sum(weights) ** 2 / sum(w * w for w in weights)
    found = ch13.weighted_estimate(ratio, returns)
    assert [float(x) for x in found] == pytest.approx([estimate, number])


def test_the_chapters_log_has_one_symptom_and_the_changed_one_no_finding() -> None:
    log = study.chapter_log()
    assert study.shadows(log) == {ch13.symptom()} and len(log.planted) == 5
    changed = study.changed_log()
    assert changed.defects() == []
    means = study.means_by_operator(changed)
    first, second, third = means[ch13.changed_column()]
    assert second == pytest.approx(1.8 * (first + third) / 2 + 32, abs=5)
    starts = study.shift_starts(log)
    assert len(starts) < len(read(log).episode_starts)


def told(id: str, function: Any) -> str:
    result = check_answer(SESSION.exercises[id], function)
    assert result.status in ("wrong", "crashed")
    return result.message


def test_ways_to_miss_the_effective_number_are_told_apart() -> None:
    def shares(log_ratio: torch.Tensor, axis: int = 1, keepdim: bool = False) -> torch.Tensor:
        return torch.softmax(log_ratio.sum(axis, keepdim=keepdim), 0)

    for wrong, words in (
        (lambda z, g: ((shares(z, 0) * g).sum(), 1 / shares(z, 0).square().sum()), "along axis 1"),
        (lambda z, g: ((shares(z, 1, True) * g).sum(), 1 / shares(z, 1, True).square().sum()), "(keepdim)"),
        (lambda z, g: ((shares(z) * g).sum(), shares(z).sum() ** 2 / shares(z).sum() ** 2), "whatever the weights"),
        (lambda z, g: ((shares(z) * g).sum(), (shares(z) > 0.5).sum()), "above a half"),
        (lambda z, g: ((shares(z) * g).sum(), 1 / shares(z).sum()), "whatever the weights"),
    ):
        assert words in told("13.3", wrong), words


def test_a_page_in_words_is_told_what_is_wanted() -> None:
    told = check_answer(SESSION.exercises["13.4"], lambda: "deploy CQL")
    assert told.status == "wrong" and "defects, rows, low, high, policy" in told.message


def test_the_slider_counts_episodes() -> None:
    even, one = np.full(20, 0.05), np.r_[1.0, np.zeros(19)]
    captions = explore_shares({0.0: even, 1.0: one}).captions
    assert "more than ten" in captions[0] and "fewer than ten" in captions[1]
