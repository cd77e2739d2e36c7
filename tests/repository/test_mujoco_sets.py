"""The committed policies, evaluation states and tables of the MuJoCo sets agree with one another and the sheet."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cql_tutorial import load_agent
from cql_tutorial.datasets.mujoco_recording import play_episodes
from cql_tutorial.envs.mujoco_env import MUJOCO_TASKS, MujocoCopies
from cql_tutorial.evaluation.reference_scores import d4rl_score
from experiments import mujoco_data, mujoco_sheet, mujoco_training
from experiments.storage import read_rows
from tests import DATA

SETS = read_rows(mujoco_data.TABLE)
TRAININGS = read_rows(mujoco_training.STUDY.table)


def test_the_sheet_is_written_from_the_rows() -> None:
    lines = (DATA / "mujoco/README.md").read_text(encoding="utf-8").splitlines()
    origin = next(line for line in lines if line.startswith(mujoco_sheet.ORIGIN))
    origin = origin.removeprefix(mujoco_sheet.ORIGIN).removesuffix(".")
    assert lines == "\n".join(mujoco_sheet.sheet(origin)).splitlines()
    for name in ("mujoco 3.5.0", "gymnasium", "torch"):
        assert name in origin


def test_rows_of_sets_follow_from_the_trainings() -> None:
    """Scores are D4RL's of the returns, and policies those that the rules choose of the table of trainings."""
    chosen = mujoco_data.draws(TRAININGS)
    for row in SETS:
        one = mujoco_data.find_set(row["id"])
        assert float(row["score"]) == pytest.approx(d4rl_score(one.task, float(row["return"])), abs=2e-3)
        assert (one.task, one.quality, str(one.draw)) == (row["task"], row["quality"], row["draw"])
        if one.quality != "medium-replay":
            assert int(row["transitions"]) == mujoco_data.STEPS
        assert int(row["terminations"]) + int(row["truncations"]) == int(row["episodes"])
        if one.task == "halfcheetah":
            assert row["terminations"] == "0" and int(row["transitions"]) >= 1000 * int(row["whole"])
        if one.quality in ("medium", "best", "medium-replay") and (one.task, one.draw) in chosen:
            picked = chosen[one.task, one.draw]
            step = picked["best" if one.quality == "best" else "medium"]
            assert (row["training_seed"], row["step"]) == (str(picked["seed"]), str(step))
            if one.quality == "medium-replay":
                assert row["transitions"] == str(step)


def test_policies_are_small_and_those_of_their_tasks() -> None:
    for task, draw in mujoco_data.draws(TRAININGS):
        for quality in ("medium", "best"):
            path = mujoco_data.policy_path(task, quality, draw)
            assert path.stat().st_size < 200_000
            agent = load_agent(path, "cpu")
            actions = agent.policy()(torch.zeros(2, agent.config.state_dim), torch.Generator().manual_seed(0))
            assert actions.shape == (2, {"hopper": 3}.get(task, 6)) and float(actions.abs().max()) <= 1


@pytest.mark.parametrize("task", MUJOCO_TASKS)
def test_evaluation_states_are_those_that_were_observed(task: str) -> None:
    """Positions and velocities, put into the simulator, are observed as the stored rows were."""
    pytest.importorskip("mujoco")
    copies = MujocoCopies(task, 1)
    for row in SETS:
        if row["task"] == task:
            states = mujoco_data.evaluation_states(row["id"])
            assert states["qpos"].dtype == states["qvel"].dtype == np.float64
            assert len(np.unique(states["rows"])) == mujoco_data.STATES_A_SET
            assert states["rows"].min() >= 0 and states["rows"].max() < int(row["transitions"])
            for k in range(0, mujoco_data.STATES_A_SET, 20):
                seen = copies.set_states(states["qpos"][k : k + 1], states["qvel"][k : k + 1])[0]
                np.testing.assert_allclose(seen, states["observations"][k], rtol=1e-6, atol=1e-6)


def test_a_stored_policy_earns_what_its_set_says() -> None:
    """Three fresh episodes of each medium policy in Hopper lie in the spread that its set had."""
    pytest.importorskip("mujoco")
    for row in SETS:
        if row["quality"] == "medium" and row["task"] == "hopper":
            policy, copies = mujoco_data.policy_of("hopper", "medium", int(row["draw"])), MujocoCopies("hopper", 3)
            episodes = play_episodes(copies, policy, [1, 2, 3], torch.Generator().manual_seed(0))
            mean, sd = float(row["return"]), float(row["sd"])
            found = np.mean([one["rewards"].sum() for one in episodes])
            assert abs(found - mean) < 3.5 * sd / 3**0.5  # three standard errors and a half
