"""Exercises of chapter 13, your own data: causes and symptoms, a silent change, weights, a page of numbers, a loop."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checker import Example
from ..registry import exercise, mutant, prediction, quiz_question, wrong_choice
from ..studies import ch13 as study

DOUBLE = torch.float64


def _numbers(values: object) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


# ---------------------------------------------------------------- 13.1
@exercise(
    "13.1",
    title="a symptom among the causes",
    kind="diagnose",
    difficulty=3,
    importance=5,
    minutes=10,
    examples=(Example((), "the report and the table above", shown=False),),
    hints=(
        "A cause stays in the report whatever else is mended. Read the table row by row: which finding leaves it when "
        "another one is mended?",
        "One row of the table lacks two remedies: its own, and one more.",
        'return "____"  # the remedy that a row lacks beside its own',
    ),
    meaning=(
        "Where flags stand within shifts, the next row seems to be another episode's first, and its state the wrong "
        "next state. Mend the flags, and that finding is gone."
    ),
)
def symptom():
    """The remedy of the one finding that is a symptom of another and no cause of its own.

    -> a remedy's name, as the table above spells it
    """
    return "next-episode"


for _name, _why in {
    "answers": "a column equal to the profit stays one, whichever rows and flags are mended.",
    "duplicates": "shifts that stand in the file twice stay there, whichever flags are mended.",
    "inner-flags": "flags within shifts stay in every row of the table but their own. It is they that make another "
    "finding: look at what vanishes with them.",
    "time-limit": "shifts that end in a trip after as many steps as the longest stay, whatever else is mended.",
    "not-finite": "an empty cell stays empty until its row is dropped; no other remedy touches it.",
}.items():
    _seen = "thu-ml/tianshou's offline CQL takes a time limit for an end" if _name == "time-limit" else ""
    wrong_choice("13.1", _name, _name, f"{_name} is a cause: {_why}", seen=_seen)


# ---------------------------------------------------------------- 13.2
@exercise(
    "13.2",
    title="what no check finds",
    kind="diagnose",
    difficulty=2,
    importance=5,
    minutes=6,
    examples=(Example((), "the table above", shown=False),),
    hints=(
        "Which of these means can the heater and the fan not move?",
        "Hold the second third against the two others. By how much may the weather differ between operators?",
        'return "____"  # a column that no operator can change',
    ),
    meaning="9 C / 5 + 32: the second operator's sensor wrote Fahrenheit. Every number is valid, so no check objects.",
)
def changed_column():
    """The column whose unit another sensor changed in some of the shifts.

    -> a column's name
    """
    return "outside_C"


for _name, _why in {
    "product_C": "product_C differs because the operators differ: it is what they control.",
    "moisture": "moisture differs because the operators differ: it is what they control.",
    "air_humidity_pct": "the fan moves air_humidity_pct by some units, and the operators run the fan differently.",
    "wall_C": "the heater moves wall_C by some degrees, and the operators heat differently.",
    "feed_kg_h": "feed_kg_h stays within a few hundredths of its mean: that is chance.",
    "pressure_Pa": "pressure_Pa has large numbers, and they hardly differ: look at the change, not at the size.",
    "mains_V": "mains_V stays within a unit of its mean: that is chance.",
    "vibration_mm_s": "vibration_mm_s stays within a tenth of its mean: that is chance.",
    "lamp_hours": "lamp_hours changes slowly and within its usual range: that is chance.",
}.items():
    wrong_choice("13.2", _name, _name, _why)


# ---------------------------------------------------------------- 13.3
@exercise(
    "13.3",
    title="how many episodes speak for a policy",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=12,
    examples=(
        Example(
            (torch.log(_numbers([[2.0, 0.5], [6.0, 0.5], [2.0, 2.5]])), _numbers([4.0, 8.0, -2.0])),
            "worked by hand: the ratios of the steps are 2 and 1/2, 6 and 1/2, 2 and 5/2",
        ),
        Example(
            (
                _numbers([[0.4, -1.1, 0.3], [-0.8, 0.9, 1.3], [0.2, -0.5, -0.6], [1.2, 0.1, -0.1]]),
                _numbers([-3.0, 2.5, 0.7, -1.2]),
            ),
            "four episodes of three steps",
        ),
        Example(
            (
                _numbers([[-0.3, 0.7], [0.9, -1.6], [1.4, 0.6], [-2.2, 0.5], [0.1, 0.8]]),
                _numbers([5.1, -0.4, 1.9, -6.3, 2.2]),
            ),
            "five episodes of two steps",
            shown=False,
        ),
        Example(
            (_numbers([[500.0, 420.0, -1.0], [510.0, 409.5, 0.3], [-300.0, 90.0, 2.0]]), _numbers([1.5, -2.5, 9.0])),
            "weights of exp(919)",
            shown=False,
        ),
    ),
    hints=(
        "By hand: the weights are 1, 3 and 5, their shares 1/9, 3/9 and 5/9. The estimate is (4 + 24 - 10) / 9 = 2, "
        "and the effective number 1 / (1/81 + 9/81 + 25/81) = 81/35.",
        "An episode's weight is the product of its steps' ratios: add the logarithms along a row. torch.softmax turns "
        "log-weights into shares that add up to 1, and does not overflow.",
        "shares = torch.softmax(log_ratio.____, 0); return (shares * returns).sum(), 1 / ____",
    ),
    sizes="An episode is a row of log_ratio: its weight is made of its own steps, along axis 1, so that there are as "
    "many weights as returns.",
    meaning="Shares of the weights: their weighted mean, and 1 over the sum of their squares.",
)
def weighted_estimate(log_ratio, returns):
    """Mean return of a policy from weighted episodes of a log, and the number of episodes that it rests on.

    log pi(a|s) - log behaviour(a|s) of E episodes of T steps [E, T], returns [E]
    -> estimate [], effective number [] = (sum of weights)^2 / sum of squared weights
    """
    shares = torch.softmax(log_ratio.sum(1), 0)
    return (shares * returns).sum(), 1 / shares.square().sum()


def _pair(shares, returns):
    return (shares * returns).sum(), 1 / shares.square().sum()


@mutant("13.3", "mean of the ratios")
def _(log_ratio, returns):
    """the logarithms are averaged along an episode. Its weight is the *product* of the ratios: add them."""
    return _pair(torch.softmax(log_ratio.mean(1), 0), returns)


@mutant("13.3", "last step")
def _(log_ratio, returns):
    """only the last step's ratio counts. All steps led there: the weight is the product of all of them."""
    return _pair(torch.softmax(log_ratio[:, -1], 0), returns)


