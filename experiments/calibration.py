"""The tables of calibration: where Cal-QL's bound acts, what online learning makes of it, and what mistakes do to it.

*calibration* follows agents from the log into the maze: an agent is trained on a draw of the log, and each of its
copies goes on in another way. The log is narrow, of one script that goes all the way. In the setting *wide* the policy
is held wider than the logged actions, and CQL's values sink far below what the log earned; in *narrow*, the control,
only the target entropy differs, and they do not. Both settings were taken from trials with other code and looked at on
tuning draws, where the target entropy runs over a ladder; nothing is chosen from the reported draws.

*calibration-versions* is the setting *wide* offline: Cal-QL with the mistakes of `course.wrong_calibrations`, one each.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cql_tutorial import OfflineDataset, fit, fit_population, make_agent
from cql_tutorial.course.studies.ch11 import narrow_log
from cql_tutorial.course.wrong_calibrations import VERSIONS
from cql_tutorial.envs import Maze
from cql_tutorial.evaluation import evaluate_policy, true_q
from cql_tutorial.training.online import fine_tune
from experiments.runner import Study
from experiments.settings import BATCH_SIZE, NETWORK, SAC, initial_value
from experiments.training import settings_record

TUNING, REPORTED, CONTROL, COMMON = (100, 101), tuple(range(10)), tuple(range(5)), 999  # draws; the last: states
SETTINGS_OF = {"wide": -0.8, "narrow": -2.0}  # name -> target entropy in nats; the log's own is -1.77
LADDER = (-2.0, -1.6, -1.2, -0.8, -0.4)  # target entropies looked at on tuning draws
EPISODES, DISCOUNT = 60, 0.95
OFFLINE, ONLINE, EVERY, TRUTH_EVERY = 3000, 1200, 60, 240  # updates; steps, between two rows, between two true values
VERSION_UPDATES, VERSION_DRAWS = 1200, tuple(range(5))
STATES, STARTS, ROLLOUTS = 200, 100, 4
SETTINGS: dict[str, Any] = {
    **NETWORK, **SAC, "state_dim": 2, "action_dim": 2, "actor_lr": 5e-4, "discount": DISCOUNT, "cql_alpha": 1.0,
    "cql_n_actions": 3,
}  # fmt: skip
MEASURED = (
    "return", "worst_start", "predicted", "predicted_uniform", "returns_to_go", "bound_rate", "true",
    "true_half_width", "entropy",
)  # fmt: skip
KEYS = ("setting", "target_entropy", "algorithm", "arm", "draw")
COLUMNS = (*KEYS, "split", "step", "episode_return", *MEASURED, "log_return", "settings")
VERSION_KEYS = ("version", "draw")
VERSION_COLUMNS = (*VERSION_KEYS, "split", *MEASURED, "log_bound_rate", "log_return", "settings")


class Arm(NamedTuple):
    """A way to go on online: what `fine_tune` is told, and for how many steps."""

    about: str
    options: dict[str, Any]
    steps: int = ONLINE


ARMS = {
    "offline": Arm("not at all: the trained agent alone", {}, 0),
    "kept": Arm("with the penalty; half of each batch from the log", {"mix": 0.5}),
    "dropped": Arm("without the penalty; half of each batch from the log", {"mix": 0.5, "online_alpha": 0.0}),
    "no-log": Arm("without the penalty and without the log", {"mix": 0.0, "online_alpha": 0.0}),
    "warm-up": Arm(
        "the same after 600 steps that only collect, and so 600 steps longer",
        {"mix": 0.0, "online_alpha": 0.0, "warm_up": 600},
        ONLINE + 600,
    ),
}


BOTH, WITH_LOG, WITHOUT = ("cql", "cal-ql"), ("kept", "dropped"), ("no-log", "warm-up")
PLAN = (  # setting, agents, draws, ways to go on: in the order in which they are measured
    ("wide", BOTH, REPORTED[:5], WITH_LOG),
    ("narrow", BOTH, CONTROL, WITH_LOG),
    ("wide", ("cql",), CONTROL, WITHOUT),
    ("wide", BOTH, REPORTED[5:], WITH_LOG),
)


@dataclass(frozen=True)
class Job:
    """One run: an agent trained on a draw of the log that goes on in one way; a row an evaluation."""

    setting: str
    target_entropy: float
    algorithm: str
    arm: str
    draw: int
    updates: int = field(default=OFFLINE, compare=False)
    steps: int | None = field(default=None, compare=False)  # online, if another number than the arm's

    @property
    def split(self) -> str:
        """Whether the row is reported."""
        return "tune" if self.draw in TUNING else "report"


def jobs() -> Iterator[Job]:
    """The ladder on tuning draws, then `PLAN`: a table that is not finished holds whole comparisons."""
    for entropy in LADDER:
        for draw in TUNING:
            yield Job("ladder", entropy, "cql", "offline", draw)
    for setting, algorithms, draws, arms in PLAN:
        for algorithm in algorithms:
            for draw in draws:
                for arm in arms:
                    yield Job(setting, SETTINGS_OF[setting], algorithm, arm, draw)


def population_key(job: Job) -> tuple[Any, ...]:
    """Equal for jobs that are measured together: those of one agent, and of five for CQL, which can be stacked."""
    together = job.draw // 5 if job.algorithm == "cql" else job.draw
    ladder = job.setting == "ladder"
    return (job.setting, job.algorithm, None if ladder else together, job.arm in WITHOUT)


# ---------------------------------------------------------------- logs and common states
@lru_cache(32)
def log(draw: int, steps: int | None = None) -> OfflineDataset:
    """Sixty episodes of the script that goes from the left arm up to the goal, of 60 steps unless told otherwise."""
    return narrow_log(draw, EPISODES, steps)


class States(NamedTuple):
    """Logged states that every run is judged at, and what the script went on to earn from each."""

    observations: Tensor
    returns_to_go: Tensor


@lru_cache(1)
def common_states() -> States:
    """States of a draw of its own, with discounted returns of at least 140 more steps: they need no bootstrap."""
    horizon, long = Maze().horizon, 200
    data = log(COMMON, long)
    first = torch.arange(EPISODES).repeat_interleave(horizon) * long + torch.arange(horizon).repeat(EPISODES)
    rows = first[torch.randperm(len(first), generator=torch.Generator().manual_seed(COMMON))[:STATES]]
    return States(data.observations[rows], data.returns_to_go(DISCOUNT)[rows].double())


def evaluate(agent: Any, truth: bool = True) -> dict[str, float]:
    """What the policy earns from common starts, and its values in common logged states.

    ``return`` is the deterministic policy's mean over `STARTS` starts, ``worst_start`` the smallest; ``predicted`` the
    mean of min Q at an action of the stochastic policy, ``predicted_uniform`` at a uniform one, ``bound_rate`` the
    share of states where the first is below the return-to-go, ``entropy`` the policy's. ``true`` (by request) is Q^pi
    at the same actions, with the half width of the mean's interval.
    """
    world, (observations, returns_to_go) = Maze(), common_states()
    earned = evaluate_policy(world, agent.policy(deterministic=True), STARTS)
    generator = torch.Generator().manual_seed(COMMON)
    actions, log_prob = agent.policy().sample(observations, generator)
    uniform = 2 * torch.rand(actions.shape, generator=generator) - 1
    predicted, at_uniform = (agent.q_values(observations, a).amin(0).double() for a in (actions, uniform))
    row = {
        "return": float(earned.mean()),
        "worst_start": float(earned.min()),
        "predicted": float(predicted.mean()),
        "predicted_uniform": float(at_uniform.mean()),
        "returns_to_go": float(returns_to_go.mean()),
        "bound_rate": float((predicted < returns_to_go).double().mean()),
        "entropy": -float(log_prob.double().mean()),
    }
    if truth:
        value, half = true_q(world, agent.policy(), observations, actions, DISCOUNT, rollouts=ROLLOUTS, seed=COMMON)
        row |= {"true": float(value.mean()), "true_half_width": float(half.square().mean().sqrt() / len(half) ** 0.5)}
    return row


# ---------------------------------------------------------------- offline to online
def settings_of(job: Job) -> dict[str, Any]:
    """The agent's settings for a job."""
    own = {"target_entropy": job.target_entropy, "initial_value": initial_value(log(job.draw), DISCOUNT)}
    return {**SETTINGS, **own, "seed": job.draw}


