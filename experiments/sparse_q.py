"""The table of mixed logs: sparse-q and eql beside IQL and cloning where a share of the episodes is noise.

A log has 100 episodes of the maze: a script that walks from the left arm to the goal, and for a share of them uniformly
random actions. Each method's own setting is the one with the largest mean return over the tuning draws of all shares,
as a log does not say its share of noise. Every method is trained on the same logs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from cql_tutorial import OfflineDataset
from cql_tutorial.course.studies.ch11_soft import mixed_maze_log
from cql_tutorial.envs import Maze
from cql_tutorial.evaluation import EVALUATION_SEED, estimation_report, evaluate_policy
from cql_tutorial.losses import advantage_weights
from experiments.headline import DISCOUNT
from experiments.runner import Study
from experiments.settings import BATCH_SIZE, IQL, NETWORK, initial_value
from experiments.stacked import fit_together
from experiments.storage import Row

TUNING, REPORTED, COMMON = (3000, 3001), (4000, 4001, 4002, 4003, 4004), 999  # the last gives the evaluation states
NOISE = (0.0, 0.5, 0.75, 0.9)  # share of the episodes that are random
EPISODES, STEPS, STARTS, STATES = 100, 1500, 300, 200
METHODS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {  # name -> agent, settings tried by the name of each
    "bc": ("bc", {"": {}}),
    "iql": (
        "iql",
        {
            f"{expectile:g}, {beta:g}": {"expectile": expectile, "inverse_temperature": beta}
            for expectile, beta in ((0.7, 3.0), (0.9, 3.0), (0.9, 10.0), (0.97, 10.0))
        },
    ),
    **{
        name: (agent, {f"{alpha:g}": {"regularisation": alpha, "weight": weight} for alpha in (0.03, 0.1, 0.3, 1.0)})
        for name, agent, weight in (
            ("sparse-q", "sparse-q", "derivation"),
            ("sparse-q-code", "sparse-q", "code"),
            ("eql", "eql", "derivation"),
        )
    },
}
ABOUT = {
    "bc": "control: cloning, every row has the same weight",
    "iql": "implicit Q-learning; its setting is expectile and inverse temperature",
    "sparse-q": "weight max(1 + (Q - V) / (2 alpha), 0), from the derivation; its setting is alpha",
    "sparse-q-code": "weight max(Q - V, 0), as the authors' program has it",
    "eql": "weight exp((Q - V) / alpha)",
}
COLUMNS = (
    "task", "algorithm", "setting", "noise", "draw", "split", "return", "success", "predicted", "true",
    "true_half_width", "estimation_error", "share_zero", "zero_good", "zero_noise", "weight_on_good",
    "effective_share", "log_return", "seconds", "settings",
)  # fmt: skip
KEYS = COLUMNS[1:5]


@dataclass(frozen=True)
class Job:
    """One run: a row of the table."""

    algorithm: str
    setting: str
    noise: float
    draw: int


# ---------------------------------------------------------------- which runs
def tuning_jobs() -> Iterator[Job]:
    """Every setting of every method that has some, on every share of noise."""
    for name, (_, settings) in METHODS.items():
        for setting in settings if len(settings) > 1 else ():
            for noise in NOISE:
                yield from (Job(name, setting, noise, draw) for draw in TUNING)


def own_setting(rows: list[Row], algorithm: str) -> str:
    """The setting with the largest mean return over the tuning draws of all shares of noise; the first of a tie."""
    settings = list(METHODS[algorithm][1])
    if len(settings) == 1:
        return settings[0]
    means = {setting: mean(tuning_returns(rows, algorithm, setting)) for setting in settings}
    return max(settings, key=lambda setting: means[setting])


def tuning_returns(rows: list[Row], algorithm: str, setting: str, noise: float | None = None) -> list[float]:
    """The returns of a setting on the tuning draws, of all shares of noise or of one."""
    some = [row for row in rows if (row["algorithm"], row["setting"], row["split"]) == (algorithm, setting, "tune")]
    return [float(row["return"]) for row in some if noise in (None, float(row["noise"]))]


def reported_jobs(rows: list[Row]) -> Iterator[Job]:
    """Every method at its own setting, on the reported draws."""
    for name in METHODS:
        setting = own_setting(rows, name)
        for noise in NOISE:
            yield from (Job(name, setting, noise, draw) for draw in REPORTED)


# ---------------------------------------------------------------- the log
@cache
def mixed_log(noise: float, draw: int) -> tuple[OfflineDataset, Tensor]:
    """100 episodes from the left arm, and which rows are the script's: its episodes come first, then random ones."""
    data = mixed_maze_log(noise, EPISODES, seed=draw)
    return data, torch.arange(len(data)) < (EPISODES - round(noise * EPISODES)) * Maze().horizon


