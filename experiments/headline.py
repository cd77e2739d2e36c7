"""Measure the headline tables: `make results` (about two and a half hours on two cores; resumes where it stopped).

Every run is one row of `data/results/<table>.csv`, written as soon as it is measured, with those that were trained as
one program with it; a run whose row is there is not run again. `cql_alpha` is chosen on the rows with split "tune"
(their own data draws and seeds) and reported on the rows with split "report". `--minutes` stops after a while,
`--table` limits to one table, `--show` only prints.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch

from cql_tutorial import History, OfflineDataset, fit_population, load_agent
from cql_tutorial.envs import Maze, Pendulum
from cql_tutorial.envs.base import UniformPolicy, World
from cql_tutorial.envs.maze import stitching_behaviour
from cql_tutorial.evaluation import Evaluator, evaluate_policy, normalised_score
from cql_tutorial.training.population import Member
from experiments import off_policy, sepsis, wrong_penalties
from experiments.logs import DATA, maze_data, pendulum_data, swinging_data
from experiments.report import write_sheet
from experiments.tables import AGAIN, RESULTS, chosen_alpha, crowds, measured, read, together, trained, write_csv

COLUMNS = [
    "task", "algorithm", "cql_alpha", "split", "draw", "seed", "return", "normalised", "success", "predicted", "true",
    "true_half_width", "estimation_error", "share_over", "share_impossible", "cql_gap", "multiplier", "seconds",
    "settings",
]  # fmt: skip
MAZE_ALPHAS, PENDULUM_ALPHAS = (0.02, 0.1, 0.5, 2.0), (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)

# Common to both tasks; from the traps of the field: a last bias of mean reward / (1 - discount) and tau 0.02, without
# which an under-trained critic looks like an over-estimating one; no entropy in the backup, so that Q estimates Q^pi.
NETWORK = {"hidden_dim": 64, "discount": 0.95, "device": "cpu"}
CRITIC = {"critic_lr": 1e-3, "tau": 0.02, "alpha": 0.1, "temperature_lr": 3e-3, "backup_entropy": False}
CQL = {**CRITIC, "cql_n_actions": 5}
# Implicit Q-learning with the two settings of its paper, not tuned here: AntMaze's in the maze, locomotion's elsewhere.
IQL = {"critic_lr": 1e-3, "value_lr": 1e-3, "actor_lr": 1e-3, "tau": 0.02}
IQL_MAZE = {**IQL, "expectile": 0.9, "inverse_temperature": 10.0}
IQL_PENDULUM = {**IQL, "expectile": 0.7, "inverse_temperature": 3.0}


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
    def key(self) -> tuple[str, ...]:
        """What tells two rows apart."""
        alpha = self.settings.get("cql_alpha", "")
        return (self.task, self.algorithm, _plain(alpha), self.split, str(self.draw), str(self.seed))


# ---------------------------------------------------------------- tasks


def maze_references() -> tuple[float, float]:
    """Return of uniform actions, and of the script that walks from the left arm straight to the goal at full speed."""
    world = Maze()
    straight = stitching_behaviour("left", "up", speed=1.0, noise=0.0, half_width=world.half_width)
    return tuple(float(evaluate_policy(world, p, 300).mean()) for p in (UniformPolicy(world), straight))  # type: ignore[return-value]


def pendulum_references() -> tuple[float, float]:
    """Return of uniform torques and of the online expert's mean action."""
    world = Pendulum()
    expert = load_agent(DATA / "policies" / "pendulum-expert.safetensors", "cpu").policy(deterministic=True)
    return tuple(float(evaluate_policy(world, p, 500).mean()) for p in (UniformPolicy(world), expert))  # type: ignore[return-value]


