"""Exercises of chapter 04, the conservative penalty: on tables of Q-values, ``[states, actions]``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checker import Example
from ..registry import exercise, mutant, prediction, quiz_question

Q = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
ACTIONS = torch.tensor([0, 1])
LARGE = torch.tensor([[1000.0, 999.0], [-1000.0, -1000.0]])
WIDE = torch.tensor([[0.5, -1.0, 2.0, 0.0], [3.0, 1.0, -2.0, 0.5], [1.0, 1.5, 0.0, -0.5]])
WIDE_ACTIONS = torch.tensor([2, 1, 3])


# ---------------------------------------------------------------- 04.1
@exercise(
    "04.1",
    title="a maximum with soft edges",
    kind="build",
    difficulty=2,
    importance=4,
    minutes=8,
    examples=(
        Example((Q,), "two states, three actions"),
        Example((LARGE,), "values of a thousand"),
        Example((WIDE,), "three states, four actions", shown=False),
    ),
    hints=(
        "Look at one row, [1, 2, 3]: the answer must lie a little above 3.",
        "For each row: exp of every entry, sum them, take the logarithm. To be safe for large values, subtract the "
        "row's largest entry before exp and add it after the log.",
        "return torch.logsumexp(q, dim=____)",
    ),
    meaning="The soft maximum lies above the largest entry, by at most the log of the number of actions.",
)
def soft_max(q):
    """log sum_a exp Q(s, a) for each state: [states, actions] -> [states]."""
    top = q.amax(dim=1, keepdim=True)
    return (q - top).exp().sum(dim=1).log() + top.squeeze(1)


@mutant("04.1", "hard maximum")
def _(q):
    """that is the plain maximum: the other actions have no say, and no gradient will reach them."""
    return q.amax(1)


@mutant("04.1", "over states")
def _(q):
    """you sum over the states (axis 0). Each state has its own maximum: sum over the actions, axis 1."""
    return torch.logsumexp(q, 0)


@mutant("04.1", "no logarithm")
def _(q):
    """that is sum exp Q. Its unit is e^Q, not Q: the logarithm brings it back."""
    return q.exp().sum(1)


@mutant("04.1", "mean of exp")
def _(q):
    """you average exp Q over the actions; the soft maximum sums. The average is lower by the log of the number of
    actions."""
    return torch.logsumexp(q, 1) - torch.tensor(float(q.shape[1])).log()


@mutant("04.1", "log of each")
def _(q):
    """the logarithm undoes exp one entry at a time. Sum first, then one logarithm a state."""
    return q.exp().log().sum(1)


@mutant("04.1", "not added back")
def _(q):
    """the largest value of each row was taken out before exp and not added back after the logarithm."""
    return (q - q.amax(1, keepdim=True)).exp().sum(1).log()


@mutant("04.1", "logarithm to base 2")
def _(q):
    """that is the logarithm to base 2. exp is undone by the natural one, torch.log."""
    return q.exp().sum(1).log2()


@mutant("04.1", "weighted mean")
def _(q):
    """that is the mean of Q under its softmax: it lies below the largest entry. The soft maximum lies above it."""
    return (torch.softmax(q, 1) * q).sum(1)


@mutant("04.1", "log-softmax")
def _(q):
    """log_softmax gives the logarithm of each action's weight. Here one number a state is wanted, the part that
    log_softmax subtracts."""
    return torch.log_softmax(q, 1)


@mutant("04.1", "softmax")
def _(q):
    """softmax gives weights, one an action. Here one number a state is wanted: log of the sum."""
    return torch.softmax(q, 1)


@mutant("04.1", "overflow", seen="the reason why torch.logsumexp exists")
def _(q):
    """right for small numbers, but exp(1000) overflows to inf. Take the largest value of each row out first, and
    add it at the end (or use torch.logsumexp)."""
    return q.exp().sum(1).log()


# ---------------------------------------------------------------- 04.2
@exercise(
    "04.2",
    title="the penalty",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=12,
    tolerance=1e-5,  # two of the mutants differ by 1e-4 on the first example
    examples=(
        Example((Q, ACTIONS), "two states, three actions, the logged action of each"),
        Example((WIDE, WIDE_ACTIONS), "three states, four actions", shown=False),
    ),
    hints=(
        "Two parts for each state: what is pushed down (all actions, softly the largest), what is pushed up (the "
        "logged one).",
        "logsumexp over the actions, minus the entry of the logged action (gather picks one entry a row); then the "
        "mean over the states.",
        "logged = q.gather(1, actions[:, None]).squeeze(1); return (torch.logsumexp(q, dim=1) - ____).mean()",
    ),
    meaning=(
        "The penalty is never negative on a table: the soft maximum lies above every entry, the logged one included."
    ),
)
def penalty(q, actions):
    """Mean over states of soft maximum minus the logged action's value.

    [states, actions], [states] -> []
    """
    logged = q.gather(1, actions[:, None]).squeeze(1)
    return (torch.logsumexp(q, dim=1) - logged).mean()


def _logged(q: Tensor, actions: Tensor) -> Tensor:
    return q.gather(1, actions[:, None]).squeeze(1)


@mutant("04.2", "mean of all actions", seen="BY571/CQL issues 2 and 5")
def _(q, actions):
    """you pull up the *average* action. Pull up the logged one: it is the only action the data vouch for."""
    return (torch.logsumexp(q, 1) - q.mean(1)).mean()


@mutant("04.2", "hard maximum")
def _(q, actions):
    """a plain maximum pushes down a single action in each state; the others stay free to be overrated next."""
    return (q.amax(1) - _logged(q, actions)).mean()


@mutant("04.2", "sign")
def _(q, actions):
    """the sign is turned: minimising this *raises* the actions nobody tried. Soft maximum minus logged value."""
    return (_logged(q, actions) - torch.logsumexp(q, 1)).mean()


@mutant("04.2", "over states")
def _(q, actions):
    """the logsumexp runs over the states (axis 0). It compares the actions of one state: axis 1."""
    return torch.logsumexp(q, 0).mean() - _logged(q, actions).mean()


@mutant("04.2", "one for all")
def _(q, actions):
    """one logsumexp over the whole table mixes the states, so that only the state with the largest values is
    pushed. One number a state first, then their mean."""
    return torch.logsumexp(q, (0, 1)) - _logged(q, actions).mean()


@mutant("04.2", "no logarithm")
def _(q, actions):
    """sum exp Q without its logarithm: e^Q and Q cannot be subtracted from each other."""
    return (q.exp().sum(1) - _logged(q, actions)).mean()


@mutant("04.2", "sum over states")
def _(q, actions):
    """a sum over the states doubles with the batch size, and cql_alpha would have to follow. Take the mean."""
    return (torch.logsumexp(q, 1) - _logged(q, actions)).sum()


@mutant("04.2", "data action outside", seen="asked in og-marl issue 8")
def _(q, actions):
    """you left the logged action out of the logsumexp. It is one of the actions, so it belongs inside: only then
    is the penalty never negative."""
    others = q.masked_fill(F.one_hot(actions, q.shape[1]).bool(), -torch.inf)
    return (torch.logsumexp(others, 1) - _logged(q, actions)).mean()


@mutant("04.2", "no pull")
def _(q, actions):
    """that is the push alone: it lowers every rating, the logged ones too. Subtract the logged action's rating."""
    return torch.logsumexp(q, 1).mean()


