"""What a hidden test cell of `instructor.ipynb` calls: nbgrader reads the points off the cell's value."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..checker import CRASHED
from .collect import TimeLimitError, time_limit
from .spec import COMMON, load
from .verdict import Verdict, judge


def grade_cell(function: Callable[..., Any], assignment: Mapping[str, Any], files: Mapping[str, str]) -> float:
    """Judge one function and return its points; print the message, as nbgrader's feedback shows it.

    Raises `AssertionError` where there are none: nbgrader takes a value of 0 for all points.
    """
    with tempfile.TemporaryDirectory(prefix="grade-") as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        path = Path(folder) / "assignment.json"
        path.write_text(json.dumps({**assignment, "files": list(files)}), encoding="utf-8")
        loaded = load(path)
        part = loaded.parts[0]
        try:
            with time_limit(loaded.limits.seconds):
                verdict = judge(part, loaded.graded(part.id, COMMON), function)
        except TimeLimitError:
            verdict = Verdict(part.id, CRASHED, 0.0, f"your function was stopped after {loaded.limits.seconds:g} s.")
    print(f"{verdict.id} {verdict.status}, {verdict.points:g} of {part.points:g}: {verdict.message}")
    assert verdict.points > 0, f"{verdict.id} {verdict.status}"
    return verdict.points
