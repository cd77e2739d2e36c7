"""Sparse and exponential Q-learning against closed forms, root finding and an update written by hand, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from cql_tutorial import OfflineDataset, fit, losses, make_agent
from cql_tutorial.agents.checkpoint import read_tensors
from cql_tutorial.agents.sparse_q import EQLAgent, SparseQAgent
from cql_tutorial.errors import ConfigError, CQLWarning
from tests.agents.test_agents import SMALL, build, linear_stack, make_batch, mlp

torch.set_num_threads(1)
BOTH = ["sparse-q", "eql"]
FAST = {"critic_lr": 1e-2, "value_lr": 2e-2, "actor_lr": 3e-2, "tau": 0.05, "regularisation": 0.4}
Q, SHARES = np.array([1.0, 0.8, 0.5, 0.0]), np.array([0.1, 0.2, 0.3, 0.4])


def sparse_value_of(q: np.ndarray, shares: np.ndarray, alpha: float) -> float:
    """The root of E[max(1 + (Q - V) / (2 alpha), 0)] = 1."""

    def excess(v: float) -> float:
        return float((shares * np.maximum(1 + (q - v) / (2 * alpha), 0)).sum() - 1)

    return float(brentq(excess, q.min() - 1, q.max() + 2 * alpha, xtol=1e-14))


def sorted_form(q: np.ndarray, shares: np.ndarray, alpha: float) -> float:
    """The same without iteration: the largest of what the k best alone would give."""
    order = np.argsort(-q)
    mass, worth = np.cumsum(shares[order]), np.cumsum((shares * q)[order])
    return float(np.max((worth + 2 * alpha * (mass - 1)) / mass))


# ---------------------------------------------------------------- V's loss
@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 9), alpha=st.floats(0.05, 5.0), seed=st.integers(0, 10_000))
def test_losses_and_weights_equal_slow_loops(size: int, alpha: float, seed: int) -> None:
    q, v = 2.0 * np.random.default_rng(seed).normal(size=(2, size))
    sparse = exponential = 0.0
    for x, y in zip(q, v, strict=True):
        t, u = 1 + (x - y) / (2 * alpha), (x - y) / alpha
        sparse += ((t * t if t > 0 else 0.0) + y / alpha) / size
        exponential += ((math.exp(u) if u <= 5 else math.exp(5) * (1 + u - 5)) + y / alpha) / size
    tensors = torch.from_numpy(q), torch.from_numpy(v)
    assert float(losses.sparse_value_loss(*tensors, alpha)) == pytest.approx(sparse, rel=1e-12)
    assert float(losses.exponential_value_loss(*tensors, alpha)) == pytest.approx(exponential, rel=1e-12)
    advantage = tensors[0] - tensors[1]
    wanted = {
        (losses.sparse_weights, "derivation"): [min(max(1 + u / (2 * alpha), 0), 7) for u in q - v],
        (losses.sparse_weights, "code"): [min(max(u, 0), 7) for u in q - v],
        (losses.exponential_weights, "derivation"): [math.exp(min(u / alpha, math.log(7))) for u in q - v],
        (losses.exponential_weights, "code"): [math.exp(min(10 * u / alpha, math.log(7))) for u in q - v],
    }
    for (function, form), expected in wanted.items():
        assert function(advantage, alpha, form, 7.0).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.2, 0.5, 5.0])
def test_the_minimiser_of_the_sparse_loss_is_the_closed_form(alpha: float) -> None:
    root = sparse_value_of(Q, SHARES, alpha)
    assert root == pytest.approx(sorted_form(Q, SHARES, alpha), abs=1e-10)
    rows = torch.from_numpy(np.repeat(Q, (10 * SHARES).astype(int)))
    v = torch.tensor(root, dtype=torch.float64, requires_grad=True)
    losses.sparse_value_loss(rows, v.expand(10), alpha).backward()
    assert abs(float(v.grad)) < 1e-9 / alpha
    weights = losses.sparse_weights(rows - v.detach(), alpha, "derivation", 1e9)
    assert float(weights.mean()) == pytest.approx(1.0, abs=1e-9)  # a ratio of two policies
    known = {0.01: 0.82, 0.05: 0.633, 0.1: 0.55, 0.2: 0.417, 0.5: 0.41, 5.0: 0.41}  # 0.41: the mean
    assert root == pytest.approx(known[alpha], abs=5e-4)


@pytest.mark.parametrize("alpha", [0.25, 0.5, 5.0])
def test_the_minimiser_of_the_exponential_loss_is_a_log_mean_exp(alpha: float) -> None:
    root = alpha * math.log(float((SHARES * np.exp(Q / alpha)).sum()))
    rows = torch.from_numpy(np.repeat(Q, (10 * SHARES).astype(int)))
    v = torch.tensor(root, dtype=torch.float64, requires_grad=True)
    losses.exponential_value_loss(rows, v.expand(10), alpha).backward()
    assert abs(float(v.grad)) < 1e-9
    assert float(losses.exponential_weights(rows - v.detach(), alpha, "derivation", 1e9).mean()) == pytest.approx(1.0)


@given(p=st.floats(0.05, 0.95), distance=st.floats(0.1, 10.0), ratio=st.floats(0.1, 3.0))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_a_worse_action_is_left_out_only_below_half_of_share_times_distance(
    p: float, distance: float, ratio: float
) -> None:
    """Two logged values a distance D apart, the better with share p: sparse iff alpha < p D / 2, else V is the mean."""
    alpha = ratio * p * distance / 2
    v = sparse_value_of(np.array([distance, 0.0]), np.array([p, 1 - p]), alpha)
    advantage = torch.tensor([distance - v, 0.0 - v], dtype=torch.float64)
    worse = float(losses.sparse_weights(advantage, alpha, "derivation", 1e9)[1])
    if ratio < 0.999:
        assert worse == 0 and v > p * distance
    elif ratio > 1.001:
        assert worse > 0 and v == pytest.approx(p * distance, abs=1e-9)


def test_equal_logged_values_have_weight_1_in_the_derivation_and_0_in_the_code() -> None:
    zero = torch.zeros(3)
    assert losses.sparse_weights(zero, 0.5, "derivation", 100.0).tolist() == [1.0] * 3
    assert losses.sparse_weights(zero, 0.5, "code", 100.0).tolist() == [0.0] * 3
    assert losses.exponential_weights(zero, 0.5, "code", 100.0).tolist() == [1.0] * 3
    # In the other direction: with alpha large the derivation counts all alike, the code still only the better half.
    u = torch.tensor([-1.0, 1.0])
    assert losses.sparse_weights(u, 100.0, "derivation", 100.0).tolist() == pytest.approx([0.995, 1.005])
    assert losses.sparse_weights(u, 100.0, "code", 100.0).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("loss", [losses.sparse_value_loss, losses.exponential_value_loss])
def test_far_values_are_pulled_towards_q_and_stay_finite(loss: Callable[..., torch.Tensor]) -> None:
    for start, sign in ((-1e4, -1), (1e4, 1)):
        v = torch.full((5,), start, requires_grad=True)
        loss(torch.zeros(5), v, 0.1).backward()
        assert bool(torch.isfinite(v.grad).all()) and bool((torch.sign(v.grad) == sign).all())
    # What the authors' program does in the exponential form: u cut off at 5. Its pull has the wrong sign.
    v = torch.full((5,), -1e4, requires_grad=True)
    (torch.exp(((0.0 - v) / 0.1).clamp(max=5.0)) + v / 0.1).mean().backward()
    assert bool((v.grad > 0).all())


# ---------------------------------------------------------------- a plain re-implementation
class PlainSparseQ:
    """The update as a textbook would write it: V first, then the policy and the critics with the new V."""

    def __init__(self, agent: Any) -> None:
        self.c, self.exponential = agent.config, isinstance(agent, EQLAgent)
        self.q = [linear_stack(agent.critic, j) for j in range(self.c.n_critics)]
        self.q_target = [[t.detach().clone() for t in q] for q in self.q]
        self.v = linear_stack(agent.value, 0)
        self.pi = [
            *linear_stack(agent.actor, 0),
            torch.zeros(self.c.action_dim, dtype=torch.float64, requires_grad=True),
        ]
        self.opt_q = torch.optim.Adam([t for q in self.q for t in q], self.c.critic_lr)
        self.opt_v, self.opt_pi = torch.optim.Adam(self.v, self.c.value_lr), torch.optim.Adam(self.pi, self.c.actor_lr)
        self.metrics: dict[str, float] = {}

    @staticmethod
    def take(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def update(self, batch: dict[str, Any]) -> None:
        c, alpha, s, a = self.c, self.c.regularisation, batch["observations"], batch["actions"]
        rows = torch.cat([s, a], -1)
        with torch.no_grad():
            lowest = torch.stack([mlp(q, rows)[:, 0] for q in self.q_target]).min(0).values
        v, loss_v = mlp(self.v, s)[:, 0], torch.zeros((), dtype=torch.float64)
        for b in range(len(s)):
            if self.exponential:
                term = ((lowest[b] - v[b]) / alpha).exp()  # the test's u stay below 5
                assert float((lowest[b] - v[b]).detach()) < 5 * alpha
            else:
                t = 1 + (lowest[b] - v[b]) / (2 * alpha)
                term = t**2 if float(t.detach()) > 0 else torch.zeros_like(t)
            loss_v = loss_v + (term + v[b] / alpha) / len(s)
        self.take(self.opt_v, loss_v)
        with torch.no_grad():
            new_v, next_v = mlp(self.v, s)[:, 0], mlp(self.v, batch["next_observations"])[:, 0]
        u = (lowest - new_v).tolist()
        if self.exponential:
            weights = [min(math.exp((10 if c.weight == "code" else 1) * x / alpha), c.weight_cap) for x in u]
        else:
            weights = [min(max(x if c.weight == "code" else 1 + x / (2 * alpha), 0.0), c.weight_cap) for x in u]
        mean = torch.tanh(mlp(self.pi[:-1], s))
        log_prob = torch.distributions.Normal(mean, self.pi[-1].exp()).log_prob(a).sum(-1)
        loss_pi = -(torch.tensor(weights, dtype=torch.float64) * log_prob).mean()
        self.take(self.opt_pi, loss_pi)
        y = batch["rewards"] + c.discount * (1 - batch["terminations"].double()) * next_v
        values = [mlp(q, rows)[:, 0] for q in self.q]
        errors = [(value - y).square().mean() for value in values]
        self.metrics = {
            "q_value": float(torch.stack(values).detach().mean()), "value": v.mean().item(),
            "td_loss": sum(errors).item() / len(errors), "value_loss": loss_v.item(), "policy_loss": loss_pi.item(),
            "advantage": float(np.mean(u)), "advantage_weight": float(np.mean(weights)),
            "share_zero": float(np.mean([weight == 0 for weight in weights])),
            "share_capped": float(np.mean([weight == c.weight_cap for weight in weights])),
        }  # fmt: skip
        self.take(self.opt_q, sum(errors))
        with torch.no_grad():
            for q, old in zip(self.q, self.q_target, strict=True):
                for p, t in zip(q, old, strict=True):
                    t += c.tau * (p - t)

    def largest_difference(self, agent: Any) -> float:
        pairs = [
            (self.v, linear_stack(agent.value, 0)),
            (self.pi, [*linear_stack(agent.actor, 0), agent.actor.log_std]),
        ]
        for j in range(self.c.n_critics):
            pairs.append((self.q[j], linear_stack(agent.critic, j)))
            pairs.append((self.q_target[j], linear_stack(agent.target_critic, j)))
        return max(float((x - y).detach().abs().max()) for ours, own in pairs for x, y in zip(ours, own, strict=True))


def difference_after(name: str, steps: int, **change: Any) -> tuple[float, list[dict[str, float]]]:
    """The largest difference of a weight or a metric from the plain update, and the metrics."""
    alpha = {} if name == "eql" else {"regularisation": 0.05}  # so that some rows have the weight 0
    agent = build(name, **{**FAST, **alpha, **change})
    plain, worst, rows = PlainSparseQ(agent), 0.0, []
    for step in range(steps):
        batch = make_batch(step)
        rows.append({key: float(value) for key, value in agent.update(batch).items()})
        plain.update(batch)
        assert rows[-1].keys() == plain.metrics.keys()
        worst = max(worst, *(abs(rows[-1][key] - value) for key, value in plain.metrics.items()))
    return max(worst, plain.largest_difference(agent)), rows


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"weight": "code", "weight_cap": 0.05},
        {"n_critics": 3, "discount": 0.5, "hidden_layers": 1, "initial_value": 2.0, "regularisation": 2.0},
    ],
)
@pytest.mark.parametrize("name", BOTH)
def test_updates_equal_a_plain_implementation(name: str, change: dict[str, Any]) -> None:
    difference, rows = difference_after(name, 20, **change)
    assert difference < 1e-9
    if name == "sparse-q" and "regularisation" not in change:
        assert any(0 < row["share_zero"] < 1 for row in rows)
    if "weight_cap" in change:
        assert 0 < max(row["share_capped"] for row in rows) <= 1


WRONG_LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "mask on V too": lambda q, v, a: (((1 + (q - v) / (2 * a)) > 0) * ((1 + (q - v) / (2 * a)) ** 2 + v / a)).mean(),
    "no mask": lambda q, v, a: ((1 + (q - v) / (2 * a)) ** 2 + v / a).mean(),
    "alpha for 2 alpha": lambda q, v, a: ((1 + (q - v) / a).clamp(min=0) ** 2 + v / a).mean(),
    "V without alpha": lambda q, v, a: ((1 + (q - v) / (2 * a)).clamp(min=0) ** 2 + v).mean(),
    "half for one (an early version of their code)": lambda q, v, a: (
        (0.5 + (q - v) / a).clamp(min=0) ** 2 + v / a
    ).mean(),
    "expectile": lambda q, v, a: losses.expectile_loss(q - v, 0.7),
}


@pytest.mark.parametrize("wrong", WRONG_LOSSES)
def test_a_wrong_loss_of_v_is_caught(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SparseQAgent, "value_loss", staticmethod(WRONG_LOSSES[wrong]))
    assert difference_after("sparse-q", 10)[0] > 1e-6


@pytest.mark.parametrize("form", ["derivation", "code"])
def test_the_other_weight_is_caught(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"derivation": "code", "code": "derivation"}[form]
    for name, weights in (("sparse-q", losses.sparse_weights), ("eql", losses.exponential_weights)):
        kind = SparseQAgent if name == "sparse-q" else EQLAgent
        monkeypatch.setattr(kind, "weights", staticmethod(lambda u, a, _, cap, of=weights: of(u, a, other, cap)))
        assert difference_after(name, 3, weight=form)[0] > 1e-6


def test_the_order_of_the_update_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """V from before its step in the target, as in this package's IQL; and the online critics for their targets."""
    with monkeypatch.context() as patch:
        step = SparseQAgent.step
        late: list[Any] = []

        def postponed(agent: Any, name: str, loss: torch.Tensor) -> None:
            if name == "value":
                late.append(loss)
                return
            step(agent, name, loss)
            if name == "critic":
                step(agent, "value", late.pop())

        patch.setattr(SparseQAgent, "step", postponed)
        assert difference_after("sparse-q", 3)[0] > 1e-6
    with monkeypatch.context() as patch:
        q_of = SparseQAgent.q_of
        patch.setattr(SparseQAgent, "q_of", lambda agent, critic, s, a: q_of(agent, agent.critic, s, a))
        assert difference_after("sparse-q", 3)[0] > 1e-6


