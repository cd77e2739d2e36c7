"""Everything that one assignment needs, written into one folder after the self-check has passed."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import ConfigError, require
from ...files import atomic_write
from .gradescope import grader_files, write_autograder
from .notebooks import instructor_notebook, student_notebook, write_notebook
from .self_check import SEEDS, Checked, self_check
from .spec import Assignment, load, with_key


def key_in(out: Path) -> str:
    """The key that an earlier run left in the folder; a new one if there is none."""
    try:
        return str(json.loads((out / "grader" / "assignment.json").read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError):
        return secrets.token_hex(16)


def write_bundle(
    file: Path,
    out: Path,
    *,
    students: Sequence[str] = (),
    seed_by: str = "",
    wheel: Path | None = None,
    seeds: int = SEEDS,
) -> tuple[Assignment, list[Checked]]:
    """Check an assignment and write its notebooks, its autograder and its rubric; nothing, if the check fails.

    Raises `ConfigError` naming what is wrong with the assignment.
    """
    assignment = load(file)
    assignment = with_key(assignment, key_in(out))
    if seed_by:
        require(seed_by in ("student", "none"), "--seed-by", seed_by, "'student' or 'none'")
        assignment = replace(assignment, seed_by=seed_by)
    for name in students:
        if not name or Path(name).name != name or name.startswith("."):
            raise ConfigError("student", repr(name), "a name that can be a file's", "use ids without slashes.")
    require(wheel is None or wheel.is_file(), "--wheel", str(wheel), "a wheel that exists", "python -m build --wheel")
    checked = self_check(assignment, students, seeds)
    write_notebook(student_notebook(assignment), out / "student.ipynb")
    write_notebook(instructor_notebook(assignment), out / "instructor.ipynb")
    if assignment.seed_by == "student":
        for name in students:
            write_notebook(student_notebook(assignment, name), out / "students" / f"{name}.ipynb")
    for name, text in {**grader_files(assignment), "../rubric.md": rubric(assignment)}.items():
        with atomic_write(out / "grader" / name if name[0] != "." else out / "rubric.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_autograder(assignment, out / "autograder.zip", wheel)
    return assignment, checked


def rubric(assignment: Assignment) -> str:
    """The instructor's page: goals, minutes, points, what a recognised mistake gets, samples to calibrate on."""
    lines = [f"# {assignment.title}: rubric", "", "For instructors; it holds answers.", ""]
    lines += [f"Some {assignment.minutes} minutes."] if assignment.minutes else []
    lines += (
        ["", "Students will be able to", "", *[f"- {goal}" for goal in assignment.goals]] if assignment.goals else []
    )
    lines += ["", "| exercise | points | a recognised mistake that gets a part |", "|---|---|---|"]
    for part in assignment.parts:
        partial = "; ".join(f"{name}: {share:.0%}" for name, share in part.partial.items()) or "none"
        lines.append(f"| {part.id} {assignment.exercises[part.id].title} | {part.points:g} | {partial} |")
    fixed = assignment.fixed_parts()
    same = f"The same for all students: {', '.join(fixed)}." if fixed else "Every exercise can be drawn anew."
    lines += ["", same if assignment.seed_by == "student" else "All students have the same numbers.", ""]
    for question in assignment.written:
        lines += [f"## {question.id} ({question.points:g} points, marked by a person)", "", question.prompt.strip(), ""]
        lines += [f"- {what} ({points:g})" for what, points in question.rubric.items()] + [""]
        for sample in question.samples:
            lines += [
                f"Sample, {sample.points:g} points: *{sample.answer.strip()}*",
                "",
                f"Why: {sample.why.strip()}",
                "",
            ]
    if assignment.calibration:
        lines += [
            "## Calibration: hand-ins that the grader gives",
            "",
            "| hand-in | answers | points |",
            "|---|---|---|",
        ]
        for one in assignment.calibration:
            answers = ", ".join(f"{id}: {answer}" for id, answer in one.answers.items()) or "all stubs"
            lines.append(f"| {one.name} | {answers} | {one.points:g} |")
    return "\n".join(lines).rstrip() + "\n"
