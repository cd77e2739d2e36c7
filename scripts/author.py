"""For authors: run a chapter as it is committed, and edit it as text.

    python -m scripts.author new 07_pitfalls     a chapter with every part of the pattern, to be filled in
    python -m scripts.author exercise 07.2       the four cells of an exercise, to be pasted into the text
    python -m scripts.author run 04              run in a fresh kernel and write it back, clean; say how long it took
    python -m scripts.author text 04 > 04.py     the chapter as a Python script with "# %%" cells (jupytext's percent)
    python -m scripts.author build 04_the_conservative_penalty 04.py     make it from such a script, then run it
    python -m scripts.author table               renew the chapter table in README.md from the last runs
    python -m scripts.author doors               renew the installing cell and the badges of every notebook
    python -m scripts.author doors OWNER/NAME    the same, after writing that GitHub address into CITATION.cff

Committed notebooks hold outputs and counts, and no widget state, no times, no name of a machine. A run uses one thread
and draws no widgets. Its seconds go to data/results/chapters.csv, from which the README's minutes come.

The installing cell does nothing where the package is. Elsewhere it installs the version that the notebook was written
for: from the tag of the repository that CITATION.cff names (repository-code), or, while it names none, by its name from
the package index. Badges lead to that tag, so there are none without an address.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import cql_tutorial
from cql_tutorial.cli.doctor import FILES_ONLY
from cql_tutorial.files import atomic_write
from experiments.storage import read_rows, write_rows

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
WORDS_A_MINUTE = 130  # of prose with equations; with the exercises' own minutes this makes the student's estimate

# ---------------------------------------------------------------- the open door: installing, and badges
EXTRAS = "cli,notebook,tables"  # what the cells import; Colab and Binder bring Jupyter themselves
DOOR = "# Installs the course where it is missing"  # what the cell begins with, in every version of it
INSTALL = """\
{door}, as in Colab (some minutes); otherwise this does nothing.
import importlib.util

if importlib.util.find_spec("cql_tutorial") is None:
    import subprocess
    import sys

    for wanted in (["{package}"], ["--no-deps", "{files}"]):
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *wanted], check=True)"""
BADGE = re.compile(r"^\[!\[Open .*\n\n?", re.MULTILINE)
COLAB, BINDER = "https://colab.research.google.com", "https://mybinder.org"


def repository() -> str:
    """OWNER/NAME of the repository on GitHub that the citation names; "" if it names none."""
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    found = re.search(r'^repository-code: "https://github\.com/([\w.-]+/[\w.-]+)"$', text, re.MULTILINE)
    return found[1] if found else ""


def install_cell(address: str) -> str:
    """The text of the cell that installs the course where it is missing."""
    version = cql_tutorial.__version__
    source = f" @ git+https://github.com/{address}@v{version}" if address else f"=={version}"
    files = ", ".join(f"{name}=={number}" for name, number in FILES_ONLY.items())
    return INSTALL.format(door=DOOR, package=f"cql-tutorial[{EXTRAS}]{source}", files=files)


def badges(name: str, address: str) -> str:
    """One line of two badges for the notebook ``name``: Colab opens the notebook, Binder the student's copy of it."""
    at = f"{address}/blob/v{cql_tutorial.__version__}/notebooks/{name}.ipynb"
    there = f"{address}/v{cql_tutorial.__version__}?urlpath=lab/tree/my_work/{name}.ipynb"
    return (
        f"[![Open this notebook in Colab]({COLAB}/assets/colab-badge.svg)]({COLAB}/github/{at}) "
        f"[![Open this course in Binder]({BINDER}/badge_logo.svg)]({BINDER}/v2/gh/{there})"
    )


def with_badges(text: str, name: str, address: str) -> str:
    """A page with the line of badges under its title, or without one where there is no address."""
    title, rest = BADGE.sub("", text, count=1).split("\n", 1)
    return f"{title}\n\n{badges(name, address)}\n{rest}" if address else f"{title}\n{rest}"


def is_door(cell: Any) -> bool:
    """Whether this is the installing cell."""
    return bool(cell["cell_type"] == "code" and "".join(cell["source"]).startswith(DOOR))


def open_doors(notebook: Any, path: Path, address: str) -> None:
    """Give a notebook its badges and its installing cell, the second of all; a page without code needs none.

    Counts go on as if the notebook had been run with it: the cell has no output.
    """
    import nbformat

    cells = notebook.cells
    cells[0].source = with_badges(cells[0].source, path.stem, address)
    if not any(cell.cell_type == "code" for cell in cells):
        return
    door = next((cell for cell in cells if is_door(cell)), None) or nbformat.v4.new_code_cell()
    door.source, door.outputs, door.id = install_cell(address), [], f"{slug(path)}-install"
    notebook.cells = [cells[0], door, *(cell for cell in cells[1:] if cell is not door)]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if any(cell.execution_count for cell in code):
        for count, cell in enumerate(code, 1):
            cell.execution_count = count
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = count


