"""What a wrong result is instead of the right one, and which of its numbers are wrong, if one sentence can say it.

Everything here is tried on all examples at once, and is said only if it is true of each of them. A relation needs
numbers enough to be no accident: it must be met by at least three more numbers than it has free ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
ENOUGH = 3  # numbers that a relation must explain beyond those that it is free to choose
REDUCED: dict[str, Callable[..., Array]] = {
    "sum": np.sum,
    "mean": np.mean,
    "first": lambda x, axis: np.take(x, 0, axis),
    "last": lambda x, axis: np.take(x, -1, axis),
    "largest": np.max,
    "smallest": np.min,
}
CHANGED: dict[str, Callable[[Array], Array]] = {
    "one minus the right one": lambda x: 1 - x,
    "the square of the right one": np.square,
    "the square root of the right one": np.sqrt,
    "the exponential of the right one": np.exp,
    "the logarithm of the right one": np.log,
    "one over the right one": lambda x: 1 / x,
    "the right one without its sign": np.abs,
    "the right one, cut off below at 0": lambda x: np.maximum(x, 0),
    "the right one, cut off above at 0": lambda x: np.minimum(x, 0),
    "the right one, cut off above at 1": lambda x: np.minimum(x, 1),
    "the right one, rounded": np.round,
}


@dataclass(frozen=True)
class Case:
    """What a function returned to one example, what was expected, and the example's arguments that hold numbers."""

    found: Array
    expected: Array
    arguments: Mapping[str, Array]


def _close(a: Array, b: Array, tolerance: float) -> bool:
    if a.shape != b.shape:
        return False
    with np.errstate(all="ignore"):
        return bool(np.isfinite(a).all() and np.allclose(a, b, rtol=tolerance, atol=tolerance))


def _all(cases: Sequence[Case], tolerance: float, change: Callable[[Case], Array | None]) -> bool:
    """Whether ``change`` of each case gives what was found."""
    if not cases:
        return False
    with np.errstate(all="ignore"):
        made = [change(case) for case in cases]
    return all(x is not None and _close(case.found, x, tolerance) for case, x in zip(cases, made, strict=True))


# ---------------------------------------------------------------- another shape
def reshaped(cases: Sequence[Case], tolerance: float) -> str | None:
    """Why the shape is another: an axis that is not reduced, one too many, one that is missing, rows left out."""
    if not cases:
        return None
    if all(c.found.size == c.expected.size and c.found.size for c in cases) and all(
        _close(c.found.reshape(c.expected.shape), c.expected, tolerance) for c in cases
    ):
        return "the right numbers in another shape"
    deepest = max(max(c.found.ndim, c.expected.ndim) for c in cases)
    for axis in range(deepest):
        for word, reduce in REDUCED.items():
            if all(
                axis < c.found.ndim and c.found.shape[axis] and _close(reduce(c.found, axis), c.expected, tolerance)
                for c in cases
            ):
                return f"their {word} along axis {axis} would be right"
            if all(
                axis < c.expected.ndim and _close(reduce(c.expected, axis), c.found, tolerance) for c in cases
            ) and any(c.expected.shape[axis] > 1 for c in cases):
                return f"yours is the {word} of the right numbers along axis {axis}, and that axis is to be kept"
    for word in ("sum", "mean", "largest", "smallest"):
        if all(_close(np.asarray(REDUCED[word](c.found, None)), c.expected, tolerance) for c in cases if c.found.size):
            return f"their {word} would be right"
        if all(_close(np.asarray(REDUCED[word](c.expected, None)), c.found, tolerance) for c in cases):
            return f"yours is the {word} of the right numbers, and they are asked for one by one"
    for name in cases[0].arguments:
        for words, mask in _masks(cases, name):
            if all(
                m is not None and 0 < m.sum() < m.size and _close(c.found, c.expected[~m], tolerance)
                for c, m in zip(cases, mask, strict=True)
            ):
                return f"the places where {words} are missing"
    return None


