"""Files and settings mutated by the hundred: read, or refused with an error of ours, and nothing is written."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cql_tutorial.agents import AGENTS
from cql_tutorial.agents.config import parse_config
from cql_tutorial.datasets import OfflineDataset
from cql_tutorial.errors import ConfigError, CQLTutorialError
from tests.datasets.test_loaders import MAPPING, table, write_csv, write_d4rl
from tests.datasets.test_offline_dataset import make

pytestmark = pytest.mark.fuzz
EXAMPLES = int(os.environ.get("CQL_TUTORIAL_FUZZ", 800))  # more where a loader was changed
FUZZ = settings(max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck))
# A file of HDF5 takes ten times as long as an array. The examples are the same in every run, so that twice as many
# find what was missed once only, when a loader or its libraries change: set CQL_TUTORIAL_FUZZ then.
FUZZ_HDF5 = settings(FUZZ, max_examples=EXAMPLES // 2)
NAMES = ("rewards ", "Rewards", "réc 😀", "a\nb", "__class__", "." * 3, "x" * 300)
VALUES: tuple[Any, ...] = (
    None, True, 0, 1, -1, 3, 2**63, 10**30, 0.5, -0.0, float("nan"), float("inf"), "", "3", "nan", b"3", [], [1.0],
    [[1.0], [1.0, 2.0]], {}, {"a": 1}, object(), float, np.float64(2), np.int8(1), np.zeros(0), np.zeros((1, 0)),
    np.array("x"), np.array([None]), np.zeros(3, "c8"), np.zeros((2, 2, 2)), torch.zeros(2),
    torch.float64, torch.int64, np.datetime64("2020"),
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a loader may read; home and current folder lie in it too, so that all it writes is seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    warnings.simplefilter("ignore")
    return tmp_path


def listing(folder: Path) -> set[tuple[str, int, int]]:
    return {(str(file), (about := file.stat()).st_size, about.st_mtime_ns) for file in folder.rglob("*")}


def only_our_errors(read: Callable[[], Any], folder: Path | None = None) -> None:
    """It is read or refused with one clear error of ours, and no file is written, changed or removed."""
    before = listing(folder) if folder else set()
    try:
        assert isinstance(read(), OfflineDataset)
    except CQLTutorialError as error:
        assert error.field and error.found and error.expected
        assert not folder or "\n" not in str(error).encode().decode()  # arrays as settings are shown as NumPy does
    assert not folder or listing(folder) == before


# ---- HDF5 -----------------------------------------------------------------------------------------------------------

KINDS = ("?", "i1", "u2", ">i4", "i8", "u8", "f2", ">f4", "f4", "f8", ">f8", "g", "c8", "S3", "V4")
FILTERS: tuple[dict[str, Any], ...] = (
    {"compression": "gzip"},
    {"compression": "lzf"},
    {"shuffle": True},
    {"fletcher32": True},
    {"scaleoffset": 2},
    {"chunks": True, "maxshape": None},
)
SHAPES = ((0,), (0, 3), (1,), (10**12, 10), (10**18,), (12, 0), (12, 3, 0), (2,) * 9, (12, 10**11))


def replacements(array: np.ndarray, amount: int) -> dict[str, Callable[[], Any]]:
    """What may stand in place of an array of numbers."""
    holed = array.astype("f4")
    holed[len(array) * amount // 101 :][:1] = (np.nan, np.inf, -np.inf)[amount % 3]
    return {
        "type": lambda: array.astype(KINDS[amount % len(KINDS)]),
        "scalar": lambda: np.float32(1),
        "cut": lambda: array[: len(array) * amount // 100],
        "stack": lambda: np.stack([array] * 2),
        "wide": lambda: np.stack([array] * 2, -1),
        "flat": array.ravel,
        "one more": lambda: np.append(array, array[:1], 0),
        "large": lambda: array.astype("f8") * 1e300,
        "text": lambda: np.array(["__import__('os')"] * len(array), object),
        "holes": lambda: holed,
        "empty": lambda: h5py.Empty("f4"),
        "named type": lambda: np.dtype("f4"),
        "compound": lambda: np.zeros(len(array), [("a", "f4"), ("b", "i2")]),
        "soft": lambda: h5py.SoftLink("/rewards"),
        "external": lambda: h5py.ExternalLink("other.hdf5", "/rewards"),
        "dangling": lambda: h5py.SoftLink("/no"),
    }


OTHERS = ("delete", "rename", "group", "shape", "filter", "virtual", "raw", "cycle", "extra", "attribute", "reference")
CHANGES = (*replacements(np.zeros((12, 1)), 0), *OTHERS)


def change(store: Any, key: str, what: str, amount: int) -> None:
    """One structural change of one array of an open file."""
    old = store.get(key)
    array = old[()] if isinstance(old, h5py.Dataset) and old.shape and old.dtype.kind in "biuf" and old.size else None
    array = np.zeros((12, 3), "f4") if array is None else array
    if what == "attribute":
        store.attrs[NAMES[amount % len(NAMES)]] = ("x", 1e300, np.zeros(3))[amount % 3]
        return
    if what == "extra":
        key = NAMES[amount % len(NAMES)]
        what = CHANGES[amount % len(CHANGES)]
    if what == "rename":
        store.move(key, NAMES[amount % len(NAMES)])
        return
    if key in store:
        del store[key]
    if what in (made := replacements(array, amount)):
        store[key] = made[what]()
    elif what == "group":
        store.create_group(key)["x"] = 1.0
    elif what == "shape":
        shape = SHAPES[amount % len(SHAPES)]
        store.create_dataset(key, shape, "f4", chunks=tuple(min(max(1, size), 4) for size in shape))
    elif what == "filter":
        store.create_dataset(key, data=array, **FILTERS[amount % len(FILTERS)])
    elif what == "virtual":
        layout = h5py.VirtualLayout(array.shape, "f4")
        layout[:] = h5py.VirtualSource("other.hdf5", "rewards", array.shape)
        store.create_virtual_dataset(key, layout)
    elif what == "raw":
        store.create_dataset(key, array.shape, "f4", external=[("other.hdf5", 0, 4 * array.size)])
    elif what == "cycle":
        store[key] = store["/"]
    elif what == "reference":
        store.create_dataset(key, data=[store["/"].ref] * len(array), dtype=h5py.ref_dtype)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The bytes of small files without a fault, by their names; mutated copies of them are read."""
    folder = tmp_path_factory.mktemp("whole")
    columns = table((3, 5, 4), "TXU")
    write_d4rl(folder / "x.hdf5", columns)
    write_csv(folder / "x.csv", columns, ["a"] * 3 + ["b"] * 5 + ["c"] * 4)
    make((5, 7), "TU", n_actions=2).to_minari("nn/choices-v0", folder, description="x", author="y")
    make((5, 7), "TU").to_minari("nn/tiny-v0", folder, description="x", author="y", environment="Pendulum-v1")
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


