"""Every check is proven: stub -> not attempted, reference -> passed, each mutant -> its own message."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cql_tutorial.course import (
    SESSION,
    check,
    exercises,
    guess,
    hint,
    or_reference,
    progress,
    quiz,
    registry,
    reveal,
    solution,
)
from cql_tutorial.course.checker import Example, Exercise, check_answer
from cql_tutorial.course.session import PROGRESS_FILE, CourseSession, MultipleChoice
from cql_tutorial.errors import ConfigError

torch.set_num_threads(1)
EXERCISES = list(SESSION.exercises.values())
MUTANTS = [(exercise, mutant) for exercise in EXERCISES for mutant in exercise.mutants]
QUESTIONS = {**SESSION.quizzes, **SESSION.predictions}


@pytest.fixture(autouse=True)
def _a_fresh_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROGRESS_FILE, raising=False)
    for memory in (SESSION.status, SESSION.hints, SESSION.guesses):
        memory.clear()


def stub(exercise: Exercise) -> Any:
    scope: dict[str, Any] = {}
    exec(exercise.stub, scope)
    return next(value for name, value in scope.items() if callable(value) and not name.startswith("__"))


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
def test_stub_reference_and_shape_of_an_exercise(exercise: Exercise) -> None:
    assert check_answer(exercise, stub(exercise)).status == "not attempted"
    assert check_answer(exercise, exercise.reference).status == "passed"
    assert stub(exercise).__name__ == exercise.reference.__name__
    assert (
        len(exercise.mutants) >= 4 and len(exercise.hints) == 3 and all(exercise.hints) and "____" in exercise.hints[2]
    )
    messages = [mutant.message for mutant in exercise.mutants]
    assert len(set(messages)) == len(messages)
    assert 1 <= exercise.difficulty <= 5 and 1 <= exercise.importance <= 5 and exercise.id in exercise.header
    assert [m for m in messages if re.match(r"[A-Z][a-z]", m) or not m.endswith((".", "?", ")"))] == []
    body = exercise.source.strip().splitlines()[len(exercise.stub.strip().splitlines()) - 1 :]
    assert 1 <= len(body) <= 12


@pytest.mark.parametrize("chapter", exercises.__all__)
def test_each_chapter_has_enough_exercises_and_a_published_mistake(chapter: str) -> None:
    found = [exercise for exercise in EXERCISES if exercise.id.startswith(f"{chapter[2:]}.")]
    fewest, most = {"ch00": (2, 6), "ch07": (4, 7), "ch08": (4, 9)}.get(chapter, (4, 6))  # 08: by line
    assert fewest <= len(found) <= most
    assert any(mutant.seen for exercise in found for mutant in exercise.mutants)


def test_exercises_are_text_that_a_person_can_edit() -> None:
    for path in sorted(Path(exercises.__file__).parent.glob("ch*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert max(map(len, lines)) <= 120 and not any("fmt: skip" in line for line in lines), path.name


@pytest.mark.parametrize(("exercise", "mutant"), MUTANTS, ids=lambda x: getattr(x, "id", None) or x.name)
def test_each_mutant_is_told_its_own_mistake(exercise: Exercise, mutant: Any) -> None:
    result = check_answer(exercise, mutant.function)
    assert result.status == "wrong" and result.mutant == mutant.name
    assert result.message.startswith(mutant.message) and "yours:" in result.message
    assert "expected:" in result.message or exercise.judge is not None  # a judge has no one answer to show


def says(id: str, function: Any) -> str:
    """The message of a wrong answer that is no mutant's."""
    result = check_answer(SESSION.find(id), function)
    assert result.status == "wrong" and result.mutant == "", result
    return result.message


