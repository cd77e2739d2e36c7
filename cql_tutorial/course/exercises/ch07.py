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
        Example((_numbers([[900.0, 901.0]]), _numbers([[-0.7, 0.3]])), "values of 900", shown=False),
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


# ---------------------------------------------------------------- 07.2
@exercise(
    "07.2",
    title="how many actions carry the push-down",
    kind="build",
    difficulty=2,
    importance=3,
    minutes=6,
    examples=(
        Example(
            (_numbers([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]),),
            "worked by hand: shares 1/2, 1/4, 1/4, and all on one",
        ),
        Example(
            (_numbers([[0.25, 0.25, 0.25, 0.25], [0.7, 0.1, 0.1, 0.1]]),),
            "four equal shares, and four unequal ones",
        ),
    ),
    hints=(
        "Four equal shares must give 4, and a single share of 1 must give 1.",
        "Square the shares, add them up in each state, and take one over the sum (Kish's effective sample size).",
        "return 1 / weights.____().sum(dim=1)",
    ),
    meaning="A penalty that counts thirty candidates may push on one or two: the count tells before any curve does.",
)
def effective_actions(weights):
    """On how many actions a state's push-down lands, in effect: 1 / sum of squared shares.

    [B, K] -> [B]
    """
    return 1 / weights.square().sum(dim=1)


@mutant("07.2", "not inverted")
def _(weights):
    """that is the sum of squares: 1 where all lies on one action, small where it is spread. The number of actions
    is one over it."""
    return weights.square().sum(1)


@mutant("07.2", "shares not squared")
def _(weights):
    """the shares add up to 1, so this is 1 whatever they are. Square them first."""
    return 1 / weights.sum(1)


@mutant("07.2", "entropy")
def _(weights):
    """the exponential of the entropy is another, and a fair, count of the same thing; here the sum of squares is
    asked for, which is that of importance sampling."""
    return torch.special.entr(weights).sum(1).exp()


@mutant("07.2", "entropy itself")
def _(weights):
    """that is the entropy, in nats: 0 where all lies on one action. A count is asked for, and one from the sum of
    squares."""
    return torch.special.entr(weights).sum(1)


@mutant("07.2", "one minus")
def _(weights):
    """one *minus* the sum of squares is the chance that two draws differ. The count is one *over* the sum."""
    return 1 - weights.square().sum(1)


@mutant("07.2", "one over the largest")
def _(weights):
    """one over the largest share is a lower limit of the count: it ignores how the rest is spread."""
    return 1 / weights.amax(1)


@mutant("07.2", "counted")
def _(weights):
    """a whole number: you count the actions with any share at all. A share of a millionth should count next to
    nothing, one of a quarter for a part."""
    return (weights > 0).sum(1)


@mutant("07.2", "rounded")
def _(weights):
    """rounded to a whole number. A count of effective actions may lie between two of them."""
    return (1 / weights.square().sum(1)).round()


@mutant("07.2", "as a part of all")
def _(weights):
    """that is the count as a part of all candidates. The number itself is asked for."""
    return 1 / weights.square().sum(1) / weights.shape[1]


@mutant("07.2", "over the states")
def _(weights):
    """the sum runs over the states. Each state has its own count: sum over axis 1."""
    return 1 / weights.square().sum(0)


@mutant("07.2", "one for the batch")
def _(weights):
    """one number for the whole batch; a count for each state is asked for."""
    return 1 / weights.square().sum(1).mean()


@mutant("07.2", "root")
def _(weights):
    """there is a square root too many: four equal shares should count as four."""
    return 1 / weights.square().sum(1).sqrt()


