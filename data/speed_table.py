"""The README's table of `make bench`, from the rows of speed.csv: `python data/speed_table.py` writes it again."""

from __future__ import annotations

import statistics
from pathlib import Path

from result_tables import RESULTS, read

START, END = "<!-- speed: written by make bench -->", "<!-- /speed -->"
Row = dict[str, str]


def cell(hidden: str, n: str, threads: str = "1") -> dict[str, dict[str, Row]]:
    """Round -> variant -> row of one size of network and number of candidates."""
    found: dict[str, dict[str, Row]] = {}
    for row in read("speed"):
        if row["what"] == "update" and (row["hidden"], row["n"], row["threads"]) == (hidden, n, threads):
            found.setdefault(row["round"], {})[row["variant"]] = row
    return found


def ratios(rounds: dict[str, dict[str, Row]], variant: str) -> list[float]:
    """Milliseconds of d3rlpy over those of a variant, round by round."""
    return [float(row["d3rlpy"]["ms"]) / float(row[variant]["ms"]) for row in rounds.values()]


def floors(rounds: dict[str, dict[str, Row]], variant: str) -> list[float]:
    """Milliseconds of a variant over those of the matrix products that no exact update can do without."""
    return [float(row[variant]["ms"]) / float(row[variant]["floor_ms"]) for row in rounds.values()]


def spread(values: list[float]) -> str:
    """Median, lowest and highest."""
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def markdown() -> list[str]:
    """Speed as a multiple of d3rlpy's, time as a multiple of the floor, and working memory."""
    lines = ["| hidden layers | fused | readable | textbook | fused: times the floor | memory: fused, d3rlpy |"]
    lines.append("|---|---|---|---|---|---|")
    for hidden in ("64x64", "256x256", "256x256x256"):
        rounds = cell(hidden, "10")
        speeds = [spread(ratios(rounds, variant)) for variant in ("fused", "readable", "textbook")]
        memory = [f"{float(next(iter(rounds.values()))[name]['memory_mb']):.0f} MB" for name in ("fused", "d3rlpy")]
        lines.append(f"| {hidden} | {' | '.join(speeds)} | {spread(floors(rounds, 'fused'))} | {', '.join(memory)} |")
    return lines


def main() -> None:
    """Write the table between its marks in the README."""
    path = Path(RESULTS).parents[1] / "README.md"
    before, rest = path.read_text(encoding="utf-8").split(START)
    path.write_text("\n".join([before + START, *markdown(), END + rest.split(END)[1]]), encoding="utf-8")


if __name__ == "__main__":
    main()
