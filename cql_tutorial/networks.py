"""Networks, and the distributions that policies give: ensembles of MLPs, critics, policies. Actions are in [-1, 1]."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .losses import normal_log_prob, tanh_gaussian_log_prob
from .seeding import generator_device

LOG_STD_RANGE = (-5.0, 2.0)
ROWS_AT_ONCE = 1024  # of a network on a CPU
MAX_ACTION = 1.0 - 1e-6  # atanh of a logged action at the bound would be infinite


# ---------------------------------------------------------------- networks
class EnsembleMLP(nn.Module):
    """E independent ReLU networks with parameters stacked along the first axis: ``[R, in]`` -> ``[E, R, out]``.

    Each weight and bias is drawn from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), torch's own default for ``nn.Linear``;
    the last bias is set to ``initial_value`` when one is given. With ``layer_norm`` each hidden layer is normalised
    ahead of its ReLU (Ba et al. 2016, arXiv 1607.06450): over its units, then times a gain plus a shift, both learned.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        ensemble: int = 1,
        initial_value: float | None = None,
        generator: torch.Generator | None = None,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        # On the CPU whatever the default device is: a seed then means the same start everywhere.
        place: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
        for fan_in, fan_out in itertools.pairwise(sizes):
            bound = 1.0 / math.sqrt(fan_in)
            weight, bias = (torch.empty(ensemble, rows, fan_out, **place) for rows in (fan_in, 1))
            self.weights.append(weight.uniform_(-bound, bound, generator=generator))
            self.biases.append(bias.uniform_(-bound, bound, generator=generator))
        if initial_value is not None:
            nn.init.constant_(self.biases[-1], initial_value)
        hidden = sizes[1:-1] if layer_norm else ()
        self.gains, self.shifts = (
            nn.ParameterList(torch.full((ensemble, 1, units), start, **place) for units in hidden)
            for start in (1.0, 0.0)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """``[R, in] -> [E, R, out]``."""
        ensemble, layers = len(self.weights[0]), [*zip(self.weights, self.biases, strict=True)]
        norms = [*zip(self.gains, self.shifts, strict=True)]
        # A GPU waits for every start, and an exported graph takes any number of rows: all networks in one operation.
        if inputs.is_cuda or torch.compiler.is_exporting():
            return relu_network(inputs.expand(ensemble, *inputs.shape), layers, torch.baddbmm, norms)
        outputs = []  # a CPU wants one matrix at a time, and rows whose activations stay in its cache
        for network in range(ensemble):
            own_layers = [(weight[network], bias[network]) for weight, bias in layers]
            own_norms = [(gain[network], shift[network]) for gain, shift in norms] if norms else []
            parts = [relu_network(rows, own_layers, torch.addmm, own_norms) for rows in inputs.split(ROWS_AT_ONCE)]
            outputs.append(torch.cat(parts))
        return torch.stack(outputs)


def relu_network(
    inputs: Tensor,
    layers: Sequence[tuple[Tensor, Tensor]],
    product: Callable[..., Tensor],
    norms: Sequence[tuple[Tensor, Tensor]] = (),
) -> Tensor:
    """Layers ``relu(hidden W + b)``, the last without ReLU; ``product(b, hidden, W)`` is ``addmm`` or ``baddbmm``.

    With ``norms``, a gain and a shift for each hidden layer, ``hidden W + b`` is normalised over the layer's units.
    """
    hidden, last = inputs, len(layers) - 1
    for number, (weight, bias) in enumerate(layers):
        hidden = product(bias, hidden, weight)
        if number < last:
            if norms:
                gain, shift = norms[number]
                hidden = F.layer_norm(hidden, hidden.shape[-1:]) * gain + shift
            hidden = hidden.relu_()  # in place: fresh memory of this size costs as much as the arithmetic
    return hidden


@torch.no_grad()
def soft_update(target: nn.Module, online: nn.Module, tau: float) -> None:
    """Move a target network a step towards the online one: ``target <- (1 - tau) target + tau online``."""
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), tau)


class Critic(EnsembleMLP):
    """An ensemble of state-action values Q_j(s, a), ``j = 1..E``, in units of the return."""

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:  # type: ignore[override]
        """``[B, S]`` with ``[B, A]`` -> ``[E, B]``; with K actions a state, ``[B, K, A]`` -> ``[E, B, K]``."""
        if actions.dim() == 3:
            observations = observations[:, None].expand(-1, actions.shape[1], -1)
        rows = torch.cat([observations, actions], -1)
        return super().forward(rows.flatten(0, -2)).unflatten(1, rows.shape[:-1]).squeeze(-1)


class StateValue(EnsembleMLP):
    """A network from observations to V(s), in units of the return."""

    def forward(self, observations: Tensor) -> Tensor:
        """``[B, S] -> [B]``."""
        return super().forward(observations)[0, :, 0]


# ---------------------------------------------------------------- distributions over actions
class Distribution(Protocol):
    """What a policy network gives for each state: the action to take if one must choose, or a random one."""

    def mode(self) -> Tensor: ...
    def draw(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]: ...
    def from_noise(self, noise: Tensor) -> Tensor: ...


