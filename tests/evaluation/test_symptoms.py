"""The cards: what is measured of a run, which card applies, and the page that is made of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cql_tutorial import CQLAgent, fit, make_agent
from cql_tutorial.course.studies.ch12 import arm_log
from cql_tutorial.datasets.offline_dataset import OfflineDataset
from cql_tutorial.errors import DataError
from cql_tutorial.evaluation.symptoms import CARDS, deck, look, looked_at, symptoms
from tests import ROOT

torch.set_num_threads(1)
ROW = {"td_loss": 1.0, "q_value": -5.0, "cql_gap": -1.0, "cql_alpha": 1.0, "temperature": 0.1}


def log_of(**columns: Any) -> OfflineDataset:
    generator = torch.Generator().manual_seed(0)
    n = 60
    base = {
        "observations": torch.randn(n, 2, generator=generator),
        "actions": torch.rand(n, 1, generator=generator) - 0.5,
        "rewards": -torch.rand(n, generator=generator),
        "next_observations": torch.randn(n, 2, generator=generator),
        "terminations": torch.zeros(n, dtype=torch.bool),
        "truncations": (torch.arange(n) % 10) == 9,
    }
    return OfflineDataset.from_arrays(**{**base, **columns})


def small(**changes: Any) -> CQLAgent:
    return CQLAgent({"state_dim": 2, "action_dim": 1, "hidden_dim": 8, "device": "cpu", "discount": 0.9, **changes})


def rows(count: int = 10, **columns: Any) -> list[dict[str, float]]:
    """Rows of a history: a column is a number, or a function of the row's number."""
    return [
        {"step": float(i), **{k: float(v(i) if callable(v) else v) for k, v in {**ROW, **columns}.items()}}
        for i in range(count)
    ]


def names(agent: CQLAgent, history: list[dict[str, float]], log: OfflineDataset | None = None) -> list[str]:
    return [card.name for card in symptoms(look(agent, log or log_of(), history))]


def test_every_card_needs_numbers_and_its_sentence_can_be_told() -> None:
    every = {need for card in CARDS.values() for need in card.needs}
    numbers = dict.fromkeys([*every, "highest", "lowest", "multiplier_rises"], 0.5)
    for card in CARDS.values():
        assert card.told(numbers) and card.suspects and card.needs
        assert not looked_at(card, {}) and looked_at(card, numbers)


def test_values_that_cannot_be() -> None:
    # Rewards are at most 0 and no episode terminates: at a discount of 0.9 nothing above 0 can be earned.
    assert "impossible values" in names(small(initial_value=20.0), rows())
    assert "impossible values" in names(small(initial_value=-200.0), rows())
    assert "impossible values" not in names(small(initial_value=-5.0), rows())
    found = look(small(initial_value=20.0), log_of(), rows())
    assert found["impossible"] == 1.0 and found["lowest"] == pytest.approx(float(log_of().rewards.min()) * 10)


def test_q_beside_the_returns_of_the_log() -> None:
    agent, log = small(initial_value=-5.0), log_of()
    found, tail = look(agent, log, rows()), float(log.rewards.mean()) / 0.1
    # No next observation of this log is the next row's: every return is one reward, and the mean reward for ever after.
    returns = torch.tensor([float(reward) + 0.9 * tail for reward in log.rewards], dtype=torch.float64)
    q = agent.q_values(log.observations, log.actions).mean(0).double()
    assert found["q_minus_return"] == pytest.approx(float((q - returns).mean()), abs=1e-4)
    assert found["return_spread"] == pytest.approx(float(returns.std()), rel=1e-4)


def test_a_multiplier_that_stands_or_runs() -> None:
    lagrange = small(cql_lagrange=True, cql_target_action_gap=-3.0, initial_value=-5.0)
    assert "multiplier stands still" in names(lagrange, rows())
    assert "multiplier stands still" not in names(lagrange, rows(cql_gap=-3.0))
    assert "multiplier stands still" not in names(lagrange, rows(cql_alpha=lambda i: 1 + 0.1 * i))
    assert "multiplier at its bound" in names(lagrange, rows(cql_alpha=lambda i: 1e4 if i == 9 else 9e3))
    both = rows(cql_alpha=lambda i: 2.0**i, cql_gap=lambda i: float(i))
    assert "multiplier and gap rise together" in names(lagrange, both)
    assert not {"multiplier stands still", "multiplier at its bound"} & set(names(small(), rows()))


def test_a_temperature_that_stands_and_an_error_that_grows() -> None:
    moving = {"temperature": lambda i: 0.1 + 0.01 * i}
    assert "temperature stands still" in names(small(), rows(temperature=lambda i: min(i, 4)))
    assert "temperature stands still" not in names(small(), rows(**moving))
    assert "temperature stands still" not in names(small(auto_alpha=False), rows())
    assert "Bellman error grows" in names(small(), rows(td_loss=lambda i: 2.0**i))
    assert "gap above a flat Q" in names(small(), rows(cql_gap=2.0))
    assert "gap below its floor" in names(small(), rows(cql_gap=-50.0))


def test_broken_ends_and_lost_statistics() -> None:
    log = arm_log(0, episodes=30)
    settings = {"hidden_dim": 8, "device": "cpu", "normalize_observations": True, "discount": 0.9, "cql_n_actions": 2}
    agent = CQLAgent({**settings, "state_dim": 16, "action_dim": 6, "initial_value": -20.0})
    history = fit(agent, log, 20, batch_size=16, log_every=2, progress=False)
    assert not {"statistics are not the log's", "log with broken ends"} & set(names(agent, history.rows, log))
    assert agent.normaliser is not None
    agent.normaliser.set(torch.zeros(16), torch.ones(16), 1)
    assert "statistics are not the log's" in names(agent, history.rows, log)
    ended = log.truncations
    broken = OfflineDataset.from_arrays(
        log.observations, log.actions, log.rewards, log.next_observations, ended, torch.zeros_like(ended)
    )
    assert "log with broken ends" in names(agent, history.rows, broken)


def test_agents_without_critics_or_with_choices_are_looked_at_as_far_as_they_go() -> None:
    clone = make_agent("bc", {"state_dim": 2, "action_dim": 1, "hidden_dim": 8, "device": "cpu"})
    history = fit(clone, log_of(), 30, batch_size=16, log_every=5, progress=False)
    found = look(clone, log_of(), history.rows)
    assert "impossible" not in found and "cql_gap" not in found and "clone_log_prob" in found
    choices = log_of(actions=torch.arange(60) % 3, n_actions=3)
    agent = make_agent("discrete-cql", {"state_dim": 2, "action_dim": 3, "hidden_dim": 8, "device": "cpu"})
    history = fit(agent, choices, 20, batch_size=16, log_every=5, progress=False)
    assert {"impossible", "q_minus_return"} <= set(look(agent, choices, history.rows))
    with pytest.raises(DataError, match="no row of training metrics"):
        look(clone, log_of(), [])


def test_the_page_is_made_of_the_deck() -> None:
    page = (ROOT / "docs" / "symptoms.md").read_text(encoding="utf-8")
    assert "\n".join(deck()) in page
