"""Prediction beside truth along training: what offline SAC and CQL predict on two logs, for two pictures.

The README draws the maze. Chapter 00 draws Pendulum, after a guess that no picture before it may give away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cql_tutorial import OfflineDataset, fit_population
from cql_tutorial.envs import Maze, Pendulum
from cql_tutorial.evaluation import Evaluator
from experiments.headline import DISCOUNT
from experiments.logs import maze_data, pendulum_data
from experiments.runner import Study
from experiments.settings import BATCH_SIZE, CQL, NETWORK, SAC, initial_value
from experiments.storage import RESULTS, read_rows

SEEDS = (0, 1, 2)
COLUMNS = (
    "task", "algorithm", "cql_alpha", "seed", "step", "return", "predicted", "predicted_p90", "true",
    "true_half_width", "estimation_error", "share_over", "share_impossible",
)  # fmt: skip
KEYS = COLUMNS[:4]


@dataclass(frozen=True)
class Task:
    """A world, its log (the first draw that the headline table reports), and how its agents train."""

    world: type[Maze] | type[Pendulum]
    data: Callable[[], OfflineDataset]
    steps: int
    cql_alpha: str  # from the middle of the headline table's ladder, which has the others too
    settings: dict[str, Any]


TASKS = {
    "maze": Task(
        Maze,
        lambda: maze_data(1000),
        2000,
        "0.1",
        {"state_dim": 2, "action_dim": 2, "action_low": -1.0, "action_high": 1.0, "actor_lr": 1e-3},
    ),
    "pendulum-medium": Task(
        Pendulum,
        lambda: pendulum_data(0),
        4000,
        "5",
        {"state_dim": 3, "action_dim": 1, "action_low": -2.0, "action_high": 2.0, "actor_lr": 5e-4},
    ),
}


@dataclass(frozen=True)
class Job:
    """One run: a row after each sixteenth of its updates."""

    task: str
    algorithm: str
    cql_alpha: str
    seed: int


def jobs() -> Iterator[Job]:
    """On either log three seeds of offline SAC, and of CQL."""
    for name, task in TASKS.items():
        for algorithm, alpha in (("sac", ""), ("cql", task.cql_alpha)):
            for seed in SEEDS:
                yield Job(name, algorithm, alpha, seed)


def population_key(job: Job) -> tuple[str, str]:
    """The seeds of an algorithm on a log are trained together."""
    return job.task, job.algorithm


def measure(jobs: list[Job]) -> list[dict[str, Any]]:
    """Prediction and truth along the runs of one algorithm on one log."""
    torch.set_num_threads(1)
    algorithm, alpha, task = jobs[0].algorithm, jobs[0].cql_alpha, TASKS[jobs[0].task]
    data = task.data()
    settings = SAC if algorithm == "sac" else {**CQL, "cql_alpha": float(alpha)}
    settings = {**settings, **task.settings, **NETWORK, "discount": DISCOUNT}
    settings["initial_value"] = initial_value(data, DISCOUNT)
    members = fit_population(
        algorithm,
        [{**settings, "seed": job.seed} for job in jobs],
        data,
        task.steps,
        batch_size=BATCH_SIZE,
        log_every=task.steps,
        evaluate=Evaluator(task.world(), data),
        eval_every=task.steps // 16,
        progress=False,
    )
    rows = []
    for job, member in zip(jobs, members, strict=True):
        about = {name: getattr(job, name) for name in KEYS}
        evaluated = [row for row in member.history.rows if "predicted" in row]
        rows += [{**about, **{name: row[name] for name in COLUMNS[len(KEYS) :]}} for row in evaluated]
    return rows


STUDY = Study(
    table="signature",
    columns=COLUMNS,
    keys=KEYS,
    jobs=jobs,
    measure=measure,
    population_key=population_key,
    shown=("estimation_error",),
)


def draw(folder: Path = RESULTS) -> None:
    """Draw the README's picture from the rows of the maze."""
    from cql_tutorial.course.figures import prediction_and_truth
    from cql_tutorial.course.studies.common import histories

    runs = histories([row for row in read_rows("signature", folder) if row["task"] == "maze"])
    figure = prediction_and_truth(runs, bound=None)
    figure.savefig(folder / "signature.png", dpi=110)
    print(figure)
