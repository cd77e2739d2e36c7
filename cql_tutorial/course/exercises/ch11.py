"""Exercises of chapter 11, extensions: calibration, a run to diagnose, a plan for going online; soft and sparse."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..checker import Example
from ..registry import exercise, mutant, prediction, quiz_question, wrong_choice

DOUBLE = torch.float64
LOG_2 = math.log(2.0)


def _numbers(values: object) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


# ---------------------------------------------------------------- 11.1
@exercise(
    "11.1",
    title="the calibrated penalty",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=10,
    gradients=("q", "q_data"),
    examples=(
        Example(
            (
                _numbers([[0.0, 0.0, math.log(12.0)]]),
                _numbers([[-LOG_2, LOG_2, LOG_2]]),
                torch.tensor([False, True, True]),
                _numbers([LOG_2]),
                _numbers([math.log(8.0)]),
            ),
            "worked by hand: exp Q is 1, 1, 12, the densities are 1/2, 2, 2, the last two candidates are the policy's, "
            "exp of the return-to-go is 8",
        ),
        Example(
            (
                _numbers([[0.3, -1.2, -0.4, 2.1], [-2.0, -0.7, 1.4, -1.1]]),
                _numbers([[-0.7, -0.9, 0.6, 1.2], [-0.7, -0.5, 0.2, 0.9]]),
                torch.tensor([False, False, True, True]),
                _numbers([0.8, -1.6]),
                _numbers([1.1, -0.9]),
            ),
            "two states, four candidates, the last two of them the policy's",
        ),
        Example(
            (
                _numbers([[-3.1, 0.4, -0.2, 0.9, -1.3], [-0.6, -2.4, 0.3, -1.9, -0.1], [1.7, -0.3, -1.1, 0.2, -2.2]]),
                _numbers([[-1.4, 0.8, -1.4, 2.1, 0.3], [-1.4, 1.9, -1.4, -0.6, 1.1], [-1.4, 0.1, -1.4, 0.7, 2.6]]),
                torch.tensor([False, True, False, True, True]),
                _numbers([-0.5, 1.2, 0.7]),
                _numbers([-1.8, -0.4, 0.6]),
            ),
            "three states, the policy's candidates are not the last ones",
            shown=False,
        ),
        Example(
            (
                _numbers([[-900.0, -902.5, -901.3], [899.1, 901.2, 900.7]]),
                _numbers([[-0.7, 0.4, 1.3], [-0.7, 1.1, 0.2]]),
                torch.tensor([False, True, True]),
                _numbers([-899.0, 900.4]),
                _numbers([-901.9, 901.6]),
            ),
            "values of 900 and of -900",
            shown=False,
        ),
    ),
    hints=(
        "By hand: the second candidate is raised to log 8, the third stays. Divide by the densities, in the exponent: "
        "the terms are 2, 4, 6, their mean is 4, and the logged action takes log 2 away.",
        "One return-to-go a row, for all of the row's candidates: returns_to_go[:, None]. torch.where picks whose Q is "
        "raised, and torch.maximum raises it. The rest is CQL's penalty: subtract the log-density, logsumexp, log K.",
        "raised = torch.where(from_policy, ____, q); return torch.logsumexp(raised - log_density, 1) - ____",
    ),
    meaning=(
        "A candidate of the policy below the return-to-go gets no push: what is left falls on the others, and the "
        "logged action is pulled as before."
    ),
)
def calibrated_penalty(q, log_density, from_policy, q_data, returns_to_go):
    """Cal-QL's penalty at each state: CQL's, with no candidate of the policy valued below the return-to-go.

    [B, K], [B, K], [K] of True and False, [B], [B] -> [B]; log-mean form, as losses.cql_penalty before its mean
    """
    raised = torch.where(from_policy, torch.maximum(q, returns_to_go[:, None]), q)
    return torch.logsumexp(raised - log_density, dim=1) - math.log(q.shape[1]) - q_data


def _raised(q, from_policy, returns_to_go):
    return torch.where(from_policy, torch.maximum(q, returns_to_go[:, None]), q)


def _log_mean(terms, axis=1):
    return torch.logsumexp(terms, axis) - math.log(terms.shape[axis])


@mutant("11.1", "maximum after the density", seen="tianshou's CQL with calibrated=True")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the maximum is taken after the log-density was subtracted. The return-to-go is a *value*: compare it with Q, and
    divide by the density afterwards. Here a dense candidate is raised too early and a rare one too late."""
    terms = torch.where(from_policy, torch.maximum(q - log_density, returns_to_go[:, None]), q - log_density)
    return _log_mean(terms) - q_data


@mutant("11.1", "both published mistakes", seen="tianshou's CQL with calibrated=True, which raises all candidates")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """all candidates are raised, and after their log-density was subtracted. Only the policy's are raised, and Q itself
    is compared with the return-to-go."""
    return _log_mean(torch.maximum(q - log_density, returns_to_go[:, None])) - q_data


@mutant("11.1", "uniform candidates too")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the uniform candidates are raised as well. They stand for actions that nobody means to take, and are pushed down
    without a bound; raised, hardly anything is pushed at all."""
    return _log_mean(torch.maximum(q, returns_to_go[:, None]) - log_density) - q_data


@mutant("11.1", "uniform candidates alone")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the mask is turned: the uniform candidates are raised and the policy's are not. It is the policy's own values
    that must not fall below what the log earned."""
    return _log_mean(_raised(q, ~from_policy, returns_to_go) - log_density) - q_data


@mutant("11.1", "logged action too")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the logged action's Q is raised as well. Below the return-to-go it would no longer be pulled up, although there
    is where it needs it most; the pull is CQL's, untouched."""
    return _log_mean(_raised(q, from_policy, returns_to_go) - log_density) - torch.maximum(q_data, returns_to_go)