# ---------------------------------------------------------------- 07.3
@exercise(
    "07.3",
    title="how often luck finds the policy",
    kind="build",
    difficulty=2,
    importance=4,
    minutes=5,
    examples=(
        Example((640, 0.25, 3), "worked by hand: 640 uniform actions in a cube of side 2, a box of side 0.5 in it"),
        Example((100, 0.1, 1), "one dimension, a tenth to both sides"),
        Example((1000, 0.2, 6), "six dimensions, a fifth to both sides"),
    ),
    hints=(
        "In the example the small cube has a sixty-fourth of the large one's volume, so 10 of 640 land in it.",
        "The chance of one action in one dimension is 2 half_width / 2. All dimensions must agree; then multiply by n.",
        "return n * half_width ** ____",
    ),
    meaning="In six dimensions no affordable number of uniform actions comes near a policy's own.",
)
def uniform_hits(n, half_width, action_dim):
    """How many of n uniform actions fall, on average, within half_width of a point in every dimension.

    number, number, number -> number; the box lies inside [-1, 1]^action_dim
    """
    return n * half_width**action_dim


@mutant("07.3", "volume of the box")
def _(n, half_width, action_dim):
    """you multiply by the *volume* of the box. The chance is its volume over that of all actions, 2 to the power
    action_dim."""
    return n * (2 * half_width) ** action_dim


@mutant("07.3", "times the dimensions")
def _(n, half_width, action_dim):
    """the chances of the dimensions are *added*. A hit needs every dimension at once: they multiply."""
    return n * half_width * action_dim


@mutant("07.3", "any dimension")
def _(n, half_width, action_dim):
    """that counts the actions which agree in *at least one* dimension. A hit agrees in all of them at once."""
    return n * (1 - (1 - half_width) ** action_dim)


@mutant("07.3", "ball")
def _(n, half_width, action_dim):
    """that is a ball of radius half_width. Within half_width *in every dimension* is a box."""
    return n * (half_width / 2) ** action_dim * math.pi ** (action_dim / 2) / math.gamma(action_dim / 2 + 1)


@mutant("07.3", "rounded")
def _(n, half_width, action_dim):
    """rounded to a whole number: an average number of hits can be a small fraction, and that it is one is the point."""
    return int(n * half_width**action_dim)


@mutant("07.3", "one dimension")
def _(n, half_width, action_dim):
    """that is the count for one dimension (or a volume halved only once): a hit must lie within the box in *every*
    dimension, and each one multiplies by half_width."""
    return n * half_width


@mutant("07.3", "the chance")
def _(n, half_width, action_dim):
    """that is the chance of one action. How many of n is asked."""
    return half_width**action_dim


@mutant("07.3", "a quarter to each side")
def _(n, half_width, action_dim):
    """half_width goes to *both* sides: the box has side 2 half_width, of a range of 2."""
    return n * (half_width / 2) ** action_dim


@mutant("07.3", "at least one")
def _(n, half_width, action_dim):
    """that is the chance of at least one hit; the average number of hits is asked for (the two agree where both
    are small)."""
    return 1 - (1 - half_width**action_dim) ** n


@mutant("07.3", "power over all")
def _(n, half_width, action_dim):
    """the number of actions is inside the power too. n actions are drawn, not n in every dimension."""
    return (n * half_width) ** action_dim


# ---------------------------------------------------------------- 07.4
@exercise(
    "07.4",
    title="what could this have missed?",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=8,
    examples=(
        Example(
            (_numbers([1.0, 3.0, 5.0, 7.0, 9.0]), 2.8, 0.94),
            "worked by hand: five paired differences, whose standard deviation is 3.16",
        ),
        Example((_numbers([-2.0, 0.5, 0.0, 1.5]), 3.2, 0.98), "four differences on both sides of 0"),
    ),
    hints=(
        "The mean of n differences has a standard error: their standard deviation over the root of n.",
        "To be seen, an effect must exceed t_level standard errors; to be seen *reliably*, it needs t_power more.",
        "return (t_level + t_power) * differences.std() / ____",
    ),
    meaning="'No difference seen' says something only together with the difference that would have been seen.",
)
def smallest_effect(differences, t_level, t_power):
    """The smallest true difference that so many paired runs would have shown, with the chance t_power stands for.

    differences [n], two quantiles -> []
    """
    return (t_level + t_power) * differences.std() / math.sqrt(len(differences))


