"""Off-policy evaluation against exact solves, sums over every episode, and numbers worked by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cql_tutorial import make_agent
from cql_tutorial.agents import tabular
from cql_tutorial.agents.tabular import TabularLog, fitted_q, record_log
from cql_tutorial.datasets import OfflineDataset
from cql_tutorial.envs import Gridworld, Maze
from cql_tutorial.envs.base import UniformPolicy
from cql_tutorial.errors import ConfigError, DataError, DivergedError
from cql_tutorial.evaluation import optimal_q, solve_q, t_interval
from cql_tutorial.evaluation.off_policy import (
    RULES,
    bellman_error,
    fitted_q_evaluation,
    initial_state_value,
    pick_best,
    weighted_importance_sampling,
)

torch.set_num_threads(1)
F64 = torch.float64


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)


LINEAR: dict[str, Any] = {"hidden_layers": 0, "learning_rate": 0.02, "tau": 0.05, "n_critics": 2}


class Table:
    """A policy given by its probabilities ``[S, A]`` on one-hot observations."""

    def __init__(self, table: Any) -> None:
        self.table = torch.as_tensor(table, dtype=F64)

    def probabilities(self, observations: Tensor) -> Tensor:
        return observations.to(F64) @ self.table

    def __call__(self, observations: Tensor, generator: torch.Generator) -> Tensor:
        return torch.multinomial(self.probabilities(observations), 1, generator=generator)[:, 0]


class Sampled:
    """The same policy without its probabilities: it can only be drawn from."""

    def __init__(self, policy: Table) -> None:
        self.draw = policy

    def __call__(self, observations: Tensor, generator: torch.Generator) -> Tensor:
        return self.draw(observations, generator)


def as_dataset(log: TabularLog, **options: Any) -> OfflineDataset:
    one_hot, n = torch.nn.functional.one_hot, log.n_states
    return OfflineDataset.from_arrays(
        one_hot(log.states, n).to(F64),
        log.actions,
        log.rewards,
        one_hot(log.next_states, n).to(F64),
        log.terminations,
        n_actions=log.n_actions,
        episode_starts=log.episode_starts,
        dtype=F64,
        **options,
    )


def covering_log(world: Gridworld, count: int) -> TabularLog:
    """``count`` steps from every pair that can be taken, each an episode of its own."""
    here = (~world.terminal_states).nonzero().flatten().repeat_interleave(4 * count)
    actions = torch.arange(4).repeat(len(here) // 4)
    there, rewards, ended = world.move(here, actions, torch.Generator().manual_seed(0))
    return TabularLog(world.observation_dim, 4, here, actions, rewards, there, ended, torch.arange(len(here)))


WORLD = Gridworld(size=4)
GOING = ~WORLD.terminal_states
RANDOM = torch.softmax(torch.randn(16, 4, generator=torch.Generator().manual_seed(0), dtype=F64), -1)


@pytest.fixture(scope="module")
def covering() -> TabularLog:
    return covering_log(WORLD, 60)


def exact_q(log: TabularLog, table: Tensor, discount: float = 0.95) -> Tensor:
    return fitted_q(log, discount, tabular.exact_fit, lambda log, q: (table * q).sum(-1))


def q_table(result: Any, n_states: int = 16, n_actions: int = 4) -> Tensor:
    """All values of every critic, ``[E, S, A]``."""
    states = torch.eye(n_states, dtype=F64).repeat_interleave(n_actions, 0)
    return result.q_values(states, torch.arange(n_actions).repeat(n_states)).unflatten(1, (n_states, n_actions))


# ---------------------------------------------------------------- fitted Q-evaluation
@pytest.mark.slow
def test_fqe_is_the_counted_models_exact_value(covering: TabularLog) -> None:
    """Against the table that sweeps find; which is itself near the world's linear solve."""
    data, truth = as_dataset(covering), exact_q(covering, RANDOM)
    assert float((truth - solve_q(WORLD, RANDOM, 0.95))[GOING].abs().mean()) < 0.2  # 60 draws a pair
    found = fitted_q_evaluation(Table(RANDOM), data, 2500, discount=0.95, **LINEAR)
    error = (q_table(found) - truth)[:, GOING].abs()
    assert float(error.max()) < 0.3 and float(error.mean()) < 0.06  # rewards reach from -10 to 10
    values = found.state_values(torch.eye(16, dtype=F64))
    assert torch.allclose(values, (RANDOM * q_table(found)).sum(-1))
    start = found.initial_value()
    expected, half = t_interval(values.mean(0)[covering.states].tolist())
    assert (start.value, start.half_width) == pytest.approx((expected, half)) and abs(found.drift) < 0.1
    assert start.spread == pytest.approx(float(values[:, covering.states].mean(1).std()))
    assert str(found).startswith("FQE at discount 0.95: ") and "over 3120 episode starts" in str(found)


