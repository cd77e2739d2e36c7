"""What is shown of the table of alpha: each log's ladder, the rule of thumb beside an alpha tuned on other draws."""

from __future__ import annotations

from statistics import mean

from cql_tutorial.course.studies.ch09 import Ladder, ladders
from experiments.alpha import ALPHAS, COMMON, LOGS, REPORTED, STARTS, STATES, TARGET, TUNING
from experiments.storage import Row, read_rows
from experiments.tables import markdown_lines, mean_and_interval


def complete_logs(rows: list[Row]) -> list[Ladder]:
    """The ladders of the logs whose reported draws are complete, in the order of `LOGS`."""
    found = {ladder.log: ladder for ladder in ladders(rows)}
    return [found[name] for name in LOGS if name in found and has_all_draws(found[name])]


def has_all_draws(ladder: Ladder) -> bool:
    """Whether every alpha of a ladder has a return in every reported draw."""
    return all(len(ladder.returns.get(value, ())) == len(REPORTED) for value in ALPHAS)


def rule_sentence(rows: list[Row]) -> str:
    """What the rows say of the rule of thumb, one sentence; docs/results.md has it, and a test holds it."""
    judged = [ladder for ladder in complete_logs(rows) if ladder.rule is not None]
    if not judged:
        return "The rule of thumb for alpha is being tested: `python -m experiments alpha`."
    told = [ladder for ladder in judged if sum(ladder.paired(ladder.rule or 0.0, ladder.tuned)) < 0]
    lost = max(judged, key=lambda ladder: ladder.regret(ladder.rule or 0.0))
    worst = lost.regret(lost.rule or 0.0)
    kinds = "kind" if len(judged) == 1 else "kinds"
    return (
        "The rule of thumb for alpha (expert data 1 to 2, medium 5, random or mixed 10 to 20) was tested on "
        f"{len(judged)} {kinds} of log: it earns less than an alpha tuned on other draws, the interval leaving out 0, "
        f"on {len(told)} of them, and loses up to {worst:.0f} % of the spread between best and worst alpha "
        f"({lost.log})."
    )


def markdown(rows: list[Row]) -> list[str]:
    """A line a log: best, tuned and the rule's alpha, what they lose, and where the CQL gap can be."""
    heads = ["log", "its own return", "best alpha", "tuned", "rule", "regret of tuned, %", "of the rule", "of alpha 0",
             "rule minus tuned, return", "smallest error at", "CQL gap at 20", "at 0"]  # fmt: skip
    lines = []
    for ladder in complete_logs(rows):
        rule, own = ladder.rule, [float(row["log_return"]) for row in rows if row["log"] == ladder.log]
        low, high = ladder.window
        cells = [ladder.log, f"{mean(own):.1f}", f"{ladder.best:g}", f"{ladder.tuned:g}"]
        cells += ["" if rule is None else f"{rule:g}", f"{ladder.regret(ladder.tuned):.0f}"]
        cells += ["" if rule is None else f"{ladder.regret(rule):.0f}", f"{ladder.regret(0.0):.0f}"]
        same = rule is None or rule == ladder.tuned
        middle, half = (0.0, 0.0) if same else ladder.paired(rule or 0.0, ladder.tuned)
        cells.append("" if rule is None else "the same" if same else f"{middle:.1f} ± {half:.1f}")
        lines.append([*cells, f"{ladder.truest:g}", f"{low:.2f}", f"{high:.2f}"])
    return markdown_lines(heads, lines)


def every_alpha(rows: list[Row]) -> list[str]:
    """Return and estimation error of each alpha on each complete log, and in another unit of reward where measured."""
    heads = ["log", *(f"alpha {value:g}" for value in ALPHAS)]
    lines = []
    for ladder in complete_logs(rows):
        returns = [mean_and_interval(ladder.returns[value], ".1f") for value in ALPHAS]
        errors = [mean_and_interval(ladder.errors[value], "+.1f") for value in ALPHAS]
        lines += [[f"{ladder.log}: return", *returns], [f"{ladder.log}: estimation error", *errors]]
        unit = LOGS[ladder.log].unit
        scaled = {
            value: [float(row["return"]) for row in rows if row["return"] and (row["log"], row["variant"]) ==
                    (ladder.log, "cql") and float(row["unit"]) == unit and float(row["cql_alpha"]) == value]
            for value in ALPHAS
        }  # fmt: skip
        if unit and all(len(values) == len(REPORTED) for values in scaled.values()):
            name = f"{ladder.log}: return, rewards times {unit:g}"
            lines.append([name, *(mean_and_interval(scaled[value], ".1f") for value in ALPHAS)])
    return markdown_lines(heads, lines)


def one_target(rows: list[Row]) -> list[str]:
    """Every complete log under a multiplier with the same target."""
    heads = ["log", "return", "CQL gap", "multiplier, median", "minus the tuned alpha, return"]
    lines = []
    for ladder in complete_logs(rows):
        mine = [row for row in rows if (row["log"], row["variant"]) == (ladder.log, "lagrange") and row["return"]]
        mine.sort(key=lambda row: int(row["draw"]))
        if len(mine) == len(REPORTED):
            returns, gaps, values = (
                [float(row[name]) for row in mine] for name in ("return", "log_cql_gap", "log_multiplier")
            )
            change = [a - b for a, b in zip(returns, ladder.returns[ladder.tuned], strict=True)]
            middle = sorted(values)[len(values) // 2]
            lines.append([ladder.log, mean_and_interval(returns, ".1f"), mean_and_interval(gaps, ".2f"),
                          f"{middle:.3g}", mean_and_interval(change, ".1f")])  # fmt: skip
    return (
        ["", f"### alpha: a multiplier with the target {TARGET:g}", "", *markdown_lines(heads, lines)] if lines else []
    )


def sheet() -> list[str]:
    """The part of the results' data sheet; logs that are not complete are left out."""
    rows = read_rows("alpha")
    complete = complete_logs(rows)
    lines = [
        "## alpha",
        "",
        "Logs of several qualities and coverages, the same ladder of alphas on each. Tuned: the alpha with the",
        f"best mean return on draws {list(TUNING)}; everything else is from draws {list(REPORTED)}, each the seed of",
        f"its log and agent; {STATES} states and {STARTS} starts common to all runs of a log (of draw {COMMON}).",
        "`python -m experiments alpha`; "
        + (
            "complete."
            if len(complete) == len(LOGS)
            else f"{len(complete)} of {len(LOGS)} logs are complete, the others are left out here."
        ),
        "",
        *(f"- *{name}*: {log.about}." for name, log in LOGS.items()),
        "- *Rule*: the alpha that the rule of thumb names for this quality; where it names two, the one that earned",
        "  more on the reported draws. It has no word for the maze's two scripts.",
        "- *Regret*: best mean return of the ladder minus this one's, per cent of best minus worst.",
        "- *CQL gap at 20, at 0*: near the floor, and the natural gap: a target between them can be held.",
    ]
    if not complete:
        return lines
    if any(ladder.rule is not None for ladder in complete):
        lines += ["", rule_sentence(rows)]
    return [*lines, "", *markdown(rows), "", *every_alpha(rows), *one_target(rows)]
