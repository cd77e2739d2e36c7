"""Figures of chapter 05: lower bounds against exact values, for arms, thresholds, backup temperatures, survival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ...evaluation.intervals import t_interval
from .base import BLACK, BLUE, GREEN, GREY, ORANGE, SKY, VERMILION, CaptionedFigure


def bounds_on_arms(learned: Mapping[str, Tensor], truth: Tensor, policy: Tensor) -> CaptionedFigure:
    """Draw each arm's value under two equations beside the true one, and the policy's average of both as a line.

    ``learned`` maps an equation's name to values ``[A]``; ``truth [A]`` is exact; ``policy [A]`` sums to one.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.8))
    axes = figure.subplots(1, len(learned), sharey=True, squeeze=False)[0]
    x, said = np.arange(len(truth)), []
    average = float(policy @ truth)
    for axis, (name, q) in zip(axes, learned.items(), strict=True):
        error, mean = q - truth, float(policy @ q)
        colours = [VERMILION if e > 0 else SKY for e in error]
        axis.bar(x, error.tolist(), bottom=truth.tolist(), width=0.5, color=colours, alpha=0.35)
        axis.plot(x, truth, "_", color=BLUE, markersize=22, markeredgewidth=2.5, label="truth: mean reward (exact)")
        axis.plot(x, q, "o", color=VERMILION, label="learned value")
        axis.axhline(average, color=BLUE, linestyle="--", linewidth=1, label="policy's average of the truth")
        axis.axhline(mean, color=VERMILION, linewidth=1, label="policy's average of the learned values")
        for k in range(len(truth)):
            top = max(float(q[k]), float(truth[k]))
            word = "over" if error[k] > 0 else "under"
            axis.annotate(word, (k, top), (0, 6), textcoords="offset points", ha="center", fontsize=8)
        axis.set_xticks(x, [f"arm {k}\n{p:.0%}" for k, p in enumerate(policy.tolist())])
        axis.set(title=name, xlabel="arm, share in the policy")
        axis.grid(axis="y", alpha=0.25)
        over = int((error > 0).sum())
        said.append(f"{name}: {over} of {len(truth)} arms over, the policy's average {mean:.2f} (true {average:.2f})")
    low, high = axes[0].get_ylim()
    axes[0].set(ylabel="value", ylim=(low, high + 0.1 * (high - low)))  # room for the words above the highest bar
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.caption = "; ".join(said) + "."
    return figure


def thresholds(rows: Sequence[int], needed: Sequence[Sequence[float]]) -> CaptionedFigure:
    """Draw the alpha that a bound needs, a dot a world and their mean, against the rows of the log."""
    figure = CaptionedFigure(figsize=(9.0, 3.5))
    axis = figure.subplots()
    means: list[float] = []
    for n, values in zip(rows, needed, strict=True):
        spread = n * np.exp(np.linspace(-0.12, 0.12, len(values)))
        axis.plot(
            spread, values, "o", color=VERMILION, markersize=3.5, alpha=0.6, label="a world" if not means else None
        )
        mean, half = t_interval(list(values))
        axis.errorbar(n * 1.3, mean, half, fmt="D", color=BLACK, capsize=4, label="mean, 95 % t" if not means else None)
        means.append(mean)
    guide = [means[0] * (rows[0] / n) ** 0.5 for n in rows]
    axis.plot(rows, guide, ":", color=GREY, label="one over the root of the rows")
    axis.axhline(0.0, color=BLUE, linestyle="--", label="what exact knowledge needs: any alpha above 0")
    axis.set(xscale="log", xlabel="rows of the log", ylabel="smallest alpha that bounds every pair")
    axis.set_xticks(list(rows), [f"{n:,}" for n in rows])
    axis.minorticks_off()
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8, frameon=False)
    said = [f"{mean:.4f} at {n:,} rows" for n, mean in zip(rows, means, strict=True)]
    figure.caption = f"Mean threshold over {len(needed[0])} worlds: " + ", ".join(said) + "."
    return figure


