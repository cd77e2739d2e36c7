"""What makes the data sets and the result tables in data/.

A table resumes where it stopped: runs whose rows are in its CSV file are not measured again, and rows are written as
soon as they are there, so that any of these commands may be killed and started again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cql_tutorial.errors import CQLTutorialError
from experiments import (
    alpha,
    bugs,
    calibration,
    ensembles,
    headline,
    make_datasets,
    mujoco,
    mujoco_data,
    mujoco_episodes,
    mujoco_frames,
    off_policy,
    over_estimation,
    own_alpha,
    report,
    run_doctor,
    sepsis,
    signature,
    soft_q,
    sparse_q,
    wrong_penalties,
)
from experiments.headline_tables import AGAIN
from experiments.runner import Study, run
from experiments.storage import RESULTS

STUDIES: dict[str, Study[Any]] = {
    **headline.STUDIES,
    **{
        study.table: study
        for study in (
            sepsis.STUDY,
            wrong_penalties.STUDY,
            over_estimation.STUDY,
            own_alpha.STUDY,
            off_policy.STUDY,
            ensembles.ONLINE_STUDY,
            ensembles.OFFLINE_STUDY,
            signature.STUDY,
            calibration.STUDY,
            calibration.VERSIONS_STUDY,
            *soft_q.STUDIES.values(),
            sparse_q.STUDY,
            mujoco.STUDY,
            mujoco_episodes.STUDY,
            bugs.STUDY,
            bugs.TEST_STUDY,
            run_doctor.STUDY,
            alpha.STUDY,
        )
    },
}
NAMES: dict[str, tuple[str, tuple[str, ...]]] = {  # name -> what it does, the tables it measures
    "make_datasets": ("make every data set of the course again from scratch, or one (--only)", ()),
    "mujoco_data": ("make the MuJoCo data sets from the committed policies; needs the extra mujoco", ()),
    "results": ("measure every result table: make results, hours on two cores", tuple(STUDIES)),
    "mujoco": ("the table mujoco alone: cloning, IQL, SAC and CQL on three of D4RL's tasks", ("mujoco",)),
    "mujoco_episodes": (
        "shipped policies and checkpoints on fresh episodes, and their film strips",
        ("mujoco-episodes",),
    ),
    "headline": ("the headline tables alone: CQL beside cloning, IQL, SAC and its extensions", tuple(headline.STUDIES)),
    "sepsis": ("that table alone: fitted Q-iteration on logs of ICU-Sepsis", ("sepsis",)),
    "wrong_penalties": ("the table pitfalls alone: each wrong penalty beside the correct one", ("pitfalls",)),
    "over_estimation": ("the table pitfalls-causes alone: why the correct penalty is too high", ("pitfalls-causes",)),
    "own_alpha": ("the table pitfalls-own alone: each penalty at an alpha of its own", ("pitfalls-own",)),
    "off_policy": ("the table ope alone: off-policy estimates beside the true values", ("ope",)),
    "ensembles": (
        "the tables ensembles-online and ensembles-offline alone: two critics beside ten",
        ("ensembles-online", "ensembles-offline"),
    ),
    "soft_q": ("the tables soft-modes and soft-maze: soft Q-learning beside a Gaussian policy", tuple(soft_q.STUDIES)),
    "sparse_q": ("the table sparse-mixed alone: sparse-q, eql and IQL on logs mixed with noise", ("sparse-mixed",)),
    "signature": ("the pictures of README and chapter 00: prediction beside truth along training", ("signature",)),
    "calibration": (
        "from the log into the maze with CQL and Cal-QL, and Cal-QL with one mistake each",
        ("calibration", "calibration-versions"),
    ),
    "bugs": ("what curves, cards and tests say of published silent bugs", ("bugs", "bug-tests")),
    "run_doctor": ("what doctor --run says of folders of healthy and broken runs", ("run-doctor",)),
    "alpha": ("the table alpha alone: the rule of thumb for alpha, tested on nine kinds of log", ("alpha",)),
    "report": ("measure nothing: write data/results/README.md and the pages' tables from the rows", ()),
}


def build_parser() -> argparse.ArgumentParser:
    """The command line; every name has its own help."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__, formatter_class=form)
    commands = parser.add_subparsers(dest="name", metavar="NAME", required=True, title="names")
    for name, (text, tables) in NAMES.items():
        programs = {"make_datasets": make_datasets.__doc__, "mujoco_data": mujoco_data.__doc__}
        about = programs.get(name, f"{text[0].upper()}{text[1:]}.")
        command = commands.add_parser(name, help=text, description=about, formatter_class=form)
        if name == "mujoco_data":
            add_mujoco_options(command)
        if name == "make_datasets":
            ids = [*make_datasets.SHEETS, "policies"]
            command.add_argument("--only", metavar="ID", choices=ids, help=f"make this one alone: {', '.join(ids)}")
        if tables:
            command.epilog = "Ends with code 3 if time ran out before all runs were measured."
            add_measuring_options(command, tables)
    return parser


