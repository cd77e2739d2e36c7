"""The pages: their links lead somewhere, their commands exist, and what docs/ shows is what the commands print."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.util
import io
import json
import math
import re
import shlex
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import cql_tutorial
from cql_tutorial import agents
from cql_tutorial.agents.cql import CQLConfig
from cql_tutorial.cli import COMMANDS, main, parser
from cql_tutorial.losses import cql_penalty, normalised_target, uniform_log_density
from tests import ROOT
from tests.pace import limit

PAGES = sorted((ROOT / "docs").glob("*.md"))
FRONT = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
EVERY_PAGE = [*FRONT, *PAGES, *sorted((ROOT / "data").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
STORY = ROOT / "docs" / "your_own_data.md"  # its commands follow each other, and each is run


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, kind: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text(encoding="utf-8")) if found == kind]


# ---------------------------------------------------------------- one page is run from top to bottom
def alike(shown: str, printed: str) -> bool:
    """Same words; whole numbers equal, others within a quarter or 1: networks trained elsewhere differ that much."""
    if NUMBER.sub("#", shown).split() != NUMBER.sub("#", printed).split():
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(a == b or ("." in a + b and math.isclose(float(a), float(b), rel_tol=0.25, abs_tol=1)) for a, b in pairs)


@pytest.mark.slow
@pytest.mark.timeout(limit("chapter"))
def test_every_command_of_the_page_on_own_data_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    output, commands, shown = "", 0, 0
    for kind, text in BLOCK.findall(STORY.read_text(encoding="utf-8")):
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
            exec(compile(text, str(STORY), "exec"), {})
    assert commands >= 8 and shown >= 10


def test_alike_tells_lines_apart() -> None:
    assert alike("transitions   8000", "transitions 8000") and not alike("transitions 8000", "transitions 8001")
    assert alike("fqe 3.1 (2.9 to 3.3)", "fqe  3.4 (2.5 to 3.9)") and not alike("fqe 31.5 (1 to 2)", "fqe 3.1 (1 to 2)")
    assert not alike("fqe prefers a", "fqe prefers b") and not alike("fqe 3.1", "fqe -")


# ---------------------------------------------------------------- the Python of the others
def test_the_example_of_the_readme_runs_as_it_stands(capsys: pytest.CaptureFixture) -> None:
    (example,) = blocks(ROOT / "README.md", "python")
    scope: dict[str, Any] = {}
    exec(example, scope)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(scope["dataset"]) // 256
    assert all(re.fullmatch(r"CQL Loss: -?\d+\.\d{3}, Q: -?\d+\.\d{3}", line) for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page != STORY and blocks(page, "python")], ids=name)
def test_the_python_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """With at most 30 updates: what a whole training gives is for the tables to say."""
    train = cql_tutorial.fit
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(agents, "AGENTS", dict(agents.AGENTS))  # what a page registers is forgotten
    monkeypatch.setattr(
        cql_tutorial, "fit", lambda agent, data, steps, **more: train(agent, data, min(steps, 30), **more)
    )
    scope: dict[str, Any] = {}
    for text in blocks(page, "python"):
        exec(compile(text, name(page), "exec"), scope)
    printed = capsys.readouterr().out
    if page.stem == "course":
        assert printed.startswith("00.1 wrong: ") and "sign" in printed, "the page says so"


# ---------------------------------------------------------------- commands
def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Each command of the page's bash blocks, and of its code spans that start with make, python or pytest."""
    text = page.read_text(encoding="utf-8")
    spans = re.findall(r"`((?:make|python|\.venv/bin/python|pytest|cql-tutorial) [^`]*)`", BLOCK.sub("", text))
    for line in [*"\n".join(blocks(page, "bash")).splitlines(), *spans]:
        words = shlex.split(line.split(" > ")[0], comments=True)
        if words:
            yield line, words


