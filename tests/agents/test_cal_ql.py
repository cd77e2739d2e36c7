"""Cal-QL against plain re-implementations, closed forms and slow loops in float64; each known mistake is seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import brentq

from cql_tutorial import OfflineDataset, fit, fit_population, losses, make_agent
from cql_tutorial.agents.cal_ql import with_returns_to_go
from cql_tutorial.batch import Noise
from cql_tutorial.errors import ConfigError, CQLWarning, DataError
from tests.agents.test_agents import FAST, SMALL, PlainCQL, build, linear_stack, make_batch, mlp

torch.set_num_threads(1)
BOTH = ["cal-ql", "discrete-cal-ql"]
QUICK: dict[str, Any] = {**FAST, "cql_alpha": 2.0, "cql_n_actions": 2}


def batch_of(name: str, seed: int, size: int = 8, returns_to_go: Any = None) -> dict[str, Any]:
    """A batch with returns-to-go near 0, where the critics start."""
    g = torch.Generator().manual_seed(1000 + seed)
    returns = 0.3 * torch.randn(size, generator=g, dtype=torch.float64)
    returns = returns if returns_to_go is None else torch.full_like(returns, returns_to_go)
    return {**make_batch(seed, size, discrete=name.startswith("discrete")), "returns_to_go": returns}


# ---------------------------------------------------------------- the maximum
def test_the_maximum_and_its_gradient() -> None:
    q = torch.tensor([[[-1.0, 0.0, 2.0], [0.5, 3.0, 5.0]]], dtype=torch.float64, requires_grad=True)  # [1, 2, 3]
    raised = losses.calibrate(q, torch.tensor([0.0, 3.5], dtype=torch.float64))
    assert raised.tolist() == [[[0.0, 0.0, 2.0], [3.5, 3.5, 5.0]]]
    raised.sum().backward()
    assert q.grad.tolist() == [[[0.0, 0.5, 1.0], [0.0, 0.0, 1.0]]]  # a tie counts half
    with pytest.raises(AssertionError):
        losses.calibrate(q, torch.zeros(3))


def test_a_bound_below_all_is_cql_and_one_above_all_a_constant() -> None:
    g = torch.Generator().manual_seed(0)
    q, log_density = torch.randn(2, 5, 4, generator=g).double(), torch.randn(5, 4, generator=g).double()
    q_data = torch.randn(2, 5, generator=g).double()
    low, high = torch.full((5,), -math.inf).double(), torch.linspace(100, 104, 5).double()
    assert torch.equal(losses.calibrate(q, low), q)
    # Then log (1/K) sum_k exp(G) / q(a_k) = G + log-mean of 1 / q.
    expected = high + (-log_density).exp().mean(-1).log()
    found = losses.cql_penalty(losses.calibrate(q, high), log_density, q_data)
    assert torch.allclose(found, (expected - q_data).mean(-1), atol=1e-12)


def test_no_policy_candidate_is_pushed_below_the_return() -> None:
    """dPenalty / dQ on a table: 0 where a policy's candidate is below G, the softmax of what counts elsewhere."""
    q_uniform = torch.tensor([[[0.0, 1.0]]], dtype=torch.float64, requires_grad=True)
    q_policy = torch.tensor([[[-1.0, 3.0]]], dtype=torch.float64, requires_grad=True)
    log_density = torch.tensor([[-0.7, -0.7, 0.4, 1.1]], dtype=torch.float64)
    raised = losses.calibrate(q_policy, torch.tensor([2.0], dtype=torch.float64))
    losses.cql_penalty(torch.cat([q_uniform, raised], -1), log_density, torch.zeros(1, 1).double()).sum().backward()
    counted = torch.softmax(torch.tensor([0.0, 1.0, 2.0, 3.0]).double() - log_density[0], -1)
    assert torch.allclose(q_uniform.grad.flatten(), counted[:2], atol=1e-12)
    assert torch.allclose(q_policy.grad.flatten(), torch.stack([0 * counted[2], counted[3]]), atol=1e-12)


