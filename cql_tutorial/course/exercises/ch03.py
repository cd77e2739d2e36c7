"""Exercises of chapter 03, why naive Q-learning fails: fitted Q-iteration on counts, its two kinds of luck, an actor.

The examples are in general position: every axis has a length of its own, values of both signs occur, and no two of the
usual slips give the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..checker import Example
from ..registry import exercise, mutant, prediction, quiz_question

D = torch.float64
Q = torch.tensor([[1.0, 3.0, -0.5], [-2.0, -1.0, -4.0], [0.75, 0.25, 2.5], [5.0, -6.0, 0.5]], dtype=D)
STATES, ACTIONS = torch.tensor([0, 2, 0, 3, 0, 1, 0, 0]), torch.tensor([2, 0, 2, 1, 2, 0, 2, 0])
REWARDS = torch.tensor([-0.25, -2.0, 1.0, 0.5, -0.5, -0.25, -2.0, 0.1], dtype=D)
NEXT = torch.tensor([2, 3, 2, 0, 1, 1, 3, 1])
ENDED = torch.tensor([False, True, False, False, False, False, False, False])
SAMPLES = torch.tensor(
    [
        [[-4.0, 1.0, -4.5, -3.5], [0.5, -3.0, -0.5, 0.0], [1.0, -4.5, -4.0, -0.5]],
        [[0.0, 1.5, 0.5, -1.5], [0.0, 0.0, -1.5, 1.5], [-1.0, 2.0, -0.5, -4.5]],
    ],
    dtype=D,
)
LOGGED_Q = torch.tensor(
    [
        [1.5, 4.0, 2.0],
        [-1.0, -3.0, -2.5],
        [5.0, 6.5, 7.0],
        [-0.5, -0.25, -3.0],
        [2.5, -0.75, 1.0],
        [1.25, -1.75, 0.75],
        [-2.25, -1.5, -3.5],
    ],
    dtype=D,
)
LOGGED = torch.tensor([[5, 0, 1], [0, 4, 2], [0, 0, 0], [3, 1, 2], [2, 0, 3], [0, 1, 0], [1, 1, 1]])
WIDE_Q = torch.tensor(  # the smallest value of the table is the best logged one of its state
    [
        [-34000.0, 1200.0, -20.0],
        [2.0, 2.5, -900.0],
        [-1500.0, -700.0, 450.0],
        [3.0, -40.0, 7000.0],
        [-21000.0, -12500.0, 8.0],
        [-5200.0, -4100.0, 33.0],
    ],
    dtype=D,
)
WIDE_COUNTS = torch.tensor([[4, 0, 0], [1, 1, 3], [0, 3, 0], [0, 0, 0], [2, 5, 0], [1, 2, 0]])
SHARE_Q = torch.tensor(
    [
        [11.0, 2.0, -10.0],
        [9.0, 5.0, -1.0],
        [-8.0, 0.0, 13.0],
        [-7.0, 7.0, 1.0],
        [-9.0, 6.0, -5.0],
        [-11.0, 3.0, -4.0],
        [10.0, -2.0, 12.0],
        [-3.0, -12.0, 4.0],
        [-6.0, 8.0, -13.0],
    ],
    dtype=D,
)
SHARE_COUNTS = torch.tensor(
    [[0, 3, 1], [0, 1, 0], [6, 2, 1], [0, 2, 0], [0, 0, 0], [0, 1, 1], [0, 0, 2], [6, 0, 2], [0, 3, 0]]
)


def _larger() -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(4)
    q = torch.randn(20, 4, generator=draw, dtype=D) - 0.5
    counts = torch.randint(0, 8, (20, 4), generator=draw) * (torch.rand(20, 1, generator=draw) > 0.2)
    states, actions, there = (torch.randint(0, n, (50,), generator=draw) for n in (20, 4, 20))
    rewards, ended = torch.randn(50, generator=draw, dtype=D), torch.rand(50, generator=draw) < 0.3
    return q, counts, states, actions, rewards, there, ended


LARGE_Q, LARGE_COUNTS, *LARGE_ROWS = _larger()
LARGE_SAMPLES = torch.randn(30, 5, 3, generator=torch.Generator().manual_seed(1), dtype=D)


# ---------------------------------------------------------------- 03.1
@exercise(
    "03.1",
    title="one sweep",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=12,
    examples=(
        Example(
            (Q, STATES, ACTIONS, REWARDS, NEXT, ENDED, 0.6),
            "four states, three actions; eight rows, of which the second ended; discount 0.6",
        ),
        Example((LARGE_Q, *LARGE_ROWS, 0.95), "twenty states, four actions, fifty rows", shown=False),
    ),
    hints=(
        "Two steps: a target for each row, then a mean for each pair of state and action. A loop will do.",
        "A row's target is its reward plus discount times the largest Q of the state it led to, or the reward alone if "
        "the row ended. Collect sum and number of the targets for each pair; divide where there are any.",
        "target = rewards + discount * q.max(dim=1).values[next_states] * ~terminations; then a sum for each pair: "
        "torch.zeros(q.numel(), dtype=q.dtype).index_add_(0, states * q.shape[1] + ____, target)",
    ),
    meaning="Every target contains a maximum over estimates, and the next sweep copies it to the states before.",
    steps=lambda q, states, actions, rewards, next_states, terminations, discount: {
        "targets of the rows": _targets(q, rewards, next_states, terminations, discount),
        "rows of each pair": _counts(q, states, actions).long(),
    },
)
def sweep(q, states, actions, rewards, next_states, terminations, discount):
    """The table after one sweep of fitted Q-iteration over the rows of a log.

    A pair that was logged gets the mean of its rows' targets, a pair without rows keeps its value.
    q [S, A]; states, actions, rewards, next_states, terminations [N]; discount a number -> [S, A].
    """
    targets = rewards + discount * q.amax(dim=1)[next_states] * ~terminations
    pairs = states * q.shape[1] + actions
    total = torch.zeros(q.numel(), dtype=q.dtype).index_add_(0, pairs, targets)
    counts = torch.bincount(pairs, minlength=q.numel())
    return torch.where(counts > 0, total / counts.clamp(min=1), q.flatten()).view_as(q)


def _targets(q: Tensor, rewards: Tensor, there: Tensor, ended: Tensor, discount: float) -> Tensor:
    return rewards + discount * q.amax(1)[there] * ~ended


def _mean_by_pair(q: Tensor, states: Tensor, actions: Tensor, targets: Tensor) -> Tensor:
    total = torch.zeros_like(q).index_put_((states, actions), targets, accumulate=True)
    counts = _counts(q, states, actions)
    return torch.where(counts > 0, total / counts.clamp(min=1), q)


def _counts(q: Tensor, states: Tensor, actions: Tensor) -> Tensor:
    return torch.zeros_like(q).index_put_((states, actions), torch.ones(len(states), dtype=q.dtype), accumulate=True)


@mutant("03.1", "not cut", seen="its opposite, cutting at time limits too (batch.done), is in tianshou's CQL")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the row that ended still counts a next state. After a termination nothing follows: multiply by ~terminations."""
    return _mean_by_pair(q, states, actions, rewards + discount * q.amax(1)[next_states])


