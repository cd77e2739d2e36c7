"""`cql-tutorial train`: one agent, several seeds, each resumed from its checkpoint when the command is repeated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..agents import AGENTS, make_agent
from ..datasets.offline_dataset import OfflineDataset
from ..datasets.roles import names_of
from ..errors import CheckpointError, DivergedError, check_int, require
from ..evaluation.intervals import t_interval
from ..evaluation.off_policy import initial_state_value
from ..fast.as_built import differences, has_faster_form
from ..training.offline import History, fit
from ..training.population import fit_population
from ..training.stopping import Patience
from .files import TensorBoard, plain, table, versions, write_json
from .options import DataOptions, TaskOptions, settings_of


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What is trained for how long, and where the results go."""

    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
    """Folder of the results. Repeat the command to go on after any interruption; more --steps extend the run."""
    steps: int = 10_000
    """Updates in all."""
    seeds: tuple[int, ...] = (0,)
    """One run each; three or more show how much of a difference is luck."""
    batch_size: int = 256
    """Transitions an update."""
    log_every: int = 100
    """Updates between two rows of the history (their metrics are averaged)."""
    eval_every: int = 1000
    """Updates between two evaluations in --env or --world."""
    checkpoint_every: int = 1000
    """Updates between two checkpoints: what a crash can cost."""
    patience: int = 0
    """Stop a seed after so many evaluations without a better --patience-metric (0: never). It needs a number that can
    be trusted: a return in --env or --world. A log alone gives none."""
    patience_metric: str = "return"
    """What --patience looks at: a column of the history. Smaller is better if its name ends in loss or error."""
    keep_every: int = 0
    """Also keep an agent every so many updates, for choosing among them with evaluate (0: only the last)."""
    together: bool = False
    """Train all seeds as one program (sac and cql only): small networks take half the time or less.
    The numbers are the same up to rounding. Without --keep-every; --tensorboard is written at the end."""
    tensorboard: bool = False
    """Write event files: tensorboard --logdir FOLDER/tensorboard."""
    quiet: bool = False
    """No progress bars."""


def train(name: str, settings: Any, data: DataOptions, task: TaskOptions, options: TrainOptions) -> int:
    """Train one agent a seed; return 1 if a run diverged, else 0.

    Below ``out``: ``seed-K.safetensors`` (agent and run), ``seed-K.csv`` (history), ``kept/``, ``tensorboard/`` and
    ``results.json``. Everything but the times is the same whether or not the command was interrupted.
    """
    require(options.seeds, "--seeds", options.seeds, "at least one whole number", "for example --seeds 0 1 2.")
    require(len(set(options.seeds)) == len(options.seeds), "--seeds", options.seeds, "each number once")
    _check_keep_every(options)
    _check_patience(options, task)
    dataset, _ = data.parts()
    _check_kind(name, dataset)
    evaluate = task.task(dataset)
    print(f"{name} on {dataset!r}")
    if settings_of(settings)["normalize_observations"]:
        off = "--no-normalize-observations leaves them as logged"
        print(f"observations: normalised by the mean and standard deviation of these rows ({off})")
    rows: list[dict[str, Any]] = []
    for seed, agent, history, diverged in (_together if options.together else _one_by_one)(
        name, dataset, settings, evaluate, options
    ):
        row: dict[str, Any] = {"seed": seed}
        if diverged is None:
            history.to_csv(options.out / f"seed-{seed}.csv")
            row |= {"steps": int(history.rows[-1]["step"]), "seconds": round(history.seconds, 3)} | _last_of_each(
                history
            )
            if hasattr(agent, "q_values"):
                predicted = initial_state_value(agent, dataset)
                row |= {"predicted_start_value": predicted.value, "predicted_start_value_possible": predicted.possible}
        else:
            row["diverged"] = str(diverged)
        rows.append(row)
    summary = _summary(rows)
    content = {
        "format": "cql-tutorial train 1", "agent": name, "settings": settings_of(settings),
        "data": plain(data) | {"transitions": len(dataset), "fingerprint": dataset.fingerprint()},
        "observation_columns": names_of(dataset.metadata, "observations", dataset.observation_dim),
        "run": plain(options), "simulator": plain(task), "versions": versions(),
        "seeds": rows, "summary": summary,
    }  # fmt: skip
    write_json(options.out / "results.json", content)
    _report(rows, summary, options.out, options.steps)
    return int(any("diverged" in row for row in rows))


