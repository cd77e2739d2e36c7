"""Checks and the description of offline data: what `datasets.py` refuses, with one clear message each, and reports."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .batch import REQUIRED
from .errors import ConfigError, DataError

_FIRST = {"b": np.bool_, "i": np.int64, "u": np.int64}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def whole(name: str, value: Any, least: int) -> int:
    """A whole number >= least, or ``ConfigError``."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ConfigError(name, repr(value), f"a whole number >= {least}", f"pass {name}={max(least, 1)} or more.")
    return number


def columns(source: Mapping[str, Any]) -> dict[str, Any]:
    """The known columns of a mapping, or ``DataError`` that names the first missing key."""
    missing = [key for key in REQUIRED if key not in source]
    if missing:
        raise DataError(
            f"data[{missing[0]!r}]", f"no such key among {sorted(map(str, source))}",
            f"the keys {[*REQUIRED, 'truncations']} (the last may be left out)",
            "rename your arrays to these Gymnasium/Minari terms (D4RL's terminals are terminations, its timeouts "
            "truncations).",
        )  # fmt: skip
    optional = [key for key in ("truncations", "episode_starts") if key in source]
    return {key: source[key] for key in (*REQUIRED, *optional)}


def numbers(name: str, value: Any) -> Tensor:
    """A copy of any array of numbers as a tensor: float32, float64, int64 or bool."""
    if isinstance(value, Tensor):
        kind = "c" if value.is_complex() else "f" if value.is_floating_point() else "i"
        found, array = str(value.dtype), value.detach().clone()
        array = array if kind == "f" or value.dtype == torch.bool else array.long() if kind == "i" else array
    else:
        try:
            raw = np.asarray(value)
        except ValueError:  # NumPy refuses rows of unequal length
            raise DataError(name, "rows of unequal length", "a rectangular array", "pad or cut the rows.") from None
        kind, found = raw.dtype.kind, f"dtype {raw.dtype}"
        if kind in "biuf":
            smallest = np.float32 if raw.dtype.itemsize <= 4 else np.float64
            array = torch.from_numpy(np.array(raw, dtype=_FIRST.get(kind, smallest), order="C"))
    if kind not in "biuf":
        raise DataError(
            name, found, "numbers (float, integer or bool)",
            f"np.stack(list({name})).astype(np.float32) turns rows of real numbers into such an array.",
        )  # fmt: skip
    return array


def shape(name: str, tensor: Tensor, expected: str, n: int | None = None, width: int | None = None) -> Tensor:
    """Hold a tensor against ``[N]`` or ``[N, S]``, a number of rows and a width."""
    if tensor.ndim != len(expected.split(",")):
        mend = f"{name}.reshape(len({name}), -1)" if "," in expected else f"{name}.reshape(-1)"
        raise DataError(
            name, f"shape {tuple(tensor.shape)}", f"shape {expected}, one row a transition", f"{mend} if fitting."
        )
    if not tensor.numel():
        raise DataError(
            name, f"shape {tuple(tensor.shape)}, empty", "at least one transition", "check how it was read."
        )
    if n is not None and len(tensor) != n:
        raise DataError(
            name, f"{len(tensor)} rows", f"{n} rows, as many as observations",
            "give every array one row for each transition (T + 1 observations of an episode are T transitions).",
        )  # fmt: skip
    if width is not None and tensor.shape[1] != width:
        raise DataError(
            name, f"{tensor.shape[1]} columns", f"{width}, as many as observations", "use the same features."
        )
    return tensor


def floats(
    name: str, value: Any, dtype: torch.dtype, expected: str, n: int | None = None, width: int | None = None
) -> Tensor:
    """Finite floating-point numbers of a shape."""
    tensor = shape(name, numbers(name, value), expected, n, width).to(dtype)
    bad = ~torch.isfinite(tensor)
    if bad.any():
        rows = bad.flatten(1).any(1).nonzero() if tensor.ndim > 1 else bad.nonzero()
        raise DataError(
            name, f"{int(bad.sum())} NaN or infinite values, the first in row {int(rows[0])}",
            f"finite numbers (as {_name(dtype)})",
            "drop those rows (and mark the row before each gap as truncated), or repair the recording.",
        )  # fmt: skip
    return tensor


