"""Experiments of chapter 09: alpha on many logs, targets between floor and natural gap, a dual whose end is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...errors import require, require_data
from ...evaluation import t_interval

Rows = Sequence[Mapping[str, str]]

# ---------------------------------------------------------------- the table alpha
# What the rule of thumb says: 1 to 2 for expert data, 5 for medium, 10 to 20 for random or mixed; on the ladder.
RULE: dict[str, tuple[float, ...]] = {
    "pendulum-expert": (2.0,),
    "pendulum-medium": (5.0,),
    "pendulum-swinging": (5.0,),
    "pendulum-replay": (10.0, 20.0),
    "pendulum-random": (10.0, 20.0),
    "arm-narrow": (5.0,),
    "arm-mixed": (10.0, 20.0),
    "arm-uniform": (10.0, 20.0),
    "maze": (),  # two scripts: the rule does not name their quality
}
LADDER = (0.0, 0.1, 0.5, 2.0, 5.0, 10.0, 20.0)  # of the table alpha
DRAWS = 5  # reported ones of the table alpha


@dataclass(frozen=True)
class Ladder:
    """What each alpha gave on one kind of log; every list holds a number for each reported draw of the log."""

    log: str
    table: str
    tuned: float  # the alpha with the best mean return on other draws
    returns: Mapping[float, list[float]]
    errors: Mapping[float, list[float]]
    gaps: Mapping[float, list[float]]  # the logged CQL gap; empty where the table has none

    @property
    def rule_alphas(self) -> tuple[float, ...]:
        """All that the rule of thumb names."""
        return RULE[self.log]

    @property
    def rule(self) -> float | None:
        """The rule's alpha; where it names several, the best of them on these very draws. None if it names none."""
        return max(RULE[self.log], key=lambda alpha: mean(self.returns[alpha])) if RULE[self.log] else None

    @property
    def best(self) -> float:
        """The alpha with the largest mean return; the smaller of two that tie."""
        return max(self.returns, key=lambda alpha: (mean(self.returns[alpha]), -alpha))

    @property
    def truest(self) -> float:
        """The alpha whose mean estimation error is nearest to 0."""
        return min(self.errors, key=lambda alpha: abs(mean(self.errors[alpha])))

    def regret(self, alpha: float) -> float:
        """Best mean return minus this alpha's, in per cent of best minus worst of the ladder."""
        found = [mean(values) for values in self.returns.values()]
        return 100 * (max(found) - mean(self.returns[alpha])) / (max(found) - min(found))

    def paired(self, alpha: float, other: float) -> tuple[float, float]:
        """Mean and half-width of the 95 % t-interval of the return of alpha minus other, draw by draw."""
        pairs = zip(self.returns[alpha], self.returns[other], strict=True)
        return t_interval([a - b for a, b in pairs])

    @property
    def window(self) -> tuple[float, float]:
        """The mean CQL gap at the largest alpha, near the floor, and at alpha 0, the natural gap."""
        return mean(self.gaps[max(self.gaps)]), mean(self.gaps[min(self.gaps)])

    def nearest(self, target: float) -> float | None:
        """The alpha whose mean gap is nearest to a target inside the window; None outside it."""
        low, high = self.window
        return min(self.gaps, key=lambda a: abs(mean(self.gaps[a]) - target)) if low < target < high else None


def ladders(rows: Rows, headline: Mapping[str, Rows] | None = None) -> list[Ladder]:
    """The logs of the table alpha whose reported draws are complete; else those of a headline table of that name.

    ``headline`` maps a name to rows; a draw is there the mean of its seeds, and SAC without entropy is alpha 0.
    """
    found = []
    for log in RULE:
        mine = [row for row in rows if row["log"] == log and row["variant"] == "cql" and float(row["unit"]) == 1]
        ladder = _ladder(log, "alpha", mine)
        if ladder is None or any(len(ladder.returns.get(alpha, ())) < DRAWS for alpha in LADDER):
            older = [{**row, "cql_alpha": row["cql_alpha"] or "0"} for row in (headline or {}).get(log, ())
                     if row["algorithm"] in ("cql", "sac")]  # fmt: skip
            ladder = _ladder(log, log, older)
        if ladder is not None:
            found.append(ladder)
    return found


