"""The course's sliders. A slider draws a picture when it is first asked for, and keeps it; nothing trains."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets
import torch
from torch import Tensor
from torch.nn import functional

from .. import losses
from ..agents.tabular import TabularLog
from ..envs import Bandit, Gridworld, Maze
from ..envs.pendulum import TIME_STEP
from ..evaluation.quadrature import log_partition_quadrature
from ..evaluation.true_values import optimal_q, solve_q
from .figures.base import CaptionedFigure
from .figures.ch00 import discount_weights
from .figures.ch01 import covered_decisions
from .figures.ch03 import kinds_and_curve
from .figures.ch04 import arms
from .figures.ch05 import backup_errors
from .figures.ch06 import estimate_histograms
from .figures.ch07 import push_and_error, variant_name
from .figures.ch08 import maze_values
from .figures.ch09 import held_table
from .figures.ch10 import best_of
from .figures.ch11 import bounded_push
from .figures.ch12 import beside_healthy
from .figures.ch13 import episode_shares
from .figures.grids import map_and_curve
from .figures.rollouts import maze_paths, pendulum_moment
from .silent_bugs import BUGS
from .studies import ch12 as study_12
from .studies.ch11 import LOGGED

STATIC = "CQL_TUTORIAL_STATIC"  # set by the build: no widget state and no model number goes into a committed notebook
FRAMES = "CQL_TUTORIAL_FRAMES"  # set by `make book`: every picture goes into the page, which has no kernel


class Explorer(ipywidgets.VBox):
    """A slider, the picture of its value, and the picture's caption under it.

    ``draw(value)`` makes the figure of one of the ``values``; the slider shows them as ``options`` (their text by
    default). A figure is drawn when the slider first comes to it, in about a tenth of a second. The arrow keys move the
    slider once it has the focus.
    """

    def __init__(
        self,
        draw: Callable[[Any], CaptionedFigure],
        values: Sequence[Any],
        label: str,
        start: Any = None,
        options: Sequence[str] | None = None,
    ) -> None:
        self._draw, self._values = draw, list(values)
        self._drawn: dict[int, tuple[str, bytes]] = {}  # caption and picture, by place
        self.label, names = label, list(options or [f"{value:g}" for value in values])
        first = 0 if start is None else self._values.index(start)
        self.slider = ipywidgets.SelectionSlider(
            options=[(name, i) for i, name in enumerate(names)],
            value=first,
            description=label,
            continuous_update=True,
            style={"description_width": "initial"},
            layout=ipywidgets.Layout(width="min(36em, 95%)"),
        )
        self.picture = ipywidgets.Image(format="png", layout=ipywidgets.Layout(height="auto"))
        self.caption = ipywidgets.HTML()
        self.slider.observe(self._move, names="value")
        self._move()
        super().__init__([self.slider, self.picture, self.caption])

    @property
    def captions(self) -> list[str]:
        """The sentence under each picture; draws those that were not drawn yet."""
        return [self._at(place)[0] for place in range(len(self._values))]

    def _at(self, place: int) -> tuple[str, bytes]:
        if place not in self._drawn:
            figure = self._draw(self._values[place])
            if not self._drawn:
                width = f"min(100%, {round(figure.get_figwidth() * 100)}px)"  # never enlarged
                self.picture.layout.max_width = width
            self._drawn[place] = figure.caption, figure.png()
        return self._drawn[place]

    def _move(self, _: Any = None) -> None:
        caption, self.picture.value = self._at(self.slider.value)
        self.caption.value = f'<span role="status">{escape(caption)}</span>'

    def __repr__(self) -> str:
        return f"Slider: {self.label}, {len(self._values)} settings. Run this cell to move it."

    def _repr_mimebundle_(self, **settings: Any) -> Any:
        if os.environ.get(FRAMES):
            return {"text/plain": repr(self), "text/html": self.html()}
        if os.environ.get(STATIC):
            return {"text/plain": repr(self)}
        return super()._repr_mimebundle_(**settings)

    def html(self) -> str:
        """The slider in plain HTML: every picture with its caption, of which the page's script shows one."""
        names, start = [name for name, _ in self.slider.options], self.slider.value
        identity = f"slider-{'-'.join([*self.label.split(), str(len(names))])}"
        parts = [f'<div class="explorer"><label for="{identity}">{escape(self.label)}</label>']
        parts.append(f'<input id="{identity}" type="range" min="0" max="{len(names) - 1}" value="{start}" disabled>')
        parts.append(f"<output>{escape(names[start])}</output>")
        for place, name in enumerate(names):
            caption, png = self._at(place)
            picture = f"data:image/png;base64,{base64.b64encode(png).decode()}"
            hidden = "" if place == start else " hidden"
            parts.append(f'<figure data-value="{escape(name)}"{hidden}><img alt="{escape(caption)}" src="{picture}">')
            parts.append(f'<figcaption role="status">{escape(caption)}</figcaption></figure>')
        return "\n".join([*parts, "</div>"])


