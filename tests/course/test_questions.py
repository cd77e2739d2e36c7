"""A question cannot be answered by its form: neither by the letter nor by the length of its choices."""

from __future__ import annotations

from math import comb

import pytest

from cql_tutorial.course import SESSION
from cql_tutorial.course.session import MultipleChoice

QUESTIONS = {**SESSION.quizzes, **SESSION.predictions}
CHAPTERS = sorted({id[:2] for id in QUESTIONS})


def of(*chapters: str) -> dict[str, MultipleChoice]:
    return {id: question for id, question in QUESTIONS.items() if id[:2] in chapters}


def by_chance(questions: dict[str, MultipleChoice], hits: int) -> float:
    """The chance that at least so many of the questions have what one in as many choices has."""
    n = len(questions)
    share = sum(1 / len(question.choices) for question in questions.values()) / n
    return sum(comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(hits, n + 1))


def longest(question: MultipleChoice) -> bool:
    lengths = {letter: len(text) for letter, (text, _) in question.choices.items()}
    return all(lengths[question.answer] > length for letter, length in lengths.items() if letter != question.answer)


def tells(questions: dict[str, MultipleChoice]) -> list[str]:
    """By which forms the right choice can be found, more often than chance allows at 5 %."""
    found = [
        f"{letter} is right in {hits} of {len(questions)}"
        for letter in "abcd"
        if (hits := sum(question.answer == letter for question in questions.values()))
        and by_chance(questions, hits) < 0.05
    ]
    hits = sum(map(longest, questions.values()))
    if by_chance(questions, hits) < 0.05:
        found.append(f"the right choice is the longest in {hits} of {len(questions)}")
    return found


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapters_questions_do_not_give_themselves_away(chapter: str) -> None:
    assert tells(of(chapter)) == []


def test_nor_do_those_of_the_course() -> None:
    for kind in (SESSION.quizzes, SESSION.predictions, QUESTIONS):
        assert tells(dict(kind)) == []


@pytest.mark.parametrize("id", QUESTIONS)
def test_a_reason_does_not_repeat_the_verdict(id: str) -> None:
    for letter, (_, reason) in QUESTIONS[id].choices.items():
        assert not reason.lower().startswith(("not quite", "right.", "right:", "wrong")), (letter, reason)


def test_the_bound_tells_chance_from_habit() -> None:
    question = MultipleChoice("?", {letter: ("same", letter) for letter in "abc"}, "b")
    assert tells({str(i): question for i in range(9)}) == ["b is right in 9 of 9"]
    fair = {str(i): MultipleChoice("?", question.choices, "abc"[i % 3]) for i in range(9)}
    assert tells(fair) == []
    wordy = {letter: ("so much longer" if letter == "c" else "short", letter) for letter in "abc"}
    assert "the right choice is the longest in 6 of 6" in tells(
        {str(i): MultipleChoice("?", wordy, "c") for i in range(6)}
    )
