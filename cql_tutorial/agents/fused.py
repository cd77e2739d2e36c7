"""The update of SAC and CQL with all gradients by hand, in chunks of states and reused buffers.

Equal to the readable update up to rounding (`tests/test_fused.py`), and faster on a CPU for four reasons. A chunk's
activations stay in the cache from their forward pass to their backward pass; those of all candidates would not. A bias
is one more row of its weight, against a column of ones, so that both cost one matrix product, forward and back. A
critic's last layer gives one number: its weight ``w`` multiplies columns of what flows back, so it is left out of every
row and put into the (small) weight matrices once. And ReLU is homogeneous: the gradient of ``w`` is then
``sum_i W_ij G_ij`` of the layer below (W its weight, G its gradient without ``w``), with no further pass over the rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import losses
from ..batch import Batch, Noise
from ..networks import LOG_STD_RANGE, EnsembleMLP, TanhGaussian
from .base import subnormals_as_zero

NUMBERS = 2**19  # of a layer's activations in a chunk: few enough for the cache, enough for long matrix products


class Layers:
    """An ensemble's weights and gradients, and activations of R rows of one member at a time.

    ``weights[l]`` is layer l's weight with the bias as its last row, ``[E, in + 1, out]``; ``gradients[l]`` its
    gradient; ``down[l]`` the weight alone, by which a gradient flows down; ``hidden[l]`` the activations with a last
    column of ones, ``[R, H + 1]``; ``inputs`` rows that end in a one.
    """

    def __init__(self, network: EnsembleMLP, rows: int) -> None:
        like = [w.detach() for w in network.weights]
        self.rows, self.members, width = rows, like[0].shape[0], like[0].shape[2]
        self.weights = [w.new_empty(w.shape[0], w.shape[1] + 1, w.shape[2]) for w in like]
        self.gradients = [torch.empty_like(w) for w in self.weights]
        self.down = [torch.empty_like(w) for w in like]
        self.inputs = like[0].new_ones(rows, like[0].shape[1] + 1)
        self.hidden = [like[0].new_ones(rows, width + 1) for _ in like[1:]]
        self.spare = like[0].new_empty(rows, width)

    def read(self, network: EnsembleMLP) -> None:
        """Take the network's parameters as they are now."""
        for own, weight, bias in zip(self.weights, network.weights, network.biases, strict=True):
            torch.cat([weight.detach(), bias.detach()], 1, out=own)
        torch._foreach_copy_(self.down, [w.detach() for w in network.weights])

    def write(self, network: EnsembleMLP) -> None:
        """Give the gradients to the network's parameters, where the optimiser reads them."""
        for weight, bias, gradient in zip(network.weights, network.biases, self.gradients, strict=True):
            weight.grad, bias.grad = gradient[:, :-1].contiguous(), gradient[:, -1:].contiguous()

    def forward(self, member: int, inputs: Tensor, at: int = 0) -> Tensor:
        """The last activations of a member, ``[n, H + 1]``; all of them lie in ``hidden`` from row ``at`` on."""
        rows = slice(at, at + len(inputs))
        for weight, hidden in zip(self.weights[:-1], self.hidden, strict=True):
            active = hidden[rows, :-1]
            torch.mm(inputs, weight[member], out=active)
            active.relu_()
            inputs = hidden[rows]
        return inputs

    def backward(self, member: int, flow: Tensor, inputs: Tensor | None, at: int = 0, first: bool = True) -> Tensor:
        """From a gradient of the last activations, ``[n, H]``, to that of the first layer's sums, ``[n, H]``.

        Overwrites the last activations. Sets the gradients of all layers but the last, or adds to them unless this is
        the ``first`` chunk; without ``inputs`` it leaves them.
        """
        rows = slice(at, at + len(flow))
        top, spare = self.hidden[-1][rows, :-1], self.spare[rows]
        flow = _where_active(flow, top, out=top)
        for layer in reversed(range(len(self.hidden))):
            if inputs is not None:
                below = self.hidden[layer - 1][rows] if layer else inputs
                self.gradients[layer][member].addmm_(below.t(), flow, beta=0.0 if first else 1.0)
            if layer:
                torch.mm(flow, self.down[layer][member].t(), out=spare)
                flow, spare = _where_active(spare, self.hidden[layer - 1][rows, :-1], out=spare), flow
        return flow


def _where_active(gradient: Tensor, activation: Tensor, out: Tensor) -> Tensor:
    """ReLU backwards, ``gradient`` where the activation is above 0: one pass, which may overwrite either."""
    return torch.ops.aten.threshold_backward.grad_input(gradient, activation, 0, grad_input=out)


