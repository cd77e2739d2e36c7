"""Exercises of chapter 02, the ruler: Q^pi by backup and by one solve, Q^beta from a log, Monte-Carlo intervals."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F

from ..checker import Example
from ..registry import exercise, mutant, prediction, quiz_question

# The hut: 0 hut (go home +2.5, climb -0.5), 1 ridge (turn back 0, summit +7), 2 the end, which keeps to itself at 0.
HUT_MOVES = torch.tensor([[2, 1], [0, 2], [2, 2]])
HUT = F.one_hot(HUT_MOVES, 3).double()  # transitions [S, A, S]
HUT_REWARDS = torch.tensor([[2.5, -0.5], [0.0, 7.0], [0.0, 0.0]], dtype=torch.float64)
HUT_END = torch.tensor([False, False, True])
COIN = torch.full((3, 2), 0.5, dtype=torch.float64)
BRAVE = torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.5, 0.5]], dtype=torch.float64)
HUT_Q = torch.tensor([[2.0, 4.0], [0.0, 6.0], [8.0, 8.0]], dtype=torch.float64)  # 8 at the end: a guess to be cut off


def _larger(seed: int = 0) -> tuple[torch.Tensor, ...]:
    """A world of five states (the second one terminal) and three actions, and a policy: nothing uniform."""
    draw = torch.Generator().manual_seed(seed)
    transitions = torch.rand(5, 3, 5, generator=draw, dtype=torch.float64)
    transitions = transitions / transitions.sum(-1, keepdim=True)
    rewards = torch.randn(5, 3, generator=draw, dtype=torch.float64)
    policy = torch.softmax(torch.randn(5, 3, generator=draw, dtype=torch.float64), 1)
    rewards = rewards - 0.5  # values of both signs
    transitions[1], rewards[1] = F.one_hot(torch.tensor(1), 5).double(), 0.0
    q = torch.randn(5, 3, generator=draw, dtype=torch.float64)
    return q, rewards, transitions, torch.arange(5) == 1, policy


LARGE_Q, LARGE_REWARDS, LARGE, LARGE_END, LARGE_POLICY = _larger()
# The same world, in which most moves fail, so that a value needs hundreds of backups.
SLOW = 0.97 * torch.eye(5, dtype=torch.float64)[:, None] + 0.03 * LARGE


# ---------------------------------------------------------------- 02.1
@exercise(
    "02.1",
    title="one backup under a policy",
    kind="build",
    difficulty=2,
    importance=5,
    minutes=10,
    examples=(
        Example(
            (HUT_Q, HUT_REWARDS, HUT, HUT_END, BRAVE, 0.5),
            "the hut: Q, rewards, where each action leads, the end, a policy that climbs three times in four, "
            "discount 0.5",
        ),
        Example(
            (LARGE_Q, LARGE_REWARDS, LARGE, LARGE_END, LARGE_POLICY, 0.9),
            "five states, three actions, chance in every move, discount 0.9",
            shown=False,
        ),
    ),
    hints=(
        "Three things in this order: the value of each state, zero where it is terminal, then back to the pairs that "
        "lead there.",
        "V(s') is the sum over actions of policy times q; multiply it by ~terminal; `transitions @ values` has shape "
        "[S, A]; discount it and add the reward.",
        "values = (policy * q).sum(1) * ~terminal; return rewards + ____ * transitions @ values",
    ),
    meaning="One backup looks one step further; the policy enters only through the average over its next action.",
    steps=lambda q, rewards, transitions, terminal, policy, discount: {
        "V of each state": (policy * q).sum(1) * ~terminal,
        "expected V after each pair": transitions @ ((policy * q).sum(1) * ~terminal),
    },
)
def policy_backup(q, rewards, transitions, terminal, policy, discount):
    """One step r + discount * P V with V(s) = sum_a pi(a|s) Q(s, a), 0 where terminal: -> new Q [S, A].

    q, rewards, policy [S, A]; transitions [S, A, S]; terminal [S] bool; discount a number.
    """
    values = (policy * q).sum(1) * ~terminal
    return rewards + discount * transitions @ values


@mutant("02.1", "maximum")
def _(q, rewards, transitions, terminal, policy, discount):
    """you took the best next action. That is the backup of Q*, the value of a policy that nobody has yet; for Q^pi
    average over the next action with pi's own probabilities."""
    return rewards + discount * transitions @ (q.amax(1) * ~terminal)


@mutant("02.1", "uniform average")
def _(q, rewards, transitions, terminal, policy, discount):
    """the next actions are averaged as if all were equally likely. Weigh them by `policy`: this policy climbs
    three times in four."""
    return rewards + discount * transitions @ (q.mean(1) * ~terminal)


@mutant("02.1", "no discount")
def _(q, rewards, transitions, terminal, policy, discount):
    """the next value is not discounted: what comes one step later counts `discount` times."""
    return rewards + transitions @ ((policy * q).sum(1) * ~terminal)


@mutant("02.1", "through the end")
def _(q, rewards, transitions, terminal, policy, discount):
    """the bootstrap goes on beyond the end. At a terminal state nothing follows, whatever Q says there: set V to 0
    where `terminal` is True."""
    return rewards + discount * transitions @ (policy * q).sum(1)


@mutant("02.1", "last state")
def _(q, rewards, transitions, terminal, policy, discount):
    """V is set to 0 in the *last* state. That is the end here by chance: `terminal` says which states are, and there
    may be several."""
    values = (policy * q).sum(1)
    values[-1] = 0.0
    return rewards + discount * transitions @ values


@mutant("02.1", "cut at the wrong end")
def _(q, rewards, transitions, terminal, policy, discount):
    """you cut the rows that start in a terminal state. It is the *next* state that must be tested: zero V before
    the transition matrix carries it back."""
    return (rewards + discount * transitions @ (policy * q).sum(1)) * ~terminal[:, None]


@mutant("02.1", "reward cut too")
def _(q, rewards, transitions, terminal, policy, discount):
    """the reward of the last step is gone as well. Termination cuts what comes *after* the step; the step itself
    is paid."""
    return rewards * (transitions @ (~terminal).double()) + discount * transitions @ ((policy * q).sum(1) * ~terminal)


@mutant("02.1", "discount on everything")
def _(q, rewards, transitions, terminal, policy, discount):
    """the reward is discounted too. It is paid now, so it counts in full; only V(s') is one step away."""
    return discount * (rewards + transitions @ ((policy * q).sum(1) * ~terminal))


@mutant(
    "02.1",
    "minus",
    seen="d2l-ai/d2l-en, chapter_reinforcement-learning/qlearning.md: a minus sign in the printed update, a plus in "
    "its code",
)
def _(q, rewards, transitions, terminal, policy, discount):
    """the future is subtracted. Reward *plus* the discounted value of where it leads."""
    return rewards - discount * transitions @ ((policy * q).sum(1) * ~terminal)


@mutant("02.1", "no reward")
def _(q, rewards, transitions, terminal, policy, discount):
    """that is the future alone: add the reward of the step itself."""
    return discount * transitions @ ((policy * q).sum(1) * ~terminal)


@mutant("02.1", "stays here")
def _(q, rewards, transitions, terminal, policy, discount):
    """you add the value of the state one *leaves*. `transitions @ values` carries each V(s') back to the pair (s,
    a) that leads there."""
    return rewards + discount * ((policy * q).sum(1) * ~terminal)[:, None]


