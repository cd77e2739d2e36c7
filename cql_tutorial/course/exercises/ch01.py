"""Exercises of chapter 01, logged data: returns-to-go, ends and cuts, who acted, what is covered."""

from __future__ import annotations

import math

import torch

from ..checker import Example
from ..registry import exercise, mutant, prediction, quiz_question

D = torch.float64


def _draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=D)


REWARDS = torch.tensor([1.0, 2.0, 4.0, 8.0, -4.0], dtype=D)
STARTS = torch.tensor([0, 3])
NEXT_VALUES = torch.tensor([10.0, 20.0, 40.0], dtype=D)
STEP_REWARDS = torch.tensor([1.0, 2.0, 3.0], dtype=D)
ENDED, CUT = torch.tensor([False, True, False]), torch.tensor([False, False, True])
BOTH_CUT = torch.tensor([True, True, False, False, False])
P = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]], dtype=D)
B = torch.tensor([[0.2, 0.3, 0.5], [0.25, 0.25, 0.5]], dtype=D)
QUERIES = torch.tensor([[0.0, 0.0], [4.0, 1.0]], dtype=D)
OWN_QUERIES = torch.tensor([[1.0, 2.0, 2.0], [4.0, -1.0, 3.0], [0.0, 3.0, 6.0], [1.0, 3.0, 4.0]], dtype=D)
OWN_ROWS = torch.tensor([[4.0, -1.0, 3.0], [0.0, 0.0, 0.0], [3.0, 5.0, 9.0], [8.0, 2.0, 1.0], [1.0, 5.0, 0.0]], dtype=D)
FAR_ROWS = _draw(16, 25, 16) + 40  # so many that rounding leaves some square below 0, whoever multiplies
ROWS = torch.tensor([[3.0, 4.0], [0.0, 1.0], [4.0, 3.0]], dtype=D)
VISITS = torch.tensor([2.0, 1.0, 5.0], dtype=D)
ACTS = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]], dtype=D)
COUNTS = torch.tensor([[7.0, 0.0], [0.0, 3.0], [1.0, 4.0]], dtype=D)
MANY_VISITS = torch.tensor([40.0, 9.0, 17.5, 3.0], dtype=D)
FEW_ACTS = torch.softmax(_draw(17, 4, 3), 1)
FEW = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=D)


def _ends(rewards, episode_starts):
    """The first and the last row of each episode, [E, 2]."""
    last = torch.cat([episode_starts[1:] - 1, episode_starts.new_tensor([len(rewards) - 1])])
    return torch.stack([episode_starts, last], 1)


# ---------------------------------------------------------------- 01.1
@exercise(
    "01.1",
    title="returns-to-go",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=12,
    examples=(
        Example((REWARDS, STARTS, 0.5), "two episodes, of three rows and of two; discount 0.5"),
        Example((_draw(0, 30), torch.tensor([0, 1, 12, 20]), 0.9), "four episodes, one of a single row", shown=False),
        Example((_draw(12, 7), torch.tensor([0, 3, 4]), 0.0), "three episodes, and a discount of 0", shown=False),
    ),
    hints=(
        "Start at the last row: its return-to-go is its reward. What is that of the row before?",
        "Backwards: G of a row is its reward plus discount times the G of the row after it, and 0 in the place of "
        "that G at the end of an episode.",
        "for row in reversed(range(len(rewards))): after = rewards[row] + discount * ____; result[row] = after; if "
        "row in starts: after = ____",
    ),
    meaning="What the log's author earned from each row on: one sample of his value there, no more.",
    steps=lambda rewards, episode_starts, discount: {
        "the first and last row of each episode are": _ends(rewards, episode_starts)
    },
)
def returns_to_go(rewards, episode_starts, discount):
    """For each row the discounted sum of rewards from it to the end of its episode.

    rewards [N]; episode_starts [E], the first row of each episode; discount a number -> [N].
    """
    starts, paid, result, after = set(episode_starts.tolist()), rewards.tolist(), [], 0.0
    for row in reversed(range(len(paid))):
        after = paid[row] + discount * after
        result.append(after)
        if row in starts:
            after = 0.0  # the row above belongs to another episode
    return torch.tensor(result[::-1], dtype=rewards.dtype)


