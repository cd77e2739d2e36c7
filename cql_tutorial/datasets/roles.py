"""Which column of a table, or key of a file, is what: asked for by name or pattern, guessed only where names are plain.

A column has one role. What has none is named as unused, so that nothing is dropped without a word.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError, DataError, require

REQUIRED = ("observations", "actions", "rewards", "terminations")
KNOWN = (*REQUIRED, "next_observations", "truncations", "episode", "time")
WIDE = ("observations", "next_observations", "actions")  # of several columns; the others have one
FLAGS = ("terminations", "truncations")
NONE, EVERY_ROW, LAST_ROW = "none", "every-row", "last-row"  # what may stand in place of a column of flags

_MEANT = {
    "done": "terminations (the task ended) or truncations (only the recording did)",
    "dones": "terminations (the task ended) or truncations (only the recording did)",
    "terminals": "terminations",
    "terminated": "terminations",
    "timeouts": "truncations",
    "truncated": "truncations",
    "reward": "rewards",
    "action": "actions",
    "obs": "observations",
    "state": "observations",
    "states": "observations",
    "next_obs": "next_observations",
    "next_states": "next_observations",
    "episodes": "episode",
    "episode_id": "episode",
    "timestamp": "time",
    "timestamps": "time",
}
_SERIES = r"[_.\[]?\d+\]?"
_PLAIN = {  # whole names that cannot mean anything else
    "next_observations": rf"next_(obs|observations?|states?)({_SERIES})?|(obs|observation|state)_next({_SERIES})?",
    "observations": rf"(obs|observations?|states?)({_SERIES})?",
    "actions": rf"(act|actions?)({_SERIES})?",
    "rewards": r"rewards?",
    "terminations": r"terminations?|terminated|terminals?",
    "truncations": r"truncations?|truncated|timeouts?",
    "episode": r"episode(_id|_number)?|trajectory_id",
}
_LATER = re.compile(r"(^|[^a-z])(next|nxt|succ|successor|prime|tp1|t\+1|after)([^a-z]|$)|'$", re.I)


@dataclass(frozen=True)
class Roles:
    """``columns``: name of ours -> the file's names; ``places``: their positions; ``constants``: flags without one.

    ``unused`` names the rest. ``str`` gives a line a role.
    """

    columns: dict[str, list[str]]
    places: dict[str, list[int]]
    constants: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    guessed: bool = False

    def __str__(self) -> str:
        lines = [f"{name:<18} {_listed(self.columns[name])}" for name in KNOWN if name in self.columns]
        lines += [f"{name:<18} {word}" for name, word in self.constants.items()]
        lines += [f"{'not used':<18} {_listed(self.unused)}"] * bool(self.unused)
        return "\n".join(lines)

    def options(self) -> list[str]:
        """The ``--columns`` entries that ask for the same again."""
        entries = [f"{name}={','.join(names)}" for name, names in self.columns.items()]
        return entries + [f"{name}={word}" for name, word in self.constants.items()]


def names_of(metadata: Mapping[str, Any], role: str, width: int) -> list[str] | None:
    """The source's names of the ``width`` columns of a role, in their order; None if it has none, or others."""
    columns = metadata.get("columns")
    names = columns.get(role) if isinstance(columns, Mapping) else None
    fits = isinstance(names, (list, tuple)) and len(names) == width and all(isinstance(name, str) for name in names)
    return list(names) if fits and names is not None else None


def _listed(names: Sequence[str]) -> str:
    shown = [name[:40] or "(no name)" for name in names]
    count = f" ({len(names)})" if len(names) > 1 else ""
    return (", ".join(shown) if len(shown) <= 8 else f"{', '.join(shown[:4])}, ... {shown[-1]}") + count


def assign(header: Sequence[str], wanted: Mapping[str, Any] | None, where: str = "header") -> Roles:
    """The role of each column of a ``header``; ``wanted`` maps our names to its names, lists of them, or ``"obs_*"``.

    A pattern takes all columns that fit, in the order of the header; names that differ in their numbers alone are
    ordered by these. ``terminations`` (and ``truncations``) may be the word ``none``; ``terminations`` also
    ``every-row``, or ``last-row`` (of each ``episode``). None guesses from names that are plain. Raises ``ConfigError``
    for the mapping, ``DataError`` for what the header lacks or has twice.
    """
    header = [str(name) for name in header]
    if wanted is None:
        return _guess(header, where)
    require(isinstance(wanted, Mapping), "columns", wanted, "a mapping of names to columns", "{'rewards': 'r', ...}.")
    for name in (name for name in wanted if name not in KNOWN):
        near = _MEANT.get(str(name)) or ", ".join(difflib.get_close_matches(str(name), KNOWN, 1) or KNOWN)
        raise ConfigError("columns", repr(name), f"known names (nearest: {near})", "rename that entry.")
    missing = [name for name in REQUIRED if name not in wanted]
    mend = "name the columns for these"
    if "terminations" in missing:
        mend += (
            f"; terminations={NONE} says that the task never ends, terminations={EVERY_ROW} that each row is an "
            f"episode, terminations={LAST_ROW} that it ends in the last row of each episode="
        )
    require(not missing, "columns", missing, f"entries for {', '.join(REQUIRED)}", f"{mend}.")
    count, place = Counter(header), {name: i for i, name in enumerate(header)}
    constants = {name: word for name in FLAGS if (word := _word(wanted.get(name))) and word not in place}
    word = constants.get("truncations")
    require(word in (None, NONE), "columns['truncations']", word, "a column, or none", "leave it out.")
    labelled = constants.get("terminations") != LAST_ROW or "episode" in wanted
    mend = "name the column that changes with each episode: episode=..."
    require(labelled, "columns['terminations']", LAST_ROW, "episode beside it, which says which row is the last", mend)
    chosen = {
        name: _chosen(header, place, name, wanted[name], where)
        for name in KNOWN
        if name in wanted and name not in constants
    }
    taken: dict[str, str] = {}
    for name, columns in chosen.items():
        for column in columns:
            if column in taken:
                found = f"{column!r}, which {_entry(taken[column], wanted)} takes as well"
                mend = "name the columns one by one, or use a pattern that fits fewer."
                raise ConfigError(f"columns[{name!r}]", found, "each column in one role", mend)
            taken[column] = name
    double = sorted(name for name in taken if count[name] > 1)
    if double:
        expected, mend = "one column of each name that is used", "rename the columns."
        raise DataError(where, f"{str(double[:5])[1:-1]} more than once", expected, mend)
    unused = [name for name in header if name not in taken]
    return Roles(chosen, {name: [place[one] for one in columns] for name, columns in chosen.items()}, constants, unused)