@pytest.mark.slow
def test_fqe_with_a_network_and_with_sampled_actions(covering: TabularLog) -> None:
    data, truth = as_dataset(covering), exact_q(covering, RANDOM)
    settings = {"discount": 0.95, "hidden_dim": 64, "hidden_layers": 1, "tau": 0.05, "n_critics": 2}
    for policy in (Table(RANDOM), Sampled(Table(RANDOM))):
        found = fitted_q_evaluation(policy, data, 2200, samples=2, **settings)
        error = (q_table(found) - truth)[:, GOING].abs()
        assert float(error.max()) < 0.5 and float(error.mean()) < 0.1
        assert found.history["step"] == sorted([*range(100, 2201, 100), 1650])
        assert found.history["bellman_error"][-1] > 0


def test_one_seed_decides_fqe(covering: TabularLog) -> None:
    data = as_dataset(covering)
    one, two, other = (
        fitted_q_evaluation(Sampled(Table(RANDOM)), data, 30, discount=0.95, hidden_dim=8, seed=seed, log_every=10)
        for seed in (3, 3, 4)
    )
    assert torch.equal(q_table(one), q_table(two)) and one.history.rows == two.history.rows
    assert not torch.allclose(q_table(one), q_table(other))
    assert torch.equal(one.state_values(data.observations[:50]), one.state_values(data.observations[:50]))


@pytest.mark.slow
def test_fqe_takes_the_policys_next_action_not_the_logs() -> None:
    """State 0 leads to state 1, where the log takes action 1 (worth 0) 49 times of 50, and the policy 0 (worth 1)."""
    states, actions = torch.tensor([0, 1] * 50), torch.tensor([0, 1] * 49 + [0, 0])
    rewards, ended = ((states == 1) & (actions == 0)).to(F64), states == 1
    log = TabularLog(2, 2, states, actions, rewards, 1 - 0 * states, ended, torch.arange(0, 100, 2))
    data = as_dataset(log)
    good = fitted_q_evaluation(Table([[1, 0], [1, 0]]), data, 1500, discount=0.9, **LINEAR)
    assert float(good.initial_value().value) == pytest.approx(0.9, abs=0.02)
    behaviour = fitted_q_evaluation(Table([[1, 0], [0.02, 0.98]]), data, 1500, discount=0.9, **LINEAR)
    assert float(behaviour.initial_value().value) == pytest.approx(0.018, abs=0.02)
    assert good.initial_value().half_width == pytest.approx(0, abs=1e-9)  # one start state: the interval sees nothing


def test_terminations_cut_and_truncations_do_not() -> None:
    columns: dict[str, Any] = {
        "observations": np.ones((64, 1)),
        "actions": np.zeros((64, 1)),
        "rewards": np.ones(64),
        "next_observations": np.ones((64, 1)),
    }
    ones, zeros = np.ones(64, bool), np.zeros(64, bool)
    for ends, expected in (((ones, zeros), 1.0), ((ones, ones), 1.0), ((zeros, ones), 5.0), ((zeros, zeros), 5.0)):
        data = OfflineDataset.from_arrays(**columns, terminations=ends[0], truncations=ends[1])
        found = fitted_q_evaluation(
            lambda s, g: torch.zeros(len(s), 1),
            data,
            400,
            discount=0.8,
            initial_value=3.0,
            batch_size=32,
            hidden_dim=16,
            learning_rate=3e-3,
            tau=0.1,
        )
        assert float(found.q_values(torch.ones(1, 1), torch.zeros(1, 1)).mean()) == pytest.approx(expected, abs=0.05)


def test_the_first_value_is_what_the_mean_reward_earns_for_ever(covering: TabularLog) -> None:
    data = as_dataset(covering)
    tiny = {"learning_rate": 1e-12, "hidden_layers": 0, "n_critics": 200}
    first = q_table(fitted_q_evaluation(Table(RANDOM), data, 1, discount=0.9, **tiny))
    assert float(first.mean()) == pytest.approx(10 * float(data.rewards.mean()), abs=0.02)
    slow = fitted_q_evaluation(Table(RANDOM), data, 5, discount=0.9, **tiny | {"learning_rate": 0.1, "tau": 1e-12})
    assert torch.allclose(q_table(slow), first, atol=1e-6)  # what is returned moves by tau
    undiscounted = q_table(fitted_q_evaluation(Table(RANDOM), data, 1, discount=1.0, **tiny))
    assert float(undiscounted.mean()) == pytest.approx(float(data.rewards.mean()), abs=0.02)  # episodes of one step


