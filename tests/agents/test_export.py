"""Exported policies: equal to `act`, whatever the batch; what is inside; what becomes of nan."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cql_tutorial import make_agent
from cql_tutorial.agents import AGENTS
from cql_tutorial.agents.export import METADATA, load_exported
from cql_tutorial.errors import CheckpointError, ConfigError

torch.set_num_threads(1)
LIKE_CQL = {"cql-lagrange", "cal-ql", "cql-redq", "dqn", "discrete-cal-ql"}  # whose policies are (discrete-)cql's
NAMES = sorted(set(AGENTS) - LIKE_CQL)
MEAN, STD = np.array([1.0, 2.0, 3.0, 4000.0]), np.array([1.0, 20.0, 0.3, 100.0])


def build(name: str, normalised: bool = True, **config: Any) -> Any:
    bounds = {"action_low": (-1.0, -2.0, 0.0), "action_high": (1.0, 2.0, 3.0)}
    bounds = {} if AGENTS[name][0].discrete else bounds
    shape = {"state_dim": 4, "action_dim": 3, "hidden_dim": 16, "device": "cpu", "normalize_observations": normalised}
    agent = make_agent(name, shape | bounds | config)
    if normalised:
        agent.set_observation_statistics(MEAN, STD)
    with torch.no_grad():  # policies of a fresh agent hardly differ from state to state
        for parameter in agent.parameters():
            parameter.mul_(2.0)
    return agent


def states(n: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    return (MEAN + np.random.default_rng(seed).normal(size=(n, 4)) * STD).astype(dtype)


@pytest.mark.parametrize("name", NAMES)
def test_it_acts_as_the_agent_does(name: str, tmp_path: Path) -> None:
    agent, x = build(name), states(1000)
    policy, about = load_exported(agent.export(tmp_path / "policy.pt2"))
    found = policy(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, agent.act(x), rtol=0, atol=1e-6)
    assert found.dtype == agent.act(x).dtype and len(np.unique(found)) > 1
    for n in (1, 2, 7):
        assert np.array_equal(policy(torch.from_numpy(x[:n])).numpy(), found[:n]) or np.allclose(
            policy(torch.from_numpy(x[:n])).numpy(), found[:n], atol=1e-6
        )
    assert about["algorithm"] == agent.name and about["state_dim"] == 4 and about["inputs"] == ["observations"]
    assert about["normaliser"]["mean"] == pytest.approx(MEAN.tolist()) and about["discrete"] == agent.discrete
    assert about["action_high"] == (None if agent.discrete else [1.0, 2.0, 3.0])


@pytest.mark.slow
@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 3), st.booleans(), st.sampled_from(["float32", "float64"]))
@settings(max_examples=6, deadline=None, derandomize=True)
def test_whatever_the_shapes(width: int, actions: int, layers: int, discrete: bool, dtype: str) -> None:
    import tempfile

    config: dict[str, Any] = {"state_dim": width, "action_dim": actions, "hidden_layers": layers, "hidden_dim": 8}
    agent = make_agent("discrete-iql" if discrete else "cql", config | {"dtype": dtype, "device": "cpu"})
    x = np.random.default_rng(0).normal(size=(50, width)).astype(dtype)
    with tempfile.TemporaryDirectory() as folder:
        policy, about = load_exported(agent.export(Path(folder) / "policy.pt2"))
    np.testing.assert_allclose(policy(torch.from_numpy(x)).numpy(), agent.act(x), atol=1e-6)
    assert about["dtype"] == dtype and about["normaliser"] is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_told_by_the_action(name: str, bad: float, tmp_path: Path) -> None:
    """`act` refuses such a row; a graph cannot, and says so in its metadata."""
    agent, x = build(name), states(5)
    x[2, 1] = bad
    policy, about = load_exported(agent.export(tmp_path / "policy.pt2"))
    found = policy(torch.from_numpy(x)).numpy()
    good = [0, 1, 3, 4]
    np.testing.assert_allclose(found[good], agent.act(x[good]), atol=1e-6)
    assert (found[2] == -1) if agent.discrete else np.isnan(found[2]).all()
    assert "-1" in about["not_finite"] if agent.discrete else "nan in every action" in about["not_finite"]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "soft-q"])
def test_a_stochastic_policy_takes_its_noise(name: str, tmp_path: Path) -> None:
    agent = build(name)
    policy, about = load_exported(agent.export(tmp_path / "policy.pt2", stochastic=True))
    x, g = states(1), torch.Generator().manual_seed(0)
    rows = torch.from_numpy(x).expand(4000, -1).contiguous()
    noise = torch.rand(4000, 3, generator=g) if agent.discrete else torch.randn(4000, 3, generator=g)
    found = policy(rows, noise)
    own = agent.policy(deterministic=False).sample(rows, g)[0]
    assert about["noise"] == ("uniform in (0, 1)" if agent.discrete else "standard normal")
    if agent.discrete:
        shares = [torch.bincount(one, minlength=3) / 4000 for one in (found, own)]
        assert torch.allclose(*shares, atol=0.04)
    else:
        assert torch.allclose(found.mean(0), own.mean(0), atol=0.1) and torch.allclose(
            found.std(0), own.std(0), atol=0.1
        )
        low, high = torch.tensor([-1.0, -2.0, 0.0]), torch.tensor([1.0, 2.0, 3.0])
        assert bool(((found >= low) & (found <= high)).all())


def test_only_the_policy_is_inside(tmp_path: Path) -> None:
    agent = build("cql")
    path = agent.export(tmp_path / "policy.pt2")
    names = set(torch.export.load(path).state_dict)
    assert not any("critic" in name or "temperature" in name for name in names) and any("actor" in n for n in names)
    assert hasattr(agent, "critic") and agent.q_values(states(2), np.zeros((2, 3), "f4")).shape == (2, 2)


@pytest.mark.slow
def test_it_runs_in_a_process_without_this_package(tmp_path: Path) -> None:
    agent, x = build("cql"), states(6)
    agent.export(tmp_path / "policy.pt2")
    np.save(tmp_path / "x.npy", x)
    lines = f"""import sys, torch, numpy as np
