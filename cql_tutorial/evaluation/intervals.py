"""Intervals of a mean, by Student's t."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import DataError


def t_quantile(degrees_of_freedom: float) -> float:
    """The 97.5 % quantile of Student's t, the factor of a two-sided 95 % interval."""
    return _quantile(0.975, degrees_of_freedom)


def _quantile(share: float, degrees_of_freedom: float) -> float:
    from scipy.special import stdtrit  # what scipy.stats.t.ppf calls; importing scipy.stats takes a second

    return float(stdtrit(degrees_of_freedom, share))


def t_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Mean and half-width of Student's t-interval of the mean: ``t_{n-1} * sd / sqrt(n)``.

    Below 10 seeds this is the interval to use: a bootstrap of 3 values covers 73 %, not 95. One value has no interval
    (half-width nan). Raises `DataError` for no values.
    """
    array = np.asarray(values, float)
    if array.size == 0:
        raise DataError("values", "no values", "at least one", "pass one number a seed.")
    if array.size == 1:
        return float(array[0]), float("nan")
    quantile = _quantile(0.5 + level / 2, array.size - 1)
    return float(array.mean()), quantile * float(array.std(ddof=1)) / float(np.sqrt(array.size))
