"""Grade hand-ins: each student's code in a process of its own, with limits; a pass is believed only if it is right.

One broken notebook never stops the others, one endless function never costs the points of another: where a process
hangs or dies, it is ended, and a new one goes on behind that place. This keeps accidents apart, and it is no sandbox:
the code runs with the rights of whoever grades. So it refuses to run as root unless it is told that the machine around
it may be lost, as Gradescope's container may.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import ConfigError, CQLTutorialError, require
from ...files import atomic_write
from ..checker import PASSED
from .child import CELLS, TOO_LONG
from .collect import read_cells
from .spec import Assignment, Part, load
from .verdict import REFUSED, STOPPED, Verdict, confirmed

START = 120.0  # seconds for Python and torch to start, on a slow machine
GRACE = 3.0  # seconds beyond its own alarm, before a process is ended from outside
CELLS_AT_ONCE = 3  # all cells together may take so many times what one may
LOOK = 0.05  # seconds between two looks at a running process
ONE_AT_A_TIME = threading.Lock()  # an instructor's file declares its exercises in the registry while it is read


@dataclass
class Grade:
    """What one hand-in got: a verdict for each exercise, notes for the instructor, and the seconds it took."""

    student: str
    notebook: str
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def points(self) -> float:
        """The sum over the exercises, to a hundredth."""
        return round(sum(verdict.points for verdict in self.verdicts.values()), 2)


def require_no_root(allow_root: bool) -> None:
    """Refuse to run students' code with all rights, unless whoever grades says that the machine is made for it."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if root and not allow_root:
        raise ConfigError(
            "user", "root", "a user with few rights", "grade as one; or, inside a container, pass --allow-root."
        )


def grade_notebook(file: Path, notebook: Path, student: str, *, allow_root: bool = False) -> Grade:
    """Grade one hand-in; ``file`` is the grader's assignment.json. Raises nothing for whatever the notebook holds."""
    require_no_root(allow_root)
    start = time.monotonic()
    with ONE_AT_A_TIME:
        assignment = load(file)
    grade = Grade(student, notebook.name)
    try:
        _, named = read_cells(notebook)
    except CQLTutorialError as error:
        grade.notes.append(str(error))
        for part in assignment.parts:
            grade.verdicts[part.id] = Verdict(part.id, "unreadable", 0.0, str(error))
        return grade
    if named and named != assignment.student(student) and assignment.seed_by == "student":
        grade.notes.append(f"made from the notebook of {named!r}")
    with tempfile.TemporaryDirectory(prefix="grade-") as folder:
        _run_all(assignment, file, notebook, grade, Path(folder))
    with ONE_AT_A_TIME:
        _confirm(assignment, grade)
    grade.seconds = round(time.monotonic() - start, 1)
    return grade


def _confirm(assignment: Assignment, grade: Grade) -> None:
    """Take back a pass whose answers are not the right ones: the process that gave it ran the student's code."""
    for part in assignment.parts:
        verdict = grade.verdicts[part.id]
        if verdict.status != PASSED:
            continue
        try:
            right = confirmed(assignment.graded(part.id, grade.student), verdict.answers)
        except Exception:  # packed by nobody that we know
            right = False
        if not right or verdict.points != part.points:
            grade.verdicts[part.id] = Verdict(
                part.id, REFUSED, 0.0, "the pass could not be confirmed from your answers."
            )
            grade.notes.append(f"{part.id}: a pass that its own answers do not bear out; read this notebook")


def _run_all(assignment: Assignment, file: Path, notebook: Path, grade: Grade, folder: Path) -> None:
    parts, definitions_only = {part.id: part for part in assignment.parts}, False
    while left := [id for id in parts if id not in grade.verdicts]:
        phase, late = _run_once(assignment, file, notebook, grade, folder, left, definitions_only)
        still = [id for id in left if id not in grade.verdicts]
        if not still:
            return
        why = TOO_LONG.format(assignment.limits.seconds) if late else "the process ended while your function ran."
        if phase in parts:
            grade.verdicts[phase] = Verdict(phase, STOPPED, 0.0, why)
        elif phase == CELLS and not definitions_only:
            how = "took too long" if late else "ended the process"
            grade.notes.append(f"the cells {how}: only imports, definitions and constants were run")
            definitions_only = True
        else:
            for id in still:
                grade.verdicts[id] = Verdict(id, STOPPED, 0.0, "your notebook could not be run to its end.")


