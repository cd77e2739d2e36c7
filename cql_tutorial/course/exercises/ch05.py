"""Exercises of chapter 05, is it a lower bound: the two fines, their distance, a threshold, a backup's temperature."""

from __future__ import annotations

import math

import torch

from ..checker import Example
from ..registry import exercise, mutant, prediction, quiz_question

D = torch.float64
REWARDS = torch.tensor([[1.0, 0.8, 0.5, 0.0]], dtype=D)
LOG = torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=D)
MU = torch.tensor([[0.7, 0.2, 0.08, 0.02]], dtype=D)
TWO_POLICIES, TWO_LOGS = torch.cat([MU, LOG]), torch.cat([LOG, LOG])
FREE = torch.tensor([[3.0, 5.0], [2.0, 9.0]], dtype=D)
PER_ALPHA = torch.tensor([[2.0, 0.5], [1.0, 0.5]], dtype=D)
TRUTH = torch.tensor([[1.0, 3.5], [4.5, 1.0]], dtype=D)
SEEN = torch.tensor([[True, True], [True, False]])
VALUES = torch.tensor([[0.0, 1.0, 3.0], [2.0, 2.0, 2.5]], dtype=D)


def _policy(seed: int) -> torch.Tensor:
    return torch.softmax(torch.randn(5, 3, generator=torch.Generator().manual_seed(seed), dtype=D), 1)


LARGE = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=D)


# ---------------------------------------------------------------- 05.1
@exercise(
    "05.1",
    title="the fine of Equation 1",
    kind="build",
    difficulty=2,
    importance=5,
    minutes=8,
    examples=(
        Example((REWARDS, MU, LOG, 1.0), "one state, four arms; alpha 1"),
        Example((LARGE, _policy(1), _policy(2), 0.3), "five states, three actions", shown=False),
    ),
    hints=(
        "Set the derivative of b (Q - y)^2 + alpha mu Q with respect to Q to zero.",
        "2 b (Q - y) + alpha mu = 0, so Q lies below y by alpha mu / (2 b).",
        "return rewards - alpha / ____ * mu / ____",
    ),
    meaning="Every action pays, and the less the log did it the more: nothing can end above the truth.",
)
def fined_everywhere(rewards, mu, behaviour, alpha):
    """The rewards of the world in which Equation 1's critic is exact: each action pays a fine.

    [S, A], [S, A], [S, A], number -> [S, A]
    """
    return rewards - alpha / 2 * mu / behaviour


@mutant("05.1", "the paper's alpha")
def _(rewards, mu, behaviour, alpha):
    """that is the paper's scale. Its squared error carries 1/2, ours does not: here the fine is alpha / 2 times
    the ratio."""
    return rewards - alpha * mu / behaviour


@mutant("05.1", "no ratio")
def _(rewards, mu, behaviour, alpha):
    """the push-down mu is not divided by the log's share. Rare rows pull the value back less, so the same push
    moves it further: mu / behaviour."""
    return rewards - alpha / 2 * mu


@mutant("05.1", "turned ratio")
def _(rewards, mu, behaviour, alpha):
    """the ratio is upside down: what is pushed (mu) over what holds (behaviour)."""
    return rewards - alpha / 2 * behaviour / mu


@mutant("05.1", "Equation 2")
def _(rewards, mu, behaviour, alpha):
    """that is Equation 2, with the data term. Equation 1 has no pull-up: no minus 1."""
    return rewards - alpha / 2 * (mu / behaviour - 1)


@mutant("05.1", "plus")
def _(rewards, mu, behaviour, alpha):
    """the sign is turned: a fine lowers the reward."""
    return rewards + alpha / 2 * mu / behaviour


@mutant("05.1", "difference")
def _(rewards, mu, behaviour, alpha):
    """you subtract the shares. The minimum of a squared error weighted by b sits at the *ratio* mu / b."""
    return rewards - alpha / 2 * (mu - behaviour)


@mutant("05.1", "logarithm")
def _(rewards, mu, behaviour, alpha):
    """no logarithm: the penalty is linear in Q, so its pull is mu itself."""
    return rewards - alpha / 2 * (mu / behaviour).log()


@mutant("05.1", "fine alone")
def _(rewards, mu, behaviour, alpha):
    """that is the fine alone. Asked is what it leaves of the rewards."""
    return alpha / 2 * mu / behaviour


