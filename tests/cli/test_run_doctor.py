"""`cql-tutorial doctor --run`: cards of a real run's folder, and one error for a folder that is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cql_tutorial import load_agent
from cql_tutorial.cli import main
from cql_tutorial.cli.run_doctor import numbers_of_seed, read_run
from cql_tutorial.evaluation.symptoms import look, symptoms

torch.set_num_threads(1)
QUICK = ["--data", "maze/stitch-8k-v0", "--hidden-dim", "8", "--batch-size", "16", "--log-every", "5", "--quiet"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "maze"
    words = ["train", "cql", *QUICK, "--cql-n-actions", "2", "--steps", "40", "--seeds", "0", "1", "--out", str(folder)]
    assert main(words) == 0
    return folder


def test_a_healthy_folder_and_its_numbers(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--run", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "seed 0: 0 of " in shown and "seed 1: 0 of " in shown and "many bugs show none" in shown
    assert str(run) not in shown
    _, dataset = read_run(run)
    found = numbers_of_seed(run / "seed-0.safetensors", dataset)
    agent = load_agent(run / "seed-0.safetensors", "auto")
    history = [{"step": 40.0, "td_loss": found["td_loss"], "temperature": 0.2}]
    assert look(agent, dataset, history)["impossible"] == found["impossible"]


def test_a_raw_target_and_values_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "cql-lagrange", *QUICK, "--steps", "60", "--multiplier-lr", "1", "--initial-value", "150"]
    assert main([*words, "--cql-target-action-gap", "5", "--cql-n-actions", "2", "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert main(["doctor", "--run", str(tmp_path / "run")]) == 1
    shown = capsys.readouterr().out
    assert "  multiplier at its bound: " in shown and "  impossible values: " in shown and "experiment  " in shown


def test_a_folder_that_is_no_run_is_an_error(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(folder: Path) -> str:
        assert main(["doctor", "--run", str(folder)]) == 2
        return capsys.readouterr().err

    assert "no such folder" in said(tmp_path / "nowhere") and "To mend it: pass the --out folder" in said(tmp_path)
    (tmp_path / "results.json").write_text("{")
    assert "results.json that cannot be read" in said(tmp_path)
    content: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    for change, told in (
        ({"format": "other"}, "format 'other'"),
        ({"seeds": 3}, "without its seeds"),
        ({"data": None}, "cannot be read"),
        ({"data": {"data": "no/such-v0"}}, "no/such-v0"),
    ):
        (tmp_path / "results.json").write_text(json.dumps({**content, **change}))
        assert told in said(tmp_path), change
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert "seed-0.safetensors" in said(tmp_path) and "no such file" in said(tmp_path)
    load_agent(run / "seed-0.safetensors", "cpu").save(tmp_path / "seed-0.safetensors")
    assert "an agent without its training run" in said(tmp_path)


def test_another_log_and_a_run_that_diverged_are_told(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((run / "results.json").read_text(encoding="utf-8"))
    content["data"]["fingerprint"] = "another"
    content["seeds"] = [{"seed": 0, "diverged": "metrics['td_loss']: found inf"}]
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert main(["doctor", "--run", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "not those of this run any more" in shown and "seed 0: diverged: metrics['td_loss']" in shown


def test_without_a_folder_it_looks_at_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--help"])
    assert ended.value.code == 0 and "--run" in capsys.readouterr().out
    assert symptoms({}) == []
