"""`fit`: one loop for every agent, with progress, history, evaluation on common states and exact resume."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..agents.agent import Agent
from ..agents.checkpoint import agent_header, copy_state, header_settings, read_tensors, write_tensors
from ..agents.normaliser import ColumnFault, column_faults, several, warn_of_columns
from ..batch import Batch
from ..datasets.offline_dataset import OfflineDataset
from ..datasets.roles import names_of
from ..errors import CallbackError, CheckpointError, ConfigError, CQLTutorialError, DivergedError, check_int
from ..fast.fused import FasterUpdate
from ..files import atomic_write, prepare_output_path


class History:
    """Rows of a training run: ``step``, the mean of each metric since the row before, and what `evaluate` measured.

    ``history["td_loss"]`` is a column (nan where a row has no such entry), ``history.series("return")`` the rows that
    have one, ``history.rows`` the rows themselves, ``history.seconds`` the time spent in updates over all sessions.
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

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """(steps, values) of the rows that have an entry of that name, as a curve wants them; `KeyError` for none."""
        found = [(int(row["step"]), row[name]) for row in self.rows if name in row]
        return ([step for step, _ in found], [value for _, value in found]) if found else ([], self[name])

    def to_dataframe(self) -> Any:
        """The rows as a pandas ``DataFrame``, nan where a row has no entry; `ConfigError` where pandas is missing."""
        try:
            import pandas
        except ImportError as error:
            mend = "pip install pandas (the extra cql-tutorial[tables] has it), or use history.rows or history.to_csv."
            raise ConfigError("History.to_dataframe", "no pandas", "the package pandas", mend) from error
        return pandas.DataFrame(self.rows, columns=self.columns)

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
    on_row: Callable[[History], Any] | None = None,
    fast: bool = False,
) -> History:
    """Train ``agent`` for ``steps`` updates on batches drawn from ``dataset`` and return the `History`.

    ``evaluate(agent)`` returns a row of numbers, called every ``eval_every`` updates and at the end (see
    `evaluation.Evaluator`); ``on_row(history)`` is called after every new row, and ends the training there, with a
    checkpoint, if it returns "stop" (see `Patience`). ``fast`` makes SAC's and CQL's updates
    in their faster form, equal to ``agent.update`` up to rounding (see the folder `fast`).
    An agent with ``normalize_observations`` that has no statistics yet takes them from these rows, before its first
    update. One `CQLWarning` names the observations' columns that are not of order 1, or hold a value far from others.
    With ``checkpoint`` the whole run (networks,
    optimisers, random generators, history) goes to that file every ``checkpoint_every`` updates; if it exists and
    ``resume`` is true, the agent takes the file's weights and the run goes on to ``steps`` in all, ending bit for bit
    where an unbroken one would on the same kind of device (an extended run keeps the row where the shorter one ended).
    After Ctrl-C the last checkpoint stands: make the same call again. Batches depend on ``seed`` and the number of the
    update: a second `fit` of the same agent wants another seed. Raises `CheckpointError` if the file belongs to another
    run or cannot be written, `ConfigError` if the agent's actions do not fit the data's or it has no faster form,
    `DivergedError` if a loss stops being finite (the last checkpoint is then from before), `CallbackError` for an error
    in ``evaluate`` or ``on_row``.
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
            if state.stopped and on_row is not None and state.tell(on_row):
                return state.history
    state.begin(dataset)
    if dataset.observations.device != agent.device:
        dataset = dataset.to(device=agent.device)

    history = state.history
    with progress_bar(state.step, steps, progress) as bar:
        began = time.perf_counter() - history.seconds
        for batch in dataset.batches(steps, batch_size, seed, start=state.step):
            state.add(faster(batch) if faster else agent.update(batch), batch)
            last = state.step == steps
            if state.step % log_every == 0 or last:
                row = state.log()
                bar.set_postfix({key: f"{row[key]:.3g}" for key in ("q_value", "cql_gap", "policy_loss") if key in row})
            bar.update()
            history.seconds = time.perf_counter() - began
            state.end_step(last, evaluate, eval_every, on_row, checkpoint, checkpoint_every)
            if state.stopped:
                break
            began = time.perf_counter() - history.seconds  # what measuring and saving took is not training time
    return history


class Run:
    """Where a training run stands: its step, the metrics since the last row, its history."""

    kind, unit = "fit", "update"  # the function whose run it is, and what it counts

    def __init__(self, agent: Agent, settings: dict[str, Any]) -> None:
        self.agent, self.settings = agent, settings
        self.history, self.step, self.count = History(), 0, 0
        self.sums: dict[str, Tensor] = {}
        self.batch: Batch | None = None  # the last one
        self.stopped = False
        self.faults: list[ColumnFault] = []

    def begin(self, dataset: OfflineDataset, known: dict[int, list[ColumnFault]] | None = None) -> None:
        """Take the statistics of the training rows, and warn of columns that train badly.

        ``known`` keeps what was found of a data set, for several runs on the same one.
        """
        self.agent.take_statistics(dataset.observations)
        known, number = {} if known is None else known, id(dataset)
        if number not in known:
            names = names_of(dataset.metadata, "observations", dataset.observation_dim)
            known[number] = column_faults(dataset.observations, dataset.next_observations, names)
            warn_of_columns(known[number], self.agent.normaliser is not None, self.agent.told, stacklevel=4)
        self.faults = known[number]

    def add(self, metrics: dict[str, Tensor], batch: Batch) -> None:
        """Add the metrics of one update, on the device."""
        self.step += 1
        self.sum_up(metrics, batch)

    def sum_up(self, metrics: dict[str, Tensor], batch: Batch) -> None:
        """The same without a step of the run."""
        self.batch, self.count = batch, self.count + 1
        for name, value in metrics.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()

    def means(self) -> dict[str, float]:
        """The mean of each metric since the last row, the one host sync; `DivergedError` if one is not finite."""
        values = torch.stack(list(self.sums.values())).cpu().double().div(self.count).tolist()  # MPS has no float64
        row = {"step": self.step, **dict(zip(self.sums, values, strict=True))}
        for name, value in row.items():
            if not math.isfinite(value):
                mend = "lower the step sizes, check the rewards' scale, or restart from the last checkpoint."
                if self.faults:  # the likelier cause, outliers first
                    faults = sorted(self.faults, key=lambda fault: not fault.outlier)
                    mend = f"correct the observations first: {several(faults)}. Else {mend}"
                raise DivergedError(f"metrics[{name!r}]", f"{value} by {self.unit} {self.step}", "finite numbers", mend)
        return row

    def log(self) -> dict[str, float]:
        """Write a row of the history and begin the next; warn of a multiplier at its bound."""
        row = self.means()
        self.history.rows.append(row)
        self.sums, self.count = {}, 0
        self.agent.check_multiplier()
        if self.batch is not None:
            self.agent.check_training(row, self.batch)
        return row

    def measure(self, evaluate: Callable[[Agent], Mapping[str, float]]) -> None:
        """Write a row of what ``evaluate(agent)`` says; `ConfigError` unless that is a dict of numbers."""
        with _callback("evaluate", evaluate, f"{self.unit} {self.step}"):
            measured = evaluate(self.agent)
        if not isinstance(measured, Mapping):
            found, mend = f"a {type(measured).__name__}", 'return {"name": number}.'
            raise ConfigError("evaluate(agent)", found, "a dict of numbers", mend)
        with _callback("evaluate", evaluate, f"{self.unit} {self.step}"):
            numbers = {name: float(value) for name, value in measured.items() if name != "step"}
        self.history.rows.append({"step": self.step, **numbers})

    def tell(self, on_row: Callable[[History], Any]) -> bool:
        """Call ``on_row`` and return whether it says "stop"; `ConfigError` for another word."""
        with _callback("on_row", on_row, f"{self.unit} {self.step}"):
            answer = on_row(self.history)
        if isinstance(answer, str) and answer != "stop":
            raise ConfigError("on_row(history)", repr(answer), '"stop", or nothing', 'return "stop" to end the run.')
        return isinstance(answer, str)

    def end_step(
        self,
        last: bool,
        evaluate: Callable[[Agent], Mapping[str, float]] | None,
        eval_every: int,
        on_row: Callable[[History], Any] | None,
        checkpoint: Path | None,
        checkpoint_every: int,
    ) -> None:
        """Measure, tell of a new row and save, each where it is due; ``stopped`` is then what ``on_row`` said."""
        if evaluate is not None and (self.step % eval_every == 0 or last):
            self.measure(evaluate)
        new_row = bool(self.history.rows) and self.history.rows[-1]["step"] == self.step
        self.stopped = on_row is not None and new_row and self.tell(on_row)
        if checkpoint is not None and (self.step % checkpoint_every == 0 or last or self.stopped):
            self.save(checkpoint)

    def save(self, path: Path) -> None:
        """Write agent and run to one file, unless the run has diverged."""
        if self.count:
            self.means()
        more, columns = self.more()
        training = {
            "kind": self.kind,
            "run": self.settings,
            "step": self.step,
            "count": self.count,
            "sums": list(self.sums),
            "rows": self.history.rows,
            "seconds": self.history.seconds,
            "stopped": self.stopped,
            **more,
        }
        sums = {f"sum.{name}": value for name, value in self.sums.items()}
        tensors = {**self.agent.state(), **sums, **columns}
        write_tensors(path, tensors, {**agent_header(self.agent), "training": json.dumps(training)})

    def more(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What else a file of this kind of run holds: numbers, and tensors under names of their own."""
        return {}, {}

    def take_more(self, training: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> None:
        """Go on from what `more` gave."""

    def resume(self, path: Path, steps: int) -> None:
        """Take agent and run from a file of `save`, if it is one of the same run and not beyond ``steps``."""
        tensors, header = read_tensors(path)
        if "training" not in header:
            mend = "pass another checkpoint path, or load the agent and fit without resume."
            raise CheckpointError(str(path), "an agent without its training run", "a checkpoint of fit", mend)
        training = json.loads(header["training"])
        if (kind := training.get("kind", "fit")) != self.kind:
            mend = "pass another checkpoint path; an agent of any file is loaded by load_agent."
            raise CheckpointError(str(path), f"a run of {kind}", f"one of {self.kind}", mend)
        ours = {"agent": self.agent.name, **_comparable(self.agent.config.to_dict()), **self.settings}
        theirs = {"agent": header["agent"], **_comparable(header_settings(header)), **training["run"]}
        for key in [key for key, value in ours.items() if theirs.get(key) != value][:1]:
            mend = "resume=False starts anew and overwrites it; or pass another checkpoint path."
            raise CheckpointError(f"{path}: {key}", repr(theirs.get(key)), repr(ours[key]), mend)
        if training["step"] > steps:
            at = f"{self.unit} {training['step']}"
            found, least = f"{steps}, and a checkpoint at {at}", f"at least {training['step']}"
            raise ConfigError("steps", found, least, "ask for more, or pass resume=False.")
        copy_state(self.agent, tensors, header, path)
        self.step, self.count = training["step"], training["count"]
        self.sums = {name: tensors[f"sum.{name}"].to(self.agent.device) for name in training["sums"]}
        self.history.rows, self.history.seconds = training["rows"], training["seconds"]
        self.stopped = training.get("stopped", False)
        self.take_more(training, tensors, path)


@contextmanager
def _callback(argument: str, callback: Any, when: str) -> Iterator[None]:
    """An error inside a callback becomes a `CallbackError` that names it; the package's own keep their kind."""
    name = getattr(callback, "__qualname__", type(callback).__qualname__)
    field = f"{argument}={name}, called at {when}"
    try:
        yield
    except CQLTutorialError as error:
        raise type(error)(f"{field}: {error.field}", error.found, error.expected, error.mend) from error
    except Exception as error:
        mend = "correct that function (its traceback stands above); the last checkpoint is as it was."
        raise CallbackError(field, f"{type(error).__name__}: {error}", "a call without an error", mend) from error


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


def progress_bar(start: int, steps: int, shown: bool, unit: str = "update") -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=steps, initial=start, disable=not shown, unit=unit, mininterval=0.5)
