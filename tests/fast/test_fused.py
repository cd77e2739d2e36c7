"""The fused update equals the readable one; the tests that say so see faults; its memory, checkpoints and settings."""

from __future__ import annotations

import copy
import gc
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.updates import floor_gflop, ratios, rounds, variants, working_memory
from cql_tutorial import OfflineDataset, fit, make_agent
from cql_tutorial.agents.agent import subnormals_as_zero
from cql_tutorial.fast import fused, stacked_networks
from tests.agents.test_agents import FAST, SMALL, make_batch
from tests.agents.test_gpu_ready import CountMeta, ForbidSync
from tests.training.test_population import COMBINATIONS

torch.set_num_threads(1)
Change = Callable[[Any], None]


# ---------------------------------------------------------------- equality, float64, the same noise
class Faster:
    """An agent whose `update` is the faster one; everything else is the agent's own."""

    def __init__(self, agent: Any, chunk_bytes: int | None = None) -> None:
        self.agent, self.update = agent, fused.FasterUpdate(agent, chunk_bytes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.agent, name)


def pair(name: str, change: Change | None = None, rows: int | None = None, **settings: Any) -> tuple[Any, Any]:
    """A readable and a fused agent that start equal; the fused one takes so many rows of activations at once."""
    name = "cql-wrong-penalty" if "pitfall" in settings else name
    agents = tuple(make_agent(name, {**SMALL, **FAST, **settings}) for _ in range(2))
    for agent in agents:
        if change is not None:
            with torch.no_grad():
                change(agent)
                agent.target_critic.load_state_dict(agent.critic.state_dict())
    row = agents[1].config.n_critics * agents[1].config.hidden_dim * agents[1].dtype.itemsize
    return agents[0], Faster(agents[1], None if rows is None else rows * row)


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
    "one critic": ("cql", {"n_critics": 1}, None),
    "fixed temperature": ("cql", {"auto_alpha": False, "alpha": 0.3}, None),
    "entropy in the backup": ("cql", {"backup_entropy": True, "alpha": 0.5}, None),
    "weight decay": ("cql", {"critic_weight_decay": 0.1}, None),
    "bounds": ("cql", {"action_low": (-2.0, -1.5), "action_high": (1.5, 4.0)}, None),
    "one hidden layer": ("cql", {"hidden_layers": 1}, None),
    "three hidden layers": ("cql", {"hidden_layers": 3}, None),
    "clamped log_std": ("cql", {}, spread_log_std),
    "ties": ("cql", {}, equal_critics),
    "no hidden layer": ("cql", {"hidden_layers": 0}, None),
    "wrong penalty": ("cql", {"pitfall": "hard_max"}, None),
    "wrong penalty of the batch": ("cql", {"pitfall": "batch_max", "cql_lagrange": True}, None),
    **{f"{name}, {' '.join(map(str, settings.values()))}": (name, settings, None) for name, settings in COMBINATIONS},
    "sac": ("sac", {}, None),
    "sac, plain": ("sac", {"auto_alpha": False, "backup_entropy": False, "hidden_layers": 1}, None),
    "sac, deep": ("sac", {"n_critics": 10, "critic_weight_decay": 0.1, "hidden_layers": 3}, None),
}


# One case of each kind is in the unit suite; the products of settings are `slow`.
QUICK = (
    "fixed",
    "lagrange",
    "ten critics",
    "bounds",
    "clamped log_std",
    "ties",
    "no hidden layer",
    "wrong penalty",
    "sac",
)


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in QUICK else [pytest.mark.slow]) for case in CASES]
)
def test_the_fused_update_equals_the_readable_one(case: str) -> None:
    name, settings, change = CASES[case]
    few = {"cql_n_actions": 3} if "cql" in name else {}
    # several chunks of 12 states, the last of them smaller
    agents = pair(name, change, 50 if few else 5, **few, **settings)
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
def test_the_size_of_a_chunk_changes_nothing(rows: int) -> None:
    agents = pair("cql", rows=rows, cql_n_actions=3)
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
    for part in ("critic", "actor"):
        readable, true = ([p.grad.double() for p in getattr(agent, part).parameters()] for agent in (agents[0], exact))
        for number, ours in enumerate(getattr(agents[1].update.stacked, part).gradients):
            for reference in (readable[number], true[number]):
                assert float((ours[0] - reference).norm() / reference.norm()) < 1e-5, (part, number)


