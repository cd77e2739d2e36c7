"""Exercises of chapter 08, the full agent: one update of CQL, line by line; shapes as in `losses`, E critics first."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...losses import LOG_2, log_partition, normalised_gap, tanh_gaussian_log_prob, td_loss
from ..checker import Example
from ..registry import exercise, mutant, prediction, quiz_question


def _numbers(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# ---------------------------------------------------------------- 08.1
@exercise(
    "08.1",
    title="the Bellman target",
    kind="build",
    difficulty=2,
    importance=5,
    minutes=8,
    examples=(
        Example(
            (
                _numbers([1.0, 1.0, 0.0]),
                torch.tensor([False, True, False]),
                _numbers([[4.0, 2.0, 6.0], [2.0, 4.0, 10.0]]),
                0.9,
            ),
            "three transitions, the second ends the task; two target critics, discount 0.9",
        ),
        Example(
            (
                _numbers([0.3, -0.2, 0.0, 1.0]),
                torch.tensor([True, False, False, True]),
                _numbers([[-1.0, 2.5, 0.4, 1.0], [0.2, 3.1, -0.6, 2.0], [1.3, 1.9, 0.1, -2.0]]),
                0.99,
            ),
            "four transitions, three critics, some values negative",
            shown=False,
        ),
    ),
    hints=(
        "Four questions: what was earned, was that the end, which critic do you believe, how far away is it?",
        "Reward plus discount times (1 - termination) times the smallest of the target critics' values, axis 0. A "
        "tensor of True and False is turned round with ~; amin returns the values alone, min with an axis a pair.",
        "return rewards + discount * (____).to(rewards.dtype) * next_q.____(dim=0)",
    ),
    meaning="A termination cuts what follows, never the reward; the smallest critic keeps the target cautious.",
)
def bellman_target(rewards, terminations, next_q, discount):
    """Reward plus what the most cautious target critic expects next, unless it ended.

    [B], [B] of True and False, [E, B], number -> [B]
    """
    return rewards + discount * (~terminations).to(rewards.dtype) * next_q.amin(dim=0)


@mutant("08.1", "through the termination")
def _(rewards, terminations, next_q, discount):
    """you bootstrap through the termination. After it there is nothing to come, and the critics' guess about that
    nothing would be handed back from state to state."""
    return rewards + discount * next_q.amin(0)


@mutant("08.1", "upside down")
def _(rewards, terminations, next_q, discount):
    """the terminations are upside down: only the ended transitions look ahead. Multiply by one minus the
    termination, or by ~terminations."""
    return rewards + discount * terminations.to(rewards.dtype) * next_q.amin(0)


@mutant("08.1", "maximum")
def _(rewards, terminations, next_q, discount):
    """that is the largest of the critics. Whichever overrates an action wins, and the target spreads its error;
    the smallest is the cautious choice."""
    return rewards + discount * ~terminations * next_q.amax(0)


@mutant("08.1", "mean")
def _(rewards, terminations, next_q, discount):
    """that is the mean of the critics. The policy searches for actions that they overrate, so the mean is too
    high; take the smallest at each transition."""
    return rewards + discount * ~terminations * next_q.mean(0)


@mutant("08.1", "first critic")
def _(rewards, terminations, next_q, discount):
    """only the first critic is asked. The others are there to contradict it where it overrates: take the smallest."""
    return rewards + discount * ~terminations * next_q[0]


@mutant("08.1", "no minimum")
def _(rewards, terminations, next_q, discount):
    """each critic has its own target here, [E, B]. All learn from one cautious target: take the smallest over the
    critics, axis 0."""
    return rewards + discount * ~terminations * next_q


@mutant("08.1", "one minimum")
def _(rewards, terminations, next_q, discount):
    """one minimum over the whole batch: every transition looks ahead to the worst of them all. The minimum runs
    over the critics, axis 0."""
    return rewards + discount * ~terminations * next_q.amin()


@mutant("08.1", "no discount")
def _(rewards, terminations, next_q, discount):
    """the discount is not used. Without it the values need not settle: they sum rewards for ever."""
    return rewards + ~terminations * next_q.amin(0)


@mutant("08.1", "all discounted")
def _(rewards, terminations, next_q, discount):
    """the reward is discounted as well. It is earned now; only what follows it is a step away."""
    return discount * (rewards + ~terminations * next_q.amin(0))


@mutant("08.1", "last reward dropped")
def _(rewards, terminations, next_q, discount):
    """the termination cancels the reward too. The last reward is often the one that counts, such as reaching the
    goal: cut only what follows."""
    return ~terminations * (rewards + discount * next_q.amin(0))


@mutant("08.1", "no reward")
def _(rewards, terminations, next_q, discount):
    """the reward is missing: it is the only thing in the target that the data know and the critics do not."""
    return discount * ~terminations * next_q.amin(0)


# ---------------------------------------------------------------- 08.2
@exercise(
    "08.2",
    title="the critics' loss",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=10,
    gradients=("q_data", "target", "penalty", "log_multiplier"),
    examples=(
        Example(
            (
                _numbers([[1.0, 3.0], [2.0, 0.0], [2.0, 1.0]]),
                _numbers([2.0, 1.0]),
                _numbers([0.5, 1.5, 2.0]),
                _numbers(4.0).log(),
            ),
            "three critics, two transitions; the multiplier is 4, its logarithm 1.386",
        ),
        Example(
            (
                _numbers([[0.3, -1.2, 2.0], [1.1, 0.4, -0.7]]),
                _numbers([0.5, -0.3, 1.0]),
                _numbers([-0.4, 2.3]),
                _numbers(-0.6),
            ),
            "two critics, three transitions, one penalty below 0",
            shown=False,
        ),
    ),
    hints=(
        "The critics alone learn from this loss. Which of the four arguments does it therefore treat as constants?",
        "For each critic the mean over the batch of (Q - target) squared, plus the exponential of the log multiplier "
        "times its penalty; then the sum over critics. Target and multiplier are detached.",
        "td = (q_data - ____).square().mean(dim=-1); return (td + log_multiplier.____.exp() * penalty).sum()",
    ),
    meaning="Value and gradient are right: the critics move, the target and the multiplier stand still.",
)
def critic_loss(q_data, target, penalty, log_multiplier):
    """Mean squared Bellman error plus multiplier times penalty, summed over critics.

    [E, B], [B], [E], [] -> []
    """
    td = (q_data - target.detach()).square().mean(dim=-1)
    multiplier = log_multiplier.detach().exp()
    return (td + multiplier * penalty).sum()


@mutant("08.2", "target moves")
def _(q_data, target, penalty, log_multiplier):
    """the value is right, but the target is not detached. The error then also shrinks by moving the *target*
    towards a wrong Q: the future would be fitted to the past."""
    return ((q_data - target).square().mean(-1) + log_multiplier.detach().exp() * penalty).sum()


@mutant("08.2", "multiplier moves")
def _(q_data, target, penalty, log_multiplier):
    """the value is right, but the multiplier is not detached. The easiest way to make multiplier times penalty
    small is a multiplier of 0: this loss would switch the penalty off."""
    return (td_loss(q_data, target) + log_multiplier.exp() * penalty).sum()


@mutant("08.2", "both move")
def _(q_data, target, penalty, log_multiplier):
    """the value is right, but neither the target nor the multiplier is detached. The critics alone learn from this
    loss; it must not move what they aim at, nor the weight of the penalty."""
    return ((q_data - target).square().mean(-1) + log_multiplier.exp() * penalty).sum()


@mutant("08.2", "penalty detached", seen="EmptyJackson/unifloral before its pull request 7")
def _(q_data, target, penalty, log_multiplier):
    """the value is right, but the penalty is detached, so it pushes nothing: this agent is plain SAC, whatever it
    logs as its penalty."""
    return (td_loss(q_data, target) + log_multiplier.detach().exp() * penalty.detach()).sum()


@mutant("08.2", "mean over critics")
def _(q_data, target, penalty, log_multiplier):
    """that is the mean over the critics. Each then has the gradient of one E-th of its loss; the critics share no
    weights, so *sum* their losses and each learns as if it were alone. (Adam hides most of such a factor, other
    optimizers do not.)"""
    return (td_loss(q_data, target) + log_multiplier.detach().exp() * penalty).mean()


@mutant("08.2", "errors averaged")
def _(q_data, target, penalty, log_multiplier):
    """the squared errors are averaged over all critics, the penalties are summed: with E critics the penalty
    weighs E times too much. Average over the batch only, then sum both."""
    return td_loss(q_data, target).mean() + log_multiplier.detach().exp() * penalty.sum()


@mutant("08.2", "penalties averaged")
def _(q_data, target, penalty, log_multiplier):
    """the penalties are averaged over the critics, the errors are summed: with E critics the penalty has one E-th
    of its weight. Sum both."""
    return td_loss(q_data, target).sum() + log_multiplier.detach().exp() * penalty.mean()


@mutant("08.2", "half")
def _(q_data, target, penalty, log_multiplier):
    """there is a half before the squared error. The paper has it, this course and most code do not: with it the
    same multiplier is twice as conservative."""
    return (0.5 * td_loss(q_data, target) + log_multiplier.detach().exp() * penalty).sum()


@mutant("08.2", "smallest critic")
def _(q_data, target, penalty, log_multiplier):
    """only the smallest critic at each transition is drawn to the target. The minimum belongs *into* the target;
    every critic has its own squared error."""
    return td_loss(q_data.amin(0)[None], target).sum() + log_multiplier.detach().exp() * penalty.sum()


@mutant("08.2", "sum over the batch")
def _(q_data, target, penalty, log_multiplier):
    """the squared errors are summed over the batch, while the penalty is a mean over it. Their balance would
    change with the batch size: take the mean."""
    return ((q_data - target.detach()).square().sum(-1) + log_multiplier.detach().exp() * penalty).sum()


@mutant("08.2", "logarithm as weight")
def _(q_data, target, penalty, log_multiplier):
    """the *logarithm* of the multiplier weighs the penalty. A multiplier below 1 would then reward overrating:
    take exp first."""
    return (td_loss(q_data, target) + log_multiplier.detach() * penalty).sum()


@mutant("08.2", "penalty unweighted", seen="pytorch/rl, where the multiplier does not weigh the critics' penalty")
def _(q_data, target, penalty, log_multiplier):
    """the multiplier is not used: whatever it learns, the penalty keeps weight 1."""
    return (td_loss(q_data, target) + penalty).sum()


@mutant("08.2", "penalty subtracted")
def _(q_data, target, penalty, log_multiplier):
    """the penalty is subtracted: a smaller loss means a *larger* penalty, and the critics praise what nobody tried."""
    return (td_loss(q_data, target) - log_multiplier.detach().exp() * penalty).sum()


@mutant("08.2", "multiplier on both")
def _(q_data, target, penalty, log_multiplier):
    """the multiplier weighs the squared error too, so it only scales the step. It must set the penalty *against*
    the error."""
    return (log_multiplier.detach().exp() * (td_loss(q_data, target) + penalty)).sum()


@mutant("08.2", "multiplier on the error")
def _(q_data, target, penalty, log_multiplier):
    """the multiplier weighs the squared error in the place of the penalty: the larger it is, the *less*
    conservative the critics."""
    return (log_multiplier.detach().exp() * td_loss(q_data, target) + penalty).sum()


# ---------------------------------------------------------------- 08.3
@exercise(
    "08.3",
    title="thirty candidates",
    kind="build",
    difficulty=4,
    importance=4,
    minutes=12,
    examples=(
        Example(
            (
                _numbers([[0.0, 0.5]]),
                _numbers([[0.0, LOG_2]]),
                _numbers([[-0.5, 0.0]]),
                _numbers([[-LOG_2, 0.0]]),
                _numbers([[[0.5, -0.5]]]),
                _numbers([[[1.0, -0.25]]]),
                _numbers([[[1.0, 0.5]]]),
            ),
            "one state, two dimensions, one candidate of each kind; the standard deviations are 1 and 2 at s, 1/2 and "
            "1 at s'",
        ),
        Example(
            (
                _numbers([[0.2, -0.4, 1.0], [0.0, 0.3, -1.1]]),
                _numbers([[-0.5, 0.1, -1.0], [0.4, -0.2, 0.0]]),
                _numbers([[0.1, -0.3, 0.7], [-0.2, 0.6, -1.0]]),
                _numbers([[-0.7, 0.0, -0.9], [0.2, -0.1, 0.3]]),
                _numbers([[[0.9, 0.1, -0.4], [-0.8, 0.3, 0.0]], [[0.2, -0.6, 0.5], [0.7, -0.1, -0.9]]]),
                _numbers([[[0.3, -1.2, 0.8], [1.5, 0.0, -0.4]], [[-0.6, 0.9, 0.2], [0.1, -2.0, 1.1]]]),
                _numbers([[[1.0, 0.4, -0.7], [-0.3, 0.6, 1.8]], [[0.5, -0.9, 0.0], [2.1, 0.3, -1.4]]]),
            ),
            "two states, three dimensions, two candidates of each kind",
            shown=False,
        ),
    ),
    hints=(
        "Three blocks of N candidates, and for each block: how was it drawn, and how dense is that?",
        "u is the mean plus the standard deviation times the noise, with mean[:, None] to make room for N. The action "
        "is tanh(u), its log-density tanh_gaussian_log_prob(u, mean, log_std). The uniform block has minus A log 2.",
        "flat = torch.full_like(uniform[..., 0], ____); here = tanh_gaussian_log_prob(u, mean[:, None], log_std[:, "
        "None]); return torch.cat([uniform, torch.tanh(u), torch.tanh(next_u)], dim=1), torch.cat([flat, here, ____], "
        "dim=1)",
    ),
    meaning=(
        "Every candidate carries the density that drew it, so any mixture of proposals estimates the same integral."
    ),
)
def candidates(mean, log_std, next_mean, next_log_std, uniform, normal, next_normal):
    """Actions proposed by uniform, pi(.|s) and pi(.|s'), and the log-density of each.

    [B, A] four times, [B, N, A] three times -> [B, 3N, A], [B, 3N]
    """
    u = mean[:, None] + log_std.exp()[:, None] * normal
    next_u = next_mean[:, None] + next_log_std.exp()[:, None] * next_normal
    flat = torch.full_like(uniform[..., 0], -uniform.shape[-1] * math.log(2))
    here = tanh_gaussian_log_prob(u, mean[:, None], log_std[:, None])
    there = tanh_gaussian_log_prob(next_u, next_mean[:, None], next_log_std[:, None])
    actions = torch.cat([uniform, torch.tanh(u), torch.tanh(next_u)], dim=1)
    return actions, torch.cat([flat, here, there], dim=1)


def _proposed(
    given,
    *,
    std=torch.exp,
    squash=torch.tanh,
    flat=lambda dimensions: -dimensions * LOG_2,
    density=tanh_gaussian_log_prob,
    spread=lambda statistic: statistic[:, None],
    places=(0, 1, 2),
    order=(0, 1, 2),
):
    """`candidates` with one part exchanged; ``places`` are those of the densities, ``order`` that of all."""
    mean, log_std, next_mean, next_log_std = (spread(statistic) for statistic in given[:4])
    uniform, normal, next_normal = given[4:]
    u, next_u = mean + std(log_std) * normal, next_mean + std(next_log_std) * next_normal
    log_densities = [
        torch.full_like(uniform[..., 0], flat(uniform.shape[-1])),
        density(u, mean, log_std),
        density(next_u, next_mean, next_log_std),
    ]
    actions = [uniform, squash(u), squash(next_u)]
    return torch.cat([actions[i] for i in order], 1), torch.cat([log_densities[places[i]] for i in order], 1)


@mutant("08.3", "density of pi(.|s)")
def _(*given):
    """the actions proposed at s' are given the density of pi(.|s). Each candidate is divided by the density that
    *drew* it, or it counts for the wrong share of the integral."""
    mean, log_std = given[0][:, None], given[1][:, None]
    return _proposed(given, density=lambda u, *_: tanh_gaussian_log_prob(u, mean, log_std))


@mutant("08.3", "uniform without density")
def _(*given):
    """the uniform candidates have log-density 0, as if the box had volume 1. Its volume is 2^A: their log-density
    is minus A log 2."""
    return _proposed(given, flat=lambda d: 0.0)


@mutant("08.3", "log 2 once", seen="asked in takuseno/d3rlpy#147")
def _(*given):
    """minus log 2 is the log-density of *one* uniform dimension. The dimensions multiply: minus A log 2."""
    return _proposed(given, flat=lambda d: -LOG_2)


@mutant("08.3", "volume for density")
def _(*given):
    """plus A log 2 is the log of the *volume*. The density is one over it: minus A log 2."""
    return _proposed(given, flat=lambda d: d * LOG_2)


@mutant("08.3", "power turned round", seen="ray-project/ray, the new learner before its repair")
def _(*given):
    """base and exponent are swapped in the uniform density: it is 0.5 to the power A, not A to the power 0.5."""
    return _proposed(given, flat=lambda d: math.log(d**0.5))


@mutant("08.3", "log_std as std")
def _(*given):
    """the noise is scaled by log_std. The standard deviation is its exp; a logarithm is often negative."""
    return _proposed(given, std=lambda s: s)


@mutant("08.3", "not squashed")
def _(*given):
    """the policy's candidates are u, which may lie outside [-1, 1], where the critic was never trained. The action
    is tanh(u)."""
    return _proposed(given, squash=lambda u: u)


@mutant("08.3", "no Jacobian")
def _(*given):
    """the policy's densities are those of u. tanh squeezes u into the box, which raises the density of the action:
    use tanh_gaussian_log_prob."""

    def density(u, mean, log_std):
        return torch.distributions.Normal(mean, log_std.exp(), validate_args=False).log_prob(u).sum(-1)

    return _proposed(given, density=density)


@mutant("08.3", "density at the action", seen="boyu-ai/Hands-on-RL, chapter 18: tanh twice")
def _(*given):
    """the density is asked at tanh(u). tanh_gaussian_log_prob wants the u before tanh; it does the squashing itself."""
    return _proposed(given, density=lambda u, m, s: tanh_gaussian_log_prob(torch.tanh(u), m, s))


@mutant("08.3", "std for its log")
def _(*given):
    """the density is given the standard deviation. tanh_gaussian_log_prob wants log_std, as it came; it takes exp
    itself."""
    return _proposed(given, density=lambda u, m, s: tanh_gaussian_log_prob(u, m, s.exp()))


@mutant("08.3", "policies without density", seen="EmptyJackson/unifloral")
def _(*given):
    """the policies' candidates have log-density 0. A sharp policy proposes its favourites again and again; only
    their density tells the sum so."""
    return _proposed(given, density=lambda u, m, s: torch.zeros_like(u[..., 0]))


@mutant("08.3", "one noise for both")
def _(*given):
    """the same noise drives both policies. At s and s' they are nearly alike, so their candidates would be nearly
    copies: use next_normal at s'."""
    return _proposed((*given[:6], given[5]))


@mutant("08.3", "next policy forgotten")
def _(*given):
    """both groups come from pi(.|s). The third proposal has its own mean and standard deviation, next_mean and
    next_log_std."""
    return _proposed((*given[:2], *given[:2], *given[4:]))


@mutant("08.3", "uniform scaled again")
def _(*given):
    """the uniform numbers are stretched once more. They arrive in [-1, 1] already: use them as they are."""
    return _proposed((*given[:4], 2 * given[4] - 1, *given[5:]))


@mutant("08.3", "densities in another order")
def _(*given):
    """actions and densities are in different orders, so that each candidate is divided by a stranger's density.
    Both: uniform, pi(.|s), pi(.|s')."""
    return _proposed(given, places=(1, 2, 0))


@mutant("08.3", "uniform last")
def _(*given):
    """the right candidates, each with its own density, in another order. The penalty would not mind, but this
    check compares place by place: uniform, pi(.|s), pi(.|s')."""
    return _proposed(given, order=(1, 2, 0))


@mutant("08.3", "broadcast")
def _(*given):
    """mean [B, A] was broadcast against noise [B, N, A] without an axis for the candidates. With B = N torch says
    nothing and lends each candidate the policy of another state: mean[:, None]."""
    return _proposed(given, spread=lambda z: z)


# ---------------------------------------------------------------- 08.4
def two_critics(observations, actions):
    """Q1(s, a) = s a and Q2(s, a) = s - a, of the first numbers of s and a: [B, S], [B, K, A] -> [2, B, K]."""
    s, a = observations[:, :1], actions[..., 0]
    return torch.stack([s * a, s - a])


@exercise(
    "08.4",
    title="the penalty of each critic",
    kind="build",
    difficulty=4,
    importance=5,
    minutes=10,
    examples=(
        Example(
            (
                two_critics,
                _numbers([[1.0], [2.0]]),
                _numbers([[0.0], [-1.0]]),
                _numbers([[0.5], [-0.5]]),
                _numbers([[[0.0], [1.0], [-1.0]], [[-1.0], [1.0], [0.5]]]),
                _numbers([[0.5, 1.0, 0.5], [0.5, 0.25, 2.0]]).log(),
            ),
            "Q1(s, a) = s a and Q2(s, a) = s - a; two states, one logged action and three candidates in each, with "
            "densities 1/2, 1, 1/2 and 1/2, 1/4, 2",
        ),
        Example(
            (
                two_critics,
                _numbers([[0.3], [-1.5]]),
                _numbers([[0.4], [-1.0]]),
                _numbers([[0.2], [0.9]]),
                _numbers([[[-0.9], [0.8], [0.1], [0.3], [0.0], [0.7]], [[0.6], [-0.2], [1.0], [0.9], [0.5], [-0.4]]]),
                _numbers([[-0.7, -0.7, 0.4, 0.9, -1.0, 0.2], [-0.7, -0.7, 1.1, -0.3, 0.0, -2.0]]),
            ),
            "two states, six candidates",
            shown=False,
        ),
    ),
    hints=(
        "Two calls of the critic, both at the same observations. Which?",
        "logsumexp over the last axis of Q minus log_density, minus log K; minus Q of the logged action (give it an "
        "axis of one candidate and take that axis off again); the mean over the batch.",
        "q_data = critic(____, actions[:, None])[..., 0]; return (torch.logsumexp(q - ____, dim=-1) - "
        "math.log(q.shape[-1]) - q_data).mean(dim=-1)",
    ),
    meaning=(
        "One penalty for each critic, all of it at s: pushed down on the candidates, pulled up on the logged action."
    ),
)
def conservative_penalty(critic, observations, next_observations, actions, candidates, log_density):
    """Log of the candidates' mean exp(Q) / density, minus Q of the logged action.

    critic, [B, S], [B, S], [B, A], [B, K, A], [B, K] -> [E];
    the critic takes [B, S], [B, K, A] -> [E, B, K]
    """
    q = critic(observations, candidates)
    soft = torch.logsumexp(q - log_density, dim=-1) - math.log(q.shape[-1])
    q_data = critic(observations, actions[:, None])[..., 0]
    return (soft - q_data).mean(dim=-1)


def _logged(critic, observations, actions):
    return critic(observations, actions[:, None])[..., 0]


@mutant(
    "08.4",
    "candidates at s'",
    seen="RLlib's module and unifloral; in OfflineRL-Kit#12 hopper-medium fell from 95 to 60",
)
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the candidates are scored at the next state. The integral over actions is taken *at s*: what is pushed down
    and what is pulled up must be the same row of Q."""
    q = critic(next_observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (log_partition(q, log_density) - q_data).mean(-1)


@mutant("08.4", "logged at s'")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the logged action is scored at the next state. It was taken at s: otherwise a pair that the data do not hold
    is pulled up."""
    q = critic(observations, candidates)
    q_data = _logged(critic, next_observations, actions)
    return (log_partition(q, log_density) - q_data).mean(-1)


@mutant("08.4", "all at s'")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """everything is scored at the next state. The logged action was taken at s, so only there do the data vouch
    for it."""
    q = critic(next_observations, candidates)
    q_data = _logged(critic, next_observations, actions)
    return (log_partition(q, log_density) - q_data).mean(-1)


@mutant("08.4", "hard maximum")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """a plain maximum pushes down one candidate a state; all others stay free to be overrated next. Use logsumexp."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (q.amax(-1) - q_data).mean(-1)


@mutant("08.4", "one for the batch")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """one logsumexp over the whole batch: only the state with the largest values is pushed. One number a state
    first, then the mean."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return torch.logsumexp(q - log_density, (-2, -1)) - math.log(log_density.numel()) - q_data.mean(-1)


@mutant("08.4", "over the critics", seen="EmptyJackson/unifloral")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the logsumexp runs over the critics as well, so that only the most optimistic is pushed. Each critic has its
    own: the last axis alone."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (torch.logsumexp(q - log_density, (0, -1)) - math.log(2 * candidates.shape[1]) - q_data).mean(-1)


@mutant("08.4", "no density", seen="EmptyJackson/unifloral")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the densities are not used, so what the policy proposes often is pushed often. Subtract log_density inside
    the logsumexp."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (torch.logsumexp(q, -1) - math.log(candidates.shape[1]) - q_data).mean(-1)


@mutant("08.4", "density added")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the densities are multiplied in. Dividing by them *subtracts* their logarithm: q - log_density."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (log_partition(q, -log_density) - q_data).mean(-1)


@mutant("08.4", "raw sum", seen="the raw form of the official code and of most copies")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """log K is missing: a sum grows with the number of candidates, and a target for the CQL gap would mean
    something else for every K. The gradient is the same."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (torch.logsumexp(q - log_density, -1) - q_data).mean(-1)


@mutant("08.4", "bare logsumexp")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """neither the densities nor log K are there. With continuous actions the candidates are a sample: weigh each
    by its density and take the mean."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (torch.logsumexp(q, -1) - q_data).mean(-1)


@mutant(
    "08.4",
    "in threes",
    seen="OfflineRL-Kit and tianshou, by a reshape whose result is thrown away; torchrl by construction",
)
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the logsumexp runs over three candidates at a time, one of each proposal, and the results are averaged. The
    mean inside the logarithm must run over all K."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    threes = (q - log_density).unflatten(-1, (3, -1))
    soft = (torch.logsumexp(threes, -2) - math.log(3)).mean(-1)
    return (soft - q_data).mean(-1)


@mutant("08.4", "no logarithm")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the logarithm after the mean of the exponentials is missing: e^Q and Q cannot be subtracted from each other."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return ((q - log_density).exp().mean(-1) - q_data).mean(-1)


@mutant("08.4", "mean of Q")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the plain mean of Q pushes all candidates down alike. logsumexp pushes the overrated ones."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (q.mean(-1) - q_data).mean(-1)


@mutant("08.4", "log inside the mean")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """you average Q minus log-density. The integral averages its *exponential*, and takes the logarithm
    afterwards: logsumexp."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return ((q - log_density).mean(-1) - q_data).mean(-1)


@mutant("08.4", "no pull")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the logged action is missing. Without its pull every value sinks, those the data vouch for as well."""
    return log_partition(critic(observations, candidates), log_density).mean(-1)


@mutant("08.4", "candidates' mean pulled", seen="BY571/CQL issues 2 and 5")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """you pull up the *average candidate*. Pull up the logged action: it is the only one the data vouch for."""
    q = critic(observations, candidates)
    return (log_partition(q, log_density) - q.mean(-1)).mean(-1)


@mutant("08.4", "plus")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """the logged action's Q is added: minimising that pushes it *down*. Subtract it."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (log_partition(q, log_density) + q_data).mean(-1)


@mutant("08.4", "mean over critics")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """that is the mean over critics and batch. One penalty for each critic is wanted, [E]: mean over the batch,
    the last axis."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (log_partition(q, log_density) - q_data).mean()


@mutant("08.4", "over axis 0")
def _(critic, observations, next_observations, actions, candidates, log_density):
    """you average over axis 0, the critics, and keep one number for each state. Average over the batch, the last
    axis, and keep one for each critic: [E]."""
    q = critic(observations, candidates)
    q_data = _logged(critic, observations, actions)
    return (log_partition(q, log_density) - q_data).mean(0)


@mutant(
    "08.4",
    "axis kept",
    seen="pytorch/rl, where a difference of [B] and [B, 1] grows to a square; the mean hides it",
)
def _(critic, observations, next_observations, actions, candidates, log_density):
    """Q of the logged action still has its axis of one candidate, and [E, B] minus [E, B, 1] sets every state
    against every other. Take that axis off with [..., 0]."""
    q = critic(observations, candidates)
    return (log_partition(q, log_density) - critic(observations, actions[:, None])).mean(-1)


# ---------------------------------------------------------------- 08.5
@exercise(
    "08.5",
    title="the actor's loss",
    kind="build",
    difficulty=3,
    importance=5,
    minutes=8,
    gradients=("q", "target_q", "log_prob", "temperature"),
    examples=(
        Example(
            (
                _numbers([[1.0, 5.0, 6.0], [3.0, 2.0, 3.0]]),
                _numbers([[0.5, 4.0, 5.0], [6.0, 3.0, 2.0]]),
                _numbers([0.5, -1.0, 2.0]),
                _numbers(0.2),
            ),
            "two critics, three actions, temperature 0.2",
        ),
        Example(
            (
                _numbers([[0.1, -2.0], [0.6, -1.0], [-0.2, 0.5]]),
                _numbers([[0.0, -1.5], [0.2, -0.9], [0.3, 0.1]]),
                _numbers([2.0, 0.7]),
                _numbers(1.5),
            ),
            "three critics, two actions, temperature 1.5",
            shown=False,
        ),
    ),
    hints=(
        "The policy wants a large Q and a large entropy; an optimizer makes things small. log_prob is minus the "
        "entropy.",
        "For each action: temperature (a constant) times log_prob, minus the smallest of the critics just updated; "
        "then the mean. The target critics are a decoy.",
        "return (temperature.____ * log_prob - q.____(dim=0)).mean()",
    ),
    meaning="Value and gradient are right: the policy climbs the most cautious critic and pays for narrowness.",
)
def actor_loss(q, target_q, log_prob, temperature):
    """Mean of temperature times log-density minus the smallest Q, at pi's actions.

    [E, B], [E, B], [B], [] -> []; q: of the critics just updated, target_q: of targets
    """
    return (temperature.detach() * log_prob - q.amin(dim=0)).mean()


@mutant("08.5", "target critics")
def _(q, target_q, log_prob, temperature):
    """the actor is led by the *target* critics. They are kept slow for the Bellman target; the actor follows the
    critics that have just learned."""
    return (temperature.detach() * log_prob - target_q.amin(0)).mean()


@mutant("08.5", "both sets")
def _(q, target_q, log_prob, temperature):
    """the minimum runs over critics and target critics. The targets are there for the Bellman target alone; a
    gradient through them leads by old values."""
    return (temperature.detach() * log_prob - torch.minimum(q, target_q).amin(0)).mean()


@mutant("08.5", "maximum")
def _(q, target_q, log_prob, temperature):
    """that is the largest critic: the policy would climb wherever any of them overrates. Take the smallest."""
    return (temperature.detach() * log_prob - q.amax(0)).mean()


@mutant("08.5", "first critic")
def _(q, target_q, log_prob, temperature):
    """only the first critic leads the actor (as in TD3). This agent is SAC's: the smallest critic, action by action."""
    return (temperature.detach() * log_prob - q[0]).mean()


@mutant("08.5", "mean")
def _(q, target_q, log_prob, temperature):
    """that is the mean of the critics. One that overrates an action still pulls the policy there; the smallest
    does not."""
    return (temperature.detach() * log_prob - q.mean(0)).mean()


@mutant("08.5", "minimum after the mean")
def _(q, target_q, log_prob, temperature):
    """the minimum is taken after the mean over the batch: one critic for all actions. Take the smallest for each
    action, then the mean."""
    return (temperature.detach() * log_prob).mean() - q.mean(1).amin()


@mutant("08.5", "one minimum")
def _(q, target_q, log_prob, temperature):
    """one minimum over the whole batch: only the worst action is improved. The minimum runs over the critics, axis
    0."""
    return (temperature.detach() * log_prob - q.amin()).mean()


@mutant("08.5", "entropy's sign")
def _(q, target_q, log_prob, temperature):
    """the entropy has the wrong sign. log_prob is minus the entropy: minimising *plus* temperature times log_prob
    keeps the policy wide; this would collapse it."""
    return (-temperature.detach() * log_prob - q.amin(0)).mean()


@mutant("08.5", "Q's sign")
def _(q, target_q, log_prob, temperature):
    """Q is added: minimising this loss seeks the *worst* actions. Subtract it."""
    return (temperature.detach() * log_prob + q.amin(0)).mean()


@mutant("08.5", "sign")
def _(q, target_q, log_prob, temperature):
    """the sign of everything is turned. Optimizers minimise: what should grow, Q and the entropy, enters with a
    minus."""
    return (q.amin(0) - temperature.detach() * log_prob).mean()


@mutant("08.5", "no entropy")
def _(q, target_q, log_prob, temperature):
    """the entropy term is missing. Nothing then keeps the policy wide, and it collapses onto the critics'
    favourite mistake."""
    return -q.amin(0).mean()


@mutant("08.5", "no temperature")
def _(q, target_q, log_prob, temperature):
    """the temperature is not used: log_prob weighs 1, however wide the policy already is."""
    return (log_prob - q.amin(0)).mean()


@mutant("08.5", "temperature moves")
def _(q, target_q, log_prob, temperature):
    """the value is right, but the temperature is not detached. It has a loss of its own; through this one it would
    run off just to make the actor's loss small."""
    return (temperature * log_prob - q.amin(0)).mean()


@mutant("08.5", "log_prob detached")
def _(q, target_q, log_prob, temperature):
    """the value is right, but log_prob is detached, so the entropy term moves nothing: the policy collapses as if
    it were not there. log_prob is detached in the temperature's loss, not in this one."""
    return (temperature.detach() * log_prob.detach() - q.amin(0)).mean()


@mutant("08.5", "Q detached")
def _(q, target_q, log_prob, temperature):
    """the value is right, but Q is detached. Through Q the gradient reaches the action and the policy; without it
    the policy only grows wide."""
    return (temperature.detach() * log_prob - q.detach().amin(0)).mean()


@mutant("08.5", "temperature on Q")
def _(q, target_q, log_prob, temperature):
    """the temperature weighs Q. It is the price of *log_prob*: temperature 0 must leave only Q."""
    return (log_prob - temperature.detach() * q.amin(0)).mean()


# ---------------------------------------------------------------- 08.6
@exercise(
    "08.6",
    title="the temperature's loss",
    kind="build",
    difficulty=2,
    importance=3,
    minutes=6,
    gradients=("log_temperature", "log_prob"),
    examples=(
        Example((_numbers(-1.0), _numbers([1.0, 4.0]), 3), "log temperature -1, two actions of three dimensions"),
        Example(
            (_numbers(0.4), _numbers([-0.3, 0.2, -1.1]), 1),
            "log temperature 0.4, three actions of one dimension",
            shown=False,
        ),
    ),
    hints=(
        "The temperature is a thermostat of the policy's entropy, which is minus the mean of log_prob. Its target is "
        "-A.",
        "Minus log temperature times (the mean of log_prob, as a constant, plus the target entropy). If the entropy "
        "is below its target, the bracket is positive, and descent makes the logarithm grow.",
        "return -log_temperature * (log_prob.____.mean() + ____)",
    ),
    meaning="Too little entropy, and the temperature rises; the policy itself feels it only through its own loss.",
)
def temperature_loss(log_temperature, log_prob, action_dim):
    """Minus log temperature times (mean log-density plus target entropy, -A).

    [], [B], A -> []
    """
    target_entropy = -action_dim
    return -log_temperature * (log_prob.detach().mean() + target_entropy)


@mutant("08.6", "sign")
def _(log_temperature, log_prob, action_dim):
    """the sign is turned: the temperature would *fall* while the entropy is too small. It is a thermostat; this
    one heats when it is hot."""
    return log_temperature * (log_prob.detach().mean() - action_dim)


@mutant("08.6", "target +A")
def _(log_temperature, log_prob, action_dim):
    """the target entropy has the wrong sign: it is *minus* A. On [-1, 1]^A no policy has more than A log 2, so +A
    could never be reached and the temperature would rise for ever."""
    return -log_temperature * (log_prob.detach().mean() + action_dim)


@mutant("08.6", "target 0")
def _(log_temperature, log_prob, action_dim):
    """the target entropy is missing: 0 in place of -A. The policy would be held much wider than intended."""
    return -log_temperature * log_prob.detach().mean()


@mutant("08.6", "target -1")
def _(log_temperature, log_prob, action_dim):
    """the target entropy is -1 whatever the dimension. The entropy is a sum over the dimensions, so its target is
    too: -A."""
    return -log_temperature * (log_prob.detach().mean() - 1)


@mutant("08.6", "entropy for log_prob")
def _(log_temperature, log_prob, action_dim):
    """you add the target to the *entropy*. What counts is entropy minus target, which is minus (log_prob plus
    target): with the minus in front, log_prob itself stands in the bracket."""
    return -log_temperature * (-log_prob.detach().mean() - action_dim)


@mutant("08.6", "log_prob moves")
def _(log_temperature, log_prob, action_dim):
    """the value is right, but log_prob is not detached. This loss would move the policy too: a thermostat that
    opens the window."""
    return -log_temperature * (log_prob.mean() - action_dim)


@mutant("08.6", "exponentiated", seen="common in SAC scripts of one file")
def _(log_temperature, log_prob, action_dim):
    """the temperature stands here, not its logarithm. The direction is right, but the gradient shrinks with the
    temperature, so a small one hardly recovers; the package and this course use the logarithm."""
    return -log_temperature.exp() * (log_prob.detach().mean() - action_dim)


# ---------------------------------------------------------------- 08.7
@exercise(
    "08.7",
    title="the multiplier's loss",
    kind="build",
    difficulty=3,
    importance=4,
    minutes=6,
    gradients=("log_multiplier", "penalty"),
    examples=(
        Example(
            (_numbers(2.0), _numbers([3 * LOG_2 + 2, 3 * LOG_2 + 3]), 3, 1.0),
            "log multiplier 2, two critics whose penalties are 3 log 2 + 2 and 3 log 2 + 3; three dimensions, target 1",
        ),
        Example(
            (_numbers(-0.7), _numbers([0.2, 0.9, -0.4]), 1, 0.5),
            "log multiplier -0.7, three critics, one dimension, a CQL gap below its target",
            shown=False,
        ),
    ),
    hints=(
        "A flat Q has a penalty of A log 2. What is its CQL gap? And when should the multiplier rest?",
        "CQL gap: mean penalty over the critics (a constant) minus A log 2. Loss: minus log multiplier times (CQL gap "
        "minus target), so that descent makes it rise while the CQL gap is too large.",
        "gap = penalty.____.mean() - ____ * math.log(2); return -log_multiplier * (gap - target)",
    ),
    meaning=(
        "The critics push the CQL gap down, the multiplier decides how hard; neither loss moves the other's numbers."
    ),
)
def multiplier_loss(log_multiplier, penalty, action_dim, target):
    """Minus log multiplier times (CQL gap minus its target).

    [], [E], A, number -> []; the CQL gap is the mean penalty minus A log 2
    """
    gap = penalty.detach().mean() - action_dim * math.log(2)
    return -log_multiplier * (gap - target)


@mutant("08.7", "sign")
def _(log_multiplier, penalty, action_dim, target):
    """the sign is turned: the multiplier falls while the CQL gap is too large, just when the penalty should weigh
    more. Descent needs a minus to make it *rise*."""
    return log_multiplier * (normalised_gap(penalty.detach().mean(), action_dim) - target)


@mutant("08.7", "penalty moves", seen="pytorch/rl: above a multiplier of 2 the critics turn anti-conservative")
def _(log_multiplier, penalty, action_dim, target):
    """the value is right, but the penalty is not detached. With its minus this loss pushes the critics to *raise*
    the penalty; what the critics' loss wants is undone."""
    return -log_multiplier * (penalty.mean() - action_dim * LOG_2 - target)


@mutant("08.7", "multiplier detached", seen="ray-project/ray, pull request 62755")
def _(log_multiplier, penalty, action_dim, target):
    """the value is right, but the multiplier is detached in its own loss: nothing will ever move it. It is
    detached in the *critics'* loss."""
    return -log_multiplier.detach() * (normalised_gap(penalty.detach().mean(), action_dim) - target) + 0 * penalty.sum()


@mutant(
    "08.7",
    "raw penalty",
    seen="the thresholds 5 and 10 of the official code and most copies are for a raw penalty",
)
def _(log_multiplier, penalty, action_dim, target):
    """the penalty itself is held at the target. A flat Q has a penalty of A log 2, so one target would mean
    something else in every dimension: subtract A log 2 first."""
    return -log_multiplier * (penalty.detach().mean() - target)


@mutant("08.7", "plus A log 2")
def _(log_multiplier, penalty, action_dim, target):
    """A log 2 is added. The penalty of a flat Q is A log 2, and its CQL gap must be 0: subtract."""
    return -log_multiplier * (penalty.detach().mean() + action_dim * LOG_2 - target)


@mutant("08.7", "log 2 once")
def _(log_multiplier, penalty, action_dim, target):
    """log 2 is subtracted once. The box has volume 2 to the power A: A times log 2."""
    return -log_multiplier * (penalty.detach().mean() - LOG_2 - target)


@mutant("08.7", "log 2A")
def _(log_multiplier, penalty, action_dim, target):
    """log(2A) is not the log of the box's volume. That is 2 to the power A: A times log 2."""
    return -log_multiplier * (penalty.detach().mean() - math.log(2 * action_dim) - target)


@mutant("08.7", "sum over critics")
def _(log_multiplier, penalty, action_dim, target):
    """the penalties are summed over the critics. One target is for one critic: take their mean."""
    return -log_multiplier * (penalty.detach().sum() - action_dim * LOG_2 - target)


@mutant("08.7", "smallest critic")
def _(log_multiplier, penalty, action_dim, target):
    """only the critic with the smallest penalty is looked at. The multiplier weighs all of them: take their mean."""
    return -log_multiplier * (penalty.detach().amin() - action_dim * LOG_2 - target)


@mutant("08.7", "exponentiated", seen="the official code and most copies")
def _(log_multiplier, penalty, action_dim, target):
    """the multiplier stands here, not its logarithm. The direction is right, but the gradient shrinks with the
    multiplier, so a small one hardly climbs back; the package uses the logarithm."""
    return -log_multiplier.exp() * (normalised_gap(penalty.detach().mean(), action_dim) - target)


@mutant("08.7", "target added")
def _(log_multiplier, penalty, action_dim, target):
    """the target is added. The multiplier should rest when the CQL gap *equals* its target: their difference."""
    return -log_multiplier * (normalised_gap(penalty.detach().mean(), action_dim) + target)


@mutant("08.7", "no target")
def _(log_multiplier, penalty, action_dim, target):
    """the target is not used: every CQL gap above 0 makes the multiplier rise."""
    return -log_multiplier * normalised_gap(penalty.detach().mean(), action_dim)


@mutant("08.7", "only rises")
def _(log_multiplier, penalty, action_dim, target):
    """right while the CQL gap is above its target. Below it yours is clamped to 0, so the multiplier never falls
    again: it must be free to do both."""
    return -log_multiplier * (normalised_gap(penalty.detach().mean(), action_dim) - target).clamp(min=0)


# ---------------------------------------------------------------- 08.8
@exercise(
    "08.8",
    title="the target networks",
    kind="build",
    difficulty=1,
    importance=4,
    minutes=4,
    examples=(
        Example((_numbers([1.0, 2.0]), _numbers([3.0, -2.0]), 0.25), "target 1 and 2, online 3 and -2, tau 0.25"),
        Example(
            (_numbers([[0.5, -1.0], [2.0, 0.0]]), _numbers([[1.5, 3.0], [-2.0, 0.4]]), 0.1),
            "a layer of four numbers, tau 0.1",
            shown=False,
        ),
    ),
    hints=(
        "At tau 0 the target stays, at tau 1 it is the online network.",
        "A weighted mean: the old target with weight 1 - tau, the online network with weight tau.",
        "return ____ * target + tau * online",
    ),
    meaning=(
        "The target follows slowly, so that for some hundred updates the critics aim at something that nearly stands "
        "still."
    ),
)
def blend(target, online, tau):
    """The target network's numbers, tau of the way to the online ones.

    [...], [...], number -> [...]
    """
    return (1 - tau) * target + tau * online


@mutant("08.8", "swapped")
def _(target, online, tau):
    """the two are swapped: with tau 0.005 the target would jump nearly all the way, and chase itself. tau weighs
    the *online* network."""
    return (1 - tau) * online + tau * target


@mutant("08.8", "not weighted")
def _(target, online, tau):
    """the two are added without weights: the target would grow at every update. Weights that sum to 1 keep its size."""
    return target + online


@mutant("08.8", "hard copy")
def _(target, online, tau):
    """that copies the online network. The critics would then aim at a target that moves with every step of their
    own; tau of the way is enough."""
    return 1 * online


@mutant("08.8", "half way")
def _(target, online, tau):
    """that is half way, whatever tau is. The step is tau of the way."""
    return (target + online) / 2


@mutant("08.8", "no shrink")
def _(target, online, tau):
    """the old target keeps its full weight, so the sum grows at every update. It keeps 1 - tau."""
    return target + tau * online


@mutant("08.8", "online unweighted")
def _(target, online, tau):
    """the online network enters with full weight. It has weight tau, so that the weights sum to 1."""
    return (1 - tau) * target + online


@mutant("08.8", "away")
def _(target, online, tau):
    """the target moves *away* from the online network: the sign of the step is turned."""
    return target - tau * (online - target)


@mutant("08.8", "step alone")
def _(target, online, tau):
    """that is the step alone. Add it to the old target."""
    return tau * (online - target)


@mutant("08.8", "no move")
def _(target, online, tau):
    """the target does not move: the critics would learn for ever from the untrained networks they began with."""
    return 1 * target


# ---------------------------------------------------------------- 08.9
def _appends(number):
    return lambda state: torch.cat([state, torch.tensor([number])])


# Neither dict lists the steps in the right order: a loop over its values is a mistake to be found.
TRACE = {
    "target": _appends(5),
    "multiplier": _appends(4),
    "actor": _appends(2),
    "temperature": _appends(3),
    "critic": _appends(1),
}
NUMBER = {
    "actor": lambda x: 3 * x,
    "target": lambda x: 10 - x,
    "critic": lambda x: x + 1,
    "multiplier": lambda x: x * x,
    "temperature": lambda x: x - 3.5,
}


@exercise(
    "08.9",
    title="one update, in order",
    kind="build",
    difficulty=2,
    importance=4,
    minutes=6,
    examples=(
        Example(
            (TRACE, torch.zeros(0, dtype=torch.int64)),
            'the state is a list; step["critic"] appends 1 to it, "actor" 2, "temperature" 3, "multiplier" 4, '
            '"target" 5',
            shown=False,
        ),
        Example(
            (NUMBER, 1.0),
            'the state is the number 1; step["critic"] adds 1 to it, "actor" triples, "temperature" takes 3.5 away, '
            '"multiplier" squares, "target" subtracts it from 10',
            shown=False,
        ),
    ),
    hints=(
        "Who needs whose result? The actor follows critics that have learned; the temperature reads the actor's "
        "sample; what is slow comes last.",
        "Critics, actor, temperature, multiplier, target networks; the state that a step returns is what the next one "
        "gets.",
        'for name in ("critic", "actor", "temperature", ____, ____): state = step[name](state)',
    ),
    meaning=(
        "Five steps, each on its own parameters: with this order your agent and the package's can be compared number "
        "by number."
    ),
)
def one_update(step, state):
    """The state after one update; step holds five functions, each state -> state.

    Their names are "critic", "actor", "temperature", "multiplier" and "target".
    """
    for name in ("critic", "actor", "temperature", "multiplier", "target"):
        state = step[name](state)
    return state


def _in_order(names, step, state):
    for name in names.split():
        state = step[name](state)
    return state


@mutant("08.9", "actor first", seen="OfflineRL-Kit")
def _(step, state):
    """the actor steps before the critics: it follows critics that have not seen this batch. It learns all the
    same, one update late, but not to the package's numbers."""
    return _in_order("actor critic temperature multiplier target", step, state)


@mutant("08.9", "target networks first")
def _(step, state):
    """the target networks move first. That is the same circle entered at another point: the critics see the same
    targets, but after every update the target networks lie one move behind the package's. They come last."""
    return _in_order("target critic actor temperature multiplier", step, state)


@mutant("08.9", "multiplier first", seen="takuseno/d3rlpy, on purpose")
def _(step, state):
    """the multiplier steps before the critics. Here the critics' pass computes the CQL gap that the multiplier
    reads, and this update is weighed by the old value."""
    return _in_order("multiplier critic actor temperature target", step, state)


@mutant("08.9", "temperature before the actor")
def _(step, state):
    """the temperature steps before the actor, so the actor pays a price already changed by its own sample. In the
    package the actor's step comes first, with the old temperature."""
    return _in_order("critic temperature actor multiplier target", step, state)


@mutant("08.9", "temperature first")
def _(step, state):
    """the temperature steps first. It reads the entropy of the sample that the actor's step draws, so it comes
    right after that."""
    return _in_order("temperature critic actor multiplier target", step, state)


@mutant("08.9", "multiplier forgotten")
def _(step, state):
    """the multiplier never steps: the penalty keeps its first weight, whatever the CQL gap does."""
    return _in_order("critic actor temperature target", step, state)


@mutant("08.9", "target networks forgotten")
def _(step, state):
    """the target networks never move: the critics would learn for ever from the untrained networks they began with."""
    return _in_order("critic actor temperature multiplier", step, state)


@mutant("08.9", "temperature forgotten")
def _(step, state):
    """the temperature never steps: the entropy drifts wherever its first value lets it."""
    return _in_order("critic actor multiplier target", step, state)


@mutant("08.9", "actor forgotten")
def _(step, state):
    """the actor never steps: the critics learn the values of a policy that stays random."""
    return _in_order("critic temperature multiplier target", step, state)


@mutant("08.9", "multiplier before the actor")
def _(step, state):
    """multiplier before actor. In this agent that gives the same numbers, since neither reads what the other
    writes; these toy steps tell the orders apart. The package's: critics, actor, temperature, multiplier, target
    networks."""
    return _in_order("critic multiplier actor temperature target", step, state)


@mutant("08.9", "multiplier before the temperature")
def _(step, state):
    """multiplier before temperature. In this agent that gives the same numbers, since neither reads what the other
    writes; the package's order is temperature, then multiplier."""
    return _in_order("critic actor multiplier temperature target", step, state)


@mutant("08.9", "target networks before the actor")
def _(step, state):
    """the target networks move right after the critics. In this agent that gives the same numbers, since the actor
    reads the critics and not their targets; the package moves them last."""
    return _in_order("critic target actor temperature multiplier", step, state)


@mutant("08.9", "target networks before the multiplier")
def _(step, state):
    """the target networks move before the multiplier. In this agent that gives the same numbers, since the
    multiplier reads the penalty alone; the package moves them last."""
    return _in_order("critic actor temperature target multiplier", step, state)


@mutant("08.9", "by the dict")
def _(step, state):
    """you took the steps in the order in which the dict lists them. Nobody promised that it is the right one: call
    them by name."""
    for function in step.values():
        state = function(state)
    return state


@mutant("08.9", "state not passed on")
def _(step, state):
    """only the last step is in the result. Each returns a *new* state; hand it to the next one: state =
    step[name](state)."""
    return step["target"](state)


@mutant("08.9", "left early")
def _(step, state):
    """only the critics have stepped: is the return inside the loop?"""
    return step["critic"](state)


@mutant("08.9", "nothing assigned")
def _(step, state):
    """the state comes back as it went in: what the steps return is not kept. state = step[name](state)."""
    return state


# ---------------------------------------------------------------- predictions
prediction(
    "08.p1",
    "Your update and the package's start from the same networks, batches and noise. After ten updates in float64, how "
    "far apart are their parameters?",
    answer="a",
    a=(
        "nowhere by more than rounding, below 1e-9",
        "The same formulas in the same order are the same numbers, but for the last digits of float64: any larger "
        "difference is a difference of formulas.",
    ),
    b=(
        "by about 1e-4",
        "That would be a third of one step of Adam: far too much for rounding, and a sign that some formula differs.",
    ),
    c=(
        "visibly: ten updates magnify everything",
        "Differences do grow from update to update, but they start at 1e-16 here and ten updates are few.",
    ),
)

prediction(
    "08.p2",
    "The same in float32, after three hundred updates, in four seeds?",
    answer="b",
    a=(
        "in every seed equal to five digits",
        "A single update may be. But Adam divides each gradient by its own size, so where a gradient is nearly 0 its "
        "rounding decides the step.",
    ),
    b=(
        "in some seeds apart by a step of Adam, 1e-4 or more, though both are right",
        "Rounding starts at 1e-7. Adam divides each gradient by its own size and turns a rounding error in a tiny "
        "gradient into a whole step; three hundred updates feed that back. So compare formulas in float64.",
    ),
    c=(
        "in every seed equal to the last bit",
        "Only if every sum runs in the same order. Yours need not: a mean over one axis or two, one call of the "
        "critic or several.",
    ),
)

prediction(
    "08.p3",
    "Ten candidates for each of three proposals: how much of an update's time goes into the penalty?",
    answer="c",
    a=("about a tenth", "The other parts ask the critics about one action a state; the penalty asks about thirty."),
    b=(
        "about a third",
        "It is one loss of four, but not one of equal size: it asks the critics about thirty actions a state.",
    ),
    c=(
        "more than half",
        "The critics rate thirty candidates for each logged action, forwards and backwards: that outweighs everything "
        "else.",
    ),
)

prediction(
    "08.p4",
    "One critic, two, or five, of which the smallest counts: what does the number change, on the maze and on Pendulum "
    "medium?",
    answer="b",
    a=(
        "the return: more critics, better policy",
        "The penalty already holds the values down; the minimum is a second caution on top of the first.",
    ),
    b=(
        "the estimation error on at least one of them, no return that these draws could show",
        "The smallest of more critics is lower: on Pendulum the values sink with each critic, in the maze hardly. The "
        "order of the actions, which makes the policy, stays.",
    ),
    c=(
        "nothing that these draws could show",
        "The smallest of several noisy numbers is lower than one of them: where critics disagree, the values show it.",
    ),
)

prediction(
    "08.p5",
    "On the maze's log behaviour cloning never reaches the goal. Your agent trains 2,000 updates on it: from which "
    "share of the starts does it reach the goal?",
    answer="c",
    a=(
        "from none, like cloning: the log is all it has",
        "It has the same log but another question: not what was done, but what was worth doing. Pieces of different "
        "episodes can be joined through their values.",
    ),
    b=(
        "from about half",
        "Possible where the value has not yet travelled back far enough; 2,000 updates are to show whether that is so.",
    ),
    c=(
        "from all or nearly all",
        "The values travel back from the goal along pieces of many episodes, and the policy follows them where no "
        "single episode went all the way.",
    ),
)

prediction(
    "08.p6",
    "Hold the temperature fixed at 0.1, where it would start, instead of adapting it: on the maze and on Pendulum "
    "medium, what changes?",
    answer="b",
    a=(
        "the return, on at least one of them",
        "The policy's randomness decides which actions the targets average over, and the deterministic policy is what "
        "remains of it.",
    ),
    b=(
        "the values' error, but no return that these draws could show",
        "Another temperature is another policy, with another value; the action it prefers need not change.",
    ),
    c=(
        "nothing that these draws could show",
        "The temperature starts at 0.1 and moves for thousands of updates: the policies do end with another spread.",
    ),
)


# ---------------------------------------------------------------- quiz
quiz_question(
    "08.a",
    "All five losses are summed, one backward call fills every gradient, and five optimizers step. Each function is "
    "as you wrote it, with its detaches. What goes wrong?",
    answer="b",
    a=(
        "nothing: the detaches keep the losses apart",
        "They keep apart all but one pair. Q cannot be detached in the actor's loss, for through it the gradient "
        "reaches the action.",
    ),
    b=(
        "the actor's loss moves the critics: they learn to praise whatever the policy does",
        "Q must carry the gradient to the action, so no detach can stand there. Only stepping each loss on its own "
        "parameters keeps it out of the critics, as the package does.",
    ),
    c=("the temperature's loss moves the policy", "log_prob is detached in that loss: nothing gets through."),
)

quiz_question(
    "08.b",
    "One library steps the multiplier before the critics, this package after them, so that here the *old* multiplier "
    "weighs the penalty. What differs in the long run?",
    answer="b",
    a=(
        "where they come to rest: the old value is always too small",
        "At rest old and new value are the same number: both stop only where the CQL gap equals its target. On the "
        "way down the old value is the larger one.",
    ),
    b=(
        "hardly anything: one small step of the multiplier, on the way to the same balance",
        "The critics are weighed by a value one update older. With a small step size that is a difference of less "
        "than a percent, and none at rest.",
    ),
    c=(
        "the gradient: after the critics the multiplier must not be detached",
        "Order and detaching are two matters. In the critics' loss it is detached in either order, or the critics' "
        "step would pull it to 0.",
    ),
)

quiz_question(
    "08.c",
    "A time limit cut an episode off: its last transition is a truncation, no termination. What happens in its "
    "Bellman target?",
    answer="b",
    a=(
        "the next value is cut off: the episode is over",
        "Then every state near the time limit would look as if the world ended there. At least one library does so, "
        "by one flag for both.",
    ),
    b=(
        "nothing special: it looks ahead like any other",
        "The recording stopped, the task did not. The next observation was still logged, and the target asks the "
        "critics about it.",
    ),
    c=(
        "the transition must be left out",
        "Only if its next observation was not recorded. Otherwise it is as good as any other.",
    ),
)
