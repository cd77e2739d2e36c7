"""Known defects of recorded data: found, counted exactly and named, each with its remedy.

Every check is a pure function of arrays: ``observations, next_observations [N, S]``, ``actions [N, A]`` (``[N]``
integers if discrete), ``rewards [N]``, flags ``[N]`` bool. They look at data as they were stored, before
`OfflineDataset` refuses or clips them: ``find(d4rl_io.arrays(path))``, or at a data set: ``dataset.defects()``.
`mend.apply` does what a remedy says, where the file itself holds what is needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import DataError, require_data
from . import checks as check
from .files import GAP

Array = np.ndarray
COLUMNS = ("observations", "actions", "rewards", "next_observations", "terminations", "truncations")
_FLOATS = COLUMNS[:4]
UNIT_RANGES = ((-1.0, 1.0), (0.0, 1.0))  # in which actions are often recorded, whatever the actuators take


@dataclass(frozen=True, repr=False, kw_only=True)
class Defect:
    """``count`` of ``of`` things (``what``) are wrong; ``worst`` shows one; ``remedy`` says what to do.

    ``mend`` is the name under which `mend.apply` does that ("" where nobody can without recording again), ``rows`` the
    row numbers that it changes.
    """

    name: str
    count: int
    of: int
    what: str
    worst: str
    remedy: str
    mend: str = ""
    rows: Array = field(default_factory=lambda: np.zeros(0, np.int64), compare=False)

    def __str__(self) -> str:
        share = f"{100 * self.count / self.of:.3g} %"
        how = f" (`cql-tutorial convert --mend {self.mend}`, in Python `mended({self.mend!r})`)" if self.mend else ""
        text = f"{self.name}: {self.count:,} of {self.of:,} {self.what} ({share}); {self.worst}. Remedy: {self.remedy}"
        return text.removesuffix(".") + how + "."

    def plain(self) -> dict[str, Any]:
        """All but the row numbers, as plain values."""
        return {key: value for key, value in vars(self).items() if key != "rows"}

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
    data = {name: as_array(get(name)) for name in COLUMNS if get(name) is not None}
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
        last[as_array(get("episode_starts"))[1:] - 1] = True
    if get("unflagged_starts") is not None:
        last[as_array(get("unflagged_starts")) - 1] = True
    low = get("action_low") if action_low is None else action_low
    high = get("action_high") if action_high is None else action_high
    bounds = (np.asarray(-1.0 if low is None else low), np.asarray(1.0 if high is None else high))
    labels = get("episode_starts") if isinstance(source, Mapping) else None
    first = np.zeros(n, bool)  # first rows by the labels, where there are any
    if labels is not None:
        first[as_array(labels)] = True
    clipped = get("clipped")
    about = get("metadata") or {}
    stored, discrete = about.get("stored_dtypes", {}), get("n_actions")
    default = not (np.any(bounds[0] != -1.0) or np.any(bounds[1] != 1.0))
    unasked = isinstance(source, Mapping) and low is None and high is None  # of a data set nobody knows
    whole = whole_numbers_as_actions(act, discrete, not default, -np.inf if unasked else 0.0)
    result = [
        whole,
        next_state_of_next_episode(obs, nxt, term, last),
        flags_within_episodes(term | trunc, first if labels is not None else None, about),
        doubled_terminations(obs, nxt, term, last),
        flags_in_pairs(obs, nxt, term, first if labels is not None else None),
        terminations_at_time_limit(term, trunc, last, time_limit),
        both_flags(term, trunc, last, time_limit),
        jumps(obs, nxt, last),
        clipped_actions(np.zeros(n, bool) if clipped is None else as_array(clipped)),
        rewards_of_dropped_rows(about),
        gaps_in_time(about.get("time")),
        rows_at_one_time(about.get("time")),
        not_finite(data),
        marked_values(data, term),
        half_precision(data, stored),
        collapsed_values(data, about.get("collapsed")),
        constant_columns(obs, act),
        one_reward(rew, term),
        observations_hold_the_answer(obs, act, rew, term | trunc),
    ]
    if act.dtype.kind == "f" and discrete is None:
        result.append(actions_out_of_bounds(act, *bounds))
        if not whole.count:  # to rescale choices would be wrong
            result.append(actions_of_another_range(act, *bounds))
    if discrete is not None:
        result.append(actions_never_chosen(act, int(discrete)))
    if duplicates:
        result.append(duplicated_rows(data))
    if returns is not None:
        result.append(returns_unlike_rewards(as_array(returns), rew, term, last, discount))
    return [defect for defect in result if defect.count]


def as_array(value: Any) -> Array:
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _count(column: Array, good: Callable[[Array], Array]) -> int:
    """How many numbers of a column are not ``good``, in blocks of rows: a column may be most of the memory."""
    return sum(int((~good(column[rows])).sum()) for rows in check.row_blocks(len(column), column[:1].size))


def _all(column: Array, good: Callable[[Array], Array]) -> bool:
    return all(bool(good(column[rows]).all()) for rows in check.row_blocks(len(column), column[:1].size))


def _range(columns: Array) -> str:
    least, most = (" ".join(f"{x:.4g}" for x in end[:8]) for end in (columns.min(0), columns.max(0)))
    return f"{least} to {most}" + " ..." * (columns.shape[1] > 8)


def _first(wrong: Array) -> str:
    return f"the first in row {int(wrong.argmax())}"


def _counts(wrong: Mapping[str, int]) -> str:
    return ", ".join(f"{count} in {name}" for name, count in wrong.items() if count)


def next_state_of_next_episode(obs: Array, nxt: Array | None, term: Array, last: Array) -> Defect:
    """Last rows whose next observation is, bit for bit, the first observation of the next episode.

    In worlds of few states that can be chance, so a match counts if most ends match, and twice as many as by chance, or
    if no other row has that state.
    """
    ends = np.flatnonzero(last[:-1])
    wrong = np.zeros(len(last), bool)
    if nxt is not None and len(ends) and not last.all():  # in a bandit's log no next observation is ever read
        match = ends[~check.rows_differ(nxt, obs, ends, ends + 1)]
        match = match[~np.isin(match, doubled_terminations(obs, nxt, term, last).rows)]  # counted as such
        if len(match):
            keys, counts = np.unique(check.row_keys([obs]), return_counts=True)
            count = counts[np.searchsorted(keys, check.row_keys([obs[match + 1]]))]
            if len(match) <= max(0.5, 2 * float(count.mean()) / len(obs)) * len(ends):
                match = match[count == 1]
        wrong[match] = True
    return Defect(
        name="next state taken from the next episode",
        count=int(wrong.sum()),
        of=max(len(ends), 1),
        what="episode ends",
        worst=_first(wrong),
        remedy="leave these next states out: nothing is bootstrapped from one after a termination, and the last row of "
        "a cut recording is dropped; or record the observation before the reset",
        mend="next-episode",
        rows=np.flatnonzero(wrong),
    )


def doubled_terminations(obs: Array, nxt: Array | None, term: Array, last: Array) -> Defect:
    """Terminations after which the recording goes on with the very next row, which terminates as well.

    The evidence is the next observation of the earlier row: it is the later row's observation, which few other rows
    share, and other ends do not behave so. Two flags in a row alone are no evidence: episodes of one step are legal.
    """
    ends = np.flatnonzero(last[:-1])
    pairs = ends[term[ends] & term[ends + 1]]
    wrong = np.zeros(len(term), bool)
    if nxt is not None and len(pairs):
        others = np.setdiff1d(ends, pairs)
        chance = 0.0 if not len(others) else float(np.mean(~check.rows_differ(nxt, obs, others, others + 1)))
        match = pairs[~check.rows_differ(nxt, obs, pairs, pairs + 1)]
        if len(match) and chance <= 0.5:
            keys, counts = np.unique(check.row_keys([obs]), return_counts=True)
            share = counts[np.searchsorted(keys, check.row_keys([obs[match + 1]]))] / len(obs)
            often = len(match) > max(0.5, 2 * chance, 2 * float(share.mean())) * len(pairs)
            match = match[(share <= max(0.01, 1 / len(obs))) | often]
        else:
            match = match[:0]
        wrong[match] = True
    return Defect(
        name="termination flag doubled",
        count=int(wrong.sum()),
        of=max(int(term.sum()), 1),
        what="terminations",
        worst=_first(wrong),
        remedy="clear these flags: the recording goes on to the next row, which carries the true one",
        mend="doubled-flags",
        rows=np.flatnonzero(wrong),
    )


def flags_in_pairs(obs: Array, nxt: Array | None, term: Array, first: Array | None) -> Defect:
    """Terminations that come in twos throughout, where neither labels nor next observations say which is true.

    Ten runs of flags or more, nine tenths of them exactly two long: as if every end had been written twice.
    """
    wrong = np.zeros(len(term), bool)
    if first is None and (nxt is None or _repeats_itself(obs, nxt, term)):
        edges = np.diff(np.r_[False, term, False].astype(np.int8))
        begin, length = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
        if len(begin) >= 10 and np.mean(length == 2) >= 0.9:
            wrong[begin[length == 2]] = True
    return Defect(
        name="termination flags in pairs",
        count=int(wrong.sum()),
        of=max(int(term.sum()), 1),
        what="terminations",
        worst=_first(wrong),
        remedy="look at these rows: if the recording goes on to the next one, the first flag of each pair is wrong; if "
        "they are episodes of one step, say so with a label for each episode",
        mend="paired-flags",
        rows=np.flatnonzero(wrong),
    )


def _repeats_itself(obs: Array, nxt: Array, term: Array) -> bool:
    """Whether the next observation after each termination is made up: `from_arrays` repeats the row's own there."""
    rows = np.flatnonzero(term)
    return bool(len(rows)) and not check.rows_differ(nxt, obs, rows, rows).any()


