"""Exercises of chapter 04, the conservative penalty: on tables of Q-values, ``[states, actions]``.

The examples are in general position: values of both signs, a state count of its own, rows without ties, and values of a
thousand wherever an exponential occurs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checker import Example
from ..registry import EXERCISES, exercise, mutant, prediction, quiz_question
from ..studies.ch04 import judge_alpha


def _numbers(values: object) -> Tensor:
    """In float64, as the notebook's own tensors are: it sets that default only after this module is imported."""
    return torch.tensor(values, dtype=torch.float64)


Q = _numbers([[1.0, 2.0, 3.0], [-0.5, 0.75, -2.0]])
ACTIONS = torch.tensor([0, 1])
WIDE = _numbers([[0.5, -1.0, 2.0, 0.25], [3.0, 1.0, -2.0, 0.5], [1.0, 1.75, -0.25, -0.5]])
WIDE_ACTIONS = torch.tensor([2, 1, 3])
LARGE = _numbers([[1000.0, 998.0, 999.0], [-1001.0, -999.5, -1000.0]])
LARGE_ACTIONS = torch.tensor([2, 0])
LARGE_THREE = _numbers([[1000.0, 998.0, 999.0], [-1001.0, -999.5, -1000.0], [40.0, 41.0, 38.5]])
APART = _numbers([[800.0, 2.0, 1.5], [-0.5, 0.25, -900.0]])
UNLOGGED_BEST = _numbers([[1000.0, 998.0, 999.0], [-1001.0, -960.0, -1000.0]])  # the action with rho 0 leads
UNLOGGED_FAR = _numbers([[1.5, -0.5, 2.0], [-1001.0, 0.0, -1000.0]])  # it leads so far that exp of the others is 0
WIDE_TARGETS = _numbers([1.25, 2.0, -1.5])
RHO = _numbers([[0.5, 0.3, 0.2], [0.1, 0.0, 0.9]])
WIDE_RHO = _numbers([[0.4, 0.3, 0.2, 0.1], [0.25, 0.0, 0.25, 0.5], [0.1, 0.2, 0.65, 0.05]])


# ---------------------------------------------------------------- 04.1
def _steps_04_1(q: Tensor) -> dict[str, Tensor]:
    mu = torch.softmax(q, 1)
    return {"the best mu has the mean Q": (mu * q).sum(1), "and the entropy": torch.special.entr(mu).sum(1)}


@exercise(
    "04.1",
    title="the most an adversary can reach",
    kind="derive",
    difficulty=4,
    importance=5,
    minutes=12,
    examples=(
        Example((Q,), "two states, three actions"),
        Example((LARGE,), "values of a thousand"),
        Example((APART,), "values so far apart that the smaller shares of mu are rounded to 0"),
        Example((WIDE,), "three states, four actions", shown=False),
    ),
    hints=(
        "Write a Lagrangian: the sum over actions of mu Q - mu log mu, plus a multiplier times (sum of mu - 1), and "
        "set its derivative with respect to mu(a) to zero.",
        "Q(a) - log mu(a) - 1 + multiplier = 0, so mu is e^Q up to a factor, which the sum fixes. Put that mu back "
        "into the objective: most of it cancels. And mind exp(1000).",
        "return torch.____(q, dim=1)",
    ),
    meaning="One number a state, a little above the largest Q: by at most the logarithm of the number of actions.",
    steps=_steps_04_1,
)
def adversary_value(q):
    """The largest value of E_mu[Q] + H(mu) over all distributions mu, for each state: [states, actions] -> [states].

    H(mu) = - sum_a mu(a) log mu(a), natural logarithm.
    """
    top = q.amax(dim=1, keepdim=True)
    return (q - top).exp().sum(dim=1).log() + top.squeeze(1)


@mutant("04.1", "hard maximum")
def _(q):
    """that is what mu reaches if it puts everything on one action: the largest Q, with entropy 0. Giving up a little of
    Q buys more entropy."""
    return q.amax(1)


@mutant("04.1", "mean")
def _(q):
    """that is E_mu[Q] of the uniform mu. Its entropy is missing, and the uniform mu is not the best either."""
    return q.mean(1)


@mutant("04.1", "uniform mu")
def _(q):
    """that is what the *uniform* mu reaches: all the entropy there is, and an average Q. Something between it and the
    largest Q does better."""
    return q.mean(1) + torch.tensor(float(q.shape[1])).log()


@mutant("04.1", "best of both")
def _(q):
    """the largest Q plus the largest entropy: no single mu has both. It is an upper bound; the best mu lies below."""
    return q.amax(1) + torch.tensor(float(q.shape[1])).log()


@mutant("04.1", "better of two")
def _(q):
    """the better of two candidates, all on one action and the uniform mu. Between them lies one that beats both."""
    return torch.maximum(q.amax(1), q.mean(1) + torch.tensor(float(q.shape[1])).log())


@mutant("04.1", "over states")
def _(q):
    """you sum over the states (axis 0). Each state has its own mu: sum over the actions, axis 1."""
    return torch.logsumexp(q, 0)


@mutant("04.1", "over everything")
def _(q):
    """one mu over states and actions together. Each state has its own: one number a state."""
    return torch.logsumexp(q, (0, 1)).expand(len(q))


@mutant("04.1", "no logarithm")
def _(q):
    """that is the factor that normalises mu. Put mu back into the objective: it is the *logarithm* of that factor which
    stays."""
    return q.exp().sum(1)


@mutant("04.1", "mean of exp")
def _(q):
    """you average exp Q over the actions: that is the maximum with minus KL(mu || uniform) in the place of the entropy,
    lower by the log of the number of actions."""
    return torch.logsumexp(q, 1) - torch.tensor(float(q.shape[1])).log()


@mutant("04.1", "entropy forgotten")
def _(q):
    """the mu is right, and this is its mean Q. Its entropy is missing."""
    return (torch.softmax(q, 1) * q).sum(1)


@mutant("04.1", "entropy alone")
def _(q):
    """the mu is right, and this is its entropy. Its mean Q is missing."""
    return torch.special.entr(torch.softmax(q, 1)).sum(1)


@mutant("04.1", "entropy subtracted")
def _(q):
    """the mu is right, but its entropy is subtracted: H is *minus* the sum of mu log mu."""
    mu = torch.softmax(q, 1)
    return (mu * q - torch.special.entr(mu)).sum(1)


@mutant("04.1", "zero times its logarithm")
def _(q):
    """the mu is right and so is the idea, but a share that is rounded to 0 makes 0 times log 0, which is nan. It is 0:
    torch.special.entr(mu) is -mu log mu with that case in it; or put mu into the objective on paper, and no share is
    left in it."""
    mu = torch.softmax(q, 1)
    return (mu * q - mu * mu.log()).sum(1)


@mutant("04.1", "entropy in bits")
def _(q):
    """the mu is right, but its entropy is in bits: a logarithm to base 2. H has the natural logarithm."""
    mu = torch.softmax(q, 1)
    return (mu * q + torch.special.entr(mu) / torch.tensor(2.0).log()).sum(1)


@mutant("04.1", "mu over the states")
def _(q):
    """your mu sums to one over the *states* (axis 0). Each state has a mu of its own, over its actions: axis 1."""
    mu = torch.softmax(q, 0)
    return (mu * q + torch.special.entr(mu)).sum(1)