def _run_once(
    assignment: Assignment,
    file: Path,
    notebook: Path,
    grade: Grade,
    folder: Path,
    ids: Sequence[str],
    definitions_only: bool,
) -> tuple[str, bool]:
    """Start one process for these exercises, take its verdicts; return the phase it ended in, and if it was late."""
    out, here = folder / "verdicts.jsonl", folder / "here"
    here.mkdir(exist_ok=True)
    out.write_text("", encoding="utf-8")
    job = {
        "assignment": str(file.resolve()),
        "student": grade.student,
        "notebook": str(notebook.resolve()),
        "ids": list(ids),
        "out": str(out),
        "definitions_only": definitions_only,
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    with open(folder / "output.txt", "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", f"{__package__}.child", str(folder / "job.json")],
            cwd=here,
            env=_environment(here),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            phase, late = _watch(process, out, assignment.limits.seconds)
        finally:
            _end(process)
    for line in _lines(out):
        grade.notes += [str(note) for note in line.get("notes", [])]
        if isinstance(line.get("verdict"), dict) and line["verdict"].get("id") in ids:
            grade.verdicts[line["verdict"]["id"]] = _verdict(line["verdict"], assignment)
    shutil.rmtree(here, ignore_errors=True)
    return phase, late


def _verdict(content: Mapping[str, Any], assignment: Assignment) -> Verdict:
    """A verdict as it was written by a process that ran a student's code: its points are computed, not believed."""
    part = next(part for part in assignment.parts if part.id == content["id"])
    status, mutant = str(content.get("status")), str(content.get("mutant"))
    points = part.points if status == PASSED else part.points * part.partial.get(mutant, 0.0)
    answers = content.get("answers")
    return Verdict(
        part.id,
        status,
        points if status in (PASSED, "wrong") else 0.0,
        str(content.get("message"))[:2000],
        mutant,
        tuple(answers) if isinstance(answers, list) else (),
    )


def _watch(process: subprocess.Popen[bytes], out: Path, seconds: float) -> tuple[str, bool]:
    """Wait until a process ends or is late in the phase that it is in."""
    phase, since = "start", time.monotonic()
    while True:
        ended = process.poll() is not None
        now = [line["begin"] for line in _lines(out) if "begin" in line][-1:] or ["start"]
        if now[0] != phase:
            phase, since = now[0], time.monotonic()
        if ended:
            return phase, False
        allowed = START if phase in ("start", "end") else seconds * (CELLS_AT_ONCE if phase == CELLS else 1) + GRACE
        if time.monotonic() - since > allowed:
            return phase, True
        time.sleep(LOOK)


def _lines(out: Path) -> list[dict[str, Any]]:
    found = []
    with contextlib.suppress(OSError):
        for line in out.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):  # half a line, where the process was ended
                content = json.loads(line)
                found += [content] if isinstance(content, dict) else []
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and whatever it has started."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _environment(folder: Path) -> dict[str, str]:
    """What a student's code sees of the environment: where Python and its packages are, and nothing else."""
    kept = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "SYSTEMROOT", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    if "PYTHONPATH" in found:  # the process starts in another folder
        found["PYTHONPATH"] = os.pathsep.join(os.path.abspath(each) for each in found["PYTHONPATH"].split(os.pathsep))
    return {**found, "HOME": str(folder), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}


# ---------------------------------------------------------------- a whole class
def students_of(file: Path) -> list[str]:
    """The names on a roster: one a line, or the first column of a CSV; lines that start with # are left out."""
    rows = csv.reader(file.read_text(encoding="utf-8-sig").splitlines())
    names = [row[0].strip() for row in rows if row and row[0].strip() and not row[0].startswith("#")]
    return [name for name in names if name.lower() not in ("student", "name", "id", "email")]


def whose(notebook: Path, roster: Sequence[str]) -> str:
    """The student of a hand-in: the file's name, if it is on the roster; else who its metadata name; else its name.

    Learning platforms put words around a file's name: a name of the roster inside it will do, if it is the only one.
    """
    if notebook.stem in roster:
        return notebook.stem
    inside = [name for name in roster if name and name.lower() in notebook.stem.lower()]
    if inside and all(name in max(inside, key=len) for name in inside):
        return max(inside, key=len)
    try:
        named = read_cells(notebook)[1]
    except CQLTutorialError:
        named = ""
    return named if named and (not roster or named in roster) else notebook.stem


