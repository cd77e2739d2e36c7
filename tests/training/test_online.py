"""Online training and recording: the log is what happened, and a seed repeats it."""

from __future__ import annotations

import torch

from cql_tutorial.datasets.recording import record
from cql_tutorial.envs import Gridworld, Pendulum
from cql_tutorial.envs.base import UniformPolicy
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


def test_record_gives_whole_episodes_and_the_bounds() -> None:
    pendulum = record(Pendulum(), UniformPolicy(Pendulum()), 450, seed=0, id="x")
    assert len(pendulum) == 450 and pendulum.truncations.nonzero().flatten().tolist() == [199, 399, 449]
    assert (pendulum.action_low, pendulum.action_high, pendulum.id) == (-2.0, 2.0, "x")
    world = Gridworld()
    grid = record(world, UniformPolicy(world), 1000, seed=0)  # short episodes: more of them are needed
    assert len(grid) == 1000 and grid.n_actions == 4 and grid.actions.dtype == torch.int64
    assert int(grid.terminations.sum()) > 5 and bool((grid.terminations | grid.truncations)[-1])
    assert torch.equal(grid.actions, record(world, UniformPolicy(world), 1000, seed=0).actions)
