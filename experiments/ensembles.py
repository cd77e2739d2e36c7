"""Two critics beside ten: online on Pendulum by updates a step, offline in the stitching maze by what spread tells.

Nothing is tuned here: the online settings were fixed beforehand, the offline ones are those of the headline table. The
alpha is the one that table chose on other draws, with two critics. A seed is a run's networks, noise and data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cql_tutorial import OfflineDataset, fit_population, load_dataset, make_agent
from cql_tutorial.datasets.recording import record
from cql_tutorial.envs import Maze, Pendulum
from cql_tutorial.envs.base import UniformPolicy, World
from cql_tutorial.evaluation import EVALUATION_SEED, estimation_report, evaluate_policy
from cql_tutorial.training.online import fine_tune
from experiments.headline import DISCOUNT, chosen_alpha
from experiments.logs import maze_data
from experiments.runner import Study
from experiments.settings import BATCH_SIZE, CQL, NETWORK, SAC, initial_value
from experiments.training import can_stack, settings_record

STATES = 200  # common ones, at which predictions and truth are compared
REDQ: dict[str, Any] = {"n_critics": 10, "target_subset": 2, "actor_reduction": "mean"}
ENSEMBLES: dict[str, dict[str, Any]] = {
    "two-min": {},
    "ten-pair-mean": REDQ,
    "ten-pair-min": {**REDQ, "actor_reduction": "min"},
    "ten-min": {"n_critics": 10},
}
WHAT = {
    "two-min": "two critics, target and actor on their minimum (SAC, CQL)",
    "ten-pair-mean": "ten critics, target the minimum of a random pair, actor on the mean of all (REDQ)",
    "ten-pair-min": "ten critics, target the minimum of a random pair, actor on the minimum of all (WSRL)",
    "ten-min": "ten critics, target and actor on the minimum of all (SAC-N)",
    "two-from-zero": "two critics whose last bias starts at 0 in place of mean reward / (1 - discount) (control)",
}


def measure_values(agent: Any, world: World, common: OfflineDataset) -> dict[str, float]:
    """Values beside the truth at the policy's own actions in common states, and how far the critics lie apart.

    Q-hat is what the actor climbs. ``error_min`` and ``error_mean`` are the errors of the least and of the mean of all
    critics, whatever the actor climbs; ``spread`` the standard deviation over the critics (n - 1), a mean over states;
    ``error_sd`` that of the error over the states; ``rank_correlation`` that of spread and absolute error over states.
    """
    report = estimation_report(
        agent, world, common, n_states=STATES, q=agent.config.actor_reduction, seed=EVALUATION_SEED
    )
    row, spreads = report.at("policy"), {}
    for kind, raw in report.raw.items():
        heads = agent.q_values(report.observations, raw["actions"]).double()
        spreads[kind] = heads.std(0)
        if kind == "policy":
            row |= {
                "error_min": float((heads.amin(0) - raw["true"]).mean()),
                "error_mean": float((heads.mean(0) - raw["true"]).mean()),
            }
    error = report.raw["policy"]["predicted"] - report.raw["policy"]["true"]
    return row | {
        "error_sd": float(error.std()),
        "error_data": report.at("data")["estimation_error"],
        "error_uniform": report.at("uniform")["estimation_error"],
        "spread": float(spreads["policy"].mean()),
        "spread_data": float(spreads["data"].mean()),
        "spread_uniform": float(spreads["uniform"].mean()),
        "rank_correlation": rank_correlation(spreads["policy"], error.abs()),
    }


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's: the correlation of the ranks, ``[n], [n]``."""
    from scipy.stats import spearmanr

    return float(spearmanr(first, second)[0])


VALUES = (
    "predicted", "true", "true_half_width", "estimation_error", "error_min", "error_mean", "error_sd", "share_over",
    "share_impossible", "error_data", "error_uniform", "spread", "spread_data", "spread_uniform", "rank_correlation",
)  # fmt: skip


# ---------------------------------------------------------------- online: updates a step
UPDATES_PER_STEP, ONLINE_SEEDS = (1, 5), (0, 1, 2, 3, 4)
ONLINE_STEPS, WARM_UP, EVALUATE_EVERY, ONLINE_STARTS = 1600, 400, 400, 100
ONLINE: dict[str, Any] = {**NETWORK, **SAC, "hidden_dim": 48, "actor_lr": 5e-4, "tau": 0.01, "discount": DISCOUNT}


@dataclass(frozen=True)
class OnlineJob:
    """One run: a row at every evaluation."""

    variant: str
    updates_per_step: int
    seed: int
    split: str = "report"


def online_jobs() -> Iterator[OnlineJob]:
    """Two and ten critics at each number of updates a step; the control at one."""
    for updates in UPDATES_PER_STEP:
        for seed in ONLINE_SEEDS:
            for variant in ("two-min", "ten-pair-mean", *["two-from-zero"] * (updates == 1)):
                yield OnlineJob(variant, updates, seed)


