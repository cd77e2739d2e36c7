"""The table of ICU-Sepsis: predicted and true survival of fitted Q-iteration on logs of the clinician policy.

The world is a Markov decision process *estimated* from intensive-care records; nothing here is a clinical claim. Every
method is exact on its log (no network, no step size), every truth is a linear solve. All settings tried are reported,
so that nothing is tuned. `python -m experiments sepsis` calls this.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from cql_tutorial.agents import tabular
from cql_tutorial.agents.tabular import TabularLog
from cql_tutorial.envs import Sepsis
from cql_tutorial.evaluation import optimal_q, solve_q, t_interval
from experiments.tables import read, write_csv

ALPHAS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
EPISODES, SEEDS, SWEEPS = (5000, 30000), (0, 1, 2, 3, 4), 1000
COLUMNS = [
    "algorithm", "cql_alpha", "episodes", "seed", "rows", "share_seen", "predicted", "true", "true_greedy",
    "sweeps", "last_change", "settled", "seconds",
]  # fmt: skip
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


def settings(seed: int) -> Iterator[tuple[str, str, tabular.Fit, tabular.Backup, Tensor | float]]:
    """(algorithm, alpha, fit, backup, initial table) of every row but cloning's."""
    noise = torch.randn(716, 25, generator=torch.Generator().manual_seed(1000 + seed), dtype=torch.float64)
    restricted = tabular.cql_fit(0.0), tabular.restricted_backup
    yield "naive", "", tabular.exact_fit, tabular.greedy_backup, 0.0
    yield "naive-noisy", "", tabular.exact_fit, tabular.greedy_backup, noise
    yield "restricted", "", *restricted, 0.0
    yield "restricted-noisy", "", *restricted, noise
    for pseudo_counts in (1, 5):
        yield f"shrunk-{pseudo_counts}", "", tabular.shrunk_fit(pseudo_counts), tabular.greedy_backup, 0.0
    yield "iql", "", tabular.cql_fit(0.0), tabular.expectile_backup(0.7), 0.0
    for alpha in ALPHAS:
        yield "cql-max", f"{alpha:g}", tabular.cql_fit(alpha), tabular.greedy_backup, 0.0
        yield "cql-softmax", f"{alpha:g}", tabular.cql_fit(alpha), tabular.softmax_backup(), 0.0


def measure(episodes: int, seed: int, wanted: tuple[str, ...] = tuple(ALGORITHMS)) -> list[dict[str, Any]]:
    """The rows of one log, of all algorithms or of some."""
    torch.set_num_threads(1)
    world = Sepsis()
    log = tabular.record_log(world, world.clinician, episodes, seed=seed)
    going = ~world.terminal_states
    about = {"episodes": episodes, "seed": seed, "rows": len(log), "share_seen": float(log.seen[going].double().mean())}
    rows = []
    for algorithm, alpha, fit, backup, initial in settings(seed):
        if algorithm not in wanted:
            continue
        started = time.perf_counter()
        q, used, change = rest(log, fit, backup, initial)
        greedy = tabular.greedy_policy(q)
        policy = tabular.softmax_policy(q) if algorithm == "cql-softmax" else greedy
        if algorithm == "iql":
            policy = tabular.advantage_policy(log, q, backup(log, q), inverse_temperature=3.0)
        rows.append(
            about
            | {"algorithm": algorithm, "cql_alpha": alpha, "predicted": survival(world, backup(log, q))}
            | {"true": true(world, policy), "true_greedy": true(world, greedy)}
            | {"sweeps": used, "last_change": change, "settled": int(change <= 1e-6)}
            | {"seconds": round(time.perf_counter() - started, 2)}
        )
    rows += [about | row for row in cloned(world, log) if row["algorithm"] in wanted]
    return rows


