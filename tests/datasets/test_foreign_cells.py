"""Cells, flags and files as other people write them: each is read as what it says, or refused with what mends it."""

from __future__ import annotations

import gzip
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cql_tutorial.cli import main
from cql_tutorial.datasets import OfflineDataset, defects, load_dataset
from cql_tutorial.errors import CQLTutorialError, DataError
from tests.datasets.test_loaders import table, write_d4rl
from tests.datasets.test_offline_dataset import same
from tests.datasets.test_tables import ROLES, frame, written

HEAD = "x,y,a,r,end\n"
ROWS = "1,2,.5,1,0\n3,4,.25,-1,1\n"


def says(caught: Any, parts: tuple[str, ...]) -> None:
    error = caught.value
    assert [part for part in parts if part not in str(error)] == [], str(error)
    assert error.field and error.found and error.expected and error.mend and "\n" not in str(error)


# ---- cells ----------------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "complex": ({"x": np.ones(6, complex)}, ("column 'x', row 0", "(1+0j)", ".real and .imag")),
    "percent": ({"x": ["10%", "20.5%"] * 3}, ("'10%' and 5 more", "leave '%' out", "[^0-9.eE+-]")),
    "units": ({"r": ["3 kW"] * 6}, ("column 'r'", "leave 'kW' out")),
    "money": ({"r": ["$3", "-$4"] * 3}, ("column 'r'", "'$3'")),
    "thousands": ({"x": ["1,234", "5,678"] * 3}, ("--decimal ,", "If it parts the thousands", "replace(',', '')")),
    "thousands and a point": ({"x": ["1,234.5", "5,678.0"] * 3}, ("remove what parts the thousands",)),
    "apostrophes": ({"x": ["1'234", "5'678"] * 3}, ("remove what parts the thousands", "replace(\"'\", '')")),
    "a mark": ({"x": ["1", "-", "2", "3", "-", "4"]}, ("row 1", "'-' and 1 more", "errors='coerce'")),
    "question marks": ({"x": ["1", "?", "2", "3", "?", "4"]}, ("errors='coerce'",)),
    "words beside numbers": ({"x": ["1", "open", "2", "3", "open", "4"]}, ("correct those cells",)),
    "periods": ({"x": pd.period_range("2024-01", periods=6, freq="M")}, ("times, such as '2024-01'", "to_timestamp()")),
    "infinite": ({"y": [1, 2, np.inf, 4, 5, 6]}, ("column 'y', row 2", "found inf", "finite")),
    "infinite text": ({"y": ["1", "2", "3", "-Infinity", "5", "6"]}, ("column 'y', row 3", "found -inf")),
    "too large": ({"y": [1, 2, 1e39, 4, 5, 6]}, ("column 'y', row 2", "1e+39", "dtype=torch.float64")),
    "codes of flags": ({"end": [1, 1, 2, 1, 1, 2]}, ("row 2", "'1', '2'", "frame['end'] == 2")),
    "signs as flags": ({"end": [-1, -1, 1, -1, -1, 1]}, ("row 0", "frame['end'] == 1")),
    "words as flags": ({"end": ["up", "up", "down"] * 2}, ("'up' and 5 more", "'down', 'up'", "compare with")),
    "tuples as flags": ({"end": [(0,), (0,), (1,)] * 2}, ("column 'end', row 0", "(0,)")),
    "decimals missing": ({"x": [Decimal("NaN"), Decimal("1")] * 3}, ("3 missing values", "'x'")),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_cell_is_and_what_mends_it(what: str) -> None:
    changes, parts = REFUSED[what]
    with pytest.raises(DataError) as caught:
        OfflineDataset.from_dataframe(frame(**changes), ROLES)
    says(caught, parts)


def test_words_for_true_and_false_are_numbers_too(tmp_path: Path) -> None:
    made = OfflineDataset.from_dataframe(frame(x=["yes", "no"] * 3, a=["no", "yes"] * 3), ROLES, n_actions=2)
    assert made.observations[:3, 0].tolist() == [1, 0, 1] and made.actions.tolist() == [0, 1] * 3
    path = written(tmp_path / "x.csv", HEAD + "on,2,.5,1,no\noff,4,.25,-1,Yes\n")
    assert OfflineDataset.from_csv(path, ROLES).observations[:, 0].tolist() == [1, 0]
    assert OfflineDataset.from_arrays(*(torch.zeros(4, 1),) * 2, torch.zeros(4), terminations=[0, 0, 0, 1])
    choices = OfflineDataset.from_arrays(
        torch.zeros(2, 1), np.array([True, False]), [1.0, 2.0], terminations=[1, 1], n_actions=2
    )
    assert choices.actions.tolist() == [1, 0]


