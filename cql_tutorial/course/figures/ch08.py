"""Figures of chapter 08: what a run logs, and the maze from above with an agent's values, actions and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...envs.maze import Maze
from .base import ALGORITHMS, BLACK, BLUE, ERROR_MAP, GREEN, PURPLE, CaptionedFigure

CLEAR = 0.3  # of what a curve spans: a trend that another machine shows as well
OTHER_RUNS = (
    {"color": BLACK, "linestyle": "--"},
    {"color": GREEN, "linestyle": "-."},
    {"color": PURPLE, "linestyle": ":"},
)


def metric_curves(
    histories: Mapping[str, Any], columns: Mapping[str, str], references: Mapping[str, tuple[str, float]] | None = None
) -> CaptionedFigure:
    """Draw logged metrics against updates: a panel a metric, a line a run, and named reference lines.

    ``columns`` maps a column of the histories to its axis label, ``references`` a column to a label and a height. The
    caption tells how each curve ended, by more than three tenths of what it spans, or that it did not change so far.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.3))
    axes = figure.subplots(1, len(columns), squeeze=False)[0]
    said = []
    for axis, (column, label) in zip(axes, columns.items(), strict=True):
        spare, ends = iter(OTHER_RUNS), []
        for name, history in histories.items():
            look = ALGORITHMS[name] if name in ALGORITHMS else next(spare)
            steps, values = np.asarray(history["step"], float), np.asarray(history[column], float)
            kept = np.isfinite(values)
            shape = {key: look[key] for key in ("color", "linestyle")}
            axis.plot(steps[kept], values[kept], **shape, linewidth=1.8, label=name)
            change = values[kept][-1] - values[kept][len(values[kept]) // 2]
            share = change / max(float(np.ptp(values[kept])), 1e-12)
            ends.append(f"{name} {'rises' if share > CLEAR else 'falls' if share < -CLEAR else 'no clear trend'}")
        if references and column in references:
            text, height = references[column]
            axis.axhline(height, color=BLACK, linestyle=":", linewidth=1.0)
            axis.annotate(text, (0.98, height), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
        axis.set(ylabel=label, xlabel="updates")
        axis.grid(alpha=0.25)
        said.append(f"{label}: {', '.join(ends)}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=9, frameon=False)
    figure.caption = f"Second half of the runs. {'; '.join(said)}."
    return figure


def maze_values(
    world: Maze, places: Any, snapshot: Mapping[str, Any], title: str, limits: tuple[float, float] = (20.0, 8.0)
) -> CaptionedFigure:
    """Draw the value with the policy's mean actions as arrows, and value minus truth, at places ``[n, 2]``.

    ``snapshot`` holds ``action [n, 2]``, ``value [n]`` and ``error [n]`` (`studies.ch08.maze_snapshot`).
    """
    figure = CaptionedFigure(figsize=(9.0, 4.4))
    left, right = figure.subplots(1, 2)
    x, y = np.asarray(places, float).T
    value, error, action = (np.asarray(snapshot[name], float) for name in ("value", "error", "action"))
    panels = (
        (left, value, dict(cmap="viridis", vmin=0, vmax=limits[0]), "value (smallest critic, return)"),
        (
            right,
            error,
            dict(cmap=ERROR_MAP, vmin=-limits[1], vmax=limits[1]),
            r"Q-hat minus $Q^\pi$ (Monte-Carlo), return",
        ),
    )
    for axis, numbers, colours, label in panels:
        dots = axis.scatter(x, y, c=numbers, marker="s", s=118, linewidth=0, **colours)
        bar = figure.colorbar(dots, ax=axis, shrink=0.85, extend="both", label=label)
        if axis is right:
            bar.ax.set_title("over", fontsize=9)
            bar.ax.set_xlabel("under", fontsize=9, labelpad=12)
        w = world.half_width
        for a in (-w, w):  # the walls
            for far in (-1, 1):
                axis.plot([a, a], [far * w, far], color=BLACK, linewidth=1)
                axis.plot([far * w, far], [a, a], color=BLACK, linewidth=1)
        axis.axhline(world.goal, 0.4, 0.6, color=BLUE, linestyle="--", linewidth=1.6)
        axis.set(xlim=(-1.02, 1.02), ylim=(-1.02, 1.02), aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
        axis.set(xlabel="position, x", ylabel="position, y")
    left.quiver(x, y, *action.T, color="white", scale=22, width=0.005)
    left.set_title(title, fontsize=11)
    right.set_title("error; blue: the goal's edge", fontsize=11)
    in_left, top = (x < -0.3), (y > world.goal)
    way = "rightwards" if np.mean(action[in_left, 0]) > 0.1 else "not rightwards"
    centre = (np.abs(x) <= 0.21) & (np.abs(y) <= 0.21)
    turn = "up" if np.mean(action[centre, 1]) > 0.1 else "down" if np.mean(action[centre, 1]) < -0.1 else "neither way"
    lower = y < -0.3
    down = "down" if np.mean(action[lower, 1]) < -0.1 else "up" if np.mean(action[lower, 1]) > 0.1 else "neither way"
    spread = "falls off with the distance from it" if value[top].mean() > value[in_left].mean() + 1 else "is flat"
    best = "largest at the goal" if value[top].mean() >= value.mean() else "not largest at the goal"
    figure.caption = (
        f"{title}: in the left arm the policy goes {way}, at the crossing {turn}, in the lower arm "
        f"{down}; the value is {best} and {spread}."
    )
    return figure
