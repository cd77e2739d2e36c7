"""The worlds as Gymnasium environments; importing this module registers ``cql_tutorial/Maze-v0`` and its siblings.

``gymnasium.make("cql_tutorial.envs.gymnasium_env:cql_tutorial/Maze-v0")`` imports it by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from ..errors import require
from . import WORLDS, World, make


def env_id(name: str) -> str:
    """``discrete-bandit`` -> ``cql_tutorial/DiscreteBandit-v0``."""
    return f"cql_tutorial/{name.title().replace('-', '')}-v0"


class WorldEnv(gymnasium.Env):
    """One copy of a world (an object, or a name with settings) in Gymnasium's terms; truncates at ``world.horizon``.

    The dynamics run in float64, observations are float32. ``reset(options=...)`` go to ``world.reset``: the maze takes
    ``{"arm": "right"}``.
    """

    def __init__(self, world: World | str, render_mode: str | None = None, **settings: Any) -> None:
        require(render_mode is None, "render_mode", render_mode, "None: these worlds are drawn from their states")
        self.metadata, self.render_mode = {"render_modes": []}, None
        self.world = world = make(world, **settings) if isinstance(world, str) else world
        high = np.asarray(world.observation_high, dtype=np.float32)
        self.observation_space = spaces.Box(-high, high, dtype=np.float32)
        self.action_space: spaces.Space[Any]
        if world.discrete:
            self.action_space = spaces.Discrete(world.action_dim)
        else:
            self.action_space = spaces.Box(world.action_low, world.action_high, (world.action_dim,), np.float32)
        if world.name in WORLDS:
            kwargs = {"world": world.name, **world.settings}
            self.spec = EnvSpec(env_id(world.name), entry_point=f"{__name__}:WorldEnv", kwargs=kwargs)
        self.generator, self.state, self.elapsed = torch.Generator(), torch.empty(0), 0

    def _observation(self) -> np.ndarray:
        return self.world.observe(self.state)[0].numpy().astype(np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        # the torch generator hangs on Gymnasium's own, so that one seed decides everything
        self.generator.manual_seed(int(self.np_random.integers(2**62)))
        reset: Callable[..., torch.Tensor] = self.world.reset
        self.state, self.elapsed = reset(1, self.generator, torch.float64, **(options or {})), 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        actions = torch.as_tensor(np.asarray(action))[None]
        self.state, reward, ended = self.world.step(self.state, actions, self.generator)
        self.elapsed += 1
        truncated = self.elapsed >= self.world.horizon and not bool(ended)
        return self._observation(), float(reward), bool(ended), truncated, {}


for name in WORLDS:
    gymnasium.register(env_id(name), entry_point=f"{__name__}:WorldEnv", kwargs={"world": name})
