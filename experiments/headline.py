"""The headline tables: CQL beside cloning, IQL and SAC on the stitching maze and on Pendulum, and what surrounds them.

Every run is a row. `cql_alpha` is chosen on the rows with split "tune" (their own data draws and seeds) and reported on
the rows with split "report". So are the settings of the extensions of CQL, which are reported at the chosen one alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, partial
from statistics import mean
from typing import Any

import torch

from cql_tutorial import OfflineDataset, fit_population, load_agent
from cql_tutorial.agents import AGENTS
from cql_tutorial.envs import Maze, Pendulum
from cql_tutorial.envs.base import UniformPolicy, World
from cql_tutorial.envs.maze import stitching_behaviour
from cql_tutorial.evaluation import Evaluator, evaluate_policy, normalised_score
from cql_tutorial.training.population import Member
from experiments.logs import DATA, maze_data, pendulum_data, swinging_data
from experiments.runner import Study
from experiments.settings import BATCH_SIZE, CQL, IQL, IQL_MAZE, IQL_PENDULUM, NETWORK, SAC, SOFT_Q, initial_value
from experiments.storage import Row, read_rows, to_text
from experiments.training import can_stack, settings_record

COLUMNS = (
    "task", "algorithm", "cql_alpha", "split", "draw", "seed", "return", "normalised", "success", "predicted", "true",
    "true_half_width", "estimation_error", "share_over", "share_impossible", "cql_gap", "multiplier", "seconds",
    "settings",
)  # fmt: skip
KEYS = COLUMNS[:6]
MAZE_ALPHAS, PENDULUM_ALPHAS = (0.02, 0.1, 0.5, 2.0), (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
DISCOUNT = 0.95


@dataclass(frozen=True)
class Job:
    """One run: a row of a table."""

    task: str
    algorithm: str
    draw: int
    seed: int
    split: str
    steps: int
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def cql_alpha(self) -> Any:
        """CQL's weight, "" where there is none."""
        return self.settings.get("cql_alpha", "")

    @property
    def agent(self) -> str:
        """The name of its agent, for `make_agent`."""
        return agent_of(self.algorithm)


def agent_of(algorithm: str) -> str:
    """The longest name of an agent with which the name of an algorithm begins; "" if there is none."""
    return max((name for name in AGENTS if f"{algorithm}-".startswith(f"{name}-")), key=len, default="")


# ---------------------------------------------------------------- tasks


@cache
def maze_references() -> tuple[float, float]:
    """Return of uniform actions, and of the script that walks from the left arm straight to the goal at full speed."""
    world = Maze()
    straight = stitching_behaviour("left", "up", speed=1.0, noise=0.0, half_width=world.half_width)
    random, best = (float(evaluate_policy(world, policy, 300).mean()) for policy in (UniformPolicy(world), straight))
    return random, best


@cache
def pendulum_references() -> tuple[float, float]:
    """Return of uniform torques and of the online expert's mean action."""
    world = Pendulum()
    expert = load_agent(DATA / "policies" / "pendulum-expert.safetensors", "cpu").policy(deterministic=True)
    random, best = (float(evaluate_policy(world, policy, 500).mean()) for policy in (UniformPolicy(world), expert))
    return random, best


@dataclass(frozen=True)
class Task:
    """A table: the world, its data by draw, its references for the normalised score, its starts and its runs."""

    world: Callable[[], World]
    data: Callable[[int], OfflineDataset]
    references: Callable[[], tuple[float, float]]
    starts: int
    jobs: Callable[[], Iterator[Job]]


