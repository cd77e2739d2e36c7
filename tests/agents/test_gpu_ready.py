"""What a GPU needs, shown without one: no host sync in an update, and no tensor on the wrong device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cql_tutorial import make_agent
from cql_tutorial.agents import AGENTS
from cql_tutorial.course.wrong_penalties import PITFALLS

torch.set_num_threads(1)
SYNCS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "unique")
CASES = [*AGENTS, "cql mixture", "cql no next", "cql uniform_only", "cql hard_max", "sac ensemble", "cal-ql ensemble"]
ENSEMBLE = {"n_critics": 3, "target_subset": 2, "subset_replacement": True, "actor_reduction": "mean"}
ENSEMBLE |= {"layer_norm": True, "actor_layer_norm": True}


class ForbidSync(TorchDispatchMode):
    """Raises on any operation that makes the host wait for the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.split(".")[0]
        if name in SYNCS:
            raise AssertionError(f"host sync: {func}")
        return func(*args, **(kwargs or {}))


def build(case: str) -> Any:
    name, _, variant = case.partition(" ")
    settings: dict[str, Any] = {"state_dim": 3, "action_dim": 2, "hidden_dim": 8, "device": "cpu"}
    variants: dict[str, dict[str, Any]] = {
        "": {}, "mixture": {"proposal_weights": "mixture"}, "no next": {"next_policy_proposal": False},
        "ensemble": ENSEMBLE,
    }  # fmt: skip
    settings |= variants.get(variant, {"pitfall": variant})
    return make_agent("cql-wrong-penalty" if variant in PITFALLS else name, settings)


def make_batch(discrete: bool, device: str = "cpu") -> dict[str, torch.Tensor]:
    actions = torch.zeros(6, dtype=torch.long, device=device) if discrete else torch.full((6, 2), 0.5, device=device)
    states = torch.linspace(-1, 1, 18, device=device).reshape(6, 3)
    rewards = torch.linspace(0, 1, 6, device=device)
    return {
        "observations": states,
        "actions": actions,
        "rewards": rewards,
        "next_observations": states + 0.1,
        "terminations": torch.zeros(6, dtype=torch.bool, device=device),
        "returns_to_go": rewards - 0.5,  # which Cal-QL reads
    }


@pytest.mark.parametrize("case", CASES)
def test_an_update_never_waits_for_the_device(case: str) -> None:
    agent = build(case)
    batch = make_batch(agent.discrete)
    with ForbidSync():
        for _ in range(10):
            metrics = agent.update(batch)
    assert all(torch.isfinite(value) for value in metrics.values())


def test_the_guard_sees_a_sync() -> None:
    with ForbidSync(), pytest.raises(AssertionError, match="host sync"):
        torch.ones(()).item()


class CountMeta(TorchDispatchMode):
    """Counts operations whose result lies on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, torch.Tensor) and leaf.device.type == "meta" for leaf in tree_leaves(result)):
            self.seen.append(str(func))
        return result


@pytest.mark.parametrize("case", CASES)
def test_every_tensor_of_an_update_is_made_on_the_agents_device(case: str) -> None:
    # With "meta" as the default device, a tensor that is made without naming the agent's device lands there.
    with torch.device("meta"), CountMeta() as elsewhere:
        agent = build(case)
        metrics = agent.update(make_batch(agent.discrete))
    assert elsewhere.seen == []
    assert all(value.device == agent.device for value in (*metrics.values(), *agent.state().values()))


def test_the_guard_sees_a_tensor_made_elsewhere() -> None:
    with torch.device("meta"), CountMeta() as elsewhere:
        torch.zeros(3, device="cpu")
        assert elsewhere.seen == []
        torch.zeros(3)
    assert len(elsewhere.seen) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("case", CASES)
def test_on_a_gpu(case: str) -> None:
    name, _, _ = case.partition(" ")
    agent = make_agent(name, {"state_dim": 3, "action_dim": 2, "hidden_dim": 8, "device": "cuda"})
    before = float(agent.cql_alpha) if name == "cql-lagrange" else None
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(10):
            metrics = agent.update(make_batch(agent.discrete, "cuda"))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(value.device.type == "cuda" for value in metrics.values())
    if before is not None:
        assert float(agent.cql_alpha) != before
