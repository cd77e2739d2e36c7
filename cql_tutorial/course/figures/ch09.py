"""Figures of chapter 09: ladders of alpha, windows of targets, multipliers on their way, regrets of rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np

from .base import BLACK, BLUE, GREEN, GREY, LEARNED, ORANGE, SKY, TRUTH, VERMILION, CaptionedFigure


def alpha_ladders(ladders: Sequence[Any]) -> CaptionedFigure:
    """Draw return and estimation error against alpha, a column a log, a dot a draw, a line through the means.

    ``ladders`` are `studies.ch09.Ladder`, five in a line. The rule's alphas are shaded; a ring is the best mean return.
    """
    across = min(5, len(ladders))
    lines = -(-len(ladders) // across)
    figure = CaptionedFigure(figsize=(max(2.5, 3.1 - 0.15 * len(ladders)) * across, 4.6 * lines))
    axes = figure.subplots(2 * lines, across, squeeze=False)
    columns_of_axes = [axes[2 * line : 2 * line + 2, place] for line in range(lines) for place in range(across)]
    for unused in columns_of_axes[len(ladders) :]:
        for axis in unused:
            axis.set_axis_off()
    said = []
    for (top, bottom), ladder in zip(columns_of_axes, ladders, strict=False):
        alphas = list(ladder.returns)
        for axis, columns, label in ((top, ladder.returns, "return"), (bottom, ladder.errors, "estimation error")):
            for at, alpha in enumerate(alphas):
                axis.scatter([at] * len(columns[alpha]), columns[alpha], s=10, color=GREY, alpha=0.7)
            style = {**LEARNED, "markersize": 4}
            axis.plot(range(len(alphas)), [mean(columns[alpha]) for alpha in alphas], **style)
            if ladder.rule is not None:
                axis.axvspan(*_band(alphas, ladder.rule_alphas), color=SKY, alpha=0.3)
            axis.set_ylabel(label, fontsize=8)
            axis.tick_params(labelsize=8)
            axis.grid(axis="y", alpha=0.25)
        at = alphas.index(ladder.best)
        top.plot(at, mean(ladder.returns[ladder.best]), "o", markersize=12, markerfacecolor="none", color=BLACK)
        top.set_title(f"{ladder.log}\n{len(ladder.returns[ladder.best])} draws", fontsize=9)
        bottom.axhline(0, **{**TRUTH, "marker": ""}, linewidth=1.2)
        top.set_xticks(range(len(alphas)), [""] * len(alphas))
        bottom.set_xticks(range(len(alphas)), [f"{alpha:g}" for alpha in alphas], fontsize=8)
        bottom.set_xlabel("alpha", fontsize=8)
        rule = "no word" if ladder.rule is None else f"{ladder.rule:g}, regret {ladder.regret(ladder.rule):.0f} %"
        said.append(f"{ladder.log}: best {ladder.best:g}; rule {rule}")
    figure.suptitle("ring: best mean return; shaded: the rule of thumb; blue, dashed: truth, $Q^\\pi$", fontsize=9)
    figure.caption = f"Mean return over draws. {'. '.join(said)}."
    return figure


def _band(alphas: Sequence[float], chosen: Sequence[float]) -> tuple[float, float]:
    places = [alphas.index(alpha) for alpha in chosen]
    return min(places) - 0.4, max(places) + 0.4


def multipliers(runs: Mapping[str, Any], right: Mapping[str, float] | None = None) -> CaptionedFigure:
    """Draw the multiplier above and the CQL gap beside its target below, a column a run of `studies.ch09.ascend`.

    ``right`` maps a run to the multiplier that dual ascent should find, computed apart. The caption says what each ends
    at, and whether the gap ends on its target.
    """
    figure = CaptionedFigure(figsize=(2.3 * len(runs), 3.9))
    axes = figure.subplots(2, len(runs), squeeze=False, sharex=True, sharey="row")
    said = []
    for (top, bottom), (name, run) in zip(axes.T, runs.items(), strict=True):
        updates = np.arange(len(run.gap))
        top.plot(updates, run.multiplier, color=VERMILION)
        if right and name in right:
            top.axhline(right[name], **{**TRUTH, "marker": ""}, linewidth=1.2)
        bottom.plot(updates, run.gap, color=VERMILION)
        bottom.axhline(run.target, color=BLACK, linestyle=":", linewidth=1.4)
        top.set(yscale="log")
        top.set_title(name, fontsize=10)
        bottom.set_xlabel("updates", fontsize=9)
        for axis in (top, bottom):
            axis.grid(alpha=0.25)
            axis.tick_params(labelsize=8)
        off = run.gap[-500:] - run.target
        where = (
            "on" if np.abs(off).max() < 0.02 else "above" if off.min() > 0 else "below" if off.max() < 0 else "about"
        )
        said.append(f"{name}: multiplier {run.multiplier[-1]:.2g}, gap {where} its target")
    axes[0, 0].set_ylabel("multiplier", fontsize=9)
    axes[1, 0].set_ylabel("CQL gap (dotted: target)", fontsize=9)
    figure.caption = f"At the end. {'; '.join(said)}."
    return figure


def regrets(table: Mapping[str, Mapping[str, float]], chance: Mapping[str, float]) -> CaptionedFigure:
    """Draw the mean regret of each rule in each world as a bar, beside that of a choice by lot (dashed).

    ``table`` maps a rule to worlds, ``chance`` a world to the regret of a random choice; per cent of best minus worst.
    """
    worlds, rules = list(chance), list(table)
    figure = CaptionedFigure(figsize=(9.0, 1.2 + 0.34 * len(rules)))
    axes = figure.subplots(1, len(worlds), sharey=True, squeeze=False)[0]
    said = []
    for axis, world in zip(axes, worlds, strict=True):
        values = [table[rule][world] for rule in rules]
        colours = [ORANGE if value > chance[world] else GREEN for value in values]
        axis.barh(range(len(rules)), values, color=colours)
        for at, value in enumerate(values):
            axis.text(min(value, 82) + 2, at, f"{value:.0f}", va="center", fontsize=8)
        axis.axvline(chance[world], color=BLUE, linestyle="--", linewidth=1.2)
        axis.set(xlim=(0, 100))
        axis.set_title(world, fontsize=10)
        axis.tick_params(labelsize=8)
        worse = [rule for rule, value in zip(rules, values, strict=True) if value > chance[world]]
        said.append(f"{world}: {', '.join(worse) or 'none'}")
    axes[0].set_yticks(range(len(rules)), rules, fontsize=9)
    axes[0].invert_yaxis()
    figure.supxlabel("mean regret, per cent of best minus worst; dashed: a choice by lot; orange: worse than that",
                     fontsize=9)  # fmt: skip
    figure.caption = f"Worse than a choice by lot. {'. '.join(said)}."
    return figure


def held_table(world: Any, target: float) -> CaptionedFigure:
    """Draw rewards, the log's shares and the table that a multiplier ends at for one target of the CQL gap.

    ``world`` is `studies.ch09.Actions`. A target outside the window shows the table at the bound that it runs to.
    """
    low, high, (alpha, q, said) = world.floor(), world.natural_gap(), world.end_of(target)
    rewards, actions = world.rewards, world.actions
    figure = CaptionedFigure(figsize=(6.4, 3.4))
    axis = figure.subplots()
    axis.plot(actions, rewards, **{**TRUTH, "marker": ""}, label="truth: reward")
    axis.plot(actions, q, **{**LEARNED, "markersize": 3}, label="learned Q")
    axis.bar(actions, 4 * world.shares, width=0.06, color=GREY, alpha=0.5, label="share in the log, times 4")
    axis.plot(actions[q.argmax()], q.max(), "o", markersize=12, markerfacecolor="none", color=BLACK)
    axis.set(xlabel="action", ylabel="value", ylim=(-1.2, 3.2))
    axis.legend(fontsize=8, loc="upper left")
    axis.set_title(f"target {target:+.2f} in the window {low:.2f} to {high:+.2f}: multiplier {alpha:.3g}", fontsize=9)
    figure.caption = said
    return figure
