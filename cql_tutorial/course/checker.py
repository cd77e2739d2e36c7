"""Checks that name the mistake. The student passes the function itself; a check looks nothing up and sends nothing.

An exercise holds a few *examples* (inputs small enough to print), a *reference* answer, and *mutants*: named wrong
answers, each with its own message. A check calls the student's function on one example after another and stops at the
first whose result differs from the reference's. If a mutant gives the student's results on *every* example, the student
reads that mutant's message: agreement in one small example may be an accident. Otherwise the check describes the
difference. An exercise may also compare a loss's gradients: which inputs a loss moves is as much a part of it as its
value. Right numbers of another type are sent back where the reference returns a tensor: later cells compute with it.
"""

from __future__ import annotations

import ast
import functools
import inspect
import io
import math
import re
import textwrap
import time
import tokenize
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch

from .compare import (
    LIMIT,
    agree,
    agree_where_finite,
    all_numbers,
    changed,
    common_ratio,
    copies,
    describe,
    finite,
    first_wrong,
    form,
    same_shape,
    show,
    truths,
    unpacked,
    whole,
)

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
    plain: str = ""  # why a list or a plain number will do where the reference returns a tensor; "" if it will not
    single: str = ""  # why float32 will do where the reference returns float64: whole numbers divided are such
    # Where many answers are right: called with the answer and the example's arguments, it returns None for a right one,
    # else what was measured and which bar it missed. The reference is then one right answer, and is not compared.
    judge: Callable[..., str | None] | None = None
    # Numbers on the way to the right answer, by their names; shown with an example where no mistake is recognised.
    steps: Callable[..., Mapping[str, Any]] | None = None
    # Where the examples are a ladder, each adding one part to the one before: called with the exercise, the number of
    # the first wrong example, and all answers, found and expected, it says what is wrong in an answer that no mutant
    # gives; "" where it cannot.
    ladder: Ladder | None = None
    # What comes of a number that is not the right one, if it is put into the condition that defines it: called with the
    # answer, of the right shape and finite, and the example's arguments; told where no mistake is recognised.
    tried: Callable[..., str] | None = None
    # Where the answer is itself a test: called with it and its wrong verdict, says what else it passes; "" if no news.
    probe: Callable[[Function, Any], str] | None = None
    sizes: str = ""  # what to say where an answer stops because sizes do not fit, beside the shapes of the arguments
    # How an assignment draws other arguments for an example, where `assignments.redraw` would make invalid ones: called
    # with NumPy's generator, the example's number (from 0) and the example.
    redraw: Callable[..., tuple[Any, ...]] | None = None

    @property
    def secret(self) -> bool:
        """Whether the expected result is itself the answer, so that no message may print it."""
        return self.kind in ("diagnose", "read") or (self.kind == "derive" and not self.examples[0].arguments)

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


Ladder = Callable[[Exercise, int, Sequence["Answer | None"], Sequence["Answer | None"]], str]


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


@dataclass(frozen=True)
class Answer:
    """What a function returned, and the gradients that its exercise asks for."""

    value: Any
    gradients: tuple[torch.Tensor, ...] = ()

    def agrees(self, other: Answer, tolerance: float) -> bool:
        """Whether both hold the same numbers, whatever their type."""
        return agree(self.value, other.value, tolerance) and agree(self.gradients, other.gradients, tolerance)


def check_answer(exercise: Exercise, function: Function, exercises: Mapping[str, Exercise] | None = None) -> Result:
    """Call ``function`` on one example after another and stop at the first whose result is wrong.

    ``exercises`` are those that an unsolved helper could belong to; its message then names the helper's.
    """
    if not callable(function):
        message = f"expected the function itself, found {show(function)}. Pass its name without brackets."
        return Result(exercise, CRASHED, message)
    said: str | None = None
    for number, example in enumerate(exercise.examples):
        expected = recalled(exercise, exercise.reference, example)
        assert expected is not None
        arguments = copies(example.arguments)
        try:
            found = answer(exercise, function, arguments)
        except (Exception, SystemExit) as error:
            return _explain_error(exercise, function, error, example, exercises or {})
        if touched := changed(arguments, example.arguments):
            return Result(exercise, WRONG, _explain_change(exercise, touched, found, expected))
        if exercise.judge is not None:
            verdict = _judge(exercise, found.value, arguments)
            if verdict is not None:
                return _explain_verdict(exercise, function, example, found, verdict)
        elif not found.agrees(expected, exercise.tolerance):
            return _explain_wrong(exercise, function, number, found)
        elif not exercise.plain:
            said = said or form(found.value, expected.value, bool(exercise.single))
    if said:  # only now: numbers that are right on a single example may be right by accident
        return Result(exercise, WRONG, f"{said}\n  next: hint({exercise.id!r})")
    return Result(exercise, PASSED, exercise.meaning)


