"""What is shown of the table of ICU-Sepsis: predicted and true survival, with intervals over the logs."""

from __future__ import annotations

import torch

from cql_tutorial.envs import Sepsis
from cql_tutorial.evaluation import optimal_q
from experiments.sepsis import ALGORITHMS, EPISODES, SEEDS, SWEEPS, survival, true_survival
from experiments.tables import markdown_lines, mean_and_interval, read_frame

SHORT = ("naive", "restricted", "shrunk-1", "bc", "iql", "cql-max", "cql-softmax"), ("", "0.01", "0.1", "1")


def references() -> dict[str, float]:
    """Exact survival under uniform actions, the clinician policy and the best one."""
    world = Sepsis()
    best = optimal_q(world).amax(-1)
    uniform = torch.full_like(world.clinician, 1.0 / world.action_dim)
    return {
        "random": true_survival(world, uniform),
        "clinician": true_survival(world, world.clinician),
        "optimal": survival(world, best),
    }


def markdown(every: bool = True) -> list[str]:
    """Predicted and true survival, mean and t-interval over the seeds; ``every=False`` for a choice of rows."""
    heads = ["algorithm", *(f"{what}, {n:,} episodes" for n in EPISODES for what in ("predicted", "true"))]
    rows = []
    for (algorithm, alpha), runs in read_frame("sepsis").groupby(["algorithm", "cql_alpha"], sort=False):
        if not every and not (algorithm in SHORT[0] and alpha in SHORT[1]):
            continue
        cells = [f"{algorithm} {alpha}".strip()]
        for _, mine in runs.groupby("episodes"):
            unsettled = int((mine["settled"] == 0).sum())
            mark = f" ({unsettled} of {len(mine)} unsettled)" if unsettled else ""
            cells.append(mean_and_interval(mine["predicted"], ".2f" if unsettled else ".3f") + mark)
            cells.append(mean_and_interval(mine["true"], ".3f"))
        rows.append(cells)
    return markdown_lines(heads, rows)


def sheet() -> list[str]:
    """The part of the results' data sheet: what the table is, and every column."""
    values = ", ".join(f"{name} {value:.3f}" for name, value in references().items())
    return [
        "## sepsis",
        "",
        "Survival predicted by fitted Q-iteration on logs of the clinician policy of ICU-Sepsis, a Markov decision",
        "process *estimated* from intensive-care records (no clinical claim), and its exact truth (linear solve,",
        f"discount 1). Exact references: {values}.",
        f"Seeds {list(SEEDS)}, each its own log; ± is a 95 % t-interval over them. At most {SWEEPS:,} sweeps:",
        "*unsettled* tables still moved by more than a millionth in the last one; listed is what they predicted then.",
        "",
        *(f"- *{name}*: {text}." for name, text in ALGORITHMS.items()),
        "",
        *markdown(),
    ]
