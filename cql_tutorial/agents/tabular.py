"""Logs over numbered states and actions, and what fitted Q-iteration makes of them: naive, restricted, shrunk, CQL.

Fitted Q-iteration repeats two steps on the counts of a log: *back up* the current table to a value of each state, then
*fit* the table to the targets ``y = mean reward + discount * mean value of the logged next states``:

    Q <- fit(log, y),   y(s, a) = r(s, a) + discount * sum_s' P(s'|s, a) backup(Q)(s')   (means over the log)

With no network in the way, each step has an exact answer, so that what is measured is the method and not its training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ..envs.tabular import TabularWorld, policy_probabilities
from ..errors import ConfigError, check_int, require


@dataclass(frozen=True, eq=False)
class TabularLog:
    """Transitions between S numbered states under A numbered actions, one after the other, and their counts.

    ``states, actions, next_states [N]`` int64, ``rewards [N]`` float64, ``terminations [N]`` bool; episode e starts at
    row ``episode_starts[e]``.
    """

    n_states: int
    n_actions: int
    states: Tensor
    actions: Tensor
    rewards: Tensor
    next_states: Tensor
    terminations: Tensor
    episode_starts: Tensor

    def __len__(self) -> int:
        return len(self.states)

    @cached_property
    def pairs(self) -> Tensor:
        """``state * A + action`` of each row ``[N]``."""
        return self.states * self.n_actions + self.actions

    @cached_property
    def counts(self) -> Tensor:
        """How often each action was taken in each state, ``[S, A]`` float64."""
        flat = torch.bincount(self.pairs, minlength=self.n_states * self.n_actions)
        return flat.view(self.n_states, self.n_actions).double()

    @property
    def seen(self) -> Tensor:
        """Pairs that occur in the log, ``[S, A]`` bool."""
        return self.counts > 0

    @property
    def visited(self) -> Tensor:
        """States in which an action was logged, ``[S]`` bool."""
        return self.seen.any(-1)

    @property
    def behaviour(self) -> Tensor:
        """The share of each action in its state's rows, ``[S, A]``; rows of zeros where nothing was logged."""
        return self.counts / self.counts.sum(-1, keepdim=True).clamp(min=1)

    @cached_property
    def mean_rewards(self) -> Tensor:
        """Mean logged reward of each pair, ``[S, A]``; 0 where unseen."""
        flat = torch.zeros(self.n_states * self.n_actions, dtype=torch.float64).index_add_(0, self.pairs, self.rewards)
        return flat.view_as(self.counts) / self.counts.clamp(min=1)

    @cached_property
    def _matrix(self) -> Any:
        from scipy.sparse import csr_matrix

        weights = ~self.terminations / self.counts.flatten()[self.pairs]
        shape = (self.n_states * self.n_actions, self.n_states)
        return csr_matrix((weights.numpy(), (self.pairs.numpy(), self.next_states.numpy())), shape=shape)

    def mean_next(self, values: Tensor) -> Tensor:
        """Mean value of a pair's logged next states, 0 after a termination: ``[S] -> [S, A]``; 0 where unseen."""
        return torch.from_numpy(self._matrix @ values.double().numpy()).view(self.n_states, self.n_actions)


def record_log(
    world: TabularWorld, policy: Any, episodes: int, seed: int = 0, max_steps: int | None = None
) -> TabularLog:
    """Record whole episodes of a policy (a table ``[S, A]``, or what offers ``probabilities``), cut at ``max_steps``.

    The horizon is the default cut. Rows are in the order of the episodes. Raises as `policy_probabilities`.
    """
    check_int("episodes", episodes, 1)
    steps = check_int("max_steps", world.horizon if max_steps is None else max_steps, 1)
    table, generator = policy_probabilities(world, policy), torch.Generator().manual_seed(seed)
    here, running, rows = world.start_states(episodes, generator), torch.arange(episodes), []
    for _ in range(steps):
        actions = torch.multinomial(table[here], 1, generator=generator)[:, 0]
        there, rewards, ended = world.move(here, actions, generator)
        rows.append((running, here, actions, rewards, there, ended))
        here, running = there[~ended], running[~ended]
        if not len(here):
            break
    columns = [torch.cat(column) for column in zip(*rows, strict=True)]
    order = torch.sort(columns[0], stable=True).indices
    lengths = torch.bincount(columns[0], minlength=episodes)
    states, actions, rewards, there, ended = (column[order] for column in columns[1:])
    starts = lengths.cumsum(0) - lengths
    return TabularLog(world.observation_dim, world.action_dim, states, actions, rewards, there, ended, starts)


Backup = Callable[[TabularLog, Tensor], Tensor]  # (log, Q [S, A]) -> V [S]
Fit = Callable[[TabularLog, Tensor, Tensor], Tensor]  # (log, targets [S, A], Q before [S, A]) -> Q [S, A]


