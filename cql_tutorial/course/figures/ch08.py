"""Figure of chapter 08: the maze from above, with an agent's values, its actions, and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...envs.maze import Maze
from .base import BLACK, BLUE, ERROR_MAP, CaptionedFigure


def maze_values(
    world: Maze, places: Any, snapshot: Mapping[str, Any], title: str, limits: tuple[float, float] = (20.0, 8.0)
) -> CaptionedFigure:
    """Draw the value with the policy's mean actions as arrows, and value minus truth, at places ``[n, 2]``.

    ``snapshot`` holds ``action [n, 2]``, ``value [n]`` and ``error [n]`` (`studies.ch08.maze_snapshot`).
    """
    figure = CaptionedFigure(figsize=(9.0, 4.0))
    left, right = figure.subplots(1, 2, sharey=True)
    x, y = np.asarray(places, float).T
    value, error, action = (np.asarray(snapshot[name], float) for name in ("value", "error", "action"))
    panels = (
        (left, value, dict(cmap="viridis", vmin=0, vmax=limits[0]), "smallest critic's value of the mean action"),
        (right, error, dict(cmap=ERROR_MAP, vmin=-limits[1], vmax=limits[1]), r"Q-hat minus $Q^\pi$ (Monte-Carlo)"),
    )
    for axis, numbers, colours, label in panels:
        dots = axis.scatter(x, y, c=numbers, marker="s", s=118, linewidth=0, **colours)
        bar = figure.colorbar(dots, ax=axis, shrink=0.85, extend="both", label=label)
        if axis is right:
            bar.ax.set_title("over", fontsize=9)
            bar.ax.set_xlabel("under", fontsize=9)
        w = world.half_width
        for a in (-w, w):  # the walls
            for far in (-1, 1):
                axis.plot([a, a], [far * w, far], color=BLACK, linewidth=1)
                axis.plot([far * w, far], [a, a], color=BLACK, linewidth=1)
        axis.axhline(world.goal, 0.4, 0.6, color=BLUE, linestyle="--", linewidth=1.6)
        axis.set(xlim=(-1.02, 1.02), ylim=(-1.02, 1.02), aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    left.quiver(x, y, *action.T, color="white", scale=22, width=0.005)
    left.set_title(title, fontsize=11)
    right.set_title("error; blue: the goal's edge", fontsize=11)
    in_left, top = (x < -0.3), (y > world.goal)
    way = "rightwards" if np.mean(action[in_left, 0]) > 0.1 else "not rightwards"
    centre = (np.abs(x) <= 0.21) & (np.abs(y) <= 0.21)
    turn = "up" if np.mean(action[centre, 1]) > 0.1 else "down" if np.mean(action[centre, 1]) < -0.1 else "neither way"
    spread = "falls off with the distance from it" if value[top].mean() > value[in_left].mean() + 1 else "is flat"
    best = "largest at the goal" if value[top].mean() >= value.mean() else "not largest at the goal"
    figure.caption = (
        f"{title}: in the left arm the policy goes {way}, at the crossing {turn}; the value is {best} and {spread}."
    )
    return figure