@mutant("02.1", "mask turned")
def _(q, rewards, transitions, terminal, policy, discount):
    """the mask is turned round: you keep V at the end and throw away all other states. `~terminal` is 1 where the
    episode goes on."""
    return rewards + discount * transitions @ ((policy * q).sum(1) * terminal)


@mutant("02.1", "end kept")
def _(q, rewards, transitions, terminal, policy, discount):
    """the old table's row is kept where the episode has ended. Nothing is paid there and nothing follows: its row
    comes out as 0."""
    return torch.where(terminal[:, None], q, rewards + discount * transitions @ ((policy * q).sum(1) * ~terminal))


@mutant("02.1", "weighed twice")
def _(q, rewards, transitions, terminal, policy, discount):
    """right, and then weighed by `policy` once more. The first action is *given* in Q(s, a); pi chooses from the
    next one on."""
    return policy * (rewards + discount * transitions @ ((policy * q).sum(1) * ~terminal))


@mutant("02.1", "V")
def _(q, rewards, transitions, terminal, policy, discount):
    """that is V of the new table, averaged over the first action. Leave the first action open: Q has one number
    for each (s, a)."""
    return (policy * (rewards + discount * transitions @ ((policy * q).sum(1) * ~terminal))).sum(1)


@mutant("02.1", "mean of weighted")
def _(q, rewards, transitions, terminal, policy, discount):
    """`policy * q` holds the weights already, so it is *summed* over the actions; a mean divides by their number
    once more."""
    return rewards + discount * transitions @ ((policy * q).mean(1) * ~terminal)


@mutant("02.1", "ended everywhere", seen="thu-ml/tianshou, its CQL: time limits treated as terminal")
def _(q, rewards, transitions, terminal, policy, discount):
    """no bootstrap at all: every step is treated as the last one. Only terminations cut it, and a recording that
    merely stops is none."""
    return rewards.clone()


@mutant("02.1", "summed without weights")
def _(q, rewards, transitions, terminal, policy, discount):
    """the next actions' values are added up, and `policy` is not used. One action will be taken: weigh each by its
    probability, then sum."""
    return rewards + discount * transitions @ (q.sum(1) * ~terminal)


@mutant("02.1", "soft value")
def _(q, rewards, transitions, terminal, policy, discount):
    """the next state is valued by a log-sum-exp: the soft value of another policy, softmax(q). Here `policy` is given:
    average q with its probabilities."""
    return rewards + discount * transitions @ (torch.logsumexp(q, 1) * ~terminal)


@mutant("02.1", "added to the old table")
def _(q, rewards, transitions, terminal, policy, discount):
    """the backup is added to the old q. It takes its place: q enters only through the value of the next state."""
    return q + rewards + discount * transitions @ ((policy * q).sum(1) * ~terminal)


@mutant("02.1", "over the states")
def _(q, rewards, transitions, terminal, policy, discount):
    """`policy * q` is summed over the *states*, and `transitions` is not used. V has one number for each state: sum
    over the actions, axis 1, then let `transitions` carry it back."""
    return rewards + discount * (policy * q).sum(0)


@mutant("02.1", "policy of the first step")
def _(q, rewards, transitions, terminal, policy, discount):
    """the future is weighed by the policy at s. Its probabilities belong to the *next* state's actions:
    sum_a' pi(a'|s') Q(s', a')."""
    return rewards + discount * policy * (transitions @ (q.sum(1) * ~terminal))


# ---------------------------------------------------------------- 02.2
@exercise(
    "02.2",
    title="all backups at once",
    kind="build",
    difficulty=4,
    importance=5,
    minutes=14,
    examples=(
        Example(
            (HUT_REWARDS, HUT, COIN, 0.5),
            "the hut: rewards, where each action leads, a coin decides, discount 0.5",
        ),
        Example((HUT_REWARDS, HUT, BRAVE, 0.5), "the same, but climbs three times in four"),
        Example((LARGE_REWARDS, SLOW, LARGE_POLICY, 0.98), "five states, three actions, discount 0.98", shown=False),
    ),
    hints=(
        "Two objects first: where pi goes in one step ([S, S]) and what it is paid for it ([S]).",
        "chain[s, t] = sum_a pi(a|s) P(t|s, a) and gain[s] = sum_a pi(a|s) r(s, a). Solve (I - discount * chain) V = "
        "gain (torch.linalg.solve; the identity in float64), then Q = rewards + discount * transitions @ V.",
        "chain = torch.einsum('sa,sat->st', policy, transitions); gain = (policy * rewards).sum(1); values = "
        "torch.linalg.solve(torch.eye(len(gain), dtype=gain.dtype) - ____, gain); return rewards + discount * "
        "transitions @ values",
    ),
    meaning=(
        "The value of a policy is the answer to a linear system: as many equations as states, exact up to rounding."
    ),
    steps=lambda rewards, transitions, policy, discount: {
        "chain": _chain(transitions, policy),
        "gain": (policy * rewards).sum(1),
        "V": torch.linalg.solve(_matrix(transitions, policy, discount), (policy * rewards).sum(1)),
    },
)
def solve_policy(rewards, transitions, policy, discount):
    """Exact Q^pi of a policy by one linear solve.

    [S, A], [S, A, S], [S, A], number -> [S, A]
    """
    chain = torch.einsum("sa,sat->st", policy, transitions)  # where pi goes in one step, [S, S]
    gain = (policy * rewards).sum(1)  # what pi is paid for one step, [S]
    identity = torch.eye(len(gain), dtype=gain.dtype)
    values = torch.linalg.solve(identity - discount * chain, gain)
    return rewards + discount * transitions @ values


def _chain(transitions, policy):
    return torch.einsum("sa,sat->st", policy, transitions)


def _matrix(transitions, policy, discount):
    """I - discount * chain: the matrix of the equations for V."""
    return torch.eye(len(transitions), dtype=transitions.dtype) - discount * _chain(transitions, policy)


def _solved(rewards, transitions, discount, chain, gain, last=None, sign=-1.0):
    identity = torch.eye(len(gain), dtype=gain.dtype)
    values = torch.linalg.solve(identity + sign * discount * chain, gain)
    return rewards + (discount if last is None else last) * transitions @ values


def _iterated(rewards, transitions, discount, sweeps=1000):
    q = torch.zeros_like(rewards)
    for _ in range(sweeps):
        q = rewards + discount * transitions @ q.amax(1)
    return q


@mutant("02.2", "plus")
def _(rewards, transitions, policy, discount):
    """the matrix has a plus. From V = gain + discount * chain V follows (I - discount * chain) V = gain."""
    return _solved(rewards, transitions, discount, _chain(transitions, policy), (policy * rewards).sum(1), sign=1.0)


@mutant("02.2", "transposed")
def _(rewards, transitions, policy, discount):
    """the chain is transposed: it sends value to where one came from. Rows are the state one leaves, columns the
    state one reaches."""
    return _solved(rewards, transitions, discount, _chain(transitions, policy).T, (policy * rewards).sum(1))


@mutant("02.2", "V for Q")
def _(rewards, transitions, policy, discount):
    """that is V, one number a state, and it is right. One step more: Q(s, a) = r(s, a) + discount * sum P V."""
    return torch.linalg.solve(_matrix(transitions, policy, discount), (policy * rewards).sum(1))