def renew_doors(address: str = "") -> list[str]:
    """Renew every notebook's door and the README's badges, after citing a new address; return what changed."""
    import nbformat

    citation, readme = ROOT / "CITATION.cff", ROOT / "README.md"
    changed: list[str] = []
    if address:
        cited = re.sub(r"^repository-code: .*\n", "", citation.read_text(encoding="utf-8"), flags=re.MULTILINE)
        line = f'repository-code: "https://github.com/{address}"\n'
        _renew(citation, re.sub(r"^(license: .*\n)", rf"\1{line}", cited, flags=re.MULTILINE), changed)
    address = repository()
    for path in sorted(NOTEBOOKS.glob("[0-9a][0-9]_*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        before = nbformat.writes(notebook)
        open_doors(notebook, path, address)
        if nbformat.writes(notebook) != before:
            write(notebook, path)
            changed.append(path.name)
    _renew(readme, with_badges(readme.read_text(encoding="utf-8"), find("00").stem, address), changed)
    return changed


def _renew(path: Path, text: str, changed: list[str]) -> None:
    if text != path.read_text(encoding="utf-8"):
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        changed.append(path.name)


def slug(path: Path) -> str:
    """What the ids of a notebook's cells begin with."""
    return path.stem[3:].replace("_", "-")


# ---------------------------------------------------------------- chapters
TEMPLATE = """\
# %% [markdown]
# # {number} · {title}
#
# *The question this chapter answers?*
#
# Time: `60 min` (an estimate). Before this: [00 · Start here](00_start_here.ipynb).
# Symbols and words: [notation](a0_notation.ipynb).
#
# **You will be able to**
#
# - verb what, checked by an exercise ({number}.1);
# - verb what, checked by a prediction ({number}.p1);
# - verb what, checked by the quiz ({number}.a).

# %% [markdown]
# ## Set-up

# %%
import torch

from cql_tutorial.course import check, guess, hint, or_reference, progress, quiz, reveal, solution

torch.set_num_threads(1)

# %% [markdown]
# ## 1 · A beat: guess, read, do by hand, build, check, look, say what it means

# %%
guess("{number}.p1")

# %% [markdown]
# Short prose and the equation; then numbers that can be worked out on paper, an exercise, a figure, and the answer,
# its letter computed from what was measured.

# %%
reveal("{number}.p1", "a")

# %% [markdown]
# **Meaning.** One sentence.

# %% [markdown]
# ## Explore
#
# A question, a static figure that says it all, then the slider (tagged nbval-ignore-output).

# %% [markdown]
# ## Break it

# %% [markdown]
# ## Recap
#
# | symbol | in code | in the picture |
# |---|---|---|
# | $Q$ | `q` | |
#
# **What was not shown.**

# %% [markdown]
# ## Quiz

# %%
quiz("{number}.a")

# %%
progress()

# %% [markdown]
# ## Further reading
"""


def find(number: str) -> Path:
    """The notebook whose name starts with ``number`` (04, a0); exits with the known ones if there is none."""
    found = sorted(NOTEBOOKS.glob(f"{number}_*.ipynb"))
    if len(found) != 1:
        known = ", ".join(path.name for path in sorted(NOTEBOOKS.glob("*_*.ipynb")))
        sys.exit(f"no notebook {number!r}; there are: {known}")
    return found[0]


def execute(notebook: Any, path: Path) -> float:
    """Run a notebook in a fresh kernel; write it to ``path`` clean, or not at all where a cell fails; give seconds."""
    from nbclient import NotebookClient

    open_doors(notebook, path, repository())
    os.environ.update(CQL_TUTORIAL_STATIC="1", OMP_NUM_THREADS="1")
    os.environ.pop("CQL_TUTORIAL_PROGRESS", None)
    start = time.perf_counter()
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    )
    client.execute()
    seconds = time.perf_counter() - start
    write(notebook, path)
    return seconds


def write(notebook: Any, path: Path) -> None:
    """Write a notebook with the metadata and cell ids that committed ones have; never half a file."""
    import nbformat

    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    open_doors(notebook, path, repository())
    for number, cell in enumerate(cell for cell in notebook.cells if not is_door(cell)):
        cell.id = f"{slug(path)}-{number:02d}"
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
        if cell.cell_type == "code":  # a progress bar is saved as it stood at its start
            cell.outputs = [o for o in cell.outputs if not o.get("data", {}).get("text/plain", "").startswith("  0%|")]
    with atomic_write(path) as temporary:
        nbformat.write(notebook, temporary)


def measure(path: Path, seconds: float) -> int:
    """Put one chapter's row into the table of times: seconds measured, the student's minutes estimated."""
    import nbformat

    from cql_tutorial.course import SESSION

    cells = nbformat.read(path, as_version=4).cells
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    number = path.name[:2]
    exercises = [exercise for id, exercise in SESSION.exercises.items() if id.startswith(f"{number}.")]
    minutes = words / WORDS_A_MINUTE + sum(exercise.minutes for exercise in exercises)
    row = {
        "chapter": number,
        "seconds": f"{seconds:.0f}",
        "cells": sum(not is_door(cell) for cell in cells),
        "words": words,
        "exercises": len(exercises),
        "student_minutes": 5 * round(minutes / 5),
    }
    rows = {old["chapter"]: old for old in read_rows("chapters")} | {number: row}
    write_rows("chapters", list(row), [rows[key] for key in sorted(rows)])
    return 5 * round(minutes / 5)


def table() -> str:
    """The chapter table of the README: what each asks, the student's time (estimated), the run's (measured)."""
    import nbformat

    lines = [
        "| # | notebook | the question it answers | exercises | your time (estimate) | to run (measured) |",
        "|---|---|---|---|---|---|",
    ]
    for row in read_rows("chapters"):
        path = find(row["chapter"])
        first = nbformat.read(path, as_version=4).cells[0].source
        question = re.search(r"^\*(.*\?)\*$", first, re.MULTILINE)
        assert question, f"{path.name}: the line under the title is the question it answers, in italics"
        link = f"[{path.stem[3:]}](notebooks/{path.name})"
        lines.append(
            f"| {row['chapter']} | {link} | {question[1]} | {row['exercises']} | "
            f"{row['student_minutes']} min | {row['seconds']} s |"
        )
    return "\n".join(lines)


def exercise_cells(id: str) -> str:
    """Header, stub, check and or_reference of an exercise, as percent text."""
    from cql_tutorial.course import SESSION

    exercise = SESSION.find(id)
    name = exercise.reference.__name__
    cells = [exercise.stub.rstrip(), f'check("{id}", {name})', f'{name} = or_reference("{id}", {name})']
    return "\n\n".join([f"# %% [markdown]\n# {exercise.header}", *(f"# %%\n{cell}" for cell in cells)])


def new(name: str) -> Path:
    """Make an unfilled chapter; raises ``FileExistsError`` rather than overwrite one."""
    import jupytext

    path = NOTEBOOKS / f"{name}.ipynb"
    if path.exists():
        raise FileExistsError(path.name)
    text = TEMPLATE.format(number=name[:2], title=name[3:].replace("_", " ").capitalize())
    write(jupytext.reads(text, fmt="py:percent"), path)
    return path


def renew_readme() -> None:
    """Write `table` between its two marks in README.md."""
    readme = ROOT / "README.md"
    head, rest = readme.read_text(encoding="utf-8").split("<!-- chapters -->\n")
    tail = rest.split("<!-- /chapters -->")[1]
    with atomic_write(readme) as temporary:
        temporary.write_text(f"{head}<!-- chapters -->\n{table()}\n<!-- /chapters -->{tail}", encoding="utf-8")


def report(path: Path, seconds: float) -> None:
    """Say how long a run took; for a chapter, put it into the table of times too."""
    minutes = f", {measure(path, seconds)} min for a student" if path.name[0].isdigit() else ""
    print(f"{path.name}: {seconds:.0f} s{minutes}")


def main(arguments: list[str]) -> int:
    """Do what the first word says (the head of this file lists them); return the exit status."""
    if arguments[:1] == ["run"] and len(arguments) > 1:
        import nbformat

        for path in map(find, arguments[1:]):
            report(path, execute(nbformat.read(path, as_version=4), path))
    elif arguments[:1] == ["text"] and len(arguments) == 2:
        import jupytext

        sys.stdout.write(jupytext.writes(jupytext.read(find(arguments[1])), fmt="py:percent"))
    elif arguments[:1] == ["build"] and len(arguments) == 3:
        import jupytext

        path = NOTEBOOKS / f"{arguments[1]}.ipynb"
        text = Path(arguments[2]).read_text(encoding="utf-8")
        report(path, execute(jupytext.reads(text, fmt="py:percent"), path))
    elif arguments[:1] == ["new"] and len(arguments) == 2 and re.fullmatch(r"[0-9a]\d_\w+", arguments[1]):
        print(
            f"made {new(arguments[1]).name}; its exercises go to cql_tutorial/course/exercises/ch{arguments[1][:2]}.py"
        )
    elif arguments[:1] == ["exercise"] and len(arguments) == 2:
        print(exercise_cells(arguments[1]))
    elif arguments == ["table"]:
        renew_readme()
    elif arguments[:1] == ["doors"] and len(arguments) <= 2:
        if arguments[1:] and not re.fullmatch(r"[\w.-]+/[\w.-]+", arguments[1]):
            sys.exit(f"no repository {arguments[1]!r}: OWNER/NAME, as GitHub has them")
        changed = renew_doors(*arguments[1:])
        print("\n".join([*changed, f"{len(changed)} files renewed; badges lead to {repository() or 'no repository'}"]))
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
