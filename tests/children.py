"""Child processes that start with torch imported: copies of this one, made by fork.

A new interpreter takes two seconds of processor time to import torch before it does anything. Where that import is
not what is tested (a training that is killed, a package imported anew) a fork does the same in some milliseconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import traceback
from typing import IO

PACKAGE = "cql_tutorial"


class Child:
    """A child process that runs Python code as its main module; ``stdout`` is the reading end of its output.

    ``anew`` forgets the package first, so that the code imports it as a new interpreter would. Where there is no fork
    (Windows), it is a new interpreter.
    """

    def __init__(self, code: str, words: tuple[str, ...] = (), anew: bool = False) -> None:
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  (closed with this object)
        self.process: subprocess.Popen[str] | None = None
        if not hasattr(os, "fork"):
            command = [sys.executable, "-c", code, *words]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors, text=True)
            assert self.process.stdout is not None
            self.pid, self.stdout = self.process.pid, self.process.stdout
            return
        reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            _run(code, words, anew, writing, self.errors)
        os.close(writing)
        self.stdout = os.fdopen(reading, encoding="utf-8")

    def wait(self) -> int:
        """Its exit status, once it has ended; that of a killed one is the signal's number with a minus."""
        if self.process is not None:
            return self.process.wait()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def ended(self) -> tuple[int, str, str]:
        """Wait for its end: exit status, output, errors."""
        output = self.stdout.read()
        status = self.wait()
        self.errors.seek(0)
        return status, output, self.errors.read()


def _run(code: str, words: tuple[str, ...], anew: bool, writing: int, errors: IO[str]) -> None:
    """What the child does, to its end: it never returns to the tests."""
    status = 1
    try:
        os.dup2(writing, 1)
        os.dup2(errors.fileno(), 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.argv = ["-c", *words]
        if anew:
            for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
                del sys.modules[name]
        exec(compile(code, "<child>", "exec"), {"__name__": "__main__"})
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