@mutant("02.2", "V twice over")
def _(rewards, transitions, policy, discount):
    """both actions of a state have the same number: that is V. Q takes action a *first* and follows pi only
    afterwards."""
    values = torch.linalg.solve(_matrix(transitions, policy, discount), (policy * rewards).sum(1))
    return values[:, None].expand_as(rewards)


@mutant("02.2", "no discount at the end")
def _(rewards, transitions, policy, discount):
    """V is right, but the last line forgets that it is reached one step later: discount * transitions @ V."""
    return _solved(rewards, transitions, discount, _chain(transitions, policy), (policy * rewards).sum(1), last=1.0)


@mutant("02.2", "two steps only")
def _(rewards, transitions, policy, discount):
    """that looks two steps ahead and stops. The solve sums up *all* of them."""
    return rewards + discount * transitions @ (policy * rewards).sum(1)


@mutant("02.2", "best action")
def _(rewards, transitions, policy, discount):
    """you took the best next action: that is Q*. The question is what *this* policy is worth, good or bad."""
    return _iterated(rewards, transitions, discount)


@mutant("02.2", "multiplied")
def _(rewards, transitions, policy, discount):
    """the matrix is multiplied with the gain. It stands on the other side, (I - discount * chain) V = gain, so it
    must be solved for V (torch.linalg.solve)."""
    values = _matrix(transitions, policy, discount) @ (policy * rewards).sum(1)
    return rewards + discount * transitions @ values


@mutant("02.2", "no identity")
def _(rewards, transitions, policy, discount):
    """the identity is missing. Bring both V to one side: V - discount * chain V = gain."""
    values = torch.linalg.solve(discount * _chain(transitions, policy), (policy * rewards).sum(1))
    return rewards + discount * transitions @ values


@mutant("02.2", "one in place of the identity")
def _(rewards, transitions, policy, discount):
    """1 - discount * chain takes *every* entry from 1. The identity matrix I has ones on its diagonal alone, and zeros
    elsewhere: torch.eye."""
    values = torch.linalg.solve(1 - discount * _chain(transitions, policy), (policy * rewards).sum(1))
    return rewards + discount * transitions @ values


@mutant("02.2", "weighed")
def _(rewards, transitions, policy, discount):
    """right, and then weighed by `policy`. The first action is *given* in Q(s, a); pi chooses from the next one on."""
    return policy * _solved(rewards, transitions, discount, _chain(transitions, policy), (policy * rewards).sum(1))


@mutant("02.2", "standing still")
def _(rewards, transitions, policy, discount):
    """dividing by 1 - discount is right where the state never changes. Here pi moves: the *matrix* I - discount *
    chain takes the place of 1 - discount."""
    return rewards + discount * transitions @ ((policy * rewards).sum(1) / (1 - discount))


@mutant("02.2", "summed reward")
def _(rewards, transitions, policy, discount):
    """the rewards of a state are summed over its actions. One action is taken: weigh each by `policy`, then sum."""
    return _solved(rewards, transitions, discount, _chain(transitions, policy), rewards.sum(1))


@mutant("02.2", "reward weighed in the result")
def _(rewards, transitions, policy, discount):
    """V is right, but the last line adds what pi is paid on average. In Q(s, a) the first action is given: add r(s,
    a)."""
    values = torch.linalg.solve(_matrix(transitions, policy, discount), (policy * rewards).sum(1))
    return (policy * rewards).sum(1, keepdim=True) + discount * transitions @ values


@mutant("02.2", "uniform reward")
def _(rewards, transitions, policy, discount):
    """the chain follows pi, but the reward is that of the uniform policy: weigh the rewards by `policy` too."""
    return _solved(rewards, transitions, discount, _chain(transitions, policy), rewards.mean(1))


@mutant("02.2", "uniform chain")
def _(rewards, transitions, policy, discount):
    """the reward follows pi, but the moves are those of the uniform policy: weigh `transitions` by `policy` too."""
    return _solved(rewards, transitions, discount, transitions.mean(1), (policy * rewards).sum(1))


@mutant("02.2", "uniform policy")
def _(rewards, transitions, policy, discount):
    """that is the value of the *uniform* policy: `policy` is not used. Right ruler, wrong policy: the mistake this
    chapter is about."""
    return _solved(rewards, transitions, discount, transitions.mean(1), rewards.mean(1))


@mutant("02.2", "reward left out of the result")
def _(rewards, transitions, policy, discount):
    """V is right, but the last line leaves the reward of the first step out: Q(s, a) = r(s, a) + discount * sum P V."""
    return _solved(rewards, transitions, discount, _chain(transitions, policy), (policy * rewards).sum(1)) - rewards


@mutant("02.2", "policy in the result")
def _(rewards, transitions, policy, discount):
    """V is right, but the last line carries it back along the chain. In Q(s, a) the first action is given: use
    `transitions`, not the chain."""
    values = torch.linalg.solve(_matrix(transitions, policy, discount), (policy * rewards).sum(1))
    return rewards + discount * (_chain(transitions, policy) @ values)[:, None]


def _cut_short(sweeps):
    def backups(rewards, transitions, policy, discount):
        q = torch.zeros_like(rewards)
        for _ in range(sweeps):
            q = rewards + discount * transitions @ (policy * q).sum(1)
        return q

    return backups


for count in (10, 20, 30, 50, 100, 200):
    told = (
        f"that is what {count} backups give: right to the digits shown where the discount is small, and short of the "
    )
    told += "value where it is near 1. A linear solve needs no number of backups."
    mutant("02.2", f"{count} backups", message=told)(_cut_short(count))


@mutant("02.2", "the last state is the end")
def _(rewards, transitions, policy, discount):
    """the value of the *last* state is set to 0, as if it were always the end. Where a world ends, and whether, stands
    in `transitions` and `rewards`: solve, and set nothing."""
    values = torch.linalg.solve(_matrix(transitions, policy, discount), (policy * rewards).sum(1))
    values[-1] = 0.0
    return rewards + discount * transitions @ values


# ---------------------------------------------------------------- 02.3
TABLES = {  # go home, climb; turn back, summit
    1: (2.50, 2.27, 1.16, 7.00),
    2: (2.50, 3.00, 1.25, 7.00),
    3: (2.50, 1.50, 1.00, 7.00),
    4: (2.50, 3.00, 1.50, 7.00),
}
CLIMBS = {"a": 0.5, "b": 0.75}  # how often the coin, and the log's policy, choose the second action


def _not_its_own(number, letter):
    """Why a table is not what a letter says: one backup of that policy does not leave it as it is."""
    home, climb, back, summit = TABLES[number]
    if letter == "e":
        return "no table is without a discount: climbing would be worth -0.5 plus *all* of the ridge's value."
    if letter == "d":
        return (
            "the *coin's* own Q is backed up once there, with a maximum: climbing would be worth -0.5 plus half of its "
            f"best at the ridge, turning back half of its best at the hut. The table says {climb:.2f} and {back:.2f}."
        )
    share = CLIMBS.get(letter)
    hut = max(home, climb) if share is None else (1 - share) * home + share * climb
    ridge = max(back, summit) if share is None else (1 - share) * back + share * summit
    how = "with the best action of each place" if share is None else f"climbing {share:.0%} of the time"
    return (
        f"its own numbers, {how}, give the hut {hut:.2f} and the ridge {ridge:.2f}. Then climbing would be worth "
        f"{0.5 * ridge - 0.5:.2f} and turning back {0.5 * hut:.2f}; the table says {climb:.2f} and {back:.2f}."
    )


