"""Build a release and try it as a stranger would: `make release`, or python -m scripts.release [--only NAME ...].

    1. the version of the package, of CITATION.cff and of the changelog's newest section are compared;
    2. the source archive is built, and the wheel from it, into dist/;
    3. for the core and for each extra: an empty environment, the wheel in it, scripts/try_extra.py in an empty folder,
       so that data sets and result tables are those that the wheel carries;
    4. a chapter is run in an environment that has torch and a kernel alone, as Colab has: its first cell installs the
       wheel and what else it needs;
    5. CITATION.cff gets today's date.

An environment takes some minutes and a gigabyte, for torch; it is removed when it has been tried. --only core tries the
core alone, --only notebook the chapter. Arguments of pip for torch stand in the variable TORCH_ARGS, as for `make`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

import cql_tutorial
from cql_tutorial.files import atomic_write

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
TRIED = ("core", "cli", "tables", "onnx", "course", "notebook")
CHAPTER = "04_the_conservative_penalty"


def check_version() -> str:
    """The one version that package, citation and changelog have; ends the program where they differ."""
    version = cql_tutorial.__version__
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    dated = re.search(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    found = {
        "cql_tutorial/__init__.py": version,
        "CITATION.cff": cited.group(1).strip() if cited else "none",
        "CHANGELOG.md, newest section": dated.group(1) if dated else "none",
    }
    if len(set(found.values())) > 1:
        sys.exit("versions differ:\n" + "\n".join(f"  {where}: {what}" for where, what in found.items()))
    return version


def build(folder: Path = DIST) -> Path:
    """Build the source archive, and the wheel from it; returns the wheel."""
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    return wheel


def try_wheel(wheel: Path, name: str) -> None:
    """Install the wheel, with an extra unless it is the core, into an empty environment, and try it there."""
    with tempfile.TemporaryDirectory() as folder:
        python, empty = environment(Path(folder))
        run(python, "-m", "pip", "install", "--quiet", str(wheel) + ("" if name == "core" else f"[{name}]"))
        run(python, str(ROOT / "scripts" / "try_extra.py"), *([] if name == "core" else [name]), cwd=empty)


def environment(folder: Path) -> tuple[str, Path]:
    """Make an environment with torch alone, and an empty folder beside it; returns its Python and that folder."""
    (folder / "empty").mkdir()
    venv.create(folder / "venv", with_pip=True)
    python = str(folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python")
    torch = re.search(r"^torch==\S+", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert torch is not None
    run(python, "-m", "pip", "install", "--quiet", torch.group(), *shlex.split(os.environ.get("TORCH_ARGS", "")))
    return python, folder / "empty"


def try_notebook(wheel: Path, chapter: str = CHAPTER) -> None:
    """Run a chapter, from an empty folder, where a kernel and torch are and nothing else of the course is."""
    text = (ROOT / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8")
    text, doors = re.subn(
        r"cql-tutorial(\[[^]]*\])[^\"\\]*", lambda match: f"{wheel.as_posix()}{match[1]}", text, count=1
    )
    assert doors == 1, f"{chapter} does not install the package"
    with tempfile.TemporaryDirectory() as folder:
        python, empty = environment(Path(folder))
        run(python, "-m", "pip", "install", "--quiet", "ipykernel", "nbclient")
        (empty / "chapter.ipynb").write_text(text, encoding="utf-8")
        run(python, "-c", "from nbclient.cli import main; main()", "--timeout=900", "chapter.ipynb", cwd=empty)


def cite(path: Path = ROOT / "CITATION.cff", today: datetime.date | None = None) -> None:
    """Write the day of the release into the citation."""
    text = re.sub(r"^date-released: .*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    day = (today or datetime.date.today()).isoformat()
    text = re.sub(r"^(version: .*\n)", rf'\1date-released: "{day}"\n', text, flags=re.MULTILINE)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def run(*command: str, cwd: Path = ROOT) -> None:
    """Run a program and show it; ends this one if it fails."""
    print("$", shlex.join(command), flush=True)
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MINARI_DATASETS_PATH")}
    if code := subprocess.run(command, cwd=cwd, env=variables).returncode:
        sys.exit(f"ended with status {code}: {shlex.join(command)}")


def main(arguments: Sequence[str] | None = None) -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m scripts.release", description=__doc__, formatter_class=form)
    text = "try these alone: core, or extras (default: all)"
    parser.add_argument("--only", nargs="+", choices=TRIED, default=TRIED, metavar="NAME", help=text)
    options = parser.parse_args(arguments)
    version = check_version()
    wheel = build()
    for name in options.only:
        try_notebook(wheel) if name == "notebook" else try_wheel(wheel, name)
    cite()
    megabytes = wheel.stat().st_size / 1e6
    print(
        f"dist/{wheel.name} ({megabytes:.1f} MB) was tried with: {', '.join(options.only)}. CITATION.cff has the date."
    )
    print(f"Left to do: commit, tag v{version}, attach what is in dist/.")


if __name__ == "__main__":
    main()
