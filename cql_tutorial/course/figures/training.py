"""Curves along training: predicted value and true value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from .base import BLACK, OVER, OVER_INK, TRUTH, CaptionedFigure, algorithm_style

NEAR = 0.25  # a mean error of less than this share of the truth's size is told as near; errors measured are not close


def prediction_and_truth(
    runs: Mapping[str, Sequence[Any]], *, bound: float | None = 0.0, why_bound: str = "every reward is negative"
) -> CaptionedFigure:
    """Draw the predicted value and its named truth along training, a panel an algorithm, a thin line a seed.

    ``runs`` maps an algorithm's name to its histories (of `training.fit` with an `evaluation.Evaluator`), which have
    the columns ``step, predicted, predicted_p90, true, share_over, share_impossible``. A prediction has its algorithm's
    colour. Values above ``bound`` cannot exist and are shaded; with None nothing is said of such values. The caption is
    a verdict with a wide margin, so that it holds on another machine too.
    """
    figure = CaptionedFigure(figsize=(9.0, 4.0))
    axes = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    truth = TRUTH["color"]
    for axis, (name, histories) in zip(axes, runs.items(), strict=True):
        colour = algorithm_style(name)["color"]
        curves = {"predicted_p90": (colour, ":"), "predicted": (colour, "-"), "true": (truth, TRUTH["linestyle"])}
        for column, (ink, style) in curves.items():
            steps, values = zip(*(_measured(history, column) for history in histories), strict=True)
            for one in values if len(values) > 1 else []:
                axis.plot(steps[0], one, linestyle=style, color=ink, linewidth=0.8, alpha=0.45)
            axis.plot(
                steps[0], np.mean(values, axis=0), linestyle=style, color=ink, linewidth=2.2, label=LABELS[column]
            )
        if bound is not None:
            axis.axhline(bound, color=BLACK, linewidth=1.0)
        axis.set(title=name, xlabel="updates")
        axis.grid(alpha=0.25)
    low, high = axes[0].get_ylim()
    high = high if bound is None else max(high, bound + 0.15 * (high - low))
    for axis in axes:
        axis.set_ylim(low, high)
        if bound is None:
            continue
        axis.axhspan(bound, high, color=OVER, alpha=0.15, linewidth=0)
        axis.text(
            0.02, 0.985, f"cannot exist: {why_bound}", color=OVER_INK, fontsize=8, va="top", transform=axis.transAxes
        )
    axes[0].set_ylabel("value of the policy's own actions\n(discounted sum of rewards)")
    # Black stands for the colour of each panel.
    inks: tuple[tuple[str, Any], ...] = ((BLACK, ":"), (BLACK, "-"), (truth, TRUTH["linestyle"]))
    marks = [Line2D([], [], color=ink, linestyle=style) for ink, style in inks]
    figure.legend(marks, list(LABELS.values()), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.caption = ". ".join(_verdict(name, histories, bound is not None) for name, histories in runs.items()) + "."
    return figure


LABELS = {
    "predicted_p90": "predicted at the top tenth of the states",
    "predicted": "predicted (min over the critics), mean",
    "true": "truth: $Q^\\pi$ by Monte-Carlo, mean",
}


def _measured(history: Any, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and values of the rows in which `evaluate` wrote."""
    steps, values = np.asarray(history["step"], float), np.asarray(history[column], float)
    kept = np.isfinite(values)
    return steps[kept], values[kept]


def _verdict(name: str, histories: Sequence[Any], bounded: bool) -> str:
    """Say on which side of the truth the states end, how far off their mean is, and whether values are impossible."""
    over, impossible, predicted, true = (
        float(np.mean([history.last(column) for history in histories]))
        for column in ("share_over", "share_impossible", "predicted", "true")
    )
    where = "above the truth at nearly every state" if over > 0.9 else "on both sides of the truth"
    where = "below the truth at nearly every state" if over < 0.1 else where
    error, scale = predicted - true, NEAR * abs(true)
    mean = "near it on average" if abs(error) < scale else f"{'above' if error > 0 else 'below'} it on average"
    kind = "many of its values cannot exist" if impossible > 0.2 else "few or none of its values are impossible"
    return f"{name}: the prediction ends {where}, {mean}" + (f"; {kind}" if bounded else "")
