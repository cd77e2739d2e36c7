"""Logs as they come in practice: devices and patients, words for actions, times with gaps, parts in HDF5 groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from cql_tutorial.cli import main
from cql_tutorial.cli.files import in_flags
from cql_tutorial.datasets import OfflineDataset, defects, load_dataset, tables
from cql_tutorial.errors import ConfigError, CQLTutorialError, DataError
from tests.datasets.test_offline_dataset import same

ROLES: dict[str, Any] = {
    "observations": ["heat", "blood"],
    "actions": "dose",
    "rewards": "pay",
    "terminations": "last-row",
    "episode": "person",
}


def log(lengths: tuple[int, ...] = (3, 1, 4), **changes: Any) -> pd.DataFrame:
    """A row every quarter of an hour; rewards in the last row of each person alone."""
    n, last = sum(lengths), np.cumsum(lengths) - 1
    rng = np.random.default_rng(1)
    columns = {
        "person": np.repeat([f"P{i}" for i in range(len(lengths))], lengths),
        "when": pd.Timestamp("2026-03-28T22:00", tz="UTC") + pd.to_timedelta(15 * np.arange(n), unit="min"),
        "heat": rng.normal(size=n) + 37,
        "blood": rng.normal(size=n),
        "dose": rng.uniform(-1, 1, n),
        "pay": np.isin(np.arange(n), last) * 1.0,
    }
    return pd.DataFrame(columns | changes)


def refused(frame: Any, *parts: str, kind: type[CQLTutorialError] = DataError, **roles: Any) -> str:
    options = {key: roles.pop(key) for key in ("max_gap", "n_actions") if key in roles}
    with pytest.raises(kind) as caught:
        OfflineDataset.from_dataframe(frame, ROLES | roles, **options)
    text = str(caught.value)
    assert [part for part in parts if part not in text] == [] and caught.value.mend, text
    return text


# ---- ends -----------------------------------------------------------------------------------------------------------


def test_the_last_row_of_each_label_can_be_the_end_of_the_task(tmp_path: Path) -> None:
    frame = log()
    made = OfflineDataset.from_dataframe(frame, ROLES)
    marked = frame.assign(end=~frame["person"].duplicated(keep="last"))
    assert same(made, OfflineDataset.from_dataframe(marked, ROLES | {"terminations": "end"}))
    assert made.episode_returns().tolist() == [1, 1, 1] and made.terminations.sum() == 3 and not made.defects()
    frame.to_csv(tmp_path / "x.csv", index=False)
    assert same(OfflineDataset.from_csv(tmp_path / "x.csv", ROLES), made)
    raw = tables.from_frame(frame, ROLES, raw=True, dtype="float64")
    assert raw["terminations"].tolist() == made.terminations.tolist()  # what --mend starts from
    without = {key: value for key, value in ROLES.items() if key != "episode"}
    with pytest.raises(ConfigError, match=r"last-row.*episode"):
        OfflineDataset.from_dataframe(frame, without)
    with pytest.raises(ConfigError, match="truncations"):
        OfflineDataset.from_dataframe(frame, ROLES | {"truncations": "last-row"})


def test_rewards_that_are_left_out_with_last_rows_are_told() -> None:
    never = ROLES | {"terminations": "none"}
    lengths = (4,) * 20
    (found, *_) = OfflineDataset.from_dataframe(log(lengths), never).defects()
    assert (found.name, found.count, found.of) == ("rewards left out with last rows", 20, 20)
    assert "terminations=last-row" in found.remedy
    rng = np.random.default_rng(0)
    for ordinary in (
        rng.normal(size=80),
        np.ones(80),
        (rng.random(80) < 0.1) * 1.0,
        -np.ones(80) * (rng.random(80) < 0.9),
    ):
        made = OfflineDataset.from_dataframe(log(lengths, pay=ordinary), never)
        assert "rewards left out with last rows" not in [one.name for one in made.defects()]
    crash = np.where((np.arange(80) % 4 == 3) & (np.arange(80) < 24), -100.0, -1.0)  # of 20 episodes 6 end badly
    assert OfflineDataset.from_dataframe(log(lengths, pay=crash), never).defects()[0].count == 6


# ---- time -----------------------------------------------------------------------------------------------------------


def times(frame: pd.DataFrame, kind: str) -> Any:
    """The same times, as sources hold them."""
    local = frame["when"].dt.tz_convert("Europe/Berlin")
    return {
        "dates": local,
        "naive": frame["when"].dt.tz_localize(None),
        "text": local.map(lambda moment: moment.isoformat()),
        "seconds": (frame["when"] - frame["when"].min()).dt.total_seconds(),
        "numbers as text": (frame["when"] - frame["when"].min()).dt.total_seconds().map(str),
        "spans": frame["when"] - frame["when"].min(),
    }[kind]


@pytest.mark.parametrize("kind", ["dates", "naive", "text", "seconds", "numbers as text", "spans"])
def test_gaps_in_time_are_found_and_cut(kind: str) -> None:
    frame = log((8, 12))
    frame["when"] += pd.to_timedelta(np.where(np.arange(20) >= 5, 3 * 3600, 0), unit="s")
    frame["when"] += pd.to_timedelta(np.where(np.arange(20) >= 12, 1800, 0), unit="s")  # thrice as long is no gap
    frame["when"] = times(frame, kind)
    timed = ROLES | {"time": "when"}
    plain, made = OfflineDataset.from_dataframe(frame, ROLES), OfflineDataset.from_dataframe(frame, timed)
    assert same(plain, made) and made.metadata["time"]["usual_step"] == 900
    (found,) = made.defects()
    assert (
        found.name == "gaps in time"
        and found.count == 1
        and "row 5" in found.worst
        and "--max-gap 4500" in found.remedy
    )
    cut = OfflineDataset.from_dataframe(frame, timed, max_gap=4500)
    assert cut.metadata["time"]["cut"] == found.count and cut.metadata["time"]["gaps"] == 0
    # Row 4 has no next observation that its action led to: it is dropped, and row 3 is the end of the recording.
    assert cut.episode_lengths().tolist() == [4, 3, 12] and cut.truncations.nonzero().flatten().tolist() == [3]
    assert not cut.defects() and "cut 1" in str(cut.describe())
    given = frame.assign(h=frame["heat"], b=frame["blood"])
    whole = OfflineDataset.from_dataframe(given, timed | {"next_observations": ["h", "b"]}, max_gap=4500)
    assert whole.episode_lengths().tolist() == [5, 3, 12] and whole.truncations.nonzero().flatten().tolist() == [4]


@pytest.mark.parametrize("unit", ["dates", "text", "whole numbers", "a file of whole numbers", "HDF5"])
def test_steps_of_a_ten_millionth_of_a_second_are_exact(unit: str, tmp_path: Path) -> None:
    """Seconds since 1970 in float64 are told apart to 2.4e-7: the steps would be 0 and 2.4e-7, and rows stand still."""
    frame = log((30, 20))
    since = 1_774_735_200_000_000_000 + 100 * np.arange(50)
    since[37:] += 5_000
    frame["when"] = pd.to_datetime(since, utc=True)
    if unit == "text":
        frame["when"] = frame["when"].map(lambda moment: moment.isoformat())
    second = 1e9 if "whole" in unit or unit == "HDF5" else 1.0
    if second > 1:
        frame["when"] = since
    timed = ROLES | {"time": "when"}
    if unit == "a file of whole numbers":
        frame.to_csv(tmp_path / "x.csv", index=False)
        made = OfflineDataset.from_csv(tmp_path / "x.csv", timed)
    elif unit == "HDF5":
        with h5py.File(tmp_path / "x.h5", "w") as store:
            for name in ("heat", "blood", "dose", "pay"):
                store[name] = frame[name].to_numpy(np.float32)
            store["person"], store["when"] = frame["person"].to_numpy().astype("S"), since
        made = OfflineDataset.from_d4rl_hdf5(tmp_path / "x.h5", timed)
    else:
        made = OfflineDataset.from_dataframe(frame, timed)
    found = made.metadata["time"]
    assert found["usual_step"] == pytest.approx(1e-7 * second, rel=1e-9) and found["still"] == 0
    assert found["gaps"] == 1 and found["row"] == 37
    assert found["largest_step"] == pytest.approx(5.1e-6 * second, rel=1e-9)


def test_times_that_fall_or_stand_still() -> None:
    frame = log((8, 12))
    timed = {"time": "when"}
    local = frame["when"].dt.tz_convert("Europe/Berlin").dt.tz_localize(None) + pd.Timedelta(hours=4)
    back = frame.assign(when=local.where(np.arange(20) < 3, local - pd.Timedelta(hours=1)))  # summer time ends
    refused(back, "column 'when', row 3", "a time 2,700 before", "UTC", **timed)
    refused(frame[::-1].reset_index(drop=True), "(18 such)", "sort by episode and time", **timed)
    two = pd.concat([frame, frame]).sort_values("when", kind="stable").assign(person="one")
    names = [one.name for one in OfflineDataset.from_dataframe(two, ROLES | timed).defects()]
    assert "rows at the same time" in names
    refused(frame.assign(when=frame["when"].where(frame["when"].index != 4)), "1 in 'when' (first: row 4)", **timed)
    refused(frame.assign(when="1. März"), "'1. März'", "to_datetime(frame['when'], format=...)", **timed)
    refused(frame, "max_gap", "column of times", kind=ConfigError, max_gap=9)
    refused(frame, "max_gap", "a number > 0", kind=ConfigError, max_gap=0, **timed)
    refused(log(heat=frame["when"][:8]), "time=heat")


# ---- columns and choices --------------------------------------------------------------------------------------------


def test_a_pattern_keeps_the_order_of_the_table() -> None:
    frame = pd.DataFrame({"t_room": [1.0, 2], "t_outside": [3.0, 4], "o_10": [5.0, 6], "o_2": [7.0, 8]})
    frame = frame.assign(dose=[0.1, 0.2], pay=[1.0, 2], end=[0, 1])
    roles = {"actions": "dose", "rewards": "pay", "terminations": "end"}
    words = OfflineDataset.from_dataframe(frame, roles | {"observations": "t_*"})
    assert words.observations[0].tolist() == [1, 3] and words.metadata["columns"]["observations"] == [
        "t_room",
        "t_outside",
    ]
    assert OfflineDataset.from_dataframe(frame, roles | {"observations": "o_*"}).observations[0].tolist() == [7, 5]


def test_choices_in_words_or_in_several_columns_are_never_read_as_amounts() -> None:
    arms = np.array(["sports", "none", "news", "none"] * 2)
    text = refused(log(dose=arms), "pandas.factorize", "--n-actions 3")
    assert "get_dummies" not in text
    frame = log(dose=pd.factorize(arms)[0])
    assert OfflineDataset.from_dataframe(frame, ROLES, n_actions=3).actions.tolist() == [0, 1, 2, 1] * 2
    both = refused(log(heat=arms, blood=arms), "(likewise in 'blood')", "get_dummies(frame, columns=['heat']")
    assert "columns=['heat']" in in_flags(both)  # a line of Python stays one
    hot = pd.get_dummies(log(dose=arms), columns=["dose"], dtype=float)
    refused(hot, "3 columns of whole numbers 0..1, one 1 in each row", "argmax(1)", actions="dose_*")
    amounts = OfflineDataset.from_dataframe(hot, ROLES | {"actions": "dose_*"}, action_low=0, action_high=1)
    assert amounts.actions.shape == (8, 3)
    several = log(dose=np.arange(8) % 3).assign(more=np.arange(8) % 2)
    refused(several, "2 columns of whole numbers 0..2", "ravel_multi_index", actions=["dose", "more"])
    refused(log(dose=[-1, 0, 1, 0] * 2), "whole numbers -1..1", "count them from 0", "--n-actions 3")
    mixed = log().assign(grip=np.arange(8) % 2)  # one column of amounts: the whole is no choice
    assert OfflineDataset.from_dataframe(mixed, ROLES | {"actions": ["dose", "grip"]}).action_dim == 2
    raw = tables.from_frame(hot, ROLES | {"actions": "dose_*"}, raw=True)
    names = [one.name for one in defects.find(raw)]
    assert "whole numbers as actions" in names and "actions scaled to another range" not in names


# ---- HDF5 -----------------------------------------------------------------------------------------------------------


def robot(path: Path, n: int = 24) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    parts = {
        "obs/vel": rng.normal(size=(n, 3)).astype("f2"),
        "obs/pos": rng.normal(size=(n, 2)).astype(">f8"),
        "obs/grip": (np.arange(n) % 2).astype("i1"),
        "act/arm": rng.uniform(-1, 1, (n, 2)).astype("f4"),
        "act/grip": (np.arange(n) % 3 - 1).astype("i2"),
        "gain": rng.normal(size=(n, 1)).astype("f4"),
        "over": np.arange(n) % 8 == 7,
        "run": np.repeat([b"a", b"b", b"c"], n // 3),
        "stamp": np.arange(n) * 0.05,
    }
    with h5py.File(path, "w") as store:
        for key, array in parts.items():
            store[key] = array
        store["obs/camera"] = np.zeros((n, 4, 4, 3), "u1")
    return parts


def test_parts_in_groups_are_joined_in_the_order_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "robot.h5"
    parts = robot(path)
    columns = {
        "observations": ["obs/pos", "obs/vel", "obs/grip"], "actions": "act/*", "rewards": "gain",
        "terminations": "over", "episode": "run", "time": "stamp",
    }  # fmt: skip
    made = load_dataset(path, columns=columns)
    wanted = [parts["obs/pos"], parts["obs/vel"], parts["obs/grip"][:, None]]
    np.testing.assert_array_equal(made.observations.numpy(), np.concatenate(wanted, 1, dtype=np.float32))
    np.testing.assert_array_equal(made.actions.numpy()[:, 2], parts["act/grip"])
    assert made.rewards.tolist() == parts["gain"][:, 0].tolist() and made.episode_lengths().tolist() == [8, 8, 8]
    assert made.metadata["columns"]["observations"] == [
        "obs/pos_0",
        "obs/pos_1",
        *(f"obs/vel_{i}" for i in range(3)),
        "obs/grip",
    ]
    assert made.metadata["unused"] == ["obs/camera"]
    (half,) = [one for one in made.defects() if one.name == "stored as float16"]
    assert half.count == 24 * 3
    labels = {key: value for key, value in columns.items() if key != "time"} | {"terminations": "last-row"}
    assert same(load_dataset(path, columns=labels), made)
    integers = load_dataset(path, columns=columns | {"observations": "obs/grip", "actions": "act/arm"})
    assert integers.observations[:, 0].tolist() == parts["obs/grip"].tolist()
    with pytest.raises(DataError, match=r"a group of .*obs/camera.*observations=obs/grip,obs/pos,obs/vel; images"):
        load_dataset(path, columns=columns | {"observations": "obs"})
    with pytest.raises(DataError, match=r"key 'observations' \(nor actions, rewards, terminals\).*obs/pos \[24, 2\]"):
        load_dataset(path)
    with h5py.File(path, "r+") as store:
        store["run"][3] = b"b"
    with pytest.raises(DataError, match=r"key 'run', row 4: found episode 'a' again"):
        load_dataset(path, columns=columns)


# ---- through the commands -------------------------------------------------------------------------------------------


def test_names_of_columns_survive_conversion_and_training(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    frame = log((9,) * 12)
    frame.loc[[4, 30], "blood"] = np.nan
    frame.to_parquet(tmp_path / "ward.parquet")
    columns = ["observations=heat,blood", "actions=dose", "rewards=pay", "terminations=last-row", "episode=person"]
    source = ["--data", str(tmp_path / "ward.parquet"), "--columns", *columns, "time=when"]
    flat = str(tmp_path / "flat.hdf5")
    target = ["--mend", "not-finite", "--hdf5", flat, "--id", "mine/ward-v0", "--out", str(tmp_path / "data")]
    assert main(["convert", *source, *target]) == 0
    assert "dropped 4 rows (2 of them as they have no whole next state)" in capsys.readouterr().out
    for place in (flat, str(tmp_path / "data" / "mine" / "ward-v0")):
        assert main(["describe", "--data", place]) == 0
        printed = capsys.readouterr().out
        assert "heat: 3" in printed and "column 0 (heat) has mean" in printed
    out = tmp_path / "run"
    settings = ["--steps", "2", "--batch-size", "8", "--hidden-dim", "8", "--quiet", "--out", str(out)]
    assert main(["train", "bc", "--data", flat, *settings]) == 0
    assert json.loads((out / "results.json").read_text())["observation_columns"] == ["heat", "blood"]


def test_columns_without_a_name_are_told_how_to_be_joined(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    log().to_csv(tmp_path / "x.csv", index=False)
    assert main(["describe", "--data", str(tmp_path / "x.csv"), "--columns", "observations=heat", "blood"]) != 0
    assert "joined by commas: observations=heat,blood" in capsys.readouterr().err
