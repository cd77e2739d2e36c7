"""`fit`: one loop for every agent, with progress, history, evaluation on common states and exact resume."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..agents.agent import Agent
from ..agents.checkpoint import agent_header, copy_state, header_settings, read_tensors, write_tensors
from ..datasets.offline_dataset import OfflineDataset
from ..errors import CheckpointError, ConfigError, DivergedError, check_int
from ..fast.fused import FasterUpdate
from ..files import atomic_write, prepare_output_path


class History:
    """Rows of a training run: ``step``, the mean of each metric since the row before, and what `evaluate` measured.

    ``history["td_loss"]`` is a column (nan where a row has no such entry), ``history.rows`` the rows themselves,
    ``history.seconds`` the time spent in updates over all sessions.
    """

    def __init__(self, rows: list[dict[str, float]] | None = None, seconds: float = 0.0) -> None:
        self.rows = rows or []
        self.seconds = seconds

    def __getitem__(self, name: str) -> list[float]:
        if not any(name in row for row in self.rows):
            raise KeyError(f"{name!r}: this history has {self.columns}")
        return [row.get(name, math.nan) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def columns(self) -> list[str]:
        """Every column's name, in the order of first appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def last(self, name: str) -> float:
        """The newest entry of a column."""
        return [row[name] for row in self.rows if name in row][-1] if name in self.columns else self[name][-1]

    def to_csv(self, path: str | Path) -> None:
        """Write the rows as CSV, whole or not at all; raises `CheckpointError` where that cannot be."""
        with atomic_write(Path(path)) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows)

    def __repr__(self) -> str:
        return f"History({len(self.rows)} rows, columns {self.columns})"


def fit(
    agent: Agent,
    dataset: OfflineDataset,
    steps: int,
    *,
    batch_size: int = 256,
    seed: int = 0,
    log_every: int = 100,
    evaluate: Callable[[Agent], Mapping[str, float]] | None = None,
    eval_every: int = 1000,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    resume: bool = True,
    progress: bool = True,
    on_row: Callable[[History], None] | None = None,
    fast: bool = False,
) -> History:
    """Train ``agent`` for ``steps`` updates on batches drawn from ``dataset`` and return the `History`.

    ``evaluate(agent)`` returns a row of numbers, called every ``eval_every`` updates and at the end (see
    `evaluation.Evaluator`); ``on_row(history)`` is called after every new row. ``fast`` makes SAC's and CQL's updates
    in their faster form, equal to ``agent.update`` up to rounding (see the folder `fast`).
    With ``checkpoint`` the whole run (networks,
    optimisers, random generators, history) goes to that file every ``checkpoint_every`` updates; if it exists and
    ``resume`` is true, the agent takes the file's weights and the run goes on to ``steps`` in all, ending bit for bit
    where an unbroken one would on the same kind of device (an extended run keeps the row where the shorter one ended).
    After Ctrl-C the last checkpoint stands: make the same call again. Batches depend on ``seed`` and the number of the
    update: a second `fit` of the same agent wants another seed. Raises `CheckpointError` if the file belongs to another
    run or cannot be written, `ConfigError` if the agent's actions do not fit the data's or it has no faster form,
    `DivergedError` if a loss stops being finite (the last checkpoint is then from before).
    """
    if not hasattr(dataset, "batches"):
        mend = "call fit(agent, dataset, steps); OfflineDataset.from_mapping makes a data set of a dict of arrays."
        raise ConfigError("dataset", f"a {type(dataset).__name__}", "an OfflineDataset", mend)
    steps, batch_size, seed = (
        check_int("steps", steps, 1),
        check_int("batch_size", batch_size, 1),
        check_int("seed", seed, 0),
    )
    log_every, eval_every = check_int("log_every", log_every, 1), check_int("eval_every", eval_every, 1)
    checkpoint_every = check_int("checkpoint_every", checkpoint_every, 1)
    check_actions(agent, dataset)
    faster = FasterUpdate(agent) if fast else None
    dataset = agent.prepare_dataset(dataset)
    state = Run(agent, {"batch_size": batch_size, "seed": seed, "log_every": log_every})
    if checkpoint is not None:
        agent.check_name()
        checkpoint = prepare_output_path(checkpoint)
        state.settings["data"] = dataset.fingerprint()
        if resume and checkpoint.is_file():
            state.resume(checkpoint, steps)
            print(f"resumed from update {state.step} of {checkpoint.name} (the agent's weights are now the file's)")
    if dataset.observations.device != agent.device:
        dataset = dataset.to(device=agent.device)

    history = state.history
    with progress_bar(state.step, steps, progress) as bar:
        began = time.perf_counter() - history.seconds
        for batch in dataset.batches(steps, batch_size, seed, start=state.step):
            state.add(faster(batch) if faster else agent.update(batch))
            last = state.step == steps
            if state.step % log_every == 0 or last:
                row = state.log()
                bar.set_postfix({key: f"{row[key]:.3g}" for key in ("q_value", "cql_gap", "policy_loss") if key in row})
            bar.update()
            history.seconds = time.perf_counter() - began
            if evaluate is not None and (state.step % eval_every == 0 or last):
                state.measure(evaluate)
            if on_row is not None and history.rows and history.rows[-1]["step"] == state.step:
                on_row(history)
            if checkpoint is not None and (state.step % checkpoint_every == 0 or last):
                state.save(checkpoint)
            began = time.perf_counter() - history.seconds  # what measuring and saving took is not training time
    return history


