"""The table of pitfalls: each wrong penalty trained on bandit, arm and maze, beside the correct one on the same logs.

`cql_alpha` and the Lagrange targets are set on tuning draws and reported on others; every variant sees the same ten
logs, so that a difference is taken draw by draw. A row a run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

import torch

from cql_tutorial import CQLAgent, OfflineDataset, fit_population
from cql_tutorial.course.wrong_penalties import PITFALLS
from cql_tutorial.datasets.recording import dataset_of
from cql_tutorial.envs import Arm, Bandit, Maze
from cql_tutorial.envs.arm import arm_episodes
from cql_tutorial.envs.base import World, normal, record_episodes
from cql_tutorial.envs.maze import stitching_episodes
from cql_tutorial.evaluation import EVALUATION_SEED, estimation_report, evaluate_policy
from cql_tutorial.losses import mixture_log_density, uniform_log_density
from cql_tutorial.networks import MAX_ACTION
from cql_tutorial.training.population import Member
from experiments.runner import Study, place
from experiments.settings import BATCH_SIZE, CQL, NETWORK, SAC
from experiments.storage import Row
from experiments.training import can_stack, settings_record

TUNING, REPORTED, COMMON = (100, 101, 102), tuple(range(10)), 999  # draws; the last gives the evaluation states
ALPHAS, FACTOR = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0), 30.0
STATES, STARTS = 200, 300
COLUMNS = (
    "task", "variant", "cql_alpha", "split", "draw", "return", "predicted", "true", "true_half_width",
    "estimation_error", "share_over", "share_impossible", "error_data", "error_uniform", "push_on_policy",
    "softmax_on_policy", "log_q_value", "log_q_value_half", "log_td_loss", "log_cql_gap", "log_multiplier",
    "log_entropy", "log_temperature", "diverged", "seconds", "settings",
)  # fmt: skip
KEYS = ("task", "variant", "cql_alpha", "draw")
VARIANTS = {  # name -> what it is
    "correct": "the right penalty at the tuned alpha",
    "mixture": "right too: every candidate weighed by the density of all proposals together",
    "sac": "control: no penalty",
    "sac-decay": "control: no penalty, weight decay 0.01 on the critics (shrinkage alone)",
    "bc": "control: cloning, no critic",
    "no_importance_correction": "no density at all: wrong for CQL(H), right for CQL(rho), rho the proposals' mixture",
    "no_uniform_density": "the uniform candidates' density 2^-A left out",
    "uniform_only": "no policy candidates",
    "policy_only": "no uniform candidates",
    "hard_max": "a maximum over the candidates in place of log-sum-exp",
    "batch_max": "one maximum over the whole batch",
    "single_action": "one uniform and one policy action",
    "alpha_small": f"the tuned alpha divided by {FACTOR:g}",
    "alpha_large": f"the tuned alpha times {FACTOR:g}",
    "reward_unit": f"the tuned alpha, rewards logged in a unit {FACTOR:g} times smaller (numbers {FACTOR:g} x larger)",
    "lagrange": "multiplier with a feasible target: the CQL gap of the correct penalty on the tuning draws",
    "lagrange_low": "Lagrange target 1 below the floor (the gap at the large alpha on the tuning draws)",
    "lagrange_high": "Lagrange target 1 above the natural gap (that at alpha 0 on the tuning draws)",
}


@dataclass(frozen=True)
class Task:
    """A world, its log by draw, and how long its agents train."""

    world: World
    data: Callable[[int], dict[str, torch.Tensor]]
    steps: int
    settings: dict[str, Any]


def bandit_data(actions: int) -> Callable[[int], dict[str, torch.Tensor]]:
    """2,000 tries around the low broad bump (mean -0.25, sd 0.35, clipped); rewards with noise 0.1."""

    def data(draw: int) -> dict[str, torch.Tensor]:
        world, generator = Bandit(actions=actions, noise=0.1), torch.Generator().manual_seed(draw)

        def behaviour(observations: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
            return (-0.25 + 0.35 * normal(observations.expand(-1, actions), generator)).clamp(-1.0, 1.0)

        return record_episodes(world, [(behaviour, world.reset(2000, generator))], generator=generator)

    return data


def arm_data(behaviour: str) -> Callable[[int], dict[str, torch.Tensor]]:
    """20,000 steps of the six-joint arm."""
    return lambda draw: arm_episodes(Arm(joints=6), behaviour, 500, torch.Generator().manual_seed(draw))


SETTINGS = {**NETWORK, **SAC, "actor_lr": 1e-3}
TASKS = {
    "bandit-1": Task(Bandit(actions=1), bandit_data(1), 1500, {"discount": 0.95, "tau": 0.02}),
    "bandit-6": Task(Bandit(actions=6), bandit_data(6), 1500, {"discount": 0.95, "tau": 0.02}),
    "arm-narrow": Task(Arm(joints=6), arm_data("narrow"), 3000, {"discount": 0.9, "tau": 0.05}),
    "arm-mixed": Task(Arm(joints=6), arm_data("mixed"), 3000, {"discount": 0.9, "tau": 0.05}),
    "maze": Task(
        Maze(),
        lambda draw: stitching_episodes(Maze(), generator=torch.Generator().manual_seed(draw)),
        2000,
        {"discount": 0.95, "tau": 0.02},
    ),
}


def log(task: str, draw: int, unit: float = 1.0) -> OfflineDataset:
    """A draw of a task's log, its rewards counted in units of 1 / ``unit``."""
    flat = TASKS[task].data(draw)
    return dataset_of(TASKS[task].world, flat | {"rewards": unit * flat["rewards"]}, id=f"{task}, draw {draw}")


