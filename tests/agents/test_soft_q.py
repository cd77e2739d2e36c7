"""Soft Q-learning against quadrature, soft value iteration and an update written by hand, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cql_tutorial import OfflineDataset, fit, fit_population, losses, make_agent
from cql_tutorial.agents.checkpoint import read_tensors
from cql_tutorial.agents.soft_q import BoltzmannPolicy, even_points
from cql_tutorial.batch import Noise
from cql_tutorial.envs import Gridworld
from cql_tutorial.errors import ConfigError, CQLWarning
from cql_tutorial.evaluation.true_values import soft_optimal_q, solve_q
from tests.agents.test_agents import SMALL, build, linear_stack, make_batch, mlp

torch.set_num_threads(1)
BOTH = ["soft-q", "discrete-soft-q"]
FAST = {"critic_lr": 1e-2, "tau": 0.05, "temperature": 0.3}


def batch_of(name: str, seed: int, size: int = 8, **change: Any) -> dict[str, Any]:
    return {**make_batch(seed, size, discrete=name == "discrete-soft-q"), **change}


# ---------------------------------------------------------------- the values
@pytest.mark.parametrize("temperature", [0.05, 1.0, 7.0])
@pytest.mark.parametrize("slope", [0.3, -4.0])
def test_the_soft_value_of_a_straight_q_is_its_closed_form(temperature: float, slope: float) -> None:
    """The integral of exp(b a / T) over [-1, 1] is 2 T / b sinh(b / T)."""
    q = slope * torch.linspace(-1, 1, 20_001, dtype=torch.float64)[1::2]  # the midpoints of 10,000 cells
    integral = 2 * temperature / slope * math.sinh(slope / temperature)
    density = torch.full_like(q, -math.log(2))
    found = float(losses.soft_value(q, density, temperature))
    assert found == pytest.approx(temperature * math.log(integral), abs=1e-4)
    mean_form = float(losses.soft_value(q, torch.zeros_like(q), temperature))
    assert mean_form == pytest.approx(found - temperature * math.log(2), abs=1e-12) and mean_form < abs(slope)
    weights = np.exp((q.numpy() - abs(slope)) / temperature)
    expected = float(losses.boltzmann_value(q, temperature))
    assert expected == pytest.approx(float((weights * q.numpy()).sum() / weights.sum()), abs=1e-12)
    # The soft value is the mean of Q less T times the divergence from the uniform prior.
    shares = weights / weights.sum()
    divergence = float((shares * np.log(np.maximum(shares * len(q), 1e-300))).sum())
    assert mean_form == pytest.approx(expected - temperature * divergence, abs=1e-9)


def test_between_the_mean_and_the_maximum() -> None:
    q = torch.randn(5, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    flat = torch.zeros_like(q)
    assert torch.allclose(losses.soft_value(q, flat, 1e-4), q.amax(-1), atol=1e-3)
    assert torch.allclose(losses.soft_value(q, flat, 1e4), q.mean(-1), atol=1e-3)
    assert torch.allclose(losses.boltzmann_value(q, 1e-4), q.amax(-1)) and torch.allclose(
        losses.boltzmann_value(q, 1e6), q.mean(-1), atol=1e-4
    )


# ---------------------------------------------------------------- a plain re-implementation
class PlainSoftQ:
    """The update as a textbook would write it: one network a critic, loops over critics, rows and candidates."""

    def __init__(self, agent: Any) -> None:
        self.c, self.discrete = agent.config, agent.discrete
        self.q = [linear_stack(agent.critic, j) for j in range(self.c.n_critics)]
        self.q_target = [[t.detach().clone() for t in q] for q in self.q]
        self.opt = torch.optim.Adam([t for q in self.q for t in q], self.c.critic_lr)
        self.volume = float(self.c.action_dim) if self.discrete else 2.0**self.c.action_dim
        self.metrics: dict[str, float] = {}

    def every(self, q: list[torch.Tensor], s: torch.Tensor, candidates: torch.Tensor | None) -> torch.Tensor:
        """[B, K]: all actions, or the candidates."""
        if self.discrete:
            return mlp(q, s)
        columns = [mlp(q, torch.cat([s, candidates[:, k]], -1))[:, 0] for k in range(candidates.shape[1])]
        return torch.stack(columns, 1)

    def update(self, batch: dict[str, Any], noise: Noise) -> None:
        c, temperature, s, a = self.c, self.c.temperature, batch["observations"], batch["actions"]
        with torch.no_grad():
            tables = [self.every(q, batch["next_observations"], noise.next_uniform) for q in self.q_target]
            following = []
            for b in range(len(s)):
                row = torch.stack([table[b] for table in tables]).min(0).values
                powers = (row / temperature).exp()
                if c.backup == "expected":
                    following.append((powers * row).sum() / powers.sum())
                else:
                    size = self.volume if c.value_form == "sum" else 1.0
                    following.append(temperature * (size * powers.mean()).log())
            following = torch.stack(following)
            y = batch["rewards"] + c.discount * (1 - batch["terminations"].double()) * following
        td, penalties, data = [], [], []
        for q in self.q:
            if self.discrete:
                chosen = torch.stack([mlp(q, s)[b, a[b]] for b in range(len(a))])
            else:
                chosen = mlp(q, torch.cat([s, a], -1))[:, 0]
            td.append((chosen - y).square().mean())
            data.append(chosen.detach().mean())
            if c.cql_alpha > 0:
                log_integral = (self.volume * (self.every(q, s, noise.uniform) / temperature).exp().mean(1)).log()
                penalties.append((temperature * log_integral - chosen).mean())
        count = len(self.q)
        self.metrics = {
            "q_value": float(sum(data)) / count,
            "next_value": float(following.mean()),
            "td_loss": float(sum(td).detach()) / count,
        }
        if penalties:
            loss = float(sum(penalties).detach()) / count
            gap = loss - temperature * math.log(self.volume)
            self.metrics |= {"cql_loss": loss, "cql_gap": gap, "cql_alpha": c.cql_alpha}
        self.opt.zero_grad()
        (sum(td) + c.cql_alpha * sum(penalties)).backward()
        self.opt.step()
        with torch.no_grad():
            for q, old in zip(self.q, self.q_target, strict=True):
                for p, t in zip(q, old, strict=True):
                    t += c.tau * (p - t)

    def largest_difference(self, agent: Any) -> float:
        pairs = []
        for j in range(self.c.n_critics):
            pairs.append((self.q[j], linear_stack(agent.critic, j)))
            pairs.append((self.q_target[j], linear_stack(agent.target_critic, j)))
        return max(float((x - y).detach().abs().max()) for ours, own in pairs for x, y in zip(ours, own, strict=True))


def difference_after(name: str, steps: int, **change: Any) -> tuple[float, float]:
    """(largest difference of a weight, of a metric) of the agent and the plain update on the same noise."""
    agent = build(name, **{**FAST, **change})
    plain, metric = PlainSoftQ(agent), 0.0
    for step in range(steps):
        batch, noise = batch_of(name, step), agent.draw_noise(8)
        found = {key: float(value) for key, value in agent.update(batch, noise).items()}
        plain.update(batch, noise)
        assert found.keys() - {"effective_candidates"} == plain.metrics.keys()
        metric = max(metric, *(abs(found[key] - value) for key, value in plain.metrics.items()))
    return plain.largest_difference(agent), metric


CHANGES: list[dict[str, Any]] = [
    {},
    {"value_form": "sum", "cql_alpha": 0.7},
    {"backup": "expected", "n_critics": 3, "discount": 0.5, "hidden_layers": 1},
    {"cql_alpha": 2.0, "n_critics": 1, "temperature": 2.0, "initial_value": 3.0},
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", BOTH)
def test_updates_equal_a_plain_implementation(name: str, change: dict[str, Any]) -> None:
    weights, metrics = difference_after(name, 20, **change)
    assert weights < 1e-9 and metrics < 1e-9


def _of(formula: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """`losses.soft_value` with another formula of Q [.., K], the density and T."""
    return lambda q, log_density, temperature: formula(q - temperature * log_density, temperature, q.shape[-1])


WRONG_VALUES = {
    "T inside alone": _of(lambda q, t, n: torch.logsumexp(q / t, -1) - math.log(n)),
    "T outside alone": _of(lambda q, t, n: t * (torch.logsumexp(q, -1) - math.log(n))),
    "log K left in": _of(lambda q, t, n: t * torch.logsumexp(q / t, -1)),
    "maximum": _of(lambda q, t, n: q.amax(-1)),
    "mean of Q": _of(lambda q, t, n: q.mean(-1)),
    "constant left out": lambda q, log_density, t: losses_soft_value(q, torch.zeros_like(q), t),
    "density twice": lambda q, log_density, t: losses_soft_value(q, 2 * log_density, t),
    "density with the other sign": lambda q, log_density, t: losses_soft_value(q, -log_density, t),
}
losses_soft_value = losses.soft_value


@pytest.mark.parametrize("wrong", WRONG_VALUES)
@pytest.mark.parametrize("name", BOTH)
def test_a_wrong_soft_value_is_caught(name: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "soft_value", WRONG_VALUES[wrong])
    weights, metrics = difference_after(name, 2, value_form="sum")
    assert weights > 1e-6 and metrics > 1e-6


def test_other_faults_of_the_update_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The penalty at temperature 1, the target from the online critics, critics' mean for their minimum."""
    with monkeypatch.context() as patch:
        cql_penalty = losses.cql_penalty
        patch.setattr(losses, "cql_penalty", lambda q, d, a: cql_penalty(0.3 * q, d, 0.3 * a) / 0.3)
        assert difference_after("soft-q", 2, cql_alpha=1.0)[0] > 1e-6
    with monkeypatch.context() as patch:
        patch.setattr("cql_tutorial.agents.soft_q.soft_update", lambda target, online, tau: None)
        assert difference_after("soft-q", 2)[0] > 1e-6
    with monkeypatch.context() as patch:
        amin = torch.Tensor.amin
        patch.setattr(torch.Tensor, "amin", lambda t, d: t.mean(d) if t.dim() == 3 else amin(t, d))
        assert difference_after("soft-q", 2)[0] > 1e-6