@pytest.mark.parametrize("name", BOTH)
def test_each_loss_moves_its_own_network_alone(name: str) -> None:
    first, other = build(name), build(name)
    batch = make_batch(0)
    first.update(batch)
    other.update({**batch, "rewards": batch["rewards"] + 5.0})  # rewards enter the critics' loss alone
    same = {"critic": False, "target_critic": False, "value": True, "actor": True}
    for key, module in first.named_children():
        pairs = zip(module.parameters(), other.get_submodule(key).parameters(), strict=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs) is same[key], key
    assert all(value is None for value in vars(first.draw_noise(8)).values())


@pytest.mark.parametrize("name", BOTH)
def test_terminations_cut_the_next_value(name: str) -> None:
    losses_at = {}
    for done in (True, False):
        batch = {**make_batch(0), "terminations": torch.full((8,), done), "rewards": torch.zeros(8).double()}
        losses_at[done] = float(build(name, initial_value=50.0).update(batch)["td_loss"])
    assert losses_at[True] > 45.0**2 and losses_at[False] < 5.0**2


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), [("sparse-q", "derivation"), ("eql", "derivation")])
def test_a_bandit_gives_the_closed_form(name: str, form: str) -> None:
    """One state, four logged actions that end with rewards Q: V and the policy's mean are those of the weights."""
    alpha, counts = 0.2, (10 * SHARES).astype(int)
    actions = np.repeat(np.array([-0.8, -0.2, 0.3, 0.7]), counts)[:, None]
    batch = {
        "observations": torch.ones(10, 1).double(), "actions": torch.from_numpy(actions),
        "rewards": torch.from_numpy(np.repeat(Q, counts)), "next_observations": torch.ones(10, 1).double(),
        "terminations": torch.ones(10, dtype=torch.bool),
    }  # fmt: skip
    rates = {"critic_lr": 1e-2, "value_lr": 1e-2, "actor_lr": 1e-2, "tau": 0.5, "hidden_dim": 32, "hidden_layers": 1}
    agent = build(name, state_dim=1, action_dim=1, regularisation=alpha, weight=form, **rates)
    for _ in range(900):
        agent.update(batch)
    for optimizer in agent.optimizers.values():
        optimizer.param_groups[0]["lr"] = 1e-3
    for _ in range(300):
        agent.update(batch)
    v = sparse_value_of(Q, SHARES, alpha)
    weights = np.maximum(1 + (Q - v) / (2 * alpha), 0)
    if name == "eql":
        v = alpha * math.log(float((SHARES * np.exp(Q / alpha)).sum()))
        weights = np.exp((Q - v) / alpha)
    assert float(agent.state_values(torch.ones(1, 1))) == pytest.approx(v, abs=0.01)
    wanted = float((SHARES * weights * [-0.8, -0.2, 0.3, 0.7]).sum())
    assert float(agent.act(np.ones(1))[0]) == pytest.approx(wanted, abs=0.02)
    if name == "sparse-q":
        assert float(agent.update(batch)["share_zero"]) == pytest.approx(0.4)