STEPS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(CHANGES), st.integers(0, 100)), min_size=1, max_size=3)
UNUSABLE = (OSError, KeyError, RuntimeError, ValueError, TypeError, MemoryError)  # an earlier change left nothing


@FUZZ_HDF5
@given(steps=STEPS, limit=st.sampled_from([None, 2, 0, "2"]), next_too=st.booleans(), cut=st.integers(0, 400))
def test_d4rl_files(steps: Any, limit: Any, next_too: bool, cut: int, place: Path, whole: Any) -> None:
    path = place / "x.hdf5"
    path.write_bytes(whole["x.hdf5"])
    (place / "other.hdf5").write_bytes(whole["x.hdf5"])
    keys = ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts")
    with h5py.File(path, "r+") as store, suppress(*UNUSABLE):
        for key, what, amount in steps:
            change(store, keys[key], what, amount)
    if cut < 20:  # a download that broke off
        path.write_bytes(path.read_bytes()[: len(whole["x.hdf5"]) * cut // 20])
    read = lambda: OfflineDataset.from_d4rl_hdf5(path, max_episode_steps=limit, use_next_observations=next_too)  # noqa: E731
    only_our_errors(read, place)


SPACES = ("type", "shape", "dtype", "low", "high", "n", "start")
FIELDS = ("observation_space", "action_space", "total_steps", "total_episodes", "dataset_id", "minari_version",
          "env_spec", "data_format", "author", "combined_datasets", "jpeg_encoding", "requirements")  # fmt: skip
JSON: tuple[Any, ...] = (
    None, True, 0, 1, -1, 3, 12, 2**31, 10**15, 10**40, 0.5, float("nan"), "", "Box", "Discrete", "Text", "float16",
    "int64", "arrow", "os:system", "../../x-v0", "[", '{"id": "a-v0", "entry_point": "os:system"}', [], [3], [-3],
    [10**9], [2, 2], [[]], {}, {"type": "Dict", "subspaces": {}}, '{"type": "Dict", "subspaces": {}}',
)  # fmt: skip


@FUZZ_HDF5
@given(
    name=st.sampled_from(["tiny-v0", "choices-v0"]),
    steps=STEPS,
    fields=st.lists(st.tuples(st.sampled_from(FIELDS), st.sampled_from(SPACES), st.sampled_from(JSON)), max_size=2),
    damage=st.integers(0, 60),
    files=st.integers(0, 2),
)
def test_minari_files(name: str, steps: Any, fields: Any, damage: int, files: int, place: Path, whole: Any) -> None:
    data = place / "nn" / name / "data"
    data.mkdir(parents=True, exist_ok=True)
    path = data / "main_data.hdf5"
    path.write_bytes(whole[f"nn/{name}/data/main_data.hdf5"])
    metadata = json.loads(whole[f"nn/{name}/data/metadata.json"])
    keys = ("observations", "actions", "rewards", "terminations", "truncations", "infos")
    if files < 2:
        with h5py.File(path, "r+") as store, suppress(*UNUSABLE):
            for key, what, amount in steps:
                change(store[f"episode_{amount % 2}"], keys[key], what, amount)
    if files > 0:
        for field, part, value in fields:
            if isinstance(value, str) and value == "os:system":
                metadata.pop(field, None)
            elif field.endswith("_space") and isinstance(metadata.get(field), str) and metadata[field].startswith("{"):
                metadata[field] = json.dumps(json.loads(metadata[field]) | {part: value})
            else:
                metadata[field] = value
    text = json.dumps(metadata)
    (data / "metadata.json").write_text(text if damage > 5 else text[: len(text) * damage // 5] + '"]\0'[: damage % 3])
    only_our_errors(lambda: OfflineDataset.from_minari(place / "nn" / name), place)


# ---- CSV ------------------------------------------------------------------------------------------------------------

TOKENS = ('"', ",", ";", "\n", "\r", "\0", "\ufeff", " ", "x", "1e999", "-", "nan", "inf", "é", "NaN,", '""', "obs_0,",
          "T", "\u2028", "1_0", "٣")  # fmt: skip
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-32", "cp037")


@FUZZ
@given(
    edits=st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 40), st.sampled_from(TOKENS)), max_size=3),
    names=st.dictionaries(
        st.sampled_from([*MAPPING, "reward", 3, None]),
        st.sampled_from(["obs_*", "*", "done", "", "episode", ["act_0"], ["act_1", "act_*"], [], 3, None, "(", b"x"]),
        max_size=2,
    ),
    whole_file=st.integers(0, 15),
    options=st.sampled_from(
        [{}, {}, {"delimiter": ";"}, {"delimiter": 3}, {"delimiter": ""}, {"n_actions": 2}, {"n_actions": 0}]
    ),
)
def test_csv_files(edits: Any, names: Any, whole_file: int, options: Any, place: Path, whole: Any) -> None:
    text = whole["x.csv"].decode()
    rows = list(csv.reader(io.StringIO(text)))
    if whole_file == 0:
        text = ""
    elif whole_file == 1:
        text = text.split("\n", 1)[0]
    elif whole_file == 2:  # the episodes' rows in another order
        text = "\n".join(",".join(row) for row in [rows[0], *random.Random(len(edits)).sample(rows[1:], len(rows) - 1)])
    elif whole_file == 3:
        text = text.replace(",", ";")
    for start, length, new in edits:
        text = text[:start] + new + text[start + length :]
    encoding = ENCODINGS[whole_file - 5] if 5 <= whole_file < 5 + len(ENCODINGS) else "utf-8"
    (place / "x.csv").write_bytes(text.encode(encoding, "replace"))
    only_our_errors(lambda: OfflineDataset.from_csv(place / "x.csv", MAPPING | names, **options), place)


# ---- arrays and settings --------------------------------------------------------------------------------------------

ARGUMENTS = ("observations", "actions", "rewards", "next_observations", "terminations", "truncations",
             "action_low", "action_high", "n_actions", "out_of_bounds", "episode_starts", "dtype",
             "metadata")  # fmt: skip


@FUZZ
@given(
    changed=st.dictionaries(st.sampled_from(ARGUMENTS), st.sampled_from(range(len(VALUES))), min_size=1, max_size=3),
    kinds=st.dictionaries(st.sampled_from(ARGUMENTS[:6]), st.sampled_from([*KINDS, "O", "U3"]), max_size=2),
    left_out=st.sampled_from([None, *ARGUMENTS[:6]]),
    copy=st.booleans(),
)
def test_arrays_and_their_settings(changed: Any, kinds: Any, left_out: str | None, copy: bool, place: Path) -> None:
    columns: dict[str, Any] = table((3, 5, 4), "TXU")
    with suppress(ValueError, TypeError):
        columns |= {name: columns[name].astype(kind) for name, kind in kinds.items()}
    columns |= {name: VALUES[i] for name, i in changed.items()}
    columns.pop(left_out, None)
    only_our_errors(
        lambda: OfflineDataset.from_mapping(
            columns, copy=copy, **{name: columns[name] for name in ARGUMENTS[6:] if name in columns}
        )
    )


@FUZZ
@given(
    agent=st.sampled_from(sorted(AGENTS)),
    places=st.lists(st.tuples(st.integers(0, 99), st.sampled_from(range(len(VALUES)))), min_size=1, max_size=3),
    extra=st.sampled_from([None, "gamma", "", 3]),
)
def test_settings_of_agents(agent: str, places: Any, extra: Any) -> None:
    kind = AGENTS[agent][0].config_class
    names = list(kind.__dataclass_fields__)
    config: dict[Any, Any] = {"state_dim": 3, "action_dim": 2}
    config |= {names[i % len(names)]: VALUES[value] for i, value in places} | ({} if extra is None else {extra: 1})
    try:
        assert isinstance(parse_config(kind, config), kind)
    except ConfigError as error:
        assert error.field and error.found and error.expected
