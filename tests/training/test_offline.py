"""`fit`: exact resume after a kill at any moment, history, evaluation, checks."""

from __future__ import annotations

import json
import signal
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cql_tutorial import History, OfflineDataset, fit, make_agent
from cql_tutorial.agents.checkpoint import read_tensors
from cql_tutorial.errors import CheckpointError, ConfigError, DataError, DivergedError, TargetBelowFloorWarning
from tests.children import Child

torch.set_num_threads(1)
SMALL = {"state_dim": 3, "action_dim": 2, "hidden_dim": 8, "cql_n_actions": 2, "device": "cpu"}


def make_dataset(rows: int = 300, seed: int = 0, scale: float = 1.0) -> OfflineDataset:
    g = torch.Generator().manual_seed(seed)
    observations, next_observations = torch.randn(2, rows, 3, generator=g)
    actions = scale * (2 * torch.rand(rows, 2, generator=g) - 1)
    rewards, terminations = torch.randn(rows, generator=g), torch.rand(rows, generator=g) < 0.05
    return OfflineDataset.from_arrays(
        observations, actions, rewards, next_observations, terminations, action_low=-scale, action_high=scale
    )


def mixed_units() -> OfflineDataset:
    """Columns of three scales and rewards of hundreds: an agent of it has statistics and a reward scale."""
    data = make_dataset()
    scale, shift = torch.tensor([1.0, 5000.0, 0.001]), torch.tensor([30.0, -8000.0, 0.0])
    observations, following = (x * scale + shift for x in (data.observations, data.next_observations))
    return OfflineDataset.from_arrays(
        observations, data.actions, 100 * data.rewards, following, data.terminations, action_low=-1, action_high=1
    )


def run_with_units(path: Path, fast: bool) -> None:
    units = {"normalize_observations": True, "reward_scale": 0.01}
    agent = make_agent("cql-lagrange", {**SMALL, **units, "cql_target_action_gap": 0.0})

    def evaluate(agent: Any) -> dict[str, float]:
        return {"probe": float(agent.q_values(torch.ones(1, 3), torch.zeros(1, 2)).mean())}

    often = {"log_every": 37, "eval_every": 50, "checkpoint_every": 25}
    settings = {"batch_size": 16, "seed": 3, "evaluate": evaluate, "progress": False, **often}
    fit(agent, mixed_units(), 250, checkpoint=path, fast=fast, **settings)


KILLED = """
    import os, signal
    from pathlib import Path
    from cql_tutorial.training import offline
    from tests.training.test_offline import run_with_units

    real_replace, real_add, saves = os.replace, offline.Run.add, 0
    def replace(source, target):
        global saves
        saves += 1
        if saves == {save}:          # the temporary file is half written, the rename never happens
            with open(source, "r+b") as file:
                file.truncate(os.path.getsize(source) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        real_replace(source, target)
    def add(run, metrics, batch):
        real_add(run, metrics, batch)
        if run.step == {update}:
            os.kill(os.getpid(), signal.SIGKILL)
    os.replace, offline.Run.add = replace, add
    run_with_units(Path({path!r}), {fast})
"""


def outcome(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any], list[Any]]:
    tensors, header = read_tensors(path)
    training = json.loads(header.pop("training"))
    return tensors, header, [training["rows"], training["step"], training["run"]]


@pytest.mark.slow
@pytest.mark.parametrize("fast", [False, True], ids=["readable", "fast"])
def test_a_killed_run_resumes_bit_for_bit(fast: bool, tmp_path: Path) -> None:
    """kill -9 while the first checkpoint is written, so that there is none; between two; while another is written."""
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    run_with_units(whole, fast)
    for save, update, left in ((1, 0, 0), (0, 60, 50), (3, 0, 100)):  # of this process, of the run, on the disk
        code = textwrap.dedent(KILLED).format(path=str(broken), fast=fast, save=save, update=update)
        assert Child(code).wait() == -signal.SIGKILL
        assert bool(save) == broken.with_name(f"{broken.name}.tmp").exists()
        assert (outcome(broken)[2][1] if broken.exists() else 0) == left
    run_with_units(broken, fast)

    tensors, header, rest = outcome(whole)
    again, header_again, rest_again = outcome(broken)
    assert header == header_again and rest == rest_again and rest[1] == 250
    assert tensors.keys() == again.keys()
    assert all(torch.equal(tensors[key], again[key]) for key in tensors)
    expected = mixed_units().observations.double().mean(0)
    assert torch.allclose(again["module.normaliser.mean"].double(), expected, rtol=1e-5, atol=1e-6)
    assert json.loads(header["config"])["reward_scale"] == 0.01