@mutant("11.1", "minimum")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """that is the minimum: it lets go of the candidates that are *above* the return-to-go, which are the ones to be
    pushed down. The larger of the two is wanted."""
    terms = torch.where(from_policy, torch.minimum(q, returns_to_go[:, None]), q)
    return _log_mean(terms - log_density) - q_data


@mutant("11.1", "the return alone")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the policy's values are replaced by the return-to-go, high or low. Only those below it are: a value above it must
    still be pushed down."""
    terms = torch.where(from_policy, returns_to_go[:, None].expand_as(q), q)
    return _log_mean(terms - log_density) - q_data


@mutant("11.1", "plain CQL")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """that is CQL's penalty: the return-to-go is not used."""
    return _log_mean(q - log_density) - q_data


@mutant("11.1", "the soft maximum is bounded")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the *sum* is raised to the return-to-go. Each candidate of the policy is raised on its own: the soft maximum may
    be above it while the policy's values lie far below."""
    return torch.maximum(_log_mean(q - log_density), returns_to_go) - q_data


@mutant("11.1", "the penalty is cut at the return")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the whole penalty is kept above the return-to-go. Candidates are what is compared with it, one by one, before
    they are summed."""
    return torch.maximum(_log_mean(q - log_density) - q_data, returns_to_go)


@mutant("11.1", "all at once")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """a row is raised only if its policy's candidates lie below the return-to-go *on average*. Each candidate is
    compared by itself."""
    mean = torch.where(from_policy, q, 0.0).sum(1, keepdim=True) / from_policy.sum()
    raised = torch.where(from_policy & (mean < returns_to_go[:, None]), returns_to_go[:, None].expand_as(q), q)
    return _log_mean(raised - log_density) - q_data


@mutant("11.1", "one bound for all states")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """one bound, the mean return-to-go, serves all states. Each row has its own: what the log went on to earn from that
    very state."""
    return _log_mean(_raised(q, from_policy, returns_to_go.mean().expand_as(returns_to_go)) - log_density) - q_data


@mutant("11.1", "the largest return for all states")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """one bound, the largest return-to-go of the batch, serves all states: in most of them nothing would be pushed
    down. Each row has its own."""
    return _log_mean(_raised(q, from_policy, returns_to_go.amax().expand_as(returns_to_go)) - log_density) - q_data


@mutant("11.1", "return added")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the return-to-go is added to the policy's values. It is a lower bound on them: the larger of the two is taken."""
    return _log_mean(torch.where(from_policy, q + returns_to_go[:, None], q) - log_density) - q_data


@mutant("11.1", "shortfall only")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the policy's candidates are replaced by what they have above the return-to-go, or 0. They keep their value where
    it is larger, and take the return-to-go where it is not."""
    return _log_mean(torch.where(from_policy, (q - returns_to_go[:, None]).clamp(min=0), q) - log_density) - q_data


@mutant("11.1", "left out of the sum")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """candidates below the return-to-go are left out of the sum. They stay in it, with the return-to-go in the place of
    their Q: the other candidates' shares of the push-down are measured against them."""
    below = from_policy & (q < returns_to_go[:, None])
    return _log_mean((q - log_density).masked_fill(below, -math.inf)) - q_data


@mutant("11.1", "density forgotten")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the log-density is not subtracted. Calibration changes what stands for Q, and nothing else in the estimate."""
    return _log_mean(_raised(q, from_policy, returns_to_go)) - q_data


@mutant("11.1", "density added")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the log-density is added. Each candidate is divided by its density: subtract the logarithm."""
    return _log_mean(_raised(q, from_policy, returns_to_go) + log_density) - q_data


@mutant("11.1", "density of the policy's alone")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """only the policy's candidates are divided by their density. The uniform ones have a density as well, that of the
    box, and stand in the same sum: every candidate is divided by its own."""
    return _log_mean(_raised(q, from_policy, returns_to_go) - torch.where(from_policy, log_density, 0.0)) - q_data


@mutant("11.1", "no exponential")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the exponents are averaged, and no exponential is taken. The logarithm of a mean of exponentials is wanted, which
    is above the mean of the exponents."""
    return (_raised(q, from_policy, returns_to_go) - log_density).mean(1) - q_data


@mutant("11.1", "uniform candidates dropped")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the uniform candidates are missing: all candidates stand in one sum, and its mean is over all of them."""
    raised = torch.maximum(q[:, from_policy], returns_to_go[:, None])
    return _log_mean(raised - log_density[:, from_policy]) - q_data


def _joined(q, log_density, from_policy, q_data, returns_to_go, policy_first):
    parts = [torch.maximum(q[:, from_policy], returns_to_go[:, None]), q[:, ~from_policy]]
    return _log_mean(torch.cat(parts if policy_first else parts[::-1], 1) - log_density) - q_data


@mutant("11.1", "policy's candidates first")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the candidates are joined anew, the policy's first, and no longer stand beside their own densities. Leave each at
    its place, or put the densities into the same order."""
    return _joined(q, log_density, from_policy, q_data, returns_to_go, policy_first=True)


@mutant("11.1", "policy's candidates last")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """right where the policy's candidates are the last ones. Elsewhere the candidates, joined anew with the policy's at
    the end, no longer stand beside their own densities: `from_policy` says which are the policy's."""
    return _joined(q, log_density, from_policy, q_data, returns_to_go, policy_first=False)