def measure_online(jobs: list[OnlineJob]) -> list[dict[str, Any]]:
    """SAC from scratch on Pendulum: 400 steps of the untrained policy, then so many updates a step.

    Only the last of a step's updates moves actor and temperature, as in REDQ: what varies is how often the critics
    learn. A log of 400 uniform actions gives the critics' last bias and nothing else.
    """
    torch.set_num_threads(1)
    (job,) = jobs
    world, common = Pendulum(), load_dataset("pendulum/replay-v0")
    log = record(world, UniformPolicy(world), WARM_UP, seed=job.seed, id=f"uniform, seed {job.seed}")
    settings = {**ONLINE, **ENSEMBLES.get(job.variant, {}), "initial_value": initial_value(log, DISCOUNT)}
    if job.variant == "two-from-zero":
        settings["initial_value"] = 0.0
    dims = {"state_dim": world.observation_dim, "action_dim": world.action_dim, "seed": job.seed}
    agent = make_agent("sac", {**dims, "action_low": world.action_low, "action_high": world.action_high, **settings})
    training: dict[str, Any] = {
        "batch_size": BATCH_SIZE, "mix": 0.0, "warm_up": WARM_UP, "updates_per_step": job.updates_per_step,
        "policy_updates": "last",
    }  # fmt: skip

    found: dict[str, float] = {}

    def evaluate(agent: Any) -> dict[str, float]:
        learned = any(int(state["step"]) for state in agent.optimizers["critic"].state.values())
        if learned or not found:  # at the end of the warm-up the agent is what it was at step 0
            returns = evaluate_policy(world, agent.policy(deterministic=True), ONLINE_STARTS)
            found.update({"return": float(returns.mean()), **measure_values(agent, world, common)})
        return dict(found)

    history = fine_tune(
        agent, world, log, ONLINE_STEPS, **training, seed=job.seed, log_every=EVALUATE_EVERY,
        evaluate=evaluate, eval_every=EVALUATE_EVERY, progress=False,
    )  # fmt: skip
    about = {name: getattr(job, name) for name in ONLINE_KEYS} | {"split": job.split}
    about |= {"seconds": round(history.seconds, 1), "settings": json.dumps({**training, **settings})}
    return [
        {
            **about,
            "step": int(row["step"]),
            "updates": job.updates_per_step * max(0, int(row["step"]) - WARM_UP),
            **{k: v for k, v in row.items() if k in ("return", *VALUES)},
        }
        for row in history.rows
        if "return" in row
    ]


ONLINE_KEYS = ("variant", "updates_per_step", "seed")
ONLINE_COLUMNS = (*ONLINE_KEYS, "split", "step", "updates", "return", *VALUES, "seconds", "settings")
ONLINE_STUDY = Study(
    table="ensembles-online",
    columns=ONLINE_COLUMNS,
    keys=ONLINE_KEYS,
    jobs=online_jobs,
    measure=measure_online,
)


# ---------------------------------------------------------------- offline: spread beside error
COMMON = 999  # the draw of the maze's log whose states all runs are judged in
DRAWS = tuple(range(1000, 1010))  # the first five are the headline table's
OFFLINE_STEPS, OFFLINE_STARTS = 2000, 300


@dataclass(frozen=True)
class OfflineJob:
    """One run: a row."""

    variant: str
    cql_alpha: float
    draw: int
    split: str = "report"

    @property
    def agent(self) -> str:
        """Without a penalty it is offline SAC, which draws no candidates."""
        return "cql" if self.cql_alpha else "sac"


def offline_jobs() -> Iterator[OfflineJob]:
    """Each ensemble without a penalty on ten draws, where the return is all or nothing; with it on five of them."""
    for alpha, draws in ((0.0, DRAWS), (float(chosen_alpha("maze")), DRAWS[:5])):
        for draw in draws:
            for variant in ENSEMBLES:
                yield OfflineJob(variant, alpha, draw)


def measure_offline(jobs: list[OfflineJob], steps: int = OFFLINE_STEPS) -> list[dict[str, Any]]:
    """Train agents of one kind on the stitching maze's logs and measure each in the common states."""
    torch.set_num_threads(1)
    name, world, common = jobs[0].agent, Maze(), maze_data(COMMON)
    logs, configs, records = [maze_data(job.draw) for job in jobs], [], []
    for job, log in zip(jobs, logs, strict=True):
        settings = {**NETWORK, **(CQL | {"cql_alpha": job.cql_alpha} if name == "cql" else SAC), "actor_lr": 1e-3}
        settings |= {"discount": DISCOUNT, **ENSEMBLES[job.variant], "initial_value": initial_value(log, DISCOUNT)}
        dims = {"state_dim": log.observation_dim, "action_dim": log.action_dim, "seed": job.draw}
        configs.append({**dims, **settings})
        records.append(settings_record(name, {"steps": steps, "batch_size": BATCH_SIZE, **settings}, len(jobs)))
    members = fit_population(name, configs, logs, steps, batch_size=BATCH_SIZE, log_every=1000, progress=False)
    rows = []
    for job, member, record_ in zip(jobs, members, records, strict=True):
        if member.diverged is not None:
            raise member.diverged
        returns = evaluate_policy(world, member.agent.policy(deterministic=True), OFFLINE_STARTS)
        found = measure_values(member.agent, world, common)
        rows.append(
            {
                **{name: getattr(job, name) for name in (*OFFLINE_KEYS, "split")},
                "return": float(returns.mean()),
                "success": float((returns > 0).double().mean()),
                **{k: v for k, v in found.items() if k in VALUES},
                "seconds": round(member.history.seconds, 1),
                "settings": json.dumps(record_),
            }
        )
    return rows


def population_key(job: OfflineJob) -> tuple[Any, ...] | None:
    """Equal for jobs whose agents can be trained as one population."""
    return (job.agent, job.variant) if can_stack(job.agent) else None


OFFLINE_KEYS = ("variant", "cql_alpha", "draw")
OFFLINE_COLUMNS = (*OFFLINE_KEYS, "split", "return", "success", *VALUES, "seconds", "settings")
OFFLINE_STUDY = Study(
    table="ensembles-offline",
    columns=OFFLINE_COLUMNS,
    keys=OFFLINE_KEYS,
    jobs=offline_jobs,
    measure=measure_offline,
    population_key=population_key,
)
