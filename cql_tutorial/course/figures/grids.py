"""Maps of a grid world, a cell a state: values on one colour scale, errors around zero."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ...envs.gridworld import Gridworld
from .base import BLACK, ERROR_MAP, GREY, OVER_INK, TRUTH, UNDER_INK, CaptionedFigure

VALUE_MAP = "cividis"
MOVES = ((0.0, -0.62), (0.62, 0.0), (0.0, 0.62), (-0.62, 0.0))  # up, right, down, left, with rows counted downwards


def plain(name: str) -> str:
    """Strip a title of its mathematical marks, for the caption: ``$\\hat Q=Q^\\pi$`` becomes Q-hat=Q^pi."""
    return " ".join(re.sub(r"[$\\{}]", "", name.replace("\\hat Q", "Q-hat")).split())


def value_maps(
    values: Mapping[str, Any], world: Gridworld, *, policies: Mapping[str, Any] | None = None, label: str = "value V(s)"
) -> CaptionedFigure:
    """Draw a map a table of values ``[S]``, side by side on one colour scale, the start's value under each.

    ``values`` maps the name of a truth to its table; nan is drawn empty ("no data"). ``policies`` maps some of those
    names to tables ``[S, A]``, which become an arrow to each state's likeliest action. The caption tells each map's
    value at the start and at how many states each lies above (or below) the one before it.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.6 if len(values) < 4 else 2.9))
    axes = np.atleast_1d(figure.subplots(1, len(values), squeeze=False)[0])
    tables = {name: _going(table, world) for name, table in values.items()}
    stacked = np.concatenate(list(tables.values()))
    low, high = np.nanmin(stacked), np.nanmax(stacked)
    for axis, (name, table) in zip(axes, tables.items(), strict=True):
        image = _draw(axis, table, world, cmap=VALUE_MAP, vmin=low, vmax=high)
        if policies and name in policies:
            _arrows(axis, table, policies[name], world, dark=(low + high) / 2)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel(f"start: {table[world.start_state]:.2f}", fontsize=9)
    figure.colorbar(image, ax=list(axes), label=label, shrink=0.9 if len(values) < 4 else 0.82, pad=0.02)
    names, arrays = [plain(name) for name in tables], list(tables.values())
    parts = [f"{name}: {table[world.start_state]:.2f} at the start" for name, table in zip(names, arrays, strict=True)]
    for i in range(1, len(names)):
        seen = np.isfinite(arrays[i]) & np.isfinite(arrays[i - 1])
        above = int((arrays[i][seen] > arrays[i - 1][seen]).sum())
        side, count = ("above", above) if above else ("below", int((arrays[i][seen] < arrays[i - 1][seen]).sum()))
        parts.append(f"{names[i]}: {side} {names[i - 1]} at {count} of {int(seen.sum())} states")
    figure.caption = "; ".join(parts) + "."
    return figure