# ---------------------------------------------------------------- warnings, settings, checkpoints
def test_weights_that_are_all_0_are_told_once() -> None:
    data = OfflineDataset.from_mapping(make_batch(3, size=100))
    agent = build("sparse-q", weight="code", initial_value=0.0)
    with torch.no_grad():
        agent.value.biases[-1].fill_(1e3)  # V far above every Q
    with pytest.warns(CQLWarning, match="weights are 0.*raise regularisation") as caught:
        fit(agent, data, 8, batch_size=16, log_every=2, progress=False)
    assert len([one for one in caught if "weights" in str(one.message)]) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("regularisation", 0.0),
        ("regularisation", -1.0),
        ("weight", "paper"),
        ("weight_cap", 0.0),
        ("tau", 0.0),
        ("value_lr", 0.0),
    ],
)
@pytest.mark.parametrize("name", BOTH)
def test_unusable_settings_name_their_field(name: str, key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as error:
        build(name, **{key: value})
    assert error.value.field == f"config[{key!r}]" and error.value.mend


def test_settings_of_other_agents_are_refused() -> None:
    for key, says in (("alpha", "regularisation"), ("expectile", "no such setting"), ("cql_alpha", "setting of CQL")):
        with pytest.raises(ConfigError, match=says):
            build("sparse-q", **{key: 0.5})


@pytest.mark.parametrize("name", BOTH)
def test_a_resumed_run_ends_bit_for_bit_where_an_unbroken_one_does(name: str, tmp_path: Path) -> None:
    dataset = OfflineDataset.from_mapping(make_batch(3, size=200))
    how: dict[str, Any] = {"batch_size": 16, "log_every": 7, "progress": False}
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    fit(make_agent(name, SMALL), dataset, 30, checkpoint=whole, **how)
    fit(make_agent(name, SMALL), dataset, 17, checkpoint=broken, **how)
    fit(make_agent(name, SMALL), dataset, 30, checkpoint=broken, **how)
    expected, found = read_tensors(whole)[0], read_tensors(broken)[0]
    assert expected.keys() == found.keys() and all(torch.equal(expected[key], found[key]) for key in expected)
