"""Implicit Q-learning against closed forms, root finding, slow loops and an update written by hand, in float64."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar

import cql_tutorial
from cql_tutorial import (
    DiscreteIQLAgent,
    DiscreteIQLConfig,
    IQLAgent,
    IQLConfig,
    OfflineDataset,
    fit,
    load_agent,
    losses,
    make_agent,
)
from cql_tutorial.agents.checkpoint import read_tensors
from cql_tutorial.envs import Maze, stitching_episodes
from cql_tutorial.errors import ConfigError, DataError
from cql_tutorial.evaluation import evaluate_policy
from cql_tutorial.networks import LOG_STD_RANGE
from tests.agents.test_agents import SMALL, build, linear_stack, make_batch, mlp

torch.set_num_threads(1)
BOTH = ["iql", "discrete-iql"]
FAST = {"critic_lr": 1e-2, "value_lr": 2e-2, "actor_lr": 3e-2, "tau": 0.05, "inverse_temperature": 1.5}


def batch_of(name: str, seed: int, size: int = 8, **change: Any) -> dict[str, Any]:
    return {**make_batch(seed, size, discrete=name == "discrete-iql"), **change}


def expectile_of(values: np.ndarray, expectile: float) -> float:
    """The v at which the pulls from above and below are equal, by root finding."""

    def pull(v: float) -> float:
        above, below = np.maximum(values - v, 0.0), np.maximum(v - values, 0.0)
        return float(expectile * above.sum() - (1.0 - expectile) * below.sum())

    return float(brentq(pull, values.min(), values.max(), xtol=1e-14))


# ---------------------------------------------------------------- the losses
@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 9), expectile=st.floats(0.01, 0.99), beta=st.floats(0.0, 5.0), seed=st.integers(0, 10_000))
def test_losses_equal_slow_loops(size: int, expectile: float, beta: float, seed: int) -> None:
    u = 3.0 * np.random.default_rng(seed).normal(size=size)
    total = 0.0
    for x in u:
        total += (abs(expectile - 1.0) if x < 0 else expectile) * x * x
    tensor = torch.from_numpy(u)
    assert float(losses.expectile_loss(tensor, expectile)) == pytest.approx(total / size, abs=1e-12)
    weights = losses.advantage_weights(tensor, beta, 100.0)
    assert weights.tolist() == pytest.approx([min(math.exp(beta * x), 100.0) for x in u], rel=1e-12)


def test_the_density_is_the_normals_own() -> None:
    g = torch.Generator().manual_seed(0)
    values, mean = torch.randn(2, 7, 3, generator=g, dtype=torch.float64)
    log_std = torch.randn(3, generator=g, dtype=torch.float64)
    expected = torch.distributions.Normal(mean, log_std.exp()).log_prob(values).sum(-1)
    assert torch.allclose(losses.normal_log_prob(values, mean, log_std), expected, atol=1e-12)


@pytest.mark.parametrize("expectile", [0.1, 0.5, 0.7, 0.9, 0.999])
def test_the_minimiser_of_the_loss_is_the_expectile(expectile: float) -> None:
    q = np.random.default_rng(1).normal(size=12)
    root, tensor = expectile_of(q, expectile), torch.from_numpy(q)
    v = torch.tensor(root, dtype=torch.float64, requires_grad=True)
    losses.expectile_loss(tensor - v, expectile).backward()
    assert abs(float(v.grad)) < 1e-12
    found = minimize_scalar(lambda x: float(losses.expectile_loss(tensor - x, expectile)), bracket=(-3, 3), tol=1e-12)
    assert found.x == pytest.approx(root, abs=1e-6)
    if expectile == 0.5:  # equal weights: the mean
        assert root == pytest.approx(q.mean(), abs=1e-12)
    if expectile == 0.999:  # towards the largest
        assert np.sort(q)[-2] < root < q.max() and q.max() - root < 0.05


def test_the_expectile_is_a_weighted_least_squares_fit() -> None:
    """Given who lies above, a linear V solves the normal equations X' W (X w - q) = 0; one half gives plain ones."""
    rng = np.random.default_rng(2)
    x, q = rng.normal(size=(40, 3)), rng.normal(size=40)
    for expectile in (0.5, 0.8):
        w = np.zeros(3)
        for _ in range(100):
            weight = np.where(q - x @ w < 0, 1.0 - expectile, expectile)[:, None]
            w = np.linalg.solve(x.T @ (weight * x), x.T @ (weight[:, 0] * q))
        leaf = torch.from_numpy(w).requires_grad_()
        losses.expectile_loss(torch.from_numpy(q) - torch.from_numpy(x) @ leaf, expectile).backward()
        assert float(leaf.grad.abs().max()) < 1e-12
        if expectile == 0.5:
            assert w == pytest.approx(np.linalg.lstsq(x, q, rcond=None)[0], abs=1e-10)


