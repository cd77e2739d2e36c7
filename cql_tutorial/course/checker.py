"""Checks that name the mistake. The student passes the function itself; a check looks nothing up and sends nothing.

An exercise holds a few *examples* (inputs small enough to print), a *reference* answer, and *mutants*: named wrong
answers, each with its own message. A check calls the student's function on one example after another and stops at the
first whose result differs from the reference's. If a mutant gives the same wrong result, the student reads that
mutant's message; otherwise the check describes the difference. Calling a mutant therefore proves its message.
An exercise may also compare a loss's gradients: which inputs a loss moves is as much a part of it as its value.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .compare import agree, copies, describe, same, show

Function = Callable[..., Any]
PASSED, WRONG, CRASHED, NOT_ATTEMPTED = "passed", "wrong", "crashed", "not attempted"
KINDS = {
    "build": "write the function",
    "derive": "work out the numbers that only the right derivation gives",
    "diagnose": "say which mistake a run's curves or numbers show",
    "design": "choose, and be judged by what is measured",
    "read": "find the wrong line of a listing",
}
BLANK = "    raise NotImplementedError  # your line(s) here\n"


@dataclass(frozen=True)
class Mutant:
    """A wrong answer that people really give, the message that it must trigger, and where somebody saw it."""

    name: str
    function: Function
    message: str
    seen: str = ""


@dataclass(frozen=True)
class Example:
    """Arguments of one call, and what they are in words; a message prints the arguments if ``shown``."""

    arguments: tuple[Any, ...]
    about: str
    shown: bool = True


@dataclass(frozen=True)
class Exercise:
    """One exercise; ``kind`` is one of `KINDS`; difficulty and importance run from 1 to 5."""

    id: str
    title: str
    kind: str
    difficulty: int
    importance: int
    minutes: int
    reference: Function
    examples: tuple[Example, ...]
    mutants: tuple[Mutant, ...]
    hints: tuple[str, str, str]
    meaning: str  # what a right answer has shown: one sentence
    tolerance: float = 1e-4  # relative and absolute: right answers in float32 differ by their rounding
    gradients: tuple[str, ...] = ()  # arguments (tensors, modules of one) whose gradient is compared as well
    # Where many answers are right: called with the answer and the example's arguments, it returns None for a right one,
    # else what was measured and which bar it missed. The reference is then one right answer, and is not compared.
    judge: Callable[..., str | None] | None = None

    @property
    def header(self) -> str:
        """The line above an exercise in its notebook."""
        dots = "●" * self.difficulty + "○" * (5 - self.difficulty)
        weight = "●" * self.importance + "○" * (5 - self.importance)
        return (
            f"**{self.id} · {self.title}** · {self.kind} · difficulty {dots} · importance {weight} · {self.minutes} min"
        )

    @property
    def source(self) -> str:
        """The reference answer, as code, without the decorator that registers it."""
        whole = textwrap.dedent(inspect.getsource(self.reference))
        first = ast.parse(whole).body[0].lineno  # that of `def`: decorators stand above it
        return "".join(whole.splitlines(keepends=True)[first - 1 :])

    @property
    def stub(self) -> str:
        """What the notebook holds: the reference's signature and docstring, and a line to replace."""
        function = ast.parse(self.source).body[0]
        assert isinstance(function, ast.FunctionDef) and ast.get_docstring(function)
        return "".join(self.source.splitlines(keepends=True)[: function.body[0].end_lineno]) + BLANK


@dataclass(frozen=True)
class Result:
    """What a check found; its text is what the student reads."""

    exercise: Exercise
    status: str
    message: str = ""
    mutant: str = ""

    def __str__(self) -> str:
        head = f"{self.exercise.id} {self.status}"
        return f"{head}: {self.message}" if self.message else head


def check_answer(exercise: Exercise, function: Function) -> Result:
    """Call ``function`` on one example after another and stop at the first whose result is wrong."""
    if not callable(function):
        message = f"expected the function itself, found {show(function)}. Pass its name without brackets."
        return Result(exercise, CRASHED, message)
    for number, example in enumerate(exercise.examples):
        expected = _answer(exercise, exercise.reference, copies(example.arguments))
        arguments = copies(example.arguments)
        try:
            found = _answer(exercise, function, arguments)
        except NotImplementedError:
            return Result(exercise, NOT_ATTEMPTED, "replace the line that raises NotImplementedError by your own.")
        except Exception as error:
            return Result(exercise, CRASHED, _explain_crash(function, error, example))
        if not same(arguments, example.arguments):
            message = "your function changes its inputs in place; whoever calls it still needs them. Work on a copy, "
            return Result(exercise, WRONG, message + "for example q - x in place of q -= x.")
        if exercise.judge is not None:
            verdict = exercise.judge(found, *copies(example.arguments))
            if verdict is not None:
                return _explain_verdict(exercise, example, found, verdict)
        elif not agree(found, expected, exercise.tolerance):
            return _explain_wrong(exercise, number, found, expected)
    return Result(exercise, PASSED, exercise.meaning)


def _answer(exercise: Exercise, function: Function, arguments: tuple[Any, ...]) -> Any:
    """Call a function and return its value; with ``exercise.gradients`` a tuple of value and gradients of its sum."""
    if not exercise.gradients:
        return function(*arguments)
    names = list(inspect.signature(exercise.reference).parameters)
    leaves = [_leaf(arguments[names.index(name)]) for name in exercise.gradients]
    with torch.enable_grad():
        value = function(*arguments)
    if value is None or isinstance(value, (str, tuple, list)):
        return value
    total = torch.as_tensor(value).sum()
    found = torch.autograd.grad(total, leaves, allow_unused=True) if total.requires_grad else [None] * len(leaves)
    for leaf in leaves:
        leaf.requires_grad_(False)
    parts = zip(found, leaves, strict=True)
    return (torch.as_tensor(value).detach(), *(torch.zeros_like(x) if g is None else g for g, x in parts))


