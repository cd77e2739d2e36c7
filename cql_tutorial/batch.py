"""`Batch` (what an update reads) and `Noise` (every random number it uses)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import DataError

REQUIRED = ("observations", "actions", "rewards", "next_observations", "terminations")


def as_tensor(value: Any, field: str = "array") -> Tensor:
    """A tensor as it is, anything else as a CPU tensor (even where another default device is set).

    Any byte order and width of numbers will do. Raises `DataError` that names the ``field`` if it is no array of
    numbers: a dict (of a Dict space), or one in which values are masked.
    """
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Mapping):
        found = f"a dict with the keys {sorted(map(str, value))}"
        mend = "flatten it as the log was: wrap the environment in gymnasium.wrappers.FlattenObservation, or pass"
        mend += " gymnasium.spaces.flatten(space, value) of the same Dict space, whose order of keys counts."
        raise DataError(field, found, "one array of numbers", mend)
    if np.ma.is_masked(value):
        found, mend = f"{int(np.ma.getmaskarray(value).sum())} masked values", "fill them (.filled) or drop those rows."
        raise DataError(field, found, "numbers in every place", mend)
    try:
        array = np.asarray(value)
        if array.dtype.kind == "f" and array.dtype.itemsize > 8:  # long double, which torch has not
            array = array.astype(np.float64)
        if not array.dtype.isnative or (array.dtype.kind == "u" and array.dtype.itemsize > 1):
            array = array.astype(np.int64 if array.dtype.kind == "u" else array.dtype.newbyteorder("="))
        # A copy where torch could not share the memory: negative strides, or a read-only array.
        return torch.from_numpy(array if array.flags.writeable and array.flags.c_contiguous else array.copy())
    except (TypeError, ValueError) as error:
        found = f"a {type(value).__name__} that is no array of numbers ({error})"
        raise DataError(field, found, "an array or tensor of numbers", "convert it with numpy.asarray.") from error


@dataclass(frozen=True, eq=False)
class Batch(Mapping[str, Tensor]):
    """B transitions, in the environment's own units.

    Shapes: ``observations [B, S]``, ``actions [B, A]`` (``[B]`` integers for discrete agents), ``rewards [B]``,
    ``next_observations [B, S]``, ``terminations [B]`` (bool, or float 0/1). A termination ends the task and cuts
    the bootstrap; a truncation only ends the recording and is therefore not part of a batch.
    ``returns_to_go [B]`` is the discounted sum of rewards from the row to its episode's end; Cal-QL alone reads it.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    terminations: Tensor
    returns_to_go: Tensor | None = None

    @classmethod
    def of(cls, source: Mapping[str, Any]) -> Batch:
        """Take the known keys of any mapping of arrays or tensors; other keys are ignored.

        Raises ``DataError`` that names a missing key.
        """
        if not isinstance(source, Mapping):
            found = f"a {type(source).__name__}"
            raise DataError("batch", found, f"a mapping with the keys {list(REQUIRED)}", "pass a dict of arrays.")
        missing = [key for key in REQUIRED if key not in source]
        if missing:
            raise DataError(
                f"batch[{missing[0]!r}]",
                f"no such key among {sorted(map(str, source))}",
                f"the keys {list(REQUIRED)}",
                "rename your arrays to the Gymnasium/Minari terms above.",
            )
        keys = [*REQUIRED, *(["returns_to_go"] if source.get("returns_to_go") is not None else [])]
        return cls(**{key: as_tensor(source[key], f"batch[{key!r}]") for key in keys})

    def __getitem__(self, key: str) -> Tensor:
        value = getattr(self, key, None) if key in _FIELDS else None
        if value is None:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name in _FIELDS if getattr(self, name) is not None)

    def __len__(self) -> int:  # the number of keys, as Mapping asks; `size` is the number of transitions
        return sum(1 for _ in self)

    @property
    def size(self) -> int:
        """Number of transitions B."""
        return self.rewards.numel()


_FIELDS = tuple(field.name for field in fields(Batch))


def check_batch(batch: Batch, state_dim: int, action_dim: int, discrete: bool) -> None:
    """Raise `DataError` unless every column has the shape and kind of number that such an agent takes.

    Values are never looked at: on a GPU that would wait for it.
    """
    if discrete is batch.actions.is_floating_point():
        wanted, other = ("integers", "continuous") if discrete else ("floats", "discrete")
        mend = f"pass {wanted}, or use a {other} agent."
        kind = "discrete" if discrete else "continuous"
        raise DataError("batch['actions']", f"dtype {batch.actions.dtype}", f"{wanted} (a {kind} agent)", mend)
    size = batch.size
    if size == 0:
        raise DataError("batch['rewards']", "an empty batch", "at least one transition", "check your data loader.")
    flat = "one number a transition: flatten it with .reshape(-1)."
    states = f"state_dim is {state_dim}: build the agent for your observations."
    width = f"action_dim is {action_dim}: set it to the width of your actions."
    shapes: dict[str, tuple[tuple[int, ...], str]] = {
        "observations": ((size, state_dim), states),
        "actions": ((size,) if discrete else (size, action_dim), width),
        "rewards": ((size,), flat),
        "next_observations": ((size, state_dim), states),
        "terminations": ((size,), flat),
    }
    if batch.returns_to_go is not None:
        shapes["returns_to_go"] = ((size,), flat)
    for key, (shape, mend) in shapes.items():
        value = batch[key]
        if tuple(value.shape) != shape:
            raise DataError(f"batch[{key!r}]", f"shape {list(value.shape)}", f"shape {list(shape)}", mend)
        boolean = key == "terminations" and value.dtype == torch.bool
        if key != "actions" and not value.is_floating_point() and not boolean:
            kinds = "bool or floats" if key == "terminations" else "floats"
            mend = "convert it with .bool() or .float()."
            raise DataError(f"batch[{key!r}]", f"dtype {value.dtype}", kinds, mend)


@dataclass(frozen=True)
class Noise:
    """Every random number of one update: two implementations given the same make comparable updates.

    ``uniform [B, N, A]`` lies strictly inside (-1, 1) and is itself a proposal; ``policy`` and ``next_policy``
    ``[B, N, A]`` and ``target`` and ``actor`` ``[B, A]`` are standard normal. ``subset`` holds the numbers of the
    critics of which the Bellman target takes the minimum. ``next_uniform [B, N, A]`` is as ``uniform``, for the next
    states. Unused ones are None.
    """

    target: Tensor | None = None
    actor: Tensor | None = None
    uniform: Tensor | None = None
    policy: Tensor | None = None
    next_policy: Tensor | None = None
    subset: Tensor | None = None
    next_uniform: Tensor | None = None