@mutant("11.1", "log K forgotten")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the logarithm of the number of candidates is missing: a sum in the place of a mean. The gradient is right, but
    the penalty is not on the scale of the log-mean form."""
    return torch.logsumexp(_raised(q, from_policy, returns_to_go) - log_density, 1) - q_data


@mutant("11.1", "log of the policy's candidates alone")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the sum runs over all candidates, the logarithm that makes a mean of it counts the policy's alone. Divide by
    K, the number of all of them."""
    summed = torch.logsumexp(_raised(q, from_policy, returns_to_go) - log_density, 1)
    return summed - math.log(int(from_policy.sum())) - q_data


@mutant("11.1", "hard maximum")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """that is the largest candidate, not their soft maximum."""
    return (_raised(q, from_policy, returns_to_go) - log_density).amax(1) - q_data


@mutant("11.1", "no pull")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the logged action is missing: without its pull every value falls."""
    return _log_mean(_raised(q, from_policy, returns_to_go) - log_density) + 0 * q_data


@mutant("11.1", "averaged over the batch")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """that is the mean over the states. One number a state is wanted, [B]; the batch mean comes later."""
    return (_log_mean(_raised(q, from_policy, returns_to_go) - log_density) - q_data).mean()


@mutant("11.1", "detached")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """the value is right, but the raised values are detached: no candidate of the policy is pushed down, not even one
    far above the return-to-go."""
    raised = torch.where(from_policy, torch.maximum(q, returns_to_go[:, None]).detach(), q)
    return _log_mean(raised - log_density) - q_data


@mutant("11.1", "overflow")
def _(q, log_density, from_policy, q_data, returns_to_go):
    """right for small values, but exp(900) overflows to inf, and exp(-900) is 0, whose logarithm is minus inf.
    torch.logsumexp takes the largest value out before it exponentiates."""
    return (_raised(q, from_policy, returns_to_go) - log_density).exp().mean(1).log() - q_data


# ---------------------------------------------------------------- 11.2
MISTAKES = {
    "a": "none: it is Cal-QL as it should be",
    "b": "the returns-to-go are plain sums, without the discount",
    "c": "the maximum is taken after the log-density was subtracted",
    "d": "the uniform candidates are raised to the return-to-go as well",
    "e": "the smaller of Q and the return-to-go is taken, not the larger",
    "f": "the returns-to-go are those of rewards ten times as large",
}


@exercise(
    "11.2",
    title="what is wrong with run X?",
    kind="diagnose",
    difficulty=4,
    importance=5,
    minutes=12,
    examples=(Example((), "the numbers printed above", shown=False),),
    hints=(
        "The column *reads* is the mean of the returns-to-go that a run was trained on: two letters would change it. "
        "Then ask in which column run X differs most from Cal-QL, and which candidates stand there.",
        "Cal-QL pushes uniform actions down without a bound. How far do they get in run X, and what could hold them?",
        "return '____'  # whose values are held that Cal-QL lets go of?",
    ),
    meaning=(
        "Run X raises the uniform candidates as well, so that hardly anything is pushed below the return-to-go. Its "
        "return says nothing of it; the values of uniform actions do."
    ),
)
def mistake_of_run_x():
    """The letter of what is wrong with run X.

    -> "a", "b", "c", "d", "e" or "f"
    """
    return "d"


def _mistake(letter, message):
    wrong_choice("11.2", MISTAKES[letter], letter, message)


_mistake(
    "a",
    "compare the column *uniform* of run X with Cal-QL's: uniform actions are valued far higher. The two differ in "
    "more than noise.",
)
_mistake(
    "b",
    "rewards are not negative here, so plain sums would be larger than discounted ones. The column *reads* shows what "
    "each run was trained on: run X reads the same mean as Cal-QL.",
)
_mistake(
    "c",
    "a maximum that comes late still concerns the policy's candidates alone. It would leave uniform actions about "
    "where Cal-QL has them.",
)
_mistake(
    "e",
    "the smaller of the two lets go of what lies *above* the return-to-go and keeps pushing what lies below it: the "
    "policy's values would sink as CQL's do. In run X they are the highest of all.",
)
_mistake(
    "f",
    "run X would then read a mean ten times as large as Cal-QL's, and the policy's candidates would all lie below it. "
    "Look at the columns *reads* and *rate*: neither is so.",
)


# ---------------------------------------------------------------- 11.3
AGENTS = {"cql": "CQL", "cal-ql": "Cal-QL"}  # as a sentence names them


def _judge_plan(plan: object, agent: str) -> str | None:
    """None for a plan that the table of calibration bears out for this agent."""
    from ..studies import ch11 as study
    from ..studies.common import result_rows

    given = tuple(plan) if isinstance(plan, (list, tuple)) and len(plan) == 2 else ()
    if not all(isinstance(word, str) for word in given) or given not in study.PLANS:
        return "a pair is wanted: 'wide' or 'narrow', then 'kept' or 'dropped'."
    fault = study.plan_fault(result_rows("calibration"), agent, (str(given[0]), str(given[1])))
    return None if fault is None else f"{AGENTS[agent]}, {', '.join(map(str, given))}: {fault}"


@exercise(
    "11.3",
    title="a plan for going online",
    kind="design",
    difficulty=4,
    importance=5,
    minutes=12,
    examples=(
        Example(("cql",), "CQL: its numbers offline are printed above"),
        Example(("cal-ql",), "Cal-QL: its numbers offline are printed above"),
    ),
    hints=(
        "A wider policy tries more. What does it take to make use of what it finds? Compare the four values printed "
        "above with the return-to-go.",
        "CQL's values in *wide* are sixteen too low, so nearly everything new looks good to it. Cal-QL's are about "
        "right in both. And the penalty was made for actions that nobody could try.",
        "return ('____' if agent == 'cql' else '____'), '____'",
    ),
    meaning=(
        "A wide policy finds more, and only critics on the right scale can use it; online, where actions can be tried, "
        "the penalty costs more than it saves."
    ),
    judge=_judge_plan,
)
def online_plan(agent):
    """How wide the policy of this agent is held, and whether its penalty stays when it goes online.

    "cql" or "cal-ql" -> ("wide" or "narrow", "kept" or "dropped")
    """
    return ("narrow" if agent == "cql" else "wide"), "dropped"


@mutant("11.3", "always wide")
def _(agent):
    """you hold both wide: more is tried. CQL's values are then far below everything, and it takes what it tries for
    good, the bad included."""
    return "wide", "dropped"


@mutant("11.3", "always narrow")
def _(agent):
    """you hold both narrow, which is safe. Cal-QL's values are nearly right in *wide* as well, and there it finds
    more."""
    return "narrow", "dropped"


@mutant("11.3", "narrow and kept")
def _(agent):
    """you change as little as possible: narrow, and the penalty stays. Then online learning hardly leaves the log."""
    return "narrow", "kept"


@mutant("11.3", "wide and kept")
def _(agent):
    """you let both explore and keep the penalty, which pushes down what the exploring finds."""
    return "wide", "kept"


@mutant("11.3", "turned round")
def _(agent):
    """your rule is turned round: the agent whose values are far too low is held wide, the one that could use it
    narrow."""
    return ("wide" if agent == "cql" else "narrow"), "dropped"


@mutant("11.3", "CQL stays conservative")
def _(agent):
    """you keep CQL's penalty online. Where its values are right, as in *narrow*, dropping it pays as well."""
    return ("narrow", "kept") if agent == "cql" else ("wide", "dropped")