class Critics(Layers):
    """`Layers` with one number at the end; between `read` and `write`, gradients are kept without the factor ``w``."""

    def read(self, network: EnsembleMLP) -> None:
        super().read(network)
        self.down[-2].mul_(self.down[-1][:, None, :, 0])

    def write(self, network: EnsembleMLP) -> None:
        torch.sum(self.weights[-2] * self.gradients[-2], 1, out=self.gradients[-1][:, :-1, 0])
        self.gradients[-2].mul_(self.down[-1][:, None, :, 0])
        super().write(network)

    def rows_of(self, observations: Tensor, *actions: Tensor) -> Tensor:
        """The rows ``[s, a, 1]`` of states ``[n, S]`` with actions ``[n, K, A]``, K in all: ``[n * K, S + A + 1]``."""
        many, split = sum(part.shape[1] for part in actions), observations.shape[-1]
        rows = self.inputs[: len(observations) * many]
        grid = rows.view(len(observations), many, -1)
        grid[..., :split] = observations[:, None]
        for part, target in zip(actions, grid[..., split:-1].split([p.shape[1] for p in actions], 1), strict=True):
            target.copy_(part)
        return rows

    def values(self, member: int, inputs: Tensor, at: int = 0) -> Tensor:
        """A critic's Q of the rows, ``[n]``."""
        return torch.mv(self.forward(member, inputs, at), self.weights[-1][member, :, 0])

    def flow_down(self, member: int, slope: Tensor, inputs: Tensor | None, at: int = 0, first: bool = True) -> Tensor:
        """`backward` from dL/dQ of the rows, ``[n]``."""
        return self.backward(member, slope[:, None].expand(-1, self.spare.shape[1]), inputs, at, first)


