"""Conservative Q-Learning (CQL), built step by step and held against the truth.

>>> from cql_tutorial import CQLAgent, load_dataset

The agents need torch and numpy alone; everything else is imported when it is first used.
"""

# ruff: noqa: F401  (the imports below are for type checkers; at run time __getattr__ finds the names)
from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "agents": (
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
    ),
    "batch": ("Batch", "Noise"),
    "datasets": ("OfflineDataset", "load_dataset"),
    "evaluation": ("EstimationReport", "estimation_report", "true_q"),
    "training": ("History", "fine_tune", "fit", "fit_population"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = ["__version__", *sorted(_MODULE_OF)]

if TYPE_CHECKING:
    from .agents import (
        BCAgent,
        BCConfig,
        CalQLAgent,
        CalQLConfig,
        CQLAgent,
        CQLConfig,
        DiscreteBCAgent,
        DiscreteBCConfig,
        DiscreteCalQLAgent,
        DiscreteCalQLConfig,
        DiscreteCQLAgent,
        DiscreteCQLConfig,
        DiscreteIQLAgent,
        DiscreteIQLConfig,
        DiscreteSoftQAgent,
        DiscreteSoftQConfig,
        DQNAgent,
        DQNConfig,
        EQLAgent,
        EQLConfig,
        IQLAgent,
        IQLConfig,
        SACAgent,
        SACConfig,
        SoftQAgent,
        SoftQConfig,
        SparseQAgent,
        SparseQConfig,
        load_agent,
        make_agent,
        register_agent,
    )
    from .batch import Batch, Noise
    from .datasets import OfflineDataset, load_dataset
    from .evaluation.estimation_report import EstimationReport, estimation_report
    from .evaluation.true_values import true_q
    from .training import History, fine_tune, fit
    from .training.population import fit_population


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
