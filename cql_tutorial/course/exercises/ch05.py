"""Exercises of chapter 05, is it a lower bound: two critics at rest, a distance, a threshold, a premise, four runs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..checker import Example
from ..registry import exercise, mutant, prediction, quiz_question

D = torch.float64


def _draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def _policy(seed: int, states: int = 5, actions: int = 3) -> torch.Tensor:
    return torch.softmax(_draw(seed, states, actions), 1)


# one state, four arms: no two of the distributions share an entry
REWARDS = torch.tensor([[1.2, -0.7, 0.5, 0.1]], dtype=D)
LOG = torch.tensor([[0.1, 0.25, 0.15, 0.5]], dtype=D)
MU = torch.tensor([[0.55, 0.05, 0.32, 0.08]], dtype=D)
# two states, three actions: each action leads to one state for sure, and no state is terminal
LEADS = torch.tensor([[[0, 1], [1, 0], [0, 1]], [[1, 0], [1, 0], [0, 1]]], dtype=D)
TWO_REWARDS = torch.tensor([[1.2, -0.7, 0.5], [0.1, 2.0, -1.4]], dtype=D)
TWO_LOGS = torch.tensor([[0.1, 0.25, 0.65], [0.3, 0.55, 0.15]], dtype=D)
TWO_MU = torch.tensor([[0.55, 0.05, 0.4], [0.12, 0.08, 0.8]], dtype=D)
TWO_PI = torch.tensor([[0.35, 0.48, 0.17], [0.7, 0.1, 0.2]], dtype=D)
# three states, two actions: every move has its own chance, no state is terminal
MOVES = torch.tensor(
    [[[0.1, 0.6, 0.3], [0.7, 0.05, 0.25]], [[0.2, 0.0, 0.8], [0.45, 0.4, 0.15]], [[0.35, 0.65, 0.0], [0.0, 0.1, 0.9]]],
    dtype=D,
)
TWO_ACTIONS = [torch.tensor([[a, 1 - a] for a in p], dtype=D) for p in ((0.8, 0.3, 0.45), (0.65, 0.1, 0.7))]
HALF_LOG = torch.tensor([[0.4, 0.6], [0.25, 0.75], [0.9, 0.1]], dtype=D)
PAYS = torch.tensor([[0.5, -1.1], [2.0, 0.3], [-0.4, 0.9]], dtype=D)
FAR = torch.softmax(2 * _draw(9, 5, 3, 5), 2)
SCARCE = [torch.softmax(2.5 * _draw(seed, 5, 3), 1) for seed in (3, 4)]  # logs with shares below 1 %


# ---------------------------------------------------------------- 05.1
def _steps_05_1(
    rewards: Tensor, transitions: Tensor, policy: Tensor, mu: Tensor, behaviour: Tensor, alpha: float, discount: float
) -> dict[str, Tensor]:
    fine = alpha / 2 * mu / behaviour
    values = (policy * critic_at_rest(rewards, transitions, policy, mu, behaviour, alpha, discount)).sum(1)
    return {"the fine of each pair": fine, "rewards less fines": rewards - fine, "the states' values at rest": values}


@exercise(
    "05.1",
    title="Equation 1's critic at rest",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=15,
    examples=(
        Example((TWO_REWARDS, LEADS, TWO_PI, TWO_MU, TWO_LOGS, 1.4, 0.6), "two states, three actions, sure moves"),
        Example((PAYS, MOVES, *TWO_ACTIONS, HALF_LOG, 0.9, 0.8), "three states, two actions"),
        Example(
            (_draw(0, 5, 3) + 1.5, FAR, _policy(1), _policy(2), SCARCE[0], 0.3, 0.99),
            "five states, three actions, and a far horizon: discount 0.99",
            shown=False,
        ),
    ),
    hints=(
        "Set the derivative of b (Q - y)^2 + alpha mu Q to zero: Q = y minus something. What is y made of?",
        "So Q = (r - fine) + discount * P V, where V is the policy's mean of this same Q: the solve of chapter 02, "
        "with other rewards.",
        "values = torch.linalg.solve(eye - discount * chain, (policy * ____).sum(1)); return ____ + discount * "
        "transitions @ values",
    ),
    meaning="The fine is paid at every step of the future: the critic is exact in the world with fines.",
    steps=_steps_05_1,
)
def critic_at_rest(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """The table at which fitting Equation 1 again and again comes to rest; ``policy`` is evaluated, ``mu`` pushed down.

    [S, A], [S, A, S], [S, A], [S, A], [S, A], number, number -> [S, A]
    """
    fined = rewards - alpha / 2 * mu / behaviour
    chain = (policy[:, :, None] * transitions).sum(1)
    eye = torch.eye(len(rewards), dtype=rewards.dtype)
    values = torch.linalg.solve(eye - discount * chain, (policy * fined).sum(1))
    return fined + discount * transitions @ values


def _evaluate(fined, transitions, policy, discount):
    """Q of a policy in the world of these rewards."""
    chain = torch.einsum("sa,sat->st", policy, transitions)
    values = torch.linalg.solve(torch.eye(len(fined), dtype=D) - discount * chain, (policy * fined).sum(1))
    return fined + discount * transitions @ values


@mutant("05.1", "the paper's alpha")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """that is the paper's scale. Its squared error carries 1/2, ours does not: the derivative of the square is
    2 b (Q - y), and the 2 stays."""
    return _evaluate(rewards - alpha * mu / behaviour, transitions, policy, discount)


@mutant("05.1", "factor 2 above")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """your fine is four times too large: the 2 of the square's derivative divides alpha, it does not multiply it."""
    return _evaluate(rewards - 2 * alpha * mu / behaviour, transitions, policy, discount)


@mutant("05.1", "no ratio")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """the push mu is not divided by the log's share. A rare action is held by few rows, so the same push moves it
    further."""
    return _evaluate(rewards - alpha / 2 * mu, transitions, policy, discount)


@mutant("05.1", "multiplied by the share")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """you multiply by the log's share. `a / 2 * b` is (a / 2) * b in Python: divide by behaviour."""
    return _evaluate(rewards - alpha * mu / 2 * behaviour, transitions, policy, discount)


@mutant("05.1", "turned ratio")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """the ratio is upside down: what is pushed (mu) over what holds (behaviour)."""
    return _evaluate(rewards - alpha / 2 * behaviour / mu, transitions, policy, discount)


@mutant("05.1", "plus")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """the sign is turned: the penalty pushes down."""
    return _evaluate(rewards + alpha / 2 * mu / behaviour, transitions, policy, discount)


@mutant("05.1", "Equation 2")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """that is Equation 2, which adds a term for the logged actions. Equation 1 has none."""
    return _evaluate(rewards - alpha / 2 * (mu / behaviour - 1), transitions, policy, discount)


@mutant("05.1", "difference")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """you subtract the shares. The square is weighted by b, so its minimum moves by the *ratio* of mu and b."""
    return _evaluate(rewards - alpha / 2 * (mu - behaviour), transitions, policy, discount)


@mutant("05.1", "no fine")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """that is the true value of the policy: alpha has no part in it."""
    return _evaluate(rewards, transitions, policy, discount)


@mutant("05.1", "paid once")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """you subtract the fine once, at the end. The targets of the next sweep are made from a table that has paid, so
    the future holds fines too: put the fine into the rewards."""
    return _evaluate(rewards, transitions, policy, discount) - alpha / 2 * mu / behaviour


@mutant("05.1", "paid later only")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """the future pays its fines, the first action does not: the last line needs the fined rewards as well."""
    fine = alpha / 2 * mu / behaviour
    return _evaluate(rewards - fine, transitions, policy, discount) + fine


@mutant("05.1", "the pushed policy acts")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """you evaluate mu. It says who is pushed down; the future belongs to ``policy``."""
    return _evaluate(rewards - alpha / 2 * mu / behaviour, transitions, mu, discount)


@mutant("05.1", "the log acts")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """you evaluate the behaviour policy. The log decides how firmly a value is held; the future belongs to
    ``policy``."""
    return _evaluate(rewards - alpha / 2 * mu / behaviour, transitions, behaviour, discount)


@mutant("05.1", "the evaluated policy is pushed")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """you push ``policy`` down. Equation 1 pushes mu, whoever is evaluated."""
    return _evaluate(rewards - alpha / 2 * policy / behaviour, transitions, policy, discount)


@mutant("05.1", "greedy future")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """the next value is a maximum. A policy is evaluated here: its mean."""
    fined = rewards - alpha / 2 * mu / behaviour
    q = torch.zeros_like(fined)
    for _ in range(2000):
        q = fined + discount * transitions @ q.amax(1)
    return q


@mutant("05.1", "uniform future")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """the next value is the plain mean over the actions. The policy weighs them: its own shares."""
    uniform = torch.full_like(policy, 1 / policy.shape[1])
    return _evaluate(rewards - alpha / 2 * mu / behaviour, transitions, uniform, discount)


@mutant("05.1", "uniform moves")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """the chances of the moves are averaged over the actions alike. The policy weighs them too: its own shares."""
    fined = rewards - alpha / 2 * mu / behaviour
    system = torch.eye(len(fined), dtype=D) - discount * transitions.mean(1)
    return fined + discount * transitions @ torch.linalg.solve(system, (policy * fined).sum(1))


