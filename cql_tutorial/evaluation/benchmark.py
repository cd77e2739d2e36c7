"""`benchmark`: the runs of a suite under a preset, each resumed from its own checkpoint, a row of the table each.

A run's row is written as soon as it is measured, so that a benchmark that was killed goes on where it was. Engines say
where the runs are made: processes of this machine (`on_processes`), or a cluster (`cluster.on_ray`).
"""

from __future__ import annotations

import csv
import json
import math
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..agents import AGENTS, make_agent
from ..datasets.offline_dataset import OfflineDataset, load_dataset
from ..envs.spaces import check_env
from ..errors import ConfigError, DivergedError, check_int, require
from ..fast.as_built import differences, has_faster_form
from ..fast.fused import PER_MEMBER_SETTINGS
from ..files import atomic_write
from ..training.offline import History, fit
from ..training.population import BLOCK, Member, fit_population
from .benchmark_presets import Setting, Task, find_task, preset_setting, suite_tasks, task_of_file
from .off_policy import initial_state_value
from .rollouts import EVALUATION_SEED, evaluate_env

Row = dict[str, Any]
JobT = TypeVar("JobT")
COLUMNS = (
    "preset", "task", "environment", "data", "fingerprint", "algorithm", "cql_alpha", "seed", "steps", "episodes",
    "return", "score", "predicted", "log_return", "log_score", "seconds", "note", "settings",
)  # fmt: skip
KEYS = ("preset", "task", "fingerprint", "algorithm", "cql_alpha", "seed", "steps", "episodes", "settings")
Engine = Callable[[Callable[[list["Run"]], list[Row]], list[list["Run"]]], Iterator[list[Row]]]


@dataclass(frozen=True)
class Run:
    """One run: an algorithm with one seed on one log."""

    preset: str
    task: Task
    data: str
    fingerprint: str
    algorithm: str
    seed: int
    setting: Setting

    @property
    def cql_alpha(self) -> Any:
        """CQL's weight, "" where there is none."""
        return self.setting.settings.get("cql_alpha", "")

    @property
    def name(self) -> str:
        """What its checkpoint is called, below the benchmark's folder."""
        alpha = f"-alpha{self.cql_alpha:g}" if self.cql_alpha != "" else ""
        algorithm = self.algorithm.replace("%", "-percent-")
        return f"{self.preset}-{self.task.name}-{self.fingerprint[:8]}-{algorithm}{alpha}-seed{self.seed}"

    def record(self) -> Row:
        """What its row says before it has run."""
        setting = self.setting
        said = {**setting.settings, "batch_size": setting.batch_size, "rewards": setting.rewards}
        return {
            "preset": self.preset, "task": self.task.name, "environment": self.task.environment.id, "data": self.data,
            "fingerprint": self.fingerprint, "algorithm": self.algorithm, "cql_alpha": self.cql_alpha,
            "seed": self.seed, "steps": setting.steps, "episodes": setting.episodes,
            "settings": json.dumps({**said, "initial_value": setting.initial_value}),
        }  # fmt: skip


# ---------------------------------------------------------------- which runs
def plan(
    suite: str,
    preset: str,
    tasks: Sequence[str],
    algorithms: Sequence[str],
    seeds: Sequence[int],
    data: Sequence[str] = (),
    alphas: Sequence[float] = (),
    **changes: Any,
) -> list[Run]:
    """Every run of a benchmark, after a look at each environment and each log: what cannot run is said before any does.

    ``data`` are files or Minari ids, ``TASK=FILE`` where the name does not tell the task; without them each task's own
    sets are taken. ``alphas`` (CQL's, one run each) and ``changes`` (``steps``, ``episodes``, ``batch_size``, or a
    setting of the agents, such as ``hidden_dim``) replace the preset's. Raises `ConfigError` for an unknown suite,
    preset, task or algorithm, a task with a version, a simulator that is missing or does not fit the log, and
    `DatasetNotFoundError`.
    """
    suite_tasks(suite)
    require(seeds and len(set(seeds)) == len(seeds), "seeds", list(seeds), "whole numbers, each once")
    named = [find_task(suite, task) for task in tasks]
    for algorithm in algorithms:
        for task in named:
            preset_setting(preset, task, algorithm)
    given = [task_of_file(suite, entry) for entry in data]
    pairs = [(task, one) for task, one in given if not named or task in named] if data else []
    pairs = pairs if data else [(task, one) for task in named for one in task.data]
    for task in named:
        mend = f"pass a file or a Minari id: --data {task.name}=FILE."
        if not data and not task.data:
            raise ConfigError("tasks", repr(task.name), "a task that this package makes data for", mend)
        require(any(task == one for one, _ in pairs), "data", list(data), f"a log of {task.name}", mend)
    runs = []
    for task, source in pairs:
        dataset = load(source)
        check_fit(task, dataset)
        fingerprint = dataset.fingerprint()
        for algorithm in algorithms:
            setting = _changed(preset_setting(preset, task, algorithm), changes)
            for one in _with_alphas(setting, alphas):
                runs += [Run(preset, task, source, fingerprint, algorithm, seed, one) for seed in seeds]
    return runs