@mutant("05.1", "alpha alone")
def _(rewards, mu, behaviour, alpha):
    """the fine is the same for every action here. It is alpha / 2 times mu / behaviour."""
    return rewards - alpha / 2


# ---------------------------------------------------------------- 05.2
@exercise(
    "05.2",
    title="the fine of Equation 2",
    kind="build",
    difficulty=2,
    importance=5,
    minutes=6,
    examples=(
        Example((REWARDS, MU, LOG, 1.0), "the same state and arms; alpha 1"),
        Example((LARGE, _policy(1), _policy(2), 0.3), "five states, three actions", shown=False),
    ),
    hints=(
        "Like Equation 1, with one more term: minus alpha b Q.",
        "2 b (Q - y) + alpha (mu - b) = 0.",
        "return rewards - alpha / 2 * (mu / behaviour - ____)",
    ),
    meaning="Actions that the log did more often than mu get a bonus in place of a fine.",
)
def fined_on_balance(rewards, mu, behaviour, alpha):
    """The same for Equation 2, whose data term gives back what it takes on the log's own average.

    [S, A], [S, A], [S, A], number -> [S, A]
    """
    return rewards - alpha / 2 * (mu / behaviour - 1)


@mutant("05.2", "Equation 1")
def _(rewards, mu, behaviour, alpha):
    """that is Equation 1 again. The data term raises the logged actions in proportion to b: b / b = 1 comes back."""
    return rewards - alpha / 2 * mu / behaviour


@mutant("05.2", "the paper's alpha")
def _(rewards, mu, behaviour, alpha):
    """that is the paper's scale, with 1/2 in front of the square. Here it is alpha / 2."""
    return rewards - alpha * (mu / behaviour - 1)


@mutant("05.2", "difference")
def _(rewards, mu, behaviour, alpha):
    """you subtract the shares. Both terms are divided by b where the square's weight is b: mu / b - 1."""
    return rewards - alpha / 2 * (mu - behaviour)


@mutant("05.2", "one outside")
def _(rewards, mu, behaviour, alpha):
    """the 1 stands outside the alpha: it belongs to the penalty too."""
    return rewards - alpha / 2 * mu / behaviour + 1


@mutant("05.2", "sign")
def _(rewards, mu, behaviour, alpha):
    """the sign is turned: what mu likes more than the log must fall."""
    return rewards + alpha / 2 * (mu / behaviour - 1)


@mutant("05.2", "turned ratio")
def _(rewards, mu, behaviour, alpha):
    """the ratio is upside down: mu / behaviour."""
    return rewards - alpha / 2 * (behaviour / mu - 1)


@mutant("05.2", "never a bonus")
def _(rewards, mu, behaviour, alpha):
    """you cut the bonus off. Actions the log did more often than mu *are* raised, and that is why this bound holds
    on average only."""
    return rewards - alpha / 2 * (mu / behaviour - 1).clamp(min=0)


# ---------------------------------------------------------------- 05.3
@exercise(
    "05.3",
    title="what a policy pays on average",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=8,
    examples=(
        Example((TWO_POLICIES, TWO_LOGS), "two states; in the second the policy is the log's own"),
        Example(
            (torch.tensor([[0.5, 0.5, 0.0]], dtype=D), torch.tensor([[0.25, 0.0, 0.75]], dtype=D)),
            "one action was never logged",
        ),
        Example((_policy(3), _policy(4)), "five states, three actions", shown=False),
    ),
    hints=(
        "Equation 2's fine of each action, averaged over the policy's own choices.",
        "Sum over the actions of pi times (pi / behaviour - 1); where behaviour is 0, nothing.",
        "return torch.where(behaviour > 0, ____ * (ratio - 1), 0.0).sum(dim=1)",
    ),
    meaning=(
        "It is the sum of (pi - b)^2 / b: never negative, and 0 only where the policy is the log's own. That is "
        "Theorem 3.2."
    ),
)
def distance(policy, behaviour):
    """D_CQL of each state, the fine that a policy pays on its own average: [S, A], [S, A] -> [S].

    An action that the log never shows (behaviour 0) counts as 0.
    """
    ratio = policy / torch.where(behaviour > 0, behaviour, 1.0)
    return torch.where(behaviour > 0, policy * (ratio - 1), 0.0).sum(dim=1)


def _fines(policy, behaviour):
    """What the policy pays for each action, 0 where the log shows none."""
    return (policy * (policy / behaviour.where(behaviour > 0, 1.0) - 1)).where(behaviour > 0, 0.0)