@mutant("11.3", "Cal-QL stays conservative")
def _(agent):
    """you keep Cal-QL's penalty online, perhaps because it does no harm to its values. It still costs return."""
    return ("narrow", "dropped") if agent == "cql" else ("wide", "kept")


# ---------------------------------------------------------------- predictions and quiz of sections 1 and 2
prediction(
    "11.p1",
    "CQL and Cal-QL have learned offline from a narrow log, with a policy held wider than the log. Greedy, both earn "
    "about what the log does. Now they act, and the penalty is dropped. Over the next 1,200 steps...",
    answer="c",
    a=(
        "both do equally well: they begin with the same return",
        "They begin with about the same *policy*. What goes on learning are the critics, and those differ.",
    ),
    b=(
        "CQL's is ahead, since its caution protects it while it explores",
        "Its values are so low that whatever is new looks better than what it knows, the bad included.",
    ),
    c=(
        "Cal-QL's is ahead on average",
        "Its values are on the scale of what it will see. CQL's critics have to learn that scale first.",
    ),
)

prediction(
    "11.p2",
    "Ten critics of offline SAC, trained on the log of the stitching maze, over-estimate the policy's own actions. "
    "Their standard deviation there, against the mean of that error, is...",
    answer="b",
    a=(
        "about as large: where critics err, they differ",
        "Each began with its own weights. But all ten were then fitted to one target, and in that they agree.",
    ),
    b=(
        "less than a tenth of it",
        "All ten are fitted to one target. An error that all of them share shows in no difference between them.",
    ),
    c=(
        "larger: ten critics are spread all over the place where there are no data",
        "They would be, if each made its own target. Here the minimum of some is the target of all.",
    ),
)

quiz_question(
    "11.a",
    "Cal-QL logs a bound rate of 0.00 from the first update to the last. What does that say of the run?",
    answer="a",
    a=(
        "It is a run of CQL, number for number.",
        "The maximum changes a value only where it lies below its bound, and none ever did.",
    ),
    b=(
        "The calibration works so well that no value is below the log's any more.",
        "Nothing below the bound means that the maximum changed nothing. Where it did, in *wide*, the rate was 1.00.",
    ),
    c=(
        "The returns-to-go are wrong, for some candidate must lie below them.",
        "None has to, and with a policy as narrow as the log few do. Other units are one possible reason of several.",
    ),
)

quiz_question(
    "11.b",
    "Every reward is -1 until the goal is reached. Rows seen online are stored with a return-to-go of 0. What does "
    "Cal-QL do with them?",
    answer="c",
    a=(
        "It ignores the bound, which is out of reach there.",
        "Out of reach is a bound that lies far *below* the values. This one lies above all of them.",
    ),
    b=(
        "It pushes harder than CQL, because 0 is a low value.",
        "Among negative values 0 is the highest there is, and a bound never pushes.",
    ),
    c=(
        "It raises each candidate of the policy to 0, so none of them is pushed down.",
        "Whatever happens, the true values are at most 0: the bound always acts, and the gradient is gone.",
    ),
)


# ---------------------------------------------------------------- soft and sparse


# ---------------------------------------------------------------- 11.4
@exercise(
    "11.4",
    title="what a constant is worth",
    kind="derive",
    difficulty=3,
    importance=4,
    minutes=12,
    examples=(
        Example(
            (1.0, 2, 8, 0.5, 3),
            "worked by hand: three steps are left, discount one half; the constants are 2 log 2 and 3 log 2",
        ),
        Example((0.4, 6, 5, 0.9, 10), "six dimensions, a low temperature, ten steps are left"),
        Example((2.5, 1, 30, 0.95, math.inf), "an episode that never ends"),
        Example((0.7, 3, 16, 0.99, 1), "the last step", shown=False),
    ),
    hints=(
        "By hand, for one constant c. Last step: what follows is worth 0 in every form, so Q is off by 0. One step "
        "earlier V(s') is off by c, and Q by c / 2. With three steps left: c / 2 + c / 4.",
        "Let d be what Q is off by. One step earlier V is off by d + c, and Q by discount (d + c). Repeat from 0 on. "
        "And the constants: T times the logarithm of the volume of [-1, 1]^A, or of the number of candidates.",
        "factor = discount * (1 - discount ** ____) / (1 - discount)",
    ),
    meaning=(
        "A constant in the soft value is a reward for every step that is not the last. Where all episodes are equally "
        "long it moves values only; where an action can end the episode it moves the policy."
    ),
)
def shift_of_q(temperature, action_dim, n_candidates, discount, steps):
    """How much higher Q is than with the mean form, if V leaves in a constant and `steps` steps are left.

    steps: 1 on the last one, math.inf in an episode that never ends; a discount below 1
    The constants: of the integral over [-1, 1]^A, and of a plain sum over uniform candidates -> two numbers
    """
    factor = discount * (1 - discount ** (steps - 1)) / (1 - discount)
    return temperature * action_dim * math.log(2) * factor, temperature * math.log(n_candidates) * factor


