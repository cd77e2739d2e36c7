"""The table mujoco: its runs, one small run of each kind on a stand-in that needs no MuJoCo, and what is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cql_tutorial import load_dataset, make_agent
from cql_tutorial.evaluation import benchmark_presets as presets
from cql_tutorial.evaluation.mujoco_values import SimulatedValues
from cql_tutorial.training.offline import History
from experiments import mujoco, mujoco_tables
from experiments.mujoco import Job
from experiments.runner import group_jobs


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pendulum in the place of Hopper: its logs, its simulator, small networks and few updates."""
    logs = ("pendulum/medium-10k-v0", "pendulum/medium-10k-draw1-v0")

    def small(preset: str, task: Any, algorithm: str) -> Any:
        setting = presets.preset_setting(preset, task, algorithm)
        return replace(setting, batch_size=8, episodes=1, settings={**setting.settings, "hidden_dim": 8})

    monkeypatch.setattr(mujoco, "find_task", lambda suite, name: presets.find_task("pendulum", "pendulum-medium"))
    monkeypatch.setattr(mujoco, "own_data", lambda name, quality: logs)
    monkeypatch.setattr(mujoco, "preset_setting", small)
    monkeypatch.setattr(mujoco, "CACHE", tmp_path)
    for name, value in {"STEPS": 20, "LONG_STEPS": 40, "LONG_EVERY": 10}.items():
        monkeypatch.setattr(mujoco, name, value)


def test_the_runs() -> None:
    jobs = list(mujoco.jobs())
    assert len({mujoco.STUDY.key_of_job(job) for job in jobs}) == len(jobs) == 3 * 5 * 6 + 3 + 5 * 3 + 3 * 3 * 6
    main = [job for job in jobs if job.discount == 0.99 and job.steps == 30_000 and job.algorithm in mujoco.ALGORITHMS]
    assert len(main) == 90 and {(job.draw, job.seed) for job in main} == {(d, s) for d in (0, 1) for s in (0, 1, 2)}
    groups = group_jobs(jobs, mujoco.population_key, mujoco.STUDY.group_size)
    assert {len(group) for group in groups if group[0].algorithm in ("sac", "cql") and group[0].steps == 30_000} == {6}
    assert all(len(group) == 1 for group in groups if group[0].algorithm in ("bc", "10%bc", "iql", "cql-layer-norm"))


def test_the_settings_are_those_that_the_page_names(stand_in: None) -> None:
    for algorithm in (*mujoco.ALGORITHMS, *mujoco.VARIANTS):
        run = mujoco.run_of(Job("hopper-medium-expert", algorithm, 0.99, 1, 2))
        assert run.data == "pendulum/medium-10k-draw1-v0" and run.seed == 2
        assert run.fingerprint == load_dataset(run.data).fingerprint()
    assert mujoco.VARIANTS["cql-lagrange"]["cql_target_action_gap"] == pytest.approx(-0.481, abs=1e-3)
    assert mujoco.run_of(Job("x", "cql-redq", 0.99, 0, 0)).setting.settings["n_critics"] == 10
    settled = mujoco.run_of(Job("x", "iql", 0.95, 0, 0)).setting.settings
    assert (settled["discount"], settled["tau"]) == (0.95, 0.02)
    names = {mujoco.run_of(job).name for job in mujoco.jobs() if job.task == "hopper-medium-expert"}
    assert len(names) == 5 * 6 + 1 + 5 * 3 + 3 * 6, "two runs would share a checkpoint"


def test_a_small_run_of_each_kind(stand_in: None, monkeypatch: pytest.MonkeyPatch) -> None:
    main = Job("hopper-medium-expert", "cql", 0.99, 0, 0, steps=20)
    rows = mujoco.measure([main, replace(main, draw=1, seed=1)])
    assert [(row["draw"], row["seed"], row["step"]) for row in rows] == [(0, 0, 20), (1, 1, 20)]
    log = load_dataset("pendulum/medium-10k-v0")
    assert rows[0]["log_score"] == pytest.approx(100 * (float(log.episode_returns().mean()) + 1236.7) / 1081.3)
    assert rows[0]["score"] == pytest.approx(100 * (rows[0]["return"] + 1236.7) / 1081.3) and "true" not in rows[0]
    assert json.loads(rows[0]["settings"])["trained_with"] == 1 and rows[0]["q_value"]
    assert mujoco.measure([main])[0]["return"] == rows[0]["return"]  # read from its checkpoint, not trained again
    long = mujoco.measure([replace(main, steps=40)])
    assert [row["step"] for row in long] == [10, 20, 30, 40] and len({row["score"] for row in long}) == 4
    compared: list[tuple[str, float]] = []
    monkeypatch.setattr(mujoco, "compare", lambda agent, *where: compared.append(where) or {"true": 1.0})
    for algorithm in ("iql", "bc", "cql-redq", "cql-layer-norm"):
        job = replace(main, algorithm=algorithm, discount=0.95 if algorithm == "iql" else 0.99)
        (row,) = mujoco.measure([job])
        assert row["algorithm"] == algorithm and ("true" in row) == (algorithm == "iql")
        assert set(row) <= set(mujoco.COLUMNS)
    assert compared == [("pendulum/medium-10k-v0", 0.95)]