@mutant("05.3", "averaged over the log")
def _(policy, behaviour):
    """you average over the *log's* actions, and there fines and bonuses cancel. The policy does what the policy
    likes: weigh by pi."""
    return (behaviour * (policy / behaviour.where(behaviour > 0, 1.0) - 1)).sum(1)


@mutant("05.3", "swapped")
def _(policy, behaviour):
    """policy and log are swapped: pi pays, and what it pays is pi over b."""
    return (behaviour * (behaviour / policy.where(policy > 0, math.inf) - 1)).sum(1)


@mutant("05.3", "bonus cut off")
def _(policy, behaviour):
    """you left the bonuses out. They belong to the average, which is never negative all the same."""
    return _fines(policy, behaviour).clamp(min=0).sum(1)


@mutant("05.3", "KL")
def _(policy, behaviour):
    """that is the Kullback-Leibler divergence, with a logarithm of the ratio. D_CQL has the ratio itself."""
    return (policy * (policy / behaviour).log()).nan_to_num(0.0, 0.0, 0.0).sum(1)


@mutant("05.3", "minus one forgotten")
def _(policy, behaviour):
    """the minus 1 is missing: at pi = behaviour the answer must be 0."""
    return (policy * policy / behaviour.where(behaviour > 0, 1.0)).where(behaviour > 0, 0.0).sum(1)


@mutant("05.3", "mean over actions")
def _(policy, behaviour):
    """you divide by the number of actions. The weights pi already sum to one: sum."""
    return _fines(policy, behaviour).mean(1)


@mutant("05.3", "squared distance")
def _(policy, behaviour):
    """that is the squared difference. Dividing each term by b would give D_CQL: rare actions count more."""
    return (policy - behaviour).square().sum(1)


@mutant("05.3", "total variation")
def _(policy, behaviour):
    """that is the total variation distance. D_CQL is sum pi (pi / b - 1)."""
    return 0.5 * (policy - behaviour).abs().sum(1)


@mutant("05.3", "one number")
def _(policy, behaviour):
    """you sum over the states too: one number a state."""
    return _fines(policy, behaviour).sum()


@mutant("05.3", "largest ratio")
def _(policy, behaviour):
    """that is the worst fine of any action. Asked is what the policy pays on its own average."""
    return (policy / behaviour.where(behaviour > 0, 1.0)).amax(1) - 1


# ---------------------------------------------------------------- 05.4
@exercise(
    "05.4",
    title="how much alpha does a bound need?",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=8,
    examples=(
        Example((FREE, PER_ALPHA, TRUTH, SEEN), "two states, two actions; the last pair was never seen"),
        Example((TRUTH - 1, PER_ALPHA, TRUTH, SEEN), "below the truth already without any fine"),
        Example((LARGE, LARGE.abs() + 0.1, LARGE.flip(0), LARGE > -1.0), "five states, three actions", shown=False),
    ),
    hints=(
        "Solve free - alpha * per_alpha <= truth for alpha, at one pair.",
        "(free - truth) / per_alpha at each seen pair; the largest; at least 0.",
        "return ((free - truth) / ____)[____].max().clamp(min=0)",
    ),
    meaning="The threshold belongs to one log: its unluckiest pair decides.",
)
def smallest_alpha(free, per_alpha, truth, seen):
    """The smallest alpha >= 0 at which free - alpha * per_alpha lies at or below the truth at every seen pair.

    [S, A], [S, A] positive, [S, A], [S, A] bool -> []
    """
    needed = (free - truth) / per_alpha
    return needed[seen].max().clamp(min=0)


@mutant("05.4", "unseen counted")
def _(free, per_alpha, truth, seen):
    """the pair that was never seen decides here. The theorem speaks of pairs in the log: take the seen ones."""
    return ((free - truth) / per_alpha).max().clamp(min=0)


@mutant("05.4", "smallest need")
def _(free, per_alpha, truth, seen):
    """that alpha satisfies the easiest pair. The bound must hold at *every* pair: the largest need."""
    return ((free - truth) / per_alpha)[seen].min().clamp(min=0)


@mutant("05.4", "mean need")
def _(free, per_alpha, truth, seen):
    """that alpha satisfies the pairs on average. The bound must hold at every one: the largest need."""
    return ((free - truth) / per_alpha)[seen].mean().clamp(min=0)


