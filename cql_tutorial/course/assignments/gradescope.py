"""Gradescope's plain layout: a zip with setup.sh and run_autograder, and what run_autograder calls.

No conda, no notebook server: a virtual environment with a CPU build of torch and this package. Gradescope's container
is the boundary around a student's code; the grader runs as root in it and is told so.

    python -m cql_tutorial.course.assignments.gradescope /autograder
"""

from __future__ import annotations

import json
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

from ...files import atomic_write
from .collect import read_cells
from .grading import Grade, grade_notebook, heading
from .spec import Assignment, load
from .verdict import PASSED

SETUP = """\
#!/usr/bin/env bash
# Gradescope runs this once, when it builds the image. AUTOGRADER is /autograder there.
set -euo pipefail
root="${{AUTOGRADER:-/autograder}}"
if ! python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null; then
    apt-get update && apt-get install -y --no-install-recommends python3 python3-venv
fi
python3 -m venv "$root/venv"
# The CPU build: a tenth of the size of the one with CUDA.
"$root/venv/bin/python" -m pip install --quiet {torch} --index-url "${{TORCH_INDEX:-https://download.pytorch.org/whl/cpu}}"
cd "$root/source"
"$root/venv/bin/python" -m pip install --quiet {package}
"$root/venv/bin/python" -c 'import cql_tutorial.course'
"""
RUN = """\
#!/usr/bin/env bash
# Gradescope runs this for each hand-in: submission/ is read, results/results.json is written.
root="${AUTOGRADER:-/autograder}"
cd "$root"  # Python looks for modules where it starts
exec "$root/venv/bin/python" -m cql_tutorial.course.assignments.gradescope "$root"
"""


def write_autograder(assignment: Assignment, path: Path, wheel: Path | None = None) -> None:
    """Write autograder.zip; ``wheel`` is packed into it, else setup.sh installs the package by its name.

    It holds the key and the instructor's own exercises: it goes to Gradescope, never to a student.
    """
    package = f"'./{wheel.name}'" if wheel is not None else f"'{assignment.package}'"
    torch_version = metadata.version("torch").split("+")[0]
    files = {
        "setup.sh": SETUP.format(torch=f"'torch=={torch_version}'", package=package),
        "run_autograder": RUN,
        **grader_files(assignment),
    }
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))  # the same zip for the same assignment
            entry.external_attr = (0o755 if name in ("setup.sh", "run_autograder") else 0o644) << 16
            zipped.writestr(entry, text, zipfile.ZIP_DEFLATED)
        if wheel is not None:
            zipped.write(wheel, wheel.name)


def grader_files(assignment: Assignment) -> dict[str, str]:
    """What a grader reads: the assignment as JSON, and the exercise files beside it, under their last names."""
    content = {**assignment.plain(), "files": [Path(file).name for file in assignment.files]}
    files = {Path(file).name: (assignment.folder / file).read_text(encoding="utf-8") for file in assignment.files}
    return {"assignment.json": json.dumps(content, indent=1), **files}


# ---------------------------------------------------------------- in Gradescope's container
def run(root: Path) -> dict[str, Any]:
    """Grade the hand-in that lies in ``root``/submission and write ``root``/results/results.json."""
    assignment_file = root / "source" / "assignment.json"
    notebooks = sorted((root / "submission").glob("*.ipynb"))
    if len(notebooks) == 1:
        student = student_of(root / "submission_metadata.json") or read_student(notebooks[0])
        grade = grade_notebook(assignment_file, notebooks[0], student, allow_root=True)
        results = results_of(load(assignment_file), grade)
    else:
        said = f"{len(notebooks)} notebooks were handed in, and one is wanted: hand in one file that ends in .ipynb."
        results = {"score": 0, "output": said, "tests": []}
    path = root / "results" / "results.json"
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return results


def student_of(path: Path) -> str:
    """Who handed in: the part before the @ of the e-mail address in Gradescope's metadata, "" if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return str(content["users"][0]["email"]).split("@")[0]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return ""


def read_student(notebook: Path) -> str:
    """The student that a notebook names, else its file's name."""
    try:
        return read_cells(notebook)[1] or notebook.stem
    except ValueError:
        return notebook.stem


def results_of(assignment: Assignment, grade: Grade) -> dict[str, Any]:
    """A grade in Gradescope's format: one test for each exercise, its message as output."""
    tests = [
        {
            "name": heading(assignment, part, grade.verdicts[part.id]),
            "score": grade.verdicts[part.id].points,
            "max_score": part.points,
            "status": "passed" if grade.verdicts[part.id].status == PASSED else "failed",
            "output": grade.verdicts[part.id].message,
            "visibility": "visible",
        }
        for part in assignment.parts
    ]
    notes = [note for note in grade.notes if note.startswith(("cell ", "the cells"))]
    return {
        "score": grade.points,
        "execution_time": grade.seconds,
        "output": "\n".join(notes),
        "stdout_visibility": "hidden",
        "tests": tests,
    }


if __name__ == "__main__":
    run(Path(sys.argv[1]))