# ---------------------------------------------------------------- which runs
@dataclass(frozen=True)
class Job:
    """One run: a row of the table."""

    task: str
    variant: str
    cql_alpha: float
    draw: int
    target: float | None = None  # of the CQL gap, under Lagrange
    changes: Mapping[str, Any] = field(default_factory=dict)  # settings that differ from the task's


def tuning_jobs() -> Iterator[Job]:
    """Six alphas, and none: the last gives the natural gap."""
    for task in TASKS:
        for draw in TUNING:
            for alpha in (0.0, *ALPHAS):
                yield Job(task, "tuning", alpha, draw)


def large_alpha_jobs(rows: list[Row]) -> Iterator[Job]:
    """The large alpha on the tuning draws: its gap is the floor."""
    for task in TASKS:
        for draw in TUNING:
            yield Job(task, "floor", FACTOR * tuned_alpha(rows, task), draw)


def reported_jobs(rows: list[Row]) -> Iterator[Job]:
    """Every variant on every reported draw."""
    for draw in REPORTED:
        for task in TASKS:
            alpha, targets = tuned_alpha(rows, task), lagrange_targets(rows, task)
            for variant in VARIANTS:
                scale = {"alpha_small": 1 / FACTOR, "alpha_large": FACTOR}.get(variant, 1.0)
                yield Job(task, variant, scale * alpha, draw, targets.get(variant))


def column(rows: list[Row], name: str, **where: Any) -> list[float]:
    """The numbers of a column in the rows where the other columns have these values; empty cells are left out."""
    chosen = [row for row in rows if all(str(row[k]) == str(v) for k, v in where.items())]
    return [float(row[name]) for row in chosen if row.get(name) not in ("", None)]


def tuned_alpha(rows: list[Row], task: str) -> float:
    """The largest alpha whose mean return over the tuning draws is within 2 % of the best alpha's.

    The most conservative one that costs nothing: where returns are tied, a weak penalty would hide every pitfall.
    """
    means = {
        alpha: mean(column(rows, "return", task=task, variant="tuning", cql_alpha=f"{alpha:g}")) for alpha in ALPHAS
    }
    best = max(means.values())
    return max(alpha for alpha, value in means.items() if value >= best - 0.02 * abs(best))


