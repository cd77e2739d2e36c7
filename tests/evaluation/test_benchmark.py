"""The benchmark: presets and their sources, what it refuses, and that neither a kill nor an engine changes a row."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from cql_tutorial import fit, load_dataset, make_agent
from cql_tutorial.errors import ConfigError
from cql_tutorial.evaluation import EVALUATION_SEED, benchmark, evaluate_env
from cql_tutorial.evaluation import benchmark_presets as presets
from cql_tutorial.evaluation.benchmark import Row, Run, agent_config, group, on_processes, plan, run_benchmark

MEDIUM = "pendulum-medium"
SMALL: dict[str, Any] = {"steps": 40, "episodes": 1, "batch_size": 16, "hidden_dim": 8}


def small(algorithms: tuple[str, ...], seeds: tuple[int, ...] = (0, 1), **more: Any) -> list[Run]:
    return plan("pendulum", "ours", (MEDIUM,), algorithms, seeds, **{**SMALL, **more})


def made(runs: list[Run], folder: Path, **options: Any) -> list[Row]:
    options = {"device": "cpu", "say": lambda text: None, "checkpoint_every": 10, **options}
    return run_benchmark(runs, folder, **options)


def numbers(rows: list[Row], *without: str) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in ("seconds", *without)} for row in rows]


# ---------------------------------------------------------------- presets
@pytest.mark.parametrize("suite", list(presets.SUITES))
@pytest.mark.parametrize("preset", list(presets.PRESETS))
def test_every_setting_is_one_of_its_agent_and_has_a_source(suite: str, preset: str) -> None:
    if (suite, preset) == ("pendulum", "published"):
        with pytest.raises(ConfigError, match="nobody published"):
            presets.preset_setting(preset, presets.find_task(suite, MEDIUM), "cql")
        return
    tasks = [task for name, task in presets.suite_tasks(suite).items() if "-medium" in name]
    for task in tasks:
        for algorithm in presets.ALGORITHMS:
            setting = presets.preset_setting(preset, task, algorithm)
            agent = make_agent(setting.agent, {**setting.settings, "state_dim": 3, "action_dim": 1, "hidden_dim": 2})
            assert setting.sources and all(setting.sources) and setting.steps >= 30_000
            assert agent.config.normalize_observations and not getattr(agent.config, "backup_entropy", False)
            assert preset == "ours" or setting.lacks, "no agent here is CORL's to the last line"


def test_the_published_settings_are_those_of_the_sources() -> None:
    def of(task: str, algorithm: str) -> dict[str, Any]:
        setting = presets.preset_setting("published", presets.find_task("mujoco", task), algorithm)
        assert (setting.steps, setting.batch_size, setting.episodes) == (1_000_000, 256, 10)
        return {"rewards": setting.rewards, **setting.settings}

    cql = of("walker2d-medium", "cql")
    assert (cql["cql_alpha"], cql["actor_lr"], cql["critic_lr"]) == (10.0, 3e-5, 3e-4)
    assert (cql["hidden_layers"], cql["hidden_dim"], cql["cql_n_actions"]) == (3, 256, 10)
    assert {name: value for name, value in cql.items() if not name.startswith("cql_")} == of("walker2d-medium", "sac")
    usual, mixed, wide = (of(f"hopper-{x}", "iql") for x in ("expert", "medium-expert", "medium-replay"))
    assert (usual["expectile"], usual["inverse_temperature"], usual["tau"]) == (0.7, 3.0, 0.005)
    assert (mixed["expectile"], mixed["inverse_temperature"], mixed["tau"]) == (0.5, 6.0, 0.005)
    assert (wide["expectile"], wide["inverse_temperature"], wide["tau"]) == (0.7, 3.0, 0.001)
    assert (usual["rewards"], mixed["rewards"], wide["rewards"]) == ("as logged", "as logged", "return range")
    assert wide["policy_std"] == pytest.approx(0.5**0.5) and "policy_std" not in mixed
    lacks = presets.preset_setting("published", presets.find_task("mujoco", "hopper-medium"), "iql").lacks
    assert any("cosine" in text for text in lacks)
    assert of("hopper-medium", "10%bc")["top_fraction"] == 0.1 and of("hopper-medium", "bc")["top_fraction"] == 1.0


def test_published_scores_add_up_as_their_papers_say() -> None:
    """The totals over nine tasks, which the IQL paper and CORL's page state themselves."""
    corl, iql = presets.PUBLISHED_SCORES
    assert set(corl.scores) == set(iql.scores) and len(corl.scores) == 9
    totals = {name: sum(scores[name] for scores in iql.scores.values()) for name in ("bc", "10%bc", "cql", "iql")}
    assert totals == pytest.approx({"bc": 466.7, "10%bc": 666.2, "cql": 698.5, "iql": 692.4}, abs=0.35)
    averages = {name: sum(scores[name] for scores in corl.scores.values()) / 9 for name in totals}
    assert averages == pytest.approx({"bc": 50.40, "10%bc": 69.29, "cql": 78.28, "iql": 81.63}, abs=0.006)
    assert [score for score, _ in presets.published_scores("hopper-medium-expert", "cql")] == [99.26, 105.4]
    assert presets.published_scores("hopper-random", "cql") == []