def _episodes(rewards, episode_starts):
    return torch.tensor_split(rewards, episode_starts[1:].tolist())


@mutant("01.1", "one long episode", seen="next states taken from the next episode are a known defect of public logs")
def _(rewards, episode_starts, discount):
    """the rewards of the second episode run into the first. Where an episode starts, the sum above it begins anew."""
    return returns_to_go(rewards, episode_starts[:1], discount)


@mutant("01.1", "no discount")
def _(rewards, episode_starts, discount):
    """the later rewards are not discounted: each step away costs one factor."""
    return returns_to_go(rewards, episode_starts, 1.0)


@mutant("01.1", "forwards")
def _(rewards, episode_starts, discount):
    """that is the sum of what has been paid *so far*. To go means from this row on: work backwards."""
    return torch.cat([episode.cumsum(0) for episode in _episodes(rewards, episode_starts)])


@mutant("01.1", "without this row")
def _(rewards, episode_starts, discount):
    """this row's own reward is missing. It is the first of the sum, undiscounted."""
    return returns_to_go(rewards, episode_starts, discount) - rewards


@mutant("01.1", "whole episode")
def _(rewards, episode_starts, discount):
    """every row has its whole episode's sum. What was paid before a row is gone: only from the row on."""
    sums = [episode.sum().expand(len(episode)) for episode in _episodes(rewards, episode_starts)]
    return torch.cat(sums)


@mutant("01.1", "discounted from the start")
def _(rewards, episode_starts, discount):
    """the rewards are discounted to the *start of the episode*. Each row counts from itself: divide by its own
    factor, or better, go backwards one step at a time."""
    result = []
    for episode in _episodes(rewards, episode_starts):
        discounted = discount ** torch.arange(len(episode), dtype=D) * episode
        result.append(discounted.flip(0).cumsum(0).flip(0))
    return torch.cat(result)


@mutant("01.1", "begun anew a row late")
def _(rewards, episode_starts, discount):
    """the sum is set back to 0 *at* the first row of an episode, so that row has nothing but its own reward. Set
    it back after that row: it is the row above that starts anew."""
    result, after = torch.zeros_like(rewards), 0.0
    for row in reversed(range(len(rewards))):
        after = rewards[row] + discount * (0.0 if row in episode_starts else after)
        result[row] = after
    return result


@mutant("01.1", "one step")
def _(rewards, episode_starts, discount):
    """you look one row ahead. To go means to the end of the episode, and no further."""
    return rewards + discount * torch.cat([rewards[1:], rewards.new_zeros(1)])


@mutant("01.1", "discount on the reward")
def _(rewards, episode_starts, discount):
    """this row's own reward is discounted too. It is paid now."""
    return discount * returns_to_go(rewards, episode_starts, discount)


@mutant("01.1", "cut a row early")
def _(rewards, episode_starts, discount):
    """the sum is cut one row before the episode ends: its last row belongs to it."""
    return returns_to_go(rewards, torch.cat([episode_starts, episode_starts[1:] - 1]).unique(), discount)


@mutant("01.1", "forwards, discounted")
def _(rewards, episode_starts, discount):
    """the sum is carried *down* from the row above. A return-to-go holds what comes after a row: go through the rows
    from the last to the first."""
    result, before = torch.zeros_like(rewards), 0.0
    for row in range(len(rewards)):
        before = rewards[row] + discount * (0.0 if row in episode_starts else before)
        result[row] = before
    return result


@mutant("01.1", "what was paid so far, discounted")
def _(rewards, episode_starts, discount):
    """that is what was paid *up to* each row, discounted to the start. To go means from this row on, seen from it."""
    parts = [discount ** torch.arange(len(x), dtype=D) * x for x in _episodes(rewards, episode_starts)]
    return torch.cat([part.cumsum(0) for part in parts])


@mutant("01.1", "return of the episode, discounted")
def _(rewards, episode_starts, discount):
    """every row has the return of its whole episode. Only the first row is worth that; each row sums from itself on."""
    own = returns_to_go(rewards, episode_starts, discount)
    return torch.cat([episode[:1].expand(len(episode)) for episode in _episodes(own, episode_starts)])


