"""The ruler is held against independent simulations, closed forms and slow loops."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from cql_tutorial import envs, evaluation
from cql_tutorial.envs import Bandit, Gridworld, Maze, Pendulum, TabularWorld, UniformPolicy, World
from cql_tutorial.envs.tabular import policy_probabilities
from cql_tutorial.errors import ConfigError, DataError
from cql_tutorial.evaluation import estimation_report, monte_carlo_value, optimal_q, solve_q, true_q

torch.set_num_threads(1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_table(states: int, actions: int, seed: int = 0) -> Tensor:
    return torch.softmax(1.5 * torch.randn(states, actions, generator=generator(seed), dtype=torch.float64), -1)


@dataclass
class TablePolicy:
    """A policy given by a table, with every method a policy can have."""

    table: Tensor

    def probabilities(self, observations: Tensor) -> Tensor:
        return self.table.to(observations.dtype)[observations.argmax(-1)]

    def __call__(self, observations: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.multinomial(self.probabilities(observations), 1, generator=generator)[:, 0]

    def sample(self, observations: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        actions = self(observations, generator)
        return actions, self.probabilities(observations).log().gather(1, actions[:, None])[:, 0]


@dataclass(eq=False, kw_only=True)
class Veiled(World):
    """A tabular world whose tables `true_q` cannot see, so that it has to simulate."""

    inner: TabularWorld
    name: ClassVar[str] = "veiled"
    discrete: ClassVar[bool] = True
    terminates: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.observation_dim, self.action_dim = self.inner.observation_dim, self.inner.action_dim
        self.reward_low, self.reward_high = self.inner.reward_low, self.inner.reward_high

    def step(self, states: Tensor, actions: Tensor, generator: torch.Generator | None = None) -> Any:
        return self.inner.step(states, actions, generator)


@dataclass(eq=False, kw_only=True)
class Constant(World):
    """Pays the same reward for ever; actions do nothing."""

    reward: float = 1.0
    low: float = 0.0
    high: float = 1.0
    name: ClassVar[str] = "constant"

    def __post_init__(self) -> None:
        self.reward_low, self.reward_high, self.action_dim = self.low, self.high, 2

    def step(self, states: Tensor, actions: Tensor, generator: torch.Generator | None = None) -> Any:
        return states, torch.full_like(states[:, 0], self.reward), torch.zeros(len(states), dtype=torch.bool)


def small_mdp(seed: int = 0, states: int = 6, actions: int = 3) -> TabularWorld:
    """Dense random transitions, rewards in [-1, 1], one terminal state."""
    g = generator(seed)
    transitions = torch.softmax(2 * torch.randn(states, actions, states, generator=g, dtype=torch.float64), -1)
    rewards = 2 * torch.rand(states, actions, states, generator=g, dtype=torch.float64) - 1
    return TabularWorld.from_tables(transitions, rewards, [False] * (states - 1) + [True])


# ---------------------------------------------------------------- linear solve
def test_gridworld_reproduces_the_measured_figures() -> None:
    world = Gridworld()
    assert optimal_q(world)[56].max().item() == pytest.approx(4.240, abs=5e-4)
    uniform = policy_probabilities(world, UniformPolicy(world))
    assert solve_q(world, uniform)[56].mean().item() == pytest.approx(-7.708, abs=5e-4)


@pytest.mark.slow
def test_linear_solve_agrees_with_an_independent_simulation() -> None:
    """24 pairs, 1,500 episodes each, stepped through the world by hand."""
    world, g = Gridworld(), generator(1)
    table = random_table(64, 4)
    pairs = [(s, a) for s in (56, 48, 0, 27, 55, 36) for a in range(4)]
    runs = 1500
    here = torch.tensor([s for s, _ in pairs]).repeat_interleave(runs)
    actions = torch.tensor([a for _, a in pairs]).repeat_interleave(runs)
    returns, factor = torch.zeros(len(here), dtype=torch.float64), 1.0
    index = torch.arange(len(here))
    for _ in range(300):
        states, rewards, ended = world.step(world.one_hot(here), actions, g)
        returns[index] += factor * rewards.double()
        here, index, factor = states.argmax(-1)[~ended], index[~ended], factor * 0.95
        if not len(index):
            break
        actions = torch.multinomial(table[here], 1, generator=g)[:, 0]
    returns = returns.view(len(pairs), runs)
    states = world.one_hot(torch.tensor([s for s, _ in pairs]))
    exact, half = true_q(world, TablePolicy(table), states, torch.tensor([a for _, a in pairs]))
    error = (returns.mean(1) - exact).abs() / (returns.std(1) / math.sqrt(runs))
    assert (half == 0).all() and exact.dtype == torch.float64 and error.max() < 4, error


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.99])
def test_the_optimum_is_above_every_policy_and_satisfies_bellman(discount: float) -> None:
    world = small_mdp()
    best = optimal_q(world, discount)
    for seed in range(20):
        assert (solve_q(world, random_table(6, 3, seed), discount) <= best + 1e-8).all()
    greedy = torch.nn.functional.one_hot(best.argmax(-1), 3).double()
    assert torch.allclose(solve_q(world, greedy, discount), best, atol=1e-8)
    if discount == 0:
        assert torch.allclose(best, world.expected_rewards)


@pytest.mark.slow
def test_discount_one_needs_an_end() -> None:
    world = Gridworld(slip=0.0)
    table = torch.zeros(64, 4)
    table[:, 1] = 1.0  # everybody walks right: along the wall for ever, except on the bottom row
    with pytest.raises(ConfigError, match="less than 1: from state 0 this policy never terminates"):
        solve_q(world, table, 1.0)
    assert torch.isfinite(solve_q(world, table, 0.99)).all()
    table[7:56:8] = torch.tensor([0.0, 0.0, 1.0, 0.0])  # and down at the right edge
    q = solve_q(world, table, 1.0)
    assert q[0, 1].item() == pytest.approx(10 - 0.1 * 13)  # 14 moves, the last of which pays the goal
    assert q[8, 0].item() == pytest.approx(10 - 0.1 * 14)
    assert optimal_q(world, 1.0)[56].max().item() == pytest.approx(10 - 0.1 * 8)
    loop = TabularWorld.from_tables(torch.ones(1, 1, 1), torch.ones(1, 1), [False])
    with pytest.raises(ConfigError, match="did not settle"):
        optimal_q(loop, 1.0)


def test_terminal_states_are_worth_nothing_and_take_nothing() -> None:
    world = small_mdp()
    assert (solve_q(world, random_table(6, 3), 0.9)[-1] == 0).all() and (optimal_q(world, 0.9)[-1] == 0).all()
    transitions = torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]])  # to the end, whose row would lead back if it were used
    world = TabularWorld.from_tables(transitions, torch.tensor([[2.0], [5.0]]), [False, True])
    assert solve_q(world, torch.ones(2, 1), 0.9, temperature=0.3)[:, 0].tolist() == [2.0, 0.0]


def test_soft_values_agree_with_a_slow_loop() -> None:
    world, table, gamma, temperature = small_mdp(), random_table(6, 3), 0.9, 0.7
    q = [[0.0] * 3 for _ in range(6)]
    for _ in range(400):
        value = [
            sum(float(table[s, a]) * (q[s][a] - temperature * math.log(float(table[s, a]))) for a in range(3))
            for s in range(5)
        ] + [0.0]
        q = [
            [
                sum(
                    float(world.transitions[s, a, t]) * (float(world.transition_rewards[s, a, t]) + gamma * value[t])
                    for t in range(6)
                )
                for a in range(3)
            ]
            for s in range(5)
        ] + [[0.0] * 3]
    assert torch.allclose(solve_q(world, table, gamma, temperature), torch.tensor(q, dtype=torch.float64), atol=1e-9)
    rows = torch.arange(15)
    found, half = true_q(world, TablePolicy(table), world.one_hot(rows // 3), rows % 3, gamma, temperature=temperature)
    assert torch.allclose(found, solve_q(world, table, gamma, temperature).flatten()[:15]) and (half == 0).all()
    one = torch.nn.functional.one_hot(torch.zeros(6, dtype=torch.long), 3).double()
    assert torch.equal(solve_q(world, one, gamma, temperature), solve_q(world, one, gamma))  # 0 log 0 = 0


# ---------------------------------------------------------------- Monte-Carlo
@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_monte_carlo_agrees_with_the_linear_solve(temperature: float) -> None:
    inner = small_mdp()
    table = random_table(6, 3)
    observations = inner.one_hot(torch.arange(15) // 3)
    actions = torch.arange(15) % 3
    exact = solve_q(inner, table, 0.9, temperature).flatten()[:15]
    settings: dict[str, Any] = {"rollouts": 3000, "tolerance": 1e-4, "temperature": temperature, "seed": 3}
    value, half = true_q(Veiled(inner=inner), TablePolicy(table), observations, actions, 0.9, **settings)
    assert value.shape == half.shape == (15,) and value.dtype == torch.float64
    assert ((value - exact).abs() <= 4 / 1.96 * half).all() and (half < 0.15).all()
    few = settings | {"rollouts": 30}
    one, same, other = (
        true_q(Veiled(inner=inner), TablePolicy(table), observations, actions, 0.9, **few | {"seed": seed})[0]
        for seed in (3, 3, 4)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)
    v = (table * (solve_q(inner, table, 0.9, temperature) - temperature * table.log())).sum(-1)[:5]
    found, half = monte_carlo_value(
        Veiled(inner=inner), TablePolicy(table), inner.one_hot(torch.arange(5)), 0.9, **settings
    )
    assert ((found - v).abs() <= 4 / 1.96 * half).all()


@pytest.mark.parametrize(("rollouts", "tolerance"), [(4, 1e-3), (8, 1e-3), (4, 0.2)])
def test_the_interval_covers_the_truth(rollouts: int, tolerance: float) -> None:
    """About 95 % where the noise decides; with an early cut the tail's bound must keep it from falling."""
    inner = small_mdp(seed=2)
    table = random_table(6, 3, 5)
    rows = torch.arange(1500) % 15
    settings: dict[str, Any] = {"rollouts": rollouts, "tolerance": tolerance}
    value, half = true_q(Veiled(inner=inner), TablePolicy(table), inner.one_hot(rows // 3), rows % 3, 0.8, **settings)
    exact = solve_q(inner, table, 0.8).flatten()[rows]
    covered = ((value - exact).abs() <= half).double().mean().item()
    assert covered > 0.93 and (tolerance > 0.1 or covered < 0.975), covered


@pytest.mark.parametrize(("reward", "low", "high"), [(1.0, 0.0, 1.0), (-2.0, -2.0, 0.0), (0.5, -3.0, 1.0)])
def test_the_cut_tail_is_bounded_not_ignored(reward: float, low: float, high: float) -> None:
    world = Constant(reward=reward, low=low, high=high)
    arguments = (world, UniformPolicy(world), torch.zeros(3, 1, dtype=torch.float64), torch.zeros(3, 2), 0.9)
    value, half = true_q(*arguments, tolerance=0.05)
    steps = 29  # the first H with 0.9^H <= 0.05
    left = 0.9**steps / 0.1
    assert value.numpy() == pytest.approx(np.full(3, reward * (10 - left) + left * (low + high) / 2))
    assert half.numpy() == pytest.approx(np.full(3, left * (high - low) / 2))
    assert (value - reward * 10).abs().max() <= half.max() + 1e-9
    assert true_q(*arguments[:4], 0.0)[0].tolist() == pytest.approx([reward] * 3)


def test_soft_value_of_the_uniform_policy_has_a_closed_form() -> None:
    """Two dimensions: log 4 nats a step from the second step on, whatever the reward."""
    world = Constant(reward=0.25)
    states, actions = torch.zeros(4, 1, dtype=torch.float64), torch.zeros(4, 2)
    value, half = true_q(world, UniformPolicy(world), states, actions, 0.9, temperature=0.5, tolerance=1e-6)
    assert value.numpy() == pytest.approx(np.full(4, 2.5 + 9 * 0.5 * math.log(4)), abs=1e-4) and half.max() < 1e-4
    value, _ = monte_carlo_value(world, UniformPolicy(world), states, 0.9, temperature=0.5, tolerance=1e-6)
    assert value.numpy() == pytest.approx(np.full(4, 2.5 + 10 * 0.5 * math.log(4)), abs=1e-4)
    # cut at the first step, the entropy of the tail must still be there
    value, half = true_q(world, UniformPolicy(world), states, actions, 0.5, temperature=1.0, tolerance=0.9)
    assert ((value - 0.5 - math.log(4)).abs() <= half).all()


def test_terminations_end_a_value_and_time_limits_do_not() -> None:
    ends = TabularWorld.from_tables(
        torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]]), torch.tensor([[3.0], [0.0]]), [False, True]
    )
    value, half = true_q(Veiled(inner=ends), TablePolicy(torch.ones(2, 1)), torch.eye(2)[:1], torch.tensor([0]), 0.9)
    assert value.item() == 3.0 and half.item() == 0.0  # no tail after the end, although it is cut at a tolerance
    world = Maze(horizon=3)
    goal, still = torch.tensor([[0.0, 1.8]]), torch.zeros(1, 2)
    value, half = true_q(world, lambda o, g: torch.zeros(len(o), 2), goal, still)
    assert abs(value.item() - 20.0) <= half.item() + 1e-6 and half.item() < 0.02


