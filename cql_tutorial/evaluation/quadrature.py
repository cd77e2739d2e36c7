"""Integrals over actions by rules whose error is known: what estimates by sampling are held against."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import require, require_data

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


def expected_value_quadrature(
    mean: Tensor, log_std: Tensor, per_dimension: Sequence[Function], points: int = 4001
) -> Tensor:
    """The exact E[Q(a)] of a tanh-Gaussian policy, ``a_j = tanh(mean_j + exp(log_std_j) z)``, for a separable Q.

    ``sum_j integral f_j(tanh(mean_j + std_j z)) N(z; 0, 1) dz`` by the trapezoidal rule on z in ±8.5, where it is
    spectrally accurate. ``mean, log_std [..., A] -> [...]``, float64.
    """
    sizes = (mean.shape[-1], log_std.shape[-1], len(per_dimension))
    require_data(len(set(sizes)) == 1, "mean, log_std, per_dimension", f"{sizes} dimensions", "the same in all three")
    z = torch.linspace(-8.5, 8.5, points, dtype=torch.float64, device=mean.device)
    weights = torch.exp(-0.5 * z**2) * (17.0 / (points - 1)) / math.sqrt(2 * math.pi)
    actions = torch.tanh(mean.double()[..., None] + log_std.double().exp()[..., None] * z)  # [..., A, points]
    parts = [(f(actions[..., j, :]) * weights).sum(-1) for j, f in enumerate(per_dimension)]
    return torch.stack(parts).sum(0)