# ---------------------------------------------------------------- what the numbers are instead
def instead(cases: Sequence[Case], tolerance: float) -> str | None:
    """What every number is, compared with the right one: a simple function of it, or it and an argument."""
    cases = [c for c in cases if c.found.shape == c.expected.shape]
    if not cases or sum(c.found.size for c in cases) < ENOUGH:
        return None
    if unnormalised := _sums(cases, tolerance):
        return unnormalised
    for words, change in CHANGED.items():
        if _all(cases, tolerance, lambda case, change=change: change(case.expected)):  # type: ignore[misc]
            return f"every number is {words}."
    return _with_argument(cases, tolerance) or _along_axes(cases, tolerance)


def returned(cases: Sequence[Case], tolerance: float) -> str | None:
    """An argument that is returned as it came in."""
    cases = [c for c in cases if c.found.shape == c.expected.shape]
    if sum(c.found.size for c in cases) < ENOUGH:
        return None
    for name in cases[0].arguments:
        if all((x := c.arguments.get(name)) is not None and _close(c.found, x.astype(float), tolerance) for c in cases):
            return f"what you return is `{name}`, as it came in."
    return None


def nearly(cases: Sequence[Case], tolerance: float) -> str | None:
    """Results that are close to the right ones without being right, whatever makes them so."""
    cases = [c for c in cases if c.found.shape == c.expected.shape and c.found.size]
    off = [float(np.abs(c.found - c.expected).max()) for c in cases]
    size = [float(np.abs(c.expected).max()) for c in cases]
    if not cases or not np.isfinite(off).all() or max(off) <= tolerance:
        return None
    if any(d > 0.01 * s for d, s in zip(off, size, strict=True)):
        return None
    why = "Something small is different: a constant, the order of two steps, a rounding, a sum that ends too early."
    share = max(d / s for d, s in zip(off, size, strict=True) if s)
    return f"close, but not right: off by at most {share:.2g} of the largest number. {why}"


def _sums(cases: Sequence[Case], tolerance: float) -> str | None:
    """Shares that do not sum to 1 though the right ones do."""
    if not all(c.expected.ndim and c.expected.shape[-1] > 1 and (c.expected >= -tolerance).all() for c in cases):
        return None
    if not all(np.allclose(c.expected.sum(-1), 1, atol=1e-6) for c in cases):
        return None
    sums = np.atleast_1d(cases[0].found.sum(-1)).ravel()
    if np.allclose(sums, 1, atol=1e-3):
        return None
    what = "each row should sum to 1" if cases[0].expected.ndim > 1 else "the numbers should sum to 1"
    return f"{what}; yours sum to {', '.join(f'{x:.4g}' for x in np.round(sums[:4], 6) + 0.0)}."


def _with_argument(cases: Sequence[Case], tolerance: float) -> str | None:
    """An argument returned, added, subtracted, multiplied or divided by."""
    relations: dict[str, Callable[[Array, Array], Array]] = {
        "every number is too large by `{}`.": lambda b, x: b + x,
        "every number is too small by `{}`.": lambda b, x: b - x,
        "every number is too large by twice `{}`: is its sign turned?": lambda b, x: b + 2 * x,
        "every number is too small by twice `{}`: is its sign turned?": lambda b, x: b - 2 * x,
        "every number is multiplied by `{}` once too often.": lambda b, x: b * x,
        "every number is divided by `{}` once too often.": lambda b, x: b / x,
    }
    for name in cases[0].arguments:
        fitted = [x for case in cases if (x := _fitted(case, name)) is not None]
        if len(fitted) < len(cases) or not any(np.abs(x).max(initial=0) > tolerance for x in fitted):
            continue
        for words, relation in relations.items():
            with np.errstate(all="ignore"):
                made = [relation(case.expected, x) for case, x in zip(cases, fitted, strict=True)]
            if all(_close(case.found, x, tolerance) for case, x in zip(cases, made, strict=True)):
                return words.format(name)
    return None


def _fitted(case: Case, name: str) -> Array | None:
    """The argument in the shape of the result: as it is, or one number for each row."""
    x, shape = case.arguments.get(name), case.expected.shape
    if x is None or x.dtype == bool or x.ndim > len(shape) or x.shape != shape[: x.ndim]:
        return None
    return np.broadcast_to(x.reshape(x.shape + (1,) * (len(shape) - x.ndim)), shape).astype(float)


