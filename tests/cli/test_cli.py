"""The command line: every command, its errors, and a training that is killed and repeated."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from cql_tutorial import OfflineDataset, load_agent, load_dataset
from cql_tutorial.agents import AGENTS
from cql_tutorial.agents.checkpoint import read_tensors
from cql_tutorial.cli import COMMANDS, main
from cql_tutorial.cli.convert import columns, write_csv
from cql_tutorial.cli.files import table, write_json
from cql_tutorial.cli.options import FROM_DATA, DataOptions, make_env, settings_form, settings_of
from cql_tutorial.cli.parser import summary
from cql_tutorial.errors import CheckpointError, ConfigError, DataError
from tests import ROOT
from tests.children import Child
from tests.conftest import HIDE_PACKAGES

QUICK = ["--hidden-dim", "8", "--quiet"]
MAZE = ["--data", "maze/stitch-8k-v0"]


def run(*words: object, expect: int = 0) -> None:
    """Run a command line in this process and hold its status against the expected one."""
    try:
        status = main([str(word) for word in words])
    except SystemExit as ended:  # tyro's own way out: --help, or words it cannot read
        status = int(ended.code or 0)
    assert status == expect, (words, status)


def shown(capsys: pytest.CaptureFixture, error: bool = False) -> str:
    """What a command has printed, as words: tyro draws boxes and breaks lines."""
    text = capsys.readouterr()
    return " ".join("".join(" " if char in "│╭╮╰╯─" else char for char in (text.err if error else text.out)).split())


def field_docstrings(config_class: type) -> dict[str, str]:
    """The docstring under each field of a dataclass and of those it is derived from."""
    from docstring_parser import parse_from_object

    classes = [one for one in reversed(config_class.__mro__) if dataclasses.is_dataclass(one)]
    return {doc.arg_name: doc.description or "" for one in classes for doc in parse_from_object(one).params}


def train(out: Path, *more: object, agent: str = "cql", expect: int = 0) -> dict[str, Any]:
    small = [] if agent.startswith(("bc", "iql", "discrete", "dqn")) else ["--cql-n-actions", "2"]
    small = small if agent.startswith("cql") else []
    words = ["train", agent, *MAZE, *QUICK, *small, "--out", out, "--steps", 60, "--batch-size", 16, "--log-every", 20]
    run(*words, *more, expect=expect)
    return json.loads((out / "results.json").read_text()) if expect < 2 else {}


# ---------------------------------------------------------------- help and errors
def test_every_command_and_agent_has_help(capsys: pytest.CaptureFixture) -> None:
    run("--help")
    overview = capsys.readouterr().out
    assert all(f"  {command} " in overview and text in overview for command, text in COMMANDS.items())
    run(expect=2)
    capsys.readouterr()
    run("train", "--help")
    agents = shown(capsys)
    assert all(f" • {name} {summary(name)}" in agents for name in AGENTS)
    for command in set(COMMANDS) - {"doctor"}:
        run(command, "--help")
        assert f"{COMMANDS[command]} example: cql-tutorial {command} " in shown(capsys)


@pytest.mark.parametrize("name", AGENTS)
def test_every_setting_of_every_agent_is_a_flag_with_help(name: str, capsys: pytest.CaptureFixture) -> None:
    run("train", name, "--help")
    text, config_class = shown(capsys), AGENTS[name][0].config_class
    assert summary(name) in text
    documented = field_docstrings(config_class)
    for one in dataclasses.fields(config_class):
        flag = "--" + one.name.replace("_", "-")
        if one.name in ("action_low", "action_high"):  # flags of the data, by the same name
            continue
        wanted = one.name not in FROM_DATA and one.name not in AGENTS[name][1]
        assert (f" {flag} " in text or f" {flag}, " in text) == wanted, flag
        if wanted:
            assert " ".join(documented.get(one.name, "").split()) in text, one.name


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Base:
    """Settings as an agent has them."""

    state_dim: int
    """Numbers in an observation."""
    width: int = 8
    """Units of a layer."""
    twin: bool = False
    """Two critics."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError("width", str(self.width), "1 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Derived(_Base):
    """The same with another default, and a setting of its own."""

    width: int = 16
    rate: float = 0.1
    """Step size, a share of nothing."""
    plain: int = 3


