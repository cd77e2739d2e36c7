"""The course's desk: `check`, `hint`, `solution`, `ensure`, `predict`, `outcome`, `quiz` and `progress`."""

from __future__ import annotations

from .checker import Example, Exercise, Mutant, Result
from .exercises import ch00, ch01, ch02, ch03, ch04, ch05, ch06, ch07, ch08
from .session import Card, Desk, Question

CHAPTERS = (ch00, ch01, ch02, ch03, ch04, ch05, ch06, ch07, ch08)
DESK = Desk(
    [exercise for chapter in CHAPTERS for exercise in chapter.EXERCISES],
    {id: question for chapter in CHAPTERS for id, question in chapter.QUIZZES.items()},
    {id: question for chapter in CHAPTERS for id, question in chapter.PREDICTIONS.items()},
)
check, hint, solution, ensure = DESK.check, DESK.hint, DESK.solution, DESK.ensure
predict, outcome, quiz, progress = DESK.predict, DESK.outcome, DESK.quiz, DESK.progress

__all__ = [
    "DESK",
    "Card",
    "Desk",
    "Example",
    "Exercise",
    "Mutant",
    "Question",
    "Result",
    "check",
    "ensure",
    "hint",
    "outcome",
    "predict",
    "progress",
    "quiz",
    "solution",
]
