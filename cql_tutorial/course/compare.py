"""Compare what a student's function returned with what was expected, and say how the two differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def copies(arguments: Sequence[Any]) -> tuple[Any, ...]:
    """Copy the tensors and arrays among the arguments, so that a call that changes them cannot affect the next."""
    return tuple(
        a.clone() if isinstance(a, torch.Tensor) else a.copy() if isinstance(a, np.ndarray) else a for a in arguments
    )


def same(left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Whether two lists of arguments hold the same numbers."""
    pairs = [(_array(a), _array(b)) for a, b in zip(left, right, strict=True)]
    return all(
        a is None or b is None or (a.shape == b.shape and np.array_equal(a, b, equal_nan=True)) for a, b in pairs
    )


def agree(found: Any, expected: Any, tolerance: float) -> bool:
    """Whether ``found`` is the expected number, array, word, or list of such; plain numbers and 0-d tensors agree."""
    if isinstance(expected, (tuple, list)):
        alike = isinstance(found, (tuple, list)) and len(found) == len(expected)
        return alike and all(agree(a, b, tolerance) for a, b in zip(found, expected, strict=True))
    if isinstance(expected, (str, bool)):
        return type(found) is type(expected) and found == expected
    a, b = _array(found), _array(expected)
    if a is None or b is None or a.shape != b.shape or isinstance(found, (str, bool)):
        return False
    return bool(np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True))


def describe(found: Any, expected: Any, tolerance: float = 1e-4) -> str:
    """Describe how an unrecognised wrong result differs from the right one: shape, sign, constant, factor, order."""
    if found is None:
        return "your function returns None: is the return missing?"
    if isinstance(expected, (tuple, list)) or isinstance(found, (tuple, list)):
        sizes = [len(x) if isinstance(x, (tuple, list)) else 1 for x in (found, expected)]
        if sizes[0] != sizes[1]:
            return f"your function returns {sizes[0]} value(s), {sizes[1]} were expected."
        if sizes[1] > 1 and agree(list(reversed(_list(found))), _list(expected), tolerance):
            return "the right values in the wrong order."
        for i, (a, b) in enumerate(zip(_list(found), _list(expected), strict=True)):
            if not agree(a, b, tolerance):
                return f"value {i + 1} of {sizes[0]}: {describe(a, b, tolerance)}"
    a, b = _array(found), _array(expected)
    if a is None or b is None:
        return f"expected {_kind(expected)}, your function returns {_kind(found)}."
    if a.shape != b.shape:
        note = " (its transpose?)" if a.shape == b.shape[::-1] and a.shape != b.shape else ""
        return f"the shape is {list(a.shape)}, expected {list(b.shape)}{note}: which axis is reduced, kept or joined?"
    if not np.isfinite(a).all() and np.isfinite(b).all():
        return (
            "there are values that are not finite (nan or inf): a log of 0, a division by 0, or exp of a large number?"
        )
    return _relation(a, b, tolerance)


def _relation(a: np.ndarray, b: np.ndarray, tolerance: float) -> str:
    """Say how two arrays of one shape differ: by sign, by a constant, by a factor, or in how many places."""
    if np.allclose(a, -b, atol=tolerance):
        return "right size, opposite sign."
    if np.allclose(a, 0.0, atol=tolerance):
        return "what you return is 0 throughout: is the result of your last step used?"
    difference = a - b
    if a.size > 1 and np.allclose(difference, difference.flat[0], atol=tolerance):
        return f"every entry is off by the same {difference.flat[0]:+.4g}: a constant is missing or too much."
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = a[b != 0] / b[b != 0]  # a factor maps 0 to 0, so it must leave the expected zeros alone
    factor = bool(len(ratios)) and bool((np.abs(a[b == 0]) <= tolerance).all()) and np.allclose(ratios, ratios[0])
    if factor and (a.size > 1 or _simple(ratios[0])):
        return f"every entry is {ratios[0]:.4g} times what it should be: a factor, or a mean against a sum?"
    if a.ndim == 1 and a.size > 1 and np.allclose(np.sort(a), np.sort(b), atol=tolerance):
        return "the right numbers in another order."
    wrong = int((~np.isclose(a, b, rtol=tolerance, atol=tolerance)).sum())
    if a.size == 1:
        return f"another number was expected: yours is {abs(float(difference.flat[0])):.4g} too {_side(difference)}."
    return f"{wrong} of {a.size} numbers differ{_which(a, b, tolerance)}."


def _side(difference: np.ndarray) -> str:
    return "large" if float(difference.flat[0]) > 0 else "small"


def _which(a: np.ndarray, b: np.ndarray, tolerance: float) -> str:
    """Name the rows of a table that are wrong, if only some are."""
    if a.ndim < 1 or a.shape[0] < 2:
        return ""
    bad = ~np.isclose(a, b, rtol=tolerance, atol=tolerance)
    rows = np.flatnonzero(bad.reshape(len(a), -1).any(1)).tolist()
    if len(rows) == len(a) or len(rows) > 5:
        return ""
    word = "row" if a.ndim > 1 else "place"
    return f", all in {word}{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows))} (counted from 0)"


def _simple(ratio: float) -> bool:
    return any(math.isclose(ratio * k, round(ratio * k), abs_tol=1e-6) for k in (1, 2, 3, 4))


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def _array(value: Any) -> np.ndarray | None:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if value is None or isinstance(value, (str, bytes)):  # numpy would read "1.75" as a number and None as nan
        return None
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return None
    return array


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def show(value: Any) -> str:
    """Write a value as short text: four digits, no dtype, no type name around it."""
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(map(show, value)) + ")"
    array = _array(value)
    if array is None or isinstance(value, (str, bool)):
        return f"the function {value.__name__}" if hasattr(value, "__name__") else repr(value)
    if array.ndim == 0:
        return f"{float(array):.4g}"
    kind = np.asarray(value).dtype.kind
    array = array.astype({"b": bool, "i": int, "u": int}.get(kind, float))
    if kind == "f":
        array = array + 0.0  # no "-0."
    text = np.array2string(array, precision=4, suppress_small=True, threshold=24, separator=", ")
    return " ".join(text.split())
