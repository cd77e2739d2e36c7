"""Exercises of chapter 06, estimating the log-sum-exp over continuous actions: on candidates, ``[..., K]``."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checker import Example
from ..registry import exercise, mutant, prediction, quiz_question, wrong_choice
from ..studies.ch06 import GENTLE, STEEP, recipe_error

DOUBLE = torch.float64
LOG_2 = math.log(2.0)


def _numbers(values: object) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


# ---------------------------------------------------------------- 06.1
@exercise(
    "06.1",
    title="an integral from uniform samples",
    kind="build",
    difficulty=2,
    importance=4,
    minutes=8,
    examples=(
        Example(
            (_numbers([1.0, 1.0, 1.0, 5.0]).log(), 3),
            "worked by hand: four uniform actions in a box of volume 8, exp Q is 1, 1, 1, 5",
        ),
        Example(
            (_numbers([[0.0, 1.0, -1.0, 0.5, 0.2], [-7.0, -6.5, -9.0, -8.2, -7.7], [-1.0, 3.0, 0.0, 1.0, 1.0]]), 1),
            "three states, five uniform actions of one dimension",
        ),
        Example((_numbers([[900.0, 901.0], [0.0, -1.0]]), 6), "six dimensions, values of 900", shown=False),
    ),
    hints=(
        "With four actions where exp Q is 1, 1, 1 and 5, the mean is 2. Over a box of volume 8 that makes an integral "
        "of 16.",
        "Log of the mean of exp Q: logsumexp over the last axis minus the log of the number of candidates. Then add "
        "the log of the volume of the box.",
        "return torch.logsumexp(q, dim=-1) - math.log(q.shape[-1]) + ____ * math.log(2)",
    ),
    meaning=(
        "The integral is the mean of exp Q times the volume 2^A; the sum that most code takes also counts the "
        "candidates."
    ),
    steps=lambda q, action_dim: {
        "log of the sum of exp Q": torch.logsumexp(q, dim=-1),
        "log of the number of candidates": math.log(q.shape[-1]),
        "log of the volume": action_dim * math.log(2),
    },
)
def uniform_log_integral(q, action_dim):
    """Log of the estimated integral of exp Q over [-1, 1]^action_dim from uniform candidates.

    [..., K] -> [...]
    """
    return torch.logsumexp(q, dim=-1) - math.log(q.shape[-1]) + action_dim * math.log(2)


@mutant("06.1", "volume forgotten")
def _(q, action_dim):
    """that is the log of the *mean* of exp Q. An integral is the mean times the volume of the box, a length of 2
    in every dimension."""
    return torch.logsumexp(q, -1) - math.log(q.shape[-1])


@mutant("06.1", "sum in place of mean", seen="the raw form of the official code and of most copies")
def _(q, action_dim):
    """the number of candidates is missing: a *sum* of exp Q grows with every candidate you add. Take the mean:
    minus log K."""
    return torch.logsumexp(q, -1) + action_dim * LOG_2


@mutant("06.1", "raw sum")
def _(q, action_dim):
    """a bare logsumexp is neither a mean nor an integral: it grows with the number of candidates (minus log K
    mends that) and ignores the volume (plus action_dim log 2)."""
    return torch.logsumexp(q, -1)


@mutant("06.1", "minus the volume")
def _(q, action_dim):
    """the volume has the wrong sign. The density of a uniform action is 1 / volume; dividing by it *adds*
    action_dim log 2."""
    return torch.logsumexp(q, -1) - math.log(q.shape[-1]) - action_dim * LOG_2


@mutant("06.1", "plus log K")
def _(q, action_dim):
    """log K has the wrong sign: a mean divides the sum by K, so its log is *subtracted*."""
    return torch.logsumexp(q, -1) + math.log(q.shape[-1]) + action_dim * LOG_2


@mutant("06.1", "divided outside the log")
def _(q, action_dim):
    """the logarithm of the sum is divided by K. It is the sum that is divided, before the logarithm: *subtract*
    log K."""
    return torch.logsumexp(q, -1) / q.shape[-1] + action_dim * LOG_2


@mutant("06.1", "log outside")
def _(q, action_dim):
    """you average Q; the integral averages exp Q. The logarithm comes after the mean, and by Jensen's inequality
    the two differ."""
    return q.mean(-1) + action_dim * LOG_2


@mutant("06.1", "mean under softmax")
def _(q, action_dim):
    """that is the mean of Q under softmax(Q), plus the log of the volume. The integral averages exp Q over the
    candidates alike; the logarithm comes after the mean: logsumexp minus log K."""
    return (torch.softmax(q, -1) * q).sum(-1) + action_dim * LOG_2


@mutant("06.1", "log 2 once", seen="asked in takuseno/d3rlpy#147")
def _(q, action_dim):
    """the box has length 2 in *each* dimension, so its volume is 2 to the power action_dim: add log 2 that many
    times."""
    return torch.logsumexp(q, -1) - math.log(q.shape[-1]) + LOG_2


@mutant("06.1", "log 2A")
def _(q, action_dim):
    """the volume is 2 times 2 times 2 ..., 2 to the power action_dim, not 2 times action_dim: its log is
    action_dim times log 2."""
    return torch.logsumexp(q, -1) - math.log(q.shape[-1]) + math.log(2 * action_dim)


@mutant("06.1", "no logarithm")
def _(q, action_dim):
    """that is the integral itself; its logarithm was asked for, in units of Q."""
    return q.exp().mean(-1) * 2.0**action_dim


@mutant("06.1", "overflow")
def _(q, action_dim):
    """right for small values, but exp(900) overflows to inf. torch.logsumexp takes the largest value out before it
    exponentiates."""
    return q.exp().mean(-1).log() + action_dim * LOG_2


@mutant("06.1", "K of the first axis")
def _(q, action_dim):
    """you subtract the log of the *first* axis's length. The candidates are the last axis, and only there is K."""
    return torch.logsumexp(q, -1) - math.log(q.shape[0]) + action_dim * LOG_2


@mutant("06.1", "volume A squared")
def _(q, action_dim):
    """base and exponent are exchanged: A times A. The box has length 2 in each of A dimensions, volume 2 to the power
    A: its log is A times log 2."""
    return torch.logsumexp(q, -1) - math.log(q.shape[-1]) + 2 * math.log(action_dim)


@mutant("06.1", "one shift for all")
def _(q, action_dim):
    """the largest value is taken out before the exponential, good, but it is that of *all* rows: beside 901 a row of 0
    and -1 becomes exp(-901), which is 0. Each row has its own largest value, and torch.logsumexp takes it."""
    return (q - q.max()).exp().mean(-1).log() + q.max() + action_dim * LOG_2


# ---------------------------------------------------------------- 06.2
def _steps_06_2(pre_tanh: Tensor, mean: Tensor, log_std: Tensor) -> dict[str, Tensor]:
    return {
        "the Gaussian's log-density of each u": _normal(pre_tanh, mean, log_std),
        "log(1 - tanh(u)^2)": _log_slope(pre_tanh),
    }


@exercise(
    "06.2",
    title="the density of a squashed Gaussian",
    kind="build",
    difficulty=4,
    importance=5,
    minutes=12,
    examples=(
        Example(
            (_numbers([0.5, -1.0]), _numbers([0.0, -0.4]), _numbers([LOG_2, 0.25])),
            "one action of two dimensions: u, mean, log_std",
        ),
        Example(
            (_numbers([[10.0], [-12.0]]), _numbers([9.0]), _numbers([LOG_2])),
            "a saturated policy: u = 10 and -12",
        ),
        Example(
            (_numbers([[0.2, 0.1, 25.0], [-0.7, 1.3, 0.0]]), _numbers([0.1, 0.0, 24.0]), _numbers([-3.0, 0.5, 0.3])),
            "three dimensions, one of them far out",
            shown=False,
        ),
        Example((_numbers([-400.0, 380.0]), _numbers([-399.2, 380.5]), _numbers([0.2, -0.3])), "u = -400 and 380"),
        Example(
            (_numbers([[0.301, -0.4], [0.2996, 6.0]]), _numbers([0.3, 5.0]), _numbers([-6.0, 2.5])),
            "a narrow and a wide dimension: log_std -6 and 2.5",
        ),
        Example((_numbers([800.0]), _numbers([799.5]), _numbers([0.1])), "u = 800"),
    ),
    hints=(
        "Two parts for each dimension: how likely was u, and how much does tanh squeeze at u?",
        "log Normal(u; mean, std) minus log(1 - tanh(u)^2), the second in the form 2 (log 2 - u - softplus(-2u)), "
        "which is finite everywhere; then the sum over the dimensions.",
        "log_slope = 2 * (math.log(2) - pre_tanh - F.softplus(____)); return (normal - log_slope).sum(dim=-1)",
    ),
    meaning="Keep u: from it the log-density is exact even where the action has rounded to 1.",
    steps=_steps_06_2,
)
def tanh_log_prob(pre_tanh, mean, log_std):
    """Log-density of the action tanh(pre_tanh), where pre_tanh ~ Normal(mean, exp(log_std)).

    [..., A] -> [...]
    """
    z = (pre_tanh - mean) / log_std.exp()
    normal = -0.5 * z.square() - log_std - 0.5 * math.log(2 * math.pi)
    log_slope = 2 * (math.log(2) - pre_tanh - F.softplus(-2 * pre_tanh))
    return (normal - log_slope).sum(dim=-1)


