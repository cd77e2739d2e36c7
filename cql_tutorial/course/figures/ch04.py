"""Figures of chapter 04: small tables of Q-values, how the penalty moves them, and the truth beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from .base import ALGORITHMS, BLACK, BLUE, EXACT, GREEN, GREY, OVER, SKY, UNDER, VERMILION, CaptionedFigure


def soft_maximum(spread: float = 4.0) -> CaptionedFigure:
    """Draw the log-sum-exp of two values, x and 0, beside their maximum, over x in ±spread."""
    x = torch.linspace(-spread, spread, 201, dtype=torch.float64)
    soft, hard = torch.logaddexp(x, torch.zeros_like(x)), x.clamp(min=0)
    figure = CaptionedFigure(figsize=(9.0, 3.4))
    left, right = figure.subplots(1, 2)
    left.plot(x, hard, "--", color=GREY, label="max(x, 0)")
    left.plot(x, soft, color=VERMILION, label="log-sum-exp: log(exp x + exp 0)")
    left.set(xlabel="x, the rating of one action (the other's is 0)", ylabel="value", title="two maxima")
    right.plot(x, soft - hard, color=VERMILION, label="log-sum-exp minus max")
    right.axhline(np.log(2), color=BLACK, linestyle=":", label="log 2, the most it can be")
    right.set(xlabel="x", ylabel="difference", ylim=(0, 0.95), title="they differ where the race is close")
    for axis in (left, right):
        axis.legend(fontsize=9, frameon=False)
        axis.grid(alpha=0.25)
    excess = soft - hard
    figure.caption = (
        f"The log-sum-exp lies above the maximum by {float(excess.max()):.2f} (log 2) where both actions are rated "
        f"alike, and by {float(excess[-1]):.2f} where one leads by {spread:g}."
    )
    return figure


def penalties(
    tables: Mapping[str, Tensor], action: int, values: Sequence[float], parts: Sequence[tuple[float, float]]
) -> CaptionedFigure:
    """Draw several critics' ratings of one state, a panel each, with log-sum-exp, logged value and the penalty.

    ``parts`` holds (log-sum-exp, logged value) of each; ``values`` the penalties, which are their differences.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.6))
    axes = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for axis, (name, q), value, (soft, logged) in zip(axes, tables.items(), values, parts, strict=True):
        _bars(axis, q, action)
        axis.axhline(soft, color=VERMILION, linewidth=1.5)
        axis.axhline(logged, color=GREEN, linestyle="--", linewidth=1.5)
        axis.annotate("", (len(q) - 0.4, logged), (len(q) - 0.4, soft), arrowprops={"arrowstyle": "<->"})
        axis.set(title=f"{name}\npenalty {value:.2f}", xlabel="action", xlim=(-0.6, len(q) - 0.2))
    axes[0].set_ylabel("rating Q")
    axes[0].plot([], [], color=VERMILION, label="log-sum-exp (pushed down)")
    axes[0].plot([], [], "--", color=GREEN, label="logged action's rating (pulled up)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    most = list(tables)[int(np.argmax(values))]
    said = ", ".join(f"{name} {value:.2f}" for name, value in zip(tables, values, strict=True))
    figure.caption = f"Penalty of each critic: {said}. The largest is paid by the one that is {most}."
    return figure


def _bars(axis: object, q: Tensor, action: int | None) -> None:
    colours = [GREEN if k == action else SKY for k in range(len(q))]
    bars = axis.bar(range(len(q)), q.tolist(), color=colours, edgecolor=BLACK, linewidth=0.6, width=0.6)  # type: ignore[attr-defined]
    if action is not None:
        bars[action].set_hatch("//")
    axis.axhline(0, color=BLACK, linewidth=0.8)  # type: ignore[attr-defined]
    names = [f"{k}\nlogged" if k == action else str(k) for k in range(len(q))]
    axis.set_xticks(range(len(q)), names)  # type: ignore[attr-defined]


def push(q: Tensor, gradient: Tensor, actions: Tensor, step: float) -> CaptionedFigure:
    """Draw what one step of descent does to each entry: arrows from Q to Q - step * gradient, a panel a state.

    ``q, gradient [S, A]``, ``actions [S]``; the number on an arrow is the change.
    """
    after = q - step * gradient
    figure = CaptionedFigure(figsize=(9.0, 3.6))
    axes = figure.subplots(1, len(q), sharey=True, squeeze=False)[0]
    for s, axis in enumerate(axes):
        _bars(axis, q[s], int(actions[s]))
        for a in range(q.shape[1]):
            up = bool(after[s, a] > q[s, a])
            colour = GREEN if up else VERMILION
            arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 2.2}
            axis.annotate("", (a + 0.2, float(after[s, a])), (a + 0.2, float(q[s, a])), arrowprops=arrow)
            place = max(float(after[s, a]), float(q[s, a]), 0.0)
            axis.text(
                a + 0.05, place + 0.12, f"{float(after[s, a] - q[s, a]):+.2f}", color=colour, ha="center", fontsize=9
            )
        axis.set(title=f"state {s}: action {int(actions[s])} was logged", xlabel="action")
    low, high = min(0.0, float(after.min())), max(float(after.max()), float(q.max()))
    axes[0].set(ylabel="rating Q", ylim=(low - 0.25, high + 0.6))
    handles = [axes[0].plot([], [], color=c, linewidth=2.2)[0] for c in (VERMILION, GREEN)]
    figure.legend(handles, ["pushed down", "pulled up"], loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    said = []
    for s in range(len(q)):
        change = (after - q)[s]
        said.append(
            f"state {s}: action {int(change.argmin())} falls most ({float(change.min()):+.2f}), "
            f"action {int(change.argmax())} rises ({float(change.max()):+.2f})"
        )
    figure.caption = f"One step of {step:g} on the penalty. " + "; ".join(said) + "."
    return figure


def arms(learned: Mapping[float, Tensor], truth: Tensor, shares: Tensor) -> CaptionedFigure:
    """Draw a bandit's learned values beside the true ones, a panel for each alpha, on common limits.

    ``learned`` maps alpha to Q-hat ``[A]``; ``truth [A]`` holds each arm's exact mean reward, ``shares [A]`` its share
    of the log.
    """
    figure = CaptionedFigure(figsize=(2.3 * max(len(learned), 3) + 0.4, 3.7))
    axes = figure.subplots(1, len(learned), sharey=True, squeeze=False)[0]
    x, said = np.arange(len(truth)), []
    for axis, (alpha, q) in zip(axes, learned.items(), strict=True):
        error = q - truth
        axis.bar(
            x,
            error.tolist(),
            bottom=truth.tolist(),
            width=0.5,
            color=[EXACT if abs(e) < 5e-3 else OVER if e > 0 else UNDER for e in error],
            alpha=0.5,
        )
        axis.plot(
            x, truth, "_", color=BLUE, markersize=22, markeredgewidth=2.5, label="truth: the arm's mean reward (exact)"
        )
        axis.plot(x, q, "o", color=VERMILION, label="learned value $\\hat Q$")
        for k in range(len(truth)):
            word = "exact" if abs(error[k]) < 5e-3 else "over" if error[k] > 0 else "under"
            axis.annotate(
                word,
                (k, max(float(q[k]), float(truth[k]))),
                (0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        axis.set_xticks(x, [f"{k}\n{share:.0%}" for k, share in enumerate(shares.tolist())])
        axis.set(title=f"alpha = {alpha:g}", xlabel="arm, share of the log")
        axis.grid(axis="y", alpha=0.25)
        over, under = int((error > 5e-3).sum()), int((error < -5e-3).sum())
        mean = float((shares * error).sum())
        found = f"{under} of {len(truth)} arms below the truth, {over} above, mean over the log {mean:+.2f}"
        said.append(f"alpha = {alpha:g}: {found}")
    axes[0].set_ylabel("value (reward)")
    lowest = min(min(float(q.min()) for q in learned.values()), float(truth.min()))
    highest = max(max(float(q.max()) for q in learned.values()), float(truth.max()))
    axes[0].set_ylim(min(lowest, 0) - 0.15, highest + 0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    figure.caption = ("Q-hat minus the exact mean rewards. " + "; ".join(said) + ".").replace("-0.00", "+0.00")
    return figure


def falling(curves: Mapping[str, Tensor], steps: Tensor, truth: float) -> CaptionedFigure:
    """Draw the value of an action that was never logged along training: a line a setting, steps on a log axis."""
    figure = CaptionedFigure(figsize=(9.0, 3.6))
    axis = figure.subplots()
    bare, cql = ALGORITHMS["SAC"], ALGORITHMS["CQL"]  # without a penalty, with it
    styles = [(s["linestyle"], s["color"]) for s in (bare, cql)] + [(":", GREY), ((0, (5, 1)), BLACK)]
    for (name, values), (style, colour) in zip(curves.items(), styles, strict=False):
        axis.plot(steps, values, linestyle=style, color=colour, linewidth=2, label=name)
        axis.annotate(
            f"{float(values[-1]):.1f}",
            (float(steps[-1]), float(values[-1])),
            (6, -3),
            textcoords="offset points",
            fontsize=9,
        )
    axis.axhline(truth, color=BLUE, linestyle="--", label=f"truth: its mean reward, {truth:g} (exact)")
    axis.set(xscale="log", xlabel="steps of gradient descent", ylabel="value of the unlogged arm (reward)")
    axis.grid(alpha=0.25)
    axis.legend(fontsize=9, frameon=False)
    said = []
    for name, values in curves.items():
        earlier = float(values[int((steps <= steps[-1] // 3).sum()) - 1])
        word = "still falling" if float(values[-1]) < earlier - 0.1 else "at rest"
        said.append(f"{name}: {float(values[-1]):.1f} and {word}")
    figure.caption = (
        f"After {int(steps[-1])} steps the unlogged arm (true mean reward {truth:g}) is at: " + "; ".join(said) + "."
    )
    return figure


def exploration_logs(
    found: Mapping[tuple[str, float], tuple[tuple[float, float], tuple[float, float]]], optimum: float, draws: int
) -> CaptionedFigure:
    """Draw true value and estimation error against alpha, a line for each log, with 95 % t-intervals over draws.

    ``found`` maps (log, alpha) to (mean, half width) of the true value and of the estimation error at the start; alpha
    0 is DQN. ``optimum`` is the best policy's value there.
    """
    logs, alphas = list(dict.fromkeys(log for log, _ in found)), list(dict.fromkeys(alpha for _, alpha in found))
    figure = CaptionedFigure(figsize=(9.0, 3.8))
    axes, said = figure.subplots(1, 2), []
    for i, (log, mark, line, colour) in enumerate(
        zip(logs, ("^", "s", "o"), ("-", "--", ":"), (BLACK, GREY, SKY), strict=False)
    ):
        x = np.arange(len(alphas)) + 0.12 * (i - 1)
        for k, axis in enumerate(axes):
            means, halves = zip(*(found[log, alpha][k] for alpha in alphas), strict=True)
            axis.errorbar(x, means, halves, color=colour, marker=mark, linestyle=line, capsize=3, label=f"{log} log")
        errors = {alpha: found[log, alpha][1][0] for alpha in alphas}
        told = ", ".join(f"{error:+.1f} at {alpha:g}" for alpha, error in errors.items())
        said.append(f"{log} log: error {told}".replace("-0.0", "+0.0"))
    axes[0].axhline(optimum, color=BLUE, linestyle="--", label="the best policy (exact)")
    axes[0].set(ylabel="true value at the start (exact)")
    axes[1].axhline(0.0, color=BLUE, linestyle="--")
    axes[1].set(ylabel="estimation error at the start")
    for y, word, colour in ((0.97, "over", OVER), (0.03, "under", UNDER)):
        side = "top" if y > 0.5 else "bottom"
        axes[1].text(0.5, y, word, color=colour, ha="center", va=side, weight="bold", transform=axes[1].transAxes)
    for axis in axes:
        axis.set_xticks(range(len(alphas)), [f"{alpha:g}" if alpha else "0 (DQN)" for alpha in alphas])
        axis.set(xlabel="cql_alpha", xlim=(-0.5, len(alphas) - 0.5))
        axis.grid(axis="y", alpha=0.25)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    figure.caption = f"Mean over {draws} draws of each log. " + "; ".join(said) + "."
    return figure
