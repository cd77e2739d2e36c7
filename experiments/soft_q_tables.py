"""What is shown of the tables of soft Q-learning."""

from __future__ import annotations

import pandas as pd

from cql_tutorial.course.studies.ch11_soft import PEAK, WIDTH
from experiments import soft_q
from experiments.settings import SOFT_Q
from experiments.storage import read_rows
from experiments.tables import markdown_lines, mean_and_interval, read_frame, read_reported

SHOWS_MODES = (
    "Shows: no tanh-Gaussian keeps two modes. The best one sits in a single mode at every T; that costs it about T",
    "log 2 of soft value a dimension (T 0.05 and 0.1), and no reward. SAC does not always find it: at T 0.2 every",
    "actor ends between the bumps, where a Gaussian is a local optimum that earns less than half of the exact",
    "policy's reward; at T 0.1 17 of 20 do, at T 0.05 two. The energy policy keeps all modes, given enough",
    "candidates: with 4 it is far too flat in every draw (a bias, no noise), and at T 0.05 the distance that 64",
    "leave is over ten times as large in two dimensions as in one.",
    "",
    "Does not show: that keeping both modes earns more. A Gaussian in one mode earns what softmax(Q / T) earns. Nor",
    "that the energy policy is exact: in two dimensions the errors of its critics tilt its shares of the modes,",
    "more so at a low T, and no number of candidates mends that.",
)
SHOWS_MAZE = (
    "Shows: with its penalty the agent without an actor stitches. Every form of the backup reaches the goal from",
    "every start in every draw; without the penalty soft-q does in two draws of five, and CQL in three. Sum and",
    "mean form are one agent here, where no episode ends: their predictions differ by 0.95 T A log 2 / 0.05 (2.6 at",
    "T 0.1, 26 at T 1), their returns and their errors against their own values by nothing that five draws tell. So",
    "the constant is invisible in the return, and at T 1 it alone decides whether the prediction lies above or",
    "below Q^pi. T is in units of the return: at T 1 the sampled policy earns a third less than at T 0.1.",
    "",
    "Does not show: that leaving out the actor helps. CQL with its actor earns more in every draw than any form.",
    "Nor that the expected backup does: it is not told apart from the soft one in return. Every penalised run",
    "under-estimates the value that its own backup defines; which of penalty, few candidates and the minimum over",
    "the critics does that was not taken apart. The chosen alpha is the smallest that was tried.",
)


def in_one_mode(runs: pd.DataFrame) -> pd.Series:
    """Whether a policy sits in one mode: all but a tenth of it in the modes, and a quadrant with less than 1 %."""
    return (runs["in_modes"] > 0.9) & (runs["least_mode"] < 0.01)


def sheet_of_modes() -> list[str]:
    """Every policy beside the exact softmax(Q / T), one table a number of dimensions."""
    frame = read_frame("soft-modes")
    lines = [
        "## soft-modes",
        "",
        f"A bandit with two equal bumps in each dimension (height 1 at ±{PEAK:g}, width {WIDTH:g}),",
        f"logs of {soft_q.LOGGED:,} uniformly random actions (draws {list(soft_q.DRAWS)}), {soft_q.STEPS:,} updates.",
        "Nothing is tuned. Every policy's density is put on a grid, so that no number here is a sample's.",
        "",
        *(f"- *{name}*: {text}." for name, text in soft_q.POLICIES.items()),
        "- *In modes*: probability of being within two widths of a bump in every dimension. *Least mode*: that of the",
        "  least likely of the 2^A quadrants. *TV*: total variation from softmax(Q / T).",
        "- *Soft value*: E[Q] - T KL(policy, uniform), true; softmax(Q / T) has the largest. *Error*: what the learned",
        "  critics predict of it, minus the truth.",
        "- *One mode*: the draws whose policy has more than nine tenths in the modes and less than a hundredth in the",
        "  least.",
        "",
        *SHOWS_MODES,
    ]
    heads = ["T", "policy", "K", "reward", "in modes", "least mode", "TV", "soft value", "error", "one mode"]
    for actions in (1, 2):
        table = []
        for temperature in soft_q.TEMPERATURES:
            runs = frame[(frame["actions"] == actions) & (frame["temperature"] == temperature)]
            for policy in soft_q.POLICIES:
                mine = runs[runs["policy"] == policy]
                for many in soft_q.CANDIDATES if policy == "energy" else ("",):
                    some = mine[mine["candidates"] == many] if many else mine
                    names = ("reward", "in_modes", "least_mode", "total_variation", "true")
                    cells = [cell(some[name]) for name in names]
                    learned = len(some) > 1
                    cells += [cell(some["estimation_error"]) if learned else "", ""]
                    if learned:
                        cells[-1] = f"{int(in_one_mode(some).sum())} of {len(some)}"
                    table.append([f"{temperature:g}", policy, str(many), *cells])
        lines += ["", f"### soft-modes: {actions} dimension{'s' * (actions > 1)}", "", *markdown_lines(heads, table)]
    return lines


