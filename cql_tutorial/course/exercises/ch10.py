"""Exercises of chapter 10: a score and its unit, claims, %BC, a protocol, an interval over draws, values and bounds."""

from __future__ import annotations

import torch
from torch import Tensor

from ...evaluation.intervals import t_quantile
from ..checker import Example
from ..registry import exercise, mutant, prediction, quiz_question

DOUBLE = torch.float64


def _numbers(values: object) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


# ---------------------------------------------------------------- 10.1
@exercise(
    "10.1",
    title="a return as a score",
    kind="build",
    difficulty=1,
    importance=5,
    minutes=5,
    plain="later cells print the two numbers",
    examples=(
        Example((1600.0, 400.0, -400.0, 3600.0), "worked by hand: 2000 of 4000 above the random policy"),
        Example((-150.0, 20.0, -1236.7, -155.4), "negative returns, a policy better than the expert"),
        Example((-30.5, 7.0, 1.629, 4592.3), "a policy below the random one", shown=False),
        Example((812.0, 55.0, -20.272, 3234.3), "Hopper's references", shown=False),
    ),
    hints=(
        "Where on the way from the random policy's return to the expert's does the mean lie? And what does an "
        "interval's *width* become when zero and unit move?",
        "A shift moves the mean and leaves a width alone; both are divided by expert minus random.",
        "span = expert - random; return 100 * (mean - ____) / span, 100 * ____ / span",
    ),
    meaning="A score is another zero and another unit, no more: it compares with scores of the same two references.",
)
def score_with_interval(mean, half_width, random, expert):
    """The normalised score of a mean return, and the half-width of its interval in points of the score.

    random and expert are the returns that are worth 0 and 100. Four numbers -> two numbers
    """
    span = expert - random
    return 100 * (mean - random) / span, 100 * half_width / span


@mutant("10.1", "width shifted")
def _(mean, half_width, random, expert):
    """the random policy's return is subtracted from the half-width too. A width has no zero: it is only divided."""
    span = expert - random
    return 100 * (mean - random) / span, 100 * (half_width - random) / span


@mutant("10.1", "share of the expert")
def _(mean, half_width, random, expert):
    """that is the return in per cent of the expert's. The random policy is worth 0, whatever its return."""
    return 100 * mean / expert, 100 * half_width / expert


@mutant("10.1", "divided by the expert")
def _(mean, half_width, random, expert):
    """the unit is the expert's return alone. It is the way from random to expert: then the expert has 100."""
    return 100 * (mean - random) / expert, 100 * half_width / expert


@mutant("10.1", "zero not moved")
def _(mean, half_width, random, expert):
    """the random policy's return is not subtracted from the mean: the random policy has to get 0."""
    return 100 * mean / (expert - random), 100 * half_width / (expert - random)


@mutant("10.1", "no hundred")
def _(mean, half_width, random, expert):
    """these are shares, from 0 to 1. D4RL's score gives the expert 100."""
    return (mean - random) / (expert - random), half_width / (expert - random)


@mutant("10.1", "width as a return")
def _(mean, half_width, random, expert):
    """the half-width is still a return. It has to be in points of the score, as the mean is."""
    return 100 * (mean - random) / (expert - random), half_width


@mutant("10.1", "turned round")
def _(mean, half_width, random, expert):
    """random and expert are exchanged: the expert gets 0 here."""
    return 100 * (mean - expert) / (random - expert), 100 * half_width / (random - expert)


# ---------------------------------------------------------------- 10.2
OBSTACLES = {"A": "data", "B": "checkpoint", "C": "none", "D": "unit", "E": "runs"}
WORDS = {
    "data": "the data",
    "checkpoint": "the choice of the checkpoint",
    "unit": "the unit",
    "runs": "what is reported of the runs",
}