@mutant("04.2", "plus")
def _(q, actions):
    """the logged rating is added: minimising that pushes it *down*. It is pulled up by being subtracted."""
    return (torch.logsumexp(q, 1) + _logged(q, actions)).mean()


@mutant("04.2", "log of the mean")
def _(q, actions):
    """you average exp Q over the actions. Here it is the sum; the two differ by the log of the number of actions.
    (With continuous actions it will be the mean.)"""
    return (torch.logsumexp(q, 1) - _logged(q, actions)).mean() - torch.tensor(float(q.shape[1])).log()


@mutant("04.2", "every row's actions")
def _(q, actions):
    """q[:, actions] takes *every* listed action in each state. One action a state: gather, or
    q[torch.arange(len(q)), actions]."""
    return (torch.logsumexp(q, 1)[:, None] - q[:, actions]).mean()


@mutant("04.2", "greedy mean")
def _(q, actions):
    """what you subtract is the rating that the softmax expects, not the logged one: that difference is an entropy,
    and the log has no say in it."""
    return (torch.logsumexp(q, 1) - (torch.softmax(q, 1) * q).sum(1)).mean()


@mutant("04.2", "first action")
def _(q, actions):
    """you subtract action 0 in every state. Use `actions`: it says which action was logged in each."""
    return (torch.logsumexp(q, 1) - q[:, 0]).mean()


