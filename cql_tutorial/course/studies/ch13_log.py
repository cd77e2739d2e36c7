"""A plant whose truth can be simulated, and logs of it with planted defects: chapter 13 and the assignments of it.

`make_log(seed)` records the plant, plants five defects that the seed chooses, and keeps the clean rows beside them.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Generator, Tensor

from ...datasets import OfflineDataset, defects, mend
from ...envs.base import Transition, World, normal, record_episodes
from ...errors import check_int, require
from ...files import atomic_write

Array = np.ndarray
# name, value where all is well, size of one unit of the state behind it
COLUMNS: tuple[tuple[str, float, float], ...] = (
    ("product_C", 62.0, 2.5),
    ("moisture", 0.14, 0.02),
    ("air_humidity_pct", 35.0, 6.0),
    ("wall_C", 88.0, 7.0),
    ("outside_C", 11.0, 6.0),
    ("feed_kg_h", 5200.0, 450.0),
    ("pressure_Pa", 101_300.0, 600.0),
    ("vibration_mm_s", 2.4, 0.5),
    ("mains_V", 230.0, 3.0),
    ("lamp_hours", 1800.0, 300.0),
)
ACTIONS = ("heater_pct", "fan_pct")
LOW, HIGH = 0.0, 100.0
ROLES: dict[str, Any] = {
    "observations": [name for name, _, _ in COLUMNS],
    "actions": list(ACTIONS),
    "rewards": "profit",
    "next_observations": [f"next_{name}" for name, _, _ in COLUMNS],
    "terminations": "tripped",
    "truncations": "shift_over",
    "episode": "shift",
}
"""Which column has which role; a log may have further columns of sensors (`Log.roles`)."""
EPISODES = 90
NOISE = 0.45  # standard deviation of an operator's actions, in units of half of the range

_KEEP = (0.97, 0.92, 0.60, 0.88, 0.95, 0.90, 0.95, 0.90, 0.80, 0.99)  # of a deviation, from one step to the next
_SHAKE = (0.20, 0.20, 0.30, 0.20, 0.30, 0.40, 0.30, 0.40, 0.60, 0.14)  # standard deviation of the noise of a step
# what drives a column beside its own past: (column, by, how much)
_DRIVEN = (
    (0, 3, 0.30), (0, 4, 0.06), (0, 5, -0.08),
    (1, 5, 0.22), (1, 0, -0.12), (1, 2, 0.15),
    (2, 1, 0.20),
    (3, 0, 0.05),
)  # fmt: skip
_HEATER, _FAN = (0.25, -0.10, 0.0, 0.55), (-0.30, -0.30, -0.40, -0.05)  # what full power adds to the first four
# Gains of the two actions on (product, moisture, humidity, wall): three operators, none of whom looks at the wall.
OPERATORS = (
    ((-0.40, 0.10, 0.0, 0.0), (0.10, 0.30, 0.0, 0.0)),
    ((-0.20, 0.20, 0.0, 0.0), (0.10, 0.10, 0.1, 0.0)),
    ((-0.70, 0.00, 0.0, 0.0), (0.30, 0.00, 0.0, 0.0)),
)


@dataclass(eq=False, kw_only=True)
class Dryer(World):
    """A dryer: hold the product's temperature and moisture, by a heater and a fan, without tripping it.

    Behind the ten observations stand ten deviations z from normal, ``z' = M z + B v + noise``, with v the actions from
    [0, 100] per cent scaled to [-1, 1]. ``reward = 1 - min(0.25 (z_0^2 + z_1^2) + 0.05 |v|^2, 3)`` of the state before
    the step; if the product's temperature is then beyond ``trip`` deviations the dryer stops: -5, and a termination. A
    shift is 40 steps, after which only the recording ends. Made up for this course; no real plant stands behind it.
    """

    trip: float = 3.2
    discount: float = 0.9
    horizon: int = 40
    name: ClassVar[str] = "dryer"
    terminates: ClassVar[bool] = True
    action_low: ClassVar[float] = LOW
    action_high: ClassVar[float] = HIGH

    def __post_init__(self) -> None:
        super().__post_init__()
        self.observation_dim, self.action_dim = len(COLUMNS), len(ACTIONS)
        self.reward_low, self.reward_high = -5.0, 1.0

    def reset(self, n: int, generator: Generator | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        z = normal(torch.zeros(n, len(COLUMNS), dtype=dtype), generator)
        z[:, 0] = z[:, 0].clamp(-2, 2)
        return z

    def observe(self, states: Tensor) -> Tensor:
        centre, unit = (states.new_tensor(values) for values in list(zip(*COLUMNS, strict=True))[1:])
        return centre + unit * states

    def states_of(self, observations: Tensor) -> Tensor:
        centre, unit = (observations.new_tensor(values) for values in list(zip(*COLUMNS, strict=True))[1:])
        return (observations - centre) / unit

    @staticmethod
    def matrices() -> tuple[Tensor, Tensor]:
        """M ``[10, 10]`` and B ``[10, 2]``, float64."""
        m, b = torch.diag(torch.tensor(_KEEP, dtype=torch.float64)), torch.zeros(10, 2, dtype=torch.float64)
        for column, by, much in _DRIVEN:
            m[column, by] += much
        b[:4] = torch.tensor([_HEATER, _FAN], dtype=torch.float64).T
        return m, b

    def step(self, states: Tensor, actions: Tensor, generator: Generator | None = None) -> Transition:
        v = (self.check_actions(states, actions) - (LOW + HIGH) / 2) / ((HIGH - LOW) / 2)
        m, b = (part.to(states) for part in self.matrices())
        cost = 0.25 * states[:, :2].square().sum(1) + 0.05 * v.square().sum(1)
        rewards = 1 - cost.clamp(max=3.0)
        following = states @ m.T + v @ b.T + states.new_tensor(_SHAKE) * normal(states, generator)
        tripped = following[:, 0].abs() > self.trip
        return following, torch.where(tripped, rewards.new_tensor(-5.0), rewards), tripped


def percent(v: Tensor) -> Tensor:
    """Actions in [-1, 1] as per cent, clipped: ``[n, 2] -> [n, 2]``."""
    return (LOW + HIGH) / 2 + (HIGH - LOW) / 2 * v.clamp(-1, 1)


def operator(gains: Sequence[Sequence[float]], noise: float = NOISE) -> Callable[[Tensor, Generator | None], Tensor]:
    """A policy ``(observations, generator) -> actions``: gains on the first four deviations, and normal noise."""

    def act(observations: Tensor, generator: Generator | None = None) -> Tensor:
        v = Dryer().states_of(observations)[:, :4] @ observations.new_tensor(gains).T
        return percent(v + noise * normal(v, generator) if noise else v)

    return act


# ---------------------------------------------------------------- what can be wrong with a log
Table = dict[str, Any]  # names of `defects.COLUMNS`, "shift" and "extra": the names of further sensors


def _ends(table: Table) -> Array:
    """Last rows of the shifts, by their labels."""
    return np.flatnonzero(np.r_[table["shift"][1:] != table["shift"][:-1], True])


def _pick(table: Table, rng: np.random.Generator, among: Array, share: float, least: int = 3) -> Array:
    return np.sort(rng.choice(among, max(least, round(share * len(among))), replace=False))


def _sensor(table: Table, name: str, values: Array) -> None:
    """A further observation, which at the end of a shift has no later value and repeats its own."""
    ends = _ends(table)
    following = np.roll(values, -1)
    following[ends] = values[ends]
    for role, more in (("observations", values), ("next_observations", following)):
        table[role] = np.column_stack([table[role], more.astype(np.float32)])
    table["extra"] = [*table["extra"], name]


def _time_limit(table: Table, rng: np.random.Generator) -> None:
    cut = table["truncations"]
    table["terminations"], table["truncations"] = table["terminations"] | cut, np.zeros_like(cut)


def _next_episode(table: Table, rng: np.random.Generator) -> None:
    ends = _ends(table)[:-1]
    table["next_observations"][ends] = table["observations"][ends + 1]


def _duplicates(table: Table, rng: np.random.Generator) -> None:
    shifts = np.unique(table["shift"])
    again = np.isin(table["shift"], _pick(table, rng, shifts, 0.08))
    labels = table["shift"][again] + int(shifts.max()) + 1
    for name in defects.COLUMNS:
        table[name] = np.concatenate([table[name], table[name][again]])
    table["shift"] = np.concatenate([table["shift"], labels])


def _not_finite(table: Table, rng: np.random.Generator) -> None:
    column = int(rng.integers(len(COLUMNS)))
    rows = _pick(table, rng, np.arange(len(table["shift"])), 0.01)
    before = rows[rows > 0] - 1
    before = before[(table["next_observations"][before] == table["observations"][before + 1]).all(1)]
    table["observations"][rows, column] = np.nan
    table["next_observations"][before, column] = np.nan


def _rescale(table: Table, rng: np.random.Generator) -> None:
    table["actions"] = ((table["actions"] - LOW) / (HIGH - LOW)).astype(np.float32)


def _clip(table: Table, rng: np.random.Generator) -> None:
    rows, columns = np.nonzero(table["actions"] == HIGH)
    some = _pick(table, rng, np.arange(len(rows)), 0.3)
    table["actions"][rows[some], columns[some]] += rng.uniform(0.5, 6, len(some)).astype(np.float32)


def _constant_columns(table: Table, rng: np.random.Generator) -> None:
    _sensor(table, "spare_mA", np.full(len(table["shift"]), np.float32(4.0)))


def _answers(table: Table, rng: np.random.Generator) -> None:
    _sensor(table, "kpi", table["rewards"].copy())


def _inner_flags(table: Table, rng: np.random.Generator) -> None:
    ends = _ends(table)
    inner = np.setdiff1d(np.arange(len(table["shift"])), np.r_[ends, ends - 1])
    table["truncations"][_pick(table, rng, inner, 0.004, 5)] = True


def _jumps(table: Table, rng: np.random.Generator) -> None:
    ends, lost = _ends(table), np.zeros(len(table["shift"]), bool)
    starts = np.r_[0, ends[:-1] + 1]
    long = np.flatnonzero(ends - starts >= 20)
    for shift in _pick(table, rng, long, 0.08):
        first = starts[shift] + int(rng.integers(5, 12))
        lost[first : first + int(rng.integers(2, 5))] = True
    for name in (*defects.COLUMNS, "shift"):
        table[name] = table[name][~lost]


# Planted in this order, each as its remedy is called; the words say what happened at the plant.
PLANT: dict[str, tuple[Callable[[Table, np.random.Generator], None], str]] = {
    "jumps": (_jumps, "rows were lost within shifts"),
    "answers": (_answers, "a column holds the profit of the same row"),
    "constant-columns": (_constant_columns, "a socket without a sensor was recorded"),
    "inner-flags": (_inner_flags, "the flag of the shift's end was set within shifts"),
    "time-limit": (_time_limit, "the end of a shift was recorded as a trip"),
    "next-episode": (_next_episode, "the next state at a shift's end is the first of the next shift"),
    "rescale": (_rescale, "actions were recorded from 0 to 1, not in per cent"),
    "clip": (_clip, "some actions were recorded above full power"),
    "not-finite": (_not_finite, "a sensor was silent now and then"),
    "duplicates": (_duplicates, "some shifts stand in the file twice"),
}
TOGETHER = (  # never both
    {"rescale", "clip"},  # full power is then 1 and a little more, or the range is not filled
    {"inner-flags", "next-episode"},  # the first looks like the second, whose remedy then drops its rows
    {"jumps", "time-limit"},  # a shift that lost rows ends early, and its trip looks like one
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Log:
    """A recorded log: ``table`` as the plant's file has it, ``clean`` as it was before; ``planted`` remedies' names.

    ``recoverable`` rows of the clean log are still there, whole, after the right remedies. ``ambiguous`` rows no remedy
    can tell: trips in the last step of a shift, where the file flags the end of a shift as a trip.
    """

    seed: int
    table: Mapping[str, Any]
    clean: OfflineDataset
    planted: tuple[str, ...]
    recoverable: int
    ambiguous: int
    world: Dryer = field(default_factory=Dryer)

    @property
    def roles(self) -> dict[str, Any]:
        """`ROLES` with this log's further sensors: the argument ``columns`` of the readers."""
        more = list(self.table["extra"])
        names = {key: [*ROLES[key]] for key in ("observations", "next_observations")}
        names["observations"] += more
        names["next_observations"] += [f"next_{name}" for name in more]
        return {**ROLES, **names}

    @property
    def stored(self) -> dict[str, Any]:
        """The file's columns as arrays, unchecked: the mapping that `defects.find` and `mend.apply` take."""
        columns = {name: np.array(self.table[name]) for name in defects.COLUMNS}
        starts = np.flatnonzero(np.r_[True, self.table["shift"][1:] != self.table["shift"][:-1]])
        return {**columns, "episode_starts": starts, "action_low": LOW, "action_high": HIGH}

    def named_columns(self) -> dict[str, Array]:
        """The file's columns by their names, in its order: what a data frame is made of."""
        table, roles = self.table, self.roles
        wide = {"observations": table["observations"], "actions": table["actions"]}
        found = {"shift": table["shift"]}
        for role, values in wide.items():
            found |= {name: values[:, i] for i, name in enumerate(roles[role])}
        found |= {"profit": table["rewards"]}
        found |= {name: table["next_observations"][:, i] for i, name in enumerate(roles["next_observations"])}
        return found | {role: table[key].astype(int) for role, key in _FLAGS.items()}

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write the file as CSV (empty cells where a sensor was silent); needs no other package."""
        path, columns = Path(path), self.named_columns()
        with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            for row in zip(*columns.values(), strict=True):
                writer.writerow(["" if value != value else str(value) for value in row])
        return path


_FLAGS = {"tripped": "terminations", "shift_over": "truncations"}


def choose_defects(seed: int, number: int = 5) -> tuple[str, ...]:
    """Names of ``number`` defects for a seed, none of which hides another; in the order in which they are planted."""
    rng = np.random.default_rng([13, check_int("seed", seed, 0)])
    while True:
        some = set(rng.choice(list(PLANT), check_int("number", number, 0), replace=False))
        if not any(pair <= some for pair in TOGETHER):
            return tuple(name for name in PLANT if name in some)


def make_log(seed: int, defects: Sequence[str] | None = None, episodes: int = EPISODES) -> Log:
    """Record the plant under three operators and plant defects: those named, or five that the seed chooses.

    The rows depend on ``seed`` alone, so that a log with ``defects=()`` is the clean one. Raises `ConfigError` for
    unknown names and for a pair of `TOGETHER`.
    """
    names = choose_defects(seed) if defects is None else tuple(name for name in PLANT if name in defects)
    unknown = sorted(set(defects or ()) - set(PLANT))
    require(not unknown, "defects", unknown, f"names among {list(PLANT)}")
    require(not any(pair <= set(names) for pair in TOGETHER), "defects", list(names), f"no pair of {list(TOGETHER)}")
    world, generator = Dryer(), torch.Generator().manual_seed(seed)
    parts = [
        (operator(gains), world.reset(check_int("episodes", episodes, 6) // len(OPERATORS), generator))
        for gains in OPERATORS
    ]
    rows = record_episodes(world, parts, generator=generator)
    columns: dict[str, Any] = {name: rows[name] for name in _COLUMN_NAMES}
    clean = OfflineDataset.from_arrays(
        **columns,
        episode_starts=rows["episode_starts"],
        action_low=LOW,
        action_high=HIGH,
        id=f"dryer-{seed}",
    )
    starts = rows["episode_starts"].numpy()
    table: Table = {name: rows[name].numpy().copy() for name in _COLUMN_NAMES}
    table |= {"shift": np.cumsum(np.bincount(starts, minlength=len(clean))), "extra": []}
    rng = np.random.default_rng([31, seed])
    for name in names:
        PLANT[name][0](table, rng)
    full = clean.episode_starts + clean.episode_lengths() - 1  # last rows of shifts that went on to the end
    late = int(clean.terminations[full[clean.episode_lengths() == world.horizon]].sum())
    ambiguous = late if "time-limit" in names else 0
    recoverable = _recoverable(table, clean) - ambiguous
    return Log(seed=seed, table=table, clean=clean, planted=names, recoverable=recoverable, ambiguous=ambiguous)


_COLUMN_NAMES = defects.COLUMNS


def _recoverable(table: Table, clean: OfflineDataset) -> int:
    """How many clean rows the file still holds whole, told by their states and not by any remedy."""
    obs, nxt = (table[name][:, : len(COLUMNS)] for name in ("observations", "next_observations"))
    place = {row.tobytes(): i for i, row in enumerate(clean.observations.numpy())}
    pairs = {(place[row.tobytes()], i) for i, row in enumerate(obs) if row.tobytes() in place}
    theirs, ended = clean.next_observations.numpy(), clean.terminations.numpy()
    return len({at for at, i in pairs if ended[at] or (nxt[i] == theirs[at]).all()})


# ---------------------------------------------------------------- a mended log beside the clean one
def read(log: Log, names: Sequence[str] | None = None) -> OfflineDataset:
    """The log after the remedies ``names`` (those of its planted defects by default)."""
    columns, _ = mend.apply(log.stored, log.planted if names is None else names)
    return OfflineDataset.from_arrays(**columns, id=log.clean.id)


def compare_with_clean(mended: OfflineDataset, log: Log) -> dict[str, int]:
    """Count rows: ``same`` as a clean row, ``changed`` from the one of the same state, ``strange``, ``twice``.

    Equal are observations, action (to a thousandth of a per cent), reward, termination, and the next observation
    wherever a bootstrap reads it. Truncations may differ: a remedy ends an episode where rows are missing.
    """
    if mended.observation_dim != log.clean.observation_dim:
        return {"same": 0, "changed": 0, "strange": len(mended), "twice": 0}
    clean = {row.tobytes(): i for i, row in enumerate(log.clean.observations.numpy())}
    at = np.array([clean.get(row.tobytes(), -1) for row in mended.observations.numpy()])
    known = at >= 0
    rows = torch.from_numpy(at[known])
    mine = {name: getattr(mended, name)[torch.from_numpy(known)] for name in _COLUMN_NAMES}
    theirs = {name: getattr(log.clean, name)[rows] for name in _COLUMN_NAMES}
    same = (mine["actions"] - theirs["actions"]).abs().amax(1) <= 1e-3
    same &= (mine["rewards"] == theirs["rewards"]) & (mine["terminations"] == theirs["terminations"])
    same &= (mine["next_observations"] == theirs["next_observations"]).all(1) | theirs["terminations"]
    twice = int(known.sum()) - len(np.unique(at[known]))
    right = int(same.sum())
    return {"same": right, "changed": int(known.sum()) - right, "strange": int((~known).sum()), "twice": twice}