class PolicySample(NamedTuple):
    """An action in [-1, 1], its log-density and the ``pre_tanh`` value that both came from."""

    actions: Tensor
    log_prob: Tensor
    pre_tanh: Tensor


class TanhGaussian(NamedTuple):
    """The distribution of ``tanh(mean + std * noise)`` for each state: ``mean``, ``log_std`` ``[..., A]``."""

    mean: Tensor
    log_std: Tensor

    def mode(self) -> Tensor:
        """The squashed mean, ``[..., A]``."""
        return torch.tanh(self.mean)

    def sample(self, noise: Tensor) -> PolicySample:
        """Reparameterised sample: ``noise [B, A]`` gives one action a state, ``[B, N, A]`` gives N."""
        pre_tanh = self.pre_tanh(noise)
        return PolicySample(torch.tanh(pre_tanh), self.log_prob(pre_tanh), pre_tanh)

    def draw(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """One random action a state and its log-density on [-1, 1]^A."""
        sample = self.sample(_normal_like(self.mean, generator))
        return sample.actions, sample.log_prob

    def from_noise(self, noise: Tensor) -> Tensor:
        """The action of standard normal ``noise [B, A]``."""
        return torch.tanh(self.pre_tanh(noise))

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


class Normal(NamedTuple):
    """A diagonal Normal for each state, in the units of [-1, 1] and not squashed: mean ``[B, A]``, log_std ``[A]``."""

    mean: Tensor
    log_std: Tensor

    def mode(self) -> Tensor:
        """The mean, ``[B, A]``."""
        return self.mean

    def draw(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """One random action a state, clipped to [-1, 1], and the Normal's log-density at it.

        At a bound this is not the (larger) probability that clipping puts there.
        """
        actions = self.from_noise(_normal_like(self.mean, generator))
        return actions, normal_log_prob(actions, self.mean, self.log_std)

    def from_noise(self, noise: Tensor) -> Tensor:
        """The action of standard normal ``noise [B, A]``, clipped to [-1, 1]."""
        return (self.mean + torch.exp(self.log_std) * noise).clamp(-1.0, 1.0)


class Categorical(NamedTuple):
    """A distribution over a finite number of actions, the softmax of ``logits [B, actions]``."""

    logits: Tensor

    @property
    def probabilities(self) -> Tensor:
        """``[B, actions]``."""
        return torch.softmax(self.logits, -1)

    def mode(self) -> Tensor:
        """The likeliest action, ``[B]``."""
        return self.logits.argmax(-1)

    def draw(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """One random action a state and its log-probability, ``[B]`` each."""
        return draw_index(self.probabilities, generator)

    def from_noise(self, noise: Tensor) -> Tensor:
        """The action of uniform ``noise [B, actions]`` in (0, 1): the largest of ``logit - log(-log(noise))``."""
        return (self.logits - torch.log(-torch.log(noise))).argmax(-1)


def draw_index(probabilities: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """An action of each row of ``probabilities [B, actions]``, and its log-probability: ``[B]`` each."""
    where = generator_device(generator, probabilities.device)
    actions = torch.multinomial(probabilities.to(where), 1, generator=generator).to(probabilities.device)
    return actions.squeeze(-1), probabilities.gather(1, actions).squeeze(-1).log()


def one_hot(actions: Tensor, like: Tensor) -> Tensor:
    """Indices ``[B]`` as rows of 0 and 1, in the shape and dtype of ``like [B, actions]``."""
    return F.one_hot(actions, like.shape[-1]).to(like.dtype)


def _normal_like(tensor: Tensor, generator: torch.Generator | None) -> Tensor:
    where = generator_device(generator, tensor.device)
    return torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype, device=where).to(tensor.device)


# ---------------------------------------------------------------- policy networks
class GaussianPolicy(EnsembleMLP):
    """A network from observations to a `TanhGaussian`; log_std is clamped to [-5, 2]."""

    def forward(self, observations: Tensor) -> TanhGaussian:  # type: ignore[override]
        """``[B, S] -> TanhGaussian`` with ``mean`` and ``log_std`` of shape ``[B, A]``."""
        mean, log_std = super().forward(observations).squeeze(0).chunk(2, -1)
        return TanhGaussian(mean, log_std.clamp(*LOG_STD_RANGE))


class NormalPolicy(EnsembleMLP):
    """A network from observations to a `Normal` with mean ``tanh(network)`` and a log_std that no state changes."""

    def __init__(self, sizes: list[int], generator: torch.Generator | None = None) -> None:
        super().__init__(sizes, generator=generator)
        self.log_std = nn.Parameter(torch.zeros(sizes[-1], dtype=torch.float32, device="cpu"))

    def forward(self, observations: Tensor) -> Normal:  # type: ignore[override]
        """``[B, S] -> Normal`` with ``mean [B, A]``."""
        return Normal(torch.tanh(super().forward(observations).squeeze(0)), self.log_std)


def pre_tanh_of(actions: Tensor) -> Tensor:
    """atanh of actions in [-1, 1], those at the bounds moved inside to 1 - 1e-6 first."""
    return torch.atanh(actions.clamp(-MAX_ACTION, MAX_ACTION))
