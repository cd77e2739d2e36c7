"""Compare what a student's function returned with what was expected, and say how the two differ.

A student may return anything. Nothing here raises: what cannot be read as numbers is described by its type.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from . import patterns

LIMIT = 1_000_000  # an answer of more numbers than this is described by its shape, and not read
SHOWN = 24  # of a longer table, a message prints the corners
CONSTANTS = {"log 2": math.log(2), "the root of 2": math.sqrt(2), "pi": math.pi, "e": math.e}
ENOUGH = patterns.ENOUGH
Pairs = Sequence[tuple[Any, Any]]  # (found, expected), one of each example


def copies(arguments: Sequence[Any]) -> tuple[Any, ...]:
    """Copy tensors, arrays and what holds them, so that a call that changes them cannot affect the next."""
    return tuple(map(_copy, arguments))


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in (list, tuple):
        return type(value)(map(_copy, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: _copy(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
        return dataclasses.replace(value, **parts)
    return {key: _copy(part) for key, part in value.items()} if type(value) is dict else value


def changed(left: Sequence[Any], right: Sequence[Any]) -> list[int]:
    """The places at which two lists of arguments hold other numbers, dictionaries and lists among them."""
    return [place for place, (a, b) in enumerate(zip(left, right, strict=True)) if _changed(a, b)]


def _changed(a: Any, b: Any) -> bool:
    if type(a) is dict and type(b) is dict:
        return a.keys() != b.keys() or any(_changed(a[key], b[key]) for key in a)
    if dataclasses.is_dataclass(a) and type(a) is type(b) and not isinstance(a, type):
        return any(_changed(getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(a))
    x, y = _array(a), _array(b)
    if x is not None and y is not None:
        return not (x.shape == y.shape and np.array_equal(x, y, equal_nan=True))
    if type(a) in (list, tuple) and type(b) in (list, tuple):
        return len(a) != len(b) or any(_changed(one, other) for one, other in zip(a, b, strict=True) if one is not a)
    return type(a) is str and type(b) is str and a != b


def agree(found: Any, expected: Any, tolerance: float) -> bool:
    """Whether ``found`` holds the expected numbers or words, whatever its type; `form` looks at the type."""
    if isinstance(expected, (tuple, list)):
        alike = isinstance(found, (tuple, list)) and len(found) == len(expected)
        try:
            return alike and all(agree(a, b, tolerance) for a, b in zip(found, expected, strict=True))
        except RecursionError:  # two answers of one student are compared too, and one may hold itself
            return False
    if isinstance(expected, Mapping):
        alike = isinstance(found, Mapping) and set(found) == set(expected)
        return alike and all(agree(found[name], expected[name], tolerance) for name in expected)
    if callable(expected):  # such as a policy that is handed in
        return bool(found == expected)
    if isinstance(expected, (str, bool)):
        return type(expected) in (str, bool) and type(found) is type(expected) and bool(found == expected)
    a, b = _array(found), _array(expected)
    if a is None or b is None or a.shape != b.shape or isinstance(found, bool):
        return False
    return _close(a, b, tolerance, relative=tolerance)


def unpacked(found: Any, expected: Any) -> Any:
    """A row of numbers, a tensor or an array, as a tuple of them if ``expected`` is a tuple of so many numbers."""
    if not isinstance(expected, (tuple, list)) or not isinstance(found, (torch.Tensor, np.ndarray)):
        return found
    single = all(type(x) in (int, float) or (isinstance(x, torch.Tensor) and not x.ndim) for x in expected)
    return tuple(found) if single and list(found.shape) == [len(expected)] else found


def same_shape(found: Any, expected: Any) -> bool:
    """Whether ``found`` holds finite numbers in the shape of ``expected``."""
    a, b = _array(found), _array(expected)
    return a is not None and b is not None and a.shape == b.shape and bool(np.isfinite(a).all())


def truths(value: Any) -> bool:
    """Whether a value is True or False, or an array of such."""
    return isinstance(value, bool) or getattr(value, "dtype", None) in (torch.bool, np.dtype(bool))


def form(found: Any, expected: Any, single: bool = False) -> str | None:
    """What is wrong with the *type* of a result whose numbers are right, or None; only tensors are asked for.

    ``single`` takes float32 for float64.
    """
    if isinstance(expected, (tuple, list)):
        return next((said for a, b in zip(found, expected, strict=True) if (said := form(a, b, single))), None)
    if not isinstance(expected, torch.Tensor):
        return None
    if not isinstance(found, torch.Tensor):
        return f"right numbers, but {_kind(found)}: return a torch tensor, which later cells go on computing with."
    if found.layout != torch.strided or found.is_quantized:
        return "right numbers, but a sparse or quantised tensor: return a plain one (.to_dense(), .dequantize())."
    wanted, given = expected.dtype, found.dtype
    if wanted.is_floating_point and given.is_floating_point:
        if given.itemsize >= (4 if single else wanted.itemsize):
            return None
        return f"right to {_name(given)}'s precision only. {_keep(wanted)}"
    if _family(given) == _family(wanted):
        return None
    return f"right numbers, but of dtype {_name(given)}: return {_name(wanted)}, which later cells go on with."


def _keep(wanted: torch.dtype) -> str:
    said = f"Keep {_name(wanted)} throughout: later cells compare digits. For example "
    said += f"torch.zeros(..., dtype=torch.{_name(wanted)})"
    if wanted != torch.float64:
        return f"{said}."
    return f"{said}, or .double() before a division: whole numbers divided, and torch.tensor([0.5]), are float32."


def _family(dtype: torch.dtype) -> str:
    return "bool" if dtype == torch.bool else "float" if dtype.is_floating_point else "integer"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# ---------------------------------------------------------------- how a wrong result differs
@np.errstate(all="ignore")  # an answer may be infinite, and infinity less infinity is no news to a student
def describe(
    found: Any,
    expected: Any,
    tolerance: float = 1e-4,
    pairs: Pairs = (),
    secret: bool = False,
    as_if: Callable[[], str | None] = lambda: None,
    arguments: Sequence[Mapping[str, Any]] = (),
    unused: Callable[[], str] = lambda: "",
) -> str:
    """Describe how an unrecognised wrong result differs from the right one: shape, sign, constant, factor, order.

    ``pairs`` holds (found, expected) of every example, ``arguments`` its arguments by name: a relation is told only if
    it is that of all of them. ``secret`` keeps the expected numbers, of an exercise whose answer they are. ``as_if``
    gives a clause that says what the student probably did, ``unused`` a sentence on an argument that is not used.
    """
    if found is None:
        return "your function returns None: is the return missing?"
    if isinstance(found, tuple) and hasattr(found, "values") and hasattr(found, "indices"):
        return "your function returns two tensors, values and indices, as max(dim) does. Take one of them: .values."
    if isinstance(expected, (tuple, list)) or isinstance(found, tuple):
        mine, wanted = _list(found), _list(expected)
        if len(mine) == 1 and not isinstance(expected, (tuple, list)):
            return "your function returns a tuple of one value (a comma at the end?): return the value itself."
        if len(mine) != len(wanted):
            note = ", separated by commas" if len(mine) < len(wanted) else ""
            return f"your function returns {len(mine)} value(s), {len(wanted)} were expected{note}."
        if len(wanted) > 1 and not secret and agree(mine[::-1], wanted, tolerance):
            return "the right values in the wrong order."
    if isinstance(expected, (tuple, list)):
        for i, (a, b) in enumerate(zip(mine, wanted, strict=True)):
            if not agree(a, b, tolerance):
                parts = [(_part(x, i), _part(y, i)) for x, y in pairs]
                right = len(mine) == 2 and not secret and agree(mine[1 - i], wanted[1 - i], tolerance)
                said = describe(a, b, tolerance, parts, secret, as_if, arguments, unused)
                return f"value {i + 1} of {len(mine)}{' (the other is right)' if right else ''}: {said}"
    a, b = _array(found), _array(expected)
    if b is None or (a is None and _shape(found) is None):
        return "another answer was expected." if type(found) is type(expected) else _kinds(found, expected)
    shape = list(a.shape) if a is not None else _shape(found)
    if shape != list(b.shape):
        note = " (its transpose?)" if shape == list(b.shape)[::-1] and len(shape) > 1 else ""
        why = None if secret else patterns.reshaped(_cases(pairs, arguments), tolerance)
        why = f"{why}." if why else "which axis is reduced, kept or joined?"
        return f"the shape is {shape}, expected {list(b.shape)}{note}: {why}"
    if a is None:
        return f"{_kinds(found, expected)[:-1]}, of real numbers."
    if not np.isfinite(a).all() and np.isfinite(b).all():
        said = "there are values that are not finite (nan or inf): a log or a root of what is not positive, a division "
        said += "by 0, or exp of a large number"
        return f"{said}?{'' if secret else _beside(a, b, tolerance)}"
    wrong = int((~np.isclose(a, b, rtol=tolerance, atol=tolerance)).sum())
    if _largest_float(a) and not _largest_float(b):
        return (
            "there is the largest number that a float can hold, which nan_to_num puts in the place of an infinity: "
            "where does that come from, a log of 0, a division by 0, an exp of a large number?"
        )
    if secret:
        return "another answer was expected." if a.size == 1 else f"{wrong} of {a.size} numbers are not right."
    if np.abs(a).max(initial=0) > 1e6 * (1 + np.abs(b).max(initial=0)):
        return "your numbers are far too large: does a loop run away (values that grow with each round), or an exp?"
    if came_in := patterns.returned(_cases(pairs, arguments), tolerance):
        return came_in
    near = patterns.nearly(_cases(pairs, arguments), tolerance)
    if near:
        if getattr(found, "dtype", None) == torch.float32 and getattr(expected, "dtype", None) != torch.float32:
            near += " What you return is float32, which keeps seven digits, and fewer of 1 - p where p is small: is it "
            near += "that? torch.tensor(0.1) is float32 unless told dtype=torch.float64."
        clause = as_if()
        return f"it is what comes out if {clause}." if clause else near
    # A relation needs numbers enough to be no accident: three of one example, or two of two examples.
    joined = _joined(pairs)
    relation = _relation(*joined, tolerance, least=2) if joined[0].size else _relation(a, b, tolerance, least=3)
    relation = relation or patterns.constant_by_example(_cases(pairs, arguments), a - b, tolerance, _as_log)
    if not relation and joined[0].size:
        alone = _relation(a, b, tolerance, least=3) or ""
        relation = alone.replace("number", "number of this example", 1) if " times " in alone else None
    if relation:
        return relation
    apart = float(np.abs(a - b).max(initial=0)) > 100 * tolerance
    if a.ndim == 1 and a.size > 1 and apart and _close(np.sort(a), np.sort(b), tolerance):
        return "the right numbers in another order."
    clause, cases = as_if(), _cases(pairs, arguments)
    if clause and not clause.startswith("one part"):
        return f"it is what comes out if {clause}."
    said = patterns.instead(cases, tolerance) or ""
    if clause and not said:
        return f"it is what comes out if {clause}."
    if not said and a.size == 1:
        difference = float((a - b).flat[0])
        side = "large" if difference > 0 else "small"
        said = f"another number was expected: yours is {abs(difference):.4g} too {side}."
    elif not said:
        place = patterns.where(cases, tolerance)
        which = f", all where {place}" if place else _which(a, b, tolerance)
        said = f"{wrong} of {a.size} numbers differ{which}.{_first(a, b, tolerance)}"
    return f"{said} {unused()}".strip()


def _cases(pairs: Pairs, arguments: Sequence[Mapping[str, Any]]) -> list[patterns.Case]:
    """The examples as arrays, without those whose answer is not finite; none at all if one cannot be read."""
    cases = []
    for (found, expected), by_name in zip(pairs, arguments, strict=False):
        a, b = _array(found), _array(expected)
        if a is None or b is None:
            return []
        if not _finite_enough(a, b):
            continue
        read = {name: _typed(value) for name, value in by_name.items()}
        cases.append(patterns.Case(a, b, {name: x for name, x in read.items() if x is not None}))
    return cases


def _finite_enough(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether nothing is infinite, or not a number, where a finite number was expected."""
    if a.shape != b.shape:
        return bool(np.isfinite(a).all() or not np.isfinite(b).all())
    return bool((np.isfinite(a) | ~np.isfinite(b)).all())