def judge_letters(answer):
    """None for the right four letters; else the first table whose own numbers contradict its letter, and how."""
    letters = list(answer) if isinstance(answer, (tuple, list, str)) else []
    if len(letters) != 4 or not all(isinstance(letter, str) for letter in letters):
        return "wanted are four letters, such as ('a', 'b', 'c', 'd'), in the order of the tables."
    if not all(letter in ("a", "b", "c", "d", "e") for letter in letters):
        return f"the letters are those of the list, small and without a bracket: a to e. Yours are {letters}."
    right = whose_values()
    wrong = [number for number in TABLES if letters[number - 1] != right[number - 1]]
    if not wrong:
        return None
    first, letter = wrong[0], letters[wrong[0] - 1]
    return (
        f"table {first} is not {letter}): {_not_its_own(first, letter)} ({len(wrong)} of the four are not right yet.)"
    )


@exercise(
    "02.3",
    title="whose values are these?",
    kind="diagnose",
    difficulty=3,
    importance=5,
    minutes=12,
    examples=(Example((), "the four tables printed above"),),
    hints=(
        "Two numbers are the same in all tables: they do not depend on the policy. Which two do, and on what each?",
        "Climbing is worth -0.5 plus half of the ridge's value, turning back half of the hut's value. So each table "
        "says what V it was made with; ask for each pair of V which policy has it, and whether the *same* policy acts "
        "at both places.",
        "Table 1 has the ridge at 5.54 = 0.25 * 1.16 + 0.75 * 7, and the hut at 2.33 = 0.25 * 2.5 + 0.75 * 2.27: it "
        "climbs three times in four, as the log does. return ('b', ____, ____, ____)",
    ),
    meaning="A table says whose it is: put its own values through one backup of a policy, and see whether they stay.",
    judge=judge_letters,
)
def whose_values():
    """What each of the tables 1 to 4 is: four letters of the list above, as a tuple."""
    return "b", "d", "a", "c"


@mutant("02.3", "the best and its imitation")
def _():
    """tables 2 and 4 are exchanged. Both climb for 3.0, but turning back is worth half of the hut's value, and from
    there the best policy climbs, for 3, not for 2.5: only 1.50 fits the best policy at both places."""
    return "b", "c", "a", "d"


@mutant("02.3", "coin and log")
def _():
    """tables 1 and 3 are exchanged. The coin's ridge is worth 4, so climbing is worth 1.5 to it; in table 1 it is
    worth 2.27, so the policy there goes on to the summit more often than the coin."""
    return "a", "d", "b", "c"


@mutant("02.3", "two best ones")
def _():
    """tables 2 and 4 are not both the best policy's: they differ where one turns back. In table 2 the hut is still
    worth 2.5, as if one went home from there, though its own best choice at the hut is to climb."""
    return "b", "c", "a", "c"


@mutant("02.3", "undiscounted")
def _():
    """no table is without a discount: then climbing would be worth -0.5 plus *all* of the ridge's value, 5 and more."""
    return "b", "e", "a", "c"


@mutant("02.3", "the list's letters")
def _():
    """you answer the other question: which table each of a) to d) is. Asked is which letter each table has, from table
    1 on."""
    return "c", "a", "d", "b"


# ---------------------------------------------------------------- 02.4
CRITIC = torch.tensor([[4.0, 1.0], [0.0, 3.0], [2.0, 5.0]], dtype=torch.float64)
TRUTH = torch.tensor([[1.0, 3.0], [-1.0, 4.0], [2.5, 1.0]], dtype=torch.float64)
WIDE_CRITIC = torch.tensor(
    [[0.5, -1.2, 2.0], [1.5, 0.2, -1.0], [-0.4, 0.25, 0.1], [-2.0, -0.7, -3.0], [0.5, 3.0, 1.0], [-1.6, -2.2, -0.9]],
    dtype=torch.float64,
)
WIDE_TRUTH = torch.tensor(  # two states over, one exactly right, three under: the mean is below 0
    [[1.0, -0.5, -1.1], [2.6, 2.0, -1.0], [0.4, 0.25, 0.1], [-1.0, -0.1, -4.0], [-1.5, 5.4, 2.5], [-0.3, 1.7, -1.35]],
    dtype=torch.float64,
)


@exercise(
    "02.4",
    title="the estimation error",
    kind="build",
    difficulty=2,
    importance=5,
    minutes=10,
    examples=(
        Example((CRITIC, TRUTH), "three states, two actions: Q-hat, then the reference"),
        Example((WIDE_CRITIC, WIDE_TRUTH), "six states, three actions", shown=False),
    ),
    hints=(
        "Which action would the learned policy take in row 0? Only its two numbers matter there.",
        "actions = argmax of Q-hat in each row; pick that entry of both tables; subtract; the mean, and the mean of "
        "(error > 0) as a number.",
        "a = q_hat.argmax(1, keepdim=True); error = q_hat.gather(1, a) - reference.gather(1, ____); return "
        "error.mean(), (error > 0).double().mean()",
    ),
    meaning=(
        "Above 0 the critic promises more than the reference: whether that is a fault depends on whose value the "
        "reference is."
    ),
    plain="the next cell prints the two numbers",
    steps=lambda q_hat, reference: {
        "Q-hat's best actions": q_hat.argmax(1),
        "errors there": _error(q_hat, reference),
    },
)
def estimation_error(q_hat, reference):
    """Mean of Q-hat minus reference at Q-hat's best actions, and share of states over.

    [S, A] twice -> two numbers
    """
    states = torch.arange(len(q_hat))
    actions = q_hat.argmax(1)
    error = q_hat[states, actions] - reference[states, actions]
    return error.mean(), (error > 0).double().mean()


def _error(q_hat, reference, actions=None):
    chosen = (q_hat.argmax(1) if actions is None else actions)[:, None]
    return (q_hat.gather(1, chosen) - reference.gather(1, chosen))[:, 0]


def _over(error):
    return (error > 0).double().mean()


@mutant("02.4", "sign")
def _(q_hat, reference):
    """the sign is turned: the course writes Q-hat *minus* the truth, so that above 0 means over-estimated."""
    error = _error(q_hat, reference)
    return -error.mean(), _over(-error)


@mutant("02.4", "best with best")
def _(q_hat, reference):
    """you hold the best of Q-hat against the best of the reference: two different actions. The promise was made
    for the action Q-hat chooses; read the truth of *that* action."""
    error = q_hat.amax(1) - reference.amax(1)
    return error.mean(), _over(error)


@mutant("02.4", "the truth's action")
def _(q_hat, reference):
    """you look where the *reference* is largest. The learned policy never takes that action; look where Q-hat is
    largest."""
    error = _error(q_hat, reference, reference.argmax(1))
    return error.mean(), _over(error)


@mutant("02.4", "all actions")
def _(q_hat, reference):
    """you average over all actions. That is a question of its own (the report of chapter 00 has it); here: the
    action that will be taken, one a state."""
    return (q_hat - reference).mean(), _over(q_hat - reference)