def flags_within_episodes(ended: Array, first: Array | None, about: Mapping[str, Any]) -> Defect:
    """Terminations and truncations in rows that are not the last of their episode, by the labels of the file.

    ``about["flags_within"]`` holds the rows where a reader has found them and gone by the flags.
    """
    wrong = np.zeros(len(ended), bool)
    if first is not None:
        wrong[:-1] = ended[:-1] & ~first[1:]
    wrong[[row for row in about.get("flags_within", ()) if row < len(wrong)]] = True
    backwards = first is not None and not ended[np.r_[np.flatnonzero(first)[1:] - 1, -1]].any() and ended[first].any()
    return Defect(
        name="flags within labelled episodes",
        count=int(wrong.sum()),
        of=max(int(ended.sum()), 1),
        what="terminations and truncations",
        worst=_first(wrong),
        remedy="the flags stand in first rows: sort the rows of each episode by time, or the column marks starts"
        if backwards
        else "clear the flags within episodes whose last row has one too; if a label covers several episodes, read "
        "without it",
        mend="" if backwards else "inner-flags",
        rows=np.flatnonzero(wrong),
    )


def terminations_at_time_limit(term: Array, trunc: Array, last: Array, limit: int | None = None) -> Defect:
    """Episodes that end in a termination at the time limit, which is the recording's end and not the task's.

    Unless ``limit`` is given they show in two ways: most truncations are also flagged as terminations; or no truncation
    comes as late as the longest episodes, of two steps or more, which are also the most common terminated ones: all of
    them, or a quarter and three at least (two, where the length is a round one of 50 or more).
    """
    ends = np.flatnonzero(last)
    lengths = np.diff(ends, prepend=-1)
    cut = np.zeros(len(ends), bool)
    if limit is not None:
        cut = term[ends] & (lengths == limit)
    elif trunc.any():
        both = term[ends] & trunc[ends]
        cut = both & (2 <= both.sum() >= trunc.sum() / 2)
    if limit is None and term.any() and not cut.any():
        ended = lengths[term[ends]]
        counts = np.bincount(ended)
        longest = int(lengths.max())  # where truncations are as long, the limit is known to the recording
        usual = len(counts) == longest + 1 and counts[longest] == counts.max() >= 2 and longest > 1
        round_one = longest >= 50 and longest % 10 == 0
        all_of_them = counts[-1] == len(ended)
        enough = round_one or all_of_them or (counts[-1] >= 3 and 4 * counts[-1] >= len(ended))
        cut = term[ends] & (lengths == longest) & (usual and enough and not (trunc[ends] & (lengths == longest)).any())
    wrong = np.zeros(len(term), bool)
    wrong[ends[cut]] = True
    length = int(lengths[cut][0]) if cut.any() else 0
    return Defect(
        name="termination set at the time limit",
        count=int(wrong.sum()),
        of=max(int(term.sum()), 1),
        what="terminations",
        worst=f"{_first(wrong)}, after {length} steps",
        remedy="if the clock ended these episodes and not the task, move the flags from terminations to truncations, "
        "so that the value there is bootstrapped",
        mend="time-limit",
        rows=np.flatnonzero(wrong),
    )


