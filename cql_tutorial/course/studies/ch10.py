"""Experiments of chapter 10: what is behind a score. Rows of the MuJoCo tables, and what is resampled from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...datasets.files import search_places
from ...errors import ConfigError, DatasetNotFoundError, require
from ...evaluation import EVALUATION_SEED, t_interval
from ...evaluation.benchmark_presets import DEFAULT_TASKS, PUBLISHED_SCORES
from ...evaluation.reference_scores import REFERENCE_RETURNS, d4rl_score

Rows = Sequence[Mapping[str, str]]

# ---------------------------------------------------------------- what is published
# The table that this course's description printed, three tasks by three methods, "D4RL v2".
QUOTED: dict[str, dict[str, float]] = {
    "halfcheetah-medium": {"cql": 44.0, "iql": 47.4, "bc": 42.6},
    "hopper-medium-expert": {"cql": 98.7, "iql": 91.5, "bc": 52.5},
    "walker2d-medium-replay": {"cql": 77.3, "iql": 73.9, "bc": 26.7},
}
CQL_PAPER = "Kumar et al. 2020, table 1"
D4RL_PAPER = "Fu et al. 2020, D4RL"
CORL_LAST, IQL_PAPER = (one.scores for one in PUBLISHED_SCORES)
CORL_BEST_CQL = 84.68  # mean over nine tasks of the best checkpoints; CORL, docs/benchmarks/offline.md at eeeeef26
# (task, method, version, who, score): the cells in which the numbers of the quoted table, or their like, are found.
PUBLISHED: tuple[tuple[str, str, str, str, float], ...] = (
    ("hopper-medium-expert", "bc", "v0", CQL_PAPER, 111.9),
    ("hopper-medium-expert", "bc", "v2", "Kostrikov et al. 2021 (IQL)", IQL_PAPER["hopper-medium-expert"]["bc"]),
    ("hopper-medium-expert", "cql", "v0", CQL_PAPER, 111.0),
    ("hopper-medium-expert", "cql", "v2", "IQL's authors, rerun", IQL_PAPER["hopper-medium-expert"]["cql"]),
    ("hopper-medium-expert", "cql", "v2", "CORL, last", CORL_LAST["hopper-medium-expert"]["cql"]),
    ("walker2d-medium-expert", "cql", "v0", CQL_PAPER, 98.7),
    ("walker2d-medium-expert", "cql", "v2", "IQL's authors, rerun", IQL_PAPER["walker2d-medium-expert"]["cql"]),
    ("walker2d-medium-replay", "cql", "v0", CQL_PAPER, 32.6),
    ("walker2d-medium-replay", "cql", "v0", D4RL_PAPER, 26.7),
    ("walker2d-medium-replay", "bc", "v0", CQL_PAPER, 11.3),
    ("walker2d-medium-replay", "cql", "v2", "IQL's authors, rerun", IQL_PAPER["walker2d-medium-replay"]["cql"]),
    ("walker2d-medium-replay", "bc", "v2", "Kostrikov et al. 2021 (IQL)", IQL_PAPER["walker2d-medium-replay"]["bc"]),
)


def quoted_and_published() -> list[tuple[str, str, float, float]]:
    """The quoted table cell by cell: task, method, the number quoted, and the v2 score of the IQL paper's table."""
    return [
        (task, method, score, IQL_PAPER[task][method]) for task, row in QUOTED.items() for method, score in row.items()
    ]


def found_at(score: float) -> list[str]:
    """Where a number stands in `PUBLISHED`."""
    return [f"{task} {method} {version} ({who})" for task, method, version, who, value in PUBLISHED if value == score]


# ---------------------------------------------------------------- claims
class Claim(NamedTuple):
    """A sentence that compares two scores, and what is behind each of them."""

    sentence: str
    sides: Mapping[str, tuple[str, str]]  # data, checkpoint, unit, runs: left and right