def returns_on(rows: Rows, log: str) -> dict[float, list[float]]:
    """Returns by alpha over all draws of a log in the table alpha, tuning and reported ones."""
    mine = [{**row, "split": "any"} for row in rows if (row["log"], row["variant"]) == (log, "cql")]
    return _by_alpha([row for row in mine if float(row["unit"]) == 1], "return", "any")


# ---------------------------------------------------------------- the table pitfalls: windows and targets
TASKS = ("bandit-1", "bandit-6", "arm-narrow", "arm-mixed", "maze")


class Window(NamedTuple):
    """What the tuning draws of a task say of targets for its CQL gap."""

    floor: float  # the gap at thirty times the tuned alpha
    natural: float  # the gap at alpha 0
    gaps: Mapping[float, float]  # by alpha
    returns: Mapping[float, float]

    @property
    def best(self) -> float:
        """The alpha with the largest mean return; the larger of two that tie."""
        return max(self.returns, key=lambda alpha: (self.returns[alpha], alpha))

    def regret_at(self, target: float) -> float | None:
        """The regret of the alpha whose gap is nearest to a target, per cent of the ladder's spread; None outside."""
        if not self.floor < target < self.natural:
            return None
        alpha = min(self.gaps, key=lambda a: abs(self.gaps[a] - target))
        values = self.returns.values()
        return 100 * (max(values) - self.returns[alpha]) / (max(values) - min(values))


def windows(rows: Rows) -> dict[str, Window]:
    """The window of targets of each task of the table pitfalls, from its tuning draws."""
    found = {}
    for task in TASKS:
        tuning = [row for row in rows if (row["task"], row["variant"]) == (task, "tuning")]
        floor = [float(row["log_cql_gap"]) for row in rows if (row["task"], row["variant"]) == (task, "floor")]
        columns: list[dict[float, list[float]]] = [{}, {}]
        for column, name in zip(columns, ("log_cql_gap", "return"), strict=True):
            for row in tuning:
                column.setdefault(float(row["cql_alpha"]), []).append(float(row[name]))
        gaps, returns = ({alpha: mean(of[alpha]) for alpha in sorted(of)} for of in columns)
        found[task] = Window(mean(floor), gaps[0.0], gaps, returns)
    return found


def _ladder(log: str, table: str, rows: Sequence[Mapping[str, str]]) -> Ladder | None:
    tuning = _by_alpha(rows, "return", "tune")
    reported = {name: _by_alpha(rows, name, "report") for name in ("return", "estimation_error", "log_cql_gap")}
    if not tuning or not reported["return"]:
        return None
    tuned = max(tuning, key=lambda alpha: (mean(tuning[alpha]), -alpha))
    return Ladder(log, table, tuned, *reported.values())


def _by_alpha(rows: Sequence[Mapping[str, str]], name: str, split: str) -> dict[float, list[float]]:
    """A column by alpha: a number a draw, the mean over its seeds."""
    found: dict[float, dict[int, list[float]]] = {}
    for row in rows:
        if row["split"] == split and row.get(name):
            found.setdefault(float(row["cql_alpha"]), {}).setdefault(int(row["draw"]), []).append(float(row[name]))
    return {alpha: [mean(of[draw]) for draw in sorted(of)] for alpha, of in sorted(found.items())}


# ---------------------------------------------------------------- a dual whose end is known
RANGE = (1e-3, 1e4)  # of the multiplier, as in the package