def both_flags(term: Array, trunc: Array, last: Array, limit: int | None = None) -> Defect:
    """Rows that are flagged as termination and as truncation: nothing says whether the task went on."""
    wrong = term & trunc
    wrong[terminations_at_time_limit(term, trunc, last, limit).rows] = False
    return Defect(
        name="both flags set",
        count=int(wrong.sum()),
        of=max(int((term | trunc).sum()), 1),
        what="ends",
        worst=_first(wrong),
        remedy="the termination wins here: clear the truncation to say so, or the termination where the clock ended it",
        mend="both-flags",
        rows=np.flatnonzero(wrong),
    )


def jumps(obs: Array, nxt: Array | None, last: Array) -> Defect:
    """Rows within an episode whose next observation is not the next row's: a gap, or an end that has no flag.

    Where most rows are so, they are single transitions in no order, which is no defect: `describe` gives the share.
    """
    wrong = np.zeros(len(last), bool)
    if nxt is not None:
        wrong = check.jumps(obs, nxt, last)
        wrong &= 2 * int(wrong.sum()) <= int((~last).sum())
    return Defect(
        name="jumps without a flag",
        count=int(wrong.sum()),
        of=max(int((~last).sum()), 1),
        what="rows within episodes",
        worst=_first(wrong),
        remedy="mark these rows as truncated: the recording did not go on from there to the next row",
        mend="jumps",
        rows=np.flatnonzero(wrong),
    )