def test_weights_are_constants_and_never_overflow() -> None:
    advantage = torch.tensor([-1e4, 0.0, 0.5, 1e4], requires_grad=True)
    weights = losses.advantage_weights(advantage, 10.0, 100.0)
    assert not weights.requires_grad
    assert weights.tolist() == pytest.approx([0.0, 1.0, 100.0, 100.0])
    assert losses.advantage_weights(advantage, 0.0, 100.0).tolist() == [1.0] * 4


# ---------------------------------------------------------------- a plain re-implementation
class PlainIQL:
    """The update as a textbook would write it: one network a critic, all losses from the state before the update."""

    def __init__(self, agent: Any) -> None:
        self.c, self.discrete = agent.config, agent.discrete
        self.q = [linear_stack(agent.critic, j) for j in range(self.c.n_critics)]
        self.q_target = [[t.detach().clone() for t in q] for q in self.q]
        self.v, self.pi = linear_stack(agent.value, 0), linear_stack(agent.actor, 0)
        if not self.discrete:
            self.pi = [*self.pi, torch.zeros(self.c.action_dim, dtype=torch.float64, requires_grad=True)]
        self.opt = [
            torch.optim.Adam([t for q in self.q for t in q], self.c.critic_lr),
            torch.optim.Adam(self.v, self.c.value_lr),
            torch.optim.Adam(self.pi, self.c.actor_lr),
        ]
        self.metrics: dict[str, float] = {}

    def value_of(self, q: list[torch.Tensor], s: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        if self.discrete:
            table = mlp(q, s)
            return torch.stack([table[b, a[b]] for b in range(len(a))])
        return mlp(q, torch.cat([s, a], -1))[:, 0]

    def log_prob(self, s: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        if self.discrete:
            return torch.distributions.Categorical(logits=mlp(self.pi, s)).log_prob(a)
        mean = torch.tanh(mlp(self.pi[:-1], s))
        return torch.distributions.Normal(mean, self.pi[-1].exp()).log_prob(a).sum(-1)

    def update(self, batch: dict[str, Any]) -> None:
        c, s, a, size = self.c, batch["observations"], batch["actions"], len(batch["rewards"])
        v = mlp(self.v, s)[:, 0]
        next_v = mlp(self.v, batch["next_observations"])[:, 0].detach()
        lowest = torch.stack([self.value_of(q, s, a) for q in self.q_target]).min(0).values
        loss_v, loss_pi = torch.zeros(2, dtype=torch.float64)
        log_prob, weights, advantages = self.log_prob(s, a), [], []
        for b in range(size):
            u = lowest[b] - v[b]
            advantage = float(u.detach())
            loss_v = loss_v + ((1 - c.expectile) if advantage < 0 else c.expectile) * u**2 / size
            weight = min(math.exp(c.inverse_temperature * advantage), c.advantage_cap)
            loss_pi = loss_pi - weight * log_prob[b] / size
            weights.append(weight)
            advantages.append(advantage)
        target = batch["rewards"] + c.discount * (1 - batch["terminations"].double()) * next_v
        errors = [(self.value_of(q, s, a) - target).square().mean() for q in self.q]
        q_data = torch.stack([self.value_of(q, s, a) for q in self.q]).mean()
        self.metrics = {
            "q_value": q_data.item(), "value": v.mean().item(), "td_loss": sum(errors).item() / len(errors),
            "value_loss": loss_v.item(), "policy_loss": loss_pi.item(), "advantage": float(np.mean(advantages)),
            "advantage_weight": float(np.mean(weights)),
            "share_capped": float(np.mean([weight == c.advantage_cap for weight in weights])),
        }  # fmt: skip
        for optimizer, loss in zip(self.opt, (sum(errors), loss_v, loss_pi), strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            for q, old in zip(self.q, self.q_target, strict=True):
                for p, t in zip(q, old, strict=True):
                    t += c.tau * (p - t)

    def largest_difference(self, agent: Any) -> float:
        actor = linear_stack(agent.actor, 0) + ([] if self.discrete else [agent.actor.log_std])
        pairs = [(self.v, linear_stack(agent.value, 0)), (self.pi, actor)]
        for j in range(self.c.n_critics):
            pairs.append((self.q[j], linear_stack(agent.critic, j)))
            pairs.append((self.q_target[j], linear_stack(agent.target_critic, j)))
        return max(float((x - y).detach().abs().max()) for ours, own in pairs for x, y in zip(ours, own, strict=True))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"expectile": 0.95, "advantage_cap": 1.2},
        {"n_critics": 3, "discount": 0.5, "hidden_layers": 1, "initial_value": 2.0},
        {"n_critics": 1, "inverse_temperature": 0.0, "expectile": 0.5},
    ],
)
@pytest.mark.parametrize("name", BOTH)
def test_updates_equal_a_plain_implementation(name: str, change: dict[str, Any]) -> None:
    agent = build(name, **{**FAST, **change})
    plain, start = PlainIQL(agent), agent.value.weights[0].detach().clone()
    capped = []
    for step in range(20):
        batch = batch_of(name, step)
        metrics = {key: float(value) for key, value in agent.update(batch).items()}
        plain.update(batch)
        assert metrics == pytest.approx(plain.metrics, abs=1e-9)
        capped.append(metrics["share_capped"])
    assert plain.largest_difference(agent) < 1e-9
    assert float((agent.value.weights[0].detach() - start).abs().max()) > 1e-2
    if "advantage_cap" in change:
        assert 0 < max(capped) < 1