def test_flags_are_documented_where_the_settings_are(capsys: pytest.CaptureFixture) -> None:
    import tyro

    form = settings_form(_Derived, {"twin": True})
    with pytest.raises(SystemExit):
        tyro.cli(form, args=["--help"])
    text = shown(capsys)
    assert "--width INT Units of a layer. (default: 16)" in text and "Step size, a share of nothing." in text
    assert "--plain INT (default: 3)" in text and "state-dim" not in text and "twin" not in text
    filled = tyro.cli(form, args=["--width", "0"])  # refused later, by the agent's own config, in its own words
    assert settings_of(filled) == {"width": 0, "twin": True, "rate": 0.1, "plain": 3}
    with pytest.raises(SystemExit):
        tyro.cli(form, args=["--state-dim", "3"])


def test_settings_of_an_agent_are_documented_all_or_none() -> None:
    for kind, _ in AGENTS.values():
        names = {one.name for one in dataclasses.fields(kind.config_class)}
        assert set(field_docstrings(kind.config_class)) in (set(), names), kind.config_class.__name__


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "cql", "--data", "maze/none-v0", "--out", "x"], "data set 'maze/none-v0': found nothing at"),
        (["train", "cql", *MAZE, "--out", "x", "--cql-alpha", "-1"], "config['cql_alpha']: found -1.0"),
        (["train", "dqn", *MAZE, "--out", "x"], "agent: found 'dqn'; expected an agent for continuous actions"),
        (["train", "cql", *MAZE, "--out", "x", "--seeds"], "--seeds: found ()"),
        (["train", "cql", *MAZE, "--out", "x", "--keep-every", "30"], "--keep-every: found 30; expected a multiple"),
        (["train", "cql", *MAZE, "--out", "x", "--env", "None-v0"], "--env 'None-v0': found NameNotFound"),
        (["train", "cql", *MAZE, "--out", "x", "--env", "recorded"], '--env recorded: found "no environment'),
        (["train", "cql", *MAZE, "--out", "x", "--world", "mase"], "did you mean 'maze'"),
        (["train", "cql", "--data", "log.csv", "--out", "x"], "file log.csv: found no such file"),
        (["train", "cql", "--data", "log.csv", "--columns", "rewards", "--out", "x"], "--columns: found 'rewards'"),
        (["train", "cql", *MAZE, "--columns", "rewards=r", "--out", "x"], "expected a table or an HDF5 file with it"),
        (["describe", "--data", "none.hdf5"], "none.hdf5: found no such file"),
        (["evaluate", *MAZE, "--agents", "."], "found a folder without checkpoints"),
        (["evaluate", *MAZE, "--agents", "x.safetensors"], "x.safetensors: found no such file"),
        (["collect", "--id", "tt/b-v0"], "--env, --world: found (None, None)"),
        (["collect", "--id", "tt/b-v0", "--env", "CartPole-v1", "--policy", "online"], "--policy: found 'online'"),
        (["collect", "--id", "tt/b-v0", "--env", "Blackjack-v1"], "expected flat observations"),
        (["convert", *MAZE], "--hdf5, --id, --csv, --parquet: found None"),
    ],
)
def test_bad_input_is_one_clear_error(
    words: list[str], expected: str, capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(*words, expect=2)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and expected in error and "Traceback" not in error
    assert not list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.rglob("*.hdf5"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["trian", "cql"],
            ["trian", "Available subcommands: describe, train, finetune, evaluate, export, convert, collect,"],
        ),
        (
            ["train", "cqll"],
            ["cqll", "Available subcommands: bc, sac, cql, cql-lagrange, cal-ql, cql-redq, iql, soft-q,"],
        ),
        (["train"], ["Expected one of {bc, sac, cql, cql-lagrange, cal-ql, cql-redq, iql, soft-q,"]),
        (["train", "cql", *MAZE, "--out", "x", "--cql-alfa", "1"], ["--cql-alfa", "meant: --cql-alpha FLOAT"]),
        (["train", "cql", *MAZE, "--out", "x", "--steps", "many"], ["--steps", "many", "INT"]),
        (["train", "cql", *MAZE, "--out", "x", "--state-dim", "3"], ["Unrecognized options: --state-dim, 3"]),
        (["train", "cql-lagrange", *MAZE, "--out", "x", "--no-cql-lagrange"], ["--no-cql-lagrange"]),
        (["describe"], ["Missing from cql-tutorial describe: --data DATA A Minari id or folder"]),
    ],
)
def test_words_that_cannot_be_read_are_told_with_what_can(
    words: list[str], expected: list[str], capsys: pytest.CaptureFixture
) -> None:
    run(*words, expect=2)
    text = shown(capsys, error=True)
    assert [part for part in expected if part not in text] == [], text


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    from cql_tutorial.cli import parser

    def interrupted(words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(parser, "run", interrupted)
    run("train", "cql", expect=130)
    assert "repeat the command to go on" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="no such pipes")