def rewards_of_dropped_rows(about: Mapping[str, Any]) -> Defect:
    """Last rows that a reader has dropped for want of a next observation, and whose rewards are not like the others'.

    ``about["dropped_rewards"]`` is ``[how many of them, how large, their share in the rows kept]``.
    """
    count, large, share = about.get("dropped_rewards", (0, 0.0, 0.0))
    return Defect(
        name="rewards left out with last rows",
        count=int(count),
        of=max(int(about.get("dropped_rows", 0)), 1),
        what="rows that were dropped, as they have no next observation",
        worst=f"a reward of size {large:g} or more, as {100 * share:.2g} % of the rows kept have",
        remedy="if the task ends there, say so, and the rows are kept: a column of terminations, or "
        "terminations=last-row beside episode=; if only the recording ends there, give next observations",
    )


def gaps_in_time(time: Mapping[str, Any] | None) -> Defect:
    """Steps within episodes that take more than `GAP` times as long as usual, where the source has a ``time``."""
    time = time or {}
    return Defect(
        name="gaps in time",
        count=int(time.get("gaps", 0)),
        of=max(int(time.get("of", 0)), 1),
        what="steps within episodes",
        worst=f"the longest {time.get('largest_step', 0):,.6g}, up to row {time.get('row', 0)} of the source, where "
        f"{time.get('usual_step', 0):,.6g} is usual",
        remedy="cut episodes there, as the next row is not what the action led to: "
        f"--max-gap {GAP * float(time.get('usual_step', 0)):.6g} (max_gap= in Python), or what is right for the task",
    )