def _changed(setting: Setting, changes: dict[str, Any]) -> Setting:
    """The setting with what is not None in ``changes``."""
    own = {name: value for name, value in changes.items() if value is not None}
    names = [name for name in ("steps", "episodes", "batch_size") if name in own]
    outer: dict[str, Any] = {name: check_int(name, own.pop(name), 1) for name in names}
    return replace(setting, **outer, settings={**setting.settings, **own})


def _with_alphas(setting: Setting, alphas: Sequence[float]) -> list[Setting]:
    if "cql_alpha" not in setting.settings or not alphas:
        return [setting]
    return [replace(setting, settings={**setting.settings, "cql_alpha": float(alpha)}) for alpha in alphas]


@lru_cache(4)
def load(source: str) -> OfflineDataset:
    """A log by file or Minari id; the last few are kept."""
    return load_dataset(source)


def make_environment(task: Task) -> Any:
    """The task's simulator; `ConfigError` that names the extra where it is not installed."""
    import gymnasium

    try:
        return gymnasium.make(task.environment.id)
    except (gymnasium.error.Error, ImportError) as error:
        found = f"{type(error).__name__}: {error}".splitlines()[0]
        extra = f"pip install 'cql-tutorial[{task.environment.extra}]'" if task.environment.extra else "check gymnasium"
        mend = f"{extra}; --show prints settings without a simulator."
        raise ConfigError(task.environment.id, found, "an environment that Gymnasium can make", mend) from error


def check_fit(task: Task, dataset: OfflineDataset) -> None:
    """Raise `ConfigError` unless the simulator is there and has the log's observations and actions."""
    env = make_environment(task)
    bounds = dataset.action_low, dataset.action_high
    try:
        check_env(env, dataset.observation_dim, dataset.action_dim, dataset.discrete, *bounds)
    finally:
        env.close()


# ---------------------------------------------------------------- some runs
def agent_config(setting: Setting, dataset: OfflineDataset, seed: int, device: str = "auto") -> dict[str, Any]:
    """What `make_agent` builds a run's agent of: the setting, and what the data say."""
    config: dict[str, Any] = {
        **setting.settings,
        "state_dim": dataset.observation_dim,
        "action_dim": dataset.action_dim,
        "action_low": dataset.action_low,
        "action_high": dataset.action_high,
        "device": device,
        "seed": seed,
    }
    if setting.rewards == "return range":
        returns = dataset.episode_returns()
        config["reward_scale"] = 1000.0 / float(returns.max() - returns.min())
    if setting.initial_value == "mean reward":
        config["initial_value"] = float(dataset.rewards.mean()) / (1.0 - config["discount"])
    return config


def train(
    runs: Sequence[Run],
    folder: Path | None = None,
    device: str = "auto",
    evaluate: Callable[[Any], dict[str, float]] | None = None,
    eval_every: int = 0,
    checkpoint_every: int = 5000,
) -> list[Member]:
    """Train the agents of runs with one setting (seeds, alphas and logs may differ), resumed where they stood.

    Several agents that have a stacked form are trained as one, any other by `fit`. ``folder`` is where the checkpoints
    are; without it nothing is kept. ``evaluate`` adds a row to the history every ``eval_every`` updates.
    """
    logs = [load(run.data) for run in runs]
    setting = runs[0].setting
    configs = [agent_config(run.setting, log, run.seed, device) for run, log in zip(runs, logs, strict=True)]
    paths = [None if folder is None else folder / f"{run.name}.safetensors" for run in runs]
    options: dict[str, Any] = {
        "batch_size": setting.batch_size,
        "log_every": 1000,
        "evaluate": evaluate if eval_every else None,
        "eval_every": eval_every or setting.steps,
        "checkpoint_every": checkpoint_every,
        "progress": False,
    }
    if len(runs) > 1:
        some = None if folder is None else [path for path in paths if path is not None]
        return fit_population(setting.agent, configs, logs, setting.steps, checkpoint=some, **options)
    agent = make_agent(setting.agent, configs[0])
    fast = next(differences(agent), None) is None
    rows: list[History] = []
    options |= {"seed": runs[0].seed, "checkpoint": paths[0], "on_row": rows.append, "fast": fast}
    try:
        return [Member(agent, fit(agent, logs[0], setting.steps, **options))]
    except DivergedError as error:
        return [Member(agent, rows[-1] if rows else History(), error)]