def _factor(discount, steps):
    return discount * (1 - discount ** (steps - 1)) / (1 - discount)


@mutant("11.4", "for ever")
def _(temperature, action_dim, n_candidates, discount, steps):
    """that is the shift in an episode that never ends. With so many steps left the sum has so many terms less one."""
    factor = discount / (1 - discount)
    return temperature * action_dim * LOG_2 * factor, temperature * math.log(n_candidates) * factor


@mutant("11.4", "the end has a value")
def _(temperature, action_dim, n_candidates, discount, steps):
    """one step too many is counted: after the last step nothing follows, and a termination cuts V(s'), constant and
    all. On the last step Q is off by 0."""
    factor = discount * (1 - discount**steps) / (1 - discount)
    return temperature * action_dim * LOG_2 * factor, temperature * math.log(n_candidates) * factor


@mutant("11.4", "shift of V")
def _(temperature, action_dim, n_candidates, discount, steps):
    """that is how far V(s) is off. Q(s, a) is not off by this state's own constant: it is a reward plus the
    *discounted* V of the next state."""
    factor = (1 - discount**steps) / (1 - discount)
    return temperature * action_dim * LOG_2 * factor, temperature * math.log(n_candidates) * factor


@mutant("11.4", "shift of the next V")
def _(temperature, action_dim, n_candidates, discount, steps):
    """that is how far V(s') is off. In Q(s, a) it stands behind the discount."""
    factor = (1 - discount ** (steps - 1)) / (1 - discount)
    return temperature * action_dim * LOG_2 * factor, temperature * math.log(n_candidates) * factor


@mutant("11.4", "one target")
def _(temperature, action_dim, n_candidates, discount, steps):
    """that is the shift of one target whose V(s') comes from right values. These are learned with the same constant: it
    adds up along the episode."""
    return temperature * action_dim * LOG_2 * discount, temperature * math.log(n_candidates) * discount


@mutant("11.4", "the constants alone")
def _(temperature, action_dim, n_candidates, discount, steps):
    """these are the constants in one V. Every target contains one, and Q adds them up, discounted, along the
    episode."""
    return temperature * action_dim * LOG_2, temperature * math.log(n_candidates)


@mutant("11.4", "no discount")
def _(temperature, action_dim, n_candidates, discount, steps):
    """a constant for each step that follows, right, but those of later steps are discounted."""
    return temperature * action_dim * LOG_2 * (steps - 1), temperature * math.log(n_candidates) * (steps - 1)


@mutant("11.4", "one step too few")
def _(temperature, action_dim, n_candidates, discount, steps):
    """one step too few is counted: on the last step but one V(s') of the last already contains a constant."""
    factor = _factor(discount, max(steps - 1, 1))
    return temperature * action_dim * LOG_2 * factor, temperature * math.log(n_candidates) * factor


@mutant("11.4", "the last power alone")
def _(temperature, action_dim, n_candidates, discount, steps):
    """that is the constant of the last V alone, discounted. Each V on the way to the end contains one: add them up."""
    factor = discount ** (steps - 1)
    return temperature * action_dim * LOG_2 * factor, temperature * math.log(n_candidates) * factor


@mutant("11.4", "the 1 forgotten")
def _(temperature, action_dim, n_candidates, discount, steps):
    """that is the part of the endless sum which comes *after* the end. What comes before it is wanted, the endless sum
    less this part."""
    factor = discount**steps / (1 - discount)
    return temperature * action_dim * LOG_2 * factor, temperature * math.log(n_candidates) * factor


@mutant("11.4", "one discount for all steps")
def _(temperature, action_dim, n_candidates, discount, steps):
    """each constant is discounted once. That of a later step is discounted once for every step until then."""
    factor = discount * (steps - 1)
    return temperature * action_dim * LOG_2 * factor, temperature * math.log(n_candidates) * factor


def _to_the_base(base, temperature, action_dim, n_candidates, discount, steps):
    factor = temperature * _factor(discount, steps)
    return action_dim * math.log(2, base) * factor, math.log(n_candidates, base) * factor


@mutant("11.4", "logarithm to the base 10")
def _(temperature, action_dim, n_candidates, discount, steps):
    """the logarithms are to the base 10. V is the logarithm of a sum of exponentials: the natural one is wanted."""
    return _to_the_base(10, temperature, action_dim, n_candidates, discount, steps)


@mutant("11.4", "logarithm to the base 2")
def _(temperature, action_dim, n_candidates, discount, steps):
    """the logarithms are to the base 2. V is the logarithm of a sum of exponentials: the natural one is wanted."""
    return _to_the_base(2, temperature, action_dim, n_candidates, discount, steps)


