"""The pattern of a chapter, held by a lint; and every chapter run again with reference answers in place of stubs.

The unsolved run, with outputs compared, is nbval's (`make test` gives it the folder notebooks/). Solved, only the
exercises run again, what depends on them and what that needs: nothing else can come out otherwise.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient

import cql_tutorial
from cql_tutorial.cli.doctor import FILES_ONLY
from cql_tutorial.course import SESSION
from scripts import author
from scripts.cells import dependents, requirements
from tests import ROOT
from tests.pace import limit

NOTEBOOKS = ROOT / "notebooks"
CHAPTERS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
EVERYWHERE = [*CHAPTERS, *sorted(NOTEBOOKS.glob("a[0-9]_*.ipynb"))]
SPINE = ["Set-up", "Explore", "Break it", "Recap", "Quiz", "Further reading"]
IGNORED = "nbval-ignore-output"
VERBS = ("check(", "or_reference(", "progress(")  # what these print depends on the student, and nothing else may


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def markdown(notebook: Any) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def without_door(notebook: Any) -> list[Any]:
    """The cells of a chapter, but the one that installs the course, which its author does not write."""
    return [cell for cell in notebook.cells if not author.is_door(cell)]


def compared(cell: Any) -> str:
    """What nbval compares of a cell's outputs, as text."""
    if IGNORED in cell.metadata.get("tags", []):
        return ""
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") + "\n" for output in cell.outputs]
    return "".join(texts)  # a slow cell's stream may arrive in pieces


def exercises(path: Path) -> dict[str, Any]:
    return {id: exercise for id, exercise in SESSION.exercises.items() if id.startswith(f"{path.name[:2]}.")}


# ---------------------------------------------------------------- the spine
def headings(notebook: Any) -> list[tuple[int, str]]:
    lines = [line for text in markdown(notebook) for line in without_code(text).splitlines()]
    found = [re.match(r"(#+) (.*)", line) for line in lines]
    return [(len(match[1]), match[2]) for match in found if match]


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def spine_faults(path: Path, notebook: Any) -> list[str]:
    """What a chapter lacks of the pattern in docs/writing_a_chapter.md."""
    number, faults = path.name[:2], []
    titles = [title for level, title in headings(notebook) if level == 1]
    if len(titles) != 1 or not titles[0].startswith(f"{number} · "):
        faults.append(f"one title '# {number} · …', found {titles}")
    sections = [title for level, title in headings(notebook) if level == 2]
    beats = [title for title in sections if re.match(r"\d+ · ", title)]
    if [title for title in sections if title not in beats] != SPINE:
        faults.append(f"sections {SPINE}, found {sections}")
    if [int(title.split(" ·")[0]) for title in beats] != list(range(1, len(beats) + 1)) or sections[:1] != ["Set-up"]:
        faults.append(f"beats are numbered from 1 and follow the set-up: {beats}")
    levels = [level for level, _ in headings(notebook)]
    if any(below > above + 1 for above, below in pairwise(levels)):
        faults.append("a heading level is skipped")
    top = markdown(notebook)[0]
    if not re.search(r"^\*[^*]+\?\*$", top, re.MULTILINE):
        faults.append("the question the chapter answers, in italics, under its title")
    if "(a0_notation.ipynb)" not in top:
        faults.append("a link to the notation in the first cell")
    goals = re.findall(r"^- (.*(?:\n  .*)*)", top.partition("**You will be able to**")[2], re.MULTILINE)
    known = [*SESSION.exercises, *SESSION.predictions, *SESSION.quizzes]
    if not 3 <= len(goals) <= 6 or any(not re.search(r"\(([\w.]+)\)", goal) for goal in goals):
        faults.append("three to six goals, each with the exercise or question that checks it")
    faults += [
        f"goal checked by unknown {id}"
        for goal in goals
        for id in re.findall(r"\((\d\d\.\w+)\)", goal)
        if id not in known
    ]
    return faults


