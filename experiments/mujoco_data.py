"""Make the MuJoCo data sets: logs of policies that this package's SAC has trained, after D4RL's recipe.

Every task has two draws: two training seeds, and so two behaviour policies. The policies, the evaluation states and the
tables are in git; a set is made of them on demand, into data/mujoco/, in half a minute to two. *medium-replay* is what
a training saw, and means training again up to the medium checkpoint: some minutes. A set that is there is left as it
is. Needs the extra mujoco (requirements-mujoco.txt).
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cql_tutorial import OfflineDataset, __version__, load_agent, load_dataset
from cql_tutorial.agents.agent import subnormals_as_zero
from cql_tutorial.datasets.mujoco_recording import Columns, dataset_of_columns, joined, record_mujoco
from cql_tutorial.envs.mujoco_env import make_mujoco, mujoco_id
from cql_tutorial.errors import ConfigError, DataError, require, require_data
from cql_tutorial.evaluation.reference_scores import REFERENCE_RETURNS, d4rl_score
from cql_tutorial.files import atomic_write
from experiments import mujoco_training as training
from experiments.logs import DATA
from experiments.mujoco_training import BUDGETS, CACHE, DRAWS
from experiments.runner import run
from experiments.storage import RESULTS, Row, read_rows, write_rows

POLICIES, STATES = CACHE / "policies", CACHE / "states.safetensors"
TABLE = "mujoco-sets"
STEPS = 100_000
STATES_A_SET = 200
QUALITIES = {
    "random": "uniform actions",
    "medium": "the stochastic medium policy",
    "medium-replay": "all that online SAC saw until the medium checkpoint, in order",
    "medium-expert": "the first half of medium, then the first half of best",
    "best": "the stochastic best policy",
}
AUTHOR = "The cql-tutorial authors"


@dataclass(frozen=True)
class Set:
    """One data set: its task, how good its behaviour is, and which of the draws."""

    task: str
    quality: str
    draw: int

    @property
    def id(self) -> str:
        return f"mujoco/{self.task}-{self.quality}-{self.draw}-v0"

    @property
    def seed(self) -> int:
        """Of the recording; another one for every set whose policy acts anew."""
        own = {"random": 0, "medium": 1, "best": 2}
        return 1000 + 100 * list(REFERENCE_RETURNS).index(self.task) + 10 * self.draw + own[self.quality]


SETS = {
    one.id: one
    for one in (Set(task, quality, draw) for task in BUDGETS for quality in QUALITIES for draw in range(DRAWS))
}


def find_set(given: str) -> Set:
    """The set of an id, with or without ``mujoco/``; `ConfigError` for an unknown task or version, or no such set."""
    name = "mujoco/" + given.removeprefix("mujoco/")
    if name in SETS:
        return SETS[name]
    stem, _, version = given.removeprefix("mujoco/").rpartition("-v")
    stem = stem or version
    task, _, quality = re.sub(r"-\d+$", "", stem).partition("-")
    mujoco_id(task)  # says which tasks there are
    expected = f"mujoco/{task}-QUALITY-DRAW-v0 with {', '.join(QUALITIES)} and draw 0 or 1"
    mend = f"--take {task}-{quality}=FILE takes D4RL's or Minari's own file." if quality in QUALITIES else ""
    raise ConfigError("data set", repr(given), expected, mend)


# ---------------------------------------------------------------- policies
def draws(rows: Sequence[Row]) -> dict[tuple[str, int], dict[str, int]]:
    """Training seed and the steps of *medium* and *best* of each (task, draw), by the rules of `mujoco_training`."""
    found = {}
    for task in BUDGETS:
        for draw, seed in enumerate(training.seeds_of(list(rows), task)):
            medium = training.medium_step(list(rows), task, seed)
            assert medium is not None
            found[task, draw] = {"seed": seed, "medium": medium, "best": training.best_step(list(rows), task, seed)}
    return found


def policy_path(task: str, quality: str, draw: int) -> Path:
    """Where a behaviour policy lies, *medium* or *best*."""
    return POLICIES / f"{task}-{quality}-{draw}.safetensors"


def keep_policies(rows: Sequence[Row]) -> None:
    """Copy the checkpoints that the rules choose to their place, from the folders of their trainings."""
    for (task, draw), chosen in draws(rows).items():
        for quality in ("medium", "best"):
            path = policy_path(task, quality, draw)
            if path.is_file():
                continue
            source = training.work_folder(task, chosen["seed"]) / f"{chosen[quality]}.safetensors"
            mend = "git checkout data/mujoco, or delete the run's rows in data/results/mujoco-training.csv to train it."
            require_data(source.is_file(), path.name, "no such policy, and no training here", "the policy in git", mend)
            with atomic_write(path) as temporary:
                temporary.write_bytes(source.read_bytes())


class Uniform:
    """Uniform actions within the task's bounds."""

    def __init__(self, task: str) -> None:
        space = make_mujoco(task).action_space
        self.low, self.high = torch.as_tensor(space.low.copy()), torch.as_tensor(space.high.copy())

    def __call__(self, observations: Tensor, generator: torch.Generator) -> Tensor:
        draw = torch.rand(len(observations), len(self.low), generator=generator)
        return self.low + (self.high - self.low) * draw