class Film(Explorer):
    """An `Explorer` whose values are moments: a button plays them one after the other."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.play = ipywidgets.Play(value=0, min=0, max=len(self._values) - 1, interval=200, show_repeat=False)
        ipywidgets.jslink((self.play, "value"), (self.slider, "index"))
        self.children = (self.play, self.slider, self.picture, self.caption)


def watch_pendulum(paths: Mapping[str, Tensor], frames: int = 26) -> Film:
    """Chapters 00 and 08: the pendulum under several policies, from the same start; ``paths`` by `record_path`."""
    moments = _moments(paths, frames)
    seconds = [f"{at * TIME_STEP:.1f} s" for at in moments]
    return Film(lambda at: pendulum_moment(paths, at), moments, "time", options=seconds)


def watch_maze(world: Maze, paths: Mapping[str, Tensor], frames: int = 21) -> Film:
    """Chapters 00 and 08: the ways through the maze under several policies, from the same starts."""
    moments = _moments(paths, frames)
    return Film(lambda at: maze_paths(world, paths, at), moments, "steps", options=[str(at) for at in moments])


def _moments(paths: Mapping[str, Tensor], frames: int) -> list[int]:
    last = min(len(path) for path in paths.values()) - 1
    return sorted({round(last * k / (frames - 1)) for k in range(frames)})


def explore_discount() -> Explorer:
    """Chapter 00: how far a discount looks ahead."""
    discounts = [0.5, 0.7, 0.8, 0.9, 0.93, 0.95, 0.96, 0.97, 0.98, 0.99]
    return Explorer(lambda discount: discount_weights([discount]), discounts, "discount", start=0.9)


def explore_coverage(episodes: Sequence[int], shares: Mapping[str, Sequence[float]]) -> Explorer:
    """Chapter 01: what a log of each size has seen of three policies' decisions."""
    options = [f"{n:,}" for n in episodes]
    return Explorer(
        lambda here: covered_decisions(episodes, shares, here), range(len(episodes)), "episodes", 0, options
    )


