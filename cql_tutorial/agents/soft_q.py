"""Soft Q-learning: the Bellman target is a soft maximum over actions, the policy softmax(Q / T); there is no actor."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import losses
from ..batch import Noise
from ..errors import ConfigError
from ..networks import MAX_ACTION, Critic, Distribution, soft_update
from ..seeding import generator_device
from .agent import Agent
from .config import AgentConfig
from .discrete import DiscreteAgent


@dataclass(frozen=True, kw_only=True)
class SoftQSettings(AgentConfig):
    """Settings that both forms share.

    The critics minimise ``sum_j [mean (Q_j - y)^2 + cql_alpha * penalty_j]`` with
    ``y = r + discount (1 - termination) V(s')`` and V the soft value of the minimum over the target critics.
    """

    temperature: float = 0.1
    """T of the soft maximum and of the policy softmax(Q / T), in units of the return: what a nat of entropy is worth.
    Towards 0 it is Q-learning. Small beside the differences of Q between good and bad actions."""
    value_form: str = "mean"
    """'mean': T log of the mean of exp(Q / T) (a uniform prior; at most max Q). 'sum': of the sum or integral, which
    pays T log (number of actions), or T A log 2, a step for going on: episodes that end lose it."""
    backup: str = "soft"
    """'soft': V = T log mean exp(Q / T). 'expected': V = E_pi[Q], pi = softmax(Q / T), the backup of CQL's theorem."""
    cql_alpha: float = 0.0
    """Weight of CQL's penalty at temperature T, V(s) - Q(s, a) = -T log pi(a|s) up to a constant. 0: none."""
    n_critics: int = 2
    """Critics in the ensemble. Target and policy use the minimum over them."""
    critic_lr: float = 3e-4
    """Adam's step size of the critics."""
    tau: float = 0.005
    """Share of the way that the target networks go towards the critics, each update, in (0, 1]."""
    initial_value: float = 0.0
    """Last bias of the critics at the start, a return. mean reward / (1 - discount) saves much training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_of("value_form", "mean", "sum")
        self.one_of("backup", "soft", "expected")
        self.number("cql_alpha", 0)
        self.integer("n_critics", 1)
        self.number("tau", 0, 1)
        self.positive("temperature", "tau", "critic_lr")
        self.number("initial_value")

    @property
    def backup_entropy(self) -> bool:
        """Whether the critics estimate the soft Q^pi, with temperature times entropy among the rewards."""
        return self.backup == "soft" and self.value_form == "sum"


@dataclass(frozen=True, kw_only=True)
class SoftQConfig(SoftQSettings):
    """Settings of continuous soft Q-learning; see `SoftQSettings`. Uniform candidates stand for all actions."""

    n_candidates: int = 16
    """Uniform candidate actions of each soft value in an update. 16 as in Haarnoja et al.; fewer are low."""
    n_acting_candidates: int = 64
    """Candidates that a choice of action is made from. More dimensions and a lower temperature want more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.integer("n_candidates", 2)
        self.integer("n_acting_candidates", 2)


@dataclass(frozen=True, kw_only=True)
class DiscreteSoftQConfig(SoftQSettings):
    """Settings of discrete soft Q-learning; ``action_dim`` is the number of actions, each of which is a candidate."""


class SoftQ(Agent):
    """What both forms share: the value in the target and the names of what is measured."""

    config: SoftQSettings
    log_volume: float  # log of the number of actions, or of the volume of [-1, 1]^A

    def value(self, q_candidates: Tensor) -> Tensor:
        """V of the least critic's values at K candidates of equal density: ``[B, K] -> [B]``."""
        if self.config.backup == "expected":
            return losses.boltzmann_value(q_candidates, self.config.temperature)
        # The density is one over the volume; relative to the uniform prior, which has it too, it is 1.
        log_density = 0.0 if self.config.value_form == "mean" else -self.log_volume
        return losses.soft_value(q_candidates, torch.full_like(q_candidates, log_density), self.config.temperature)

    def penalty(self, q_candidates: Tensor, q_data: Tensor) -> Tensor:
        """CQL's penalty at temperature T, ``T log integral exp(Q / T) - Q(s, a)``: ``[E, B, K], [E, B] -> [E]``.

        It is ``-T log pi_j(a|s)`` of the critic's own ``pi_j = softmax(Q_j / T)``: the logged actions' likelihood.
        """
        temperature = self.config.temperature
        log_density = torch.full_like(q_candidates[0], -self.log_volume)
        return temperature * losses.cql_penalty(q_candidates / temperature, log_density, q_data / temperature)

    def _metrics(
        self, q_data: Tensor, next_value: Tensor, td_loss: Tensor, penalty: Tensor | None
    ) -> dict[str, Tensor]:
        found = {
            "q_value": q_data.detach().mean() / self.config.reward_scale,
            "next_value": next_value.mean() / self.config.reward_scale,
            "td_loss": td_loss.detach().mean(),
        }
        if penalty is not None:
            cql_loss = penalty.detach().mean()
            gap = cql_loss - self.config.temperature * self.log_volume
            alpha = torch.full((), self.config.cql_alpha, dtype=self.dtype, device=self.device)
            found |= {"cql_loss": cql_loss, "cql_gap": gap, "cql_alpha": alpha}
        return found

    @property
    def temperature(self) -> Tensor:
        """T, a 0-d tensor."""
        return torch.full((), self.config.temperature, dtype=self.dtype, device=self.device)


# ---------------------------------------------------------------- continuous actions
class SoftQAgent(SoftQ):
    """Soft Q-learning without an actor: values and actions come from uniform candidates.

    ``V(s) = T log mean_k exp(Q(s, a_k) / T)``, ``a_k`` uniform; it acts by self-normalised importance resampling: one
    of K candidates, with weights softmax(Q / T). The paper trains a sampling network by Stein variational gradients
    (SVGD) in its place. That wants no candidates to act, but is an approximation of its own; uniform candidates are
    too few where there are many action dimensions. With ``cql_alpha`` it is CQL with a soft-Q backup. The backup of
    the CQL paper is that of a policy, ``backup="expected"``.

    Source: Haarnoja et al. 2017 (arXiv 1702.08165), Eq. 5, 6, 10.
    """

    name = "soft-q"
    config_class = SoftQConfig
    config: SoftQConfig
    lattice: Tensor

    def __init__(self, config: Mapping[str, Any] | AgentConfig) -> None:
        super().__init__(config)
        settings = self.config
        self.log_volume = -losses.uniform_log_density(settings.action_dim)
        sizes = settings.mlp_sizes(settings.state_dim + settings.action_dim, 1)
        critic = Critic(sizes, settings.n_critics, self.initial_value, self._init_generator)
        self.critic = critic.to(self.device, self.dtype)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.add_optimizer("critic", list(self.critic.parameters()), settings.critic_lr)
        points = even_points(settings.n_acting_candidates, settings.action_dim)
        # Not saved: its settings give it again.
        self.register_buffer("lattice", torch.tensor(points, dtype=self.dtype, device=self.device), persistent=False)

    def draw_noise(self, batch_size: int) -> Noise:
        """Uniform candidates strictly inside (-1, 1) for the next states, and for the penalty if there is one."""
        config = self.config
        many = (batch_size, config.n_candidates, config.action_dim)

        def candidates() -> Tensor:
            draw = torch.rand(many, generator=self.generator, dtype=self.dtype, device=self.device)
            return (2.0 * draw - 1.0).clamp(-MAX_ACTION, MAX_ACTION)

        return Noise(next_uniform=candidates(), uniform=candidates() if config.cql_alpha > 0 else None)

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One step of the critics and their targets; metrics are 0-d tensors on the device.

        ``next_value`` is V(s') of the target, ``effective_candidates`` one over the sum of the squared weights there:
        near 1 a single candidate decides. With ``cql_alpha``, ``cql_loss`` is the penalty before alpha and ``cql_gap``
        the same minus T A log 2, 0 for a Q that is flat in the action.
        """
        batch = self.prepare(batch)
        noise = noise or self.draw_noise(batch.size)
        assert noise.next_uniform is not None
        config, s = self.config, batch.observations

        # 1. Bellman target: the value of the least target critic, from candidates at the next state.
        with torch.no_grad():
            next_q = self.target_critic(batch.next_observations, noise.next_uniform).amin(0)  # [B, K]
            next_value = self.value(next_q)
            target = losses.td_target(batch.rewards, batch.terminations, next_value, config.discount)
            weights = torch.softmax(next_q / config.temperature, -1)

        # 2. Critics: the squared Bellman error, and the penalty on candidates at this state.
        penalty = None
        if config.cql_alpha > 0:
            assert noise.uniform is not None
            q = self.critic(s, torch.cat([batch.actions[:, None], noise.uniform], dim=1))  # [E, B, 1 + K]
            q_data, penalty = q[..., 0], self.penalty(q[..., 1:], q[..., 0])
        else:
            q_data = self.critic(s, batch.actions)
        td_loss = losses.td_loss(q_data, target)
        loss = td_loss if penalty is None else td_loss + config.cql_alpha * penalty
        self.step("critic", loss.sum())

        # 3. Target critics: a step tau towards the critics.
        soft_update(self.target_critic, self.critic, config.tau)
        effective = {"effective_candidates": (1.0 / weights.square().sum(-1)).mean()}
        return self._metrics(q_data, next_value, td_loss, penalty) | effective

    # ------------------------------------------------------------ what was learned
    def least_q(self, observations: Tensor, actions: Tensor) -> Tensor:
        """The minimum over the critics at K actions a state: ``[n, S], [n, K, A] -> [n, K]``."""
        return self.critic(observations, actions).amin(0)

    def distribution(self, observations: Tensor) -> Distribution:
        """``[n, S]`` -> softmax(Q / T); its mode is the best of evenly spread candidates, the same at every state."""
        return BoltzmannPolicy(self, observations)

    @torch.no_grad()
    def q_values(self, observations: Any, actions: Any) -> Tensor:
        """Every critic's value of actions in environment units: ``[n, S], [n, A] -> [E, n]``."""
        q_values = self.critic(self.as_observations(observations), self.as_actions(actions))
        return q_values / self.config.reward_scale

    @torch.no_grad()
    def state_values(self, observations: Any) -> Tensor:
        """V(s) as the target has it, from the acting candidates: ``[n, S] -> [n]``."""
        states = self.as_observations(observations)
        return self.value(self.least_q(states, self._everywhere(states))) / self.config.reward_scale

    @torch.no_grad()
    def log_prob(self, observations: Any, actions: Any) -> Tensor:
        """Log-density of softmax(Q / T) on [-1, 1]^A at actions in environment units: ``-> [n]``, nats.

        The integral that normalises it is estimated from the acting candidates.
        """
        states, chosen = self.as_observations(observations), self.as_actions(actions)[:, None]
        scores = self.least_q(states, torch.cat([chosen, self._everywhere(states)], 1)) / self.config.temperature
        return scores[:, 0] - losses.log_partition(scores[:, 1:], torch.full_like(scores[:, 1:], -self.log_volume))

    def _everywhere(self, observations: Tensor) -> Tensor:
        return self.lattice.expand(observations.shape[0], -1, -1)

    def export(self, path: str | Path, format: str = "torch", stochastic: bool = False) -> Path:
        """`Agent.export` of the deterministic policy; `ConfigError` for the stochastic one."""
        if stochastic:
            mend = "export the deterministic policy, or train an agent with an actor (cql, sac)."
            found = "True: it draws candidates and then one of them, which no single noise [B, A] decides"
            raise ConfigError("stochastic", found, "False for soft-q", mend)
        return super().export(path, format)


class BoltzmannPolicy:
    """``pi(a|s)`` proportional to ``exp(min_j Q_j(s, a) / T)`` on [-1, 1]^A, known up to its integral."""

    def __init__(self, agent: SoftQAgent, observations: Tensor) -> None:
        self.agent, self.observations = agent, observations

    def mode(self) -> Tensor:
        """The best of the agent's evenly spread candidates, ``[n, A]``."""
        best = self.agent.least_q(self.observations, self.agent._everywhere(self.observations)).argmax(-1)
        return self.agent.lattice[best]

    def draw(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """One action a state, resampled from fresh uniform candidates, and its log-density on [-1, 1]^A.

        The density is that of softmax(Q / T), normalised by these candidates; with few of them the draws are closer to
        uniform than it says.
        """
        agent, like = self.agent, self.observations
        where, (count, width) = generator_device(generator, like.device), agent.lattice.shape
        draws = torch.rand((like.shape[0], count, 1 + width), generator=generator, dtype=like.dtype, device=where)
        draws = draws.to(like.device)
        candidates = (2.0 * draws[..., 1:] - 1.0).clamp(-MAX_ACTION, MAX_ACTION)
        scores = agent.least_q(like, candidates) / agent.config.temperature
        chosen = (scores - torch.log(-torch.log(draws[..., 0]))).argmax(-1)  # Gumbel: a draw from the softmax
        log_prob = scores - losses.log_partition(scores, torch.full_like(scores, -agent.log_volume))[:, None]
        rows = torch.arange(like.shape[0], device=like.device)
        return candidates[rows, chosen], log_prob[rows, chosen]

    def from_noise(self, noise: Tensor) -> Tensor:
        """Not offered: one ``noise [B, A]`` does not decide a resampled action. Raises `ConfigError`."""
        raise ConfigError("noise", f"shape {list(noise.shape)}", "draw(generator)", "take the deterministic policy.")


def even_points(count: int, dimensions: int) -> np.ndarray:
    """Points spread evenly in [-1, 1]^A, strictly inside: ``[count, A]``, float64.

    Point k is the fractional part of ``1/2 + k (phi^-1, .., phi^-A)``, phi the positive root of ``x^(A+1) = x + 1``:
    Kronecker's sequence, which covers a square better than random points do.
    """
    phi = 2.0
    for _ in range(64):
        phi = (1.0 + phi) ** (1.0 / (dimensions + 1))
    steps = phi ** -np.arange(1, dimensions + 1)
    fractions = (0.5 + np.arange(count)[:, None] * steps) % 1.0
    return np.clip(2.0 * fractions - 1.0, -MAX_ACTION, MAX_ACTION)


# ---------------------------------------------------------------- a finite number of actions
class DiscreteSoftQAgent(SoftQ, DiscreteAgent):
    """Soft Q-learning over ``action_dim`` actions, exact: ``V(s) = T log mean_a exp(Q(s, a) / T)``.

    Its policy is softmax(Q / T). With ``value_form="sum"`` V is ``T log sum_a``: the entropy-regularised optimum.
    Source: Haarnoja et al. 2017 (arXiv 1702.08165), Eq. 5 and 6.
    """

    name = "discrete-soft-q"
    config_class = DiscreteSoftQConfig
    config: DiscreteSoftQConfig

    def __init__(self, config: Mapping[str, Any] | AgentConfig) -> None:
        super().__init__(config)
        self.log_volume = math.log(self.config.action_dim)
        self.critic = self._build_network(self.config.n_critics, self.initial_value)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.add_optimizer("critic", list(self.critic.parameters()), self.config.critic_lr)

    def scores(self, observations: Tensor) -> Tensor:
        return self.critic(observations).amin(0) / self.config.temperature

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One step of the critics and their targets; metrics as in `SoftQAgent.update`."""
        batch = self.prepare(batch)
        config = self.config
        with torch.no_grad():
            next_value = self.value(self.target_critic(batch.next_observations).amin(0))
            target = losses.td_target(batch.rewards, batch.terminations, next_value, config.discount)

        q_all = self.critic(batch.observations)  # [E, B, actions]
        q_data = losses.take_actions(q_all, batch.actions)
        td_loss = losses.td_loss(q_data, target)
        penalty = self.penalty(q_all, q_data) if config.cql_alpha > 0 else None
        loss = td_loss if penalty is None else td_loss + config.cql_alpha * penalty
        self.step("critic", loss.sum())
        soft_update(self.target_critic, self.critic, config.tau)
        return self._metrics(q_data, next_value, td_loss, penalty)

    @torch.no_grad()
    def q_values(self, observations: Any, actions: Any) -> Tensor:
        """Every critic's value of the given actions: ``[n, S], [n] -> [E, n]``."""
        q_all = self.critic(self.as_observations(observations))
        return losses.take_actions(q_all, self.as_actions(actions)) / self.config.reward_scale

    @torch.no_grad()
    def state_values(self, observations: Any) -> Tensor:
        """V(s) as the target has it: ``[n, S] -> [n]``."""
        return self.value(self.critic(self.as_observations(observations)).amin(0)) / self.config.reward_scale

    @torch.no_grad()
    def log_prob(self, observations: Any, actions: Any) -> Tensor:
        """Log-probability of actions under softmax(Q / T): ``[n, S], [n] -> [n]``, nats."""
        log_prob = torch.log_softmax(self.scores(self.as_observations(observations)), -1)
        return losses.take_actions(log_prob[None], self.as_actions(actions))[0]
