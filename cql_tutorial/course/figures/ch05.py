"""Figures of chapter 05 and page a2: lower bounds against exact values, and what they cost and give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ...evaluation.intervals import t_interval
from .base import ALGORITHMS, BLACK, BLUE, EXACT, GREEN, GREY, LEARNED, OVER, TRUTH, UNDER, VERMILION, CaptionedFigure

NEAR = 1e-9  # an error this small is none: values of one reward are computed to about 1e-12


def _word(error: float) -> tuple[str, str]:
    """The word and the colour of an error."""
    return ("exact", EXACT) if abs(error) <= NEAR else ("over", OVER) if error > 0 else ("under", UNDER)


def bounds_on_arms(learned: Mapping[str, Tensor], truth: Tensor, policy: Tensor) -> CaptionedFigure:
    """Draw each arm's value under two equations beside the true one, and the policy's average of both as a line.

    ``learned`` maps an equation's name to values ``[A]``; ``truth [A]`` is exact; ``policy [A]`` sums to one.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.9))
    axes = figure.subplots(1, len(learned), sharey=True, squeeze=False)[0]
    x, said = np.arange(len(truth)), []
    average = float(policy @ truth)
    for axis, (name, q) in zip(axes, learned.items(), strict=True):
        error, mean = q - truth, float(policy @ q)
        words = [_word(float(e)) for e in error]
        axis.bar(x, error.tolist(), bottom=truth.tolist(), width=0.5, color=[c for _, c in words], alpha=0.35)
        axis.plot(x, truth, "_", color=BLUE, markersize=22, markeredgewidth=2.5, label="truth: mean reward (exact)")
        axis.plot(x, q, "o", color=VERMILION, label="learned value")
        axis.axhline(average, color=BLUE, linestyle="--", linewidth=1, label="policy's average of the truth")
        axis.axhline(mean, color=VERMILION, linewidth=1, label="policy's average of the learned values")
        for k, (word, colour) in enumerate(words):
            top = max(float(q[k]), float(truth[k]))
            axis.annotate(word, (k, top), (0, 7), textcoords="offset points", ha="center", fontsize=9, color=colour)
        axis.set_xticks(x, [f"arm {k}\n{p:.0%}" for k, p in enumerate(policy.tolist())])
        axis.set(title=name, xlabel="arm, and its share in the policy")
        axis.grid(axis="y", alpha=0.25)
        counts = ", ".join(f"{sum(w == word for w, _ in words)} {word}" for word in ("over", "under", "exact"))
        said.append(f"{name}: {counts} of {len(truth)} arms; the policy's average {mean:.2f} (true {average:.2f})")
    low, high = axes[0].get_ylim()
    axes[0].set(ylabel="value (reward)", ylim=(low, high + 0.12 * (high - low)))  # room above the highest bar's word
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.caption = ". ".join(said) + "."
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
    axis.plot(rows, guide, ":", color=GREY, label="$1/\\sqrt{rows}$, through the first mean")
    axis.axhline(0.0, color=BLUE, linestyle="--", label="with the exact world: any alpha above 0")
    axis.set(xscale="log", xlabel="rows of the log (log scale)", ylabel="smallest alpha that bounds\nevery logged pair")
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
        strong = here in (None, temperature)
        axis.scatter(i + spread, error, c=[_word(e)[1] for e in error.tolist()], s=7, alpha=0.7 if strong else 0.15)
        axis.plot([i - 0.35, i + 0.35], [float(error.mean())] * 2, color=BLACK, linewidth=2 if strong else 0.7)
        if strong:
            under, mean = float((error <= NEAR).double().mean()), float(error.mean())
            said.append(f"{temperature:g}: {under:.0%}, {mean:+.2f}")
    axis.axhline(0.0, color=BLUE, linestyle="--", label="0 = $V^\\pi$ of the policy that is backed up (exact)")
    axis.plot([], [], color=BLACK, linewidth=2, label="mean over the states")
    axis.set_xticks(range(len(names)), names)
    axis.set(xlabel="temperature of the backup", ylabel="predicted minus true value\n(rewards)")
    axis.text(0.005, 0.97, "over", transform=axis.transAxes, color=OVER, fontsize=10, va="top")
    axis.text(0.005, 0.03, "under", transform=axis.transAxes, color=UNDER, fontsize=10)
    axis.grid(axis="y", alpha=0.25)
    axis.legend(fontsize=8, frameon=False, loc="lower right")
    figure.caption = "Temperature: share of states at or under the truth, mean error. " + "; ".join(said) + "."
    return figure