@pytest.mark.parametrize("name", BOTH)
def test_terminations_cut_the_next_value(name: str) -> None:
    losses_at = {}
    for done in (True, False):
        batch = batch_of(name, 0, terminations=torch.full((8,), done), rewards=torch.zeros(8, dtype=torch.float64))
        losses_at[done] = float(build(name, initial_value=50.0).update(batch)["td_loss"])
    assert losses_at[True] > 45.0**2 and losses_at[False] < 5.0**2


def test_the_penalty_is_the_logged_actions_negative_log_likelihood() -> None:
    agent = build("discrete-soft-q", cql_alpha=1.0, n_critics=1, temperature=0.4)
    batch = batch_of("discrete-soft-q", 0)
    wanted = -0.4 * float(agent.log_prob(batch["observations"], batch["actions"]).mean())
    assert float(agent.update(batch)["cql_loss"]) == pytest.approx(wanted, abs=1e-12)


# ---------------------------------------------------------------- a world that can be solved
def test_soft_value_iteration_is_the_linear_solve_of_its_own_policy() -> None:
    world = Gridworld()
    start = world.start_state
    for temperature in (1.0, 0.3):
        q = soft_optimal_q(world, temperature, prior="none")
        policy = torch.softmax(q / temperature, -1)
        assert torch.allclose(q, solve_q(world, policy, temperature=temperature), atol=1e-8)
        # The same from below: any other policy's soft value is less.
        uniform = torch.full_like(policy, 0.25)
        assert bool((solve_q(world, uniform, temperature=temperature) <= q + 1e-9).all())
    prior = soft_optimal_q(world, 1.0)
    chosen = {
        name: torch.nn.functional.one_hot(q.argmax(-1), 4)
        for name, q in (("none", soft_optimal_q(world, 1.0, prior="none")), ("uniform", prior))
    }
    worth = {name: float(solve_q(world, table)[start].mul(table[start]).sum()) for name, table in chosen.items()}
    # The bonus of log 4 a step outweighs the goal: without the prior the greedy policy never goes home.
    assert worth["none"] < -2 and worth["uniform"] > 4.2


