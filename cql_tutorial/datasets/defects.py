"""Known defects of recorded data: found, counted exactly and named, each with its remedy.

Every check is a pure function of arrays: ``observations, next_observations [N, S]``, ``actions [N, A]`` (``[N]``
integers if discrete), ``rewards [N]``, flags ``[N]`` bool. They look at data as they were stored, before
`OfflineDataset` refuses or clips them: ``find(d4rl_io.arrays(path))``, or at a data set: ``dataset.defects()``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DataError, require_data
from . import checks as check

Array = np.ndarray
_COLUMNS = ("observations", "actions", "rewards", "next_observations", "terminations", "truncations")
_FLOATS = _COLUMNS[:4]


@dataclass(frozen=True, repr=False, kw_only=True)
class Defect:
    """``count`` of ``of`` things (``what``) are wrong; ``worst`` shows one; ``remedy`` says what to do."""

    name: str
    count: int
    of: int
    what: str
    worst: str
    remedy: str

    def __str__(self) -> str:
        share = f"{100 * self.count / self.of:.3g} %"
        return f"{self.name}: {self.count:,} of {self.of:,} {self.what} ({share}); {self.worst}. Remedy: {self.remedy}"

    __repr__ = __str__


def find(
    source: Any,
    *,
    action_low: Any = None,
    action_high: Any = None,
    time_limit: int | None = None,
    returns: Any = None,
    discount: float = 1.0,
    duplicates: bool = True,
) -> list[Defect]:
    """The defects of a mapping of arrays (keys as in ``from_arrays``) or of an ``OfflineDataset``; [] if none.

    Bounds default to the data set's, or -1 and 1. ``time_limit`` is the task's, if known: then every termination at it
    counts. ``returns`` are those recorded beside the rewards: ``[N]`` discounted returns-to-go, or ``[E]`` one for each
    episode. ``duplicates=False`` leaves out the one check that sorts all rows. Raises ``DataError`` if columns are
    missing or disagree in length.
    """
    get = source.get if isinstance(source, Mapping) else lambda name: getattr(source, name, None)
    data = {name: _array(get(name)) for name in _COLUMNS if get(name) is not None}
    lengths = {len(column) if column.ndim and column.dtype.kind in "biuf" else 0 for column in data.values()}
    fits = {"observations", "actions", "rewards", "terminations"} <= set(data) and len(lengths) == 1 and any(lengths)
    found = ", ".join(f"{name} {column.shape}" for name, column in data.items()) or "none of the columns"
    expected, mend = "observations, actions, rewards, terminations: numbers, N rows each", "pass whole columns."
    obs, nxt = data.get("observations"), data.get("next_observations")
    fits = fits and obs is not None and (nxt is None or nxt.shape == obs.shape)
    require_data(fits, "source", found, expected + "; next_observations like observations", mend)
    n, rew = len(data["rewards"]), data["rewards"]
    obs, act = (data[name].reshape(n, -1) for name in ("observations", "actions"))
    nxt = None if nxt is None else nxt.reshape(n, -1)
    term = data["terminations"].astype(bool)
    trunc = data["truncations"].astype(bool) if "truncations" in data else np.zeros(n, bool)
    last = term | trunc
    last[-1] = True
    if get("episode_starts") is not None:
        last[_array(get("episode_starts"))[1:] - 1] = True
    low = get("action_low") if action_low is None else action_low
    high = get("action_high") if action_high is None else action_high
    bounds = (np.asarray(-1.0 if low is None else low), np.asarray(1.0 if high is None else high))
    clipped = get("clipped")
    stored = (get("metadata") or {}).get("stored_dtypes", {})
    result = [
        next_state_of_next_episode(obs, nxt, term, last),
        doubled_terminations(obs, nxt, term, last),
        terminations_at_time_limit(term, trunc, last, time_limit),
        clipped_actions(np.zeros(n, bool) if clipped is None else _array(clipped)),
        not_finite(data),
        half_precision(data, stored),
        constant_columns(obs, act, rew),
    ]
    if act.dtype.kind == "f":
        result += [actions_out_of_bounds(act, *bounds), actions_of_another_range(act, *bounds)]
    if isinstance(source, Mapping):  # of a data set the dtype has been chosen
        result.append(double_precision(data))
    if duplicates:
        result.append(duplicated_rows(data))
    if returns is not None:
        result.append(returns_unlike_rewards(_array(returns), rew, term, last, discount))
    return [defect for defect in result if defect.count]


def _array(value: Any) -> Array:
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _count(column: Array, good: Callable[[Array], Array]) -> int:
    """How many numbers of a column are not ``good``, in blocks of rows: a column may be most of the memory."""
    return sum(int((~good(column[rows])).sum()) for rows in check.row_blocks(len(column), column[:1].size))


def _all(column: Array, good: Callable[[Array], Array]) -> bool:
    return all(bool(good(column[rows]).all()) for rows in check.row_blocks(len(column), column[:1].size))


def _first(wrong: Array) -> str:
    return f"the first in row {int(wrong.argmax())}"


def _counts(wrong: Mapping[str, int]) -> str:
    return ", ".join(f"{count} in {name}" for name, count in wrong.items() if count)


def next_state_of_next_episode(obs: Array, nxt: Array | None, term: Array, last: Array) -> Defect:
    """Last rows whose next observation is, bit for bit, the first observation of the next episode.

    In worlds of few states that can be chance, so a match counts if most ends match, or if no other row has that state.
    """
    ends = np.flatnonzero(last[:-1])
    wrong = np.zeros(len(last), bool)
    if nxt is not None and len(ends):
        match = ends[~check.rows_differ(nxt, obs, ends, ends + 1)]
        match = match[~(term[match] & term[match + 1])]  # a doubled flag looks the same, and is counted as such
        if 0 < 2 * len(match) <= len(ends):
            keys, counts = np.unique(check.row_keys([obs]), return_counts=True)
            match = match[counts[np.searchsorted(keys, check.row_keys([obs[match + 1]]))] == 1]
        wrong[match] = True
    return Defect(
        name="next state taken from the next episode",
        count=int(wrong.sum()),
        of=max(len(ends), 1),
        what="episode ends",
        worst=_first(wrong),
        remedy="read without next_observations (D4RL: use_next_observations=False), which drops these rows, or record "
        "the observation before the reset; if the recording does go on there, the flag is wrong.",
    )


def doubled_terminations(obs: Array, nxt: Array | None, term: Array, last: Array) -> Defect:
    """Terminations right after a termination, although the recording went on from the one row to the other.

    Where next observations are not given (or repeat their own row's, as `from_arrays` makes them after a termination),
    any second flag in a row counts, unless all episodes have one row.
    """
    wrong = np.zeros(len(term), bool)
    rows = np.flatnonzero(term[1:] & term[:-1]) + 1
    if not last.all():
        goes_on = np.ones(len(rows), bool)
        if nxt is not None:
            goes_on = ~check.rows_differ(nxt, obs, rows - 1, rows) | ~check.rows_differ(nxt, obs, rows - 1, rows - 1)
        wrong[rows[goes_on]] = True
    return Defect(
        name="termination flag doubled",
        count=int(wrong.sum()),
        of=max(int(term.sum()), 1),
        what="terminations",
        worst=_first(wrong),
        remedy="keep the last flag of each run of them: terminations[:-1] &= ~terminations[1:].",
    )


def terminations_at_time_limit(term: Array, trunc: Array, last: Array, limit: int | None = None) -> Defect:
    """Episodes that end in a termination at the time limit, which is the recording's end and not the task's.

    Unless ``limit`` is given they show in two ways: most truncations are also flagged as terminations; or there are no
    truncations, and the longest episodes, of one round length of 50 or more, are also the most common ones.
    """
    ends = np.flatnonzero(last)
    lengths = np.diff(ends, prepend=-1)
    cut = np.zeros(len(ends), bool)
    if limit is not None:
        cut = term[ends] & (lengths == limit)
    elif trunc.any():
        both = term[ends] & trunc[ends]
        cut = both & (2 <= both.sum() >= trunc.sum() / 2)
    elif term.any():
        counts = np.bincount(lengths[term[ends]])
        longest = int(lengths.max())
        usual = len(counts) == longest + 1 and counts[longest] == counts.max() >= 2
        cut = term[ends] & (lengths == longest) & (usual and longest >= 50 and longest % 10 == 0)
    wrong = np.zeros(len(term), bool)
    wrong[ends[cut]] = True
    return Defect(
        name="termination set at the time limit",
        count=int(wrong.sum()),
        of=max(int(term.sum()), 1),
        what="terminations",
        worst=_first(wrong),
        remedy="move these flags from terminations to truncations, so that the value there is bootstrapped.",
    )


def actions_out_of_bounds(act: Array, low: Array, high: Array) -> Defect:
    """Values outside the bounds, by more than the rounding of a bound; ``worst`` is the one farthest outside."""
    lowest, highest = (bound.astype(act.dtype) for bound in (low, high))
    excess = np.maximum(lowest - act, act - highest)
    outside = excess > 1e-6 * (highest - lowest)
    row, column = np.unravel_index(np.where(outside, excess, -1).argmax(), act.shape)
    return Defect(
        name="actions out of bounds",
        count=int(outside.sum()),
        of=act.size,
        what="values",
        worst=f"the worst {act[row, column]:g} in row {row}, column {column}",
        remedy='pass the environment\'s action_low= and action_high=, or out_of_bounds="clip" if only few are outside.',
    )


def clipped_actions(clipped: Array) -> Defect:
    """Rows whose actions this package has clipped when it read them."""
    return Defect(
        name="actions clipped when read",
        count=int(clipped.sum()),
        of=len(clipped),
        what="rows",
        worst=_first(clipped),
        remedy="nothing, if they are few; else find out in which units the actions were recorded.",
    )


def actions_of_another_range(act: Array, low: Array, high: Array) -> Defect:
    """Action columns that were recorded in other units than the bounds'.

    A column counts if a tenth of it or more lies outside; all do if they fill [-1, 1] or [0, 1] to within 1 % and the
    bounds are wider than 1.5 times that.
    """
    lowest, highest = (np.broadcast_to(bound, act.shape[1:]).astype(float) for bound in (low, high))
    outside = ((act < lowest - 1e-6) | (act > highest + 1e-6)).mean(0) >= 0.1
    least, most = act.min(0), act.max(0)
    for bottom, top in ((-1.0, 1.0), (0.0, 1.0)):
        slack = 0.01 * (top - bottom)
        fills = (bottom <= least) & (least <= bottom + slack) & (top - slack <= most) & (most <= top)
        if (fills & (highest - lowest >= 1.5 * (top - bottom))).all():
            outside = fills
    return Defect(
        name="actions scaled to another range",
        count=int(outside.sum()),
        of=act.shape[1],
        what="columns",
        worst=f"recorded range {least.min():g}..{most.max():g}, bounds {lowest.min():g}..{highest.max():g}",
        remedy="pass the recording's own bounds, or rescale: low + (a - a_low) * (high - low) / (a_high - a_low).",
    )


def not_finite(data: Mapping[str, Array]) -> Defect:
    """NaN and infinite values in any column."""
    wrong = {name: _count(column, np.isfinite) for name, column in data.items() if column.dtype.kind == "f"}
    return Defect(
        name="NaN or infinite values",
        count=sum(wrong.values()),
        of=sum(data[name].size for name in wrong),
        what="values",
        worst=_counts(wrong),
        remedy="drop those rows and mark the row before each gap as truncated, or repair the recording.",
    )


def half_precision(data: Mapping[str, Array], stored: Mapping[str, str]) -> Defect:
    """Values stored in 16 bits: 3 digits, at most 65,504; ``stored`` names the dtypes a column had in its file."""
    half = [name for name, column in data.items() if stored.get(name, str(column.dtype)) == "float16"]
    return Defect(
        name="stored as float16",
        count=sum(data[name].size for name in half),
        of=sum(data[name].size for name in _FLOATS if name in data),
        what="values",
        worst=", ".join(half),
        remedy="record in float32; the lost digits do not come back, and equal states may differ only by rounding.",
    )


def double_precision(data: Mapping[str, Array]) -> Defect:
    """Values stored in 64 bits that float32, in which this package trains, does not hold exactly."""
    double = {name: column for name, column in data.items() if column.dtype == np.float64}
    with np.errstate(over="ignore"):
        exact = lambda x: ~np.isfinite(x) | (x == x.astype(np.float32))  # noqa: E731
        lost = {name: _count(x, exact) for name, x in double.items()}
    return Defect(
        name="float64 that float32 rounds",
        count=sum(lost.values()),
        of=sum(column.size for column in double.values()),
        what="values",
        worst=_counts(lost),
        remedy="nothing if 7 digits suffice, which is usual; else pass dtype=torch.float64.",
    )


def constant_columns(obs: Array, act: Array, rew: Array) -> Defect:
    """Columns with one value throughout; not of observations that are indicators (0 and 1), nor of one row."""
    indicators = _all(obs, lambda x: (x == 0) | (x == 1))
    columns = {"observations": obs[:, :0] if indicators else obs, "actions": act, "rewards": rew}
    same = {name: np.atleast_1d(x.min(0) == x.max(0)) & (len(x) > 1) for name, x in columns.items()}
    return Defect(
        name="constant columns",
        count=sum(int(x.sum()) for x in same.values()),
        of=sum(x.size for x in same.values()),
        what="columns",
        worst=", ".join(f"{name} {np.flatnonzero(x)[:8].tolist()}" for name, x in same.items() if x.any()),
        remedy="drop the column, or leave its scale alone (a division by its standard deviation of 0 gives NaN).",
    )


def duplicated_rows(data: Mapping[str, Array]) -> Defect:
    """Rows equal in all columns to an earlier one; expected (not counted) in worlds of whole numbers."""
    wrong = np.zeros(len(data["rewards"]), bool)
    if data["actions"].dtype.kind == "f" or not _all(data["observations"], lambda x: x == np.round(x)):
        wrong = check.is_duplicate([data[name] for name in _COLUMNS if name in data])
    return Defect(
        name="duplicated rows",
        count=int(wrong.sum()),
        of=len(wrong),
        what="rows",
        worst=_first(wrong),
        remedy="keep one of each: np.unique(..., axis=0, return_index=True); a file may have been appended twice.",
    )


def returns_unlike_rewards(returns: Array, rew: Array, term: Array, last: Array, discount: float = 1.0) -> Defect:
    """Recorded returns against rewards, to 1 part in 10,000: ``[N]`` returns-to-go row by row, or ``[E]`` sums.

    A row of returns-to-go counts unless G_t = r_t + discount G_{t+1}, and G_t = r_t where the episode terminates (the
    value beyond other ends is unknown).
    """
    ends = np.flatnonzero(last)
    rew = rew.astype(np.float64)
    if returns.shape == rew.shape and len(ends) < len(rew):
        wanted = rew + discount * np.where(last, 0.0, np.roll(returns.astype(np.float64), -1))
        judged, what = ~last | term, "rows"
    elif returns.shape == ends.shape:
        wanted, what = np.add.reduceat(rew, np.r_[0, ends[:-1] + 1]), "episodes"
        judged = np.ones(len(ends), bool)
    else:
        expected = f"shape ({len(rew)},) or ({len(ends)},)"
        raise DataError("returns", f"shape {returns.shape}", expected, "pass one a row, or one an episode.")
    wrong = judged & ~(np.abs(returns - wanted) <= 1e-4 * (1 + np.abs(wanted)))
    return Defect(
        name="returns that do not match the rewards",
        count=int(wrong.sum()),
        of=int(judged.sum()),
        what=what,
        worst=f"the first {returns[wrong.argmax()]:g} where the rewards give {wanted[wrong.argmax()]:g}",
        remedy="sum the rewards again: dataset.returns_to_go(discount), episode_returns(); look for a reward scale.",
    )