def shape_faults(path: Path, notebook: Any) -> list[str]:
    """Beats with their parts, questions asked and answered, size."""
    number, faults = path.name[:2], []
    text, cells = "\n".join(cell.source for cell in notebook.cells), len(without_door(notebook))
    words, short = len(" ".join(markdown(notebook)).split()), number == "00"
    beats = re.split(r"^## \d+ · ", text.partition("## Explore")[0], flags=re.MULTILINE)[1:]
    if not (2 if short else 3) <= len(beats) <= 5:
        faults.append(f"three to five beats, found {len(beats)}")
    for i, beat in enumerate(beats, 1):
        faults += [f"beat {i} lacks {part}" for part in ("guess(", "reveal(", "**Meaning.**") if part not in beat]
    for call, table in (("guess", SESSION.predictions), ("reveal", SESSION.predictions), ("quiz", SESSION.quizzes)):
        wanted = sorted(id for id in table if id.startswith(number))
        found = sorted(re.findall(rf'^(?:display\()?{call}\("([\w.]+)"', text, re.MULTILINE))
        if found != wanted:
            faults.append(f"{call} for each of {wanted}, found {found}")
    if len([id for id in SESSION.quizzes if id.startswith(number)]) != 3:
        faults.append("a quiz of three questions")
    most = 75 + 4 * max(0, len(exercises(path)) - 6)  # each exercise is four cells
    most += 10 if number == "02" else 0  # what is to be diagnosed, read and planned stands in cells of its own
    if not short and not 55 <= cells <= most:
        faults.append(f"55 to {most} cells, found {cells}")
    if not (800 if short else 2_000) <= words <= 3_500:
        faults.append(f"2,000 to 3,500 words, found {words}")
    if "| symbol | in code | in the picture |" not in text or "**What was not shown.**" not in text:
        faults.append("the recap's table, and what was not shown")
    return faults


def exercise_faults(path: Path, notebook: Any) -> list[str]:
    """Each exercise is four cells: header, stub, check, or_reference."""
    faults, cells = [], notebook.cells
    for id, exercise in exercises(path).items():
        name = exercise.reference.__name__
        at = [i for i, cell in enumerate(cells) if cell.source.startswith(exercise.header)]
        wanted = [exercise.stub.strip(), f'check("{id}", {name})', f'{name} = or_reference("{id}", {name})']
        if len(at) != 1:
            faults.append(f"{id}: its header once, found {len(at)} time(s): {exercise.header}")
        elif [cell.source.strip() for cell in cells[at[0] + 1 : at[0] + 4]] != wanted:
            faults.append(f"{id}: the header is followed by stub, check and or_reference, each in its cell")
    setup = "\n".join([cell.source for cell in without_door(notebook) if cell.cell_type == "code"][:2])
    called = ("check", "hint", "solution", "or_reference", "guess", "reveal", "quiz", "progress")
    missing = [name for name in called if not re.search(rf"import .*\b{name}\b", setup)]
    faults += [f"a message names {name}, which the set-up does not import" for name in missing]
    unknown = set(re.findall(r'check\("([\d.]+)"', "\n".join(cell.source for cell in code(notebook))))
    return faults + [f"{id} is checked and unknown" for id in unknown - set(SESSION.exercises)]


def test_the_template_has_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(author, "NOTEBOOKS", tmp_path)
    path = author.new("99_a_new_chapter")
    notebook = read(path)
    faults = spine_faults(path, notebook)
    assert len(faults) == 3 and all(fault.startswith("goal checked by unknown 99.") for fault in faults)
    assert author.exercise_cells("04.2").count("# %%") == 4
    with pytest.raises(FileExistsError):
        author.new("99_a_new_chapter")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_follows_the_pattern(path: Path) -> None:
    notebook = read(path)
    assert spine_faults(path, notebook) + shape_faults(path, notebook) + exercise_faults(path, notebook) == []


@pytest.mark.parametrize("path", EVERYWHERE, ids=lambda path: path.stem)
def test_a_notebook_is_tidy(path: Path) -> None:
    notebook = read(path)
    assert not any("../" in cell.source for cell in code(notebook)), "outside a checkout there is nothing above"
    tags = {tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])}
    assert tags <= {IGNORED}
    images = re.findall(r"!\[(.*?)\]\(", "\n".join(markdown(notebook)))
    assert all(len(alt.split()) >= 4 for alt in images), "a picture needs a description"
    for link in re.findall(r"\]\(([^)#\s]+)", "\n".join(markdown(notebook))):
        assert link.startswith("https://") or (NOTEBOOKS / link).exists(), f"dead link {link}"
    for cell in code(notebook):
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr", cell.source
            assert "NOT what the course expects" not in compared(cell), "a prediction came out otherwise"
            data = output.get("data", {})
            assert "application/vnd.jupyter.widget-view+json" not in data, "run it with scripts/author.py"
            if "image/png" in data:
                assert len(data["text/plain"].split()) >= 8, "a figure says in words what it shows"