def test_history_holds_the_mean_of_each_metric(tmp_path: Path) -> None:
    dataset, agent, twin = make_dataset(), make_agent("sac", SMALL_SAC), make_agent("sac", SMALL_SAC)
    history = fit(agent, dataset, 25, batch_size=16, seed=1, log_every=10, progress=False)
    rows = [{k: float(v) for k, v in twin.update(batch).items()} for batch in dataset.batches(25, 16, 1)]
    assert history["step"] == [10, 20, 25] and len(history) == 3
    for first, last, row in ((0, 10, 0), (10, 20, 1), (20, 25, 2)):
        expected = sum(r["td_loss"] for r in rows[first:last]) / (last - first)
        assert history["td_loss"][row] == pytest.approx(expected, rel=1e-5)
    history.to_csv(tmp_path / "history.csv")
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0].startswith("step,q_value") and len(lines) == 4
    with pytest.raises(KeyError, match="td_loss"):
        history["loss"]
    assert history.last("q_value") == history["q_value"][-1] and "3 rows" in repr(history)
    assert History().rows == []


SMALL_SAC = {key: value for key, value in SMALL.items() if key != "cql_n_actions"}


def test_evaluation_does_not_disturb_training() -> None:
    def run(**settings: Any) -> torch.Tensor:
        agent = make_agent("cql", SMALL)
        fit(agent, make_dataset(), 20, batch_size=16, log_every=5, progress=False, **settings)
        return torch.cat([p.detach().flatten() for p in agent.critic.parameters()])

    def evaluate(agent: Any) -> dict[str, float]:
        agent.policy(deterministic=False)(torch.zeros(5, 3), torch.Generator().manual_seed(0))
        return {"probe": 1.0}

    assert torch.equal(run(), run(evaluate=evaluate, eval_every=3))