# ---------------------------------------------------------------- 04.3
@exercise(
    "04.3",
    title="what it pushes, and how hard",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=12,
    examples=(
        Example((Q, ACTIONS), "two states, three actions, the logged action of each"),
        Example((WIDE, WIDE_ACTIONS), "three states, four actions", shown=False),
    ),
    hints=(
        "The derivative of log sum exp is a well-known friend, and the derivative of -Q(s, logged) is -1 at one entry.",
        "For each row: softmax of the row, minus one at the logged action; all of it divided by the number of rows.",
        "return (torch.softmax(q, dim=1) - F.one_hot(____, q.shape[1])) / ____",
    ),
    meaning="Each row sums to zero: what is pushed down on some actions is pushed up on the logged one.",
)
def penalty_gradient(q, actions):
    """d penalty / d Q without autograd.

    [states, actions], [states] -> [states, actions]
    """
    return (torch.softmax(q, dim=1) - F.one_hot(actions, q.shape[1])) / q.shape[0]


@mutant("04.3", "no mean")
def _(q, actions):
    """the penalty is a mean over states, so each state's share carries 1 / (number of states)."""
    return torch.softmax(q, 1) - F.one_hot(actions, q.shape[1])


@mutant("04.3", "no data term")
def _(q, actions):
    """that is the soft maximum's part alone: everything is pushed down. The logged action's -Q(s, a) adds -1 at
    that entry."""
    return torch.softmax(q, 1) / len(q)


@mutant("04.3", "sign")
def _(q, actions):
    """the sign is turned: this is the direction of *descent*. The gradient is softmax minus one-hot."""
    return (F.one_hot(actions, q.shape[1]) - torch.softmax(q, 1)) / len(q)


@mutant("04.3", "over states")
def _(q, actions):
    """the softmax runs over the states (axis 0). The actions of one state share its push: axis 1."""
    return (torch.softmax(q, 0) - F.one_hot(actions, q.shape[1])) / len(q)


@mutant("04.3", "one-hot of the maximum")
def _(q, actions):
    """that is the gradient of the *hard* maximum. logsumexp shares the push: softmax."""
    return (F.one_hot(q.argmax(1), q.shape[1]) - F.one_hot(actions, q.shape[1])) / len(q)


@mutant("04.3", "divided by the actions")
def _(q, actions):
    """you divide by the number of actions. The penalty is a mean over *states*: divide by the number of rows."""
    return (torch.softmax(q, 1) - F.one_hot(actions, q.shape[1])) / q.shape[1]


@mutant("04.3", "divided by all")
def _(q, actions):
    """you divide by the number of all entries. The penalty is a mean over states only: divide by the number of rows."""
    return (torch.softmax(q, 1) - F.one_hot(actions, q.shape[1])) / q.numel()


@mutant("04.3", "pull alone")
def _(q, actions):
    """that is the pull alone: the soft maximum's part, softmax of each row, is missing."""
    return -F.one_hot(actions, q.shape[1]) / len(q)


