"""The table `mujoco-episodes`: what policies of the online trainings earn on fresh start states, episode by episode.

Selection evaluates a checkpoint on five episodes; here each checkpoint of the first draw of Hopper plays thirty others.
The shipped policies play a hundred, stochastic and deterministic. Only the shipped policies are in git: on another
machine the checkpoints are those of a training made there again (`python -m experiments mujoco_data`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from cql_tutorial import load_agent
from cql_tutorial.agents.agent import subnormals_as_zero
from cql_tutorial.datasets.mujoco_recording import play_episodes
from cql_tutorial.envs.mujoco_env import MujocoCopies
from cql_tutorial.errors import require_data
from cql_tutorial.evaluation import EVALUATION_SEED
from cql_tutorial.evaluation.reference_scores import d4rl_score
from experiments import mujoco_training as training
from experiments.mujoco_data import draws, policy_path
from experiments.runner import Study
from experiments.storage import read_rows

COPIES = 10
FRESH = EVALUATION_SEED + 10_000  # seeds of start states: none that a selection has seen
CHECKPOINTS = ("hopper", 0)  # the task and draw whose checkpoints are all evaluated again
FEW, MANY = 30, 100  # episodes of a checkpoint, and of a shipped policy
COLUMNS = ("task", "draw", "step", "policy", "mode", "episode", "return", "score", "length")


@dataclass(frozen=True)
class Policy:
    """A checkpoint of a training; ``policy`` is *medium* or *best* for a shipped one, else *checkpoint*."""

    task: str
    draw: int
    step: int
    policy: str
    mode: str


def jobs() -> Iterator[Policy]:
    """Every checkpoint of one training, then the shipped policies of every task."""
    rows = read_rows(training.STUDY.table)
    chosen = draws(rows)
    task, draw = CHECKPOINTS
    for row in rows:
        if row["task"] == task and int(row["seed"]) == chosen[task, draw]["seed"]:
            yield Policy(task, draw, int(row["step"]), "checkpoint", "stochastic")
    for (task, draw), steps in chosen.items():
        for name in ("medium", "best"):
            if policy_path(task, name, draw).is_file():
                yield from (Policy(task, draw, steps[name], name, mode) for mode in ("stochastic", "deterministic"))


@subnormals_as_zero()
def measure(jobs: list[Policy]) -> list[dict[str, Any]]:
    """The episodes of one policy, each a row; start states are common to all policies of a task."""
    (job,) = jobs
    torch.set_num_threads(1)
    path = policy_path(job.task, job.policy, job.draw)
    episodes = MANY
    if job.policy == "checkpoint":
        seed = draws(read_rows(training.STUDY.table))[job.task, job.draw]["seed"]
        path, episodes = training.work_folder(job.task, seed) / f"{job.step}.safetensors", FEW
        mend = "python -m experiments mujoco_data trains again; checkpoints are not in git."
        require_data(path.is_file(), path.name, "no such checkpoint here", "one of the training", mend)
    policy = load_agent(path, "cpu").policy(deterministic=job.mode == "deterministic")
    copies, generator = MujocoCopies(job.task, COPIES), torch.Generator().manual_seed(EVALUATION_SEED + 1)
    rows: list[dict[str, Any]] = []
    for first in range(0, episodes, COPIES):
        seeds = [FRESH + number for number in range(first, first + COPIES)]
        for seed, one in zip(seeds, play_episodes(copies, policy, seeds, generator), strict=True):
            value = float(one["rewards"].sum())
            found = {"return": value, "score": d4rl_score(job.task, value), "length": len(one["rewards"])}
            rows.append({**{name: getattr(job, name) for name in KEYS}, "episode": seed - FRESH, **found})
    return rows


KEYS = ("task", "draw", "step", "policy", "mode")
STUDY = Study(
    table="mujoco-episodes", columns=COLUMNS, keys=KEYS, jobs=jobs, measure=measure, shown=("return", "length")
)