def answer(exercise: Exercise, function: Function, arguments: tuple[Any, ...]) -> Answer:
    """Call a function; with ``exercise.gradients`` differentiate what it returns, each entry weighed by its place."""
    if not exercise.gradients:
        return Answer(_unpacked(exercise, function, function(*arguments)))
    names = list(inspect.signature(exercise.reference).parameters)
    places = [names.index(name) for name in exercise.gradients]
    leaves, traced = {}, {}
    for place in places:
        if isinstance(arguments[place], torch.nn.Module):  # its only parameter is what is differentiated
            traced[place] = deepcopy(arguments[place])
            (leaves[place],) = traced[place].parameters()
        else:
            leaves[place] = arguments[place].detach().clone().requires_grad_()
    with torch.enable_grad():
        # A copy of each leaf, so that a change in place is seen in the arguments and is no error of torch's.
        traced |= {place: leaf.clone() for place, leaf in leaves.items() if place not in traced}
        value = function(*(traced.get(place, argument) for place, argument in enumerate(arguments)))
        with torch.no_grad():
            for place, copy in traced.items():
                if isinstance(copy, torch.Tensor):
                    arguments[place].copy_(copy.reshape(arguments[place].shape))
        parts = [part for part in (value if isinstance(value, (tuple, list)) else [value]) if _differentiable(part)]
        # Weights that differ, or the gradient of a softmax's sum, which is 0, would say nothing.
        total = sum((part * torch.linspace(1, 2, part.numel()).view_as(part)).sum() for part in parts)
    wanted = list(leaves.values())
    found = torch.autograd.grad(total, wanted, allow_unused=True) if parts else [None] * len(wanted)
    gradients = tuple(torch.zeros_like(x) if g is None else g for g, x in zip(found, wanted, strict=True))
    return Answer(value, gradients)


def _unpacked(exercise: Exercise, function: Function, value: Any) -> Any:
    """A row of numbers as that many single ones, where the reference returns such: it unpacks as they do."""
    if function is exercise.reference or isinstance(value, (tuple, list)):
        return value
    expected = recalled(exercise, exercise.reference, exercise.examples[0])
    return value if expected is None else unpacked(value, expected.value)


def _differentiable(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad and 0 < value.numel() <= LIMIT


def _judge(exercise: Exercise, value: Any, given: Sequence[Any]) -> str | None:
    """What the judge says of an answer to these arguments: those of the call, which may remember what was done."""
    assert exercise.judge is not None
    try:  # without any arguments there is no entry to be asked for
        if given and isinstance(value, dict) and not any(isinstance(each, dict) for each in given):
            return "your function returns a whole dictionary: return the one entry that is asked for."
        return exercise.judge(value, *given)
    except Exception as error:  # a judge measures what it is given; what cannot be measured is not right
        return f"what your function returns cannot be judged: {type(error).__name__}, {error}"


# ---------------------------------------------------------------- what a wrong answer is told
def outcome(exercise: Exercise, function: Function, example: Example) -> Answer | None:
    """What a function answers to an example, without printing anything; None where it stops with an error."""
    try:
        with redirect_stdout(io.StringIO()):
            return answer(exercise, function, copies(example.arguments))
    except (Exception, SystemExit):
        return None


RECALLED: dict[Function, list[tuple[Example, Answer | None]]] = {}


def recalled(exercise: Exercise, function: Function, example: Example) -> Answer | None:
    """`outcome` of a reference or a mutant, which is computed once: they never change."""
    known = RECALLED.setdefault(function, [])
    for other, given in known:
        if other is example:
            return given
    known.append((example, outcome(exercise, function, example)))
    return known[-1][1]


def alike(left: Sequence[Answer | None], right: Sequence[Answer | None], tolerance: float) -> bool:
    """Whether two functions answer all examples alike, errors included."""
    pairs = zip(left, right, strict=True)
    return all((a is None and b is None) or bool(a and b and a.agrees(b, tolerance)) for a, b in pairs)


def _explain_wrong(exercise: Exercise, function: Function, number: int, found: Answer) -> Result:
    began = time.monotonic()
    mine = [outcome(exercise, function, example) for example in exercise.examples]
    quick = time.monotonic() - began < 1  # a slow answer is called no oftener than need be
    again, mine[number] = mine[number], found  # what was seen, should the function answer at random
    right = [recalled(exercise, exercise.reference, example) for example in exercise.examples]
    random = again is not None and _differ(again.value, found.value, exercise.tolerance)
    telling = _telling(mine, right, number, max(exercise.tolerance, COARSE))
    if telling != number and exercise.ladder is None:  # on a ladder the first that differs at all is the telling one
        number, found = telling, mine[telling] or found
    name, said = _recognised(exercise, mine, right, number)
    if _truth_for_a_number(exercise, found, right[number], name, number):
        name, said = "", "your function returns True or False, and a number is asked for: how much, and not whether."
    if not name and random:
        said = "your function gives other numbers each time that it is called, and no random number is asked for."
    if not said and exercise.ladder is not None:
        said = exercise.ladder(exercise, number, mine, right)
    if not said:
        said = _describe_difference(exercise, function, mine, right, number, quick)
        if number:
            said = f"right on the first {number} example(s), not on this one: {said}"
    if not name and (written := _as_written(exercise, function)):
        said = f"{said} {written}"
    facts = _facts(exercise, number, found)
    if not name:
        facts += _put_in(exercise, exercise.examples[number], found, right[number])
        facts += _on_the_way(exercise, exercise.examples[number])
    return Result(exercise, WRONG, f"{said}{facts}  next: hint({exercise.id!r})", name)


def _truth_for_a_number(exercise: Exercise, found: Answer, right: Answer | None, name: str, number: int) -> bool:
    """Whether True or False was returned in place of a number, which False would pass for: the 0 of a mistake."""
    if not truths(found.value) or right is None or truths(right.value):
        return False
    theirs = (recalled(exercise, m.function, exercise.examples[number]) for m in exercise.mutants if m.name == name)
    return not any(answer is not None and truths(answer.value) for answer in theirs)


def _as_written(exercise: Exercise, function: Function) -> str:
    """A sentence on what stands in the student's own lines and drops fractions, where the answer has some."""
    expected = recalled(exercise, exercise.reference, exercise.examples[0])
    if exercise.secret or expected is None or all(whole(x) for x in all_numbers(expected.value)):
        return ""
    try:
        tokens = [token.string for token in _tokens(inspect.getsource(function))]
    except (OSError, TypeError):  # a function that was never in a file or a cell
        return ""
    looked_up = next((name for name in ("ppf", "icdf") if name in tokens and name not in exercise.source), "")
    if looked_up:
        return f"Your function looks up a quantile ({looked_up}): is one of its arguments that quantile already?"
    counts = {"shape", "len", "size", "numel"} & set(tokens)  # half of the candidates is a count, and // right
    if "//" in tokens and "//" not in exercise.source and not counts:
        return "Your function divides by //, which drops what is behind the point: / keeps it."
    made = {"".join(tokens[place : place + 5]) for place, token in enumerate(tokens) if token == "dtype"}
    if any(re.fullmatch(r"dtype=(torch\.)?(long|int|int32|int64).*", each) for each in made):
        return "Your function makes whole numbers (dtype=), which drop what is behind the point: is that meant?"
    return ""


def _tokens(text: str) -> list[tokenize.TokenInfo]:
    """The tokens of a piece of a program, as far as it can be read; comments and line ends are left out."""
    found = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(textwrap.dedent(text)).readline):
            if token.type in (tokenize.NAME, tokenize.OP, tokenize.NUMBER, tokenize.STRING):
                found.append(token)
    except (tokenize.TokenError, IndentationError):  # a line of several, or half a lambda
        pass
    return found


