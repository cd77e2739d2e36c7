"""The estimation report: Q-hat beside Q^pi. The *estimation error* is Q-hat minus Q^pi."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..envs.base import UniformPolicy, World
from ..envs.tabular import TabularWorld
from ..errors import check_int, require
from .intervals import t_quantile
from .true_values import _check_pairs, _discount, _interval, _returns, optimal_q, where_float64_is


@dataclass(frozen=True, eq=False)
class EstimationReport:
    """Q-hat beside Q^pi at data, policy and uniform actions; print it, or take ``at("policy")``.

    ``summary[kind]`` holds numbers, ``raw[kind]`` the tensors ``actions, predicted, true, half_width, bound`` that they
    come from, at the common ``observations``. No policy's value after (s, a) can exceed ``bound``: the optimal value
    where the world has tables, else the first reward plus the worth of the best reward for ever after.
    """

    summary: Mapping[str, Mapping[str, float]]
    raw: Mapping[str, Mapping[str, Tensor]]
    observations: Tensor
    truth: str
    q: str
    discount: float
    temperature: float

    def at(self, kind: str) -> dict[str, float]:
        """The numbers at one kind of actions: data, policy or uniform."""
        require(kind in self.summary, "kind", kind, f"one of {', '.join(self.summary)}")
        return dict(self.summary[kind])

    def __str__(self) -> str:
        lines = [
            f"Estimation error: Q-hat ({self.q} over the critics) minus the truth, discount {self.discount:g}",
            f"Truth: {self.truth}",
            f"{'actions':<8}{'count':>6}{'predicted':>11}{'true (95 %)':>19}{'mean error (95 % interval)':>31}"
            f"{'median':>9}{'over':>7}{'impossible':>12}",
        ]
        for kind, row in self.summary.items():
            true = f"{row['true']:.2f} ± {row['true_half_width']:.2f}"
            error = f"{row['estimation_error']:+.2f} ({row['error_low']:+.2f} to {row['error_high']:+.2f})"
            lines.append(
                f"{kind:<8}{row['count']:>6.0f}{row['predicted']:>11.2f}{true:>19}{error:>31}"
                f"{row['median_error']:>+9.2f}{row['share_over']:>7.0%}{row['share_impossible']:>12.0%}"
            )
        return "\n".join([*lines, "Impossible: above what any policy can be worth after that state and action."])


def _value_bound(
    world: World, observations: Tensor, actions: Tensor, gamma: float, temperature: float, seed: int
) -> Tensor:
    """The most that any policy can be worth after (s, a), ``[n]``: exact where the world has tables, else the first
    reward plus the discounted geometric series of the best one."""
    following = gamma / (1.0 - gamma) if gamma < 1 else math.inf  # discounted number of steps after the first
    entropy = math.log(world.action_dim) if world.discrete else world.action_dim * math.log(2.0)
    later = temperature * entropy * following if temperature else 0.0
    if isinstance(world, TabularWorld):
        return optimal_q(world, gamma).to(observations.device)[observations.argmax(-1), actions.long()] + later
    if hasattr(world, "reward_function"):
        return world.reward_function(actions.double().clamp(world.action_low, world.action_high))
    generator = torch.Generator(observations.device).manual_seed(seed)
    rewards = world.step(world.states_of(observations), actions, generator)[1].double()
    stops = world.terminates and world.reward_high < 0
    return rewards + (0.0 if stops else world.reward_high * following) + later


@torch.no_grad()
def estimation_report(
    agent: Any,
    world: World,
    dataset: Any,
    *,
    n_states: int = 200,
    q: str = "min",
    rollouts: int = 4,
    discount: float | None = None,
    seed: int = 0,
    temperature: float | None = None,
    tolerance: float = 1e-3,
) -> EstimationReport:
    """Measure Q-hat minus Q^pi at ``n_states`` states of a data set, the same ones for every agent with this ``seed``.

    The actions are the logged ones, one draw of the agent's policy, and uniform ones. Q-hat is the ``min``, ``mean`` or
    ``max`` over the critics. pi is ``agent.policy()``, the one its backup evaluates. ``discount=None`` takes the
    agent's, ``temperature=None`` the agent's if its backup has the entropy and else 0. The interval of the mean error
    is over states (t); that of the mean true value is the Monte-Carlo one at these states. Raises ``ConfigError`` and
    ``DataError`` for an agent without critics, an unknown ``q``, or data of another world.
    """
    mend = "call estimation_report(agent, world, dataset); of an environment pass env.world."
    require(isinstance(world, World), "world", type(world).__name__, "a World", mend)
    require(hasattr(agent, "q_values"), "agent", type(agent).__name__, "an agent with q_values (critics)")
    require(q in ("min", "mean", "max"), "q", q, "min, mean or max (over the critics)")
    check_int("n_states", n_states, 2)
    config, policy = getattr(agent, "config", None), agent.policy()
    gamma = _discount(world, getattr(config, "discount", None) if discount is None else discount)
    if temperature is None:
        soft = getattr(config, "backup_entropy", False)  # inside it is in scaled rewards a nat
        temperature = float(agent.temperature) / getattr(config, "reward_scale", 1.0) if soft else 0.0
    generator = torch.Generator().manual_seed(seed)
    device = getattr(agent, "device", dataset.observations.device)
    rows = torch.randperm(len(dataset.observations), generator=generator)[:n_states].to(dataset.observations.device)
    observations, logged = _check_pairs(world, dataset.observations[rows].to(device), dataset.actions[rows])
    own = policy(observations, torch.Generator(observations.device).manual_seed(seed + 1))
    actions = {"data": logged, "policy": own, "uniform": UniformPolicy(world)(observations, generator)}
    n, everywhere, chosen = len(rows), observations.repeat(3, 1), torch.cat([a.to(logged) for a in actions.values()])
    returns, tail = _returns(world, policy, everywhere, chosen, gamma, rollouts, tolerance, seed + 2, temperature)
    true, half = _interval(returns, tail)
    ensemble = where_float64_is(agent.q_values(everywhere, chosen)).double().to(true.device)
    predicted = {"min": ensemble.amin(0), "max": ensemble.amax(0), "mean": ensemble.mean(0)}[q]
    bound, summary, raw = _value_bound(world, everywhere, chosen, gamma, temperature, seed + 3), {}, {}
    slack = 1e-6 * bound.abs().clamp(min=1)  # for rounding
    runs = returns.shape[-1]  # 1 where the value is exact
    for i, kind in enumerate(actions):
        at = slice(i * n, (i + 1) * n)
        error = predicted[at] - true[at]
        spread = t_quantile(n - 1) * float(error.std()) / math.sqrt(n)
        noise = 0.0  # of the mean true value: pooled over the states
        if runs > 1:
            noise = t_quantile(n * (runs - 1)) * float((returns[at].var(-1).mean() / (runs * n)).sqrt())
        summary[kind] = {
            "count": float(n),
            "predicted": float(predicted[at].mean()),
            "true": float(true[at].mean()),
            "true_half_width": noise + float(tail[at].mean()),
            "estimation_error": float(error.mean()),
            "error_low": float(error.mean()) - spread,
            "error_high": float(error.mean()) + spread,
            "median_error": float(error.median()),
            "share_over": float((error > 0).double().mean()),
            "share_impossible": float((predicted[at] > bound[at] + slack[at]).double().mean()),
            "predicted_p90": float(predicted[at].quantile(0.9)),
        }
        columns = {"actions": chosen, "predicted": predicted, "true": true, "half_width": half, "bound": bound}
        raw[kind] = {name: column[at] for name, column in columns.items()}
    label = f"soft Q^pi (temperature {temperature:g})" if temperature else "Q^pi"
    manner = "deterministic" if getattr(policy, "deterministic", False) else "stochastic"
    exact = "linear solve" if isinstance(world, TabularWorld) else "reward function"
    how = f"exact ({exact}), {n} states" if runs == 1 else f"Monte-Carlo, {n} states x {runs} rollouts"
    truth = f"{label} of the learned {manner} policy, {how}"
    return EstimationReport(summary, raw, observations, truth, q, gamma, temperature)
