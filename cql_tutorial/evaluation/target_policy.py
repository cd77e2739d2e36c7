"""The one fixed policy that an off-policy estimate judges, the log it is judged from, and what an estimate says."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from ..datasets.offline_dataset import OfflineDataset
from ..errors import check_int, require, require_data
from ..networks import EnsembleMLP
from ..seeding import seeded
from .intervals import t_interval

ACTIONS = 11  # what a random stream is for, beside those of `off_policy`


@dataclass(frozen=True, eq=False)
class Estimate:
    """A value and its approximate 95 % interval.

    The interval is over ``covers`` (for example episodes); it does not see a bias that all of them share.

    ``members``: the means of the single critics, ``spread`` their standard deviation (nan without two). Not ``usable``
    below 10 ``effective_episodes`` (inf unless the episodes have ``weights``, their shares), or where not ``possible``:
    no sequence of logged rewards pays that. Not ``settled``: the critics were still moving; more steps.
    """

    value: float
    low: float
    high: float
    covers: str
    members: tuple[float, ...] = ()
    effective_episodes: float = math.inf
    weights: Tensor | None = None
    possible: bool = True
    settled: bool = True

    @classmethod
    def of(cls, units: Tensor, covers: str, members: Tensor) -> Estimate:
        """The mean of units ``[n]`` with Student's t-interval, and of each member's ``[E, m]``."""
        mean, half = t_interval(units.tolist())
        return cls(
            mean, mean - half, mean + half, f"{len(units)} {covers}", tuple(members.cpu().double().mean(1).tolist())
        )

    def within_reach(self, dataset: OfflineDataset, discount: float, bonus: float | None = None) -> Estimate:
        """The same estimate, told ``possible`` or not: could the least or best logged reward, got for ever, pay it?

        ``min(0, r_min) / (1 - discount) <= value <= max(0, r_max) / (1 - discount)``, for every critic's mean and with
        5 % of that span to spare. A soft value has an entropy ``bonus`` a step at most on top, and no least one.
        """
        span, rewards = 1 / max(1 - discount, 1e-300), dataset.rewards
        low = min(0.0, float(rewards.min())) * span
        high = (max(0.0, float(rewards.max())) + (bonus or 0.0)) * span
        values = (self.value, *self.members)
        outside = max(-math.inf if bonus is not None else low - min(values), max(values) - high)
        return replace(self, possible=self.possible and outside <= 0.05 * (high - low))

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2

    @property
    def spread(self) -> float:
        return float(torch.tensor(self.members, dtype=torch.float64).std()) if len(self.members) > 1 else math.nan

    @property
    def usable(self) -> bool:
        return math.isfinite(self.value) and self.possible and self.effective_episodes >= 10

    def __str__(self) -> str:
        text = f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}, 95 % over {self.covers})"
        text += f", spread of {len(self.members)} critics {self.spread:.3f}" if self.members else ""
        text += "" if self.settled else ", not settled"
        why = "fewer than 10 effective episodes" if self.possible else "no reward of the log can pay that"
        return text if self.usable else f"{text}. NOT USABLE: {why}"


class TargetPolicy:
    """The policy under evaluation, the data on its device, and expectations over its actions."""

    def __init__(self, actor: Any, dataset: Any, deterministic: bool | None, samples: int = 1, seed: int = 0) -> None:
        require(isinstance(dataset, OfflineDataset), "dataset", type(dataset).__name__, "an OfflineDataset")
        is_agent, given = hasattr(actor, "policy"), () if deterministic is None else (deterministic,)
        require(is_agent or not given, "deterministic", deterministic, "None beside a policy: only an agent has both")
        self.policy = actor.policy(*given) if is_agent else actor
        require(callable(self.policy), "actor", type(actor).__name__, "an agent or a function of observations")
        self.agent: Any = actor if is_agent else getattr(actor, "agent", None)
        kind, kinds = getattr(self.agent, "discrete", dataset.discrete), ("continuous", "discrete")
        require(kind == dataset.discrete, "agent", kinds[kind], f"{kinds[dataset.discrete]}, as the data are")
        self.deterministic = bool(getattr(self.policy, "deterministic", False))
        self.exact = dataset.discrete and hasattr(self.policy, "probabilities")
        self.samples = 1 if self.deterministic else check_int("samples", samples, 1)
        self.seed, self.device = check_int("seed", seed, 0), torch.device(getattr(self.agent, "device", dataset.device))
        self.data: OfflineDataset = dataset.to(self.device)
        self.starts = self.data.observations[self.data.episode_starts]
        self.normaliser: Any = getattr(self.agent, "normaliser", None)  # for critics that are fitted here

    def discount(self, given: float | None) -> float:
        value: Any = getattr(getattr(self.agent, "config", None), "discount", None) if given is None else given
        expected = "a number in [0, 1]: pass discount=, as only an agent brings its own"
        require(value is not None and 0.0 <= value <= 1.0, "discount", value, expected)
        return float(value)

    def generator(self) -> Generator:
        return seeded(self.seed, ACTIONS, self.device)

    def candidates(self, observations: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Actions ``[n, K, A]`` (or ``[n, K]``) and weights ``[n, K]``: ``E_pi [f] = sum_k weight_k f(a_k)``."""
        shape, data = (len(observations), self.data.action_dim if self.exact else self.samples), self.data
        if self.exact:
            weights = self.policy.probabilities(observations).to(self.device, data.dtype)
            require_data(weights.shape == shape, "policy probabilities", f"shape {[*weights.shape]}", f"{[*shape]}")
            return torch.arange(shape[1], device=self.device).expand(shape), weights
        actions = self.policy(observations.repeat_interleave(self.samples, 0), generator).to(data.actions)
        rows = (math.prod(shape), *data.actions.shape[1:])
        good, found = actions.shape == rows and actions.isfinite().all(), f"shape {[*actions.shape]}, or nan"
        require_data(good, "policy's actions", found, f"shape {[*rows]}, all finite")
        return actions.unflatten(0, shape), torch.full(shape, 1.0 / self.samples, dtype=data.dtype, device=self.device)

    def expect(self, q: Callable[[Tensor, Tensor], Tensor], observations: Tensor, generator: Generator) -> Tensor:
        """``E_a~pi [q(s, a)]`` of a ``q: [n, S], [n, K(, A)] -> [E, n, K]``: ``[E, n]``."""
        actions, weights = self.candidates(observations, generator)
        return (q(observations, actions) * weights).sum(-1)

    def log_prob(self) -> Tensor:
        """log pi of the logged actions ``[N]``; ``ConfigError`` where there is no density."""
        columns = self.data.observations, self.data.actions
        if self.exact:
            return by_chunks(lambda s, a: self.policy.probabilities(s).gather(1, a[:, None])[:, 0].log(), *columns)
        source: Any = next((one for one in (self.policy, self.agent) if hasattr(one, "log_prob")), None)
        kind, expected = type(self.policy).__name__, "a density: log_prob(observations, actions), or probabilities"
        mend = "take the stochastic policy (deterministic=False), or judge this one by fitted_q_evaluation."
        require(source is not None and not self.deterministic, "policy", kind, expected, mend)
        return by_chunks(source.log_prob, *columns)

    def network_q(self, network: EnsembleMLP, observations: Tensor, actions: Tensor) -> Tensor:
        """``[n, S]`` with ``[n, K, A]`` (or ``[n, K]``) actions, in the log's units -> ``[E, n, K]``.

        The network sees observations as the agent's own do: normalised where it normalises.
        """
        observations = observations if self.normaliser is None else self.normaliser(observations)
        if self.data.discrete:
            every = network(observations)
            return every.gather(-1, actions.expand(len(every), -1, -1))
        low, high = (torch.as_tensor(x).to(self.data.rewards) for x in (self.data.action_low, self.data.action_high))
        return network(observations, 2.0 * (actions - low) / (high - low) - 1.0)

    def critics_q(self, observations: Tensor, actions: Tensor) -> Tensor:
        """The least of the agent's critics, and then each of them: ``[n, S], [n, K(, A)] -> [1 + E, n, K]``."""
        require(hasattr(self.agent, "q_values"), "agent", type(self.agent).__name__, "one with critics: q_values")
        rows, columns = observations.repeat_interleave(actions.shape[1], 0), actions.flatten(0, 1)
        every = self.agent.q_values(rows, columns).unflatten(1, actions.shape[:2])
        return torch.cat([every.amin(0, keepdim=True), every])


@torch.no_grad()
def by_chunks(function: Callable[..., Tensor], *columns: Tensor) -> Tensor:
    """``function`` of a few thousand rows at a time, joined along the last axis."""
    return torch.cat([function(*rows) for rows in zip(*(column.split(8192) for column in columns), strict=True)], -1)
