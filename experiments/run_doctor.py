"""The table `run-doctor`: what `cql-tutorial doctor --run` says of the folders of a dozen healthy and broken runs.

Every run is the command `train` on a log in a file, and is judged from its folder, as anyone's would be. The broken
ones have a fault that the command cannot know: in the log before it was written, or in a setting. They were chosen
before any was run, and no threshold of a card was changed after.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from cql_tutorial import OfflineDataset, load_dataset
from cql_tutorial.cli import main
from cql_tutorial.cli.run_doctor import examine
from cql_tutorial.course.studies.ch12 import arm_log
from experiments.logs import maze_data, pendulum_data
from experiments.runner import Study

STEPS, SEED = 2000, 0
HEALTHY, BROKEN = "healthy", "broken"
COLUMNS = ("run", "kind", "log", "cards", "names", "command", "seconds")
PENDULUM = {"--discount": 0.95, "--cql-alpha": 10.0}
MAZE = {"--discount": 0.95, "--cql-alpha": 0.2}
ARM = {"--discount": 0.9, "--cql-alpha": 1.0, "--alpha": 0.1, "--tau": 0.05}
ALWAYS = {
    "--steps": STEPS, "--seeds": SEED, "--batch-size": 64, "--log-every": 40, "--hidden-dim": 64, "--critic-lr": 1e-3,
    "--actor-lr": 1e-3, "--temperature-lr": 3e-3, "--cql-n-actions": 5, "--checkpoint-every": STEPS,
}  # fmt: skip


class Source(NamedTuple):
    """A log by name, and the settings that healthy runs on it have."""

    log: Callable[[], OfflineDataset]
    settings: dict[str, Any]


SOURCES: dict[str, Source] = {
    "pendulum medium 0": Source(lambda: pendulum_data(0), PENDULUM),
    "pendulum medium 1": Source(lambda: pendulum_data(1), PENDULUM),
    "pendulum medium 2": Source(lambda: pendulum_data(2), PENDULUM),
    "pendulum random": Source(lambda: load_dataset("pendulum/random-10k-v0"), PENDULUM),
    "pendulum replay": Source(lambda: load_dataset("pendulum/replay-v0"), PENDULUM),
    "maze 0": Source(lambda: maze_data(0), MAZE),
    "maze 1": Source(lambda: maze_data(1), MAZE),
    "maze 2": Source(lambda: maze_data(2), MAZE),
    "arm narrow 0": Source(lambda: arm_log(0), ARM),
    "arm narrow 1": Source(lambda: arm_log(1), ARM),
    "arm mixed 0": Source(lambda: arm_log(0, "mixed"), ARM),
    "arm mixed 1": Source(lambda: arm_log(1, "mixed"), ARM),
}


def ended_at_the_time_limit(log: OfflineDataset) -> OfflineDataset:
    """done = terminated or truncated."""
    return replace(log, terminations=log.terminations | log.truncations)


def next_of_the_next_episode(log: OfflineDataset) -> OfflineDataset:
    """The next state is the next row's, whatever episode that is of."""
    following = log.observations.roll(-1, 0)
    return replace(log, next_observations=following)


def doubled_terminations(log: OfflineDataset) -> OfflineDataset:
    """The flag also stands in the row before the last: each such episode is cut in two."""
    twice = log.terminations | log.terminations.roll(-1, 0)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), (twice | log.truncations)[:-1].nonzero()[:, 0] + 1])
    return replace(log, terminations=twice, episode_starts=starts)


def actions_of_the_row_before(log: OfflineDataset) -> OfflineDataset:
    """Each action stands one row too late."""
    return replace(log, actions=log.actions.roll(1, 0))


def actions_clipped(log: OfflineDataset) -> OfflineDataset:
    """The recorder cut actions of three times the size at the bounds."""
    low, high = (torch.as_tensor(bound, dtype=log.actions.dtype) for bound in (log.action_low, log.action_high))
    return replace(log, actions=(3 * log.actions).clamp(low, high))