@dataclass(frozen=True)
class Actions:
    """One state with 21 actions in [-1, 1], a table for a critic: penalty, floor and multiplier can be computed.

    ``loss(Q) = sum_a b (Q - r)^2 + alpha (log mean_a exp Q - sum_a b Q)``. The log (shares ``b``) does the low actions
    mostly; the rewards ``r`` are best among the high ones.
    """

    unit: float = 1.0
    """Rewards are multiplied by it."""
    actions: np.ndarray = field(default_factory=lambda: np.linspace(-1, 1, 21))

    @property
    def rewards(self) -> np.ndarray:
        """``[21]``."""
        return self.unit * (np.exp(-8 * (self.actions + 0.4) ** 2) + 2 * np.exp(-12 * (self.actions - 0.6) ** 2))

    @property
    def shares(self) -> np.ndarray:
        """The behaviour's probabilities ``[21]``, none of them 0."""
        wide = np.exp(-10 * (self.actions + 0.4) ** 2)
        return np.asarray(0.9 * wide / wide.sum() + 0.1 / len(self.actions))

    def gap(self, q: np.ndarray) -> float:
        """The CQL gap of a table: 0 for a flat one."""
        return float(_log_mean_exp(q) - self.shares @ q)

    def gradient(self, q: np.ndarray, alpha: float) -> np.ndarray:
        """Of the loss, ``[21]``."""
        return np.asarray(2 * self.shares * (q - self.rewards) + alpha * (_softmax(q) - self.shares))

    def solve(self, alpha: float) -> np.ndarray:
        """The table with the least loss, by Newton's method on the convex loss, halving steps that do not help."""
        q, b = self.rewards.copy(), self.shares

        def loss(q: np.ndarray) -> float:
            return float(b @ (q - self.rewards) ** 2 + alpha * self.gap(q))

        for _ in range(100):
            p = _softmax(q)
            gradient = self.gradient(q, alpha)
            if np.abs(gradient).max() < 1e-10 * (1 + alpha):
                break
            step = np.linalg.solve(2 * np.diag(b) + alpha * (np.diag(p) - np.outer(p, p)), gradient)
            size = 1.0
            while loss(q - size * step) > loss(q) and size > 1e-8:
                size /= 2
            q = q - size * step
        return q

    def floor(self) -> float:
        """Minus the Kullback-Leibler divergence of the behaviour from uniform actions."""
        return float(-(self.shares * np.log(self.shares * len(self.shares))).sum())

    def natural_gap(self) -> float:
        """The CQL gap at alpha 0."""
        return self.gap(self.rewards)

    def alpha_for(self, target: float) -> float:
        """The alpha whose least-loss table has this CQL gap, by bisection in the logarithm; a target inside."""
        require(self.floor() < target < self.natural_gap(), "target", target, "between floor and natural gap")
        low, high = math.log(1e-4), math.log(1e4)
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self.gap(self.solve(math.exp(middle))) > target else (low, middle)
        return math.exp(low)

    def end_of(self, target: float) -> tuple[float, np.ndarray, str]:
        """Where a multiplier with this target ends, the table there, and both in words.

        A target outside the window ends at the bound that the multiplier runs to.
        """
        low, high = self.floor(), self.natural_gap()
        inside = low < target < high
        alpha = self.alpha_for(target) if inside else RANGE[0] if target >= high else RANGE[1]
        q = self.solve(alpha)
        where = "held" if inside else "above the natural gap" if target >= high else "below the floor"
        best = int(q.argmax())
        said = f"Target {target:+.2f}, {where}. Multiplier {alpha:.2g}; largest Q at action {self.actions[best]:+.1f}"
        return alpha, q, f"{said}, worth {self.rewards[best]:.2f} of {self.rewards.max():.2f}."


def _softmax(q: np.ndarray) -> np.ndarray:
    weights = np.exp(q - q.max())
    return np.asarray(weights / weights.sum())


def _log_mean_exp(q: np.ndarray) -> float:
    return float(q.max() + np.log(np.exp(q - q.max()).mean()))