# ---------------------------------------------------------------- what reaches what
@pytest.mark.parametrize("name", BOTH)
def test_each_loss_moves_its_own_network_alone(name: str) -> None:
    first, other = build(name), build(name)
    batch = batch_of(name, 0)
    first.update(batch)
    other.update({**batch, "rewards": batch["rewards"] + 5.0})  # rewards enter the critics' loss alone
    same = {"critic": False, "target_critic": False, "value": True, "actor": True}
    for key, module in first.named_children():
        pairs = zip(module.parameters(), other.get_submodule(key).parameters(), strict=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs) is same[key], key
    assert all(not p.requires_grad and p.grad is None for p in first.target_critic.parameters())

    # V's gradient is that of its own loss with the target critics constant: the policy's weights send none.
    agent = build(name)
    values = agent.value(batch["observations"])
    lowest = agent.q_of(agent.target_critic, batch["observations"], batch["actions"]).amin(0)
    wanted = torch.autograd.grad(losses.expectile_loss(lowest - values, 0.7), list(agent.value.parameters()))
    agent.update(batch)
    for parameter, gradient in zip(agent.value.parameters(), wanted, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-15)


@pytest.mark.parametrize("name", BOTH)
def test_terminations_cut_the_next_value(name: str) -> None:
    losses_at = {}
    for done in (True, False):  # with no reward the target is 0 or 0.99 * 50, and every Q is near 50
        batch = batch_of(name, 0, terminations=torch.full((8,), done), rewards=torch.zeros(8, dtype=torch.float64))
        losses_at[done] = float(build(name, initial_value=50.0).update(batch)["td_loss"])
    assert losses_at[True] > 45.0**2 and losses_at[False] < 5.0**2


