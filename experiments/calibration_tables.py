"""What is shown of the tables of calibration: values beside returns, curves in numbers, differences draw by draw."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from cql_tutorial.course import wrong_calibrations
from cql_tutorial.course.studies.ch11 import NOISE
from experiments.calibration import (
    ARMS,
    EPISODES,
    LADDER,
    OFFLINE,
    SETTINGS_OF,
    STARTS,
    STATES,
    TUNING,
    VERSION_UPDATES,
)
from experiments.tables import markdown_lines, mean_and_interval, read_frame, read_reported
from experiments.wrong_penalties_tables import compare

RUN = ["setting", "algorithm", "arm", "draw"]
REACH = 44.0  # a return above the log's, named before the reported runs were made
EARLY = 480  # online steps


def curves() -> pd.DataFrame:
    """A row a reported run of *calibration*: its curve in numbers, indexed by setting, algorithm, arm and draw.

    ``start``, ``early`` and ``final`` are returns at step 0, at step `EARLY` and at the last step, ``curve`` is their
    mean over the curve, ``fall`` the lowest point minus the start; ``reached`` tells whether any point reached `REACH`;
    ``below``, ``error`` are the mean prediction minus returns-to-go and minus Q^pi at step 0, ``below_final`` the first
    at the end; ``bound_rate`` that of step 0.
    """
    frame = read_reported("calibration")
    rows = []
    for name, run in frame.groupby(RUN, sort=False):
        first, last = run.iloc[0], run.iloc[-1]
        returns = run.set_index("step")["return"]
        rows.append(
            dict(zip(RUN, name, strict=True))
            | {"start": first["return"], "early": returns[EARLY], "final": last["return"], "curve": returns.mean()}
            | {"fall": returns.min() - first["return"], "reached": bool((returns >= REACH).any())}
            | {"below": first["predicted"] - first["returns_to_go"], "error": first["predicted"] - first["true"]}
            | {"below_final": last["predicted"] - last["returns_to_go"], "bound_rate": first["bound_rate"]}
        )
    return pd.DataFrame(rows, columns=[*RUN, *CURVE]).set_index(RUN)


CURVE = (
    "start", "early", "final", "curve", "fall", "reached", "below", "error", "below_final", "bound_rate",
)  # fmt: skip


def ladder() -> list[str]:
    """Where the bound acts: CQL on the tuning draws, the target entropy alone changed; every draw, as they are two."""
    frame = read_frame("calibration")
    frame = frame[frame["setting"] == "ladder"]

    def each(values: pd.Series, form: str) -> str:
        return ", ".join(f"{value:{form}}" for value in values)

    rows = []
    for entropy in LADDER:
        mine = frame[frame["target_entropy"] == entropy]
        below = mine["predicted"] - mine["returns_to_go"]
        cells = (mine["entropy"], ".2f"), (mine["return"], ".1f"), (below, "+.1f"), (mine["bound_rate"], ".2f")
        rows.append([f"{entropy:g}", *(each(*cell) for cell in cells)])
    heads = ["target entropy", "policy's entropy", "return", "value minus returns-to-go", "bound rate"]
    return markdown_lines(heads, rows)


def values() -> list[str]:
    """Predictions of the trained agents, before any online step, beside what the log earned and beside Q^pi."""
    runs, rows = curves(), []
    for (setting, algorithm), mine in runs.xs("kept", level="arm").groupby(["setting", "algorithm"], sort=False):
        cells = ((mine[name], form) for name, form in (("below", "+.1f"), ("error", "+.1f"), ("bound_rate", ".2f")))
        texts = [mean_and_interval(*cell) for cell in cells]
        rows.append([setting, algorithm, str(len(mine)), *texts, mean_and_interval(mine["start"], ".1f")])
    heads = ["setting", "agent", "draws", "value minus returns-to-go", "value minus Q^pi", "bound rate", "return"]
    return markdown_lines(heads, rows)


def online() -> list[str]:
    """The curves: returns at the start, early and at the end, the mean over the curve, and the deepest fall."""
    runs, rows = curves(), []
    for (setting, arm, algorithm), mine in runs.groupby(["setting", "arm", "algorithm"], sort=False):
        texts = [mean_and_interval(mine[name], ".1f") for name in ("start", "early", "final", "curve", "fall")]
        reached = f"{int(mine['reached'].sum())} of {len(mine)}"
        rows.append(
            [setting, arm, algorithm, *texts, reached, mean_and_interval(mine["below_final"], "+.1f")],
        )
    heads = ["setting", "goes on", "agent", "at step 0", f"at step {EARLY}", "at the end", "mean of the curve",
             "lowest minus start", f"reach {REACH:g}", "value minus returns-to-go at the end"]  # fmt: skip
    return markdown_lines(heads, rows)


def differences() -> list[str]:
    """Cal-QL minus CQL on the same draw and seed, in returns."""
    runs, rows = curves().sort_index(), []
    for setting in SETTINGS_OF:
        for arm in ("kept", "dropped"):
            both = {name: runs.xs((setting, name, arm)) for name in ("cql", "cal-ql")}
            cells = [compare(both["cal-ql"][name], both["cql"][name]) for name in ("start", "early", "final", "curve")]
            rows.append([setting, arm, *cells])
    heads = ["setting", "goes on", "at step 0", f"at step {EARLY}", "at the end", "mean of the curve"]
    return markdown_lines(heads, rows)


def sheet() -> list[str]:
    """The part of the results' data sheet on *calibration*."""
    settings = ", ".join(f"*{name}* {entropy:g}" for name, entropy in SETTINGS_OF.items())
    return [
        "## calibration",
        "",
        f"CQL and Cal-QL learn from {EPISODES} episodes of one script that goes all the way through the maze (noise",
        f"{NOISE:g}, an entropy of -1.77 nats) for {OFFLINE:,} updates with alpha 1, and go on in the maze. A draw",
        f"is a log and its networks; the two agents share both. Target entropy in nats: {settings}. *Narrow* is",
        f"the control and differs in nothing else. {STATES} common logged states, {STARTS} common starts. The settings",
        f"were taken from trials with other code; here they were looked at on draws {list(TUNING)}.",
        "",
        "- *Value*: mean of min Q at the policy's own actions; *returns-to-go*: what the script went on to earn there;",
        "  *bound rate*: share of the states in which the first is below the second.",
        "- *Lowest minus start*: lowest return of a curve minus that of step 0.",
        "- ±: 95 % t-interval over draws; bold: the paired interval leaves out 0.",
        *(f"- *{name}*: {arm.about}." for name, arm in ARMS.items() if arm.steps),
        "",
        *NOTE,
        "",
        f"### calibration: where the bound acts (CQL alone, draws {', '.join(map(str, TUNING))})",
        "",
        *ladder(),
        "",
        "### calibration: before any online step",
        "",
        *values(),
        "",
        "### calibration: online",
        "",
        *online(),
        "",
        "### calibration: Cal-QL minus CQL, return",
        "",
        *differences(),
    ]