@mutant("04.3", "every row's actions")
def _(q, actions):
    """one was subtracted at *every* listed action in each state, as with s[:, actions] -= 1. Each state has one
    logged action: F.one_hot, or s[torch.arange(len(q)), actions] -= 1."""
    return (torch.softmax(q, 1) - F.one_hot(actions, q.shape[1]).sum(0)) / len(q)


@mutant("04.3", "logarithm")
def _(q, actions):
    """that is the logarithm of the shares. The derivative of log-sum-exp is the share itself: softmax."""
    return (torch.log_softmax(q, 1) - F.one_hot(actions, q.shape[1])) / len(q)


@mutant("04.3", "uniform")
def _(q, actions):
    """every action is pushed alike. The push is in proportion to exp Q: highly rated actions get most of it."""
    return (1.0 / q.shape[1] - F.one_hot(actions, q.shape[1]).float()) / len(q)


# ---------------------------------------------------------------- 04.4
@exercise(
    "04.4",
    title="who is pushed down most?",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=8,
    examples=(
        Example(
            (torch.tensor([[1.0, 2.0, 3.0], [1.0, 4.0, 2.0]]), torch.tensor([2, 0])),
            "logged: the best in the first state, the worst in the second",
        ),
        Example((WIDE, WIDE_ACTIONS), "three states, four actions", shown=False),
    ),
    hints=(
        "Use the gradient of 04.3, with its sign.",
        "Descent lowers an entry by its gradient: the most lowered has the largest gradient.",
        "return (torch.softmax(q, dim=1) - F.one_hot(actions, q.shape[1])).arg____(dim=1)",
    ),
    meaning="The action that is overrated and was not logged takes the push; a logged maximum is left alone.",
)
def pushed_down_most(q, actions):
    """For each state the action whose Q falls most in one step of descent on the penalty.

    -> [states] indices
    """
    gradient = torch.softmax(q, dim=1) - F.one_hot(actions, q.shape[1])
    return gradient.argmax(dim=1)


@mutant("04.4", "largest Q")
def _(q, actions):
    """the highest rated action gets the largest push, *unless it was logged*: then the -1 more than cancels it."""
    return q.argmax(1)


@mutant("04.4", "smallest gradient")
def _(q, actions):
    """that is the logged action, the one that is pushed *up*: descent goes against the gradient."""
    return (torch.softmax(q, 1) - F.one_hot(actions, q.shape[1])).argmin(1)


@mutant("04.4", "smallest Q")
def _(q, actions):
    """low values are hardly touched: the push is in proportion to exp Q."""
    return q.argmin(1)


@mutant("04.4", "how hard")
def _(q, actions):
    """that is *how hard* the most pushed action is pushed. Asked is *which* it is: argmax."""
    return (torch.softmax(q, 1) - F.one_hot(actions, q.shape[1])).amax(1)


@mutant("04.4", "second best")
def _(q, actions):
    """the second best is right only where the best was logged. Let the gradient decide, state by state."""
    return q.topk(2, dim=1).indices[:, 1]


# ---------------------------------------------------------------- 04.5
@exercise(
    "04.5",
    title="the critic's whole loss",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=10,
    examples=(
        Example((Q, ACTIONS, torch.tensor([0.5, -1.0]), 3.0), "two states, targets 0.5 and -1, cql_alpha 3"),
        Example((WIDE, WIDE_ACTIONS, torch.tensor([1.0, 2.0, 0.0]), 0.3), "three states, cql_alpha 0.3", shown=False),
    ),
    hints=(
        "Two terms. Which one has a weight?",
        "Squared difference between the logged action's value and its target, averaged; plus cql_alpha times your "
        "penalty.",
        "return (logged - target).square().mean() + ____ * (torch.logsumexp(q, dim=1) - logged).mean()",
    ),
    meaning="With cql_alpha 0 this is ordinary Q-learning; the larger it is, the closer softmax(Q) comes to the log.",
)
def critic_loss(q, actions, target, cql_alpha):
    """Mean (Q(s, logged) - target)^2 + cql_alpha * penalty.

    [states, actions], [states], [states], number -> []
    """
    logged = q.gather(1, actions[:, None]).squeeze(1)
    return (logged - target).square().mean() + cql_alpha * (torch.logsumexp(q, dim=1) - logged).mean()


