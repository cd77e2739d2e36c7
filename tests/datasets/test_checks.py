"""Every bad input has one clear message: the field, what was found, what was expected, how to mend it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cql_tutorial.datasets import OfflineDataset
from cql_tutorial.datasets import checks as check
from cql_tutorial.errors import ConfigError, DataError


def arrays(n: int = 6) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "observations": rng.normal(size=(n, 3)),
        "actions": rng.uniform(-1, 1, (n, 2)),
        "rewards": rng.normal(size=n),
        "next_observations": rng.normal(size=(n, 3)),
        "terminations": np.zeros(n, bool),
    }


def put(name: str, index: Any, value: Any, n: int = 6) -> dict[str, Any]:
    data = arrays(n)
    data[name][index] = value
    return data


BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "1-D observations": ({"observations": np.zeros(6)}, ["observations:", "shape (6,)", "[N, S]", "reshape"]),
    "images": ({"observations": np.zeros((6, 2, 2))}, ["observations:", "(6, 2, 2)", "[N, S]", "reshape(len("]),
    "no rows": ({"observations": np.zeros((0, 3))}, ["observations:", "(0, 3)", "at least one transition"]),
    "no columns": ({"observations": np.zeros((6, 0))}, ["observations:", "(6, 0)", "[N, S]"]),
    "too few rewards": ({"rewards": np.zeros(5)}, ["rewards:", "(5,)", "[6]", "one row for each transition"]),
    "too many actions": ({"actions": np.zeros((7, 2))}, ["actions:", "(7, 2)", "[6, A]"]),
    "columns of rewards": ({"rewards": np.zeros((6, 2))}, ["rewards:", "(6, 2)", "[6]", "rewards.reshape(-1)"]),
    "masked": (
        {"observations": np.ma.masked_array(np.zeros((6, 3)), np.eye(6, 3) > 0)},
        ["observations:", "3 masked values", "drop those rows"],
    ),
    "None": ({"rewards": np.array([1.0, None, 2.0, 0, 0, None])}, ["rewards:", "2 missing values", "drop those rows"]),
    "a dict": (
        {"observations": {"b": np.zeros((6, 2)), "a": np.zeros((6, 1))}},
        ["observations:", "['a', 'b']", "join"],
    ),
    "dicts": ({"observations": np.array([{"a": 1}] * 6)}, ["observations:", "a dict in each row", "spaces.flatten"]),
    "sparse": ({"observations": torch.eye(6).to_sparse()}, ["observations:", "sparse_coo", "to_dense()"]),
    "stacks": ({"observations": np.zeros((6, 4, 3))}, ["observations:", "stacks of frames", "[N, S]"]),
    "pixels": ({"observations": np.zeros((6, 4, 8, 8), "u1")}, ["observations:", "images", "encode"]),
    "several choices": (
        {"actions": np.zeros((6, 2), int), "n_actions": 3},
        ["actions:", "2 choices", "ravel_multi_index"],
    ),
    "identifiers": ({"actions": np.arange(6), "n_actions": 2_000_000}, ["n_actions:", "2,000,000", "identifier"]),
    "flat actions": ({"actions": np.zeros(6)}, ["actions:", "(6,)", "[6, A]", "reshape"]),
    "other features": ({"next_observations": np.zeros((6, 4))}, ["next_observations:", "(6, 4)", "[6, 3]"]),
    "NaN": (put("observations", (2, 1), np.nan), ["observations:", "1 NaN", "row 2", "finite", "drop those rows"]),
    "inf reward": (put("rewards", [4, 5], np.inf), ["rewards:", "2 NaN or infinite", "row 4", "finite"]),
    "too large": (put("rewards", 3, 1e300), ["rewards:", "row 3", "as float32"]),
    "out of bounds": (put("actions", (3, 1), -1.7), ["actions:", "1 values", "-1.7", "row 3", "-1.0..1.0", '"clip"']),
    "just out of bounds": (put("actions", (0, 0), 1.001), ["actions:", "1.001", "row 0", '"clip"']),
    "objects": ({"observations": np.array([None] * 6)}, ["observations:", "dtype object", "numbers", "np.stack"]),
    "strings": ({"rewards": np.array(["1"] * 6)}, ["rewards:", "<U1", "numbers"]),
    "complex": ({"rewards": np.zeros(6, complex)}, ["rewards:", "complex128", "numbers"]),
    "complex tensor": ({"rewards": torch.zeros(6, dtype=torch.complex64)}, ["rewards:", "complex64", "numbers"]),
    "ragged": ({"observations": [[1.0, 2.0], [1.0]]}, ["observations:", "unequal length", "rectangular", "pad"]),
    "whole actions": (
        {"actions": np.zeros((6, 2), int)},
        ["actions:", "int64", "n_actions", "actions.astype(np.float32)"],
    ),
    "float choices": (
        {"actions": np.full(6, 0.5), "n_actions": 3},
        ["actions:", "6 numbers that are not whole", "0.5 in row 0", "0..2", "n_actions="],
    ),
    "choice too high": (
        {"actions": np.array([0, 1, 2, 3, 4, 3]), "n_actions": 3},
        ["actions:", "3 choices", "first 3 in row 3", "0..2", "action_space.n"],
    ),
    "choice below 0": ({"actions": np.array([0, 1, -1, 0, 0, 0]), "n_actions": 3}, ["actions:", "first -1 in row 2"]),
    "bounds of choices": (
        {"actions": np.zeros(6, int), "n_actions": 3, "action_low": 0},
        ["action_low, action_high:", "n_actions", "drop them"],
    ),
    "half a termination": (
        {"terminations": np.array([0, 0, 0.5, 1, 0, 0])},
        ["terminations:", "1 values other than 0 and 1", "0.5", "row 2", "bool", "> 0.5"],
    ),
    "no terminations": ({"terminations": None}, ["terminations:", "none", "np.zeros(len(rewards), bool)"]),
    "infinite bound": ({"action_high": np.inf}, ["action_high:", "inf", "finite", "the range the actuators have"]),
    "three bounds": ({"action_low": [-1, -1, -1]}, ["action_low, action_high:", "[-1.0, -1.0, -1.0]", "2 of them"]),
    "bounds crossed": (
        {"action_low": 1.0, "action_high": -1.0},
        ["action_low, action_high:", "1.0 and -1.0", "low < high"],
    ),
    "starts": ({"episode_starts": [0, 3, 3]}, ["episode_starts:", "[0, 3, 3]", "rise from 0", "np.cumsum"]),
    "starts not at 0": ({"episode_starts": [1, 3]}, ["episode_starts:", "[1, 3]", "rise from 0"]),
    "starts beyond": ({"episode_starts": [0, 6]}, ["episode_starts:", "at most 5"]),
    "start forgotten": (
        {"terminations": np.arange(6) == 2, "episode_starts": [0]},
        ["episode_starts:", "[0]", "one of them after each termination", "leave episode_starts out"],
    ),
    "no next observation": (
        {"next_observations": None, "truncations": np.arange(6) == 2},
        ["next_observations:", "2 episodes end without a termination (first at row 2)", "drop those last rows"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_has_one_clear_message(name: str) -> None:
    changes, parts = BAD[name]
    with pytest.raises(DataError) as caught:
        OfflineDataset.from_arrays(**{**arrays(), **changes})
    message = str(caught.value)
    assert [part for part in parts if part not in message] == [], message
    assert caught.value.field and caught.value.found and caught.value.expected and caught.value.mend
    assert "\n" not in message


def test_mapping_names_a_missing_key_and_ignores_others() -> None:
    data = arrays() | {"infos": object()}
    assert len(OfflineDataset.from_mapping(data, id="mine")) == 6
    data["terminals"] = data.pop("terminations")
    with pytest.raises(DataError, match=r"data\['terminations'\].*'terminals'.*terminals are terminations"):
        OfflineDataset.from_mapping(data)


def test_clipping_is_counted_and_marked() -> None:
    data = arrays()
    data["actions"][1] = [3.0, -3.0]
    data["actions"][4] = [0.5, -1.5]
    dataset = OfflineDataset.from_arrays(**data, out_of_bounds="clip")
    assert dataset.clipped.tolist() == [False, True, False, False, True, False]
    assert dataset.actions[1].tolist() == [1.0, -1.0] and dataset.actions[4].tolist() == [0.5, -1.0]
    assert dataset.describe()["clipped_rows"] == 2
    assert dataset.subset([0, 1, 2]).describe()["clipped_rows"] == 1
    untouched = [0, 2, 3, 5]
    np.testing.assert_array_equal(dataset.actions[untouched], data["actions"][untouched].astype(np.float32))
    with pytest.raises(ConfigError, match="out_of_bounds: found 'clamp'"):
        OfflineDataset.from_arrays(**data, out_of_bounds="clamp")


def test_bounds_in_the_data_s_own_precision() -> None:
    data = arrays()
    data["actions"] = np.tile([0.1, -0.7], (6, 1))  # the nearest float32 of each lies outside the float64 bound
    float32_bounds = (np.array([-1, -0.7], np.float32), np.array([0.1, 1], np.float32))
    for low, high in (float32_bounds, ([-1, -0.7], [0.1, 1])):
        for dtype in (torch.float32, torch.float64):
            dataset = OfflineDataset.from_arrays(**data, action_low=low, action_high=high, dtype=dtype)
            assert not dataset.clipped.any() and dataset.actions.dtype == dtype
            assert dataset.action_low == tuple(np.asarray(low, float).tolist())
    assert OfflineDataset.from_arrays(**data, action_high=[2.0, 2.0]).action_high == 2.0


def test_data_are_copied_and_follow_the_dtype() -> None:
    data = arrays()
    tensors: dict[str, Any] = {name: torch.tensor(value) for name, value in data.items()}
    dataset = OfflineDataset.from_arrays(**tensors)
    assert dataset.dtype == torch.float32 and dataset.terminations.dtype == torch.bool
    dataset = OfflineDataset.from_arrays(**tensors, dtype=torch.float64)
    tensors["rewards"].zero_()
    np.testing.assert_array_equal(dataset.rewards, data["rewards"])
    frozen = data["rewards"].astype(np.float32)
    dataset = OfflineDataset.from_arrays(**{**data, "rewards": frozen})
    frozen[:] = 0
    assert dataset.rewards.abs().sum() > 0
    with pytest.raises(AttributeError):
        dataset.rewards = dataset.rewards  # type: ignore[misc]
    both = OfflineDataset.from_arrays(**data, dtype=torch.float64)
    assert both.to(dtype=torch.float32).next_observations.dtype == torch.float32
    assert both.to("cpu").dtype == torch.float64 and both.to(dtype=torch.float32).terminations.dtype == torch.bool


def test_arrays_are_taken_over_when_asked() -> None:
    data = arrays() | {name: arrays()[name].astype(np.float32) for name in ("observations", "actions", "rewards")}
    dataset = OfflineDataset.from_arrays(**data, copy=False)
    data["observations"][0, 0], data["rewards"][1] = 7, 8
    assert dataset.observations[0, 0] == 7 and dataset.rewards[1] == 8
    assert dataset.next_observations.dtype == torch.float32  # float64 did not fit, and was converted
    frozen = data["rewards"]
    frozen.flags.writeable = False
    assert OfflineDataset.from_arrays(**data, copy=False).rewards.data_ptr() != frozen.ctypes.data


def test_settings_of_a_wrong_kind() -> None:
    for name, value in (("dtype", "float32"), ("dtype", torch.int64), ("metadata", 3), ("out_of_bounds", np.zeros(2))):
        with pytest.raises(ConfigError, match=f"{name}: found"):
            OfflineDataset.from_arrays(**arrays(), **{name: value})
    for bound in ("low", [[1.0], [1.0, 2.0]], {}):
        with pytest.raises(DataError, match=r"action_low, action_high: found .* expected finite numbers"):
            OfflineDataset.from_arrays(**arrays(), action_low=bound)


@pytest.mark.parametrize("n", [1, 7, 70_000])
def test_rows_that_occurred_before(n: int) -> None:
    rng = np.random.default_rng(n)
    wide = rng.normal(size=(n, 11)).astype(np.float32)
    columns = [wide[rng.integers(0, max(1, n // 2), n)], rng.integers(0, 2, n), rng.random(n) < 0.5]
    columns[0][columns[0] < -1] = 0.0
    signs = columns[0] * np.where(columns[0] == 0, -1, 1).astype(np.float32)  # -0.0, which is equal to 0.0
    seen: set[bytes] = set()
    expected = []
    for row in range(n):
        key = b"".join(column[row].tobytes() for column in columns)
        expected.append(key in seen)
        seen.add(key)
    np.testing.assert_array_equal(check.is_duplicate(columns), expected)
    mixed = np.where(rng.random((n, 1)) < 0.5, columns[0], signs)
    np.testing.assert_array_equal(check.is_duplicate([mixed, *columns[1:]]), expected)
    keys = check.row_keys(columns)
    assert len(np.unique(keys)) == n - sum(expected)


def test_rows_unlike_those_of_another() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 2, (90_000, 7))
    other = np.where(rng.random(one.shape) < 0.05, 1 - one, one)
    np.testing.assert_array_equal(check.rows_differ(one, other), (one != other).any(1))
    rows, others = rng.integers(0, 90_000, (2, 80_000))
    np.testing.assert_array_equal(check.rows_differ(one, other, rows, others), (one[rows] != other[others]).any(1))
    parts = list(check.row_blocks(90_000, 7))
    assert len(parts) > 1 and [one.start for one in parts[1:]] == [one.stop for one in parts[:-1]]
    assert parts[0].start == 0 and parts[-1].stop == 90_000 and list(check.row_blocks(0)) == []
