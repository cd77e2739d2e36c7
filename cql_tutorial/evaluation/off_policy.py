"""What a policy is worth, judged from a log alone: fitted Q-evaluation, importance sampling, and rules of choice.

None is the truth: fitted Q-evaluation trusts its network where the policy leaves the data, importance sampling needs
the behaviour's probabilities and many episodes, an agent's own critics mark their own homework. An ``actor`` is an
agent or a policy ``(observations, generator) -> actions``. Of an agent it is ``agent.policy()``, or, if given,
``agent.policy(deterministic)``: True judges what ``agent.act`` does. Values are in units of the return.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..batch import as_tensor
from ..datasets.offline_dataset import OfflineDataset
from ..errors import DivergedError, check_int, require, require_data
from ..networks import Critic, EnsembleMLP, soft_update
from ..seeding import seeded
from ..training.offline import History
from .target_policy import Estimate, TargetPolicy, by_chunks

Candidate = TypeVar("Candidate", bound=Hashable)
SETTLED = 0.02  # of a value: what it may move in the last quarter of its training
WEIGHTS, RESAMPLES = 10, 12  # what a random stream is for; an agent's own are numbered from 0


@dataclass(frozen=True, eq=False)
class FittedQ:
    """Critics fitted to one fixed policy's values on a log, by `fitted_q_evaluation`. Do not train its agent on.

    ``history``: ``step``, ``bellman_error`` (mean squared, since the row before), ``value`` (mean over episode starts);
    a row every ``log_every`` updates, after three quarters of them, and at the end.
    """

    critic: EnsembleMLP
    discount: float
    history: History
    _fixed: TargetPolicy

    def q_values(self, observations: Any, actions: Any) -> Tensor:
        """Every critic's value of actions in environment units: ``[n, S], [n, A] (or [n]) -> [E, n]``."""
        data, s, a = self._fixed.data, as_tensor(observations), as_tensor(actions)
        fits = s.shape[1:] == data.observations.shape[1:] and a.shape == (len(s), *data.actions.shape[1:])
        require_data(fits, "observations, actions", f"shapes {[*s.shape]}, {[*a.shape]}", "rows shaped as in the data")
        columns = s.to(data.observations), a.to(data.actions)
        return by_chunks(lambda s, a: self._fixed.network_q(self.critic, s, a[:, None])[..., 0], *columns)

    def state_values(self, observations: Any) -> Tensor:
        """``V(s) = E_a~pi [Q(s, a)]`` of every critic, ``[n, S] -> [E, n]``; the same draws at every call."""
        fixed, generator = self._fixed, self._fixed.generator()
        states = as_tensor(observations).to(fixed.data.observations)
        return by_chunks(lambda s: fixed.expect(lambda *x: fixed.network_q(self.critic, *x), s, generator), states)

    def initial_value(self, dataset: OfflineDataset | None = None) -> Estimate:
        """The mean of V over the episode starts of the data, or of another data set of the same task.

        Its t-interval is over starts: with one start state for all it is 0, however wrong V is. ``spread`` is over
        critics that saw the same batches from other first weights: the training's error, not that of a short log. It is
        not ``possible`` if a critic's mean is beyond what the log's least or best reward, got for ever, could pay.
        """
        data = self._fixed.data if dataset is None else dataset
        covers = "episode starts" if math.isnan(self.drift) else f"episode starts, drift {self.drift:+.2g}"
        values = self.state_values(data.observations[data.episode_starts]).cpu().double()
        found = Estimate.of(values.mean(0), covers, values).within_reach(self._fixed.data, self.discount)
        return replace(found, settled=abs(self.drift) <= max(SETTLED * abs(found.value), found.half_width))

    @property
    def drift(self) -> float:
        """How far ``value`` moved in the last quarter of the updates (nan for one update): not near 0, more steps."""
        steps, values = self.history.series("value")
        before = [value for step, value in zip(steps, values, strict=True) if step <= _three_quarters(steps[-1])]
        return values[-1] - before[-1] if before else math.nan

    def __str__(self) -> str:
        error = f"Bellman error {self.history.last('bellman_error'):.3g}"
        return f"FQE at discount {self.discount:g}: {self.initial_value()}; {error}"


def _three_quarters(steps: int) -> int:
    """The update after which the last quarter begins."""
    return 3 * steps // 4


