"""The update of SAC and CQL for one agent or many, written out by hand: static tensors, no autograd, no host sync.

The folder's docstring has the algebra, what must hold, and the letters of shapes. The readable form is
`SACAgent.update` and `CQLAgent.update`; this one is held equal to it on the same noise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import losses
from ..agents.agent import subnormals_as_zero
from ..agents.cql import LOG_MULTIPLIER_RANGE, CQLAgent, CQLConfig
from ..batch import REQUIRED, Batch, Noise
from ..errors import ConfigError, require
from ..networks import LOG_STD_RANGE, TanhGaussian
from .as_built import check_as_built, has_own_penalty
from .stacked_networks import Adam, Networks

# Bytes of a layer's activations for each core, and at least so many for a hidden unit: few enough for its cache, enough
# for long products.
CHUNK_BYTES, BYTES_A_UNIT = 2**20, 3 * 2**12
# Settings in which the members of a stack may differ; so may what a subclass adds, as only its penalty reads it.
PER_MEMBER_SETTINGS = (
    "seed",
    "discount",
    "critic_lr",
    "actor_lr",
    "temperature_lr",
    "multiplier_lr",
    "alpha",
    "target_entropy",
    "tau",
    "initial_value",
    "critic_weight_decay",
    "cql_alpha",
    "cql_target_action_gap",
)


class FasterUpdate:
    """A callable that does in less time what ``agent.update`` does: ``(batch, noise=None) -> metrics``.

    Settings that are changed while it is in use (``agent.config``, ``target_entropy``, step sizes) are taken over.
    Raises `ConfigError`, now or at the update that finds it, for an agent that is not as this package builds it.
    """

    def __init__(self, agent: Any, chunk_bytes: int | None = None) -> None:
        self.agent, self.stacked = agent, FusedUpdate([agent], chunk_bytes)

    def __call__(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        ready = self.agent.prepare(batch)
        noise = noise or self.agent.draw_noise(ready.size)
        one_member = {name: value[None] for name, value in vars(noise).items() if value is not None}
        metrics = self.stacked.update(Batch(*(ready[name][None] for name in REQUIRED)), Noise(**one_member))
        return {name: value[0] for name, value in metrics.items()}


def check_stackable(agents: Sequence[Any]) -> None:
    """Raise `ConfigError` that names the first setting in which stacked agents differ and must not."""
    require(len(agents), "configs", [], "at least one member")
    first = agents[0]
    added = {field.name for field in dataclasses.fields(first.config)}
    added -= {field.name for field in dataclasses.fields(CQLConfig)}
    shared = [field.name for field in dataclasses.fields(first.config)]
    shared = [name for name in shared if name not in PER_MEMBER_SETTINGS and name not in added]
    check_as_built(agents)
    for number, agent in enumerate(agents):
        if type(agent) is not type(first):
            mend = "train this one in another population."
            raise ConfigError(f"agents[{number}]", f"a {type(agent).__name__}", f"a {type(first).__name__}", mend)
        for name in shared:
            found, expected = getattr(agent.config, name), getattr(first.config, name)
            if found != expected:
                mend = f"members share all but {', '.join(PER_MEMBER_SETTINGS)}: train this one in another population."
                raise ConfigError(f"configs[{number}][{name!r}]", repr(found), f"{expected!r}, as in configs[0]", mend)


def _is_learned(key: str) -> bool:
    return key != "generator" and not key.startswith("module.normaliser.")


class FusedUpdate:
    """M agents of one kind and shape, updated together; `write_back` gives the members what was learned.

    ``chunk_bytes`` bounds a layer's activations (None: what suits the caches, on a GPU 0; 0: all states at once).
    ``matmul_dtype`` torch.bfloat16 multiplies matrices in it and keeps parameters, sums and losses as they are. A
    single agent's tensors are used as they are, not copied: a checkpoint loaded into it is loaded here. Raises
    `ConfigError` if an agent is not as built or members cannot be stacked, at the start and before every update.
    """

    def __init__(
        self, agents: Sequence[Any], chunk_bytes: int | None = None, matmul_dtype: torch.dtype | None = None
    ) -> None:
        self.agents = list(agents)
        self._chunk_bytes, self._matmul_dtype = chunk_bytes, matmul_dtype
        self.stack()

    def stack(self) -> None:
        """Take the members' tensors and settings as they are now; what was not written back is lost."""
        check_stackable(self.agents)
        agents, self.config = self.agents, self.agents[0].config
        self.cql, self.dtype, self.device = isinstance(agents[0], CQLAgent), agents[0].dtype, agents[0].device
        suits = max(CHUNK_BYTES, BYTES_A_UNIT * self.config.hidden_dim) * torch.get_num_threads()
        suits = suits if self.device.type == "cpu" else 0
        self.chunk_bytes = suits if self._chunk_bytes is None else self._chunk_bytes
        self._seen = self._what_was_read()
        states = [agent.state() for agent in agents]
        self.tensors = {
            key: torch.stack([state[key].detach() for state in states]) if len(agents) > 1 else value.detach()[None]
            for key, value in states[0].items()
            if _is_learned(key)
        }
        self.actor, self.critic, self.target = (
            Networks(self._all(f"module.{name}.weights."), self._all(f"module.{name}.biases."), self._matmul_dtype)
            for name in ("actor", "critic", "target_critic")
        )
        if self.cql:
            self.critic.split(self.config.state_dim)
        self.target.buffers = self.critic.buffers  # they are never needed at once
        learned = [f"log_{name}" for name in agents[0].optimizers if name not in ("critic", "actor")]
        self.numbers = {name: self.tensors[f"parameter.{name}"] for name in learned}
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
        self._one_tau = configs[0].tau if len({config.tau for config in configs}) == 1 else None

    # ------------------------------------------------------------ members, their settings and tensors
    def _what_was_read(self) -> list[Any]:
        """What a user may change between two updates: settings, step sizes, and where a single agent's tensors lie."""
        found: list[Any] = [agent.config for agent in self.agents]
        for agent in self.agents:
            found.append(agent.target_entropy)
            for optimizer in agent.optimizers.values():
                group = optimizer.param_groups[0]
                found += [group["lr"], group["weight_decay"], group["eps"], group["betas"]]
        if len(self.agents) == 1:
            agent = self.agents[0]
            for network in (agent.critic, agent.target_critic, agent.actor):
                found += [parameter.data_ptr() for parameter in (*network.weights, *network.biases)]
            found += [next(iter(one.state.values()))["exp_avg"].data_ptr() for one in agent.optimizers.values()]
        return found

    def refresh(self) -> bool:
        """Take over what was changed since the last update, and say whether that was anything.

        Raises `ConfigError` for what cannot be honoured. `update` calls this first.
        """
        check_as_built(self.agents)
        changed = self._what_was_read() != self._seen
        if changed:
            self.write_back()
            self.stack()
        return changed

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
            names = ("lr", "weight_decay", "eps", "betas")
            runs = [(*(o[n] for n in names), step) for o, step in zip(options, taken, strict=True)]
            starts = [i for i in range(len(runs)) if i == 0 or runs[i] != runs[i - 1]]
            for begin, end in zip(starts, [*starts[1:], len(runs)], strict=True):
                adam = Adam([], [], [], [], [], options[begin])
                for index, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
                    average, square, step = (
                        self.tensors[f"optimizer.{name}.{index}.{kind}"] for kind in ("exp_avg", "exp_avg_sq", "step")
                    )
                    for list_, tensor in zip(adam[:4], (parameter, gradient, average, square), strict=True):
                        list_.append(tensor[begin:end])
                    adam.steps.append(step[begin])  # the first of a run counts for all, see `write_back`
                    self._steps.append(step[begin:end])
                found.append(adam)
        return found

    @torch.no_grad()
    def write_back(self) -> None:
        """Give the members their networks, optimisers and learned numbers, in place."""
        for step in self._steps:
            step.copy_(step[:1].clone().expand_as(step))
        for number, agent in enumerate(self.agents if len(self.agents) > 1 else ()):
            for key, value in agent.state().items():
                if _is_learned(key):
                    value.copy_(self.tensors[key][number])

    # ------------------------------------------------------------ one update
    @torch.no_grad()
    @subnormals_as_zero()
    def update(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """One update of every member; columns are ``[M, B, ...]``, already prepared; each metric is ``[M]``."""
        self.refresh()
        assert noise.actor is not None
        size = batch.rewards.shape[1]
        states = torch.cat([batch.observations, batch.next_observations], dim=1)
        layers = self.actor.hidden(self.actor.layer(0, states))
        if self.config.hidden_layers:
            layers.append(self.actor.layer(self.config.hidden_layers, layers[-1]))
        mean, raw = layers[-1].to(self.dtype).chunk(2, -1)
        log_std = raw.clamp(*LOG_STD_RANGE)
        policy, next_policy = (
            TanhGaussian(mean[:, rows].flatten(0, 1), log_std[:, rows].flatten(0, 1))
            for rows in (slice(size), slice(size, None))
        )
        temperature = self.numbers["log_temperature"].exp() if self.config.auto_alpha else self._alpha
        target = self._target_values(batch, next_policy, noise, temperature)
        metrics = self._critics(batch, target, policy, next_policy, noise)
        for adam in self._critic_adam:
            adam.step()
        unclamped = (raw == log_std)[:, :size]  # where the clamp lets a gradient through
        own_layers = [layer[:, :size] for layer in layers]
        metrics |= self._actor(batch.observations, policy, unclamped, own_layers, noise.actor, temperature)
        if self.cql and self.config.cql_lagrange:
            torch.sub(self._gap_target, metrics["cql_gap"], out=self.number_gradients["log_multiplier"])
        for adam in self._other_adam:
            adam.step()
        if self.cql and self.config.cql_lagrange:
            self.numbers["log_multiplier"].clamp_(*LOG_MULTIPLIER_RANGE)
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

    def _target_values(self, batch: Batch, next_policy: TanhGaussian, noise: Noise, temperature: Tensor) -> Tensor:
        """Step 1 of the readable update for every member: the Bellman target, ``[M, B]``."""
        assert noise.target is not None
        shape = batch.rewards.shape
        pre_tanh = next_policy.pre_tanh(noise.target.flatten(0, 1))
        rows = torch.cat([batch.next_observations, torch.tanh(pre_tanh).unflatten(0, shape)], -1)
        values = self.target.value(self.target.hidden(self.target.layer(0, self._by_critic(rows, "rows"))))
        values = values.view(shape[0], -1, shape[1])
        if self.config.target_subset is not None:  # each member's own critics
            assert noise.subset is not None
            values = values.gather(1, noise.subset[:, :, None].expand(-1, -1, shape[1]))
        next_values = values.amin(1)
        if self.config.backup_entropy:
            next_values = next_values - temperature[:, None] * next_policy.log_prob(pre_tanh).view(shape)
        return losses.td_target(batch.rewards, batch.terminations, next_values, self._discount[:, None])

    def _critics(
        self, batch: Batch, target: Tensor, policy: TanhGaussian, next_policy: TanhGaussian, noise: Noise
    ) -> dict[str, Tensor]:
        """Step 2: gradients of ``sum_j [mean (Q_j - y)^2 + cql_alpha penalty_j]`` and the metrics, chunk by chunk."""
        members, size = target.shape
        actions, log_density = batch.actions[:, :, None], target.new_zeros(members, size, 0)
        if self.cql:
            flat = Noise(**{k: None if v is None else v.flatten(0, 1) for k, v in vars(noise).items()})
            candidates, density = self.agents[0].sample_candidates(policy, next_policy, flat)
            actions = torch.cat([actions, candidates.unflatten(0, target.shape)], dim=2)
            log_density = density.unflatten(0, target.shape)
        weight = self._cql_alpha
        if self.cql and self.config.cql_lagrange:
            weight = self.numbers["log_multiplier"].exp()
        own_penalty = any(has_own_penalty(agent) for agent in self.agents)
        count, width = actions.shape[2], self.config.state_dim
        if not self.cql:
            rows = self._by_critic(torch.cat([batch.observations, batch.actions], -1), "rows")
        else:  # the first layer's part for the observation, once a state
            states = self._by_critic(batch.observations, "states")
            actions = self._by_critic(actions.flatten(1, 2), "actions")
            state_part = self.critic.layer(0, states, slice(width), "state")
            grad_state_part = self.critic.buffer("state gradient", *state_part.shape)
            action_weight = self.critic.weights[0][:, width:].to(self.critic.matmul_dtype)
        q_all = target.new_empty(members, self.config.n_critics, size, count)
        grad_q, scaled = torch.empty_like(q_all), self.critic.scaled()
        row_bytes = q_all[:, :, 0].numel() * self.config.hidden_dim * target.element_size()
        step = max(1, self.chunk_bytes // row_bytes) if self.chunk_bytes and not own_penalty else size
        self.critic.zero()
        for begin in range(0, size, step):
            part = slice(begin, begin + step)
            if not self.cql:
                first = self.critic.layer(0, rows[:, part])
            else:
                own = actions[:, begin * count : (begin + step) * count].to(self.critic.matmul_dtype)
                first = self.critic.buffer("layer 0", *own.shape[:2], state_part.shape[2])
                first.unflatten(1, (-1, count)).copy_(state_part[:, part, None])
                first.baddbmm_(own, action_weight)
            layers = self.critic.hidden(first)
            q, dq = q_all[:, :, part], grad_q[:, :, part]
            q.copy_(self.critic.value(layers).view(q.shape))
            if own_penalty:  # of all states at once
                penalty = self._gradient_by_autograd(q, target[:, None], log_density, weight, dq)
            else:
                penalty = None
                self._gradient_at_q(q, target[:, None, part], log_density[:, None, part], weight, size, dq)
            gradient = self.critic.back_from_value(layers, dq.flatten(2).flatten(0, 1), scaled)
            if not self.cql:
                self.critic.add(0, rows[:, part], gradient)
            else:
                torch.sum(gradient.unflatten(1, (-1, count)), 2, out=grad_state_part[:, part])
                self.critic.add(0, own, gradient, 1)
        if self.cql:
            self.critic.add(0, states, grad_state_part, 0)
        self.critic.finish(grad_q.flatten(2).flatten(0, 1))
        return self._critic_metrics(q_all, target, log_density, weight, penalty)

    def _gradient_at_q(
        self, q: Tensor, target: Tensor, log_density: Tensor, weight: Tensor, size: int, out: Tensor
    ) -> None:
        """The loss's gradient at some states' ``q [M, E, b, 1 + K]``: squared error, push down, pull up."""
        torch.mul(q[..., 0] - target, 2.0 / size, out=out[..., 0])
        if self.cql:
            share = (weight / size)[:, None, None]
            torch.mul(torch.softmax(q[..., 1:] - log_density, -1), share[..., None], out=out[..., 1:])
            out[..., 0] -= share

    def _gradient_by_autograd(
        self, q: Tensor, target: Tensor, log_density: Tensor, weight: Tensor, out: Tensor
    ) -> Tensor:
        """The same with each member's own penalty, which is returned, ``[M]``: only a subclass has one."""
        torch.mul(q[..., 0] - target, 2.0 / target.shape[-1], out=out[..., 0])
        out[..., 1:] = 0.0
        penalties = []
        for member, agent in enumerate(self.agents):
            with torch.enable_grad():
                values = q[member].clone().requires_grad_()
                penalty = agent.penalty(values[..., 1:], log_density[member], values[..., 0])
                (gradient,) = torch.autograd.grad(penalty.sum(), values)
            out[member] += weight[member] * gradient
            penalties.append(penalty.detach().mean())
        return torch.stack(penalties)

    def _critic_metrics(
        self, q: Tensor, target: Tensor, log_density: Tensor, weight: Tensor, penalty: Tensor | None
    ) -> dict[str, Tensor]:
        """What is logged of the critics' values ``[M, E, B, 1 + K]`` before their step."""
        q_data = q[..., 0]
        q_value = q_data.mean((1, 2)) / self.config.reward_scale
        metrics = {"q_value": q_value, "td_loss": (q_data - target[:, None]).square().mean((1, 2))}
        if not self.cql:
            return metrics
        if penalty is None:
            penalty = (losses.log_partition(q[..., 1:], log_density[:, None]) - q_data).mean((1, 2))
        gap = losses.normalised_gap(penalty, self.config.action_dim)
        return {"cql_loss": penalty, "cql_gap": gap, **metrics, "cql_alpha": weight}

    def _actor(
        self,
        states: Tensor,
        policy: TanhGaussian,
        unclamped: Tensor,
        layers: list[Tensor],
        noise: Tensor,
        temperature: Tensor,
    ) -> dict[str, Tensor]:
        """Steps 3 and 4: gradients of ``E [temperature log pi - min_j Q_j]`` (or mean) and of the temperature's."""
        members, size = states.shape[:2]
        sample = policy.sample(noise.flatten(0, 1))
        actions, log_prob = sample.actions.unflatten(0, (members, size)), sample.log_prob.view(members, size)
        rows = torch.cat([states, actions], -1)
        layers_of_q = self.critic.hidden(self.critic.layer(0, self._by_critic(rows, "rows")))
        q = self.critic.value(layers_of_q).view(members, -1, size)
        if self.config.actor_reduction == "mean":
            q_climbed = q.mean(1)
            grad_q = torch.full_like(q, -1.0 / (q.shape[1] * size)).view(-1, size)
        else:
            q_climbed = q.amin(1)
            least = (q == q_climbed[:, None]).to(self.dtype)
            grad_q = (least / (least.sum(1, keepdim=True) * -size)).view(-1, size)
        scaled = self.critic.scaled()
        gradient = self.critic.back_from_value(layers_of_q, grad_q, scaled, keep=False)
        da = torch.bmm(gradient, scaled[0][:, self.config.state_dim :].transpose(1, 2)).to(self.dtype)
        da = da.view(members, -1, *actions.shape[1:]).sum(1)
        # log pi = const - log_std - log(1 - a^2) as a function of u = mean + std noise, so d log pi / du = 2 a.
        share = (temperature / size)[:, None, None]
        du = da * (1.0 - actions.square()) + 2.0 * share * actions
        spread = (sample.pre_tanh - policy.mean).view_as(du)
        gradient = torch.cat([du, (du * spread - share) * unclamped], -1)
        self.actor.zero()
        matmul_dtype = self.actor.matmul_dtype
        weights = [weight.to(matmul_dtype) for weight in self.actor.weights]
        gradient = self.actor.back(layers, gradient.to(matmul_dtype), weights)
        self.actor.add(0, states, gradient)
        mean_log_prob = log_prob.mean(1)
        if self.config.auto_alpha:
            self.number_gradients["log_temperature"].copy_(-mean_log_prob - self._target_entropy)
        loss = temperature * mean_log_prob - q_climbed.mean(1)
        return {"policy_loss": loss, "entropy": -mean_log_prob, "temperature": temperature}