def _telling(mine: Sequence[Answer | None], right: Sequence[Answer | None], number: int, coarse: float) -> int:
    """The example to talk about: ``number``, unless it differs by rounding only and another by more."""
    apart = [bool(a and b and not a.agrees(b, coarse)) for a, b in zip(mine, right, strict=True)]
    return number if apart[number] or True not in apart else apart.index(True)


def _differ(one: Any, other: Any, tolerance: float) -> bool:
    """Whether both are answers that can be compared, and differ."""
    return agree(one, one, tolerance) and agree(other, other, tolerance) and not agree(one, other, tolerance)


def _recognised(
    exercise: Exercise, mine: Sequence[Answer | None], right: Sequence[Answer | None], number: int
) -> tuple[str, str]:
    """The mistake that gives the student's results: the mutant's name, if it is one, and what is said; "" if none."""
    found, expected = mine[number], right[number]
    assert found is not None and expected is not None
    coarse = max(exercise.tolerance, COARSE)
    theirs: dict[str, list[Answer | None]] = {}  # of the mutants that agree on this example, where they can
    messages = {mutant.name: mutant.message for mutant in exercise.mutants}
    for mutant in exercise.mutants:
        first = recalled(exercise, mutant.function, exercise.examples[number])
        if first is None or not (
            found.agrees(first, coarse)
            or agree(found.value, first.value, coarse)
            or _shared(found, first, expected, coarse) is not None
        ):
            continue
        answers = [recalled(exercise, mutant.function, example) for example in exercise.examples]
        answers[number], theirs[mutant.name] = first, answers
        if alike(mine, answers, exercise.tolerance):
            return mutant.name, mutant.message
    if not alike(mine, right, coarse):
        for name, answers in theirs.items():
            if alike(mine, answers, coarse):  # naming may be more tolerant than passing
                return name, messages[name]
    if alike(mine, right, coarse):
        return "", _rounded(found, expected)
    if exercise.secret:
        return "", ""
    if exercise.gradients and not agree(found.value, expected.value, exercise.tolerance):
        for name, answers in theirs.items():
            if alike(_values(mine), _values(answers), coarse):
                return "", f"{messages[name]} The gradients differ as well: look at what is detached."
    return _in_part(exercise, mine, right, number, theirs, messages)


COARSE = 1e-6  # what float32 leaves of a number, where a course in float64 compares


def _rounded(found: Answer, expected: Answer) -> str:
    if said := form(found.value, expected.value):
        return said
    return (
        "right to about seven digits only: somewhere a number is float32. A Python number times a tensor of True and "
        "False, torch.tensor(0.9), torch.full(...) and .float() are float32: make them like the arguments, by "
        ".to(q.dtype), torch.full_like or new_full."
    )