FIELDS = {
    "data": "the data are other ones",
    "checkpoint": "the policy that is reported was chosen by another rule",
    "unit": "the numbers have another unit",
    "runs": "not the same thing is reported of the runs",
    "none": "the card shows no reason against it",
}


def claims(pendulum: Rows, table: Rows, sets: Rows) -> dict[str, Claim]:
    """Five claims, made of published scores and of rows of `pendulum-medium`, `mujoco` and `mujoco-sets`."""
    last, alike = "the last", "D4RL's score"
    corl = mean(row["iql"] for row in CORL_LAST.values())
    cql, clone = (_scores(pendulum, algorithm, alpha) for algorithm, alpha in (("cql", 5.0), ("bc", None)))
    log = next(
        float(row["return"])
        for row in sets
        if (row["task"], row["quality"], row["draw"]) == ("halfcheetah", "medium", "0")
    )
    clones = runs_of(table, "halfcheetah-medium", "bc")
    bc = mean(float(row["score"]) for row in clones if row["draw"] == "0")
    share = 100 * log / REFERENCE_RETURNS["halfcheetah"][1]
    here = "our log of halfcheetah-medium, draw 0"
    return {
        "A": Claim(
            f"Cloning beats CQL on hopper-medium-expert: 111.9 in CQL's own paper, and CORL has CQL at "
            f"{CORL_LAST['hopper-medium-expert']['cql']:.1f}.",
            {
                "data": ("D4RL, version v0", "D4RL, version v2"),
                "checkpoint": (last, last),
                "unit": (alike, alike),
                "runs": ("mean", "mean"),
            },
        ),
        "B": Claim(
            f"CQL beats IQL over CORL's nine locomotion tasks: {CORL_BEST_CQL:.1f} to {corl:.1f}.",
            {
                "data": ("D4RL, version v2", "D4RL, version v2"),
                "checkpoint": ("the best of all that were evaluated", last),
                "unit": (alike, alike),
                "runs": ("mean", "mean"),
            },
        ),
        "C": Claim(
            f"IQL beats CQL on hopper-medium-expert: CORL has {CORL_LAST['hopper-medium-expert']['iql']:.1f} to "
            f"{CORL_LAST['hopper-medium-expert']['cql']:.1f}.",
            {
                "data": ("D4RL, version v2", "D4RL, version v2"),
                "checkpoint": (last, last),
                "unit": (alike, alike),
                "runs": ("mean", "mean"),
            },
        ),
        "D": Claim(
            f"Our clone beats its log on halfcheetah-medium: {bc:.1f} to {share:.1f}.",
            {
                "data": (here, here),
                "checkpoint": ("fixed beforehand", "fixed beforehand"),
                "unit": (alike, "per cent of the expert's return"),
                "runs": ("mean", "mean"),
            },
        ),
        "E": Claim(
            f"CQL beats cloning on Pendulum medium: {max(cql):.1f} to {mean(clone):.1f}.",
            {
                "data": ("our four logs", "our four logs"),
                "checkpoint": (last, last),
                "unit": ("0 random, 100 expert", "0 random, 100 expert"),
                "runs": (f"the best of {len(cql)} runs", f"mean of {len(clone)} runs"),
            },
        ),
    }


def _scores(rows: Rows, algorithm: str, alpha: float | None) -> list[float]:
    return [
        float(row["normalised"])
        for row in rows
        if row["split"] == "report" and row["algorithm"] == algorithm
        and (alpha is None or float(row["cql_alpha"]) == alpha)
    ]  # fmt: skip


# ---------------------------------------------------------------- episodes of shipped policies
@dataclass(frozen=True)
class Episodes:
    """Fresh episodes of one policy, ``[n]`` each."""

    returns: np.ndarray
    scores: np.ndarray
    lengths: np.ndarray


def episodes_of(rows: Rows, task: str, policy: str, mode: str = "stochastic", draw: int = 0) -> Episodes:
    """The episodes of a policy in the table `mujoco-episodes`: *medium* or *best* of a draw."""
    wanted = (task, str(draw), policy, mode)
    some = [row for row in rows if (row["task"], row["draw"], row["policy"], row["mode"]) == wanted]
    require(some, "policy", " ".join(wanted), "one of the table mujoco-episodes")
    return Episodes(*(np.array([float(row[name]) for row in some]) for name in ("return", "score", "length")))


