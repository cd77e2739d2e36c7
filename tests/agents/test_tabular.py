"""Logs over numbered states, and fitted Q-iteration on them, against slow loops, optimisers and exact solves."""

from __future__ import annotations

import math
from itertools import islice

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from cql_tutorial.agents import tabular
from cql_tutorial.agents.tabular import TabularLog, fitted_q, record_log
from cql_tutorial.envs import Garnet, Gridworld, Sepsis
from cql_tutorial.errors import ConfigError, DataError
from cql_tutorial.evaluation import optimal_q, solve_q

torch.set_num_threads(1)


def mixed(world: Gridworld, epsilon: float) -> torch.Tensor:
    best = tabular.greedy_policy(optimal_q(world))
    return (1 - epsilon) * best + epsilon / world.action_dim


@pytest.fixture(scope="module")
def log() -> TabularLog:
    world = Gridworld()
    return record_log(world, mixed(world, 0.5), 60, seed=0)


# ---------------------------------------------------------------- logs
def test_a_log_holds_whole_episodes_of_its_policy() -> None:
    world = Gridworld()
    log = record_log(world, mixed(world, 0.5), 400, seed=0, max_steps=20)
    starts, ends = log.episode_starts, torch.cat([log.episode_starts[1:], torch.tensor([len(log)])])
    lengths = ends - starts
    assert len(starts) == 400 and int(lengths.max()) == 20 and int(lengths.min()) >= 1
    assert (log.states[starts] == world.start_state).all()
    inner = torch.ones(len(log), dtype=torch.bool)
    inner[ends - 1] = False
    assert torch.equal(log.next_states[:-1][inner[:-1]], log.states[1:][inner[:-1]])
    assert not log.terminations[inner].any() and (log.terminations[ends - 1] | (lengths == 20)).all()
    assert torch.equal(log.terminations, world.terminal_states[log.next_states])
    visits = log.counts.sum(-1)
    close = (log.behaviour - mixed(world, 0.5)).abs().amax(-1) <= 4 * 0.5 / visits.clamp(min=1).sqrt()
    assert close[log.visited].all() and (log.behaviour[~log.visited] == 0).all()


