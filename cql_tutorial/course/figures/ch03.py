"""Figures of chapter 03: the bias of a maximum, how often greedy actions were tried, values of unlogged actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.colors import ListedColormap
from torch import Tensor

from ...envs.gridworld import Gridworld
from ...evaluation.intervals import t_interval
from .base import ALGORITHMS, BLACK, BLUE, GREEN, GREY, LEARNED, ORANGE, SKY, TRUTH, VERMILION, CaptionedFigure
from .grids import _draw, _going

KINDS = ("unseen", "rarely tried", "well tried")
KIND_COLOURS = (VERMILION, ORANGE, SKY)


def maximum_bias(
    tries: Sequence[int], measured: Mapping[int, Sequence[float]], exact: Mapping[int, Sequence[float]]
) -> CaptionedFigure:
    """Draw the mean of the largest of several sample means whose true means are all 0, against the tries of each.

    ``measured`` and ``exact`` map a number of arms to one value for each of ``tries``: by simulation, by quadrature.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.5))
    axis = figure.subplots()
    for (arms, values), colour, mark in zip(measured.items(), (SKY, ORANGE, VERMILION), "s^o", strict=False):
        axis.plot(tries, values, mark, color=colour, label=f"{arms} arms, simulated")
        axis.plot(tries, exact[arms], ":", color=colour, linewidth=1.5)
    axis.plot([], [], ":", color=GREY, label="expected (quadrature)")
    axis.axhline(0.0, color=BLUE, linestyle="--", label="truth: what the best arm is worth")
    axis.set(xscale="log", xlabel="tries of each arm", ylabel="mean of the largest sample mean (reward)")
    axis.set_xticks(list(tries), [str(t) for t in tries])
    axis.minorticks_off()
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8, frameon=False)
    said = [
        f"{arms} arms: {values[0]:+.1f} at {tries[0]} try, {values[-1]:+.1f} at {tries[-1]} tries"
        for arms, values in measured.items()
    ]
    figure.caption = "True worth of every arm 0; the best looks like: " + "; ".join(said) + "."
    return figure


def kinds_of_greedy(q: Tensor, counts: Tensor, rare: int = 3) -> np.ndarray:
    """Return 0, 1, 2 for a greedy action unseen, tried 1 to ``rare`` times, tried more often; nan if unvisited."""
    tried = counts.gather(1, q.argmax(1, keepdim=True)).squeeze(1).numpy()
    kinds = np.where(tried == 0, 0.0, np.where(tried <= rare, 1.0, 2.0))
    kinds[counts.sum(1).numpy() == 0] = np.nan
    return kinds


def greedy_kinds(tables: Mapping[str, Tensor], counts: Tensor, world: Gridworld, rare: int = 3) -> CaptionedFigure:
    """Map for each table of Q whether a state's greedy action is unseen in the log, rarely tried, or well tried."""
    figure = CaptionedFigure(figsize=(9.0, 3.6))
    axes = np.atleast_1d(figure.subplots(1, len(tables), squeeze=False)[0])
    said = []
    for axis, (name, q) in zip(axes, tables.items(), strict=True):
        said.append(_kind_map(axis, q, counts, world, rare, name))
    _kind_legend(figure)
    figure.caption = "Greedy action of each visited state. " + "; ".join(said) + "."
    return figure


def kinds_and_curve(
    q: Tensor,
    counts: Tensor,
    world: Gridworld,
    scales: Sequence[float],
    predicted: Sequence[float],
    true: Sequence[float],
    here: int,
    rare: int = 3,
) -> CaptionedFigure:
    """Draw the map of `greedy_kinds` beside the start's predicted and true value for every scale of the initial Q."""
    figure = CaptionedFigure(figsize=(9.0, 4.0))
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.3))
    said = _kind_map(left, q, counts, world, rare, f"initial Q = {scales[here]:g} x N(0, 1)")
    x = np.arange(len(scales))
    right.plot(x, predicted, **LEARNED, label="predicted at the start")
    right.plot(x, true, **TRUTH, label="truth: $V^\\pi$ of its greedy policy (exact)")
    right.axvline(x[here], color=BLACK, linewidth=0.8)
    right.set_xticks(x, [f"{scale:g}" for scale in scales])
    right.set(xlabel="scale of the initial Q", ylabel="value at the start (discounted reward)")
    right.grid(alpha=0.25)
    right.legend(fontsize=8, frameon=False, loc="upper left")
    _kind_legend(figure)
    figure.caption = f"{said}; predicted {predicted[here]:.2f}, true {true[here]:.2f} at the start."
    return figure


def _kind_map(axis: Any, q: Tensor, counts: Tensor, world: Gridworld, rare: int, name: str) -> str:
    kinds = kinds_of_greedy(q, counts, rare)
    _draw(axis, _going(torch.tensor(kinds), world), world, cmap=ListedColormap(KIND_COLOURS), vmin=-0.5, vmax=2.5)
    for state in np.flatnonzero(np.isfinite(kinds) & ~world.terminal_states.numpy()):
        axis.text(
            state % world.size, state // world.size, "?!·"[int(kinds[state])], ha="center", va="center", fontsize=9
        )
    axis.set_title(name, fontsize=9.5)
    seen = kinds[np.isfinite(kinds)]
    shares = [float((seen == k).mean()) for k in range(3)]
    axis.set_xlabel(", ".join(f"{kind} {share:.0%}" for kind, share in zip(KINDS, shares, strict=True)), fontsize=8)
    return f"{name}: {shares[0]:.0%} unseen, {shares[1]:.0%} rarely tried"


