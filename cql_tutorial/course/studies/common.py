"""Experiments of several chapters; the notebook passes in the functions that the student wrote."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...datasets.files import search_places
from ...errors import DatasetNotFoundError, require_data
from ...evaluation.quadrature import log_partition_quadrature
from ...training import History


def result_rows(table: str) -> list[dict[str, str]]:
    """The rows of `data/results/<table>.csv`, as `make results` wrote them; looked for where data sets are.

    Raises ``DatasetNotFoundError`` that says how to make it.
    """
    with open(shipped_file(f"results/{table}.csv"), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def shipped_file(name: str) -> Path:
    """The path of a file of `data/` ("policies/pendulum-medium.safetensors"), in a checkout or in an installed wheel.

    Raises ``DatasetNotFoundError`` that says where it should be.
    """
    found = next((place / name for place in search_places() if (place / name).is_file()), None)
    if found is None:
        expected = f"{name} below one of the data folders of a checkout"
        raise DatasetNotFoundError(name, "no such file", expected, "run this in a checkout, or make results.")
    return found


def numbers(rows: Sequence[Mapping[str, str]], column: str, **wanted: Any) -> list[float]:
    """A column's numbers in the reported rows in which every wanted column has the wanted value, in the table's order.

    Numbers are compared as numbers: ``temperature=0.1`` finds "0.10". Raises `DataError` if there is none.
    """
    found = [float(row[column]) for row in rows if row[column] != "" and fits(row, {"split": "report", **wanted})]
    require_data(len(found) > 0, f"column {column}", f"no reported row with {wanted}", "at least one")
    return found


def fits(row: Mapping[str, str], wanted: Mapping[str, Any]) -> bool:
    """Whether every wanted column of a row has the wanted value, numbers compared as numbers."""
    for name, value in wanted.items():
        if isinstance(value, str):
            if row[name] != value:
                return False
        elif row[name] == "" or float(row[name]) != float(value):
            return False
    return True


def histories(rows: Sequence[Mapping[str, str]]) -> dict[str, list[History]]:
    """Rows of the table ``signature`` (several a run) as histories: an algorithm and its alpha, a history a seed."""
    runs: dict[str, dict[str, list[dict[str, float]]]] = {}
    for row in rows:
        name = f"CQL, alpha = {row['cql_alpha']}" if row["algorithm"] == "cql" else "offline SAC"
        numbers = {k: float(v) for k, v in row.items() if k not in ("task", "algorithm", "cql_alpha", "seed")}
        runs.setdefault(name, {}).setdefault(row["seed"], []).append(numbers)
    return {name: [History(measured) for measured in seeds.values()] for name, seeds in runs.items()}


@torch.no_grad()
def recipe_study(
    agents: Sequence[Any],
    dataset: Any,
    recipes: Mapping[str, Sequence[str]],
    third_proposal: Callable[..., Tensor],
    mixture_log_density: Callable[[Tensor], Tensor],
    generator: torch.Generator,
    states: int = 200,
) -> dict[str, dict[str, Tensor]]:
    """Root-mean-square error of recipes of 30 candidates, for own densities and mixture weights: ``[agents, states]``.

    A recipe lists proposals that share the candidates: "uniform", "here" (pi(.|s)) or "next" (pi(.|s')). The truth is
    quadrature of the agent's first critic (A = 1), at logged states. The two functions are those written in chapter 06.
    """
    study: dict[str, dict[str, list[Tensor]]] = {name: {"own density": [], "mixture": []} for name in recipes}
    for agent in agents:
        rows = torch.randint(len(dataset.rewards), (states,), generator=generator)
        pairs = dataset.observations[rows], dataset.next_observations[rows]
        for name, recipe in recipes.items():
            errors = recipe_errors(agent, *pairs, recipe, third_proposal, mixture_log_density, generator)
            for weights, error in zip(study[name], errors, strict=True):
                study[name][weights].append(error.square().mean(1).sqrt())
    return {name: {weights: torch.stack(e) for weights, e in both.items()} for name, both in study.items()}


def recipe_errors(
    agent: Any,
    s: Tensor,
    s_next: Tensor,
    recipe: Sequence[str],
    third_proposal: Callable[..., Tensor],
    mixture_log_density: Callable[[Tensor], Tensor],
    generator: torch.Generator,
    repeats: int = 50,
    budget: int = 30,
) -> list[Tensor]:
    """Errors at states ``s`` of own densities and mixture weights, each ``[states, repeats]``; see `recipe_study`."""

    def critic(observations: Tensor, actions: Tensor) -> Tensor:
        return agent.critic(observations, actions[..., None])[0]

    def log_prob(observations: Tensor, u: Tensor) -> Tensor:
        return agent.actor(observations).log_prob(u[..., None])

    n, flat, double = repeats * budget // len(recipe), -math.log(2.0), torch.float64
    density: dict[str, Callable[[Tensor], Tensor]] = {
        "uniform": lambda u: torch.full_like(u, flat),
        "here": lambda u: log_prob(s, u),
        "next": lambda u: log_prob(s_next, u),
    }
    drawn, own = [], []
    for kind in recipe:
        at = s_next if kind == "next" else s
        if kind == "uniform":
            u = torch.atanh(2 * torch.rand(len(s), n, generator=generator, dtype=double) - 1).to(s)
            own.append(critic(s, u.tanh()) - flat)
        else:
            noise = torch.randn(len(s), n, 1, generator=generator, dtype=double).to(s)
            u = agent.actor(at).sample(noise).pre_tanh[..., 0]
            own.append(third_proposal(critic, log_prob, s, at, u))
        drawn.append(u)
    mixed = [critic(s, u.tanh()) - mixture_log_density(torch.stack([density[k](u) for k in recipe])) for u in drawn]
    exact = log_partitions(critic, s)
    groups = [torch.cat([v.view(len(s), repeats, -1) for v in values], 2).double() for values in (own, mixed)]
    return [torch.logsumexp(v, 2) - math.log(v.shape[2]) - exact[:, None] for v in groups]


def log_partitions(critic: Callable[[Tensor, Tensor], Tensor], s: Tensor) -> Tensor:
    """Log of the integral of exp Q over one action in [-1, 1] by quadrature, at each of the states: ``[states]``."""
    return torch.stack(
        [log_partition_quadrature(lambda a, o=o: critic(o[None], a.T.to(s))[0].double()) for o in s]  # type: ignore[misc]
    )