class _Adam:
    """Adam with its usual constants, on a number or an array."""

    def __init__(self, step: float) -> None:
        self.step, self.count, self.first, self.second = step, 0, 0.0, 0.0

    def __call__(self, gradient: Any) -> Any:
        self.count += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        first, second = self.first / (1 - 0.9**self.count), self.second / (1 - 0.999**self.count)
        return self.step * first / (np.sqrt(second) + 1e-8)


class Ascent(NamedTuple):
    """A run of dual ascent, a number an update."""

    multiplier: np.ndarray
    gap: np.ndarray
    target: float


def ascend(
    world: Actions,
    target: float,
    *,
    updates: int = 3000,
    step: float = 5e-3,
    of_log: bool = True,
    start: float = 1.0,
    critic_step: float = 0.02,
    sign: float = 1.0,
) -> Ascent:
    """Critic and multiplier in turn: an Adam step of the table, then one of the multiplier (or of its logarithm).

    The multiplier's loss is ``-m (gap - target)``, of the logarithm ``-log m (gap - target)``; ``sign`` -1 turns it.
    """
    q, critic, dual = np.zeros(len(world.actions)), _Adam(critic_step), _Adam(step)
    low, high = RANGE
    value = math.log(start) if of_log else start
    bounds = (math.log(low), math.log(high)) if of_log else (low, high)
    multipliers, gaps = np.empty(updates), np.empty(updates)
    for update in range(updates):
        multipliers[update] = math.exp(value) if of_log else value
        q = q - critic(world.gradient(q, multipliers[update]))
        gaps[update] = world.gap(q)
        if step:
            value = min(max(value - float(dual(-sign * (gaps[update] - target))), bounds[0]), bounds[1])
    return Ascent(multipliers, gaps, target)


# ---------------------------------------------------------------- two that cannot work
def summed_loss(q: Tensor, q_data: Tensor, bellman: Tensor, log_multiplier: Tensor, target: float) -> Tensor:
    """The first listing: both losses in one sum, nothing detached. ``[2, B, K], [2, B], [2], [] -> []``.

    Our own words for what torchrl 0.14.1 does in torchrl/objectives/cql.py and its script cql_offline.py.
    """
    gap = (torch.logsumexp(q, -1) - q_data).mean(-1)
    multiplier = log_multiplier.exp().clamp(0, 1e6)
    critic_loss = (bellman + gap).sum()
    multiplier_loss = -0.5 * (multiplier * (gap - target)).sum()
    return critic_loss + multiplier_loss


class Multiplier:
    """The second listing: a multiplier that is moved after its optimiser was made.

    Our own words for what tianshou's CQL did with its ``cql_log_alpha``; ``where`` is a device there, any target of
    `Tensor.to` here, so that it shows without a GPU.
    """

    def __init__(self, step: float, where: Any) -> None:
        self.log_value = torch.zeros(1, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.log_value], lr=step)
        self.log_value = self.log_value.to(where)

    def value(self) -> Tensor:
        """``exp`` of the logarithm, in bounds."""
        return self.log_value.exp().clamp(1e-6, 1e6)

    def update(self, gap: Tensor, target: float) -> None:
        """One step of dual ascent."""
        loss = -(self.value() * (gap.detach() - target)).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def factor_on_penalty(loss: Callable[..., Tensor], multiplier: float) -> float:
    """By which factor the penalty's own gradient in q is multiplied in that of a loss, by autograd in float64."""
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    q_data = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    penalty = (torch.logsumexp(q, -1) - q_data).mean(-1).sum()
    (own,) = torch.autograd.grad(penalty, q)
    log_multiplier = torch.tensor(multiplier, dtype=torch.float64).log().requires_grad_()
    (whole,) = torch.autograd.grad(loss(q, q_data, torch.zeros(2, dtype=torch.float64), log_multiplier, 1.0), q)
    return float((whole / own).mean())


# ---------------------------------------------------------------- five runs to tell apart
RUNS: dict[str, dict[str, Any]] = {  # letter -> how its run of `ascend` differs
    "V": {"target": "floor"},
    "W": {"target": "inside", "step": 0.0, "start": 3.0},
    "X": {"target": "inside"},
    "Y": {"target": "natural"},
    "Z": {"target": "inside", "sign": -1.0},
}


