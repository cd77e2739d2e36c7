"""Experiments of chapter 11, sections 3 and 4: two equal peaks, soft values on the cliff, sparse weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...datasets import OfflineDataset
from ...datasets.recording import dataset_of
from ...envs import Bandit, Gridworld, Maze
from ...envs.base import UniformPolicy, record_episodes
from ...envs.maze import stitching_behaviour
from ...errors import require_data
from ...evaluation import solve_q, t_interval
from ...evaluation.true_values import soft_optimal_q
from .common import fits, numbers

DOUBLE = torch.float64


# ---------------------------------------------------------------- two equal peaks
PEAK, WIDTH = 0.5, 0.15  # of the bumps, at plus and minus PEAK


def two_peaks(actions: int = 1) -> Bandit:
    """Two equal bumps of height 1 in each dimension, rewards without noise: what differs is the policy alone."""
    return Bandit(actions=actions, heights=(1.0, 1.0), centres=(-PEAK, PEAK), widths=(WIDTH, WIDTH))


def uniform_log(world: Any, rows: int, seed: int) -> OfflineDataset:
    """``rows`` uniformly random actions of a world that ends after one step, and their rewards."""
    generator = torch.Generator().manual_seed(seed)
    tries = record_episodes(world, [(UniformPolicy(world), world.reset(rows, generator))], generator=generator)
    return dataset_of(world, tries, id=f"{world.name}, uniform")


class Kept(NamedTuple):
    """What a policy keeps of two peaks, by numbers between 0 and 1."""

    reward: float  # the mean reward
    lesser: float  # the probability of the less likely half of the actions
    valley: float  # the probability of the middle, farther than two widths from either peak


def kept(world: Bandit, points: Tensor, density: Tensor) -> Kept:
    """Measure a density on an even grid of actions in [-1, 1], ``[m], [m]``; it is normalised first."""
    share = density.double() / density.double().sum()
    right = float(share[points > 0].sum())
    middle = (points.abs() - PEAK).abs() >= 2 * WIDTH
    rewards = world.bumps(points.double())
    inner = middle & (points.abs() < PEAK)
    return Kept(float((share * rewards).sum()), min(right, 1 - right), float(share[inner].sum()))


# ---------------------------------------------------------------- soft values on the cliff
class SoftSolution(NamedTuple):
    """A form of the soft value, solved exactly."""

    q: Tensor  # [S, A]
    greedy: Tensor  # its greedy policy [S, A]
    own: float  # V at the start, as the form has it
    softmax_true: float  # what softmax(Q / T) earns from the start
    greedy_true: float  # what the greedy policy earns
    greedy_values: Tensor  # the greedy policy's true values [S]


def solved(world: Gridworld, temperature: float, form: str) -> SoftSolution:
    """Soft value iteration with ``form`` "mean" (log of the mean over actions) or "sum", and the policies' truths."""
    q = soft_optimal_q(world, temperature, prior="uniform" if form == "mean" else "none")
    constant = math.log(world.action_dim) if form == "mean" else 0.0
    own = temperature * (torch.logsumexp(q / temperature, -1) - constant)
    soft = torch.softmax(q / temperature, -1)
    greedy = torch.nn.functional.one_hot(q.argmax(-1), world.action_dim).double()
    worth = {name: (table * solve_q(world, table)).sum(-1) for name, table in (("soft", soft), ("greedy", greedy))}
    start = world.start_state
    return SoftSolution(
        q, greedy, float(own[start]), float(worth["soft"][start]), float(worth["greedy"][start]), worth["greedy"]
    )


# ---------------------------------------------------------------- one state, a good and a bad logged action
class Extracted(NamedTuple):
    """What a method makes of one state's log, along shares of the good action: V and the bad action's probability."""

    value: Tensor
    bad: Tensor


def expectile(q: Tensor, shares: Tensor, level: float) -> float:
    """The V at which ``|level - 1(q < V)| (q - V)`` has the mean 0 over the log: ``[K], [K] -> []``, exact."""
    order = q.argsort(descending=True)
    above, upper = shares[order].cumsum(0), (shares * q)[order].cumsum(0)
    total, mean = shares.sum(), (shares * q).sum()
    # With the best k above V: level (upper - V above) = (1 - level) (V (total - above) - (mean - upper)); every k gives
    # at most the root.
    found = (level * upper + (1 - level) * (mean - upper)) / (level * above + (1 - level) * (total - above))
    return float(found.max()) if level >= 0.5 else float(found.min())


def extracted(
    sparse_value: Callable[[Tensor, Tensor, float], Any], good: Tensor, alpha: float, distance: float = 1.0
) -> dict[str, Extracted]:
    """Each method's V and policy where the log has a good action of value ``distance`` and a bad one of value 0.

    ``good [m]`` are the good action's shares of the log. The policy is the log's, reweighed: exact, no network.
    """
    q = torch.tensor([distance, 0.0], dtype=DOUBLE)
    level, beta = 0.9, 3.0
    made: dict[str, list[tuple[float, float]]] = {name: [] for name in METHODS}
    for share in good.tolist():
        shares = torch.tensor([share, 1 - share], dtype=DOUBLE)
        values = {
            "BC": float((shares * q).sum()),
            "IQL 0.9": expectile(q, shares, level),
            "sparse": float(sparse_value(q, shares, alpha)),
            "EQL": alpha * float(torch.logsumexp(q / alpha + shares.log(), 0)),
        }
        values["sparse, (Q - V)+"] = values["sparse"]
        for name, value in values.items():
            u = q - value
            weights = {
                "BC": torch.ones_like(u),
                "IQL 0.9": (beta * u).exp(),
                "sparse": (1 + u / (2 * alpha)).clamp(min=0),
                "sparse, (Q - V)+": u.clamp(min=0),
                "EQL": (u / alpha).exp(),
            }[name]
            counted = shares * weights
            made[name].append((value, float(counted[1] / counted.sum())))
    tables = {name: torch.tensor(pairs, dtype=DOUBLE) for name, pairs in made.items()}
    return {name: Extracted(table[:, 0], table[:, 1]) for name, table in tables.items()}


