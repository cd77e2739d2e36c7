"""The MuJoCo sets: which there are, how one is made, what is compared, what is refused. MuJoCo's parts are small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import experiments.__main__ as program
from cql_tutorial import OfflineDataset, load_agent, load_dataset
from cql_tutorial.agents.sac import SACAgent
from cql_tutorial.errors import ConfigError, DataError, DatasetNotFoundError
from cql_tutorial.evaluation.mujoco_values import true_q_mujoco
from experiments import mujoco_data, mujoco_training
from experiments.mujoco_data import SETS, find_set
from experiments.storage import read_rows, write_rows


def test_every_set_has_an_id_and_a_seed_of_its_own() -> None:
    assert len(SETS) == 30 and find_set("hopper-medium-expert-1-v0").id == "mujoco/hopper-medium-expert-1-v0"
    recorded = [one.seed for one in SETS.values() if one.quality in ("random", "medium", "best")]
    assert len(set(recorded)) == len(recorded) == 18


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("mujoco/swimmer-medium-0-v0", r"MuJoCo task: found 'swimmer'; expected one of halfcheetah, hopper, walker2d"),
        ("hopper-medium-v2", r"'hopper-medium-v2'; expected mujoco/hopper-QUALITY-DRAW-v0.*--take hopper-medium=FILE"),
        ("hopper-perfect-0-v0", r"expected mujoco/hopper-QUALITY-DRAW-v0 with random, medium"),
        ("hopper", r"expected mujoco/hopper-QUALITY-DRAW-v0"),
    ],
)  # fmt: skip
def test_an_unknown_id_is_one_clear_error(given: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=message):
        find_set(given)
    with pytest.raises(SystemExit):
        program.main(["mujoco_data", "--only", given])
    assert "expected" in capsys.readouterr().err


def test_a_set_that_is_not_there_names_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cql_tutorial.datasets.minari_io.search_places", lambda: [tmp_path])
    name = "mujoco/walker2d-medium-replay-1-v0"
    with pytest.raises(DatasetNotFoundError, match=f"python -m experiments mujoco_data --only {name}"):
        load_dataset(name)


def test_without_mujoco_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*arguments: Any, **settings: Any) -> None:
        raise ConfigError("mujoco", "not installed", "the package mujoco", "pip install -r requirements-mujoco.txt.")

    monkeypatch.setattr(mujoco_data, "make_mujoco", missing)
    with pytest.raises(SystemExit):
        program.main(["mujoco_data"])
    assert "pip install -r requirements-mujoco.txt" in capsys.readouterr().err


def rows_of(task: str, seed: int, scores: list[float]) -> list[dict[str, str]]:
    return [
        {"task": task, "seed": str(seed), "step": str(100 * (k + 1)), "return": str(10 * s), "score": str(s)}
        for k, s in enumerate(scores)
    ]


def test_policies_are_chosen_by_the_stated_rules() -> None:
    """Medium is the first at a third, also where a later one is nearer; a seed without one gives no draw."""
    rows = rows_of("hopper", 1, [5, 30, 60, 34, 90, 80]) + rows_of("hopper", 2, [5, 33.3]) + rows_of("hopper", 3, [40])
    others = [row for task in ("halfcheetah", "walker2d") for seed in (1, 2) for row in rows_of(task, seed, [50, 50])]
    found = mujoco_data.draws(rows + others)
    assert found["hopper", 0] == {"seed": 1, "medium": 300, "best": 500}
    assert found["hopper", 1] == {"seed": 3, "medium": 100, "best": 100}
    assert found["walker2d", 1] == {"seed": 2, "medium": 100, "best": 100}
    assert mujoco_training.further_runs(rows + others) == []
    (further,) = mujoco_training.further_runs(rows[:8] + others)
    assert further == mujoco_training.Training("hopper", 3)


def test_a_set_made_again_is_compared_with_its_row() -> None:
    stored = {"return": "100", "sd": "20", "whole": "100", "sha256": "a"}
    row = {"quality": "medium", "return": 100.0, "sd": 20.0, "whole": 100, "sha256": "b"}
    error = 20 * (2 / 100) ** 0.5
    assert "bit for bit" in mujoco_data.compare(row | {"sha256": "a"}, stored)
    assert "within the tolerances" in mujoco_data.compare(row | {"return": 100 + 4.9 * error}, stored)
    assert "BEYOND" in mujoco_data.compare(row | {"return": 100 - 5.1 * error}, stored)
    assert "BEYOND" in mujoco_data.compare(row | {"sd": 31.0}, stored)
    assert "another training" in mujoco_data.compare(row | {"quality": "medium-replay"}, stored)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that the programs write goes into a folder of the test."""
    cache, results = tmp_path / "mujoco", tmp_path / "results"
    results.mkdir()
    monkeypatch.setattr(mujoco_data, "DATA", tmp_path)
    monkeypatch.setattr(mujoco_data, "POLICIES", cache / "policies")
    monkeypatch.setattr(mujoco_data, "STATES", cache / "states.safetensors")
    monkeypatch.setattr(mujoco_training, "CACHE", cache)
    for module in (mujoco_data, mujoco_training):
        if hasattr(module, "read_rows"):
            monkeypatch.setattr(module, "read_rows", lambda table: read_rows(table, results))
        if hasattr(module, "write_rows"):
            monkeypatch.setattr(module, "write_rows", lambda *given: write_rows(*given, folder=results))
    return tmp_path