@mutant("11.4", "temperature forgotten")
def _(temperature, action_dim, n_candidates, discount, steps):
    """the temperature is missing: it stands in front of the logarithm, and so in front of every constant that is left
    inside."""
    return action_dim * LOG_2 * _factor(discount, steps), math.log(n_candidates) * _factor(discount, steps)


@mutant("11.4", "divided by the temperature")
def _(temperature, action_dim, n_candidates, discount, steps):
    """you divide by the temperature. Q is divided by it *inside* the exponential; the logarithm is multiplied by it."""
    factor = _factor(discount, steps) / temperature
    return action_dim * LOG_2 * factor, math.log(n_candidates) * factor


@mutant("11.4", "log 2 once", seen="asked in takuseno/d3rlpy#147")
def _(temperature, action_dim, n_candidates, discount, steps):
    """log 2 is needed once for each dimension: the box has volume 2 to the power action_dim."""
    factor = temperature * _factor(discount, steps)
    return LOG_2 * factor, math.log(n_candidates) * factor


@mutant("11.4", "log of twice the dimension")
def _(temperature, action_dim, n_candidates, discount, steps):
    """the logarithm of 2 A is taken. The box has volume 2 to the *power* A, whose logarithm is A log 2."""
    factor = temperature * _factor(discount, steps)
    return math.log(2 * action_dim) * factor, math.log(n_candidates) * factor


@mutant("11.4", "numbers for their logarithms")
def _(temperature, action_dim, n_candidates, discount, steps):
    """volume and number of candidates themselves are counted. They are factors inside the logarithm: what remains
    outside are their *logarithms*."""
    factor = temperature * _factor(discount, steps)
    return 2**action_dim * factor, n_candidates * factor


@mutant("11.4", "lower")
def _(temperature, action_dim, n_candidates, discount, steps):
    """both signs are turned: the integral over a box of volume above 1, and a sum of several terms, are larger than a
    mean."""
    factor = -temperature * _factor(discount, steps)
    return action_dim * LOG_2 * factor, math.log(n_candidates) * factor


@mutant("11.4", "other order")
def _(temperature, action_dim, n_candidates, discount, steps):
    """the right two numbers in the other order: first that of the integral, then that of the plain sum."""
    factor = temperature * _factor(discount, steps)
    return math.log(n_candidates) * factor, action_dim * LOG_2 * factor


@mutant("11.4", "sum beside the integral")
def _(temperature, action_dim, n_candidates, discount, steps):
    """the first is right. The second is measured from the integral: both are wanted beside the *mean* form."""
    factor = temperature * _factor(discount, steps)
    return action_dim * LOG_2 * factor, (math.log(n_candidates) - action_dim * LOG_2) * factor


@mutant("11.4", "sum of the two")
def _(temperature, action_dim, n_candidates, discount, steps):
    """the first is right. The second has both constants: a plain sum over candidates leaves in log K alone, and knows
    nothing of the volume."""
    factor = temperature * _factor(discount, steps)
    return action_dim * LOG_2 * factor, (math.log(n_candidates) + action_dim * LOG_2) * factor


# ---------------------------------------------------------------- 11.5
def _mean_weight(value, q, shares, alpha):
    """What the weights come to with a V that is not the right one."""
    weight = float((shares * (1 + (q - float(value)) / (2 * alpha)).clamp(min=0)).sum())
    return f"with this V the weights have the mean {weight:.4g}, and not 1: V is too {'low' if weight > 1 else 'high'}"


@exercise(
    "11.5",
    title="the value that ignores the worst",
    kind="build",
    difficulty=4,
    importance=4,
    minutes=20,
    tried=_mean_weight,
    examples=(
        Example(
            (_numbers([1.0, 0.0]), _numbers([0.5, 0.5]), 0.1),
            "worked by hand: a good and a bad action, logged equally often; only the good one counts",
        ),
        Example(
            (_numbers([0.5, 1.0, 0.0, 0.8]), _numbers([0.3, 0.1, 0.4, 0.2]), 0.1),
            "four logged actions, not in order",
        ),
        Example(
            (_numbers([-2.0, 1.5, -0.5]), _numbers([0.2, 0.5, 0.3]), 4.0),
            "alpha so large that all of them count",
        ),
        Example(
            (
                _numbers([4.9, 3.1, -4.0, 0.3, 2.2, 5.6, -1.7]),
                _numbers([0.13, 0.11, 0.07, 0.23, 0.19, 0.05, 0.22]),
                0.6,
            ),
            "seven logged actions",
            shown=False,
        ),
        Example(
            (_numbers([-7.0, -9.5, -6.2, -8.1, -6.9]), _numbers([0.4, 0.1, 0.05, 0.15, 0.3]), 0.35),
            "five logged actions, all values negative",
            shown=False,
        ),
    ),
    hints=(
        "By hand: if the good action alone counts, half of 1 + (1 - V) / 0.2 must be 1, so V = 0.8. The bad one then "
        "has 1 - 0.8 / 0.2 < 0: it does not count, as supposed.",
        "Suppose the best k count. Then the sum of p (1 + (q - V) / (2 alpha)) over these k is 1: solve for V. No such "
        "V is too high, whatever k is, because leaving a term out, or counting a negative one, only lowers the sum. So "
        "try every k. Or look for V by halving an interval.",
        "order = q.argsort(descending=True); ...; return ((total + 2 * alpha * (____ - 1)) / share).amax()",
    ),
    meaning="Two logged values: below V - 2 alpha an action has no say; above alpha = p D / 2 every action has one.",
)
def sparse_value(q, shares, alpha):
    """V such that the weights max(1 + (q - V) / (2 alpha), 0) have the mean 1 over the log.

    Values [K] of K logged actions, their shares of the log [K], alpha -> []
    """
    order = q.argsort(descending=True)
    share, total = shares[order].cumsum(0), (shares * q)[order].cumsum(0)
    return ((total + 2 * alpha * (share - 1)) / share).amax()


