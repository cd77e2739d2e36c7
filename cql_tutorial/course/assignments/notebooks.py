"""The notebooks of an assignment: one for students, and one with nbgrader's marks for instructors who use it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import ConfigError
from ...files import atomic_write
from ..checker import Exercise, answer
from ..compare import copies
from ..registry import EXERCISES
from .spec import Assignment, Part, Written

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
MOST = 60  # numbers of an example that is shown in a notebook
INSTALL = """\
# Installs the course's package where it is missing, as in Colab; does nothing where it is there.
try:
    import cql_tutorial
except ImportError:
    import subprocess, sys

    subprocess.run([sys.executable, "-m", "pip", "install", "-q", {package!r}], check=True)"""
HEADER = "import math\n\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n"
TRY = """

def alike(found, expected):
    if isinstance(expected, tuple):
        return len(found) == len(expected) and all(map(alike, found, expected))
    found, expected = (torch.as_tensor(x, dtype=torch.float64) for x in (found, expected))
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-3)


def try_examples(function, examples):
    try:
        for number, (arguments, expected) in enumerate(examples, start=1):
            found = function(*arguments)
            said = "right" if alike(found, expected) else f"found {found}, expected {expected}"
            print(f"{function.__name__}, example {number}: {said}")
    except NotImplementedError:
        print(f"{function.__name__}: not attempted")"""


def student_notebook(assignment: Assignment, student: str = "") -> Any:
    """The notebook that is handed out; with a student's own numbers, if the assignment is seeded by student."""
    cells = [_markdown(_title(assignment, student)), _code(INSTALL.format(package=assignment.package))]
    cells.append(_code(_imports(assignment)))
    for part in assignment.parts:
        exercise = assignment.exercises[part.id]
        cells.append(_markdown(_header(part, exercise)))
        cells.append(_code(exercise.stub.rstrip()))
        cells += [_code(text) for text in _trials(assignment, part, student)]
    for question in assignment.written:
        cells += [_markdown(_question(question)), _markdown("*Your answer here.*")]
    return _notebook(cells, assignment, student)


def instructor_notebook(assignment: Assignment) -> Any:
    """The same with solutions, hidden tests and nbgrader's metadata, for its generate_assignment and autograde.

    nbgrader gives one notebook to all: the numbers are everyone's.
    """
    cells = [_markdown(_title(assignment, "")), _code(INSTALL.format(package=assignment.package))]
    cells.append(_code(_imports(assignment)))
    for part in assignment.parts:
        exercise = assignment.exercises[part.id]
        cells.append(_markdown(_header(part, exercise)))
        cells.append(_marked(_code(_solved(exercise)), f"answer-{_slug(part.id)}", solution=True))
        cells += [_code(text) for text in _trials(assignment, part, "")]
        test = _marked(_code(_hidden_test(assignment, part)), f"test-{_slug(part.id)}", points=part.points)
        cells.append(test)
    for question in assignment.written:
        cells.append(_markdown(_question(question)))
        own = _markdown("*Your answer here.*")
        cells.append(_marked(own, f"written-{_slug(question.id)}", points=question.points, solution=True))
    return _notebook(cells, assignment, "")


def write_notebook(notebook: Any, path: Path) -> None:
    """Write a notebook after it was held against Jupyter's schema; never half a file."""
    nbformat = _nbformat()
    nbformat.validate(notebook)
    with atomic_write(path) as temporary:
        nbformat.write(notebook, temporary)


def solved_notebook(assignment: Assignment, answers: dict[str, str], student: str = "") -> Any:
    """A hand-in made of known answers, for tests and rehearsals: ids to code that replaces the stub's cell."""
    notebook = student_notebook(assignment, student)
    for part in assignment.parts:
        stub = assignment.exercises[part.id].stub.rstrip()
        for cell in notebook.cells:
            if cell.source == stub and part.id in answers:
                cell.source = answers[part.id]
    return notebook


# ---------------------------------------------------------------- text
def _title(assignment: Assignment, student: str) -> str:
    lines = [f"# {assignment.title}", ""]
    facts = [f"{assignment.points:g} points"] + ([f"some {assignment.minutes} minutes"] if assignment.minutes else [])
    lines += [
        ", ".join(facts) + "." + (f" The numbers in this copy are those of **{student}**." if student else ""),
        "",
    ]
    lines += (
        ["**You will be able to**", "", *[f"- {goal}" for goal in assignment.goals], ""] if assignment.goals else []
    )
    lines += [assignment.text.strip(), ""] if assignment.text else []
    lines += [
        "Your *functions* are graded, by their names, on examples that are not shown here; cells may be added, moved "
        "or removed. A function that is missing gets no points. What is printed below your functions are public "
        "checks: passing them is no promise about the others."
    ]
    return "\n".join(lines)


def _header(part: Part, exercise: Exercise) -> str:
    text = f"## {part.id} · {exercise.title} ({part.points:g} points)"
    return f"{text}\n\n{part.text.strip()}" if part.text else text


def _question(question: Written) -> str:
    criteria = "\n".join(f"- {what} ({points:g})" for what, points in question.rubric.items())
    return (
        f"## {question.id} ({question.points:g} points, marked by a person)\n\n{question.prompt.strip()}\n\n{criteria}"
    )


