"""Checks that name the mistake. A student's function is passed in; nothing is looked up by name or sent anywhere.

An exercise is a few *examples* (inputs small enough to be printed), a *reference* answer, and *mutants*: named wrong
answers with the message each deserves. A check calls the student's function on the examples, one after the other, and
stops at the first whose result is not the reference's. If the wrong result is a mutant's result, the message is that
mutant's; otherwise the difference itself is described. So every message is proven by calling its mutant.
"""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import ConfigError

Function = Callable[..., Any]
PASSED, WRONG, CRASHED, NOT_ATTEMPTED = "passed", "wrong", "crashed", "not attempted"


@dataclass(frozen=True)
class Mutant:
    """A wrong answer that people really give, the message it must trigger, and where it was seen."""

    name: str
    function: Function
    message: str
    seen: str = ""


@dataclass(frozen=True)
class Example:
    """Arguments of one call, and a word for what the example is about; ``shown`` ones are printed in messages."""

    arguments: tuple[Any, ...]
    about: str
    shown: bool = True


@dataclass(frozen=True)
class Exercise:
    """One exercise; ``kind`` is build, predict, fix or read; difficulty and importance run from 1 to 5."""

    id: str
    title: str
    kind: str
    difficulty: int
    importance: int
    minutes: int
    stub: str
    reference: Function
    examples: tuple[Example, ...]
    mutants: tuple[Mutant, ...]
    hints: tuple[str, str, str]
    meaning: str  # what a right answer has shown: one sentence
    tolerance: float = 1e-6

    @property
    def header(self) -> str:
        """The line above an exercise in its notebook."""
        dots = "●" * self.difficulty + "○" * (5 - self.difficulty)
        weight = "●" * self.importance + "○" * (5 - self.importance)
        return (
            f"**{self.id} · {self.title}** · {self.kind} · difficulty {dots} · importance {weight} · {self.minutes} min"
        )


@dataclass(frozen=True)
class Result:
    """What a check found; printing it tells the student."""

    exercise: Exercise
    status: str
    message: str = ""
    mutant: str = ""

    def __repr__(self) -> str:
        head = f"{self.exercise.id} {self.status}"
        return f"{head}: {self.message}" if self.message else head


@dataclass(frozen=True)
class Question:
    """A quiz question: choices with, for each, the reason why it is right or wrong; ``answer`` is the right letter."""

    text: str
    choices: dict[str, tuple[str, str]]
    answer: str


# ---------------------------------------------------------------- running a student's function
def judge(exercise: Exercise, function: Function) -> Result:
    """Call ``function`` on the exercise's examples and stop at the first that is not right."""
    if not callable(function):
        message = f"expected the function itself, found {_show(function)}. Pass its name without brackets."
        return Result(exercise, CRASHED, message)
    for number, example in enumerate(exercise.examples):
        expected = exercise.reference(*_copies(example.arguments))
        arguments = _copies(example.arguments)
        try:
            found = function(*arguments)
        except NotImplementedError:
            return Result(exercise, NOT_ATTEMPTED, "replace the line that raises NotImplementedError by your own.")
        except Exception as error:
            return Result(exercise, CRASHED, _crash(function, error, example))
        if not _same(arguments, example.arguments):
            message = "your function changes its inputs in place; whoever calls it still needs them. Work on a copy, "
            return Result(exercise, WRONG, message + "for example q - x in place of q -= x.")
        if not _agree(found, expected, exercise.tolerance):
            return _wrong(exercise, number, found, expected)
    return Result(exercise, PASSED, exercise.meaning)


def _wrong(exercise: Exercise, number: int, found: Any, expected: Any) -> Result:
    example, earlier = exercise.examples[number], exercise.examples[:number]  # the earlier ones were answered rightly
    shown = f"\n  example ({example.about}): {_call(example)}" if example.shown else f"\n  example: {example.about}"
    facts = f"{shown}\n  yours:    {_show(found)}\n  expected: {_show(expected)}\n"
    for mutant in exercise.mutants:
        try:
            theirs = mutant.function(*_copies(example.arguments))
        except Exception:  # a mutant that crashes here is not what the student wrote
            continue
        alike = _agree(found, theirs, exercise.tolerance)
        if alike and all(_right(exercise, mutant.function, other) for other in earlier):
            return Result(exercise, WRONG, f"{mutant.message}{facts}  next: hint({exercise.id!r})", mutant.name)
    return Result(exercise, WRONG, f"{_describe(found, expected)}{facts}  next: hint({exercise.id!r})")