def spread_of_means(scores: np.ndarray, episodes: int, repeats: int = 2000, seed: int = 0) -> tuple[float, float]:
    """The 2.5 and 97.5 % quantiles of the mean of so many episodes, drawn with replacement from those there are."""
    drawn = np.random.default_rng(seed).choice(scores, (repeats, episodes))
    low, high = np.quantile(drawn.mean(1), [0.025, 0.975])
    return float(low), float(high)


def live_scores(task: str, policy: str, draw: int = 0, episodes: int = 5) -> np.ndarray | None:
    """Scores of the shipped policy in the simulator, deterministic; None where MuJoCo is not installed."""
    from ...agents import load_agent
    from ...envs.mujoco_env import make_mujoco
    from ...evaluation import evaluate_env

    try:
        env = make_mujoco(task)
    except ConfigError:
        return None
    agent = load_agent(shipped(f"policies/{task}-{policy}-{draw}.safetensors"), "cpu")
    returns = evaluate_env(env, agent, episodes, EVALUATION_SEED)
    env.close()
    return np.array([d4rl_score(task, float(value)) for value in returns])


def shipped(name: str) -> Path:
    """A file below ``data/mujoco`` of a checkout; `DatasetNotFoundError` where there is none."""
    for place in search_places():
        if (place / "mujoco" / name).is_file():
            return place / "mujoco" / name
    expected = f"mujoco/{name} below one of the data folders of a checkout"
    raise DatasetNotFoundError(name, "no such file", expected, "run this in a checkout.")


# ---------------------------------------------------------------- best or last
@dataclass(frozen=True)
class Checkpoints:
    """One training: the score that selection saw at each checkpoint, and fresh episodes of the same policies."""

    steps: np.ndarray  # [k]
    selected: np.ndarray  # [k] mean score of the episodes on which a checkpoint would be chosen
    fresh: np.ndarray  # [k, n] scores of other episodes

    @property
    def truth(self) -> np.ndarray:
        """The mean score of the fresh episodes of each checkpoint, ``[k]``."""
        return self.fresh.mean(1)


def checkpoints(training: Rows, episodes: Rows, task: str = "hopper", draw: int = 0) -> Checkpoints:
    """The checkpoints of one training, from the tables `mujoco-training` and `mujoco-episodes`."""
    fresh: dict[int, list[float]] = {}
    for row in episodes:
        if (row["task"], row["draw"], row["policy"]) == (task, str(draw), "checkpoint"):
            fresh.setdefault(int(row["step"]), []).append(float(row["score"]))
    steps = sorted(fresh)
    seeds = sorted({int(row["seed"]) for row in training if row["task"] == task})
    seen = {int(r["step"]): float(r["score"]) for r in training if r["task"] == task and int(r["seed"]) == seeds[draw]}
    return Checkpoints(
        np.array(steps), np.array([seen[step] for step in steps]), np.array([fresh[step] for step in steps])
    )


MOST_CANDIDATES = 30  # as many checkpoints there are before the first stop


class Outcome(NamedTuple):
    """What a rule of reporting does on average, in points of the score."""

    delivered: float  # true score of the policy that is delivered
    reported: float
    bias: float  # reported minus true
    error: float  # root of the mean squared difference of the two
    lack: float  # best true score up to the stop, minus delivered


