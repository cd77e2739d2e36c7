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
from typing import Any

import torch
from torch import Tensor

from cql_tutorial import OfflineDataset, fit, fit_population, make_agent
from cql_tutorial.datasets.recording import dataset_of
from cql_tutorial.envs import Bandit
from cql_tutorial.envs.base import UniformPolicy, record_episodes
from cql_tutorial.evaluation import EVALUATION_SEED
from cql_tutorial.losses import tanh_gaussian_log_prob
from experiments.runner import Study
from experiments.settings import BATCH_SIZE, CRITIC, NETWORK, initial_value
from experiments.training import settings_record

# ---------------------------------------------------------------- two equal modes: which runs
TEMPERATURES, CANDIDATES, DRAWS = (0.05, 0.1, 0.2), (4, 16, 64, 256), tuple(range(10))
CENTRE, WIDTH = 0.5, 0.15  # of the bumps, at plus and minus the centre in each dimension
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


def two_modes(actions: int) -> Bandit:
    """Two equal bumps in each dimension, rewards without noise: what differs is the policy alone."""
    return Bandit(actions=actions, heights=(1.0, 1.0), centres=(-CENTRE, CENTRE), widths=(WIDTH, WIDTH))


def modes_log(actions: int, draw: int) -> OfflineDataset:
    """2,000 uniformly random actions and their rewards."""
    world, generator = two_modes(actions), torch.Generator().manual_seed(draw)
    tries = record_episodes(world, [(UniformPolicy(world), world.reset(LOGGED, generator))], generator=generator)
    return dataset_of(world, tries, id=f"two modes, {actions} dimensions, draw {draw}")


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
    entropy = log_std + 0.5 * math.log(2 * math.pi * math.e) + _log_slope(pre_tanh) @ weights
    return two_modes(1).bumps(torch.tanh(pre_tanh)) @ weights + temperature * entropy


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


def _log_slope(pre_tanh: Tensor) -> Tensor:
    """log of the derivative of tanh, without cancellation."""
    return 2 * (math.log(2) - pre_tanh - torch.nn.functional.softplus(-2 * pre_tanh))


def describe(actions: int, temperature: float, share: Tensor) -> dict[str, float]:
    """What a policy with these probabilities of the cells is and earns.

    ``in_modes`` is the probability of being within two widths of a bump in every dimension, ``least_mode`` that of the
    least likely of the 2^A quadrants, ``total_variation`` the distance from softmax(Q / T), and ``true`` the policy's
    soft value ``E[Q] - T KL(policy, uniform)``, at most ``T log mean exp(Q / T)``.
    """
    points = grid(actions)
    rewards = two_modes(actions).reward_function(points)
    exact = boltzmann(rewards / temperature)
    quadrant = ((points > 0).long() * 2 ** torch.arange(actions)).sum(-1)
    inside = ((points.abs() - CENTRE).abs() < 2 * WIDTH).all(-1)
    kl = float((torch.special.xlogy(share, share * len(points))).sum())
    return {
        "reward": float(share @ rewards),
        "in_modes": float(share[inside].sum()),
        "least_mode": float(torch.zeros(2**actions, dtype=share.dtype).index_add(0, quadrant, share).min()),
        "total_variation": float((share - exact).abs().sum() / 2),
        "true": float(share @ rewards) - temperature * kl,
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
        share = boltzmann(two_modes(job.actions).reward_function(points) / job.temperature)
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
        kl = float(torch.special.xlogy(share, share * len(points)).sum())
        record = {"steps": STEPS, "batch_size": BATCH_SIZE, **config}
        rows.append(
            _with_error(describe(actions, job.temperature, share), float(share @ learned) - job.temperature * kl)
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
    return float(two_modes(actions).reward_function(agent.policy()(torch.zeros(DRAWN, 1), generator)).mean())


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


STUDIES = {study.table: study for study in (MODES,)}