@mutant("07.4", "interval only")
def _(differences, t_level, t_power):
    """that is the half-width of the interval: a true effect of that size would be missed every second time. The
    power needs t_power on top."""
    return t_level * differences.std() / math.sqrt(len(differences))


@mutant("07.4", "power only")
def _(differences, t_level, t_power):
    """only t_power is used. The effect must clear the interval's half-width (t_level) and then the noise again
    (t_power): the two add up."""
    return t_power * differences.std() / math.sqrt(len(differences))


@mutant("07.4", "standard error alone")
def _(differences, t_level, t_power):
    """that is the standard error of the mean. How many of them must an effect exceed to be seen reliably? t_level
    + t_power."""
    return differences.std() / math.sqrt(len(differences))


@mutant("07.4", "brackets missing")
def _(differences, t_level, t_power):
    """t_level stands alone, without a unit: *both* quantiles count standard errors. Put their sum into brackets."""
    return t_level + t_power * differences.std() / math.sqrt(len(differences))


@mutant("07.4", "two samples")
def _(differences, t_level, t_power):
    """the root of 2 is for two unpaired groups. These are differences of pairs already: one sample."""
    return (t_level + t_power) * differences.std() * math.sqrt(2 / len(differences))


@mutant("07.4", "n divided out twice")
def _(differences, t_level, t_power):
    """you divide by n; the error of a mean falls with the *root* of n."""
    return (t_level + t_power) * differences.std() / len(differences)


@mutant("07.4", "spread of single runs")
def _(differences, t_level, t_power):
    """that is for a single pair. The mean of n pairs is less noisy, by the root of n."""
    return (t_level + t_power) * differences.std()


@mutant("07.4", "n for n - 1")
def _(differences, t_level, t_power):
    """the standard deviation divides by n here; an estimate from a sample divides by n - 1, which .std() does by
    itself."""
    return (t_level + t_power) * differences.std(correction=0) / math.sqrt(len(differences))


@mutant("07.4", "root of n - 1")
def _(differences, t_level, t_power):
    """the n - 1 belongs into the standard deviation (where .std() has it already); the error of the mean is over
    the root of n."""
    return (t_level + t_power) * differences.std() / math.sqrt(len(differences) - 1)


@mutant("07.4", "variance")
def _(differences, t_level, t_power):
    """that is the variance, in squared units. The standard deviation is its root."""
    return (t_level + t_power) * differences.var() / math.sqrt(len(differences))


@mutant("07.4", "around the mean")
def _(differences, t_level, t_power):
    """the mean that was found does not enter: what could have been missed depends on the noise alone."""
    return differences.mean().abs() + (t_level + t_power) * differences.std() / math.sqrt(len(differences))


@mutant("07.4", "quantiles multiplied")
def _(differences, t_level, t_power):
    """the two quantiles are multiplied; they are two distances, one after the other: they add up."""
    return t_level * t_power * differences.std() / math.sqrt(len(differences))


@mutant("07.4", "added in squares")
def _(differences, t_level, t_power):
    """the quantiles are added as squares, like independent errors. They are two distances, one after the other:
    they add up as they are."""
    return math.hypot(t_level, t_power) * differences.std() / math.sqrt(len(differences))


# ---------------------------------------------------------------- 07.5
@exercise(
    "07.5",
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
            (_numbers([[1.0, 2.0], [0.0, 1.0]]), _numbers([[-0.7, 0.1], [-0.7, 0.3]]), _numbers([0.5, 1.5]), 1.0, 1.0),
            "unit 1: nothing changes",
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
        "Alpha has the unit of a squared reward, and the log-sum-exp a temperature in units of reward: neither is a "
        "pure number."
    ),
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


