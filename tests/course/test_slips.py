"""No wrong answer that nobody listed passes a check, and none is told the message of another mistake.

Every exercise's reference is changed by one slip at a time (see `slips`). A slip that passes must be right after all on
many random inputs, of the right type included; one that is told a mutant's message must be that mutant on all of them.
"""

from __future__ import annotations

import pytest
import torch

from cql_tutorial.course import SESSION
from cql_tutorial.course.checker import Exercise, check_answer

from . import slips

torch.set_num_threads(1)
pytestmark = pytest.mark.slow
EXERCISES = list(SESSION.exercises.values())
COMPARED = [exercise for exercise in EXERCISES if exercise.judge is None]  # a judge measures: what passes is right

SAMPLED = {"08.9": 80}  # a page has thousands of slips, each of which trains: every eightieth


def faults_of(exercise: Exercise) -> tuple[list[str], int]:
    """What goes wrong with the slips of an exercise, and how many slips there are."""
    mutants, inputs = exercise.mutants, slips.draws(exercise)
    shown, right = (slips.answers(exercise, exercise.reference, each) for each in (exercise.examples, inputs))
    assert None not in right, f"{exercise.id}: the reference stops on a random input: give slips.DRAW a way to draw"
    theirs = {mutant.name: slips.answers(exercise, mutant.function, exercise.examples) for mutant in mutants}
    faults, made = [], list(slips.slips(exercise))[:: SAMPLED.get(exercise.id, 1)]
    for name, function in made:
        found = slips.answers(exercise, function, exercise.examples)
        told = [key for key, answers in theirs.items() if slips.equal(exercise, found, answers)]
        if found[0] is None or not (told or slips.equal(exercise, found, shown)):
            continue  # it stops with an error, or is described: nothing to be mistaken for
        result = check_answer(exercise, function)
        mine = slips.answers(exercise, function, inputs)
        if result.status == "passed":
            if not (slips.equal(exercise, mine, right) and slips.same_form(exercise, mine, right)):
                faults.append(f"passes: {name}")
        elif result.mutant:
            other = next(mutant.function for mutant in mutants if mutant.name == result.mutant)
            if not slips.equal(exercise, mine, slips.answers(exercise, other, inputs)):
                faults.append(f"is told {result.mutant!r}: {name}")
    return faults, len(made)


@pytest.mark.parametrize("exercise", COMPARED, ids=lambda e: e.id)
@pytest.mark.filterwarnings("ignore")
def test_no_slip_passes_and_none_is_told_another_mistake(
    exercise: Exercise,
) -> None:
    faults, number = faults_of(exercise)
    mutants = len(exercise.mutants)
    print(
        f"{exercise.id}: {number} slips, {number * mutants} pairs with a mutant, {mutants * (mutants - 1)} of mutants"
    )
    assert not faults, "\n".join(["its examples take these slips for another answer:", *faults[:20]])


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
@pytest.mark.filterwarnings("ignore")
def test_no_mutant_is_told_another_mutants_message(exercise: Exercise) -> None:
    inputs = slips.draws(exercise)
    theirs = {mutant.name: slips.answers(exercise, mutant.function, inputs) for mutant in exercise.mutants}
    for mutant in exercise.mutants:
        told = check_answer(exercise, mutant.function).mutant
        assert told == mutant.name or slips.equal(exercise, theirs[mutant.name], theirs[told]), (mutant.name, told)
