"""Figures of chapter 11: where a bounded penalty pushes, agents along their online steps, critics that agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.lines import Line2D

from .base import ALGORITHMS, BLACK, BLUE, GREEN, GREY, SKY, TRUTH, VERMILION, CaptionedFigure

CALIBRATED: dict[str, Any] = {"color": BLACK, "linestyle": "-", "marker": "s"}
STYLES = {"CQL": ALGORITHMS["CQL"], "Cal-QL": CALIBRATED}
FLOOR = 0.75  # of the least return at the start: what lies lower is told by a mark at the edge
LEVEL: dict[str, Any] = {"color": GREEN, "linestyle": "-.", "linewidth": 1.3}  # of a return that is marked
OWN_SCALE = 0.25  # of the widest panel's span: what spans less gets a scale of its own
BINS = 25  # of the actions, in a picture of where a penalty pushes


class Course(NamedTuple):
    """What happened to an algorithm's runs online: columns along the steps, a curve a draw."""

    returns: Mapping[int, Mapping[int, float]]
    predicted: Mapping[int, Mapping[int, float]]
    true: Mapping[int, Mapping[int, float]]


def bounded_push(
    pushes: Mapping[float, Any], penalty: str = "the penalty", logged: float | None = None
) -> CaptionedFigure:
    """Draw Q of one state with the return-to-go, and under it where the penalty pushes; a column a return-to-go.

    ``pushes`` maps a return-to-go to a `studies.ch11.Push`: half of its candidates are uniform, half the policy's.
    ``logged`` is the action around which the log's lie, marked under Q if it is given.
    """
    figure = CaptionedFigure(figsize=(max(5.0, 3.0 * len(pushes)), 4.6))
    axes = figure.subplots(2, len(pushes), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 2))
    edges, said, top = np.linspace(-1, 1, BINS + 1), [], 0.0
    for column, (bound, push) in enumerate(pushes.items()):
        actions, q, own, share = (np.asarray(values) for values in push)
        upper, lower = axes[:, column]
        spread = np.percentile(actions[own], (5, 95))
        upper.axvspan(*spread, color=GREY, alpha=0.2, linewidth=0, label="nine in ten of the policy's actions")
        upper.plot(actions, q, color=VERMILION, label="Q")
        if logged is not None:
            upper.plot(
                [logged], [q.min()], color=BLACK, marker="^", linestyle="", label="the log's actions, around here"
            )
        upper.axhline(bound, **{**ALGORITHMS["log"], "marker": ""}, linewidth=2, label="return-to-go of the log")
        upper.set_title(f"return-to-go {bound:g}", fontsize=10)
        bottom = np.zeros(BINS)
        for name, part, colour, hatch in (("uniform", ~own, SKY, ""), ("policy's", own, VERMILION, "//")):
            height = np.histogram(actions[part], edges, weights=share[part])[0]
            lower.bar(
                edges[:-1], height, np.diff(edges), bottom, align="edge", color=colour, hatch=hatch, edgecolor="white",
                linewidth=0.3, label=f"on {name} candidates",
            )  # fmt: skip
            bottom = bottom + height
        top = max(top, float(bottom.max()))
        lower.set_xlabel("action", fontsize=9)
        raised = float(np.mean(q[own] < bound))
        said.append(
            f"return-to-go {bound:g}: {raised:.0%} of the policy's candidates raised, push-down {share[own].sum():.2f} "
            f"on them, {share[~own].sum():.2f} on uniform ones"
        )
    axes[1, 0].set_ylim(0, 1.08 * top)
    axes[0, 0].set_ylabel("Q, return", fontsize=9)
    axes[1, 0].set_ylabel("push-down", fontsize=9)
    handles = [pair for axis in axes[:, 0] for pair in zip(*axis.get_legend_handles_labels(), strict=True)]
    shapes, labels = zip(*handles, strict=True)
    figure.legend(shapes, labels, loc="outside upper center", ncols=min(3, 2 * len(pushes)), fontsize=8, frameon=False)
    figure.caption = f"{penalty[0].upper()}{penalty[1:]}; the pull-up is 1. {'; '.join(said)}."
    return figure