def fault(words: list[str]) -> str:
    """Why a command cannot work in this checkout, or nothing."""
    program, rest = words[0].rpartition("/")[2], words[1:]
    if program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        asked = [word for word in rest if "=" not in word]
        return "" if set(asked) <= set(targets) else f"no target {asked}"
    if program == "python" and rest[:1] == ["-m"]:
        try:
            found = importlib.util.find_spec(rest[1])
        except ModuleNotFoundError:
            found = None
        if found is None:
            return f"no module {rest[1]}"
        program, rest = rest[1], rest[2:]
    elif program == "python":
        return "" if (ROOT / rest[0]).is_file() else f"no file {rest[0]}"
    if program == "pytest":
        gone = [word for word in rest if word.startswith("tests") and not (ROOT / word.partition("::")[0]).exists()]
        return f"no {gone}" if gone else ""
    if program == "experiments":
        from experiments.__main__ import NAMES

        return "" if not rest or rest[0] in {*NAMES, "NAME", "--help"} else f"no experiment {rest[0]}"
    known = {"pip", "conda", "brew", "sudo", "py", "build", "cql-tutorial", "pre-commit"}
    importable = program.split(".")[0] in {"scripts", "benchmarks", "experiments", "cql_tutorial"}
    return "" if program in known or importable else f"no program {program}"


