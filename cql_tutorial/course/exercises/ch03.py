"""Exercises of chapter 03, why naive Q-learning fails: fitted Q-iteration on counts, and its two kinds of luck."""

from __future__ import annotations

import math

import torch

from ..checker import Example
from ..registry import exercise, mutant, prediction, quiz_question

D = torch.float64
REWARDS, NEXT = torch.tensor([1.0, -2.0, 0.25], dtype=D), torch.tensor([1, 2, 0])
ENDED = torch.tensor([False, True, False])
Q = torch.tensor([[1.0, 3.0], [2.0, -1.0], [4.0, 5.0]], dtype=D)
SAMPLES = torch.tensor([[[3.0, 1.0, 2.0], [0.0, 2.0, -0.5]], [[-1.0, -3.0, -2.0], [5.0, -5.0, -0.9]]], dtype=D)
LOGGED_Q = torch.tensor([[1.0, 4.0, 2.0], [-1.0, -3.0, -2.0], [5.0, 6.0, 7.0]], dtype=D)
LOGGED = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0], [0.0, 0.0, 0.0]], dtype=D)
SHARE_Q = torch.tensor([[1.0, 3.0], [2.0, 0.0], [0.0, 1.0], [4.0, 2.0], [1.0, 2.0]], dtype=D)
SHARE_COUNTS = torch.tensor([[9.0, 0.0], [2.0, 7.0], [1.0, 5.0], [3.0, 4.0], [0.0, 0.0]], dtype=D)
PREDICTED = torch.tensor([-3.0, -1.0, 1.05, 8.0, 12.6, 9.5, 0.0, 0.5], dtype=D)


def _larger() -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(0)
    q = torch.randn(20, 4, generator=draw, dtype=D)
    counts = torch.randint(0, 6, (20, 4), generator=draw).double() * (torch.rand(20, 1, generator=draw) > 0.2)
    rows = torch.randint(0, 20, (50,), generator=draw)
    return q, counts, rows, torch.randn(50, generator=draw, dtype=D), torch.rand(50, generator=draw) < 0.3


LARGE_Q, LARGE_COUNTS, LARGE_NEXT, LARGE_REWARDS, LARGE_ENDED = _larger()
LARGE_SAMPLES = torch.randn(30, 5, 3, generator=torch.Generator().manual_seed(1), dtype=D)


# ---------------------------------------------------------------- 03.1
@exercise(
    "03.1",
    title="the target of every row",
    kind="build",
    difficulty=2,
    importance=5,
    minutes=8,
    examples=(
        Example(
            (REWARDS, NEXT, ENDED, Q, 0.5),
            "three rows, of which the second ended; three states, two actions; discount 0.5",
        ),
        Example((LARGE_REWARDS, LARGE_NEXT, LARGE_ENDED, LARGE_Q, 0.95), "fifty rows", shown=False),
    ),
    hints=(
        "One number for each state first (its best action), then look up the state where each row led.",
        "reward + discount * best[next_states], and the second part times ~terminations.",
        "return rewards + discount * q.max(dim=1).values[____] * ~____",
    ),
    meaning=(
        "Averaged over the rows of each pair, these targets are the next table: that is one sweep of fitted "
        "Q-iteration."
    ),
)
def row_targets(rewards, next_states, terminations, q, discount):
    """The target of every logged row: reward plus discounted best value of the next state, cut where terminated.

    rewards, next_states, terminations [N]; q [S, A]; discount a number -> [N].
    """
    best = q.max(dim=1).values
    return rewards + discount * best[next_states] * ~terminations


@mutant("03.1", "not cut", seen="its opposite, cutting at time limits too (batch.done), is in tianshou's CQL")
def _(rewards, next_states, terminations, q, discount):
    """the row that ended still counts a next state. After a termination nothing follows: multiply by ~terminations."""
    return rewards + discount * q.amax(1)[next_states]


@mutant("03.1", "cut the wrong way")
def _(rewards, next_states, terminations, q, discount):
    """the mask is inverted: only the row that ended got a next value. The others need it: ~terminations."""
    return rewards + discount * q.amax(1)[next_states] * terminations


@mutant("03.1", "reward cut too")
def _(rewards, next_states, terminations, q, discount):
    """the last reward was cut off together with the future. It was paid: only the next value is masked."""
    return (rewards + discount * q.amax(1)[next_states]) * ~terminations


@mutant("03.1", "mean")
def _(rewards, next_states, terminations, q, discount):
    """you average over the actions: that values a policy that acts at random. Q-learning takes the best."""
    return rewards + discount * q.mean(1)[next_states] * ~terminations


