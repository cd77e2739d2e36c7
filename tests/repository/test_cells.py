"""Which cells of a notebook are run again: what depends on an exercise, and what such a cell needs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from scripts.cells import Names, dependents, requirements
from tests import ROOT

CELLS = [
    "import torch\nfrom cql_tutorial import fit",  # 0
    "def answer(q):\n    name = q.sum()\n    return name",  # 1: the exercise
    "data, seen = torch.ones(3), []",  # 2
    "value = answer(data)\nfor name in ('a', 'b'):\n    seen.append(name)",  # 3: changes what 2 made
    "other = [name for name in ('c',)]\nname = 5\nprint(name)",  # 4: a `name` of its own
    "print(seen)",  # 5
    "data = torch.zeros(2)\nprint(data)",  # 6
    "agent = make()\nfit(agent, data)",  # 7
    "%matplotlib inline\nagent.act(data)",  # 8
]


def test_names_of_a_cell() -> None:
    cell = Names("x = f(x)\ntable[k] += 1\nlist_.append(x)\nwith open(p) as file:\n    g = lambda a: a + h\n")
    assert cell.defined == {"x", "file", "g"} and cell.changed == {"table", "list_"}
    assert cell.used == {"f", "x", "table", "k", "list_", "open", "p", "h"}


def test_what_depends_on_an_exercise_and_what_that_needs() -> None:
    assert dependents(CELLS, [1]) == {1, 3, 5}
    assert requirements(CELLS, [1, 3, 5]) == {0, 1, 2, 3, 5}
    assert requirements(CELLS, [8]) == {0, 6, 7, 8}  # not 2: 6 gives `data` another value
    assert dependents(CELLS, [2]) == {2, 3, 5}


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_every_cell_of_the_course_can_be_read(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            Names(cell.source)
