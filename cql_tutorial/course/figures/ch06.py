"""Figures of chapter 06: estimates of the log of the integral of exp Q against quadrature; error, cost, proposals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .base import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, CaptionedFigure

ERROR = "estimate minus log-integral\n(truth: quadrature), nats"
RMSE = "root-mean-square error, nats\n(truth: quadrature)"
# An estimator keeps its colour, line and mark in the whole chapter; an unknown one gets the next of the spare ones.
MARKS: dict[str, dict[str, Any]] = {
    "uniform only": {"color": GREY, "linestyle": ":", "marker": "v"},
    "policy only": {"color": PURPLE, "linestyle": "-.", "marker": "^"},
    "own density": {"color": VERMILION, "linestyle": "-", "marker": "o"},
    "mixture": {"color": GREEN, "linestyle": "-.", "marker": "s"},
    "no uniform density": {"color": ORANGE, "linestyle": "--", "marker": "D"},
}
SPARE = {"color": SKY, "linestyle": "-", "marker": "x"}


def error_against_count(
    panels: Mapping[str, Mapping[str, Any]],
    counts: Sequence[int],
    *,
    columns: int = 3,
    caption_at: int | None = None,
    xlabel: str = "candidates from each proposal",
) -> CaptionedFigure:
    """Draw the mean error and the band of 90 % of the repetitions against the number of candidates a proposal.

    ``panels`` maps a title to estimators, each with its errors ``[repetitions, counts]``. The caption tells mean and
    standard deviation at ``caption_at`` candidates (the largest count by default).
    """
    rows = -(-len(panels) // columns)
    figure = CaptionedFigure(figsize=(9.0, 3.4 if rows == 1 else 5.4))
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
    told = len(counts) - 1 if caption_at is None else list(counts).index(caption_at)
    captions = []
    for axis, (title, estimators) in zip(axes, panels.items(), strict=False):
        said = []
        for name, errors in estimators.items():
            values, mark = np.asarray(errors, float), MARKS.get(name, SPARE)
            low, high = np.quantile(values, [0.05, 0.95], axis=0)
            axis.fill_between(counts, low, high, color=mark["color"], alpha=0.15, linewidth=0)
            axis.plot(counts, values.mean(0), **mark, markersize=4, linewidth=1.8, label=f"{name}: mean, 90 % band")
            mean, spread = _short(values[:, told].mean()), values[:, told].std()
            said.append(f"{name} {mean} ± {spread:.1f}")
        axis.axhline(0.0, color=BLUE, linestyle="--", linewidth=1.2, label="truth")
        axis.set(title=title, xscale="log")
        axis.grid(alpha=0.25)
        captions.append(f"{title}: {', '.join(said)}")
    figure.supxlabel(xlabel, fontsize=10)
    figure.supylabel(ERROR, fontsize=10)
    _legend(figure, axes[0])
    figure.caption = f"Error with {counts[told]} {xlabel}, mean ± standard deviation. {'. '.join(captions)}."
    return figure


def policy_densities(
    actions: Any, densities: Mapping[str, Any], samples: Any, u: Any, exact: Any, clipped: Any
) -> CaptionedFigure:
    """Draw a squashed Gaussian's density beside a histogram of its samples; and log-slopes of tanh against u.

    ``densities`` maps a name to values on the grid ``actions``; the first is the right one. ``exact`` and ``clipped``
    are log(1 - tanh(u)^2) at ``u``, in the stable form and with 1e-6 inside the logarithm.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.4))
    left, right = figure.subplots(1, 2)
    grid, areas = np.asarray(actions, float), []
    left.hist(
        np.asarray(samples, float).ravel(),
        bins=60,
        range=(-1, 1),
        density=True,
        color=GREY,
        alpha=0.35,
        label="samples (histogram)",
    )
    styles = ({"color": BLUE, "linestyle": "--"}, {"color": VERMILION, "linestyle": "-"})
    for (name, values), style in zip(densities.items(), styles, strict=False):
        curve = np.asarray(values, float)
        area = float(((curve[1:] + curve[:-1]) / 2 * np.diff(grid)).sum())
        left.plot(grid, curve, **style, linewidth=1.8, label=f"{name}: area {area:.2f}")
        areas.append(f"{name} {area:.2f}")
    left.set(
        xlabel="action",
        ylabel="density on [-1, 1]",
        title="the density that belongs to the samples",
        xticks=(-1, -0.5, 0, 0.5, 1),
    )
    right.plot(u, exact, color=BLUE, linestyle="--", linewidth=1.8, label="exact: 2 (log 2 - u - softplus(-2u))")
    right.plot(u, clipped, color=VERMILION, linewidth=1.8, label="log(1 - tanh(u)² + 1e-6)")
    right.set(xlabel="u, before tanh", ylabel="log of tanh's slope, nats", title="where the slope rounds to nothing")
    for axis in (left, right):
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8, frameon=False)
    worst = float(np.asarray(clipped, float)[-1] - np.asarray(exact, float)[-1])
    figure.caption = (
        f"Area under the density: {', '.join(areas)}. With 1e-6 inside the logarithm, "
        f"the log-slope at u = {float(np.asarray(u)[-1]):.0f} is {worst:.1f} nats too high."
    )
    return figure


