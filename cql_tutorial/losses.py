"""Every equation of the course as a pure function of tensors.

Letters in shapes: E critics, B transitions, K candidate actions, A action dimensions.
"CQL" is Kumar et al. 2020 (arXiv 2006.04779), "SAC" is Haarnoja et al. 2018 (arXiv 1812.05905).
The critics minimise ``sum_j mean (Q_j - y)^2 + cql_alpha * penalty_j``; there is no 1/2 in front of the squared
error, so the paper's alpha is half of ours.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LOG_2 = math.log(2.0)


# ---------------------------------------------------------------- the conservative penalty
def log_partition(q_values: Tensor, log_density: Tensor, dim: int = -1) -> Tensor:
    """Estimate log of the integral of exp Q over actions by importance sampling.

    ``log (1/K) sum_k exp(Q(a_k)) / q(a_k)`` with ``a_k ~ q``; the mean inside the log is unbiased, the log is low.

    Args:
        q_values: ``[..., K]`` values at the candidates (``K`` along ``dim``).
        log_density: log q of each candidate on [-1, 1]^A, nats; broadcasts against ``q_values``.

    Source: CQL, Appendix F, with a mean where the paper's code has a sum (a constant, log K).
    """
    weighted = q_values - log_density
    return torch.logsumexp(weighted, dim) - math.log(weighted.shape[dim])


def cql_penalty(q_candidates: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
    """The CQL(H) penalty of each critic, in the log-mean form: ``E_s [log_partition - Q(s, a_data)]``.

    Shapes: q_candidates ``[E, B, K]``, log_density ``[B, K]``, q_data ``[E, B]``; returns ``[E]``.
    A Q that is flat in the action gives A log 2. Its gradient is softmax(Q - log q) on the candidates, minus one
    on the data action.

    Source: CQL, Eq. 4.
    """
    assert q_candidates.shape[:2] == q_data.shape, "q_candidates [E, B, K] and q_data [E, B] must agree in E and B"
    assert log_density.shape[-1] == q_candidates.shape[-1], "one log-density for each candidate"
    return (log_partition(q_candidates, log_density) - q_data).mean(-1)


def calibrate(q_values: Tensor, returns_to_go: Tensor) -> Tensor:
    """Values that are not below what the log went on to earn: ``max(Q_j(s, a_k), G(s))``, ``[..., B, K], [B]``.

    Where Q is below G its gradient is 0 (at a tie, half): the penalty then pushes that candidate no further down. The
    result takes the place of Q in `cql_penalty`, so the maximum comes before the log-density is subtracted.

    Source: Cal-QL (Nakamoto et al. 2023, arXiv 2303.05479), with G for the value of the behaviour policy.
    """
    assert q_values.shape[-2:-1] == returns_to_go.shape, "q_values [..., B, K] and returns_to_go [B] must agree in B"
    return torch.maximum(q_values, returns_to_go[:, None])


def normalised_gap(penalty: Tensor, action_dim: int) -> Tensor:
    """The CQL gap: the penalty minus A log 2, so that a flat Q gives 0.

    With the exact integral it cannot be pushed below -KL(behaviour || uniform) on average: the floor that a Lagrange
    target must respect (an estimate of the integral that is low moves the floor down with it).
    """
    return penalty - action_dim * LOG_2


def normalised_target(raw: float, action_dim: int, n_candidates: int) -> float:
    """Convert a Lagrange target for the raw log-sum form (peers' code) to one for the CQL gap.

    ``raw - A log 2 - log K``: a raw 5 is +0.91 at A = 1 and -2.56 at A = 6 with K = 30 candidates in all.
    """
    return raw - action_dim * LOG_2 - math.log(n_candidates)


def uniform_log_density(action_dim: int) -> float:
    """Log-density of the uniform distribution on [-1, 1]^A: ``-A log 2``."""
    return -action_dim * LOG_2


def mixture_log_density(log_densities: Tensor) -> Tensor:
    """Log-density of the equal mixture of P proposals, ``log (1/P) sum_p q_p(a_k)``: ``[P, ..., K] -> [..., K]``.

    With these weights every candidate counts as drawn from the mixture (the balance heuristic), which stays accurate
    where a sharp policy never samples its own tail. Source: Veach and Guibas 1995.
    """
    return torch.logsumexp(log_densities, 0) - math.log(log_densities.shape[0])


def multiplier_loss(log_multiplier: Tensor, gap: Tensor, target: float) -> Tensor:
    """Dual ascent on the multiplier: ``-log m * (mean_j gap_j - target)``; the gap is a constant here.

    The multiplier rises while the CQL gap exceeds the target. The logarithm is the dual variable (an exponentiated
    gradient), so that a small multiplier climbs back as fast as a large one falls. Source: CQL, Appendix F.
    """
    return -log_multiplier * (gap.detach().mean() - target)


# ---------------------------------------------------------------- temporal differences and SAC
def td_target(rewards: Tensor, terminations: Tensor, next_values: Tensor, discount: float | Tensor) -> Tensor:
    """The Bellman target ``r + discount * (1 - termination) * V(s')``, all ``[B]``; a truncation does not cut it."""
    assert rewards.shape == terminations.shape == next_values.shape, "rewards, terminations and values are all [B]"
    return rewards + discount * (1.0 - terminations.to(rewards.dtype)) * next_values


def td_loss(q_values: Tensor, target: Tensor) -> Tensor:
    """Mean squared Bellman error of each critic: ``[E, B], [B] -> [E]``; the target is a constant."""
    assert q_values.shape[1:] == target.shape, "q_values [E, B] and target [B] must agree in B"
    return (q_values - target.detach()).square().mean(-1)


def actor_loss(log_prob: Tensor, q_min: Tensor, temperature: Tensor | float) -> Tensor:
    """The policy's loss ``E [temperature * log pi(a|s) - min_j Q_j(s, a)]``, a reparameterised; SAC, Eq. 7 and 9."""
    assert log_prob.shape == q_min.shape, "log_prob and q_min are both [B]"
    return (temperature * log_prob - q_min).mean()


def temperature_loss(log_temperature: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """``-log T * E [log pi + target_entropy]``: T rises while the entropy is below its target.

    SAC, Eq. 18, with log T in the place of T: the sign of every step is the same.
    """
    return -log_temperature * (log_prob.detach().mean() + target_entropy)


def behaviour_cloning_loss(log_prob: Tensor) -> Tensor:
    """Negative mean log-likelihood of the logged actions, nats: ``[B] -> []``."""
    return -log_prob.mean()


def take_actions(q_values: Tensor, actions: Tensor) -> Tensor:
    """Each critic's value of one action a state, out of all: ``[E, B, actions], [B] -> [E, B]``."""
    return q_values.gather(-1, actions[:, None].expand(len(q_values), -1, -1)).squeeze(-1)


# ---------------------------------------------------------------- the tanh-Gaussian policy
def tanh_gaussian_log_prob(pre_tanh: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log-density of ``a = tanh(u)``, ``u ~ Normal(mean, std)``, summed over the A dimensions: ``[..., A] -> [...]``.

    ``log N(u) - log (1 - tanh(u)^2)``, the second term in the form ``2 (log 2 - u - softplus(-2u))``, which stays
    finite where 1 - tanh(u)^2 rounds to 0. It needs the kept ``u``, not ``atanh`` of a rounded action.
    """
    normal = _normal_log_density(pre_tanh, mean, log_std)
    log_jacobian = 2.0 * (LOG_2 - pre_tanh - F.softplus(-2.0 * pre_tanh))
    return (normal - log_jacobian).sum(-1)


# ---------------------------------------------------------------- implicit Q-learning
def expectile_loss(difference: Tensor, expectile: float) -> Tensor:
    """Asymmetric squared error whose minimiser is an expectile: ``E |expectile - 1(u < 0)| u^2``, ``[...] -> []``.

    With ``u = Q - V``, 0.5 makes V the mean of Q (the loss is then half the squared error) and values towards 1 push V
    towards the largest Q that the data hold, without asking the critics about any other action.

    Source: IQL (Kostrikov et al. 2021, arXiv 2110.06169), Eq. 5.
    """
    return ((expectile - (difference < 0).to(difference.dtype)).abs() * difference.square()).mean()


def advantage_weights(advantage: Tensor, inverse_temperature: float, cap: float) -> Tensor:
    """What each logged action counts in the policy's loss: ``min(exp(beta * u), cap)``, a constant, ``[B] -> [B]``.

    ``inverse_temperature`` beta is in units of 1 / return: 0 clones the data, large values pick the best logged
    actions. The cap bounds what a single transition can do.

    Source: IQL, Eq. 7; the cap is that of its code (100).
    """
    return torch.exp(inverse_temperature * advantage.detach()).clamp(max=cap)


def normal_log_prob(values: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log-density of a diagonal Normal, *not* squashed, summed over the A dimensions: ``[..., A] -> [...]``, nats.

    ``log N(a; mean, std)``: in contrast to `tanh_gaussian_log_prob` it wants no atanh, infinite at the actions' bounds.
    """
    return _normal_log_density(values, mean, log_std).sum(-1)


def _normal_log_density(values: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Elementwise: both policies' densities sum it over the dimensions, each in its own way."""
    return -0.5 * ((values - mean) * torch.exp(-log_std)).square() - log_std - 0.5 * math.log(2.0 * math.pi)


# ---------------------------------------------------------------- soft Q-learning
def soft_value(q_values: Tensor, log_density: Tensor, temperature: float) -> Tensor:
    """The soft value ``T log E_{a ~ q} [exp(Q(s, a) / T) / q(a)]`` of K candidates a ~ q: ``[..., K] -> [...]``.

    T counts inside the exponential and outside the logarithm. A constant c that is left out of it is a reward of c a
    step: over the horizon it becomes c / (1 - discount).

    Args:
        q_values: ``[..., K]``, in units of the return, as is ``temperature``, T > 0.
        log_density: log q of each candidate, nats, broadcast against ``q_values``. On [-1, 1]^A this is the *sum form*,
            ``T log integral exp(Q / T)``; less the log-density of the uniform distribution, the *mean form*,
            ``T log E_uniform [exp(Q / T)]``, which is at most the largest Q.

    Source: Haarnoja et al. 2017 (arXiv 1702.08165), Eq. 10.
    """
    return temperature * log_partition(q_values / temperature, log_density)


def boltzmann_value(q_values: Tensor, temperature: float) -> Tensor:
    """The mean of Q under ``softmax(Q / T)``, from K candidates of one density: ``[..., K] -> [...]``.

    The weights are self-normalised: with few candidates it is biased towards the mean of all of them.
    """
    return (torch.softmax(q_values / temperature, -1) * q_values).sum(-1)


# ---------------------------------------------------------------- sparse Q-learning
def sparse_value_loss(q_values: Tensor, values: Tensor, alpha: float) -> Tensor:
    """V's loss in sparse Q-learning, ``mean [1(t > 0) t^2 + V / alpha]`` with ``t = 1 + (Q - V) / (2 alpha)``.

    ``[B], [B] -> []``. Its minimiser solves ``E [max(t, 0)] = 1``: a logged action that lies 2 alpha or more below V
    does not count. Source: Xu et al. 2023 (arXiv 2303.15810), SQL.
    """
    t = 1.0 + (q_values - values) / (2.0 * alpha)
    return (t.clamp(min=0.0).square() + values / alpha).mean()


def exponential_value_loss(q_values: Tensor, values: Tensor, alpha: float, cap: float = 5.0) -> Tensor:
    """V's loss in exponential Q-learning, ``mean [exp(u) + V / alpha]`` with ``u = (Q - V) / alpha``.

    ``[B], [B] -> []``. Its minimiser is ``alpha log E exp(Q / alpha)``. Beyond ``u = cap`` the exponential goes on as
    its tangent there, so that the pull upwards stays finite. The authors' code cuts u off, which leaves such a row with
    V / alpha alone: it then pulls V *down*, away from its Q. Source: Xu et al. 2023 (arXiv 2303.15810), EQL.
    """
    u = (q_values - values) / alpha
    below = u.clamp(max=cap)
    return (torch.exp(below) + math.exp(cap) * (u - below) + values / alpha).mean()


def sparse_weights(advantage: Tensor, alpha: float, form: str, cap: float) -> Tensor:
    """What each logged action counts in the policy's loss of sparse Q-learning, a constant: ``[B] -> [B]``.

    ``form`` "derivation": ``max(1 + u / (2 alpha), 0)`` of the advantage u = Q - V, the ratio of the optimal policy to
    the behaviour, whose mean is 1; "code": ``max(u, 0)`` as the authors' program has it, in units of the return, which
    is 0 where all logged actions are equally good. At most ``cap``. Source: Xu et al. 2023, and their code.
    """
    u = advantage.detach()
    return ((1.0 + u / (2.0 * alpha)) if form == "derivation" else u).clamp(0.0, cap)


def exponential_weights(advantage: Tensor, alpha: float, form: str, cap: float) -> Tensor:
    """The same of exponential Q-learning: ``min(exp(u / alpha), cap)``, or with ``exp(10 u / alpha)`` ("code")."""
    return torch.exp(advantage.detach() * ((1.0 if form == "derivation" else 10.0) / alpha)).clamp(max=cap)