@pytest.mark.parametrize("name", BOTH)
def test_no_other_action_is_ever_asked_about(name: str) -> None:
    agent, before = build(name), build(name).generator.get_state()
    assert all(value is None for value in vars(agent.draw_noise(8)).values())
    agent.update(batch_of(name, 0))
    assert torch.equal(agent.generator.get_state(), before)
    if agent.discrete:  # the critics' outputs for an action that nobody took: their last biases get no gradient
        agent.update(batch_of(name, 1, actions=torch.zeros(8, dtype=torch.int64)))
        gradient = agent.critic.biases[-1].grad
        assert float(gradient[..., 0].abs().min()) > 0 and float(gradient[..., 1:].abs().max()) == 0


def test_without_temperature_the_policy_is_a_clone_whatever_the_rewards() -> None:
    cold, rich = build("iql", inverse_temperature=0.0), build("iql", inverse_temperature=0.0)
    for step in range(5):
        batch = batch_of("iql", step)
        wanted = -float(cold.log_prob(batch["observations"], batch["actions"]).mean())
        assert float(cold.update(batch)["policy_loss"]) == pytest.approx(wanted, abs=1e-12)
        rich.update({**batch, "rewards": batch["rewards"] + 100.0})
    for ours, theirs in zip(cold.actor.parameters(), rich.actor.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_initial_value_is_the_last_bias_of_critics_targets_and_v() -> None:
    for name in BOTH:
        agent = build(name, initial_value=7.5)
        for network in (agent.critic, agent.target_critic, agent.value):
            assert (network.biases[-1] == 7.5).all()
        assert not (agent.actor.biases[-1] == 7.5).any()
        assert torch.allclose(agent.state_values(torch.zeros(4, 3)), torch.full((4,), 7.5).double(), atol=1.0)


# ---------------------------------------------------------------- a world that can be solved by hand
SLOW = pytest.mark.slow


@pytest.mark.parametrize("expectile", [0.8, pytest.param(0.98, marks=SLOW)])
def test_a_small_world_gives_the_values_and_policy_of_the_closed_form(expectile: float) -> None:
    """State 0: action 0 leads to state 1, action 1 ends with 0.3, action 2 is in no log. State 1: +1 or -1, the end.

    Both logged actions are equally frequent, so V is ``expectile * higher + (1 - expectile) * lower``; the policy is
    proportional to ``exp(beta * advantage)`` on the logged actions. A maximum over *all* actions could not know 2.
    """
    eye, beta, discount = torch.eye(2, dtype=torch.float64), 1.5, 0.9
    rows = [(0, 0, 0.0, 1, False), (0, 1, 0.3, 0, True), (1, 0, 1.0, 0, True), (1, 1, -1.0, 0, True)]
    state, action, reward, following, done = zip(*rows, strict=True)
    batch = {
        "observations": eye[list(state)],
        "actions": torch.tensor(action),
        "rewards": torch.tensor(reward).double(),
        "next_observations": eye[list(following)],
        "terminations": torch.tensor(done),
    }
    rates = {"critic_lr": 1e-2, "value_lr": 1e-2, "actor_lr": 2e-2, "tau": 0.2}
    settings = {"expectile": expectile, "inverse_temperature": beta, "discount": discount, "hidden_layers": 0, **rates}
    agent = build("discrete-iql", state_dim=2, action_dim=3, **settings)
    for _ in range(3000):
        agent.update(batch)

    def mix(values: list[float]) -> float:
        return expectile * max(values) + (1 - expectile) * min(values)

    v1 = mix([1.0, -1.0])
    q = np.array([[discount * v1, 0.3], [1.0, -1.0]])
    v = np.array([mix(list(q[0])), v1])
    assert v == pytest.approx([expectile_of(row, expectile) for row in q], abs=1e-9)
    assert agent.state_values(eye).tolist() == pytest.approx(v, abs=2e-3)
    for critic in agent.q_values(batch["observations"], batch["actions"]):
        assert critic.tolist() == pytest.approx(q.flatten(), abs=2e-3)
    weights = np.minimum(np.exp(beta * (q - v[:, None])), 100.0)
    wanted = weights / weights.sum(1, keepdims=True)
    learned = agent.policy().probabilities(eye).numpy()
    assert learned[:, 2].max() < 0.01 and learned[:, :2] == pytest.approx(wanted, abs=0.01)
    log_prob = agent.log_prob(batch["observations"], batch["actions"])
    assert log_prob.exp().tolist() == pytest.approx(learned[:, :2].flatten(), abs=1e-9)
    if expectile == 0.98:  # close to the best that the log holds: 0.9 from state 0, 1 from state 1
        assert agent.act(eye.numpy()).tolist() == [0, 0] and v[0] > 0.84
    if expectile == 0.5:  # the value of the behaviour policy: from state 1 it earns nothing, so 0.3 at once is better
        assert agent.act(eye.numpy()).tolist() == [1, 0] and v.tolist() == pytest.approx([0.15, 0.0])


# ---------------------------------------------------------------- the policy that is not squashed
def test_the_policy_is_a_normal_around_tanh_with_one_spread_for_all_states() -> None:
    agent = build("iql", action_low=(-1.0, 2.0), action_high=(3.0, 2.5))
    with torch.no_grad():
        agent.actor.log_std.copy_(torch.tensor([-1.0, 0.2]))
    s, unit = make_batch(0)["observations"], make_batch(1)["actions"]
    environment = torch.tensor([1.0, 2.25]) + unit * torch.tensor([2.0, 0.25])
    mean = torch.tanh(mlp(linear_stack(agent.actor, 0), s))
    normal = torch.distributions.Normal(mean, torch.tensor([-1.0, 0.2]).double().exp())
    assert torch.allclose(agent.log_prob(s, environment), normal.log_prob(unit).sum(-1).detach(), atol=1e-9)
    assert torch.allclose(agent.q_values(s, environment), agent.critic(s, unit), atol=1e-12)
    expected = agent.unscale_action(mean).detach()
    assert torch.allclose(agent.policy(deterministic=True)(s), expected, atol=1e-12)
    assert np.allclose(agent.act(s.numpy()), expected.numpy(), atol=1e-12)


def test_sampled_actions_are_draws_of_the_normal_clipped_to_the_bounds() -> None:
    agent = build("iql", action_low=-2.0, action_high=2.0)
    with torch.no_grad():
        agent.actor.log_std.fill_(math.log(0.8))
    s = make_batch(0)["observations"][:1].repeat(40_000, 1)
    actions, log_prob = agent.policy().sample(s, torch.Generator().manual_seed(0))
    assert float(actions.max()) == 2.0 and float(actions.min()) == -2.0
    assert torch.allclose(log_prob, agent.log_prob(s, actions), atol=1e-4)
    mean = agent.actor(s[:1]).mean[0].detach().numpy()
    for j in range(2):  # the share at each bound and the median inside are those of the Normal
        normal = torch.distributions.Normal(float(mean[j]), 0.8)
        top, bottom = (actions[:, j] == 2.0).double().mean(), (actions[:, j] == -2.0).double().mean()
        assert float(top) == pytest.approx(1 - float(normal.cdf(torch.tensor(1.0))), abs=0.01)
        assert float(bottom) == pytest.approx(float(normal.cdf(torch.tensor(-1.0))), abs=0.01)
        assert float(actions[:, j].median()) == pytest.approx(2.0 * mean[j], abs=0.05)


def test_the_log_std_stays_in_its_range_and_finds_back() -> None:
    agent = build("iql", actor_lr=0.5)
    far, low = batch_of("iql", 0), LOG_STD_RANGE[0]
    with torch.no_grad():
        for parameter in (*agent.actor.weights, *agent.actor.biases):
            parameter.zero_()
    exact = {**far, "actions": torch.zeros(8, 2, dtype=torch.float64)}
    for _ in range(30):  # every logged action is the mean: the spread shrinks as far as it may
        agent.update(exact)
    assert agent.actor.log_std.tolist() == [low, low]
    for _ in range(60):
        agent.update(far)
    assert float(agent.actor.log_std.detach().min()) > low + 1.0


def test_one_huge_advantage_counts_no_more_than_the_cap() -> None:
    agent = build("iql", inverse_temperature=1e3, advantage_cap=5.0)
    metrics = agent.update(batch_of("iql", 0))
    assert float(metrics["share_capped"]) > 0 and 0 < float(metrics["advantage_weight"]) <= 5.0


# ---------------------------------------------------------------- settings and input
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("expectile", 0.0),
        ("expectile", 1.0),
        ("expectile", 1.2),
        ("expectile", "high"),
        ("expectile", float("nan")),
        ("inverse_temperature", -1.0),
        ("inverse_temperature", float("inf")),
        ("advantage_cap", 0.0),
        ("advantage_cap", -5.0),
        ("value_lr", 0.0),
        ("actor_lr", -1.0),
        ("critic_lr", 0),
        ("tau", 0.0),
        ("tau", 1.5),
        ("n_critics", 0),
        ("initial_value", None),
    ],
)
@pytest.mark.parametrize("kind", [IQLAgent, DiscreteIQLAgent])
def test_unusable_settings_name_their_field(kind: Any, key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as error:
        kind({**SMALL, key: value})
    assert error.value.field == f"config[{key!r}]" and error.value.mend


def test_settings_of_other_agents_are_refused() -> None:
    with pytest.raises(ConfigError, match="setting of CQL"):
        build("iql", cql_alpha=1.0)
    with pytest.raises(ConfigError, match="did you mean 'expectile'"):
        build("iql", expectil=0.7)
    with pytest.raises(ConfigError, match="alpha"):
        build("iql", alpha=0.2)  # there is no entropy temperature here
    for name, config in (("iql", DiscreteIQLConfig(**SMALL)), ("discrete-iql", IQLConfig(**SMALL))):
        with pytest.raises(ConfigError):
            make_agent(name, config)
    assert isinstance(make_agent("iql", IQLConfig(**SMALL)), cql_tutorial.IQLAgent)


def test_actions_of_the_wrong_kind_are_named() -> None:
    s = torch.zeros(4, 3)
    for call in (
        lambda: build("iql").q_values(s, torch.zeros(4, 3)),
        lambda: build("iql").log_prob(s, torch.zeros(4)),
        lambda: build("discrete-iql").q_values(s, torch.zeros(4)),
        lambda: build("discrete-iql").log_prob(s, torch.zeros(4, 1, dtype=torch.int64)),
    ):
        with pytest.raises(DataError, match="actions"):
            call()


# ---------------------------------------------------------------- seeds and checkpoints
@pytest.mark.parametrize("name", BOTH)
def test_the_seed_decides_everything(name: str) -> None:
    def run(seed: int) -> dict[str, torch.Tensor]:
        agent = build(name, seed=seed)
        for step in range(3):
            agent.update(batch_of(name, step))
        return agent.state()

    first, again, other = run(0), run(0), run(1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["module.value.weights.0"], other["module.value.weights.0"])
    state = torch.get_rng_state()
    build(name)
    assert torch.equal(torch.get_rng_state(), state)  # torch's own generator is neither used nor disturbed


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BOTH)
def test_a_resumed_run_ends_bit_for_bit_where_an_unbroken_one_does(name: str, dtype: str, tmp_path: Path) -> None:
    rows = batch_of(name, 3, size=200)
    dataset = OfflineDataset.from_mapping(rows, n_actions=2 if name == "discrete-iql" else None)
    how: dict[str, Any] = {"batch_size": 16, "log_every": 7, "progress": False}
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    fit(build(name, dtype=dtype), dataset, 60, checkpoint=whole, **how)
    fit(build(name, dtype=dtype), dataset, 35, checkpoint=broken, **how)
    resumed = build(name, dtype=dtype)
    fit(resumed, dataset, 60, checkpoint=broken, **how)
    expected, found = read_tensors(whole)[0], read_tensors(broken)[0]
    assert expected.keys() == found.keys() and len(expected) > 50
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    # The target network is the saved one, not a copy of the critic.
    assert not torch.equal(found["module.critic.weights.0"], found["module.target_critic.weights.0"])
    s = rows["observations"].numpy()
    assert np.array_equal(load_agent(broken, "cpu").act(s), resumed.act(s))