def error_maps(
    errors: Mapping[str, Any], world: Gridworld, *, what: str = "Q-hat minus its reference", exact: float = 1e-6
) -> CaptionedFigure:
    """Draw a map a table of errors ``[S]``, on one colour scale around 0, with "over" and "under" on its bar.

    ``errors`` maps a name, which should tell both sides of the comparison, to its table; nan is drawn empty. An error
    below ``exact`` counts as none. The caption counts states over and under, and tells the mean.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.7))
    axes = np.atleast_1d(figure.subplots(1, len(errors), squeeze=False)[0])
    tables = {name: _going(table, world) for name, table in errors.items()}
    limit = max(float(np.nanmax(np.abs(np.concatenate(list(tables.values()))))), exact)
    parts = []
    for axis, (name, table) in zip(axes, tables.items(), strict=True):
        image = _draw(axis, table, world, cmap=ERROR_MAP, vmin=-limit, vmax=limit)
        axis.set_title(name, fontsize=9.5)
        seen = table[np.isfinite(table)]
        over, under = int((seen > exact).sum()), int((seen < -exact).sum())
        mean = seen.mean() if over or under else 0.0
        axis.set_xlabel(f"over at {over}, under at {under} of {len(seen)}\nmean {mean:+.2f}", fontsize=9)
        parts.append(f"{plain(name)}: over at {over} and under at {under} of {len(seen)} states, mean {mean:+.2f}")
    bar = figure.colorbar(image, ax=list(axes), label=what, shrink=0.85 if len(errors) < 4 else 0.6, pad=0.02)
    bar.ax.set_title("over", fontsize=9, color=OVER_INK)
    bar.ax.text(0.5, -0.04, "under", fontsize=9, color=UNDER_INK, ha="center", va="top", transform=bar.ax.transAxes)
    figure.caption = "; ".join(parts) + "."
    return figure


def map_and_curve(
    values: Any,
    world: Gridworld,
    curve: tuple[Sequence[float], Sequence[float]],
    here: int,
    *,
    name: str,
    xlabel: str,
    ylabel: str,
    limits: tuple[float, float],
    policy: Any = None,
) -> CaptionedFigure:
    """Draw a value map beside a curve over settings, the setting ``here`` (its index) marked: a slider's picture.

    ``limits`` is the common colour scale of the family.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.8))
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1.2))
    table, (xs, ys) = _going(values, world), curve
    image = _draw(left, table, world, cmap=VALUE_MAP, vmin=limits[0], vmax=limits[1])
    if policy is not None:
        _arrows(left, table, policy, world, dark=sum(limits) / 2)
    left.set_title(name, fontsize=10)
    figure.colorbar(image, ax=left, label="value V(s)")
    right.plot(xs, ys, color=TRUTH["color"], linestyle=TRUTH["linestyle"], linewidth=1.8)
    right.plot(xs[here], ys[here], "o", color=BLACK, markersize=9)
    beside = (-10, -4, "right") if here > len(xs) / 2 else (10, 4, "left")
    right.annotate(f"{ys[here]:.2f}", (xs[here], ys[here]), beside[:2], textcoords="offset points", ha=beside[2])
    right.set(xlabel=xlabel, ylabel=ylabel)
    right.grid(alpha=0.25)
    figure.caption = (
        f"{name}: {ys[here]:.2f} at the start; values from {np.nanmin(table):.2f} to {np.nanmax(table):.2f}."
    )
    return figure


def _going(table: Any, world: Gridworld) -> np.ndarray:
    """Copy the table as float64 with nan at the terminal states, where no action is taken."""
    array = torch.as_tensor(table).double().numpy().reshape(-1).copy()
    array[world.terminal_states.numpy()] = np.nan
    return array


def _draw(axis: Any, table: np.ndarray, world: Gridworld, **settings: Any) -> Any:
    n = world.size
    axis.set_facecolor("#E8E8E8")
    image = axis.imshow(table.reshape(n, n), **settings)
    for state in world.cliff:
        axis.text(state % n, state // n, "×", ha="center", va="center", color=GREY, fontsize=9)
    axis.text(world.goal % n, world.goal // n, "G", ha="center", va="center", color=BLACK, fontsize=9, weight="bold")
    row, column = divmod(world.start_state, n)
    axis.plot(*_square(column, row), color=BLACK, linewidth=1.6)
    axis.set(xticks=[], yticks=[])
    return image


def _square(column: float, row: float) -> tuple[list[float], list[float]]:
    half = 0.46
    xs, ys = (-half, half, half, -half, -half), (-half, -half, half, half, -half)
    return [column + x for x in xs], [row + y for y in ys]


def _arrows(axis: Any, table: np.ndarray, policy: Any, world: Gridworld, dark: float) -> None:
    """Draw an arrow to each state's likeliest action, white on dark cells; none where all are equally likely."""
    probabilities = np.asarray(policy, dtype=float)
    decided = np.isfinite(table) & (np.ptp(probabilities, axis=1) > 1e-9)
    states = np.flatnonzero(decided)
    right, down = np.array(MOVES)[probabilities[states].argmax(1)].T
    colours = np.where(table[states] < dark, "white", BLACK)
    axis.quiver(
        states % world.size,
        states // world.size,
        right,
        down,
        color=colours,
        pivot="mid",
        angles="xy",
        scale_units="xy",
        scale=1.0,
        width=0.012,
        headwidth=4.5,
        headlength=4,
        headaxislength=3.5,
    )