def test_one_seed_decides_a_log() -> None:
    world = Sepsis()
    one, two, other = (record_log(world, world.clinician, 50, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.pairs, two.pairs) and torch.equal(one.next_states, two.next_states)
    assert not torch.equal(one.states[: len(other)], other.states[: len(one)])
    big = record_log(world, world.clinician, 5000, seed=0)
    assert float(big.rewards.sum()) / 5000 == pytest.approx(0.782, abs=4 * 0.42 / math.sqrt(5000))
    assert int(big.terminations.sum()) == 5000


def test_counts_and_means_against_a_slow_loop(log: TabularLog) -> None:
    values = torch.randn(64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    counts, rewards, following = (np.zeros((64, 4)) for _ in range(3))
    for s, a, r, t, ended in zip(
        log.states.tolist(),
        log.actions.tolist(),
        log.rewards.tolist(),
        log.next_states.tolist(),
        log.terminations.tolist(),
        strict=True,
    ):
        counts[s, a] += 1
        rewards[s, a] += r
        following[s, a] += 0.0 if ended else float(values[t])
    assert np.array_equal(log.counts.numpy(), counts)
    assert np.allclose(log.mean_rewards.numpy(), rewards / np.maximum(counts, 1))
    assert np.allclose(log.mean_next(values).numpy(), following / np.maximum(counts, 1))
    assert torch.equal(log.seen, log.counts > 0) and log.visited.sum() == (counts.sum(1) > 0).sum()


def test_bad_settings_are_named() -> None:
    world = Gridworld()
    with pytest.raises(ConfigError, match="episodes: found 0"):
        record_log(world, mixed(world, 0.5), 0)
    with pytest.raises(DataError, match="policy probabilities"):
        record_log(world, torch.ones(64, 4), 5)
    for make, message in (
        (lambda: tabular.softmax_backup(0.0), "temperature: found 0.0"),
        (lambda: tabular.shrunk_fit(-1.0), "pseudo_counts: found -1.0"),
        (lambda: tabular.cql_fit(-0.1), "cql_alpha: found -0.1"),
    ):
        with pytest.raises(ConfigError, match=message):
            make()


# ---------------------------------------------------------------- the CQL minimum
@pytest.mark.parametrize("alpha", [0.003, 0.1, 1.0, 5.0, 50.0])
def test_the_minimum_is_what_an_optimiser_finds(alpha: float) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = 3 * torch.randn(6, 5, generator=generator, dtype=torch.float64)
    shares = torch.rand(6, 5, generator=generator, dtype=torch.float64).square() + 1e-3
    shares[1, 2:4], shares[2, :4], shares[5] = 0.0, 0.0, 0.0  # unseen actions; one action alone; nothing at all
    shares = shares / shares.sum(-1, keepdim=True).clamp(min=1e-300)
    found = tabular.cql_minimum(targets, shares, alpha)
    for s in range(6):
        b, seen = shares[s][shares[s] > 0].numpy(), (shares[s] > 0).numpy()
        assert found[s][~seen].isneginf().all() and found[s][seen].isfinite().all()
        if not seen.any():
            continue
        y = targets[s][seen].numpy()

        def loss(q: np.ndarray, b: np.ndarray = b, y: np.ndarray = y) -> float:
            top = q.max()
            return float((b * (q - y) ** 2).sum() + alpha * (top + np.log(np.exp(q - top).sum()) - (b * q).sum()))

        q = found[s][seen].numpy()
        p = np.exp(q - q.max())
        gradient = 2 * b * (q - y) + alpha * (p / p.sum() - b)
        assert np.abs(gradient).max() < 1e-9 * max(1.0, alpha)  # the loss is convex: a flat point is the minimum
        assert loss(q) <= minimize(loss, y, method="BFGS").fun + 1e-9


def test_with_alpha_zero_it_is_the_restricted_control(log: TabularLog) -> None:
    q = fitted_q(log, 0.95, tabular.cql_fit(0.0))
    naive = fitted_q(log, 0.95, tabular.exact_fit, tabular.restricted_backup, initial=100.0)
    assert torch.allclose(q[log.seen], naive[log.seen], atol=1e-6) and q[~log.seen].isneginf().all()
    small = fitted_q(log, 0.95, tabular.cql_fit(1e-7))
    assert torch.allclose(small[log.seen], q[log.seen], atol=1e-4)


def test_the_step_is_a_non_expansion_and_keeps_the_mean() -> None:
    """|Q1 - Q2| <= |y1 - y2| entry by entry at its largest; and sum_a b (Q - y) = 0: nothing is lost over the log."""
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand(50, 5, generator=generator, dtype=torch.float64)
    shares /= shares.sum(-1, keepdim=True)
    one, two = (torch.randn(50, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    for alpha in (0.1, 2.0, 20.0):
        q1, q2 = (tabular.cql_minimum(y, shares, alpha) for y in (one, two))
        assert ((q1 - q2).abs().amax(-1) <= (one - two).abs().amax(-1) + 1e-10).all()
        assert float((shares * (q1 - one)).sum(-1).abs().max()) < 1e-9
        assert torch.allclose(tabular.cql_minimum(one + 7, shares, alpha), q1 + 7, atol=1e-9)


# ---------------------------------------------------------------- the iteration
def test_fitted_q_is_value_iteration_of_the_counted_model(log: TabularLog) -> None:
    q0 = torch.randn(64, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = fitted_q(log, 0.95, initial=q0, tolerance=1e-10)
    q = q0.clone()
    for _ in range(600):  # an independent loop over the rows
        y = log.rewards + 0.95 * ~log.terminations * q.amax(-1)[log.next_states]
        total = torch.zeros(256, dtype=torch.float64).index_add_(0, log.pairs, y).view(64, 4)
        q = torch.where(log.counts > 0, total / log.counts.clamp(min=1), q0)
    assert torch.allclose(found, q, atol=1e-8) and torch.equal(found[~log.seen], q0[~log.seen])


def test_with_much_data_it_is_the_truth() -> None:
    world = Garnet(states=4, actions=2, branching=2, seed=1)
    log = record_log(world, torch.full((4, 2), 0.5, dtype=torch.float64), 2000, seed=0)
    assert torch.allclose(fitted_q(log, 0.9), optimal_q(world), atol=0.05)
    policy = torch.full((4, 2), 0.5, dtype=torch.float64)
    evaluated = fitted_q(log, 0.9, tabular.exact_fit, tabular.behaviour_backup)
    assert torch.allclose(evaluated, solve_q(world, policy), atol=0.05)


def test_shrinkage_is_ridge_regression(log: TabularLog) -> None:
    targets = torch.randn(64, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    q = tabular.shrunk_fit(3.0)(log, targets, targets)
    assert torch.allclose(log.counts * (q - targets) + 3.0 * q, torch.zeros_like(q), atol=1e-10)  # its loss is flat
    assert torch.allclose(tabular.shrunk_fit(0.0)(log, targets, targets)[log.seen], targets[log.seen])


def test_backups(log: TabularLog) -> None:
    q = torch.randn(64, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert torch.equal(tabular.greedy_backup(log, q), q.max(-1).values)
    hot, cold = tabular.softmax_backup(1e6)(log, q), tabular.softmax_backup(1e-4)(log, q)
    assert torch.allclose(hot, q.mean(-1), atol=1e-5) and torch.allclose(cold, q.amax(-1), atol=1e-3)
    q[0], q[1, 1:] = -math.inf, -math.inf
    for backup in (tabular.greedy_backup, tabular.softmax_backup(), tabular.behaviour_backup):
        values = backup(log, q)
        assert values.isfinite().all() and values[0] == 0
    assert tabular.softmax_backup()(log, q)[1] == q[1, 0]
    assert (tabular.restricted_backup(log, q)[~log.visited] == 0).all()
    assert tabular.greedy_policy(q)[0].tolist() == tabular.softmax_policy(q)[0].tolist() == [0.25] * 4
    assert tabular.greedy_policy(q)[1].tolist() == [1, 0, 0, 0]


def test_a_table_that_never_rests_is_an_error_that_says_so() -> None:
    """At discount 1 a loop that gains the pull-up bonus at every turn grows for ever."""
    actions = torch.tensor([0, 0, 0, 1, 2])  # the first two loop, the third ends with reward 1
    ended = actions == 2
    log = TabularLog(1, 3, 0 * actions, actions, ended.double(), 0 * actions, ended, torch.tensor([0]))
    assert float(fitted_q(log, 1.0)[0, 2]) == 1.0  # the truth: nobody can earn more
    with pytest.raises(ConfigError, match="a discount below 1"):
        fitted_q(log, 1.0, tabular.cql_fit(0.5), limit=500)
    values = [float(q[0, 0]) for q in islice(tabular.sweeps(log, 1.0, tabular.cql_fit(0.5)), 300)]
    assert values[299] > values[199] + 1 > values[99] + 2 > 5
    assert float(fitted_q(log, 0.9, tabular.cql_fit(0.5)).amax()) < 2


# ---------------------------------------------------------------- implicit Q-learning on a table
def test_an_expectile_lies_between_the_mean_and_the_largest_logged_action(log: TabularLog) -> None:
    q = torch.randn(log.n_states, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, top = tabular.behaviour_backup(log, q), tabular.restricted_backup(log, q)
    assert torch.allclose(tabular.expectile_backup(0.5)(log, q), mean, atol=1e-12)
    assert torch.allclose(tabular.expectile_backup(1 - 1e-9)(log, q), top, atol=1e-6)
    before = mean - 1e-12
    for expectile in (0.6, 0.7, 0.9, 0.99):
        values = tabular.expectile_backup(expectile)(log, q)
        error = q - values[:, None]
        slope = (log.behaviour * (expectile - (error < 0).double()).abs() * error).sum(-1)
        assert (
            float(slope.abs().max()) < 1e-9 and bool((values >= before - 1e-12).all()) and bool((values <= top).all())
        )
        before = values
    assert torch.equal(values[~log.visited], torch.zeros(int((~log.visited).sum()), dtype=torch.float64))
    unlogged = q.masked_fill(~log.seen, -math.inf)
    assert torch.equal(tabular.expectile_backup(0.7)(log, unlogged), tabular.expectile_backup(0.7)(log, q))
    for wrong in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(ConfigError, match="expectile"):
            tabular.expectile_backup(wrong)


def test_the_advantage_policy_by_hand() -> None:
    """Logged shares 3/4 and 1/4, Q 0 and 1, V 0.5, beta 2: weights 3/4 e^-1 and 1/4 e; the third action is unlogged."""
    zeros = torch.zeros(4, dtype=torch.long)
    actions = torch.tensor([0, 0, 0, 1])
    log = TabularLog(2, 3, zeros, actions, zeros.double(), zeros + 1, zeros == 0, torch.arange(4))
    q, values = torch.tensor([[0.0, 1.0, 9.0]] * 2, dtype=torch.float64), torch.tensor([0.5, 0.0], dtype=torch.float64)
    found = tabular.advantage_policy(log, q, values, 2.0)
    good, bad = 0.25 * math.e, 0.75 / math.e
    assert found[0].tolist() == pytest.approx([bad / (good + bad), good / (good + bad), 0.0])
    assert found[1].tolist() == pytest.approx([1 / 3] * 3)
    assert torch.equal(tabular.advantage_policy(log, q, values, 0.0)[0], log.behaviour[0])
    capped = tabular.advantage_policy(log, 1e6 * q, values, 2.0, advantage_cap=10.0)[0]
    assert capped.tolist() == pytest.approx([bad / (2.5 + bad), 2.5 / (2.5 + bad), 0.0])
    with pytest.raises(ConfigError, match="inverse_temperature"):
        tabular.advantage_policy(log, q, values, -1.0)


def test_iql_on_a_table_improves_on_the_log() -> None:
    world = Gridworld()
    log = record_log(world, mixed(world, 0.5), 300, seed=0)
    backup = tabular.expectile_backup(0.9)
    q = fitted_q(log, 0.95, tabular.cql_fit(0.0), backup)
    policy = tabular.advantage_policy(log, q, backup(log, q), 10.0)
    true = [float((pi * solve_q(world, pi)).sum(-1)[world.start_state]) for pi in (mixed(world, 0.5), policy)]
    assert true[1] > true[0] + 2
    cloned = fitted_q(log, 0.95, tabular.cql_fit(0.0), tabular.behaviour_backup)
    halfway = fitted_q(log, 0.95, tabular.cql_fit(0.0), tabular.expectile_backup(0.5))
    assert torch.allclose(halfway[log.seen], cloned[log.seen], atol=1e-7)
