"""The table of off-policy evaluation: 12 policies a log, every estimate of their values beside the true one.

A policy is `agent.policy()`, the one whose value the agent's own critics claim to know: stochastic for continuous
agents, cloning and IQL, greedy for DQN and discrete CQL. Truth and estimates share the discount and the distribution
of the starts. The settings of fitted Q-evaluation come from tuning draws, where the truth may be looked at; the rows
reported are from other draws. A row an estimate; `seed` is the draw.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from cql_tutorial import OfflineDataset, fit, make_agent
from cql_tutorial.agents import tabular
from cql_tutorial.agents.tabular import TabularLog
from cql_tutorial.datasets.recording import dataset_of, record
from cql_tutorial.envs import Gridworld, Maze, Pendulum, Sepsis
from cql_tutorial.envs.maze import stitching_episodes
from cql_tutorial.errors import CQLTutorialError
from cql_tutorial.evaluation import EVALUATION_SEED, monte_carlo_value, solve_q, t_interval
from cql_tutorial.evaluation.off_policy import (
    Estimate,
    bellman_error,
    fitted_q_evaluation,
    initial_state_value,
    weighted_importance_sampling,
)
from experiments.logs import EpsilonGreedy, pendulum_data
from experiments.runner import Study, place
from experiments.settings import BATCH_SIZE, CQL, CRITIC, IQL_MAZE, IQL_PENDULUM, NETWORK, SAC, initial_value
from experiments.storage import Row

TUNING, REPORTED, HELD_OUT = (100,), (10, 11, 12, 13, 14), 5000  # draws; the last is added for a held-out log
STARTS, ROLLOUTS, TOLERANCE = 1000, 2, 1e-3
STEPS = (1000, 2000, 3000)  # of fitted Q-evaluation, to choose from
FQE = {"hidden_dim": 64, "batch_size": 128, "samples": 2, "n_critics": 2}
EARLY = 8  # an under-trained agent stops after an eighth of the updates
EPISODES, UNSEEN_EPISODES, SWEEPS = 5000, 1000, 300  # of sepsis
COLUMNS = (
    "task", "algorithm", "cql_alpha", "split", "seed", "estimator", "value", "low", "high", "spread", "usable",
    "effective_episodes", "true", "true_half_width", "seconds", "note", "settings",
)  # fmt: skip
KEYS = ("task", "algorithm", "cql_alpha", "seed")
ESTIMATORS = {  # name -> what it is
    "fqe": "fitted Q-evaluation, mean over the log's starts",
    "initial-value": "the agent's own critics at the log's starts",
    "wis": "per-decision weighted importance sampling, a clone as the behaviour",
    "td-error": "the critics' squared Bellman error on a log that nobody trained on",
    "data-return": "the log's own mean discounted return, the same for every policy (baseline)",
}


@dataclass(frozen=True)
class Task:
    """A world, its log by draw, and its candidates."""

    world: Callable[[], Any]
    alphas: tuple[float, ...]
    naive: str
    steps: int = 0  # updates of an agent; 0: a table
    actor_lr: float = 1e-3
    iql: Mapping[str, Any] = field(default_factory=lambda: IQL_PENDULUM)
    discount: float = 0.95
    fqe_steps: int = 0  # of fitted Q-evaluation; 0: the tuned number


LADDER = (0.004, 0.02, 0.1, 0.5, 2.5, 12.5)  # factors of 5 around good ones of earlier tables
TASKS = {
    "gridworld": Task(Gridworld, LADDER, "dqn", 2000),
    "maze": Task(Maze, LADDER, "sac", 2000, 1e-3, IQL_MAZE),
    "pendulum-medium": Task(Pendulum, (0.4, 2.0, 10.0, 50.0, 250.0), "sac", 4000, 5e-4),
    "sepsis": Task(Sepsis, LADDER, "naive", discount=1.0),
    "maze-long": Task(Maze, LADDER, "sac", 2000, 1e-3, IQL_MAZE, fqe_steps=5000),  # what `evaluate` takes by default
}
UNTUNED = ("sepsis", "maze-long")


def candidates(task: str) -> list[tuple[str, str]]:
    """(algorithm, alpha) of a task's 12 policies."""
    alphas, naive = [("cql", f"{alpha:g}") for alpha in TASKS[task].alphas], TASKS[task].naive
    if task == "sepsis":
        rest = ["bc", "bc-argmax", naive, "restricted", "shrunk-1", "iql"]
    else:
        rest = ["bc", "bc-25%", naive, f"{naive}-early", "iql", "cql-early"]
        rest += ["bc-early"] if task == "pendulum-medium" else []
    return [(name, "") for name in rest] + alphas