def rest(
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


def cloned(world: Sepsis, log: TabularLog) -> Iterator[dict[str, Any]]:
    """Cloning: the log's shares (uniform where nothing was logged), and the action logged most often."""
    shares = log.behaviour.clone()
    shares[~log.visited] = 1.0 / log.n_actions
    most = tabular.greedy_policy(shares)
    for algorithm, policy in (("bc", shares), ("bc-argmax", most)):

        def backup(log: TabularLog, q: Tensor, policy: Tensor = policy) -> Tensor:
            return (policy * q.nan_to_num(neginf=0.0)).sum(-1) * log.visited

        q, used, change = rest(log, tabular.cql_fit(0.0), backup, 0.0)
        value = true(world, policy)
        yield {
            "algorithm": algorithm, "cql_alpha": "", "predicted": survival(world, backup(log, q)), "true": value,
            "true_greedy": true(world, most), "sweeps": used, "last_change": change, "settled": int(change <= 1e-6),
            "seconds": "",
        }  # fmt: skip


def survival(world: Sepsis, values: Tensor) -> float:
    """Mean over the start states."""
    return float(world.start_distribution() @ values)


def true(world: Sepsis, policy: Tensor) -> float:
    """Exact survival under a policy's table."""
    return survival(world, (policy * solve_q(world, policy)).sum(-1))


def run(processes: int, deadline: float) -> bool:
    """Measure the logs whose rows are missing; False if time ran out first."""
    rows: list[dict[str, Any]] = list(read("sepsis"))
    there = {(int(row["episodes"]), int(row["seed"]), row["algorithm"]) for row in rows}
    logs = {(n, seed): tuple(a for a in ALGORITHMS if (n, seed, a) not in there) for seed in SEEDS for n in EPISODES}
    missing = [(*which, wanted) for which, wanted in logs.items() if wanted]
    print(f"sepsis: {len(logs) - len(missing)} logs are there, {len(missing)} to measure", flush=True)
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for i in range(0, len(missing), processes):
            if time.monotonic() > deadline:
                print("time is up; run again to go on", flush=True)
                return False
            for new in pool.map(measure, *zip(*missing[i : i + processes], strict=True)):
                rows += new
            order = list(ALGORITHMS)
            rows.sort(
                key=lambda r: (
                    int(r["episodes"]),
                    order.index(r["algorithm"]),
                    float(r["cql_alpha"] or 0),
                    int(r["seed"]),
                )
            )
            write_csv("sepsis", COLUMNS, rows)
            print(f"  {len(rows)} rows", flush=True)
    return True


# ---------------------------------------------------------------- what is shown
def references() -> dict[str, float]:
    """Exact survival under uniform actions, the clinician policy and the best one."""
    world = Sepsis()
    best = optimal_q(world).amax(-1)
    uniform = torch.full_like(world.clinician, 1.0 / world.action_dim)
    return {"random": true(world, uniform), "clinician": true(world, world.clinician), "optimal": survival(world, best)}


def markdown(every: bool = True) -> list[str]:
    """Predicted and true survival, mean and t-interval over the seeds; ``every=False`` for a choice of rows."""
    rows = read("sepsis")
    keys = list(dict.fromkeys((row["algorithm"], row["cql_alpha"]) for row in rows))
    if not every:
        chosen = ("naive", "restricted", "shrunk-1", "bc", "iql", "cql-max", "cql-softmax")
        keys = [key for key in keys if key[0] in chosen and key[1] in ("", "0.01", "0.1", "1")]
    heads = [f"{what}, {n:,} episodes" for n in EPISODES for what in ("predicted", "true")]
    lines = ["| algorithm | " + " | ".join(heads) + " |", "|" + "---|" * (1 + len(heads))]
    for algorithm, alpha in keys:
        cells = []
        for n in EPISODES:
            mine = [r for r in rows if (r["algorithm"], r["cql_alpha"], r["episodes"]) == (algorithm, alpha, str(n))]
            loose = sum(row["settled"] == "0" for row in mine)
            mark = f" ({loose} of {len(mine)} unsettled)" if loose else ""
            cells += [_interval(mine, "predicted", 2 if loose else 3) + mark, _interval(mine, "true", 3)]
        lines.append(f"| {algorithm}{' ' + alpha if alpha else ''} | {' | '.join(cells)} |")
    return lines


def _interval(rows: list[dict[str, str]], column: str, digits: int) -> str:
    mean, half = t_interval([float(row[column]) for row in rows])
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def sheet() -> list[str]:
    """The part of the results' data sheet: what the table is, and every column."""
    values = ", ".join(f"{name} {value:.3f}" for name, value in references().items())
    return [
        "## sepsis",
        "",
        "Survival predicted by fitted Q-iteration on logs of the clinician policy of ICU-Sepsis, a Markov decision",
        "process *estimated* from intensive-care records (no clinical claim), and its exact truth (linear solve,",
        f"discount 1). Exact references: {values}.",
        f"Seeds {list(SEEDS)}, each its own log; ± is a 95 % t-interval over them. At most {SWEEPS:,} sweeps:",
        "*unsettled* tables still moved by more than a millionth in the last one; listed is what they predicted then.",
        "",
        *(f"- *{name}*: {text}." for name, text in ALGORITHMS.items()),
        "",
        *markdown(),
    ]