# ---------------------------------------------------------------- tasks and data
@pytest.mark.parametrize(
    ("entry", "task"),
    [
        ("/data/halfcheetah_medium-v2.hdf5", "halfcheetah-medium"),
        ("d4rl/hopper_medium_expert-v2.hdf5", "hopper-medium-expert"),
        ("walker2d_medium_replay-v0.hdf5", "walker2d-medium-replay"),
        ("mujoco/hopper/medium-v0", "hopper-medium"),
        ("mujoco/walker2d-medium-replay-1-v0", "walker2d-medium-replay"),
        ("hopper-expert=/data/hopper-medium.hdf5", "hopper-expert"),
        ("runs/halfcheetah-random/hopper-medium.hdf5", "hopper-medium"),
    ],
)
def test_the_name_of_a_file_tells_its_task(entry: str, task: str) -> None:
    found, source = presets.task_of_file("mujoco", entry)
    assert found.name == task and source == entry.removeprefix("hopper-expert=")


@pytest.mark.parametrize("entry", ["mine.hdf5", "hopper.hdf5", "antmaze-medium-v0", "nothing=file.hdf5"])
def test_a_name_that_tells_no_task_is_refused(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"a name that tells the task\. To mend it: say it: TASK=FILE"):
        presets.task_of_file("mujoco", entry)


def test_what_cannot_run_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {
        "halfcheetah-medium-v2": "a task has no version, its policies are evaluated in HalfCheetah-v5",
        "HalfCheetah-v2": "name the task halfcheetah-random",
        "halfcheeta-medium": "did you mean 'halfcheetah-medium'",
        "x": "--list prints them",
    }
    for name, text in words.items():
        with pytest.raises(ConfigError, match=text):
            plan("mujoco", "ours", (name,), ("bc",), (0,))
    for arguments, text in (
        (("dm_control", "ours", (MEDIUM,), ("bc",), (0,)), "suite: found 'dm_control'"),
        (("pendulum", "theirs", (MEDIUM,), ("bc",), (0,)), "preset: found 'theirs'"),
        (("pendulum", "ours", (MEDIUM,), ("td3",), (0,)), "algorithms: found 'td3'"),
        (("pendulum", "ours", (MEDIUM,), ("bc",), (0, 0)), "seeds: found"),
        (("mujoco", "ours", ("hopper-expert",), ("bc",), (0,)), "pass a file or a Minari id"),
        (("pendulum", "ours", (MEDIUM,), ("bc",), (0,), ("pendulum-random=x",)), "a log of pendulum-medium"),
        (("pendulum", "ours", (MEDIUM,), ("bc",), (0,), (f"{MEDIUM}=maze/stitch-8k-v0",)), "observation space"),
    ):
        with pytest.raises(ConfigError, match=text):
            plan(*arguments)

    def no_mujoco(name: str) -> None:
        raise gymnasium.error.DependencyNotInstalled("mujoco is not installed")

    monkeypatch.setattr(gymnasium, "make", no_mujoco)
    entry = ("hopper-medium=pendulum/medium-10k-v0",)
    with pytest.raises(ConfigError, match=r"Hopper-v5: .*pip install 'cql-tutorial\[mujoco\]'"):
        plan("mujoco", "ours", ("hopper-medium",), ("bc",), (0,), entry)


# ---------------------------------------------------------------- runs
def test_a_row_is_what_fit_and_an_evaluation_give(tmp_path: Path) -> None:
    for algorithm, together in (("iql", True), ("cql", False)):
        runs = small((algorithm,), seeds=(3,))
        row = made(runs, tmp_path, together=together)[0]
        log = load_dataset("pendulum/medium-10k-v0")
        config = {
            **runs[0].setting.settings, "state_dim": 3, "action_dim": 1, "action_low": -2.0, "action_high": 2.0,
            "seed": 3, "device": "cpu", "initial_value": float(log.rewards.mean()) / 0.05,
        }  # fmt: skip
        agent = make_agent(algorithm, config)
        fit(agent, log, 40, batch_size=16, seed=3, progress=False, fast=algorithm == "cql")
        returns = evaluate_env(gymnasium.make("Pendulum-v1"), agent, 1, EVALUATION_SEED)
        assert float(row["return"]) == pytest.approx(float(returns.mean()), rel=1e-5)
        assert float(row["score"]) == pytest.approx(100 * (float(row["return"]) + 1236.7) / 1081.3, abs=0.01)
        assert float(row["log_return"]) == pytest.approx(-380.8, abs=0.1)  # as the data sheet has it
        assert row["fingerprint"] == log.fingerprint() and json.loads(row["settings"])["hidden_dim"] == 8


