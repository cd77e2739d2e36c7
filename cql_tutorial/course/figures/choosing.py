"""A figure on choosing without a simulator: what each rule estimates of a policy, against its true value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .base import GREEN, ORANGE, PURPLE, TRUTH, VERMILION, CaptionedFigure

MARKS = ((VERMILION, "o"), (GREEN, "s"), (PURPLE, "^"), (ORANGE, "D"))


def estimates_and_truth(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]], *, truth: str = "true value"
) -> CaptionedFigure:
    """Draw estimate against true value, a point a policy, a panel a task; a point on the dashed line is right.

    ``panels[task][rule]`` holds the true values and the estimates, in units of the return; an estimate that is nan was
    not made, and one beyond the panel (the truths' range widened by its own length on both sides) is drawn at its edge.
    The caption tells, for each task and rule, how many estimates lie above the truth by more than a tenth of the
    truths' range, and how many of them at the edge.
    """
    figure = CaptionedFigure(figsize=(3.2 * len(panels), 3.6))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    parts = []
    for axis, (task, rules) in zip(axes, panels.items(), strict=True):
        every = np.concatenate([np.asarray(true, float) for true, _ in rules.values()])
        made = np.concatenate([np.asarray(estimate, float) for _, estimate in rules.values()])
        low, high = float(every.min()), float(every.max())
        span, said = (high - low) or 1.0, []
        edges = max(low - span, min(low, np.nanmin(made))), min(high + span, max(high, np.nanmax(made)))
        axis.plot((low, high), (low, high), color=TRUTH["color"], linestyle=TRUTH["linestyle"], label=truth)
        for (rule, (true, estimate)), (colour, mark) in zip(rules.items(), MARKS, strict=False):
            x, y = np.asarray(true, float), np.asarray(estimate, float)
            here = np.isfinite(y)
            axis.scatter(
                x[here], y[here].clip(*edges), color=colour, marker=mark, s=16, alpha=0.6, label=rule, clip_on=False
            )
            above, beyond = int((y[here] > x[here] + 0.1 * span).sum()), int(((y < edges[0]) | (y > edges[1])).sum())
            far = f", {beyond} off the picture" if beyond else ""
            said.append(f"{rule} {above} of {int(here.sum())}{far}")
        axis.set(title=task, xlabel=truth, xlim=(low - 0.05 * span, high + 0.05 * span))
        axis.set_ylim(edges[0] - 0.05 * span, edges[1] + 0.05 * span)
        axis.grid(alpha=0.25)
        parts.append(f"{task}: {', '.join(said)}")
    axes[0].set_ylabel("estimate from the log alone")
    axes[0].legend(fontsize=8, loc="lower right")
    figure.caption = f"Estimates clearly above the truth, {'; '.join(parts)}."
    return figure