@mutant("04.1", "mu in proportion to Q")
def _(q):
    """your mu is in proportion to Q itself: with a negative Q that is no distribution, and its logarithm is nan. The
    derivation gives mu in proportion to *exp* Q."""
    mu = q / q.sum(1, keepdim=True)
    return (mu * q - mu * mu.log()).sum(1)


@mutant("04.1", "entropy averaged")
def _(q):
    """the entropy is averaged over the actions in place of summed: H is a sum."""
    mu = torch.softmax(q, 1)
    return (mu * q).sum(1) + torch.special.entr(mu).mean(1)


@mutant("04.1", "entropy twice as dear")
def _(q):
    """the entropy counts twice in yours, as with softmax(Q / 2). It is added once, as it is."""
    return 2 * torch.logsumexp(q / 2, 1)


@mutant("04.1", "one too low")
def _(q):
    """you went on with Q - 1 from the derivative. The 1 cancels when mu is made to sum to one: put mu back, and no 1 is
    left."""
    return torch.logsumexp(q, 1) - 1


@mutant("04.1", "first two actions")
def _(q):
    """only the first two actions count in yours, as in the example by hand. mu may take any of them."""
    return torch.logaddexp(q[:, 0], q[:, 1])


@mutant("04.1", "log of each")
def _(q):
    """the logarithm undoes exp one entry at a time. Sum first, then one logarithm a state."""
    return q.exp().log().sum(1)


@mutant("04.1", "not added back")
def _(q):
    """the largest value of each row was taken out before exp and not added back after the logarithm."""
    return (q - q.amax(1, keepdim=True)).exp().sum(1).log()


@mutant("04.1", "added back inside")
def _(q):
    """the largest value of each row was taken out before exp and added back *inside* the logarithm. It comes back after
    it."""
    top = q.amax(1, keepdim=True)
    return ((q - top).exp().sum(1) + top[:, 0]).log()


@mutant("04.1", "logarithm to base 2")
def _(q):
    """that is the logarithm to base 2. exp is undone by the natural one, torch.log."""
    return q.exp().sum(1).log2()


@mutant("04.1", "logarithm to base 10")
def _(q):
    """that is the logarithm to base 10. exp is undone by the natural one, torch.log."""
    return q.exp().sum(1).log10()


@mutant("04.1", "log-softmax")
def _(q):
    """log_softmax gives the logarithm of the best mu. Here one number a state is wanted, what that mu reaches."""
    return torch.log_softmax(q, 1)


@mutant("04.1", "softmax")
def _(q):
    """that is the best mu itself, one number an action. Asked is what it reaches: put it into E_mu[Q] + H(mu)."""
    return torch.softmax(q, 1)


@mutant("04.1", "overflow", seen="the reason why torch.logsumexp exists")
def _(q):
    """right for small numbers, but exp(1000) overflows to inf. Take the largest value of each row out first, and
    add it at the end (or use torch.logsumexp)."""
    return q.exp().sum(1).log()


@mutant("04.1", "twice Q")
def _(q):
    """that is the best value if the entropy counts half: mu in proportion to exp(2 Q). Look at the derivative of
    mu log mu again: it is log mu + 1."""
    return 0.5 * torch.logsumexp(2 * q, 1)


@mutant("04.1", "one more")
def _(q):
    """there is a 1 too much inside the logarithm: log(1 + sum of exp Q) has one action more, of value 0."""
    return torch.nn.functional.pad(q, (0, 1)).logsumexp(1)


@mutant("04.1", "softplus")
def _(q):
    """those are logarithms of 1 + exp Q, one for each action, added up. The sum over the actions stands *inside* one
    logarithm: log of the sum of exp Q."""
    return F.softplus(q).sum(1)


for _name, _base in (("10", 10.0), ("2", 2.0)):

    @mutant("04.1", f"log{_name}", message=f"the logarithm is to base {_name}. The entropy's is the natural one.")
    def _(q, base=_base):
        return (q - q.amax(1, keepdim=True)).exp().sum(1).log() / torch.tensor(base).to(q.dtype).log() + q.amax(1)


# ---------------------------------------------------------------- 04.2
def _steps_04_2(q: Tensor, actions: Tensor) -> dict[str, Tensor]:
    return {"what the adversary reaches": torch.logsumexp(q, 1), "the logged values": _logged(q, actions)}