@mutant("02.4", "absolute")
def _(q_hat, reference):
    """the absolute error cannot tell over from under, and the share cannot make up for it. Keep the sign."""
    error = _error(q_hat, reference)
    return error.abs().mean(), _over(error)


@mutant("02.4", "share under")
def _(q_hat, reference):
    """the mean is right, but the share counts the states *under* the truth: error > 0, not < 0."""
    error = _error(q_hat, reference)
    return error.mean(), (error < 0).double().mean()


@mutant("02.4", "ties counted")
def _(q_hat, reference):
    """the mean is right, but the share counts the states that are exactly right as well: error > 0, not >= 0."""
    error = _error(q_hat, reference)
    return error.mean(), (error >= 0).double().mean()


@mutant("02.4", "over the states")
def _(q_hat, reference):
    """the argmax runs over the states: that is, for each action, the state where it looks best. The policy chooses an
    action in each *state*: axis 1."""
    best = q_hat.argmax(0, keepdim=True)
    error = (q_hat.gather(0, best) - reference.gather(0, best))[0]
    return error.mean(), _over(error)


@mutant("02.4", "per cent")
def _(q_hat, reference):
    """the share is in per cent; a fraction between 0 and 1 is wanted."""
    error = _error(q_hat, reference)
    return error.mean(), 100 * _over(error)


@mutant("02.4", "sum")
def _(q_hat, reference):
    """the errors are summed: that grows with the number of states. Take the mean."""
    error = _error(q_hat, reference)
    return error.sum(), _over(error)


@mutant("02.4", "count")
def _(q_hat, reference):
    """the second number is a count of states; divide it by the number of states."""
    error = _error(q_hat, reference)
    return error.mean(), (error > 0).sum()


@mutant("02.4", "every state's action")
def _(q_hat, reference):
    """q[:, a] takes *all* rows for each entry of a, so each state is also judged at the other states' actions. One
    action a row: q[torch.arange(len(q)), a], or gather."""
    actions = q_hat.argmax(1)
    error = q_hat[:, actions] - reference[:, actions]
    return error.mean(), _over(error)


@mutant("02.4", "relative")
def _(q_hat, reference):
    """you divide by the reference. A value may be near zero or negative, so a relative error has no fixed sense,
    not even a sign: keep the difference."""
    error = _error(q_hat, reference)
    return (error / reference.gather(1, q_hat.argmax(1, keepdim=True))[:, 0]).mean(), _over(error)


@mutant("02.4", "size of the overs")
def _(q_hat, reference):
    """the second number is how *large* the positive errors are; asked is how *many* states have one, as a share."""
    error = _error(q_hat, reference)
    return error.mean(), error[error > 0].mean()


@mutant("02.4", "the truth's mean")
def _(q_hat, reference):
    """Q-hat's best action is held against the *mean* of the reference over all actions. Read the reference at that same
    action."""
    error = q_hat.amax(1) - reference.mean(1)
    return error.mean(), _over(error)


@mutant("02.4", "share of all entries")
def _(q_hat, reference):
    """the mean is right, but the share counts all actions. It is one of *states*, each at Q-hat's best action."""
    return _error(q_hat, reference).mean(), _over(q_hat - reference)


@mutant("02.4", "mean of all entries")
def _(q_hat, reference):
    """the share is right, but the mean runs over all actions. It is one over states, each at Q-hat's best action."""
    return (q_hat - reference).mean(), _over(_error(q_hat, reference))


@mutant("02.4", "largest error")
def _(q_hat, reference):
    """in each state you take the action whose *error* is largest. The policy does not know the reference: it takes the
    action that Q-hat rates highest."""
    error = (q_hat - reference).amax(1)
    return error.mean(), _over(error)


@mutant("02.4", "squared")
def _(q_hat, reference):
    """that is the mean *squared* error, in which over and under look alike. Keep the sign: the plain difference."""
    error = _error(q_hat, reference)
    return error.square().mean(), _over(error)


@mutant("02.4", "median")
def _(q_hat, reference):
    """that is the median of the errors. Asked is their mean."""
    error = _error(q_hat, reference)
    return error.median(), _over(error)


# ---------------------------------------------------------------- 02.5
ROLLOUTS = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 2.0, 4.0], [4.0, 2.0, 4.0, 0.0]], dtype=torch.float64)
MORE_ROLLOUTS = torch.tensor(
    [[1.0, -1.0, 0.5], [-4.0, 2.0, -0.5], [-2.0, 0.0, 3.0], [1.5, 1.0, 0.0], [0.5, -3.0, 1.0]], dtype=torch.float64
)


@exercise(
    "02.5",
    title="a value from rollouts, with its interval",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=12,
    examples=(
        Example((ROLLOUTS, 0.5, 4.303), "three rollouts of four steps, discount 0.5, t-quantile 4.303"),
        Example((MORE_ROLLOUTS, 0.9, 2.776), "five rollouts of three steps, discount 0.9", shown=False),
    ),
    hints=(
        "Two stages: one number a rollout (its discounted return), then statistics over the rollouts.",
        "returns = rewards @ (discount to the power 0, 1, 2, ...). The mean is the value; quantile times the standard "
        "deviation over the square root of n is the half width.",
        "returns = rewards @ discount ** torch.arange(rewards.shape[1], dtype=rewards.dtype); return returns.mean(), "
        "quantile * returns.std() / ____",
    ),
    meaning=(
        "A simulated value comes with a half width, and that shrinks with the square root of the number of rollouts."
    ),
    steps=lambda rewards, discount, quantile: {
        "discounted returns": _returns(rewards, discount),
        "their standard deviation": _returns(rewards, discount).std(),
    },
)
def mc_value(rewards, discount, quantile):
    """Mean discounted return of n rollouts and the half width of its interval.

    [n, T], two numbers -> two tensors []
    """
    n, steps = rewards.shape
    returns = rewards @ discount ** torch.arange(steps, dtype=rewards.dtype)
    return returns.mean(), quantile * returns.std() / math.sqrt(n)


def _returns(rewards, discount, first=0):
    return rewards @ discount ** torch.arange(first, first + rewards.shape[1], dtype=rewards.dtype)


def _interval(returns, factor):
    return returns.mean(), factor * returns.std() / math.sqrt(len(returns))


@mutant("02.5", "no root")
def _(rewards, discount, quantile):
    """that is the spread of *single* returns. Their mean is surer: divide the standard deviation by the square
    root of the number of rollouts."""
    returns = _returns(rewards, discount)
    return returns.mean(), quantile * returns.std()


@mutant("02.5", "divided by n")
def _(rewards, discount, quantile):
    """you divide by n. The mean's spread shrinks with its square *root*: four times the rollouts for half the width."""
    returns = _returns(rewards, discount)
    return returns.mean(), quantile * returns.std() / len(rewards)


@mutant("02.5", "ddof 0", seen="numpy's default, ddof=0")
def _(rewards, discount, quantile):
    """the variance is divided by n, not n - 1: too small, most of all for few rollouts. torch's std() has n - 1 by
    default, numpy's has not."""
    returns = _returns(rewards, discount)
    return returns.mean(), quantile * returns.std(correction=0) / math.sqrt(len(rewards))