def agree_where_finite(found: Any, other: Any, expected: Any, tolerance: float) -> int | None:
    """How many wrong numbers ``found`` and ``other`` share, wherever ``found`` is finite; None if they differ there."""
    if isinstance(expected, (tuple, list)):
        if not (isinstance(found, (tuple, list)) and isinstance(other, (tuple, list))):
            return None
        if not len(found) == len(other) == len(expected):
            return None
        parts = [agree_where_finite(*each, tolerance) for each in zip(found, other, expected, strict=True)]
        return None if None in parts else sum(part or 0 for part in parts)
    a, b, c = _array(found), _array(other), _array(expected)
    if a is None or b is None or c is None or not a.shape == b.shape == c.shape:
        return None
    seen = np.isfinite(a)
    if not np.isclose(a[seen], b[seen], rtol=tolerance, atol=tolerance).all():
        return None
    return int((~np.isclose(a[seen], c[seen], rtol=tolerance, atol=tolerance)).sum())


def finite(found: Any, expected: Any) -> bool:
    """Whether an answer holds no nan and no infinity where a finite number was expected."""
    if isinstance(expected, (tuple, list)) and isinstance(found, (tuple, list)) and len(found) == len(expected):
        return all(finite(a, b) for a, b in zip(found, expected, strict=True))
    a, b = _array(found), _array(expected)
    return a is None or b is None or _finite_enough(a, b)


