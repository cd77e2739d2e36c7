"""Logged data: load, check, describe, iterate, record, write; one format a file.

The two names are imported when they are first used: a child process that reads one HDF5 file needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["OfflineDataset", "load_dataset"]

if TYPE_CHECKING:
    from .offline_dataset import OfflineDataset, load_dataset


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import offline_dataset

    return getattr(offline_dataset, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
