"""The update as a static program: equal to the readable one, nothing moves in memory, the host is never asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_check
from cql_tutorial import fit, make_agent
from cql_tutorial.batch import REQUIRED
from cql_tutorial.errors import ConfigError, DataError
from cql_tutorial.fast.cuda_graph import GraphRunner
from tests.agents.test_gpu_ready import ForbidSync
from tests.training.test_population import FAST, HALF, SMALL, difference, make_batch

torch.set_num_threads(1)
DATA = make_batch(0, 60)
CASES: list[Any] = [
    ("sac", {}),
    ("sac", {"auto_alpha": False, "backup_entropy": False}),
    ("cql", {"backup_entropy": True, "hidden_layers": 1}),
    ("cql", {"proposal_weights": "mixture", "backup_entropy": True}),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in HALF),
]


def build(name: str, **settings: Any) -> Any:
    few = {} if name == "sac" else {"cql_n_actions": 3}
    return make_agent(name, {**SMALL, **few, **settings})


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_the_program_equals_the_readable_update(name: str, settings: dict[str, Any]) -> None:
    agent, other = build(name, **settings), build(name, **settings)
    runner, g = GraphRunner(agent, DATA, batch_size=10), torch.Generator().manual_seed(0)
    for _ in range(100):
        noise, index = other.draw_noise(10), torch.randint(60, (10,), generator=g)
        runner.index.copy_(index)
        metrics = runner.update(noise)
        expected = other.update({key: DATA[key][index] for key in REQUIRED}, noise)
        assert {k: float(v) for k, v in metrics.items()} == pytest.approx(
            {k: float(v) for k, v in expected.items()}, abs=1e-9, rel=1e-9
        )
    assert difference(agent, other) < 1e-9


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_nothing_moves_and_nobody_waits(name: str, settings: dict[str, Any]) -> None:
    agent = build(name, **settings)
    runner = GraphRunner(agent, DATA, batch_size=10)
    runner.run(2)

    def places() -> list[int]:
        program = runner.program
        buffers = [b for net in (program.actor, program.critic, program.target) for b in net.buffers.values()]
        state = [value for key, value in agent.state().items() if key != "generator"]
        gradients = [*program.critic.gradients, *program.actor.gradients, *program.number_gradients.values()]
        mine = [runner.table, runner.index, runner.rows, *runner.sums.values(), *program.tensors.values()]
        return [tensor.data_ptr() for tensor in (*buffers, *state, *gradients, *mine)]

    before, weights = places(), agent.critic.weights[0].detach().clone()
    with ForbidSync():
        runner.run(10)
    assert places() == before and not torch.equal(weights, agent.critic.weights[0])
    assert set(agent.state()) and all(p.grad is None for p in agent.critic.parameters())


def test_metrics_are_means_since_they_were_read() -> None:
    agent, other = build("cql"), build("cql")
    runner, twin = GraphRunner(agent, DATA, batch_size=10), GraphRunner(other, DATA, batch_size=10)
    assert runner.metrics() == {}
    runner.run(3)
    rows = []
    for _ in range(3):
        twin.run(1)
        rows.append(twin.metrics())
    assert runner.metrics() == pytest.approx({key: sum(row[key] for row in rows) / 3 for key in rows[0]}, abs=1e-12)
    assert runner.metrics() == {} and difference(agent, other) == 0.0


def test_batches_are_uniform_and_not_those_of_fit() -> None:
    agent = build("sac")
    runner, seen = GraphRunner(agent, DATA, batch_size=10), torch.zeros(60)
    for _ in range(300):
        runner.run(1)
        seen += torch.bincount(runner.index, minlength=60)
    assert seen.sum() == 3000 and seen.min() > 20 and seen.max() < 90
    assert torch.equal(runner.rows[:, :3], DATA["observations"][runner.index])


def test_a_checkpoint_loads_in_place_and_goes_on_exactly(tmp_path: Path) -> None:
    agent = build("cql-lagrange")
    runner = GraphRunner(agent, DATA, batch_size=10)
    runner.run(3)
    agent.save(tmp_path / "agent.safetensors")
    runner.run(3)
    other = build("cql-lagrange", seed=5)
    second = GraphRunner(other, DATA, batch_size=10)
    second.run(4)
    place = other.critic.weights[0].data_ptr()
    second.load_state(tmp_path / "agent.safetensors")
    second.run(3)
    assert difference(agent, other) == 0.0 and other.critic.weights[0].data_ptr() == place
    fit(other, dataset(), 3, batch_size=10, progress=False)  # and the readable loop goes on from here


def dataset() -> Any:
    from cql_tutorial import OfflineDataset

    ends = torch.arange(60) == 59
    return OfflineDataset.from_arrays(**DATA, truncations=ends, dtype=torch.float64)


def test_bfloat16_is_what_it_says() -> None:
    settings = {"dtype": "float32", "hidden_dim": 64, "state_dim": 17, "action_dim": 6}
    data = make_batch(1, 256, torch.float32, 17, 6)
    exact, low = (build("cql", **settings) for _ in range(2))
    runners = [GraphRunner(exact, data, batch_size=256), GraphRunner(low, data, batch_size=256, precision="bfloat16")]
    noise = exact.draw_noise(256)
    for runner in runners:
        runner.index.copy_(torch.arange(256))
    one, two = (runner.update(noise) for runner in runners)
    assert all(float(two[key]) == pytest.approx(float(one[key]), rel=0.05, abs=0.02) for key in one)
    ours, theirs = (torch.cat([g.flatten() for g in r.program.critic.gradients]) for r in runners)
    assert 1e-5 < float((ours - theirs).norm() / ours.norm()) < 5e-2
    assert all(value.dtype == torch.float32 for value in low.state().values() if value.is_floating_point())


def test_bad_input_is_named() -> None:
    for precision in ("tf32", "float16"):
        with pytest.raises(ConfigError, match="precision"):
            GraphRunner(build("sac"), DATA, precision=precision)
    with pytest.raises(ConfigError, match="only SAC and CQL"):
        GraphRunner(make_agent("bc", {"state_dim": 3, "action_dim": 2, "device": "cpu"}), DATA)
    with pytest.raises(DataError, match="state_dim"):
        GraphRunner(build("sac", state_dim=4), DATA)
    with pytest.raises(ConfigError, match="batch_size"):
        GraphRunner(build("sac"), DATA, batch_size=0)


@pytest.mark.slow
def test_the_script_for_a_gpu_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = {"hidden": 16, "round": 1, "members": 2, "updates": 3, "steps": 3}
    options = [text for name, value in few.items() for text in (f"--{name}", str(value))]
    assert gpu_check.main(["--device", "cpu", *options, "--json", str(tmp_path / "found.json")]) == 0
    found, printed = json.loads((tmp_path / "found.json").read_text()), capsys.readouterr().out
    assert found["a checkpoint loads in place"] is True and found["a long run"]["updates"] == 3
    assert "FAIL" not in printed and len(printed.splitlines()) == 7
    if not torch.cuda.is_available():
        assert gpu_check.main([]) == 2 and "no GPU here" in capsys.readouterr().out


# ---------------------------------------------------------------- on a GPU
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_the_captured_graph_equals_the_readable_update(name: str, settings: dict[str, Any]) -> None:
    config = {**SMALL, **FAST, "device": "cuda", **settings}
    agent, other = (make_agent(name, config) for _ in range(2))
    data = {key: value.to("cuda") for key, value in DATA.items()}
    runner = GraphRunner(agent, data, batch_size=10)
    runner.run(4)
    torch.cuda.set_sync_debug_mode("error")
    try:
        runner.run(46)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for _ in range(50):
        index = torch.randint(60, (10,), generator=other.generator, device="cuda")
        other.update({key: data[key][index] for key in REQUIRED})
    assert difference(agent, other) < 1e-9
    assert torch.equal(agent.generator.get_state(), other.generator.get_state())