def first_wrong(found: Any, expected: Any, tolerance: float) -> tuple[int, int, Any, Any] | None:
    """The first line with a wrong number: its place, how many there are, what was found there and expected."""
    if isinstance(expected, (tuple, list)):
        if not isinstance(found, (tuple, list)) or len(found) != len(expected):
            return None
        parts = (first_wrong(a, b, tolerance) for a, b in zip(found, expected, strict=True))
        return next((part for part in parts if part is not None), None)
    a, b = _array(found), _array(expected)
    if a is None or b is None or a.shape != b.shape or not a.ndim:
        return None
    bad = ~np.isclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
    if not bad.any():
        return None
    place = int(np.argwhere(bad)[0, 0])
    return place, len(a), a[place], b[place]


def whole(number: float) -> bool:
    """Whether a number has nothing behind the point."""
    return float(number).is_integer()


def all_numbers(value: Any) -> list[float]:
    """All finite numbers of an answer, whatever holds them."""
    if isinstance(value, (tuple, list)):
        return [x for part in value for x in all_numbers(part)]
    array = _array(value)
    return [] if array is None else array[np.isfinite(array)].ravel().tolist()


def wrong_numbers(found: Any, expected: Any, tolerance: float) -> int:
    """How many numbers of an answer are wrong; all of them where its shape is another."""
    if isinstance(expected, (tuple, list)):
        if not isinstance(found, (tuple, list)) or len(found) != len(expected):
            return len(all_numbers(found))
        return sum(wrong_numbers(a, b, tolerance) for a, b in zip(found, expected, strict=True))
    a, b = _array(found), _array(expected)
    if a is None or b is None or a.shape != b.shape:
        return len(all_numbers(found))
    return int((~np.isclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)).sum())


