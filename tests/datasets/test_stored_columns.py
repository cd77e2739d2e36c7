"""Rows that are kept, and the row after each, read from a file piece by piece: what NumPy does to the whole array."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cql_tutorial.datasets import stored_columns
from cql_tutorial.datasets.stored_columns import StoredColumn


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_kept_rows_and_the_rows_after(data: st.DataObject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n, width = data.draw(st.integers(1, 400)), data.draw(st.integers(1, 3))
    few = data.draw(st.integers(0, 2)) and n // data.draw(st.sampled_from((3, 70, 100)))  # long runs and short ones
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    values = rng.standard_normal((n, width)).astype(data.draw(st.sampled_from(("f4", "f8", ">f4"))))
    if data.draw(st.booleans()):
        values[rng.integers(n)] = np.nan
    kept = np.ones(n, bool)
    kept[rng.integers(0, n, few)] = False
    chunks = data.draw(st.sampled_from((None, (7, 1))))
    monkeypatch.setattr(stored_columns, "_BLOCK_BYTES", data.draw(st.sampled_from((1, 100, 2**20))))
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.create_dataset("x", data=values, chunks=chunks if n >= 7 else None)
    with h5py.File(tmp_path / "x.hdf5") as file:
        column = StoredColumn([file["x"]], "float32")
        rows, following = column.read_kept_and_next(kept)
    places = np.flatnonzero(kept)
    inside = places[places < n - 1]
    np.testing.assert_array_equal(rows, values[places].astype("f4"))
    np.testing.assert_array_equal(following[: len(inside)], values[inside + 1].astype("f4"))
    assert len(following) == len(rows) and rows.dtype == following.dtype == np.float32
    looked_at = np.zeros(n, bool)
    looked_at[places], looked_at[inside + 1] = True, True
    assert column.finite <= bool(np.isfinite(values[looked_at]).all()), "never called finite where it is not"
    assert column.finite or not np.isfinite(values).all()
