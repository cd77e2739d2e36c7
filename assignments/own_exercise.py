"""An exercise of an instructor's own, in the course's decorated form: other defects in each student's log.

Copy this file, change what it asks, name it under `files` in the assignment. Nothing of it is handed out but the
signature and the docstring of the reference.
"""

from __future__ import annotations

import torch

from cql_tutorial.course.checker import Example
from cql_tutorial.course.registry import exercise, mutant


def log_with_defects(generator, steps, defects):
    """Observations of one dimension, and which steps end an episode; some next observations are not what follows."""
    observations = torch.tensor(generator.normal(size=steps).round(2))
    ends = torch.zeros(steps, dtype=torch.bool)
    places = torch.tensor(generator.permutation(steps - 2)[: defects + 2] + 1)
    ends[places[:2]] = True
    ends[-1] = True
    following = observations.roll(-1)
    following[ends] = torch.tensor(generator.normal(size=int(ends.sum())).round(2))  # what follows an end is not in it
    following[places[2:]] += torch.tensor(generator.uniform(0.5, 2.0, size=defects).round(2))
    return observations, following, ends


def other_log(generator, number, example):
    """A log with other numbers, other ends and other defects; of the same size."""
    return log_with_defects(generator, len(example.arguments[0]), 1 + number)


def _numbers(values):
    return torch.tensor(values, dtype=torch.float64)


FIRST = (
    _numbers([0.5, -1.0, 2.0, 0.25, -0.75, 1.5]),
    _numbers([-1.0, 2.5, 0.75, -0.75, 1.5, -2.0]),
    torch.tensor([False, False, True, False, False, True]),
)
SECOND = (
    _numbers([1.0, 0.25, -0.5, 1.75, 0.1, -1.2, 0.6, 2.2, -0.3]),
    _numbers([0.25, 0.9, 1.75, 0.3, -1.2, 0.7, 2.2, -0.35, 1.0]),
    torch.tensor([False, False, False, True, False, False, False, False, True]),
)


@exercise(
    "own.1",
    title="rows that do not follow each other",
    kind="build",
    difficulty=2,
    importance=4,
    minutes=15,
    examples=(
        Example(FIRST, "six steps, of which the third and the last end an episode"),
        Example(SECOND, "nine steps", shown=False),
    ),
    hints=(
        "Inside an episode the next observation of a step is the observation of the step after it.",
        "Compare next_observations[:-1] with observations[1:], leave out the steps that end an episode, and the last.",
        "wrong = (next_observations[:-1] != ____) & ~ends[:-1]; return wrong.nonzero().squeeze(1)",
    ),
    meaning="A log that does not follow itself was cut, sorted or joined: ask by whom, before you train on it.",
    redraw=other_log,
)
def broken_rows(observations, next_observations, ends):
    """The numbers of the steps, from 0, whose next observation is not the following step's observation.

    A step that ends an episode is never one of them. [T], [T], [T] of True and False -> [rows found], integers
    """
    wrong = (next_observations[:-1] != observations[1:]) & ~ends[:-1]
    return wrong.nonzero().squeeze(1)


@mutant("own.1", "ends ignored")
def _(observations, next_observations, ends):
    """you also list steps that end an episode: what follows an end begins another episode and need not fit."""
    return (next_observations[:-1] != observations[1:]).nonzero().squeeze(1)


@mutant("own.1", "the row before")
def _(observations, next_observations, ends):
    """those are the steps *after* the broken ones: the wrong next observation stands one row earlier."""
    return ((next_observations[:-1] != observations[1:]) & ~ends[:-1]).nonzero().squeeze(1) + 1


@mutant("own.1", "the rows that fit")
def _(observations, next_observations, ends):
    """those are the steps that do follow each other. Asked are the others."""
    return ((next_observations[:-1] == observations[1:]) & ~ends[:-1]).nonzero().squeeze(1)


@mutant("own.1", "how many")
def _(observations, next_observations, ends):
    """that is how many there are. Asked is which."""
    return ((next_observations[:-1] != observations[1:]) & ~ends[:-1]).sum()


@mutant("own.1", "flags")
def _(observations, next_observations, ends):
    """those are True and False for each step but the last. Asked are the numbers of the broken ones: nonzero."""
    return (next_observations[:-1] != observations[1:]) & ~ends[:-1]


@mutant("own.1", "compared with itself")
def _(observations, next_observations, ends):
    """you compare a step's next observation with its *own* observation: that of the step after it counts."""
    return ((next_observations != observations) & ~ends).nonzero().squeeze(1)