def outcome(run: Checkpoints, candidates: int, each: int, fresh: int, repeats: int = 200, seed: int = 0) -> Outcome:
    """Evaluate the last ``candidates`` checkpoints on ``each`` episodes, deliver the best, report.

    The report is the mean of ``fresh`` new episodes, or with 0 of them the mean that it was chosen by. The training
    stops after any checkpoint from number 31 on, all equally likely: where it stops is luck. Episodes are drawn with
    replacement from the measured ones of a checkpoint, whose mean is therefore the truth.
    """
    require(1 <= candidates <= MOST_CANDIDATES, "candidates", candidates, f"1 to {MOST_CANDIDATES}")
    require(each + fresh > 0 and min(each, fresh) >= 0, "episodes", (each, fresh), "at least one in all")
    require(candidates == 1 or each > 0, "each", each, "at least one episode where there is a choice")
    generator = np.random.default_rng(seed)
    true, reported, lack = [], [], []
    for stop in range(MOST_CANDIDATES + 1, len(run.steps) + 1):
        some = run.fresh[stop - candidates : stop]
        if each:
            drawn = generator.integers(0, some.shape[1], (repeats, candidates, each))
            means = some[np.arange(candidates)[None, :, None], drawn].mean(2)
            chosen, report = means.argmax(1), means.max(1)
        else:
            chosen, report = np.zeros(repeats, dtype=int), np.zeros(repeats)
        if fresh:
            report = some[chosen[:, None], generator.integers(0, some.shape[1], (repeats, fresh))].mean(1)
        true.append(some.mean(1)[chosen])
        reported.append(report)
        lack.append(run.truth[:stop].max() - true[-1])
    off = np.array(reported) - np.array(true)
    return Outcome(
        float(np.mean(true)),
        float(np.mean(reported)),
        float(off.mean()),
        float(np.sqrt(np.square(off).mean())),
        float(np.mean(lack)),
    )


# ---------------------------------------------------------------- draws and seeds
def by_draw_and_seed(rows: Rows, algorithm: str, alpha: float | None = None, column: str = "normalised") -> Tensor:
    """A column of the reported runs of one algorithm, ``[draws, seeds]`` float64, draws and seeds in rising order."""
    some = [
        row for row in rows
        if row["split"] == "report" and row["algorithm"] == algorithm
        and (alpha is None or float(row["cql_alpha"]) == alpha)
    ]  # fmt: skip
    found = {(int(row["draw"]), int(row["seed"])): float(row[column]) for row in some}
    draws, seeds = (sorted({key[place] for key in found}) for place in (0, 1))
    return torch.tensor([[found[draw, seed] for seed in seeds] for draw in draws], dtype=torch.float64)


def shares_of_variance(scores: Tensor) -> tuple[float, float]:
    """Standard deviations ``(between draws, within a draw)`` by the usual analysis of variance; 0 where below it."""
    seeds = scores.shape[1]
    within = float(scores.var(1, unbiased=True).mean())
    between = float(scores.mean(1).var(unbiased=True)) - within / seeds
    return math.sqrt(max(between, 0.0)), math.sqrt(within)


Interval = Callable[[Tensor], tuple[Any, Any]]


def coverage(
    interval: Interval, draws: int, seeds: int, between: float, within: float, repeats: int = 2000, seed: int = 0
) -> float:
    """How often an interval of ``[draws, seeds]`` normal scores holds their true mean 0, of 1."""
    generator = torch.Generator().manual_seed(seed)
    options: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
    scores = between * torch.randn(repeats, draws, 1, **options) + within * torch.randn(
        repeats, draws, seeds, **options
    )
    hits = 0
    for one in scores:
        middle, half = (float(number) for number in interval(one))
        hits += abs(middle) <= half
    return hits / repeats


def pooled(scores: Tensor) -> tuple[float, float]:
    """The t-interval that takes every run for an independent one."""
    return t_interval(scores.flatten().tolist())


def interquartile_mean(values: Sequence[float]) -> float:
    """rliable's IQM: the mean of the middle half of the values (a quarter, rounded down, is cut off at each end)."""
    ordered, cut = sorted(values), len(values) // 4
    return mean(ordered[cut : len(ordered) - cut])


