"""What the chapters call: `check`, `hint`, `solution`, `or_reference`, `guess`, `reveal`, `quiz` and `progress`."""

from __future__ import annotations

from . import exercises  # noqa: F401  # importing the chapters registers their exercises and questions
from .checker import Example, Exercise, Mutant, Result
from .registry import EXERCISES, PREDICTIONS, QUIZZES
from .session import CourseSession, Message, MultipleChoice

SESSION = CourseSession(EXERCISES, QUIZZES, PREDICTIONS)
check, hint, solution, or_reference = SESSION.check, SESSION.hint, SESSION.solution, SESSION.or_reference
guess, reveal, quiz, progress = SESSION.guess, SESSION.reveal, SESSION.quiz, SESSION.progress

__all__ = [
    "SESSION",
    "CourseSession",
    "Example",
    "Exercise",
    "Message",
    "MultipleChoice",
    "Mutant",
    "Result",
    "check",
    "guess",
    "hint",
    "or_reference",
    "progress",
    "quiz",
    "reveal",
    "solution",
]