@mutant("13.3", "first step")
def _(log_ratio, returns):
    """only the first step's ratio counts. The later steps are the policy's as well: multiply all ratios."""
    return _pair(torch.softmax(log_ratio[:, 0], 0), returns)


@mutant("13.3", "not divided by the weights")
def _(log_ratio, returns):
    """the weighted returns are divided by the number of episodes: unbiased, and far noisier. Divide by the sum of the
    weights."""
    weights = log_ratio.sum(1).exp()
    return (weights * returns).mean(), weights.sum() ** 2 / weights.square().sum()


@mutant("13.3", "weights not made shares")
def _(log_ratio, returns):
    """the weights are not divided by their sum: neither the estimate nor the number is on its scale."""
    weights = log_ratio.sum(1).exp()
    return (weights * returns).sum(), 1 / weights.square().sum()


@mutant("13.3", "overflow")
def _(log_ratio, returns):
    """right for small weights, but exp(919) overflows to inf. Subtract the largest logarithm first, as softmax does."""
    weights = log_ratio.sum(1).exp()
    return _pair(weights / weights.sum(), returns)


@mutant("13.3", "ratios turned")
def _(log_ratio, returns):
    """the ratio is turned: episodes that the policy would hardly make count most. log_ratio is log pi minus log
    behaviour already."""
    return _pair(torch.softmax(-log_ratio.sum(1), 0), returns)


@mutant("13.3", "exponential of each step, summed")
def _(log_ratio, returns):
    """the ratios are added along an episode. Probabilities of steps in a row multiply: add the logarithms, then take
    the exponential."""
    weights = log_ratio.exp().sum(1)
    return _pair(weights / weights.sum(), returns)


@mutant("13.3", "all episodes")
def _(log_ratio, returns):
    """the estimate is right. The effective number is not the number of episodes: where one weight is large, one
    episode speaks."""
    return _pair(torch.softmax(log_ratio.sum(1), 0), returns)[0], _numbers(float(len(returns)))


@mutant("13.3", "one over the largest share")
def _(log_ratio, returns):
    """the estimate is right. The number is 1 over the largest share; wanted is 1 over the sum of all squared shares."""
    shares = torch.softmax(log_ratio.sum(1), 0)
    return (shares * returns).sum(), 1 / shares.amax()


@mutant("13.3", "sum of squares")
def _(log_ratio, returns):
    """the estimate is right. The sum of the squared shares is 1 for a single episode and small for many: take 1 over
    it."""
    shares = torch.softmax(log_ratio.sum(1), 0)
    return (shares * returns).sum(), shares.square().sum()


