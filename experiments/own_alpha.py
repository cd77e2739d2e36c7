"""Each penalty at an alpha of its own: whether a penalty's form matters once its strength is chosen by the same rule.

In the table of pitfalls every penalty is trained at the alpha that suits the correct one, so that form and strength
differ together. Here each has its own: of a ladder of alphas, the one with the largest mean return over the tuning
draws (the larger alpha where two are equal). Three alphas are tried first, and the next one outside while the best
stands at an end, so a second maximum far away would be missed. Reported are other draws. Tasks come one after the
other, so that a table that is not finished holds whole tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import mean
from typing import Any

from cql_tutorial.course.wrong_penalties import PITFALLS
from experiments.runner import Study, place
from experiments.storage import Row
from experiments.wrong_penalties import COLUMNS, KEYS, REPORTED, TUNING, Job, measure, population_key

SHAPES = ("correct", "mixture", *PITFALLS)
LADDER = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
# Around the best alpha of the correct penalty. Without bandit-1, where the forms hardly differ in return.
FIRST = {
    "arm-narrow": (0.3, 1.0, 3.0),
    "arm-mixed": (0.3, 1.0, 3.0),
    "bandit-6": (0.03, 0.1, 0.3),
    "maze": (0.03, 0.1, 0.3),
}
EXTENSIONS = 3  # times that the alphas tried may grow by one


def tuning_returns(rows: list[Row], task: str, shape: str) -> dict[float, float]:
    """Mean return over the tuning draws of every alpha that has all of them; minus infinity if a run diverged."""
    found: dict[float, dict[str, float]] = {}
    for row in rows:
        if (row["task"], row["variant"], row["split"]) == (task, shape, "tune"):
            value = float(row["return"]) if row["return"] else float("-inf")
            found.setdefault(float(row["cql_alpha"]), {})[row["draw"]] = value
    return {alpha: mean(of.values()) for alpha, of in sorted(found.items()) if len(of) == len(TUNING)}


def own_alpha(rows: list[Row], task: str, shape: str) -> float | None:
    """The alpha with the largest mean return over the tuning draws, the larger of two that tie; None before tuning."""
    means = tuning_returns(rows, task, shape)
    if not set(FIRST[task]) <= set(means):
        return None
    return max(means, key=lambda alpha: (means[alpha], alpha))


def next_alpha(rows: list[Row], task: str, shape: str) -> float | None:
    """The next alpha of the ladder beyond the end at which the best one stands; None if it stands at no end."""
    best, tried = own_alpha(rows, task, shape), tuning_returns(rows, task, shape)
    if best is None or min(tried) < best < max(tried):
        return None
    there = LADDER.index(best) + (1 if best == max(tried) else -1)
    return LADDER[there] if 0 <= there < len(LADDER) else None


def first_jobs(task: str, rows: Sequence[Row] = ()) -> Iterator[Job]:
    """Every shape at the first three alphas, on the tuning draws."""
    return (Job(task, shape, alpha, draw) for shape in SHAPES for alpha in FIRST[task] for draw in TUNING)


def extension_jobs(task: str, rows: list[Row]) -> Iterator[Job]:
    """The shapes whose best alpha stands at an end, at the next one."""
    for shape in SHAPES:
        alpha = next_alpha(rows, task, shape)
        if alpha is not None:
            yield from (Job(task, shape, alpha, draw) for draw in TUNING)


def reported_jobs(task: str, rows: list[Row]) -> Iterator[Job]:
    """Every shape at its own alpha, on the reported draws."""
    for shape in SHAPES:
        alpha = own_alpha(rows, task, shape)
        if alpha is not None:
            yield from (Job(task, shape, alpha, draw) for draw in REPORTED)


def later_stages() -> Iterator[Callable[[list[Row]], Iterator[Job]]]:
    """The stages after the first: task by task, extensions, the reported draws, then the next task."""
    for number, task in enumerate(FIRST):
        if number > 0:
            yield partial(first_jobs, task)
        yield from [partial(extension_jobs, task)] * EXTENSIONS
        yield partial(reported_jobs, task)


def order(row: Row) -> tuple[Any, ...]:
    """Task by task, shape by shape, tuning first."""
    places = place(row["task"], FIRST), place(row["variant"], SHAPES)
    return (*places, row["split"] == "report", float(row["cql_alpha"]), int(row["draw"]))


STUDY = Study(
    table="pitfalls-own",
    columns=COLUMNS,
    keys=KEYS,
    jobs=lambda: first_jobs(next(iter(FIRST))),
    later_jobs=tuple(later_stages()),
    measure=measure,
    population_key=population_key,
    order=order,
)