def run_of(letter: str, world: Actions | None = None, updates: int = 3000) -> Ascent:
    """One of the five runs of the exercise."""
    world = world or Actions()
    floor, natural = world.floor(), world.natural_gap()
    targets = {"floor": floor - 0.2, "natural": natural + 0.2, "inside": floor + 0.4 * (natural - floor)}
    how = dict(RUNS[letter])
    return ascend(world, targets[how.pop("target")], updates=updates, **how)


# ---------------------------------------------------------------- choosing without a simulator
WORLDS = ("gridworld", "maze", "pendulum-medium", "sepsis")
ESTIMATES = ("fqe", "initial-value", "wis", "td-error")  # the rows of a log's scores
PLAY, FRESH = (10, 11), (12, 13, 14)  # draws: to look at, to be judged on
RULES = {  # the six rules of the page
    "fqe": "largest fitted Q-evaluation",
    "initial-value": "largest value of the agent's own critics",
    "wis": "largest weighted importance sampling, refusing below ten effective episodes",
    "td-error": "smallest Bellman error on a log that nobody trained on",
    "cloning": "the clone of the whole log",
    "largest-alpha": "CQL with the largest alpha that was trained",
}


class Candidates(NamedTuple):
    """The 12 policies of one log: what the log says of each, and the truth."""

    world: str
    draw: int
    names: tuple[str, ...]
    scores: np.ndarray  # [4, 12], a row an estimate; larger is better; nan: it cannot judge
    refused: np.ndarray  # [12], whether importance sampling has too few effective episodes
    true: np.ndarray  # [12]

    def regret(self, chosen: int) -> float:
        """Best true value minus the chosen policy's, in per cent of best minus worst."""
        return float(100 * (self.true.max() - self.true[chosen]) / (self.true.max() - self.true.min()))

    def random_regret(self) -> float:
        """The expected regret of a choice that looks at nothing."""
        return sum(map(self.regret, range(len(self.true)))) / len(self.true)

    def choice(self, rule: str) -> int | None:
        """What one of `RULES` picks; None where it can judge no policy."""
        if rule == "cloning":
            return self.names.index("bc")
        if rule == "largest-alpha":
            return max((i for i, n in enumerate(self.names) if n.startswith("cql ")), key=lambda i: _alpha(self, i))
        values = self.scores[ESTIMATES.index(rule)].copy()
        if rule == "wis":
            values[self.refused] = np.nan
        return None if np.isnan(values).all() else int(np.nanargmax(values))

    def rule_regret(self, rule: str) -> float:
        """The regret of a rule; one that can judge nothing counts as a random choice."""
        chosen = self.choice(rule)
        return self.random_regret() if chosen is None else self.regret(chosen)


def _alpha(of: Candidates, i: int) -> float:
    return float(of.names[i].split()[1])


def candidates(rows: Rows, draws: Sequence[int] = (*PLAY, *FRESH)) -> list[Candidates]:
    """The policies of each world's logs from the table ``ope``, world by world and draw by draw."""
    found = []
    for world in WORLDS:
        for draw in draws:
            mine = [row for row in rows if (row["task"], row["seed"], row["split"]) == (world, str(draw), "report")]
            names = tuple(dict.fromkeys(f"{row['algorithm']} {row['cql_alpha']}".strip() for row in mine))
            require_data(len(names) == 12, f"ope: {world}, draw {draw}", f"{len(names)} policies", "12")
            at = {name: i for i, name in enumerate(names)}
            scores, refused, true = np.full((4, 12), np.nan), np.zeros(12, bool), np.empty(12)
            for row in mine:
                i = at[f"{row['algorithm']} {row['cql_alpha']}".strip()]
                true[i] = float(row["true"])
                usable, sign = row["usable"] == "1", -1.0 if row["estimator"] == "td-error" else 1.0
                if row["estimator"] == "wis":
                    refused[i] = not usable
                refuses = row["estimator"] == "fqe" and not usable  # a value that no reward could pay
                if row["estimator"] in ESTIMATES and row["value"] not in ("", "nan") and not refuses:
                    scores[ESTIMATES.index(row["estimator"]), i] = sign * float(row["value"])
            found.append(Candidates(world, draw, names, scores, refused, true))
    return found