# ---------------------------------------------------------------- the stitching maze
@pytest.mark.slow
def test_it_stitches_where_cloning_cannot() -> None:
    """The goal from the left arm, in no episode of the log: IQL over 80 % of 200 starts, cloning under 20 %.

    Measured over data draws 0, 1, 2: IQL 100 %, BC 0 %; with inverse_temperature 0 IQL's own policy has 0 % too.
    """
    world = Maze()
    data = stitching_episodes(world, generator=torch.Generator().manual_seed(0))
    dataset = OfflineDataset.from_mapping(data)
    common = {"state_dim": 2, "action_dim": 2, "hidden_dim": 64, "discount": 0.95, "device": "cpu", "actor_lr": 1e-3}
    settings: dict[str, dict[str, Any]] = {
        "iql": {"critic_lr": 1e-3, "value_lr": 1e-3, "tau": 0.02, "expectile": 0.9, "inverse_temperature": 10.0},
        "bc": {},
    }
    reached = {}
    for name, change in settings.items():
        agent = make_agent(name, {**common, **change})
        fit(agent, dataset, 2000, log_every=500, progress=False)
        returns = evaluate_policy(world, agent.policy(deterministic=True), n=200, arm="left")
        reached[name] = float((returns > 0).double().mean())
    assert reached["iql"] > 0.8 and reached["bc"] < 0.2, reached