@mutant("07.5", "unit ignored")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the unit is ignored. The squared error grows with unit**2, this penalty does not: the same alpha means less
    and less."""
    return alpha * _penalty(q_candidates, log_density, q_data)


@mutant("07.5", "alpha times unit")
def _(q_candidates, log_density, q_data, alpha, unit):
    """alpha times the unit is the rule of thumb, and nearly right where one candidate dominates the sum. The
    logarithm and the exponential still see values in the new unit: divide Q by the unit *inside*, not after."""
    return alpha * unit * _penalty(q_candidates, log_density, q_data)


@mutant("07.5", "alpha times unit squared")
def _(q_candidates, log_density, q_data, alpha, unit):
    """alpha is rescaled, Q is not: exp of the larger numbers sharpens the softmax, and the penalty picks out the
    maximum. Divide Q by the unit first."""
    return alpha * unit**2 * _penalty(q_candidates, log_density, q_data)


@mutant("07.5", "alpha divided")
def _(q_candidates, log_density, q_data, alpha, unit):
    """alpha is divided by the unit. The squared error has *grown* by unit**2: the penalty must grow with it, from
    Q / unit."""
    return alpha / unit**2 * _penalty(q_candidates, log_density, q_data)


@mutant("07.5", "one unit short")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the penalty is in the old unit again, good. The squared error has grown with unit *squared*, so alpha must,
    too, before both terms."""
    return alpha * unit * _penalty(q_candidates / unit, log_density, q_data / unit)


@mutant("07.5", "old unit only")
def _(q_candidates, log_density, q_data, alpha, unit):
    """that is the penalty in the old unit. The squared error beside it has grown by unit**2: multiply alpha by that."""
    return alpha * _penalty(q_candidates / unit, log_density, q_data / unit)


@mutant("07.5", "density divided too", seen="young-geng/CQL#3")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the log-density is divided as well. A density of actions has no unit of reward: only Q is divided."""
    return alpha * unit**2 * _penalty(q_candidates / unit, log_density / unit, q_data / unit)


@mutant("07.5", "logged value not divided")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the logged action's value is still in the new unit, the soft maximum in the old one: both terms are values
    of Q."""
    return alpha * unit**2 * _penalty(q_candidates / unit, log_density, q_data)


@mutant("07.5", "multiplied")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the values are already unit times as large: divide them by the unit to get back, then weigh with unit**2."""
    return alpha * _penalty(q_candidates * unit, log_density, q_data * unit)


@mutant("07.5", "data term forgotten")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the push up on the logged action is missing."""
    soft = torch.logsumexp(q_candidates / unit - log_density, 1) - math.log(q_candidates.shape[1])
    return alpha * unit**2 * soft.mean()


@mutant("07.5", "density forgotten")
def _(q_candidates, log_density, q_data, alpha, unit):
    """log_density is not subtracted: that is the penalty without importance correction, in the right unit."""
    return alpha * unit**2 * _penalty(q_candidates / unit, 0 * log_density, q_data / unit)


@mutant("07.5", "number of candidates")
def _(q_candidates, log_density, q_data, alpha, unit):
    """the number of candidates is missing: a mean inside the logarithm subtracts log K, K being axis 1."""
    return alpha * unit**2 * (torch.logsumexp(q_candidates / unit - log_density, 1) - q_data / unit).mean()


# ---------------------------------------------------------------- 07.6
@exercise(
    "07.6",
    title="the floor under the CQL gap",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=8,
    examples=(
        Example((_numbers([0.4, 0.0, -0.2, 0.2]), 2), "worked by hand: four logged actions in two dimensions"),
        Example((_numbers([3.1, 2.0, 4.2]), 6), "three logged actions in six dimensions"),
        Example((torch.full((5,), -2 * LOG_2, dtype=DOUBLE), 2), "uniform behaviour in two dimensions: the floor is 0"),
    ),
    hints=(
        "Uniform behaviour: every log-density is -action_dim log 2, and the floor must come out as 0.",
        "The best critic for the penalty is Q = log behaviour. Its penalty is minus the mean log-density of the "
        "logged actions; the CQL gap subtracts action_dim log 2.",
        "return ____ - action_dim * math.log(2)",
    ),
    meaning=(
        "No critic can push the CQL gap below minus KL(behaviour || uniform): a Lagrange target below it sends the "
        "multiplier to its cap."
    ),
)
def lowest_gap(log_behaviour, action_dim):
    """The lowest CQL gap that any critic can reach: minus KL(behaviour || uniform), from logged actions.

    log_behaviour [N], the behaviour policy's log-density of each logged action; number -> []
    """
    return -log_behaviour.mean() - action_dim * math.log(2)