def cell(values: pd.Series) -> str:
    """A mean with its interval over the draws, or the one exact number."""
    return mean_and_interval(values, ".3f") if len(values) > 1 else f"{values.iloc[0]:.3f}"


def sheet_of_maze() -> list[str]:
    """Every form of the soft backup beside CQL with its actor."""
    rows, frame = read_rows("soft-maze"), read_reported("soft-maze")
    lines = [
        "## soft-maze",
        "",
        "CQL with a soft backup and no actor in the stitching maze, on the draws of the headline table: soft-q with",
        f"`cql_alpha`, {SOFT_Q['n_candidates']} uniform candidates at s' and at s, actions from "
        f"{SOFT_Q['n_acting_candidates']}. {soft_q.MAZE_STEPS:,} updates of 64.",
        f"Alpha: of {', '.join(f'{a:g}' for a in soft_q.ALPHAS)} the one with the largest mean return on draws",
        f"{list(soft_q.TUNING)}, for CQL and for the mean form at either T; the other forms take the mean form's. "
        f"Reported: draws {list(soft_q.REPORTED)}.",
        f"{soft_q.STARTS} common starts; predictions and truths at the policy's own actions in {soft_q.STATES} common "
        "states.",
        "",
        *(f"- *{' '.join(filter(None, map(str, form)))}*: {text}." for form, text in soft_q.FORMS.items()),
        "- *Error*: prediction minus Q^pi, the discounted rewards. *Own error*: minus the value that the backup",
        "  defines, with its entropy bonus (mean form: against a uniform prior).",
        "",
        *SHOWS_MAZE,
        "",
    ]
    heads = ["algorithm", "form", "T", "alpha", "return", "each draw", "sampled", "predicted", "error", "own error"]
    table = []
    for form in soft_q.FORMS:
        algorithm, kind, temperature = form
        for alpha in dict.fromkeys(job.cql_alpha for job in soft_q.reported_jobs(rows)):
            text = f"{alpha:g}"
            runs = frame[(frame["algorithm"] == algorithm) & (frame["form"].fillna("") == kind)]
            runs = runs[runs["cql_alpha"] == text]
            if temperature:
                runs = runs[runs["temperature"] == temperature]
            if runs.empty:
                continue
            each = "; ".join(f"{value:.1f}" for value in runs["return"])
            cells = [mean_and_interval(runs[name], ".1f") for name in ("return", "return_sampled", "predicted")]
            errors = [mean_and_interval(runs[name], "+.1f") for name in ("estimation_error", "own_error")]
            tuned = soft_q.tuned_alpha(rows, algorithm, temperature)
            label = f"{text} (tuned)" if alpha == tuned else text
            table.append([algorithm, kind, str(temperature), label, cells[0], each, *cells[1:], *errors])
    return [*lines, *markdown_lines(heads, table)]