def test_results_that_nobody_foresaw_are_described() -> None:
    from cql_tutorial.course.exercises.ch04 import critic_loss, penalty, penalty_gradient, pushed_down_most, soft_max

    assert "None: is the return missing" in says("04.2", lambda q, a: None)
    assert "3 times what it should be" in says("04.2", lambda q, a: 3 * penalty(q, a))
    assert "the shape is [2], expected []" in says("04.2", lambda q, a: torch.logsumexp(q, 1) - q[:, 0])
    assert "its transpose" in says("04.3", lambda q, a: penalty_gradient(q, a).T)
    assert "off by the same +1" in says("04.3", lambda q, a: penalty_gradient(q, a) + 1)
    assert "not finite" in says("04.2", lambda q, a: torch.tensor(float("nan")))
    assert "2 value(s), 1 were expected" in says("04.2", lambda q, a: (penalty(q, a), 0))
    assert "a str" in says("04.2", lambda q, a: "1.75")
    assert "opposite sign" in says("04.1", lambda q: -soft_max(q))
    assert "another order" in says("04.1", lambda q: soft_max(q).flip(0))
    assert "0.25 too large" in says("04.2", lambda q, a: penalty(q, a) + 0.25)
    one_row = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert "2 of 6 numbers differ, all in row 0" in says(
        "04.3", lambda q, a: penalty_gradient(q, a) + one_row[:, : q.shape[1]]
    )
    assert "right on the first 1 example(s)" in says("04.5", lambda q, a, y, c: critic_loss(q, a, y, max(c, 2.0)))
    assert (
        check_answer(SESSION.find("04.2"), lambda q, a: float(penalty(q, a))).status == "passed"
    )  # a plain number will do
    assert check_answer(SESSION.find("04.2"), lambda q, a: np.float32(penalty(q, a))).status == "passed"
    assert check_answer(SESSION.find("04.4"), lambda q, a: pushed_down_most(q, a).tolist()).status == "passed"