@mutant("02.5", "no discount", seen="scores are undiscounted returns, critics are discounted: a common pair in plots")
def _(rewards, discount, quantile):
    """the rewards are summed without discount: that is the episode's return, and no value with this discount can
    be held against it."""
    return _interval(rewards.sum(1), quantile)


@mutant("02.5", "from one")
def _(rewards, discount, quantile):
    """the first reward is discounted too: the exponents run from 1. They start at 0, the first step counts in full."""
    return _interval(_returns(rewards, discount, 1), quantile)


@mutant("02.5", "full width")
def _(rewards, discount, quantile):
    """that is the whole width of the interval. The half width is what stands after the ±."""
    returns = _returns(rewards, discount)
    return returns.mean(), 2 * quantile * returns.std() / math.sqrt(len(rewards))


@mutant("02.5", "1.96")
def _(rewards, discount, quantile):
    """1.96 is the quantile for very many rollouts. For three it is 4.3: use the argument."""
    return _interval(_returns(rewards, discount), 1.96)


@mutant("02.5", "variance")
def _(rewards, discount, quantile):
    """the variance has the unit of a squared reward: take the standard deviation."""
    returns = _returns(rewards, discount)
    return returns.mean(), quantile * returns.var() / math.sqrt(len(rewards))


@mutant("02.5", "root of steps")
def _(rewards, discount, quantile):
    """you divide by the root of the number of *steps*. The rollouts are what repeats: rewards.shape[0]."""
    returns = _returns(rewards, discount)
    return returns.mean(), quantile * returns.std() / math.sqrt(rewards.shape[1])


@mutant("02.5", "mean over steps")
def _(rewards, discount, quantile):
    """the discounted rewards are averaged over the steps. A return is their *sum*; only the rollouts are averaged."""
    return _interval(_returns(rewards, discount) / rewards.shape[1], quantile)


@mutant("02.5", "both ends")
def _(rewards, discount, quantile):
    """those are the two ends of the interval, and they are right. Wanted are its middle and its half width, as one
    writes 3 ± 7."""
    returns = _returns(rewards, discount)
    value, half = _interval(returns, quantile)
    return value - half, value + half


@mutant("02.5", "n - 1 twice")
def _(rewards, discount, quantile):
    """std() has n - 1 inside already; the mean of n rollouts is divided by the root of n."""
    returns = _returns(rewards, discount)
    return returns.mean(), quantile * returns.std() / math.sqrt(len(rewards) - 1)


@mutant("02.5", "no quantile")
def _(rewards, discount, quantile):
    """that is the standard error, which holds the truth about two times in three at best. Multiply by `quantile`
    for 95 %."""
    return _interval(_returns(rewards, discount), 1.0)


@mutant("02.5", "same discount")
def _(rewards, discount, quantile):
    """every reward is discounted alike. The reward of step t counts discount to the power t: 1, discount, discount
    squared."""
    return _interval((rewards * discount).sum(1), quantile)


@mutant("02.5", "spread of the rewards")
def _(rewards, discount, quantile):
    """the deviation is that of the single *rewards*. What is averaged are the rollouts' returns: take the deviation of
    those."""
    returns = _returns(rewards, discount)
    return returns.mean(), quantile * rewards.std() / math.sqrt(len(rewards))


@mutant("02.5", "spread of undiscounted returns")
def _(rewards, discount, quantile):
    """the mean is right, but the deviation is that of *undiscounted* returns. Take it of the same discounted
    returns."""
    returns = _returns(rewards, discount)
    return returns.mean(), quantile * rewards.sum(1).std() / math.sqrt(len(rewards))


@mutant("02.5", "powers reversed")
def _(rewards, discount, quantile):
    """the powers run backwards: the *last* reward counts in full. The first one does, and each later one less."""
    return _interval(_returns(rewards.flip(1), discount), quantile)


@mutant("02.5", "product for power")
def _(rewards, discount, quantile):
    """the reward of step t counts discount *times* t. It counts discount to the *power* t: discount ** t."""
    return _interval((rewards * discount * torch.arange(rewards.shape[1], dtype=rewards.dtype)).sum(1), quantile)


@mutant("02.5", "steps alone counted")
def _(rewards, discount, quantile):
    """the root is that of *all* rewards, n times T. Only the rollouts are independent repeats: root of n."""
    returns = _returns(rewards, discount)
    return returns.mean(), quantile * returns.std() / math.sqrt(rewards.numel())


@mutant("02.5", "widest distance")
def _(rewards, discount, quantile):
    """the half width is half the distance of the largest return from the smallest. Wanted is the quantile times the
    standard error."""
    returns = _returns(rewards, discount)
    return returns.mean(), (returns.amax() - returns.amin()) / 2


# ---------------------------------------------------------------- 02.6
@exercise(
    "02.6",
    title="one wrong line",
    kind="read",
    difficulty=3,
    importance=5,
    minutes=8,
    examples=(Example((), "the listing above"),),
    hints=(
        "The listing claims to measure Q-hat minus Q^pi. Ask of each line whose action, or whose value, it has.",
        "Q^pi(s, a): take a, and *then let pi act ever after*. Who acts ever after here?",
        "Line 4 acts by the learned policy, line 7 by ____.",
    ),
    meaning=(
        "The first action alone is the learned policy's: what was computed is Q^beta at its actions, the value of a "
        "policy that nobody has in mind."
    ),
)
def wrong_line():
    """The number of the one line of the listing that must be changed."""
    return 7


@mutant("02.6", "random states")
def _():
    """line 3 draws states that the log holds. One may choose others, but these are fair: the same for both sides of
    the subtraction."""
    return 3


@mutant("02.6", "the policy's action")
def _():
    """line 4 is right: the promise is about what the learned policy would do, so its own action is judged."""
    return 4


@mutant("02.6", "minimum over critics")
def _():
    """line 5 takes the smallest critic: that is the prediction which the actor follows, and a choice that one states.
    It is not a mistake of the truth."""
    return 5


@mutant("02.6", "one step")
def _():
    """line 6 is right: the judged action is taken first, whoever acts afterwards."""
    return 6


@mutant("02.6", "the mask")
def _():
    """line 8 is right: one reward, plus the discounted rest, and no rest where the episode has ended."""
    return 8


@mutant("02.6", "sign")
def _():
    """line 9 has the course's sign: prediction minus truth, so that above 0 is over."""
    return 9


@mutant("02.6", "interval")
def _():
    """line 10 is right: the states are drawn independently, so the mean of their errors has a t-interval."""
    return 10


@mutant("02.6", "the header")
def _():
    """lines 1 and 2 only say that no gradient is needed and what comes in."""
    return 2


# ---------------------------------------------------------------- 02.7
def lottery(rollouts, steps, seed):
    """Rewards ``[rollouts, steps]`` of a task that costs 0.1 a step and ends, one step in eight, with +10 or -10."""
    draw = torch.Generator().manual_seed(seed)
    ends = torch.rand(rollouts, steps, generator=draw, dtype=torch.float64) < 0.125
    prizes = torch.where(torch.rand(rollouts, steps, generator=draw, dtype=torch.float64) < 0.7, 10.0, -10.0)
    ended_before = ends.long().cumsum(1) - ends.long() > 0
    return torch.where(ends, prizes.double(), -0.1).masked_fill(ended_before, 0.0)


