"""The parts SAC and CQL share: a tanh-Gaussian actor, an ensemble of critics, target networks, a temperature."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from .. import losses
from ..batch import Batch, as_tensor
from ..errors import ConfigError
from ..networks import Critic, GaussianPolicy, TanhGaussian, pre_tanh_of
from ..seeding import generator_device
from .agent import Agent
from .config import AgentConfig

if TYPE_CHECKING:
    from ..fast.fused import FusedUpdate


class GaussianAgentPolicy:
    """A learned tanh-Gaussian policy as a callable ``(observations, generator) -> actions`` in environment units."""

    def __init__(self, agent: GaussianAgent, deterministic: bool) -> None:
        self.agent, self.deterministic = agent, deterministic

    @torch.no_grad()
    def __call__(self, observations: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if not self.deterministic:
            return self.sample(observations, generator)[0]
        mean = self.agent.actor(self.agent.as_observations(observations)).mean
        return self.agent.unscale_action(torch.tanh(mean))

    @torch.no_grad()
    def sample(self, observations: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Actions ``[n, A]`` in environment units and their log-density ``[n]`` on [-1, 1]^A, as the agent's own."""
        agent = self.agent
        distribution = agent.actor(agent.as_observations(observations))
        where = generator_device(generator, agent.device)
        noise = torch.randn(distribution.mean.shape, generator=generator, dtype=agent.dtype, device=where)
        drawn = distribution.sample(noise.to(agent.device))
        return agent.unscale_action(drawn.actions), drawn.log_prob


class GaussianAgent(Agent):
    """An agent whose policy is a tanh-Gaussian network."""

    def _build_actor(self, lr: float) -> None:
        config = self.config
        sizes = [config.state_dim, *[config.hidden_dim] * config.hidden_layers, 2 * config.action_dim]
        self.actor = GaussianPolicy(sizes, generator=self._init_generator).to(self.device, self.dtype)
        self.modules["actor"] = self.actor
        self.add_optimizer("actor", list(self.actor.parameters()), lr)

    def policy(self, deterministic: bool = False) -> GaussianAgentPolicy:
        """The learned policy, stochastic unless ``deterministic`` (then the squashed mean)."""
        return GaussianAgentPolicy(self, deterministic)

    @torch.no_grad()
    def log_prob(self, observations: Any, actions: Any) -> Tensor:
        """Log-density on [-1, 1]^A of actions given in environment units: ``[n, S], [n, A] -> [n]``, nats."""
        unit = self.scale_action(as_tensor(actions).to(self.device, self.dtype))
        return self.actor(self.as_observations(observations)).log_prob(pre_tanh_of(unit))


@dataclass(frozen=True, kw_only=True)
class ActorCriticConfig(AgentConfig):
    """Settings of the agents with critics.

    ``alpha`` is SAC's temperature (its first value when ``auto_alpha``); ``target_entropy`` None means -A, the usual
    choice. ``backup_entropy`` subtracts temperature * log pi in the Bellman target. ``initial_value`` is the critics'
    last bias: mean reward / (1 - discount) saves the time that bootstrapping takes to get there.
    ``critic_weight_decay`` is L2 on the critics' parameters: shrinkage alone, the control of "CQL helps".
    """

    has_fused_update: ClassVar[bool] = True

    n_critics: int = 2
    critic_lr: float = 3e-4
    actor_lr: float = 1e-4
    temperature_lr: float = 3e-4
    alpha: float = 0.2
    auto_alpha: bool = True
    target_entropy: float | None = None
    tau: float = 0.005
    backup_entropy: bool = False
    initial_value: float = 0.0
    critic_weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.whole("n_critics", 1)
        self.number("tau", 0, 1)
        self.positive("tau", "critic_lr", "actor_lr", "temperature_lr", *(["alpha"] if self.auto_alpha else []))
        self.number("alpha", 0)
        self.number("critic_weight_decay", 0)
        self.number("initial_value")
        if self.target_entropy is not None:
            self.number("target_entropy")


