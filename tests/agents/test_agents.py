"""The agents against plain re-implementations, on the same noise, in float64; their checks, saving and loading."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cql_tutorial import CQLAgent, SACAgent, load_agent, losses, make_agent
from cql_tutorial.agents import AGENTS
from cql_tutorial.batch import Noise
from cql_tutorial.course import wrong_penalties
from cql_tutorial.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    TargetAboveNaturalGapWarning,
    TargetBelowFloorWarning,
)
from cql_tutorial.networks import pre_tanh_of

torch.set_num_threads(1)
SMALL = {"state_dim": 3, "action_dim": 2, "hidden_dim": 16, "device": "cpu", "dtype": "float64"}


def make_batch(
    seed: int, size: int = 8, discrete: bool = False, state_dim: int = 3, action_dim: int = 2
) -> dict[str, Any]:
    g = torch.Generator().manual_seed(seed)
    continuous = 2 * torch.rand(size, action_dim, generator=g, dtype=torch.float64) - 1
    return {
        "observations": torch.randn(size, state_dim, generator=g, dtype=torch.float64),
        "actions": torch.randint(0, action_dim, (size,), generator=g) if discrete else continuous,
        "rewards": torch.randn(size, generator=g, dtype=torch.float64),
        "next_observations": torch.randn(size, state_dim, generator=g, dtype=torch.float64),
        "terminations": torch.rand(size, generator=g) < 0.3,
    }


def build(name: str, **settings: Any) -> Any:
    return make_agent(name, {**SMALL, **settings})


def batch_for(agent: Any, seed: int) -> dict[str, Any]:
    """A batch with all that some agent reads: Cal-QL wants returns-to-go."""
    return {**make_batch(seed, discrete=agent.discrete), "returns_to_go": make_batch(seed + 1)["rewards"]}


# ---------------------------------------------------------------- a plain re-implementation
def linear_stack(network: Any, member: int) -> list[torch.Tensor]:
    """Copies of one member's weights and biases, ready for a plain gradient."""
    pairs = zip(network.weights, network.biases, strict=True)
    return [t[member].detach().clone().requires_grad_() for pair in pairs for t in pair]


