"""`cql-tutorial benchmark`: algorithms on the tasks of a suite, under this package's settings or published ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ..errors import require
from ..evaluation.benchmark import Engine, Row, on_processes, plan, run_benchmark
from ..evaluation.benchmark_presets import (
    ABOUT,
    ALGORITHMS,
    DEFAULT_TASKS,
    Published,
    Setting,
    find_task,
    preset_setting,
    published_scores,
    suite_tasks,
    task_of_file,
)
from ..evaluation.cluster import on_ray
from ..evaluation.intervals import t_interval
from .files import table


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What is run, on which data, and where."""

    suite: Literal["mujoco", "pendulum"] = "mujoco"
    """mujoco needs the extra of that name; pendulum runs on the shipped logs in minutes, to try the command."""
    preset: Literal["ours", "published"] = "ours"
    """ours: small networks and 30,000 updates, for two cores. published: the settings of a published table, 1,000,000
    updates. --show prints either with its sources, and what the sources have that these agents have not."""
    tasks: tuple[str, ...] = ()
    """Tasks of the suite (--list); left out: those of --data, else the suite's usual ones."""
    algorithms: tuple[Literal["bc", "10%bc", "iql", "sac", "cql"], ...] = ("bc", "10%bc", "iql", "sac", "cql")
    """sac is without entropy in the backup: CQL's own critics at alpha 0."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run each."""
    alphas: tuple[float, ...] = ()
    """CQL's weights, one run each, in place of the preset's."""
    data: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[TASK=]FILE")] = ()
    """D4RL HDF5 files or Minari ids; the name tells the task (hopper_medium_expert-v2.hdf5), or TASK= does. Left out:
    the sets that python -m experiments mujoco_data has made."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder of rows.csv and of the runs' checkpoints. Repeat the command to go on after any interruption."""
    steps: int | None = None
    """Updates, in place of the preset's."""
    episodes: int | None = None
    """Episodes of an evaluation, in place of the preset's."""
    batch_size: int | None = None
    """Transitions an update, in place of the preset's."""
    hidden_dim: int | None = None
    """Units of a hidden layer, in place of the preset's."""
    eval_every: int = 0
    """Also evaluate every so many updates, into a CSV file a run (0: only at the end)."""
    checkpoint_every: int = 5000
    """Updates between two checkpoints: what a crash can cost."""
    together: bool = True
    """Train the seeds and alphas of sac and cql as one program: small networks take half the time or less."""
    engine: Literal["processes", "ray"] = "processes"
    """Where the runs are made: processes of this machine, or a Ray cluster (extra ray), a task a run."""
    processes: int = 1
    """Runs at a time, one thread each."""
    address: str | None = None
    """--engine ray: the cluster ("auto": the one that runs on this machine); left out: one of this machine's cores."""
    gpus: float = 0.0
    """--engine ray: share of a GPU that a run takes."""
    device: str = "auto"
    """'auto' takes a GPU where there is one."""
    list: bool = False
    """Print the suite's tasks and algorithms, and run nothing."""
    show: bool = False
    """Print the settings of each task and algorithm with their sources, and run nothing."""


def benchmark(options: BenchmarkOptions) -> int:
    """Run a benchmark, or go on with it, and print its table; return 1 if a run diverged, else 0."""
    if options.list:
        print(overview(options.suite))
        return 0
    for task in options.tasks:
        find_task(options.suite, task)
    asked = options.tasks or tuple(dict.fromkeys(task_of_file(options.suite, one)[0].name for one in options.data))
    tasks = asked or DEFAULT_TASKS[options.suite]
    changes: dict[str, Any] = {
        name: getattr(options, name) for name in ("steps", "episodes", "batch_size", "hidden_dim")
    }
    if options.show:
        print(settings_in_words(options.suite, options.preset, tasks, options.algorithms))
        return 0
    mend = "for example --out runs/benchmark; --list and --show run nothing."
    require(options.out is not None, "--out", None, "a folder for the rows and checkpoints", mend)
    require(options.processes >= 1, "--processes", options.processes, "a whole number >= 1")
    runs = plan(
        options.suite,
        options.preset,
        tasks,
        options.algorithms,
        options.seeds,
        options.data,
        options.alphas,
        **changes,
    )
    on_cluster = options.engine == "ray"
    engine: Engine = partial(on_processes, processes=options.processes)
    if on_cluster:
        engine = partial(on_ray, address=options.address, gpus=options.gpus)
    assert options.out is not None
    rows = run_benchmark(
        runs,
        options.out.absolute(),
        engine,
        together=options.together and not on_cluster,
        device=options.device,
        eval_every=options.eval_every,
        checkpoint_every=options.checkpoint_every,
    )
    print(summary(rows))
    print(f"rows: {options.out / 'rows.csv'}")
    return int(any(row["note"] for row in rows))


