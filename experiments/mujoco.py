"""The table `mujoco`: CQL beside cloning, IQL and SAC on three of D4RL's tasks, on logs made by this repository.

The tasks are those of a table that is often quoted; two behaviour policies each (draws), three training seeds. Nothing
is tuned: settings were fixed on a medium log of HalfCheetah with one seed. At discount 0.99 Q still moves after 30,000
updates, so that predicted values stand beside true ones in a second setting, at discount 0.95, where it has settled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from cql_tutorial import OfflineDataset
from cql_tutorial.errors import DatasetNotFoundError
from cql_tutorial.evaluation import EVALUATION_SEED, benchmark, evaluate_env
from cql_tutorial.evaluation.benchmark_presets import find_task, own_data, preset_setting
from cql_tutorial.evaluation.mujoco_values import true_q_mujoco
from cql_tutorial.losses import normalised_target
from cql_tutorial.training.population import BLOCK
from experiments import mujoco_data
from experiments.mujoco_training import CACHE
from experiments.runner import Study

TASKS = ("halfcheetah-medium", "hopper-medium-expert", "walker2d-medium-replay")
ALGORITHMS = ("bc", "10%bc", "iql", "sac", "cql")
DRAWS, SEEDS = (0, 1), (0, 1, 2)
STEPS, LONG_STEPS, LONG_EVERY = 30_000, 100_000, 10_000
SETTLED: dict[str, Any] = {"discount": 0.95, "tau": 0.02}
ROLLOUTS = 4
VARIED = "hopper-medium-expert"  # the task of the variants: the one with the fewest dimensions
VARIANTS: dict[str, dict[str, Any]] = {  # algorithm -> what differs from cql there
    "cql-alpha-1": {"cql_alpha": 1.0},
    "cql-alpha-20": {"cql_alpha": 20.0},
    # The official code's threshold 5, at its ten candidates of each proposal, on the form that is 0 for a flat Q.
    "cql-lagrange": {"cql_lagrange": True, "cql_target_action_gap": round(normalised_target(5.0, 3, 30), 3)},
    "cql-redq": {"n_critics": 10, "target_subset": 2, "subset_replacement": False, "actor_reduction": "mean"},
    "cql-layer-norm": {"layer_norm": True},
}
COLUMNS = (
    "task", "algorithm", "discount", "split", "draw", "seed", "steps", "step", "return", "score", "log_score",
    "predicted", "true", "true_half_width", "cut_low", "cut_high", "estimation_error", "q_value", "q_drift", "seconds",
    "fingerprint", "settings",
)  # fmt: skip
KEYS = ("task", "algorithm", "discount", "draw", "seed", "steps")


@dataclass(frozen=True)
class Job:
    """One run: a row of the table, and where it is long one row each 10,000 updates."""

    task: str
    algorithm: str
    discount: float
    draw: int
    seed: int
    steps: int = STEPS

    @property
    def settled(self) -> bool:
        """Whether it is of the setting in which predicted values stand beside true ones."""
        return self.discount == SETTLED["discount"]


def jobs() -> Iterator[Job]:
    """Every run: the table first, then the long ones, the variants, and the second setting."""
    for task in TASKS:
        for algorithm in ALGORITHMS:
            yield from (Job(task, algorithm, 0.99, draw, seed) for draw in DRAWS for seed in SEEDS)
    for task in TASKS:
        yield Job(task, "cql", 0.99, DRAWS[0], SEEDS[0], LONG_STEPS)
    for algorithm in VARIANTS:
        yield from (Job(VARIED, algorithm, 0.99, DRAWS[0], seed) for seed in SEEDS)
    for task in TASKS:
        for algorithm in ("iql", "sac", "cql"):
            yield from (Job(task, algorithm, SETTLED["discount"], draw, seed) for draw in DRAWS for seed in SEEDS)


def run_of(job: Job) -> benchmark.Run:
    """The run as the benchmark command makes it, with the preset of this package."""
    task = find_task("mujoco", job.task)
    setting = preset_setting("ours", task, "cql" if job.algorithm in VARIANTS else job.algorithm)
    more = {**VARIANTS.get(job.algorithm, {}), **(SETTLED if job.settled and setting.agent != "bc" else {})}
    setting = replace(setting, steps=job.steps, settings={**setting.settings, **more})
    name, _, quality = job.task.partition("-")
    source = own_data(name, quality)[job.draw]
    label = f"table-{job.discount:g}-{job.steps}"
    return benchmark.Run(label, task, source, log_of(source).fingerprint(), job.algorithm, job.seed, setting)


def log_of(source: str) -> OfflineDataset:
    """A log by its id, made of its policy first if it is not there."""
    try:
        return benchmark.load(source)
    except DatasetNotFoundError:
        if not mujoco_data.make(only=(source,), processes=1):
            raise
        return benchmark.load(source)


def measure(jobs: list[Job]) -> list[dict[str, Any]]:
    """Train the runs of one algorithm on one task together, evaluate them, and in the second setting compare Q."""
    torch.set_num_threads(1)
    runs = [run_of(job) for job in jobs]
    environment, episodes = runs[0].task.environment, runs[0].setting.episodes
    env = benchmark.make_environment(runs[0].task)

    def evaluate(agent: Any) -> dict[str, float]:
        value = float(evaluate_env(env, agent, episodes, EVALUATION_SEED).mean())
        return {"return": value, "score": environment.score(value)}

    every = LONG_EVERY if jobs[0].steps > STEPS else jobs[0].steps
    members = benchmark.train(runs, CACHE / "runs", "cpu", evaluate, every)
    rows: list[dict[str, Any]] = []
    for job, run, member in zip(jobs, runs, members, strict=True):
        log = benchmark.load(run.data)
        record = {
            **{name: getattr(job, name) for name in KEYS},
            "split": "report",
            "log_score": environment.score(float(log.episode_returns().double().mean())),
            "seconds": round(member.history.seconds, 1),
            "fingerprint": run.fingerprint,
            "settings": json.dumps(
                {**run.setting.settings, "batch_size": run.setting.batch_size, "trained_with": len(jobs) - 1}
            ),
        }
        measured = [row for row in member.history.rows if "return" in row]
        if not measured:  # diverged
            rows.append(record)
        for row in measured:
            step = int(row["step"])
            numbers = {"step": step, "return": row["return"], "score": row["score"]}
            rows.append(record | numbers | q_on_data(member.history, step))
        if job.settled and measured:
            rows[-1] |= compare(member.agent, run.data, job.discount)
    env.close()
    return rows


def q_on_data(history: Any, step: int) -> dict[str, float]:
    """Mean Q of the logged actions at ``step``, and by how much it has moved in the last fifth of the way there."""
    if "q_value" not in history.columns:
        return {}
    values = {number: value for number, value in zip(*history.series("q_value"), strict=True) if number <= step}
    before = max((number for number in values if number <= 0.8 * step), default=None)
    if before is None:
        return {"q_value": values[max(values)]} if values else {}
    return {"q_value": values[max(values)], "q_drift": values[max(values)] - values[before]}


@torch.no_grad()
def compare(agent: Any, data: str, discount: float) -> dict[str, float]:
    """Min Q and Q^pi of the stochastic policy at its own actions, means over states common to all runs on a log."""
    states = mujoco_data.evaluation_states(data)
    observations, policy = torch.as_tensor(states["observations"]), agent.policy()
    actions = policy(observations, torch.Generator().manual_seed(EVALUATION_SEED))
    predicted = agent.q_values(observations, actions).amin(0).double()
    found = true_q_mujoco(
        data.partition("/")[2].partition("-")[0],
        policy,
        states["qpos"],
        states["qvel"],
        actions.numpy(),
        discount,
        rollouts=ROLLOUTS,
        seed=EVALUATION_SEED,
    )
    # The rollouts of a state are independent of those of another: the mean's half width adds in quadrature.
    half = float(found.half_width.square().sum().sqrt()) / len(found.value)
    return {
        "predicted": float(predicted.mean()),
        "true": float(found.value.mean()),
        "true_half_width": half,
        "cut_low": float(found.cut_low.mean()),
        "cut_high": float(found.cut_high.mean()),
        "estimation_error": float((predicted - found.value).mean()),
    }


def population_key(job: Job) -> Any:
    """Runs that are trained as one: draws and seeds of one algorithm on one task; other agents one by one."""
    stacked = job.algorithm in ("sac", "cql", "cql-lagrange", "cql-redq")
    return (job.task, job.algorithm, job.discount, job.steps) if stacked else None


STUDY = Study(
    table="mujoco",
    columns=COLUMNS,
    keys=KEYS,
    jobs=jobs,
    measure=measure,
    population_key=population_key,
    group_size=min(BLOCK, len(DRAWS) * len(SEEDS)),
    shown=("score", "log_score", "estimation_error", "q_drift"),
)