@mutant("05.4", "not divided")
def _(free, per_alpha, truth, seen):
    """that is the largest excess. How much alpha removes it depends on what a unit of alpha does there: divide by
    per_alpha."""
    return (free - truth)[seen].max().clamp(min=0)


@mutant("05.4", "distance below")
def _(free, per_alpha, truth, seen):
    """that is how far the *lowest* pair lies under its truth already. What lies above needs the alpha: free - truth."""
    return ((truth - free) / per_alpha)[seen].max().clamp(min=0)


@mutant("05.4", "turned")
def _(free, per_alpha, truth, seen):
    """the fraction is upside down: excess over effect."""
    return (per_alpha / (free - truth))[seen].max().clamp(min=0)


@mutant("05.4", "multiplied")
def _(free, per_alpha, truth, seen):
    """you multiply. free - alpha * per_alpha <= truth, solved for alpha, divides."""
    return ((free - truth) * per_alpha)[seen].max().clamp(min=0)


@mutant("05.4", "below zero")
def _(free, per_alpha, truth, seen):
    """right where a fine is needed; where none is, alpha 0 is enough: clamp at 0."""
    return ((free - truth) / per_alpha)[seen].max()


# ---------------------------------------------------------------- 05.5
@exercise(
    "05.5",
    title="a backup with a temperature",
    kind="build",
    difficulty=2,
    importance=4,
    minutes=6,
    examples=(
        Example((VALUES, 0.5), "two states, three actions, temperature 0.5"),
        Example((LARGE, 2.0), "five states", shown=False),
    ),
    hints=(
        "Weights first, then a weighted mean of Q.",
        "softmax of Q / temperature over the actions; times Q; sum.",
        "return (torch.softmax(q / ____, dim=1) * ____).sum(dim=1)",
    ),
    meaning="At temperature 1 this is the policy that CQL(H) fines; towards 0 it is the maximum, which it does not.",
)
def softmax_value(q, temperature):
    """The value of each state under softmax(Q / temperature): [S, A], number -> [S]."""
    return (torch.softmax(q / temperature, dim=1) * q).sum(dim=1)


@mutant("05.5", "log-sum-exp")
def _(q, temperature):
    """that is the soft maximum: mean value *plus* an entropy bonus. Asked is what the policy expects of Q, no bonus."""
    return temperature * torch.logsumexp(q / temperature, 1)


@mutant("05.5", "maximum")
def _(q, temperature):
    """that is temperature zero: only the best action counts."""
    return q.amax(1)


@mutant("05.5", "mean")
def _(q, temperature):
    """that is an infinite temperature: every action counts alike."""
    return q.mean(1)


@mutant("05.5", "over states")
def _(q, temperature):
    """the softmax runs over the states. A policy chooses among the actions of one state: dim=1."""
    return (torch.softmax(q / temperature, 0) * q).sum(1)


@mutant("05.5", "times")
def _(q, temperature):
    """Q is multiplied by the temperature. Colder means sharper: divide."""
    return (torch.softmax(q * temperature, 1) * q).sum(1)


@mutant("05.5", "no temperature")
def _(q, temperature):
    """the temperature has no part in it: softmax of Q / temperature."""
    return (torch.softmax(q, 1) * q).sum(1)


@mutant("05.5", "scaled value", seen="where a temperature divides is asked in young-geng/CQL issue 3")
def _(q, temperature):
    """the weights are right, but the value is divided by the temperature too."""
    return (torch.softmax(q / temperature, 1) * q / temperature).sum(1)


@mutant("05.5", "weights")
def _(q, temperature):
    """those are the weights. Weigh Q with them and sum."""
    return torch.softmax(q / temperature, 1)


# ---------------------------------------------------------------- predictions
prediction(
    "05.p1",
    "Equation 1 with exact rewards and moves (no log, no noise), in twenty random worlds, with an alpha of a "
    "hundredth. At which share of the pairs does the learned value end above the truth?",
    answer="a",
    a=("none", "Every pair pays a fine, and so does everything that comes after. However small, it all points down."),
    b=(
        "some: alpha is too small to matter",
        "It need not be large to be negative: without noise there is nothing to outweigh.",
    ),
    c=("about half", "That would be noise around the truth; here there is none."),
)