@mutant("05.1", "uniform rewards")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """the moves follow the policy, the rewards are averaged over the actions alike. Both are the policy's."""
    fined = rewards - alpha / 2 * mu / behaviour
    system = torch.eye(len(fined), dtype=D) - discount * torch.einsum("sa,sat->st", policy, transitions)
    return fined + discount * transitions @ torch.linalg.solve(system, fined.mean(1))


@mutant("05.1", "one fine for all actions")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """you sum the fine over the actions, so that all pay the same. Each entry is on its own: its own ratio."""
    return _evaluate(rewards - alpha / 2 * (mu / behaviour).sum(1, keepdim=True), transitions, policy, discount)


@mutant("05.1", "the average fine for all actions")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """all actions pay the same, the average of the fines over mu. Each entry is on its own: its own ratio."""
    return _evaluate(rewards - alpha / 2 * (mu * mu / behaviour).sum(1, keepdim=True), transitions, policy, discount)


@mutant("05.1", "weighed twice")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """the policy's share is inside the fine. It enters later, when the policy averages its values."""
    return _evaluate(rewards - alpha / 2 * policy * mu / behaviour, transitions, policy, discount)


@mutant("05.1", "rewards scaled")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """you multiply the rewards. The line of the penalty moves the minimum by an amount that no reward enters."""
    return _evaluate(rewards * (1 - alpha / 2 * mu / behaviour), transitions, policy, discount)


@mutant("05.1", "discounted fine")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """the fine is discounted as if it were paid a step later. The entry itself pays it, now."""
    return _evaluate(rewards - discount * alpha / 2 * mu / behaviour, transitions, policy, discount)


@mutant("05.1", "cut at zero")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """you cut the lowered rewards off at zero. They may become negative, and so may the values."""
    return _evaluate((rewards - alpha / 2 * mu / behaviour).clamp(min=0), transitions, policy, discount)


def _stopped(sweeps):
    def answer(rewards, transitions, policy, mu, behaviour, alpha, discount):
        q = torch.zeros_like(rewards)
        for _ in range(sweeps):
            q = rewards - alpha / 2 * mu / behaviour + discount * transitions @ (policy * q).sum(1)
        return q

    told = (
        f"you stop after {sweeps} sweeps, before the table rests: the nearer the discount is to 1, the more it takes. "
        "Sweep on until it moves no more, or solve."
    )
    return mutant("05.1", f"{sweeps} sweeps", message=told)(answer)


for _sweeps in (2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 400, 500):
    _stopped(_sweeps)


@mutant("05.1", "no alpha")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """alpha is not used: the fine has weight 1/2, whatever alpha is."""
    return _evaluate(rewards - 0.5 * mu / behaviour, transitions, policy, discount)


@mutant("05.1", "the fines alone")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """that is what the fines take, the learned value minus the true one. Asked is the table itself: the rewards belong
    to it."""
    return _evaluate(-alpha / 2 * mu / behaviour, transitions, policy, discount)


@mutant("05.1", "paid once, the paper's alpha")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """two things: the fine is alpha / 2 times the ratio (our square has no 1/2), and it is paid at every step, not once
    at the end: put it into the rewards."""
    return _evaluate(rewards, transitions, policy, discount) - alpha * mu / behaviour


@mutant("05.1", "last line of mu")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """the last line averages the next values over mu. It is ``policy`` that goes on from there."""
    fined = rewards - alpha / 2 * mu / behaviour
    q = _evaluate(fined, transitions, policy, discount)
    return fined + discount * transitions @ (mu * q).sum(1)


@mutant("05.1", "multiplied by the matrix")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """you multiply by (I - discount P). The table at rest satisfies (I - discount P) V = r: solve it for V."""
    fined = rewards - alpha / 2 * mu / behaviour
    chain = torch.einsum("sa,sat->st", policy, transitions)
    return fined + discount * transitions @ (
        (torch.eye(len(fined), dtype=D) - discount * chain) @ (policy * fined).sum(1)
    )


@mutant("05.1", "fines of the future twice")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """the fine is divided by (1 - discount) and goes through the solve as well: the future is counted twice. The solve
    adds it up already."""
    return _evaluate(rewards - alpha / 2 * mu / behaviour / (1 - discount), transitions, policy, discount)


@mutant("05.1", "Equation 2, sign")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """two things: Equation 1 has no term for the logged actions, so no 1 is subtracted; and the penalty pushes down."""
    return _evaluate(rewards + alpha / 2 * (mu / behaviour - 1), transitions, policy, discount)


@mutant("05.1", "one pair's fine for ever")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """you let each pair pay its own fine for ever, 1 / (1 - discount) times. The steps after the first pay the fines of
    the pairs that they come to: put the fine into the rewards."""
    return _evaluate(rewards, transitions, policy, discount) - alpha / 2 * mu / behaviour / (1 - discount)


@mutant("05.1", "the policy's average fine for all actions")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """all actions of a state pay the same, the average of the fines over ``policy``. Each entry is on its own: its own
    ratio."""
    fine = alpha / 2 * (policy * mu / behaviour).sum(1, keepdim=True)
    return _evaluate(rewards - fine, transitions, policy, discount)


@mutant("05.1", "Equation 2, the paper's alpha")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """that is Equation 2, with a term for the logged actions, and on the paper's scale: here the fine is alpha / 2
    times the ratio, and no 1 is subtracted."""
    return _evaluate(rewards - alpha * (mu / behaviour - 1), transitions, policy, discount)


@mutant("05.1", "moves turned round")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """the moves are turned round: transitions[s, a, t] is the chance of coming *from* s *to* t, so the last axis is the
    one that is summed with the next values."""
    return _evaluate(rewards - alpha / 2 * mu / behaviour, transitions.permute(2, 1, 0), policy, discount)


@mutant("05.1", "not discounted")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """the discount is missing in the sweeps: without it such a table grows for ever."""
    q = torch.zeros_like(rewards)
    for _ in range(50):
        q = rewards - alpha / 2 * mu / behaviour + transitions @ (policy * q).sum(1)
    return q


@mutant("05.1", "last line not discounted")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """the values are right, the last line does not discount them."""
    q = _evaluate(rewards - alpha / 2 * mu / behaviour, transitions, policy, discount)
    return rewards - alpha / 2 * mu / behaviour + transitions @ (policy * q).sum(1)


@mutant("05.1", "no future")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """that is one step: the fined rewards, without the values of the next states."""
    return rewards - alpha / 2 * mu / behaviour


@mutant("05.1", "transposed chain")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """the matrix of the solve is transposed: row s holds the chances *from* state s."""
    fined = rewards - alpha / 2 * mu / behaviour
    chain = torch.einsum("sa,sat->ts", policy, transitions)
    values = torch.linalg.solve(torch.eye(len(fined), dtype=D) - discount * chain, (policy * fined).sum(1))
    return fined + discount * transitions @ values


def _averaged_by(name):
    def answer(rewards, transitions, policy, mu, behaviour, alpha, discount):
        fined = rewards - alpha / 2 * mu / behaviour
        weights = {"mu": mu, "behaviour": behaviour}[name]
        system = torch.eye(len(fined), dtype=D) - discount * torch.einsum("sa,sat->st", policy, transitions)
        return fined + discount * transitions @ torch.linalg.solve(system, (weights * fined).sum(1))

    told = f"the moves follow ``policy``, the fined rewards are averaged over {name}. ``policy`` acts: it weighs both."
    return mutant("05.1", f"rewards of {name}", message=told)(answer)


for _weights in ("mu", "behaviour"):
    _averaged_by(_weights)


@mutant("05.1", "discount squared")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """each step into the future is discounted twice: discount * discount. Once: discount * P V."""
    return _evaluate(rewards - alpha / 2 * mu / behaviour, transitions, policy, discount**2)


@mutant("05.1", "lowered by the state's value")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """all actions of a state are lowered alike, by what the fines take from the state's value. Each pair pays its own
    fine, and then those of the future: put the fine into the rewards."""
    taken = _evaluate(alpha / 2 * mu / behaviour, transitions, policy, discount)
    return _evaluate(rewards, transitions, policy, discount) - (policy * taken).sum(1, keepdim=True)


@mutant("05.1", "a fine for each part of a way")
def _(rewards, transitions, policy, mu, behaviour, alpha, discount):
    """your fine is ten times too large. A sweep that goes a tenth of the way to the target takes a tenth of the fine
    too: it belongs to the target, y - fine."""
    return _evaluate(rewards - 10 * alpha / 2 * mu / behaviour, transitions, policy, discount)


# ---------------------------------------------------------------- 05.2
def _steps_05_2(y: Tensor, mu: Tensor, behaviour: Tensor, alpha: float) -> dict[str, Tensor]:
    return {
        "mu / behaviour": mu / behaviour,
        "the expected table minus y": equation_two_minimum(y, mu, behaviour, alpha) - y,
    }