def bootstrap_coverage(count: int, statistic: Callable[[np.ndarray], np.ndarray], repeats: int = 1000) -> float:
    """How often a 95 % percentile bootstrap of ``count`` normal runs holds the true middle; statistic along axis -1."""
    generator = np.random.default_rng(count)
    values = generator.standard_normal((repeats, count))
    resampled = values[np.arange(repeats)[:, None, None], generator.integers(0, count, (repeats, 400, count))]
    low, high = np.quantile(statistic(resampled), [0.025, 0.975], axis=1)
    return float(((low <= 0) & (high >= 0)).mean())


def means(values: np.ndarray) -> np.ndarray:
    """Means along the last axis."""
    return values.mean(-1)


def middle_means(values: np.ndarray) -> np.ndarray:
    """Interquartile means along the last axis."""
    cut = values.shape[-1] // 4
    return np.sort(values, -1)[..., cut : values.shape[-1] - cut].mean(-1)


def t_coverage(count: int, repeats: int = 1000) -> float:
    """How often the 95 % t-interval of ``count`` normal runs holds the true mean."""
    values = np.random.default_rng(count).standard_normal((repeats, count))
    found = [t_interval(one.tolist()) for one in values]
    return mean(abs(middle) <= half for middle, half in found)


def false_wins(scores: Tensor, seeds: int, favoured: str, repeats: int = 4000) -> float:
    """How often a method "beats" itself when its best seed stands beside its mean: both sides are the same runs.

    Runs of both sides are drawn with replacement from all ``scores``. ``favoured`` is "best" or "mean".
    """
    generator = np.random.default_rng(seeds)
    ours, theirs = generator.choice(scores.flatten().numpy(), (2, repeats, seeds))
    mine = ours.max(1) if favoured == "best" else ours.mean(1)
    return float((mine > theirs.mean(1)).mean())


# ---------------------------------------------------------------- our table
METHODS = {"bc": "BC", "10%bc": "10 %BC", "iql": "IQL", "sac": "SAC", "cql": "CQL"}
TASKS = DEFAULT_TASKS["mujoco"]
DRAWS, SEEDS, STEPS = 2, 3, 30_000
SETTLED = 0.95  # the discount of the setting in which Q settles


def runs_of(rows: Rows, task: str, method: str, discount: float = 0.99) -> list[Mapping[str, str]]:
    """The ends of the runs of one line of the table `mujoco`."""
    return [
        row for row in rows
        if (row["task"], row["algorithm"]) == (task, method) and float(row["discount"]) == discount
        and row["step"] == row["steps"] == str(STEPS)
    ]  # fmt: skip


def lines_of(rows: Rows) -> list[str]:
    """The table of scores as lines of text: what there is, and what is not yet.

    Two intervals: of all runs as if they were independent, and of the means of the draws.
    """
    heads = ("", "log", "method", "runs", "score", "± runs", "± draws", "means of draws", "IQL's paper")
    form = "{:24s}{:>6s}{:>9s}{:>6s}{:>12s}{:>8s}{:>9s}{:>16s}{:>13s}"
    lines = [form.format(*heads)]
    for task in TASKS:
        for method, name in METHODS.items():
            some = [row for row in runs_of(rows, task, method) if row["score"]]
            published = IQL_PAPER[task].get(method)
            count, reported = f"{len(some)}/{DRAWS * SEEDS}", "" if published is None else f"({published:.1f})"
            if not some:
                lines.append(form.format(task, "", name, count, "unfinished", "", "", "", reported))
                continue
            draws = sorted({row["draw"] for row in some})
            each = [mean(float(row["score"]) for row in some if row["draw"] == draw) for draw in draws]
            middle, half = t_interval([float(row["score"]) for row in some])
            halves = [f"{one:.1f}" if math.isfinite(one) else "-" for one in (half, t_interval(each)[1])]
            log = mean(float(row["log_score"]) for row in some)
            shown = " / ".join(f"{value:.1f}" for value in each)
            lines.append(form.format(task, f"{log:.1f}", name, count, f"{middle:.1f}", *halves, shown, reported))
    return lines