def _right(exercise: Exercise, function: Function, example: Example) -> bool:
    expected = exercise.reference(*_copies(example.arguments))
    return _agree(function(*_copies(example.arguments)), expected, exercise.tolerance)


def _describe(found: Any, expected: Any) -> str:
    """What a result that nobody foresaw has in common with the right one."""
    if found is None:
        return "your function returns None: is the return missing?"
    if isinstance(expected, (tuple, list)) or isinstance(found, (tuple, list)):
        sizes = [len(x) if isinstance(x, (tuple, list)) else 1 for x in (found, expected)]
        if sizes[0] != sizes[1]:
            return f"your function returns {sizes[0]} value(s), {sizes[1]} were expected."
        for i, (a, b) in enumerate(zip(_list(found), _list(expected), strict=True)):
            if not _agree(a, b, 1e-6):
                return f"value {i + 1} of {sizes[0]}: {_describe(a, b)}"
    a, b = _array(found), _array(expected)
    if a is None or b is None:
        return f"expected {_kind(expected)}, your function returns {_kind(found)}."
    if a.shape != b.shape:
        note = " (its transpose?)" if a.shape == b.shape[::-1] and a.shape != b.shape else ""
        return f"the shape is {list(a.shape)}, expected {list(b.shape)}{note}: which axis is reduced, and which kept?"
    if not np.isfinite(a).all() and np.isfinite(b).all():
        return (
            "there are values that are not finite (nan or inf): a log of 0, a division by 0, or exp of a large number?"
        )
    if np.allclose(a, -b, atol=1e-6):
        return "right size, opposite sign."
    difference = a - b
    if a.size > 1 and np.allclose(difference, difference.flat[0], atol=1e-6):
        return f"every entry is off by the same {difference.flat[0]:+.4g}: a constant is missing or too much."
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = a / b
    if (
        np.isfinite(ratio).all()
        and np.allclose(ratio, ratio.flat[0], atol=1e-6)
        and (a.size > 1 or _simple(ratio.flat[0]))
    ):
        return f"every entry is {ratio.flat[0]:.4g} times what it should be: a factor, or a mean against a sum?"
    wrong = int((~np.isclose(a, b, atol=1e-6)).sum())
    return f"{wrong} of {a.size} numbers differ." if a.size > 1 else "another number was expected."


def _simple(ratio: float) -> bool:
    return any(math.isclose(ratio * k, round(ratio * k), abs_tol=1e-6) for k in (1, 2, 3, 4))


def _crash(function: Function, error: Exception, example: Example) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    home = getattr(getattr(function, "__code__", None), "co_filename", None)
    own = [frame for frame in frames if frame.filename == home]
    number = (own[-1].lineno or 0) - function.__code__.co_firstlineno + 1 if own else 0
    where = f" in line {number} of your function" if own else ""
    line = f": {own[-1].line}" if own and own[-1].line else ""
    if isinstance(error, TypeError) and not own:
        wanted = len(example.arguments)
        where = f" before its first line (it is called with {wanted} argument{'s' if wanted != 1 else ''})"
    return f"{type(error).__name__}{where}{line}\n  {error}\n  called with: {_call(example)}"


# ---------------------------------------------------------------- comparing and showing values
def _copies(arguments: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(
        a.clone() if isinstance(a, torch.Tensor) else a.copy() if isinstance(a, np.ndarray) else a for a in arguments
    )


def _same(left: Sequence[Any], right: Sequence[Any]) -> bool:
    pairs = [(_array(a), _array(b)) for a, b in zip(left, right, strict=True)]
    return all(
        a is None or b is None or (a.shape == b.shape and np.array_equal(a, b, equal_nan=True)) for a, b in pairs
    )


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def _array(value: Any) -> np.ndarray | None:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, (str, bytes)):  # numpy would read "1.75" as a number
        return None
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return None
    return array