def test_a_killed_benchmark_goes_on_and_ends_as_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = small(("bc", "cql", "sac"))
    whole = made(runs, tmp_path / "whole", eval_every=20)
    calls: list[int] = []

    def killed(env: Any, agent: Any, *rest: Any) -> np.ndarray:
        calls.append(1)
        if len(calls) == 6:  # within the training of the second bc
            raise KeyboardInterrupt
        if len(calls) == 10:  # of the two cql together
            raise KeyboardInterrupt
        return evaluate_env(env, agent, *rest)

    monkeypatch.setattr(benchmark, "evaluate_env", killed)
    for left in (5, 4):
        with pytest.raises(KeyboardInterrupt):
            made(runs, tmp_path / "broken", eval_every=20)
        assert len(benchmark.read_rows(tmp_path / "broken")) == 6 - left
        assert any((tmp_path / "broken" / "runs").glob("*.safetensors"))
    again = made(runs, tmp_path / "broken", eval_every=20)
    assert numbers(again) == numbers(whole) and len(again) == 6
    said: list[str] = []
    assert made(runs, tmp_path / "broken", say=said.append) == again
    assert said == ["6 runs are there, 0 to make"]
    longer = [replace(run, setting=replace(run.setting, steps=50)) for run in runs[:1]]
    assert made(longer, tmp_path / "broken")[0]["steps"] == "50" and len(benchmark.read_rows(tmp_path / "broken")) == 7


def test_a_d4rl_file_gives_the_row_of_the_minari_set(tmp_path: Path) -> None:
    log = load_dataset("pendulum/medium-10k-v0")
    part = log.subset(torch.arange(600))
    file = part.to_hdf5(tmp_path / "pendulum_medium-v2.hdf5")
    part.to_minari("pendulum/medium-v0", tmp_path / "minari", description="a part", author="test")
    rows = []
    for source in (str(file), str(tmp_path / "minari" / "pendulum" / "medium-v0")):
        runs = plan("pendulum", "ours", (), ("cql", "10%bc"), (0,), (source,), **SMALL)
        assert {run.task.name for run in runs} == {MEDIUM}
        rows.append(made(runs, tmp_path / f"out{len(rows)}"))
    assert numbers(rows[0], "data") == numbers(rows[1], "data") and rows[0][0]["data"] != rows[1][0]["data"]
    assert rows[0][0]["fingerprint"] == part.fingerprint()


def test_seeds_and_alphas_are_trained_together_to_the_same_numbers(tmp_path: Path) -> None:
    runs = small(("cql", "sac", "bc"), alphas=(1.0, 20.0))
    assert [run.cql_alpha for run in runs] == [1.0, 1.0, 20.0, 20.0, "", "", "", ""]
    assert [len(one) for one in group(runs, together=True)] == [4, 2, 1, 1]
    assert [len(one) for one in group(runs, together=False)] == [1] * 8
    assert len({run.name for run in runs}) == 8
    together, alone = (made(runs[:4], tmp_path / str(how), together=how) for how in (True, False))
    for name in ("return", "score", "predicted"):
        assert [float(row[name]) for row in together] == pytest.approx([float(row[name]) for row in alone], rel=1e-3)
    assert together[0]["predicted"] != together[2]["predicted"]  # another alpha is another agent


def test_the_return_range_scales_rewards() -> None:
    log = load_dataset("pendulum/medium-10k-v0")
    setting = replace(small(("iql",))[0].setting, rewards="return range", initial_value="zero")
    returns = [float(log.rewards[start : start + 200].sum()) for start in range(0, 10_000, 200)]
    config = agent_config(setting, log, 0)
    assert config["reward_scale"] == pytest.approx(1000 / (max(returns) - min(returns)), rel=1e-5)
    assert "initial_value" not in config and config["action_high"] == 2.0


@pytest.mark.slow
def test_processes_give_the_same_rows(tmp_path: Path) -> None:
    runs = small(("bc",))
    engine = lambda work, groups: on_processes(work, groups, processes=2)  # noqa: E731
    assert numbers(made(runs, tmp_path / "two", engine=engine)) == numbers(made(runs, tmp_path / "one"))


def test_a_diverged_run_keeps_a_row(tmp_path: Path) -> None:
    rows = made(small(("cql",), seeds=(0,), critic_lr=1e30), tmp_path, together=False)
    assert rows[0]["note"].startswith("diverged") and rows[0]["score"] == ""
