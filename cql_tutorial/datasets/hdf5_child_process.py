"""Let a child process read an HDF5 file of unknown origin first: a crash of the library then ends the child alone.

The HDF5 library is written in C. A damaged file can make it crash, hang or ask for all the memory there is, and with it
the process that loads the file. `check_file` starts a child with limits on memory and time that reads everything in the
file, and reports in one error of ours what became of it. The loaders judge what a file that passes means.

This isolates crashes. It is no security boundary: the child has the rights of the process that started it, so a file
that takes over the library can do all that the user can. Open files that may have been made for that in a container.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import DatasetNotFoundError, require, require_data

_BLOCK_BYTES = 2**24


def check_file(path: str | os.PathLike[str], *, max_gigabytes: float = 8.0, seconds: float = 120.0) -> Path:
    """Let a child read an HDF5 file, or all files in the folder of a Minari data set, and return the path.

    Raises ``DataError`` if the child fails, is ended by a signal, is not done within ``seconds``, or meets arrays that
    promise, or need for reading, more than ``max_gigabytes`` (Windows knows no such limit); ``DatasetNotFoundError``.
    """
    for name, value in (("max_gigabytes", max_gigabytes), ("seconds", seconds)):
        require(isinstance(value, (int, float)) and value > 0, name, value, "a number > 0", "leave it out.")
    place = Path(os.path.expanduser(path))
    files = sorted(place.rglob("*.hdf5")) if os.path.isdir(place) else [place] * os.path.isfile(place)
    if not files:
        raise DatasetNotFoundError(f"file {place}", "no HDF5 file", "a file, or a folder with some", "check the path.")
    for file, answer in zip(files, read_in_child_process(files, max_gigabytes, seconds), strict=True):
        expected = f"a file that HDF5 reads within {max_gigabytes:g} GB and {seconds:g} s"
        mend = "get the file again from where it came; raise max_gigabytes= or seconds= if you know that it is whole."
        require_data(not answer, f"file {file}", answer, expected, mend)
    return place


def read_in_child_process(files: Sequence[Path], max_gigabytes: float, seconds: float) -> list[str]:
    """Return "" for each file that a child has read whole, else what went wrong; a new child goes on after a death."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import _child; _child({max_gigabytes})"
    settings: dict[str, Any] = {"env": os.environ | {"OPENBLAS_NUM_THREADS": "1"}, "capture_output": True}
    said: list[str] = []
    while len(said) < len(files):
        command = [sys.executable, "-c", code, *map(str, files[len(said) :])]
        try:
            done = subprocess.run(command, timeout=seconds, check=False, **settings)
            output, status = done.stdout, done.returncode
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            death = signal.Signals(-status).name if status < 0 else f"status {status} ({last})"
        except subprocess.TimeoutExpired as error:
            output, death = error.stdout or b"", f"no answer after {seconds:g} s"
        said += [json.loads(line) for line in output.decode().splitlines()]
        if len(said) < len(files):
            said.append(f"the end of the process that read it: {death}")
    return said


def _child(max_gigabytes: float) -> None:
    import h5py  # before the limit is set: only what the files ask for counts against it

    with suppress(ImportError):
        import resource

        room = int(1e9 * max_gigabytes) + 2**30  # Python and its libraries map about half a gigabyte
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
    for path in sys.argv[1:]:
        try:
            _read_all(h5py, path, 1e9 * max_gigabytes)
            answer = ""
        except Exception as error:
            answer = f"{type(error).__name__}: {error}".replace("\n", " ")
        print(json.dumps(answer), flush=True)


def _read_all(h5py: Any, path: str, most: float) -> None:
    """Read every attribute and every array that the file itself holds, a block of rows at a time."""
    promised, names = 0.0, ["/"]
    with h5py.File(path, "r") as store:
        # The visit only collects names: h5py would replace an exception that is raised in it.
        store.visititems_links(lambda name, link: names.append(name) if isinstance(link, h5py.HardLink) else None)
        for item in map(store.__getitem__, names):
            list(item.attrs.items())
            if isinstance(item, h5py.Dataset) and item.shape is not None and not (item.external or item.is_virtual):
                promised += item.nbytes
                if promised > most:
                    raise MemoryError(f"arrays of {promised / 1e9:,.1f} GB")
                if not item.shape:
                    item[()]
                    continue
                rows = max((item.chunks or (1,))[0], item.shape[0] * _BLOCK_BYTES // (item.nbytes + 1), 1)
                for start in range(0, item.shape[0], rows):
                    item[start : start + rows]
