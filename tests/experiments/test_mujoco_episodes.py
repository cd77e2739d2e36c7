"""The table mujoco-episodes and the film strips: which policies, what a row holds, what is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cql_tutorial.errors import DataError
from cql_tutorial.evaluation.reference_scores import d4rl_score
from experiments import mujoco_episodes, mujoco_episodes_tables, mujoco_frames, mujoco_training
from experiments.mujoco_data import draws, policy_path
from experiments.storage import read_rows

ROWS = read_rows(mujoco_episodes.STUDY.table)


def test_every_policy_has_all_its_episodes() -> None:
    jobs = list(mujoco_episodes.jobs())
    assert len({mujoco_episodes.STUDY.key_of_job(job) for job in jobs}) == len(jobs)
    count = {mujoco_episodes.STUDY.key_of_row(row): 0 for row in ROWS}
    for row in ROWS:
        count[mujoco_episodes.STUDY.key_of_row(row)] += 1
    for job in jobs:
        wanted = mujoco_episodes.FEW if job.policy == "checkpoint" else mujoco_episodes.MANY
        found = count.get(mujoco_episodes.STUDY.key_of_job(job))
        assert found in (wanted, None), job  # None: a policy that came later, python -m experiments mujoco_episodes
    chosen = draws(read_rows(mujoco_training.STUDY.table))
    for row in ROWS:
        if row["policy"] != "checkpoint":
            assert int(row["step"]) == chosen[row["task"], int(row["draw"])][row["policy"]]
            assert policy_path(row["task"], row["policy"], int(row["draw"])).is_file()


def test_fresh_start_states_are_those_of_no_selection() -> None:
    selected = {mujoco_training.EVALUATION_SEED + number for number in range(mujoco_training.EPISODES)}
    assert not selected & {mujoco_episodes.FRESH + number for number in range(mujoco_episodes.MANY)}


def test_a_checkpoint_that_is_not_here_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mujoco_training, "CACHE", tmp_path)
    job = next(job for job in mujoco_episodes.jobs() if job.policy == "checkpoint")
    with pytest.raises(DataError, match="mujoco_data trains again"):
        mujoco_episodes.measure([job])


def test_a_shipped_policy_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mujoco")
    monkeypatch.setattr(mujoco_episodes, "COPIES", 2)
    monkeypatch.setattr(mujoco_episodes, "MANY", 2)
    jobs = [job for job in mujoco_episodes.jobs() if (job.policy, job.mode) == ("medium", "stochastic")]
    rows = mujoco_episodes.measure(jobs[:1])
    assert [row["episode"] for row in rows] == [0, 1] and tuple(rows[0]) == mujoco_episodes.COLUMNS
    assert all(row["score"] == d4rl_score(row["task"], row["return"]) and 1 < row["length"] <= 1000 for row in rows)


def test_the_sheet_sets_what_selection_saw_beside_fresh_episodes() -> None:
    lines = mujoco_episodes_tables.sheet()
    training = read_rows(mujoco_training.STUDY.table)
    seed = str(draws(training)["hopper", 0]["seed"])
    own = [row for row in training if (row["task"], row["seed"]) == ("hopper", seed)]
    best = max(own, key=lambda row: float(row["return"]))
    wanted = ("hopper", "0", "best", "stochastic")
    fresh = [float(r["score"]) for r in ROWS if (r["task"], r["draw"], r["policy"], r["mode"]) == wanted]
    assert any(f"| {float(best['score']):.1f} | {np.mean(fresh):.1f} |" in line for line in lines)


def test_a_strip_is_white_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stand:  # in for the simulator: every picture is grey
        def __init__(self) -> None:
            self.unwrapped: Any = self

        def reset(self, seed: int) -> None: ...
        def set_state(self, position: Any, velocity: Any) -> None:
            assert position[0] == 0

        def render(self) -> Any:
            return np.full((160, 160, 3), 90, dtype=np.uint8)

        def close(self) -> None: ...

    monkeypatch.setattr(mujoco_frames, "make_mujoco", lambda *_, **__: Stand())
    episode = {"qpos": np.ones((60, 6)), "qvel": np.ones((60, 6))}
    picture = np.asarray(mujoco_frames.film("hopper-medium", episode).convert("RGB"))
    middles = picture[50, mujoco_frames.SIZE // 2 :: mujoco_frames.SIZE, 0]
    assert picture.shape == (mujoco_frames.SIZE, mujoco_frames.SIZE * len(mujoco_frames.STEPS), 3)
    assert middles.tolist() == [90 if step < 60 else 255 for step in mujoco_frames.STEPS]


def test_the_committed_strips_are_of_known_policies() -> None:
    names = {strip.file for strip in mujoco_frames.strips()}
    for row in read_rows(mujoco_frames.TABLE):
        assert row["file"] in names
        with Image.open(mujoco_frames.FRAMES / row["file"]) as picture:
            assert picture.size == (mujoco_frames.SIZE * len(row["steps"].split()), mujoco_frames.SIZE)