def _typed(value: Any) -> np.ndarray | None:
    """An argument as an array that is still of flags, or of whole numbers, if it was."""
    array = _array(value)
    if array is None or isinstance(value, bool):
        return None
    kind = _family(value.dtype) if isinstance(value, torch.Tensor) else "float"
    return array.astype({"bool": bool, "integer": int}.get(kind, float))


def _largest_float(a: np.ndarray) -> bool:
    """Whether the largest number of float64 or of float32 stands in an array."""
    largest = [np.finfo(kind).max for kind in (np.float64, np.float32)]
    return any(bool(np.isclose(np.abs(a), float(each), rtol=1e-6, atol=0).any()) for each in largest)


def _beside(a: np.ndarray, b: np.ndarray, tolerance: float) -> str:
    """Whether the finite numbers beside the others are right, and where those are."""
    finite = np.isfinite(a)
    if a.ndim == 0 or not finite.any():
        return ""
    places = ", ".join(_place(place) for place in np.argwhere(~finite)[:3])
    right = np.isclose(a[finite], b[finite], rtol=tolerance, atol=tolerance)
    others = "the other numbers are right" if right.all() else "other numbers are wrong as well"
    return f" The first of them stand at {places} (counted from 0); {others}."


def _first(a: np.ndarray, b: np.ndarray, tolerance: float) -> str:
    """The first wrong number, where a table is too long to be printed whole."""
    if a.size <= SHOWN:
        return ""
    place = np.argwhere(~np.isclose(a, b, rtol=tolerance, atol=tolerance))[0]
    mine, wanted = float(a[tuple(place)]), float(b[tuple(place)])
    digits = next((n for n in (4, 7, 10) if f"{mine:.{n}g}" != f"{wanted:.{n}g}"), 13)
    return (
        f" The first stands at {_place(place)} (counted from 0): yours {mine:.{digits}g}, expected {wanted:.{digits}g}."
    )