class Run:
    """Where a training run stands: its step, the metrics since the last row, its history."""

    def __init__(self, agent: Agent, settings: dict[str, Any]) -> None:
        self.agent, self.settings = agent, settings
        self.history, self.step, self.count = History(), 0, 0
        self.sums: dict[str, Tensor] = {}

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Add the metrics of one update, on the device."""
        self.step, self.count = self.step + 1, self.count + 1
        for name, value in metrics.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()

    def means(self) -> dict[str, float]:
        """The mean of each metric since the last row, the one host sync; `DivergedError` if one is not finite."""
        values = torch.stack([value.double() for value in self.sums.values()]).div(self.count).tolist()
        row = {"step": self.step, **dict(zip(self.sums, values, strict=True))}
        for name, value in row.items():
            if not math.isfinite(value):
                mend = "lower the step sizes, check the rewards' scale, or restart from the last checkpoint."
                raise DivergedError(f"metrics[{name!r}]", f"{value} by update {self.step}", "finite numbers", mend)
        return row

    def log(self) -> dict[str, float]:
        """Write a row of the history and begin the next; warn of a multiplier at its bound."""
        row = self.means()
        self.history.rows.append(row)
        self.sums, self.count = {}, 0
        self.agent.check_multiplier()
        return row

    def measure(self, evaluate: Callable[[Agent], Mapping[str, float]]) -> None:
        """Write a row of what ``evaluate(agent)`` says; `ConfigError` unless that is a dict of numbers."""
        measured = evaluate(self.agent)
        if not isinstance(measured, Mapping):
            found, mend = f"a {type(measured).__name__}", 'return {"name": number}.'
            raise ConfigError("evaluate(agent)", found, "a dict of numbers", mend)
        numbers = {name: float(value) for name, value in measured.items() if name != "step"}
        self.history.rows.append({"step": self.step, **numbers})

    def save(self, path: Path) -> None:
        """Write agent and run to one file, unless the run has diverged."""
        if self.count:
            self.means()
        training = {
            "run": self.settings,
            "step": self.step,
            "count": self.count,
            "sums": list(self.sums),
            "rows": self.history.rows,
            "seconds": self.history.seconds,
        }
        tensors = {**self.agent.state(), **{f"sum.{name}": value for name, value in self.sums.items()}}
        write_tensors(path, tensors, {**agent_header(self.agent), "training": json.dumps(training)})

    def resume(self, path: Path, steps: int) -> None:
        """Take agent and run from a file of `save`, if it is one of the same run and not beyond ``steps``."""
        tensors, header = read_tensors(path)
        if "training" not in header:
            mend = "pass another checkpoint path, or load the agent and fit without resume."
            raise CheckpointError(str(path), "an agent without its training run", "a checkpoint of fit", mend)
        training = json.loads(header["training"])
        ours = {"agent": self.agent.name, **_comparable(self.agent.config.to_dict()), **self.settings}
        theirs = {"agent": header["agent"], **_comparable(header_settings(header)), **training["run"]}
        for key in [key for key, value in ours.items() if theirs.get(key) != value][:1]:
            mend = "resume=False starts anew and overwrites it; or pass another checkpoint path."
            raise CheckpointError(f"{path}: {key}", repr(theirs.get(key)), repr(ours[key]), mend)
        if training["step"] > steps:
            found, least = f"{steps}, and a checkpoint at update {training['step']}", f"at least {training['step']}"
            raise ConfigError("steps", found, least, "ask for more, or pass resume=False.")
        copy_state(self.agent, tensors, header, path)
        self.step, self.count = training["step"], training["count"]
        self.sums = {name: tensors[f"sum.{name}"].to(self.agent.device) for name in training["sums"]}
        self.history.rows, self.history.seconds = training["rows"], training["seconds"]


def _comparable(config: dict[str, Any]) -> dict[str, Any]:
    items = json.loads(json.dumps(config)).items()
    return {f"config[{key!r}]": value for key, value in items if key != "device"}  # a run may go on elsewhere


def check_actions(agent: Agent, dataset: OfflineDataset) -> None:
    """The agent must be able to take every action of the data; the kinds are told apart by `update`."""
    mend = "set them to the data's."
    if agent.discrete and dataset.n_actions not in (None, agent.config.action_dim):
        found, expected = str(agent.config.action_dim), f"{dataset.n_actions} actions, as in the data"
        raise ConfigError("config['action_dim']", found, expected, mend)
    if agent.discrete or dataset.n_actions is not None:
        return
    low, high = torch.as_tensor(dataset.action_low), torch.as_tensor(dataset.action_high)
    own_low, own_high = torch.as_tensor(agent.config.action_low), torch.as_tensor(agent.config.action_high)
    if bool((low < own_low - 1e-6).any() or (high > own_high + 1e-6).any()):
        found = f"bounds [{own_low.tolist()}, {own_high.tolist()}]"
        expected = f"bounds that hold the data's [{low.tolist()}, {high.tolist()}]"
        raise ConfigError("config['action_low'], config['action_high']", found, expected, mend)


def progress_bar(start: int, steps: int, shown: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=steps, initial=start, disable=not shown, unit="update", mininterval=0.5)