def _judge_obstacle(found: object, claim: str) -> str | None:
    """None for the right obstacle; else what the card of the claim has of the one given."""
    if isinstance(found, str) and found == OBSTACLES[claim]:
        return None
    if not isinstance(found, str) or found not in (*WORDS, "none"):
        return f"that is none of {', '.join(WORDS)} and none."
    if found == "none":
        return f"one line of the card of {claim} has two different sides: read them line by line."
    if claim == "E" and found == "checkpoint":
        return "in E every run is judged at a checkpoint that was fixed beforehand. What was chosen is something else."
    return f"on the card of {claim} both sides of the line {found!r} are the same: {WORDS[found]} is no obstacle there."


@exercise(
    "10.2",
    title="what hinders a comparison",
    kind="read",
    difficulty=2,
    importance=5,
    minutes=8,
    examples=tuple(Example((claim,), f"claim {claim} of the cards above") for claim in OBSTACLES),
    hints=(
        "Read each card line by line: left side, right side. At most one line differs.",
        "Two claims set a maximum beside a mean: in one the maximum is over the checkpoints of a run, in the other "
        "over runs. One claim has nothing against it; that does not make it true.",
        'return {"A": "____", "B": "____", "C": "none", "D": "____", "E": "____"}[claim]',
    ),
    meaning=(
        "Data, choice of checkpoint, unit, what is reported of the runs: four questions to a table, before its numbers "
        "are read."
    ),
    judge=_judge_obstacle,
)
def obstacle(claim):
    """What hinders the claim "A", "B", "C", "D" or "E" -> "data", "checkpoint", "unit", "runs" or "none"."""
    return {"A": "data", "B": "checkpoint", "C": "none", "D": "unit", "E": "runs"}[claim]


def _wrong_obstacle(claim: str, given: str) -> None:
    def answer(asked: str) -> str:
        return given if asked == claim else OBSTACLES[asked]

    mutant("10.2", f"{claim}: {given}", message=f"claim {claim} is not hindered by {given!r}.")(answer)


for _claim, _right in OBSTACLES.items():
    for _given in (*WORDS, "none"):
        if _given != _right:
            _wrong_obstacle(_claim, _given)


# ---------------------------------------------------------------- 10.3
@exercise(
    "10.3",
    title="the rows of %BC",
    kind="build",
    difficulty=2,
    importance=4,
    minutes=8,
    examples=(
        Example(
            (_numbers([4.0, 1.0, 1.0, 1.0, 1.0, 1.5, 0.5]), torch.tensor([0, 1, 1, 1, 1, 1, 2]), 1),
            "worked by hand: returns 4, 5.5 and 0.5; one episode is kept",
        ),
        Example(
            (
                _numbers([-1.0, -2.0, -6.0, -0.5, -0.5, -0.5, -3.0, -3.0, 2.0, -9.0]),
                torch.tensor([0, 0, 1, 2, 2, 2, 3, 3, 4, 4]),
                2,
            ),
            "negative returns: -3, -6, -1.5, -6 and -7; two are kept",
        ),
        Example(
            (
                _numbers([0.2, 5.0, -4.0, 1.0, 1.0, 1.0, 2.5, 0.1, 0.1, 0.1, 0.1, 3.0, -1.0]),
                torch.tensor([0, 0, 0, 1, 1, 1, 2, 3, 3, 3, 3, 4, 4]),
                3,
            ),
            "three of five",
            shown=False,
        ),
        Example(
            (
                _numbers([2.0, -3.0, 1.8, 1.8, -6.0, 0.5, 0.5, 0.5, 0.5, -1.2]),
                torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 2, 3]),
                1,
            ),
            "large rewards in episodes of small return",
            shown=False,
        ),
    ),
    hints=(
        "An episode's return is a sum over its rows. Which episodes have the largest? Then: which rows belong to them?",
        "torch.zeros(n, dtype=...).index_add(0, episode, rewards) sums by episode; argsort(descending=True) orders "
        "them; torch.isin finds the rows.",
        "returns = torch.zeros(int(episode.max()) + 1, dtype=rewards.dtype).index_add(0, episode, ____); "
        "return torch.isin(episode, returns.argsort(descending=____)[:____])",
    ),
    meaning="%BC needs no Q: where a log mixes good and bad episodes, it is the baseline that a method has to beat.",
    steps=lambda rewards, episode, keep: {
        "returns of the episodes": torch.zeros(int(episode.max()) + 1, dtype=rewards.dtype).index_add(
            0, episode, rewards
        ),
    },
)
def best_rows(rewards, episode, keep):
    """Which rows belong to one of the `keep` episodes with the largest returns.

    rewards [n], episode [n] (the number of each row's episode, from 0), keep: an integer -> flags [n]
    """
    returns = torch.zeros(int(episode.max()) + 1, dtype=rewards.dtype).index_add(0, episode, rewards)
    return torch.isin(episode, returns.argsort(descending=True)[:keep])


