"""True values in MuJoCo tasks: exact one-step reproduction, an independent slow loop, what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from cql_tutorial.datasets.mujoco_recording import play_episodes, record_mujoco
from cql_tutorial.envs.mujoco_env import MUJOCO_TASKS, MujocoCopies, make_mujoco, mujoco_id
from cql_tutorial.errors import ConfigError, DataError
from cql_tutorial.evaluation.mujoco_values import true_q_mujoco


class Shaky:
    """A linear tanh policy with noise: stochastic, and of observations alone."""

    def __init__(self, observation_dim: int, action_dim: int, noise: float = 0.3) -> None:
        generator = torch.Generator().manual_seed(4)
        self.weights, self.noise = 0.3 * torch.randn(observation_dim, action_dim, generator=generator), noise

    def __call__(self, observations: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        assert observations.dtype == torch.float32
        mean = observations @ self.weights
        return torch.tanh(mean + self.noise * torch.randn(mean.shape, generator=generator))


def policy_for(task: str, noise: float = 0.3) -> Shaky:
    env = make_mujoco(task)
    return Shaky(env.observation_space.shape[0], env.action_space.shape[0], noise)


@pytest.fixture(params=MUJOCO_TASKS, scope="module")
def log(request):
    pytest.importorskip("mujoco")
    return request.param, record_mujoco(request.param, policy_for(request.param), 24, seed=2, copies=1)


def test_a_stored_state_gives_the_logged_step_again(log):
    """Reward, next observation and termination of every row follow from qpos, qvel and the action to rounding."""
    task, rows = log
    copies = MujocoCopies(task, len(rows["rewards"]), limit=False)
    observed = copies.set_states(rows["qpos"], rows["qvel"])
    following, rewards, terminated, _ = copies.step(range(len(observed)), rows["actions"])
    np.testing.assert_allclose(observed, rows["observations"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(following, rows["next_observations"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(rewards, rows["rewards"], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(terminated, rows["terminations"])
    found = true_q_mujoco(task, policy_for(task), rows["qpos"], rows["qvel"], rows["actions"], 0.0, rollouts=2)
    assert found.horizon == 1
    np.testing.assert_allclose(found.value.numpy(), rows["rewards"], rtol=0, atol=1e-9)
    assert float(found.half_width.max()) == 0


def slow_returns(task, policy, qpos, qvel, action, discount, horizon, generator):
    """One rollout in an environment of its own, one step after another, in the simplest way."""
    import gymnasium

    env = gymnasium.make(mujoco_id(task)).unwrapped
    env.reset(seed=9)
    env.set_state(qpos, qvel)
    observation, total = env._get_obs(), 0.0
    for step in range(horizon):
        if step > 0 or action is None:
            seen = torch.as_tensor(observation, dtype=torch.float32)[None]
            action = policy(seen, generator)[0].numpy()
        observation, reward, terminated, _, _ = env.step(action)
        total += discount**step * reward
        if terminated:
            break
    return total, not terminated


@pytest.mark.parametrize("first", [True, False])
def test_values_equal_an_independent_slow_loop(log, first):
    """With one copy the random numbers come in the order of the slow loop, so that the values agree to rounding.

    Hopper and Walker2d fall within the horizon here, HalfCheetah never does.
    """
    task, rows = log
    policy, discount, picked = policy_for(task), 0.8, [0, 7, 18]
    actions = rows["actions"][picked] if first else None
    qpos, qvel = rows["qpos"][picked], rows["qvel"][picked]
    found = true_q_mujoco(task, policy, qpos, qvel, actions, discount, rollouts=3, seed=5, copies=1)
    assert found.horizon == 21 and discount**21 < 0.01 < discount**20
    generator = torch.Generator().manual_seed(5)
    for k in range(len(picked)):
        action = rows["actions"][picked[k]] if first else None
        runs = [slow_returns(task, policy, qpos[k], qvel[k], action, discount, 21, generator) for _ in range(3)]
        returns, running = np.array(runs).T
        assert float(found.value[k]) == pytest.approx(returns.mean(), abs=1e-6)
        assert float(found.half_width[k]) == pytest.approx(4.302653 * returns.std(ddof=1) / 3**0.5, abs=1e-5)
        assert (float(found.cut_high[k]) > 0) == bool(running.any())


def test_a_batch_gives_what_single_copies_give(log):
    """A policy without noise has one value, whatever the number of copies; its interval has no width."""
    task, rows = log
    policy, pick = policy_for(task, noise=0.0), slice(0, 5)
    state = rows["qpos"][pick], rows["qvel"][pick], rows["actions"][pick]
    one, many = (true_q_mujoco(task, policy, *state, 0.8, rollouts=2, copies=copies) for copies in (1, 4))
    np.testing.assert_allclose(one.value, many.value, rtol=0, atol=1e-4)
    assert float(many.half_width.max()) < 1e-4


def test_the_cut_holds_what_a_longer_horizon_adds():
    pytest.importorskip("mujoco")
    policy = policy_for("halfcheetah", noise=0.0)
    rows = record_mujoco("halfcheetah", policy, 5, seed=2, copies=1)
    short, long = (
        true_q_mujoco("halfcheetah", policy, rows["qpos"], rows["qvel"], None, 0.8, rollouts=2, tolerance=tolerance)
        for tolerance in (0.05, 1e-4)
    )
    added = long.value - short.value
    assert bool(((short.cut_low <= added) & (added <= short.cut_high)).all())
    assert float(added.abs().max()) > 1e-3  # the cut is seen at all


def test_episodes_end_in_a_fall_or_at_the_time_limit():
    """Hopper falls: its last row terminates. HalfCheetah runs to step 1000 and is truncated there."""
    pytest.importorskip("mujoco")
    for task, falls in (("hopper", True), ("halfcheetah", False)):
        (episode,) = play_episodes(MujocoCopies(task, 1), policy_for(task), [3], torch.Generator().manual_seed(0))
        assert bool(episode["terminations"][-1]) == falls and bool(episode["truncations"][-1]) != falls
        assert not (episode["terminations"] | episode["truncations"])[:-1].any()
        assert falls or len(episode["rewards"]) == 1000
        np.testing.assert_array_equal(episode["observations"][1:], episode["next_observations"][:-1])


def test_observations_cut_velocities_off():
    """Why states are stored: at a clipped velocity the observation is the same for different states."""
    pytest.importorskip("mujoco")
    copies = MujocoCopies("hopper", 2, limit=False)
    qpos, qvel = copies.states([0, 1])
    qvel[:, 3] = 12.0, 15.0
    first, second = copies.set_states(qpos[[0, 0]], qvel)
    np.testing.assert_array_equal(first, second)


def test_what_cannot_be_used_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match=r"'swimmer'; expected one of halfcheetah, hopper, walker2d"):
        mujoco_id("swimmer")
    with pytest.raises(ConfigError, match=r"'Hopper-v2'; expected version 5.*take 'Hopper-v5'"):
        mujoco_id("Hopper-v2")
    with pytest.raises(ConfigError, match="did you mean 'walker2d'"):
        mujoco_id("walker")
    assert mujoco_id("hopper") == mujoco_id("Hopper-v5") == "Hopper-v5"
    pytest.importorskip("mujoco")
    rows = record_mujoco("hopper", policy_for("hopper"), 3, seed=0, copies=1)
    qpos, qvel = rows["qpos"], rows["qvel"]
    policy = policy_for("hopper")
    for bad, error, text in (
        ((qpos[:, :5], qvel), DataError, r"qpos: found shape \[3, 5\]; expected shape \[3, 6\]"),
        ((qpos, qvel[:2]), DataError, r"qvel: found shape \[2, 6\]"),
        ((qpos, np.full_like(qvel, np.nan)), DataError, "qvel: found nan or inf"),
        ((qpos, qvel, np.full((3, 3), 1.5)), DataError, "actions: found 3 rows beyond the bounds"),
        ((qpos, qvel, None, 1.0), ConfigError, "discount"),
    ):
        with pytest.raises(error, match=text):
            true_q_mujoco("hopper", policy, *bad)


def test_without_mujoco_the_error_says_how_to_install_it(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "mujoco" or "envs.mujoco" in name]:
        if not name.startswith("cql_tutorial"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(ConfigError, match=r"mujoco: found not installed.*requirements-mujoco.txt"):
        make_mujoco("hopper")