def test_in_short_episodes_that_terminate_it_starts_at_the_mean_return_to_go() -> None:
    """A reward of -1 got for ever would be -20; what these episodes of 12 steps still earn is -6 on average."""
    n = 240
    ends = np.arange(n) % 12 == 11
    data = OfflineDataset.from_arrays(
        np.zeros((n, 1)), np.arange(n) % 2, -np.ones(n), np.zeros((n, 1)), ends, n_actions=2
    )
    tiny = {"learning_rate": 1e-12, "hidden_layers": 0, "n_critics": 2}
    agent = make_agent("dqn", {"state_dim": 1, "action_dim": 2, "hidden_dim": 4, "discount": 0.95, "device": "cpu"})
    result = fitted_q_evaluation(agent, data, 1, discount=0.95, progress=False, **tiny)
    wanted = float(data.returns_to_go(0.95).mean())
    assert (
        -6.5 < wanted < -5 and result.q_values(np.zeros((1, 1)), [0]).tolist() == [[pytest.approx(wanted, abs=0.5)]] * 2
    )


def test_each_critic_has_its_own_target() -> None:
    """State 1 has no rows, so that each critic's guess at it stays; and state 0 is worth its reward plus that guess."""
    zeros = torch.zeros(20, dtype=torch.long)
    log = TabularLog(2, 1, zeros, zeros, zeros.double() + 1, zeros + 1, zeros.bool(), torch.arange(20))
    found = fitted_q_evaluation(Table([[1], [1]]), as_dataset(log), 1500, discount=0.5, **LINEAR)
    here, there = found.state_values(torch.eye(2, dtype=F64)).unbind(1)
    assert float((there[0] - there[1]).abs()) > 0.1 and torch.allclose(here, 1 + 0.5 * there, atol=0.02)


def test_the_network_sees_actions_in_units_of_their_bounds() -> None:
    a = 2 * torch.rand(50, 2, dtype=F64) - 1
    scale, shift = torch.tensor([2.0, 0.5], dtype=F64), torch.tensor([1.0, 0.0], dtype=F64)
    columns = {"rewards": a[:, 0], "next_observations": torch.zeros(50, 1), "terminations": np.zeros(50, bool)}
    unit = OfflineDataset.from_arrays(torch.zeros(50, 1), a, **columns, dtype=F64)
    wide = OfflineDataset.from_arrays(
        torch.zeros(50, 1), a * scale + shift, **columns, action_low=[-1, -0.5], action_high=[3, 0.5], dtype=F64
    )
    settings: dict[str, Any] = {"steps": 20, "discount": 0.9, "hidden_dim": 8}
    one = fitted_q_evaluation(lambda s, g: torch.full((len(s), 2), 0.5), unit, **settings)
    two = fitted_q_evaluation(lambda s, g: (0.5 * scale + shift).expand(len(s), 2), wide, **settings)
    s = torch.zeros(50, 1)
    assert torch.allclose(one.q_values(s, a), two.q_values(s, a * scale + shift), atol=1e-9)
    assert float(one.q_values(s, a).std(1).min()) > 1e-4


@pytest.mark.slow
def test_at_discount_0_it_is_a_regression_on_the_reward() -> None:
    generator = torch.Generator().manual_seed(0)
    a = 4 * torch.rand(2000, 1, generator=generator) - 2  # bounds [-2, 2]: the network sees a / 2
    noise = 0.1 * torch.randn(2000, generator=generator)
    data = OfflineDataset.from_arrays(
        torch.zeros(2000, 1),
        a,
        3 * a[:, 0] + 1 + noise,
        torch.zeros(2000, 1),
        np.zeros(2000, bool),
        action_low=-2.0,
        action_high=2.0,
    )
    uniform = fitted_q_evaluation(lambda s, g: 9 + 0 * s, data, 1500, discount=0.0, **LINEAR)
    grid = torch.linspace(-2, 2, 5)[:, None]
    slope, offset = np.polyfit(a[:, 0].numpy(), data.rewards.numpy(), 1)
    fit = torch.as_tensor(slope * grid[:, 0].numpy() + offset)
    assert torch.allclose(uniform.q_values(torch.zeros(5, 1), grid), fit.expand(2, -1).float(), atol=0.03)
    assert float(uniform.history.last("bellman_error")) == pytest.approx(0.01, rel=0.3)


