"""Figures of chapter 11, sections 3 and 4: two equal peaks, soft backups without an actor, sparse weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from ...evaluation.intervals import t_interval
from .base import (
    ALGORITHMS,
    BLACK,
    GREEN,
    GREY,
    ORANGE,
    OVER_INK,
    PURPLE,
    SKY,
    TRUTH,
    UNDER_INK,
    VERMILION,
    CaptionedFigure,
)

ENERGY: dict[str, Any] = {"color": PURPLE, "linestyle": (0, (5, 1, 1, 1)), "marker": "P"}  # softmax(Q / T), no actor
GAUSSIAN = ALGORITHMS["SAC"]


def two_peaks_densities(
    points: Any, exact: Any, gaussians: Sequence[Any], drawn: Any, *, leaves_out: float = 0.05, less: float = 0.8
) -> CaptionedFigure:
    """Draw what an energy policy and several tanh-Gaussians keep of two equal peaks, beside the exact softmax(Q / T).

    ``points [m]`` is an even grid of actions, ``exact [m]`` and each of ``gaussians`` a density on it, ``drawn [n]``
    actions that the energy policy drew. The caption is a verdict: a Gaussian "leaves one peak out" if it gives one half
    of the actions less than ``leaves_out``, and "lies across the valley" if its reward, that is the overlap with the
    peaks, is less than ``less`` of the exact density's.
    """
    x, truth = np.asarray(points, float), np.asarray(exact, float)
    figure = CaptionedFigure(figsize=(9.0, 3.6))
    left, right = figure.subplots(1, 2, sharey=True)
    for axis in (left, right):
        axis.plot(x, truth, color=TRUTH["color"], linestyle="--", label="exact: softmax(Q / T)")
        axis.set(xlabel="action")
        axis.grid(alpha=0.25)
    for number, density in enumerate(gaussians):
        label = None if number else "tanh-Gaussian, a line a seed"
        left.plot(x, np.asarray(density, float), linestyle="-", linewidth=1.3, color=GAUSSIAN["color"], label=label)
    right.hist(
        np.asarray(drawn, float), bins=40, range=(-1, 1), density=True, color=PURPLE, alpha=0.45,
        label="energy policy: actions that it drew",
    )  # fmt: skip
    highest = max([float(truth.max()), *(float(np.max(np.asarray(each, float))) for each in gaussians)])
    top = 1.35 * min(highest, 1.6 * float(truth.max()))  # the legend stands above the peaks
    left.set(title="SAC's actor", ylabel="probability density", ylim=(0, top))
    right.set(title="soft Q-learning, no actor")
    for axis in (left, right):
        axis.legend(fontsize=8, frameon=False, loc="upper center")
    shares = [np.asarray(d, float) / np.sum(np.asarray(d, float)) for d in gaussians]
    overlap = [float((share * truth).sum() / ((truth / truth.sum()) * truth).sum()) for share in shares]
    one_sided = [min(share[x > 0].sum(), share[x <= 0].sum()) < leaves_out for share in shares]
    bad = [side or part < less for side, part in zip(one_sided, overlap, strict=True)]
    drawn_right = float((np.asarray(drawn) > 0).mean())
    both = 0.3 < drawn_right < 0.7
    figure.caption = (
        f"{'Every' if all(bad) else 'Not every'} tanh-Gaussian leaves one peak out or lies across the valley; the "
        f"energy policy {'keeps both peaks' if both else 'keeps one peak'}."
    )
    return figure


def two_peaks_table(panels: Mapping[str, Mapping[str, Any]], *, unit: str) -> CaptionedFigure:
    """Draw a number of policies on bandits with equal peaks: an energy policy's against its K, SAC's, exact ones.

    ``panels`` maps a title to ``{"energy": {K: a number a draw}, "gaussian": a number a draw, "best": number}``, where
    "best" is the tanh-Gaussian with the largest E[Q] + T entropy, which need not be the nearest. 0 is the exact
    softmax(Q / T).
    """
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = CaptionedFigure(figsize=(9.0, 0.8 + 2.0 * lines))
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flatten()
    said = []
    for place, (axis, (title, found)) in enumerate(zip(axes, panels.items(), strict=False)):
        many = list(found["energy"])
        at = np.arange(1, len(many) + 1)
        means = [t_interval(list(values)) for values in found["energy"].values()]
        axis.errorbar(
            at,
            [mean for mean, _ in means],
            [half for _, half in means],
            capsize=3,
            color=ENERGY["color"],
            linestyle=ENERGY["linestyle"],
            marker=ENERGY["marker"],
        )
        runs = np.asarray(found["gaussian"], float)
        axis.plot(np.linspace(-0.18, 0.18, len(runs)), runs, GAUSSIAN["marker"], markersize=4, color=GAUSSIAN["color"])
        axis.axhline(found["best"], color=GREY, linestyle=":", linewidth=1.4)
        axis.axhline(0.0, color=TRUTH["color"], linestyle="--", linewidth=1.4)
        axis.set_xticks([0, *at], ["SAC", *(f"{k}" for k in many)])
        axis.set_title(title, fontsize=10)
        axis.grid(axis="y", alpha=0.25)
        if place % columns == 0:
            axis.set_ylabel(unit, fontsize=9)
        mean = float(runs.mean())
        ends = ", ".join(f"{means[k][0]:.2f} (K = {many[k]})" for k in (0, -1))
        said.append(f"{title}: SAC {mean:.2f}, best Gaussian {found['best']:.2f}, energy {ends}")
    handles = [
        Line2D([], [], color=GAUSSIAN["color"], marker=GAUSSIAN["marker"], linestyle="", label="SAC, a dot a draw"),
        Line2D([], [], label="energy policy, 95 % interval", **ENERGY),
        Line2D([], [], color=GREY, linestyle=":", label="Gaussian with the best E[Q] + T entropy"),
        Line2D([], [], color=TRUTH["color"], linestyle="--", label="exact softmax(Q / T)"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    figure.supxlabel("K, candidates from which the energy policy draws", fontsize=9)
    figure.caption = f"{unit[0].upper()}{unit[1:]}, means. {'; '.join(said)}."
    return figure


def soft_backups(rows: Mapping[str, Mapping[str, Sequence[float]]]) -> CaptionedFigure:
    """Draw agents in the maze, a line each: return, and prediction minus two truths; means with 95 % intervals.

    ``rows`` maps an agent to ``{"greedy", "drawn", "error", "own"}``, a number a draw of each: returns of its greedy
    and of its stochastic policy, prediction minus the discounted rewards, prediction minus what the backup stands for.
    """
    figure = CaptionedFigure(figsize=(9.0, 1.5 + 0.34 * len(rows)))
    left, right = figure.subplots(1, 2, sharey=True)
    marks = {"greedy": (left, "o", VERMILION, -0.12), "drawn": (left, "P", PURPLE, 0.14)}
    marks |= {"error": (right, "s", BLACK, -0.12), "own": (right, "D", BLACK, 0.14)}
    words = {
        "greedy": "return of the greedy action",
        "drawn": "return of actions drawn from the policy",
        "error": "prediction minus the true rewards",
        "own": "prediction minus rewards and the backup's own bonus",
    }
    said = []
    for at, (name, found) in enumerate(rows.items()):
        means = {}
        for kind, (axis, mark, colour, shift) in marks.items():
            mean, half = means[kind] = t_interval(list(found[kind]))
            open_or_full = "white" if kind in ("drawn", "own") else colour
            axis.errorbar(
                mean,
                at + shift,
                xerr=half,
                fmt=mark,
                color=colour,
                markerfacecolor=open_or_full,
                markersize=5,
                capsize=2,
            )
        pair = [f"{word} {means[kind][0]:.1f}" for word, kind in (("return", "greedy"), ("drawn", "drawn"))]
        pair += [f"{word} {means[kind][0]:+.1f}" for word, kind in (("error", "error"), ("to its own truth", "own"))]
        said.append(f"{name}: {', '.join(pair)}")
    left.set_yticks(range(len(rows)), list(rows), fontsize=9)
    left.set_ylim(len(rows) - 0.5, -0.5)
    right.axvline(0.0, color=TRUTH["color"], linestyle="--", linewidth=1.4)
    left.set_xlabel("return", fontsize=9)
    right.set_xlabel("predicted minus true; truth by Monte-Carlo (dashed)", fontsize=9)
    right.text(0.99, 0.02, "over", transform=right.transAxes, ha="right", fontsize=9, color=OVER_INK)
    right.text(0.01, 0.02, "under", transform=right.transAxes, ha="left", fontsize=9, color=UNDER_INK)
    for axis in (left, right):
        axis.grid(axis="x", alpha=0.25)
    handles = [
        Line2D(
            [], [], marker=mark, linestyle="", color=colour, label=words[kind],
            markerfacecolor="white" if kind in ("drawn", "own") else colour,
        )
        for kind, (_, mark, colour, _) in marks.items()
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    figure.caption = f"Means over {len(next(iter(rows.values()))['greedy'])} draws. {'; '.join(said)}."
    return figure


LOOKS: dict[str, dict[str, Any]] = {
    "BC": ALGORITHMS["BC"],
    "IQL": ALGORITHMS["IQL"],
    "IQL 0.9": ALGORITHMS["IQL"],
    "sparse": {"color": VERMILION, "linestyle": "-", "marker": "o"},
    "sparse, (Q - V)+": {"color": GREEN, "linestyle": "--", "marker": "s"},
    "EQL": {"color": ORANGE, "linestyle": "-.", "marker": "v"},
}
OTHERS = (
    {"color": PURPLE, "linestyle": (0, (5, 1, 1, 1)), "marker": "P"},
    {"color": SKY, "linestyle": (0, (3, 1)), "marker": "X"},
)


def _look(name: str, known: Sequence[str]) -> dict[str, Any]:
    if name in LOOKS:
        return LOOKS[name]
    others = [one for one in known if one not in LOOKS]
    return OTHERS[others.index(name) % len(OTHERS)]


def good_and_bad(good: Any, methods: Mapping[str, Any], *, alpha: float, at: Sequence[float]) -> CaptionedFigure:
    """Draw V and the bad action's probability, against the good action's share of the log, a line a method.

    ``good [m]``: shares; ``methods`` maps a name to ``value [m]`` and ``bad [m]`` (`studies.ch11_soft.extracted`). The
    dotted line is p D / 2 = alpha. The caption tells the bad action's probability at the shares ``at``.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.6))
    left, right = figure.subplots(1, 2, sharex=True)
    x = np.asarray(good, float)
    for name, found in methods.items():
        look = _look(name, list(methods))
        line = {"color": look["color"], "linestyle": look["linestyle"], "linewidth": 1.6}
        if name not in ("sparse, (Q - V)+",):  # its V is that of sparse
            left.plot(x, np.asarray(found.value, float), label=name, **line)
        right.plot(x, np.asarray(found.bad, float), label=name, **line)
    left.axhline(1.0, color=TRUTH["color"], linestyle="--", linewidth=1.2)
    for axis in (left, right):
        axis.axvline(2 * alpha, color=BLACK, linestyle=":", linewidth=1.2)
        axis.grid(alpha=0.25)
        axis.set_xlabel("share p of the log's rows that hold the good action")
    left.annotate("value of the good action", (0.6, 1.0), (0, 3), textcoords="offset points", fontsize=8)
    left.set(title="V", ylabel="value")
    right.set(title="the bad action, in the policy", ylabel="probability")
    right.annotate("alpha = p D / 2", (2 * alpha, 0.9), (4, 0), textcoords="offset points", fontsize=8)
    shapes, names = right.get_legend_handles_labels()
    figure.legend(shapes, names, loc="outside upper center", ncols=len(names), fontsize=8, frameon=False)
    said = []
    for share in at:
        place = int(np.abs(x - share).argmin())
        of = ", ".join(f"{name} {float(found.bad[place]):.2f}" for name, found in methods.items())
        said.append(f"p = {share:g}: {of}")
    figure.caption = f"Probability of the bad action. {'. '.join(said)}."
    return figure


