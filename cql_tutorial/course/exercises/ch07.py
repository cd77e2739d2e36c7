"""Exercises of chapter 07, pitfalls: instruments that measure what a wrong detail of the loss does."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..checker import Example
from ..registry import exercise, mutant, prediction, quiz_question

DOUBLE = torch.float64
LOG_2 = math.log(2.0)


def _numbers(values: object) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


# ---------------------------------------------------------------- 07.1
@exercise(
    "07.1",
    title="where the push-down lands",
    kind="build",
    difficulty=2,
    importance=5,
    minutes=8,
    examples=(
        Example(
            (_numbers([[0.0, math.log(4.0), math.log(6.0)]]), _numbers([[0.0, 0.0, math.log(2.0)]])),
            "worked by hand: exp Q is 1, 4, 6 and the densities are 1, 1, 2",
        ),
        Example(
            (_numbers([[1.0, 0.5, -1.0], [2.0, 2.0, 3.0]]), _numbers([[-0.7, -0.7, 1.5], [-0.7, -0.7, 2.0]])),
            "two states, two uniform candidates and one of the policy's",
        ),
        Example((_numbers([[900.0, 901.5]]), _numbers([[-0.7, 0.4]])), "values of 900", shown=False),
        Example(
            (
                _numbers([[900.0, 901.5, 899.2], [-900.0, -899.4, -901.2]]),
                _numbers([[-0.7, 0.4, 1.1], [-0.7, 0.9, -1.6]]),
            ),
            "two states, whose values lie 1800 apart",
            shown=False,
        ),
        Example(
            (_numbers([[0.3, -0.5, 6.1]]), _numbers([[-math.log(64.0), -2.9, 5.2]])),
            "densities from 1/64 to about 180",
            shown=False,
        ),
    ),
    hints=(
        "By hand: exp Q over density is 1, 4 and 3. Their sum is 8.",
        "The derivative of a log-sum-exp is a softmax, of whatever stands in the exponent. Over which axis is the sum?",
        "return torch.softmax(____, dim=1)",
    ),
    meaning="The gradient of the penalty is a set of shares: what a wrong density does, it does by moving them.",
)
def push_down(q, log_density):
    """The share of the push-down that lands on each candidate: d log_partition / d q.

    [B, K], [B, K] -> [B, K]
    """
    return torch.softmax(q - log_density, dim=1)


def _one_hot(values: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(values.argmax(1), values.shape[1]).to(values)


@mutant("07.1", "density forgotten", seen="EmptyJackson/unifloral")
def _(q, log_density):
    """the density is missing: these are the shares without importance correction, the first pitfall of this
    chapter. Each candidate stands for 1 / density."""
    return torch.softmax(q, 1)


@mutant("07.1", "density multiplied")
def _(q, log_density):
    """the density is multiplied in: dividing exp Q by the density *subtracts* its logarithm."""
    return torch.softmax(q + log_density, 1)


@mutant("07.1", "divided by the log")
def _(q, log_density):
    """Q itself is divided by the density. It is exp Q that is divided: inside the exponent that is a subtraction
    of log_density."""
    return torch.softmax(q / log_density.exp(), 1)


@mutant("07.1", "density for its log")
def _(q, log_density):
    """the density itself is subtracted. log_density is a logarithm already, and that is what is subtracted in the
    exponent."""
    return torch.softmax(q - log_density.exp(), 1)


@mutant("07.1", "sign of Q")
def _(q, log_density):
    """both signs are turned: the *low* values would be pushed down. Each term is exp(Q - log_density)."""
    return torch.softmax(log_density - q, 1)


@mutant("07.1", "over the states")
def _(q, log_density):
    """the softmax runs over the states (axis 0). Each state has its own sum: the candidates are axis 1."""
    return torch.softmax(q - log_density, 0)


@mutant("07.1", "over everything")
def _(q, log_density):
    """one softmax over states and candidates together: a state with high values would take the push-down away from
    the others."""
    return torch.softmax((q - log_density).flatten(), 0).view_as(q)


@mutant("07.1", "all on the largest")
def _(q, log_density):
    """all on the largest: that is what a hard maximum does. The log-sum-exp spreads the push-down over all
    candidates."""
    return _one_hot(q - log_density)


@mutant("07.1", "all on the largest Q")
def _(q, log_density):
    """all of it on the candidate with the largest Q, densities ignored: a hard maximum. The derivative of a
    log-sum-exp is a softmax."""
    return _one_hot(q)


@mutant("07.1", "not shares")
def _(q, log_density):
    """these are the terms of the sum. The derivative of its logarithm is each term divided by the sum: shares that
    add up to 1."""
    return (q - log_density).exp()


@mutant("07.1", "divided by the number")
def _(q, log_density):
    """you divide by the number of candidates. The derivative of the logarithm divides by the *sum* of the terms,
    so that the shares add up to 1."""
    return (q - log_density).exp() / q.shape[1]


@mutant("07.1", "sum without densities")
def _(q, log_density):
    """the terms have their densities, the sum that divides them has not (or a softmax of Q is divided by the
    density afterwards): the shares must add up to 1."""
    return torch.softmax(q, 1) / log_density.exp()


@mutant("07.1", "without exponentials")
def _(q, log_density):
    """Q - log_density is divided by its own sum. The terms of the sum are its *exponentials*, all of them positive."""
    return (q - log_density) / (q - log_density).sum(1, keepdim=True)


@mutant("07.1", "log of the shares")
def _(q, log_density):
    """these are the logarithms of the shares."""
    return torch.log_softmax(q - log_density, 1)


@mutant("07.1", "equal shares")
def _(q, log_density):
    """the same for every candidate: that would be the derivative of a plain mean. A log-sum-exp pushes where exp Q
    over density is large."""
    return torch.full_like(q, 1 / q.shape[1])


@mutant("07.1", "divided by the mean")
def _(q, log_density):
    """each term is divided by the *mean* of the terms, so that the shares add up to K. Divide by their sum."""
    return q.shape[1] * torch.softmax(q - log_density, 1)


@mutant("07.1", "overflow")
def _(q, log_density):
    """right for small values, but exp(900) overflows to inf, and inf / inf is nan. torch.softmax takes the largest
    value out before it exponentiates."""
    terms = (q - log_density).exp()
    return terms / terms.sum(1, keepdim=True)


@mutant("07.1", "one maximum for all states")
def _(q, log_density):
    """right as long as the states have similar values: the largest value of *all* states is taken out before the
    exponential, and a row far below it has exp 0 throughout. Each row has its own maximum."""
    terms = (q - log_density - (q - log_density).max()).exp()
    return terms / terms.sum(1, keepdim=True)


# ---------------------------------------------------------------- 07.2
@exercise(
    "07.2",
    title="what is pushed down without a density",
    kind="derive",
    difficulty=3,
    importance=5,
    minutes=10,
    examples=(
        Example(
            (_numbers([0.0, math.log(4.0), math.log(6.0)]), _numbers([0.5, 0.25, 0.25]).log()),
            "worked by hand: exp Q is 1, 4, 6; half of the candidates are the first action, a quarter each other",
        ),
        Example(
            (_numbers([0.7, -1.2, 0.4, 1.9, -0.3]), _numbers([0.12, 0.31, 0.26, 0.03, 0.28]).log()),
            "five actions; the best one is the rarest candidate",
        ),
        Example((_numbers([900.0, 901.5]), _numbers([0.8, 0.2]).log()), "values of 900", shown=False),
    ),
    hints=(
        "By hand: of four candidates two are the first action. Their terms are exp Q: 1, 1, 4, 6. Which share has each "
        "*action*?",
        "Differentiate log E_rho[exp Q] by Q(a): rho(a) exp Q(a), over the sum of these. Write it as one softmax.",
        "return torch.softmax(____, dim=0)",
    ),
    meaning=(
        "Without densities the penalty is exactly CQL(rho): right for another member of the family, wrong for CQL(H)."
    ),
    steps=lambda q, log_rho: {
        "rho": log_rho.exp(),
        "rho times exp Q, over the largest exp Q": log_rho.exp() * (q - q.max()).exp(),
    },
)
def pushed_without_density(q, log_rho):
    """The distribution that is pushed down in log E_rho[exp Q]: many candidates from rho, none with a density.

    Q-values [K] and the log-probabilities [K] of K actions under rho -> [K]
    """
    return torch.softmax(q + log_rho, dim=0)


@mutant("07.2", "CQL(H)")
def _(q, log_rho):
    """that is softmax(Q), which CQL(H) pushes: there the density takes rho out again. Without it, an action that is
    drawn twice as often is pushed twice as much."""
    return torch.softmax(q, 0)


@mutant("07.2", "divided by rho")
def _(q, log_rho):
    """the probability is divided out, as an importance correction does to each *candidate*. The share of an *action*
    grows with the number of candidates that are this action."""
    return torch.softmax(q - log_rho, 0)


@mutant("07.2", "probability for its log")
def _(q, log_rho):
    """the probability itself is added in the exponent. It multiplies exp Q, so its *logarithm* is added."""
    return torch.softmax(q + log_rho.exp(), 0)


@mutant("07.2", "rho alone")
def _(q, log_rho):
    """that is rho: the push of a penalty E_rho[Q], in which every candidate counts alike. Here each counts exp Q."""
    return log_rho.exp()


@mutant("07.2", "not shares")
def _(q, log_rho):
    """these are the terms rho exp Q. The derivative of the logarithm divides each by their sum."""
    return (q + log_rho).exp()


@mutant("07.2", "sum of exp Q")
def _(q, log_rho):
    """the terms are right; what divides them is the sum of exp Q without rho, so that they do not add up to 1."""
    return log_rho.exp() * torch.softmax(q, 0)


@mutant("07.2", "Q without exponential")
def _(q, log_rho):
    """Q itself is weighed by rho. The terms of the sum are its exponentials."""
    return q * log_rho.exp() / (q * log_rho.exp()).sum()


@mutant("07.2", "log of the shares")
def _(q, log_rho):
    """these are the logarithms of the shares."""
    return torch.log_softmax(q + log_rho, 0)


@mutant("07.2", "all on the largest")
def _(q, log_rho):
    """all on one action: that is a hard maximum. The log-sum-exp shares the push among all candidates."""
    return torch.nn.functional.one_hot((q + log_rho).argmax(), len(q)).to(q)


@mutant("07.2", "sign of Q")
def _(q, log_rho):
    """the sign of Q is turned: the lowest values would be pushed down most."""
    return torch.softmax(log_rho - q, 0)


@mutant("07.2", "all on the largest Q")
def _(q, log_rho):
    """all on the action of the largest Q: that is a hard maximum. The log-sum-exp shares the push among all candidates,
    and rho says how many of them there are."""
    return torch.nn.functional.one_hot(q.argmax(), len(q)).to(q)


@mutant("07.2", "rho inside the exponential")
def _(q, log_rho):
    """rho stands inside the exponential, beside Q. It is exp Q that is weighed by rho: in the exponent that *adds* the
    logarithm of rho."""
    return torch.softmax(log_rho.exp() * q, 0)


@mutant("07.2", "log of rho as weight")
def _(q, log_rho):
    """exp Q is weighed by the *logarithm* of rho, which is negative. The weight is rho itself: exp(log_rho)."""
    weighted = (q - q.max()).exp() * log_rho
    return weighted / weighted.sum()


@mutant("07.2", "average of the two")
def _(q, log_rho):
    """you average rho and softmax(Q). The derivative of log E_rho[exp Q] *multiplies* rho by exp Q, and divides by the
    sum."""
    return 0.5 * (log_rho.exp() + torch.softmax(q, 0))


@mutant("07.2", "rho twice")
def _(q, log_rho):
    """rho counts twice: that is the expectation under rho of something weighed by rho already. In log E_rho[exp Q] each
    action has the weight rho once."""
    return torch.softmax(q + 2 * log_rho, 0)


@mutant("07.2", "Q twice")
def _(q, log_rho):
    """exp Q is squared: that would be the answer if the divergence weighed one half. Its weight is 1: the exponent is Q
    plus log rho."""
    return torch.softmax(2 * q + log_rho, 0)


@mutant("07.2", "rho in the sum alone")
def _(q, log_rho):
    """exp Q is divided by the right sum, the sum of rho exp Q, but rho is missing above: each term of that sum is rho
    times exp Q."""
    return (q - torch.logsumexp(q + log_rho, 0)).exp()


# ---------------------------------------------------------------- 07.3
@exercise(
    "07.3",
    title="how many uniform candidates would do",
    kind="derive",
    difficulty=3,
    importance=4,
    minutes=8,
    tolerance=1e-6,  # "not rounded": two digits would do for 1e-4
    examples=(
        Example(
            (0.0784, 0.2, 2),
            "worked by hand: a box of side 0.4 in a square of side 2, and the chance 0.0784 = 1 - 0.96^2",
        ),
        Example((0.9, 0.3, 3), "three dimensions, nine times in ten"),
        Example((0.5, 0.15, 6), "six dimensions, every second time"),
    ),
    hints=(
        "In the example one action hits with chance 0.04. Two both *miss* with chance 0.96^2: the answer is 2.",
        "One action hits with chance p, the product over the dimensions. All n miss with chance (1 - p)^n; solve.",
        "return math.log(1 - chance) / math.log(____)",
    ),
    meaning="In six dimensions no affordable number of uniform actions comes near a policy's own.",
    steps=lambda chance, half_width, action_dim: {
        "chance that one action hits": half_width**action_dim,
        "that one misses": 1 - half_width**action_dim,
        "that all n miss, as wanted": 1 - chance,
    },
)
def candidates_needed(chance, half_width, action_dim):
    """How many uniform actions are needed so that one of them, at least, lies near a given point with that chance.

    Near: within half_width in every dimension, a box inside [-1, 1]^action_dim. Three numbers -> a number, not rounded
    """
    return math.log(1 - chance) / math.log(1 - half_width**action_dim)


@mutant("07.3", "times the dimensions")
def _(chance, half_width, action_dim):
    """the chances of the dimensions are *added*. A hit needs every dimension at once: they multiply."""
    return math.log(1 - chance) / math.log(1 - half_width * action_dim)


@mutant("07.3", "volume of the box")
def _(chance, half_width, action_dim):
    """the chance of one hit is taken as the *volume* of the box. It is that over the volume of all actions, 2 to the
    power action_dim."""
    return math.log(1 - chance) / math.log(1 - (2 * half_width) ** action_dim)


@mutant("07.3", "expected hits")
def _(chance, half_width, action_dim):
    """that many actions have `chance` hits *on average*. Some of them hit twice, so fewer hit at least once."""
    return chance / half_width**action_dim


@mutant("07.3", "one hit on average")
def _(chance, half_width, action_dim):
    """that is one hit on average; the wanted chance is not used."""
    return 1 / half_width**action_dim


@mutant("07.3", "chance of missing")
def _(chance, half_width, action_dim):
    """the chance is used as that of *missing* with all of them; it is that of at least one hit."""
    return math.log(chance) / math.log(1 - half_width**action_dim)


@mutant("07.3", "all hit")
def _(chance, half_width, action_dim):
    """(chance of a hit)^n is the chance that *all* n hit. At least one is wanted: not all n miss."""
    return math.log(chance) / math.log(half_width**action_dim)


@mutant("07.3", "rounded down")
def _(chance, half_width, action_dim):
    """the number is rounded down (int, floor or //). It is asked for as it comes, not rounded."""
    return math.floor(math.log(1 - chance) / math.log(1 - half_width**action_dim))


@mutant("07.3", "one dimension")
def _(chance, half_width, action_dim):
    """that is the answer for one dimension: a hit must agree in every dimension at once."""
    return math.log(1 - chance) / math.log(1 - half_width)


@mutant("07.3", "any dimension")
def _(chance, half_width, action_dim):
    """there a hit is one that agrees in *at least one* dimension. It must agree in all of them."""
    return math.log(1 - chance) / (action_dim * math.log(1 - half_width))


@mutant("07.3", "a quarter to each side")
def _(chance, half_width, action_dim):
    """half_width goes to *both* sides: the box has side 2 half_width, of a range of 2."""
    return math.log(1 - chance) / math.log(1 - (half_width / 2) ** action_dim)


@mutant("07.3", "rounded")
def _(chance, half_width, action_dim):
    """rounded up to a whole number: right for drawing them; here the number before rounding is asked for."""
    return math.ceil(math.log(1 - chance) / math.log(1 - half_width**action_dim) - 1e-9)


@mutant("07.3", "rounded, a hair above")
def _(chance, half_width, action_dim):
    """rounded up to a whole number (and 2 is 3 here, if rounding leaves a hair above 2): right for drawing them; here
    the number before rounding is asked for."""
    return math.ceil(math.log(1 - chance) / math.log(1 - half_width**action_dim) + 1e-9)


@mutant("07.3", "two digits")
def _(chance, half_width, action_dim):
    """right to the digits that are left: the number is rounded after the point. Return it as it comes out."""
    return round(math.log(1 - chance) / math.log(1 - half_width**action_dim), 2)


@mutant("07.3", "small chances")
def _(chance, half_width, action_dim):
    """log(1 - p) is replaced by -p, which is close for a small p. The exact number is asked for: all n miss with chance
    (1 - p)^n."""
    return -math.log(1 - chance) / half_width**action_dim


@mutant("07.3", "small chances, sign")
def _(chance, half_width, action_dim):
    """a number of actions is not negative. log(1 - chance) is, and so is what divides it: log(1 - p), where you have p
    itself."""
    return math.log(1 - chance) / half_width**action_dim


@mutant("07.3", "upside down")
def _(chance, half_width, action_dim):
    """the fraction is upside down: n times log(1 - p) equals log(1 - chance)."""
    return math.log(1 - half_width**action_dim) / math.log(1 - chance)


@mutant("07.3", "p for 1 - p")
def _(chance, half_width, action_dim):
    """you divide by the logarithm of p, the chance that one action *hits*. All n miss with chance (1 - p)^n: log(1 -
    p)."""
    return math.log(1 - chance) / math.log(half_width**action_dim)


@mutant("07.3", "power of the answer")
def _(chance, half_width, action_dim):
    """the answer for one dimension is raised to the power action_dim. It is the chance of a *hit* that is: a hit agrees
    in every dimension, and then all n must miss."""
    return (math.log(1 - chance) / math.log(1 - half_width)) ** action_dim


# ---------------------------------------------------------------- 07.4
BAR = 0.5  # Kendall's tau; guessing has 0 on average


def _judge_order(found: object, names: tuple[str, ...]) -> str | None:
    """None for an order that agrees with the measured one; else how far it agrees, and the worst pair in it."""
    from ..studies import ch07 as study
    from ..studies.common import result_rows

    if not isinstance(found, (list, tuple)):
        return "every one of the names is wanted, once, in a list: the one that earns most first."
    given = [str(name) for name in found]
    if sorted(given) != sorted(names):
        unknown = [name for name in dict.fromkeys(given) if name not in names]
        faults = {
            "missing": [name for name in names if name not in given],
            "twice": [name for name in names if given.count(name) > 1],
            "unknown": unknown[:8],
        }
        said = "; ".join(f"{what}: {', '.join(which)}" for what, which in faults.items() if which)
        return f"every one of the names is wanted, once, in a list: the one that earns most first. {said[:300]}."
    score = study.order_score(result_rows("pitfalls"), [str(name) for name in found], "arm-narrow")
    if score.tau >= BAR:
        return None
    first, second, difference = score.worst
    return (
        f"Kendall's tau is {score.tau:.2f} over the {score.pairs} pairs that ten draws tell apart; the bar is {BAR:g}. "
        f"The widest pair in the wrong order: {first} stands before {second}, which earns {difference:.1f} more."
    )


@exercise(
    "07.4",
    title="order them by what they earn",
    kind="design",
    difficulty=4,
    importance=4,
    minutes=8,
    examples=(
        Example(
            (
                (
                    "correct",
                    "no_importance_correction",
                    "no_uniform_density",
                    "uniform_only",
                    "policy_only",
                    "hard_max",
                    "batch_max",
                    "single_action",
                ),
            ),
            "the penalties of this chapter, in the order of the set-up",
        ),
    ),
    hints=(
        "Section 1 shows which of them push the policy's own actions down, and which never do. The log is narrow.",
        "What must be held down are the policy's own actions, in *every* state. Who does that most, who misses it?",
        "return ['hard_max', 'no_uniform_density', ____, 'batch_max', 'uniform_only']",
    ),
    meaning="On a narrow log, what a penalty pushes decides; how well it estimates the integral hardly does.",
    judge=_judge_order,
)
def order_by_return(names):
    """The penalties in the order of the return you expect on the arm's narrow log, at one alpha, the highest first.

    K names -> a list of the same names
    """
    return [
        "hard_max",
        "no_uniform_density",
        "no_importance_correction",
        "policy_only",
        "correct",
        "single_action",
        "batch_max",
        "uniform_only",
    ]


@mutant("07.4", "as given")
def _(names):
    """the names come back in the order in which they were given."""
    return list(names)


@mutant("07.4", "from below")
def _(names):
    """your order runs from the lowest return to the highest."""
    return [
        "uniform_only",
        "batch_max",
        "single_action",
        "correct",
        "policy_only",
        "no_importance_correction",
        "no_uniform_density",
        "hard_max",
    ]


@mutant("07.4", "by the error of the estimate")
def _(names):
    """you rank by the error of the estimate in section 1: the smaller, the better. The critic does not read the
    penalty's value but its gradient."""
    return [
        "correct",
        "uniform_only",
        "single_action",
        "policy_only",
        "no_uniform_density",
        "no_importance_correction",
        "hard_max",
        "batch_max",
    ]


@mutant("07.4", "the more wrong, the worse")
def _(names):
    """you rank by how much each leaves out: what is called wrong earns less. That is a rule about names; the
    return follows where the push-down lands."""
    return [
        "correct",
        "uniform_only",
        "policy_only",
        "single_action",
        "no_uniform_density",
        "no_importance_correction",
        "hard_max",
        "batch_max",
    ]


# ---------------------------------------------------------------- 07.5
@exercise(
    "07.5",
    title="what do these draws exclude?",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=8,
    examples=(
        Example(
            (_numbers([10.0, 4.0, 9.0, 12.0, 17.0]), _numbers([7.0, 3.0, 2.0, 7.0, 8.0]), 2.8),
            "worked by hand: five draws, whose differences 3, 1, 7, 5, 9 have mean 5 and standard deviation 3.16",
        ),
        Example(
            (_numbers([-2.0, 0.5, -7.1, 1.5]), _numbers([-1.4, 2.5, -6.0, -0.8]), 3.2),
            "four draws, differences on both sides of 0",
        ),
    ),
    hints=(
        "Both penalties saw the same logs. What is left of a log's luck if you subtract draw by draw?",
        "The mean of the n differences, and to both sides t_level times their standard deviation over the root of n.",
        "return torch.stack([____ - half, ____ + half])",
    ),
    meaning="Differences outside the interval are excluded; those inside it, small ones and zero or not, are not.",
    steps=lambda variant, correct, t_level: {
        "differences": variant - correct,
        "their mean": (variant - correct).mean(),
        "their standard deviation": (variant - correct).std(),
        "half of the interval": t_level * (variant - correct).std() / math.sqrt(len(variant)),
    },
)
def paired_interval(variant, correct, t_level):
    """The ends of the interval of the mean difference between two penalties that were trained on the same draws.

    Returns [n] and [n] by draw, t_level: Student's quantile for n - 1 degrees of freedom -> [2], lower end first
    """
    differences = variant - correct
    half = t_level * differences.std() / math.sqrt(len(differences))
    return torch.stack([differences.mean() - half, differences.mean() + half])


def _ends(middle: Tensor, half: Tensor) -> Tensor:
    return torch.stack([middle - half, middle + half])


@mutant("07.5", "two samples")
def _(variant, correct, t_level):
    """that is the interval for two *unpaired* groups: the luck of each log is counted twice. Here each log has both
    penalties: take the spread of the differences."""
    n = len(variant)
    return _ends((variant - correct).mean(), t_level * ((variant.var() + correct.var()) / n).sqrt())


@mutant("07.5", "spread of single draws")
def _(variant, correct, t_level):
    """the spread of a single difference. The mean of n differences is less noisy, by the root of n."""
    d = variant - correct
    return _ends(d.mean(), t_level * d.std())


@mutant("07.5", "n divided out")
def _(variant, correct, t_level):
    """you divide by n; the error of a mean falls with the *root* of n."""
    d = variant - correct
    return _ends(d.mean(), t_level * d.std() / len(d))


@mutant("07.5", "n for n - 1")
def _(variant, correct, t_level):
    """the standard deviation divides by n here; an estimate from a sample divides by n - 1, which .std() does by
    itself."""
    d = variant - correct
    return _ends(d.mean(), t_level * d.std(correction=0) / math.sqrt(len(d)))


@mutant("07.5", "root of n - 1")
def _(variant, correct, t_level):
    """the n - 1 belongs into the standard deviation (where .std() has it already); the error of the mean is over
    the root of n."""
    d = variant - correct
    return _ends(d.mean(), t_level * d.std() / math.sqrt(len(d) - 1))


@mutant("07.5", "turned round")
def _(variant, correct, t_level):
    """correct minus variant: the sign is turned. Above 0 should mean that the variant earns more."""
    d = correct - variant
    return _ends(d.mean(), t_level * d.std() / math.sqrt(len(d)))


@mutant("07.5", "upper end first")
def _(variant, correct, t_level):
    """the two ends are in the wrong order: the lower one first."""
    d = variant - correct
    return _ends(d.mean(), -t_level * d.std() / math.sqrt(len(d)))


@mutant("07.5", "standard error alone")
def _(variant, correct, t_level):
    """one standard error to each side: t_level is not used, so the interval holds the truth far less often than 95 %
    of the times."""
    d = variant - correct
    return _ends(d.mean(), d.std() / math.sqrt(len(d)))


@mutant("07.5", "normal quantile")
def _(variant, correct, t_level):
    """1.96 is the quantile for a known spread. It is estimated here, from few draws: use t_level."""
    d = variant - correct
    return _ends(d.mean(), 1.96 * d.std() / math.sqrt(len(d)))


@mutant("07.5", "spread of the variant")
def _(variant, correct, t_level):
    """the mean is that of the differences, the spread that of `variant` alone. The luck of a log that both share is
    still in it: take the standard deviation of the differences."""
    d = variant - correct
    return _ends(d.mean(), t_level * variant.std() / math.sqrt(len(d)))


@mutant("07.5", "spread of the correct one")
def _(variant, correct, t_level):
    """the mean is that of the differences, the spread that of `correct` alone. The luck of a log that both share is
    still in it: take the standard deviation of the differences."""
    d = variant - correct
    return _ends(d.mean(), t_level * correct.std() / math.sqrt(len(d)))


@mutant("07.5", "variance")
def _(variant, correct, t_level):
    """that is the variance, in squared units. The standard deviation is its root."""
    d = variant - correct
    return _ends(d.mean(), t_level * d.var() / math.sqrt(len(d)))


@mutant("07.5", "variance of the mean")
def _(variant, correct, t_level):
    """that is the variance of the mean, variance over n, in squared units. t_level belongs to its *root*, the standard
    error."""
    d = variant - correct
    return _ends(d.mean(), t_level * d.var() / len(d))


@mutant("07.5", "around zero")
def _(variant, correct, t_level):
    """the interval lies around 0 and not around the mean difference."""
    d = variant - correct
    return _ends(torch.zeros((), dtype=d.dtype), t_level * d.std() / math.sqrt(len(d)))


@mutant("07.5", "smallest and largest")
def _(variant, correct, t_level):
    """the smallest and the largest difference: the range of single draws, which says nothing of the mean."""
    d = variant - correct
    return torch.stack([d.min(), d.max()])


@mutant("07.5", "mean and half-width")
def _(variant, correct, t_level):
    """those are the middle of the interval and its half-width. Its two *ends* are asked for: middle minus half-width,
    middle plus half-width."""
    d = variant - correct
    return torch.stack([d.mean(), t_level * d.std() / math.sqrt(len(d))])


@mutant("07.5", "median")
def _(variant, correct, t_level):
    """the interval lies around the median of the differences. Its width is that of a *mean*: take the mean."""
    d = variant - correct
    return _ends(d.median(), t_level * d.std() / math.sqrt(len(d)))


@mutant("07.5", "sorted")
def _(variant, correct, t_level):
    """both lists are sorted before they are subtracted, so that the pairs are torn: place i of both is the *same*
    draw."""
    d = variant.sort().values - correct.sort().values
    return _ends(d.mean(), t_level * d.std() / math.sqrt(len(d)))


@mutant("07.5", "variant alone")
def _(variant, correct, t_level):
    """that is the interval of the variant's own mean; correct is not used. Take the differences draw by draw first."""
    return _ends(variant.mean(), t_level * variant.std() / math.sqrt(len(variant)))


@mutant("07.5", "half of t")
def _(variant, correct, t_level):
    """half of t_level goes to each side. t_level standard errors go to *each* side, so that the whole interval is twice
    as wide."""
    d = variant - correct
    return _ends(d.mean(), t_level / 2 * d.std() / math.sqrt(len(d)))


@mutant("07.5", "absolute differences")
def _(variant, correct, t_level):
    """the differences lose their signs. A draw on which the variant earns *less* has to count against it."""
    d = (variant - correct).abs()
    return _ends(d.mean(), t_level * d.std() / math.sqrt(len(d)))


@mutant("07.5", "mean absolute deviation")
def _(variant, correct, t_level):
    """the spread is the mean absolute deviation. t_level belongs to the standard deviation: the root of the mean
    square, with n - 1."""
    d = variant - correct
    return _ends(d.mean(), t_level * (d - d.mean()).abs().mean() / math.sqrt(len(d)))


# ---------------------------------------------------------------- 07.6
@exercise(
    "07.6",
    title="the same loss in another unit",
    kind="build",
    difficulty=4,
    importance=4,
    minutes=10,
    examples=(
        Example(
            (_numbers([[0.0, 3 * math.log(9.0)]]), _numbers([[0.0, math.log(3.0)]]), _numbers([1.5]), 2.0, 3.0),
            "unit 3, alpha 2: one state, candidates worth 0 and 3 log 9 with densities 1 and 3, logged action worth "
            "1.5",
        ),
        Example(
            (
                _numbers([[0.1, 0.2, -0.3], [0.0, 0.4, 0.5]]),
                _numbers([[-0.7, 0.2, 1.0], [-0.7, 0.4, 0.3]]),
                _numbers([0.2, 0.1]),
                5.0,
                0.1,
            ),
            "unit 0.1: two states",
        ),
        Example(
            (
                _numbers([[1.0, -2.0, 0.5], [0.0, -1.0, 0.25]]),
                _numbers([[1.5, 0.3, 2.0], [-0.7, 0.6, 2.5]]),
                _numbers([2.5, 1.0]),
                0.7,
                2.5,
            ),
            "unit 2.5: the logged actions stand out, so that the penalty is negative",
        ),
        Example(
            (_numbers([[1.0, 2.0], [0.0, 1.0]]), _numbers([[-0.7, 0.1], [-0.7, 0.3]]), _numbers([0.5, 1.5]), 1.0, 1.0),
            "unit 1: nothing changes",
            shown=False,
        ),
        Example(
            (
                _numbers([[1800.0, 1802.6, 1799.1], [-1800.4, -1799.0, -1801.8]]),
                _numbers([[-0.7, 0.4, 1.2], [-0.7, 0.9, 0.1]]),
                _numbers([1801.3, -1800.9]),
                0.6,
                2.0,
            ),
            "unit 2: two states, worth about 900 and -900 in the old unit",
            shown=False,
        ),
    ),
    hints=(
        "Divide by the unit and you are back in the old numbers, where the penalty was right.",
        "Penalty of q / unit and q_data / unit (the density has no unit), then times alpha and times unit squared, "
        "since the squared error has grown by that.",
        "return alpha * ____ * (soft - logged).mean()",
    ),
    meaning=(
        "With a penalty that is a pure number (Q divided by the unit inside) alpha has the unit of a squared reward. "
        "In the usual loss the penalty has the unit of a reward, and so has alpha."
    ),
    gradients=("q_candidates", "q_data"),
    steps=lambda q_candidates, log_density, q_data, alpha, unit: {
        "Q of the candidates in the old unit": q_candidates / unit,
        "log-integral of each state": torch.logsumexp(q_candidates / unit - log_density, dim=1)
        - math.log(q_candidates.shape[1]),
        "logged Q in the old unit": q_data / unit,
        "alpha times unit squared": alpha * unit**2,
    },
)
def penalty_in_unit(q_candidates, log_density, q_data, alpha, unit):
    """Alpha times the penalty, for values counted in a unit that makes every number `unit` times as large.

    [B, K], [B, K], [B], number, number -> []; unit**2 times what it is at unit 1, like the squared error
    """
    q, logged = q_candidates / unit, q_data / unit
    soft = torch.logsumexp(q - log_density, dim=1) - math.log(q.shape[1])
    return alpha * unit**2 * (soft - logged).mean()


def _penalty(q: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
    return (torch.logsumexp(q - log_density, 1) - math.log(q.shape[1]) - q_data).mean()


@mutant("07.6", "unit ignored")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the unit is ignored. The squared error grows with unit**2, this penalty does not: the same alpha means less
    and less."""
    return alpha * _penalty(q_candidates, log_density, q_data)


@mutant("07.6", "alpha times unit")
def _(q_candidates, log_density, q_data, alpha, unit):
    """alpha times the unit is the rule of thumb, and nearly right where one candidate dominates the sum. The
    logarithm and the exponential still see values in the new unit: divide Q by the unit *inside*, not after."""
    return alpha * unit * _penalty(q_candidates, log_density, q_data)


@mutant("07.6", "alpha times unit squared")
def _(q_candidates, log_density, q_data, alpha, unit):
    """alpha is rescaled, Q is not: exp of the larger numbers sharpens the softmax, and the penalty picks out the
    maximum. Divide Q by the unit first."""
    return alpha * unit**2 * _penalty(q_candidates, log_density, q_data)


@mutant("07.6", "alpha divided")
def _(q_candidates, log_density, q_data, alpha, unit):
    """alpha is divided by the unit. The squared error has *grown* by unit**2: the penalty must grow with it, from
    Q / unit."""
    return alpha / unit**2 * _penalty(q_candidates, log_density, q_data)


@mutant("07.6", "one unit short")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the penalty is in the old unit again, good. The squared error has grown with unit *squared*, so alpha must,
    too, before both terms."""
    return alpha * unit * _penalty(q_candidates / unit, log_density, q_data / unit)


@mutant("07.6", "old unit only")
def _(q_candidates, log_density, q_data, alpha, unit):
    """that is the penalty in the old unit. The squared error beside it has grown by unit**2: multiply alpha by that."""
    return alpha * _penalty(q_candidates / unit, log_density, q_data / unit)


@mutant("07.6", "density divided too", seen="young-geng/CQL#3")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the log-density is divided as well. A density of actions has no unit of reward: only Q is divided."""
    return alpha * unit**2 * _penalty(q_candidates / unit, log_density / unit, q_data / unit)


@mutant("07.6", "logged value not divided")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the logged action's value is still in the new unit, the soft maximum in the old one: both terms are values
    of Q."""
    return alpha * unit**2 * _penalty(q_candidates / unit, log_density, q_data)


@mutant("07.6", "multiplied")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the values are already unit times as large: divide them by the unit to get back, then weigh with unit**2."""
    return alpha * _penalty(q_candidates * unit, log_density, q_data * unit)


@mutant("07.6", "multiplied and weighed")
def _(q_candidates, log_density, q_data, alpha, unit):
    """Q is multiplied by the unit. It is already unit times as large: divide to get back to the old numbers."""
    return alpha * unit**2 * _penalty(q_candidates * unit, log_density, q_data * unit)


@mutant("07.6", "divided by the square")
def _(q_candidates, log_density, q_data, alpha, unit):
    """Q is divided by unit squared. Values grow with the unit, once; it is the squared *error* that grows with its
    square."""
    return alpha * unit**2 * _penalty(q_candidates / unit**2, log_density, q_data / unit**2)


@mutant("07.6", "density moved")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the log-density is shifted by log unit, as if the *action* had changed its unit. Only rewards and values did."""
    return alpha * unit**2 * _penalty(q_candidates / unit, log_density - math.log(unit), q_data / unit)


@mutant("07.6", "no push-down")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the value is right, but the candidates' Q is detached: nothing is pushed down any more."""
    return alpha * unit**2 * _penalty(q_candidates.detach() / unit, log_density, q_data / unit)


@mutant("07.6", "no pull-up")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the value is right, but the logged action's Q is detached: nothing pulls it up any more."""
    return alpha * unit**2 * _penalty(q_candidates / unit, log_density, q_data.detach() / unit)


@mutant("07.6", "data term forgotten")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the push up on the logged action is missing."""
    soft = torch.logsumexp(q_candidates / unit - log_density, 1) - math.log(q_candidates.shape[1])
    return alpha * unit**2 * soft.mean()


@mutant("07.6", "density forgotten")
def _(q_candidates, log_density, q_data, alpha, unit):
    """log_density is not subtracted: that is the penalty without importance correction, in the right unit."""
    return alpha * unit**2 * _penalty(q_candidates / unit, 0 * log_density, q_data / unit)


@mutant("07.6", "number of candidates")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the number of candidates is missing: a mean inside the logarithm subtracts log K, K being axis 1."""
    return alpha * unit**2 * (torch.logsumexp(q_candidates / unit - log_density, 1) - q_data / unit).mean()


@mutant("07.6", "number of states")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the logarithm of the number of *states* is subtracted, axis 0. The mean inside the logarithm runs over the
    candidates: log K, K being axis 1."""
    soft = torch.logsumexp(q_candidates / unit - log_density, 1) - math.log(q_candidates.shape[0])
    return alpha * unit**2 * (soft - q_data / unit).mean()


@mutant("07.6", "overflow")
def _(q_candidates, log_density, q_data, alpha, unit):
    """right for small values, but exp(900) overflows to inf. torch.logsumexp takes the largest value out before it
    exponentiates."""
    soft = ((q_candidates / unit).exp() / log_density.exp()).mean(1).log()
    return alpha * unit**2 * (soft - q_data / unit).mean()


@mutant("07.6", "alpha over the unit")
def _(q_candidates, log_density, q_data, alpha, unit):
    """alpha is divided by the unit. The squared error has *grown*, by unit**2: the penalty must grow with it, and it is
    computed from Q / unit."""
    return alpha / unit * _penalty(q_candidates, log_density, q_data)


@mutant("07.6", "alpha forgotten")
def _(q_candidates, log_density, q_data, alpha, unit):
    """alpha is missing: everything else is there."""
    return unit**2 * _penalty(q_candidates / unit, log_density, q_data / unit)


@mutant("07.6", "sum over the batch")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the penalty is summed over the batch. It is a mean, like the squared error beside it."""
    return alpha * unit**2 * len(q_data) * _penalty(q_candidates / unit, log_density, q_data / unit)


@mutant("07.6", "unit squared after the division")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the penalty of Q / unit is divided by unit squared. It has become *smaller* by going back to the old unit; beside
    the squared error in the new one it is multiplied by unit squared."""
    return alpha / unit**2 * _penalty(q_candidates / unit, log_density, q_data / unit)


@mutant("07.6", "log of the unit subtracted")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the log of the unit is subtracted (and one unit is missing), as if the log-integral were divided by it. Inside,
    Q is divided by the unit; outside, alpha is multiplied by its square."""
    return alpha * unit * (_penalty(q_candidates, log_density, q_data) - math.log(unit))


@mutant("07.6", "over the states")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the logsumexp runs over the states (axis 0). Each state has its own integral, over its candidates: dim=1."""
    soft = torch.logsumexp(q_candidates / unit - log_density, 0) - math.log(q_candidates.shape[1])
    return alpha * unit**2 * (soft.mean() - (q_data / unit).mean())


@mutant("07.6", "over the states, by broadcasting")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the logsumexp runs over the states (axis 0), and the logged values are then subtracted from what is left, one
    number a candidate. Each state has its own integral, over its candidates: dim=1."""
    soft = torch.logsumexp(q_candidates / unit - log_density, 0) - math.log(q_candidates.shape[0])
    return alpha * unit**2 * (soft - q_data / unit).mean()


@mutant("07.6", "two means")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the mean of exp Q is divided by the mean of the densities. Each candidate is divided by its *own* density, inside
    the sum: Q / unit - log_density, then the logsumexp."""
    k = math.log(q_candidates.shape[1])
    soft = torch.logsumexp(q_candidates / unit, 1) - k
    return alpha * unit**2 * (soft - (torch.logsumexp(log_density, 1) - k) - q_data / unit).mean()


# ---------------------------------------------------------------- 07.7
@exercise(
    "07.7",
    title="the floor under the logged CQL gap",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=10,
    examples=(
        Example(
            (_numbers([0.7, -0.5, 1.3, 0.1]), 2, -0.25),
            "worked by hand: four logged actions in two dimensions; the log-integral is estimated 0.25 too low",
        ),
        Example((_numbers([3.1, 2.0, 4.6]), 6, -1.5), "three logged actions in six dimensions, 1.5 too low"),
        Example(
            (torch.full((5,), -3 * LOG_2, dtype=DOUBLE), 3, 0.0),
            "uniform behaviour in three dimensions, and no error: the floor is 0",
        ),
        Example(
            (_numbers([-0.5, -0.9]), 1, 0.4),
            "nearly uniform behaviour in one dimension; the log-integral is estimated 0.4 too *high*",
        ),
    ),
    hints=(
        "Uniform behaviour and no error: every log-density is -action_dim log 2, and the floor must come out as 0.",
        "The best critic for the penalty is Q = log behaviour: minus the mean log-density of the logged actions. The "
        "CQL gap subtracts action_dim log 2; the logged one moves by the error of its estimate.",
        "return ____ - action_dim * math.log(2) + estimate_error",
    ),
    meaning=(
        "Minus KL(behaviour || uniform), and lower by what the estimate of the integral misses: a Lagrange target "
        "below that sends the multiplier to its cap."
    ),
    steps=lambda log_behaviour, action_dim, estimate_error: {
        "mean log-density": log_behaviour.mean(),
        "log-density of a uniform action": -action_dim * LOG_2,
        "floor without the error": -log_behaviour.mean() - action_dim * LOG_2,
    },
)
def lowest_gap(log_behaviour, action_dim, estimate_error):
    """The lowest CQL gap that a training log can show, from logged actions and the error of its log-integral.

    The behaviour policy's log-density [N] of each logged action, number, estimated minus true log-integral -> []
    """
    return -log_behaviour.mean() - action_dim * math.log(2) + estimate_error


@mutant("07.7", "error forgotten")
def _(log_behaviour, action_dim, estimate_error):
    """that is the floor of the *exact* CQL gap. The logged one is computed with an estimate of the log-integral, and
    moves with its error."""
    return -log_behaviour.mean() - action_dim * LOG_2


@mutant("07.7", "error subtracted")
def _(log_behaviour, action_dim, estimate_error):
    """the error is subtracted. It is estimated *minus* true, and the log-integral enters the gap with a plus."""
    return -log_behaviour.mean() - action_dim * LOG_2 - estimate_error


@mutant("07.7", "distance itself")
def _(log_behaviour, action_dim, estimate_error):
    """that is KL(behaviour || uniform) itself; the floor lies that far *below* zero."""
    return log_behaviour.mean() + action_dim * LOG_2 + estimate_error


@mutant("07.7", "volume forgotten")
def _(log_behaviour, action_dim, estimate_error):
    """that is the floor of the log-mean form (the entropy of the behaviour policy, with the error). The CQL gap is
    that minus action_dim log 2."""
    return -log_behaviour.mean() + estimate_error


@mutant("07.7", "volume added")
def _(log_behaviour, action_dim, estimate_error):
    """the volume has the wrong sign: uniform behaviour has log-density -action_dim log 2, and its floor must be 0."""
    return -log_behaviour.mean() + action_dim * LOG_2 + estimate_error


@mutant("07.7", "log 2 once")
def _(log_behaviour, action_dim, estimate_error):
    """log 2 is needed once for each dimension."""
    return -log_behaviour.mean() - LOG_2 + estimate_error


@mutant("07.7", "log of twice the dimension")
def _(log_behaviour, action_dim, estimate_error):
    """the logarithm of 2 A is subtracted. The box has volume 2 to the *power* A: its logarithm is A log 2."""
    return -log_behaviour.mean() - math.log(2 * action_dim) + estimate_error


@mutant("07.7", "density for its log")
def _(log_behaviour, action_dim, estimate_error):
    """log_behaviour holds logarithms already, and an entropy averages logarithms, not densities."""
    return -log_behaviour.exp().mean() - action_dim * LOG_2 + estimate_error


@mutant("07.7", "log of the mean")
def _(log_behaviour, action_dim, estimate_error):
    """the logarithm of the mean density is not the mean of the logarithm; a KL divergence averages the logarithm."""
    return -(torch.logsumexp(log_behaviour, 0) - math.log(len(log_behaviour))) - action_dim * LOG_2 + estimate_error


@mutant("07.7", "weighed by the density")
def _(log_behaviour, action_dim, estimate_error):
    """each log-density is weighed by its density. The logged actions come *from* the behaviour, as often as it
    says: a plain mean weighs them rightly."""
    return -(log_behaviour.exp() * log_behaviour).mean() - action_dim * LOG_2 + estimate_error


@mutant("07.7", "sum")
def _(log_behaviour, action_dim, estimate_error):
    """a sum over the logged actions grows with the log. The floor is an average."""
    return -log_behaviour.sum() - action_dim * LOG_2 + estimate_error


@mutant("07.7", "sign of the log-density")
def _(log_behaviour, action_dim, estimate_error):
    """the sign of the mean is turned: a *denser* behaviour (larger log-density) allows a lower gap."""
    return log_behaviour.mean() - action_dim * LOG_2 + estimate_error


@mutant("07.7", "best action alone")
def _(log_behaviour, action_dim, estimate_error):
    """only the densest logged action counts here. The penalty is a mean over all of them."""
    return -log_behaviour.max() - action_dim * LOG_2 + estimate_error


@mutant("07.7", "divided by the dimensions")
def _(log_behaviour, action_dim, estimate_error):
    """the mean log-density is divided by the number of dimensions. The log-density is that of the whole action, a sum
    over them: use it as it comes."""
    return -log_behaviour.mean() / action_dim - LOG_2 + estimate_error


@mutant("07.7", "divided by the dimensions, A log 2 whole")
def _(log_behaviour, action_dim, estimate_error):
    """the mean log-density is divided by the number of dimensions, A log 2 is not. Both belong to the whole action."""
    return -log_behaviour.mean() / action_dim - action_dim * LOG_2 + estimate_error


@mutant("07.7", "cut off at 0")
def _(log_behaviour, action_dim, estimate_error):
    """the floor is cut off at 0. That of the exact gap is never above 0, but an integral that is estimated too high
    lifts the logged one, and a few logged actions may be less dense than uniform."""
    return (-log_behaviour.mean() - action_dim * LOG_2 + estimate_error).clamp(max=0)


@mutant("07.7", "error always downwards")
def _(log_behaviour, action_dim, estimate_error):
    """the size of the error is subtracted, whatever its sign. An estimate that is too *high* lifts the logged gap: add
    the error as it comes."""
    return -log_behaviour.mean() - action_dim * LOG_2 - abs(estimate_error)


@mutant("07.7", "weighed by the density again")
def _(log_behaviour, action_dim, estimate_error):
    """each logged action is weighed by its density, minus the sum of p log p. The rows of a log are *drawn* from the
    behaviour policy, so that a plain mean of -log p weighs them already."""
    return -(log_behaviour.exp() * log_behaviour).sum() - action_dim * LOG_2 + estimate_error


# ---------------------------------------------------------------- predictions
prediction(
    "07.p1",
    "Six dimensions, half of the candidates uniform and half from a fairly sharp policy on the higher bump. Leave out "
    "all densities. Which share of the push-down falls on the policy's neighbourhood, where softmax(Q) has a "
    "twenty-fifth?",
    answer="a",
    a=(
        "nearly all of it",
        "Where a candidate came from no longer matters, only its exp Q: and the policy's candidates are the highest "
        "there are.",
    ),
    b=(
        "about as much as softmax(Q) has, within the noise",
        "Each candidate would have to stand for the region that it was drawn from, and that is what the density says.",
    ),
    c=("hardly any", "They are half of the candidates, and the half with the largest values."),
)

prediction(
    "07.p2",
    "CQL with uniform candidates only, right density, on the arm's narrow log (six joints, every reward negative). "
    "After 800 updates its predictions for the policy's own actions are...",
    answer="c",
    a=(
        "about right: the estimator is unbiased",
        "It is, before the logarithm. But five uniform candidates never come near the policy's actions, so nothing "
        "pushes there.",
    ),
    b=(
        "far too low, as everything is pushed down without an end",
        "Everything but the actions that the policy has moved to.",
    ),
    c=(
        "above zero, where no value can be",
        "Nothing pushes the policy's own actions down, so the maximisation runs off as without a penalty; what is "
        "pushed down are random actions, without an end.",
    ),
)

prediction(
    "07.p3",
    "The *correct* penalty, alpha tuned, on both logs of the arm: what does it predict for the policy's own actions, "
    "on average over states, in ten draws of each log?",
    answer="b",
    a=(
        "less than is true, in nearly every draw: that is what the penalty is for",
        "The bound is promised for exact tables, for pi = softmax(Q) and on average over states. Here the policy is "
        "sharp, and the logged actions are pulled up.",
    ),
    b=(
        "more than is true, in nearly every draw",
        "The penalty pulls logged actions up as much as it pushes others down, and a sharp policy near the log gets "
        "the pull.",
    ),
    c=("more in some draws and less in others", "Then the two would nearly cancel. They do not here."),
)

prediction(
    "07.p4",
    "Thirty times the tuned alpha, the correct penalty, five tasks. Beside the tuned run, the predictions for the "
    "policy's own actions lie...",
    answer="b",
    a=(
        "further below the truth, on at least three tasks",
        "So one would think of more conservatism. But the pull on the logged actions grows by the same factor.",
    ),
    b=(
        "further above it, on at least three",
        "So strong a penalty flattens what the rewards say: the critic tells logged from unlogged actions, and the "
        "pull carries the logged ones, and what is like them, upwards.",
    ),
    c=("neither: on most tasks the draws do not tell", "Thirty times the penalty must do something, and it does."),
)

prediction(
    "07.p5",
    "A multiplier in place of alpha, and a target for the CQL gap that no critic can reach. What does it do?",
    answer="a",
    a=(
        "it rises without an end, and costs return",
        "Nothing can satisfy it: an alpha that is far too large.",
    ),
    b=(
        "it settles where the CQL gap is as near to its target as it can come",
        "There is no such place for the multiplier: its loss falls for ever while the gap is above its target.",
    ),
    c=("it falls to its lower bound: plain SAC", "That is what a target *above* the natural gap does."),
)


# ---------------------------------------------------------------- quiz
quiz_question(
    "07.a",
    "A colleague's CQL leaves out every density, and ten draws do not tell its return from that of CQL(H). What "
    "follows?",
    answer="c",
    a=(
        "the two earn the same on these tasks, so the densities may be left out in general",
        "Not told apart is not the same as equal, and another task may tell them apart: the bandit with six "
        "dimensions does.",
    ),
    b=(
        "the loss is not CQL any more, and its good returns are luck",
        "It is CQL(rho), another member of the family, with rho the mixture of the candidates' proposals. What it is "
        "not is an estimate of the log-integral.",
    ),
    c=(
        "differences outside the paired interval are excluded; the penalty's number means something else",
        "Both halves matter: the interval says what is left, and a target for the CQL gap cannot be carried over.",
    ),
)

quiz_question(
    "07.b",
    "The logged CQL gap of a run falls steadily, to -100. What is the likeliest reading?",
    answer="a",
    a=(
        "the estimate misses the actions that matter: some values fall without an end",
        "The floor is a handful of nats; an estimate far below it does not see where the values are.",
    ),
    b=(
        "the penalty works very well, and the policy will be cautious",
        "No critic can bring the true CQL gap below minus the distance of the behaviour policy from uniform.",
    ),
    c=("alpha is too small", "With too small an alpha the CQL gap stays high."),
)

quiz_question(
    "07.c",
    "Rewards are rescaled from euros to cents (numbers a hundred times as large). Which alpha is closest to the old "
    "behaviour, if the loss itself is not changed?",
    answer="b",
    a=(
        "the same",
        "The squared error grows by ten thousand, the penalty by about a hundred: alpha would be a hundred times too "
        "weak.",
    ),
    b=(
        "about a hundred times as large",
        "The penalty grows with the values, the squared error with their square; the softmax inside sharpens, too, so "
        "this is only about right.",
    ),
    c=(
        "ten thousand times as large, as the squared error",
        "That would be right if the penalty did not grow at all; it is a difference of values, and grows a "
        "hundredfold itself.",
    ),
)