def test_columns_named_by_numbers_or_in_levels() -> None:
    expected = OfflineDataset.from_dataframe(frame(), ROLES)
    numbered = frame().rename(columns={"x": 0, "y": 1})
    assert same(OfflineDataset.from_dataframe(numbered, ROLES | {"observations": [0, 1]}), expected)
    levels = frame()
    levels.columns = pd.MultiIndex.from_tuples([("obs" if name in "xy" else name, name) for name in levels.columns])
    roles = {"observations": "obs/*", "actions": "a/a", "rewards": [("r", "r")], "terminations": "end/end"}
    assert same(OfflineDataset.from_dataframe(levels, roles), expected)
    with pytest.raises(DataError, match=r"nearest: 'X'\)"):
        OfflineDataset.from_dataframe(frame().rename(columns={"x": "X"}), ROLES)


def test_labels_are_compared_as_they_are_written(tmp_path: Path) -> None:
    for one, other in (
        ("007", "7"),
        ("1234567890123456789.0", "1234567890123456790.0"),
        ("1e20", "100000000000000000000"),
    ):
        text = f"ep,{HEAD}" + "".join(f"{label},{line}\n" for label in (one, other) for line in ROWS.split())
        made = OfflineDataset.from_csv(written(tmp_path / "x.csv", text), ROLES | {"episode": "ep"})
        assert made.episode_lengths().tolist() == [2, 2]
        cut = written(tmp_path / "x.csv", text.replace(",1\n", ",0\n"))  # by the labels alone: the last rows go
        made = OfflineDataset.from_csv(cut, ROLES | {"episode": "ep"})
        assert made.episode_lengths().tolist() == [1, 1]


@pytest.mark.parametrize("kind", ["frame", "Parquet", "arrays"])
def test_16_bits_are_told_of_frames_and_arrays_too(kind: str, tmp_path: Path) -> None:
    narrow = frame(x=np.array([0.5, 1.1, 2, 3, 4, 5], np.float16))
    if kind == "Parquet":
        narrow.to_parquet(tmp_path / "x.parquet")
        made = OfflineDataset.from_parquet(tmp_path / "x.parquet", ROLES)
    elif kind == "frame":
        made = OfflineDataset.from_dataframe(narrow, ROLES)
    else:
        given_ = {"observations": np.ones((6, 1), ">f2"), "actions": torch.ones(6, 1), "rewards": np.ones(6)}
        made = OfflineDataset.from_arrays(**given_, terminations=frame()["end"])
    (found,) = [one for one in made.defects() if one.name == "stored as float16"]
    assert found.count == 6


STYLES = (
    "{:.3f}", "{:,.2f}", "{:.2f} %", "${:.2f}", "{:.1f} C", " {:.3f} ", "+{:.2f}", "{:.2e}", "{:,.0f}", "({:.2f})",
    "{:_.0f}", "{:.0f}.", "~{:.1f}", "{:.1f}h", "{:.2f}-", "'{:.2f}'",
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(
    numbers=st.lists(st.floats(0.5, 9e6), min_size=2, max_size=6),
    style=st.sampled_from(STYLES),
    comma=st.booleans(),
    decimal=st.sampled_from([".", ","]),
    mixed=st.booleans(),
)
def test_a_number_is_read_as_it_was_meant_or_refused(
    numbers: list[float], style: str, comma: bool, decimal: str, mixed: bool
) -> None:
    """Never as another number: what parts thousands is no point, and a point is no comma."""
    import tempfile

    cells = [style.format(x) for x in numbers]
    if mixed:
        cells[0] = f"{numbers[0]:.0f}"
    if comma:  # as they are written where the decimal point is a comma
        cells = [cell.translate(str.maketrans(",.", ".,")) for cell in cells]
    meant = [float(style.replace(",", "").format(x).strip(" $%C+()~h-'_").replace("_", "")) for x in numbers]
    meant[0] = float(f"{numbers[0]:.0f}") if mixed else meant[0]
    text = "x;y;a;r;end\n" + "".join(f'"{cell}";0;0;0;1\n' for cell in cells)
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "x.csv", text)
        try:
            made = OfflineDataset.from_csv(path, ROLES, decimal=decimal, dtype=torch.float64)
        except CQLTutorialError as error:
            assert "'x'" in error.field and error.mend
            return
    ambiguous = not comma and decimal == "," and all("," in cell and "." not in cell for cell in cells if len(cell) > 3)
    if (decimal == ",") == comma or not any("," in cell or "." in cell for cell in cells):
        assert made.observations[:, 0].tolist() == meant
    else:  # the person has said what a comma is, and all cells agree with that
        assert ambiguous or (comma and all(cell.count(".") == 1 for cell in cells if "." in cell)), cells


# ---- lines and files ------------------------------------------------------------------------------------------------

