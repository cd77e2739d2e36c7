"""Figures of chapter 01: which states a log visits, how well it shows its author's policy, what it covers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .base import ALGORITHMS, BLACK, GREY, SKY, VERMILION, CaptionedFigure


def three_logs(maze: Tensor, pendulum: Tensor, visits: Tensor) -> CaptionedFigure:
    """Draw where three logs have been: positions, angle and speed (each ``[N, 2]``), visits of states ``[S]``."""
    figure = CaptionedFigure(figsize=(9.0, 3.4))
    left, middle, right = figure.subplots(1, 3)
    log = ALGORITHMS["log"]["color"]
    left.plot(*maze.T, ".", color=log, markersize=1, alpha=0.4)
    left.set(title="maze", xlabel="x", ylabel="y", xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
    middle.plot(*pendulum.T, ".", color=log, markersize=1, alpha=0.4)
    middle.set(
        title="Pendulum, medium",
        xlabel="angle (rad, 0 is upright)",
        ylabel="speed (rad/s)",
        xlim=(-3.3, 3.3),
        ylim=(-8.4, 8.4),
    )
    ranked = visits.sort(descending=True).values
    some = ranked[ranked > 0]  # a logarithm has no place for 0
    right.plot(np.arange(1, len(some) + 1), some, color=log, linewidth=2)
    right.set(title="sepsis", xlabel="states with rows, by rank", ylabel="rows in the state", yscale="log")
    for axis in (left, middle, right):
        axis.grid(alpha=0.25)
    boxes = [
        _boxes(points, low, high) for points, low, high in ((maze, -1.0, 1.0), (pendulum, (-3.2, -8.0), (3.2, 8.0)))
    ]
    top = float(ranked[: len(ranked) // 10].sum() / ranked.sum())
    none = int((visits == 0).sum())
    figure.caption = (
        f"Of 400 equal boxes the maze log has been in {boxes[0]}, the Pendulum log in {boxes[1]}; the tenth of the "
        f"sepsis states visited most holds {top:.0%} of its rows, {none} of {len(visits)} have none, and none has more "
        f"than {int(ranked[0])}."
    )
    return figure


def _boxes(points: Tensor, low: Any, high: Any) -> int:
    """Count those of 20 x 20 equal boxes that hold a point."""
    low, high = torch.as_tensor(low).double(), torch.as_tensor(high).double()
    cells = ((points.double() - low) / (high - low) * 20).floor().clamp(0, 19).long()
    return len(torch.unique(cells[:, 0] * 20 + cells[:, 1]))


def author_error(visits: Tensor, errors: Tensor) -> CaptionedFigure:
    """Draw the total variation between counted and true author against visits, a dot a state; both ``[S]``."""
    figure = CaptionedFigure(figsize=(9.0, 3.5))
    axis = figure.subplots()
    axis.plot(visits, errors.clamp(min=1e-3), ".", color=GREY, markersize=4, label="a state")
    edges = [1, 4, 16, 64, 256, 1024, float("inf")]
    means, said = [], []
    for low, high in pairwise(edges):
        inside = (visits >= low) & (visits < high)
        if inside.any():
            means.append((float(visits[inside].double().log().mean().exp()), float(errors[inside].mean())))
    said = [f"{means[0][1]:.2f} in the states with the fewest rows", f"{means[-1][1]:.2f} in those with the most"]
    axis.plot(*zip(*means, strict=True), "D-", color=BLACK, label="mean of a group")
    start = means[len(means) // 2]
    guide = np.array([float(visits.min()), float(visits.max())])
    axis.plot(guide, start[1] * (start[0] / guide) ** 0.5, ":", color=BLACK, label="one over the root of the rows")
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="rows in the state",
        ylabel="total variation to the\ntrue behaviour policy (exact)",
    )
    axis.set_ylim(5e-3, 1.2)
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8, frameon=False)
    figure.caption = f"Mean distance between the counted and the true author: {', '.join(said)}."
    return figure


def nearest_rows(distances: Mapping[str, Mapping[str, float]]) -> CaptionedFigure:
    """Draw the median distance to the nearest logged row: a line a log, a mark a kind of query."""
    figure = CaptionedFigure(figsize=(9.0, 2.6))
    axis = figure.subplots()
    kinds = list(next(iter(distances.values())))
    for kind, mark, colour in zip(kinds, "|^so", (BLACK, GREY, SKY, BLACK), strict=False):
        values = [group[kind] for group in distances.values()]
        axis.plot(values, range(len(values)), mark, color=colour, markersize=14 if mark == "|" else 8, label=kind)
    axis.set_yticks(range(len(distances)), list(distances))
    axis.set(
        xlabel="median distance to the nearest logged row (in units of the largest size of each number)",
        ylim=(len(distances) - 0.5, -0.5),
    )
    axis.grid(alpha=0.25)
    figure.legend(loc="outside upper center", ncols=4, fontsize=8, frameon=False, title="asked at", title_fontsize=8)
    said = [
        f"{name}: " + ", ".join(f"{kind} {value:.2f}" for kind, value in group.items())
        for name, group in distances.items()
    ]
    figure.caption = "; ".join(said) + "."
    return figure


def covered_decisions(
    episodes: Sequence[int], shares: Mapping[str, Sequence[float]], here: int | None = None
) -> CaptionedFigure:
    """Draw the share of each policy's decisions that a log has seen, against its size; ``here`` marks one size."""
    figure = CaptionedFigure(figsize=(9.0, 3.5))
    axis, said = figure.subplots(), []
    for (name, values), colour, mark in zip(shares.items(), (GREY, BLACK, SKY), "so^", strict=False):
        axis.plot(episodes, values, marker=mark, color=colour, label=name)
        at = len(values) - 1 if here is None else here
        said.append(f"{name} {values[at]:.0%}")
        if here is not None:
            axis.plot(episodes[here], values[here], marker=mark, color=VERMILION, markersize=11)
    axis.set(xscale="log", ylim=(-0.03, 1.05), xlabel="episodes in the log", ylabel="share of decisions seen")
    axis.set_xticks(list(episodes), [f"{n:,}" for n in episodes], fontsize=8)
    axis.minorticks_off()
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8, frameon=False)
    size = episodes[-1 if here is None else here]
    figure.caption = f"Decisions that a log of {size:,} episodes has seen: " + ", ".join(said) + "."
    return figure
