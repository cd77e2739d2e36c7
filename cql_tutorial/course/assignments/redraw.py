"""Other numbers for each student: an exercise's examples drawn anew from a key, in general position all the same.

A redrawn example keeps what an example is made of: sizes, signs, zeros, ties, flags and whole numbers, rows that are
distributions, shares between 0 and 1, values of a thousand. Only the numbers move. Whether that is enough is not
assumed but measured: a draw counts only if the reference answers it and no two mutants that the exercise's own examples
tell apart give the same answers; otherwise the next draw of the same key is tried.

An exercise whose examples hold no real number (a letter, the number of a line) cannot be redrawn, nor can one whose
draws fail: `redrawn` then raises, and names it. ``Exercise.redraw`` draws where the general rule does not fit; its
author answers for its draws, of which the self-check measures as many as there is time for.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ...errors import ConfigError
from ..checker import Answer, Example, Exercise, outcome
from ..compare import finite

ATTEMPTS = 24  # draws of one key, before an exercise is said not to be redrawable
SHIFT = 0.3  # a number moves by at most this share of itself, and by at most `FARTHEST`
FARTHEST = 1.0  # values of a thousand that lie close together still do


def key_generator(key: str, *purpose: str) -> np.random.Generator:
    """A generator for each (key, purpose), which nobody can tell from the purpose without the key (HMAC-SHA256)."""
    digest = hmac.new(key.encode(), "\0".join(purpose).encode(), hashlib.sha256).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def redrawn(exercise: Exercise, key: str, *purpose: str) -> Exercise:
    """The exercise with other numbers in its examples, the same for the same key and purpose.

    Raises `ConfigError` naming the exercise if it has nothing to redraw, or if no draw keeps its mutants apart.
    """
    if not can_be_redrawn(exercise):
        raise ConfigError(
            f"exercise {exercise.id}",
            "examples without a real number",
            "numbers that another draw can change",
            "give it a redraw= of its own, or keep it fixed (fixed = 'keep' in the assignment).",
        )
    generator = key_generator(key, exercise.id, *purpose)
    why = ""
    for _ in range(ATTEMPTS):
        drawn = replace(exercise, examples=_draw(exercise, generator))
        why = fault(exercise, drawn) if exercise.redraw is None else _unanswered(exercise, drawn)
        if not why:
            return drawn
    raise ConfigError(
        f"exercise {exercise.id}",
        f"{ATTEMPTS} draws of which none is in general position (the last: {why})",
        "examples that tell its mutants apart",
        "give it a redraw= of its own, or keep it fixed (fixed = 'keep' in the assignment).",
    )


def can_be_redrawn(exercise: Exercise) -> bool:
    """Whether another draw would change anything in the examples."""
    if exercise.redraw is not None:
        return True
    return exercise.judge is None and any(_real(given) for each in exercise.examples for given in each.arguments)


def fault(exercise: Exercise, drawn: Exercise) -> str:
    """Why the examples of ``drawn`` are not in general position; "" if they are.

    The measure is ``exercise``: what its own examples tell apart, those of ``drawn`` tell apart too.
    """
    if unanswered := _unanswered(exercise, drawn):
        return unanswered
    right, before = _answers(drawn, drawn.reference), _own(exercise, exercise.reference)
    known: list[tuple[str, list[Answer | None], list[Answer | None]]] = [("the reference", right, before)]
    for mutant in exercise.mutants:
        theirs = _answers(drawn, mutant.function)
        own = _own(exercise, mutant.function)
        for name, others, their_own in known:
            if _same(drawn, theirs, others) and not _same(exercise, own, their_own):
                return f"{mutant.name!r} and {name!r} coincide"
        known.append((mutant.name, theirs, own))
    return ""


def _unanswered(exercise: Exercise, drawn: Exercise) -> str:
    """Why the reference's answers to a draw will not do; "" if they will."""
    right, before = _answers(drawn, drawn.reference), _own(exercise, exercise.reference)
    for new, old in zip(right, before, strict=True):
        if old is not None and (new is None or not finite(new.value, old.value)):
            return "the reference has no finite answer"
    if exercise.redraw is None and _same(drawn, right, before):
        return "the right answers are those of the exercise's own examples"
    return ""


_OWN: dict[Callable[..., Any], tuple[tuple[Example, ...], list[Answer | None]]] = {}


def _own(exercise: Exercise, function: Callable[..., Any]) -> list[Answer | None]:
    """`_answers` to the exercise's own examples, computed once for many draws."""
    if function not in _OWN or _OWN[function][0] is not exercise.examples:
        _OWN[function] = exercise.examples, _answers(exercise, function)
    return _OWN[function][1]


def _answers(exercise: Exercise, function: Callable[..., Any]) -> list[Answer | None]:
    return [outcome(exercise, function, example) for example in exercise.examples]


def _same(exercise: Exercise, left: Sequence[Answer | None], right: Sequence[Answer | None]) -> bool:
    return all(
        (a is None and b is None) or bool(a and b and a.agrees(b, exercise.tolerance))
        for a, b in zip(left, right, strict=True)
    )


