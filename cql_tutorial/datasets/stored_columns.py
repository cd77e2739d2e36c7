"""Arrays that are still in an HDF5 file, read some megabytes at a time, and the rows of them that are kept.

What is done to a block costs least while the processor's cache still holds it: there it is narrowed, looked through for
NaN, and put where it belongs. A pass over a whole array afterwards takes as long as reading it did.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from . import checks as check

_BLOCK_BYTES = 2**24
_SORTED = 2**24  # numbers that are held to count what narrowing lost


class StoredColumn:
    """One of our columns ``[N, k]``, read as ``dtype``: an array of a file, or several side by side.

    After it was read, ``finite`` says that no NaN or infinity was met, and ``collapsed`` what narrowing lost:
    column -> [distinct values that became equal to another, distinct values], as `checks.collapsed` counts it.
    """

    def __init__(self, items: list[Any], dtype: Any) -> None:
        self.items, self.dtype = items, np.dtype(dtype)
        edges = np.cumsum([0, *(int(np.prod(item.shape[1:])) for item in items)]).tolist()
        self.shape = (int(items[0].shape[0]), edges[-1])
        self.finite = False
        self.collapsed: dict[int, list[int]] = {}
        self._places = [slice(start, end) for start, end in itertools.pairwise(edges)]
        self._narrowed = [_loses(item.dtype, self.dtype) for item in items]
        self._buffers: dict[int, np.ndarray] = {}
        self._suspects: list[set[int]] = []
        self._everywhere: list[list[np.ndarray]] = []

    def head(self, rows: int) -> np.ndarray:
        """The first rows ``[rows, k]``."""
        rows = min(rows, self.shape[0])
        parts = [item[:rows].reshape(rows, -1) for item in self.items]
        with np.errstate(over="ignore"):
            return np.concatenate(parts, 1).astype(self.dtype)

    def read(self) -> np.ndarray:
        """All rows."""
        result = np.empty(self.shape, self.dtype)
        for rows in self._blocks():
            self._read(rows, result[rows])
        self._count_collapsed()
        return result

    def read_kept(self, kept: np.ndarray) -> np.ndarray:
        """The rows marked by ``kept [N]`` bool."""
        return self._read_kept(kept, None)

    def read_kept_and_next(self, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows marked by ``kept [N]`` bool, and the row after each; undefined where the last row is kept."""
        following = np.empty((int(np.count_nonzero(kept)), self.shape[1]), self.dtype)
        return self._read_kept(kept, following), following

    def _read_kept(self, kept: np.ndarray, following: np.ndarray | None) -> np.ndarray:
        result = np.empty(self.shape, self.dtype)
        follows = np.concatenate([np.zeros(1, bool), kept[:-1]])
        at = at_following = 0
        for rows in self._blocks():
            # A block is read to where its first kept row belongs; the gaps of the others are closed there.
            values = result[at : at + rows.stop - rows.start]
            self._read(rows, values)
            if following is not None:
                at_following = pack(values, follows[rows], following, at_following)
            at = pack(values, kept[rows], result, at)
        self._count_collapsed()
        return result[:at]

    # ---- a block -------------------------------------------------------------------------------------------------

    def _blocks(self) -> Iterator[slice]:
        """Some megabytes of rows each, and whole chunks of a chunked file: none is unpacked twice."""
        self.finite = self.dtype in (np.float32, np.float64)
        self._suspects, self._everywhere = [set() for _ in self.items], [[] for _ in self.items]
        yield from self._slices()
        self._buffers = {}

    def _slices(self) -> list[slice]:
        n, width = self.shape
        chunk = max((item.chunks or (1,))[0] for item in self.items)
        size = int(-(-max(1, _BLOCK_BYTES // max(1, width * self.dtype.itemsize)) // chunk) * chunk)
        return [slice(start, min(start + size, n)) for start in range(0, n, size)]

    def _read(self, rows: slice, out: np.ndarray) -> None:
        """Read rows into ``out [rows, k]``, which is contiguous."""
        if not out.size:
            return
        for number, (item, place) in enumerate(zip(self.items, self._places, strict=True)):
            if len(self.items) == 1 and item.dtype.kind == self.dtype.kind and not self._narrowed[number]:
                item.read_direct(out.reshape(len(out), *item.shape[1:]), rows)
                continue
            part = self._part(number, rows)
            if self._narrowed[number]:
                self._probe(number, part, rows)
            with np.errstate(over="ignore"):  # infinite then, which from_arrays reports
                out[:, place] = part
        # NaN and infinity survive a sum. One that overflows proves nothing; from_arrays then looks at each number.
        self.finite = self.finite and bool(torch.from_numpy(out).sum().isfinite())

    def _part(self, number: int, rows: slice) -> np.ndarray:
        """Rows of one array ``[rows, k]`` as they are stored, until the next block is read."""
        item, size = self.items[number], rows.stop - rows.start
        if number not in self._buffers:
            self._buffers[number] = np.empty((size, *item.shape[1:]), item.dtype.newbyteorder("="))
        part = self._buffers[number][:size]
        if part.size:
            item.read_direct(part, rows)
        return part.reshape(size, -1)

    # ---- what narrowing loses ------------------------------------------------------------------------------------

    def _probe(self, number: int, part: np.ndarray, rows: slice) -> None:
        """Look at some rows for values that become equal: neighbours, and rows from everywhere."""
        few = min(len(part), 64 if rows.start else 512)
        spread = np.linspace(0, len(part) - 1, few).astype(np.int64)
        some = part[np.concatenate([np.arange(few), spread])]
        self._suspects[number] |= set(check.may_collapse(some, self.dtype).tolist())
        share = max(1, 1024 * len(part) // self.shape[0])
        self._everywhere[number].append(part[spread[:: max(1, len(spread) // share)]])

    def _count_collapsed(self) -> None:
        """Count them in the columns in which some were seen: each is read again, whole."""
        n, self.collapsed = self.shape[0], {}
        for number, place in enumerate(self._places):
            if not self._narrowed[number] or not self._everywhere[number]:
                continue
            seen = check.may_collapse(np.concatenate(self._everywhere[number]), self.dtype).tolist()
            columns = sorted(self._suspects[number] | set(seen))
            together = max(1, _SORTED // n)
            for some in (columns[first : first + together] for first in range(0, len(columns), together)):
                values = np.empty((len(some), n), self.items[number].dtype.newbyteorder("="))
                for rows in self._slices():
                    values[:, rows] = self._part(number, rows)[:, some].T
                for i, column in zip(some, values, strict=True):
                    if pair := check.count_collapsed(column, self.dtype):
                        self.collapsed[place.start + i] = pair
        self._buffers = {}


def _loses(stored: np.dtype[Any], dtype: np.dtype[Any]) -> bool:
    """Whether different numbers of one kind may be equal in the other."""
    if stored.kind in "iu" and dtype.kind == "f":
        return stored.itemsize >= dtype.itemsize
    return stored.kind == "f" and stored.itemsize > dtype.itemsize


def pack(source: np.ndarray, marked: np.ndarray, target: np.ndarray, at: int) -> int:
    """Copy the rows ``marked [N]`` bool of ``source`` to the rows ``at``, ... of ``target``; return where they end.

    Both are contiguous. They may share memory if no row moves down.
    """
    gaps = np.flatnonzero(~marked)
    end = at + len(marked) - len(gaps)
    if 32 * len(gaps) > len(marked):  # short runs: row by row
        rows = np.flatnonzero(marked)
        for part in check.row_blocks(len(rows), source[:1].size):
            target[at + part.start : at + part.stop] = source.take(rows[part], 0)
        return end
    width = max(1, source[:1].size)
    numbers, places = source.reshape(-1), target.reshape(-1)  # NumPy moves overlapping flat arrays without a copy
    here = (numbers.ctypes.data - places.ctypes.data) // (width * source.itemsize)  # row 0 of source, as one of target
    starts, ends = np.r_[0, gaps + 1], np.r_[gaps, len(marked)]
    to = at + starts - np.arange(len(starts))
    moves = np.flatnonzero((ends > starts) & (here + starts != to))
    edges = width * np.stack([to[moves], to[moves] + ends[moves] - starts[moves], starts[moves], ends[moves]])
    for begin, stop, first, last in edges.T.tolist():
        places[begin:stop] = numbers[first:last]
    return end