@mutant("04.5", "half")
def _(q, actions, target, cql_alpha):
    """the paper writes 1/2 in front of the squared error; this course and most code do not, so the paper's alpha
    is half of ours."""
    return 0.5 * (_logged(q, actions) - target).square().mean() + cql_alpha * penalty(q, actions)


@mutant("04.5", "alpha on the error")
def _(q, actions, target, cql_alpha):
    """cql_alpha weighs the Bellman error here. It belongs to the penalty: 0 must give ordinary Q-learning."""
    return cql_alpha * (_logged(q, actions) - target).square().mean() + penalty(q, actions)


@mutant("04.5", "alpha on both")
def _(q, actions, target, cql_alpha):
    """cql_alpha multiplies both parts, which only changes the step size. Let it weigh the penalty alone."""
    return cql_alpha * ((_logged(q, actions) - target).square().mean() + penalty(q, actions))


@mutant("04.5", "no alpha")
def _(q, actions, target, cql_alpha):
    """cql_alpha is not used: the penalty has weight 1."""
    return (_logged(q, actions) - target).square().mean() + penalty(q, actions)


@mutant("04.5", "minus")
def _(q, actions, target, cql_alpha):
    """the penalty is subtracted: minimising this loss makes it *large*."""
    return (_logged(q, actions) - target).square().mean() - cql_alpha * penalty(q, actions)


@mutant("04.5", "sum of squares")
def _(q, actions, target, cql_alpha):
    """the squared errors are summed, so their weight against the penalty grows with the batch. Take the mean of
    both."""
    return (_logged(q, actions) - target).square().sum() + cql_alpha * penalty(q, actions)


@mutant("04.5", "root")
def _(q, actions, target, cql_alpha):
    """you took the square root of the mean squared error. Leave it squared: then its gradient shrinks as the error
    does."""
    return (_logged(q, actions) - target).square().mean().sqrt() + cql_alpha * penalty(q, actions)


@mutant("04.5", "every action")
def _(q, actions, target, cql_alpha):
    """every action is drawn towards the target. The target is about the logged action alone; of the others the log
    knows nothing."""
    return (q - target[:, None]).square().mean() + cql_alpha * penalty(q, actions)


@mutant("04.5", "half alpha")
def _(q, actions, target, cql_alpha):
    """the penalty has half its weight. In this course there is no 1/2 anywhere: squared error plus cql_alpha times
    penalty."""
    return (_logged(q, actions) - target).square().mean() + 0.5 * cql_alpha * penalty(q, actions)


@mutant("04.5", "blend")
def _(q, actions, target, cql_alpha):
    """you blend the two parts with weights 1 - alpha and alpha. cql_alpha is no share: it may be 5 or 20, and the
    Bellman error keeps weight 1."""
    return (1 - cql_alpha) * (_logged(q, actions) - target).square().mean() + cql_alpha * penalty(q, actions)


@mutant("04.5", "divided")
def _(q, actions, target, cql_alpha):
    """the penalty is divided by cql_alpha: then a larger alpha is *less* conservative. Multiply."""
    return (_logged(q, actions) - target).square().mean() + penalty(q, actions) / cql_alpha


@mutant("04.5", "target pulled")
def _(q, actions, target, cql_alpha):
    """in the penalty you subtract the target in the place of the logged rating. A target has no gradient: nothing
    would be pulled up."""
    return (_logged(q, actions) - target).square().mean() + cql_alpha * (torch.logsumexp(q, 1) - target).mean()


@mutant("04.5", "absolute error")
def _(q, actions, target, cql_alpha):
    """the Bellman error is squared, not taken absolutely: only then is the minimiser the mean of the targets."""
    return (_logged(q, actions) - target).abs().mean() + cql_alpha * penalty(q, actions)