@pytest.mark.parametrize("page", EVERY_PAGE, ids=name)
def test_every_command_exists(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of `cql-tutorial` are parsed in full, with what they would do left out."""
    faults = {line: fault(words) for line, words in commands(page)}
    assert {line: found for line, found in faults.items() if found} == {}

    def parse(command: Any) -> Any:
        return functools.wraps(command)(lambda *_, **__: lambda: 0)

    monkeypatch.setattr(parser, "_deferred", parse)
    for line, words in commands(page):
        if words[0] == "cql-tutorial" and words[2:] and not {"|", "--help"} & {*words}:
            assert main(words[1:]) == 0, line
        elif words[0] == "cql-tutorial":
            assert words[1] in COMMANDS, line


def test_a_command_that_is_not_there_is_found() -> None:
    for line in ("make lap", "python -m scripts.auther", "python scripts/no.py", "pytest tests/no.py", "gmake test"):
        assert fault(line.split()), line
    for line in ("make chapter CHAPTER=04", ".venv/bin/python -m scripts.author text 04", "pytest -m fuzz"):
        assert not fault(line.split()), line


# ---------------------------------------------------------------- the translation page
TRANSLATION = ROOT / "docs" / "translation.md"


def test_the_targets_of_the_translation_are_computed() -> None:
    text = TRANSLATION.read_text(encoding="utf-8")
    table = text.partition("<!-- targets -->")[2].partition("<!-- /targets -->")[0]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    sizes = [int(cell.removeprefix("A = ")) for cell in head[1:]]
    assert sizes == [1, 3, 6, 8] and [row[0] for row in rows[1:]] == ["0.8 is here", "5 is here", "10 is here"]
    for title, *cells in rows:
        flat = [-normalised_target(0.0, size, 30) for size in sizes]
        raw = title.split()[0]
        wanted = flat if raw == "a" else [normalised_target(float(raw), size, 30) for size in sizes]
        assert cells == [f"{value:+.1f}" for value in wanted], title
    assert "With a weight of 5 a threshold of 10 therefore holds the raw difference at 2." in " ".join(text.split())


def test_a_flat_critic_has_the_raw_difference_that_the_page_subtracts() -> None:
    for size in (1, 3, 6, 8):
        raw = torch.logsumexp(torch.full((30,), 7.0) - uniform_log_density(size), 0) - 7.0
        assert float(raw) == pytest.approx(-normalised_target(0.0, size, 30), abs=1e-5)


def test_twice_the_papers_alpha_is_ours() -> None:
    """Half a squared error plus alpha times the penalty, doubled, is a squared error plus twice that alpha."""
    draw = torch.Generator().manual_seed(0)
    q, y, logged, candidates = (torch.randn(5, *size, generator=draw) for size in ((), (), (), (7,)))
    density = torch.zeros(5, 7)
    penalty = cql_penalty(candidates[None], density, logged[None])[0]
    paper, ours = 0.5 * (q - y).square().mean() + 3.0 * penalty, (q - y).square().mean() + 2 * 3.0 * penalty
    assert float(ours) == pytest.approx(2 * float(paper), rel=1e-6)


def test_the_settings_of_the_translation_exist_here() -> None:
    text = TRANSLATION.read_text(encoding="utf-8").partition("## Settings")[2].partition('\n\n"')[0]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")][1:]
    names = {name.partition("=")[0] for row in rows for name in re.findall(r"`([^`]+)`", row[-1])}
    known = {field.name for field in dataclasses.fields(CQLConfig)}
    assert len(rows) == 14 and len(names) >= 12 and names <= known


# ---------------------------------------------------------------- the page of notation
HOUSE_WORDS = {
    "author": "behaviour policy", "draw": "realisation", "fine": "penalty", "luck": "sampling error",
    "promise": "prediction", "ruler": "ground truth", "seam": "episode boundary",
}  # fmt: skip


def test_the_notation_has_the_fields_word_for_each_house_word_and_no_word_twice() -> None:
    cells = json.loads((ROOT / "notebooks" / "a0_notation.ipynb").read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells)
    tables = {name: text.partition(f"## {name}\n")[2].partition("\n## ")[0] for name in ("Words", "House words")}
    rows = {
        name: [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
        for name, table in tables.items()
    }
    assert {row[0]: True for row in rows["House words"]} == dict.fromkeys(HOUSE_WORDS, True)
    assert all(HOUSE_WORDS[row[0]] in row[1] for row in rows["House words"])
    words = [word for row in [*rows["Words"], *rows["House words"]] for word in row[0].split(", ")]
    assert len(words) == len(set(words)) and [row[0] for row in rows["Words"]] == sorted(
        (row[0] for row in rows["Words"]), key=str.lower
    )
    assert "bootstrap" not in words and {"bootstrapping", "percentile bootstrap", "nat", "temperature"} <= set(words)
    symbols = text.partition("## Symbols")[2].partition("## Words")[0]
    for symbol in (r"$\mu$", r"$\rho$", r"$\zeta$", r"$P^\pi$", r"$d^\pi$", r"$\beta$", r"$\tau$", r"$\lambda$"):
        assert symbols.count(f"| {symbol} |") == 1, symbol


# ---------------------------------------------------------------- links, lengths
def links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    return re.findall(r"\]\(([^)#\s]+)", text)


@pytest.mark.parametrize("page", EVERY_PAGE, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = [link for link in links(page) if not link.startswith("https://") and not (page.parent / link).exists()]
    assert dead == []


def test_every_page_is_one_click_away() -> None:
    linked = {*links(ROOT / "README.md"), *links(ROOT / "CONTRIBUTING.md")}
    assert PAGES and {f"docs/{page.name}" for page in PAGES} <= linked


def test_the_two_front_pages_are_short() -> None:
    for front, lines in (("README.md", 116), ("CONTRIBUTING.md", 80)):
        text = (ROOT / front).read_text(encoding="utf-8").splitlines()
        assert len(text) <= lines, front
        assert [
            line for line in text if len(line) > 120 and not line.startswith(("|", "![", "[![", "**Pendulum"))
        ] == []


def code_lines(path: Path) -> int:
    """Lines that hold code: no docstring, comment or blank line."""
    source = path.read_text(encoding="utf-8")
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            held.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            held.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(held)


def test_what_a_reader_of_cql_needs_is_as_short_as_the_readme_says() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    said = re.search(r"about (\d+) lines of code \(([^)]+)\)", readme)
    assert said
    core, agents = said[2].split("`agents/`")
    files = [f"{word}.py" for word in re.findall(r"`(\w+)`", core)]
    files += [f"agents/{word}.py" for word in re.findall(r"`(\w+)`", agents)]
    assert len(files) == 9
    found = sum(code_lines(ROOT / "cql_tutorial" / file) for file in files)
    assert abs(found - int(said[1])) <= 0.08 * found, f"{found} lines of code"


def test_pre_commit_uses_the_ruff_of_the_lock() -> None:
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.search(r"^ruff==(.*)$", lock, re.M)[1] == re.search(r"ruff-pre-commit\n\s+rev: v(.*)$", hooks, re.M)[1]