@mutant("03.1", "cut the wrong way")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the mask is inverted: only the row that ended got a next value. The others need it: ~terminations."""
    return _mean_by_pair(q, states, actions, rewards + discount * q.amax(1)[next_states] * terminations)


@mutant("03.1", "reward cut too")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the last reward was cut off together with the future. It was paid: only the next value is masked."""
    return _mean_by_pair(q, states, actions, (rewards + discount * q.amax(1)[next_states]) * ~terminations)


@mutant("03.1", "ended states masked")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """a state counts as worth nothing because *some* row ended on its way there. The mask belongs to the row, not to
    the state: look the value up first, then mask row by row."""
    best = q.amax(1).clone()
    best[next_states[terminations]] = 0.0
    return _mean_by_pair(q, states, actions, rewards + discount * best[next_states])


@mutant("03.1", "mean over the actions")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """you average over the next state's actions: that values a policy that acts at random. Q-learning takes the
    best."""
    return _mean_by_pair(q, states, actions, rewards + discount * q.mean(1)[next_states] * ~terminations)


@mutant("03.1", "one best for all")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """q.max() is the best entry of the whole table. Each row needs the best of *its* next state: max over dim=1,
    then look it up."""
    return _mean_by_pair(q, states, actions, rewards + discount * q.amax() * ~terminations)


@mutant("03.1", "sum over the actions")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the values of all next actions are added up. One action will be taken: the best."""
    return _mean_by_pair(q, states, actions, rewards + discount * q.sum(1)[next_states] * ~terminations)


@mutant("03.1", "minimum")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """that is the *worst* action of the next state."""
    return _mean_by_pair(q, states, actions, rewards + discount * q.amin(1)[next_states] * ~terminations)


@mutant("03.1", "index")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """argmax gives *which* action is best. Wanted is how good it is: max."""
    return _mean_by_pair(q, states, actions, rewards + discount * q.argmax(1)[next_states] * ~terminations)


@mutant("03.1", "never below zero")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """a next state whose best value is negative counts as 0 (a maximum that starts at 0, or a clamp). A bad state is
    bad: start at minus infinity."""
    return _mean_by_pair(q, states, actions, rewards + discount * q.amax(1).clamp(min=0)[next_states] * ~terminations)


@mutant("03.1", "absolute value")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the largest *absolute* value is taken: a very bad action looks very good."""
    return _mean_by_pair(q, states, actions, rewards + discount * q.abs().amax(1)[next_states] * ~terminations)


@mutant("03.1", "own state")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the value was taken from the row's own state. What follows begins where the row led: next_states."""
    return _mean_by_pair(q, states, actions, rewards + discount * q.amax(1)[states] * ~terminations)


@mutant("03.1", "no reward")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the row's own reward is missing from its target."""
    return _mean_by_pair(q, states, actions, discount * q.amax(1)[next_states] * ~terminations)


@mutant("03.1", "no discount")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the next value is not discounted."""
    return _mean_by_pair(q, states, actions, rewards + q.amax(1)[next_states] * ~terminations)


@mutant("03.1", "reward discounted")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the reward is discounted too. It is paid now; the discount belongs to what comes next."""
    return _mean_by_pair(q, states, actions, discount * (rewards + q.amax(1)[next_states] * ~terminations))


@mutant("03.1", "the same action again")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the next state is valued at the action of *this* row. Q-learning asks for the best action there."""
    return _mean_by_pair(q, states, actions, rewards + discount * q[next_states, actions] * ~terminations)


@mutant("03.1", "sum of the rows")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """a pair with several rows gets the *sum* of their targets. The best fit to several targets is their mean."""
    targets = _targets(q, rewards, next_states, terminations, discount)
    total = torch.zeros_like(q).index_put_((states, actions), targets, accumulate=True)
    return torch.where(_counts(q, states, actions) > 0, total, q)


@mutant("03.1", "last row wins")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """a pair with several rows keeps the target of its *last* row; the others are overwritten. Their mean is wanted."""
    table = q.clone()
    for s, a, y in zip(states, actions, _targets(q, rewards, next_states, terminations, discount), strict=True):
        table[s, a] = y
    return table


@mutant("03.1", "best row wins")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """a pair with several rows keeps its *luckiest* target. Their mean is wanted; the maximum is over actions."""
    targets = _targets(q, rewards, next_states, terminations, discount)
    best = torch.full_like(q, -math.inf).flatten()
    best = best.scatter_reduce(0, states * q.shape[1] + actions, targets, "amax").view_as(q)
    return torch.where(best > -math.inf, best, q)


@mutant("03.1", "old values moved on at once")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """later rows of the same sweep already use values that earlier rows have changed. One sweep reads the old table
    throughout, and writes a new one."""
    table, seen = q.clone(), torch.zeros_like(q)
    for s, a, r, n, d in zip(states, actions, rewards, next_states, terminations, strict=True):
        y = r if d else r + discount * table[n].max()
        table[s, a] = (table[s, a] * seen[s, a] + y) / (seen[s, a] + 1)
        seen[s, a] += 1
    return table


@mutant("03.1", "old value among the rows")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the pair's old value is averaged in as if it were a row. Fitted Q-iteration fits the rows alone."""
    targets = _targets(q, rewards, next_states, terminations, discount)
    total = q.clone().index_put_((states, actions), targets, accumulate=True)
    return total / (_counts(q, states, actions) + 1)