def test_no_pendulum_value_is_positive_and_float64_stays() -> None:
    world = Pendulum()
    states = world.reset(20, generator(), torch.float64)
    seen: list[torch.dtype] = []

    def policy(observations: Tensor, g: torch.Generator | None) -> Tensor:
        seen.append(observations.dtype)
        return torch.zeros(len(observations), 1, dtype=observations.dtype)

    value, half = true_q(world, policy, world.observe(states), torch.zeros(20, 1, dtype=torch.float64), rollouts=2)
    assert (value < half).all() and set(seen) == {torch.float64} and len(seen) == 134  # .95^135 is the first below 1e-3
    assert (half <= 1e-3 * 16.3 / 0.05 / 2).all()  # deterministic: only the tail is uncertain


# ---------------------------------------------------------------- bandit and quadrature
@pytest.mark.parametrize("actions", [1, 2, 6])
def test_bandit_quadrature_agrees_with_a_million_samples(actions: int) -> None:
    world, g = Bandit(actions=actions), generator(actions)
    a = 2 * torch.rand(1_000_000, actions, generator=g, dtype=torch.float64) - 1
    weights = torch.exp(world.reward_function(a)) * 2.0**actions
    z = evaluation.log_partition_quadrature(world.per_dimension).exp()
    assert abs(weights.mean() - z) < 4 * weights.std() / 1000