def survival(rows: Sequence[Mapping[str, Any]]) -> CaptionedFigure:
    """Draw predicted and true survival against alpha: a row a backup, a column a log size (rows of `sepsis.csv`)."""
    sizes = sorted({int(row["episodes"]) for row in rows})
    figure = CaptionedFigure(figsize=(9.0, 5.6))
    axes = figure.subplots(2, len(sizes), sharex=True, sharey="row", squeeze=False)
    said = []
    for line, (key, name) in enumerate((("cql-max", "greedy backup"), ("cql-softmax", "softmax backup"))):
        counts = []
        for axis, size in zip(axes[line], sizes, strict=True):
            mine = [row for row in rows if int(row["episodes"]) == size]
            alphas = sorted({float(row["cql_alpha"]) for row in mine if row["cql_alpha"]})
            runs = [[r for r in mine if r["algorithm"] == key and float(r["cql_alpha"]) == alpha] for alpha in alphas]
            for column, style, label in (
                ("predicted", LEARNED, "CQL, predicted"),
                ("true", TRUTH, "CQL, truth of its policy (exact)"),
            ):
                means = [np.mean([float(r[column]) for r in group]) for group in runs]
                axis.plot(alphas, means, **style, markersize=6, label=label)
            for other, style in (("naive", ALGORITHMS["SAC"]), ("shrunk-1", {"color": GREY, "linestyle": ":"})):
                value = np.mean([float(r["predicted"]) for r in mine if r["algorithm"] == other])
                lined = {k: v for k, v in style.items() if k != "marker"}
                label = {"naive": "no penalty, predicted", "shrunk-1": "shrinkage, predicted"}[other]
                axis.axhline(value, **lined, linewidth=1.2, label=label)
            axis.axhspan(1.0, 40.0, color=OVER, alpha=0.12, linewidth=0)
            axis.set(xscale="log", title=f"{name}, {size:,} episodes")
            axis.grid(alpha=0.25)
            flat = [run for group in runs for run in group]
            above = sum(float(r["predicted"]) > 1 for r in flat)
            below = sum(float(r["predicted"]) < float(r["true"]) for r in flat)
            counts.append(f"{above} and {below} of {len(flat)}")
        said.append(f"{name}: {', '.join(counts)}")
        axes[line, 0].set_ylabel("survival (log scale)" if line == 0 else "survival (linear scale)")
    axes[0, 0].set(yscale="log", ylim=(0.4, 40.0))
    axes[0, 0].set_yticks([0.5, 1, 3, 10, 30], ["0.5", "1", "3", "10", "30"])
    axes[1, 0].set_ylim(-4.0, 1.6)
    for axis in axes[:, 0]:
        place = (0.02, 0.97) if axis is axes[0, 0] else (0.02, 0.98)
        axis.text(*place, "no survival is above 1", fontsize=8, va="top", transform=axis.transAxes)
    for axis in axes[1]:
        axis.set_xlabel("alpha (log scale)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    sizes_said = " and ".join(f"{size:,}" for size in sizes)
    figure.caption = f"Runs above 1 and runs below their truth, {sizes_said} episodes. {'; '.join(said)}."
    return figure


def runs_by_alpha(runs: Mapping[str, Mapping[float, Tensor]]) -> CaptionedFigure:
    """Draw the highest, mean and lowest error of a value over all states against alpha, a panel a run.

    ``runs`` maps a run's name to alpha -> ``V-hat - V^pi`` ``[states]`` (exact).
    """
    figure = CaptionedFigure(figsize=(9.0, 3.9))
    axes = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    said = []
    for axis, (name, errors) in zip(axes, runs.items(), strict=True):
        alphas = list(errors)
        ends = ([float(f(e)) for e in errors.values()] for f in (Tensor.max, Tensor.mean, Tensor.min))
        marks = (("highest state", OVER, "v"), ("mean", BLACK, "o"), ("lowest state", UNDER, "^"))
        for values, (label, colour, mark) in zip(ends, marks, strict=True):
            axis.plot(alphas, values, color=colour, marker=mark, markersize=4, label=label)
        axis.axhline(0.0, color=BLUE, linestyle="--", linewidth=1.2, label="0 = $V^\\pi$ (exact)")
        axis.set(xscale="log", title=f"run {name}", xlabel="alpha (log scale)")
        axis.set_yscale("symlog", linthresh=0.1)
        axis.grid(alpha=0.25)
        over = [float((e > NEAR).double().mean()) for e in errors.values()]
        shares = ", ".join(f"{share:.0%}" for share in over)
        said.append(f"{name}: {shares}")
    axes[0].set_ylabel("predicted minus true value\n(rewards; linear within ±0.1)")
    axes[0].set_yticks([-100, -10, -1, -0.1, 0, 0.1, 1, 10], ["-100", "-10", "-1", "-0.1", "0", "0.1", "1", "10"])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    listed = ", ".join(f"{alpha:g}" for alpha in next(iter(runs.values())))
    figure.caption = f"Share of states above the truth at alpha {listed}. {'; '.join(said)}."
    return figure


# ---------------------------------------------------------------- page a2
def leads(shares: Mapping[float, Sequence[float]]) -> CaptionedFigure:
    """Draw in which share of the states the log's lead is wider with the penalty, by update, a line an alpha."""
    figure = CaptionedFigure(figsize=(9.0, 3.3))
    axis = figure.subplots()
    looks = zip((GREY, GREEN, VERMILION, BLACK), ("o:", "s--", "^-.", "D-"), strict=True)
    for (alpha, values), (colour, style) in zip(shares.items(), looks, strict=False):
        updates = np.arange(1, len(values) + 1)
        axis.plot(updates, [100 * v for v in values], style, color=colour, markersize=5, label=f"alpha {alpha:g}")
    axis.set(xlabel="update", ylabel="states in which the lead\nis wider (per cent)")
    axis.set_xticks(range(1, 1 + max(map(len, shares.values()))))
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8, frameon=False, loc="center right")
    said = [f"{min(values):.1%} with alpha {alpha:g}" for alpha, values in shares.items()]
    figure.caption = "Lowest share of states over the updates: " + ", ".join(said) + "."
    return figure