def _normal(u: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    return torch.distributions.Normal(mean, log_std.exp(), validate_args=False).log_prob(u)


def _log_slope(u: Tensor) -> Tensor:
    return 2 * (LOG_2 - u - F.softplus(-2 * u))


def _clamped(u: Tensor) -> Tensor:
    return torch.atanh(torch.tanh(u).clamp(-1 + 1e-6, 1 - 1e-6))


@mutant("06.2", "no Jacobian")
def _(pre_tanh, mean, log_std):
    """that is the density of u. tanh squeezes the line into (-1, 1), so the density of the action is larger:
    subtract log(1 - tanh(u)^2)."""
    return _normal(pre_tanh, mean, log_std).sum(-1)


@mutant("06.2", "Jacobian's sign")
def _(pre_tanh, mean, log_std):
    """the Jacobian has the wrong sign. Where tanh is flat, many u crowd into few actions: the density rises, so
    the (negative) log(1 - tanh(u)^2) is *subtracted*."""
    return (_normal(pre_tanh, mean, log_std) + _log_slope(pre_tanh)).sum(-1)


@mutant("06.2", "not summed", seen="boyu-ai/Hands-on-RL, chapter 18")
def _(pre_tanh, mean, log_std):
    """one number a dimension. The dimensions are independent, so their log-densities add: sum over the last axis."""
    return _normal(pre_tanh, mean, log_std) - _log_slope(pre_tanh)


@mutant("06.2", "averaged")
def _(pre_tanh, mean, log_std):
    """the dimensions are averaged. A joint density is a product, its log a *sum* over the dimensions."""
    return (_normal(pre_tanh, mean, log_std) - _log_slope(pre_tanh)).mean(-1)


@mutant("06.2", "tanh twice", seen="boyu-ai/Hands-on-RL, chapter 18")
def _(pre_tanh, mean, log_std):
    """tanh is applied twice: the slope belongs to u, 1 - tanh(u)^2, not to the action that has been through tanh
    already."""
    return (_normal(pre_tanh, mean, log_std) - _log_slope(torch.tanh(pre_tanh))).sum(-1)


@mutant("06.2", "normal at the action")
def _(pre_tanh, mean, log_std):
    """the Gaussian is evaluated at the action tanh(u). It was u that was drawn from it."""
    return (_normal(torch.tanh(pre_tanh), mean, log_std) - _log_slope(pre_tanh)).sum(-1)


@mutant("06.2", "1e-6 inside the log", seen="the official CQL code, whose comment calls it not very numerically stable")
def _(pre_tanh, mean, log_std):
    """right for moderate u. But at u = 10 the slope is about 8e-9, and the 1e-6 that was to keep the log finite
    drowns it: the log-density is off by several nats. Use 2 (log 2 - u - softplus(-2u))."""
    return (_normal(pre_tanh, mean, log_std) - torch.log(1 - torch.tanh(pre_tanh) ** 2 + 1e-6)).sum(-1)


@mutant("06.2", "slope clamped at 1e-6", seen="common in copies of SAC")
def _(pre_tanh, mean, log_std):
    """right for moderate u. But the slope is clamped at 1e-6, so that beyond u = 8 the log-density no longer changes
    with the slope and is off by several nats. Use 2 (log 2 - u - softplus(-2u))."""
    slope = (1 - torch.tanh(pre_tanh) ** 2).clamp(min=1e-6)
    return (_normal(pre_tanh, mean, log_std) - torch.log(slope)).sum(-1)


@mutant("06.2", "bare log of the slope", seen="ray-project/ray#14878")
def _(pre_tanh, mean, log_std):
    """right as long as 1 - tanh(u)^2 does not round to 0; at u = 25 it does, and the result is inf. Use 2 (log 2 -
    u - softplus(-2u)), the same in exact arithmetic."""
    return (_normal(pre_tanh, mean, log_std) - torch.log(1 - torch.tanh(pre_tanh) ** 2)).sum(-1)


@mutant("06.2", "atanh of the action", seen="ray-project/ray#65036")
def _(pre_tanh, mean, log_std):
    """right for moderate u. But the u that atanh recovers from a rounded action is no longer the one that was
    drawn: at u = 10 the clamp makes it 7.3. Use the pre_tanh that you were given."""
    return (_normal(_clamped(pre_tanh), mean, log_std) - _log_slope(_clamped(pre_tanh))).sum(-1)


@mutant("06.2", "slope without square")
def _(pre_tanh, mean, log_std):
    """the slope of tanh is 1 - tanh(u)^2; the square is missing."""
    return (_normal(pre_tanh, mean, log_std) - torch.log(1 - torch.tanh(pre_tanh))).sum(-1)


@mutant("06.2", "softplus of +2u")
def _(pre_tanh, mean, log_std):
    """the sign inside softplus is turned: log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)). Try u = 0, where it
    must be 0 either way, and then u = 1, where it is -0.87."""
    return (_normal(pre_tanh, mean, log_std) - 2 * (LOG_2 - pre_tanh - F.softplus(2 * pre_tanh))).sum(-1)


@mutant("06.2", "half the slope")
def _(pre_tanh, mean, log_std):
    """half of the logarithm of the slope: the factor 2 in front of (log 2 - u - softplus(-2u)) is missing."""
    return (_normal(pre_tanh, mean, log_std) - 0.5 * _log_slope(pre_tanh)).sum(-1)


@mutant("06.2", "log 2 missing")
def _(pre_tanh, mean, log_std):
    """log 2 is missing from the slope's logarithm, 2 (log 2 - u - softplus(-2u)). At u = 0 the slope is 1 and its
    logarithm 0; yours is -1.39 there."""
    return (_normal(pre_tanh, mean, log_std) - 2 * (-pre_tanh - F.softplus(-2 * pre_tanh))).sum(-1)


@mutant("06.2", "softplus written out")
def _(pre_tanh, mean, log_std):
    """right for moderate u, but softplus is written out, log(1 + exp(-2u)), and exp(800) overflows to inf. F.softplus
    does not: for a large x it returns x itself."""
    log_slope = 2 * (LOG_2 - pre_tanh - torch.log1p(torch.exp(-2 * pre_tanh)))
    return (_normal(pre_tanh, mean, log_std) - log_slope).sum(-1)


@mutant("06.2", "cosh squared")
def _(pre_tanh, mean, log_std):
    """right for moderate u: the slope is 1 / cosh(u)^2. But at u = 400 cosh(u)^2 overflows to inf. Use 2 (log 2 - u -
    softplus(-2u)), the same in exact arithmetic."""
    return (_normal(pre_tanh, mean, log_std) - torch.log(1 / torch.cosh(pre_tanh) ** 2)).sum(-1)


@mutant("06.2", "logarithm of cosh")
def _(pre_tanh, mean, log_std):
    """right for moderate u: the slope's logarithm is -2 log cosh(u). But at u = 800 cosh(u) overflows to inf. Use 2
    (log 2 - u - softplus(-2u)), the same in exact arithmetic."""
    return (_normal(pre_tanh, mean, log_std) + 2 * torch.log(torch.cosh(pre_tanh))).sum(-1)


def _asked_about_u(checks):
    told = (
        "`log_prob` of the squashed distribution wants the *action*, and was given u: it takes atanh of u, which "
        f"{'stops with an error' if checks else 'is nan'} beyond 1. And an action that has rounded to 1 has no u: take "
        "the two parts from u yourself."
    )

    @mutant("06.2", f"transformed distribution asked about u, {'checked' if checks else 'unchecked'}", message=told)
    def _(pre_tanh, mean, log_std):
        normal = torch.distributions.Normal(mean, log_std.exp(), validate_args=False)
        squash: list[torch.distributions.transforms.Transform] = [torch.distributions.transforms.TanhTransform()]
        return torch.distributions.TransformedDistribution(normal, squash, checks).log_prob(pre_tanh).sum(-1)


for _checks in (True, False):
    _asked_about_u(_checks)


def _log_std_cut(low, high):
    told = (
        f"log_std is cut off at {low:g} and {high:g}. A policy may do that to what its network returns; the density is "
        "that of the log_std that it is given."
    )

    @mutant("06.2", f"log_std cut off at {low:g} and {high:g}", message=told)
    def _(pre_tanh, mean, log_std):
        log_std = log_std.clamp(low, high)
        return (_normal(pre_tanh, mean, log_std) - _log_slope(pre_tanh)).sum(-1)


for _low, _high in ((-20.0, 2.0), (-5.0, 2.0), (-3.5, 2.0), (-2.0, 2.0), (-5.0, 5.0), (-1.0, 1.0)):
    _log_std_cut(_low, _high)


@mutant("06.2", "log_std as std")
def _(pre_tanh, mean, log_std):
    """log_std is used as if it were the standard deviation. Take its exp first."""
    normal = torch.distributions.Normal(mean, log_std.abs(), validate_args=False).log_prob(pre_tanh)
    return (normal - _log_slope(pre_tanh)).sum(-1)


@mutant("06.2", "std squared")
def _(pre_tanh, mean, log_std):
    """(u - mean)^2 is divided by the standard deviation; the Gaussian divides by the *variance*, std^2."""
    normal = -0.5 * (pre_tanh - mean).square() / log_std.exp() - log_std - 0.5 * math.log(2 * math.pi)
    return (normal - _log_slope(pre_tanh)).sum(-1)


@mutant("06.2", "variance as std")
def _(pre_tanh, mean, log_std):
    """the variance stands where the standard deviation belongs: exp(log_std) is the standard deviation already."""
    return (_normal(pre_tanh, mean, 2 * log_std) - _log_slope(pre_tanh)).sum(-1)


@mutant("06.2", "log_std as log-variance")
def _(pre_tanh, mean, log_std):
    """log_std is used as the logarithm of the *variance*: half of it arrives. exp(log_std) is the standard
    deviation."""
    return (_normal(pre_tanh, mean, log_std / 2) - _log_slope(pre_tanh)).sum(-1)


@mutant("06.2", "plus log_std")
def _(pre_tanh, mean, log_std):
    """log_std has the wrong sign: a wider Gaussian is lower, so its log-density has *minus* log std."""
    return (_normal(pre_tanh, mean, log_std) + 2 * log_std - _log_slope(pre_tanh)).sum(-1)


@mutant("06.2", "whole log 2 pi")
def _(pre_tanh, mean, log_std):
    """the Gaussian divides by the *square root* of 2 pi: half of log(2 pi), in each dimension."""
    return (_normal(pre_tanh, mean, log_std) - 0.5 * math.log(2 * math.pi) - _log_slope(pre_tanh)).sum(-1)


@mutant("06.2", "no normaliser")
def _(pre_tanh, mean, log_std):
    """the Gaussian's constant is missing: minus log std and minus log(2 pi) / 2. Without it the density does not
    integrate to 1."""
    return (-0.5 * ((pre_tanh - mean) / log_std.exp()).square() - _log_slope(pre_tanh)).sum(-1)


@mutant("06.2", "softplus of -u")
def _(pre_tanh, mean, log_std):
    """softplus is taken of -u. In log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)) it is that of -2u: at u = 0 yours
    is right, at u = 1 it is 2 (0.69 - 1 - 0.31) = -1.24 in the place of -0.87."""
    return (_normal(pre_tanh, mean, log_std) - 2 * (LOG_2 - pre_tanh - F.softplus(-pre_tanh))).sum(-1)


@mutant("06.2", "slope for its log")
def _(pre_tanh, mean, log_std):
    """the slope 1 - tanh(u)^2 itself is subtracted. Densities are divided by it, so log-densities lose its
    *logarithm*."""
    return (_normal(pre_tanh, mean, log_std) - (1 - torch.tanh(pre_tanh) ** 2)).sum(-1)


@mutant("06.2", "z by log_std")
def _(pre_tanh, mean, log_std):
    """u - mean is divided by log_std. The standard deviation is exp(log_std)."""
    normal = -0.5 * ((pre_tanh - mean) / log_std).square() - log_std - 0.5 * math.log(2 * math.pi)
    return (normal - _log_slope(pre_tanh)).sum(-1)


@mutant("06.2", "no log 2 pi")
def _(pre_tanh, mean, log_std):
    """half of log(2 pi) is missing, in each dimension. Without it the density does not integrate to 1."""
    return (_normal(pre_tanh, mean, log_std) + 0.5 * math.log(2 * math.pi) - _log_slope(pre_tanh)).sum(-1)


@mutant("06.2", "slope at the mean")
def _(pre_tanh, mean, log_std):
    """the slope of tanh is taken at the mean. It belongs to the u that was drawn, pre_tanh."""
    return (_normal(pre_tanh, mean, log_std) - _log_slope(mean)).sum(-1)


# ---------------------------------------------------------------- 06.3
@exercise(
    "06.3",
    title="divide by the density",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=10,
    examples=(
        Example(
            (_numbers([1.0, 2.0, 2.0, 2.0]).log(), _numbers([0.25, 0.75, 0.75, 0.75]).log()),
            "the four candidates worked by hand: exp Q is 1, 2, 2, 2, their densities 1/4, 3/4, 3/4, 3/4",
        ),
        Example(
            (
                _numbers([[0.0, 1.0, -2.0, 0.5], [-3.0, -5.0, -9.0, -4.5]]),
                _numbers([[-0.7, -0.7, 1.0, 0.2], [-0.7, -0.7, -3.0, 2.0]]),
            ),
            "two states, four candidates",
        ),
        Example(
            (_numbers([[[0.1, 0.2], [0.5, 0.9]], [[1.0, -1.0], [0.0, 800.0]]]), _numbers([[0.3, -0.4], [-1.0, 2.0]])),
            "two critics, two states, two candidates",
            shown=False,
        ),
        Example(
            (_numbers([[0.7], [-1.3]]), _numbers([[-0.7, 0.4, 1.0, -0.2, 0.3], [-0.7, -2.0, 0.1, 0.6, 1.5]])),
            "a Q that is flat in the action, [2, 1], beside the densities of five candidates, [2, 5]",
        ),
        Example(
            (_numbers([[0.7, 0.1, -0.4], [-1.3, 2.0, 0.2]]), _numbers([[-0.7], [-1.4]])),
            "three candidates, [2, 3], that share one density a state, [2, 1]",
        ),
        Example(
            (
                _numbers([[0.2, -0.3, 0.1], [1.0, 0.5, -0.2], [-0.6, 0.4, 0.8]]),
                _numbers([[-790.0, -791.5, -0.3], [-40.0, -41.2, 6.0], [25.0, 26.1, 24.8]]),
            ),
            "log-densities of -790, -40 and 25",
        ),
    ),
    hints=(
        "Look at the four candidates: 1 / (1/4) = 4 and three times 2 / (3/4) = 8/3. Their mean is 3, the integral.",
        "exp(Q) / density is exp(Q - log density). Log of the mean of those: logsumexp over the last axis, minus the "
        "log of the number of candidates.",
        "weighted = q - ____; return torch.logsumexp(weighted, dim=-1) - math.log(weighted.shape[-1])",
    ),
    meaning="Any proposal will do, as long as each candidate is divided by the density it was drawn with.",
    steps=lambda q, log_density: {
        "Q minus log-density": q - log_density,
        "log of the sum of their exponentials": torch.logsumexp(q - log_density, dim=-1),
        "log of the number of candidates": math.log((q - log_density).shape[-1]),
    },
)
def log_partition(q, log_density):
    """Log of the mean over candidates of exp(Q) / density, each with its own density.

    [..., K], [..., K] -> [...]
    """
    weighted = q - log_density
    return torch.logsumexp(weighted, dim=-1) - math.log(weighted.shape[-1])


def _twice(name, function, message, seen=""):
    """Register a mistake with the right number of candidates, and with that of q alone, which may be 1."""

    def right(q, log_density):
        return function(q, log_density, torch.broadcast_shapes(q.shape, log_density.shape)[-1])

    def of_q(q, log_density):
        return function(q, log_density, q.shape[-1])

    mutant("06.3", name, seen=seen, message=message)(right)
    also = f"{message} Besides, count the candidates of q minus log_density: a flat q may be [..., 1]."
    mutant("06.3", f"{name}, K of q", seen=seen, message=also)(of_q)


_twice(
    "adds the density",
    lambda q, log_density, k: torch.logsumexp(q + log_density, -1) - math.log(k),
    "the density is multiplied in. The policy already visits its favourites more often; *dividing* by the density "
    "undoes that: q minus log_density.",
)
_twice(
    "density for its log",
    lambda q, log_density, k: torch.logsumexp(q - log_density.exp(), -1) - math.log(k),
    "you subtract the density. Inside the exponential a division is a subtraction of *logarithms*: log_density, as it "
    "came.",
)
_twice(
    "plus log K",
    lambda q, log_density, k: torch.logsumexp(q - log_density, -1) + math.log(k),
    "log K has the wrong sign: a mean divides the sum by K, so its log is *subtracted*.",
)
_twice(
    "Q over density",
    lambda q, log_density, k: torch.logsumexp(q / log_density.exp(), -1) - math.log(k),
    "Q itself is divided by the density. It is exp(Q) that is divided, and inside the exponential that is Q *minus* "
    "log_density.",
)
_twice(
    "Q over log-density",
    lambda q, log_density, k: torch.logsumexp(q / log_density, -1) - math.log(k),
    "Q is divided by the log-density. It is exp(Q) that is divided, by the density, and inside the exponential that is "
    "Q *minus* log_density.",
)


@mutant("06.3", "no density", seen="EmptyJackson/unifloral")
def _(q, log_density):
    """the densities are not used, so an action counts as often as it happens to be proposed. Divide each exp Q by
    its density."""
    return torch.logsumexp(q, -1) - math.log(q.shape[-1])


@mutant("06.3", "no density, K of both")
def _(q, log_density):
    """the densities are counted and not used, so an action counts as often as it happens to be proposed. Divide each
    exp Q by its density."""
    return torch.logsumexp(q, -1) - math.log((q - log_density).shape[-1])


@mutant("06.3", "one density for all")
def _(q, log_density):
    """all candidates of a state are divided by the same (average) density. Each has its own: subtract before the
    logsumexp, candidate by candidate."""
    return torch.logsumexp(q, -1) - math.log(q.shape[-1]) - log_density.mean(-1)


@mutant("06.3", "one density for all, K of both")
def _(q, log_density):
    """the average log-density of a state is subtracted after the logsumexp. Each candidate has its own: subtract before
    it, candidate by candidate."""
    return torch.logsumexp(q, -1) - math.log((q - log_density).shape[-1]) - log_density.mean(-1)


@mutant("06.3", "no log K", seen="the raw form of the official code and of most copies")
def _(q, log_density):
    """the number of candidates is missing: that is the log of a *sum* of weights, log K higher than the integral."""
    return torch.logsumexp(q - log_density, -1)


@mutant("06.3", "no logarithm")
def _(q, log_density):
    """that is the estimated integral itself; its logarithm is asked for, in units of Q."""
    return (q - log_density).exp().mean(-1)


@mutant("06.3", "overflow")
def _(q, log_density):
    """right for small values, but exp(800) overflows to inf. torch.logsumexp takes the largest value out before it
    exponentiates."""
    return (q - log_density).exp().mean(-1).log()


def _drowned(amount):
    told = (
        f"right for moderate values, but exp(800) overflows to inf, and {amount:g} inside the logarithm drowns a small "
        "sum. torch.logsumexp takes the largest value out before it exponentiates, and needs no such amount."
    )

    @mutant("06.3", f"{amount:g} inside the log", message=told)
    def _(q, log_density):
        return ((q - log_density).exp().mean(-1) + amount).log()


for _amount in (1e-6, 1e-8, 1e-9, 1e-10, 1e-12):
    _drowned(_amount)


@mutant("06.3", "largest of q alone")
def _(q, log_density):
    """the largest value is taken out before the exponential, good, but it is that of q alone: the exponential of minus
    log_density may overflow as well. Take out the largest of q minus log_density, as torch.logsumexp does."""
    largest = q.amax(-1, keepdim=True)
    return (q - log_density - largest).exp().mean(-1).log() + largest[..., 0]


def _density_cut(low, high):
    ends = f"{low:g}" if math.isinf(high) else f"{low:g} and {high:g}"
    told = (
        f"log_density is cut off at {ends}, as if no candidate were further out. logsumexp needs no cut: divide by the "
        "density as it is."
    )

    @mutant("06.3", f"densities cut off at {ends}", message=told)
    def _(q, log_density):
        weighted = q - log_density.clamp(low, high)
        return torch.logsumexp(weighted, -1) - math.log(weighted.shape[-1])


for _low, _high in ((-5.0, math.inf), (-10.0, math.inf), (-20.0, math.inf), (-20.0, 20.0), (-100.0, math.inf)):
    _density_cut(_low, _high)


@mutant("06.3", "K of the first axis")
def _(q, log_density):
    """you subtract the log of the *first* axis's length. The candidates are the last axis, and only there is K."""
    return torch.logsumexp(q - log_density, -1) - math.log((q - log_density).shape[0])


@mutant("06.3", "K of q alone")
def _(q, log_density):
    """right where q holds every candidate. A flat q may be [..., 1] and is broadcast: count the candidates of q minus
    log_density, not of q."""
    return torch.logsumexp(q - log_density, -1) - math.log(q.shape[-1])


@mutant("06.3", "K of the densities alone")
def _(q, log_density):
    """right where log_density holds one number a candidate. Where one density serves all it is [..., 1]: count the
    candidates of q minus log_density."""
    return torch.logsumexp(q - log_density, -1) - math.log(log_density.shape[-1])


@mutant("06.3", "self-normalised weights")
def _(q, log_density):
    """you divide by the sum of the weights 1 / density in the place of K. That normalises an *average* of exp Q under
    the uniform distribution, and the volume is lost; the integral is the plain mean of exp(Q) / density."""
    q, log_density = torch.broadcast_tensors(q, log_density)
    return torch.logsumexp(q - log_density, -1) - torch.logsumexp(-log_density, -1)


@mutant("06.3", "self-normalised weights, not broadcast")
def _(q, log_density):
    """you divide by the sum of the weights 1 / density in the place of K. That normalises an *average* of exp Q under
    the uniform distribution, and the volume is lost; the integral is the plain mean of exp(Q) / density. Besides, one
    density may serve all candidates, [..., 1]."""
    weights = torch.log_softmax(-log_density, -1)
    return torch.logsumexp(q + weights, -1)


@mutant("06.3", "ratio of sums")
def _(q, log_density):
    """that is one sum divided by another. The division is inside the sum: each exp(Q) by its own density."""
    return torch.logsumexp(q, -1) - torch.logsumexp(log_density, -1)


@mutant("06.3", "log outside")
def _(q, log_density):
    """you average the logarithms. The mean of exp(Q) / density estimates the integral; the logarithm comes after it."""
    return (q - log_density).mean(-1)


@mutant(
    "06.3",
    "in small groups",
    seen="OfflineRL-Kit and tianshou, where the result of a reshape is thrown away; torchrl by construction",
)
def _(q, log_density):
    """that is a log-sum-exp over a few candidates at a time, averaged. Averaging logs is lower than the log of the
    average: put all candidates of a state into one logsumexp."""
    pairs = (q - log_density).unflatten(-1, (2, -1))  # one candidate of each half
    return (torch.logsumexp(pairs, -2) - LOG_2).mean(-1)


@mutant("06.3", "largest weight")
def _(q, log_density):
    """that is the largest weight alone. Every candidate contributes: logsumexp, then minus log K."""
    return (q - log_density).amax(-1)


@mutant("06.3", "softmax")
def _(q, log_density):
    """those are the weights that the gradient will have. One number for the whole row is asked for: logsumexp,
    minus log K."""
    return torch.softmax(q - log_density, -1)


# ---------------------------------------------------------------- 06.4
@exercise(
    "06.4",
    title="one list of candidates, one density each",
    kind="build",
    difficulty=2,
    importance=5,
    minutes=8,
    examples=(
        Example(
            (_numbers([[0.3, -1.2]]), 3, 5),
            "one state: three uniform candidates, then two of the policy's; A = 5",
        ),
        Example(
            (_numbers([[0.5], [2.0]]), 3, 4), "two states, three uniform candidates and one of the policy's; A = 4"
        ),
        Example((_numbers([[4.0, -2.0, 0.0]]), 2, 6), "A = 6", shown=False),
    ),
    hints=(
        "A uniform action on [-1, 1]^A: what is the volume of the box, and so the density?",
        "A block [B, n_uniform] filled with minus A log 2, then the policy's log-densities, joined along the "
        "candidates' axis.",
        "uniform = policy_log_prob.new_full((policy_log_prob.shape[0], n_uniform), ____); return torch.cat([uniform, "
        "policy_log_prob], dim=1)",
    ),
    meaning="The uniform density is 2^-A: a constant at A = 1, a factor of 64 at A = 6.",
    steps=lambda policy_log_prob, n_uniform, action_dim: {"volume of the box": 2.0**action_dim},
)
def candidate_log_density(policy_log_prob, n_uniform, action_dim):
    """Log-densities of n_uniform uniform candidates, then those of the policy's.

    [B, N] -> [B, n_uniform + N]
    """
    uniform = policy_log_prob.new_full((policy_log_prob.shape[0], n_uniform), -action_dim * math.log(2))
    return torch.cat([uniform, policy_log_prob], dim=1)


def _with_uniform(log_prob: Tensor, n: int, value: float) -> Tensor:
    return torch.cat([log_prob.new_full((len(log_prob), n), value), log_prob], 1)


@mutant(
    "06.4",
    "no uniform density",
    seen="many descriptions of the algorithm, the one this course began with among them",
)
def _(policy_log_prob, n_uniform, action_dim):
    """the uniform candidates have log-density 0, that is density 1. Theirs is 1 / 2^A; leaving it out makes every
    uniform candidate count 2^A times too little, the more so the more dimensions there are."""
    return _with_uniform(policy_log_prob, n_uniform, 0.0)


@mutant("06.4", "one dimension", seen="asked in takuseno/d3rlpy#147")
def _(policy_log_prob, n_uniform, action_dim):
    """log 0.5 is the density of *one* dimension. The density of the whole action is 0.5^A: its log is A times log
    0.5."""
    return _with_uniform(policy_log_prob, n_uniform, -LOG_2)


@mutant("06.4", "power turned round", seen="ray-project/ray, the new learner before its repair")
def _(policy_log_prob, n_uniform, action_dim):
    """base and exponent are swapped: A to the power 0.5. The density is 0.5 to the power A."""
    return _with_uniform(policy_log_prob, n_uniform, math.log(action_dim**0.5))


@mutant("06.4", "sign")
def _(policy_log_prob, n_uniform, action_dim):
    """that is the log of the *volume*. The density is one over it: minus A log 2."""
    return _with_uniform(policy_log_prob, n_uniform, action_dim * LOG_2)


@mutant("06.4", "density for its log")
def _(policy_log_prob, n_uniform, action_dim):
    """0.5^A is the density; the list holds log-densities. Take its log: minus A log 2."""
    return _with_uniform(policy_log_prob, n_uniform, 0.5**action_dim)


@mutant("06.4", "2 times A")
def _(policy_log_prob, n_uniform, action_dim):
    """the volume of the box is 2 to the *power* A, not 2 times A: its density is 0.5^A, with log minus A log 2."""
    return _with_uniform(policy_log_prob, n_uniform, -math.log(2 * action_dim))


@mutant("06.4", "power of the log")
def _(policy_log_prob, n_uniform, action_dim):
    """you raise the logarithm to the power A. The *density* is raised to it, and its log is therefore A times log
    0.5."""
    return _with_uniform(policy_log_prob, n_uniform, (-LOG_2) ** action_dim)


@mutant("06.4", "one over n")
def _(policy_log_prob, n_uniform, action_dim):
    """that is the log of one over the number of candidates, which does not say how they were drawn. The density of
    a uniform action is 0.5^A: minus A log 2."""
    return _with_uniform(policy_log_prob, n_uniform, -math.log(n_uniform))


@mutant("06.4", "as many as the policy's")
def _(policy_log_prob, n_uniform, action_dim):
    """there are as many uniform entries as the policy has; `n_uniform` says how many there must be."""
    return torch.cat([torch.full_like(policy_log_prob, -action_dim * LOG_2), policy_log_prob], 1)


@mutant("06.4", "uniform for all")
def _(policy_log_prob, n_uniform, action_dim):
    """the policy's candidates are given the uniform density as well. Each keeps the density it was drawn with."""
    rows, n_policy = policy_log_prob.shape
    return policy_log_prob.new_full((rows, n_uniform + n_policy), -action_dim * LOG_2)


@mutant("06.4", "other order")
def _(policy_log_prob, n_uniform, action_dim):
    """the policy's candidates stand first. The Q-values are ordered [uniform | policy]: a density beside the wrong
    candidate is a wrong density."""
    return _with_uniform(policy_log_prob, n_uniform, -action_dim * LOG_2).roll(-n_uniform, 1)


@mutant("06.4", "divided among candidates")
def _(policy_log_prob, n_uniform, action_dim):
    """you divide the density by the number of candidates. A density says how one action is drawn; how many are
    drawn is log_partition's business."""
    return _with_uniform(policy_log_prob, n_uniform, -action_dim * LOG_2 - math.log(n_uniform))


@mutant("06.4", "A to the power -2")
def _(policy_log_prob, n_uniform, action_dim):
    """that is the log of one over A *squared*. The volume of the box is 2 to the power A: the log-density is minus A
    log 2, not minus 2 log A."""
    return _with_uniform(policy_log_prob, n_uniform, -2 * math.log(action_dim))


@mutant("06.4", "minus log K")
def _(policy_log_prob, n_uniform, action_dim):
    """log K is subtracted from every log-density. A density says how one action is drawn; the mean over the candidates
    is taken once, after the log-sum-exp."""
    list_of_all = _with_uniform(policy_log_prob, n_uniform, -action_dim * LOG_2)
    return list_of_all - math.log(list_of_all.shape[1])


@mutant("06.4", "policy's sign")
def _(policy_log_prob, n_uniform, action_dim):
    """the policy's log-densities arrive with the other sign. They stay as they are: log_partition subtracts them."""
    return _with_uniform(-policy_log_prob, n_uniform, -action_dim * LOG_2)


@mutant("06.4", "one dimension, power of n")
def _(policy_log_prob, n_uniform, action_dim):
    """that is n_uniform times log 0.5: you count the candidates. The density of one uniform action depends on its
    dimensions: A times log 0.5."""
    return _with_uniform(policy_log_prob, n_uniform, -n_uniform * LOG_2)


@mutant("06.4", "one over A")
def _(policy_log_prob, n_uniform, action_dim):
    """that is the log of 1 / A. The box has length 2 in each of A dimensions, so its volume is 2 to the power A and the
    log-density minus A log 2."""
    return _with_uniform(policy_log_prob, n_uniform, -math.log(action_dim))


@mutant("06.4", "divided by A")
def _(policy_log_prob, n_uniform, action_dim):
    """log 2 is divided by A. Every dimension adds one log 2: the log-density is minus A *times* log 2."""
    return _with_uniform(policy_log_prob, n_uniform, -LOG_2 / action_dim)


@mutant("06.4", "2 A without a logarithm")
def _(policy_log_prob, n_uniform, action_dim):
    """minus 2 A: the logarithm of the 2 is missing. The density is 2 to the power -A, its log minus A log 2."""
    return _with_uniform(policy_log_prob, n_uniform, -2 * action_dim)


@mutant("06.4", "A without log 2")
def _(policy_log_prob, n_uniform, action_dim):
    """minus A: log 2 is missing. The density is 2 to the power -A, its log minus A log 2."""
    return _with_uniform(policy_log_prob, n_uniform, -action_dim)


# ---------------------------------------------------------------- 06.5
@exercise(
    "06.5",
    title="as if drawn from the mixture",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=8,
    examples=(
        Example(
            (_numbers([[0.5, 0.5, 0.5], [1.5, 0.1, 0.3]]).log(),),
            "two proposals, three candidates: densities 0.5, 0.5, 0.5 and 1.5, 0.1, 0.3",
        ),
        Example(
            (_numbers([[[-0.7, -0.7]], [[2.0, -3.0]], [[1.0, 0.0]]]),),
            "three proposals, one state, two candidates",
        ),
        Example(
            (_numbers([[[-4.0, 900.0], [-950.0, -4.0]], [[-800.0, 3.0], [-900.0, -1.0]]]),),
            "two policies that would never have proposed one of them, and one that is certain of another",
            shown=False,
        ),
    ),
    hints=(
        "For the first candidate the densities are 0.5 and 1.5. Half of the candidates are drawn with one, half with "
        "the other: how likely is it under the mixture?",
        "Log of the mean over proposals (axis 0) of the densities: logsumexp over axis 0, minus the log of the number "
        "of proposals.",
        "return torch.logsumexp(each, dim=____) - math.log(each.shape[0])",
    ),
    meaning=(
        "A candidate is divided by how likely it was under all proposals together, so no single draw from a sharp "
        "policy's tail can dominate the sum."
    ),
    steps=lambda each: {
        "log of the sum of the densities": torch.logsumexp(each, dim=0),
        "log of the number of proposals": math.log(each.shape[0]),
    },
)
def mixture_log_density(each):
    """Log-density of the equal mixture of P proposals at every candidate.

    [P, ..., K] -> [..., K]
    """
    return torch.logsumexp(each, dim=0) - math.log(each.shape[0])


@mutant("06.5", "mean of the logs")
def _(each):
    """the logarithms are averaged, which makes the mixture tiny wherever one proposal is. Densities add: average
    the densities, then take the log."""
    return each.mean(0)


@mutant("06.5", "sum")
def _(each):
    """that is the *sum* of the densities, which integrates to the number of proposals. Divide by it: minus log P."""
    return torch.logsumexp(each, 0)


@mutant("06.5", "largest")
def _(each):
    """the largest density alone. The mixture is the mean of all of them."""
    return each.amax(0)


@mutant("06.5", "over candidates")
def _(each):
    """you average over the candidates (the last axis). Each candidate keeps its own number: average over the
    proposals, axis 0."""
    return torch.logsumexp(each, -1) - math.log(each.shape[-1])


@mutant("06.5", "minus log K")
def _(each):
    """you divide by the number of candidates. The mixture is a mean over *proposals*: minus log P, the size of
    axis 0."""
    return torch.logsumexp(each, 0) - math.log(each.shape[-1])


@mutant("06.5", "overflow")
def _(each):
    """right for small numbers, but exp(900) is inf and exp(-900) is 0, whose logarithm is minus infinity.
    torch.logsumexp takes the largest term out before it exponentiates."""
    return each.exp().mean(0).log()


@mutant("06.5", "no logarithm")
def _(each):
    """that is the density itself; its logarithm is asked for."""
    return each.exp().mean(0)


@mutant("06.5", "first proposal")
def _(each):
    """only the first proposal's density is used. A candidate could have come from any of them."""
    return each[0]


@mutant("06.5", "product of the densities")
def _(each):
    """the log-densities are added up: that multiplies the densities, as for a candidate that *all* proposals drew. One
    of them drew it: average the densities, then take the log."""
    return each.sum(0)


@mutant("06.5", "plus log P")
def _(each):
    """log P has the wrong sign: the mean divides the sum of the densities by P, so its log is *subtracted*."""
    return torch.logsumexp(each, 0) + math.log(each.shape[0])


@mutant("06.5", "divided outside the log")
def _(each):
    """the logarithm of the sum is divided by P. It is the sum that is divided, before the logarithm: *subtract* log
    P."""
    return torch.logsumexp(each, 0) / each.shape[0]


@mutant("06.5", "always two proposals")
def _(each):
    """log 2 is subtracted, whatever the number of proposals: right for two. It is the log of their number, the size of
    axis 0."""
    return torch.logsumexp(each, 0) - LOG_2


@mutant("06.5", "the first two proposals")
def _(each):
    """only the first two proposals are mixed. There may be more: all along axis 0."""
    return torch.logaddexp(each[0], each[1]) - LOG_2


@mutant("06.5", "clamped")
def _(each):
    """right for small numbers. Clamping very large and very small log-densities keeps exp finite and makes it another
    number: torch.logsumexp takes the largest term out before it exponentiates, and needs no clamp."""
    return each.clamp(-700, 700).exp().mean(0).log()


@mutant("06.5", "one shift for all")
def _(each):
    """the largest term is taken out before the exponential, good, but it is that of *all* candidates: beside 900 the
    others round to 0. Each candidate has its own largest term, and torch.logsumexp takes it."""
    return (each - each.max()).exp().mean(0).log() + each.max()


@mutant("06.5", "divided inside the exponential")
def _(each):
    """each log-density is divided by P, which takes a root of each density. It is the sum of the densities that is
    divided: subtract log P after the logsumexp."""
    return torch.logsumexp(each / each.shape[0], 0)


@mutant("06.5", "a proposal too many")
def _(each):
    """a log-density of 0 is in the sum, a proposal of density 1 too many. A running logaddexp starts from the first
    proposal, or from minus infinity."""
    return torch.logsumexp(torch.cat([each, torch.zeros_like(each[:1])]), 0) - math.log(each.shape[0])


@mutant("06.5", "root of P for its log")
def _(each):
    """the square root of P is subtracted. A mean divides by P, so its logarithm loses the *logarithm* of P."""
    return torch.logsumexp(each, 0) - each.shape[0] ** 0.5


@mutant("06.5", "P for its log")
def _(each):
    """P itself is subtracted. A mean divides by P, so its logarithm loses the *logarithm* of P."""
    return torch.logsumexp(each, 0) - each.shape[0]


# ---------------------------------------------------------------- 06.6
LISTING = """\
 1  rand_a = 2 * torch.rand(B, N, A) - 1
 2  rand_logp = A * math.log(0.5)
 3  mean, log_std = actor(obs)
 4  u = mean[:, None] + log_std.exp()[:, None] * torch.randn(B, N, A)
 5  pi_a = torch.tanh(u)
 6  pi_logp = Normal(mean[:, None], log_std.exp()[:, None]).log_prob(u)
 7  pi_logp = (pi_logp - torch.log(1 - torch.tanh(pi_a) ** 2 + 1e-7)).sum(-1)
 8  q_rand = critic(obs, rand_a) - rand_logp
 9  q_pi = critic(obs, pi_a) - pi_logp.detach()
10  estimate = torch.logsumexp(torch.cat([q_rand, q_pi], 1), 1) - math.log(2 * N)"""


@exercise(
    "06.6",
    title="the wrong line of a listing",
    kind="read",
    difficulty=3,
    importance=4,
    minutes=6,
    examples=(Example((), "the listing of ten lines above", shown=False),),
    hints=(
        "Check each line against the exercise that it answers: 06.1 to 06.5.",
        "Which quantity does the slope of tanh belong to, the one before tanh or the one after it?",
        "return ____  # the line of the Jacobian",
    ),
    meaning=(
        "Line 7 takes tanh of an action that has been through tanh already. The slope is 1 - pi_a ** 2. The mistake "
        "was found in a published textbook's code; nothing crashes, and every density of the policy is too low."
    ),
)
def wrong_line():
    """The number of the one wrong line.

    -> an integer from 1 to 10
    """
    return 7


def _line(number, message):
    wrong_choice("06.6", f"line {number}", number, message)


_line(1, "line 1 is right: torch.rand gives numbers in [0, 1), and these are stretched to [-1, 1).")
_line(2, "line 2 is right: the density of a uniform action is one half to the power A.")
_line(3, "line 3 is right: the actor gives mean and log_std at the observations, [B, A] each.")
_line(4, "line 4 is right: mean plus standard deviation times noise, with an axis of one for the candidates.")
_line(5, "line 5 is right: the action is tanh(u), and u is kept.")
_line(6, "line 6 is right: the log-density of u, one number a dimension; the sum comes one line later.")
_line(
    8,
    "line 8 is right: Q minus the log-density that drew the candidates, one number for all of them. The critic is "
    "meant to take [B, N, A].",
)
_line(9, "line 9 is right: Q carries its gradient, the density is a constant.")
_line(10, "line 10 is right: one log-sum-exp a state over its 2 N candidates, minus the log of their number.")


# ---------------------------------------------------------------- 06.7
BARS = {"gentle": 0.6, "steep": 2.0}  # nats; twenty uniform candidates meet the first, half and half the second
BUDGET = 20


def judge_recipe(found):
    """None if the recipe meets both bars, else what was measured on which bandit."""
    try:
        *counts, weights = found
        n_uniform, n_policy = (int(count) for count in counts)
        counts_are_whole = counts == [n_uniform, n_policy]  # 17.0 is as whole as 17
    except (TypeError, ValueError, OverflowError):
        counts_are_whole, weights = False, ""
    if not counts_are_whole or weights not in ("own", "mixture"):
        return 'wanted are two whole numbers and a word, as in (3, 4, "own") or (3, 4, "mixture").'
    if min(n_uniform, n_policy) < 0:
        return f"{min(n_uniform, n_policy)} is no number of candidates: none, or more."
    if not 0 < n_uniform + n_policy <= BUDGET:
        return f"that is {n_uniform + n_policy} candidates; the budget is {BUDGET}, and at least one."
    missed = []
    for name, heights in (("gentle", GENTLE), ("steep", STEEP)):
        error = recipe_error(heights, n_uniform, n_policy, weights)
        if error > BARS[name]:
            missed.append(f"on the {name} bandit the error is {error:.2f} nats, and {BARS[name]:.2f} is the bar")
    if not missed:
        return None
    why = " Own densities give each of the policy's candidates the weight of the little region that it covers."
    return f"{'; '.join(missed)}.{why if weights == 'own' and n_uniform and n_policy else ''}"


@exercise(
    "06.7",
    title="twenty candidates for any critic",
    kind="design",
    difficulty=4,
    importance=4,
    minutes=10,
    judge=judge_recipe,
    examples=(Example((), "a sharp policy (standard deviation 0.05) in six dimensions, on two bandits", shown=False),),
    hints=(
        "Each half of the table of 06.p4 has a winner. Which of the two mistakes is the more expensive: to have too "
        "few uniform candidates on the gentle bandit, or no policy candidate at all on the steep one?",
        "On the steep bandit a single candidate near the peak finds most of the integral, if it is weighed by the "
        "mixture. How many do you need?",
        'return ____, ____, "mixture"',
    ),
    meaning=(
        "Few policy candidates with mixture weights are an insurance: they cost next to nothing where the integral is "
        "spread out, and find it where it is piled up at the policy."
    ),
)
def recipe():
    """Twenty candidates at most that meet both bars: how many uniform, how many of the policy, weighed how.

    -> (n_uniform, n_policy, "own" or "mixture")
    """
    return 17, 3, "mixture"


@mutant("06.7", "all uniform")
def _():
    """uniform candidates alone: best where exp Q is spread out, and blind where it is piled up at one point."""
    return 20, 0, "own"


@mutant("06.7", "all uniform, mixture")
def _():
    """uniform candidates alone, for which both weights are the same: blind where exp Q is piled up at one point."""
    return 20, 0, "mixture"


@mutant("06.7", "half and half, own densities")
def _():
    """the official recipe without its third proposal: a sharp policy's half finds next to nothing of a gentle integral,
    and the mean is half of it."""
    return 10, 10, "own"


@mutant("06.7", "half and half, mixture")
def _():
    """half and half with mixture weights is good on the steep bandit. On the gentle one ten of the twenty evaluations
    are spent where little of the integral lies."""
    return 10, 10, "mixture"


@mutant("06.7", "all policy, own")
def _():
    """the policy alone reports only the small region that it visits."""
    return 0, 20, "own"


@mutant("06.7", "all policy, mixture")
def _():
    """the policy alone reports only the small region that it visits; a mixture of one proposal is that proposal."""
    return 0, 20, "mixture"


@mutant("06.7", "mostly policy")
def _():
    """mostly the policy: two uniform candidates are too few for an integral that is spread out."""
    return 2, 18, "mixture"


@mutant("06.7", "few of the policy, own densities")
def _():
    """few of the policy's is a good thought, but the weights lose it: on the steep bandit its candidates hardly count,
    until one of them counts for far too much."""
    return 17, 3, "own"


@mutant("06.7", "over the budget")
def _():
    """more candidates help, but they have to be paid: each is a forward and a backward pass of every critic."""
    return 30, 10, "mixture"


# ---------------------------------------------------------------- 06.8
def critic_example(observations, actions):
    """Q(s, a) = s * a."""
    return observations[:, None] * actions


def log_prob_example(observations, u):
    """A log-density that falls linearly with the distance between u and s."""
    return -(u - observations[:, None]).abs()


def other_critic(observations, actions):
    """Q(s, a) = (a - s)^2 - a."""
    return (actions - observations[:, None]).square() - actions


def other_log_prob(observations, u):
    """A log-density that falls with the square of the distance between u and half of s."""
    return -0.5 * (u - 0.5 * observations[:, None]).square() - 0.3


@exercise(
    "06.8",
    title="the third proposal",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=8,
    examples=(
        Example(
            (
                critic_example,
                log_prob_example,
                _numbers([1.0, 2.0]),
                _numbers([3.0, -1.0]),
                _numbers([[0.0, 1.0, -0.7], [-0.5, 0.6, 1.4]]),
            ),
            "Q(s, a) = s a; log pi(a|s) = -|u - s|; s = 1 and 2, s' = 3 and -1; three u for each",
        ),
        Example(
            (
                critic_example,
                log_prob_example,
                _numbers([0.5, -1.0, 4.0]),
                _numbers([0.6, -1.2, 3.0]),
                _numbers([[0.2], [9.0], [-8.0]]),  # a tanh that a clamp moves
            ),
            "three states, one action each",
            shown=False,
        ),
        Example(
            (
                other_critic,
                other_log_prob,
                _numbers([1.0, -0.4]),
                _numbers([0.3, 1.7]),
                _numbers([[0.2, -1.1, 0.8], [1.5, -0.6, 0.4]]),
            ),
            "another critic and another policy: Q(s, a) = (a - s)^2 - a; log pi(a|s) = -(u - s / 2)^2 / 2 - 0.3",
        ),
    ),
    hints=(
        "Two functions, two observations. Where is the integral taken, and who drew the actions?",
        "Q at the current observation and the action tanh(u), minus the log-density of u under the policy at the "
        "*next* observation.",
        "return critic(____, torch.tanh(u)) - log_prob(____, u)",
    ),
    meaning=(
        "A proposal may come from anywhere, even from another state's policy, if it is scored at s and divided by its "
        "own density."
    ),
)
def third_proposal(critic, log_prob, observations, next_observations, u):
    """Q minus log-density at the current observations, for actions tanh(u) drawn from pi(.|s').

    u [B, N] -> [B, N]
    """
    return critic(observations, torch.tanh(u)) - log_prob(next_observations, u)


@mutant(
    "06.8",
    "scored at s'",
    seen="RLlib's module and unifloral; in OfflineRL-Kit#12 hopper-medium fell from 95 to 60",
)
def _(critic, log_prob, observations, next_observations, u):
    """the critic is asked about s'. The integral over actions is taken *at s*: pi(.|s') only proposes, its actions
    are scored at s."""
    return critic(next_observations, torch.tanh(u)) - log_prob(next_observations, u)


@mutant("06.8", "density of pi(.|s)")
def _(critic, log_prob, observations, next_observations, u):
    """these actions were drawn at s', so their density is that of pi(.|s'). Divide by the density that *drew* them."""
    return critic(observations, torch.tanh(u)) - log_prob(observations, u)


@mutant("06.8", "both swapped")
def _(critic, log_prob, observations, next_observations, u):
    """both observations are the wrong way round: the critic is asked at s, the density belongs to s'."""
    return critic(next_observations, torch.tanh(u)) - log_prob(observations, u)


@mutant("06.8", "no density", seen="EmptyJackson/unifloral")
def _(critic, log_prob, observations, next_observations, u):
    """the density is missing: a candidate from a sharp policy would count as if drawn with density 1."""
    return critic(observations, torch.tanh(u))


@mutant("06.8", "density for its log")
def _(critic, log_prob, observations, next_observations, u):
    """log_prob returns the log-density already; subtract it as it comes."""
    return critic(observations, torch.tanh(u)) - log_prob(next_observations, u).exp()


@mutant("06.8", "slope counted twice")
def _(critic, log_prob, observations, next_observations, u):
    """the logarithm of the slope of tanh is subtracted once more. log_prob is the log-density of the *action* tanh(u)
    under the policy: the slope is in it already."""
    slope = 2 * (LOG_2 - u - F.softplus(-2 * u))
    return critic(observations, torch.tanh(u)) - log_prob(next_observations, u) - slope


@mutant("06.8", "atanh")
def _(critic, log_prob, observations, next_observations, u):
    """u is sent through atanh, which is not finite beyond 1. u is the number *before* tanh: the action is tanh(u)."""
    return critic(observations, torch.atanh(u)) - log_prob(next_observations, u)


@mutant("06.8", "plus the density")
def _(critic, log_prob, observations, next_observations, u):
    """the density is multiplied in. Dividing by it subtracts the log-density."""
    return critic(observations, torch.tanh(u)) + log_prob(next_observations, u)


@mutant("06.8", "u for the action")
def _(critic, log_prob, observations, next_observations, u):
    """the critic is given u, which may lie outside [-1, 1]. The action is tanh(u)."""
    return critic(observations, u) - log_prob(next_observations, u)


@mutant("06.8", "action for u")
def _(critic, log_prob, observations, next_observations, u):
    """log_prob wants the u before tanh, the critic the action after it."""
    return critic(observations, torch.tanh(u)) - log_prob(next_observations, torch.tanh(u))


def _by_hand(what, **written):
    told = (
        f"{what}, as in the first example. `critic` and `log_prob` are handed to you, and the next ones are others: "
        "call them."
    )

    @mutant("06.8", what, message=told)
    def _(critic, log_prob, observations, next_observations, u):
        critic, log_prob = written.get("critic", critic), written.get("log_prob", log_prob)
        return critic(observations, torch.tanh(u)) - log_prob(next_observations, u)


_by_hand("you write out both functions", critic=critic_example, log_prob=log_prob_example)
_by_hand("you write out Q(s, a) = s a", critic=critic_example)
_by_hand("you write out log pi(a|s) = -|u - s|", log_prob=log_prob_example)


@mutant("06.8", "smaller of the two densities")
def _(critic, log_prob, observations, next_observations, u):
    """the smaller of two densities is subtracted, that of pi(.|s) and that of pi(.|s'). Only pi(.|s') drew these
    actions."""
    drew = torch.minimum(log_prob(next_observations, u), log_prob(observations, u))
    return critic(observations, torch.tanh(u)) - drew


@mutant("06.8", "larger of the two densities")
def _(critic, log_prob, observations, next_observations, u):
    """the larger of two densities is subtracted, that of pi(.|s) and that of pi(.|s'). Only pi(.|s') drew these
    actions."""
    drew = torch.maximum(log_prob(next_observations, u), log_prob(observations, u))
    return critic(observations, torch.tanh(u)) - drew


@mutant("06.8", "mean of the two densities")
def _(critic, log_prob, observations, next_observations, u):
    """the mean of two log-densities is subtracted, that of pi(.|s) and that of pi(.|s'). Only pi(.|s') drew these
    actions."""
    drew = 0.5 * (log_prob(next_observations, u) + log_prob(observations, u))
    return critic(observations, torch.tanh(u)) - drew


@mutant("06.8", "density averaged")
def _(critic, log_prob, observations, next_observations, u):
    """all candidates of a row lose the mean of their log-densities. Each is divided by its own: no mean."""
    return critic(observations, torch.tanh(u)) - log_prob(next_observations, u).mean(1, keepdim=True)


for _edge in (0.99, 0.999, 0.9999, 1 - 1e-6):

    @mutant(
        "06.8",
        f"back from the action, cut at {_edge:g}",
        message=f"u is computed back from an action that was cut off at {_edge:g}: beyond the cut it is another u. "
        "u is given: hand it to log_prob as it is, and tanh(u) to the critic.",
    )
    def _(critic, log_prob, observations, next_observations, u, edge=_edge):
        action = torch.tanh(u).clamp(-edge, edge)
        return critic(observations, action) - log_prob(next_observations, torch.atanh(action))


# ---------------------------------------------------------------- predictions
prediction(
    "06.p1",
    "Ten uniform actions give one estimate of the log-integral. Repeat it many times, in six dimensions: how do the "
    "estimates compare with the truth?",
    answer="b",
    a=(
        "right on average: a sample mean is unbiased",
        "The mean of exp Q is unbiased; its *logarithm* is not, because the logarithm is concave (Jensen's "
        "inequality).",
    ),
    b=(
        "too low on average",
        "The mean of exp Q is unbiased, and the logarithm of a noisy mean is on average lower than the logarithm of "
        "the mean (Jensen's inequality).",
    ),
    c=(
        "too high on average",
        "Large values of exp Q dominate the sum, but they are also the ones that a small sample misses: the estimate "
        "is low.",
    ),
)

prediction(
    "06.p2",
    "Now a sharp policy that sits on the best action proposes ten candidates in six dimensions, each properly divided "
    "by its density. The estimate of the log-integral is typically...",
    answer="c",
    a=(
        "about right: dividing by the density makes it unbiased",
        "Unbiased before the log, thanks to samples in the policy's far tail, where the weight is astronomical. Ten "
        "samples never contain one.",
    ),
    b=(
        "much too high, since it looks only at the best action",
        "That is what happens *without* the density. With it, each candidate stands only for the small region that "
        "the policy covers.",
    ),
    c=(
        "much too low",
        "It is the log of the integral over the small region that the policy visits. What makes the average come out "
        "right are weights that ten samples never see.",
    ),
)

prediction(
    "06.p3",
    "A thousand uniform candidates and a thousand from the sharp policy, each divided by its own density, in six "
    "dimensions. By how much is the estimate off?",
    answer="a",
    a=(
        "about -log 2",
        "The policy's half of the sum finds next to nothing, so the mean is half the integral: log 2 too low, until a "
        "sample falls into the policy's far tail.",
    ),
    b=(
        "hardly at all: two thousand candidates are plenty",
        "The uniform thousand alone would be right. The policy's thousand find next to nothing, and the mean over "
        "both is half of what it should be.",
    ),
    c=("about -6 log 2", "That is the offset of a forgotten uniform density."),
)

prediction(
    "06.p4",
    "Twenty critic evaluations in six dimensions, on the bandit used so far (with the sharp policy on its best "
    "action). Which recipe has the smallest root-mean-square error?",
    answer="a",
    a=(
        "twenty uniform actions",
        "exp Q is not steep here: the little region that the policy covers holds next to nothing of the integral, so "
        "its candidates are wasted.",
    ),
    b=(
        "ten uniform and ten from the policy, own densities",
        "The policy's candidates pull the mean down by up to log 2 and add little.",
    ),
    c=(
        "ten uniform and ten from the policy, mixture weights",
        "The mixture repairs the weights, but half of the evaluations are still spent where little of the integral "
        "lies. On a steep Q it wins.",
    ),
)

prediction(
    "06.p5",
    "Thirty candidates on a trained critic: half uniform and half from pi(.|s), against a third each from uniform, "
    "pi(.|s) and pi(.|s'). The third proposal makes the error of the log-integral...",
    answer="b",
    a=(
        "smaller: it brings other actions",
        "Other actions help only where they carry a part of the integral that the first two miss.",
    ),
    b=(
        "no smaller, at most half as large again",
        "The next state's policy is nearly this state's: its candidates replace uniform ones and bring nothing new.",
    ),
    c=(
        "much larger: its density belongs to another state",
        "Any proposal is right if each candidate is divided by the density that drew it.",
    ),
)


# ---------------------------------------------------------------- quiz
quiz_question(
    "06.a",
    "Why is the policy's log-density subtracted inside the log-sum-exp?",
    answer="c",
    a=(
        "it is an entropy bonus, as in SAC: the penalty is to prefer policies that stay wide and random",
        "It looks like one, but no temperature stands before it, and no gradient goes into it.",
    ),
    b=(
        "it makes unlikely actions count less, so that the sum is not ruled by what nobody would do",
        "It makes them count *more*: they stand for a region that is rarely visited.",
    ),
    c=(
        "an action is proposed in proportion to its density; dividing by it leaves exp Q alone",
        "Then any proposal estimates the same integral.",
    ),
)

quiz_question(
    "06.b",
    "Raw logsumexp, no division by the number of candidates. A colleague doubles the number of candidates of every "
    "proposal. What changes?",
    answer="b",
    a=(
        "the gradient of the critic doubles, and with it the strength of the penalty at a given alpha",
        "The weights in the gradient are a softmax, which sums to 1 whatever the number of candidates.",
    ),
    b=(
        "the penalty rises by about log 2, and with it what a Lagrange target means",
        "The sum has twice as many terms. Its gradient is that of a better estimate; the constant matters only to "
        "whoever compares the value with a number.",
    ),
    c=(
        "nothing, as the log-sum-exp is a mean over the candidates",
        "Nothing about its gradient's expectation at large N, but the value itself rises by about log 2.",
    ),
)

quiz_question(
    "06.c",
    "Six dimensions, a very sharp policy: own densities are about log 2 low, mixture weights are not. What does that "
    "log 2 do to the critic's gradient?",
    answer="a",
    a=(
        "next to nothing: all candidates that carry weight shift by the same constant",
        "A constant inside logsumexp is a constant outside; the softmax weights stay. It shifts what a Lagrange "
        "target means.",
    ),
    b=(
        "it doubles the push-down on every candidate, as a factor of two in the sum would",
        "The weights of the push-down sum to 1 in both.",
    ),
    c=(
        "it turns the push-down towards the uniform candidates only",
        "The uniform candidates carry nearly all the weight in both weightings here.",
    ),
)
