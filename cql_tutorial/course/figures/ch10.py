"""Figures of chapter 10: strips of frames, episodes of a score, best and last, draws and seeds, values and bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .base import BLACK, BLUE, GREY, LEARNED, ORANGE, SKY, TRUTH, VERMILION, CaptionedFigure


def films(rows: Sequence[Mapping[str, str]], folder: Path) -> CaptionedFigure:
    """Draw the strips of the table `mujoco-frames` under each other; white after an episode has ended."""
    from PIL import Image

    figure = CaptionedFigure(figsize=(7.84, 1.42 * len(rows)))
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    said = []
    for axis, row in zip(axes, rows, strict=True):
        with Image.open(folder / row["file"]) as picture:
            image = np.asarray(picture.convert("RGB"))
        axis.imshow(image)
        steps = row["steps"].split()
        width = image.shape[1] / len(steps)
        axis.set_xticks([width * (place + 0.5) for place in range(len(steps))], steps, fontsize=7)
        axis.tick_params(length=0)
        axis.set_yticks([])
        about = f"{row['task']}, {row['policy']}: score {float(row['score']):.0f}, {row['length']} steps"
        axis.set_title(f"{about}, {float(row['distance']):.0f} m", fontsize=9, loc="left")
        said.append(about)
    axes[-1].set_xlabel("step of the episode", fontsize=8)
    figure.caption = f"Episodes with the median return. {'; '.join(said)}."
    return figure


def episodes_behind(policies: Mapping[str, Any]) -> CaptionedFigure:
    """Draw the score of each fresh episode of some policies against its length, and the mean score as a line.

    ``policies`` maps a name to `studies.ch10.Episodes`; an episode of less than 1,000 steps ended in a fall.
    """
    figure = CaptionedFigure(figsize=(4.2 * len(policies), 3.2))
    axes = figure.subplots(1, len(policies), squeeze=False, sharex=True, sharey=True)[0]
    said = []
    for axis, (name, episodes) in zip(axes, policies.items(), strict=True):
        axis.plot(episodes.lengths, episodes.scores, "o", markersize=4, color=VERMILION, alpha=0.6)
        average = float(episodes.scores.mean())
        axis.axhline(average, color=BLACK, linewidth=1)
        near = int((np.abs(episodes.scores - average) < 5).sum())
        falls = int((episodes.lengths < 1000).sum())
        axis.set_title(f"{name}: mean {average:.1f}", fontsize=10)
        axis.set_xlabel("steps of the episode")
        axis.grid(alpha=0.25)
        said.append(f"{name}: mean score {average:.1f}, {falls} of {len(episodes.scores)} episodes end in a fall, "
                    f"{near} lie within 5 of the mean")  # fmt: skip
    axes[0].set_ylabel("score of the episode")
    figure.caption = f"{'. '.join(said)}."
    return figure


def best_and_last(run: Any) -> CaptionedFigure:
    """Draw what selection saw at each checkpoint beside the mean of fresh episodes, ± two standard errors.

    ``run`` is `studies.ch10.Checkpoints`. Rings: the checkpoint that selection chooses, and the last.
    """
    figure = CaptionedFigure(figsize=(8.6, 3.4))
    axis = figure.subplots()
    error = 2 * run.fresh.std(1, ddof=1) / run.fresh.shape[1] ** 0.5
    thousands = run.steps / 1000
    axis.fill_between(thousands, run.truth - error, run.truth + error, color=SKY, alpha=0.4)
    axis.plot(thousands, run.truth, **{**TRUTH, "marker": ""}, label=f"mean of {run.fresh.shape[1]} fresh episodes")
    axis.plot(thousands, run.selected, **{**LEARNED, "markersize": 3}, linewidth=0.8, label="what selection saw")
    best = int(run.selected.argmax())
    for place in (best, -1):
        axis.plot(thousands[place], run.selected[place], "o", markersize=13, markerfacecolor="none", color=BLACK)
    axis.set(xlabel="thousand steps of training", ylabel="score")
    axis.legend(fontsize=8, loc="upper left")
    axis.grid(alpha=0.25)
    figure.caption = (
        f"Best checkpoint: selection saw {run.selected[best]:.1f}, fresh episodes give {run.truth[best]:.1f}. "
        f"Last: {run.selected[-1]:.1f} and {run.truth[-1]:.1f}."
    )
    return figure


def best_of(run: Any, each: int) -> CaptionedFigure:
    """Draw reported and true score against the number of checkpoints that are compared on ``each`` episodes."""
    from ..studies.ch10 import outcome

    counts = [1, 2, 3, 5, 7, 10, 15, 20, 25, 30]
    found = [outcome(run, count, each, 0, repeats=60) for count in counts]
    figure = CaptionedFigure(figsize=(6.4, 3.4))
    axis = figure.subplots()
    axis.plot(counts, [one.reported for one in found], **{**LEARNED, "markersize": 4}, label="reported")
    axis.plot(counts, [one.delivered for one in found], **{**TRUTH, "marker": "_"}, label="true score of the delivered")
    there = found[0].delivered + found[0].lack
    axis.axhline(there, color=GREY, linestyle=":", linewidth=1, label="best checkpoint there is")
    axis.set(xlabel="last checkpoints compared", ylabel="score", ylim=(30, 95))
    axis.set_title(f"{each} episodes for each of them", fontsize=10)
    axis.legend(fontsize=8, loc="lower right")
    axis.grid(alpha=0.25)
    last = found[-1]
    about = f"{each} episodes each, the last {counts[-1]} checkpoints"
    figure.caption = f"{about}: reported {last.reported:.0f}, true {last.delivered:.0f}."
    return figure


def draws_and_seeds(methods: Mapping[str, Tensor], intervals: Mapping[str, Any]) -> CaptionedFigure:
    """Draw every run by its draw, and for each method the intervals given, a name each."""
    figure = CaptionedFigure(figsize=(2.9 * len(methods), 3.3))
    axes = figure.subplots(1, len(methods), squeeze=False)[0]
    said = []
    for axis, (name, scores) in zip(axes, methods.items(), strict=True):
        draws, seeds = scores.shape
        for draw in range(draws):
            axis.plot([draw] * seeds, scores[draw], "o", markersize=4, color=GREY)
            axis.plot([draw - 0.25, draw + 0.25], [float(scores[draw].mean())] * 2, color=BLACK, linewidth=1.4)
        halves = []
        for place, (label, interval) in enumerate(intervals.items()):
            middle, half = (float(number) for number in interval(scores))
            colour = (ORANGE, BLUE)[place % 2]
            axis.errorbar(draws + 0.4 + 1.2 * place, middle, yerr=half, fmt="s", markersize=4, capsize=4, color=colour)
            halves.append(f"{label} ± {half:.1f}")
        ticks = [*range(draws), *(draws + 0.4 + 1.2 * place for place in range(len(intervals)))]
        axis.set_xticks(ticks, [*map(str, range(draws)), *intervals], fontsize=8)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("draw of the log", fontsize=9)
        axis.grid(axis="y", alpha=0.25)
        said.append(f"{name}: mean {float(scores.mean()):.1f}, {', '.join(halves)}")
    axes[0].set_ylabel("score")
    figure.caption = f"A dot a run, a line a draw's mean. {'. '.join(said)}."
    return figure


def values_and_bounds(runs: Mapping[str, Any], bounds: Mapping[str, float]) -> CaptionedFigure:
    """Draw mean prediction, truth and largest possible value of some runs; each axis in its world's own unit."""
    figure = CaptionedFigure(figsize=(2.0 * len(runs), 3.1))
    axes = figure.subplots(1, len(runs), squeeze=False)[0]
    said = []
    for axis, (letter, run) in zip(axes, runs.items(), strict=True):
        axis.axhline(bounds[letter], color=BLACK, linewidth=1.2)
        axis.plot(0, run.predicted, **{**LEARNED, "markersize": 8})
        axis.plot(0, run.true, **{**TRUTH, "markersize": 14, "markeredgewidth": 2})
        axis.set_xticks([])
        axis.margins(y=0.15)
        axis.set_title(f"{letter}: {run.run.replace(', ', chr(10))}", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(axis="y", alpha=0.25)
        said.append(f"{letter}: predicted {run.predicted:.2f}, true {run.true:.2f}, bound {bounds[letter]:g}")
    axes[0].set_ylabel("dot: mean Q; dash: truth;\nline: largest possible value", fontsize=8)
    figure.caption = f"{'. '.join(said)}."
    return figure