@mutant("13.3", "other order")
def _(log_ratio, returns):
    """the right two numbers in the other order: the estimate comes first."""
    return tuple(reversed(_pair(torch.softmax(log_ratio.sum(1), 0), returns)))


@mutant("13.3", "shares over the steps")
def _(log_ratio, returns):
    """the shares are taken along each episode's steps. Episodes are what is weighed against each other."""
    return _pair(torch.softmax(log_ratio, 1).prod(1), returns)


@mutant("13.3", "returns added up")
def _(log_ratio, returns):
    """the first number is the plain sum of the returns. Is there a weight on each? Shares [E, 1] (keepdim) times
    returns [E] make a table [E, E], whose sum that is: the shares have to be [E] as well."""
    return returns.sum(), 1 / torch.softmax(log_ratio.sum(1), 0).square().sum()


@mutant("13.3", "always one")
def _(log_ratio, returns):
    """the estimate is right. The second number is 1 whatever the weights are: the shares sum to 1, and so does the
    square of their sum. Square each of them, then add."""
    return _pair(torch.softmax(log_ratio.sum(1), 0), returns)[0], _numbers(1.0)


@mutant("13.3", "count of the heavy ones")
def _(log_ratio, returns):
    """the estimate is right. You count the episodes whose share is above a half: one at most. The effective number
    weighs all of them."""
    shares = torch.softmax(log_ratio.sum(1), 0)
    return (shares * returns).sum(), (shares > 0.5).sum().double()


@mutant("13.3", "one logarithm for all")
def _(log_ratio, returns):
    """the weights are the sums of the logarithms themselves. A weight is a product of ratios: exp of that sum."""
    weights = log_ratio.sum(1)
    return (weights * returns).sum() / weights.sum(), weights.sum() ** 2 / weights.square().sum()


@mutant("13.3", "plain mean")
def _(log_ratio, returns):
    """that is the mean return of the log, in which nothing of the policy is left. Each return has its weight."""
    return returns.mean(), 1 / torch.softmax(log_ratio.sum(1), 0).square().sum()


# ---------------------------------------------------------------- 13.4
def _judge(page: object) -> str | None:
    return study.judge_page(page, study.chapter_log())


@exercise(
    "13.4",
    title="one page of numbers",
    kind="design",
    difficulty=4,
    importance=5,
    minutes=25,
    examples=(Example((), "the chapter's log"),),
    hints=(
        "Everything is printed above: the causes, the rows of `data`, three policies with their estimates.",
        "Two rules judge each policy, fitted Q-evaluation and the linear model. Where they disagree, at least one is "
        "wrong: an interval around one of them alone, as narrow as its starts allow, is a bet. The bar on the width is "
        "wide enough for a unit and more on either side.",
        'return {"defects": [...], "rows": len(data), "low": ____, "high": ____, "policy": agents["cql"].policy(____)}',
    ),
    meaning="The planted defects, every row that can be kept, an interval that holds the truth, and a policy near the "
    "best known.",
    judge=_judge,
)
def one_page():
    """Your decision in numbers.

    -> a dict: "defects" (the causes' remedies), "rows" (after mending), "policy" (observations [n, 10] -> actions
    [n, 2] in per cent), "low" and "high" of its discounted value per shift start
    """
    return study.chapter_page()


def _page(**changes):
    return {**one_page(), **changes}


@mutant("13.4", "every finding is a cause")
def _():
    """every finding stands on the page as a cause. One is a symptom: 13.1."""
    return _page(defects=[*study.chapter_log().planted, "next-episode"])


@mutant("13.4", "nothing found")
def _():
    """the page says that nothing was wrong with the file. The report counts what was."""
    return _page(defects=[])


@mutant("13.4", "rows of the file")
def _():
    """the number of rows is the file's, before mending: some of them are written twice, and some hold no state."""
    return _page(rows=len(study.chapter_log().table["rewards"]))


@mutant("13.4", "no interval")
def _():
    """low and high are one number: that claims to know the value exactly."""
    page = one_page()
    return {**page, "low": page["high"]}


@mutant("13.4", "anything is possible")
def _():
    """the interval holds everything that the rewards can pay. It is true, and no decision follows from it."""
    return _page(low=-50.0, high=10.0)


@mutant("13.4", "the log's mean")
def _():
    """the interval is that of the log's own mean return. It says what the operators earned, not what your policy
    will."""
    log = study.chapter_log()
    mean, half = study.log_value(log, study.read(log))
    return _page(low=mean - half, high=mean + half)


@mutant("13.4", "all off")
def _():
    """the policy leaves heater and fan at half power whatever it sees."""
    value, _ = study.true_value(_half_power)
    return _page(policy=_half_power, low=value - 1, high=value + 1)