def overview(suite: str) -> str:
    """The tasks of a suite, where each is evaluated and which data it takes by itself; the algorithms."""
    rows = [
        {
            "task": task.name,
            "environment": task.environment.id,
            "score 0": task.environment.random,
            "score 100": task.environment.expert,
            "data, if none are passed": " ".join(task.data) or "-",
        }
        for task in suite_tasks(suite).values()
    ]
    return "\n".join([table(rows), "", *(f"{name:<8}{text}" for name, text in ALGORITHMS.items())])


def settings_in_words(suite: str, preset: str, tasks: Sequence[str], algorithms: Sequence[str]) -> str:
    """Every setting of a preset on some tasks, its sources, and what these have that the agents here have not."""
    lines = [f"preset {preset}: {ABOUT[preset]}"]
    for name in tasks:
        task = find_task(suite, name)
        for algorithm in algorithms:
            setting = preset_setting(preset, task, algorithm)
            lines += ["", f"{name}, {algorithm}: {ALGORITHMS[algorithm]}", *_of_setting(setting)]
            lines += [f"  reported  {score:.1f} by {_origin(one)}" for score, one in published_scores(name, algorithm)]
    return "\n".join(lines)


def _of_setting(setting: Setting) -> list[str]:
    values = ", ".join(f"{name}={value}" for name, value in setting.settings.items())
    lines = [f"  agent     {setting.agent}: {values}"]
    lines.append(
        f"  training  {setting.steps:,} updates of {setting.batch_size}, rewards {_rewards(setting)}, critics start at "
        f"{setting.initial_value}; evaluation of {setting.episodes} episodes at the end, deterministic policy"
    )
    return [*lines, *(f"  source    {text}" for text in setting.sources), *(f"  not here  {x}" for x in setting.lacks)]


def _rewards(setting: Setting) -> str:
    scaled = "times 1000 / (largest - smallest return of an episode)"
    return scaled if setting.rewards == "return range" else setting.rewards


def _origin(one: Published) -> str:
    return f"{one.source}; D4RL {one.version} data"


def summary(rows: Sequence[Row]) -> str:
    """The table: score by mean and 95 % t-interval over seeds, every run beside it, and what others have reported."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        key = tuple(str(row[name]) for name in ("task", "data", "algorithm", "cql_alpha"))
        groups.setdefault(key, []).append(row)
    lines: list[Row] = []
    sources: dict[str, None] = {}
    for (task, data, algorithm, alpha), some in groups.items():
        scores = [float(row["score"]) for row in some if row["score"] != ""]
        mean, half = t_interval(scores) if scores else (float("nan"), float("nan"))
        reported = published_scores(task, algorithm)
        sources |= {_origin(one): None for _, one in reported}
        lines.append(
            {
                "task": task,
                "data": Path(data).name if Path(data).suffix else data,
                "algorithm": algorithm,
                "alpha": float(alpha) if alpha else "",
                "score": f"{mean:.1f} ± {half:.1f}" if len(scores) > 1 else f"{mean:.1f}",
                "every run": " ".join(f"{float(row['score']):.1f}" if row["score"] != "" else "x" for row in some),
                "log": f"{float(some[0]['log_score']):.1f}",
                "reported (*)": " / ".join(f"{score:.1f}" for score, _ in reported),
            }
        )
    text = [table(lines), "score: mean over seeds and its 95 % t-interval; x: diverged; log: the log's own episodes"]
    if sources:
        text.append("(*) not comparable unless data, version, updates and evaluation are the same:")
        text += [f"  {source}" for source in sources]
    return "\n".join(text)
