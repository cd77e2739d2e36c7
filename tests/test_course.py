"""Every check is proven: stub -> not attempted, reference -> passed, each mutant -> its own message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cql_tutorial.course import DESK, check, ensure, hint, progress, quiz, solution
from cql_tutorial.course.engine import Exercise, judge
from cql_tutorial.errors import ConfigError

torch.set_num_threads(1)
EXERCISES = list(DESK.exercises.values())
MUTANTS = [(exercise, mutant) for exercise in EXERCISES for mutant in exercise.mutants]


def stub(exercise: Exercise) -> Any:
    scope: dict[str, Any] = {}
    exec(exercise.stub, scope)
    return next(value for name, value in scope.items() if callable(value) and not name.startswith("__"))


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
def test_stub_reference_and_shape_of_an_exercise(exercise: Exercise) -> None:
    assert judge(exercise, stub(exercise)).status == "not attempted"
    assert judge(exercise, exercise.reference).status == "passed"
    assert stub(exercise).__name__ == exercise.reference.__name__
    assert (
        len(exercise.mutants) >= 4 and len(exercise.hints) == 3 and all(exercise.hints) and "____" in exercise.hints[2]
    )
    messages = [mutant.message for mutant in exercise.mutants]
    assert len(set(messages)) == len(messages)
    assert 1 <= exercise.difficulty <= 5 and 1 <= exercise.importance <= 5 and exercise.id in exercise.header


@pytest.mark.parametrize(("exercise", "mutant"), MUTANTS, ids=lambda x: getattr(x, "id", None) or x.name)
def test_each_mutant_is_told_its_own_mistake(exercise: Exercise, mutant: Any) -> None:
    result = judge(exercise, mutant.function)
    assert result.status == "wrong" and result.mutant == mutant.name
    assert result.message.startswith(mutant.message) and "yours:" in result.message and "expected:" in result.message


def test_results_that_nobody_foresaw_are_described() -> None:
    from cql_tutorial.course.ch04 import penalty, penalty_gradient

    def says(id: str, function: Any) -> str:
        result = check(id, function)
        assert result.status == "wrong" and result.mutant == ""
        return result.message

    assert "None: is the return missing" in says("04.2", lambda q, a: None)
    assert "3 times what it should be" in says("04.2", lambda q, a: 3 * penalty(q, a))
    assert "the shape is [2], expected []" in says("04.2", lambda q, a: torch.logsumexp(q, 1) - q[:, 0])
    assert "its transpose" in says("04.3", lambda q, a: penalty_gradient(q, a).T)
    assert "off by the same +1" in says("04.3", lambda q, a: penalty_gradient(q, a) + 1)
    assert "not finite" in says("04.2", lambda q, a: torch.tensor(float("nan")))
    assert "2 value(s), 1 were expected" in says("04.2", lambda q, a: (penalty(q, a), 0))
    assert "a str" in says("04.2", lambda q, a: "1.75")
    assert check("04.2", lambda q, a: float(penalty(q, a))).status == "passed"  # a plain number will do
    assert check("04.2", lambda q, a: np.float32(penalty(q, a))).status == "passed"


def test_crashes_show_the_line_and_the_arguments() -> None:
    def broken(q: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(3)
        return q[rows, actions]

    result = check("04.2", broken)
    assert (
        result.status == "crashed"
        and "in line 3 of your function" in result.message
        and "q[rows, actions]" in result.message
    )
    assert "called with 2 arguments" in check("04.2", lambda q: q).message
    assert "Pass its name without brackets" in check("04.2", 1.75).message  # type: ignore[arg-type]


def test_changing_the_inputs_is_noticed() -> None:
    def in_place(q: torch.Tensor) -> torch.Tensor:
        top = q.amax(1)
        q -= top[:, None]
        return q.exp().sum(1).log() + top

    assert "in place" in check("04.1", in_place).message


def test_ensure_goes_on_with_the_reference_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    exercise = DESK.exercises["04.2"]
    for answer, banner in ((stub(exercise), "not attempted"), (exercise.mutants[0].function, "wrong")):
        assert ensure("04.2", answer) is exercise.reference
        assert f"04.2 is {banner}" in capsys.readouterr().out

    def mine(q: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return exercise.reference(q, actions)

    assert ensure("04.2", mine) is mine and "your own answer" in capsys.readouterr().out


def test_hints_come_one_by_one_and_the_solution_is_the_reference() -> None:
    DESK.hints.clear()
    texts = [hint("04.3") for _ in range(4)]
    assert [f"hint {n} of 3" in text for n, text in zip((1, 2, 3, 3), texts, strict=True)] == [True] * 4
    assert "def penalty_gradient" in solution("04.3")


def test_a_quiz_has_a_reason_for_every_choice() -> None:
    for id, question in DESK.quizzes.items():
        assert len(question.choices) >= 3 and question.answer in question.choices
        assert question.text in quiz(id)
        for letter, (_, reason) in question.choices.items():
            answer = quiz(id, letter.upper())
            assert reason in answer and ("right" in answer) is (letter == question.answer)
    with pytest.raises(ConfigError, match="one of"):
        quiz("04.a", "z")
    with pytest.raises(ConfigError, match="quiz"):
        quiz("04.zz")


def test_progress_and_unknown_exercises() -> None:
    DESK.status.clear()
    assert "0 passed" in progress()
    check("04.1", DESK.exercises["04.1"].reference)
    assert "04.1  passed" in progress() and "04.2  not opened" in progress() and "1 passed" in progress()
    with pytest.raises(ConfigError, match=r"04\.1"):
        check("04.9", print)