def _in_part(
    exercise: Exercise,
    mine: Sequence[Answer | None],
    right: Sequence[Answer | None],
    number: int,
    theirs: Mapping[str, list[Answer | None]],
    messages: Mapping[str, str],
) -> tuple[str, str]:
    """The mistake that gives the student's results on all examples but one, or wherever they are finite.

    A known mistake in its plainest form may divide 0 by 0 where its listed version does not, and somebody may make two
    mistakes, of which one shows in some examples alone.
    """
    from .slips import as_if  # which calls this module's functions

    tolerance = max(exercise.tolerance, COARSE)
    odd = [a is None or not finite(_parts(a), _parts(b)) for a, b in zip(mine, right, strict=True) if b is not None]

    def shared(answers: Sequence[Answer | None]) -> list[int | None]:
        """For each example the number of wrong numbers in common; -1 where there is nothing to compare."""
        return [_shared(*each, tolerance) for each in zip(mine, answers, right, strict=True)]

    def fits(answers: Sequence[Answer | None]) -> bool:
        numbers = shared(answers)
        compared = [n for n in numbers if n is not None and n >= 0]
        return None not in numbers and (sum(compared) > 1 or (sum(compared) == 1 and len(compared) > 1))

    if any(odd):
        place = odd.index(True)
        what = "your code stops with an error" if mine[place] is None else "your answer is not finite"
        besides = f" Besides, {what} where the example is: {exercise.examples[place].about}."
        known = next((name for name, answers in theirs.items() if fits(answers)), "")
        if known:
            return known, messages[known] + besides
        clause = as_if(exercise, mine, fits)
        different = {round(x, 9) for one in mine if one for x in all_numbers(_parts(one))}
        if clause and not clause.startswith("one part") and len(different) > 2:
            return "", f"it is what comes out if {clause}.{besides}"
    compared = [(name, shared(answers)) for name, answers in theirs.items()]
    for name, numbers in sorted(compared, key=lambda each: each[1].count(None)):  # first those that differ nowhere
        common = [n for n in numbers if n is not None and n > 0]
        wanted = [b for b, n in zip(right, numbers, strict=True) if b and n and n > 0]
        different = {round(x, 9) for b in wanted for x in all_numbers(_parts(b))}  # an example may repeat another
        if not ((numbers[number] or 0) > 0 and len(common) > 1 and sum(common) > 3 and len(different) > 3):
            continue
        if None not in numbers:
            return name, messages[name]
        if numbers.count(None) == 1:
            other = numbers.index(None)
            one, best = mine[other], right[other]
            if one and best and one.agrees(best, tolerance):  # the mistake is made, and does not show there
                return name, messages[name]
            about = exercise.examples[other].about
            return name, f"{messages[name]} Something else differs as well where the example is: {about}."
    return "", ""


def _shared(a: Answer | None, b: Answer | None, right: Answer | None, tolerance: float) -> int | None:
    if a is None or right is None or (b is not None and not finite(_parts(b), _parts(right))):
        return -1
    return None if b is None else agree_where_finite(_parts(a), _parts(b), _parts(right), tolerance)


def _parts(given: Answer) -> list[Any]:
    return [given.value, *given.gradients]


def _values(answers: Sequence[Answer | None]) -> list[Answer | None]:
    return [None if one is None else Answer(one.value) for one in answers]


def _explain_verdict(exercise: Exercise, function: Function, example: Example, found: Answer, verdict: str) -> Result:
    """What a judge found, after the message of the mutant that gives the same answers, if one does."""
    mine = [outcome(exercise, function, example) for example in exercise.examples]
    fits = (
        mutant
        for mutant in exercise.mutants
        if alike(mine, [recalled(exercise, mutant.function, each) for each in exercise.examples], exercise.tolerance)
    )
    mutant = next(fits, None)
    said = f"{mutant.message} {verdict[:1].upper()}{verdict[1:]}" if mutant else verdict
    if exercise.probe is not None and (more := exercise.probe(function, found.value)):
        said = f"{said} {more}"
    facts = f"\n{show_example(exercise, example)}\n  yours:    {show(found.value)}\n"
    return Result(
        exercise, WRONG, f"{said}{facts}  next: hint({exercise.id!r})", mutant.name if mutant is not None else ""
    )


def _describe_difference(
    exercise: Exercise,
    function: Function,
    mine: Sequence[Answer | None],
    right: Sequence[Answer | None],
    number: int,
    quick: bool,
) -> str:
    """Describe how a result that no mutant gives differs; where the value is right, say which gradient is wrong."""
    from .slips import as_if  # which calls this module's functions

    found, expected, tolerance = mine[number], right[number], exercise.tolerance
    assert found is not None and expected is not None
    both = [(a, b) for a, b in zip(mine, right, strict=True) if a is not None and b is not None]
    if not agree(found.value, expected.value, tolerance):
        if choices := _choices(exercise, found.value, expected.value):
            return choices
        size = None if exercise.secret else _size_factor(exercise, mine, right)
        pairs = [(a.value, b.value) for a, b in both]
        names = list(inspect.signature(exercise.reference).parameters)
        known = [
            dict(zip(names, example.arguments, strict=False))
            for example, a, b in zip(exercise.examples, mine, right, strict=True)
            if a is not None and b is not None
        ]
        clause = functools.partial(as_if, exercise, mine)
        hint = functools.partial(unused_argument, exercise, function, mine, right) if quick else str
        return size or describe(found.value, expected.value, tolerance, pairs, exercise.secret, clause, known, hint)
    for name, g, wanted in zip(exercise.gradients, found.gradients, expected.gradients, strict=True):
        if not agree(g, wanted, tolerance):
            if not wanted.any():
                return f"the value is right, but {name} is a constant here and your loss moves it: {name}.detach()."
            if not g.any():
                return (
                    f"the value is right, but no gradient reaches {name}: is there a detach, item or no_grad too many?"
                )
            told = describe(g, wanted, tolerance)
            return f"the value is right, its gradient in {name} is not: is one of the terms detached? {told}"
    raise AssertionError("an answer that agrees is not wrong")


