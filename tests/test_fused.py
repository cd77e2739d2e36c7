"""The fused update equals the readable one; the tests that say so see faults; its memory, checkpoints and settings."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_agents import FAST, SMALL, make_batch
from test_gpu_ready import CountMeta, ForbidSync

from cql_tutorial import OfflineDataset, fit, make_agent
from cql_tutorial.agents import actor_critic, fused
from cql_tutorial.agents.base import subnormals_as_zero
from cql_tutorial.errors import ConfigError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))
from bench import floor_gflop, ratios, rounds, variants, working_memory

torch.set_num_threads(1)
Change = Callable[[Any], None]


# ---------------------------------------------------------------- equality, float64, the same noise
def pair(name: str, change: Change | None = None, **settings: Any) -> tuple[Any, Any]:
    """A readable and a fused agent that start equal."""
    agents = tuple(make_agent(name, {**SMALL, **FAST, **settings, "update_path": p}) for p in ("readable", "fused"))
    for agent in agents:
        if change is not None:
            with torch.no_grad():
                change(agent)
                agent.target_critic.load_state_dict(agent.critic.state_dict())
    return agents


def difference(first: Any, second: Any) -> float:
    """The largest difference between two agents' parameters, targets and optimisers."""
    ours, theirs = first.state(), second.state()
    assert ours.keys() == theirs.keys()
    return max(float((ours[key].double() - theirs[key].double()).abs().max()) for key in ours if key != "generator")


def largest_difference(agents: tuple[Any, Any], updates: int = 100, size: int = 12) -> float:
    """After so many updates on the same noise; metrics count as well."""
    found = 0.0
    for step in range(updates):
        batch, noise = make_batch(step, size), agents[0].draw_noise(size)
        one, two = (agent.update(batch, noise) for agent in agents)
        assert list(one) == list(two) and all(value.dim() == 0 and not value.requires_grad for value in two.values())
        found = max(found, *(abs(float(one[key]) - float(two[key])) for key in one))
    assert agents[0].workspace is None and agents[1].workspace is not None
    return max(found, difference(*agents))


def spread_log_std(agent: Any) -> None:
    """Some states' log_std above its range, some below."""
    agent.actor.biases[-1][0, 0] += torch.tensor([0.0, 0.0, 2.0, -5.0], dtype=torch.float64)


def equal_critics(agent: Any) -> None:
    """The two critics are one: every minimum is a tie."""
    for parameter in agent.critic.parameters():
        parameter[1] = parameter[0]


