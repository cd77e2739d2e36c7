"""`cql-tutorial doctor`: whether this machine is ready; with ``--run``, what a trained run's own numbers give away."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..agents import load_agent
from ..agents.checkpoint import read_tensors
from ..datasets.offline_dataset import OfflineDataset
from ..errors import CheckpointError, CQLWarning
from ..evaluation.symptoms import CARDS, Card, look, looked_at, symptoms
from .doctor import doctor as machine
from .options import DataOptions

FORMAT = "cql-tutorial train 1"
RUN = tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(optional)")


def doctor(run: Annotated[Path | None, RUN] = None) -> int:
    """Say whether this machine is ready; with --run, which symptom cards a run of train lies under.

    The second reads the folder's results.json, its checkpoints with their histories, and the log that was trained on.
    The end is 1 where a card applies or a package is missing, else 0. Raises `CheckpointError` for a folder that is no
    run of train.
    """
    if run is None:
        report = machine()
        print(report)
        return int(not report.ok)
    found = False
    for line, bad in examine(run):
        print(line)
        found = found or bad
    return int(found)


def examine(folder: Path) -> Iterator[tuple[str, bool]]:
    """The lines of the report on a run's folder, and of each whether it tells of a symptom."""
    content, dataset = read_run(folder)
    yield f"{content['agent']} on {dataset!r}", False
    trained = content["data"].get("fingerprint")
    if trained is not None and trained != dataset.fingerprint():
        yield f"the data are not those of this run any more: {trained} then, {dataset.fingerprint()} now", True
    for row in content["seeds"]:
        seed = row.get("seed")
        if row.get("diverged"):
            yield f"seed {seed}: diverged: {row['diverged']}", True
            continue
        numbers = numbers_of_seed(folder / f"seed-{seed}.safetensors", dataset)
        cards, of = symptoms(numbers), sum(looked_at(card, numbers) for card in CARDS.values())
        names = ", ".join(card.name for card in cards) or "none"
        yield f"seed {seed}: {len(cards)} of {of} cards apply: {names}", False
        for card in cards:
            yield card_text(card, card.told(numbers)), True
    yield "A card is a suspicion, and no card is no proof: many bugs show none (chapter 12 has the counts).", False


def card_text(card: Card, found: str) -> str:
    """A card as text: symptom, what was found, suspects, and the experiment that decides."""
    lines = [f"  {card.name}: {card.symptom}", f"    found       {found}"]
    lines += [f"    {'suspects' if number == 0 else '':<11} {text}" for number, text in enumerate(card.suspects)]
    return "\n".join([*lines, f"    experiment  {card.experiment}"])


def read_run(folder: Path) -> tuple[dict[str, Any], OfflineDataset]:
    """The results of a run of train, and the log that it was trained on; `CheckpointError` for another folder."""
    path = folder / "results.json"
    mend = "pass the --out folder of a train command that came to its end (repeat it to go on)."
    expected = "a folder that cql-tutorial train wrote, with results.json in it"
    if not path.is_file():
        found = "no such folder" if not folder.is_dir() else "no results.json in it"
        raise CheckpointError(f"--run {folder}", found, expected, mend)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name for field in dataclasses.fields(DataOptions)}
        if content["format"] != FORMAT:
            raise CheckpointError(f"--run {folder}", f"format {content['format']!r}", repr(FORMAT), mend)
        given: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in content["data"].items() if key in known
        }
        rows, agent, options = content["seeds"], content["agent"], DataOptions(**given)
        good = isinstance(rows, list) and all(isinstance(row, dict) for row in rows) and isinstance(agent, str)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        found = f"{path.name} that cannot be read ({type(error).__name__}: {error})"
        raise CheckpointError(f"--run {folder}", found, expected, mend) from error
    if not good:
        raise CheckpointError(f"--run {folder}", f"{path.name} without its seeds", expected, mend)
    return content, options.parts()[0]


def numbers_of_seed(path: Path, dataset: OfflineDataset) -> dict[str, float]:
    """What the cards ask for, of the checkpoint of one seed, whose header holds the history."""
    _, header = read_tensors(path)
    try:
        rows = json.loads(header["training"])["rows"]
    except (ValueError, KeyError, TypeError) as error:
        mend = "repeat the train command, which writes it."
        raise CheckpointError(str(path), "an agent without its training run", "a checkpoint of train", mend) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CQLWarning)  # of the clone that stands for the behaviour policy
        return look(load_agent(path, "auto"), dataset, rows)
