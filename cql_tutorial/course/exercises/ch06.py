"""Exercises of chapter 06, estimating the log-sum-exp over continuous actions: on candidates, ``[..., K]``."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checker import Example, Exercise, Mutant
from ..session import Question

DOUBLE = torch.float64
LOG_2 = math.log(2.0)


def _numbers(values: object) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


# ---------------------------------------------------------------- 06.1
def uniform_log_integral(q, action_dim):
    """Log of the estimated integral of exp Q over [-1, 1]^action_dim from uniform candidates.

    [..., K] -> [...]
    """
    return torch.logsumexp(q, dim=-1) - math.log(q.shape[-1]) + action_dim * math.log(2)


# ---------------------------------------------------------------- 06.2
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


# ---------------------------------------------------------------- 06.3
def log_partition(q, log_density):
    """Log of the mean over candidates of exp(Q) / density, each with its own density.

    [..., K], [..., K] -> [...]
    """
    weighted = q - log_density
    return torch.logsumexp(weighted, dim=-1) - math.log(weighted.shape[-1])


def _in_groups(q: Tensor, log_density: Tensor) -> Tensor:
    """A log-sum-exp over one candidate of each half, averaged: what a lost reshape does."""
    pairs = (q - log_density).unflatten(-1, (2, -1))
    return (torch.logsumexp(pairs, -2) - LOG_2).mean(-1)


# ---------------------------------------------------------------- 06.4
def candidate_log_density(policy_log_prob, n_uniform, action_dim):
    """Log-densities of n_uniform uniform candidates, then those of the policy's.

    [B, N] -> [B, n_uniform + N]
    """
    uniform = policy_log_prob.new_full((policy_log_prob.shape[0], n_uniform), -action_dim * math.log(2))
    return torch.cat([uniform, policy_log_prob], dim=1)


def _with_uniform(log_prob: Tensor, n: int, value: float) -> Tensor:
    return torch.cat([log_prob.new_full((len(log_prob), n), value), log_prob], 1)


# ---------------------------------------------------------------- 06.5
def mixture_log_density(each):
    """Log-density of the equal mixture of P proposals at every candidate.

    [P, ..., K] -> [..., K]
    """
    return torch.logsumexp(each, dim=0) - math.log(each.shape[0])


# ---------------------------------------------------------------- 06.6
def third_proposal(critic, log_prob, observations, next_observations, u):
    """Q minus log-density at the current observations, for actions tanh(u) drawn from pi(.|s').

    u [B, N] -> [B, N]
    """
    return critic(observations, torch.tanh(u)) - log_prob(next_observations, u)


def critic_example(observations, actions):
    """Q(s, a) = s * a."""
    return observations[:, None] * actions


def log_prob_example(observations, u):
    """A log-density that falls linearly with the distance between u and s."""
    return -(u - observations[:, None]).abs()


EXERCISES = (
    Exercise(
        id="06.1",
        title="an integral from uniform samples",
        kind="build",
        difficulty=2,
        importance=4,
        minutes=8,
        reference=uniform_log_integral,
        examples=(
            Example((_numbers([1.0, 1.0, 1.0, 5.0]).log(), 3), "worked by hand: four uniform actions in a box of volume 8, exp Q is 1, 1, 1, 5"),
            Example((_numbers([[0.0, 1.0, -1.0, 0.5, 0.2], [2.0, 2.0, 2.0, 2.0, 2.0], [-1.0, 3.0, 0.0, 1.0, 1.0]]), 1), "three states, five uniform actions of one dimension"),
            Example((_numbers([[900.0, 901.0], [0.0, -1.0]]), 6), "six dimensions, values of 900", shown=False),
        ),
        mutants=(
            Mutant("volume forgotten", lambda q, d: torch.logsumexp(q, -1) - math.log(q.shape[-1]), "that is the log of the *mean* of exp Q. An integral is the mean times the volume of the box, a length of 2 in every dimension."),
            Mutant("sum in place of mean", lambda q, d: torch.logsumexp(q, -1) + d * LOG_2, "the number of candidates is missing: a *sum* of exp Q grows with every candidate you add. Take the mean: minus log K.", "the raw form of the official code and of most copies"),
            Mutant("raw sum", lambda q, d: torch.logsumexp(q, -1), "a bare logsumexp is neither a mean nor an integral: it grows with the number of candidates (minus log K mends that) and ignores the volume (plus action_dim log 2)."),
            Mutant("minus the volume", lambda q, d: torch.logsumexp(q, -1) - math.log(q.shape[-1]) - d * LOG_2, "the volume has the wrong sign. The density of a uniform action is 1 / volume; dividing by it *adds* action_dim log 2."),
            Mutant("plus log K", lambda q, d: torch.logsumexp(q, -1) + math.log(q.shape[-1]) + d * LOG_2, "log K has the wrong sign: a mean divides the sum by K, so its log is *subtracted*."),
            Mutant("divided outside the log", lambda q, d: torch.logsumexp(q, -1) / q.shape[-1] + d * LOG_2, "the logarithm of the sum is divided by K. It is the sum that is divided, before the logarithm: *subtract* log K."),
            Mutant("log outside", lambda q, d: q.mean(-1) + d * LOG_2, "you average Q; the integral averages exp Q. The logarithm comes after the mean, and by Jensen's inequality the two differ."),
            Mutant("log 2 once", lambda q, d: torch.logsumexp(q, -1) - math.log(q.shape[-1]) + LOG_2, "the box has length 2 in *each* dimension, so its volume is 2 to the power action_dim: add log 2 that many times.", "asked in takuseno/d3rlpy#147"),
            Mutant("log 2A", lambda q, d: torch.logsumexp(q, -1) - math.log(q.shape[-1]) + math.log(2 * d), "the volume is 2 times 2 times 2 ..., 2 to the power action_dim, not 2 times action_dim: its log is action_dim times log 2."),
            Mutant("no logarithm", lambda q, d: q.exp().mean(-1) * 2.0**d, "that is the integral itself; its logarithm was asked for, in units of Q."),
            Mutant("overflow", lambda q, d: q.exp().mean(-1).log() + d * LOG_2, "right for small values, but exp(900) overflows to inf. torch.logsumexp takes the largest value out before it exponentiates."),
        ),
        hints=(
            "With four actions where exp Q is 1, 1, 1 and 5, the mean is 2. Over a box of volume 8 that makes an integral of 16.",
            "Log of the mean of exp Q: logsumexp over the last axis minus the log of the number of candidates. Then add the log of the volume of the box.",
            "return torch.logsumexp(q, dim=-1) - math.log(q.shape[-1]) + ____ * math.log(2)",
        ),
        meaning="The integral is the mean of exp Q times the volume 2^A; the sum that most code takes also counts the candidates.",
    ),
    Exercise(
        id="06.2",
        title="the density of a squashed Gaussian",
        kind="build",
        difficulty=4,
        importance=5,
        minutes=12,
        reference=tanh_log_prob,
        examples=(
            Example((_numbers([0.5, -1.0]), _numbers([0.0, -0.4]), _numbers([LOG_2, 0.25])), "one action of two dimensions: u, mean, log_std"),
            Example((_numbers([[10.0], [-12.0]]), _numbers([9.0]), _numbers([LOG_2])), "a saturated policy: u = 10 and -12"),
            Example((_numbers([[0.2, 0.1, 25.0], [-0.7, 1.3, 0.0]]), _numbers([0.1, 0.0, 24.0]), _numbers([-3.0, 0.5, 0.0])), "three dimensions, one of them far out", shown=False),
        ),
        mutants=(
            Mutant("no Jacobian", lambda u, m, s: _normal(u, m, s).sum(-1), "that is the density of u. tanh squeezes the line into (-1, 1), so the density of the action is larger: subtract log(1 - tanh(u)^2)."),
            Mutant("Jacobian's sign", lambda u, m, s: (_normal(u, m, s) + _log_slope(u)).sum(-1), "the Jacobian has the wrong sign. Where tanh is flat, many u crowd into few actions: the density rises, so the (negative) log(1 - tanh(u)^2) is *subtracted*."),
            Mutant("not summed", lambda u, m, s: _normal(u, m, s) - _log_slope(u), "one number a dimension. The dimensions are independent, so their log-densities add: sum over the last axis.", "boyu-ai/Hands-on-RL, chapter 18"),
            Mutant("averaged", lambda u, m, s: (_normal(u, m, s) - _log_slope(u)).mean(-1), "the dimensions are averaged. A joint density is a product, its log a *sum* over the dimensions."),
            Mutant("tanh twice", lambda u, m, s: (_normal(u, m, s) - _log_slope(torch.tanh(u))).sum(-1), "tanh is applied twice: the slope belongs to u, 1 - tanh(u)^2, not to the action that has been through tanh already.", "boyu-ai/Hands-on-RL, chapter 18"),
            Mutant("normal at the action", lambda u, m, s: (_normal(torch.tanh(u), m, s) - _log_slope(u)).sum(-1), "the Gaussian is evaluated at the action tanh(u). It was u that was drawn from it."),
            Mutant("1e-6 inside the log", lambda u, m, s: (_normal(u, m, s) - torch.log(1 - torch.tanh(u) ** 2 + 1e-6)).sum(-1), "right for moderate u. But at u = 10 the slope is about 8e-9, and the 1e-6 that was to keep the log finite drowns it: the log-density is off by several nats. Use 2 (log 2 - u - softplus(-2u)).", "the official CQL code, whose comment calls it not very numerically stable"),
            Mutant("bare log of the slope", lambda u, m, s: (_normal(u, m, s) - torch.log(1 - torch.tanh(u) ** 2)).sum(-1), "right as long as 1 - tanh(u)^2 does not round to 0; at u = 25 it does, and the result is inf. Use 2 (log 2 - u - softplus(-2u)), the same in exact arithmetic.", "ray-project/ray#14878"),
            Mutant("atanh of the action", lambda u, m, s: (_normal(_clamped(u), m, s) - _log_slope(_clamped(u))).sum(-1), "right for moderate u. But the u that atanh recovers from a rounded action is no longer the one that was drawn: at u = 10 the clamp makes it 7.3. Use the pre_tanh that you were given.", "ray-project/ray#65036"),
            Mutant("slope without square", lambda u, m, s: (_normal(u, m, s) - torch.log(1 - torch.tanh(u))).sum(-1), "the slope of tanh is 1 - tanh(u)^2; the square is missing."),
            Mutant("softplus of +2u", lambda u, m, s: (_normal(u, m, s) - 2 * (LOG_2 - u - F.softplus(2 * u))).sum(-1), "the sign inside softplus is turned: log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)). Try u = 0, where it must be 0 either way, and then u = 1, where it is -0.87."),
            Mutant("half the slope", lambda u, m, s: (_normal(u, m, s) - 0.5 * _log_slope(u)).sum(-1), "half of the logarithm of the slope: the factor 2 in front of (log 2 - u - softplus(-2u)) is missing."),
            Mutant("log_std as std", lambda u, m, s: (torch.distributions.Normal(m, s.abs(), validate_args=False).log_prob(u) - _log_slope(u)).sum(-1), "log_std is used as if it were the standard deviation. Take its exp first."),
            Mutant("std squared", lambda u, m, s: (-0.5 * (u - m).square() / s.exp() - s - 0.5 * math.log(2 * math.pi) - _log_slope(u)).sum(-1), "(u - mean)^2 is divided by the standard deviation; the Gaussian divides by the *variance*, std^2."),
            Mutant("variance as std", lambda u, m, s: (_normal(u, m, 2 * s) - _log_slope(u)).sum(-1), "the variance stands where the standard deviation belongs: exp(log_std) is the standard deviation already."),
            Mutant("plus log_std", lambda u, m, s: (_normal(u, m, s) + 2 * s - _log_slope(u)).sum(-1), "log_std has the wrong sign: a wider Gaussian is lower, so its log-density has *minus* log std."),
            Mutant("whole log 2 pi", lambda u, m, s: (_normal(u, m, s) - 0.5 * math.log(2 * math.pi) - _log_slope(u)).sum(-1), "the Gaussian divides by the *square root* of 2 pi: half of log(2 pi), in each dimension."),
            Mutant("no normaliser", lambda u, m, s: (-0.5 * ((u - m) / s.exp()).square() - _log_slope(u)).sum(-1), "the Gaussian's constant is missing: minus log std and minus log(2 pi) / 2. Without it the density does not integrate to 1."),
        ),
        hints=(
            "Two parts for each dimension: how likely was u, and how much does tanh squeeze at u?",
            "log Normal(u; mean, std) minus log(1 - tanh(u)^2), the second in the form 2 (log 2 - u - softplus(-2u)), which is finite everywhere; then the sum over the dimensions.",
            "log_slope = 2 * (math.log(2) - pre_tanh - F.softplus(____)); return (normal - log_slope).sum(dim=-1)",
        ),
        meaning="Keep u: from it the log-density is exact even where the action has rounded to 1.",
    ),
    Exercise(
        id="06.3",
        title="divide by the density",
        kind="build",
        difficulty=3,
        importance=5,
        minutes=10,
        reference=log_partition,
        examples=(
            Example((_numbers([1.0, 2.0, 2.0, 2.0]).log(), _numbers([0.25, 0.75, 0.75, 0.75]).log()), "the four candidates worked by hand: exp Q is 1, 2, 2, 2, their densities 1/4, 3/4, 3/4, 3/4"),
            Example((_numbers([[0.0, 1.0, -2.0, 0.5], [3.0, 1.0, 0.0, 1.5]]), _numbers([[-0.7, -0.7, 1.0, 0.2], [-0.7, -0.7, -3.0, 2.0]])), "two states, four candidates"),
            Example((_numbers([[[0.1, 0.2], [0.5, 0.9]], [[1.0, -1.0], [0.0, 800.0]]]), _numbers([[0.3, -0.4], [-1.0, 2.0]])), "two critics, two states, two candidates", shown=False),
        ),
        mutants=(
            Mutant("adds the density", lambda q, d: torch.logsumexp(q + d, -1) - math.log(q.shape[-1]), "the density is multiplied in. The policy already visits its favourites more often; *dividing* by the density undoes that: q minus log_density."),
            Mutant("no density", lambda q, d: torch.logsumexp(q, -1) - math.log(q.shape[-1]), "the densities are not used, so an action counts as often as it happens to be proposed. Divide each exp Q by its density.", "EmptyJackson/unifloral"),
            Mutant("density for its log", lambda q, d: torch.logsumexp(q - d.exp(), -1) - math.log(q.shape[-1]), "you subtract the density. Inside the exponential a division is a subtraction of *logarithms*: log_density, as it came."),
            Mutant("no log K", lambda q, d: torch.logsumexp(q - d, -1), "the number of candidates is missing: that is the log of a *sum* of weights, log K higher than the integral.", "the raw form of the official code and of most copies"),
            Mutant("plus log K", lambda q, d: torch.logsumexp(q - d, -1) + math.log(q.shape[-1]), "log K has the wrong sign: a mean divides the sum by K, so its log is *subtracted*."),
            Mutant("Q over density", lambda q, d: torch.logsumexp(q / d.exp(), -1) - math.log(q.shape[-1]), "Q itself is divided by the density. It is exp(Q) that is divided, and inside the exponential that is Q *minus* log_density."),
            Mutant("one density for all", lambda q, d: torch.logsumexp(q, -1) - math.log(q.shape[-1]) - d.mean(-1), "all candidates of a state are divided by the same (average) density. Each has its own: subtract before the logsumexp, candidate by candidate."),
            Mutant("ratio of sums", lambda q, d: torch.logsumexp(q, -1) - torch.logsumexp(d, -1), "that is one sum divided by another. The division is inside the sum: each exp(Q) by its own density."),
            Mutant("log outside", lambda q, d: (q - d).mean(-1), "you average the logarithms. The mean of exp(Q) / density estimates the integral; the logarithm comes after it."),
            Mutant("in small groups", _in_groups, "that is a log-sum-exp over a few candidates at a time, averaged. Averaging logs is lower than the log of the average: put all candidates of a state into one logsumexp.", "OfflineRL-Kit and tianshou, where the result of a reshape is thrown away; torchrl by construction"),
            Mutant("largest weight", lambda q, d: (q - d).amax(-1), "that is the largest weight alone. Every candidate contributes: logsumexp, then minus log K."),
            Mutant("softmax", lambda q, d: torch.softmax(q - d, -1), "those are the weights that the gradient will have. One number for the whole row is asked for: logsumexp, minus log K."),
        ),
        hints=(
            "Look at the four candidates: 1 / (1/4) = 4 and three times 2 / (3/4) = 8/3. Their mean is 3, the integral.",
            "exp(Q) / density is exp(Q - log density). Log of the mean of those: logsumexp over the last axis, minus the log of the number of candidates.",
            "weighted = q - ____; return torch.logsumexp(weighted, dim=-1) - math.log(weighted.shape[-1])",
        ),
        meaning="Any proposal will do, as long as each candidate is divided by the density it was drawn with.",
    ),
    Exercise(
        id="06.4",
        title="one list of candidates, one density each",
        kind="build",
        difficulty=2,
        importance=5,
        minutes=8,
        reference=candidate_log_density,
        examples=(
            Example((_numbers([[0.3, -1.2]]), 3, 3), "one state: three uniform candidates, then two of the policy's; A = 3"),
            Example((_numbers([[0.5], [2.0]]), 2, 1), "two states, two uniform candidates and one of the policy's; A = 1"),
            Example((_numbers([[4.0, -2.0, 0.0]]), 2, 6), "A = 6", shown=False),
        ),
        mutants=(
            Mutant("no uniform density", lambda p, n, d: _with_uniform(p, n, 0.0), "the uniform candidates have log-density 0, that is density 1. Theirs is 1 / 2^A; leaving it out makes every uniform candidate count 2^A times too little, the more so the more dimensions there are.", "many descriptions of the algorithm, the one this course began with among them"),
            Mutant("one dimension", lambda p, n, d: _with_uniform(p, n, -LOG_2), "log 0.5 is the density of *one* dimension. The density of the whole action is 0.5^A: its log is A times log 0.5.", "asked in takuseno/d3rlpy#147"),
            Mutant("power turned round", lambda p, n, d: _with_uniform(p, n, math.log(d**0.5)), "base and exponent are swapped: A to the power 0.5. The density is 0.5 to the power A.", "ray-project/ray, the new learner before its repair"),
            Mutant("sign", lambda p, n, d: _with_uniform(p, n, d * LOG_2), "that is the log of the *volume*. The density is one over it: minus A log 2."),
            Mutant("density for its log", lambda p, n, d: _with_uniform(p, n, 0.5**d), "0.5^A is the density; the list holds log-densities. Take its log: minus A log 2."),
            Mutant("2 times A", lambda p, n, d: _with_uniform(p, n, -math.log(2 * d)), "the volume of the box is 2 to the *power* A, not 2 times A: its density is 0.5^A, with log minus A log 2."),
            Mutant("power of the log", lambda p, n, d: _with_uniform(p, n, (-LOG_2) ** d), "you raise the logarithm to the power A. The *density* is raised to it, and its log is therefore A times log 0.5."),
            Mutant("one over n", lambda p, n, d: _with_uniform(p, n, -math.log(n)), "that is the log of one over the number of candidates, which does not say how they were drawn. The density of a uniform action is 0.5^A: minus A log 2."),
            Mutant("as many as the policy's", lambda p, n, d: torch.cat([torch.full_like(p, -d * LOG_2), p], 1), "there are as many uniform entries as the policy has; `n_uniform` says how many there must be."),
            Mutant("uniform for all", lambda p, n, d: torch.full((len(p), n + p.shape[1]), -d * LOG_2, dtype=p.dtype), "the policy's candidates are given the uniform density as well. Each keeps the density it was drawn with."),
            Mutant("other order", lambda p, n, d: _with_uniform(p, n, -d * LOG_2).roll(-n, 1), "the policy's candidates stand first. The Q-values are ordered [uniform | policy]: a density beside the wrong candidate is a wrong density."),
            Mutant("divided among candidates", lambda p, n, d: _with_uniform(p, n, -d * LOG_2 - math.log(n)), "you divide the density by the number of candidates. A density says how one action is drawn; how many are drawn is log_partition's business."),
        ),
        hints=(
            "A uniform action on [-1, 1]^A: what is the volume of the box, and so the density?",
            "A block [B, n_uniform] filled with minus A log 2, then the policy's log-densities, joined along the candidates' axis.",
            "uniform = policy_log_prob.new_full((policy_log_prob.shape[0], n_uniform), ____); return torch.cat([uniform, policy_log_prob], dim=1)",
        ),
        meaning="The uniform density is 2^-A: a constant at A = 1, a factor of 64 at A = 6.",
    ),
    Exercise(
        id="06.5",
        title="as if drawn from the mixture",
        kind="build",
        difficulty=3,
        importance=4,
        minutes=8,
        reference=mixture_log_density,
        examples=(
            Example((_numbers([[0.5, 0.5, 0.5], [1.5, 0.1, 0.3]]).log(),), "two proposals, three candidates: densities 0.5, 0.5, 0.5 and 1.5, 0.1, 0.3"),
            Example((_numbers([[[-0.7, -0.7]], [[2.0, -3.0]], [[1.0, 0.0]]]),), "three proposals, one state, two candidates"),
            Example((_numbers([[[-4.0, -4.0], [-4.0, -4.0]], [[-800.0, 3.0], [-900.0, -1.0]]]),), "a policy that would never have proposed some of them", shown=False),
        ),
        mutants=(
            Mutant("mean of the logs", lambda e: e.mean(0), "the logarithms are averaged, which makes the mixture tiny wherever one proposal is. Densities add: average the densities, then take the log."),
            Mutant("sum", lambda e: torch.logsumexp(e, 0), "that is the *sum* of the densities, which integrates to the number of proposals. Divide by it: minus log P."),
            Mutant("largest", lambda e: e.amax(0), "the largest density alone. The mixture is the mean of all of them."),
            Mutant("over candidates", lambda e: torch.logsumexp(e, -1) - math.log(e.shape[-1]), "you average over the candidates (the last axis). Each candidate keeps its own number: average over the proposals, axis 0."),
            Mutant("minus log K", lambda e: torch.logsumexp(e, 0) - math.log(e.shape[-1]), "you divide by the number of candidates. The mixture is a mean over *proposals*: minus log P, the size of axis 0."),
            Mutant("no logarithm", lambda e: e.exp().mean(0), "that is the density itself; its logarithm is asked for."),
            Mutant("first proposal", lambda e: e[0], "only the first proposal's density is used. A candidate could have come from any of them."),
        ),
        hints=(
            "For the first candidate the densities are 0.5 and 1.5. Half of the candidates are drawn with one, half with the other: how likely is it under the mixture?",
            "Log of the mean over proposals (axis 0) of the densities: logsumexp over axis 0, minus the log of the number of proposals.",
            "return torch.logsumexp(each, dim=____) - math.log(each.shape[0])",
        ),
        meaning="A candidate is divided by how likely it was under all proposals together, so no single draw from a sharp policy's tail can dominate the sum.",
    ),
    Exercise(
        id="06.6",
        title="the third proposal",
        kind="build",
        difficulty=3,
        importance=4,
        minutes=8,
        reference=third_proposal,
        examples=(
            Example((critic_example, log_prob_example, _numbers([1.0, 2.0]), _numbers([3.0, -1.0]), _numbers([[0.0, 1.0], [-0.5, 0.5]])), "Q(s, a) = s a; log pi(a|s) = -|u - s|; s = 1 and 2, s' = 3 and -1; two u for each"),
            Example((critic_example, log_prob_example, _numbers([0.5, -1.0, 4.0]), _numbers([0.6, -1.2, 3.0]), _numbers([[0.2], [2.0], [-1.0]])), "three states, one action each", shown=False),
        ),
        mutants=(
            Mutant("scored at s'", lambda q, p, s, t, u: q(t, torch.tanh(u)) - p(t, u), "the critic is asked about s'. The integral over actions is taken *at s*: pi(.|s') only proposes, its actions are scored at s.", "RLlib's module and unifloral; in OfflineRL-Kit#12 hopper-medium fell from 95 to 60"),
            Mutant("density of pi(.|s)", lambda q, p, s, t, u: q(s, torch.tanh(u)) - p(s, u), "these actions were drawn at s', so their density is that of pi(.|s'). Divide by the density that *drew* them."),
            Mutant("both swapped", lambda q, p, s, t, u: q(t, torch.tanh(u)) - p(s, u), "both observations are the wrong way round: the critic is asked at s, the density belongs to s'."),
            Mutant("no density", lambda q, p, s, t, u: q(s, torch.tanh(u)), "the density is missing: a candidate from a sharp policy would count as if drawn with density 1.", "EmptyJackson/unifloral"),
            Mutant("density for its log", lambda q, p, s, t, u: q(s, torch.tanh(u)) - p(t, u).exp(), "log_prob returns the log-density already; subtract it as it comes."),
            Mutant("plus the density", lambda q, p, s, t, u: q(s, torch.tanh(u)) + p(t, u), "the density is multiplied in. Dividing by it subtracts the log-density."),
            Mutant("u for the action", lambda q, p, s, t, u: q(s, u) - p(t, u), "the critic is given u, which may lie outside [-1, 1]. The action is tanh(u)."),
            Mutant("action for u", lambda q, p, s, t, u: q(s, torch.tanh(u)) - p(t, torch.tanh(u)), "log_prob wants the u before tanh, the critic the action after it."),
        ),
        hints=(
            "Two functions, two observations. Where is the integral taken, and who drew the actions?",
            "Q at the current observation and the action tanh(u), minus the log-density of u under the policy at the *next* observation.",
            "return critic(____, torch.tanh(u)) - log_prob(____, u)",
        ),
        meaning="A proposal may come from anywhere, even from another state's policy, if it is scored at s and divided by its own density.",
    ),
)  # fmt: skip

PREDICTIONS = {
    "06.p1": Question(
        "Ten uniform actions give one estimate of the log-integral. Repeat it many times, in six dimensions: how do the estimates compare with the truth?",
        {
            "a": ("right on average: a sample mean is unbiased", "The mean of exp Q is unbiased; its *logarithm* is not, because the logarithm is concave (Jensen's inequality)."),
            "b": ("too low on average", "The mean of exp Q is unbiased, and the logarithm of a noisy mean is on average lower than the logarithm of the mean (Jensen's inequality)."),
            "c": ("too high on average", "Large values of exp Q dominate the sum, but they are also the ones that a small sample misses: the estimate is low."),
        },
        "b",
    ),
    "06.p2": Question(
        "Now a sharp policy that sits on the best action proposes ten candidates in six dimensions, each properly divided by its density. The estimate of the log-integral is typically...",
        {
            "a": ("about right: dividing by the density makes it unbiased", "Unbiased before the log, thanks to samples in the policy's far tail, where the weight is astronomical. Ten samples never contain one."),
            "b": ("much too low", "It is the log of the integral over the small region that the policy visits. What makes the average come out right are weights that ten samples never see."),
            "c": ("much too high, since it looks only at the best action", "That is what happens *without* the density. With it, each candidate stands only for the small region that the policy covers."),
        },
        "b",
    ),
    "06.p3": Question(
        "A thousand uniform candidates and a thousand from the sharp policy, each divided by its own density, in six dimensions. By how much is the estimate off?",
        {
            "a": ("hardly at all: two thousand candidates are plenty", "The uniform thousand alone would be right. The policy's thousand find next to nothing, and the mean over both is half of what it should be."),
            "b": ("about -log 2", "The policy's half of the sum finds next to nothing, so the mean is half the integral: log 2 too low, until a sample falls into the policy's far tail."),
            "c": ("about -6 log 2", "That is the offset of a forgotten uniform density."),
        },
        "b",
    ),
    "06.p4": Question(
        "Twenty critic evaluations in six dimensions, on the bandit used so far (with the sharp policy on its best action). Which recipe has the smallest root-mean-square error?",
        {
            "a": ("twenty uniform actions", "exp Q is not steep here: the little region that the policy covers holds next to nothing of the integral, so its candidates are wasted."),
            "b": ("ten uniform and ten from the policy, own densities", "The policy's candidates pull the mean down by up to log 2 and add little."),
            "c": ("ten uniform and ten from the policy, mixture weights", "The mixture repairs the weights, but half of the evaluations are still spent where little of the integral lies. On a steep Q it wins."),
        },
        "a",
    ),
    "06.p5": Question(
        "Thirty candidates on a trained critic: half uniform and half from pi(.|s), against a third each from uniform, pi(.|s) and pi(.|s'). The third proposal makes the error of the log-integral...",
        {
            "a": ("smaller: it brings other actions", "Other actions help only where they carry a part of the integral that the first two miss."),
            "b": ("no smaller, at most half as large again", "The next state's policy is nearly this state's: its candidates replace uniform ones and bring nothing new."),
            "c": ("much larger: its density belongs to another state", "Any proposal is right if each candidate is divided by the density that drew it."),
        },
        "b",
    ),
}  # fmt: skip

QUIZZES = {
    "06.a": Question(
        "Why is the policy's log-density subtracted inside the log-sum-exp?",
        {
            "a": ("it is an entropy bonus, as in SAC", "It looks like one, but no temperature stands before it, and no gradient goes into it."),
            "b": ("an action is proposed in proportion to its density; dividing by it leaves exp Q alone", "Then any proposal estimates the same integral."),
            "c": ("it makes unlikely actions count less", "It makes them count *more*: they stand for a region that is rarely visited."),
        },
        "b",
    ),
    "06.b": Question(
        "Raw logsumexp, no division by the number of candidates. A colleague doubles the number of candidates of every proposal. What changes?",
        {
            "a": ("the gradient of the critic doubles", "The weights in the gradient are a softmax, which sums to 1 whatever the number of candidates."),
            "b": ("the penalty rises by about log 2, and with it what a Lagrange target means", "The sum has twice as many terms. Its gradient is that of a better estimate; the constant matters only to whoever compares the value with a number."),
            "c": ("nothing", "Nothing about its gradient's expectation at large N, but the value itself rises by about log 2."),
        },
        "b",
    ),
    "06.c": Question(
        "Six dimensions, a very sharp policy: own densities are about log 2 low, mixture weights are not. What does that log 2 do to the critic's gradient?",
        {
            "a": ("next to nothing: all candidates that carry weight shift by the same constant", "A constant inside logsumexp is a constant outside; the softmax weights stay. It shifts what a Lagrange target means."),
            "b": ("it doubles the push-down", "The weights of the push-down sum to 1 in both."),
            "c": ("it turns the push-down towards the uniform candidates only", "The uniform candidates carry nearly all the weight in both weightings here."),
        },
        "a",
    ),
}  # fmt: skip