def grade_folder(
    file: Path,
    submissions: Path,
    out: Path,
    *,
    roster: Sequence[str] = (),
    allow_root: bool = False,
    processes: int = 1,
    tell: Any = None,
) -> list[Grade]:
    """Grade every notebook of a folder; write grades.csv, exercises.csv, mistakes.csv and a feedback file for each.

    So many ``processes`` are graded at once; the limits of seconds are wall-clock, so no more than there are cores. A
    student of the roster without a hand-in gets a row of zeros.
    """
    require_no_root(allow_root)
    require(processes >= 1, "processes", processes, "a whole number of at least 1")
    notebooks = sorted(path for path in submissions.glob("*.ipynb") if path.is_file())
    if not notebooks:
        raise ConfigError("submissions", f"no notebook in {submissions}", "a folder of *.ipynb", "mind the path.")
    assignment, grades = load(file), list[Grade]()

    def grade_one(notebook: Path) -> Grade:
        return grade_notebook(file, notebook, whose(notebook, roster), allow_root=allow_root)

    # Each hand-in has processes of its own: here a thread only waits for them, and then confirms what they say.
    with ThreadPoolExecutor(processes) as pool:
        for grade in pool.map(grade_one, notebooks):
            grades.append(grade)
            if tell is not None:
                tell(f"{grade.student}: {grade.points:g} of {assignment.points:g} ({grade.seconds:g} s)")
    seen = Counter(grade.student for grade in grades)
    for grade in grades:
        if seen[grade.student] > 1:
            grade.notes.append(f"{seen[grade.student]} hand-ins of this student")
    for name in [name for name in roster if name not in seen]:
        none = {part.id: Verdict(part.id, "not handed in") for part in assignment.parts}
        grades.append(Grade(name, "", none))
    write_tables(assignment, grades, out)
    return grades


def write_tables(assignment: Assignment, grades: Sequence[Grade], out: Path) -> None:
    """Write the three tables, and a page of feedback for each hand-in."""
    ids = [part.id for part in assignment.parts]
    written = [question.id for question in assignment.written]
    rows = [
        [g.student, g.notebook, f"{g.points:g}", f"{assignment.points:g}"]
        + [f"{g.verdicts[id].points:g}" for id in ids]
        + ["" for _ in written]
        + [f"{g.seconds:g}", "; ".join(g.notes)]
        for g in grades
    ]
    _csv(out / "grades.csv", ["student", "notebook", "points", "of", *ids, *written, "seconds", "notes"], rows)
    lines, mistakes = [], Counter[tuple[str, str, str]]()
    for grade in grades:
        for part in assignment.parts:
            verdict = grade.verdicts[part.id]
            points = [f"{verdict.points:g}", f"{part.points:g}"]
            lines.append([grade.student, part.id, *points, verdict.status, verdict.mutant, verdict.message])
            if verdict.status != PASSED:
                mistakes[part.id, verdict.status, verdict.mutant] += 1
        if grade.notebook:
            path = out / "feedback" / f"{Path(grade.notebook).stem}.md"
            _text(path, feedback(assignment, grade))
    _csv(out / "exercises.csv", ["student", "exercise", "points", "of", "status", "mistake", "message"], lines)
    counted = [[*key, str(number)] for key, number in sorted(mistakes.items(), key=lambda one: (one[0][0], -one[1]))]
    _csv(out / "mistakes.csv", ["exercise", "status", "mistake", "students"], counted)


def feedback(assignment: Assignment, grade: Grade) -> str:
    """What a student reads: points and message of each exercise."""
    lines = [f"# {assignment.title}", "", f"{grade.student}: {grade.points:g} of {assignment.points:g} points", ""]
    for part in assignment.parts:
        lines += [f"## {heading(assignment, part, grade.verdicts[part.id])}", ""]
        lines += [grade.verdicts[part.id].message or "No hand-in.", ""]
    noted = [note for note in grade.notes if note.startswith(("cell ", "the cells"))]
    lines += ["What happened while your cells ran:", "", *[f"- {note}" for note in noted], ""] if noted else []
    lines += [f"{question.id}: marked by hand, {question.points:g} points." for question in assignment.written]
    return "\n".join(lines).rstrip() + "\n"


def heading(assignment: Assignment, part: Part, verdict: Verdict) -> str:
    """An exercise's id, title, points and status, on one line."""
    title = assignment.exercises[part.id].title
    return f"{part.id} {title}: {verdict.points:g} of {part.points:g}, {verdict.status}"


def _csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(names)
        table.writerows([[_plain_cell(each) for each in row] for row in rows])


def _plain_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: its text may come from a student."""
    return f"'{text}" if text[:1] in ("=", "+", "@", "\t", "\r") else text


def _text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
