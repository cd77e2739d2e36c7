"""Units of observations: their statistics, a normaliser that travels with the agent, and columns that train badly.

Networks learn well from inputs of order 1. A column of another order can be put right by `ObservationNormaliser`
(``normalize_observations=True``), and is told by `fit` where it is not.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ConfigError, CQLWarning, require_data
from ..networks import LOG_STD_RANGE

STD_RANGE = (0.1, 10.0)  # of a column that needs no normaliser
FARTHEST_MEAN = 10.0  # from 0, in standard deviations and in the column's own units
FARTHEST_VALUE = 50.0  # from the median, in interquartile ranges
NORMAL_WIDTH = 1.349  # interquartile range of a Normal, in standard deviations
BLOCK, SAMPLE, SHOWN = 2**20, 50_000, 10  # numbers at once; rows that quantiles are taken of; columns in one warning


class ObservationNormaliser(nn.Module):
    """Each column less its mean, over its standard deviation: ``(s - mean) / std``, ``[..., S] -> [..., S]``.

    ``mean``, ``std`` ``[S]`` and ``rows`` (how many they come from, 0 before they are known) are buffers: they are
    saved, loaded and exported with the agent. Raises `ConfigError` while they are not known.
    """

    mean: Tensor
    std: Tensor
    rows: Tensor

    def __init__(self, state_dim: int, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(state_dim, dtype=dtype, device=device))
        self.register_buffer("std", torch.ones(state_dim, dtype=dtype, device=device))
        self.register_buffer("rows", torch.zeros((), dtype=torch.int64, device=device))
        self._known = False

    @property
    def ready(self) -> bool:
        """Whether the statistics are known; once they are, the device is asked no more."""
        self._known = self._known or int(self.rows) > 0
        return self._known

    def forget_what_is_known(self) -> None:
        """Ask the buffers again: they were loaded from a file."""
        self._known = False

    @torch.no_grad()
    def set(self, mean: Tensor, std: Tensor, rows: int) -> None:
        """Take statistics ``[S]``, in place; raises `DataError` for another number of columns."""
        found, expected = f"{len(mean)} columns", f"{len(self.mean)}, the agent's state_dim"
        require_data(mean.shape == self.mean.shape, "observations", found, expected, "build the agent for your data.")
        self.mean.copy_(mean.to(self.mean.dtype))
        self.std.copy_(std.to(self.std.dtype))
        self.rows.fill_(rows)
        self._known = True

    def forward(self, observations: Tensor) -> Tensor:
        if not (self._known or self.ready):
            mend = (
                "train with fit, which takes them from the data, or call agent.set_observation_statistics(mean, std)."
            )
            expected = "each column's mean and standard deviation, as normalize_observations is True"
            raise ConfigError("observation statistics", "none", expected, mend)
        return (observations - self.mean) / self.std


# ---------------------------------------------------------------- statistics
@torch.no_grad()
def column_statistics(columns: Tensor, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (divisor N) of every column of ``[N, S]``: ``[S]`` each, float64 on the CPU.

    Sums are in float64, on the CPU (not every device has it). A column that is constant, or whose standard deviation
    ``dtype`` cannot hold, gets 1 in its place.
    """
    mean, low, high = _mean_and_range(columns)
    reach = torch.maximum(high - mean, mean - low)
    unit = reach.where(reach > 0, 1.0)  # squares of 1e200 would overflow
    squares = sum(part.sub_(mean).div_(unit).square_().sum(0) for part in _blocks(columns))
    std = unit * torch.as_tensor(squares).div(len(columns)).sqrt()
    return mean, std.where((low < high) & (std >= torch.finfo(dtype).tiny), 1.0)