@mutant("03.1", "half way")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """each row moves its pair's value half way to its target, one row after the other. That is Q-learning with a step
    size; fitted Q-iteration takes the mean of all rows at once."""
    table = q.clone()
    for s, a, y in zip(states, actions, _targets(q, rewards, next_states, terminations, discount), strict=True):
        table[s, a] = (table[s, a] + y) / 2
    return table


@mutant("03.1", "added to the old value")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the new value is added to the old one. It takes the old one's place."""
    mean = _mean_by_pair(q, states, actions, _targets(q, rewards, next_states, terminations, discount))
    return torch.where(_counts(q, states, actions) > 0, q + mean, q)


@mutant("03.1", "sum added to the old value")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the sum of a pair's targets is added to its old value: start from a table of zeros, and divide by the number of
    rows."""
    targets = _targets(q, rewards, next_states, terminations, discount)
    return q.clone().index_put_((states, actions), targets, accumulate=True)


@mutant("03.1", "divided by the state's rows")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the sum of a pair's targets is divided by the number of rows of its *state*. Divide by the rows of the pair."""
    counts = _counts(q, states, actions)
    mean = _mean_by_pair(q, states, actions, _targets(q, rewards, next_states, terminations, discount))
    return torch.where(counts > 0, mean * counts / counts.sum(1, keepdim=True).clamp(min=1), q)


@mutant("03.1", "divided by all rows")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the sum of a pair's targets is divided by the number of *all* rows. Divide by the rows of the pair."""
    counts = _counts(q, states, actions)
    mean = _mean_by_pair(q, states, actions, _targets(q, rewards, next_states, terminations, discount))
    return torch.where(counts > 0, mean * counts / len(states), q)


@mutant("03.1", "pairs numbered the other way")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the sums are right and stand in the wrong places: the number of a pair is state times the number of *actions*,
    plus action, if the table is read row by row."""
    targets, pairs = _targets(q, rewards, next_states, terminations, discount), actions * len(q) + states
    total = torch.zeros(q.numel(), dtype=q.dtype).index_add_(0, pairs, targets)
    counts = torch.bincount(pairs, minlength=q.numel())
    return torch.where(counts > 0, total / counts.clamp(min=1), q.flatten()).view_as(q)


@mutant("03.1", "nothing happens")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the table comes back as it went in: is what you computed written into the table that you return?"""
    return q.clone()


@mutant("03.1", "unseen set to zero")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the logged pairs are right, but pairs without rows became 0. Nothing was learned about them: they keep their
    value."""
    mean = _mean_by_pair(q, states, actions, _targets(q, rewards, next_states, terminations, discount))
    return torch.where(_counts(q, states, actions) > 0, mean, 0.0)


@mutant("03.1", "unseen not a number")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the logged pairs are right, but pairs without rows are nan: 0 divided by 0. They keep their value."""
    mean = _mean_by_pair(q, states, actions, _targets(q, rewards, next_states, terminations, discount))
    return torch.where(_counts(q, states, actions) > 0, mean, math.nan)


@mutant("03.1", "a tenth of the way")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """each row moves its pair's value a tenth of the way to its target. That is Q-learning with a step size; fitted
    Q-iteration puts the mean of all rows in the old value's place."""
    table = q.clone()
    for s, a, y in zip(states, actions, _targets(q, rewards, next_states, terminations, discount), strict=True):
        table[s, a] += 0.1 * (y - table[s, a])
    return table


@mutant("03.1", "next row's action")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the next state is valued at the action of the *next row*, which the log's policy took: that is SARSA. Q-learning
    asks for the best action there."""
    return _mean_by_pair(q, states, actions, rewards + discount * q[next_states, actions.roll(-1)] * ~terminations)


@mutant("03.1", "mean over the state's rows")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """all rows of a *state* are averaged together, whatever their action. Each pair of state and action has a mean of
    its own rows."""
    targets, counts = _targets(q, rewards, next_states, terminations, discount), _counts(q, states, actions)
    total = torch.zeros_like(q).index_put_((states, actions), targets, accumulate=True).sum(1, keepdim=True)
    return torch.where(counts > 0, total / counts.sum(1, keepdim=True).clamp(min=1), q)


@mutant("03.1", "log's own value")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """the next state is worth the mean over the *log's* actions in yours. That is evaluation, of section 3; here the
    best action counts."""
    counts = _counts(q, states, actions)
    value = (q * counts).sum(1) / counts.sum(1).clamp(min=1)
    return _mean_by_pair(q, states, actions, rewards + discount * value[next_states] * ~terminations)


@mutant("03.1", "first row wins")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """a pair with several rows keeps the target of its *first* row; the others are left out. Their mean is wanted."""
    table = q.clone()
    targets = _targets(q, rewards, next_states, terminations, discount)
    for s, a, y in reversed(list(zip(states, actions, targets, strict=True))):
        table[s, a] = y
    return table


@mutant("03.1", "targets from the new table")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """pair by pair, and each target is read from the table that is being filled: later pairs see the new values of
    earlier ones. One sweep reads all of its targets from the old table."""
    new = q.clone()
    for pair in (torch.stack([states, actions]).unique(dim=1)).T:
        rows = (states == pair[0]) & (actions == pair[1])
        new[pair[0], pair[1]] = _targets(new, rewards, next_states, terminations, discount)[rows].mean()
    return new


for _number in (2, 3, 10, 100, 1000):

    @mutant("03.1", f"{_number} sweeps", message=f"that is the table after {_number} sweeps or so. Asked is *one*.")
    def _(q, states, actions, rewards, next_states, terminations, discount, number=_number):
        for _ in range(number):
            q = _mean_by_pair(q, states, actions, _targets(q, rewards, next_states, terminations, discount))
        return q


@mutant("03.1", "no next value")
def _(q, states, actions, rewards, next_states, terminations, discount):
    """those are means of the rewards alone. A target is the reward *plus* discount times the best of the next state."""
    return _mean_by_pair(q, states, actions, rewards)


# ---------------------------------------------------------------- 03.2
@exercise(
    "03.2",
    title="how good the best one looks",
    kind="build",
    difficulty=2,
    importance=5,
    minutes=8,
    examples=(
        Example((SAMPLES,), "two repeats, three arms, four tries each"),
        Example((LARGE_SAMPLES,), "thirty repeats, five arms, three tries", shown=False),
    ),
    hints=(
        "Three axes, three steps, from the last to the first: tries, arms, repeats.",
        "Mean over the tries, maximum over the arms, mean over the repeats.",
        "return samples.mean(dim=____).amax(dim=____).mean()",
    ),
    meaning="Every sample mean is unbiased, and the largest of them is not: the choice was made on the same noise.",
    plain="the next cell turns it into a plain number",
    steps=lambda samples: {"means of the arms, a row for each repeat": samples.mean(2)},
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


@mutant("03.2", "maximum first")
def _(samples):
    """the maximum comes first and the mean over the tries later: for each try another arm may win. One arm is chosen a
    repeat, by the mean of all its tries: mean over the tries first."""
    return samples.amax(1).mean()


@mutant("03.2", "over arms first")
def _(samples):
    """you average over the arms and choose among the tries: the axes are swapped. Tries are the last axis."""
    return samples.mean(1).amax(1).mean()


@mutant("03.2", "best repeat")
def _(samples):
    """the maximum runs over the *repeats* (axis 0): each arm shows its best day. The choice is among the arms, axis
    1."""
    return samples.mean(2).amax(0).mean()


@mutant("03.2", "best arm of the best repeat")
def _(samples):
    """one maximum over repeats and arms together: that is the luckiest repeat. One choice in each repeat, then their
    mean."""
    return samples.mean(2).amax()


@mutant("03.2", "index")
def _(samples):
    """argmax gives *which* arm looks best. Asked is how good it looks: amax."""
    return samples.mean(2).argmax(1).double().mean()


@mutant("03.2", "absolute value")
def _(samples):
    """the largest *absolute* mean is taken: a very bad arm counts as a very good one."""
    return samples.mean(2).abs().amax(1).mean()


@mutant("03.2", "median")
def _(samples):
    """an arm is judged by the median of its tries. Asked is their mean."""
    return samples.median(2).values.amax(1).mean()


@mutant("03.2", "sum of tries")
def _(samples):
    """an arm is judged by the sum of its tries, which grows with their number. Take their mean."""
    return samples.sum(2).amax(1).mean()


@mutant("03.2", "lead over the others")
def _(samples):
    """you subtract the mean of all arms. That is the winner's lead; asked is how good it looks."""
    means = samples.mean(2)
    return (means.amax(1) - means.mean(1)).mean()