@mutant("03.1", "one best for all")
def _(rewards, next_states, terminations, q, discount):
    """q.max() is the best entry of the whole table. Each row needs the best of *its* next state: max over dim=1,
    then look it up."""
    return rewards + discount * q.max() * ~terminations


@mutant("03.1", "sum")
def _(rewards, next_states, terminations, q, discount):
    """the values of all actions are added up. One action will be taken: the best."""
    return rewards + discount * q.sum(1)[next_states] * ~terminations


@mutant("03.1", "no reward")
def _(rewards, next_states, terminations, q, discount):
    """the row's own reward is missing."""
    return discount * q.amax(1)[next_states] * ~terminations


@mutant("03.1", "minimum")
def _(rewards, next_states, terminations, q, discount):
    """that is the *worst* action of the next state."""
    return rewards + discount * q.amin(1)[next_states] * ~terminations


@mutant("03.1", "own row")
def _(rewards, next_states, terminations, q, discount):
    """the value was taken from the state with the *row's* number. next_states says where the row led:
    best[next_states]."""
    return rewards + discount * q.amax(1)[: len(rewards)] * ~terminations if len(q) >= len(rewards) else rewards


@mutant("03.1", "no discount")
def _(rewards, next_states, terminations, q, discount):
    """the next value is not discounted."""
    return rewards + q.amax(1)[next_states] * ~terminations


@mutant("03.1", "reward discounted")
def _(rewards, next_states, terminations, q, discount):
    """the reward is discounted too. It is paid now; the discount belongs to what comes next."""
    return discount * (rewards + q.amax(1)[next_states] * ~terminations)


@mutant("03.1", "index")
def _(rewards, next_states, terminations, q, discount):
    """argmax gives *which* action is best. Wanted is how good it is: max."""
    return rewards + discount * q.argmax(1)[next_states] * ~terminations


# ---------------------------------------------------------------- 03.2
@exercise(
    "03.2",
    title="how good the best one looks",
    kind="build",
    difficulty=2,
    importance=5,
    minutes=8,
    examples=(
        Example((SAMPLES,), "two repeats, two arms, three tries each"),
        Example((LARGE_SAMPLES,), "thirty repeats, five arms, three tries", shown=False),
    ),
    hints=(
        "Three axes, three steps, from the last to the first: tries, arms, repeats.",
        "Mean over the tries, maximum over the arms, mean over the repeats.",
        "return samples.mean(dim=____).amax(dim=____).mean()",
    ),
    meaning=(
        "The maximum of unbiased estimates is not an unbiased estimate of the maximum: it is too high, and nobody made "
        "a mistake."
    ),
)
def mean_of_the_best(samples):
    """How good the best-looking arm looks, on average over repeats of the whole experiment.

    samples [repeats, arms, tries] -> []
    """
    return samples.mean(dim=2).amax(dim=1).mean()


@mutant("03.2", "maximum of the means over repeats")
def _(samples):
    """you average over the repeats *before* choosing. A log is one repeat: choose in each, then average."""
    return samples.mean((0, 2)).amax()


@mutant("03.2", "mean of everything")
def _(samples):
    """that is the mean of all arms: nobody chose anything. Take the best arm of each repeat."""
    return samples.mean()


@mutant("03.2", "best single try")
def _(samples):
    """you take the luckiest single try. An arm is judged by the mean of its tries; then the best arm is chosen."""
    return samples.amax((1, 2)).mean()


@mutant("03.2", "lucky tries")
def _(samples):
    """the maximum runs over the tries. First the mean over the tries (last axis), then the maximum over the arms."""
    return samples.amax(2).mean()


@mutant("03.2", "over arms first")
def _(samples):
    """you average over the arms and choose among the tries: the axes are swapped. Tries are the last axis."""
    return samples.mean(1).amax(1).mean()


@mutant("03.2", "worst")
def _(samples):
    """that is the *worst*-looking arm."""
    return samples.mean(2).amin(1).mean()


@mutant("03.2", "each repeat")
def _(samples):
    """that is one number a repeat. Average them."""
    return samples.mean(2).amax(1)


@mutant("03.2", "sum")
def _(samples):
    """the repeats are summed. Average them."""
    return samples.mean(2).amax(1).sum()


