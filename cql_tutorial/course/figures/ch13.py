"""Figures of chapter 13: estimates with their intervals, with or without the truth, and who bears an estimate."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .base import ALGORITHMS, BLUE, GREEN, GREY, SKY, TRUTH, CaptionedFigure, algorithm_style


def estimate_intervals(
    estimates: Mapping[str, tuple[float, float]],
    log: tuple[float, float],
    truth: Mapping[str, tuple[float, float]] | None = None,
) -> CaptionedFigure:
    """Draw an interval a policy beside the log's mean return; the truth by simulation where it is given.

    ``estimates`` and ``truth`` map a policy's name to (low, high), ``log`` is (mean, half width).
    """
    figure = CaptionedFigure(figsize=(7.0, 0.55 * len({**estimates, **(truth or {})}) + 1.5))
    axis = figure.subplots()
    names, said = list({**estimates, **(truth or {})}), []
    axis.axvspan(log[0] - log[1], log[0] + log[1], color=GREY, alpha=0.25, linewidth=0, label="the log's mean, 95 %")
    for place, name in enumerate(names):
        look = algorithm_style(name) if name in ALGORITHMS else {"color": GREEN}  # a person's controller
        if name in estimates:
            low, high = estimates[name]
            axis.plot(
                [low, high], [place, place], color=look["color"], linewidth=5, alpha=0.6, solid_capstyle="butt",
                label="estimate" if not place else None,
            )  # fmt: skip
        if truth and name in truth:
            value = sum(truth[name]) / 2
            axis.plot([value, value], [place - 0.3, place + 0.3], color=BLUE, linewidth=2, linestyle=TRUTH["linestyle"])
            if name in estimates:
                low, high = estimates[name]
                said.append(f"{name}: {'inside' if low <= value <= high else 'outside'} its interval")
            else:
                said.append(f"{name}: no estimate")
    if truth:
        axis.plot([], [], color=BLUE, linewidth=2, linestyle=TRUTH["linestyle"], label="truth: $V^\\pi$ by simulation")
    axis.set(yticks=range(len(names)), yticklabels=names, xlabel="discounted value from the start of a shift")
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.grid(axis="x", alpha=0.25)
    figure.legend(loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    best = max(truth, key=lambda name: sum(truth[name])) if truth else max(estimates, key=lambda n: sum(estimates[n]))
    figure.caption = (
        f"Truth of {len(said)} policies beside the estimates. {'; '.join(said)}. Best in truth: {best}."
        if truth
        else f"Estimates of {len(names)} policies beside the log's mean return; the highest: {best}."
    )
    return figure


def episode_shares(shares: Mapping[float, np.ndarray]) -> CaptionedFigure:
    """Draw the shares of a log's episodes in an importance-weighted estimate, largest first; a panel a policy.

    ``shares`` maps how far the policy is from the clone (0 to 1) to the shares of the episodes ``[E]``.
    """
    figure = CaptionedFigure(figsize=(max(3.6, 2.6 * len(shares)), 2.6))
    axes = figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    said = []
    for axis, (way, values) in zip(axes, shares.items(), strict=True):
        ordered = np.sort(np.asarray(values))[::-1]
        axis.bar(np.arange(1, len(ordered) + 1), ordered, width=1.0, color=SKY)
        number = 1 / float((ordered**2).sum())
        axis.set_title(f"{way:.0%} of the way: {number:.0f} effective", fontsize=9)
        axis.set_xlabel("episodes, by their share", fontsize=9)
        said.append(f"{way:.0%} of the way to CQL {'fewer' if number < 10 else 'more'} than ten")
    axes[0].set_ylabel("share of the estimate", fontsize=9)
    figure.caption = f"Effective episodes of {len(ordered)}: {'; '.join(said)}."
    return figure