def rewards_in_hundredths(log: OfflineDataset) -> OfflineDataset:
    """A hundred times the rewards that the settings were found for."""
    return replace(log, rewards=100 * log.rewards)


def one_column_in_thousandths(log: OfflineDataset) -> OfflineDataset:
    """The last column of the observations in another unit."""
    factor = torch.ones(log.observation_dim)
    factor[-1] = 1000.0
    return replace(log, observations=log.observations * factor, next_observations=log.next_observations * factor)


@dataclass(frozen=True)
class Fault:
    """What is wrong with a broken run: a change of its log, of its settings, or of both."""

    log: str
    change: Callable[[OfflineDataset], OfflineDataset] = lambda log: log
    settings: Mapping[str, Any] = field(default_factory=dict)
    agent: str = "cql"


FAULTS: dict[str, Fault] = {
    "termination at the time limit": Fault("pendulum medium 0", ended_at_the_time_limit),
    "next state of the next episode": Fault("pendulum medium 0", next_of_the_next_episode),
    "termination flag doubled": Fault("maze 0", doubled_terminations),
    "actions one row late": Fault("pendulum medium 0", actions_of_the_row_before),
    "actions clipped by the recorder": Fault("pendulum medium 0", actions_clipped),
    "rewards times 100": Fault("arm narrow 0", rewards_in_hundredths),
    "a column times 1000, not normalised": Fault(
        "pendulum medium 0", one_column_in_thousandths, {"--no-normalize-observations": None}
    ),
    "no penalty on a narrow log": Fault("arm narrow 0", settings={"--cql-alpha": 0.0}),
    "500 times the penalty": Fault("arm narrow 0", settings={"--cql-alpha": 500.0}),
    "no target network": Fault("arm narrow 0", settings={"--tau": 1.0, "--critic-lr": 1e-2}),
    "raw target of the gap": Fault("arm narrow 0", settings={"--cql-target-action-gap": 5.0}, agent="cql-lagrange"),
    "step size of the multiplier times 200": Fault(
        "arm narrow 0", settings={"--cql-target-action-gap": -7.5, "--multiplier-lr": 1.0}, agent="cql-lagrange"
    ),
}


@dataclass(frozen=True)
class Job:
    """One run of `train`, judged from its folder."""

    run: str
    kind: str


def jobs() -> Iterator[Job]:
    """A healthy run on each log, then one with each fault."""
    yield from (Job(name, HEALTHY) for name in SOURCES)
    yield from (Job(name, BROKEN) for name in FAULTS)


def measure(group: list[Job]) -> list[dict[str, Any]]:
    """Write the log, train on it by the command, and ask the doctor about the folder."""
    (job,) = group
    torch.set_num_threads(1)
    began = time.process_time()
    fault = FAULTS[job.run] if job.kind == BROKEN else Fault(job.run)
    source = SOURCES[fault.log]
    log = fault.change(source.log())
    with tempfile.TemporaryDirectory() as place:
        path, folder = log.to_hdf5(Path(place) / "log.hdf5"), Path(place) / "run"
        words = ["train", fault.agent]
        for flag, value in {**ALWAYS, **source.settings, **fault.settings}.items():
            words += [flag] if value is None else [flag, str(value)]
        with redirect_stdout(io.StringIO()):
            main([*words, "--data", str(path), "--out", str(folder), "--quiet"])
            lines = list(examine(folder))
    told = [line.strip().split(": ") for line, bad in lines if bad]
    names = [parts[1] if parts[0].startswith("seed ") else parts[0] for parts in told]  # "seed 0: diverged: ..."
    return [
        {
            "run": job.run,
            "kind": job.kind,
            "log": fault.log,
            "cards": len(names),
            "names": "; ".join(names),
            "command": " ".join(words),
            "seconds": round(time.process_time() - began, 1),
        }
    ]


STUDY = Study(table="run-doctor", columns=COLUMNS, keys=("run", "kind"), jobs=jobs, measure=measure, shown=("cards",))