@pytest.mark.parametrize("slope", [0.0, 1.0, 30.0, 300.0])
def test_log_partition_of_a_linear_q(slope: float) -> None:
    exact = math.log(2) if slope == 0 else slope + math.log(-math.expm1(-2 * slope) / slope)  # log (2 sinh(c) / c)
    assert evaluation.log_partition_quadrature([lambda a: slope * a]).item() == pytest.approx(exact, abs=2e-5)
    three = evaluation.log_partition_quadrature([lambda a: slope * a] * 3).item()
    assert three == pytest.approx(3 * exact, abs=6e-5)


def test_log_partition_of_a_quadratic_q() -> None:
    def q(a: Tensor) -> Tensor:
        return 0.7 - 0.5 * ((a - 0.2) / 0.1).square()

    area = 0.1 * math.sqrt(math.pi / 2) * (math.erf(0.8 / 0.1 / math.sqrt(2)) + math.erf(1.2 / 0.1 / math.sqrt(2)))
    exact = 0.7 + math.log(area)
    assert evaluation.log_partition_quadrature([q]).item() == pytest.approx(exact, abs=1e-9)
    assert evaluation.log_partition_quadrature(lambda a: q(a[:, 0])).item() == pytest.approx(exact, abs=1e-9)
    # not separable: the same ridge turned by 45 degrees, with room to the walls
    ridge = evaluation.log_partition_quadrature(
        lambda a: -0.5 * (((a[:, 0] + a[:, 1]) / 0.1).square() + ((a[:, 0] - a[:, 1]) / 0.2).square()), 2
    )
    assert ridge.item() == pytest.approx(math.log(2 * math.pi * 0.1 * 0.2 / 2), abs=1e-9)
    with pytest.raises(ConfigError, match="action_dim: found 3"):
        evaluation.log_partition_quadrature(lambda a: a.sum(-1), 3)
    with pytest.raises(ConfigError, match="points: found 100"):
        evaluation.log_partition_quadrature([q], points=100)


