"""An assignment: which exercises, how many points, which limits; read from a TOML file that an instructor writes.

    title = "The loss"                   what students read above it
    seed_by = "student"                  other numbers for each student; "none": the same for all
    fixed = "keep"                       exercises that cannot be redrawn keep their numbers; "refuse": an error
    files = ["own_exercise.py"]          exercises of your own, in the course's decorated form

    [[exercise]]
    id = "04.2"
    points = 10
    partial = { "sum over the states" = 0.5 }     a mutant's name, and its share of the points

The rest has defaults, and `assignments/` holds three whole examples. The same content as JSON, with the key, is what
the grader reads: it needs no TOML reader.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import ConfigError, require
from .. import registry
from ..checker import Exercise
from .redraw import can_be_redrawn, redrawn

FORMAT = "cql-tutorial assignment 1"
COMMON = "everyone"  # whose draw it is where all students have the same numbers


@dataclass(frozen=True)
class Part:
    """One graded exercise: ``partial`` gives a mutant's share of the points, by its name."""

    id: str
    points: float
    partial: Mapping[str, float] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True)
class Sample:
    """A sample answer to a written question, the points that it should get, and why."""

    answer: str
    points: float
    why: str


@dataclass(frozen=True)
class Written:
    """A question that a person marks: the criteria of its rubric with their points, and samples to agree on first."""

    id: str
    prompt: str
    points: float
    rubric: Mapping[str, float]
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class Calibration:
    """A hand-in made of known answers and the points that the grader must give it.

    ``answers`` maps an exercise's id to "reference", "stub" or the name of a mutant; what is not named is a stub.
    """

    name: str
    answers: Mapping[str, str]
    points: float


@dataclass(frozen=True)
class Limits:
    """What one student's code may use: wall-clock seconds for each exercise and each cell, and memory."""

    seconds: float = 20.0
    memory_mb: int = 2048


@dataclass(frozen=True)
class Assignment:
    """Everything about one homework; `load` makes it and checks every name in it."""

    title: str
    parts: tuple[Part, ...]
    exercises: Mapping[str, Exercise]
    folder: Path
    minutes: int = 0
    goals: tuple[str, ...] = ()
    text: str = ""
    seed_by: str = "none"
    fixed: str = "keep"
    files: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()  # lines of the notebook's first cell: what an answer may call
    package: str = f"cql-tutorial=={__version__}"
    checks: bool = True
    written: tuple[Written, ...] = ()
    calibration: tuple[Calibration, ...] = ()
    limits: Limits = Limits()
    key: str = ""
    drawn: dict[tuple[str, ...], Exercise | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def points(self) -> float:
        """What the grader gives at most; written questions are marked by a person, and not in it."""
        return sum(part.points for part in self.parts)

    def student(self, name: str) -> str:
        """Whose draw a student gets: the own one, or everyone's."""
        return name if self.seed_by == "student" else COMMON

    def fixed_parts(self) -> list[str]:
        """The ids of exercises whose numbers are the same for all, since another draw would change nothing."""
        return [part.id for part in self.parts if not self.movable(part.id)]

    def movable(self, id: str) -> bool:
        """Whether the exercise's examples can be drawn anew."""
        return self._drawn(id, "hidden", COMMON) is not None

    def graded(self, id: str, student: str) -> Exercise:
        """The exercise with the examples that this student's function is graded on."""
        return self._drawn(id, "hidden", self.student(student)) or self.exercises[id]

    def public(self, id: str, student: str) -> Exercise:
        """The exercise with the examples that this student's notebook shows: other ones than those of `graded`."""
        return self._drawn(id, "shown", self.student(student)) or self.exercises[id]

    def _drawn(self, *purpose: str) -> Exercise | None:
        if purpose not in self.drawn:  # a draw is held against all mutants: once is enough
            self.drawn[purpose] = self._draw(*purpose)
        return self.drawn[purpose]

    def _draw(self, id: str, *purpose: str) -> Exercise | None:
        exercise = self.exercises[id]
        if not can_be_redrawn(exercise):
            return None
        try:
            return redrawn(exercise, self.key, *purpose)
        except ConfigError:
            if self.fixed == "refuse":
                raise
            return None

    def plain(self) -> dict[str, Any]:
        """The assignment as JSON, without what `load` finds again: the exercises themselves, and the folder."""
        left = {
            name: value for name, value in vars(self).items() if name not in ("exercises", "folder", "parts", "drawn")
        }
        content = {name: _plain(value) for name, value in left.items()}
        return {"format": FORMAT, **content, "exercise": [_plain(part) for part in self.parts]}


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(part) for name, part in asdict(value).items()}
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def load(path: Path, key: str = "") -> Assignment:
    """Read an assignment from TOML or JSON and check every name in it; ``key`` is used if the file has none.

    Raises `ConfigError` naming the field, and for a name that does not exist the nearest that does.
    """
    content = _read(path)
    content.pop("format", None)
    files = tuple(content.get("files", ()))
    exercises = {**registry.EXERCISES, **_own_exercises(path.parent, files)}
    parts = tuple(_part(item, exercises) for item in content.pop("exercise", []))
    require(parts, "exercise", [], "at least one [[exercise]]", "add one with an id and points.")
    _unique("id of [[exercise]]", [part.id for part in parts])
    _unique("function's name", [exercises[part.id].reference.__name__ for part in parts])
    content["limits"] = _made(Limits, content.get("limits", {}), "limits")
    content["written"] = tuple(_written(item) for item in content.get("written", []))
    content["calibration"] = tuple(_made(Calibration, item, "calibration") for item in content.get("calibration", []))
    for name in ("goals", "files", "imports"):
        content[name] = tuple(content.get(name, ()))
    chosen = {part.id: exercises[part.id] for part in parts}
    content["key"] = content.get("key") or key
    made = _made(Assignment, {**content, "parts": parts, "exercises": chosen, "folder": path.parent}, str(path))
    require(made.seed_by in ("student", "none"), "seed_by", made.seed_by, "'student' or 'none'")
    require(made.fixed in ("keep", "refuse"), "fixed", made.fixed, "'keep' or 'refuse'")
    require(made.limits.seconds > 0 and made.limits.memory_mb > 0, "limits", vars(made.limits), "numbers above 0")
    for calibration in made.calibration:
        _check_calibration(made, calibration)
    still = [id for id, exercise in chosen.items() if not can_be_redrawn(exercise)] if made.fixed == "refuse" else []
    if still:
        mend = "give it a redraw=, leave it out, or write fixed = 'keep'."
        raise ConfigError("fixed", f"'refuse', and {still} cannot be redrawn", "other exercises", mend)
    return made