# ---------------------------------------------------------------- 03.3
@exercise(
    "03.3",
    title="restricted to logged actions",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=10,
    examples=(
        Example((LOGGED_Q, LOGGED), "three states, three actions; nothing was logged in the third"),
        Example((LARGE_Q, LARGE_COUNTS), "twenty states, four actions", shown=False),
    ),
    hints=(
        "An action with count 0 must not win, whatever its value.",
        "Set the values of unseen actions to minus infinity, take the maximum, and put 0 where the whole row is "
        "unseen.",
        "best = q.masked_fill(counts == 0, ____).amax(dim=1); return torch.where(counts.sum(dim=1) > 0, best, 0.0)",
    ),
    meaning=(
        "This control takes away the unseen actions and nothing else; what is left of the error comes from the logged "
        "ones."
    ),
)
def best_logged(q, counts):
    """The largest value among the actions logged in each state, 0 where none was: [S, A], [S, A] -> [S]."""
    best = q.masked_fill(counts == 0, -math.inf).amax(dim=1)
    return torch.where(counts.sum(dim=1) > 0, best, 0.0)


@mutant("03.3", "all actions")
def _(q, counts):
    """that is the maximum over all actions, the unseen ones too: the counts have no say."""
    return q.amax(1)


@mutant("03.3", "unseen as zero")
def _(q, counts):
    """an unseen action was set to 0 and won, as the logged values are negative there. Minus infinity never wins:
    masked_fill."""
    return (q * (counts > 0)).amax(1)


@mutant("03.3", "mean of logged")
def _(q, counts):
    """that is the mean over the logged actions. The control still *improves*: the largest of them."""
    return (q * (counts > 0)).sum(1) / (counts > 0).sum(1).clamp(min=1)


@mutant("03.3", "behaviour's mean")
def _(q, counts):
    """weighted by how often each was done, you get the value of the log's own policy. The control still improves:
    the largest."""
    return (q * counts).sum(1) / counts.sum(1).clamp(min=1)


@mutant("03.3", "given up too early")
def _(q, counts):
    """a state is worth 0 in yours as soon as its best action, or any, is unseen. Skip the unseen ones, and take
    the best that is left."""
    return torch.where((counts > 0).all(1), q.amax(1), 0.0)


@mutant("03.3", "most logged")
def _(q, counts):
    """that is the value of the action done *most often*. Any logged action may be chosen: the best of them."""
    return torch.where(_seen(counts), q.gather(1, counts.argmax(1, keepdim=True))[:, 0], 0.0)


@mutant("03.3", "worst logged")
def _(q, counts):
    """that is the smallest logged value."""
    return torch.where(_seen(counts), q.masked_fill(counts == 0, math.inf).amin(1), 0.0)


@mutant("03.3", "minus infinity left")
def _(q, counts):
    """right where something was logged, minus infinity where nothing was: one such state and the whole table is
    lost. Put 0 there."""
    return q.masked_fill(counts == 0, -math.inf).amax(1)


# ---------------------------------------------------------------- 03.4
@exercise(
    "03.4",
    title="who wins the maximum?",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=10,
    examples=(
        Example((SHARE_Q, SHARE_COUNTS, 3), "five states, two actions, rare is 3; the last state was never visited"),
        Example((LARGE_Q, LARGE_COUNTS, 2), "twenty states, four actions", shown=False),
    ),
    hints=(
        "For each state: which action has the largest Q, and how often was that one tried?",
        "Gather the counts at the argmax, keep the visited states, then two means: == 0, and between 1 and rare.",
        "tried = counts.gather(1, q.____(dim=1, keepdim=True)).squeeze(1)[counts.sum(dim=1) > 0]",
    ),
    meaning=(
        "The maximum prefers what the log knows least, and now you can say how much of that is unseen and how much is "
        "rare."
    ),
)
def greedy_shares(q, counts, rare):
    """Of the visited states, the share whose greedy action was never tried, and the share tried 1 to `rare` times.

    [S, A], [S, A], number -> [2]
    """
    tried = counts.gather(1, q.argmax(dim=1, keepdim=True)).squeeze(1)
    tried = tried[counts.sum(dim=1) > 0]
    unseen, rarely = tried == 0, (tried >= 1) & (tried <= rare)
    return torch.stack([unseen.double().mean(), rarely.double().mean()])


def _shares(tried: torch.Tensor, rare: float) -> torch.Tensor:
    return torch.stack([(tried == 0).double().mean(), ((tried >= 1) & (tried <= rare)).double().mean()])