def test_the_bandit_is_its_reward_function() -> None:
    world = Bandit(actions=2, noise=1.0)
    actions = 2 * torch.rand(9, 2, generator=generator()) - 1
    value, half = true_q(world, None, torch.zeros(9, 1), actions, 1.0, temperature=0.5)
    assert torch.allclose(value, world.reward_function(actions.double())) and (half == 0).all()


# ---------------------------------------------------------------- refused
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"discount": 1.2}, ConfigError, "discount: found 1.2; expected a number in [0, 1]"),
        ({"discount": -0.1}, ConfigError, "discount: found -0.1"),
        ({"discount": float("nan")}, ConfigError, "discount: found nan"),
        ({"discount": 1.0}, ConfigError, "discount: found 1.0; expected less than 1: Monte-Carlo"),
        ({"rollouts": 1}, ConfigError, "rollouts: found 1; expected a whole number >= 2"),
        ({"tolerance": 0.0}, ConfigError, "tolerance: found 0.0"),
        ({"temperature": -1.0}, ConfigError, "temperature: found -1.0"),
        ({"temperature": 1.0}, ConfigError, "policy: found a function; expected a method sample"),
        ({"observations": torch.zeros(3, 5)}, DataError, "shape [3, 5]; expected shape [n, 2]"),
        ({"observations": torch.full((3, 2), math.nan)}, DataError, "found nan or inf"),
        ({"actions": torch.zeros(3)}, DataError, "maze: actions: found shape (3,)"),
        ({"actions": torch.zeros(2, 2)}, DataError, "maze: actions: found shape (2, 2)"),
        ({"actions": torch.full((3, 2), math.inf)}, DataError, "found nan or inf"),
    ],
)
def test_bad_arguments_are_named(change: dict, error: type[Exception], message: str) -> None:
    good: dict[str, Any] = {"observations": torch.zeros(3, 2), "actions": torch.zeros(3, 2), "discount": 0.5}
    good |= {"policy": lambda observations, g: torch.zeros(len(observations), 2)}
    true_q(Maze(), **good)
    with pytest.raises(error) as caught:
        true_q(Maze(), **good | change)
    assert message in str(caught.value)


