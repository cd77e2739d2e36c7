"""The package's errors and warnings: each names the field, what was found, what was expected and how to mend it."""

from __future__ import annotations

import operator
from typing import Any


class CQLTutorialError(Exception):
    """Base of every error raised on purpose by this package.

    The message has four parts: the *field*, what was *found*, what was *expected*, and how to *mend* it.
    """

    def __init__(self, field: str, found: str, expected: str, mend: str = "") -> None:
        self.field, self.found, self.expected, self.mend = field, found, expected, mend
        message = f"{field}: found {found}; expected {expected}."
        super().__init__(f"{message} To mend it: {mend}" if mend else message)

    def __str__(self) -> str:
        # FileNotFoundError is an OSError, whose own __str__ would print the arguments as a tuple.
        return str(self.args[0])

    def __reduce__(self) -> tuple[type[CQLTutorialError], tuple[str, str, str, str]]:
        return type(self), (self.field, self.found, self.expected, self.mend)


class ConfigError(CQLTutorialError, ValueError):
    """A setting has an unknown name or a value that cannot be used."""


class DataError(CQLTutorialError, ValueError):
    """Logged data have a wrong shape, dtype or value."""


class DatasetNotFoundError(CQLTutorialError, FileNotFoundError):
    """No data set of that id or path was found in the places that were searched."""


class CheckpointError(CQLTutorialError, ValueError):
    """A checkpoint cannot be read, or belongs to another agent or run."""


class DivergedError(CQLTutorialError, ArithmeticError):
    """A loss stopped being a finite number during training."""


class CallbackError(CQLTutorialError, RuntimeError):
    """A function that the caller passed in (``evaluate``, ``on_row``) raised an error."""


def require(holds: Any, field: str, found: Any, expected: str, mend: str = "") -> None:
    """Raise ``ConfigError`` unless it holds that the setting ``field`` is as expected; ``found`` is its value."""
    if not holds:
        raise ConfigError(field, repr(found), expected, mend)


def require_data(holds: Any, field: str, found: str, expected: str, mend: str = "") -> None:
    """Raise ``DataError`` unless it holds that the data are as expected; ``found`` describes them."""
    if not holds:
        raise DataError(field, found, expected, mend)


def check_int(name: str, value: Any, minimum: int) -> int:
    """The setting as a plain int >= ``minimum``, or ``ConfigError``; NumPy's integers will do, 2.0 will not."""
    try:
        number = operator.index(value)
    except TypeError:
        number = minimum - 1
    wrong_type = isinstance(value, float) and minimum <= value < float("inf")
    mend = f"pass {name}={int(value)}." if wrong_type else f"pass {name}={max(minimum, 1)} or more."
    require(number >= minimum, name, value, f"a whole number >= {minimum}", mend)
    return number


class CQLWarning(UserWarning):
    """Base of this package's warnings."""


class TargetBelowFloorWarning(CQLWarning):
    """The Lagrange target lies below the smallest CQL gap the data allow: the multiplier has run to its upper bound."""


class TargetAboveNaturalGapWarning(CQLWarning):
    """The Lagrange target lies above the CQL gap without any penalty: the multiplier has run to its lower bound."""
