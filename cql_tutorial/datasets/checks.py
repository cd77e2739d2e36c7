"""Check and describe offline data: refuse what cannot be used, with one clear message each; report the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, require, require_data


def row_blocks(n: int, width: int = 1) -> Iterator[slice]:
    """Cut 0..n into slices of about 2^18 numbers (at least one row): a pass over all rows then needs little memory."""
    rows = max(1, 2**18 // max(1, width))
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


def rows_differ(one: np.ndarray, other: np.ndarray, rows: Any = None, others: Any = None) -> np.ndarray:
    """Mark the rows ``[N]`` bool in which two arrays ``[N, ...]`` differ; or compare ``one[rows], other[others]``."""
    result = np.zeros(len(one) if rows is None else len(rows), bool)
    for part in row_blocks(len(result), one[:1].size):
        a, b = (one[part], other[part]) if rows is None else (one[rows[part]], other[others[part]])
        result[part] = (a != b).reshape(len(a), -1).any(1)
    return result


def jumps(obs: np.ndarray, nxt: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Mark the rows ``[N]`` bool within an episode whose next observation is not the following row's observation.

    A rounding is no jump: two numbers are the same here to 1e-5 of the largest in their column.
    """
    result = np.zeros(len(obs), bool)
    result[:-1] = rows_differ(nxt[:-1], obs[1:])
    result &= ~last
    rows = np.flatnonzero(result)
    if len(rows):
        with np.errstate(invalid="ignore"):
            scale = np.fmax(np.fmax.reduce(obs), -np.fmin.reduce(obs)) * 1e-5
            for part in row_blocks(len(rows), obs[:1].size):
                one, other = nxt[rows[part]], obs[rows[part] + 1]
                result[rows[part]] = (np.abs(one - other) > scale).any(1)  # a NaN is no jump, but a defect of its own
    return result


def collapsed(columns: np.ndarray, dtype: Any = np.float32) -> dict[int, list[int]]:
    """``column -> [distinct values that become equal in dtype, distinct values]``, for columns that lose many.

    A column ``[N]`` or ``[N, k]`` of float64 or whole numbers; `count_collapsed` says what many are. A sample is looked
    at before anything is sorted.
    """
    wide = columns.reshape(len(columns), -1) if columns.size else columns
    if not wide.size or wide.dtype.kind not in "fiu" or wide.dtype.itemsize <= np.dtype(dtype).itemsize == 8:
        return {}
    few = min(len(wide), 512)  # the first rows, and some from everywhere
    rows = np.concatenate([np.arange(few), np.linspace(0, len(wide) - 1, few).astype(np.int64)])
    counted = {int(i): count_collapsed(wide[:, i], dtype) for i in may_collapse(wide[rows], dtype)}
    return {i: pair for i, pair in counted.items() if pair}


def may_collapse(some: np.ndarray, dtype: Any) -> np.ndarray:
    """The columns in whose rows ``[n, k]`` two different values become equal in ``dtype``."""
    with np.errstate(over="ignore", invalid="ignore"):
        likely = np.flatnonzero((some.astype(dtype).astype(some.dtype) != some).any(0))
        if not len(likely):
            return likely
        ordered = np.sort(some.T[likely], 1)
        narrow = ordered.astype(dtype)
        meet = (ordered[:, 1:] != ordered[:, :-1]) & (narrow[:, 1:] == narrow[:, :-1]) & np.isfinite(narrow[:, 1:])
        return likely[meet.any(1)]