def backup_errors(errors: Mapping[float, Tensor], here: float | None = None) -> CaptionedFigure:
    """Draw value minus truth at every state, a column a backup temperature; ``here`` marks one of them.

    ``errors`` maps a temperature to ``V-hat - V^pi`` ``[states]``, pi being the policy of that temperature (exact).
    """
    figure = CaptionedFigure(figsize=(9.0, 3.7))
    axis, said = figure.subplots(), []
    names = [f"{temperature:g}" for temperature in errors]
    for i, (temperature, error) in enumerate(errors.items()):
        spread = np.linspace(-0.3, 0.3, len(error))
        colours = [VERMILION if e > 0 else SKY for e in error]
        strong = here in (None, temperature)
        axis.scatter(i + spread, error, c=colours, s=7, alpha=0.7 if strong else 0.15)
        axis.plot([i - 0.35, i + 0.35], [float(error.mean())] * 2, color=BLACK, linewidth=2 if strong else 0.7)
        if strong:
            under, mean = float((error <= 1e-9).double().mean()), float(error.mean())
            said.append(f"temperature {temperature:g}: under at {under:.0%} of the states, mean {mean:+.2f}")
    axis.axhline(0.0, color=BLUE, linestyle="--", label="truth: $V^\\pi$ of the policy that is backed up (exact)")
    axis.set_xticks(range(len(names)), names)
    axis.set(xlabel="temperature of the backup", ylabel="predicted minus true value")
    axis.text(0.005, 0.97, "over", transform=axis.transAxes, color=VERMILION, fontsize=9, va="top")
    axis.text(0.005, 0.03, "under", transform=axis.transAxes, color=BLUE, fontsize=9)
    axis.grid(axis="y", alpha=0.25)
    axis.legend(fontsize=8, frameon=False, loc="lower right")
    figure.caption = "; ".join(said) + "."
    return figure


def survival(rows: Sequence[Mapping[str, Any]], references: Mapping[str, float]) -> CaptionedFigure:
    """Draw predicted and true survival against alpha for both backups, a panel a log size (rows of `sepsis.csv`)."""
    sizes = sorted({int(row["episodes"]) for row in rows})
    figure = CaptionedFigure(figsize=(9.0, 4.2))
    axes = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    kinds = (("cql-max", VERMILION, "o", "greedy backup"), ("cql-softmax", GREEN, "s", "softmax backup"))
    said = []
    for axis, size in zip(axes, sizes, strict=True):
        mine = [row for row in rows if int(row["episodes"]) == size]
        alphas = sorted({float(row["cql_alpha"]) for row in mine if row["cql_alpha"]})
        counts = []
        for key, colour, mark, name in kinds:
            runs = [[r for r in mine if r["algorithm"] == key and float(r["cql_alpha"]) == alpha] for alpha in alphas]
            for column, style in (("predicted", "-"), ("true", "--")):
                means = [np.mean([float(r[column]) for r in group]) for group in runs]
                shown = colour if column == "predicted" else BLUE
                label = f"predicted, {name}" if column == "predicted" else f"truth of its policy, {name}"
                axis.plot(alphas, means, style, color=shown, marker=mark, markersize=4, label=label)
            above = sum(float(r["predicted"]) > 1 for group in runs for r in group)
            below = sum(float(r["predicted"]) < float(r["true"]) for group in runs for r in group)
            counts.append(f"{name}: above 1 in {above}, below its truth in {below} of {sum(map(len, runs))} runs")
        for key, colour, style in (("naive", ORANGE, "-."), ("shrunk-1", GREY, ":")):
            value = np.mean([float(r["predicted"]) for r in mine if r["algorithm"] == key])
            axis.axhline(value, color=colour, linestyle=style, linewidth=1.2, label=f"predicted, {key}")
        axis.axhspan(1.0, 40.0, color=VERMILION, alpha=0.08, linewidth=0)
        axis.text(
            0.02,
            0.98,
            "cannot exist: survival above 1",
            fontsize=8,
            color=VERMILION,
            va="top",
            transform=axis.transAxes,
        )
        axis.set(xscale="log", title=f"{size:,} episodes", xlabel="alpha")
        axis.set_yscale("symlog", linthresh=1.0)
        axis.set_ylim(-4, 40)
        axis.set_yticks([-3, -1, 0, 0.78, 1, 3, 10, 30], ["-3", "-1", "0", ".78", "1", "3", "10", "30"])
        axis.grid(alpha=0.25)
        said.append(f"{size:,} episodes, {'; '.join(counts)}")
    axes[0].set_ylabel("survival (linear within ±1)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    known = ", ".join(f"{name} {value:.3f}" for name, value in references.items())
    figure.caption = ". ".join(said) + f". Exact survival: {known}."
    return figure
