"""What train says of units, values and environments; patience; export; what evaluate says of cut logs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from cql_tutorial import OfflineDataset, load_agent
from cql_tutorial.agents.export import load_exported
from cql_tutorial.cli import main
from cql_tutorial.errors import ConfigError
from cql_tutorial.evaluation.rollouts import check_env, evaluate_env
from tests.cli.test_cli import MAZE, QUICK, run, shown, train

COLUMNS = ["observations=x_*", "actions=a", "rewards=r", "terminations=end", "truncations=cut", "episode=ep"]


def table_of(
    path: Path, rewards: Any, length: int = 12, episodes: int = 20, ended: str = "end", scale: Any = 1.0
) -> Path:
    """A CSV of whole episodes, two observations on a scale of one's choice and choices 0 and 1."""
    g = np.random.default_rng(0)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ep", "x_0", "x_1", "a", "r", "end", "cut"])
        for episode in range(episodes):
            for step in range(length):
                last, x = step == length - 1, g.normal(size=2) * scale
                row = [episode, *x, g.integers(2), rewards(step)]
                writer.writerow([*row, int(last and ended == "end"), int(last and ended == "cut")])
    return path


def choices(path: Path) -> list[Any]:
    return ["--data", path, "--columns", *COLUMNS, "--n-actions", 2]


# ---------------------------------------------------------------- units
def test_train_normalises_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(tmp_path / "a", agent="bc")
    assert "observations: normalised" in shown(capsys)
    assert load_agent(tmp_path / "a" / "seed-0.safetensors").normaliser.ready
    train(tmp_path / "b", "--no-normalize-observations", agent="bc")
    assert "normalised" not in shown(capsys)
    assert load_agent(tmp_path / "b" / "seed-0.safetensors").normaliser is None
    train(tmp_path / "b", agent="bc", expect=2)
    assert "pass --no-normalize-observations for a run that began without it" in shown(capsys, error=True)