def _half_power(observations, generator=None):
    return torch.full((len(observations), 2), 50.0)


# ---------------------------------------------------------------- 13.5
@exercise(
    "13.5",
    title="the wrong line of a control loop",
    kind="read",
    difficulty=3,
    importance=5,
    minutes=8,
    examples=(Example((), "the listing of nine lines above", shown=False),),
    hints=(
        "What does the exported file hold besides the network?",
        "The agent was trained with normalize_observations=True. Where do its statistics live after the export?",
        "return ____  # the line that does again what the file does",
    ),
    meaning=(
        "Line 7: the file standardises what it is given, as the agent did. Standardised twice, every reading lies some "
        "deviations from all that was logged, and nothing fails."
    ),
)
def wrong_line():
    """The number of the one wrong line.

    -> an integer from 1 to 9
    """
    return 7


for _number, _why in {
    1: "line 1 is right: torch.export.load needs PyTorch alone, and module() gives a function of a batch.",
    2: "line 2 only computes two rows of numbers. By itself it changes nothing: ask who uses them.",
    3: "line 3 is right: a plant has no end of its own.",
    4: "line 4 is right: the sensors, by their names.",
    5: "line 5 is right: the columns in the order of the training log, in its units.",
    6: "line 6 is right: the graph cannot raise an error, so a reading that is not finite is caught before it, and the "
    "loop begins again.",
    8: "line 8 is right: the file takes a batch, so a row is made one, and its only answer taken out.",
    9: "line 9 is right: the file answers in per cent, the first number the heater's and the second the fan's.",
}.items():
    wrong_choice("13.5", f"line {_number}", _number, _why)


# ---------------------------------------------------------------- predictions and quiz
prediction(
    "13.p1",
    "The file's report will list six findings. You mend each of them alone, and look at the report again. In how many "
    "of the six cases does more vanish than what you mended?",
    answer="b",
    a=("none: each finding is a fault of its own", "A check looks at one trace. One fault may leave two traces."),
    b=("one: a finding is the symptom of another", "Mend the cause, and its symptom is gone without a remedy."),
    c=("three: faults come in pairs", "Most of these faults touch columns or rows of their own."),
)

prediction(
    "13.p2",
    "Importance sampling weighs the log's episodes by how likely the policy would have made them. A shift has forty "
    "steps. On how many of the episodes does the estimate of CQL rest, effectively?",
    answer="c",
    a=("most of them", "That is so for the clone, whose ratios are 1. CQL was trained to act otherwise."),
    b=("about half of them", "Forty ratios are multiplied: a small difference at each step is a large one at the end."),
    c=("fewer than ten", "A product of forty ratios leaves weight to a handful of episodes."),
)

prediction(
    "13.p3",
    "Three operators made the log, each with noise in every action. You clone them and let the clone act without "
    "noise. What is it truly worth beside the log?",
    answer="a",
    a=("clearly more than the log", "The noise cost profit at every step, and the mean action does without it."),
    b=("the same, as it imitates", "It imitates the mean action. The operators' noise is not imitated."),
    c=("less, since errors add up", "They do where a state was never logged. Here the noise showed many states."),
)

quiz_question(
    "13.a",
    "`describe` says: 0 known defects. What do you know?",
    answer="c",
    a=("the log is right", "A sensor in another unit gives valid numbers; no check of a table can object."),
    b=("the log is right, but for its rewards", "Rewards are checked as other columns are: for what is impossible."),
    c=("none of the faults that it looks for was found", "It knows some twenty faults, by the traces that they leave."),
)

quiz_question(
    "13.b",
    "Rows were dropped from the middle of episodes, and the rows before marked as truncated. Over which rows do you "
    "average a value to hold it against the plant's starts?",
    answer="a",
    a=(
        "the first rows of the shifts, by their labels",
        "A gap begins an episode at a state that no start of the plant looks like.",
    ),
    b=(
        "all rows in episode_starts of the mended data set",
        "They hold the rows after each gap: other states, and another mean.",
    ),
    c=("all rows, as a value is a value", "Then the states are weighed by how long the log's policy stayed in them."),
)

quiz_question(
    "13.c",
    "Three critics agree to within a tenth, the interval over starts is narrow, and fitted Q-evaluation says *not "
    "settled*. What goes on the page?",
    answer="b",
    a=(
        "the interval as it is: the critics agree",
        "They saw the same batches and are equally far from done: their agreement says nothing about that.",
    ),
    b=(
        "more updates, or an interval widened by the drift",
        "The drift is what the estimate moved in its last quarter: what is still to come is likely no less.",
    ),
    c=("no number at all", "A number with an honest width is what a decision needs."),
)
