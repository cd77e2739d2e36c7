"""What is shown of the tables of silent bugs: which curve, card and test tells which bug, and the false alarms."""

from __future__ import annotations

from cql_tutorial.course.silent_bugs import BUGS
from cql_tutorial.course.studies import ch12 as study
from experiments.bugs import REPORTED, TEST_SEEDS, TUNING
from experiments.run_doctor import BROKEN, HEALTHY, STEPS
from experiments.storage import read_rows
from experiments.tables import markdown_lines


def sheet() -> list[str]:
    """The part of the results' data sheet: the detection table, then the doctor's hits and false alarms."""
    rows, tests = read_rows("bugs"), study.test_rates(read_rows("bug-tests"))
    told, counts = study.any_curve(rows), study.doctor_counts(rows)
    lines = [
        "## bugs",
        "",
        "Healthy runs and runs with one published bug each (`course/silent_bugs.py`, with links) on the arm's narrow",
        f"log; {study.STEPS} updates, resumed once. Draws {list(REPORTED)} are reported. Draws {list(TUNING)} are the",
        "healthy runs whose range, widened by half its width on either side, a curve is held against, and those at",
        "which the thresholds of the doctor's cards were looked at. *Any curve*: at least one of "
        f"{', '.join(f'`{name}`' for name in study.CURVES)}",
        "ends outside. *Return*, *error*: minus the healthy run of the same draw, ± its 95 % t-interval. *Tests*",
        f"(table *bug-tests*): the largest share of {TEST_SEEDS} seeds at which one of {len(study.TESTS)} tests fails.",
        "",
    ]
    table = []
    for title in ["healthy", *(bug.title for bug in BUGS.values())]:
        name = next((name for name, bug in BUGS.items() if bug.title == title), "")
        hits, of = study.own_doctor(rows, title)
        cells = [title, f"{told[title]:.0%}", f"{hits} of {of}"]
        cells.append(f"{max(tests.get(title, {'': 0.0}).values()):.0%}")
        for column in ("return", "estimation_error"):
            mean, half = study.beside_its_base(rows, name, column) if name else (0.0, 0.0)
            cells.append(f"{mean:+.1f} ± {half:.1f}" if name and mean == mean else "")
        table.append(cells)
    lines += markdown_lines(["run", "any curve", "doctor", "tests", "return", "error"], table)
    broken = [counts[bug.title] for bug in BUGS.values()]
    well = {title: of for title, of in counts.items() if title.startswith("healthy")}
    elsewhere = "; ".join(f"{title.split(': ')[1]} {hits} of {many}" for title, (hits, many) in well.items())
    lines += [
        "",
        f"The doctor: {sum(h for h, _ in broken)} of {sum(n for _, n in broken)} runs with a bug lie under a card, and "
        f"{sum(h for h, _ in well.values())} of {sum(n for _, n in well.values())} healthy ones",
        f"({elsewhere}).",
    ]
    return lines


def sheet_of_folders() -> list[str]:
    """The part of the results' data sheet on run folders: what the doctor says of each."""
    rows = read_rows("run-doctor")
    lines = [
        "## run-doctor",
        "",
        f"`cql-tutorial doctor --run FOLDER` on folders of `cql-tutorial train`, {STEPS:,} updates each: healthy runs",
        "on a dozen logs, and runs with a fault in the log or in a setting, chosen before any was run.",
        "",
    ]
    table = [[row["kind"], row["run"], row["log"], row["names"] or "no card"] for row in rows]
    lines += markdown_lines(["kind", "run", "log", "cards"], table)
    parts = []
    for kind, word in ((BROKEN, "broken"), (HEALTHY, "healthy")):
        of = [row for row in rows if row["kind"] == kind]
        parts.append(f"{sum(int(row['cards']) > 0 for row in of)} of {len(of)} {word} runs")
    return [*lines, "", f"A card applies to {' and to '.join(parts)}."]