# ---------------------------------------------------------------- a plain re-implementation
class PlainCalQL(PlainCQL):
    """Cal-QL as a textbook would write it; ``fault`` names a mistake that it then makes."""

    def __init__(self, agent: Any, fault: str | None = None) -> None:
        super().__init__(agent)
        self.fault, self.raised = fault, [0.0]

    def penalty(self, q: list[torch.Tensor], batch: dict[str, Any], noise: Noise) -> torch.Tensor:
        s, returns, terms = batch["observations"], batch["returns_to_go"], []
        for n in range(self.c.cql_n_actions):
            value = self.value(q, s, noise.uniform[:, n])
            if self.fault == "uniform candidates too":
                value = torch.where(value < returns, returns, value)
            terms.append(value + self.c.action_dim * math.log(2))
            for state, eps in ((s, noise.policy), (batch["next_observations"], noise.next_policy)):
                if eps is None:
                    continue
                with torch.no_grad():
                    action, log_prob = self.sample(state, eps[:, n])
                value = self.value(q, s, action)
                self.raised.append(float((value < returns).double().mean()))
                if self.fault == "after log pi":
                    terms.append(torch.maximum(value - log_prob, returns))
                    continue
                raised = value > returns if self.fault == "min for max" else value < returns
                if self.fault == "next policy's candidates left out" and state is not s:
                    raised = torch.zeros_like(raised)
                terms.append(torch.where(raised, returns, value) - log_prob)
        q_data = self.value(q, s, batch["actions"])
        if self.fault == "data term too":
            q_data = torch.maximum(q_data, returns)
        return (torch.stack(terms).exp().mean(0).log() - q_data).mean()

    def update(self, batch: dict[str, Any], noise: Noise, policy_too: bool = True) -> None:
        self.raised = []
        super().update(batch, noise, policy_too)
        self.metrics["bound_rate"] = float(np.mean(self.raised))


CASES = [
    {},
    {"next_policy_proposal": False, "n_critics": 3, "cql_n_actions": 3},
    {"backup_entropy": True, "discount": 0.5, "hidden_layers": 1, "initial_value": 0.2},
]


@pytest.mark.parametrize("settings", [CASES[0], *(pytest.param(case, marks=pytest.mark.slow) for case in CASES[1:])])
def test_updates_equal_a_plain_implementation(settings: dict[str, Any]) -> None:
    agent = build("cal-ql", **{**QUICK, **settings})
    plain, rates = PlainCalQL(agent), []
    for step in range(50):
        batch, noise = batch_of("cal-ql", step), agent.draw_noise(8)
        metrics = agent.update(batch, noise)
        plain.update(batch, noise)
        rates.append(float(metrics["bound_rate"]))
        assert {key: float(value) for key, value in metrics.items()} == pytest.approx(plain.metrics, abs=1e-9)
    assert plain.largest_difference(agent) < 1e-9
    assert 0.05 < np.mean(rates) < 0.95 and np.std(rates) > 0  # some are raised, some are not


