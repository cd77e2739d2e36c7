"""Tables of every kind that people have: the same numbers come in, or one error says which column, where and what."""

from __future__ import annotations

import gzip
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cql_tutorial.datasets import OfflineDataset, defects, load_dataset, roles, tables
from cql_tutorial.errors import CQLTutorialError, CQLWarning, DataError
from tests.datasets.test_loaders import table
from tests.datasets.test_offline_dataset import make, same

ROLES = {"observations": ["x", "y"], "actions": "a", "rewards": "r", "terminations": "end"}


def frame(**changes: Any) -> pd.DataFrame:
    """Six rows, two episodes by `ep`, the second ends; `changes` replace or (None) drop columns."""
    columns: dict[str, Any] = {
        "ep": [1, 1, 1, 2, 2, 2],
        "x": [0.5, -1.25, 2.0, 3.5, 0.25, -7.0],
        "y": [10.0, 11.5, 12.0, 9.0, 8.25, 7.5],
        "a": [0.1, -0.2, 0.3, 0.4, -0.55, 0.6],
        "r": [1.0, -2.0, 0.5, 4.0, 0.0, 3.25],
        "end": [0, 0, 1, 0, 0, 1],
    }
    return pd.DataFrame({key: value for key, value in (columns | changes).items() if value is not None})


def refused(made: Any, *parts: str, columns: Any = None, **options: Any) -> str:
    with pytest.raises(CQLTutorialError) as caught:
        if isinstance(made, pd.DataFrame):
            OfflineDataset.from_dataframe(made, columns or ROLES, **options)
        else:
            OfflineDataset.from_csv(made, columns or ROLES, **options)
    text = str(caught.value)
    assert [part for part in parts if part not in text] == [], text
    assert caught.value.mend and "\n" not in text
    return text


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# ---- frames ---------------------------------------------------------------------------------------------------------


def test_a_frame_and_its_files_are_one_data_set(tmp_path: Path) -> None:
    original = make((60, 41, 1, 30), "TXTX")
    made = original.to_dataframe()
    made.to_csv(tmp_path / "log.csv", index=False)
    made.to_csv(tmp_path / "log.csv.gz", index=False)
    made.to_csv(tmp_path / "log.tsv", index=False, sep="\t")
    made.to_csv(tmp_path / "semicolon.csv", index=False, sep=";", decimal=",", encoding="utf-8-sig")
    made.to_parquet(tmp_path / "log.parquet")
    original.to_hdf5(tmp_path / "log.hdf5")
    columns = {
        "observations": "obs_*", "actions": "action_*", "rewards": "reward", "next_observations": "next_obs_*",
        "terminations": "termination", "truncations": "truncation", "episode": "episode",
    }  # fmt: skip
    for one in (
        OfflineDataset.from_dataframe(made, columns),
        load_dataset(tmp_path / "log.csv", columns=columns),
        load_dataset(tmp_path / "log.csv.gz", columns=columns),
        load_dataset(tmp_path / "log.tsv", columns=columns),
        load_dataset(tmp_path / "semicolon.csv", columns=columns, decimal=","),
        load_dataset(tmp_path / "log.parquet", columns=columns),
        load_dataset(tmp_path / "log.hdf5"),
    ):
        assert same(one, original), one.metadata
    with pytest.warns(CQLWarning, match=r"guessed from their names.*observations obs_0, obs_1, obs_2 \(3\)"):
        assert same(OfflineDataset.from_csv(tmp_path / "log.csv"), original)
    chosen = make((6, 3), "TX", n_actions=3)
    again = OfflineDataset.from_dataframe(chosen.to_dataframe(), columns | {"actions": "action"}, n_actions=3)
    assert same(again, chosen)


class Other:
    """A frame of another library, as it shows itself to pandas."""

    def __init__(self, made: pd.DataFrame) -> None:
        self.made = made

    def to_pandas(self) -> pd.DataFrame:
        return self.made