def test_crashes_show_the_line_and_the_arguments() -> None:
    def broken(q: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(3)
        return q[rows, actions]

    result = check_answer(SESSION.find("04.2"), broken)
    assert result.status == "crashed"
    assert "in line 3 of your function" in result.message and "q[rows, actions]" in result.message
    assert "called with 2 arguments" in check("04.2", lambda q: q)
    assert "Pass its name without brackets" in check("04.2", 1.75)  # type: ignore[arg-type]
    assert "use torch's functions" in check("04.1", lambda q: np.log(np.exp(q.requires_grad_()).sum(1)))


def test_changing_the_inputs_is_noticed() -> None:
    def in_place(q: torch.Tensor) -> torch.Tensor:
        top = q.amax(1)
        q -= top[:, None]
        return q.exp().sum(1).log() + top

    assert "in place" in check("04.1", in_place)


def test_or_reference_goes_on_with_the_reference_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    exercise = SESSION.exercises["04.2"]
    for answer, banner in ((stub(exercise), "not attempted"), (exercise.mutants[0].function, "wrong")):
        assert or_reference("04.2", answer) is exercise.reference
        assert f"04.2 is {banner}" in capsys.readouterr().out

    def mine(q: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return exercise.reference(q, actions)

    assert or_reference("04.2", mine) is mine and "your own answer" in capsys.readouterr().out


def test_a_message_has_words_and_a_border() -> None:
    message = check("04.2", lambda q, a: q.sum() < 0)
    assert repr(message).startswith("04.2 wrong") and "&lt;" not in repr(message)
    assert 'style="border-left:5px solid #D55E00' in message._repr_html_() and "04.2 wrong" in message._repr_html_()


def test_hints_come_one_by_one_and_the_solution_is_the_reference() -> None:
    texts = [hint("04.3") for _ in range(4)]
    assert [f"hint {n} of 3" in text for n, text in zip((1, 2, 3, 3), texts, strict=True)] == [True] * 4
    assert "def penalty_gradient" in solution("04.3")


def test_every_choice_of_every_question_has_a_reason() -> None:
    for id, question in QUESTIONS.items():
        assert len(question.choices) >= 3 and question.answer in question.choices, id
        assert len({reason for _, reason in question.choices.values()}) == len(question.choices), id
    for id, question in SESSION.quizzes.items():
        assert question.text in quiz(id)
        for letter, (_, reason) in question.choices.items():
            answer = quiz(id, letter.upper())
            assert reason in answer and ("right" in repr(answer).split(".")[1]) is (letter == question.answer)
    with pytest.raises(ConfigError, match="one of"):
        quiz("04.a", "z")
    with pytest.raises(ConfigError, match="quiz"):
        quiz("04.zz")


def test_a_prediction_is_kept_and_held_against_the_measurement() -> None:
    assert "put your letter in" in guess("04.p1") and "You made no prediction" in reveal("04.p1", "b")
    noted = guess("04.p1", "A")
    assert "noted, a)" in noted and SESSION.predictions["04.p1"].choices["a"][1] not in noted  # no reason yet
    after = reveal("04.p1", "b")
    assert "You predicted a)" in after and SESSION.predictions["04.p1"].choices["a"][1] in after
    guess("04.p1", "b")
    assert "You predicted it." in reveal("04.p1", "b")
    assert "NOT what the course expects" in reveal("04.p1", "c")
    with pytest.raises(ConfigError, match="one letter"):
        guess("04.p1", "yes")


def test_progress_and_unknown_exercises() -> None:
    assert "0 passed" in progress()
    check("04.1", SESSION.exercises["04.1"].reference)
    solution("04.1"), solution("04.3")  # looked up after it was solved, and before
    assert "04.1  passed" in progress() and "04.2  not opened" in progress() and "1 passed in this" in progress()
    assert "04.3  looked up" in progress() and "02." not in progress()
    with pytest.raises(ConfigError, match=r"04\.1"):
        check("04.9", print)


def test_progress_is_kept_in_one_local_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "progress.json"
    monkeypatch.setenv(PROGRESS_FILE, str(file))
    session, later = (CourseSession(SESSION.exercises, SESSION.quizzes) for _ in range(2))
    session.check("04.1", SESSION.exercises["04.1"].reference)
    later.check("04.2", lambda q, a: 0)
    assert json.loads(file.read_text()) == {"04.1": "passed", "04.2": "wrong"}
    assert "04.1  passed" in later.progress() and "1 passed." in later.progress()
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]
    file.write_text("[half a fi")
    assert "1 passed." in session.progress()  # what this session knows is not lost with the file
    monkeypatch.setenv(PROGRESS_FILE, str(tmp_path / "no such folder" / "progress.json"))
    session.check("04.1", SESSION.exercises["04.1"].reference)  # a folder that cannot be written to stops nobody


def test_a_question_shows_its_choices() -> None:
    question = MultipleChoice("Why?", {"a": ("because", "x"), "b": ("not", "y")}, "a")
    assert str(question) == "Why?\n  a) because\n  b) not"


# ---------------------------------------------------------------- declaring exercises
@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registries of the test's own, so that nothing is left in the course's."""
    for name in ("EXERCISES", "PREDICTIONS", "QUIZZES"):
        monkeypatch.setattr(registry, name, {})


def declare(id: str) -> Any:
    @registry.exercise(
        id,
        title="twice",
        kind="build",
        difficulty=1,
        importance=1,
        minutes=1,
        examples=(Example((3.0,), "three"),),
        hints=("two", "times", "____"),
        meaning="Twice.",
    )
    def twice(x):
        """Two times x."""
        return 2 * x

    return twice


def test_an_exercise_is_declared_by_decorators(own: None) -> None:
    twice = declare("x.1")

    @registry.mutant("x.1", "thrice", seen="nowhere")
    def _(x):
        """that is three
        times x."""
        return 3 * x

    @registry.mutant("x.1", "thrice again")
    def _(x):
        """never reached: the first mutant that fits is reported."""
        return x + x + x

    (exercise,) = registry.EXERCISES.values()
    assert twice(2) == 4 and exercise.source == 'def twice(x):\n    """Two times x."""\n    return 2 * x\n'
    assert exercise.stub.startswith("def twice(x):") and "@" not in exercise.stub
    assert [(m.name, m.seen) for m in exercise.mutants] == [("thrice", "nowhere"), ("thrice again", "")]
    result = check_answer(exercise, lambda x: 3 * x)
    assert result.mutant == "thrice" and result.message.startswith("that is three times x.\n")
    session = CourseSession(registry.EXERCISES, {})
    declare("x.2")
    assert "passed" in session.check("x.2", twice)  # registered after the session was made


def test_a_declaration_that_cannot_be_meant_is_refused(own: None) -> None:
    declare("x.1")
    with pytest.raises(ConfigError, match="not taken"):
        declare("x.1")
    with pytest.raises(ConfigError, match="above its mutants"):
        registry.mutant("x.2", "early")(print)
    with pytest.raises(ConfigError, match="docstring"):
        registry.mutant("x.1", "silent")(lambda x: x)
    registry.mutant("x.1", "loud")(print)
    with pytest.raises(ConfigError, match="new to exercise"):
        registry.mutant("x.1", "loud")(print)
    with pytest.raises(ConfigError, match="comma missing"):
        registry.quiz_question("x.a", "Why?", answer="a", a=("becauseof this"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="answer"):
        registry.prediction("x.p1", "Why?", answer="b", a=("because", "of this"))
    registry.prediction("x.p1", "Why?", answer="a", a=("because", "of this"))
    with pytest.raises(ConfigError, match="not taken"):
        registry.prediction("x.p1", "Why?", answer="a", a=("because", "of this"))
