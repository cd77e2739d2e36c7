"""Soft Q-learning in two tables: what a policy keeps of two equal modes, and CQL with a soft backup and no actor.

`soft-modes`: a bandit whose reward has two equal bumps a dimension. A tanh-Gaussian (SAC at a fixed temperature) and
the energy policy (soft-q: K uniform candidates, one drawn by softmax(Q / T)) stand beside the exact softmax(Q / T) and
beside the best tanh-Gaussian there is. Every policy's density is put on a grid, so that no number is a sample's.

`soft-maze`: soft-q with CQL's penalty in the stitching maze, beside CQL with an actor. Its alpha is chosen on tuning
draws.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from cql_tutorial import OfflineDataset, fit, fit_population, make_agent
from cql_tutorial.course.studies.ch11_soft import PEAK, WIDTH, two_peaks, uniform_log
from cql_tutorial.envs import Maze
from cql_tutorial.evaluation import EVALUATION_SEED, evaluate_policy
from cql_tutorial.evaluation.intervals import t_quantile
from cql_tutorial.losses import tanh_gaussian_log_prob
from experiments.headline import DISCOUNT
from experiments.logs import maze_data
from experiments.runner import Study
from experiments.settings import BATCH_SIZE, CQL, CRITIC, NETWORK, SOFT_Q, initial_value
from experiments.storage import Row, to_text
from experiments.training import settings_record

# ---------------------------------------------------------------- two equal modes: which runs
TEMPERATURES, CANDIDATES, DRAWS = (0.05, 0.1, 0.2), (4, 16, 64, 256), tuple(range(10))
POLICIES = {  # name -> what it is
    "boltzmann": "exact: softmax(Q / T) of the true Q",
    "best-gaussian": "exact: the tanh-Gaussian that maximises E[Q] + T entropy, by quadrature",
    "centred-gaussian": "exact: the best with its mean between the bumps; no small move of the mean improves it",
    "gaussian": "SAC's actor, its temperature held at T",
    "energy": "soft-q: one of K uniform candidates, drawn by softmax(Q / T)",
}
MODES_COLUMNS = (
    "actions", "policy", "temperature", "candidates", "draw", "split", "reward", "reward_drawn", "in_modes",
    "least_mode", "total_variation", "predicted", "true", "estimation_error", "seconds", "settings",
)  # fmt: skip
LOGGED, STEPS, DRAWN = 2000, 2000, 1000  # rows of a log, updates, actions drawn of each learned policy
NUMBERS = 2000  # sets of candidates from which an energy policy's density is estimated


@dataclass(frozen=True)
class ModesJob:
    """One row: a policy at a temperature, learned from a draw of the log; "" where there is no such thing."""

    actions: int
    policy: str
    temperature: float
    candidates: int | str = ""
    draw: int | str = ""


def modes_jobs() -> Iterator[ModesJob]:
    """At each temperature: the exact policies, SAC's on ten logs, and soft-q's on the same with K candidates."""
    for actions in (1, 2):
        for temperature in TEMPERATURES:
            for policy in ("boltzmann", "best-gaussian", "centred-gaussian"):
                yield ModesJob(actions, policy, temperature)
            for draw in DRAWS:
                yield ModesJob(actions, "gaussian", temperature, "", draw)
            for many in CANDIDATES:
                for draw in DRAWS:
                    yield ModesJob(actions, "energy", temperature, many, draw)


def modes_key(job: ModesJob) -> tuple[Any, ...] | None:
    """SAC's temperatures and logs are trained together; what one soft-q agent serves is measured at once."""
    if job.policy == "gaussian":
        return job.actions, job.policy
    return (job.actions, job.policy, job.draw) if job.policy == "energy" else None


def modes_log(actions: int, draw: int) -> OfflineDataset:
    """2,000 uniformly random actions and their rewards: chapter 11's log, in one dimension."""
    return uniform_log(two_peaks(actions), LOGGED, draw)


