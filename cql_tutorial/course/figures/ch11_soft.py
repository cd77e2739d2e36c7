"""Figures of chapter 11, sections 3 and 4: two equal peaks, soft backups without an actor, sparse weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from ...evaluation.intervals import t_interval
from .base import ALGORITHMS, BLACK, GREEN, GREY, LEARNED, ORANGE, PURPLE, SKY, TRUTH, VERMILION, CaptionedFigure

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
    left.set(title="SAC's actor", ylabel="probability density", ylim=(0, 2.2 * truth.max()))
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


def two_peaks_table(panels: Mapping[str, Mapping[str, Any]]) -> CaptionedFigure:
    """Draw rewards on bandits with equal peaks: an energy policy against its candidates K, a Gaussian's runs, truths.

    ``panels`` maps a title to ``{"energy": {K: rewards}, "gaussian": rewards, "exact": number, "best": number}``, where
    "exact" is softmax(Q / T) and "best" the best tanh-Gaussian there is.
    """
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = CaptionedFigure(figsize=(9.0, 0.7 + 2.5 * lines))
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey="row").flatten()
    said = []
    for place, (axis, (title, found)) in enumerate(zip(axes, panels.items(), strict=False)):
        many = list(found["energy"])
        at = np.arange(1, len(many) + 1)
        means = [t_interval(list(values)) for values in found["energy"].values()]
        axis.errorbar(
            at, [m for m, _ in means], [h for _, h in means], capsize=3, color=ENERGY["color"],
            linestyle=ENERGY["linestyle"], marker=ENERGY["marker"],
        )  # fmt: skip
        runs = np.asarray(found["gaussian"], float)
        axis.plot(np.linspace(-0.18, 0.18, len(runs)), runs, GAUSSIAN["marker"], markersize=4, color=GAUSSIAN["color"])
        axis.axhline(found["exact"], color=TRUTH["color"], linestyle="--", linewidth=1.4)
        axis.axhline(found["best"], color=GREY, linestyle=":", linewidth=1.4)
        axis.set_xticks([0, *at], ["SAC", *(f"{k}" for k in many)])
        axis.set_title(title, fontsize=10)
        axis.grid(axis="y", alpha=0.25)
        if place % columns == 0:
            axis.set_ylabel("mean reward")
        mean, half = t_interval(list(runs))
        said.append(
            f"{title}: exact {found['exact']:.2f}, Gaussian {mean:.2f} ± {half:.2f}, energy "
            + ", ".join(f"{m:.2f} (K = {k})" for k, (m, _) in zip(many, means, strict=True) if k in (many[0], many[-1]))
        )
    handles = [
        Line2D([], [], color=GAUSSIAN["color"], marker=GAUSSIAN["marker"], linestyle="", label="SAC, a dot a draw"),
        Line2D(
            [], [], color=ENERGY["color"], marker=ENERGY["marker"], linestyle=ENERGY["linestyle"],
            label="energy policy, 95 % interval",
        ),
        Line2D([], [], color=TRUTH["color"], linestyle="--", label="exact softmax(Q / T)"),
        Line2D([], [], color=GREY, linestyle=":", label="best tanh-Gaussian"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    figure.supxlabel("K, candidates from which the energy policy draws", fontsize=9)
    figure.caption = "; ".join(said) + "."
    return figure


def returns_and_errors(
    rows: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, unit: str = "return", best: str = ""
) -> CaptionedFigure:
    """Draw variants, a line each: return on the left, estimation error on the right, a dot a draw, mean and interval.

    ``rows`` maps a variant to its draws' returns and estimation errors (V-hat minus the truth named in the text).
    """
    figure = CaptionedFigure(figsize=(9.0, 1.2 + 0.36 * len(rows)))
    left, right = figure.subplots(1, 2, sharey=True)
    said = []
    for at, (name, (returns, errors)) in enumerate(rows.items()):
        for axis, values in ((left, returns), (right, errors)):
            mean, half = t_interval(list(values))
            axis.plot(list(values), [at + 0.22] * len(values), "|", color=GREY, markersize=6)
            axis.errorbar(
                mean, at, xerr=half, fmt=LEARNED["marker"], color=VERMILION if name == best else BLACK, capsize=3,
                markersize=5,
            )  # fmt: skip
        pairs = t_interval(list(returns)), t_interval(list(errors))
        said.append(f"{name} {pairs[0][0]:.1f} ± {pairs[0][1]:.1f}, error {pairs[1][0]:+.1f} ± {pairs[1][1]:.1f}")
    left.set_yticks(range(len(rows)), list(rows), fontsize=9)
    left.set_ylim(len(rows) - 0.4, -0.6)
    right.axvline(0.0, color=TRUTH["color"], linestyle="--", linewidth=1.4, label="truth")
    left.set_xlabel(unit)
    right.set_xlabel("estimation error")
    right.text(0.99, 0.02, "over", transform=right.transAxes, ha="right", fontsize=9, color=ORANGE)
    right.text(0.01, 0.02, "under", transform=right.transAxes, ha="left", fontsize=9, color=PURPLE)
    for axis in (left, right):
        axis.grid(axis="x", alpha=0.25)
    figure.caption = f"{unit[0].upper()}{unit[1:]} and estimation error: {'; '.join(said)}."
    return figure


LOOKS: dict[str, dict[str, Any]] = {
    "BC": ALGORITHMS["BC"],
    "IQL 0.7": {"color": GREY, "linestyle": (0, (4, 1, 1, 1)), "marker": "d"},
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
    right.legend(fontsize=8, frameon=False)
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
    handles = {}
    for axis in axes:
        handles |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=6, fontsize=8, frameon=False)
    title, methods = next(iter(panels.items()))
    last = max(share for curve in methods.values() for share in curve)
    means = {name: t_interval(list(curve[last])) for name, curve in methods.items() if last in curve}
    said = ", ".join(f"{name} {mean:.1f} ± {half:.1f}" for name, (mean, half) in means.items())
    figure.caption = f"{caption} at {last:g} random rows: {said}."
    return figure