def lagrange_targets(rows: list[Row], task: str) -> dict[str, float]:
    """Targets of the CQL gap, read off the tuning draws: one that can be held, one below and one above all that can."""

    def gaps(**where: Any) -> list[float]:
        return column(rows, "log_cql_gap", task=task, **where)

    feasible = gaps(variant="tuning", cql_alpha=f"{tuned_alpha(rows, task):g}")
    return {
        "lagrange": round(mean(feasible), 2),
        "lagrange_low": round(min(gaps(variant="floor")) - 1, 2),
        "lagrange_high": round(max(gaps(variant="tuning", cql_alpha="0")) + 1, 2),
    }


# ---------------------------------------------------------------- one run
class InUnits:
    """An agent whose values are read in the world's own unit of reward."""

    def __init__(self, agent: Any, unit: float) -> None:
        self.agent, self.unit, self.config, self.device = agent, unit, agent.config, agent.device
        self.policy = agent.policy
        if hasattr(agent, "critic"):
            self.q_values = lambda observations, actions: agent.q_values(observations, actions) / unit


def population_key(job: Job) -> tuple[Any, ...] | None:
    """Equal for jobs whose agents can be trained as one population."""
    name, settings = agent_settings(job, 0.0)
    free = {"initial_value", "pitfall", "cql_alpha", "critic_weight_decay", "cql_target_action_gap"}
    shared = json.dumps({k: v for k, v in settings.items() if k not in free}, sort_keys=True)
    return (job.task, name, shared) if can_stack(name) else None


