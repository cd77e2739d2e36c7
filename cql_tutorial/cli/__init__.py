"""`cql-tutorial describe | train | finetune | evaluate | ...` (see `COMMANDS`): the package from a shell.

Every command says with `--help` what it does and what each number means; errors name the field, what was found, what
was expected and how to mend it, and end with status 2.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

COMMANDS = {
    "describe": "Read a log, report what is in it and which known defects it has.",
    "train": "Train an agent on a log; repeat the command to go on after an interruption.",
    "finetune": "Let a trained agent act in a simulator and go on learning.",
    "evaluate": "Judge trained agents: in a simulator, against the truth, or from a log alone.",
    "export": "Write a trained policy as one file that runs without this package.",
    "convert": "Write a log as a Minari data set, or as a plain table.",
    "collect": "Record a log in a simulator, in Minari's format.",
    "benchmark": "Run algorithms on the tasks of a suite, under our settings or published ones.",
    "assign": "Make graded homework from exercises: notebooks, autograder, rubric.",
    "grade": "Grade a folder of notebooks, each in a limited process.",
    "doctor": "Say whether this machine is ready; with --run, which symptoms a trained run shows.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (``sys.argv`` if None) and return its exit status."""
    try:
        try:
            return _run(list(sys.argv[1:] if arguments is None else arguments))
        finally:
            sys.stdout.flush()  # so that a reader who has gone is noticed here, and not when Python ends
    except BrokenPipeError:  # `cql-tutorial describe ... | head`
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())  # or Python tells it when it ends
        return 141  # what a shell says of a program that such a pipe has ended


def _run(words: list[str]) -> int:
    if words == ["doctor"]:  # of the machine: must work where packages are missing, so before anything is imported
        from .doctor import doctor

        report = doctor()
        print(report)
        return int(not report.ok)
    if words[:1] in ([], ["-h"], ["--help"]):
        print(_overview())
        return 0 if words else 2
    try:
        import tyro  # noqa: F401
    except ImportError:
        print("cql-tutorial needs the package tyro: pip install 'cql-tutorial[cli]'", file=sys.stderr)
        return 2
    from ..errors import CQLTutorialError
    from .files import in_flags
    from .parser import run

    formatted = warnings.formatwarning
    try:
        # One line, in the words of flags: where in this package a warning was raised is of no use here.
        warnings.formatwarning = lambda message, *_, **__: f"warning: {in_flags(str(message))}\n"
        return run(words)
    except CQLTutorialError as error:
        print(f"error: {in_flags(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\nstopped. What was trained is kept up to the last checkpoint: repeat the command to go on.",
            file=sys.stderr,
        )
        return 130
    finally:
        warnings.formatwarning = formatted


def _overview() -> str:
    lines = [f"  {name:<10}{text}" for name, text in COMMANDS.items()]
    return "\n".join(
        ["usage: cql-tutorial COMMAND [OPTIONS]", "", *lines, "", "cql-tutorial COMMAND --help says more."]
    )