TEXTS: dict[str, tuple[str | bytes, dict[str, Any], tuple[str, ...]]] = {
    "a comment above": ("# logger 2\n" + HEAD + ROWS, {}, ("the header in line 2", "delete the 1 line above")),
    "a title above": ("Report,,,,\n,,,,\n" + HEAD + ROWS, {}, ("the header in line 3", "delete the 2 lines above")),
    "units below": (HEAD + "m,C,V,EUR,0\n" + ROWS, {}, ("line 2", "'m'", "a second line of names, or of units")),
    "the header again": (HEAD + ROWS + HEAD + ROWS, {}, ("line 4", "the header stands there again", "episode=")),
    "blanks between": (HEAD.replace(",", " ") + ROWS.replace(",", " "), {}, ("one column only", "--delimiter ' '")),
    "UTF-16": ((HEAD + ROWS).encode("utf-16"), {}, ("text in UTF-16", "save it in UTF-8")),
    "JSON": ('{"x": 1, "y": 2}\n', {}, ("JSON, by its first bytes", "read_json")),
    "HTML": ("<html><table>\n", {}, ("HTML or XML", "read_html")),
    "Parquet": (b"PAR1\x15\xff\n", {}, ("a Parquet file", "end in .parquet")),
    "Excel": (b"PK\x03\x04\x14\x00\n", {}, ("a zip archive", "read_excel")),
    "HDF5": (b"\x89HDF\r\n\x1a\n\x00", {}, ("an HDF5 file", "end in .hdf5")),
    "packed": (gzip.compress((HEAD + ROWS).encode()), {}, ("packed by gzip", ".csv.gz")),
    "a pickle": (b"\x80\x04\x95\xff\xfe\n", {}, ("a pickle",)),
    "points for commas": ("x;y;a;r;end\n1.5;2;0,5;1;1\n", {"decimal": ","}, ("'1.5'", "leave out --decimal")),
    "thousands for commas": ("x;y;a;r;end\n1.234;2;0,5;1;1\n", {"decimal": ","}, ("'1.234'", "parts the thousands")),
}


