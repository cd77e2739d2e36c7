"""Experiment of chapter 04: DQN and discrete CQL on logs of three qualities, in a world whose values are exact."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ... import losses
from ...agents import make_agent
from ...agents.tabular import TabularLog, greedy_policy, record_log
from ...envs import Gridworld
from ...evaluation.intervals import t_interval
from ...evaluation.true_values import optimal_q, solve_q
from ...networks import relu_network

DISCOUNT = 0.9
LOGS = {"expert": (0.1, 20), "mixed": (0.5, 20), "random": (1.0, 80)}  # name: share of random moves, episodes
CHOOSING, REPORTING = (0, 1, 2, 3), (10, 11, 12, 13)  # draws of the logs: alpha is chosen on some, judged on others
STEPS = 150  # updates, each on the whole log


class Run(NamedTuple):
    """What a trained critic predicts at the start for its greedy policy, and what that policy is worth there."""

    predicted: float
    true: float

    @property
    def error(self) -> float:
        """The estimation error at the start."""
        return self.predicted - self.true


@cache
def world() -> Gridworld:
    """The cliff, five cells by five."""
    return Gridworld(size=5)


def behaviour(log: str) -> Tensor:
    """The policy that made a log ``[S, A]``: optimal, but for a share of moves that is uniformly random."""
    share, best = LOGS[log][0], greedy_policy(optimal_q(world(), DISCOUNT))
    return (1 - share) * best + share / best.shape[1]


def exploration_log(log: str, draw: int) -> TabularLog:
    """One draw of a log of `LOGS`, episodes cut at 50 steps."""
    return record_log(world(), behaviour(log), LOGS[log][1], seed=draw, max_steps=50)


def start_value(policy: Tensor) -> float:
    """The exact value of a table of probabilities ``[S, A]`` at the start, by a linear solve."""
    return float((policy * solve_q(world(), policy, DISCOUNT)).sum(1)[world().start_state])


def untrained(draw: int, cql_alpha: float) -> Any:
    """The package's ``dqn`` (alpha 0) or ``discrete-cql``: one hidden layer of 32 units, double precision."""
    settings: dict[str, Any] = {
        "state_dim": world().observation_dim, "action_dim": world().action_dim, "hidden_dim": 32, "hidden_layers": 1,
        "discount": DISCOUNT, "tau": 0.1, "critic_lr": 1e-2, "seed": draw, "device": "cpu", "dtype": "float64",
    }  # fmt: skip
    return (
        make_agent("discrete-cql", {**settings, "cql_alpha": cql_alpha}) if cql_alpha else make_agent("dqn", settings)
    )


def learn(log: str, draw: int, cql_alpha: float) -> Run:
    """Train the package's ``dqn`` (alpha 0) or ``discrete-cql`` on one draw of a log.

    See `untrained` for the network, whose inputs are one-hot states; `STEPS` updates on the whole log. An action that
    the log lacks has no target; its value is what the network makes of the others.
    """
    data, agent, one_hot = exploration_log(log, draw), untrained(draw, cql_alpha), one_hot_states()
    batch = {
        "observations": one_hot[data.states],
        "actions": data.actions,
        "rewards": data.rewards,
        "next_observations": one_hot[data.next_states],
        "terminations": data.terminations,
    }
    for _ in range(STEPS):
        agent.update(batch)
    return judged(agent.scores(one_hot).detach())


def one_hot_states() -> Tensor:
    """Each state of the world as the networks see it: ``[S, S]``."""
    return torch.eye(world().observation_dim, dtype=torch.float64)


def judged(table: Tensor) -> Run:
    """What a table of Q-values ``[S, A]`` predicts at the start, and what its greedy policy is worth there."""
    return Run(float(table[world().start_state].max()), start_value(greedy_policy(table)))


KNOWN: dict[tuple[str, int, float], Run] = {}  # what `learn_together` has trained


def learn_together(runs: Sequence[tuple[str, int, float]]) -> list[Run]:
    """What `learn` gives for each (log, draw, alpha), trained side by side, and only once.

    The same updates (tested equal): every network's values of all states are computed once an update, ``[M, S, A]`` of
    M runs, and the rows of every log look theirs up; each row counts one over the rows of its log.
    """
    new = [run for run in dict.fromkeys(runs) if run not in KNOWN]
    if new:
        KNOWN.update(zip(new, _trained(new), strict=True))
    return [KNOWN[run] for run in runs]