METHODS = ("BC", "IQL 0.9", "sparse", "sparse, (Q - V)+", "EQL")


def at_rest(rows: Tensor, alpha: float, second: float) -> tuple[float, float]:
    """The V at which exercise 11.6's loss, ``mean [max(t, 0)^2 + second * V]``, is smallest; the mean of its weights.

    One state with logged values ``rows [N]``, and ``t = 1 + (Q - V) / (2 alpha)``: gradient steps, no closed form.
    """
    v = rows.mean().clone().requires_grad_()
    for _ in range(200):
        t = (1 + (rows - v) / (2 * alpha)).clamp(min=0)
        (slope,) = torch.autograd.grad((t.square() + second * v).mean(), v)
        v = (v - alpha**2 * slope).detach().requires_grad_()
    v = v.detach()
    return float(v), float((1 + (rows - v) / (2 * alpha)).clamp(min=0).mean())


# ---------------------------------------------------------------- logs mixed with noise
def mixed_maze_log(noise: float, episodes: int = 100, steps: int = 60, seed: int = 0) -> OfflineDataset:
    """Episodes in the maze of a script that walks from the left arm to the goal; the share ``noise`` acts at random."""
    world, generator = Maze(), torch.Generator().manual_seed(seed)
    wild = round(noise * episodes)
    expert = stitching_behaviour("left", "up", noise=0.1)
    parts = [(expert, world.reset(episodes - wild, generator))] if wild < episodes else []
    parts += [(UniformPolicy(world), world.reset(wild, generator))] if wild else []
    return dataset_of(world, record_episodes(world, parts, steps, generator), id=f"maze, {noise:g} of it random")


# ---------------------------------------------------------------- the result tables
def paired(
    rows: Sequence[Mapping[str, str]], column: str, one: Mapping[str, Any], other: Mapping[str, Any], by: str = "draw"
) -> list[float]:
    """One minus the other, a number for each draw that both have. Raises `DataError` if there is none."""
    found = []
    for wanted in (one, other):
        chosen = [row for row in rows if fits(row, {"split": "report"} | dict(wanted)) and row[column] != ""]
        found.append({row[by]: float(row[column]) for row in chosen})
    both = [draw for draw in found[0] if draw in found[1]]
    require_data(len(both) > 0, f"column {column}", f"no draw with both {one} and {other}", "at least one")
    return [found[0][draw] - found[1][draw] for draw in both]


BACKUPS: dict[str, dict[str, Any]] = {  # of the table soft-maze
    "CQL with an actor": {"algorithm": "cql", "form": "", "temperature": ""},
    "mean form, T = 0.1": {"algorithm": "soft-q", "form": "mean", "temperature": 0.1},
    "E[Q], T = 0.1": {"algorithm": "soft-q", "form": "expected", "temperature": 0.1},
    "integral, T = 0.1": {"algorithm": "soft-q", "form": "sum", "temperature": 0.1},
    "mean form, T = 1": {"algorithm": "soft-q", "form": "mean", "temperature": 1.0},
    "integral, T = 1": {"algorithm": "soft-q", "form": "sum", "temperature": 1.0},
}
COLUMNS = {
    "greedy": "return",
    "drawn": "return_sampled",
    "predicted": "predicted",
    "error": "estimation_error",
    "own": "own_error",
}


def backups(rows: Sequence[Mapping[str, str]]) -> dict[str, dict[str, list[float]]]:
    """`soft-maze` by agent: those with the penalty first, at the alpha that was tuned, then those without.

    Each has the draws' numbers of `COLUMNS`.
    """
    found = {}
    for penalised in (True, False):
        for name, wanted in BACKUPS.items():
            alphas = {float(row["cql_alpha"]) for row in rows if fits(row, {"split": "report", **wanted})}
            for alpha in sorted(alpha for alpha in alphas if (alpha > 0) is penalised):
                label = name if penalised else f"no penalty: {'SAC' if name == 'CQL with an actor' else name}"
                of = {key: numbers(rows, column, cql_alpha=alpha, **wanted) for key, column in COLUMNS.items()}
                found[label] = of
    return found


MIXED = {  # of the table sparse-mixed
    "BC": "bc",
    "IQL": "iql",
    "sparse": "sparse-q",
    "sparse, (Q - V)+": "sparse-q-code",
    "EQL": "eql",
}


def mixed(rows: Sequence[Mapping[str, str]], column: str, without: Sequence[str] = ()) -> dict[str, Any]:
    """`sparse-mixed` by method: a column's numbers, a number a draw, of each share of noise that has them."""
    shares = sorted({float(row["noise"]) for row in rows})
    found: dict[str, Any] = {}
    for name, algorithm in MIXED.items():
        if name not in without:
            wanted = [row for row in rows if row["algorithm"] == algorithm]
            found[name] = {share: numbers(wanted, column, noise=share) for share in shares}
    return found


def told_apart(differences: Sequence[float]) -> str:
    """`"more"` or `"less"` where the 95 % t-interval of paired differences leaves out 0, else `"not told apart"`."""
    mean, half = t_interval(differences)
    return "more" if mean - half > 0 else "less" if mean + half < 0 else "not told apart"