@exercise(
    "04.2",
    title="the penalty",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=12,
    tolerance=1e-5,
    gradients=("q",),
    examples=(
        Example((Q, ACTIONS), "two states, three actions, the logged action of each"),
        Example((LARGE, LARGE_ACTIONS), "values of a thousand"),
        Example((WIDE, WIDE_ACTIONS), "three states, four actions", shown=False),
    ),
    hints=(
        "Two parts for each state: what the adversary reaches (04.1), and the Q of the logged action.",
        "The first part minus the second (gather, or an index with arange, picks one entry a row); then the mean over "
        "the states.",
        "logged = q.gather(1, actions[:, None]).squeeze(1); return (torch.logsumexp(q, dim=1) - ____).mean()",
    ),
    meaning="The penalty is never negative on a table: what the adversary reaches lies above every entry.",
    steps=_steps_04_2,
)
def penalty(q, actions):
    """Mean over states of what the adversary reaches minus the logged action's value.

    q [states, actions], actions [states] -> []
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


@mutant("04.2", "mean in place of the log-sum-exp")
def _(q, actions):
    """the plain mean of Q pushes all actions down alike, the overrated no more than the others."""
    return (q.mean(1) - _logged(q, actions)).mean()


@mutant("04.2", "mean of exp")
def _(q, actions):
    """exp Q is averaged over the actions in place of summed: the penalty lies lower by the log of their number. The
    gradient is the same; the number is not, and it may become negative."""
    return (torch.logsumexp(q, 1) - torch.tensor(float(q.shape[1])).log() - _logged(q, actions)).mean()


@mutant("04.2", "no logged action")
def _(q, actions):
    """the logged action is missing. Without its pull every value sinks, those the data vouch for as well."""
    return torch.logsumexp(q, 1).mean()


@mutant("04.2", "sign")
def _(q, actions):
    """the sign is turned: minimising this *raises* the actions nobody tried. What the adversary reaches, minus the
    logged value."""
    return (_logged(q, actions) - torch.logsumexp(q, 1)).mean()


@mutant("04.2", "added")
def _(q, actions):
    """the logged value is added: minimising this pushes down what the log did. Subtract it."""
    return (_logged(q, actions) + torch.logsumexp(q, 1)).mean()


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
    """a sum over the states grows with the batch size, and cql_alpha would have to follow. Take the mean."""
    return (torch.logsumexp(q, 1) - _logged(q, actions)).sum()


@mutant("04.2", "half a mean")
def _(q, actions):
    """one of the two parts is a mean over the states and the other a sum: the logged values are summed. Both are
    means."""
    return torch.logsumexp(q, 1).mean() - _logged(q, actions).sum()


@mutant("04.2", "half a sum")
def _(q, actions):
    """one of the two parts is a mean over the states and the other a sum: the log-sum-exps are summed. Both are
    means."""
    return torch.logsumexp(q, 1).sum() - _logged(q, actions).mean()


@mutant("04.2", "logged value twice")
def _(q, actions):
    """the logged value is subtracted twice. It is subtracted once: one push and one pull in each state."""
    return (torch.logsumexp(q, 1) - 2 * _logged(q, actions)).mean()


@mutant("04.2", "log-sum-exp twice")
def _(q, actions):
    """what the adversary reaches counts twice. It counts once: one push and one pull in each state."""
    return (2 * torch.logsumexp(q, 1) - _logged(q, actions)).mean()


@mutant("04.2", "divided by the actions")
def _(q, actions):
    """you divide by the number of actions. The mean is over the *states*."""
    return (torch.logsumexp(q, 1) - _logged(q, actions)).sum() / q.shape[1]


@mutant("04.2", "divided by all entries")
def _(q, actions):
    """you divide by the number of all entries. The mean is over the *states* alone."""
    return (torch.logsumexp(q, 1) - _logged(q, actions)).sum() / q.numel()


@mutant("04.2", "every listed action")
def _(q, actions):
    """q[:, actions] picks *every* listed action in each state. Each state has one logged action: gather, or
    q[torch.arange(len(q)), actions]."""
    return (torch.logsumexp(q, 1) - q[:, actions].mean(1)).mean()


@mutant("04.2", "index as value")
def _(q, actions):
    """you subtract the *number* of the logged action, not its value."""
    return (torch.logsumexp(q, 1) - actions.to(q.dtype)).mean()


@mutant("04.2", "never negative by force")
def _(q, actions):
    """you compare each state's log-sum-exp with its *largest* value. The log's own action is the measure."""
    return (torch.logsumexp(q, 1) - q.amax(1)).mean()


@mutant("04.2", "data action outside", seen="asked in og-marl issue 8")
def _(q, actions):
    """you left the logged action out of the logsumexp. It is one of the actions, so it belongs inside: only then
    is the penalty never negative."""
    others = q.masked_fill(F.one_hot(actions, q.shape[1]).bool(), -torch.inf)
    return (torch.logsumexp(others, 1) - _logged(q, actions)).mean()


@mutant("04.2", "weighted mean")
def _(q, actions):
    """you push down the mean of Q under its softmax. That forgets the entropy: what the adversary reaches is the
    log-sum-exp, and its gradient is the softmax."""
    return ((torch.softmax(q, 1) * q).sum(1) - _logged(q, actions)).mean()


@mutant("04.2", "weighted mean, weights detached")
def _(q, actions):
    """you push down the mean of Q under its softmax, whose weights are detached. The gradient is right by that, the
    value is not: the entropy of the softmax is missing. What the adversary reaches is the log-sum-exp."""
    return ((torch.softmax(q, 1).detach() * q).sum(1) - _logged(q, actions)).mean()


@mutant("04.2", "squared")
def _(q, actions):
    """the difference is squared. It is never negative anyway; as it stands, its gradient is push minus pull."""
    return (torch.logsumexp(q, 1) - _logged(q, actions)).square().mean()


@mutant("04.2", "probability")
def _(q, actions):
    """that is minus the mean *probability* of the logged actions under softmax(Q). The penalty is minus the mean of
    its logarithm."""
    return -torch.softmax(q, 1).gather(1, actions[:, None]).mean()


@mutant("04.2", "probability in place of Q")
def _(q, actions):
    """you subtract the *probability* of the logged action under softmax(Q). Subtract its Q."""
    return (torch.logsumexp(q, 1) - _logged(torch.softmax(q, 1), actions)).mean()


@mutant("04.2", "softmax twice")
def _(q, actions):
    """the softmax is taken twice: F.cross_entropy and log_softmax hold one already. Give them Q itself."""
    return F.cross_entropy(torch.softmax(q, 1), actions)


@mutant("04.2", "binary cross-entropy")
def _(q, actions):
    """that is the *binary* cross-entropy, a yes or no for each action by itself, averaged over all entries. The actions
    of a state share one softmax: F.cross_entropy."""
    return F.binary_cross_entropy(torch.softmax(q, 1), F.one_hot(actions, q.shape[1]).to(q.dtype))


@mutant("04.2", "largest of the states")
def _(q, actions):
    """you take the largest log-sum-exp of all states. One number a state, and the mean of them."""
    return torch.logsumexp(q, 1).amax() - _logged(q, actions).mean()


@mutant("04.2", "push detached")
def _(q, actions):
    """the value is right, but the log-sum-exp is detached: nothing is pushed down, and descent raises the logged
    actions without end."""
    return (torch.logsumexp(q, 1).detach() - _logged(q, actions)).mean()


@mutant("04.2", "pull detached")
def _(q, actions):
    """the value is right, but the logged value is detached: nothing is pulled up, and every value sinks."""
    return (torch.logsumexp(q, 1) - _logged(q, actions).detach()).mean()


@mutant("04.2", "no gradient")
def _(q, actions):
    """the value is right, but no gradient reaches q: is there a detach, item, float or no_grad too many? A loss that
    moves nothing teaches nothing."""
    return (torch.logsumexp(q, 1) - _logged(q, actions)).mean().detach()


@mutant("04.2", "overflow")
def _(q, actions):
    """right for small numbers, but exp(1000) overflows, as in 04.1. Use your answer to 04.1, or torch.logsumexp."""
    return (q.exp().sum(1).log() - _logged(q, actions)).mean()


# ---------------------------------------------------------------- 04.3
def _steps_04_3(q: Tensor, actions: Tensor) -> dict[str, Tensor]:
    shares = torch.softmax(q, 1)
    return {"the shares of the push": shares, "less the pull": shares - F.one_hot(actions, q.shape[1])}


@exercise(
    "04.3",
    title="what it pushes, and how hard",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=12,
    examples=(
        Example((Q, ACTIONS), "two states, three actions, the logged action of each"),
        Example((LARGE_THREE, torch.tensor([2, 0, 1])), "three states, values of a thousand"),
        Example((WIDE, WIDE_ACTIONS), "three states, four actions", shown=False),
    ),
    hints=(
        "Differentiate the two halves one at a time. The second has a single non-zero entry a state.",
        "For each row: the share that each action has in the sum of exp Q, minus one at the logged action; all of it "
        "divided by the number of rows.",
        "return (torch.softmax(q, dim=1) - F.one_hot(____, q.shape[1])) / ____",
    ),
    meaning="Each row sums to zero: what is pushed down on some actions is pushed up on the logged one.",
    steps=_steps_04_3,
)
def penalty_gradient(q, actions):
    """The gradient of the penalty, one number for each entry of Q, written out without autograd.

    q [states, actions], actions [states] -> [states, actions]
    """
    return (torch.softmax(q, dim=1) - F.one_hot(actions, q.shape[1])) / q.shape[0]


def _gradient(q: Tensor, actions: Tensor) -> Tensor:
    return torch.softmax(q, 1) - F.one_hot(actions, q.shape[1])


@mutant("04.3", "no mean")
def _(q, actions):
    """the penalty is a mean over states, so each state's share carries 1 / (number of states)."""
    return _gradient(q, actions)