def _sums(values: Tensor, episode: Tensor) -> Tensor:
    return torch.zeros(int(episode.max()) + 1, dtype=values.dtype).index_add(0, episode, values)


@mutant("10.3", "best rows")
def _(rewards, episode, keep):
    """these are the rows with the largest *rewards*. %BC keeps whole episodes, by their return."""
    count = int(torch.isin(episode, _sums(rewards, episode).argsort(descending=True)[:keep]).sum())
    return torch.isin(torch.arange(len(rewards)), rewards.argsort(descending=True)[:count])


@mutant("10.3", "one row for each episode")
def _(rewards, episode, keep):
    """`keep` rows are kept, not `keep` episodes."""
    return torch.isin(torch.arange(len(rewards)), rewards.argsort(descending=True)[:keep])


@mutant("10.3", "mean reward")
def _(rewards, episode, keep):
    """episodes are ordered by their *mean* reward. A return is the sum: an episode that ends early has earned less."""
    average = _sums(rewards, episode) / _sums(torch.ones_like(rewards), episode)
    return torch.isin(episode, average.argsort(descending=True)[:keep])


@mutant("10.3", "longest episodes")
def _(rewards, episode, keep):
    """these are the longest episodes. In Hopper that is nearly the same, elsewhere it is not: order by return."""
    return torch.isin(episode, _sums(torch.ones_like(rewards), episode).argsort(descending=True, stable=True)[:keep])


@mutant("10.3", "worst episodes")
def _(rewards, episode, keep):
    """these are the episodes with the smallest returns: argsort is ascending unless it is told otherwise."""
    return torch.isin(episode, _sums(rewards, episode).argsort(stable=True)[:keep])


@mutant("10.3", "first episodes")
def _(rewards, episode, keep):
    """these are the first `keep` episodes of the log, whatever they earned."""
    return episode < keep


@mutant("10.3", "best single reward")
def _(rewards, episode, keep):
    """episodes are ordered by their largest reward. A return is the sum of all."""
    most = torch.full((int(episode.max()) + 1,), -torch.inf, dtype=rewards.dtype)
    most = most.scatter_reduce(0, episode, rewards, "amax")
    return torch.isin(episode, most.argsort(descending=True, stable=True)[:keep])


# ---------------------------------------------------------------- 10.4
BUDGET, MOST_BIAS, MOST_ERROR, MOST_LOSS = 300, 1.0, 3.0, 5.0  # episodes, and points of the score


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _judge_protocol(found: object) -> str | None:
    """None for a protocol within the budget that delivers a good policy and reports its score; else what it missed."""
    from ..studies import ch10 as study
    from ..studies.common import result_rows

    if not isinstance(found, (tuple, list)) or len(found) != 3 or not all(map(_whole, found)):
        return "three integers are wanted: candidates, episodes for each of them, fresh episodes."
    candidates, each, fresh = found
    run = study.checkpoints(result_rows("mujoco-training"), result_rows("mujoco-episodes"))
    if not 1 <= candidates <= study.MOST_CANDIDATES:
        return f"between 1 and {study.MOST_CANDIDATES} of the last checkpoints can be compared."
    if min(each, fresh) < 0 or each + fresh == 0 or (candidates > 1 and each == 0):
        return "episodes are counted from 0, candidates need some to be compared, and a report needs at least one."
    cost = candidates * each + fresh
    if cost > BUDGET:
        return f"that takes {cost} episodes: {candidates} times {each}, and {fresh}. There are {BUDGET}."
    result = study.outcome(run, candidates, each, fresh)
    told = f"delivered {result.delivered:.1f}, reported {result.reported:.1f} on average"
    if result.lack > MOST_LOSS:
        return f"{told}. The best checkpoint up to the stop is {result.lack:.1f} better; {MOST_LOSS:g} may be lost."
    if abs(result.bias) > MOST_BIAS:
        return f"{told}. The report may be off by {MOST_BIAS:g} on average, and is off by {result.bias:+.1f}."
    if result.error > MOST_ERROR:
        return f"{told}. A single report is typically off by {result.error:.1f}; it should be {MOST_ERROR:g} or less."
    return None


