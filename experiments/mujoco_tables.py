"""What is shown of the table `mujoco`: ours, what others have reported on D4RL's own data, and Q beside the truth."""

from __future__ import annotations

import pandas as pd

from cql_tutorial.evaluation.benchmark_presets import PUBLISHED_SCORES
from experiments import mujoco, mujoco_data
from experiments.tables import markdown_lines, mean_and_interval, read_reported

NAMES = {"bc": "BC", "10%bc": "10 %BC", "iql": "IQL", "sac": "SAC", "cql": "CQL (alpha 5)"}
# The table that this project started from, and where each of its numbers is found: field, value, whose it is.
QUOTED = {
    "halfcheetah-medium": {"cql": 44.0, "iql": 47.4, "bc": 42.6},
    "hopper-medium-expert": {"cql": 98.7, "iql": 91.5, "bc": 52.5},
    "walker2d-medium-replay": {"cql": 77.3, "iql": 73.9, "bc": 26.7},
}
MIXED_UP = (
    "The table that this project started from mixes versions of the data. Its CQL score of 98.7 on",
    "hopper-medium-expert is the CQL paper's on *walker2d*-medium-expert, version v0; on v2 the authors of IQL report",
    "105.4. Its BC score of 26.7 on walker2d-medium-replay is CQL's own on v0, as D4RL's paper has it; cloning reached",
    "26.0 on v2. The other seven are the v2 scores of the IQL paper's table (77.3 for its 77.2).",
)
NOT_COMPARABLE = "not comparable: other data, other physics (-v2), 1,000,000 updates"


def sheet() -> list[str]:
    """The section of the data sheet."""
    frame = read_reported("mujoco")
    lines = [
        "## mujoco",
        "",
        "Three of D4RL's tasks on logs of this repository (`python -m experiments mujoco_data`), in Gymnasium's -v5",
        f"environments. {mujoco.STEPS:,} updates of 128 transitions, 128 units, observations normalised.",
        f"{len(mujoco.DRAWS)} draws (as many behaviour policies) x {len(mujoco.SEEDS)} seeds; 10 episodes of the",
        "deterministic policy at the end, from common starts.",
        "Nothing was tuned on these rows. Scores are D4RL's: 0 is its random policy, 100 its expert, both measured in",
        "-v2: a unit, and not a comparison. *SAC* is without entropy in the backup, CQL's critics at alpha 0.",
        "±: 95 % t-interval over all runs of a line; they are of two draws and not independent: the means of the draws",
        "stand beside it.",
        "",
        *incomplete(frame),
        *scores(frame),
        "",
        *MIXED_UP,
    ]
    return [*lines, *long_runs(frame), *variants(frame), *settled(frame)]


def incomplete(frame: pd.DataFrame) -> list[str]:
    """What is said while runs are missing."""
    there, wanted = len(at_the_end(frame)), len(list(mujoco.jobs()))
    text = f"**Not complete: {there} of {wanted} runs are measured.** `python -m experiments mujoco` goes on."
    return [text, ""] if there < wanted else []


def interval(values: pd.Series, form: str) -> str:
    """Mean and interval; of a single run, while the others are missing, its number alone."""
    return mean_and_interval(values, form) if len(values) > 1 else " ".join(f"{value:{form}}" for value in values)


