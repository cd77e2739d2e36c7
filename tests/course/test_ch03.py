"""Chapter 03: each reference answer against an independent loop or solve; the figures' captions against their data."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cql_tutorial.agents import tabular
from cql_tutorial.course import figures
from cql_tutorial.course.exercises import ch03
from cql_tutorial.course.figures.ch03 import kinds_of_greedy
from cql_tutorial.course.sliders import explore_initial_scale
from cql_tutorial.envs import Gridworld
from cql_tutorial.evaluation import optimal_q

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def log() -> tabular.TabularLog:
    world = Gridworld()
    behaviour = 0.7 * tabular.greedy_policy(optimal_q(world)) + 0.3 / 4
    return tabular.record_log(world, behaviour, 40, seed=5)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_row_targets_average_to_the_sweep_of_the_package(log: tabular.TabularLog) -> None:
    q = draw(0, 64, 4)
    y = ch03.row_targets(log.rewards, log.next_states, log.terminations, q, 0.9)
    for i in range(0, len(log), 37):
        after = 0.0 if log.terminations[i] else max(q[int(log.next_states[i])].tolist())
        assert float(y[i]) == pytest.approx(float(log.rewards[i]) + 0.9 * after)
    total = torch.zeros(256, dtype=torch.float64).index_add_(0, log.pairs, y).view(64, 4) / log.counts.clamp(min=1)
    sweep = next(tabular.sweeps(log, 0.9, initial=q))
    assert torch.allclose(total[log.seen], sweep[log.seen], atol=1e-12)


def test_mean_of_the_best_is_what_quadrature_says() -> None:
    """E max of k standard normals over n tries, by an integral that shares nothing with the code."""
    z = np.linspace(-9, 9, 20001)
    below = np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in z])
    for k, n in ((2, 1), (4, 5), (25, 10)):
        density = k * below ** (k - 1) * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        expected = float((z * density).sum() * (z[1] - z[0])) / math.sqrt(n)
        assert float(ch03.mean_of_the_best(draw(k, 40_000, k, n))) == pytest.approx(expected, abs=0.02)


def test_best_logged_is_the_packages_restricted_backup(log: tabular.TabularLog) -> None:
    q = draw(1, 64, 4)
    assert torch.equal(ch03.best_logged(q, log.counts), tabular.restricted_backup(log, q))


def test_greedy_shares_against_a_loop(log: tabular.TabularLog) -> None:
    q, unseen, rare, visited = draw(2, 64, 4), 0, 0, 0
    for s in range(64):
        row = log.counts[s].tolist()
        if sum(row):
            visited += 1
            tried = row[q[s].tolist().index(max(q[s].tolist()))]
            unseen, rare = unseen + (tried == 0), rare + (1 <= tried <= 3)
    assert ch03.greedy_shares(q, log.counts, 3).tolist() == pytest.approx([unseen / visited, rare / visited])
    kinds = kinds_of_greedy(q, log.counts)
    assert (kinds == 0).sum() == unseen and (kinds == 1).sum() == rare and np.isnan(kinds).sum() == 64 - visited


def test_share_impossible_is_a_bound_of_the_best_policy() -> None:
    """No entry of Q* is above the bound, in a world whose best reward is 10."""
    best = optimal_q(Gridworld())
    assert float(ch03.share_impossible(best.flatten(), 10.0, 0.95)) == 0.0
    assert float(ch03.share_impossible(best.flatten() + 1000, 10.0, 0.95)) == 1.0


def test_captions_are_made_from_the_data(log: tabular.TabularLog) -> None:
    world, q = Gridworld(), draw(3, 64, 4)
    unseen, rare = ch03.greedy_shares(q, log.counts, 3).tolist()
    said = str(figures.greedy_kinds({"a table": q}, log.counts, world))
    assert f"a table: {unseen:.0%} unseen, {rare:.0%} rarely tried" in said
    said = str(figures.every_draw({"one": [1.0, 2.0, 3.0], "two": [-1.0, 0.0, 1.0]}, ylabel="error", truth="exact"))
    assert "one: +2.00 ± 2.48, not told apart from the truth" in said and "two: +0.00 ± 2.48" in said
    said = str(figures.every_draw({"high": [2.0, 2.1, 2.2]}, ylabel="error", truth="exact"))
    assert "high: +2.10 ± 0.25, above the truth (each of 3 runs is a dot)." in said
    said = str(figures.maximum_bias((1, 4), {2: [0.5, 0.25]}, {2: [0.56, 0.28]}))
    assert "2 arms: +0.5 at 1 try, +0.2 at 4 tries" in said
    x = torch.linspace(-1, 1, 5)
    said = str(figures.invented(x, torch.stack([x, -x]), torch.zeros(5), (-0.5, 1.0)))
    assert "outside the log in 1 of 2 networks" in said and "worth in 2." in said
    explorer = explore_initial_scale(log, world, {0.0: q, 2.0: 2 * q}, [1.0, 5.0], [0.5, -1.0])
    explorer.slider.value = 1
    assert "predicted 5.00, true -1.00" in explorer.caption.value
