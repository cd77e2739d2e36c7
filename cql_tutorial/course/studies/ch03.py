"""Experiments of chapter 03: five runs to be diagnosed, three listings to be read, an error split by its cause."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor

from ...agents.tabular import (
    Fit,
    TabularLog,
    exact_fit,
    fitted_q,
    greedy_backup,
    greedy_policy,
    record_log,
    shrunk_fit,
    sweeps,
)
from ...envs.tabular import TabularWorld, policy_probabilities
from ...evaluation.true_values import solve_q

RARE = 3  # an action tried at most so often is rarely tried
SWEEPS = 12  # of the run that is stopped too early: the goal lies further than that from the start

# Offline reinforcement learning as one finds it published, each with one wrong line; exercise 03.6 asks for it.
LISTINGS = {
    "critic": """\
def critic_loss(batch, critics, targets, actor, temperature, discount):
    with torch.no_grad():
        action, log_prob = actor.sample(batch.next_observations)
        value = torch.max(targets[0](batch.next_observations, action), targets[1](batch.next_observations, action))
        value = value - temperature * log_prob
        y = batch.rewards + discount * ~batch.terminations * value
    predicted = [critic(batch.observations, batch.actions) for critic in critics]
    return sum((q - y).square().mean() for q in predicted)""",
    "actor": """\
def actor_loss(batch, critics, actor, temperature):
    mean, log_std = actor(batch.observations)
    with torch.no_grad():
        u = mean + log_std.exp() * torch.randn_like(mean)
    action = torch.tanh(u)
    log_prob = squashed_log_prob(u, mean, log_std)
    q = torch.min(critics[0](batch.observations, action), critics[1](batch.observations, action))
    return (temperature * log_prob - q).mean()""",
    "sweep": """\
def sweep(q, log, discount):
    best = q.max(dim=1).values
    ended = log.terminations | log.truncations
    y = log.rewards + discount * best[log.next_states] * ~ended
    total = torch.zeros(q.numel()).index_add_(0, log.pairs, y)
    return torch.where(log.counts > 0, total.view_as(q) / log.counts.clamp(min=1), q)""",
}


def numbered(listing: str) -> str:
    """One of `LISTINGS` with a number before each line, counted from 1."""
    return "\n".join(f"{i:2d}  {line}" for i, line in enumerate(LISTINGS[listing].splitlines(), 1))


def suspects(
    world: TabularWorld, behaviour: Tensor, discount: float, draws: Sequence[int] = range(10)
) -> dict[str, dict[str, float]]:
    """Five runs of fitted Q-iteration, means over logs of 50 episodes (run A: 500), in an order that tells nothing.

    Each row holds, at the start: what the table predicts, the exact value of its greedy policy, the error that the
    run's report gives; then the largest change of the last sweep, and the shares of visited states whose greedy action
    was never and rarely (1 to `RARE` times) tried. Exercise 03.5 asks which mistake is behind each.
    """
    found: dict[str, list[list[float]]] = {run: [] for run in "ABCDE"}
    author = _start_value(world, policy_probabilities(world, behaviour), discount)
    for seed in draws:
        short = record_log(world, behaviour, 50, seed=seed)
        wide = 10.0 * torch.randn(
            short.counts.shape, generator=torch.Generator().manual_seed(100 + seed), dtype=torch.float64
        )
        long = record_log(world, behaviour, 500, seed=seed)
        found["A"].append(_row(world, long, fitted_q(long, discount), exact_fit, discount, author))
        found["B"].append(_row(world, short, fitted_q(short, discount, shrunk_fit(1.0)), shrunk_fit(1.0), discount))
        found["C"].append(_row(world, short, fitted_q(short, discount), exact_fit, discount))
        early = next(islice(sweeps(short, discount), SWEEPS - 1, None))
        found["D"].append(_row(world, short, early, exact_fit, discount))
        found["E"].append(_row(world, short, fitted_q(short, discount, initial=wide), exact_fit, discount))
    names = ("predicted", "exact", "reported", "moved", "unseen", "rare")
    return {
        run: dict(zip(names, torch.tensor(rows, dtype=torch.float64).mean(0).tolist(), strict=True))
        for run, rows in found.items()
    }


def _row(
    world: TabularWorld, log: TabularLog, q: Tensor, fit: Fit, discount: float, reference: float | None = None
) -> list[float]:
    policy = greedy_policy(q).where(log.visited[:, None], 1.0 / log.n_actions)
    predicted, exact = float(q[_start(world)].max()), _start_value(world, policy, discount)
    after = fit(log, log.mean_rewards + discount * log.mean_next(greedy_backup(log, q)), q)
    tried = log.counts.gather(1, q.argmax(1, keepdim=True))[log.visited, 0]
    shares = [float((tried == 0).double().mean()), float(((tried >= 1) & (tried <= RARE)).double().mean())]
    reported = predicted - (exact if reference is None else reference)
    return [predicted, exact, reported, float((after - q).abs().max()), *shares]


def _start(world: TabularWorld) -> int:
    return int(world.start_state)


def _start_value(world: TabularWorld, policy: Tensor, discount: float) -> float:
    return float((policy * solve_q(world, policy, discount)).sum(1)[_start(world)])


def error_by_cause(
    world: TabularWorld, log: TabularLog, q: Tensor, policy: Tensor, discount: float
) -> tuple[float, dict[str, float]]:
    """Split the estimation error of ``policy`` at the start by how often the log holds the pair where it arises.

    With ``B^pi`` the true one-step backup and ``D`` the discounted visits of ``policy`` from the start,
    ``sum_t discount^t P(s_t, a_t)``, exactly

        V-hat(start) - V^pi(start) = sum_{s,a} D(s, a) (Q-hat - B^pi Q-hat)(s, a),

    since ``Q-hat - Q^pi = (I - discount P^pi)^-1 (Q-hat - B^pi Q-hat)``. Returns the left side, and the parts of the
    right side over pairs that were never tried, rarely (1 to `RARE` times), and more often.
    """
    exact = solve_q(world, policy, discount)
    value, truth = (policy * q).sum(1), (policy * exact).sum(1)
    going = ~world.terminal_states
    transitions = world.transitions * going.double()  # [S, A, S]; nothing follows a terminal state
    backed_up = world.expected_rewards + discount * transitions @ value
    residual = (q - backed_up) * going[:, None].double()
    between = (policy[:, :, None] * transitions).sum(1)  # [S, S]
    start = torch.zeros(len(value), dtype=torch.float64)
    start[_start(world)] = 1.0
    visits = torch.linalg.solve(torch.eye(len(value), dtype=torch.float64) - discount * between.T, start)
    parts = visits[:, None] * policy * residual
    kinds = {
        "never tried": log.counts == 0,
        "rarely tried": (log.counts >= 1) & (log.counts <= RARE),
        "well tried": log.counts > RARE,
    }
    return float((value - truth)[_start(world)]), {name: float(parts[mask].sum()) for name, mask in kinds.items()}
