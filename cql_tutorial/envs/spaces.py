"""Whether a Gymnasium environment has the observations and actions of a data set, or of an agent."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import require


def check_env(
    env: Any, observation_dim: int, action_dim: int, discrete: bool, low: Any = None, high: Any = None
) -> None:
    """Raise `ConfigError` unless the spaces of a Gymnasium environment are those of such data, or of such an agent.

    ``low`` and ``high`` are the bounds of continuous actions, a number or one a dimension; the environment's must be
    the same, or unbounded.
    """
    from gymnasium import spaces

    name = getattr(getattr(env, "spec", None), "id", None) or type(env).__name__
    seen, acted = env.observation_space, env.action_space
    mend = "choose the environment of this log"
    flat = isinstance(seen, spaces.Box) and len(seen.shape) == 1
    more = "" if flat else f", or make it flat: gymnasium.wrappers.FlattenObservation({name})"
    fits = isinstance(seen, spaces.Box) and seen.shape == (observation_dim,)
    require(fits, f"{name}: observation space", seen, f"a Box of {observation_dim} numbers", mend + more + ".")
    if discrete:
        fits = isinstance(acted, spaces.Discrete) and int(acted.n) == action_dim and int(acted.start) == 0
        require(fits, f"{name}: action space", acted, f"Discrete({action_dim})", mend + ".")
        return
    fits = isinstance(acted, spaces.Box) and acted.shape == (action_dim,)
    require(fits, f"{name}: action space", acted, f"a Box of {action_dim} numbers", mend + ".")
    for what, own, theirs in (("low", low, acted.low), ("high", high, acted.high)):
        if own is not None and np.isfinite(theirs).all():
            given = np.broadcast_to(np.asarray(own, dtype=np.float64), theirs.shape)
            same = np.allclose(given, theirs, rtol=1e-5, atol=1e-6)
            mend = (
                "read the log with its environment's bounds (action_low=, action_high=; --action-low, --action-high)."
            )
            require(same, f"{name}: action {what}", theirs.tolist(), f"{given.tolist()}, as in the log", mend)
