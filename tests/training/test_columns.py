"""What `fit` says of observations that train badly: every case that was met, and none of the sets shipped here."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cql_tutorial import OfflineDataset, fit, fit_population, load_dataset, make_agent
from cql_tutorial.agents.normaliser import column_faults
from cql_tutorial.errors import CQLWarning, DivergedError

torch.set_num_threads(1)
DATA = Path(__file__).parents[2] / "data"
SHIPPED = sorted(f"{path.parent.name}/{path.name}" for path in DATA.glob("[!m]*/*-v0") if path.is_dir())


def columns(seed: int = 0, n: int = 400, width: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, width))).float()


def dataset(observations: torch.Tensor, following: torch.Tensor | None = None) -> OfflineDataset:
    n = len(observations)
    g = torch.Generator().manual_seed(0)
    actions, rewards = torch.rand(n, 1, generator=g) - 0.5, torch.randn(n, generator=g)
    following = observations.roll(-1, 0) if following is None else following
    return OfflineDataset.from_arrays(observations, actions, rewards, following, torch.zeros(n, dtype=torch.bool))


def build(name: str = "cql", **config: Any) -> Any:
    return make_agent(name, {"state_dim": 3, "action_dim": 1, "hidden_dim": 8, "device": "cpu", **config})


def told(data: OfflineDataset, **config: Any) -> list[str]:
    """What `fit` warns of in the observations."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        agent = build("bc", state_dim=data.observation_dim, action_dim=data.action_dim, action_low=-3, action_high=3)
        agent = agent if not config else build("bc", **agent.config.to_dict() | config)
        for _ in range(2):  # once, however often it is trained
            fit(agent, data, 1, batch_size=8, progress=False)
    return [
        str(one.message) for one in caught if "observations" in str(one.message) and "log_std" not in str(one.message)
    ]


@pytest.mark.parametrize("name", SHIPPED)
def test_none_of_the_shipped_sets(name: str) -> None:
    data = load_dataset(name)
    assert column_faults(data.observations, data.next_observations) == []


PENDULUM = {
    "one column x1000": (lambda x: x * torch.tensor([1.0, 1000.0, 1.0]), ["column 1"]),
    "all columns + 1000": (lambda x: x + 1000, ["column 0", "column 1", "column 2"]),
    "x 0.001": (lambda x: x * 0.001, ["column 0", "column 1", "column 2"]),
}


@pytest.mark.parametrize("case", PENDULUM)
def test_pendulum_in_other_units(case: str) -> None:
    """The public threads' case: observations that were scaled in training and are not at deployment."""
    data = load_dataset("pendulum/medium-10k-v0")
    change, names = PENDULUM[case]
    moved = dataset(change(data.observations[:2000]), change(data.next_observations[:2000]))
    (message,) = told(moved)
    assert all(name in message for name in names) and "normalize_observations=True" in message
    assert told(moved, normalize_observations=True) == []


@pytest.mark.parametrize("scale", [30.0, 100.0, 300.0, 1000.0, 0.01])
def test_columns_about_a_scale(scale: float) -> None:
    """Means of 10 standard deviations, from the scale at which a policy's width was seen to die."""
    data = dataset(scale * (1 + 0.1 * columns(n=2000, width=4)))
    (message,) = told(data)
    assert all(f"column {c}" in message for c in range(4))


@pytest.mark.parametrize("value", [1e10, 1e20, 1e30, -1e10, 1e4])
@pytest.mark.parametrize("normalised", [False, True])
def test_a_finite_number_far_from_all_others(value: float, normalised: bool) -> None:
    observations = columns()
    observations[17, 2] = value
    (message,) = told(dataset(observations), normalize_observations=normalised)
    assert f"column 2 holds {value:.3g} in row 17" in message and "correct or drop the row" in message
    assert "normalize_observations" not in message  # the others are of order 1
    following = columns()
    following[5, 1] = value
    (message,) = told(dataset(columns(), following), normalize_observations=normalised)
    assert f"next observations, column 1 holds {value:.3g} in row 5" in message


def test_columns_with_names_are_told_by_them() -> None:
    observations = columns()
    observations[:, 0] *= 1000
    observations[17, 2] = 1e9
    named = replace(dataset(observations), metadata={"columns": {"observations": ["heat", "flow", "load"]}})
    (message,) = told(named)
    assert "column 0 (heat) has standard deviation" in message and "column 2 (load) holds 1e+09 in row 17" in message


@pytest.mark.parametrize("value", [1e30, 1e36])
def test_a_diverged_loss_names_the_column(value: float) -> None:
    observations = columns()
    observations[17, 2] = value
    with pytest.warns(CQLWarning), pytest.raises(DivergedError, match=r"column 2 holds .* in row 17.*step sizes"):
        fit(build(critic_lr=1e-2), dataset(observations), 200, batch_size=64, log_every=5, progress=False)


def test_a_diverged_loss_of_clean_columns_names_none() -> None:
    data = dataset(columns())
    data.rewards[3] = 1e30
    with pytest.raises(DivergedError) as caught:
        fit(build(), data, 200, batch_size=64, log_every=5, progress=False)
    assert "column" not in str(caught.value)


def test_what_is_safe() -> None:
    n = 1000
    x = columns(n=n, width=1)[:, 0]
    safe = {
        "constant": torch.full((n,), 1e6),
        "zero": torch.zeros(n),
        "a rare event, one-hot": (torch.arange(n) == 7).float(),
        "its complement": (torch.arange(n) != 7).float(),
        "an angle's cosine": torch.cos(x),
        "a long tail": torch.where(torch.arange(n) % 10 == 0, 5.0, 0.001 * x),
        "mostly zero": torch.where(torch.arange(n) % 4 == 0, 8 + x, 0.0),
    }
    assert column_faults(torch.stack(list(safe.values()), 1)) == []


@given(
    st.integers(-8, 8),
    st.floats(-3, 3),
    st.sampled_from(["normal", "uniform", "two values", "mostly zero"]),
    st.integers(0, 99),
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_by_its_standard_deviation_and_mean(power: int, shift: float, shape: str, seed: int) -> None:
    """The rule as the page states it, over scales and shapes of distributions."""
    g = np.random.default_rng(seed)
    x = {
        "normal": g.normal(size=500),
        "uniform": g.uniform(-1.7, 1.7, size=500),
        "two values": g.choice([-1.0, 1.0], size=500),
        "mostly zero": np.where(g.random(500) < 0.7, 0.0, g.normal(size=500)),
    }[shape]
    column = (x + shift) * 10.0**power
    bad = bool(not 0.1 <= column.std() <= 10 or abs(column.mean()) > 10 or abs(column.mean()) > 10 * column.std())
    faults = column_faults(torch.from_numpy(column)[:, None])
    assert bool(faults) is bad and not any(fault.outlier for fault in faults)


def test_a_table_of_many_columns_is_told_in_one_warning() -> None:
    wide = columns(width=40) * 100
    (message,) = told(dataset(wide))
    assert "column 9 " in message and "column 11 " not in message and "30 more" in message


def test_a_population_says_it_once() -> None:
    data = dataset(columns() * 100)
    configs = [build().config.to_dict() | {"seed": seed} for seed in range(3)]
    with pytest.warns(CQLWarning, match="column 0") as caught:
        fit_population("cql", configs, data, 2, batch_size=8, progress=False)
    assert len([one for one in caught if "column 0" in str(one.message)]) == 1
