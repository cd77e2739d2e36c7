"""Assignments: other numbers for each student, functions in place of cells, limits, and a check before handing out."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cql_tutorial.course import SESSION
from cql_tutorial.course import assignments as homework
from cql_tutorial.course.assignments import bundle, cell, gradescope, grading, notebooks, verdict
from cql_tutorial.course.assignments.collect import TimeLimitError, collect, read_cells, time_limit
from cql_tutorial.course.assignments.redraw import can_be_redrawn, fault, moved, redrawn
from cql_tutorial.course.assignments.self_check import self_check, stub_of
from cql_tutorial.course.checker import Example, Exercise, check_answer
from cql_tutorial.errors import ConfigError, DataError
from tests import ROOT

torch.set_num_threads(1)
READY = sorted((ROOT / "assignments").glob("*.toml"))
D = torch.float64
TOML = """
title = "Two"
seed_by = "student"
{more}
[limits]
seconds = {seconds}
memory_mb = 600
[[exercise]]
id = "06.1"
points = 10
partial = {{ "overflow" = 0.7 }}
[[exercise]]
id = "4.1"
points = 5
"""


def two(folder: Path, more: str = "", seconds: float = 20, text: str = TOML) -> homework.Assignment:
    path = folder / "two.toml"
    path.write_text(text.format(more=more, seconds=seconds), encoding="utf-8")
    return homework.load(path, key="a key of this test")


def numbers(exercise: Exercise) -> list[Any]:
    return [
        [given.tolist() if isinstance(given, torch.Tensor) else given for given in example.arguments]
        for example in exercise.examples
    ]


# ---------------------------------------------------------------- individual values
@pytest.mark.parametrize("id", ["01.1", "02.5", "11.4"])
def test_two_students_have_other_numbers_and_one_grader_judges_both(id: str) -> None:
    exercise = SESSION.exercises[id]
    ada, bob = (redrawn(exercise, "key", "hidden", name) for name in ("ada", "bob"))
    assert numbers(ada) == numbers(redrawn(exercise, "key", "hidden", "ada"))
    assert numbers(ada) != numbers(bob) != numbers(exercise) != numbers(ada)
    assert numbers(ada) != numbers(redrawn(exercise, "another key", "hidden", "ada"))
    for drawn in (ada, bob):
        assert check_answer(drawn, exercise.reference).status == "passed"
        told = {mutant.name: check_answer(drawn, mutant.function).mutant for mutant in exercise.mutants}
        assert told == {name: name for name in told}


def test_a_draw_keeps_what_an_example_is_made_of() -> None:
    from cql_tutorial.course.assignments.redraw import key_generator

    arguments = (
        torch.tensor([[0.5, 0.25, 0.25, 0.0], [0.0, 0.0, 1.0, 0.0]], dtype=D),
        torch.tensor([1000.0, -998.0, 0.0, 2.5, 2.5], dtype=D),
        torch.tensor([0.9, -0.9, 1.0], dtype=D),
        torch.log_softmax(torch.tensor([1.0, 2.0, 0.5], dtype=D), 0),
        0.99,
        torch.tensor([True, False]),
        torch.tensor([3, 1]),
        2.5,
    )
    for number in range(20):
        shares, values, actions, logs, discount, flags, places, same = moved(arguments, key_generator("k", str(number)))
        assert torch.allclose(shares.sum(1), torch.ones(2, dtype=D)) and shares[0, 1] == shares[0, 2]
        assert shares[0, 3] == 0 and shares[1].tolist() == [0, 0, 1, 0] and bool((shares >= 0).all())
        assert values.sign().tolist() == [1, -1, 0, 1, 1] and values[3] == values[4] == same != 2.5
        assert 999 <= values[0] <= 1001 and bool((actions.abs() <= 1).all()) and actions[0] == -actions[1]
        assert torch.allclose(logs.exp().sum(), torch.ones((), dtype=D)) and 0.97 < discount < 1
        assert flags is arguments[5] and places is arguments[6]


def test_a_draw_that_takes_two_mutants_for_each_other_is_refused() -> None:
    exercise = SESSION.exercises["04.1"]
    small = replace(exercise, examples=(Example((torch.tensor([[1.0, 2.0, 3.5]], dtype=D),), "no large value"),) * 4)
    assert "coincide" in fault(exercise, small)
    assert "the exercise's own" in fault(exercise, replace(exercise, examples=tuple(map(replace, exercise.examples))))


def test_what_cannot_be_redrawn_is_named(tmp_path: Path) -> None:
    letters, rounds = SESSION.exercises["06.6"], SESSION.exercises["03.4"]
    assert not can_be_redrawn(letters)
    for exercise, words in ((letters, "without a real number"), (rounds, "none is in general position")):
        with pytest.raises(ConfigError, match=f"exercise {exercise.id}.*{words}"):
            redrawn(exercise, "key")
    one = '[[exercise]]\nid = "06.6"\npoints = 3\n'
    with pytest.raises(ConfigError, match=r"06\.6.*cannot be redrawn"):
        two(tmp_path, 'fixed = "refuse"', text=TOML + one)
    kept = two(tmp_path, text=TOML + one)
    assert kept.fixed_parts() == ["06.6"] and kept.graded("06.6", "ada") is letters
    assert self_check(kept, ["ada"], 0)[2].draws == 0


# ---------------------------------------------------------------- the file
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"06.1"', '"06.99"', "an exercise that exists"),
        ("points = 5", "point = 5", "did you mean 'points'"),
        ("points = 5", "", "missing 1 required"),
        ('"overflow" =', '"overflo" =', "did you mean 'overflow'"),
        ("= 0.7", "= 1", "below 1"),
        ('"4.1"', '"06.1"', "each once"),
        ('"student"', '"seat"', "'student' or 'none'"),
        ("title =", "titel =", "did you mean 'title'"),
        ("[limits]", "[limits", "a file that cannot be read"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        two(tmp_path, text=TOML.replace(old, new))


@pytest.mark.parametrize("path", READY, ids=lambda path: path.stem)
def test_the_ready_assignments_can_be_read_and_name_goals_minutes_and_samples(path: Path) -> None:
    made = homework.load(path, key="k")
    assert made.goals and made.minutes and made.written and len(made.calibration) >= 3 and made.text
    assert made.points + sum(question.points for question in made.written) == 100
    assert all(len(question.samples) >= 2 for question in made.written)
    chosen = [made.exercises[part.id].minutes for part in made.parts]
    assert abs(made.minutes - sum(chosen)) <= 45  # the rest is for what is written
    assert "BEGIN HIDDEN" not in bundle.rubric(made) and all(part.id in bundle.rubric(made) for part in made.parts)
    assert set(SESSION.exercises) == set(homework.spec.registry.EXERCISES) and "own.1" not in SESSION.exercises


def test_the_self_check_passes_a_right_assignment_and_refuses_a_wrong_one(tmp_path: Path) -> None:
    found = self_check(two(tmp_path), ["ada", "bob"], 2)
    assert [(one.id, one.draws, one.measured) for one in found] == [("06.1", 4, 4), ("04.1", 4, 4)]
    wrong = '[[calibration]]\nname = "no"\nanswers = {{ "06.1" = "overflow" }}\npoints = 8\n'
    with pytest.raises(ConfigError, match=r"'no': found 7 points; expected 8"):
        self_check(two(tmp_path, text=TOML + wrong), [], 0)
    made = two(tmp_path)
    weak = replace(made.exercises["06.1"], redraw=lambda generator, number, example: made.exercises["06.1"].examples[
        0].arguments)  # fmt: skip
    with pytest.raises(ConfigError, match=r"06\.1"):
        self_check(replace(made, exercises={**made.exercises, "06.1": weak}), ["ada", "bob"], 0)


# ---------------------------------------------------------------- functions, not cells
def test_a_reference_that_calls_what_no_notebook_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.toml"
    text = (ROOT / "assignments" / "the_agent.toml").read_text(encoding="utf-8")
    head, tail = text.split("imports = [")
    path.write_text(head + tail.partition("]\n")[2], encoding="utf-8")
    with pytest.raises(ConfigError, match=r"(?s)text of 08\.9.*imports"):
        self_check(replace(homework.load(path, key="a key"), calibration=()), seeds=0)


@pytest.mark.parametrize("path", READY, ids=lambda path: path.stem)
def test_every_reference_of_a_ready_assignment_stands_alone_in_a_notebook(path: Path) -> None:
    assignment = homework.load(path, key="a key of this test")
    scope = notebooks.answered(assignment)
    for part in assignment.parts:
        exercise = assignment.exercises[part.id]
        assert verdict.judge(part, exercise, scope[exercise.reference.__name__]).points == part.points, part.id


def collected(*cells: str, seconds: float = 5.0, **options: Any) -> Any:
    return collect(list(cells), {id: SESSION.exercises[id] for id in ("04.1", "04.2")}, seconds, **options)


def test_functions_are_found_wherever_they_stand() -> None:
    found = collected(
        "%matplotlib inline\n!ls\nimport torch",
        "def broken(:",
        "1 / 0\nnever = 1",
        "from dataclasses import dataclass\n@dataclass\nclass Own:\n    x: int = 1",
        "adversary_value = lambda q: torch.logsumexp(q, Own().x)",
        "import sys\nsys.exit(0)",
        "from cql_tutorial.course import check, hint\ndef my_name(q, actions):\n    return 1\ncheck('4.2', my_name)",
    )
    assert set(found.functions) == {"04.1", "04.2"} and found.functions["04.2"].__name__ == "my_name"
    assert check_answer(SESSION.exercises["04.1"], found.functions["04.1"]).status == "passed"
    assert [note.split(":")[0] for note in found.notes] == ["cell 2", "cell 3", "cell 6"]
    from cql_tutorial.course import check

    assert "passed" in check("04.1", SESSION.exercises["04.1"].reference)  # the session is itself again


def test_the_packages_own_functions_count_for_nothing() -> None:
    found = collected(
        "from cql_tutorial.course import or_reference, solution\nfrom torch import logsumexp as adversary_value",
        "def penalty(q, actions):\n    return 0\npenalty = or_reference('04.2', penalty)",
        "solution('04.1')",
    )
    assert "of a library" in found.reasons["04.1"] and found.functions["04.2"](1, 2) == 0
    assert found.notes == ["solutions looked up: 04.1"]
    none = collected("x = 1")
    assert set(none.reasons) == {"04.1", "04.2"} and "no function `penalty`" in none.reasons["04.2"]


def test_endless_cells_are_stopped_and_left_out_where_a_whole_run_was_ended() -> None:
    cells = ("while True:\n    pass", "def penalty(q, actions):\n    return 1", "adversary_value = 3")
    found = collected(*cells, seconds=0.2)
    assert set(found.functions) == {"04.2"} and found.notes == ["cell 1: stopped after 0.2 s"]
    assert set(collected(*cells, definitions_only=True).functions) == {"04.2"}
    with pytest.raises(TimeLimitError), time_limit(0.1):
        while True:
            with contextlib.suppress(Exception):
                sum(range(1000))


def test_a_message_shows_no_hidden_example(tmp_path: Path) -> None:
    made = two(tmp_path)
    part, exercise = made.parts[1], made.graded("04.1", "ada")
    hidden = {f"{abs(x):g}" for example in exercise.examples for x in example.arguments[0].flatten().tolist()}
    wrong = [mutant.function for mutant in exercise.mutants]
    odd = [lambda q: q[0], lambda q: q + torch.ones(17), lambda q: None, lambda q: 0.3 * q.sum(1), stub_of(exercise)]
    for function in [*wrong, *odd]:
        given = verdict.judge(part, exercise, function)
        assert given.points < 5 and given.message
        words = set(given.message.replace(",", " ").replace("[", " ").replace("]", " ").split())
        assert not words & {x for x in hidden if "." in x and len(x) > 3}, given.message
    overflow = next(mutant for mutant in made.exercises["06.1"].mutants if mutant.name == "overflow")
    partly = verdict.judge(made.parts[0], made.graded("06.1", "ada"), overflow.function)
    assert partly.points == pytest.approx(7) and partly.message == overflow.message


def test_a_pass_is_believed_only_with_the_right_answers() -> None:
    for id in ("00.2", "02.4", "04.2", "06.6", "03.5"):
        exercise = SESSION.exercises[id]
        told = json.loads(json.dumps(verdict.answers_of(exercise, exercise.reference)))
        assert verdict.confirmed(exercise, tuple(told)) and not verdict.confirmed(exercise, ())
        wrong = json.loads(json.dumps(verdict.answers_of(exercise, exercise.mutants[0].function)))
        assert not verdict.confirmed(exercise, tuple(wrong))
    with pytest.raises(ConfigError, match="answer"):
        verdict.pack(object())
    value = (torch.tensor([1, 2]), [1.5, None, "a"], {"k": True}, torch.tensor([0.1], dtype=torch.float32))
    assert str(verdict.unpack(json.loads(json.dumps(verdict.pack(value))))) == str(value)


# ---------------------------------------------------------------- what is written
@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the assignment `TOML` for ada and bob, with an exercise of the instructor's own."""
    pytest.importorskip("nbformat")
    folder = tmp_path_factory.mktemp("hw")
    (folder / "own_exercise.py").write_text((ROOT / "assignments" / "own_exercise.py").read_text(encoding="utf-8"))
    text = TOML.format(more='files = ["own_exercise.py"]', seconds=3) + '[[exercise]]\nid = "own.1"\npoints = 5\n'
    (folder / "hw.toml").write_text(text, encoding="utf-8")
    bundle.write_bundle(folder / "hw.toml", folder / "out", students=["ada", "bob"], seeds=1)
    return folder / "out"