@dataclass(frozen=True)
class Task:
    """A table of results: the world, its data by draw, its references for the normalised score, its runs."""

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
            run = {"task": "maze", "draw": draw, "seed": draw, "split": split, "steps": 2000}
            for alpha in MAZE_ALPHAS:
                yield Job(algorithm="cql", settings={**CQL, **lr, "cql_alpha": alpha}, **run)
            if split == "report":
                yield Job(algorithm="bc", settings=lr, **run)
                yield Job(algorithm="bc-late-turn", settings={**lr, "turn_before": 0.0}, **run)
                yield Job(algorithm="bc-25%", settings={**lr, "top_fraction": 0.25}, **run)
                yield Job(algorithm="sac", settings={**CRITIC, **lr}, **run)
                yield Job(algorithm="sac-decay", settings={**CRITIC, **lr, "critic_weight_decay": 1e-2}, **run)
                yield Job(algorithm="iql", settings=IQL_MAZE, **run)


def pendulum_jobs() -> Iterator[Job]:
    """SAC, SAC with weight decay (control), IQL, CQL at six alphas and BC on medium data: four draws, three seeds."""
    lr = {"actor_lr": 5e-4}
    for split, draws, seeds in (("tune", (900, 901), (10, 11)), ("report", (0, 1, 2, 3), (0, 1, 2))):
        for seed in seeds:
            for draw in draws:
                run = {"task": "pendulum-medium", "draw": draw, "seed": seed, "split": split, "steps": 4000}
                for alpha in PENDULUM_ALPHAS:
                    yield Job(algorithm="cql", settings={**CQL, **lr, "cql_alpha": alpha}, **run)
                if split == "report":
                    yield Job(algorithm="bc", settings={"actor_lr": 1e-3}, **run)
                    yield Job(algorithm="sac", settings={**CRITIC, **lr}, **run)
                    yield Job(algorithm="sac-decay", settings={**CRITIC, **lr, "critic_weight_decay": 1e-2}, **run)
                    yield Job(algorithm="iql", settings=IQL_PENDULUM, **run)


def swinging_jobs() -> Iterator[Job]:
    """BC, SAC and CQL on a log of the same kind of quality and another coverage: four draws, a seed each."""
    lr = {"actor_lr": 5e-4}
    for draw in (700, 701, 702, 703):
        run = {"task": "pendulum-swinging", "draw": draw, "seed": draw, "split": "report", "steps": 4000}
        for alpha in (1.0, 10.0):
            yield Job(algorithm="cql", settings={**CQL, **lr, "cql_alpha": alpha}, **run)
        yield Job(algorithm="bc", settings={"actor_lr": 1e-3}, **run)
        yield Job(algorithm="sac", settings={**CRITIC, **lr}, **run)


def lagrange_jobs() -> Iterator[Job]:
    """The multiplier holds the CQL gap at -0.5 on Pendulum medium: five seeds, 8,000 updates."""
    settings = {**CQL, "actor_lr": 5e-4, "cql_alpha": 1.0, "cql_target_action_gap": -0.5}
    for seed in range(5):
        yield Job("lagrange", "cql-lagrange", draw=0, seed=seed, split="report", steps=8000, settings=settings)


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
                run = {"task": task, "draw": draw, "seed": seed or draw, "split": "report", "steps": steps}
                yield Job(algorithm=name, settings=settings | change, **run)


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
def alike(job: Job) -> tuple[Any, ...] | None:
    """Equal for jobs whose agents may be trained as one population."""
    free = {"cql_alpha", "critic_weight_decay"}
    shared = json.dumps({k: v for k, v in job.settings.items() if k not in free}, sort_keys=True)
    return (job.task, kind_of(job), job.steps, shared) if together(kind_of(job)) else None


def kind_of(job: Job) -> str:
    """The name of a job's agent, for `make_agent`."""
    return job.algorithm if job.algorithm == "cql-lagrange" else job.algorithm.split("-")[0]