def test_a_reader_that_has_gone_is_no_traceback(tmp_path: Path) -> None:
    """As in `cql-tutorial ... | head -1`."""
    code = "from cql_tutorial.cli import main; raise SystemExit(main(['--help']))"
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        ended = subprocess.run([sys.executable, "-c", code], stdout=gone, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert ended.stderr == "" and ended.returncode == 141


@pytest.mark.slow
def test_without_tyro_doctor_works_and_the_others_say_what_to_install() -> None:
    code = f"import sys\nhidden = {{'tyro'}}\n{HIDE_PACKAGES}\nfrom cql_tutorial.cli import main\n"
    code += "assert main(['describe', '--data', 'x']) == 2\nraise SystemExit(main(['doctor']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'cql-tutorial[cli]'" in done.stderr
    assert done.returncode == 0 and "This machine is ready" in done.stdout


# ---------------------------------------------------------------- train
def test_train_writes_results_histories_and_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    results = train(tmp_path / "a", "--seeds", 0, 1, "--cql-alpha", "0.5", "--keep-every", 20, "--hold-out", "0.25")
    assert results["settings"]["cql_alpha"] == 0.5 and results["data"]["transitions"] == 6000
    assert [row["seed"] for row in results["seeds"]] == [0, 1]
    kept = {"kept/seed-0-step-20", "kept/seed-0-step-40", "kept/seed-1-step-20", "kept/seed-1-step-40"}
    found = {path.relative_to(tmp_path / "a").with_suffix("").as_posix() for path in (tmp_path / "a").rglob("*.saf*")}
    assert found == {"seed-0", "seed-1"} | kept
    agent = load_agent(tmp_path / "a" / "seed-1.safetensors", "cpu")
    assert (agent.config.seed, agent.config.cql_alpha, agent.config.state_dim) == (1, 0.5, 2)
    mean = results["summary"]["predicted_start_value"]["mean"]
    assert mean == pytest.approx(np.mean([row["predicted_start_value"] for row in results["seeds"]]))
    assert (tmp_path / "a" / "seed-0.csv").read_text().splitlines()[-1].startswith("60,")
    assert "the agent's own opinion" in capsys.readouterr().out


def test_train_equals_fit(tmp_path: Path) -> None:
    from cql_tutorial import fit, make_agent

    train(tmp_path, "--cql-alpha", "0.5", "--seeds", 3)
    dataset = load_dataset("maze/stitch-8k-v0")
    config = {"state_dim": 2, "action_dim": 2, "hidden_dim": 8, "cql_alpha": 0.5, "cql_n_actions": 2, "seed": 3}
    agent = make_agent("cql", config | {"normalize_observations": True})  # as a shell's default is
    fit(agent, dataset, 60, batch_size=16, seed=3, progress=False, fast=True)
    for name, tensor in load_agent(tmp_path / "seed-3.safetensors", "cpu").state().items():
        assert torch.equal(tensor, agent.state()[name]), name


@pytest.mark.slow
def test_seeds_trained_together_are_those_trained_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    one = train(tmp_path / "a", "--seeds", 0, 1, "--dtype", "float64")
    both = train(tmp_path / "b", "--seeds", 0, 1, "--dtype", "float64", "--together", "--tensorboard")
    for left, right in zip(one["seeds"], both["seeds"], strict=True):
        assert {k: v for k, v in left.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in right.items() if k != "seconds"}, rel=1e-6
        )
    assert len(scalars(tmp_path / "b" / "tensorboard" / "seed-1")["train/td_loss"]) == 3
    again = train(tmp_path / "b", "--seeds", 0, 1, "--dtype", "float64", "--together", "--tensorboard")
    assert again == both
    train(tmp_path / "c", "--together", agent="bc", expect=2)
    assert "--together: found 'bc'" in capsys.readouterr().err


@pytest.mark.parametrize("agent", ["bc", "sac", "cql-lagrange", "iql"])
def test_train_takes_every_continuous_agent(agent: str, tmp_path: Path) -> None:
    assert train(tmp_path, agent=agent)["agent"] == agent


@pytest.mark.parametrize("agent", ["discrete-bc", "dqn", "discrete-cql", "discrete-iql"])
def test_train_takes_every_discrete_agent(agent: str, tmp_path: Path) -> None:
    words = ["--data", "gridworld/epsilon30-2k-v0", "--out", tmp_path, "--steps", 20, "--world", "gridworld"]
    run("train", agent, *words, *QUICK)
    assert "return" in json.loads((tmp_path / "results.json").read_text())["summary"]


