"""A benchmark on a Ray cluster: a lost worker changes no row. Skipped where ray is not installed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cql_tutorial.agents.checkpoint import read_tensors
from cql_tutorial.errors import ConfigError
from cql_tutorial.evaluation import benchmark
from cql_tutorial.evaluation.benchmark import plan, run_benchmark
from cql_tutorial.evaluation.cluster import on_ray

SMALL: dict[str, Any] = {"episodes": 1, "batch_size": 16, "hidden_dim": 8}


def test_without_ray_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"engine: found 'no ray'|pip install 'cql-tutorial\[ray\]'"):
        next(on_ray(lambda group: [], [[1]]))


def test_a_lost_worker_changes_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    runs = plan("pendulum", "ours", ("pendulum-medium",), ("cql", "bc"), (0, 1), steps=1000, alphas=(5.0,), **SMALL)
    pids, killed = tmp_path / "pids", {}
    pids.mkdir()

    def told(work: Any, group: list[Any]) -> list[Any]:
        (pids / f"{group[0].name}.{os.getpid()}").touch()  # whose process it is, and each attempt is another
        result: list[Any] = work(group)
        return result

    def kill_one() -> None:
        """Kill the worker of the first run of CQL as soon as it has a checkpoint."""
        checkpoint = tmp_path / "ray" / "runs" / f"{runs[0].name}.safetensors"
        while not checkpoint.exists():
            time.sleep(0.01)
        (attempt,) = pids.glob(f"{runs[0].name}.*")
        os.kill(int(attempt.name.rpartition(".")[2]), signal.SIGKILL)
        killed["at"] = read_tensors(checkpoint)[1]["training"]

    monkeypatch.setattr("cql_tutorial.evaluation.cluster.work_on", told)
    address = os.environ.get("RAY_ADDRESS")  # a cluster that runs already, of two workers
    if address is None:
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # or it writes a token into the user's home
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
    try:
        killer = threading.Thread(target=kill_one, daemon=True)
        killer.start()
        options: dict[str, Any] = {
            "together": False,
            "device": "cpu",
            "checkpoint_every": 100,
            "say": lambda text: None,
        }
        on_cluster = run_benchmark(runs, tmp_path / "ray", partial(on_ray, address=address), **options)
        killer.join(10)
    finally:
        ray.shutdown()  # leaves a cluster that it has not started
    assert 0 < benchmark.json.loads(killed["at"])["step"] < 1000, "the worker was not killed within its run"
    attempts = {run.name: len(list(pids.glob(f"{run.name}.*"))) for run in runs}
    assert attempts[runs[0].name] == 2 and sorted(attempts.values()) == [1, 1, 1, 2]
    plain = run_benchmark(runs, tmp_path / "plain", **options)
    for one, other in zip(on_cluster, plain, strict=True):
        assert {**one, "seconds": ""} == {**other, "seconds": ""}