def _choices(exercise: Exercise, found: Any, expected: Any) -> str:
    """What may be chosen, if the answer is no choice at all: a line's number, a letter."""
    if not exercise.secret or exercise.examples[0].arguments or type(expected) not in (int, str):
        return ""
    given = [recalled(exercise, mutant.function, exercise.examples[0]) for mutant in exercise.mutants]
    known = [expected, *(one.value for one in given if one is not None)]
    choices = sorted({choice for choice in known if type(choice) is type(expected)})
    if len(choices) < 3 or (type(found) is type(expected) and found in choices):
        return ""
    if isinstance(found, (list, tuple)) and len(found) == 1:
        return f"a {type(found).__name__} of one value: return the value itself."
    if type(expected) is int:
        return (
            f"expected the number of a line, from {choices[0]} to {choices[-1]}, your function returns {show(found)}."
        )
    return f"expected one of {', '.join(map(repr, choices))}, your function returns {show(found)}."


VARIED: dict[Function, list[tuple[int, int, Example, bool]]] = {}  # what a reference answers to other arguments


def _varied(exercise: Exercise, right: Sequence[Answer | None]) -> list[tuple[int, int, Example, bool]]:
    """The examples with one argument varied: (which argument, which example, the varied one, whether it matters)."""
    if exercise.reference not in VARIED:
        found = []
        for number, (example, expected) in enumerate(zip(exercise.examples, right, strict=True)):
            for place, given in enumerate(example.arguments):
                for value in _variations(given):
                    arguments = (*example.arguments[:place], value, *example.arguments[place + 1 :])
                    varied = replace(example, arguments=arguments)
                    other = outcome(exercise, exercise.reference, varied)
                    if other is not None and expected is not None:
                        matters = not agree(other.value, expected.value, exercise.tolerance)
                        found.append((place, number, varied, matters))
        VARIED[exercise.reference] = found
    return VARIED[exercise.reference]


def unused_argument(
    exercise: Exercise, function: Function, mine: Sequence[Answer | None], right: Sequence[Answer | None]
) -> str:
    """A sentence on an argument that makes no difference to the student's results, or makes one and should not."""
    if exercise.secret or len(exercise.source.splitlines()) > 40:
        return ""
    for place, name in enumerate(inspect.signature(exercise.reference).parameters):
        moved = wanted = tried = 0
        for _, number, varied, matters in (each for each in _varied(exercise, right) if each[0] == place):
            own, theirs = mine[number], outcome(exercise, function, varied)
            if own is None or theirs is None:
                continue
            tried, wanted = tried + 1, wanted + matters
            moved += not agree(theirs.value, own.value, exercise.tolerance)
        if wanted and not moved:
            return f"`{name}` makes no difference to what you return, and it should."
        given = exercise.examples[0].arguments[place]
        whole = isinstance(given, torch.Tensor) and _whole(given)  # it may be an index, which has an order
        if tried > 1 and moved and not wanted and not whole:
            return f"`{name}` makes a difference to what you return, and it should not."
    return ""


def _whole(value: torch.Tensor) -> bool:
    return not value.is_floating_point() and value.dtype != torch.bool


def _variations(value: Any) -> list[Any]:
    """Other values for an argument of the same kind and size."""
    if isinstance(value, float):
        return [0.7 * value, 0.4 * value]
    if isinstance(value, int) and not isinstance(value, bool):
        return [value + 1, value + 3]
    if not isinstance(value, torch.Tensor):
        return []
    if value.dtype == torch.bool:
        return [~value, value.flip(0)] if value.ndim else [~value]
    turned = [value.flip(axis) for axis in range(value.ndim)]
    return [*turned, 0.7 * value, value + 0.5] if value.is_floating_point() else [*turned, value + 1, 2 * value]


def _size_factor(exercise: Exercise, mine: Sequence[Answer | None], right: Sequence[Answer | None]) -> str | None:
    """Whether the results are as many times too large, or too small, as an argument is long along one of its axes."""
    both = zip(mine, right, strict=True)
    ratios = [None if a is None or b is None else common_ratio(a.value, b.value) for a, b in both]
    if None in ratios or len({round(ratio or 0.0, 6) for ratio in ratios}) < 2:  # of one size alone one cannot tell
        return None
    for place, name in enumerate(inspect.signature(exercise.reference).parameters):
        tensors = [example.arguments[place] for example in exercise.examples]
        if all(type(x) in (int, float) and x for x in tensors) and len(set(tensors)) > 1:
            inverse = [1 / x for x in tensors]
            for factors, what in ((tensors, "`{}` times what it should be"), (inverse, "divided by `{}`")):
                if agree(ratios, [float(x) for x in factors], 1e-5):
                    return f"every number is {what.format(name)}{' once too often' if 'divided' in what else ''}."
        if not all(isinstance(x, torch.Tensor) and x.ndim == tensors[0].ndim for x in tensors):
            continue
        for axis in range(tensors[0].ndim):
            sizes = [float(x.shape[axis]) for x in tensors]
            where = f"as {name} is long along axis {axis}"
            if agree(ratios, sizes, 1e-5):
                return f"every number is as many times too large {where}: a sum in place of a mean?"
            if agree(ratios, [1 / size for size in sizes], 1e-5):
                return f"every number is as many times too small {where}: a mean in place of a sum?"
    return None