@pytest.mark.slow
def test_of_the_behaviour_itself_it_is_the_mean_return() -> None:
    table = 0.5 * tabular.greedy_policy(optimal_q(WORLD)) + 0.125
    log = record_log(WORLD, table, 600, seed=0)
    data = as_dataset(log)
    mean, half = t_interval(data.returns_to_go(0.95)[data.episode_starts].tolist())
    found = fitted_q_evaluation(Table(table), data, 2500, discount=0.95, **LINEAR)
    assert abs(found.initial_value().value - mean) < half < 0.7
    clone = weighted_importance_sampling(Table(table), data, Table(table), discount=0.95)
    assert clone.value == pytest.approx(mean) and clone.effective_episodes == pytest.approx(600)
    assert clone.low < mean < clone.high and clone.half_width == pytest.approx(half, rel=0.1)  # bootstrap against t


def test_agents_of_both_kinds_are_judged_in_their_own_units(covering: TabularLog) -> None:
    world = Maze()
    data = OfflineDataset.from_arrays(
        torch.rand(600, 2),
        6 * torch.rand(600, 2) - 3,
        torch.rand(600),
        torch.rand(600, 2),
        np.zeros(600, bool),
        action_low=-3.0,
        action_high=3.0,
        episode_starts=range(0, 600, 20),
    )
    config = {"state_dim": 2, "action_dim": 2, "hidden_dim": 8, "discount": 0.5, "device": "cpu"}
    agent = make_agent("cql", config | {"action_low": -3.0, "action_high": 3.0})
    before = {key: value.clone() for key, value in agent.state().items()}
    for deterministic in (None, True):
        found = fitted_q_evaluation(agent, data, 300, hidden_dim=32, deterministic=deterministic)
        assert found.initial_value().value == pytest.approx(1.0, abs=0.1) and found.discount == 0.5
        assert found.initial_value(data.subset(range(40))).covers.startswith("2 episode starts, drift ")
    assert all(torch.equal(before[key], value) for key, value in agent.state().items())  # judged, not moved
    discrete = make_agent("discrete-cql", {"state_dim": 16, "action_dim": 4, "hidden_dim": 8, "device": "cpu"})
    one_hot = as_dataset(covering).to(dtype=torch.float32)
    judged = fitted_q_evaluation(discrete, one_hot, 20, hidden_dim=8, discount=0.9)
    states, best = torch.eye(16), discrete.policy().probabilities(torch.eye(16)).argmax(-1)
    assert torch.equal(judged.state_values(states), judged.q_values(states, best))  # greedy, as its backup
    with pytest.raises(ConfigError, match="agent: found 'discrete'; expected continuous, as the data are"):
        fitted_q_evaluation(discrete, data, 5)
    assert fitted_q_evaluation(UniformPolicy(world), data, 5, discount=0.5, hidden_dim=8).history["step"] == [3, 5]


