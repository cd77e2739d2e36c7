"""Exercises of chapter 11, extensions: a calibrated penalty, which mistake a run has, how to fine-tune, soft, sparse."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..checker import Example
from ..registry import exercise, mutant, prediction, quiz_question, wrong_choice

DOUBLE = torch.float64
LOG_2 = math.log(2.0)


def _numbers(values: object) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


# ---------------------------------------------------------------- 11.1
@exercise(
    "11.1",
    title="the calibrated penalty",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=12,
    gradients=("q", "q_data"),
    examples=(
        Example(
            (
                _numbers([[0.0, 0.0, math.log(12.0)]]),
                _numbers([[-LOG_2, LOG_2, LOG_2]]),
                torch.tensor([False, True, True]),
                _numbers([LOG_2]),
                _numbers([math.log(8.0)]),
            ),
            "worked by hand: exp Q is 1, 1, 12, the densities are 1/2, 2, 2, the last two candidates are the policy's, "
            "exp of the return-to-go is 8",
        ),
        Example(
            (
                _numbers([[0.3, -1.2, -0.4, 2.1], [-2.0, -0.7, 1.4, -1.1]]),
                _numbers([[-0.7, -0.9, 0.6, 1.2], [-0.7, -0.5, 0.2, 0.9]]),
                torch.tensor([False, False, True, True]),
                _numbers([0.8, -1.6]),
                _numbers([1.1, -0.9]),
            ),
            "two states, four candidates, the last two of them the policy's",
        ),
        Example(
            (
                _numbers([[-3.1, 0.4, -0.2, 0.9, -1.3], [-0.6, -2.4, 0.3, -1.9, -0.1], [1.7, -0.3, -1.1, 0.2, -2.2]]),
                _numbers([[-1.4, 0.8, -1.4, 2.1, 0.3], [-1.4, 1.9, -1.4, -0.6, 1.1], [-1.4, 0.1, -1.4, 0.7, 2.6]]),
                torch.tensor([False, True, False, True, True]),
                _numbers([-0.5, 1.2, 0.7]),
                _numbers([-1.8, -0.4, 0.6]),
            ),
            "three states, the policy's candidates are not the last ones",
            shown=False,
        ),
        Example(
            (
                _numbers([[-900.0, -902.5, -901.3], [899.1, 901.2, 900.7]]),
                _numbers([[-0.7, 0.4, 1.3], [-0.7, 1.1, 0.2]]),
                torch.tensor([False, True, True]),
                _numbers([-899.0, 900.4]),
                _numbers([-901.9, 901.6]),
            ),
            "values of 900 and of -900",
            shown=False,
        ),
    ),
    hints=(
        "By hand: the second candidate is raised to log 8, the third stays. Divide by the densities, in the exponent: "
        "the terms are 2, 4, 6, their mean is 4, and the logged action takes log 2 away.",
        "One return-to-go a row, for all of the row's candidates: returns_to_go[:, None]. torch.where picks whose Q is "
        "raised, and torch.maximum raises it. The rest is CQL's penalty: subtract the log-density, logsumexp, log K.",
        "raised = torch.where(from_policy, ____, q); return torch.logsumexp(raised - log_density, 1) - ____",
    ),
    meaning=(
        "A candidate of the policy below the return-to-go gets no push: what is left falls on the others, and the "
        "logged action is pulled as before."
    ),
)
def calibrated_penalty(q, log_density, from_policy, q_data, returns_to_go):
    """Cal-QL's penalty at each state: CQL's, with no candidate of the policy valued below the return-to-go.

    [B, K], [B, K], [K] of True and False, [B], [B] -> [B]; log-mean form, as losses.cql_penalty before its mean
    """
    raised = torch.where(from_policy, torch.maximum(q, returns_to_go[:, None]), q)
    return torch.logsumexp(raised - log_density, dim=1) - math.log(q.shape[1]) - q_data


def _raised(q, from_policy, returns_to_go):
    return torch.where(from_policy, torch.maximum(q, returns_to_go[:, None]), q)


def _log_mean(terms, axis=1):
    return torch.logsumexp(terms, axis) - math.log(terms.shape[axis])


@mutant("11.1", "maximum after the density", seen="tianshou's CQL with calibrated=True")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the maximum is taken after the log-density was subtracted. The return-to-go is a *value*: compare it with Q, and
    divide by the density afterwards. Here a dense candidate is raised too early and a rare one too late."""
    terms = torch.where(from_policy, torch.maximum(q - log_density, returns_to_go[:, None]), q - log_density)
    return _log_mean(terms) - q_data


@mutant("11.1", "both published mistakes", seen="tianshou's CQL with calibrated=True, which raises all candidates")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """all candidates are raised, and after their log-density was subtracted. Only the policy's are raised, and Q itself
    is compared with the return-to-go."""
    return _log_mean(torch.maximum(q - log_density, returns_to_go[:, None])) - q_data


@mutant("11.1", "uniform candidates too")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the uniform candidates are raised as well. They stand for actions that nobody means to take, and are pushed down
    without a bound; raised, hardly anything is pushed at all."""
    return _log_mean(torch.maximum(q, returns_to_go[:, None]) - log_density) - q_data


@mutant("11.1", "uniform candidates alone")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the mask is turned: the uniform candidates are raised and the policy's are not. It is the policy's own values
    that must not fall below what the log earned."""
    return _log_mean(_raised(q, ~from_policy, returns_to_go) - log_density) - q_data


@mutant("11.1", "logged action too")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the logged action's Q is raised as well. Below the return-to-go it would no longer be pulled up, although there
    is where it needs it most; the pull is CQL's, untouched."""
    return _log_mean(_raised(q, from_policy, returns_to_go) - log_density) - torch.maximum(q_data, returns_to_go)