@exercise(
    "05.2",
    title="the minimum of Equation 2",
    kind="derive",
    difficulty=3,
    importance=5,
    minutes=10,
    examples=(
        Example((REWARDS, MU, LOG, 1.4), "one state, four arms"),
        Example((_draw(4, 5, 3), _policy(2), SCARCE[0], 0.3), "five states, three actions", shown=False),
    ),
    hints=(
        "Write the part of the loss that contains one entry Q(s, a), and differentiate it.",
        "2 b (Q - y) + alpha (mu - b) = 0, and every term is divided by b.",
        "return y - alpha / 2 * (mu / behaviour - ____)",
    ),
    meaning="Actions that the log did more often than mu are raised; the others are lowered.",
    steps=_steps_05_2,
)
def equation_two_minimum(y, mu, behaviour, alpha):
    """The table that minimises Equation 2 for fixed targets ``y``.

    [S, A], [S, A], [S, A], number -> [S, A]
    """
    return y - alpha / 2 * (mu / behaviour - 1)


@mutant("05.2", "Equation 1")
def _(y, mu, behaviour, alpha):
    """that is Equation 1 again: the term of the logged actions, minus alpha b Q, is missing."""
    return y - alpha / 2 * mu / behaviour


@mutant("05.2", "second term not divided")
def _(y, mu, behaviour, alpha):
    """only mu is divided by the log's share. The derivative is 2 b (Q - y) + alpha (mu - b): dividing by b divides
    both, and b / b is 1."""
    return y - alpha / 2 * (mu / behaviour - behaviour)


@mutant("05.2", "the paper's alpha")
def _(y, mu, behaviour, alpha):
    """that is the paper's scale, with 1/2 in front of the square. Here the square's derivative keeps its 2."""
    return y - alpha * (mu / behaviour - 1)


@mutant("05.2", "factor 2 above")
def _(y, mu, behaviour, alpha):
    """four times too much: the 2 of the square's derivative divides alpha, it does not multiply it."""
    return y - 2 * alpha * (mu / behaviour - 1)


@mutant("05.2", "difference")
def _(y, mu, behaviour, alpha):
    """you subtract the shares and do not divide. The square is weighted by b, so both terms are divided by it."""
    return y - alpha / 2 * (mu - behaviour)


@mutant("05.2", "one outside")
def _(y, mu, behaviour, alpha):
    """the 1 stands outside the alpha: the logged actions' term is a part of the penalty."""
    return y - alpha / 2 * mu / behaviour + 1


@mutant("05.2", "bonus without half")
def _(y, mu, behaviour, alpha):
    """what is given back is alpha, and should be alpha / 2: both terms of the penalty meet the same 2."""
    return y - alpha / 2 * mu / behaviour + alpha


@mutant("05.2", "both lowered")
def _(y, mu, behaviour, alpha):
    """you lower the logged actions too. Equation 2 *subtracts* their mean: they are raised."""
    return y - alpha / 2 * (mu / behaviour + 1)


@mutant("05.2", "sign")
def _(y, mu, behaviour, alpha):
    """the sign is turned: what mu likes more than the log must fall."""
    return y + alpha / 2 * (mu / behaviour - 1)


@mutant("05.2", "turned ratio")
def _(y, mu, behaviour, alpha):
    """the ratio is upside down: what is pushed (mu) over what holds (behaviour)."""
    return y - alpha / 2 * (behaviour / mu - 1)


@mutant("05.2", "divided by mu")
def _(y, mu, behaviour, alpha):
    """you divide by mu. The square is weighted by the log's share: divide by that."""
    return y - alpha / 2 * (1 - behaviour / mu)


@mutant("05.2", "never a bonus")
def _(y, mu, behaviour, alpha):
    """you cut the bonus off. Actions that the log did more often than mu *are* raised."""
    return y - alpha / 2 * (mu / behaviour - 1).clamp(min=0)


@mutant("05.2", "always a fine")
def _(y, mu, behaviour, alpha):
    """you take the size of the difference: every entry falls. Its sign decides who is raised."""
    return y - alpha / 2 * (mu / behaviour - 1).abs()


@mutant("05.2", "squared")
def _(y, mu, behaviour, alpha):
    """the penalty is linear in Q: its derivative holds no square of the shares."""
    return y - alpha / 2 * (mu - behaviour).square() / behaviour


@mutant("05.2", "softmax")
def _(y, mu, behaviour, alpha):
    """you put softmax(y) in the place of mu. That is near CQL(H), and comes in section 4; here mu is given."""
    return y - alpha / 2 * (torch.softmax(y, 1) / behaviour - 1)


@mutant("05.2", "no targets")
def _(y, mu, behaviour, alpha):
    """that is the step alone. The minimum lies a step away from the targets: y is missing."""
    return -alpha / 2 * (mu / behaviour - 1)


@mutant("05.2", "targets alone")
def _(y, mu, behaviour, alpha):
    """that is y itself, as if alpha were 0: your step is 0. (`alpha // 2` rounds down.) Push and pull move the minimum
    away from y wherever mu and the log differ."""
    return y.clone()


@mutant("05.2", "one average for all actions")
def _(y, mu, behaviour, alpha):
    """all actions move by the same amount, the average over mu. In a table each entry is on its own: no sum over the
    actions."""
    return y - alpha / 2 * (mu * (mu / behaviour - 1)).sum(1, keepdim=True)


@mutant("05.2", "weighed by mu")
def _(y, mu, behaviour, alpha):
    """each step is multiplied by mu a second time. The derivative holds mu once: 2 b (Q - y) + alpha (mu - b) = 0."""
    return y - alpha / 2 * mu * (mu / behaviour - 1)


@mutant("05.2", "logarithm")
def _(y, mu, behaviour, alpha):
    """you take the logarithm of the ratio. The penalty is linear in Q, so its derivative holds mu and b as they are."""
    return y - alpha / 2 * (mu / behaviour).log()


@mutant("05.2", "targets weighed")
def _(y, mu, behaviour, alpha):
    """y is multiplied by the log's share. The share stands in front of the whole square, so it divides out of y and
    divides the penalty's part."""
    return behaviour * y - alpha / 2 * (mu - behaviour)


@mutant("05.2", "targets scaled")
def _(y, mu, behaviour, alpha):
    """you multiply the targets. The penalty moves the minimum by an amount that does not depend on y: subtract it."""
    return y * (1 - alpha / 2 * (mu / behaviour - 1))


@mutant("05.2", "divided twice")
def _(y, mu, behaviour, alpha):
    """you divide by the log's share twice: (mu - b) / b is mu / b - 1 already."""
    return y - alpha / 2 * (mu / behaviour - 1) / behaviour


@mutant("05.2", "one for alpha")
def _(y, mu, behaviour, alpha):
    """alpha stands in the place of the 1, and the ratio lacks it: alpha / 2 times the whole of mu / b - 1."""
    return y - 0.5 * (mu / behaviour - alpha)


@mutant("05.2", "targets divided")
def _(y, mu, behaviour, alpha):
    """y is divided by the log's share as well. 2 b (Q - y) + alpha (mu - b) = 0: dividing by b leaves Q - y."""
    return (y - alpha / 2 * (mu - behaviour)) / behaviour


@mutant("05.2", "mu alone not divided")
def _(y, mu, behaviour, alpha):
    """mu is not divided by the log's share of the same action. 2 b (Q - y) + alpha (mu - b) = 0: dividing by b gives
    mu / b - 1."""
    return y - alpha / 2 * (mu - 1)


@mutant("05.2", "derivative at zero")
def _(y, mu, behaviour, alpha):
    """that looks like a derivative, and not like the place where it is zero. Set 2 b (Q - y) + alpha (mu - b) to zero
    and solve it for Q."""
    return 2 * behaviour * y + alpha * (mu - behaviour)


@mutant("05.2", "derivative at zero, its sign")
def _(y, mu, behaviour, alpha):
    """that is the derivative of the loss at Q = 0. Set 2 b (Q - y) + alpha (mu - b) to zero and solve it for Q."""
    return alpha * (mu - behaviour) - 2 * behaviour * y


@mutant("05.2", "half outside")
def _(y, mu, behaviour, alpha):
    """the one half is drawn out of the bracket: it halves the 1, and alpha does not reach it. alpha / 2 multiplies the
    whole of mu / b - 1."""
    return y - 0.5 * (alpha * mu / behaviour - 1)


@mutant("05.2", "one average for all states")
def _(y, mu, behaviour, alpha):
    """you give back one amount, summed over all states. Each state has its own distribution: dim=1, if at all."""
    fine = alpha / 2 * mu / behaviour
    return y - (fine - (behaviour * fine).sum())


@mutant("05.2", "multiplied by the share")
def _(y, mu, behaviour, alpha):
    """you multiply by the log's share. 2 b (Q - y) + alpha (mu - b) = 0, solved for Q, divides by b."""
    return y - alpha / 2 * (mu - behaviour) * behaviour


@mutant("05.2", "two plus the share")
def _(y, mu, behaviour, alpha):
    """you divide by 2 + b. The derivative of b (Q - y)^2 is 2 *times* b (Q - y): divide by 2 b."""
    return y - alpha * (mu - behaviour) / (2 + behaviour)


@mutant("05.2", "bracket missing")
def _(y, mu, behaviour, alpha):
    """brackets are missing: alpha / (2 b) multiplies mu alone, and b is subtracted as it is. It multiplies the whole of
    mu - b."""
    return y - alpha / (2 * behaviour) * mu - behaviour