def measure(jobs: list[Job], references: tuple[float, float]) -> list[dict[str, Any]]:
    """Train agents of one kind and measure each on states common to all runs of its task."""
    torch.set_num_threads(1)
    name, configs, logs, told = kind_of(jobs[0]), [], [], []
    for job in jobs:
        settings = {**NETWORK, **job.settings}
        late = "turn_before" in settings
        data = maze_data(job.draw, settings.pop("turn_before")) if late else TASKS[job.task].data(job.draw)
        if name != "bc":
            settings["initial_value"] = float(data.rewards.mean()) / (1 - settings["discount"])
        bounds = {"action_low": data.action_low, "action_high": data.action_high}
        dims = {"state_dim": data.observation_dim, "action_dim": data.action_dim, "seed": job.seed}
        configs.append({**dims, **bounds, **settings})
        logs.append(data)
        told.append({"steps": jobs[0].steps, "batch_size": 64, **job.settings, **settings})
    options: dict[str, Any] = {"batch_size": 64, "log_every": 1000, "progress": False}
    members = trained(name, configs, logs, jobs[0].steps, **options)
    if together(name):
        told = [{**settings, "trained_with": len(jobs) - 1} for settings in told]
    each = zip(jobs, members, logs, told, strict=True)
    return [row_of(job, member, data, settings, references) for job, member, data, settings in each]


def row_of(
    job: Job, member: Member, data: OfflineDataset, told: dict[str, Any], references: tuple[float, float]
) -> dict[str, Any]:
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
        "task": job.task, "algorithm": job.algorithm, "cql_alpha": job.settings.get("cql_alpha", ""),
        "split": job.split, "draw": job.draw, "seed": job.seed, **{k: v for k, v in row.items() if k in COLUMNS},
        "normalised": normalised_score(row["return"], *references), "seconds": round(history.seconds, 2),
        "settings": json.dumps(told),
    }  # fmt: skip


SIGNATURE_COLUMNS = [
    "algorithm", "cql_alpha", "seed", "step", "return", "predicted", "predicted_p90", "true", "true_half_width",
    "estimation_error", "share_over", "share_impossible",
]  # fmt: skip


def measure_signature(algorithm: str, cql_alpha: str, seeds: list[int]) -> list[dict[str, Any]]:
    """Prediction and truth along runs on the first Pendulum medium set: a row every 250 updates of each seed."""
    torch.set_num_threads(1)
    world, data = Pendulum(), pendulum_data(0)
    settings = {**CRITIC, "actor_lr": 5e-4} | ({**CQL, "cql_alpha": float(cql_alpha)} if algorithm == "cql" else {})
    dims = {"state_dim": 3, "action_dim": 1, "action_low": -2.0, "action_high": 2.0}
    initial = float(data.rewards.mean()) / (1 - NETWORK["discount"])
    configs = [{**dims, **NETWORK, **settings, "initial_value": initial, "seed": seed} for seed in seeds]
    members = fit_population(algorithm, configs, data, 4000, batch_size=64, log_every=4000,
                             evaluate=Evaluator(world, data), eval_every=250, progress=False)  # fmt: skip
    rows = []
    for seed, member in zip(seeds, members, strict=True):
        about = {"algorithm": algorithm, "cql_alpha": cql_alpha, "seed": seed}
        of_seed = [row for row in member.history.rows if "predicted" in row]
        rows += [{**about, **{k: row[k] for k in SIGNATURE_COLUMNS if k not in about}} for row in of_seed]
    return rows