def count_collapsed(column: np.ndarray, dtype: Any) -> list[int] | None:
    """``[distinct values of a column [N] that become equal to another in dtype, distinct values]``; None for few.

    Among random values a few coincide by chance: many is ten times more than that, or a twentieth, and three at least.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.sort(column)
        small = values.astype(dtype)
        new = values[1:] != values[:-1]
        distinct = 1 + int(new.sum())
        lost = int((new & (small[1:] == small[:-1]) & np.isfinite(small[1:])).sum())
    return [lost, distinct] if lost > max(2, min(0.05 * distinct, 3e-7 * distinct**2)) else None


def row_keys(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Hash each row, ``[N]`` uint64: rows equal in all columns have equal hashes (0.0 and -0.0 are equal)."""
    n = len(columns[0])
    keys = np.zeros(n, np.uint64)
    for rows in row_blocks(n, sum(column[:1].size for column in columns)):
        key = keys[rows]
        for column in columns:
            for word in _words(column, rows).T:
                key = (key ^ (key >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15) + word
        keys[rows] = key
    return keys


def is_duplicate(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Mark the rows ``[N]`` bool that equal an earlier one in all columns, bit for bit but for the sign of 0.

    `np.unique` of the rows as void scalars would be ten lines shorter, but copies them twice: for 1,000,000 rows of
    111 + 8 float32 columns it takes 1.9 GB and 2.4 s where this takes 0.03 GB and 0.6 s.
    """
    keys = row_keys(columns)
    order = np.argsort(keys, kind="stable")  # stable: of rows with one key the earliest comes first
    same = keys[order[1:]] == keys[order[:-1]]
    later, before = order[1:][same], order[:-1][same]
    result = np.zeros(len(keys), bool)
    for part in row_blocks(len(later), sum(column[:1].size for column in columns)):
        # Rows that share a key by chance are compared. They could hide a repetition, once in 10^8 files of 10^6 rows.
        result[later[part]] = np.all(
            [(_words(x, later[part]) == _words(x, before[part])).all(1) for x in columns], axis=0
        )
    return result


def _words(column: np.ndarray, rows: Any) -> np.ndarray:
    part = column[rows]
    with np.errstate(invalid="ignore"):
        part = np.ascontiguousarray(part.reshape(len(part), -1) + column.dtype.type(0))  # -0.0 becomes 0.0
    return part.view(f"u{min(8, part.dtype.itemsize)}")


def numbers(name: str, value: Any, copy: bool = True) -> Tensor:
    """Make a tensor of any array of real numbers: floats in their own precision, int64 or bool; a copy if ``copy``."""
    tensor = None
    _refuse_other_kinds(name, value)
    if isinstance(value, Tensor):
        found, tensor = f"dtype {value.dtype}", value.detach().clone() if copy else value.detach()
    else:
        found = "rows of unequal length"
        with suppress(ValueError, TypeError):  # NumPy refuses ragged rows
            array = np.array(value, order="C") if copy else np.require(value, requirements=["C", "W"])
            found = f"dtype {array.dtype}"
        if found != "rows of unequal length":
            array = _plain_array(name, array)
            with suppress(TypeError):  # torch refuses objects and text
                tensor = torch.from_numpy(array)
    if tensor is None or tensor.is_complex():
        mend = _mend_of_kind(name, found.removeprefix("dtype "))
        raise DataError(name, found, "a rectangular array of numbers (float, integer or bool)", mend)
    return tensor if tensor.is_floating_point() or tensor.dtype == torch.bool else tensor.long()


def _mend_of_kind(name: str, dtype: str) -> str:
    """What to do about an array that is none of real numbers."""
    if "complex" in dtype:
        return f"put both parts side by side: np.stack([{name}.real, {name}.imag], -1)."
    if "datetime64" in dtype or "timedelta64" in dtype:
        return f"make seconds of them, from a near start: ({name} - {name}.min()) / np.timedelta64(1, 's')"
    if dtype.startswith(("<U", ">U", "=U", "|S", "StringDType")):
        return f"{name}.astype(np.float32) reads numbers written as text, {name} == 'true' flags; encode other words."
    if "(" in dtype or "[" in dtype:  # fields
        return f"numpy.lib.recfunctions.structured_to_unstructured({name}) makes columns of the fields."
    return f"pad or cut ragged rows; np.stack(list({name})).astype(np.float32) makes one array of many."


def _refuse_other_kinds(name: str, value: Any) -> None:
    """``DataError`` for masked values, missing values, dicts and sparse tensors: no array says what to put there."""
    mend = "drop those rows and mark the row before each gap as truncated, or fill them in by what you know."
    if isinstance(value, np.ma.MaskedArray):
        hidden = int(np.ma.getmaskarray(value).sum())
        require_data(not hidden, name, f"{hidden:,} masked values", "a value in each place", mend)
    if isinstance(value, Mapping):
        expected = "one array, a row for each transition"
        mend = (
            "join its parts: np.concatenate([d[key].reshape(n, -1) for key in sorted(d)], 1), in the same order always."
        )
        raise DataError(name, f"a dict with the keys {sorted(map(str, value))[:8]}", expected, mend)
    if isinstance(value, Tensor) and value.layout != torch.strided:
        raise DataError(name, f"a tensor of layout {value.layout}", "a dense one", f"pass {name}.to_dense().")
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise DataError(name, f"a sparse {type(value).__name__}", "a dense array", f"pass {name}.toarray().")
    if hasattr(value, "isna") and hasattr(value, "to_numpy"):  # a pandas Series, DataFrame or array
        absent = int(np.asarray(value.isna()).sum())
        require_data(not absent, name, f"{absent:,} missing values (NA)", "a value in each place", mend)


def _plain_array(name: str, array: np.ndarray) -> np.ndarray:
    """The array in this machine's byte order and in a kind that torch has; ``DataError`` for too large numbers."""
    if array.dtype.kind == "O":
        array = _without_objects(name, array)
    if array.dtype.kind == "u":
        expected = "whole numbers below 2^63"
        require_data(not array.size or array.max() < 2**63, name, f"{array.max()}", expected, "use floats.")
        return array.astype(np.int64)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return (
        array if array.dtype.isnative or array.dtype.kind not in "if" else array.astype(array.dtype.newbyteorder("="))
    )


def _without_objects(name: str, array: np.ndarray) -> np.ndarray:
    """An array of numbers made of Python objects (as pandas' mixed columns are); others raise as `numbers` says."""
    absent = sum(x is None or type(x).__name__ == "NAType" for x in array.flat)
    known = array.size and all(isinstance(x, (bool, int, float, np.number, np.bool_)) for x in array.flat)
    if absent and absent < array.size:
        mend = "drop those rows and mark the row before each gap as truncated, or fill them in by what you know."
        raise DataError(name, f"{absent:,} missing values (None or NA)", "a value in each place", mend)
    if array.size and all(isinstance(x, Mapping) for x in array.flat):
        mend = "flatten each by gymnasium.spaces.flatten(space, x), which keeps the order of its keys."
        raise DataError(name, "a dict in each row", "a row of numbers", mend)
    return array.astype(np.float64) if known else array


def plausible_choices(n_actions: int, rows: int) -> None:
    """``DataError`` if there are far more choices than rows could show: an identifier was taken for an action."""
    found = f"{n_actions:,} choices for {rows:,} rows"
    mend = "count choices from 0 (an identifier is no action: np.unique(..., return_inverse=True) numbers what occurs)."
    require_data(n_actions <= max(1000, 20 * rows), "n_actions", found, "choices that the log can tell apart", mend)


def collapsed_in(columns: Mapping[str, Any]) -> dict[str, list[int]]:
    """`collapsed` of what was given, before it is narrowed to float32: NumPy arrays and CPU tensors alone."""
    result: dict[str, list[int]] = {}
    for name, value in columns.items():
        known = isinstance(value, Tensor) and value.device.type == "cpu" and value.dtype != torch.bfloat16
        array = value.detach().numpy() if known else value
        if isinstance(array, np.ndarray) and array.ndim in (1, 2) and len(array):
            whole = array.dtype.kind in "iu"
            if array.dtype.kind in "fiu" and not (whole and name == "actions") and array.dtype.isnative:
                more = array.ndim > 1
                result |= {f"{name} {i}" if more else name: pair for i, pair in collapsed(array).items()}
    return result


def is_half(column: Any) -> bool:
    """Whether an array or tensor holds floats of 16 bits (IEEE's), of any byte order."""
    dtype = getattr(column, "dtype", None)
    return dtype == torch.float16 or (getattr(dtype, "kind", "") == "f" and getattr(dtype, "itemsize", 0) == 2)


def shape(name: str, tensor: Tensor, *sizes: int | str) -> Tensor:
    """Return a tensor of a shape such as ``"N", 3``, a letter for any size but 0; ``DataError`` for another shape."""
    if len(sizes) == 1 and tensor.ndim == 2 and tensor.shape[1] == 1:
        tensor = tensor[:, 0]  # one number a row, in a column
    if len(sizes) == 2 and tensor.ndim > 2:
        kind = "images" if tensor.ndim >= 4 or min(tensor.shape[1:]) > 16 else "matrices, or stacks of frames"
        expected = "shape [N, S]: one row of numbers for each transition, which is what these networks read"
        mend = f"encode images first; {name}.reshape(len({name}), -1) puts a small stack in one row."
        raise DataError(name, f"shape {tuple(tensor.shape)}: {kind}", expected, mend)
    fits = tensor.ndim == len(sizes) and all(
        have == want if isinstance(want, int) else have > 0 for have, want in zip(tensor.shape, sizes, strict=True)
    )
    found = f"shape {tuple(tensor.shape)}" + ("" if tensor.numel() else ", empty")
    expected = f"shape [{', '.join(map(str, sizes))}]: at least one transition, one row for each transition"
    reshape = f"{name}.reshape(len({name}), -1)" if len(sizes) == 2 else f"{name}.reshape(-1)"
    mend = f"look how it was read (an episode of T + 1 observations has T transitions), or use {reshape} if that fits."
    require_data(fits, name, found, expected, mend)
    return tensor


def raise_if_any(name: str, tensor: Tensor, wrong: Tensor, what: str, expected: str, mend: str) -> None:
    """Raise ``DataError`` if any entry is ``wrong``: it counts them and shows the first."""
    if wrong.any():
        first = tuple(wrong.nonzero()[0].tolist())
        found = f"{int(wrong.sum())} {what}, the first {tensor[first].item():g} in row {first[0]}"
        raise DataError(name, found, expected, mend)


@dataclass(frozen=True)
class Finite:
    """An array whose numbers a reader has found finite, each of them, in the dtype that it has."""

    array: Any


def floats(name: str, value: Any, dtype: torch.dtype, *sizes: int | str, copy: bool = True) -> Tensor:
    """Return finite floating-point numbers of a shape; ``DataError`` otherwise."""
    read = shape(name, numbers(name, value.array if isinstance(value, Finite) else value, copy), *sizes)
    tensor = read.to(dtype)
    if isinstance(value, Finite) and read.dtype == dtype:
        return tensor
    mend = "drop those rows (and mark the row before each gap as truncated), or repair the recording."
    expected = f"finite numbers (as {str(dtype).removeprefix('torch.')})"
    if not torch.isfinite(tensor.sum()):  # NaN and infinity survive a sum: good data need no array of flags
        beyond = torch.isfinite(read) & ~torch.isfinite(tensor)
        large = "pass dtype=torch.float64 if they are meant to be so large."
        raise_if_any(name, read, beyond, "values too large for it", expected, large)
        raise_if_any(name, tensor, ~torch.isfinite(tensor), "NaN or infinite values", expected, mend)
    return tensor


def flags(name: str, value: Any, n: int) -> Tensor:
    """Return flags ``[N]`` bool of bools, or of numbers that are 0 or 1; ``DataError`` otherwise."""
    tensor = shape(name, numbers(name, value), n)
    mend = f"a comparison makes flags of anything, such as {name} > 0.5."
    if tensor.dtype == torch.bool:
        return tensor
    wrong = (tensor != 0) & (tensor != 1)
    if wrong.any():
        kinds = tensor[: 2**20].unique()
        if kinds.isnan().any():
            mend = "drop the rows without a value, or say what they are."
        elif 1 < len(kinds) <= 8 and not {0, 1} <= set(kinds.tolist()):
            shown = ", ".join(f"{kind:g}" for kind in kinds.tolist())
            mend = f"it holds {shown}: compare with what says that it ended, {name} == {kinds.max().item():g}."
    raise_if_any(name, tensor, wrong, "values other than 0 and 1", "bool, or 0 and 1", mend)
    return tensor.bool()


def actions(value: Any, n_actions: int | None, n: int, dtype: torch.dtype, copy: bool = True) -> Tensor:
    """Return floats ``[N, A]``, or with ``n_actions`` int64 choices ``[N]``; ``DataError`` for the other kind."""
    known = isinstance(value, Finite)
    tensor = numbers("actions", value.array if isinstance(value, Finite) else value, copy)
    found = f"{tensor.dtype} values"
    mend = "pass n_actions= and actions.astype(np.int64) if they are choices, or else actions.astype(np.float32) alone."
    if n_actions is None:
        require_data(tensor.is_floating_point(), "actions", found, "floats, or whole numbers with n_actions", mend)
        return floats("actions", Finite(tensor) if known else tensor, dtype, n, "A", copy=False)
    expected = f"integers 0..{n_actions - 1}, as n_actions is given"
    if tensor.ndim == 2 and tensor.shape[1] > 1:
        hot = bool(((tensor == 0) | (tensor == 1)).all() and (tensor.sum(1) == 1).all())
        found = f"shape {tuple(tensor.shape)}: {tensor.shape[1]} choices at once"
        mend = "number the combinations: np.ravel_multi_index(actions.T, sizes), with n_actions=np.prod(sizes)."
        mend = "one 1 in each row is one choice: pass actions.argmax(1), with n_actions= their number." if hot else mend
        raise DataError("actions", found, "one choice a row, as n_actions is given", mend)
    tensor = tensor.long() if tensor.dtype == torch.bool else tensor
    if tensor.is_floating_point():
        broken = tensor != tensor.round()
        what, mend = (
            "numbers that are not whole",
            "leave n_actions= out if they are amounts; number the choices from 0.",
        )
        raise_if_any("actions", tensor, broken, what, expected, mend)
        tensor = tensor.long()
    mend = "count choices from 0, or pass the environment's action_space.n as n_actions=."
    tensor = shape("actions", tensor, n)
    raise_if_any("actions", tensor, (tensor < 0) | (tensor >= n_actions), "choices out of range", expected, mend)
    return tensor


def bounds(low: Any, high: Any, recorded: Tensor) -> tuple[Any, Any]:
    """Return each action bound as a float, or as a tuple where the dimensions differ; -1 and 1 if not given."""
    width = recorded.shape[1]
    given, pair = (-1.0 if low is None else low, 1.0 if high is None else high), []
    with suppress(TypeError, ValueError, RuntimeError):  # text, ragged lists, objects
        pair = [torch.as_tensor(bound, dtype=torch.float64, device="cpu") for bound in given]
    fits = len(pair) == 2 and all(bound.shape in ((), (width,)) and bound.isfinite().all() for bound in pair)
    found = " and ".join(str(bound.tolist()) for bound in pair) or f"{given[0]!r} and {given[1]!r}"
    expected = f"finite numbers, low < high, one or {width} of them"
    if fits and (pair[0] < pair[1]).all():
        lowest, highest = (float(b.min()) if b.min() == b.max() else tuple(b.tolist()) for b in pair)
        return lowest, highest
    ends = (recorded.amin(0), recorded.amax(0))
    seen = " and ".join(str([float(f"{x:.4g}") for x in bound.tolist()[:6]]) for bound in ends)
    mend = f"pass the range the actuators have (the log's own is {seen}); leave out an action that never moves."
    raise DataError("action_low, action_high", found, expected, mend)


def within_bounds(actions: Tensor, low: Any, high: Any, out_of_bounds: str) -> tuple[Tensor, Tensor]:
    """Return (actions, rows that were clipped); ``DataError`` for values outside unless ``out_of_bounds="clip"``."""
    known = isinstance(out_of_bounds, str) and out_of_bounds in ("error", "clip")
    require(known, "out_of_bounds", out_of_bounds, '"error" or "clip"', "choose one.")
    # Bounds in the actions' dtype: 0.1 in float32 is above 0.1, and must not count as outside.
    exact = (torch.as_tensor(bound, dtype=torch.float64, device="cpu") for bound in (low, high))
    lowest, highest = (bound.to(actions.dtype).to(actions.device) for bound in exact)
    margin = 1e-6 * (highest - lowest)  # two roundings of the same bound differ by less
    one = lowest.ndim == highest.ndim == 0  # one bound for all dimensions is usual, and faster
    least, most = actions.aminmax() if one else (actions.amin(0), actions.amax(0))
    if not (torch.maximum(lowest - least, most - highest) > margin).any():
        return actions, torch.zeros(len(actions), dtype=torch.bool, device=actions.device)
    outside = torch.maximum(lowest - actions, actions - highest) > margin
    if out_of_bounds == "error":
        mend = 'pass the environment\'s action_low= and action_high=, or out_of_bounds="clip" to clip and count them.'
        raise_if_any("actions", actions, outside, "values out of bounds", f"values in {low}..{high}", mend)
    return torch.where(outside, actions.clamp(lowest, highest), actions), outside.any(1)


def starts(given: Any, ends: Tensor) -> Tensor:
    """Return the first row of each episode: 0 and the row after each end; given ones must include these."""
    ends = ends.cpu()
    needed = torch.from_numpy(np.r_[0, np.flatnonzero(ends[:-1].numpy()) + 1])  # torch's nonzero takes 20 times longer
    if given is None:
        return needed
    found, last = numbers("episode_starts", given).cpu(), len(ends) - 1
    rises = found.ndim == 1 and found.dtype == torch.int64 and (found.diff() > 0).all()
    fits = rises and torch.isin(needed, found).all() and found[0] == 0 and found[-1] <= last
    expected = f"row numbers that rise from 0 to at most {last}, one of them after each termination or truncation"
    mend = "np.cumsum of the episode lengths, without the last and with a 0 in front; or leave episode_starts out."
    require_data(fits, "episode_starts", f"{found.flatten()[:6].tolist()}...", expected, mend)
    return found


def next_observations_of(observations: Tensor, first_rows: Tensor, terminations: Tensor) -> Tensor:
    """Take next observations from the following rows; ``DataError`` where an episode ends without a termination."""
    last = torch.cat([first_rows[1:], first_rows.new_tensor([len(observations)])]) - 1
    missing = last[~terminations.cpu()[last]]
    if len(missing):
        found = f"none given, and {len(missing)} episodes end without a termination (first at row {int(missing[0])})"
        expected = "the observation after the last step of each such episode, from which the value is bootstrapped"
        mend = "pass next_observations=, or drop those last rows and mark the rows before them as truncated."
        raise DataError("next_observations", found, expected, mend)
    result = observations.roll(-1, 0)
    result[last] = observations[last]
    return result


class Description(dict[str, Any]):
    """Facts about a data set: a dict that prints as a table."""

    def __str__(self) -> str:
        return "\n".join(f"{name.replace('_', ' '):<22} {_text(value)}" for name, value in self.items())

    __repr__ = __str__


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list) and any(isinstance(item, str) for item in value):
        return "".join(f"\n- {item}" for item in value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value[:8])) + (", ...]" if len(value) > 8 else "]")
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _spread(tensor: Tensor) -> dict[str, Any]:
    return {"min": tensor.min().item(), "mean": tensor.cpu().double().mean().item(), "max": tensor.max().item()}


