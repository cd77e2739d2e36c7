"""What is shown of the table of logs mixed with noise."""

from __future__ import annotations

from statistics import mean

from experiments import sparse_q
from experiments.storage import read_rows
from experiments.tables import markdown_lines, mean_and_interval, read_reported

SHOWS = (
    "Shows: choosing among logged actions withstands what ruins cloning. From 75 % random episodes on cloning earns",
    "nothing; IQL, both sparse forms and eql reach the goal from every start in every run, and earn more than the",
    "script. The setting decides: on the tuning draws sparse-q and eql with alpha 1 earn nothing at 90 %, as",
    "cloning does, where the weight of the authors' program earns over 42 at any alpha tried. Random episodes are",
    "not only noise here: all four earn more with 90 % of them than with none. They cover the maze, and the script",
    "is slow. So weight 0 tells no noise: at 90 % sparse-q leaves out three quarters of the rows, and of the",
    "script's own rows over a half in the mean.",
    "",
    "Does not show: that sparsity helps. IQL and eql leave out no row and earn more than either sparse form at 50 %",
    "and above (paired intervals leave out 0). The two weights of sparse-q are not told apart in return, each at",
    "its own alpha. Every chosen setting is the last of those tried, so that a bolder one may be better still.",
    "Predictions lie below the truth in the mean, and but for eql the further the more of the log is random.",
)


def sheet() -> list[str]:
    """Every method at its own setting on every share of noise, and what the tuning draws said of the settings."""
    rows, frame = read_rows("sparse-mixed"), read_reported("sparse-mixed")
    lines = [
        "## sparse-mixed",
        "",
        f"Sparse-q and eql beside IQL and cloning on logs of {sparse_q.EPISODES} episodes of the maze, a share of them",
        "is uniformly random; the others are a script that walks from the left arm to the goal.",
        f"Every method has one setting for all shares, the one with the largest mean return on draws "
        f"{list(sparse_q.TUNING)}.",
        f"Reported: draws {list(sparse_q.REPORTED)}; {sparse_q.STEPS:,} updates, {sparse_q.STARTS} common starts, "
        f"{sparse_q.STATES} common states.",
        "",
        *(f"- *{name}*: {text}." for name, text in sparse_q.ABOUT.items()),
        "- *Error*: min Q minus Q^pi at the policy's own actions.",
        "- *Weight 0*: share of the log's rows that the policy does not learn from, in all, of the script's, of the",
        "  random ones. *Weight on good*: share of the whole weight on the script's rows. *Effective*:",
        "  (sum w)^2 / (n sum w^2).",
        "",
        *SHOWS,
    ]
    heads = ["method", "own setting", "return", "error", "weight 0", "of the script's", "of the random",
             "weight on good", "effective"]  # fmt: skip
    for noise in sparse_q.NOISE:
        runs, table = frame[frame["noise"] == noise], []
        for method in sparse_q.METHODS:
            some = runs[runs["algorithm"] == method]
            cells = [method, sparse_q.own_setting(rows, method), mean_and_interval(some["return"], ".1f")]
            cells.append("" if method == "bc" else mean_and_interval(some["estimation_error"], "+.1f"))
            for name in ("share_zero", "zero_good", "zero_noise", "weight_on_good", "effective_share"):
                values = some[name].dropna()
                cells.append(mean_and_interval(values, ".2f") if len(values) else "")
            table.append(cells)
        log = mean_and_interval(runs[runs["algorithm"] == "bc"]["log_return"], ".1f")
        title = f"### sparse-mixed: {noise:.0%} of the episodes random (the log's own return: {log})"
        lines += ["", title, "", *markdown_lines(heads, table)]
    return [*lines, "", *tuning()]


def tuning() -> list[str]:
    """The mean return of every setting on the tuning draws, for each share of noise."""
    rows = read_rows("sparse-mixed")
    heads = ["method", "setting", *(f"{noise:.0%} random" for noise in sparse_q.NOISE), "mean"]
    table = []
    for method, (_, settings) in sparse_q.METHODS.items():
        for setting in settings if len(settings) > 1 else ():
            cells = [method, setting]
            for noise in sparse_q.NOISE:
                cells.append(f"{mean(sparse_q.tuning_returns(rows, method, setting, noise)):.1f}")
            cells.append(f"{mean(sparse_q.tuning_returns(rows, method, setting)):.1f}")
            table.append(cells)
    return ["### sparse-mixed: returns on the tuning draws", "", *markdown_lines(heads, table)]
