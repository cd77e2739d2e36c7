"""The stacked update by autograd equals the readable one, and the hand-written one equals both."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cql_tutorial import make_agent
from cql_tutorial.batch import REQUIRED, Batch, Noise
from cql_tutorial.errors import ConfigError
from cql_tutorial.fast.fused import FusedUpdate
from cql_tutorial.fast.reference import StackedAutograd
from tests.agents.test_agents import FAST, SMALL, make_batch

torch.set_num_threads(1)


def stacked(rows: list[Any]) -> dict[str, torch.Tensor]:
    return {
        name: torch.stack([getattr(row, name) for row in rows])
        for name, value in vars(rows[0]).items()
        if value is not None
    }


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"cql_lagrange": True, "cql_target_action_gap": -0.5, "multiplier_lr": 0.05},
        pytest.param({"next_policy_proposal": False, "n_critics": 3}, marks=pytest.mark.slow),
        pytest.param({"backup_entropy": True, "hidden_layers": 3, "critic_weight_decay": 0.1}, marks=pytest.mark.slow),
    ],
)
def test_readable_autograd_and_hand_written_are_one_update(settings: dict[str, Any]) -> None:
    configs = [
        {**SMALL, **FAST, "cql_n_actions": 3, "seed": seed, "cql_alpha": 1.0 + seed, **settings} for seed in range(3)
    ]
    readable, twins, fused = ([make_agent("cql", config) for config in configs] for _ in range(3))
    autograd, by_hand = StackedAutograd(twins), FusedUpdate(fused)
    start = readable[0].critic.weights[0].detach().clone()
    for step in range(40):
        batches = [agent.prepare(make_batch(40 * step + i, 10)) for i, agent in enumerate(readable)]
        noise = [agent.draw_noise(10) for agent in readable]
        one = Batch(**{name: value for name, value in stacked(batches).items() if name in REQUIRED})
        found = [update.update(one, Noise(**stacked(noise))) for update in (autograd, by_hand)]
        for i, agent in enumerate(readable):
            expected = {key: float(value) for key, value in agent.update(batches[i], noise[i]).items()}
            for metrics in found:
                assert {key: float(value[i]) for key, value in metrics.items()} == pytest.approx(expected, abs=1e-9)
    autograd.write_back()
    by_hand.write_back()
    for true, *others in zip(readable, twins, fused, strict=True):
        for other in others:
            for ours, theirs in zip(true.parameters(), other.parameters(), strict=True):
                assert float((ours - theirs).detach().abs().max()) < 1e-9
    assert float((readable[0].critic.weights[0] - start).detach().abs().max()) > 1e-2


@pytest.mark.parametrize(
    "settings", [{"auto_alpha": False}, {"proposal_weights": "mixture"}, {"discount": 0.5, "seed": 1}]
)
def test_what_the_short_form_leaves_out_is_refused(settings: dict[str, Any]) -> None:
    agents = [make_agent("cql", {**SMALL, "seed": 0}), make_agent("cql", {**SMALL, **settings})]
    with pytest.raises(ConfigError):
        StackedAutograd(agents[1:] if "seed" not in settings else agents)