def test_frames_of_others_and_columns_of_every_kind() -> None:
    expected = OfflineDataset.from_dataframe(frame(), ROLES)
    kinds = {
        "x": pd.array([0.5, -1.25, 2.0, 3.5, 0.25, -7.0], dtype="Float64"),
        "y": np.array([10, 11.5, 12, 9, 8.25, 7.5], dtype=">f4"),
        "a": pd.Series([0.1, -0.2, 0.3, 0.4, -0.55, 0.6], dtype=object),
        "r": [str(x) for x in frame()["r"]],  # numbers as text
        "end": ["no", "False", " Yes ", "F", "0", "true"],
    }
    for one in (frame(**kinds), Other(frame(**kinds)), frame(**kinds).astype({"end": "category"})):
        assert same(OfflineDataset.from_dataframe(one, ROLES), expected)
    whole = frame(x=np.arange(6, dtype=np.uint8), y=[True, False] * 3, end=pd.array([0, 0, 1, 0, 0, 1], dtype="Int8"))
    assert OfflineDataset.from_dataframe(whole, ROLES).observations[2].tolist() == [2.0, 1.0]
    arrow = pytest.importorskip("pyarrow").Table.from_pandas(frame())
    assert same(OfflineDataset.from_dataframe(arrow, ROLES), expected)
    with pytest.raises(DataError, match="a list; expected a pandas DataFrame"):
        OfflineDataset.from_dataframe([1, 2], ROLES)


class Offers:
    """A frame that can be reached in one way alone: by the method of that name of `made`."""

    def __init__(self, made: Any, way: str) -> None:
        self.made, self.way = made, way

    def __getattr__(self, name: str) -> Any:
        if name == self.__dict__["way"]:
            return getattr(self.made, name, None)
        raise AttributeError(name)


def arrow(made: pd.DataFrame, chunks: int = 1) -> Any:
    whole = pytest.importorskip("pyarrow").Table.from_pandas(made)
    cuts = np.linspace(0, len(made), chunks + 1).astype(int)
    return pytest.importorskip("pyarrow").concat_tables([whole.slice(a, b - a) for a, b in pairwise(cuts)])


@pytest.mark.parametrize("chunks", [1, 4])
@pytest.mark.parametrize("way", ["to_pandas", "__dataframe__", "__arrow_c_stream__"])
def test_one_way_to_a_frame_is_enough_and_none_fills_a_hole(way: str, chunks: int) -> None:
    expected = OfflineDataset.from_dataframe(frame(), ROLES)
    kinds = (
        {},
        {"end": [False, False, True] * 2},
        {"end": ["no", "no", "yes"] * 2},
        {"end": pd.Categorical(["0", "0", "1"] * 2)},
        {"r": np.float32(frame()["r"])},
    )
    for changes in kinds:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert same(OfflineDataset.from_dataframe(Offers(arrow(frame(**changes), chunks), way), ROLES), expected)
    holes = frame(x=[0.5, None, 2.0, None, 0.25, 1.0], r=pd.array([1, pd.NA, 2, 3, 4, 5], dtype="Int64"))
    with pytest.raises(DataError, match=r"3 missing values in 2 rows: 2 in 'x' \(first: row 1\), 1 in 'r'"):
        OfflineDataset.from_dataframe(Offers(arrow(holes, chunks), way), ROLES)
    with pytest.raises(DataError, match=r"column 'y': found times, such as"):
        OfflineDataset.from_dataframe(
            Offers(arrow(frame(y=pd.date_range("2024-01-01", periods=6)), chunks), way), ROLES
        )


def test_a_record_batch_and_the_interchange_of_pandas_itself() -> None:
    expected = OfflineDataset.from_dataframe(frame(), ROLES)
    assert same(OfflineDataset.from_dataframe(Offers(frame(), "__dataframe__"), ROLES), expected)
    batch = arrow(frame()).to_batches()[0]
    assert same(OfflineDataset.from_dataframe(Offers(batch, "__arrow_c_array__"), ROLES), expected)


class Fails:
    """A frame whose own library cannot give it away."""

    def __init__(self, way: str, error: Exception) -> None:
        self.way, self.error = way, error

    def __getattr__(self, name: str) -> Any:
        if name != self.__dict__["way"]:
            raise AttributeError(name)

        def give(*_: Any, **__: Any) -> Any:
            raise self.error

        return give