# ---------------------------------------------------------------- the open door
@pytest.mark.parametrize("path", EVERYWHERE, ids=lambda path: path.stem)
def test_a_notebook_has_its_door_and_with_an_address_its_badges(path: Path) -> None:
    notebook, committed = read(path), path.read_text(encoding="utf-8").rstrip()
    for address in (author.repository(), "some-one/a.fork", author.repository()):
        author.open_doors(notebook, path, address)
        found = re.findall(r"\[!\[(.*?)\]\((.*?)\)\]\((.*?)\)", notebook.cells[0].source)
        if address == "some-one/a.fork":
            tag = f"v{cql_tutorial.__version__}"
            assert [link for _, _, link in found] == [
                f"https://colab.research.google.com/github/{address}/blob/{tag}/notebooks/{path.name}",
                f"https://mybinder.org/v2/gh/{address}/{tag}?urlpath=lab/tree/my_work/{path.name}",
            ]
            assert all(len(alt.split()) >= 4 for alt, _, _ in found)
            assert path not in CHAPTERS or spine_faults(path, notebook) == []
        else:
            assert nbformat.writes(notebook).rstrip() == committed, "python -m scripts.author doors renews it"
            assert bool(found) == bool(address)
    doors = [place for place, cell in enumerate(notebook.cells) if author.is_door(cell)]
    assert doors == ([1] if code(notebook) else [])
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_the_door_installs_only_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    version, asked = cql_tutorial.__version__, list[list[str]]()
    monkeypatch.setattr("subprocess.run", lambda command, check: asked.append(command[1:]))
    exec(author.install_cell(""), {})
    assert asked == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exec(author.install_cell(""), {})
    exec(author.install_cell("some-one/a.fork"), {})
    pip, named = ["-m", "pip", "install", "--quiet"], f"cql-tutorial[{author.EXTRAS}]"
    files = [*pip, "--no-deps", *(f"{name}=={number}" for name, number in FILES_ONLY.items())]
    tag = f"{named} @ git+https://github.com/some-one/a.fork@v{version}"
    assert asked == [[*pip, f"{named}=={version}"], files, [*pip, tag], files]