@exercise(
    "10.4",
    title="three hundred episodes",
    kind="design",
    difficulty=3,
    importance=5,
    minutes=12,
    examples=(Example((), "judged on the measured episodes, for every stop in the second half"),),
    hints=(
        "Two things cost episodes: to find a good policy, and to say honestly how good it is. Which episodes may serve "
        "both?",
        "None: those that chose the policy flatter it. Set some aside. Many candidates leave few episodes for each; "
        "the last one alone leaves no choice. Try study.outcome(run, candidates, each, fresh).",
        "return 20, ____, ____  # 20 times the second and the third make 300 at most",
    ),
    meaning="Choose on some episodes, report on others: the best of many looks better than it is, by what luck adds.",
    judge=_judge_protocol,
)
def protocol():
    """How many of the last checkpoints are compared, on how many episodes each, and the fresh episodes of the report.

    With 0 fresh episodes the report is the mean that the policy was chosen by. -> three integers
    """
    return 20, 10, 100


def _protocol(name: str, answer: tuple[int, int, int], message: str) -> None:
    def given() -> tuple[int, int, int]:
        return answer

    mutant("10.4", name, message=message)(given)


_protocol(
    "the last, reported well",
    (1, 0, 300),
    "you deliver whatever stands there at the stop. The report is honest, but nothing was chosen: some stops are "
    "lucky, most are not.",
)
_protocol(
    "the best by its own episodes",
    (30, 10, 0),
    "you report the mean that the policy was chosen by. The largest of thirty means is large partly by luck: report on "
    "fresh episodes.",
)
_protocol(
    "a few, by their own episodes",
    (20, 15, 0),
    "more episodes for fewer candidates make the luck smaller and do not take it away: report on fresh episodes.",
)
_protocol(
    "too few to choose by",
    (30, 1, 270),
    "with one episode for each, luck chooses. The report of it is honest, and the policy not good.",
)
_protocol(
    "too few to report on",
    (20, 14, 10),
    "ten episodes are too few to report on: their mean is off by more than the bar allows.",
)
_protocol(
    "beyond the budget",
    (30, 10, 100),
    "thirty checkpoints on ten episodes each use up the whole budget: nothing is left for a fresh report.",
)


# ---------------------------------------------------------------- 10.5
@exercise(
    "10.5",
    title="an interval over draws",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=10,
    examples=(
        Example((_numbers([[1.0, 3.0, 5.0], [7.0, 8.0, 12.0]]),), "worked by hand: draws of means 3 and 9"),
        Example(
            (_numbers([[40.0, 43.0], [52.0, 47.5], [-3.0, 8.0], [30.0, 31.0]]),), "four draws of the log, two seeds"
        ),
        Example(
            (_numbers([[-9.0, -2.0, -4.5, -7.0], [1.0, 0.5, -2.5, 3.0], [-6.0, -6.5, -1.0, -8.0]]),),
            "three draws, four seeds",
            shown=False,
        ),
    ),
    hints=(
        "How many *independent* things were drawn? Seeds on one log share whatever is odd about that log.",
        "Take the mean over seeds first. What is left is one number a draw, and a t-interval of so many numbers.",
        "means = scores.mean(____); return means.mean(), t_quantile(____) * means.std() / len(means) ** 0.5",
    ),
    meaning="One number a draw: more seeds on the same log make that number sharper, and never its count larger.",
    steps=lambda scores: {"means of the draws": scores.mean(1)},
)
def interval_over_draws(scores):
    """Mean, and half-width of the 95 % t-interval for logs of this kind, of which those here are independent draws.

    scores [draws, seeds]; t_quantile(degrees of freedom) is the factor of a 95 % t-interval -> two numbers
    """
    means = scores.mean(1)
    return means.mean(), t_quantile(len(means) - 1) * means.std() / len(means) ** 0.5