def _ranges(tensor: Tensor) -> dict[str, Any]:
    array = tensor.detach().cpu().numpy()
    return {"min": array.min(0).tolist(), "max": array.max(0).tolist()}


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else [(one or "(no name)", None) for one in value]


def describe(data: Any, last_rows: Tensor, jumps: Tensor) -> Description:
    """See `OfflineDataset.describe`."""
    n, followed = len(data), len(data) - len(last_rows)
    facts = Description(id=data.id, transitions=n, episodes=len(data.episode_starts))
    facts["episode_lengths"] = _spread(data.episode_lengths())
    facts["episode_returns"] = _spread(data.episode_returns())
    facts["rewards"] = _spread(data.rewards)
    facts["observations"] = _ranges(data.observations)
    if data.discrete:
        facts["action_shares"] = (torch.bincount(data.actions, minlength=data.n_actions).cpu().double() / n).tolist()
    else:
        facts["actions"] = _ranges(data.actions)
        facts["action_bounds"] = {"low": data.action_low, "high": data.action_high}
        low, high = (torch.as_tensor(bound).to(data.actions) for bound in (data.action_low, data.action_high))
        margin = 1e-3 * (high - low)
        at_bounds = (data.actions <= low + margin) | (data.actions >= high - margin)
        facts["actions_at_bounds"] = at_bounds.cpu().double().mean().item()  # share within 0.1 % of the range
        facts["clipped_rows"] = int(data.clipped.sum())
    ended = data.terminations | data.truncations
    facts["terminations"] = int(data.terminations.sum())
    facts["truncations"] = int((data.truncations & ~data.terminations).sum())
    facts["unfinished_episodes"] = int((~ended[last_rows]).sum())
    facts["jump_share"] = int(jumps.sum()) / followed if followed else 0.0
    pairs = [column.detach().cpu().numpy() for column in (data.observations, data.actions)]
    facts["duplicate_share"] = int(is_duplicate(pairs).sum()) / n
    if "format" in data.metadata:  # what was assumed in reading it
        facts["read"] = {name: data.metadata.get(name) for name in ("format", "timeouts", "next_observations")}
        facts["read"] = {name: value for name, value in facts["read"].items() if value}
    if isinstance(time := data.metadata.get("time"), Mapping) and time.get("of"):
        facts["time"] = {name: time.get(name) for name in ("usual_step", "largest_step", "cut")}
        facts["time"] = {name.replace("_", " "): value for name, value in facts["time"].items()}
    for name in ("unused", "observation_keys", "mended"):
        if data.metadata.get(name):
            facts[name] = ", ".join(
                f"{key} ({value})" if isinstance(value, int) else str(key) for key, value in _pairs(data.metadata[name])
            )
    facts["dtype"], facts["device"] = str(data.dtype).removeprefix("torch."), str(data.device)
    stored = (data.observations, data.actions, data.rewards, data.next_observations)
    facts["megabytes"] = (sum(column.nbytes for column in stored) + 3 * n) / 1e6
    return facts
