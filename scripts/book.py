"""Build the reading room, a web site of notebooks, pages, results and docstrings: `make book`.

    python -m scripts.book              sources into build/book/source, the site into build/book/html
    python -m scripts.book --no-frames  the same without running the notebooks: sliders are then told, not shown

The site needs no network and no kernel. Notebooks are shown as they are committed; they are run once for their sliders
alone, each of whose pictures goes into the page, and a notebook that has not changed is not run again. Formulas are
MathML, the search is Sphinx's own. Every warning (a link that leads nowhere, a name that is not there) is an error.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cql_tutorial.course.sliders import FRAMES
from scripts import author
from scripts.cells import requirements
from scripts.workspace import chapters

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "book"
SLIDER = re.compile(r"^(explore|watch)_\w+\(", re.MULTILINE)
# Pages and what they link to keep their places, so that a link of the checkout is one of the site.
PAGES = ("notebooks/*.ipynb", "docs/*.md", "data/*.md", "data/results/README.md", "CONTRIBUTING.md", "CHANGELOG.md")
FILES = ("LICENSE", "NOTICE", "CITATION.cff", "data/results/*.csv", "data/results/*.png", "cql_tutorial/agents/*.py")
MODULES = {
    "losses": "every equation as a function",
    "agents": "what learns",
    "training": "offline, online, many at once",
    "datasets": "logged data",
    "envs": "worlds whose true values are computable",
    "evaluation": "true values, estimation errors, intervals",
    "evaluation.off_policy": "estimates from a log alone",
    "errors": "errors and warnings",
}


def prepare(source: Path, frames: bool) -> None:
    """Write the sources: the checkout's pages in their places, an index, and pages of docstrings."""
    shutil.rmtree(source, ignore_errors=True)
    for path in (path for pattern in PAGES + FILES for path in sorted(ROOT.glob(pattern))):
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(to_index(path.read_text(encoding="utf-8"), path), encoding="utf-8")
        elif path.suffix == ".ipynb":
            notebook = without_door(with_frames(path) if frames else read(path))
            target.write_text(json.dumps(notebook), encoding="utf-8")
        else:
            shutil.copyfile(path, target)
    shutil.copytree(ROOT / "book" / "static", source / "static")
    shutil.copyfile(ROOT / "book" / "conf.py", source / "conf.py")
    readme = plain_badges(to_index((ROOT / "README.md").read_text(encoding="utf-8"), ROOT / "README.md"))
    (source / "index.md").write_text(f"{readme}\n{contents(source)}", encoding="utf-8")
    (source / "api").mkdir()
    for module, about in MODULES.items():
        text = f"# cql_tutorial.{module}: {about}\n\n```{{eval-rst}}\n{directives(module)}\n```\n"
        (source / "api" / f"{module}.md").write_text(text, encoding="utf-8")


def to_index(text: str, path: Path) -> str:
    """The README is the site's index, and links to it become links to that."""
    if path.parent == ROOT:
        return text
    return re.sub(r"\]\((\.\./)README\.md", r"](\1index.md", text)


def plain_badges(text: str) -> str:
    """Badges as links of words: the site asks no server for a picture."""
    return re.sub(r"\[!\[(Open [^\]]*)\]\([^)]*\)\]", r"[\1]", text)


def without_door(notebook: dict[str, Any]) -> dict[str, Any]:
    """A notebook as it is read: nothing is installed here."""
    for cell in notebook["cells"]:
        if author.is_door(cell):
            cell["metadata"]["tags"] = ["remove-cell"]  # myst-nb's word; the places of the others stay
    notebook["cells"][0]["source"] = plain_badges("".join(notebook["cells"][0]["source"]))
    return notebook


def contents(source: Path) -> str:
    """The tables of contents, which a page shows at its side."""
    parts = {
        "Chapters": [f"notebooks/{page.stem}" for page in chapters(source / "notebooks").values()],
        "Pages": [f"docs/{page.stem}" for page in sorted(source.glob("docs/*.md"))],
        "Results and data": ["data/results/README", "data/DATASHEET", "CONTRIBUTING", "CHANGELOG"],
        "The package": [f"api/{module}" for module in MODULES],
    }
    for page in sorted(source.glob("data/*.md")):
        if (name := f"data/{page.stem}") not in parts["Results and data"]:
            parts["Results and data"].append(name)
    return "\n".join(
        "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", ":maxdepth: 1", "", *names, "```", ""])
        for caption, names in parts.items()
    )


