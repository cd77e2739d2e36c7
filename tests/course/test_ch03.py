"""Chapter 03: each reference answer against an independent loop or solve; the figures' captions against their data."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cql_tutorial.agents import tabular
from cql_tutorial.course import SESSION, figures
from cql_tutorial.course.checker import check_answer
from cql_tutorial.course.exercises import ch03
from cql_tutorial.course.figures.ch03 import kinds_of_greedy
from cql_tutorial.course.sliders import explore_initial_scale
from cql_tutorial.course.studies import ch03 as study
from cql_tutorial.envs import Gridworld
from cql_tutorial.evaluation import optimal_q, solve_q, t_interval

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def log() -> tabular.TabularLog:
    world = Gridworld()
    behaviour = 0.7 * tabular.greedy_policy(optimal_q(world)) + 0.3 / 4
    return tabular.record_log(world, behaviour, 40, seed=5)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_sweep_is_the_packages_and_a_loops(log: tabular.TabularLog) -> None:
    q = draw(0, 64, 4)
    table = ch03.sweep(q, log.states, log.actions, log.rewards, log.next_states, log.terminations, 0.9)
    assert torch.allclose(table, next(tabular.sweeps(log, 0.9, initial=q)), atol=1e-12)
    targets: dict[tuple[int, int], list[float]] = {}
    for i in range(len(log)):
        after = 0.0 if log.terminations[i] else max(q[int(log.next_states[i])].tolist())
        pair = int(log.states[i]), int(log.actions[i])
        targets.setdefault(pair, []).append(float(log.rewards[i]) + 0.9 * after)
    for s, a in ((s, a) for s in range(64) for a in range(4)):
        rows = targets.get((s, a), [float(q[s, a])])  # a pair without rows keeps its value
        assert float(table[s, a]) == pytest.approx(sum(rows) / len(rows))


def test_mean_of_the_best_is_what_quadrature_says() -> None:
    """E max of k standard normals over n tries, by an integral that shares nothing with the code."""
    z = np.linspace(-9, 9, 20001)
    below = np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in z])
    for k, n in ((2, 1), (4, 5), (25, 10)):
        density = k * below ** (k - 1) * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        expected = float((z * density).sum() * (z[1] - z[0])) / math.sqrt(n)
        assert float(ch03.mean_of_the_best(draw(k, 40_000, k, n))) == pytest.approx(expected, abs=0.02)


def test_best_logged_is_the_packages_restricted_backup(log: tabular.TabularLog) -> None:
    q = draw(1, 64, 4)
    assert torch.equal(ch03.best_logged(q, log.counts), tabular.restricted_backup(log, q))


def test_greedy_shares_against_a_loop(log: tabular.TabularLog) -> None:
    q, unseen, rare, visited = draw(2, 64, 4), 0, 0, 0
    for s in range(64):
        row = log.counts[s].tolist()
        if sum(row):
            visited += 1
            tried = row[q[s].tolist().index(max(q[s].tolist()))]
            unseen, rare = unseen + (tried == 0), rare + (1 <= tried <= 3)
    assert ch03.greedy_shares(q, log.counts, 3).tolist() == pytest.approx([unseen / visited, rare / visited])
    kinds = kinds_of_greedy(q, log.counts)
    assert (kinds == 0).sum() == unseen and (kinds == 1).sum() == rare and np.isnan(kinds).sum() == 64 - visited


def test_no_value_of_the_best_policy_is_above_the_bound() -> None:
    """The notebook's alarm: best reward / (1 - discount) bounds Q*, in a world whose best reward is 10."""
    assert float(optimal_q(Gridworld()).max()) <= 10.0 / (1 - 0.95)


def test_the_error_is_the_sum_of_its_parts(log: tabular.TabularLog) -> None:
    """The identity Q-hat - Q^pi = (I - g P^pi)^-1 (Q-hat - B^pi Q-hat), for a table and a policy that fit nothing."""
    world = Gridworld()
    q, policy = draw(7, 64, 4), torch.softmax(draw(8, 64, 4), 1)
    whole, parts = study.error_by_cause(world, log, q, policy, 0.95)
    exact = solve_q(world, policy, 0.95)
    expected = float((policy * (q - exact)).sum(1)[world.start_state])
    assert whole == pytest.approx(expected) and sum(parts.values()) == pytest.approx(whole)
    _, zero = study.error_by_cause(world, log, exact, policy, 0.95)
    assert max(abs(part) for part in zero.values()) < 1e-9


