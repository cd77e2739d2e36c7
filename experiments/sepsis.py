"""The table of ICU-Sepsis: predicted and true survival of fitted Q-iteration on logs of the clinician policy.

The world is a Markov decision process *estimated* from intensive-care records; nothing here is a clinical claim. Every
method is exact on its log (no network, no step size), every truth is a linear solve. All settings tried are reported,
so that nothing is tuned.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from cql_tutorial.agents import tabular
from cql_tutorial.agents.tabular import TabularLog
from cql_tutorial.envs import Sepsis
from cql_tutorial.evaluation import solve_q
from experiments.runner import Study

ALPHAS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
EPISODES, SEEDS, SWEEPS = (5000, 30000), (0, 1, 2, 3, 4), 1000
COLUMNS = (
    "algorithm", "cql_alpha", "episodes", "seed", "rows", "share_seen", "predicted", "true", "true_greedy",
    "sweeps", "last_change", "settled", "seconds",
)  # fmt: skip
KEYS = COLUMNS[:4]
EXPECTILE, INVERSE_TEMPERATURE = 0.7, 3.0
ALGORITHMS = {  # name -> what it is
    "naive": "fitted Q-iteration, unseen actions start and stay at 0",
    "naive-noisy": "the same from a noisy table: initial Q drawn from N(0, 1)",
    "restricted": "naive restricted to logged actions (control)",
    "restricted-noisy": "the same from the noisy table",
    "shrunk-1": "shrinkage only, weight decay worth 1 row a pair (control)",
    "shrunk-5": "shrinkage only, worth 5 rows a pair (control)",
    "bc": "the log's own shares; its prediction is fitted evaluation of them",
    "bc-argmax": "the action logged most often in each state",
    "iql": "implicit Q-learning, expectile 0.7 over the logged actions, beta 3; its prediction is V",
    "cql-max": "CQL(H), greedy backup and policy",
    "cql-softmax": "CQL(H), backup and policy softmax(Q); true_greedy is its argmax",
}


@dataclass(frozen=True)
class Job:
    """One table fitted to one log: a row."""

    algorithm: str
    cql_alpha: str
    episodes: int
    seed: int


def jobs() -> Iterator[Job]:
    """Every algorithm, at every alpha where it has one, on five logs of each size."""
    for episodes in EPISODES:
        for algorithm in ALGORITHMS:
            for alpha in (f"{alpha:g}" for alpha in ALPHAS) if algorithm.startswith("cql") else ("",):
                for seed in SEEDS:
                    yield Job(algorithm, alpha, episodes, seed)


def population_key(job: Job) -> tuple[int, int]:
    """Tables of one log are fitted together, so that it is recorded once."""
    return job.episodes, job.seed


def measure(jobs: list[Job]) -> list[dict[str, Any]]:
    """The rows of one log."""
    torch.set_num_threads(1)
    world, episodes, seed = Sepsis(), jobs[0].episodes, jobs[0].seed
    log = tabular.record_log(world, world.clinician, episodes, seed=seed)
    share_seen = float(log.seen[~world.terminal_states].double().mean())
    rows = []
    for job in jobs:
        about = {name: getattr(job, name) for name in KEYS} | {"rows": len(log), "share_seen": share_seen}
        rows.append(about | (clone(world, log, job) if job.algorithm.startswith("bc") else iterate(world, log, job)))
    return rows


def method(job: Job) -> tuple[tabular.Fit, tabular.Backup, Tensor | float]:
    """Fit, backup and initial table of an algorithm other than cloning."""
    noise = torch.randn(716, 25, generator=torch.Generator().manual_seed(1000 + job.seed), dtype=torch.float64)
    initial = noise if job.algorithm.endswith("-noisy") else 0.0
    kind, *more = job.algorithm.split("-")
    if kind == "naive":
        return tabular.exact_fit, tabular.greedy_backup, initial
    if kind == "restricted":
        return tabular.cql_fit(0.0), tabular.restricted_backup, initial
    if kind == "shrunk":
        return tabular.shrunk_fit(int(more[0])), tabular.greedy_backup, initial
    if kind == "iql":
        return tabular.cql_fit(0.0), tabular.expectile_backup(EXPECTILE), initial
    backup = tabular.softmax_backup() if job.algorithm == "cql-softmax" else tabular.greedy_backup
    return tabular.cql_fit(float(job.cql_alpha)), backup, initial


def iterate(world: Sepsis, log: TabularLog, job: Job) -> dict[str, Any]:
    """What fitted Q-iteration predicts, and what its policy is worth."""
    started = time.perf_counter()
    fit, backup, initial = method(job)
    q, used, change = to_convergence(log, fit, backup, initial)
    greedy = tabular.greedy_policy(q)
    policy = tabular.softmax_policy(q) if job.algorithm == "cql-softmax" else greedy
    if job.algorithm == "iql":
        policy = tabular.advantage_policy(log, q, backup(log, q), inverse_temperature=INVERSE_TEMPERATURE)
    return {
        "predicted": survival(world, backup(log, q)),
        "true": true_survival(world, policy),
        "true_greedy": true_survival(world, greedy),
        "sweeps": used,
        "last_change": change,
        "settled": int(change <= 1e-6),
        "seconds": round(time.perf_counter() - started, 2),
    }


def to_convergence(
    log: TabularLog, fit: tabular.Fit, backup: tabular.Backup, initial: Tensor | float
) -> tuple[Tensor, int, float]:
    """The table at rest, or after `SWEEPS` sweeps if it has not come to rest: (Q, sweeps, the last change)."""
    before, q, change, used = torch.zeros(()), torch.zeros(()), float("inf"), 0
    for used, q in enumerate(islice(tabular.sweeps(log, 1.0, fit, backup, initial), SWEEPS), 1):  # noqa: B007
        change = float((q - before).nan_to_num(0.0).abs().max())
        if change <= 1e-9:
            break
        before = q
    return q, used, change


def clone(world: Sepsis, log: TabularLog, job: Job) -> dict[str, Any]:
    """Cloning: the log's shares (uniform where nothing was logged), or the action logged most often."""
    shares = log.behaviour.clone()
    shares[~log.visited] = 1.0 / log.n_actions
    most = tabular.greedy_policy(shares)
    policy = most if job.algorithm == "bc-argmax" else shares

    def backup(log: TabularLog, q: Tensor) -> Tensor:
        return (policy * q.nan_to_num(neginf=0.0)).sum(-1) * log.visited

    q, used, change = to_convergence(log, tabular.cql_fit(0.0), backup, 0.0)
    return {
        "predicted": survival(world, backup(log, q)),
        "true": true_survival(world, policy),
        "true_greedy": true_survival(world, most),
        "sweeps": used,
        "last_change": change,
        "settled": int(change <= 1e-6),
    }


def survival(world: Sepsis, values: Tensor) -> float:
    """Mean over the start states."""
    return float(world.start_distribution() @ values)


def true_survival(world: Sepsis, policy: Tensor) -> float:
    """Exact survival under a policy's table."""
    return survival(world, (policy * solve_q(world, policy)).sum(-1))


STUDY = Study(
    table="sepsis",
    columns=COLUMNS,
    keys=KEYS,
    jobs=jobs,
    measure=measure,
    population_key=population_key,
    group_size=len(ALGORITHMS) + 2 * len(ALPHAS),
    shown=("predicted", "true"),
)
