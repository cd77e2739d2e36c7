"""Do what the remedies of `defects` say, with arrays: columns in, columns out, and what was changed in words.

No remedy joins two episodes, and none cuts one, but for ``not-finite``, ``marked-values`` and ``duplicates``, which end
one (truncated) at a gap that dropped rows leave in it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ConfigError
from . import checks as check
from . import defects as known

Columns = dict[str, Any]
_ROWS, _STARTS = known.COLUMNS, ("episode_starts", "unflagged_starts")  # the first are labels, the second also count


def apply(source: Mapping[str, Any], names: Sequence[str], **options: Any) -> tuple[Columns, list[str]]:
    """Apply the remedies ``names`` (`Defect.mend`) to a mapping of arrays (keys as in ``from_arrays``).

    Returns the arguments of ``from_arrays`` and a sentence for each remedy. They are applied in the order of `REMEDIES`
    whatever the order of ``names``; ``options`` (bounds, ``time_limit``) are those of `defects.find`. Raises
    ``ConfigError`` for an unknown name, ``DataError`` for columns that `defects.find` refuses.
    """
    for name in names:
        near = ", ".join(difflib.get_close_matches(str(name), REMEDIES, 1)) or ", ".join(REMEDIES)
        if name not in REMEDIES:
            raise ConfigError(
                "mend", repr(name), f"known remedies (nearest: {near})", "describe names those that apply."
            )
    data = {key: value for key, value in source.items() if value is not None}
    data |= {key: np.array(known.as_array(data[key])) for key in (*_ROWS, *_STARTS) if key in data}
    data |= {key: options[key] for key in ("action_low", "action_high") if options.get(key) is not None}
    said = []
    for name, (do, needs_duplicates) in REMEDIES.items():
        if name in names:
            found = known.find(data, **options | {"duplicates": needs_duplicates})
            mine = [one for one in found if one.mend == name]
            said += [f"{name}: {do(data, one)}" for one in mine] or [f"{name}: nothing to mend"]
    return data, said


def _starts(data: Columns) -> np.ndarray:
    """First rows of the episodes, by flags and labels."""
    ended = _flags(data, "terminations") | _flags(data, "truncations")
    first = np.r_[True, ended[:-1]]
    for name in _STARTS:
        if name in data:
            first[data[name]] = True
    return np.flatnonzero(first)


def _flags(data: Columns, name: str) -> np.ndarray:
    return data[name].astype(bool) if name in data else np.zeros(len(data["rewards"]), bool)


def _keep(data: Columns, kept: np.ndarray, starts: np.ndarray) -> None:
    """Keep the rows marked in ``kept``; the row before each gap within an episode is truncated there."""
    term, trunc = _flags(data, "terminations"), _flags(data, "truncations")
    episode = np.cumsum(np.bincount(starts, minlength=len(kept)))
    rows = np.flatnonzero(kept)
    gap = np.r_[(np.diff(rows) > 1) & (np.diff(episode[rows]) == 0), False]
    trunc[rows[gap & ~term[rows]]] = True
    data["truncations"] = trunc
    new = np.r_[True, (np.diff(episode[rows]) != 0)] | np.r_[True, gap[:-1]]
    for name in _ROWS:
        if name in data:
            data[name] = data[name][rows]
    if "clipped" in data:
        data["clipped"] = known.as_array(data["clipped"])[rows]
    data.pop("unflagged_starts", None)
    if "episode_starts" in data:  # labels stay labels: a flag within an episode must not become one of them
        label = np.cumsum(np.bincount(np.asarray(data["episode_starts"]), minlength=len(kept)))[rows]
        lost = (np.diff(rows) > 1) | (np.diff(label) != 0)
        data["episode_starts"] = np.flatnonzero(np.r_[True, lost])
    if "next_observations" in data and len(rows):  # a last row without a flag is unfinished: say that it was cut
        last = np.r_[np.flatnonzero(new)[1:] - 1, len(rows) - 1]
        cut = last[~(data["terminations"].astype(bool)[last])]
        data["truncations"][cut] = True


def _fill(data: Columns) -> bool:
    """Make next observations of the following rows, where none are given; the last row of an episode repeats its own.

    Returns whether they were made: `_unfill` takes them out again, and drops the rows that have none.
    """
    if "next_observations" in data:
        return False
    starts = _starts(data)
    last = np.r_[starts[1:] - 1, len(data["rewards"]) - 1]
    data["next_observations"] = np.roll(data["observations"], -1, 0)
    data["next_observations"][last] = data["observations"][last]
    data["_unknown"] = last[~_flags(data, "terminations")[last]]
    return True


def _next_episode(data: Columns, defect: known.Defect) -> str:
    wrong = np.zeros(len(data["rewards"]), bool)
    wrong[defect.rows] = True
    term, starts = _flags(data, "terminations"), _starts(data)
    data["next_observations"][wrong & term] = data["observations"][wrong & term]
    dropped = wrong & ~term
    before = np.flatnonzero(dropped) - 1
    before = before[(before >= 0) & ~np.isin(before + 1, starts)]
    trunc = _flags(data, "truncations")
    trunc[before] = True
    data["truncations"] = trunc
    _keep(data, ~dropped, starts)
    return f"left out {int(wrong.sum())} next states; dropped {int(dropped.sum())} last rows that had no other"


def _clear_flags(data: Columns, defect: known.Defect) -> str:
    data["terminations"] = _flags(data, "terminations")
    data["terminations"][defect.rows] = False
    _follow(data, defect.rows)
    return f"cleared {len(defect.rows)} terminations"


def _follow(data: Columns, rows: np.ndarray) -> None:
    """Rows that go on now: where their next observation was made up, it is the following row's."""
    if "next_observations" in data and len(rows):
        obs = data["observations"]
        rows = rows[~check.rows_differ(data["next_observations"], obs, rows, rows)]
        data["next_observations"][rows] = obs[rows + 1]