@mutant("10.5", "all runs pooled", seen="tables on D4RL give ± over seeds of one and the same log: CORL's, for one")
def _(scores):
    """you take every run for an independent one. Seeds on one log share its oddities: six such runs are two draws."""
    n = scores.numel()
    return scores.mean(), t_quantile(n - 1) * scores.std() / n**0.5


@mutant("10.5", "over seeds")
def _(scores):
    """you take the means over the draws and count the seeds. It is the other way round: one number a *draw*."""
    means = scores.mean(0)
    return means.mean(), t_quantile(len(means) - 1) * means.std() / len(means) ** 0.5


@mutant("10.5", "1.96")
def _(scores):
    """that is the factor 1.96, for very many draws. With so few it is Student's t: t_quantile(draws - 1)."""
    means = scores.mean(1)
    return means.mean(), 1.959963985 * means.std() / len(means) ** 0.5


@mutant("10.5", "degrees of freedom of all runs")
def _(scores):
    """the means are right; the degrees of freedom are those of all runs. There is one number a draw: draws - 1."""
    means = scores.mean(1)
    return means.mean(), t_quantile(scores.numel() - 1) * means.std() / len(means) ** 0.5


@mutant("10.5", "degrees of freedom not reduced")
def _(scores):
    """the degrees of freedom are one fewer than the draws: the mean was taken from the same numbers."""
    means = scores.mean(1)
    return means.mean(), t_quantile(len(means)) * means.std() / len(means) ** 0.5


@mutant("10.5", "root of all runs")
def _(scores):
    """the deviation of the draws is divided by the root of the number of *runs*. There are as many numbers as draws."""
    means = scores.mean(1)
    return means.mean(), t_quantile(len(means) - 1) * means.std() / scores.numel() ** 0.5


@mutant("10.5", "not of the mean")
def _(scores):
    """that is the spread of single draws. The interval of their *mean* is narrower by the root of their number."""
    means = scores.mean(1)
    return means.mean(), t_quantile(len(means) - 1) * means.std()


@mutant("10.5", "divided by the number")
def _(scores):
    """the deviation is divided by the number of draws; it is the *root* of that number."""
    means = scores.mean(1)
    return means.mean(), t_quantile(len(means) - 1) * means.std() / len(means)


@mutant("10.5", "deviation of all runs")
def _(scores):
    """the standard deviation is that of all runs. What counts is how much the *draws' means* differ."""
    draws = len(scores)
    return scores.mean(), t_quantile(draws - 1) * scores.std() / draws**0.5


@mutant("10.5", "population deviation")
def _(scores):
    """the variance is divided by the number of draws; for a sample it is one fewer (torch's default)."""
    means = scores.mean(1)
    return means.mean(), t_quantile(len(means) - 1) * means.std(unbiased=False) / len(means) ** 0.5


@mutant("10.5", "whole width")
def _(scores):
    """that is the whole width of the interval; half of it is asked for."""
    means = scores.mean(1)
    return means.mean(), 2 * t_quantile(len(means) - 1) * means.std() / len(means) ** 0.5