@mutant("03.2", "worst")
def _(samples):
    """that is the *worst*-looking arm."""
    return samples.mean(2).amin(1).mean()


@mutant("03.2", "first arm")
def _(samples):
    """the first arm is taken in every repeat, however it looks. The best-looking one is wanted."""
    return samples.mean(2)[:, 0].mean()


@mutant("03.2", "first try alone")
def _(samples):
    """each arm is judged by its first try. It is judged by the mean of all its tries."""
    return samples[:, :, 0].amax(1).mean()


@mutant("03.2", "last try alone")
def _(samples):
    """each arm is judged by its last try. It is judged by the mean of all its tries."""
    return samples[:, :, -1].amax(1).mean()


@mutant("03.2", "each repeat")
def _(samples):
    """that is one number a repeat. Average them."""
    return samples.mean(2).amax(1)


@mutant("03.2", "sum")
def _(samples):
    """the repeats are summed. Average them."""
    return samples.mean(2).amax(1).sum()


@mutant("03.2", "chosen by one half, judged by the other")
def _(samples):
    """you choose by the first half of the tries and judge by the second: the *double* estimator, which mends the fault
    that is to be shown. Here the same tries choose and judge."""
    half = samples.shape[2] // 2
    best = samples[..., :half].mean(2).argmax(1, keepdim=True)
    return samples[..., half:].mean(2).gather(1, best).mean()


# ---------------------------------------------------------------- 03.3
@exercise(
    "03.3",
    title="restricted to logged actions",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=10,
    examples=(
        Example((LOGGED_Q, LOGGED), "seven states, three actions; nothing was logged in the third state"),
        Example((LARGE_Q, LARGE_COUNTS), "twenty states, four actions", shown=False),
        Example((WIDE_Q, WIDE_COUNTS), "six states, three actions; values in the ten thousands", shown=False),
    ),
    hints=(
        "An action with count 0 must not win, whatever its value, and whatever the values of the logged ones.",
        "Give unseen actions a value that loses against every number, take the maximum, and treat rows without any "
        "count apart.",
        "best = q.masked_fill(counts == 0, ____).amax(dim=1); return torch.where(counts.sum(dim=1) > 0, best, 0.0)",
    ),
    meaning="This control takes away the unseen actions and nothing else: what error is left, logged actions make.",
    steps=lambda q, counts: {"values that may win": q.masked_fill(counts == 0, -math.inf)},
)
def best_logged(q, counts):
    """The largest value among the actions logged in each state, 0 where none was: [S, A], [S, A] -> [S]."""
    best = q.masked_fill(counts == 0, -math.inf).amax(dim=1)
    return torch.where(counts.sum(dim=1) > 0, best, 0.0)


def _seen(counts: Tensor) -> Tensor:
    return counts.sum(1) > 0


def _restricted(q: Tensor, counts: Tensor, nothing: float) -> Tensor:
    return torch.where(_seen(counts), q.masked_fill(counts == 0, -math.inf).amax(1), nothing)


@mutant("03.3", "all actions")
def _(q, counts):
    """that is the maximum over all actions, the unseen ones too: the counts have no say."""
    return q.amax(1)


@mutant("03.3", "all actions, zero for nothing")
def _(q, counts):
    """states without rows are right, but elsewhere unseen actions take part in the maximum, and some win."""
    return torch.where(_seen(counts), q.amax(1), 0.0)


@mutant("03.3", "mask inverted")
def _(q, counts):
    """the mask is inverted: that is the largest value among the actions that were *never* logged."""
    best = q.masked_fill(counts > 0, -math.inf).amax(1)
    return torch.where((counts == 0).any(1), best, 0.0)


@mutant("03.3", "unseen as zero")
def _(q, counts):
    """an unseen action was set to 0 and won, as the logged values are negative there. It needs a value that loses
    against every number."""
    return (q * (counts > 0)).amax(1)