def _along_axes(cases: Sequence[Case], tolerance: float) -> str | None:
    """Shifted or reversed along an axis, added up along it, or one amount or factor for each line of the table."""
    for axis in range(max(c.found.ndim for c in cases)):
        long = [c for c in cases if c.found.ndim > axis and c.found.shape[axis] > 1]
        if len(long) < len(cases):
            continue
        for words, change in (
            ("the right numbers, in reverse order along axis {}.", lambda x, k: np.flip(x, k)),
            ("the right numbers, one place too late along axis {}.", lambda x, k: np.roll(x, 1, k)),
            ("the right numbers, one place too early along axis {}.", lambda x, k: np.roll(x, -1, k)),
            ("the right numbers, added up along axis {} (a running sum).", lambda x, k: np.cumsum(x, k)),
        ):
            if _all(cases, tolerance, lambda case, f=change, k=axis: f(case.expected, k)):  # type: ignore[misc]
                return words.format(axis)
        free = sum(c.found.size - c.found.size // c.found.shape[axis] for c in cases)
        if free < ENOUGH or any(c.found.ndim < 2 for c in cases):
            continue
        if all(_constant(c.found - c.expected, axis, tolerance) for c in cases):
            return f"along axis {axis} all numbers are off by the same amount: right but for a constant of each line."
        with np.errstate(all="ignore"):
            ratios = [c.found / c.expected for c in cases]
        if all(np.isfinite(r).all() and (r > 0).all() and _constant(r, axis, tolerance) for r in ratios):
            return f"along axis {axis} all numbers are off by the same factor: is a normalisation along it missing?"
    return None


def _constant(x: Array, axis: int, tolerance: float) -> bool:
    return _close(x, np.broadcast_to(np.take(x, [0], axis), x.shape), tolerance)


def constant_by_example(
    cases: Sequence[Case], here: Array, tolerance: float, in_words: Callable[[float], str]
) -> str | None:
    """Off by one constant in each example, and not by the same in all; ``here`` are the differences of this one."""
    if len(cases) < 2 or any(c.found.shape != c.expected.shape or not c.found.size for c in cases):
        return None
    off = [c.found - c.expected for c in cases]
    free = sum(x.size - 1 for x in off)
    if free < 2 or here.size < 2 or not all(_close(x, np.full_like(x, x.flat[0]), tolerance) for x in off):
        return None
    if size := _log_of_size(cases, tolerance):
        return size
    constant = float(here.flat[0])
    return f"every number of this example is off by the same {constant:+.4g}{in_words(constant)}, of others by another."


def _log_of_size(cases: Sequence[Case], tolerance: float) -> str | None:
    """Off by the logarithm of how long an argument is along one of its axes: a log-mean against a log-sum."""
    off = [c.found - c.expected for c in cases]
    if not all(_close(x, np.full_like(x, x.flat[0]), tolerance) for x in off if x.size) or len(cases) < 2:
        return None
    constants = np.array([float(x.flat[0]) for x in off if x.size])
    for name in cases[0].arguments:
        shapes = [c.arguments[name].shape for c in cases if name in c.arguments]
        for axis in range(min(map(len, shapes), default=0)):
            logs = np.array([math.log(shape[axis]) for shape in shapes if shape[axis]])
            if logs.shape == constants.shape and logs.any():
                for sign, word in ((1, "large"), (-1, "small")):
                    if np.allclose(constants, sign * logs, atol=1e-5):
                        where = f"the log of how long {name} is along axis {axis}"
                        return f"every number is too {word} by {where}: a log of a sum against a log of a mean?"
    return None


# ---------------------------------------------------------------- which numbers are wrong
def where(cases: Sequence[Case], tolerance: float) -> str | None:
    """A condition on an argument, or on the right number, that tells the wrong numbers from the others."""
    cases = [c for c in cases if c.found.shape == c.expected.shape and c.found.ndim]
    with np.errstate(all="ignore"):
        wrong = [~np.isclose(c.found, c.expected, rtol=tolerance, atol=tolerance) for c in cases]
    bad, total = sum(int(w.sum()) for w in wrong), sum(w.size for w in wrong)
    if not bad or bad == total or total < 5:
        return None
    best: tuple[int, str] | None = None
    for words, masks in _conditions(cases):
        if any(m is None or m.shape != w.shape for m, w in zip(masks, wrong, strict=True)):
            continue
        size = sum(int(m.sum()) for m in masks if m is not None)
        covers = all(not (w & ~m).any() for m, w in zip(masks, wrong, strict=True) if m is not None)
        # That zeros are right where nothing else could stand is no news.
        kept = [(~m, c.expected) for c, m in zip(cases, masks, strict=True) if m is not None]
        left = sum(int((outside & (np.abs(expected) > 1e-9)).sum()) for outside, expected in kept)
        tells = size < total - 1 and bad >= 0.6 * size and left > 0
        if covers and tells and (best is None or size < best[0]):
            best = size, words
    return best and best[1]


Masks = list[Array | None]


def _conditions(cases: Sequence[Case]) -> Iterator[tuple[str, Masks]]:
    for name in cases[0].arguments:
        yield from _masks(cases, name)
    for name, number in cases[0].arguments.items():
        if number.ndim == 0 and float(number).is_integer():
            for axis in range(min(c.expected.ndim for c in cases)):
                yield f"the index along axis {axis} is below `{name}`", [_below(c, axis, name) for c in cases]
    for words, test in (
        ("the right number is negative", lambda x: x < 0),
        ("the right number is positive", lambda x: x > 0),
        ("the right number is 0", lambda x: np.abs(x) < 1e-9),
    ):
        yield words, [test(c.expected) for c in cases]
    for words, index in (("the first", 0), ("the last", -1)):
        for axis in range(min(c.expected.ndim for c in cases)):
            masks: Masks = []
            for c in cases:
                mask = np.zeros(c.expected.shape, dtype=bool)
                np.moveaxis(mask, axis, 0)[index] = True
                masks.append(mask)
            yield f"the index along axis {axis} is {words}", masks


def _below(case: Case, axis: int, name: str) -> Array | None:
    """Where the index along an axis is below an argument that is a number, if it is so somewhere and not everywhere."""
    number = case.arguments.get(name)
    if number is None or not 0 < number < case.expected.shape[axis]:
        return None
    mask = np.zeros(case.expected.shape, dtype=bool)
    np.moveaxis(mask, axis, 0)[: int(number)] = True
    return mask


def _masks(cases: Sequence[Case], name: str) -> Iterator[tuple[str, Masks]]:
    """Conditions on one argument, each as a mask in the shape of the result (None where it does not fit)."""
    values = [c.arguments.get(name) for c in cases]
    if any(x is None or not x.ndim for x in values):
        return
    arrays = [x for x in values if x is not None]
    if all(x.dtype == bool for x in arrays):
        tests = [(f"`{name}` is True", lambda x: x), (f"`{name}` is False", lambda x: ~x)]
    else:
        tests = [
            (f"`{name}` is 0", lambda x: x == 0),
            (f"`{name}` is positive", lambda x: x > 0),
            (f"`{name}` is negative", lambda x: x < 0),
        ]
    for words, test in tests:
        yield words, [_expanded(test(x), c.expected.shape) for x, c in zip(arrays, cases, strict=True)]
        if all(x.ndim == c.expected.ndim + 1 for x, c in zip(arrays, cases, strict=True)):
            line = words.replace(f"`{name}`", f"some number of `{name}`'s row")
            yield line, [_expanded(test(x).any(-1), c.expected.shape) for x, c in zip(arrays, cases, strict=True)]
            line = words.replace(f"`{name}`", f"every number of `{name}`'s row")
            yield line, [_expanded(test(x).all(-1), c.expected.shape) for x, c in zip(arrays, cases, strict=True)]
    if all(x.dtype.kind == "i" and x.ndim == 1 for x in arrays):
        named: Masks = []
        for x, c in zip(arrays, cases, strict=True):
            fits = c.expected.ndim and x.size < len(c.expected) and x.min(initial=0) >= 0
            mask = np.zeros(c.expected.shape, dtype=bool)
            if fits and x.max(initial=0) < len(c.expected):
                mask[x] = True
            named.append(mask if fits else None)
        yield f"`{name}` points to", named


def _expanded(mask: Array, shape: tuple[int, ...]) -> Array | None:
    """A mask over the leading axes of the result, repeated along the others."""
    if mask.ndim > len(shape) or mask.shape != shape[: mask.ndim]:
        return None
    return np.broadcast_to(mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)), shape)