@mutant("11.1", "minimum")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """that is the minimum: it lets go of the candidates that are *above* the return-to-go, which are the ones to be
    pushed down. The larger of the two is wanted."""
    terms = torch.where(from_policy, torch.minimum(q, returns_to_go[:, None]), q)
    return _log_mean(terms - log_density) - q_data


@mutant("11.1", "the return alone")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the policy's values are replaced by the return-to-go, high or low. Only those below it are: a value above it must
    still be pushed down."""
    terms = torch.where(from_policy, returns_to_go[:, None].expand_as(q), q)
    return _log_mean(terms - log_density) - q_data


@mutant("11.1", "plain CQL")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """that is CQL's penalty: the return-to-go is not used."""
    return _log_mean(q - log_density) - q_data


@mutant("11.1", "the soft maximum is bounded")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the *sum* is raised to the return-to-go. Each candidate of the policy is raised on its own: the soft maximum may
    be above it while the policy's values lie far below."""
    return torch.maximum(_log_mean(q - log_density), returns_to_go) - q_data


@mutant("11.1", "the penalty is cut at the return")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the whole penalty is kept above the return-to-go. Candidates are what is compared with it, one by one, before
    they are summed."""
    return torch.maximum(_log_mean(q - log_density) - q_data, returns_to_go)


@mutant("11.1", "all at once")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """a row is raised only if its policy's candidates lie below the return-to-go *on average*. Each candidate is
    compared by itself."""
    mean = torch.where(from_policy, q, 0.0).sum(1, keepdim=True) / from_policy.sum()
    raised = torch.where(from_policy & (mean < returns_to_go[:, None]), returns_to_go[:, None].expand_as(q), q)
    return _log_mean(raised - log_density) - q_data


@mutant("11.1", "one bound for all states")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """one bound, the mean return-to-go, serves all states. Each row has its own: what the log went on to earn from that
    very state."""
    return _log_mean(_raised(q, from_policy, returns_to_go.mean().expand_as(returns_to_go)) - log_density) - q_data


@mutant("11.1", "the largest return for all states")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """one bound, the largest return-to-go of the batch, serves all states: in most of them nothing would be pushed
    down. Each row has its own."""
    return _log_mean(_raised(q, from_policy, returns_to_go.amax().expand_as(returns_to_go)) - log_density) - q_data


@mutant("11.1", "return added")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the return-to-go is added to the policy's values. It is a lower bound on them: the larger of the two is taken."""
    return _log_mean(torch.where(from_policy, q + returns_to_go[:, None], q) - log_density) - q_data


@mutant("11.1", "shortfall only")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the policy's candidates are replaced by what they have above the return-to-go, or 0. They keep their value where
    it is larger, and take the return-to-go where it is not."""
    return _log_mean(torch.where(from_policy, (q - returns_to_go[:, None]).clamp(min=0), q) - log_density) - q_data


@mutant("11.1", "left out of the sum")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """candidates below the return-to-go are left out of the sum. They stay in it, with the return-to-go in the place of
    their Q: the other candidates' shares of the push-down are measured against them."""
    below = from_policy & (q < returns_to_go[:, None])
    return _log_mean((q - log_density).masked_fill(below, -math.inf)) - q_data


@mutant("11.1", "density forgotten")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the log-density is not subtracted. Calibration changes what stands for Q, and nothing else in the estimate."""
    return _log_mean(_raised(q, from_policy, returns_to_go)) - q_data


@mutant("11.1", "density added")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the log-density is added. Each candidate is divided by its density: subtract the logarithm."""
    return _log_mean(_raised(q, from_policy, returns_to_go) + log_density) - q_data


@mutant("11.1", "log K forgotten")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the logarithm of the number of candidates is missing: a sum in the place of a mean. The gradient is right, but the
    penalty is not on the scale of the log-mean form."""
    return torch.logsumexp(_raised(q, from_policy, returns_to_go) - log_density, 1) - q_data


@mutant("11.1", "log of the policy's candidates alone")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the sum runs over all candidates, the logarithm that makes a mean of it counts the policy's alone. Divide by
    K, the number of all of them."""
    summed = torch.logsumexp(_raised(q, from_policy, returns_to_go) - log_density, 1)
    return summed - math.log(int(from_policy.sum())) - q_data


@mutant("11.1", "hard maximum")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """that is the largest candidate, not their soft maximum."""
    return (_raised(q, from_policy, returns_to_go) - log_density).amax(1) - q_data


@mutant("11.1", "no pull")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the logged action is missing: without its pull every value falls."""
    return _log_mean(_raised(q, from_policy, returns_to_go) - log_density) + 0 * q_data


@mutant("11.1", "averaged over the batch")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """that is the mean over the states. One number a state is wanted, [B]; the batch mean comes later."""
    return (_log_mean(_raised(q, from_policy, returns_to_go) - log_density) - q_data).mean()


@mutant("11.1", "detached")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the value is right, but the raised values are detached: no candidate of the policy is pushed down, not even one
    far above the return-to-go."""
    raised = torch.where(from_policy, torch.maximum(q, returns_to_go[:, None]).detach(), q)
    return _log_mean(raised - log_density) - q_data


@mutant("11.1", "overflow")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """right for small values, but exp(900) overflows to inf, and exp(-900) is 0, whose logarithm is minus inf.
    torch.logsumexp takes the largest value out before it exponentiates."""
    return (_raised(q, from_policy, returns_to_go) - log_density).exp().mean(1).log() - q_data


# ---------------------------------------------------------------- soft and sparse