class Workspace:
    """The buffers of an agent's update; they do not grow with the number of candidates."""

    def __init__(self, agent: Any, rows: int, batch_size: int) -> None:
        self.critics, self.actor = Critics(agent.critic, rows), Layers(agent.actor, batch_size)

    @staticmethod
    def of(agent: Any, batch_size: int, many: int) -> Workspace:
        """The agent's own, made anew when a batch needs more rows."""
        most, work = max(many, agent.config.n_critics), agent.workspace
        rows = max(most, min(NUMBERS // agent.config.hidden_dim, batch_size * most))
        if work is None or work.critics.rows < rows or work.actor.rows < batch_size:
            agent.workspace = Workspace(agent, rows, batch_size)
        return agent.workspace


def chunks(size: int, most: int) -> list[slice]:
    """``[0, size)`` in equal parts of at most ``most``."""
    step = -(-size // -(-size // most))
    return [slice(begin, min(begin + step, size)) for begin in range(0, size, step)]


# ---------------------------------------------------------------- the update
@subnormals_as_zero()
def update(agent: Any, batch: Batch, noise: Noise) -> dict[str, Tensor]:
    """`CQLAgent.update` or `SACAgent.update`, from the prepared batch on."""
    assert noise.target is not None and noise.actor is not None
    conservative = hasattr(agent, "propose")
    with torch.no_grad():
        proposals = [noise.uniform, noise.policy, noise.next_policy] if conservative else []
        work = Workspace.of(agent, batch.size, 1 + sum(part.shape[1] for part in proposals if part is not None))
        policy, raw_log_std = read_policy(agent, work.actor, batch.observations)
        next_policy = agent.actor(batch.next_observations)
        if conservative:
            candidates, log_density = agent.propose(policy, next_policy, noise)
            cql_alpha = agent.cql_alpha
        else:
            candidates, log_density = batch.actions[:, None][:, :0], batch.rewards[:, None][:, :0]
            cql_alpha = torch.zeros_like(batch.rewards[0])
        target = agent.bellman_target(batch, next_policy, noise.target)
        q_all = step_critics(agent, work.critics, batch, target, candidates, log_density, cql_alpha)
        q_data = q_all[..., 0]

        sample, temperature = policy.sample(noise.actor), agent.temperature
        q_min, slope = minimum_and_slope(agent, work.critics, batch.observations, sample.actions)
        step_actor(agent, work.actor, policy, raw_log_std, noise.actor, sample.actions, temperature, slope)
        policy_loss = losses.actor_loss(sample.log_prob, q_min, temperature)

    metrics = {"q_value": q_data.mean(), "td_loss": losses.td_loss(q_data, target).mean()}
    if conservative:
        cql_loss = losses.cql_penalty(q_all[..., 1:], log_density, q_data).mean()
        gap = agent.step_multiplier(cql_loss)
        metrics = {"cql_loss": cql_loss, "cql_gap": gap, **metrics, "cql_alpha": cql_alpha}
    agent.update_target()
    return {**metrics, "policy_loss": policy_loss, **agent.step_temperature(sample.log_prob)}


def read_policy(agent: Any, layers: Layers, observations: Tensor) -> tuple[TanhGaussian, Tensor]:
    """The policy at the observations, its activations kept, and log_std before it was clamped."""
    layers.read(agent.actor)
    inputs = layers.inputs[: len(observations)]
    inputs[:, :-1] = observations
    mean, log_std = torch.mm(layers.forward(0, inputs), layers.weights[-1][0]).chunk(2, -1)
    return TanhGaussian(mean, log_std.clamp(*LOG_STD_RANGE)), log_std


def step_critics(
    agent: Any, critics: Critics, batch: Batch, target: Tensor, candidates: Tensor, log_density: Tensor, weight: Tensor
) -> Tensor:
    """One step of the critics on ``sum_j [mean (Q_j - y)^2 + weight * penalty_j]``.

    ``dL/dQ`` is ``(2 (Q - y) - weight) / B`` on the logged action and ``weight softmax(Q - log q) / B`` on the K
    candidates. Returns Q of the logged action and the candidates, ``[E, B, 1 + K]``.
    """
    size, many = candidates.shape[0], 1 + candidates.shape[1]
    q_all = target.new_empty(critics.members, size, many)
    slopes = torch.empty_like(q_all)
    critics.read(agent.critic)
    for part in chunks(size, critics.rows // many):
        inputs = critics.rows_of(batch.observations[part], batch.actions[part, None], candidates[part])
        for member in range(critics.members):
            q, slope = q_all[member, part], slopes[member, part]
            q.copy_(critics.values(member, inputs).view_as(q))
            torch.sub(q[:, 0], target[part], out=slope[:, 0]).mul_(2.0).sub_(weight)
            torch.mul(torch.softmax(q[:, 1:] - log_density[part], -1), weight, out=slope[:, 1:])
            critics.flow_down(member, slope.div_(size).flatten(), inputs, first=part.start == 0)
    torch.sum(slopes, (1, 2), out=critics.gradients[-1][:, -1, 0])
    critics.write(agent.critic)
    agent.optimizers["critic"].step()
    return q_all


def minimum_and_slope(agent: Any, critics: Critics, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """``min_j Q_j(s, a)``, ``[B]``, and its gradient in the action, ``[B, A]``; critics that tie share it evenly."""
    minimum, slope = actions.new_empty(len(actions)), torch.zeros_like(actions)
    critics.read(agent.critic)
    for part in chunks(len(actions), critics.rows // critics.members):
        inputs = critics.rows_of(observations[part], actions[part, None])
        starts = range(0, critics.members * len(inputs), len(inputs))
        q = torch.stack([critics.values(member, inputs, at) for member, at in enumerate(starts)])
        torch.amin(q, 0, out=minimum[part])
        chosen = (q == minimum[part]).to(q.dtype)
        chosen /= chosen.sum(0)
        for member, at in enumerate(starts):
            flow = critics.flow_down(member, chosen[member], None, at)
            slope[part].addmm_(flow, critics.down[0][member, observations.shape[1] :].t())
    return minimum, slope


def step_actor(
    agent: Any, layers: Layers, policy: TanhGaussian, raw_log_std: Tensor, noise: Tensor, actions: Tensor,
    temperature: Tensor, slope: Tensor,
) -> None:  # fmt: skip
    """One step of the actor on ``mean (temperature log pi - min_j Q_j)``, where ``slope`` is that of the minimum.

    With ``a = tanh(u)``, ``u = mean + std * noise``: ``d log pi / du`` is ``2 a`` (the Jacobian's part; the Normal's is
    a constant of the noise but for ``-log_std``) and ``da/du = 1 - a^2``.
    """
    size = len(actions)
    each = temperature / size
    to_mean = 2.0 * each * actions - slope * (1.0 - actions.square()) / size
    to_log_std = to_mean * policy.log_std.exp() * noise - each
    flow = torch.cat([to_mean, to_log_std * (raw_log_std == policy.log_std)], 1)
    torch.mm(layers.hidden[-1][:size].t(), flow, out=layers.gradients[-1][0])
    layers.backward(0, torch.mm(flow, layers.down[-1][0].t()), layers.inputs[:size])
    layers.write(agent.actor)
    agent.optimizers["actor"].step()
