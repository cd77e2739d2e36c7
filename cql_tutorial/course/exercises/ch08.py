"""Exercises of chapter 08, the full agent: one update of CQL, line by line; shapes as in `losses`, E critics first."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from ...losses import LOG_2, log_partition, normalised_gap, tanh_gaussian_log_prob, td_loss
from ..checker import Example
from ..ladder import examples, redrawn, which_part
from ..registry import EXERCISES, exercise, mutant, prediction, quiz_question, wrong_choice

# All is float64, and the page of 08.9 is compared to this: a float32 number in one of its functions would show there.
DIGITS = 1e-9


def _numbers(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# ---------------------------------------------------------------- 08.1
@exercise(
    "08.1",
    title="the Bellman target",
    kind="build",
    difficulty=2,
    importance=5,
    minutes=8,
    tolerance=DIGITS,
    examples=(
        Example(
            (
                _numbers([1.0, 2.0, -0.5]),
                torch.tensor([False, True, False]),
                _numbers([[4.0, -2.0, 6.0], [2.0, 4.0, 10.0]]),
                _numbers([1.5, -0.5, 0.8]),
                _numbers(0.4),
                0.9,
            ),
            "three transitions, the second ends the task; two target critics, discount 0.9",
        ),
        Example(
            (
                _numbers([0.3, -0.2, 0.0, 1.0]),
                torch.tensor([True, False, True, False]),
                _numbers([[-1.0, 3.1, 0.4, 3.0], [0.2, 2.5, -0.6, -2.0], [1.3, 1.9, 0.1, 2.5]]),
                _numbers([-0.7, 1.1, 0.3, 2.0]),
                _numbers(0.2),
                0.99,
            ),
            "four transitions, three critics, some values negative",
            shown=False,
        ),
    ),
    hints=(
        "Four questions: what was earned, was that the end, which critic do you believe, how far away is it? Two of "
        "the arguments belong to SAC's target and not to this one.",
        "Reward plus discount times (1 - termination) times the smallest of the target critics' values, axis 0. A "
        "tensor of True and False is turned round with ~; amin returns the values alone, min with an axis a pair.",
        "return rewards + discount * (____).to(rewards.dtype) * next_q.____(dim=0)",
    ),
    meaning="A termination cuts what follows, never the reward; the smallest critic keeps the target cautious.",
)
def bellman_target(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """The Bellman target of CQL: an estimate of Q^pi, with no entropy in it.

    [B], [B] of True and False, [E, B], [B], [], number -> [B];
    in float64, like rewards and next_q: 08.9 compares nine digits
    """
    return rewards + discount * (~terminations).to(rewards.dtype) * next_q.amin(dim=0)


def _goes_on(terminations, rewards):
    """1 where the task goes on, 0 where it ended, of the rewards' dtype: a number times a bool would be float32."""
    return (~terminations).to(rewards.dtype)