@pytest.mark.parametrize("steps", [2, 99, 100, 101, 130])
def test_the_drift_is_that_of_the_last_quarter_however_few_rows_there_are(steps: int, covering: TabularLog) -> None:
    """Held against a run of fewer updates; not nan where there are no more updates than one row is of."""
    data, settings = as_dataset(covering).subset(range(40)), {"discount": 0.9, "hidden_dim": 2, "batch_size": 4}
    found, shorter = (fitted_q_evaluation(Table(RANDOM), data, n, **settings) for n in (steps, 3 * steps // 4))
    moved = found.history["value"][-1] - shorter.history["value"][-1]
    assert found.drift == pytest.approx(moved) and f"drift {found.drift:+.2g}" in str(found)


# ---------------------------------------------------------------- an agent's own critics
class Known:
    """An agent whose two critics are ``3 a + s`` and ``3 a + s + 1``, under a policy that is certain of a = 1/2."""

    discrete, device = False, torch.device("cpu")

    class config:
        discount, backup_entropy = 0.5, False

    def policy(self, deterministic: bool = False) -> Any:
        return lambda s, g: torch.full((len(s), 1), 0.5)

    def q_values(self, s: Tensor, a: Tensor) -> Tensor:
        q = 3 * a[:, 0] + s[:, 0]
        return torch.stack([q, q + 1])


def small_log() -> OfflineDataset:
    s, following = torch.tensor([[0.0], [0.25], [1.0]]), torch.tensor([[0.25], [1.0], [9.0]])
    ends = np.array([False, True, True])
    return OfflineDataset.from_arrays(s, torch.tensor([[0.0], [1.0], [-1.0]]), [1.0, 2.0, 3.0], following, ends)


def test_initial_value_and_bellman_error_by_hand() -> None:
    start = initial_state_value(Known(), small_log())
    assert (
        start.value == pytest.approx(2.0)
        and start.members == pytest.approx((2.0, 3.0))
        and start.spread == pytest.approx(math.sqrt(0.5))
    )
    assert start.half_width == pytest.approx(12.7062 * 0.5, rel=1e-4)  # starts 0 and 1: values 1.5 and 2.5; t with 1 df
    # Rows: Q = 0, 3.25, -2 (and + 1); targets 1 + (1.5 + 0.25) / 2 = 1.875, 2, 3.
    errors = [(1.875**2 + 0.875**2) / 2, (1.25**2 + 2.25**2) / 2, (25 + 16) / 2]
    found = bellman_error(Known(), small_log())
    assert found.value == pytest.approx(sum(errors) / 3, rel=1e-6) and found.covers == "2 episodes"
    assert found.members == pytest.approx(((1.875**2 + 1.25**2 + 25) / 3, (0.875**2 + 2.25**2 + 16) / 3), rel=1e-6)


def test_bellman_error_uses_each_agents_own_backup() -> None:
    data = OfflineDataset.from_arrays(
        torch.rand(300, 2), torch.rand(300, 2), torch.rand(300), torch.rand(300, 2), np.zeros(300, bool)
    )
    config = {"state_dim": 2, "action_dim": 2, "hidden_dim": 8, "discount": 0.9, "device": "cpu"}
    soft = make_agent("sac", config | {"alpha": 1.0, "auto_alpha": False})
    hard = make_agent("sac", config | {"backup_entropy": False})
    q = soft.q_values(data.observations, data.actions)
    actions, log_prob = soft.policy().sample(data.next_observations.repeat_interleave(500, 0))
    values = soft.q_values(data.next_observations.repeat_interleave(500, 0), actions).amin(0) - log_prob
    target = data.rewards + 0.9 * values.view(300, 500).mean(1)
    assert bellman_error(soft, data, samples=500).value == pytest.approx(float((q - target).square().mean()), rel=0.01)
    assert bellman_error(hard, data).value < 0.5 < bellman_error(soft, data).value
    iql = make_agent("iql", config)
    target = data.rewards + 0.9 * iql.state_values(data.next_observations)
    expected = float((iql.q_values(data.observations, data.actions) - target).square().mean())
    assert bellman_error(iql, data).value == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ConfigError, match="agent: found 'BCAgent'; expected one with critics"):
        initial_state_value(make_agent("bc", config), data)


# ---------------------------------------------------------------- importance sampling
def bandit(actions: list[int], rewards: list[float]) -> OfflineDataset:
    n = len(actions)
    return OfflineDataset.from_arrays(
        np.ones((n, 1)), actions, rewards, np.ones((n, 1)), np.ones(n, bool), n_actions=2, dtype=F64
    )


def test_a_bandit_by_hand() -> None:
    data, log_prob = bandit([0, 0, 0, 1], [1.0, 2.0, 3.0, 10.0]), np.log([0.75, 0.75, 0.75, 0.25])
    settings = {"behaviour_log_prob": log_prob, "discount": 0.9}
    for per_decision in (True, False):  # weights 0.6 / 0.75 = 0.8 and 0.4 / 0.25 = 1.6
        found = weighted_importance_sampling(Table([[0.6, 0.4]]), data, per_decision=per_decision, **settings)
        assert found.value == pytest.approx((0.8 * 6 + 16) / 4.0) and found.weights is not None
        assert found.weights.tolist() == pytest.approx([0.2, 0.2, 0.2, 0.4])
        assert found.effective_episodes == pytest.approx(1 / 0.28) and not found.usable
        assert "NOT USABLE: fewer than 10 effective episodes" in str(found) and "0 truncated" in str(found)
        plain = weighted_importance_sampling(
            Table([[0.6, 0.4]]), data, per_decision=per_decision, weighted=False, **settings
        )
        assert plain.value == pytest.approx((0.8 * 6 + 16) / 4)
    never = weighted_importance_sampling(Table([[0, 1]]), bandit([0, 0], [1.0, 2.0]), [0.0, 0.0], discount=1.0)
    assert math.isnan(never.value) and not never.usable  # no logged episode could be the policy's


def episodes_of_two_steps() -> tuple[list[tuple[list[tuple[int, int, float]], bool]], Tensor, Tensor]:
    """Every episode of a small MDP: state 0, then state 1 (after action 1 it ends at once if the coin falls so)."""
    found = []
    for a, coin, b in itertools.product((0, 1), (0, 1), (0, 1)):
        stops = a == 1 and coin == 1
        if not (stops and b):  # no second action
            found.append(([(0, a, 1.0 + a)] + ([] if stops else [(1, b, 4.0 * b - 1.0 + coin)]), a == 1))
    return found, torch.tensor([[0.7, 0.3], [0.4, 0.6]], dtype=F64), torch.tensor([[0.2, 0.8], [0.9, 0.1]], dtype=F64)


@pytest.mark.slow
def test_ordinary_importance_sampling_is_unbiased_by_enumeration() -> None:
    """Sum over all pairs of episodes of (probability under the behaviour) x (estimate of that log), in float64."""
    episodes, behaviour, target = episodes_of_two_steps()
    gamma = 0.9

    def chance(episode: list[tuple[int, int, float]], policy: Tensor) -> float:
        return 0.5 * math.prod(float(policy[s, a]) for s, a, _ in episode)

    def total(episode: list[tuple[int, int, float]]) -> float:
        return sum(gamma**t * r for t, (_, _, r) in enumerate(episode))

    # Two coins, each as likely; the coin of an action-0 episode also moves the second reward.
    assert sum(chance(e, behaviour) for e, _ in episodes) == pytest.approx(1.0)
    truth = sum(chance(e, target) * total(e) for e, _ in episodes)
    for per_decision in (True, False):
        expected = 0.0
        for pair in itertools.product(episodes, repeat=2):
            rows = [row for episode, _ in pair for row in episode]
            states, actions, rewards = (torch.tensor(column) for column in zip(*rows, strict=True))
            starts = [0, len(pair[0][0])]
            observations = torch.nn.functional.one_hot(states, 2)
            ended = np.zeros(len(rows), bool)
            ended[[starts[1] - 1, len(rows) - 1]] = True
            data = OfflineDataset.from_arrays(
                observations.double(),
                actions,
                rewards.double(),
                observations.double(),
                ended,
                n_actions=2,
                episode_starts=starts,
                dtype=F64,
            )
            found = weighted_importance_sampling(
                Table(target),
                data,
                behaviour[states, actions].log(),
                discount=gamma,
                per_decision=per_decision,
                weighted=False,
                resamples=1000,
            )
            expected += chance(pair[0][0], behaviour) * chance(pair[1][0], behaviour) * found.value
        assert expected == pytest.approx(truth, rel=1e-12)


def test_weighted_importance_sampling_finds_another_policys_value() -> None:
    behaviour = 0.5 * tabular.greedy_policy(optimal_q(WORLD)) + 0.125
    target = 0.6 * tabular.greedy_policy(optimal_q(WORLD)) + 0.1
    log = record_log(WORLD, behaviour, 3000, seed=1)
    truth = float((target * solve_q(WORLD, target, 0.95)).sum(-1)[WORLD.start_state])
    data = as_dataset(log)
    log_prob = behaviour[log.states, log.actions].log()
    logged = float(data.returns_to_go(0.95)[data.episode_starts].mean())
    for per_decision in (True, False):
        found = weighted_importance_sampling(Table(target), data, log_prob, discount=0.95, per_decision=per_decision)
        assert found.low < truth < found.high and found.usable and abs(found.value - truth) < abs(logged - truth)
        assert float(found.weights.sum()) == pytest.approx(1.0)  # type: ignore[union-attr]
    again = weighted_importance_sampling(Table(target), data, log_prob, discount=0.95, per_decision=False)
    assert (again.value, again.low, again.high) == (found.value, found.low, found.high)


def slow_weighted(log_ratios: list[list[float]], rewards: list[list[float]], gamma: float) -> float:
    """Per decision, in plain loops over episodes of unlike length."""
    value = 0.0
    for t in range(max(map(len, rewards))):
        weights = [math.exp(sum(ratios[: t + 1])) for ratios in log_ratios]
        gains = [r[t] if t < len(r) else 0.0 for r in rewards]
        value += gamma**t * sum(w * g for w, g in zip(weights, gains, strict=True)) / sum(weights)
    return value


def test_unlike_lengths_and_truncations_against_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    lengths = [1, 4, 2, 7]
    starts = np.cumsum([0, *lengths[:-1]])
    ended = np.zeros(14, bool)
    ended[[0, 6]] = True  # the first and the third terminate; two are cut by the recording
    actions, rewards = rng.integers(0, 2, 14), rng.normal(size=14)
    table, behaviour = np.array([0.3, 0.7]), np.array([0.6, 0.4])
    data = OfflineDataset.from_arrays(
        np.ones((14, 1)), actions, rewards, np.ones((14, 1)), ended, n_actions=2, episode_starts=starts, dtype=F64
    )
    found = weighted_importance_sampling(Table(table[None]), data, np.log(behaviour)[actions], discount=0.8)
    parts = [slice(start, start + length) for start, length in zip(starts, lengths, strict=True)]
    ratios = [np.log(table / behaviour)[actions[part]].tolist() for part in parts]
    assert found.value == pytest.approx(slow_weighted(ratios, [rewards[part].tolist() for part in parts], 0.8))
    assert "2 truncated" in found.covers


def test_continuous_agents_and_a_clone_of_the_behaviour() -> None:
    config = {"state_dim": 2, "action_dim": 2, "hidden_dim": 8, "discount": 0.5, "device": "cpu"}
    bc, sac = make_agent("bc", config), make_agent("sac", config | {"seed": 1})
    data = OfflineDataset.from_arrays(
        torch.rand(200, 2),
        torch.rand(200, 2),
        torch.rand(200),
        torch.rand(200, 2),
        np.zeros(200, bool),
        episode_starts=range(0, 200, 5),
    )
    by_clone = weighted_importance_sampling(sac, data, bc)
    by_numbers = weighted_importance_sampling(sac, data, bc.log_prob(data.observations, data.actions))
    assert by_clone.value == by_numbers.value and 0 < by_clone.value < 2
    with pytest.raises(ConfigError, match=r"policy: found 'AgentPolicy'; expected a density.*deterministic=False"):
        weighted_importance_sampling(sac, data, bc, deterministic=True)
    with pytest.raises(ConfigError, match="expected a density"):
        weighted_importance_sampling(lambda s, g: s, data, bc, discount=0.5)


# ---------------------------------------------------------------- errors
def test_errors_name_the_field(covering: TabularLog) -> None:
    data, policy = as_dataset(covering), Table(RANDOM)
    for change, field in (
        ({"discount": None}, "discount: found None"),
        ({"discount": 1.5}, "discount: found 1.5"),
        ({"steps": 0}, "steps: found 0"),
        ({"samples": 0}, "samples: found 0"),
        ({"tau": 0}, "learning_rate, tau"),
        ({"n_critics": 0}, "n_critics: found 0"),
        ({"hidden_layers": -1}, "hidden_layers: found -1"),
        ({"log_every": 0}, "log_every: found 0"),
        ({"deterministic": True}, "deterministic: found True"),
        ({"batch_size": 0}, "batch_size: found 0"),
        ({"seed": -1}, "seed: found -1"),
    ):
        with pytest.raises(ConfigError, match=field):
            fitted_q_evaluation(policy, data, **({"steps": 5, "discount": 0.9} | change))
    with pytest.raises(ConfigError, match="dataset: found 'dict'; expected an OfflineDataset"):
        fitted_q_evaluation(policy, {}, 5, discount=0.9)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="actor: found 'int'"):
        fitted_q_evaluation(3, data, 5, discount=0.9)
    with pytest.raises(DataError, match=r"policy probabilities: found shape \[256, 3\]"):
        fitted_q_evaluation(Table(RANDOM[:, :3]), data, 5, discount=0.9)
    for wrong in (lambda s, g: torch.zeros(len(s), 1), lambda s, g: torch.zeros(3)):
        with pytest.raises(DataError, match="policy's actions: found shape"):
            fitted_q_evaluation(wrong, data, 5, discount=0.9)
    with pytest.raises(DivergedError, match=r"bellman_error: found .*inf"):
        fitted_q_evaluation(policy, data.to(dtype=torch.float32), 5, discount=0.9, initial_value=1e30)
    found = fitted_q_evaluation(policy, data, 1, discount=0.9, hidden_dim=4)
    with pytest.raises(DataError, match=r"observations, actions: found shapes \[2, 16\], \[3\]"):
        found.q_values(torch.zeros(2, 16), torch.zeros(3))
    assert math.isnan(found.drift) and "drift" not in str(found) and not found.initial_value().settled
    n, settings = len(data), {"discount": 0.9}
    for log_prob in (np.zeros(n - 1), np.full(n, -np.inf), np.full(n, np.nan)):
        with pytest.raises(DataError, match="behaviour_log_prob: found shape"):
            weighted_importance_sampling(policy, data, log_prob, **settings)
    with pytest.raises(ConfigError, match="resamples: found 999"):
        weighted_importance_sampling(policy, data, np.zeros(n), resamples=999, **settings)
    with pytest.raises(DataError, match="two or more"):
        weighted_importance_sampling(Table([[1, 0]]), bandit([0], [1.0]), [0.0], discount=0.9)