@pytest.mark.slow
def test_a_repeated_command_goes_on_and_other_settings_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    once = train(tmp_path / "a", "--tensorboard")
    again = train(tmp_path / "a", "--tensorboard")
    assert once == again and "resumed from update 60" in capsys.readouterr().out
    longer, whole = train(tmp_path / "a", "--steps", 100), train(tmp_path / "b", "--steps", 100)
    drop = ("seconds",)
    for left, right in zip(longer["seeds"], whole["seeds"], strict=True):
        assert {k: v for k, v in left.items() if k not in drop} == {k: v for k, v in right.items() if k not in drop}
    train(tmp_path / "a", "--cql-alpha", "7", expect=2)
    error = capsys.readouterr().err
    assert "config['cql_alpha']" in error and "repeat the command as it was" in error


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.slow
def test_tensorboard_shows_the_history_also_after_a_resume(tmp_path: Path) -> None:
    train(tmp_path, "--tensorboard", "--world", "maze", "--eval-every", 60)
    train(tmp_path, "--tensorboard", "--world", "maze", "--eval-every", 60, "--steps", 80)
    curves = scalars(tmp_path / "tensorboard" / "seed-0")
    assert [step for step, _ in curves["train/td_loss"]] == [20, 40, 60, 80]
    assert [step for step, _ in curves["evaluation/return"]] == [60, 80]
    assert len(list((tmp_path / "tensorboard" / "seed-0").iterdir())) == 1


def test_a_run_that_diverges_is_told_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    dataset = load_dataset("maze/stitch-8k-v0")
    huge = dataclasses.replace(dataset, rewards=dataset.rewards * 1e30)
    huge.to_minari("tt/huge-v0", tmp_path, description="t", author="t")
    words = [
        "train",
        "cql",
        "--data",
        tmp_path / "tt/huge-v0",
        "--out",
        tmp_path / "o",
        "--steps",
        20,
        "--log-every",
        10,
    ]
    run(*words, *QUICK, "--seeds", 0, 1, expect=1)
    rows = json.loads((tmp_path / "o" / "results.json").read_text())["seeds"]
    assert all("expected finite numbers" in row["diverged"] for row in rows) and len(rows) == 2
    assert "expected finite numbers" in capsys.readouterr().out


KILLER = """
import os, signal, sys
from cql_tutorial.cli import main
from cql_tutorial.training.offline import Run
what, left = sys.argv[1], int(sys.argv[2])
def counted(action):
    def then(*words):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return action(*words)
    return then
if what == "update":
    Run.add = counted(Run.add)
else:                                  # a file is written beside the old one, and never takes its name
    os.replace = counted(os.replace)
raise SystemExit(main(sys.argv[3:]))
"""


def outcome(folder: Path) -> tuple[dict[str, Any], dict[str, str], dict[str, dict[str, torch.Tensor]]]:
    results = json.loads((folder / "results.json").read_text())
    for row in results["seeds"]:
        row.pop("seconds")
    results["run"].pop("out")
    histories = {path.name: path.read_text() for path in folder.glob("*.csv")}
    files = {path.relative_to(folder).as_posix(): read_tensors(path)[0] for path in folder.rglob("*.safetensors")}
    return results, histories, files


@pytest.mark.slow
def test_a_killed_training_repeated_ends_with_the_same_numbers(tmp_path: Path) -> None:
    words = [
        "train",
        "cql",
        *MAZE,
        *QUICK,
        "--cql-n-actions",
        "2",
        "--steps",
        "90",
        "--batch-size",
        "16",
        "--seeds",
        "0",
    ]
    words += ["1", "--log-every", "10", "--checkpoint-every", "15", "--keep-every", "30", "--reward-scale", "0.1"]
    run(*words, "--out", tmp_path / "whole")
    assert load_agent(tmp_path / "whole" / "seed-1.safetensors").normaliser.ready
    broken = [*words, "--out", str(tmp_path / "broken")]
    # Before the first checkpoint; while the second one is written; between two of the first seed; in the second seed.
    for kill in (("update", "8"), ("write", "2"), ("update", "52"), ("update", "65")):
        status, _, errors = Child(KILLER, (*kill, *broken)).ended()
        assert status == -signal.SIGKILL, errors
        assert not (tmp_path / "broken" / "results.json").exists()
    assert (tmp_path / "broken" / "seed-1.safetensors").exists() and not (tmp_path / "broken" / "seed-1.csv").exists()
    run(*broken)
    (results, histories, files), again = outcome(tmp_path / "whole"), outcome(tmp_path / "broken")
    assert results == again[0] and histories == again[1] and files.keys() == again[2].keys() and len(files) == 6
    for name, tensors in files.items():
        assert all(torch.equal(tensor, again[2][name][key]) for key, tensor in tensors.items()), name