@pytest.mark.parametrize("way", ["to_pandas", "__dataframe__", "__arrow_c_stream__"])
def test_what_becomes_no_frame_is_one_clear_error(way: str) -> None:
    with pytest.raises(DataError, match=r"a Fails that does not become one: RuntimeError: lost") as caught:
        OfflineDataset.from_dataframe(Fails(way, RuntimeError("lost")), ROLES)
    assert "pandas.DataFrame" in caught.value.mend
    absent = ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow")
    with pytest.raises(DataError, match=r"the package pyarrow.*pip install pyarrow"):
        OfflineDataset.from_dataframe(Fails(way, absent), ROLES)


def test_other_things_that_are_no_frame() -> None:
    for thing, found in (
        ({"x": [1, 2], "y": [1]}, "a dict that does not become one: ValueError"),
        ({"x": 1}, "a dict that does not become one: ValueError"),
        (frame()["x"], "a Series, which is one column"),
        (frame().to_numpy(), "a ndarray"),
        (arrow(frame())["x"], "a ChunkedArray"),
        (Offers(frame(y=pd.Series([1.0] * 6, dtype=object)), "__dataframe__"), "NotImplementedError"),
        (None, "a NoneType"),
        ("log.csv", "a str"),
    ):
        with pytest.raises(DataError, match=found) as caught:
            OfflineDataset.from_dataframe(thing, ROLES)
        assert caught.value.mend and "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"frame\.collect\(\)"):  # a lazy frame of polars
        OfflineDataset.from_dataframe(Offers(frame(), "collect"), ROLES)


def test_a_way_that_fails_leaves_the_next_one() -> None:
    """As in polars without pyarrow: to_pandas raises there, and the interchange does not."""
    made = frame()

    class Halfway:
        def to_pandas(self) -> Any:
            raise ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow")

        def __dataframe__(self, *_: Any, **__: Any) -> Any:
            return made.__dataframe__()

    assert same(OfflineDataset.from_dataframe(Halfway(), ROLES), OfflineDataset.from_dataframe(made, ROLES))


def test_missing_values_are_counted_by_column_and_row_and_never_filled(tmp_path: Path) -> None:
    holes = frame(x=[0.5, None, 2.0, None, 0.25, 1.0], r=pd.array([1, pd.NA, 2, 3, 4, 5], dtype="Int64"))
    found = refused(holes, "3 missing values in 2 rows", "2 in 'x' (first: row 1)", "1 in 'r' (first: row 1)", "invent")
    assert "3 missing" in found
    text = "x,y,a,r,end\n1,2,.1,1,0\n,2,.1,NA,0\n3,nan,.1,1,0\n4,5,.1,1,1\n"
    refused(
        written(tmp_path / "x.csv", text), "3 missing values in 2 rows", "'x' (first: line 3)", "'y' (first: line 4)"
    )
    refused(frame(end=[0, None, 1, 0, 0, 1]), "1 in 'end'")
    refused(frame(ep=[1, 1, None, 2, 2, 2]), "1 in 'ep'", columns=ROLES | {"episode": "ep"})


def test_words_and_times_say_how_to_encode_them(tmp_path: Path) -> None:
    modes = ["auto", "hand", "auto", "off", "off", "auto"]
    refused(frame(y=modes), "column 'y'", "'auto' and 5 more cells", "get_dummies", "3 words ('auto', 'hand', 'off')")
    times = pd.date_range("2024-01-01", periods=6, freq="min")
    refused(frame(y=times), "column 'y'", "times, such as", "total_seconds()")
    refused(frame(y=times.tz_localize("UTC")), "total_seconds()")
    refused(frame(y=times.astype(str)), "column 'y', row 0", "to_datetime")
    refused(frame(y=[[1, 2]] * 6), "a list in a cell", "one number a cell")
    refused(frame(y=["1.5"] * 5 + ["1_0"]), "column 'y', row 5", "'1_0'", "a number")
    refused(frame(y=["1,5", "2,5"] * 3), "column 'y', row 0", "decimal=','")
    refused(frame(end=[0, 0, 2, 0, 0, 1]), "column 'end', row 2", "true, yes, 1")
    refused(frame(end=["no", "perhaps", "yes", "no", "never", "yes"]), "'perhaps' and 1 more cells", "row 1")
    path = written(tmp_path / "x.csv", 'x;y;a;r;end\n"1,5";2;0,1;1;0\n2,5;3;0,2;2;1\n')
    refused(path, "--decimal ,", "'1,5'")
    assert OfflineDataset.from_csv(path, ROLES, decimal=",").observations.tolist() == [[1.5, 2], [2.5, 3]]
    quoted = written(tmp_path / "y.csv", 'x,y,a,r,end\n"1,5","2","0,1","1",0\n"2,5",3,"0,2",2,1\n')
    assert OfflineDataset.from_csv(quoted, ROLES, decimal=",").observations.tolist() == [[1.5, 2], [2.5, 3]]


