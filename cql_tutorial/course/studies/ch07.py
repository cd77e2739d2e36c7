"""Experiments of chapter 07: wrong penalties on a bandit and on a table, and differences from the result table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ... import losses
from ...agents import CQLAgent
from ...envs import Bandit
from ...errors import require_data
from ...evaluation.intervals import t_interval
from ...evaluation.quadrature import log_partition_quadrature
from ...networks import MAX_ACTION
from ..wrong_penalties import PITFALLS

DOUBLE = torch.float64
LEVEL = 0.95  # of every interval in this chapter
TASKS = ("bandit-1", "bandit-6", "arm-narrow", "arm-mixed", "maze")


def penalty_of(name: str) -> Any:
    """Return the penalty of that name, wrong or right: ``q_candidates, log_density, q_data, n_uniform -> [E]``."""
    if name in PITFALLS:
        return PITFALLS[name]
    return lambda q, log_density, q_data, n_uniform: losses.cql_penalty(q, log_density, q_data)


# ---------------------------------------------------------------- one update on a bandit
@dataclass(frozen=True)
class Regions:
    """Boxes of actions, the same interval in every dimension: around the policy, and around the logged actions."""

    policy: tuple[float, float]
    data: tuple[float, float]

    def shares(self, actions: Tensor, weights: Tensor) -> list[float]:
        """Share of the weights on the policy's box, on the data's, and elsewhere: ``[..., A], [...]``."""
        inside = [((actions > low) & (actions < high)).all(-1) for low, high in (self.policy, self.data)]
        parts = [float((weights * box).sum() / weights.sum()) for box in inside]
        return [*parts, 1 - sum(parts)]

    def exact(self, world: Bandit) -> list[float]:
        """The same shares of softmax(Q): a product over the dimensions, each by quadrature."""
        x = torch.linspace(-1, 1, 20_001, dtype=DOUBLE)
        one = torch.softmax(world.bumps(x), 0)
        parts = [float(one[(x > low) & (x < high)].sum()) ** world.actions for low, high in (self.policy, self.data)]
        return [*parts, 1 - sum(parts)]


def one_update(
    world: Bandit,
    mean: float,
    sd: float,
    names: Sequence[str],
    regions: Regions,
    generator: torch.Generator,
    n: int = 10,
    batch: int = 64,
    repeats: int = 200,
) -> tuple[dict[str, Tensor], dict[str, list[float]]]:
    """Compare each penalty of one mini-batch with the exact log-integral ``[repeats]``; say where its push-down lands.

    ``n`` uniform candidates and ``n`` of the policy ``tanh(mean + sd z)``, the same ones for every penalty; the logged
    actions are worth 0, so that the penalty is the estimate of the log-integral. "mixture" is right, too.
    """
    dims = (repeats, batch, n, world.actions)
    uniform = torch.atanh((2 * torch.rand(dims, generator=generator, dtype=DOUBLE) - 1).clamp(-1 + 1e-6, 1 - 1e-6))
    u = torch.cat([uniform, mean + sd * torch.randn(dims, generator=generator, dtype=DOUBLE)], 2)
    centre = torch.full((world.actions,), mean, dtype=DOUBLE)
    log_pi = losses.tanh_gaussian_log_prob(u, centre, torch.full_like(centre, sd).log())
    flat = torch.full_like(log_pi, losses.uniform_log_density(world.actions))
    own = torch.cat([flat[:, :, :n], log_pi[:, :, n:]], 2)
    mixture = losses.mixture_log_density(torch.stack([flat, log_pi]))
    actions, q = u.tanh(), world.reward_function(u.tanh())
    exact = float(log_partition_quadrature(world.per_dimension))
    errors, shares = {}, {"exact": regions.exact(world)}
    for name in names:
        penalty, density = penalty_of(name), mixture if name == "mixture" else own

        def of_batch(q: Tensor, d: Tensor, penalty: Any = penalty) -> Tensor:
            return penalty(q[None], d, q.new_zeros(1, batch), n)[0]

        errors[name] = torch.vmap(of_batch)(q, density) - exact
        shares[name] = regions.shares(actions, torch.vmap(torch.func.grad(of_batch))(q, density))
    return errors, shares


def log_partition_under_proposals(world: Bandit, mean: float, sd: float) -> float:
    """Return ``log E_rho[exp Q]`` of a bandit, rho half uniform and half the policy ``tanh(mean + sd z)``.

    Both expectations are products over the dimensions, each by quadrature.
    """
    x = (torch.arange(20_000, dtype=DOUBLE) + 0.5) / 10_000 - 1  # midpoints of [-1, 1]
    z = (torch.arange(20_000, dtype=DOUBLE) + 0.5) / 1000 - 10  # and of [-10, 10], outside of which is no mass
    normal = torch.softmax(-0.5 * z.square(), 0)
    uniform = world.bumps(x).exp().mean().log()
    policy = (normal * world.bumps((mean + sd * z).tanh()).exp()).sum().log()
    return float(torch.logaddexp(world.actions * uniform, world.actions * policy)) - math.log(2)


# ---------------------------------------------------------------- a table of states and actions
class Plane:
    """A one-step world of 41 states and 81 actions in [-1, 1], whose critic is a table: every error can be seen.

    ``truth [41, 81]`` is the reward: a broad low ridge that the log covers, and a narrow high one, which drifts with
    the state; a sharp policy sits on the high one. ``behaviour [41, 81]`` are the log's shares.
    """

    def __init__(self) -> None:
        self.states = torch.linspace(-1, 1, 41, dtype=DOUBLE)
        self.actions = torch.linspace(-1, 1, 81, dtype=DOUBLE)
        self.peak = 0.45 + 0.3 * self.states  # where the high ridge runs
        self.truth = self._ridge(torch.full_like(self.states, -0.45), 0.35, 1.0) + self._ridge(self.peak, 0.12, 2.0)
        self.behaviour = self._ridge(torch.full_like(self.states, -0.35), 0.3, 1.0)
        self.behaviour /= self.behaviour.sum(1, keepdim=True)
        self.log_std = math.log(0.12)

    def _ridge(self, centre: Tensor, width: float, height: float) -> Tensor:
        return height * torch.exp(-0.5 * ((self.actions - centre[:, None]) / width).square())

    def fitted(
        self, name: str, alpha: float = 1.0, steps: int = 1500, lr: float = 0.5, n: int = 5, seed: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Return the table after stochastic gradient steps on ``(Q - r)^2 + alpha * penalty``, and its mean push-down.

        Each step logs one action of every state, and draws ``n`` uniform and ``n`` policy candidates, snapped to the
        grid. The push-down is the gradient of the penalty's first term, averaged over the last third: each state's
        share on each action, times the number of states. The step size falls as one over the root of the step.
        """
        generator, penalty = torch.Generator().manual_seed(seed), penalty_of(name)
        q, pushed, s = torch.zeros_like(self.truth), torch.zeros_like(self.truth), torch.arange(len(self.states))
        mean = torch.atanh(self.peak)[:, None]
        uniform_log = torch.full((len(s), n), -losses.LOG_2, dtype=DOUBLE)
        for step in range(steps):
            logged = torch.multinomial(self.behaviour, 1, generator=generator)[:, 0]
            u = mean + math.exp(self.log_std) * torch.randn(len(s), n, generator=generator, dtype=DOUBLE)
            log_pi = losses.tanh_gaussian_log_prob(
                u[..., None], mean[..., None], torch.tensor([self.log_std], dtype=DOUBLE)
            )
            uniform = 2 * torch.rand(len(s), n, generator=generator, dtype=DOUBLE) - 1
            at = ((torch.cat([uniform, u.tanh()], 1) + 1) * 40).round().long()
            values = q.gather(1, at).requires_grad_()
            density = torch.cat([uniform_log, log_pi], 1)
            (share,) = torch.autograd.grad(penalty(values[None], density, q[s, logged][None], n).sum(), values)
            down = torch.zeros_like(q).scatter_add_(1, at, share * len(s))
            gradient = alpha * down
            gradient[s, logged] += 2 * (q - self.truth)[s, logged] - alpha
            q = q - lr / math.sqrt(1 + step / 20) * gradient
            if step >= steps - steps // 3:
                pushed += down / (steps // 3)
        return q, pushed


# ---------------------------------------------------------------- what the logged gap misses
@torch.no_grad()
def log_integral_error(agent: CQLAgent, observations: Tensor, many: int = 1000) -> float:
    """How far an agent's own estimate of the log-integral is off, in nats: estimated minus true, a mean over states.

    The estimate is that of its updates (its candidates, own densities), the smallest one that its logged CQL gap
    contains; the truth is ``many`` uniform and ``many`` policy candidates with mixture weights, ``[S, 2 many]``, whose
    own error falls as one over their number. pi(.|s') is taken at s, which changes no expectation of the density.
    """
    s, dim = observations.to(agent.dtype), agent.config.action_dim
    policy, flat = agent.actor(s), losses.uniform_log_density(dim)
    actions, log_density = agent.sample_candidates(policy, policy, agent.draw_noise(len(s)))
    estimated = losses.log_partition(agent.critic(s, actions), log_density)
    uniform = (2 * torch.rand(len(s), many, dim, generator=agent.generator) - 1).clamp(-MAX_ACTION, MAX_ACTION).to(s)
    drawn = policy.sample(agent.normal(len(s), many, dim))
    own = policy.log_prob(torch.cat([torch.atanh(uniform), drawn.pre_tanh], 1))
    mixture = losses.mixture_log_density(torch.stack([own, torch.full_like(own, flat)]))
    true = losses.log_partition(agent.critic(s, torch.cat([uniform, drawn.actions], 1)), mixture)
    return float((estimated - true).mean())


# ---------------------------------------------------------------- the result table
def differences(
    rows: Sequence[Mapping[str, str]], task: str, variant: str, column: str, baseline: str = "correct"
) -> list[float]:
    """Variant minus baseline, a number for each data draw that has both; `DataError` if none has."""
    values = {kind: {r["draw"]: r[column] for r in rows if _is(r, task, kind)} for kind in (variant, baseline)}
    draws = [draw for draw, value in sorted(values[baseline].items(), key=lambda x: int(x[0])) if value]
    draws = [draw for draw in draws if values[variant].get(draw)]
    require_data(len(draws) > 0, f"pitfalls: {column} of {variant} on {task}", "no numbers", "one for each data draw")
    return [float(values[variant][draw]) - float(values[baseline][draw]) for draw in draws]


def paired(rows: Sequence[Mapping[str, str]], task: str, variant: str, column: str) -> tuple[float, float]:
    """Mean and half-width of the `LEVEL` t-interval of a variant's paired differences to the correct penalty."""
    return t_interval(differences(rows, task, variant, column), LEVEL)


def _is(row: Mapping[str, str], task: str, variant: str) -> bool:
    return (row["task"], row["variant"], row["split"]) == (task, variant, "report")


class OrderScore(NamedTuple):
    """How far an order agrees with the measured one."""

    tau: float  # (pairs in the right order - pairs in the wrong one) / pairs, of the pairs that are told apart
    pairs: int  # how many are told apart
    worst: tuple[str, str, float]  # the first, the second, and by how much the second earns more; "" if all are right


def order_score(rows: Sequence[Mapping[str, str]], order: Sequence[str], task: str) -> OrderScore:
    """Kendall's tau between an order of penalties, best first, and their measured returns on a task.

    Only pairs count whose paired difference is told apart: its `LEVEL` t-interval leaves out 0.
    """
    right, wrong, worst = 0, 0, ("", "", 0.0)
    for place, first in enumerate(order):
        for second in order[place + 1 :]:
            mean, half = t_interval(differences(rows, task, second, "return", first), LEVEL)
            right, wrong = right + (mean + half < 0), wrong + (mean - half > 0)
            if mean - half > 0 and mean > worst[2]:
                worst = (first, second, mean)
    require_data(right + wrong > 0, f"pitfalls: {task}", "no pair told apart", "at least one")
    return OrderScore((right - wrong) / (right + wrong), right + wrong, worst)


def measured_tasks(rows: Sequence[Mapping[str, str]], shapes: Sequence[str], draws: int) -> list[str]:
    """The tasks on which every shape has a row for each of so many reported draws, in the table's order."""
    done = []
    for task in dict.fromkeys(row["task"] for row in rows):
        if all(sum(_is(row, task, shape) for row in rows) == draws for shape in shapes):
            done.append(task)
    return done


LOGGED = {
    "log_cql_gap": "CQL gap",
    "log_q_value": "Q of logged actions",
    "log_td_loss": "squared Bellman error",
    "log_entropy": "policy's entropy",
    "log_multiplier": "multiplier",
}


def sign_in_logs(rows: Sequence[Mapping[str, str]], variant: str) -> str:
    """The logged metric that tells a variant from the correct penalty on most tasks, and in which direction."""
    told: dict[str, list[str]] = {}
    for column, name in LOGGED.items():
        for task in TASKS:
            values = differences(rows, task, variant, column)
            mean, half = t_interval(values, LEVEL)
            if max(values) > min(values) and abs(mean) > half:
                told.setdefault(name, []).append("higher" if mean > 0 else "lower")
    if not told:
        return "nothing told apart"
    best = max(told, key=lambda name: len(told[name]))
    count = {word: told[best].count(word) for word in ("higher", "lower") if word in told[best]}
    return f"{best} " + ", ".join(f"{word} on {n}" for word, n in count.items()) + f" of {len(TASKS)} tasks"


def target_of(row: Mapping[str, str]) -> float:
    """Return the Lagrange target of a row's agent."""
    return float(json.loads(row["settings"])["cql_target_action_gap"])
