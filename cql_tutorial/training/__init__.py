"""Training: on a log, on many at once, and in a simulator to make one."""

from __future__ import annotations

from .offline import History, Run, fit
from .population import fit_population

__all__ = ["History", "Run", "fit", "fit_population"]