# ---------------------------------------------------------------- a policy without a width of its own
def test_a_fixed_width_of_sqrt_half_is_the_squared_error() -> None:
    """The deterministic policy of published settings: mean w |mu(s) - a|^2, its gradient by autograd on that loss."""
    agent = build("iql", policy_std=math.sqrt(0.5), dtype="float64", inverse_temperature=1.5)
    batch = agent.prepare(batch_of("iql", 3))
    weights = torch.rand(8, dtype=torch.float64)
    ours = -(weights * agent.log_likelihood(batch.observations, batch.actions)).mean()
    mean = agent.distribution(batch.observations).mode()
    squared = (weights * (mean - batch.actions).square().sum(-1)).mean()
    learned = list(agent.optimizers["actor"].param_groups[0]["params"])
    for one, other in zip(
        torch.autograd.grad(ours, learned, retain_graph=True), torch.autograd.grad(squared, learned), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    assert len(learned) == len(list(agent.actor.parameters())) - 1
    for seed in range(3):
        agent.update(batch_of("iql", seed))
    torch.testing.assert_close(agent.actor.log_std, torch.full_like(agent.actor.log_std, -0.5 * math.log(2)))


def test_a_fixed_width_is_kept_by_a_checkpoint_and_checked(tmp_path: Path) -> None:
    agent = build("iql", policy_std=0.3)
    agent.update(batch_of("iql", 0))
    agent.save(tmp_path / "a.safetensors")
    again = load_agent(tmp_path / "a.safetensors", "cpu")
    for one in (agent, again):
        one.update(batch_of("iql", 1))
    assert all(torch.equal(value, again.state()[name]) for name, value in agent.state().items())
    for value in (0.0, -1.0, math.nan, 8.0, "wide"):
        with pytest.raises(ConfigError, match="policy_std"):
            build("iql", policy_std=value)
