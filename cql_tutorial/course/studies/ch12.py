"""Experiments of chapter 12: healthy runs and runs with one published bug each, what curves and tests say of them."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ... import losses
from ...agents import AGENTS, Agent, BCAgent, CQLAgent
from ...agents.cql import MULTIPLIER_RANGE
from ...datasets.offline_dataset import OfflineDataset
from ...datasets.recording import dataset_of
from ...envs import Arm
from ...envs.arm import arm_episodes
from ...errors import CQLWarning
from ...fast.as_built import differences
from ...training.offline import History, fit
from ..silent_bugs import BUGS, Bug

STEPS, BATCH_SIZE, LOG_EVERY, DISCOUNT, EPISODES = 1000, 64, 50, 0.9, 250
SETTINGS: dict[str, Any] = {
    "hidden_dim": 64, "discount": DISCOUNT, "tau": 0.05, "critic_lr": 1e-3, "actor_lr": 1e-3, "alpha": 0.1,
    "temperature_lr": 3e-3, "cql_alpha": 1.0, "cql_n_actions": 5, "device": "cpu",
}  # fmt: skip
TARGET = -7.5  # of the CQL gap, under a multiplier: about that of alpha 1 on a tuning draw
BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "fixed": ("cql", {}),
    "lagrange": ("cql", {"cql_lagrange": True, "cql_target_action_gap": TARGET}),
    "normalised": ("cql", {"normalize_observations": True}),
    "clone": ("bc", {}),
}
CURVES = ("q_value", "td_loss", "cql_gap", "entropy", "temperature", "cql_alpha", "policy_loss")
END = 0.2  # share of a run's rows whose mean is where a curve ends


def arm_log(seed: int, behaviour: str = "narrow", episodes: int = EPISODES) -> OfflineDataset:
    """Episodes of 40 steps of the six-joint arm, none terminated; every reward is negative."""
    world = Arm(joints=6)
    return dataset_of(
        world, arm_episodes(world, behaviour, episodes, torch.Generator().manual_seed(seed)), id=behaviour
    )


class Trained(NamedTuple):
    """A run's agent as it comes back from its file, its history, and the log it read."""

    agent: Any
    history: History
    log: OfflineDataset


def settings_of(base: str, log: OfflineDataset, seed: int) -> dict[str, Any]:
    """The settings of a healthy run; critics start at the mean reward for ever."""
    name, own = BASES[base]
    found = {**SETTINGS, "initial_value": float(log.rewards.mean()) / (1 - DISCOUNT), **own}
    if name == "bc":
        found = {key: found[key] for key in ("hidden_dim", "actor_lr", "device")}
    dims = {"state_dim": log.observation_dim, "action_dim": log.action_dim}
    return {**found, **dims, "seed": seed}


def make(base: str, bug: Bug | None, log: OfflineDataset, seed: int) -> Any:
    """The untrained agent of a run."""
    kind = AGENTS[BASES[base][0]][0] if bug is None or bug.agent is None else bug.agent
    return kind(settings_of(base, log, seed))


def train(base: str, bug: Bug | None, log: OfflineDataset, seed: int, steps: int = STEPS) -> Trained:
    """Train one run: half of the updates, what a resume does, the other half, what loading the file does.

    A healthy run goes through the same two halves, where the resume changes nothing.
    """
    if bug is not None and bug.log is not None:
        log = bug.log(log)
    agent = make(base, bug, log, seed)
    rows: list[dict[str, float]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CQLWarning)  # what they say is for the student to find
        for half in (0, 1):
            if half and bug is not None and bug.resume is not None:
                bug.resume(agent)
            fast = next(differences(agent), None) is None
            options: dict[str, Any] = {"batch_size": BATCH_SIZE, "log_every": LOG_EVERY, "progress": False}
            part = fit(agent, log, steps // 2, seed=2 * seed + half, fast=fast, **options)
            rows += [{**row, "step": row["step"] + half * (steps // 2)} for row in part.rows]
    if bug is not None and bug.load is not None:
        bug.load(agent)
    return Trained(agent, History(rows), log)