# ---------------------------------------------------------------- logs and agents
@lru_cache(4)
def table_log(draw: int) -> TabularLog:
    """Sepsis: whole episodes of the clinician policy."""
    world = Sepsis()
    return tabular.record_log(world, world.clinician, EPISODES if draw < HELD_OUT else UNSEEN_EPISODES, seed=draw)


@lru_cache(4)
def log(task: str, draw: int) -> OfflineDataset:
    """A draw of a task's log, by the recipe of its shipped data set."""

    if task == "sepsis":
        table, one_hot = table_log(draw), Sepsis().one_hot
        columns = one_hot(table.states), table.actions, table.rewards, one_hot(table.next_states), table.terminations
        starts = table.episode_starts
        return OfflineDataset.from_arrays(*columns, n_actions=table.n_actions, episode_starts=starts, id=f"draw {draw}")
    if task == "gridworld":
        return record(Gridworld(), EpsilonGreedy(Gridworld(), 0.3), 2_000, seed=draw, id=f"draw {draw}")
    if task.startswith("maze"):
        flat = stitching_episodes(Maze(), generator=torch.Generator().manual_seed(draw))
        return dataset_of(Maze(), flat, id=f"draw {draw}")
    return pendulum_data(draw)


class TablePolicy:
    """A policy given by its table ``[S, A]``, on one-hot observations."""

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def probabilities(self, observations: Tensor) -> Tensor:
        """``[n, S] -> [n, A]``."""
        return self.table[observations.argmax(-1)]

    def __call__(self, observations: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.multinomial(self.probabilities(observations), 1, generator=generator)[:, 0]


class TableAgent:
    """A table's policy, and its Q (-inf counts 0, as in its backup), in the form that `off_policy` judges."""

    def __init__(self, table: Tensor, q: Tensor | None, discount: float) -> None:
        self.config, self._policy = SimpleNamespace(discount=discount), TablePolicy(table)
        if q is not None:
            values = q.nan_to_num(neginf=0.0)
            self.q_values = lambda states, actions: values[states.argmax(-1), actions.long()][None]

    def policy(self) -> TablePolicy:
        """The one policy it has."""
        return self._policy


def train_table(draw: int, algorithm: str, alpha: str) -> TableAgent:
    """Fitted Q-iteration on a sepsis log, cut at `SWEEPS`; cloning and IQL by their closed forms."""
    data, discount = table_log(draw), TASKS["sepsis"].discount
    if algorithm.startswith("bc"):
        shares = data.behaviour.where(data.visited[:, None], 1.0 / data.n_actions)
        return TableAgent(tabular.greedy_policy(shares) if algorithm == "bc-argmax" else shares, None, discount)
    fits: dict[str, tuple[tabular.Fit, tabular.Backup]] = {
        "naive": (tabular.exact_fit, tabular.greedy_backup),
        "restricted": (tabular.cql_fit(0.0), tabular.restricted_backup),
        "shrunk-1": (tabular.shrunk_fit(1), tabular.greedy_backup),
        "iql": (tabular.cql_fit(0.0), tabular.expectile_backup(TASKS["sepsis"].iql["expectile"])),
        "cql": (tabular.cql_fit(float(alpha or 0)), tabular.greedy_backup),
    }
    fitting, backup = fits[algorithm]
    q = next(islice(tabular.sweeps(data, discount, fitting, backup), SWEEPS - 1, None))
    if algorithm == "iql":
        inverse_temperature = TASKS["sepsis"].iql["inverse_temperature"]
        return TableAgent(tabular.advantage_policy(data, q, backup(data, q), inverse_temperature), q, discount)
    return TableAgent(tabular.greedy_policy(q), q, discount)


@lru_cache(2)
def train_agent(task: str, draw: int, algorithm: str, alpha: str) -> tuple[Any, dict[str, Any]]:
    """An agent and the settings it was trained with."""
    if task == "sepsis":
        agent: Any = train_table(draw, algorithm, alpha)
        return agent, {"sweeps": SWEEPS, "episodes": EPISODES}
    how, data = TASKS[task], log(task, draw)
    kind, *more = algorithm.split("-")
    steps = how.steps // EARLY if "early" in more else how.steps
    settings: dict[str, Any] = {**NETWORK, "discount": how.discount, "seed": draw}
    if kind == "bc":
        settings["actor_lr"] = 1e-3
    else:
        settings["initial_value"] = initial_value(data, how.discount)
    if kind == "iql":
        settings |= how.iql
    elif kind in ("sac", "cql", "dqn"):
        settings |= CRITIC if task == "gridworld" else {**SAC, "actor_lr": how.actor_lr}
    if kind == "cql":
        settings |= {"cql_alpha": float(alpha or middle(task))} | (
            {} if data.discrete else {"cql_n_actions": CQL["cql_n_actions"]}
        )
    bounds = {} if data.discrete else {"action_low": data.action_low, "action_high": data.action_high}
    name = f"discrete-{kind}" if data.discrete and kind != "dqn" else kind
    dims = {"state_dim": data.observation_dim, "action_dim": data.action_dim}
    agent = make_agent(name, {**dims, **bounds, **settings})
    used = data.top_episodes(0.25) if "25%" in more else data
    fit(agent, used, steps, batch_size=BATCH_SIZE, seed=draw, log_every=steps, progress=False)
    del settings["device"], settings["seed"]
    return agent, {"steps": steps, "batch_size": BATCH_SIZE, **settings}


def middle(task: str) -> str:
    """The middle of a task's alphas (the lower of two)."""
    alphas = TASKS[task].alphas
    return f"{alphas[(len(alphas) - 1) // 2]:g}"


# ---------------------------------------------------------------- truth and estimates
def true_value(task: str, policy: Any) -> tuple[float, float]:
    """Value over the start distribution and its half width: a linear solve (0), or 1,000 starts common to all runs."""
    world, discount = TASKS[task].world(), TASKS[task].discount
    if world.discrete:
        table = policy.probabilities(torch.eye(world.observation_dim)).double()
        values = (table * solve_q(world, table, discount)).sum(-1)
        return float(world.start_distribution() @ values), 0.0
    generator = torch.Generator().manual_seed(EVALUATION_SEED)
    if task.startswith("maze"):  # as in its log: three of four starts in the left arm
        states = torch.cat([world.reset(n * STARTS // 4, generator, arm=arm) for n, arm in ((3, "left"), (1, "right"))])
    else:
        states = world.reset(STARTS, generator)
    values, _ = monte_carlo_value(world, policy, states, discount, ROLLOUTS, tolerance=TOLERANCE, seed=EVALUATION_SEED)
    mean, half = t_interval(values.tolist())
    return mean, half + TOLERANCE * (world.reward_high - world.reward_low) / (1 - discount) / 2


@dataclass(frozen=True)
class Job:
    """One policy of one log: a row an estimator."""

    task: str
    algorithm: str
    cql_alpha: str
    seed: int  # the draw
    steps: int = 0  # the chosen ones of fitted Q-evaluation; 0 on a tuning draw: all of them


def measure(jobs: list[Job]) -> list[dict[str, Any]]:
    """The rows of each policy."""
    return [row for job in jobs for row in measure_policy(job)]


def measure_policy(job: Job) -> list[dict[str, Any]]:
    """Train one candidate; its truth and every estimate of it."""
    torch.set_num_threads(1)
    agent, settings = train_agent(job.task, job.seed, job.algorithm, job.cql_alpha)
    true, half = true_value(job.task, agent.policy())
    about = {
        **{name: getattr(job, name) for name in KEYS},
        "split": "report" if job.seed in REPORTED else "tune",
        "true": true,
        "true_half_width": half,
        "settings": json.dumps(settings),
    }
    estimates = reported_estimates(job, agent) if job.steps else tuning_estimates(job, agent)
    return [about | row for row in estimates]


def tuning_estimates(job: Job, agent: Any) -> Iterator[dict[str, Any]]:
    """Fitted Q-evaluation at every number of steps: a run's history tells its shorter ones."""
    for row in fit_fqe(job, agent, max(STEPS)).history.rows:
        if row["step"] in STEPS:
            yield {"estimator": f"fqe {row['step']:.0f}", "value": row["value"], "usable": 1}


def fit_fqe(job: Job, agent: Any, steps: int) -> Any:
    """Fitted Q-evaluation of the candidate."""
    how: dict[str, Any] = {**FQE, "log_every": min(STEPS), "seed": job.seed}
    return fitted_q_evaluation(agent, log(job.task, job.seed), steps, **how)


def reported_estimates(job: Job, agent: Any) -> Iterator[dict[str, Any]]:
    """A row an estimator; one that cannot judge this policy says why, its value nan."""
    data, unseen = log(job.task, job.seed), log(job.task, job.seed + HELD_OUT)
    clone = train_agent(job.task, job.seed, "bc", "")[0]
    logged = Estimate.of(
        data.returns_to_go(TASKS[job.task].discount)[data.episode_starts], "episodes", torch.ones(0, 1)
    )
    measures: dict[str, Callable[[], Estimate]] = {
        "fqe": lambda: fit_fqe(job, agent, job.steps).initial_value(),
        "initial-value": lambda: initial_state_value(agent, data),
        "wis": lambda: weighted_importance_sampling(agent, data, clone, seed=job.seed),
        "td-error": lambda: bellman_error(agent, unseen),
        "data-return": lambda: replace(logged, members=()),
    }
    for name, estimate in measures.items():
        began = time.perf_counter()
        try:
            found, why = estimate(), ""
            numbers = {key: getattr(found, key) for key in ("value", "low", "high", "spread", "effective_episodes")}
            why = "" if found.usable else str(found).split("NOT USABLE: ")[-1]
        except CQLTutorialError as error:
            numbers, why = dict.fromkeys(("value", "low", "high"), float("nan")), type(error).__name__
            why += ": no critics" if not hasattr(agent, "q_values") else f": {error}"
        seconds = round(time.perf_counter() - began, 2)
        row = {"estimator": name, **numbers, "usable": int(not why), "note": why, "seconds": seconds}
        fqe = {"settings": json.dumps({"steps": job.steps, **FQE})} if name == "fqe" else {}
        yield row | fqe


# ---------------------------------------------------------------- which runs
def tuning_jobs() -> Iterator[Job]:
    """Every other candidate, on the tuning draws. Nothing is tuned for sepsis, which takes what the others chose."""
    for draw in TUNING:
        for task in TASKS:
            if task not in UNTUNED:
                for algorithm, alpha in candidates(task)[::2]:
                    yield Job(task, algorithm, alpha, draw)


def reported_jobs(rows: list[Row]) -> Iterator[Job]:
    """Every candidate of each task, on the reported draws."""
    steps = chosen_steps(rows)
    for tasks in ([task for task in TASKS if task not in UNTUNED], *([task] for task in UNTUNED)):
        for draw in REPORTED:
            for task in tasks:
                for algorithm, alpha in candidates(task):
                    yield Job(task, algorithm, alpha, draw, TASKS[task].fqe_steps or steps)


def chosen_steps(rows: list[Row]) -> int:
    """Fitted Q-evaluation's steps with the smallest mean absolute error over the tuning draws of all tasks."""
    scores = tuning_scores(rows)
    return min(scores, key=lambda steps: scores[steps][1])


def tuning_scores(rows: list[Row]) -> dict[int, tuple[float, float]]:
    """Steps -> (mean Spearman correlation, mean absolute error in spreads of the true values)."""
    from scipy.stats import spearmanr

    scores = {}
    for steps in STEPS:
        ranks, errors = [], []
        for task, draw in dict.fromkeys((job.task, job.seed) for job in tuning_jobs()):
            here = (task, str(draw), f"fqe {steps}")
            mine = [row for row in rows if (row["task"], str(row["seed"]), row["estimator"]) == here]
            value, true = ([float(row[k]) for row in mine] for k in ("value", "true"))
            ranks.append(float(spearmanr(value, true)[0]))
            spread = (max(true) - min(true)) * len(true)
            errors.append(sum(abs(v - t) for v, t in zip(value, true, strict=True)) / spread)
        scores[steps] = (sum(ranks) / len(ranks), sum(errors) / len(errors))
    return scores


def order(row: Row) -> tuple[Any, ...]:
    """Tuning first, then task by task and draw by draw."""
    task, policy = row["task"], (row["algorithm"], row["cql_alpha"])
    policies = candidates(task) if task in TASKS else []
    return (row["split"] != "tune", place(task, TASKS), int(row["seed"]), place(policy, policies))


STUDY = Study(
    table="ope",
    columns=COLUMNS,
    keys=KEYS,
    jobs=tuning_jobs,
    later_jobs=(reported_jobs,),
    measure=measure,
    order=order,
    shown=("true", "value"),
)
