"""Many agents as one program: each member's numbers are those of its run alone, on the same noise and batches."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cql_tutorial import OfflineDataset, SACAgent, fit, load_agent, make_agent
from cql_tutorial.batch import Batch, Noise
from cql_tutorial.errors import CheckpointError, ConfigError, CQLWarning, DataError, DivergedError
from cql_tutorial.fast import fused
from cql_tutorial.training.population import Population, fit_population

torch.set_num_threads(1)
FAST = {"critic_lr": 1e-2, "actor_lr": 1e-2, "temperature_lr": 1e-2, "tau": 0.05}
SMALL = {"state_dim": 3, "action_dim": 2, "hidden_dim": 16, "device": "cpu", "dtype": "float64", **FAST}
MEMBERS: tuple[dict[str, Any], ...] = (
    {"seed": 0},
    {"seed": 1, "discount": 0.9, "tau": 0.2, "critic_lr": 3e-3, "actor_lr": 3e-3, "initial_value": 2.0},
    {"seed": 2, "alpha": 0.05, "target_entropy": -0.3, "temperature_lr": 1e-3, "critic_weight_decay": 0.1},
)
ALPHAS = ({"cql_alpha": 1.0}, {"cql_alpha": 5.0, "cql_target_action_gap": -0.5}, {"cql_alpha": 0.1})


def configs(name: str, **settings: Any) -> list[dict[str, Any]]:
    few = {} if name == "sac" else {"cql_n_actions": 3}
    alphas = [{}] * 3 if name == "sac" else ALPHAS
    return [{**SMALL, **few, **settings, **own, **alpha} for own, alpha in zip(MEMBERS, alphas, strict=True)]


SIZE = 10


def make_batch(
    seed: int, size: int = SIZE, dtype: torch.dtype = torch.float64, states: int = 3, actions: int = 2
) -> Any:
    g = torch.Generator().manual_seed(seed)
    return {
        "observations": torch.randn(size, states, generator=g, dtype=dtype),
        "actions": 2 * torch.rand(size, actions, generator=g, dtype=dtype) - 1,
        "rewards": torch.randn(size, generator=g, dtype=dtype),
        "next_observations": torch.randn(size, states, generator=g, dtype=dtype),
        "terminations": torch.rand(size, generator=g) < 0.3,
    }


def difference(ours: Any, theirs: Any) -> float:
    """The largest difference of two agents' states (networks, optimisers, learned numbers)."""
    pairs = {key: (value, theirs.state()[key]) for key, value in ours.state().items() if key != "generator"}
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs.values())