# ---------------------------------------------------------------- a choice
@pytest.mark.slow
def test_fqe_prefers_the_best_of_three(covering: TabularLog) -> None:
    best = tabular.greedy_policy(optimal_q(WORLD, 0.95))
    policies = {"random": RANDOM, "best": best, "mixed": 0.5 * best + 0.125}
    values = {name: float((t * solve_q(WORLD, t, 0.95)).sum(-1)[GOING].mean()) for name, t in policies.items()}
    assert max(values, key=values.__getitem__) == "best" and sorted(values.values())[1] < values["best"] - 0.5
    data, found = as_dataset(covering), {}
    for name, table in policies.items():
        found[name] = fitted_q_evaluation(Table(table), data, 2500, discount=0.95, **LINEAR).initial_value()
        assert found[name].low < found[name].value < found[name].high and found[name].usable
    assert {name: estimate.value for name, estimate in found.items()} == pytest.approx(values, abs=0.3)
    assert pick_best({name: RULES["fqe"].score(estimate.value) for name, estimate in found.items()}) == "best"


def test_a_rule_prefers_the_largest_or_the_smallest_and_never_nan() -> None:
    values = {"lost": math.nan, "a": 1.0, "b": 3.0, "c": 3.0, "d": 1.0}
    chosen = {name: pick_best({k: rule.score(value) for k, value in values.items()}) for name, rule in RULES.items()}
    assert chosen == {"fqe": "b", "initial-value": "b", "wis": "b", "td-error": "a"}  # of equals the first
    assert pick_best({"lost": math.nan}) is None and pick_best({}) is None
    assert all(rule.about.startswith("smallest" if rule.smallest else "largest") for rule in RULES.values())


