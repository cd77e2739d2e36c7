"""The ruler: true values of a policy, exact or Monte-Carlo with an interval.

Values are float64 tensors; a half width is that of a 95 % interval and is 0 where the value is exact. Values have no
time limit: an episode's truncation ends a recording, not a value.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..envs.base import World
from ..envs.tabular import TabularWorld, _require_method, policy_probabilities
from ..errors import ConfigError, check_int, require, require_data
from .intervals import t_quantile

WITHOUT_FLOAT64 = ("mps",)  # kinds of devices


def where_float64_is(tensor: Tensor) -> Tensor:
    """The tensor, on the CPU if its device has no float64, in which values are summed: worlds are simulated there."""
    return tensor.cpu() if tensor.device.type in WITHOUT_FLOAT64 else tensor


def _discount(world: World, discount: float | None) -> float:
    value = world.discount if discount is None else discount
    require(0.0 <= value <= 1.0, "discount", value, "a number in [0, 1]")
    return float(value)


# ---------------------------------------------------------------- worlds with finitely many states
def solve_q(
    world: TabularWorld, probabilities: Tensor, discount: float | None = None, temperature: float = 0.0
) -> Tensor:
    """Exact Q^pi ``[S, A]`` by one linear solve: ``V = (I - discount P^pi)^-1 r^pi``, ``Q = r + discount P V``.

    With a temperature the soft value: ``V(s) = E_pi[Q(s, a) - temperature log pi(a|s)]``. Terminal states have value 0.
    Raises ``ConfigError`` at discount 1 if the policy can go on for ever from some state.
    """
    gamma, table = _discount(world, discount), policy_probabilities(world, probabilities)
    going = ~world.terminal_states
    chain = world.chain(table)
    if gamma == 1.0:
        ends, before, linked = world.terminal_states.clone(), 0, chain > 0
        while before < (before := int(ends.sum())):  # the states from which the end can be reached
            ends |= linked[:, ends].any(-1)
        for s in (~ends).nonzero().flatten().tolist():
            raise ConfigError("discount", "1.0", f"less than 1: from state {s} this policy never terminates")
    gain = (table * world.expected_rewards).sum(-1) + temperature * torch.special.entr(table).sum(-1)
    system = torch.eye(int(going.sum()), dtype=torch.float64) - gamma * chain[going][:, going]
    values = torch.zeros_like(gain)
    values[going] = torch.linalg.solve(system, gain[going])
    return (world.expected_rewards + gamma * world.expected_next(values)) * going[:, None]


def optimal_q(world: TabularWorld, discount: float | None = None, tolerance: float = 1e-10) -> Tensor:
    """Q* ``[S, A]`` by value iteration, ``Q <- r + discount P max_a Q``, until no entry moves by ``tolerance``."""
    gamma = _discount(world, discount)
    going, q = ~world.terminal_states, torch.zeros_like(world.expected_rewards)
    for _ in range(100_000):
        following = (world.expected_rewards + gamma * world.expected_next(q.max(-1).values)) * going[:, None]
        change, q = float((following - q).abs().max()), following
        if change <= tolerance:
            return q
    raise ConfigError("discount", repr(gamma), "a smaller one: value iteration did not settle in 100,000 sweeps")


def soft_optimal_q(
    world: TabularWorld,
    temperature: float,
    discount: float | None = None,
    prior: str = "uniform",
    tolerance: float = 1e-10,
) -> Tensor:
    """Soft Q* ``[S, A]`` by soft value iteration, ``Q <- r + discount P V``, until no entry moves by ``tolerance``.

    ``V = T log mean_a exp(Q / T)`` with the uniform ``prior``; with ``"none"`` ``T log sum_a exp(Q / T)``, whose fixed
    point is `solve_q` of softmax(Q / T) at that temperature. Terminal states have value 0. Raises ``ConfigError``.
    Source: Haarnoja et al. 2017 (arXiv 1702.08165), Eq. 7.
    """
    gamma = _discount(world, discount)
    require(temperature > 0, "temperature", temperature, "a number above 0 (optimal_q is the limit 0)")
    require(prior in ("uniform", "none"), "prior", prior, "uniform or none")
    bonus = 0.0 if prior == "none" else -math.log(world.action_dim)
    going, q = ~world.terminal_states, torch.zeros_like(world.expected_rewards)
    for _ in range(100_000):
        values = temperature * (torch.logsumexp(q / temperature, -1) + bonus) * going
        following = (world.expected_rewards + gamma * world.expected_next(values)) * going[:, None]
        change, q = float((following - q).abs().max()), following
        if change <= tolerance:
            return q
    raise ConfigError("discount", repr(gamma), "a smaller one: value iteration did not settle in 100,000 sweeps")


# ---------------------------------------------------------------- any world
def _monte_carlo(
    world: World,
    policy: Any,
    states: Tensor,
    actions: Tensor | None,
    gamma: float,
    rollouts: int,
    tolerance: float,
    seed: int,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Discounted returns ``[n, rollouts]`` with the midpoint of the cut tail, and half the tail's range ``[n]``."""
    require(gamma < 1.0, "discount", gamma, "less than 1: Monte-Carlo returns are cut where discount^H <= tolerance")
    check_int("rollouts", rollouts, 2)  # one return has no interval
    require(0.0 < tolerance < 1.0, "tolerance", tolerance, "a number in (0, 1)")
    if temperature:
        _require_method(policy, "sample", "(observations, generator) -> (actions, log_prob)", "or set temperature=0.")
    steps = 1 if gamma <= tolerance else math.ceil(math.log(tolerance) / math.log(gamma))
    steps = max(steps, 2) if temperature else steps  # at least one entropy term must be seen
    generator = torch.Generator(states.device).manual_seed(seed)
    states = states.repeat_interleave(rollouts, 0)
    chosen = None if actions is None else actions.repeat_interleave(rollouts, 0)
    total = torch.zeros(len(states), dtype=torch.float64, device=states.device)
    alive, factor = torch.ones_like(total), 1.0
    bonus_low, bonus_high = (math.inf, -math.inf) if temperature else (0.0, 0.0)
    for _ in range(steps):
        if chosen is None and temperature:
            chosen, log_prob = policy.sample(world.observe(states), generator)
            bonus = -temperature * log_prob.to(total)
            total += factor * alive * bonus
            bonus_low, bonus_high = min(bonus_low, float(bonus.min())), max(bonus_high, float(bonus.max()))
        elif chosen is None:
            chosen = policy(world.observe(states), generator)
        states, rewards, ended = world.step(states, chosen.to(states.device), generator)
        total += factor * alive * rewards.double()
        alive, factor, chosen = alive * ~ended, factor * gamma, None
    # Entropy bonuses are unbounded: the smallest and largest seen bound the unseen tail. A task that may terminate can
    # earn as little as one more reward; one that may not earns the full geometric series.
    low, high, longest = world.reward_low + bonus_low, world.reward_high + bonus_high, 1.0 / (1.0 - gamma)
    tail_low = low * (longest if low < 0 or not world.terminates else 1.0)
    tail_high = high * (longest if high > 0 or not world.terminates else 1.0)
    total += factor * alive * (tail_low + tail_high) / 2
    half = factor * alive * (tail_high - tail_low) / 2
    return total.view(-1, rollouts), half.view(-1, rollouts).mean(-1)