@mutant("04.3", "no data term")
def _(q, actions):
    """that is the log-sum-exp's part alone: everything is pushed down. The logged action's -Q(s, a) adds -1 at
    that entry."""
    return torch.softmax(q, 1) / len(q)


@mutant("04.3", "sign")
def _(q, actions):
    """the sign is turned: this is the direction of *descent*. The gradient is softmax minus one-hot."""
    return -_gradient(q, actions) / len(q)


@mutant("04.3", "over states")
def _(q, actions):
    """the softmax runs over the states (axis 0). The actions of one state share its push: axis 1."""
    return (torch.softmax(q, 0) - F.one_hot(actions, q.shape[1])) / len(q)


@mutant("04.3", "over everything")
def _(q, actions):
    """one softmax over states and actions together: the state with the largest values takes all the push. Each state
    shares out a push of its own."""
    return (torch.softmax(q.flatten(), 0).view_as(q) - F.one_hot(actions, q.shape[1])) / len(q)


@mutant("04.3", "one-hot of the maximum")
def _(q, actions):
    """that is the gradient of the *hard* maximum. logsumexp shares the push: softmax."""
    return (F.one_hot(q.argmax(1), q.shape[1]) - F.one_hot(actions, q.shape[1])) / len(q)


@mutant("04.3", "divided by the actions")
def _(q, actions):
    """you divide by the number of actions. The penalty is a mean over *states*: divide by the number of rows."""
    return _gradient(q, actions) / q.shape[1]


@mutant("04.3", "divided by two")
def _(q, actions):
    """you divide by 2, as many states as the small example has. Divide by the number of rows: len(q)."""
    return _gradient(q, actions) / 2


@mutant("04.3", "divided by all")
def _(q, actions):
    """you divide by the number of all entries. The penalty is a mean over states only: divide by the number of rows."""
    return _gradient(q, actions) / q.numel()


@mutant("04.3", "half divided")
def _(q, actions):
    """only the pull is divided by the number of states. The mean is over the whole difference."""
    return torch.softmax(q, 1) - F.one_hot(actions, q.shape[1]) / len(q)


@mutant("04.3", "push alone divided")
def _(q, actions):
    """only the push is divided by the number of states. The mean is over the whole difference."""
    return torch.softmax(q, 1) / len(q) - F.one_hot(actions, q.shape[1])


@mutant("04.3", "pull at the best action")
def _(q, actions):
    """one is subtracted at the action with the largest Q. The pull is at the *logged* one, whatever its Q."""
    return (torch.softmax(q, 1) - F.one_hot(q.argmax(1), q.shape[1])) / len(q)


@mutant("04.3", "logged entries alone")
def _(q, actions):
    """only the logged entries have a gradient in yours. The log-sum-exp holds every entry: each has its share of the
    push."""
    return F.one_hot(actions, q.shape[1]) * (torch.softmax(q, 1) - 1) / len(q)


@mutant("04.3", "pull alone")
def _(q, actions):
    """that is the pull alone: the log-sum-exp's part, the share of each action, is missing."""
    return -F.one_hot(actions, q.shape[1]) / len(q)


@mutant("04.3", "logged pulled by its value")
def _(q, actions):
    """the logged entry is lowered by its *value*. The derivative of -Q(s, a) is -1, whatever Q is."""
    return (torch.softmax(q, 1) - F.one_hot(actions, q.shape[1]) * q) / len(q)


@mutant("04.3", "sign of the pull")
def _(q, actions):
    """the 1 of the logged action is added. It enters the penalty with a minus, so -1 is its derivative."""
    return (torch.softmax(q, 1) + F.one_hot(actions, q.shape[1])) / len(q)


@mutant("04.3", "every row's actions")
def _(q, actions):
    """one was subtracted at *every* listed action in each state, as with s[:, actions] -= 1. Each state has one
    logged action: F.one_hot, or s[torch.arange(len(q)), actions] -= 1."""
    return (torch.softmax(q, 1) - F.one_hot(actions, q.shape[1]).sum(0)) / len(q)


@mutant("04.3", "logarithm")
def _(q, actions):
    """that is the logarithm of the shares. The derivative of log-sum-exp is the share itself: softmax."""
    return (torch.log_softmax(q, 1) - F.one_hot(actions, q.shape[1])) / len(q)


@mutant("04.3", "unnormalised")
def _(q, actions):
    """exp Q is not divided by its sum. The derivative of a logarithm is one over its argument."""
    return (q.exp() - F.one_hot(actions, q.shape[1])) / len(q)


@mutant("04.3", "uniform")
def _(q, actions):
    """every action is pushed alike. The push is in proportion to exp Q: highly rated actions get most of it."""
    return (1.0 / q.shape[1] - F.one_hot(actions, q.shape[1]).to(q.dtype)) / len(q)


@mutant("04.3", "in proportion to Q")
def _(q, actions):
    """the push is in proportion to Q itself. It is in proportion to *exp* Q, and then never negative."""
    return (q / q.sum(1, keepdim=True) - F.one_hot(actions, q.shape[1])) / len(q)


@mutant("04.3", "derivative of the softmax")
def _(q, actions):
    """p (1 - p) is the derivative of the softmax. The softmax is a derivative already, that of the log-sum-exp: p."""
    p = torch.softmax(q, 1)
    return (p * (1 - p) - F.one_hot(actions, q.shape[1])) / len(q)


@mutant("04.3", "sigmoid")
def _(q, actions):
    """sigmoid takes each action for itself. Here the actions of a state share one push: softmax."""
    return (torch.sigmoid(q) - F.one_hot(actions, q.shape[1])) / len(q)


@mutant("04.3", "times Q")
def _(q, actions):
    """the shares are multiplied by Q: those are the terms of the mean of Q under softmax. The gradient is the share
    alone."""
    return (torch.softmax(q, 1) * q - F.one_hot(actions, q.shape[1])) / len(q)


@mutant("04.3", "the penalty itself")
def _(q, actions):
    """each entry of the gradient is the penalty's value. Differentiate it with respect to that entry."""
    return penalty(q, actions).expand_as(q)


@mutant("04.3", "overflow")
def _(q, actions):
    """right for small numbers, but exp(1000) overflows: inf / inf is nan. Take the row's largest value out before exp
    (a share does not change), or use torch.softmax."""
    return (q.exp() / q.exp().sum(1, keepdim=True) - F.one_hot(actions, q.shape[1])) / len(q)


# ---------------------------------------------------------------- 04.4
def _steps_04_4(q: Tensor, rho: Tensor) -> dict[str, Tensor]:
    mu = torch.softmax(q + rho.log(), 1)
    return {"the expected mu / rho, where rho is positive": torch.where(rho > 0, mu / rho, 0.0)}


