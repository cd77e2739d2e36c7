"""Experiments of chapter 05 and page a2: random worlds and policies, exact learners, safe policy improvement.

Alphas are on this course's scale (no 1/2 in front of the square): the paper's alpha is half of ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...agents.tabular import TabularLog, cql_minimum, record_log
from ...envs.tabular import TabularWorld
from ...evaluation.true_values import solve_q


def random_policy(world: TabularWorld, seed: int, sharpness: float = 1.0) -> Tensor:
    """Draw a policy at random: softmax of normal scores ``[S, A]``; every action has a chance."""
    shape, generator = (world.observation_dim, world.action_dim), torch.Generator().manual_seed(seed)
    return torch.softmax(sharpness * torch.randn(shape, generator=generator, dtype=torch.float64), 1)


def with_rewards(world: TabularWorld, rewards: Tensor) -> TabularWorld:
    """Return the same world with other rewards ``[S, A]``."""
    return TabularWorld.from_tables(world.transitions, rewards, world.terminal_states, discount=world.discount)


def side_by_side(worlds: Sequence[TabularWorld]) -> TabularWorld:
    """Join worlds into one: their states one after another, with no transition from one world to another."""
    discount, actions = worlds[0].discount, worlds[0].action_dim
    blocks = [torch.block_diag(*(world.transitions[:, a] for world in worlds)) for a in range(actions)]
    rewards, ends = (torch.cat([getattr(w, n) for w in worlds]) for n in ("expected_rewards", "terminal_states"))
    return TabularWorld.from_tables(torch.stack(blocks, 1), rewards, ends, discount=discount)


def counted_world(world: TabularWorld, log: TabularLog) -> TabularWorld:
    """Build the world that a log shows: mean rewards, shares of next states; unseen pairs stay put for reward 0."""
    n, a = log.n_states, log.n_actions
    moves = torch.bincount(log.pairs * n + log.next_states, minlength=n * a * n).view(n, a, n).double()
    stay = torch.eye(n, dtype=torch.float64)[:, None].expand(n, a, n)
    shares = torch.where(log.seen[..., None], moves / log.counts.clamp(min=1)[..., None], stay)
    return TabularWorld.from_tables(shares, log.mean_rewards, world.terminal_states, discount=world.discount)


def joined(logs: Sequence[TabularLog]) -> TabularLog:
    """Join the logs of several worlds into one log of the world that `side_by_side` makes of them."""
    size, first = logs[0].n_states, [0, *torch.tensor([len(log) for log in logs]).cumsum(0).tolist()]
    shift = [
        (
            log.states + i * size,
            log.actions,
            log.rewards,
            log.next_states + i * size,
            log.terminations,
            log.episode_starts + first[i],
        )
        for i, log in enumerate(logs)
    ]
    return TabularLog(size * len(logs), logs[0].n_actions, *(torch.cat(column) for column in zip(*shift, strict=True)))


def evaluate_logged(world: TabularWorld, policy: Tensor, rewards: Tensor, logged: Tensor, start: float) -> Tensor:
    """Evaluate a policy by sweeps that move only logged pairs; the others keep their ``start``: ``[S, A]``."""
    q = torch.full_like(rewards, start)
    for _ in range(600):
        q = torch.where(logged, rewards + world.discount * world.expected_next((policy * q).sum(1)), start)
    return q


def cql_at_rest(
    world: TabularWorld, behaviour: Tensor, alpha: float, value: Callable[[Tensor], Tensor], sweeps: int = 250
) -> Tensor:
    """Iterate CQL(H) with the exact model: ``Q <- argmin`` of its loss on ``r + discount * E[value(Q)(s')]``."""
    q = torch.zeros_like(behaviour)
    for _ in range(sweeps):
        q = cql_minimum(world.expected_rewards + world.discount * world.expected_next(value(q)), behaviour, alpha)
    return q


def grouped_evaluation(
    world: TabularWorld, policy: Tensor, behaviour: Tensor, weights: Tensor, groups: Tensor, alpha: float
) -> Tensor:
    """Solve Eq. 2 with a critic that cannot tell a group's states apart: ``[S, A]``, equal rows within a group.

    It minimises ``sum_s w(s) [sum_a b (Q - y)^2 + alpha (sum_a pi Q - sum_a b Q)]`` on the targets of ``policy``.
    """
    member = torch.nn.functional.one_hot(groups).double().T  # [G, S]
    mass = member @ (weights[:, None] * behaviour)
    push = member @ (weights[:, None] * (policy - behaviour))
    q = torch.zeros_like(policy)
    for _ in range(600):
        y = world.expected_rewards + world.discount * world.expected_next((policy * q).sum(1))
        q = ((member @ (weights[:, None] * behaviour * y) - alpha / 2 * push) / mass)[groups]
    return q


def visitation(world: TabularWorld, policy: Tensor, start: Tensor) -> Tensor:
    """Compute the discounted visits of each state, ``(1 - discount) sum_t discount^t P(s_t = s)``: ``[S]``, sum 1."""
    gamma, chain = world.discount, world.chain(policy)
    identity = torch.eye(len(start), dtype=torch.float64)
    return (1 - gamma) * torch.linalg.solve(identity - gamma * chain.T, start)


def regularised_policy(q: Tensor, behaviour: Tensor, alpha: float) -> Tensor:
    """``argmax_pi sum_a pi Q - alpha (sum_a pi^2 / b - 1)`` in each state; only actions with b > 0 take part.

    ``pi(a) = max(0, b(a) (Q(a) - level) / (2 alpha))``; the level follows from how many of the best actions take part.
    Greedy at alpha 0.
    """
    allowed = q.masked_fill(behaviour == 0, -math.inf)
    if alpha == 0:
        return torch.nn.functional.one_hot(allowed.argmax(1), q.shape[1]).double()
    ranked, order = allowed.sort(dim=1, descending=True)
    share = behaviour.gather(1, order)
    levels = ((share * ranked.nan_to_num(neginf=0.0)).cumsum(1) - 2 * alpha) / share.cumsum(1)
    taking_part = ((ranked > levels) & (share > 0)).sum(1, keepdim=True)
    level = levels.gather(1, taking_part - 1)
    policy = (behaviour * (q - level) / (2 * alpha)).clamp(min=0)
    return policy / policy.sum(1, keepdim=True)


def safe_policy(model: TabularWorld, behaviour: Tensor, alpha: float, distance: Callable[..., Tensor]) -> Tensor:
    """The policy with the best ``J(pi) - alpha / (1 - discount) E[D_CQL(pi, b)]`` in a counted model.

    Policy iteration with the fine ``alpha * D_CQL`` in every state. Source: CQL, Theorem 3.6 and its objective.
    """
    policy = behaviour
    for _ in range(50):
        fined = model.expected_rewards - alpha * distance(policy, behaviour)[:, None]
        values = (policy * solve_q(with_rewards(model, fined), policy)).sum(1)
        q = model.expected_rewards + model.discount * model.expected_next(values)
        before, policy = policy, regularised_policy(q, behaviour, alpha)
        if float((policy - before).abs().max()) < 1e-10:
            break
    return policy


def zeta(
    visits: Tensor,
    distance: Tensor,
    weights: Tensor,
    alpha: float,
    discount: float,
    pairs: int,
    actions: int = 4,
    delta: float = 0.05,
    branching: int = 3,
) -> Tensor:
    """The allowance of Theorem 3.6, for rewards without noise and at most 1; tensors ``[..., S]``.

    ``2 discount C / (1 - discount)^2 E_s[sqrt(A / n(s)) sqrt(D + 1)] - alpha / (1 - discount) E_s[D]`` with Weissman's
    constant ``C = sqrt(2 (branching log 2 + log(pairs / delta)))`` for the shares of ``branching`` next states.
    """
    constant = math.sqrt(2 * (branching * math.log(2) + math.log(pairs / delta)))
    spread = (weights * (actions / visits.clamp(min=1)).sqrt() * (distance + 1).sqrt()).sum(-1)
    gain = alpha / (1 - discount) * (weights * distance).sum(-1)
    return 2 * discount * constant / (1 - discount) ** 2 * spread - gain


def gaps_expand(
    world: TabularWorld, behaviour: Tensor, alpha: float, fine: Callable[..., Tensor], rounds: int = 5
) -> list[float]:
    """Theorem 3.4 round by round: the share of states in which the penalised iterate sets the log further apart.

    Both iterates start from 0 and evaluate ``mu = softmax`` of the penalised one; only one pays the ``fine`` of Eq. 2.
    """
    plain, penalised, shares = torch.zeros_like(behaviour), torch.zeros_like(behaviour), []
    for _ in range(rounds):
        mu = torch.softmax(penalised, 1)
        values = [(mu * q).sum(1) for q in (plain, penalised)]
        plain = world.expected_rewards + world.discount * world.expected_next(values[0])
        penalised = fine(world.expected_rewards, mu, behaviour, alpha) + world.discount * world.expected_next(values[1])
        apart = [((behaviour - mu) * q).sum(1) for q in (plain, penalised)]
        shares.append(float((apart[1] > apart[0]).double().mean()))
    return shares


def four_runs(
    worlds: Sequence[TabularWorld], policy: Tensor, behaviour: Tensor, other: Tensor, alphas: Sequence[float]
) -> dict[str, dict[float, Tensor]]:
    """Four runs, each with one condition broken, for exercise 05.6: name -> alpha -> ``V-hat - V^pi`` ``[S]``.

    The docstring does not say which is which. Three fit Equation 2 to a table, with ``policy`` evaluated and pushed
    down and an exact model, but for the one condition; one fits CQL(H).
    """
    many = side_by_side(worlds)

    def value(actions: Tensor, q: Tensor) -> Tensor:
        return (actions * q).sum(1)

    def fined(world: TabularWorld, mu: Tensor, shares: Tensor, alpha: float) -> Tensor:
        return world.expected_rewards - alpha / 2 * (mu / shares - 1)

    truth = value(policy, solve_q(many, policy))
    parts = enumerate(zip(worlds, behaviour.split(worlds[0].observation_dim), strict=True))
    log = joined([record_log(world, b, 64, seed=70 + i) for i, (world, b) in parts])
    model, shares = counted_world(many, log), log.behaviour.where(log.seen, 1.0)
    logged = torch.arange(behaviour.shape[1]).expand_as(behaviour) > 0  # in one run the first action is never logged
    known = (torch.where(logged, p, 0.0) for p in (policy, behaviour))
    pushed, rest = (p / p.sum(1, keepdim=True) for p in known)
    runs: dict[str, dict[float, Tensor]] = {name: {} for name in "WXYZ"}
    for alpha in alphas:
        q = solve_q(with_rewards(many, fined(many, other, behaviour, alpha)), policy)
        runs["W"][alpha] = value(policy, q) - truth
        q = evaluate_logged(many, policy, fined(many, pushed, rest.where(logged, 1.0), alpha), logged, start=10.0)
        runs["X"][alpha] = value(policy, q) - truth
        q = solve_q(with_rewards(model, fined(model, policy, shares, alpha)), policy)
        runs["Y"][alpha] = value(policy, q) - truth
        q = cql_at_rest(many, behaviour, alpha, lambda q: value(torch.softmax(q / 0.05, 1), q))
        acting = torch.softmax(q / 0.05, 1)
        runs["Z"][alpha] = value(acting, q) - value(acting, solve_q(many, acting))
    return runs