def measure(jobs: list[Job], task: Task | None = None) -> list[dict[str, Any]]:
    """Train agents of one kind and measure each on the states that all runs of its task share.

    ``task`` replaces the one that the jobs name.
    """
    torch.set_num_threads(1)
    task, common = task or TASKS[jobs[0].task], log(jobs[0].task, COMMON)
    units = [FACTOR if job.variant == "reward_unit" else 1.0 for job in jobs]
    logs = [log(job.task, job.draw, unit) for job, unit in zip(jobs, units, strict=True)]
    named = [agent_settings(job, float(data.rewards.mean())) for job, data in zip(jobs, logs, strict=True)]
    dims = {"state_dim": common.observation_dim, "action_dim": common.action_dim}
    configs = [{**dims, "seed": job.draw, **settings} for job, (_, settings) in zip(jobs, named, strict=True)]
    name = named[0][0]
    options: dict[str, Any] = {"batch_size": BATCH_SIZE, "log_every": task.steps // 10, "progress": False}
    members = fit_population(name, configs, logs, task.steps, **options)
    settings = [{"steps": task.steps, "batch_size": BATCH_SIZE, **each} for _, each in named]
    records = [settings_record(name, each, len(jobs)) for each in settings]
    runs = zip(jobs, members, units, records, strict=True)
    return [measure_member(*run, common) for run in runs]


def measure_member(
    job: Job, member: Member, unit: float, record: dict[str, Any], common: OfflineDataset
) -> dict[str, Any]:
    """The row of a trained agent, or of one whose loss stopped being finite."""
    history, diverged = member.history, member.diverged is not None
    row: dict[str, Any] = {"task": job.task, "variant": job.variant, "draw": job.draw, "diverged": int(diverged)}
    row |= {"cql_alpha": job.cql_alpha, "split": "report" if job.draw in REPORTED else "tune"}
    row |= {"seconds": round(history.seconds, 1), "settings": json.dumps(record)}
    if diverged:
        return row | {"settings": json.dumps({**record, "diverged": str(member.diverged)})}
    names = ("q_value", "td_loss", "cql_gap", "entropy", "temperature")
    row |= {f"log_{k}": history.last(k) for k in names if k in history.columns}
    if "q_value" in history.columns:
        row["log_q_value_half"] = history["q_value"][len(history) // 2 - 1]
    if "cql_alpha" in history.columns:
        row["log_multiplier"] = history.last("cql_alpha")
    found = measure_agent(InUnits(member.agent, unit), TASKS[job.task].world, common)
    return row | {k: v for k, v in found.items() if k in COLUMNS} | measure_shares(member.agent, common)


def agent_settings(job: Job, mean_reward: float) -> tuple[str, dict[str, Any]]:
    """The agent's name and settings for a job."""
    settings = {**SETTINGS, **TASKS[job.task].settings}
    if job.variant == "bc":
        return "bc", {k: settings[k] for k in ("hidden_dim", "actor_lr", "device")}
    # A task of one step has no future: its values start at the mean reward.
    settings["initial_value"] = mean_reward / (1 - settings["discount"] * (not TASKS[job.task].world.terminates))
    if job.variant in ("sac", "sac-decay"):
        return "sac", settings | ({"critic_weight_decay": 1e-2} if job.variant == "sac-decay" else {})
    settings |= {"cql_alpha": job.cql_alpha, "cql_n_actions": CQL["cql_n_actions"]}
    if job.variant == "mixture":
        settings["proposal_weights"] = "mixture"
    if job.variant in PITFALLS:
        settings["pitfall"] = job.variant
    if job.target is not None:
        settings |= {"cql_lagrange": True, "cql_target_action_gap": job.target}
    # "correct" too: all variants of a task are trained as one program.
    return "cql-wrong-penalty", {**settings, **job.changes}


def measure_agent(agent: Any, world: World, common: OfflineDataset) -> dict[str, float]:
    """Return from the common starts; with critics, their estimation report in the common states."""
    row = {"return": float(evaluate_policy(world, agent.policy(deterministic=True), STARTS).mean())}
    if hasattr(agent, "q_values"):
        report = estimation_report(agent, world, common, n_states=STATES, seed=EVALUATION_SEED)
        row |= report.at("policy") | {f"error_{k}": report.at(k)["estimation_error"] for k in ("data", "uniform")}
    return row


def measure_shares(agent: Any, common: OfflineDataset, many: int = 500) -> dict[str, float]:
    """Share of the push-down on the policy's region, {a: pi(a|s) > uniform density}, beside that of softmax(Q).

    The first is what the variant's own penalty did with its own candidates (the mean over 20 batches of noise); the
    second is self-normalised importance sampling with the density of all proposals, 1,000 candidates a state.
    """
    if not isinstance(agent, CQLAgent):
        return {}
    observations, dim = common.observations[:STATES].to(agent.dtype), common.action_dim
    policy, flat = agent.actor(observations), uniform_log_density(dim)

    def inside(actions: torch.Tensor) -> torch.Tensor:
        return (policy.log_prob(torch.atanh(actions.clamp(-MAX_ACTION, MAX_ACTION))) > flat).double()

    pushed = []
    for _ in range(20):
        with torch.no_grad():
            candidates, log_density = agent.sample_candidates(policy, policy, agent.draw_noise(len(observations)))
            q = agent.critic(observations, candidates)
        q.requires_grad_(True)
        (weight,) = torch.autograd.grad(agent.penalty(q, log_density, q[..., 0].detach()).sum(), q)
        pushed.append(float((weight * inside(candidates)).sum() / weight.sum()))
    with torch.no_grad():
        uniform = (2 * torch.rand(len(observations), many, dim, generator=agent.generator) - 1).to(agent.dtype)
        drawn = policy.sample(agent.normal(len(observations), many, dim))
        actions = torch.cat([uniform.clamp(-MAX_ACTION, MAX_ACTION), drawn.actions], 1)
        own = policy.log_prob(torch.cat([torch.atanh(uniform.clamp(-MAX_ACTION, MAX_ACTION)), drawn.pre_tanh], 1))
        density = mixture_log_density(torch.stack([own, torch.full_like(own, flat)]))
        weights = torch.softmax(agent.critic(observations, actions).mean(0) - density, -1)
        truth = float((weights * (own > flat)).sum(-1).mean())
    return {"push_on_policy": sum(pushed) / len(pushed), "softmax_on_policy": truth}


# ---------------------------------------------------------------- all runs
def order(row: Row) -> tuple[Any, ...]:
    """Task by task, tuning first, then the variants."""
    places = place(row["task"], TASKS), place(row["variant"], ("tuning", "floor", *VARIANTS))
    return (*places, float(row["cql_alpha"]), int(row["draw"]))


STUDY = Study(
    table="pitfalls",
    columns=COLUMNS,
    keys=KEYS,
    jobs=tuning_jobs,
    later_jobs=(large_alpha_jobs, reported_jobs),
    measure=measure,
    population_key=population_key,
    order=order,
)