extra = {{"{METADATA}": ""}}
policy = torch.export.load("policy.pt2", extra_files=extra).module()
np.save("y.npy", policy(torch.from_numpy(np.load("x.npy"))).numpy())
print(extra["{METADATA}"])
assert "cql_tutorial" not in sys.modules
"""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    run = [sys.executable, "-c", lines]
    out = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert json.loads(out)["algorithm"] == "cql"
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), agent.act(x), atol=1e-6)


def test_what_cannot_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="format"):
        build("bc").export(tmp_path / "policy", format="torchscript")
    unset = make_agent("bc", {"state_dim": 2, "action_dim": 1, "normalize_observations": True})
    with pytest.raises(ConfigError, match="observation statistics"):
        unset.export(tmp_path / "policy.pt2")
    with pytest.raises(CheckpointError, match=r"a folder"):
        build("bc").export(tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"no onnx.*cql-tutorial\[onnx\]"):
        build("bc").export(tmp_path / "policy.onnx", format="onnx")
    (tmp_path / "other.pt2").write_bytes(b"something else")
    with pytest.raises(CheckpointError, match=r"other\.pt2"):
        load_exported(tmp_path / "other.pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["other.pt2"]


# ---------------------------------------------------------------- ONNX
def session_of(agent: Any, path: Path, stochastic: bool = False) -> Any:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(str(agent.export(path, format="onnx", stochastic=stochastic)))


@pytest.mark.parametrize(
    "name", [name if name in ("cql", "discrete-cql") else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_onnx_acts_as_the_agent_does(name: str, tmp_path: Path) -> None:
    agent, x = build(name), states(1000)
    session = session_of(agent, tmp_path / "policy.onnx")
    found = session.run(None, {"observations": x})[0]
    np.testing.assert_allclose(found, agent.act(x), rtol=0, atol=1e-6)
    assert session.run(None, {"observations": x[:1]})[0].shape == found[:1].shape
    about = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
    assert about["algorithm"] == agent.name and about["normaliser"]["std"] == pytest.approx(STD.tolist())
    x[3, 0] = np.nan
    row = session.run(None, {"observations": x})[0][3]
    assert (row == -1) if agent.discrete else np.isnan(row).all()


@pytest.mark.parametrize("name", ["iql", "discrete-bc"])
def test_onnx_samples_as_the_other_form_does(name: str, tmp_path: Path) -> None:
    agent, x = build(name), states(1000)
    noise = np.random.default_rng(0).random((1000, 3)).astype("f4")
    policy = load_exported(agent.export(tmp_path / "s.pt2", stochastic=True))[0]
    found = session_of(agent, tmp_path / "s.onnx", stochastic=True).run(None, {"observations": x, "noise": noise})[0]
    np.testing.assert_allclose(found, policy(torch.from_numpy(x), torch.from_numpy(noise)).numpy(), rtol=0, atol=1e-6)
    assert len(np.unique(found)) > 1
