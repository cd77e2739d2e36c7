"""The functions of a notebook: run its cells one by one and take what stands there in the end, by exercise id.

Functions are graded, not cells: cells may be edited, moved, split or deleted. A cell that fails, or runs too long, is
noted, and the next one is run. Jupyter is not needed: what only a notebook understands (%magic, !shell) is left out.
"""

from __future__ import annotations

import ast
import gc
import json
import linecache
import os
import re
import signal
import sys
import threading
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cql_tutorial.course as course

from ...errors import DataError
from ..checker import Exercise, Function
from ..session import Message, _known


class TimeLimitError(BaseException):
    """Raised in the student's code when its time is up; `except Exception` does not catch it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop what runs inside after so many seconds, where the system has such an alarm; again and again, if caught."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield  # whoever started this process ends it
        return

    def ring(*_: Any) -> None:
        raise TimeLimitError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Collected:
    """What a notebook held when it had run: functions by exercise id, and what went wrong on the way."""

    functions: dict[str, Function] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)  # why an exercise has no function
    notes: list[str] = field(default_factory=list)


def read_cells(path: Path) -> tuple[list[str], str]:
    """The code cells of a notebook, and the student that its metadata names ("" if none).

    Raises `DataError` if the file is no notebook.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cells = [cell for cell in content["cells"] if cell.get("cell_type") == "code"]
        sources = [cell.get("source", "") for cell in cells]
        texts = ["".join(source) if isinstance(source, list) else str(source) for source in sources]
        own = content.get("metadata", {}).get("cql_tutorial", {})
        return texts, str(own.get("student", "")) if isinstance(own, dict) else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"a file that cannot be read ({type(error).__name__})"
        raise DataError(path.name, what, "a Jupyter notebook (.ipynb)", "hand in the notebook itself.") from error


class Recorder:
    """In place of the course's session while a notebook is graded: it notes which function was passed for which id."""

    def __init__(self, exercises: Mapping[str, Exercise]) -> None:
        self.exercises, self.passed, self.looked_up = exercises, dict[str, Function](), set[str]()

    def check(self, id: str, function: Function) -> Message:
        """Note the function; it is judged when all cells have run."""
        self._note(id, function)
        return Message(f"{id}: noted.")

    def or_reference(self, id: str, function: Function) -> Function:
        """Note the function and return the reference, so that what stands below can run; the note is graded."""
        self._note(id, function)
        known = self.exercises.get(self._id(id))
        return known.reference if known is not None else function

    def solution(self, id: str) -> Message:
        """Note that a solution was looked up."""
        self.looked_up.add(self._id(id))
        return Message(f"{id}: looked up.")

    def quiet(self, *_: Any, **__: Any) -> Message:
        """Say nothing: hints, guesses and quizzes have no part in a grade."""
        return Message("")

    def _note(self, id: str, function: Function) -> None:
        if callable(function) and not of_the_package(function):
            self.passed[self._id(id)] = function

    def _id(self, id: Any) -> str:
        try:
            return _known(self.exercises, "exercise", id)
        except ValueError:
            return str(id)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """What a notebook imports from `cql_tutorial.course` is this recorder's while its cells run."""
        names = ("check", "or_reference", "solution", "hint", "guess", "reveal", "quiz", "progress")
        before = {name: getattr(course, name) for name in names}
        try:
            for name in names:
                setattr(course, name, getattr(self, name, self.quiet))
            yield
        finally:
            for name, value in before.items():
                setattr(course, name, value)


def of_the_package(function: Any) -> bool:
    """Whether a function is the package's or a library's own, and nothing that a student wrote."""
    return getattr(function, "__module__", None) != NAME


NAME = "student"  # of the module that the cells run in


def collect(
    cells: list[str], exercises: Mapping[str, Exercise], seconds: float, *, definitions_only: bool = False
) -> Collected:
    """Run code cells one by one and return the student's function for each exercise.

    ``definitions_only`` runs imports, functions, classes and plain constants alone: where a whole run had to be ended.
    """
    found, recorder = Collected(), Recorder(exercises)
    module = sys.modules[NAME] = types.ModuleType(NAME)  # a dataclass looks for its module
    scope = module.__dict__
    scope["display"] = recorder.quiet
    with recorder.installed():
        for number, source in enumerate(cells, start=1):
            said = _run_cell(source, number, scope, seconds, definitions_only)
            if said:
                found.notes.append(f"cell {number}: {said}")
    for id, exercise in exercises.items():
        name = exercise.reference.__name__
        here = scope.get(name)
        if callable(here) and not of_the_package(here):
            found.functions[id] = here
        elif id in recorder.passed:
            found.functions[id] = recorder.passed[id]
        elif callable(here):
            found.reasons[id] = f"`{name}` is a function of a library in your notebook, and none that you wrote."
        else:
            found.reasons[id] = f"no function `{name}` was found in your notebook."
    if recorder.looked_up & set(exercises):
        found.notes.append(f"solutions looked up: {', '.join(sorted(recorder.looked_up & set(exercises)))}")
    return found


def _run_cell(source: str, number: int, scope: dict[str, Any], seconds: float, definitions_only: bool) -> str:
    """Run one cell; return what went wrong, or ""."""
    name, before = f"<cell {number}>", set(scope)
    try:
        tree, text = _parsed(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{type(error).__name__}, not run"
    if definitions_only:
        tree.body = [each for each in tree.body if _defines(each)]
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)  # so that errors show their line
    said = ""
    try:
        with time_limit(seconds):
            exec(compile(tree, name, "exec"), scope)
    except TimeLimitError:
        said = f"stopped after {seconds:g} s"
    except MemoryError:
        said = "too much memory"
    except (Exception, SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        said = f"{type(error).__name__}: {str(error)[:80]}"
        if "allocate memory" in str(error):
            said = "too much memory"
    if said == "too much memory":  # what it filled must not be missing later on
        for left in set(scope) - before:
            del scope[left]
        gc.collect()
    return said


def _parsed(source: str) -> tuple[ast.Module, str]:
    try:
        return ast.parse(source), source
    except SyntaxError:
        plain = re.sub(r"^([ \t]*)[%!].*$", r"\1pass", source, flags=re.MULTILINE)  # magics and shell commands
        plain = re.sub(r"^([ \t]*)[^\s#]*\?{1,2}[ \t]*$", r"\1pass", plain, flags=re.MULTILINE)  # name? shows its help
        return ast.parse(plain), plain


def _defines(statement: ast.stmt) -> bool:
    """Whether a statement defines or imports something, or gives a plain constant a name."""
    if isinstance(statement, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)):
        return True
    return isinstance(statement, ast.Assign) and not any(isinstance(part, ast.Call) for part in ast.walk(statement))


def environment() -> None:
    """Draw no windows and no widgets, on one thread."""
    os.environ.update(MPLBACKEND="Agg", CQL_TUTORIAL_STATIC="1", OMP_NUM_THREADS="1")
