"""Out of Python: a policy as one file that runs in another process, with all that `Agent.act` does inside its graph.

"torch" writes a ``torch.export`` program (.pt2): it is what PyTorch keeps developing and what its compilers and
ExecuTorch read, it holds no Python code, and its batch is dynamic. TorchScript, the older form, is deprecated and could
not be scripted here without another copy of the networks. "onnx" writes an ONNX model for onnxruntime and others.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, ConfigError, require
from ..files import atomic_write, prepare_output_path

if TYPE_CHECKING:
    from .agent import Agent

FORMATS = ("torch", "onnx")
METADATA = "cql_tutorial.json"
NOT_FINITE = {
    False: "the graph cannot raise an error: a row with nan or infinity gives nan in every action; test for it",
    True: "the graph cannot raise an error: a row with nan or infinity gives action -1; test for it",
}


class ExportedPolicy(nn.Module):
    """``observations [B, S] -> actions``, as ``agent.act`` gives them: ``[B, A]`` in its bounds, or choices ``[B]``.

    A stochastic one takes the random numbers too: ``noise [B, A]``, standard normal, or uniform in (0, 1) where actions
    are choices. In a row whose observation is not finite, the action is nan, and -1 where actions are choices.
    """

    def __init__(self, agent: Agent, stochastic: bool = False) -> None:
        super().__init__()
        self.agent, self.stochastic = agent, stochastic

    def forward(self, observations: Tensor, noise: Tensor | None = None) -> Tensor:
        agent = self.agent
        finite = torch.isfinite(observations).all(-1)
        states = observations if agent.normaliser is None else agent.normaliser(observations)
        distribution = agent.distribution(states)
        actions: Any = distribution.mode() if noise is None else distribution.from_noise(noise)
        if agent.discrete:
            return torch.where(finite, actions, torch.full_like(actions, -1))
        actions = agent.unscale_action(actions)
        return torch.where(finite[:, None], actions, torch.full_like(actions, torch.nan))


def metadata(agent: Agent, stochastic: bool) -> dict[str, Any]:
    """What whoever runs the file must know: kind, shapes, units, statistics, what becomes of nan."""
    config, statistics = agent.config, agent.normaliser
    known = statistics is not None and {"mean": statistics.mean.tolist(), "std": statistics.std.tolist()}
    return {
        "format": "cql-tutorial policy 1",
        "version": _version(),
        "algorithm": agent.name,
        "inputs": ["observations", "noise"] if stochastic else ["observations"],
        "noise": ("uniform in (0, 1)" if agent.discrete else "standard normal") if stochastic else None,
        "output": "actions",
        "state_dim": config.state_dim,
        "action_dim": config.action_dim,
        "discrete": agent.discrete,
        "action_low": None if agent.discrete else config.action_low,
        "action_high": None if agent.discrete else config.action_high,
        "dtype": config.dtype,
        "normaliser": known or None,
        "reward_scale": config.reward_scale,
        "not_finite": NOT_FINITE[agent.discrete],
    }


def _version() -> str:
    try:
        return importlib.metadata.version("cql-tutorial")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def export(agent: Agent, path: str | Path, format: str = "torch", stochastic: bool = False) -> Path:
    """See `Agent.export`."""
    require(format in FORMATS, "format", format, f"one of {FORMATS}", "'torch' needs no other package.")
    if agent.normaliser is not None:
        require(
            agent.normaliser.ready, "observation statistics", None, "known ones", "train the agent first, with fit."
        )
    path = prepare_output_path(path)
    if format == "onnx":
        _require_onnx()
    policy, inputs = _lean(agent, stochastic)
    # Example batches of 3 rows; any number is taken, one too.
    rows = torch.export.Dim("rows")
    shapes = {name: {0: rows} for name in ("observations", "noise")[: len(inputs)]}
    about = metadata(agent, stochastic)
    with _quiet(), atomic_write(path) as temporary:
        program = torch.export.export(policy, inputs, dynamic_shapes=shapes)
        if format == "torch":
            content = io.BytesIO()
            torch.export.save(program, content, extra_files={METADATA: json.dumps(about)})
            temporary.write_bytes(content.getvalue())
        else:
            _write_onnx(program, temporary, about)
    return path


def load_exported(path: str | Path) -> tuple[Any, dict[str, Any]]:
    """(policy, metadata) of a "torch" file: ``policy(observations) -> actions``, tensors. Raises `CheckpointError`.

    A policy without this package: ``torch.export.load(path).module()``.
    """
    extra = {METADATA: ""}
    try:
        program = torch.export.load(path, extra_files=extra)
    except Exception as error:  # torch's own are of many kinds
        mend = "check the path; ONNX files are read by onnxruntime."
        raise CheckpointError(str(path), f"{type(error).__name__}: {error}", "a file of Agent.export", mend) from error
    return program.module(), json.loads(extra[METADATA] or "{}")


def _lean(agent: Agent, stochastic: bool) -> tuple[ExportedPolicy, tuple[Tensor, ...]]:
    """The policy on the CPU without what it does not use (critics, their targets), and inputs to trace it with."""
    own = type(agent)({**agent.config.to_dict(), "device": "cpu"})
    own.load_state_dict(agent.state_dict())
    if own.normaliser is not None:
        _ = own.normaliser.ready
    policy = ExportedPolicy(own, stochastic).requires_grad_(False)
    width = agent.config.action_dim
    inputs = [torch.zeros(3, agent.config.state_dim, dtype=agent.dtype)]
    inputs += [torch.full((3, width), 0.5, dtype=agent.dtype)] if stochastic else []
    used = {name.split(".")[1] for name in _used(policy, tuple(inputs))}
    for name in [name for name in own._modules if name not in used]:
        delattr(own, name)
    for name in [name for name in own._parameters if name not in used]:
        delattr(own, name)
    if not hasattr(own, "normaliser"):
        own.normaliser = None
    return policy, tuple(inputs)


def _used(policy: nn.Module, inputs: tuple[Tensor, ...]) -> list[str]:
    """Names of the parameters and buffers that the policy's graph reads."""
    with _quiet():
        program = torch.export.export(policy, inputs)
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    return [names[node.name] for node in program.graph.nodes if node.name in names and node.users]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's warnings and log lines about its own exporters."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _require_onnx() -> None:
    for name in ("onnx", "onnxscript"):
        try:
            __import__(name)
        except ImportError as error:
            mend = "pip install 'cql-tutorial[onnx]', or export with format='torch', which needs no other package."
            raise ConfigError("format='onnx'", f"no {name}", f"the package {name}", mend) from error


def _write_onnx(program: Any, path: Path, about: dict[str, Any]) -> None:
    import onnx

    made = torch.onnx.export(program, dynamo=True, input_names=about["inputs"], output_names=["actions"], verbose=False)
    model = made.model_proto  # type: ignore[union-attr]
    onnx.helper.set_model_props(model, {METADATA: json.dumps(about)})
    path.write_bytes(model.SerializeToString())
