"""What is shown of the table `mujoco-episodes`: each shipped policy, and what its selection promised."""

from __future__ import annotations

from experiments import mujoco_episodes, mujoco_training
from experiments.mujoco_data import draws
from experiments.storage import read_rows
from experiments.tables import markdown_lines, read_frame


def sheet() -> list[str]:
    """The section of the data sheet."""
    frame, trainings = read_frame(mujoco_episodes.STUDY.table), read_rows(mujoco_training.STUDY.table)
    chosen, table = draws(trainings), []
    seen = {(row["task"], row["seed"], row["step"]): float(row["score"]) for row in trainings}
    shipped = frame[frame["policy"] != "checkpoint"]
    for (task, draw, policy, mode), some in shipped.groupby(["task", "draw", "policy", "mode"], sort=False):
        seed = str(chosen[task, draw]["seed"])
        promised = seen[task, seed, str(some["step"].iloc[0])] if mode == "stochastic" else None
        table.append([
            str(task), str(draw), str(policy), str(mode), "" if promised is None else f"{promised:.1f}",
            f"{some['score'].mean():.1f}", f"{some['score'].std():.1f}", f"{(some['length'] < 1000).mean():.2f}",
        ])  # fmt: skip
    heads = ["task", "draw", "policy", "acts", "selection saw", "fresh score", "sd of an episode", "share of falls"]
    return [
        "## mujoco-episodes",
        "",
        f"Policies of the online trainings (`data/mujoco/README.md`) on fresh start states: {mujoco_episodes.MANY}",
        f"episodes of a shipped policy, {mujoco_episodes.FEW} of each checkpoint of Hopper's first draw. *Selection*",
        f"saw {mujoco_training.EPISODES} others. A row of the table is an episode.",
        "",
        *markdown_lines(heads, table),
    ]