def online_curves(panels: Mapping[str, Mapping[str, Course]], earned: float, level: float) -> CaptionedFigure:
    """Draw the return from step 0 on, and under it value and truth; a column a way to go on, thin lines single draws.

    ``panels`` maps a title to algorithms, each with its `Course`. ``earned`` is the log's return-to-go at the states of
    the lower row, ``level`` a return that is marked. A true value is Q^pi by Monte-Carlo. A draw that falls below
    `FLOOR` of the start leaves the picture; a mark says how far it came. A lower panel whose values span little beside
    the others' has a scale of its own, and says so.
    """
    figure = CaptionedFigure(figsize=(9.0, 5.6))
    axes = figure.subplots(2, len(panels), sharex=True, squeeze=False)
    spans = [_span(courses, earned) for courses in panels.values()]
    own = [high - low < OWN_SCALE * max(b - a for a, b in spans) for low, high in spans]
    for row, alone in ((0, [False] * len(own)), (1, own)):
        together = [axis for axis, apart in zip(axes[row], alone, strict=True) if not apart]
        for axis in together[1:]:
            axis.sharey(together[0])
            axis.tick_params(labelleft=False)
    said = []
    starts = [of[min(of)] for courses in panels.values() for c in courses.values() for of in c.returns.values()]
    floor = FLOOR * min(starts)
    for column, (title, courses) in enumerate(panels.items()):
        upper, lower = axes[:, column]
        ends = []
        for name, course in courses.items():
            look = STYLES[name]
            for values in course.returns.values():
                steps = sorted(values)
                upper.plot(steps, [values[step] for step in steps], color=look["color"], linewidth=0.6, alpha=0.35)
                below = [step for step in steps if values[step] < floor]
                if below:
                    mark = f"{name}, one draw: to {min(values.values()):.1f} \N{DOWNWARDS ARROW}"
                    upper.text(below[0], 1.01 * floor, mark, color=look["color"], fontsize=7, ha="right")
            first, last = _mean_line(upper, course.returns, look)
            _mean_line(lower, course.predicted, look)
            _mean_line(lower, course.true, {**look, "color": BLUE, "linestyle": TRUTH["linestyle"]})
            least = min(min(values.values()) for values in course.returns.values())
            ends.append(f"{name} from {first:.1f} to {last:.1f} (lowest of a draw {least:.1f})")
        upper.axhline(level, **LEVEL)
        lower.axhline(earned, **{**ALGORITHMS["log"], "marker": ""}, linewidth=1.8)
        upper.set_title(title, fontsize=10)
        if own[column]:
            lower.set_title("a scale of its own", fontsize=8)
        lower.set_xlabel("steps online", fontsize=9)
        for axis in (upper, lower):
            axis.grid(alpha=0.25)
        said.append(f"{title}, {len(next(iter(courses.values())).returns)} draws: {', '.join(ends)}")
    if any(axis.texts for axis in axes[0]):
        axes[0, 0].set_ylim(bottom=floor)  # last, so that the upper end still follows the lines
    axes[0, 0].set_ylabel("return of the greedy policy", fontsize=9)
    axes[1, 0].set_ylabel("value of the policy's\nown actions", fontsize=9)
    handles = [Line2D([], [], **look, markersize=4, label=name) for name, look in STYLES.items()]
    handles += [
        Line2D([], [], **{**TRUTH, "marker": ""}, label="truth: $Q^\\pi$ by Monte-Carlo, with the agent's mark"),
        Line2D([], [], **{**ALGORITHMS["log"], "marker": ""}, label="return-to-go of the log"),
        Line2D([], [], **LEVEL, label=f"return {level:g}"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, fontsize=8, frameon=False)
    figure.caption = f"Mean return, first and last. {'; '.join(said)}."
    return figure


def _span(courses: Mapping[str, Course], earned: float) -> tuple[float, float]:
    """The least and the largest number of a lower panel."""
    curves = [curve for course in courses.values() for curve in (course.predicted, course.true)]
    values = [earned, *(x for curve in curves for of_draw in curve.values() for x in of_draw.values())]
    return min(values), max(values)


def _mean_line(axis: Any, of_draws: Mapping[int, Mapping[int, float]], look: Mapping[str, Any]) -> tuple[float, float]:
    """Draw the mean over the draws at the steps that all of them have; its first and its last value."""
    common = sorted(set.intersection(*(set(values) for values in of_draws.values())))
    mean = [float(np.mean([values[step] for values in of_draws.values()])) for step in common]
    axis.plot(common, mean, **look, linewidth=1.8, markersize=3.5, markevery=max(1, len(common) // 6))
    return mean[0], mean[-1]


def critics_agree(
    offline: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    online: Mapping[str, Mapping[int, tuple[float, float]]],
) -> CaptionedFigure:
    """Draw, left, each run's spread of the critics against its error; right, the return against steps in the world.

    ``offline`` maps an ensemble to the errors and the spreads of its runs. ``online`` maps a kind of run to steps, each
    with the mean return and the half-width of its 95 % interval; its name is the critics, a comma, the updates a step.
    """
    figure = CaptionedFigure(figsize=(9.0, 3.8))
    left, right = figure.subplots(1, 2)
    said = []
    looks = ((VERMILION, "o"), (BLACK, "s"), (GREEN, "D"), (SKY, "^"))
    for (name, (errors, spreads)), (colour, mark) in zip(offline.items(), looks, strict=False):
        left.plot(np.abs(errors), spreads, mark, color=colour, markersize=5, alpha=0.8, label=name)
        said.append(f"{name}: spread {np.mean(spreads):.2f}, size of the error {np.mean(np.abs(errors)):.1f}")
    ends = [*left.get_xlim(), *left.get_ylim()]
    low, high = 0.8 * min(x for x in [*ends, 1.0] if x > 0), max(ends)
    left.plot([low, high], [low, high], color=BLUE, linestyle="--", label="as large as the error")
    left.set(
        xlabel="size of the estimation error, in units of the return",
        ylabel="spread of the critics, same units",
        title="offline, maze",
    )
    kinds = list(dict.fromkeys(name.split(", ")[0] for name in online))
    numbers = list(dict.fromkeys(name.split(", ")[1] for name in online))
    lines: dict[str, Any] = dict(zip(kinds, ("-", ":"), strict=False))
    colours = dict(zip(numbers, (SKY, GREEN, BLACK), strict=False))
    for name, of_steps in online.items():
        kind, number = name.split(", ")
        steps = sorted(of_steps)
        mean, half = (np.array([of_steps[step][i] for step in steps]) for i in (0, 1))
        right.errorbar(steps, mean, half, linestyle=lines[kind], color=colours[number], marker=".", capsize=3)
    right.set(xlabel="steps in the environment", ylabel="return", title="online, Pendulum")
    for axis in (left, right):
        axis.grid(alpha=0.25)
    left.legend(fontsize=7, frameon=False, loc="upper left")
    handles = [Line2D([], [], color=GREY, linestyle=line, label=kind) for kind, line in lines.items()]
    handles += [Line2D([], [], color=colour, marker=".", label=number) for number, colour in colours.items()]
    figure.legend(handles=handles, loc="outside upper right", ncols=5, fontsize=8, frameon=False)
    ends_said = ", ".join(f"{name} {of[max(of)][0]:.0f} at step {max(of):,}" for name, of in online.items())
    figure.caption = f"Offline. {'; '.join(said)}. Online, mean return: {ends_said}."
    return figure
