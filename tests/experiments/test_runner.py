"""The one way that a result table is measured: what is there is kept, what is missing is measured and written."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from experiments.__main__ import STUDIES
from experiments.headline import without_extensions
from experiments.headline_tables import AGAIN
from experiments.runner import Study, group_jobs, run
from experiments.storage import RESULTS, Row, read_rows, write_rows
from tests import ROOT
from tests.pace import limit


@dataclass(frozen=True)
class Job:
    name: str
    alpha: float


measured: list[list[Job]] = []


def jobs() -> Iterator[Job]:
    for name in "abc":
        for alpha in (0.5, 20.0):
            yield Job(name, alpha)


def measure(group: list[Job]) -> list[dict[str, Any]]:
    measured.append(group)
    return [
        {"name": job.name, "alpha": job.alpha, "part": part, "return": 1e-9 + job.alpha / 3}
        for job in group
        for part in range(2)
    ]


def measure_slowly(group: list[Job]) -> list[dict[str, Any]]:
    time.sleep(0.5)
    return measure(group)


STUDY = Study(
    table="small",
    columns=("name", "alpha", "part", "return", "note"),
    keys=("name", "alpha"),
    jobs=jobs,
    measure=measure,
)


@pytest.fixture(autouse=True)
def _nothing_measured() -> None:
    measured.clear()


def test_what_is_missing_is_measured_and_what_is_there_is_not(tmp_path: Path) -> None:
    assert run(STUDY, 1, folder=tmp_path) == (12, True)
    first = (tmp_path / "small.csv").read_text()
    assert first.splitlines()[:3] == ["name,alpha,part,return,note", "a,0.5,0,0.166667,", "a,0.5,1,0.166667,"]
    assert run(STUDY, 1, folder=tmp_path) == (0, True) and len(measured) == 6
    rows = [row for row in read_rows("small", tmp_path) if (row["name"], row["alpha"]) != ("b", "20")]
    write_rows("small", STUDY.columns, rows, tmp_path)
    assert run(STUDY, 1, folder=tmp_path) == (2, True) and measured[6:] == [[Job("b", 20.0)]]
    assert (tmp_path / "small.csv").read_text() == first  # in its place, not at the end


def test_an_interrupted_table_keeps_its_rows_and_goes_on(tmp_path: Path) -> None:
    def interrupt(group: list[Job]) -> list[dict[str, Any]]:
        if len(measured) == 3:
            raise KeyboardInterrupt
        return measure(group)

    with pytest.raises(KeyboardInterrupt):
        run(replace(STUDY, measure=interrupt), 1, folder=tmp_path)
    assert len(read_rows("small", tmp_path)) == 6
    assert run(STUDY, 1, folder=tmp_path) == (6, True)
    assert [job for group in measured for job in group] == list(jobs())  # each once


def test_no_run_is_begun_after_the_deadline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(STUDY, 1, deadline=time.monotonic(), folder=tmp_path) == (0, False)
    assert "time is up; run again" in capsys.readouterr().out and not measured


def test_later_stages_read_the_rows_of_those_before(tmp_path: Path) -> None:
    seen: list[list[Row]] = []

    def later(rows: list[Row]) -> Iterator[Job]:
        seen.append(rows)
        best = max(rows, key=lambda row: float(row["return"]))
        yield Job("d", 2 * float(best["alpha"]))

    study = replace(STUDY, later_jobs=(later,))
    assert run(study, 1, folder=tmp_path) == (14, True)
    assert measured[-1] == [Job("d", 40.0)] and {type(value) for value in seen[0][0].values()} == {str}
    assert run(study, 1, folder=tmp_path) == (0, True)  # rows read from the file tell the same jobs


def test_rows_of_no_run_any_more_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(STUDY, 1, folder=tmp_path)
    fewer = replace(STUDY, jobs=lambda: (job for job in jobs() if job.alpha < 1))
    assert run(fewer, 1, folder=tmp_path) == (0, True)
    assert {row["alpha"] for row in read_rows("small", tmp_path)} == {"0.5"}
    assert "6 rows are of no run any more" in capsys.readouterr().out


@pytest.mark.parametrize("table", ["pitfalls", "ope"])
def test_rows_of_a_task_that_is_gone_come_last(table: str) -> None:
    study, rows = STUDIES[table], read_rows(table)[::100]
    strange = rows[0] | {"task": "gone", "split": "report"}
    assert study.sort_rows([strange, *rows], []) == [*rows, strange]


def test_jobs_of_one_key_are_measured_together(tmp_path: Path) -> None:
    def keys(most: int) -> list[str]:
        groups = group_jobs(jobs(), lambda job: None if job.name == "a" else job.alpha, most)
        return ["".join(f"{job.name}{job.alpha:g} " for job in group).strip() for group in groups]

    assert keys(16) == ["a0.5", "a20", "b0.5 c0.5", "b20 c20"]
    assert keys(1) == ["a0.5", "a20", "b0.5", "b20", "c0.5", "c20"]
    run(replace(STUDY, population_key=lambda job: job.alpha), 1, folder=tmp_path)
    assert [len(group) for group in measured] == [3, 3]
    assert [row["name"] for row in read_rows("small", tmp_path)] == [*"aaaabbbbcccc"]  # in the order of the jobs


@pytest.mark.slow
def test_a_killed_program_resumes(tmp_path: Path) -> None:
    """Two processes, killed with their parent as soon as one row is on the disk."""
    code = f"""
from dataclasses import replace
from pathlib import Path
from experiments.runner import run
from tests.experiments.test_runner import STUDY, measure_slowly
if __name__ == "__main__":
    print(run(replace(STUDY, measure=measure_slowly), 2, folder=Path({str(tmp_path)!r})))
"""
    script = tmp_path / "measure.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = subprocess.Popen([sys.executable, str(script)], env=environment, start_new_session=True)
    until = time.monotonic() + limit("program")
    while not (tmp_path / "small.csv").exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(program.pid, signal.SIGKILL)
    program.wait()
    there = len(read_rows("small", tmp_path)) // 2
    assert 1 <= there < 6
    assert run(STUDY, 1, folder=tmp_path) == (12 - 2 * there, True) and len(measured) == 6 - there


UNFINISHED = {"alpha", "mujoco", "mujoco-episodes"}  # hours are missing; their sheets say how many runs are


@pytest.mark.parametrize("table", [*STUDIES, "maze" + AGAIN, "pendulum-medium" + AGAIN])
def test_committed_tables_are_complete_and_written_again_byte_for_byte(table: str, tmp_path: Path) -> None:
    study, rows = STUDIES.get(table) or without_extensions(table.removesuffix(AGAIN)), read_rows(table)
    jobs = study.all_jobs(rows)
    there, wanted = {study.key_of_row(row) for row in rows}, {study.key_of_job(job) for job in jobs}
    assert there == wanted or (table in UNFINISHED and there < wanted)
    blocks: dict[Any, list[Row]] = {}
    for row in rows:  # the rows of a job stay together, as `measure` gives them
        blocks.setdefault(study.key_of_row(row), []).append(row)
    shuffled = random.Random(0).sample(list(blocks.values()), len(blocks))
    in_order = study.sort_rows([row for block in shuffled for row in block], jobs)
    write_rows(table, study.columns, in_order, tmp_path)
    assert (tmp_path / f"{table}.csv").read_bytes() == (RESULTS / f"{table}.csv").read_bytes()