# ---------------------------------------------------------------- 10.6
VERDICTS = {
    "P": ("better", "impossible"),
    "Q": ("better", "possible"),
    "R": ("worse", "possible"),
    "S": ("worse", "impossible"),
    "T": ("better", "possible"),
}
ABOUT_VALUES = {
    "P": "a 1 that is paid once, at the end, with discount 1: no policy is worth more than 1. The sum over all steps "
    "bounds rewards that come at *every* step.",
    "Q": "rewards are 0 at most, and the mean prediction is negative: nothing forbids it.",
    "R": "rewards are 0 at most, and the mean prediction is just below: nothing forbids it. Bad returns do not make a "
    "value impossible.",
    "S": "rewards are 0 at most. A positive prediction promises what no step pays.",
    "T": "1 at every step with discount 0.95 is worth 1 / (1 - 0.95) = 20. The mean prediction is below: nothing "
    "forbids it.",
}
ABOUT_RETURNS = {
    "P": "survival of the policy beside that of the clone: which is larger?",
    "Q": "the returns are negative: the one nearer to 0 is the better.",
    "R": "the returns are negative: the one nearer to 0 is the better.",
    "S": "the returns are negative: the one nearer to 0 is the better.",
    "T": "the clone's return is far below the policy's.",
}


def _judge_verdict(found: object, run: str) -> str | None:
    """None for the right pair; else which half is wrong, and what to look at."""
    if not isinstance(found, (tuple, list)) or len(found) != 2 or not all(isinstance(part, str) for part in found):
        return 'a pair is wanted: "better" or "worse", and "possible" or "impossible".'
    returns, values = VERDICTS[run]
    if str(found[0]) not in ("better", "worse") or str(found[1]) not in ("possible", "impossible"):
        return 'the first is "better" or "worse", the second "possible" or "impossible".'
    if found[1] != values:
        return f"run {run}, its values: {ABOUT_VALUES[run]}"
    if found[0] != returns:
        return f"run {run}, its return: {ABOUT_RETURNS[run]}"
    return None


@exercise(
    "10.6",
    title="good returns, impossible values",
    kind="diagnose",
    difficulty=3,
    importance=5,
    minutes=10,
    examples=tuple(Example((run,), f"run {run} of the cards above") for run in VERDICTS),
    hints=(
        "Two questions that have nothing to do with each other. Is the policy's return above the clone's? Is there any "
        "policy at all that could be worth the mean prediction?",
        "At every step at most r, with discount gamma: r / (1 - gamma). Once, at the end: r.",
        'return {"P": ("better", "____"), "Q": ("____", "possible"), "R": ("worse", "____"), ...}[run]',
    ),
    meaning=(
        "All four pairs occur. A good return does not vouch for the values, and values that are possible need "
        "not be right."
    ),
    judge=_judge_verdict,
)
def verdict(run):
    """What the card of run "P", "Q", "R", "S" or "T" says of its return and of its values.

    -> "better" or "worse" than the clone, and "possible" or "impossible" as the mean of a policy's values
    """
    pairs = {
        "P": ("better", "impossible"),
        "Q": ("better", "possible"),
        "R": ("worse", "possible"),
        "S": ("worse", "impossible"),
        "T": ("better", "possible"),
    }
    return pairs[run]


def _wrong_verdict(run: str, returns: str, values: str) -> None:
    def answer(asked: str) -> tuple[str, str]:
        return (returns, values) if asked == run else VERDICTS[asked]

    mutant("10.6", f"{run}: {returns}, {values}", message=f"run {run} is not {returns!r} and {values!r}.")(answer)


for _run, _pair in VERDICTS.items():
    for _one in ("better", "worse"):
        for _other in ("possible", "impossible"):
            if (_one, _other) != _pair:
                _wrong_verdict(_run, _one, _other)


# ---------------------------------------------------------------- predictions
prediction(
    "10.p1",
    "The table that this course began with has CQL at 98.7 on hopper-medium-expert. On version v2 the authors of IQL "
    "measured 105.4 there. Where does 98.7 come from?",
    answer="b",
    a=(
        "another rerun of the same task, with other seeds",
        "Reruns do differ by that much. This number is printed elsewhere.",
    ),
    b=(
        "another task, in another version of the data",
        "It is the CQL paper's score on *walker2d*-medium-expert, version v0.",
    ),
    c=(
        "the last checkpoint, where 105.4 is the best one",
        "Such pairs exist too. This one is not among them.",
    ),
)

