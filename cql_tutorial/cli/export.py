"""`cql-tutorial export`: a trained policy as one file that runs without this package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro

from ..agents import load_agent
from ..agents.export import NOT_FINITE, load_exported
from ..errors import CheckpointError, require

ENDINGS = {".pt2": "torch", ".onnx": "onnx"}
STATES = 1000  # that the file is compared on
TOLERANCE = 1e-6  # of the range of the actions


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Which agent is written where."""

    agent: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """A checkpoint: seed-0.safetensors of a train folder, or what Agent.save wrote."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE.pt2|FILE.onnx")]
    """What to write. .pt2: a torch.export program, for PyTorch. .onnx: for onnxruntime and others (extra onnx)."""
    format: Literal["by-ending", "torch", "onnx"] = "by-ending"
    """The form, where the ending does not say it."""
    stochastic: bool = False
    """The policy as it samples: the file takes random numbers beside the observations."""


def export(options: ExportOptions) -> int:
    """Write the file, compare it with ``act`` on 1,000 states, and say how to use it."""
    form = ENDINGS.get(options.out.suffix.lower()) if options.format == "by-ending" else options.format
    mend = "name it policy.pt2 or policy.onnx, or pass --format."
    require(form is not None, "--out", str(options.out), f"an ending of {', '.join(ENDINGS)}", mend)
    agent = load_agent(options.agent, "cpu")
    path = agent.export(options.out, str(form), options.stochastic)
    config = agent.config
    shape = (
        "[B] choices"
        if agent.discrete
        else f"[B, {config.action_dim}] within {config.action_low} to {config.action_high}"
    )
    noise = f" and noise [B, {config.action_dim}]" if options.stochastic else ""
    print(f"{agent.name} as {form}: {path} ({path.stat().st_size:,} bytes)")
    print(f"observations [B, {config.state_dim}]{noise}, {config.dtype} -> actions {shape}")
    print(f"observations are {'normalised inside' if agent.normaliser is not None else 'taken as they are'}")
    print(f"not finite: {NOT_FINITE[agent.discrete]}")
    if not options.stochastic:
        print(_comparison(agent, path, str(form)))
    return 0


def _comparison(agent: Any, path: Path, form: str) -> str:
    """Compare the file with ``act`` on states of the training data's scale; `CheckpointError` for a difference."""
    states = np.random.default_rng(0).normal(size=(STATES, agent.config.state_dim))
    if agent.normaliser is not None:
        states = states * agent.normaliser.std.numpy() + agent.normaliser.mean.numpy()
    states = states.astype(agent.config.dtype)
    if form == "onnx":
        try:
            import onnxruntime
        except ImportError:
            return "not compared with act: no onnxruntime here (pip install onnxruntime)"
        found = onnxruntime.InferenceSession(str(path)).run(None, {"observations": states})[0]
    else:
        found = load_exported(path)[0](torch.from_numpy(states)).numpy()
    reach = 1.0 if agent.discrete else float(np.max(np.abs([agent.config.action_low, agent.config.action_high])))
    worst = float(np.abs(found - agent.act(states)).max()) / max(1.0, reach)
    if worst > TOLERANCE:
        mend = "report it; use the checkpoint until then."
        raise CheckpointError(str(path), f"actions {worst:.2g} away from act", "equal ones", mend)
    return f"compared: equal to act on {STATES:,} states to {TOLERANCE:g}"
