"""One file an algorithm; `make_agent` builds one by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .base import Agent, AgentConfig, AgentProtocol, read_tensors
from .bc import BCAgent, BCConfig
from .cql import CQLAgent, CQLConfig
from .discrete import (
    DiscreteBCAgent,
    DiscreteBCConfig,
    DiscreteCQLAgent,
    DiscreteCQLConfig,
    DQNAgent,
    DQNConfig,
)
from .sac import SACAgent, SACConfig

AGENTS: dict[str, tuple[type[Agent], dict[str, Any]]] = {
    "bc": (BCAgent, {}),
    "sac": (SACAgent, {}),
    "cql": (CQLAgent, {}),
    "cql-lagrange": (CQLAgent, {"cql_lagrange": True}),
    "discrete-cql": (DiscreteCQLAgent, {}),
    "dqn": (DQNAgent, {}),
    "discrete-bc": (DiscreteBCAgent, {}),
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
    "SACAgent",
    "SACConfig",
    "load_agent",
    "make_agent",
]


def make_agent(name: str, config: Mapping[str, Any]) -> Any:
    """Build the agent called ``name``; raises `ConfigError` that lists the known names."""
    if name not in AGENTS:
        raise ConfigError("agent name", repr(name), f"one of {list(AGENTS)}", "choose one of these.")
    kind, settings = AGENTS[name]
    return kind({**settings, **config})


def load_agent(path: str | Path, device: str = "auto") -> Any:
    """Load a checkpoint of any agent of this package; raises `CheckpointError` if the file is not one."""
    tensors, header = read_tensors(path)
    kind = next(kind for kind, _ in AGENTS.values() if kind.name == header["agent"])
    agent = kind({**json.loads(header["config"]), "device": device})
    agent.copy_state(tensors, header, path)
    return agent