def _place(place: np.ndarray) -> str:
    return str(place.tolist()) if place.size > 1 else str(int(place[0]))


def _relation(a: np.ndarray, b: np.ndarray, tolerance: float, least: int) -> str | None:
    """The sign, constant or factor between two arrays, if there is a simple one and numbers enough to show it."""
    if _close(a, -b, tolerance) and a.size:
        return "right size, opposite sign."
    if _close(a, np.zeros_like(a), tolerance) and a.size >= least:
        return "what you return is 0 throughout: is the result of your last step used?"
    if a.size < least or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    constant = float((a - b).flat[0])
    simple = abs(constant - round(constant)) < tolerance or _as_log(constant)  # two numbers differ alike by accident
    if (a.size >= ENOUGH or simple) and _close(a - b, np.full_like(a, constant), tolerance):
        return f"every number is off by the same {constant:+.4g}{_as_log(constant)}: a constant is missing or too much."
    there = np.abs(b) > tolerance  # a factor maps 0 to 0, so it must leave the expected zeros alone
    if there.sum() < least or (np.abs(a[~there]) > tolerance).any():
        return None
    ratios = a[there] / b[there]
    name = simple_factor(float(ratios[0]))
    if name is None or not np.allclose(ratios, ratios[0], rtol=tolerance):
        return None
    why = "a factor, or a mean against a sum?" if ratios[0] > 0 else "a factor, and its sign?"
    return f"every number is {name} times what it should be: {why}"


def _as_log(constant: float) -> str:
    """The small fraction whose logarithm the constant is, in brackets: a log-mean for a log-sum leaves such a one."""
    number = Fraction(math.exp(min(abs(constant), 6.0))).limit_denominator(10)
    near = number > 1 and math.isclose(abs(constant), math.log(number), rel_tol=1e-5)
    return f" ({'minus ' if constant < 0 else ''}the log of {number})" if near else ""


def common_ratio(found: Any, expected: Any) -> float | None:
    """By how much every number of ``found`` is larger than ``expected``; None if the ratios differ."""
    a, b = _array(found), _array(expected)
    if a is None or b is None or a.shape != b.shape or not (there := np.abs(b) > 1e-9).any():
        return None
    with np.errstate(all="ignore"):  # infinity over infinity is no ratio
        ratio = float(a[there][0] / b[there][0])
        return ratio if _close(a, ratio * b, 1e-6) else None


def simple_factor(ratio: float) -> str | None:
    """The ratio in words if it is a small whole number, one over one, a small fraction, or a named constant."""
    if not math.isfinite(ratio) or abs(ratio) < 1e-3:
        return None
    for largest in (10, 100):
        near = Fraction(abs(ratio)).limit_denominator(largest)
        small = max(near.numerator, near.denominator) <= largest and (largest == 10 or 1 in near.as_integer_ratio())
        if small and math.isclose(abs(ratio), near, rel_tol=1e-5):
            return f"{'-' if ratio < 0 else ''}{near}"
    known = {**CONSTANTS, **{f"1 / {name}": 1 / value for name, value in CONSTANTS.items()}}
    return next((name for name, value in known.items() if math.isclose(ratio, value, rel_tol=1e-5)), None)