@mutant("01.1", "one step, within the episode")
def _(rewards, episode_starts, discount):
    """you look one row ahead, at its *reward*. Add the discounted return-to-go of the row after it: that holds the
    rest."""
    ahead = [torch.cat([x[1:], x.new_zeros(1)]) for x in _episodes(rewards, episode_starts)]
    return rewards + discount * torch.cat(ahead)


@mutant("01.1", "last rows left at 0")
def _(rewards, episode_starts, discount):
    """the last row of every episode is left at 0, and what it paid is missing above. It is worth its own reward: the
    loop has to begin with it."""
    ends = torch.cat([episode_starts[1:] - 1, episode_starts.new_tensor([len(rewards) - 1])])
    return returns_to_go(rewards.index_fill(0, ends, 0.0), episode_starts, discount)


@mutant("01.1", "last episode left out")
def _(rewards, episode_starts, discount):
    """the last episode is left at 0. It begins at the last of `episode_starts`, and ends with the log."""
    own = returns_to_go(rewards, episode_starts, discount)
    return torch.where(torch.arange(len(rewards)) < episode_starts[-1], own, 0.0)


@mutant("01.1", "discounted from the start, divided")
def _(rewards, episode_starts, discount):
    """right until a power of the discount is 0 (a discount of 0, or a long episode): then it is 0 divided by 0. Go
    backwards, one row at a time, and nothing is divided."""
    result = []
    for episode in _episodes(rewards, episode_starts):
        factors = discount ** torch.arange(len(episode), dtype=D)
        result.append((factors * episode).flip(0).cumsum(0).flip(0) / factors)
    return torch.cat(result)


@mutant("01.1", "averaged")
def _(rewards, episode_starts, discount):
    """the return is divided by the number of rows that are left. A return is a sum."""
    left = [torch.arange(len(x), 0, -1, dtype=D) for x in _episodes(rewards, episode_starts)]
    return returns_to_go(rewards, episode_starts, discount) / torch.cat(left)


# ---------------------------------------------------------------- 01.2
@exercise(
    "01.2",
    title="ended, or only cut?",
    kind="build",
    difficulty=2,
    importance=5,
    minutes=8,
    examples=(
        Example(
            (STEP_REWARDS, NEXT_VALUES, ENDED, CUT, 0.5),
            "an ordinary row, one that ended, one that was cut; discount 0.5",
        ),
        Example((_draw(1, 20), _draw(2, 20), _draw(3, 20) > 1, _draw(4, 20) > 1, 0.9), "twenty rows", shown=False),
        Example(
            (_draw(13, 5), _draw(14, 5), torch.tensor([True, False, True, False, False]), BOTH_CUT, 0.7),
            "five rows, of which the first ended in the very step at which its recording was cut",
            shown=False,
        ),
    ),
    hints=(
        "Three rows, three cases. After which of them does nothing follow in the *world*?",
        "Reward plus discount times next value, and that second part only where the row did not terminate. A "
        "truncation changes nothing.",
        "return rewards + discount * next_values * ~____",
    ),
    meaning="A termination is a fact about the world; a truncation is a fact about the recording.",
    steps=lambda rewards, next_values, terminations, truncations, discount: {
        "next values that count": next_values * ~terminations
    },
)
def targets(rewards, next_values, terminations, truncations, discount):
    """The value of each row's step and of what follows, if next_values holds what the next states are worth.

    All [N], the two flags bool; discount a number -> [N].
    """
    return rewards + discount * next_values * ~terminations


@mutant("01.2", "cut at both", seen="thu-ml/tianshou's offline CQL used batch.done, which is true for both")
def _(rewards, next_values, terminations, truncations, discount):
    """the row that was only *cut* lost its future. Recording stopped there; the world went on."""
    return rewards + discount * next_values * ~(terminations | truncations)


@mutant("01.2", "cut outweighs end")
def _(rewards, next_values, terminations, truncations, discount):
    """a row with *both* flags was given a future. It ended, and the recording was cut at the same step: nothing follows
    it."""
    return rewards + discount * next_values * (~terminations | truncations)