# ---------------------------------------------------------------- the tests above see faults
def slopes_are(patch: pytest.MonkeyPatch, change: Callable[[torch.Tensor], torch.Tensor], of: str = "both") -> None:
    """Change dL/dQ on its way down, of the critics' loss, of the actor's or of both."""
    right = stacked_networks.Networks.back_from_value

    def back(self: Any, layers: Any, slopes: torch.Tensor, scaled: Any, keep: bool = True) -> torch.Tensor:
        wrong = of == "both" or (of == "critics") is keep
        return right(self, layers, change(slopes) if wrong else slopes, scaled, keep)

    patch.setattr(stacked_networks.Networks, "back_from_value", back)


def wrong_sign(patch: pytest.MonkeyPatch) -> None:
    slopes_are(patch, torch.neg)


def wrong_sign_for_the_actor(patch: pytest.MonkeyPatch) -> None:
    slopes_are(patch, torch.neg, "actor")


def a_critic_forgotten(patch: pytest.MonkeyPatch) -> None:
    slopes_are(patch, lambda slopes: slopes * (torch.arange(len(slopes)) != 1)[:, None])


def tied_critics_count_twice(patch: pytest.MonkeyPatch) -> None:
    slopes_are(patch, lambda slopes: 2.0 * slopes, "actor")


def no_weight_below(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stacked_networks.Networks, "scaled", lambda self: self.weights[:-1])


def no_weight_in_the_gradient(patch: pytest.MonkeyPatch) -> None:
    right = stacked_networks.Networks.finish

    def finish(self: Any, slopes: torch.Tensor) -> None:
        before = self.dw[-2].clone(), self.db[-2].clone()
        right(self, slopes)
        if len(self.weights) > 2 or not self.dw_parts:  # else the two parts are put together there
            self.dw[-2].copy_(before[0])
        self.db[-2].copy_(before[1])

    patch.setattr(stacked_networks.Networks, "finish", finish)


def no_mask(patch: pytest.MonkeyPatch) -> None:
    class Wrong:
        @staticmethod
        def grad_input(gradient: torch.Tensor, layer: Any, at: int, grad_input: torch.Tensor) -> torch.Tensor:
            return grad_input.copy_(gradient)

    patch.setattr(stacked_networks, "relu_backward", Wrong)


def last_chunk_alone(patch: pytest.MonkeyPatch) -> None:
    right = stacked_networks.Networks.add

    def add(self: Any, number: int, inputs: Any, gradient: Any, part: int | None = None) -> None:
        (self.dw[number] if part is None else self.dw_parts[part]).zero_()
        right(self, number, inputs, gradient, part)

    patch.setattr(stacked_networks.Networks, "add", add)


def no_densities(patch: pytest.MonkeyPatch) -> None:
    right = fused.FusedUpdate._gradient_at_q
    patch.setattr(
        fused.FusedUpdate, "_gradient_at_q", lambda self, q, y, density, *rest: right(self, q, y, 0 * density, *rest)
    )


def no_penalty(patch: pytest.MonkeyPatch) -> None:
    right = fused.FusedUpdate._gradient_at_q
    patch.setattr(
        fused.FusedUpdate,
        "_gradient_at_q",
        lambda self, q, y, d, weight, *rest: right(self, q, y, d, 0 * weight, *rest),
    )


