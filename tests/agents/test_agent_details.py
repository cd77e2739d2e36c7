"""Settings, units, policies, random streams and checkpoints of the agents, one promise a test."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cql_tutorial import (
    Batch,
    CQLAgent,
    CQLConfig,
    OfflineDataset,
    fit,
    fit_population,
    load_agent,
    losses,
    make_agent,
)
from cql_tutorial.agents import AGENTS, register_agent
from cql_tutorial.agents.checkpoint import read_tensors, write_tensors
from cql_tutorial.agents.cql import MULTIPLIER_RANGE
from cql_tutorial.errors import CheckpointError, ConfigError, DataError
from cql_tutorial.networks import MAX_ACTION
from tests.agents.test_agents import SMALL, build, make_batch

torch.set_num_threads(1)


# ---------------------------------------------------------------- settings
def test_numbers_of_numpy_and_torch_are_taken_and_can_be_saved(tmp_path: Path) -> None:
    config = {
        "state_dim": np.int64(3), "action_dim": torch.tensor(2), "hidden_dim": np.int32(8), "alpha": np.float32(0.25),
        "seed": np.int64(3), "action_low": np.array([-1.0, -2.0]), "action_high": [1, 2.5],
        "auto_alpha": np.bool_(True), "device": torch.device("cpu"),
    }  # fmt: skip
    agent = CQLAgent(config)
    assert (agent.config.hidden_dim, agent.config.alpha, agent.config.action_high) == (8, 0.25, (1, 2.5))
    agent.save(tmp_path / "a.safetensors")
    assert load_agent(tmp_path / "a.safetensors", "cpu").config == agent.config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("action_high", [1.0, 1.0, 1.0]),
        ("action_high", float("inf")),
        ("action_low", float("nan")),
        ("action_low", "abc"),
        ("action_low", None),
        ("backup_entropy", "False"),
        ("cql_lagrange", "no"),
        ("target_entropy", "x"),
        ("target_entropy", float("nan")),
        ("cql_target_action_gap", float("inf")),
        ("initial_value", None),
        ("cql_alpha", float("inf")),
        ("seed", 2**64),
        ("dtype", ["float32"]),
        ("device", None),
        ("device", "cuda:99"),
        ("n_critics", True),
    ],
)
def test_unusable_settings_name_their_field(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as error:
        CQLAgent({**SMALL, name: value})
    assert error.value.field == f"config[{name!r}]" and error.value.mend


def test_a_pitfall_is_one_mistake_at_a_time() -> None:
    with pytest.raises(ConfigError, match="mixture"):
        build("cql-wrong-penalty", pitfall="uniform_only", proposal_weights="mixture")
    with pytest.raises(ConfigError, match=r"one of .*hard_max"):
        build("cql-wrong-penalty", pitfall="hardmax")


def test_make_agent_takes_config_objects_and_keeps_to_the_name() -> None:
    config = CQLConfig(**SMALL, cql_alpha=2.0)
    assert make_agent("cql", config).config is config
    with pytest.raises(ConfigError, match="cql_lagrange"):
        make_agent("cql-lagrange", config)
    with pytest.raises(ConfigError, match="cql_lagrange"):
        make_agent("cql-lagrange", {**SMALL, "cql_lagrange": False})
    assert make_agent("cql-lagrange", SMALL).config.cql_lagrange


# ---------------------------------------------------------------- units
def test_values_and_log_probabilities_are_taken_in_environment_units() -> None:
    agent = build("cql", action_low=(-1.0, 2.0), action_high=(3.0, 2.5))
    observations = make_batch(0)["observations"]
    unit = make_batch(1)["actions"]
    environment = torch.tensor([1.0, 2.25]) + unit * torch.tensor([2.0, 0.25])
    assert torch.allclose(agent.q_values(observations, environment), agent.critic(observations, unit), atol=1e-12)
    expected = agent.actor(observations).log_prob(torch.atanh(unit))
    assert torch.allclose(agent.log_prob(observations, environment), expected, atol=1e-9)


def test_actions_never_leave_the_bounds_by_a_rounding() -> None:
    rng = np.random.default_rng(0)
    for low, width in zip(rng.normal(size=200), rng.uniform(0.1, 3, size=200), strict=True):
        agent = build("bc", action_low=float(low), action_high=float(low + width), dtype="float32", hidden_dim=1)
        ends = agent.unscale_action(torch.tensor([[-1.0, 1.0]]))
        assert float(ends.min()) >= np.float32(low) and float(ends.max()) <= np.float32(low + width)


def test_logged_actions_at_the_bound_are_moved_inside() -> None:
    agent = build("cql", action_low=-2.0, action_high=2.0)
    assert agent.scale_action(torch.tensor([[2.0, -2.0]], dtype=torch.float64)).tolist() == [[MAX_ACTION, -MAX_ACTION]]


# ---------------------------------------------------------------- policies and random streams
def test_deterministic_means_the_squashed_mean_and_stochastic_its_distribution() -> None:
    agent = build("sac")
    observation = make_batch(0)["observations"][:1]
    mean, log_std = agent.actor(observation)
    assert np.allclose(agent.act(observation.numpy()), torch.tanh(mean).detach())
    draws = agent.policy()(observation.repeat(20_000, 1), torch.Generator().manual_seed(0))
    standard = (torch.atanh(draws) - mean) / log_std.exp()
    assert torch.allclose(standard.mean(0), torch.zeros(2, dtype=torch.float64), atol=0.03)
    assert torch.allclose(standard.std(0), torch.ones(2, dtype=torch.float64), atol=0.03)
    assert not np.allclose(agent.act(observation.numpy(), deterministic=False), agent.act(observation.numpy()))


def test_the_discrete_policy_is_the_argmax_of_the_mean_critic_or_its_softmax() -> None:
    agent = build("discrete-cql", action_dim=4, n_critics=2)
    observations = make_batch(0, discrete=True, action_dim=4)["observations"]
    mean = agent.critic(observations).mean(0).detach()
    assert torch.equal(agent.policy()(observations), mean.argmax(-1))
    assert torch.allclose(agent.policy(False).probabilities(observations), torch.softmax(mean, -1))
    assert torch.equal(agent.policy().probabilities(observations), F.one_hot(mean.argmax(-1), 4).double())


@pytest.mark.parametrize("double_q", [True, False])
def test_double_q_chooses_with_the_critic_and_values_with_the_target(double_q: bool) -> None:
    agent = build("discrete-cql", action_dim=3, cql_alpha=0.0, double_q=double_q, discount=0.7)
    with torch.no_grad():
        for parameter in agent.target_critic.parameters():
            parameter.mul_(-1.5)
    batch = make_batch(2, discrete=True, action_dim=3)
    online, target = (net(batch["next_observations"]).squeeze(0) for net in (agent.critic, agent.target_critic))
    best = (online if double_q else target).argmax(1)
    value = target.gather(1, best[:, None]).squeeze(1)
    y = batch["rewards"] + 0.7 * (~batch["terminations"]).double() * value
    q = agent.critic(batch["observations"]).squeeze(0).gather(1, batch["actions"][:, None]).squeeze(1).detach()
    assert not torch.equal(online.argmax(1), target.argmax(1))
    assert float(agent.update(batch)["td_loss"]) == pytest.approx(float((q - y).square().mean()), abs=1e-12)


def test_acting_does_not_change_what_an_update_draws() -> None:
    first, second = build("cql"), build("cql")
    second.act(np.zeros((5, 3)), deterministic=False)
    assert torch.equal(first.draw_noise(4).target, second.draw_noise(4).target)


def test_random_streams_of_seeds_and_purposes_are_apart() -> None:
    streams = [build("cql", seed=seed).draw_noise(64).target for seed in range(4)]
    starts = [build("cql", seed=seed).actor.weights[0].flatten() for seed in range(4)]
    for group in (streams, starts):
        assert len({tuple(t.flatten().tolist()) for t in group}) == 4
    noise = build("cql").draw_noise(1000)
    assert float(noise.uniform.abs().max()) <= MAX_ACTION and float(noise.uniform.abs().max()) > 0.999
    assert not torch.equal(noise.policy, noise.next_policy)


def test_the_default_dtype_of_the_process_changes_nothing() -> None:
    first = build("cql", dtype="float32")
    torch.set_default_dtype(torch.float64)
    try:
        second = build("cql", dtype="float32")
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(first.critic.weights[0], second.critic.weights[0])


# ---------------------------------------------------------------- the multiplier
def test_the_multiplier_uses_the_mean_gap_and_stays_in_its_range() -> None:
    low, high = MULTIPLIER_RANGE
    for target, bound in ((-50.0, high), (50.0, low)):
        agent = build("cql-lagrange", cql_target_action_gap=target, multiplier_lr=0.9, cql_n_actions=1)
        for step in range(25):
            agent.update(make_batch(step))
        assert float(agent.cql_alpha) == pytest.approx(bound, rel=1e-9)
    gap = torch.tensor([0.0, 3.0])
    log_multiplier = torch.zeros((), requires_grad=True)
    losses.multiplier_loss(log_multiplier, gap, 1.0).backward()
    assert log_multiplier.grad is not None and float(log_multiplier.grad) == pytest.approx(-0.5)


# ---------------------------------------------------------------- batches
def test_odd_but_sound_arrays_are_taken() -> None:
    agent = build("cql", dtype="float32")
    plain = {key: value.numpy() for key, value in make_batch(0).items()}
    odd = {key: value[::-1].copy()[::-1] for key, value in plain.items()}
    odd["rewards"].flags.writeable = False
    noise = agent.draw_noise(8)
    twin = build("cql", dtype="float32")
    assert float(agent.update(odd, noise)["td_loss"]) == float(twin.update(plain, noise)["td_loss"])
    floats = {**plain, "terminations": plain["terminations"].astype(np.float32)}
    again = build("cql", dtype="float32")
    assert float(again.update(floats, noise)["td_loss"]) == float(
        build("cql", dtype="float32").update(plain, noise)["td_loss"]
    )


@pytest.mark.parametrize("value", [["a", "b"], [[1.0], [1.0, 2.0]], None, np.array([object()])])
def test_what_is_no_array_is_named(value: Any) -> None:
    with pytest.raises(DataError, match="rewards"):
        build("cql").update({**make_batch(0), "rewards": value})
    with pytest.raises(DataError, match="a mapping"):
        build("cql").update(value)


def test_a_batch_is_a_mapping() -> None:
    batch = Batch.of(make_batch(0))
    assert set(batch) == set(make_batch(0)) and batch.size == 8 and len(batch) == 5
    with pytest.raises(KeyError):
        batch["returns_to_go"]
    assert "returns_to_go" in Batch.of({**make_batch(0), "returns_to_go": torch.zeros(8)})


# ---------------------------------------------------------------- checkpoints
def resave(path: Path, **change: Any) -> None:
    tensors, header = read_tensors(path)
    config = {**json.loads(header["config"]), **change.pop("config", {})}
    write_tensors(path, tensors, {**header, "config": json.dumps(config), **change})


def test_loading_on_another_kind_of_device_starts_the_noise_afresh(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    agent = build("cql")
    fresh = agent.draw_noise(4).target
    agent.save(path)
    resave(path, device_type="cuda")
    loaded = load_agent(path, "cpu")
    assert torch.equal(loaded.draw_noise(4).target, fresh)
    assert torch.equal(loaded.critic.weights[0], agent.critic.weights[0])


@pytest.mark.parametrize(
    ("saved", "other", "says"),
    [
        ({"cql_lagrange": True}, {}, "multiplier"),
        ({"action_low": -2.0}, {}, "action_low"),
        ({"dtype": "float32"}, {}, "dtype"),
        ({}, {"hidden_dim": 4}, "shape"),
        ({}, {"auto_alpha": False}, "temperature"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused_whole(
    tmp_path: Path, saved: dict[str, Any], other: dict[str, Any], says: str
) -> None:
    path = tmp_path / "a.safetensors"
    build("cql", **saved).save(path)
    agent = build("cql", **other)
    before = {key: value.clone() for key, value in agent.state().items()}
    with pytest.raises(CheckpointError, match=says):
        agent.load_state(path)
    assert all(torch.equal(before[key], value) for key, value in agent.state().items())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"agent": "tomorrow"}, "agent 'tomorrow'"),
        ({"config": {"from_the_future": 1}}, "from_the_future"),
        ({"config": {"hidden_dim": "wide"}}, "hidden_dim"),
    ],
)
def test_headers_of_another_version_are_named(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = tmp_path / "a.safetensors"
    build("cql").save(path)
    resave(path, **change)
    with pytest.raises(CheckpointError, match=says):
        load_agent(path, "cpu")
    with pytest.raises(CheckpointError):
        CQLAgent.load(path, "cpu")


def test_a_bad_device_is_the_callers_mistake(tmp_path: Path) -> None:
    build("cql").save(tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match="device"):
        CQLAgent.load(tmp_path / "a.safetensors", "abacus")


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a folder"):
        build("cql").save(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="no folder"):
        build("cql").save(tmp_path / "file" / "a.safetensors")
    build("cql").save(tmp_path / "new" / "deep" / "a.safetensors")
    assert [p.name for p in (tmp_path / "new" / "deep").iterdir()] == ["a.safetensors"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    agent = build("cql")
    agent.save(path)
    content = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cql_tutorial.agents.checkpoint.os.fsync", full)
    agent.update(make_batch(0))
    with pytest.raises(CheckpointError, match="No space left"):
        agent.save(path)
    assert path.read_bytes() == content and [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


# ---------------------------------------------------------------- losses say which shapes they want
def test_losses_refuse_shapes_that_would_broadcast() -> None:
    column, flat = torch.zeros(4, 1), torch.zeros(4)
    for call in (
        lambda: losses.td_target(column, flat, flat, 0.9),
        lambda: losses.td_loss(torch.zeros(2, 4), column),
        lambda: losses.actor_loss(flat, column, 0.1),
        lambda: losses.cql_penalty(torch.zeros(2, 4, 3), torch.zeros(4, 2), torch.zeros(2, 4)),
        lambda: losses.cql_penalty(torch.zeros(2, 4, 3), torch.zeros(4, 3), torch.zeros(4, 2)),
    ):
        with pytest.raises(AssertionError):
            call()
    assert losses.td_target(flat, torch.tensor([True, False, True, False]), flat + 1, 0.5).tolist() == [0, 0.5, 0, 0.5]
    assert math.isclose(losses.uniform_log_density(6), -6 * math.log(2))


@pytest.mark.parametrize("name", list(AGENTS))
def test_building_an_agent_leaves_torch_s_own_random_numbers_alone(name: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    make_agent(name, {"state_dim": 3, "action_dim": 2, "hidden_dim": 8, "device": "cpu"})
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------- classes of one's own
class Milder(CQLAgent):
    """CQL with half the penalty, under a name of its own."""

    name = "cql-milder"

    def penalty(self, *terms: torch.Tensor) -> torch.Tensor:
        return 0.5 * super().penalty(*terms)


def test_a_class_without_a_name_of_its_own_is_not_saved(tmp_path: Path) -> None:
    class Nameless(CQLAgent):
        pass

    with pytest.raises(ConfigError, match=r"Nameless\.name: found 'cql', the name of CQLAgent.*register_agent"):
        Nameless(SMALL).save(tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match="a name of its own"):
        fit(Nameless(SMALL), log_of(20), 1, batch_size=4, checkpoint=tmp_path / "a.safetensors", progress=False)
    with pytest.raises(ConfigError, match="a name of its own"):
        register_agent("nameless", Nameless)
    assert not [*tmp_path.iterdir()]


def test_a_registered_class_is_made_loaded_and_trained_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cql_tutorial.agents.AGENTS", dict(AGENTS))
    path = tmp_path / "a.safetensors"
    Milder(SMALL).save(path)
    with pytest.raises(CheckpointError, match=r"'cql-milder'.*register_agent, or its own load"):
        load_agent(path, "cpu")
    assert type(Milder.load(path, "cpu")) is Milder
    for _ in range(2):  # as when a cell is run twice
        register_agent("cql-milder", Milder)
    register_agent("cql-milder-held", Milder, cql_lagrange=True)
    assert type(load_agent(path, "cpu")) is Milder and make_agent("cql-milder-held", SMALL).config.cql_lagrange
    with pytest.raises(ConfigError, match="which the name 'cql-milder-held' means"):
        make_agent("cql-milder-held", {**SMALL, "cql_lagrange": False})
    members = fit_population("cql-milder", [{**SMALL, "seed": s} for s in (0, 1)], log_of(40), 3, batch_size=4)
    assert [type(member.agent) for member in members] == [Milder, Milder]


@pytest.mark.parametrize(("name", "kind"), [("cql", Milder), ("mine", dict)])
def test_what_cannot_be_registered(name: str, kind: Any) -> None:
    with pytest.raises(ConfigError):
        register_agent(name, kind)


def log_of(size: int) -> OfflineDataset:
    g = torch.Generator().manual_seed(0)
    states = torch.randn(size + 1, 3, generator=g)
    return OfflineDataset.from_arrays(
        observations=states[:-1],
        actions=torch.rand(size, 2, generator=g) - 0.5,
        rewards=torch.rand(size, generator=g),
        next_observations=states[1:],
        terminations=torch.zeros(size, dtype=torch.bool),
        truncations=torch.arange(size) == size - 1,
        action_low=-1.0,
        action_high=1.0,
    )


def test_a_checkpoint_of_the_version_before_loads(tmp_path: Path) -> None:
    """It names settings that are gone; a wrong penalty among them is not passed over."""
    agent, path = build("cql"), tmp_path / "a.safetensors"
    agent.save(path)
    tensors, header = read_tensors(path)
    config = json.loads(header["config"])
    for pitfall in (None, "hard_max"):
        old = json.dumps({**config, "update_path": "fused", "pitfall": pitfall})
        write_tensors(path, tensors, {**header, "config": old})
        if pitfall is None:
            assert all(torch.equal(value, agent.state()[key]) for key, value in load_agent(path, "cpu").state().items())
            build("cql", seed=5).load_state(path)
        else:
            with pytest.raises(CheckpointError, match="pitfall"):
                load_agent(path, "cpu")