@mutant("07.6", "distance itself")
def _(log_behaviour, action_dim):
    """that is KL(behaviour || uniform) itself; the floor lies that far *below* zero."""
    return log_behaviour.mean() + action_dim * LOG_2


@mutant("07.6", "volume forgotten")
def _(log_behaviour, action_dim):
    """that is the entropy of the behaviour policy, the lowest value of the log-mean form. The CQL gap is that
    minus action_dim log 2."""
    return -log_behaviour.mean()


@mutant("07.6", "volume added")
def _(log_behaviour, action_dim):
    """the volume has the wrong sign: uniform behaviour has log-density -action_dim log 2, and its floor must be 0."""
    return -log_behaviour.mean() + action_dim * LOG_2


@mutant("07.6", "behaviour forgotten")
def _(log_behaviour, action_dim):
    """only -action_dim log 2 is left. Minus the *mean* log-density of the logged actions is to be added (their
    largest is 0 here)."""
    return torch.tensor(-action_dim * LOG_2, dtype=DOUBLE)


@mutant("07.6", "mean alone")
def _(log_behaviour, action_dim):
    """that is the mean log-density. The best penalty is *minus* it, and the CQL gap subtracts action_dim log 2
    from that."""
    return log_behaviour.mean()


@mutant("07.6", "log 2 once")
def _(log_behaviour, action_dim):
    """log 2 is needed once for each dimension."""
    return -log_behaviour.mean() - LOG_2


@mutant("07.6", "density for its log")
def _(log_behaviour, action_dim):
    """log_behaviour holds logarithms already, and an entropy averages logarithms, not densities."""
    return -log_behaviour.exp().mean() - action_dim * LOG_2


@mutant("07.6", "log of the mean")
def _(log_behaviour, action_dim):
    """the logarithm of the mean density is not the mean of the logarithm; a KL divergence averages the logarithm."""
    return -(torch.logsumexp(log_behaviour, 0) - math.log(len(log_behaviour))) - action_dim * LOG_2


@mutant("07.6", "weighed by the density")
def _(log_behaviour, action_dim):
    """each log-density is weighed by its density. The logged actions come *from* the behaviour, as often as it
    says: a plain mean weighs them rightly."""
    return -(log_behaviour.exp() * log_behaviour).mean() - action_dim * LOG_2


@mutant("07.6", "sum")
def _(log_behaviour, action_dim):
    """a sum over the logged actions grows with the log. The floor is an average."""
    return -log_behaviour.sum() - action_dim * LOG_2


@mutant("07.6", "sign of the log-density")
def _(log_behaviour, action_dim):
    """the sign of the mean is turned: a *denser* behaviour (larger log-density) allows a lower gap."""
    return log_behaviour.mean() - action_dim * LOG_2


# ---------------------------------------------------------------- predictions
def _where_it_bites(id: str, text: str, *, answer: str, lost: str, high: str, unseen: str) -> None:
    """A row of the table of pitfalls: where does it bite?"""
    prediction(
        id,
        text,
        answer=answer,
        a=("a tenth of the return or more is lost on at least one of the five tasks", lost),
        b=("less than that: a little return is lost, or values err upwards, on at least one", high),
        c=("neither is seen, on any of them", unseen),
    )


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
        "about as much as softmax(Q) has",
        "Each candidate would have to stand for the region that it was drawn from, and that is what the density says.",
    ),
    c=("hardly any", "They are half of the candidates, and the half with the largest values."),
)

