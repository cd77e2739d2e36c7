"""Tables of the measured runs: what `make results` prints, and puts into the pages."""

from __future__ import annotations

import csv
import multiprocessing
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from cql_tutorial import History, fit, fit_population, make_agent
from cql_tutorial.agents import AGENTS
from cql_tutorial.errors import DivergedError
from cql_tutorial.evaluation import t_interval
from cql_tutorial.fast.as_built import has_faster_form
from cql_tutorial.training.population import BLOCK, Member

JobT = TypeVar("JobT")
RowT = TypeVar("RowT")  # what one measurement gives: a row, or several
AGAIN = "-again"  # a table's runs once more
RESULTS = Path(__file__).resolve().parents[1] / "data" / "results"


def read(table: str) -> list[dict[str, str]]:
    """Rows of a table as they were written."""
    path = RESULTS / f"{table}.csv"
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_csv(table: str, columns: list[str], rows: list[dict[str, Any]]) -> None:
    """Write a table to a temporary file and rename it; numbers with six digits."""
    path = RESULTS / f"{table}.csv"
    temporary = path.with_suffix(".csv.tmp")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    temporary.replace(path)


def crowds(jobs: Iterable[JobT], alike: Callable[[JobT], Hashable | None]) -> list[list[JobT]]:
    """Jobs in groups that `fit_population` trains as one program, at most so many as it updates together.

    ``alike(job)`` is equal for jobs of one group, and None for a job that is trained alone.
    """
    groups: list[list[JobT]] = []
    last: dict[Hashable, list[JobT]] = {}
    for job in jobs:
        key = alike(job)
        if key is None or key not in last or len(last[key]) == BLOCK:
            groups.append([])
            last[key] = groups[-1]
        last[key].append(job)
    return groups


def together(name: str) -> bool:
    """Whether `fit_population` trains this kind of agent."""
    return has_faster_form(AGENTS[name][0])


def trained(name: str, configs: list[dict[str, Any]], logs: list[Any], steps: int, **options: Any) -> list[Member]:
    """A trained agent for each config, on batches of its own seed: as one program where there is one."""
    if together(name):
        return fit_population(name, configs, logs, steps, **options)
    members = []
    for config, log in zip(configs, logs, strict=True):
        agent = make_agent(name, config)
        try:
            members.append(Member(agent, fit(agent, log, steps, seed=config["seed"], **options)))
        except DivergedError as error:
            members.append(Member(agent, History(), error))
    return members


def measured(
    measure: Callable[..., RowT], jobs: Iterable[Any], processes: int, deadline: float, *more: Any
) -> Iterator[RowT]:
    """The rows ``measure(job, *more)``, each as soon as it is done; no job is begun after the deadline."""
    waiting = iter(jobs)
    running: set[Future[RowT]] = set()
    # "spawn": a forked child of a process that has run torch can hang in its thread pool.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        while True:
            while len(running) < processes and time.monotonic() < deadline and (job := next(waiting, None)) is not None:
                running.add(pool.submit(measure, job, *more))
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)


def chosen_alpha(table: str) -> str:
    """The alpha with the best mean return over the tuning rows."""
    rows = [row for row in read(table) if row["split"] == "tune"]
    alphas = sorted({row["cql_alpha"] for row in rows}, key=float)
    return max(alphas, key=lambda a: t_interval([float(r["return"]) for r in rows if r["cql_alpha"] == a])[0])


def by_draw(rows: list[dict[str, str]], column: str) -> list[list[float]]:
    """The values of a column, a list for each data draw."""
    return [
        [float(row[column]) for row in rows if row["draw"] == draw]
        for draw in sorted({r["draw"] for r in rows}, key=int)
    ]


def interval(draws: list[list[float]], form: str) -> str:
    """Mean and t-interval over the draws' means: the draw, not the training seed, is the unit that varies most."""
    mean, half = t_interval([sum(values) / len(values) for values in draws])
    return f"{mean:{form}} ± {half:{form.lstrip('+')}}"


def markdown(table: str, every_run: bool = True) -> list[str]:
    """The table of one task: the interval over draws, and every run unless told otherwise."""
    rows = [row for row in read(table) if row["split"] == "report"]
    tuned = chosen_alpha(table) if any(row["split"] == "tune" for row in read(table)) else ""
    groups = list(dict.fromkeys((row["algorithm"], row["cql_alpha"]) for row in rows))
    rank = {"bc": 0, "bc-late-turn": 1, "bc-25%": 2, "sac": 3, "sac-decay": 4, "iql": 5}
    groups.sort(key=lambda g: (rank.get(g[0], 6), float(g[1] or 0)))
    columns = (
        [("return", ".1f")]
        + ([("success", ".2f")] if table.startswith("maze") else [])
        + [("estimation_error", "+.1f")]
    )
    columns += [("cql_gap", "+.3f"), ("multiplier", ".2f")] if table == "lagrange" else [("share_impossible", ".2f")]
    listed = ("return", "cql_gap") if every_run else ()  # these columns are followed by every run
    heads = [
        f"{c} | each {'run' if table == 'lagrange' else 'draw: its seeds'}" if c in listed else c for c, _ in columns
    ]
    lines = [f"| algorithm | {' | '.join(heads)} |"]
    lines.append("|" + "---|" * (lines[0].count("|") - 1))
    for algorithm, alpha in groups:
        mine = [row for row in rows if (row["algorithm"], row["cql_alpha"]) == (algorithm, alpha)]
        label = (
            algorithm + (f" {alpha}" if algorithm == "cql" else "") + (" (tuned)" if alpha and alpha == tuned else "")
        )
        cells = [label]
        for column, form in columns:
            if not mine[0][column]:
                cells.append("")
                continue
            values = by_draw(mine, column) if table != "lagrange" else [[float(row[column])] for row in mine]
            cells.append(interval(values, form))
            if column in listed:
                cells.append("; ".join(" ".join(f"{v:{form}}" for v in draw) for draw in values))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def again(table: str) -> list[str]:
    """A table's runs beside the same ones made again by another form of the update: what rounding alone changes."""
    names = ("algorithm", "cql_alpha", "draw", "seed")
    first, second = (
        {tuple(row[name] for name in names): row for row in read(name) if row["split"] == "report"}
        for name in (table, table + AGAIN)
    )
    heads = ["algorithm", "return", "made again", "change by draw", "a run's change", "seeds of a draw differ by"]
    heads += ["estimation error", "made again", "change by draw"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for algorithm, alpha in dict.fromkeys(key[:2] for key in first):
        if algorithm.startswith("bc") or algorithm == "iql":
            continue  # they have one form of the update alone
        pairs = [(row, second[key]) for key, row in first.items() if key[:2] == (algorithm, alpha)]
        cells = [f"{algorithm} {alpha}".strip()]
        for column, form in (("return", ".1f"), ("estimation_error", "+.1f")):
            sides = [by_draw([pair[side] for pair in pairs], column) for side in (0, 1)]
            changes = [[b - a for a, b in zip(*draw, strict=True)] for draw in zip(*sides, strict=True)]
            cells += [interval(sides[0], form), interval(sides[1], form), interval(changes, "+.1f")]
            if column == "return":
                cells.append(f"{median(abs(change) for draw in changes for change in draw):.1f}")
                many = [draw for draw in sides[0] if len(draw) > 1]
                apart = [abs(a - b) for draw in many for a, b in combinations(draw, 2)]
                cells.append(f"{median(apart):.1f}" if apart else "one seed")
        lines.append(f"| {' | '.join(cells)} |")
    return lines