def _best(q, shares, alpha, wanted=1.0):
    """The V of each k, if the best k count: their weights' mean is ``wanted``."""
    order = q.argsort(descending=True)
    share, total = shares[order].cumsum(0), (shares * q)[order].cumsum(0)
    return (total + 2 * alpha * (share - wanted)) / share


@mutant("11.5", "mean")
def _(q, shares, alpha):
    """that is the mean of the logged values, in which all of them count: right only while no weight is cut off at 0. A
    negative weight counts as 0, and then the others must come down: V rises. (From the worst action on, in place of the
    best, no supposed number of them gives more.)"""
    return (shares * q).sum()


@mutant("11.5", "maximum")
def _(q, shares, alpha):
    """that is the largest logged value. With V there, the best action has weight 1 and all others less: the mean is
    below 1, so V is too high."""
    return q.amax()


@mutant("11.5", "best alone")
def _(q, shares, alpha):
    """only the best action is allowed to count. Others may lie above V - 2 alpha as well: test every number of them."""
    best = q.argmax()
    return q[best] + 2 * alpha * (1 - 1 / shares[best])


@mutant("11.5", "alpha without its 2")
def _(q, shares, alpha):
    """alpha stands where 2 alpha should: a weight is 1 + (q - V) / (2 alpha)."""
    return _best(q, shares, alpha / 2).amax()


@mutant("11.5", "twice the 2")
def _(q, shares, alpha):
    """2 alpha is doubled: a weight is 1 + (q - V) / (2 alpha)."""
    return _best(q, shares, 2 * alpha).amax()


@mutant("11.5", "shares forgotten")
def _(q, shares, alpha):
    """every logged action counts alike. The mean is over the *log*, in which an action has its share of the rows."""
    return _best(q, torch.full_like(shares, 1 / len(shares)), alpha).amax()


@mutant("11.5", "sum is 1")
def _(q, shares, alpha):
    """here the weights' *sum* over the actions is 1. Their mean over the log is wanted: each weight times its share."""
    return _best(q, torch.ones_like(shares), alpha).amax()


@mutant("11.5", "smallest")
def _(q, shares, alpha):
    """the smallest V of all supposed numbers of actions that count. No such V is too high, and one of them is right: it
    is the largest."""
    return _best(q, shares, alpha).amin()


@mutant("11.5", "threshold")
def _(q, shares, alpha):
    """that is V - 2 alpha, the value from which on an action counts (or V without the 1 in its weight, which is the
    same number). V itself is wanted: an action at V has weight 1."""
    return _best(q, shares, alpha).amax() - 2 * alpha


@mutant("11.5", "exponential")
def _(q, shares, alpha):
    """that is the V of exponential Q-learning, whose weights exp((q - V) / alpha) have the mean 1. None of them is 0.
    Here the weights are straight lines, cut off at 0."""
    return alpha * torch.logsumexp(q / alpha + shares.log(), 0)


@mutant("11.5", "mean weight one half")
def _(q, shares, alpha):
    """with this V the weights have the mean one half. Their mean is to be 1, or the log, reweighed, is no
    distribution: V is lower."""
    return _best(q, shares, alpha, 0.5).amax()


@mutant("11.5", "sign of alpha")
def _(q, shares, alpha):
    """the sign of alpha is turned: weights would *fall* with q."""
    return _best(q, shares, -alpha).amax()


@mutant("11.5", "mean of the better half")
def _(q, shares, alpha):
    """that is the mean of the actions that are better than average. Which ones count depends on alpha, and they do not
    count alike."""
    above = q > (shares * q).sum()
    return (shares * q)[above].sum() / shares[above].sum()


@mutant("11.5", "shares count alike")
def _(q, shares, alpha):
    """that is the plain mean of the logged values: each counts alike, whatever its share of the log, and none is left
    out."""
    return q.mean() + 0 * alpha * shares.sum()


@mutant("11.5", "all or the best alone")
def _(q, shares, alpha):
    """two cases only: all actions count, or the best alone. Any number between may count: try each."""
    best = q.argmax()
    return torch.maximum((shares * q).sum(), q[best] + 2 * alpha * (1 - 1 / shares[best]))


@mutant("11.5", "not sorted")
def _(q, shares, alpha):
    """the actions are taken in the order of the log. Those that count are the *best* k: sort the values, and their
    shares with them."""
    share, total = shares.cumsum(0), (shares * q).cumsum(0)
    return ((total + 2 * alpha * (share - 1)) / share).amax()


@mutant("11.5", "shares not sorted")
def _(q, shares, alpha):
    """the values are sorted, and their shares are not: each action keeps its own share."""
    down = q.sort(descending=True).values
    share, total = shares.cumsum(0), (shares * down).cumsum(0)
    return ((total + 2 * alpha * (share - 1)) / share).amax()


def _kept(q, v, alpha):
    return q > v - 2 * alpha


@mutant("11.5", "mean of those that count")
def _(q, shares, alpha):
    """that is the mean of the actions that count, as if their weights had the mean 1 among themselves. The mean is over
    the *whole* log: rows with weight 0 are in it, so the others weigh more than 1."""
    v = (shares * q).sum()
    for _ in range(len(q)):
        kept = _kept(q, v, alpha)
        v = (shares * q)[kept].sum() / shares[kept].sum()
    return v


@mutant("11.5", "value of the reweighed log")
def _(q, shares, alpha):
    """that is what the reweighed log earns, the mean of w q. V is the number *inside* the weights, which gives them the
    mean 1."""
    v = _best(q, shares, alpha).amax()
    return (shares * (1 + (q - v) / (2 * alpha)).clamp(min=0) * q).sum()


