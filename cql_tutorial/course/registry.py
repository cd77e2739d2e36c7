"""How a chapter declares its exercises and questions, one readable block each; the session looks them up here.

An exercise is its reference answer under a decorator, and one function below it for each wrong answer:

    @exercise("04.2", title="the penalty", kind="build", ..., examples=(...), hints=(...), meaning="...")
    def penalty(q, actions):
        \"\"\"What the function returns. Students see this docstring, and write what follows it.\"\"\"
        return ...

    @mutant("04.2", "sign", seen="BY571/CQL issue 2")
    def _(q, actions):
        \"\"\"the message to a student whose function returns what this one returns.\"\"\"
        return ...

A check tries the mutants in the order in which they stand here, and the first that fits is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from ..errors import ConfigError, require
from .checker import KINDS, Example, Exercise, Ladder, Mutant
from .session import MultipleChoice

EXERCISES: dict[str, Exercise] = {}
PREDICTIONS: dict[str, MultipleChoice] = {}
QUIZZES: dict[str, MultipleChoice] = {}

F = TypeVar("F", bound=Callable[..., Any])


def exercise(
    id: str,
    *,
    title: str,
    kind: str,
    difficulty: int,
    importance: int,
    minutes: int,
    examples: tuple[Example, ...],
    hints: tuple[str, str, str],
    meaning: str,
    tolerance: float = 1e-4,
    gradients: tuple[str, ...] = (),
    plain: str = "",
    single: str = "",
    judge: Callable[..., str | None] | None = None,
    steps: Callable[..., Mapping[str, Any]] | None = None,
    ladder: Ladder | None = None,
    tried: Callable[..., str] | None = None,
    probe: Callable[[Callable[..., Any], Any], str] | None = None,
    sizes: str = "",
    redraw: Callable[..., tuple[Any, ...]] | None = None,
) -> Callable[[F], F]:
    """Register the decorated function as the reference answer of an exercise; `Exercise` explains the fields."""

    def register(reference: F) -> F:
        _require_new(EXERCISES, "exercise", id)
        require(kind in KINDS, f"kind of exercise {id}", kind, f"one of {list(KINDS)}")
        EXERCISES[id] = Exercise(
            id=id,
            title=title,
            kind=kind,
            difficulty=difficulty,
            importance=importance,
            minutes=minutes,
            reference=reference,
            examples=examples,
            mutants=(),
            hints=hints,
            meaning=meaning,
            tolerance=tolerance,
            gradients=gradients,
            plain=plain,
            single=single,
            judge=judge,
            steps=steps,
            ladder=ladder,
            tried=tried,
            probe=probe,
            sizes=sizes,
            redraw=redraw,
        )
        return reference

    return register


def mutant(id: str, name: str, *, seen: str = "", message: str = "") -> Callable[[F], F]:
    """Register the decorated function as a wrong answer to exercise ``id``; its docstring is the student's message.

    The docstring may span lines: the student reads it as one. ``message`` stands in its place where functions are made
    in a loop. ``seen`` says where the mistake was found.
    """

    def register(function: F) -> F:
        require(id in EXERCISES, "mutant", id, f"one of {list(EXERCISES)}", "declare the exercise above its mutants.")
        known = EXERCISES[id]
        if name in [other.name for other in known.mutants]:
            raise ConfigError("mutant", repr(name), f"a name that is new to exercise {id}", "choose another name.")
        told = " ".join((message or function.__doc__ or "").split())
        require(told, "mutant", name, "a docstring, the message to the student", "do not run Python with -OO.")
        EXERCISES[id] = replace(known, mutants=(*known.mutants, Mutant(name, function, told, seen)))
        return function

    return register


def wrong_choice(id: str, name: str, choice: Any, message: str, seen: str = "") -> None:
    """Register a wrong answer to an exercise that asks for one choice: a line's number, or a letter."""

    def chosen() -> Any:
        return choice

    mutant(id, name, seen=seen, message=message)(chosen)


def prediction(id: str, text: str, *, answer: str, **choices: tuple[str, str]) -> None:
    """Register a question to be guessed before looking; each choice is its text and why it is right or wrong."""
    _register_question(PREDICTIONS, "prediction", id, text, answer, choices)


def quiz_question(id: str, text: str, *, answer: str, **choices: tuple[str, str]) -> None:
    """Register a question of a chapter's quiz; each choice is its text and why it is right or wrong."""
    _register_question(QUIZZES, "quiz question", id, text, answer, choices)


def _register_question(
    known: dict[str, MultipleChoice], what: str, id: str, text: str, answer: str, choices: dict[str, tuple[str, str]]
) -> None:
    _require_new(known, what, id)
    require(answer in choices, f"answer of {id}", answer, f"one of {list(choices)}")
    for letter, choice in choices.items():
        pair = isinstance(choice, tuple) and len(choice) == 2
        require(pair, f"choice {letter} of {id}", choice, "its text and its reason", "is a comma missing?")
    known[id] = MultipleChoice(text, choices, answer)


def _require_new(known: dict[str, Any], what: str, id: str) -> None:
    require(id not in known, what, id, "an id that is not taken", "give each its own id.")
