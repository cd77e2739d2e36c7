"""Randomised ensembles and normalised layers against plain re-implementations in float64; each mistake is seen."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from cql_tutorial import CQLAgent, OfflineDataset, fit, fit_population, load_agent, make_agent
from cql_tutorial.agents.checkpoint import read_tensors
from cql_tutorial.agents.export import load_exported
from cql_tutorial.batch import Noise
from cql_tutorial.errors import ConfigError, CQLWarning
from cql_tutorial.fast.cuda_graph import GraphRunner
from cql_tutorial.fast.fused import FasterUpdate
from cql_tutorial.fast.reference import StackedAutograd
from cql_tutorial.networks import EnsembleMLP, relu_network
from tests.agents.test_agents import FAST, SMALL, PlainCQL, build, make_batch
from tests.agents.test_cal_ql import PlainCalQL, batch_of

torch.set_num_threads(1)
QUICK: dict[str, Any] = {**FAST, "hidden_layers": 1}
REDQ = {"n_critics": 5, "target_subset": 2, "actor_reduction": "mean"}
WSRL = {"n_critics": 5, "target_subset": 2, "subset_replacement": True}


def log(rows: int = 60) -> OfflineDataset:
    columns = {**make_batch(0, rows), "truncations": torch.arange(rows) == rows - 1}
    return OfflineDataset.from_mapping(columns, dtype=torch.float64)


# ---------------------------------------------------------------- a plain re-implementation
class PlainEnsemble(PlainCQL):
    """REDQ's target and actor with one network a critic; ``fault`` names a mistake that it then makes."""

    def __init__(self, agent: Any, fault: str | None = None) -> None:
        super().__init__(agent)
        self.fault = fault

    def next_value(self, s2: torch.Tensor, a2: torch.Tensor, noise: Noise) -> torch.Tensor:
        values = [self.value(q, s2, a2) for q in self.q_target]
        first, second = (int(number) for number in noise.subset)
        if self.fault == "the same critic twice":
            second = first
        if self.fault == "the minimum over all in the target":
            return torch.stack(values).min(0).values
        if self.fault == "the mean of the subset in the target":
            return 0.5 * (values[first] + values[second])
        if self.fault == "online critics in the target":
            values = [self.value(q, s2, a2) for q in self.q]
        if self.fault == "an action for each critic":
            other = torch.roll(a2, 1, 0)
            return torch.minimum(values[first], self.value(self.q_target[second], s2, other))
        if self.fault == "a subset for each row":
            rows = [values[(first + b) % len(values)][b].minimum(values[second][b]) for b in range(len(s2))]
            return torch.stack(rows)
        return torch.minimum(values[first], values[second])

    def climbed(self, s: torch.Tensor, a: torch.Tensor, noise: Noise) -> torch.Tensor:
        values = torch.stack([self.value(q, s, a) for q in self.q])
        if self.fault == "the subset for the actor":
            return values[noise.subset].mean(0)
        mean = (self.c.actor_reduction == "mean") is not (self.fault == "the other reduction for the actor")
        return sum(values[j] for j in range(len(values))) / len(values) if mean else values.min(0).values


FAULTS = [
    "the same critic twice",
    "the minimum over all in the target",
    "the mean of the subset in the target",
    "online critics in the target",
    "an action for each critic",
    "a subset for each row",
    "the subset for the actor",
    "the other reduction for the actor",
]


@pytest.mark.parametrize(("name", "settings"), [("sac", REDQ), ("sac", WSRL), ("cql", REDQ), ("cql", WSRL)])
def test_updates_equal_a_plain_implementation(name: str, settings: dict[str, Any]) -> None:
    more = {"cql_n_actions": 2, "cql_alpha": 2.0} if name == "cql" else {}
    agent = build(name, **QUICK, **settings, **more)
    plain = PlainEnsemble(agent)
    for step in range(20):
        batch, noise = make_batch(step), agent.draw_noise(8)
        metrics = agent.update(batch, noise)
        plain.update(batch, noise)
        assert {key: float(value) for key, value in metrics.items()} == pytest.approx(plain.metrics, abs=1e-9)
    assert plain.largest_difference(agent) < 1e-9


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_ensemble_is_seen(fault: str) -> None:
    agent = build("sac", **QUICK, **REDQ)
    wrong = PlainEnsemble(agent, fault)
    for step in range(6):
        batch, noise = make_batch(step), agent.draw_noise(8)
        agent.update(batch, noise)
        wrong.update(batch, noise)
    assert wrong.largest_difference(agent) > 1e-5