def flags(name: str, value: Any, n: int) -> Tensor:
    """Bool, or numbers that are 0 or 1."""
    tensor = shape(name, numbers(name, value), "[N]", n)
    wrong = (tensor != 0) & (tensor != 1)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise DataError(
            name, f"{int(wrong.sum())} values other than 0 and 1, the first {tensor[row].item()} in row {row}",
            "bool, or 0 and 1", f"a comparison makes flags of anything, such as {name} > 0.5.",
        )  # fmt: skip
    return tensor.bool()


def continuous_actions(value: Any, dtype: torch.dtype, n: int) -> Tensor:
    """Float actions ``[N, A]``; whole numbers are refused, for they may be meant as discrete."""
    tensor = numbers("actions", value)
    if not tensor.is_floating_point():
        raise DataError(
            "actions", f"{_name(tensor.dtype)} numbers, which may be choices or continuous values",
            "floats, or n_actions", "pass n_actions= if they are choices 0..n-1, or actions.astype(np.float32) if not.",
        )  # fmt: skip
    return floats("actions", tensor, dtype, "[N, A]", n)


def discrete_actions(value: Any, n_actions: int, n: int) -> Tensor:
    """Int64 choices ``[N]`` in 0..n_actions-1."""
    tensor = numbers("actions", value)
    if tensor.dtype != torch.int64:
        raise DataError(
            "actions", f"{_name(tensor.dtype)} values", f"integers 0..{n_actions - 1}, as n_actions is given",
            "actions.astype(np.int64) if they are choices; leave n_actions out if they are continuous.",
        )  # fmt: skip
    tensor = shape("actions", tensor, "[N]", n)
    wrong = (tensor < 0) | (tensor >= n_actions)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise DataError(
            "actions", f"{int(wrong.sum())} choices out of range, the first {int(tensor[row])} in row {row}",
            f"0..{n_actions - 1}", "count choices from 0, or pass the environment's action_space.n as n_actions=.",
        )  # fmt: skip
    return tensor


def bounds(low: Any, high: Any, width: int) -> tuple[Any, Any]:
    """Action bounds as a float each, or as a tuple where the dimensions differ."""
    result = []
    for name, value, default in (("action_low", low, -1.0), ("action_high", high, 1.0)):
        array = np.asarray(
            default if value is None else value.cpu() if isinstance(value, Tensor) else value, np.float64
        )
        if not np.isfinite(array).all() or array.shape not in ((), (width,)):
            raise DataError(
                name, str(array), f"a finite number, or {width} of them",
                f"pass {name}= with the range the actuators have.",
            )  # fmt: skip
        result.append(array)
    if not (result[0] < result[1]).all():
        raise DataError("action_low", f"{result[0]}", f"less than action_high {result[1]}", "swap the two?")
    lowest, highest = (float(x.flat[0]) if (x == x.flat[0]).all() else tuple(map(float, x)) for x in result)
    return lowest, highest


def within_bounds(actions: Tensor, low: Any, high: Any, out_of_bounds: str) -> tuple[Tensor, Tensor]:
    """(actions, which rows were clipped); outside the bounds is an error unless ``out_of_bounds="clip"``."""
    if out_of_bounds not in ("error", "clip"):
        raise ConfigError("out_of_bounds", repr(out_of_bounds), '"error" or "clip"', "choose one of the two.")
    # Bounds in the actions' dtype: 0.1 in float32 is above 0.1, and must not count as outside.
    lowest, highest = (torch.as_tensor(b, dtype=torch.float64).to(actions) for b in (low, high))
    excess = torch.maximum(lowest - actions, actions - highest)
    outside = excess > 1e-6 * (highest - lowest)  # what another rounding of the same bound can differ by
    if outside.any() and out_of_bounds == "error":
        row, column = divmod(int(excess.argmax()), actions.shape[1])
        raise DataError(
            "actions",
            f"{int(outside.sum())} values out of bounds, the worst {actions[row, column].item():g} in row {row}",
            f"values in {low}..{high}",
            'pass the environment\'s action_low= and action_high=, or out_of_bounds="clip" to clip and count them.',
        )  # fmt: skip
    if outside.any():
        actions = torch.where(outside, torch.minimum(torch.maximum(actions, lowest), highest), actions)
    return actions, outside.any(1)