prediction(
    "07.p2",
    "CQL with uniform candidates only, right density, on the arm's narrow log (six joints, every reward negative). "
    "After two thousand updates its predictions for the policy's own actions are...",
    answer="c",
    a=(
        "about right: the estimator is unbiased",
        "It is, before the logarithm. But five uniform candidates never come near the policy's actions, so nothing "
        "pushes there.",
    ),
    b=("far too low: everything is pushed down", "Everything but the actions that the policy has moved to."),
    c=(
        "above zero, where no value can be",
        "Nothing pushes the policy's own actions down, so the maximisation runs off as without a penalty; what is "
        "pushed down are random actions, without an end.",
    ),
)

_where_it_bites(
    "07.p3",
    "Row *no importance correction*. Where does it bite?",
    answer="a",
    lost=(
        "About a tenth on the bandit in six dimensions, a few per cent in the maze; on the arm's narrow log it earns "
        "more than the correct penalty. The gradient is wrong, and what that does to the return depends on the task."
    ),
    high=(
        "It costs more than that on the bandit in six dimensions; its values err *downwards*, since it puts more "
        "push-down on the policy's actions than softmax(Q) asks for."
    ),
    unseen=(
        "On the arm nothing is lost, but the bandit in six dimensions and the maze do tell it from the correct penalty."
    ),
)

_where_it_bites(
    "07.p4",
    "Row *no uniform density*. Where does it bite?",
    answer="b",
    lost="For that, random actions would have to matter for the return: they are what it hardly pushes any more.",
    high=(
        "A little, on the bandit in six dimensions. It moves push-down from random actions to the policy's, which is "
        "where the return is decided."
    ),
    unseen="Nearly: only the bandit in six dimensions tells it from the correct penalty, by a few per cent.",
)

_where_it_bites(
    "07.p5",
    "Row *hard max*. Where does it bite?",
    answer="b",
    lost=(
        "The maximum over the candidates is nearly always one of the policy's own, and pushing that one down is most "
        "of what a penalty has to do."
    ),
    high=(
        "A little, on the bandit in six dimensions. The highest candidate is the one that could run off: biased by "
        "several nats, and nearly harmless."
    ),
    unseen="Nearly: only the bandit in six dimensions tells it from the correct penalty, by a few per cent.",
)

_where_it_bites(
    "07.p6",
    "Row *batch max*: one maximum over the whole batch. Where does it bite?",
    answer="a",
    lost=(
        "In the maze: one state of the batch takes all the push-down, the others are left to themselves, and most "
        "draws never reach the goal."
    ),
    high="One state in the batch takes all the push-down; elsewhere nothing holds the values.",
    unseen="One state of 64 gets all the push-down, so the others must be missing something.",
)

_where_it_bites(
    "07.p7",
    "Row *single action*: one uniform and one policy candidate. Where does it bite?",
    answer="b",
    lost=(
        "The estimate is noisier in each state, but an update averages over 64 states, and training over thousands of "
        "updates."
    ),
    high=(
        "A little return, and values a little higher, on some tasks: the noise averages out over states and updates, a "
        "lower estimate of the integral remains."
    ),
    unseen="Most of the noise averages out over 64 states and thousands of updates, but not all of what it does.",
)

_where_it_bites(
    "07.p8",
    "Row *policy only*. Where does it bite?",
    answer="b",
    lost="The policy's own neighbourhood is pushed down, and it mostly stays where the log supports it.",
    high=(
        "A little, on most tasks: actions that the policy does not propose are never pushed down, and it finds some of "
        "them."
    ),
    unseen="Actions that the policy does not propose are never pushed down, and it finds some of them.",
)

_where_it_bites(
    "07.p9",
    "Row *uniform only*, on all five tasks. Where does it bite?",
    answer="a",
    lost=(
        "On narrow data in six dimensions nothing holds the values of the policy's own actions, as the live run showed."
    ),
    high="Where values run off as far as in the live run, the return follows.",
    unseen="The live run showed values that cannot exist.",
)

_where_it_bites(
    "07.p10",
    "Row *alpha small*: a thirtieth of the tuned alpha. Where does it bite?",
    answer="a",
    lost="On narrow data the penalty is what keeps the policy inside the log; a thirtieth of it does not.",
    high="Where values run off far enough, the return follows.",
    unseen="A thirtieth of the penalty is nearly no penalty.",
)