def all_transitions(world: Gridworld) -> dict[str, torch.Tensor]:
    """Every state that goes on, with every action, once."""
    states = torch.eye(world.observation_dim, dtype=torch.float64)
    going = (~world.terminal_states).nonzero().flatten()
    here, actions = going.repeat_interleave(4), torch.arange(4).repeat(len(going))
    there, rewards, ended = world.move(here, actions)
    return {
        "observations": states[here],
        "actions": actions,
        "rewards": rewards,
        "next_observations": states[there],
        "terminations": ended,
    }


def solution(world: Gridworld, change: dict[str, Any]) -> torch.Tensor:
    """What the agent's backup has as its fixed point at T 0.5 and discount 0.9, ``[S, A]``."""
    if "backup" not in change:
        return soft_optimal_q(world, 0.5, 0.9, prior="none" if change else "uniform")
    q = torch.zeros_like(world.expected_rewards)
    for _ in range(500):  # the Q without entropy of its own softmax
        q = solve_q(world, torch.softmax(q / 0.5, -1), 0.9)
    return q


GRID = {"state_dim": 9, "action_dim": 4, "hidden_layers": 0, "discount": 0.9, "n_critics": 1, "temperature": 0.5}


@pytest.mark.parametrize("change", [{}, {"value_form": "sum"}, {"backup": "expected"}])
def test_soft_value_iteration_s_answer_is_where_it_stays(change: dict[str, Any]) -> None:
    world = Gridworld(size=3, slip=0.0)
    batch, wanted, states = all_transitions(world), solution(world, change), torch.eye(9, dtype=torch.float64)
    agent = build("discrete-soft-q", **GRID, **change)
    with torch.no_grad():
        for network in (agent.critic, agent.target_critic):
            network.weights[0][0] = wanted
            network.biases[0].zero_()
    assert float(agent.update(batch)["td_loss"]) < 1e-18
    going = ~world.terminal_states
    assert torch.allclose(agent.policy().probabilities(states[going]), torch.softmax(wanted[going] / 0.5, -1))
    if not change:
        assert torch.allclose(
            agent.state_values(states), 0.5 * (torch.logsumexp(wanted / 0.5, -1) - math.log(4)), atol=1e-3
        )