def at_the_end(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last update of each run."""
    return frame[frame["step"] == frame["steps"]]


def scores(frame: pd.DataFrame, every_run: bool = True) -> list[str]:
    """The table of scores; without ``every_run`` in the short form of the pages."""
    runs = at_the_end(frame)
    runs = runs[(runs["discount"] == 0.99) & (runs["steps"] == mujoco.STEPS)]
    short = [f"{name} on v2 (not comparable)" for name in ("CORL", "IQL's authors")]
    heads = ["task", "log", "method", "score", "draw means", *(["every run"] if every_run else []), *short]
    table = []
    for task in mujoco.TASKS:
        for algorithm, name in NAMES.items():
            some = runs[(runs["task"] == task) & (runs["algorithm"] == algorithm)]
            if not len(some):
                continue
            found = some["score"].dropna()
            draws = [part["score"].mean() for _, part in some.groupby("draw")]
            log = " / ".join(f"{part['log_score'].iloc[0]:.1f}" for _, part in some.groupby("draw"))
            cells = [task, log, name, interval(found, ".1f"), " / ".join(f"{mean:.1f}" for mean in draws)]
            if every_run:
                cells.append(" ".join("x" if pd.isna(score) else f"{score:.1f}" for score in some["score"]))
            reported = [one.scores.get(task, {}).get(algorithm) for one in PUBLISHED_SCORES]
            table.append([*cells, *("" if score is None else f"*{score:.1f}*" for score in reported)])
    sources = [
        f"- {name}: {one.source}." for name, one in zip(("CORL", "IQL's authors"), PUBLISHED_SCORES, strict=True)
    ]
    return [*markdown_lines(heads, table), "", f"The last two columns are {NOT_COMPARABLE}.", "", *sources]


def quoted_rows(sources: bool = True) -> list[str]:
    """The three rows of the often quoted table, ours beside what is reported; nothing before all of them are measured.

    With ``sources`` also where the reported numbers are from, and what the quoted table mixed up.
    """
    frame = read_reported("mujoco")
    if not len(frame):
        return []
    runs = at_the_end(frame)
    runs = runs[(runs["discount"] == 0.99) & (runs["steps"] == mujoco.STEPS)]
    table = []
    for task in mujoco.TASKS:
        cells = [task]
        for algorithm in ("bc", "iql", "cql"):
            some = runs[(runs["task"] == task) & (runs["algorithm"] == algorithm)]
            if len(some) < len(mujoco.DRAWS) * len(mujoco.SEEDS):
                return []
            cells.append(mean_and_interval(some["score"].dropna(), ".1f"))
        reported = PUBLISHED_SCORES[1].scores[task]
        table.append([*cells, *(f"*{reported[algorithm]:.1f}*" for algorithm in ("bc", "iql", "cql"))])
    heads = ["MuJoCo, D4RL's score", *(f"{name}, ours" for name in ("BC", "IQL", "CQL"))]
    heads += [f"*{name}, reported on v2*" for name in ("BC", "IQL", "CQL")]
    about = [
        f"**MuJoCo**: our own logs, {mujoco.STEPS:,} updates of small networks, 2 draws x 3 seeds, ± over the runs.",
        f"The reported scores (the IQL paper's table) are {NOT_COMPARABLE}.",
    ]
    return [*about, "", *markdown_lines(heads, table), *(["", *MIXED_UP] if sources else []), ""]


def long_runs(frame: pd.DataFrame) -> list[str]:
    """CQL to 100,000 updates: is the score at 30,000 a transient?"""
    runs = frame[frame["steps"] == mujoco.LONG_STEPS]
    if not len(runs):
        return []
    steps = sorted(runs["step"].dropna().unique())
    table = []
    for task, some in runs.groupby("task"):
        by_step = some.set_index("step")
        table.append([str(task), "score", *(f"{by_step.loc[step, 'score']:.1f}" for step in steps)])
        table.append(["", "mean Q", *(f"{by_step.loc[step, 'q_value']:.0f}" for step in steps)])
    title = f"### mujoco: CQL (alpha 5) to {mujoco.LONG_STEPS:,} updates, one seed on the first draw of each task"
    return ["", title, "", *markdown_lines(["task", "", *(f"{int(step) // 1000}k" for step in steps)], table)]


def variants(frame: pd.DataFrame) -> list[str]:
    """Other forms of CQL on one task."""
    runs = at_the_end(frame)
    runs = runs[(runs["task"] == mujoco.VARIED) & (runs["steps"] == mujoco.STEPS) & (runs["discount"] == 0.99)]
    runs = runs[runs["draw"] == mujoco.DRAWS[0]]
    if not set(runs["algorithm"]) & set(mujoco.VARIANTS):
        return []
    table = []
    for algorithm in ("cql", *mujoco.VARIANTS):
        some = runs[runs["algorithm"] == algorithm]
        if len(some):
            more = ", ".join(f"{name}={value}" for name, value in mujoco.VARIANTS.get(algorithm, {}).items())
            found = some["score"].dropna()
            each = " ".join("x" if pd.isna(score) else f"{score:.1f}" for score in some["score"])
            q = interval(some["q_value"].dropna(), ".0f")
            table.append([algorithm, more or "alpha 5", interval(found, ".1f"), each, q])
    title = f"### mujoco: forms of CQL on {mujoco.VARIED}, first draw, three seeds"
    heads = ["method", "differs in", "score", "every run", "mean Q of logged actions"]
    return ["", title, "", *markdown_lines(heads, table)]


def settled(frame: pd.DataFrame) -> list[str]:
    """Predicted beside true values, at the discount where Q has settled."""
    runs = frame[frame["discount"] == mujoco.SETTLED["discount"]].dropna(subset=["estimation_error"])
    if not len(runs):
        return []
    table = []
    for (task, algorithm), some in runs.groupby(["task", "algorithm"], sort=False):
        error = interval(some["estimation_error"], "+.1f")
        each = " ".join(f"{value:+.1f}" for value in some["estimation_error"])
        cells = [str(task), NAMES.get(str(algorithm), str(algorithm)), f"{some['score'].mean():.1f}"]
        cells += [f"{some[name].mean():.1f}" for name in ("predicted", "true", "true_half_width")]
        table.append([*cells, error, each, f"{some['q_drift'].mean():+.1f}"])
    heads = ["task", "method", "score", "predicted", "true", "± of true", "predicted - true", "every run", "drift of Q"]
    return [
        "",
        f"### mujoco: predicted and true values at discount {mujoco.SETTLED['discount']}, tau {mujoco.SETTLED['tau']}",
        "",
        f"Min Q minus Q^pi (Monte-Carlo, {mujoco.ROLLOUTS} rollouts) of the stochastic policy at its own actions in",
        f"{mujoco_data.STATES_A_SET} states of its log, common to its runs;",
        "*drift*: change of the mean Q of logged actions in the last fifth of the updates; an error of its size says",
        "nothing. At discount 0.99 Q still moves after 30,000 updates, so that no such number is shown there.",
        "",
        *markdown_lines(heads, table),
    ]