def _leaf(argument: Any) -> torch.Tensor:
    """What is differentiated: an argument that is a tensor, or the only parameter of one that is a module."""
    if isinstance(argument, torch.nn.Module):
        (argument,) = argument.parameters()
    return argument.requires_grad_()


def _explain_wrong(exercise: Exercise, number: int, found: Any, expected: Any) -> Result:
    example, earlier = exercise.examples[number], exercise.examples[:number]  # those before it were right
    call = f" ({example.about}): {_show_call(example)}" if example.shown else f": {example.about}"
    yours, wanted = _show_answer(exercise, found), _show_answer(exercise, expected)
    facts = f"\n  example{call}\n  yours:    {yours}\n  expected: {wanted}\n"
    near, traced = "", bool(exercise.gradients) and isinstance(found, tuple)
    wrong_value = traced and not agree(found[0], expected[0], exercise.tolerance)
    for mutant in exercise.mutants:
        try:
            theirs = _answer(exercise, mutant.function, copies(example.arguments))
        except Exception:  # a mutant that crashes here is not what the student wrote
            continue
        alike = agree(found, theirs, exercise.tolerance)
        if alike and all(_is_right(exercise, mutant.function, other) for other in earlier):
            return Result(exercise, WRONG, f"{mutant.message}{facts}  next: hint({exercise.id!r})", mutant.name)
        if wrong_value and not near and isinstance(theirs, tuple) and agree(found[0], theirs[0], exercise.tolerance):
            near = f"{mutant.message} The gradients differ as well: look at what is detached."
    said = near or _describe_difference(exercise, found, expected)
    if number:
        said = f"right on the first {number} example(s), not on this one: {said}"
    return Result(exercise, WRONG, f"{said}{facts}  next: hint({exercise.id!r})")


def _explain_verdict(exercise: Exercise, example: Example, found: Any, verdict: str) -> Result:
    """What a judge found, after the message of the mutant that gives the same answer, if one does."""
    name = said = ""
    for mutant in exercise.mutants:
        try:
            theirs = mutant.function(*copies(example.arguments))
        except Exception:  # a mutant that crashes here is not what the student wrote
            continue
        if agree(found, theirs, exercise.tolerance):
            name, said = mutant.name, f"{mutant.message} "
            break
    facts = f"\n  example: {_show_call(example)}\n  yours:    {show(found)}\n"
    return Result(exercise, WRONG, f"{said}{verdict}{facts}  next: hint({exercise.id!r})", name)


def _is_right(exercise: Exercise, function: Function, example: Example) -> bool:
    expected = _answer(exercise, exercise.reference, copies(example.arguments))
    return agree(_answer(exercise, function, copies(example.arguments)), expected, exercise.tolerance)


def _show_answer(exercise: Exercise, answer: Any) -> str:
    if not exercise.gradients or not isinstance(answer, tuple):
        return show(answer)
    parts = zip(exercise.gradients, answer[1:], strict=False)
    return "; ".join([show(answer[0]), *(f"gradient in {name} {show(part)}" for name, part in parts)])


def _describe_difference(exercise: Exercise, found: Any, expected: Any) -> str:
    """Describe how a result that no mutant gives differs; where the value is right, say which gradient is wrong."""
    if not exercise.gradients or not isinstance(found, tuple) or len(found) != len(expected):
        return describe(found, expected[0] if exercise.gradients else expected, exercise.tolerance)
    if not agree(found[0], expected[0], exercise.tolerance):
        return describe(found[0], expected[0], exercise.tolerance)
    for name, mine, wanted in zip(exercise.gradients, found[1:], expected[1:], strict=True):
        if not agree(mine, wanted, exercise.tolerance):
            if not wanted.any():
                return f"the value is right, but {name} is a constant here and your loss moves it: {name}.detach()."
            if not mine.any():
                return (
                    f"the value is right, but no gradient reaches {name}: is there a detach, item or no_grad too many?"
                )
            return f"the value is right, its gradient in {name} is not: {describe(mine, wanted, exercise.tolerance)}"
    raise AssertionError("an answer that agrees is not wrong")


def _explain_crash(function: Function, error: Exception, example: Example) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    home = getattr(getattr(function, "__code__", None), "co_filename", None)
    own = [frame for frame in frames if frame.filename == home]
    number = (own[-1].lineno or 0) - function.__code__.co_firstlineno + 1 if own else 0
    where = f" in line {number} of your function" if own else ""
    line = f": {own[-1].line}" if own and own[-1].line else ""
    if isinstance(error, TypeError) and not own:
        wanted = len(example.arguments)
        where = f" before its first line (it is called with {wanted} argument{'s' if wanted != 1 else ''})"
    mixed = any(isinstance(a, torch.Tensor) for a in example.arguments) and "numpy" in f"{error}{line}".lower()
    advice = "\n  the arguments are torch tensors: use torch's functions in place of numpy's" if mixed else ""
    return f"{type(error).__name__}{where}{line}\n  {error}{advice}\n  called with: {_show_call(example)}"


def _show_call(example: Example) -> str:
    return ", ".join(map(show, example.arguments)) if example.shown else example.about