@mutant("01.2", "cut at truncations")
def _(rewards, next_values, terminations, truncations, discount):
    """the flags are swapped: the truncated row lost its future, and the one that ended kept it."""
    return rewards + discount * next_values * ~truncations


@mutant("01.2", "never cut")
def _(rewards, next_values, terminations, truncations, discount):
    """the row that ended still has a future. After a termination there is none."""
    return rewards + discount * next_values


@mutant("01.2", "mask turned")
def _(rewards, next_values, terminations, truncations, discount):
    """the mask is inverted: only the row that ended was given a future."""
    return rewards + discount * next_values * terminations


@mutant("01.2", "reward lost")
def _(rewards, next_values, terminations, truncations, discount):
    """the last reward went with the future. It was paid: mask the next value alone."""
    return (rewards + discount * next_values) * ~terminations


@mutant("01.2", "no discount")
def _(rewards, next_values, terminations, truncations, discount):
    """the next value is not discounted."""
    return rewards + next_values * ~terminations


@mutant("01.2", "row kept only if unfinished")
def _(rewards, next_values, terminations, truncations, discount):
    """rows with a flag became 0. Their reward was paid, and the cut one has a future too."""
    return (rewards + discount * next_values) * ~(terminations | truncations)


@mutant("01.2", "reward discounted")
def _(rewards, next_values, terminations, truncations, discount):
    """the reward is discounted too. It is paid now; the discount belongs to the next value alone."""
    return discount * (rewards + next_values * ~terminations)


@mutant("01.2", "reward missing")
def _(rewards, next_values, terminations, truncations, discount):
    """that is what follows alone: the reward of the step itself is missing."""
    return discount * next_values * ~terminations


@mutant("01.2", "only where cut")
def _(rewards, next_values, terminations, truncations, discount):
    """only the row that was *cut* was given a future. An ordinary row has one as well: the mask is ~terminations."""
    return rewards + discount * next_values * truncations


@mutant("01.2", "no discount where cut")
def _(rewards, next_values, terminations, truncations, discount):
    """the cut row's next value is not discounted. It lies one step ahead, as any other."""
    return rewards + torch.where(truncations, next_values, discount * next_values * ~terminations)


@mutant("01.2", "one minus the discount")
def _(rewards, next_values, terminations, truncations, discount):
    """the next value is multiplied by 1 - discount. The discount itself says what a step later is worth."""
    return rewards + (1 - discount) * next_values * ~terminations


# ---------------------------------------------------------------- 01.3
@exercise(
    "01.3",
    title="how far apart are two policies?",
    kind="build",
    difficulty=2,
    importance=3,
    minutes=6,
    examples=(
        Example((P, B), "two states, three actions"),
        Example(
            (torch.softmax(_draw(5, 6, 4), 1), torch.softmax(_draw(6, 6, 4), 1)),
            "six states, four actions",
            shown=False,
        ),
    ),
    hints=(
        "For each action: by how much do the two chances differ?",
        "Half the sum of the absolute differences, over the actions of each state.",
        "return ____ * (policy - other).abs().sum(dim=____)",
    ),
    meaning="It is the largest difference that the two policies can make in the chance of any event in that state.",
    steps=lambda policy, other: {"sizes of the differences": (policy - other).abs()},
)
def total_variation(policy, other):
    """The distance of two policies in each state, from 0 (the same) to 1 (no action in common).

    [S, A], [S, A] -> [S]
    """
    return 0.5 * (policy - other).abs().sum(dim=1)


@mutant("01.3", "no half")
def _(policy, other):
    """twice too large: whatever one policy has too much, the other has too little, and you counted both. One half
    makes 1 the largest."""
    return (policy - other).abs().sum(1)


@mutant("01.3", "signed")
def _(policy, other):
    """positive and negative differences cancel, as both rows sum to one. Take the absolute value of each difference,
    *before* the sum."""
    return 0.5 * (policy - other).sum(1)


@mutant("01.3", "mean")
def _(policy, other):
    """a mean over actions depends on how many there are. Sum, and half."""
    return (policy - other).abs().mean(1)


@mutant("01.3", "squares")
def _(policy, other):
    """you squared the differences. Total variation takes their absolute values."""
    return 0.5 * (policy - other).square().sum(1)