def test_a_checkpoint_can_be_extended_and_is_an_agent(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    long, short = make_agent("cql", SMALL), make_agent("cql", SMALL)
    options: dict[str, Any] = {"batch_size": 16, "log_every": 10, "progress": False}
    fit(long, make_dataset(), 40, **options)
    fit(short, make_dataset(), 20, checkpoint=path, **options)
    other = make_agent("cql", SMALL)
    history = fit(other, make_dataset(), 40, checkpoint=path, **options)
    assert history["step"] == [10, 20, 30, 40]
    assert all(torch.equal(value, other.state()[key]) for key, value in long.state().items())
    loaded = type(long).load(path, device="cpu")
    assert all(torch.equal(value, loaded.state()[key]) for key, value in long.state().items())


def test_extending_a_run_keeps_the_means_right(tmp_path: Path) -> None:
    options: dict[str, Any] = {"batch_size": 16, "log_every": 10, "progress": False}
    path = tmp_path / "run.safetensors"
    fit(make_agent("sac", SMALL_SAC), make_dataset(), 25, checkpoint=path, **options)  # ends within a window
    history = fit(make_agent("sac", SMALL_SAC), make_dataset(), 40, checkpoint=path, **options)
    twin, rows = make_agent("sac", SMALL_SAC), []
    for batch in make_dataset().batches(40, 16, 0):
        rows.append(float(twin.update(batch)["td_loss"]))
    assert history["step"] == [10, 20, 25, 30, 40]
    for step, first in ((25, 20), (30, 25), (40, 30)):
        row = history.rows[history["step"].index(step)]
        assert row["td_loss"] == pytest.approx(sum(rows[first:step]) / (step - first), rel=1e-5)


def test_a_diverged_run_leaves_its_last_good_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    agent = make_agent("sac", SMALL_SAC)
    update, count = agent.update, 0

    def spoilt(batch: Any, noise: Any = None) -> Any:
        nonlocal count
        count += 1
        if count == 12:
            with torch.no_grad():
                agent.critic.biases[-1].fill_(float("nan"))
        return update(batch, noise)

    agent.update = spoilt
    with pytest.raises(DivergedError, match="by update 14"):
        fit(agent, make_dataset(), 30, batch_size=16, log_every=10, checkpoint=path, checkpoint_every=7, progress=False)
    tensors, header = read_tensors(path)
    assert json.loads(header["training"])["step"] == 7
    assert all(torch.isfinite(value).all() for value in tensors.values())


def test_numbers_of_numpy_and_torch_do_not_break_a_checkpoint(tmp_path: Path) -> None:
    history = fit(
        make_agent("sac", SMALL_SAC),
        make_dataset(),
        np.int64(4),
        batch_size=np.int32(16),
        seed=np.int64(3),
        evaluate=lambda _: {"a": np.float32(1.5), "b": torch.tensor(2.0), "step": 99},
        eval_every=2,
        checkpoint=tmp_path / "run.safetensors",
        progress=False,
    )
    assert [row["step"] for row in history.rows if "a" in row] == [2, 4]
    assert history.last("b") == 2.0 and history.last("step") == 4


def test_the_multipliers_warning_comes_from_fit() -> None:
    agent = make_agent("cql-lagrange", {**SMALL, "cql_target_action_gap": -50.0, "multiplier_lr": 0.9})
    with pytest.warns(TargetBelowFloorWarning, match="Raise cql_target_action_gap"):
        fit(agent, make_dataset(), 40, batch_size=16, log_every=20, progress=False)


def test_the_time_of_measuring_and_of_earlier_sessions(tmp_path: Path) -> None:
    def slow(_: Any) -> dict[str, float]:
        time.sleep(0.3)
        return {}

    options: dict[str, Any] = {"batch_size": 16, "log_every": 5, "checkpoint": tmp_path / "r", "progress": False}
    began = time.perf_counter()
    first = fit(make_agent("sac", SMALL_SAC), make_dataset(), 10, evaluate=slow, eval_every=2, **options)
    assert 0 < first.seconds < time.perf_counter() - began - 1.5  # five evaluations of 0.3 s are not counted
    again = fit(make_agent("sac", SMALL_SAC), make_dataset(), 12, **options)
    assert again.seconds > first.seconds


@pytest.mark.parametrize(
    ("change", "says"),
    [({"seed": 9}, "seed"), ({"batch_size": 8}, "batch_size"), ({"rows": 299}, "data"), ({"tau": 0.1}, "tau")],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = tmp_path / "run.safetensors"
    fit(make_agent("cql", SMALL), make_dataset(), 5, batch_size=16, checkpoint=path, progress=False)
    content = path.read_bytes()
    agent = make_agent("cql", {**SMALL, **({"tau": change["tau"]} if "tau" in change else {})})
    options = {"batch_size": 16, **{k: v for k, v in change.items() if k in ("seed", "batch_size")}}
    with pytest.raises(CheckpointError, match=says):
        fit(agent, make_dataset(change.get("rows", 300)), 10, checkpoint=path, progress=False, **options)
    assert path.read_bytes() == content
    fit(agent, make_dataset(change.get("rows", 300)), 6, checkpoint=path, resume=False, progress=False, **options)
    make_agent("cql", SMALL).save(path)
    with pytest.raises(CheckpointError, match="without its training run"):
        fit(make_agent("cql", SMALL), make_dataset(), 5, checkpoint=path, progress=False)


def test_clear_errors_before_training() -> None:
    with pytest.raises(ConfigError, match="action_high"):
        fit(make_agent("cql", SMALL), make_dataset(scale=2.0), 5, progress=False)
    with pytest.raises(DataError, match="state_dim"):
        fit(make_agent("cql", {**SMALL, "state_dim": 4}), make_dataset(), 5, progress=False)
    with pytest.raises(ConfigError, match="steps"):
        fit(make_agent("cql", SMALL), make_dataset(), 0, progress=False)
    with pytest.raises(DataError, match="integers"):
        fit(make_agent("dqn", SMALL_SAC), make_dataset(), 5, progress=False)
    grid = OfflineDataset.from_arrays(
        torch.zeros(30, 3), torch.arange(30) % 5, torch.zeros(30), torch.zeros(30, 3), torch.zeros(30), n_actions=5
    )
    for actions in (2, 9):
        with pytest.raises(ConfigError, match="5 actions"):
            fit(make_agent("dqn", {**SMALL_SAC, "action_dim": actions}), grid, 5, progress=False)


def test_clear_errors_about_the_checkpoints_place(tmp_path: Path) -> None:
    agent, options = make_agent("sac", SMALL_SAC), {"batch_size": 16, "progress": False}
    with pytest.raises(CheckpointError, match="a folder"):
        fit(agent, make_dataset(), 5, checkpoint=tmp_path, **options)
    fit(agent, make_dataset(), 5, checkpoint=tmp_path / "new" / "run", **options)
    with pytest.raises(ConfigError, match="checkpoint at update 5"):
        fit(fresh := make_agent("sac", SMALL_SAC), make_dataset(), 4, checkpoint=tmp_path / "new" / "run", **options)
    untouched = make_agent("sac", SMALL_SAC).state()  # refused before anything was loaded
    assert all(torch.equal(value, untouched[key]) for key, value in fresh.state().items())
    with pytest.raises(CheckpointError, match="agent"):
        fit(make_agent("cql", SMALL), make_dataset(), 9, checkpoint=tmp_path / "new" / "run", **options)


def test_divergence_is_named() -> None:
    agent = make_agent("sac", SMALL_SAC)
    with torch.no_grad():
        agent.critic.biases[-1].fill_(float("nan"))
    with pytest.raises(DivergedError, match="by update 5"):
        fit(agent, make_dataset(), 10, batch_size=16, log_every=5, progress=False)


def test_percent_bc_trains_on_the_best_episodes_alone() -> None:
    g = torch.Generator().manual_seed(0)
    observations = torch.randn(400, 3, generator=g)
    good = torch.arange(400) >= 300  # the last 25 % of the episodes of 10 rows
    actions = torch.where(good[:, None], 0.6, -0.6).expand(400, 2).contiguous()
    ends = torch.arange(400) % 10 == 9
    dataset = OfflineDataset.from_arrays(observations, actions, good.float(), observations, ends)
    for fraction, expected in ((0.25, 0.6), (1.0, -0.3)):
        agent = make_agent("bc", {**SMALL_SAC, "top_fraction": fraction, "actor_lr": 1e-2})
        fit(agent, dataset, 300, batch_size=64, progress=False)
        assert float(torch.as_tensor(agent.act(torch.zeros(3))).mean()) == pytest.approx(expected, abs=0.35)
        assert (float(agent.act(torch.zeros(3)).mean()) > 0.5) is (fraction == 0.25)