# ---------------------------------------------------------------- errors
SIZES = re.compile(r"size|shape|dimension|out of bounds|out of range|broadcast", re.IGNORECASE)
ADVICE = (  # torch's own words, and what a beginner can do about them
    (
        r"return_types\.(max|min|median|sort|topk)|can't multiply sequence by non-int",
        "max(dim) and min(dim) return two tensors, values and indices: take .values, or use amax and amin.",
    ),
    (
        r"Boolean value of Tensor with more than one",
        "`if`, `not`, `and` and `or` ask for one truth value, and this tensor holds many: use torch.where, or ~, & and "
        "| on the flags. Python's min and max ask for it too, and so does a function that got a tensor where it wanted "
        "something else: look at the order of its arguments.",
    ),
    (
        r"not implemented for '?\"?(Long|Int|Bool)|expected scalar type Long|only applicable to index tensor|"
        r"expected (torch\.)?(int64|LongTensor)",
        "torch wants real numbers in one place and whole numbers (an index, a class) in the other: are two arguments "
        "of this call exchanged? If not, turn flags or whole numbers into real ones by .double(), an index by .long().",
    ),
    (
        r"(max|min)\(\) received an invalid combination of arguments - got \(Tensor, Tensor, ",
        "of two tensors, number by number, torch.maximum(a, b) is the larger and torch.minimum(a, b) the smaller: they "
        "take no dim.",
    ),
    (r"could not infer output dtype", "a mean needs numbers: turn flags or whole numbers into some first, .double()."),
    (
        r"Dimension out of range",
        "the tensor has fewer axes than the line asks for: x[mask] keeps one axis alone, and each reduction takes one "
        "away.",
    ),
    (
        r"(must have|to have) the same dtype|expected scalar type|same dtype, but got",
        "a tensor that you made is float32 and the arguments are float64, or the other way round: give yours the dtype "
        "of an argument.",
    ),
    (
        r"only one element tensors can be converted|only integer tensors of a single element|a Tensor with \d+ "
        r"elements cannot be converted",
        "`math`, float() and .item() work on one number: torch has the same functions for tensors.",
    ),
    (
        r"Index tensor must have the same number of dimensions",
        "gather wants an index with as many axes as the table: keepdim=True, or index[:, None].",
    ),
    (
        r"Expected dtype int64 for index|tensors used as indices must be",
        "an index is made of whole numbers: .long(); a mask of flags: .bool(). Or are two arguments exchanged?",
    ),
    (
        r"'(tuple|list|float|int|NoneType)' object has no attribute",
        "that is no tensor but a plain Python object: which step made it?",
    ),
    (r"object is not subscriptable", "it holds its parts under names, and not by keys or numbers: x.name."),
    (r"(iteration over|len\(\) of) a 0-d tensor", "a 0-d tensor is one number: it has no length and no parts."),
    (
        r"backward through the graph a second time",
        "two losses share a part of the graph, and the first backward has freed it. `retain_graph` hides that: of what "
        "the second loss reads from the first, detach what it must not move.",
    ),
    (
        r"modified by an inplace operation",
        "a step of an optimiser has changed weights that this backward still needs: a loss reads something that was "
        "computed before that step. Detach it if the loss must not move it, else compute it anew.",
    ),
    (
        r"to be within the support",
        "a distribution was asked about a value that it never draws. That of a squashed policy wants the action, which "
        "lies inside (-1, 1), and not the number before tanh.",
    ),
    (
        r"a leaf Variable that requires grad is being used in an in-place operation",
        "what is learned may be changed in place only under torch.no_grad().",
    ),
    (
        r"math domain error|expected a (positive|nonnegative) input",
        "a logarithm of 0 or less, or a root of less than 0: which step makes such a number?",
    ),
    (r"does not require grad", "nothing is left to differentiate: is there a detach, item or no_grad on the way?"),
)


def _explain_change(exercise: Exercise, touched: Sequence[int], found: Answer, expected: Answer) -> str:
    names = list(inspect.signature(exercise.reference).parameters)
    what = " and ".join(f"`{names[place]}`" for place in touched)
    said = f"your function changes its inputs in place ({what}); whoever calls it still needs them. Work on a copy, "
    first = exercise.examples[0].arguments[touched[0]]
    if isinstance(first, torch.Tensor):
        said += f"for example {names[touched[0]]}.clone(), or q - x in place of q -= x."
    elif type(first) in (dict, list) and not any(isinstance(x, torch.Tensor) for x in _inside(first)):
        said += f"for example {type(first).__name__}({names[touched[0]]}), or make a new one."
    else:
        said += "by .clone() or .detach().clone() of the tensor that you change, or write q - x in place of q -= x."
    if exercise.judge is None and not exercise.secret and found.agrees(expected, exercise.tolerance):
        said += " What it returns is right."
    return said


