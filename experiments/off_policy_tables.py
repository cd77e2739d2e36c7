"""What is shown of the table of off-policy evaluation: how each rule ranks, errs and chooses, a draw at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import pandas as pd

from cql_tutorial.evaluation.off_policy import RULES, pick_best
from experiments import off_policy
from experiments.off_policy import ESTIMATORS, FQE, REPORTED, TASKS, TUNING, candidates, middle
from experiments.storage import read_rows
from experiments.tables import markdown_lines, mean_and_interval, read_reported

Key = tuple[str, str]  # (algorithm, alpha)
Scores = dict[Key, float]  # nan: the rule cannot judge this policy
KEY = ["algorithm", "cql_alpha"]


class Variant(NamedTuple):
    """A rule of `cql_tutorial.evaluation.off_policy.RULES`, or that rule with one thing changed."""

    rule: str  # and the estimator that it reads
    column: str
    refuses: bool  # what is not usable
    change: str = ""

    @property
    def about(self) -> str:
        """What it is."""
        return self.change or RULES[self.rule].about


VARIANTS = {
    "fqe": Variant("fqe", "value", True),
    "fqe-raw": Variant("fqe", "value", False, "the same without refusing"),
    "fqe-low": Variant("fqe", "low", True, "largest lower end of its interval over starts; refuses as fqe"),
    "initial-value": Variant("initial-value", "value", False),
    "wis": Variant("wis", "value", True),
    "wis-raw": Variant("wis", "value", False, "the same without refusing"),
    "td-error": Variant("td-error", "value", False),
}
CONTROLS = {
    "largest-alpha": "CQL with the largest alpha",
    "smallest-alpha": "CQL with the smallest alpha",
    "middle-alpha": "CQL with the middle alpha; a simulator had shown where in maze and Pendulum to lay the ladder",
    "cloning": "the clone of the whole log",
    "random": "any of them, equally likely (expected)",
}


@cache  # the report is made when all is measured
def draws_of(task: str) -> dict[int, pd.DataFrame]:
    """Reported draw -> its rows, draws whose candidates are all there."""
    frame, many = read_reported("ope"), len(candidates(task)) * len(ESTIMATORS)
    draws = frame[(frame["task"] == task) & frame["seed"].isin(REPORTED)].groupby("seed")
    return {int(draw): rows for draw, rows in draws if len(rows) == many}


def rows_of(task: str, estimator: str) -> pd.DataFrame:
    """The rows of one estimator, of all draws."""
    rows = pd.concat(draws_of(task).values())
    return rows[rows["estimator"] == estimator]


def truths(rows: pd.DataFrame) -> Scores:
    """True value of each policy of one draw."""
    return rows.drop_duplicates(KEY).set_index(KEY)["true"].to_dict()


def scores(rows: pd.DataFrame, rule: str) -> Scores:
    """What a rule maximises, for each policy of one draw; nan where it cannot judge."""
    if rule in CONTROLS:
        return {key: control(key, rule, rows["task"].iloc[0]) for key in truths(rows)}
    variant = VARIANTS[rule]
    mine = rows[rows["estimator"] == variant.rule].set_index(KEY)
    values = mine[variant.column].where((mine["usable"] == 1) | (not variant.refuses))
    return values.map(RULES[variant.rule].score).to_dict()


def control(key: Key, rule: str, task: str) -> float:
    """A score without a look at the log."""
    if rule == "random":
        return math.nan  # no opinion: the expectation over all
    if rule == "cloning":
        return 1.0 if key == ("bc", "") else math.nan
    if key[0] != "cql":
        return math.nan
    alpha = float(key[1])
    return {"largest-alpha": alpha, "smallest-alpha": -alpha, "middle-alpha": -abs(alpha - float(middle(task)))}[rule]


def correlation(found: Scores, true: Scores, kendall: bool = False) -> float:
    """Rank correlation over all policies: one that was not judged stands last; 0 where all scores are equal."""
    from scipy.stats import kendalltau, rankdata, spearmanr

    values = [-math.inf if math.isnan(found[key]) else found[key] for key in true]
    if len(set(values)) == 1:
        return 0.0
    measure = kendalltau if kendall else spearmanr
    return float(measure(rankdata(values), rankdata(list(true.values())))[0])


def regret(found: Scores, true: Scores) -> float:
    """Best true value minus the chosen policy's, in per cent of best minus worst; without a choice the mean one's."""
    best, worst, chosen = max(true.values()), min(true.values()), pick_best({key: found[key] for key in true})
    value = true[chosen] if chosen else sum(true.values()) / len(true)
    return 100 * (best - value) / (best - worst)


def within(found: Scores, true: Scores, of_best: bool = False) -> float:
    """1 if the rule picks an alpha whose value is within 10 % of the best alpha's, else 0 (also without a choice).

    Per cent of the difference between best and worst alpha: a value has no natural zero, and where it is negative
    "of the best" would change when all rewards get a constant. ``of_best`` is that other reading, of |best|.
    """
    alphas = {key: value for key, value in true.items() if key[0] == "cql"}
    best, worst = max(alphas.values()), min(alphas.values())
    slack = 0.1 * (abs(best) if of_best else best - worst)
    near, chosen = (
        {key: float(value >= best - slack) for key, value in alphas.items()},
        pick_best({key: found[key] for key in alphas}),
    )
    return near[chosen] if chosen else 0.0


def chance(true: Scores, of_best: bool = False) -> float:
    """The share of alphas within 10 % of the best: what picking one at random gets."""
    alphas = [key for key in true if key[0] == "cql"]
    return sum(within({key: float(key == one) for key in alphas}, true, of_best) for one in alphas) / len(alphas)


def errors(rows: pd.DataFrame, rule: str) -> list[tuple[float, bool]]:
    """(estimate minus truth, whether the 95 % interval holds the truth) of each policy that was judged."""
    variant = VARIANTS.get(rule, Variant(rule, "value", False))
    judged = rows["value"].notna() & ((rows["usable"] == 1) | (not variant.refuses))
    mine = rows[judged & (rows["estimator"] == variant.rule)]
    holds = mine["true"].between(mine["low"], mine["high"])
    return list(zip((mine["value"] - mine["true"]).tolist(), holds.tolist(), strict=True))


@cache
def judge_draws(task: str, rule: str) -> list[tuple[Scores, Scores]]:
    """(scores of a rule, true values), a pair a draw."""
    return [(scores(rows, rule), truths(rows)) for rows in draws_of(task).values()]


def each(task: str, rule: str, measure: Callable[[Scores, Scores], float]) -> list[float]:
    """A measure of a rule, draw by draw."""
    return [measure(found, true) for found, true in judge_draws(task, rule)]


def count_unjudged(task: str, rule: str) -> tuple[int, int]:
    """(policies without a score, all policies) over the draws."""
    found = [score for scores, _ in judge_draws(task, rule) for score in scores.values()]
    return sum(map(math.isnan, found)), len(found)


def digits_of(task: str) -> int:
    """How many digits a value of a task is shown with."""
    return 3 if task == "sepsis" else 2 if task != "pendulum-medium" else 1


def error_cells(task: str, rule: str) -> list[str]:
    """Absolute error, signed error (both a mean over policies, then over draws), intervals that hold the truth."""
    form = f".{digits_of(task)}f"
    found = [mine for rows in draws_of(task).values() if (mine := errors(rows, rule))]
    if not found:
        return ["", "", ""]
    sizes = [sum(abs(error) for error, _ in mine) / len(mine) for mine in found]
    signed = [sum(error for error, _ in mine) / len(mine) for mine in found]
    held = [holds for mine in found for _, holds in mine]
    return [mean_and_interval(sizes, form), mean_and_interval(signed, form), f"{sum(held)} of {len(held)}"]


CORRELATIONS = correlation, partial(correlation, kendall=True)
READINGS = within, partial(within, of_best=True)  # of 10 %


def markdown(task: str) -> list[str]:
    """How each rule ranks, errs and chooses on one task."""
    heads = ["rule", "Spearman", "Kendall", "not judged", "absolute error", "signed error", "interval holds truth",
             "regret of the choice, % of spread", "alpha within 10 % of spread", "of best"]  # fmt: skip
    rows, draws = [], len(draws_of(task))
    for rule in VARIANTS:
        missing, every = count_unjudged(task, rule)
        ranks = [mean_and_interval(each(task, rule, measure), ".2f") for measure in CORRELATIONS]
        value_rule = VARIANTS[rule].rule != "td-error" and VARIANTS[rule].column == "value"
        cells = [rule, *ranks, f"{missing} of {every}", *(error_cells(task, rule) if value_rule else [""] * 3)]
        near = [f"{sum(each(task, rule, measure)):.0f} of {draws}" for measure in READINGS]
        rows.append([*cells, mean_and_interval(each(task, rule, regret), ".0f"), *near])
    rows.append(["data-return", "", "", "", *error_cells(task, "data-return"), "", "", ""])
    for rule in CONTROLS:
        near = [f"{sum(each(task, rule, measure)):.0f} of {draws}" for measure in READINGS]
        if rule == "random":
            true = [values for _, values in judge_draws(task, rule)]
            near = [f"{sum(chance(values, of_best) for values in true):.1f} of {draws}" for of_best in (False, True)]
        if rule == "cloning":
            near = ["", ""]
        rows.append([rule, *[""] * 6, mean_and_interval(each(task, rule, regret), ".0f"), *near])
    return markdown_lines(heads, rows)


def policies(task: str) -> list[str]:
    """True value and estimates of every policy, means over the draws."""
    names, form = ("fqe", "initial-value", "wis"), f".{digits_of(task)}f"
    estimates = {name: rows_of(task, name).set_index(KEY) for name in names}
    rows = []
    for key in candidates(task):
        cells = [" ".join(key).strip(), mean_and_interval(estimates["fqe"].loc[[key], "true"], form)]
        for name in names:
            mine = estimates[name].loc[[key]]
            values, refusals = mine["value"].dropna(), int((mine["usable"] == 0).sum())
            mark = f" ({refusals} refused)" if refusals and len(values) else ""
            cells.append((mean_and_interval(values, form) if len(values) else "") + mark)
        rows.append(cells)
    return markdown_lines(["policy", "true", *names], rows)


def picks(task: str, rule: str, alphas: bool = False) -> list[Key | None]:
    """What a rule chooses on each draw, of all policies or of the alphas."""
    found = []
    for scores, _ in judge_draws(task, rule):
        among = {key: score for key, score in scores.items() if not alphas or key[0] == "cql"}
        found.append(pick_best(among))
    return found


def mean_regret(task: str, rule: str) -> float:
    """Mean over the draws, per cent of the spread."""
    values = each(task, rule, regret)
    return sum(values) / len(values)


def count_refused(task: str, estimator: str, algorithm: str = "") -> int:
    """How many estimates of a task were made and are not usable."""
    rows = rows_of(task, estimator)
    mine = rows["algorithm"] == algorithm if algorithm else True
    return int(((rows["usable"] == 0) & rows["value"].notna() & mine).sum())


def sentences() -> list[str]:
    """What the table says, its numbers from the rows; `tests/repository/test_shipped_data.py` holds each of them."""
    shown, main = [task for task in TASKS if draws_of(task)], ("gridworld", "maze", "pendulum-medium")

    def listed(rule: str, tasks: list[str] | tuple[str, ...] = tuple(shown)) -> str:
        return ", ".join(f"{mean_regret(task, rule):.0f}" for task in tasks)

    def near(rule: str) -> str:
        measure = (lambda _, true: chance(true)) if rule == "random" else within
        return f"{rule} {sum(sum(each(task, rule, measure)) for task in main):.3g}"

    def rank(task: str, rule: str) -> str:
        return mean_and_interval(each(task, rule, correlation), ".2f")

    critics = ("fqe", "initial-value")
    least = {task: ("cql", f"{min(TASKS[task].alphas):g}") for task in main[1:]}
    smallest = sum(key == one for task, one in least.items() for rule in critics for key in picks(task, rule, True))
    held = [holds for task in main for rows in draws_of(task).values() for _, holds in errors(rows, "fqe-raw")]
    best = sum(lost == 0 for lost in each("sepsis", "fqe", regret))
    sac = [sum(key == ("sac", "") for key in picks("maze", rule)) for rule in critics]
    wis = sum(count_unjudged(task, "wis")[0] for task in main)
    impossible = sum(count_refused(task, "fqe") for task in (*main, "sepsis"))
    refusing, raw = (mean_and_interval(each("maze-long", rule, regret), ".0f") for rule in ("fqe", "fqe-raw"))
    return [
        f"No rule is safe. Mean regret in {', '.join(shown)}, per cent: "
        + "; ".join(f"{rule} {listed(rule)}" for rule in ("fqe", "initial-value", "wis", "td-error", "random"))
        + ". Each of the four does worse than a random choice somewhere.",
        f"On Pendulum fitted Q-evaluation ranks upside down in every draw (Spearman {rank('pendulum-medium', 'fqe')}): "
        "it prefers SAC or SAC's early checkpoint, the worst policies there are. The agents' own critics rank no "
        f"better ({rank('pendulum-medium', 'initial-value')}).",
        f"In the maze the agents' own critics prefer SAC in {sac[1]} of 5 draws, fitted Q-evaluation in {sac[0]}.",
        f"In sepsis fitted Q-evaluation ranks well ({rank('sepsis', 'fqe')}) and its choice is the best policy in "
        f"{best} of {len(draws_of('sepsis'))} draws. Why there and not elsewhere was not studied.",
        "Among the alphas of maze and Pendulum, fitted Q-evaluation and the agents' own critics pick the smallest in "
        f"{smallest} of 20 choices. Within 10 % of the best, of 15 choices in gridworld, maze and Pendulum: "
        + ", ".join(map(near, ("fqe", "initial-value", "wis", "wis-raw", "td-error", "random", "largest-alpha")))
        + f"; {near('middle-alpha')}, around which a simulator's knowledge had laid the others. In sepsis its regret "
        f"is {mean_regret('sepsis', 'middle-alpha'):.0f} %; the largest alpha's in the maze is "
        f"{mean_regret('maze', 'largest-alpha'):.0f} %.",
        f"Refusing values that no reward could pay refuses {impossible} "
        "estimates at the tuned number of steps. At 5,000, the default of `cql-tutorial evaluate`, it refuses SAC in "
        f"{count_refused('maze-long', 'fqe', 'sac')} of {len(draws_of('maze-long'))} draws of the maze: regret "
        f"{refusing} with it, {raw} without.",
        f"The 95 % intervals of fitted Q-evaluation hold the truth in {sum(held)} of {len(held)} cases (gridworld, "
        "maze, Pendulum): they are over starts, and blind to the rest. Their lower ends choose the same as the means.",
        f"Importance sampling cannot judge {wis} of 180 policies there. In sepsis it refuses "
        f"{count_refused('sepsis', 'wis')} of {len(rows_of('sepsis', 'wis'))} and errs by "
        f"{error_cells('sepsis', 'wis')[0]}: "
        "its count of effective episodes is no warning there.",
        "As an estimate of the value, fitted Q-evaluation beats the log's own return in gridworld and maze, and not on "
        "Pendulum or in sepsis.",
    ]


def sheet() -> list[str]:
    """The part of the results' data sheet: what was measured, how it was tuned, and a table a task."""
    rows = read_rows("ope")
    tuned = "; ".join(
        f"{steps:,} steps {error:.2f} ({rank:+.2f})" for steps, (rank, error) in off_policy.tuning_scores(rows).items()
    )
    settings = ", ".join(f"{name} {value}" for name, value in FQE.items())
    lines = [
        "## ope",
        "",
        "Off-policy evaluation: 12 policies a log, every estimate beside the true value of the same policy",
        "(`agent.policy()`: stochastic for continuous agents, cloning and IQL; greedy for DQN, discrete CQL, tables)",
        "at the discount that it was trained for, over the log's distribution of starts. Truth: a linear solve",
        "(gridworld, sepsis), else Monte-Carlo from 1,000 starts common to all. `python -m experiments off_policy`.",
        f"Reported: draws {list(REPORTED)}, each the seed of its log and agents. Fitted Q-evaluation",
        f"({settings})",
        f"was tuned in sight of the truth on draw {', '.join(map(str, TUNING))} of all tasks but sepsis, six policies",
        "each, by the mean absolute error in spreads of the true values (behind it the mean rank correlation):",
        f"{tuned}; chosen: {off_policy.chosen_steps(rows):,}.",
        "The criterion was the rank correlation at first; it was changed in sight of draw 100 alone. Two policies of",
        "a reported draw, measured with 1,000 steps by then, were taken out unread and measured again.",
        "",
        "- ±: 95 % t-interval over draws. *Not judged*: a rule has no score; such a policy is ranked last and is left",
        "  out of the errors. A rule that judges none counts as a random choice, and as a miss among alphas.",
        "- *Regret*: best true value minus the chosen policy's, in per cent of best minus worst of the 12.",
        "- *Within 10 %*: of the difference between best and worst alpha; *of best*: of the best alpha's absolute",
        "  value, which depends on where the rewards have their zero.",
        "- *maze-long*: the maze's policies again, fitted Q-evaluation for 5,000 steps (added after the main rows were",
        "  seen, because there it had refused nothing; nothing was chosen by it).",
        "- *-early*: an eighth of the updates. `td-error` had a log of its own, that nobody trained on.",
        *(f"- *{name}*: {variant.about}." for name, variant in VARIANTS.items()),
        *(f"- *{name}*: {about}." for name, about in CONTROLS.items()),
        "- *data-return*: the log's mean discounted return taken as everybody's value: the baseline of the errors.",
    ]
    lines += ["", "What survives:", "", *(f"{n}. {text}" for n, text in enumerate(sentences(), 1))]
    for task in TASKS:
        if draws_of(task):
            lines += ["", f"### ope: {task} ({len(draws_of(task))} draws)", "", *markdown(task), "", *policies(task)]
    return lines