def test_the_whole_way_of_a_log_of_ten_scales(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    log = table_of(tmp_path / "log.csv", lambda step: 1e4 * step, scale=[1e-3, 2e4])
    out, words = tmp_path / "out", [*QUICK, "--steps", 40, "--batch-size", 16, "--reward-scale", 1e-4]
    run("train", "discrete-cql", *choices(log), *words, "--out", out, "--seeds", 0, 1)
    run("evaluate", *choices(log), "--agents", out, "--fqe-steps", 20, "--fqe-hidden-dim", 8, "--quiet")
    run("export", "--agent", out / "seed-0.safetensors", "--out", tmp_path / "policy.pt2")
    run("describe", *choices(log), "--out", tmp_path / "d.json")
    text, facts = shown(capsys), json.loads((tmp_path / "d.json").read_text())["facts"]
    assert "not of order 1: column 0 (x_0) has standard deviation" in text and "normalize_observations=True" in text
    assert facts["observation_scale"]["std"] == pytest.approx([1e-3, 2e4], rel=0.3)
    assert "compared: equal to act on 1,000 states" in text and "normalised inside" in text and "action -1" in text
    policy, about = load_exported(tmp_path / "policy.pt2")
    states = np.array([[1e-3, 2e4], [-1e-3, 0]], "f4")
    agent = load_agent(out / "seed-0.safetensors", "cpu")
    assert np.array_equal(policy(torch.from_numpy(states)).numpy(), agent.act(states))
    assert about["reward_scale"] == 1e-4 and about["normaliser"]["std"] == pytest.approx([1e-3, 2e4], rel=0.3)


# ---------------------------------------------------------------- what cannot be true
@pytest.mark.parametrize("start", ["-640", "64000"])
def test_what_no_reward_can_pay_is_told_by_every_rule(
    start: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    log, out = table_of(tmp_path / "log.csv", lambda step: 1.0), tmp_path / "out"
    words = [*QUICK, "--steps", 5, "--batch-size", 16, "--out", out, "--initial-value", start]
    run("train", "discrete-cql", *choices(log), *words)
    text = shown(capsys)
    assert "NOT USABLE, seed 0: no reward of the log can pay predicted_start_value." in text
    (row,) = json.loads((out / "results.json").read_text())["seeds"]
    assert row["predicted_start_value_possible"] is False and row["predicted_start_value"] == pytest.approx(
        float(start), rel=0.1
    )
    run("evaluate", *choices(log), "--agents", out, "--rules", "initial-value", "--quiet")
    text = shown(capsys)
    assert "initial-value prefers none" in text and "NOT USABLE: no reward of the log can pay that" in text


def test_a_possible_value_is_not_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    log = table_of(tmp_path / "log.csv", lambda step: 1.0)
    words = [*QUICK, "--steps", 5, "--batch-size", 16, "--out", tmp_path / "o", "--initial-value", "11"]
    run("train", "discrete-cql", *choices(log), *words)
    assert "NOT USABLE" not in shown(capsys)


# ---------------------------------------------------------------- the log beside fqe
@pytest.mark.parametrize(("ended", "said"), [("cut", True), ("end", False)])
def test_returns_of_a_cut_log_are_not_comparable(
    ended: str, said: bool, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    log, out = table_of(tmp_path / "log.csv", lambda step: -1.0, ended=ended), tmp_path / "out"
    run("train", "discrete-bc", *choices(log), *QUICK, "--steps", 5, "--batch-size", 16, "--out", out)
    capsys.readouterr()
    words = ["evaluate", *choices(log), "--agents", out, "--rules", "fqe", "--fqe-steps", 300, "--fqe-hidden-dim", 8]
    run(*words, "--quiet", "--out", tmp_path / "e.json")
    text, found = shown(capsys), json.loads((tmp_path / "e.json").read_text())
    assert ("of its episodes are cut where life goes on, with" in text) is said
    rows = 20 if said else 0
    dropped = found["log_cut"]["cut"]
    assert dropped == rows
    if not said:  # every policy is worth -11.36: started near, at the mean return-to-go, not at -1 / (1 - 0.99)
        assert -14 < found["rows"][0]["fqe"] < -6


# ---------------------------------------------------------------- environments
class Endless(gymnasium.Env):
    """An environment that never ends."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.zeros(2, np.float32), 1.0, False, False, {}


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ("CartPole-v1", "CartPole-v1: observation space: found Box"),
        ("Blackjack-v1", "Blackjack-v1: observation space: found Tuple"),
        ("MountainCar-v0", "MountainCar-v0: action space: found Discrete(3); expected a Box of 2 numbers"),
        ("MountainCarContinuous-v0", "action space: found Box"),
    ],
)
def test_an_environment_that_does_not_fit_is_refused_before_training(
    env: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run("train", "bc", *MAZE, *QUICK, "--steps", 10, "--out", tmp_path / "o", "--env", env, expect=2)
    assert words in shown(capsys, error=True) and not (tmp_path / "o").exists()


def test_bounds_are_compared_too() -> None:
    env = gymnasium.make("Pendulum-v1")
    check_env(env, 3, 1, False, -2.0, 2.0)
    check_env(env, 3, 1, False, (-2.0,), (2.0,))
    for low, high, what in ((-1.0, 1.0, "low"), (-2.0, 1.0, "high"), (-2.0, 3.0, "high")):
        with pytest.raises(ConfigError, match=f"Pendulum-v1: action {what}"):
            check_env(env, 3, 1, False, low, high)
    with pytest.raises(ConfigError, match="Discrete"):
        check_env(env, 3, 2, True)
    with pytest.raises(ConfigError, match=r"expected Discrete\(4\)"):
        check_env(gymnasium.make("CartPole-v1"), 4, 4, True)
    unbounded = Endless()
    unbounded.action_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    check_env(unbounded, 2, 2, False, -1.0, 1.0)


def test_an_episode_without_end_is_stopped_with_the_reason() -> None:
    from cql_tutorial import make_agent

    agent = make_agent("bc", {"state_dim": 2, "action_dim": 2, "hidden_dim": 4, "device": "cpu"})
    with pytest.raises(ConfigError, match=r"Endless: found 'an episode of 300 steps.*TimeLimit"):
        evaluate_env(Endless(), agent, 1, max_steps=300)
    limited = gymnasium.wrappers.TimeLimit(Endless(), max_episode_steps=300)
    assert evaluate_env(limited, agent, 2, max_steps=300).tolist() == [300.0, 300.0]


# ---------------------------------------------------------------- patience
def test_patience_ends_a_run_and_its_repetition(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = [
        "--patience",
        2,
        "--patience-metric",
        "policy_loss",
        "--actor-lr",
        "1e-9",
        "--steps",
        400,
        "--keep-every",
        20,
    ]
    first = train(tmp_path / "a", *words, agent="bc")
    (row,) = first["seeds"]
    assert row["steps"] < 400 and f"seed 0: stopped at update {row['steps']} by --patience" in shown(capsys)
    again = train(tmp_path / "a", *words, agent="bc")
    without = [{k: v for k, v in one["seeds"][0].items() if k != "seconds"} for one in (first, again)]
    assert without[0] == without[1]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--patience", 3], "--patience: found 3; expected a simulator that measures the return"),
        (["--patience", -1], "--patience: found -1"),
        (["--patience", 3, "--together", "--world", "maze"], "expected 0 with --together"),
    ],
)
def test_patience_without_a_number_to_wait_for(
    more: list[Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run("train", "cql", *MAZE, *QUICK, "--out", tmp_path, "--steps", 10, *more, expect=2)
    assert words in shown(capsys, error=True)


# ---------------------------------------------------------------- export
def test_export_refuses_what_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(tmp_path / "a", agent="bc")
    agent = tmp_path / "a" / "seed-0.safetensors"
    run("export", "--agent", agent, "--out", tmp_path / "policy.bin", expect=2)
    assert "--out: found" in shown(capsys, error=True)
    run("export", "--agent", tmp_path / "none", "--out", tmp_path / "policy.pt2", expect=2)
    assert "no such file" in shown(capsys, error=True)
    run("export", "--agent", tmp_path / "a", "--out", tmp_path / "policy.pt2", expect=2)
    assert "name one of those in it: " in (told := shown(capsys, error=True)) and "seed-0.safetensors" in told
    run("export", "--agent", agent, "--out", tmp_path / "p.bin", "--format", "torch", "--stochastic")
    assert "and noise [B, 2]" in shown(capsys)
    assert main(["export", "--agent", str(agent), "--out", str(tmp_path / "new" / "policy.pt2")]) == 0


def test_a_data_set_in_memory_needs_no_shell(tmp_path: Path) -> None:
    """The pieces are the same in Python: statistics, export, and the file's actions."""
    from cql_tutorial import fit, make_agent

    g = np.random.default_rng(0)
    x = (g.normal(size=(60, 2)) * [1e-3, 1e4]).astype("f4")
    data = OfflineDataset.from_arrays(x, np.tanh(x[:, :1]), g.normal(size=60), x[::-1], np.zeros(60, bool))
    agent = make_agent("iql", {"state_dim": 2, "action_dim": 1, "hidden_dim": 8, "normalize_observations": True})
    fit(agent, data, 20, batch_size=16, progress=False)
    policy, _ = load_exported(agent.export(tmp_path / "p.pt2"))
    np.testing.assert_allclose(policy(torch.from_numpy(x)).numpy(), agent.act(x), atol=1e-6)
