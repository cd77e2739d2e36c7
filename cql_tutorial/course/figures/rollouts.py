"""What a policy does: a pendulum drawn as a strip of moments, the paths of many starts through the maze."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch import Tensor

from ...envs.maze import Maze
from ...envs.pendulum import TIME_STEP
from .base import BLACK, GREY, CaptionedFigure, algorithm_style

HANGING = torch.tensor([[math.pi, 0.0]])  # the pendulum's hardest start: at rest, pointing down
UPRIGHT = 0.3  # rad; a pendulum within this of the top is called upright, 17 degrees


@torch.no_grad()
def record_path(
    world: Any, policy: Callable[..., Tensor], states: Tensor, steps: int | None = None, seed: int = 0
) -> Tensor:
    """Let a policy act from each of the states, and keep all states: ``[n, D] -> [steps + 1, n, D]``.

    ``policy(observations, generator)`` returns actions; ``steps`` is the world's horizon by default. For worlds that
    never terminate (Pendulum, Maze).
    """
    generator, path = torch.Generator().manual_seed(seed), [states]
    for _ in range(steps or world.horizon):
        states = world.step(states, policy(world.observe(states), generator), generator)[0]
        path.append(states)
    return torch.stack(path)


def pendulum_strip(paths: Mapping[str, Tensor], moments: int = 14) -> CaptionedFigure:
    """Draw the pendulum at equal distances in time, a row a policy; up is the goal.

    ``paths`` maps a policy's name to states ``[steps + 1, 2]`` or ``[steps + 1, n, 2]`` (`record_path`), of which the
    first start is drawn. The caption tells from when on each stays upright, within 0.3 rad of the top.
    """
    tables = {name: _angles(path) for name, path in paths.items()}
    last = min(len(angles) for angles in tables.values()) - 1
    shown = np.unique(np.linspace(0, last, moments).round().astype(int))
    step, left = 2.4, 0.36 * max(map(len, tables)) + 1.6  # in lengths of the rod; the names stand at the left
    width, height = left + step * (len(shown) - 1) + 1.2, step * (len(tables) - 1) + 3.6
    figure = CaptionedFigure(figsize=(9.0, 9.0 * height / width))
    axis = figure.subplots()
    for row, (name, angles) in enumerate(tables.items()):
        colour = algorithm_style(name)["color"]
        axis.text(-1.4, -step * row, name, ha="right", va="center", fontsize=9)
        for column, moment in enumerate(shown):
            _pendulum(axis, step * column, -step * row, angles[moment], colour)
    for column, moment in enumerate(shown):
        axis.text(step * column, 1.4, f"{moment * TIME_STEP:.1f} s", ha="center", va="bottom", fontsize=8)
    axis.set(xlim=(-left, width - left), ylim=(2.4 - height, 2.4), aspect="equal")
    axis.axis("off")
    figure.caption = "; ".join(f"{name} {_told(angles[: last + 1])}" for name, angles in tables.items()) + "."
    return figure


def pendulum_moment(paths: Mapping[str, Tensor], at: int) -> CaptionedFigure:
    """Draw the pendulum after ``at`` steps, a panel a policy, with its last moments paler: one frame of a film."""
    figure = CaptionedFigure(figsize=(2.3 * len(paths), 2.6))
    said = []
    for axis, (name, path) in zip(figure.subplots(1, len(paths), squeeze=False)[0], paths.items(), strict=True):
        angles = _angles(path)
        now = min(at, len(angles) - 1)
        for before in range(min(now, 6), -1, -1):
            _pendulum(axis, 0.0, 0.0, angles[now - before], algorithm_style(name)["color"], 1.0 - 0.14 * before)
        axis.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal")
        axis.axis("off")
        axis.set_title(name, fontsize=9)
        up = abs(angles[now]) <= UPRIGHT
        said.append(f"{name} is {'upright' if up else f'{math.degrees(abs(angles[now])):.0f} degrees from upright'}")
    figure.caption = f"After {at * TIME_STEP:.2f} s: {'; '.join(said)}."
    return figure


def maze_paths(world: Maze, paths: Mapping[str, Tensor], at: int | None = None) -> CaptionedFigure:
    """Draw the ways of many starts through the maze, a panel a policy; each way ends in a dot.

    ``paths`` maps a policy's name to states ``[steps + 1, n, 2]`` (`record_path`). ``at`` ends the ways at that step: a
    film's frame. The caption counts the starts that have stood on the goal.
    """
    figure = CaptionedFigure(figsize=(9.0, 9.0 / len(paths) + 0.35 if len(paths) > 2 else 4.0))
    said = []
    for axis, (name, path) in zip(figure.subplots(1, len(paths), squeeze=False)[0], paths.items(), strict=True):
        style, w = algorithm_style(name), world.half_width
        for corner, width, height in (((-1, -w), 2, 2 * w), ((-w, -1), 2 * w, 2)):
            axis.add_patch(_rectangle(corner, width, height, "#EEEEEE"))
        axis.add_patch(_rectangle((-w, world.goal), 2 * w, 1 - world.goal, "#BBBBBB"))
        axis.text(0, (1 + world.goal) / 2, "goal", ha="center", va="center", fontsize=8)
        kept = path if at is None else path[: at + 1]
        axis.plot(*kept.permute(2, 0, 1), color=style["color"], linewidth=0.9, alpha=0.5)
        axis.plot(*kept[0].T, "|", color=BLACK, markersize=5)
        axis.plot(*kept[-1].T, "o", color=style["color"], markersize=4, markeredgecolor=BLACK, markeredgewidth=0.5)
        axis.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
        axis.set_xlabel("x", fontsize=8)
        axis.set_ylabel("y", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.set_title(name, fontsize=10)
        there = int((kept[..., 1] > world.goal).any(0).sum())
        said.append(f"{name}: {there} of {path.shape[1]} starts reach the goal")
    figure.supxlabel("bars: starts; dots: where the ways end", fontsize=8)
    steps = min(len(path) for path in paths.values()) - 1
    figure.caption = "; ".join(said) + f" within {steps if at is None else min(at, steps)} steps."
    return figure


def _angles(path: Tensor) -> np.ndarray:
    """Angles of the first start, 0 upright, wrapped to ±pi."""
    angles = (path if path.ndim == 2 else path[:, 0])[:, 0].double().numpy()
    return (angles + math.pi) % (2 * math.pi) - math.pi


def _pendulum(axis: Any, x: float, y: float, angle: float, colour: Any, alpha: float = 1.0) -> None:
    """Draw one pendulum about (x, y); as in Gymnasium angles grow counter-clockwise from the top."""
    tip = (x - math.sin(angle), y + math.cos(angle))
    axis.plot([x, x], [y, y + 1.0], color=GREY, linewidth=0.8, linestyle=":")
    axis.plot([x, tip[0]], [y, tip[1]], color=colour, linewidth=3.5, alpha=alpha, solid_capstyle="round")
    axis.plot(x, y, "o", color=BLACK, markersize=3)


def _told(angles: np.ndarray) -> str:
    """Say from when on the pendulum stays upright, or how it ends."""
    away = np.flatnonzero(np.abs(angles) > UPRIGHT)
    if len(away) == 0:
        return "is upright all the time"
    if away[-1] == len(angles) - 1:
        return "never gets up" if len(away) == len(angles) else "does not end upright"
    return f"stays upright from {(away[-1] + 1) * TIME_STEP:.1f} s on"


def _rectangle(corner: tuple[float, float], width: float, height: float, colour: str) -> Any:
    return Rectangle(corner, width, height, facecolor=colour, edgecolor="none", zorder=0)
