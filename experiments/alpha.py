"""The table of alpha: logs of several qualities and coverages, several alphas, return and estimation error of each.

It tests the rule of thumb that the log's quality decides the weight of the penalty. An alpha is chosen on tuning draws
of the log and reported on others. Three logs are also learned from in another unit of reward, and each log under a
multiplier with one target for all. A row a run; logs come one after the other, so that an unfinished table holds whole
logs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import torch

from cql_tutorial import OfflineDataset, fit_population, load_agent
from cql_tutorial.datasets.recording import dataset_of, record
from cql_tutorial.envs import Arm, Maze, Pendulum
from cql_tutorial.envs.arm import arm_episodes
from cql_tutorial.envs.base import UniformPolicy, World
from cql_tutorial.evaluation import EVALUATION_SEED, estimation_report, evaluate_policy
from cql_tutorial.losses import uniform_log_density
from cql_tutorial.training.online import train_online
from cql_tutorial.training.population import Member
from experiments.logs import DATA, maze_data, pendulum_data, swinging_data
from experiments.make_datasets import ONLINE
from experiments.runner import Study, place
from experiments.settings import BATCH_SIZE, CQL, NETWORK, initial_value
from experiments.storage import Row
from experiments.training import settings_record
from experiments.wrong_penalties import InUnits

TUNING, REPORTED, COMMON = (200, 201), (20, 21, 22, 23, 24), 999  # draws; the last gives the evaluation states
ALPHAS = (0.0, 0.1, 0.5, 2.0, 5.0, 10.0, 20.0)
TARGET = -0.5  # of the CQL gap, the same for every log
STATES, STARTS, REPLAYED = 200, 300, 2250  # the last is how much of online training the replay log holds
COLUMNS = (
    "log", "variant", "cql_alpha", "unit", "split", "draw", "return", "log_return", "predicted", "true",
    "true_half_width", "estimation_error", "share_over", "share_impossible", "error_data", "error_uniform",
    "log_q_value", "log_td_loss", "log_cql_gap", "log_multiplier", "log_entropy", "clone_divergence", "diverged",
    "seconds", "settings",
)  # fmt: skip
KEYS = ("log", "variant", "cql_alpha", "unit", "draw")


@dataclass(frozen=True)
class Log:
    """A kind of log: its world, a draw of it, and how long agents learn from it."""

    world: Callable[[], World]
    data: Callable[[int], OfflineDataset]
    steps: int
    about: str
    rule: tuple[float, ...]
    """The alphas of the ladder that the rule of thumb gives for this quality; empty where it says nothing."""
    settings: dict[str, Any] = field(default_factory=dict)
    unit: float = 0.0
    """Another unit of reward to learn in: rewards are multiplied by it (0: none)."""


def expert_data(draw: int) -> OfflineDataset:
    """1,000 steps of the online expert's stochastic policy."""
    policy = load_agent(DATA / "policies" / "pendulum-expert.safetensors", "cpu").policy()
    return record(Pendulum(), policy, 1_000, seed=draw, id=f"expert, draw {draw}")


def random_data(draw: int) -> OfflineDataset:
    """10,000 steps of uniform torques."""
    return record(Pendulum(), UniformPolicy(Pendulum()), 10_000, seed=draw, id=f"random, draw {draw}")


def replay_data(draw: int) -> OfflineDataset:
    """All that an online SAC of its own saw in its first 2,250 steps, as long as the shipped replay."""
    run = train_online(Pendulum(), ONLINE, REPLAYED, seed=draw, progress=False)
    return dataset_of(Pendulum(), run.replay, id=f"replay, draw {draw}")


def arm_data(behaviour: str, draw: int) -> OfflineDataset:
    """20,000 steps of the six-joint arm."""
    flat = arm_episodes(Arm(joints=6), behaviour, 500, torch.Generator().manual_seed(draw))
    return dataset_of(Arm(joints=6), flat, id=f"arm {behaviour}, draw {draw}")