@pytest.mark.parametrize("what", TEXTS)
def test_what_a_file_is_and_what_mends_it(what: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    text, options, parts = TEXTS[what]
    path = tmp_path / "x.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as caught:
        OfflineDataset.from_csv(path, ROLES, **options)
    says(caught, parts)
    words = ["observations=x,y", "actions=a", "rewards=r", "terminations=end"]
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    assert main(["describe", "--data", str(path), "--columns", *words, *flags]) == 2
    assert capsys.readouterr().err.startswith("error: ")


PLACES: dict[str, tuple[str, ...]] = {
    "log.dat": ("name ends in '.dat'", "export it as .csv"),
    "log": ("without an ending", "from_dataframe"),
    "log.csv.bz2": (".bz2", "unpack it"),
    "log.joblib": ("a pickle runs the code in it",),
    "empty": ("a folder with nothing in it",),
    "parts": ("a folder with a.csv, b.csv", "pandas.concat", "read_csv"),
    "https://example.org/log.csv": ("an address", "download it first"),
}


@pytest.mark.parametrize("name", PLACES)
def test_what_is_at_a_path_instead_of_data(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for folder in ("empty", "parts"):
        (tmp_path / folder).mkdir()
    for file in ("parts/a.csv", "parts/b.csv", "log.dat", "log", "log.csv.bz2", "log.joblib"):
        (tmp_path / file).write_text("x\n1\n")
    place = name if "://" in name else str(tmp_path / name)
    with pytest.raises(CQLTutorialError) as caught:
        load_dataset(place)
    says(caught, PLACES[name])
    assert main(["describe", "--data", place, "--columns", "observations=x"]) == 2
    assert PLACES[name][0] in capsys.readouterr().err


def test_what_is_no_path_and_options_that_no_loader_has(tmp_path: Path) -> None:
    for thing in (None, frame(), {"x": 1}):
        with pytest.raises(DataError, match="an id or a path"):
            load_dataset(thing)  # type: ignore[arg-type]
    path = written(tmp_path / "x.csv", HEAD + ROWS)
    for option, near in (("delimeter", "delimiter"), ("colums", "columns"), ("max_episode_steps", "")):
        with pytest.raises(CQLTutorialError, match=rf"{option}.*nearest: {near}"):
            load_dataset(path, columns=ROLES, **{option: 3})


# ---- HDF5 and arrays ------------------------------------------------------------------------------------------------


def test_groups_texts_and_missing_labels_of_an_hdf5_file(tmp_path: Path) -> None:
    def refused(key: str, value: Any, *parts: str, columns: Any = None) -> None:
        path = write_d4rl(tmp_path / "x.hdf5", table())
        with h5py.File(path, "r+") as store:
            if key in store:
                del store[key]
            if isinstance(value, dict):
                for name, one in value.items():
                    store[f"{key}/{name}"] = one
            else:
                store[key] = value
        with pytest.raises(DataError) as caught:
            OfflineDataset.from_d4rl_hdf5(path, columns)
        says(caught, parts)

    n = len(table()["rewards"])
    lost = np.where(np.arange(n) == 3, np.nan, np.arange(n))
    refused("observations", {"pos": np.zeros((n, 2))}, "a group of observations/pos", "observations=observations/pos")
    refused("observations", np.zeros((n, 3), complex), "complex128", "array.real and array.imag")
    refused("observations", np.zeros(n, [("x", "f4")]), "array['x']")
    refused("actions", np.array([b"left"] * n), "holds text", "np.unique")
    refused("terminals", np.where(np.arange(n) % 9 == 8, 2, 1), "it holds 1, 2", "terminals == 2")
    refused("terminals", lost * 0, "first nan in row 3", "drop the rows")
    refused("stamp", lost, "key 'stamp'", "1 missing values", "row 3", columns={"time": "stamp"})
    refused("run", lost, "key 'run'", "1 missing values", columns={"episode": "run"})


ARRAYS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "complex": (np.ones((6, 1), complex), ("complex128", "observations.real")),
    "dates": (np.zeros((6, 1), "M8[s]"), ("datetime64", "np.timedelta64(1, 's')")),
    "text": (np.array([["1"]] * 6), ("<U1", "astype(np.float32)")),
    "fields": (np.zeros(6, [("a", "f4")]), ("'a'", "structured_to_unstructured")),
    "too large": (np.full((6, 1), 1e300), ("6 values too large for it", "1e+300 in row 0", "dtype=torch.float64")),
}


@pytest.mark.parametrize("what", ARRAYS)
def test_what_an_array_is_and_what_mends_it(what: str) -> None:
    value, parts = ARRAYS[what]
    with pytest.raises(DataError) as caught:
        OfflineDataset.from_arrays(value, np.zeros((6, 1)), np.zeros(6), terminations=[0, 0, 1] * 2)
    says(caught, parts)


def test_numbers_of_bfloat16_and_one_choice_in_several_columns() -> None:
    rows = torch.ones(6, 1, dtype=torch.bfloat16)
    rest = {"rewards": np.zeros(6), "terminations": [0, 0, 1] * 2}
    assert OfflineDataset.from_arrays(rows, rows / 2, **rest).actions.tolist() == [[0.5]] * 6
    with pytest.raises(DataError, match=r"actions\.argmax\(1\)"):
        OfflineDataset.from_arrays(rows, np.eye(3)[np.arange(6) % 3], **rest, n_actions=3)


def test_an_identifier_is_no_choice() -> None:
    with pytest.raises(DataError, match=r"200,000,000 choices for 6 rows.*identifier"):
        OfflineDataset.from_dataframe(frame(a=[3, 1, 199_999_999, 4, 5, 6]), ROLES, n_actions=200_000_000)


# ---- marks of missing values ----------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    mark=st.sampled_from([-999.0, -9999.0, 99999.0, -99.99 * 10, 1e20, -32768.0, 2147483647.0]),
    scale=st.sampled_from([1e-3, 1.0, 20.0]),
    rows=st.sets(st.integers(0, 59), max_size=20),
    seed=st.integers(0, 99),
)
def test_marks_are_counted_and_nothing_else_is(mark: float, scale: float, rows: set[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    observations = (scale * rng.normal(size=(60, 2))).astype(np.float32)
    observations[sorted(rows), 1] = mark
    data = {"observations": observations, "actions": rng.uniform(-1, 1, (60, 1)), "rewards": rng.normal(size=60)}
    found = defects.find(data | {"terminations": np.arange(60) % 20 == 19})
    counts = [one.count for one in found if one.name == "values that may mark missing ones"]
    assert counts == ([len(rows)] if rows else [])


def test_a_penalty_at_the_end_is_no_mark() -> None:
    rewards = np.where(np.arange(60) % 20 == 19, -999.0, np.arange(60) % 7)
    data = {"observations": np.random.default_rng(0).normal(size=(60, 2)), "actions": np.full((60, 1), 0.5)}
    names = [one.name for one in defects.find(data | {"rewards": rewards, "terminations": rewards < -9})]
    assert "values that may mark missing ones" not in names
    rewards[3] = -999.0
    names = [one.name for one in defects.find(data | {"rewards": rewards, "terminations": np.arange(60) % 20 == 19})]
    assert "values that may mark missing ones" in names


def test_the_package_is_its_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "cql_tutorial"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout.startswith("usage: cql-tutorial COMMAND")
