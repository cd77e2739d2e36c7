"""Units: the same task in other units of observation and reward gives the same policy; statistics travel along."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cql_tutorial import OfflineDataset, fit, fit_population, load_agent, make_agent
from cql_tutorial.agents import AGENTS
from cql_tutorial.agents.normaliser import BLOCK, _blocks, column_statistics, warn_of_width
from cql_tutorial.batch import Noise
from cql_tutorial.errors import CheckpointError, ConfigError, CQLWarning, DataError
from cql_tutorial.evaluation.off_policy import bellman_error, fitted_q_evaluation, initial_state_value
from cql_tutorial.fast.cuda_graph import GraphRunner
from cql_tutorial.fast.fused import FasterUpdate
from cql_tutorial.fast.reference import StackedAutograd
from cql_tutorial.networks import LOG_STD_RANGE
from cql_tutorial.training.population import Population

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:observations:cql_tutorial.errors.CQLWarning")
WIDTH, CHOICES, ROWS, STEPS = 3, 2, 120, 25
SMALL: dict[str, Any] = {"state_dim": WIDTH, "action_dim": CHOICES, "hidden_dim": 8, "device": "cpu"}
SMALL |= {"dtype": "float64"}
NORMALISED = SMALL | {"normalize_observations": True}


def log(discrete: bool = False, offset: Any = 0.0, factor: Any = 1.0, reward_factor: float = 1.0) -> OfflineDataset:
    """A small log in float64, whose observations and rewards are in units of one's choice."""
    g = torch.Generator().manual_seed(0)
    states = torch.randn(ROWS, 2, WIDTH, generator=g, dtype=torch.float64) * torch.tensor([1.0, 2.0, 0.5])
    states = states * torch.as_tensor(factor, dtype=torch.float64) + torch.as_tensor(offset, dtype=torch.float64)
    numbers = torch.rand(ROWS, CHOICES, generator=g, dtype=torch.float64) * 1.8 - 0.9
    return OfflineDataset.from_arrays(
        states[:, 0],
        torch.randint(CHOICES, (ROWS,), generator=g) if discrete else numbers,
        torch.randn(ROWS, generator=g, dtype=torch.float64) * reward_factor,
        states[:, 1],
        torch.rand(ROWS, generator=g) < 0.1,
        n_actions=CHOICES if discrete else None,
        dtype=torch.float64,
    )


def train(name: str, data: OfflineDataset, steps: int = STEPS, fast: bool = False, **config: Any) -> Any:
    agent = make_agent(name, NORMALISED | config)
    fit(agent, data, steps, batch_size=16, progress=False, fast=fast)
    return agent


def discrete(name: str) -> bool:
    return AGENTS[name][0].discrete


# ---------------------------------------------------------------- observations
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=WIDTH, max_size=WIDTH),
    st.lists(st.floats(-4, 5), min_size=WIDTH, max_size=WIDTH),
    st.sampled_from(sorted(AGENTS)),
)
@settings(max_examples=10, deadline=None, derandomize=True)
def test_the_same_policy_from_shifted_and_scaled_columns(offset: list[float], powers: list[float], name: str) -> None:
    factor = 10.0 ** np.array(powers)
    offset = list(np.array(offset) * np.minimum(factor, 1.0))  # a shift that float64 can hold beside the column's width
    here, there = log(discrete(name)), log(discrete(name), offset, factor)
    one, other = train(name, here), train(name, there)
    if discrete(name):
        scores = [
            agent.scores(agent.as_observations(data.observations)) for agent, data in ((one, here), (other, there))
        ]
        torch.testing.assert_close(*scores, rtol=0, atol=1e-5)
    else:
        np.testing.assert_allclose(one.act(here.observations), other.act(there.observations), atol=1e-5)
    if hasattr(one, "q_values"):
        values = one.q_values(here.observations, here.actions), other.q_values(there.observations, there.actions)
        torch.testing.assert_close(*values, rtol=0, atol=1e-5)


def test_without_the_normaliser_the_columns_units_matter() -> None:
    """The control of the test above."""
    here, there = log(), log(factor=[100.0, 1.0, 1.0])
    one, other = (train("bc", data, normalize_observations=False) for data in (here, there))
    assert np.abs(one.act(here.observations) - other.act(there.observations)).max() > 0.01


