"""Experiments of chapter 11: a narrow log and a wide policy, how agents go on online, what their critics agree on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...agents import make_agent
from ...datasets.offline_dataset import OfflineDataset
from ...datasets.recording import dataset_of
from ...envs import Maze
from ...envs.base import record_episodes
from ...envs.maze import stitching_behaviour
from ...errors import require_data
from ...evaluation import evaluate_policy, t_interval
from ...losses import LOG_2, tanh_gaussian_log_prob
from .. import wrong_calibrations  # noqa: F401  registers the agent of run X
from .common import fits

DOUBLE = torch.float64
Rows = Sequence[Mapping[str, str]]


# ---------------------------------------------------------------- a narrow log
NOISE = 0.1  # of the script's actions


def narrow_log(seed: int = 0, episodes: int = 60, steps: int | None = None) -> OfflineDataset:
    """Episodes of one script with little noise, which walks from the maze's left arm all the way up to the goal.

    They have the maze's 60 steps unless told otherwise.
    """
    world, generator = Maze(), torch.Generator().manual_seed(seed)
    script = stitching_behaviour("left", "up", noise=NOISE)
    recorded = record_episodes(world, [(script, world.reset(episodes, generator))], steps, generator)
    return dataset_of(world, recorded, id=f"narrow maze, draw {seed}")


@torch.no_grad()
def beside_returns(agent: Any, log: OfflineDataset, returns_to_go: Tensor, every: int = 6) -> dict[str, float]:
    """An agent's values minus the returns-to-go at every sixth logged state, a mean over them; and what it earns.

    "policy", "uniform" and "logged" are the smallest critic's value of an action from there, "bound rate" the share of
    states where the first is below 0, "returns" the mean of ``returns_to_go [N]``, "return" of 100 greedy episodes.
    """
    rows = torch.arange(0, len(log), every)
    states, generator = log.observations[rows], torch.Generator().manual_seed(0)
    uniform = 2 * torch.rand(len(rows), agent.config.action_dim, generator=generator) - 1
    actions = {"policy": agent.policy()(states, generator), "logged": log.actions[rows], "uniform": uniform}
    found = {name: agent.q_values(states, each).amin(0) - returns_to_go[rows] for name, each in actions.items()}
    earned = evaluate_policy(Maze(), agent.policy(deterministic=True), 100)
    return {
        "returns": float(returns_to_go[rows].mean()),
        "bound rate": float((found["policy"] < 0).double().mean()),
        **{name: float(difference.mean()) for name, difference in found.items()},
        "return": float(earned.mean()),
    }


def greedy_return(agent: Any) -> dict[str, float]:
    """The mean return of 100 greedy episodes in the maze, for `fine_tune`."""
    return {"return": float(evaluate_policy(Maze(), agent.policy(deterministic=True), 100).mean())}


# ---------------------------------------------------------------- where a bounded penalty pushes
class Push(NamedTuple):
    """The push-down of a penalty on candidates of one state, over their actions: ``[K]`` each, sorted by action."""

    actions: Tensor
    q: Tensor
    from_policy: Tensor
    share: Tensor


def push_of(penalty: Callable[..., Tensor], return_to_go: float, half: int = 2000) -> Push:
    """The gradient of a penalty (11.1) in the candidates' values, at one state of a known Q and a known policy.

    Half of the candidates are uniform, half the policy's, whose mean lies on the lower one of two ridges of Q. They are
    midpoints of equal shares of each distribution, so nothing is random. Where there is no bound the shares sum to 1.
    """
    level = (torch.arange(half, dtype=DOUBLE) + 0.5) / half
    mean, log_std = _numbers(0.6), _numbers(0.25).log()
    u = mean + log_std.exp() * torch.special.ndtri(level)
    actions = torch.cat([2 * level - 1, u.tanh()])
    log_pi = tanh_gaussian_log_prob(u[:, None], mean[None], log_std[None])
    log_density = torch.cat([torch.full_like(level, -LOG_2), log_pi])
    from_policy = torch.arange(2 * half) >= half
    q = ridge(actions).requires_grad_()
    value = penalty(q[None], log_density[None], from_policy, _numbers([0.0]), _numbers([return_to_go]))
    (share,) = torch.autograd.grad(value.sum(), q)
    order = actions.argsort()
    return Push(actions[order], q.detach()[order], from_policy[order], share[order])


LOGGED = -0.55  # where the log's actions are, in `push_of`'s state


def ridge(actions: Tensor) -> Tensor:
    """The values of `push_of`'s state: a high ridge at `LOGGED`, and a lower one at 0.55."""
    high, low = ((actions - LOGGED) / 0.15).square(), ((actions - 0.55) / 0.25).square()
    return 3.0 * torch.exp(-0.5 * high) + 2.0 * torch.exp(-0.5 * low)


def _numbers(values: object) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


# ---------------------------------------------------------------- the table of calibration
Curves = dict[int, dict[int, float]]  # draw -> step -> value


def curves(rows: Rows, setting: str, algorithm: str, arm: str, column: str) -> Curves:
    """A column along the online steps, a curve each reported draw; no point where it was not measured."""
    found: Curves = {}
    for row in rows:
        kind = (row["setting"], row["algorithm"], row["arm"], row["split"])
        if kind == (setting, algorithm, arm, "report"):
            of_draw = found.setdefault(int(row["draw"]), {})
            if row[column] != "":
                of_draw[int(row["step"])] = float(row[column])
    about = f"calibration: {column} of {algorithm}, {arm}, in {setting}"
    require_data(any(found.values()), about, "no rows", "one for each draw and step")
    return found


