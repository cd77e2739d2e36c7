"""Hostile and broken HDF5 files: a child reads them first, and whatever becomes of it is one clear error here."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from cql_tutorial.datasets import OfflineDataset, hdf5_child_process
from cql_tutorial.datasets.hdf5_child_process import check_file, read_in_child_process
from cql_tutorial.errors import ConfigError, DataError, DatasetNotFoundError
from tests.datasets.test_loaders import says, table, write_d4rl
from tests.datasets.test_offline_dataset import make
from tests.pace import limit

TEXTS = {"description": "x", "author": "y"}
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")


def test_whole_files_pass(tmp_path: Path) -> None:
    path = write_d4rl(tmp_path / "x.hdf5", table(), compression="gzip")
    assert len(OfflineDataset.from_d4rl_hdf5(check_file(path))) == 260
    folder = make().to_minari("course/tiny-v0", tmp_path, **TEXTS)
    assert len(OfflineDataset.from_minari(check_file(str(folder)))) == 16
    with h5py.File(path, "r+") as store:  # not its business: the loader refuses links and reads no other file
        store["away"] = h5py.ExternalLink("no.hdf5", "/x")
        store["text"] = np.array(["a"] * 3, object)
        store["none"] = h5py.Empty("f4")
        store.create_dataset("no rows", (0, 3), "f4")
        store.attrs["text"] = "x"
    assert check_file(path) == path


def test_bad_arguments(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "no.hdf5"):
        with pytest.raises(DatasetNotFoundError, match="no HDF5 file"):
            check_file(place)
    for name in ("max_gigabytes", "seconds"):
        with pytest.raises(ConfigError, match=f"{name}: found 0"):
            check_file(tmp_path, **{name: 0})


@LINUX
def test_bombs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.hdf5"
    with h5py.File(path, "w") as store:
        store.create_dataset("rewards", (10**12, 10), "f4", chunks=(1, 10))
    with pytest.raises(DataError) as caught:
        check_file(path)
    says(caught, ["x.hdf5", "MemoryError", "40,000.0 GB", "within 8 GB and 120 s", "get the file again"])
    with h5py.File(path, "w") as store:  # promises 40 bytes; to read them HDF5 makes room for a whole chunk
        store.create_dataset("rewards", (10,), "f4", maxshape=(None,), chunks=(10**9,), compression="gzip")
        identifier = store["rewards"].id
        identifier.write_direct_chunk((0,), b"x" * 100)
    with pytest.raises(DataError) as caught:
        check_file(path, max_gigabytes=1)
    says(caught, ["x.hdf5", "within 1 GB"])


@LINUX
def test_the_end_of_a_child_is_told_of_the_file_it_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [write_d4rl(tmp_path / f"{i}.hdf5", table((3,), "X")) for i in range(3)]
    assert read_in_child_process(files, 1.0, 60.0) == ["", "", ""]
    child = tmp_path / "python"
    child.write_text("#!/bin/sh\nshift 2\necho '\"\"'\n[ $# -eq 1 ] || kill -SEGV $$\n")
    child.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(child))
    assert read_in_child_process(files, 1.0, 60.0) == ["", "the end of the process that read it: SIGSEGV", ""]
    monkeypatch.setattr(
        hdf5_child_process, "read_in_child_process", lambda files, *_: ["the end of the process that read it: SIGSEGV"]
    )
    with pytest.raises(DataError) as caught:
        check_file(files[0])
    says(caught, ["0.hdf5", "SIGSEGV", "a file that HDF5 reads"])
    monkeypatch.undo()
    monkeypatch.setattr(sys, "executable", str(child))
    child.write_text("#!/bin/sh\nexec sleep 1000000\n")
    with pytest.raises(DataError, match=r"0\.hdf5: found .* no answer after 0\.3 s"):
        check_file(files[0], seconds=0.3)
    child.write_text("#!/bin/sh\necho one >&2\necho no h5py here >&2\nexit 3\n")
    with pytest.raises(DataError, match=r"status 3 \(no h5py here\)"):
        check_file(files[0])


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, overwritten, spliced from elsewhere or cut off."""
    result = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        what, at = rng.randrange(4), rng.randrange(len(result))
        if what == 0:
            result[at] = rng.randrange(256)
        elif what == 1:
            result[at] ^= 1 << rng.randrange(8)
        elif what == 2:
            result[at : at + 8] = bytes([rng.choice([0, 127, 128, 255])]) * 8
        else:
            source, length = rng.randrange(len(result)), rng.randrange(1, 64)
            result[at : at + length] = result[source : source + length]
    if rng.random() < 0.1:
        del result[rng.randrange(len(result)) :]
    return bytes(result)


LOAD = """
import resource, sys, warnings
warnings.simplefilter("ignore")
from cql_tutorial.datasets import OfflineDataset
from cql_tutorial.errors import CQLTutorialError
resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
for path in sys.argv[1:]:
    try:
        (OfflineDataset.from_minari if path.endswith("main_data.hdf5") else OfflineDataset.from_d4rl_hdf5)(path)
        print("loaded")
    except CQLTutorialError as error:
        print("refused" if "\\n" not in str(error) else f"two lines: {error}")
"""


@LINUX
def test_mutated_bytes(tmp_path: Path) -> None:
    """200 files: each is refused by the child, or loaded, or refused by the loader; nothing else."""
    rng = random.Random(3)  # none of these makes HDF5 loop for ever: such a file would cost its limit
    columns = table((3, 5, 4), "TXU")
    folder = make((3, 5, 4), "TXU").to_minari("course/tiny-v0", tmp_path, **TEXTS)
    sources = [write_d4rl(tmp_path / "plain.hdf5", columns), folder / "data/main_data.hdf5"]
    sources.append(write_d4rl(tmp_path / "filters.hdf5", columns, compression="gzip", shuffle=True, fletcher32=True))
    files = []
    for number in range(200):
        source = sources[number % 3]
        place = tmp_path / f"{number}/data"
        place.mkdir(parents=True)
        files.append(place / ("main_data.hdf5" if source.parent.name == "data" else "x.hdf5"))
        files[-1].write_bytes(mutated(source.read_bytes(), rng))
        (place / "metadata.json").write_bytes((folder / "data/metadata.json").read_bytes())
    said = read_in_child_process(files, 1.0, limit("page"))
    assert all("\n" not in answer for answer in said) and 50 < said.count("") < 150
    refused = next(file for file, answer in zip(files, said, strict=True) if answer)
    with pytest.raises(DataError) as caught:
        check_file(refused)
    says(caught, [str(refused), "a file that HDF5 reads"])
    passed = [str(file) for file, answer in zip(files, said, strict=True) if not answer]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *passed], capture_output=True, text=True, timeout=limit("program")
    )
    outcomes = done.stdout.splitlines()
    assert len(outcomes) == len(passed) and set(outcomes) <= {"loaded", "refused"}, done.stderr[-2000:]