CASES: dict[str, tuple[str, dict[str, Any], Change | None]] = {
    "fixed": ("cql", {}, None),
    "lagrange": ("cql-lagrange", {"cql_target_action_gap": -0.5, "multiplier_lr": 0.05}, None),
    "ten critics": ("cql", {"n_critics": 10}, None),
    "ten critics, lagrange": ("cql-lagrange", {"n_critics": 10}, None),
    "one critic": ("cql", {"n_critics": 1}, None),
    "no next policy": ("cql", {"next_policy_proposal": False}, None),
    "mixture": ("cql", {"proposal_weights": "mixture"}, None),
    "mixture, no next": ("cql-lagrange", {"proposal_weights": "mixture", "next_policy_proposal": False}, None),
    "fixed temperature": ("cql", {"auto_alpha": False, "alpha": 0.3}, None),
    "entropy in the backup": ("cql", {"backup_entropy": True, "alpha": 0.5}, None),
    "weight decay": ("cql", {"critic_weight_decay": 0.1}, None),
    "bounds": ("cql", {"action_low": (-2.0, -1.5), "action_high": (1.5, 4.0)}, None),
    "one hidden layer": ("cql", {"hidden_layers": 1}, None),
    "three hidden layers": ("cql", {"hidden_layers": 3}, None),
    "clamped log_std": ("cql", {}, spread_log_std),
    "ties": ("cql", {}, equal_critics),
    "sac": ("sac", {}, None),
    "sac, plain": ("sac", {"auto_alpha": False, "backup_entropy": False, "hidden_layers": 1}, None),
    "sac, deep": ("sac", {"n_critics": 10, "critic_weight_decay": 0.1, "hidden_layers": 3}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_fused_update_equals_the_readable_one(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        fused, "NUMBERS", 40 * SMALL["hidden_dim"]
    )  # several chunks of 12 states, the last of them smaller
    name, settings, change = CASES[case]
    agents = pair(name, change, cql_n_actions=3, **settings) if "cql" in name else pair(name, change, **settings)
    start = copy.deepcopy(agents[0])
    assert largest_difference(agents) < 1e-9
    assert difference(start, agents[0]) > 0.05  # they went somewhere


def test_sac_and_cql_without_penalty_are_the_same_agent() -> None:
    sac, cql = pair("sac")[1], pair("cql", cql_alpha=0.0, backup_entropy=True)[1]
    for step in range(5):
        noise = cql.draw_noise(8)  # with candidates, which SAC does not look at
        sac.update(make_batch(step), noise)
        cql.update(make_batch(step), noise)
    assert difference(sac, cql) < 1e-12
    with pytest.raises(AssertionError):  # and CQL does not go without
        cql.update(make_batch(0), sac.draw_noise(8))


@pytest.mark.parametrize("rows", [1, 10, 64, 10_000])
def test_the_size_of_a_chunk_changes_nothing(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "NUMBERS", rows * SMALL["hidden_dim"])
    agents = pair("cql", cql_n_actions=3)
    for size in (12, 1, 33, 12, 500):  # a larger batch wants more room, a smaller one leaves some of it
        assert largest_difference(agents, 4, size) < 1e-9


def test_one_step_in_float32() -> None:
    # With seed 0 one ReLU of all switches in float32, in both forms alike.
    wide = {"state_dim": 17, "action_dim": 6, "hidden_dim": 64, "dtype": "float32", "seed": 1}
    agents = pair("cql", **wide)
    exact = pair("cql", **{**wide, "dtype": "float64"})[0]
    batch, noise = make_batch(0, 256, state_dim=17, action_dim=6), exact.draw_noise(256)
    single = {key: value if value is None else value.float() for key, value in vars(noise).items()}
    metrics = [agent.update(batch, type(noise)(**single)) for agent in agents] + [exact.update(batch, noise)]
    for key, value in metrics[0].items():
        for other in metrics[1:]:
            assert float(other[key]) == pytest.approx(float(value), rel=1e-5, abs=1e-6), key
    names = [(part, name) for part in ("critic", "actor") for name, _ in getattr(exact, part).named_parameters()]
    for part, name in names:
        readable, ours, true = (getattr(a, part).get_parameter(name).grad.double() for a in (*agents, exact))
        for reference in (readable, true):
            assert float((ours - reference).norm() / reference.norm()) < 1e-5, (part, name)


# ---------------------------------------------------------------- the tests above see faults
def wrong_sign(patch: pytest.MonkeyPatch) -> None:
    right = fused.Critics.flow_down
    patch.setattr(fused.Critics, "flow_down", lambda self, member, slope, *a, **k: right(self, member, -slope, *a, **k))


def no_weight_below(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fused.Critics, "read", fused.Layers.read)


def no_weight_in_the_gradient(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fused.Critics, "write", fused.Layers.write)


def a_critic_forgotten(patch: pytest.MonkeyPatch) -> None:
    right = fused.Critics.flow_down

    def flow_down(self: Any, member: int, slope: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        return right(self, member, slope * (member != 1), *rest, **more)

    patch.setattr(fused.Critics, "flow_down", flow_down)


def no_mask(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fused, "_where_active", lambda gradient, activation, out: out.copy_(gradient))


def last_chunk_alone(patch: pytest.MonkeyPatch) -> None:
    right = fused.Layers.backward
    patch.setattr(fused.Layers, "backward", lambda self, m, f, i, at=0, first=True: right(self, m, f, i, at, True))


def no_densities(patch: pytest.MonkeyPatch) -> None:
    right = fused.step_critics
    patch.setattr(fused, "step_critics", lambda a, c, b, t, k, log_density, w: right(a, c, b, t, k, 0 * log_density, w))


def no_penalty(patch: pytest.MonkeyPatch) -> None:
    right = fused.step_critics
    patch.setattr(fused, "step_critics", lambda *arguments: right(*arguments[:-1], 0 * arguments[-1]))


def old_critics_for_the_actor(patch: pytest.MonkeyPatch) -> None:
    right = fused.minimum_and_slope

    def minimum_and_slope(*arguments: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(fused.Critics, "read", lambda self, network: None)
            return right(*arguments)

    patch.setattr(fused, "minimum_and_slope", minimum_and_slope)


def no_jacobian(patch: pytest.MonkeyPatch) -> None:
    right = fused.step_actor
    patch.setattr(fused, "step_actor", lambda *a: right(*a[:5], 0 * a[5], *a[6:]))


def no_clamp(patch: pytest.MonkeyPatch) -> None:
    right = fused.step_actor
    patch.setattr(fused, "step_actor", lambda a, n, policy, raw, *rest: right(a, n, policy, policy.log_std, *rest))


def tied_critics_count_twice(patch: pytest.MonkeyPatch) -> None:
    right = fused.minimum_and_slope

    def minimum_and_slope(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
        minimum, slope = right(*arguments)
        return minimum, 2 * slope

    patch.setattr(fused, "minimum_and_slope", minimum_and_slope)


FAULTS: list[tuple[Callable[[pytest.MonkeyPatch], None], str]] = [
    *((fault, "fixed") for fault in (
        wrong_sign, no_weight_below, no_weight_in_the_gradient, a_critic_forgotten, no_mask, last_chunk_alone,
        no_densities, no_penalty, old_critics_for_the_actor, no_jacobian,
    )),
    *((fault, "sac") for fault in (
        wrong_sign, no_weight_below, no_weight_in_the_gradient, a_critic_forgotten, no_mask, no_jacobian,
    )),
    (no_weight_in_the_gradient, "one hidden layer"), (no_weight_below, "one hidden layer"), (no_mask, "ten critics"),
    (a_critic_forgotten, "ten critics"), (no_clamp, "clamped log_std"), (tied_critics_count_twice, "ties"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "case"), FAULTS)
def test_a_fault_is_seen(
    fault: Callable[[pytest.MonkeyPatch], None], case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "NUMBERS", 40 * SMALL["hidden_dim"])
    name, settings, change = CASES[case]
    settings = {**settings, **({"cql_n_actions": 3} if "cql" in name else {})}
    assert largest_difference(pair(name, change, **settings), 3) < 1e-12
    fault(monkeypatch)
    assert largest_difference(pair(name, change, **settings), 3) > 1e-4


# ---------------------------------------------------------------- memory, device
def test_memory_does_not_grow_with_the_candidates() -> None:
    def memory(n: int) -> float:
        return working_memory(variants([256, 256], n)["fused"])

    few, many = memory(10), memory(100)
    assert 5 < few < 25 and many < 2 * few
    assert working_memory(variants([256, 256], 10)["readable"]) > 2 * few  # the measure sees what it should


@pytest.mark.parametrize("name", ["cql", "cql-lagrange", "sac"])
def test_it_never_waits_and_stays_on_its_device(name: str) -> None:
    settings = {**SMALL, "dtype": "float32", "update_path": "fused"}
    with torch.device("meta"), CountMeta() as elsewhere:
        agent = make_agent(name, settings)
        batch = {key: value.to("cpu") for key, value in make_batch_on_cpu().items()}
        with ForbidSync():
            for _ in range(3):
                metrics = agent.update(batch)
    assert elsewhere.seen == []
    assert all(value.device.type == "cpu" and torch.isfinite(value) for value in metrics.values())


def make_batch_on_cpu() -> dict[str, torch.Tensor]:
    with torch.device("cpu"):
        return make_batch(0)


# ---------------------------------------------------------------- copies and checkpoints
def test_a_copy_goes_on_by_itself() -> None:
    readable, agent = pair("cql-lagrange")
    for step in range(3):
        readable.update(make_batch(step))
        agent.update(make_batch(step))
    twin = copy.deepcopy(agent)
    before = {key: value.clone() for key, value in agent.state().items()}
    for step in range(3, 6):
        readable.update(make_batch(step))
        twin.update(make_batch(step))
    assert all(torch.equal(before[key], value) for key, value in agent.state().items())
    assert difference(readable, twin) < 1e-12
    for step in range(3, 6):
        agent.update(make_batch(step))
    assert difference(agent, twin) == 0.0


@pytest.mark.parametrize("order", [("readable", "fused"), ("fused", "readable")])
@pytest.mark.parametrize("name", ["cql-lagrange", "sac"])
def test_checkpoints_go_from_one_form_to_the_other(name: str, order: tuple[str, str], tmp_path: Path) -> None:
    first, second, whole = (
        make_agent(name, {**SMALL, **FAST, "update_path": p, "seed": seed})
        for p, seed in ((order[0], 0), (order[1], 5), ("readable", 0))
    )
    for step in range(5):
        first.update(make_batch(step))
    second.update(make_batch(99))  # its buffers exist when the checkpoint comes
    first.save(tmp_path / "a.safetensors")
    second.load_state(tmp_path / "a.safetensors")
    for step in range(5, 10):
        second.update(make_batch(step))
    for step in range(10):
        whole.update(make_batch(step))
    assert difference(second, whole) < 1e-12


def test_a_run_is_resumed_by_the_other_form(tmp_path: Path) -> None:
    rows = {key: value for key, value in make_batch(0, 64).items() if key != "terminations"}
    data = OfflineDataset.from_arrays(**rows, terminations=torch.ones(64, dtype=torch.bool), dtype=torch.float64)
    readable, agent = pair("cql")
    path = tmp_path / "run.safetensors"
    options: dict[str, Any] = {"batch_size": 8, "progress": False}
    fit(readable, data, 6, checkpoint=path, checkpoint_every=3, **options)
    fit(agent, data, 12, checkpoint=path, **options)
    whole = pair("cql")[0]
    fit(whole, data, 12, **options)
    assert difference(agent, whole) < 1e-12


# ---------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("name", "settings", "why"),
    [
        ("cql", {"pitfall": "hard_max"}, "pitfall is 'hard_max'"),
        ("cql", {"hidden_layers": 0}, "hidden_layers is 0"),
        ("sac", {"hidden_layers": 0}, "hidden_layers is 0"),
        ("bc", {}, "only SAC and CQL"),
        ("iql", {}, "only SAC and CQL"),
        ("discrete-cql", {}, "only SAC and CQL"),
    ],
)
def test_where_there_is_no_fused_form_it_says_why(name: str, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as error:
        make_agent(name, {**SMALL, **settings, "update_path": "fused"})
    assert error.value.field == "config['update_path']"
    make_agent(name, {**SMALL, **settings, "update_path": "auto"})


@pytest.mark.parametrize("default", [(), ("cql",), ("cql", "sac")])
def test_one_constant_decides_what_auto_means(default: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    single = {**SMALL, "dtype": "float32"}
    assert make_agent("cql", single).fused and not make_agent("sac", single).fused
    monkeypatch.setattr(actor_critic, "FUSED_BY_DEFAULT", default)
    assert make_agent("cql", single).fused is ("cql" in default)
    assert make_agent("sac", single).fused is ("sac" in default)
    monkeypatch.setattr(actor_critic, "FUSED_BY_DEFAULT", ("cql", "sac"))
    others: list[dict[str, Any]] = [{"dtype": "float64"}, {"pitfall": "hard_max"}, {"hidden_layers": 0}]
    for other in [*others, {"update_path": "readable"}]:
        assert not make_agent("cql", {**single, **other}).fused
    assert make_agent("cql", {**SMALL, "update_path": "fused"}).fused  # float64 if asked for


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_it_is_for_the_cpu_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="for the CPU"):
        make_agent("cql", {**SMALL, "device": "cuda", "update_path": "fused"})
    pair("cql")[1].save(tmp_path / "a.safetensors")
    assert not type(pair("cql")[1]).load(tmp_path / "a.safetensors", device="cuda").fused


# ---------------------------------------------------------------- subnormal numbers
def test_subnormals_count_as_zero_while_gradients_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def flushed() -> bool:
        return bool(torch.full((), 1e-40) * 1.0 == 0.0)

    assert not flushed()
    with pytest.raises(ZeroDivisionError), subnormals_as_zero():
        assert flushed()
        raise ZeroDivisionError
    assert not flushed()
    torch.set_flush_denormal(True)
    with subnormals_as_zero():
        assert flushed()
    assert flushed()
    torch.set_flush_denormal(False)
    seen = []
    right = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: (seen.append(flushed()), right(self)))
    for agent in pair("cql"):
        agent.update(make_batch(0))
    assert seen == [True] * 6 and not flushed()


# ---------------------------------------------------------------- the bench's arithmetic
def test_the_floor_counts_the_products() -> None:
    assert floor_gflop([256, 256], 10) == pytest.approx(6.73, abs=0.02)  # counted by hand before this code was
    rows = [{"round": r, "variant": v, "ms": ms, "floor_ms": 2.0}
            for r, v, ms in [(0, "a", 4.0), (0, "b", 2.0), (1, "a", 9.0), (1, "b", 3.0)]]  # fmt: skip
    assert ratios(rows, "a", "b") == [2.0, 3.0] and ratios(rows, "b", "floor") == [1.0, 1.5]


def test_the_bench_runs_without_its_peer() -> None:
    calls = {name: update for name, update in variants([8, 8], 1).items() if name != "d3rlpy"}
    found = list(rounds(calls, 2, time.perf_counter))
    assert [set(ms) for _, ms in found] == [{"fused", "readable", "textbook"}] * 2
    assert all(rate > 0 and min(ms.values()) > 0 for rate, ms in found)
