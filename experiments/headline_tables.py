"""What is shown of the headline tables: intervals over data draws, every run beside them, and the runs made again."""

from __future__ import annotations

from itertools import combinations
from statistics import median

import pandas as pd

from experiments.headline import EXTENSIONS, chosen_alpha, extension_of
from experiments.tables import markdown_lines, mean_and_interval, read_frame, read_reported

AGAIN = "-again"  # a table's runs once more
ORDER = {"bc": 0, "bc-late-turn": 1, "bc-25%": 2, "sac": 3, "sac-decay": 4, "iql": 5}  # then CQL, and the extensions
ALGORITHM = ["algorithm", "cql_alpha"]


def interval_over_draws(values: pd.Series, draws: pd.Series, form: str) -> str:
    """Mean and t-interval over the draws' means: the draw, not the training seed, is the unit that varies most."""
    return mean_and_interval(values.groupby(draws).mean(), form)


def list_runs(values: pd.Series, draws: pd.Series, form: str) -> str:
    """Every run: those of a draw side by side, a semicolon between draws."""
    return "; ".join(" ".join(f"{value:{form}}" for value in mine) for _, mine in values.groupby(draws))


def markdown(table: str, every_run: bool = True, extensions: bool = True) -> list[str]:
    """The table of one task: the interval over draws, and every run unless told otherwise."""
    lagrange = table == "lagrange"  # one draw: there a seed is the unit
    columns = {"return": ".1f", "success": ".2f", "estimation_error": "+.1f", "share_impossible": ".2f"}
    if lagrange:
        columns = {"return": ".1f", "estimation_error": "+.1f", "cql_gap": "+.3f", "multiplier": ".2f"}
    elif not table.startswith("maze"):
        del columns["success"]
    listed = ("return", "cql_gap") if every_run else ()  # these columns are followed by every run
    heads = ["algorithm"]
    for column in columns:
        heads += [column, "each run" if lagrange else "each draw: its seeds"] if column in listed else [column]
    tuned = chosen_alpha(table) if (read_frame(table)["split"] == "tune").any() else ""
    groups = sorted(read_reported(table).groupby(ALGORITHM, sort=False), key=lambda group: _place(*group[0]))
    rows = []
    for (algorithm, alpha), mine in groups:
        if extension_of(algorithm) and not extensions:
            continue
        cells = [_label(algorithm, alpha, tuned)]
        units = mine["seed" if lagrange else "draw"]
        for column, form in columns.items():
            if mine[column].isna().all():
                cells.append("")
                continue
            cells.append(interval_over_draws(mine[column], units, form))
            if column in listed:
                cells.append(list_runs(mine[column], units, form))
        rows.append(cells)
    return markdown_lines(heads, rows)


def _label(algorithm: str, alpha: str, tuned: str) -> str:
    extension = extension_of(algorithm)
    if extension:  # reported at what tuning chose: the alpha, or the regularisation that stands in the name
        return f"{extension} {alpha or algorithm.removeprefix(f'{extension}-')} (tuned)"
    label = f"cql {alpha}" if algorithm == "cql" else algorithm
    return f"{label} (tuned)" if alpha and alpha == tuned else label


def _place(algorithm: str, alpha: str) -> tuple[int, float]:
    extension = extension_of(algorithm)
    if extension:
        return len(ORDER) + 1 + EXTENSIONS.index(extension), 0.0
    return ORDER.get(algorithm, len(ORDER)), float(alpha or 0)


def compare_again(table: str) -> list[str]:
    """A table's runs beside the same ones made again by another form of the update: what rounding alone changes."""
    heads = ["algorithm", "return", "made again", "change by draw", "a run's change", "seeds of a draw differ by"]
    heads += ["estimation error", "made again", "change by draw"]
    pairs = read_reported(table).merge(
        read_reported(table + AGAIN), on=[*ALGORITHM, "draw", "seed"], suffixes=("", " again")
    )
    stacked = ~(pairs["algorithm"].str.startswith("bc") | (pairs["algorithm"] == "iql"))
    rows = []
    for (algorithm, alpha), mine in pairs[stacked].groupby(ALGORITHM, sort=False):  # the others have but one form
        cells = [f"{algorithm} {alpha}".strip()]
        for column, form in (("return", ".1f"), ("estimation_error", "+.1f")):
            change = mine[f"{column} again"] - mine[column]
            cells += [interval_over_draws(mine[name], mine["draw"], form) for name in (column, f"{column} again")]
            cells.append(interval_over_draws(change, mine["draw"], "+.1f"))
            if column == "return":
                draws = [returns for _, returns in mine["return"].groupby(mine["draw"])]
                apart = [abs(a - b) for returns in draws for a, b in combinations(returns, 2)]
                cells += [f"{change.abs().median():.1f}", f"{median(apart):.1f}" if apart else "one seed"]
        rows.append(cells)
    return markdown_lines(heads, rows)
