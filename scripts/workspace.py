"""The student's copies of the notebooks, in my_work/: make them, renew one, open JupyterLab there.

    python scripts/workspace.py copy        copy what is not there yet; a file of yours is never overwritten
    python scripts/workspace.py reset 04    renew chapter 04; your version stays as a numbered backup
    python scripts/workspace.py lab         copy, then start JupyterLab in my_work/

A copy arrives without outputs: below a question stands no answer until its cells were run.
Standard library only, so that it runs before anything is installed. `make lab` and `make reset CHAPTER=04` call it.
Extra arguments for JupyterLab go into the environment variable JUPYTER_ARGS.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import webbrowser
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
MY_WORK = NOTEBOOKS.parent / "my_work"
TESTED, OLDEST = (3, 11), (3, 11)  # the lock was tested on the one; its pins need at least the other


class WorkspaceError(Exception):
    """A request that cannot be met; the message says what can be done instead."""


def chapters(notebooks: Path = NOTEBOOKS) -> dict[str, Path]:
    """The shipped notebooks by chapter number ("04"; "a0" for an appendix), in reading order."""
    return {path.name[:2]: path for path in sorted(notebooks.glob("[0-9a][0-9]_*.ipynb"))}


def copy(notebooks: Path = NOTEBOOKS, my_work: Path = MY_WORK) -> tuple[list[str], list[str]]:
    """Copy every chapter that `my_work` lacks, without outputs; return the names (copied, kept)."""
    my_work.mkdir(parents=True, exist_ok=True)
    copied, kept = [], []
    for source in chapters(notebooks).values():
        try:
            _write_new(my_work / source.name, without_outputs(source))
            copied.append(source.name)
        except FileExistsError:
            kept.append(source.name)
    return copied, kept


def without_outputs(notebook: Path) -> bytes:
    """The notebook's text with neither outputs nor counts, as if no cell had been run."""
    try:
        content = json.loads(notebook.read_bytes())
        for cell in content["cells"]:
            if cell["cell_type"] == "code":
                cell.update(outputs=[], execution_count=None)
                cell["metadata"].pop("execution", None)  # when it ran
    except (ValueError, TypeError, KeyError) as error:
        raise WorkspaceError(f"{notebook.name} is not a notebook ({error}): is the checkout complete?") from error
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def reset(chapter: str, notebooks: Path = NOTEBOOKS, my_work: Path = MY_WORK) -> tuple[Path, Path | None]:
    """Renew one chapter ("4", "04" or its file name) in `my_work`; return (the new copy, the backup or None).

    There is no backup where there was nothing of the student's to keep: where `my_work` held the copy as it was made,
    or the shipped file. Raises `WorkspaceError` that lists the chapters when there is none of that number.
    """
    source = _find(chapter, chapters(notebooks))
    fresh = without_outputs(source)
    my_work.mkdir(parents=True, exist_ok=True)
    mine = my_work / source.name
    backup = None
    if mine.exists():
        present = mine.read_bytes()
        if present == fresh:
            return mine, None
        if present != source.read_bytes():
            backup = _backup(mine)
        mine.unlink()  # only after the backup is complete
    _write_new(mine, fresh)
    return mine, backup


def jupyter_command(first: str, browser: bool, root: bool, extra: str = "") -> list[str]:
    """The command that starts JupyterLab on the notebook `first` of the current folder, saying little."""
    # The address rather than the file: only so does the printed address lead to the notebook as well.
    command = [sys.executable, "-m", "jupyterlab", f"--LabApp.default_url=/lab/tree/{first}", "--log-level=WARN"]
    if not browser:
        command.append("--no-browser")  # JupyterLab then prints the address to open
    if root:
        command.append("--allow-root")  # JupyterLab refuses root otherwise; containers often have no other user
    return command + shlex.split(extra)