def train(jobs: list[Job]) -> list[Any]:
    """An agent for each of these jobs, which differ in draw or target entropy: CQL's are trained together."""
    logs, configs = [log(job.draw) for job in jobs], [settings_of(job) for job in jobs]
    options: dict[str, Any] = {"batch_size": BATCH_SIZE, "log_every": jobs[0].updates, "progress": False}
    if jobs[0].algorithm == "cql":
        members = fit_population("cql", configs, logs, jobs[0].updates, **options)
        return [member.agent for member in members]
    agents = [make_agent(jobs[0].algorithm, config) for config in configs]
    for job, agent, data in zip(jobs, agents, logs, strict=True):
        fit(agent, data, job.updates, seed=job.draw, **options)
    return agents


def measure(jobs: list[Job]) -> list[dict[str, Any]]:
    """Train the agents that these jobs share, then let a copy of one go on for each job."""
    torch.set_num_threads(1)
    first = {(job.target_entropy, job.draw): job for job in jobs}
    agents = dict(zip(first, train(list(first.values())), strict=True))
    return [row for job in jobs for row in follow(job, agents[job.target_entropy, job.draw], len(agents))]


def follow(job: Job, trained: Any, group_size: int) -> list[dict[str, Any]]:
    """The rows of a copy of the trained agent that goes on as the job says; the first is that of the agent itself."""
    agent, arm, data = copy.deepcopy(trained), ARMS[job.arm], log(job.draw)
    about = {name: getattr(job, name) for name in KEYS}
    about |= {"split": job.split, "log_return": float(data.episode_returns().mean())}
    record = {"updates": job.updates, "batch_size": BATCH_SIZE, **settings_of(job), **arm.options}
    settings = json.dumps(settings_record(job.algorithm, record, group_size))
    if not arm.steps:
        return [{**about, "step": 0, **evaluate(agent), "settings": settings}]
    rows: list[dict[str, Any]] = []

    def look(agent: Any) -> dict[str, float]:
        step = EVERY * len(rows)
        found = evaluate(agent, truth=step % TRUTH_EVERY == 0)
        rows.append({**about, "step": step, **found, "settings": "" if rows else settings})
        return found

    steps = arm.steps if job.steps is None else job.steps
    options = {"batch_size": BATCH_SIZE, "seed": job.draw, "log_every": EVERY, "eval_every": EVERY, **arm.options}
    history = fine_tune(agent, Maze(), data, steps, evaluate=look, progress=False, **options)
    earned = {row["step"]: row["episode_return"] for row in history.rows if "episode_return" in row}
    for row in rows:
        row["episode_return"] = earned.get(row["step"], "")
    return rows