def _check_keep_every(options: TrainOptions) -> None:
    every, rows = options.keep_every, check_int("--log-every", options.log_every, 1)
    require(every >= 0, "--keep-every", every, "a whole number >= 0")
    require(every % rows == 0, "--keep-every", every, f"a multiple of --log-every, {rows}")  # where rows are written
    require(not (every and options.together), "--keep-every", every, "0 with --together", "leave one of them out.")


def _check_patience(options: TrainOptions, task: TaskOptions) -> None:
    check_int("--patience", options.patience, 0)
    if options.patience:
        mend = "pass --env or --world, or name a --patience-metric of the history, such as policy_loss."
        measured = options.patience_metric != "return" or task.env is not None or task.world is not None
        require(measured, "--patience", options.patience, "a simulator that measures the return", mend)
        require(not options.together, "--patience", options.patience, "0 with --together", "leave one of them out.")


def _check_kind(name: str, dataset: OfflineDataset) -> None:
    kind = f"{'a finite number of' if dataset.discrete else 'continuous'} actions"
    fitting = [other for other, (agent, _) in AGENTS.items() if agent.discrete == dataset.discrete]
    mend = "take one of these; --n-actions says that a table's actions are choices."
    require(name in fitting, "agent", name, f"an agent for {kind}: {', '.join(fitting)}", mend)


def agent_config(dataset: OfflineDataset, settings: Any, seed: int) -> dict[str, Any]:
    """Join the settings typed in with what the data say: dimensions and action bounds."""
    config = {**settings_of(settings), "state_dim": dataset.observation_dim, "action_dim": dataset.action_dim}
    if not dataset.discrete:
        config |= {"action_low": dataset.action_low, "action_high": dataset.action_high}
    return config | {"seed": seed}


def _one_by_one(
    name: str, dataset: OfflineDataset, settings: Any, evaluate: Any, options: TrainOptions
) -> Iterator[tuple[int, Any, History, DivergedError | None]]:
    for number, seed in enumerate(options.seeds):
        agent = make_agent(name, agent_config(dataset, settings, seed))
        why_not = next(differences(agent), None)
        if number == 0:
            print(f"update: {'the faster form' if why_not is None else f'{type(agent).__name__}.update ({why_not})'}")
        try:
            yield seed, agent, _fit(agent, dataset, seed, evaluate, options, why_not is None), None
        except DivergedError as error:
            yield seed, agent, History(), error


def _together(
    name: str, dataset: OfflineDataset, settings: Any, evaluate: Any, options: TrainOptions
) -> Iterator[tuple[int, Any, History, DivergedError | None]]:
    stackable = [other for other, (agent, _) in AGENTS.items() if has_faster_form(agent)]
    require(name in stackable, "--together", name, f"one of {', '.join(stackable)}", "leave it out.")
    print(f"update: the faster form, {len(options.seeds)} agents at once")
    members = fit_population(
        name,
        [agent_config(dataset, settings, seed) for seed in options.seeds],
        dataset,
        options.steps,
        batch_size=options.batch_size,
        log_every=options.log_every,
        evaluate=evaluate,
        eval_every=options.eval_every,
        checkpoint=[options.out / f"seed-{seed}.safetensors" for seed in options.seeds],
        checkpoint_every=options.checkpoint_every,
        progress=not options.quiet,
    )
    for seed, member in zip(options.seeds, members, strict=True):
        if options.tensorboard and member.diverged is None:
            writer = TensorBoard(options.out / "tensorboard" / f"seed-{seed}")
            writer(member.history)
            writer.close()
        yield seed, *member