def _word(wanted: Any) -> str | None:
    """``none``, ``every-row`` or ``last-row``, if that is asked for in place of a column."""
    one = wanted[0] if isinstance(wanted, (list, tuple)) and len(wanted) == 1 else wanted
    return one if isinstance(one, str) and one in (NONE, EVERY_ROW, LAST_ROW) else None


def _entry(name: str, wanted: Mapping[str, Any]) -> str:
    value = wanted[name]
    return f"{name}={value if isinstance(value, str) else ','.join(map(str, value))}"


def _chosen(header: Sequence[str], place: Mapping[str, int], name: str, wanted: Any, where: str) -> list[str]:
    result: list[str] = []
    asked = [wanted] if isinstance(wanted, str) else wanted
    fits = isinstance(asked, (list, tuple)) and asked and all(isinstance(one, str) for one in asked)
    expected = "a column name, a list of them, or a pattern such as 'obs_*'"
    require(fits, f"columns[{name!r}]", wanted, expected, f"copy the name from the {where}.")
    for one in asked:
        if one in place:
            result.append(one)
            continue
        pattern = re.compile(re.escape(one).replace(r"\*", ".*"))
        hits = [column for column in place if pattern.fullmatch(column)] if "*" in one else []
        if not hits:
            close = [column for column in list(place)[:2000] if column.casefold() == one.casefold()]
            close = close or difflib.get_close_matches(one, list(place)[:2000], 3, 0.4) or list(header[:10])
            near = str([text[:40] for text in close])[1:-1] or "none: it is empty"
            found, expected = f"no column {one!r} in the {where}", f"a column name (nearest: {near})"
            hint = f", or {NONE}, or {EVERY_ROW}, or {LAST_ROW}" if name == "terminations" else ""
            raise DataError(f"columns[{name!r}]", found, expected, f"correct the name; capitals count{hint}.")
        later = [
            column for column in hits if name == "observations" and _LATER.search(column) and not _LATER.search(one)
        ]
        if later and len(later) < len(hits):
            found = f"{one!r} takes {later[0]!r} too, which by its name belongs to next_observations"
            mend = "name the columns one by one, or use a pattern that fits fewer; what you name in full is taken."
            raise ConfigError(f"columns[{name!r}]", found, "what was known when the decision was taken", mend)
        result += _ordered(hits)
    one_only = name not in WIDE
    if len(set(result)) < len(result) or (one_only and len(result) > 1):
        expected = "one column" if one_only else "each column once"
        raise ConfigError(f"columns[{name!r}]", f"the columns {result[:8]}", expected, "name it in full.")
    return result


def _ordered(columns: list[str]) -> list[str]:
    """Columns as they stand; obs_2 before obs_10 where names differ in their numbers alone."""
    pieces = {column: re.split(r"(\d+)", column) for column in columns}
    if len({tuple(parts[::2]) for parts in pieces.values()}) > 1:
        return columns
    return sorted(columns, key=lambda column: [int(number) for number in pieces[column][1::2]])


def _guess(header: Sequence[str], where: str) -> Roles:
    chosen: dict[str, list[str]] = {}
    for column in header:
        for name, pattern in _PLAIN.items():
            if re.fullmatch(pattern, column, re.I):
                chosen.setdefault(name, []).append(column)
                break
    missing = [name for name in REQUIRED if name not in chosen]
    if missing:
        found = f"no columns given, and none whose name is plainly {' nor '.join(missing)}"
        mend = "say which is what: --columns observations=... (columns= in Python); "
        mend += f"the {where} has {_listed(header[:40])}"
        if missing == ["terminations"]:
            mend += f"; terminations={NONE} says that the task never ends, {LAST_ROW} that it ends with each episode="
        raise ConfigError("columns", found, "which column holds what", f"{mend}.")
    roles = assign(header, chosen, where)
    return Roles(roles.columns, roles.places, roles.constants, roles.unused, guessed=True)