@mutant("08.1", "through the termination")
def _(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """you bootstrap through the termination. After it there is nothing to come, and the critics' guess about that
    nothing would be handed back from state to state."""
    return rewards + discount * next_q.amin(0)


@mutant("08.1", "upside down")
def _(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """the terminations are upside down: only the ended transitions look ahead. Multiply by one minus the
    termination: (~terminations).to(rewards.dtype), as a number times a tensor of True and False is float32."""
    return rewards + discount * terminations.to(rewards.dtype) * next_q.amin(0)


@mutant("08.1", "entropy in the backup", seen="the official code with deterministic_backup=False, as in SAC")
def _(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """that is SAC's target: the entropy of the next action is paid as if it were a reward, and Q becomes the *soft*
    value. CQL leaves it out, so that Q can be held against the true Q^pi: next_log_prob is a decoy here."""
    return rewards + discount * _goes_on(terminations, rewards) * (next_q.amin(0) - temperature * next_log_prob)


@mutant("08.1", "entropy added")
def _(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """you add temperature times log_prob, which is minus the entropy: neither CQL's target, which has no entropy in
    it, nor SAC's, which subtracts this term."""
    return rewards + discount * _goes_on(terminations, rewards) * (next_q.amin(0) + temperature * next_log_prob)


@mutant("08.1", "sum of critics")
def _(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """the critics are added up: E of them would promise E times the value. They are E opinions on one number: take
    the smallest."""
    return rewards + discount * _goes_on(terminations, rewards) * next_q.sum(0)


@mutant("08.1", "maximum")
def _(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """that is the largest of the critics. Whichever overrates an action wins, and the target spreads its error;
    the smallest is the cautious choice."""
    return rewards + discount * _goes_on(terminations, rewards) * next_q.amax(0)


@mutant("08.1", "mean")
def _(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """that is the mean of the critics. The policy searches for actions that they overrate, so the mean is too
    high; take the smallest at each transition."""
    return rewards + discount * _goes_on(terminations, rewards) * next_q.mean(0)


@mutant("08.1", "first critic")
def _(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """only the first critic is asked. The others are there to contradict it where it overrates: take the smallest."""
    return rewards + discount * _goes_on(terminations, rewards) * next_q[0]


@mutant("08.1", "first two critics")
def _(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """only the first two critics are compared, and there may be more: the minimum runs over all of axis 0."""
    return rewards + discount * _goes_on(terminations, rewards) * torch.minimum(next_q[0], next_q[1])


@mutant("08.1", "first and last critic")
def _(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """only the first and the last critic are compared, and there may be others between them: the minimum runs over all
    of axis 0."""
    return rewards + discount * _goes_on(terminations, rewards) * torch.minimum(next_q[0], next_q[-1])


@mutant("08.1", "no minimum")
def _(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """each critic has its own target here, [E, B]. All learn from one cautious target: take the smallest over the
    critics, axis 0."""
    return rewards + discount * _goes_on(terminations, rewards) * next_q


@mutant("08.1", "one minimum")
def _(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """one minimum over the whole batch: every transition looks ahead to the worst of them all. The minimum runs
    over the critics, axis 0."""
    return rewards + discount * _goes_on(terminations, rewards) * next_q.amin()


@mutant("08.1", "no discount")
def _(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """the discount is not used. Without it the values need not settle: they sum rewards for ever."""
    return rewards + _goes_on(terminations, rewards) * next_q.amin(0)


@mutant("08.1", "all discounted")
def _(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """the reward is discounted as well. It is earned now; only what follows it is a step away."""
    return discount * (rewards + _goes_on(terminations, rewards) * next_q.amin(0))


@mutant("08.1", "last reward dropped")
def _(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """the termination cancels the reward too. The last reward is often the one that counts, such as reaching the
    goal: cut only what follows."""
    return _goes_on(terminations, rewards) * (rewards + discount * next_q.amin(0))


@mutant("08.1", "no reward")
def _(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """the reward is missing: it is the only thing in the target that the data know and the critics do not."""
    return discount * _goes_on(terminations, rewards) * next_q.amin(0)


@mutant("08.1", "discount in float32")
def _(rewards, terminations, next_q, next_log_prob, temperature, discount):
    """right to seven digits only: a Python number times a tensor of True and False is a float32 tensor, in which 0.9 is
    0.89999998. Turn the mask into the rewards' dtype first, or multiply next_q by the discount first; 08.9 compares to
    nine digits."""
    return rewards + discount * ~terminations * next_q.amin(0)


# ---------------------------------------------------------------- 08.2
@exercise(
    "08.2",
    title="the critics' loss",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=10,
    gradients=("q_data", "target", "penalty", "log_multiplier"),
    tolerance=DIGITS,
    examples=(
        Example(
            (
                _numbers([[1.0, 3.0], [2.0, 0.0], [2.0, 1.0]]),
                _numbers([2.0, 1.0]),
                _numbers([0.5, -1.5, 2.0]),
                _numbers(4.0).log(),
            ),
            "three critics, two transitions; the multiplier is 4, its logarithm 1.386",
        ),
        Example(
            (
                _numbers([[0.3, -1.2, 2.0], [1.1, 0.4, -0.7]]),
                _numbers([0.5, -0.3, 1.0]),
                _numbers([-9.0, 2.3]),
                _numbers(-0.6),
            ),
            "two critics, three transitions, one penalty below 0",
            shown=False,
        ),
        Example(
            (
                _numbers([[0.4, -1.1], [1.6, 0.2]]),
                _numbers([0.9, -0.4]),
                _numbers([1.3, -0.7]),
                _numbers(3.0),
            ),
            "log multiplier 3, a multiplier of about 20",
            shown=False,
        ),
    ),
    hints=(
        "The critics alone learn from this loss. Which of the four arguments does it therefore treat as constants?",
        "For each critic the mean over the batch of (Q - target) squared, plus the exponential of the log multiplier "
        "times its penalty; then the sum over critics. Target and multiplier are detached.",
        "td = (q_data - ____).square().mean(dim=-1); return (td + log_multiplier.____.exp() * penalty).sum()",
    ),
    meaning="Value and gradient are right: the critics move, the target and the multiplier stand still.",
)
def critic_loss(q_data, target, penalty, log_multiplier):
    """Mean squared Bellman error plus multiplier times penalty, summed over critics.

    [E, B], [B], [E], [] -> []
    """
    td = (q_data - target.detach()).square().mean(dim=-1)
    multiplier = log_multiplier.detach().exp()
    return (td + multiplier * penalty).sum()


@mutant("08.2", "target moves")
def _(q_data, target, penalty, log_multiplier):
    """the value is right, but the target is not detached. The error then also shrinks by moving the *target*
    towards a wrong Q: the future would be fitted to the past."""
    return ((q_data - target).square().mean(-1) + log_multiplier.detach().exp() * penalty).sum()


@mutant("08.2", "multiplier moves")
def _(q_data, target, penalty, log_multiplier):
    """the value is right, but the multiplier is not detached. The easiest way to make multiplier times penalty
    small is a multiplier of 0: this loss would switch the penalty off."""
    return (td_loss(q_data, target) + log_multiplier.exp() * penalty).sum()


@mutant("08.2", "both move")
def _(q_data, target, penalty, log_multiplier):
    """the value is right, but neither the target nor the multiplier is detached. The critics alone learn from this
    loss; it must not move what they aim at, nor the weight of the penalty."""
    return ((q_data - target).square().mean(-1) + log_multiplier.exp() * penalty).sum()


@mutant("08.2", "penalty detached", seen="EmptyJackson/unifloral before its pull request 7")
def _(q_data, target, penalty, log_multiplier):
    """the value is right, but the penalty is detached, so it pushes nothing: this agent is plain SAC, whatever it
    logs as its penalty."""
    return (td_loss(q_data, target) + log_multiplier.detach().exp() * penalty.detach()).sum()


@mutant("08.2", "mean over critics")
def _(q_data, target, penalty, log_multiplier):
    """that is the mean over the critics. Each then has the gradient of one E-th of its loss; the critics share no
    weights, so *sum* their losses and each learns as if it were alone. (Adam hides most of such a factor, other
    optimizers do not.)"""
    return (td_loss(q_data, target) + log_multiplier.detach().exp() * penalty).mean()


@mutant("08.2", "errors averaged")
def _(q_data, target, penalty, log_multiplier):
    """the squared errors are averaged over all critics, the penalties are summed: with E critics the penalty
    weighs E times too much. Average over the batch only, then sum both."""
    return td_loss(q_data, target).mean() + log_multiplier.detach().exp() * penalty.sum()


@mutant("08.2", "penalties averaged")
def _(q_data, target, penalty, log_multiplier):
    """the penalties are averaged over the critics, the errors are summed: with E critics the penalty has one E-th
    of its weight. Sum both."""
    return td_loss(q_data, target).sum() + log_multiplier.detach().exp() * penalty.mean()


@mutant("08.2", "half")
def _(q_data, target, penalty, log_multiplier):
    """there is a half before the squared error. The paper has it, this course and most code do not: with it the
    same multiplier is twice as conservative."""
    return (0.5 * td_loss(q_data, target) + log_multiplier.detach().exp() * penalty).sum()


@mutant("08.2", "no penalty")
def _(q_data, target, penalty, log_multiplier):
    """the penalty is missing: this is the critics' loss of SAC, and nothing holds down what nobody tried."""
    return td_loss(q_data, target).sum() + 0 * penalty.sum()


@mutant("08.2", "root of the error")
def _(q_data, target, penalty, log_multiplier):
    """you take the root of the mean squared error. The loss is the mean *square*, whose gradient grows with the
    error."""
    return (td_loss(q_data, target).sqrt() + log_multiplier.detach().exp() * penalty).sum()


@mutant("08.2", "absolute error")
def _(q_data, target, penalty, log_multiplier):
    """that is the absolute error, whose minimiser is a median. A value is a *mean* of returns: square the error."""
    return ((q_data - target.detach()).abs().mean(-1) + log_multiplier.detach().exp() * penalty).sum()


@mutant("08.2", "penalty clamped")
def _(q_data, target, penalty, log_multiplier):
    """a penalty below 0 is clamped to 0. It is below 0 where the logged action already stands out, and its gradient
    still belongs to the loss: the clamp makes another agent of it."""
    return (td_loss(q_data, target) + log_multiplier.detach().exp() * penalty.clamp(min=0)).sum()


@mutant("08.2", "smallest critic")
def _(q_data, target, penalty, log_multiplier):
    """only the smallest critic at each transition is drawn to the target. The minimum belongs *into* the target;
    every critic has its own squared error."""
    return td_loss(q_data.amin(0)[None], target).sum() + log_multiplier.detach().exp() * penalty.sum()


@mutant("08.2", "sum over the batch")
def _(q_data, target, penalty, log_multiplier):
    """the squared errors are summed over the batch, while the penalty is a mean over it. Their balance would
    change with the batch size: take the mean."""
    return ((q_data - target.detach()).square().sum(-1) + log_multiplier.detach().exp() * penalty).sum()


@mutant("08.2", "logarithm as weight")
def _(q_data, target, penalty, log_multiplier):
    """the *logarithm* of the multiplier weighs the penalty. A multiplier below 1 would then reward overrating:
    take exp first."""
    return (td_loss(q_data, target) + log_multiplier.detach() * penalty).sum()


@mutant("08.2", "penalty unweighted", seen="pytorch/rl, where the multiplier does not weigh the critics' penalty")
def _(q_data, target, penalty, log_multiplier):
    """the multiplier is not used: whatever it learns, the penalty keeps weight 1."""
    return (td_loss(q_data, target) + penalty).sum()


@mutant("08.2", "penalty subtracted")
def _(q_data, target, penalty, log_multiplier):
    """the penalty is subtracted: a smaller loss means a *larger* penalty, and the critics praise what nobody tried."""
    return (td_loss(q_data, target) - log_multiplier.detach().exp() * penalty).sum()


@mutant("08.2", "multiplier on both")
def _(q_data, target, penalty, log_multiplier):
    """the multiplier weighs the squared error too, so it only scales the step. It must set the penalty *against*
    the error."""
    return (log_multiplier.detach().exp() * (td_loss(q_data, target) + penalty)).sum()


@mutant("08.2", "multiplier on the error")
def _(q_data, target, penalty, log_multiplier):
    """the multiplier weighs the squared error in the place of the penalty: the larger it is, the *less*
    conservative the critics."""
    return (log_multiplier.detach().exp() * td_loss(q_data, target) + penalty).sum()


@mutant("08.2", "averaged over the critics, summed over the batch")
def _(q_data, target, penalty, log_multiplier):
    """the two axes are exchanged: the squared errors are averaged over the critics and summed over the batch. Axis 0 is
    that of the critics: the mean runs over axis 1."""
    return (q_data - target.detach()).square().mean(0).sum() + log_multiplier.detach().exp() * penalty.sum()


@mutant("08.2", "every penalty for each critic")
def _(q_data, target, penalty, log_multiplier):
    """the penalties are summed before they are added to the errors, and the sum over critics counts that sum E times.
    Each critic has its own penalty: add critic by critic, then sum once."""
    return (td_loss(q_data, target) + log_multiplier.detach().exp() * penalty.sum()).sum()


@mutant("08.2", "square of the mean")
def _(q_data, target, penalty, log_multiplier):
    """the error is averaged over the batch before it is squared, so that errors of opposite sign cancel. Square each,
    then take the mean."""
    return ((q_data - target.detach()).mean(-1).square() + log_multiplier.detach().exp() * penalty).sum()


@mutant("08.2", "Huber loss", seen="code that descends from DQN's")
def _(q_data, target, penalty, log_multiplier):
    """that is the Huber loss (smooth_l1_loss), which beyond an error of 1 grows linearly, as in DQN. Here the error is
    squared, however large."""
    wanted = target.detach().expand_as(q_data)
    errors = nn.functional.huber_loss(q_data, wanted, reduction="none").mean(-1)
    return (errors + log_multiplier.detach().exp() * penalty).sum()


# ---------------------------------------------------------------- 08.3
@exercise(
    "08.3",
    title="thirty candidates",
    kind="build",
    difficulty=4,
    importance=4,
    minutes=12,
    tolerance=DIGITS,
    examples=(
        Example(
            (
                _numbers([[0.1, 0.5]]),
                _numbers([[0.3, LOG_2]]),
                _numbers([[-0.5, 0.2]]),
                _numbers([[-LOG_2, -0.1]]),
                _numbers([[[0.5, -0.4], [-0.9, 0.3], [0.2, 0.7]]]),
                _numbers([[[1.0, -0.25], [0.6, 0.9], [-1.2, 0.4]]]),
                _numbers([[[0.8, 0.5], [-0.7, 1.1], [0.3, -0.6]]]),
            ),
            "one state, two dimensions, three candidates of each kind; in this order: mean, log_std, next_mean, "
            "next_log_std, uniform, normal, next_normal",
        ),
        Example(
            (
                _numbers([[0.2, -0.4, 1.0], [0.0, 0.3, -1.1]]),
                _numbers([[-0.5, 0.1, -1.0], [0.4, -0.2, 0.0]]),
                _numbers([[0.1, -0.3, 0.7], [-0.2, 0.6, -1.0]]),
                _numbers([[-0.7, 0.0, -0.9], [0.2, -0.1, 0.3]]),
                _numbers([[[0.9, 0.1, -0.4], [-0.8, 0.3, 0.0]], [[0.2, -0.6, 0.5], [0.7, -0.1, -0.9]]]),
                _numbers([[[0.3, -1.2, 0.8], [1.5, 0.0, -0.4]], [[-0.6, 0.9, 0.2], [0.1, -2.0, 1.1]]]),
                _numbers([[[1.0, 0.4, -0.7], [-0.3, 0.6, 1.8]], [[0.5, -0.9, 0.0], [2.1, 0.3, -1.4]]]),
            ),
            "two states, three dimensions, two candidates of each kind, named as in the first example",
            shown=False,
        ),
        Example(
            (
                _numbers([[0.4], [-0.7]]),
                _numbers([[-0.3], [0.2]]),
                _numbers([[0.6], [-0.1]]),
                _numbers([[0.1], [-0.6]]),
                _numbers([[[0.3], [-0.5], [0.8]], [[-0.2], [0.6], [-0.9]]]),
                _numbers([[[0.7], [-1.1], [0.2]], [[1.3], [-0.4], [0.5]]]),
                _numbers([[[-0.8], [0.9], [1.4]], [[0.1], [-1.6], [0.6]]]),
            ),
            "two states, one dimension, three candidates of each kind, named as in the first example",
            shown=False,
        ),
    ),
    hints=(
        "Three blocks of N candidates, and for each block: how was it drawn, and how dense is that?",
        "u is the mean plus the standard deviation times the noise, with mean[:, None] to make room for N. The action "
        "is tanh(u), its log-density tanh_gaussian_log_prob(u, mean, log_std). The uniform block has minus A log 2.",
        "flat = torch.full_like(uniform[..., 0], ____); here = tanh_gaussian_log_prob(u, mean[:, None], log_std[:, "
        "None]); return torch.cat([uniform, torch.tanh(u), torch.tanh(next_u)], dim=1), torch.cat([flat, here, ____], "
        "dim=1)",
    ),
    meaning=(
        "Every candidate carries the density that drew it, so any mixture of proposals estimates the same integral."
    ),
)
def candidates(mean, log_std, next_mean, next_log_std, uniform, normal, next_normal):
    """Actions proposed by uniform, pi(.|s) and pi(.|s'), and the log-density of each.

    [B, A] four times, [B, N, A] three times -> [B, 3N, A], [B, 3N];
    uniform lies in [-1, 1] already; normal and next_normal are standard normal; all is
    float64, and so are both results
    """
    u = mean[:, None] + log_std.exp()[:, None] * normal
    next_u = next_mean[:, None] + next_log_std.exp()[:, None] * next_normal
    flat = torch.full_like(uniform[..., 0], -uniform.shape[-1] * math.log(2))
    here = tanh_gaussian_log_prob(u, mean[:, None], log_std[:, None])
    there = tanh_gaussian_log_prob(next_u, next_mean[:, None], next_log_std[:, None])
    actions = torch.cat([uniform, torch.tanh(u), torch.tanh(next_u)], dim=1)
    return actions, torch.cat([flat, here, there], dim=1)


def _proposed(
    given,
    *,
    std=torch.exp,
    squash=torch.tanh,
    flat=lambda dimensions: -dimensions * LOG_2,
    density=tanh_gaussian_log_prob,
    spread=lambda statistic: statistic[:, None],
    places=(0, 1, 2),
    order=(0, 1, 2),
    rescale=lambda uniform: uniform,
):
    """`candidates` with one part exchanged; ``places`` are those of the densities, ``order`` that of all."""
    mean, log_std, next_mean, next_log_std = (spread(statistic) for statistic in given[:4])
    uniform, normal, next_normal = given[4:]
    u, next_u = mean + std(log_std) * normal, next_mean + std(next_log_std) * next_normal
    log_densities = [
        torch.full_like(uniform[..., 0], flat(uniform.shape[-1])),
        density(u, mean, log_std),
        density(next_u, next_mean, next_log_std),
    ]
    actions = [rescale(uniform), squash(u), squash(next_u)]
    return torch.cat([actions[i] for i in order], 1), torch.cat([log_densities[places[i]] for i in order], 1)


@mutant("08.3", "density of pi(.|s)")
def _(*given):
    """the actions proposed at s' are given the density of pi(.|s). Each candidate is divided by the density that
    *drew* it, or it counts for the wrong share of the integral."""
    mean, log_std = given[0][:, None], given[1][:, None]
    return _proposed(given, density=lambda u, *_: tanh_gaussian_log_prob(u, mean, log_std))


@mutant("08.3", "uniform without density")
def _(*given):
    """the uniform candidates have log-density 0, as if the box had volume 1. Its volume is 2^A: their log-density
    is minus A log 2."""
    return _proposed(given, flat=lambda d: 0.0)


@mutant("08.3", "log 2 once", seen="asked in takuseno/d3rlpy#147")
def _(*given):
    """minus log 2 is the log-density of *one* uniform dimension. The dimensions multiply: minus A log 2."""
    return _proposed(given, flat=lambda d: -LOG_2)


@mutant("08.3", "N for A")
def _(*given):
    """minus N log 2: you count the *candidates*. The density of one uniform action depends on its dimensions, the
    last axis: minus A log 2."""
    return _proposed(given, flat=lambda d: -given[4].shape[1] * LOG_2)


@mutant("08.3", "volume for density")
def _(*given):
    """plus A log 2 is the log of the *volume*. The density is one over it: minus A log 2."""
    return _proposed(given, flat=lambda d: d * LOG_2)


@mutant("08.3", "power turned round", seen="ray-project/ray, the new learner before its repair")
def _(*given):
    """base and exponent are swapped in the uniform density: it is 0.5 to the power A, not A to the power 0.5."""
    return _proposed(given, flat=lambda d: math.log(d**0.5))


@mutant("08.3", "log_std as std")
def _(*given):
    """the noise is scaled by log_std. The standard deviation is its exp; a logarithm is often negative."""
    return _proposed(given, std=lambda s: s)


@mutant("08.3", "not squashed")
def _(*given):
    """the policy's candidates are u, which may lie outside [-1, 1], where the critic was never trained. The action
    is tanh(u)."""
    return _proposed(given, squash=lambda u: u)


@mutant("08.3", "no Jacobian")
def _(*given):
    """the policy's densities are those of u. tanh squeezes u into the box, which raises the density of the action:
    use tanh_gaussian_log_prob."""

    def density(u, mean, log_std):
        return torch.distributions.Normal(mean, log_std.exp(), validate_args=False).log_prob(u).sum(-1)

    return _proposed(given, density=density)


@mutant("08.3", "density at the action", seen="boyu-ai/Hands-on-RL, chapter 18: tanh twice")
def _(*given):
    """the density is asked at tanh(u). tanh_gaussian_log_prob wants the u before tanh; it does the squashing itself."""
    return _proposed(given, density=lambda u, m, s: tanh_gaussian_log_prob(torch.tanh(u), m, s))


@mutant("08.3", "std for its log")
def _(*given):
    """the density is given the standard deviation. tanh_gaussian_log_prob wants log_std, as it came; it takes exp
    itself."""
    return _proposed(given, density=lambda u, m, s: tanh_gaussian_log_prob(u, m, s.exp()))


@mutant("08.3", "policies without density", seen="EmptyJackson/unifloral")
def _(*given):
    """the policies' candidates have log-density 0. A sharp policy proposes its favourites again and again; only
    their density tells the sum so."""
    return _proposed(given, density=lambda u, m, s: torch.zeros_like(u[..., 0]))


@mutant("08.3", "one noise for both")
def _(*given):
    """the same noise drives both policies. At s and s' they are nearly alike, so their candidates would be nearly
    copies: use next_normal at s'."""
    return _proposed((*given[:6], given[5]))


@mutant("08.3", "next policy forgotten")
def _(*given):
    """both groups come from pi(.|s). The third proposal has its own mean and standard deviation, next_mean and
    next_log_std."""
    return _proposed((*given[:2], *given[:2], *given[4:]))


@mutant("08.3", "uniform scaled again")
def _(*given):
    """the uniform numbers are stretched once more. They arrive in [-1, 1] already: use them as they are."""
    return _proposed((*given[:4], 2 * given[4] - 1, *given[5:]))


@mutant("08.3", "uniform squashed")
def _(*given):
    """tanh is applied to the uniform numbers as well. They are actions already; squashed they are no longer uniform,
    and minus A log 2 is no longer their density."""
    return _proposed(given, rescale=torch.tanh)


@mutant("08.3", "density of the noise")
def _(*given):
    """the density is asked at the standard normal noise. It was u = mean + std * noise that went through tanh: pass
    u."""

    def density(u, mean, log_std):
        return tanh_gaussian_log_prob((u - mean) / log_std.exp(), mean, log_std)

    return _proposed(given, density=density)


@mutant("08.3", "drawn at s, density of s'")
def _(*given):
    """the third block is drawn with the mean and standard deviation of s, and divided by the density of pi(.|s').
    Draw it from next_mean and next_log_std."""
    mean, log_std, next_mean, next_log_std, uniform, _, next_normal = given
    right, log_density = _proposed(given)
    n = uniform.shape[1]
    u = mean[:, None] + log_std.exp()[:, None] * next_normal
    density = tanh_gaussian_log_prob(u, next_mean[:, None], next_log_std[:, None])
    return torch.cat([right[:, : 2 * n], torch.tanh(u)], 1), torch.cat([log_density[:, : 2 * n], density], 1)


@mutant("08.3", "mixture shares")
def _(*given):
    """log 3 is subtracted from every density, as if each proposal were a third of a mixture. Here each candidate
    keeps the density of the proposal that drew it; the number of candidates is the penalty's business."""
    actions, log_density = _proposed(given)
    return actions, log_density - math.log(3)


@mutant("08.3", "next before here")
def _(*given):
    """the candidates of s' stand before those of s. The penalty would not mind, but this check compares place by
    place: uniform, pi(.|s), pi(.|s')."""
    return _proposed(given, order=(0, 2, 1))


@mutant("08.3", "densities in another order")
def _(*given):
    """actions and densities are in different orders, so that each candidate is divided by a stranger's density.
    Both: uniform, pi(.|s), pi(.|s')."""
    return _proposed(given, places=(1, 2, 0))


@mutant("08.3", "uniform last")
def _(*given):
    """the right candidates, each with its own density, in another order. The penalty would not mind, but this
    check compares place by place: uniform, pi(.|s), pi(.|s')."""
    return _proposed(given, order=(1, 2, 0))


@mutant("08.3", "broadcast")
def _(*given):
    """mean [B, A] was broadcast against noise [B, N, A] without an axis for the candidates. With B = N torch says
    nothing and lends each candidate the policy of another state: mean[:, None]."""
    return _proposed(given, spread=lambda z: z)


@mutant("08.3", "log of the variance")
def _(*given):
    """log_std is taken for the logarithm of the *variance*: exp(log_std / 2). It is that of the standard deviation:
    exp(log_std)."""
    return _proposed(given, std=lambda log_std: (0.5 * log_std).exp())


def _mixed(statistic, candidates):
    """Rows s1, s2, ..., s1, s2, ... read as if those of one state stood together."""
    return statistic.repeat(candidates, 1).view(len(statistic), candidates, -1)


@mutant("08.3", "rows of other states", seen="the listing of 08.8")
def _(*given):
    """the candidates of one state are drawn from the policies of others: repeat(N, 1) orders the rows s1, s2, ..., s1,
    s2, ..., while view(B, N, A) puts rows that follow each other into one state. mean[:, None] makes room for N."""
    return _proposed(given, spread=lambda statistic: _mixed(statistic, given[4].shape[1]))


@mutant("08.3", "rows of other states at s", seen="the listing of 08.8")
def _(mean, log_std, *rest):
    """the candidates of pi(.|s) come from the policies of other states: repeat(N, 1) orders the rows s1, s2, ..., s1,
    s2, ..., while view(B, N, A) puts rows that follow each other into one state. mean[:, None] makes room for N."""
    n = rest[2].shape[1]
    mean, log_std = _mixed(mean, n), _mixed(log_std, n)
    next_mean, next_log_std = rest[0][:, None], rest[1][:, None]
    return _proposed((mean, log_std, next_mean, next_log_std, *rest[2:]), spread=lambda statistic: statistic)


# ---------------------------------------------------------------- 08.4
class LinearCritics(torch.nn.Module):
    """Q_j(s, a) = w_j1 s a + w_j2 s + w_j3 a, of the first numbers of s and a: [B, S], [B, K, A] -> [E, B, K]."""

    def __init__(self, weight: object) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(_numbers(weight))

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """[B, S], [B, K, A] -> [E, B, K]."""
        if observations.dim() != 2 or actions.dim() != 3 or len(observations) != len(actions):
            found = f"{list(observations.shape)} and {list(actions.shape)}"
            raise ValueError(f"the critic takes observations [B, S] and actions [B, K, A]; it was given {found}.")
        s, a = observations[:, :1], actions[..., 0]
        features = torch.stack([s * a, s.expand_as(a), a], -1)
        return torch.einsum("bkf,ef->ebk", features, self.weight)


TWO_CRITICS = LinearCritics([[2.0, 0.0, 0.5], [-0.5, 1.0, -1.0]])
FOUR_CRITICS = LinearCritics([[1.3, -0.4, 0.6], [-0.8, 0.2, 1.9], [0.5, 1.1, -2.2], [3.0, 0.7, 0.1]])


@exercise(
    "08.4",
    title="the penalty of each critic",
    kind="build",
    difficulty=4,
    importance=5,
    minutes=10,
    gradients=("critic",),
    tolerance=DIGITS,
    examples=(
        Example(
            (
                TWO_CRITICS,
                _numbers([[1.0], [2.0]]),
                _numbers([[0.4], [-1.0]]),
                _numbers([[0.95], [0.65]]),
                _numbers([[[0.0], [0.8], [-1.0], [0.3], [-0.4], [0.6]], [[-0.9], [0.7], [0.5], [-0.2], [0.1], [0.9]]]),
                _numbers([[0.5, 0.5, 1.0, 0.4, 1.6, 0.8], [0.5, 0.5, 0.25, 2.0, 1.2, 0.7]]).log(),
            ),
            "two critics, Q1 = 2 s a + a / 2 and Q2 = -s a / 2 + s - a; two states, one logged action and six "
            "candidates in each",
        ),
        Example(
            (
                FOUR_CRITICS,
                _numbers([[0.3], [-1.5], [0.8]]),
                _numbers([[0.4], [-1.0], [2.0]]),
                _numbers([[0.2], [0.9], [-0.5]]),
                _numbers([[[-0.9], [0.8], [0.1]], [[0.6], [-0.2], [1.0]], [[-0.4], [0.5], [0.3]]]),
                _numbers([[-0.7, 0.4, 0.9], [-0.7, 1.1, -2.0], [-0.7, 0.2, 1.4]]),
            ),
            "four critics, three states, three candidates",
            shown=False,
        ),
        Example(
            (
                TWO_CRITICS,
                _numbers([[0.7]]),
                _numbers([[-1.2]]),
                _numbers([[0.35]]),
                _numbers([[[-0.6], [0.9], [0.2]]]),
                _numbers([[-0.7, 0.5, 1.3]]),
            ),
            "two critics and a single state",
            shown=False,
        ),
        Example(
            (
                TWO_CRITICS,
                _numbers([[600.0], [-600.0]]),
                _numbers([[300.0], [-200.0]]),
                _numbers([[0.7512], [0.7489]]),
                _numbers([[[0.75], [0.7515], [0.7492]], [[0.7505], [0.749], [0.7512]]]),
                _numbers([[-0.7, 0.4, 1.1], [-0.7, 0.9, -0.2]]),
            ),
            "two states, worth about 900 and -900 to the first critic",
            shown=False,
        ),
    ),
    hints=(
        "Two calls of the critic, both at the same observations. Which?",
        "logsumexp over the last axis of Q minus log_density, minus log K; minus Q of the logged action (give it an "
        "axis of one candidate and take that axis off again); the mean over the batch.",
        "q_data = critic(____, actions[:, None])[..., 0]; return (torch.logsumexp(q - ____, dim=-1) - "
        "math.log(q.shape[-1]) - q_data).mean(dim=-1)",
    ),
    meaning=(
        "One penalty for each critic, all of it at s: pushed down on the candidates, pulled up on the logged action."
    ),
    steps=lambda critic, observations, next_observations, actions, candidates, log_density: {
        "Q1 of the candidates, state by state": critic(observations, candidates)[0].detach(),
        "soft maximum, a row for each critic": log_partition(critic(observations, candidates), log_density).detach(),
        "Q of the logged actions, a row for each critic": _logged(critic, observations, actions).detach(),
    },
)
def conservative_penalty(critic, observations, next_observations, actions, candidates, log_density):
    """The penalty of each critic: its soft maximum at s minus Q of the logged action.

    critic, [B, S], [B, S], [B, A], [B, K, A], [B, K] -> [E];
    the critic takes [B, S], [B, K, A] -> [E, B, K]
    """
    q = critic(observations, candidates)
    soft = torch.logsumexp(q - log_density, dim=-1) - math.log(q.shape[-1])
    q_data = critic(observations, actions[:, None])[..., 0]
    return (soft - q_data).mean(dim=-1)


def _logged(critic, observations, actions):
    return critic(observations, actions[:, None])[..., 0]


@mutant(
    "08.4",
    "candidates at s'",
    seen="RLlib's module and unifloral; in OfflineRL-Kit#12 hopper-medium fell from 95 to 60",
)
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the candidates are scored at the next state. The integral over actions is taken *at s*: what is pushed down
    and what is pulled up must be the same row of Q."""
    q = critic(next_observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (log_partition(q, log_density) - q_data).mean(-1)


@mutant("08.4", "logged at s'")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the logged action is scored at the next state. It was taken at s: otherwise a pair that the data do not hold
    is pulled up."""
    q = critic(observations, candidates)
    q_data = _logged(critic, next_observations, actions)
    return (log_partition(q, log_density) - q_data).mean(-1)


@mutant("08.4", "all at s'")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """everything is scored at the next state. The logged action was taken at s, so only there do the data vouch
    for it."""
    q = critic(next_observations, candidates)
    q_data = _logged(critic, next_observations, actions)
    return (log_partition(q, log_density) - q_data).mean(-1)


@mutant(
    "08.4",
    "last third at s'",
    seen="proposed as a repair in aviralkumar2907/CQL#10 and corl-team/CORL#20",
)
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the candidates of pi(.|s') are scored at s'. The next policy only *proposes*; the integral is over actions at
    s, so every candidate is scored at s."""
    two = 2 * candidates.shape[1] // 3
    q = torch.cat([critic(observations, candidates[:, :two]), critic(next_observations, candidates[:, two:])], -1)
    q_data = _logged(critic, observations, actions)
    return (log_partition(q, log_density) - q_data).mean(-1)


@mutant("08.4", "no push-down")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the value is right, but the candidates' Q carries no gradient (no_grad or detach): nothing is pushed down.
    The candidates are constants, the critic's Q of them is not."""
    q = critic(observations, candidates).detach()
    return (log_partition(q, log_density) - _logged(critic, observations, actions)).mean(-1)


@mutant("08.4", "no pull-up", seen="a detach in the place of the target's")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the value is right, but Q of the logged action is detached: the log's own values sink with all others.
    Nothing is detached in the penalty."""
    q = critic(observations, candidates)
    return (log_partition(q, log_density) - _logged(critic, observations, actions).detach()).mean(-1)


@mutant("08.4", "nothing moves")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the value is right, but no gradient reaches the critic: everything stands under no_grad, or was detached or
    turned into plain numbers. This penalty pushes and pulls nothing."""
    q = critic(observations, candidates)
    return (log_partition(q, log_density) - _logged(critic, observations, actions)).mean(-1).detach()


@mutant("08.4", "clamped at 0 state by state")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """a state's penalty is clamped at 0. Where the logged action stands out it is *below* 0, and there too the
    gradient goes on: a clamp stops the pull as soon as it has begun to work."""
    q = critic(observations, candidates)
    return (log_partition(q, log_density) - _logged(critic, observations, actions)).clamp(min=0).mean(-1)


@mutant("08.4", "clamped at 0")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the penalty is clamped at 0 after the mean. It may be negative: it is bounded below by minus a divergence of
    the log's policy, not by 0."""
    q = critic(observations, candidates)
    return (log_partition(q, log_density) - _logged(critic, observations, actions)).mean(-1).clamp(min=0)


@mutant("08.4", "K over 3")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """log N stands where log K belongs: the mean runs over *all* candidates, three proposals of N each."""
    q = critic(observations, candidates)
    return (log_partition(q, log_density) + math.log(3) - _logged(critic, observations, actions)).mean(-1)


@mutant("08.4", "smallest critic")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the smallest critic's values are used for all. The minimum belongs into the Bellman target; here each critic
    has its own penalty."""
    q = critic(observations, candidates)
    both = log_partition(q, log_density) - _logged(critic, observations, actions)
    return both.amin(0).mean(-1).expand(len(both))


@mutant("08.4", "smallest Q")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the minimum over the critics is taken of every Q before the penalty. The minimum belongs into the Bellman
    target; here each critic is pushed and pulled by its own values."""
    q = critic(observations, candidates).amin(0, keepdim=True)
    q_data = _logged(critic, observations, actions)
    return (log_partition(q, log_density) - q_data.amin(0, keepdim=True)).mean(-1).expand(len(q_data))


@mutant("08.4", "normalised")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """A log 2 is subtracted: that is the CQL gap. The penalty itself is asked for; 08.7 subtracts the constant."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (log_partition(q, log_density) - q_data).mean(-1) - candidates.shape[-1] * LOG_2


@mutant("08.4", "logged action among the candidates", seen="the official code with min_q_version=2")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the logged action has been joined to the candidates. It has no density to be divided by, and this sum then
    estimates something else."""
    q = torch.cat([critic(observations, actions[:, None]), critic(observations, candidates)], -1)
    density = torch.cat([torch.zeros_like(log_density[:, :1]), log_density], 1)
    return (log_partition(q, density) - q[..., 0]).mean(-1)


@mutant("08.4", "density for its log")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """you subtract the density. Inside the exponential a division is a subtraction of the *logarithm*: log_density
    as it came."""
    q = critic(observations, candidates)
    return (log_partition(q, log_density.exp()) - _logged(critic, observations, actions)).mean(-1)


@mutant("08.4", "sum over the batch")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """that is the sum over the batch. The squared error beside it is a mean: with a sum the weight of the penalty
    would change with the batch size."""
    q = critic(observations, candidates)
    return (log_partition(q, log_density) - _logged(critic, observations, actions)).sum(-1)


@mutant("08.4", "largest of the batch", seen="torch.max over all candidates of a batch, in many descriptions")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """one maximum over the whole batch: a single pair of state and action is pushed. One logsumexp a state, then the
    mean."""
    q = critic(observations, candidates)
    return q.amax((-2, -1)) - _logged(critic, observations, actions).mean(-1)


@mutant("08.4", "hard maximum")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """a plain maximum pushes down one candidate a state; all others stay free to be overrated next. Use logsumexp."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (q.amax(-1) - q_data).mean(-1)


@mutant("08.4", "one for the batch")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """one logsumexp over the whole batch: only the state with the largest values is pushed. One number a state
    first, then the mean."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return torch.logsumexp(q - log_density, (-2, -1)) - math.log(log_density.numel()) - q_data.mean(-1)


@mutant("08.4", "over the critics", seen="EmptyJackson/unifloral")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the logsumexp runs over the critics as well, so that only the most optimistic is pushed. Each critic has its
    own: the last axis alone."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (torch.logsumexp(q - log_density, (0, -1)) - math.log(len(q) * candidates.shape[1]) - q_data).mean(-1)


@mutant("08.4", "no density", seen="EmptyJackson/unifloral")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the densities are not used, so what the policy proposes often is pushed often. Subtract log_density inside
    the logsumexp."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (torch.logsumexp(q, -1) - math.log(candidates.shape[1]) - q_data).mean(-1)


@mutant("08.4", "density added")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the densities are multiplied in. Dividing by them *subtracts* their logarithm: q - log_density."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (log_partition(q, -log_density) - q_data).mean(-1)


@mutant("08.4", "raw sum", seen="the raw form of the official code and of most copies")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """log K is missing: a sum grows with the number of candidates, and a target for the CQL gap would mean
    something else for every K. The gradient is the same."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (torch.logsumexp(q - log_density, -1) - q_data).mean(-1)


@mutant("08.4", "bare logsumexp")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """neither the densities nor log K are there. With continuous actions the candidates are a sample: weigh each
    by its density and take the mean."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (torch.logsumexp(q, -1) - q_data).mean(-1)


@mutant(
    "08.4",
    "in threes",
    seen="OfflineRL-Kit and tianshou, by a reshape whose result is thrown away; torchrl by construction",
)
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the logsumexp runs over three candidates at a time, one of each proposal, and the results are averaged. The
    mean inside the logarithm must run over all K."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    threes = (q - log_density).unflatten(-1, (3, -1))  # [uniform, here, there] x N
    soft = (torch.logsumexp(threes, -2) - math.log(3)).mean(-1)
    return (soft - q_data).mean(-1)


@mutant("08.4", "no logarithm")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the logarithm after the mean of the exponentials is missing: e^Q and Q cannot be subtracted from each other."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return ((q - log_density).exp().mean(-1) - q_data).mean(-1)


@mutant("08.4", "mean of Q")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the plain mean of Q pushes all candidates down alike. logsumexp pushes the overrated ones."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (q.mean(-1) - q_data).mean(-1)


@mutant("08.4", "log inside the mean")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """you average Q minus log-density. The integral averages its *exponential*, and takes the logarithm
    afterwards: logsumexp."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return ((q - log_density).mean(-1) - q_data).mean(-1)


@mutant("08.4", "no pull")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the logged action is missing. Without its pull every value sinks, those the data vouch for as well."""
    return log_partition(critic(observations, candidates), log_density).mean(-1)


@mutant("08.4", "candidates' mean pulled", seen="BY571/CQL issues 2 and 5")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """you pull up the *average candidate*. Pull up the logged action: it is the only one the data vouch for."""
    q = critic(observations, candidates)
    return (log_partition(q, log_density) - q.mean(-1)).mean(-1)


@mutant("08.4", "plus")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the logged action's Q is added: minimising that pushes it *down*. Subtract it."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (log_partition(q, log_density) + q_data).mean(-1)


@mutant("08.4", "mean over critics")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """that is the mean over critics and batch. One penalty for each critic is wanted, [E]: mean over the batch,
    the last axis."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (log_partition(q, log_density) - q_data).mean()


@mutant("08.4", "over axis 0")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """you average over axis 0, the critics, and keep one number for each state. Average over the batch, the last
    axis, and keep one for each critic: [E]."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (log_partition(q, log_density) - q_data).mean(0)


@mutant(
    "08.4",
    "axis kept",
    seen="pytorch/rl, where a difference of [B] and [B, 1] grows to a square; the mean hides it",
)
def _(critic, observations, next_observations, actions, candidates, log_density):
    """Q of the logged action still has its axis of one candidate, and [E, B] minus [E, B, 1] sets every state
    against every other. Take that axis off with [..., 0]."""
    q = critic(observations, candidates)
    return (log_partition(q, log_density) - critic(observations, actions[:, None])).mean(-1)


@mutant("08.4", "axis kept, all averaged", seen="pytorch/rl, where the mean hides a square")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """Q of the logged action still has its axis of one candidate: [E, B] minus [E, B, 1] sets critics and states
    against each other, and the mean over two axes hides it. Take that axis off with [..., 0]."""
    q = critic(observations, candidates)
    return (log_partition(q, log_density) - critic(observations, actions[:, None])).mean((1, 2))


@mutant("08.4", "over the states")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the logsumexp runs over the states of the batch (axis 1). It runs over the *candidates* of each state, the last
    axis."""
    weighted = critic(observations, candidates) - log_density
    soft = torch.logsumexp(weighted, 1) - math.log(weighted.shape[1])
    return soft.mean(-1) - _logged(critic, observations, actions).mean(-1)


@mutant("08.4", "over the states, log K")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the logsumexp runs over the states (axis 1), though log K is that of the candidates. Q has three axes, critics,
    states, candidates: the sum runs over the *last*."""
    weighted = critic(observations, candidates) - log_density
    soft = torch.logsumexp(weighted, 1) - math.log(weighted.shape[-1])
    return soft.mean(-1) - _logged(critic, observations, actions).mean(-1)


@mutant("08.4", "divided by the density")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """Q itself is divided by the density. It is exp Q that is divided: inside the exponent that is a subtraction of
    log_density."""
    q = critic(observations, candidates)
    return (log_partition(q / log_density.exp(), 0 * log_density) - _logged(critic, observations, actions)).mean(-1)


@mutant("08.4", "densities of the critics")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """log_density [B, K] was given an axis in the middle, which sets its *states* against the critics of Q [E, B, K].
    With E = B torch says nothing. The axes fit from the right: subtract it as it comes."""
    q = critic(observations, candidates) - log_density[:, None]
    soft = torch.logsumexp(q, -1) - math.log(q.shape[-1])
    return (soft - _logged(critic, observations, actions)).mean(-1)


@mutant("08.4", "overflow")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """right for small values, but exp(900) overflows to inf, and exp(-900) is 0, whose logarithm is -inf.
    torch.logsumexp takes each row's largest value out before it exponentiates."""
    q = critic(observations, candidates)
    return ((q - log_density).exp().mean(-1).log() - _logged(critic, observations, actions)).mean(-1)


@mutant("08.4", "one maximum for all states")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """right as long as the states have similar values: the largest of *all* is taken out before the exponential, and a
    state far below it has exp 0 throughout. torch.logsumexp takes out each row's own."""
    weighted = critic(observations, candidates) - log_density
    soft = (weighted - weighted.max()).exp().mean(-1).log() + weighted.max()
    return (soft - _logged(critic, observations, actions)).mean(-1)


@mutant("08.4", "all axes of one squeezed")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """right for two states or more: squeeze() without an axis takes off the axis of a *single state* as well. Take off
    the candidates' axis alone, by [..., 0] or squeeze(-1)."""
    soft = log_partition(critic(observations, candidates), log_density)
    return (soft - critic(observations, actions[:, None]).squeeze()).mean(-1)


@mutant("08.4", "largest weight")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the largest Q minus log-density alone is pushed down: that is a hard maximum. logsumexp, and then minus log K,
    weighs all candidates."""
    q = critic(observations, candidates)
    return ((q - log_density).amax(-1) - _logged(critic, observations, actions)).mean(-1)


@mutant("08.4", "sign")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the sign is turned: descent on this would pull the candidates up and push the logged action down."""
    q = critic(observations, candidates)
    return (_logged(critic, observations, actions) - log_partition(q, log_density)).mean(-1)


@mutant("08.4", "states and candidates in one sum")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the logsumexp runs over states and candidates together. Each state has an integral of its own: over the last axis
    alone, and then a mean over the states."""
    weighted = critic(observations, candidates) - log_density
    soft = torch.logsumexp(weighted, (1, 2)) - math.log(weighted.shape[-1])
    return soft - _logged(critic, observations, actions).mean(-1)


@mutant("08.4", "critics in one sum")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the logsumexp runs over the critics (axis 0). Each critic has its own: over the candidates, the last axis."""
    weighted = critic(observations, candidates) - log_density
    soft = (torch.logsumexp(weighted, 0) - math.log(weighted.shape[-1])).mean()
    return soft - _logged(critic, observations, actions).mean(-1)


# ---------------------------------------------------------------- 08.5
@exercise(
    "08.5",
    title="the actor's loss",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=8,
    gradients=("q", "target_q", "log_prob", "temperature"),
    tolerance=DIGITS,
    examples=(
        Example(
            (
                _numbers([[1.0, 5.0, 6.0], [3.0, 2.0, 3.0]]),
                _numbers([[0.5, 4.0, 5.0], [6.0, 3.0, 2.0]]),
                _numbers([0.5, -1.0, 2.0]),
                _numbers(0.2),
            ),
            "two critics, three actions, temperature 0.2",
        ),
        Example(
            (
                _numbers([[0.6, -1.0], [0.1, -2.0], [-0.2, 0.5]]),
                _numbers([[0.0, -1.5], [0.2, -0.9], [0.3, 0.1]]),
                _numbers([2.0, 0.7]),
                _numbers(1.5),
            ),
            "three critics, two actions, temperature 1.5",
            shown=False,
        ),
    ),
    hints=(
        "The policy wants a large Q and a large entropy; an optimizer makes things small. log_prob is minus the "
        "entropy.",
        "For each action: temperature (a constant) times log_prob, minus the smallest of the critics just updated; "
        "then the mean. The target critics are a decoy.",
        "return (temperature.____ * log_prob - q.____(dim=0)).mean()",
    ),
    meaning="Value and gradient are right: the policy climbs the most cautious critic and pays for narrowness.",
    steps=lambda q, target_q, log_prob, temperature: {
        "smallest Q of each action": q.amin(dim=0),
        "temperature times log_prob": temperature * log_prob,
    },
)
def actor_loss(q, target_q, log_prob, temperature):
    """Mean of temperature times log-density minus the smallest Q, at pi's actions.

    [E, B], [E, B], [B], [] -> []; q: of the critics just updated, target_q: of targets
    """
    return (temperature.detach() * log_prob - q.amin(dim=0)).mean()


@mutant("08.5", "target critics")
def _(q, target_q, log_prob, temperature):
    """the actor is led by the *target* critics. They are kept slow for the Bellman target; the actor follows the
    critics that have just learned."""
    return (temperature.detach() * log_prob - target_q.amin(0)).mean()


@mutant("08.5", "both sets")
def _(q, target_q, log_prob, temperature):
    """the minimum runs over critics and target critics. The targets are there for the Bellman target alone; a
    gradient through them leads by old values."""
    return (temperature.detach() * log_prob - torch.minimum(q, target_q).amin(0)).mean()


@mutant("08.5", "maximum")
def _(q, target_q, log_prob, temperature):
    """that is the largest critic: the policy would climb wherever any of them overrates. Take the smallest."""
    return (temperature.detach() * log_prob - q.amax(0)).mean()


@mutant("08.5", "first critic")
def _(q, target_q, log_prob, temperature):
    """only the first critic leads the actor (as in TD3). This agent is SAC's: the smallest critic, action by action."""
    return (temperature.detach() * log_prob - q[0]).mean()


@mutant("08.5", "first two critics")
def _(q, target_q, log_prob, temperature):
    """only the first two critics are compared, and there may be more: take the smallest over all of axis 0."""
    return (temperature.detach() * log_prob - torch.minimum(q[0], q[1])).mean()


@mutant("08.5", "first and last critic")
def _(q, target_q, log_prob, temperature):
    """only the first and the last critic are compared, and there may be others between them: take the smallest over all
    of axis 0."""
    return (temperature.detach() * log_prob - torch.minimum(q[0], q[-1])).mean()


@mutant("08.5", "mean")
def _(q, target_q, log_prob, temperature):
    """that is the mean of the critics. One that overrates an action still pulls the policy there; the smallest
    does not."""
    return (temperature.detach() * log_prob - q.mean(0)).mean()


@mutant("08.5", "minimum after the mean")
def _(q, target_q, log_prob, temperature):
    """the minimum is taken after the mean over the batch: one critic for all actions. Take the smallest for each
    action, then the mean."""
    return (temperature.detach() * log_prob).mean() - q.mean(1).amin()


@mutant("08.5", "one minimum")
def _(q, target_q, log_prob, temperature):
    """one minimum over the whole batch: only the worst action is improved. The minimum runs over the critics, axis
    0."""
    return (temperature.detach() * log_prob - q.amin()).mean()


@mutant("08.5", "minimum over the batch")
def _(q, target_q, log_prob, temperature):
    """the minimum runs over the batch, so that each critic's worst action alone is improved. It runs over the
    critics, axis 0, action by action."""
    return (temperature.detach() * log_prob).mean() - q.amin(1).mean()


@mutant("08.5", "log of the temperature")
def _(q, target_q, log_prob, temperature):
    """the logarithm of the temperature weighs log_prob; below a temperature of 1 it is negative. The argument is the
    temperature itself: use it as it comes."""
    return (temperature.detach().log() * log_prob - q.amin(0)).mean()


@mutant("08.5", "score function")
def _(q, target_q, log_prob, temperature):
    """that is REINFORCE's estimator: log_prob times Q. The action was drawn by reparameterisation, so Q itself
    carries the gradient to the policy."""
    return (log_prob * (temperature.detach() * log_prob - q.amin(0)).detach()).mean()


@mutant("08.5", "sum over the batch")
def _(q, target_q, log_prob, temperature):
    """you sum over the batch: the step would grow with the number of rows. Take the mean."""
    return (temperature.detach() * log_prob - q.amin(0)).sum()


@mutant("08.5", "entropy's sign")
def _(q, target_q, log_prob, temperature):
    """the entropy has the wrong sign. log_prob is minus the entropy: minimising *plus* temperature times log_prob
    keeps the policy wide; this would collapse it."""
    return (-temperature.detach() * log_prob - q.amin(0)).mean()


@mutant("08.5", "Q's sign")
def _(q, target_q, log_prob, temperature):
    """Q is added: minimising this loss seeks the *worst* actions. Subtract it."""
    return (temperature.detach() * log_prob + q.amin(0)).mean()


@mutant("08.5", "sign")
def _(q, target_q, log_prob, temperature):
    """the sign of everything is turned. Optimizers minimise: what should grow, Q and the entropy, enters with a
    minus."""
    return (q.amin(0) - temperature.detach() * log_prob).mean()


@mutant("08.5", "no entropy")
def _(q, target_q, log_prob, temperature):
    """the entropy term is missing. Nothing then keeps the policy wide, and it collapses onto the critics'
    favourite mistake."""
    return -q.amin(0).mean()


@mutant("08.5", "no temperature")
def _(q, target_q, log_prob, temperature):
    """the temperature is not used: log_prob weighs 1, however wide the policy already is."""
    return (log_prob - q.amin(0)).mean()


@mutant("08.5", "temperature moves")
def _(q, target_q, log_prob, temperature):
    """the value is right, but the temperature is not detached. It has a loss of its own; through this one it would
    run off just to make the actor's loss small."""
    return (temperature * log_prob - q.amin(0)).mean()


@mutant("08.5", "log_prob detached")
def _(q, target_q, log_prob, temperature):
    """the value is right, but log_prob is detached, so the entropy term moves nothing: the policy collapses as if
    it were not there. log_prob is detached in the temperature's loss, not in this one."""
    return (temperature.detach() * log_prob.detach() - q.amin(0)).mean()


@mutant("08.5", "Q detached")
def _(q, target_q, log_prob, temperature):
    """the value is right, but Q is detached. Through Q the gradient reaches the action and the policy; without it
    the policy only grows wide."""
    return (temperature.detach() * log_prob - q.detach().amin(0)).mean()


@mutant("08.5", "temperature on Q")
def _(q, target_q, log_prob, temperature):
    """the temperature weighs Q. It is the price of *log_prob*: temperature 0 must leave only Q."""
    return (log_prob - temperature.detach() * q.amin(0)).mean()


@mutant("08.5", "temperature on both")
def _(q, target_q, log_prob, temperature):
    """the temperature weighs Q as well, so it only scales the step. It is the price of *log_prob* alone."""
    return (temperature.detach() * (log_prob - q.amin(0))).mean()


@mutant("08.5", "density for its log")
def _(q, target_q, log_prob, temperature):
    """log_prob is exponentiated: that is the density. The entropy is minus the mean of the *log*-density: log_prob as
    it comes."""
    return (temperature.detach() * log_prob.exp() - q.amin(0)).mean()


@mutant("08.5", "exp of the temperature")
def _(q, target_q, log_prob, temperature):
    """the temperature is exponentiated. The argument is the temperature itself and not its logarithm: use it as it
    comes."""
    return (temperature.detach().exp() * log_prob - q.amin(0)).mean()


@mutant("08.5", "divided by the temperature")
def _(q, target_q, log_prob, temperature):
    """Q is divided by the temperature, in place of log_prob multiplied by it. The optimum is the same, the numbers and
    the steps are not: temperature * log_prob - Q."""
    return (log_prob - q.amin(0) / temperature.detach()).mean()


# ---------------------------------------------------------------- 08.6
@exercise(
    "08.6",
    title="the temperature's loss",
    kind="build",
    difficulty=2,
    importance=3,
    minutes=6,
    gradients=("log_temperature", "log_prob"),
    tolerance=DIGITS,
    examples=(
        Example(
            (_numbers(-1.5), _numbers([2.2, 4.5, 1.0, -0.3]), 3),
            "log temperature -1.5, four actions of three dimensions",
        ),
        Example(
            (_numbers(0.4), _numbers([0.2, -0.3, -1.1]), 1),
            "log temperature 0.4, three actions of one dimension",
            shown=False,
        ),
        Example(
            (_numbers(0.7), _numbers([5.3, 4.1, 3.2]), 2),
            "log temperature 0.7, three actions of two dimensions: the entropy is below its target",
            shown=False,
        ),
    ),
    hints=(
        "The temperature is a thermostat of the policy's entropy, which is minus the mean of log_prob. Its target is "
        "-A.",
        "Minus log temperature times (the mean of log_prob, as a constant, plus the target entropy). If the entropy "
        "is below its target, the bracket is positive, and descent makes the logarithm grow.",
        "return -log_temperature * (log_prob.____.mean() + ____)",
    ),
    meaning="Too little entropy, and the temperature rises; the policy itself feels it only through its own loss.",
    steps=lambda log_temperature, log_prob, action_dim: {
        "mean of log_prob": log_prob.mean(),
        "target entropy": -action_dim,
        "bracket": log_prob.mean() - action_dim,
    },
)
def temperature_loss(log_temperature, log_prob, action_dim):
    """Minus log temperature times (mean log-density plus target entropy, -A).

    [], [B], A -> []
    """
    target_entropy = -action_dim
    return -log_temperature * (log_prob.detach().mean() + target_entropy)


@mutant("08.6", "sign")
def _(log_temperature, log_prob, action_dim):
    """the sign is turned: the temperature would *fall* while the entropy is too small. It is a thermostat; this
    one heats when it is hot."""
    return log_temperature * (log_prob.detach().mean() - action_dim)


@mutant("08.6", "target +A")
def _(log_temperature, log_prob, action_dim):
    """the target entropy has the wrong sign: it is *minus* A. On [-1, 1]^A no policy has more than A log 2, so +A
    could never be reached and the temperature would rise for ever."""
    return -log_temperature * (log_prob.detach().mean() + action_dim)


@mutant("08.6", "target 0")
def _(log_temperature, log_prob, action_dim):
    """the target entropy is missing: 0 in place of -A. The policy would be held much wider than intended."""
    return -log_temperature * log_prob.detach().mean()


@mutant("08.6", "target -1")
def _(log_temperature, log_prob, action_dim):
    """the target entropy is -1 whatever the dimension. The entropy is a sum over the dimensions, so its target is
    too: -A."""
    return -log_temperature * (log_prob.detach().mean() - 1)


@mutant("08.6", "target -A/2")
def _(log_temperature, log_prob, action_dim):
    """the target entropy is minus A/2. Some libraries choose that; the convention of SAC, and of this course,
    is minus A.
    """
    return -log_temperature * (log_prob.detach().mean() - action_dim / 2)


@mutant("08.6", "target -A log 2")
def _(log_temperature, log_prob, action_dim):
    """minus A log 2 is the log-density of a uniform action, no target. The target entropy is minus A, by convention."""
    return -log_temperature * (log_prob.detach().mean() - action_dim * LOG_2)


@mutant("08.6", "sum over the batch")
def _(log_temperature, log_prob, action_dim):
    """log_prob is summed over the batch, the target is one of a single action: take the mean."""
    return -log_temperature * (log_prob.detach().sum() - action_dim)


@mutant("08.6", "nothing moves")
def _(log_temperature, log_prob, action_dim):
    """the value is right, but log_temperature carries no gradient: it is what this loss is there to move. The
    constant is log_prob."""
    return -log_temperature.detach() * (log_prob.detach().mean() - action_dim) + 0 * log_prob.sum()


@mutant("08.6", "entropy for log_prob")
def _(log_temperature, log_prob, action_dim):
    """you add the target to the *entropy*. What counts is entropy minus target, which is minus (log_prob plus
    target): with the minus in front, log_prob itself stands in the bracket."""
    return -log_temperature * (-log_prob.detach().mean() - action_dim)


@mutant("08.6", "log_prob moves")
def _(log_temperature, log_prob, action_dim):
    """the value is right, but log_prob is not detached. This loss would move the policy too: a thermostat that
    opens the window."""
    return -log_temperature * (log_prob.mean() - action_dim)


@mutant("08.6", "exponentiated", seen="common in SAC scripts of one file")
def _(log_temperature, log_prob, action_dim):
    """the temperature stands here, not its logarithm. The direction is right, but the gradient shrinks with the
    temperature, so a small one hardly recovers; the package and this course use the logarithm."""
    return -log_temperature.exp() * (log_prob.detach().mean() - action_dim)


@mutant("08.6", "squared")
def _(log_temperature, log_prob, action_dim):
    """the distance to the target is squared, which hides on which side of it the entropy lies: the temperature would
    always move the same way. Leave the bracket with its sign."""
    return log_temperature * (log_prob.detach().mean() - action_dim) ** 2


@mutant("08.6", "absolute, only cools")
def _(log_temperature, log_prob, action_dim):
    """the bracket has lost its sign, which is right only while the entropy is above its target: this thermostat cools
    whatever the entropy is. No abs."""
    return log_temperature * (log_prob.detach().mean() - action_dim).abs()


@mutant("08.6", "absolute, only heats")
def _(log_temperature, log_prob, action_dim):
    """the bracket has lost its sign, which is right only while the entropy is below its target: this thermostat heats
    whatever the entropy is. No abs."""
    return -log_temperature * (log_prob.detach().mean() - action_dim).abs()


@mutant("08.6", "clamped, only cools")
def _(log_temperature, log_prob, action_dim):
    """the bracket is clamped to numbers below 0, so that the temperature stands still as soon as the entropy falls
    below its target: there it should rise."""
    return -log_temperature * (log_prob.detach().mean() - action_dim).clamp(max=0)


@mutant("08.6", "clamped, only heats")
def _(log_temperature, log_prob, action_dim):
    """the bracket is clamped to numbers above 0, so that the temperature stands still while the entropy is above its
    target: there it should fall."""
    return -log_temperature * (log_prob.detach().mean() - action_dim).clamp(min=0)


@mutant("08.6", "target outside the bracket")
def _(log_temperature, log_prob, action_dim):
    """the target stands outside the product, a constant that no gradient sees: log temperature multiplies the whole
    bracket, mean log_prob plus target entropy."""
    return -log_temperature * log_prob.detach().mean() - action_dim


@mutant("08.6", "logarithm forgotten")
def _(log_temperature, log_prob, action_dim):
    """log_temperature does not occur, so nothing moves it: the bracket is multiplied by minus log_temperature."""
    return -(log_prob.detach().mean() - action_dim)


# ---------------------------------------------------------------- 08.7
@exercise(
    "08.7",
    title="the multiplier's loss",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=6,
    gradients=("log_multiplier", "penalty"),
    tolerance=DIGITS,
    examples=(
        Example(
            (_numbers(1.8), _numbers([3 * LOG_2 + 2.5, 3 * LOG_2 + 1, 3 * LOG_2 + 4.3, 3 * LOG_2 + 3.6]), 3, 0.7),
            "log multiplier 1.8, four critics whose penalties are 3 log 2 plus 2.5, 1, 4.3 and 3.6; three dimensions, "
            "target 0.7",
        ),
        Example(
            (_numbers(-0.7), _numbers([0.2, -1.9, -0.4]), 1, 0.5),
            "log multiplier -0.7, three critics, one dimension, a CQL gap below its target",
            shown=False,
        ),
        Example(
            (_numbers(9.6), _numbers([1.9, 0.4]), 2, 0.9),
            "log multiplier 9.6, above the bound to which the update will put it back; two critics, two dimensions",
        ),
    ),
    hints=(
        "A flat Q has a penalty of A log 2. What is its CQL gap? And when should the multiplier rest?",
        "CQL gap: mean penalty over the critics (a constant) minus A log 2. Loss: minus log multiplier times (CQL gap "
        "minus target), so that descent makes it rise while the CQL gap is too large.",
        "gap = penalty.____.mean() - ____ * math.log(2); return -log_multiplier * (gap - target)",
    ),
    meaning=(
        "The critics push the CQL gap down, the multiplier decides how hard; neither loss moves the other's numbers."
    ),
    steps=lambda log_multiplier, penalty, action_dim, target: {
        "mean penalty": penalty.mean(),
        "A log 2": action_dim * LOG_2,
        "CQL gap": penalty.mean() - action_dim * LOG_2,
        "CQL gap minus target": penalty.mean() - action_dim * LOG_2 - target,
    },
)
def multiplier_loss(log_multiplier, penalty, action_dim, target):
    """Minus log multiplier times (CQL gap minus its target).

    [], [E], A, number -> []; the CQL gap is the mean penalty minus A log 2
    """
    gap = penalty.detach().mean() - action_dim * math.log(2)
    return -log_multiplier * (gap - target)


@mutant("08.7", "sign")
def _(log_multiplier, penalty, action_dim, target):
    """the sign is turned: the multiplier falls while the CQL gap is too large, just when the penalty should weigh
    more. Descent needs a minus to make it *rise*."""
    return log_multiplier * (normalised_gap(penalty.detach().mean(), action_dim) - target)


@mutant("08.7", "penalty moves", seen="pytorch/rl: above a multiplier of 2 the critics turn anti-conservative")
def _(log_multiplier, penalty, action_dim, target):
    """the value is right, but the penalty is not detached. With its minus this loss pushes the critics to *raise*
    the penalty; what the critics' loss wants is undone."""
    return -log_multiplier * (penalty.mean() - action_dim * LOG_2 - target)


@mutant("08.7", "multiplier detached", seen="ray-project/ray, pull request 62755")
def _(log_multiplier, penalty, action_dim, target):
    """the value is right, but the multiplier is detached in its own loss: nothing will ever move it. It is
    detached in the *critics'* loss."""
    return -log_multiplier.detach() * (normalised_gap(penalty.detach().mean(), action_dim) - target) + 0 * penalty.sum()


@mutant(
    "08.7",
    "raw penalty",
    seen="the thresholds 5 and 10 of the official code and most copies are for a raw penalty",
)
def _(log_multiplier, penalty, action_dim, target):
    """the penalty itself is held at the target. A flat Q has a penalty of A log 2, so one target would mean
    something else in every dimension: subtract A log 2 first."""
    return -log_multiplier * (penalty.detach().mean() - target)


@mutant("08.7", "plus A log 2")
def _(log_multiplier, penalty, action_dim, target):
    """A log 2 is added. The penalty of a flat Q is A log 2, and its CQL gap must be 0: subtract."""
    return -log_multiplier * (penalty.detach().mean() + action_dim * LOG_2 - target)


@mutant("08.7", "log 2 once")
def _(log_multiplier, penalty, action_dim, target):
    """log 2 is subtracted once. The box has volume 2 to the power A: A times log 2."""
    return -log_multiplier * (penalty.detach().mean() - LOG_2 - target)


@mutant("08.7", "log 2A")
def _(log_multiplier, penalty, action_dim, target):
    """log(2A) is not the log of the box's volume. That is 2 to the power A: A times log 2."""
    return -log_multiplier * (penalty.detach().mean() - math.log(2 * action_dim) - target)


@mutant("08.7", "sum over critics")
def _(log_multiplier, penalty, action_dim, target):
    """the penalties are summed over the critics. One target is for one critic: take their mean."""
    return -log_multiplier * (penalty.detach().sum() - action_dim * LOG_2 - target)


@mutant("08.7", "smallest critic")
def _(log_multiplier, penalty, action_dim, target):
    """only the critic with the smallest penalty is looked at. The multiplier weighs all of them: take their mean."""
    return -log_multiplier * (penalty.detach().amin() - action_dim * LOG_2 - target)


@mutant("08.7", "largest critic")
def _(log_multiplier, penalty, action_dim, target):
    """only the critic with the largest penalty is looked at. The multiplier weighs all of them: take their mean."""
    return -log_multiplier * (penalty.detach().amax() - action_dim * LOG_2 - target)


@mutant("08.7", "first critic")
def _(log_multiplier, penalty, action_dim, target):
    """only the first critic's penalty is looked at. The multiplier weighs all of them: take their mean."""
    return -log_multiplier * (penalty.detach()[0] - action_dim * LOG_2 - target)


@mutant("08.7", "exponentiated", seen="the official code and most copies")
def _(log_multiplier, penalty, action_dim, target):
    """the multiplier stands here, not its logarithm. The direction is right, but the gradient shrinks with the
    multiplier, so a small one hardly climbs back; the package uses the logarithm."""
    return -log_multiplier.exp() * (normalised_gap(penalty.detach().mean(), action_dim) - target)


@mutant("08.7", "target added")
def _(log_multiplier, penalty, action_dim, target):
    """the target is added. The multiplier should rest when the CQL gap *equals* its target: their difference."""
    return -log_multiplier * (normalised_gap(penalty.detach().mean(), action_dim) + target)


@mutant("08.7", "no target")
def _(log_multiplier, penalty, action_dim, target):
    """the target is not used: every CQL gap above 0 makes the multiplier rise."""
    return -log_multiplier * normalised_gap(penalty.detach().mean(), action_dim)


@mutant("08.7", "only rises")
def _(log_multiplier, penalty, action_dim, target):
    """right while the CQL gap is above its target. Below it yours is clamped to 0, so the multiplier never falls
    again: it must be free to do both."""
    return -log_multiplier * (normalised_gap(penalty.detach().mean(), action_dim) - target).clamp(min=0)


@mutant("08.7", "bounds in the loss")
def _(log_multiplier, penalty, action_dim, target):
    """right inside the bounds. Outside, the clamp has no gradient, and a multiplier that has come there never returns.
    The bounds are put on the number itself, after its step; that belongs to the update and not to the loss."""
    bounded = log_multiplier.clamp(math.log(1e-3), math.log(1e4))
    return -bounded * (normalised_gap(penalty.detach().mean(), action_dim) - target)


@mutant("08.7", "squared")
def _(log_multiplier, penalty, action_dim, target):
    """the distance to the target is squared, which hides on which side of it the CQL gap lies: the multiplier would
    always move the same way. Leave the bracket with its sign."""
    return -log_multiplier * (normalised_gap(penalty.detach().mean(), action_dim) - target) ** 2


@mutant("08.7", "size of the distance")
def _(log_multiplier, penalty, action_dim, target):
    """right while the CQL gap is above its target. Below it the size of the distance is taken in the place of the
    distance, so that the multiplier rises there too: leave the bracket with its sign."""
    return -log_multiplier * (normalised_gap(penalty.detach().mean(), action_dim) - target).abs()


@mutant("08.7", "target outside the bracket")
def _(log_multiplier, penalty, action_dim, target):
    """the target stands outside the product, a constant that no gradient sees: log multiplier multiplies the whole
    bracket, CQL gap minus target."""
    return -log_multiplier * normalised_gap(penalty.detach().mean(), action_dim) - target


@mutant("08.7", "volume outside the bracket")
def _(log_multiplier, penalty, action_dim, target):
    """A log 2 stands outside the bracket, where it moves nothing. It belongs to the CQL gap: penalty minus A log 2."""
    return -log_multiplier * (penalty.detach().mean() - target) - action_dim * LOG_2


@mutant("08.7", "log10")
def _(log_multiplier, penalty, action_dim, target):
    """the logarithm of 2 is to base 10. Densities here are natural logarithms: math.log(2)."""
    return -log_multiplier * (penalty.detach().mean() - action_dim * math.log10(2) - target)


# ---------------------------------------------------------------- 08.8
LISTING = """\
 1  next_a, next_logp = actor.sample(next_obs)
 2  next_q = torch.min(target_q1(next_obs, next_a), target_q2(next_obs, next_a))
 3  y = (rewards + gamma * (1 - dones) * next_q).detach()
 4  obs_n = obs.repeat(N, 1)                        # every observation N times
 5  rand_a = torch.empty(B * N, A).uniform_(-1, 1)
 6  pi_a, pi_logp = actor.sample(obs_n)
 7  rand = q1(obs_n, rand_a).view(B, N) - A * math.log(0.5)
 8  pi = q1(obs_n, pi_a.detach()).view(B, N) - pi_logp.detach().view(B, N)
 9  penalty = torch.logsumexp(torch.cat([rand, pi], 1), dim=1).mean() - q1(obs, actions).mean()
10  loss_q1 = F.mse_loss(q1(obs, actions), y) + alpha * penalty"""


@exercise(
    "08.8",
    title="the wrong line of a listing",
    kind="read",
    difficulty=4,
    importance=4,
    minutes=8,
    examples=(Example((), "the listing of ten lines above", shown=False),),
    hints=(
        "One line is wrong in a way that no error message tells: all shapes fit. Follow one observation through the "
        "lines that copy and reshape it.",
        "repeat(N, 1) lists the whole batch N times: s1, s2, ..., s1, s2, .... In which order does view(B, N) expect "
        "the rows?",
        "return ____  # the line that copies the observations",
    ),
    meaning=(
        "Line 4: repeat(N, 1) orders the rows s1, s2, ..., s1, s2, ..., while view(B, N) puts rows that follow each "
        "other into one state. Every logsumexp then mixes the candidates of other states. obs.repeat_interleave(N, 0) "
        "mends it."
    ),
)
def wrong_line():
    """The number of the one wrong line.

    -> an integer from 1 to 10
    """
    return 4


def _line(number, message):
    wrong_choice("08.8", f"line {number}", number, message)


_line(
    1,
    "line 1 is right: the next action is drawn from the current policy. Its log-density is not used, since CQL "
    "leaves the entropy out of the backup.",
)
_line(2, "line 2 is right: the minimum runs over the two target critics, transition by transition.")
_line(3, "line 3 is right: one minus the termination cuts what follows, and the target is a constant.")
_line(5, "line 5 is right: uniform on [-1, 1] in each dimension, B times N of them; any of them may serve any state.")
_line(
    6,
    "line 6 is right as it stands: it draws one action for each row that it is given. Look at the order of those rows.",
)
_line(
    7,
    "line 7 is right: A log(1/2) is the log-density of a uniform action. And view(B, N) does what it should, if the "
    "rows of one state follow each other.",
)
_line(
    8,
    "line 8 is right: the density is a constant, Q is not, and each candidate is divided by its own density. The "
    "view is right too, if the rows of one state follow each other.",
)
_line(
    9,
    "line 9 is right: one logsumexp a state, over its 2 N candidates, minus Q of the logged action. log K is missing, "
    "a constant that no gradient sees.",
)
_line(10, "line 10 is right: one critic's squared error is a mean over the batch, and alpha weighs its penalty.")


# ---------------------------------------------------------------- 08.9
@exercise(
    "08.9",
    title="an agent of one page",
    kind="build",
    difficulty=5,
    importance=5,
    minutes=45,
    tolerance=1e-9,
    ladder=which_part,
    redraw=redrawn,
    sizes=(
        "The values of the critics are [E, B], and [E, B, K] of candidates: nn.Linear(H, 1) leaves a last axis of "
        "length 1, which squeeze(-1) takes away, and beside candidates the observations need an axis for K."
    ),
    examples=examples(),
    hints=(
        "In four parts. (1) Networks: two hidden layers of nn.Linear with ReLU, weights by load_state_dict from start; "
        "copies of the two numbers with requires_grad_(). (2) Four optimisers: torch.optim.Adam with the four rates. "
        "(3) Two small functions: the policy (mean and clamped log_std, the output's two halves) and the values of "
        "several networks, [E, B] or [E, B, K]. (4) The loop. Get one update of the critics right first: the check "
        "compares them before everything else.",
        "The loop, in the package's order. Scale the actions to [-1, 1]. Without gradients: both policies, candidates, "
        "the next action tanh(mean + std * noise.target), the target. Critics. A new action at s with noise.actor, its "
        "log_prob, the actor. Temperature. Under cql_lagrange the multiplier, its logarithm then clamped to the log of "
        "1e-3 and 1e4. Target critics: each parameter tau of the way.",
        "mean, log_std = actor(s).chunk(2, -1), clamped with log_std.clamp(-5, 2); s[:, None].expand(-1, a.shape[1], "
        "-1) beside candidates [B, K, A]; slow.lerp_(fast, tau) under no_grad; log_multiplier.data.clamp_(____, ____); "
        "return torch.stack([parameters_to_vector(net.parameters()) for net in critics]), ...",
    ),
    meaning=(
        "Your page and the package's agent hold the same numbers, in every setting and to 1e-9: the formulas are the "
        "same."
    ),
)
def train_by_hand(settings, start, updates):
    """The numbers of a CQL agent of plain torch after one update for each of updates.

    updates: pairs of a batch, read as batch["rewards"], and its noise, as noise.actor;
    start: "actor", "critics", "targets" (state dicts of nn.Sequential, a list of them
    for an ensemble), "log_temperature" and "log_multiplier", all of one dtype
    -> critics [E, P], actor [P'], log temperature [], log multiplier [], targets [E, P]
    """
    S, A, H = settings["state_dim"], settings["action_dim"], settings["hidden_dim"]

    def network(inputs, outputs, weights):
        layers = nn.Linear(inputs, H), nn.ReLU(), nn.Linear(H, H), nn.ReLU(), nn.Linear(H, outputs)
        net = nn.Sequential(*layers).to(start["log_temperature"].dtype)
        net.load_state_dict(weights)
        return net

    actor = network(S, 2 * A, start["actor"])
    critics = [network(S + A, 1, weights) for weights in start["critics"]]
    targets = [network(S + A, 1, weights) for weights in start["targets"]]
    log_temperature = start["log_temperature"].clone().requires_grad_()
    log_multiplier = start["log_multiplier"].clone().requires_grad_()
    critic_parameters = [p for net in critics for p in net.parameters()]
    target_parameters = [p for net in targets for p in net.parameters()]
    critic_adam = torch.optim.Adam(critic_parameters, lr=settings["critic_lr"])
    actor_adam = torch.optim.Adam(actor.parameters(), lr=settings["actor_lr"])
    temperature_adam = torch.optim.Adam([log_temperature], lr=settings["temperature_lr"])
    multiplier_adam = torch.optim.Adam([log_multiplier], lr=settings["multiplier_lr"])

    def policy(s):
        mean, log_std = actor(s).chunk(2, dim=-1)
        return mean, log_std.clamp(-5, 2)

    def values(networks, s, a):
        if a.dim() == 3:
            s = s[:, None].expand(-1, a.shape[1], -1)
        return torch.stack([net(torch.cat([s, a], dim=-1)).squeeze(-1) for net in networks])

    def step(adam, loss):
        adam.zero_grad()
        loss.backward()
        adam.step()

    low, high = settings["action_low"], settings["action_high"]
    for batch, noise in updates:
        s, s_next = batch["observations"], batch["next_observations"]
        a = 2 * (batch["actions"] - low) / (high - low) - 1
        temperature = log_temperature.exp().detach()

        # 1. critics
        with torch.no_grad():
            mean, log_std = policy(s)
            next_mean, next_log_std = policy(s_next)
            drawn = noise.uniform, noise.policy, noise.next_policy
            proposed, log_density = candidates(mean, log_std, next_mean, next_log_std, *drawn)
            u = next_mean + next_log_std.exp() * noise.target
            next_q = values(targets, s_next, torch.tanh(u))
            next_log_prob = tanh_gaussian_log_prob(u, next_mean, next_log_std)
            ended = batch["terminations"].bool()
            y = bellman_target(batch["rewards"], ended, next_q, next_log_prob, temperature, settings["discount"])
        penalty = conservative_penalty(lambda s, a: values(critics, s, a), s, s_next, a, proposed, log_density)
        step(critic_adam, critic_loss(values(critics, s, a), y, penalty, log_multiplier))

        # 2. actor, with the critics just updated
        mean, log_std = policy(s)
        u = mean + log_std.exp() * noise.actor
        log_prob = tanh_gaussian_log_prob(u, mean, log_std)
        q, target_q = values(critics, s, torch.tanh(u)), values(targets, s, torch.tanh(u))
        step(actor_adam, actor_loss(q, target_q, log_prob, temperature))

        # 3. temperature, 4. multiplier, 5. target critics
        step(temperature_adam, temperature_loss(log_temperature, log_prob, A))
        if settings["cql_lagrange"]:
            step(multiplier_adam, multiplier_loss(log_multiplier, penalty, A, settings["cql_target_action_gap"]))
            log_multiplier.data.clamp_(math.log(1e-3), math.log(1e4))
        with torch.no_grad():
            for slow, fast in zip(target_parameters, critic_parameters, strict=True):
                slow.lerp_(fast, settings["tau"])

    def numbers(networks):
        return torch.stack([parameters_to_vector(net.parameters()).detach() for net in networks])

    return numbers(critics), numbers([actor])[0], log_temperature.detach(), log_multiplier.detach(), numbers(targets)


PAGE_SOURCE = EXERCISES["08.9"].source
PAGE_CHANGES: dict[str, list[tuple[str, str]]] = {}  # what was exchanged for what, by the mutant's name


@functools.cache
def _compiled(name, source):
    scope = dict(globals())
    exec(compile(source, f"<08.9, {name}>", "exec"), scope)
    return scope["train_by_hand"]


def _page(name, old, new, message, *more, seen=""):
    """Register the page with one passage (or several) exchanged as a wrong answer, and note what was exchanged."""
    source, changes = PAGE_SOURCE, [(old, new), *more]
    for before, after in changes:
        assert source.count(before) == 1, f"{name}: {source.count(before)} times {before!r}"
        source = source.replace(before, after)

    def function(settings, start, updates):
        return _compiled(name, source)(settings, start, updates)

    PAGE_CHANGES[name] = changes
    mutant("08.9", name, seen=seen, message=message)(function)


def wrong_page(name):
    """The page with one named mistake, and its lines that differ from the right one."""
    (function,) = [m.function for m in EXERCISES["08.9"].mutants if m.name == name]
    return function, "\n".join(f"- {old.strip()}\n+ {new.strip()}" for old, new in PAGE_CHANGES[name])


PENALTY = "conservative_penalty(lambda s, a: values(critics, s, a), s, s_next, a, proposed, log_density)"

_page(
    "no push-down",
    PENALTY,
    "conservative_penalty(lambda s, a: values(critics, s, a) if a.shape[1] == 1 else values(critics, s, a).detach(), "
    "s, s_next, a, proposed, log_density)",
    "nothing is pushed down: the candidates' Q stands under no_grad, or is detached. The candidates are constants, the "
    "critic's values of them are not.",
)
_page(
    "no pull-up",
    PENALTY,
    "conservative_penalty(lambda s, a: values(critics, s, a) if a.shape[1] > 1 else values(critics, s, a).detach(), "
    "s, s_next, a, proposed, log_density)",
    "nothing is pulled up: Q of the logged action is detached in the penalty.",
)
_page(
    "penalty clamped",
    PENALTY,
    PENALTY + ".clamp(min=0)",
    "the penalty is clamped at 0. It may be below 0, where the logged actions stand out already, and its gradient is "
    "wanted there too.",
)
_page(
    "third block at s'",
    PENALTY,
    "conservative_penalty(lambda s, a: values(critics, s, a) if a.shape[1] == 1 else torch.cat([values(critics, s, "
    "a[:, :-noise.policy.shape[1]]), values(critics, s_next, a[:, -noise.policy.shape[1]:])], -1), s, s_next, a, "
    "proposed, log_density)",
    "the candidates of pi(.|s') are scored at s'. They are only *proposed* there; every candidate is scored at s.",
    seen="proposed as a repair in aviralkumar2907/CQL#10 and corl-team/CORL#20",
)
_page(
    "penalty at the next states",
    PENALTY,
    PENALTY.replace("s, s_next, a, proposed", "s_next, s_next, a, proposed"),
    "the whole penalty is taken at the next states. The logged action was taken at s, and there alone do the data "
    "vouch for it.",
    seen="RLlib's module and unifloral; in OfflineRL-Kit#12 hopper-medium fell from 95 to 60",
)
_page(
    "the largest critic",
    'bellman_target(batch["rewards"], ended, next_q,',
    'bellman_target(batch["rewards"], ended, next_q.amax(0, keepdim=True),',
    "the largest critic is believed, in the target and by the actor: whichever overrates an action wins.",
    ("actor_loss(q, target_q,", "actor_loss(q.amax(0, keepdim=True), target_q,"),
)
_page(
    "multiplier on the largest penalty",
    "multiplier_loss(log_multiplier, penalty,",
    "multiplier_loss(log_multiplier, penalty.amax(0, keepdim=True),",
    "the multiplier reads the largest critic's penalty. It weighs all of them: their mean.",
)
_page(
    "losses averaged over critics",
    "step(critic_adam, critic_loss(values(critics, s, a), y, penalty, log_multiplier))",
    "step(critic_adam, critic_loss(values(critics, s, a), y, penalty, log_multiplier) / len(critics))",
    "the critics' loss is averaged over the critics. Adam hides such a factor all but completely, and the numbers are "
    "others all the same: sum.",
)
_page(
    "actions not scaled",
    'a = 2 * (batch["actions"] - low) / (high - low) - 1',
    'a = batch["actions"]',
    "the logged actions are used in the environment's units. The networks, the candidates and the density of the "
    "uniform ones live in [-1, 1]: scale by action_low and action_high.",
)
_page(
    "actions divided by high",
    'a = 2 * (batch["actions"] - low) / (high - low) - 1',
    'a = batch["actions"] / high',
    "the logged actions are divided by action_high. That is right only where action_low is its negative: the middle of "
    "the box has to be subtracted.",
)
_page(
    "log_std to -20",
    "log_std.clamp(-5, 2)",
    "log_std.clamp(-20, 2)",
    "log_std is clamped at -20, as in most code of SAC. This agent's bounds are -5 and 2: a sharper policy's density "
    "at its own candidates would only add noise to the penalty.",
    seen="most implementations of SAC",
)
_page(
    "log_std not clamped",
    "log_std.clamp(-5, 2)",
    "log_std",
    "log_std is not clamped: it must lie between -5 and 2, and outside no gradient reaches it.",
)
_page(
    "log_std by tanh",
    "log_std.clamp(-5, 2)",
    "-5 + 3.5 * (torch.tanh(log_std) + 1)",
    "log_std is squashed smoothly into [-5, 2], as some code of SAC does. This agent clamps it.",
    seen="denisyarats/pytorch_sac",
)
_page(
    "multiplier without bounds",
    "log_multiplier.data.clamp_(math.log(1e-3), math.log(1e4))",
    "pass",
    "the multiplier has no bounds, or wider ones. The package keeps it in [1e-3, 1e4]: beyond them its logarithm would "
    "run away, and come back only after as many updates.",
)
_page(
    "logarithm clamped to the bounds",
    "clamp_(math.log(1e-3), math.log(1e4))",
    "clamp_(1e-3, 1e4)",
    "the *logarithm* of the multiplier is clamped to [1e-3, 1e4]. Those are bounds of the multiplier: take their "
    "logarithms.",
)
_page(
    "one noise for both proposals",
    "noise.policy, noise.next_policy\n",
    "noise.policy, noise.policy\n",
    "both policies' candidates use the same noise: the third block has its own, noise.next_policy.",
)
_page(
    "the actor's noise in the target",
    "next_log_std.exp() * noise.target",
    "next_log_std.exp() * noise.actor",
    "the next action is drawn with the actor's noise: it has its own, noise.target.",
)
_page(
    "next policy at s",
    "next_mean, next_log_std = policy(s_next)",
    "next_mean, next_log_std = policy(s)",
    "the next action comes from the policy at s. It is taken in the next state: policy(s_next).",
)
_page(
    "terminations dropped",
    'ended = batch["terminations"].bool()',
    'ended = torch.zeros_like(batch["terminations"]).bool()',
    "the terminations are not used: the target looks beyond the end.",
)
_page(
    "online critics in the target",
    "next_q = values(targets, s_next, torch.tanh(u))",
    "next_q = values(critics, s_next, torch.tanh(u))",
    "the Bellman target asks the critics themselves; it is the target critics' task, for they stand still.",
)
_page(
    "u without tanh",
    "next_q = values(targets, s_next, torch.tanh(u))",
    "next_q = values(targets, s_next, u)",
    "the target critics are asked about u. The next action is tanh(u).",
)
_page(
    "entropy in the backup",
    "next_log_prob = tanh_gaussian_log_prob(u, next_mean, next_log_std)",
    "next_log_prob = tanh_gaussian_log_prob(u, next_mean, next_log_std)\n"
    "            next_q = next_q - temperature * next_log_prob",
    "the entropy of the next action is in the target, as in SAC: Q is then a soft value. CQL leaves it out.",
)
_page(
    "tau squared",
    'slow.lerp_(fast, settings["tau"])',
    'slow.lerp_(fast, settings["tau"] ** 2)',
    "the target critics move by tau squared: does something multiply by tau twice?",
)
_page(
    "tau turned round",
    'slow.lerp_(fast, settings["tau"])',
    'slow.lerp_(fast, 1 - settings["tau"])',
    "the target critics move 1 - tau of the way: they all but copy the critics, and chase themselves. tau weighs the "
    "critics.",
)
_page(
    "targets never move",
    'slow.lerp_(fast, settings["tau"])',
    "pass",
    "the target critics never move: the critics would learn for ever from the networks they began with.",
)
_page(
    "actor asks at s'",
    "q, target_q = values(critics, s, torch.tanh(u))",
    "q, target_q = values(critics, s_next, torch.tanh(u))",
    "the actor's action is scored at s'. It was drawn at s.",
)
_page(
    "actor follows the targets",
    "step(actor_adam, actor_loss(q, target_q,",
    "step(actor_adam, actor_loss(target_q, q,",
    "the actor follows the target critics. It follows those that have just been updated.",
)
_page(
    "log temperature for temperature",
    "temperature = log_temperature.exp().detach()",
    "temperature = log_temperature.detach()",
    "the *logarithm* of the temperature weighs the entropy: take exp first.",
)
_page(
    "temperature's sign",
    "step(temperature_adam, temperature_loss(log_temperature, log_prob, A))",
    "step(temperature_adam, -temperature_loss(log_temperature, log_prob, A))",
    "the temperature moves the wrong way: it must rise while the entropy is below its target.",
)
_page(
    "entropy target +A",
    "temperature_loss(log_temperature, log_prob, A))",
    "temperature_loss(log_temperature, log_prob, -A))",
    "the entropy's target is plus A, which no policy on the box can reach: it is minus A.",
)
_page(
    "zero_grad forgotten",
    "        adam.zero_grad()\n",
    "",
    "the gradients are never set to zero, so that each step adds those of all steps before it. The first update may "
    "come out right.",
)
CRITICS_STEP = "step(critic_adam, critic_loss(values(critics, s, a), y, penalty, log_multiplier))\n"
ACTOR_BLOCK = (
    "\n        # 2. actor, with the critics just updated\n"
    "        mean, log_std = policy(s)\n"
    "        u = mean + log_std.exp() * noise.actor\n"
    "        log_prob = tanh_gaussian_log_prob(u, mean, log_std)\n"
    "        q, target_q = values(critics, s, torch.tanh(u)), values(targets, s, torch.tanh(u))\n"
    "        step(actor_adam, actor_loss(q, target_q, log_prob, temperature))\n"
)
TEMPERATURE_STEP = "        step(temperature_adam, temperature_loss(log_temperature, log_prob, A))\n"
ACTOR_STEP = "        step(actor_adam, actor_loss(q, target_q, log_prob, temperature))\n"
_page(
    "actor before critics",
    CRITICS_STEP + ACTOR_BLOCK,
    ACTOR_BLOCK.lstrip() + "        " + CRITICS_STEP,
    "the actor steps before the critics, as in the official code: it follows critics that have not seen this batch. It "
    "learns all the same, one update late, but not to the package's numbers.",
    seen="the official code: temperature, multiplier, actor, critics, target critics",
)
_page(
    "temperature before the actor",
    ACTOR_STEP,
    TEMPERATURE_STEP + "        temperature = log_temperature.exp().detach()\n" + ACTOR_STEP,
    "the temperature steps before the actor, which then pays a price that its own sample has changed, as in the "
    "official code. In the package the actor's step comes first, with the old temperature.",
    ("5. target critics\n" + TEMPERATURE_STEP, "5. target critics\n"),
    seen="the official code",
)
_page(
    "multiplier before critics",
    CRITICS_STEP,
    'if settings["cql_lagrange"]:\n            step(multiplier_adam, multiplier_loss(log_multiplier, penalty, A, '
    'settings["cql_target_action_gap"]))\n            log_multiplier.data.clamp_(math.log(1e-3), math.log(1e4))\n'
    "        " + CRITICS_STEP,
    "the multiplier steps before the critics, as in the official code and in d3rlpy. Here this update is weighed by "
    "the old value.",
    (
        '            step(multiplier_adam, multiplier_loss(log_multiplier, penalty, A, settings["cql_target_action_gap'
        '"]))\n            log_multiplier.data.clamp_(math.log(1e-3), math.log(1e4))\n        with torch.no_grad():\n'
        "            for slow",
        "            pass\n        with torch.no_grad():\n            for slow",
    ),
    seen="the official code; takuseno/d3rlpy",
)
_page(
    "bounds on a fixed multiplier",
    "            log_multiplier.data.clamp_(math.log(1e-3), math.log(1e4))\n",
    "        log_multiplier.data.clamp_(math.log(1e-3), math.log(1e4))\n",
    "the multiplier is put inside its bounds without cql_lagrange as well. A fixed one keeps its first value, whatever "
    "that is.",
)
_page(
    "target critics first",
    "    for batch, noise in updates:\n",
    "    for batch, noise in updates:\n        with torch.no_grad():\n            for slow, fast in "
    'zip(target_parameters, critic_parameters, strict=True):\n                slow.lerp_(fast, settings["tau"])\n',
    "the target critics move at the beginning of an update: after every update they lie one move behind the package's. "
    "They come last.",
    (
        "        with torch.no_grad():\n            for slow, fast in zip(target_parameters, critic_parameters, "
        'strict=True):\n                slow.lerp_(fast, settings["tau"])\n\n    def numbers',
        "\n    def numbers",
    ),
)
_page(
    "another epsilon",
    'torch.optim.Adam(critic_parameters, lr=settings["critic_lr"])',
    'torch.optim.Adam(critic_parameters, lr=settings["critic_lr"], eps=1e-5)',
    "the numbers are close and not the same: is Adam's epsilon the default, 1e-8, and its betas too?",
)
_page(
    "rates exchanged",
    'critic_adam = torch.optim.Adam(critic_parameters, lr=settings["critic_lr"])',
    'critic_adam = torch.optim.Adam(critic_parameters, lr=settings["actor_lr"])',
    "the critics step at the actor's rate: theirs is critic_lr.",
)


_page(
    "discount in float32",
    'ended, next_q, next_log_prob, temperature, settings["discount"])',
    'ended, next_q, next_log_prob, temperature, float(torch.tensor(settings["discount"])))',
    "the numbers agree to seven digits only: the discount (or another constant of the critics' step) has been float32. "
    "A Python number times a tensor of True and False is float32, and so is torch.tensor(0.9): see 08.1.",
)
_page(
    "next action without noise",
    "u = next_mean + next_log_std.exp() * noise.target",
    "u = next_mean",
    "the next action of the target is the policy's mean. It is *drawn*: tanh(mean + std * noise.target).",
)
_page(
    "mean and log_std interleaved",
    "actor(s).chunk(2, dim=-1)",
    "actor(s).unflatten(-1, (-1, 2)).unbind(-1)",
    "mean and log_std are taken from the actor's output in turns. The mean is its first *half*, log_std its second: "
    "chunk(2, dim=-1).",
)
_page(
    "action before observation",
    "torch.cat([s, a], dim=-1)",
    "torch.cat([a, s], dim=-1)",
    "the critics are given the action before the observation. The weights are for observation and action, in this "
    "order.",
)
_page(
    "tanh in the networks",
    "nn.Linear(inputs, H), nn.ReLU(), nn.Linear(H, H), nn.ReLU(),",
    "nn.Linear(inputs, H), nn.Tanh(), nn.Linear(H, H), nn.Tanh(),",
    "the hidden layers are followed by tanh. Those of this agent are followed by ReLU.",
)
_page(
    "targets from the critics' weights",
    'for weights in start["targets"]',
    'for weights in start["critics"]',
    'the target critics begin as copies of the critics. start has weights of their own for them: start["targets"].',
)
_page(
    "noises of the proposals exchanged",
    "noise.policy, noise.next_policy\n",
    "noise.next_policy, noise.policy\n",
    "noise.policy and noise.next_policy are exchanged: the first is for the candidates of pi(.|s), the second for "
    "those of pi(.|s').",
)
_page(
    "the actor's action detached",
    "q, target_q = values(critics, s, torch.tanh(u)),",
    "q, target_q = values(critics, s, torch.tanh(u).detach()),",
    "the actor's action is detached before the critics see it, so that Q sends nothing back to the policy.",
)
_page(
    "log_prob of the action",
    "log_prob = tanh_gaussian_log_prob(u, mean, log_std)",
    "log_prob = tanh_gaussian_log_prob(torch.tanh(u), mean, log_std)",
    "tanh_gaussian_log_prob is asked at tanh(u) in the actor's step. It wants the u before tanh.",
)
_page(
    "temperature reads the new policy",
    "step(temperature_adam, temperature_loss(log_temperature, log_prob, A))",
    "mean, log_std = policy(s)\n        step(temperature_adam, temperature_loss(log_temperature, "
    "tanh_gaussian_log_prob(mean + log_std.exp() * noise.actor, mean, log_std), A))",
    "the temperature's loss uses log_prob of the policy *after* its step. It uses the one of the actor's loss, "
    "computed before.",
)
_page(
    "multiplier reads the new critics",
    "multiplier_loss(log_multiplier, penalty, A,",
    f"multiplier_loss(log_multiplier, {PENALTY}, A,",
    "the multiplier's loss uses the penalty of the critics *after* their step. It uses the one of the critics' loss, "
    "computed before.",
)
_page(
    "fixed multiplier moves",
    'if settings["cql_lagrange"]:',
    "if True:",
    "the multiplier is stepped although cql_lagrange is false. Then it keeps its first value.",
)
_page(
    "only the first update",
    "    def numbers(networks):",
    "        break\n\n    def numbers(networks):",
    "only the first of the updates is made: is there a return or a break inside the loop?",
)
_page(
    "other betas",
    'torch.optim.Adam(critic_parameters, lr=settings["critic_lr"])',
    'torch.optim.Adam(critic_parameters, lr=settings["critic_lr"], betas=(0.5, 0.999))',
    "the critics' Adam has other betas than its default settings.",
)
_page(
    "numbers without logarithm",
    "log_temperature.detach(), log_multiplier.detach(), numbers",
    "log_temperature.detach().exp(), log_multiplier.detach().exp(), numbers",
    "temperature and multiplier are returned themselves. Return their *logarithms*.",
)
_page(
    "targets returned first",
    "return numbers(critics), numbers([actor])[0], log_temperature.detach(), log_multiplier.detach(), numbers(targets)",
    "return numbers(targets), numbers([actor])[0], log_temperature.detach(), log_multiplier.detach(), numbers(critics)",
    "critics and target critics change places in what is returned: critics first, targets last.",
)


for _group, _loss in {
    "critic": "critic_loss(values(critics, s, a), y, penalty, log_multiplier)",
    "actor": "actor_loss(q, target_q, log_prob, temperature)",
    "temperature": "temperature_loss(log_temperature, log_prob, A)",
    "multiplier": 'multiplier_loss(log_multiplier, penalty, A, settings["cql_target_action_gap"])',
}.items():
    _page(
        f"no zero_grad, {_group}",
        f"step({_group}_adam, {_loss})",
        f"{_loss}.backward(); {_group}_adam.step()",
        f"the gradients of the {_group} optimiser are never cleared, so that each step also takes those of the updates "
        "before: zero_grad() before backward().",
    )
_page(
    "actor at the critics' rate",
    'lr=settings["actor_lr"]',
    'lr=settings["critic_lr"]',
    "the actor steps at the critics' rate. It has its own, actor_lr.",
)
_page(
    "temperature at the critics' rate",
    'lr=settings["temperature_lr"]',
    'lr=settings["critic_lr"]',
    "the temperature steps at the critics' rate. It has its own, temperature_lr.",
)
_page(
    "temperature by plain descent",
    "torch.optim.Adam([log_temperature]",
    "torch.optim.SGD([log_temperature]",
    "the temperature is stepped by plain gradient descent (SGD). Each of the four groups has an Adam.",
)

_page(
    "multiplier at the actor's rate",
    'lr=settings["multiplier_lr"]',
    'lr=settings["actor_lr"]',
    "the multiplier steps at the actor's rate. It has its own, multiplier_lr.",
)
_page(
    "1 - tau for the discount",
    'temperature, settings["discount"])',
    'temperature, 1 - settings["tau"])',
    "the target discounts by 1 - tau. The discount is a setting of its own.",
)
_page(
    "discount for 1 - tau",
    'slow.lerp_(fast, settings["tau"])',
    'slow.lerp_(fast, 1 - settings["discount"])',
    "the target critics move by 1 - discount. tau is a setting of its own.",
)
_page(
    "logged actions cut off",
    "        temperature = log_temperature.exp().detach()\n\n",
    "        a = a.clamp(-0.999, 0.999)\n        temperature = log_temperature.exp().detach()\n\n",
    "the logged actions are cut off short of the bounds. Logs hold actions at the bounds, and nothing here needs their "
    "atanh.",
)
_page(
    "halves exchanged",
    "mean, log_std = actor(s).chunk(2, dim=-1)",
    "log_std, mean = actor(s).chunk(2, dim=-1)",
    "the two halves of the actor's output are exchanged: the first is the mean, the second log_std.",
)
_page(
    "cleared before the step",
    "        loss.backward()\n",
    "        loss.backward()\n        adam.zero_grad()\n",
    "nothing moves: zero_grad() stands between backward() and step() and throws the gradients away. It comes before "
    "backward().",
)
_page(
    "targets are the critics",
    'targets = [network(S + A, 1, weights) for weights in start["targets"]]',
    "targets = critics",
    "the target critics *are* the critics: one list with two names. They are networks of their own, with weights of "
    'their own: start["targets"].',
)
_page(
    "AdamW",
    'torch.optim.Adam(critic_parameters, lr=settings["critic_lr"])',
    'torch.optim.AdamW(critic_parameters, lr=settings["critic_lr"])',
    "the critics' optimiser lets weights decay: AdamW does so unless told otherwise. It is Adam.",
)
_page(
    "critics by plain descent",
    'torch.optim.Adam(critic_parameters, lr=settings["critic_lr"])',
    'torch.optim.SGD(critic_parameters, lr=settings["critic_lr"])',
    "the critics are stepped by plain gradient descent (SGD). Each of the four groups has an Adam.",
)
_page(
    "gradients clipped",
    "        adam.step()\n",
    "        torch.nn.utils.clip_grad_norm_(adam.param_groups[0]['params'], 1.0)\n        adam.step()\n",
    "the gradients are clipped to norm 1. This agent clips nothing.",
)
_page(
    "critics step again",
    ACTOR_STEP,
    ACTOR_STEP + "        critic_adam.step()\n",
    "the critics step a second time, after the actor's backward, which has left gradients in them. Each group steps "
    "once an update.",
)
_page(
    "both proposals of the policy at s",
    "candidates(mean, log_std, next_mean, next_log_std, *drawn)",
    "candidates(mean, log_std, mean, log_std, *drawn)",
    "the third block of candidates is proposed by the policy at s as well. It is the policy at the *next* state that "
    "proposes it.",
)
_page(
    "next action of the policy at s",
    "u = next_mean + next_log_std.exp() * noise.target",
    "u = mean + log_std.exp() * noise.target",
    "the next action of the target is drawn from the policy at s. It is taken in the next state: next_mean, "
    "next_log_std.",
)
_page(
    "actions scaled to [0, 1]",
    'a = 2 * (batch["actions"] - low) / (high - low) - 1',
    'a = (batch["actions"] - low) / (high - low)',
    "the logged actions are scaled to [0, 1]. Policy and candidates live in [-1, 1]: times 2, minus 1.",
)
_page(
    "observations exchanged",
    's, s_next = batch["observations"], batch["next_observations"]',
    's_next, s = batch["observations"], batch["next_observations"]',
    "observations and next_observations are exchanged.",
)
_page(
    "tanh forgotten",
    "next_q = values(targets, s_next, torch.tanh(u))",
    "next_q = values(targets, s_next, u)",
    "the critics are asked about u, in the target and in the actor's step. An action is tanh(u).",
    (
        "q, target_q = values(critics, s, torch.tanh(u)), values(targets, s, torch.tanh(u))",
        "q, target_q = values(critics, s, u), values(targets, s, u)",
    ),
)
_page(
    "optimiser made anew",
    "        step(critic_adam, ",
    '        critic_adam = torch.optim.Adam(critic_parameters, lr=settings["critic_lr"])\n        step(critic_adam, ',
    "the critics' optimiser is made anew in every update, and forgets its running means. Make it once, before the "
    "loop.",
)

STEP = "critic_loss(values(critics, s, a), y, penalty, log_multiplier)"
_page(
    "log multiplier as weight",
    STEP,
    "critic_loss(values(critics, s, a), y, log_multiplier.detach() * penalty, torch.zeros_like(log_multiplier))",
    "the *logarithm* of the multiplier weighs the penalty in the critics' loss: take exp first.",
)
_page(
    "penalty without weight",
    STEP,
    "critic_loss(values(critics, s, a), y, penalty, torch.zeros_like(log_multiplier))",
    "the penalty is added to the critics' loss without a weight. Its weight is the multiplier, exp of log_multiplier, "
    "with cql_lagrange and without.",
)
_page(
    "temperature for its log",
    "temperature = log_temperature.exp().detach()\n\n",
    "temperature = log_temperature.exp().exp().detach()\n\n",
    "exp is taken twice: exp of log_temperature is the temperature already.",
)
_page(
    "target update moves the critics",
    'slow.lerp_(fast, settings["tau"])',
    'fast.lerp_(slow, settings["tau"])',
    "the update of the targets moves the *critics*, and the targets stand at their start: lerp_ changes what stands "
    "before the point. It is the target's parameter that goes tau of the way to the critic's.",
)
_page(
    "targets copied",
    'slow.lerp_(fast, settings["tau"])',
    "slow.copy_(fast)",
    "the targets are copied from the critics in every update, as with tau = 1. They go tau of the way.",
)
_page(
    "actor's Adam holds the critics",
    "torch.optim.Adam(actor.parameters(),",
    "torch.optim.Adam([*actor.parameters(), *critic_parameters],",
    "the actor's Adam holds the critics' parameters too, and its step moves them where the actor's loss leads: up, at "
    "the policy's actions. Give it the actor's parameters alone.",
)
_page(
    "rewards cut off",
    'bellman_target(batch["rewards"],',
    'bellman_target(batch["rewards"].clamp(-1, 1),',
    "the rewards are cut off at -1 and 1. They are used as they come.",
    seen="agents for Atari",
)
_page(
    "weight decay",
    'torch.optim.Adam(critic_parameters, lr=settings["critic_lr"])',
    'torch.optim.Adam(critic_parameters, lr=settings["critic_lr"], weight_decay=1e-2)',
    "the critics' Adam has a weight_decay. Its settings are the defaults, and that one is 0.",
)
_page(
    "critics returned as they began",
    '    low, high = settings["action_low"], settings["action_high"]\n    for',
    "    began = torch.stack([parameters_to_vector(net.parameters()).detach() for net in critics])\n"
    '    low, high = settings["action_low"], settings["action_high"]\n    for',
    "the critics that are returned are those from before the first update, while the targets have followed the right "
    "ones: is their vector taken before the loop? parameters_to_vector copies.",
    ("return numbers(critics),", "return began,"),
)
_page(
    "actor's action without gradients",
    "        mean, log_std = policy(s)\n        u = mean + log_std.exp() * noise.actor",
    "        mean, log_std = (each.detach() for each in policy(s))\n        u = mean + log_std.exp() * noise.actor",
    "the actor never moves. Is there a step after its backward, with the gradient cleared before both? Or its action "
    "and log_prob are computed without gradients (no_grad, or detach): in its own step nothing of the policy is "
    "detached.",
)
_page(
    "logged action not scaled in the penalty",
    "s, s_next, a, proposed, log_density)",
    's, s_next, batch["actions"], proposed, log_density)',
    "the penalty is given the logged actions in the environment's units, the squared error scaled ones. The networks "
    "work in [-1, 1]: scaled ones in both.",
)
_page(
    "logged action scaled in the penalty alone",
    STEP,
    STEP.replace("s, a)", 's, batch["actions"])'),
    "the squared error is given the logged actions in the environment's units, the penalty scaled ones. The networks "
    "work in [-1, 1]: scaled ones in both.",
)
_page(
    "last update first",
    "    for batch, noise in updates:",
    "    for batch, noise in reversed(updates):",
    "the updates are made from the last to the first. Take them in the order in which they come.",
)


# ---------------------------------------------------------------- 08.10
BUGS = {
    "a": "the temperature's loss has the wrong sign",
    "b": "the entropy term of the actor's loss has the wrong sign",
    "c": "the target entropy is plus A",
    "d": "the target critics never move",
    "e": "the penalty is subtracted",
    "f": "the penalty's weight is a hundred times too large",
}


@exercise(
    "08.10",
    title="which bug is in run X?",
    kind="diagnose",
    difficulty=4,
    importance=5,
    minutes=8,
    examples=(Example((), "run X of the figure and the table above", shown=False),),
    hints=(
        "Do not begin with the return. Which of the curves leaves the right run first, and in which direction?",
        "Entropy and temperature are the two sides of a thermostat. If one of them falls, which way should the other "
        "go? Then say which of a), b) and c) moves them so.",
        'return "____"',
    ),
    meaning=(
        "The entropy falls far below its target while the temperature *rises* against it: the thermostat works, and "
        "makes it worse, since the actor is paid for being sharp. Under a) the temperature would fall with the "
        "entropy, under c) both would rise."
    ),
)
def bug_of_run_x():
    """The letter of the bug in run X.

    -> "a", "b", "c", "d", "e" or "f"
    """
    return "b"


def _bug(letter, message):
    wrong_choice("08.10", f"letter {letter}", letter, message)


_bug(
    "a",
    "with a) the temperature would *fall* once the entropy is below its target, and both would sink together. In run X "
    "the temperature turns round and rises as soon as the entropy has passed its target.",
)
_bug(
    "c",
    "with c) the entropy would rise, towards the largest there is, A log 2. In run X the temperature rises too, but "
    "the entropy falls.",
)
_bug(
    "d",
    "with d) the value of the logged actions could not move far from one reward, and the entropy would behave as in "
    "the right run. In run X the entropy leaves first.",
)
_bug(
    "e",
    "with e) the CQL gap would *rise* without end, since the critics would be paid for it. In run X it falls.",
)
_bug(
    "f",
    "with f) the CQL gap would be at its lowest from the start and the squared error large, while the thermostat of "
    "entropy and temperature would still work. In run X it is the thermostat that fails.",
)


# ---------------------------------------------------------------- predictions
prediction(
    "08.p1",
    "Ten candidates for each of three proposals: how much of an update's time goes into the penalty?",
    answer="c",
    a=("about a tenth", "The other parts ask the critics about one action a state; the penalty asks about thirty."),
    b=(
        "about a third, as one of three networks' losses",
        "It is one loss of four, but not one of equal size: it asks the critics about thirty actions a state.",
    ),
    c=(
        "more than half",
        "The critics rate thirty candidates for each logged action, forwards and backwards: that outweighs everything "
        "else.",
    ),
)

prediction(
    "08.p2",
    "Hold the temperature fixed at 0.1, where it would start, instead of adapting it: on the maze and on Pendulum "
    "medium, what changes beyond what the few data draws could show by chance?",
    answer="a",
    a=(
        "the values' error, and no return",
        "Another temperature is another policy, with another value. The returns' intervals hold 0; on Pendulum they "
        "hold differences of a hundred as well, so little is excluded.",
    ),
    b=(
        "the return, on at least one of them, and with it what the policy is worth",
        "The policy's randomness decides which actions the targets average over, and the deterministic policy is what "
        "remains of it.",
    ),
    c=(
        "neither a return nor an error: the penalty decides both",
        "The temperature starts at 0.1 and moves for thousands of updates: the policies do end with another spread.",
    ),
)

prediction(
    "08.p3",
    "Your page and the package's agent start from the same networks, batches and noise. After ten updates in float64, "
    "how far apart are their parameters?",
    answer="a",
    a=(
        "nowhere by more than rounding, below 1e-9",
        "The same formulas in the same order are the same numbers, but for the last digits of float64: any larger "
        "difference is a difference of formulas.",
    ),
    b=(
        "by about 1e-4, since Adam turns any rounding error into a part of a step",
        "That would be a visible part of one step of Adam: far too much for rounding in float64, and a sign that some "
        "formula differs.",
    ),
    c=(
        "visibly, since ten updates magnify every small difference",
        "Differences do grow from update to update, but they start at 1e-16 here and ten updates are few.",
    ),
)

prediction(
    "08.p4",
    "One critic, two, or five, of which the smallest counts: what does the number change, on the maze and on Pendulum "
    "medium, beyond what the few data draws could show by chance?",
    answer="b",
    a=(
        "the return on at least one of them: more critics, a better policy",
        "The penalty already holds the values down; the minimum is a second caution on top of the first. What these "
        "draws exclude is what lies outside the intervals.",
    ),
    b=(
        "the estimation error on at least one of them, and no return",
        "The smallest of more critics is lower: on Pendulum the values sink with each critic, in the maze hardly. The "
        "returns' intervals hold 0, and on Pendulum much else.",
    ),
    c=(
        "nothing at all: neither a return nor an estimation error",
        "The smallest of several noisy numbers is lower than one of them: where critics disagree, the values show it.",
    ),
)

prediction(
    "08.p5",
    "On the maze's log behaviour cloning never reaches the goal. Your page trains on it: from which share of the "
    "starts does its policy reach the goal?",
    answer="c",
    a=(
        "from none, like cloning: the log is all it has",
        "It has the same log but another question: not what was done, but what was worth doing. Pieces of different "
        "episodes can be joined through their values.",
    ),
    b=(
        "from about half: those from which some episode went on to the goal",
        "Possible where the value has not yet travelled back far enough; this training is to show whether that is so.",
    ),
    c=(
        "from all or nearly all",
        "The values travel back from the goal along pieces of many episodes, and the policy follows them where no "
        "single episode went all the way.",
    ),
)


# ---------------------------------------------------------------- quiz
quiz_question(
    "08.a",
    "All five losses are summed, one backward call fills every gradient, and one optimiser steps them all. Each "
    "function is as you wrote it, with its detaches. What goes wrong?",
    answer="c",
    a=(
        "nothing: every loss has its detaches, and these keep the five of them apart",
        "They keep apart all but one pair. Q cannot be detached in the actor's loss, for through it the gradient "
        "reaches the action.",
    ),
    b=(
        "the temperature's loss moves the policy, since both read the policy's log_prob",
        "log_prob is detached in that loss: nothing gets through.",
    ),
    c=(
        "the actor's loss moves the critics: they learn to praise what the policy does",
        "Q must carry the gradient to the action, so no detach can stand there. Only stepping each loss on its own "
        "parameters keeps it out of the critics, as your page and the package do.",
    ),
)

quiz_question(
    "08.b",
    "The official code steps the multiplier before the critics, this package after them, so that here the *old* "
    "multiplier weighs the penalty. What differs in the long run?",
    answer="b",
    a=(
        "where they come to rest: the old value is always the smaller one, so the penalty weighs too little",
        "At rest old and new value are the same number: both stop only where the CQL gap equals its target. On the "
        "way down the old value is the larger one.",
    ),
    b=(
        "hardly anything: one small step of the multiplier, on the way to the same balance",
        "The critics are weighed by a value one update older. With a small step size that is a difference of less "
        "than a percent, and none at rest.",
    ),
    c=(
        "the gradient: when it steps after the critics, the multiplier must not be detached in their loss",
        "Order and detaching are two matters. In the critics' loss it is detached in either order, or the critics' "
        "step would pull it to 0.",
    ),
)

quiz_question(
    "08.c",
    "A time limit cut an episode off: its last transition is a truncation, no termination. What happens in its "
    "Bellman target?",
    answer="a",
    a=(
        "nothing special: it looks ahead like any other transition",
        "The recording stopped, the task did not. The next observation was still logged, and the target asks the "
        "critics about it.",
    ),
    b=(
        "the next value is cut off, because no reward of this episode comes after it",
        "Then every state near the time limit would look as if the world ended there. At least one library does so, "
        "by one flag for both.",
    ),
    c=(
        "the transition must be left out of the batch, because its target cannot be known",
        "Only if its next observation was not recorded. Otherwise it is as good as any other.",
    ),
)
