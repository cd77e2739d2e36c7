"""`cql-tutorial evaluate` chooses by the rules of `off_policy.RULES`."""

from __future__ import annotations

from typing import get_args

from cql_tutorial.cli.evaluate import Rule
from cql_tutorial.evaluation.off_policy import RULES


def test_the_command_line_offers_every_rule() -> None:
    assert get_args(Rule) == tuple(RULES)