def _mean_and_range(columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    parts = [(part.sum(0), part.amin(0), part.amax(0)) for part in _blocks(columns)]
    total, low, high = (torch.stack(values) for values in zip(*parts, strict=True))
    low, high = low.amin(0), high.amax(0)
    return torch.minimum(torch.maximum(total.sum(0) / len(columns), low), high), low, high


def _blocks(columns: Tensor) -> Iterator[Tensor]:
    """Some rows at a time in float64 on the CPU, all in the same memory: use a block before you ask for the next.

    New memory for each could not be had again where a small result lies in it: a column of 0.4 GB then took 0.8 more.
    """
    rows = max(1, BLOCK // max(1, columns.shape[1]))
    memory = torch.empty(min(rows, len(columns)), columns.shape[1], dtype=torch.float64)
    for part in columns.detach().split(rows):
        yield memory[: len(part)].copy_(part.cpu())


# ---------------------------------------------------------------- columns that train badly
@dataclass(frozen=True)
class ColumnFault:
    """What is wrong with a column, in words; an ``outlier`` stays one after normalising."""

    column: int
    text: str
    outlier: bool = False


def column_faults(
    columns: Tensor, following: Tensor | None = None, names: Sequence[str] | None = None
) -> list[ColumnFault]:
    """Columns of observations ``[N, S]`` that networks learn badly from as they are; none of a constant column.

    ``names`` are what their source calls them, told beside the numbers.

    Told are a standard deviation outside 0.1..10, a mean farther from 0 than 10 or than 10 standard deviations, and a
    value, also of ``following`` (next observations), farther from the median than 50 interquartile ranges. A range that
    is small because few rows differ (a one-hot column) is no fault, nor is a tail that 5 % of the rows lie in.
    """
    mean, std = column_statistics(columns)
    _, low, high = _mean_and_range(columns)
    ends = [low, high]
    if following is not None:
        ends += _mean_and_range(following)[1:]
    least, most = torch.stack(ends).amin(0), torch.stack(ends).amax(0)
    sample = columns[:: max(1, len(columns) // SAMPLE)].detach().cpu().numpy()
    below, above = ([5, 25, 50], [75, 95])  # "higher" and "lower": a single odd row is in none of them
    q05, q25, median = torch.from_numpy(np.percentile(sample, below, axis=0, method="higher")).double()
    q75, q95 = torch.from_numpy(np.percentile(sample, above, axis=0, method="lower")).double()
    width = torch.maximum(q75 - q25, 0.4 * (q95 - q05))  # 0.4 of the one is the other where they are Normal
    width = width.where(width > 0, 1.0)
    distance = torch.maximum(most - median, median - least)
    found: list[ColumnFault] = []
    for c in range(columns.shape[1]):
        centre, spread, far = float(mean[c]), float(std[c]), float(distance[c] / width[c])
        indicator = float(q75[c]) <= float(q25[c]) and _is_rare_and_of_order_1(sample[:, c], float(high[c] - low[c]))
        if far > FARTHEST_VALUE:
            found.append(ColumnFault(c, _outlier(c, columns, following, float(median[c]), far), outlier=True))
            centre, spread = float(median[c]), float(width[c]) / NORMAL_WIDTH  # of the others
        if low[c] == high[c]:
            continue
        if spread > STD_RANGE[1] or (spread < STD_RANGE[0] and not indicator):
            found.append(ColumnFault(c, f"column {c} has standard deviation {spread:.3g}"))
        elif abs(centre) > FARTHEST_MEAN or (abs(centre) > FARTHEST_MEAN * spread and not indicator):
            text = f"column {c} has mean {centre:.3g} at standard deviation {spread:.3g}"
            found.append(ColumnFault(c, text))
    return found if names is None else [_named(fault, names[fault.column]) for fault in found]


def _named(fault: ColumnFault, name: str) -> ColumnFault:
    column = f"column {fault.column}"
    return replace(fault, text=fault.text.replace(f"{column} ", f"{column} ({name[:40]}) ", 1))


def _is_rare_and_of_order_1(values: np.ndarray, reach: float) -> bool:
    """Whether the values unlike the median, few as they are, differ from it by 0.1 to 20."""
    distances = np.abs(values.astype(np.float64) - np.median(values))
    typical = float(np.median(distances[distances > 0])) if distances.any() else reach
    return STD_RANGE[0] <= typical and reach <= 2 * FARTHEST_MEAN


def _outlier(column: int, columns: Tensor, following: Tensor | None, median: float, far: float) -> str:
    """The farthest value and its row, in words."""
    worst, text = -1.0, ""
    for name, table in (("", columns), ("next observations, ", following)):
        if table is None:
            continue
        values = table[:, column].detach().cpu().double()
        row = int((values - median).abs().argmax())
        if float((values[row] - median).abs()) > worst:
            worst = float((values[row] - median).abs())
            text = f"{name}column {column} holds {float(values[row]):.3g} in row {row}"
    return f"{text} ({far:.2g} interquartile ranges from the median {median:.3g})"


def several(faults: Sequence[ColumnFault]) -> str:
    """The first ten faults as one sentence's part, and how many more there are."""
    shown = "; ".join(fault.text for fault in faults[:SHOWN])
    return shown + (f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else "")


def warn_of_columns(faults: Sequence[ColumnFault], normalised: bool, told: set[str], stacklevel: int = 2) -> None:
    """One `CQLWarning` that names every column not yet ``told``, and what helps; outliers alone if normalised."""
    faults = [fault for fault in faults if fault.text not in told]
    told |= {fault.text for fault in faults}
    outliers = [fault for fault in faults if fault.outlier]
    scales = [] if normalised else [fault for fault in faults if not fault.outlier]
    parts = []
    if outliers:
        advice = "One such value spoils every update that draws it: correct or drop the row."
        parts.append(f"observations far from all others: {several(outliers)}. {advice}")
    if scales:
        advice = "Set normalize_observations=True (train: leave out --no-normalize-observations)."
        parts.append(f"observations that networks learn badly from: {several(scales)}. {advice}")
    if parts:
        warnings.warn(" ".join(parts), CQLWarning, stacklevel=stacklevel + 1)


def warn_of_width(log_std: Tensor, log_prob: Tensor, step: float, normalised: bool, told: set[str]) -> None:
    """Warn where a policy's ``log_std [B, A]`` is at a bound in half of the batch or more; ``told`` remembers it.

    A clone of actions without noise is at the lower bound, as it should be. That is told only where uniform actions
    would explain the logged ones better than the policy does: ``log_prob [B]`` of them, on average, below -A log 2.
    """
    lost = float(log_prob.mean()) < -log_std.shape[-1] * math.log(2)
    for bound, at_bound in zip(LOG_STD_RANGE, (log_std <= LOG_STD_RANGE[0], log_std >= LOG_STD_RANGE[1]), strict=True):
        share, dimension = at_bound.to(log_std.dtype).mean(0).max(0)
        if float(share) < 0.5 or (bound < 0 and not lost):
            continue
        text = (
            f"log_std of action dimension {int(dimension)} is at its bound {bound:g} in {float(share):.0%} of a batch"
        )
        text += f" by update {step:g}, where no gradient passes: the width stays"
        text += " near-uniform noise." if bound > 0 else " as narrow as it may be, away from the logged actions."
        text += " Sampled actions, log_prob and a clone's likelihood are then ruled by the bound."
        if not normalised:
            text += " Observations far from order 1 do it: set normalize_observations=True."
        warnings.warn(text, CQLWarning, stacklevel=5)
        told.add("log_std")
        return


def given_statistics(mean: Any, std: Any, state_dim: int) -> tuple[Tensor, Tensor]:
    """Statistics given by hand as float64 ``[S]``; a standard deviation of 0 becomes 1. Raises `DataError`."""
    found = [torch.as_tensor(np.asarray(value, dtype=np.float64)) for value in (mean, std)]
    for name, value in zip(("mean", "std"), found, strict=True):
        good = value.shape == (state_dim,) and bool(value.isfinite().all())
        what = f"shape {list(value.shape)}" + ("" if value.isfinite().all() else ", not all finite")
        require_data(good, name, what, f"{state_dim} finite numbers, one a column", "pass those of the training rows.")
    require_data(bool((found[1] >= 0).all()), "std", f"{float(found[1].min()):g}", "numbers >= 0", "check the sign.")
    return found[0], found[1].where(found[1] > 0, 1.0)