def test_bad_tables_are_named() -> None:
    world = Gridworld()
    one = (world.one_hot(torch.tensor([0])), torch.tensor([0]))
    with pytest.raises(ConfigError, match=r"policy: found a function; expected a method probabilities"):
        true_q(world, lambda o, g: torch.zeros(len(o)), *one)
    with pytest.raises(DataError, match=r"policy probabilities: found shape \(3, 4\); expected shape \(64, 4\)"):
        solve_q(world, torch.full((3, 4), 0.25))
    table = torch.full((64, 4), 0.25)
    table[5, 0] = 0.5
    with pytest.raises(DataError, match=r"policy probabilities\[5\]"):
        solve_q(world, table)
    with pytest.raises(DataError, match="not one-hot"):
        true_q(world, torch.full((64, 4), 0.25), torch.full((1, 64), 1 / 64), torch.tensor([0]))
    with pytest.raises(ConfigError, match="temperature"):
        monte_carlo_value(Maze(), None, torch.zeros(2, 2), temperature=-1)


# ---------------------------------------------------------------- the report
@dataclass
class Log:
    observations: Tensor
    actions: Tensor


class Oracle:
    """An agent that knows the truth of its own policy and adds offsets; critic j is off by ``offsets[j]``."""

    def __init__(self, world: World, policy: Any, offsets: tuple[float, ...], **q: Any) -> None:
        self.world, self.own, self.offsets, self.q = world, policy, offsets, q

    def policy(self) -> Any:
        return self.own

    def q_values(self, observations: Tensor, actions: Tensor) -> Tensor:
        value, _ = true_q(self.world, self.own, observations, actions, **self.q)
        return torch.stack([value + offset for offset in self.offsets])


