"""Gymnasium's MuJoCo tasks (the extra ``mujoco``), and many copies of one that step together.

MuJoCo is imported when an environment is made, and not before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from ..errors import ConfigError

MUJOCO_VERSION = 5
MUJOCO_TASKS: dict[str, str] = {  # name in an id of data -> Gymnasium's id
    "halfcheetah": f"HalfCheetah-v{MUJOCO_VERSION}",
    "hopper": f"Hopper-v{MUJOCO_VERSION}",
    "walker2d": f"Walker2d-v{MUJOCO_VERSION}",
}


def mujoco_id(task: str) -> str:
    """Gymnasium's id of a task: ``"hopper"``, ``"Hopper"`` and ``"Hopper-v5"`` are all ``"Hopper-v5"``.

    Raises `ConfigError` for an unknown task, and for another version: its physics and rewards are others.
    """
    given = str(task)
    name, _, version = given.lower().partition("-v")
    if name not in MUJOCO_TASKS or not re.fullmatch(r"\d*", version):
        near = get_close_matches(name, MUJOCO_TASKS, 1)
        mend = f"did you mean {near[0]!r}?" if near else ""
        raise ConfigError("MuJoCo task", repr(given), f"one of {', '.join(MUJOCO_TASKS)}", mend)
    if version and int(version) != MUJOCO_VERSION:
        mend = f"take {MUJOCO_TASKS[name]!r}; a return in -v{version} is not comparable with one in it."
        raise ConfigError("MuJoCo task", repr(given), f"version {MUJOCO_VERSION} of the environment", mend)
    return MUJOCO_TASKS[name]


def make_mujoco(task: str, **settings: Any) -> Any:
    """The Gymnasium environment of a task, with its time limit; ``settings`` go to ``gymnasium.make``.

    Raises `ConfigError` for what `mujoco_id` refuses, and where MuJoCo is not installed.
    """
    env_id = mujoco_id(task)
    import gymnasium

    try:
        return gymnasium.make(env_id, disable_env_checker=True, **settings)
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        mend = 'pip install "cql-tutorial[mujoco]"; in a checkout, pip install -r requirements-mujoco.txt.'
        raise ConfigError("mujoco", f"not installed ({error})", f"the package mujoco, for {env_id}", mend) from error


class MujocoCopies:
    """Copies of one task that step together, so that a policy is asked once a step for all of them.

    Observations are float64 ``[n, S]``. ``limit`` keeps the task's time limit; without it only a fall ends an episode.
    The state of a copy is its positions and velocities, ``qpos [n, Q]`` and ``qvel [n, V]``: in Hopper and Walker2d the
    observation cuts velocities off at 10 and does not determine it.
    """

    def __init__(self, task: str, copies: int, limit: bool = True) -> None:
        envs = [make_mujoco(task) for _ in range(copies)]
        self.envs = envs if limit else [env.unwrapped for env in envs]
        for env in self.envs:
            env.reset(seed=0)
        space = self.envs[0].action_space
        self.low, self.high = space.low, space.high

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Start states of the first ``len(seeds)`` copies, each of its own seed: ``[n, S]``."""
        return np.stack([env.reset(seed=int(seed))[0] for env, seed in zip(self.envs, seeds, strict=False)])

    def set_states(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Put the first copies into states ``[n, Q]``, ``[n, V]``; their observations ``[n, S]``."""
        observations = []
        for env, position, velocity in zip(self.envs, qpos, qvel, strict=False):
            env.unwrapped.data.qacc_warmstart[:] = 0.0  # the solver's first guess, else left by what came before
            env.unwrapped.set_state(position, velocity)
            observations.append(env.unwrapped._get_obs())
        return np.stack(observations)

    def states(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """qpos ``[n, Q]`` and qvel ``[n, V]`` of the copies with these numbers."""
        data = [self.envs[number].unwrapped.data for number in numbers]
        return np.stack([one.qpos.copy() for one in data]), np.stack([one.qvel.copy() for one in data])

    def step(
        self, numbers: Sequence[int], actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """One step of the copies with these numbers: next observations, rewards, terminations, truncations."""
        steps = [self.envs[n].step(a) for n, a in zip(numbers, actions, strict=True)]
        observations, rewards, terminated, truncated = (np.array([s[k] for s in steps]) for k in range(4))
        return observations, rewards, terminated, truncated & ~terminated
