"""The classes of docs/write_your_own_variant.md: each is trained, resumed, populated, and does what the page says."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cql_tutorial import OfflineDataset, fit, fit_population, load_agent, losses, make_agent
from cql_tutorial.agents import AGENTS
from cql_tutorial.errors import CQLWarning
from tests import ROOT

torch.set_num_threads(1)
CONFIG: dict[str, Any] = {"state_dim": 3, "action_dim": 2, "hidden_dim": 8, "device": "cpu", "dtype": "float64"}
CONFIG |= {"cql_alpha": 0.7, "cql_n_actions": 3, "discount": 0.9}
VARIANTS: dict[str, dict[str, Any]] = {
    "tempered-cql": {"penalty_temperature": 0.5},
    "cloned-cql": {"cloning_weight": 2.0},
    "squaring-cql": {},
    "rising-cql": {"rise": 25},
}
OPTIONS: dict[str, Any] = {"batch_size": 16, "log_every": 7, "progress": False}


@pytest.fixture(scope="module")
def page() -> Iterator[dict[str, Any]]:
    """The page's Python but for its last block, which trains; what it registers is forgotten at the end."""
    before = dict(AGENTS)
    text = (ROOT / "docs" / "write_your_own_variant.md").read_text(encoding="utf-8").split("## Tried")[0]
    scope: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(compile(block, "docs/write_your_own_variant.md", "exec"), scope)
    yield scope
    AGENTS.clear()
    AGENTS.update(before)


def log() -> OfflineDataset:
    """Episodes of 1 to 9 rows that are cut, end, or go over into the next by a gap."""
    generator = torch.Generator().manual_seed(0)
    lengths = [1, 5, 9, 2, 7, 6, 3, 8, 1, 4]
    rows = sum(lengths)
    states = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    nexts = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    actions = 1.6 * torch.rand(rows, 2, generator=generator, dtype=torch.float64) - 0.8
    rewards = torch.randn(rows, generator=generator, dtype=torch.float64)
    last = torch.tensor(lengths).cumsum(0) - 1
    terminations, truncations = torch.zeros(rows, dtype=torch.bool), torch.zeros(rows, dtype=torch.bool)
    terminations[last[::3]] = True
    truncations[last[1::3]] = True
    starts = torch.tensor([0, *(last[:-1] + 1).tolist()])
    columns = (states, actions, rewards, nexts, terminations, truncations)
    return OfflineDataset.from_arrays(*columns, episode_starts=starts, dtype=torch.float64)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_resumed_run_is_the_unbroken_one(name: str, page: dict[str, Any], tmp_path: Path) -> None:
    config = CONFIG | VARIANTS[name]
    unbroken, first, second = (make_agent(name, config) for _ in range(3))
    path = tmp_path / "run.safetensors"
    fit(unbroken, log(), 40, **OPTIONS)
    fit(first, log(), 21, checkpoint=path, **OPTIONS)
    fit(second, log(), 40, checkpoint=path, **OPTIONS)
    expected, found = unbroken.state(), second.state()
    assert expected.keys() == found.keys() and all(torch.equal(expected[key], found[key]) for key in expected)
    loaded = load_agent(path)
    assert type(loaded) is type(second) and all(torch.equal(found[key], loaded.state()[key]) for key in found)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_member_of_a_population_is_the_agent_alone(name: str, page: dict[str, Any]) -> None:
    configs = [CONFIG | VARIANTS[name] | {"seed": seed} for seed in (3, 4)]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        members = fit_population(name, configs, log(), 30, **OPTIONS)
    one_by_one = [warning for warning in told if issubclass(warning.category, CQLWarning)]
    assert len(one_by_one) == (0 if name == "tempered-cql" else 1), "the page says which is stacked"
    for config, member in zip(configs, members, strict=True):
        alone = make_agent(name, config)
        fit(alone, log(), 30, seed=config["seed"], **OPTIONS)
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(member.agent.state_dict()[key], value, atol=1e-9, rtol=1e-9)


