"""Figures of chapter 02: how backups converge, how often an interval covers the truth, what a cut rollout omits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .base import BLACK, GREY, SKY, TRUTH, VERMILION, CaptionedFigure
from .grids import plain

STYLES = ((VERMILION, "-", "o"), (BLACK, "--", "s"), (SKY, ":", "^"), (GREY, "-.", "D"))  # blue is the truth's


def settling(
    errors: Mapping[str, Sequence[float]], discount: float, *, truth: str = "$Q^\\pi$ (linear solve)"
) -> CaptionedFigure:
    """Draw the largest error of a table after k backups, for several first guesses, under the bound ``discount^k``.

    ``errors`` maps the name of a first guess to max |Q_k - truth| for k = 0, 1, ... The caption tells how many
    sweeps come within a hundredth, and whether the bound held.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.4))
    axis = figure.subplots()
    parts, held = [], True
    for (name, one), (colour, style, _) in zip(errors.items(), STYLES, strict=False):
        error = np.asarray(one, float)
        bound = error[0] * discount ** np.arange(len(error))
        axis.semilogy(error, style, color=colour, linewidth=2, label=f"from {name}")
        axis.semilogy(bound, color=GREY, linewidth=0.9, linestyle=(0, (1, 2)))
        held &= bool((error <= bound * (1 + 1e-9) + 1e-9).all())
        near = np.flatnonzero(error < 0.01)
        parts.append(
            f"from {name} within 0.01 after {near[0]} backups" if len(near) else f"from {name} not within 0.01"
        )
    axis.plot([], [], color=GREY, linewidth=0.9, linestyle=(0, (1, 2)), label="bound: first error times discount$^k$")
    axis.axhline(0.01, color=BLACK, linewidth=0.8)
    axis.set(xlabel="backups k", ylabel=f"largest distance from\n{truth}")
    axis.grid(alpha=0.25)
    axis.legend(fontsize=9, frameon=False)
    figure.caption = "; ".join(parts) + f"; the bound {'holds' if held else 'is broken'} at every backup."
    return figure


def interval_coverage(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    counts: Sequence[int],
    *,
    repetitions: int,
    nominal: float = 0.95,
) -> CaptionedFigure:
    """Draw how often intervals hold the exact value, against the number of rollouts: a panel a case, a line a method.

    ``panels[case][method]`` lists the shares that hold it at each of ``counts``.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.6))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    at, parts = np.arange(len(counts)), []
    for axis, (case, methods) in zip(axes, panels.items(), strict=True):
        axis.axhline(nominal, color=BLACK, linewidth=1.0)
        axis.text(at[-1], nominal + 0.01, f"claimed: {nominal:.0%}", fontsize=8, ha="right", va="bottom")
        for (method, shares), (colour, style, mark) in zip(methods.items(), STYLES, strict=False):
            axis.plot(at, shares, style, marker=mark, color=colour, linewidth=1.8, label=method)
        axis.set(title=case, xlabel="rollouts n", xticks=at, ylim=(0.35, 1.03))
        axis.set_xticklabels([str(n) for n in counts])
        axis.title.set_fontsize(10)
        axis.grid(alpha=0.25)
        said = [f"{method} {', '.join(f'{share:.0%}' for share in shares)}" for method, shares in methods.items()]
        parts.append(
            f"{plain(case)}: intervals that hold the truth at n = {', '.join(map(str, counts))}: {'; '.join(said)}"
        )
    axes[0].set_ylabel("share of intervals that hold\nthe exact $V^\\pi$ (linear solve)")
    axes[0].legend(fontsize=8, frameon=False, loc="lower right")
    figure.caption = ". ".join(parts) + f" ({repetitions} repetitions)."
    return figure


def cut_rollouts(rows: Sequence[Mapping[str, float]], truth: float) -> CaptionedFigure:
    """Draw estimates from rollouts cut after T steps, with and without the tail, and how often they cover the truth.

    Each row holds ``steps, mean, half, tail, covered, covered_with_tail``.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.6))
    left, right = figure.subplots(1, 2)
    column = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    at = np.arange(len(rows))
    left.errorbar(
        at, column["mean"], column["half"] + column["tail"], fmt="none", ecolor=SKY, elinewidth=1.6, capsize=5
    )
    left.errorbar(at, column["mean"], column["half"], fmt="o", color=VERMILION, elinewidth=3.5, capsize=0, markersize=6)
    left.axhline(truth, color=TRUTH["color"], linestyle=TRUTH["linestyle"], label="truth: exact $V^\\pi$")
    left.plot([], [], "o", color=VERMILION, label="cut rollouts ± t half width")
    left.plot([], [], color=SKY, marker="_", label="and the bound on the cut tail")
    left.set(
        xlabel="rollouts cut after T steps", ylabel="value at the start of the rollouts\n(discounted sum of rewards)"
    )
    right.plot(at, column["covered"], "o-", color=VERMILION, label="t half width alone")
    right.plot(at, column["covered_with_tail"], "s--", color=SKY, label="plus the cut tail")
    right.axhline(0.95, color=BLACK, linewidth=1.0)
    right.set(xlabel="rollouts cut after T steps", ylabel="share that holds the exact $V^\\pi$", ylim=(-0.05, 1.08))
    for axis, place in ((left, "lower right"), (right, "center left")):
        axis.set_xticks(at, [f"{row['steps']:.0f}" for row in rows])
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8, frameon=False, loc=place)
    lost = [f"{row['steps']:.0f}" for row in rows if row["covered"] < 0.5]
    safe = all(row["covered_with_tail"] >= 0.9 for row in rows)
    figure.caption = (
        f"Truth {truth:.2f}. Cut after {', '.join(lost) or 'no'} steps, fewer than half of the intervals hold it; "
        f"with the cut tail added {'every' if safe else 'not every'} setting holds it at least nine times in ten."
    )
    return figure