COMBINATIONS: list[tuple[str, dict[str, Any]]] = [  # that each faster form of CQL's update is held equal in
    (name, {"n_critics": critics, "next_policy_proposal": following, "proposal_weights": weights})
    for name in ("cql", "cql-lagrange")
    for critics, following, weights in itertools.product((2, 10), (True, False), ("own", "mixture"))
]
# Half of them, in which any three of the four choices occur in all their combinations. test_fused has all sixteen, of
# the same program; what stands around it here (a stack of members, a graph's table of rows) knows none of the four.
HALF = [case for i, case in enumerate(COMBINATIONS) if i.bit_count() % 2 == 0]
CASES: list[Any] = [
    ("sac", {}),
    pytest.param("sac", {"auto_alpha": False, "n_critics": 10}, marks=pytest.mark.slow),
    pytest.param("sac", {"backup_entropy": False, "hidden_layers": 1}, marks=pytest.mark.slow),
    ("sac", {"hidden_layers": 0, "n_critics": 1}),
    ("cql", {"hidden_layers": 3}),
    pytest.param("cql", {"hidden_layers": 0, "auto_alpha": False}, marks=pytest.mark.slow),
    ("cql-wrong-penalty", {"pitfall": "batch_max"}),
    pytest.param("cql-wrong-penalty", {"pitfall": "no_uniform_density", "cql_lagrange": True}, marks=pytest.mark.slow),
    pytest.param("cql-lagrange", {"n_critics": 1, "backup_entropy": True, "hidden_layers": 1}, marks=pytest.mark.slow),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in HALF),  # test_fused has them in the unit suite
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_every_member_equals_the_readable_update(
    name: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    each = configs(name, **settings)[:2]
    alone, together = ([make_agent(name, config) for config in each] for _ in range(2))
    population = Population(together)
    monkeypatch.setattr(population._blocks[0], "chunk_bytes", 2**13)  # several chunks, the last a smaller one
    start = together[0].critic.weights[0].detach().clone()
    for step in range(100):
        batches, noise = [make_batch(100 * step + i) for i in range(2)], [a.draw_noise(SIZE) for a in together]
        metrics = population.update(batches, noise)
        for i, agent in enumerate(alone):
            expected = agent.update(batches[i], noise[i])
            assert list(metrics) == list(expected)
            for key, value in expected.items():
                assert float(metrics[key][i]) == pytest.approx(float(value), abs=1e-9, rel=1e-9), (step, i, key)
    for ours, theirs in zip(population.members, alone, strict=True):
        assert difference(ours, theirs) < 1e-9
    assert float((together[0].critic.weights[0] - start).detach().abs().max()) > 1e-3


def test_critics_that_tie_share_the_slope() -> None:
    alone, together = ([make_agent("sac", config) for config in configs("sac")] for _ in range(2))
    for agent in (*alone, *together):
        for parameter in agent.critic.parameters():
            parameter.data[1] = parameter.data[0]
    population = Population(together)
    batches, noise = [make_batch(i) for i in range(3)], [agent.draw_noise(SIZE) for agent in together]
    population.update(batches, noise)
    update: Any = population._blocks[0]
    for i, agent in enumerate(alone):
        agent.update(batches[i], noise[i])
        for ours, theirs in zip(update.actor.gradients, agent.actor.parameters(), strict=True):
            assert torch.allclose(ours[i], theirs.grad, atol=1e-12)


@pytest.mark.parametrize(("name", "size", "blocks"), [("sac", 1, 3), ("cql", 2, 2), ("cql-lagrange", 1, 3)])
def test_many_members_are_updated_in_blocks(name: str, size: int, blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cql_tutorial.training.population.BLOCK", size)
    alone, together = ([make_agent(name, config) for config in configs(name)] for _ in range(2))
    population = Population(together)
    assert len(population._blocks) == blocks
    for step in range(20):
        batches, noise = [make_batch(100 * step + i) for i in range(3)], [a.draw_noise(SIZE) for a in together]
        metrics = population.update(batches, noise)
        for i, agent in enumerate(alone):
            expected = {key: float(value) for key, value in agent.update(batches[i], noise[i]).items()}
            assert {key: float(value[i]) for key, value in metrics.items()} == pytest.approx(expected, abs=1e-9)
            assert list(metrics) == list(expected)
    for ours, theirs in zip(population.members, alone, strict=True):
        assert difference(ours, theirs) < 1e-9


@pytest.mark.parametrize("name", ["sac", "cql", "cql-lagrange"])
def test_gradients_in_single_precision(name: str) -> None:
    each = [{**c, "dtype": "float32", "hidden_dim": 64, "state_dim": 17, "action_dim": 6} for c in configs(name)]
    alone, together = ([make_agent(name, config) for config in each] for _ in range(2))
    batches = [make_batch(i, 256, torch.float32, 17, 6) for i in range(3)]
    noise = [agent.draw_noise(256) for agent in together]
    update = fused.FusedUpdate(together)
    ready = [agent.prepare(batch) for agent, batch in zip(together, batches, strict=True)]
    metrics = update.update(Batch(*stack(ready)), Noise(**dict(zip(vars(noise[0]), stack(noise), strict=True))))
    for i, agent in enumerate(alone):
        for key, value in agent.update(batches[i], noise[i]).items():
            assert float(metrics[key][i]) == pytest.approx(float(value), rel=1e-5, abs=1e-6), key
        for network, ours in ((agent.critic, update.critic), (agent.actor, update.actor)):
            for theirs, gradient in zip(network.parameters(), ours.gradients, strict=True):
                assert float((gradient[i] - theirs.grad).norm() / theirs.grad.norm()) < 1e-4
        for key, gradient in update.number_gradients.items():
            assert float(gradient[i]) == pytest.approx(float(getattr(agent, key).grad), rel=1e-4, abs=1e-6)


def stack(items: list[Any]) -> list[torch.Tensor | None]:
    columns = [[getattr(item, name) for item in items] for name in vars(items[0])]
    return [None if column[0] is None else torch.stack(column) for column in columns]


@pytest.mark.parametrize("fault", ["noise of a neighbour", "gradient of a neighbour", "alpha of a neighbour"])
def test_the_comparison_sees_a_leak_between_members(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    each = configs("cql")
    alone, together = ([make_agent("cql", config) for config in each] for _ in range(2))
    population = Population(together)
    block = population._blocks[0]
    if fault == "alpha of a neighbour":
        block._cql_alpha = block._cql_alpha.roll(1)
    if fault == "gradient of a neighbour":
        finish = block.critic.finish

        def leak(slopes: torch.Tensor) -> None:
            finish(slopes)
            block.critic.gradients[1][1] += 1e-6 * block.critic.gradients[1][0]

        monkeypatch.setattr(block.critic, "finish", leak)
    for step in range(5):
        batches, noise = [make_batch(100 * step + i) for i in range(3)], [a.draw_noise(SIZE) for a in together]
        swapped = [noise[1], noise[0], noise[2]] if fault == "noise of a neighbour" else noise
        population.update(batches, swapped)
        for agent, batch, draw in zip(alone, batches, noise, strict=True):
            agent.update(batch, draw)
    found = [difference(ours, theirs) for ours, theirs in zip(population.members, alone, strict=True)]
    assert max(found) > 1e-8
    if fault == "gradient of a neighbour":
        assert found[0] < 1e-9 and found[2] < 1e-9


# ---------------------------------------------------------------- whole runs
def dataset(seed: int = 0, rows: int = 200) -> OfflineDataset:
    columns = make_batch(seed, rows)
    return OfflineDataset.from_arrays(**columns, dtype=torch.float64, truncations=torch.arange(rows) == rows - 1)


def run(name: str, chosen: list[dict[str, Any]], steps: int = 30, **options: Any) -> list[Any]:
    options = {"batch_size": 16, "log_every": 7, "progress": False, **options}
    return fit_population(name, chosen, options.pop("dataset", dataset()), steps, **options)


@pytest.mark.parametrize("name", ["sac", "cql", "cql-lagrange"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_members_run_is_that_of_fit(name: str, dtype: str) -> None:
    each = [{**config, "dtype": dtype} for config in configs(name)]
    draws = [dataset(0), dataset(1), dataset(1)]

    def measure(agent: Any) -> dict[str, float]:
        return {"first": float(agent.critic.biases[0].detach().sum())}

    members = run(name, each, dataset=draws, evaluate=measure, eval_every=10)
    exact = {"abs": 1e-9} if dtype == "float64" else {"rel": 1e-3, "abs": 1e-4}
    for config, data, (agent, history, diverged) in zip(each, draws, members, strict=True):
        other = make_agent(name, config)
        options = {"batch_size": 16, "seed": config["seed"], "log_every": 7, "progress": False}
        expected = fit(other, data, 30, evaluate=measure, eval_every=10, **options)
        assert diverged is None and len(history) == len(expected) == 8 and history.seconds > 0
        for ours, theirs in zip(history.rows, expected.rows, strict=True):
            assert list(ours) == list(theirs) and ours == pytest.approx(theirs, **exact)
        assert difference(agent, other) < (1e-9 if dtype == "float64" else 1e-2)
        assert torch.equal(agent.generator.get_state(), other.generator.get_state())


@pytest.mark.parametrize("name", ["sac", "cql"])
def test_a_member_does_not_depend_on_its_neighbours(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype, close in (("float64", 1e-12), ("float32", 1e-4)):
        each = [{**config, "dtype": dtype} for config in configs(name)]
        whole = run(name, each)
        for kept in ([1], [2, 0]):
            for number, member in zip(kept, run(name, [each[i] for i in kept]), strict=True):
                assert difference(member.agent, whole[number].agent) < close
        monkeypatch.setattr("cql_tutorial.training.population.BLOCK", 2)
        for ours, theirs in zip(run(name, each), whole, strict=True):
            assert difference(ours.agent, theirs.agent) < close
        monkeypatch.undo()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_other_numbers_of_a_neighbour_change_not_a_bit(dtype: str) -> None:
    each = [{**config, "dtype": dtype} for config in configs("cql-lagrange")]
    others = [each[0], {**each[1], "seed": 9, "cql_alpha": 3.0, "discount": 0.5, "alpha": 0.4}, each[2]]
    first, second = run("cql-lagrange", each), run("cql-lagrange", others)
    assert [difference(a.agent, b.agent) == 0.0 for a, b in zip(first, second, strict=True)] == [True, False, True]


class Killed(Exception):
    """What stands for Ctrl-C."""


def killed(name: str, chosen: list[dict[str, Any]], step: int, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """A run of 30 updates that is broken off in update number ``step``."""
    update, calls = Population.update, iter(range(1, 31))

    def broken(self: Population, *args: Any) -> Any:
        if next(calls) == step:
            raise Killed
        return update(self, *args)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Population, "update", broken)
        run(name, chosen, **options)


def test_killing_and_repeating_gives_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    each, options = configs("cql-lagrange"), {"checkpoint": tmp_path / "runs", "checkpoint_every": 5}
    unbroken = run("cql-lagrange", each)
    killed("cql-lagrange", each, 18, monkeypatch, **options)
    files = sorted((tmp_path / "runs").iterdir())
    assert [path.name for path in files] == [f"member-00{i}.safetensors" for i in range(3)]
    for ours, theirs in zip(run("cql-lagrange", each, **options), unbroken, strict=True):
        assert ours.history.rows == theirs.history.rows and difference(ours.agent, theirs.agent) == 0.0
        assert torch.equal(ours.agent.generator.get_state(), theirs.agent.generator.get_state())
    assert difference(load_agent(files[2], "cpu"), unbroken[2].agent) == 0.0
    assert [len(m.history) for m in run("cql-lagrange", each, **options)] == [5, 5, 5]  # nothing is left to do
    with pytest.raises(CheckpointError, match="seed"):
        run("cql-lagrange", each, seeds=[5, 6, 7], **options)


def test_members_that_are_behind_catch_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    each, options = configs("sac"), {"checkpoint": tmp_path, "checkpoint_every": 5}
    killed("sac", each, 18, monkeypatch, **options)
    ahead = {"batch_size": 16, "seed": 1, "log_every": 7, "progress": False}  # as if killed between two files
    fit(make_agent("sac", each[1]), dataset(), 22, checkpoint=tmp_path / "member-001.safetensors", **ahead)
    for number, (ours, theirs) in enumerate(zip(run("sac", each, **options), run("sac", each), strict=True)):
        assert difference(ours.agent, theirs.agent) < 1e-9
        steps = [7, 14, 21, *([22] if number == 1 else []), 28, 30]  # an extended run keeps the row where it ended
        assert [row["step"] for row in ours.history.rows] == steps
        assert ours.history.rows[-1] == pytest.approx(theirs.history.rows[-1], abs=1e-9)


def test_a_diverging_member_is_named_and_harms_no_neighbour() -> None:
    each = configs("cql")
    each[1] |= {"critic_lr": 1e300, "actor_lr": 1e300}
    with pytest.warns(CQLWarning, match=r"configs\[1\]") as seen:
        members = run("cql", each)
    assert len(seen) == 1 and isinstance(members[1].diverged, DivergedError) and "update 7" in str(members[1].diverged)
    assert len(members[1].history) == 0
    for number, member in zip((0, 2), run("cql", [each[0], each[2]]), strict=True):
        assert members[number].diverged is None and len(members[number].history) == 5
        assert difference(members[number].agent, member.agent) < 1e-12


def test_the_multiplier_at_its_bound_warns_as_in_fit() -> None:
    each = [{**config, "cql_target_action_gap": -50.0, "multiplier_lr": 0.5} for config in configs("cql-lagrange")]
    with pytest.warns(CQLWarning, match="Raise cql_target_action_gap"):
        run("cql-lagrange", each, steps=60)


# ---------------------------------------------------------------- bad input
class Softer(SACAgent):
    """A user's own agent: what it changes, nobody else knows."""


def bad(change: dict[str, Any], name: str = "cql", **options: Any) -> Iterator[Any]:
    run(name, [*configs(name)[:2], {**configs(name)[2], **change}], **options)


@pytest.mark.parametrize(
    "change", [{"hidden_dim": 8}, {"n_critics": 3}, {"cql_n_actions": 2}, {"backup_entropy": True}, {"action_low": -2}]
)
def test_members_that_cannot_be_stacked_are_named(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"configs\[2\]\['{next(iter(change))}'\]"):
        bad(change)


def test_bad_input_is_named() -> None:
    with pytest.raises(ConfigError, match="configs"):
        run("cql", [])
    with pytest.raises(ConfigError, match="seeds"):
        bad({}, seeds=[1, 2])
    with pytest.raises(ConfigError, match="dataset"):
        bad({}, dataset=[dataset()])
    with pytest.raises(ConfigError, match="a dict of numbers"):
        bad({}, evaluate=lambda agent: 3.0)
    with pytest.raises(ConfigError, match=r"agents\[1\]: found a Softer"):
        Population([SACAgent(configs("sac")[0]), Softer(configs("sac")[1])])
    population = Population([make_agent("sac", config) for config in configs("sac")])
    with pytest.raises(DataError, match="observations"):
        population.update([make_batch(0, states=4)] * 3)
    with pytest.raises(ConfigError, match="batches"):
        population.update([make_batch(0)] * 2)


def test_a_population_of_many_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        members = run("sac", [{**SMALL, "seed": seed} for seed in range(20)], steps=3)
    assert len({float(member.agent.critic.weights[0].detach().sum()) for member in members}) == 20
