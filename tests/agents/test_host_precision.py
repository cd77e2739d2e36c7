"""No float64 on the device: Apple's GPUs have none. Checked on a pretend device, as none is at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cql_tutorial import OfflineDataset, fit, fit_population, make_agent
from cql_tutorial.agents import AGENTS
from cql_tutorial.batch import as_tensor
from cql_tutorial.errors import DataError
from cql_tutorial.evaluation.off_policy import (
    bellman_error,
    fitted_q_evaluation,
    initial_state_value,
    weighted_importance_sampling,
)
from cql_tutorial.fast.cuda_graph import GraphRunner

torch.set_num_threads(1)


class Device(TorchDispatchMode):
    """Every tensor is on a device without float64, until ``.cpu()`` brings it to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.host: dict[int, torch.Tensor] = {}  # kept alive, so that no other tensor gets its id

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        there = [one for one in given if id(one) not in self.host]
        for made in tree_leaves(out):
            if isinstance(made, torch.Tensor):
                if not there or function is torch.ops.aten.lift_fresh.default:  # of numbers of the host
                    self.host[id(made)] = made
                elif made.dtype == torch.float64:
                    raise TypeError(f"Cannot convert a tensor to float64: the device has none ({function})")
        return out


@contextmanager
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    mode, cpu, from_numpy = Device(), torch.Tensor.cpu, torch.from_numpy

    def to_host(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        copy = cpu(tensor).clone()
        mode.host[id(copy)] = copy
        return copy

    def of_host(array: Any) -> torch.Tensor:
        made = from_numpy(array)
        mode.host[id(made)] = made
        return made

    with monkeypatch.context() as patch, mode:
        patch.setattr(torch, "from_numpy", of_host)
        patch.setattr(torch.Tensor, "cpu", to_host)
        yield


def data(discrete: bool) -> OfflineDataset:
    g = np.random.default_rng(0)
    rows, actions = g.normal(size=(60, 3)), g.integers(2, size=60) if discrete else g.uniform(-1, 1, size=(60, 2))
    actions = actions if discrete else actions.astype("f4")
    ends = np.arange(60) == 29
    made = OfflineDataset.from_arrays(
        rows, actions, g.normal(size=60), rows[::-1], ends, n_actions=2 if discrete else None
    )
    return made


def build(name: str) -> Any:
    shape = {"state_dim": 3, "action_dim": 2, "hidden_dim": 8, "device": "cpu", "normalize_observations": True}
    return make_agent(name, shape)


def test_the_pretended_device_refuses_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(3)
    with pretended(monkeypatch):
        assert float(x.cpu().double().sum()) == 3
        with pytest.raises(TypeError, match="float64"):
            x.double()


@pytest.mark.parametrize("name", sorted(AGENTS))
def test_training_and_acting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, log = build(name), data(AGENTS[name][0].discrete)
    observations = log.observations.numpy()
    with pretended(monkeypatch):
        history = fit(agent, log, 4, batch_size=8, log_every=2, progress=False)
        agent.act(observations)
        agent.act(observations, deterministic=False)
        if hasattr(agent, "q_values"):
            agent.q_values(log.observations, log.actions)
    assert len(history) == 2


@pytest.mark.parametrize("name", ["cql", "sac"])
def test_the_faster_forms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = data(False)
    agent, other = build(name), build(name)
    with pretended(monkeypatch):
        fit(agent, log, 4, batch_size=8, log_every=2, progress=False, fast=True)
        fit_population(name, [agent.config, agent.config], log, 4, batch_size=8, log_every=2, progress=False)
        runner = GraphRunner(other, log, batch_size=8)
        runner.run(2)
        assert runner.metrics()


JUDGES: dict[str, Callable[..., Any]] = {
    "initial-value": initial_state_value,
    "td-error": bellman_error,
    "fqe": lambda agent, log: fitted_q_evaluation(agent, log, 3, hidden_dim=8, batch_size=8).initial_value(),
    "wis": lambda agent, log: weighted_importance_sampling(agent, log, agent.policy(False), deterministic=False),
}


@pytest.mark.parametrize("rule", JUDGES)
@pytest.mark.parametrize("name", ["sac", "iql", "discrete-cql"])
def test_judging(rule: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, log = build(name), data(AGENTS[name][0].discrete)
    fit(agent, log, 2, batch_size=8, progress=False)
    with pretended(monkeypatch):
        found = JUDGES[rule](agent, log)
    assert isinstance(found.value, float)


@pytest.mark.parametrize("discrete", [False, True])
def test_facts_of_the_data(discrete: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Returns are summed in float64 on the host, and come back in the data's dtype with the same values."""
    log = data(discrete)
    exact = log.to(dtype=torch.float64)
    wanted = [exact.returns_to_go(0.9, 2.0, 1.5), exact.episode_returns()]
    with pretended(monkeypatch):
        found = [log.returns_to_go(0.9, 2.0, log.rewards * 0 + 1.5), log.episode_returns()]
        log.with_returns_to_go(0.9).split(0.5)
        log.top_episodes(0.5)
        log.describe()
        log.defects()
        log.subset(range(40)).fingerprint()
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other.float(), rtol=0, atol=0)


# ---------------------------------------------------------------- arrays that people have
@pytest.mark.parametrize("kind", [">f4", "<f8", ">f8", "f2", "longdouble", "u2", ">i4", "u4", "i8"])
def test_numbers_of_any_width_and_order(kind: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(kind)
    found = as_tensor(array)
    assert found.tolist() == array.tolist()
    agent = build("bc")
    agent.set_observation_statistics([0.0] * 3, [1.0] * 3)
    assert np.array_equal(agent.act(array), agent.act(array.astype("f4")))
    assert np.allclose(agent.act(array[0]), agent.act(array.astype("f4"))[0], atol=1e-6)


def test_what_is_no_array_of_numbers_is_named() -> None:
    agent = build("bc")
    agent.set_observation_statistics([0.0] * 3, [1.0] * 3)
    with pytest.raises(
        DataError, match=r"observations: found a dict with the keys \['a', 'goal'\].*FlattenObservation"
    ):
        agent.act({"a": np.zeros(2), "goal": np.zeros(1)})
    masked = np.ma.masked_array(np.zeros(3), mask=[0, 1, 0])
    with pytest.raises(DataError, match="observations: found 1 masked values"):
        agent.act(masked)
    assert agent.act(np.ma.masked_array(np.zeros(3))).shape == (2,)
    with pytest.raises(DataError, match=r"batch\['rewards'\]: found 1 masked"):
        agent.update(
            {
                "observations": np.zeros((3, 3), "f4"),
                "actions": np.zeros((3, 2), "f4"),
                "rewards": np.ma.masked_array(np.zeros(3, "f4"), mask=[0, 0, 1]),
                "next_observations": np.zeros((3, 3), "f4"),
                "terminations": np.zeros(3, bool),
            }
        )