def test_cal_ql_has_the_same_ensemble() -> None:
    class Plain(PlainCalQL, PlainEnsemble):
        pass

    agent = build("cal-ql", **QUICK, **REDQ, cql_n_actions=2)
    plain = Plain(agent)
    for step in range(6):
        batch, noise = batch_of("cal-ql", step), agent.draw_noise(8)
        agent.update(batch, noise)
        plain.update(batch, noise)
    assert plain.largest_difference(agent) < 1e-9


def test_the_minimum_over_all_critics_in_any_order_is_the_usual_target() -> None:
    usual, subset = build("cql", n_critics=3), build("cql", n_critics=3, target_subset=3)
    for step in range(3):
        noise = subset.draw_noise(8)
        assert sorted(noise.subset.tolist()) == [0, 1, 2]
        subset.update(make_batch(step), noise)
        usual.update(make_batch(step), noise)
    for ours, theirs in zip(subset.parameters(), usual.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_name_fixes_the_ensemble(tmp_path: Path) -> None:
    agent = make_agent("cql-redq", SMALL)
    config = agent.config
    assert (config.n_critics, config.target_subset, config.subset_replacement) == (10, 2, False)
    assert config.actor_reduction == "mean" and type(agent) is CQLAgent
    for change in ({"n_critics": 5}, {"target_subset": None}, {"subset_replacement": True}, {"actor_reduction": "min"}):
        with pytest.raises(ConfigError, match="which the name 'cql-redq' means"):
            make_agent("cql-redq", {**SMALL, **change})
    agent.save(tmp_path / "a.safetensors")
    assert load_agent(tmp_path / "a.safetensors", "cpu").config == config


# ---------------------------------------------------------------- the draw
def test_pairs_are_uniform_and_distinct() -> None:
    agent = build("sac", **{**REDQ, "n_critics": 10})
    pairs = Counter(tuple(sorted(agent.draw_subset().tolist())) for _ in range(4500))
    assert len(pairs) == 45 and all(first < second for first, second in pairs)
    assert stats.chisquare(list(pairs.values())).pvalue > 1e-4


def test_with_replacement_a_critic_may_come_twice() -> None:
    agent = build("sac", **{**WSRL, "n_critics": 10})
    drawn = np.array([agent.draw_subset().tolist() for _ in range(4000)])
    twice = (drawn[:, 0] == drawn[:, 1]).mean()
    assert 0.08 < twice < 0.12 and stats.chisquare(np.bincount(drawn.ravel(), minlength=10)).pvalue > 1e-4


@pytest.mark.parametrize("name", ["sac", "cql", "cal-ql"])
def test_each_update_draws_its_own_after_all_else(name: str) -> None:
    with_subset, without = build(name, **REDQ), build(name, n_critics=5)
    first, other = with_subset.draw_noise(4), without.draw_noise(4)
    assert other.subset is None and first.subset.shape == (2,) and first.subset.dtype == torch.int64
    for field in dataclasses.fields(Noise):
        if field.name != "subset" and getattr(other, field.name) is not None:
            assert torch.equal(getattr(first, field.name), getattr(other, field.name)), field.name
    drawn = {tuple(with_subset.draw_noise(4).subset.tolist()) for _ in range(50)}
    assert len(drawn) > 10
    again = build(name, **REDQ)
    assert torch.equal(again.draw_noise(4).subset, first.subset)


# ---------------------------------------------------------------- several updates of the critics to one of the policy
def test_the_policy_moves_once_in_three_updates() -> None:
    agent = build("sac", **QUICK, **REDQ)
    plain = PlainEnsemble(agent)
    for step in range(9):
        batch, noise = make_batch(step), agent.draw_noise(8)
        before = {key: value.clone() for key, value in agent.state().items()}
        if last := step % 3 == 2:
            agent.update(batch, noise)
        else:
            with agent.hold("actor", "temperature"):
                agent.update(batch, noise)
        plain.update(batch, noise, policy_too=last)
        for key, value in agent.state().items():
            if key.startswith(("module.actor", "parameter.log_temp", "optimizer.actor", "optimizer.temp")):
                assert torch.equal(value, before[key]) is not last, key
            elif key.startswith(("module.critic", "module.target_critic")):
                assert not torch.equal(value, before[key]), key
    assert plain.largest_difference(agent) < 1e-9
    assert float(next(iter(agent.optimizers["actor"].state.values()))["step"]) == 3
    assert float(next(iter(agent.optimizers["critic"].state.values()))["step"]) == 9
    every = build("sac", **QUICK, **REDQ)  # a step of the actor at each update is another agent
    for step in range(9):
        every.update(make_batch(step))
    assert plain.largest_difference(every) > 1e-3


def test_what_is_held_is_named_and_let_go() -> None:
    agent = build("sac", auto_alpha=False)
    with pytest.raises(ConfigError, match=r"'temperature'.*one of \['critic', 'actor'\]"), agent.hold("temperature"):
        pass
    with pytest.raises(ZeroDivisionError), agent.hold("actor"), agent.hold("critic"):
        assert agent.held == {"actor", "critic"}
        _ = 1 / 0
    assert not agent.held
    update = FasterUpdate(agent)
    with agent.hold("actor"), pytest.raises(ConfigError, match=r"updates that hold \['actor'\]"):
        update(make_batch(0))
    update(make_batch(0))


# ---------------------------------------------------------------- normalised layers
def sequential(network: EnsembleMLP, member: int) -> torch.nn.Sequential:
    """The same network of torch's own layers."""
    layers: list[torch.nn.Module] = []
    for number, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        linear = torch.nn.Linear(*weight.shape[1:]).double()
        layers.append(linear)
        with torch.no_grad():
            linear.weight.copy_(weight[member].T)
            linear.bias.copy_(bias[member, 0])
            if number < len(network.gains):
                norm = torch.nn.LayerNorm(weight.shape[2]).double()
                norm.weight.copy_(network.gains[number][member, 0])
                norm.bias.copy_(network.shifts[number][member, 0])
                layers += [norm, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers)


def test_normalised_layers_are_torchs() -> None:
    network = EnsembleMLP([3, 8, 6, 2], 3, generator=torch.Generator().manual_seed(0), layer_norm=True).double()
    assert all(bool((gain == 1).all()) for gain in network.gains) and all(
        bool((shift == 0).all()) for shift in network.shifts
    )
    with torch.no_grad():
        for parameter in (*network.gains, *network.shifts):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    rows = torch.randn(5, 3, dtype=torch.float64)
    found = network(rows)
    found.square().sum().backward()
    layers = [*zip(network.weights, network.biases, strict=True)]
    norms = [*zip(network.gains, network.shifts, strict=True)]
    together = relu_network(rows.expand(3, 5, 3), layers, torch.baddbmm, norms)  # the form of a GPU
    for member in range(3):
        plain = sequential(network, member)
        expected = plain(rows)
        expected.square().sum().backward()
        assert torch.allclose(found[member], expected, atol=1e-12)
        assert torch.allclose(together[member], expected, atol=1e-12)
        assert torch.allclose(network.weights[0].grad[member], plain[0].weight.grad.T, atol=1e-10)
        assert torch.allclose(network.gains[0].grad[member, 0], plain[1].weight.grad, atol=1e-10)
        assert torch.allclose(network.shifts[1].grad[member, 0], plain[4].bias.grad, atol=1e-10)


def test_a_normalised_layer_does_not_grow_with_its_input() -> None:
    """Far from the data a ReLU network grows without bound; a normalised one tends to a constant along a ray."""
    plain, normalised = (build("sac", layer_norm=flag).critic for flag in (False, True))
    states = torch.full((1, 3), 1.0).double()
    action = torch.zeros(1, 2).double()
    far = [torch.stack([net(c * states, action).detach() for c in (1e3, 1e6)]) for net in (plain, normalised)]
    growth = [(values[1] / values[0]).abs() for values in far]
    assert float(growth[0].min()) > 100 and torch.allclose(growth[1], torch.ones_like(growth[1]), atol=1e-2)


class PlainNormalised(PlainEnsemble):
    """Networks as lists of (weight, bias, gain, shift) a hidden layer and (weight, bias) at last."""

    @staticmethod
    def parameters_of(network: Any, member: int) -> list[torch.Tensor]:
        found = []
        for number in range(len(network.weights)):
            kinds = ("weights", "biases", "gains", "shifts") if len(network.gains) > number else ("weights", "biases")
            found += [getattr(network, kind)[number][member].detach().clone().requires_grad_() for kind in kinds]
        return found

    @staticmethod
    def network(parameters: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        *hidden, weight, bias = parameters
        for i in range(0, len(hidden), 4):
            z = x @ hidden[i] + hidden[i + 1]
            z = (z - z.mean(-1, keepdim=True)) / (z.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
            x = (z * hidden[i + 2] + hidden[i + 3]).relu()
        return x @ weight + bias


@pytest.mark.parametrize("name", ["sac", "cql"])
def test_updates_with_normalised_layers_equal_a_plain_implementation(name: str) -> None:
    agent = build(name, **FAST, **WSRL, layer_norm=True, actor_layer_norm=True, hidden_layers=2)
    plain = PlainNormalised(agent)
    for step in range(8):
        batch, noise = make_batch(step), agent.draw_noise(8)
        agent.update(batch, noise)
        plain.update(batch, noise)
    assert plain.largest_difference(agent) < 1e-9
    assert float((agent.critic.gains[0] - 1).detach().abs().max()) > 1e-3  # they learn


def test_which_networks_are_normalised() -> None:
    for critics, policy in ((True, False), (False, True)):
        agent = build("cql", layer_norm=critics, actor_layer_norm=policy)
        assert [len(net.gains) > 0 for net in (agent.critic, agent.target_critic, agent.actor)] == [critics] * 2 + [
            policy
        ]
    linear = build("sac", layer_norm=True, hidden_layers=0)  # nothing to normalise
    assert len(linear.critic.gains) == 0 and linear.update(make_batch(0))


def test_a_policy_with_normalised_layers_is_exported(tmp_path: Path) -> None:
    agent = build("sac", actor_layer_norm=True, layer_norm=True, dtype="float32")
    policy, _ = load_exported(agent.export(tmp_path / "policy.pt2"))
    rows = make_batch(0, 20)["observations"].float()
    np.testing.assert_allclose(policy(rows).numpy(), agent.act(rows), atol=1e-6)


# ---------------------------------------------------------------- runs, files, faster forms
def test_a_resumed_run_ends_bit_for_bit_where_an_unbroken_one_does(tmp_path: Path) -> None:
    how: dict[str, Any] = {"batch_size": 8, "log_every": 4, "progress": False}
    paths = [tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"]

    def fresh() -> Any:
        return build("cql", **QUICK, **REDQ, layer_norm=True, actor_layer_norm=True, cql_n_actions=2)

    fit(fresh(), log(), 12, checkpoint=paths[0], **how)
    for steps in (7, 12):
        fit(fresh(), log(), steps, checkpoint=paths[1], **how)
    expected, found = (read_tensors(path)[0] for path in paths)
    assert expected.keys() == found.keys() and any("gains" in key for key in found)
    assert all(torch.equal(expected[key], found[key]) for key in expected)


@pytest.mark.parametrize(("name", "settings"), [("sac", REDQ), ("sac", WSRL), ("cql", REDQ), ("cql", WSRL)])
def test_the_faster_form_is_equal(name: str, settings: dict[str, Any]) -> None:
    more = {"cql_n_actions": 2} if name == "cql" else {}
    readable, agent = (build(name, **FAST, **settings, **more) for _ in range(2))
    update = FasterUpdate(agent)
    for step in range(10):
        first, second = readable.update(make_batch(step)), update(make_batch(step))
        assert {k: float(v) for k, v in second.items()} == pytest.approx(
            {k: float(v) for k, v in first.items()}, abs=1e-9
        )
    for key, value in readable.state().items():
        assert torch.allclose(value.double(), agent.state()[key].double(), atol=1e-9), key


def test_members_of_a_population_have_their_own_subsets() -> None:
    configs = [{**SMALL, **FAST, "seed": seed, "cql_n_actions": 2} for seed in (0, 1, 2)]
    options: dict[str, Any] = {"batch_size": 8, "progress": False}
    for config, member in zip(configs, fit_population("cql-redq", configs, log(), 8, **options), strict=True):
        alone = make_agent("cql-redq", config)
        fit(alone, log(), 8, seed=config["seed"], **options)
        for key, value in alone.state_dict().items():
            assert torch.allclose(value, member.agent.state_dict()[key], atol=1e-9), key


def test_the_static_program_draws_the_subset_inside() -> None:
    agent, plain = (make_agent("cql-redq", {**SMALL, **FAST, "cql_n_actions": 2}) for _ in range(2))
    runner = GraphRunner(agent, log(), batch_size=8)
    runner.run(3)
    for _ in range(3):
        rows = torch.randint(60, (8,), generator=plain.generator)
        plain.update({name: getattr(log(), name)[rows] for name in make_batch(0)})
    for key, value in plain.state_dict().items():
        assert torch.allclose(agent.state_dict()[key], value, atol=1e-9), key


@pytest.mark.parametrize("setting", ["layer_norm", "actor_layer_norm"])
def test_normalised_layers_have_no_faster_form_and_say_so(setting: str) -> None:
    config = {**SMALL, setting: True}
    with pytest.raises(ConfigError, match=rf"normalised layers \({setting}\).*fast=False"):
        fit(make_agent("cql", config), log(), 1, batch_size=8, progress=False, fast=True)
    with pytest.warns(CQLWarning, match=rf"trained member by member.*layers \({setting}\)"):
        (member,) = fit_population("sac", [config], log(), 2, batch_size=8, progress=False)
    alone = make_agent("sac", config)
    fit(alone, log(), 2, batch_size=8, progress=False)
    assert all(torch.equal(value, member.agent.state()[key]) for key, value in alone.state().items())


@pytest.mark.parametrize("change", [{"target_subset": 2}, {"actor_reduction": "mean"}])
def test_the_short_stacked_form_refuses_what_it_leaves_out(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        StackedAutograd([build("cql", **change)])


# ---------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"target_subset": 0}, "target_subset"),
        ({"target_subset": True}, "target_subset"),
        ({"target_subset": 1.5}, "target_subset"),
        ({"target_subset": 3}, r"target_subset.*at most n_critics, 2, or subset_replacement=True"),
        ({"subset_replacement": "no"}, "subset_replacement"),
        ({"actor_reduction": "max"}, r"actor_reduction.*\['min', 'mean'\]"),
        ({"layer_norm": 1}, "layer_norm"),
        ({"layer_norm": True, "hidden_dim": 1}, "layer_norm.*hidden_dim 1"),
        ({"actor_layer_norm": True, "hidden_dim": 1}, "actor_layer_norm.*hidden_dim 1"),
    ],
)
@pytest.mark.parametrize("name", ["sac", "cql", "cal-ql"])
def test_unusable_settings_are_named(name: str, change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build(name, **change)


def test_more_draws_than_critics_are_possible_with_replacement() -> None:
    agent = build("sac", target_subset=3, subset_replacement=True)
    assert agent.draw_subset().shape == (3,) and agent.update(make_batch(0))
    assert F.one_hot(agent.draw_subset(), 2).sum() == 3