def directives(module: str) -> str:
    """What autodoc shows of a module: what it hands out, or what stands in it."""
    import importlib

    loaded = importlib.import_module(f"cql_tutorial.{module}")
    names = getattr(loaded, "__all__", None)
    if names is None:
        return f".. automodule:: cql_tutorial.{module}"
    lines = [f".. automodule:: cql_tutorial.{module}", "   :no-members:", ""]
    for name in names:
        value = getattr(loaded, name)
        if callable(value):  # numbers and tables say nothing here
            kind = "autoclass" if isinstance(value, type) else "autofunction"
            lines += [f".. {kind}:: cql_tutorial.{module}.{name}", ""]
    return "\n".join(lines)


# ---------------------------------------------------------------- sliders
def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def with_frames(path: Path) -> dict[str, Any]:
    """The notebook as it is committed, but that its slider cells show every picture of the slider.

    What was drawn is kept in build/book/frames/ for as long as the notebook is the same.
    """
    notebook = read(path)
    places = [place for place, cell in enumerate(notebook["cells"]) if is_slider(cell)]
    if not places:
        return notebook
    key = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    kept = BUILD / "frames" / f"{path.stem}-{key}.json"
    if not kept.is_file():
        print(f"running {path.name} for its sliders", flush=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        drawn = {str(place): page for place, page in zip(places, draw(notebook, places), strict=True)}
        kept.write_text(json.dumps(drawn), encoding="utf-8")
    for place, html in json.loads(kept.read_text(encoding="utf-8")).items():
        output = {"output_type": "display_data", "metadata": {}, "data": {"text/html": html}}
        notebook["cells"][int(place)]["outputs"] = [output]
    return notebook


def is_slider(cell: dict[str, Any]) -> bool:
    """Whether a cell ends in a slider."""
    return cell["cell_type"] == "code" and bool(SLIDER.search("".join(cell["source"])))


def draw(notebook: dict[str, Any], places: Sequence[int]) -> Iterator[str]:
    """Return each slider of a notebook as HTML: those cells are run, and before them those that they need."""
    import nbformat
    from nbclient import NotebookClient

    code = [place for place, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"]
    sources = ["".join(notebook["cells"][place]["source"]) for place in code]
    needed = sorted(requirements(sources, [code.index(place) for place in places]))
    cells = [notebook["cells"][code[number]] for number in needed]
    numbers = [needed.index(code.index(place)) for place in places]
    runnable = nbformat.reads(json.dumps({**notebook, "cells": cells}), as_version=4)  # joins the lines of a cell
    variables = {"OMP_NUM_THREADS": "1", "CQL_TUTORIAL_STATIC": "", FRAMES: "1"}
    os.environ.update(variables)
    client = NotebookClient(
        runnable, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(author.NOTEBOOKS)}}
    )
    client.execute()
    for number in numbers:
        found = [output["data"] for output in runnable.cells[number].outputs if "data" in output]
        yield next(data["text/html"] for data in found if "text/html" in data)


def main(arguments: Sequence[str] | None = None) -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m scripts.book", description=__doc__, formatter_class=form)
    parser.add_argument("--no-frames", action="store_true", help="do not run the notebooks for their sliders")
    options = parser.parse_args(arguments)
    prepare(BUILD / "source", frames=not options.no_frames)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-d", str(BUILD / "doctrees")]
    if code := subprocess.run([*command, str(BUILD / "source"), str(BUILD / "html")], cwd=ROOT).returncode:
        sys.exit(code)
    size = sum(file.stat().st_size for file in (BUILD / "html").rglob("*") if file.is_file()) / 1e6
    pages = len(list((BUILD / "html").rglob("*.html")))
    print(f"{pages} pages, {size:.1f} MB: open build/book/html/index.html")


if __name__ == "__main__":
    main()