def _kind_legend(figure: CaptionedFigure) -> None:
    from matplotlib.patches import Patch

    labels = (f"{mark} {kind}" for mark, kind in zip("?!·", KINDS, strict=True))
    handles = [Patch(color=c, label=label) for c, label in zip(KIND_COLOURS, labels, strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)


def every_draw(
    groups: Mapping[str, Sequence[float]],
    *,
    ylabel: str,
    truth: str,
    digits: int = 2,
    draws: Sequence[Any] | None = None,
    zero: str = "truth",
) -> CaptionedFigure:
    """Draw each run as a dot and each group's 95 % t-interval, around the zero line, which is the named truth.

    ``draws`` names the draw of the data of each run: runs on one draw are no independent trials, so the interval is
    then that of the means of the draws. ``zero`` is the word for the zero line where it is no truth but what is
    compared with: "reference". A group that is named after an algorithm wears that algorithm's colour and mark.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.5))
    axis, said = figure.subplots(), []
    for i, (name, values) in enumerate(groups.items()):
        style = next((style for key, style in ALGORITHMS.items() if key in name.split(",")[0].split()), LEARNED)
        mean, half = t_interval(list(values) if draws is None else _means(values, draws))
        spread = np.linspace(-0.14, 0.14, len(values)) if len(values) > 1 else [0.0]
        place, mark = i + np.asarray(spread), style["marker"]
        axis.plot(place, values, mark, color=style["color"], markersize=4, alpha=0.7)
        axis.errorbar(i + 0.28, mean, half, fmt="D", color=BLACK, capsize=4, markersize=5)
        word = "above" if mean - half > 0 else "below" if mean + half < 0 else "not told apart from"
        said.append(f"{name}: {mean:+.{digits}f} ± {half:.{digits}f}, {word} the {zero}")
    line: dict[str, Any] = {"color": BLUE, "linestyle": "--"} if zero == "truth" else {"color": BLACK, "linestyle": ":"}
    axis.axhline(0.0, **line, label=f"{zero}: {truth}")
    axis.set_xticks(range(len(groups)), list(groups))
    axis.set(ylabel=ylabel, xlim=(-0.5, len(groups) - 0.3))
    axis.grid(axis="y", alpha=0.25)
    axis.legend(fontsize=8, frameon=False)
    over = "" if draws is None else f"; the interval is over {len(set(draws))} draws of the data"
    figure.caption = "; ".join(said) + f" (each of {len(next(iter(groups.values())))} runs is a dot{over})."
    return figure


def _means(values: Sequence[float], draws: Sequence[Any]) -> list[float]:
    """The mean of the runs on each draw of the data."""
    return [
        float(np.mean([v for v, draw in zip(values, draws, strict=True) if draw == one]))
        for one in dict.fromkeys(draws)
    ]


def error_parts(parts: Mapping[str, Mapping[str, Sequence[float]]]) -> CaptionedFigure:
    """Draw, a panel a setting, how much of the estimation error at the start arises at pairs of each kind.

    ``parts`` maps a setting to kinds of pairs, each with one number a log; bars are means, with 95 % t-intervals.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.4))
    axes = np.atleast_1d(figure.subplots(1, len(parts), squeeze=False)[0])
    said = []
    for axis, (name, kinds) in zip(axes, parts.items(), strict=True):
        found = {kind: t_interval(list(values)) for kind, values in kinds.items()}
        x = np.arange(len(found))
        means, halves = ([pair[k] for pair in found.values()] for k in range(2))
        axis.bar(x, means, color=KIND_COLOURS, edgecolor=BLACK, linewidth=0.6, width=0.6)
        axis.errorbar(x, means, halves, fmt="none", ecolor=BLACK, capsize=4)
        axis.axhline(0.0, color=BLUE, linestyle="--")
        axis.set_xticks(x, list(found))
        axis.set(title=name, xlabel="pairs where it arises")
        axis.grid(axis="y", alpha=0.25)
        said.append(f"{name}: " + ", ".join(f"{kind} {mean:+.1f} ± {half:.1f}" for kind, (mean, half) in found.items()))
    axes[0].set_ylabel("part of the estimation error")
    figure.caption = ("Where the error at the start arises. " + "; ".join(said) + ".").replace("-0.0", "+0.0")
    return figure


def invented(x: Tensor, predictions: Tensor, truth: Tensor, logged: tuple[float, float]) -> CaptionedFigure:
    """Draw what networks fitted on part of the actions predict for all of them: ``predictions [seeds, n]``."""
    figure = CaptionedFigure(figsize=(9.0, 3.6))
    axis = figure.subplots()
    axis.axvspan(*logged, color=GREEN, alpha=0.12, linewidth=0, label="actions in the log")
    for i, line in enumerate(predictions):
        axis.plot(
            x, line, color=VERMILION, linewidth=0.9, alpha=0.6, label="a network's value, a seed" if i == 0 else None
        )
        top = int(line.argmax())
        axis.plot(x[top], line[top], "^", color=VERMILION, markersize=6, label="its maximum" if i == 0 else None)
    axis.plot(x, truth, color=BLUE, linestyle="--", linewidth=2, label="truth: mean reward (exact)")
    axis.set(xlabel="action", ylabel="value (reward)")
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    inside = (x >= logged[0]) & (x <= logged[1])
    best = predictions.argmax(1)
    outside = int((~inside[best]).sum())
    over = int((predictions.amax(1) > truth.amax() + 0.1).sum())
    figure.caption = (
        f"The maximum lies outside the log in {outside} of {len(predictions)} networks, and promises more than "
        f"any action is worth in {over}."
    )
    return figure