@pytest.mark.slow
@pytest.mark.parametrize("change", [{}, {"value_form": "sum"}, {"backup": "expected"}])
def test_it_finds_soft_value_iteration_s_answer(change: dict[str, Any]) -> None:
    world = Gridworld(size=3, slip=0.0)
    batch, wanted = all_transitions(world), solution(world, change)
    agent = build("discrete-soft-q", **GRID, **change, critic_lr=0.1, tau=0.5)
    for step in range(3000):
        agent.optimizers["critic"].param_groups[0]["lr"] = 0.1 if step < 2000 else 0.01
        agent.update(batch)
    found = agent.q_values(batch["observations"], batch["actions"])[0]
    assert torch.allclose(found, wanted[batch["observations"].argmax(-1), batch["actions"]], atol=0.02)


# ---------------------------------------------------------------- the policy without an actor
def two_modes(observations: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Equal peaks of height 1 at -0.5 and 0.5, ``[n, K, 1] -> [n, K]``."""
    a = actions[..., 0]
    return sum(torch.exp(-0.5 * ((a - centre) / 0.15) ** 2) for centre in (-0.5, 0.5))


def energy_agent(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Any:
    agent = build("soft-q", action_dim=1, temperature=0.2, **settings)
    monkeypatch.setattr(agent, "least_q", two_modes)
    return agent


def test_the_policy_keeps_both_modes_and_is_the_boltzmann_density(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, s = energy_agent(monkeypatch, n_acting_candidates=200), torch.zeros(6000, 3, dtype=torch.float64)
    cells = torch.linspace(-1, 1, 41, dtype=torch.float64)
    middle = 0.5 * (cells[1:] + cells[:-1])
    fine = torch.linspace(-1, 1, 4001, dtype=torch.float64)[1::2, None]
    mass = (two_modes(s[:1], fine[None])[0] / 0.2).exp()
    exact = (mass / mass.sum()).view(40, -1).sum(1).numpy()
    actions, log_prob = agent.policy().sample(s, torch.Generator().manual_seed(0))
    shares = np.histogram(actions.numpy(), cells.numpy())[0] / len(s)
    assert 0.5 * np.abs(shares - exact).sum() < 0.08  # total variation; that of a few draws included
    assert float((actions > 0).double().mean()) == pytest.approx(0.5, abs=0.03)
    own = agent.log_prob(s, actions)
    assert float((own - log_prob).abs().mean()) < 0.1
    density = agent.log_prob(s[:40], middle[:, None]).exp()
    assert float(density.sum() * 0.05) == pytest.approx(1.0, abs=0.02)
    # Few candidates: a bias towards uniform, not noise.
    few = energy_agent(monkeypatch, n_acting_candidates=2).policy()(s, torch.Generator().manual_seed(0))
    wide = np.histogram(few.numpy(), cells.numpy())[0] / len(s)
    uniform = np.full(40, 1 / 40)
    assert np.abs(wide - uniform).sum() < 0.7 * np.abs(exact - uniform).sum()


def test_the_deterministic_policy_is_the_best_of_even_points(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = energy_agent(monkeypatch, n_acting_candidates=100)
    chosen = agent.act(np.zeros((3, 3)))
    assert np.abs(np.abs(chosen) - 0.5).max() < 0.02 and np.array_equal(chosen, agent.act(np.zeros((3, 3))))
    best = agent.lattice[two_modes(None, agent.lattice[None])[0].argmax()]
    assert np.allclose(chosen, best.numpy())
    with pytest.raises(ConfigError, match="draw"):
        BoltzmannPolicy(agent, torch.zeros(3, 3)).from_noise(torch.zeros(3, 1))
    with pytest.raises(ConfigError, match="stochastic"):
        agent.export("policy.pt2", stochastic=True)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_even_points_are_inside_and_even(width: int) -> None:
    points = even_points(256, width)
    assert points.shape == (256, width) and np.abs(points).max() < 1
    halves = (points > 0) @ (2 ** np.arange(width))
    counts = np.bincount(halves, minlength=2**width)
    assert np.abs(counts - 256 / 2**width).max() <= 6  # random ones: a standard deviation of 8, 7 and 5
    assert len(np.unique(points[:, 0])) == 256


# ---------------------------------------------------------------- settings, seeds and checkpoints
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", 0.0),
        ("temperature", -1.0),
        ("value_form", "both"),
        ("backup", "hard"),
        ("cql_alpha", -0.1),
        ("n_critics", 0),
        ("tau", 0.0),
        ("critic_lr", 0.0),
        ("initial_value", None),
    ],
)
@pytest.mark.parametrize("name", BOTH)
def test_unusable_settings_name_their_field(name: str, key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as error:
        build(name, **{key: value})
    assert error.value.field == f"config[{key!r}]" and error.value.mend


def test_settings_of_its_own_and_of_others() -> None:
    for key in ("n_candidates", "n_acting_candidates"):
        with pytest.raises(ConfigError, match=key):
            build("soft-q", **{key: 1})
    with pytest.raises(ConfigError, match="did you mean 'temperature'"):
        build("soft-q", alpha=0.2)
    assert build("soft-q").draw_noise(4).uniform is None and build("soft-q", cql_alpha=1).draw_noise(
        4
    ).uniform.shape == (4, 16, 2)
    sums = [build(name, value_form=form).config.backup_entropy for name in BOTH for form in ("mean", "sum")]
    assert sums == [False, True] * 2


@pytest.mark.parametrize("name", BOTH)
def test_a_resumed_run_ends_bit_for_bit_where_an_unbroken_one_does(name: str, tmp_path: Path) -> None:
    rows = batch_of(name, 3, size=200)
    dataset = OfflineDataset.from_mapping(rows, n_actions=2 if name == "discrete-soft-q" else None)
    how: dict[str, Any] = {"batch_size": 16, "log_every": 7, "progress": False}
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    settings = {**SMALL, "cql_alpha": 0.5, "dtype": "float32"}
    fit(make_agent(name, settings), dataset, 30, checkpoint=whole, **how)
    fit(make_agent(name, settings), dataset, 17, checkpoint=broken, **how)
    fit(make_agent(name, settings), dataset, 30, checkpoint=broken, **how)
    expected, found = read_tensors(whole)[0], read_tensors(broken)[0]
    assert expected.keys() == found.keys() and all(torch.equal(expected[key], found[key]) for key in expected)


@pytest.mark.parametrize("name", [*BOTH, "sparse-q", "eql"])
def test_without_a_stacked_form_members_are_trained_in_turn_and_fast_is_refused(name: str) -> None:
    discrete = name.startswith("discrete")
    data = OfflineDataset.from_mapping(make_batch(0, size=40, discrete=discrete), n_actions=2 if discrete else None)
    how: dict[str, Any] = {"batch_size": 8, "progress": False}
    configs = [{**SMALL, "dtype": "float32", "seed": seed} for seed in (0, 1)]
    with pytest.warns(CQLWarning, match="member by member"):
        members = fit_population(name, configs, data, 3, **how)
    for config, member in zip(configs, members, strict=True):
        alone = make_agent(name, config)
        fit(alone, data, 3, seed=config["seed"], **how)
        assert all(torch.equal(value, member.agent.state()[key]) for key, value in alone.state().items())
    with pytest.raises(ConfigError, match="fast"):
        fit(make_agent(name, configs[0]), data, 3, fast=True, **how)
