"""`cql-tutorial describe`: a report on a log that a person wants to read before anything is trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..datasets import defects
from ..datasets.offline_dataset import OfflineDataset
from ..datasets.roles import names_of
from ..errors import CQLTutorialError, require
from ..files import atomic_write
from .files import in_flags, plain, versions, write_json
from .options import DataOptions


@dataclass(frozen=True, kw_only=True)
class DescribeOptions:
    """What the report holds."""

    time_limit: int | None = None
    """Steps after which the task's episodes are cut, if you know: terminations there are suspicious."""
    figure: Annotated[Path | None, tyro.conf.arg(metavar="FILE.png")] = None
    """Also draw the report (.png, .svg or .pdf); needs matplotlib."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE.json")] = None
    """Also write it as JSON."""
    strict: bool = False
    """End with status 1 if any defect is found: for use in a pipeline."""


ENDINGS = (".png", ".svg", ".pdf")


def describe(data: DataOptions, report: DescribeOptions) -> int:
    """Print facts and known defects, each with its remedy; return 1 if the data cannot be loaded as they are."""
    if report.figure is not None:
        known = report.figure.suffix.lower() in ENDINGS
        require(
            known, "--figure", str(report.figure), f"a name that ends in {', '.join(ENDINGS)}", "change its ending."
        )
    require(not data.hold_out, "--hold-out", data.hold_out, "nothing for describe", "leave it out.")
    dataset: OfflineDataset | None = None
    facts: dict[str, Any] = {}
    refusal = None
    try:
        dataset = data.load()
        found, facts = dataset.defects(time_limit=report.time_limit), dataset.describe(with_defects=False)
        print(facts)
        facts.update(_scales(dataset))
    except CQLTutorialError as error:
        raw = stored(data)
        if raw is None:
            raise
        refusal = in_flags(str(error))
        found = defects.find(raw, time_limit=report.time_limit)
        print(f"The data cannot be loaded as they are. {refusal}\n")
    none = ": none was found." if refusal is None else ": none that explains it."
    print(f"\n{len(found)} known defect{'s' * (len(found) != 1)}" + (":" if found else none))
    for one in found:
        print(f"- {one}")
    if report.figure is not None and dataset is not None:
        _draw(dataset, report.figure)
    if report.out is not None:
        content = {
            "format": "cql-tutorial describe 1",
            "data": plain(data),
            "facts": dict(facts),
            "refused": refusal,
            "defects": [one.plain() for one in found],
            "versions": versions(),
        }
        write_json(report.out, content)
    return int(dataset is None or (report.strict and bool(found)))


def stored(data: DataOptions) -> dict[str, Any] | None:
    """Read the arrays of a file that the loader refuses, unchecked; None if they cannot be read."""
    try:
        return data.stored()
    except CQLTutorialError:
        return None


def _draw(dataset: OfflineDataset, path: Path) -> None:
    from ..course.figures import data_report

    figure = data_report(dataset)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:] or None)
    print(f"\n{figure}\nfigure: {path}")


def _scales(dataset: OfflineDataset) -> dict[str, Any]:
    """Print each observation column's scale and what to switch on; return it as facts."""
    from ..agents.normaliser import column_faults, column_statistics, several

    names = names_of(dataset.metadata, "observations", dataset.observation_dim)
    mean, std = (values.tolist() for values in column_statistics(dataset.observations))
    faults = column_faults(dataset.observations, dataset.next_observations, names)
    scales, outliers = ([one for one in faults if one.outlier is kind] for kind in (False, True))
    titles = names or list(map(str, range(dataset.observation_dim)))
    shown = [f"{c[:40]}: {m:.3g} ± {s:.3g}" for c, m, s in zip(titles, mean, std, strict=True)]
    print(f"observation scale      {', '.join(shown[:12])}{', ...' if len(shown) > 12 else ''} (mean ± sd)")
    if scales:
        print(f"  not of order 1: {several(scales)}.")
        print("  Normalise them: train does so by itself; in Python set normalize_observations=True.")
    if outliers:
        print(f"  far from all others: {several(outliers)}. Correct or drop those rows: normalising does not help.")
    return {"observation_scale": {"columns": titles, "mean": mean, "std": std, "told": [one.text for one in faults]}}