def measure(
    runs: list[Run], folder: Path | None = None, device: str = "auto", eval_every: int = 0, checkpoint_every: int = 5000
) -> list[Row]:
    """Train some runs of one setting and judge each at its end: the rows of the table, one a run.

    ``return`` is the mean over episodes of the deterministic policy from start states common to all runs, ``score`` the
    same normalised, ``predicted`` the agent's own value of the log's start states.
    """
    torch.set_num_threads(1)
    env = make_environment(runs[0].task)
    task, episodes = runs[0].task, runs[0].setting.episodes

    def evaluate(agent: Any) -> dict[str, float]:
        value = float(evaluate_env(env, agent, episodes, EVALUATION_SEED).mean())
        return {"return": value, "score": task.environment.score(value)}

    rows = []
    for run, member in zip(runs, train(runs, folder, device, evaluate, eval_every, checkpoint_every), strict=True):
        log = load(run.data)
        row = run.record() | {"log_return": float(log.episode_returns().double().mean())}
        row |= {"log_score": task.environment.score(row["log_return"]), "seconds": round(member.history.seconds, 1)}
        if member.diverged is not None:
            rows.append(row | {"note": f"diverged: {member.diverged.field} {member.diverged.found}"})
            continue
        row |= evaluate(member.agent)
        if hasattr(member.agent, "q_values"):
            row["predicted"] = initial_state_value(member.agent, log).value
        if folder is not None and eval_every:
            member.history.to_csv(folder / f"{run.name}.csv")
        rows.append(row)
    env.close()
    return rows


def group(runs: Iterable[Run], together: bool) -> list[list[Run]]:
    """Runs that are trained as one program: agents that have a stacked form, equal but for what may differ there."""
    groups: list[list[Run]] = []
    open_groups: dict[Any, list[Run]] = {}
    for run in runs:
        setting = run.setting
        shared = {name: value for name, value in setting.settings.items() if name not in PER_MEMBER_SETTINGS}
        outer = (setting.agent, setting.steps, setting.batch_size, setting.episodes, setting.rewards)
        key = json.dumps([*outer, run.task.name, run.data, shared])
        stacked = together and has_faster_form(AGENTS[setting.agent][0]) and not shared.get("layer_norm")
        if not stacked or key not in open_groups or len(open_groups[key]) == BLOCK:
            groups.append([])
            open_groups[key] = groups[-1]
        open_groups[key].append(run)
    return groups


# ---------------------------------------------------------------- all of them
def on_processes(
    work: Callable[[list[JobT]], list[Row]],
    groups: Sequence[list[JobT]],
    processes: int = 1,
    deadline: float = math.inf,
) -> Iterator[list[Row]]:
    """The rows of each group as soon as they are there; no group is begun after the deadline (of `time.monotonic`).

    With one process they are made in this one.
    """
    if processes == 1:
        for group in groups:
            if time.monotonic() >= deadline:
                return
            yield work(group)
        return
    waiting, running = deque(groups), set[Future[list[Row]]]()
    # "spawn": a forked child of a process that has run torch can hang in its thread pool.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        while True:
            while waiting and len(running) < processes and time.monotonic() < deadline:
                running.add(pool.submit(work, waiting.popleft()))
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)


def run_benchmark(
    runs: Sequence[Run],
    folder: Path,
    engine: Engine = on_processes,
    together: bool = True,
    say: Callable[[str], None] = print,
    **options: Any,
) -> list[Row]:
    """Make the runs whose rows are not in ``folder/rows.csv`` yet and return the rows of all, in the order of ``runs``.

    ``options`` are those of `measure`. Checkpoints of the runs are in ``folder/runs``.
    """
    rows = read_rows(folder)
    present = {key_of(row) for row in rows}
    missing = [run for run in runs if key_of(run.record()) not in present]
    say(f"{len(runs) - len(missing)} runs are there, {len(missing)} to make")
    work = partial(measure, folder=folder / "runs", **options)
    for made in engine(work, group(missing, together)):
        rows += [{name: to_text(row.get(name, "")) for name in COLUMNS} for row in made]
        write_rows(folder, rows)
        for row in made:
            found = f"score {row['score']:.1f}" if "score" in row else row["note"]
            alpha = f" alpha {row['cql_alpha']:g}" if row["cql_alpha"] != "" else ""
            say(f"  {row['task']} {row['algorithm']}{alpha} seed {row['seed']}: {found} ({row['seconds']:g} s)")
    by_key = {key_of(row): row for row in rows}
    return [by_key[key_of(run.record())] for run in runs]


def key_of(row: Row) -> tuple[str, ...]:
    """What tells a run's row from those of other runs; the name of the file is not in it, its content is."""
    return tuple(to_text(row[name]) for name in KEYS)


def to_text(value: Any) -> str:
    """A cell: a float with six digits, "" for nan, everything else as Python prints it."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def read_rows(folder: Path) -> list[Row]:
    """The rows of a benchmark's folder as texts; none where there is no file yet."""
    path = folder / "rows.csv"
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(folder: Path, rows: Iterable[Row]) -> None:
    """Write all rows, whole or not at all."""
    with atomic_write(folder / "rows.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