def _fit(agent: Any, dataset: OfflineDataset, seed: int, evaluate: Any, options: TrainOptions, fast: bool) -> History:
    writer = TensorBoard(options.out / "tensorboard" / f"seed-{seed}") if options.tensorboard else None
    metric = options.patience_metric
    patience = Patience(options.patience, metric, metric.endswith(("loss", "error"))) if options.patience else None

    def on_row(history: History) -> str | None:
        step = int(history.rows[-1]["step"])
        if options.keep_every and step % options.keep_every == 0 and step < options.steps:
            agent.save(options.out / "kept" / f"seed-{seed}-step-{step}.safetensors")
        if writer is not None:
            writer(history)
        return patience(history) if patience is not None else None

    try:
        history = fit(
            agent,
            dataset,
            options.steps,
            batch_size=options.batch_size,
            seed=seed,
            log_every=options.log_every,
            evaluate=evaluate,
            eval_every=options.eval_every,
            checkpoint=options.out / f"seed-{seed}.safetensors",
            checkpoint_every=options.checkpoint_every,
            progress=not options.quiet,
            on_row=on_row,
            fast=fast,
        )
        if writer is not None:
            writer(history)  # a finished run that is only read again
        return history
    except CheckpointError as error:
        mend = "repeat the command as it was, or pass another --out (or delete the folder to start anew)."
        if "normalize_observations" in error.field:
            mend = f"pass --no-normalize-observations for a run that began without it; else {mend}"
        raise CheckpointError(error.field, error.found, error.expected, mend) from error
    finally:
        if writer is not None:
            writer.close()


def _last_of_each(history: History) -> dict[str, float]:
    return {name: history.last(name) for name in history.columns if name != "step"}


def _summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and 95 % t-interval over the seeds that did not diverge, of every number."""
    good = [row for row in rows if "diverged" not in row]
    left_out = ("seed", "steps", "seconds", "predicted_start_value_possible")
    names = [name for name in (good[0] if good else {}) if name not in left_out]
    names = [name for name in names if all(name in row for row in good)]
    pairs = {name: t_interval([row[name] for row in good]) for name in names}
    return {name: {"mean": mean, "half_width": half, "n": len(good)} for name, (mean, half) in pairs.items()}


def _report(rows: list[dict[str, Any]], summary: dict[str, dict[str, float]], out: Path, steps: int) -> None:
    names = ["seed", "diverged", "return", "predicted", "true", "predicted_start_value"]
    names += ["q_value", "cql_gap", "policy_loss"]
    shown = [{key: row[key] for key in names if key in row} for row in rows]
    for row, cells in zip(rows, shown, strict=True):
        if not row.get("predicted_start_value_possible", True):
            cells["predicted_start_value"] = f"{row['predicted_start_value']:.4g} NOT USABLE"
    print(table(shown))
    for row in rows:
        if row.get("steps", steps) < steps:
            print(f"seed {row['seed']}: stopped at update {row['steps']} by --patience")
    impossible = [str(row["seed"]) for row in rows if not row.get("predicted_start_value_possible", True)]
    if impossible:
        print(f"NOT USABLE, seed {', '.join(impossible)}: no reward of the log can pay predicted_start_value.")
    for name in ("return", "predicted_start_value"):
        if name in summary and summary[name]["n"] > 1:
            of = "(95 % t-interval, n = {n:.0f})".format(**summary[name])
            print("{}: {mean:.4g} ± {half_width:.2g} {}".format(name, of, **summary[name]))
    if "return" not in summary and "predicted_start_value" in summary:
        print("predicted_start_value is the agent's own opinion of its return, as it samples (evaluate judges the")
        print("deterministic policy unless --stochastic): see cql-tutorial evaluate --help.")
    print(f"results: {out / 'results.json'}")