def test_the_tempered_penalty_is_a_soft_maximum(page: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(1)
    q = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64)
    data = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    density = torch.full((5, 7), -2 * math.log(2), dtype=torch.float64)

    def penalty(temperature: float) -> torch.Tensor:
        agent = make_agent("tempered-cql", CONFIG | {"penalty_temperature": temperature})
        return agent.penalty(q, density, data)

    torch.testing.assert_close(penalty(1.0), losses.cql_penalty(q, density, data))
    torch.testing.assert_close(penalty(1e-6), (q.amax(-1) - data).mean(-1), atol=1e-5, rtol=0)
    flat = 1e6 * 2 * math.log(2)  # T times the logarithm of the volume
    torch.testing.assert_close(penalty(1e6) - flat, (q.mean(-1) - data).mean(-1), atol=1e-4, rtol=0)
    slow = [
        [sum(math.exp(float(x) / 0.5) / 0.25 for x in row) / 7 for row in critic] for critic in q
    ]  # exp(Q / T) / q, candidate by candidate
    expected = 0.5 * torch.tensor(slow, dtype=torch.float64).log() - data
    torch.testing.assert_close(penalty(0.5), expected.mean(-1))


def test_cloning_adds_to_the_actors_loss_alone(page: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    plain, none = make_agent("cql", CONFIG), make_agent("cloned-cql", CONFIG | {"cloning_weight": 0.0})
    batch = next(iter(log().batches(1, 16, 0)))
    noise = plain.draw_noise(16)
    plain.update(batch, noise)
    none.update(batch, noise)
    assert all(torch.equal(value, none.state_dict()[key]) for key, value in plain.state_dict().items())

    agent = make_agent("cloned-cql", CONFIG | {"cloning_weight": 3.0})
    steps: dict[str, torch.Tensor] = {}
    monkeypatch.setattr("cql_tutorial.agents.agent.Agent.step", lambda self, name, loss: steps.setdefault(name, loss))
    policy_loss = agent.update(batch, noise)["policy_loss"]
    policy = torch.distributions.Normal(
        agent.actor(batch.observations).mean, agent.actor(batch.observations).log_std.exp()
    )
    squashed = torch.distributions.TransformedDistribution(policy, torch.distributions.TanhTransform())
    cloning = -squashed.log_prob(batch.actions).sum(-1).mean()
    torch.testing.assert_close(steps["actor"], policy_loss + 3.0 * cloning)


def test_the_other_critics_see_squares_and_are_copied(page: dict[str, Any]) -> None:
    agent = make_agent("squaring-cql", CONFIG)
    assert agent.critic.weights[0].shape[1] == 3 + 2 * 2
    assert type(agent.target_critic) is type(agent.critic) and agent.critic.gains
    batch = next(iter(log().batches(1, 16, 0)))
    q = agent.q_values(batch.observations, batch.actions)
    assert q.shape == (2, 16)
    with torch.no_grad():
        many = agent.critic(batch.observations, batch.actions[:, None].expand(-1, 5, -1))
    torch.testing.assert_close(many, q[..., None].expand(-1, -1, 5))


def test_alpha_rises(page: dict[str, Any]) -> None:
    agent = make_agent("rising-cql", CONFIG | {"rise": 4})
    batches = log().batches(6, 16, 0)
    used = [float(agent.update(batch)["cql_alpha"]) for batch in batches]
    assert used == pytest.approx([0.7 * min(step / 4, 1.0) for step in range(6)])


@pytest.mark.parametrize("n", [1, 2, 4, 50])
def test_rewards_of_n_steps_are_those_of_a_loop(n: int, page: dict[str, Any]) -> None:
    data, discount = log(), 0.9
    starts = {*data.episode_starts.tolist(), len(data)}
    expected = []
    for row in range(len(data)):
        total, ended = 0.0, False
        for step in range(n):
            at = row + step
            if step and at in starts:
                break  # the recording ends before n steps are over
            total += discount**step * float(data.rewards[at])
            ended = bool(data.terminations[at])
            if ended or step == n - 1:
                expected.append((row, total, at, ended))
                break
    made = page["with_n_steps"](data, n, discount)
    rows, totals, lasts, ends = (list(column) for column in zip(*expected, strict=True))
    assert len(made) == len(rows) and (n > 1) == (len(rows) < len(data))
    torch.testing.assert_close(made.observations, data.observations[rows])
    torch.testing.assert_close(made.rewards, torch.tensor(totals, dtype=torch.float64))
    torch.testing.assert_close(made.next_observations, data.next_observations[lasts])
    assert made.terminations.tolist() == ends


def test_every_setting_of_a_variant_is_checked(page: dict[str, Any]) -> None:
    for name, bad in (
        ("tempered-cql", {"penalty_temperature": 0.0}),
        ("cloned-cql", {"cloning_weight": -1.0}),
        ("rising-cql", {"rise": 0}),
    ):
        (field,) = bad
        with pytest.raises(ValueError, match=field):
            make_agent(name, CONFIG | bad)
