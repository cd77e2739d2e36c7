"""Files appear whole or not at all, and a place that cannot be written is named before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from cql_tutorial.errors import CheckpointError
from cql_tutorial.files import atomic_write, prepare_output_path


def test_a_file_is_written_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "x.txt"
    for text in ("one", "two"):
        with atomic_write(path) as temporary:
            temporary.write_text(text)
            assert not path.exists() or path.read_text() == "one"
        assert path.read_text() == text and [file.name for file in path.parent.iterdir()] == ["x.txt"]


@pytest.mark.parametrize(
    ("error", "raised"), [(OSError(28, "full"), CheckpointError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_what_interrupts_writing_leaves_the_old_file_and_no_other(
    tmp_path: Path, error: BaseException, raised: type[BaseException]
) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(raised), atomic_write(path) as temporary:
        temporary.write_text("ha")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert prepare_output_path(str(tmp_path / "a" / "b" / "run")) == tmp_path / "a" / "b" / "run"
    assert (tmp_path / "a" / "b").is_dir()
    with pytest.raises(CheckpointError, match=r"found a folder; expected the name of a file"):
        prepare_output_path(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"file: found no folder to write to"):
        prepare_output_path(tmp_path / "file" / "x")
    for bad in (tmp_path / "file" / "x", tmp_path / "a"):
        with pytest.raises(CheckpointError, match="a failed write"), atomic_write(bad) as temporary:
            temporary.write_text("x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "file"]