# ---------------------------------------------------------------- backups: what a state is worth
def greedy_backup(log: TabularLog, q: Tensor) -> Tensor:
    """``max_a Q(s, a)`` over all actions, the unseen ones too: ``[S, A] -> [S]``; 0 in a row of -inf."""
    return q.amax(-1).nan_to_num(neginf=0.0, posinf=math.inf)


def restricted_backup(log: TabularLog, q: Tensor) -> Tensor:
    """The maximum over logged actions, 0 where none was logged: a control, as no guess at an unseen action counts."""
    return q.masked_fill(~log.seen, -math.inf).amax(-1).where(log.visited, 0.0)


def behaviour_backup(log: TabularLog, q: Tensor) -> Tensor:
    """The mean over the log's own actions: evaluation, with no improvement."""
    return (log.behaviour * q.nan_to_num(neginf=0.0)).sum(-1)


def softmax_backup(temperature: float = 1.0) -> Backup:
    """``E_a~mu[Q]`` with ``mu = softmax(Q / temperature)``; an action at -inf has no part in it.

    At temperature 1 mu is the distribution that CQL(H) assumes; towards 0 it becomes the maximum.
    """
    require(temperature > 0, "temperature", temperature, "a number > 0 (towards 0 it becomes greedy_backup)")

    def backup(log: TabularLog, q: Tensor) -> Tensor:
        return (softmax_policy(q, temperature) * q.nan_to_num(neginf=0.0)).sum(-1)

    return backup


def expectile_backup(expectile: float = 0.7) -> Backup:
    """Implicit Q-learning's V: the ``expectile`` of Q over the log's own actions, 0 where none was logged.

    ``sum_a b(a) |expectile - 1(Q(a) < V)| (Q(a) - V) = 0``: at 0.5 the mean of `behaviour_backup`, towards 1 the
    maximum of `restricted_backup`. Newton's method; the sum is made of straight lines, so that few steps end it.
    Source: Kostrikov et al. 2021 (arXiv 2110.06169), Eq. 5.
    """
    require(0 < expectile < 1, "expectile", expectile, "a number in (0, 1), both ends excluded")

    def backup(log: TabularLog, q: Tensor) -> Tensor:
        known, values = q.where(log.seen, 0.0), behaviour_backup(log, q)
        for _ in range(100):
            weights = log.behaviour * (expectile - (known < values[:, None]).double()).abs()
            before, values = values, (weights * known).sum(-1) / weights.sum(-1).clamp(min=1e-300)
            if float((values - before).abs().max()) <= 1e-12 * max(1.0, float(values.abs().max())):
                break
        return values

    return backup


# ---------------------------------------------------------------- fits: what the table makes of its targets
def exact_fit(log: TabularLog, targets: Tensor, before: Tensor) -> Tensor:
    """``Q = y`` where there are rows; an unseen pair keeps what it had, as nothing in a table ever moves it."""
    return targets.where(log.seen, before)


def shrunk_fit(pseudo_counts: float) -> Fit:
    """Weight decay and no penalty: ``Q = n y / (n + pseudo_counts)``, and 0 where unseen. The other control.

    It minimises ``sum_rows (Q - y)^2 + pseudo_counts * sum Q^2``.
    """
    require(pseudo_counts >= 0, "pseudo_counts", pseudo_counts, "a number >= 0")

    def fit(log: TabularLog, targets: Tensor, before: Tensor) -> Tensor:
        return targets * log.counts / (log.counts + pseudo_counts).clamp(min=1e-300)

    return fit


def cql_fit(cql_alpha: float) -> Fit:
    """The exact minimum of the CQL(H) loss in each state, with b the log's shares (this course's scale: no 1/2):

    ``sum_a b(a) (Q(a) - y(a))^2 + cql_alpha * (log sum_a exp Q(a) - sum_a b(a) Q(a))``

    The loss has no minimum in the Q of an unseen action (it decreases without bound), so that Q is set to -inf, the
    limit. Among the logged ones, with ``p = softmax(Q)``, ``Q = y + (cql_alpha / 2) (1 - p / b)``; this is solved for
    ``L = logsumexp Q`` by Newton's method on ``sum_a p_a(L) = 1``, each ``p_a(L)`` by the Wright omega function.
    Source: CQL, Eq. 4.
    """
    require(cql_alpha >= 0, "cql_alpha", cql_alpha, "a number >= 0")

    def fit(log: TabularLog, targets: Tensor, before: Tensor) -> Tensor:
        if cql_alpha == 0:
            return targets.masked_fill(~log.seen, -math.inf)
        return cql_minimum(targets, log.behaviour, cql_alpha)

    return fit


