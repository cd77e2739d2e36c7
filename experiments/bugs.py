"""The tables of chapter 12: what curves, the doctor's cards and tests say of runs with one published bug each.

*bugs* holds healthy runs and runs with each bug of `course.silent_bugs`, on draws of the arm's narrow log; a row a run:
where its curves end, what its agent earns, how far its values are from the truth, and the numbers that cards ask for.
Draws of `TUNING` are the healthy runs that a curve is compared with, and those at which the thresholds of the cards
were looked at. Reported draws are others. Healthy runs of other worlds and agents stand beside, for false alarms.

*bug-tests* holds what each test of the chapter says of the right code and of each bug, on seeds of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from cql_tutorial import OfflineDataset, fit, make_agent
from cql_tutorial.course.silent_bugs import BUGS
from cql_tutorial.course.studies import ch12 as study
from cql_tutorial.envs import Arm, Maze, Pendulum, World
from cql_tutorial.evaluation import estimation_report, evaluate_policy
from cql_tutorial.evaluation.symptoms import look
from experiments.logs import maze_data, pendulum_data
from experiments.runner import Study
from experiments.settings import BATCH_SIZE, CQL, IQL_MAZE, NETWORK, SAC, initial_value

TUNING, REPORTED, COMMON = tuple(range(100, 105)), tuple(range(3)), 999  # draws of the log, each with its own seed
STATES, STARTS, TEST_SEEDS = 200, 200, 5
KEYS = ("bug", "base", "draw")
MEASURED = ("return", "predicted", "true", "true_half_width", "estimation_error", "share_impossible")
COLUMNS = (*KEYS, "split", *study.CURVES, *MEASURED, "numbers", "curves", "seconds", "settings")
TEST_KEYS = ("test", "bug")
TEST_COLUMNS = (*TEST_KEYS, "seeds", "failed", "cpu_seconds")
NONE = "none"  # the bug of a healthy run

OTHERS: dict[str, tuple[str, dict[str, Any]]] = {  # healthy runs elsewhere: agent, settings
    "arm, mixed log": ("cql", {**study.SETTINGS}),
    "pendulum": ("cql", {**NETWORK, **CQL, "discount": 0.95, "cql_alpha": 10.0, "actor_lr": 1e-3}),
    "maze": ("cql", {**NETWORK, **CQL, "discount": 0.95, "cql_alpha": 0.2, "actor_lr": 1e-3}),
    "maze, IQL": ("iql", {**NETWORK, **IQL_MAZE, "discount": 0.95}),
    "pendulum, clone": ("bc", {"hidden_dim": 64, "device": "cpu"}),
    "pendulum, offline SAC": ("sac", {**NETWORK, **SAC, "discount": 0.95, "actor_lr": 1e-3}),
}
OTHER_DRAWS = (0,)


@dataclass(frozen=True)
class Job:
    """One run."""

    bug: str
    base: str
    draw: int
    steps: int = study.STEPS

    @property
    def split(self) -> str:
        """Whether the row is reported."""
        return "tune" if self.draw in TUNING else "report"


def jobs() -> Iterator[Job]:
    """Draw by draw, so that a table that is not finished holds whole comparisons."""
    for draw in (*TUNING, *REPORTED):
        for base in study.BASES:
            yield Job(NONE, base, draw)
        if draw in REPORTED:
            for name, bug in BUGS.items():
                yield Job(name, bug.base, draw)
        if draw in OTHER_DRAWS:
            for base in OTHERS:
                yield Job(NONE, base, draw)


@lru_cache(1)
def common_states() -> OfflineDataset:
    """The states in which every run on the arm's narrow log is judged."""
    return study.arm_log(COMMON)


