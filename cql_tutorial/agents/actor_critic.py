"""What SAC and CQL are made of: a tanh-Gaussian actor, an ensemble of critics, target critics, a temperature."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..networks import Critic, GaussianPolicy, TanhGaussian, pre_tanh_of
from .agent import Agent
from .config import AgentConfig
from .normaliser import warn_of_width


class GaussianAgent(Agent):
    """An agent whose policy is a tanh-Gaussian network, its ``actor``."""

    actor: GaussianPolicy

    def _build_actor(self) -> GaussianPolicy:
        """The policy's network; a subclass with another one returns it here."""
        sizes = self.config.mlp_sizes(self.config.state_dim, 2 * self.config.action_dim)
        layer_norm = getattr(self.config, "actor_layer_norm", False)
        policy = GaussianPolicy(sizes, generator=self._init_generator, layer_norm=layer_norm)
        return policy.to(self.device, self.dtype)

    def distribution(self, observations: Tensor) -> TanhGaussian:
        """``[n, S]`` -> the actor's distribution; its mode is the squashed mean."""
        return self.actor(observations)

    @torch.no_grad()
    def check_training(self, row: Mapping[str, float], batch: Mapping[str, Any]) -> None:
        """Warn once where log_std is at its clamp in half of the batch or more: no gradient passes it."""
        if "log_std" not in self.told:
            log_std = self.distribution(self.as_observations(batch["observations"])).log_std
            log_prob = self.log_prob(batch["observations"], batch["actions"])
            warn_of_width(log_std, log_prob, row["step"], self.normaliser is not None, self.told)

    @torch.no_grad()
    def log_prob(self, observations: Any, actions: Any) -> Tensor:
        """Log-density on [-1, 1]^A of actions given in environment units: ``[n, S], [n, A] -> [n]``, nats."""
        return self.actor(self.as_observations(observations)).log_prob(pre_tanh_of(self.as_actions(actions)))


