"""What a notebook calls. A session knows what its student has solved, guessed and looked up, and nothing else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from html import escape
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, ConfigError
from ..files import atomic_write
from .checker import CRASHED, NOT_ATTEMPTED, PASSED, WRONG, Exercise, Function, check_answer

# Okabe and Ito's colours; the word beside them says the same.
BORDER_COLOURS = {PASSED: "#009E73", WRONG: "#D55E00", CRASHED: "#D55E00", NOT_ATTEMPTED: "#E69F00", "note": "#0072B2"}
PROGRESS_FILE = "CQL_TUTORIAL_PROGRESS"  # set by `make lab`: where progress is kept between notebooks and days
LOOKED_UP = "looked up"
FROM_WORST_TO_BEST = (NOT_ATTEMPTED, CRASHED, WRONG, LOOKED_UP, PASSED)
IN_A_SENTENCE = {CRASHED: "stops with an error"}  # "04.2 is wrong", but not "04.2 is crashed"


class QuestionError(ConfigError):
    """An id or a letter that does not exist: a notebook shows it as one line, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]  # IPython asks for this; everywhere else it is an error like any other


@dataclass(frozen=True)
class MultipleChoice:
    """A question, its choices by letter (each the text and why it is right or wrong), and the right letter."""

    text: str
    choices: dict[str, tuple[str, str]]
    answer: str

    def __str__(self) -> str:
        return "\n".join([self.text, *(f"  {letter}) {text}" for letter, (text, _) in self.choices.items())])


class Message:
    """A text that a cell shows as its value: plain in a terminal, with a coloured border in a browser.

    ``status``, one of a check's four or "note", chooses the border's colour.
    """

    def __init__(self, text: str, status: str = "note") -> None:
        self.text, self.status = text, status

    def __repr__(self) -> str:
        return self.text

    def __contains__(self, part: str) -> bool:
        return part in self.text

    def _repr_html_(self) -> str:
        border = f"border-left:5px solid {BORDER_COLOURS[self.status]};padding:2px 12px;margin:0;max-width:100ch"
        style = f"{border};white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere"
        return f'<pre style="{style}">{escape(self.text)}</pre>'