def old_critics_for_the_actor(patch: pytest.MonkeyPatch) -> None:
    critics, actor = fused.FusedUpdate._critics, fused.FusedUpdate._actor
    old: list[torch.Tensor] = []

    def remember(self: Any, *arguments: Any) -> Any:
        old[:] = [parameter.clone() for parameter in self.critic.parameters]
        return critics(self, *arguments)

    def with_old(self: Any, *arguments: Any) -> Any:
        new = [parameter.clone() for parameter in self.critic.parameters]
        torch._foreach_copy_(self.critic.parameters, old)
        found = actor(self, *arguments)
        torch._foreach_copy_(self.critic.parameters, new)
        return found

    patch.setattr(fused.FusedUpdate, "_critics", remember)
    patch.setattr(fused.FusedUpdate, "_actor", with_old)


def no_entropy(patch: pytest.MonkeyPatch) -> None:
    right = fused.FusedUpdate._actor
    patch.setattr(fused.FusedUpdate, "_actor", lambda self, *arguments: right(self, *arguments[:-1], 0 * arguments[-1]))


def no_clamp(patch: pytest.MonkeyPatch) -> None:
    right = fused.FusedUpdate._actor
    patch.setattr(
        fused.FusedUpdate, "_actor", lambda self, s, here, inside, *rest: right(self, s, here, inside | True, *rest)
    )


FAULTS: list[tuple[Callable[[pytest.MonkeyPatch], None], str]] = [
    *((fault, "fixed") for fault in (
        wrong_sign, wrong_sign_for_the_actor, no_weight_below, no_weight_in_the_gradient, a_critic_forgotten, no_mask,
        last_chunk_alone, no_densities, no_penalty, old_critics_for_the_actor, no_entropy,
    )),
    *((fault, "sac") for fault in (
        wrong_sign, wrong_sign_for_the_actor, no_weight_below, no_weight_in_the_gradient, a_critic_forgotten, no_mask,
        last_chunk_alone, old_critics_for_the_actor, no_entropy,
    )),
    (no_weight_in_the_gradient, "one hidden layer"), (no_weight_below, "one hidden layer"), (no_mask, "ten critics"),
    (a_critic_forgotten, "ten critics"), (no_clamp, "clamped log_std"), (tied_critics_count_twice, "ties"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "case"), FAULTS)