@mutant("01.3", "largest")
def _(policy, other):
    """that is the largest difference of any single action. Sum over the actions, and half."""
    return (policy - other).abs().amax(1)


@mutant("01.3", "whole table")
def _(policy, other):
    """one number for the whole table. Asked is one for each state: sum over the actions alone."""
    return 0.5 * (policy - other).abs().sum()


@mutant("01.3", "over states")
def _(policy, other):
    """the sum runs over the states. Each state has its own distance: dim=1."""
    return 0.5 * (policy - other).abs().sum(0)


@mutant("01.3", "Euclidean")
def _(policy, other):
    """that is the Euclidean distance, the root of the sum of squares. Total variation sums the absolute differences,
    and halves."""
    return (policy - other).square().sum(1).sqrt()


@mutant("01.3", "half Euclidean")
def _(policy, other):
    """you halve the Euclidean distance, the root of the sum of squares. Total variation sums the absolute
    differences, without a square."""
    return 0.5 * (policy - other).square().sum(1).sqrt()


@mutant("01.3", "overlap")
def _(policy, other):
    """that is what the two policies have in common, 1 for the same and 0 for none. The distance is what is left: one
    minus it."""
    return torch.minimum(policy, other).sum(1)


@mutant("01.3", "KL")
def _(policy, other):
    """that is the Kullback-Leibler divergence, with a logarithm. It may be infinite; total variation has plain
    differences, and lies between 0 and 1."""
    return torch.where(policy > 0, policy * (policy / other).log(), 0.0).sum(1)


@mutant("01.3", "KL the other way")
def _(policy, other):
    """that is the Kullback-Leibler divergence of `other` from `policy`. Total variation has no logarithm: half the sum
    of the absolute differences."""
    return torch.where(other > 0, other * (other / policy).log(), 0.0).sum(1)


@mutant("01.3", "mean of all")
def _(policy, other):
    """one number for the whole table, a mean over states and actions. Asked is one for each state, a sum over its
    actions."""
    return 0.5 * (policy - other).abs().mean()


@mutant("01.3", "mean of the states")
def _(policy, other):
    """the distances of the states are averaged. Asked is one number for each state."""
    return 0.5 * (policy - other).abs().sum(1).mean()


@mutant("01.3", "running sums")
def _(policy, other):
    """that is the largest difference of *running sums*, the chances of "this action or an earlier one". Actions have no
    order: half the sum of the absolute differences covers every event."""
    return (policy - other).cumsum(1).abs().amax(1)


# ---------------------------------------------------------------- 01.4
@exercise(
    "01.4",
    title="the nearest logged row",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=8,
    examples=(
        Example((QUERIES, ROWS), "two queries, three logged rows, two numbers each"),
        Example((OWN_QUERIES, OWN_ROWS), "four queries, five rows, three numbers each; the second query is a row"),
        Example((_draw(7, 8, 3), _draw(8, 40, 3)), "eight queries, forty rows", shown=False),
        Example(
            (torch.cat([FAR_ROWS[:22], _draw(15, 3, 16) + 40]), FAR_ROWS),
            "25 queries, 25 rows, all far from 0; most of the queries are rows",
            shown=False,
        ),
    ),
    hints=(
        "torch.cdist gives every distance at once: [queries, rows].",
        "Distances from each query to all rows, then the smallest over the rows.",
        "return torch.cdist(queries, logged).____(dim=____)",
    ),
    meaning=(
        "Small where the log has been, large where it has not: but only if you ask about places that are not its own "
        "rows."
    ),
    steps=lambda queries, logged: {"distances, a row for each query": torch.cdist(queries, logged)},
)
def nearest(queries, logged):
    """The distance from each query to the nearest logged row: [n, D], [N, D] -> [n]."""
    return torch.cdist(queries, logged).amin(dim=1)


@mutant("01.4", "squares multiplied out")
def _(queries, logged):
    """x^2 + y^2 - 2 x y is a difference of large numbers: where a query lies on a row, rounding leaves a little less
    than 0, and the root of that is nan. Subtract first and square then, or use torch.cdist."""
    squares = queries.square().sum(1)[:, None] + logged.square().sum(1)
    return (squares - 2 * queries @ logged.T).sqrt().amin(1)


