"""The data sheet of the MuJoCo sets, data/mujoco/README.md, from the rows there are."""

from __future__ import annotations

import platform
import textwrap
from importlib.metadata import version

from cql_tutorial.files import atomic_write
from experiments import mujoco_training as training
from experiments.mujoco_data import QUALITIES, STATES_A_SET, STEPS, TABLE, draws
from experiments.mujoco_training import BUDGETS, CACHE, MEDIUM
from experiments.storage import Row, read_rows

SHEET = CACHE / "README.md"
ORIGIN = "Versions: "


def wrapped(*sentences: str) -> list[str]:
    """A paragraph and an empty line."""
    return [*textwrap.wrap(" ".join(sentences), 110, break_long_words=False, break_on_hyphens=False), ""]


def number(text: str, digits: int = 0) -> str:
    """A cell's number, rounded."""
    return f"{float(text):.{digits}f}"


def versions() -> str:
    """What made the rows."""
    names = ("torch", "mujoco", "gymnasium", "minari", "numpy")
    parts = [f"{name} {version(name).split('+')[0]}" for name in names]
    return f"Python {platform.python_version()}, {', '.join(parts)}, {platform.system()} {platform.machine()}"


def behaviour(rows: list[Row]) -> list[str]:
    """The trainings, by which rules policies were chosen of them, and which."""
    at = {(row["task"], row["seed"], row["step"]): row for row in rows}
    lines = ["## Behaviour", ""]
    lines += wrapped(
        f"Online SAC of this package, `{training.ONLINE}`, batch {training.BATCH}, {training.START_STEPS:,}",
        f"random steps, then one update every {training.UPDATE_EVERY['hopper']} steps, in the tasks of Gymnasium's",
        f"version 5. Walker2d, with an update every step, has `{training.OF_ITS_OWN['walker2d']}`: with the settings",
        "of the others, seed 1 had no medium checkpoint in 300,000 steps; its own were found on seed 100, which is",
        f"not used. Every {training.EVERY:,} steps the stochastic policy plays {training.EPISODES} episodes.",
        "The rules were stated before any run: *medium* is the first checkpoint at or above a third of D4RL's",
        f"expert (score {MEDIUM:.1f}), *best* the one with the highest return within the budget. The best of",
        "many short evaluations is luck in part; the score of its *set*, below, was measured afresh. The",
        "draws are the first two of the seeds 1, 2, ... with a medium checkpoint: two policies, not two logs",
        "of one.",
    )
    lines += [
        "| task | draw | seed | budget (steps) | medium: step | score | best: step | score | processor-seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (task, draw), chosen in draws(rows).items():
        seed = str(chosen["seed"])
        medium, best = (at[task, seed, str(chosen[name])] for name in ("medium", "best"))
        seconds = max(float(row["seconds"]) for row in rows if row["task"] == task and row["seed"] == seed)
        lines.append(
            f"| {task} | {draw} | {seed} | {BUDGETS[task]} | {medium['step']} | {number(medium['score'], 1)} | "
            f"{best['step']} | {number(best['score'], 1)} | {seconds:.0f} |"
        )
    runs = sorted({(row["task"], int(row["seed"])) for row in rows})
    without = [f"{task} seed {seed}" for task, seed in runs if training.medium_step(rows, task, seed) is None]
    return [*lines, "", f"Runs without a medium checkpoint: {', '.join(without) or 'none'}.", ""]


def sets(rows: list[Row]) -> list[str]:
    """What is in each set."""
    lines = ["## Sets", "", *(f"- *{quality}*: {how}." for quality, how in QUALITIES.items()), ""]
    lines += wrapped(
        f"All but *medium-replay* have {STEPS:,} transitions. The score is D4RL's: 0 its random policy, 100",
        "its expert, both measured in version 2 of the environments. In version 5 it is a unit, and no",
        "comparison with scores there. Returns are those of whole episodes; one that the recording cut is not",
        "counted.",
    )
    lines += [
        "| id | transitions | episodes | mean length | return: mean (sd; min to max) | score | terminations "
        "| truncations |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        spread = f"{number(row['return'])} ({number(row['sd'])}; {number(row['least'])} to {number(row['most'])})"
        lines.append(
            f"| `{row['id']}` | {row['transitions']} | {row['episodes']} | {number(row['length'])} | {spread} | "
            f"{number(row['score'], 1)} | {row['terminations']} | {row['truncations']} |"
        )
    return [*lines, ""]


def sheet(origin: str) -> list[str]:
    """The lines of the data sheet."""
    return [
        "# MuJoCo data sets",
        "",
        *wrapped(
            "Made by `python -m experiments mujoco_data` (`--only ID` for one); read with",
            "`cql_tutorial.load_dataset(id)`, or with Minari after `MINARI_DATASETS_PATH=data`. In git are",
            "this sheet, the policies, the evaluation states and two tables: [every evaluation of the",
            "trainings](../results/mujoco-training.csv) and [the sets](../results/mujoco-sets.csv). The sets",
            "themselves are made on demand. Licence: MIT, like the code.",
        ),
        f"{ORIGIN}{origin}.",
        "",
        *behaviour(read_rows(training.STUDY.table)),
        *sets(read_rows(TABLE)),
        "## What is the same elsewhere",
        "",
        *wrapped(
            "The column `sha256` of the table holds on the machine and versions above. On another one numbers",
            "round differently, and paths part. A set made from a policy then has another mean return: by at",
            "most five standard errors of the difference, and a standard deviation that differs by at most a",
            "half. The command says which of the three it is. A *medium-replay* set is another training",
            "there, with no such promise.",
        ),
        "## Evaluation states",
        "",
        *wrapped(
            f"`states.safetensors` has {STATES_A_SET} rows of every set, drawn without replacement: positions",
            "and velocities in float64, as Hopper and Walker2d cut the velocities of their observations off",
            "at 10. True values from them: `cql_tutorial.evaluation.mujoco_values.true_q_mujoco`; the",
            "function `experiments.mujoco_data.evaluation_states(id)` reads them.",
        ),
        "## Files of others",
        "",
        *wrapped(
            "`python -m experiments mujoco_data --take hopper-medium=hopper_medium-v2.hdf5` takes D4RL's or",
            "Minari's own file (or a Minari id) as `mujoco/hopper-medium-given-v0`. D4RL's were recorded in",
            "other versions of the environments.",
        )[:-1],
        "",
    ]


def write_sheet(renew: bool) -> None:
    """Write the data sheet; the versions are renewed only where rows were."""
    origin = versions()
    if not renew and SHEET.is_file():
        line = next(text for text in SHEET.read_text(encoding="utf-8").splitlines() if text.startswith(ORIGIN))
        origin = line.removeprefix(ORIGIN).removesuffix(".")
    with atomic_write(SHEET) as temporary:
        temporary.write_text("\n".join(sheet(origin)), encoding="utf-8")