def test_separators_headers_and_lines(tmp_path: Path) -> None:
    rows = ["x{0}y{0}a{0}r{0}end", "1{0}2{0}.5{0}1{0}0", "3{0}4{0}.25{0}-1{0}1"]
    wanted = None
    for name, sep in {"a.csv": ",", "b.csv": ";", "c.tsv": "\t", "d.csv": "|", "e.csv": "\t", "f.txt": ","}.items():
        for ending in ("\n", "\r\n"):
            path = tmp_path / name
            path.write_bytes(("\ufeff" + ending.join(line.format(sep) for line in rows) + ending).encode())
            made = OfflineDataset.from_csv(path, ROLES)
            wanted = wanted or made
            assert same(made, wanted) and made.metadata["delimiter"] == sep
    spaces = written(tmp_path / "g.csv", "\n".join(line.format(" ") for line in rows))
    assert same(OfflineDataset.from_csv(spaces, ROLES, delimiter=" "), wanted)
    refused(written(tmp_path / "h.csv", "1,2,.5,1,0\n3,4,.2,1,1\n"), "line 1", "numbers (1, 2, .5, 1, ...)", "header")
    assert "pass --delimiter ';'" in refused(written(tmp_path / "i.csv", "x;y;a;r;end\n1;2;.5;1;1\n"), delimiter=",")
    refused(
        written(tmp_path / "j.csv", "x,y,a,r,end\n1,2,.5,1\n1,2,.5,1,1\n"), "line 2", "4 cells", "5, as in the header"
    )
    refused(written(tmp_path / "k.csv", "x,y,a,r,end\n1,2,.5,1,0\n1,2,.5,1,1,9\n"), "line 3", "6 cells")
    named = written(tmp_path / "l.csv", "x,y,a,r,end,,,note\n1,2,.5,1,1,,,fine\n")
    assert OfflineDataset.from_csv(named, ROLES).metadata["unused"] == ["", "", "note"]
    refused(written(tmp_path / "m.csv", "x,x,y,a,r,end\n1,1,2,.5,1,1\n"), "'x' more than once", "rename")
    unused = written(tmp_path / "n.csv", "x,y,a,r,end,z,z\n1,2,.5,1,1,0,0\n")
    assert len(OfflineDataset.from_csv(unused, ROLES)) == 1
    with gzip.open(tmp_path / "o.csv.gz", "wt") as text:
        text.write("x,y,a,r,end\n1,2,.5,1,1\n")
    assert len(OfflineDataset.from_csv(tmp_path / "o.csv.gz", ROLES)) == 1
    (tmp_path / "p.csv.gz").write_bytes(b"no gzip at all")
    refused(tmp_path / "p.csv.gz", "BadGzipFile")
    refused(written(tmp_path / "q.csv", "x,y,a,r,end\n" + "1,2,.5,1,1\n" * 9), "at most 1e-08 GB", max_gigabytes=1e-8)
    (tmp_path / "r.parquet").write_bytes(b"no Parquet")
    with pytest.raises(DataError, match="a whole Parquet file"):
        OfflineDataset.from_parquet(tmp_path / "r.parquet", ROLES)


# ---- roles ----------------------------------------------------------------------------------------------------------