@exercise(
    "04.4",
    title="what CQL(rho) pushes down",
    kind="derive",
    difficulty=4,
    importance=4,
    minutes=12,
    examples=(
        Example((Q, RHO), "two states, three actions; rho never does action 1 in the second state"),
        Example((UNLOGGED_BEST, RHO), "values of a thousand; the action that rho never does is rated 40 higher"),
        Example((UNLOGGED_FAR, RHO), "the action that rho never does is rated a thousand higher"),
        Example((WIDE, WIDE_RHO), "three states, four actions", shown=False),
    ),
    hints=(
        "The Lagrangian of 04.1 again, with minus the sum of mu log (mu / rho) in the place of the entropy.",
        "Q(a) - log mu(a) + log rho(a) is the same for all actions: so mu is rho e^Q, divided by its sum.",
        "return torch.softmax(q + ____, dim=1)",
    ),
    meaning="The push stays where rho is: an action that rho never does is not pushed at all, however high its Q.",
    steps=_steps_04_4,
)
def pushed_by_rho(q, rho):
    """The distribution mu that makes E_mu[Q] - KL(mu || rho) largest, in each state.

    KL(mu || rho) = sum_a mu(a) log (mu(a) / rho(a)); rho may be 0 somewhere.
    q, rho [states, actions] -> [states, actions]
    """
    return torch.softmax(q + rho.log(), dim=1)


@mutant("04.4", "entropy's answer")
def _(q, rho):
    """that is softmax(Q), the answer for the *entropy* of 04.1: rho has no say, and an action that it never does is
    pushed."""
    return torch.softmax(q, 1)


@mutant("04.4", "rho itself")
def _(q, rho):
    """that is rho: it makes the divergence 0 and ignores Q. Moving towards high Q costs a little and gains more."""
    return rho.clone()


@mutant("04.4", "all on the best")
def _(q, rho):
    """everything is on the action with the largest Q, as if there were no divergence to pay."""
    return F.one_hot(q.argmax(1), q.shape[1]).to(q.dtype)


@mutant("04.4", "all on the best that rho does")
def _(q, rho):
    """everything is on the best action that rho does, as if the divergence cost nothing but where rho is 0."""
    return F.one_hot(q.masked_fill(rho == 0, -torch.inf).argmax(1), q.shape[1]).to(q.dtype)


@mutant("04.4", "not normalised")
def _(q, rho):
    """rho times softmax(Q) is in proportion to the right answer, but does not sum to one: divide each row by its
    sum."""
    return rho * torch.softmax(q, 1)


@mutant("04.4", "not normalised at all")
def _(q, rho):
    """rho times exp Q is in proportion to the right answer, but does not sum to one: divide each row by its sum."""
    return rho * q.exp()


@mutant("04.4", "divided by rho")
def _(q, rho):
    """exp Q is *divided* by rho: that is importance weighting, which takes rho out again, and fails where rho is 0.
    KL(mu || rho) draws mu towards rho: multiply."""
    weights = torch.softmax(q, 1) / rho
    return weights / weights.sum(1, keepdim=True)


@mutant("04.4", "minus log rho")
def _(q, rho):
    """log rho is subtracted from Q, which divides by rho, and is infinite where rho is 0. KL(mu || rho) draws mu
    towards rho: add its logarithm."""
    return torch.softmax(q - rho.log(), 1)


@mutant("04.4", "minus log rho, nan to zero")
def _(q, rho):
    """log rho is subtracted from Q, which divides by rho, and the nan where rho is 0 is then hidden. KL(mu || rho)
    draws mu towards rho: add its logarithm."""
    return torch.softmax(q - rho.log(), 1).nan_to_num(0.0)


@mutant("04.4", "cut to the support")
def _(q, rho):
    """that is softmax(Q) among the actions that rho does: it only asks whether rho is 0. Its size counts too: rho times
    exp Q."""
    return torch.softmax(q.masked_fill(rho == 0, -torch.inf), 1)


@mutant("04.4", "softmax of the product")
def _(q, rho):
    """rho times softmax(Q) are the weights already; another softmax takes their exponential. Divide each row by its
    sum."""
    return torch.softmax(rho * torch.softmax(q, 1), 1)


@mutant("04.4", "divided by the sum of everything")
def _(q, rho):
    """you divide by the sum of *all* entries, so the rows do not sum to one. Each state has a distribution of its own:
    divide each row by its sum, .sum(1, keepdim=True)."""
    weights = rho * torch.softmax(q, 1)
    return weights / weights.sum()


@mutant("04.4", "columns divided by their sum")
def _(q, rho):
    """each column sums to one. Each *state* has its own distribution over actions: divide each row by its sum,
    .sum(1, keepdim=True)."""
    weights = rho * q.exp()
    return weights / weights.sum(0)


@mutant("04.4", "columns of softmax divided by their sum")
def _(q, rho):
    """each column sums to one, after a softmax along the rows. Each *state* has its own distribution over actions:
    divide each row by its sum, .sum(1, keepdim=True)."""
    weights = rho * torch.softmax(q, 1)
    return weights / weights.sum(0)


GETS_A_SHARE = (
    "An action that rho never does then gets a share, and the whole push where its Q is high enough. log 0 = -inf is "
    "right here: softmax makes a share of 0 of it."
)


def _kept_above_zero(smallest: float) -> None:
    added, kept = f"you add {smallest:g} to rho.", f"you keep rho at {smallest:g} or above."
    mutant("04.4", f"added {smallest:g}", message=f"{added} {GETS_A_SHARE}")(
        lambda q, rho: torch.softmax(q + (rho + smallest).log(), 1)
    )
    mutant("04.4", f"kept at {smallest:g}", message=f"{kept} {GETS_A_SHARE}")(
        lambda q, rho: torch.softmax(q + rho.clamp(min=smallest).log(), 1)
    )


for _smallest in (1e-2, 1e-3, 1e-4):
    _kept_above_zero(_smallest)


@mutant("04.4", "kept just above zero", message=f"you keep rho a little above 0. {GETS_A_SHARE}")
def _(q, rho):
    return torch.softmax(q + rho.clamp(min=1e-8).log(), 1)  # what is smaller than this gives the same


@mutant("04.4", "rho added")
def _(q, rho):
    """rho is added to Q as it is. In an exponent stands its *logarithm*: log rho."""
    return torch.softmax(q + rho, 1)


@mutant("04.4", "rho times Q")
def _(q, rho):
    """rho multiplies Q inside the exponential. It multiplies exp Q."""
    return torch.softmax(rho * q, 1)


@mutant("04.4", "linear")
def _(q, rho):
    """rho times Q, normalised: with a negative Q that is no distribution. The logarithm in the divergence makes it rho
    times *exp* Q."""
    return rho * q / (rho * q).sum(1, keepdim=True)


@mutant("04.4", "normalised over everything")
def _(q, rho):
    """all states together sum to one. Each *state* has a distribution of its own: divide each row by its sum."""
    return torch.softmax((q + rho.log()).flatten(), 0).view_as(q)


@mutant("04.4", "softmax of the weights")
def _(q, rho):
    """rho times exp Q are the weights already; softmax takes their exponential a second time. Divide them by their
    sum."""
    return torch.softmax(rho * q.exp(), 1)


@mutant("04.4", "half way")
def _(q, rho):
    """that is half way between rho and softmax(Q). The two are multiplied, not averaged."""
    return 0.5 * (rho + torch.softmax(q, 1))


@mutant("04.4", "root of rho")
def _(q, rho):
    """rho enters with a square root. The divergence has weight 1, so log rho is added whole."""
    return torch.softmax(q + 0.5 * rho.log(), 1)


@mutant("04.4", "over states")
def _(q, rho):
    """each column sums to one. Each *state* has its own distribution over actions: axis 1."""
    return torch.softmax(q + rho.log(), 0)