def _inner_flags(data: Columns, defect: known.Defect) -> str:
    term, trunc, starts = _flags(data, "terminations"), _flags(data, "truncations"), data.get("episode_starts")
    if starts is None:
        rows = defect.rows
    else:
        last = np.r_[np.asarray(starts)[1:], len(term)] - 1
        own = last[np.searchsorted(starts, defect.rows, "right") - 1]
        rows = defect.rows[(term | trunc)[own]]
    term[rows] = trunc[rows] = False
    _follow(data, rows)
    data["terminations"], data["truncations"] = term, trunc
    left = len(defect.rows) - len(rows)
    more = f"; {left} left, in episodes whose last row has no flag: sort by time, or read without the labels" * bool(
        left
    )
    return f"cleared {len(rows)} flags{more}"


def _time_limit(data: Columns, defect: known.Defect) -> str:
    term, trunc = _flags(data, "terminations"), _flags(data, "truncations")
    term[defect.rows], trunc[defect.rows] = False, True
    data["terminations"], data["truncations"] = term, trunc
    if _made_up(data, defect.rows):
        # These rows had no next observation and needed none; now they need one and have none.
        starts, dropped = _starts(data), np.zeros(len(term), bool)
        dropped[defect.rows] = True
        before = np.setdiff1d(defect.rows, starts) - 1
        data["truncations"][before] = True
        _keep(data, ~dropped, starts)
        return f"moved {len(defect.rows)} flags to truncations, and dropped these rows, whose next state is unknown"
    return f"moved {len(defect.rows)} flags to truncations"


def _made_up(data: Columns, rows: np.ndarray) -> bool:
    nxt = data.get("next_observations")
    return nxt is not None and not check.rows_differ(nxt, data["observations"], rows, rows).any()


def _both_flags(data: Columns, defect: known.Defect) -> str:
    data["truncations"] = _flags(data, "truncations")
    data["truncations"][defect.rows] = False
    return f"cleared {len(defect.rows)} truncations beside a termination"


def _jumps(data: Columns, defect: known.Defect) -> str:
    data["truncations"] = _flags(data, "truncations")
    data["truncations"][defect.rows] = True
    if "episode_starts" in data:
        data["episode_starts"] = np.union1d(data["episode_starts"], defect.rows + 1)
    return f"marked {len(defect.rows)} rows as truncated"


def _bounds(data: Columns) -> tuple[np.ndarray, np.ndarray]:
    low, high = (data.get(name) for name in ("action_low", "action_high"))
    width = data["actions"].reshape(len(data["actions"]), -1).shape[1:]
    pair = (-1.0 if low is None else low, 1.0 if high is None else high)
    lowest, highest = (np.broadcast_to(np.asarray(bound, float), width) for bound in pair)
    return lowest, highest


def _clip(data: Columns, defect: known.Defect) -> str:
    if defect.name == "actions clipped when read":
        data.pop("clipped", None)
        return f"kept {defect.count} rows as they were clipped"
    low, high = (bound.astype(data["actions"].dtype) for bound in _bounds(data))
    shape = data["actions"].shape
    data["actions"] = np.clip(data["actions"].reshape(len(data["actions"]), -1), low, high).reshape(shape)
    return f"clipped {defect.count} values to the bounds"


def _rescale(data: Columns, defect: known.Defect) -> str:
    low, high = _bounds(data)
    wide = data["actions"].reshape(len(data["actions"]), -1)
    bottom, top = known.UNIT_RANGES[int(wide.min() >= -0.5)]
    data["actions"] = (low + (wide - bottom) * ((high - low) / (top - bottom))).astype(wide.dtype)
    return f"rescaled {defect.of} action columns from {bottom:g}..{top:g} to the bounds"


def _own_bounds(data: Columns, defect: known.Defect) -> str:
    wide = data["actions"].reshape(len(data["actions"]), -1).astype(np.float64)
    low, high = _bounds(data)
    data["action_low"], data["action_high"] = np.minimum(low, wide.min(0)), np.maximum(high, wide.max(0))
    return f"widened the bounds of {defect.count} action columns to what was recorded"