# ---------------------------------------------------------------- 05.3
FOUR_ACTIONS = (
    torch.tensor([[0.5, 0.05, 0.25, 0.2], [0.12, 0.38, 0.4, 0.1]], dtype=D),
    torch.tensor([[0.15, 0.3, 0.1, 0.45], [0.12, 0.38, 0.4, 0.1]], dtype=D),
)
UNLOGGED = (
    torch.tensor([[0.5, 0.3, 0.2], [0.7, 0.0, 0.3], [0.0, 0.6, 0.4]], dtype=D),
    torch.tensor([[0.4, 0.0, 0.6], [0.2, 0.0, 0.8], [0.15, 0.3, 0.55]], dtype=D),
)

SMALL = (
    torch.tensor([[0.004, 0.496, 0.5], [0.0072, 0.65, 0.3428]], dtype=D),
    torch.tensor([[0.0004, 0.3996, 0.6], [0.3, 0.6958, 0.0042]], dtype=D),
)


def _steps_05_3(policy: Tensor, behaviour: Tensor) -> dict[str, Tensor]:
    paid = policy / behaviour - 1
    return {"what each action pays": paid, "weighed by the policy": torch.where(policy > 0, policy * paid, 0.0)}


@exercise(
    "05.3",
    title="what a policy pays on its own average",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=10,
    examples=(
        Example(FOUR_ACTIONS, "two states, four actions; in the second state the policy is the log's own"),
        Example(UNLOGGED, "three states; in two of them an action was never logged, and in one of these it is taken"),
        Example((_policy(5), _policy(6)), "five states, three actions", shown=False),
        Example(SMALL, "two states, three actions, shares below one per cent"),
    ),
    hints=(
        "05.2 says what each action pays for one unit of alpha / 2, when mu is the policy. Average it over the policy.",
        "An action that the policy never takes has weight 0, whatever it would pay; do not let 0 meet infinity.",
        "return torch.where(policy > 0, ____ * (policy / behaviour - 1), 0.0).sum(dim=1)",
    ),
    meaning=(
        "It is the sum of (pi - b)^2 / b: never negative, 0 only where the policy is the log's own, and infinite as "
        "soon as the policy does what the log never did."
    ),
    steps=_steps_05_3,
)
def distance(policy, behaviour):
    """What Equation 2, with mu = policy, takes from the policy's average, for each unit of alpha / 2.

    [S, A], [S, A] -> [S]; infinite where the policy takes an action that the log never shows (behaviour 0).
    """
    return torch.where(policy > 0, policy * (policy / behaviour - 1), 0.0).sum(dim=1)


def _paid(policy, behaviour):
    """What the policy pays for each action, 0 where the log shows none."""
    return (policy * (policy / behaviour.where(behaviour > 0, 1.0) - 1)).where(behaviour > 0, 0.0)


@mutant("05.3", "averaged over the log")
def _(policy, behaviour):
    """you average over the *log's* actions, and there fines and bonuses cancel. The policy acts: weigh by pi."""
    return (behaviour * (policy / behaviour.where(behaviour > 0, 1.0) - 1)).sum(1)


@mutant("05.3", "swapped")
def _(policy, behaviour):
    """policy and log are swapped, in the ratio or in the division of the squares: pi pays, and what it pays is pi over
    b."""
    return (behaviour * (behaviour / policy.where(policy > 0, math.inf) - 1)).sum(1)


@mutant("05.3", "no weights")
def _(policy, behaviour):
    """you add up what each action pays. The policy pays it only as often as it takes the action: weigh by pi."""
    return torch.where(policy > 0, policy / behaviour - 1, 0.0).sum(1)


@mutant("05.3", "no weights, 0 over 0")
def _(policy, behaviour):
    """you add up what each action pays. The policy pays it only as often as it takes the action: weigh by pi, and let
    no weight of 0 meet an infinite price."""
    return (policy / behaviour - 1).sum(1)


@mutant("05.3", "bonus cut off")
def _(policy, behaviour):
    """you left the bonuses out. They belong to the average, which is never negative all the same."""
    return torch.where(policy > 0, policy * (policy / behaviour - 1).clamp(min=0), 0.0).sum(1)


@mutant("05.3", "size of each")
def _(policy, behaviour):
    """you take the size of each fine. A bonus counts as a bonus: with its sign."""
    return torch.where(policy > 0, policy * (policy / behaviour - 1).abs(), 0.0).sum(1)


@mutant("05.3", "squared ratio")
def _(policy, behaviour):
    """the bracket is squared and weighed by pi. Either pi times the bracket, or its square weighed by the *log*."""
    return torch.where(policy > 0, policy * (policy / behaviour - 1).square(), 0.0).sum(1)


@mutant("05.3", "root")
def _(policy, behaviour):
    """you take a root at the end. A fine is an amount, not a length: no root."""
    return torch.where(policy > 0, policy * (policy / behaviour - 1), 0.0).sum(1).sqrt()


@mutant("05.3", "half")
def _(policy, behaviour):
    """half of it: asked is the loss for one unit of alpha / 2, so the half is outside already."""
    return torch.where(policy > 0, policy * (policy / behaviour - 1), 0.0).sum(1) / 2


@mutant("05.3", "largest term")
def _(policy, behaviour):
    """that is the largest term of the average. Add all of them up."""
    return torch.where(policy > 0, policy * (policy / behaviour - 1), 0.0).amax(1)


@mutant("05.3", "KL")
def _(policy, behaviour):
    """that is the Kullback-Leibler divergence, with a logarithm of the ratio. Nothing here takes a logarithm."""
    return torch.where(policy > 0, policy * (policy / behaviour).log(), 0.0).sum(1)


@mutant("05.3", "minus one forgotten")
def _(policy, behaviour):
    """the minus 1 is missing: at pi = behaviour the answer must be 0."""
    return torch.where(policy > 0, policy * policy / behaviour, 0.0).sum(1)


@mutant("05.3", "mean over actions")
def _(policy, behaviour):
    """you divide by the number of actions. The weights pi already sum to one: sum."""
    return torch.where(policy > 0, policy * (policy / behaviour - 1), 0.0).mean(1)


@mutant("05.3", "squared distance")
def _(policy, behaviour):
    """that is the squared difference, and each term lacks its division by b: rare actions count more."""
    return (policy - behaviour).square().sum(1)


@mutant("05.3", "total variation")
def _(policy, behaviour):
    """that is the total variation distance. Asked is what the fines of 05.2 come to, on the policy's average."""
    return 0.5 * (policy - behaviour).abs().sum(1)


@mutant("05.3", "one number")
def _(policy, behaviour):
    """you sum over the states too: one number a state."""
    return torch.where(policy > 0, policy * (policy / behaviour - 1), 0.0).sum()


@mutant("05.3", "largest ratio")
def _(policy, behaviour):
    """that is the largest fine of any action. Asked is the policy's own average."""
    return torch.where(policy > 0, policy / behaviour, 0.0).amax(1) - 1


@mutant("05.3", "zero over zero")
def _(policy, behaviour):
    """an action that neither the policy takes nor the log shows gives 0 / 0, which is nan. It costs nothing."""
    return (policy * (policy / behaviour - 1)).sum(1)


@mutant("05.3", "unlogged is free")
def _(policy, behaviour):
    """an action that the log never shows costs nothing in yours, so leaving the log is free, or even paid for. No row
    holds its value: the price is infinite if the policy takes it."""
    return _paid(policy, behaviour).sum(1)


@mutant("05.3", "unlogged is free, squares")
def _(policy, behaviour):
    """you drop the actions that the log never shows from the sum of squares. Their term is pi^2 / 0, infinite if the
    policy takes them."""
    return torch.where(behaviour > 0, (policy - behaviour).square() / behaviour, 0.0).sum(1)


@mutant("05.3", "unlogged is free, one outside")
def _(policy, behaviour):
    """you drop the unlogged actions from the sum of pi^2 / b and subtract 1 afterwards: the result turns negative
    where the policy leaves the log, and should be infinite there."""
    return torch.where(behaviour > 0, policy.square() / behaviour, 0.0).sum(1) - 1


@mutant("05.3", "nan to num")
def _(policy, behaviour):
    """`nan_to_num` mends the 0 / 0, and replaces the infinite price by the largest float as well. Keep the infinity:
    an action that is taken and was never logged has no finite price."""
    return (policy * (policy / behaviour - 1)).nan_to_num(0.0).sum(1)


@mutant("05.3", "a share of one")
def _(policy, behaviour):
    """where the log shows nothing you put a share of 1, as if it had done that action always. Its share is 0."""
    return (policy * (policy / torch.where(behaviour > 0, behaviour, 1.0) - 1)).sum(1)


@mutant("05.3", "infinite wherever unlogged")
def _(policy, behaviour):
    """you say infinite as soon as the log lacks an action. That hurts only a policy that takes it."""
    right = torch.where(policy > 0, policy * (policy / behaviour - 1), 0.0).sum(1)
    return right.masked_fill((behaviour == 0).any(1), math.inf)


@mutant("05.3", "one for every action")
def _(policy, behaviour):
    """the 1 is subtracted once for every action, outside of the weight: a bracket is missing. pi times (pi / b - 1)."""
    return torch.where(policy > 0, policy * policy / behaviour - 1, 0.0).sum(1)


