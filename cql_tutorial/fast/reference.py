"""The stacked update by automatic differentiation: what `fused.FusedUpdate` computes, without what makes it fast.

Read this first: it is `CQLAgent.update` with a leading axis of M members, and nothing else. It is about as fast as the
hand-written form for small batches, and slower where many activations leave the cache. The tests hold it equal to the
readable update, and `FusedUpdate` equal to both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import losses
from ..agents.agent import subnormals_as_zero
from ..agents.cql import LOG_MULTIPLIER_RANGE, CQLAgent
from ..batch import Batch, Noise
from ..errors import require
from ..networks import LOG_STD_RANGE, relu_network
from .fused import PER_MEMBER_SETTINGS, check_stackable


class StackedAutograd:
    """M agents of CQL, updated together; `write_back` gives the members what was learned. Shapes: see the folder."""

    def __init__(self, agents: Sequence[Any]) -> None:
        check_stackable(agents)
        _check_plain(agents)
        self.agents, self.config = list(agents), agents[0].config
        states = [agent.state() for agent in agents]
        self.stacks = {  # [M, E, in, out]
            key: torch.stack([state[key].detach() for state in states]).requires_grad_("target" not in key)
            for key in states[0]
            if key.startswith(("module.", "parameter.")) and not key.startswith("module.normaliser.")
        }
        self.optimizers = {}
        parts = {name: f"module.{name}." for name in ("critic", "actor")}
        parts |= {name: f"parameter.log_{name}" for name in ("temperature", "multiplier")}
        for name, prefix in parts.items():
            if stacked := [value for key, value in self.stacks.items() if key.startswith(prefix)]:
                group = agents[0].optimizers[name].param_groups[0]
                options = {"lr": group["lr"], "weight_decay": group["weight_decay"], "fused": True}
                self.optimizers[name] = torch.optim.Adam(stacked, **options)

    def network(self, name: str, rows: Tensor, fixed: bool = False) -> Tensor:
        """The networks of that name on rows ``[M, R, in]``: ``[M, E, R, out]``; ``fixed`` as constants."""
        layers = []
        for number in range(self.config.hidden_layers + 1):
            weight, bias = (self.stacks[f"module.{name}.{kind}.{number}"] for kind in ("weights", "biases"))
            members, ensemble = weight.shape[:2]
            own = (weight.detach(), bias.detach()) if fixed else (weight, bias)
            layers.append((own[0].flatten(0, 1), own[1].flatten(0, 1)))
        every = rows[:, None].expand(-1, ensemble, -1, -1).flatten(0, 1)
        return relu_network(every, layers, torch.baddbmm).unflatten(0, (members, ensemble))

    def q(self, name: str, states: Tensor, actions: Tensor, fixed: bool = False) -> Tensor:
        """``[M, B, S], [M, B, K, A] -> [M, E, B, K]``."""
        rows = torch.cat([states[:, :, None].expand(-1, -1, actions.shape[2], -1), actions], -1)
        return self.network(name, rows.flatten(1, 2), fixed).squeeze(-1).unflatten(2, actions.shape[1:3])

    def policy(self, states: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions and log-density of ``noise [M, B, N, A]``: ``[M, B, N, A], [M, B, N]``."""
        mean, log_std = self.network("actor", states).squeeze(1)[:, :, None].chunk(2, -1)
        log_std = log_std.clamp(*LOG_STD_RANGE)
        pre_tanh = mean + log_std.exp() * noise
        return torch.tanh(pre_tanh), losses.tanh_gaussian_log_prob(pre_tanh, mean, log_std)

    def step(self, name: str, loss: Tensor) -> None:
        """One optimiser step of all members; a sum over members keeps their gradients apart."""
        parameters = self.optimizers[name].param_groups[0]["params"]
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss.sum(), parameters), strict=True):
            parameter.grad = gradient
        self.optimizers[name].step()

    @subnormals_as_zero()
    def update(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """One update of every member; columns are ``[M, B, ...]``, already prepared; each metric is ``[M]``."""
        assert noise.uniform is not None and noise.policy is not None
        assert noise.target is not None and noise.actor is not None
        config, s, s_next = self.config, batch.observations, batch.next_observations
        temperature = self.stacks["parameter.log_temperature"].detach().exp()
        cql_alpha = torch.tensor([agent.config.cql_alpha for agent in self.agents], dtype=s.dtype)
        if config.cql_lagrange:
            cql_alpha = self.stacks["parameter.log_multiplier"].detach().exp()

        # 1. Bellman target and candidate actions: constants for the critics.
        with torch.no_grad():
            next_action, next_log_prob = self.policy(s_next, noise.target[:, :, None])
            next_value = self.q("target_critic", s_next, next_action).amin(1)[..., 0]
            if config.backup_entropy:
                next_value = next_value - temperature[:, None] * next_log_prob[..., 0]
            target = losses.td_target(batch.rewards, batch.terminations, next_value, config.discount)
            drawn = [self.policy(s, noise.policy)]
            drawn += [] if noise.next_policy is None else [self.policy(s_next, noise.next_policy)]
            candidates = torch.cat([batch.actions[:, :, None], noise.uniform, *(actions for actions, _ in drawn)], 2)
            uniform = torch.full_like(noise.uniform[..., 0], losses.uniform_log_density(config.action_dim))
            log_density = torch.cat([uniform, *(log_prob for _, log_prob in drawn)], 2)

        # 2. Critics.
        q = self.q("critic", s, candidates)  # [M, E, B, 1 + K]
        td_loss = (q[..., 0] - target[:, None]).square().mean(-1)
        penalty = (losses.log_partition(q[..., 1:], log_density[:, None]) - q[..., 0]).mean(-1)
        self.step("critic", td_loss + cql_alpha[:, None] * penalty)

        # 3. Actor, with the critics just updated.
        action, log_prob = self.policy(s, noise.actor[:, :, None])
        q_min = self.q("critic", s, action, fixed=True).amin(1)[..., 0]
        policy_loss = (temperature[:, None] * log_prob[..., 0] - q_min).mean(-1)
        self.step("actor", policy_loss)

        # 4. Temperature.   5. Multiplier.   6. Target critics.
        target_entropy = torch.tensor([agent.target_entropy for agent in self.agents], dtype=s.dtype)
        mean_log_prob = log_prob[..., 0].detach().mean(-1)
        self.step("temperature", -self.stacks["parameter.log_temperature"] * (mean_log_prob + target_entropy))
        cql_loss = penalty.detach().mean(-1)
        gap = losses.normalised_gap(cql_loss, config.action_dim)
        if config.cql_lagrange:
            log_multiplier = self.stacks["parameter.log_multiplier"]
            self.step("multiplier", -log_multiplier * (gap - config.cql_target_action_gap))
            with torch.no_grad():
                log_multiplier.clamp_(*LOG_MULTIPLIER_RANGE)
        with torch.no_grad():
            for key, online in self.stacks.items():
                if key.startswith("module.critic."):
                    self.stacks[key.replace("critic", "target_critic")].lerp_(online, config.tau)
        return {
            "cql_loss": cql_loss,
            "cql_gap": gap,
            "q_value": q[..., 0].detach().mean((1, 2)) / config.reward_scale,
            "td_loss": td_loss.detach().mean(1),
            "cql_alpha": cql_alpha,
            "policy_loss": policy_loss.detach(),
            "entropy": -mean_log_prob,
            "temperature": temperature,
        }

    @torch.no_grad()
    def write_back(self) -> None:
        """Give the members their networks and learned numbers, in place."""
        for number, agent in enumerate(self.agents):
            for key, value in agent.state().items():
                if key in self.stacks:
                    value.copy_(self.stacks[key][number])


def _check_plain(agents: Sequence[Any]) -> None:
    """Raise `ConfigError` for settings that this short form leaves out."""
    first, mend = agents[0].config, "use FusedUpdate, which knows them all."
    require(isinstance(agents[0], CQLAgent), "agent name", agents[0].name, "'cql'", mend)
    require(first.auto_alpha, "auto_alpha", first.auto_alpha, "True", mend)
    require(first.proposal_weights == "own", "proposal_weights", first.proposal_weights, "'own'", mend)
    require(first.target_subset is None, "target_subset", first.target_subset, "None", mend)
    require(first.actor_reduction == "min", "actor_reduction", first.actor_reduction, "'min'", mend)
    for agent in agents:
        for name in set(PER_MEMBER_SETTINGS) - {"seed", "cql_alpha", "alpha", "target_entropy", "initial_value"}:
            found, expected = getattr(agent.config, name), getattr(first, name)
            require(found == expected, name, found, f"{expected!r}, as in the first member", mend)
