"""What is shown of the table of off-policy evaluation: how each rule ranks, errs and chooses, a draw at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from cql_tutorial.evaluation import t_interval
from experiments import off_policy
from experiments.off_policy import ESTIMATORS, FQE, REPORTED, TASKS, TUNING, candidates, middle
from experiments.tables import read

Row = dict[str, str]
Key = tuple[str, str]  # (algorithm, alpha)
Scores = dict[Key, float]  # nan: the rule cannot judge this policy
RULES = {  # name -> (estimator, column, whether it refuses what is not usable, what it is)
    "fqe": ("fqe", "value", True, "largest fitted Q-evaluation; refuses what no reward of the log could pay"),
    "fqe-raw": ("fqe", "value", False, "the same without refusing"),
    "fqe-low": ("fqe", "low", True, "largest lower end of its interval over starts; refuses as fqe"),
    "initial-value": ("initial-value", "value", False, "largest value of the agent's own critics (cloning has none)"),
    "wis": ("wis", "value", True, "largest importance-sampling estimate; refuses below 10 effective episodes"),
    "wis-raw": ("wis", "value", False, "the same without refusing"),
    "td-error": ("td-error", "value", False, "smallest Bellman error on a log that nobody trained on"),
}
CONTROLS = {
    "largest-alpha": "CQL with the largest alpha",
    "smallest-alpha": "CQL with the smallest alpha",
    "middle-alpha": "CQL with the middle alpha; a simulator had shown where in maze and Pendulum to lay the ladder",
    "cloning": "the clone of the whole log",
    "random": "any of them, equally likely (expected)",
}


def draws_of(task: str) -> dict[str, list[Row]]:
    """Reported draw -> its rows, draws whose candidates are all there."""
    rows = [row for row in read("ope") if row["split"] == "report" and row["task"] == task]
    found = {str(draw): [row for row in rows if row["seed"] == str(draw)] for draw in REPORTED}
    many = len(candidates(task)) * len(ESTIMATORS)
    return {draw: mine for draw, mine in found.items() if len(mine) == many}


def truths(rows: list[Row]) -> Scores:
    """True value of each policy of one draw."""
    return {(row["algorithm"], row["cql_alpha"]): float(row["true"]) for row in rows}


def scores(rows: list[Row], rule: str) -> Scores:
    """What a rule maximises, for each policy of one draw; nan where it cannot judge."""
    if rule in CONTROLS:
        return {key: control(key, rule, rows[0]["task"]) for key in truths(rows)}
    estimator, column, refuses, _ = RULES[rule]
    sign = -1.0 if rule == "td-error" else 1.0
    return {
        (row["algorithm"], row["cql_alpha"]): math.nan
        if row[column] == "" or (refuses and row["usable"] == "0")
        else sign * float(row[column])
        for row in rows
        if row["estimator"] == estimator
    }


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


def pick(found: Scores, among: list[Key]) -> Key | None:
    """The best score among some policies, the first of equals; None if none was judged."""
    judged = [key for key in among if not math.isnan(found[key])]
    return max(judged, key=lambda key: found[key]) if judged else None


def regret(found: Scores, true: Scores) -> float:
    """Best true value minus the chosen policy's, in per cent of best minus worst; without a choice the mean one's."""
    best, worst, chosen = max(true.values()), min(true.values()), pick(found, list(true))
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
    near, chosen = {key: float(value >= best - slack) for key, value in alphas.items()}, pick(found, list(alphas))
    return near[chosen] if chosen else 0.0


def chance(true: Scores, of_best: bool = False) -> float:
    """The share of alphas within 10 % of the best: what picking one at random gets."""
    alphas = [key for key in true if key[0] == "cql"]
    return sum(within({key: float(key == one) for key in alphas}, true, of_best) for one in alphas) / len(alphas)


def errors(rows: list[Row], rule: str) -> list[tuple[float, bool]]:
    """(estimate minus truth, whether the 95 % interval holds the truth) of each policy that was judged."""
    estimator, refuses = (RULES[rule][0], RULES[rule][2]) if rule in RULES else (rule, False)
    return [
        (float(row["value"]) - float(row["true"]), float(row["low"]) <= float(row["true"]) <= float(row["high"]))
        for row in rows
        if row["estimator"] == estimator and row["value"] != "nan" and not (refuses and row["usable"] == "0")
    ]


def each(task: str, rule: str, measure: Callable[[Scores, Scores], float]) -> list[float]:
    """A measure of a rule, draw by draw."""
    return [measure(scores(rows, rule), truths(rows)) for rows in draws_of(task).values()]


def unjudged(task: str, rule: str) -> tuple[int, int]:
    """(policies without a score, all policies) over the draws."""
    found = [value for rows in draws_of(task).values() for value in scores(rows, rule).values()]
    return sum(map(math.isnan, found)), len(found)


def pm(values: list[float], digits: int) -> str:
    """Mean and t-interval over draws."""
    mean, half = t_interval(values)
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def error_cells(task: str, rule: str) -> list[str]:
    """Absolute error, signed error (both a mean over policies, then over draws), intervals that hold the truth."""
    digits = 3 if task == "sepsis" else 2 if task != "pendulum-medium" else 1
    found = [mine for rows in draws_of(task).values() if (mine := errors(rows, rule))]
    if not found:
        return ["", "", ""]
    sizes = [sum(abs(error) for error, _ in mine) / len(mine) for mine in found]
    signed = [sum(error for error, _ in mine) / len(mine) for mine in found]
    held = [holds for mine in found for _, holds in mine]
    return [pm(sizes, digits), pm(signed, digits), f"{sum(held)} of {len(held)}"]


def markdown(task: str) -> list[str]:
    """How each rule ranks, errs and chooses on one task."""
    heads = ["rule", "Spearman", "Kendall", "not judged", "absolute error", "signed error", "interval holds truth",
             "regret of the choice, % of spread", "alpha within 10 % of spread", "of best"]  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    draws = len(draws_of(task))
    for rule in RULES:
        missing, every = unjudged(task, rule)
        ranks = [each(task, rule, lambda f, t, k=k: correlation(f, t, k)) for k in (False, True)]  # type: ignore[misc]
        cells = [rule, pm(ranks[0], 2), pm(ranks[1], 2), f"{missing} of {every}"]
        cells += error_cells(task, rule) if rule in ("fqe", "fqe-raw", "initial-value", "wis", "wis-raw") else [""] * 3
        near = [sum(each(task, rule, lambda f, t, b=b: within(f, t, b))) for b in (False, True)]  # type: ignore[misc]
        cells += [pm(each(task, rule, regret), 0), *(f"{count:.0f} of {draws}" for count in near)]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("| " + " | ".join(["data-return", "", "", "", *error_cells(task, "data-return"), "", "", ""]) + " |")
    for rule in CONTROLS:
        cells = [rule, *[""] * 6, pm(each(task, rule, regret), 0)]
        for of_best in (False, True):
            if rule == "random":
                cells.append(f"{sum(each(task, rule, lambda f, t, b=of_best: chance(t, b))):.1f} of {draws}")  # type: ignore[misc]
            elif rule == "cloning":
                cells.append("")
            else:
                count = sum(each(task, rule, lambda f, t, b=of_best: within(f, t, b)))  # type: ignore[misc]
                cells.append(f"{count:.0f} of {draws}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def policies(task: str) -> list[str]:
    """True value and estimates of every policy, means over the draws."""
    names = ("fqe", "initial-value", "wis")
    lines = ["| policy | true | " + " | ".join(names) + " |", "|" + "---|" * (2 + len(names))]
    digits = 3 if task == "sepsis" else 2 if task != "pendulum-medium" else 1
    for key in candidates(task):
        mine = [row for rows in draws_of(task).values() for row in rows if (row["algorithm"], row["cql_alpha"]) == key]
        cells = [" ".join(key).strip(), pm([float(r["true"]) for r in mine if r["estimator"] == "fqe"], digits)]
        for name in names:
            values = [float(r["value"]) for r in mine if r["estimator"] == name and r["value"] != "nan"]
            weak = sum(r["usable"] == "0" for r in mine if r["estimator"] == name)
            cells.append((pm(values, digits) if values else "") + (f" ({weak} refused)" if weak and values else ""))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def picks(task: str, rule: str, alphas: bool = False) -> list[Key | None]:
    """What a rule chooses on each draw, of all policies or of the alphas."""
    found = []
    for rows in draws_of(task).values():
        keys = [key for key in truths(rows) if not alphas or key[0] == "cql"]
        found.append(pick(scores(rows, rule), keys))
    return found


def mean_regret(task: str, rule: str) -> float:
    """Mean over the draws, per cent of the spread."""
    values = each(task, rule, regret)
    return sum(values) / len(values)


def refused(task: str, estimator: str, algorithm: str = "") -> int:
    """How many estimates of a task were made and are not usable."""
    rows = [row for mine in draws_of(task).values() for row in mine if row["estimator"] == estimator]
    return sum(row["usable"] == "0" and row["value"] != "nan" and algorithm in ("", row["algorithm"]) for row in rows)


def sentences() -> list[str]:
    """What the table says, its numbers from the rows; `tests/repository/test_shipped_data.py` holds each of them."""
    shown, main = [task for task in TASKS if draws_of(task)], ("gridworld", "maze", "pendulum-medium")

    def listed(rule: str, tasks: list[str] | tuple[str, ...] = tuple(shown)) -> str:
        return ", ".join(f"{mean_regret(task, rule):.0f}" for task in tasks)

    def near(rule: str) -> str:
        measure = (lambda _, true: chance(true)) if rule == "random" else within
        return f"{rule} {sum(sum(each(task, rule, measure)) for task in main):.3g}"

    def rank(task: str, rule: str) -> str:
        return pm(each(task, rule, correlation), 2)

    critics = ("fqe", "initial-value")
    least = {task: ("cql", f"{min(TASKS[task].alphas):g}") for task in main[1:]}
    smallest = sum(key == one for task, one in least.items() for rule in critics for key in picks(task, rule, True))
    held = [holds for task in main for rows in draws_of(task).values() for _, holds in errors(rows, "fqe-raw")]
    best = sum(regret(scores(rows, "fqe"), truths(rows)) == 0 for rows in draws_of("sepsis").values())
    sac = [sum(key == ("sac", "") for key in picks("maze", rule)) for rule in critics]
    wis = sum(unjudged(task, "wis")[0] for task in main)
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
        f"Refusing values that no reward could pay refuses {sum(refused(task, 'fqe') for task in (*main, 'sepsis'))} "
        "estimates at the tuned number of steps. At 5,000, the default of `choose`, it refuses SAC in "
        f"{refused('maze-long', 'fqe', 'sac')} of {len(draws_of('maze-long'))} draws of the maze: regret "
        f"{pm(each('maze-long', 'fqe', regret), 0)} with it, {pm(each('maze-long', 'fqe-raw', regret), 0)} without.",
        f"The 95 % intervals of fitted Q-evaluation hold the truth in {sum(held)} of {len(held)} cases (gridworld, "
        "maze, Pendulum): they are over starts, and blind to the rest. Their lower ends choose the same as the means.",
        f"Importance sampling cannot judge {wis} of 180 policies there. In sepsis it refuses "
        f"{refused('sepsis', 'wis')} of {unjudged('sepsis', 'wis')[1]} and errs by {error_cells('sepsis', 'wis')[0]}: "
        "its count of effective episodes is no warning there.",
        "As an estimate of the value, fitted Q-evaluation beats the log's own return in gridworld and maze, and not on "
        "Pendulum or in sepsis.",
    ]


def sheet() -> list[str]:
    """The part of the results' data sheet: what was measured, how it was tuned, and a table a task."""
    rows: list[dict[str, Any]] = list(read("ope"))
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
        f"{tuned}; chosen: {off_policy.chosen(rows):,}.",
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
        *(f"- *{name}*: {about}." for name, (_, _, _, about) in RULES.items()),
        *(f"- *{name}*: {about}." for name, about in CONTROLS.items()),
        "- *data-return*: the log's mean discounted return taken as everybody's value: the baseline of the errors.",
    ]
    lines += ["", "What survives:", "", *(f"{n}. {text}" for n, text in enumerate(sentences(), 1))]
    for task in TASKS:
        if draws_of(task):
            lines += ["", f"### ope: {task} ({len(draws_of(task))} draws)", "", *markdown(task), "", *policies(task)]
    return lines


def panels(names: tuple[str, ...] = ("fqe", "initial-value", "wis")) -> dict[str, Any]:
    """True values and estimates of all reported policies, as `figures.estimates_and_truth` takes them."""
    found: dict[str, Any] = {}
    for task in TASKS:
        rows = [row for mine in draws_of(task).values() for row in mine]
        if rows:
            pairs = {
                name: [(float(r["true"]), float(r["value"])) for r in rows if r["estimator"] == name] for name in names
            }
            found[task] = {name: tuple(zip(*mine, strict=True)) for name, mine in pairs.items()}
    return found