def elsewhere(job: Job) -> tuple[study.Trained, World]:
    """A healthy run in another world, or of another agent."""
    name, settings = OTHERS[job.base]
    where = job.base.split(",")[0]
    world: World = {"arm": Arm(joints=6), "pendulum": Pendulum(), "maze": Maze()}[where]
    log = {"arm": lambda d: study.arm_log(d, "mixed"), "pendulum": pendulum_data, "maze": maze_data}[where](job.draw)
    config = {**settings, "state_dim": log.observation_dim, "action_dim": log.action_dim, "seed": job.draw}
    if where == "pendulum":
        config |= {"action_low": log.action_low, "action_high": log.action_high}
    if name != "bc":
        config["initial_value"] = initial_value(log, config["discount"])
    agent = make_agent(name, config)
    how: dict[str, Any] = {"batch_size": BATCH_SIZE, "seed": job.draw, "log_every": study.LOG_EVERY, "progress": False}
    history = fit(agent, log, job.steps, fast=name in ("cql", "sac"), **how)
    return study.Trained(agent, history, log), world


def population_key(job: Job) -> tuple[Any, ...]:
    """Equal for runs whose agents are of one class and can be updated together."""
    if job.base in OTHERS:
        return (job.base, job.draw)
    bug = BUGS.get(job.bug)
    own = bug is not None and bug.agent is not None
    return (job.bug if own else NONE, job.base, job.steps)


def measure(group: list[Job]) -> list[dict[str, Any]]:
    """A row for each run of a group."""
    torch.set_num_threads(1)
    began = time.process_time()
    if group[0].base in OTHERS:
        found, world = elsewhere(group[0])
        trained, states = [found], found.log
    else:
        world, states = Arm(joints=6), common_states()
        runs = [(job.base, BUGS.get(job.bug), study.arm_log(job.draw), job.draw) for job in group]
        trained = study.train_together(runs, group[0].steps)
    seconds = round((time.process_time() - began) / len(group), 1)
    return [row_of(job, each, world, states, seconds) for job, each in zip(group, trained, strict=True)]


def row_of(job: Job, trained: study.Trained, world: World, states: OfflineDataset, seconds: float) -> dict[str, Any]:
    """What is measured of one trained run."""
    agent, history, log = trained
    row: dict[str, Any] = {"bug": job.bug, "base": job.base, "draw": job.draw, "split": job.split}
    row |= study.curve_ends(history.rows)
    row["return"] = float(evaluate_policy(world, agent.policy(deterministic=True), STARTS).mean())
    if hasattr(agent, "q_values"):
        found = estimation_report(agent, world, states, n_states=STATES, seed=COMMON).at("policy")
        row |= {name: found[name] for name in MEASURED if name in found}
    numbers = look(agent, log, history.rows)
    row["numbers"] = json.dumps({name: float(f"{value:.4g}") for name, value in numbers.items()})
    curves = {name: [float(f"{r[name]:.4g}") for r in history.rows] for name in study.CURVES if name in history.columns}
    row["curves"] = json.dumps({"step": [int(r["step"]) for r in history.rows], **curves})
    row["settings"] = json.dumps({"steps": job.steps, "batch_size": study.BATCH_SIZE, **agent.config.to_dict()})
    return row | {"seconds": seconds}


STUDY = Study(table="bugs", columns=COLUMNS, keys=KEYS, jobs=jobs, measure=measure, population_key=population_key)


# ---------------------------------------------------------------- what the tests say
@dataclass(frozen=True)
class TestJob:
    """A test, put to the right code or to a bug."""

    test: str
    bug: str
    seeds: int = TEST_SEEDS


def test_jobs() -> Iterator[TestJob]:
    """Every test on the right code and on every bug."""
    for test in study.TESTS:
        for bug in (NONE, *BUGS):
            yield TestJob(test, bug)


def measure_test(group: list[TestJob]) -> list[dict[str, Any]]:
    """How many of its seeds a test fails at."""
    (job,) = group
    torch.set_num_threads(1)
    began, bug = time.process_time(), BUGS.get(job.bug)
    failed = sum(not study.TESTS[job.test](bug, 1000 + seed) for seed in range(job.seeds))
    seconds = round((time.process_time() - began) / job.seeds, 3)
    return [{"test": job.test, "bug": job.bug, "seeds": job.seeds, "failed": failed, "cpu_seconds": seconds}]


TEST_STUDY = Study(
    table="bug-tests",
    columns=TEST_COLUMNS,
    keys=TEST_KEYS,
    jobs=test_jobs,
    measure=measure_test,
    shown=("failed",),
)