# ---------------------------------------------------------------- two equal modes: policies on a grid
@cache
def grid(actions: int) -> Tensor:
    """Midpoints of equal cells of [-1, 1]^A, ``[m, A]`` in float64."""
    count = 2000 if actions == 1 else 200
    side = (torch.arange(count, dtype=torch.float64) + 0.5) * 2 / count - 1
    return torch.cartesian_prod(*[side] * actions).view(-1, actions)


def boltzmann(scores: Tensor) -> Tensor:
    """Probabilities of the cells under softmax(scores)."""
    return torch.softmax(scores, -1)


def gaussian(points: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Probabilities of the cells under ``tanh(mean + std * noise)``."""
    return torch.softmax(tanh_gaussian_log_prob(torch.atanh(points), mean, log_std), -1)


def resampled(scores: Tensor, others: Tensor) -> Tensor:
    """Probabilities of the cells under one of K uniform candidates, drawn by softmax(scores) of the K.

    ``p(a)`` is proportional to ``E [w(a) / (w(a) + sum of the other K - 1 weights)]``, ``w = exp(score)``. ``scores
    [m]`` are those of the cells, ``others [n, K - 1]`` those of n independent sets of uniform candidates.
    """
    rest = torch.logsumexp(others, -1)
    # The expectation depends on the score alone, smoothly: a table of 400 scores, and straight lines between.
    table = torch.linspace(float(scores.min()), float(scores.max()), 400, dtype=torch.float64)
    chance = torch.sigmoid(table[:, None] - rest).mean(-1)
    step = table[1] - table[0]
    place = ((scores - table[0]) / step).clamp(0, len(table) - 1.001)
    low = place.long()
    density = torch.lerp(chance[low], chance[low + 1], place - low)
    return density / density.sum()


def objective(mean: Tensor, log_std: float, temperature: float) -> Tensor:
    """``E[f(a)] + T entropy`` of ``a = tanh(mean + std * noise)`` in one dimension, by quadrature: ``[n] -> [n]``."""
    noise = torch.linspace(-5, 5, 401, dtype=torch.float64)
    weights = torch.softmax(-0.5 * noise**2, 0)
    pre_tanh = mean[:, None] + math.exp(log_std) * noise
    log_prob = tanh_gaussian_log_prob(pre_tanh[..., None], mean[:, None, None], mean.new_tensor([log_std]))
    return (two_peaks().bumps(torch.tanh(pre_tanh)) - temperature * log_prob) @ weights


@cache
def best_gaussian(temperature: float, centred: bool = False) -> tuple[float, float]:
    """Mean and log_std of the tanh-Gaussian with the largest `objective`, of those with mean 0 if ``centred``.

    Q is a sum over the dimensions and the Gaussian diagonal, so that the same is best in each.
    """
    means = torch.arange(0, 0.01 if centred else 1.2, 0.01, dtype=torch.float64)
    found = []
    for log_std in torch.arange(-4, 1, 0.02, dtype=torch.float64).tolist():
        value, place = objective(means, log_std, temperature).max(0)
        found.append((float(value), float(means[place]), log_std))
    return max(found)[1:]


def divergence(share: Tensor) -> float:
    """KL from the uniform distribution over the cells of a policy with these probabilities of them."""
    return float(torch.special.xlogy(share, share * len(share)).sum())


def describe(actions: int, temperature: float, share: Tensor) -> dict[str, float]:
    """What a policy with these probabilities of the cells is and earns.

    ``in_modes`` is the probability of being within two widths of a bump in every dimension, ``least_mode`` that of the
    least likely of the 2^A quadrants, ``total_variation`` the distance from softmax(Q / T), and ``true`` the policy's
    soft value ``E[Q] - T KL(policy, uniform)``, at most ``T log mean exp(Q / T)``.
    """
    points = grid(actions)
    rewards = two_peaks(actions).reward_function(points)
    exact = boltzmann(rewards / temperature)
    quadrant = ((points > 0).long() * 2 ** torch.arange(actions)).sum(-1)
    inside = ((points.abs() - PEAK).abs() < 2 * WIDTH).all(-1)
    return {
        "reward": float(share @ rewards),
        "in_modes": float(share[inside].sum()),
        "least_mode": float(torch.zeros(2**actions, dtype=share.dtype).index_add(0, quadrant, share).min()),
        "total_variation": float((share - exact).abs().sum() / 2),
        "true": float(share @ rewards) - temperature * divergence(share),
    }


# ---------------------------------------------------------------- two equal modes: some rows
def modes_settings(actions: int, data: OfflineDataset, draw: int) -> dict[str, Any]:
    """What SAC and soft-q share: networks, step sizes and the critics' start."""
    sizes = {"state_dim": 1, "action_dim": actions, "seed": draw}
    return {**NETWORK, **CRITIC, **sizes, "discount": 0.95, "initial_value": initial_value(data, 0.0)}


def measure_modes(jobs: list[ModesJob]) -> list[dict[str, Any]]:
    """The rows of one group of `modes_key`."""
    torch.set_num_threads(1)
    kind = {"gaussian": learn_gaussians, "energy": learn_energy}.get(jobs[0].policy)
    found = [exact_policy(job) for job in jobs] if kind is None else kind(jobs)
    about = [{name: getattr(job, name) for name in MODES_COLUMNS[:5]} | {"split": "report"} for job in jobs]
    return [{**one, **row} for one, row in zip(about, found, strict=True)]


def exact_policy(job: ModesJob) -> dict[str, Any]:
    """The row of a policy that is not learned."""
    points = grid(job.actions)
    if job.policy == "boltzmann":
        share = boltzmann(two_peaks(job.actions).reward_function(points) / job.temperature)
    else:
        found = best_gaussian(job.temperature, job.policy == "centred-gaussian")
        share = gaussian(points, *(torch.full_like(points, number) for number in found))
    return describe(job.actions, job.temperature, share)


def learn_gaussians(jobs: list[ModesJob]) -> list[dict[str, Any]]:
    """SAC at fixed temperatures, trained together."""
    actions, logs = jobs[0].actions, [modes_log(job.actions, int(job.draw)) for job in jobs]
    configs = [
        {
            **modes_settings(actions, data, int(job.draw)),
            "actor_lr": 1e-3,
            "alpha": job.temperature,
            "auto_alpha": False,
            "backup_entropy": False,
        }
        for job, data in zip(jobs, logs, strict=True)
    ]
    members = fit_population("sac", configs, logs, STEPS, batch_size=BATCH_SIZE, log_every=STEPS, progress=False)
    rows = []
    for job, member, config in zip(jobs, members, configs, strict=True):
        if member.diverged is not None:
            raise member.diverged
        agent: Any = member.agent
        points = grid(actions)
        with torch.no_grad():
            policy = agent.actor(torch.zeros(1, 1))
            share = gaussian(points, policy.mean.double(), policy.log_std.double())
            learned = agent.critic(torch.zeros(1, 1), points[None].float()).amin(0)[0].double()
        record = {"steps": STEPS, "batch_size": BATCH_SIZE, **config}
        rows.append(
            _with_error(
                describe(actions, job.temperature, share),
                float(share @ learned) - job.temperature * divergence(share),
            )
            | {"reward_drawn": reward_drawn(agent, actions), "seconds": round(member.history.seconds, 2)}
            | {"settings": json.dumps(settings_record("sac", record, len(jobs)))}
        )
    return rows


def learn_energy(jobs: list[ModesJob]) -> list[dict[str, Any]]:
    """One soft-q agent, read at every temperature with every number of candidates.

    An episode is one step: the critics' target is the reward, whatever the temperature and the candidates.
    """
    actions, draw = jobs[0].actions, int(jobs[0].draw)
    data = modes_log(actions, draw)
    settings = modes_settings(actions, data, draw)
    learner = make_agent("soft-q", settings)
    history = fit(learner, data, STEPS, batch_size=BATCH_SIZE, seed=draw, log_every=STEPS, progress=False)
    generator = torch.Generator().manual_seed(EVALUATION_SEED)
    state, points = torch.zeros(1, 1), grid(actions)
    pool = 2 * torch.rand(1, NUMBERS * max(CANDIDATES), actions, generator=generator) - 1
    with torch.no_grad():
        learned = learner.least_q(state, points[None].float())[0].double()
        others = learner.least_q(state, pool)[0].double().view(NUMBERS, -1)
    rows = []
    for job in jobs:
        reading = {"temperature": job.temperature, "n_acting_candidates": job.candidates}
        agent = make_agent("soft-q", {**settings, **reading})
        agent.critic.load_state_dict(learner.critic.state_dict())
        share = resampled(learned / job.temperature, others[:, : int(job.candidates) - 1] / job.temperature)
        record = {"steps": STEPS, "batch_size": BATCH_SIZE, **settings, **reading}
        rows.append(
            _with_error(describe(actions, job.temperature, share), float(agent.state_values(state)))
            | {"reward_drawn": reward_drawn(agent, actions), "seconds": round(history.seconds, 2)}
            | {"settings": json.dumps(record)}
        )
    return rows


def _with_error(found: dict[str, float], predicted: float) -> dict[str, Any]:
    return {**found, "predicted": predicted, "estimation_error": predicted - found["true"]}


def reward_drawn(agent: Any, actions: int) -> float:
    """The mean true reward of actions that the agent's own policy draws: what the grid's number must be near."""
    generator = torch.Generator().manual_seed(EVALUATION_SEED)
    return float(two_peaks(actions).reward_function(agent.policy()(torch.zeros(DRAWN, 1), generator)).mean())


MODES = Study(
    table="soft-modes",
    columns=MODES_COLUMNS,
    keys=MODES_COLUMNS[:5],
    jobs=modes_jobs,
    measure=measure_modes,
    population_key=modes_key,
    group_size=30,
    shown=("reward", "least_mode", "total_variation"),
)


# ---------------------------------------------------------------- CQL with a soft backup and no actor: which runs
TUNING, REPORTED, COMMON = (2000, 2001), (1000, 1001, 1002, 1003, 1004), 999  # the last gives the evaluation states
ALPHAS = (0.02, 0.1, 0.5)
Form = tuple[str, str, float | str]  # algorithm, form, temperature
FORMS: dict[Form, str] = {  # (algorithm, form, temperature) -> what it is
    ("cql", "", ""): "CQL with its actor; alpha 0 is offline SAC without entropy in the backup",
    ("soft-q", "mean", 0.1): "V = T log mean exp(Q / T), T 0.1",
    ("soft-q", "sum", 0.1): "V = T log integral exp(Q / T): T A log 2 more each step",
    ("soft-q", "expected", 0.1): "V = E_pi[Q], pi = softmax(Q / T)",
    ("soft-q", "mean", 1.0): "the mean form at T 1",
    ("soft-q", "sum", 1.0): "the sum form at T 1",
}
TUNED: tuple[Form, ...] = (("cql", "", ""), ("soft-q", "mean", 0.1), ("soft-q", "mean", 1.0))
WITHOUT = TUNED[:2]  # that are run without a penalty too
MAZE_COLUMNS = (
    "algorithm", "form", "temperature", "cql_alpha", "draw", "split", "return", "success", "return_sampled",
    "predicted", "true", "true_half_width", "estimation_error", "true_own", "true_own_half_width", "own_error",
    "cql_gap", "seconds", "settings",
)  # fmt: skip
MAZE_STEPS, STARTS, STATES, ROLLOUTS, CUT = 1500, 300, 200, 2, 150


@dataclass(frozen=True)
class MazeJob:
    """One run: a row of the table."""

    algorithm: str
    form: str
    temperature: float | str
    cql_alpha: float
    draw: int


def tuning_jobs() -> Iterator[MazeJob]:
    """CQL, and the mean form at either temperature, at three alphas."""
    for form in TUNED:
        for alpha in ALPHAS:
            yield from (MazeJob(*form, alpha, draw) for draw in TUNING)


def tuned_alpha(rows: list[Row], algorithm: str, temperature: float | str) -> float:
    """The alpha with the largest mean return over the tuning draws, the larger of two that tie.

    The other forms at a temperature take the mean form's: they differ from it in what a step is worth.
    """
    returns: dict[float, list[float]] = {alpha: [] for alpha in ALPHAS}
    for row in rows:
        if (row["algorithm"], row["temperature"], row["split"]) == (algorithm, to_text(temperature), "tune"):
            returns[float(row["cql_alpha"])].append(float(row["return"]))
    return max(ALPHAS, key=lambda alpha: (mean(returns[alpha]), alpha))


def reported_jobs(rows: list[Row]) -> Iterator[MazeJob]:
    """Every form at the tuned alpha, and two of them without a penalty, on the reported draws."""
    for form in FORMS:
        algorithm, _, temperature = form
        for alpha in (tuned_alpha(rows, algorithm, temperature), *([0.0] if form in WITHOUT else [])):
            yield from (MazeJob(*form, alpha, draw) for draw in REPORTED)


# ---------------------------------------------------------------- CQL with a soft backup and no actor: some rows
def maze_settings(job: MazeJob, data: OfflineDataset) -> dict[str, Any]:
    """The settings of a job's agent."""
    own: dict[str, Any] = {**CQL, "actor_lr": 1e-3}
    if job.algorithm == "soft-q":
        backup = "expected" if job.form == "expected" else "soft"
        own = {**SOFT_Q, "temperature": job.temperature, "backup": backup}
        own["value_form"] = "sum" if job.form == "sum" else "mean"
    # A critic that starts far below its values is under-trained for long: the sum form's later bonuses count already.
    bonus = float(job.temperature) * 2 * math.log(2) if job.form == "sum" else 0.0
    value = initial_value(data, DISCOUNT) + DISCOUNT * bonus / (1 - DISCOUNT)
    start = {"initial_value": value, "cql_alpha": job.cql_alpha}
    return {**NETWORK, "discount": DISCOUNT, **own, **start}


def measure_maze(jobs: list[MazeJob]) -> list[dict[str, Any]]:
    """Train agents of one kind on their draws of the maze's log and measure each on states that all runs share."""
    torch.set_num_threads(1)
    logs = [maze_data(job.draw) for job in jobs]
    settings = [maze_settings(job, data) for job, data in zip(jobs, logs, strict=True)]
    configs = [
        {**each, "state_dim": 2, "action_dim": 2, "seed": job.draw} for job, each in zip(jobs, settings, strict=True)
    ]
    options: dict[str, Any] = {"batch_size": BATCH_SIZE, "log_every": MAZE_STEPS // 10, "progress": False}
    if jobs[0].algorithm == "cql":
        runs = [(run.agent, run.history) for run in fit_population("cql", configs, logs, MAZE_STEPS, **options)]
    else:
        agents = [make_agent("soft-q", config) for config in configs]
        each = zip(jobs, agents, logs, strict=True)
        runs = [(agent, fit(agent, data, MAZE_STEPS, seed=job.draw, **options)) for job, agent, data in each]
    rows = []
    for job, (agent, history), own in zip(jobs, runs, settings, strict=True):
        about = {name: getattr(job, name) for name in MAZE_COLUMNS[:5]}
        about["split"] = "tune" if job.draw in TUNING else "report"
        record = settings_record(job.algorithm, {"steps": MAZE_STEPS, "batch_size": BATCH_SIZE, **own}, len(jobs))
        if "cql_gap" in history.columns:
            about["cql_gap"] = history.last("cql_gap")
        found = measure_policy(agent, maze_data(COMMON), job)
        rows.append({**about, **found, "seconds": round(history.seconds, 2), "settings": json.dumps(record)})
    return rows


def measure_policy(agent: Any, common: OfflineDataset, job: MazeJob) -> dict[str, float]:
    """Returns, and the prediction at the policy's own actions beside two truths.

    ``true`` is Q^pi, the discounted rewards; ``true_own`` what this backup stands for: with a soft one also the bonus
    ``-T log pi(a|s)`` of each later step, less T A log 2 in the mean form, whose prior is uniform.
    """
    world, policy = Maze(), agent.policy()
    greedy = evaluate_policy(world, agent.policy(deterministic=True), STARTS)
    row = {"return": float(greedy.mean()), "success": float((greedy > 0).double().mean())}
    row["return_sampled"] = float(evaluate_policy(world, policy, STARTS).mean())
    if job.draw in TUNING:
        return row
    chosen = torch.randperm(len(common), generator=torch.Generator().manual_seed(EVALUATION_SEED))[:STATES]
    observations = common.observations[chosen]
    actions = policy(observations, torch.Generator().manual_seed(EVALUATION_SEED))
    row["predicted"] = predicted = float(agent.q_values(observations, actions).amin(0).double().mean())
    rewards, information = simulate(world, policy, world.states_of(observations), actions)
    row["true"], row["true_half_width"] = pooled(rewards)
    row["estimation_error"] = predicted - row["true"]
    own = rewards
    if job.form in ("mean", "sum"):
        prior = world.action_dim * math.log(2) * (job.form == "mean")  # -log of the density that the bonus is against
        later = (DISCOUNT - DISCOUNT ** (CUT + 1)) / (1 - DISCOUNT)  # the bonuses' discounts, summed
        own = rewards + float(job.temperature) * (information - prior * later)
    row["true_own"], row["true_own_half_width"] = pooled(own)
    return row | {"own_error": predicted - row["true_own"]}


@torch.no_grad()
def simulate(world: Maze, policy: Any, states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Discounted sums after (s, a), ``[n, rollouts]`` each: of the rewards, and of ``-log pi`` of the later actions.

    They are cut after `CUT` steps, when the rewards that are left are worth less than 0.01.
    """
    generator = torch.Generator().manual_seed(EVALUATION_SEED)
    states, chosen = (rows.repeat_interleave(ROLLOUTS, 0) for rows in (states, actions))
    rewards = torch.zeros(len(states), dtype=torch.float64)
    information = torch.zeros_like(rewards)
    for step in range(CUT + 1):
        if step > 0:
            chosen, log_prob = policy.sample(world.observe(states), generator)
            information -= DISCOUNT**step * log_prob.double()
        states, earned, _ = world.step(states, chosen, generator)
        rewards += DISCOUNT**step * earned.double()
    return rewards.view(-1, ROLLOUTS), information.view(-1, ROLLOUTS)


def pooled(returns: Tensor) -> tuple[float, float]:
    """The mean of returns ``[n, R]`` and half of its 95 % interval at these n states, with 0.01 for the cut."""
    states, runs = returns.shape
    noise = float((returns.var(-1).mean() / returns.numel()).sqrt())
    return float(returns.mean()), t_quantile(states * (runs - 1)) * noise + 0.01


MAZE = Study(
    table="soft-maze",
    columns=MAZE_COLUMNS,
    keys=MAZE_COLUMNS[:5],
    jobs=tuning_jobs,
    later_jobs=(reported_jobs,),
    measure=measure_maze,
    population_key=lambda job: "cql" if job.algorithm == "cql" else None,
    shown=("return", "return_sampled", "estimation_error", "own_error"),
)
STUDIES = {study.table: study for study in (MODES, MAZE)}
