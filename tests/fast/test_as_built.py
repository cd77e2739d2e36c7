"""The faster forms honour what is changed in an agent, or refuse it by name; nothing is passed over."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cql_tutorial import CQLAgent, History, OfflineDataset, SACAgent, fit, losses, make_agent
from cql_tutorial.agents import AGENTS, register_agent
from cql_tutorial.errors import ConfigError, CQLWarning
from cql_tutorial.fast.as_built import has_faster_form, has_own_penalty
from cql_tutorial.fast.fused import FasterUpdate
from cql_tutorial.networks import Critic, EnsembleMLP
from cql_tutorial.training.population import Population, fit_population
from tests.agents.test_agents import FAST, SMALL, make_batch
from tests.children import Child

torch.set_num_threads(1)
CHANGED = {**SMALL, **FAST, "cql_n_actions": 3}


def log() -> OfflineDataset:
    rows = {key: value for key, value in make_batch(0, 64).items() if key != "terminations"}
    return OfflineDataset.from_arrays(**rows, terminations=torch.ones(64, dtype=torch.bool), dtype=torch.float64)


def pair(kind: type[CQLAgent] = CQLAgent) -> tuple[Any, Any, FasterUpdate]:
    """Two equal agents, and the faster update of the second; each has made one update."""
    readable, agent = kind(CHANGED), kind(CHANGED)
    update = FasterUpdate(agent)
    readable.update(make_batch(0))
    update(make_batch(0))
    return readable, agent, update


def difference(first: Any, second: Any) -> float:
    ours, theirs = first.state(), second.state()
    return max(float((ours[key].double() - theirs[key].double()).abs().max()) for key in ours if key != "generator")


# ---------------------------------------------------------------- seen: the run goes on with the change
def settings(**changes: Any) -> Callable[[Any], None]:
    return lambda agent: setattr(agent, "config", dataclasses.replace(agent.config, **changes))


def halve_the_steps(agent: Any) -> None:
    for optimizer in agent.optimizers.values():
        optimizer.param_groups[0]["lr"] *= 0.5


def schedule_the_steps(agent: Any) -> None:
    for optimizer in agent.optimizers.values():
        torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1).step()


def move_weights(agent: Any) -> None:
    with torch.no_grad():
        agent.critic.weights[0] *= 0.5


def put_other_tensors(agent: Any) -> None:
    agent.critic.weights[1].data = agent.critic.weights[1].data * 1.5
    agent.actor.biases[0].data = agent.actor.biases[0].data + 0.1


SEEN: dict[str, Callable[[Any], None]] = {
    "cql_alpha": settings(cql_alpha=0.5),
    "discount": settings(discount=0.5),
    "tau": settings(tau=0.5),
    "backup_entropy": settings(backup_entropy=True),
    "candidates": settings(cql_n_actions=5),
    "proposals": settings(next_policy_proposal=False),
    "weights of the proposals": settings(proposal_weights="mixture"),
    "what the actor climbs": settings(actor_reduction="mean"),
    "the target's critics": settings(target_subset=1),
    "target_entropy": lambda agent: setattr(agent, "target_entropy", -5.0),
    "step sizes": halve_the_steps,
    "a scheduler": schedule_the_steps,
    "weights in place": move_weights,
    "tensors": put_other_tensors,
    "a penalty put on the agent": lambda agent: setattr(
        agent, "penalty", lambda *terms: 3.0 * losses.cql_penalty(*terms)
    ),
    "noise put on the agent": lambda agent: setattr(
        agent,
        "draw_noise",
        lambda size: dataclasses.replace(CQLAgent.draw_noise(agent, size), actor=torch.ones(size, 2).double()),
    ),
}


@pytest.mark.parametrize("what", SEEN)
def test_what_is_changed_between_two_updates_counts(what: str) -> None:
    readable, agent, update = pair()
    untouched = pair()[0]
    for one in (readable, agent):
        SEEN[what](one)
    for step in range(1, 4):
        first, second = readable.update(make_batch(step)), update(make_batch(step))
        untouched.update(make_batch(step))
        assert {k: float(v) for k, v in second.items()} == pytest.approx(
            {k: float(v) for k, v in first.items()}, abs=1e-9
        )
    assert difference(readable, agent) < 1e-9
    assert difference(readable, untouched) > 1e-4  # the change does change something


def test_a_class_with_a_penalty_of_its_own_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Harsh(CQLAgent):
        name = "harsh"

        def penalty(self, *terms: torch.Tensor) -> torch.Tensor:
            return 3.0 * super().penalty(*terms)

    readable, agent, update = pair(Harsh)
    for step in range(1, 4):
        readable.update(make_batch(step))
        update(make_batch(step))
    assert difference(readable, agent) < 1e-9 and has_own_penalty(agent) and has_faster_form(Harsh)
    monkeypatch.setattr(CQLAgent, "penalty", lambda self, *terms: 7.0 * losses.cql_penalty(*terms))
    readable.update(make_batch(4))
    update(make_batch(4))
    assert difference(readable, agent) < 1e-9


def test_a_schedule_of_alpha_by_on_row_is_seen() -> None:
    def run(fast: bool) -> History:
        agent = make_agent("cql", {**CHANGED, "cql_alpha": 10.0})
        halve = lambda history: settings(cql_alpha=0.5)(agent)  # noqa: E731
        return fit(agent, log(), 6, batch_size=8, log_every=2, progress=False, on_row=halve, fast=fast)

    readable, faster = run(False), run(True)
    assert readable["cql_alpha"] == faster["cql_alpha"] == [10.0, 0.5, 0.5]
    assert readable["td_loss"] == pytest.approx(faster["td_loss"], abs=1e-9)


def test_what_an_evaluation_changes_in_members_counts() -> None:
    def evaluate(agent: Any) -> dict[str, float]:
        settings(cql_alpha=0.5)(agent)
        move_weights(agent)
        return {}

    options: dict[str, Any] = {"batch_size": 8, "progress": False, "evaluate": evaluate, "eval_every": 2}
    each = [{**CHANGED, "seed": seed} for seed in (0, 1)]
    members = fit_population("cql", each, log(), 6, **options)
    for config, member in zip(each, members, strict=True):
        alone = make_agent("cql", config)
        fit(alone, log(), 6, seed=config["seed"], **options)
        assert difference(alone, member.agent) < 1e-9


# ---------------------------------------------------------------- refused: by name, at the next update
def set_forward(agent: Any) -> None:
    agent.critic.forward = lambda *arguments: 2.0 * type(agent.critic).forward(agent.critic, *arguments)


def patch_step(agent: Any) -> None:
    agent.optimizers["critic"].step = lambda: None


def optimiser(kind: Any, **options: Any) -> Callable[[Any], None]:
    return lambda agent: agent.optimizers.update(critic=kind(agent.critic.parameters(), lr=0.01, **options))


def put_normalised_critic(agent: Any) -> None:
    agent.critic = Critic([5, 16, 16, 1], 2, layer_norm=True).double()


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "normalised layers": (put_normalised_critic, "critic: normalised layers \\(layer_norm\\)"),
    "a forward hook": (lambda agent: agent.critic.register_forward_hook(lambda *rest: None), "critic: a hook"),
    "a hook on a parameter": (
        lambda agent: agent.actor.weights[0].register_hook(lambda gradient: gradient.clamp(-1, 1)),
        "'actor'.*a hook on a parameter",
    ),
    "a hook on the temperature": (
        lambda agent: agent.log_temperature.register_hook(lambda gradient: 0.0 * gradient),
        "'temperature'.*a hook on a parameter",
    ),
    "a forward of one's own": (set_forward, "critic: a forward put in by hand"),
    "another network": (
        lambda agent: setattr(agent, "critic", EnsembleMLP([5, 16, 1], 2).double()),
        "critic: a EnsembleMLP in place of a Critic",
    ),
    "a frozen parameter": (lambda agent: agent.critic.weights[0].requires_grad_(False), "asks for no gradient"),
    "an update of one's own": (lambda agent: setattr(agent, "update", lambda *rest: {}), "a method 'update' put on"),
    "candidates of one's own": (
        lambda agent: setattr(agent, "sample_candidates", lambda *rest: None),
        "a method 'sample_candidates' put on",
    ),
    "another optimiser": (optimiser(torch.optim.SGD), "a SGD in place of Adam"),
    "an optimiser without a state yet": (optimiser(torch.optim.Adam), "other groups, state or options"),
    "AMSGrad": (optimiser(torch.optim.Adam, amsgrad=True), "other groups, state or options"),
    "a step of one's own": (patch_step, "a step put in by hand"),
    "a multiplier that was not there": (settings(cql_lagrange=True), "optimisers .* in place of .*multiplier"),
    "a temperature no longer learned": (settings(auto_alpha=False), "optimisers .*temperature.* in place of"),
    "a further optimiser": (lambda agent: agent.optimizers.update(more=None), "optimisers .* in place of"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_honoured_is_refused(what: str) -> None:
    change, message = REFUSED[what]
    _, agent, update = pair()
    change(agent)
    before = [parameter.clone() for parameter in agent.parameters()]
    with pytest.raises(ConfigError, match=message) as error:
        update(make_batch(1))
    assert "fast=False" in str(error.value)
    assert all(torch.equal(old, new) for old, new in zip(before, agent.parameters(), strict=True))
    with pytest.raises(ConfigError, match=message):
        fit(agent, log(), 1, batch_size=8, progress=False, fast=True)


def put_in_class(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    old = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *arguments, **more: old(*arguments, **more))


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (CQLAgent, "update"),
        (CQLAgent, "sample_candidates"),
        (SACAgent, "step"),
        (EnsembleMLP, "forward"),
        (losses, "cql_penalty"),
        (losses, "td_target"),
        (losses, "tanh_gaussian_log_prob"),
    ],
)
def test_what_is_replaced_in_a_class_or_module_is_refused(
    owner: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, update = pair()
    put_in_class(monkeypatch, owner, name)
    with pytest.raises(ConfigError, match=rf"\.{name} replaced"):
        update(make_batch(1))
    monkeypatch.undo()
    update(make_batch(1))


def test_a_replaced_update_runs_unless_the_faster_one_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    right = CQLAgent.update

    def told(self: Any, *arguments: Any) -> Any:
        print("an update")
        return right(self, *arguments)

    monkeypatch.setattr(CQLAgent, "update", told)
    fit(make_agent("cql", CHANGED), log(), 3, batch_size=8, progress=False)
    assert capsys.readouterr().out == "an update\n" * 3
    with pytest.raises(ConfigError, match=r"CQLAgent\.update replaced"):
        fit(make_agent("cql", CHANGED), log(), 3, batch_size=8, progress=False, fast=True)


class OwnUpdate(CQLAgent):
    name = "own-update"

    def update(self, *arguments: Any) -> Any:
        return super().update(*arguments)


class OwnTemperature(SACAgent):
    name = "own-temperature"

    @property
    def temperature(self) -> Any:
        return torch.tensor(0.5, dtype=self.dtype)


@pytest.mark.parametrize(("kind", "what"), [(OwnUpdate, "update"), (OwnTemperature, "temperature")])
def test_a_class_that_changes_more_than_the_penalty_is_refused_and_trained_alone(
    kind: Any, what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = {**SMALL, **FAST}
    with pytest.raises(ConfigError, match=rf"{kind.__name__}\.{what} in place of the package's"):
        fit(kind(config), log(), 1, batch_size=8, progress=False, fast=True)
    with pytest.raises(ConfigError, match="in place of the package's"):
        Population([kind(config)])
    assert not has_faster_form(kind)
    monkeypatch.setattr("cql_tutorial.agents.AGENTS", dict(AGENTS))
    register_agent(kind.name, kind)
    options: dict[str, Any] = {"batch_size": 8, "progress": False, "log_every": 2}
    with pytest.warns(CQLWarning, match=rf"'{kind.name}' is trained member by member.*{kind.__name__}\.{what}"):
        members = fit_population(kind.name, [{**config, "seed": s} for s in (3, 4)], log(), 5, **options)
    for seed, member in zip((3, 4), members, strict=True):
        alone = kind({**config, "seed": seed})
        history = fit(alone, log(), 5, seed=seed, **options)
        assert difference(alone, member.agent) == 0.0 and history.rows == member.history.rows


@pytest.mark.parametrize("name", ["bc", "iql"])
def test_an_agent_without_a_faster_form_is_told_so(name: str) -> None:
    agent = make_agent(name, SMALL)
    with pytest.raises(ConfigError, match="only SAC and CQL have one"):
        fit(agent, log(), 1, batch_size=8, progress=False, fast=True)
    with pytest.warns(CQLWarning, match="member by member"):
        (member,) = fit_population(name, [SMALL], log(), 2, batch_size=8, progress=False)
    assert len(member.history) == 1


BEFORE = """
import torch
from cql_tutorial import CQLAgent, OfflineDataset, losses, networks
{change}
from cql_tutorial import fit
states = torch.linspace(-1, 1, 33).reshape(33, 1)
first, ended = states[:32], torch.ones(32, dtype=bool)
data = OfflineDataset.from_arrays(first, 0.5 * first, first[:, 0], states[1:], ended)
config = {{"state_dim": 1, "action_dim": 1, "hidden_dim": 8, "device": "cpu", "cql_n_actions": 2, "dtype": "float64"}}
rows = []
for fast in (False, True):
    agent = CQLAgent(config)
    fit(agent, data, 3, batch_size=4, progress=False, fast=fast)
    rows.append(torch.cat([p.flatten() for p in agent.critic.parameters()]))
