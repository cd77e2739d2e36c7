"""The extensions of CQL in the headline tables: tuned on runs of their own, reported at what was chosen there."""

from __future__ import annotations

import json
from dataclasses import replace
from statistics import mean

import pytest

from cql_tutorial.evaluation import t_interval
from experiments import headline, headline_tables
from experiments.headline import EXTENSION_RUNS, EXTENSIONS, Job, extension_of
from experiments.storage import read_rows
from experiments.tables import read_reported


def test_an_algorithm_leads_to_its_agent() -> None:
    of = {
        "bc-25%": "bc", "bc-late-turn": "bc", "sac-decay": "sac", "cql-2": "cql", "cql-fixed": "cql", "iql": "iql",
        "cql-lagrange": "cql-lagrange", "cql-redq": "cql-redq", "cal-ql": "cal-ql", "soft-q": "soft-q",
        "sparse-q-0.3": "sparse-q", "eql-30": "eql",
    }  # fmt: skip
    for algorithm, agent in of.items():
        assert Job("maze", algorithm, 0, 0, "tune", 1).agent == agent
        assert extension_of(algorithm) == (agent if agent in EXTENSIONS else "")


@pytest.mark.parametrize("table", list(EXTENSION_RUNS))
def test_extensions_are_tuned_apart_and_reported_at_what_was_chosen(table: str) -> None:
    rows = [row for row in read_rows(table) if extension_of(row["algorithm"])]
    base = list(headline.TASKS[table].jobs())
    for split, runs in EXTENSION_RUNS[table].items():
        assert {draw for draw, _ in runs} == {job.draw for job in base if job.split == split}  # those of the others
        assert {seed for _, seed in runs} <= {job.seed for job in base if job.split == split}
    assert len(EXTENSION_RUNS[table]["report"]) >= 5
    for name in EXTENSIONS:
        mine = [row for row in rows if extension_of(row["algorithm"]) == name]
        returns: dict[str, list[float]] = {}
        for row in mine:
            if row["split"] == "tune":
                returns.setdefault(row["algorithm"] + row["cql_alpha"], []).append(float(row["return"]))
        assert len(returns) == (3 if name in ("sparse-q", "eql") else 2) and {len(of) for of in returns.values()} == {
            len(EXTENSION_RUNS[table]["tune"])
        }
        reported = [row for row in mine if row["split"] == "report"]
        assert {(int(row["draw"]), int(row["seed"])) for row in reported} == set(EXTENSION_RUNS[table]["report"])
        (chosen,) = {row["algorithm"] + row["cql_alpha"] for row in reported}
        assert mean(returns[chosen]) == max(mean(of) for of in returns.values())
    lines = [line for line in headline_tables.markdown(table) if "(tuned)" in line]
    assert [line.split()[1] for line in lines] == ["cql", *EXTENSIONS]
    short = headline_tables.markdown(table, every_run=False, extensions=False)
    names = [line.split()[1] for line in short if line.startswith("| ")]  # the rule below the heads has no name
    assert "cql" in names and not any(map(extension_of, names))


def test_what_is_said_of_the_extensions() -> None:
    """docs/results.md: each reaches the maze's goal; on Pendulum medium none is told from CQL; two predictions."""
    found: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
    for table in EXTENSION_RUNS:
        frame = read_reported(table)
        names = frame["algorithm"].map(extension_of)
        tuned = (frame["algorithm"] == "cql") & (frame["cql_alpha"] == headline.chosen_alpha(table))
        of = {"cql": frame[tuned]} | {name: frame[names == name] for name in EXTENSIONS}
        found[table] = {}
        for name, mine in of.items():
            by_draw = mine.groupby("draw")[["return", "estimation_error", "success"]].mean()
            assert len(by_draw) >= 4
            found[table][name] = {column: t_interval(by_draw[column].tolist()) for column in by_draw}
    for name in EXTENSIONS:
        assert found["maze"][name]["success"] == (1.0, 0.0)
        mean, half = found["pendulum-medium"][name]["return"]
        other, wide = found["pendulum-medium"]["cql"]["return"]
        assert abs(mean - other) < half + wide
    assert -17 < found["pendulum-medium"]["soft-q"]["estimation_error"][0] < -16
    error, half = found["maze"]["eql"]["estimation_error"]
    assert error == pytest.approx(1.1, abs=0.05) and error > half


@pytest.mark.parametrize("algorithm", ["sparse-q-0.3", "soft-q"])
def test_an_extension_is_measured_as_the_others(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(headline.TASKS, "maze", replace(headline.TASKS["maze"], starts=2))
    job = next(
        job
        for job in headline.extension_jobs("maze", algorithm.removesuffix("-0.3"), "tune")
        if job.algorithm == algorithm
    )
    monkeypatch.setattr(headline, "Evaluator", lambda *given, **named: lambda agent: {"return": 1.0, "true": 2.0})
    (row,) = headline.measure([replace(job, steps=2)])
    assert (row["algorithm"], row["cql_alpha"], row["split"]) == (algorithm, job.cql_alpha, "tune")
    assert (row["return"], row["true"]) == (1.0, 2.0) and 0 <= row["success"] <= 1
    settings = json.loads(row["settings"])
    assert all(settings[name] == value for name, value in job.settings.items()) and settings["steps"] == 2
    assert settings["initial_value"] != 0
