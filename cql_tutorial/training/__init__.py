"""Training: on a log, on many at once, and in a simulator to make one."""

from __future__ import annotations

from .offline import History, Run, fit
from .online import OnlineHistory, fine_tune
from .population import fit_population
from .stopping import Patience

__all__ = ["History", "OnlineHistory", "Patience", "Run", "fine_tune", "fit", "fit_population"]