# ---------------------------------------------------------------- evaluate
@pytest.mark.slow
def test_evaluate_judges_a_folder_by_every_rule(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(tmp_path / "cql", "--keep-every", 20)
    train(tmp_path / "bc", agent="bc")
    capsys.readouterr()
    clone = tmp_path / "bc" / "seed-0.safetensors"
    words = [
        "evaluate",
        *MAZE,
        "--agents",
        tmp_path / "cql",
        clone,
        "--rules",
        "fqe",
        "initial-value",
        "wis",
        "td-error",
    ]
    more = [
        "--fqe-steps",
        20,
        "--fqe-hidden-dim",
        8,
        "--behaviour",
        clone,
        "--stochastic",
        "--quiet",
        "--hold-out",
        "0.2",
    ]
    run(*words, *more, "--world", "maze", "--out", tmp_path / "e.json")
    text, found = capsys.readouterr().out, json.loads((tmp_path / "e.json").read_text())
    rows = {row["agent"]: row for row in found["rows"]}
    assert len(rows) == 4 and {row["algorithm"] for row in rows.values()} == {"cql", "bc"}
    cloned = rows[clone.as_posix()]
    assert cloned["initial-value"] is None and np.isfinite(cloned["fqe"]) and "return" in cloned
    assert "initial-value" in text and f"{clone.as_posix()}: agent: found" in text  # no critics: said, not hidden
    assert set(found["preferred"]) == {"fqe", "initial-value", "wis", "td-error"}
    best = max((row for row in rows.values() if row["initial-value"] is not None), key=lambda row: row["initial-value"])
    assert found["preferred"]["initial-value"] == best["agent"]
    least = min((row for row in rows.values() if row["td-error"] is not None), key=lambda row: row["td-error"])
    assert found["preferred"]["td-error"] == least["agent"]
    dataset = load_dataset("maze/stitch-8k-v0").split(0.2)[0]
    earned = dataset.returns_to_go(0.99)[dataset.episode_starts]
    wanted = {"mean": earned.mean().item(), "best": earned.max().item(), "episodes": 128, "discount": 0.99}
    assert found["log"] == pytest.approx(wanted) and f"best of 128 episodes {wanted['best']:.4g}" in text


def test_evaluate_refuses_agents_of_another_shape_or_discount(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(tmp_path / "a")
    run("evaluate", "--data", "pendulum/random-10k-v0", "--agents", tmp_path / "a", expect=2)
    assert "expected an agent as the data are: continuous, 3 observations, 1 actions" in capsys.readouterr().err
    train(tmp_path / "b", "--discount", "0.9")
    run("evaluate", *MAZE, "--agents", tmp_path / "a", tmp_path / "b", expect=2)
    assert "--agents: found 'discounts [0.9, 0.99]'" in capsys.readouterr().err


def test_wis_without_a_clone_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(tmp_path / "a")
    run("evaluate", *MAZE, "--agents", tmp_path / "a", "--rules", "wis")
    text = capsys.readouterr().out
    assert "wis prefers none" in text and "cql-tutorial train bc" in text


# ---------------------------------------------------------------- data: collect, convert, describe
def test_collect_and_convert_keep_every_number(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["collect", "--env", "Pendulum-v1", "--steps", 450, "--id", "tt/random-v0", "--out", tmp_path, "--quiet"]
    run(*words, "--seed", 5)
    data = load_dataset(tmp_path / "tt/random-v0")
    assert len(data) == 450 and data.episode_lengths().tolist() == [200, 200, 50] and data.action_high == 2.0
    env, observation = gymnasium.make("Pendulum-v1"), None
    env.action_space.seed(5)
    observation, _ = env.reset(seed=5)
    assert np.array_equal(data.observations[0].numpy(), observation)
    assert np.allclose(data.actions[0].numpy(), env.action_space.sample())
    run(*words, expect=2)
    assert "exists already" in capsys.readouterr().err
    file = tmp_path / "log.csv"
    run("convert", "--data", tmp_path / "tt/random-v0", "--csv", file)
    mapping = DataOptions(data=str(file), columns=tuple(columns(data))).mapping()
    back = OfflineDataset.from_csv(file, mapping, action_low=-2.0, action_high=2.0)
    assert back.fingerprint() == data.fingerprint()
    run("convert", "--data", tmp_path / "tt/random-v0", "--csv", file, expect=2)
    read = ["--data", file, "--columns", *columns(data), "--action-low", "-2", "--action-high", "2"]
    run("convert", *read, "--id", "tt/again-v0", "--out", tmp_path)
    assert load_dataset(tmp_path / "tt/again-v0").fingerprint() == data.fingerprint()


def test_a_discrete_and_a_double_table_come_back_exactly(tmp_path: Path) -> None:
    grid = load_dataset("gridworld/epsilon30-2k-v0")
    write_csv(grid, tmp_path / "grid.csv")
    mapping = DataOptions(data="grid.csv", columns=tuple(columns(grid))).mapping()
    assert OfflineDataset.from_csv(tmp_path / "grid.csv", mapping, n_actions=4).fingerprint() == grid.fingerprint()
    double = load_dataset("maze/stitch-8k-v0", dtype=torch.float64).subset(range(50))
    double = dataclasses.replace(double, rewards=double.rewards + torch.rand(50, dtype=torch.float64))
    write_csv(double, tmp_path / "double.csv")
    mapping = DataOptions(data="double.csv", columns=tuple(columns(double))).mapping()
    back = OfflineDataset.from_csv(tmp_path / "double.csv", mapping, dtype=torch.float64)
    assert back.fingerprint() == double.fingerprint()
    with pytest.raises(CheckpointError, match="a failed write"):
        (tmp_path / "folder.csv").mkdir()
        write_csv(grid, tmp_path / "folder.csv")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
def test_writing_a_table_takes_little_memory(tmp_path: Path) -> None:
    """Text of a whole table, built at once, took tens of times the memory of its numbers."""
    path = tmp_path / "log.csv"
    code = f"""
import re, sys, torch
from pathlib import Path
from cql_tutorial import OfflineDataset
from cql_tutorial.cli.convert import write_csv
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
n, path = 30_000, Path({str(path)!r})
observations, flags = torch.randn(n, 20), torch.zeros(n, dtype=torch.bool)
log = OfflineDataset.from_arrays(observations, torch.zeros(n, 1), torch.zeros(n), observations, flags)
write_csv(log.subset(range(n // 10)), path)
before = peak()
write_csv(log, path)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < path.stat().st_size / 2  # at once it is numpy's text, four bytes a letter: eight times


@pytest.mark.parametrize("policy", ["random", "online"])
def test_collect_from_a_world(policy: str, tmp_path: Path) -> None:
    words = ["--world", "pendulum", "--policy", policy, "--steps", 520, "--id", "tt/a-v0", "--out", tmp_path, "--quiet"]
    run("collect", *words)
    data = load_dataset(tmp_path / "tt/a-v0")
    assert len(data) == 520 and data.episode_lengths().tolist() == [200, 200, 120] and int(data.truncations.sum()) == 3


@pytest.mark.parametrize(("task", "kind"), [("CartPole-v1", "discrete-bc"), ("Pendulum-v1", "bc")])
def test_collect_from_a_checkpoint_repeats(task: str, kind: str, tmp_path: Path) -> None:
    run("collect", "--env", task, "--steps", 100, "--id", "tt/random-v0", "--out", tmp_path, "--quiet")
    words = ["--data", tmp_path / "tt/random-v0", "--out", tmp_path / "bc", "--steps", 20, "--env", "recorded"]
    run("train", kind, *words, "--episodes", 1, *QUICK)
    prints = []
    for number in range(2):
        more = ["--policy", tmp_path / "bc" / "seed-0.safetensors", "--stochastic", "--id", f"tt/clone-v{number}"]
        run("collect", "--env", task, "--steps", 60, "--out", tmp_path, "--quiet", *more)
        prints.append(load_dataset(tmp_path / f"tt/clone-v{number}").fingerprint())
    assert prints[0] == prints[1]


def test_describe_reports_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run("describe", *MAZE, "--strict", "--out", tmp_path / "d.json", "--figure", tmp_path / "new" / "d.png")
    report = json.loads((tmp_path / "d.json").read_text())
    assert report["defects"] == [] and report["facts"]["transitions"] == 8000 and report["refused"] is None
    assert (tmp_path / "new" / "d.png").stat().st_size > 10_000
    assert "0 known defects: none was found." in capsys.readouterr().out
    dataset = load_dataset("maze/stitch-8k-v0").subset(range(50))
    twice = OfflineDataset.from_arrays(
        **{
            name: torch.cat([getattr(dataset, name)] * 2)
            for name in ("observations", "actions", "rewards", "next_observations", "terminations", "truncations")
        }
    )
    write_csv(twice, tmp_path / "twice.csv")
    run("describe", "--data", tmp_path / "twice.csv", "--columns", *columns(twice), "--strict", expect=1)
    assert "50 of 100" in capsys.readouterr().out


def test_describe_tells_what_is_wrong_with_data_that_cannot_be_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "log.csv"
    file.write_text("x,a,r,end\n0,0.5,1,0\n1,7.5,nan,0\n2,-3,1,1\n")
    mapping = ["observations=x", "actions=a", "rewards=r", "terminations=end"]
    run("describe", "--data", file, "--columns", *mapping, "--out", tmp_path / "d.json", expect=1)
    text = capsys.readouterr().out
    assert "cannot be loaded as they are" in text and "Remedy: " in text
    report = json.loads((tmp_path / "d.json").read_text())
    assert report["refused"] and {one["count"] for one in report["defects"]} >= {1, 2}


def test_an_untrusted_file_is_read_by_a_child_first(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run("describe", *MAZE, "--untrusted")
    bad = tmp_path / "bad.hdf5"
    bad.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))
    run("describe", "--data", bad, "--untrusted", expect=2)
    assert "a file that HDF5 reads within" in capsys.readouterr().err


# ---------------------------------------------------------------- small parts
def test_a_recorded_environment_of_others_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w').close()\nclass Env: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    dataset = load_dataset("maze/stitch-8k-v0")
    spec = gymnasium.spec("Pendulum-v1").to_json()
    own = dataclasses.replace(dataset, metadata={"env_spec": spec})
    assert make_env("recorded", own).spec.id == "Pendulum-v1"
    bad = json.loads(spec) | {"entry_point": "evil:Env"}
    wrapped = json.loads(spec) | {"additional_wrappers": [{"name": "W", "entry_point": "evil:Env", "kwargs": {}}]}
    for one in (bad, wrapped, json.loads(spec) | {"entry_point": "gymnasium.envs.classic_control.pendulum:sys.exit"}):
        with pytest.raises((ConfigError, DataError)):
            make_env("recorded", dataclasses.replace(dataset, metadata={"env_spec": json.dumps(one)}))
    assert not (tmp_path / "mark").exists()


def test_json_is_written_whole_and_without_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "x.json", {"a": float("nan"), "b": [1.0, float("inf")], "c": Path("y")})
    assert json.loads((tmp_path / "new" / "x.json").read_text()) == {"a": None, "b": [1.0, None], "c": "y"}
    with pytest.raises(CheckpointError, match="a failed write"):
        write_json(tmp_path / "new", {})
    assert os.listdir(tmp_path) == ["new"] or sorted(os.listdir(tmp_path)) == ["new", "new.tmp"]


def test_a_table_lines_up() -> None:
    text = table([{"name": "a", "value": 1.23456}, {"name": "bcd", "other": 7}])
    assert text.splitlines() == ["name  value  other", "   a  1.235", " bcd             7"]


# ---------------------------------------------------------------- logs of others: roles, remedies, recordings
def log_file(folder: Path, **changes: Any) -> Path:
    """Nine episodes of seven steps that all terminate, as CSV."""
    import pandas

    rng = np.random.default_rng(0)
    columns = {"t": np.arange(63), "x": rng.normal(size=63), "a": rng.uniform(-1, 1, 63), "r": rng.normal(size=63)}
    columns |= {"end": (np.arange(63) % 7 == 6).astype(int)}
    pandas.DataFrame(columns | changes).to_csv(folder / "log.csv", index=False)
    return folder / "log.csv"


ROLES = ["--columns", "observations=x", "actions=a", "rewards=r", "terminations=end"]


def test_describe_shows_the_roles_and_counts_what_is_suspicious(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = log_file(tmp_path)
    run("describe", "--data", path, *ROLES, "--strict", expect=1)
    text = capsys.readouterr().out
    assert "observations       x" in text and "not used           t" in text
    assert (
        "termination set at the time limit: 9 of 9" in text and "after 7 steps" in text and "--mend time-limit" in text
    )
    run("describe", "--data", log_file(tmp_path, x=[np.nan] + [1.5] * 62), *ROLES, expect=1)
    text = capsys.readouterr().out
    assert "1 missing values in 1 rows" in text and "NaN or infinite values: 1 of" in text
    run("describe", "--data", log_file(tmp_path, end=["no"] * 62 + ["?"]), *ROLES, expect=2)
    assert "column 'end', line 64" in capsys.readouterr().err
    run("describe", "--data", log_file(tmp_path), *ROLES, "--figure", tmp_path / "r.xyz", expect=2)
    assert "--figure" in capsys.readouterr().err


def test_convert_mends_what_describe_advises_and_prints_the_next_command(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    holes = np.random.default_rng(1).normal(size=63)
    holes[[10, 30]] = np.nan
    path = log_file(tmp_path, x=holes)
    targets = ["--hdf5", "m.hdf5", "--csv", "m.csv", "--parquet", "m.parquet", "--id", "mine/m-v0"]
    run("convert", "--data", path, *ROLES, "--mend", "not-finite", "time-limit", *targets)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("mended: not-finite: dropped 13 rows (11 of them") for line in lines), "9 are last rows"
    assert any(line.startswith("mended: time-limit: moved 9 flags to truncations") for line in lines), lines
    again = [line.removeprefix("read it with ").split() for line in lines if line.startswith("read it with ")]
    assert len(again) == 4
    prints = set()
    for words in again:
        run("describe", *words, "--strict")
        out = capsys.readouterr().out
        names = ("transitions  ", "episodes  ", "truncations  ")
        prints.add(tuple(line for line in out.splitlines() if line.startswith(names) and line[-1].isdigit()))
    assert len(prints) == 1
    run("convert", "--data", path, *ROLES, "--mend", "time-limits", "--hdf5", "n.hdf5", expect=2)
    assert "nearest: time-limit" in capsys.readouterr().err


def test_choices_are_asked_about_and_the_printed_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = log_file(tmp_path, a=np.arange(63) % 2)
    run("train", "cql", "--data", path, *ROLES, "--out", tmp_path / "o", expect=2)
    error = capsys.readouterr().err
    assert "whole numbers 0..1" in error and "--n-actions 2" in error and "n_actions=" not in error
    run("convert", "--data", path, *ROLES, "--n-actions", 2, "--csv", tmp_path / "out.csv")
    assert "actions=action " in (text := capsys.readouterr().out) and "--n-actions 2" in text


def test_errors_speak_of_flags_and_not_of_python() -> None:
    from cql_tutorial.cli.files import in_flags

    text = in_flags('pass the action_low= and action_high=, or out_of_bounds="clip"; dtype=torch.float64; n_actions=3')
    assert (
        text == "pass the --action-low and --action-high, or --out-of-bounds clip; --read-dtype float64; --n-actions 3"
    )
    assert in_flags("columns['rewards']: found x") == "--columns rewards: found x"
    assert in_flags("OfflineDataset.from_arrays(n_actions=2)") == "OfflineDataset.from_arrays(n_actions=2)"


@pytest.mark.filterwarnings("ignore:.*share an object")
def test_a_recording_is_never_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pumps_for_test.py").write_text(
        """
import gymnasium, numpy as np
class Pump(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    def __init__(self, fail=0):
        self.t, self.fail = 0, fail
    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.state = np.zeros(2, np.float32)
        return self.state, {}
    def step(self, action):
        self.t += 1
        if self.t == self.fail:
            raise RuntimeError("the motor stopped")
        self.state += np.float32(action[0])  # the same array, again and again
        return self.state, float(self.state[0]), False, self.t % 10 == 0, {}
for name, fail in (("Pump-v0", 0), ("Broken-v0", 37)):
    if name not in gymnasium.registry:
        gymnasium.register(name, entry_point="pumps_for_test:Pump", kwargs={"fail": fail})
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = ["--steps", 60, "--out", tmp_path, "--quiet"]
    run("collect", "--env", "pumps_for_test:Pump-v0", "--id", "tt/pump-v0", *words)
    data = load_dataset(tmp_path / "tt/pump-v0")
    assert len(data) == 60 and data.episode_lengths().tolist() == [10] * 6 and not data._gaps().any()
    run("collect", "--env", "pumps_for_test:Broken-v0", "--id", "tt/broken-v0", *words, expect=1)
    assert "after 36 of 60 steps: RuntimeError: the motor stopped" in capsys.readouterr().err
    assert len(load_dataset(tmp_path / "tt/broken-v0")) == 36
    with monkeypatch.context() as patch:
        patch.setattr(OfflineDataset, "to_minari", lambda *_, **__: 1 / 0)
        run("collect", "--env", "Pendulum-v1", "--id", "tt/kept-v0", *words)
    assert "kept in a flat file" in capsys.readouterr().out
    assert len(load_dataset(tmp_path / "tt/kept-v0.hdf5")) == 60
    steps: list[int] = []
    monkeypatch.setattr(gymnasium.Env, "step", lambda *_: steps.append(1))
    run("collect", "--env", "Pendulum-v1", "--id", "tt/pump-v0", *words, expect=2)
    assert "exists already" in capsys.readouterr().err and not steps