NOTE = (
    "Shows: the wider the policy is held, the lower CQL's values, at the same return. In *wide* they lie 14 or more",
    "below what the log earned, in every draw; Cal-QL's lie within 3 of it. With the penalty dropped Cal-QL earns",
    "more over the curve in every draw and comes to 44 in all of them, CQL in one. One run of CQL in ten ends at a",
    "return of 0; it makes nearly half of the difference at the end, and most of its interval. With the penalty kept",
    "the gain is smaller, and told apart. The control is not a null result: there CQL's values are right in the mean,",
    "a third of the states still lie below the bound, and Cal-QL gains about a fifth as much over the curve. Dropping",
    "the penalty pays for Cal-QL in both settings, holding the policy wide for Cal-QL alone.",
    "",
    "Does not show: a fall at step 0. Nor whether rows of the log in each batch, or a warm-up, keep CQL from falling:",
    "the five draws that have these arms do not tell them apart, and the run that ended at 0 is not among them. The",
    "control has five draws, *wide* has ten.",
)


# ---------------------------------------------------------------- wrong versions
ABOUT = {
    "correct": "the policy's candidates are raised to G ahead of the density",
    "no_bound": "nothing is raised: CQL",
    "after_density": "the maximum after the log-density is subtracted",
    "uniform_too": "the uniform candidates are raised too",
    "min_for_max": "a minimum in place of the maximum",
    "data_term_too": "the logged action's value is raised too",
    "cut_at_truncation": "G takes nothing to be earned after the recording was cut",
    "undiscounted": "G is the plain sum of the rewards left",
    "other_unit": f"G of rewards {wrong_calibrations.FACTOR:g} times as large",
}
MEASURES: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "return": lambda frame: frame["return"],
    "value minus returns-to-go": lambda frame: frame["predicted"] - frame["returns_to_go"],
    "bound rate": lambda frame: frame["bound_rate"],
    "value at uniform actions minus returns-to-go": lambda frame: frame["predicted_uniform"] - frame["returns_to_go"],
}


def versions() -> list[str]:
    """Every version: its measures, and each minus the correct version's on the same draws."""
    frame, rows = read_reported("calibration-versions"), []
    of = {version: frame[frame["version"] == version].set_index("draw") for version in ABOUT}
    for version, mine in of.items():
        cells = [version]
        for measure in MEASURES.values():
            cells.append(mean_and_interval(measure(mine)))
            cells.append("" if version == "correct" else compare(measure(mine), measure(of["correct"])))
        rows.append(cells)
    heads = ["version", *(head for name in MEASURES for head in (name, "minus correct"))]
    return markdown_lines(heads, rows)


def sheet_of_versions() -> list[str]:
    """The part of the results' data sheet on *calibration-versions*."""
    draws = sorted(read_reported("calibration-versions")["draw"].unique().tolist())
    return [
        "## calibration-versions",
        "",
        f"Cal-QL with one mistake each, in the setting *wide* of *calibration*, {VERSION_UPDATES:,} updates offline,",
        f"draws {draws}. Nothing is tuned here. Returns-to-go are the true ones, whatever the version reads.",
        "",
        "Shows: each mistake moves the values of the policy's actions and of uniform ones. Does not show: each in the",
        "return, which tells four of seven from the right penalty; two of these earn *more*.",
        "",
        *(f"- *{version}*: {text}." for version, text in ABOUT.items()),
        "",
        *versions(),
    ]
