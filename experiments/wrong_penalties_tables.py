"""What is shown of the table of pitfalls: differences to the correct penalty, draw by draw, with intervals."""

from __future__ import annotations

from statistics import mean
from typing import NamedTuple

import pandas as pd

from cql_tutorial.evaluation import t_interval
from experiments.storage import read_rows
from experiments.tables import markdown_lines, mean_and_interval, read_frame, read_reported
from experiments.wrong_penalties import ALPHAS, COMMON, REPORTED, STARTS, STATES, TASKS, TUNING, VARIANTS, tuned_alpha


class Difference(NamedTuple):
    """A variant minus the correct penalty, draw by draw."""

    text: str  # mean and t-interval; bold where the interval leaves out 0
    smallest: float  # the smallest effect seen with power 0.8: (t_0.975 + t_0.8) * standard error at n - 1


def compare(variant: pd.Series, correct: pd.Series) -> Difference:
    """The paired difference of two series over the same draws."""
    from scipy.stats import t

    pairs = (variant - correct).tolist()
    middle, half = t_interval(pairs)
    ratio = float(t.ppf(0.8, len(pairs) - 1)) / float(t.ppf(0.975, len(pairs) - 1))
    text = mean_and_interval(pairs)
    return Difference(f"**{text}**" if abs(middle) > half else text, half * (1 + ratio))


def markdown() -> list[str]:
    """Return and estimation error of every variant on every task, with what differs from "correct" in bold."""
    heads = ["variant", "return", "minus correct", "could have seen", "estimation error", "minus correct",
             "could have seen", "impossible", "push on policy", "softmax on policy"]  # fmt: skip
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
                if variant == "correct" or values.empty:
                    cells += ["", ""]
                else:
                    found = compare(values, by_draw["correct"])
                    cells += [found.text, f"{found.smallest:.2g}"]
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
        f"each; {STATES} common states and {STARTS} common starts from draw {COMMON}. `cql_alpha` (the largest of",
        f"{', '.join(f'{a:g}' for a in ALPHAS)} within 2 % of the best return) and Lagrange targets are from draws",
        f"{list(TUNING)}.",
        f"{hours:.1f} hours of training on one core in all.",
        "",
        "- ±: 95 % t-interval over the draws. *Minus correct*: paired by draw; bold where its interval leaves out 0",
        "  (of so many cells, one in twenty would by chance).",
        "- *Could have seen*: the smallest difference that an experiment with this spread finds with probability 0.8.",
        "- *Push on policy*: share of the penalty's push-down on actions where the policy is denser than the uniform",
        "  distribution; *softmax on policy*: the share of softmax(Q) there, by sampling 1,000 actions a state.",
        "- *Reward_unit*: returns, values and errors in the world's own unit; logged metrics as that run logs them.",
        "",
        *(f"- *{name}*: {text}." for name, text in VARIANTS.items()),
        *markdown(),
    ]
