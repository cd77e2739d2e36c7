"""The README's picture: what offline SAC and CQL predict along training on Pendulum medium, beside the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cql_tutorial import History, fit_population
from cql_tutorial.envs import Pendulum
from cql_tutorial.evaluation import Evaluator
from experiments.headline import DISCOUNT, chosen_alpha
from experiments.logs import pendulum_data
from experiments.runner import Study
from experiments.settings import BATCH_SIZE, CQL, NETWORK, SAC, initial_value
from experiments.storage import RESULTS, read_rows

SEEDS, STEPS, EVERY = (0, 1, 2), 4000, 250
COLUMNS = (
    "algorithm", "cql_alpha", "seed", "step", "return", "predicted", "predicted_p90", "true", "true_half_width",
    "estimation_error", "share_over", "share_impossible",
)  # fmt: skip
KEYS = COLUMNS[:3]


@dataclass(frozen=True)
class Job:
    """One run: a row every 250 updates."""

    algorithm: str
    cql_alpha: str
    seed: int


def jobs() -> Iterator[Job]:
    """Three seeds of offline SAC, and of CQL at the alpha that the headline table chose."""
    for algorithm, alpha in (("sac", ""), ("cql", chosen_alpha("pendulum-medium"))):
        for seed in SEEDS:
            yield Job(algorithm, alpha, seed)


def population_key(job: Job) -> str:
    """The seeds of an algorithm are trained together."""
    return job.algorithm


def measure(jobs: list[Job]) -> list[dict[str, Any]]:
    """Prediction and truth along the runs of one algorithm, on the first Pendulum medium set."""
    torch.set_num_threads(1)
    algorithm, alpha = jobs[0].algorithm, jobs[0].cql_alpha
    data = pendulum_data(0)
    settings = {**(SAC if algorithm == "sac" else {**CQL, "cql_alpha": float(alpha)}), "actor_lr": 5e-4}
    settings |= {**NETWORK, "discount": DISCOUNT, "initial_value": initial_value(data, DISCOUNT)}
    dims = {"state_dim": 3, "action_dim": 1, "action_low": -2.0, "action_high": 2.0}
    configs = [{**dims, **settings, "seed": job.seed} for job in jobs]
    members = fit_population(
        algorithm,
        configs,
        data,
        STEPS,
        batch_size=BATCH_SIZE,
        log_every=STEPS,
        evaluate=Evaluator(Pendulum(), data),
        eval_every=EVERY,
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
    """Draw the picture from the rows."""
    from cql_tutorial.course.figures import prediction_and_truth

    rows = read_rows("signature", folder)
    alpha = next(row["cql_alpha"] for row in rows if row["algorithm"] == "cql")
    runs: dict[str, list[History]] = {}
    for algorithm, label in (("sac", "offline SAC (no penalty)"), ("cql", f"CQL, cql_alpha = {alpha}")):
        for seed in SEEDS:
            mine = [row for row in rows if (row["algorithm"], row["seed"]) == (algorithm, str(seed))]
            numbers: list[dict[str, float]] = [{k: float(row[k]) for k in COLUMNS[len(KEYS) :]} for row in mine]
            runs.setdefault(label, []).append(History(numbers))
    figure = prediction_and_truth(runs)
    figure.savefig(folder / "signature.png", dpi=110)
    print(figure)