def test_an_address_stands_in_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("README.md", "CITATION.cff"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    shutil.copytree(
        NOTEBOOKS, tmp_path / "notebooks", ignore=lambda _, names: {n for n in names if n[:2] not in "00a0"}
    )
    monkeypatch.setattr(author, "ROOT", tmp_path)
    monkeypatch.setattr(author, "NOTEBOOKS", tmp_path / "notebooks")
    named = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert sorted(author.renew_doors("some-one/a.fork")) == named and author.renew_doors() == []
    assert sorted(author.renew_doors("some-one/else")) == named
    for name in ("README.md", "CITATION.cff", "notebooks/00_start_here.ipynb", "notebooks/a0_notation.ipynb"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "some-one/else" in text and "a.fork" not in text, name
    cited = yaml.safe_load((tmp_path / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["repository-code"] == "https://github.com/some-one/else"


# ---------------------------------------------------------------- every number in prose was measured
NUMBER = re.compile(r"(?<![\w.^/])([-+−]?)(\d+(?:,\d{3})*(?:\.\d+)?)(?![\w/]|\.\d)")


def prose_numbers(text: str, headers: tuple[str, ...]) -> list[str]:
    """Numbers of a Markdown cell outside equations, code, headings, links and exercise headers."""
    for header in headers:
        text = text.replace(header, "")
    text = without_code(text)
    text = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$|`[^`]*`", " ", text, flags=re.DOTALL)
    text = re.sub(r"!?\[[^\]]*\]\([^)]*\)", " ", text)
    text = re.sub(r"^#+ .*$|^\d+\. ", " ", text, flags=re.MULTILINE)
    return [sign.replace("−", "-") + number.replace(",", "") for sign, number in NUMBER.findall(text)]


def printed_numbers(notebook: Any) -> set[str]:
    printed = "\n".join(compared(cell) for cell in code(notebook))
    found = {(sign.replace("−", "-"), number.replace(",", "")) for sign, number in LOOSE.findall(printed)}
    return {number for _, number in found} | {sign + number for sign, number in found}


LOOSE = re.compile(r"([-+−]?)(\d+(?:,\d{3})*(?:\.\d+)?)")


def table_numbers() -> set[str]:
    """Numbers of the result tables, as docs/results.md rounds them."""
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    tables = page.partition("<!-- results")[2].partition("<!-- /results")[0]
    return {part for sign, number in LOOSE.findall(tables) for part in (number, sign + number)}


@pytest.mark.parametrize("path", EVERYWHERE, ids=lambda path: path.stem)
def test_every_number_in_prose_was_printed(path: Path) -> None:
    notebook, headers = read(path), tuple(exercise.header for exercise in SESSION.exercises.values())
    known = printed_numbers(notebook) | table_numbers()
    stray = {
        n: text.splitlines()[0] for text in markdown(notebook) for n in prose_numbers(text, headers) if n not in known
    }
    assert stray == {}


def test_the_lint_finds_a_number_that_no_cell_printed() -> None:
    text = (
        "# 04 · Title\nIn $2 + 3$ steps `x = 7` of [12 pages](https://e.org/9) it fell by −0.41 to 1,234.5 (58 of 60)."
    )
    assert prose_numbers(text, ()) == ["-0.41", "1234.5", "58", "60"]
    assert prose_numbers("**04.2 · a · 12 min** and 5", ("**04.2 · a · 12 min**",)) == ["5"]
    cell = nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("stream", text="error −0.41 at 58/60")])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert {"0.41", "-0.41", "58", "60"} <= printed_numbers(notebook) and "5" not in printed_numbers(notebook)
    cell.metadata["tags"] = [IGNORED]
    assert printed_numbers(notebook) == set()


# ---------------------------------------------------------------- solved
def solved(path: Path) -> Any:
    """Every reference answer in the place of its stub, the cells that depend on them, and those that these need."""
    notebook = read(path)
    answers = {exercise.stub.strip(): exercise.source for exercise in exercises(path).values()}
    sources = [cell.source for cell in code(notebook)]
    stubs = [number for number, source in enumerate(sources) if source.strip() in answers]
    chosen = requirements(sources, dependents(sources, stubs))
    notebook.cells = [cell for number, cell in enumerate(code(notebook)) if number in chosen]
    for cell in notebook.cells:
        cell.source = answers.get(cell.source.strip(), cell.source)
    return notebook


@pytest.fixture(scope="module")
def kernel() -> Iterator[AsyncKernelManager]:
    """One kernel for all solved chapters: to start one and import torch takes four seconds of processor time.

    nbval has run each chapter in a kernel of its own; here each starts with no names, which is what it could lean on.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CQL_TUTORIAL_STATIC", "1")
        manager = AsyncKernelManager(kernel_name="python3")  # started by the first chapter
        yield manager
        run_sync(manager.shutdown_kernel)(now=True)


AFRESH = """\
%reset -f
import torch
torch.set_default_dtype(torch.float32)
torch.set_printoptions(profile="default", sci_mode=None)
del torch"""


@pytest.mark.notebook
@pytest.mark.parametrize("path", [path for path in CHAPTERS if exercises(path)], ids=lambda path: path.stem)
def test_a_solved_chapter_says_so_and_prints_the_same_numbers(path: Path, kernel: AsyncKernelManager) -> None:
    committed, notebook = {cell.id: cell for cell in code(read(path))}, solved(path)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(AFRESH))
    resources = {"metadata": {"path": str(NOTEBOOKS)}}
    client = NotebookClient(
        notebook, km=kernel, timeout=round(limit("cell")), resources=resources, coalesce_streams=True
    )
    client.execute()
    assert client.kc is not None
    client.kc.stop_channels()
    del notebook.cells[0]
    said = {cell.source: compared(cell) for cell in code(notebook) if cell.source.startswith("check(")}
    ids, names = list(exercises(path)), [exercise.reference.__name__ for exercise in exercises(path).values()]
    checks = [said[f'check("{id}", {name})'] for id, name in zip(ids, names, strict=True)]
    assert [text.split(":")[0] for text in checks] == [f"{id} passed" for id in ids]
    going_on = "\n".join(compared(cell) for cell in code(notebook))
    assert all(f"{id}: going on with your own answer" in going_on for id in ids)
    for new in code(notebook):
        old = committed[new.id]
        if not any(verb in old.source for verb in VERBS):
            assert compared(new) == compared(old), f"a number changed when the chapter was solved:\n{old.source}"


# ---------------------------------------------------------------- times
def test_the_readme_tells_what_the_last_runs_took() -> None:
    rows = author.read_rows("chapters")
    assert [row["chapter"] for row in rows] == [path.name[:2] for path in CHAPTERS]
    assert all(float(row["seconds"]) <= 90 for row in rows)
    assert author.table() in (ROOT / "README.md").read_text(encoding="utf-8"), "python -m scripts.author table"
    for row, path in zip(rows, CHAPTERS, strict=True):
        notebook = read(path)
        words = len(" ".join(markdown(notebook)).split())
        cells = sum(not author.is_door(cell) for cell in notebook.cells)
        assert (int(row["cells"]), int(row["words"])) == (cells, words), f"run {path.name} again"
        assert int(row["exercises"]) == len(exercises(path))
        assert f"Time: `{row['student_minutes']} min` (an estimate)" in notebook.cells[0].source
