"""The agents of one group of jobs, trained as one program where there is one."""

from __future__ import annotations

from typing import Any

from cql_tutorial import History, OfflineDataset, fit, fit_population, make_agent
from cql_tutorial.agents import AGENTS
from cql_tutorial.errors import DivergedError
from cql_tutorial.fast.as_built import has_faster_form
from cql_tutorial.training.population import Member


def can_stack(name: str) -> bool:
    """Whether `fit_population` trains this kind of agent."""
    return has_faster_form(AGENTS[name][0])


def train_group(
    name: str, configs: list[dict[str, Any]], logs: list[OfflineDataset], steps: int, **options: Any
) -> list[Member]:
    """A trained agent for each config, on batches of its own seed: as one population where that can be."""
    if can_stack(name):
        return fit_population(name, configs, logs, steps, **options)
    members = []
    for config, log in zip(configs, logs, strict=True):
        agent = make_agent(name, config)
        try:
            members.append(Member(agent, fit(agent, log, steps, seed=config["seed"], **options)))
        except DivergedError as error:
            members.append(Member(agent, History(), error))
    return members


def settings_record(name: str, settings: dict[str, Any], group_size: int) -> dict[str, Any]:
    """What a row says of its settings: those, and with how many others the agent was trained."""
    return {**settings, "trained_with": group_size - 1} if can_stack(name) else settings
