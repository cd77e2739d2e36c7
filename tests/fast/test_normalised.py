"""The faster forms take the package's normaliser and no other, and the ruler measures in the log's own units."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cql_tutorial import estimation_report, fit, load_dataset, make_agent
from cql_tutorial.agents.normaliser import ObservationNormaliser
from cql_tutorial.envs import Pendulum
from cql_tutorial.errors import ConfigError
from cql_tutorial.fast.as_built import differences

torch.set_num_threads(1)
PENDULUM: dict[str, Any] = {"state_dim": 3, "action_dim": 1, "action_low": -2.0, "action_high": 2.0, "hidden_dim": 16}
PENDULUM |= {"device": "cpu", "dtype": "float64", "normalize_observations": True, "discount": 0.9, "cql_n_actions": 2}


class Clipped(ObservationNormaliser):
    """One of somebody's own."""

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return super().forward(observations).clamp(-5, 5)


def test_another_normaliser_is_refused_by_name() -> None:
    agent = make_agent("cql", PENDULUM)
    assert list(differences(agent)) == []
    agent.normaliser = Clipped(3, agent.dtype, agent.device)
    assert any("normaliser: a Clipped in place of" in why for why in differences(agent))
    with pytest.raises(ConfigError, match="normaliser"):
        fit(agent, load_dataset("pendulum/medium-10k-v0"), 2, fast=True, progress=False)
    fit(agent, load_dataset("pendulum/medium-10k-v0"), 2, batch_size=8, progress=False)  # the readable form calls it
    other = make_agent("cql", PENDULUM)
    other.normaliser.register_forward_hook(lambda *_: None)
    assert any("normaliser: a hook" in why for why in differences(other))


@pytest.mark.parametrize("name", ["cql", "sac"])
def test_the_estimation_report_is_in_the_logs_units(name: str) -> None:
    """The same run inside, on rewards times 8: the world's own rewards are the truth of one alone."""
    data = load_dataset("pendulum/medium-10k-v0", dtype=torch.float64)
    own = {key: value for key, value in PENDULUM.items() if name == "cql" or key != "cql_n_actions"}
    agent = make_agent(name, own | {"reward_scale": 0.125, "initial_value": -30.0})
    fit(agent, data, 20, batch_size=32, progress=False)
    report = estimation_report(agent, Pendulum(), data, n_states=20)
    assert report.at("data")["predicted"] == pytest.approx(-30, abs=15)  # a bias of -3.75 inside
    inside = agent.critic(agent.as_observations(data.observations[:9]), agent.as_actions(data.actions[:9]))
    assert torch.allclose(agent.q_values(data.observations[:9], data.actions[:9]), inside * 8)
    temperature = float(agent.temperature) * 8 if name == "sac" else 0.0
    assert report.temperature == pytest.approx(temperature)
