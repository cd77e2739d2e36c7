"""`cql-tutorial finetune`: a trained agent acts in a simulator and goes on learning; repeat the command to go on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..agents import load_agent
from ..envs import make
from ..errors import CheckpointError, require
from ..training.offline import History
from ..training.online import fine_tune
from .files import TensorBoard, plain, table, versions, write_json
from .options import DataOptions, TaskOptions, make_env


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    """Which agent learns how much online, and where the results go."""

    agent: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """A checkpoint: seed-0.safetensors of a train folder, or what Agent.save wrote. It is not changed."""
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
    """Folder of the results. Repeat the command to go on after any interruption; more --steps extend the run."""
    steps: int = 10_000
    """Steps in the simulator in all."""
    mix: float = 0.5
    """Share of logged rows in each batch, in [0, 1]; the rest was seen online."""
    warm_up: int = 0
    """First steps that only collect, before any update."""
    updates_per_step: int = 1
    """Updates a step."""
    policy_updates: Literal["all", "last"] = "all"
    """'last': only the last update of a step moves policy and temperature, as in REDQ."""
    online_alpha: float | None = None
    """Weight of CQL's penalty online; 0 drops it. Left out, it stays as it was."""
    deterministic: bool = False
    """Act without random choice, which explores nothing."""
    seed: int = 0
    """Decides the episodes' starts, actions and batches."""
    batch_size: int = 256
    """Transitions an update."""
    log_every: int = 100
    """Steps between two rows of the history (their metrics are averaged)."""
    eval_every: int = 1000
    """Steps between two evaluations, of which the first is made before any step."""
    checkpoint_every: int = 1000
    """Steps between two checkpoints: what a crash can cost."""
    new_episode: bool = False
    """Resume with a new episode, where the one under way cannot be repeated from its seed and actions."""
    tensorboard: bool = False
    """Write event files: tensorboard --logdir FOLDER/tensorboard."""
    quiet: bool = False
    """No progress bar."""


def finetune(data: DataOptions, simulator: TaskOptions, online: FinetuneOptions) -> int:
    """Fine-tune one agent in ``--env`` or ``--world``.

    Below ``out``: ``online.safetensors`` (agent, run and what was seen), ``online.csv`` (history), ``online.hdf5`` (the
    transitions, for --data), ``results.json``.
    """
    one = (simulator.env is None) != (simulator.world is None)
    found = (simulator.env, simulator.world)
    require(one, "--env, --world", found, "one of the two: where it acts", "for example --world maze.")
    dataset, _ = data.parts()
    evaluate = simulator.task(dataset)
    env = make(simulator.world) if simulator.world is not None else make_env(str(simulator.env), dataset)
    agent = load_agent(online.agent)
    print(f"{agent.name} on {dataset!r}, online in {simulator.env or simulator.world}")
    writer = TensorBoard(online.out / "tensorboard") if online.tensorboard else None

    def on_row(history: History) -> None:
        if writer is not None:
            writer(history)

    try:
        history = fine_tune(
            agent,
            env,
            dataset,
            online.steps,
            mix=online.mix,
            warm_up=online.warm_up,
            updates_per_step=online.updates_per_step,
            policy_updates=online.policy_updates,
            online_alpha=online.online_alpha,
            deterministic=online.deterministic,
            batch_size=online.batch_size,
            seed=online.seed,
            log_every=online.log_every,
            evaluate=evaluate,
            eval_every=online.eval_every,
            checkpoint=online.out / "online.safetensors",
            checkpoint_every=online.checkpoint_every,
            resume="new-episode" if online.new_episode else True,
            progress=not online.quiet,
            on_row=on_row,
        )
    except CheckpointError as error:
        if "new-episode" in error.mend:
            raise
        mend = "repeat the command as it was, or pass another --out (or delete the folder to start anew)."
        raise CheckpointError(error.field, error.found, error.expected, mend) from error
    finally:
        if writer is not None:
            writer.close()
    history.to_csv(online.out / "online.csv")
    if history.replay is not None:
        history.replay.to_hdf5(online.out / "online.hdf5", overwrite=True)
    last = {name: history.last(name) for name in history.columns if name != "step"}
    first = history.series("return")[1][0] if "return" in history.columns else None
    content = {
        "format": "cql-tutorial finetune 1", "agent": agent.name, "settings": agent.config.to_dict(),
        "data": plain(data) | {"transitions": len(dataset), "fingerprint": dataset.fingerprint()},
        "run": plain(online), "simulator": plain(simulator), "versions": versions(),
        "steps": int(history.rows[-1]["step"]), "seconds": round(history.seconds, 3), "first_return": first,
        "last": last,
    }  # fmt: skip
    write_json(online.out / "results.json", content)
    names = ("return", "predicted", "true", "episode_return", "q_value", "updates")
    at_start = {"step": 0, **{name: history.rows[0][name] for name in names if name in history.rows[0]}}
    at_end = {"step": int(history.rows[-1]["step"]), **{name: last[name] for name in names if name in last}}
    print(table([at_start, at_end]))
    print(f"results: {online.out / 'results.json'}")
    return 0
