"""Whatever a student's function returns, a check says something about it, and raises nothing.

The odd values are those that are likely (``nan_to_num`` gives 1.8e308) and those that are not (a list that holds
itself); hypothesis puts them into lists, tuples and functions of their own, for every exercise of the course.
"""

from __future__ import annotations

import sys
from collections import UserList
from fractions import Fraction
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cql_tutorial.course import SESSION
from cql_tutorial.course.checker import check_answer

torch.set_num_threads(1)
pytestmark = pytest.mark.slow
EXERCISES = list(SESSION.exercises.values())


class Refuses:
    """An object that raises whatever one does with it."""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("leave me alone")

    __array__ = __eq__ = __len__ = __iter__ = __float__ = __bool__ = __repr__ = __getitem__ = _refuse  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class AlwaysEqual(str):
    """Text that says it is equal to everything, and has no truth value."""

    def __eq__(self, other: object) -> Any:
        return np.array([True, False])

    __hash__ = str.__hash__


class StrangeArray:
    """An object whose array is another strange object's."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array([self, "x", None], dtype=object)


def itself() -> list[Any]:
    ring: list[Any] = []
    ring += [ring, ring]
    return ring


def endless() -> Any:
    while True:
        yield 1.0


def deep() -> Any:
    nested: Any = 1.0
    for _ in range(5000):
        nested = [nested]
    return nested


def forever(*_: Any) -> Any:
    return forever()


ODD: dict[str, Any] = {
    "largest float": lambda: sys.float_info.max,
    "nan_to_num": lambda: torch.tensor([float("inf"), float("nan"), -float("inf")], dtype=torch.float64).nan_to_num(
        0.0
    ),
    "enormous int": lambda: 10**400,
    "endless digits": lambda: 10**5000,
    "not a number": lambda: float("nan"),
    "complex": lambda: 1 + 2j,
    "complex tensor": lambda: torch.ones(2, dtype=torch.complex64),
    "text": lambda: "1.75",
    "bytes": lambda: b"1.75",
    "odd text": lambda: AlwaysEqual("a"),
    "dict": lambda: {"a": 1},
    "set": lambda: {1, 2},
    "fraction": lambda: Fraction(1, 3),
    "range": lambda: range(3),
    "long range": lambda: range(10**12),
    "generator": endless,
    "function": lambda: print,
    "class": lambda: Refuses,
    "refuses": Refuses,
    "strange array": StrangeArray,
    "itself": itself,
    "deep": deep,
    "user list": lambda: UserList([1.0, 2.0]),
    "bool": lambda: True,
    "bools": lambda: torch.tensor([True, False]),
    "half": lambda: torch.ones(3, dtype=torch.bfloat16),
    "empty": lambda: torch.empty(0),
    "huge": lambda: torch.zeros(()).expand(10**9, 10**3),
    "huge with a gradient": lambda: torch.zeros((), requires_grad=True).expand(10**9, 10**3),
    "meta": lambda: torch.empty(3, device="meta"),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "csr": lambda: torch.eye(3).to_sparse_csr(),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "with a gradient": lambda: torch.ones(2, 3, requires_grad=True) * 2,
    "nested tensor": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "parameter": lambda: torch.nn.Parameter(torch.ones(3)),
    "module": lambda: torch.nn.Linear(1, 1),
    "max with indices": lambda: torch.ones(2, 3).max(1),
    "objects": lambda: np.array([1, "x", None], dtype=object),
    "dates": lambda: np.array(["2020-01-01"], dtype="datetime64[D]"),
    "words": lambda: np.array(["1.75", "2"]),
    "masked": lambda: np.ma.masked_array([1.0, 2.0], [True, False]),
    "numpy scalar": lambda: np.float32(1.75),
    "huge array": lambda: np.broadcast_to(np.zeros(()), (10**9, 10**3)),
    "series": lambda: pd.Series([1.0, 2.0]),
    "frame": lambda: pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}),
    "itself as an answer": lambda: NotImplemented,
    "dots": lambda: ...,
    "an exception": lambda: ValueError("returned, not raised"),
}
ONE = st.sampled_from(sorted(ODD)).map(lambda name: ODD[name]())
NUMBERS = st.one_of(st.floats(), st.integers(), st.booleans(), st.none(), st.text(max_size=3))
ANSWERS = st.recursive(ONE | NUMBERS, lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner), max_leaves=6)


@pytest.mark.parametrize("exercise", [e for e in EXERCISES if e.judge is None], ids=lambda e: e.id)
@pytest.mark.filterwarnings("ignore")
@given(value=ANSWERS)
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_return_value_stops_a_check(exercise: Any, value: Any) -> None:
    result = check_answer(exercise, lambda *_: value)
    assert result.status in ("wrong", "crashed", "passed") and len(str(result)) < 5000


@pytest.mark.parametrize("exercise", [e for e in EXERCISES if e.judge is not None], ids=lambda e: e.id)
@pytest.mark.filterwarnings("ignore")
@given(value=ANSWERS)
@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_choice_stops_a_judge(exercise: Any, value: Any) -> None:  # a judge may simulate, which takes its time
    result = check_answer(exercise, lambda *_: value)
    assert result.status in ("wrong", "crashed", "passed") and len(str(result)) < 5000


@pytest.mark.parametrize("exercise", EXERCISES[:: max(1, len(EXERCISES) // 12)], ids=lambda e: e.id)
@pytest.mark.parametrize("name", ODD)
@pytest.mark.filterwarnings("ignore")
def test_no_odd_value_passes_or_stops_a_check(exercise: Any, name: str) -> None:
    result = check_answer(exercise, lambda *_: ODD[name]())
    lucky = result.status == "passed" and exercise.judge is not None and isinstance(ODD[name](), Number)
    assert lucky or result.status in ("wrong", "crashed")  # one number for all cases may be a good choice
    assert len(str(result)) < 3000


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
@pytest.mark.filterwarnings("ignore")
def test_no_odd_deed_stops_a_check(exercise: Any) -> None:
    def empties(*arguments: Any) -> Any:
        for argument in arguments:
            if isinstance(argument, torch.Tensor):
                argument.resize_(0)
            elif isinstance(argument, (list, dict)):
                argument.clear()

    def stops(*_: Any) -> Any:
        raise SystemExit(3)

    def ends(*_: Any) -> Any:
        raise StopIteration

    for deed in (forever, empties, stops, ends):
        assert check_answer(exercise, deed).status in ("wrong", "crashed")
    assert check_answer(exercise, exercise.reference).status == "passed"  # nothing that was done here lasts
