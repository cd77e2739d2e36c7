"""The update of SAC and CQL for M agents at once, written out by hand: static tensors, no autograd, no host sync.

The readable form is `SACAgent.update` and `CQLAgent.update`; this one is held equal to it on the same noise. It is what
an agent runs on a CPU by default, what `population` runs for many, and what `cuda_graph` captures on a GPU. What makes
it fast: nothing is computed that no gradient needs; memory is asked for once; the candidates are worked through a few
states at a time, so that what the backward pass reads is still in the cache (a GPU wants all states at once); the
critics' first layer is cut in two, its part for the observation computed once a state, not once a candidate; and a
critic's last layer is one number wide, so that its weight is left out of every row, see `Networks.back_from_value`.

Letters in shapes: M members, E critics of each, G = M E networks, B transitions, K candidates a state, H hidden units.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import losses
from ..agents.agent import subnormals_as_zero
from ..batch import REQUIRED, Batch, Noise
from ..errors import ConfigError, require
from ..networks import LOG_STD_RANGE, TanhGaussian
from .stacked_networks import Adam, Networks

# Bytes of a layer's activations for each core, and at least so many for a hidden unit: few enough for its cache, enough
# for long products.
CHUNK_BYTES, BYTES_A_UNIT = 2**20, 3 * 2**12
MAY_DIFFER = (
    "seed", "discount", "critic_lr", "actor_lr", "temperature_lr", "multiplier_lr", "alpha", "target_entropy", "tau",
    "initial_value", "critic_weight_decay", "cql_alpha", "cql_target_action_gap", "pitfall", "update_path",
)  # fmt: skip


def update(agent: Any, batch: Batch, noise: Noise) -> dict[str, Tensor]:
    """`CQLAgent.update` or `SACAgent.update` of one agent, from the prepared batch on."""
    if agent.workspace is None or not agent.workspace.is_current():
        agent.workspace = FusedUpdate([weakref.proxy(agent)])  # no cycle: the buffers go when the agent goes
    lifted = {name: value[None] for name, value in vars(noise).items() if value is not None}
    metrics = agent.workspace.update(Batch(*(batch[name][None] for name in REQUIRED)), Noise(**lifted))
    return {name: value[0] for name, value in metrics.items()}


def check_alike(agents: Sequence[Any]) -> None:
    """Raises `ConfigError` naming the first setting in which stacked agents differ and must not."""
    require(len(agents), "configs", [], "at least one member")
    first = agents[0]
    require(first.config.has_fused_update, "agent name", first.name, "'sac' or 'cql'", "train it alone, with fit.")
    for number, agent in enumerate(agents):
        kinds, mend = "SACAgent or CQLAgent, not a class made of one", "train it alone, with fit."
        require(agent.own_equations, f"agents[{number}]", f"a {type(agent).__name__}", kinds, mend)
        for field in ("name", *(f.name for f in dataclasses.fields(first.config) if f.name not in MAY_DIFFER)):
            ours, theirs = (getattr(a if field == "name" else a.config, field) for a in (agent, first))
            if ours != theirs:
                mend = f"members share all but {', '.join(MAY_DIFFER)}: train this one in another population."
                raise ConfigError(f"configs[{number}][{field!r}]", repr(ours), f"{theirs!r}, as in configs[0]", mend)


class FusedUpdate:
    """M agents of one kind and shape, updated together; `push` gives the members what was learned.

    ``chunk_bytes`` bounds a layer's activations (None: what suits the cores' caches; 0: all states at once).
    ``matmul_dtype`` torch.bfloat16 multiplies matrices in it and keeps parameters, sums and losses as they are. A
    single agent's tensors are used as they are, not copied: a checkpoint loaded into it is loaded here. Raises
    `ConfigError` if members cannot be stacked.
    """

    def __init__(
        self, agents: Sequence[Any], chunk_bytes: int | None = None, matmul_dtype: torch.dtype | None = None
    ) -> None:
        check_alike(agents)
        self.agents, self.config = list(agents), agents[0].config
        suits = max(CHUNK_BYTES, BYTES_A_UNIT * self.config.hidden_dim) * torch.get_num_threads()
        self.chunk_bytes = suits if chunk_bytes is None else chunk_bytes
        self.cql, self.dtype, self.device = agents[0].name == "cql", agents[0].dtype, agents[0].device
        states = [agent.state() for agent in agents]
        self._places = _places(agents[0])
        self.tensors = {
            key: torch.stack([state[key] for state in states]) if len(agents) > 1 else value[None]
            for key, value in states[0].items()
            if key != "generator"
        }
        self.actor, self.critic, self.target = (
            Networks(self._all(f"module.{name}.weights."), self._all(f"module.{name}.biases."), matmul_dtype)
            for name in ("actor", "critic", "target_critic")
        )
        if self.cql:
            self.critic.split(self.config.state_dim)
        self.target.buffers = self.critic.buffers  # they are never needed at once
        self.numbers = {name: self.tensors[f"parameter.{name}"] for name in agents[0].parameters}
        self.number_gradients = {name: torch.zeros_like(value) for name, value in self.numbers.items()}
        self._steps: list[Tensor] = []
        self._critic_adam = self._adam({"critic": (self.critic.parameters, self.critic.gradients)})
        parts = {"actor": (self.actor.parameters, self.actor.gradients)}
        parts |= {n.removeprefix("log_"): ([self.numbers[n]], [g]) for n, g in self.number_gradients.items()}
        self._other_adam = self._adam(parts)
        configs = [agent.config for agent in agents]
        self._discount, self._tau, self._cql_alpha, self._alpha, self._gap_target = (
            self._column(configs, name) for name in ("discount", "tau", "cql_alpha", "alpha", "cql_target_action_gap")
        )
        self._target_entropy = self._column(agents, "target_entropy")
        self._pitfall = self.cql and any(config.pitfall is not None for config in configs)
        self._one_tau = configs[0].tau if len({config.tau for config in configs}) == 1 else None

    # ------------------------------------------------------------ members and their tensors
    def _all(self, prefix: str) -> list[Tensor]:
        return [value for key, value in self.tensors.items() if key.startswith(prefix)]

    def _column(self, members: Sequence[Any], name: str) -> Tensor:
        """A number of every member, ``[M]``; zeros where this kind of agent has none."""
        return torch.tensor([getattr(m, name, 0.0) for m in members], dtype=self.dtype, device=self.device)

    def _adam(self, parts: dict[str, tuple[list[Tensor], list[Tensor]]]) -> list[Adam]:
        """A step of Adam for each run of neighbours that share step size, weight decay and steps taken."""
        found = []
        for name, (parameters, gradients) in parts.items():
            taken = self.tensors[f"optimizer.{name}.0.step"].tolist()
            options = [agent.optimizers[name].param_groups[0] for agent in self.agents]
            runs = [(o["lr"], o["weight_decay"], step) for o, step in zip(options, taken, strict=True)]
            starts = [i for i in range(len(runs)) if i == 0 or runs[i] != runs[i - 1]]
            for begin, end in zip(starts, [*starts[1:], len(runs)], strict=True):
                adam = Adam([], [], [], [], [], options[begin])
                for index, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
                    average, square, step = (
                        self.tensors[f"optimizer.{name}.{index}.{kind}"] for kind in ("exp_avg", "exp_avg_sq", "step")
                    )
                    for list_, tensor in zip(adam[:4], (parameter, gradient, average, square), strict=True):
                        list_.append(tensor[begin:end])
                    adam.steps.append(step[begin])  # the first of a run counts for all, see `push`
                    self._steps.append(step[begin:end])
                found.append(adam)
        return found

    def is_current(self) -> bool:
        """Whether a single agent's tensors are still those that were taken; somebody may have put others in place."""
        return _places(self.agents[0]) == self._places

    @torch.no_grad()
    def push(self) -> None:
        """Give the members their networks, optimisers and learned numbers, in place."""
        for step in self._steps:
            step.copy_(step[:1].clone().expand_as(step))
        for number, agent in enumerate(self.agents if len(self.agents) > 1 else ()):
            for key, value in agent.state().items():
                if key != "generator":
                    value.copy_(self.tensors[key][number])

    # ------------------------------------------------------------ one update
    @torch.no_grad()
    @subnormals_as_zero()
    def update(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """One update of every member; columns are ``[M, B, ...]``, already prepared; each metric is ``[M]``."""
        assert noise.actor is not None
        size = batch.rewards.shape[1]
        both = torch.cat([batch.observations, batch.next_observations], dim=1)
        layers = self.actor.hidden(self.actor.layer(0, both))
        if self.config.hidden_layers:
            layers.append(self.actor.layer(self.config.hidden_layers, layers[-1]))
        mean, raw = layers[-1].to(self.dtype).chunk(2, -1)
        log_std = raw.clamp(*LOG_STD_RANGE)
        here, there = (
            TanhGaussian(mean[:, rows].flatten(0, 1), log_std[:, rows].flatten(0, 1))
            for rows in (slice(size), slice(size, None))
        )
        temperature = self.numbers["log_temperature"].exp() if self.config.auto_alpha else self._alpha
        target = self._target_values(batch, there, noise, temperature)
        metrics = self._critics(batch, target, here, there, noise)
        for adam in self._critic_adam:
            adam.step()
        inside = (raw == log_std)[:, :size]  # where the clamp lets a gradient through
        rows = [layer[:, :size] for layer in layers]
        metrics |= self._actor(batch.observations, here, inside, rows, noise.actor, temperature)
        if self.cql and self.config.cql_lagrange:
            torch.sub(self._gap_target, metrics["cql_gap"], out=self.number_gradients["log_multiplier"])
        for adam in self._other_adam:
            adam.step()
        if self.cql and self.config.cql_lagrange:
            self.numbers["log_multiplier"].clamp_(*self.agents[0]._log_bounds)
        self._update_targets()
        return metrics

    def _update_targets(self) -> None:
        if self._one_tau is not None:  # one call, in place of one for each tensor
            torch._foreach_lerp_(self.target.parameters, self.critic.parameters, self._one_tau)
            return
        for old, new in zip(self.target.parameters, self.critic.parameters, strict=True):
            old.lerp_(new, self._tau[:, None, None, None])

    def _by_critic(self, x: Tensor, name: str) -> Tensor:
        """``[M, R, n]`` for each of a member's E critics, in the buffer of that name: ``[G, R, n]``."""
        out = self.critic.buffer(name, len(x), self.config.n_critics, *x.shape[1:])
        return out.copy_(x[:, None].expand_as(out)).flatten(0, 1)

    def _target_values(self, batch: Batch, there: TanhGaussian, noise: Noise, temperature: Tensor) -> Tensor:
        """`ActorCritic.bellman_target` of every member, ``[M, B]``."""
        assert noise.target is not None
        shape = batch.rewards.shape
        pre_tanh = there.pre_tanh(noise.target.flatten(0, 1))
        rows = torch.cat([batch.next_observations, torch.tanh(pre_tanh).unflatten(0, shape)], -1)
        values = self.target.value(self.target.hidden(self.target.layer(0, self._by_critic(rows, "rows"))))
        next_values = values.view(shape[0], -1, shape[1]).amin(1)
        if self.config.backup_entropy:
            next_values = next_values - temperature[:, None] * there.log_prob(pre_tanh).view(shape)
        return losses.td_target(batch.rewards, batch.terminations, next_values, self._discount[:, None])

    def _critics(
        self, batch: Batch, target: Tensor, here: TanhGaussian, there: TanhGaussian, noise: Noise
    ) -> dict[str, Tensor]:
        """Gradients of ``sum_j [mean (Q_j - y)^2 + cql_alpha penalty_j]`` and the metrics, a few states at a time."""
        members, size = target.shape
        actions, log_density = batch.actions[:, :, None], target.new_zeros(members, size, 0)
        if self.cql:
            flat = Noise(**{k: None if v is None else v.flatten(0, 1) for k, v in vars(noise).items()})
            candidates, density = self.agents[0].propose(here, there, flat)
            actions = torch.cat([actions, candidates.unflatten(0, target.shape)], dim=2)
            log_density = density.unflatten(0, target.shape)
        weight = self._cql_alpha
        if self.cql and self.config.cql_lagrange:
            weight = self.numbers["log_multiplier"].exp()
        count, width = actions.shape[2], self.config.state_dim
        if not self.cql:
            rows = self._by_critic(torch.cat([batch.observations, batch.actions], -1), "rows")
        else:  # the first layer's part for the observation, once a state
            states = self._by_critic(batch.observations, "states")
            actions = self._by_critic(actions.flatten(1, 2), "actions")
            once = self.critic.layer(0, states, slice(width), "state")
            flow = self.critic.buffer("state flow", *once.shape)
            of_actions = self.critic.weights[0][:, width:].to(self.critic.low)
        q_all = target.new_empty(members, self.config.n_critics, size, count)
        slopes, scaled = torch.empty_like(q_all), self.critic.scaled()
        row_bytes = q_all[:, :, 0].numel() * self.config.hidden_dim * target.element_size()
        step = max(1, self.chunk_bytes // row_bytes) if self.chunk_bytes and not self._pitfall else size
        self.critic.zero()
        for begin in range(0, size, step):
            part = slice(begin, begin + step)
            if not self.cql:
                first = self.critic.layer(0, rows[:, part])
            else:
                own = actions[:, begin * count : (begin + step) * count].to(self.critic.low)
                first = self.critic.buffer("layer 0", *own.shape[:2], once.shape[2])
                first.unflatten(1, (-1, count)).copy_(once[:, part, None])
                first.baddbmm_(own, of_actions)
            layers = self.critic.hidden(first)
            q, dq = q_all[:, :, part], slopes[:, :, part]
            q.copy_(self.critic.value(layers).view(q.shape))
            wrong = self._slopes(q, target[:, None, part], log_density[:, None, part], weight, size, dq)
            gradient = self.critic.back_from_value(layers, dq.flatten(2).flatten(0, 1), scaled)
            if not self.cql:
                self.critic.add(0, rows[:, part], gradient)
            else:
                torch.sum(gradient.unflatten(1, (-1, count)), 2, out=flow[:, part])
                self.critic.add(0, own, gradient, 1)
        if self.cql:
            self.critic.add(0, states, flow, 0)
        self.critic.finish(slopes.flatten(2).flatten(0, 1))
        return self._critic_metrics(q_all, target, log_density, weight, wrong)

    def _slopes(
        self, q: Tensor, target: Tensor, log_density: Tensor, weight: Tensor, size: int, out: Tensor
    ) -> Tensor | None:
        """The gradient at some states' ``q [M, E, b, 1 + K]``; the members' penalties ``[M]`` where some are wrong."""
        share = (weight / size)[:, None, None]
        torch.mul(q[..., 0] - target, 2.0 / size, out=out[..., 0])
        if self._pitfall:  # each member's own penalty, of all states at once, by autograd
            out[..., 1:] = 0.0
            penalties = []
            for member, agent in enumerate(self.agents):
                with torch.enable_grad():
                    values = q[member].clone().requires_grad_()
                    penalty = agent.penalty(values[..., 1:], log_density[member, 0], values[..., 0])
                    (gradient,) = torch.autograd.grad(penalty.sum(), values)
                out[member] += weight[member] * gradient
                penalties.append(penalty.detach().mean())
            return torch.stack(penalties)
        if self.cql:
            torch.mul(torch.softmax(q[..., 1:] - log_density, -1), share[..., None], out=out[..., 1:])
            out[..., 0] -= share
        return None

    def _critic_metrics(
        self, q: Tensor, target: Tensor, log_density: Tensor, weight: Tensor, penalty: Tensor | None
    ) -> dict[str, Tensor]:
        """What is logged of the critics' values ``[M, E, B, 1 + K]`` before their step."""
        q_data = q[..., 0]
        metrics = {"q_value": q_data.mean((1, 2)), "td_loss": (q_data - target[:, None]).square().mean((1, 2))}
        if not self.cql:
            return metrics
        if penalty is None:
            penalty = (losses.log_partition(q[..., 1:], log_density[:, None]) - q_data).mean((1, 2))
        gap = losses.normalised_gap(penalty, self.config.action_dim)
        return {"cql_loss": penalty, "cql_gap": gap, **metrics, "cql_alpha": weight}

    def _actor(
        self, states: Tensor, here: TanhGaussian, inside: Tensor, layers: list[Tensor], noise: Tensor,
        temperature: Tensor,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Gradients of ``E [temperature log pi - min_j Q_j]`` and of the temperature's loss, with the new critics."""
        members, size = states.shape[:2]
        sample = here.sample(noise.flatten(0, 1))
        actions, log_prob = sample.actions.unflatten(0, (members, size)), sample.log_prob.view(members, size)
        rows = torch.cat([states, actions], -1)
        layers_of_q = self.critic.hidden(self.critic.layer(0, self._by_critic(rows, "rows")))
        q = self.critic.value(layers_of_q).view(members, -1, size)
        q_min = q.amin(1, keepdim=True)
        least = (q == q_min).to(self.dtype)
        slopes = (least / (least.sum(1, keepdim=True) * -size)).view(-1, size)
        scaled = self.critic.scaled()
        gradient = self.critic.back_from_value(layers_of_q, slopes, scaled, keep=False)
        da = torch.bmm(gradient, scaled[0][:, self.config.state_dim :].transpose(1, 2)).to(self.dtype)
        da = da.view(members, -1, *actions.shape[1:]).sum(1)
        # log pi = const - log_std - log(1 - a^2) as a function of u = mean + std noise, so d log pi / du = 2 a.
        share = (temperature / size)[:, None, None]
        du = da * (1.0 - actions.square()) + 2.0 * share * actions
        spread = (sample.pre_tanh - here.mean).view_as(du)
        gradient = torch.cat([du, (du * spread - share) * inside], -1)
        self.actor.zero()
        low = self.actor.low
        gradient = self.actor.back(layers, gradient.to(low), [weight.to(low) for weight in self.actor.weights])
        self.actor.add(0, states, gradient)
        mean_log_prob = log_prob.mean(1)
        if self.config.auto_alpha:
            self.number_gradients["log_temperature"].copy_(-mean_log_prob - self._target_entropy)
        loss = temperature * mean_log_prob - q_min.squeeze(1).mean(1)
        return {"policy_loss": loss, "entropy": -mean_log_prob, "temperature": temperature, "alpha": temperature}


def _places(agent: Any) -> list[int]:
    """Where the agent's networks lie in memory, and the first tensor of each optimiser."""
    networks = [parameter for module in agent.modules.values() for parameter in module.parameters()]
    optimizers = [next(iter(one.state.values()))["exp_avg"] for one in agent.optimizers.values()]
    return [tensor.data_ptr() for tensor in (*networks, *optimizers)]
