"""The course's desk: `check`, `hint`, `solution`, `ensure`, `quiz` and `progress`, as the notebooks use them."""

from __future__ import annotations

from . import ch04
from .engine import Desk, Exercise, Mutant, Question, Result

DESK = Desk(ch04.EXERCISES, ch04.QUIZZES)
check, hint, solution = DESK.check, DESK.hint, DESK.solution
ensure, quiz, progress = DESK.ensure, DESK.quiz, DESK.progress

__all__ = [
    "DESK",
    "Desk",
    "Exercise",
    "Mutant",
    "Question",
    "Result",
    "check",
    "ensure",
    "hint",
    "progress",
    "quiz",
    "solution",
]
