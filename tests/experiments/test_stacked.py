"""Agents trained together are those that `fit` trains one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cql_tutorial import fit, make_agent
from experiments.logs import maze_data
from experiments.stacked import NETWORKS, fit_together

SETTINGS: dict[str, dict[str, Any]] = {
    "bc": {},
    "iql": {"expectile": 0.9, "critic_lr": 1e-3},
    "sparse-q": {"regularisation": 0.1, "actor_lr": 1e-3},
    "eql": {"regularisation": 0.5, "weight": "code"},
}


@pytest.mark.parametrize("name", list(SETTINGS))
def test_members_are_trained_as_alone(name: str) -> None:
    shape = {"state_dim": 2, "action_dim": 2, "hidden_dim": 8, "dtype": "float64", "device": "cpu"}
    own = [{"seed": 3}, {"seed": 4}] if name == "bc" else [{"seed": 3}, {"seed": 4, "initial_value": 5.0}]
    configs = [{**shape, **SETTINGS[name], **each} for each in own]
    logs = [maze_data(3), maze_data(4)]
    for agent, config, data in zip(fit_together(name, configs, logs, 20, 16), configs, logs, strict=True):
        alone: Any = make_agent(name, config)
        start = {key: value.clone() for key, value in alone.state_dict().items()}
        fit(alone, data, 20, batch_size=16, seed=config["seed"], progress=False)
        for part in NETWORKS:
            if hasattr(alone, part):
                for key, value in getattr(alone, part).state_dict().items():
                    torch.testing.assert_close(getattr(agent, part).state_dict()[key], value, rtol=1e-9, atol=1e-9)
                    assert not torch.equal(value, start[f"{part}.{key}"])