def test_nothing_that_is_handed_out_holds_an_answer(made: Path) -> None:
    assignment = homework.load(made / "grader" / "assignment.json")
    sources = [line.strip() for one in assignment.exercises.values() for line in one.source.splitlines()]
    answers = [line for line in sources if line.startswith(("return ", "wrong = ", "top = "))]
    given = [made / "student.ipynb", *sorted((made / "students").glob("*.ipynb"))]
    assert len(given) == 3 and assignment.key
    for path in given:
        text = path.read_text(encoding="utf-8")
        assert assignment.key not in text and "HIDDEN" not in text and "SOLUTION" not in text
        assert not [line for line in answers if line in text]
        for id in assignment.exercises:
            for example in assignment.graded(id, path.stem).examples:
                for argument in example.arguments:
                    if isinstance(argument, torch.Tensor) and argument.is_floating_point() and argument.numel() > 2:
                        assert str(argument.tolist()) not in text
    ada, bob = (made / "students" / f"{name}.ipynb" for name in ("ada", "bob"))
    assert ada.read_text() != bob.read_text() and read_cells(ada)[1] == "ada"


def test_the_handed_out_notebook_runs_unsolved_and_solved(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assignment = homework.load(made / "grader" / "assignment.json")
    for answers, word in ({}, "not attempted"), ({id: e.source for id, e in assignment.exercises.items()}, "right"):
        scope: dict[str, Any] = {"__name__": "a notebook"}
        notebook = notebooks.solved_notebook(assignment, answers, "ada")
        for cell_ in notebook.cells:
            if cell_.cell_type == "code":
                exec(cell_.source, scope)
        said = capsys.readouterr().out
        assert said.count(word) >= 3 and "found" not in said


def test_a_second_run_keeps_the_key_and_the_numbers(made: Path) -> None:
    before = {path: path.read_bytes() for path in sorted(made.rglob("*.ipynb"))}
    bundle.write_bundle(made.parent / "hw.toml", made, students=["ada", "bob"], seeds=0)
    assert before == {path: path.read_bytes() for path in sorted(made.rglob("*.ipynb"))}


def test_nbgraders_marks_and_hidden_tests(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = json.loads((made / "instructor.ipynb").read_text(encoding="utf-8"))["cells"]
    marked = [(one["metadata"]["nbgrader"], "".join(one["source"])) for one in cells if "nbgrader" in one["metadata"]]
    assert len({mark["grade_id"] for mark, _ in marked}) == len(marked) == 6
    scope: dict[str, Any] = {}
    exec("import torch, math", scope)
    assignment = homework.load(made / "grader" / "assignment.json")
    for mark, source in marked:
        assert mark["schema_version"] == 3 and mark["solution"] is not mark["locked"]
        if mark["solution"]:
            assert "    ### BEGIN SOLUTION\n" in source and source.endswith("    ### END SOLUTION")
            exec(source, scope)
        else:
            call = next(line for line in source.splitlines() if line.startswith("grade_cell("))
            assert "### BEGIN HIDDEN TESTS" in source and mark["grade"]
            assert eval(call, {**scope, "grade_cell": cell.grade_cell}) == mark["points"]
    capsys.readouterr()
    with pytest.raises(AssertionError, match="not attempted"):
        cell.grade_cell(stub_of(assignment.exercises["04.1"]), {**assignment.plain(), "exercise": [
            {"id": "04.1", "points": 5}]}, {})  # fmt: skip


def test_gradescopes_layout(made: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(made / "autograder.zip") as zipped:
        assert {"setup.sh", "run_autograder", "assignment.json", "own_exercise.py"} == set(zipped.namelist())
        modes = {entry.filename: entry.external_attr >> 16 for entry in zipped.infolist()}
        assert modes["setup.sh"] & stat.S_IXUSR and modes["run_autograder"] & stat.S_IXUSR
        setup = zipped.read("setup.sh").decode()
        zipped.extractall(tmp_path / "source")
    assert "download.pytorch.org/whl/cpu" in setup and "conda " not in setup.replace("No conda", "")
    for name in ("setup.sh", "run_autograder") if os.name == "posix" else ():
        assert subprocess.run(["bash", "-n", str(tmp_path / "source" / name)]).returncode == 0
    (tmp_path / "submission").mkdir()
    assert gradescope.run(tmp_path)["score"] == 0  # no hand-in
    assert json.loads((tmp_path / "results" / "results.json").read_text())["tests"] == []
    (tmp_path / "submission_metadata.json").write_text('{"users": [{"email": "ada@example.org"}]}')
    assert gradescope.student_of(tmp_path / "submission_metadata.json") == "ada"


# ---------------------------------------------------------------- a class
def hand_in(folder: Path, name: str, assignment: homework.Assignment, answers: dict[str, str], *cells: str) -> None:
    notebook = notebooks.solved_notebook(assignment, answers, name)
    for source in cells:
        notebook.cells.insert(3, notebooks._code(source))
    for number, one in enumerate(notebook.cells):
        one.id = f"cell-{number:02d}"
    notebooks.write_notebook(notebook, folder / f"{name}.ipynb")


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_who_may_grade_and_what_cannot_be_read(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(os, "geteuid"):
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        with pytest.raises(ConfigError, match="root"):
            grading.grade_folder(made / "grader" / "assignment.json", tmp_path, tmp_path)
    (tmp_path / "eve.ipynb").write_text("no notebook")
    with pytest.raises(DataError, match="Jupyter notebook"):
        read_cells(tmp_path / "eve.ipynb")
    file = made / "grader" / "assignment.json"
    (grade,) = grading.grade_folder(file, tmp_path, tmp_path / "out", allow_root=True)
    assert grade.points == 0 and "Jupyter notebook" in grade.notes[0]
    roster = ["ann", "ada", "eve", "joanna"]
    for stem, who in (("ada", "ada"), ("HW1_Ada_12345", "ada"), ("joanna_2", "joanna"), ("x", "x")):
        assert grading.whose(tmp_path / f"{stem}.ipynb", roster) == who


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux's")
def test_a_class_is_graded_whatever_its_notebooks_do(made: Path, tmp_path: Path) -> None:
    file, folder = made / "grader" / "assignment.json", tmp_path / "in"
    assignment = homework.load(file)
    right = {id: exercise.source for id, exercise in assignment.exercises.items()}
    head = right["06.1"].splitlines()[0]
    hand_in(folder, "ada", assignment, right, "1 / 0", "while True:\n    pass")
    hand_in(
        folder,
        "bob",
        assignment,
        {
            "06.1": f"{head}\n    return q.exp().mean(-1).log() + action_dim * math.log(2)",
            "04.1": "def adversary_value(q):\n    return torch.zeros(10**11).sum()",
            "own.1": "def broken_rows(*a):\n    while True:\n        try:\n            while True:\n"
            "                pass\n        except BaseException:\n            pass",
        },
    )
    forged = "import cql_tutorial.course.assignments.verdict as v\nfrom cql_tutorial.course.checker import Result\n"
    forged += "v.check_answer = lambda exercise, *_: Result(exercise, 'passed', 'yes')"
    hand_in(folder, "eve", assignment, {id: f"{right[id].splitlines()[0]}\n    return 1" for id in right}, forged)
    roster = ["ada", "bob", "eve", "zoe"]
    grades = grading.grade_folder(file, folder, tmp_path / "out", roster=roster, allow_root=True, processes=2)
    assert [grade.points for grade in grades] == [20, 7, 0, 0]
    told = {(row["student"], row["exercise"]): row for row in table(tmp_path / "out" / "exercises.csv")}
    assert told["bob", "06.1"]["mistake"] == "overflow" and told["bob", "06.1"]["message"].startswith("right for small")
    assert "memory" in told["bob", "04.1"]["message"] and told["bob", "own.1"]["status"] == "stopped"
    assert "confirmed" in told["eve", "04.1"]["message"] and told["zoe", "04.1"]["status"] == "not handed in"
    (ada, bob, *_) = table(tmp_path / "out" / "grades.csv")
    assert ada["points"] == ada["of"] == "20" and "cell 3: stopped after 3 s" in ada["notes"] and bob["06.1"] == "7"
    page = (tmp_path / "out" / "feedback" / "bob.md").read_text(encoding="utf-8")
    assert "06.1 an integral from uniform samples: 7 of 10, wrong" in page
    assert len(table(tmp_path / "out" / "mistakes.csv")) >= 4