PENDULUM: dict[str, Any] = {"actor_lr": 5e-4, "discount": 0.95}
MAZE: dict[str, Any] = {"actor_lr": 1e-3, "discount": 0.95}
ARM: dict[str, Any] = {"actor_lr": 1e-3, "discount": 0.9, "tau": 0.05}
SIX_JOINTS = partial(Arm, joints=6)
LOGS = {  # in the order in which they are measured: first those of which no other table has a ladder of alphas
    "pendulum-random": Log(Pendulum, random_data, 4000, "10,000 steps of uniform torques", (10.0, 20.0), PENDULUM),
    "pendulum-expert": Log(Pendulum, expert_data, 4000, "1,000 steps of a trained policy", (2.0,), PENDULUM),
    "maze": Log(Maze, maze_data, 2000, "two scripts, each half of the path", (), MAZE, 10.0),
    "arm-mixed": Log(
        SIX_JOINTS, partial(arm_data, "mixed"), 3000, "half controller, half uniform actions", (10.0, 20.0), ARM, 10.0
    ),
    "arm-narrow": Log(SIX_JOINTS, partial(arm_data, "narrow"), 3000, "a mediocre controller", (5.0,), ARM),
    "pendulum-medium": Log(
        Pendulum, pendulum_data, 4000, "10,000 steps of a half-trained policy", (5.0,), PENDULUM, 0.1
    ),
    "pendulum-replay": Log(
        Pendulum, replay_data, 4000, "2,250 steps of online training, from its start", (10.0, 20.0), PENDULUM
    ),
    "pendulum-swinging": Log(
        Pendulum, swinging_data, 4000, "10,000 steps of a policy that never gets up", (5.0,), PENDULUM
    ),
    "arm-uniform": Log(SIX_JOINTS, partial(arm_data, "uniform"), 3000, "uniform actions", (10.0, 20.0), ARM),
}


@cache
def draw_of(name: str, draw: int) -> OfflineDataset:
    """A draw of a kind of log, kept."""
    return LOGS[name].data(draw)


# ---------------------------------------------------------------- which runs
@dataclass(frozen=True)
class Job:
    """One run: a row of the table."""

    log: str
    variant: str  # "cql", "lagrange" (starts at cql_alpha), or "bc" (cql_alpha 0)
    cql_alpha: float
    draw: int
    unit: float = 1.0


def runs_of(name: str, draws: tuple[int, ...], unit: float = 1.0) -> Iterator[Job]:
    """Every alpha on these draws."""
    yield from (Job(name, "cql", alpha, draw, unit) for draw in draws for alpha in ALPHAS)


def of_log(name: str, draws: tuple[int, ...], rows: list[Row]) -> Iterator[Job]:
    """A stage: every alpha on these draws of a log."""
    return runs_of(name, draws)


def clones(rows: list[Row]) -> Iterator[Job]:
    """Cloning on the reported draws of every log."""
    yield from (Job(name, "bc", 0.0, draw) for name in LOGS for draw in REPORTED)


def other_unit(rows: list[Row]) -> Iterator[Job]:
    """Three logs in another unit of reward."""
    for name, log in LOGS.items():
        if log.unit:
            yield from runs_of(name, REPORTED, log.unit)


def one_target(rows: list[Row]) -> Iterator[Job]:
    """Every log under a multiplier that starts at 1 and holds one target for all."""
    yield from (Job(name, "lagrange", 1.0, draw) for name in LOGS for draw in REPORTED)


def stages() -> Iterator[Callable[[list[Row]], Iterator[Job]]]:
    """Log by log the tuning draws, then the reported ones; then clones, other units, and one target for all."""
    for name in LOGS:
        for draws in (TUNING, REPORTED):
            yield partial(of_log, name, draws)
    yield clones
    yield other_unit
    yield one_target


# ---------------------------------------------------------------- some runs
def population_key(job: Job) -> tuple[Any, ...] | None:
    """Equal for jobs whose agents can be trained as one population."""
    return None if job.variant == "bc" else (job.log, job.variant, job.unit)


def scaled(data: OfflineDataset, unit: float) -> OfflineDataset:
    """The same log with every reward multiplied by ``unit``."""
    return replace(data, rewards=unit * data.rewards, id=f"{data.id}, unit {unit:g}")


def agent_settings(job: Job, data: OfflineDataset) -> dict[str, Any]:
    """The settings of a run; critics start at the mean reward of the log for ever."""
    how = LOGS[job.log].settings
    if job.variant == "bc":
        return {**NETWORK, "actor_lr": 1e-3}
    settings = {**NETWORK, **CQL, **how, "cql_alpha": job.cql_alpha}
    settings["initial_value"] = initial_value(data, settings["discount"])
    if job.variant == "lagrange":
        settings |= {"cql_lagrange": True, "cql_target_action_gap": TARGET}
    return settings


