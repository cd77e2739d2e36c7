"""Figure of chapter 00: how a discount weighs the steps to come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .base import BLACK, BLUE, VERMILION, CaptionedFigure


def discount_weights(discounts: Sequence[float], steps: int = 120) -> CaptionedFigure:
    """Draw the weight discount^t of the next steps, a panel a discount, and the step from which it is below 5 %."""
    figure = CaptionedFigure(figsize=(9.0, 3.2))
    axes, t, said = figure.subplots(1, len(discounts), sharey=True, squeeze=False)[0], np.arange(steps), []
    for axis, discount in zip(axes, discounts, strict=True):
        weights = discount**t
        axis.fill_between(t, weights, step="post", color=BLUE, alpha=0.25)
        axis.step(t, weights, where="post", color=BLUE)
        reach = int(np.ceil(np.log(0.05) / np.log(discount)))
        axis.axhline(0.05, color=BLACK, linewidth=0.8, linestyle=":")
        if reach < steps:
            axis.axvline(reach, color=VERMILION, linestyle="--")
            axis.text(reach + 2, 0.8, f"below 5 %\nfrom step {reach}", color=VERMILION, fontsize=9)
        else:
            axis.text(
                0.97,
                0.8,
                f"below 5 %\nonly from step {reach}",
                color=VERMILION,
                fontsize=9,
                ha="right",
                transform=axis.transAxes,
            )
        axis.set(title=f"discount {discount:g}", xlabel="steps from now", xlim=(0, steps), ylim=(0, 1.02))
        said.append(f"{discount:g}: below 5 % from step {reach}, all weights sum to {1 / (1 - discount):.4g}")
    axes[0].set_ylabel("weight of a reward")
    figure.caption = "Weight of a reward for each discount. " + "; ".join(said) + "."
    return figure