class ActorCritic(GaussianAgent):
    """Networks and the steps that SAC and CQL have in common; each agent's own `update` shows their order."""

    config: Any

    def __init__(self, config: Mapping[str, Any] | AgentConfig) -> None:
        super().__init__(config)
        c = self.config
        if c.update_path == "fused" and not (self.device.type == "cpu" and self.own_equations):
            found = f"'fused' on {str(self.device)!r} for a {type(self).__name__}"
            expected = "'auto' or 'readable': the fused update is for the CPU, and repeats the equations of SAC and CQL"
            raise ConfigError("config['update_path']", found, expected, "leave it out.")
        self.workspace: FusedUpdate | None = None  # `fused.update` makes it
        sizes = [c.state_dim + c.action_dim, *[c.hidden_dim] * c.hidden_layers, 1]
        self.critic = Critic(sizes, c.n_critics, c.initial_value, self._init_generator).to(self.device, self.dtype)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.modules |= {"critic": self.critic, "target_critic": self.target_critic}
        self.add_optimizer("critic", list(self.critic.parameters()), c.critic_lr, c.critic_weight_decay)
        self._build_actor(c.actor_lr)
        self.target_entropy = -float(c.action_dim) if c.target_entropy is None else c.target_entropy
        if c.auto_alpha:
            self.log_temperature = self.learned_number("log_temperature", math.log(c.alpha))
            self.add_optimizer("temperature", [self.log_temperature], c.temperature_lr)

    def __getstate__(self) -> dict[str, Any]:
        """A copy of the agent makes a workspace of its own."""
        return {**self.__dict__, "workspace": None}

    @property
    def own_equations(self) -> bool:
        """Whether this is `SACAgent` or `CQLAgent` and not a class made of one, whose changes `fused` cannot know."""
        return "fused_form" in vars(type(self))

    @property
    def fused(self) -> bool:
        """Whether the next `update` takes its fused form: the one place where "auto" is decided."""
        asked = self.config.update_path
        if asked == "auto" and self.own_equations and self.device.type == "cpu" and self.dtype == torch.float32:
            asked = "fused"
        return asked == "fused" and self._is_as_built()

    def _is_as_built(self) -> bool:
        """False where methods, hooks or optimisers were put in by hand: the fused update would pass over them."""
        methods = {name for name, value in vars(self).items() if callable(value) and hasattr(type(self), name)}
        hooked = any(module._forward_hooks or module._forward_pre_hooks for module in self.modules.values())
        adam = all(
            type(one) is torch.optim.Adam and len(one.param_groups) == 1 and one.state
            and not one.param_groups[0]["amsgrad"] for one in self.optimizers.values()
        )  # fmt: skip
        return adam and not methods and not hooked

    def learned_number(self, name: str, value: float) -> Tensor:
        """A single trainable number that is saved with the agent."""
        number = torch.full((), value, dtype=self.dtype, device=self.device, requires_grad=True)
        self.parameters[name] = number
        return number

    @property
    def temperature(self) -> Tensor:
        """SAC's temperature, a 0-d tensor without gradient."""
        if self.config.auto_alpha:
            return self.log_temperature.detach().exp()
        return torch.full((), self.config.alpha, dtype=self.dtype, device=self.device)

    @torch.no_grad()
    def bellman_target(self, batch: Batch, next_policy: TanhGaussian, noise: Tensor) -> Tensor:
        """``r + discount (1 - termination) (min_j Q'_j(s', a') [- temperature log pi(a'|s')])``, ``[B]``."""
        pre_tanh = next_policy.pre_tanh(noise)
        next_values = self.target_critic(batch.next_observations, torch.tanh(pre_tanh)).amin(0)
        if self.config.backup_entropy:
            next_values = next_values - self.temperature * next_policy.log_prob(pre_tanh)
        return losses.td_target(batch.rewards, batch.terminations, next_values, self.config.discount)

    def update_actor(self, batch: Batch, noise: Tensor) -> dict[str, Tensor]:
        """One step of the policy against the critics as they are now, then one of the temperature."""
        sample = self.actor(batch.observations).sample(noise)
        q_min = self.critic(batch.observations, sample.actions).amin(0)
        loss = losses.actor_loss(sample.log_prob, q_min, self.temperature)
        self.step("actor", loss)
        return {"policy_loss": loss.detach(), **self.step_temperature(sample.log_prob)}

    def step_temperature(self, log_prob: Tensor) -> dict[str, Tensor]:
        """One step of the temperature, where it is learned, on the log-density ``[B]`` of the policy's own actions."""
        temperature = self.temperature
        if self.config.auto_alpha:
            self.step("temperature", losses.temperature_loss(self.log_temperature, log_prob, self.target_entropy))
        return {"entropy": -log_prob.detach().mean(), "temperature": temperature, "alpha": temperature}

    @torch.no_grad()
    def update_target(self) -> None:
        """Move the target critics a step ``tau`` towards the critics."""
        torch._foreach_lerp_(list(self.target_critic.parameters()), list(self.critic.parameters()), self.config.tau)

    @torch.no_grad()
    def q_values(self, observations: Any, actions: Any) -> Tensor:
        """Every critic's value of actions in environment units: ``[n, S], [n, A] -> [E, n]``."""
        return self.critic(self.as_observations(observations), self.as_actions(actions))
