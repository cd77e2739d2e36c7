"""Exercises of chapter 07, pitfalls: instruments that measure what a wrong detail of the loss does."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..checker import Example, Exercise, Mutant
from ..session import Question

DOUBLE = torch.float64
LOG_2 = math.log(2.0)


def _numbers(values: object) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


# ---------------------------------------------------------------- 07.1
def push_down(q, log_density):
    """The share of the push-down that lands on each candidate: d log_partition / d q.

    [B, K], [B, K] -> [B, K]
    """
    return torch.softmax(q - log_density, dim=1)


def _one_hot(values: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(values.argmax(1), values.shape[1]).to(values)


# ---------------------------------------------------------------- 07.2
def effective_actions(weights):
    """On how many actions a state's push-down lands, in effect: 1 / sum of squared shares.

    [B, K] -> [B]
    """
    return 1 / weights.square().sum(dim=1)


# ---------------------------------------------------------------- 07.3
def uniform_hits(n, half_width, action_dim):
    """How many of n uniform actions fall, on average, within half_width of a point in every dimension.

    number, number, number -> number; the box lies inside [-1, 1]^action_dim
    """
    return n * half_width**action_dim


# ---------------------------------------------------------------- 07.4
def smallest_effect(differences, t_level, t_power):
    """The smallest true difference that so many paired runs would have shown, with the chance t_power stands for.

    differences [n], two quantiles -> []
    """
    return (t_level + t_power) * differences.std() / math.sqrt(len(differences))


# ---------------------------------------------------------------- 07.5
def penalty_in_unit(q_candidates, log_density, q_data, alpha, unit):
    """Alpha times the penalty, for values counted in a unit that makes every number `unit` times as large.

    [B, K], [B, K], [B], number, number -> []; unit**2 times what it is at unit 1, like the squared error
    """
    q, logged = q_candidates / unit, q_data / unit
    soft = torch.logsumexp(q - log_density, dim=1) - math.log(q.shape[1])
    return alpha * unit**2 * (soft - logged).mean()


def _penalty(q: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
    return (torch.logsumexp(q - log_density, 1) - math.log(q.shape[1]) - q_data).mean()


# ---------------------------------------------------------------- 07.6
def lowest_gap(log_behaviour, action_dim):
    """The lowest CQL gap that any critic can reach: minus KL(behaviour || uniform), from logged actions.

    log_behaviour [N], the behaviour policy's log-density of each logged action; number -> []
    """
    return -log_behaviour.mean() - action_dim * math.log(2)


EXERCISES = (
    Exercise(
        id="07.1",
        title="where the push-down lands",
        kind="build",
        difficulty=2,
        importance=5,
        minutes=8,
        reference=push_down,
        examples=(
            Example((_numbers([[0.0, math.log(4.0), math.log(6.0)]]), _numbers([[0.0, 0.0, math.log(2.0)]])), "worked by hand: exp Q is 1, 4, 6 and the densities are 1, 1, 2"),
            Example((_numbers([[1.0, 0.5, -1.0], [2.0, 2.0, 3.0]]), _numbers([[-0.7, -0.7, 1.5], [-0.7, -0.7, 2.0]])), "two states, two uniform candidates and one of the policy's"),
            Example((_numbers([[900.0, 901.0]]), _numbers([[-0.7, 0.3]])), "values of 900", False),
        ),
        mutants=(
            Mutant("density forgotten", lambda q, d: torch.softmax(q, 1), "the density is missing: these are the shares without importance correction, the first pitfall of this chapter. Each candidate stands for 1 / density.", "EmptyJackson/unifloral"),
            Mutant("density multiplied", lambda q, d: torch.softmax(q + d, 1), "the density is multiplied in: dividing exp Q by the density *subtracts* its logarithm."),
            Mutant("divided by the log", lambda q, d: torch.softmax(q / d.exp(), 1), "Q itself is divided by the density. It is exp Q that is divided: inside the exponent that is a subtraction of log_density."),
            Mutant("density for its log", lambda q, d: torch.softmax(q - d.exp(), 1), "the density itself is subtracted. log_density is a logarithm already, and that is what is subtracted in the exponent."),
            Mutant("sign of Q", lambda q, d: torch.softmax(d - q, 1), "both signs are turned: the *low* values would be pushed down. Each term is exp(Q - log_density)."),
            Mutant("over the states", lambda q, d: torch.softmax(q - d, 0), "the softmax runs over the states (axis 0). Each state has its own sum: the candidates are axis 1."),
            Mutant("over everything", lambda q, d: torch.softmax((q - d).flatten(), 0).view_as(q), "one softmax over states and candidates together: a state with high values would take the push-down away from the others."),
            Mutant("all on the largest", lambda q, d: _one_hot(q - d), "all on the largest: that is what a hard maximum does. The log-sum-exp spreads the push-down over all candidates."),
            Mutant("all on the largest Q", lambda q, d: _one_hot(q), "all of it on the candidate with the largest Q, densities ignored: a hard maximum. The derivative of a log-sum-exp is a softmax."),
            Mutant("not shares", lambda q, d: (q - d).exp(), "these are the terms of the sum. The derivative of its logarithm is each term divided by the sum: shares that add up to 1."),
            Mutant("divided by the number", lambda q, d: (q - d).exp() / q.shape[1], "you divide by the number of candidates. The derivative of the logarithm divides by the *sum* of the terms, so that the shares add up to 1."),
            Mutant("sum without densities", lambda q, d: (q - d).exp() / q.exp().sum(1, keepdim=True), "the terms have their densities, the sum that divides them has not (or a softmax of Q is divided by the density afterwards): the shares must add up to 1."),
            Mutant("without exponentials", lambda q, d: (q - d) / (q - d).sum(1, keepdim=True), "Q - log_density is divided by its own sum. The terms of the sum are its *exponentials*, all of them positive."),
            Mutant("log of the shares", lambda q, d: torch.log_softmax(q - d, 1), "these are the logarithms of the shares."),
            Mutant("equal shares", lambda q, d: torch.full_like(q, 1 / q.shape[1]), "the same for every candidate: that would be the derivative of a plain mean. A log-sum-exp pushes where exp Q over density is large."),
        ),
        hints=(
            "By hand: exp Q over density is 1, 4 and 3. Their sum is 8.",
            "The derivative of a log-sum-exp is a softmax, of whatever stands in the exponent. Over which axis is the sum?",
            "return torch.softmax(____, dim=1)",
        ),
        meaning="The gradient of the penalty is a set of shares: what a wrong density does, it does by moving them.",
    ),
    Exercise(
        id="07.2",
        title="how many actions carry the push-down",
        kind="build",
        difficulty=2,
        importance=3,
        minutes=6,
        reference=effective_actions,
        examples=(
            Example((_numbers([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]),), "worked by hand: shares 1/2, 1/4, 1/4, and all on one"),
            Example((_numbers([[0.25, 0.25, 0.25, 0.25], [0.7, 0.1, 0.1, 0.1]]),), "four equal shares, and four unequal ones"),
        ),
        mutants=(
            Mutant("not inverted", lambda w: w.square().sum(1), "that is the sum of squares: 1 where all lies on one action, small where it is spread. The number of actions is one over it."),
            Mutant("shares not squared", lambda w: 1 / w.sum(1), "the shares add up to 1, so this is 1 whatever they are. Square them first."),
            Mutant("entropy", lambda w: torch.special.entr(w).sum(1).exp(), "the exponential of the entropy is another, and a fair, count of the same thing; here the sum of squares is asked for, which is that of importance sampling."),
            Mutant("entropy itself", lambda w: torch.special.entr(w).sum(1), "that is the entropy, in nats: 0 where all lies on one action. A count is asked for, and one from the sum of squares."),
            Mutant("one minus", lambda w: 1 - w.square().sum(1), "one *minus* the sum of squares is the chance that two draws differ. The count is one *over* the sum."),
            Mutant("one over the largest", lambda w: 1 / w.amax(1), "one over the largest share is a lower limit of the count: it ignores how the rest is spread."),
            Mutant("counted", lambda w: (w > 0).sum(1), "a whole number: you count the actions with any share at all, or round. A share of a millionth should count next to nothing, one of a quarter for a part."),
            Mutant("as a part of all", lambda w: 1 / w.square().sum(1) / w.shape[1], "that is the count as a part of all candidates. The number itself is asked for."),
            Mutant("over the states", lambda w: 1 / w.square().sum(0), "the sum runs over the states. Each state has its own count: sum over axis 1."),
            Mutant("one for the batch", lambda w: 1 / w.square().sum(1).mean(), "one number for the whole batch; a count for each state is asked for."),
            Mutant("root", lambda w: 1 / w.square().sum(1).sqrt(), "there is a square root too many: four equal shares should count as four."),
        ),
        hints=(
            "Four equal shares must give 4, and a single share of 1 must give 1.",
            "Square the shares, add them up in each state, and take one over the sum (Kish's effective sample size).",
            "return 1 / weights.____().sum(dim=1)",
        ),
        meaning="A penalty that counts thirty candidates may push on one or two: the count tells before any curve does.",
    ),
    Exercise(
        id="07.3",
        title="how often luck finds the policy",
        kind="build",
        difficulty=2,
        importance=4,
        minutes=5,
        reference=uniform_hits,
        examples=(
            Example((640, 0.25, 3), "worked by hand: 640 uniform actions in a cube of side 2, a box of side 0.5 in it"),
            Example((100, 0.1, 1), "one dimension, a tenth to both sides"),
            Example((1000, 0.2, 6), "six dimensions, a fifth to both sides"),
        ),
        mutants=(
            Mutant("volume of the box", lambda n, h, d: n * (2 * h) ** d, "you multiply by the *volume* of the box. The chance is its volume over that of all actions, 2 to the power action_dim."),
            Mutant("times the dimensions", lambda n, h, d: n * h * d, "the chances of the dimensions are *added*. A hit needs every dimension at once: they multiply."),
            Mutant("any dimension", lambda n, h, d: n * (1 - (1 - h) ** d), "that counts the actions which agree in *at least one* dimension. A hit agrees in all of them at once."),
            Mutant("ball", lambda n, h, d: n * (h / 2) ** d * math.pi ** (d / 2) / math.gamma(d / 2 + 1), "that is a ball of radius half_width. Within half_width *in every dimension* is a box."),
            Mutant("rounded", lambda n, h, d: int(n * h**d), "rounded to a whole number: an average number of hits can be a small fraction, and that it is one is the point."),
            Mutant("one dimension", lambda n, h, d: n * h, "that is the count for one dimension (or a volume halved only once): a hit must lie within the box in *every* dimension, and each one multiplies by half_width."),
            Mutant("the chance", lambda n, h, d: h**d, "that is the chance of one action. How many of n is asked."),
            Mutant("a quarter to each side", lambda n, h, d: n * (h / 2) ** d, "half_width goes to *both* sides: the box has side 2 half_width, of a range of 2."),
            Mutant("at least one", lambda n, h, d: 1 - (1 - h**d) ** n, "that is the chance of at least one hit; the average number of hits is asked for (the two agree where both are small)."),
            Mutant("power over all", lambda n, h, d: (n * h) ** d, "the number of actions is inside the power too. n actions are drawn, not n in every dimension."),
        ),
        hints=(
            "In the example the small cube has a sixty-fourth of the large one's volume, so 10 of 640 land in it.",
            "The chance of one action in one dimension is 2 half_width / 2. All dimensions must agree; then multiply by n.",
            "return n * half_width ** ____",
        ),
        meaning="In six dimensions no affordable number of uniform actions comes near a policy's own.",
    ),
    Exercise(
        id="07.4",
        title="what could this have missed?",
        kind="build",
        difficulty=3,
        importance=5,
        minutes=8,
        reference=smallest_effect,
        examples=(
            Example((_numbers([1.0, 3.0, 5.0, 7.0, 9.0]), 2.8, 0.94), "worked by hand: five paired differences, whose standard deviation is 3.16"),
            Example((_numbers([-2.0, 0.5, 0.0, 1.5]), 3.2, 0.98), "four differences on both sides of 0"),
        ),
        mutants=(
            Mutant("interval only", lambda d, a, b: a * d.std() / math.sqrt(len(d)), "that is the half-width of the interval: a true effect of that size would be missed every second time. The power needs t_power on top."),
            Mutant("power only", lambda d, a, b: b * d.std() / math.sqrt(len(d)), "only t_power is used. The effect must clear the interval's half-width (t_level) and then the noise again (t_power): the two add up."),
            Mutant("standard error alone", lambda d, a, b: d.std() / math.sqrt(len(d)), "that is the standard error of the mean. How many of them must an effect exceed to be seen reliably? t_level + t_power."),
            Mutant("brackets missing", lambda d, a, b: a + b * d.std() / math.sqrt(len(d)), "t_level stands alone, without a unit: *both* quantiles count standard errors. Put their sum into brackets."),
            Mutant("two samples", lambda d, a, b: (a + b) * d.std() * math.sqrt(2 / len(d)), "the root of 2 is for two unpaired groups. These are differences of pairs already: one sample."),
            Mutant("n divided out twice", lambda d, a, b: (a + b) * d.std() / len(d), "you divide by n; the error of a mean falls with the *root* of n."),
            Mutant("spread of single runs", lambda d, a, b: (a + b) * d.std(), "that is for a single pair. The mean of n pairs is less noisy, by the root of n."),
            Mutant("n for n - 1", lambda d, a, b: (a + b) * d.std(correction=0) / math.sqrt(len(d)), "the standard deviation divides by n here; an estimate from a sample divides by n - 1, which .std() does by itself."),
            Mutant("root of n - 1", lambda d, a, b: (a + b) * d.std() / math.sqrt(len(d) - 1), "the n - 1 belongs into the standard deviation (where .std() has it already); the error of the mean is over the root of n."),
            Mutant("variance", lambda d, a, b: (a + b) * d.var() / math.sqrt(len(d)), "that is the variance, in squared units. The standard deviation is its root."),
            Mutant("around the mean", lambda d, a, b: d.mean().abs() + (a + b) * d.std() / math.sqrt(len(d)), "the mean that was found does not enter: what could have been missed depends on the noise alone."),
            Mutant("quantiles multiplied", lambda d, a, b: a * b * d.std() / math.sqrt(len(d)), "the two quantiles are multiplied; they are two distances, one after the other: they add up."),
            Mutant("added in squares", lambda d, a, b: math.hypot(a, b) * d.std() / math.sqrt(len(d)), "the quantiles are added as squares, like independent errors. They are two distances, one after the other: they add up as they are."),
        ),
        hints=(
            "The mean of n differences has a standard error: their standard deviation over the root of n.",
            "To be seen, an effect must exceed t_level standard errors; to be seen *reliably*, it needs t_power more.",
            "return (t_level + t_power) * differences.std() / ____",
        ),
        meaning="'No difference seen' says something only together with the difference that would have been seen.",
    ),
    Exercise(
        id="07.5",
        title="the same loss in another unit",
        kind="build",
        difficulty=4,
        importance=4,
        minutes=10,
        reference=penalty_in_unit,
        examples=(
            Example((_numbers([[0.0, 3 * math.log(9.0)]]), _numbers([[0.0, math.log(3.0)]]), _numbers([1.5]), 2.0, 3.0), "unit 3, alpha 2: one state, candidates worth 0 and 3 log 9 with densities 1 and 3, logged action worth 1.5"),
            Example((_numbers([[0.1, 0.2, -0.3], [0.0, 0.4, 0.5]]), _numbers([[-0.7, 0.2, 1.0], [-0.7, 0.4, 0.3]]), _numbers([0.2, 0.1]), 5.0, 0.1), "unit 0.1: two states"),
            Example((_numbers([[1.0, 2.0], [0.0, 1.0]]), _numbers([[-0.7, 0.1], [-0.7, 0.3]]), _numbers([0.5, 1.5]), 1.0, 1.0), "unit 1: nothing changes", False),
        ),
        mutants=(
            Mutant("unit ignored", lambda q, d, y, a, u: a * _penalty(q, d, y), "the unit is ignored. The squared error grows with unit**2, this penalty does not: the same alpha means less and less."),
            Mutant("alpha times unit", lambda q, d, y, a, u: a * u * _penalty(q, d, y), "alpha times the unit is the rule of thumb, and nearly right where one candidate dominates the sum. The logarithm and the exponential still see values in the new unit: divide Q by the unit *inside*, not after."),
            Mutant("alpha times unit squared", lambda q, d, y, a, u: a * u**2 * _penalty(q, d, y), "alpha is rescaled, Q is not: exp of the larger numbers sharpens the softmax, and the penalty picks out the maximum. Divide Q by the unit first."),
            Mutant("alpha divided", lambda q, d, y, a, u: a / u**2 * _penalty(q, d, y), "alpha is divided by the unit. The squared error has *grown* by unit**2: the penalty must grow with it, from Q / unit."),
            Mutant("one unit short", lambda q, d, y, a, u: a * u * _penalty(q / u, d, y / u), "the penalty is in the old unit again, good. The squared error has grown with unit *squared*, so alpha must, too, before both terms."),
            Mutant("old unit only", lambda q, d, y, a, u: a * _penalty(q / u, d, y / u), "that is the penalty in the old unit. The squared error beside it has grown by unit**2: multiply alpha by that."),
            Mutant("density divided too", lambda q, d, y, a, u: a * u**2 * _penalty(q / u, d / u, y / u), "the log-density is divided as well. A density of actions has no unit of reward: only Q is divided.", "young-geng/CQL#3"),
            Mutant("logged value not divided", lambda q, d, y, a, u: a * u**2 * _penalty(q / u, d, y), "the logged action's value is still in the new unit, the soft maximum in the old one: both terms are values of Q."),
            Mutant("multiplied", lambda q, d, y, a, u: a * _penalty(q * u, d, y * u), "the values are already unit times as large: divide them by the unit to get back, then weigh with unit**2."),
            Mutant("data term forgotten", lambda q, d, y, a, u: a * u**2 * (torch.logsumexp(q / u - d, 1) - math.log(q.shape[1])).mean(), "the push up on the logged action is missing."),
            Mutant("density forgotten", lambda q, d, y, a, u: a * u**2 * _penalty(q / u, 0 * d, y / u), "log_density is not subtracted: that is the penalty without importance correction, in the right unit."),
            Mutant("number of candidates", lambda q, d, y, a, u: a * u**2 * (torch.logsumexp(q / u - d, 1) - y / u).mean(), "the number of candidates is missing: a mean inside the logarithm subtracts log K, K being axis 1."),
        ),
        hints=(
            "Divide by the unit and you are back in the old numbers, where the penalty was right.",
            "Penalty of q / unit and q_data / unit (the density has no unit), then times alpha and times unit squared, since the squared error has grown by that.",
            "return alpha * ____ * (soft - logged).mean()",
        ),
        meaning="Alpha has the unit of a squared reward, and the log-sum-exp a temperature in units of reward: neither is a pure number.",
    ),
    Exercise(
        id="07.6",
        title="the floor under the CQL gap",
        kind="build",
        difficulty=3,
        importance=4,
        minutes=8,
        reference=lowest_gap,
        examples=(
            Example((_numbers([0.4, 0.0, -0.2, 0.2]), 2), "worked by hand: four logged actions in two dimensions"),
            Example((_numbers([3.1, 2.0, 4.2]), 6), "three logged actions in six dimensions"),
            Example((torch.full((5,), -2 * LOG_2, dtype=DOUBLE), 2), "uniform behaviour in two dimensions: the floor is 0"),
        ),
        mutants=(
            Mutant("distance itself", lambda b, d: b.mean() + d * LOG_2, "that is KL(behaviour || uniform) itself; the floor lies that far *below* zero."),
            Mutant("volume forgotten", lambda b, d: -b.mean(), "that is the entropy of the behaviour policy, the lowest value of the log-mean form. The CQL gap is that minus action_dim log 2."),
            Mutant("volume added", lambda b, d: -b.mean() + d * LOG_2, "the volume has the wrong sign: uniform behaviour has log-density -action_dim log 2, and its floor must be 0."),
            Mutant("behaviour forgotten", lambda b, d: torch.tensor(-d * LOG_2, dtype=DOUBLE), "only -action_dim log 2 is left. Minus the *mean* log-density of the logged actions is to be added (their largest is 0 here)."),
            Mutant("mean alone", lambda b, d: b.mean(), "that is the mean log-density. The best penalty is *minus* it, and the CQL gap subtracts action_dim log 2 from that."),
            Mutant("log 2 once", lambda b, d: -b.mean() - LOG_2, "log 2 is needed once for each dimension."),
            Mutant("density for its log", lambda b, d: -b.exp().mean() - d * LOG_2, "log_behaviour holds logarithms already, and an entropy averages logarithms, not densities."),
            Mutant("log of the mean", lambda b, d: -(torch.logsumexp(b, 0) - math.log(len(b))) - d * LOG_2, "the logarithm of the mean density is not the mean of the logarithm; a KL divergence averages the logarithm."),
            Mutant("weighed by the density", lambda b, d: -(b.exp() * b).mean() - d * LOG_2, "each log-density is weighed by its density. The logged actions come *from* the behaviour, as often as it says: a plain mean weighs them rightly."),
            Mutant("sum", lambda b, d: -b.sum() - d * LOG_2, "a sum over the logged actions grows with the log. The floor is an average."),
            Mutant("sign of the log-density", lambda b, d: b.mean() - d * LOG_2, "the sign of the mean is turned: a *denser* behaviour (larger log-density) allows a lower gap."),
        ),
        hints=(
            "Uniform behaviour: every log-density is -action_dim log 2, and the floor must come out as 0.",
            "The best critic for the penalty is Q = log behaviour. Its penalty is minus the mean log-density of the logged actions; the CQL gap subtracts action_dim log 2.",
            "return ____ - action_dim * math.log(2)",
        ),
        meaning="No critic can push the CQL gap below minus KL(behaviour || uniform): a Lagrange target below it sends the multiplier to its cap.",
    ),
)  # fmt: skip


# ---------------------------------------------------------------- predictions
def _row(text: str, answer: str, lost: str, high: str, unseen: str) -> Question:
    """A row of the table of pitfalls: where does it bite?"""
    choices = {
        "a": ("a tenth of the return or more is lost on at least one of the five tasks", lost),
        "b": ("less than that: a little return is lost, or values err upwards, on at least one", high),
        "c": ("neither is seen, on any of them", unseen),
    }
    return Question(text, choices, answer)


PREDICTIONS = {
    "07.p1": Question(
        "Six dimensions, half of the candidates uniform and half from a fairly sharp policy on the higher bump. Leave out all densities. Which share of the push-down falls on the policy's neighbourhood, where softmax(Q) has a twenty-fifth?",
        {
            "a": ("about as much as softmax(Q) has", "Each candidate would have to stand for the region that it was drawn from, and that is what the density says."),
            "b": ("nearly all of it", "Where a candidate came from no longer matters, only its exp Q: and the policy's candidates are the highest there are."),
            "c": ("hardly any", "They are half of the candidates, and the half with the largest values."),
        },
        "b",
    ),
    "07.p2": Question(
        "CQL with uniform candidates only, right density, on the arm's narrow log (six joints, every reward negative). After two thousand updates its predictions for the policy's own actions are...",
        {
            "a": ("about right: the estimator is unbiased", "It is, before the logarithm. But five uniform candidates never come near the policy's actions, so nothing pushes there."),
            "b": ("above zero, where no value can be", "Nothing pushes the policy's own actions down, so the maximisation runs off as without a penalty; what is pushed down are random actions, without an end."),
            "c": ("far too low: everything is pushed down", "Everything but the actions that the policy has moved to."),
        },
        "b",
    ),
    "07.p3": _row("Row *no importance correction*. Where does it bite?", "a",
        "About a tenth on the bandit in six dimensions, a few per cent in the maze; on the arm's narrow log it earns more than the correct penalty. The gradient is wrong, and what that does to the return depends on the task.",
        "It costs more than that on the bandit in six dimensions; its values err *downwards*, since it puts more push-down on the policy's actions than softmax(Q) asks for.",
        "On the arm nothing is lost, but the bandit in six dimensions and the maze do tell it from the correct penalty."),
    "07.p4": _row("Row *no uniform density*. Where does it bite?", "b",
        "For that, random actions would have to matter for the return: they are what it hardly pushes any more.",
        "A little, on the bandit in six dimensions. It moves push-down from random actions to the policy's, which is where the return is decided.",
        "Nearly: only the bandit in six dimensions tells it from the correct penalty, by a few per cent."),
    "07.p5": _row("Row *hard max*. Where does it bite?", "b",
        "The maximum over the candidates is nearly always one of the policy's own, and pushing that one down is most of what a penalty has to do.",
        "A little, on the bandit in six dimensions. The highest candidate is the one that could run off: biased by several nats, and nearly harmless.",
        "Nearly: only the bandit in six dimensions tells it from the correct penalty, by a few per cent."),
    "07.p6": _row("Row *batch max*: one maximum over the whole batch. Where does it bite?", "a",
        "In the maze: one state of the batch takes all the push-down, the others are left to themselves, and most draws never reach the goal.",
        "One state in the batch takes all the push-down; elsewhere nothing holds the values.",
        "One state of 64 gets all the push-down, so the others must be missing something."),
    "07.p7": _row("Row *single action*: one uniform and one policy candidate. Where does it bite?", "b",
        "The estimate is noisier in each state, but an update averages over 64 states, and training over thousands of updates.",
        "A little return, and values a little higher, on some tasks: the noise averages out over states and updates, a lower estimate of the integral remains.",
        "Most of the noise averages out over 64 states and thousands of updates, but not all of what it does."),
    "07.p8": _row("Row *policy only*. Where does it bite?", "b",
        "The policy's own neighbourhood is pushed down, and it mostly stays where the log supports it.",
        "A little, on most tasks: actions that the policy does not propose are never pushed down, and it finds some of them.",
        "Actions that the policy does not propose are never pushed down, and it finds some of them."),
    "07.p9": _row("Row *uniform only*, on all five tasks. Where does it bite?", "a",
        "On narrow data in six dimensions nothing holds the values of the policy's own actions, as the live run showed.",
        "Where values run off as far as in the live run, the return follows.",
        "The live run showed values that cannot exist."),
    "07.p10": _row("Row *alpha small*: a thirtieth of the tuned alpha. Where does it bite?", "a",
        "On narrow data the penalty is what keeps the policy inside the log; a thirtieth of it does not.",
        "Where values run off far enough, the return follows.",
        "A thirtieth of the penalty is nearly no penalty."),
    "07.p11": _row("Row *alpha large*: thirty times the tuned alpha. Where does it bite?", "a",
        "So strong a penalty flattens what the rewards say: the critic tells logged from unlogged actions, and hardly good from bad.",
        "One would expect values that are too *low*.",
        "Thirty times the penalty must do something."),
    "07.p12": _row("Row *reward unit*: the same alpha, the rewards logged in a unit thirty times smaller. Where does it bite?", "a",
        "Alpha is thirty times too small for the new numbers, or nearly: it belongs to the unit.",
        "Where the penalty is lost on narrow data, the return goes with it.",
        "The numbers are thirty times as large, and the squared error nine hundred times: alpha cannot mean the same."),
    "07.p13": _row("Row *Lagrange, target below the floor*. Where does it bite?", "a",
        "The multiplier rises without an end, since nothing can satisfy it: an alpha that is far too large.",
        "A huge multiplier makes values too low at first sight; a critic that only separates logged from unlogged actions can err either way.",
        "The multiplier is at its cap, or on its way: an alpha that is far too large."),
    "07.p14": _row("Row *Lagrange, target above the natural gap*. Where does it bite?", "a",
        "The target is met without any penalty, so the multiplier goes to its lower bound: plain SAC, with what that costs.",
        "Plain SAC, with its values; where they run off far enough the return follows.",
        "The multiplier goes to its lower bound: this is plain SAC."),
}  # fmt: skip

QUIZZES = {
    "07.a": Question(
        "A colleague's CQL leaves out every density, and returns are as good as those of the correct loss. What follows?",
        {
            "a": ("the correction is unnecessary: leave it out", "On the tasks measured, for the return. The logged penalty and every Lagrange target then belong to another quantity, and another task may tell them apart."),
            "b": ("on these tasks no difference larger than the smallest detectable one exists; the penalty's number means something else", "Both halves matter: what was not seen has a size, and a target for the CQL gap cannot be carried over."),
            "c": ("the colleague made a second mistake that cancels the first", "No second mistake is needed: pushing on the policy's own action is a working penalty of another kind."),
        },
        "b",
    ),
    "07.b": Question(
        "The logged CQL gap of a run falls steadily, to -100. What is the likeliest reading?",
        {
            "a": ("the penalty works very well", "No critic can bring the true CQL gap below minus the distance of the behaviour policy from uniform."),
            "b": ("the estimate misses the actions that matter: values of some actions fall without an end", "The floor is a handful of nats; an estimate far below it does not see where the values are."),
            "c": ("alpha is too small", "With too small an alpha the CQL gap stays high."),
        },
        "b",
    ),
    "07.c": Question(
        "Rewards are rescaled from euros to cents (numbers a hundred times as large). Which alpha is closest to the old behaviour, if the loss itself is not changed?",
        {
            "a": ("the same", "The squared error grows by ten thousand, the penalty by about a hundred: alpha would be a hundred times too weak."),
            "b": ("about a hundred times as large", "The penalty grows with the values, the squared error with their square; the softmax inside sharpens, too, so this is only about right."),
            "c": ("ten thousand times as large", "That would be right if the penalty did not grow at all; it is a difference of values, and grows a hundredfold itself."),
        },
        "b",
    ),
}  # fmt: skip