def test_drift_is_the_change_of_the_last_fifth() -> None:
    history = History([{"step": step, "q_value": float(step)} for step in range(1000, 11_000, 1000)])
    assert mujoco.q_on_data(history, 10_000) == {"q_value": 10_000.0, "q_drift": 2000.0}
    assert mujoco.q_on_data(history, 1000) == {"q_value": 1000.0} and mujoco.q_on_data(history, 500) == {}
    assert mujoco.q_on_data(History([{"step": 1, "policy_loss": 0.0}]), 1) == {}


def test_the_quoted_table_mixes_versions_as_the_note_says() -> None:
    _, iql = presets.PUBLISHED_SCORES
    same = {
        (task, algorithm): abs(value - iql.scores[task][algorithm]) < 0.11
        for task, values in mujoco_tables.QUOTED.items()
        for algorithm, value in values.items()
    }
    wrong = [key for key, good in same.items() if not good]
    assert wrong == [("hopper-medium-expert", "cql"), ("walker2d-medium-replay", "bc")] and len(same) == 9
    text = " ".join(mujoco_tables.MIXED_UP)
    assert iql.scores["hopper-medium-expert"]["cql"] == 105.4 and "105.4" in text
    assert iql.scores["walker2d-medium-replay"]["bc"] == 26.0 and "26.0" in text


def test_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    for job in mujoco.jobs():
        steps = range(10_000, job.steps + 1, 10_000) if job.steps > mujoco.STEPS else (job.steps,)
        for step in steps:
            score = 10.0 * job.draw + job.seed + mujoco.TASKS.index(job.task)
            row = {name: getattr(job, name) for name in mujoco.KEYS} | {"split": "report", "step": step}
            row |= {"score": score, "log_score": 33.0 + job.draw, "q_value": 300.0, "q_drift": -2.0}
            if job.settled:
                row |= {"predicted": 12.0, "true": 10.0 - job.seed, "true_half_width": 0.5}
                row["estimation_error"] = 2.0 + job.seed
            rows.append(row)
    frame = pd.DataFrame(rows)
    monkeypatch.setattr(mujoco_tables, "read_reported", lambda table: frame)
    lines = mujoco_tables.sheet()
    text = "\n".join(lines)
    row = next(line for line in lines if line.startswith("| hopper-medium-expert") and "CQL (alpha 5)" in line)
    assert (
        "| 33.0 / 34.0 | CQL (alpha 5) | 7.0 ± 5.8 | 2.0 / 12.0 | 1.0 2.0 3.0 11.0 12.0 13.0 | *99.3* | *105.4* |"
        in row
    )
    assert "100,000 updates" in text and "| 10k | 20k |" in text and "cql-redq" in text
    assert "+3.0 ± 0.9 | +2.0 +3.0 +4.0 +2.0 +3.0 +4.0 | -2.0 |" in text and "not comparable" in text
    assert not [line for line in lines if len(line) > 120 and not line.startswith("|")]
    short = mujoco_tables.quoted_rows()
    assert f"| {mujoco.VARIED} | 7.0 ± 5.8 | 7.0 ± 5.8 | 7.0 ± 5.8 | *52.5* | *91.5* | *105.4* |" in short
    assert mujoco_tables.MIXED_UP[0] in short and mujoco_tables.MIXED_UP[0] not in mujoco_tables.quoted_rows(False)
    few = frame[(frame["task"] == mujoco.TASKS[0]) & (frame["discount"] == 0.99) & (frame["steps"] == mujoco.STEPS)]
    monkeypatch.setattr(mujoco_tables, "read_reported", lambda table: few)
    one = frame[(frame["draw"] == 0) & (frame["seed"] == 0)]
    monkeypatch.setattr(mujoco_tables, "read_reported", lambda table: one)
    assert "nan" not in "\n".join(mujoco_tables.sheet())
    monkeypatch.setattr(mujoco_tables, "read_reported", lambda table: few)
    assert mujoco_tables.quoted_rows() == []
    assert (
        "**Not complete: 30 of 162 runs are measured.**" in "\n".join(mujoco_tables.sheet())
        and "Not complete" not in text
    )
    assert "### " not in "\n".join(mujoco_tables.sheet()).replace("## mujoco", "", 1)  # a table not there is not shown


def test_q_beside_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a simulator of one's own: the numbers are means over the states, and the half width adds up."""
    states = {"observations": np.ones((5, 11), np.float32), "qpos": np.ones((5, 6)), "qvel": np.ones((5, 6))}
    seen: dict[str, Any] = {}

    def simulated(task: str, policy: Any, qpos: Any, qvel: Any, actions: Any, discount: float, **more: Any) -> Any:
        seen.update(more, task=task, actions=actions, discount=discount)
        values = torch.arange(5, dtype=torch.float64)
        return SimulatedValues(values, torch.full((5,), 2.0).double(), 1, 0.0, -values, values)

    monkeypatch.setattr(mujoco, "true_q_mujoco", simulated)
    monkeypatch.setattr(mujoco.mujoco_data, "evaluation_states", lambda id: states)
    agent: Any = make_agent("cql", {"state_dim": 11, "action_dim": 3, "hidden_dim": 4, "device": "cpu"})
    found = mujoco.compare(agent, "mujoco/hopper-medium-expert-1-v0", 0.95)
    q = agent.q_values(states["observations"], seen["actions"]).amin(0).double().mean()
    assert found["predicted"] == pytest.approx(float(q)) and found["true"] == 2.0
    assert found["estimation_error"] == pytest.approx(float(q) - 2.0) and found["cut_high"] == 2.0
    assert found["true_half_width"] == pytest.approx(2.0 / 5**0.5)
    assert (seen["task"], seen["discount"], seen["rollouts"]) == ("hopper", 0.95, 4)