# ---------------------------------------------------------------- wrong versions, offline
@dataclass(frozen=True)
class VersionJob:
    """One run: a version of the bound on a draw of the log."""

    version: str
    draw: int
    updates: int = field(default=VERSION_UPDATES, compare=False)


def version_jobs() -> Iterator[VersionJob]:
    """Every version on every draw."""
    return (VersionJob(version, draw) for draw in VERSION_DRAWS for version in VERSIONS)


def measure_version(jobs: list[VersionJob]) -> list[dict[str, Any]]:
    """Train the agent of one version in the setting *wide* and look at it once."""
    torch.set_num_threads(1)
    rows = []
    for job in jobs:
        data = log(job.draw)
        settings = settings_of(Job("wide", SETTINGS_OF["wide"], "cal-ql", "offline", job.draw))
        agent = make_agent("cal-ql-version", {**settings, "version": job.version})
        # The metric is a mean over the last tenth of the updates.
        each = max(1, job.updates // 10)
        history = fit(agent, data, job.updates, batch_size=BATCH_SIZE, log_every=each, seed=job.draw, progress=False)
        row: dict[str, Any] = {"version": job.version, "draw": job.draw, "split": "report", **evaluate(agent)}
        row |= {"log_bound_rate": history.last("bound_rate"), "log_return": float(data.episode_returns().mean())}
        rows.append(row | {"settings": json.dumps({"updates": job.updates, "batch_size": BATCH_SIZE, **settings})})
    return rows


STUDY = Study(
    table="calibration",
    columns=COLUMNS,
    keys=KEYS,
    jobs=jobs,
    measure=measure,
    population_key=population_key,
    shown=("return", "predicted", "bound_rate"),
)
VERSIONS_STUDY = Study(
    table="calibration-versions",
    columns=VERSION_COLUMNS,
    keys=VERSION_KEYS,
    jobs=version_jobs,
    measure=measure_version,
    shown=("return", "predicted", "bound_rate"),
)
