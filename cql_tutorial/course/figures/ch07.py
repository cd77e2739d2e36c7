"""Figures of chapter 07: what a wrong penalty does to estimate, push-down, values, logged metrics and return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from .base import (
    ALGORITHMS,
    BLACK,
    BLUE,
    ERROR_MAP,
    GREEN,
    OVER,
    SKY,
    TRUTH,
    UNDER,
    VERMILION,
    CaptionedFigure,
)
from .ch06 import _short

CLEAR = 0.3  # of a line's range: live runs differ between machines, and the build compares the caption
REGIONS = (("on the policy", VERMILION, "//"), ("on the logged actions", GREEN, ".."), ("elsewhere", SKY, ""))


def variant_name(name: str) -> str:
    """Write a variant's name as words; the one that is another member of the family, with that member's."""
    if name == "no_importance_correction":
        return "no density: CQL(rho)"
    return name.replace("_", " ").replace("sac-decay", "SAC, weight decay").replace("sac", "SAC").replace("bc", "BC")


def _run_style(name: str) -> tuple[str, Any]:
    """Colour and line of a run: its algorithm's, and another mark for a wrong penalty."""
    if "SAC" in name:
        return ALGORITHMS["SAC"]["color"], ALGORITHMS["SAC"]["linestyle"]
    if "correct" in name or name == "CQL":
        return ALGORITHMS["CQL"]["color"], ALGORITHMS["CQL"]["linestyle"]
    return BLACK, "--"


def penalty_errors(panels: Mapping[str, Mapping[str, Any]]) -> CaptionedFigure:
    """Draw mean and standard deviation of each penalty's estimate of the log-integral, beside quadrature's value.

    ``panels`` maps a title to penalties, each with its errors ``[repetitions]``, in nats.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.6))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    caption = ""
    for axis, (title, errors) in zip(axes, panels.items(), strict=True):
        names = list(errors)
        for i, values in enumerate(np.asarray(e, float) for e in errors.values()):
            right = names[i] in ("correct", "mixture")
            axis.errorbar(
                values.mean(),
                i,
                xerr=values.std(),
                fmt="s" if right else "o",
                capsize=4,
                markersize=5,
                color=GREEN if right else VERMILION,
            )
        axis.axvline(0.0, color=BLUE, linestyle="--", linewidth=1.4, label="truth: log-integral by quadrature")
        axis.set_title(title, fontsize=10)
        axis.grid(axis="x", alpha=0.25)
        said = ", ".join(
            f"{variant_name(n)} {_short(np.mean(np.asarray(e)))} ± {np.std(np.asarray(e)):.1f}"
            for n, e in errors.items()
        )
        caption = f"{title}: {said}"  # of the last panel alone: three of them are longer than the plot is high
    axes[0].set_yticks(range(len(names)), [variant_name(name) for name in names])
    axes[0].invert_yaxis()
    figure.supxlabel("estimate minus log-integral, nats; bar: one standard deviation over mini-batches", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", fontsize=8, frameon=False)
    figure.caption = f"Error of one update's estimate, mean ± standard deviation. {caption}."
    return figure


def push_down_shares(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> CaptionedFigure:
    """Draw where each penalty's push-down lands: shares on the policy, on logged actions, elsewhere; "exact" on top.

    ``panels`` maps a title to penalties, each with its three shares; the one named "exact" is softmax(Q) by quadrature.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.9))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    caption = ""
    for axis, (title, shares) in zip(axes, panels.items(), strict=True):
        names, table, left = list(shares), np.asarray(list(shares.values()), float), 0.0
        for (label, colour, hatch), part in zip(REGIONS, table.T, strict=True):
            axis.barh(range(len(names)), part, left=left, color=colour, hatch=hatch, edgecolor="white", label=label)
            left = left + part
        truth = float(shares["exact"][0])
        axis.axvline(truth, color=BLUE, linestyle="--", linewidth=1.6, label="truth: policy's share of softmax(Q)")
        axis.set(title=title, xlim=(0, 1))
        said = ", ".join(f"{variant_name(name)} {row[0]:.2f}" for name, row in shares.items())
        caption = f"{title}: {said}"
    axes[0].set_yticks(range(len(names)), ["exact softmax(Q)" if n == "exact" else variant_name(n) for n in names])
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    figure.supxlabel("share of the push-down", fontsize=9)
    figure.caption = f"Share of the push-down on the policy's actions. {caption}."
    return figure


