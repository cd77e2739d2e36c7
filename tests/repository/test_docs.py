"""Every command on a page of docs/ is run, in order, and what the page shows is held against what they print."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path

import pytest

from cql_tutorial.cli import main
from tests import ROOT
from tests.pace import limit

PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def alike(shown: str, printed: str) -> bool:
    """Same words; whole numbers equal, others within a quarter or 1: networks trained elsewhere differ that much."""
    if NUMBER.sub("#", shown).split() != NUMBER.sub("#", printed).split():
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(a == b or ("." in a + b and math.isclose(float(a), float(b), rel_tol=0.25, abs_tol=1)) for a, b in pairs)


@pytest.mark.slow
@pytest.mark.timeout(limit("chapter"))
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_the_page_does_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    output, commands, shown = "", 0, 0
    for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "bash":
            output = ""
            for line in text.splitlines():
                words = shlex.split(line, comments=True)
                if not words:
                    continue
                assert words[0] == "cql-tutorial", line
                assert main(words[1:]) == 0, line
                output, commands = output + capsys.readouterr().out, commands + 1
        elif kind == "text":
            for line in text.splitlines():
                assert any(alike(line, printed) for printed in output.splitlines()), f"{line!r} is not in:\n{output}"
                shown += 1
        elif kind == "python":
            exec(compile(text, str(page), "exec"), {})
    assert commands >= 8 and shown >= 10


def test_alike_tells_lines_apart() -> None:
    assert alike("transitions   8000", "transitions 8000") and not alike("transitions 8000", "transitions 8001")
    assert alike("fqe 3.1 (2.9 to 3.3)", "fqe  3.4 (2.5 to 3.9)") and not alike("fqe 31.5 (1 to 2)", "fqe 3.1 (1 to 2)")
    assert not alike("fqe prefers a", "fqe prefers b") and not alike("fqe 3.1", "fqe -")


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert PAGES and all(f"(docs/{page.name})" in readme for page in PAGES)