def cql_minimum(targets: Tensor, behaviour: Tensor, cql_alpha: float) -> Tensor:
    """See `cql_fit`: targets and shares ``[S, A]`` to Q ``[S, A]``, -inf where the share is 0."""
    from scipy.special import wrightomega

    seen = behaviour > 0
    stiffness = cql_alpha / (2 * behaviour.where(seen, 1.0))  # Q = y + cql_alpha / 2 - stiffness * p
    centre = (targets + cql_alpha / 2 + stiffness.log()).masked_fill(~seen, -math.inf)
    level = torch.logsumexp(targets.masked_fill(~seen, -math.inf), -1, keepdim=True).nan_to_num(neginf=0.0)
    for _ in range(100):
        p = torch.from_numpy(wrightomega((centre - level).numpy())) / stiffness
        excess = p.sum(-1, keepdim=True) - 1.0
        change = excess / (p / (1 + stiffness * p)).sum(-1, keepdim=True).clamp(min=1e-300)
        change = change.where(seen.any(-1, keepdim=True), 0.0)
        level = level + change
        # Newton's error is less than half the square of its last step here: |f''| <= |f'| for f = sum_a p_a - 1.
        if float(change.abs().max()) <= max(1e-7, 1e-12 * float(level.abs().max())):
            break
    p = torch.from_numpy(wrightomega((centre - level).numpy())) / stiffness
    return (targets + cql_alpha / 2 - stiffness * p).masked_fill(~seen, -math.inf)


# ---------------------------------------------------------------- the iteration
def sweeps(
    log: TabularLog,
    discount: float,
    fit: Fit = exact_fit,
    backup: Backup = greedy_backup,
    initial: float | Tensor = 0.0,
) -> Iterator[Tensor]:
    """The tables of fitted Q-iteration one after the other, without end: ``[S, A]`` each.

    ``initial`` is the table before the first sweep, and what `exact_fit` leaves at unseen pairs.
    """
    require(0.0 <= discount <= 1.0, "discount", discount, "a number in [0, 1]")
    q = torch.as_tensor(initial, dtype=torch.float64).expand(log.n_states, log.n_actions)
    while True:
        q = fit(log, log.mean_rewards + discount * log.mean_next(backup(log, q)), q)
        yield q


def fitted_q(
    log: TabularLog,
    discount: float,
    fit: Fit = exact_fit,
    backup: Backup = greedy_backup,
    initial: float | Tensor = 0.0,
    tolerance: float = 1e-8,
    limit: int = 20_000,
) -> Tensor:
    """The table at which fitted Q-iteration rests: the first that no sweep moves by more than ``tolerance``.

    Raises ``ConfigError`` if that is not so after ``limit`` sweeps. At discount 1 there may be no such table: a loop in
    the log whose value gains a little at each turn grows for ever (see `cql_fit` with `greedy_backup`).
    """
    before, change = torch.full((), math.inf), math.inf
    for q in islice(sweeps(log, discount, fit, backup, initial), limit):
        change = float((q - before).nan_to_num(0.0).abs().max())  # -inf minus -inf is no change
        if change <= tolerance:
            return q
        before = q
    found, mend = f"a last change of {change:.1e}", "more sweeps, or a discount below 1"
    raise ConfigError("limit", f"{limit} sweeps and {found}", f"a table that moves by less than {tolerance:g}", mend)


# ---------------------------------------------------------------- policies of a table
def softmax_policy(q: Tensor, temperature: float = 1.0) -> Tensor:
    """``softmax(Q / temperature)`` ``[S, A]``; uniform in a row of -inf."""
    empty = q.isneginf().all(-1, keepdim=True)
    return torch.softmax(q.masked_fill(empty, 0.0) / temperature, -1)


def greedy_policy(q: Tensor) -> Tensor:
    """All weight on the largest entry of each row (the first of equals), uniform in a row of -inf: ``[S, A]``."""
    best = torch.nn.functional.one_hot(q.argmax(-1), q.shape[-1]).double()
    return best.where(~q.isneginf().all(-1, keepdim=True), 1.0 / q.shape[-1])


def advantage_policy(
    log: TabularLog, q: Tensor, values: Tensor, inverse_temperature: float = 3.0, advantage_cap: float = 100.0
) -> Tensor:
    """Implicit Q-learning's policy, ``pi(a|s) ~ b(a|s) min(exp(beta (Q - V)), cap)``: ``[S, A]``.

    The exact minimum of its weighted cloning loss; uniform where nothing was logged. Source: IQL, Eq. 7.
    """
    require(inverse_temperature >= 0, "inverse_temperature", inverse_temperature, "a number >= 0 (0 clones the log)")
    advantage = (q - values[:, None]).where(log.seen, 0.0)
    weights = log.behaviour * (inverse_temperature * advantage).exp().clamp(max=advantage_cap)
    weights = weights.where(log.visited[:, None], 1.0)
    return weights / weights.sum(-1, keepdim=True)
