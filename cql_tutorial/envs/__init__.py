"""Worlds whose true values can be computed, batched in torch: `make("maze", horizon=60)`."""

# ruff: noqa: F401  (the names of this room, gathered)
from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from ..errors import ConfigError
from .arm import Arm, arm_episodes, narrow_behaviour
from .bandit import Bandit, DiscreteBandit
from .base import Policy, UniformPolicy, World, record_episodes
from .garnet import Garnet
from .gridworld import Gridworld
from .maze import Maze, stitching_behaviour, stitching_episodes
from .pendulum import Pendulum
from .sepsis import Sepsis
from .tabular import TabularWorld

WORLDS: dict[str, type[World]] = {
    w.name: w for w in (Bandit, DiscreteBandit, Gridworld, Garnet, Sepsis, Maze, Arm, Pendulum)
}


def make(name: str, **settings: Any) -> World:
    """A world by name: bandit, discrete-bandit, gridworld, garnet, sepsis, maze, arm, pendulum.

    ``ConfigError`` lists the known names, or the settings that the world has, when one is unknown.
    """
    if name not in WORLDS:
        near = get_close_matches(str(name), WORLDS, 1)
        mend = f"did you mean {near[0]!r}?" if near else ""
        raise ConfigError("world", repr(name), f"one of {', '.join(sorted(WORLDS))}", mend)
    known = [field.name for field in fields(WORLDS[name]) if field.init]
    for key in set(settings) - set(known):
        raise ConfigError(f"{name}.{key}", "an unknown setting", f"one of {', '.join(known)}")
    return WORLDS[name](**settings)