def test_a_column_has_one_role_and_the_rest_is_named() -> None:
    made = OfflineDataset.from_dataframe(frame(), ROLES)
    assert made.metadata["unused"] == ["ep"] and made.metadata["columns"]["observations"] == ["x", "y"]
    refused(
        frame(), "each column in one role", "which observations=* takes as well", columns=ROLES | {"observations": "*"}
    )
    leak = frame().rename(columns={"x": "obs_0", "y": "obs_next_0"})
    pattern = ROLES | {"observations": "obs_*"}
    refused(leak, "'obs_*' takes 'obs_next_0' too", "next_observations", columns=pattern)
    for later in ("obs_0_next", "obs_prime", "obs_t+1", "obs_0'"):
        refused(leak.rename(columns={"obs_next_0": later}), f"{later}", "next_observations", columns=pattern)
    named = OfflineDataset.from_dataframe(leak, ROLES | {"observations": ["obs_0", "obs_next_0"]})  # asked for in full
    assert named.observation_dim == 2
    refused(frame(), "'no column 'x_*'"[1:], "nearest: 'x'", columns=ROLES | {"observations": "x_*"})
    refused(frame(), "'done'", "terminations (the task ended) or truncations", columns=ROLES | {"done": "end"})
    missing = {key: value for key, value in ROLES.items() if key != "terminations"}
    refused(frame(), "['terminations']", "terminations=none", "terminations=every-row", columns=missing)


def test_a_wide_table_is_not_searched_for_each_of_its_names() -> None:
    """With `list.count` or `list.index` for each name, 100,000 columns took minutes."""

    class Names(list):
        def count(self, *_: Any) -> int:
            raise AssertionError("the whole header, for one name")

        index = count

        def __contains__(self, name: object) -> bool:
            raise AssertionError("the whole header, for one name")

    names = Names([*(f"o_{i}" for i in range(20_000)), "a", "r", "end"])
    found = roles.assign(names, ROLES | {"observations": "o_*"})
    assert found.places["observations"] == list(range(20_000)) and found.unused == []


def test_logs_without_a_column_of_ends() -> None:
    never = OfflineDataset.from_dataframe(frame(), ROLES | {"terminations": "none", "episode": "ep"})
    assert not never.terminations.any() and never.episode_lengths().tolist() == [2, 2]  # last rows have no next state
    bandit = OfflineDataset.from_dataframe(frame(), ROLES | {"terminations": "every-row"})
    assert bandit.terminations.all() and len(bandit.episode_starts) == 6 and not bandit.defects()
    own = frame(none=[0, 0, 1, 0, 0, 1])
    assert (
        OfflineDataset.from_dataframe(own, ROLES | {"terminations": "none"}).terminations.sum() == 2
    )  # a column so named


def test_whole_numbers_as_actions_are_asked_about_first(tmp_path: Path) -> None:
    choices = frame(a=[0, 1, 0, 1, 1, 0])
    for one in (choices, frame(a=[0.0, 1.0, 0, 1, 1, 0]), frame(a=[True, False] * 3)):
        refused(one, "whole numbers 0..1 (2 different)", "n_actions", "action_low")
    assert OfflineDataset.from_dataframe(choices, ROLES, n_actions=2).actions.tolist() == [0, 1, 0, 1, 1, 0]
    amounts = OfflineDataset.from_dataframe(choices, ROLES, action_low=0, action_high=1)
    assert amounts.actions.shape == (6, 1) and amounts.n_actions is None
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as store:
        for key, column in table((9, 8), "TX").items():
            store[{"terminations": "terminals", "truncations": "timeouts"}.get(key, key)] = column
        del store["actions"]
        store["actions"] = np.arange(17)[:, None] % 3
    with pytest.raises(DataError, match=r"whole numbers 0\.\.2 \(3 different\)"):
        OfflineDataset.from_d4rl_hdf5(path)
    assert OfflineDataset.from_d4rl_hdf5(path, n_actions=3).discrete
    from_floats = {name: array for name, array in table((9, 8), "TX").items() if name != "actions"}
    loose = OfflineDataset.from_mapping(from_floats | {"actions": (np.arange(17.0)[:, None] % 3 > 0) * 1.0})
    assert loose.defects()[0].name == "whole numbers as actions"
    sparse = OfflineDataset.from_mapping(from_floats | {"actions": 1 + np.arange(17) % 3}, n_actions=5)
    assert "actions never chosen: 2 of 5" in str(sparse.defects()[0]) and "0, 4" in sparse.defects()[0].worst