def test_the_suspects_show_what_their_causes_leave() -> None:
    world = Gridworld()
    behaviour = 0.7 * tabular.greedy_policy(optimal_q(world)) + 0.3 / 4
    rows = study.suspects(world, behaviour, 0.95)
    cause = {ch03.cause(run): row for run, row in rows.items()}
    assert sorted(cause) == sorted(ch03.SIGNS) and list(rows) == list(ch03.CAUSES)
    honest = {name: row["reported"] - (row["predicted"] - row["exact"]) for name, row in cause.items()}
    assert [name for name, off in honest.items() if abs(off) > 1e-6] == ["wrong truth"]
    assert [name for name, row in cause.items() if row["moved"] > 1e-6] == ["unfinished"]
    assert [name for name, row in cause.items() if row["unseen"] > 0.01] == ["unseen"]
    assert cause["shrunk"]["reported"] < -1 and cause["rare"]["reported"] > 1


def test_every_wrong_cause_and_line_is_told_why() -> None:
    for run, right in ch03.CAUSES.items():
        assert ch03.judge_cause(right, run) is None
        for claimed in set(ch03.SIGNS) - {right}:
            assert f'run {run} is not "{claimed}"' in str(ch03.judge_cause(claimed, run))
            answers = {**ch03.CAUSES, run: claimed}
            assert f"run {run} is not" in check_answer(SESSION.exercises["03.5"], answers.__getitem__).message
    for listing, notes in ch03.NOTES.items():
        assert ch03.judge_line(ch03.WRONG_LINES[listing], listing) is None
        for line, note in notes.items():
            assert note in str(ch03.judge_line(line, listing))
    assert ch03.judge_cause(" Wrong_truth", "A") is None and ch03.judge_line(4.0, "critic") is None  # the form is free
    assert ch03.judge_line(torch.tensor(4), "critic") is None and ch03.judge_line(torch.tensor([4]), "critic")
    for odd in (None, 0, 99, "4", True, "luck", ["rare"]):
        assert "one of the words" in str(ch03.judge_cause(odd, "A")) and "whole number" in str(
            ch03.judge_line(odd, "critic")
        )


def test_each_listing_has_one_wrong_line_and_a_note_for_every_other() -> None:
    for listing, text in study.LISTINGS.items():
        lines = text.splitlines()
        assert sorted([*ch03.NOTES[listing], ch03.WRONG_LINES[listing]]) == list(range(1, len(lines) + 1))
        assert study.numbered(listing).splitlines()[-1] == f"{len(lines):2d}  {lines[-1]}"
        compile(text, listing, "exec")
    assert "max(" in study.LISTINGS["critic"].splitlines()[3] and "no_grad" in study.LISTINGS["actor"].splitlines()[2]
    assert "truncations" in study.LISTINGS["sweep"].splitlines()[2]


def test_the_interval_is_over_draws_where_runs_share_one() -> None:
    values, draws = [1.0, 1.2, 3.0, 3.2, 5.0, 5.2], [1, 1, 2, 2, 3, 3]
    said = str(figures.every_draw({"offline SAC": values}, ylabel="error", truth="exact", draws=draws, digits=2))
    mean, half = t_interval([1.1, 3.1, 5.1])
    assert f"{mean:+.2f} ± {half:.2f}" in said and "6 runs is a dot; the interval is over 3 draws" in said
    said = str(figures.every_draw({"five critics": [1.0, 1.1]}, ylabel="x", truth="two critics", zero="reference"))
    assert "above the reference" in said or "not told apart from the reference" in said
    said = str(figures.error_parts({"a": {"never tried": [1.0, 1.2], "rarely tried": [0.0, 0.2]}}))
    assert "a: never tried +1.1 ± 1.3, rarely tried +0.1 ± 1.3" in said


def test_captions_are_made_from_the_data(log: tabular.TabularLog) -> None:
    world, q = Gridworld(), draw(3, 64, 4)
    unseen, rare = ch03.greedy_shares(q, log.counts, 3).tolist()
    said = str(figures.greedy_kinds({"a table": q}, log.counts, world))
    assert f"a table: {unseen:.0%} unseen, {rare:.0%} rarely tried" in said
    said = str(figures.every_draw({"one": [1.0, 2.0, 3.0], "two": [-1.0, 0.0, 1.0]}, ylabel="error", truth="exact"))
    assert "one: +2.00 ± 2.48, not told apart from the truth" in said and "two: +0.00 ± 2.48" in said
    said = str(figures.every_draw({"high": [2.0, 2.1, 2.2]}, ylabel="error", truth="exact"))
    assert "high: +2.10 ± 0.25, above the truth (each of 3 runs is a dot)." in said
    said = str(figures.maximum_bias((1, 4), {2: [0.5, 0.25]}, {2: [0.56, 0.28]}))
    assert "2 arms: +0.5 at 1 try, +0.2 at 4 tries" in said
    x = torch.linspace(-1, 1, 5)
    said = str(figures.invented(x, torch.stack([x, -x]), torch.zeros(5), (-0.5, 1.0)))
    assert "outside the log in 1 of 2 networks" in said and "worth in 2." in said
    explorer = explore_initial_scale(log, world, {0.0: q, 2.0: 2 * q}, [1.0, 5.0], [0.5, -1.0])
    explorer.slider.value = 1
    assert "predicted 5.00, true -1.00" in explorer.caption.value
