"""Minari files: the same bits come back, Minari reads them, nothing half-written, unpickled or downloaded unasked."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from cql_tutorial.datasets import OfflineDataset, files, load_dataset, minari_io
from cql_tutorial.errors import ConfigError, DataError, DatasetNotFoundError
from tests.conftest import HIDE_PACKAGES
from tests.datasets.test_checks import arrays
from tests.datasets.test_offline_dataset import make, same

TEXTS: dict[str, Any] = {"description": "made for a test", "author": "the tests"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and current folder, no network."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was used")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


KINDS: dict[str, dict[str, Any]] = {
    "continuous": {},
    "discrete": {"n_actions": 4},
    "float64": {"dtype": torch.float64},
    "unfinished": {"ends": "UXU"},
    "both flags": {"ends": "BTX"},
    "two bounds": {"action_low": [-1.0, -2.0], "action_high": [1.5, 1.0]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_is_exact_to_the_bit(kind: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import minari

    dataset = make(**KINDS[kind])
    root = home / "out"
    folder = dataset.to_minari("course/tiny/made-v3", root, **TEXTS, extra={"steps_of_training": 5})
    assert folder == root / "course/tiny/made-v3"
    again = OfflineDataset.from_minari(folder, dtype=dataset.dtype)
    assert same(dataset, again) and again.id == "course/tiny/made-v3"
    assert (again.action_low, again.action_high, again.n_actions) == (
        dataset.action_low,
        dataset.action_high,
        dataset.n_actions,
    )
    assert again.metadata["description"] == "made for a test" and again.metadata["steps_of_training"] == 5
    assert again.metadata["author"] == {"the tests"}
    assert not (home / ".minari").exists() and "MINARI_DATASETS_PATH" not in os.environ

    # Minari itself reads it, from its own configured root, and gives the same numbers.
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    theirs = minari.load_dataset("course/tiny/made-v3")
    assert theirs.total_steps == len(dataset) and theirs.total_episodes == 3
    start = 0
    for number, episode in enumerate(theirs.iterate_episodes()):
        rows = slice(start, start + len(episode.rewards))
        assert episode.id == number and len(episode.observations) == len(episode.rewards) + 1
        for name in ("actions", "rewards", "terminations", "truncations"):
            np.testing.assert_array_equal(getattr(episode, name), getattr(dataset, name)[rows].numpy())
        np.testing.assert_array_equal(episode.observations[:-1], dataset.observations[rows].numpy())
        np.testing.assert_array_equal(episode.observations[1:], dataset.next_observations[rows].numpy())
        start = rows.stop
    assert list(minari.list_local_datasets()) == ["course/tiny/made-v3"]
    assert set(minari.namespace.list_local_namespaces()) == {"course", "course/tiny"}
    few = OfflineDataset.from_minari(theirs.filter_episodes(lambda e: e.id != 1))
    assert few.episode_lengths().tolist() == [5, 7]


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_hold_what_minari_s_own_writer_writes(kind: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata and arrays against ``minari.create_dataset_from_buffers``, which writes below one root alone."""
    import minari
    from gymnasium.spaces import Box, Discrete
    from minari.data_collector import EpisodeBuffer

    data = make(**KINDS[kind])
    actions, observations = data.actions.numpy(), data.observations.numpy()
    buffers, starts = [], data.episode_starts.tolist()
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(data)], strict=True)):
        chain = np.append(observations[start:end], data.next_observations[end - 1 : end].numpy(), 0)
        names = ("actions", "rewards", "terminations", "truncations")
        steps = {name: getattr(data, name)[start:end].numpy() for name in names}
        buffers.append(EpisodeBuffer(id=number, observations=chain, **steps))
    texts: dict[str, Any] = {
        **TEXTS,
        "author_email": "a@b.org",
        "algorithm_name": "SAC",
        "code_permalink": "https://c.org/d",
        "requirements": ["mujoco>=3"],
    }
    low, high = (np.broadcast_to(np.array(x, "f8"), actions.shape[1:]) for x in (data.action_low, data.action_high))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(home / "theirs"))
    with pytest.warns(UserWarning, match="`eval_env` is set to None"):
        minari.create_dataset_from_buffers(
            "course/tiny/made-v3",
            buffers,
            env="Pendulum-v1",
            **texts,
            observation_space=Box(-np.inf, np.inf, observations.shape[1:], observations.dtype.type),
            action_space=Discrete(4)
            if data.discrete
            else Box(low.astype(actions.dtype), high.astype(actions.dtype), dtype=actions.dtype.type),
        )
    monkeypatch.delenv("MINARI_DATASETS_PATH")
    data.to_minari("course/tiny/made-v3", home / "ours", **texts, environment="Pendulum-v1", extra={"world": "w"})

    ours, theirs = home / "ours", home / "theirs"
    assert [path.relative_to(ours) for path in sorted(ours.rglob("*"))] == [
        path.relative_to(theirs) for path in sorted(theirs.rglob("*"))
    ]
    for name in ("course/namespace_metadata.json", "course/tiny/namespace_metadata.json"):
        assert json.loads((ours / name).read_text()) == json.loads((theirs / name).read_text()) == {}
    one, two = (json.loads((place / "course/tiny/made-v3/data/metadata.json").read_text()) for place in (ours, theirs))
    assert one.pop("world") == "w" and one.pop("dataset_size") <= two.pop("dataset_size")
    assert one == two
    found: list[dict[str, Any]] = []
    for place in (ours, theirs):
        content: dict[str, Any] = {}

        def note(name: str, item: Any, content: dict[str, Any] = content) -> None:
            stored = (item.dtype, item[()].tolist()) if isinstance(item, h5py.Dataset) else None
            content[name] = (stored, {key: int(value) for key, value in item.attrs.items()})

        with h5py.File(place / "course/tiny/made-v3/data/main_data.hdf5") as store:
            store.visititems(note)
        found.append(content)
    assert found[0] == found[1] and len(found[0]) == 18  # of each of three episodes a group and five arrays