def mixed_logs(
    panels: Mapping[str, Mapping[str, Mapping[float, Sequence[float]]]], *, caption: str, labels: Mapping[str, str]
) -> CaptionedFigure:
    """Draw quantities against the share of random rows in a log, a panel each, a line a method with its intervals.

    ``panels`` maps a panel's title to methods, each with a share's numbers (a number a draw); ``labels`` maps the title
    to the label of its axis. The first panel's means stand in the caption, after ``caption``.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.7))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    names = list(dict.fromkeys(name for methods in panels.values() for name in methods))
    for axis, (title, methods) in zip(axes, panels.items(), strict=True):
        for name, curve in methods.items():
            look = _look(name, names)
            shares = sorted(curve)
            found = [t_interval(list(curve[share])) for share in shares]
            shift = 0.006 * (names.index(name) - len(names) / 2)  # intervals beside each other, not on top
            axis.errorbar(
                np.asarray(shares) + shift, [m for m, _ in found], [h for _, h in found], capsize=2, markersize=4,
                label=name, **look,
            )  # fmt: skip
        axis.set(xlabel="share of random rows", ylabel=labels.get(title, ""))
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.25)
        if "error" in labels.get(title, ""):
            axis.axhline(0.0, color=TRUTH["color"], linestyle="--", linewidth=1.2)
    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles[label] = handle
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=6, fontsize=8, frameon=False)
    title, methods = next(iter(panels.items()))
    last = max(share for curve in methods.values() for share in curve)
    means = {name: t_interval(list(curve[last])) for name, curve in methods.items() if last in curve}
    said = ", ".join(f"{name} {mean:.1f} ± {half:.1f}" for name, (mean, half) in means.items())
    figure.caption = f"{caption} at {last:g} random rows: {said}."
    return figure