@mutant("04.5", "greedy error")
def _(q, actions, target, cql_alpha):
    """the error is taken at the *best* action. The target belongs to the action that was logged."""
    return (q.amax(1) - target).square().mean() + cql_alpha * penalty(q, actions)


# ---------------------------------------------------------------- quiz
quiz_question(
    "04.a",
    "A critic rates all actions of a state equally. What does one step on the penalty alone do?",
    answer="b",
    a=("nothing, it is at its minimum", "Not quite: the softmax is uniform, but the logged action still has its -1."),
    b=(
        "it raises the logged action and lowers all others alike",
        "The softmax is uniform, minus one at the logged action.",
    ),
    c=("it lowers all actions", "The rows of the gradient sum to zero: something must go up."),
)

quiz_question(
    "04.b",
    "Add 100 to every entry of Q. How does the penalty change?",
    answer="b",
    a=("by 100", "Both parts move by 100, and they are subtracted."),
    b=("not at all", "The soft maximum and the logged value both rise by 100."),
    c=(
        "it becomes enormous, exp(100) times larger",
        "The logarithm takes that back: log sum exp (Q + 100) = 100 + log sum exp Q.",
    ),
)

quiz_question(
    "04.c",
    "The data contain only one action in some state. Where does the penalty alone drive Q there?",
    answer="c",
    a=("to the reward", "Only the Bellman error knows the reward."),
    b=("to 0 everywhere", "Adding a constant changes nothing, so the penalty has no opinion about 0."),
    c=(
        "to an ever larger lead of that action: there is no minimum",
        "softmax(Q) can approach the one-hot, never reach it.",
    ),
)


# ---------------------------------------------------------------- predictions
prediction(
    "04.p1",
    "Three actions are all worth 0. What is their soft maximum, log sum exp?",
    answer="b",
    a=("0, as the maximum is", "The soft maximum always lies above the maximum: the others add to the sum."),
    b=(
        "log 3, the logarithm of their number",
        "Each adds exp(0) = 1 to the sum, so it is 3 before the logarithm. Ties are where soft and hard maximum "
        "differ most.",
    ),
    c=("3, one for each", "That is the sum of the exponentials; the logarithm is still to come."),
)

prediction(
    "04.p2",
    "Three critics rate three actions: the first rates all alike, the second is sure of the logged one, the third is "
    "sure of one that was not logged. Which pays the largest penalty?",
    answer="c",
    a=("the one that rates all alike", "It pays the log of the number of actions, whatever the level: no more."),
    b=(
        "the one that is sure of the logged action",
        "Its soft maximum and its logged value are nearly the same number: it pays next to nothing.",
    ),
    c=(
        "the one that is sure of another action",
        "Its soft maximum follows the favourite, its logged value stays behind: the penalty grows with that lead, "
        "without bound.",
    ),
)

prediction(
    "04.p3",
    "A state's actions are rated 1, 2 and 3, and the *best* one was logged. Which goes down most in one step on the "
    "penalty?",
    answer="b",
    a=(
        "the best rated, it has the largest share of the push",
        "It has the largest share, about two thirds; but as the logged one it is pulled up by one, and rises on "
        "balance.",
    ),
    b=("the second best", "Its share of the push is the largest among those that were not logged."),
    c=("all alike", "The push goes in proportion to exp Q: the low ones hardly move."),
)

prediction(
    "04.p4",
    "Four arms, each logged (the best one least, the worst one most), exact rewards, cql_alpha 1. Which learned "
    "values lie below the truth?",
    answer="b",
    a=(
        "all of them: that is what conservative means",
        "Raising and lowering cancel out over the log, so not all can be below.",
    ),
    b=(
        "those the softmax of Q likes more than the log does; the others lie above",
        "At the minimum the error of an arm is in proportion to (1 - softmax / share in the log): the worst arm, "
        "logged most, ends up over-estimated.",
    ),
    c=(
        "none: the log covers every arm",
        "Coverage does not switch the penalty off; it limits how far it moves the values.",
    ),
)