def fitted_q_evaluation(
    actor: Any,
    dataset: OfflineDataset,
    steps: int,
    *,
    discount: float | None = None,
    deterministic: bool | None = None,
    samples: int = 4,
    n_critics: int = 3,
    hidden_dim: int = 256,
    hidden_layers: int = 2,
    learning_rate: float = 1e-3,
    tau: float = 0.02,
    initial_value: float | None = None,
    batch_size: int = 256,
    seed: int = 0,
    log_every: int = 100,
    progress: bool = False,
) -> FittedQ:
    """Fit critics to the values of one *fixed* policy: the Bellman equation of pi, solved by regression on the log.

    ``min sum_j E (Q_j(s, a) - r - discount (1 - termination) E_a'~pi [Qbar_j(s', a')])^2`` by Adam, each critic against
    its own target network Qbar, which moves by ``tau`` an update and, being the calmer, is what is returned. The
    logged next action is never read: a' is the deterministic action, ``samples`` fresh draws, or all with their
    ``probabilities`` where the policy offers those. Truncations do not cut. ``initial_value``, the last bias, is by
    default mean reward / (1 - discount); at discount 1, or where most episodes terminate, the mean return-to-go. The
    critics see observations normalised where the agent's do. ``discount`` is the agent's unless given, the device too;
    a seed decides it all. Where pi leaves the data the critics extrapolate, and nothing here warns.
    Raises ``ConfigError`` and ``DataError`` for what does not fit, ``DivergedError`` if the Bellman error stops being
    finite. Source: Le, Voloshin and Yue 2019 (arXiv 1903.08738), Algorithm 3: a whole regression for each of K targets.
    """
    from tqdm.auto import tqdm

    fixed = TargetPolicy(actor, dataset, deterministic, samples, seed)
    gamma, data, generator = fixed.discount(discount), fixed.data, fixed.generator()
    for name, n in (("steps", steps), ("log_every", log_every), ("n_critics", n_critics), ("hidden_dim", hidden_dim)):
        check_int(name, n, 1)
    require(learning_rate > 0 and 0 < tau <= 1, "learning_rate, tau", (learning_rate, tau), "numbers > 0, tau <= 1")
    if initial_value is None:
        # Of short episodes that terminate, a reward got for ever would be far off.
        last = data.episode_starts + data.episode_lengths() - 1
        ends = gamma == 1 or float(data.terminations[last].float().mean()) > 0.5
        initial_value = float(data.to("cpu").returns_to_go(gamma).mean() if ends else data.rewards.mean() / (1 - gamma))
    kind, wide = (EnsembleMLP, 0) if data.discrete else (Critic, data.action_dim)
    sizes = [hidden_dim] * check_int("hidden_layers", hidden_layers, 0)
    sizes = [data.observation_dim + wide, *sizes, data.action_dim if data.discrete else 1]
    critic, target = (kind(sizes, n_critics, initial_value, seeded(seed, WEIGHTS, "cpu")) for _ in range(2))
    critic, target = critic.to(data.rewards), target.to(data.rewards).requires_grad_(False)
    optimizer, history, errors = torch.optim.Adam(critic.parameters(), lr=learning_rate), History(), []
    result = FittedQ(target, gamma, history, fixed)
    batches = tqdm(data.batches(steps, batch_size, seed), total=steps, disable=not progress, unit="update")
    for step, batch in enumerate(batches, 1):
        with torch.no_grad():
            ahead = fixed.expect(lambda *x: fixed.network_q(target, *x), batch.next_observations, generator)
            wanted = batch.rewards + gamma * ~batch.terminations * ahead  # [E, B]
        q_data = fixed.network_q(critic, batch.observations, batch.actions[:, None])[..., 0]
        error = (q_data - wanted).square().mean(-1)
        optimizer.zero_grad()
        error.sum().backward()
        optimizer.step()
        soft_update(target, critic, tau)
        errors.append(error.detach().mean())
        if step % log_every == 0 or step in (_three_quarters(steps), steps):
            row = {"step": step, "bellman_error": float(torch.stack(errors).mean())}
            row["value"] = float(result.state_values(fixed.starts).mean())
            if not math.isfinite(sum(row.values())):
                raise DivergedError("bellman_error", str(row), "finite numbers", "lower learning_rate.")
            history.rows.append(row)
            errors = []
    return result


