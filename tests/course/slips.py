"""Wrong answers that nobody listed, and whether they are right after all.

`slips` gives every single-step slip of a reference (`cql_tutorial.course.slips`), and wraps the whole answer: a list
for a tensor, float32 for float64, the transpose. A slip may be right after all (the mean of one row is its sum), so
every verdict is held against many random inputs: `draws` makes them, of the kinds and sizes of the examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from cql_tutorial.course import checker
from cql_tutorial.course.checker import Answer, Example, Exercise, Function, alike, outcome
from cql_tutorial.course.compare import form
from cql_tutorial.course.slips import single_steps


def slips(exercise: Exercise) -> Iterator[tuple[str, Function]]:
    """Every slip: (where and what, the function that does it)."""
    for words, place, function in single_steps(exercise):
        yield f"{place}: {words}", function
    yield from shapes_of(exercise)


# ---------------------------------------------------------------- slips of the whole answer
def shapes_of(exercise: Exercise) -> Iterator[tuple[str, Function]]:
    """The right answer in a wrong form: as a list, in float32, one number short, summed, turned."""
    wraps: dict[str, Callable[[Tensor], Any]] = {
        "as a list": lambda x: x.tolist(),
        "as a tuple": lambda x: tuple(x) if x.ndim else (x,),
        "as an array": lambda x: x.detach().numpy(),
        "as a number": lambda x: x.item(),
        "in float32": lambda x: x.float() if x.dtype == torch.float64 else x.half(),
        "as text": str,
        "detached": lambda x: x.detach(),
        "sign turned": lambda x: -x,
        "absolute": lambda x: x.abs(),
        "clamped at 0": lambda x: x.clamp(min=0),
        "clamped below 1": lambda x: x.clamp(max=1),
        "doubled": lambda x: 2 * x,
        "halved": lambda x: x / 2,
        "plus one": lambda x: x + 1,
        "summed": lambda x: x.sum(),
        "averaged": lambda x: x.mean(),
        "transposed": lambda x: x.mT if x.ndim > 1 else x.flip(0) if x.ndim else x,
        "one short": lambda x: x[:-1],
        "a column": lambda x: x[..., None],
        "rounded": lambda x: x.round(),
        "nothing": lambda x: None,
    }
    for name, wrap in wraps.items():
        yield f"the answer {name}", _wrapped(exercise.reference, wrap)

    def without_gradients(*arguments: Any) -> Any:
        with torch.no_grad():
            return exercise.reference(*arguments)

    yield "without gradients", without_gradients


def _wrapped(reference: Function, wrap: Callable[[Tensor], Any]) -> Function:
    def function(*arguments: Any) -> Any:
        value = reference(*arguments)
        if isinstance(value, tuple):
            return tuple(wrap(torch.as_tensor(part)) for part in value)
        return wrap(torch.as_tensor(value))

    return function


# ---------------------------------------------------------------- random inputs
def draws(exercise: Exercise, number: int = 12) -> list[Example]:
    """Random valid inputs, of the kinds and sizes of the exercise's examples; none where it takes no input."""
    make = DRAW.get(exercise.id, _like)
    found = []
    for seed in range(number):
        generator = torch.Generator().manual_seed(seed)
        example = exercise.examples[seed % len(exercise.examples)]
        arguments = make(generator, example)
        drawn = any(new is not old for new, old in zip(arguments, example.arguments, strict=True))
        if drawn or all(example is not one for one in found):  # where nothing is random, the example itself, and once
            found.append(replace(example, arguments=arguments) if drawn else example)
    return found


def _like(generator: torch.Generator, example: Example) -> tuple[Any, ...]:
    return tuple(_random(generator, argument) for argument in example.arguments)