@mutant("03.3", "never below zero")
def _(q, counts):
    """a state whose best logged action is negative counts as 0 (a clamp, or a maximum that starts at 0). Only a state
    *without rows* is worth 0."""
    return _restricted(q, counts, 0.0).clamp(min=0)


@mutant("03.3", "mean of logged")
def _(q, counts):
    """that is the mean over the logged actions. The control still *improves*: the largest of them."""
    return (q * (counts > 0)).sum(1) / (counts > 0).sum(1).clamp(min=1)


@mutant("03.3", "behaviour's mean")
def _(q, counts):
    """weighted by how often each was done, you get the value of the log's own policy. The control still improves:
    the largest."""
    return (q * counts).sum(1) / counts.sum(1).clamp(min=1)


@mutant("03.3", "values times counts")
def _(q, counts):
    """the values are multiplied by the counts: an action done often looks larger. A count says whether an action may
    win, not what it is worth."""
    return (q * counts).amax(1)


@mutant("03.3", "given up too early")
def _(q, counts):
    """a state is worth 0 in yours as soon as one of its actions is unseen. Skip the unseen ones, and take the best
    that is left."""
    return torch.where((counts > 0).all(1), q.amax(1), 0.0)


@mutant("03.3", "zero where the best is unseen")
def _(q, counts):
    """a state is worth 0 in yours where its best action is unseen. Skip that action, and take the best that was
    logged."""
    best = q.argmax(1, keepdim=True)
    return torch.where(counts.gather(1, best)[:, 0] > 0, q.gather(1, best)[:, 0], 0.0)


@mutant("03.3", "most logged")
def _(q, counts):
    """that is the value of the action done *most often*. Any logged action may be chosen: the best of them."""
    return torch.where(_seen(counts), q.gather(1, counts.argmax(1, keepdim=True))[:, 0], 0.0)


@mutant("03.3", "most logged, always")
def _(q, counts):
    """that is the value of the action done *most often*, and of the first one where nothing was done. Any logged action
    may be chosen: the best of them; without any, 0."""
    return q.gather(1, counts.argmax(1, keepdim=True))[:, 0]


@mutant("03.3", "worst logged")
def _(q, counts):
    """that is the smallest logged value."""
    return torch.where(_seen(counts), q.masked_fill(counts == 0, math.inf).amin(1), 0.0)


@mutant("03.3", "absolute value")
def _(q, counts):
    """the largest *absolute* value wins in yours: a very bad logged action looks very good."""
    return torch.where(_seen(counts), q.abs().masked_fill(counts == 0, -math.inf).amax(1), 0.0)


@mutant("03.3", "index")
def _(q, counts):
    """argmax gives *which* logged action is best. Asked is its value."""
    return torch.where(_seen(counts), q.masked_fill(counts == 0, -math.inf).argmax(1).double(), 0.0)


@mutant("03.3", "more than once")
def _(q, counts):
    """an action that was logged exactly once does not count in yours. Once is logged: counts > 0."""
    return torch.where((counts > 1).any(1), q.masked_fill(counts <= 1, -math.inf).amax(1), 0.0)


@mutant("03.3", "minus infinity left")
def _(q, counts):
    """right where something was logged, minus infinity where nothing was: one such state and the whole table is
    lost. Put 0 there."""
    return _restricted(q, counts, -math.inf)


@mutant("03.3", "a large negative number left")
def _(q, counts):
    """right where something was logged; where nothing was, the large negative number that stands for an unseen action
    is left. Put 0 there."""
    return _restricted(q, counts, -1e9)


@mutant("03.3", "the table's smallest value")
def _(q, counts):
    """the smallest value of the table stands for "nothing logged", and a state whose best logged value it is becomes 0
    in yours. Ask the counts whether a state has rows."""
    best = q.masked_fill(counts == 0, q.min().item()).amax(1)
    return torch.where(best == q.min(), 0.0, best)


for _fill in (-100.0, -1000.0, -10000.0):
    told = f"an unseen action counts as {_fill:g}, and wins where all logged ones are worse. Only minus infinity loses "
    mutant("03.3", f"unseen as {_fill:g}", message=f"{told}against every number.")(
        lambda q, counts, fill=_fill: torch.where(_seen(counts), q.masked_fill(counts == 0, fill).amax(1), 0.0)
    )
    told = f"a best value of {_fill:g} or less counts as 'nothing logged', and a logged one may be as low. Ask "
    mutant("03.3", f"nothing logged as {_fill:g}", message=f"{told}the counts whether a state has rows.")(
        lambda q, counts, fill=_fill: _restricted(q, counts, 0.0).where(_restricted(q, counts, fill) > fill, 0.0)
    )
    told = f"{-_fill:g} is subtracted from an unseen action's value: it still wins where values lie further apart than "
    mutant("03.3", f"unseen less {-_fill:g}", message=f"{told}that. Put minus infinity in its place.")(
        lambda q, counts, fill=_fill: torch.where(_seen(counts), (q + fill * (counts == 0)).amax(1), 0.0)
    )


# ---------------------------------------------------------------- 03.4
@exercise(
    "03.4",
    title="who wins the maximum?",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=10,
    examples=(
        Example((SHARE_Q, SHARE_COUNTS, 2), "nine states, three actions, rare is 2; the fifth had no visit"),
        Example((LARGE_Q, LARGE_COUNTS, 5), "twenty states, four actions, rare is 5", shown=False),
    ),
    hints=(
        "For each state: which action has the largest Q, and how often was that one tried?",
        "Gather the counts at the argmax, keep the visited states, then two means: == 0, and between 1 and rare.",
        "tried = counts.gather(1, q.____(dim=1, keepdim=True)).squeeze(1)[counts.sum(dim=1) > 0]",
    ),
    single="it is printed to two decimals, and compared with a table's own shares",
    meaning="The two causes of a wrong winner can now be counted apart: no data at all, and few.",
    steps=lambda q, counts, rare: {
        "tries of each state's greedy action": _greedy(q, counts),
        "visits of each state": counts.sum(1),
    },
)
def greedy_shares(q, counts, rare):
    """Of the visited states, the share whose greedy action was never tried, and the share tried 1 to `rare` times.

    [S, A], [S, A], number -> [2]
    """
    tried = counts.gather(1, q.argmax(dim=1, keepdim=True)).squeeze(1)
    tried = tried[counts.sum(dim=1) > 0]
    unseen, rarely = tried == 0, (tried >= 1) & (tried <= rare)
    return torch.stack([unseen.double().mean(), rarely.double().mean()])


