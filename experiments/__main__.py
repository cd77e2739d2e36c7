"""What makes the data sets and the result tables in data/. `NAME --help` lists the arguments of one experiment."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from experiments import headline, make_datasets

Main = Callable[[Sequence[str]], int]


def _only(table: str) -> Main:
    return lambda arguments: headline.main(["--table", table, *arguments])


def _show(arguments: Sequence[str]) -> int:
    return headline.main(["--show", *arguments])


NAMES: dict[str, tuple[str, Main]] = {
    "make_datasets": ("make every data set of the course again from scratch", make_datasets.main),
    "results": ("measure every result table, or one (--table); resumes where it stopped", headline.main),
    "sepsis": ("that table alone: fitted Q-iteration on logs of ICU-Sepsis", _only("sepsis")),
    "wrong_penalties": ("that table alone: each wrong penalty beside the correct one", _only("pitfalls")),
    "off_policy": ("that table alone: off-policy estimates beside the true values", _only("ope")),
    "report": (
        "write the sheet and the pages' tables from the rows that are there",
        _show,
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one experiment by name."""
    names = "\n".join(f"  {name:<17}{text}" for name, (text, _) in NAMES.items())
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        description=__doc__,
        epilog=f"names:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", choices=list(NAMES))
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="what the experiment itself takes")
    options = parser.parse_args(arguments)
    return NAMES[options.name][1](options.arguments)


if __name__ == "__main__":
    sys.exit(main())