def rows_at_one_time(time: Mapping[str, Any] | None) -> Defect:
    """Rows of one episode that have the time of the row before."""
    time = time or {}
    return Defect(
        name="rows at the same time",
        count=int(time.get("still", 0)),
        of=max(int(time.get("of", 0)), 1),
        what="steps within episodes",
        worst=f"by {time.get('column', '')}",
        remedy="if the rows come from several devices or people, name the column that tells them apart (episode=); if "
        "a row was written twice, drop one",
    )


def whole_numbers_as_actions(act: Array, n_actions: int | None, bounded: Any, lowest: float = 0.0) -> Defect:
    """Actions of whole numbers alone, ``lowest`` or more, read as amounts: they may be choices."""
    least, most = act.min(), act.max()
    n = int(most - least) + 1 if lowest <= least < most < least + 1000 and (lowest < 0 or least == 0) else 0
    asked = n_actions is None and not bounded and len(act) > 1 and n > 0
    wrong = asked and _all(act, lambda x: x == np.round(x))
    several = f" (in {act.shape[1]} columns: make one of them first)" if act.shape[1] > 1 else ""
    return Defect(
        name="whole numbers as actions",
        count=len(act) if wrong else 0,
        of=max(len(act), 1),
        what="actions",
        worst=f"{least:g}..{most:g}",
        remedy=f"if they are choices, count them from 0 and say so: --n-actions {n} (n_actions= in Python){several}; "
        f"if they are amounts: --action-low {least:g} --action-high {most:g}",
    )


def actions_never_chosen(act: Array, n_actions: int) -> Defect:
    """Choices below ``n_actions`` that no row holds: their values are extrapolated, and naive Q-learning seeks them."""
    known = act[(act >= 0) & (act < n_actions)].astype(np.int64)
    absent = np.setdiff1d(np.arange(n_actions), known) if n_actions <= 10**6 else np.arange(0)
    return Defect(
        name="actions never chosen",
        count=len(absent),
        of=n_actions,
        what="actions",
        worst=f"{', '.join(map(str, absent[:8]))}{', ...' * (len(absent) > 8)}",
        remedy="pass the number of actions that there are, counted from 0; where they do exist, an agent that chooses "
        "them does so on no evidence",
    )


def observations_hold_the_answer(obs: Array, act: Array, rew: Array, ended: Array) -> Defect:
    """Observation columns equal to the same row's action, reward or end in every row: known only afterwards."""
    answers = {"reward": rew.astype(obs.dtype), "end": ended.astype(obs.dtype)}
    answers |= {f"action {i}": act[:, i].astype(obs.dtype) for i in range(act.shape[1])} if act.shape[1] <= 64 else {}
    sample = np.linspace(0, len(obs) - 1, min(len(obs), 64)).astype(np.int64)  # most columns differ at once
    found = {}
    for name, answer in answers.items():
        if len(answer) < 3 or (answer == answer[0]).all():
            continue
        for column in np.flatnonzero((obs[sample] == answer[sample, None]).all(0)):
            if (obs[:, column] == answer).all():
                found[int(column)] = name
    return Defect(
        name="observations hold the answer",
        count=len(found),
        of=max(obs.shape[1], 1),
        what="columns",
        worst=", ".join(f"column {column} is the row's {name}" for column, name in list(found.items())[:8]),
        remedy="leave these columns out: an observation is what was known when the decision was taken",
        mend="answers",
        rows=np.asarray(sorted(found), np.int64),
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
        remedy="pass the bounds of the actuators (--action-low and --action-high; the log's own range is "
        f"{_range(act)}), or clip if only few are outside",
        mend="clip",
    )


def clipped_actions(clipped: Array) -> Defect:
    """Rows whose actions this package has clipped when it read them."""
    return Defect(
        name="actions clipped when read",
        count=int(clipped.sum()),
        of=len(clipped),
        what="rows",
        worst=_first(clipped),
        remedy="nothing, if they are few, and a converted file holds the clipped ones; else find out in which units "
        "the actions were recorded",
        mend="clip",
    )


