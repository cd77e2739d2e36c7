"""Why the tuned, correct penalty over-estimates on the arm: one setting changed at a time, on the same logs.

In every reported draw of both arm logs the correct penalty at its tuned alpha predicts more than is true. Each variant
here removes one possible cause. Nothing is chosen from these rows, so that tuning draws may serve.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from experiments import wrong_penalties
from experiments.runner import Study, place
from experiments.storage import Row
from experiments.wrong_penalties import COLUMNS, KEYS, Job

TASKS = ("arm-narrow", "arm-mixed")
DRAWS = (100, 101, 102, 103)
ALPHA = 1.0  # the tuned alpha of the correct penalty on both logs
CAUSES = {  # name -> what it is
    "tuned": "the tuned run: alpha 1, actor's step size 1e-3, an adapted temperature, 3,000 updates",
    "slow_actor": "the actor's step size divided by 10",
    "temperature_0.3": "the temperature held at 0.3, several times what the tuned run's adapts to",
    "temperature_1": "the temperature held at 1: the actor follows softmax(Q), of which Theorem 3.2 speaks",
    "longer": "twice the updates",
    "more_candidates": "20 candidates of each proposal in place of 5",
    "push_only": "the pull on the logged actions left out: the penalty is the log-sum-exp alone, as in Equation 1",
}
CHANGES: dict[str, dict[str, Any]] = {
    "slow_actor": {"actor_lr": 1e-4},
    "temperature_0.3": {"alpha": 0.3, "auto_alpha": False},
    "temperature_1": {"alpha": 1.0, "auto_alpha": False},
    "more_candidates": {"cql_n_actions": 20},
    "push_only": {"pitfall": "push_only"},
}


def jobs() -> Iterator[Job]:
    """Every variant on every draw, a log at a time."""
    for task in TASKS:
        for cause in CAUSES:
            for draw in DRAWS:
                yield Job(task, cause, ALPHA, draw, changes=CHANGES.get(cause, {}))


def population_key(job: Job) -> tuple[Any, ...] | None:
    """As in the table of pitfalls; one that trains for longer is in a group of its own."""
    key = wrong_penalties.population_key(job)
    return None if key is None else (*key, job.variant == "longer")


def measure(group: list[Job]) -> list[dict[str, Any]]:
    """As in the table of pitfalls, with twice the updates where these are the change."""
    task = wrong_penalties.TASKS[group[0].task]
    factor = 2 if group[0].variant == "longer" else 1
    return wrong_penalties.measure(group, dataclasses.replace(task, steps=factor * task.steps))


def order(row: Row) -> tuple[Any, ...]:
    """Log by log, variant by variant."""
    return place(row["task"], TASKS), place(row["variant"], CAUSES), int(row["draw"])


STUDY = Study(
    table="pitfalls-causes",
    columns=COLUMNS,
    keys=KEYS,
    jobs=jobs,
    measure=measure,
    population_key=population_key,
    order=order,
)