def _trained(runs: Sequence[tuple[str, int, float]]) -> list[Run]:
    logs = [exploration_log(log, draw) for log, draw, _ in runs]
    critics = [untrained(draw, alpha).critic for _, draw, alpha in runs]
    layers = [torch.cat(each).detach() for each in zip(*(critic.parameters() for critic in critics), strict=True)]
    online, target = [layer.clone().requires_grad_() for layer in layers], layers
    optimizer = torch.optim.Adam(online, lr=1e-2, fused=True)
    inputs = one_hot_states().expand(len(runs), -1, -1)

    def tables(parameters: Sequence[Tensor]) -> Tensor:
        half = len(parameters) // 2  # weights, then biases
        return relu_network(inputs, [*zip(parameters[:half], parameters[half:], strict=True)], torch.baddbmm)

    lengths = torch.tensor([len(data) for data in logs])
    member = torch.repeat_interleave(torch.arange(len(logs)), lengths)
    share = (1.0 / lengths.double())[member]
    alpha = torch.tensor([cql_alpha for _, _, cql_alpha in runs], dtype=torch.float64)[member]
    columns = ("states", "actions", "rewards", "next_states", "terminations")
    here, action, reward, there, ended = (torch.cat([getattr(data, name) for data in logs]) for name in columns)
    for _ in range(STEPS):
        q = tables(online)
        with torch.no_grad():
            best = q[member, there].argmax(-1)  # chosen by the critic, valued by its target network
            y = losses.td_target(reward, ended, tables(target)[member, there, best], DISCOUNT)
        q_all = q[member, here]
        q_data = q_all.gather(1, action[:, None])[:, 0]
        penalty = torch.logsumexp(q_all, 1) - q_data  # up to a constant, which has no gradient
        optimizer.zero_grad()
        (share * ((q_data - y).square() + alpha * penalty)).sum().backward()
        optimizer.step()
        torch._foreach_lerp_(target, [layer.detach() for layer in online], 0.1)
    return [judged(table) for table in tables(online).detach()]


def table_of_runs(
    alphas: Sequence[float], draws: Sequence[int] = CHOOSING, logs: Sequence[str] = tuple(LOGS)
) -> dict[tuple[str, float], tuple[tuple[float, float], tuple[float, float]]]:
    """(log, alpha) to mean and 95 % half width, over the draws, of the true value and of the estimation error."""
    found = {}
    trained = iter(learn_together([(log, draw, float(alpha)) for log in logs for alpha in alphas for draw in draws]))
    for log in logs:
        for alpha in alphas:
            runs = [next(trained) for _ in draws]
            found[log, alpha] = t_interval([run.true for run in runs]), t_interval([run.error for run in runs])
    return found


BARS: Mapping[str, tuple[float, float]] = {  # least mean return, largest mean absolute estimation error
    "expert": (3.0, 2.0),
    "mixed": (3.0, 2.0),
    "random": (0.0, 2.0),
}


def judge_alpha(answer: Any, log: str) -> str | None:
    """None if an alpha meets both `BARS` on the `REPORTING` draws of a log; else what was measured, and the bars."""
    try:
        alpha = float(answer)
    except Exception:  # whatever an odd answer raises, it is no number
        return "an alpha is one number: 0 is DQN, and larger means more penalty."
    if isinstance(answer, (bool, str)) or not (math.isfinite(alpha) and 0 <= alpha <= 1e4):
        return "an alpha is one finite number from 0 (DQN) to ten thousand."
    runs, (least, most) = learn_together([(log, draw, alpha) for draw in REPORTING]), BARS[log]
    value = sum(run.true for run in runs) / len(runs)
    error = sum(run.error for run in runs) / len(runs)
    off = sum(abs(run.error) for run in runs) / len(runs)
    missed = []
    if value < least:
        missed.append(f"its greedy policy is worth {value:.1f}, and {least:g} was asked for")
    if off > most:
        side = "too high" if error > 0 else "too low"
        missed.append(f"its prediction is off by {off:.1f} (mostly {side}), and {most:g} was allowed")
    return f'alpha {alpha:g} on new draws of the "{log}" log: {"; ".join(missed)}.' if missed else None