def grid_log(world: TabularWorld, n: int = 500) -> Log:
    states = torch.randint(56, (n,), generator=generator())
    return Log(world.one_hot(states), torch.randint(4, (n,), generator=generator(1)))


@pytest.mark.parametrize(("q", "offset"), [("min", -1.0), ("mean", 0.5), ("max", 2.0)])
def test_the_report_finds_a_known_error(q: str, offset: float) -> None:
    world = Gridworld()
    report = estimation_report(
        Oracle(world, TablePolicy(random_table(64, 4)), (-1.0, 2.0)), world, grid_log(world), q=q
    )
    for kind in ("data", "policy", "uniform"):
        row = report.at(kind)
        for key in ("estimation_error", "median_error", "error_low", "error_high"):
            assert row[key] == pytest.approx(offset, abs=1e-6)
        assert row["predicted"] - row["true"] == pytest.approx(offset) and row["true_half_width"] == 0
        assert row["share_over"] == float(offset > 0) and row["count"] == 200
    assert report.truth == "Q^pi of the learned stochastic policy, exact (linear solve), 200 states"
    assert report.q == q and list(report.summary) == ["data", "policy", "uniform"]
    with pytest.raises(ConfigError, match="kind: found 'logged'; expected one of data, policy, uniform"):
        report.at("logged")


def test_impossible_means_above_every_policy() -> None:
    world = Gridworld()
    table = torch.nn.functional.one_hot(optimal_q(world).argmax(-1), 4).double()
    for offset, expected in ((0.0, False), (0.01, True)):
        report = estimation_report(Oracle(world, TablePolicy(table), (offset,)), world, grid_log(world))
        assert (report.at("policy")["share_impossible"] > 0) is expected
    at = report.raw["data"]
    assert torch.allclose(
        at["bound"], optimal_q(world)[report.observations.argmax(-1), at["actions"].long()], atol=1e-9
    )
    pendulum = Pendulum()
    states = pendulum.observe(pendulum.reset(40, generator()))
    agent = Oracle(pendulum, UniformPolicy(pendulum), (1000.0,))
    report = estimation_report(agent, pendulum, Log(states, torch.zeros(40, 1)), n_states=30, discount=0.5)
    assert all(report.at(kind)["share_impossible"] == 1 for kind in report.summary)
    # All later rewards are at most 0, so the first one is the bound: -(angle^2 + 0.1 speed^2 + 0.001 torque^2).
    (cosine, sine, speed), torque = report.observations.unbind(-1), report.raw["uniform"]["actions"][:, 0]
    cost = torch.atan2(sine, cosine) ** 2 + 0.1 * speed**2 + 0.001 * torque**2
    assert torch.allclose(report.raw["uniform"]["bound"], -cost.double(), atol=1e-4)
    assert estimation_report(agent, pendulum, Log(states, torch.zeros(40, 1)), discount=0.5).at("data")["count"] == 40


def test_the_states_are_common_and_the_actions_are_the_kinds_they_are_called() -> None:
    world = Maze()
    data = envs.stitching_episodes(world, 12, 4, generator=generator())
    log = Log(data["observations"], data["actions"])

    def corner(observations: Tensor, g: torch.Generator | None) -> Tensor:
        return torch.ones(len(observations), 2)

    settings: dict[str, Any] = {"n_states": 50, "discount": 0.5, "rollouts": 3}
    one = estimation_report(Oracle(world, corner, (0.0,), discount=0.5), world, log, **settings)
    two = estimation_report(Oracle(world, UniformPolicy(world), (0.0,), discount=0.5), world, log, **settings)
    three = estimation_report(Oracle(world, corner, (0.0,), discount=0.5), world, log, **settings, seed=1)
    assert torch.equal(one.observations, two.observations) and not torch.equal(one.observations, three.observations)
    for kind in ("data", "uniform"):
        assert torch.equal(one.raw[kind]["actions"], two.raw[kind]["actions"])
    assert (one.raw["policy"]["actions"] == 1).all()
    rows = (log.observations[:, None] == one.observations).all(-1)
    assert rows.any(0).all() and all(
        (log.actions[rows[:, i]] == one.raw["data"]["actions"][i]).all(-1).any() for i in range(50)
    )
    uniform = one.raw["uniform"]["actions"]
    assert uniform.min() < -0.9 and uniform.max() > 0.9 and abs(uniform.mean()) < 0.2
    assert one.truth == "Q^pi of the learned stochastic policy, Monte-Carlo, 50 states x 3 rollouts"
    lines = str(one).splitlines()
    assert one.truth in lines[1] and len({len(line) for line in lines[2:6]}) == 1 and "discount 0.5" in lines[0]


