"""The data sheet of the results, and the short tables of docs/results.md and the README, from the rows there are."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from textwrap import fill

import torch

from cql_tutorial import __version__
from experiments import (
    alpha_tables,
    bugs_tables,
    calibration_tables,
    ensembles_tables,
    headline,
    headline_tables,
    mujoco_episodes_tables,
    mujoco_tables,
    off_policy_tables,
    sepsis_tables,
    soft_q_tables,
    sparse_q_tables,
    wrong_penalties_tables,
)
from experiments.headline_tables import AGAIN
from experiments.storage import RESULTS, read_rows
from experiments.tables import mean_and_interval, read_reported

ROOT = RESULTS.parents[1]
SHEET = RESULTS / "README.md"
PAGES = {  # page -> the marks around its short tables
    "docs/results.md": ("<!-- results: written by make results -->", "<!-- /results -->"),
    "README.md": ("<!-- result: written by make results -->", "<!-- /result -->"),
}
IN_THE_README = "pendulum-medium"
RULE_MARKS = ("<!-- rule: written by make results -->", "<!-- /rule -->")  # in docs/results.md, around one sentence


def write_report(measured: bool = False) -> None:
    """Write the sheet and the pages; the sheet's versions and date are renewed only if something was ``measured``."""
    SHEET.write_text("\n".join(sheet(describe_origin(measured))) + "\n", encoding="utf-8")
    write_pages(ROOT)
    print(f"wrote {SHEET.relative_to(ROOT)}, {', '.join(PAGES)}")


def write_pages(root: Path) -> None:
    """Put the short tables between the marks of docs/results.md, and one of them between those of the README."""
    for page, (start, end) in PAGES.items():
        front = page == "README.md"
        lines = short_tables([IN_THE_README] if front else [*HEADLINES, "sepsis"], extensions=not front)
        lines += mujoco_tables.quoted_rows(sources=not front)
        before, rest = (root / page).read_text(encoding="utf-8").split(start)
        text = "\n".join([before + start, *lines, end + rest.split(end)[1]])
        (root / page).write_text(text, encoding="utf-8")
    start, end = RULE_MARKS
    results = root / "docs" / "results.md"
    before, rest = results.read_text(encoding="utf-8").split(start)
    sentence = fill(alpha_tables.rule_sentence(read_rows("alpha")), 120)
    results.write_text("\n".join([before + start, sentence, end + rest.split(end)[1]]), encoding="utf-8")


def describe_origin(measured: bool) -> str:
    """Versions, system and date of the last measurement."""
    if not measured and SHEET.exists():
        return SHEET.read_text(encoding="utf-8").splitlines()[3]
    versions = f"cql-tutorial {__version__}, torch {torch.__version__.split('+')[0]}"
    return f"{versions}, {platform.system()} {platform.machine()}, {date.today()}."


def sheet(origin: str) -> list[str]:
    """The data sheet of the results: how they were made, the tables, and what each column means."""
    lines = [
        "# Results",
        "",
        "Made by `make results` (`python -m experiments results`), a row a run in the CSV files.",
        origin,
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
    for table in headline.TASKS:
        if read_rows(table):
            lines += ["", f"## {table}", "", ABOUT[table], *describe_runs(table), "", *headline_tables.markdown(table)]
        if read_rows(table + AGAIN):
            lines += ["", *ABOUT_AGAIN, "", *headline_tables.compare_again(table)]
    for table, part in (
        ("sepsis", sepsis_tables.sheet),
        ("pitfalls", wrong_penalties_tables.sheet),
        ("pitfalls-causes", wrong_penalties_tables.sheet_of_causes),
        ("pitfalls-own", wrong_penalties_tables.sheet_of_own_alphas),
        ("alpha", alpha_tables.sheet),
        ("ope", off_policy_tables.sheet),
        ("calibration", calibration_tables.sheet),
        ("calibration-versions", calibration_tables.sheet_of_versions),
        ("ensembles-online", ensembles_tables.online_sheet),
        ("ensembles-offline", ensembles_tables.offline_sheet),
        ("soft-modes", soft_q_tables.sheet_of_modes),
        ("soft-maze", soft_q_tables.sheet_of_maze),
        ("sparse-mixed", sparse_q_tables.sheet),
        ("mujoco", mujoco_tables.sheet),
        ("mujoco-episodes", mujoco_episodes_tables.sheet),
        ("bugs", bugs_tables.sheet),
        ("run-doctor", bugs_tables.sheet_of_folders),
    ):
        # Tuning alone is no result; nothing is tuned in the study of causes.
        if any(row.get("split", "report") == "report" or table == "pitfalls-causes" for row in read_rows(table)):
            lines += ["", *part()]
    return lines


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


def describe_runs(table: str) -> list[str]:
    """Which draws and seeds were tuned on and which are reported, and for how many updates."""
    lines = []
    splits = (("tune", "Tuned on"), ("report", "Reported"))
    for split, word in splits:
        jobs = [job for job in headline.TASKS[table].jobs() if job.split == split]
        if jobs:
            draws, seeds = (sorted({getattr(job, name) for job in jobs}) for name in ("draw", "seed"))
            lines.append(f"{word}: draws {draws}, seeds {seeds}, {jobs[0].steps} updates of 64 transitions.")
    there = {headline.extension_of(algorithm) for algorithm in read_reported(table)["algorithm"]} - {""}
    if there:
        tune, report = (len(headline.EXTENSION_RUNS[table][split]) for split, _ in splits)
        tried: dict[str, list[str]] = {}
        for algorithm, settings in headline.extension_settings(table):
            name = headline.extension_of(algorithm)
            tried.setdefault(name, []).append(f"{settings.get('cql_alpha', settings.get('regularisation')):g}")
        ladders: dict[str, list[str]] = {}
        for name in filter(there.__contains__, headline.EXTENSIONS):
            ladders.setdefault(", ".join(tried[name]), []).append(name)
        text = "; ".join(f"{', '.join(names)} at {values}" for values, names in ladders.items())
        lines.append(f"Extensions of CQL on the same draws ({tune} tuning runs a setting, {report} reported): {text}.")
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


def short_tables(names: Sequence[str], extensions: bool = True) -> list[str]:
    """These tables with the interval over draws alone, each under its headline."""
    lines: list[str] = []
    for table in names:
        if table in HEADLINES and len(runs := read_reported(table)):
            logs = [headline.TASKS[table].data(int(draw)) for draw in sorted(runs["draw"].unique())]
            returns = mean_and_interval((float(log.episode_returns().mean()) for log in logs), ".1f")
            short = headline_tables.markdown(table, every_run=False, extensions=extensions)
            lines += [HEADLINES[table].format(data=returns), "", *short, ""]
        elif table == "sepsis" and read_rows(table):
            lines += [SEPSIS, "", *sepsis_tables.markdown(every=False), ""]
    return lines