def _greedy(q: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    return counts.gather(1, q.argmax(1, keepdim=True))[:, 0]


def _seen(counts: torch.Tensor) -> torch.Tensor:
    return counts.sum(1) > 0


@mutant("03.4", "unvisited counted")
def _(q, counts, rare):
    """a state that was never visited counts as unseen. Of the *visited* states: drop the rows without any count
    first."""
    return _shares(_greedy(q, counts), rare)


@mutant("03.4", "rare holds unseen")
def _(q, counts, rare):
    """an action that was never tried is counted as rarely tried too. The two causes are to be kept apart: 1 to
    `rare`."""
    tried = _greedy(q, counts)[_seen(counts)]
    return torch.stack([(tried == 0).double().mean(), (tried <= rare).double().mean()])


@mutant("03.4", "below rare")
def _(q, counts, rare):
    """an action tried exactly `rare` times belongs to the rare ones: <= rare."""
    tried = _greedy(q, counts)[_seen(counts)]
    return torch.stack([(tried == 0).double().mean(), ((tried > 0) & (tried < rare)).double().mean()])


@mutant("03.4", "swapped")
def _(q, counts, rare):
    """the two numbers are swapped: unseen first."""
    tried = _greedy(q, counts)[_seen(counts)]
    return _shares(tried, rare).flip(0)


@mutant("03.4", "numbers")
def _(q, counts, rare):
    """those are numbers of states. Asked are shares: divide by the number of visited states."""
    tried = _greedy(q, counts)[_seen(counts)]
    return _shares(tried, rare) * _seen(counts).sum()


@mutant("03.4", "all pairs")
def _(q, counts, rare):
    """you counted every action. Only the greedy one of each state decides: q.argmax."""
    return _shares(counts[_seen(counts)].flatten(), rare)


@mutant("03.4", "most logged")
def _(q, counts, rare):
    """you looked at the action logged most often. Asked is the one with the largest Q."""
    return _shares(counts.amax(1)[_seen(counts)], rare)


@mutant("03.4", "worst action")
def _(q, counts, rare):
    """you looked at the action with the *smallest* Q: argmax."""
    return _shares(counts.gather(1, q.argmin(1, keepdim=True))[:, 0][_seen(counts)], rare)


# ---------------------------------------------------------------- 03.5
@exercise(
    "03.5",
    title="what cannot be",
    kind="build",
    difficulty=2,
    importance=4,
    minutes=6,
    examples=(
        Example((PREDICTED, 1.0, 0.9), "eight predictions, no reward above 1, discount 0.9"),
        Example((torch.tensor([-1.0, 0.0, 0.5, -20.0], dtype=D), 0.0, 0.95), "no reward above 0", shown=False),
    ),
    hints=(
        "What would a policy earn that got the best reward at every step, for ever?",
        "The geometric series: best_reward / (1 - discount). Then the mean of q > bound.",
        "bound = best_reward / ____; return (q > bound).double().mean()",
    ),
    meaning="A prediction above the bound needs no truth to be refuted: the cheapest alarm there is.",
)
def share_impossible(q, best_reward, discount):
    """The share of predictions above what any policy could earn, if no reward exceeds `best_reward`.

    [N], number, number below 1 -> []
    """
    bound = best_reward / (1 - discount)
    return (q > bound).double().mean()


@mutant("03.5", "one reward")
def _(q, best_reward, discount):
    """the bound is one reward. A value sums many: the best reward for ever, discounted, is best_reward / (1 -
    discount)."""
    return (q > best_reward).double().mean()


@mutant("03.5", "multiplied")
def _(q, best_reward, discount):
    """you multiply by 1 - discount. The sum of 1 + g + g^2 + ... *divides* by it."""
    return (q > best_reward * (1 - discount)).double().mean()


@mutant("03.5", "divided by the discount")
def _(q, best_reward, discount):
    """you divide by the discount. 1 + g + g^2 + ... is 1 / (1 - g)."""
    return (q > best_reward / discount).double().mean()


@mutant("03.5", "first reward forgotten")
def _(q, best_reward, discount):
    """the reward that is paid now is missing from the bound: the series starts at 1, not at the discount."""
    return (q > discount * best_reward / (1 - discount)).double().mean()


@mutant("03.5", "possible ones")
def _(q, best_reward, discount):
    """that is the share of predictions that *are* possible."""
    return (q <= best_reward / (1 - discount)).double().mean()


@mutant("03.5", "number")
def _(q, best_reward, discount):
    """that is a number of predictions. Asked is their share: the mean."""
    return (q > best_reward / (1 - discount)).sum()


@mutant("03.5", "per cent")
def _(q, best_reward, discount):
    """a share between 0 and 1, not per cent."""
    return 100 * (q > best_reward / (1 - discount)).double().mean()


@mutant("03.5", "at the bound")
def _(q, best_reward, discount):
    """a prediction exactly at the bound is possible: > and not >=."""
    return (q >= best_reward / (1 - discount)).double().mean()


# ---------------------------------------------------------------- predictions
prediction(
    "03.p1",
    "Fitted Q-iteration runs on 50 episodes of a policy that is good three times in four. It comes to rest. How does "
    "its prediction at the start compare with what its own greedy policy is worth?",
    answer="b",
    a=(
        "about right, as it has come to rest",
        "Coming to rest says that the table agrees with the log. It says nothing of the world.",
    ),
    b=("too high", "Where the log was lucky the maximum follows it, and the policy goes where the luck was."),
    c=("too low, as few data make a table cautious", "Nothing in this algorithm knows how few data there are."),
)

prediction(
    "03.p2",
    "Some arms, all truly worth 0, each tried a few times with noise of either sign. We report the mean of the "
    "best-looking one. What comes out on average?",
    answer="b",
    a=("0: every sample mean is unbiased", "Each mean is. Choosing the largest of them is not: it chooses luck."),
    b=(
        "more than 0, and more arms make it worse",
        "The more candidates, the luckier the luckiest. More tries of each make it better, by their square root.",
    ),
    c=("more than 0, and more arms make it better", "More arms are more chances for one of them to be lucky."),
)

prediction(
    "03.p3",
    "Same logs, same fit, but the next state is worth the *mean over the log's own actions* in place of the maximum. "
    "What happens to the estimation error, against the exact value of the policy that made the log?",
    answer="b",
    a=("it stays too high", "Sampling noise is there as before, but nothing selects the lucky side of it."),
    b=(
        "it cannot be told from zero",
        "A mean of noisy values is as often too low as too high. It takes a maximum to make noise one-sided.",
    ),
    c=("it becomes far too low", "Nothing pushes down here."),
)

prediction(
    "03.p4",
    "Now the table starts from random numbers, N(0, 1), and an unseen action keeps its number for ever. In which "
    "share of the visited states is the greedy action one that was *never tried*?",
    answer="a",
    a=(
        "nearly none",
        "The values of this grid reach ten, and a random number of size one seldom beats them. How wide the initial "
        "table is decides.",
    ),
    b=("about a third", "It needs initial values as large as the real ones to win that often."),
    c=("more than half", "It needs initial values far larger than the real ones to win that often."),
)

prediction(
    "03.p5",
    "Pendulum: every reward is negative or zero. An actor-critic without any penalty (offline SAC) learns from 10,000 "
    "rows of a medium policy. What does its critic promise?",
    answer="b",
    a=("values below zero, a little too high", "Nothing tells a network that its world pays no positive rewards."),
    b=(
        "positive values, in many states",
        "The actor climbs to where the network invents the most, the target copies the invention, and so on.",
    ),
    c=("nothing sensible: it becomes infinite", "In these runs it stays finite: wrong by a hundred, not by a million."),
)


# ---------------------------------------------------------------- quiz
quiz_question(
    "03.a",
    "A colleague restricts the maximum to logged actions and finds the prediction still too high. What is left to "
    "explain it?",
    answer="b",
    a=(
        "a bug: without unseen actions there is no over-estimation",
        "The table of beat four has that control in it: same error.",
    ),
    b=(
        "logged actions with few rows: noise, and a maximum over it",
        "Restriction removes what was never tried. Something tried once is still one sample.",
    ),
    c=("too few sweeps", "The table is at rest; more sweeps change nothing."),
)

quiz_question(
    "03.b",
    "A new regulariser lowers Q everywhere by a little decay, and the return on a grid like this one goes up. What "
    "does that show?",
    answer="b",
    a=(
        "that conservatism of the kind of CQL is needed",
        "Plain shrinkage does the same here. A claim for CQL has to beat that control.",
    ),
    b=(
        "that rarely tried actions lost their lead",
        "Shrinkage takes most from pairs with few rows, so well-tried actions win again.",
    ),
    c=(
        "that the prediction is now right",
        "The return and the prediction are two things: with one pseudo-count the prediction lies far below the truth "
        "here.",
    ),
)

quiz_question(
    "03.c",
    "You have a log, no simulator, and a critic. Which finding is an alarm without knowing any truth?",
    answer="b",
    a=("the mean Q grows during training", "Values may grow rightly: early in training they are too low."),
    b=("predictions above best reward / (1 - discount)", "No policy can earn that, in any world with these rewards."),
    c=("the Bellman error is not zero", "It is not zero for an exact critic either, where transitions are random."),
)
