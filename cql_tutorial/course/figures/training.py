"""Curves along training: predicted value and true value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .base import BLACK, BLUE, VERMILION, CaptionedFigure


def prediction_and_truth(
    runs: Mapping[str, Sequence[Any]], *, bound: float = 0.0, why_bound: str = "every reward is negative"
) -> CaptionedFigure:
    """Draw the predicted value and its named truth along training, a panel an algorithm, a thin line a seed.

    ``runs`` maps an algorithm's name to its histories (of `training.fit` with an `evaluation.Evaluator`), which have
    the columns ``step, predicted, predicted_p90, true, share_over, share_impossible``. Values above ``bound`` cannot
    exist and are shaded. The caption is a verdict with a wide margin, so that it holds on another machine too.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.8))
    axes = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    curves = {
        "predicted_p90": (VERMILION, ":", "predicted at the top tenth of the states"),
        "predicted": (VERMILION, "-", "predicted (min over the critics), mean"),
        "true": (BLUE, "--", "truth: $Q^\\pi$ by Monte-Carlo, mean"),
    }
    for axis, (name, histories) in zip(axes, runs.items(), strict=True):
        for column, (colour, style, label) in curves.items():
            steps, values = zip(*(_measured(history, column) for history in histories), strict=True)
            for one in values if len(values) > 1 else []:
                axis.plot(steps[0], one, style, color=colour, linewidth=0.8, alpha=0.45)
            axis.plot(steps[0], np.mean(values, axis=0), style, color=colour, linewidth=2.2, label=label)
        axis.axhline(bound, color=BLACK, linewidth=1.0)
        axis.set(title=name, xlabel="updates")
        axis.grid(alpha=0.25)
    low, high = axes[0].get_ylim()
    high = max(high, bound + 0.15 * (high - low))
    for axis in axes:
        axis.axhspan(bound, high, color=VERMILION, alpha=0.10, linewidth=0)
        axis.text(
            0.02, 0.985, f"cannot exist: {why_bound}", color=VERMILION, fontsize=8, va="top", transform=axis.transAxes
        )
        axis.set_ylim(low, high)
    axes[0].set_ylabel("value of the policy's own actions")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.caption = ". ".join(_verdict(name, histories) for name, histories in runs.items()) + "."
    return figure


def _measured(history: Any, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and values of the rows in which `evaluate` wrote."""
    steps, values = np.asarray(history["step"], float), np.asarray(history[column], float)
    kept = np.isfinite(values)
    return steps[kept], values[kept]


def _verdict(name: str, histories: Sequence[Any]) -> str:
    over = np.mean([history.last("share_over") for history in histories])
    impossible = np.mean([history.last("share_impossible") for history in histories])
    where = (
        "above the truth at nearly every state"
        if over > 0.9
        else "below the truth at nearly every state"
        if over < 0.1
        else "on both sides of the truth"
    )
    kind = "many of its values cannot exist" if impossible > 0.2 else "few or none of its values are impossible"
    return f"{name}: the prediction ends {where}; {kind}"