# ---- labels and flags -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_next", [False, True])
def test_labels_that_contradict_the_flags_are_told_in_the_words_of_the_table(tmp_path: Path, with_next: bool) -> None:
    roles = ROLES | {"episode": "ep"} | ({"next_observations": ["nx", "ny"]} if with_next else {})
    first = frame(end=[1, 0, 0, 1, 0, 0], nx=range(6), ny=range(6))
    first.to_csv(tmp_path / "x.csv", index=False)
    said = ["column 'end'", "1 in 2 rows that are not the last of their episode by column 'ep' (first: line 2)"]
    assert "np." not in refused(tmp_path / "x.csv", *said, columns=roles)
    raw = tables.from_csv(tmp_path / "x.csv", roles, raw=True)
    (found,) = [one for one in defects.find(raw) if "labelled" in one.name]
    assert found.count == 2 and "first rows" in found.remedy and found.mend == ""
    refused(frame(end=[1] * 6, nx=range(6), ny=range(6)), "1 in 4 rows", "row 0", columns=roles)
    refused(frame(ep=[1, 1, 2, 1, 2, 2], nx=range(6), ny=range(6)), "'ep', row 3", "episode '1' again", columns=roles)


def test_one_step_episodes_with_labels_are_legal() -> None:
    roles = ROLES | {"episode": "ep"}
    made = OfflineDataset.from_dataframe(frame(ep=[1, 2, 3, 3, 4, 5], end=[1, 1, 0, 1, 1, 1]), roles)
    assert made.episode_lengths().tolist() == [1, 1, 2, 1, 1] and not made.defects()


# ---- precision ------------------------------------------------------------------------------------------------------


def test_values_that_float32_makes_equal_are_counted(tmp_path: Path) -> None:
    n = 240
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"x": 1.7e9 + np.arange(n), "y": rng.normal(size=n), "a": rng.uniform(-1, 1, n)})
    log["r"], log["end"] = 16_777_216 + np.arange(n), np.arange(n) % 60 == 59
    log.to_csv(tmp_path / "x.csv", index=False)
    kept = len(np.unique(log["x"].to_numpy().astype(np.float32)))
    arrays = {"observations": log[["x", "y"]].to_numpy(), "actions": log[["a"]].to_numpy()}
    arrays |= {"rewards": log["r"].to_numpy(), "terminations": log["end"].to_numpy()}
    for made in (
        OfflineDataset.from_csv(tmp_path / "x.csv", ROLES),
        OfflineDataset.from_dataframe(log, ROLES),
        OfflineDataset.from_arrays(**arrays),
    ):
        (found,) = [one for one in made.defects() if "float32" in one.name]
        assert found.count == n - kept + n // 2 - (n // 2 - (n - len(np.unique(np.float32(log["r"])))))
        assert "--read-dtype float64" in found.remedy
    exact = OfflineDataset.from_csv(tmp_path / "x.csv", ROLES, dtype=torch.float64)
    assert not [one for one in exact.defects() if "float32" in one.name] and len(exact.observations[:, 0].unique()) == n
    fine = log.assign(x=rng.normal(size=n) / 3, r=rng.normal(size=n) / 7)  # float64, and nothing is lost
    fine.to_csv(tmp_path / "y.csv", index=False)
    assert not [one for one in OfflineDataset.from_csv(tmp_path / "y.csv", ROLES).defects() if "float32" in one.name]


# ---- HDF5 layouts of others -----------------------------------------------------------------------------------------


def test_d3rlpy_1_keeps_its_episode_ends_and_names_what_it_does_not_use(tmp_path: Path) -> None:
    columns = table((12,) * 20, "X" * 20)
    with h5py.File(tmp_path / "x.h5", "w") as store:
        store["observations"], store["actions"] = columns["observations"], columns["actions"]
        store["rewards"], store["terminals"] = columns["rewards"], np.zeros(240, np.float32)
        store["episode_terminals"], store["version"] = columns["truncations"].astype(np.float32), "1.0"
        store["discrete_action"], store["extra"] = False, np.zeros(240)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = load_dataset(tmp_path / "x.h5")
    assert len(made.episode_starts) == 20 and made.episode_lengths().tolist() == [11] * 20
    assert made.metadata["unused"] == ["discrete_action", "extra", "version"] and "extra" in str(made.describe())
    with h5py.File(tmp_path / "x.h5", "r+") as store:
        store["terminals"][[10, 34]] = 1
    (found,) = load_dataset(tmp_path / "x.h5").defects()
    assert found.name == "flags within labelled episodes" and found.count == 2


