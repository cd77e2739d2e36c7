"""Settings that the agents of several studies share. What a study varies or tunes stands in the study."""

from __future__ import annotations

from typing import Any

from cql_tutorial import OfflineDataset

BATCH_SIZE = 64
NETWORK: dict[str, Any] = {"hidden_dim": 64, "device": "cpu"}
# A faster critic than the paper's, and tau 0.02: with fewer or smaller steps an under-trained critic looks like an
# over-estimating one.
CRITIC: dict[str, Any] = {"critic_lr": 1e-3, "tau": 0.02}
# No entropy in the backup, so that Q estimates Q^pi.
SAC: dict[str, Any] = {**CRITIC, "alpha": 0.1, "temperature_lr": 3e-3, "backup_entropy": False}
CQL: dict[str, Any] = {**SAC, "cql_n_actions": 5}
# Its temperature has the unit of the return: each study sets it.
SOFT_Q: dict[str, Any] = {**CRITIC, "n_candidates": 16, "n_acting_candidates": 32}
# Implicit Q-learning with the two settings of its paper, not tuned here: AntMaze's in the maze, locomotion's elsewhere.
IQL: dict[str, Any] = {"critic_lr": 1e-3, "value_lr": 1e-3, "actor_lr": 1e-3, "tau": 0.02}
IQL_MAZE: dict[str, Any] = {**IQL, "expectile": 0.9, "inverse_temperature": 10.0}
IQL_PENDULUM: dict[str, Any] = {**IQL, "expectile": 0.7, "inverse_temperature": 3.0}


def initial_value(data: OfflineDataset, discount: float) -> float:
    """The critics' last bias: the mean reward got for ever. Another trap: a critic that starts at 0 has far to go."""
    return float(data.rewards.mean()) / (1 - discount)
