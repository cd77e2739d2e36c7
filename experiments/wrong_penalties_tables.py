"""What is shown of the table of pitfalls: differences to the correct penalty, draw by draw, with intervals."""

from __future__ import annotations

from statistics import mean

import pandas as pd

from cql_tutorial.evaluation import t_interval
from experiments import over_estimation, own_alpha
from experiments.storage import Row, read_rows
from experiments.tables import markdown_lines, mean_and_interval, read_frame, read_reported
from experiments.wrong_penalties import ALPHAS, COMMON, REPORTED, STARTS, STATES, TASKS, TUNING, VARIANTS, tuned_alpha


def compare(variant: pd.Series, correct: pd.Series) -> str:
    """The paired difference of two series over the same draws: mean and t-interval, bold if it leaves out 0."""
    pairs = (variant - correct).dropna().tolist()
    middle, half = t_interval(pairs)
    text = mean_and_interval(pairs)
    return f"**{text}**" if abs(middle) > half else text


def markdown() -> list[str]:
    """Return and estimation error of every variant on every task, with what differs from "correct" in bold."""
    heads = ["variant", "return", "minus correct", "estimation error", "minus correct", "impossible",
             "push on policy", "softmax on policy"]  # fmt: skip
    lines: list[str] = []
    tuning, frame = read_rows("pitfalls"), read_reported("pitfalls")
    for task in TASKS:
        runs = frame[frame["task"] == task]
        rows = []
        for variant in VARIANTS:
            cells = [variant]
            for name in ("return", "estimation_error"):
                by_draw = runs.pivot(index="draw", columns="variant", values=name)
                values = by_draw[variant].dropna()
                cells.append(mean_and_interval(values) if len(values) else "")
                cells.append("" if variant == "correct" or values.empty else compare(values, by_draw["correct"]))
            for name in ("share_impossible", "push_on_policy", "softmax_on_policy"):
                values = runs[runs["variant"] == variant][name].dropna()
                cells.append(f"{mean(values.tolist()):.2f}" if len(values) else "")
            rows.append(cells)
        lines += ["", f"### {task} (tuned alpha {tuned_alpha(tuning, task):g})", "", *markdown_lines(heads, rows)]
    return lines


def sheet() -> list[str]:
    """The part of the results' data sheet: what the table is, and every variant."""
    hours = read_frame("pitfalls")["seconds"].sum() / 3600
    return [
        "## pitfalls",
        "",
        f"Every wrong penalty beside the correct one on the same {len(REPORTED)} logs (draws {list(REPORTED)}), a seed",
        f"each; {STATES} common states and {STARTS} common starts from draw {COMMON}. `cql_alpha` is the correct",
        f"penalty's for all: the largest of {', '.join(f'{a:g}' for a in ALPHAS)} whose mean return on draws",
        f"{list(TUNING)} is within 2 % of the best. So a variant differs in form *and* in strength; *pitfalls-own*",
        "gives each an alpha of its own. The Lagrange targets are from the same draws.",
        f"{hours:.1f} hours of training on one core in all.",
        "",
        "- ±: 95 % t-interval over the draws. *Minus correct*: paired by draw; bold where its interval leaves out 0",
        "  (of so many cells, one in twenty would by chance).",
        "  Differences inside an interval are not excluded, small ones and 0 alike.",
        "- *Push on policy*: share of the penalty's push-down on actions where the policy is denser than the uniform",
        "  distribution; *softmax on policy*: the share of softmax(Q) there, by sampling 1,000 actions a state.",
        "- *Reward_unit*: returns, values and errors in the world's own unit; logged metrics as that run logs them.",
        "",
        *(f"- *{name}*: {text}." for name, text in VARIANTS.items()),
        *markdown(),
    ]


def sheet_of_causes() -> list[str]:
    """Why the correct penalty over-estimates: every change, its error and its difference to the tuned run."""
    heads = ["variant", "return", "estimation error", "minus tuned", "error at logged actions", "at uniform actions"]
    lines = [
        "## pitfalls-causes",
        "",
        f"The correct penalty on the two logs of the arm, draws {list(over_estimation.DRAWS)}; one setting is changed",
        "at a time. Nothing is chosen from these rows. *Minus tuned*: paired by draw; bold: its interval leaves out 0.",
        "",
        *(f"- *{name}*: {text}." for name, text in over_estimation.CAUSES.items()),
    ]
    frame = read_frame("pitfalls-causes")
    for task in over_estimation.TASKS:
        runs, table = frame[frame["task"] == task], []
        errors = runs.pivot(index="draw", columns="variant", values="estimation_error")
        for cause in [cause for cause in over_estimation.CAUSES if cause in errors]:
            mine = runs[runs["variant"] == cause]
            difference = "" if cause == "tuned" else compare(errors[cause], errors["tuned"])
            each = [mean_and_interval(mine[name]) for name in ("error_data", "error_uniform")]
            table.append(
                [cause, mean_and_interval(mine["return"]), mean_and_interval(errors[cause].dropna()), difference, *each]
            )
        lines += ["", f"### pitfalls-causes: {task}", "", *markdown_lines(heads, table)]
    return lines


def sheet_of_own_alphas() -> list[str]:
    """Each penalty at its own alpha beside the same penalties at one alpha, for the tasks that are measured."""
    rows, one = read_rows("pitfalls-own"), read_reported("pitfalls")
    lines = [
        "## pitfalls-own",
        "",
        "Each penalty at an alpha of its own, so that form and strength are apart: of a ladder in steps of about three",
        f"({', '.join(f'{a:g}' for a in own_alpha.LADDER)}) the one with the largest mean return on draws",
        f"{list(TUNING)} (the larger of two that tie). Three alphas are tried first, and the next one beyond while the",
        f"best stands at an end. Reported are draws {list(REPORTED)}. Bold: the paired interval leaves out 0.",
    ]
    frame = read_reported("pitfalls-own")
    done = measured_tasks(rows)
    missing = [task for task in own_alpha.FIRST if task not in done]
    if missing:
        lines += ["", f"Not measured to the end yet: {', '.join(missing)} (`python -m experiments own_alpha` goes on)."]
    heads = ["penalty", "own alpha", "return", "minus correct", "minus correct at one alpha", "estimation error",
             "minus correct", "minus correct at one alpha"]  # fmt: skip
    for task in done:
        mine, theirs, table = frame[frame["task"] == task], one[one["task"] == task], []
        for shape in own_alpha.SHAPES:
            cells = [shape, f"{own_alpha.own_alpha(rows, task, shape):g}"]
            for name in ("return", "estimation_error"):
                ours, before = (runs.pivot(index="draw", columns="variant", values=name) for runs in (mine, theirs))
                cells.append(mean_and_interval(ours[shape].dropna()))
                both = [compare(by_draw[shape], by_draw["correct"]) for by_draw in (ours, before)]
                cells += ["", ""] if shape == "correct" else both
            table.append(cells)
        lines += ["", f"### pitfalls-own: {task}", "", *markdown_lines(heads, table)]
    return lines


def measured_tasks(rows: list[Row]) -> list[str]:
    """The tasks of the table of own alphas whose every run is there."""
    there = {own_alpha.STUDY.key_of_row(row) for row in rows}
    done = []
    for task in own_alpha.FIRST:
        jobs = list(own_alpha.reported_jobs(task, rows))
        if len(jobs) == len(own_alpha.SHAPES) * len(REPORTED) and all(
            own_alpha.STUDY.key_of_job(job) in there for job in jobs
        ):
            done.append(task)
    return done
