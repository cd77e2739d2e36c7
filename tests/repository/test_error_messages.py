"""Mistakes that a first user made, each with the answer it gets now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cql_tutorial import CQLAgent, OfflineDataset, estimation_report, fit, load_agent, load_dataset, make_agent
from cql_tutorial.envs import Pendulum
from cql_tutorial.errors import CheckpointError, ConfigError, CQLTutorialError, DataError
from tests.repository.test_readme_example import agent, arrays, build

torch.set_num_threads(1)
DIMS = {"state_dim": 3, "action_dim": 2}

CASES: dict[str, tuple[Callable[[], Any], type[CQLTutorialError], str]] = {
    "gamma": (lambda: CQLAgent({**DIMS, "gamma": 0.9}), ConfigError, "did you mean 'discount'"),
    "lr": (lambda: CQLAgent({**DIMS, "lr": 1e-3}), ConfigError, "'critic_lr' and 'actor_lr'"),
    "cql_alpha to sac": (lambda: make_agent("sac", {**DIMS, "cql_alpha": 1}), ConfigError, "a setting of CQL"),
    "steps as a float": (lambda: fit(agent(), build(), 10.0, progress=False), ConfigError, "pass steps=10"),  # type: ignore[arg-type]
    "arguments of fit turned": (lambda: fit(build(), agent(), 10, progress=False), ConfigError, "call fit(agent"),
    "a dict as data": (lambda: fit(agent(), arrays(), 10, progress=False), ConfigError, "OfflineDataset.from_mapping"),
    "evaluate returns a number": (
        lambda: fit(agent(), build(), 2, batch_size=4, evaluate=lambda _: 1.0, eval_every=1, progress=False),  # type: ignore[arg-type,return-value]
        ConfigError,
        'return {"name": number}',
    ),
    "wrong action_dim": (
        lambda: fit(agent(action_dim=3), build(), 2, batch_size=4, progress=False),
        DataError,
        "set it to the width of your actions",
    ),
    "an environment as world": (
        lambda: estimation_report(agent(), Pendulum().env(), build()),
        ConfigError,
        "env.world",
    ),
    "a reading that is nan": (lambda: agent().act(np.array([0.0, np.nan, 1.0])), DataError, "finite"),
    "split by a percentage": (lambda: build().split(20), DataError, "0.2 holds out a fifth"),
}
NAMES = {"terminals": "terminations", "timeouts": "truncations", "dones": "terminations or truncations"}


@pytest.mark.parametrize("case", list(CASES))
def test_the_answer_helps(case: str) -> None:
    do, kind, says = CASES[case]
    with pytest.raises(kind) as error:
        do()
    assert says in str(error.value)


@pytest.mark.parametrize("name", list(NAMES))
def test_flags_under_other_names_are_never_dropped(name: str) -> None:
    with pytest.raises(DataError, match=f"the name '{NAMES[name]}'"):
        OfflineDataset.from_mapping({**arrays(20, 3, 2), name: np.zeros(20, bool)})
    assert len(OfflineDataset.from_mapping({**arrays(20, 3, 2), "infos": "are ignored"})) == 20


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a folder"):
        load_agent(tmp_path)


def test_data_are_written_below_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = OfflineDataset.from_mapping({**arrays(20, 3, 2), "truncations": np.ones(20, bool)}, dtype=torch.float64)
    for folder in ("made", "./also", "."):
        data.to_minari("my/log-v0", folder, description="x", author="x")
        assert load_dataset(Path(folder) / "my/log-v0", dtype=torch.float64).fingerprint() == data.fingerprint()
    assert load_dataset("made/my/log-v0").dtype == torch.float32


def test_time_limits_that_pose_as_terminations_are_pointed_out() -> None:
    ends = np.arange(20) % 10 == 9
    posing, honest = build(terminations=ends), build(terminations=np.zeros(20, bool), truncations=ends)
    assert "time limit" in str(posing.describe()) and "time limit" not in str(honest.describe())


def test_a_resumed_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.safetensors"
    fit(agent(), build(), 3, batch_size=4, checkpoint=path, progress=False)
    assert capsys.readouterr().out == ""
    fit(agent(), build(), 5, batch_size=4, checkpoint=path, progress=False)
    assert "resumed from update 3 of run.safetensors" in capsys.readouterr().out