def _interval(returns: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and half width ``[n]`` of returns ``[n, R]``; R = 1 is an exact value."""
    n = returns.shape[-1]
    half = tail if n == 1 else t_quantile(n - 1) * returns.std(-1) / math.sqrt(n) + tail
    return returns.mean(-1), half


@torch.no_grad()
def _returns(
    world: World,
    policy: Any,
    observations: Tensor,
    actions: Tensor,
    gamma: float,
    rollouts: int,
    tolerance: float,
    seed: int,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """As `_monte_carlo`, with one exact "return" where the world allows it."""
    require(temperature >= 0, "temperature", temperature, "a number >= 0 (0: no entropy in the value)")
    if isinstance(world, TabularWorld):
        one_hot = ((observations.amax(-1) == 1) & (observations.count_nonzero(-1) == 1)).all()
        require_data(one_hot, "observations", "rows that are not one-hot", "one-hot rows: world.one_hot(state numbers)")
        table = solve_q(world, policy_probabilities(world, policy), gamma, temperature).to(observations.device)
        value = table[observations.argmax(-1), actions.long()]
    elif hasattr(world, "reward_function"):
        value = world.reward_function(actions.double().clamp(world.action_low, world.action_high))
    else:
        states = world.states_of(observations)
        return _monte_carlo(world, policy, states, actions, gamma, rollouts, tolerance, seed, temperature)
    return value[:, None], torch.zeros_like(value)


def _check_pairs(world: World, observations: Any, actions: Any) -> tuple[Tensor, Tensor]:
    observations, actions = (where_float64_is(torch.as_tensor(one)) for one in (observations, actions))
    expected = f"shape [n, {world.observation_dim}], the observations of the world {world.name!r}"
    fits = observations.dim() == 2 and observations.shape[1] == world.observation_dim
    require_data(fits, "observations", f"shape {list(observations.shape)}", expected)
    actions = actions.to(observations.device)
    world.check_actions(observations, actions)
    finite = observations.isfinite().all() & actions.isfinite().all()
    require_data(finite, "observations and actions", "nan or inf", "finite numbers")
    return observations, actions


def true_q(
    world: World,
    policy: Any,
    observations: Any,
    actions: Any,
    discount: float | None = None,
    *,
    rollouts: int = 4,
    tolerance: float = 1e-3,
    seed: int = 0,
    temperature: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Q^pi at pairs (s, a), ``[n, S]`` and ``[n, A]`` (or ``[n]``), and the half width of its 95 % interval: ``[n]``.

    ``Q(s, a) = E sum_t discount^t r_t``; with a temperature the soft Q^pi, which adds ``-discount^t temperature
    log pi(a_t|s_t)`` for t >= 1, log pi being the one ``policy.sample`` reports (agents: on [-1, 1]^A).
    A world with tables is solved exactly (the policy gives its ``probabilities``), a bandit is its reward function;
    half width 0. Any other is simulated ``rollouts`` times from every pair, to the step H at which
    discount^H <= ``tolerance``; the cut tail enters by the midpoint of its range, and half of that range is added to
    the t-interval. Raises ``ConfigError`` and ``DataError`` for bad settings, shapes and values.
    """
    gamma = _discount(world, discount)
    pairs = _check_pairs(world, observations, actions)
    return _interval(*_returns(world, policy, *pairs, gamma, rollouts, tolerance, seed, temperature))


@torch.no_grad()
def monte_carlo_value(
    world: World,
    policy: Any,
    states: Tensor,
    discount: float | None = None,
    rollouts: int = 4,
    *,
    tolerance: float = 1e-3,
    seed: int = 0,
    temperature: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """V^pi at states ``[n, ...]`` by simulation and the half width of its 95 % interval, ``[n]``; else as `true_q`.

    With a temperature the soft value, ``E_pi[Q - temperature log pi]``: the first action's entropy counts.
    """
    require(temperature >= 0, "temperature", temperature, "a number >= 0 (0: no entropy in the value)")
    gamma, states = _discount(world, discount), where_float64_is(states)
    return _interval(*_monte_carlo(world, policy, states, None, gamma, rollouts, tolerance, seed, temperature))


# ---------------------------------------------------------------- quadrature


# ---------------------------------------------------------------- the estimation report