_where_it_bites(
    "07.p11",
    "Row *alpha large*: thirty times the tuned alpha. Where does it bite?",
    answer="a",
    lost=(
        "So strong a penalty flattens what the rewards say: the critic tells logged from unlogged actions, and hardly "
        "good from bad."
    ),
    high="One would expect values that are too *low*.",
    unseen="Thirty times the penalty must do something.",
)

_where_it_bites(
    "07.p12",
    "Row *reward unit*: the same alpha, the rewards logged in a unit thirty times smaller. Where does it bite?",
    answer="a",
    lost="Alpha is thirty times too small for the new numbers, or nearly: it belongs to the unit.",
    high="Where the penalty is lost on narrow data, the return goes with it.",
    unseen=(
        "The numbers are thirty times as large, and the squared error nine hundred times: alpha cannot mean the same."
    ),
)

_where_it_bites(
    "07.p13",
    "Row *Lagrange, target below the floor*. Where does it bite?",
    answer="a",
    lost="The multiplier rises without an end, since nothing can satisfy it: an alpha that is far too large.",
    high=(
        "A huge multiplier makes values too low at first sight; a critic that only separates logged from unlogged "
        "actions can err either way."
    ),
    unseen="The multiplier is at its cap, or on its way: an alpha that is far too large.",
)

_where_it_bites(
    "07.p14",
    "Row *Lagrange, target above the natural gap*. Where does it bite?",
    answer="a",
    lost=(
        "The target is met without any penalty, so the multiplier goes to its lower bound: plain SAC, with what that "
        "costs."
    ),
    high="Plain SAC, with its values; where they run off far enough the return follows.",
    unseen="The multiplier goes to its lower bound: this is plain SAC.",
)


# ---------------------------------------------------------------- quiz
quiz_question(
    "07.a",
    "A colleague's CQL leaves out every density, and returns are as good as those of the correct loss. What follows?",
    answer="a",
    a=(
        "any difference here is too small to be seen; the penalty's number means something else",
        "Both halves matter: what was not seen has a size, and a target for the CQL gap cannot be carried over.",
    ),
    b=(
        "the colleague made a second mistake that cancels the first one, and it will show as soon as the task, the "
        "log or alpha is another",
        "No second mistake is needed: pushing on the policy's own action is a working penalty of another kind.",
    ),
    c=(
        "the correction is unnecessary on any task: the actor sees only the direction of Q, and that does not change",
        "On the tasks measured, for the return. The logged penalty and every Lagrange target then belong to another "
        "quantity, and another task may tell them apart.",
    ),
)

quiz_question(
    "07.b",
    "The logged CQL gap of a run falls steadily, to -100. What is the likeliest reading?",
    answer="c",
    a=(
        "the penalty works very well",
        "No critic can bring the true CQL gap below minus the distance of the behaviour policy from uniform.",
    ),
    b=(
        "alpha is too small, so the values of unlogged actions have run off above the logged ones",
        "With too small an alpha the CQL gap stays high.",
    ),
    c=(
        "the estimate misses the actions that matter: values of some actions fall without an end",
        "The floor is a handful of nats; an estimate far below it does not see where the values are.",
    ),
)

quiz_question(
    "07.c",
    "Rewards are rescaled from euros to cents (numbers a hundred times as large). Which alpha is closest to the old "
    "behaviour, if the loss itself is not changed?",
    answer="b",
    a=(
        "the same, as the penalty grows with the values of Q",
        "The squared error grows by ten thousand, the penalty by about a hundred: alpha would be a hundred times too "
        "weak.",
    ),
    b=(
        "about a hundred times as large",
        "The penalty grows with the values, the squared error with their square; the softmax inside sharpens, too, so "
        "this is only about right.",
    ),
    c=(
        "ten thousand times as large",
        "That would be right if the penalty did not grow at all; it is a difference of values, and grows a "
        "hundredfold itself.",
    ),
)