def _imports(assignment: Assignment) -> str:
    checked = assignment.checks and any(part.id in EXERCISES for part in assignment.parts)
    lines = (["from cql_tutorial.course import check"] if checked else []) + list(assignment.imports)
    return HEADER.rstrip() + ("\n\n" + "\n".join(lines) if lines else "") + TRY


def answered(assignment: Assignment) -> dict[str, Any]:
    """The names of a notebook in which every answer is the text of the reference.

    Raises whatever that text raises: a name, for example, that stands in the reference's module and not in a notebook.
    """
    scope: dict[str, Any] = {}
    for text in (_imports(assignment), *(assignment.exercises[part.id].source for part in assignment.parts)):
        exec(text, scope)
    return scope


def _trials(assignment: Assignment, part: Part, student: str) -> list[str]:
    """Cells under a stub: the course's check, which names mistakes, and this copy's own numbers with their answers."""
    name, exercise = assignment.exercises[part.id].reference.__name__, assignment.public(part.id, student)
    cells = [f'check("{part.id}", {name})'] if assignment.checks and part.id in EXERCISES else []
    shown = [each for each in exercise.examples if each.shown and each.arguments]
    if exercise.secret or exercise.judge is not None or exercise is assignment.exercises[part.id]:
        return cells
    texts = []
    for example in shown:
        value = answer(exercise, exercise.reference, copies(example.arguments)).value
        text = f"    ({_as_code(example.arguments)}, {_as_code(value)}),"
        if "<" in text or _count(example.arguments) > MOST:  # a module, a batch: not to be written down
            continue
        texts += [f"    # {example.about.split(':')[0]}: other numbers", text]
    if not texts:
        return cells
    table = [
        f"{name}_examples = [  # arguments, and what to return",
        *texts,
        "]",
        f"try_examples({name}, {name}_examples)",
    ]
    return [*cells, "\n".join(table)]


def _as_code(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        dtype = "" if value.dtype in (torch.bool, torch.int64) else f", dtype={value.dtype}"
        return f"torch.tensor({_rounded(value.tolist())}{dtype})"
    if isinstance(value, np.ndarray):
        return _as_code(torch.as_tensor(value))
    if type(value) is tuple:
        return f"({', '.join(map(_as_code, value))},)"
    return repr(_rounded(value)) if type(value) in (float, int, bool, str, list) else "<not to be written down>"


def _rounded(value: Any) -> Any:
    if type(value) is float:
        return float(f"{value:.6g}")
    return [_rounded(part) for part in value] if type(value) is list else value


def _count(arguments: Sequence[Any]) -> int:
    return sum(given.numel() if isinstance(given, torch.Tensor) else 1 for given in arguments)


# ---------------------------------------------------------------- nbgrader
def _solved(exercise: Exercise) -> str:
    """The reference with nbgrader's marks around what the student writes: it leaves the stub."""
    head = exercise.stub.rstrip().splitlines()[:-1]
    body = exercise.source.rstrip().splitlines()[len(head) :]
    return "\n".join([*head, "    ### BEGIN SOLUTION", *body, "    ### END SOLUTION"])


def _hidden_test(assignment: Assignment, part: Part) -> str:
    name = assignment.exercises[part.id].reference.__name__
    own = {file: (assignment.folder / file).read_text(encoding="utf-8") for file in assignment.files}
    spec = {**assignment.plain(), "exercise": [{"id": part.id, "points": part.points, "partial": dict(part.partial)}]}
    left = ("text", "goals", "written", "calibration", "minutes", "imports")
    spec = {key: value for key, value in spec.items() if key not in left}
    lines = [
        f"# {part.id}: graded here, on examples that are not shown.",
        "### BEGIN HIDDEN TESTS",
        "from cql_tutorial.course.assignments.cell import grade_cell",
        "",
        f"grade_cell({name}, {spec!r}, {own if part.id not in EXERCISES else {}!r})",
        "### END HIDDEN TESTS",
    ]
    return "\n".join(lines)


def _marked(cell: Any, id: str, *, points: float | None = None, solution: bool = False) -> Any:
    mark = {"grade": points is not None, "grade_id": id, "locked": not solution, "schema_version": 3}
    mark |= {"solution": solution, "task": False} | ({} if points is None else {"points": points})
    cell.metadata["nbgrader"] = mark
    return cell


# ---------------------------------------------------------------- cells
def _notebook(cells: list[Any], assignment: Assignment, student: str) -> Any:
    notebook = _nbformat().v4.new_notebook(cells=cells)
    own = {"assignment": assignment.title, **({"student": student} if student else {})}
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}, "cql_tutorial": own}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"  # the same file for the same assignment
    return notebook


def _markdown(text: str) -> Any:
    return _nbformat().v4.new_markdown_cell(text)


def _code(text: str) -> Any:
    return _nbformat().v4.new_code_cell(text)


def _slug(text: str) -> str:
    return re.sub(r"[^0-9A-Za-z]+", "-", text).strip("-").lower()


def _nbformat() -> Any:
    try:
        import nbformat
    except ImportError as error:
        mend = "pip install 'cql-tutorial[course]'"
        raise ConfigError("nbformat", "no such package", "it, to write notebooks", mend) from error
    return nbformat
