"""An assignment checks itself before it is handed out: what the grader would give to answers that are known.

Reference: full marks, as a function and as text in a notebook. Stub: nothing. Every mutant: less than full. Every
individual draw: valid, so that no two mutants coincide. Calibration hand-ins: the points that the instructor wrote
beside them. And how long a right answer takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ConfigError
from ..checker import NOT_ATTEMPTED, PASSED, Exercise
from .notebooks import answered
from .redraw import different_numbers, fault
from .spec import Assignment, Part
from .verdict import answers_of, confirmed, judge

SEEDS = 10  # draws beyond those of the roster
BUDGET = 60.0  # seconds of processor time to hold the draws of an exercise's own redraw= against its mutants


@dataclass(frozen=True)
class Checked:
    """What a self-check found about one exercise."""

    id: str
    individual: bool
    mutants: int
    draws: int
    measured: int  # of the draws: how many were held against the mutants
    seconds: float  # of processor time, for a right answer


def stub_of(exercise: Exercise) -> Callable[..., Any]:
    """The function that a student starts from."""
    scope: dict[str, Any] = {}
    exec(exercise.stub, scope)
    function: Callable[..., Any] = scope[exercise.reference.__name__]
    return function


def self_check(assignment: Assignment, students: Sequence[str] = (), seeds: int = SEEDS) -> list[Checked]:
    """Check every exercise on everyone's draw, and its draws for all students and ``seeds`` others.

    Raises `ConfigError` naming the exercise, what was given and what should have been.
    """
    found, scope = [], answered(assignment)
    for part in assignment.parts:
        exercise = assignment.exercises[part.id]
        verdict = judge(part, exercise, scope[exercise.reference.__name__])
        if verdict.status != PASSED:
            mend = "name what it calls under imports = [...], so that a notebook has it."
            raise ConfigError(f"the reference's text of {part.id}", verdict.message, "full marks in a notebook", mend)
    for part in assignment.parts:
        graded = assignment.graded(part.id, students[0] if students else "student-0")
        seconds = _check_answers(part, graded)
        individual = graded is not assignment.exercises[part.id]
        others = [f"student-{number}" for number in range(seeds)]
        names = [*students, *others] if individual and assignment.seed_by == "student" else students[:1] or others[:1]
        names = names if individual else []
        measured = _check_draws(assignment, part, names)
        found.append(Checked(part.id, individual, len(graded.mutants), len(names), measured, seconds))
    for calibration in assignment.calibration:
        points = sum(
            _calibrated(assignment, part, calibration.answers.get(part.id, "stub")) for part in assignment.parts
        )
        if abs(points - calibration.points) > 1e-9:
            raise ConfigError(
                f"calibration {calibration.name!r}", f"{points:g} points", f"{calibration.points:g}", "mend either."
            )
    return found


def _check_answers(part: Part, exercise: Exercise) -> float:
    start = time.process_time()
    verdict = judge(part, exercise, exercise.reference)
    seconds = time.process_time() - start
    if verdict.status != PASSED or verdict.points != part.points:
        raise ConfigError(f"reference of {part.id}", verdict.message, "full marks", "mend the reference or its judge.")
    if not confirmed(exercise, answers_of(exercise, exercise.reference)):
        raise ConfigError(f"reference of {part.id}", "answers that another process cannot confirm", "plain values")
    verdict = judge(part, exercise, stub_of(exercise))
    if verdict.status != NOT_ATTEMPTED or verdict.points:
        raise ConfigError(f"stub of {part.id}", verdict.status, f"{NOT_ATTEMPTED}, and no points")
    for mutant in exercise.mutants:
        verdict = judge(part, exercise, mutant.function)
        if verdict.points >= part.points:
            raise ConfigError(
                f"mutant {mutant.name!r} of {part.id}",
                f"{verdict.points:g} points",
                f"less than {part.points:g}",
                "give the exercise an example that tells it from the reference.",
            )
    return round(seconds, 3)


def _check_draws(assignment: Assignment, part: Part, names: Sequence[str]) -> int:
    """Hold the draws of these students against the exercise's own examples; return for how many there was time.

    The draws of the general rule have all been held against them, by `redrawn`; those of an own ``redraw`` are here.
    """
    own, measured, start = assignment.exercises[part.id], 0, time.process_time()
    before: Exercise | None = None
    for name in names:
        drawn = assignment.graded(part.id, name)
        if drawn is own:
            raise ConfigError(f"{part.id}, draw of {name!r}", "no draw in general position", "one", "keep it fixed.")
        if own.redraw is None or measured == 0 or time.process_time() - start < BUDGET:
            why = fault(own, drawn) if own.redraw is not None else ""
            if why:
                raise ConfigError(
                    f"{part.id}, draw of {name!r}", why, "a draw in general position", "mend its redraw=."
                )
            measured += 1
        if not different_numbers(assignment.public(part.id, name), drawn):
            raise ConfigError(f"{part.id}, draw of {name!r}", "shown examples that are the hidden ones", "others")
        if before is not None and not different_numbers(before, drawn):
            raise ConfigError(f"{part.id}, draw of {name!r}", "the numbers of another student", "other ones")
        before = drawn
    return measured


def _calibrated(assignment: Assignment, part: Part, answer: str) -> float:
    exercise = assignment.graded(part.id, "calibration")
    functions = {mutant.name: mutant.function for mutant in exercise.mutants}
    functions |= {"reference": exercise.reference, "stub": stub_of(exercise)}
    return judge(part, exercise, functions[answer]).points


__all__ = ["SEEDS", "Checked", "self_check", "stub_of"]