class CourseSession:
    """The course's exercises, predictions and quizzes, and what this kernel's student has done with them."""

    def __init__(
        self,
        exercises: Mapping[str, Exercise],
        quizzes: Mapping[str, MultipleChoice],
        predictions: Mapping[str, MultipleChoice] | None = None,
    ) -> None:
        # The mappings themselves, not copies: an exercise that somebody registers later can be checked too.
        self.exercises, self.quizzes, self.predictions = exercises, quizzes, {} if predictions is None else predictions
        self.status: dict[str, str] = {}  # the best result of each exercise
        self.latest: dict[str, str] = {}  # that of its present cell
        self.hints: dict[str, int] = {}
        self.guesses: dict[str, str] = {}

    # ------------------------------------------------------------ exercises
    def find(self, id: str) -> Exercise:
        """Return the exercise of that id ("2.1" is "02.1"); raise `QuestionError` naming the nearest."""
        return self.exercises[_known(self.exercises, "exercise", id)]

    def check(self, id: str, function: Function) -> Message:
        """Say whether the function is right, and if not, which mistake it looks like."""
        result = check_answer(self.find(id), function, self.exercises)
        self._note(result.exercise.id, result.status)
        return Message(str(result), result.status)

    def hint(self, id: str) -> Message:
        """Show the next of three hints: where to look, the formula in words, the line with one blank."""
        exercise = self.find(id)
        id = exercise.id
        taken = min(self.hints.get(id, 0) + 1, len(exercise.hints))
        self.hints[id] = taken
        more = f"hint({id!r}) again for the next." if taken < len(exercise.hints) else f"solution({id!r}) is next."
        return Message(f"hint {taken} of {len(exercise.hints)} for {id}: {exercise.hints[taken - 1]}\n({more})")

    def solution(self, id: str) -> Message:
        """Show the reference answer as code; `progress` then lists an unsolved exercise as looked up."""
        exercise = self.find(id)
        self._note(exercise.id, LOOKED_UP)
        return Message(exercise.source.rstrip())

    def or_reference(self, id: str, function: Function) -> Function:
        """Return ``function`` if it passes its check; otherwise *replace* it: return the reference, under a banner."""
        exercise = self.find(id)
        result = check_answer(exercise, function, self.exercises)
        self._note(exercise.id, result.status)
        if result.status == PASSED:
            _display(Message(f"{exercise.id}: going on with your own answer.", PASSED))
            return function
        state = IN_A_SENTENCE.get(result.status, f"is {result.status}")
        banner = f"==== {exercise.id} {state}: from here on the REFERENCE answer replaces your function. ===="
        _display(Message(banner, result.status))
        return exercise.reference

    # ------------------------------------------------------------ questions
    def guess(self, id: str, answer: str | None = None) -> Message:
        """Before looking: show the choices; with a letter, keep it for `reveal` and give no reason yet."""
        id = _known(self.predictions, "prediction", id)
        question = self.predictions[id]
        if answer is None:
            return Message(f"guess {id}: {question}\nbefore you run on, put your letter in: guess({id!r}, 'a')")
        letter = _letter(question, answer)
        self.guesses[id] = letter
        return Message(f"guess {id}: noted, {letter}) {question.choices[letter][0]}")

    def reveal(self, id: str, measured: str) -> Message:
        """After looking: say what was measured, beside what you guessed, and why."""
        id = _known(self.predictions, "prediction", id)
        question = self.predictions[id]
        found, guess = _letter(question, measured), self.guesses.get(id)
        text, reason = question.choices[found]
        lines = [f"measured {id}: {found}) {text}"]
        if found != question.answer:
            lines.append(f"This is NOT what the course expects ({question.answer}): a finding, please report it.")
        lines.append(reason)
        if guess is None:
            lines.append("You made no prediction here.")
        elif guess == found:
            lines.append("You predicted it.")
        else:
            lines.append(f"You predicted {guess}) {question.choices[guess][0]}. {question.choices[guess][1]}")
        return Message("\n".join(lines), PASSED if guess == found else "note")

    def quiz(self, id: str, answer: str | None = None) -> Message:
        """Ask a question; with a letter, say whether it is right and why."""
        id = _known(self.quizzes, "quiz", id)
        question = self.quizzes[id]
        if answer is None:
            return Message(f"quiz {id}: {question}\nanswer with quiz({id!r}, 'a')")
        letter = _letter(question, answer)
        verdict = "right" if letter == question.answer else "not quite"
        return Message(
            f"quiz {id}, {letter}: {verdict}. {question.choices[letter][1]}", PASSED if verdict == "right" else WRONG
        )

    # ------------------------------------------------------------ progress
    def progress(self) -> Message:
        """List the exercises of the chapters opened so far, each with its best result: solved, tried, looked up."""
        status = self._all()
        opened = {key.split(".")[0] for key in status}
        lines = [
            f"{key}  {status.get(key, 'not opened'):<14} {exercise.title}{self._now(key, status.get(key))}"
            for key, exercise in self.exercises.items()
            if key.split(".")[0] in opened
        ]
        solved = sum(value == PASSED for value in status.values())
        where = "" if os.environ.get(PROGRESS_FILE) else " in this session"
        return Message("\n".join([*lines, f"{solved} passed{where}."]))

    def _now(self, id: str, best: str | None) -> str:
        now = self.latest.get(id, best)
        return "" if now == best else f" (the present cell: {now})"

    def _note(self, id: str, status: str) -> None:
        if status != LOOKED_UP:
            self.latest[id] = status
        self.status[id] = _better(self._all().get(id, ""), status)
        file = os.environ.get(PROGRESS_FILE)
        if file:
            _write(Path(file), self._all())

    def _all(self) -> dict[str, str]:
        file = os.environ.get(PROGRESS_FILE)
        stored = _read(Path(file)) if file else {}
        return {id: _better(stored.get(id, ""), self.status.get(id, "")) for id in {**stored, **self.status}}


def _better(left: str, right: str) -> str:
    """The better of two results; one that this version of the course does not know counts least."""
    rank = {status: number for number, status in enumerate(FROM_WORST_TO_BEST, start=1)}
    return max(left, right, key=lambda status: rank.get(status, 0))


def _known(known: Mapping[str, Any], what: str, id: Any) -> str:
    """The id as it is written in the course: "2.1" and 2.1 are "02.1"."""
    text = str(id).strip()
    match = re.fullmatch(r"(\d)(\..+)", text)
    text = f"0{match[1]}{match[2]}" if match else text
    if text in known:
        return text
    same_chapter = [key for key in known if key.split(".")[0] == text.split(".")[0]]
    near = get_close_matches(text, same_chapter or known, n=1)
    expected = f"one of {same_chapter}" if same_chapter else f"an id as in the notebook, such as {next(iter(known))!r}"
    raise QuestionError(
        what, repr(id), expected, f"did you mean {near[0]!r}?" if near else "see the notebook's header."
    )


def _letter(question: MultipleChoice, answer: Any) -> str:
    letter = str(answer).strip().lower().rstrip(")")
    if letter not in question.choices:
        raise QuestionError("answer", repr(answer), f"one of {list(question.choices)}", "answer with one letter.")
    return letter


def _display(message: Message) -> None:
    """Show a message from within a function: with its border in a notebook, as text elsewhere."""
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import display
    except ImportError:
        print(message)
        return
    if get_ipython() is None:
        print(message)
    else:
        display(message)


def _read(path: Path) -> dict[str, str]:
    """Read what an earlier session wrote; return nothing if the file is missing or holds something else."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): str(value) for key, value in stored.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _write(path: Path, status: Mapping[str, str]) -> None:
    # A folder that cannot be written to must not stop the course.
    with suppress(CheckpointError), atomic_write(path) as temporary:
        temporary.write_text(json.dumps(dict(sorted(status.items())), indent=1), encoding="utf-8")
