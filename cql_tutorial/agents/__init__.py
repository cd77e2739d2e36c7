"""One file an algorithm; `make_agent` builds one by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, ConfigError
from .agent import Agent, AgentProtocol
from .bc import BCAgent, BCConfig
from .checkpoint import read_tensors
from .config import AgentConfig, parse_config
from .cql import CQLAgent, CQLConfig
from .discrete import (
    DiscreteBCAgent,
    DiscreteBCConfig,
    DiscreteCQLAgent,
    DiscreteCQLConfig,
    DQNAgent,
    DQNConfig,
)
from .iql import DiscreteIQLAgent, DiscreteIQLConfig, IQLAgent, IQLConfig
from .sac import SACAgent, SACConfig

AGENTS: dict[str, tuple[type[Agent], dict[str, Any]]] = {
    "bc": (BCAgent, {}),
    "sac": (SACAgent, {}),
    "cql": (CQLAgent, {}),
    "cql-lagrange": (CQLAgent, {"cql_lagrange": True}),
    "iql": (IQLAgent, {}),
    "discrete-cql": (DiscreteCQLAgent, {}),
    "dqn": (DQNAgent, {}),
    "discrete-bc": (DiscreteBCAgent, {}),
    "discrete-iql": (DiscreteIQLAgent, {}),
}

__all__ = [
    "AGENTS",
    "Agent",
    "AgentConfig",
    "AgentProtocol",
    "BCAgent",
    "BCConfig",
    "CQLAgent",
    "CQLConfig",
    "DQNAgent",
    "DQNConfig",
    "DiscreteBCAgent",
    "DiscreteBCConfig",
    "DiscreteCQLAgent",
    "DiscreteCQLConfig",
    "DiscreteIQLAgent",
    "DiscreteIQLConfig",
    "IQLAgent",
    "IQLConfig",
    "SACAgent",
    "SACConfig",
    "load_agent",
    "make_agent",
]


def make_agent(name: str, config: Mapping[str, Any] | AgentConfig) -> Any:
    """Build the agent called ``name``; raises `ConfigError` that lists the known names."""
    if name not in AGENTS:
        raise ConfigError("agent name", repr(name), f"one of {list(AGENTS)}", "choose one of these.")
    kind, settings = AGENTS[name]
    config = parse_config(kind.config_class, config if isinstance(config, AgentConfig) else {**settings, **config})
    for key, value in settings.items():  # "cql-lagrange" with cql_lagrange False would quietly be "cql"
        config.require(key, getattr(config, key) == value, f"{value!r}, which the name {name!r} means")
    return kind(config)


def load_agent(path: str | Path, device: str = "auto") -> Any:
    """Load a checkpoint of any agent of this package onto ``device`` ("auto": a GPU where there is one).

    Raises `CheckpointError` if the file is not one, `ConfigError` for a device that is not there.
    """
    name = read_tensors(path)[1]["agent"]
    kinds = {kind.name: kind for kind, _ in AGENTS.values()}
    if name not in kinds:
        mend = "load it with the version of this package that wrote it."
        raise CheckpointError(str(path), f"agent {name!r}", f"one of {sorted(kinds)}", mend)
    return kinds[name].load(path, device)
