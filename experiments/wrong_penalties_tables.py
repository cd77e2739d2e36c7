"""What is shown of the table of pitfalls: differences to the correct penalty, draw by draw, with intervals."""

from __future__ import annotations

import math

from cql_tutorial.course.studies.ch07 import differences
from cql_tutorial.evaluation import t_interval
from experiments.tables import read
from experiments.wrong_penalties import ALPHAS, COMMON, REPORTED, STARTS, STATES, TASKS, TUNING, VARIANTS, column, tuned


def difference(rows: list[dict[str, str]], task: str, variant: str, name: str) -> tuple[float, float, float] | None:
    """Variant minus correct, draw by draw: (mean, t-interval's half width, smallest effect seen with power 0.8).

    The last is ``(t_0.975 + t_0.8) * standard error`` at n - 1 degrees of freedom. None where there are no numbers.
    """
    from scipy.stats import t

    if not column(rows, name, task=task, variant=variant, split="report"):
        return None
    pairs = differences(rows, task, variant, name)
    mean, half = t_interval(pairs)
    freedom = len(pairs) - 1
    return mean, half, half * (1 + float(t.ppf(0.8, freedom)) / float(t.ppf(0.975, freedom)))


def markdown() -> list[str]:
    """Return and estimation error of every variant on every task, with what differs from "correct" in bold."""
    lines: list[str] = []
    rows = read("pitfalls")
    for task in TASKS:
        lines += ["", f"### {task} (tuned alpha {tuned(rows, task):g})", ""]
        heads = ["variant", "return", "minus correct", "could have seen", "estimation error", "minus correct",
                 "could have seen", "impossible", "push on policy", "softmax on policy"]  # fmt: skip
        lines += ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        for variant in VARIANTS:
            cells = [variant]
            for name in ("return", "estimation_error"):
                values = column(rows, name, task=task, variant=variant, split="report")
                cells.append(_pm(*t_interval(values)) if values else "")
                found = difference(rows, task, variant, name) if variant != "correct" else None
                cells += ["", ""] if found is None else [_bold(found), f"{found[2]:.2g}"]
            for name in ("share_impossible", "push_on_policy", "softmax_on_policy"):
                values = column(rows, name, task=task, variant=variant, split="report")
                cells.append(f"{sum(values) / len(values):.2f}" if values else "")
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def _pm(mean: float, half: float) -> str:
    digits = max(0, 1 - math.floor(math.log10(half))) if half > 0 else 2
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def _bold(found: tuple[float, float, float]) -> str:
    text = _pm(*found[:2])
    return f"**{text}**" if abs(found[0]) > found[1] else text


def sheet() -> list[str]:
    """The part of the results' data sheet: what the table is, and every variant."""
    rows = read("pitfalls")
    hours = sum(column(rows, "seconds")) / 3600
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
