"""`cql-tutorial benchmark`: what it prints without running, what it refuses, its table."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from cql_tutorial.cli.benchmark import BenchmarkOptions, settings_in_words, summary
from cql_tutorial.evaluation import benchmark_presets as presets
from tests.cli.test_cli import run, shown

SMALL = ("--steps", 20, "--episodes", 1, "--batch-size", 8, "--hidden-dim", 4, "--device", "cpu")


def test_the_options_offer_what_there_is() -> None:
    hints: dict[str, Any] = get_type_hints(BenchmarkOptions)
    assert get_args(hints["suite"]) == tuple(presets.SUITES) and get_args(hints["preset"]) == tuple(presets.PRESETS)
    assert get_args(get_args(hints["algorithms"])[0]) == tuple(presets.ALGORITHMS)
    assert set(presets.ABOUT) == set(presets.PRESETS) and set(presets.DEFAULT_TASKS) == set(presets.SUITES)
    for suite, tasks in presets.DEFAULT_TASKS.items():
        assert all(task in presets.SUITES[suite] for task in tasks)


def test_settings_and_sources_are_printed_without_running(capsys: pytest.CaptureFixture) -> None:
    run("benchmark", "--list")
    text = shown(capsys)
    assert "HalfCheetah-v5" in text and "walker2d-medium-replay" in text and "CQL's own critics at alpha 0" in text
    run("benchmark", "--preset", "published", "--tasks", "hopper-medium-expert", "--show")
    text = shown(capsys)
    assert "expectile=0.5, inverse_temperature=6.0" in text and "cql_alpha=10.0" in text
    assert "1,000,000 updates of 256" in text and "corl-team/CORL, configs/offline/cql" in text
    assert "not here its policy's step falls along a cosine" in text and "reported 105.4 by the IQL paper" in text
    for preset in presets.PRESETS:
        for line in settings_in_words("mujoco", preset, list(presets.SUITES["mujoco"]), list(presets.ALGORITHMS)).split(
            "\n\n"
        )[1:]:
            assert "  source    " in line and "  training  " in line


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--tasks", "hopper-medium-v2", "--out", "o"), "a task has no version"),
        (("--tasks", "hoper-medium"), "did you mean 'hopper-medium'"),
        (("--suite", "pendulum"), "--out: found None; expected a folder"),
        (("--suite", "pendulum", "--preset", "published", "--out", "o"), "nobody published settings"),
        (("--suite", "pendulum", "--data", "mine.hdf5", "--out", "o"), "TASK=FILE"),
        (("--suite", "pendulum", "--processes", 0, "--out", "o"), "--processes: found 0"),
        (("--suite", "pendulum", "--steps", 0, "--out", "o"), "steps: found 0"),
    ],
)
def test_what_it_refuses(words: tuple[object, ...], text: str, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    run("benchmark", *(tmp_path / "o" if word == "o" else word for word in words), expect=2)
    assert text in shown(capsys, error=True) and not list(tmp_path.iterdir())


def test_a_benchmark_is_printed_and_goes_on(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    words = ("benchmark", "--suite", "pendulum", "--algorithms", "bc", "cql", "--out", tmp_path, *SMALL)
    run(*words, "--seeds", 0, 1)
    text = shown(capsys)
    assert "0 runs are there, 4 to make" in text and "pendulum-medium cql alpha 5 seed 1: score" in text
    run(*words, "--seeds", 0, 1, 2, "--alphas", 5, 10)
    assert "4 runs are there, 5 to make" in shown(capsys)
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 10 and len(list((tmp_path / "runs").iterdir())) == 9


def test_the_table_has_every_run_and_what_others_report() -> None:
    one = {"task": "hopper-medium-expert", "data": "x/hopper.hdf5", "algorithm": "cql", "cql_alpha": "5", "note": ""}
    rows = [{**one, "score": score, "log_score": "60"} for score in ("90", "100", "", "110")]
    text = " ".join(summary(rows).split())
    assert "cql 5 100.0 ± 24.8 90.0 100.0 x 110.0 60.0 99.3 / 105.4" in text  # t_2 = 4.303 times 10 / sqrt 3
    assert "(*) not comparable unless data, version, updates and evaluation are the same: CORL" in text