def actions_of_another_range(act: Array, low: Array, high: Array) -> Defect:
    """Action columns that were recorded in other units than the bounds'.

    A column counts if a tenth of it or more lies outside; all do if they fill [-1, 1] or [0, 1] to within 1 % and the
    bounds are wider than 1.5 times that.
    """
    lowest, highest = (np.broadcast_to(bound, act.shape[1:]).astype(float) for bound in (low, high))
    outside = ((act < lowest - 1e-6) | (act > highest + 1e-6)).mean(0) >= 0.1
    least, most = act.min(0), act.max(0)
    unit = False
    for bottom, top in UNIT_RANGES:
        slack = 0.01 * (top - bottom)
        fills = (bottom <= least) & (least <= bottom + slack) & (top - slack <= most) & (most <= top)
        if (fills & (highest - lowest >= 1.5 * (top - bottom))).all():
            outside, unit = fills, True
    return Defect(
        name="actions scaled to another range",
        count=int(outside.sum()),
        of=act.shape[1],
        what="columns",
        worst=f"recorded range {least.min():g}..{most.max():g}, bounds {lowest.min():g}..{highest.max():g}",
        remedy="rescale the actions from the range that they fill to the bounds"
        if unit
        else "pass the recording's own bounds (--action-low and --action-high)",
        mend="rescale" if unit else "own-bounds",
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
        remedy="drop those rows and mark the row before each gap as truncated, or repair the recording",
        mend="not-finite",
    )


def marks_of(column: Array) -> dict[int, float]:
    """``column -> value`` of a float column ``[N]`` or ``[N, k]`` whose least or largest value may mean "missing".

    A number that people write for that (-999, 9999, 32767, 1e20, ...), farther from all others than they lie apart.
    """
    wide = column.reshape(len(column), -1)
    found: dict[int, float] = {}
    if column.dtype.kind != "f" or not wide.size:
        return found
    with np.errstate(invalid="ignore", over="ignore"):
        ends = (np.fmin.reduce(wide), np.fmax.reduce(wide))
        for i, value in ((i, float(x)) for end in ends for i, x in enumerate(end) if _is_mark(float(x))):
            others = wide[:, i][np.isfinite(wide[:, i]) & (wide[:, i] != value)].astype(np.float64)
            if len(others) and others.min() < others.max() and np.abs(others - value).min() > np.ptp(others):
                found[i] = value
    return found


def _is_mark(value: float) -> bool:
    size = abs(value)
    nines = size >= 99 and set(f"{size:.6g}") <= {"9", "."}
    return nines or size in (32767, 32768, 65535, 2147483647, 2147483648, 4294967295) or 1e19 <= size < np.inf


def marked_values(data: Mapping[str, Array], term: Array) -> Defect:
    """Values that may stand for missing ones: see `marks_of`. A reward of such a size where the task ends is none."""
    counts: dict[str, int] = {}
    for name in ("observations", "actions", "rewards"):
        column = data[name].reshape(len(term), -1)
        for i, value in marks_of(column).items():
            marked = column[:, i] == np.asarray(value, column.dtype)
            if name != "rewards" or (marked & ~term).any():
                counts[f"{name} {i} ({value:g})" if data[name].ndim > 1 else f"{name} ({value:g})"] = int(marked.sum())
    return Defect(
        name="values that may mark missing ones",
        count=sum(counts.values()),
        of=sum(data[name].size for name in ("observations", "actions", "rewards")),
        what="values",
        worst=_counts(counts),
        remedy="if that is what they say, drop those rows and mark the row before each gap as truncated",
        mend="marked-values",
    )


def half_precision(data: Mapping[str, Array], stored: Mapping[str, str]) -> Defect:
    """Values stored in 16 bits: 3 digits, at most 65,504; ``stored`` names the dtypes a column had in its file."""
    half = {}
    for name, column in data.items():
        found = re.fullmatch(r"float16(?: in (\d+) of (\d+) columns)?", str(stored.get(name, column.dtype)))
        if found is not None:
            half[name] = column.size * int(found[1]) // int(found[2]) if found[1] else column.size
    return Defect(
        name="stored as float16",
        count=sum(half.values()),
        of=sum(data[name].size for name in _FLOATS if name in data),
        what="values",
        worst=", ".join(half),
        remedy="record in float32; the lost digits do not come back, and equal states may differ only by rounding",
    )


