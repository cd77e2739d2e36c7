"""The networks: an ensemble of MLPs in one batch, a critic and a tanh-Gaussian policy. Actions are in [-1, 1]."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .losses import tanh_gaussian_log_prob

LOG_STD_RANGE = (-5.0, 2.0)
MAX_ACTION = 1.0 - 1e-6  # atanh of a logged action at the bound would be infinite


class EnsembleMLP(nn.Module):
    """E independent ReLU networks with parameters stacked along the first axis: ``[R, in]`` -> ``[E, R, out]``.

    Each weight and bias is drawn from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), torch's own default for ``nn.Linear``;
    the last bias is set to ``initial_value`` when one is given.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        ensemble: int = 1,
        initial_value: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in itertools.pairwise(sizes):
            bound = 1.0 / math.sqrt(fan_in)
            # On the CPU whatever the default device is: a seed then means the same start everywhere.
            place: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
            weight, bias = (torch.empty(ensemble, rows, fan_out, **place) for rows in (fan_in, 1))
            self.weights.append(weight.uniform_(-bound, bound, generator=generator))
            self.biases.append(bias.uniform_(-bound, bound, generator=generator))
        if initial_value is not None:
            nn.init.constant_(self.biases[-1], initial_value)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = inputs.expand(self.weights[0].shape[0], *inputs.shape)
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if layer < last:
                hidden = hidden.relu_()  # in place: fresh memory of this size costs as much as the arithmetic
        return hidden


class Critic(EnsembleMLP):
    """An ensemble of state-action values Q_j(s, a), ``j = 1..E``, in units of the return."""

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:  # type: ignore[override]
        """``[B, S]`` with ``[B, A]`` -> ``[E, B]``; with K actions a state, ``[B, K, A]`` -> ``[E, B, K]``."""
        if actions.dim() == 3:
            observations = observations[:, None].expand(-1, actions.shape[1], -1)
        rows = torch.cat([observations, actions], -1)
        return super().forward(rows.flatten(0, -2)).unflatten(1, rows.shape[:-1]).squeeze(-1)


class PolicySample(NamedTuple):
    """An action in [-1, 1], its log-density and the ``pre_tanh`` value that both came from."""

    actions: Tensor
    log_prob: Tensor
    pre_tanh: Tensor


class TanhGaussian(NamedTuple):
    """The distribution of ``tanh(mean + std * noise)`` for each state: ``mean``, ``log_std`` ``[..., A]``."""

    mean: Tensor
    log_std: Tensor

    def sample(self, noise: Tensor) -> PolicySample:
        """Reparameterised sample: ``noise [B, A]`` gives one action a state, ``[B, N, A]`` gives N."""
        pre_tanh = self.pre_tanh(noise)
        return PolicySample(torch.tanh(pre_tanh), self.log_prob(pre_tanh), pre_tanh)

    def pre_tanh(self, noise: Tensor) -> Tensor:
        """``mean + std * noise``, in the shape of the noise."""
        mean, log_std = self._like(noise)
        return mean + torch.exp(log_std) * noise

    def log_prob(self, pre_tanh: Tensor) -> Tensor:
        """Log-density at ``tanh(pre_tanh)``: ``[B, A] -> [B]`` or ``[B, N, A] -> [B, N]``, nats."""
        return tanh_gaussian_log_prob(pre_tanh, *self._like(pre_tanh))

    def _like(self, other: Tensor) -> tuple[Tensor, Tensor]:
        if other.dim() == self.mean.dim() + 1:
            return self.mean[:, None], self.log_std[:, None]
        return self.mean, self.log_std


class GaussianPolicy(EnsembleMLP):
    """A network from observations to a `TanhGaussian`; log_std is clamped to [-5, 2]."""

    def forward(self, observations: Tensor) -> TanhGaussian:  # type: ignore[override]
        """``[B, S] -> TanhGaussian`` with ``mean`` and ``log_std`` of shape ``[B, A]``."""
        mean, log_std = super().forward(observations).squeeze(0).chunk(2, -1)
        return TanhGaussian(mean, log_std.clamp(*LOG_STD_RANGE))


def pre_tanh_of(actions: Tensor) -> Tensor:
    """atanh of actions in [-1, 1], those at the bounds moved inside to 1 - 1e-6 first."""
    return torch.atanh(actions.clamp(-MAX_ACTION, MAX_ACTION))