@dataclass(frozen=True, kw_only=True)
class ActorCriticConfig(AgentConfig):
    """Settings that SAC and CQL share. ``alpha`` is SAC's temperature, as in its paper, and not CQL's weight.

    Randomised ensembles: ``make_agent("cql-redq", ...)`` is CQL with ten critics, the Bellman target the minimum over
    two of them, drawn anew for each update, all critics towards that one target, and the actor on the mean of all.
    That is REDQ (Chen et al. 2021, arXiv 2101.05982), whose 20 updates a step of the environment, with one step of the
    actor and the temperature among them (`Agent.hold`), are the training's affair; here its penalty is new, on all ten
    critics, and the entropy is left out of the target. The CQL with REDQ's ensemble of WSRL (Zhou et al. 2024, arXiv
    2412.07762) draws its two with replacement (``subset_replacement``), lets the actor climb the minimum of all ten
    (``actor_reduction`` "min"), normalises the layers of critics and policy (``layer_norm``, ``actor_layer_norm``),
    takes the maximum over ten actions in the target, the penalty on a pair of its own, and means over critics for sums.
    """

    n_critics: int = 2
    """Critics in the ensemble. The Bellman target is the minimum over their target networks."""
    target_subset: int | None = None
    """Critics, drawn anew for each update, over which the Bellman target is the minimum. None: all. REDQ takes 2."""
    subset_replacement: bool = False
    """Draw them with replacement, so that one may come twice (WSRL); REDQ draws without."""
    actor_reduction: str = "min"
    """What of the critics the actor climbs: 'min' over all of them (SAC, WSRL), or their 'mean' (REDQ)."""
    layer_norm: bool = False
    """Normalise each hidden layer of the critics ahead of its ReLU (RLPD, WSRL)."""
    actor_layer_norm: bool = False
    """The same in the policy's network (WSRL)."""
    critic_lr: float = 3e-4
    """Adam's step size of the critics. 3e-4 is SAC's."""
    actor_lr: float = 1e-4
    """Adam's step size of the policy. The CQL paper keeps it below the critics'."""
    temperature_lr: float = 3e-4
    """Adam's step size of the temperature's logarithm."""
    alpha: float = 0.2
    """SAC's temperature, reward per nat; its first value under auto_alpha. This is not CQL's alpha."""
    auto_alpha: bool = True
    """Adjust the temperature until the policy's entropy is target_entropy."""
    target_entropy: float | None = None
    """Entropy that auto_alpha holds, in nats. None is minus the number of action dimensions, as in SAC."""
    tau: float = 0.005
    """Share of the way that the target networks go towards the critics, each update, in (0, 1]."""
    backup_entropy: bool = False
    """Subtract temperature * log pi in the Bellman target: the critics then estimate soft values."""
    initial_value: float = 0.0
    """Last bias of the critics at the start, a return. mean reward / (1 - discount) saves much training."""
    critic_weight_decay: float = 0.0
    """L2 penalty on the critics' weights: shrinkage alone, the control of 'CQL helps'."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.integer("n_critics", 1)
        if self.target_subset is not None:
            self.integer("target_subset", 1)
            few = self.subset_replacement or self.target_subset <= self.n_critics
            self.require("target_subset", few, f"at most n_critics, {self.n_critics}, or subset_replacement=True")
        self.one_of("actor_reduction", "min", "mean")
        for name in ("layer_norm", "actor_layer_norm"):  # of a single unit it would leave nothing
            self.require(name, not getattr(self, name) or self.hidden_dim > 1, "False with hidden_dim 1")
        self.number("tau", 0, 1)
        self.positive("tau", "critic_lr", "actor_lr", "temperature_lr", *(["alpha"] if self.auto_alpha else []))
        self.number("alpha", 0)
        self.number("critic_weight_decay", 0)
        self.number("initial_value")
        if self.target_entropy is not None:
            self.number("target_entropy")


class ActorCritic(GaussianAgent):
    """The networks and optimisers of SAC and CQL; what is done with them stands in each agent's `update`."""

    config: ActorCriticConfig

    def __init__(self, config: Mapping[str, Any] | AgentConfig) -> None:
        super().__init__(config)
        settings = self.config
        self.critic = self._build_critic()
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.actor = self._build_actor()
        self.add_optimizer("critic", list(self.critic.parameters()), settings.critic_lr, settings.critic_weight_decay)
        self.add_optimizer("actor", list(self.actor.parameters()), settings.actor_lr)
        self.target_entropy = (
            -float(settings.action_dim) if settings.target_entropy is None else settings.target_entropy
        )
        if settings.auto_alpha:
            self.log_temperature = self.learnable(math.log(settings.alpha))
            self.add_optimizer("temperature", [self.log_temperature], settings.temperature_lr)

    def _build_critic(self) -> Critic:
        """The critics' network; a subclass with another one returns it here, and its target is a copy."""
        sizes = self.config.mlp_sizes(self.config.state_dim + self.config.action_dim, 1)
        settings = self.config
        critic = Critic(sizes, settings.n_critics, self.initial_value, self._init_generator, settings.layer_norm)
        return critic.to(self.device, self.dtype)

    def draw_subset(self) -> Tensor | None:
        """Numbers of the critics of which the Bellman target is the minimum, ``[target_subset]``; None for all."""
        count, of = self.config.target_subset, self.config.n_critics
        if count is None:
            return None
        if self.config.subset_replacement:
            return torch.randint(of, (count,), generator=self.generator, device=self.device)
        # The first of a random order, which no host has to wait for.
        return torch.rand(of, generator=self.generator, device=self.device).argsort()[:count]

    @property
    def temperature(self) -> Tensor:
        """SAC's temperature, a 0-d tensor without gradient."""
        if self.config.auto_alpha:
            return self.log_temperature.detach().exp()
        return torch.full((), self.config.alpha, dtype=self.dtype, device=self.device)

    @torch.no_grad()
    def q_values(self, observations: Any, actions: Any) -> Tensor:
        """Every critic's value of actions in environment units: ``[n, S], [n, A] -> [E, n]``."""
        q_values = self.critic(self.as_observations(observations), self.as_actions(actions))
        return q_values / self.config.reward_scale