@given(st.integers(1, 400), st.integers(1, 5), st.floats(-8, 8), st.floats(-30, 30), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_statistics_are_those_of_numpy(n: int, width: int, shift: float, power: float, seed: int) -> None:
    columns = np.random.default_rng(seed).normal(size=(n, width)) * 10.0**power + shift * 10.0**power
    mean, std = column_statistics(torch.from_numpy(columns))
    np.testing.assert_allclose(mean, columns.mean(0), rtol=1e-9, atol=1e-9 * 10.0**power)
    wanted = np.where(columns.max(0) > columns.min(0), columns.std(0), 1.0)
    np.testing.assert_allclose(std, wanted, rtol=1e-9)


def test_constant_and_tiny_columns_are_safe() -> None:
    columns = torch.randn(50, 4)
    columns[:, 0], columns[:, 1], columns[:, 2] = 1e6 / 3, 0.0, 1e-44 * torch.arange(50)
    mean, std = column_statistics(columns, torch.float32)
    assert std[:3].tolist() == [1.0, 1.0, 1.0] and mean[0] == columns[0, 0] and float(std[3]) != 1.0
    big = torch.zeros(4, 1, dtype=torch.float64)
    big[::2] = 1e200  # its square would be infinite
    assert column_statistics(big)[1].item() == pytest.approx(5e199)


def test_blocks_lie_in_one_memory() -> None:
    """A new one for each could not be reused where small results lie in it, and twice the column was in memory."""
    columns = torch.randn(3 * BLOCK // 4 + 7, 4)
    kept, places = [], set()
    for part in _blocks(columns):
        kept.append(part.clone())
        places.add(part.data_ptr())
    assert len(kept) == 4 and len(places) == 1
    assert torch.equal(torch.cat(kept), columns.double())


def test_float32_columns_are_summed_in_float64() -> None:
    columns = torch.full((200_001, 1), 1e5)
    columns[::2] += 0.25
    mean, std = column_statistics(columns)
    assert float(mean) == pytest.approx(float(columns.double().mean()), rel=1e-13)
    assert float(std) == pytest.approx(0.125, rel=1e-6)


@pytest.mark.parametrize("name", sorted(AGENTS))
def test_an_agent_without_statistics_says_so(name: str) -> None:
    agent, data = make_agent(name, NORMALISED), log(discrete(name))
    batch = next(data.with_returns_to_go(0.9).batches(1, 8))
    calls = [lambda: agent.act(data.observations), lambda: agent.update(batch)]
    calls += [lambda: agent.q_values(data.observations, data.actions)] if hasattr(agent, "q_values") else []
    for call in calls:
        with pytest.raises(ConfigError, match=r"observation statistics: found none.*set_observation_statistics"):
            call()
    agent.set_observation_statistics(data.observations.mean(0), data.observations.numpy().std(0))
    for call in calls:
        call()


def test_statistics_by_hand_are_checked() -> None:
    agent = make_agent("bc", NORMALISED)
    for mean, std, match in (
        ([0.0], [1.0] * 3, "mean"),
        ([0.0] * 3, [1.0, -1, 1], "std"),
        ([np.nan] * 3, [1] * 3, "mean"),
    ):
        with pytest.raises(DataError, match=match):
            agent.set_observation_statistics(mean, std)
    with pytest.raises(ConfigError, match="normalize_observations"):
        make_agent("bc", SMALL).set_observation_statistics([0.0] * 3, [1.0] * 3)
    agent.set_observation_statistics([0.0] * 3, [0.0, 1.0, 2.0])
    assert agent.normaliser.std.tolist() == [1.0, 1.0, 2.0]


def test_data_of_another_width_are_named() -> None:
    agent = make_agent("bc", NORMALISED | {"state_dim": WIDTH + 1})
    with pytest.raises(DataError, match="observations: found 3 columns; expected 4, the agent's state_dim"):
        fit(agent, log(), 2, batch_size=4, progress=False)


def test_statistics_are_of_the_training_rows_and_stay() -> None:
    data = log(offset=5.0)
    training, held_out = data.split(0.25)
    agent = train("bc", training)
    before = agent.normaliser.mean.clone()
    torch.testing.assert_close(before, training.observations.mean(0))
    fit(agent, held_out, 3, batch_size=4, seed=1, progress=False)  # goes on with what its networks know
    assert torch.equal(agent.normaliser.mean, before) and int(agent.normaliser.rows) == len(training)


def test_the_share_that_percent_bc_trains_on_gives_the_statistics() -> None:
    data = log(offset=5.0)
    agent = train("bc", data, top_fraction=0.3)
    torch.testing.assert_close(agent.normaliser.mean, data.top_episodes(0.3).observations.mean(0))


@pytest.mark.parametrize("name", sorted(AGENTS))
def test_statistics_are_saved_and_loaded(name: str, tmp_path: Path) -> None:
    data = log(discrete(name), offset=[3.0, -2.0, 100.0], factor=[1.0, 50.0, 0.01])
    agent = train(name, data)
    agent.save(tmp_path / "agent.safetensors")
    loaded = load_agent(tmp_path / "agent.safetensors")
    assert np.array_equal(loaded.act(data.observations), agent.act(data.observations))
    unset = make_agent(name, NORMALISED)
    unset.load_state(tmp_path / "agent.safetensors")
    assert np.array_equal(unset.act(data.observations), agent.act(data.observations))
    with pytest.raises(CheckpointError, match="normalize_observations"):
        make_agent(name, SMALL).load_state(tmp_path / "agent.safetensors")


def test_a_run_goes_on_bit_for_bit_with_its_statistics(tmp_path: Path) -> None:
    data, path = log(offset=7.0, factor=20.0), tmp_path / "run.safetensors"
    whole = train("cql", data, 20)

    def stop(history: Any) -> str | None:
        return "stop" if history.rows[-1]["step"] == 8 else None

    options: dict[str, Any] = {"batch_size": 16, "progress": False, "checkpoint": path}
    first, second = make_agent("cql", NORMALISED), make_agent("cql", NORMALISED)
    fit(first, data, 20, log_every=8, on_row=stop, **options)
    fit(second, data, 20, log_every=8, **options)
    for key, value in whole.state_dict().items():
        assert torch.equal(second.state_dict()[key], value), key


def test_a_checkpoint_from_before_loads(tmp_path: Path) -> None:
    """A file without later settings, as the versions before them wrote it: loaded, and a run goes on from it."""
    import json

    from cql_tutorial.agents import checkpoint

    data, path = log(), tmp_path / "old.safetensors"
    whole = make_agent("cql", SMALL)
    fit(whole, data, 6, batch_size=8, progress=False)
    agent = make_agent("cql", SMALL)
    fit(agent, data, 3, batch_size=8, progress=False, checkpoint=path)
    tensors, header = checkpoint.read_tensors(path)
    later = checkpoint.ADDED_SETTINGS | checkpoint.ADDED_TO_SAC_AND_CQL
    config = {k: v for k, v in json.loads(header["config"]).items() if k not in later}
    checkpoint.write_tensors(path, tensors, {**header, "config": json.dumps(config)})
    assert np.array_equal(load_agent(path).act(data.observations), agent.act(data.observations))
    gone_on = make_agent("cql", SMALL)
    fit(gone_on, data, 6, batch_size=8, progress=False, checkpoint=path)
    assert all(torch.equal(value, gone_on.state_dict()[key]) for key, value in whole.state_dict().items())


# ---------------------------------------------------------------- every form of the update
@pytest.mark.parametrize("name", ["sac", "cql", "cql-lagrange"])
def test_the_faster_form_is_equal_with_statistics_and_reward_scale(name: str) -> None:
    config, data = {"reward_scale": 0.3, "actor_lr": 1e-3}, log(offset=[3.0, -2.0, 900.0], factor=[1.0, 50.0, 0.01])
    readable, fast = train(name, data, 40, **config), train(name, data, 40, fast=True, **config)
    for key, value in readable.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[key], value, rtol=1e-9, atol=1e-9)
    for agent in (readable, fast):
        assert agent.q_values(data.observations, data.actions).shape == (2, ROWS)


def test_metrics_are_equal_in_all_forms() -> None:
    data = log(offset=4.0)
    config = NORMALISED | {"reward_scale": 0.3}
    agents = [make_agent("cql", config) for _ in range(4)]
    for agent in agents:
        agent.take_statistics(data.observations)
    batch, noise = next(data.batches(1, 16)), agents[0].draw_noise(16)
    one = agents[0].update(batch, noise)
    lifted = Noise(**{k: v[None] for k, v in vars(noise).items() if v is not None})
    stacked = agents[3].prepare(batch)
    row = type(stacked)(
        *(stacked[k][None] for k in ("observations", "actions", "rewards", "next_observations", "terminations"))
    )
    found = [FasterUpdate(agents[1])(batch, noise), Population([agents[2]]).update([batch], [noise])]
    found.append(StackedAutograd([agents[3]]).update(row, lifted))
    for other in found:
        for key, value in one.items():
            torch.testing.assert_close(other[key].reshape(()), value, rtol=1e-9, atol=1e-9)


def test_members_of_a_population_have_their_own_statistics() -> None:
    data = [log(offset=1.0), log(offset=[40.0, 0.0, 2.0], factor=[5.0, 1.0, 1.0])]
    configs = [NORMALISED | {"seed": seed, "reward_scale": 2.0} for seed in (0, 1)]
    members = fit_population("cql", configs, data, 20, batch_size=16, progress=False)
    for config, one, member in zip(configs, data, members, strict=True):
        alone = make_agent("cql", config)
        fit(alone, one, 20, batch_size=16, seed=config["seed"], progress=False)
        torch.testing.assert_close(member.agent.normaliser.mean, one.observations.mean(0))
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(member.agent.state_dict()[key], value, rtol=1e-9, atol=1e-9)


def test_members_may_not_differ_in_what_a_batch_is_made_of() -> None:
    configs = [NORMALISED, NORMALISED | {"reward_scale": 2.0}]
    with pytest.raises(ConfigError, match="reward_scale"):
        fit_population("cql", configs, log(), 3, progress=False)


def test_the_static_program_normalises_inside(tmp_path: Path) -> None:
    """A checkpoint with other statistics may be loaded between two runs of the program, and counts."""
    data, other = log(offset=5.0, factor=3.0), log(offset=-1.0)
    agent = make_agent("cql", NORMALISED)
    runner = GraphRunner(agent, data, batch_size=16)
    torch.testing.assert_close(agent.normaliser.mean, data.observations.mean(0))
    train("cql", other).save(tmp_path / "other.safetensors")
    runner.load_state(tmp_path / "other.safetensors")
    plain = load_agent(tmp_path / "other.safetensors")
    runner.run(1)
    rows = runner.index
    plain.generator.set_state(load_agent(tmp_path / "other.safetensors").generator.get_state())
    torch.randint(ROWS, (16,), generator=plain.generator)
    columns = ("observations", "actions", "rewards", "next_observations", "terminations")
    plain.update({name: getattr(data, name)[rows] for name in columns})
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(agent.state_dict()[key], value, rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------- rewards
@pytest.mark.slow
@given(st.floats(-6, 6), st.sampled_from([name for name in sorted(AGENTS) if not name.endswith("bc")]))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_rewards_times_c_with_scale_one_over_c_are_the_same_run(power: float, name: str) -> None:
    c = 2.0 ** round(power * 3)  # a power of two: not even rounding differs
    here, there = log(discrete(name)), log(discrete(name), reward_factor=c)
    one = train(name, here, initial_value=0.7)
    other = train(name, there, initial_value=0.7 * c, reward_scale=1 / c)
    for key, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value, rtol=1e-9, atol=1e-9)
    values = [agent.q_values(data.observations, data.actions) for agent, data in ((one, here), (other, there))]
    torch.testing.assert_close(values[0] * c, values[1], rtol=1e-9, atol=0)
    if hasattr(one, "state_values"):
        torch.testing.assert_close(one.state_values(here.observations) * c, other.state_values(there.observations))


@pytest.mark.parametrize("name", ["cql", "sac", "iql", "discrete-cql", "discrete-iql"])
def test_predictions_are_in_the_logs_own_units(name: str) -> None:
    data, scale = log(discrete(name)), 0.01
    agent = make_agent(name, SMALL | {"reward_scale": scale, "initial_value": -40.0, "critic_lr": 1e-9})
    history = fit(agent, data, 5, batch_size=16, progress=False)
    assert history.last("q_value") == pytest.approx(-40, abs=60)  # 0.01 * -40 = -0.4 inside, beside weights of order 1
    inside = agent.prepare(next(data.batches(1, 16)))
    assert torch.equal(inside.rewards, next(data.batches(1, 16)).rewards * scale)
    mean = float(agent.q_values(data.observations, data.actions).mean())
    assert history.last("q_value") == pytest.approx(mean, abs=15)
    assert initial_state_value(agent, data).value == pytest.approx(mean, abs=30)


def test_returns_to_go_are_scaled_with_the_rewards() -> None:
    data = log()
    agent = make_agent("cql", SMALL | {"reward_scale": 0.25})
    batch = next(data.with_returns_to_go(0.9).batches(1, 8))
    inside = agent.prepare(batch)
    assert inside.returns_to_go is not None and batch.returns_to_go is not None
    assert torch.equal(inside.returns_to_go, batch.returns_to_go * 0.25)
    assert torch.equal(inside.rewards, batch.rewards * 0.25)


@pytest.mark.parametrize("name", ["sac", "cql", "iql", "discrete-cql"])
def test_off_policy_evaluation_agrees_in_other_units(name: str) -> None:
    c, shape = 1024.0, {"offset": [1.0, 2.0, 3.0], "factor": [8.0, 0.5, 32.0]}
    here, there = log(discrete(name)), log(discrete(name), reward_factor=c, **shape)
    one, other = train(name, here), train(name, there, reward_scale=1 / c)
    assert initial_state_value(other, there).value == pytest.approx(c * initial_state_value(one, here).value, rel=1e-5)
    assert bellman_error(other, there).value == pytest.approx(c * c * bellman_error(one, here).value, rel=1e-5)
    # the critics of fitted Q-evaluation see what the agent's see, too
    shifted = log(discrete(name), **shape)
    same = train(name, shifted)
    options: dict[str, Any] = {"hidden_dim": 8, "batch_size": 16}
    values = [fitted_q_evaluation(a, d, 30, **options).initial_value().value for a, d in ((one, here), (same, shifted))]
    assert values[0] == pytest.approx(values[1], abs=1e-5)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), "auto"])
