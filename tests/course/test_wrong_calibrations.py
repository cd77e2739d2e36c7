"""Each wrong calibration is wrong in the way its name says, and in no other; the right one is Cal-QL's."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from cql_tutorial import OfflineDataset, fit, losses, make_agent
from cql_tutorial.course.wrong_calibrations import FACTOR, PENALTIES, RETURNS, VERSIONS, WRONG
from cql_tutorial.errors import ConfigError, DataError
from tests.agents.test_agents import FAST, make_batch

torch.set_num_threads(1)
E, B, N, A = 2, 5, 3, 2
GENERATOR = torch.Generator().manual_seed(0)
Q = torch.randn(E, B, 3 * N, generator=GENERATOR, dtype=torch.float64)
Q_DATA = torch.randn(E, B, generator=GENERATOR, dtype=torch.float64)
RETURNS_TO_GO = 0.3 * torch.randn(B, generator=GENERATOR, dtype=torch.float64)
LOG_DENSITY = torch.randn(B, 3 * N, generator=GENERATOR, dtype=torch.float64)
LOG_DENSITY[:, :N] = -A * math.log(2.0)
SETTINGS: dict[str, Any] = {**FAST, "state_dim": 3, "action_dim": 2, "hidden_dim": 8, "dtype": "float64", "seed": 1}
SETTINGS |= {"cql_alpha": 2.0, "cql_n_actions": 2, "device": "cpu"}


def penalty(name: str) -> torch.Tensor:
    return PENALTIES[name](Q, LOG_DENSITY, Q_DATA, RETURNS_TO_GO, N)


def slow_penalty(name: str) -> torch.Tensor:
    """One candidate of one row at a time."""
    found = torch.zeros(E, dtype=torch.float64)
    for e in range(E):
        for b in range(B):
            bound, total = float(RETURNS_TO_GO[b]), 0.0
            for k in range(3 * N):
                q, log_density = float(Q[e, b, k]), float(LOG_DENSITY[b, k])
                policy = k >= N
                if name == "after_density":
                    total += math.exp(max(q - log_density, bound) if policy else q - log_density) / (3 * N)
                    continue
                if name == "uniform_too" or (policy and name in ("correct", "data_term_too")):
                    q = max(q, bound)
                if policy and name == "min_for_max":
                    q = min(q, bound)
                total += math.exp(q - log_density) / (3 * N)
            q_data = max(float(Q_DATA[e, b]), bound) if name == "data_term_too" else float(Q_DATA[e, b])
            found[e] += (math.log(total) - q_data) / B
    return found


@pytest.mark.parametrize("name", list(PENALTIES))
def test_a_version_is_its_slow_loop_and_no_other(name: str) -> None:
    for other in PENALTIES:
        assert torch.allclose(penalty(name), slow_penalty(other), atol=1e-9) == (name == other)
    assert (name in WRONG) == (name not in ("correct", "no_bound"))


def batch_of(step: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1000 + step)
    return {**make_batch(step, 8), "returns_to_go": 0.3 * torch.randn(8, generator=generator, dtype=torch.float64)}


@pytest.mark.parametrize(("version", "name"), [("correct", "cal-ql"), ("no_bound", "cql")])
def test_two_versions_are_agents_of_the_package(version: str, name: str) -> None:
    agent, other = make_agent("cal-ql-version", {**SETTINGS, "version": version}), make_agent(name, SETTINGS)
    rates = []
    for step in range(20):
        batch, noise = batch_of(step), agent.draw_noise(8)
        found, expected = agent.update(batch, noise), other.update(batch, noise)
        assert set(found) == {*expected, "bound_rate"}
        assert {key: float(found[key]) for key in expected} == pytest.approx(
            {key: float(value) for key, value in expected.items()}, abs=1e-9
        )
        rates.append(float(found["bound_rate"]))
    assert 0.05 < sum(rates) / len(rates) < 0.95
    for ours, theirs in zip(agent.critic.parameters(), other.critic.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-9)


def data() -> OfflineDataset:
    """Two episodes of two steps with rewards 1, 2 and 3, 4: the first ends by itself, the second is cut."""
    states = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    following = torch.stack([states[1], states[0], states[3], states[2]])
    ends = torch.tensor([False, True, False, False])
    return OfflineDataset.from_arrays(
        states, torch.zeros(4, 2), torch.arange(1.0, 5.0), following, ends, truncations=torch.tensor([0, 0, 0, 1]) > 0
    )


def test_other_returns_to_go() -> None:
    config = {**SETTINGS, "discount": 0.5, "truncation_value": 8.0}
    right = torch.tensor([2.0, 2.0, 7.0, 8.0])
    expected = {
        **dict.fromkeys(PENALTIES, right),
        "cut_at_truncation": torch.tensor([2.0, 2.0, 5.0, 4.0]),
        "undiscounted": torch.tensor([3.0, 2.0, 7.0, 4.0]),
        "other_unit": FACTOR * right,
    }
    assert set(expected) == set(VERSIONS) and set(RETURNS) == set(VERSIONS) - set(PENALTIES)
    for version, returns in expected.items():
        agent = make_agent("cal-ql-version", {**config, "version": version})
        prepared = agent.prepare_dataset(data())
        assert prepared.batch_returns.tolist() == returns.tolist(), version
    assert not torch.equal(losses.calibrate(Q, RETURNS_TO_GO), Q)


def test_it_can_be_trained_and_refuses_what_it_does_not_know() -> None:
    agent = make_agent("cal-ql-version", {**SETTINGS, "version": "undiscounted", "truncation_value": 1.0})
    history = fit(agent, data(), 3, batch_size=2, log_every=3, progress=False)
    assert 0 <= history.last("bound_rate") <= 1
    with pytest.raises(DataError, match="returns_to_go"):
        agent.update(make_batch(0, 8))
    with pytest.raises(ConfigError, match="version"):
        make_agent("cal-ql-version", {**SETTINGS, "version": "max_last"})
