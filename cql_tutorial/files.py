"""Writing files that a crash cannot spoil: everything that this package writes goes through `atomic_write`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import CheckpointError


def prepare_output_path(path: str | Path) -> Path:
    """Return the path of a file to write and make its folder; `CheckpointError` before any work if that cannot be."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        mend = "choose another folder, or mend its permissions."
        raise CheckpointError(str(path.parent), f"no folder to write to ({error})", "a folder", mend) from error
    if path.is_dir():
        raise CheckpointError(str(path), "a folder", "the name of a file", "add a file name, as in 'run.safetensors'.")
    return path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write and rename it to ``path``, whose folder is made; no temporary file remains.

    At every moment ``path`` is either the old file or the whole new one. `CheckpointError` if writing fails.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:  # Ctrl-C included
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        mend = "free some space or choose another folder; an older file of that name is untouched."
        raise CheckpointError(str(path), f"a failed write ({error})", "room and permission", mend) from error