def maze_jobs() -> Iterator[Job]:
    """BC, %BC, SAC, SAC with weight decay (control), IQL and CQL at four alphas; a data draw a seed.

    "bc-late-turn" clones the log of scripts that turn at the centre line: what BC's score owes to the construction.
    """
    lr = {"actor_lr": 1e-3}
    for split, draws in (("tune", (2000, 2001, 2002)), ("report", (1000, 1001, 1002, 1003, 1004))):
        for draw in draws:
            run: dict[str, Any] = {"task": "maze", "draw": draw, "seed": draw, "split": split, "steps": 2000}
            for alpha in MAZE_ALPHAS:
                yield Job(algorithm="cql", settings={**CQL, **lr, "cql_alpha": alpha}, **run)
            if split == "report":
                yield Job(algorithm="bc", settings=lr, **run)
                yield Job(algorithm="bc-late-turn", settings={**lr, "turn_before": 0.0}, **run)
                yield Job(algorithm="bc-25%", settings={**lr, "top_fraction": 0.25}, **run)
                yield Job(algorithm="sac", settings={**SAC, **lr}, **run)
                yield Job(algorithm="sac-decay", settings={**SAC, **lr, "critic_weight_decay": 1e-2}, **run)
                yield Job(algorithm="iql", settings=IQL_MAZE, **run)


def pendulum_jobs() -> Iterator[Job]:
    """SAC, SAC with weight decay (control), IQL, CQL at six alphas and BC on medium data: four draws, three seeds."""
    lr = {"actor_lr": 5e-4}
    for split, draws, seeds in (("tune", (900, 901), (10, 11)), ("report", (0, 1, 2, 3), (0, 1, 2))):
        for seed in seeds:
            for draw in draws:
                run: dict[str, Any] = {
                    "task": "pendulum-medium",
                    "draw": draw,
                    "seed": seed,
                    "split": split,
                    "steps": 4000,
                }
                for alpha in PENDULUM_ALPHAS:
                    yield Job(algorithm="cql", settings={**CQL, **lr, "cql_alpha": alpha}, **run)
                if split == "report":
                    yield Job(algorithm="bc", settings={"actor_lr": 1e-3}, **run)
                    yield Job(algorithm="sac", settings={**SAC, **lr}, **run)
                    yield Job(algorithm="sac-decay", settings={**SAC, **lr, "critic_weight_decay": 1e-2}, **run)
                    yield Job(algorithm="iql", settings=IQL_PENDULUM, **run)


def swinging_jobs() -> Iterator[Job]:
    """BC, SAC and CQL on a log of the same kind of quality and another coverage: four draws, a seed each."""
    lr = {"actor_lr": 5e-4}
    for draw in (700, 701, 702, 703):
        run: dict[str, Any] = {
            "task": "pendulum-swinging",
            "draw": draw,
            "seed": draw,
            "split": "report",
            "steps": 4000,
        }
        for alpha in (1.0, 10.0):
            yield Job(algorithm="cql", settings={**CQL, **lr, "cql_alpha": alpha}, **run)
        yield Job(algorithm="bc", settings={"actor_lr": 1e-3}, **run)
        yield Job(algorithm="sac", settings={**SAC, **lr}, **run)


def lagrange_jobs() -> Iterator[Job]:
    """The multiplier holds the CQL gap at -0.5 on Pendulum medium: five seeds, 8,000 updates."""
    settings = {**CQL, "actor_lr": 5e-4, "cql_alpha": 1.0, "cql_target_action_gap": -0.5}
    for seed in range(5):
        yield Job("lagrange", "cql-lagrange", draw=0, seed=seed, split="report", steps=8000, settings=settings)


def chosen_alpha(table: str) -> str:
    """The alpha with the best mean return over the tuning rows, as it stands in the committed table."""
    returns: dict[str, list[float]] = {}
    for row in read_rows(table):
        if row["split"] == "tune" and row["algorithm"] == "cql":
            returns.setdefault(row["cql_alpha"], []).append(float(row["return"]))
    return max(sorted(returns, key=float), key=lambda alpha: mean(returns[alpha]))


def critics_jobs(task: str) -> Iterator[Job]:
    """One, two and five critics, and a fixed temperature, at the chosen alpha; on the draws of the headline tables."""
    like = task.removesuffix("-critics")
    lr, steps = ({"actor_lr": 1e-3}, 2000) if like == "maze" else ({"actor_lr": 5e-4}, 4000)
    draws, seeds = ((1000, 1001, 1002, 1003, 1004), (0,)) if like == "maze" else ((0, 1, 2, 3), (10, 11))
    settings = {**CQL, **lr, "cql_alpha": float(chosen_alpha(like))}
    variants: dict[str, dict[str, Any]] = {f"cql-{n}": {"n_critics": n} for n in (1, 2, 5)}
    variants["cql-fixed"] = {"auto_alpha": False}
    for draw in draws:
        for seed in seeds:
            for name, change in variants.items():
                run: dict[str, Any] = {
                    "task": task,
                    "draw": draw,
                    "seed": seed or draw,
                    "split": "report",
                    "steps": steps,
                }
                yield Job(algorithm=name, settings=settings | change, **run)


