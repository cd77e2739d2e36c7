"""Checkpoints: what of an agent is kept, and files (safetensors with a JSON header) that a crash cannot spoil."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..files import atomic_write, prepare_output_path
from ..seeding import seeded

if TYPE_CHECKING:
    from .agent import Agent

FORMAT = "cql-tutorial agent 1"
UPDATES = 1  # the purpose of the stream that updates draw from
# Settings in files of 0.1.0 that no longer exist, where their value changed nothing that an agent computes.
DROPPED_SETTINGS: dict[str, tuple[Any, ...]] = {"update_path": ("auto", "readable", "fused"), "pitfall": (None,)}
# Settings that came later, and what their absence from a file means.
ADDED_SETTINGS: dict[str, Any] = {"normalize_observations": False, "reward_scale": 1.0}
ADDED_TO_SAC_AND_CQL: dict[str, Any] = {"target_subset": None, "subset_replacement": False, "actor_reduction": "min"}
ADDED_TO_SAC_AND_CQL |= {"layer_norm": False, "actor_layer_norm": False}


# ---------------------------------------------------------------- an agent as tensors
def agent_tensors(agent: Agent) -> dict[str, Tensor]:
    """Every tensor that an exact continuation needs: networks, targets, optimisers, random generator.

    The keys are those of ``agent.state_dict()`` behind "module." (a network's) or "parameter." (a single number).
    """
    tensors = {f"{'module' if '.' in key else 'parameter'}.{key}": value for key, value in agent.state_dict().items()}
    for name, optimizer in agent.optimizers.items():
        for index, parameter in enumerate(optimizer.param_groups[0]["params"]):
            for key, value in optimizer.state[parameter].items():
                tensors[f"optimizer.{name}.{index}.{key}"] = value
    return tensors | {"generator": agent.generator.get_state()}


def agent_header(agent: Agent) -> dict[str, str]:
    """The JSON part of a checkpoint: kind of agent, settings, kind of device."""
    return {"agent": agent.name, "config": json.dumps(agent.config.to_dict()), "device_type": agent.device.type}


def header_settings(header: Mapping[str, str]) -> dict[str, Any]:
    """The settings of a checkpoint's agent as this version has them: some are gone, some came later."""
    settings = json.loads(header["config"])
    later = ADDED_SETTINGS | (ADDED_TO_SAC_AND_CQL if "temperature_lr" in settings else {})
    settings = later | settings
    return {key: value for key, value in settings.items() if value not in DROPPED_SETTINGS.get(key, ())}


def copy_state(agent: Agent, tensors: Mapping[str, Tensor], header: Mapping[str, str], path: str | Path) -> None:
    """Copy a checkpoint's tensors into ``agent`` in place, after every check, so that nothing is half-loaded.

    On another kind of device the random stream starts afresh: the two kinds of generator have different states.
    Raises `CheckpointError` that names what does not fit.
    """
    mend = "build the agent with the checkpoint's own config, or use the class method load."
    if header["agent"] != agent.name:
        raise CheckpointError(str(path), f"agent {header['agent']!r}", repr(agent.name), "load it with its class.")
    theirs, ours = header_settings(header), header_settings(agent_header(agent))
    for key in ("action_low", "action_high", "dtype", "normalize_observations", "reward_scale"):
        if theirs.get(key) != ours[key]:
            raise CheckpointError(f"{path}: config[{key!r}]", repr(theirs.get(key)), repr(ours[key]), mend)
    own, stored = agent_tensors(agent), {key for key in tensors if not key.startswith(("sum.", "replay."))}
    for key in sorted(stored - own.keys()):
        raise CheckpointError(f"{path}: {key}", "a tensor this agent does not have", "the same settings", mend)
    same_device = header["device_type"] == agent.device.type
    for key, value in own.items():
        found = tensors.get(key)
        if (found is None or found.shape != value.shape) and (key != "generator" or same_device):
            shape = "nothing" if found is None else f"shape {list(found.shape)}"
            raise CheckpointError(f"{path}: {key}", shape, f"shape {list(value.shape)}", mend)
    with torch.no_grad():
        for key, value in own.items():
            if key != "generator":
                value.copy_(tensors[key])
    if agent.normaliser is not None:
        agent.normaliser.forget_what_is_known()
    if same_device:
        agent.generator.set_state(tensors["generator"].cpu())
    else:
        agent.generator = seeded(agent.config.seed, UPDATES, agent.device)


# ---------------------------------------------------------------- files


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write a file so that at every moment ``path`` is either the old file or the whole new one."""
    from safetensors.torch import save

    path = prepare_output_path(path)
    # Clones: safetensors refuses tensors that share memory.
    own = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    content = save(own, {**header, "format": FORMAT})
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a file of `write_tensors`; raises `CheckpointError` if it is missing, cut short or something else."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        inside = sorted(map(str, [*Path(path).glob("*.safetensors"), *Path(path).glob("kept/*.safetensors")]))
        found = "a folder" if Path(path).is_dir() else "no such file"
        mend = f"name one of those in it: {', '.join(inside[:4])}." if inside else "check the path."
        raise CheckpointError(str(path), found, "a checkpoint file", mend)
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        mend = "it was cut short or is of another kind: use another checkpoint."
        raise CheckpointError(str(path), f"an unreadable file ({error})", "a safetensors file", mend) from error
    if header.get("format") != FORMAT or not {"agent", "config", "device_type"} <= set(header):
        mend = "save it with this package's Agent.save."
        raise CheckpointError(str(path), f"format {header.get('format')!r}", repr(FORMAT), mend)
    return tensors, header