@mutant("11.5", "the best alone, its 1 forgotten")
def _(q, shares, alpha):
    """the best action's weight is solved for without its 1, and no other action is allowed to count. With a share p it
    is p (1 + (q - V) / (2 alpha)) that must be 1, if it counts alone."""
    best = q.argmax()
    return q[best] - 2 * alpha / shares[best]


@mutant("11.5", "V minus q")
def _(q, shares, alpha):
    """the difference is turned: with 1 + (V - q) / (2 alpha) the *worst* actions would weigh most."""
    return -_best(-q, shares, alpha).amax()


@mutant("11.5", "the worst alone is dropped")
def _(q, shares, alpha):
    """at most the one worst action is left out. More may have a weight below 0: go on until none has."""
    v, kept = (shares * q).sum(), torch.arange(len(q)) != q.argmin()
    share = shares[kept].sum()
    without = ((shares * q)[kept].sum() + 2 * alpha * (share - 1)) / share
    return v if q.amin() > v - 2 * alpha else without


@mutant("11.5", "one pass")
def _(q, shares, alpha):
    """one pass too few: V is solved for the actions that would count if V were the mean. With the new V others drop
    out: repeat until none does, or try every number of them."""
    counts = q > (shares * q).sum() - 2 * alpha
    share = shares[counts].sum()
    return ((shares * q)[counts].sum() + 2 * alpha * (share - 1)) / share


# ---------------------------------------------------------------- 11.6
@exercise(
    "11.6",
    title="the wrong line of a listing",
    kind="read",
    difficulty=4,
    importance=3,
    minutes=8,
    examples=(Example((), "the listing of ten lines above", shown=False),),
    hints=(
        "What must the mean of the weights over a batch be, once V has been learned? Which line decides it?",
        "Set the derivative of the loss of V to zero. Does it say that the mean of max(t, 0) is 1?",
        "return ____  # the line of V's loss",
    ),
    meaning=(
        "Line 4: the derivative in V is -2 max(t, 0) / (2 alpha) + 1 / (2 alpha), which vanishes where the mean weight "
        "is one half. v / alpha mends it. The two 2 alpha look alike, so the line looks right."
    ),
)
def wrong_line():
    """The number of the one wrong line.

    -> an integer from 1 to 10
    """
    return 4


def _line(number, message):
    wrong_choice("11.6", f"line {number}", number, message)


_line(1, "line 1 is right: the smaller target critic, at the logged action. No other action is ever asked about.")
_line(2, "line 2 is right: V carries its gradient into its loss, and q does not.")
_line(3, "line 3 is right: this is the weight before it is cut off at 0, with V from before its step.")
_line(5, "line 5 is right: V moves first, on its own loss alone.")
_line(6, "line 6 is right: the advantage with the V after its step, a constant for the policy.")
_line(
    7,
    "line 7 is right: the weight of the derivation, with a cap. The authors' program has max(advantage, 0) in its "
    "place, which is another choice.",
)
_line(
    8, "line 8 is right: cloning, each logged action with its weight; the minus makes likely what has a large weight."
)
_line(9, "line 9 is right: one minus the termination cuts what follows, and V of the next state is a constant.")
_line(10, "line 10 is right: both critics follow the same target, and their losses are added.")


# ---------------------------------------------------------------- predictions and quiz of sections 3 and 4
prediction(
    "11.p3",
    "Soft Q-learning in the cliff grid, solved exactly: the goal pays 10 once and ends the episode, every other step "
    "costs a tenth. T is 1, and V(s) = T log of the *sum* of exp(Q / T) over the four actions. Where does the greedy "
    "action of this Q lead?",
    answer="b",
    a=(
        "home: V contains the same constant log 4 in every state, and a constant moves no maximum",
        "It is the same in every state that goes on. Behind the goal nothing goes on, and nothing is added.",
    ),
    b=(
        "past the goal, for ever: it never goes home",
        "log 4 a step for going on, discounted, is worth more than twice what the goal pays.",
    ),
    c=(
        "home, but by a detour, as T = 1 makes the policy random near the cliff",
        "The greedy action is not random. What it maximises contains a reward for every step that is not the last.",
    ),
)

prediction(
    "11.p4",
    "Expert logs, nine episodes in ten replaced by random behaviour. Cloning learns the noise. Sparse Q-learning gives "
    "bad rows the weight 0; IQL's weights are never 0. Each has its setting chosen on other draws. Which earns more?",
    answer="c",
    a=(
        "sparse Q-learning, in either form of its weight: what is left out can do no harm",
        "An exponential weight near 0 does no more harm than 0 itself. What decides is how far upwards V and the "
        "weights look.",
    ),
    b=(
        "the draws do not tell either form of sparse Q-learning from IQL",
        "So one would think, as all of them keep to logged actions. The difference is small, but paired draws tell it.",
    ),
    c=(
        "IQL, by a little",
        "With a high expectile and sharp weights it looks upwards as well, and ranks the good rows among each other.",
    ),
)

quiz_question(
    "11.c",
    "Two logged actions in a state, worth 6 and 2, the better one with a tenth of the rows. At which alpha of sparse Q-"
    "learning does the worse one get the weight 0?",
    answer="a",
    a=(
        "below 0.2",
        "p D / 2, with p = 0.1 and D = 4: what is rare has to be better by a lot before the rest is ignored.",
    ),
    b=(
        "below 2, half of the distance",
        "That would be so if nearly all rows held the better action. V then lies near it; here it lies near the worse.",
    ),
    c=(
        "at any: the weights are cut off at 0",
        "They are cut off only where they would be negative. With a large alpha none is, and V is the mean.",
    ),
)