@mutant("01.4", "farthest")
def _(queries, logged):
    """that is the *farthest* row. One close row is enough to be covered: the minimum."""
    return torch.cdist(queries, logged).amax(1)


@mutant("01.4", "mean")
def _(queries, logged):
    """the mean distance to all rows says how far the query lies from the middle of the log. One close row is enough."""
    return torch.cdist(queries, logged).mean(1)


@mutant("01.4", "for each row")
def _(queries, logged):
    """that is, for each logged row, the nearest query. Asked is one number for each query."""
    return torch.cdist(queries, logged).amin(0)


@mutant("01.4", "squared")
def _(queries, logged):
    """the root is missing: those are squared distances."""
    return torch.cdist(queries, logged).square().amin(1)


@mutant("01.4", "city blocks")
def _(queries, logged):
    """you summed absolute differences. The straight line: root of the sum of squares."""
    return torch.cdist(queries, logged, p=1).amin(1)


@mutant("01.4", "index")
def _(queries, logged):
    """that is *which* row is nearest. Asked is how far it is."""
    return torch.cdist(queries, logged).argmin(1)


@mutant("01.4", "one number")
def _(queries, logged):
    """that is the smallest distance of all. One number for each query."""
    return torch.cdist(queries, logged).amin()


@mutant("01.4", "not itself")
def _(queries, logged):
    """a row at distance 0 is left out, as if it were the query itself. The queries are given apart from the rows: one
    that lies on a logged row is covered, at distance 0."""
    distances = torch.cdist(queries, logged)
    return distances.masked_fill(distances == 0, torch.inf).amin(1)


@mutant("01.4", "each coordinate apart")
def _(queries, logged):
    """the nearest row is looked for in each coordinate apart, so one distance is made of *several* rows. Take the whole
    distance to each row first, then the smallest."""
    return (queries[:, None] - logged).abs().amin(1).norm(dim=1)


@mutant("01.4", "largest coordinate")
def _(queries, logged):
    """a distance is the largest difference of any coordinate in yours. Wanted is the straight line: root of the sum of
    squares."""
    return torch.cdist(queries, logged, p=torch.inf).amin(1)


@mutant("01.4", "mean square")
def _(queries, logged):
    """the squares are averaged over the coordinates. The straight line has their *sum* under its root."""
    return torch.cdist(queries, logged).amin(1) / math.sqrt(queries.shape[1])


@mutant("01.4", "summed over the rows")
def _(queries, logged):
    """the squares are summed over the *rows* and the minimum is taken over the coordinates: the axes are exchanged.
    [n, N, D]: sum over the last axis, then the minimum over the rows."""
    return (queries[:, None] - logged).square().sum(1).sqrt().amin(1)


@mutant("01.4", "distance to the middle")
def _(queries, logged):
    """that is the distance to the mean of all rows, where perhaps no row lies. One close row is enough."""
    return (queries - logged.mean(0)).norm(dim=1)


@mutant("01.4", "sum without squares")
def _(queries, logged):
    """the coordinates' differences are added up with their signs, so that they cancel. Square each of them, then add
    and take the root."""
    return (queries[:, None] - logged).sum(2).abs().amin(1)


# ---------------------------------------------------------------- 01.5
@exercise(
    "01.5",
    title="how much of a policy is covered?",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=10,
    examples=(
        Example((VISITS, ACTS, COUNTS), "three states, two actions"),
        Example(
            (_draw(9, 12).abs(), torch.softmax(_draw(10, 12, 3), 1), (_draw(11, 12, 3) * 3).clamp(min=0).floor()),
            "twelve states, three actions",
            shown=False,
        ),
        Example((MANY_VISITS, FEW_ACTS, FEW), "four states, three actions; many visits, small counts", shown=False),
    ),
    hints=(
        "How often does the policy take each action in each state?",
        "visits times policy for each pair; sum it where counts > 0; divide by its sum.",
        "taken = visits[:, None] * ____; return taken[counts > 0].sum() / ____",
    ),
    plain="later cells turn it into a plain number",
    meaning="Coverage is not a property of a log: it is a relation of a log and the policy one wants to judge.",
    steps=lambda visits, policy, counts: {
        "decisions": visits[:, None] * policy,
        "those that were seen": visits[:, None] * policy * (counts > 0),
    },
)
def covered_share(visits, policy, counts):
    """Of all the decisions that a policy takes, the share that the log has seen at least once.

    visits [S], how often it comes to each state; policy, counts [S, A] -> []
    """
    taken = visits[:, None] * policy
    return taken[counts > 0].sum() / taken.sum()


