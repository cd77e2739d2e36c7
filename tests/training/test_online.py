"""Online training and recording: the log is what happened, and a seed repeats it."""

from __future__ import annotations

import gymnasium
import pytest
import torch

from cql_tutorial.datasets.recording import record
from cql_tutorial.envs import Gridworld, Pendulum
from cql_tutorial.envs.base import UniformPolicy
from cql_tutorial.errors import ConfigError
from cql_tutorial.training.online import train_online

torch.set_num_threads(1)
SMALL = {"hidden_dim": 8, "discount": 0.9}


def test_the_replay_is_what_happened() -> None:
    world = Pendulum(horizon=50)
    run = train_online(world, SMALL, 130, seed=3, start_steps=60, snapshots=[60, 100, 130], progress=False)
    replay = run.replay
    states = world.states_of(replay["observations"])
    following, rewards, _ = world.step(states, replay["actions"])
    assert torch.allclose(world.observe(following), replay["next_observations"], atol=1e-5)
    assert torch.allclose(rewards, replay["rewards"], atol=1e-5)
    assert replay["truncations"].nonzero().flatten().tolist() == [49, 99] and not replay["terminations"].any()
    inside = ~replay["truncations"][:-1]
    assert torch.equal(replay["next_observations"][:-1][inside], replay["observations"][1:][inside])
    assert not torch.equal(replay["next_observations"][49], replay["observations"][50])


def test_snapshots_are_copies_at_their_step_and_updates_start_late() -> None:
    run = train_online(Pendulum(), SMALL, 80, seed=0, start_steps=60, snapshots=[60, 70, 80], progress=False)
    steps = {
        step: float(agent.optimizers["critic"].state_dict()["state"][0]["step"])
        for step, agent in run.snapshots.items()
    }
    assert steps == {60: 0.0, 70: 10.0, 80: 20.0}
    for key, value in run.agent.state().items():
        assert torch.equal(value, run.snapshots[80].state()[key])


def test_a_seed_repeats_a_run() -> None:
    first, again, other = (
        train_online(Pendulum(), SMALL, 70, seed=seed, start_steps=60, progress=False) for seed in (1, 1, 2)
    )
    assert torch.equal(first.replay["actions"], again.replay["actions"])
    assert not torch.equal(first.replay["actions"], other.replay["actions"])


def test_a_gymnasium_environment_is_a_world() -> None:
    """The pendulum as an environment: what is seen obeys the same equations, and a seed repeats it."""
    world = Pendulum(horizon=20)
    runs = [train_online(world.env(), SMALL, 70, seed=seed, start_steps=40, progress=False) for seed in (1, 1, 2)]
    replay = runs[0].replay
    following, rewards, _ = world.step(world.states_of(replay["observations"]), replay["actions"])
    assert torch.allclose(world.observe(following), replay["next_observations"], atol=1e-4)
    assert torch.allclose(rewards, replay["rewards"], atol=1e-4)
    assert replay["truncations"].nonzero().flatten().tolist() == [19, 39, 59]
    assert torch.equal(replay["actions"], runs[1].replay["actions"])
    assert not torch.equal(replay["actions"], runs[2].replay["actions"])
    assert float(replay["actions"].abs().max()) > 1.0 and runs[0].agent.config.action_high == (2.0,)
    with pytest.raises(ConfigError, match="action space"):
        train_online(gymnasium.make("CartPole-v1"), SMALL, 10, progress=False)


def test_the_numbers_of_a_run_in_a_world_are_those_of_before() -> None:
    """The published logs were made by it: the order of its random numbers is fixed."""
    replay = train_online(Pendulum(horizon=50), SMALL, 130, seed=3, start_steps=60, progress=False).replay
    generator = torch.Generator().manual_seed(3)
    world = Pendulum(horizon=50)
    state = world.reset(1, generator)
    for step in range(60):
        action = UniformPolicy(world)(world.observe(state), generator)
        assert torch.equal(replay["actions"][step], action[0]), step
        state, _, _ = world.step(state, action, generator)
        if step % 50 == 49:
            state = world.reset(1, generator)
    assert torch.equal(replay["observations"][60], world.observe(state)[0])


def test_record_gives_whole_episodes_and_the_bounds() -> None:
    pendulum = record(Pendulum(), UniformPolicy(Pendulum()), 450, seed=0, id="x")
    assert len(pendulum) == 450 and pendulum.truncations.nonzero().flatten().tolist() == [199, 399, 449]
    assert (pendulum.action_low, pendulum.action_high, pendulum.id) == (-2.0, 2.0, "x")
    world = Gridworld()
    grid = record(world, UniformPolicy(world), 1000, seed=0)  # short episodes: more of them are needed
    assert len(grid) == 1000 and grid.n_actions == 4 and grid.actions.dtype == torch.int64
    assert int(grid.terminations.sum()) > 5 and bool((grid.terminations | grid.truncations)[-1])
    assert torch.equal(grid.actions, record(world, UniformPolicy(world), 1000, seed=0).actions)


def steps_taken(agent: object) -> float:
    return float(agent.optimizers["critic"].state_dict()["state"][0]["step"])  # type: ignore[attr-defined]


@pytest.mark.parametrize("fast", [False, True])
def test_a_shorter_run_is_the_beginning_of_a_longer_one(fast: bool) -> None:
    """What `mujoco_data` relies on where it makes a replay again; snapshots are handed out as they come."""
    seen: list[tuple[int, float]] = []
    long, short = (
        train_online(
            Pendulum(), SMALL, steps, seed=4, start_steps=60, update_every=2, snapshots=[70, 80, 90], fast=fast,
            on_snapshot=lambda step, agent: seen.append((step, steps_taken(agent))), progress=False,
        )
        for steps in (90, 80)
    )  # fmt: skip
    assert seen == [(70, 5.0), (80, 10.0), (90, 15.0), (70, 5.0), (80, 10.0)]
    for name, column in short.replay.items():
        assert torch.equal(column, long.replay[name][:80])
    for key, value in short.agent.state().items():
        assert torch.equal(value, long.snapshots[80].state()[key])


def test_the_faster_form_learns_the_same() -> None:
    settings = {**SMALL, "dtype": "float64"}
    fast, readable = (
        train_online(Pendulum(), settings, 100, seed=1, start_steps=60, fast=form, progress=False)
        for form in (True, False)
    )
    assert torch.allclose(fast.replay["actions"], readable.replay["actions"], atol=1e-5)
    assert not torch.equal(fast.replay["actions"][60:], fast.replay["actions"][59:-1])
    for key, value in readable.agent.state().items():
        if value.is_floating_point():
            assert torch.allclose(value, fast.agent.state()[key], rtol=1e-5, atol=1e-7), key