prediction(
    "05.p2",
    "Equation 2 on the four arms. The log did the worst arm most, the pushed-down policy prefers the best. What ends "
    "above its true value?",
    answer="b",
    a=(
        "nothing: it is a lower bound",
        "It bounds the policy's *average*. An arm that the log did more often than the policy does gets a bonus.",
    ),
    b=(
        "the two arms the log did most; the policy's average stays below",
        "Their fine is negative. On the policy's own average the fines win, always.",
    ),
    c=(
        "the two arms the log did most, and the policy's average too",
        "The average fine is a sum of squares over the log's shares: it cannot be negative.",
    ),
)

prediction(
    "05.p3",
    "Now the values come from a log, with its luck. The smallest alpha at which Equation 1's bound holds at every "
    "logged pair: what happens to it when the log grows sixteenfold?",
    answer="b",
    a=(
        "it stays: alpha is a property of the world",
        "It has to outweigh the luck of the log, and a longer log has less luck in it.",
    ),
    b=(
        "it shrinks, to about a quarter",
        "Luck falls with the root of the number of rows, and the fine has only luck to outweigh.",
    ),
    c=("it shrinks to about a sixteenth", "That would be luck falling with the number of rows itself."),
)

prediction(
    "05.p4",
    "CQL(H) with the exact world, alpha 5. The penalty assumes a policy softmax(Q). Let the backup, and the actor, "
    "use a sharper one: temperature 0.2. Where do the values end?",
    answer="c",
    a=(
        "below the truth everywhere: alpha 5 is a lot",
        "More alpha makes it worse here: what the log did most is pulled up by it, and a sharp backup picks just that.",
    ),
    b=(
        "below on average, above in some states",
        "The theorem's average is over the policy softmax(Q), which is not the one that is backed up.",
    ),
    c=(
        "above the truth in every state",
        "A sharp policy collects the bonus of its favourite action and pays little of the fines: in each state, and "
        "again in the next.",
    ),
)

prediction(
    "05.p5",
    "ICU-Sepsis, 5,000 episodes: the value of a start is a chance of survival. Naive fitted Q-iteration predicts 0.98 "
    "where 0.78 is true. What does CQL predict with alpha 0.1 and a greedy backup?",
    answer="c",
    a=(
        "something near the truth",
        "It would if alpha 0.1 were small against these rewards. They are 0 or 1, once, at the end.",
    ),
    b=("something far below the truth", "So it does with the softmax backup. A greedy one collects the pull-ups."),
    c=(
        "more than 1: a certain survival, and then some",
        "Each step may add up to alpha / 2, and a loop in the log collects it again and again.",
    ),
)


# ---------------------------------------------------------------- quiz
quiz_question(
    "05.a",
    "A paper says: 'CQL learns a lower bound of the Q-function.' Which sentence is true of the loss everybody uses, "
    "CQL(H)?",
    answer="b",
    a=("each Q-value lies below its true one", "That is Theorem 3.1, of Equation 1, which nobody uses."),
    b=(
        "the value of softmax(Q) lies below its true value, if that is the policy that is backed up, and alpha "
        "outweighs the log's luck",
        "Three assumptions, each of which was broken in this chapter.",
    ),
    c=(
        "the mean Q of the logged actions lies below the truth",
        "Those are pulled up; on the log's average nothing is taken.",
    ),
)

quiz_question(
    "05.b",
    "A colleague multiplies all rewards by ten and keeps alpha. What has she changed?",
    answer="b",
    a=(
        "nothing: alpha is a pure number",
        "The fine is alpha / 2 times a ratio of shares: it is measured in units of reward.",
    ),
    b=(
        "CQL has become about ten times weaker",
        "What matters is alpha against the size of the rewards; sepsis shows what happens when it is large against "
        "them.",
    ),
    c=("CQL has become ten times stronger", "The fine stayed, the rewards grew."),
)

quiz_question(
    "05.c",
    "The bound of Theorem 3.6 on how much worse than the log's author the new policy can be came out larger than all "
    "returns of the world together. What follows?",
    answer="b",
    a=(
        "that the policy is unsafe",
        "A loose bound says nothing about the policy; the measured improvements were mostly positive.",
    ),
    b=(
        "that the guarantee is empty for logs of this size",
        "It would need vastly more rows. What was measured is better than what is promised, here.",
    ),
    c=(
        "that alpha must be raised until the bound is small",
        "With alpha the policy moves to the log's author: it earns less, and the bound is as empty as before.",
    ),
)
