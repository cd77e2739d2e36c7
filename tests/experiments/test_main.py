"""`python -m experiments`: every name is listed, says what it takes, and leads to its own tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments import __main__ as experiments
from experiments import headline, report
from experiments.runner import Progress


def test_every_name_is_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        experiments.main(["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and "python -m experiments" in shown
    for name, (text, _) in experiments.NAMES.items():
        assert f"    {name}" in shown and text in shown


@pytest.mark.parametrize("name", list(experiments.NAMES))
def test_every_name_has_its_own_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        experiments.main([name, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and f"python -m experiments {name}" in shown
    tables = experiments.NAMES[name][1]
    assert ("--only" in shown) == (name in ("make_datasets", "mujoco_data"))
    assert ("--take" in shown) == (name == "mujoco_data") and ("--folder" in shown) == bool(tables)
    assert ("--minutes" in shown) == ("--processes" in shown) == (bool(tables) or name == "mujoco_data")
    assert ("--table" in shown) == (len(tables) > 1) and ("--again" in shown) == (name in ("results", "headline"))


def test_a_name_leads_to_its_own_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[str] = []

    def run(study: Any, processes: int, deadline: float, folder: Path) -> Progress:
        ran.append(study.table)
        return Progress(0, study.table != "pendulum-swinging")

    monkeypatch.setattr(experiments, "run", run)
    monkeypatch.setattr(experiments.signature, "draw", lambda folder: ran.append("picture"))
    written: list[bool] = []
    monkeypatch.setattr(report, "write_report", lambda measured=False: written.append(measured))
    for name, tables in (
        ("sepsis", ["sepsis"]),
        ("wrong_penalties", ["pitfalls"]),
        ("over_estimation", ["pitfalls-causes"]),
        ("own_alpha", ["pitfalls-own"]),
        ("off_policy", ["ope"]),
        ("calibration", ["calibration", "calibration-versions"]),
        ("ensembles", ["ensembles-online", "ensembles-offline"]),
        ("soft_q", ["soft-modes", "soft-maze"]),
        ("sparse_q", ["sparse-mixed"]),
        ("mujoco", ["mujoco"]),
        ("mujoco_episodes", ["mujoco-episodes"]),
        ("bugs", ["bugs", "bug-tests"]),
        ("run_doctor", ["run-doctor"]),
    ):
        ran.clear()
        assert experiments.main([name]) == 0 and ran == tables
    assert experiments.main(["signature", "--folder", str(tmp_path)]) == 0 and ran[-2:] == ["signature", "picture"]
    assert written == [False] * 13  # none for another folder
    ran.clear()
    assert experiments.main(["headline", "--table", "maze", "--again"]) == 0 and ran == ["maze-again"]
    ran.clear()
    assert experiments.main(["results"]) == 3  # time was up in the third
    assert ran == ["maze", "pendulum-medium", "pendulum-swinging"]
    assert experiments.main(["report"]) == 0 and written[-1] is False
    with pytest.raises(SystemExit):
        experiments.main(["results", "--table", "sepsis", "--again"])
    pitfalls = {"pitfalls", "pitfalls-causes", "pitfalls-own"}
    extensions = {"calibration", "calibration-versions", "ensembles-online", "ensembles-offline"}
    extensions |= {"soft-modes", "soft-maze", "sparse-mixed", "mujoco", "mujoco-episodes", "alpha", "bugs", "bug-tests"}
    extensions |= {"run-doctor"}
    assert set(experiments.NAMES["results"][1]) == {
        *headline.TASKS,
        "sepsis",
        *pitfalls,
        "ope",
        *extensions,
        "signature",
    }


@pytest.mark.slow
def test_a_report_without_measuring_keeps_the_date() -> None:
    line = report.describe_origin(measured=False)
    assert line == report.SHEET.read_text(encoding="utf-8").splitlines()[3] and line.startswith("cql-tutorial ")
    assert "\n".join(report.sheet(line)) + "\n" == report.SHEET.read_text(encoding="utf-8")