def collapsed_values(data: Mapping[str, Array], counted: Mapping[str, Any] | None = None) -> Defect:
    """Distinct values that become one when they are rounded to float32, in which this package trains.

    ``counted`` holds what a loader has found before it rounded (column -> [values lost, distinct values]).
    """
    found = dict(counted) if counted is not None else collapse_of(data)
    lost = {name: int(pair[0]) for name, pair in found.items() if pair[0]}
    return Defect(
        name="distinct values that float32 makes equal",
        count=sum(lost.values()),
        of=max(sum(int(pair[1]) for pair in found.values()), 1),
        what="distinct values",
        worst=", ".join(f"{count:,} of {int(found[name][1]):,} in {name}" for name, count in lost.items()),
        remedy="subtract what is common to them (a time: seconds since the episode's start), or read in float64: "
        "--read-dtype float64 (dtype=torch.float64 in Python)",
    )


def collapse_of(data: Mapping[str, Array]) -> dict[str, list[int]]:
    """``column -> [distinct values that float32 makes equal to another, distinct values]``, of float64 and int64."""
    result: dict[str, list[int]] = {}
    for name in ("observations", "actions", "rewards"):
        column = data.get(name)
        if column is not None and not (name == "actions" and column.dtype.kind in "iu"):
            more = column.ndim > 1
            result |= {f"{name} {i}" if more else name: pair for i, pair in check.collapsed(column).items()}
    return result


def constant_columns(obs: Array, act: Array) -> Defect:
    """Columns with one value throughout; not of observations that are indicators (0 and 1), nor of one row."""
    indicators = _all(obs, lambda x: (x == 0) | (x == 1))
    columns = {"observations": obs[:, :0] if indicators else obs, "actions": act}
    same = {name: np.atleast_1d(x.min(0) == x.max(0)) & (len(x) > 1) for name, x in columns.items()}
    left = {name: int((~x).sum()) for name, x in same.items()}
    empty = not left["actions"] or not (left["observations"] or indicators)
    return Defect(
        name="constant columns",
        count=sum(int(x.sum()) for x in same.values()),
        of=sum(x.size for x in same.values()),
        what="columns",
        worst=", ".join(f"{name} {np.flatnonzero(x)[:8].tolist()}" for name, x in same.items() if x.any()),
        remedy="there is nothing to learn from a log in which every action, or every observation, is the same"
        if empty
        else "leave these columns out, or leave their scale alone (a division by a deviation of 0 gives NaN)",
        mend="" if empty else "constant-columns",
    )


def one_reward(rew: Array, term: Array) -> Defect:
    """The same reward in every row, where no episode terminates: then every policy is worth the same.

    A constant reward until the task ends (CartPole's +1) is a goal, and no defect.
    """
    wrong = len(rew) > 1 and bool((rew == rew[0]).all()) and not term.any()
    return Defect(
        name="the same reward in every row",
        count=len(rew) if wrong else 0,
        of=len(rew),
        what="rows",
        worst=f"{rew[0]:g}, and no termination",
        remedy="define a reward that tells good from bad, or mark where the task ended",
    )


def duplicated_rows(data: Mapping[str, Array]) -> Defect:
    """Rows equal in all columns to an earlier one; expected (not counted) in worlds of whole numbers."""
    wrong = np.zeros(len(data["rewards"]), bool)
    if data["actions"].dtype.kind == "f" or not _all(data["observations"], lambda x: x == np.round(x)):
        wrong = check.is_duplicate([data[name] for name in COLUMNS if name in data])
    return Defect(
        name="duplicated rows",
        count=int(wrong.sum()),
        of=len(wrong),
        what="rows",
        worst=_first(wrong),
        remedy="drop whole episodes that repeat an earlier one (a file appended twice) and rows that repeat the row "
        "before (a logger that wrote twice); of others keep the first",
        mend="duplicates",
        rows=np.flatnonzero(wrong),
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
        remedy="sum the rewards again: dataset.returns_to_go(discount), episode_returns(); look for a reward scale",
    )
