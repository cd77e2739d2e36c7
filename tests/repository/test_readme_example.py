"""The public example runs as it stands, and twelve kinds of bad input each give one clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cql_tutorial import CQLAgent, OfflineDataset, fit, load_dataset, make_agent
from cql_tutorial.errors import ConfigError, CQLTutorialError, DataError, DatasetNotFoundError

torch.set_num_threads(1)

EXAMPLE = """
config = {"state_dim": 17, "action_dim": 6, "hidden_dim": 256,
          "cql_alpha": 5.0, "cql_n_actions": 10, "cql_lagrange": False, "cql_target_action_gap": 5.0,
          "alpha": 0.2, "auto_alpha": True, "discount": 0.99, "tau": 0.005}
agent = CQLAgent(config)
for batch in dataset:
    metrics = agent.update(batch)
    print(f"CQL Loss: {metrics['cql_loss']:.3f}, Q: {metrics['q_value']:.3f}")
"""


def arrays(rows: int = 600, state_dim: int = 17, action_dim: int = 6) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "observations": rng.normal(size=(rows, state_dim)).astype(np.float32),
        "actions": rng.uniform(-1, 1, size=(rows, action_dim)).astype(np.float32),
        "rewards": rng.normal(size=rows).astype(np.float32),
        "next_observations": rng.normal(size=(rows, state_dim)).astype(np.float32),
        "terminations": rng.random(rows) < 0.01,
    }


def test_the_example_of_the_contract_runs_for_one_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, Any] = {"CQLAgent": CQLAgent, "dataset": OfflineDataset.from_arrays(**arrays())}
    exec(EXAMPLE, scope)  # the text as it is printed, not a paraphrase of it
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 600 // 256 and all(line.startswith("CQL Loss: ") and ", Q: " in line for line in lines)
    assert scope["agent"].config.cql_alpha == 5.0


def build(**change: Any) -> OfflineDataset:
    return OfflineDataset.from_mapping({**arrays(20, 3, 2), **change})


def agent(**change: Any) -> Any:
    return CQLAgent({"state_dim": 3, "action_dim": 2, "hidden_dim": 8, "device": "cpu", **change})


def spoilt(name: str, row: int, value: float) -> dict[str, np.ndarray]:
    array = arrays(20, 3, 2)[name].copy()
    array[row] = value
    return {name: array}


def truncated_file(folder: Path) -> None:
    build(truncations=np.ones(20, bool)).to_minari("course/cut-v0", folder, description="x", author="x")
    file = next(folder.rglob("*.hdf5"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    load_dataset(folder / "course" / "cut-v0")


# Each case: what is done, the class of its error, what its message must name.
CASES: dict[str, tuple[Callable[[Path], Any], type[CQLTutorialError], list[str]]] = {
    "wrong shapes": (lambda _: build(rewards=np.zeros((20, 2), np.float32)), DataError, ["rewards", "20, 2"]),
    "mismatched lengths": (lambda _: build(actions=arrays(19, 3, 2)["actions"]), DataError, ["actions", "19", "20"]),
    "NaN": (lambda _: build(**spoilt("rewards", 4, np.nan)), DataError, ["rewards", "1", "4"]),
    "inf": (lambda _: build(**spoilt("observations", 7, np.inf)), DataError, ["observations", "7"]),
    "out-of-range actions": (lambda _: build(**spoilt("actions", 3, 1.5)), DataError, ["actions", "1.5", "clip"]),
    "empty data": (lambda _: build(**arrays(0, 3, 2)), DataError, ["empty"]),
    "missing key": (
        lambda _: OfflineDataset.from_mapping({k: v for k, v in arrays(20, 3, 2).items() if k != "rewards"}),
        DataError,
        ["rewards"],
    ),
    "unknown config key": (lambda _: agent(cql_alfa=1.0), ConfigError, ["cql_alfa", "cql_alpha"]),
    "wrong dtype": (lambda _: build(observations=np.full((20, 3), "a")), DataError, ["observations"]),
    "integer actions to a continuous agent": (
        lambda _: agent().update({**arrays(20, 3, 2), "actions": np.zeros((20, 2), np.int64)}),
        DataError,
        ["actions", "int64", "discrete agent"],
    ),
    "discount outside [0, 1]": (lambda _: agent(discount=1.01), ConfigError, ["discount", "1.01", "[0, 1]"]),
    "truncated HDF5 file": (truncated_file, DataError, ["cut-v0", "truncated"]),
    "unknown data set id": (lambda _: load_dataset("pendulum/medum-10k-v0"), DatasetNotFoundError, ["medium-10k-v0"]),
    "mismatched state_dim": (
        lambda _: fit(agent(state_dim=4), build(), 5, batch_size=4, progress=False),
        DataError,
        ["observations", "[4, 3]", "state_dim is 4"],
    ),
    "unknown agent": (lambda _: make_agent("clq", {}), ConfigError, ["clq", "cql-lagrange"]),
}


@pytest.mark.parametrize("case", list(CASES))
def test_bad_input_gives_one_clear_error(case: str, tmp_path: Path) -> None:
    do, kind, names = CASES[case]
    with pytest.raises(kind) as caught:
        do(tmp_path)
    error, message = caught.value, str(caught.value)
    assert all(name in message for name in names), message
    assert error.field and error.found and error.expected and error.mend, message
    assert "\n" not in message.split("To mend it:")[0]