@mutant("01.5", "share of pairs")
def _(visits, policy, counts):
    """that is the share of *pairs* in the log. A pair that the policy never comes to does not matter: weigh by
    visits times policy."""
    return (counts > 0).double().mean()


@mutant("01.5", "every state alike")
def _(visits, policy, counts):
    """every state counts alike here. The policy is in some far more often: weigh by its visits."""
    return (policy * (counts > 0)).sum() / policy.sum()


@mutant("01.5", "actions alike")
def _(visits, policy, counts):
    """every action counts alike here. The policy prefers some: weigh by the policy too."""
    return (visits[:, None] * (counts > 0)).sum() / (visits.sum() * counts.shape[1])


@mutant("01.5", "states only")
def _(visits, policy, counts):
    """a state counts as covered as soon as *any* action was logged there. What matters is the action the policy
    takes."""
    return visits[counts.sum(1) > 0].sum() / visits.sum()


@mutant("01.5", "not divided")
def _(visits, policy, counts):
    """that is a number of decisions. Divide by all decisions to get a share."""
    return (visits[:, None] * policy * (counts > 0)).sum()


@mutant("01.5", "uncovered")
def _(visits, policy, counts):
    """that is the share that was *not* seen."""
    return (visits[:, None] * policy)[counts == 0].sum() / visits.sum()


@mutant("01.5", "weighted by counts")
def _(visits, policy, counts):
    """you weigh by how often a pair was seen: the mean count. Asked is whether it was seen at all: counts > 0."""
    return (visits[:, None] * policy * counts).sum() / (visits[:, None] * policy).sum()


@mutant("01.5", "likeliest action alone")
def _(visits, policy, counts):
    """only the policy's likeliest action is looked up. It takes the others as well, each with its own probability."""
    best = counts.gather(1, policy.argmax(1, keepdim=True))[:, 0]
    return visits[best > 0].sum() / visits.sum()


@mutant("01.5", "divided by the states")
def _(visits, policy, counts):
    """the seen decisions are divided by the number of *states*. A share is one of all decisions: divide by the sum of
    the visits."""
    return (visits[:, None] * policy * (counts > 0)).sum() / len(visits)


@mutant("01.5", "at most as often as logged")
def _(visits, policy, counts):
    """a pair's decisions are cut off at its count. Whether a decision is covered does not depend on how many there are:
    once logged, all of them are."""
    return torch.minimum(visits[:, None] * policy, counts).sum() / visits.sum()


@mutant("01.5", "more than once")
def _(visits, policy, counts):
    """a pair that was seen exactly once does not count in yours. At least once: counts > 0."""
    return (visits[:, None] * policy * (counts > 1)).sum() / visits.sum()


@mutant("01.5", "the log's visits")
def _(visits, policy, counts):
    """the states are weighed by how often the *log* has been there. Asked is about the policy's decisions: `visits`."""
    rows = counts.sum(1)
    return (rows[:, None] * policy * (counts > 0)).sum() / rows.sum()


@mutant("01.5", "overlap with the log")
def _(visits, policy, counts):
    """that is how much the policy agrees with the log's *shares*. A decision is covered if its pair was seen at all,
    however often."""
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    return (visits * torch.minimum(policy, shares).sum(1)).sum() / visits.sum()


@mutant("01.5", "each state")
def _(visits, policy, counts):
    """that is a share for each state. Weigh them by `visits` and sum them up: one number is asked for."""
    return (policy * (counts > 0)).sum(1)