def starts(given: Any, ends: Tensor) -> Tensor:
    """First row of each episode: 0, the row after each end, and the given ones."""
    after = ends.cpu()[:-1].nonzero().flatten() + 1
    if given is None:
        return torch.cat([after.new_zeros(1), after])
    found = numbers("episode_starts", given)
    valid = found.ndim == 1 and found.dtype == torch.int64 and len(found) and bool((found.diff() > 0).all())
    if not valid or int(found[0]) != 0 or int(found[-1]) >= len(ends):
        raise DataError(
            "episode_starts", f"{found.tolist()[:6]}...", f"row numbers that rise from 0 to at most {len(ends) - 1}",
            "np.cumsum of the episode lengths, without the last and with a 0 in front.",
        )  # fmt: skip
    stray = after[~torch.isin(after, found.cpu())]
    if len(stray):
        raise DataError(
            "episode_starts", f"no start at row {int(stray[0])}, though row {int(stray[0]) - 1} ends an episode",
            "a start after each termination or truncation", "leave episode_starts out, or mend the flags.",
        )  # fmt: skip
    return found


def following(observations: Tensor, first_rows: Tensor, terminations: Tensor) -> Tensor:
    """Next observations made from the following rows, where those exist."""
    last = torch.cat([first_rows[1:], first_rows.new_tensor([len(observations)])]) - 1
    missing = last[~terminations.cpu()[last.cpu()]]
    if len(missing):
        raise DataError(
            "next_observations",
            f"none given, and {len(missing)} episodes end without a termination (first at row {int(missing[0])})",
            "the observation after the last step of each such episode, from which the value is bootstrapped",
            "pass next_observations=, or drop those last rows and mark the rows before them as truncated.",
        )  # fmt: skip
    result = observations.roll(-1, 0)
    result[last] = observations[last]
    return result


class Description(dict[str, Any]):
    """A dict of facts about a data set that prints as a table."""

    def __str__(self) -> str:
        return "\n".join(f"{name.replace('_', ' '):<22} {_text(value)}" for name, value in self.items())

    __repr__ = __str__


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value[:8])) + (", ...]" if len(value) > 8 else "]")
    return str(value)


def _spread(tensor: Tensor) -> dict[str, Any]:
    return {"min": tensor.min().item(), "mean": tensor.double().mean().item(), "max": tensor.max().item()}


def describe(data: Any, last_rows: Tensor, jumps: Tensor) -> Description:
    """See `OfflineDataset.describe`."""
    n = len(data)
    facts = Description(id=data.id, transitions=n, episodes=len(data.episode_starts))
    facts["episode_lengths"] = _spread(data.episode_lengths())
    facts["episode_returns"] = _spread(data.episode_returns())
    facts["rewards"] = _spread(data.rewards)
    low, high = data.observations.aminmax(dim=0)
    facts["observations"] = {"min": low.tolist(), "max": high.tolist()}
    if data.discrete:
        counts = torch.bincount(data.actions, minlength=data.n_actions)
        facts["action_shares"] = (counts.double() / n).tolist()
    else:
        low, high = data.actions.aminmax(dim=0)
        facts["actions"] = {"min": low.tolist(), "max": high.tolist()}
        facts["action_bounds"] = {"low": data.action_low, "high": data.action_high}
        low, high = (torch.as_tensor(bound).to(data.actions) for bound in (data.action_low, data.action_high))
        margin = 1e-3 * (high - low)
        at_bounds = (data.actions <= low + margin) | (data.actions >= high - margin)
        facts["actions_at_bounds"] = at_bounds.double().mean().item()  # share within 0.1 % of the range
        facts["clipped_rows"] = int(data.clipped.sum())
    ended = data.terminations | data.truncations
    facts["terminations"] = int(data.terminations.sum())
    facts["truncations"] = int((data.truncations & ~data.terminations).sum())
    facts["unfinished_episodes"] = int((~ended[last_rows]).sum())
    followed = n - len(last_rows)
    facts["jump_share"] = int(jumps.sum()) / followed if followed else 0.0
    pairs = torch.cat([data.observations, data.actions.view(n, -1).to(data.observations)], 1).cpu().numpy() + 0.0
    width, raw = pairs.itemsize * pairs.shape[1], pairs.tobytes()
    facts["duplicate_share"] = 1 - len({raw[i : i + width] for i in range(0, len(raw), width)}) / n
    facts["dtype"], facts["device"] = _name(data.dtype), str(data.device)
    stored = (data.observations, data.actions, data.rewards, data.next_observations)
    facts["megabytes"] = (sum(t.numel() * t.element_size() for t in stored) + 3 * n) / 1e6
    return facts