def _random(generator: torch.Generator, value: Any) -> Any:
    """A value of the same kind: probabilities remain such, one sign remains one sign, indices remain in range."""
    if isinstance(value, float):
        factor = float(0.3 + torch.rand((), generator=generator))
        return 0.05 + 0.9 * float(torch.rand((), generator=generator)) if 0 < value < 1 else value * factor
    if not isinstance(value, Tensor):
        return value
    if value.dtype == torch.bool:
        return torch.rand(value.shape, generator=generator) < 0.5
    if not value.is_floating_point():
        largest = int(value.max()) if value.numel() else 0
        drawn = torch.randint(0, largest + 1, value.shape, generator=generator)
        return drawn.to(value.dtype)
    noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    rows = value.sum(-1) if value.ndim else value
    if value.ndim and bool((value >= 0).all()) and torch.allclose(rows, torch.ones_like(rows)):
        weights = torch.softmax(noise, -1) * (value > 0)  # what is impossible stays so
        return (weights / weights.sum(-1, keepdim=True)).to(value.dtype)
    if value.ndim and bool((value <= 0).all()) and torch.allclose(value.exp().sum(-1), torch.ones_like(rows)):
        return torch.log_softmax(noise, -1).to(value.dtype)
    scale = float(value.abs().mean()) or 1.0
    drawn = noise * min(scale, 5.0)
    if value.numel() and bool((value >= 0).all()):
        drawn = drawn.abs() * (value > 0)
    elif value.numel() and bool((value <= 0).all()):
        drawn = -drawn.abs() * (value < 0)
    return drawn.to(value.dtype)


def _alphas(generator: torch.Generator, example: Example) -> tuple[Any, ...]:
    free, per_alpha, truth, seen = example.arguments
    some = torch.rand(seen.shape, generator=generator) < 0.5
    some.view(-1)[0] = True  # nothing seen has no answer
    return _random(generator, free), 0.1 + _random(generator, per_alpha).abs(), _random(generator, truth), some


def _behaviours(generator: torch.Generator, example: Example) -> tuple[Any, ...]:
    log_behaviour, action_dim, error = example.arguments
    drawn = torch.randn(log_behaviour.shape, generator=generator, dtype=log_behaviour.dtype)
    above = 3 * torch.rand((), generator=generator)  # on average, no log-density lies below the uniform one
    return drawn - drawn.mean() - action_dim * math.log(2) + above, action_dim, error


def _log_shares(generator: torch.Generator, example: Example) -> tuple[Any, ...]:
    q, log_rho = example.arguments
    drawn = torch.randn(log_rho.shape, generator=generator, dtype=log_rho.dtype)
    return _random(generator, q), torch.log_softmax(drawn, -1)


def _episodes(generator: torch.Generator, example: Example) -> tuple[Any, ...]:
    rewards, starts, discount = example.arguments
    later = 1 + torch.randperm(len(rewards) - 1, generator=generator)[: len(starts) - 1]
    return _random(generator, rewards), torch.cat([torch.zeros(1, dtype=starts.dtype), later.sort().values]), discount


DRAW: dict[str, Callable[[torch.Generator, Example], tuple[Any, ...]]] = {
    "01.1": _episodes,
    "05.4": _alphas,
    "07.2": _log_shares,
    "07.7": _behaviours,
}


# ---------------------------------------------------------------- verdicts
def answers(exercise: Exercise, function: Function, examples: Sequence[Example]) -> list[Answer | None]:
    """What a function answers to many inputs; None where it stops with an error.

    A listed wrong answer is asked about the exercise's own examples once in all tests (`conftest`).
    """
    own = {id(example) for example in exercise.examples}
    return [(checker.outcome if id(each) in own else outcome)(exercise, function, each) for each in examples]


def equal(exercise: Exercise, left: list[Answer | None], right: list[Answer | None]) -> bool:
    """Whether two functions agree on all inputs."""
    return alike(left, right, 10 * exercise.tolerance)


def same_form(exercise: Exercise, left: list[Answer | None], right: list[Answer | None]) -> bool:
    """Whether the answers that agree are also of the type that is asked for."""
    if exercise.plain:
        return True
    pairs = [(a, b) for a, b in zip(left, right, strict=True) if a is not None and b is not None]
    return not any(form(a.value, b.value, bool(exercise.single)) for a, b in pairs)