def test_a_reward_scale_is_a_number_above_0(scale: Any) -> None:
    with pytest.raises(ConfigError, match="reward_scale"):
        make_agent("cql", SMALL | {"reward_scale": scale})


# ---------------------------------------------------------------- what is told of the width and the weights
def scaled(scale: float) -> OfflineDataset:
    """Observations about ``scale``, a tenth of it wide; the action follows the first."""
    g = np.random.default_rng(0)
    x = scale * (1 + 0.1 * g.normal(size=(2000, 4))).astype(np.float32)
    action = 0.9 * np.tanh(x[:, :1] / scale - 1) + 0.01 * g.normal(size=(2000, 1))
    return OfflineDataset.from_arrays(x, action.astype(np.float32), np.zeros(2000), x, np.zeros(2000, bool))


def test_a_width_at_its_bound_is_told_once() -> None:
    config = {"state_dim": 4, "action_dim": 1, "hidden_dim": 64, "device": "cpu"}
    agent = make_agent("bc", config)
    with pytest.warns(CQLWarning, match="log_std") as caught:
        fit(agent, scaled(300.0), 200, batch_size=64, log_every=20, progress=False)
    assert len([one for one in caught if "log_std" in str(one.message)]) == 1
    normalised = make_agent("bc", config | {"normalize_observations": True})
    history = fit(normalised, scaled(300.0), 400, batch_size=64, progress=False)
    assert "log_std" not in normalised.told and history.last("policy_loss") < -1