@mutant("05.3", "sizes over the log's share")
def _(policy, behaviour):
    """you add up sizes of differences over b. The square of each difference stands there: the sum of (pi - b)^2 / b."""
    return torch.where(policy > 0, (policy - behaviour).abs() / behaviour, 0.0).sum(1)


@mutant("05.3", "both squared")
def _(policy, behaviour):
    """the ratio is squared. The policy's average of pi / b - 1 holds pi twice and b once: pi^2 / b."""
    return torch.where(policy > 0, policy * ((policy / behaviour).square() - 1), 0.0).sum(1)


@mutant("05.3", "KL turned")
def _(policy, behaviour):
    """that is a Kullback-Leibler divergence, and of the log from the policy. Nothing here takes a logarithm: the
    policy's average of pi / b - 1."""
    return torch.where(behaviour > 0, behaviour * (behaviour / policy).log(), 0.0).sum(1)


@mutant("05.3", "gain")
def _(policy, behaviour):
    """what comes out is the policy's gain, and it is never above 0. Asked is what is *taken*: pi / b - 1."""
    return torch.where(policy > 0, policy * (1 - policy / behaviour), 0.0).sum(1)


@mutant("05.3", "infinite everywhere")
def _(policy, behaviour):
    """one unlogged action makes all states infinite in yours. Each state has a number of its own."""
    return torch.where((behaviour == 0).any(), math.inf, (policy * (policy / behaviour - 1)).sum(1))


@mutant("05.3", "no weights, unlogged is free")
def _(policy, behaviour):
    """you add up what each action pays, and leave out what the log never shows. The policy pays as often as it takes
    an action (weigh by pi), and an unlogged one that it takes has no finite price."""
    return torch.where(behaviour > 0, policy / behaviour - 1, 0.0).sum(1)


def _clamped(smallest):
    def answer(policy, behaviour):
        return torch.where(policy > 0, policy * (policy / behaviour.clamp(min=smallest) - 1), 0.0).sum(1)

    told = (
        f"you keep the log's share at {smallest:g} or above. The finite price that comes out is an accident of that "
        "number; it is infinite."
    )
    return mutant("05.3", f"clamped at {smallest:g}", message=told)(answer)


for _smallest in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12):
    _clamped(_smallest)


def _added(amount):
    def answer(policy, behaviour):
        return torch.where(policy > 0, policy * (policy / (behaviour + amount) - 1), 0.0).sum(1)

    told = (
        f"you add {amount:g} to the log's share. The finite price that comes out is an accident of that number; it is "
        "infinite."
    )
    return mutant("05.3", f"plus {amount:g}", message=told)(answer)


for _amount in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
    _added(_amount)


def _rare_is_unlogged(least):
    def answer(policy, behaviour):
        right = torch.where(policy > 0, policy * (policy / behaviour - 1), 0.0).sum(1)
        return right.masked_fill(((behaviour < least) & (policy > 0)).any(1), math.inf)

    told = (
        f"you take a share below {least:g} for none. A rare action has a high price; only one never logged, infinite."
    )
    return mutant("05.3", f"infinite below {least:g}", message=told)(answer)


for _least in (0.1, 0.01, 0.001):
    _rare_is_unlogged(_least)


@mutant("05.3", "upside down")
def _(policy, behaviour):
    """the ratio is upside down, and then the policy cancels: the sum of b - pi is 0 always. What an action pays is
    pi / b - 1."""
    return (behaviour - policy).where(policy > 0, 0.0).sum(1)


# ---------------------------------------------------------------- 05.4
FREE = torch.tensor([[3.4, 0.2, 2.9], [6.1, 1.36, 1.7]], dtype=D)
HIGH = torch.tensor([[3.4, 0.2, 2.9], [6.1, 2.0, 1.7]], dtype=D)  # the same, but for the pair that was never seen
PER_ALPHA = torch.tensor([[2.0, 0.5, 1.6], [0.8, 0.4, 1.25]], dtype=D)
TRUTH = torch.tensor([[1.0, -1.1, 2.0], [5.3, 1.0, -0.8]], dtype=D)
FAR_BELOW = torch.tensor([[1.0, -1.1, 2.0], [5.3, -6.0, -0.8]], dtype=D)  # that pair alone asks for 20
SEEN = torch.tensor([[True, True, True], [True, False, True]])
BELOW = TRUTH - torch.tensor([[3.1, 1.1, 2.7], [2.4, 0.9, 1.9]], dtype=D)
HARDLY = torch.tensor([[0.7, 1.9, 0.4], [1.1, 0.0004, 0.8], [0.3, 2.2, 1.6], [0.9, 0.5, 1.3]], dtype=D)
MOST = torch.tensor([[True, True, False], [True, True, True], [True, False, True], [True, True, True]])
ALL_SEEN = torch.ones(5, 3, dtype=torch.bool)

UNSEEN_ENDS = (
    torch.tensor([[9.0, 1.2, 0.4], [0.3, 2.1, 8.0]], dtype=D),
    torch.tensor([[0.5, 0.8, 1.5], [1.1, 1.9, 0.7]], dtype=D),
    torch.tensor([[1.0, 0.2, -0.5], [-0.6, 0.45, 0.3]], dtype=D),
    torch.tensor([[False, True, True], [True, True, False]]),
)


def _steps_05_4(free: Tensor, per_alpha: Tensor, truth: Tensor, seen: Tensor) -> dict[str, Tensor]:
    return {"above the truth by": free - truth, "what each pair needs, seen or not": (free - truth) / per_alpha}


@exercise(
    "05.4",
    title="how much alpha does a bound need?",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=10,
    examples=(
        Example((FREE, PER_ALPHA, TRUTH, SEEN), "two states, three actions; one pair was never seen"),
        Example((HIGH, PER_ALPHA, FAR_BELOW, SEEN), "the same, but the unseen pair is far above its truth"),
        Example((BELOW, PER_ALPHA, TRUTH, torch.ones(2, 3, dtype=torch.bool)), "every pair seen, all below already"),
        Example(
            (_draw(0, 5, 3), _draw(7, 5, 3).abs() + 0.1, _draw(8, 5, 3), _draw(0, 5, 3) > -1.0),
            "five states, three actions",
        ),
        Example((_draw(1, 5, 3), _draw(7, 5, 3).abs() + 0.1, _draw(8, 5, 3), ALL_SEEN), "the same size"),
        Example((_draw(10, 4, 3), HARDLY, _draw(11, 4, 3), MOST), "alpha hardly moves one of the pairs"),
        Example(UNSEEN_ENDS, "two states, three actions; the first pair and the last were never seen"),
    ),
    hints=(
        "Solve free - alpha * per_alpha <= truth for alpha, at one pair.",
        "Every seen pair has its own need; one alpha must satisfy all of them, and it is at least 0.",
        "return ((free - truth) / ____)[____].max().clamp(min=0)",
    ),
    plain="later cells turn it into a plain number",
    meaning="The threshold belongs to one log: the pair with the largest need decides.",
    steps=_steps_05_4,
)
def smallest_alpha(free, per_alpha, truth, seen):
    """The smallest alpha >= 0 at which free - alpha * per_alpha lies at or below the truth at every seen pair.

    [S, A], [S, A] positive, [S, A], [S, A] bool -> []
    """
    needed = (free - truth) / per_alpha
    return needed[seen].max().clamp(min=0)


@mutant("05.4", "unseen counted")
def _(free, per_alpha, truth, seen):
    """the pair that was never seen decides here. The theorem speaks of pairs in the log: take the seen ones."""
    return ((free - truth) / per_alpha).max().clamp(min=0)


@mutant("05.4", "only unseen")
def _(free, per_alpha, truth, seen):
    """the mask is inverted: you look at the unseen pairs alone."""
    return torch.where(seen, -math.inf, (free - truth) / per_alpha).max().clamp(min=0)


@mutant("05.4", "smallest need")
def _(free, per_alpha, truth, seen):
    """that alpha satisfies the pair that needs least. The bound must hold at *every* pair: the largest need."""
    return ((free - truth) / per_alpha)[seen].min().clamp(min=0)


@mutant("05.4", "mean need")
def _(free, per_alpha, truth, seen):
    """that alpha satisfies the pairs on average. The bound must hold at every one: the largest need."""
    return ((free - truth) / per_alpha)[seen].mean().clamp(min=0)


@mutant("05.4", "sum of needs")
def _(free, per_alpha, truth, seen):
    """you add the needs up. One alpha serves all pairs at once: the largest need is enough."""
    return ((free - truth) / per_alpha)[seen].clamp(min=0).sum()


@mutant("05.4", "not divided")
def _(free, per_alpha, truth, seen):
    """that is the largest excess. How much alpha removes it depends on what a unit of alpha does there: divide by
    per_alpha."""
    return (free - truth)[seen].max().clamp(min=0)


@mutant("05.4", "ratio of maxima")
def _(free, per_alpha, truth, seen):
    """the largest excess is divided by the largest effect, which belongs to another pair. Divide pair by pair, then
    take the maximum."""
    return ((free - truth)[seen].max() / per_alpha[seen].max()).clamp(min=0)


