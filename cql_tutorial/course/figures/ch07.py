"""Figures of chapter 07: what a wrong penalty does to estimate, push-down, values, logged metrics and return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .base import BLACK, BLUE, ERROR_MAP, GREEN, GREY, ORANGE, SKY, VERMILION, CaptionedFigure
from .ch06 import _short

CLEAR = 0.3  # of a line's range: live runs differ between machines, and the build compares the caption
REGIONS = (("on the policy", VERMILION, "//"), ("on the logged actions", GREEN, ".."), ("elsewhere", SKY, ""))


def variant_name(name: str) -> str:
    """Write a variant's name as words."""
    return name.replace("_", " ").replace("sac-decay", "SAC, weight decay").replace("sac", "SAC").replace("bc", "BC")


def penalty_errors(panels: Mapping[str, Mapping[str, Any]]) -> CaptionedFigure:
    """Draw mean and standard deviation of each penalty's estimate of the log-integral, beside quadrature's value.

    ``panels`` maps a title to penalties, each with its errors ``[repetitions]``, in nats.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.6))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    captions = []
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
        captions.append(f"{title}: {said}")
    axes[0].set_yticks(range(len(names)), [variant_name(name) for name in names])
    axes[0].invert_yaxis()
    figure.supxlabel("estimate minus log-integral, nats; bar: one standard deviation over mini-batches", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", fontsize=8, frameon=False)
    figure.caption = f"Error of one update's estimate, mean ± standard deviation. {'. '.join(captions)}."
    return figure


def push_down_shares(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> CaptionedFigure:
    """Draw where each penalty's push-down lands: shares on the policy, on logged actions, elsewhere; "exact" on top.

    ``panels`` maps a title to penalties, each with its three shares; the one named "exact" is softmax(Q) by quadrature.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.9))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    captions = []
    for axis, (title, shares) in zip(axes, panels.items(), strict=True):
        names, table, left = list(shares), np.asarray(list(shares.values()), float), 0.0
        for (label, colour, hatch), part in zip(REGIONS, table.T, strict=True):
            axis.barh(range(len(names)), part, left=left, color=colour, hatch=hatch, edgecolor="white", label=label)
            left = left + part
        truth = float(shares["exact"][0])
        axis.axvline(truth, color=BLUE, linestyle="--", linewidth=1.6, label="truth: policy's share of softmax(Q)")
        axis.set(title=title, xlim=(0, 1))
        said = ", ".join(f"{variant_name(name)} {row[0]:.2f}" for name, row in shares.items())
        captions.append(f"{title}: {said}")
    axes[0].set_yticks(range(len(names)), ["exact softmax(Q)" if n == "exact" else variant_name(n) for n in names])
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    figure.supxlabel("share of the push-down", fontsize=9)
    figure.caption = f"Share of the push-down on the policy's actions. {'. '.join(captions)}."
    return figure


def logged_curves(histories: Mapping[str, Any], columns: Mapping[str, str]) -> CaptionedFigure:
    """Draw what a practitioner sees: logged metrics against updates, a panel a metric, a line a run, and no truth.

    ``histories`` maps a name to a history or to one a seed, ``columns`` a column of theirs to the panel's title. A run
    without the column has no line in it. The caption tells a trend that is clear: by more than three tenths of what a
    run's line spans, in the mean over its seeds.
    """
    figure = CaptionedFigure(figsize=(9.0, 2.9))
    axes = figure.subplots(1, len(columns), squeeze=False)[0]
    styles = ((GREY, ":"), (VERMILION, "-"), (GREEN, "-."), (ORANGE, "--"), (SKY, "-"))
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
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("updates", fontsize=9)
        axis.grid(alpha=0.25)
        said.append(f"{title}: {', '.join(ends)}")
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    figure.caption = f"Second half of the runs. {'; '.join(said)}."
    return figure


def paired_effects(
    panels: Mapping[str, Mapping[str, tuple[float, float, float]]], *, xlabel: str, worse: str
) -> CaptionedFigure:
    """Draw each variant's paired difference to the correct penalty, its interval, and what it could have missed.

    ``panels`` maps a task to variants, each with mean, half-width and the smallest effect that would have been seen;
    the grey band is that effect to both sides. ``worse`` ("left" or "right") says which side is the bad one.
    """
    figure = CaptionedFigure(figsize=(9.0, 0.9 + 0.27 * len(next(iter(panels.values())))))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    captions = []
    for axis, (task, effects) in zip(axes, panels.items(), strict=True):
        bad, reach = [], [max(abs(mean) + half, smallest) for mean, half, smallest in effects.values()]
        edge = 1.05 * min(max(reach), 4 * float(np.median(reach)))  # a few large effects must not hide the others
        for i, (name, (mean, half, smallest)) in enumerate(effects.items()):
            axis.barh(i, 2 * smallest, left=-smallest, height=0.7, color=GREY, alpha=0.22, linewidth=0)
            side = -1 if mean + half < 0 else 1 if mean - half > 0 else 0
            harmful = side == (-1 if worse == "left" else 1)
            colour = VERMILION if harmful else GREEN if side else BLACK
            if abs(mean) <= edge:
                axis.errorbar(
                    mean,
                    i,
                    xerr=half,
                    capsize=3,
                    markersize=5,
                    color=colour,
                    fmt="o" if harmful else "s" if side else "D",
                )
            else:  # beyond the panel: an arrow with the number
                far = np.sign(mean)
                axis.plot(0.94 * far * edge, i, "<" if far < 0 else ">", color=colour, markersize=6)
                axis.text(
                    0.84 * far * edge,
                    i,
                    f"{mean:+.3g}",
                    fontsize=7,
                    color=colour,
                    va="center",
                    ha="left" if far < 0 else "right",
                )
            bad += [variant_name(name)] if harmful else []
        axis.axvline(0.0, color=BLUE, linestyle="--", linewidth=1.2)
        axis.set_xlim(-edge, edge)
        axis.set_title(task, fontsize=10)
        axis.grid(axis="x", alpha=0.25)
        axis.tick_params(axis="x", labelsize=8)
        captions.append(f"{task}: {', '.join(bad) or 'none'}")
    names = [variant_name(name) for name in next(iter(panels.values()))]
    axes[0].set_yticks(range(len(names)), names, fontsize=8)
    axes[0].invert_yaxis()
    bad_word, good_word = ("lower", "higher") if worse == "left" else ("higher", "lower")
    first = f"{xlabel}; red circle: {bad_word}, green square: {good_word}, black: not told apart;"
    second = "grey: smaller effects could have been missed; an arrow with a number lies beyond the panel"
    figure.supxlabel(f"{first}\n{second}", fontsize=8)
    figure.caption = f"Told apart from the correct penalty, and {bad_word}. {'. '.join(captions)}."
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
        bar.ax.set_title("up" if axis is left else "over", fontsize=9)
        bar.ax.set_xlabel("down" if axis is left else "under", fontsize=9)
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