def has_browser() -> bool:
    """Whether a window can be opened here: a text browser inside the terminal would only be in the way."""
    if sys.platform not in ("win32", "darwin") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def check_python() -> str:
    """A remark on this Python ("" if it is the tested one); raises `WorkspaceError` where the lock cannot work."""
    here = ".".join(map(str, sys.version_info[:3]))
    tested = ".".join(map(str, TESTED))
    if sys.version_info[:2] < OLDEST:
        raise WorkspaceError(
            f"Python {here} is too old for the tested set of packages (tested on {tested}).\n"
            f"Name a newer one, for example:  make lab PYTHON=python{tested}\n"
            "or let conda bring it:          conda env create -f environment.yml"
        )
    try:
        import ensurepip  # noqa: F401  (Debian and Ubuntu ship it apart)
        import venv  # noqa: F401
    except ImportError:
        raise WorkspaceError(
            f"This Python ({here}) cannot make virtual environments: its venv module is missing.\n"
            "On Debian or Ubuntu:  sudo apt-get install python3-venv\n"
            "Elsewhere, name another Python:  make lab PYTHON=/path/to/python3.11"
        ) from None
    if sys.version_info[:2] != TESTED:
        return f"Note: Python {here}; the packages were tested on {tested}. If pip fails, use PYTHON=python{tested}."
    return ""


def _find(chapter: str, known: dict[str, Path]) -> Path:
    match = re.fullmatch(r"(a?\d{1,2})(?:_.*)?", chapter.strip())
    if match and match[1].zfill(2) in known:
        return known[match[1].zfill(2)]
    names = "\n".join(f"    {number}  {path.stem[3:].replace('_', ' ')}" for number, path in known.items())
    asked = f"there is no chapter {chapter!r}" if chapter.strip() else "no chapter was named"
    raise WorkspaceError(f"{asked}. For example: make reset CHAPTER=00. The chapters:\n{names or '    (none here)'}")


def _backup(path: Path) -> Path:
    number = 1
    while True:
        backup = path.with_name(f"{path.stem}.backup-{number}{path.suffix}")
        try:
            _write_new(backup, path.read_bytes())
            return backup
        except FileExistsError:
            number += 1


def _write_new(path: Path, content: bytes) -> None:
    with path.open("xb") as file:  # "x" refuses an existing file: nothing of the student's can be overwritten
        file.write(content)


def _say_copy() -> None:
    copied, kept = copy()
    for name in copied:
        print(f"copied    my_work/{name}")
    if kept:
        print(f"kept      {len(kept)} notebook(s) of yours in my_work/ (for a fresh one: make reset CHAPTER=04)")
    if not copied and not kept:
        raise WorkspaceError("there are none in notebooks/: is the checkout complete?")


def _say_reset(chapter: str) -> None:
    mine, backup = reset(chapter)
    if backup:
        print(f"kept      my_work/{backup.name}   (your version)")
    print(f"renewed   my_work/{mine.name}   (if it is open in JupyterLab: File > Reload Notebook from Disk)")


def _lab() -> int:
    _say_copy()
    first = next(iter(chapters().values())).name
    browser = has_browser()
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    command = jupyter_command(first, browser, root, os.environ.get("JUPYTER_ARGS", ""))
    os.environ.setdefault("CQL_TUTORIAL_PROGRESS", str(MY_WORK / ".progress.json"))  # read by the course's progress()
    print(f"starting  JupyterLab in my_work/ on {first}; Ctrl-C twice stops it")
    if not browser:
        print("          no browser here: open the http://... address that JupyterLab prints below in yours")
    sys.stdout.flush()
    if os.name == "posix":  # become JupyterLab, so that Ctrl-C and a stop reach it directly
        os.chdir(MY_WORK)
        os.execv(command[0], command)
    return subprocess.call(command, cwd=MY_WORK)


def main(arguments: list[str]) -> int:
    """Run one of: copy, reset CHAPTER, lab, check-python; return the exit status."""
    try:
        if arguments == ["copy"]:
            _say_copy()
        elif arguments[:1] == ["reset"] and len(arguments) <= 2:
            _say_reset(arguments[1] if len(arguments) == 2 else "")
        elif arguments == ["lab"]:
            return _lab()
        elif arguments == ["check-python"]:
            remark = check_python()
            if remark:
                print(remark)
        else:
            print(__doc__)
            return 2
    except WorkspaceError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