@mutant("05.4", "ratio of the sums")
def _(free, per_alpha, truth, seen):
    """total excess over total effect: that bounds the sum over the pairs, and not each of them."""
    return ((free - truth)[seen].sum() / per_alpha[seen].sum()).clamp(min=0)


@mutant("05.4", "pair of the largest excess")
def _(free, per_alpha, truth, seen):
    """you look for the pair with the largest excess and take its need. A smaller excess needs more alpha where a unit
    of alpha does less: compare the needs."""
    worst = (free - truth).masked_fill(~seen, -math.inf).argmax()
    return ((free - truth).flatten()[worst] / per_alpha.flatten()[worst]).clamp(min=0)


@mutant("05.4", "distance below")
def _(free, per_alpha, truth, seen):
    """the difference is turned, and what is left is cut off at 0: what lies above needs the alpha, free - truth."""
    return ((truth - free) / per_alpha)[seen].max().clamp(min=0)


@mutant("05.4", "difference turned")
def _(free, per_alpha, truth, seen):
    """the difference is turned: truth - free is how far a pair lies *below*. What lies above needs the alpha."""
    return ((truth - free) / per_alpha)[seen].max()


@mutant("05.4", "distance on either side")
def _(free, per_alpha, truth, seen):
    """you take the size of the difference: a pair below the truth needs no alpha, however far below it is."""
    return ((free - truth).abs() / per_alpha)[seen].max()


@mutant("05.4", "turned")
def _(free, per_alpha, truth, seen):
    """the fraction is upside down: excess over effect."""
    return (per_alpha / (free - truth))[seen].max().clamp(min=0)


@mutant("05.4", "multiplied")
def _(free, per_alpha, truth, seen):
    """you multiply by per_alpha. free - alpha * per_alpha <= truth, solved for alpha, divides."""
    return ((free - truth) * per_alpha)[seen].max().clamp(min=0)


@mutant("05.4", "clamped from above")
def _(free, per_alpha, truth, seen):
    """`clamp(max=0)` cuts off everything that is needed; alpha must be at *least* 0: clamp(min=0)."""
    return ((free - truth) / per_alpha)[seen].max().clamp(max=0)


@mutant("05.4", "mean of the needs above")
def _(free, per_alpha, truth, seen):
    """each need is cut at 0 and then averaged. One alpha must satisfy every pair: the largest."""
    return ((free - truth) / per_alpha)[seen].clamp(min=0).mean()


@mutant("05.4", "median need")
def _(free, per_alpha, truth, seen):
    """that alpha satisfies half of the pairs. The bound must hold at every one: the largest need."""
    return ((free - truth) / per_alpha)[seen].median().clamp(min=0)


@mutant("05.4", "largest over smallest")
def _(free, per_alpha, truth, seen):
    """the largest excess over the smallest effect is enough, and more than needed: they belong to different pairs.
    Divide pair by pair, then take the maximum."""
    return ((free - truth)[seen].max() / per_alpha[seen].min()).clamp(min=0)


@mutant("05.4", "below zero")
def _(free, per_alpha, truth, seen):
    """right where alpha is needed; where none is, 0 is enough, and yours is negative: at least 0."""
    return ((free - truth) / per_alpha)[seen].max()


@mutant("05.4", "mask on one side")
def _(free, per_alpha, truth, seen):
    """only free is set to 0 where a pair was never seen: its truth stays, and counts. Take both out: needed[seen]."""
    return ((free * seen - truth) / per_alpha).max().clamp(min=0)


@mutant("05.4", "mask on the truth alone")
def _(free, per_alpha, truth, seen):
    """only truth is set to 0 where a pair was never seen: its free value stays, and counts. Take both out:
    needed[seen]."""
    return ((free - truth * seen) / per_alpha).max().clamp(min=0)


@mutant("05.4", "at most one")
def _(free, per_alpha, truth, seen):
    """you cut alpha off at 1. It has a lower limit of 0 and no upper one: clamp(min=0)."""
    return ((free - truth) / per_alpha)[seen].max().clamp(0, 1)


for _most in (10, 100, 1000):
    told = f"alpha stops at {_most} in yours. It has no upper limit: where a unit of alpha does little, much is needed."
    mutant("05.4", f"at most {_most}", message=f"{told} Solve for alpha at each pair in place of a search.")(
        lambda free, per_alpha, truth, seen, most=_most: ((free - truth) / per_alpha)[seen].max().clamp(0, most)
    )


@mutant("05.4", "needs of the states' averages")
def _(free, per_alpha, truth, seen):
    """you average over the actions of a state first. That bounds the state's mean, and not each pair: pair by pair."""
    return ((free - truth).mean(1) / per_alpha.mean(1)).max().clamp(min=0)


@mutant("05.4", "excess over the mean effect")
def _(free, per_alpha, truth, seen):
    """the largest excess is divided by the *mean* effect. Each pair has an effect of its own: divide pair by pair, then
    take the maximum."""
    return ((free - truth)[seen].max() / per_alpha[seen].mean()).clamp(min=0)


@mutant("05.4", "smallest need above zero")
def _(free, per_alpha, truth, seen):
    """that alpha satisfies the pair above the truth that needs least. The bound must hold at *every* pair: the largest
    need."""
    needed = ((free - truth) / per_alpha)[seen]
    return torch.where(needed > 0, needed, math.inf).min().nan_to_num(posinf=0.0)


@mutant("05.4", "difference of the maxima")
def _(free, per_alpha, truth, seen):
    """the largest truth is subtracted from the largest value: they belong to different pairs. Subtract and divide pair
    by pair, then take the maximum."""
    return ((free[seen].max() - truth[seen].max()) / per_alpha[seen].max()).clamp(min=0)


@mutant("05.4", "values over truths")
def _(free, per_alpha, truth, seen):
    """you divide the value by its truth. How far it lies above is a difference: free - truth."""
    return (free / truth / per_alpha)[seen].max().clamp(min=0)


@mutant("05.4", "truth forgotten")
def _(free, per_alpha, truth, seen):
    """you bring the values down to 0. They need only come down to the truth: free - truth."""
    return (free / per_alpha)[seen].max().clamp(min=0)


def _one_line(where, axis, place):
    """Register the need of one state or one action, as if the maximum ended after one line of the table."""
    told = f"you look at the {where} alone. The bound must hold at every seen pair: the largest need of *all* of them."

    @mutant("05.4", f"the {where} alone", message=told)
    def _(free, per_alpha, truth, seen):
        needed = ((free - truth) / per_alpha).masked_fill(~seen, -math.inf)
        return needed.select(axis, place).max().clamp(min=0)

    @mutant("05.4", f"the {where} alone, unseen counted", message=f"{told} Unseen pairs do not count.")
    def _(free, per_alpha, truth, seen):
        return ((free - truth) / per_alpha).select(axis, place).max().clamp(min=0)


for _where, _axis, _place in (
    ("first state", 0, 0),
    ("last state", 0, -1),
    ("first action", 1, 0),
    ("last action", 1, -1),
):
    _one_line(_where, _axis, _place)


@mutant("05.4", "second largest need")
def _(free, per_alpha, truth, seen):
    """that is the second largest need. The bound must hold at *every* seen pair: the largest."""
    return ((free - truth) / per_alpha)[seen].sort().values[-2].clamp(min=0)


@mutant("05.4", "states seen whole")
def _(free, per_alpha, truth, seen):
    """you leave out every state that has an unseen pair, with its seen pairs. The mask says it pair by pair:
    needed[seen]."""
    needed = ((free - truth) / per_alpha)[seen.all(1)]
    return needed.max().clamp(min=0) if needed.numel() else needed.new_zeros(())


# ---------------------------------------------------------------- 05.5
RATED = torch.tensor([[0.2, 1.5, -0.4, 0.9], [2.0, -1.0, 1.7, 0.3]], dtype=D)
RARE = torch.tensor([[0.4, 0.1, 0.3, 0.2], [0.15, 0.45, 0.35, 0.05]], dtype=D)

HUGE = torch.tensor([[899.0, 903.5, 898.2], [0.3, -1.1, 2.0]], dtype=D)
SPREAD = torch.tensor([[0.55, 0.02, 0.43], [0.25, 0.6, 0.15]], dtype=D)


def _steps_05_5(q: Tensor, behaviour: Tensor) -> dict[str, Tensor]:
    mu = torch.softmax(q, 1)
    return {
        "softmax(Q)": mu,
        "its ratio to the log": mu / behaviour,
        "the left side": (mu * (mu / behaviour - 1)).sum(1),
    }


@exercise(
    "05.5",
    title="how far may the actor be?",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=12,
    examples=(
        Example((RATED, RARE), "two states, four actions"),
        Example((3 * _draw(3, 5, 3), SCARCE[1]), "five states, three actions", shown=False),
        Example((HUGE, SPREAD), "values of 900 in one state, small ones in the other"),
    ),
    hints=(
        "Solve the premise for epsilon. Which policy stands on both of its sides?",
        "mu = softmax(Q). The left side is your `distance` of mu; divide by the largest ratio of mu and behaviour.",
        "mu = torch.softmax(q, dim=1); return distance(____, behaviour) / (____ / behaviour).amax(dim=1)",
    ),
    meaning="Where softmax(Q) is the log itself nothing is paid, and no distance at all is allowed.",
    steps=_steps_05_5,
)
def largest_distance(q, behaviour):
    """The largest epsilon with which Theorem 3.3's premise holds in each state.

    [S, A], [S, A] positive -> [S]
    """
    mu = torch.softmax(q, dim=1)
    return (mu * (mu / behaviour - 1)).sum(dim=1) / (mu / behaviour).amax(dim=1)


