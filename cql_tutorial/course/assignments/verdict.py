"""What one function is worth: the check's verdict, points, and a message that shows no hidden example."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...errors import ConfigError
from ..checker import CRASHED, NOT_ATTEMPTED, PASSED, WRONG, Exercise, Function, Result, check_answer, outcome
from ..compare import LIMIT, agree, form
from .spec import Part

MISSING, REFUSED, STOPPED = "missing", "not the student's own", "stopped"
HIDDEN = (
    "\n  example",
    "\n  called with:",
    "\n  at place",
    "\n  yours",
    "\n  shapes of",
    "\n  next: ",
    "\n  on the way",
)
LONGEST = 600  # of a message: an error's text is the student's own, and could hold the hidden numbers


@dataclass(frozen=True)
class Verdict:
    """An exercise's points and why; ``answers`` is what the function gave, for whoever believes it only if it is so."""

    id: str
    status: str
    points: float = 0.0
    message: str = ""
    mutant: str = ""
    answers: tuple[Any, ...] = ()


def judge(part: Part, exercise: Exercise, function: Function) -> Verdict:
    """Check a function on an exercise's examples and give it the part's points, a share of them, or none."""
    result = check_answer(exercise, function)
    return Verdict(part.id, result.status, points_of(part, result), message_of(exercise, result), result.mutant)


def points_of(part: Part, result: Result) -> float:
    """All points for a passed check; for a recognised mistake the share that the instructor gives it."""
    if result.status == PASSED:
        return part.points
    return part.points * part.partial.get(result.mutant, 0.0) if result.status == WRONG else 0.0


def message_of(exercise: Exercise, result: Result) -> str:
    """What the student reads: the mistake, and none of the numbers that it was found with."""
    if result.status == NOT_ATTEMPTED:
        return "the line that raises NotImplementedError still stands there."
    if result.mutant:
        return next(mutant.message for mutant in exercise.mutants if mutant.name == result.mutant)
    text = result.message
    for mark in HIDDEN:
        text = text.partition(mark)[0]
    text = re.sub(r"^right on the first \d+ example\(s\), not on this one: ", "right on some examples: ", text)
    return text if len(text) <= LONGEST else text[:LONGEST] + " ..."


# ---------------------------------------------------------------- answers that travel between two processes
def answers_of(exercise: Exercise, function: Function) -> tuple[Any, ...]:
    """What a function gives on each example, as JSON: [value, gradients], or None where it stops."""
    found = [outcome(exercise, function, example) for example in exercise.examples]
    return tuple(None if one is None else [pack(one.value), [pack(part) for part in one.gradients]] for one in found)


def confirmed(exercise: Exercise, answers: tuple[Any, ...]) -> bool:
    """Whether answers that came from another process are right: a pass is believed only then."""
    if len(answers) != len(exercise.examples):
        return False
    for example, given in zip(exercise.examples, answers, strict=True):
        right = outcome(exercise, exercise.reference, example)
        if right is None or not isinstance(given, list) or len(given) != 2:
            return False
        value, gradients = unpack(given[0]), tuple(map(unpack, given[1]))
        if exercise.judge is not None:
            right_value = exercise.judge(value, *example.arguments) is None
        else:
            right_value = agree(value, right.value, exercise.tolerance) and _fits(exercise, value, right.value)
        if not right_value or not agree(gradients, right.gradients, exercise.tolerance):
            return False
    return True


def _fits(exercise: Exercise, value: Any, right: Any) -> bool:
    return bool(exercise.plain) or form(value, right, bool(exercise.single)) is None


def pack(value: Any) -> Any:
    """A value as JSON: tensors with their dtype and shape, tuples, numbers, words.

    Raises `ConfigError` for what has no such form, and for more than a million numbers.
    """
    if isinstance(value, np.ndarray):
        return {"array": pack(torch.as_tensor(value))}
    if isinstance(value, np.generic):
        return pack(value.item())
    if isinstance(value, torch.Tensor) and value.layout == torch.strided and value.numel() <= LIMIT:
        plain = value.detach().cpu().resolve_conj().resolve_neg()
        if not plain.is_complex():
            return {"dtype": str(plain.dtype).removeprefix("torch."), "data": _numbers(plain), "shape": [*plain.shape]}
    if type(value) in (tuple, list):
        return {type(value).__name__: [pack(part) for part in value]}
    if type(value) is dict:
        return {"dict": [[pack(key), pack(part)] for key, part in value.items()]}
    if value is None or type(value) in (bool, int, float, str):
        return {"plain": value}
    raise ConfigError("answer", type(value).__name__, "tensors, numbers, words, or a tuple of them")


def _numbers(tensor: torch.Tensor) -> list[Any]:
    return (tensor.double() if tensor.is_floating_point() else tensor).flatten().tolist()


def unpack(packed: Mapping[str, Any]) -> Any:
    """The value that `pack` was given."""
    if "array" in packed:
        return unpack(packed["array"]).numpy()
    if "dtype" in packed:
        return torch.tensor(packed["data"], dtype=getattr(torch, packed["dtype"])).reshape(packed["shape"])
    if "dict" in packed:
        return {unpack(key): unpack(part) for key, part in packed["dict"]}
    if "tuple" in packed:
        return tuple(map(unpack, packed["tuple"]))
    return [unpack(part) for part in packed["list"]] if "list" in packed else packed["plain"]


def nothing(part: Part, why: str) -> Verdict:
    """No points, where no function was found, or none of the student's own."""
    return Verdict(part.id, MISSING if "no function" in why else REFUSED, 0.0, why)


def stopped(part: Part, why: str) -> Verdict:
    """No points, where the student's code had to be stopped from outside."""
    return Verdict(part.id, STOPPED, 0.0, why)


__all__ = ["CRASHED", "MISSING", "REFUSED", "STOPPED", "Verdict", "answers_of", "confirmed", "judge", "pack", "unpack"]