def measure(jobs: list[Job]) -> list[dict[str, Any]]:
    """Train agents of one kind and measure each on the states and starts that all runs on a kind of log share."""
    torch.set_num_threads(1)
    name, steps = jobs[0].variant.replace("lagrange", "cql"), LOGS[jobs[0].log].steps
    logs = [draw_of(job.log, job.draw) for job in jobs]
    logs = [data if job.unit == 1.0 else scaled(data, job.unit) for job, data in zip(jobs, logs, strict=True)]
    own = [agent_settings(job, data) for job, data in zip(jobs, logs, strict=True)]
    dims = {"state_dim": logs[0].observation_dim, "action_dim": logs[0].action_dim}
    bounds = {"action_low": logs[0].action_low, "action_high": logs[0].action_high}
    configs = [{**dims, **bounds, "seed": job.draw, **each} for job, each in zip(jobs, own, strict=True)]
    options: dict[str, Any] = {"batch_size": BATCH_SIZE, "log_every": steps // 10, "progress": False}
    members = fit_population(name, configs, logs, steps, **options)
    records = [settings_record(name, {"steps": steps, "batch_size": BATCH_SIZE, **each}, len(jobs)) for each in own]
    return [measure_member(*run) for run in zip(jobs, members, logs, records, strict=True)]


def measure_member(job: Job, member: Member, data: OfflineDataset, record: dict[str, Any]) -> dict[str, Any]:
    """The row of a trained agent, or of one whose loss stopped being finite."""
    history, diverged, world = member.history, member.diverged is not None, LOGS[job.log].world()
    row: dict[str, Any] = {name: getattr(job, name) for name in KEYS}
    row |= {"split": "report" if job.draw in REPORTED else "tune", "diverged": int(diverged)}
    row |= {"log_return": float(data.episode_returns().mean()) / job.unit, "seconds": round(history.seconds, 1)}
    if diverged:
        return row | {"settings": json.dumps({**record, "diverged": str(member.diverged)})}
    names = ("q_value", "td_loss", "cql_gap", "entropy")
    row |= {f"log_{k}": history.last(k) for k in names if k in history.columns}
    if "cql_alpha" in history.columns:
        row["log_multiplier"] = history.last("cql_alpha")
    agent, common = InUnits(member.agent, job.unit), draw_of(job.log, COMMON)
    row["return"] = float(evaluate_policy(world, agent.policy(deterministic=True), STARTS).mean())
    if job.variant == "bc":
        row["clone_divergence"] = clone_divergence(member.agent, common)
    else:
        report = estimation_report(agent, world, common, n_states=STATES, seed=EVALUATION_SEED)
        row |= {k: v for k, v in report.at("policy").items() if k in COLUMNS}
        row |= {f"error_{kind}": report.at(kind)["estimation_error"] for kind in ("data", "uniform")}
    return row | {"settings": json.dumps(record)}


def clone_divergence(agent: Any, unseen: OfflineDataset) -> float:
    """Mean of log pi(a|s) minus the log uniform density over a log the clone has not seen, in nats.

    KL(behaviour || uniform) minus KL(behaviour || clone): a lower estimate of the first, whose negative is the floor.
    """
    density = agent.log_prob(unseen.observations, unseen.actions)
    return float(density.mean()) - uniform_log_density(unseen.action_dim)


# ---------------------------------------------------------------- all runs
def order(row: Row) -> tuple[Any, ...]:
    """Log by log, tuning first, then the alphas; other units and the multiplier behind."""
    log = place(row["log"], LOGS), place(row["variant"], ("bc", "cql", "lagrange")), float(row["unit"])
    return (*log, row["split"] == "report", int(row["draw"]), float(row["cql_alpha"]))


FIRST, *LATER = stages()
STUDY = Study(
    table="alpha",
    columns=COLUMNS,
    keys=KEYS,
    jobs=lambda: FIRST([]),
    later_jobs=tuple(LATER),
    measure=measure,
    population_key=population_key,
    group_size=14,
    order=order,
)