def mlp(parameters: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    for i in range(0, len(parameters), 2):
        x = x @ parameters[i] + parameters[i + 1]
        x = x.relu() if i + 2 < len(parameters) else x
    return x


class PlainCQL:
    """SAC, and CQL with a fixed alpha, as a textbook would write them: two critics by hand, loops over candidates."""

    parameters_of, network = staticmethod(linear_stack), staticmethod(mlp)

    def __init__(self, agent: Any) -> None:
        self.c = agent.config
        self.q = [self.parameters_of(agent.critic, j) for j in range(self.c.n_critics)]
        self.q_target = [[t.detach().clone() for t in q] for q in self.q]
        self.metrics: dict[str, float] = {}
        self.pi = self.parameters_of(agent.actor, 0)
        self.log_t = torch.tensor(math.log(self.c.alpha), dtype=torch.float64, requires_grad=True)
        self.opt_q = torch.optim.Adam(
            [t for q in self.q for t in q], self.c.critic_lr, weight_decay=self.c.critic_weight_decay
        )
        self.opt_pi = torch.optim.Adam(self.pi, self.c.actor_lr)
        self.opt_t = torch.optim.Adam([self.log_t], self.c.temperature_lr)

    def sample(self, s: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_std = self.network(self.pi, s).chunk(2, -1)
        normal = torch.distributions.Normal(mean, log_std.clamp(-5, 2).exp())
        u = mean + normal.stddev * noise
        a = torch.tanh(u)
        return a, (normal.log_prob(u) - torch.log1p(-a.square())).sum(-1)

    def value(self, q: list[torch.Tensor], s: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        return self.network(q, torch.cat([s, a], -1)).squeeze(-1)

    def next_value(self, s2: torch.Tensor, a2: torch.Tensor, noise: Noise) -> torch.Tensor:
        return torch.stack([self.value(q, s2, a2) for q in self.q_target]).min(0).values

    def climbed(self, s: torch.Tensor, a: torch.Tensor, noise: Noise) -> torch.Tensor:
        return torch.stack([self.value(q, s, a) for q in self.q]).min(0).values

    def penalty(self, q: list[torch.Tensor], batch: dict[str, Any], noise: Noise) -> torch.Tensor:
        s, total = batch["observations"], 0.0
        terms = []
        for n in range(self.c.cql_n_actions):
            terms.append(self.value(q, s, noise.uniform[:, n]) + self.c.action_dim * math.log(2))
            for state, eps in ((s, noise.policy), (batch["next_observations"], noise.next_policy)):
                if eps is not None:
                    with torch.no_grad():
                        a, log_prob = self.sample(state, eps[:, n])
                    terms.append(self.value(q, s, a) - log_prob)
        total = torch.stack(terms).exp().mean(0).log()
        return (total - self.value(q, s, batch["actions"])).mean()

    def update(self, batch: dict[str, Any], noise: Noise, policy_too: bool = True) -> None:
        s, s2, done = batch["observations"], batch["next_observations"], batch["terminations"].double()
        with torch.no_grad():
            a2, log_prob2 = self.sample(s2, noise.target)
            v = self.next_value(s2, a2, noise)
            if self.c.backup_entropy:
                v = v - self.log_t.exp() * log_prob2
            y = batch["rewards"] + self.c.discount * (1 - done) * v
        errors = [F.mse_loss(self.value(q, s, batch["actions"]), y) for q in self.q]
        loss = sum(errors)
        count = len(self.q)
        self.metrics = {
            "td_loss": sum(float(error.detach()) for error in errors) / count,
            "q_value": sum(float(self.value(q, s, batch["actions"]).detach().mean()) for q in self.q) / count,
            "temperature": float(self.log_t.detach().exp()),
        }
        if hasattr(self.c, "cql_alpha"):
            penalties = [self.penalty(q, batch, noise) for q in self.q]
            loss = loss + self.c.cql_alpha * sum(penalties)
            self.metrics["cql_loss"] = float(sum(penalties).detach()) / count
            self.metrics["cql_gap"] = self.metrics["cql_loss"] - self.c.action_dim * math.log(2)
            self.metrics["cql_alpha"] = self.c.cql_alpha
        self.opt_q.zero_grad()
        loss.backward()
        self.opt_q.step()
        a, log_prob = self.sample(s, noise.actor)
        pi_loss = (self.log_t.exp().detach() * log_prob - self.climbed(s, a, noise)).mean()
        self.metrics |= {"policy_loss": float(pi_loss.detach()), "entropy": -float(log_prob.detach().mean())}
        if policy_too:
            self.opt_pi.zero_grad()
            pi_loss.backward()
            self.opt_pi.step()
        target_entropy = -self.c.action_dim if self.c.target_entropy is None else self.c.target_entropy
        t_loss = -(self.log_t * (log_prob.detach() + target_entropy)).mean()
        if policy_too:
            self.opt_t.zero_grad()
            t_loss.backward()
            self.opt_t.step()
        with torch.no_grad():
            for q, target in zip(self.q, self.q_target, strict=True):
                for p, t in zip(q, target, strict=True):
                    t += self.c.tau * (p - t)

    def largest_difference(self, agent: Any) -> float:
        pairs = [(self.pi, self.parameters_of(agent.actor, 0)), ([self.log_t], [agent.log_temperature])]
        for j in range(self.c.n_critics):
            pairs.append((self.q[j], self.parameters_of(agent.critic, j)))
            pairs.append((self.q_target[j], self.parameters_of(agent.target_critic, j)))
        return max(float((a - b).detach().abs().max()) for x, y in pairs for a, b in zip(x, y, strict=True))


FAST = {"critic_lr": 1e-2, "actor_lr": 1e-2, "temperature_lr": 1e-2, "tau": 0.05}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sac", {}),
        ("cql", {"cql_alpha": 0.0, "backup_entropy": True}),
        ("cql", {"cql_alpha": 2.0, "cql_n_actions": 3}),
        ("cql", {"cql_alpha": 2.0, "cql_n_actions": 3, "next_policy_proposal": False, "n_critics": 3}),
        (
            "cql",
            {"cql_n_actions": 2, "discount": 0.5, "hidden_layers": 1, "target_entropy": -0.3, "initial_value": 2.0},
        ),
        ("sac", {"critic_weight_decay": 0.1, "backup_entropy": False, "alpha": 0.05}),
    ],
)
def test_updates_equal_a_plain_implementation(name: str, settings: dict[str, Any]) -> None:
    agent = build(name, **FAST, **settings)
    plain = PlainCQL(agent)
    for step in range(20):
        batch, noise = make_batch(step), agent.draw_noise(8)
        metrics = agent.update(batch, noise)
        plain.update(batch, noise)
        assert {key: float(value) for key, value in metrics.items()} == pytest.approx(plain.metrics, abs=1e-9)
    assert plain.largest_difference(agent) < 1e-9
    assert (
        float((agent.critic.weights[0] - build(name, **FAST, **settings).critic.weights[0]).detach().abs().max()) > 1e-2
    )


def test_sac_and_cql_without_penalty_are_the_same_agent() -> None:
    sac, cql = build("sac"), build("cql", cql_alpha=0.0, backup_entropy=True)
    for step in range(5):
        batch, noise = make_batch(step), cql.draw_noise(8)
        sac.update(batch, noise)
        cql.update(batch, noise)
    for key, value in sac.state().items():
        if key != "generator":
            assert torch.allclose(value, cql.state()[key], atol=1e-12), key


def test_sac_with_a_fixed_temperature_keeps_it() -> None:
    agent = build("sac", auto_alpha=False, alpha=0.3)
    metrics = [agent.update(make_batch(step)) for step in range(3)][-1]
    assert float(metrics["temperature"]) == pytest.approx(0.3) and "temperature" not in agent.optimizers


# ---------------------------------------------------------------- proposals and the penalty inside the agent
def test_proposals_have_the_right_densities() -> None:
    agent, batch = build("cql", cql_n_actions=4), make_batch(0)
    noise = agent.draw_noise(8)
    here, there = agent.actor(batch["observations"]), agent.actor(batch["next_observations"])
    actions, own = agent.sample_candidates(here, there, noise)
    assert actions.shape == (8, 12, 2) and own.shape == (8, 12)
    pre_tanh = pre_tanh_of(actions)
    assert torch.allclose(own[:, :4], torch.full((8, 4), -2 * math.log(2.0), dtype=torch.float64))
    assert torch.allclose(own[:, 4:8], here.log_prob(pre_tanh[:, 4:8]), atol=1e-6)
    assert torch.allclose(own[:, 8:], there.log_prob(pre_tanh[:, 8:]), atol=1e-6)
    mixture_agent = build("cql", cql_n_actions=4, proposal_weights="mixture")
    _, mixture = mixture_agent.sample_candidates(here, there, noise)
    densities = [
        torch.full((8, 12), 0.25, dtype=torch.float64),
        here.log_prob(pre_tanh).exp(),
        there.log_prob(pre_tanh).exp(),
    ]
    assert torch.allclose(mixture, (sum(densities) / 3).log(), atol=1e-6)


def gap_of_a_zero_critic(name: str = "cql", **settings: Any) -> float:
    agent = build(name, **settings)
    with torch.no_grad():
        for parameter in agent.critic.parameters():
            parameter.zero_()
    return float(agent.update(make_batch(0, size=64))["cql_gap"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_critic_of_zero_weights_has_no_gap(dtype: str) -> None:
    # Exact where the candidates are uniform. Policy candidates make the estimate of log 2^A itself random ...
    assert abs(gap_of_a_zero_critic("cql-wrong-penalty", pitfall="uniform_only", dtype=dtype)) < 1e-5
    # ... and slightly low (the log of an unbiased mean), less so with the mixture's weights.
    own, mixture = (
        gap_of_a_zero_critic(proposal_weights=w, cql_n_actions=500, dtype=dtype) for w in ("own", "mixture")
    )
    assert -0.1 < own < 0.02 and -0.005 < mixture < 0.005


@pytest.mark.parametrize("pitfall", [None, *wrong_penalties.PITFALLS])
def test_the_named_penalty_is_the_one_that_is_used(pitfall: str | None) -> None:
    agent, other = build("cql-wrong-penalty", pitfall=pitfall), build("cql")
    noise = agent.draw_noise(8)
    first, second = agent.update(make_batch(0), noise), other.update(make_batch(0), noise)
    assert (float(first["cql_loss"]) == float(second["cql_loss"])) is (pitfall is None)


def test_discrete_penalty_is_the_continuous_one_over_all_actions() -> None:
    agent = build("discrete-cql", action_dim=5, n_critics=2)
    batch = make_batch(0, discrete=True, action_dim=5)
    q = agent.critic(batch["observations"]).detach()
    q_data = torch.stack([q[:, b, a] for b, a in enumerate(batch["actions"])], -1)
    expected = losses.cql_penalty(q, torch.full((8, 5), -math.log(5), dtype=torch.float64), q_data)
    exact = (torch.logsumexp(q, -1) - q_data).mean(-1)
    assert torch.allclose(expected, exact, atol=1e-12)
    assert float(agent.update(batch)["cql_loss"]) == pytest.approx(float(exact.mean()), abs=1e-12)


def test_discrete_update_equals_a_plain_one() -> None:
    agent = build("discrete-cql", action_dim=4, cql_alpha=0.7, critic_lr=1e-2, tau=0.1, n_critics=2)
    q = [linear_stack(agent.critic, j) for j in range(2)]
    target = [[t.detach().clone() for t in member] for member in q]
    optimizer = torch.optim.Adam([t for member in q for t in member], 1e-2)
    for step in range(10):
        batch = make_batch(step, discrete=True, action_dim=4)
        agent.update(batch)
        s, a, s2 = batch["observations"], batch["actions"][:, None], batch["next_observations"]
        with torch.no_grad():
            best = sum(mlp(member, s2) for member in q).argmax(1, keepdim=True)
            v = torch.stack([mlp(member, s2).gather(1, best)[:, 0] for member in target]).min(0).values
            y = batch["rewards"] + 0.99 * (1 - batch["terminations"].double()) * v
        loss = torch.zeros((), dtype=torch.float64)
        for member in q:
            all_q = mlp(member, s)
            chosen = all_q.gather(1, a)[:, 0]
            loss = loss + F.mse_loss(chosen, y) + 0.7 * (torch.logsumexp(all_q, 1) - chosen).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for member, old in zip(q, target, strict=True):
                for p, t in zip(member, old, strict=True):
                    t += 0.1 * (p - t)
    for j in range(2):
        for ours, theirs in zip(linear_stack(agent.critic, j), q[j], strict=True):
            assert torch.allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("name", ["bc", "discrete-bc"])
def test_behaviour_cloning_learns_the_logged_action(name: str) -> None:
    discrete = name == "discrete-bc"
    agent = build(name, action_dim=3 if discrete else 2, actor_lr=1e-2)
    for step in range(300):
        batch = make_batch(step, size=64, discrete=discrete, action_dim=3 if discrete else 2)
        s = batch["observations"]
        batch["actions"] = (
            (s[:, 0] > 0).long() if discrete else torch.stack([0.5 * torch.tanh(s[:, 0]), -0.3 + 0 * s[:, 1]], 1)
        )
        agent.update(batch)
    s = make_batch(999, size=200)["observations"].numpy()
    acts = agent.act(s)
    if discrete:
        assert (acts == (s[:, 0] > 0)).mean() > 0.95
    else:
        assert np.abs(acts - np.stack([0.5 * np.tanh(s[:, 0]), np.full(200, -0.3)], 1)).mean() < 0.05


# ---------------------------------------------------------------- the multiplier
def test_multiplier_rises_and_falls_with_the_gap() -> None:
    for target, direction in ((-3.0, 1), (3.0, -1)):
        agent = build("cql-lagrange", cql_alpha=1.0, cql_target_action_gap=target)
        values, gaps = [], []
        for step in range(50):
            metrics = agent.update(make_batch(step))
            values.append(float(metrics["cql_alpha"]))
            gaps.append(float(metrics["cql_gap"]))
        assert all((gap > target) is (direction > 0) for gap in gaps)
        steps = np.diff([*values, float(agent.cql_alpha)])
        assert (np.sign(steps) == direction).all()


def test_multiplier_sends_nothing_into_the_critics() -> None:
    lagrange, fixed = build("cql-lagrange", cql_alpha=2.0, cql_target_action_gap=0.3), build("cql", cql_alpha=2.0)
    batch, noise = make_batch(0), fixed.draw_noise(8)
    for agent in (lagrange, fixed):
        agent.update(batch, noise)
    for ours, theirs in zip(lagrange.critic.parameters(), fixed.critic.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)
    assert float(lagrange.cql_alpha) != 2.0


@pytest.mark.parametrize(
    ("target", "warning"), [(-50.0, TargetBelowFloorWarning), (50.0, TargetAboveNaturalGapWarning)]
)
def test_unreachable_targets_warn_once_by_name(target: float, warning: type[Warning]) -> None:
    for dtype in ("float32", "float64"):
        agent = build("cql-lagrange", cql_target_action_gap=target, multiplier_lr=0.5, cql_n_actions=2, dtype=dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            agent.check_multiplier()
        for step in range(40):
            agent.update(make_batch(step))
        with pytest.warns(warning):
            agent.check_multiplier()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            agent.check_multiplier()


# ---------------------------------------------------------------- contract
@pytest.mark.parametrize("name", list(AGENTS))
def test_contract_of_every_agent(name: str) -> None:
    agent = build(name, action_low=-2.0, action_high=2.0) if "discrete" not in name and name != "dqn" else build(name)
    assert isinstance(agent, torch.nn.Module) and all(isinstance(p, torch.nn.Parameter) for p in agent.parameters())
    batch = batch_for(agent, 0)
    metrics = agent.update({**batch, "ignored": "a string"}, agent.draw_noise(8))
    assert all(value.dim() == 0 and not value.requires_grad and f"{value:.3f}" for value in metrics.values())
    one, many = agent.act(np.zeros(3)), agent.act(np.zeros((4, 3)), deterministic=False)
    assert np.shape(one) == (() if agent.discrete else (2,)) and np.shape(many) == ((4,) if agent.discrete else (4, 2))
    if hasattr(agent, "q_values"):
        q = agent.q_values(batch["observations"], batch["actions"])
        assert q.shape == (agent.config.n_critics, 8)
    policy = agent.policy(deterministic=False)
    actions, log_prob = policy.sample(batch["observations"], torch.Generator().manual_seed(0))
    again = policy(batch["observations"], torch.Generator().manual_seed(0))
    assert torch.equal(actions, again) and log_prob.shape == (8,)


def test_actions_are_in_environment_units() -> None:
    agent = build("bc", action_low=(0.0, -4.0), action_high=(1.0, 4.0), actor_lr=1e-2)
    target = torch.tensor([[0.75, -3.0]], dtype=torch.float64)
    for step in range(400):
        agent.update({**make_batch(step), "actions": target.repeat(8, 1)})
    assert np.allclose(agent.act(np.zeros(3)), [0.75, -3.0], atol=0.05)
    assert torch.allclose(agent.unscale_action(agent.scale_action(target)), target)


def test_same_seed_same_numbers() -> None:
    def run(seed: int) -> torch.Tensor:
        agent = build("cql", seed=seed)
        for step in range(3):
            agent.update(make_batch(step))
        return torch.cat([p.flatten() for p in agent.critic.parameters()])

    assert torch.equal(run(0), run(0)) and not torch.equal(run(0), run(1))


@pytest.mark.parametrize("name", list(AGENTS))
def test_saved_and_loaded_agents_go_on_equally(name: str, tmp_path: Any) -> None:
    agent = build(name)
    for step in range(3):
        agent.update(batch_for(agent, step))
    path = tmp_path / "agent.safetensors"
    agent.save(path)
    loaded, other = load_agent(path, device="cpu"), build(name, seed=7)
    before = [parameter.data_ptr() for parameter in other.parameters()]
    other.load_state(path)
    assert [parameter.data_ptr() for parameter in other.parameters()] == before  # copied in place
    for step in range(3, 6):
        batch = batch_for(agent, step)
        rows = [{k: float(v) for k, v in a.update(batch).items()} for a in (agent, loaded, other)]
        assert rows[0] == rows[1] == rows[2]
    assert [p.name for p in tmp_path.iterdir()] == ["agent.safetensors"]


# ---------------------------------------------------------------- bad input
def test_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cql_alpha'") as error:
        CQLAgent({**SMALL, "cql_alfa": 5.0})
    assert error.value.field == "config['cql_alfa']"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("discount", 1.5),
        ("discount", -0.1),
        ("discount", float("nan")),
        ("tau", 0.0),
        ("hidden_dim", 0),
        ("state_dim", 2.5),
        ("critic_lr", -1.0),
        ("critic_lr", float("inf")),
        ("cql_alpha", -1),
        ("alpha", 0.0),
        ("cql_n_actions", 0),
        ("dtype", "float16"),
        ("device", "gpu9000"),
        ("action_high", -1.0),
        ("seed", -1),
        ("proposal_weights", "both"),
        ("n_critics", 0),
        ("hidden_layers", -1),
        ("critic_weight_decay", -0.1),
    ],
)
def test_unusable_settings_are_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as error:
        CQLAgent({**SMALL, name: value})
    assert name in str(error.value) and repr(value) in str(error.value)


def test_missing_dimension_and_unknown_agent() -> None:
    with pytest.raises(ConfigError, match="action_dim"):
        SACAgent({"state_dim": 3})
    with pytest.raises(ConfigError, match="cql-lagrange"):
        make_agent("clq", SMALL)


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"observations": torch.zeros(8, 4, dtype=torch.float64)}, "observations", "state_dim is 3"),
        ({"actions": torch.zeros(8, 1, dtype=torch.float64)}, "actions", "action_dim is 2"),
        ({"actions": torch.zeros(8, 2, dtype=torch.int64)}, "actions", "int64"),
        ({"rewards": torch.zeros(8, 1, dtype=torch.float64)}, "rewards", "[8, 1]"),
        ({"rewards": torch.zeros(8, dtype=torch.int32)}, "rewards", "int32"),
        ({"next_observations": torch.zeros(7, 3, dtype=torch.float64)}, "next_observations", "[7, 3]"),
        ({"terminations": torch.zeros(8, dtype=torch.int64)}, "terminations", "bool or float"),
    ],
)
def test_bad_batches_are_named_at_update(change: dict[str, Any], field: str, says: str) -> None:
    agent = build("cql")
    before = {key: value.clone() for key, value in agent.state().items()}
    with pytest.raises(DataError) as error:
        agent.update({**make_batch(0), **change})
    assert field in error.value.field and says in str(error.value) and error.value.mend
    assert all(torch.equal(before[key], value) for key, value in agent.state().items())


