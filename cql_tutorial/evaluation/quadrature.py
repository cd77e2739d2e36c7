"""Integrals over actions by rules whose error is known: what estimates by sampling are held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import require

Function = Callable[[Tensor], Tensor]


def log_partition_quadrature(
    q: Function | Sequence[Function], action_dim: int = 1, points: int | None = None
) -> Tensor:
    """log of the integral of exp Q over [-1, 1]^A by Simpson's rule in float64 (a 0-d tensor).

    ``q`` is a list of A functions of one variable whose sum is Q (any A: the integral factorises), or one function
    ``[m, A] -> [m]`` with ``action_dim`` 1 or 2 (``ConfigError`` beyond). ``points`` a dimension: 4,001; 801 if A = 2.
    """
    require(action_dim in (1, 2), "action_dim", action_dim, "1 or 2, or a list of 1-D parts (bandit.per_dimension)")
    points = points or (4001 if action_dim == 1 else 801)
    require(points >= 3 and points % 2 == 1, "points", points, "an odd number >= 3 (Simpson's rule)")
    x, weights = torch.linspace(-1, 1, points, dtype=torch.float64), torch.full((points,), 2.0, dtype=torch.float64)
    weights[1::2], weights[0], weights[-1] = 4.0, 1.0, 1.0
    weights = weights * 2.0 / (points - 1) / 3
    if not callable(q):
        return sum((torch.logsumexp(f(x) + weights.log(), 0) for f in q), torch.zeros((), dtype=torch.float64))
    grid = torch.cartesian_prod(*[x] * action_dim).view(-1, action_dim)
    log_weights = torch.cartesian_prod(*[weights.log()] * action_dim).view(-1, action_dim).sum(-1)
    return torch.logsumexp(q(grid) + log_weights, 0)