def _inside(value: dict[Any, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def _explain_error(
    exercise: Exercise, function: Function, error: BaseException, example: Example, exercises: Mapping[str, Exercise]
) -> Result:
    helper = _unsolved(function, error)
    if helper == "":
        expected = answer(exercise, exercise.reference, copies(example.arguments)).value
        tells = exercise.judge is None and not exercise.secret
        wanted = f"\n  expected: {show(expected)}" if tells else ""
        note = "replace the line that raises NotImplementedError by your own."
        return Result(exercise, NOT_ATTEMPTED, f"{note}\n{show_example(exercise, example)}{wanted}")
    owner = next((id for id, other in exercises.items() if other.reference.__name__ == helper), None)
    if owner is not None:
        message = f"{owner}'s {helper} is not solved yet, and your function calls it. Solve it first, or go on with "
        message += f"{helper} = or_reference({owner!r}, {helper})."
        return Result(exercise, CRASHED, message)
    return Result(
        exercise, CRASHED, f"{_explain_crash(exercise, function, error, example)}\n  next: hint({exercise.id!r})"
    )


def _lines(function: Function) -> float:
    """How many lines a function has; endless where its text cannot be read."""
    try:
        return len(inspect.getsourcelines(function)[0])
    except (OSError, TypeError):
        return math.inf


COMPARING = ("<", "<=", ">", ">=", "==", "!=")
ENDS = (",", "=", ":", ";", "return", "lambda", "if", "else", "and", "or", "not", "in", "assert")
OPENING, CLOSING = ("(", "[", "{"), (")", "]", "}")


def _without_brackets(line: str, chained: bool) -> str:
    """Advice on a comparison beside & or | that has no brackets of its own, or (``chained``) on one of three parts."""
    words = [token.string for token in _tokens(line.strip())]
    for place, word in enumerate(words):
        if word in ("&", "|") and (_compares(words[place + 1 :]) or _compares(words[:place][::-1], CLOSING, OPENING)):
            between = "a <= b" if word == "&" else "a > b"
            return f"`{word}` binds tighter than a comparison: brackets round each, (a >= 1) {word} ({between})."
    for place, word in enumerate(words):
        if chained and word in COMPARING and _compares(words[place + 1 :]):
            return "Python reads a <= b <= c as `a <= b and b <= c`, one truth value: write (a <= b) & (b <= c)."
    return ""


def _compares(words: Sequence[str], opening: Sequence[str] = OPENING, closing: Sequence[str] = CLOSING) -> bool:
    """Whether a comparison comes before this part of a line ends, outside any brackets that open on the way."""
    depth = 0
    for word in words:
        depth += (word in opening) - (word in closing)
        if depth < 0 or (depth == 0 and word in ENDS):
            return False
        if depth == 0 and word in COMPARING:
            return True
    return False


def _unsolved(function: Function, error: BaseException) -> str | None:
    """Whose stub was reached: "" for the function's own, else the other function's name; None where no stub was.

    A stub ends in a bare ``raise NotImplementedError``; torch raises it with a message, or from files of its own.
    """
    if not isinstance(error, NotImplementedError) or error.args:
        return None
    code = list(traceback.walk_tb(error.__traceback__))[-1][0].f_code
    own = code is getattr(inspect.unwrap(function), "__code__", None)
    in_class = isinstance(function, type) and code.co_qualname.startswith(f"{function.__qualname__}.")
    return "" if own or in_class else code.co_name


def _explain_crash(exercise: Exercise, function: Function, error: BaseException, example: Example) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    home = getattr(getattr(function, "__code__", None), "co_filename", None)
    own = [frame for frame in frames if frame.filename == home]
    number = (own[-1].lineno or 0) - function.__code__.co_firstlineno + 1 if own else 0
    where = f" in line {number} of your function" if own else ""
    if own and not 0 < number <= _lines(function):
        where = f" in `{own[-1].name}`, which your function calls"
    line = f": {own[-1].line}" if own and own[-1].line else ""
    if isinstance(error, TypeError) and not own:
        wanted = len(example.arguments)
        where = f" before its first line (it is called with {wanted} argument{'s' if wanted != 1 else ''})"
    advice = next((f"\n  {said}" for found, said in ADVICE if re.search(found, str(error))), "")
    if own and (bare := _without_brackets(own[-1].line or "", chained="ambiguous" in str(error))):
        advice = f"\n  {bare}"
    if re.search(r"does not require grad", str(error)) and not exercise.gradients and not _asks_for_gradients(function):
        advice = "\n  nothing in your function asks for a gradient: x = x.clone().requires_grad_() before x is used."
    if "no tensor" in advice and not any(isinstance(given, torch.Tensor) for given in example.arguments):
        advice = ""
    of_one = "got (Tensor, Tensor" not in str(error)  # of two, the advice is another
    if of_one and isinstance(error, (TypeError, AttributeError)) and re.search(r"\.(min|max)\(\s*[^)\s]", line):
        advice = f"\n  {ADVICE[0][1]}"
    if SIZES.search(str(error)) and not isinstance(error, NameError):
        names = inspect.signature(exercise.reference).parameters
        both = zip(names, example.arguments, strict=False)
        shapes = ", ".join(f"{name} {list(x.shape)}" for name, x in both if isinstance(x, torch.Tensor))
        advice += f"\n  shapes of the arguments: {shapes}" if shapes else ""
        calls = [_call(name, given) for name, given in zip(names, example.arguments, strict=False) if callable(given)]
        advice += f"\n  the order of their arguments: {', '.join(calls)}" if any(calls) else ""
        advice += f"\n  {exercise.sizes}" if exercise.sizes and "state_dict" not in str(error) else ""
    mixed = any(isinstance(a, torch.Tensor) for a in example.arguments) and "numpy" in f"{error}{line}".lower()
    advice += "\n  the arguments are torch tensors: use torch's functions in place of numpy's" if mixed else ""
    call = f"called with: {_show_call(exercise, example)}".replace(": \n", ":\n")
    return f"{type(error).__name__}{where}{line}\n  {error}{advice}\n  {call}"


def _asks_for_gradients(function: Function) -> bool:
    """Whether something in a function's text, as far as it can be read, makes torch keep track of gradients."""
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        return True
    return (
        re.search(r"requires_grad(_\(|\s*=)|nn\.|Parameter|parameters|torch\.func|jacobian|hessian", text) is not None
    )


def _call(name: str, given: Any) -> str:
    """How a function among the arguments is called, by the names of its own arguments."""
    try:
        return f"{name}({', '.join(inspect.signature(given).parameters)})"
    except (TypeError, ValueError):  # one that is not written in Python
        return name


# ---------------------------------------------------------------- the example
def _facts(exercise: Exercise, number: int, found: Answer) -> str:
    example = exercise.examples[number]
    facts = f"\n{show_example(exercise, example)}\n  yours:    {_show_answer(exercise, found)}\n"
    if exercise.secret:
        return facts
    expected = answer(exercise, exercise.reference, copies(example.arguments))
    facts += f"  expected: {_show_answer(exercise, expected)}\n"
    return facts if _printed(example) else facts + _first_wrong_line(exercise, example, found, expected)


FEW = 30  # an example of at most so many numbers is printed, whether or not its author thought it worth it


def _printed(example: Example) -> bool:
    """Whether a message prints the arguments of an example."""
    return example.shown or (all(_few(given) for given in example.arguments) and _count(example.arguments) <= FEW)


def _few(value: Any) -> bool:
    return type(value) in (int, float) or (isinstance(value, torch.Tensor) and value.numel() <= FEW)


def _count(arguments: Sequence[Any]) -> int:
    return sum(x.numel() if isinstance(x, torch.Tensor) else 1 for x in arguments)


def _first_wrong_line(exercise: Exercise, example: Example, found: Answer, expected: Answer) -> str:
    """The inputs of the first line of the result that holds a wrong number, of an example too long to be printed."""
    line = first_wrong(found.value, expected.value, exercise.tolerance)
    if line is None:
        return ""
    place, length, mine, wanted = line
    names = inspect.signature(exercise.reference).parameters
    parts = []
    for name, given in zip(names, example.arguments, strict=True):
        if isinstance(given, torch.Tensor) and given.ndim and len(given) == length and given[place].numel() <= FEW:
            parts.append(f"{name}[{place}] = {show(given[place])}")
        elif _few(given):
            parts.append(f"{name} = {show(given)}")
    there = f"  at place {place} of the first axis (counted from 0): {', '.join(parts)}\n" if parts else ""
    return f"{there}    yours there: {show(mine)}, expected {show(wanted)}\n" if there else ""


def _on_the_way(exercise: Exercise, example: Example) -> str:
    """The numbers on the way to the right answer of an example that is small enough to print."""
    if exercise.steps is None or exercise.secret or not _printed(example):
        return ""
    steps = exercise.steps(*copies(example.arguments))
    return f"  on the way: {'; '.join(f'{words} {show(value)}' for words, value in steps.items())}\n"


def _put_in(exercise: Exercise, example: Example, found: Answer, right: Answer | None) -> str:
    """What the answer itself does in the condition that defines the right one."""
    if exercise.tried is None or right is None or agree(found.value, right.value, exercise.tolerance):
        return ""
    if not same_shape(found.value, right.value):
        return ""
    return f"  {exercise.tried(found.value, *copies(example.arguments))}\n"


def show_example(exercise: Exercise, example: Example) -> str:
    """The example in words and, if it is small enough to print, the arguments by name."""
    if not _printed(example) or not example.arguments:
        return f"  example: {example.about}"
    return f"  example ({example.about}): {_show_call(exercise, example)}".replace(": \n", ":\n")


def _show_call(exercise: Exercise, example: Example) -> str:
    if not _printed(example):
        return example.about
    names = inspect.signature(exercise.reference).parameters
    parts = [f"{name} = {show(value)}" for name, value in zip(names, example.arguments, strict=True)]
    text = ", ".join(parts)
    return text if len(text) <= 80 else "".join(f"\n    {part}" for part in parts)


def _show_answer(exercise: Exercise, given: Answer) -> str:
    parts = zip(exercise.gradients, given.gradients, strict=True)
    return "; ".join([show(given.value), *(f"gradient in {name} {show(part)}" for name, part in parts)])
