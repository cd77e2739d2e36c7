"""Training: on a log, on many at once, and in a simulator to make one."""

from __future__ import annotations

from .offline import History, Run, fit
from .population import fit_population
from .stopping import Patience

__all__ = ["History", "Patience", "Run", "fit", "fit_population"]