def test_environments_that_cannot_be_recorded_are_named(home: Path) -> None:
    import gymnasium

    for wrong in ("None-v0", 3):
        with pytest.raises(ConfigError, match=r"environment: found .*a registered id"):
            make().to_minari("course/tiny-v0", home / "out", **TEXTS, environment=wrong)
    assert not list((home / "out").iterdir())
    for number, right in enumerate((gymnasium.spec("Pendulum-v1"), gymnasium.make("Pendulum-v1"))):
        folder = make().to_minari(f"course/tiny-v{number}", home / "out", **TEXTS, environment=right)
        assert json.loads(load_dataset(folder).metadata["env_spec"])["id"] == "Pendulum-v1"


def test_the_environment_is_recorded(home: Path) -> None:
    import minari

    folder = make().to_minari("pendulum/tiny-v0", home / "out", **TEXTS, environment="Pendulum-v1", algorithm_name="me")
    recovered = minari.MinariDataset(folder / "data").recover_environment()
    assert recovered.spec.id == "Pendulum-v1"
    recovered.close()


def test_the_same_data_make_the_same_bytes(home: Path) -> None:
    files = [
        make().to_minari("course/tiny-v0", home / name, **TEXTS) / "data" / "main_data.hdf5" for name in ("one", "two")
    ]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_writing_leaves_no_half_and_overwrites_only_when_asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = home / "out"
    monkeypatch.setenv("MINARI_DATASETS_PATH", "elsewhere")
    folder = make().to_minari("course/tiny-v0", root, **TEXTS)
    with pytest.raises(DataError, match=r"id: found .* exists already.*overwrite=True"):
        make(seed=1).to_minari("course/tiny-v0", root, **TEXTS)
    (root / "course" / "namespace_metadata.json").write_text('{"description": "kept"}')
    make(seed=1).to_minari("course/tiny-v0", root, **TEXTS, overwrite=True)
    assert same(OfflineDataset.from_minari(folder), make(seed=1))
    assert "kept" in (root / "course" / "namespace_metadata.json").read_text()

    def fail(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(minari_io, "_store_contiguously", fail)
    for name in ("course/tiny-v0", "course/other-v0"):
        with pytest.raises(KeyboardInterrupt):
            make(seed=2).to_minari(name, root, **TEXTS, overwrite=True)
    assert same(OfflineDataset.from_minari(folder), make(seed=1))
    assert sorted(path.name for path in root.rglob("*")) == [
        "course",
        "data",
        "main_data.hdf5",
        "metadata.json",
        "namespace_metadata.json",
        "tiny-v0",
    ]
    assert os.environ["MINARI_DATASETS_PATH"] == "elsewhere" and not Path("elsewhere").exists()


def test_an_overwrite_that_fails_at_the_last_step_keeps_the_old_data(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make().to_minari("course/tiny-v0", home / "out", **TEXTS)
    replace, failures = os.replace, [KeyboardInterrupt()]

    def fail_once(source: Path, target: Path) -> None:
        if Path(target) == folder and failures:
            raise failures.pop()
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_once)
    with pytest.raises(KeyboardInterrupt):
        make(seed=1).to_minari("course/tiny-v0", home / "out", **TEXTS, overwrite=True)
    assert failures == [] and same(OfflineDataset.from_minari(folder), make())


@pytest.mark.parametrize("name", ["tiny", "tiny v0", "a/tiny-v0", "../tiny-v0", ""])
def test_bad_ids(name: str, home: Path) -> None:
    with pytest.raises(DataError, match=r"id: found .*name-vN.*for example"):
        make().to_minari(name, home / "out", **TEXTS)
    assert not (home / "out").exists()


def test_jumping_data_are_refused(home: Path) -> None:
    data = arrays() | {"terminations": np.arange(6) == 2}
    data["next_observations"][:-1] = data["observations"][1:]
    data["next_observations"][2] += 1  # an episode's end: no jump
    OfflineDataset.from_arrays(**data).to_minari("course/fine-v0", home, **TEXTS)
    data["next_observations"][[1, 4]] += 1
    with pytest.raises(DataError, match=r"next_observations: found 2 rows \(first: 1\).*episode_starts="):
        OfflineDataset.from_arrays(**data).to_minari("course/jump-v0", home, **TEXTS)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.9, -1])