def _two_sides(q, behaviour, dim=1):
    mu = torch.softmax(q, dim)
    return mu, (mu * (mu / behaviour - 1)).sum(1)


@mutant("05.5", "overflow")
def _(q, behaviour):
    """right for small values, but exp(900) overflows to inf. torch.softmax takes the largest value out before it
    exponentiates."""
    mu = q.exp() / q.exp().sum(1, keepdim=True)
    return (mu * (mu / behaviour - 1)).sum(1) / (mu / behaviour).amax(1)


@mutant("05.5", "one shift for all")
def _(q, behaviour):
    """the largest value is taken out before the exponential, good, but it is that of *all* states: beside 903.5 a state
    of small values becomes exp(-900), which is 0. Each state has its own largest value, and torch.softmax takes it."""
    mu = (q - q.max()).exp()
    mu = mu / mu.sum(1, keepdim=True)
    return (mu * (mu / behaviour - 1)).sum(1) / (mu / behaviour).amax(1)


@mutant("05.5", "left side alone")
def _(q, behaviour):
    """that is the left side. It must be at least the largest ratio *times* epsilon: divide."""
    return _two_sides(q, behaviour)[1]


@mutant("05.5", "multiplied")
def _(q, behaviour):
    """you multiply the two sides. left >= ratio * epsilon, solved for epsilon, divides."""
    mu, paid = _two_sides(q, behaviour)
    return paid * (mu / behaviour).amax(1)


@mutant("05.5", "turned")
def _(q, behaviour):
    """the fraction is upside down: what is paid over the largest ratio."""
    mu, paid = _two_sides(q, behaviour)
    return (mu / behaviour).amax(1) / paid


@mutant("05.5", "smallest ratio")
def _(q, behaviour):
    """you divide by the smallest ratio. The premise asks for the largest, the worst that the actor could move to."""
    mu, paid = _two_sides(q, behaviour)
    return paid / (mu / behaviour).amin(1)


@mutant("05.5", "mean ratio")
def _(q, behaviour):
    """you divide by the mean ratio. The premise holds the actor to the worst action: the largest ratio."""
    mu, paid = _two_sides(q, behaviour)
    return paid / (mu / behaviour).mean(1)


@mutant("05.5", "average ratio")
def _(q, behaviour):
    """you divide by the ratio that mu pays on average. The premise holds the actor to the worst action: the largest."""
    mu, paid = _two_sides(q, behaviour)
    return paid / (mu * mu / behaviour).sum(1)


@mutant("05.5", "ratio of the best action")
def _(q, behaviour):
    """you take the ratio of the action with the largest Q. The largest ratio may belong to another, rarer action."""
    mu, paid = _two_sides(q, behaviour)
    return paid / (mu / behaviour).gather(1, q.argmax(1, keepdim=True))[:, 0]


@mutant("05.5", "largest share over smallest")
def _(q, behaviour):
    """the largest share of mu is divided by the smallest of the log, which may belong to another action. Divide
    action by action, then take the maximum."""
    mu, paid = _two_sides(q, behaviour)
    return paid / (mu.amax(1) / behaviour.amin(1))


@mutant("05.5", "greedy")
def _(q, behaviour):
    """you put all of mu on the best action. Here mu is softmax(Q), at temperature one."""
    mu = torch.nn.functional.one_hot(q.argmax(1), q.shape[1]).to(q.dtype)
    return (mu * (mu / behaviour - 1)).sum(1) / (mu / behaviour).amax(1)


@mutant("05.5", "uniform")
def _(q, behaviour):
    """your mu is uniform and does not depend on Q. Here mu is softmax(Q)."""
    mu = torch.full_like(q, 1 / q.shape[1])
    return (mu * (mu / behaviour - 1)).sum(1) / (mu / behaviour).amax(1)


@mutant("05.5", "distance itself")
def _(q, behaviour):
    """that is the total variation distance of softmax(Q) from the log. Asked is how far an *actor* may be from
    softmax(Q), by the premise."""
    return 0.5 * (torch.softmax(q, 1) - behaviour).abs().sum(1)


@mutant("05.5", "difference of the sides")
def _(q, behaviour):
    """you subtract the two sides. The ratio stands in front of epsilon: divide."""
    mu, paid = _two_sides(q, behaviour)
    return paid - (mu / behaviour).amax(1)


@mutant("05.5", "largest share over largest")
def _(q, behaviour):
    """the largest share of mu is divided by the largest of the log, which may belong to another action. Divide action
    by action, then take the maximum."""
    mu, paid = _two_sides(q, behaviour)
    return paid / (mu.amax(1) / behaviour.amax(1))


@mutant("05.5", "ratio of the rarest action")
def _(q, behaviour):
    """you take the ratio of the action that the log does least. The largest ratio may belong to another one."""
    mu, paid = _two_sides(q, behaviour)
    return paid / (mu / behaviour).gather(1, behaviour.argmin(1, keepdim=True))[:, 0]


@mutant("05.5", "one for every action")
def _(q, behaviour):
    """on the left side the 1 is subtracted once for every action: a bracket is missing. mu times (mu / b - 1)."""
    mu = torch.softmax(q, 1)
    return (mu * mu / behaviour - 1).sum(1) / (mu / behaviour).amax(1)


@mutant("05.5", "no weights")
def _(q, behaviour):
    """the left side lacks its weights: it is the average of mu / b - 1 *over mu*."""
    mu = torch.softmax(q, 1)
    return (mu / behaviour - 1).sum(1) / (mu / behaviour).amax(1)


@mutant("05.5", "KL")
def _(q, behaviour):
    """the left side is a Kullback-Leibler divergence in yours. The premise has no logarithm: the average over mu of
    mu / b - 1."""
    mu = torch.softmax(q, 1)
    return (mu * (mu / behaviour).log()).sum(1) / (mu / behaviour).amax(1)


@mutant("05.5", "softmax of the log")
def _(q, behaviour):
    """you take a softmax of ``behaviour`` too. It is a distribution already."""
    mu, shares = torch.softmax(q, 1), torch.softmax(behaviour, 1)
    return (mu * (mu / shares - 1)).sum(1) / (mu / shares).amax(1)


def _at_temperature(temperature):
    def answer(q, behaviour):
        mu = torch.softmax(q / temperature, 1)
        return (mu * (mu / behaviour - 1)).sum(1) / (mu / behaviour).amax(1)

    told = f"your mu is softmax(Q / {temperature:g}). The theorem's mu is softmax(Q), at temperature one."
    return mutant("05.5", f"temperature {temperature:g}", message=told)(answer)


for _temperature in (0.1, 0.2, 0.5, 2.0):
    _at_temperature(_temperature)


@mutant("05.5", "one ratio for all")
def _(q, behaviour):
    """you take the largest ratio of all states. Each state has its own premise: amax over dim=1."""
    mu, paid = _two_sides(q, behaviour)
    return paid / (mu / behaviour).max()


@mutant("05.5", "largest share")
def _(q, behaviour):
    """you divide by the largest share of mu itself. The premise has its ratio to the log's share."""
    mu, paid = _two_sides(q, behaviour)
    return paid / mu.amax(1)


@mutant("05.5", "ratio turned")
def _(q, behaviour):
    """the ratio inside the maximum is upside down: mu over behaviour, on both sides."""
    mu, paid = _two_sides(q, behaviour)
    return paid / (behaviour / mu).amax(1)


@mutant("05.5", "ratio minus one")
def _(q, behaviour):
    """the right side has the plain ratio: no minus 1 there."""
    mu, paid = _two_sides(q, behaviour)
    return paid / ((mu / behaviour).amax(1) - 1)


@mutant("05.5", "minus one forgotten")
def _(q, behaviour):
    """the minus 1 of the left side is missing."""
    mu = torch.softmax(q, 1)
    return (mu * mu / behaviour).sum(1) / (mu / behaviour).amax(1)


@mutant("05.5", "averaged over the log")
def _(q, behaviour):
    """the left side is an average over softmax(Q); yours is one over the log, and that is 0 always."""
    mu = torch.softmax(q, 1)
    return (behaviour * (mu / behaviour - 1)).sum(1) / (mu / behaviour).amax(1)


@mutant("05.5", "over states")
def _(q, behaviour):
    """the softmax runs over the states. A policy chooses among the actions of one state: dim=1."""
    mu, paid = _two_sides(q, behaviour, 0)
    return paid / (mu / behaviour).amax(1)


@mutant("05.5", "no softmax", seen="where a temperature divides is asked in young-geng/CQL issue 3")
def _(q, behaviour):
    """you use Q itself as if it were a policy: its softmax first."""
    return (q * (q / behaviour - 1)).sum(1) / (q / behaviour).amax(1)