def test_d3rlpy_2_and_robomimic(tmp_path: Path) -> None:
    columns, lengths = table((7, 9, 5), "TXT"), (7, 9, 5)
    starts = np.cumsum([0, *lengths])
    with h5py.File(tmp_path / "d.h5", "w") as store, h5py.File(tmp_path / "r.hdf5", "w") as robo:
        store["columns"] = ["observations", "actions", "rewards", "terminated"]
        store["num_episodes"], store["version"] = 3, "2.1"
        for i, (start, end) in enumerate(pairwise(starts)):
            rows = slice(start, end)
            for name in ("observations", "actions"):
                store[f"{name}_{i}"] = columns[name][rows]
            store[f"rewards_{i}"] = columns["rewards"][rows, None]
            store[f"terminated_{i}"] = bool(columns["terminations"][end - 1])
            demo = robo.create_group(f"data/demo_{i}")
            demo["actions"], demo["rewards"] = columns["actions"][rows], columns["rewards"][rows]
            demo["dones"], demo["states"] = columns["terminations"][rows].astype(int), np.zeros((end - start, 4))
            for group, name in (("obs", "observations"), ("next_obs", "next_observations")):
                demo[f"{group}/b"], demo[f"{group}/a"] = columns[name][rows, 1:], columns[name][rows, :1]
                demo[f"{group}/image"] = np.zeros((end - start, 4, 4, 3), np.uint8)
    two, robomimic = load_dataset(tmp_path / "d.h5"), load_dataset(tmp_path / "r.hdf5")
    assert two.episode_lengths().tolist() == [7, 8, 5] and two.terminations.sum() == 2  # the cut one has no next state
    assert robomimic.episode_lengths().tolist() == [7, 9, 5] and robomimic.truncations.sum() == 1
    np.testing.assert_array_equal(robomimic.next_observations.numpy(), columns["next_observations"])
    assert robomimic.metadata["observation_keys"] == {"a": 1, "b": 2}
    assert robomimic.metadata["unused"] == ["obs/image", "states"]


def test_other_keys_and_no_ends_in_an_hdf5_file(tmp_path: Path) -> None:
    columns = table((9, 8), "XX")
    with h5py.File(tmp_path / "x.hdf5", "w") as store:
        store["obs"], store["actions"] = columns["observations"], columns["actions"]
        store["rewards"], store["truncations"] = columns["rewards"], columns["truncations"]
    with pytest.raises(DataError, match=r"key 'observations'.*--columns"):
        load_dataset(tmp_path / "x.hdf5")
    made = load_dataset(tmp_path / "x.hdf5", columns={"observations": "obs", "terminations": "none"})
    assert made.episode_lengths().tolist() == [8, 7] and not made.terminations.any()


# ---- the kind: any dtype, byte order, shape, flag spelling, scale, separator and container --------------------------