def test_a_damaged_file_is_named(keep: float, home: Path) -> None:
    file = make((40, 40, 40)).to_minari("course/tiny-v0", home, **TEXTS) / "data" / "main_data.hdf5"
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(DataError) as caught:
        load_dataset(home / "course/tiny-v0")
    assert str(file.parent) in str(caught.value) and "download it again" in str(caught.value)


def test_other_damage_is_named(home: Path) -> None:
    folder = make().to_minari("course/tiny-v0", home, **TEXTS) / "data"
    metadata = json.loads((folder / "metadata.json").read_text())
    for changed, message in (
        ({**metadata, "total_steps": 99}, "found 16 steps in 3 episodes.*99 steps"),
        ({**metadata, "total_episodes": 4}, "found 3 groups, one an episode; expected the promised 4 episodes"),
        ({**metadata, "total_episodes": 10**12}, "expected the promised 1000000000000 episodes"),
        ({**metadata, "total_steps": 15}, "found 16 steps in 3 episodes.*15 steps"),
        ({**metadata, "observation_space": "{}"}, "file .*: found"),
        ({**metadata, "minari_version": "99.0"}, "does not support"),
    ):
        (folder / "metadata.json").write_text(json.dumps(changed))
        with pytest.raises(DataError, match=message):
            load_dataset(folder)
    (folder / "metadata.json").write_text("{")
    with pytest.raises(DataError, match="JSONDecodeError"):
        load_dataset(folder)
    (folder / "metadata.json").write_text(json.dumps(metadata))
    h5py.File(folder / "main_data.hdf5", "w").close()
    with pytest.raises(DataError, match="found 0 groups"):
        load_dataset(folder)
    (folder / "main_data.hdf5").unlink()
    with pytest.raises(DataError, match="No data found"):
        load_dataset(folder)


