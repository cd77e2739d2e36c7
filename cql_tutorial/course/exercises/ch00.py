"""Exercises of chapter 00: the course's one subtraction, and what a value is a sum of."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checker import Example
from ..registry import exercise, mutant, prediction, quiz_question

PREDICTED, TRUE = torch.tensor([3.0, -2.0]), torch.tensor([5.0, -4.0])
REWARDS = torch.tensor([1.0, 2.0, 4.0])
FORTY = ((torch.arange(40) * 7 + 6) % 11 - 4) / 4  # neither the first nor the last is the least or the largest


def _weights(rewards: torch.Tensor, discount: float) -> torch.Tensor:
    return discount ** torch.arange(len(rewards), dtype=rewards.dtype)


# ---------------------------------------------------------------- 00.1
@exercise(
    "00.1",
    title="the course's one subtraction",
    kind="build",
    difficulty=1,
    importance=5,
    minutes=2,
    examples=(
        Example((PREDICTED, TRUE), "two states: predicted 3 and -2, true 5 and -4"),
        Example(
            (torch.tensor([2.5, 0.5, -4.0, 7.5, -1.0]), torch.tensor([1.0, 2.0, -0.5, -2.0, -3.5])),
            "five states, two of them promised too little",
        ),
    ),
    hints=(
        "Which of the two numbers would you rather be positive if a critic promises too much?",
        "Predicted minus true, entry by entry.",
        "return predicted - ____",
    ),
    meaning="Above 0 the critic promises too much. Every chapter uses this sign.",
)
def estimation_error(predicted, true):
    """Q-hat minus the truth, one number a state: [states], [states] -> [states]."""
    return predicted - true


@mutant("00.1", "turned")
def _(predicted, true):
    """the sign is turned. Prediction minus truth: a positive error means that too much was promised."""
    return true - predicted


@mutant("00.1", "absolute")
def _(predicted, true):
    """the sign is lost, and it is the news: over-estimation and under-estimation are different diseases."""
    return (predicted - true).abs()


@mutant("00.1", "squared")
def _(predicted, true):
    """that is the squared error. It is always positive, and in squared units; the plain difference says which way."""
    return (predicted - true) ** 2


@mutant("00.1", "relative")
def _(predicted, true):
    """you divide by the truth. A true value may be zero, and errors of states could no longer be averaged: leave
    it in units of the return."""
    return (predicted - true) / true.abs()


@mutant("00.1", "relative, with its sign")
def _(predicted, true):
    """you divide by the truth. A true value may be zero or negative, and a negative one turns the sign: leave it in
    units of the return."""
    return (predicted - true) / true


@mutant("00.1", "relative to the prediction")
def _(predicted, true):
    """you divide by the prediction. It may be zero or negative: leave the difference in units of the return."""
    return (predicted - true) / predicted


@mutant("00.1", "mean truth")
def _(predicted, true):
    """you subtract the *mean* truth from each prediction. Each state has a truth of its own: entry by entry."""
    return predicted - true.mean()


@mutant("00.1", "first truth")
def _(predicted, true):
    """you subtract the first state's truth from all predictions. Each state has a truth of its own: entry by entry."""
    return predicted - true[0]


@mutant("00.1", "last state alone")
def _(predicted, true):
    """that is the last state's error alone: a loop has written each over the one before. No loop is needed: tensors are
    subtracted entry by entry."""
    return (predicted - true)[-1]


@mutant("00.1", "comparison")
def _(predicted, true):
    """you compare the two, true or false. Asked is how far the prediction lies above the truth: subtract."""
    return predicted > true


@mutant("00.1", "sum")
def _(predicted, true):
    """the two are added. The error is what is left of the prediction when the truth is taken away."""
    return predicted + true


@mutant("00.1", "sign alone")
def _(predicted, true):
    """that says in which direction the critic errs, but no longer how far."""
    return torch.sign(predicted - true)


@mutant("00.1", "per cent")
def _(predicted, true):
    """that is an error in per cent of the truth. True values may be zero or negative: leave the difference in
    units of the return."""
    return 100 * (predicted - true) / true


@mutant("00.1", "sizes")
def _(predicted, true):
    """you compare sizes. Where values are negative that turns the sign: -2 promised and -4 true is over-estimation."""
    return predicted.abs() - true.abs()


@mutant("00.1", "mean")
def _(predicted, true):
    """you average over the states. Here the two errors cancel to 0 though neither is: return one number for each
    state."""
    return (predicted - true).mean()


# ---------------------------------------------------------------- 00.2
def _steps_00_2(rewards: Tensor, discount: float) -> dict[str, Tensor]:
    weights = _weights(rewards, discount)
    return {"the weights": weights, "weight times reward": weights * rewards}


