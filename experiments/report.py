"""The data sheet of the results, and the short tables of docs/results.md and the README, from the rows there are."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import date
from typing import Any

import torch

from cql_tutorial import __version__
from experiments import off_policy_tables, sepsis, wrong_penalties_tables
from experiments.tables import AGAIN, RESULTS, again, interval, markdown, read

PAGES = {  # page -> the marks around its short tables
    "docs/results.md": ("<!-- results: written by make results -->", "<!-- /results -->"),
    "README.md": ("<!-- result: written by make results -->", "<!-- /result -->"),
}


def write_sheet(tasks: Mapping[str, Any]) -> None:
    """The data sheet of the results: how they were made, the tables, and what each column means."""
    versions = (
        f"cql-tutorial {__version__}, torch {torch.__version__.split('+')[0]}, {platform.system()} {platform.machine()}"
    )
    lines = [
        "# Results",
        "",
        "Made by `make results` (`python -m experiments results`), a row a run in the CSV files.",
        f"{versions}, {date.today()}.",
        "",
        "- *Return*: deterministic policy on start states common to all runs.",
        "- *Estimation error*: min over the critics minus Q^pi (Monte-Carlo, 4 rollouts) of the stochastic policy at",
        "  its own actions in 200 common states.",
        "- *Share impossible*: predictions above the first reward plus the best reward for ever after.",
        "- `chapters.csv` is another kind of table: what the last run of each notebook took (`make chapter`).",
        "- ±: 95 % t-interval over data draws (each draw the mean of its seeds); every run is listed beside it.",
        "- *Tuned*: the alpha with the best return on other draws and seeds.",
        "- A row whose settings say `trained_with` was trained as one program with so many others (`fit_population`),",
        "  one without alone, by the readable update. The two differ by rounding, as two machines do.",
    ]
    for table in tasks:
        if read(table):
            lines += ["", f"## {table}", "", ABOUT[table], *made_from(tasks[table]), "", *markdown(table)]
        if read(table + AGAIN):
            lines += ["", *ABOUT_AGAIN, "", *again(table)]
    lines += ["", *sepsis.sheet()] if read("sepsis") else []
    lines += ["", *wrong_penalties_tables.sheet()] if any(row["split"] == "report" for row in read("pitfalls")) else []
    lines += ["", *off_policy_tables.sheet()] if any(row["split"] == "report" for row in read("ope")) else []
    text = "\n".join(lines) + "\n"
    (RESULTS / "README.md").write_text(text, encoding="utf-8")
    print(text)
    write_pages(tasks)


ABOUT = {
    "maze": "BC, %BC, SAC (with weight decay as control) and CQL in the stitching maze. A data draw a seed.",
    "pendulum-medium": "The same on the four shipped medium logs of Pendulum.",
    "pendulum-swinging": "The same kind of quality, another coverage: the log's policy never gets the pendulum up.",
    "maze-critics": "One, two and five critics, and a fixed temperature of 0.1, at the maze's chosen alpha.",
    "pendulum-medium-critics": "The same on Pendulum medium, two seeds a draw.",
    "lagrange": "The multiplier with target -0.5 on the first medium log, one draw: here ± is over the five seeds. The "
    "gap is the mean over the last 1,000 of 8,000 updates.",
}


ABOUT_AGAIN = (
    "The same draws and seeds once more (`--table ... --again`), by the fused update and trained together: another",
    "rounding, nothing else. *A run's change* and *seeds of a draw differ by* are medians of absolute differences in",
    "return, of a run from itself and of two seeds from each other: what rounding moves, beside what a seed moves.",
)


def made_from(task: Any) -> list[str]:
    """Which draws and seeds were tuned on and which are reported, and for how many updates."""
    lines = []
    for split, word in (("tune", "Tuned on"), ("report", "Reported")):
        jobs = [job for job in task.jobs() if job.split == split]
        if jobs:
            draws, seeds = (sorted({getattr(job, name) for job in jobs}) for name in ("draw", "seed"))
            lines.append(f"{word}: draws {draws}, seeds {seeds}, {jobs[0].steps} updates of 64 transitions.")
    return lines


HEADLINES = {  # table -> what is said above it; {data} is the return of the log itself
    "maze": "**Stitching maze** (5 seeds, each on its own data draw; 300 starts in the arm that never reached it)",
    "pendulum-medium": "**Pendulum medium** (4 data draws x 3 seeds; 500 starts; the log's own return is {data})",
    "pendulum-swinging": "**Pendulum swinging**: a log whose policy never gets up (4 draws; its own return is {data})",
}
SEPSIS = (
    "**ICU-Sepsis**: survival, predicted and true (exact), of tables fitted to logs of the clinician policy, 5 seeds. "
    "An MDP *estimated* from records; no clinical claim. Exact: random 0.780, clinician 0.782, optimal 0.875."
)


IN_THE_README = "pendulum-medium"


def write_pages(tasks: Mapping[str, Any]) -> None:
    """Put the short tables between the marks of docs/results.md, and one of them between those of the README."""
    parts = {}
    for table, headline in HEADLINES.items():
        if any(row["split"] == "report" for row in read(table)):
            draws = sorted({int(row["draw"]) for row in read(table) if row["split"] == "report"})
            returns = [float(tasks[table].data(draw).episode_returns().mean()) for draw in draws]
            above = headline.format(data=interval([[r] for r in returns], ".1f"))
            parts[table] = [above, "", *markdown(table, False), ""]
    if read("sepsis"):
        parts["sepsis"] = [SEPSIS, "", *sepsis.markdown(every=False), ""]
    shown = {"docs/results.md": [line for part in parts.values() for line in part]}
    shown["README.md"] = parts.get(IN_THE_README, [])
    for page, (start, end) in PAGES.items():
        path = RESULTS.parent.parent / page
        before, rest = path.read_text(encoding="utf-8").split(start)
        path.write_text("\n".join([before + start, *shown[page], end + rest.split(end)[1]]), encoding="utf-8")
