"""What is shown of two critics beside ten: means over seeds with intervals, and differences paired by seed or draw."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from experiments import ensembles
from experiments.tables import markdown_lines, mean_and_interval, read_reported
from experiments.wrong_penalties_tables import compare

ONLINE, OFFLINE = "ensembles-online", "ensembles-offline"
BASE = "two-min"  # what the others are compared with
FORMS = {"return": ".1f", "success": ".2f", "estimation_error": "+.1f", "error_min": "+.1f", "error_mean": "+.1f",
         "error_sd": ".1f", "spread": ".2f", "spread_data": ".2f", "rank_correlation": "+.2f"}  # fmt: skip
OVER_SEEDS = "±: 95 % t-interval over seeds, or draws of the log; *minus two*: paired, bold where it leaves out 0."


def cell(values: pd.Series, column: str) -> str:
    """Mean and t-interval of a column."""
    return mean_and_interval(values, FORMS[column])


def cells(columns: Sequence[str], mine: pd.DataFrame, base: pd.DataFrame | None) -> list[str]:
    """The columns of some runs; beside return and error, how they differ from the base, if these are not its own."""
    found = []
    for column in columns:
        found.append(cell(mine[column], column))
        if column in ("return", "estimation_error"):
            found.append("" if base is None else compare(mine[column], base[column]))
    return found


def online_runs(variant: str, updates_per_step: int, step: int) -> pd.DataFrame:
    """The rows of one setting at one evaluation, by seed."""
    frame = read_reported(ONLINE)
    mine = (frame["variant"] == variant) & (frame["updates_per_step"] == updates_per_step) & (frame["step"] == step)
    return frame[mine].set_index("seed")


def offline_runs(variant: str, alpha: str) -> pd.DataFrame:
    """The rows of one ensemble at one alpha ("0" is none), by draw."""
    frame = read_reported(OFFLINE)
    return frame[(frame["variant"] == variant) & (frame["cql_alpha"] == alpha)].set_index("draw")


def online_markdown() -> list[str]:
    """Every setting at every evaluation after the warm-up."""
    columns = ("return", "estimation_error", "error_sd", "spread")
    heads = ["critics", "updates a step", "steps", "critics' updates", "seeds", "return", "minus two",
             "estimation error", "minus two", "its sd over states", "spread of critics"]  # fmt: skip
    frame, rows = read_reported(ONLINE), []
    for (updates, step), here in frame[frame["updates"] > 0].groupby(["updates_per_step", "step"]):
        for variant in (name for name in (BASE, "ten-pair-mean", "two-from-zero") if (here["variant"] == name).any()):
            mine, base = (online_runs(name, updates, step) for name in (variant, BASE))
            about = [variant, f"{updates}", f"{step:,}", f"{mine['updates'].iloc[0]:,}", f"{len(mine)}"]
            rows.append(about + cells(columns, mine, None if variant == BASE else base))
    return markdown_lines(heads, rows)


def offline_markdown() -> list[str]:
    """Every ensemble without a penalty and with it."""
    columns = ("return", "success", "estimation_error", "error_min", "error_mean", "spread", "spread_data",
               "rank_correlation")  # fmt: skip
    heads = ["alpha", "critics", "draws", "return", "minus two", "success", "error of what the actor climbs",
             "minus two", "of the least critic", "of the mean", "spread at the policy's actions", "at logged actions",
             "rank correlation"]  # fmt: skip
    rows = []
    for alpha in sorted(read_reported(OFFLINE)["cql_alpha"].unique(), key=float):
        base = offline_runs(BASE, alpha)
        for variant in ensembles.ENSEMBLES:
            mine = offline_runs(variant, alpha)
            if mine.empty:  # not measured yet
                continue
            rows.append([alpha, variant, f"{len(mine)}", *cells(columns, mine, None if variant == BASE else base)])
    return markdown_lines(heads, rows)


def online_sheet() -> list[str]:
    """The part of the results' data sheet on updates a step."""
    variants = [name for name in ensembles.WHAT if (read_reported(ONLINE)["variant"] == name).any()]
    return [
        f"## {ONLINE}",
        "",
        "SAC from scratch on Pendulum, no entropy in its backup: "
        f"{ensembles.WARM_UP} steps of the untrained policy, then so many",
        "updates of the critics a step; actor and temperature learn in the last one of a step, whatever the number. So",
        "what varies is how much the critics take from a sample. The last bias of the critics is the mean reward for",
        f"ever of {ensembles.WARM_UP} uniform actions. Nothing is tuned. {ensembles.STATES} common states",
        f"(*pendulum/replay-v0*), {ensembles.ONLINE_STARTS} common starts. {OVER_SEEDS}",
        "",
        *(f"- *{name}*: {ensembles.WHAT[name]}." for name in variants),
        "",
        *online_markdown(),
    ]


def offline_sheet() -> list[str]:
    """The part of the results' data sheet on the critics' spread beside their error."""
    return [
        f"## {OFFLINE}",
        "",
        f"Offline SAC (alpha 0) and CQL in the stitching maze, {ensembles.OFFLINE_STEPS:,} updates of 64 transitions "
        "for all; the settings and",
        "the alpha are those of the table *maze*, where two critics chose it on other draws.",
        f"{ensembles.STATES} common states from draw {ensembles.COMMON}, {ensembles.OFFLINE_STARTS} common starts. "
        "*Spread*: standard deviation over the",
        "critics, mean over states; *rank correlation*: of spread and absolute error over the states of a run.",
        OVER_SEEDS,
        "",
        *(f"- *{name}*: {ensembles.WHAT[name]}." for name in ensembles.ENSEMBLES),
        "",
        *offline_markdown(),
    ]
