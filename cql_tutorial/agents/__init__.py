"""What learns: one algorithm a file, each in its readable form; `make_agent` builds one by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, ConfigError
from .agent import Agent, AgentPolicy
from .bc import BCAgent, BCConfig
from .cal_ql import CalQLAgent, CalQLConfig, DiscreteCalQLAgent, DiscreteCalQLConfig
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
from .soft_q import DiscreteSoftQAgent, DiscreteSoftQConfig, SoftQAgent, SoftQConfig
from .sparse_q import EQLAgent, EQLConfig, SparseQAgent, SparseQConfig

# A name -> the class, and the settings that the name means. `register_agent` adds to it.
AGENTS: dict[str, tuple[type[Agent], dict[str, Any]]] = {
    "bc": (BCAgent, {}),
    "sac": (SACAgent, {}),
    "cql": (CQLAgent, {}),
    "cql-lagrange": (CQLAgent, {"cql_lagrange": True}),
    "cal-ql": (CalQLAgent, {}),
    "cql-redq": (
        CQLAgent,
        {"n_critics": 10, "target_subset": 2, "subset_replacement": False, "actor_reduction": "mean"},
    ),
    "iql": (IQLAgent, {}),
    "soft-q": (SoftQAgent, {}),
    "sparse-q": (SparseQAgent, {}),
    "eql": (EQLAgent, {}),
    "discrete-cql": (DiscreteCQLAgent, {}),
    "discrete-cal-ql": (DiscreteCalQLAgent, {}),
    "dqn": (DQNAgent, {}),
    "discrete-bc": (DiscreteBCAgent, {}),
    "discrete-iql": (DiscreteIQLAgent, {}),
    "discrete-soft-q": (DiscreteSoftQAgent, {}),
}

__all__ = [
    "AGENTS",
    "Agent",
    "AgentConfig",
    "AgentPolicy",
    "BCAgent",
    "BCConfig",
    "CQLAgent",
    "CQLConfig",
    "CalQLAgent",
    "CalQLConfig",
    "DQNAgent",
    "DQNConfig",
    "DiscreteBCAgent",
    "DiscreteBCConfig",
    "DiscreteCQLAgent",
    "DiscreteCQLConfig",
    "DiscreteCalQLAgent",
    "DiscreteCalQLConfig",
    "DiscreteIQLAgent",
    "DiscreteIQLConfig",
    "DiscreteSoftQAgent",
    "DiscreteSoftQConfig",
    "EQLAgent",
    "EQLConfig",
    "IQLAgent",
    "IQLConfig",
    "SACAgent",
    "SACConfig",
    "SoftQAgent",
    "SoftQConfig",
    "SparseQAgent",
    "SparseQConfig",
    "load_agent",
    "make_agent",
    "register_agent",
]


def make_agent(name: str, config: Mapping[str, Any] | AgentConfig) -> Any:
    """Build the agent called ``name``; raises `ConfigError` that lists the known names."""
    if name not in AGENTS:
        mend = "choose one of these, or make your own class known with register_agent."
        raise ConfigError("agent name", repr(name), f"one of {list(AGENTS)}", mend)
    kind, settings = AGENTS[name]
    config = parse_config(kind.config_class, config if isinstance(config, AgentConfig) else {**settings, **config})
    for key, value in settings.items():  # "cql-lagrange" with cql_lagrange False would quietly be "cql"
        config.require(key, getattr(config, key) == value, f"{value!r}, which the name {name!r} means")
    return kind(config)


def register_agent(name: str, kind: type[Agent], **settings: Any) -> None:
    """Let `make_agent`, `load_agent` and `fit_population` know a class of your own.

    ``settings`` are what the name means, as "cql-lagrange" means ``cql_lagrange=True``. The class needs a ``name`` of
    its own, which its checkpoints carry. The same class may be registered again, as when a cell is run twice. Raises
    `ConfigError` for a name that another class has, and for what is no agent class.
    """
    if not (isinstance(kind, type) and issubclass(kind, Agent)):
        raise ConfigError("kind", repr(kind), "a subclass of Agent", "make a class of CQLAgent, SACAgent or Agent.")
    if "name" not in vars(kind):
        found = f"{getattr(kind, 'name', None)!r}, which belongs to another class"
        expected = "a name of its own, as its files are told by it"
        raise ConfigError(f"{kind.__name__}.name", found, expected, f'set name = "..." in class {kind.__name__}.')
    for known, (other, _) in AGENTS.items():
        same = (other.__module__, other.__qualname__) == (kind.__module__, kind.__qualname__)
        if not same and (known == name or other.name == kind.name):
            taken = f"{name if known == name else kind.name!r}, which is {other.__name__}'s"
            raise ConfigError("agent name", taken, "a name that no other class has", "choose another one.")
    AGENTS[name] = (kind, settings)


def load_agent(path: str | Path, device: str = "auto") -> Any:
    """Load a checkpoint of any registered agent onto ``device`` ("auto": a GPU where there is one).

    Raises `CheckpointError` if the file is not one, `ConfigError` for a device that is not there.
    """
    name = read_tensors(path)[1]["agent"]
    kinds = {kind.name: kind for kind, _ in AGENTS.values()}
    if name not in kinds:
        mend = "a class of your own: register_agent, or its own load; else the version of this package that wrote it."
        raise CheckpointError(str(path), f"agent {name!r}", f"one of {sorted(kinds)}", mend)
    return kinds[name].load(path, device)