def summary(of_draw: Mapping[int, float], what: str) -> float:
    """One number of a curve: its "first" or "last" value, its "mean" after step 0, or its "fall".

    The fall is how far the lowest later point lies below the first, or 0.
    """
    steps = sorted(of_draw)
    later = [of_draw[step] for step in steps if step > 0]
    if what == "first":
        return of_draw[steps[0]]
    if what == "last":
        return of_draw[steps[-1]]
    return min(0.0, min(later) - of_draw[steps[0]]) if what == "fall" else sum(later) / len(later)


Run = tuple[str, str, str]  # a setting, an algorithm, an arm


def gain(rows: Rows, better: Run, worse: Run, what: str = "mean") -> tuple[float, float, int]:
    """How much more one kind of run earns than another on the same draw: mean, half-width of the 95 % interval, draws.

    ``what`` is explained at `summary`.
    """
    pair = [curves(rows, *run, "return") for run in (better, worse)]
    draws = sorted(set(pair[0]) & set(pair[1]))
    differences = [summary(pair[0][draw], what) - summary(pair[1][draw], what) for draw in draws]
    return *t_interval(differences), len(draws)


def reached(rows: Rows, run: Run, level: float) -> tuple[int, int]:
    """In how many draws the return comes to a level at some step, and of how many."""
    found = curves(rows, *run, "return")
    return sum(max(of.values()) >= level for of in found.values()), len(found)


PLANS = tuple((setting, arm) for setting in ("wide", "narrow") for arm in ("kept", "dropped"))
FALL = 0.1  # of the return at the start: what a plan may lose on the way, in any draw


def plan_fault(rows: Rows, agent: str, plan: tuple[str, str]) -> str | None:
    """None for a plan that no other one of the agent beats, and in which no draw falls far; else the bar it misses.

    A plan is a setting and an arm. Beaten is: the paired 95 % interval of the difference of the curves' means leaves
    out 0. Far is more than the share `FALL` of the return at the start.
    """
    runs = {each: (each[0], agent, each[1]) for each in PLANS}
    for other in PLANS:
        if other != plan:
            mean, half, draws = gain(rows, runs[other], runs[plan])
            if mean - half > 0:
                return (  # which one would be the answer
                    f"another of its plans earned {mean:.1f} ± {half:.1f} more on average over the online steps, over "
                    f"{draws} draws. The bar: no other plan is told apart above yours."
                )
    own = curves(rows, *runs[plan], "return").values()
    share, start = min((summary(of, "fall") / summary(of, "first"), summary(of, "first")) for of in own)
    if share < -FALL:
        return (
            f"one draw fell from {start:.1f} to {(1 + share) * start:.1f} on the way. The bar: no draw loses more than "
            "a tenth of what it earned at the start."
        )
    return None


def version_differences(rows: Rows, columns: Mapping[str, str], than: str = "correct") -> dict[str, Any]:
    """Every version of the bound minus the right one, draw by draw: panel -> version -> "" -> mean and half-width.

    ``columns`` maps a panel's title to its column in the table *calibration-versions*.
    """
    values = {
        column: {name: _by_draw(rows, name, column) for name in dict.fromkeys(row["version"] for row in rows)}
        for column in columns.values()
    }
    found: dict[str, Any] = {}
    for title, column in columns.items():
        right = values[column][than]
        for name, each in values[column].items():
            if name != than:
                pairs = [each[draw] - right[draw] for draw in sorted(set(each) & set(right))]
                found.setdefault(title, {})[f"{name}: CQL" if name == "no_bound" else name] = {"": t_interval(pairs)}
    return found


def _by_draw(rows: Rows, version: str, column: str) -> dict[str, float]:
    return {row["draw"]: float(row[column]) for row in rows if row["version"] == version and row["split"] == "report"}


def told_apart(interval: tuple[float, float]) -> bool:
    """Whether an interval, a mean and its half-width, leaves out 0."""
    return abs(interval[0]) > interval[1]


# ---------------------------------------------------------------- the tables of ensembles
def along(rows: Rows, column: str, **wanted: Any) -> dict[int, tuple[float, float]]:
    """Mean and half-width of a column over the seeds, at every step at which all of such runs were looked at."""
    at: dict[int, list[float]] = {}
    for row in rows:
        if row["split"] == "report" and fits(row, wanted):
            at.setdefault(int(row["step"]), []).append(float(row[column]))
    require_data(len(at) > 0, f"{column} of {wanted}", "no rows", "one for each seed and step")
    most = max(map(len, at.values()))
    return {step: t_interval(values) for step, values in sorted(at.items()) if len(values) == most}


# ---------------------------------------------------------------- a run to diagnose, and returns in another unit
def run_x(settings: Mapping[str, Any]) -> Any:
    """The agent of 11.2: one of the versions of Cal-QL that its letters describe."""
    return make_agent("cal-ql-version", {**settings, "version": "uniform_too"})


def with_returns(log: OfflineDataset, returns_to_go: Tensor) -> OfflineDataset:
    """The log whose batches carry these returns-to-go, ``[N]``, whatever they are: `fit` keeps them."""
    return replace(log, batch_returns=returns_to_go.to(log.rewards))


PUBLISHED = (
    "published (CORL's benchmark, mean of six AntMaze tasks), offline to online: CQL 48.38 to 95.58, Cal-QL 53.04 to "
    "97.33;\nregret, the mean share of failures online: CQL 0.11, Cal-QL 0.07; four Adroit tasks, cloned data, online: "
    "CQL 0.22, Cal-QL -0.79"
)