def error_against_cost(panels: Mapping[str, Mapping[str, Any]], evaluations: Sequence[int]) -> CaptionedFigure:
    """Draw root-mean-square errors ``[budgets]`` against critic evaluations a state: a panel a problem.

    The caption names the best estimator of each panel at the smallest budget and says whether it stays the best.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.4))
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    captions = []
    for axis, (title, estimators) in zip(axes, panels.items(), strict=True):
        table = {name: np.asarray(values, float) for name, values in estimators.items()}
        for name, values in table.items():
            axis.plot(evaluations, values, **MARKS.get(name, SPARE), markersize=4, linewidth=1.8, label=name)
        axis.set(title=title, xscale="log", yscale="log")
        axis.grid(alpha=0.25, which="both")
        first = min(table, key=lambda name: table[name][0])
        always = all(min(table, key=lambda name: table[name][k]) == first for k in range(len(evaluations)))
        ends = min(table, key=lambda name: table[name][-1])
        rest = "at every budget" if always else f"at the smallest budget, {ends} at the largest"
        captions.append(f"{title}: {first} has the smallest error {rest}")
    axes[0].set_ylabel(RMSE)
    figure.supxlabel("critic evaluations for each state", fontsize=10)
    _legend(figure, axes[0])
    figure.caption = ". ".join(captions) + "."
    return figure


def third_proposal_study(
    recipes: Mapping[str, Mapping[str, Any]], offsets: Sequence[float], ratios: Mapping[str, Any]
) -> CaptionedFigure:
    """Draw each recipe's error on trained critics (left), and what a third proposal changes on the bandit (right).

    ``recipes`` maps a recipe to weightings, each with one root-mean-square error a critic; the first recipe is the one
    with two proposals, the second the one with three. ``ratios`` maps "weighting, policy" to the error with three
    proposals over that with two, one for each of the ``offsets`` of the third policy. Trained critics differ a little
    between machines, so the caption counts them.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.8))
    left, right = figure.subplots(1, 2, width_ratios=(5, 4))
    for row, weightings in enumerate(recipes.values()):
        for shift, (name, values) in zip((-0.13, 0.13), weightings.items(), strict=False):
            mark, errors = MARKS.get(name, SPARE), np.asarray(values, float)
            left.plot(
                errors,
                np.full(len(errors), row + shift),
                linestyle="none",
                marker=mark["marker"],
                color=mark["color"],
                alpha=0.8,
                label=name if row == 0 else None,
            )
    left.set(yticks=range(len(recipes)), yticklabels=list(recipes), xlabel=RMSE)
    left.set_xlim(0.0, 1.08 * left.get_xlim()[1])
    left.set_title("trained critics, 30 candidates, a mark a critic", fontsize=10)
    left.invert_yaxis()
    lines = []
    for name, values in ratios.items():
        mark = {**MARKS.get(name.split(", ")[0], SPARE), "markerfacecolor": None if "sharp" in name else "white"}
        right.plot(offsets, np.asarray(values, float), **mark, markersize=5, label=name)
        lines.append(f"{name} {min(values):.1f} to {max(values):.1f}")
    right.axhline(1.0, color=BLACK, linewidth=1.0)
    right.set(xlabel="mean of π(·|s′) minus that of π(·|s), in u", ylabel="error with three / with two proposals")
    right.set_title("bandit, A = 1; above 1 the third hurts", fontsize=10)
    for axis in (left, right):
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8, frameon=False, loc="lower right")
    two, three = list(recipes.values())[:2]
    counts = [
        f"{name} on {int((np.asarray(three[name]) > np.asarray(two[name])).sum())} of {len(three[name])}"
        for name in two
    ]
    figure.caption = (
        f"Trained critics with a larger error when a third proposal shares the budget: {', '.join(counts)}. "
        f"On the bandit, error with three proposals over error with two: {', '.join(lines)}."
    )
    return figure


def estimate_histograms(
    panels: Mapping[str, Mapping[str, Any]], limits: tuple[float, float] | None = None, truth: str = "truth: quadrature"
) -> CaptionedFigure:
    """Draw how estimates scatter about the truth: a panel a setting, a histogram an estimator (its errors, nats)."""
    figure = CaptionedFigure(figsize=(9.0, 3.3))
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    everything = np.concatenate([np.asarray(e, float).ravel() for panel in panels.values() for e in panel.values()])
    low, high = limits or (float(np.quantile(everything, 0.001)) - 0.3, float(np.quantile(everything, 0.999)) + 0.3)
    bins, captions = np.linspace(low, high, 61), []
    for axis, (title, estimators) in zip(axes, panels.items(), strict=True):
        said = []
        for name, errors in estimators.items():
            values, mark = np.asarray(errors, float), MARKS.get(name, SPARE)
            inside = np.clip(values, low, high)
            axis.hist(inside, bins, density=True, color=mark["color"], alpha=0.25)
            axis.hist(
                inside,
                bins,
                density=True,
                histtype="step",
                color=mark["color"],
                linestyle=mark["linestyle"],
                linewidth=1.6,
                label=name,
            )
            said.append(f"{name} {_short(values.mean())} ± {values.std():.1f}")
        axis.axvline(0.0, color=BLUE, linestyle="--", linewidth=1.6, label=truth)
        axis.set_title(title, fontsize=10)
        axis.set_yticks([])
        axis.grid(alpha=0.25)
        captions.append(f"{title}: {', '.join(said)}")
    axes[0].set_ylabel("how often")
    figure.supxlabel("estimate minus log-integral (truth: quadrature), nats; edge bins hold all beyond", fontsize=10)
    _legend(figure, axes[0])
    figure.caption = f"Error, mean ± standard deviation. {'. '.join(captions)}."
    return figure


def _legend(figure: CaptionedFigure, axis: Any) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8, frameon=False)


def _short(value: float) -> str:
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text