def test_missing_key_empty_batch_and_kinds_of_actions() -> None:
    agent, batch = build("cql"), make_batch(0)
    del batch["terminations"]
    with pytest.raises(DataError, match="terminations"):
        agent.update(batch)
    with pytest.raises(DataError, match="empty"):
        agent.update({key: value[:0] for key, value in make_batch(0).items()})
    with pytest.raises(DataError, match="integers"):
        build("dqn").update(make_batch(0))
    with pytest.raises(DataError, match="shape"):
        build("dqn").update({**make_batch(0), "actions": torch.zeros(8, 2, dtype=torch.int64)})
    with pytest.raises(DataError, match="integers"):
        build("dqn").update({**make_batch(0), "actions": torch.zeros(8)})
    with pytest.raises(DataError, match="state_dim"):
        agent.act(np.zeros(5))
    with pytest.raises(DataError, match="action_dim"):
        agent.q_values(np.zeros((2, 3)), np.zeros((2, 5)))


def test_bad_checkpoints_are_named(tmp_path: Any) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError, match="no such file"):
        CQLAgent.load(path)
    build("cql").save(path)
    with pytest.raises(CheckpointError, match="agent 'cql'"):
        SACAgent.load(path)
    wide = build("cql", state_dim=4)
    before = {key: value.clone() for key, value in wide.state().items()}
    with pytest.raises(CheckpointError, match="shape"):
        wide.load_state(path)
    assert all(torch.equal(before[key], value) for key, value in wide.state().items())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="unreadable"):
        load_agent(path)
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(CheckpointError, match="unreadable"):
        load_agent(path)
