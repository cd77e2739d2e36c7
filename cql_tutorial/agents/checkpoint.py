"""Checkpoint files: safetensors with a JSON header, written so that a crash leaves the old file or the new one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError

FORMAT = "cql-tutorial agent 1"


def check_path(path: str | Path) -> Path:
    """The path as one that a file can be written to, its folder made; raises `CheckpointError` before any work."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        mend = "choose another folder, or mend its permissions."
        raise CheckpointError(str(path.parent), f"no folder to write to ({error})", "a folder", mend) from error
    if path.is_dir():
        raise CheckpointError(str(path), "a folder", "the name of a file", "add a file name, as in 'run.safetensors'.")
    return path


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write a file so that at every moment ``path`` is either the old file or the whole new one."""
    from safetensors.torch import save

    path = check_path(path)
    # Clones: safetensors refuses tensors that share memory.
    own = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    content = save(own, {**header, "format": FORMAT})
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary file to write, then renamed to ``path``, whose folder is made; `CheckpointError` if that fails."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        mend = "free some space or choose another folder; an older file of that name is untouched."
        raise CheckpointError(str(path), f"a failed write ({error})", "room and permission", mend) from error


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a file of `write_tensors`; raises `CheckpointError` if it is missing, cut short or something else."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        found = "a folder" if Path(path).is_dir() else "no such file"
        raise CheckpointError(str(path), found, "a checkpoint file", "check the path.")
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
