"""How every result table is measured: a `Study` says which runs there are and how some are measured, `run` does it.

A run whose rows are in the file is not measured again. Rows are written as soon as they are measured, whole tables at
a time, so that a program that was killed loses only what it was measuring.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from cql_tutorial.evaluation.benchmark import on_processes
from cql_tutorial.training.population import BLOCK
from experiments.storage import RESULTS, Row, read_rows, to_text, write_rows

JobT = TypeVar("JobT")
Key = tuple[str, ...]


@dataclass(frozen=True)
class Study(Generic[JobT]):
    """A result table: its jobs (one run each) and how they are measured.

    A job has an attribute for each of `keys`, the columns that tell its rows from those of other jobs; it may have
    several rows. `measure` runs in a process of its own and takes the jobs of one group.
    """

    table: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    jobs: Callable[[], Iterable[JobT]]
    measure: Callable[[list[JobT]], list[dict[str, Any]]]
    later_jobs: tuple[Callable[[list[Row]], Iterable[JobT]], ...] = ()
    """Jobs whose settings follow from the rows of those before, such as a tuned alpha: a function a stage."""
    population_key: Callable[[JobT], Hashable | None] = lambda job: None
    """Equal for jobs that are measured in one group; None, by default, for a job that is measured alone."""
    group_size: int = BLOCK
    """Jobs of a group at most: by default as many as `fit_population` updates together."""
    order: Callable[[Row], Any] | None = None
    """Sort key of the rows in the file; by default they stand in the order of the jobs."""
    shown: tuple[str, ...] = ("return", "estimation_error")
    """Columns that are printed when a row is there."""

    def stages(self) -> Iterator[Callable[[list[Row]], Iterable[JobT]]]:
        """Every stage as a function of the rows of the stages before it."""
        yield lambda rows: self.jobs()
        yield from self.later_jobs

    def key_of_job(self, job: JobT) -> Key:
        """What its rows can be told by."""
        return tuple(to_text(getattr(job, name)) for name in self.keys)

    def key_of_row(self, row: Mapping[str, Any]) -> Key:
        """The key of the job that the row is of."""
        return tuple(to_text(row[name]) for name in self.keys)

    def rows_of(self, jobs: Iterable[JobT], rows: Iterable[Row]) -> list[Row]:
        """Those rows that are of one of the jobs."""
        keys = {self.key_of_job(job) for job in jobs}
        return [row for row in rows if self.key_of_row(row) in keys]

    def all_jobs(self, rows: list[Row]) -> list[JobT]:
        """The jobs of every stage, told from a complete table."""
        jobs: list[JobT] = []
        for stage in self.stages():
            jobs += list(stage(self.rows_of(jobs, rows)))
        return jobs

    def sort_rows(self, rows: Iterable[Row], jobs: Iterable[JobT]) -> list[Row]:
        """The rows as they stand in the file; those of no job come last."""
        if self.order is not None:
            return sorted(rows, key=self.order)
        places = {self.key_of_job(job): place for place, job in enumerate(jobs)}
        return sorted(rows, key=lambda row: places.get(self.key_of_row(row), len(places)))


class Progress(NamedTuple):
    """What `run` did: rows that it measured, and whether none is missing any more."""

    measured: int
    complete: bool


def run(study: Study[Any], processes: int = 2, deadline: float = math.inf, folder: Path = RESULTS) -> Progress:
    """Measure the jobs whose rows are missing, stage by stage, until the deadline (of `time.monotonic`)."""
    rows = read_rows(study.table, folder)
    jobs: list[Any] = []
    count = 0
    for stage in study.stages():
        jobs += list(stage(study.rows_of(jobs, rows)))
        present = {study.key_of_row(row) for row in rows}
        missing = [job for job in jobs if study.key_of_job(job) not in present]
        print(f"{study.table}: {len(jobs) - len(missing)} runs are there, {len(missing)} to measure", flush=True)
        groups = group_jobs(missing, study.population_key, study.group_size)
        for measured in on_processes(study.measure, groups, processes, deadline):
            new = [{name: to_text(row.get(name, "")) for name in study.columns} for row in measured]
            rows += new
            count += len(new)
            write_rows(study.table, study.columns, study.sort_rows(rows, jobs), folder)
            first_rows = {study.key_of_row(row): row for row in reversed(new)}
            for row in reversed(first_rows.values()):
                print(f"  {describe_row(study, row)}", flush=True)
        present = {study.key_of_row(row) for row in rows}
        if any(study.key_of_job(job) not in present for job in missing):
            print(f"{study.table}: time is up; run again to go on", flush=True)
            return Progress(count, complete=False)
    kept = study.rows_of(jobs, rows)
    if len(kept) < len(rows):
        print(f"{study.table}: {len(rows) - len(kept)} rows are of no run any more and are left out", flush=True)
        write_rows(study.table, study.columns, study.sort_rows(kept, jobs), folder)
    return Progress(count, complete=True)


def describe_row(study: Study[Any], row: Row) -> str:
    """One line: which job, and what was found."""
    found = [f"{name} {float(row[name]):.4g}" for name in study.shown if row.get(name)]
    took = f" ({row['seconds']} s)" if row.get("seconds") else ""
    return f"{' '.join(filter(None, study.key_of_row(row)))}: {', '.join(found) or 'diverged'}{took}"


def place(value: Any, among: Iterable[Any]) -> int:
    """Where a value stands among others, for `Study.order`; one that is none of them comes last."""
    places = {other: number for number, other in enumerate(among)}
    return places.get(value, len(places))


def group_jobs(
    jobs: Iterable[JobT], population_key: Callable[[JobT], Hashable | None], most: int = BLOCK
) -> list[list[JobT]]:
    """Jobs in groups of one key, of at most ``most``; a job whose key is None is a group of its own."""
    groups: list[list[JobT]] = []
    last: dict[Hashable, list[JobT]] = {}
    for job in jobs:
        key = population_key(job)
        if key is None or key not in last or len(last[key]) == most:
            groups.append([])
            last[key] = groups[-1]
        last[key].append(job)
    return groups