def test_a_training_leaves_policies_and_a_replay_that_can_be_made_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way at a small size: train, choose, record, write, read; the replay made again is equal bit for bit."""
    pytest.importorskip("mujoco")
    for name, value in {"EVERY": 20, "EPISODES": 2, "START_STEPS": 40, "BATCH": 8, "MEDIUM": -100.0}.items():
        monkeypatch.setattr(mujoco_training, name, value)
    monkeypatch.setattr(mujoco_training, "BUDGETS", {"hopper": 80})
    monkeypatch.setattr(mujoco_data, "BUDGETS", {"hopper": 80})
    monkeypatch.setattr(mujoco_data, "STATES_A_SET", 5)
    monkeypatch.setattr(mujoco_training, "ONLINE", mujoco_training.ONLINE | {"hidden_dim": 8})
    rows = mujoco_training.measure([mujoco_training.Training("hopper", 1)])
    assert [row["step"] for row in rows] == [20, 40, 60, 80] and rows[0]["score"] > -100
    again = mujoco_training.measure([mujoco_training.Training("hopper", 1)])
    assert again == rows  # read from its folder, and not trained
    write_rows("mujoco-training", mujoco_training.COLUMNS, rows, place / "results")
    mujoco_data.keep_policies(read_rows("mujoco-training", place / "results"))
    assert {path.name for path in (place / "mujoco/policies").iterdir()} == {
        "hopper-medium-0.safetensors",
        "hopper-best-0.safetensors",
    }
    one = mujoco_data.Set("hopper", "medium-replay", 0)
    stored = mujoco_data.columns_of(one)
    (mujoco_training.work_folder("hopper", 1) / "replay.npz").unlink()
    fresh = mujoco_data.columns_of(one)
    assert len(stored["rewards"]) == 20 and mujoco_data.digest(stored) == mujoco_data.digest(fresh)
    np.testing.assert_array_equal(stored["qpos"], fresh["qpos"])

    monkeypatch.setattr(mujoco_data, "columns_of", lambda one, steps=60: COLUMNS_OF(one, steps))
    table: list[dict[str, str]] = []
    mixed = mujoco_data.Set("hopper", "medium-expert", 0)
    mujoco_data.make_set(mixed, table)
    data = load_dataset(place / mixed.id)
    assert len(data) == 60 and data.metadata["ref_max_score"] == 3234.3 and data.metadata["training_seed"] == 1
    assert data.metadata["algorithm_name"] == "SAC" and '"Hopper-v5"' in str(data.metadata["env_spec"])
    assert bool(data.truncations[29] | data.terminations[29])  # the halves meet at the end of an episode
    halves = [mujoco_data.columns_of(mujoco_data.Set("hopper", name, 0), 30) for name in ("medium", "best")]
    both = np.concatenate([half["observations"] for half in halves]).astype(np.float32)
    np.testing.assert_array_equal(data.observations.numpy(), both)
    (row,) = table
    assert row["transitions"] == "60" and row["sha256"] == mujoco_data.digest(mujoco_data.columns_of(mixed))

    states = mujoco_data.evaluation_states(mixed.id)
    np.testing.assert_array_equal(data.observations.numpy()[states["rows"]], states["observations"])
    assert states["qpos"].dtype == np.float64
    policy = mujoco_data.policy_of("hopper", "medium", 0)
    actions = data.actions.numpy()[states["rows"]]
    found = true_q_mujoco("hopper", policy, states["qpos"], states["qvel"], actions, 0.0, rollouts=2)
    rewards = data.rewards.numpy()[states["rows"]]
    np.testing.assert_allclose(found.value.numpy(), rewards, atol=1e-5)  # the states are those of their rows


COLUMNS_OF = mujoco_data.columns_of


def test_a_policy_file_holds_the_actor_that_was_trained(tmp_path: Path) -> None:
    bounds = {"action_low": -2.0, "action_high": 3.0}
    agent = SACAgent({"state_dim": 4, "action_dim": 2, "hidden_dim": 8, "device": "cpu", **bounds})
    mujoco_training.policy_of(agent).save(tmp_path / "policy.safetensors")
    alone = load_agent(tmp_path / "policy.safetensors", "cpu")
    seen = torch.randn(6, 4)
    for deterministic in (True, False):
        one, other = (who.policy(deterministic)(seen, torch.Generator().manual_seed(0)) for who in (agent, alone))
        assert torch.equal(one, other)


def test_files_of_others_are_taken(place: Path) -> None:
    pytest.importorskip("mujoco")
    rng = np.random.default_rng(0)
    data = OfflineDataset.from_arrays(
        rng.normal(size=(20, 11)), rng.uniform(-1, 1, (20, 3)), rng.normal(size=20), rng.normal(size=(20, 11)),
        np.arange(20) % 10 == 9, episode_starts=np.arange(20), action_low=-1, action_high=1,
    )  # fmt: skip
    file = data.to_hdf5(place / "hopper_medium-v2.hdf5")
    assert mujoco_data.make(taken=[f"hopper-medium={file}"])
    read = load_dataset(place / "mujoco/hopper-medium-given-v0")
    assert torch.equal(read.observations, data.observations) and torch.equal(read.rewards, data.rewards)
    assert read.metadata["taken_from"] == "hopper_medium-v2.hdf5"
    for given, error, message in (
        (f"walker2d-medium={file}", DataError, "observations and actions of 11 and 3 numbers; expected 17 and 6"),
        (f"hopper-good={file}", ConfigError, "--take: found 'hopper-good'"),
        (f"ant-medium={file}", ConfigError, "MuJoCo task: found 'ant'"),
        ("hopper-medium", ConfigError, "expected TASK-QUALITY=FILE"),
    ):
        with pytest.raises(error, match=message):
            mujoco_data.make(taken=[given])