def test_values_that_no_reward_can_pay_are_not_usable() -> None:
    """Rewards 1 for ever are worth 10: a critic that starts at 20 and cannot move says 20."""
    data = OfflineDataset.from_arrays(
        np.zeros((20, 1)), np.zeros((20, 1)), np.ones(20), np.zeros((20, 1)), np.zeros(20)
    )
    policy, settings = (lambda s, g: torch.zeros(len(s), 1)), {"steps": 1, "discount": 0.9, "hidden_dim": 4}
    for first, possible in ((9.5, True), (20.0, False), (-3.0, False)):
        found = fitted_q_evaluation(policy, data, initial_value=first, learning_rate=1e-9, **settings)
        assert found.initial_value().possible is found.initial_value().usable is possible
    assert str(found.initial_value()).endswith("NOT USABLE: no reward of the log can pay that")


def test_few_effective_episodes_are_not_usable() -> None:
    policy, how = Table([[0.9, 0.1]]), {"discount": 1.0}
    for n, effective in ((20, 24.4), (2, 2.4)):
        data = bandit([0, 1] * n, [1.0, 0.0] * n)
        found = weighted_importance_sampling(policy, data, np.log(np.full(2 * n, 0.5)), **how)
        assert found.value == pytest.approx(0.9) and found.effective_episodes == pytest.approx(effective, abs=0.05)
        assert found.usable is (effective > 10)


def test_fqe_that_diverges_says_so() -> None:
    far = {"steps": 60, "discount": 0.9, "hidden_dim": 8, "log_every": 20}
    with pytest.raises(DivergedError, match="bellman_error"):
        fitted_q_evaluation(lambda s, g: torch.full((len(s), 1), 1e30), small_log(), **far)


def test_smallest_bellman_error_is_not_the_best_policy() -> None:
    """Critics that are 0 everywhere solve a log without rewards perfectly, whatever their policy does."""

    class Zero(Known):
        def q_values(self, s: Tensor, a: Tensor) -> Tensor:
            return 0 * super().q_values(s, a)

    s = torch.rand(100, 1)
    rewards = torch.zeros(100)
    rewards[-1] = 1.0
    data = OfflineDataset.from_arrays(s, torch.rand(100, 1), rewards, s, np.zeros(100, bool))
    known, zero = bellman_error(Known(), data).value, bellman_error(Zero(), data).value
    assert zero == pytest.approx(0.01) and known > zero
    assert pick_best({"known": RULES["td-error"].score(known), "zero": RULES["td-error"].score(zero)}) == "zero"