def test_unbounded_and_nested_spaces_say_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gymnasium
    import minari
    from minari.data_collector import EpisodeBuffer

    box = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    nested = gymnasium.spaces.Dict({"a": box})
    steps = {"rewards": np.zeros(3), "terminations": np.zeros(3, bool), "truncations": np.arange(3) == 2}
    actions = np.full((3, 2), 1.5, np.float32)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(home / "theirs"))
    about = {"eval_env": "Pendulum-v1", "code_permalink": "-", "author": "-", "author_email": "-", "description": "-"}
    for name, space, observations in (
        ("wild-v0", box, np.zeros((4, 2), np.float32)),
        ("nested-v0", nested, {"a": np.zeros((4, 2), np.float32)}),
    ):
        buffer = EpisodeBuffer(observations=observations, actions=actions, **steps)
        with pytest.warns(UserWarning):
            minari.create_dataset_from_buffers(name, [buffer], observation_space=space, action_space=box, **about)
    with pytest.raises(DataError, match=r"action_low, action_high: found .*inf.*expected finite numbers"):
        load_dataset("wild-v0")
    dataset = OfflineDataset.from_minari("wild-v0", action_low=-2, action_high=2)
    assert dataset.action_high == 2.0 and dataset.actions.max() == 1.5
    nested_data = OfflineDataset.from_minari("nested-v0", action_low=-2, action_high=2)
    assert nested_data.metadata["observation_keys"] == {"a": 2} and nested_data.observations.shape == (3, 2)


def test_search_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place is shadowed by the ones before it."""
    package = home / "checkout" / "cql_tutorial" / "datasets" / "files.py"
    monkeypatch.setattr(files, "__file__", str(package))
    work = home / "one" / "two" / "three" / "four"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(home / "configured"))
    places = [
        work,  # the id as a path
        home / "configured", home / "checkout" / "data", work / "data", home / "one" / "two" / "three" / "data",
        home / "one" / "two" / "data", home / "one" / "data", home / ".minari" / "datasets",
    ]  # fmt: skip
    for seed in range(len(places) - 1, -1, -1):
        make(seed=seed).to_minari("course/tiny-v0", places[seed], **TEXTS)
        assert same(load_dataset("course/tiny-v0"), make(seed=seed))
    make(seed=99).to_minari("far/above-v0", home / "data", **TEXTS)  # four levels up: too far
    with pytest.raises(DatasetNotFoundError):
        load_dataset("far/above-v0")
    for path in (places[2] / "course/tiny-v0", places[2] / "course/tiny-v0/data/main_data.hdf5"):
        assert same(load_dataset(str(path)), make(seed=2)) and same(load_dataset(path), make(seed=2))


def test_not_found_lists_places_and_nearest_ids(home: Path) -> None:
    make().to_minari("course/pendulum-medium-v0", home / "data", **TEXTS)
    with pytest.raises(DatasetNotFoundError) as caught:
        load_dataset("course/pendulum-medum-v0")
    message = str(caught.value)
    for part in (
        "'course/pendulum-medum-v0'",
        "nearest: course/pendulum-medium-v0",
        "make data",
        "remote=True",
        str(home / "data"),
        str(home / ".minari" / "datasets"),
    ):
        assert part in message
    assert isinstance(caught.value, FileNotFoundError) and not (home / ".minari").exists()


def test_the_remote_is_asked_only_when_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import minari

    asked = []

    def download(name: str) -> None:
        asked.append(name)
        if name == "none/such-v0":
            raise ValueError("no such data set in the remote")
        make(seed=5).to_minari(name, home / ".minari" / "datasets", **TEXTS)

    monkeypatch.setattr(minari, "download_dataset", download)
    with pytest.raises(DatasetNotFoundError):
        load_dataset("their/own-v0")
    assert asked == []
    assert same(load_dataset("their/own-v0", remote=True), make(seed=5))
    assert same(load_dataset("their/own-v0", remote=True), make(seed=5)) and asked == ["their/own-v0"]
    with pytest.raises(DatasetNotFoundError, match="no such data set in the remote"):
        load_dataset("none/such-v0", remote=True)


class _Shelf:
    """A remote of Minari's own kind whose datasets lie in a local folder: its download code runs as with a real one."""

    folder = Path()

    def __init__(self, name: str, token: str | None = None) -> None:
        assert name == "farama"

    def list_datasets(self, prefix: str | None = None) -> list[str]:
        return [key for key in minari_io.ids(self.folder) if key.startswith(prefix or "")]

    def list_namespaces(self) -> list[str]:
        return ["their"]

    def get_dataset_metadata(self, dataset_id: str) -> Any:
        return json.loads((self.folder / dataset_id / "data/metadata.json").read_text())

    def download_dataset(self, dataset_id: str, path: Path) -> None:
        shutil.copytree(self.folder / dataset_id, path / dataset_id)

    def download_namespace_metadata(self, namespace: str, path: Path) -> None:
        (path / namespace).mkdir(parents=True, exist_ok=True)
        shutil.copy(self.folder / namespace / "namespace_metadata.json", path / namespace)


