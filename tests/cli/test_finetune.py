"""`cql-tutorial finetune`: from a trained file to a fine-tuned one, and on after an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cql_tutorial import OfflineDataset, load_agent, make_agent
from tests.cli.test_cli import MAZE, run

torch.set_num_threads(1)
SHORT = ["--batch-size", "16", "--log-every", "10", "--eval-every", "1000", "--quiet"]


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("offline") / "agent.safetensors"
    settings = {"state_dim": 2, "action_dim": 2, "hidden_dim": 8, "cql_n_actions": 2, "normalize_observations": True}
    agent = make_agent("cql", {**settings, "device": "cpu"})
    agent.set_observation_statistics(np.zeros(2), np.ones(2))
    agent.save(path)
    return path


def words(offline: Path, out: Path, *more: str) -> list[str]:
    return ["finetune", "--agent", str(offline), *MAZE, "--out", str(out), *SHORT, *more]


def test_an_agent_is_fine_tuned_and_the_command_goes_on(
    offline: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out, before = tmp_path / "online", offline.read_bytes()
    env = ["--env", "cql_tutorial.envs.gymnasium_env:cql_tutorial/Maze-v0", "--episodes", "1"]
    run(*words(offline, out, *env, "--steps", "70", "--online-alpha", "0", "--mix", "0.25"))
    results = json.loads((out / "results.json").read_text())
    assert results["steps"] == 70 and results["last"]["updates"] == 70 and results["last"]["cql_alpha"] == 0
    assert results["first_return"] is not None and offline.read_bytes() == before
    replay = OfflineDataset.from_d4rl_hdf5(out / "online.hdf5")
    assert len(replay) == 70 and replay.truncations.nonzero().flatten().tolist() == [59, 69]
    assert load_agent(out / "online.safetensors", "cpu").config.cql_alpha == 0
    capsys.readouterr()
    run(*words(offline, out, *env, "--steps", "80", "--online-alpha", "0", "--mix", "0.25"))
    assert "resumed from step 70" in capsys.readouterr().out
    assert len(OfflineDataset.from_d4rl_hdf5(out / "online.hdf5")) == 80
    run(*words(offline, out, *env, "--steps", "90", "--online-alpha", "0", "--mix", "0.75"), expect=2)
    assert "mix: found 0.25; expected 0.75" in (text := capsys.readouterr().err) and "another --out" in text


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "--env, --world: found (None, None)"),
        (["--world", "pendulum"], "observation space: found"),
        (["--world", "maze", "--mix", "2"], "mix: found 2.0"),
    ],
)
def test_errors_in_the_words_of_flags(
    more: list[str], says: str, offline: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run(*words(offline, tmp_path / "x", *more), expect=2)
    assert says in capsys.readouterr().err