def improvement(gains: Mapping[int, Mapping[float, Sequence[float]]]) -> CaptionedFigure:
    """Draw what a policy earns more than the log's author, a dot a world and their mean, by alpha, a panel a log size.

    ``gains`` maps rows of the log to alpha -> one exact difference of returns a world.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.5))
    axes = figure.subplots(1, len(gains), sharey=True, squeeze=False)[0]
    said = []
    for axis, (rows, by_alpha) in zip(axes, gains.items(), strict=True):
        for i, values in enumerate(by_alpha.values()):
            spread = i + np.linspace(-0.25, 0.25, len(values))
            axis.plot(spread, values, "o", color=VERMILION, markersize=2, alpha=0.6, label=None if i else "a world")
            mean, half = t_interval(list(values))
            label = None if i else "mean, 95 % t"
            axis.errorbar(i, mean, half, fmt="D", color=BLACK, capsize=5, markersize=4, label=label)
        axis.axhline(0.0, color=BLUE, linestyle="--", linewidth=1.2, label="the log's author (exact)")
        axis.set_xticks(range(len(by_alpha)), [f"{alpha:g}" for alpha in by_alpha])
        axis.set(title=f"{rows:,} rows", xlabel="alpha")
        axis.grid(axis="y", alpha=0.25)
        worse = ", ".join(str(sum(v < 0 for v in values)) for values in by_alpha.values())
        said.append(f"{rows:,} rows: {worse}")
    axes[0].set_ylabel("return minus the author's\n(rewards)")
    axes[-1].legend(fontsize=8, frameon=False, loc="lower left")
    alphas = ", ".join(f"{alpha:g}" for alpha in next(iter(gains.values())))
    worlds = len(next(iter(next(iter(gains.values())).values())))
    figure.caption = f"Worlds of {worlds} with less than the author, at alpha {alphas}. {'; '.join(said)}."
    return figure


def sharing(needed: Mapping[int, tuple[Sequence[float], Sequence[float]]]) -> CaptionedFigure:
    """Draw the alpha that bounds the mean and the alpha that bounds every state, a dot a world, by group size.

    ``needed`` maps the number of states that share their values to both thresholds of each world (``inf``: none).
    """
    figure = CaptionedFigure(figsize=(9.0, 3.5))
    axis, said = figure.subplots(), []
    looks = ((-0.18, GREEN, "s", "mean over the log's states"), (0.18, VERMILION, "o", "every state"))
    for i, (size, both) in enumerate(needed.items()):
        counts = []
        for values, (shift, colour, mark, label) in zip(both, looks, strict=True):
            finite = [v for v in values if np.isfinite(v)]
            spread = i + shift + np.linspace(-0.13, 0.13, len(finite))
            axis.plot(spread, finite, mark, color=colour, markersize=3, alpha=0.6, label=None if i else label)
            middle = float(np.median(list(values)))
            axis.plot([i + shift - 0.15, i + shift + 0.15], [middle] * 2, color=BLACK, label=None)
            counts.append(f"{middle:.3f}")
        said.append(f"{size}: {' and '.join(counts)}")
    axis.plot([], [], color=BLACK, label="median of the worlds")
    axis.set_yscale("symlog", linthresh=0.01)
    axis.set_ylim(-0.002, 200.0)
    axis.set_yticks([0, 0.01, 0.1, 1, 10, 100], ["0", "0.01", "0.1", "1", "10", "100"])
    axis.set_xticks(range(len(needed)), [str(size) for size in needed])
    axis.set(xlabel="states that share their values (1 = a table)", ylabel="smallest alpha with the bound\n(log scale)")
    axis.grid(axis="y", alpha=0.25)
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    figure.caption = "Median alpha that bounds the mean, and every state, by group size. " + "; ".join(said) + "."
    return figure