def _agree(found: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, (tuple, list)):
        same = isinstance(found, (tuple, list)) and len(found) == len(expected)
        return same and all(_agree(a, b, tolerance) for a, b in zip(found, expected, strict=True))
    if isinstance(expected, (str, bool)):
        return type(found) is type(expected) and found == expected
    a, b = _array(found), _array(expected)
    if a is None or b is None or a.shape != b.shape or isinstance(found, (str, bool)):
        return False
    return bool(np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True))


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _show(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(map(_show, value)) + ")"
    array = _array(value)
    if array is None or isinstance(value, (str, bool)):
        return repr(value)
    if array.ndim == 0:
        return f"{float(array):.4g}"
    if np.issubdtype(np.asarray(value).dtype, np.integer):
        array = array.astype(int)
    text = np.array2string(array, precision=4, suppress_small=True, threshold=24, separator=", ")
    return " ".join(text.split())


def _call(example: Example) -> str:
    return ", ".join(map(_show, example.arguments)) if example.shown else example.about


# ---------------------------------------------------------------- the desk: what a notebook calls
class Desk:
    """The exercises and quizzes of the course, what this kernel's student has solved, and how many hints were taken."""

    def __init__(self, exercises: Sequence[Exercise], quizzes: dict[str, Question]) -> None:
        self.exercises = {exercise.id: exercise for exercise in exercises}
        self.quizzes = quizzes
        self.status: dict[str, str] = {}
        self.hints: dict[str, int] = {}

    def find(self, id: str) -> Exercise:
        """The exercise of that number; raises `ConfigError` that lists the chapter's."""
        if id not in self.exercises:
            known = [key for key in self.exercises if key.split(".")[0] == str(id).split(".")[0]] or list(
                self.exercises
            )
            raise ConfigError("exercise", repr(id), f"one of {known}", "write it as in the exercise's header, '04.2'.")
        return self.exercises[id]

    def check(self, id: str, function: Function) -> Result:
        """Say whether the function is right, and if not, which mistake it looks like."""
        result = judge(self.find(id), function)
        self.status[id] = result.status
        return result

    def hint(self, id: str) -> str:
        """The next of three hints: where to look, the formula in words, the line with one blank."""
        exercise = self.find(id)
        taken = min(self.hints.get(id, 0) + 1, len(exercise.hints))
        self.hints[id] = taken
        more = f" hint({id!r}) again for the next." if taken < len(exercise.hints) else f" solution({id!r}) is next."
        return Text(f"hint {taken} of {len(exercise.hints)} for {id}: {exercise.hints[taken - 1]}\n({more.strip()})")

    def solution(self, id: str) -> str:
        """The reference answer, as code."""
        exercise = self.find(id)
        self.status.setdefault(id, "looked up")
        return Text(inspect.cleandoc("\n" + inspect.getsource(exercise.reference)))

    def ensure(self, id: str, function: Function) -> Function:
        """Your function if it is right; otherwise the reference, under a banner that says so."""
        exercise = self.find(id)
        result = judge(exercise, function)
        self.status[id] = result.status
        if result.status == PASSED:
            print(f"{id}: going on with your own answer.")
            return function
        print(f"==== {id} is {result.status}: from here on the REFERENCE answer is used, not yours. ====")
        return exercise.reference

    def quiz(self, id: str, answer: str | None = None) -> str:
        """Ask a question; with a letter, say whether it is right and why."""
        question = self.quizzes.get(id)
        if question is None:
            raise ConfigError("quiz", repr(id), f"one of {list(self.quizzes)}", "write it as in the notebook.")
        if answer is None:
            lines = [f"quiz {id}: {question.text}", *(f"  {k}) {text}" for k, (text, _) in question.choices.items())]
            return Text("\n".join([*lines, f"answer with quiz({id!r}, 'a')"]))
        letter = str(answer).strip().lower().rstrip(")")
        if letter not in question.choices:
            raise ConfigError("answer", repr(answer), f"one of {list(question.choices)}", "answer with one letter.")
        verdict = "right" if letter == question.answer else "not quite"
        return Text(f"quiz {id}, {letter}: {verdict}. {question.choices[letter][1]}")

    def progress(self) -> str:
        """Which exercises of the chapters opened so far are solved, in this kernel."""
        opened = {key.split(".")[0] for key in self.status}
        lines = [
            f"{key}  {self.status.get(key, 'not opened'):<14} {exercise.title}"
            for key, exercise in self.exercises.items()
            if key.split(".")[0] in opened
        ]
        solved = sum(status == PASSED for status in self.status.values())
        return Text("\n".join([*lines, f"{solved} passed in this session."]))


class Text(str):
    """A string that shows itself without quotes at the end of a cell."""

    def __repr__(self) -> str:
        return str(self)