@exercise(
    "00.2",
    title="what a value is a sum of",
    kind="build",
    difficulty=2,
    importance=4,
    minutes=5,
    examples=(
        Example((REWARDS, 0.9), "rewards 1, 2, 4 and discount 0.9"),
        Example((torch.tensor([-5.0]), 0.5), "a single reward, of -5"),
        Example((torch.tensor([3.0, -1.5, 2.0]), 0.0), "rewards 3, -1.5, 2 and a discount of 0: 0 to the power 0 is 1"),
        Example((FORTY, 0.95), "forty rewards, discount 0.95", shown=False),
    ),
    hints=(
        "By hand: 1 + 0.9 times 2 + 0.81 times 4.",
        "The weight of step t is discount to the power t, with t counted from 0; sum of weight times reward.",
        "return (discount ** torch.arange(____) * rewards).sum()",
    ),
    meaning="A value is the expectation of this sum. It is what every later truth is made of.",
    steps=_steps_00_2,
)
def discounted_return(rewards, discount):
    """r_0 + discount r_1 + discount^2 r_2 + ...: [steps], number -> []."""
    weights = discount ** torch.arange(len(rewards))
    return (weights * rewards).sum()


@mutant("00.2", "starts at one", seen="a common off-by-one")
def _(rewards, discount):
    """the first reward is discounted already. It is received now, so its weight is discount to the power 0, which
    is 1."""
    return (discount * _weights(rewards, discount) * rewards).sum()


@mutant("00.2", "no discount")
def _(rewards, discount):
    """the discount is not used: that is the undiscounted return, which has no limit when a task goes on for ever."""
    return rewards.sum()


@mutant("00.2", "backwards")
def _(rewards, discount):
    """the *last* reward has weight 1 here and the first the smallest: the powers run the wrong way."""
    return (_weights(rewards, discount).flip(0) * rewards).sum()


@mutant("00.2", "once")
def _(rewards, discount):
    """every later reward is discounted once only. The power grows with the step: 1, discount, discount squared."""
    return torch.cat([rewards[:1], discount * rewards[1:]]).sum()


@mutant("00.2", "running sums")
def _(rewards, discount):
    """those are the sums up to each step. The value is the last of them, the sum of all."""
    return (_weights(rewards, discount) * rewards).cumsum(0)


@mutant("00.2", "first reward alone")
def _(rewards, discount):
    """only the first reward is counted. Does the return stand *inside* the loop, so that it ends in its first round? Or
    are the weights whole numbers, which make 0 of 0.9?"""
    return rewards[0].clone()


@mutant("00.2", "last reward left out")
def _(rewards, discount):
    """the last reward is left out: range(len(rewards)) runs to the last step, range(len(rewards) - 1) does not."""
    return (_weights(rewards, discount) * rewards)[:-1].sum()


@mutant("00.2", "first two alone")
def _(rewards, discount):
    """only the first two rewards are counted. `rewards` may be of any length: one weight for each of them."""
    return (_weights(rewards, discount) * rewards)[:2].sum()


@mutant("00.2", "backwards, from one")
def _(rewards, discount):
    """the powers run the wrong way, and down to 1 in place of 0: the *last* reward has the largest weight here."""
    return (discount * _weights(rewards, discount).flip(0) * rewards).sum()


@mutant("00.2", "mean reward for ever")
def _(rewards, discount):
    """that is the mean reward, received for ever. The rewards end: each has its own weight, and their sum is finite as
    it is."""
    return rewards.mean() / (1 - discount)


@mutant("00.2", "last reward for ever")
def _(rewards, discount):
    """you add a tail, as if the last reward went on for ever. Nothing comes after the last one."""
    return (_weights(rewards, discount) * rewards).sum() + discount ** len(rewards) * rewards[-1] / (1 - discount)


@mutant("00.2", "last reward twice")
def _(rewards, discount):
    """the last reward is counted twice, once as the start of the recursion. Start from 0."""
    return (_weights(rewards, discount) * rewards).sum() + discount ** len(rewards) * rewards[-1]


@mutant("00.2", "one minus the discount")
def _(rewards, discount):
    """the weights are powers of (1 - discount). The weight of step t is the discount itself to the power t."""
    return (_weights(rewards, 1 - discount) * rewards).sum()


@mutant("00.2", "one weight for all")
def _(rewards, discount):
    """every reward has the same weight, the discount to the power of the *number* of rewards. The power is the step's
    own: 0, 1, 2 and so on, as torch.arange(len(rewards)) counts them."""
    return discount ** len(rewards) * rewards.sum()