# The extensions in the order they are shown, and where they are tuned and reported, as (draw, seed). On Pendulum they
# have fewer seeds a draw than the rest, one for tuning and two reported: most of them cannot be trained together, and
# ten critics cost twice what two do.
EXTENSIONS = ("cal-ql", "cql-redq", "soft-q", "sparse-q", "eql")
MEASURED = ("sparse-q", "eql", "cal-ql", "soft-q", "cql-redq")  # in this order
EXTENSION_RUNS: dict[str, dict[str, tuple[tuple[int, int], ...]]] = {
    "maze": {
        "tune": tuple((draw, draw) for draw in (2000, 2001, 2002)),
        "report": tuple((draw, draw) for draw in (1000, 1001, 1002, 1003, 1004)),
    },
    "pendulum-medium": {
        "tune": ((900, 10), (901, 11)),
        "report": tuple((draw, seed) for seed in (0, 1) for draw in (0, 1, 2, 3)),
    },
}


def extension_settings(table: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The extensions at each setting tried: (algorithm, settings). The name of a sparse one carries its regularisation.

    Two alphas, between which CQL's own return hardly differs, and three regularisations, ten times apart.
    """
    maze = table == "maze"
    cql = {**CQL, "actor_lr": 1e-3 if maze else 5e-4}
    for value in (0.03, 0.3, 3.0) if maze else (0.3, 3.0, 30.0):
        yield f"sparse-q-{value:g}", {**IQL, "regularisation": value}
        yield f"eql-{value:g}", {**IQL, "regularisation": value}
    for alpha in (0.02, 0.1) if maze else (5.0, 20.0):
        yield "soft-q", {**SOFT_Q, "temperature": 0.1 if maze else 0.3, "cql_alpha": alpha}
        yield "cql-redq", {**cql, "cql_alpha": alpha}
        yield "cal-ql", {**cql, "cql_alpha": alpha}


def extension_jobs(table: str, name: str, split: str) -> Iterator[Job]:
    """An extension at every setting on the runs of that split."""
    steps = next(iter(TASKS[table].jobs())).steps
    for algorithm, settings in extension_settings(table):
        if extension_of(algorithm) == name:
            for draw, seed in EXTENSION_RUNS[table][split]:
                yield Job(table, algorithm, draw, seed, split, steps, settings)


def extension_of(algorithm: str) -> str:
    """The extension that an algorithm of the tables is one of, "" for none."""
    name = agent_of(algorithm)
    return name if name in EXTENSIONS else ""


def chosen_extensions(rows: Iterable[Row]) -> dict[str, tuple[str, str]]:
    """Each extension's (algorithm, cql_alpha) with the best mean return over its tuning rows."""
    returns: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["split"] == "tune" and extension_of(row["algorithm"]):
            returns.setdefault((row["algorithm"], row["cql_alpha"]), []).append(float(row["return"]))
    of = {name: [key for key in returns if extension_of(key[0]) == name] for name in EXTENSIONS}
    return {name: max(keys, key=lambda key: mean(returns[key])) for name, keys in of.items() if keys}


def tuning_extension(table: str, name: str, rows: list[Row]) -> Iterator[Job]:
    """An extension at every setting on the tuning runs."""
    return extension_jobs(table, name, "tune")


def reported_extension(table: str, name: str, rows: list[Row]) -> Iterator[Job]:
    """An extension at its chosen setting on the reported runs."""
    chosen = chosen_extensions(rows)[name]
    for job in extension_jobs(table, name, "report"):
        if (job.algorithm, to_text(job.cql_alpha)) == chosen:
            yield job


TASKS = {
    "maze": Task(Maze, maze_data, maze_references, 300, maze_jobs),
    "pendulum-medium": Task(Pendulum, pendulum_data, pendulum_references, 500, pendulum_jobs),
    "pendulum-swinging": Task(Pendulum, swinging_data, pendulum_references, 500, swinging_jobs),
    "maze-critics": Task(Maze, maze_data, maze_references, 300, lambda: critics_jobs("maze-critics")),
    "pendulum-medium-critics": Task(
        Pendulum, pendulum_data, pendulum_references, 500, lambda: critics_jobs("pendulum-medium-critics")
    ),
    "lagrange": Task(Pendulum, pendulum_data, pendulum_references, 500, lagrange_jobs),
}


# ---------------------------------------------------------------- some runs
def population_key(job: Job) -> tuple[Any, ...] | None:
    """Equal for jobs whose agents can be trained as one population."""
    free = {"cql_alpha", "critic_weight_decay"}
    shared = json.dumps({k: v for k, v in job.settings.items() if k not in free}, sort_keys=True)
    return (job.task, job.agent, job.steps, shared) if can_stack(job.agent) else None


def measure(jobs: list[Job]) -> list[dict[str, Any]]:
    """Train agents of one kind and measure each on states common to all runs of its task."""
    torch.set_num_threads(1)
    name, steps = jobs[0].agent, jobs[0].steps
    configs, logs, records = [], [], []
    for job in jobs:
        settings = {**NETWORK, "discount": DISCOUNT, **job.settings}
        late = "turn_before" in settings
        data = maze_data(job.draw, settings.pop("turn_before")) if late else TASKS[job.task].data(job.draw)
        if name != "bc":
            settings["initial_value"] = initial_value(data, DISCOUNT)
        bounds = {"action_low": data.action_low, "action_high": data.action_high}
        dims = {"state_dim": data.observation_dim, "action_dim": data.action_dim, "seed": job.seed}
        configs.append({**dims, **bounds, **settings})
        logs.append(data)
        record = {"steps": steps, "batch_size": BATCH_SIZE, **job.settings, **settings}
        records.append(settings_record(name, record, len(jobs)))
    members = fit_population(name, configs, logs, steps, batch_size=BATCH_SIZE, log_every=1000, progress=False)
    return [measure_agent(*run) for run in zip(jobs, members, logs, records, strict=True)]


def measure_agent(job: Job, member: Member, data: OfflineDataset, record: dict[str, Any]) -> dict[str, Any]:
    """The row of a trained agent; raises the `DivergedError` of one whose loss stopped being finite."""
    if member.diverged is not None:
        raise member.diverged
    task, agent, history = TASKS[job.task], member.agent, member.history
    world = task.world()
    row = Evaluator(world, data, n_starts=task.starts)(agent)
    if job.task.startswith("maze"):
        returns = evaluate_policy(world, agent.policy(deterministic=True), task.starts)
        row["success"] = float((returns > 0).double().mean())
    if job.algorithm == "cql-lagrange":
        row |= {"cql_gap": history.last("cql_gap"), "multiplier": history.last("cql_alpha")}
    return {
        **{name: getattr(job, name) for name in KEYS},
        **{k: v for k, v in row.items() if k in COLUMNS},
        "normalised": normalised_score(row["return"], *task.references()),
        "seconds": round(history.seconds, 2),
        "settings": json.dumps(record),
    }


def without_extensions(table: str) -> Study[Job]:
    """The study of a table without the extensions: the runs that are made again."""
    jobs = TASKS[table].jobs
    return Study(table=table, columns=COLUMNS, keys=KEYS, jobs=jobs, measure=measure, population_key=population_key)


def with_extensions(table: str) -> Study[Job]:
    """The study of a table: its own runs, then each extension is tuned and reported, one after the other."""
    stages = (tuning_extension, reported_extension)
    names = MEASURED if table in EXTENSION_RUNS else ()
    later = tuple(partial(stage, table, name) for name in names for stage in stages)
    return replace(without_extensions(table), later_jobs=later)


STUDIES = {table: with_extensions(table) for table in TASKS}