FORMS = {
    "seed": st.integers(0, 2**20),
    "dtype": st.sampled_from(["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "i1", "<i2", ">i8", "u1", "<u4", "?"]),
    "column": st.booleans(),  # rewards and flags as [N, 1]
    "flags": st.sampled_from(["bool", "int", "float", "yes", "TRUE", "exponent", "last-row"]),
    "scale": st.sampled_from([1e-3, 1.0, 40.0, 9e3]),
    "sep": st.sampled_from([",", ";", "\t", "|"]),
    "decimal": st.sampled_from([".", ","]),
    "bom": st.booleans(),
    "tensor": st.booleans(),
    "choices": st.booleans(),
    "chunked": st.booleans(),
}


def every_container_gives_the_same(folder: Path, form: dict[str, Any]) -> None:
    """Arrays, tensors, lists, a data frame, CSV, Parquet and HDF5 of the same numbers are one data set."""
    rng = np.random.default_rng(form["seed"])
    lengths = rng.integers(1, 6, 5)
    n = int(lengths.sum())
    values = rng.normal(size=(n, 3)) * form["scale"]
    kind = np.dtype(form["dtype"])
    values = (
        (np.abs(values) % (2 if kind.kind == "b" else 120)).astype(kind) if kind.kind in "iub" else values.astype(kind)
    )
    reference = values.astype(np.float64)
    last = np.cumsum(lengths) - 1
    ends = np.isin(np.arange(n), last)
    actions: Any = rng.integers(0, 4, n) if form["choices"] else rng.uniform(-1, 1, (n, 2))
    rewards = rng.normal(size=n) * form["scale"]
    more: dict[str, Any] = {"dtype": torch.float64} | ({"n_actions": 4} if form["choices"] else {})
    wanted = OfflineDataset.from_arrays(reference, actions, rewards, terminations=ends, **more)

    native = values.astype(kind.newbyteorder("="))
    given = torch.from_numpy(native) if form["tensor"] and kind.kind != "u" else values
    thin = (lambda x: x[:, None]) if form["column"] else (lambda x: x)
    typed = {"int": ends.astype("u1"), "float": ends.astype(">f8")}.get(form["flags"], ends)
    listed = actions.tolist() if form["tensor"] else actions
    assert same(OfflineDataset.from_arrays(given, listed, thin(rewards), terminations=thin(typed), **more), wanted)

    spelled = {
        "int": ends.astype(int), "float": ends.astype(float), "yes": np.where(ends, "yes", "no"),
        "TRUE": np.where(ends, "TRUE", "FALSE"), "exponent": np.where(ends, "1.00e+00", "0.00e+00"),
    }.get(form["flags"], ends)  # fmt: skip
    log = pd.DataFrame({f"x{i}": native[:, i] for i in range(3)})
    acted = {"u": actions} if form["choices"] else {"u": actions[:, 0], "v": actions[:, 1]}
    log = log.assign(**acted, pay=rewards, over=spelled, run=np.repeat([f"r{i}" for i in range(5)], lengths))
    roles: dict[str, Any] = {"observations": "x*", "actions": list(acted), "rewards": "pay", "episode": "run"}
    roles["terminations"] = "last-row" if form["flags"] == "last-row" else "over"
    assert same(OfflineDataset.from_dataframe(log, roles, **more), wanted)

    decimal = "." if form["flags"] == "exponent" or form["sep"] == form["decimal"] else form["decimal"]
    how: dict[str, Any] = {"sep": form["sep"], "decimal": decimal, "encoding": "utf-8-sig" if form["bom"] else "utf-8"}
    exact = {f"x{i}": reference[:, i] for i in range(3) if kind.kind == "f"}  # all digits, also of a float32
    log.assign(**exact).to_csv(folder / "x.csv", index=False, **how)
    read = OfflineDataset.from_csv(folder / "x.csv", roles, delimiter=form["sep"], decimal=decimal, **more)
    assert same(read, wanted)
    log.to_parquet(folder / "x.parquet")
    assert same(OfflineDataset.from_parquet(folder / "x.parquet", roles, **more), wanted)

    stored = {"chunks": True, "compression": "gzip"} if form["chunked"] else {}
    with h5py.File(folder / "x.h5", "w") as store:
        arrays = {"in/first": values[:, :1], "in/rest": values[:, 1:], "out/u": actions, "pay": thin(rewards)}
        for key, array in (arrays | {"over": thin(typed), "run": log["run"].to_numpy().astype("S")}).items():
            store.create_dataset(key, data=array, **stored)
    keys = roles | {"observations": ["in/first", "in/rest"], "actions": "out/*"}
    assert same(OfflineDataset.from_d4rl_hdf5(folder / "x.h5", keys, **more), wanted)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(form=st.fixed_dictionaries(FORMS))
def test_whatever_the_form_the_numbers_are_the_same(tmp_path: Path, form: dict[str, Any]) -> None:
    every_container_gives_the_same(tmp_path, form)


@pytest.mark.fuzz
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(form=st.fixed_dictionaries(FORMS))
def test_whatever_the_form_the_numbers_are_the_same_in_hundreds_of_cases(tmp_path: Path, form: dict[str, Any]) -> None:
    every_container_gives_the_same(tmp_path, form)