def _shares(tried: Tensor, rare: float) -> Tensor:
    return torch.stack([(tried == 0).double().mean(), ((tried >= 1) & (tried <= rare)).double().mean()])


def _greedy(q: Tensor, counts: Tensor) -> Tensor:
    return counts.gather(1, q.argmax(1, keepdim=True))[:, 0]


@mutant("03.4", "unvisited counted")
def _(q, counts, rare):
    """a state that was never visited counts as unseen. Of the *visited* states: drop the rows without any count
    first."""
    return _shares(_greedy(q, counts), rare)


@mutant("03.4", "divided by all states")
def _(q, counts, rare):
    """unvisited states are left out of the numerators, but you still divide by the number of *all* states. Of the
    visited ones: drop the others first, then take the mean."""
    return _shares(_greedy(q, counts)[_seen(counts)], rare) * _seen(counts).double().mean()


@mutant("03.4", "fully tried states")
def _(q, counts, rare):
    """you keep only states in which *every* action was tried. A state is visited as soon as one was: counts.sum(1) >
    0."""
    return _shares(_greedy(q, counts)[(counts > 0).all(1)], rare)


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


@mutant("03.4", "once is not rare")
def _(q, counts, rare):
    """an action tried exactly once belongs to the rare ones: from 1 on."""
    tried = _greedy(q, counts)[_seen(counts)]
    return torch.stack([(tried == 0).double().mean(), ((tried > 1) & (tried <= rare)).double().mean()])


@mutant("03.4", "three built in")
def _(q, counts, rare):
    """your border of what is rare is 3, whatever `rare` says."""
    return _shares(_greedy(q, counts)[_seen(counts)], 3)


@mutant("03.4", "well tried in second place")
def _(q, counts, rare):
    """the second number is the share tried *more* than `rare` times. Asked are those tried 1 to `rare` times."""
    tried = _greedy(q, counts)[_seen(counts)]
    return torch.stack([(tried == 0).double().mean(), (tried > rare).double().mean()])


@mutant("03.4", "rare of the tried")
def _(q, counts, rare):
    """the second share is taken of the states whose greedy action was tried. Both are shares of the *visited*
    states."""
    tried = _greedy(q, counts)[_seen(counts)]
    seen = tried[tried > 0]
    return torch.stack([(tried == 0).double().mean(), (seen <= rare).double().mean()])


@mutant("03.4", "swapped")
def _(q, counts, rare):
    """the two numbers are swapped: unseen first."""
    return _shares(_greedy(q, counts)[_seen(counts)], rare).flip(0)


@mutant("03.4", "numbers")
def _(q, counts, rare):
    """those are numbers of states. Asked are shares: divide by the number of visited states."""
    return _shares(_greedy(q, counts)[_seen(counts)], rare) * _seen(counts).sum()


@mutant("03.4", "all pairs")
def _(q, counts, rare):
    """you counted every action. Only the greedy one of each state decides: q.argmax."""
    return _shares(counts[_seen(counts)].flatten(), rare)


@mutant("03.4", "any action")
def _(q, counts, rare):
    """you ask whether *some* action of the state is unseen, or rare. Only the greedy one decides: q.argmax."""
    kept = counts[_seen(counts)]
    return torch.stack([(kept == 0).any(1).double().mean(), ((kept >= 1) & (kept <= rare)).any(1).double().mean()])


@mutant("03.4", "most logged")
def _(q, counts, rare):
    """you looked at the action logged most often. Asked is the one with the largest Q."""
    return _shares(counts.amax(1)[_seen(counts)], rare)


@mutant("03.4", "least logged")
def _(q, counts, rare):
    """you looked at the action logged least often. Asked is the one with the largest Q."""
    return _shares(counts.amin(1)[_seen(counts)], rare)


@mutant("03.4", "worst action")
def _(q, counts, rare):
    """you looked at the action with the *smallest* Q: argmax."""
    return _shares(counts.gather(1, q.argmin(1, keepdim=True))[:, 0][_seen(counts)], rare)


@mutant("03.4", "largest absolute value")
def _(q, counts, rare):
    """you looked at the action with the largest *absolute* Q. The greedy one has the largest Q: argmax of q itself."""
    return _shares(_greedy(q.abs(), counts)[_seen(counts)], rare)


@mutant("03.4", "best state of each action")
def _(q, counts, rare):
    """the argmax runs over the states (axis 0). Each state has its own greedy action: dim=1."""
    return _shares(counts.gather(0, q.argmax(0, keepdim=True))[0], rare)


@mutant("03.4", "best of the logged")
def _(q, counts, rare):
    """you take the best of the *logged* actions, so none is unseen. The greedy one is the largest of all: argmax of q
    itself."""
    return _shares(_greedy(q.masked_fill(counts == 0, -math.inf), counts)[_seen(counts)], rare)


@mutant("03.4", "exactly rare")
def _(q, counts, rare):
    """only actions tried exactly `rare` times count as rare in yours. It is 1 *to* `rare`: <=."""
    tried = _greedy(q, counts)[_seen(counts)]
    return torch.stack([(tried == 0).double().mean(), (tried == rare).double().mean()])


@mutant("03.4", "weighed by visits")
def _(q, counts, rare):
    """the states are weighed by how often the log was there. Each visited state counts once."""
    weights = counts.sum(1) / counts.sum()
    tried = _greedy(q, counts)
    return torch.stack([(weights * (tried == 0)).sum(), (weights * ((tried >= 1) & (tried <= rare))).sum()]).double()


@mutant("03.4", "every state's action")
def _(q, counts, rare):
    """counts[:, best] takes *all* rows for each entry of `best`, so each state is also asked at the other states'
    actions. One action a row: counts[torch.arange(len(counts)), best], or gather."""
    return _shares(counts[:, q.argmax(1)][_seen(counts)].flatten(), rare)


@mutant("03.4", "unseen ones dropped")
def _(q, counts, rare):
    """you drop the states whose greedy action was never tried, the very ones that are asked for. A state is visited if
    *some* action was tried: counts.sum(1) > 0."""
    tried = _greedy(q, counts)
    return _shares(tried[tried > 0], rare)