def test_a_fault_is_seen(
    fault: Callable[[pytest.MonkeyPatch], None], case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, settings, change = CASES[case]
    few = {"cql_n_actions": 3} if "cql" in name else {}
    rows = 50 if few else 5
    assert largest_difference(pair(name, change, rows, **few, **settings), 3) < 1e-12
    fault(monkeypatch)
    assert largest_difference(pair(name, change, rows, **few, **settings), 3) > 1e-4


# ---------------------------------------------------------------- memory, device
@pytest.mark.slow
def test_memory_does_not_grow_with_the_candidates() -> None:
    def memory(n: int) -> float:
        return working_memory(variants([256, 256], n)["fused"])

    few, many = memory(10), memory(100)
    assert 5 < few < 25 and many < 2 * few
    assert working_memory(variants([256, 256], 10)["readable"]) > 2 * few  # the measure sees what it should


@pytest.mark.parametrize("name", ["cql", "cql-lagrange", "sac"])
def test_it_never_waits_and_stays_on_its_device(name: str) -> None:
    settings = {**SMALL, "dtype": "float32"}
    with torch.device("meta"), CountMeta() as elsewhere:
        agent = Faster(make_agent(name, settings))
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
    twin = Faster(copy.deepcopy(agent.agent))
    before = {key: value.clone() for key, value in agent.state().items()}
    for step in range(3, 6):
        readable.update(make_batch(step))
        twin.update(make_batch(step))
    assert all(torch.equal(before[key], value) for key, value in agent.state().items())
    assert difference(readable, twin) < 1e-12
    for step in range(3, 6):
        agent.update(make_batch(step))
    assert difference(agent, twin) == 0.0


def test_tensors_put_in_by_hand_are_the_ones_that_learn() -> None:
    """The fused update keeps the places of an agent's tensors in mind: it must see when they are others."""
    readable, agent = pair("cql-lagrange")

    def same_for_both(change: Callable[[Any], Any]) -> None:
        for one in (readable, agent):
            change(one)
        for step in range(3):
            noise = readable.draw_noise(8)
            readable.update(make_batch(step), noise)
            agent.update(make_batch(step), noise)
        assert difference(readable, agent) < 1e-12

    def other_storage(one: Any) -> None:  # an agent, or one with the faster update
        one.critic.weights[1].data = one.critic.weights[1].data * 1.5
        one.actor.biases[0].data = one.actor.biases[0].data + 0.1
        one.target_critic.weights[0].data = one.target_critic.weights[0].data.clone()

    same_for_both(lambda one: None)
    same_for_both(other_storage)
    same_for_both(lambda one: one.optimizers["critic"].load_state_dict(one.optimizers["critic"].state_dict()))
    same_for_both(lambda one: one.optimizers["actor"].param_groups[0].update(lr=1e-3))  # a schedule of step sizes


def test_an_agent_and_its_buffers_go_at_once() -> None:
    agent = pair("cql")[1]
    agent.update(make_batch(0))
    gone, buffers = weakref.ref(agent.agent), weakref.ref(agent.update.stacked)
    gc.disable()
    try:
        del agent
        assert gone() is None and buffers() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("order", [("readable", "fused"), ("fused", "readable")])
@pytest.mark.parametrize("name", ["cql-lagrange", "sac"])
def test_checkpoints_go_from_one_form_to_the_other(name: str, order: tuple[str, str], tmp_path: Path) -> None:
    first, second, whole = (
        make_agent(name, {**SMALL, **FAST, "seed": seed})
        if form == "readable"
        else Faster(make_agent(name, {**SMALL, **FAST, "seed": seed}))
        for form, seed in ((order[0], 0), (order[1], 5), ("readable", 0))
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
    readable, agent, whole = (make_agent("cql", {**SMALL, **FAST}) for _ in range(3))
    path = tmp_path / "run.safetensors"
    options: dict[str, Any] = {"batch_size": 8, "progress": False}
    fit(readable, data, 6, checkpoint=path, checkpoint_every=3, **options)
    fit(agent, data, 12, checkpoint=path, fast=True, **options)
    fit(whole, data, 12, **options)
    assert difference(agent, whole) < 1e-12


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
    seen: list[bool] = []
    for kind in (torch.optim.Adam, stacked_networks.Adam):
        right = kind.step
        monkeypatch.setattr(kind, "step", lambda self, right=right: (seen.append(flushed()), right(self)))
    for agent in pair("cql"):
        agent.update(make_batch(0))
    assert seen == [True] * 6 and not flushed()


# ---------------------------------------------------------------- the bench's arithmetic
def test_the_floor_counts_the_products() -> None:
    assert floor_gflop([256, 256], 10) == pytest.approx(6.73, abs=0.02)  # counted by hand before this code was
    rows = [
        {"round": r, "variant": v, "ms": ms, "floor_ms": 2.0}
        for r, v, ms in [(0, "a", 4.0), (0, "b", 2.0), (1, "a", 9.0), (1, "b", 3.0)]
    ]
    assert ratios(rows, "a", "b") == [2.0, 3.0] and ratios(rows, "b", "floor") == [1.0, 1.5]


def test_the_bench_runs_without_its_peer() -> None:
    calls = {name: update for name, update in variants([8, 8], 1).items() if name != "d3rlpy"}
    found = list(rounds(calls, 2, time.perf_counter))
    assert [set(ms) for _, ms in found] == [{"fused", "readable", "textbook"}] * 2
    assert all(rate > 0 and min(ms.values()) > 0 for rate, ms in found)