def with_key(assignment: Assignment, key: str) -> Assignment:
    """The assignment with a key; one that it has already is kept."""
    return assignment if assignment.key else replace(assignment, key=key)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError("assignment", f"{path} ({error.strerror})", "a TOML file", "mind the path.") from error
    try:
        if path.suffix == ".json":
            return dict(json.loads(text))
        return dict(_toml().loads(text))
    except ValueError as error:
        raise ConfigError(str(path), f"a file that cannot be read ({error})", "TOML", "mend that line.") from error


def _toml() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib
    try:
        return importlib.import_module("tomli")
    except ImportError as error:
        mend = "pip install tomli, or use Python 3.11."
        raise ConfigError("Python", sys.version.split()[0], "3.11, or the package tomli", mend) from error


def _made(kind: Any, content: Any, where: str) -> Any:
    """A dataclass of a table, with an error that names an unknown or a missing field."""
    require(isinstance(content, Mapping), where, content, "a table")
    known = [one.name for one in fields(kind) if one.init]
    for name in content:
        near = get_close_matches(name, known, n=1)
        mend = f"did you mean {near[0]!r}?" if near else "leave it out."
        require(name in known, f"field of {where}", name, f"one of {known}", mend)
    try:
        return kind(**content)
    except TypeError as error:
        raise ConfigError(where, f"{sorted(content)} ({error})", f"the fields {known}") from error


def _part(content: Any, exercises: Mapping[str, Exercise]) -> Part:
    part: Part = _made(Part, content, "exercise")
    id = f"0{part.id}" if re.fullmatch(r"\d\.\w+", str(part.id)) else str(part.id)
    near = get_close_matches(id, exercises, n=1)
    require(id in exercises, "id of [[exercise]]", part.id, "an exercise that exists", f"did you mean {near}?")
    require(part.points > 0, f"points of {id}", part.points, "a number above 0")
    names = [mutant.name for mutant in exercises[id].mutants]
    for name, share in part.partial.items():
        near = get_close_matches(name, names, n=1)
        mend = f"did you mean {near[0]!r}?" if near else f"its mutants are {names}."
        require(name in names, f"partial credit of {id}", name, "the name of one of its mutants", mend)
        require(0 <= share < 1, f"partial credit of {id}", share, "a share of the points, from 0 to below 1")
    return replace(part, id=id)


def _written(content: Any) -> Written:
    samples = tuple(_made(Sample, item, "sample") for item in content.get("samples", ()))
    made: Written = _made(Written, {**content, "samples": samples}, "written")
    total = sum(made.rubric.values())
    require(total == made.points, f"rubric of {made.id}", total, f"points that sum to {made.points}")
    return made


def _check_calibration(assignment: Assignment, calibration: Calibration) -> None:
    for id, answer in calibration.answers.items():
        require(id in assignment.exercises, f"calibration {calibration.name!r}", id, "the id of an [[exercise]]")
        names = ["reference", "stub", *(mutant.name for mutant in assignment.exercises[id].mutants)]
        near = get_close_matches(answer, names, n=1)
        require(
            answer in names,
            f"calibration {calibration.name!r}, {id}",
            answer,
            "'reference', 'stub' or the name of a mutant",
            f"did you mean {near[0]!r}?" if near else f"its mutants are {names[2:]}.",
        )


def _unique(what: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, what, twice, "each once", "functions are collected by their names: rename or leave one out.")


def _own_exercises(folder: Path, files: Sequence[str]) -> dict[str, Exercise]:
    """The exercises that files declare, without leaving them in the course's registry."""
    if not files:
        return {}
    kept = dict(registry.EXERCISES), dict(registry.PREDICTIONS), dict(registry.QUIZZES)
    try:
        for file in files:
            _execute(folder / file)
        return {id: one for id, one in registry.EXERCISES.items() if id not in kept[0]}
    finally:
        _restore(registry.EXERCISES, kept[0])
        _restore(registry.PREDICTIONS, kept[1])
        _restore(registry.QUIZZES, kept[2])


def _restore(known: dict[str, Any], before: dict[str, Any]) -> None:
    known.clear()
    known.update(before)


def _execute(path: Path) -> None:
    """Run an instructor's file: it imports `cql_tutorial.course.registry` and declares as a chapter's file does."""
    require(path.is_file(), "files", str(path), "a file beside the assignment", "mind its name.")
    name = f"_assignment_{re.sub(r'[^0-9A-Za-z]', '_', path.stem)}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except ConfigError:
        raise
    except Exception as error:
        where = f"{type(error).__name__}: {error}"
        raise ConfigError(str(path), f"an exercise file that stops ({where})", "one that runs", "mend it.") from error
