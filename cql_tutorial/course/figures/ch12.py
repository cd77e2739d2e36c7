"""Figures of chapter 12: curves of a run beside healthy ones, and what detects which bug."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .base import BLACK, BLUE, GREY, VERMILION, CaptionedFigure

PANEL_TITLES = {
    "q_value": "Q of logged actions",
    "td_loss": "squared Bellman error",
    "cql_gap": "CQL gap",
    "entropy": "entropy of the policy",
    "temperature": "temperature",
    "cql_alpha": "multiplier",
    "policy_loss": "policy's loss",
}
STILL = 1e-6  # what a curve moves, in all, that does not move


def beside_healthy(
    healthy: Sequence[Any], runs: Mapping[str, Any], columns: Sequence[str], marked: Mapping[int, str] | None = None
) -> CaptionedFigure:
    """Draw logged curves of runs over the band of healthy ones (smallest to largest at each update), a panel a column.

    ``healthy`` holds histories, ``runs`` maps a name to one; ``marked`` maps an update to what happened there. The
    caption says of each run where it ends, beside the band, and whether it stands still in its second half.
    """
    there = [name for name in columns if all(name in history.columns for history in healthy)]
    figure = CaptionedFigure(figsize=(9.0, 2.9))
    axes = figure.subplots(1, len(there), squeeze=False)[0]
    said: dict[str, list[str]] = {name: [] for name in runs}
    for axis, column in zip(axes, there, strict=True):
        steps = np.asarray(healthy[0]["step"], float)
        values = np.array([history[column] for history in healthy], float)
        low, high = values.min(0), values.max(0)
        axis.fill_between(steps, low, high, color=BLUE, alpha=0.25, linewidth=0, label=f"{len(healthy)} healthy runs")
        for (name, history), (colour, line) in zip(runs.items(), LOOKS, strict=False):
            mine = np.asarray(history[column], float)
            axis.plot(np.asarray(history["step"], float), mine, line, color=colour, linewidth=1.8, label=name)
            where = "above" if mine[-1] > high[-1] else "below" if mine[-1] < low[-1] else "inside"
            still = np.ptp(mine[len(mine) // 2 + 1 :]) < STILL and np.ptp(low[len(low) // 2 + 1 :]) >= STILL
            said[name].append(f"{PANEL_TITLES[column]} {where}{', and does not move' if still else ''}")
        for step in marked or {}:
            axis.axvline(step, color=GREY, linestyle=":", linewidth=1.2)
        axis.set_title(PANEL_TITLES[column], fontsize=9)
        axis.set_xlabel("updates", fontsize=9)
        axis.grid(alpha=0.25)
    for step, words in (marked or {}).items():
        axes[0].plot([], [], color=GREY, linestyle=":", label=f"{words}, update {step}")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    figure.caption = "At the end, beside the band of the healthy runs. " + " ".join(
        f"{name}: {'; '.join(words)}." for name, words in said.items()
    )
    return figure


LOOKS = ((VERMILION, "-"), (BLACK, "--"), ("#009E73", "-."))


def detection_map(rates: Mapping[str, Mapping[str, float]], columns: Sequence[str], title: str) -> CaptionedFigure:
    """Draw which detector tells which bug: a row a bug, a column a detector, the share of its runs written in the cell.

    ``rates`` maps a row's title to shares in [0, 1]; a detector that a row lacks is left empty. The caption counts rows
    that no detector tells in every run.
    """
    rows = list(rates)
    table = np.array([[rates[row].get(name, np.nan) for name in columns] for row in rows], float)
    figure = CaptionedFigure(figsize=(9.0, 1.4 + 0.3 * len(rows)))
    axis = figure.subplots()
    axis.imshow(np.nan_to_num(table, nan=0.0), cmap="Oranges", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(table):
        if np.isfinite(value) and value > 0:
            axis.text(j, i, f"{value:.0%}", ha="center", va="center", fontsize=8, color="w" if value > 0.7 else BLACK)
    axis.set_xticks(range(len(columns)), [PANEL_TITLES.get(name, name) for name in columns], fontsize=8, rotation=20)
    axis.set_xticklabels(axis.get_xticklabels(), ha="right")
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.set_title(title, fontsize=10)
    best = {row: max((rates[row].get(name, 0.0) for name in columns), default=0.0) for row in rows}
    bugs = [row for row in rows if not row.startswith("healthy")]
    silent = [row for row in bugs if best[row] == 0]
    sure = [row for row in bugs if best[row] == 1]
    false = {row: best[row] for row in rows if row.startswith("healthy") and best[row] > 0}
    figure.caption = (
        f"{title}. Of {len(bugs)} bugs {len(sure)} are told in every run by one and the same column, {len(silent)} by "
        f"none in any run{': ' + ', '.join(silent) if silent else ''}. False alarms in "
        f"the column that has most: "
        f"{', '.join(f'{row} {share:.0%}' for row, share in false.items()) or 'none'}."
    )
    return figure
