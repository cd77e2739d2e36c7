"""What the commands write: JSON that appears whole or not at all, tables on the screen, TensorBoard's event files."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..files import atomic_write
from ..training.offline import History

_FLAGS = {
    r'out_of_bounds="clip"': "--out-of-bounds clip",
    r"n_actions=": "--n-actions ",
    r"action_low= and action_high=": "--action-low and --action-high",
    r"action_low=, action_high=": "--action-low, --action-high",
    r"max_episode_steps=": "--max-episode-steps",
    r"max_gigabytes=": "--max-gigabytes",
    r"max_gap=": "--max-gap",
    r"dtype=torch.float64": "--read-dtype float64",
    r"columns=": "--columns",
    r"decimal=','": "--decimal ,",
    r"overwrite=True": "--overwrite",
    r"remote=True": "--remote",
    r"resume=False": "another --out",
    r"resume='new-episode'": "--new-episode",
    r"use_next_observations=False": "--mend next-episode (of cql-tutorial convert)",
}
_CALL = re.compile(r"(\w[\w.]*\((?:[^()]|\([^()]*\))*\))")


def in_flags(text: str) -> str:
    """A message with the command line's words in place of Python's."""
    text = re.sub(r" ?\((?:columns|delimiter|decimal|dtype|n_actions|action_low)=[^()]*in Python\)", "", text)
    text = re.sub(r" ?\((?:n_actions|columns|max_gap)= in Python\)| ?\(action_low=, action_high=\)", "", text)
    text = re.sub(r"^columns\['(\w+)'\]:", r"--columns \1:", text)
    text = re.sub(
        r"^(columns|n_actions|delimiter|decimal|max_gap):", lambda found: f"--{found[1].replace('_', '-')}:", text
    )
    if "OfflineDataset." in text or "load_dataset(" in text:  # a line of Python is meant as one
        return text
    parts = _CALL.split(text)  # every second one is a call of Python's, which stays as it is
    for words, flag in _FLAGS.items():
        parts[::2] = [re.sub(rf"(?<![\w-]){re.escape(words)}", flag, part) for part in parts[::2]]
    text = "".join(parts)
    return re.sub(r"(--n-actions) +(?=[^\w<]|$)", r"\1", text).replace("  ", " ")


def versions() -> dict[str, str]:
    """Return the versions that numbers may depend on."""
    names = ("cql-tutorial", "torch", "numpy", "minari", "gymnasium")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all; a number that is not finite becomes null."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plain(options: Any) -> dict[str, Any]:
    """A dataclass of options as plain values, fit for JSON."""
    return dataclasses.asdict(options)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Align rows as text, a column for each key in the order of first appearance; numbers to four digits."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name, "")) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in (names, *cells)]
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class TensorBoard:
    """Writes a history's rows as TensorBoard scalars into a folder of its own; call it with the history.

    A resumed run's earlier rows are written again and the folder's older event files removed, so the curves are those
    of an unbroken run. Metrics go below ``train/``, what was measured at evaluations below ``evaluation/``.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            mend = "pip install tensorboard (it comes with the extra: cql-tutorial[cli]), or leave out --tensorboard."
            raise ConfigError("--tensorboard", "no tensorboard", "the package tensorboard", mend) from error
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self.writer, self.written = SummaryWriter(str(folder)), 0

    def __call__(self, history: History) -> None:
        for row in history.rows[self.written :]:
            group = "train" if "td_loss" in row or "policy_loss" in row or "cql_loss" in row else "evaluation"
            for name, value in row.items():
                if name != "step":
                    self.writer.add_scalar(f"{group}/{name}", value, int(row["step"]))
        self.written = len(history.rows)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()