# ---------------------------------------------------------------- drawing
def _draw(exercise: Exercise, generator: np.random.Generator) -> tuple[Example, ...]:
    if exercise.redraw is not None:
        examples = enumerate(exercise.examples)
        return tuple(replace(each, arguments=exercise.redraw(generator, n, each)) for n, each in examples)
    return tuple(replace(each, arguments=moved(each.arguments, generator)) for each in exercise.examples)


def moved(arguments: tuple[Any, ...], generator: np.random.Generator) -> tuple[Any, ...]:
    """The same arguments with other numbers: equal ones stay equal wherever they stand, 0 and 1 stay what they are."""
    values = sorted({abs(x) for given in arguments for x in _numbers_in(given)})
    shifts = dict(zip(values, generator.uniform(-1, 1, len(values)).tolist(), strict=True))
    return tuple(_moved(given, shifts) for given in arguments)


def _numbers_in(value: Any) -> list[float]:
    """The finite real numbers of an argument."""
    if type(value) is float:
        return [value] if math.isfinite(value) else []
    if isinstance(value, (torch.Tensor, np.ndarray)):
        tensor = torch.as_tensor(value)
        return tensor[tensor.isfinite()].double().flatten().tolist() if tensor.is_floating_point() else []
    parts = value.values() if type(value) is dict else value if type(value) in (list, tuple) else ()
    return [x for part in parts for x in _numbers_in(part)]


def _real(value: Any) -> bool:
    return any(x not in (0.0, 1.0) for x in _numbers_in(value))


def _moved(value: Any, shifts: dict[float, float]) -> Any:
    if type(value) is float:
        return _number(value, shifts, 0 < value < 1) if math.isfinite(value) else value
    if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
        return _tensor(value, shifts)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size:
        return _tensor(torch.as_tensor(value), shifts).numpy()
    if type(value) is dict:
        return {key: _moved(part, shifts) for key, part in value.items()}
    return type(value)(_moved(part, shifts) for part in value) if type(value) in (list, tuple) else value


def _tensor(value: torch.Tensor, shifts: dict[float, float]) -> torch.Tensor:
    rows = value.double().reshape(-1, value.shape[-1]) if value.ndim else value.double().reshape(1, 1)
    ones = torch.ones(len(rows), dtype=torch.float64)
    if rows.shape[1] > 1 and bool((rows >= 0).all()) and torch.allclose(rows.sum(1), ones):
        drawn = [_distribution(row, shifts) for row in rows.tolist()]
    elif rows.shape[1] > 1 and bool((rows <= 0).all()) and torch.allclose(rows.exp().sum(1), ones):
        shifted = torch.tensor([[x + shifts.get(abs(x), 0.0) for x in row] for row in rows.tolist()])
        drawn = torch.log_softmax(shifted.double(), -1).tolist()
    else:
        inside = bool((rows.abs() <= 1).all())
        drawn = [[_number(x, shifts, inside) if math.isfinite(x) else x for x in row] for row in rows.tolist()]
    return torch.tensor(drawn, dtype=torch.float64).reshape(value.shape).to(value.dtype)


def _distribution(row: list[float], shifts: dict[float, float]) -> list[float]:
    """Another distribution: what is impossible stays so, what is certain too, equal shares stay equal."""
    weights = [x * math.exp(shifts.get(x, 0.0)) for x in row]
    exact = [x / sum(weights) for x in weights]
    shares = [round(x, 3) for x in exact]
    alone = [n for n, x in enumerate(exact) if shares[n] > 0 and exact.count(x) == 1]
    if not alone:
        return exact
    place = max(alone, key=lambda n: shares[n])  # it takes what rounding leaves, so that they still sum to 1
    shares[place] = round(shares[place] + 1 - sum(shares), 3)
    return shares


def _number(value: float, shifts: dict[float, float], inside: bool) -> float:
    """One number moved, its sign kept; ``inside``: what lies between -1 and 1 stays there."""
    size, shift = abs(value), shifts.get(abs(value), 0.0)
    if size == 0 or (inside and size == 1):
        return value
    if inside:
        new = 1 / (1 + math.exp(-math.log(size / (1 - size)) - 2 * SHIFT * shift))
        digits = 2 - math.floor(math.log10(min(new, 1 - new)))
        new = round(new, digits - 1)
    else:
        new = size + shift * min(SHIFT * size, FARTHEST)
        new = round(new, max(2, 2 - math.floor(math.log10(new))))
    return math.copysign(new, value)


def different_numbers(left: Exercise, right: Exercise) -> bool:
    """Whether two draws of an exercise have other numbers, or other right answers, somewhere."""
    pairs = zip(left.examples, right.examples, strict=True)
    if any(_numbers_in(list(a.arguments)) != _numbers_in(list(b.arguments)) for a, b in pairs):
        return True
    return not _same(left, _answers(left, left.reference), _answers(right, right.reference))