@mutant("04.4", "logarithm")
def _(q, rho):
    """that is the logarithm of the right answer: log_softmax in the place of softmax."""
    return torch.log_softmax(q + rho.log(), 1)


@mutant("04.4", "what it reaches")
def _(q, rho):
    """that is the value it reaches, log of the sum of rho exp Q, one number a state. Asked is the distribution
    itself."""
    return torch.logsumexp(q + rho.log(), 1)


@mutant("04.4", "sign of Q")
def _(q, rho):
    """Q enters with a minus: this mu makes E_mu[Q] *small*."""
    return torch.softmax(rho.log() - q, 1)


@mutant("04.4", "overflow")
def _(q, rho):
    """right for small numbers, but exp(1000) overflows. Add log rho to Q and let torch.softmax do the rest, or take the
    row's largest value out first."""
    weights = rho * q.exp()
    return weights / weights.sum(1, keepdim=True)


@mutant("04.4", "largest of all actions")
def _(q, rho):
    """right, until an action that rho never does leads by far. If the largest value of *all* actions is taken out
    (torch.softmax(q, 1) does so too), exp of the others is 0, and 0 / 0 is nan; if not, its own exp is inf, and 0 times
    inf is nan. Put -inf in the place of its Q first, so that the largest value is that of the actions with rho > 0; or
    add log rho to Q and let torch.softmax do the rest."""
    weights = rho * (q - q.amax(1, keepdim=True)).exp()
    return weights / weights.sum(1, keepdim=True)


@mutant("04.4", "Q times log rho")
def _(q, rho):
    """log rho *multiplies* Q. The divergence is subtracted from E[Q], so in the exponent the two are added: Q + log
    rho."""
    return torch.softmax((q * rho.log()).where(rho > 0, -torch.inf), 1)


@mutant("04.4", "half the exponent")
def _(q, rho):
    """the exponent is halved: that is the answer if the entropy *and* the divergence are paid. Here the divergence
    alone takes the entropy's place, and mu is in proportion to rho exp Q."""
    return torch.softmax((q + rho.log()) / 2, 1)


@mutant("04.4", "rho log rho")
def _(q, rho):
    """rho log rho stands in the exponent in place of log rho: the derivative of mu log (mu / rho) with respect to mu
    has log rho alone."""
    return torch.softmax((q + torch.xlogy(rho, rho)), 1)


@mutant("04.4", "the other divergence")
def _(q, rho):
    """that looks like KL(rho || mu), whose derivative is -rho / mu. Asked is KL(mu || rho): its derivative with respect
    to mu is log mu - log rho + 1."""
    weights = rho / (q.amax(1, keepdim=True) + 1 - q)
    return weights / weights.sum(1, keepdim=True)


# ---------------------------------------------------------------- 04.5
def _steps_04_5(q: Tensor, actions: Tensor, target: Tensor, cql_alpha: float) -> dict[str, Tensor]:
    squares = (_logged(q, actions) - target).square()
    return {
        "the logged values": _logged(q, actions),
        "the squared errors": squares,
        "their mean": squares.mean(),
        "the penalty": penalty(q, actions),
    }


@exercise(
    "04.5",
    title="the critic's whole loss",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=10,
    gradients=("q",),
    examples=(
        Example((WIDE, WIDE_ACTIONS, WIDE_TARGETS, 2.5), "three states, four actions, cql_alpha 2.5"),
        Example((LARGE, LARGE_ACTIONS, _numbers([998.5, -1000.0]), 0.5), "values of a thousand, cql_alpha 0.5"),
        Example((Q, ACTIONS, _numbers([0.25, -1.5]), 0.3), "two states, cql_alpha 0.3", shown=False),
    ),
    hints=(
        "Two terms. Which one has a weight?",
        "Squared difference between the logged action's value and its target, averaged; plus cql_alpha times your "
        "penalty. Both have the shape [states] before they are averaged.",
        "return (logged - target).square().mean() + ____ * (torch.logsumexp(q, dim=1) - logged).mean()",
    ),
    meaning="With cql_alpha 0 this is ordinary Q-learning; the larger it is, the closer softmax(Q) comes to the log.",
    steps=_steps_04_5,
)
def critic_loss(q, actions, target, cql_alpha):
    """Mean (Q(s, logged) - target)^2 + cql_alpha * penalty.

    q [states, actions], actions [states], target [states], cql_alpha a number -> []
    """
    logged = q.gather(1, actions[:, None]).squeeze(1)
    return (logged - target).square().mean() + cql_alpha * (torch.logsumexp(q, dim=1) - logged).mean()


def _error(q: Tensor, actions: Tensor, target: Tensor) -> Tensor:
    return (_logged(q, actions) - target).square().mean()


@mutant("04.5", "half")
def _(q, actions, target, cql_alpha):
    """the paper writes 1/2 in front of the squared error; this course and the official code do not, so the paper's
    alpha is half of ours."""
    return 0.5 * _error(q, actions, target) + cql_alpha * penalty(q, actions)


@mutant("04.5", "alpha on the error")
def _(q, actions, target, cql_alpha):
    """cql_alpha weighs the Bellman error here. It belongs to the penalty: 0 must give ordinary Q-learning."""
    return cql_alpha * _error(q, actions, target) + penalty(q, actions)


@mutant("04.5", "alpha on both")
def _(q, actions, target, cql_alpha):
    """cql_alpha multiplies both parts, which only changes the step size. Let it weigh the penalty alone."""
    return cql_alpha * (_error(q, actions, target) + penalty(q, actions))


@mutant("04.5", "no alpha")
def _(q, actions, target, cql_alpha):
    """cql_alpha is not used: the penalty has weight 1."""
    return _error(q, actions, target) + penalty(q, actions)


@mutant("04.5", "no penalty")
def _(q, actions, target, cql_alpha):
    """that is the squared error alone: ordinary Q-learning. The penalty, times cql_alpha, is missing."""
    return _error(q, actions, target)


@mutant("04.5", "penalty alone")
def _(q, actions, target, cql_alpha):
    """that is the penalty alone. The squared error of the logged actions is missing: nothing would know the rewards."""
    return cql_alpha * penalty(q, actions)


@mutant("04.5", "minus")
def _(q, actions, target, cql_alpha):
    """the penalty is subtracted: minimising this loss makes it *large*."""
    return _error(q, actions, target) - cql_alpha * penalty(q, actions)


@mutant("04.5", "broadcast", seen="the classic [N, 1] - [N] of regression losses")
def _(q, actions, target, cql_alpha):
    """the logged values keep an axis: [states, 1] minus [states] compares *every* logged value with *every* target, a
    table of states by states. Squeeze the axis away: gather(...).squeeze(1)."""
    return (q.gather(1, actions[:, None]) - target).square().mean() + cql_alpha * penalty(q, actions)


@mutant("04.5", "sum of squares")
def _(q, actions, target, cql_alpha):
    """the squared errors are summed, so their weight against the penalty grows with the batch. Take the mean of
    both."""
    return (_logged(q, actions) - target).square().sum() + cql_alpha * penalty(q, actions)