FRESH = (20_000, 150)  # rollouts and steps that measure how far returns scatter: a plan's own few would judge by luck


@functools.cache
def _fresh():
    return lottery(*FRESH, seed=1)


def _fresh_deviation(steps, discount):
    """The standard deviation of the discounted return of ``steps`` steps; by the last of `FRESH` all have ended."""
    return _deviation(_fresh()[:, :steps], discount)


def _slip_in_a_plan(rollouts, left, pilot, discount, wanted):
    """Which wrong formula gives so many rollouts, if what is left for chance after the tail is ``left``."""
    deviation = _deviation(pilot, discount)
    z = 1.96 * deviation / left
    slips = {
        "": z**2,
        "with the variance in place of the standard deviation": (z * deviation) ** 2,
        "without the square": z,
        "with the deviation of undiscounted returns": (z * float(pilot.sum(1).std()) / deviation) ** 2,
        "with the deviation of the single rewards": (z * float(pilot.std()) / deviation) ** 2,
        "without the 1.96": (z / 1.96) ** 2,
        "for the whole width in place of the half": 4 * z**2,
    }
    fits = [words for words, number in slips.items() if abs(rollouts / number - 1) < 0.12]
    if fits:
        return f" So many rollouts come out {fits[0]}." if len(fits) == 1 and fits[0] else ""
    tail, wanted_tail = wanted - left, wanted - 1.96 * deviation / math.sqrt(rollouts)
    if wanted_tail < 0.05 * wanted or abs(wanted_tail - tail) < 0.05 * wanted:
        return ""
    return f" So many rollouts leave {wanted_tail:.2f} to the tail, which holds {tail:.2f}: bound * discount**steps."


def judge_plan(answer, pilot, discount, bound, wanted):
    """The plan's half width and bound on the cut tail against what was wanted, and its cost.

    How far returns scatter is measured on `FRESH` fresh rollouts, the same for each plan.
    """
    try:
        rollouts, steps = (int(number) for number in answer)
        given = [float(number) for number in answer]
    except (TypeError, ValueError, OverflowError):
        return "two whole numbers are wanted: how many rollouts, and how many steps each."
    if given != [rollouts, steps]:
        return f"two whole numbers are wanted, yours are {given[0]:.4g} and {given[1]:.4g}: round both up (math.ceil)."
    if rollouts < 2 or steps < 1:
        return "an interval needs two rollouts or more, of one step or more."
    if rollouts * steps > 2_000_000:
        return f"{rollouts:,} rollouts of {steps} steps are {rollouts * steps:,} steps: more than anybody would pay."
    if steps > 5_000:
        return f"{steps:,} steps: what follows after so many counts nothing any more."
    deviation = _fresh_deviation(steps, discount)
    half, tail = 1.96 * deviation / math.sqrt(rollouts), bound * discount**steps
    measured = (
        f"{rollouts:,} rollouts of {steps} steps: half width {half:.2f}, as the returns of fresh rollouts scatter "
        f"({deviation:.2f}), and the tail may hold {tail:.2f}"
    )
    if half + tail > 1.1 * wanted:
        larger = "The tail alone is" if tail > half else "Chance alone is"
        mend = "more steps" if tail > half else "more rollouts"
        within = max(half, tail) <= 1.1 * wanted
        why = "Each is within that, but not their sum." if within else f"{larger} too much: {mend}."
        slip = _slip_in_a_plan(rollouts, wanted - tail, pilot, discount, wanted) if tail < wanted else ""
        return f"{measured}, together {half + tail:.2f}. Wanted was {wanted:g}. {why}{slip}"
    best = math.prod(plan(pilot, discount, bound, wanted))
    if rollouts * steps > 1.5 * best:
        narrow = half + tail < 0.8 * wanted
        if narrow:
            why = f"It is narrower than the {wanted:g} that was wanted: fewer rollouts would do."
        elif tail < 0.05 * wanted:
            why = "Hardly anything is left to the tail: cut earlier, and pay for it with some more rollouts."
        else:
            why = "Chance and the tail share what is wanted in another way in the cheapest plan: try every cut."
        slip = _slip_in_a_plan(rollouts, wanted - tail, pilot, discount, wanted)
        return f"{measured}: good enough, but {rollouts * steps:,} steps in all, and {best:,} would do. {why}{slip}"
    return None


@exercise(
    "02.7",
    title="plan a simulation",
    kind="design",
    difficulty=4,
    importance=4,
    minutes=15,
    examples=(
        Example((lottery(200, 60, seed=0), 0.9, 10.0, 0.5), "200 pilot rollouts, discount 0.9, bound 10, wanted ± 0.5"),
        Example((lottery(200, 60, seed=0), 0.8, 10.0, 1.0), "discount 0.8, wanted ± 1", shown=False),
    ),
    hints=(
        "Two things share what is wanted: chance, which rollouts buy off, and the cut tail, which steps buy off.",
        "For T steps the tail takes bound * discount**T; the rest is left for 1.96 * deviation / root n. Solve for n, "
        "for each T, and take the T whose n * T is smallest. The deviation is that of the pilot's discounted returns.",
        "left = wanted - bound * discount**steps; rollouts = math.ceil((1.96 * deviation / left) ** ____)",
    ),
    meaning="Held against the scatter of 20,000 fresh rollouts: as narrow as wanted, and no plan is much cheaper.",
    judge=judge_plan,
)
def plan(pilot, discount, bound, wanted):
    """How many rollouts, of how many steps, give a value ± wanted, cut tail included, with the fewest steps in all.

    pilot [m, T], rewards of m rollouts, 0 after their end; no value is beyond ± bound -> two whole numbers
    """
    deviation = float((pilot @ discount ** torch.arange(pilot.shape[1], dtype=pilot.dtype)).std())
    plans = []
    for steps in range(1, 1000):
        left = wanted - bound * discount**steps
        if left > 0:
            rollouts = math.ceil((1.96 * deviation / left) ** 2)
            plans.append((rollouts * steps, rollouts, steps))
    return min(plans)[1:]


def _deviation(pilot, discount):
    return float(_returns(pilot, discount).std())


def _cheapest(left_after, rollouts_for):
    """The cheapest of the plans whose tail leaves something for chance."""
    plans = [
        (rollouts_for(left_after(t)) * t, rollouts_for(left_after(t)), t) for t in range(1, 1000) if left_after(t) > 0
    ]
    return min(plans)[1:]


@mutant("02.7", "no tail")
def _(pilot, discount, bound, wanted):
    """the cut tail is forgotten, so one step a rollout looks cheapest: exact about next to nothing."""
    return _cheapest(lambda t: wanted, lambda left: math.ceil((1.96 * _deviation(pilot, discount) / left) ** 2))


@mutant("02.7", "no square")
def _(pilot, discount, bound, wanted):
    """the half width falls with the *root* of the rollouts, so their number is a square:
    (1.96 * deviation / left)**2."""
    tail = lambda t: wanted - bound * discount**t  # noqa: E731
    return _cheapest(tail, lambda left: math.ceil(1.96 * _deviation(pilot, discount) / left))


