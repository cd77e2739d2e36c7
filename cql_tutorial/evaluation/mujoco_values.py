"""True values in a MuJoCo task: Q^pi by simulation from positions and velocities, which observations may not hold.

It stands beside `true_values`, whose worlds are torch functions of their states and have bounded rewards. A simulator
steps one state at a time, and its rewards have no known bound: the cut is stated here, and never added.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..envs.mujoco_env import MujocoCopies
from ..errors import check_int, require, require_data
from .true_values import _interval

COPIES = 64  # of the simulator; they step together


class SimulatedValues(NamedTuple):
    """Discounted returns up to a horizon, and what was left out; tensors are float64 ``[n]``."""

    value: Tensor
    """Mean over the rollouts of ``sum_{t < horizon} discount^t r_t``."""
    half_width: Tensor
    """Half the 95 % t-interval over the rollouts. It does not hold the cut."""
    horizon: int
    cut_weight: float
    """``discount^horizon``, the weight of the first reward that is left out."""
    cut_low: Tensor
    cut_high: Tensor
    """Between these lies what the cut left out, if no later reward is beyond those seen; 0 where all had ended."""


@torch.no_grad()
def true_q_mujoco(
    task: str,
    policy: Callable[..., Tensor],
    qpos: Any,
    qvel: Any,
    actions: Any = None,
    discount: float = 0.99,
    *,
    rollouts: int = 4,
    tolerance: float = 0.01,
    seed: int = 0,
    copies: int = COPIES,
) -> SimulatedValues:
    """Q^pi by simulation from states ``qpos [n, Q]``, ``qvel [n, V]`` and first actions ``[n, A]``; V^pi without them.

    ``Q(s, a) = E sum_t discount^t r_t``, from ``rollouts`` simulations of each pair up to the first horizon H with
    discount^H < ``tolerance``. A fall ends the sum; the time limit does not, as in `true_q`. ``policy`` maps float32
    observations and a generator to actions. States must be float64: MuJoCo computes in it. Raises `ConfigError` for a
    task or settings that cannot be used, `DataError` for shapes and values that are not the task's.
    """
    require(0.0 <= discount < 1.0, "discount", discount, "a number in [0, 1)")
    require(0.0 < tolerance < 1.0, "tolerance", tolerance, "a number in (0, 1)")
    rollouts, copies = check_int("rollouts", rollouts, 2), check_int("copies", copies, 1)
    horizon = 1 if discount < tolerance else math.floor(math.log(tolerance) / math.log(discount)) + 1
    qpos, qvel = (np.asarray(one, dtype=np.float64) for one in (qpos, qvel))
    first = None if actions is None else np.asarray(actions)
    together = MujocoCopies(task, min(copies, len(qpos) * rollouts), limit=False)
    _check(task, together, qpos, qvel, first)
    generator = torch.Generator().manual_seed(check_int("seed", seed, 0))
    pairs = np.repeat(np.arange(len(qpos)), rollouts)
    returns, running = np.zeros(len(pairs)), np.zeros(len(pairs), dtype=bool)
    low, high = 0.0, 0.0
    for begin in range(0, len(pairs), copies):
        rows = slice(begin, begin + copies)
        block = pairs[rows]
        chosen = None if first is None else first[block]
        found = _simulate(together, policy, qpos[block], qvel[block], chosen, discount, horizon, generator)
        returns[rows], running[rows] = found[:2]
        low, high = min(low, found[2]), max(high, found[3])
    value, half_width = _interval(torch.from_numpy(returns).view(-1, rollouts), torch.zeros(()))
    weight = discount**horizon
    left = torch.from_numpy(running).double().view(-1, rollouts).mean(-1) * weight / (1.0 - discount)
    return SimulatedValues(value, half_width, horizon, weight, low * left, high * left)


def _simulate(
    together: MujocoCopies,
    policy: Callable[..., Tensor],
    qpos: np.ndarray,
    qvel: np.ndarray,
    chosen: np.ndarray | None,
    discount: float,
    horizon: int,
    generator: torch.Generator,
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Discounted returns ``[k]`` of k rollouts, which of them had not ended, and the least and greatest reward."""
    observations, returns = together.set_states(qpos, qvel), np.zeros(len(qpos))
    running, factor, low, high = np.arange(len(qpos)), 1.0, math.inf, -math.inf
    for _ in range(horizon):
        if chosen is None:
            chosen = policy(torch.as_tensor(observations, dtype=torch.float32), generator).numpy()
        observations, rewards, terminated, _ = together.step(running.tolist(), chosen)
        returns[running] += factor * rewards
        low, high = min(low, float(rewards.min())), max(high, float(rewards.max()))
        running, observations, factor, chosen = running[~terminated], observations[~terminated], factor * discount, None
        if not len(running):
            break
    return returns, np.isin(np.arange(len(qpos)), running), low, high


def _check(task: str, together: MujocoCopies, qpos: np.ndarray, qvel: np.ndarray, actions: np.ndarray | None) -> None:
    position, velocity = (one.shape[1] for one in together.states([0]))
    parts = [("qpos", qpos, position), ("qvel", qvel, velocity)]
    parts += [] if actions is None else [("actions", actions, len(together.low))]
    for name, array, width in parts:
        expected = f"shape [{len(qpos)}, {width}], as in {task}"
        require_data(array.shape == (len(qpos), width), name, f"shape {list(array.shape)}", expected)
        require_data(np.isfinite(array).all(), name, "nan or inf", "finite numbers")
    if actions is not None:
        beyond = (actions < together.low - 1e-6) | (actions > together.high + 1e-6)
        found = f"{int(beyond.any(1).sum())} rows beyond the bounds"
        mend = "clip them: the simulator clips what moves the body, and not what the reward charges for."
        require_data(not beyond.any(), "actions", found, f"actions of {task}, within its bounds", mend)
