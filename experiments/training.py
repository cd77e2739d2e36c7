"""Which agents of a group of jobs `fit_population` trains as one program, and what a row says of it."""

from __future__ import annotations

from typing import Any

from cql_tutorial.agents import AGENTS
from cql_tutorial.fast.as_built import has_faster_form


def can_stack(name: str) -> bool:
    """Whether `fit_population` updates agents of this kind together; any other it trains one by one."""
    return has_faster_form(AGENTS[name][0])


def settings_record(name: str, settings: dict[str, Any], group_size: int) -> dict[str, Any]:
    """What a row says of its settings: those, and with how many others the agent was trained."""
    return {**settings, "trained_with": group_size - 1} if can_stack(name) else settings