# ---------------------------------------------------------------- predictions
prediction(
    "01.p1",
    "Three logs: a maze, a swinging pendulum, patients in intensive care. In which of them does the *world* end an "
    "episode?",
    answer="c",
    a=(
        "in all three: every episode ends",
        "Every recording ends. In the maze and on the pendulum somebody stopped the clock.",
    ),
    b=("in none", "Death and survival end the decision problem there."),
    c=(
        "only in intensive care",
        "A patient survives or dies: nothing follows. A pendulum goes on swinging when nobody watches.",
    ),
)

prediction(
    "01.p2",
    "Episodes of the cliff world are stored in pieces of five rows. Someone stores the end of every piece as a "
    "termination. What happens to the value of the start that is learned from them?",
    answer="b",
    a=("nothing: the same rows are there", "The rows are; what follows one in five of them is not."),
    b=(
        "it moves down: the goal is more than five steps away",
        "Where a row seems to end the world, nothing follows: the goal beyond it is never heard of.",
    ),
    c=(
        "it moves up: beyond five steps, even the cliff is forgotten",
        "It would if the future held nothing but the cliff. This author mostly reaches the goal.",
    ),
)

prediction(
    "01.p3",
    "The clinician's policy is estimated from a log by counting, state by state. In which states is the estimate "
    "worst?",
    answer="a",
    a=("in the states visited least", "Shares of few rows scatter; the error falls with the root of the visits."),
    b=("in the states where patients are worst off", "How ill a patient is does not enter a count."),
    c=(
        "it is about the same in all",
        "It would be if all were visited alike. Some states hold a hundred rows and more, some a handful.",
    ),
)

prediction(
    "01.p4",
    "Somebody measures how well a log covers the world by asking, for each *logged* row, how far the nearest logged "
    "row is. What will be reported for a log of a single, narrow policy?",
    answer="b",
    a=("bad coverage: large distances", "Its own rows are in the log: each finds itself."),
    b=(
        "perfect coverage: distance 0",
        "Every log covers itself. Ask at states and actions that it has not been asked to hold.",
    ),
    c=("it depends on the policy", "Not if each row may find itself."),
)

prediction(
    "01.p5",
    "5,000 episodes of the clinician hold 31 % of all pairs of state and dose. Of the decisions that the *optimal* "
    "policy would take, how many are in the log, at least once?",
    answer="a",
    a=(
        "more than eight in ten",
        "It lies among the doses that were given often enough to be estimated: the world was made from such logs.",
    ),
    b=("about two thirds", "It is more. The optimum of this world lies among the doses that are given often."),
    c=(
        "about as many: a third",
        "The log is not a random third: it holds the states that one comes to, and the doses that are common there.",
    ),
)


# ---------------------------------------------------------------- quiz
quiz_question(
    "01.a",
    "A data set has one column `done`, true on the last row of every episode. All episodes but a few have 1,000 rows. "
    "What do you do?",
    answer="a",
    a=(
        "treat the ends after 1,000 rows as cut, the others as ended",
        "A time limit is a fact about the recording. It needs a check with whoever made the data.",
    ),
    b=(
        "use done as the termination, since the column says that the episode is over",
        "Episodes that all end at a round number were cut: their last rows have a future.",
    ),
    c=(
        "drop the last row of every episode",
        "The true terminations would go with them, and with them all that the world does at its end.",
    ),
)

quiz_question(
    "01.b",
    "A report says: 'our log covers 98 % of the states.' Why is that not enough to trust a policy learned from it?",
    answer="c",
    a=(
        "2 % of the states are missing, and the policy may spend most of its time there",
        "They may never be visited by anybody.",
    ),
    b=(
        "it is enough, as a learned policy stays where the states are covered",
        "Chapter three shows values invented at pairs in well-visited states.",
    ),
    c=(
        "a state is covered by any action; the policy may take another one there",
        "Coverage is about pairs, weighed by how often the policy comes to them.",
    ),
)

quiz_question(
    "01.c",
    "The mean return of a log is 0.78. Whose value is that, and how well is it known?",
    answer="b",
    a=("the world's, exactly: a mean has no error", "A world has no value: a policy in it has."),
    b=(
        "its author's, up to the luck of the episodes",
        "Returns are samples of the behaviour policy's value; their spread says how well it is known.",
    ),
    c=("the learned policy's, as far as its log reaches", "That one was not even there when the log was made."),
)