def _not_finite(data: Columns, defect: known.Defect) -> str:
    made = _fill(data)
    wrong = {name: np.zeros(len(data["rewards"]), bool) for name in ("own", "next")}
    for name in _ROWS:
        column = data.get(name)
        if column is not None and column.dtype.kind == "f":
            place = "next" if name == "next_observations" else "own"
            wrong[place] |= ~np.isfinite(column).reshape(len(column), -1).all(1)
    if made:  # a last row that may not be bootstrapped has no next observation of its own
        wrong["next"] |= np.isin(np.arange(len(wrong["next"])), data.pop("_unknown"))
    # Nothing is bootstrapped after a termination, and its reward may be all that there is to learn: keep such rows.
    unread = wrong["next"] & ~wrong["own"] & _flags(data, "terminations")
    data["next_observations"][unread] = data["observations"][unread]
    wrong["next"] &= ~unread
    bad = wrong["own"] | wrong["next"]
    _keep(data, ~bad, _starts(data))
    only_next = int((bad & ~wrong["own"]).sum())
    more = f" ({only_next} of them as they have no whole next state)" if only_next else ""
    more += f" (kept {int(unread.sum())} terminations, after which no next state is read)" if unread.any() else ""
    return f"dropped {int(bad.sum())} rows{more}, and marked the rows before as truncated"


def _marked_values(data: Columns, defect: known.Defect) -> str:
    for name in ("observations", "actions", "rewards"):
        wide = data[name].reshape(len(data[name]), -1)  # a view
        for i, value in known.marks_of(wide).items():
            for other in (name, "next_observations") if name == "observations" else (name,):
                if other in data:
                    column = data[other].reshape(len(wide), -1)[:, i]
                    column[column == np.asarray(value, column.dtype)] = np.nan
    return _not_finite(data, defect)


def _constant_columns(data: Columns, defect: known.Defect) -> str:
    dropped = 0
    obs = data["observations"].reshape(len(data["observations"]), -1)
    acts = data["actions"].reshape(len(data["actions"]), -1)
    same = obs.min(0) == obs.max(0)
    if not ((obs == 0) | (obs == 1)).all():
        dropped += int(same.sum())
        data["observations"] = obs[:, ~same]
        if "next_observations" in data:
            data["next_observations"] = data["next_observations"].reshape(len(obs), -1)[:, ~same]
    same = acts.min(0) == acts.max(0)
    if same.any():
        dropped += int(same.sum())
        for name, bound in zip(("action_low", "action_high"), _bounds(data), strict=True):
            data[name] = bound[~same]
        data["actions"] = acts[:, ~same]
    return f"left out {dropped} columns"


def _answers(data: Columns, defect: known.Defect) -> str:
    for name in ("observations", "next_observations"):
        if name in data:
            data[name] = np.delete(data[name].reshape(len(data[name]), -1), defect.rows, 1)
    return f"left out {len(defect.rows)} observation columns"


def _duplicates(data: Columns, defect: known.Defect) -> str:
    """Whole episodes that repeat an earlier one, rows that repeat the one before, then what is left of the others."""
    n, starts = len(data["rewards"]), _starts(data)
    made = _fill(data)
    wrong = np.zeros(n, bool)
    wrong[defect.rows] = True
    if made:
        wrong |= np.isin(np.arange(n), data.pop("_unknown"))
    before = [data[name] for name in _ROWS if name in data]
    _keep(data, ~wrong, starts)
    if not _chain_holds(data):  # rows written twice in a row: what follows is the row after the pair, and no gap
        obs, nxt = data["observations"], data["next_observations"]
        joined = np.flatnonzero(~check.rows_differ(nxt[:-1], obs[1:]))
        own = data["truncations"][joined] & ~data["terminations"][joined].astype(bool)
        was = np.isin(np.flatnonzero(~wrong)[joined + 1], starts)
        data["truncations"][joined[own & ~was]] = False
        if "episode_starts" in data:
            data["episode_starts"] = np.setdiff1d(data["episode_starts"], joined[own & ~was] + 1)
    return f"dropped {n - len(data['rewards'])} of {len(before[0])} rows"


def _chain_holds(data: Columns) -> bool:
    """Whether no gap was made where the next row does follow: then nothing has to be joined again."""
    obs, nxt, trunc = data["observations"], data["next_observations"], data["truncations"]
    return not (trunc[:-1] & ~check.rows_differ(nxt[:-1], obs[1:])).any()


REMEDIES: dict[str, tuple[Callable[[Columns, known.Defect], str], bool]] = {
    "answers": (_answers, False),
    "duplicates": (_duplicates, True),
    "inner-flags": (_inner_flags, False),
    "doubled-flags": (_clear_flags, False),
    "paired-flags": (_clear_flags, False),
    "time-limit": (_time_limit, False),  # told by the episodes' lengths: before rows are dropped or episodes cut
    "next-episode": (_next_episode, False),
    "jumps": (_jumps, False),
    "marked-values": (_marked_values, False),
    "not-finite": (_not_finite, False),
    "both-flags": (_both_flags, False),
    "rescale": (_rescale, False),
    "own-bounds": (_own_bounds, False),
    "clip": (_clip, False),
    "constant-columns": (_constant_columns, False),
}
