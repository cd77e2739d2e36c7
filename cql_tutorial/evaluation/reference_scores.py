"""D4RL's reference returns: what its normalised scores are measured against."""

from __future__ import annotations

from ..errors import ConfigError
from .rollouts import normalised_score

# (random policy, expert), the same for every version of D4RL's data sets: `d4rl/infos.py` of Farama-Foundation/D4RL.
# They were measured in the -v2 environments. The -v5 ones have other physics and other rewards in places, so that a
# score there is a unit and not a comparison.
REFERENCE_RETURNS: dict[str, tuple[float, float]] = {
    "halfcheetah": (-280.178953, 12135.0),
    "hopper": (-20.272305, 3234.3),
    "walker2d": (1.629008, 4592.3),
}


def d4rl_score(task: str, value: float) -> float:
    """The return as D4RL's normalised score: 0 is its random policy, 100 its expert.

    ``task`` is a name such as ``"hopper"``, ``"hopper-medium-v2"`` or ``"Hopper-v5"``; `ConfigError` for another.
    """
    name = task.lower().split("-")[0]
    if name not in REFERENCE_RETURNS:
        known = ", ".join(REFERENCE_RETURNS)
        raise ConfigError("task", repr(task), f"one of {known}", "D4RL has no reference return for it here.")
    return normalised_score(value, *REFERENCE_RETURNS[name])