def test_a_download_by_minari_s_own_code(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from minari.storage import remotes

    monkeypatch.setitem(remotes._registry, "shelf", lambda: _Shelf)
    monkeypatch.setattr(_Shelf, "folder", home / "shelf")
    for name in ("their/own-v0", "their/own-v1"):
        make(seed=5).to_minari(name, home / "shelf", **TEXTS)
    monkeypatch.setenv("MINARI_REMOTE", "shelf://farama")
    dataset = load_dataset("shelf://farama/their/own-v1", remote=True)
    assert same(dataset, make(seed=5)) and dataset.id == "their/own-v1"
    with pytest.warns(UserWarning, match="higher dataset version"):
        assert same(load_dataset("their/own-v0", remote=True), make(seed=5))
    assert (home / ".minari/datasets/their/own-v0/data/main_data.hdf5").is_file()
    with pytest.raises(DatasetNotFoundError, match=r"ValueError: The dataset version, their/own-v7.*own-v1"):
        load_dataset("their/own-v7", remote=True)
    assert same(load_dataset("their/own-v0"), make(seed=5))  # it is local now


def test_no_network_no_hub_no_such_remote(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from minari.storage import remotes

    class Unreachable(Exception):  # httpx.ConnectError, which the hub's client raises, is no OSError either
        pass

    def unreachable(*_: Any, **__: Any) -> None:
        raise Unreachable("no route\nto host")

    monkeypatch.setattr(_Shelf, "list_datasets", unreachable)
    monkeypatch.setitem(remotes._registry, "shelf", lambda: _Shelf)
    for remote, message in (
        ("shelf://farama", "Minari's remote answered: Unreachable: no route to host"),
        ("none://farama", "Minari's remote answered: KeyError"),
    ):
        monkeypatch.setenv("MINARI_REMOTE", remote)
        with pytest.raises(DatasetNotFoundError, match=message):
            load_dataset("their/own-v0", remote=True)
    monkeypatch.delenv("MINARI_REMOTE")
    if find_spec("huggingface_hub") is None:  # it is not in the lock; Minari's own remote needs it
        with pytest.raises(DatasetNotFoundError, match=r"huggingface_hub is not installed.*minari\[hf\]"):
            load_dataset("their/own-v0", remote=True)
    assert not (home / ".minari" / "datasets" / "their").exists()


@pytest.mark.parametrize("absent", [[], ["observation_space"], ["action_space", "observation_space"]])
def test_entry_points_are_not_imported(absent: list[str], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file names a module of a third party as its environment; importing it leaves a mark."""
    import minari

    mark, name = home / "imported", f"third_party_{len(absent)}"
    (home / f"{name}.py").write_text(
        f"open({str(mark)!r}, 'w').close()\nfrom gymnasium.envs.classic_control import PendulumEnv as Env\n"
    )
    monkeypatch.syspath_prepend(home)
    folder = make().to_minari("course/tiny-v0", home, **TEXTS, environment="Pendulum-v1") / "data"
    metadata = json.loads((folder / "metadata.json").read_text())
    spec = json.loads(metadata["env_spec"]) | {"id": "ThirdParty-v0", "entry_point": f"{name}:Env"}
    spec["additional_wrappers"] = [{"name": "Wrapper", "entry_point": f"{name}:Wrapper", "kwargs": {}}]
    metadata["eval_env_spec"] = metadata["env_spec"] = json.dumps(spec)
    for key in absent:
        del metadata[key]
    (folder / "metadata.json").write_text(json.dumps(metadata))
    if absent:  # Minari itself makes the environment here
        with pytest.raises(DataError, match=r"found no .*observation_space.*both spaces.*runs the environment's code"):
            load_dataset(folder)
    else:
        dataset = load_dataset(folder)
        assert same(dataset, make()) and dataset.describe() and dataset.defects() == []
    assert not mark.exists() and name not in sys.modules
    with suppress(AttributeError):  # asked for, it is imported; the module has no such wrapper
        minari.MinariDataset(folder).recover_environment()
    assert mark.exists()


def test_episodes_of_other_widths_and_kinds(home: Path) -> None:
    path = make(ends="TXU").to_minari("course/tiny-v0", home, **TEXTS) / "data/main_data.hdf5"
    for changed, message in ((np.zeros((5, 3), "f4"), r"actions \(5, 3\)"), (np.zeros((5, 2), "c8"), "complex")):
        with h5py.File(path, "r+") as store:
            del store["episode_1/actions"]
            store["episode_1/actions"] = changed[:4]
        with pytest.raises(DataError, match=message.replace("5", "4")):
            load_dataset(path.parent)
    with h5py.File(path, "r+") as store:
        del store["episode_1/actions"]
        store["episode_1/actions"] = np.full((4, 2), 0.5)  # float64 beside float32
    assert load_dataset(path.parent).actions[5:9].unique().tolist() == [0.5]
    with pytest.raises(DataError, match=r"at most 1e-07 GB.*max_gigabytes="):
        load_dataset(path.parent, max_gigabytes=1e-7)


class _Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_nothing_is_unpickled(home: Path) -> None:
    payload = pickle.dumps(_Trap())
    for name in ("data.pkl", "data.npy", "data.npz", "data.hdf5", "data.pt", "data.csv", "data.parquet", "data.bin"):
        (home / name).write_bytes(payload)
        with pytest.raises((DataError, DatasetNotFoundError)):
            load_dataset(home / name)
    folder = make().to_minari("course/tiny-v0", home, **TEXTS) / "data"
    for name in ("main_data.hdf5", "metadata.json"):
        (folder / name).write_bytes(payload)
        with pytest.raises(DataError):
            load_dataset(folder)
    assert not (home / "sprung").exists()
    pickle.loads(payload)  # the trap does work
    assert (home / "sprung").exists()


def test_a_file_that_points_elsewhere_is_refused(tmp_path: Path) -> None:
    make(ends="TXU").to_minari("here/tiny-v0", tmp_path, **TEXTS)
    secret = tmp_path / "secret.hdf5"
    with h5py.File(secret, "w") as store:
        store["numbers"] = np.full(3, 42.0)
    path = tmp_path / "here/tiny-v0/data/main_data.hdf5"
    with h5py.File(path, "r+") as store:
        n = len(store["episode_0/rewards"])
        kept = store["episode_0/rewards"][:]
        del store["episode_0/rewards"]
        store["episode_0/rewards"] = h5py.ExternalLink(str(secret), "numbers")
    with pytest.raises(
        DataError, match=r"'episode_0/rewards', a ExternalLink; expected arrays kept in this file itself"
    ):
        load_dataset(tmp_path / "here/tiny-v0")
    with h5py.File(path, "r+") as store:
        del store["episode_0/rewards"]
        raw = tmp_path / "raw"
        raw.write_bytes(kept.tobytes())
        store["episode_0"].create_dataset("rewards", (n,), kept.dtype, external=[(str(raw), 0, kept.nbytes)])
    with pytest.raises(DataError, match="stored in another file"):
        load_dataset(tmp_path / "here/tiny-v0")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["read", "write"])
def test_a_missing_package_is_named_and_no_fault_of_the_data(what: str, tmp_path: Path) -> None:
    code = f"""
import sys
from cql_tutorial.datasets import load_dataset
data = load_dataset("maze/stitch-8k-v0") if {what == "write"} else None
for name in [name for name in sys.modules if name.split(".")[0] in ("PIL", "minari")]:
    del sys.modules[name]
hidden = {{"PIL"}}
{HIDE_PACKAGES}
if data is None:
    load_dataset("maze/stitch-8k-v0")
data.to_minari("a/bb-v0", {str(tmp_path)!r}, description="x", author="y")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert "DataError: package pillow: found ModuleNotFoundError" in last and "pip install pillow" in last
    assert "make data" not in last and not list(tmp_path.rglob("*.hdf5"))