@pytest.mark.slow
def test_a_clone_of_actions_without_noise_is_not_warned_of_its_narrow_width() -> None:
    """Only where the logged actions are elsewhere is the lower bound a fault."""
    data = scaled(1.0)
    exact = 0.9 * torch.tanh(data.observations[:, :1] - 1)
    data = OfflineDataset.from_arrays(data.observations, exact, data.rewards, data.next_observations, data.terminations)
    agent = make_agent("bc", {"state_dim": 4, "action_dim": 1, "hidden_dim": 64, "actor_lr": 3e-3, "device": "cpu"})
    fit(agent, data, 1500, batch_size=64, progress=False)
    assert "log_std" not in agent.told
    width = agent.distribution(agent.as_observations(data.observations)).log_std
    assert float((width <= LOG_STD_RANGE[0]).double().mean()) > 0.5
    told: set[str] = set()
    with pytest.warns(CQLWarning, match="away from the logged actions"):
        warn_of_width(width, torch.full((len(width),), -1.0), 1, False, told)
    assert told == {"log_std"}


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1e12, 1e4])
@pytest.mark.parametrize("name", ["iql", "discrete-iql"])
def test_weights_of_0_and_the_cap_are_told(name: str, factor: float) -> None:
    """At such rewards the policy clones a few rows, or none."""
    data, config = log(discrete(name), reward_factor=factor), SMALL | {"critic_lr": 1e-2, "value_lr": 1e-2}
    agent = make_agent(name, config)
    with pytest.warns(CQLWarning, match="reward_scale") as caught:
        fit(agent, data, 600, batch_size=32, log_every=150, progress=False)
    assert len([one for one in caught if "weights" in str(one.message)]) == 1
    calm = make_agent(name, config | {"reward_scale": 1 / factor})
    fit(calm, data, 600, batch_size=32, log_every=150, progress=False)
    assert "weights" not in calm.told


def test_a_config_lists_the_two_settings() -> None:
    for kind, _ in AGENTS.values():
        names = {field.name: field.default for field in dataclasses.fields(kind.config_class)}
        assert names["normalize_observations"] is False and names["reward_scale"] == 1.0