def _joined(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """All numbers of the examples in two rows, of those examples where found and expected have one shape."""
    arrays = [(_array(x), _array(y)) for x, y in pairs]
    alike = [
        (x.ravel(), y.ravel())
        for x, y in arrays
        if x is not None and y is not None and x.shape == y.shape and _finite_enough(x, y)
    ]
    if len(alike) < 2:
        return np.zeros(0), np.zeros(0)
    return np.concatenate([x for x, _ in alike]), np.concatenate([y for _, y in alike])


def _part(value: Any, index: int) -> Any:
    values = _list(value)
    return values[index] if index < len(values) else None


def _which(a: np.ndarray, b: np.ndarray, tolerance: float) -> str:
    """Name the rows of a table that are wrong, if only some are."""
    if a.ndim < 1 or a.shape[0] < 2:
        return ""
    bad = ~np.isclose(a, b, rtol=tolerance, atol=tolerance)
    rows = np.flatnonzero(bad.reshape(len(a), -1).any(1)).tolist()
    word = "row" if a.ndim > 1 else "place"
    if len(rows) == len(a) and a.ndim > 1:
        rows, word = np.flatnonzero(bad.reshape(-1, a.shape[-1]).any(0)).tolist(), "column"
        if len(rows) == a.shape[-1]:
            return ""
    if len(rows) == len(a) or len(rows) > 5:
        return ""
    return f", all in {word}{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows))} (counted from 0)"


# ---------------------------------------------------------------- reading and showing anything
def _close(a: np.ndarray, b: np.ndarray, tolerance: float, relative: float = 1e-5) -> bool:
    with np.errstate(all="ignore"):
        return bool(np.allclose(a, b, rtol=min(relative, tolerance), atol=tolerance, equal_nan=True))


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def _array(value: Any) -> np.ndarray | None:
    """The value as an array of floats; None where it holds no real numbers, or too many."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return _read(value)
    except Exception:  # whatever an odd object does when it is read: it is no array of numbers
        return None


def _read(value: Any) -> np.ndarray | None:
    if value is None or isinstance(value, (str, bytes)):  # numpy would read "1.75" as a number and None as nan
        return None
    if isinstance(value, torch.Tensor):
        if value.numel() > LIMIT or value.is_complex():
            return None
        value = value.detach().cpu()
        dense = value.dequantize() if value.is_quantized else value.to_dense()
        return dense.to(torch.float64).numpy()
    if isinstance(value, (tuple, list)):
        parts: list[np.ndarray] = []
        for item in value if len(value) <= LIMIT else ():
            part = _array(item)
            if part is None:  # at once: a list may hold itself
                return None
            parts.append(part)
        return np.stack(parts) if parts else np.zeros(0)
    array = np.asarray(value)
    return array.astype(float) if array.size <= LIMIT and array.dtype.kind in "biufO" else None


def _shape(value: Any) -> list[int] | None:
    try:
        return list(value.shape) if isinstance(value, torch.Tensor) else None
    except RuntimeError:  # a nested tensor has none
        return None


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    name = "NumPy array" if isinstance(value, np.ndarray) else type(value).__name__
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _kinds(found: Any, expected: Any) -> str:
    if isinstance(expected, torch.Tensor) and isinstance(found, torch.Tensor):
        return f"expected a tensor of {_name(expected.dtype)}, your function returns one of {_name(found.dtype)}."
    return f"expected {_kind(expected)}, your function returns {_kind(found)}."


def show(value: Any, depth: int = 4) -> str:
    """Write a value as short text: four digits, no dtype, no type name around it."""
    try:
        return _show(value, depth)
    except Exception:  # an object may refuse to be written
        return f"a {type(value).__name__}"


def _show(value: Any, depth: int) -> str:
    if isinstance(value, (tuple, list)) and len(value) <= 24:
        return (
            "(" + ", ".join(show(part, depth - 1) for part in value) + ")" if depth else "(...)"
        )  # it may hold itself
    array = None if isinstance(value, (str, bool)) else _array(value)
    if array is None:
        return _short(f"the function {value.__name__}" if hasattr(value, "__name__") else _text(value))
    flags = truths(value)
    if array.ndim == 0:
        return str(bool(array)) if flags else f"{float(array):.4g}"
    kind = "f" if not isinstance(value, torch.Tensor) else {"bool": "b", "integer": "i"}.get(_family(value.dtype), "f")
    if isinstance(value, np.ndarray):
        kind = value.dtype.kind
    array = array.astype({"b": bool, "i": int, "u": int}.get(kind, float))
    if kind == "f":
        array = array + 0.0  # no "-0."
    text = np.array2string(array, precision=4, suppress_small=True, threshold=SHOWN, separator=", ")
    return " ".join(text.split())


def _text(value: Any) -> str:
    return f"a tensor of shape {_shape(value)}" if isinstance(value, torch.Tensor) else repr(value)


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."
