"""`fit`: one loop for every agent, with progress, history, evaluation on common states and exact resume."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .agents.base import read_tensors, write_tensors
from .errors import CheckpointError, ConfigError, DivergedError


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
        return next(row[name] for row in reversed(self.rows) if name in row)

    def to_csv(self, path: str | Path) -> None:
        """Write the rows as CSV, by a temporary file that is renamed into place."""
        path = Path(path)
        temporary = path.with_name(path.name + ".tmp")
        with open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows)
        temporary.replace(path)

    def __repr__(self) -> str:
        return f"History({len(self.rows)} rows, columns {self.columns})"


def fit(
    agent: Any,
    dataset: Any,
    steps: int,
    *,
    batch_size: int = 256,
    seed: int = 0,
    log_every: int = 100,
    evaluate: Callable[[Any], dict[str, float]] | None = None,
    eval_every: int = 1000,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    resume: bool = True,
    progress: bool = True,
) -> History:
    """Train ``agent`` for ``steps`` updates on batches drawn from ``dataset`` and return the `History`.

    ``evaluate(agent)`` returns a row of numbers, called every ``eval_every`` updates and at the end (see
    `evaluation.Evaluator`). With ``checkpoint`` the whole run (networks, optimisers, random generators, history) goes
    to that file every ``checkpoint_every`` updates; if it exists and ``resume`` is true, the run continues from it and
    ends bit for bit where an unbroken one would. Raises `CheckpointError` if the file belongs to another run,
    `ConfigError` if the agent's action bounds do not hold the data's, `DivergedError` if a loss stops being finite.
    """
    for name, value in {"steps": steps, "batch_size": batch_size, "log_every": log_every, "eval_every": eval_every,
                        "checkpoint_every": checkpoint_every}.items():  # fmt: skip
        if not isinstance(value, int) or value < 1:
            raise ConfigError(name, repr(value), "a whole number of at least 1", f"pass another {name}.")
    _check_bounds(agent, dataset)
    if hasattr(agent, "prepare_dataset"):
        dataset = agent.prepare_dataset(dataset)
    if dataset.observations.device != agent.device:
        dataset = dataset.to(device=agent.device)
    run = {"batch_size": batch_size, "seed": seed, "log_every": log_every, "data": dataset.fingerprint()}
    history, start = History(), 0
    sums: dict[str, Tensor] = {}
    if checkpoint is not None and resume and Path(checkpoint).is_file():
        history, sums, start = _resume(agent, checkpoint, run)

    bar = _progress_bar(start, steps, progress)
    began = time.perf_counter() - history.seconds
    for step, batch in enumerate(dataset.batches(steps, batch_size, seed, start=start), start + 1):
        for name, value in agent.update(batch).items():
            sums[name] = sums[name] + value if name in sums else value
        last = step == steps
        if step % log_every == 0 or last:
            row = _log(sums, step, (step - 1) % log_every + 1)
            history.rows.append(row)
            sums = {}
            if hasattr(agent, "check_multiplier"):
                agent.check_multiplier()
            bar.set_postfix({key: f"{row[key]:.3g}" for key in ("q_value", "cql_gap", "policy_loss") if key in row})
        bar.update()
        history.seconds = time.perf_counter() - began
        if evaluate is not None and (step % eval_every == 0 or last):
            history.rows.append({"step": step, **evaluate(agent)})
            began = time.perf_counter() - history.seconds  # the evaluation's time is not training time
        if checkpoint is not None and (step % checkpoint_every == 0 or last):
            _save(agent, checkpoint, run, history, sums, step)
    bar.close()
    return history


def _log(sums: dict[str, Tensor], step: int, count: int) -> dict[str, float]:
    values = torch.stack([value.double() for value in sums.values()]).div(count).tolist()  # the one host sync
    row = {"step": step, **dict(zip(sums, values, strict=True))}
    for name, value in row.items():
        if not math.isfinite(value):
            mend = "lower the step sizes, check the rewards' scale, or restart from the last checkpoint."
            raise DivergedError(f"metrics[{name!r}]", f"{value} at update {step}", "finite numbers", mend)
    return row


def _check_bounds(agent: Any, dataset: Any) -> None:
    if agent.discrete or dataset.n_actions is not None:
        return  # the shapes and dtypes of the first batch tell the two kinds apart
    low, high = torch.as_tensor(dataset.action_low), torch.as_tensor(dataset.action_high)
    own_low, own_high = torch.as_tensor(agent.config.action_low), torch.as_tensor(agent.config.action_high)
    if bool((low < own_low - 1e-6).any() or (high > own_high + 1e-6).any()):
        found = f"bounds [{own_low.tolist()}, {own_high.tolist()}]"
        expected = f"bounds that hold the data's [{low.tolist()}, {high.tolist()}]"
        raise ConfigError(
            "config['action_low'], config['action_high']", found, expected, "set them to the data's bounds."
        )


def _progress_bar(start: int, steps: int, shown: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=steps, initial=start, disable=not shown, unit="update", mininterval=0.5)


def _save(
    agent: Any, path: str | Path, run: dict[str, Any], history: History, sums: dict[str, Tensor], step: int
) -> None:
    tensors = {**agent.state(), **{f"sum.{name}": value for name, value in sums.items()}}
    training = {"run": run, "step": step, "rows": history.rows, "seconds": history.seconds, "sums": list(sums)}
    write_tensors(path, tensors, {**agent.header(), "training": json.dumps(training)})


def _resume(agent: Any, path: str | Path, run: dict[str, Any]) -> tuple[History, dict[str, Tensor], int]:
    tensors, header = read_tensors(path)
    if "training" not in header:
        mend = "pass another checkpoint path, or load the agent and fit without resume."
        raise CheckpointError(str(path), "an agent without its training run", "a checkpoint of fit", mend)
    training = json.loads(header["training"])
    ours = {**run, "config": _comparable(agent.config.to_dict())}
    theirs = {**training["run"], "config": _comparable(json.loads(header["config"]))}
    for key, value in ours.items():
        if theirs.get(key) != value:
            found, expected = _difference(theirs.get(key), value)
            mend = "resume=False starts anew and overwrites it; or pass another checkpoint path."
            raise CheckpointError(f"{path}: {key}", found, expected, mend)
    agent.copy_state(tensors, header, path)
    sums = {name: tensors[f"sum.{name}"].to(agent.device) for name in training["sums"]}
    return History(training["rows"], training["seconds"]), sums, training["step"]


def _comparable(config: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps({key: value for key, value in config.items() if key != "device"}))


def _difference(found: Any, expected: Any) -> tuple[str, str]:
    if isinstance(found, dict) and isinstance(expected, dict):
        keys = [key for key in expected if found.get(key) != expected[key]]
        return str({key: found.get(key) for key in keys}), str({key: expected[key] for key in keys})
    return repr(found), repr(expected)