def initial_state_value(
    agent: Any, dataset: OfflineDataset, *, deterministic: bool | None = None, samples: int = 10, seed: int = 0
) -> Estimate:
    """The agent's own prediction of its return, ``E_s0 E_a~pi [min_j Q_j(s0, a)]`` over the data's episode starts.

    What people read off first, and what over-estimation corrupts first; with entropy in the agent's backup it is the
    soft value. Told as not ``possible`` where no reward of the log could pay it. ``ConfigError`` for an agent without
    critics. Source: Paine et al. 2020 (arXiv 2007.09055).
    """
    fixed = TargetPolicy(agent, dataset, deterministic, samples, seed)
    generator = fixed.generator()
    values = by_chunks(lambda s: fixed.expect(fixed.critics_q, s, generator), fixed.starts).cpu().double()
    found, bonus = Estimate.of(values[0], "episode starts", values[1:]), None
    if getattr(agent.config, "backup_entropy", False):  # the largest entropy on [-1, 1]^A is A log 2
        bonus = float(agent.temperature) / agent.config.reward_scale * agent.config.action_dim * math.log(2.0)
    return found.within_reach(fixed.data, fixed.discount(None), bonus)


def bellman_error(
    agent: Any, dataset: OfflineDataset, *, deterministic: bool | None = None, samples: int = 10, seed: int = 0
) -> Estimate:
    """How far the agent's critics are from solving their own Bellman equation, in squared units of the return.

    ``E mean_j (Q_j(s, a) - r - discount (1 - termination) E_a'~pi [min_k Q_k(s', a')])^2``, with the entropy, or V(s'),
    where the agent's backup has it. Pass transitions that it was *not* trained on (`OfflineDataset.split`). Small is
    not good: a critic that is 0 everywhere has a small one where rewards are rare, and in a random world it holds the
    variance of the target. The interval is over episodes. ``ConfigError`` for an agent without critics.
    """
    fixed = TargetPolicy(agent, dataset, deterministic, samples, seed)
    data, generator, gamma = fixed.data, fixed.generator(), fixed.discount(None)

    def squared(s: Tensor, a: Tensor, r: Tensor, following: Tensor, ended: Tensor) -> Tensor:
        actions, weights = fixed.candidates(following, generator)
        worth = fixed.critics_q(following, actions)[0]
        if getattr(agent.config, "backup_entropy", False):
            pairs = following.repeat_interleave(actions.shape[1], 0), actions.flatten(0, 1)
            temperature = agent.temperature / agent.config.reward_scale  # in units of the log's rewards
            worth = worth - temperature * agent.log_prob(*pairs).view_as(worth)
        ahead = agent.state_values(following) if hasattr(agent, "state_values") else (worth * weights).sum(-1)
        return (agent.q_values(s, a) - r - gamma * ~ended * ahead).square()

    columns = data.observations, data.actions, data.rewards, data.next_observations, data.terminations
    every, lengths = by_chunks(squared, *columns).cpu().double(), data.episode_lengths().tolist()
    parts = torch.stack([part.sum() for part in every.mean(0).split(lengths)]) * len(lengths) / len(data)
    return Estimate.of(parts, "episodes", every)