@mutant("04.5", "sum of both")
def _(q, actions, target, cql_alpha):
    """both parts are summed over the states. Take means: the loss of a batch should not grow with its size."""
    return len(q) * (_error(q, actions, target) + cql_alpha * penalty(q, actions))


@mutant("04.5", "penalty divided by the states")
def _(q, actions, target, cql_alpha):
    """the penalty is divided by the number of states a second time: it is a mean already."""
    return _error(q, actions, target) + cql_alpha * penalty(q, actions) / len(q)


@mutant("04.5", "penalty summed")
def _(q, actions, target, cql_alpha):
    """the penalty is summed over the states, so its weight against the error grows with the batch. Take the mean of
    both."""
    return _error(q, actions, target) + cql_alpha * penalty(q, actions) * len(q)


@mutant("04.5", "root")
def _(q, actions, target, cql_alpha):
    """you took the square root of the mean squared error. Leave it squared: then its gradient shrinks as the error
    does."""
    return _error(q, actions, target).sqrt() + cql_alpha * penalty(q, actions)


@mutant("04.5", "every action")
def _(q, actions, target, cql_alpha):
    """every action is drawn towards the target. The target is about the logged action alone; of the others the log
    knows nothing."""
    return (q - target[:, None]).square().mean() + cql_alpha * penalty(q, actions)


@mutant("04.5", "half alpha")
def _(q, actions, target, cql_alpha):
    """the penalty has half its weight. In this course there is no 1/2 anywhere: squared error plus cql_alpha times
    penalty."""
    return _error(q, actions, target) + 0.5 * cql_alpha * penalty(q, actions)


@mutant("04.5", "twice alpha")
def _(q, actions, target, cql_alpha):
    """the penalty has twice its weight. In this course there is no 1/2 to be made up for: squared error plus cql_alpha
    times penalty."""
    return _error(q, actions, target) + 2 * cql_alpha * penalty(q, actions)


@mutant("04.5", "blend")
def _(q, actions, target, cql_alpha):
    """you blend the two parts with weights 1 - alpha and alpha. cql_alpha is no share: it may be 5 or 20, and the
    Bellman error keeps weight 1."""
    return (1 - cql_alpha) * _error(q, actions, target) + cql_alpha * penalty(q, actions)


@mutant("04.5", "divided")
def _(q, actions, target, cql_alpha):
    """the penalty is divided by cql_alpha: then a larger alpha is *less* conservative. Multiply."""
    return _error(q, actions, target) + penalty(q, actions) / cql_alpha


@mutant("04.5", "alpha added")
def _(q, actions, target, cql_alpha):
    """cql_alpha is added, where it has no gradient and no effect. It multiplies the penalty."""
    return _error(q, actions, target) + cql_alpha + penalty(q, actions)


@mutant("04.5", "alpha on the push alone")
def _(q, actions, target, cql_alpha):
    """cql_alpha weighs the push alone, the pull has weight 1: a bracket is missing. It multiplies the whole penalty."""
    pushed = cql_alpha * torch.logsumexp(q, 1).mean() - _logged(q, actions).mean()
    return _error(q, actions, target) + pushed


@mutant("04.5", "error of the log-sum-exp")
def _(q, actions, target, cql_alpha):
    """the squared error is taken at the log-sum-exp. The target belongs to the action that was logged."""
    return (torch.logsumexp(q, 1) - target).square().mean() + cql_alpha * penalty(q, actions)


@mutant("04.5", "smooth absolute error")
def _(q, actions, target, cql_alpha):
    """the error is squared only where it is small (smooth L1, or Huber). Here it is squared throughout."""
    return F.smooth_l1_loss(_logged(q, actions), target) + cql_alpha * penalty(q, actions)


@mutant("04.5", "target pulled")
def _(q, actions, target, cql_alpha):
    """in the penalty you subtract the target in the place of the logged value. A target has no gradient: nothing
    would be pulled up."""
    return _error(q, actions, target) + cql_alpha * (torch.logsumexp(q, 1) - target).mean()


@mutant("04.5", "absolute error")
def _(q, actions, target, cql_alpha):
    """the Bellman error is squared, not taken absolutely: only then is the minimiser the mean of the targets."""
    return (_logged(q, actions) - target).abs().mean() + cql_alpha * penalty(q, actions)


@mutant("04.5", "greedy error")
def _(q, actions, target, cql_alpha):
    """the error is taken at the *best* action. The target belongs to the action that was logged."""
    return (q.amax(1) - target).square().mean() + cql_alpha * penalty(q, actions)


@mutant("04.5", "error of every listed action")
def _(q, actions, target, cql_alpha):
    """in the squared error q[:, actions] picks *every* listed action in each state. Each state has one logged action:
    gather, or q[torch.arange(len(q)), actions]."""
    return (q[:, actions] - target).square().mean() + cql_alpha * penalty(q, actions)


@mutant("04.5", "error of every listed action, targets by row")
def _(q, actions, target, cql_alpha):
    """in the squared error q[:, actions] picks *every* listed action in each state, and each is held against the
    state's target. Each state has one logged action: gather, or q[torch.arange(len(q)), actions]."""
    return (q[:, actions] - target[:, None]).square().mean() + cql_alpha * penalty(q, actions)


@mutant("04.5", "error over all entries")
def _(q, actions, target, cql_alpha):
    """the squared errors of the logged actions are divided by the number of *all* entries: with a mask of zeros, mean()
    counts the zeros too. Divide by the number of states."""
    hit = F.one_hot(actions, q.shape[1])
    return (hit * (q - target[:, None]).square()).mean() + cql_alpha * penalty(q, actions)


@mutant("04.5", "error of the mean action")
def _(q, actions, target, cql_alpha):
    """the squared error is taken at the mean over the actions. The target belongs to the action that was logged."""
    return (q.mean(1) - target).square().mean() + cql_alpha * penalty(q, actions)


@mutant("04.5", "error of the policy's mean")
def _(q, actions, target, cql_alpha):
    """the squared error is taken at the mean under softmax(Q). The target belongs to the action that was logged."""
    return ((torch.softmax(q, 1) * q).sum(1) - target).square().mean() + cql_alpha * penalty(q, actions)


@mutant("04.5", "square of the mean")
def _(q, actions, target, cql_alpha):
    """the errors are averaged first and squared later: errors of opposite sign cancel. Square each, then the mean."""
    return (_logged(q, actions) - target).mean().square() + cql_alpha * penalty(q, actions)


@mutant("04.5", "penalty detached")
def _(q, actions, target, cql_alpha):
    """the value is right, but no gradient passes through the penalty (a detach or item): what is learned is ordinary
    Q-learning, and the loss only *reads* larger."""
    return _error(q, actions, target) + cql_alpha * penalty(q, actions).detach()


@mutant("04.5", "error detached")
def _(q, actions, target, cql_alpha):
    """the value is right, but no gradient passes through the squared error: nothing is learned from the rewards."""
    return _error(q, actions, target).detach() + cql_alpha * penalty(q, actions)


@mutant("04.5", "pull detached")
def _(q, actions, target, cql_alpha):
    """the value is right, but in the penalty the logged value is detached: nothing is pulled up, and all learned values
    end below the truth."""
    pushed = torch.logsumexp(q, 1) - _logged(q, actions).detach()
    return _error(q, actions, target) + cql_alpha * pushed.mean()