print("equal" if torch.allclose(*rows, atol=1e-9) else "different")
"""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param("", "equal", marks=pytest.mark.slow),
        ("CQLAgent.penalty = lambda self, q, d, data: 9.0 * losses.cql_penalty(q, d, data)", "equal"),
        pytest.param("CQLAgent.step = lambda self, name, loss: None", "Agent.step replaced", marks=pytest.mark.slow),
        pytest.param(
            "old = losses.td_target; losses.td_target = lambda *terms: old(*terms)",
            "losses.td_target replaced",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "from functools import wraps; old = CQLAgent.update\nCQLAgent.update = wraps(old)(lambda *a: old(*a))",
            "CQLAgent.update replaced",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_was_replaced_before_the_faster_form_is_imported(change: str, expected: str) -> None:
    code = BEFORE.format(change=change)
    status, output, errors = Child(code, anew=True).ended()
    assert expected in (output if expected == "equal" else errors), (status, output, errors)


def test_a_number_that_a_class_adds_is_left_alone() -> None:
    class WithNumber(CQLAgent):
        name = "with-number"

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.weight = self.learnable(2.0)

        def penalty(self, *terms: torch.Tensor) -> torch.Tensor:
            return self.weight.detach() * super().penalty(*terms)

    readable, agent, update = pair(WithNumber)
    for step in range(1, 4):
        readable.update(make_batch(step))
        update(make_batch(step))
    assert difference(readable, agent) < 1e-9 and float(agent.weight.detach()) == 2.0