def weighted_importance_sampling(
    actor: Any,
    dataset: OfflineDataset,
    behaviour_log_prob: Any,
    *,
    discount: float | None = None,
    seed: int = 0,
    deterministic: bool | None = None,
    per_decision: bool = True,
    weighted: bool = True,
    resamples: int = 2000,
) -> Estimate:
    """The discounted return of a policy from the behaviour's episodes, each weighted by how likely the policy made it.

    With ``w_it = prod_{k<=t} pi(a_ik|s_ik) / behaviour(a_ik|s_ik)`` (kept at its last value after an episode's end) and
    G the discounted return: per decision ``sum_t discount^t sum_i w_it r_it / sum_i w_it``, else per episode
    ``sum_i w_iT G_i / sum_i w_iT``. ``weighted=False`` divides by the number of episodes: unbiased, and far noisier.
    ``behaviour_log_prob`` is ``[N]`` in nats, or a clone of the behaviour, whose error biases the result. Agents have
    continuous densities on [-1, 1]^A: add ``sum log((high - low) / 2)`` to a log-density in environment units. Rewards
    after a truncation are missing: the value is that up to the log's time limit. ``effective_episodes`` is
    ``(sum w)^2 / sum w^2``, per decision its harmonic mean over steps, weighted by discount^t. The interval is a
    percentile bootstrap over episodes: approximate, unusable below about 10 effective ones; nan where none has weight.
    Raises ``ConfigError`` for a policy without a density (deterministic and continuous), ``DataError`` for unfit
    log-probabilities. Source: Precup, Sutton and Singh 2000; Thomas 2015, chapter 3.
    """
    fixed, episodes = TargetPolicy(actor, dataset, deterministic, 1, seed), len(dataset.episode_starts)
    gamma, resamples = fixed.discount(discount), check_int("resamples", resamples, 1000)
    if hasattr(behaviour_log_prob, "policy") or callable(behaviour_log_prob):
        behaviour_log_prob = TargetPolicy(behaviour_log_prob, dataset, None).log_prob()
    behaviour = as_tensor(behaviour_log_prob, "behaviour_log_prob").detach().cpu().double()
    fits = behaviour.shape == (len(dataset),) and behaviour.isfinite().all()
    found = f"shape {[*behaviour.shape]}, {int(behaviour.isfinite().sum())} of them finite"
    require_data(fits, "behaviour_log_prob", found, f"a finite number for each of {len(dataset)} rows")
    require_data(episodes > 1, "dataset", "one episode", "two or more: an interval is over episodes")
    lengths = dataset.episode_lengths().cpu()
    steps = torch.arange(int(lengths.max()))
    inside, factors = steps < lengths[:, None], torch.tensor(gamma, dtype=torch.float64) ** steps
    log_weights, gains = torch.zeros(2, episodes, len(steps), dtype=torch.float64)
    log_weights[inside], gains[inside] = fixed.log_prob().cpu().double() - behaviour, dataset.rewards.cpu().double()
    log_weights, gains = log_weights.cumsum(1), gains * factors
    if not per_decision:
        log_weights, gains, factors = log_weights[:, -1:], gains.sum(1, keepdim=True), factors[:1]
    shares = torch.softmax(log_weights, 0)  # nan in a step in which no episode has weight
    top = gains * (shares if weighted else log_weights.exp())

    def estimate(counts: Tensor) -> Tensor:
        return (counts @ top / (counts @ shares if weighted else episodes)).sum()

    generator = seeded(seed, RESAMPLES, "cpu")
    draws = (torch.randint(episodes, (episodes,), generator=generator) for _ in range(resamples))
    values = torch.stack([estimate(torch.bincount(drawn, minlength=episodes).double()) for drawn in draws])
    low, high = values.nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    effective = float(factors.sum() / (factors * shares.square().sum(0)).sum())
    cut = int((~dataset.terminations[dataset.episode_starts + dataset.episode_lengths() - 1]).sum())
    covers = f"{episodes} episodes by bootstrap, {cut} truncated, {effective:.1f} effective"
    value = float(estimate(torch.ones(episodes).double()))
    result = Estimate(value, low, high, covers, (), effective, shares[:, -1])
    return result.within_reach(dataset, gamma) if math.isfinite(value) else result


@dataclass(frozen=True)
class SelectionRule:
    """How to choose among agents without a simulator: by the largest, or the smallest, of an estimate of each."""

    about: str
    smallest: bool = False

    def score(self, value: float) -> float:
        """What the rule maximises."""
        return -value if self.smallest else value


RULES = {
    "fqe": SelectionRule("largest fitted Q-evaluation; refuses what no reward of the log could pay"),
    "initial-value": SelectionRule("largest value of the agent's own critics (cloning has none)"),
    "wis": SelectionRule("largest importance-sampling estimate; refuses below 10 effective episodes"),
    "td-error": SelectionRule("smallest Bellman error on a log that nobody trained on", smallest=True),
}
"""Every rule, by the name that `cql-tutorial evaluate` and the table *ope* of `data/results` give it.

None is reliable where the truth is known: each did worse than a random choice in some world. ``fqe`` and
``initial-value`` over-estimate most what has no penalty or was trained too little, so that they can rank upside down:
do not let them choose between SAC and CQL, or a small alpha. ``wis`` can judge little but near-clones of the behaviour.
``td-error`` prefers a weak penalty. Take them as a list to doubt, together with what few real episodes say. Source:
Paine et al. 2020 (arXiv 2007.09055).
"""


def pick_best(scores: Mapping[Candidate, float]) -> Candidate | None:
    """The candidate of the largest score, the first of equals; one whose score is nan is never preferred."""
    judged = [candidate for candidate, score in scores.items() if not math.isnan(score)]
    return max(judged, key=scores.__getitem__, default=None)