@mutant("04.5", "push detached")
def _(q, actions, target, cql_alpha):
    """the value is right, but in the penalty the log-sum-exp is detached: nothing is pushed down."""
    pushed = torch.logsumexp(q, 1).detach() - _logged(q, actions)
    return _error(q, actions, target) + cql_alpha * pushed.mean()


@mutant("04.5", "no gradient")
def _(q, actions, target, cql_alpha):
    """the value is right, but no gradient reaches q: is there a detach, item, float or no_grad too many?"""
    return critic_loss(q, actions, target, cql_alpha).detach()


def _with_penalty(wrong: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor, float], Tensor]:
    """The critic's loss with somebody's own wrong penalty of 04.2 in it."""
    return lambda q, actions, target, cql_alpha: _error(q, actions, target) + cql_alpha * wrong(q, actions)


# A wrong penalty of 04.2 is carried into this exercise. Those that are named above in words of their own are left out.
NAMED_ABOVE = ("sum over states", "pull detached", "push detached", "no gradient", "sign")
for other in EXERCISES["04.2"].mutants:
    if other.name not in NAMED_ABOVE:
        carried = _with_penalty(other.function)
        told = "the squared error is right, the penalty in it is not; did you call your own of 04.2? There"
        mutant("04.5", f"own penalty: {other.name}", message=f"{told} {other.message}")(carried)


# ---------------------------------------------------------------- 04.6
@exercise(
    "04.6",
    title="an alpha for each log",
    kind="design",
    difficulty=3,
    importance=5,
    minutes=10,
    examples=(
        Example(("expert",), "the log with one random move in ten"),
        Example(("mixed",), "the log in which every other move is random"),
        Example(("random",), "the log of random moves alone"),
    ),
    hints=(
        "Read the table twice, for what the policy is worth and for the size of the error. An alpha must pass both.",
        "Too little shows as a policy that is worth little although the prediction is high; too much as a prediction "
        "far below. Look where neither happens, and keep away from the edge: the judge uses other draws.",
        'return {"expert": ____, "mixed": ____, "random": ____}[log]',
    ),
    meaning="Your alphas held on logs you had not seen: that is why one chooses on some draws and judges on others.",
    judge=judge_alpha,
)
def choose_alpha(log):
    """The cql_alpha for a log, "expert", "mixed" or "random"; 0 is DQN.

    Judged on four new draws of that log: the greedy policy must be worth at least 3 on average (0 on "random"), and
    the estimation error at the start may be at most 2 in size, on average.
    """
    return {"expert": 0.3, "mixed": 0.3, "random": 0.1}[log]


@mutant("04.6", "no penalty")
def _(log):
    """alpha 0 is DQN."""
    return 0.0


@mutant("04.6", "much too much")
def _(log):
    """with alpha 10 on every log the penalty outweighs the rewards somewhere: the values sink, whatever the policy."""
    return 10.0


@mutant("04.6", "rule of thumb")
def _(log):
    """that follows the rule of thumb by which worse data want a larger alpha. Coverage decides, not quality: a random
    log has tried every action and needs next to none."""
    return {"expert": 1.0, "mixed": 5.0, "random": 20.0}[log]


@mutant("04.6", "negative")
def _(log):
    """a negative alpha pays the critic for overrating what nobody tried."""
    return -1.0


@mutant("04.6", "a word")
def _(log):
    """you return a word. The training needs a number."""
    return "large"


# ---------------------------------------------------------------- quiz
quiz_question(
    "04.a",
    "A critic rates all actions of a state equally. What does one step on the penalty alone do?",
    answer="a",
    a=(
        "it raises the logged action and lowers all others alike",
        "Softmax is uniform, minus one at the logged action.",
    ),
    b=(
        "nothing, since the penalty is at its minimum there",
        "The softmax is uniform, but the logged action has its -1.",
    ),
    c=(
        "it lowers all actions alike, the logged one too",
        "The rows of the gradient sum to zero: something must go up.",
    ),
)

quiz_question(
    "04.b",
    "In Equation 3 you replace the entropy by minus KL(mu || rho), with rho the policy of the last iteration. Which "
    "actions are pushed down now?",
    answer="c",
    a=(
        "all alike, since a divergence has no opinion about values",
        "Q is still in the objective: high values draw mu.",
    ),
    b=(
        "those with a high Q, exactly as before: R only adds a constant",
        "A constant if rho is uniform. Otherwise the push moves to where rho is.",
    ),
    c=(
        "those with a high Q that the last policy also does",
        "mu is in proportion to rho exp Q. Where rho is 0 nothing is pushed.",
    ),
)

quiz_question(
    "04.c",
    "The data contain only one action in some state. Where does the penalty alone drive Q there?",
    answer="b",
    a=("to 0 for all actions, the smallest table", "Adding a constant changes nothing, so it has no opinion about 0."),
    b=("to an ever larger lead of that action", "softmax(Q) can approach the one-hot, never reach it: no minimum."),
    c=("to the reward that was logged for that action", "Only the Bellman error knows the reward."),
)


# ---------------------------------------------------------------- predictions
prediction(
    "04.p1",
    "Three actions are all worth 0. An adversary may choose any distribution over them, and is paid its mean value "
    "plus its entropy. What is the most he can reach?",
    answer="a",
    a=(
        "log 3",
        "The mean value is 0 whatever he does, so he takes all the entropy there is: the logarithm of their number.",
    ),
    b=("0, the largest of the three values", "That is the mean value. The entropy is paid on top of it."),
    c=("3, one for each of the three", "The entropy of three equal shares is log 3, not 3."),
)

prediction(
    "04.p2",
    "Three critics rate three actions: the first rates all alike, the second is sure of the logged one, the third is "
    "sure of one that was not logged. Which pays the largest penalty?",
    answer="c",
    a=("the one that rates all alike", "It pays the log of the number of actions, whatever the level: no more."),
    b=(
        "the one that is sure of the logged action",
        "Its log-sum-exp and its logged value are nearly the same number: it pays next to nothing.",
    ),
    c=(
        "the one that is sure of another",
        "Its log-sum-exp follows the favourite, its logged value stays behind: the penalty grows with that lead, "
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
    answer="c",
    a=(
        "all of them: that is what the word conservative means",
        "Raising and lowering cancel out over the log, so not all can be below.",
    ),
    b=(
        "none of them: the log covers every arm, so nothing is pushed",
        "Coverage does not switch the penalty off; it limits how far it moves the values.",
    ),
    c=(
        "those the softmax of Q likes more than the log does",
        "At the minimum the error of an arm is in proportion to (1 - softmax / share in the log): the worst arm, "
        "logged most, ends up over-estimated.",
    ),
)

prediction(
    "04.p5",
    "DQN, without any penalty, learns from three logs of a small cliff: expert moves, half random moves, random moves "
    "only. After which log is its prediction furthest above what its greedy policy is worth?",
    answer="a",
    a=(
        "the expert's",
        "It has tried less than half of the actions where it went; the network invents the values of the others.",
    ),
    b=("the mixed one, with some of everything", "It has tried most actions near the path, if not often."),
    c=(
        "the random one, since its data are the worst",
        "Bad data for imitation, and good data for values: all is tried.",
    ),
)