@mutant("00.2", "exponential")
def _(rewards, discount):
    """the weights fall like exp(-discount t): then a larger discount looks *less* far ahead. The weight of step t is
    discount to the power t."""
    return ((-discount * torch.arange(len(rewards))).exp() * rewards).sum()


@mutant("00.2", "divided by the discount")
def _(rewards, discount):
    """right, but with a discount of 0 you divide 0 by 0. Count the powers from 0 in place of dividing one away."""
    return (torch.full_like(rewards, discount).cumprod(0) / discount * rewards).sum()


@mutant("00.2", "not summed")
def _(rewards, discount):
    """those are the right terms, one a step. A value is their sum: one number."""
    return _weights(rewards, discount) * rewards


@mutant("00.2", "times t")
def _(rewards, discount):
    """the discount is multiplied by the step number. It is raised to that power: 1, discount, discount squared."""
    return (discount * torch.arange(len(rewards)) * rewards).sum()


@mutant("00.2", "base and exponent")
def _(rewards, discount):
    """base and exponent have changed places: it is discount to the power of the step, not the step to the power of
    the discount."""
    return (torch.arange(len(rewards)) ** discount * rewards).sum()


@mutant("00.2", "mean")
def _(rewards, discount):
    """that is a mean over the steps. A value is a sum: ten steps of reward 1 are worth more than one."""
    return (_weights(rewards, discount) * rewards).mean()


@mutant("00.2", "normalised")
def _(rewards, discount):
    """you multiply by (1 - discount). Some papers do; in this course a value is the plain discounted sum."""
    return (1 - discount) * (_weights(rewards, discount) * rewards).sum()


# ---------------------------------------------------------------- predictions
prediction(
    "00.p1",
    "A check is given a function that mixes up the order of a subtraction. What will it say?",
    answer="b",
    a=("passed: the size is right", "The sign is half of the answer."),
    b=(
        "wrong, and which mistake it looks like",
        "Each exercise knows the usual mistakes and tells them apart by what they return.",
    ),
    c=(
        "only that it is wrong, and what was expected",
        "That would leave you where you were: a check that names the mistake is the point of this course.",
    ),
)

prediction(
    "00.p2",
    "With discount 0.95, how much does a reward a hundred steps from now count, against one received now?",
    answer="c",
    a=("about a half of its size", "That is where it stands after fourteen steps."),
    b=("about a tenth", "That is where it stands after forty-five steps."),
    c=("less than a hundredth", "0.95 to the power 100. Discounts near 1 still forget, only later."),
)

prediction(
    "00.p3",
    "Every reward of the log is negative, so no value can be above zero. Offline SAC learns from this log alone, "
    "without a penalty. At how many of its states will it predict more than any policy could earn there?",
    answer="a",
    a=(
        "at more than one in four",
        "Its actor looks for the most flattering guess of the critic, and nothing in the log can object.",
    ),
    b=(
        "at a few in a hundred, where the log has hardly any rows",
        "It is not the rare states. At nearly every state there are torques that nobody tried, and one is enough.",
    ),
    c=(
        "at none: it has never seen a reward above zero to learn such a value from",
        "A critic learns from its own predictions too, at actions that are not in the log: an error there grows.",
    ),
)


# ---------------------------------------------------------------- quiz
quiz_question(
    "00.a",
    "A critic's mean estimation error is +40. What do you know?",
    answer="c",
    a=(
        "its policy is a good one: high values say that there is much to be earned",
        "The values are *promised*. What the policy earns is the truth that was subtracted.",
    ),
    b=(
        "its values are off by 40 per cent of what its policy really earns",
        "The error is in units of the return, not a ratio.",
    ),
    c=(
        "it promises 40 more, on average, than its own policy really earns",
        "Prediction minus truth, and the truth is that of the very policy the critic speaks of.",
    ),
)

quiz_question(
    "00.b",
    "Why is a predicted value above zero impossible on the pendulum?",
    answer="a",
    a=("because all rewards are at most zero, so every sum of them is", "A truth that needs no computing."),
    b=(
        "because the agent has not been trained for long enough to reach it",
        "No amount of training could make it true.",
    ),
    c=(
        "because the log contains no such return, and the critic learns from the log alone",
        "The log only shows what one policy earned; others may earn more. Zero is a bound for all.",
    ),
)

quiz_question(
    "00.c",
    "You go on with `or_reference` although an exercise is not solved. What happens?",
    answer="b",
    a=("the notebook stops there", "It goes on, so that you can read everything and come back."),
    b=(
        "the reference answer takes its place, under a banner that says so",
        "And `progress()` still counts the exercise as open.",
    ),
    c=(
        "your function is used, right or wrong",
        "Then later figures would show nonsense without telling why.",
    ),
)
