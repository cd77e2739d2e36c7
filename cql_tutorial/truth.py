"""The ruler: true values of a policy, exact or Monte-Carlo with an interval, and the estimation report.

The *estimation error* is Q-hat minus Q^pi. Values are float64 tensors; a half width is that of a 95 % interval and is 0
where the value is exact. Values have no time limit: an episode's truncation ends a recording, not a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import ConfigError, DataError, require, require_data, whole
from .worlds.base import UniformPolicy, World
from .worlds.gridworld import TabularWorld

Function = Callable[[Tensor], Tensor]


def t_quantile(degrees_of_freedom: float) -> float:
    """The 97.5 % quantile of Student's t, the factor of a two-sided 95 % interval."""
    from scipy.stats import t

    return float(t.ppf(0.975, degrees_of_freedom))


def _discount(world: World, discount: float | None) -> float:
    value = world.discount if discount is None else discount
    require(0.0 <= value <= 1.0, "discount", value, "a number in [0, 1]")
    return float(value)


def _require_method(policy: Any, name: str, signature: str, mend: str) -> None:
    if not hasattr(policy, name):
        raise ConfigError("policy", f"a {type(policy).__name__}", f"a method {name}{signature}", mend)


# ---------------------------------------------------------------- worlds with finitely many states
def policy_probabilities(world: TabularWorld, policy: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    """The table pi(a|s) ``[S, A]`` of a policy that offers ``probabilities(observations)``, or of a table itself.

    Raises ``ConfigError`` if it offers none, ``DataError`` if a row is no distribution.
    """
    if not isinstance(policy, Tensor):
        _require_method(policy, "probabilities", "(observations) -> [n, n_actions]", "or pass the table [S, A] itself.")
        policy = policy.probabilities(torch.eye(world.observation_dim, dtype=dtype))
    table, shape = policy.detach().double().cpu(), (world.observation_dim, world.action_dim)
    require_data(table.shape == shape, "policy probabilities", f"shape {tuple(table.shape)}", f"shape {shape}")
    bad = ~((table >= 0).all(-1) & ((table.sum(-1) - 1).abs() < 1e-4))
    for s in bad.nonzero().flatten().tolist():
        raise DataError(f"policy probabilities[{s}]", str(table[s].tolist()), "non-negative numbers that sum to 1")
    return table / table.sum(-1, keepdim=True)  # float32 rows sum to 1 only to 1e-7


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


# ---------------------------------------------------------------- any world
def _monte_carlo(
    world: World, policy: Any, states: Tensor, actions: Tensor | None, gamma: float, rollouts: int, tolerance: float,
    seed: int, temperature: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Discounted returns ``[n, rollouts]`` with the midpoint of the cut tail, and half the tail's range ``[n]``."""
    require(gamma < 1.0, "discount", gamma, "less than 1: Monte-Carlo returns are cut where discount^H <= tolerance")
    whole("rollouts", rollouts, 2)  # one return has no interval
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
    # A log-density has no bound, so the range of the bonuses seen stands for the tail's. A task that can end may stop
    # after one more step, one that cannot pays for ever.
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
    world: World, policy: Any, observations: Tensor, actions: Tensor, gamma: float, rollouts: int, tolerance: float,
    seed: int, temperature: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
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
    observations, actions = torch.as_tensor(observations), torch.as_tensor(actions)
    expected = f"shape [n, {world.observation_dim}], the observations of the world {world.name!r}"
    fits = observations.dim() == 2 and observations.shape[1] == world.observation_dim
    require_data(fits, "observations", f"shape {list(observations.shape)}", expected)
    actions = actions.to(observations.device)
    world.check_actions(observations, actions)
    finite = observations.isfinite().all() & actions.isfinite().all()
    require_data(finite, "observations and actions", "nan or inf", "finite numbers")
    return observations, actions


def true_q(
    world: World, policy: Any, observations: Any, actions: Any, discount: float | None = None, *, rollouts: int = 4,
    tolerance: float = 1e-3, seed: int = 0, temperature: float = 0.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
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
    world: World, policy: Any, states: Tensor, discount: float | None = None, rollouts: int = 4, *,
    tolerance: float = 1e-3, seed: int = 0, temperature: float = 0.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """V^pi at states ``[n, ...]`` by simulation and the half width of its 95 % interval, ``[n]``; else as `true_q`.

    With a temperature the soft value, ``E_pi[Q - temperature log pi]``: the first action's entropy counts.
    """
    require(temperature >= 0, "temperature", temperature, "a number >= 0 (0: no entropy in the value)")
    gamma = _discount(world, discount)
    return _interval(*_monte_carlo(world, policy, states, None, gamma, rollouts, tolerance, seed, temperature))


# ---------------------------------------------------------------- quadrature
def log_partition_quadrature(
    q: Function | Sequence[Function], action_dim: int = 1, points: int | None = None
) -> Tensor:
    """log of the integral of exp Q over [-1, 1]^A by Simpson's rule in float64 (a 0-d tensor).

    ``q`` is a list of A functions of one variable whose sum is Q (any A: the integral factorises), or one function
    ``[m, A] -> [m]`` with ``action_dim`` 1 or 2 (``ConfigError`` beyond). ``points`` a dimension: 4,001; 801 if A = 2.
    """
    require(action_dim in (1, 2), "action_dim", action_dim, "1 or 2, or a list of 1-D parts (bandit.per_dimension)")
    points = points or (4001 if action_dim == 1 else 801)
    require(points >= 3 and points % 2 == 1, "points", points, "an odd number >= 3 (Simpson's rule)")
    x, weights = torch.linspace(-1, 1, points, dtype=torch.float64), torch.full((points,), 2.0, dtype=torch.float64)
    weights[1::2], weights[0], weights[-1] = 4.0, 1.0, 1.0
    weights = weights * 2.0 / (points - 1) / 3
    if not callable(q):
        return sum((torch.logsumexp(f(x) + weights.log(), 0) for f in q), torch.zeros((), dtype=torch.float64))
    grid = torch.cartesian_prod(*[x] * action_dim).view(-1, action_dim)
    log_weights = torch.cartesian_prod(*[weights.log()] * action_dim).view(-1, action_dim).sum(-1)
    return torch.logsumexp(q(grid) + log_weights, 0)


def expected_value_quadrature(
    mean: Tensor, log_std: Tensor, per_dimension: Sequence[Function], points: int = 4001
) -> Tensor:
    """The exact E[Q(a)] of a tanh-Gaussian policy, ``a_j = tanh(mean_j + exp(log_std_j) z)``, for a separable Q.

    ``sum_j integral f_j(tanh(mean_j + std_j z)) N(z; 0, 1) dz`` by the trapezoidal rule on z in ±8.5, where it is
    spectrally accurate. ``mean, log_std [..., A] -> [...]``, float64.
    """
    sizes = (mean.shape[-1], log_std.shape[-1], len(per_dimension))
    require_data(len(set(sizes)) == 1, "mean, log_std, per_dimension", f"{sizes} dimensions", "the same in all three")
    z = torch.linspace(-8.5, 8.5, points, dtype=torch.float64, device=mean.device)
    weights = torch.exp(-0.5 * z**2) * (17.0 / (points - 1)) / math.sqrt(2 * math.pi)
    actions = torch.tanh(mean.double()[..., None] + log_std.double().exp()[..., None] * z)  # [..., A, points]
    parts = [(f(actions[..., j, :]) * weights).sum(-1) for j, f in enumerate(per_dimension)]
    return torch.stack(parts).sum(0)


# ---------------------------------------------------------------- the estimation report
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
    agent: Any, world: World, dataset: Any, *, n_states: int = 200, q: str = "min", rollouts: int = 4,
    discount: float | None = None, seed: int = 0, temperature: float | None = None, tolerance: float = 1e-3,
) -> EstimationReport:  # fmt: skip
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
    whole("n_states", n_states, 2)
    config, policy = getattr(agent, "config", None), agent.policy()
    gamma = _discount(world, getattr(config, "discount", None) if discount is None else discount)
    if temperature is None:
        temperature = float(agent.temperature) if getattr(config, "backup_entropy", False) else 0.0
    generator = torch.Generator().manual_seed(seed)
    device = getattr(agent, "device", dataset.observations.device)
    rows = torch.randperm(len(dataset.observations), generator=generator)[:n_states].to(dataset.observations.device)
    observations, logged = _check_pairs(world, dataset.observations[rows].to(device), dataset.actions[rows])
    own = policy(observations, torch.Generator(device).manual_seed(seed + 1))
    actions = {"data": logged, "policy": own, "uniform": UniformPolicy(world)(observations, generator)}
    n, everywhere, chosen = len(rows), observations.repeat(3, 1), torch.cat([a.to(logged) for a in actions.values()])
    returns, tail = _returns(world, policy, everywhere, chosen, gamma, rollouts, tolerance, seed + 2, temperature)
    true, half = _interval(returns, tail)
    ensemble = agent.q_values(everywhere, chosen).double().to(true.device)
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