def test_intervals_of_the_report_cover() -> None:
    """The true mean at the chosen states lies in its Monte-Carlo interval in about 95 of 100 reports."""
    inner, table = small_mdp(seed=2), random_table(6, 3, 5)
    veiled, exact = Veiled(inner=inner), solve_q(inner, table, 0.8)
    states = torch.randint(5, (300,), generator=generator())
    log = Log(inner.one_hot(states), torch.randint(3, (300,), generator=generator(1)))
    agent = Oracle(inner, TablePolicy(table), (0.25,), discount=0.8)
    hits, covered = [], []
    for seed in range(60):
        report = estimation_report(agent, veiled, log, n_states=40, discount=0.8, seed=seed)
        for kind in report.summary:
            mean = exact[report.observations.argmax(-1), report.raw[kind]["actions"]].mean()
            row = report.at(kind)
            hits.append(abs(row["true"] - mean.item()) <= row["true_half_width"])
            covered.append(row["error_low"] <= 0.25 <= row["error_high"])
    assert 0.89 <= np.mean(hits) <= 0.995 and 0.89 <= np.mean(covered) <= 0.995


def test_the_report_of_a_package_agent() -> None:
    from cql_tutorial import CQLAgent, SACAgent
    from cql_tutorial.agents import make_agent

    world = Pendulum()
    states = world.observe(world.reset(30, generator()))
    log = Log(states, 4 * torch.rand(30, 1, generator=generator()) - 2)
    config: dict[str, Any] = {"state_dim": 3, "action_dim": 1, "hidden_dim": 16, "action_low": -2.0, "action_high": 2.0}
    config |= {"discount": 0.6, "initial_value": 7.0, "device": "cpu"}
    report = estimation_report(CQLAgent(config), world, log, n_states=20)
    assert (
        report.discount == 0.6 and report.temperature == 0 and report.truth.startswith("Q^pi of the learned stochastic")
    )
    assert report.at("policy")["share_impossible"] == 1 and report.at("policy")["share_over"] == 1
    assert report.raw["uniform"]["actions"].abs().max() > 1.5
    agent = SACAgent(config | {"backup_entropy": True})  # its critics estimate the soft value, and so must the truth
    report = estimation_report(agent, world, log, n_states=20)
    assert report.temperature == pytest.approx(float(agent.temperature)) and report.truth.startswith("soft Q^pi (temp")
    plain = estimation_report(agent, world, log, n_states=20, temperature=0.0)
    more = report.raw["data"]["bound"] - plain.raw["data"]["bound"]  # the entropy of every later step, at most log 2
    assert torch.allclose(more, torch.full_like(more, 0.6 / 0.4 * report.temperature * math.log(2)))
    assert estimation_report(agent, world, log, n_states=20, temperature=0.0).truth.startswith("Q^pi")
    bc = make_agent("bc", {"state_dim": 3, "action_dim": 1, "hidden_dim": 16, "device": "cpu"})
    with pytest.raises(ConfigError, match="agent: found 'BCAgent'; expected an agent with q_values"):
        estimation_report(bc, world, log)
    for change, message in (({"q": "median"}, "q: found 'median'"), ({"n_states": 1}, "n_states: found 1")):
        with pytest.raises(ConfigError, match=message):
            estimation_report(agent, world, log, **change)
    with pytest.raises(DataError, match="the observations of the world 'maze'"):
        estimation_report(agent, Maze(), log)