@mutant("02.7", "full width")
def _(pilot, discount, bound, wanted):
    """the plan is for a *whole* width of what was wanted: four times the rollouts. What stands after the ± is half."""
    tail = lambda t: wanted - bound * discount**t  # noqa: E731
    return _cheapest(tail, lambda left: math.ceil((3.92 * _deviation(pilot, discount) / left) ** 2))


@mutant("02.7", "the other way round")
def _(pilot, discount, bound, wanted):
    """the two numbers are exchanged: rollouts first, then steps."""
    return tuple(reversed(plan(pilot, discount, bound, wanted)))


@mutant("02.7", "no 1.96")
def _(pilot, discount, bound, wanted):
    """that is one standard error, which holds the truth two times in three. For 95 % multiply by 1.96."""
    tail = lambda t: wanted - bound * discount**t  # noqa: E731
    return _cheapest(tail, lambda left: math.ceil((_deviation(pilot, discount) / left) ** 2))


@mutant("02.7", "undiscounted pilot")
def _(pilot, discount, bound, wanted):
    """the deviation is that of *undiscounted* returns. The value is discounted, and its samples scatter less."""
    tail = lambda t: wanted - bound * discount**t  # noqa: E731
    return _cheapest(tail, lambda left: math.ceil((1.96 * float(pilot.sum(1).std()) / left) ** 2))


@mutant("02.7", "to the end")
def _(pilot, discount, bound, wanted):
    """that plays each rollout as long as the pilot's. Later steps hardly count: cut earlier, and pay for the tail."""
    steps = pilot.shape[1]
    return math.ceil((1.96 * _deviation(pilot, discount) / (wanted - bound * discount**steps)) ** 2), steps


@mutant("02.7", "variance")
def _(pilot, discount, bound, wanted):
    """the *variance* stands where the standard deviation belongs: rollouts = (1.96 * deviation / left)**2."""
    tail = lambda t: wanted - bound * discount**t  # noqa: E731
    return _cheapest(tail, lambda left: math.ceil((1.96 * _deviation(pilot, discount) ** 2 / left) ** 2))


@mutant("02.7", "spread of the rewards")
def _(pilot, discount, bound, wanted):
    """the deviation is that of the single *rewards*. The rollouts' discounted returns scatter far more: take theirs."""
    tail = lambda t: wanted - bound * discount**t  # noqa: E731
    return _cheapest(tail, lambda left: math.ceil((1.96 * float(pilot.std()) / left) ** 2))


@mutant("02.7", "half to each")
def _(pilot, discount, bound, wanted):
    """half of what is wanted goes to the tail and half to chance. A longer rollout is cheap, for the tail falls as a
    power of the discount, and a narrower interval dear: try every number of steps."""
    steps = math.ceil(math.log(wanted / 2 / bound) / math.log(discount))
    return math.ceil((1.96 * _deviation(pilot, discount) / (wanted / 2)) ** 2), steps


@mutant("02.7", "each within what is wanted")
def _(pilot, discount, bound, wanted):
    """chance and the tail each keep within what is wanted, and so their sum does not: what one takes is lost to the
    other."""
    steps = math.ceil(math.log(wanted / bound) / math.log(discount))
    return math.ceil((1.96 * _deviation(pilot, discount) / wanted) ** 2), steps


# ---------------------------------------------------------------- predictions
prediction(
    "02.p1",
    "At the hut, go home (+2.5 and the end) or climb (-0.5, then the ridge). Which first action has the higher value?",
    answer="c",
    a=(
        "go home, since that reward is larger and comes at once",
        "True if a coin decides on the ridge, where half of the time you turn back; untrue if the best action is "
        "taken there.",
    ),
    b=(
        "climb, since seven at the summit outweighs two and a half",
        "True if the best action is taken on the ridge; untrue if a coin decides there.",
    ),
    c=(
        "no answer before the policy on the ridge is named",
        "The value of an action includes everything that the policy does afterwards.",
    ),
)

prediction(
    "02.p2",
    "Start from the random walk on the cliff (57 states that go on). Solve for its Q, act greedily on it, solve "
    "again, and so on. After how many improvements does nothing change any more?",
    answer="a",
    a=(
        "fewer than ten",
        "Each round is greedy on *exact* values, so good news crosses the whole grid within one solve; a handful of "
        "rounds is typical.",
    ),
    b=(
        "about as many as there are states",
        "Value iteration carries news one step a sweep; an exact solve carries it across the grid at once.",
    ),
    c=("hundreds", "That many one-step *backups* are needed for many digits; a solve is all of them at once."),
)

prediction(
    "02.p3",
    "A critic has learned the optimal Q* without any error. A colleague holds it against the discounted returns in "
    "the log. What will she report?",
    answer="b",
    a=(
        "no estimation error",
        "The returns are those of the policy that made the log, not of the policy that the critic describes.",
    ),
    b=(
        "massive over-estimation",
        "Q* lies above Q^beta at every pair: that distance is what could be *gained*, not an error.",
    ),
    c=(
        "errors of both signs that cancel on average",
        "Q* lies above the value of every policy, at every pair: all signs are the same.",
    ),
)

prediction(
    "02.p4",
    "Three rollouts, and a 95 % interval from the bootstrap: resample them many times, take the middle 95 % of the "
    "means. How often does it hold the true value?",
    answer="c",
    a=(
        "about 95 times in 100, as it says",
        "It would with many rollouts. With three, the interval can never reach beyond the smallest and the largest of "
        "them.",
    ),
    b=("about 85 to 90 times in 100", "Still too hopeful: three rollouts all lie on one side of the truth too often."),
    c=(
        "at most about 75 times in 100",
        "It lies within the smallest and the largest of the three; for symmetric returns all three fall on one side "
        "one time in four.",
    ),
)


# ---------------------------------------------------------------- quiz
quiz_question(
    "02.a",
    "A paper plots the critic's mean Q for its own actions beside the mean discounted return of the data set, and "
    "calls the distance over-estimation. What would make it so?",
    answer="c",
    a=(
        "a larger data set, so that the mean return is known as well as the mean Q",
        "More data measure Q^beta better. It remains the value of another policy.",
    ),
    b=(
        "the maximum over actions on both sides",
        "The log's maximum is still of Q^beta: the log's policy goes on afterwards.",
    ),
    c=(
        "the learned policy's own return from the same states",
        "Q-hat of the learned policy is held against Q^pi of that policy: then a distance is an error.",
    ),
)

quiz_question(
    "02.b",
    "Twenty rollouts give a half width of 0.8. You want 0.2. How many rollouts is that in all, about?",
    answer="a",
    a=("320", "A quarter of the width costs sixteen times the rollouts."),
    b=("80", "Four times the rollouts halve it, to 0.4."),
    c=("40", "Twice the rollouts narrow the interval by the root of two, to 0.57."),
)

quiz_question(
    "02.c",
    "A policy falls off the cliff in about one episode in thirty. Twenty rollouts all reach the goal, and the 95 % "
    "t-interval is very narrow. What do you make of it?",
    answer="b",
    a=(
        "a precise value: the interval is narrow",
        "Its width comes from what was seen. What was not seen is in neither the mean nor the width.",
    ),
    b=(
        "probably too high, and too sure",
        "The rare fall is missing from the mean, which is too high, and from the spread, which is too small.",
    ),
    c=(
        "probably too low, as intervals err on the safe side",
        "Nothing in the formula knows a safe side: it knows only the twenty returns.",
    ),
)
