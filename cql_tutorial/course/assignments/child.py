"""The process in which one student's code runs: `python -m cql_tutorial.course.assignments.child JOB.json`.

It limits itself first, then runs the cells, then judges one function after another, and writes a line of JSON before
and after each: whoever started it sees where it stands, ends it where it hangs, and starts another for what is left.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...errors import CQLTutorialError
from .collect import TimeLimitError, collect, environment, read_cells, time_limit
from .spec import Limits, load
from .verdict import CRASHED, PASSED, REFUSED, Verdict, answers_of, judge, nothing, stopped

CELLS = "cells"  # the first phase; the others are the exercises' ids
FILE_MB = 20  # the largest file that a student's code may write
TOO_LONG = "your function was stopped after {:g} s: does a loop never end?"
TOO_LARGE = "your function asked for more memory than there is: does something grow without end?"


def limit(limits: Limits) -> None:
    """Limit this process's memory (beyond what it has now) and the size of its files, where the system can."""
    try:
        import resource
    except ImportError:  # Windows: whoever started this process ends it
        return
    room = limits.memory_mb * 2**20 + _in_use()
    for what, most in (
        (resource.RLIMIT_DATA, room),
        (resource.RLIMIT_FSIZE, FILE_MB * 2**20),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def _in_use() -> int:
    """The bytes of data that this process has already, with torch in it; 0 where the system does not say."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def main(job_file: str) -> int:
    """Run a job: the assignment's file, the student, the notebook, the ids to judge, where to write."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    assignment = load(Path(job["assignment"]))
    parts = [part for part in assignment.parts if part.id in job["ids"]]
    graded = {part.id: assignment.graded(part.id, job["student"]) for part in parts}
    cells, _ = read_cells(Path(job["notebook"]))
    with open(job["out"], "a", encoding="utf-8") as out:

        def tell(**what: Any) -> None:
            print(json.dumps(what), file=out, flush=True)

        environment()
        limit(assignment.limits)
        tell(begin=CELLS)
        seconds = assignment.limits.seconds
        found = collect(cells, graded, seconds, definitions_only=job["definitions_only"])
        tell(notes=found.notes)
        for part in parts:
            tell(begin=part.id)
            if part.id in found.reasons:
                verdict = nothing(part, found.reasons[part.id])
            else:
                verdict = _judged(part, graded[part.id], found.functions[part.id], seconds)
            tell(verdict=asdict(verdict))
        tell(begin="end")
    return 0


def _judged(part: Any, exercise: Any, function: Any, seconds: float) -> Verdict:
    try:
        with time_limit(seconds):
            verdict = judge(part, exercise, function)
            if "allocate memory" in verdict.message or "MemoryError" in verdict.message:
                return Verdict(part.id, CRASHED, 0.0, TOO_LARGE)
            if verdict.status != PASSED:
                return verdict
            return Verdict(**{**asdict(verdict), "answers": answers_of(exercise, function)})
    except TimeLimitError:
        return stopped(part, TOO_LONG.format(seconds))
    except MemoryError:
        return Verdict(part.id, CRASHED, 0.0, TOO_LARGE)
    except CQLTutorialError as error:  # an answer that cannot travel
        return Verdict(part.id, REFUSED, 0.0, str(error))
    except BaseException as error:  # whatever a student's object does when it is looked at
        return Verdict(part.id, CRASHED, 0.0, f"{type(error).__name__} while your answer was looked at")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
