"""What a member of a population costs beside an agent alone: `python -m benchmarks.population`, half a minute.

Rounds of one update alone (readable, fused) and one of all members, alternating, one thread, CPU time; the ratios are
those inside a round, and every round goes to `data/results/population.csv`. Run it on an idle machine: `make bench`.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.updates import make_batch, origin, spread
from cql_tutorial import make_agent
from cql_tutorial.fast.fused import FasterUpdate
from cql_tutorial.training.population import Population
from experiments.storage import write_rows

MEMBERS, HIDDEN = 16, 64
CASES: list[dict[str, Any]] = [
    {"name": "cql", "states": 17, "actions": 6, "batch": 256},
    {"name": "sac", "states": 17, "actions": 6, "batch": 256},
    {"name": "cql", "states": 17, "actions": 6, "batch": 64},
    {"name": "sac", "states": 17, "actions": 6, "batch": 64},
    {"name": "cql", "states": 3, "actions": 1, "batch": 64},
    {"name": "sac", "states": 3, "actions": 1, "batch": 64},
]


def measure(case: dict[str, Any], members: int, hidden: int, rounds: int) -> dict[str, list[float]]:
    """CPU milliseconds of an update of each form (the population's a member), a number a round."""
    name, size = case["name"], case["batch"]
    config = {"state_dim": case["states"], "action_dim": case["actions"], "hidden_dim": hidden, "device": "cpu"}
    config |= {"cql_n_actions": 5} if name == "cql" else {}
    batches = [make_batch(case["states"], case["actions"], size, seed) for seed in range(members)]
    alone = {"readable": make_agent(name, config).update, "fused": FasterUpdate(make_agent(name, config))}
    population = Population([make_agent(name, {**config, "seed": seed}) for seed in range(members)])
    forms: dict[str, tuple[Callable[[], Any], int]] = {
        form: (partial(update, batches[0]), 1) for form, update in alone.items()
    }
    forms["population"] = (partial(population.update, batches), members)
    found: dict[str, list[float]] = {form: [] for form in forms}
    for number in range(rounds + 1):
        for form, (update, agents) in forms.items():
            times = 2 if agents > 1 else 16
            began = time.process_time()
            for _ in range(times):
                update()
            if number:  # the first round warms up
                found[form].append((time.process_time() - began) / times / agents * 1e3)
    return found


def main() -> None:
    """Print a line a case; write every round to population.csv, unless asked for another size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=MEMBERS)
    parser.add_argument("--hidden", type=int, default=HIDDEN)
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for case in CASES:
        found = measure(case, options.members, options.hidden, options.rounds)
        line = f"{' '.join(f'{key} {value}' for key, value in case.items()):<44}"
        for form in ("readable", "fused"):
            ratios = [one / each for one, each in zip(found[form], found["population"], strict=True)]
            line += f"  {form} / member {spread(ratios)}"
        print(line, flush=True)
        about = {**case, "members": options.members, "hidden": options.hidden}
        each = zip(*found.values(), strict=True)
        rows += [{**about, "round": i, **dict(zip(found, ms, strict=True)), **origin()} for i, ms in enumerate(each)]
    if (options.members, options.hidden) == (MEMBERS, HIDDEN):
        write_rows("population", list(rows[0]), rows)


if __name__ == "__main__":
    main()