def unfinished(rows: Rows) -> str:
    """How many runs of the table of scores are there."""
    there = sum(len(runs_of(rows, task, method)) for task in TASKS for method in METHODS)
    wanted = len(TASKS) * len(METHODS) * DRAWS * SEEDS
    return f"{there} of {wanted} runs are measured" + ("" if there >= wanted else ": UNFINISHED, draw no conclusion")


def settled_lines(rows: Rows) -> list[str]:
    """Predicted beside true values at the discount at which Q settles; a line for each task and method."""
    lines = [f"{'':24s}{'method':>8s}{'runs':>6s}{'score':>8s}{'predicted':>11s}{'true':>8s}{'error':>8s}{'drift':>8s}"]
    for task in TASKS:
        for method in ("iql", "sac", "cql"):
            some = [row for row in runs_of(rows, task, method, SETTLED) if row["estimation_error"]]
            count = f"{len(some)}/{DRAWS * SEEDS}"
            if not some:
                lines.append(f"{task:24s}{METHODS[method]:>8s}{count:>6s}{'unfinished':>12s}")
                continue
            score, predicted, true, error, drift = (
                mean(float(row[name]) for row in some)
                for name in ("score", "predicted", "true", "estimation_error", "q_drift")
            )
            lines.append(
                f"{task:24s}{METHODS[method]:>8s}{count:>6s}{score:8.1f}{predicted:11.1f}{true:8.1f}{error:+8.1f}"
                f"{drift:+8.1f}"
            )
    return lines


# ---------------------------------------------------------------- good scores, impossible values
class Case(NamedTuple):
    """A measured run: what a report would show of it, what its world pays, and the truth."""

    policy: float  # return
    clone: float  # return of a clone of the same log
    best_reward: float
    paid: str  # "every step" or "once, at the end"
    discount: float
    predicted: float  # mean
    true: float  # mean, of the same states and actions
    run: str  # what it is

    @property
    def card(self) -> str:
        """What can be known without the truth."""
        return (
            f"return {self.policy:9.2f}, clone {self.clone:8.2f}; rewards at most {self.best_reward:g}, "
            f"{self.paid:16s} discount {self.discount:g}; mean Q {self.predicted:6.2f}"
        )


def cases(pendulum: Rows, maze: Rows, sepsis: Rows) -> dict[str, Case]:
    """The five runs of the diagnosis, from the tables of those names."""

    def row_of(rows: Rows, **wanted: str) -> Mapping[str, str]:
        return next(row for row in rows if all(row[name] == value for name, value in wanted.items()))

    def run(world: str, rows: Rows, best: float, paid: str, discount: float, value: str, **wanted: str) -> Case:
        row = row_of(rows, **wanted)
        shared = {name: row[name] for name in ("split", "draw", "seed", "episodes") if name in wanted}
        clone = row_of(rows, algorithm="bc", **shared)
        alpha = f" alpha {row['cql_alpha']}" if row["cql_alpha"] else ""
        numbers = (float(text) for text in (row[value], clone[value], row["predicted"], row["true"]))
        mine, other, predicted, true = numbers
        return Case(mine, other, best, paid, discount, predicted, true, f"{world}, {row['algorithm']}{alpha}")

    every, once = "every step;", "once, at the end;"
    report = {"split": "report"}
    return {
        "P": run("ICU-Sepsis", sepsis, 1.0, once, 1.0, "true", algorithm="cql-max", cql_alpha="0.1", episodes="30000",
                 seed="4"),
        "Q": run("Pendulum medium", pendulum, 0.0, every, 0.95, "return", algorithm="cql", cql_alpha="5", draw="0",
                 seed="0", **report),
        "R": run("Pendulum medium", pendulum, 0.0, every, 0.95, "return", algorithm="sac", draw="0", seed="0",
                 **report),
        "S": run("Pendulum medium", pendulum, 0.0, every, 0.95, "return", algorithm="sac", draw="1", seed="1",
                 **report),
        "T": run("maze", maze, 1.0, every, 0.95, "return", algorithm="sac", draw="1000", seed="1000", **report),
    }  # fmt: skip
