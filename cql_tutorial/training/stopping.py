"""When to end a run early: `Patience`, which `fit` takes as ``on_row``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import check_int
from .offline import History


@dataclass(frozen=True)
class Patience:
    """Says "stop" once the last ``rows`` entries of a column are no better than the best before; give it as ``on_row``.

    The larger is the better, unless ``smaller``. It looks at the history alone, so that a resumed run ends where an
    unbroken one would. A nan is never better.
    """

    rows: int
    metric: str = "return"
    smaller: bool = False

    def __post_init__(self) -> None:
        check_int("rows", self.rows, 1)

    def __call__(self, history: History) -> str | None:
        """ "stop", or None to go on; None while the column has no entry."""
        if self.metric not in history.columns:
            return None
        sign = -1.0 if self.smaller else 1.0
        values = [-math.inf if math.isnan(value) else sign * value for value in history.series(self.metric)[1]]
        since = len(values) - 1 - values.index(max(values))
        return "stop" if since >= self.rows else None
