"""The tables of `make bench` in docs/speed.md, from speed.csv and population.csv: `python -m benchmarks.tables`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.updates import ratios, spread
from experiments.storage import RESULTS, read_rows

SPEED = ("<!-- speed: written by make bench -->", "<!-- /speed -->")
POPULATION = ("<!-- population: written by make bench -->", "<!-- /population -->")


def cell(hidden: str, n: str, threads: str = "1") -> list[dict[str, Any]]:
    """The rows of one size of network and number of candidates, their times as numbers."""
    wanted = ("update", hidden, n, threads)
    rows = [row for row in read_rows("speed") if (row["what"], row["hidden"], row["n"], row["threads"]) == wanted]
    return [{**row, "round": int(row["round"]), **{k: float(row[k]) for k in ("ms", "floor_ms")}} for row in rows]


def markdown() -> list[str]:
    """Speed as a multiple of d3rlpy's, time as a multiple of the floor, and working memory."""
    memory = "memory: fused, readable, d3rlpy"
    lines = [f"| hidden layers | fused | readable | textbook | fused: times the floor | {memory} |"]
    lines.append("|---|---|---|---|---|---|")
    for hidden in ("64x64", "256x256", "256x256x256"):
        rows = cell(hidden, "10")
        speeds = [spread(ratios(rows, "d3rlpy", variant)) for variant in ("fused", "readable", "textbook")]
        megabytes = {row["variant"]: f"{float(row['memory_mb']):.0f} MB" for row in rows}
        memory = ", ".join(megabytes[variant] for variant in ("fused", "readable", "d3rlpy"))
        lines.append(f"| {hidden} | {' | '.join(speeds)} | {spread(ratios(rows, 'fused', 'floor'))} | {memory} |")
    return [*lines, "", f"*Measured on {rows[0]['machine']}.*"]


def population_ratios() -> dict[tuple[str, str, str, str], dict[str, list[float]]]:
    """(agent, states, actions, batch) -> ms of each form alone over those of a member, round by round."""
    found: dict[tuple[str, str, str, str], dict[str, list[float]]] = {}
    for row in read_rows("population"):
        case = found.setdefault((row["name"], row["states"], row["actions"], row["batch"]), {})
        for form in ("readable", "fused"):
            case.setdefault(form, []).append(float(row[form]) / float(row["population"]))
    return found


def population() -> list[str]:
    """How many times faster a member of a population is updated than an agent alone."""
    lines = ["| one of 16 members, 64x64, N = 5 | observations, actions | batch | over readable | over fused |"]
    lines.append("|---|---|---|---|---|")
    for (name, states, actions, batch), case in population_ratios().items():
        both = f"{spread(case['readable'])} | {spread(case['fused'])}"
        lines.append(f"| {name.upper()} | {states}, {actions} | {batch} | {both} |")
    return lines


def main() -> None:
    """Write the tables between their marks in docs/speed.md."""
    path = Path(RESULTS).parents[1] / "docs" / "speed.md"
    text = path.read_text(encoding="utf-8")
    for (start, end), lines in ((SPEED, markdown()), (POPULATION, population())):
        before, rest = text.split(start)
        text = "\n".join([before + start, *lines, end + rest.split(end)[1]])
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