def by_world(logs: Sequence[Candidates], regret: Callable[[int, Candidates], float]) -> dict[str, float]:
    """The mean regret over the logs of each world; ``regret`` takes a log's place and the log."""
    found: dict[str, list[float]] = {}
    for place, log in enumerate(logs):
        found.setdefault(log.world, []).append(regret(place, log))
    return {world: sum(values) / len(values) for world, values in found.items()}


def regret_of_choices(logs: Sequence[Candidates], chosen: Sequence[int]) -> dict[str, float]:
    """The mean regret in each world of a policy's place for each log."""
    return by_world(logs, lambda place, log: log.regret(int(chosen[place])))


def regret_of_rule(logs: Sequence[Candidates], rule: str) -> dict[str, float]:
    """The mean regret in each world of one of the six rules."""
    return by_world(logs, lambda _, log: log.rule_regret(rule))


WAYS = ("sum", "median", "lowest")  # how the ranks of several scores become one


def combined(logs: Sequence[Candidates], names: Sequence[str], way: str) -> list[int]:
    """What several estimates choose together in each log: the policy with the largest sum, median or lowest rank.

    A policy that an estimate cannot judge has rank 0 there; ties of the median or the lowest go by the sum.
    """
    require(way in WAYS, "way", way, f"one of {WAYS}")
    found = []
    for log in logs:
        scores = log.scores[[ESTIMATES.index(name) for name in names]]
        order = np.where(np.isnan(scores), -np.inf, scores).argsort(-1, kind="stable")
        ranks = np.where(np.isnan(scores), 0, order.argsort(-1, kind="stable")).astype(float)
        merged = {"sum": ranks.sum(0), "median": np.median(ranks, 0), "lowest": ranks.min(0)}[way]
        found.append(int((merged + 1e-3 * ranks.sum(0)).argmax()))
    return found


def single_choices(logs: Sequence[Candidates], estimate: str) -> list[int]:
    """What one estimate alone picks in each log, importance sampling without its refusals."""
    return [int(np.nanargmax(log.scores[ESTIMATES.index(estimate)])) for log in logs]


def bar(logs: Sequence[Candidates]) -> float:
    """The smallest regret in a rule's worst world, of the six rules and of each estimate alone."""
    rules = [max(regret_of_rule(logs, rule).values()) for rule in RULES]
    return min(rules + [max(regret_of_choices(logs, single_choices(logs, name)).values()) for name in ESTIMATES])


def early_stopping(logs: Sequence[Candidates]) -> dict[tuple[str, str, str], tuple[int, int]]:
    """How often a Q statistic tells a run from its own checkpoint after an eighth of the updates: (right, logs).

    By world, agent and statistic. Right: the higher score is the truly better one of the two. CQL's checkpoint is that
    of the middle alpha.
    """
    found: dict[tuple[str, str, str], tuple[int, int]] = {}
    for log in logs:
        ladder = sorted((name for name in log.names if name.startswith("cql ")), key=lambda name: float(name[4:]))
        for name in (name for name in log.names if name.endswith("-early") and name != "bc-early"):
            agent = name.removesuffix("-early")
            late = log.names.index(ladder[(len(ladder) - 1) // 2] if agent == "cql" else agent)
            early = log.names.index(name)
            for statistic in ("initial-value", "td-error"):
                scores = log.scores[ESTIMATES.index(statistic)]
                right, every = found.get((log.world, agent, statistic), (0, 0))
                better = (scores[early] > scores[late]) == (log.true[early] > log.true[late])
                found[log.world, agent, statistic] = (right + int(better), every + 1)
    return found
