"""What `updates.py` measures ours against: a textbook CQL update, written plainly, and d3rlpy's (in `.venv-bench`)."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal

STATES, ACTIONS, CQL_WEIGHT = 17, 6, 5.0


def network(inputs: int, outputs: int, hidden: list[int]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    sizes = [inputs, *hidden]
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


class Textbook:
    """CQL(H) in the form of the common single-file codes (young-geng's CQL, CORL), without Lagrange.

    Two critics that are called apart for each set of proposals, an actor that runs on repeated rows, gradients of the
    whole loss, and every metric read with `.item()` at each step.
    """

    def __init__(self, hidden: list[int], n_actions: int) -> None:
        self.n = n_actions
        self.policy = network(STATES, 2 * ACTIONS, hidden)
        self.critics = [network(STATES + ACTIONS, 1, hidden) for _ in range(2)]
        self.targets = copy.deepcopy(self.critics)
        self.log_temperature = torch.zeros((), requires_grad=True)
        self.policy_optimizer = torch.optim.Adam(self.policy.parameters(), 1e-4)
        self.critic_optimizer = torch.optim.Adam([p for q in self.critics for p in q.parameters()], 3e-4)
        self.temperature_optimizer = torch.optim.Adam([self.log_temperature], 3e-4)

    def act(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """A reparameterised action and its log-density for each row."""
        mean, log_std = self.policy(observations).chunk(2, -1)
        normal = Normal(mean, log_std.clamp(-20, 2).exp(), validate_args=False)
        raw = normal.rsample()
        log_prob = normal.log_prob(raw) - 2 * (math.log(2) - raw - nn.functional.softplus(-2 * raw))
        return torch.tanh(raw), log_prob.sum(-1)

    def value(self, critic: nn.Module, observations: Tensor, actions: Tensor) -> Tensor:
        """Q of one action a state, ``[B]``, or of N, ``[B, N]``."""
        if actions.dim() == 3:
            rows = observations.unsqueeze(1).repeat(1, actions.shape[1], 1)
            return critic(torch.cat([rows, actions], -1).flatten(0, 1)).view(actions.shape[:2])
        return critic(torch.cat([observations, actions], -1)).squeeze(-1)

    def proposals(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """N actions of the policy for each state, the actor run on N copies of it."""
        size = len(observations)
        actions, log_prob = self.act(observations.unsqueeze(1).repeat(1, self.n, 1).flatten(0, 1))
        return actions.view(size, self.n, -1).detach(), log_prob.view(size, self.n).detach()

    def update(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """One step of everything."""
        s, a, s2 = batch["observations"], batch["actions"], batch["next_observations"]
        new_actions, log_prob = self.act(s)
        temperature_loss = -(self.log_temperature * (log_prob.detach() - ACTIONS)).mean()
        temperature = self.log_temperature.exp().detach()
        q_new = torch.min(*(self.value(q, s, new_actions) for q in self.critics))
        policy_loss = (temperature * log_prob - q_new).mean()

        with torch.no_grad():
            next_action, _ = self.act(s2)
            next_q = torch.min(*(self.value(q, s2, next_action) for q in self.targets))
            target = batch["rewards"] + 0.99 * (1 - batch["terminations"].float()) * next_q
        uniform = torch.empty(len(s), self.n, ACTIONS).uniform_(-1, 1)
        here, here_density = self.proposals(s)
        there, there_density = self.proposals(s2)
        metrics: dict[str, float] = {}
        loss = torch.zeros(())
        for j, q in enumerate(self.critics):
            q_data = self.value(q, s, a)
            td_loss = nn.functional.mse_loss(q_data, target)
            q_uniform, q_here, q_there = (self.value(q, s, x) for x in (uniform, here, there))
            weighted = [q_uniform - ACTIONS * math.log(0.5), q_there - there_density, q_here - here_density]
            gap = (torch.logsumexp(torch.cat(weighted, 1), 1) - q_data).mean()
            loss = loss + td_loss + CQL_WEIGHT * gap
            values = {"q": q_data, "uniform": q_uniform, "here": q_here, "there": q_there, "td": td_loss, "gap": gap}
            metrics |= {f"{name}{j}": value.mean().item() for name, value in values.items()}

        self.temperature_optimizer.zero_grad()
        temperature_loss.backward()
        self.temperature_optimizer.step()
        self.policy_optimizer.zero_grad()
        policy_loss.backward()
        self.policy_optimizer.step()
        self.critic_optimizer.zero_grad()  # the policy's loss left gradients there
        loss.backward()
        self.critic_optimizer.step()
        with torch.no_grad():
            for q, target_q in zip(self.critics, self.targets, strict=True):
                for p, t in zip(q.parameters(), target_q.parameters(), strict=True):
                    t.copy_(0.995 * t + 0.005 * p)
        losses = {"policy_loss": policy_loss, "log_prob": log_prob.mean(), "temperature": temperature, "loss": loss}
        return metrics | {name: value.item() for name, value in losses.items()}


def d3rlpy_update(hidden: list[int], n_actions: int, batch: dict[str, Tensor]) -> Callable[[], Any]:
    """d3rlpy's own update on a batch that is already in torch, without Lagrange."""
    import d3rlpy
    from d3rlpy.torch_utility import TorchMiniBatch

    encoder = d3rlpy.models.VectorEncoderFactory(hidden_units=hidden)
    config = d3rlpy.algos.CQLConfig(
        actor_encoder_factory=encoder,
        critic_encoder_factory=encoder,
        n_action_samples=n_actions,
        alpha_threshold=0.0,
        alpha_learning_rate=0.0,
        conservative_weight=CQL_WEIGHT,
        actor_learning_rate=1e-4,
        critic_learning_rate=3e-4,
    )
    agent = config.create(device=False)
    agent.create_impl((STATES,), ACTIONS)
    columns = {key: batch[key][:, None].float() for key in ("rewards", "terminations")}
    rows = TorchMiniBatch(
        observations=batch["observations"],
        actions=batch["actions"],
        rewards=columns["rewards"],
        next_observations=batch["next_observations"],
        next_actions=batch["actions"],
        returns_to_go=torch.zeros_like(columns["rewards"]),
        terminals=columns["terminations"],
        intervals=torch.ones_like(columns["rewards"]),
        device="cpu:0",
    )
    return lambda: agent.impl.update(rows, 0)


def d3rlpy_sampler(data: dict[str, Any], size: int) -> Callable[[], Any]:
    """d3rlpy's replay buffer over the same transitions: draws a batch (still NumPy)."""
    import d3rlpy

    dataset = d3rlpy.dataset.MDPDataset(
        data["observations"], data["actions"], data["rewards"], data["terminations"], data["truncations"]
    )
    return lambda: dataset.sample_transition_batch(size)
