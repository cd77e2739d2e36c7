"""The doctor: tells the truth about this machine, and still speaks when half of it is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cql_tutorial.cli import doctor as room
from cql_tutorial.datasets import files
from tests import ROOT
from tests.conftest import HIDE_PACKAGES
from tests.pace import limit

HIDE = f"""
import sys
from importlib import metadata
hidden = set(sys.argv.pop(1).split(","))
{HIDE_PACKAGES}
known = metadata.version
def version(name):
    if name.lower() in hidden:
        raise metadata.PackageNotFoundError(name)
    return known(name)
metadata.version = version
from cql_tutorial.cli.doctor import main
sys.exit(main())
"""


def run(hidden: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HIDE, hidden]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=limit("program"))


def line(text: str, subject: str) -> str:
    return next(row for row in text.splitlines() if row[9:].startswith(subject))


def test_a_good_machine_is_ready_and_really_trained() -> None:
    report = room.doctor()
    assert report.ok, str(report)
    training = next(finding for finding in report.findings if finding.subject == "training, cpu")
    assert "10 updates of CQL" in training.found and float(training.found.split(", ")[1].split()[0]) > 0
    assert {"torch", "numpy", "gymnasium", "minari", "jupyterlab"} <= {finding.subject for finding in report.findings}
    assert str(report).splitlines()[-1].startswith("This machine is ready: 0 problem(s)")


@pytest.mark.slow
def test_the_command_says_so_and_ends_in_zero() -> None:
    result = run("nothing")
    assert result.returncode == 0 and "This machine is ready" in result.stdout, result.stdout + result.stderr
    assert (
        str(ROOT) not in result.stdout and str(Path.home()) + "/" not in result.stdout
    )  # chapter 00 commits this text


def test_without_torch_it_still_speaks() -> None:
    result = run("torch")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert line(result.stdout, "torch").startswith("problem  torch") and "-> pip install 'torch" in result.stdout
    assert "not ready" in result.stdout.splitlines()[-1]


@pytest.mark.slow
def test_without_the_course_packages_the_agents_are_still_fine() -> None:
    result = run("jupyterlab,ipywidgets,matplotlib")
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("jupyterlab", "ipywidgets", "matplotlib"):
        assert line(result.stdout, name).startswith("warning") and "for the notebooks" in line(result.stdout, name)


@pytest.mark.slow
def test_without_minari_there_is_a_problem_and_a_remedy() -> None:
    result = run("minari")
    assert result.returncode == 1
    assert line(result.stdout, "minari").startswith("problem") and "pip install 'minari>=0.5.3'" in result.stdout


@pytest.mark.slow
def test_a_package_that_another_imports_and_does_not_declare_is_named() -> None:
    result = run("PIL")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert line(result.stdout, "pillow  ").startswith("problem  pillow") or "PIL is missing" in result.stdout
    assert "-> pip install pillow" in result.stdout and "not ready" in result.stdout.splitlines()[-1]


def test_without_the_means_to_compare_versions_the_rest_is_still_looked_at() -> None:
    result = run("packaging,torch")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert line(result.stdout, "packaging").startswith("problem") and "No module named 'torch'" in result.stdout


def test_versions_are_held_against_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["torch<3,>=2.11", 'matplotlib>=99; extra == "course"', 'pytest>=99; extra == "dev"', "numpy[x]>=99"]
    wanted += ['scipy>=99; python_version < "3"', "tqdm<99,>=4"]
    monkeypatch.setattr(room.metadata, "requires", lambda name: wanted)
    found = {finding.subject: finding for finding in room._packages()}
    assert {name: finding.status for name, finding in found.items()} == {
        "torch": "ok",
        "matplotlib": "warning",
        "numpy": "problem",
        "tqdm": "ok",
        "icu-sepsis": "ok",
    }
    assert "wanted >=99" in found["numpy"].found and found["numpy"].mend == "pip install 'numpy>=99'"
    for version, status in (("2.13.0+cpu", "ok"), ("2.12.0rc1", "ok"), ("2.10.1", "problem"), ("3.0", "problem")):
        monkeypatch.setattr(room.metadata, "version", lambda name, version=version: version)
        assert next(iter(room._packages())).status == status, version


def test_a_project_that_is_not_installed_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise room.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(room.metadata, "requires", absent)
    finding, _ = room._packages()
    assert finding.status == "warning" and "pip install -e ." in finding.mend


def test_the_tables_of_two_chapters_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "FILES_ONLY", {"icu-sepsis": "9.9", "no-such-package": "1.0"})
    old, absent = list(room._packages())[-2:]
    assert old.status == absent.status == "warning" and "wanted ==9.9 (for chapters 01 and 05)" in old.found
    assert absent.mend == "pip install --no-deps 'no-such-package==1.0'"


def test_data_sets_are_counted_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "__file__", str(tmp_path / "checkout" / "cql_tutorial" / "datasets" / "files.py"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "nobody")
    monkeypatch.chdir(tmp_path)
    (nothing,) = room._data()
    assert nothing.status == "warning" and "make data" in nothing.mend
    for name in ("cql/maze/stitch-v0", "cql/pendulum/medium-v0"):
        (tmp_path / "elsewhere" / name / "data").mkdir(parents=True)
        (tmp_path / "elsewhere" / name / "data" / "main_data.hdf5").touch()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "elsewhere"))
    (found,) = room._data()
    assert found.status == "ok"
    assert found.found == "2: cql/maze/stitch-v0, cql/pendulum/medium-v0"


def test_a_loss_that_is_not_finite_and_a_crash_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_ten_updates", lambda device: (0.01, False))
    assert next(room._training()).status == "problem"
    monkeypatch.setattr(room, "_ten_updates", lambda device: (1.0, True))
    assert next(room._training()).status == "warning"

    def crash(device: str) -> tuple[float, bool]:
        raise RuntimeError("illegal instruction")

    monkeypatch.setattr(room, "_ten_updates", crash)
    report = room.doctor()
    assert not report.ok and "RuntimeError: illegal instruction" in str(report)