def explore_alpha(learned: Mapping[float, Tensor], truth: Tensor, shares: Tensor) -> Explorer:
    """Chapter 04: the learned values of a bandit's arms for each alpha; the arguments are those of `figures.arms`."""

    def draw(alpha: float) -> CaptionedFigure:
        figure = arms({alpha: learned[alpha]}, truth, shares)
        lowest, highest = (f(float(f(q)) for q in learned.values()) for f in (min, max))
        figure.axes[0].set_ylim(lowest - 0.2, highest + 0.4)  # the same limits whatever alpha: what moves is the values
        return figure

    return Explorer(draw, list(learned), "alpha", start=list(learned)[len(learned) // 2])


def explore_policy() -> Explorer:
    """Chapter 02: what random moves cost the optimal policy of the cliff; a linear solve gives every value."""
    world = Gridworld()
    best = functional.one_hot(optimal_q(world).argmax(1), world.action_dim).double()
    epsilons = [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.35, 0.4, 0.5, 0.7, 0.85, 1.0]
    policies = [(1 - epsilon) * best + epsilon / world.action_dim for epsilon in epsilons]
    values = [(policy * solve_q(world, policy)).sum(1) for policy in policies]
    starts = [float(table[world.start_state]) for table in values]

    def draw(epsilon: float) -> CaptionedFigure:
        i = epsilons.index(epsilon)
        return map_and_curve(
            values[i],
            world,
            (epsilons, starts),
            i,
            name=f"{epsilon:.0%} random moves",
            limits=(-10.0, 10.0),
            policy=policies[i],
            xlabel="share of random moves (epsilon)",
            ylabel="exact $V^\\pi$ at the start",
        )

    return Explorer(draw, epsilons, "random moves", start=0.0, options=[f"{epsilon:.0%}" for epsilon in epsilons])


def explore_initial_scale(
    log: TabularLog, world: Gridworld, tables: Mapping[float, Tensor], predicted: Sequence[float], true: Sequence[float]
) -> Explorer:
    """Chapter 03: the greedy actions by how often they were tried, and the start's value, for each initial scale."""
    scales = list(tables)

    def draw(scale: float) -> CaptionedFigure:
        here = scales.index(scale)
        return kinds_and_curve(tables[scale], log.counts, world, scales, predicted, true, here)

    return Explorer(draw, scales, "scale of the initial Q", start=scales[0])


def explore_backup_temperature(errors: Mapping[float, Tensor]) -> Explorer:
    """Chapter 05: value minus truth at every state, one backup temperature at a time."""
    return Explorer(lambda here: backup_errors(errors, here), list(errors), "temperature of the backup", start=1.0)


def explore_candidates(actions: int = 2, n: int = 10, repeats: int = 1000) -> Explorer:
    """Chapter 06: how two weightings scatter about the log-integral as the policy sharpens.

    ``n`` uniform and ``n`` policy candidates on the bandit with ``actions`` dimensions, the same random numbers at
    every setting of its standard deviation, the slider; the policy's mean lies on the higher bump.
    """
    world, generator, double = Bandit(actions=actions), torch.Generator().manual_seed(0), torch.float64
    exact, flat = log_partition_quadrature(world.per_dimension), losses.uniform_log_density(actions)
    uniform = torch.atanh(2 * torch.rand(repeats, n, actions, generator=generator, dtype=double) - 1)
    noise = torch.randn(repeats, n, actions, generator=generator, dtype=double)
    mean = torch.atanh(torch.full((actions,), 0.5, dtype=double))

    def draw(deviation: float) -> CaptionedFigure:
        u = torch.cat([uniform, mean + deviation * noise], dim=1)
        log_pi = losses.tanh_gaussian_log_prob(u, mean, torch.full_like(mean, deviation).log())
        q = world.reward_function(u.tanh())
        return estimate_histograms({f"standard deviation {deviation:g}": errors(q, log_pi)}, limits=(-2.0, 1.5))

    def errors(q: Tensor, log_pi: Tensor) -> dict[str, Tensor]:
        own = torch.cat([torch.full_like(log_pi[:, :n], flat), log_pi[:, n:]], dim=1)
        mixed = losses.mixture_log_density(torch.stack([torch.full_like(log_pi, flat), log_pi]))
        densities = {"own density": own, "mixture": mixed}
        return {name: losses.log_partition(q, density) - exact for name, density in densities.items()}

    deviations = (1.0, 0.6, 0.3, 0.2, 0.1, 0.05, 0.02)
    return Explorer(draw, deviations, "standard deviation of the policy", start=1.0)


def explore_pitfalls(plane: Any, fitted: Mapping[str, tuple[Tensor, Tensor]]) -> Explorer:
    """Chapter 07: push-down and error map of one loss after another; ``fitted`` maps its name to `Plane.fitted`."""

    def draw(name: str) -> CaptionedFigure:
        return push_and_error(name, plane, *fitted[name])

    return Explorer(draw, list(fitted), "loss", options=[variant_name(name) for name in fitted])


def explore_maze(world: Maze, places: Tensor, snapshots: Mapping[int, Mapping[str, Tensor]]) -> Explorer:
    """Chapter 08: value, policy and error in the maze along training; ``snapshots`` maps updates to a snapshot."""

    def draw(updates: int) -> CaptionedFigure:
        return maze_values(world, places, snapshots[updates], f"after {updates:,} updates")

    return Explorer(draw, list(snapshots), "updates", start=min(snapshots), options=[f"{u:,}" for u in snapshots])


def explore_target(world: Any, targets: Sequence[float]) -> Explorer:
    """Chapter 09: the table that a multiplier ends at, one target of the CQL gap at a time."""
    options = [f"{target:+.2f}" for target in targets]
    return Explorer(lambda here: held_table(world, here), targets, "target of the CQL gap", targets[0], options)


def explore_best_of(run: Any, each: Sequence[int]) -> Explorer:
    """Chapter 10: what the best of many checkpoints reports and is worth, by the episodes that each is given."""
    return Explorer(lambda count: best_of(run, count), each, "episodes for each checkpoint", each[0])


def explore_bound(pushes: Mapping[float, Any]) -> Explorer:
    """Chapter 11: where the calibrated penalty pushes, one return-to-go at a time; ``pushes`` by `push_of`."""
    return Explorer(
        lambda bound: bounded_push({bound: pushes[bound]}, logged=LOGGED),
        list(pushes),
        "return-to-go",
        start=min(pushes),
    )


def explore_bugs(rows: Sequence[Mapping[str, str]]) -> Explorer:
    """Chapter 12: the logged curves of one bug's runs beside the healthy ones; ``rows`` of the table of bugs."""
    return Explorer(
        lambda name: bug_beside_healthy(rows, name), list(BUGS), "bug", options=[b.title for b in BUGS.values()]
    )


def bug_beside_healthy(rows: Sequence[Mapping[str, str]], name: str) -> CaptionedFigure:
    """One bug's first reported run over the band of all healthy runs of its base."""
    base = BUGS[name].base
    healthy = [study_12.curves_of(row) for row in rows if row["bug"] == "none" and row["base"] == base]
    run = next(study_12.curves_of(row) for row in rows if row["bug"] == name and row["split"] == "report")
    columns = [column for column in PANELS_12 if column in run.columns] or ["policy_loss"]
    return beside_healthy(healthy, {BUGS[name].title: run}, columns[:5])


PANELS_12 = ("q_value", "td_loss", "cql_gap", "temperature", "cql_alpha")


def explore_shares(shares: Mapping[float, Any]) -> Explorer:
    """Chapter 13: whose episodes bear an importance-weighted estimate, the farther a policy is from the clone."""
    return Explorer(
        lambda way: episode_shares({way: shares[way]}),
        list(shares),
        "share of the way to CQL",
        start=min(shares),
    )