prediction(
    "10.p2",
    "Our *medium* policy for Hopper has a mean score between 50 and 60 over a hundred fresh episodes. How many of "
    "these lie within five points of that mean?",
    answer="c",
    a=(
        "more than half of them",
        "So it would be if all episodes went much the same way.",
    ),
    b=(
        "between a quarter and a half",
        "As for a bell curve with a small spread. Here some episodes fall early and some go on to the end.",
    ),
    c=(
        "less than a quarter of them",
        "The mean of early falls and of long runs lies where few episodes are.",
    ),
)

prediction(
    "10.p3",
    "Sixty checkpoints of one training, each evaluated on five episodes. The best of them says 86.4. Thirty fresh "
    "episodes of the same policy give a mean that is...",
    answer="a",
    a=(
        "five points or more below it",
        "Being the largest of sixty means takes a good policy *and* good luck. The luck does not come again.",
    ),
    b=(
        "within five points of it",
        "That would be so for a checkpoint that was named beforehand, if five episodes were many.",
    ),
    c=(
        "five points or more above it: five episodes were not many",
        "Few episodes err in both directions. A maximum takes those that erred upwards.",
    ),
)

prediction(
    "10.p4",
    "Two draws of a log, three seeds on each: six runs. Draws differ as much as seeds do. A 95 % t-interval of six "
    "independent numbers is put round their mean. How often does it hold the true mean?",
    answer="c",
    a=(
        "in about 95 of 100 repetitions: that is what a t-interval is made for",
        "It is made for *independent* numbers. Three seeds on one log are not.",
    ),
    b=(
        "more often: six runs are many",
        "More runs make it narrower, not safer.",
    ),
    c=(
        "in 75 to 90 of 100",
        "What the log adds is counted three times as if it were three accidents.",
    ),
)

prediction(
    "10.p5",
    "ICU-Sepsis pays 1 for survival, once. A CQL agent with a max in its backup learns a policy that survives more "
    "often than a clone of the clinicians. What does its mean Q say?",
    answer="a",
    a=(
        "more than 1",
        "Its policy is decided by differences of Q. No return ever asked for their level.",
    ),
    b=(
        "between the true value and 1: too high, but it is a probability after all",
        "Nobody told the critic that. A bound holds where somebody puts it in.",
    ),
    c=(
        "less than the true value: CQL is conservative",
        "The theorem has premises. A max in the backup is not one of them: chapter 05.",
    ),
)


# ---------------------------------------------------------------- quiz
quiz_question(
    "10.a",
    "A table lists your method at 101 on hopper-medium-expert. Which question comes first?",
    answer="b",
    a=("How many seeds?", "It is the third or fourth. Seeds of other data do not help."),
    b=(
        "Which version of the data?",
        "Cloning alone has 112 there in one version and 53 in another.",
    ),
    c=(
        "Is the difference to the next method significant?",
        "A test between numbers of different data is precise about nothing.",
    ),
)

quiz_question(
    "10.b",
    "You have six more runs to spend on a comparison of two draws with three seeds each. What narrows the interval for "
    "logs of this kind most, if draws differ much?",
    answer="c",
    a=("three more seeds on each draw", "Each draw's mean gets sharper. There are still two of them."),
    b=(
        "more episodes in the evaluation of each run, with the six runs saved",
        "That removes the noise of the evaluation. What the logs differ by remains.",
    ),
    c=("two more draws, three seeds each", "Four numbers in place of two: the factor of t falls from 12.7 to 3.2."),
)

quiz_question(
    "10.c",
    "An agent has the best return of a table, and its mean Q exceeds what any policy can earn. What may you report?",
    answer="a",
    a=(
        "the return, and that the values are not to be used",
        "Whoever sorts patients, policies or alphas by Q would use them.",
    ),
    b=(
        "both: a method that acts best must have learned something true",
        "It has learned an order of actions. The level of Q is another matter.",
    ),
    c=(
        "nothing until the values are repaired",
        "The return was measured in the world. It does not depend on Q.",
    ),
)