def signature(processes: int) -> None:
    """The README's picture: three seeds of offline SAC and of CQL, prediction beside truth."""
    from cql_tutorial.course.figures import prediction_and_truth

    alpha = float(chosen_alpha("pendulum-medium"))
    kinds = (("sac", ""), ("cql", f"{alpha:g}"))
    wanted = [(*kind, seed) for kind in kinds for seed in range(3)]
    rows: list[dict[str, Any]] = list(read("signature"))
    # Runs of an alpha that is no longer the chosen one are left out and measured again.
    rows = [row for row in rows if (row["algorithm"], row["cql_alpha"], int(row["seed"])) in wanted]
    there = {(row["algorithm"], row["cql_alpha"], int(row["seed"])) for row in rows}
    missing = [(*kind, seeds) for kind in kinds if (seeds := [n for n in range(3) if (*kind, n) not in there])]
    if missing:
        print(f"signature: {sum(len(seeds) for *_, seeds in missing)} runs", flush=True)
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            for new in pool.map(measure_signature, *zip(*missing, strict=True)):
                rows += new
        write_csv("signature", SIGNATURE_COLUMNS, rows)
    texts = ("algorithm", "cql_alpha")
    numbers = [{k: float(v) for k, v in row.items() if k not in texts} | {"name": row["algorithm"]} for row in rows]
    labels = {"sac": "offline SAC (no penalty)", "cql": f"CQL, cql_alpha = {alpha:g}"}
    runs = {
        label: [History([r for r in numbers if (r["name"], r["seed"]) == (name, seed)]) for seed in range(3)]  # type: ignore[misc]
        for name, label in labels.items()
    }
    figure = prediction_and_truth(runs)
    figure.savefig(RESULTS / "signature.png", dpi=110)
    print(figure)


def write(table: str, rows: list[dict[str, Any]]) -> None:
    """Write a whole table (or one made again) in the order of the jobs."""
    order = {job.key: i for i, job in enumerate(TASKS[table.removesuffix(AGAIN)].jobs())}
    write_csv(table, COLUMNS, sorted(rows, key=lambda row: order.get(key_of(row), len(order))))


def key_of(row: dict[str, Any]) -> tuple[str, ...]:
    """The key of a row, equal to that of its job."""
    return tuple(_plain(row[name]) for name in COLUMNS[:6])


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)  # as `write` writes it: 20, not 20.0


def run(table: str, processes: int, deadline: float) -> bool:
    """Measure the missing rows of a table; False if time ran out first."""
    done, task = {key_of(row): row for row in read(table)}, TASKS[table.removesuffix(AGAIN)]
    missing = [job for job in task.jobs() if job.key not in done]
    print(f"{table}: {len(done)} rows are there, {len(missing)} to measure", flush=True)
    if not missing:
        return True
    for rows in measured(measure, crowds(missing, alike), processes, deadline, task.references()):
        done |= {key_of(row): row for row in rows}
        write(table, list(done.values()))
        for row in rows:
            error = f", estimation error {row['estimation_error']:+.1f}" if "estimation_error" in row else ""
            print(f"  {' '.join(key_of(row))}: return {row['return']:.1f}{error} ({row['seconds']} s)", flush=True)
    if any(job.key not in done for job in missing):
        print("time is up; run again to go on", flush=True)
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments results",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--table", choices=[*TASKS, "sepsis", "pitfalls", "ope", "signature"], help="this table alone")
    parser.add_argument("--again", action="store_true", help="its runs once more, into <table>-again.csv")
    parser.add_argument("--minutes", type=float, default=55, help="start no run after this many minutes (default 55)")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each (default 2)")
    parser.add_argument("--show", action="store_true", help="print the tables from the rows that are there")
    options = parser.parse_args(arguments)
    if options.again and options.table not in TASKS:
        parser.error(f"--again: found --table {options.table}; expected one of {', '.join(TASKS)}")
    RESULTS.mkdir(exist_ok=True)
    deadline = time.monotonic() + 60 * options.minutes
    tables = [] if options.show else [options.table] if options.table else list(TASKS)
    suffix = AGAIN if options.again else ""
    complete = all(run(table + suffix, options.processes, deadline) for table in tables if table in TASKS)
    if options.table in (None, "sepsis") and not options.show and time.monotonic() < deadline:
        complete &= sepsis.run(options.processes, deadline)
    if options.table in (None, "pitfalls") and not options.show and time.monotonic() < deadline:
        complete &= wrong_penalties.run(options.processes, deadline)
    if options.table in (None, "ope") and not options.show and time.monotonic() < deadline:
        complete &= off_policy.run(options.processes, deadline)
    if options.table in (None, "signature") and not options.show and time.monotonic() < deadline:
        signature(options.processes)
    write_sheet(TASKS)
    return 0 if complete else 3