def policy_of(task: str, quality: str, draw: int) -> Any:
    """The policy that a set is recorded with: *random*, *medium* or *best*."""
    if quality == "random":
        return Uniform(task)
    return load_agent(policy_path(task, quality, draw), "cpu").policy()


# ---------------------------------------------------------------- sets
def columns_of(one: Set, steps: int = STEPS) -> Columns:
    """The transitions of a set, with the states they began in."""
    if one.quality == "medium-replay":
        return replay(one)
    if one.quality == "medium-expert":
        halves = (Set(one.task, quality, one.draw) for quality in ("medium", "best"))
        return joined([columns_of(half, steps // 2) for half in halves])
    return record_mujoco(one.task, policy_of(one.task, one.quality, one.draw), steps, one.seed)


def replay(one: Set) -> Columns:
    """What the draw's training saw until its medium checkpoint: from its folder, or by training again."""
    chosen = draws(read_rows(training.STUDY.table))[one.task, one.draw]
    stored = training.work_folder(one.task, chosen["seed"]) / "replay.npz"
    if stored.is_file():
        with np.load(stored, allow_pickle=False) as file:
            return joined([{name: file[name] for name in file.files}], chosen["medium"])
    print(f"  {one.id}: training again, seed {chosen['seed']}, {chosen['medium']} steps", flush=True)
    return training.train(one.task, chosen["seed"], chosen["medium"])


def digest(columns: Columns) -> str:
    """SHA-256 of the float32 columns of a set, in the order of their names."""
    sums = hashlib.sha256()
    for name in sorted(set(columns) - {"qpos", "qvel"}):
        kind = np.bool_ if columns[name].dtype == bool else np.float32
        sums.update(np.ascontiguousarray(columns[name], dtype=kind).tobytes())
    return sums.hexdigest()


def facts(one: Set, columns: Columns, chosen: dict[str, int]) -> dict[str, Any]:
    """The row of a set. Returns are those of whole episodes: one that the recording cut is not counted."""
    ends = np.flatnonzero(columns["terminations"] | columns["truncations"]) + 1
    parts = np.split(columns["rewards"].astype(np.float64), ends[:-1])
    lengths = np.array([len(part) for part in parts])
    whole = columns["terminations"][ends - 1] | (lengths == 1000)
    returns = np.array([part.sum() for part in parts])[whole]
    stored = "best" if one.quality == "best" else "medium"
    step = "" if one.quality in ("random", "medium-expert") else chosen[stored]
    mean = float(returns.mean())
    return {
        "id": one.id, "task": one.task, "quality": one.quality, "draw": one.draw,
        "training_seed": "" if one.quality == "random" else chosen["seed"], "step": step,
        "transitions": len(columns["rewards"]), "episodes": len(parts), "whole": int(whole.sum()),
        "length": float(lengths[whole].mean()), "return": mean, "sd": float(returns.std(ddof=1)),
        "least": float(returns.min()), "most": float(returns.max()), "score": d4rl_score(one.task, mean),
        "terminations": int(columns["terminations"].sum()), "truncations": int(columns["truncations"].sum()),
        "sha256": digest(columns),
    }  # fmt: skip


COLUMNS = (
    "id", "task", "quality", "draw", "training_seed", "step", "transitions", "episodes", "whole", "length", "return",
    "sd", "least", "most", "score", "terminations", "truncations", "sha256",
)  # fmt: skip


def compare(row: dict[str, Any], stored: Row) -> str:
    """What a set made again says beside the committed row: equal, within the tolerances, or beyond them.

    The mean return may differ by five standard errors of the difference, the standard deviation by a half. A replay has
    no tolerance: on another machine it is another training.
    """
    if row["sha256"] == stored["sha256"]:
        return "equal to the committed one, bit for bit"
    if row["quality"] == "medium-replay":
        return f"another training than the committed one: mean return {row['return']:.1f} for {stored['return']}"
    sd, sd_before = row["sd"], float(stored["sd"])
    error = math.sqrt(sd**2 / row["whole"] + sd_before**2 / int(stored["whole"]))
    apart = abs(row["return"] - float(stored["return"]))
    within = apart <= 5 * error and abs(sd - sd_before) <= sd_before / 2
    verdict = "within the tolerances" if within else "BEYOND the tolerances"
    return (
        f"not equal, {verdict}: mean return {row['return']:.1f} for {stored['return']}, sd {sd:.1f} for {stored['sd']}"
    )


def make_set(one: Set, rows: list[Row]) -> None:
    """Make one set, compare it with its row or add that, and keep its evaluation states if it has none."""
    chosen: dict[str, int] = {}
    if one.quality != "random":
        chosen = draws(read_rows(training.STUDY.table))[one.task, one.draw]
    columns = columns_of(one)
    row = facts(one, columns, chosen)
    low, high = REFERENCE_RETURNS[one.task]
    space = make_mujoco(one.task).action_space
    about = f"{QUALITIES[one.quality]}; D4RL's score of its whole episodes is {row['score']:.1f}"
    dataset_of_columns(columns, space.low, space.high, id=one.id).to_minari(
        one.id,
        DATA,
        description=about,
        author=AUTHOR,
        algorithm_name="uniform" if one.quality == "random" else "SAC",
        requirements=["mujoco==3.5.0"],
        environment=mujoco_id(one.task),
        overwrite=True,
        extra={
            "ref_min_score": low, "ref_max_score": high, "score": row["score"], "draw": one.draw,
            "training_seed": row["training_seed"], "step": row["step"],
            "made_by": f"cql-tutorial {__version__}, python -m experiments mujoco_data",
        },
    )  # fmt: skip
    stored = next((other for other in rows if other["id"] == one.id), None)
    print(f"  {one.id}: {row['transitions']} transitions, score {row['score']:.1f}", end="", flush=True)
    print(f"; {compare(row, stored)}" if stored else "", flush=True)
    if stored is None:
        rows.append({name: str(value) for name, value in row.items()})
        places = {id: place for place, id in enumerate(SETS)}
        rows.sort(key=lambda other: places[other["id"]])
        write_rows(TABLE, COLUMNS, [{**other} if other["id"] != one.id else row for other in rows])
        rows[:] = read_rows(TABLE)
        keep_states(one, columns)


# ---------------------------------------------------------------- evaluation states
def keep_states(one: Set, columns: Columns) -> None:
    """Add 200 of the set's rows, drawn without replacement, to the file of evaluation states."""
    from safetensors.numpy import load_file, save_file

    stored = load_file(STATES) if STATES.is_file() else {}
    rows = np.sort(np.random.default_rng(STATES_A_SET).choice(len(columns["rewards"]), STATES_A_SET, replace=False))
    stored |= {
        f"{one.id}/rows": rows,
        f"{one.id}/observations": columns["observations"][rows].astype(np.float32),
        f"{one.id}/qpos": columns["qpos"][rows],
        f"{one.id}/qvel": columns["qvel"][rows],
    }
    with atomic_write(STATES) as temporary:
        save_file({name: stored[name] for name in sorted(stored)}, temporary)


def evaluation_states(id: str) -> dict[str, np.ndarray]:
    """Of 200 rows of a set: ``rows [200]``, ``observations [200, S]`` float32, ``qpos [200, Q]``, ``qvel [200, V]``.

    They are in git, so that every machine measures true values at the same states; the rows are those of the set as it
    was made on the machine that the data sheet names.
    """
    from safetensors.numpy import load_file

    one = find_set(id)
    stored = load_file(STATES) if STATES.is_file() else {}
    found = {name.rpartition("/")[2]: value for name, value in stored.items() if name.rpartition("/")[0] == one.id}
    mend = f"python -m experiments mujoco_data --only {one.id}"
    require_data(found, f"evaluation states of {one.id}", "none", f"some in {STATES.name}", mend)
    return found


# ---------------------------------------------------------------- files of others
def take(name: str, source: str) -> str:
    """Take D4RL's HDF5 file, or a Minari id or folder, as ``mujoco/<task>-<quality>-given-v0``; returns that id.

    Raises `ConfigError` for a name that is no ``<task>-<quality>``, `DataError` for data of another task.
    """
    task, _, quality = name.partition("-")
    env_id = mujoco_id(task)
    require(quality in QUALITIES, "--take", name, f"{task}-QUALITY=FILE with {', '.join(QUALITIES)}")
    read = OfflineDataset.from_d4rl_hdf5 if Path(source).suffix in (".hdf5", ".h5") else load_dataset
    data: OfflineDataset = read(source)
    space = make_mujoco(task)
    sizes = space.observation_space.shape[0], space.action_space.shape[0]
    found = data.observations.shape[1], data.actions.shape[1]
    if found != sizes:
        expected = f"{sizes[0]} and {sizes[1]}, as in {env_id}"
        raise DataError(Path(source).name, f"observations and actions of {found[0]} and {found[1]} numbers", expected)
    id = f"mujoco/{task}-{quality}-given-v0"
    data.to_minari(
        id,
        DATA,
        description=f"taken from {Path(source).name}",
        author="see the file it was taken from",
        overwrite=True,
        extra={
            "taken_from": Path(source).name,
            "version_of_its_environment": "see there; not Gymnasium's -v5 if D4RL's",
        },
    )
    return id


@subnormals_as_zero()
def make(only: Iterable[str] = (), taken: Iterable[str] = (), minutes: float = 55, processes: int = 2) -> bool:
    """Train what has no rows, make the sets that are not there (or those of ``only``), write the sheet.

    False if time was up first: nothing is lost, and the next call goes on.
    """
    deadline = time.monotonic() + 60 * minutes
    wanted = [find_set(one) for one in only]
    for given in taken:
        name, _, source = given.partition("=")
        require(source, "--take", given, "TASK-QUALITY=FILE", "for example hopper-medium=hopper_medium-v2.hdf5.")
        print(f"  {take(name, source)}: taken from {Path(source).name}")
    if taken and not wanted:
        return True
    make_mujoco(next(iter(BUDGETS)))  # says at once where MuJoCo is not installed
    torch.set_num_threads(1)  # so that the order of sums does not depend on the machine's cores
    trained = read_rows(training.STUDY.table)
    complete, measured = True, 0
    if any(one.quality != "random" and (one.task, one.draw) not in draws(trained) for one in wanted or SETS.values()):
        measured, complete = run(training.STUDY, processes, deadline, RESULTS)
        trained = read_rows(training.STUDY.table)
    keep_policies(trained)
    there, rows = draws(trained), read_rows(TABLE)
    known = len(rows)
    for one in wanted or SETS.values():
        if (DATA / one.id / "data" / "main_data.hdf5").is_file() and any(row["id"] == one.id for row in rows):
            continue
        trained_for = one.quality == "random" or (one.task, one.draw) in there
        if not trained_for or time.monotonic() >= deadline:
            complete = False
            continue
        make_set(one, rows)
    if rows:
        from experiments.mujoco_sheet import write_sheet  # it reads the names above

        write_sheet(renew=len(rows) > known or measured > 0)
    return complete