@mutant("03.4", "visits of the state")
def _(q, counts, rare):
    """rare is judged by how often the *state* was visited. Asked is how often its greedy action was tried."""
    kept, tried = counts.sum(1)[_seen(counts)], _greedy(q, counts)[_seen(counts)]
    return torch.stack([(tried == 0).double().mean(), (kept <= rare).double().mean()])


# ---------------------------------------------------------------- 03.5
CAUSES = {"A": "wrong truth", "B": "shrunk", "C": "rare", "D": "unfinished", "E": "unseen"}
SIGNS = {  # what a run's row would show if this were its cause
    "rare": "few rows behind the winners show as a prediction above the exact value of the greedy policy, in a table "
    "that is at rest and in which no action wins that was never tried",
    "unseen": "invented values that win show as a share of greedy actions that were never tried",
    "shrunk": "shrinkage shows as a table at rest whose prediction lies below the exact value of its own policy",
    "unfinished": "a table that was stopped too early still moves in its last sweep",
    "wrong truth": "a comparison with another policy's value shows as a report that is not predicted minus exact",
}
ROWS = {  # what the row of each run does show
    "A": "run A is at rest, has no unseen winner, and is close to the exact value; look at what it reports",
    "B": "run B is at rest, reports predicted minus exact, and lies below it",
    "C": "run C is at rest, reports predicted minus exact, lies above it, and has no unseen winner",
    "D": "in run D the last sweep moved a value by more than 1, and the report is predicted minus exact",
    "E": "run E is at rest and far above the exact value, which it does report, and some winners were never tried",
}


def judge_cause(answer: object, run: str) -> str | None:
    """None for the cause of a run; else what its row would show if the answer were right, and what it does show."""
    answer = " ".join(answer.lower().replace("_", " ").split()) if type(answer) is str else None
    if answer not in SIGNS:
        return f"a cause is one of the words {', '.join(map(repr, SIGNS))}."
    if answer == CAUSES[run]:
        return None
    return f'run {run} is not "{answer}": {SIGNS[answer]}. But {ROWS[run]}.'


@exercise(
    "03.5",
    title="which cause?",
    kind="diagnose",
    difficulty=3,
    importance=4,
    minutes=8,
    examples=tuple(Example((run,), f"run {run} of the table") for run in CAUSES),
    hints=(
        "Go through the columns from right to left: shares, rest, report, and the two values last.",
        "One run has a column that is not the difference of the first two; one still moves; one has unseen winners. "
        "Two are left, one above its exact value and one below.",
        'return {"A": ____, "B": ____, "C": ____, "D": ____, "E": ____}[run]',
    ),
    meaning="One number, predicted minus something, has five readings; the columns beside it say which one holds.",
    judge=judge_cause,
)
def cause(run):
    """The cause behind a run of the table, given by its letter, "A" to "E".

    Each of these is the cause of one run: "rare" (winners with few rows), "unseen" (winners without any), "shrunk"
    (shrinkage), "unfinished" (too few sweeps), "wrong truth" (held against the value of another policy).
    """
    return {"A": "wrong truth", "B": "shrunk", "C": "rare", "D": "unfinished", "E": "unseen"}[run]


MIXED_UP = {  # two causes that are easily taken for each other
    ("rare", "shrunk"): "above and below are mixed up: luck of few rows raises the prediction, shrinkage lowers it.",
    ("rare", "wrong truth"): "a long log has winners with few rows too; look at what each run was held against.",
    ("shrunk", "unfinished"): "both lie below the exact value; the last sweep tells which of them is at rest.",
    ("unseen", "rare"): "both lie above the exact value; only one of them has winners that were never tried.",
}


def _answers(table: Mapping[str, object]) -> Callable[[str], object]:
    """An answer that looks its argument up in a table."""
    return lambda asked: table[asked]


for claimed in SIGNS:
    wrong = _answers(dict.fromkeys(CAUSES, claimed))
    told = f'"{claimed}" is given for every run, and each of the five causes occurs once.'
    mutant("03.5", f"{claimed} everywhere", message=told)(wrong)
for (one, other), told in MIXED_UP.items():
    swap = {one: other, other: one}
    wrong = _answers({run: swap.get(right, right) for run, right in CAUSES.items()})
    mutant("03.5", f"{one} and {other} mixed up", message=told)(wrong)


# ---------------------------------------------------------------- 03.6
WRONG_LINES = {"critic": 4, "actor": 3, "sweep": 3}
NOTES = {  # why each of the other lines is right; line numbers count from 1
    "critic": {
        1: "a head: batch, critics, their target networks, actor, temperature, discount are all that the loss needs",
        2: "no gradient may flow into the target, which is a constant of the regression",
        3: "the next action is the *policy's*, at the next state, with its log-probability",
        5: "the entropy bonus of soft actor-critic, minus temperature times log-probability, with the right sign",
        6: "reward plus discounted value, cut at terminations only",
        7: "each critic is asked at the action that was *logged*, which is what the target is about",
        8: "one squared error for each critic, averaged over the batch, added up",
    },
    "actor": {
        1: "a head: the actor's loss needs no target networks and no rewards",
        2: "mean and log standard deviation of a Gaussian, at the logged states",
        4: "the reparameterised sample: mean plus standard deviation times noise that is drawn outside. The formula is "
        "right; what keeps a gradient from passing through it",
        5: "the squashing to [-1, 1]",
        6: "the log-probability of the squashed action",
        7: "the actor follows the smaller of the critics, at *its own* action",
        8: "descent on temperature times log-probability minus Q raises Q and the entropy",
    },
    "sweep": {
        1: "a head: a table, a log, a discount",
        2: "the best value of each state, over the actions",
        4: "reward plus discounted best value of the state that each row led to, cut where `ended` says so",
        5: "the sum of the targets of each pair",
        6: "the mean of each pair's targets, and the old value where there is none",
    },
}


def judge_line(answer: object, listing: str) -> str | None:
    """None for the wrong line of a listing; else why the line that was named is right."""
    last = max(*NOTES[listing], WRONG_LINES[listing])
    if isinstance(answer, Tensor) and answer.ndim == 0:
        answer = answer.item()
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)
    if type(answer) is not int or not 1 <= answer <= last:
        return f'a line of "{listing}" is named by a whole number from 1 to {last}.'
    if answer == WRONG_LINES[listing]:
        return None
    return f'line {answer} of "{listing}" is right: {NOTES[listing][answer]}.'