def logged_curves(
    histories: Mapping[str, Any], columns: Mapping[str, str], units: Mapping[str, str] | None = None
) -> CaptionedFigure:
    """Draw what a practitioner sees: logged metrics against updates, a panel a metric, a line a run, and no truth.

    ``histories`` maps a name to a history or to one a seed, ``columns`` a column of theirs to the panel's title,
    ``units`` a column to its unit, on the panel's axis. A run without the column has no line in it. The caption tells a
    trend that is clear: by more than three tenths of what a run's line spans, in the mean over its seeds.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.2))
    axes = figure.subplots(1, len(columns), squeeze=False)[0]
    styles = [_run_style(name) for name in histories]
    said = []
    for axis, (column, title) in zip(axes, columns.items(), strict=True):
        ends = []
        for (name, of_name), (colour, style) in zip(histories.items(), styles, strict=False):
            seeds = of_name if isinstance(of_name, Sequence) else [of_name]
            changes, seen = [], []
            for number, history in enumerate(seeds):
                if column not in history.columns:
                    continue
                steps, values = np.asarray(history["step"], float), np.asarray(history[column], float)
                kept = np.isfinite(values)
                thin = {"linewidth": 1.8} if len(seeds) == 1 else {"linewidth": 1.2, "alpha": 0.8}
                axis.plot(steps[kept], values[kept], style, color=colour, label=None if number else name, **thin)
                changes.append(values[kept][-1] - values[kept][len(values[kept]) // 2])
                seen.extend(values[kept])
            if changes:
                share = np.mean(changes) / max(float(np.ptp(seen)), 1e-12)
                trend = "rises" if share > CLEAR else "falls" if share < -CLEAR else "no clear trend"
                ends.append(f"{name} {trend}")
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("updates", fontsize=9)
        axis.set_ylabel((units or {}).get(column, ""), fontsize=8)
        axis.grid(alpha=0.25)
        said.append(f"{title}: {', '.join(ends)}")
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    figure.caption = f"Second half of the runs. {'; '.join(said)}."
    return figure


def forest(
    panels: Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]], *, unit: str, than: str, worse: str
) -> CaptionedFigure:
    """Draw means and intervals, a panel a task with its own axis, a line a row, a mark a series; 0 is ``than``.

    ``panels`` maps a task to rows, each a mapping of series to mean and half-width of the 95 % interval. ``worse``
    ("left" or "right") is the bad side. A filled mark is told apart from 0, an open one is not. A series that a row
    lacks is left out. An interval far beyond the others of its panel is an arrow with its number.
    """
    rows = list(dict.fromkeys(row for of in panels.values() for row in of))
    series = list(dict.fromkeys(name for of in panels.values() for row in of.values() for name in row))
    marks = dict(zip(series, (("o", 0.0), ("s", 0.22), ("D", -0.22)), strict=False))
    figure = CaptionedFigure(figsize=(9.0, 1.5 + 0.36 * len(rows)))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    captions = []
    for axis, (task, of_task) in zip(axes, panels.items(), strict=True):
        reach = [abs(mean) + half for row in of_task.values() for mean, half in row.values()]
        far_off = 6 * float(np.median(reach))  # one large effect must not hide the others
        edge = 1.1 * max(x for x in reach if x <= far_off)
        bad: list[str] = []
        for row, cells in of_task.items():
            for name, (mean, half) in cells.items():
                fmt, shift = marks[name]
                at, side = rows.index(row) + shift, -1 if mean + half < 0 else 1 if mean - half > 0 else 0
                harmful = side == (-1 if worse == "left" else 1)
                colour = VERMILION if harmful else GREEN if side else BLACK
                look: dict[str, Any] = {
                    "color": colour,
                    "markersize": 5,
                    "markerfacecolor": colour if side else "white",
                }
                if abs(mean) + half <= edge:
                    axis.errorbar(mean, at, xerr=half, fmt=fmt, capsize=3, **look)
                else:
                    far = float(np.sign(mean))
                    axis.plot(0.94 * far * edge, at, "<" if far < 0 else ">", **look)
                    align = "left" if far < 0 else "right"
                    axis.text(0.82 * far * edge, at, f"{mean:+.3g}", fontsize=8, color=colour, va="center", ha=align)
                if harmful:
                    bad.append(variant_name(row) + (f" ({name})" if len(series) > 1 else ""))
        axis.axvline(0.0, color=BLUE, linestyle="--", linewidth=1.2)
        axis.set(xlim=(-edge, edge), ylim=(len(rows) - 0.5, -0.5))
        axis.set_title(task, fontsize=10)
        axis.grid(axis="x", alpha=0.25)
        axis.tick_params(axis="x", labelsize=8)
        captions.append(f"{task}: {', '.join(bad) or 'none'}")
    axes[0].set_yticks(range(len(rows)), [variant_name(row) for row in rows], fontsize=9)
    figure.supxlabel(f"{unit}, minus {than} (dashed); 95 % interval", fontsize=9)
    handles = [
        Line2D([], [], marker=marks[n][0], color=BLACK, linestyle="", label=n) for n in series if len(series) > 1
    ]
    low, high = ("lower", "higher") if worse == "left" else ("higher", "lower")
    for colour, word in ((VERMILION, low), (GREEN, high)):
        handles.append(Line2D([], [], marker="o", color=colour, linestyle="-", label=f"told apart: {word}"))
    handles.append(
        Line2D([], [], marker="o", color=BLACK, markerfacecolor="white", linestyle="-", label="not told apart")
    )
    figure.legend(handles=handles, loc="outside upper center", ncols=5, fontsize=8, frameon=False)
    figure.caption = f"{unit[0].upper()}{unit[1:]}, {low} than {than}. {'. '.join(captions)}."
    return figure


def errors_by_draw(panels: Mapping[str, Mapping[str, Sequence[float]]], *, unit: str) -> CaptionedFigure:
    """Draw the estimation error of each run as a dot, a panel a task, a line a kind of run; 0 is the truth, Q^pi.

    ``panels`` maps a task to kinds of run, each with its runs' errors. The caption counts those above 0.
    """
    figure = CaptionedFigure(figsize=(9.0, 1.3 + 0.34 * max(len(of) for of in panels.values())))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    captions = []
    for axis, (task, kinds) in zip(axes, panels.items(), strict=True):
        for at, values in enumerate(np.asarray(errors, float) for errors in kinds.values()):
            colours = [OVER if value > 0 else UNDER for value in values]
            axis.scatter(values, np.full(len(values), at), c=colours, s=22, zorder=3)
            axis.plot([values.mean()] * 2, [at - 0.3, at + 0.3], color=BLACK, linewidth=1.6)
        axis.axvline(0.0, **{**TRUTH, "marker": ""}, linewidth=1.4)
        axis.set_title(task, fontsize=10)
        axis.grid(axis="x", alpha=0.25)
        said = ", ".join(f"{name} {sum(x > 0 for x in errors)} of {len(errors)}" for name, errors in kinds.items())
        captions.append(f"{task}: {said}")
    axes[0].set_yticks(range(len(kinds)), list(kinds), fontsize=9)
    axes[0].set_ylim(len(kinds) - 0.5, -0.5)
    handles = [
        Line2D([], [], marker="o", color=OVER, linestyle="", label="over"),
        Line2D([], [], marker="o", color=UNDER, linestyle="", label="under"),
        Line2D([], [], color=BLACK, label="mean"),
        Line2D([], [], **{**TRUTH, "marker": ""}, label="truth: $Q^\\pi$ by Monte-Carlo"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    figure.supxlabel(unit, fontsize=9)
    figure.caption = f"Runs that over-estimate. {'. '.join(captions)}."
    return figure


def tuning_curves(panels: Mapping[str, Mapping[str, Mapping[float, float]]], *, unit: str) -> CaptionedFigure:
    """Draw the mean return over the tuning draws against alpha, a panel a task, a line a penalty, a ring at its best.

    ``panels`` maps a task to penalties, each a mapping of alpha to the mean return.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.6))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    looks = [(colour, line) for line in ("-", "--", ":") for colour in (VERMILION, GREEN, SKY, BLACK)]
    captions = []
    for axis, (task, penalties) in zip(axes, panels.items(), strict=True):
        best = []
        for (name, curve), (colour, line) in zip(penalties.items(), looks, strict=False):
            alphas = sorted(curve)
            axis.plot(alphas, [curve[a] for a in alphas], line, color=colour, marker=".", label=variant_name(name))
            top = max(alphas, key=lambda a: (curve[a], a))
            axis.plot(top, curve[top], "o", markersize=10, markerfacecolor="none", color=colour)
            best.append(f"{variant_name(name)} {top:g}")
        axis.set(xscale="log", xlabel="alpha", ylabel=unit, title=task)
        tried = sorted({alpha for curve in penalties.values() for alpha in curve})
        axis.set_xticks(tried, [f"{alpha:g}" for alpha in tried])
        axis.minorticks_off()
        axis.grid(alpha=0.25)
        captions.append(f"{task}: {', '.join(best)}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=8, frameon=False)
    figure.caption = f"Best alpha on the tuning draws. {'. '.join(captions)}."
    return figure


def push_and_error(
    name: str, plane: Any, q: Any, pushed: Any, limits: tuple[float, float] = (0.1, 3.0)
) -> CaptionedFigure:
    """Draw one loss on the plane of states and actions: net push (arrows), and the error of the table it leads to.

    ``plane`` has ``states``, ``actions``, ``truth``, ``behaviour`` and ``peak`` (where the policy sits); ``q`` and
    ``pushed`` are tables ``[states, actions]`` as `studies.ch07.Plane.fitted` returns them.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.7))
    left, right = figure.subplots(1, 2, sharey=True)
    s, a = plane.states.numpy(), plane.actions.numpy()
    net, error = (plane.behaviour - pushed).numpy(), (q - plane.truth).numpy()
    for axis, table, limit, label in (
        (left, net, limits[0], "up minus down, a share of each state's push"),
        (right, error, limits[1], "Q-hat minus exact reward"),
    ):
        image = axis.pcolormesh(s, a, table.T, cmap=ERROR_MAP, vmin=-limit, vmax=limit, shading="nearest")
        bar = figure.colorbar(image, ax=axis, shrink=0.85, extend="both")
        over, under = ("up", "down") if axis is left else ("over", "under")
        bar.ax.set_title(over, fontsize=9, pad=10)
        bar.ax.text(0.5, -0.09, under, transform=bar.ax.transAxes, ha="center", va="top", fontsize=9)
        bar.set_label(label, fontsize=8)
        axis.plot(s, plane.peak.numpy(), color=BLUE, linestyle="--", linewidth=1.4, label="policy's mean action")
        axis.set_xlabel("state")
    rows, columns = np.arange(2, len(s), 6), np.arange(4, len(a), 8)
    width = 4
    summed = np.stack([net[:, max(0, c - width) : c + width].sum(1) for c in columns], 1)[rows]
    size = np.clip(summed, -0.8, 0.8) * 0.35
    strong = np.abs(summed) > 0.04
    x, y = np.meshgrid(s[rows], a[columns], indexing="ij")
    left.quiver(
        x[strong],
        y[strong],
        0 * size[strong],
        size[strong],
        angles="xy",
        scale_units="xy",
        scale=1.0,
        width=0.006,
        color=BLACK,
    )
    left.set(ylabel="action", title=f"{variant_name(name)}: net push", ylim=(-1, 1))
    right.set_title("error of the table", fontsize=12)
    left.legend(fontsize=8, frameon=False, loc="lower right")
    near = np.abs(a[None] - plane.peak.numpy()[:, None]) <= 0.24
    share = float((pushed.numpy() * near).sum() / pushed.numpy().sum()) if pushed.any() else 0.0
    at_policy = float(error[near].mean())
    logged = float((plane.behaviour.numpy() * error).sum(1).mean())
    figure.caption = (
        f"{variant_name(name)}: {share:.0%} of the push-down lies near the policy's actions; mean error there "
        f"{at_policy:+.1f}, at logged actions {logged:+.2f}."
    )
    return figure