FAULTS = ["after log pi", "uniform candidates too", "min for max", "data term too", "next policy's candidates left out"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_maximum_is_seen(fault: str) -> None:
    agent = build("cal-ql", **QUICK)
    wrong = PlainCalQL(agent, fault)
    for step in range(3):
        batch, noise = batch_of("cal-ql", step), agent.draw_noise(8)
        agent.update(batch, noise)
        wrong.update(batch, noise)
    assert wrong.largest_difference(agent) > 1e-4


class PlainDiscrete:
    """Discrete Cal-QL with one network a critic."""

    def __init__(self, agent: Any, fault: str | None = None) -> None:
        self.c, self.fault = agent.config, fault
        self.q = [linear_stack(agent.critic, j) for j in range(self.c.n_critics)]
        self.target = [[t.detach().clone() for t in member] for member in self.q]
        self.optimizer = torch.optim.Adam([t for member in self.q for t in member], self.c.critic_lr)

    def update(self, batch: dict[str, Any]) -> None:
        s, s2, returns = batch["observations"], batch["next_observations"], batch["returns_to_go"]
        with torch.no_grad():
            best = sum(mlp(member, s2) for member in self.q).argmax(1, keepdim=True)
            v = torch.stack([mlp(member, s2).gather(1, best)[:, 0] for member in self.target]).min(0).values
            y = batch["rewards"] + self.c.discount * (1 - batch["terminations"].double()) * v
        loss = torch.zeros((), dtype=torch.float64)
        for member in self.q:
            table = mlp(member, s)
            g = returns[:, None].expand_as(table)
            raised = torch.where(table > g if self.fault == "min for max" else table < g, g, table)
            chosen = table.gather(1, batch["actions"][:, None])[:, 0]
            pulled = raised.gather(1, batch["actions"][:, None])[:, 0] if self.fault == "data term too" else chosen
            penalty = (raised.exp().sum(1).log() - pulled).mean()
            loss = loss + F.mse_loss(chosen, y) + self.c.cql_alpha * penalty
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            for member, old in zip(self.q, self.target, strict=True):
                for p, t in zip(member, old, strict=True):
                    t += self.c.tau * (p - t)

    def largest_difference(self, agent: Any) -> float:
        pairs = [(linear_stack(agent.critic, j), member) for j, member in enumerate(self.q)]
        pairs += [(linear_stack(agent.target_critic, j), member) for j, member in enumerate(self.target)]
        return max(float((a - b).detach().abs().max()) for x, y in pairs for a, b in zip(x, y, strict=True))


def discrete_pair(fault: str | None = None) -> tuple[Any, PlainDiscrete]:
    agent = build("discrete-cal-ql", cql_alpha=0.7, critic_lr=1e-2, tau=0.1, n_critics=2)
    return agent, PlainDiscrete(agent, fault)


def test_discrete_updates_equal_a_plain_implementation() -> None:
    agent, plain = discrete_pair()
    rates = []
    for step in range(50):
        batch = batch_of("discrete-cal-ql", step)
        table = agent.critic(batch["observations"]).detach()
        rates.append(float((table < batch["returns_to_go"][None, :, None]).double().mean()))
        assert float(agent.update(batch)["bound_rate"]) == pytest.approx(rates[-1], abs=1e-12)
        plain.update(batch)
    assert plain.largest_difference(agent) < 1e-9 and 0.05 < np.mean(rates) < 0.95


@pytest.mark.parametrize("fault", ["min for max", "data term too"])
def test_a_wrong_discrete_maximum_is_seen(fault: str) -> None:
    agent, wrong = discrete_pair(fault)
    for step in range(3):
        agent.update(batch_of("discrete-cal-ql", step))
        wrong.update(batch_of("discrete-cal-ql", step))
    assert wrong.largest_difference(agent) > 1e-4


# ---------------------------------------------------------------- where the bound sleeps, it is CQL
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("settings", [{}, {"proposal_weights": "mixture", "next_policy_proposal": False}, "lagrange"])
def test_a_bound_of_minus_infinity_is_cql_bit_for_bit(settings: Any, dtype: str) -> None:
    config: dict[str, Any] = {"cql_lagrange": True} if settings == "lagrange" else settings
    ours, theirs = (build(name, **{**QUICK, **config, "dtype": dtype}) for name in ("cal-ql", "cql"))
    for step in range(5):
        first = ours.update(batch_of("cal-ql", step, returns_to_go=-math.inf))
        second = theirs.update(make_batch(step))
        assert float(first.pop("bound_rate")) == 0.0 and first == second
    assert all(torch.equal(value, theirs.state()[key]) for key, value in ours.state().items())


def test_a_discrete_bound_of_minus_infinity_is_discrete_cql_bit_for_bit() -> None:
    ours, theirs = build("discrete-cal-ql", critic_lr=1e-2), build("discrete-cql", critic_lr=1e-2)
    for step in range(5):
        ours.update(batch_of("discrete-cal-ql", step, returns_to_go=-math.inf))
        theirs.update(make_batch(step, discrete=True))
    assert all(torch.equal(value, theirs.state()[key]) for key, value in ours.state().items())


def test_a_bound_above_all_leaves_the_uniform_candidates_and_the_data() -> None:
    """Then the policy's candidates are the constants G - log pi, and the critics' gradient knows nothing of them."""
    agent, other = build("cal-ql", **QUICK), build("cal-ql", **QUICK)
    batch, noise = batch_of("cal-ql", 0, returns_to_go=50.0), agent.draw_noise(8)
    policy, next_policy = agent.actor(batch["observations"]), agent.actor(batch["next_observations"])
    candidates, log_density = agent.sample_candidates(policy, next_policy, noise)
    q = agent.critic(batch["observations"], torch.cat([batch["actions"][:, None], candidates], 1)).detach()
    weighted = torch.cat([q[..., 1:3], torch.full_like(q[..., 3:], 50.0)], -1) - log_density
    expected = float((weighted.exp().mean(-1).log() - q[..., 0]).mean().detach())
    metrics = agent.update(batch, noise)
    assert float(metrics["cql_loss"]) == pytest.approx(expected, abs=1e-9) and float(metrics["bound_rate"]) == 1.0
    # exp(50) beside exp(Q) leaves the uniform candidates without weight too: only the pull on the data remains.
    s, a = batch["observations"], batch["actions"]
    with torch.no_grad():
        action = other.actor(batch["next_observations"]).sample(noise.target).actions
        next_value = other.target_critic(batch["next_observations"], action).amin(0)
        target = losses.td_target(batch["rewards"], batch["terminations"], next_value, 0.99)
    q_data = other.critic(s, a)
    loss = (losses.td_loss(q_data, target) - 2.0 * q_data.mean(-1)).sum()
    wanted = torch.autograd.grad(loss, list(other.critic.parameters()))
    for parameter, gradient in zip(agent.critic.parameters(), wanted, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-12)


def test_untried_actions_are_pushed_to_the_return_and_no_further() -> None:
    """One state, three actions, the log knows the first alone: it pays 1 and ends, so G is 1. All Q start at 2.

    The two untried ones go down to 1 and stay. The logged one then solves ``2 (q - 1) = alpha (1 - p)`` with
    ``p = exp(q) / (exp(q) + 2 exp(1))``. CQL pushes the untried ones on.
    """
    zeros, rewards = torch.zeros(4, 1, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    batch = {"observations": zeros, "next_observations": zeros, "actions": torch.zeros(4, dtype=torch.int64)}
    batch |= {"rewards": rewards, "terminations": torch.ones(4, dtype=torch.bool), "returns_to_go": rewards}
    found = {}
    for name in ("discrete-cal-ql", "discrete-cql"):
        shape = {"state_dim": 1, "action_dim": 3, "hidden_layers": 0, "initial_value": 2.0, "critic_lr": 2e-2}
        agent = build(name, **shape)
        for _ in range(300):
            agent.update(batch)
        found[name] = agent.critic(zeros[:1]).detach().flatten().numpy()
    calibrated, plain = found["discrete-cal-ql"], found["discrete-cql"]
    assert (calibrated[1:] > 0.7).all() and (calibrated[1:] <= 1.0).all() and (plain[1:] < 0.0).all()
    root = brentq(lambda q: 2 * (q - 1) - (1 - math.exp(q) / (math.exp(q) + 2 * math.e)), 0.0, 3.0)
    assert calibrated[0] == pytest.approx(root, abs=1e-3)


# ---------------------------------------------------------------- the returns that fit supplies
REWARDS = [1.0, 2.0, -1.0, 0.5, 3.0, -2.0, 1.5, 0.25, 1.0, 4.0]
TERMINATED, TRUNCATED, JUMPED = {2}, {5, 9}, {7}  # rows; the last row of the log is a truncation


def log(discrete: bool = False, factor: float = 1.0, rewards: Any = None) -> OfflineDataset:
    """Ten rows: an episode that terminates, one that is cut, and one with a gap that no flag tells of."""
    g = torch.Generator().manual_seed(0)
    states = torch.randn(len(REWARDS) + 1, 3, generator=g, dtype=torch.float64)
    following = states[1:].clone()
    for row in TERMINATED | TRUNCATED | JUMPED:
        following[row] = 7.0 + row
    flags = {
        name: torch.tensor([row in rows for row in range(len(REWARDS))])
        for name, rows in (("terminations", TERMINATED), ("truncations", TRUNCATED))
    }
    numbers = torch.rand(len(REWARDS), 2, generator=g, dtype=torch.float64) - 0.5
    return OfflineDataset.from_arrays(
        states[:-1],
        (numbers[:, 0] > 0).long() if discrete else numbers,
        factor * torch.tensor(REWARDS if rewards is None else rewards, dtype=torch.float64),
        following,
        **flags,
        n_actions=2 if discrete else None,
        dtype=torch.float64,
    )


def slow_returns(discount: float, value: float, fault: str | None = None) -> list[float]:
    """G of each row, summed forwards from it; ``fault`` names a mistake."""
    found = []
    for start in range(len(REWARDS)):
        total, weight = 0.0, 1.0
        for row in range(start, len(REWARDS)):
            total += weight * (10.0 if fault == "rewards x 10" else 1.0) * REWARDS[row]
            weight *= 1.0 if fault == "undiscounted" else discount
            jump = row in JUMPED and fault != "across the jump"
            if row in TERMINATED:
                total += weight * value if fault == "bootstrapped at terminations" else 0.0
                break
            if row in TRUNCATED or jump:
                total += 0.0 if fault == "0 at truncations" else weight * value
                break
        found.append(total)
    return found


@pytest.mark.parametrize("name", BOTH)
def test_fit_supplies_the_returns(name: str) -> None:
    data = log(name.startswith("discrete"))
    agent = build(name, discount=0.9, truncation_value=6.0)
    found = agent.prepare_dataset(data).batch_returns
    assert found.tolist() == pytest.approx(slow_returns(0.9, 6.0), abs=1e-12)
    for fault in (
        "rewards x 10",
        "undiscounted",
        "across the jump",
        "bootstrapped at terminations",
        "0 at truncations",
    ):
        assert found.tolist() != pytest.approx(slow_returns(0.9, 6.0, fault), abs=0.1), fault
    own = data.with_returns_to_go(0.5, truncation_value=-1.0)
    assert agent.prepare_dataset(own).batch_returns is own.batch_returns  # a bound of one's own stays


def test_a_run_of_fit_is_the_plain_one_on_the_slow_returns() -> None:
    data, settings = log(), {**QUICK, "discount": 0.9, "truncation_value": 0.3}
    agent, twin = build("cal-ql", **settings), build("cal-ql", **settings)
    wrong = {fault: PlainCalQL(twin) for fault in ("0 at truncations", "undiscounted", "rewards x 10")}
    plain, right = PlainCalQL(twin), torch.tensor(slow_returns(0.9, 0.3)).double()
    history = fit(agent, data, 8, batch_size=4, seed=5, log_every=1, progress=False)
    rows = data.with_returns_to_go(0.9).batches(8, 4, seed=5)
    for step, batch in enumerate(rows):
        index = [int((data.observations == row).all(1).nonzero()) for row in batch.observations]
        noise = twin.draw_noise(4)
        columns = {key: batch[key] for key in make_batch(0)}
        plain.update({**columns, "returns_to_go": right[index]}, noise)
        for fault, other in wrong.items():
            returns = torch.tensor(slow_returns(0.9, 0.3, fault)).double()
            other.update({**columns, "returns_to_go": returns[index]}, noise)
        assert history["bound_rate"][step] == pytest.approx(plain.metrics["bound_rate"], abs=1e-12)
    assert plain.largest_difference(agent) < 1e-9 and 0 < np.mean(history["bound_rate"]) < 1
    assert all(other.largest_difference(agent) > 1e-4 for other in wrong.values())


@pytest.mark.parametrize("name", BOTH)
def test_without_a_truncation_value_a_cut_episode_goes_on_like_an_average_row(name: str) -> None:
    data = log(name.startswith("discrete"))
    found = build(name, discount=0.9).prepare_dataset(data).batch_returns
    value = (float(found[9]) - REWARDS[9]) / 0.9  # of the last row's truncation
    assert value == pytest.approx(float(found.mean()), abs=1e-12)
    assert found.tolist() == pytest.approx(slow_returns(0.9, value), abs=1e-12)


def test_an_average_row_of_a_task_that_never_ends_is_worth_its_perpetuity() -> None:
    """Rewards of 2 and no end: G is 2 / (1 - discount) everywhere, however short the episodes are."""
    n = 12
    states = torch.arange(n + 1, dtype=torch.float64)[:, None]
    cut = torch.arange(n) % 4 == 3
    data = OfflineDataset.from_arrays(
        states[:-1], torch.zeros(n, 1), torch.full((n,), 2.0), states[1:], torch.zeros(n, dtype=torch.bool), cut
    )
    assert with_returns_to_go(data, 0.9, None).batch_returns.tolist() == pytest.approx([20.0] * n, rel=1e-6)
    with pytest.raises(ConfigError, match=r"truncation_value.*no episode of the log ends"):
        with_returns_to_go(data, 1.0, None)
    assert with_returns_to_go(data, 1.0, 5.0).batch_returns[-1] == 7.0


@pytest.mark.parametrize("name", BOTH)
def test_rewards_and_their_scale_go_into_the_returns_alike(name: str) -> None:
    settings: dict[str, Any] = {"critic_lr": 1e-2, "initial_value": 0.5}
    runs = []
    for factor in (1.0, 4.0):
        agent = build(name, **{**settings, "initial_value": 0.5 * factor, "reward_scale": 1 / factor})
        history = fit(agent, log(name.startswith("discrete"), factor), 20, batch_size=4, log_every=1, progress=False)
        runs.append((agent, history))
    assert runs[0][1]["bound_rate"] == runs[1][1]["bound_rate"] and 0 < np.mean(runs[0][1]["bound_rate"]) < 1
    for key, value in runs[0][0].state().items():
        assert torch.allclose(value, runs[1][0].state()[key], atol=1e-12), key


# ---------------------------------------------------------------- bad input, faster forms
@pytest.mark.parametrize("name", BOTH)
def test_a_batch_without_returns_is_refused(name: str) -> None:
    agent = build(name)
    before = {key: value.clone() for key, value in agent.state().items()}
    batch = batch_of(name, 0)
    for change, says in (
        ({"returns_to_go": None}, r"returns_to_go.*no such key.*with_returns_to_go\(discount\)"),
        ({"returns_to_go": torch.zeros(8, 1)}, r"returns_to_go.*shape \[8, 1\]"),
        ({"returns_to_go": torch.zeros(8, dtype=torch.int64)}, r"returns_to_go.*int64"),
    ):
        with pytest.raises(DataError, match=says):
            agent.update({**batch, **change})
    assert all(torch.equal(before[key], value) for key, value in agent.state().items())


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), "10", True])
def test_a_truncation_value_that_is_no_finite_number_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"config\['truncation_value'\]"):
        build(name, truncation_value=value)


def test_its_faster_form_is_refused_and_a_population_trained_one_by_one() -> None:
    data = log()
    with pytest.raises(ConfigError, match=r"only SAC and CQL have one.*fast=False"):
        fit(build("cal-ql"), data, 1, batch_size=4, progress=False, fast=True)
    configs = [{**SMALL, "seed": seed} for seed in (0, 1)]
    with pytest.warns(CQLWarning, match="'cal-ql' is trained member by member.*only SAC and CQL"):
        members = fit_population("cal-ql", configs, data, 3, batch_size=4, progress=False)
    for config, member in zip(configs, members, strict=True):
        alone = make_agent("cal-ql", config)
        fit(alone, data, 3, batch_size=4, seed=config["seed"], progress=False)
        assert all(torch.equal(value, member.agent.state()[key]) for key, value in alone.state().items())
