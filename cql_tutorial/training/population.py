"""`fit_population`: many agents (seeds, alphas, step sizes) trained as one program; each as `fit` would train it alone.

A small network's update is mostly the cost of starting its operations. Here one operation serves a block of members,
whose parameters are stacked (`fast.fused`). Agents without such a form are trained one after the other. Every member
has its own random stream and its own batches, so its numbers are those of its run alone, up to rounding, whoever its
neighbours are.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..agents import Agent, AgentConfig, make_agent
from ..agents.normaliser import ColumnFault
from ..batch import Batch, Noise
from ..datasets.offline_dataset import OfflineDataset
from ..errors import CQLWarning, DivergedError, check_int, require
from ..fast.as_built import differences
from ..fast.fused import FusedUpdate, check_stackable
from ..files import prepare_output_path
from .offline import History, Run, check_actions, fit, progress_bar

Evaluate = Callable[[Agent], Mapping[str, float]]
BLOCK = 16  # members that are updated together on a CPU: more would not stay in a core's cache


class Member(NamedTuple):
    """One trained agent of a population, its history, and the error that ended its run, if one did."""

    agent: Agent
    history: History
    diverged: DivergedError | None = None


class Population:
    """M agents of one kind and shape that are updated together; `members` are the agents, brought up to date.

    Raises `ConfigError` that names the member and the setting if they differ in more than
    `fast.fused.PER_MEMBER_SETTINGS`, or if an agent is not as this package builds it.
    """

    def __init__(self, agents: Sequence[Any]) -> None:
        check_stackable(agents)
        self._agents, on_cpu = list(agents), agents[0].device.type == "cpu"
        self._size = BLOCK if on_cpu else len(agents)
        starts = range(0, len(agents), self._size)
        self._blocks = [FusedUpdate(self._agents[i : i + self._size]) for i in starts]

    @property
    def members(self) -> list[Any]:
        """The agents, in order, as trained so far."""
        for block in self._blocks:
            block.write_back()
        return self._agents

    def stack(self) -> None:
        """Take the members as they are now: what was changed in them by hand counts."""
        for block in self._blocks:
            block.stack()

    def update(self, batches: Sequence[Mapping[str, Any]], noise: Sequence[Noise] | None = None) -> dict[str, Tensor]:
        """One update of every member on its own batch and noise (by default its own draw); each metric is ``[M]``.

        Raises `DataError` for a batch that does not fit, before anything is changed.
        """
        agents, size = self._agents, Batch.of(batches[0]).size
        if noise is None:
            noise = [agent.draw_noise(size) for agent in agents]
        require(
            len(batches) == len(noise) == len(agents), "batches, noise", (len(batches), len(noise)), str(len(agents))
        )
        rows = Batch(*(torch.cat([batch[name] for batch in batches]) for name in _COLUMNS))
        ready = agents[0].prepare(rows, normalise=False)
        columns = [ready[name].unflatten(0, (len(agents), size)) for name in _COLUMNS]
        if agents[0].normaliser is not None:  # each member's own statistics
            states = (_COLUMNS.index("observations"), _COLUMNS.index("next_observations"))
            for i in states:
                columns[i] = torch.stack([a.normaliser(own) for a, own in zip(agents, columns[i], strict=True)])
        draws = {name: [getattr(n, name) for n in noise] for name, v in vars(noise[0]).items() if v is not None}
        stacked = {name: torch.stack(values) for name, values in draws.items()}
        found: list[dict[str, Tensor]] = []
        for number, block in enumerate(self._blocks):
            part = slice(number * self._size, (number + 1) * self._size)
            own = Noise(**{name: value[part] for name, value in stacked.items()})
            found.append(block.update(Batch(*(column[part] for column in columns)), own))
        return {name: torch.cat([metrics[name] for metrics in found]) for name in found[0]}


_COLUMNS = ("observations", "actions", "rewards", "next_observations", "terminations")


def fit_population(
    name: str,
    configs: Sequence[Mapping[str, Any] | AgentConfig],
    dataset: OfflineDataset | Sequence[OfflineDataset],
    steps: int,
    *,
    batch_size: int = 256,
    seeds: Sequence[int] | None = None,
    log_every: int = 100,
    evaluate: Evaluate | None = None,
    eval_every: int = 1000,
    checkpoint: str | Path | Sequence[str | Path] | None = None,
    checkpoint_every: int = 1000,
    resume: bool = True,
    progress: bool = True,
) -> list[Member]:
    """Train an agent ``make_agent(name, config)`` for each config, all at once: `fit`'s numbers, in less time.

    SAC, CQL and classes made of them that change the penalty alone are stacked; their configs may differ in
    `fast.fused.PER_MEMBER_SETTINGS`. Agents of any other kind are trained one after the other by their own update, and
    a warning says so. ``dataset`` is one data set for all or a list of one a member. Member i draws the batches of
    ``fit(..., seed=seeds[i])``; ``seeds`` are by default the configs' own. ``evaluate(agent)`` is called for each.
    ``checkpoint`` is a folder for one file a member, or a list of files, each a checkpoint of `fit`: make the same call
    again to go on (members whose files are behind catch up first). A member whose loss stops being finite is left as it
    is then, named in a warning and in its `Member`; its neighbours go on. ``history.seconds`` is a member's share.
    Raises as `fit`, but for `DivergedError`.
    """
    agents = [make_agent(name, config) for config in configs]
    require(len(agents), "configs", [], "at least one member")
    alone = next((why for agent in agents for why in differences(agent)), None)
    if alone is None:
        check_stackable(agents)
    steps, batch_size = check_int("steps", steps, 1), check_int("batch_size", batch_size, 1)
    intervals = {"log": log_every, "evaluate": eval_every, "checkpoint": checkpoint_every}
    every = {
        what: check_int(f"{what}_every".replace("evaluate", "eval"), value, 1) for what, value in intervals.items()
    }
    own = [agent.config.seed for agent in agents] if seeds is None else [check_int("seeds", seed, 0) for seed in seeds]
    data = [dataset] * len(agents) if isinstance(dataset, OfflineDataset) else list(dataset)
    paths: list[Any] = [None] * len(agents) if checkpoint is None else checkpoint  # type: ignore[assignment]
    if isinstance(checkpoint, (str, Path)):
        paths = [Path(checkpoint) / f"member-{number:03d}.safetensors" for number in range(len(agents))]
    for field, found in (("seeds", own), ("dataset", data), ("checkpoint", paths)):
        require(len(found) == len(agents), field, f"{len(found)} of them", f"{len(agents)}, one a config")
    if alone is not None:
        text = f"{name!r} is trained member by member, as its update cannot be stacked ({alone})."
        warnings.warn(text, CQLWarning, stacklevel=2)
        options = {"batch_size": batch_size, "log_every": log_every, "evaluate": evaluate, "eval_every": eval_every}
        options |= {"checkpoint_every": checkpoint_every, "resume": resume, "progress": progress}
        return [
            _fit_alone(number, agent, one, steps, {**options, "seed": seed, "checkpoint": path})
            for number, (agent, one, seed, path) in enumerate(zip(agents, data, own, paths, strict=True))
        ]
    fingerprints = {id(one): one.fingerprint() for one in data} if checkpoint is not None else {}
    runs: list[_MemberRun] = []
    known: dict[int, list[ColumnFault]] = {}
    for number, (agent, one, seed) in enumerate(zip(agents, data, own, strict=True)):
        check_actions(agent, one)
        runs.append(_MemberRun(agent, {"batch_size": batch_size, "seed": seed, "log_every": log_every}))
        runs[-1].number = number
        if checkpoint is not None:
            runs[-1].path = prepare_output_path(paths[number])
            runs[-1].settings["data"] = fingerprints[id(one)]
            if resume and runs[-1].path.is_file():
                runs[-1].resume(runs[-1].path, steps)
        runs[-1].begin(one, known)
        runs[-1].data = one.to(device=agent.device)
    with progress_bar(min(run.step for run in runs), steps, progress) as bar:
        while unfinished := [run for run in runs if run.step < steps and run.diverged is None]:
            first = min(run.step for run in unfinished)
            until = min([run.step for run in unfinished if run.step > first], default=steps)
            last = [run for run in unfinished if run.step == first]
            _train_until(until, last, until == steps, every, evaluate, bar)
    return [Member(run.agent, run.history, run.diverged) for run in runs]


class _MemberRun(Run):
    """Where the run of one member stands; between two calls of `_train_until` it is a run of `fit`."""

    number: int
    data: OfflineDataset
    path: Path | None = None
    diverged: DivergedError | None = None

    def attempt(self, action: Callable[[], Any]) -> None:
        """Do what finds a diverged loss, and remember it in place of stopping the others."""
        try:
            if self.diverged is None:
                action()
        except DivergedError as error:
            self.diverged = _of_member(self.number, error)


def _of_member(number: int, error: DivergedError) -> DivergedError:
    """The error that says which member diverged, also told in a warning."""
    named = DivergedError(f"configs[{number}]: {error.field}", error.found, error.expected, error.mend)
    warnings.warn(f"{named} The other members go on.", CQLWarning, stacklevel=3)
    return named


def _fit_alone(number: int, agent: Agent, dataset: OfflineDataset, steps: int, options: dict[str, Any]) -> Member:
    """Train one member by `fit`, whose history is kept if it diverges."""
    rows: list[History] = []
    try:
        return Member(agent, fit(agent, dataset, steps, on_row=rows.append, **options))
    except DivergedError as error:
        return Member(agent, rows[-1] if rows else History(), _of_member(number, error))


def _train_until(
    until: int, runs: list[_MemberRun], ends: bool, every: dict[str, int], evaluate: Evaluate | None, bar: Any
) -> None:
    """Bring runs that stand at one update to update ``until``, or to where the first of them is seen to diverge."""
    size = runs[0].settings["batch_size"]
    population = Population([run.agent for run in runs])
    streams = [run.data.batches(until, size, run.settings["seed"], start=run.step) for run in runs]
    zero = torch.zeros((), dtype=runs[0].agent.dtype, device=runs[0].agent.device)  # of a run that has just logged
    names = dict.fromkeys(name for run in runs for name in run.sums)
    sums = {name: torch.stack([run.sums.get(name, zero) for run in runs]) for name in names}
    step, counts, began = runs[0].step, [run.count for run in runs], time.perf_counter()
    for drawn in zip(*streams, strict=True):
        for name, value in population.update(drawn).items():
            sums[name] = sums[name] + value if name in sums else value.clone()
        step, counts = step + 1, [count + 1 for count in counts]
        bar.update()
        due = [what for what, interval in every.items() if step % interval == 0 or (ends and step == until)]
        if not due and step < until:
            continue
        _ = population.members  # the agents are brought up to date
        for number, run in enumerate(runs):
            run.step, run.count, run.batch = step, counts[number], drawn[number]
            run.sums = {name: value[number] for name, value in sums.items()}
            run.history.seconds += (time.perf_counter() - began) / len(runs)
        for run in runs:
            if "log" in due:
                run.attempt(run.log)
            if "evaluate" in due and evaluate is not None and run.diverged is None:
                run.measure(evaluate)
            if "checkpoint" in due and run.path is not None:
                run.attempt(partial(run.save, run.path))
        if any(run.diverged for run in runs):
            return
        if "evaluate" in due and evaluate is not None:
            population.stack()
        if "log" in due:
            sums, counts = {}, [0] * len(runs)
        began = time.perf_counter()