@mutant("05.5", "distance of the log from mu")
def _(q, behaviour):
    """the two are swapped on the left side: softmax(Q) pays, and it pays its ratio to the log."""
    mu = torch.softmax(q, 1)
    return (behaviour * (behaviour / mu - 1)).sum(1) / (mu / behaviour).amax(1)


# ---------------------------------------------------------------- 05.6
CAUSES = {"W": "policy", "X": "start", "Y": "log", "Z": "temperature"}


SYMPTOMS = {
    ("W", "log"): "A log's luck is outweighed by alpha: the states above the truth come down. Here their share never "
    "changes.",
    ("W", "start"): "An optimistic start shows before any alpha. Here the errors vanish as alpha goes to 0.",
    ("W", "table"): "Shared values leave errors at alpha 0. Here they vanish as alpha goes to 0.",
    ("W", "temperature"): "With a cold backup alpha lifts *most* states. Here a few rise, in proportion to alpha, and "
    "most fall.",
    ("X", "log"): "A log's luck goes both ways. Here every state is far above the truth at the smallest alpha.",
    ("X", "policy"): "With another policy the errors vanish as alpha goes to 0. Here they are largest there.",
    ("X", "table"): "Sharing averages neighbours: some states above, some below. Here all are above at a small alpha.",
    ("X", "temperature"): "With a cold backup the values *rise* with alpha. Here they fall.",
    ("Y", "policy"): "With another policy the share of states above the truth does not depend on alpha. Here it falls "
    "to nothing.",
    ("Y", "start"): "An optimistic start lifts every state. At the smallest alpha only a part of them is above here, "
    "and by little.",
    ("Y", "table"): "Shared values leave errors of half a reward or so, which need a large alpha. Here a very small "
    "one cures them.",
    ("Y", "temperature"): "With a cold backup the values rise with alpha. Here they fall, all of them.",
    ("Z", "log"): "A log's luck is outweighed by alpha. Here the values rise with alpha, above the truth in the end.",
    ("Z", "policy"): "With another policy the share of states above the truth does not depend on alpha. Here it grows.",
    ("Z", "start"): "An optimistic start shows before any alpha. Here the values are below at the smallest alpha.",
    ("Z", "table"): "Shared values are lowered by alpha like any others. Here they rise with it.",
}


def _judge_cause(found, run):
    """None for the right cause; else which symptom speaks against the one given, whatever the other runs were told."""
    if found == CAUSES[run]:
        return None
    told = SYMPTOMS.get((run, found))
    return told or f"{found!r} is none of the five suspects: log, policy, start, table, temperature."


@exercise(
    "05.6",
    title="which condition is broken?",
    kind="diagnose",
    difficulty=3,
    importance=5,
    minutes=12,
    examples=tuple(Example((run,), f"run {run} of the figure above") for run in CAUSES),
    hints=(
        "For each cause: what happens to the values as alpha goes to 0, and what as it grows?",
        "Only one cause gets worse with alpha at every state, only one is there without any alpha at all states, only "
        "one is cured by alpha, and only one leaves the share of states above the truth exactly where it was.",
        'return {"W": "____", "X": "____", "Y": "____", "Z": "____"}[run]',
    ),
    meaning=(
        "W: errors grow in proportion to alpha and keep their signs (another policy was pushed). X: all values are too "
        "high before any alpha (an optimistic start). Y: scatter that alpha outweighs (a log's luck). Z: alpha itself "
        "raises the values (a cold backup). Nothing shared its values here."
    ),
    judge=_judge_cause,  # one run's symptom is told even if another run is wrong too
)
def broken_condition(run):
    """Which condition the run breaks: "W", "X", "Y" or "Z" -> "log", "policy", "start", "table" or "temperature"."""
    return {"W": "policy", "X": "start", "Y": "log", "Z": "temperature"}[run]


def _wrong_cause(run, cause):
    def answer(asked):
        return cause if asked == run else CAUSES[asked]

    return mutant("05.6", f"{run}: {cause}", message=f"run {run} is not {cause!r}.")(answer)


for _run, _cause in SYMPTOMS:
    _wrong_cause(_run, _cause)


# ---------------------------------------------------------------- predictions
prediction(
    "05.p1",
    "Equation 1 with exact rewards and moves (no log, no noise), in twenty random worlds, with an alpha of a "
    "hundredth. At which share of the pairs does the learned value end above the truth?",
    answer="b",
    a=(
        "at some of them: so small an alpha hardly matters",
        "It need not be large to be negative: without noise there is nothing to outweigh.",
    ),
    b=(
        "at none of them, however small alpha is",
        "Every pair pays, and so does everything that comes after. However small, it points down.",
    ),
    c=("at about half of them, by small amounts", "That would be noise around the truth; here there is none."),
)

prediction(
    "05.p2",
    "Equation 2 on the four arms. The log did the worst arm most, the pushed-down policy prefers the best. What ends "
    "above its true value?",
    answer="a",
    a=(
        "the two arms the log did most, and not the policy's average",
        "They get a bonus. On the policy's own average the fines win, always.",
    ),
    b=(
        "no arm and no average, since it is a lower bound by design",
        "It bounds the policy's *average*. An arm that the log did more often than the policy does gets a bonus.",
    ),
    c=(
        "the two arms the log did most, and the policy's average with them",
        "The average is a sum of squares over the log's shares: it cannot be negative.",
    ),
)

prediction(
    "05.p3",
    "Now the values come from a log, with its sampling error. The smallest alpha at which Equation 1's bound holds at "
    "every logged pair: what happens to it when the log grows sixteenfold?",
    answer="b",
    a=(
        "it stays, as alpha is a property of the world and not of the log",
        "It has to outweigh the log's sampling error, and a longer log has less of it.",
    ),
    b=(
        "it shrinks to about a quarter",
        "The sampling error falls with the root of the number of rows, and that error is all it has to outweigh.",
    ),
    c=("it shrinks to about a sixteenth", "That would be an error that falls with the number of rows itself."),
)

prediction(
    "05.p4",
    "CQL(H) with the exact world, alpha 5. The penalty assumes the policy softmax(Q). Let the backup, and the actor, "
    "use a sharper one: temperature 0.2. Where do the values end?",
    answer="c",
    a=(
        "below the truth in every state, since alpha 5 is a lot",
        "So much alpha makes it worse here: it raises what the log did most, and a sharp backup picks just that.",
    ),
    b=(
        "below the truth on average, above it in some of the states",
        "The theorem's average is over the policy softmax(Q), which is not the one that is backed up.",
    ),
    c=(
        "above the truth in every state, by more than one reward",
        "A sharp policy collects the bonus of its favourite action and pays little of the fines: in each state, and "
        "again in the next.",
    ),
)

prediction(
    "05.p5",
    "ICU-Sepsis, 5,000 episodes: the value of a start is a chance of survival. Q-iteration without a penalty predicts "
    "0.98 where 0.78 is true. What does CQL predict with alpha 0.1 and a greedy backup?",
    answer="a",
    a=(
        "more than 1, which is more than any survival can be",
        "Each step may add up to alpha / 2, and a loop in the log collects it again and again.",
    ),
    b=(
        "something near 0.78: a small alpha mends a small error",
        "It would if alpha 0.1 were small against these rewards. They are 0 or 1, once, at the end.",
    ),
    c=(
        "something far below 0.78, as a pessimist would",
        "So it does with the softmax backup. A greedy one collects the bonuses.",
    ),
)


# ---------------------------------------------------------------- quiz
quiz_question(
    "05.a",
    "A paper says: 'CQL learns a lower bound of the Q-function.' Which sentence is true of the loss everybody uses, "
    "CQL(H)?",
    answer="c",
    a=(
        "each single Q-value lies below its true one, as soon as alpha outweighs the log's sampling error",
        "That is Theorem 3.1, of Equation 1, which nobody uses.",
    ),
    b=(
        "the mean Q of the logged actions lies below the truth, as they are what the penalty knows best",
        "Those are pulled up; on the log's average nothing is taken.",
    ),
    c=(
        "the value of softmax(Q) is bounded, if that policy is backed up and alpha is large enough",
        "Three conditions, each of which was broken in this chapter.",
    ),
)

quiz_question(
    "05.b",
    "A colleague multiplies all rewards by ten and keeps alpha. What has she changed?",
    answer="a",
    a=(
        "CQL has become about ten times weaker",
        "What matters is alpha against the size of the rewards; sepsis shows what happens when it is large against "
        "them.",
    ),
    b=(
        "nothing, because alpha is a pure number without a unit",
        "The fine is alpha / 2 times a ratio of shares: it is measured in units of reward.",
    ),
    c=("CQL has become about ten times stronger", "The fine stayed, the rewards grew."),
)

quiz_question(
    "05.c",
    "In a log some action was never taken. Theorem 3.1 then says nothing. What does a table fitted to Equation 1 hold "
    "there?",
    answer="b",
    a=(
        "the true value, as the backup finds it by way of the other actions",
        "Nothing compares this entry with any target: no row belongs to it.",
    ),
    b=(
        "its first value if mu spares it, else one that falls with every step",
        "Both were measured. Neither number says anything about the action.",
    ),
    c=(
        "a value far below the others, because what is not in the log is pushed down",
        "Only if mu has mass there. Otherwise it keeps what it started with, and that may be high.",
    ),
)