# ---------------------------------------------------------------- some runs
def agent_settings(job: Job, data: OfflineDataset) -> tuple[str, dict[str, Any]]:
    """The agent's name and settings for a job."""
    name, settings = METHODS[job.algorithm]
    if name == "bc":
        return name, {**NETWORK, "actor_lr": IQL["actor_lr"]}
    return name, {
        **NETWORK,
        **IQL,
        "discount": DISCOUNT,
        "initial_value": initial_value(data, DISCOUNT),
        **settings[job.setting],
    }


def measure(jobs: list[Job]) -> list[dict[str, Any]]:
    """Train the runs of one method and setting together and measure each on states that all runs share."""
    torch.set_num_threads(1)
    logs = [mixed_log(job.noise, job.draw) for job in jobs]
    named = [agent_settings(job, data) for job, (data, _) in zip(jobs, logs, strict=True)]
    began = time.perf_counter()
    configs = [
        {**each, "state_dim": 2, "action_dim": 2, "seed": job.draw} for job, (_, each) in zip(jobs, named, strict=True)
    ]
    agents = fit_together(named[0][0], configs, [data for data, _ in logs], STEPS, BATCH_SIZE)
    seconds = round((time.perf_counter() - began) / len(jobs), 2)
    rows = []
    for job, agent, (data, good), (_, each) in zip(jobs, agents, logs, named, strict=True):
        record = {"steps": STEPS, "batch_size": BATCH_SIZE, **each, "trained_with": len(jobs) - 1}
        row: dict[str, Any] = {"task": "maze", **{name: getattr(job, name) for name in KEYS}}
        row["split"] = "tune" if job.draw in TUNING else "report"
        row |= {"log_return": float(data.episode_returns().mean()), "seconds": seconds, "settings": json.dumps(record)}
        rows.append(row | measure_agent(agent, job) | measure_weights(agent, data, good))
    return rows


def measure_agent(agent: Any, job: Job) -> dict[str, float]:
    """Return from the common starts; on reported draws also prediction and truth at the policy's own actions."""
    world = Maze()
    returns = evaluate_policy(world, agent.policy(deterministic=True), STARTS)
    row = {"return": float(returns.mean()), "success": float((returns > 0).double().mean())}
    if hasattr(agent, "q_values") and job.draw not in TUNING:
        common, _ = mixed_log(0.5, COMMON)
        report = estimation_report(agent, world, common, n_states=STATES, seed=EVALUATION_SEED).at("policy")
        row |= {name: report[name] for name in ("predicted", "true", "true_half_width", "estimation_error")}
    return row


def measure_weights(agent: Any, data: OfflineDataset, good: Tensor) -> dict[str, float]:
    """What the trained agent's policy learns from, over its whole log.

    ``share_zero`` of the rows have weight exactly 0, ``zero_good`` of the script's and ``zero_noise`` of the random
    ones; ``weight_on_good`` of the whole weight is on the script's rows, and ``effective_share`` is
    ``(sum w)^2 / (n sum w^2)``.
    """
    weights = row_weights(agent, data).double()
    zero, total = (weights == 0).double(), weights.sum()
    row = {"share_zero": float(zero.mean()), "zero_good": float(zero[good].mean())}
    row["effective_share"] = float(total**2 / (len(weights) * weights.square().sum()))
    if not bool(good.all()):
        row["zero_noise"] = float(zero[~good].mean())
    return row | {"weight_on_good": float(weights[good].sum() / total)}


@torch.no_grad()
def row_weights(agent: Any, data: OfflineDataset) -> Tensor:
    """The weight of each logged row in the policy's loss, ``[N]``, from the target critics as in the update."""
    if agent.name == "bc":
        return torch.ones(len(data))
    config, s, a = agent.config, agent.as_observations(data.observations), agent.as_actions(data.actions)
    advantage = agent.q_of(agent.target_critic, s, a).amin(0) - agent.value(s)
    if agent.name == "iql":
        return advantage_weights(advantage, config.inverse_temperature, config.advantage_cap)
    found: Tensor = agent.weights(advantage, config.regularisation, config.weight, config.weight_cap)
    return found


STUDY = Study(
    table="sparse-mixed",
    columns=COLUMNS,
    keys=KEYS,
    jobs=tuning_jobs,
    later_jobs=(reported_jobs,),
    measure=measure,
    population_key=lambda job: (job.algorithm, job.setting),
    group_size=len(NOISE) * len(REPORTED),
    shown=("return", "estimation_error", "share_zero"),
)
