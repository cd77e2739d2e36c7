"""`cql-tutorial assign` and `cql-tutorial grade`: homework from exercises, and the grades of a class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..course.assignments import grade_folder, students_of, write_bundle
from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class AssignOptions:
    """What is made of the assignment."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Where everything is written; a folder named after the file, beside it, if you give none."""
    seed_by: Literal["student", "none"] | None = None
    """Other numbers for each student, or the same for all; what the file says, if you give none."""
    students: Annotated[Path | None, tyro.conf.arg(metavar="ROSTER.csv")] = None
    """The class: one id a line, or the first column of a table. Each gets a notebook in students/."""
    wheel: Annotated[Path | None, tyro.conf.arg(metavar="FILE.whl")] = None
    """Put this wheel of the package into autograder.zip, in place of its name and version."""
    seeds: int = 10
    """How many draws the self-check makes beyond those of the roster."""


@dataclass(frozen=True, kw_only=True)
class GradeOptions:
    """What is graded, and how."""

    submissions: Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
    """The folder that holds the hand-ins, one notebook a student, named after the student."""
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("graded")
    """Where grades.csv, exercises.csv, mistakes.csv and feedback/ are written."""
    students: Annotated[Path | None, tyro.conf.arg(metavar="ROSTER.csv")] = None
    """The class: who handed in nothing gets a row of zeros."""
    processes: int = 1
    """How many hand-ins are graded at once; no more than there are cores, as the limits are wall-clock seconds."""
    allow_root: bool = False
    """Run students' code as root: inside a container that may be lost, and nowhere else."""


def assign(assignment: tyro.conf.Positional[Path], options: AssignOptions) -> int:
    """Check an assignment, then write its notebooks, its autograder and its rubric."""
    out = options.out or assignment.with_suffix("")
    students = _roster(options.students)
    made, checked = write_bundle(
        assignment,
        out,
        students=students,
        seed_by=options.seed_by or "",
        wheel=options.wheel,
        seeds=options.seeds,
    )
    print(f"{made.title}: {made.points:g} points, {len(made.parts)} exercises. Self-check passed:")
    for one in checked:
        draws = f"{one.draws} draws, {one.measured} held against the mutants" if one.draws else "its numbers are fixed"
        print(f"  {one.id:<6} reference full, stub 0, {one.mutants} mutants below full; {draws}; {one.seconds:g} s")
    copies = f"; students/: {len(students)} copies" if students and made.seed_by == "student" else ""
    print(f"{out}: student.ipynb{copies} (to hand out)")
    print(f"{out}: instructor.ipynb, autograder.zip, grader/, rubric.md (keep: they hold answers, and the key)")
    return 0


def grade(assignment: tyro.conf.Positional[Path], options: GradeOptions) -> int:
    """Grade a folder of notebooks with what `assign` wrote; the folder it wrote, or its grader/assignment.json."""
    places = (assignment, assignment / "assignment.json", assignment / "grader" / "assignment.json")
    file = next((path for path in places if path.is_file()), None)
    if file is None:
        mend = "cql-tutorial assign writes it."
        raise ConfigError("assignment", str(assignment), "a folder that `assign` wrote", mend)
    roster = _roster(options.students)
    grades = grade_folder(
        file,
        options.submissions,
        options.out,
        roster=roster,
        allow_root=options.allow_root,
        processes=options.processes,
        tell=_tell,
    )
    without = sum(not grade.notebook for grade in grades)
    print(f"{len(grades) - without} hand-ins graded{f', {without} missing' if without else ''}: {options.out}")
    return 0


def _tell(line: str) -> None:
    print(line, flush=True)


def _roster(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        return students_of(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("--students", f"{path} ({error})", "a text file of ids", "mind the path.") from error