def add_mujoco_options(command: argparse.ArgumentParser) -> None:
    """What `mujoco_data` takes."""
    command.epilog = "Ends with code 3 if time ran out before all was made."
    text = "make this set alone, for example mujoco/hopper-medium-0-v0; may be given several times"
    command.add_argument("--only", metavar="ID", action="append", default=[], help=text)
    text = "take D4RL's or Minari's own file as mujoco/TASK-QUALITY-given-v0 and make nothing else"
    command.add_argument("--take", metavar="TASK-QUALITY=FILE", action="append", default=[], help=text)
    text = "begin no training and no set after this many minutes (default 55)"
    command.add_argument("--minutes", type=float, default=55, metavar="M", help=text)
    text = "trainings at a time, one thread each (default 2)"
    command.add_argument("--processes", type=int, default=2, metavar="N", help=text)


def add_measuring_options(command: argparse.ArgumentParser, tables: tuple[str, ...]) -> None:
    """What a command that measures takes."""
    if len(tables) > 1:
        choices = ", ".join(tables)
        command.add_argument("--table", metavar="TABLE", choices=tables, help=f"this table alone: {choices}")
    if tables[0] in headline.STUDIES:
        text = "the runs of --table once more, into <table>-again.csv (headline tables only)"
        command.add_argument("--again", action="store_true", help=text)
    text = "start no run after this many minutes (default 55)"
    command.add_argument("--minutes", type=float, default=55, metavar="M", help=text)
    text = "runs at a time, one thread each (default 2)"
    command.add_argument("--processes", type=int, default=2, metavar="N", help=text)
    text = "read and write the rows here, and write no report (default: data/results)"
    command.add_argument("--folder", type=Path, default=RESULTS, metavar="FOLDER", help=text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one experiment by name."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    tables = NAMES[options.name][1]
    if options.name == "make_datasets":
        make_datasets.make(options.only)
        return 0
    if options.name == "mujoco_data":
        try:
            return 0 if mujoco_data.make(options.only, options.take, options.minutes, options.processes) else 3
        except CQLTutorialError as error:
            parser.error(str(error))
    if options.name == "report":
        report.write_report()
        return 0
    again, table = getattr(options, "again", False), getattr(options, "table", None)
    if again and table not in headline.STUDIES:
        parser.error(f"--again: found --table {table}; expected one of {', '.join(headline.STUDIES)}")
    return 0 if measure([table] if table else tables, options, again) else 3


def measure(tables: Sequence[str], options: argparse.Namespace, again: bool) -> bool:
    """Measure the tables in order, until time is up; False if it was up first."""
    deadline = time.monotonic() + 60 * options.minutes
    measured, complete = 0, True
    for table in tables:
        study = STUDIES[table]
        if again:
            study = replace(headline.without_extensions(table), table=table + AGAIN)
        progress = run(study, options.processes, deadline, options.folder)
        measured, complete = measured + progress.measured, progress.complete
        if not complete:
            break
        if table == "signature":
            signature.draw(options.folder)
        if table == "mujoco-episodes" and options.folder == RESULTS and progress.measured:
            mujoco_frames.draw()
    if options.folder == RESULTS:
        report.write_report(measured > 0)
    return complete


if __name__ == "__main__":
    sys.exit(main())
