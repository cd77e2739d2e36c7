"""The README's table of `make bench`, from the rows of speed.csv: `python data/speed_table.py` writes it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import ratios, spread
from result_tables import RESULTS, read

START, END = "<!-- speed: written by make bench -->", "<!-- /speed -->"


def cell(hidden: str, n: str, threads: str = "1") -> list[dict[str, Any]]:
    """The rows of one size of network and number of candidates, their times as numbers."""
    wanted = ("update", hidden, n, threads)
    rows = [row for row in read("speed") if (row["what"], row["hidden"], row["n"], row["threads"]) == wanted]
    return [{**row, "round": int(row["round"]), **{k: float(row[k]) for k in ("ms", "floor_ms")}} for row in rows]


def markdown() -> list[str]:
    """Speed as a multiple of d3rlpy's, time as a multiple of the floor, and working memory."""
    lines = ["| hidden layers | fused | readable | textbook | fused: times the floor | memory: fused, d3rlpy |"]
    lines.append("|---|---|---|---|---|---|")
    for hidden in ("64x64", "256x256", "256x256x256"):
        rows = cell(hidden, "10")
        speeds = [spread(ratios(rows, "d3rlpy", variant)) for variant in ("fused", "readable", "textbook")]
        megabytes = {row["variant"]: f"{float(row['memory_mb']):.0f} MB" for row in rows}
        memory = f"{megabytes['fused']}, {megabytes['d3rlpy']}"
        lines.append(f"| {hidden} | {' | '.join(speeds)} | {spread(ratios(rows, 'fused', 'floor'))} | {memory} |")
    return lines


def main() -> None:
    """Write the table between its marks in the README."""
    path = Path(RESULTS).parents[1] / "README.md"
    before, rest = path.read_text(encoding="utf-8").split(START)
    path.write_text("\n".join([before + START, *markdown(), END + rest.split(END)[1]]), encoding="utf-8")


if __name__ == "__main__":
    main()
