"""Graded homework from the course's exercises or an instructor's own: made, checked, handed out, graded.

`write_bundle` makes everything from one TOML file; `grade_folder` grades a class. In the order in which they are read:
`spec` (what an assignment is), `redraw` (other numbers for each student), `verdict` (what a function is worth),
`collect` (the functions of a notebook), `child` and `grading` (a limited process for each student), `self_check`,
`notebooks`, `cell` (for nbgrader), `gradescope`, `bundle`.
"""

from __future__ import annotations

from .bundle import write_bundle
from .grading import Grade, grade_folder, grade_notebook, students_of
from .redraw import redrawn
from .self_check import Checked, self_check
from .spec import Assignment, load

__all__ = [
    "Assignment",
    "Checked",
    "Grade",
    "grade_folder",
    "grade_notebook",
    "load",
    "redrawn",
    "self_check",
    "students_of",
    "write_bundle",
]