@exercise(
    "03.6",
    title="the wrong line",
    kind="read",
    difficulty=3,
    importance=4,
    minutes=8,
    examples=tuple(Example((listing,), f'the listing "{listing}"') for listing in WRONG_LINES),
    hints=(
        "Ask of each line what it is for; the wrong one does something sensible, in the wrong place or the wrong way.",
        'In "critic" it makes over-estimation worse; in "actor" the policy never hears of Q; in "sweep" an episode '
        "that was merely cut counts as one that ended.",
        'return {"critic": ____, "actor": ____, "sweep": ____}[listing]',
    ),
    meaning="All three run and return a number of the right shape; reading finds what running does not show.",
    judge=judge_line,
)
def wrong_line(listing):
    """The number of the wrong line of a listing, "critic", "actor" or "sweep", counted from 1."""
    return {"critic": 4, "actor": 3, "sweep": 3}[listing]


GUESSES = {  # by somebody who did not read, or counted otherwise: critic, actor, sweep
    "counted from 0": ((3, 2, 2), "these are the right lines if one counts from 0. Count from 1, as the listing does."),
    "first lines": ((1, 1, 1), "you name the head of each listing; the mistake is in the body."),
    "last lines": ((8, 8, 6), "you name the last line of each listing; what it returns went wrong earlier."),
    "one line late": ((5, 4, 4), "you name the line after the wrong one each time: it passes on what came before."),
    "the targets": ((6, 7, 4), "you name the line where Q or the target is formed; ask what went into it."),
}
for name, (lines, told) in GUESSES.items():
    wrong = _answers(dict(zip(WRONG_LINES, lines, strict=True)))
    mutant("03.6", name, message=told)(wrong)


# ---------------------------------------------------------------- predictions
prediction(
    "03.p1",
    "Fitted Q-iteration runs on 50 episodes of a policy that is good three times in four, until no sweep moves it. At "
    "how many of the visited states does it predict more than its own greedy policy is worth there?",
    answer="c",
    a=(
        "at about half: it fits means, and the errors of means go both ways",
        "The errors of the means do. The maximum over them does not.",
    ),
    b=(
        "at few: those where the log happened to be lucky",
        "The luck of one state is handed on to every state from which it can be reached.",
    ),
    c=("at most of them", "A maximum follows the lucky entry, and each sweep hands it on to the states before."),
)

prediction(
    "03.p2",
    "Some arms, all truly worth 0, each tried a few times with noise of either sign. We report the mean of the "
    "best-looking one. What comes out on average?",
    answer="a",
    a=(
        "more than 0; more arms raise it",
        "The more candidates, the luckier the luckiest. More tries of each lower it, by their square root.",
    ),
    b=("more than 0; more arms lower it, as they average out", "More arms are more chances for one to be lucky."),
    c=("0, because every sample mean is unbiased", "Each mean is. Choosing the largest of them is not."),
)

prediction(
    "03.p3",
    "Same logs, same fit, but the next state is worth the *mean over the log's own actions* in place of the maximum. "
    "What happens to the estimation error, against the exact value of the policy that made the log?",
    answer="b",
    a=("it stays as high: the sampling noise is the same", "The noise is, but nothing selects its lucky side."),
    b=(
        "it can't be told from zero",
        "A mean of noisy values is as often too low as too high. It takes a maximum to make noise one-sided.",
    ),
    c=("it turns far below zero, since a mean lies below a maximum", "Both sides fall: the truth is another policy's."),
)

prediction(
    "03.p4",
    "Now the table starts from random numbers, N(0, 1), and an unseen action keeps its number for ever. In which "
    "share of the visited states is the greedy action one that was *never tried*?",
    answer="a",
    a=(
        "in nearly none",
        "The values of this grid reach ten, and a random number of size one seldom beats them. How wide the initial "
        "table is decides.",
    ),
    b=("in about a third of them", "It needs initial values as large as the real ones to win that often."),
    c=("in more than half of them", "It needs initial values far larger than the real ones to win that often."),
)

prediction(
    "03.p5",
    "Pendulum: every reward is negative or zero. An actor-critic without any penalty (offline SAC) learns from 10,000 "
    "rows of a medium policy. What does its critic predict?",
    answer="c",
    a=("values below zero, a little too high", "Nothing tells a network that its world pays no positive rewards."),
    b=(
        "values that grow until they are infinite",
        "They stay finite here: wrong by a hundred, not a million.",
    ),
    c=(
        "positive values, in many states",
        "The actor climbs to where the network invents the most, the target copies the invention, and so on.",
    ),
)


# ---------------------------------------------------------------- quiz
quiz_question(
    "03.a",
    "A colleague restricts the maximum to logged actions and finds the prediction still too high. What is left to "
    "explain it?",
    answer="c",
    a=(
        "a bug, since without unseen actions nothing can be over-estimated",
        "The table of section 4 has that control in it: with a small initial table the error is the same.",
    ),
    b=(
        "too few sweeps: the restriction has not arrived everywhere",
        "The table is at rest: no sweep moves it.",
    ),
    c=(
        "logged actions with few rows, and a maximum over them",
        "Restriction removes what was never tried. Something tried once is still one sample.",
    ),
)

quiz_question(
    "03.b",
    "A new regulariser lowers Q everywhere by a little decay, and the return on a grid like this one goes up. What "
    "does that show?",
    answer="a",
    a=(
        "that rarely tried actions lost their lead",
        "Shrinkage takes most from pairs with few rows, so well-tried actions win again.",
    ),
    b=(
        "that a conservative penalty such as CQL's is needed here",
        "Plain shrinkage does the same here. A claim for CQL has to do better than that control.",
    ),
    c=(
        "that the estimation error is gone",
        "Return and estimation error are two things: with one pseudo-count the prediction lies far below the truth "
        "here.",
    ),
)

quiz_question(
    "03.c",
    "You have a log, no simulator, and a critic. Which finding is an alarm without knowing any truth?",
    answer="b",
    a=("the mean Q grows during training", "Values may grow rightly: early in training they are too low."),
    b=("predictions above best reward / (1 - discount)", "No policy can earn that, in any world with these rewards."),
    c=(
        "the Bellman error is not zero at the end",
        "It is not zero for an exact critic either, where transitions are random.",
    ),
)
