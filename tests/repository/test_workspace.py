"""scripts/workspace.py: what a student has written is never lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import workspace
from tests.pace import limit

CHAPTERS = ("00_start_here.ipynb", "04_the_conservative_penalty.ipynb")


def shipped(name: str) -> str:
    output = {"output_type": "stream", "name": "stdout", "text": ["measured 04.p1: b)"]}
    code = {
        "cell_type": "code",
        "execution_count": 7,
        "id": "b",
        "metadata": {"tags": ["nbval-ignore-output"], "execution": {"iopub.status.busy": "2026-01-01"}},
        "outputs": [output],
        "source": [f"print('{name}: Überschätzung')"],
    }
    text = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Title"]}
    return json.dumps({"cells": [text, code], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def course(tmp_path: Path) -> tuple[Path, Path]:
    notebooks, my_work = tmp_path / "notebooks", tmp_path / "my_work"
    notebooks.mkdir()
    for name in CHAPTERS:
        (notebooks / name).write_text(shipped(name), encoding="utf-8")
    (notebooks / "draft.ipynb").write_bytes(b"not a chapter")
    (tmp_path / "scripts").mkdir()
    shutil.copy(workspace.__file__, tmp_path / "scripts")
    return notebooks, my_work


def run(course: tuple[Path, Path], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(course[0].parent / "scripts" / "workspace.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=limit("program"))


def test_copy_makes_every_chapter_and_nothing_else(course: tuple[Path, Path]) -> None:
    copied, kept = workspace.copy(*course)
    assert (copied, kept) == (list(CHAPTERS), [])
    assert sorted(path.name for path in course[1].iterdir()) == list(CHAPTERS)


def test_a_copy_is_the_shipped_notebook_without_its_outputs(course: tuple[Path, Path]) -> None:
    workspace.copy(*course)
    source, mine = ((folder / CHAPTERS[1]).read_text(encoding="utf-8") for folder in course)
    assert source == shipped(CHAPTERS[1])  # the committed one keeps them
    expected = json.loads(source)
    expected["cells"][1].update(outputs=[], execution_count=None, metadata={"tags": ["nbval-ignore-output"]})
    assert json.loads(mine) == expected and "measured" not in mine and "Überschätzung" in mine


def test_what_is_no_notebook_is_named(course: tuple[Path, Path]) -> None:
    for content in ("{", "[]", '{"cells": [{}]}'):
        (course[0] / CHAPTERS[0]).write_text(content)
        with pytest.raises(workspace.WorkspaceError, match=r"00_start_here\.ipynb is not a notebook"):
            workspace.copy(*course)


@pytest.mark.parametrize("path", [*workspace.chapters().values()], ids=lambda path: path.stem)
def test_no_chapter_arrives_with_an_answer(path: Path) -> None:
    cells = json.loads(workspace.without_outputs(path))["cells"]
    shown = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert [cell["source"] for cell in cells] == [cell["source"] for cell in shown]
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []


def test_copy_never_overwrites(course: tuple[Path, Path]) -> None:
    course[1].mkdir()
    (course[1] / CHAPTERS[0]).write_bytes(b"my answers")
    assert workspace.copy(*course) == ([CHAPTERS[1]], [CHAPTERS[0]])
    assert workspace.copy(*course) == ([], list(CHAPTERS))
    assert (course[1] / CHAPTERS[0]).read_bytes() == b"my answers"


@pytest.mark.parametrize("asked", ["4", "04", "04_the_conservative_penalty.ipynb", " 04 "])
def test_reset_renews_and_keeps_a_backup(course: tuple[Path, Path], asked: str) -> None:
    workspace.copy(*course)
    (course[1] / CHAPTERS[1]).write_bytes(b"my answers")
    mine, backup = workspace.reset(asked, *course)
    assert mine.read_bytes() == workspace.without_outputs(course[0] / CHAPTERS[1])
    assert backup is not None and backup.read_bytes() == b"my answers"


def test_backups_are_numbered_and_all_kept(course: tuple[Path, Path]) -> None:
    for answer in (b"first", b"second", b"third"):
        course[1].mkdir(exist_ok=True)
        (course[1] / CHAPTERS[1]).write_bytes(answer)
        workspace.reset("04", *course)
    backups = sorted(course[1].glob("04_*.backup-*.ipynb"))
    assert [path.read_bytes() for path in backups] == [b"first", b"second", b"third"]


def test_reset_of_an_untouched_or_absent_copy_leaves_no_backup(course: tuple[Path, Path]) -> None:
    assert workspace.reset("04", *course)[1] is None
    assert workspace.reset("04", *course)[1] is None
    shutil.copy(course[0] / CHAPTERS[1], course[1])  # as the course was handed out before: nobody's work either
    mine, backup = workspace.reset("04", *course)
    assert backup is None and "measured" not in mine.read_text(encoding="utf-8")
    assert [path.name for path in course[1].iterdir()] == [CHAPTERS[1]]


def test_a_copy_that_was_only_run_or_saved_again_is_kept(course: tuple[Path, Path]) -> None:
    workspace.copy(*course)
    ran = json.loads((course[1] / CHAPTERS[1]).read_text(encoding="utf-8"))
    ran["cells"][1]["execution_count"] = 1
    (course[1] / CHAPTERS[1]).write_text(json.dumps(ran), encoding="utf-8")
    _, backup = workspace.reset("04", *course)
    assert backup is not None and json.loads(backup.read_text(encoding="utf-8")) == ran


@pytest.mark.parametrize("asked", ["07", "", "penalty", "004", "../04"])
def test_an_unknown_chapter_lists_the_chapters(course: tuple[Path, Path], asked: str) -> None:
    result = run(course, "reset", asked)
    assert result.returncode == 1
    assert "04  the conservative penalty" in result.stderr and "00  start here" in result.stderr
    assert "Traceback" not in result.stderr
    assert not course[1].exists()


def test_the_commands_say_what_they_did(course: tuple[Path, Path]) -> None:
    first, second = run(course, "copy"), run(course, "copy")
    assert [line.split()[0] for line in first.stdout.splitlines()] == ["copied", "copied"]
    assert second.stdout.startswith("kept") and "2 notebook(s)" in second.stdout
    (course[1] / CHAPTERS[1]).write_bytes(b"my answers")
    third = run(course, "reset", "4")
    assert "04_the_conservative_penalty.backup-1.ipynb" in third.stdout and third.returncode == 0
    assert run(course, "nonsense").returncode == 2
    assert run(course, "check-python").returncode == (0 if sys.version_info[:2] >= workspace.OLDEST else 1)


def test_the_jupyter_command_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = workspace.jupyter_command("00.ipynb", browser=True, root=False)
    assert plain[:3] == [sys.executable, "-m", "jupyterlab"] and plain[3].endswith("=/lab/tree/00.ipynb")
    bare = workspace.jupyter_command("00.ipynb", browser=False, root=True, extra="--port 9999 --ip '0.0.0.0'")
    assert bare[len(plain) :] == ["--no-browser", "--allow-root", "--port", "9999", "--ip", "0.0.0.0"]
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not workspace.has_browser()


def test_too_old_a_python_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    with pytest.raises(workspace.WorkspaceError, match=r"3\.9\.2 is too old.*\n.*PYTHON=python3\.11"):
        workspace.check_python()
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    assert "tested on 3.11" in workspace.check_python()


def test_a_missing_venv_module_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(workspace.WorkspaceError, match="apt-get install python3-venv"):
        workspace.check_python()
