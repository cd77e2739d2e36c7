"""Chapter 10: scores, claims and cards against the tables they are made of; resampling against plain loops."""

from __future__ import annotations

import itertools
import math
from statistics import mean
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from cql_tutorial import load_dataset
from cql_tutorial.course.exercises import ch10
from cql_tutorial.course.figures import (
    best_and_last,
    best_of,
    draws_and_seeds,
    episodes_behind,
    films,
    values_and_bounds,
)
from cql_tutorial.course.sliders import explore_best_of
from cql_tutorial.course.studies import ch10 as study
from cql_tutorial.course.studies.common import result_rows
from cql_tutorial.errors import ConfigError, DatasetNotFoundError
from cql_tutorial.evaluation import t_interval
from cql_tutorial.evaluation.reference_scores import REFERENCE_RETURNS, d4rl_score
from experiments import mujoco, mujoco_tables
from experiments.storage import to_text

TABLE, SETS, TRAINING, EPISODES, FRAMES = (
    result_rows(name) for name in ("mujoco", "mujoco-sets", "mujoco-training", "mujoco-episodes", "mujoco-frames")
)
PENDULUM, MAZE, SEPSIS = (result_rows(name) for name in ("pendulum-medium", "maze", "sepsis"))
RUN = study.checkpoints(TRAINING, EPISODES)


# ---------------------------------------------------------------- scores and claims
def test_a_score_is_that_of_the_package() -> None:
    for task, references in REFERENCE_RETURNS.items():
        score, half = ch10.score_with_interval(812.0, 55.0, *references)
        assert score == pytest.approx(d4rl_score(task, 812.0))
        assert half == pytest.approx(d4rl_score(task, 867.0) - score)


def test_the_quoted_table_is_that_of_the_experiments() -> None:
    assert study.QUOTED == mujoco_tables.QUOTED
    assert study.TASKS == mujoco.TASKS and tuple(study.METHODS) == mujoco.ALGORITHMS
    assert (len(mujoco.DRAWS), len(mujoco.SEEDS), mujoco.STEPS) == (study.DRAWS, study.SEEDS, study.STEPS)
    assert mujoco.SETTLED["discount"] == study.SETTLED


def test_two_numbers_of_the_quoted_table_are_elsewhere_and_seven_are_not() -> None:
    off = [one for one in study.quoted_and_published() if abs(one[2] - one[3]) > 0.15]
    assert [(task, method) for task, method, *_ in off] == [
        ("hopper-medium-expert", "cql"), ("walker2d-medium-replay", "bc")
    ]  # fmt: skip
    assert all(len(study.found_at(quoted)) == 1 for _, _, quoted, _ in off)
    for task, method, version, who, score in study.PUBLISHED:
        table = study.CORL_LAST if "CORL" in who else study.IQL_PAPER
        assert version == "v0" or table[task][method] == score


def test_a_card_has_one_obstacle_or_none_and_the_exercise_knows_it() -> None:
    claims = study.claims(PENDULUM, TABLE, SETS)
    assert list(claims) == list(ch10.OBSTACLES)
    for letter, claim in claims.items():
        differing = [line for line, (left, right) in claim.sides.items() if left != right]
        assert (differing or ["none"]) == [ch10.OBSTACLES[letter]], letter
    corl = {method: mean(row[method] for row in study.CORL_LAST.values()) for method in ("cql", "iql")}
    assert corl["cql"] < corl["iql"] < study.CORL_BEST_CQL  # claim B turns round


# ---------------------------------------------------------------- episodes and checkpoints
def test_every_row_of_the_episodes_has_its_score() -> None:
    for row in EPISODES:
        assert float(row["score"]) == pytest.approx(d4rl_score(row["task"], float(row["return"])), abs=1e-3)
    assert RUN.fresh.shape == (60, 30) and len(study.episodes_of(EPISODES, "hopper", "medium").scores) == 100
    with pytest.raises(ConfigError, match="mujoco-episodes"):
        study.episodes_of(EPISODES, "hopper", "worst")


@pytest.mark.parametrize(("candidates", "each", "fresh"), [(1, 0, 7), (3, 4, 0), (5, 2, 6)])
def test_an_outcome_is_that_of_a_plain_loop(candidates: int, each: int, fresh: int) -> None:
    generator, found = np.random.default_rng(5), []
    for stop in range(31, 61):
        for _ in range(60):
            some = RUN.fresh[stop - candidates : stop]
            means = [generator.choice(one, each).mean() if each else 0.0 for one in some]
            place = int(np.argmax(means))
            report = generator.choice(some[place], fresh).mean() if fresh else means[place]
            found.append((some[place].mean(), report, RUN.truth[:stop].max()))
    delivered, reported, best = np.array(found).T
    mine = study.outcome(RUN, candidates, each, fresh)
    assert mine.delivered == pytest.approx(delivered.mean(), abs=1.0)
    assert mine.reported == pytest.approx(reported.mean(), abs=1.0)
    assert mine.lack == pytest.approx((best - delivered).mean(), abs=1.0)
    assert mine.bias == pytest.approx(mine.reported - mine.delivered)
    assert mine.error == pytest.approx(np.sqrt(np.square(reported - delivered).mean()), rel=0.1)


def test_an_outcome_needs_candidates_and_episodes() -> None:
    for wrong in ((0, 5, 0), (31, 5, 0), (2, 0, 5), (1, 0, 0), (1, -1, 5)):
        with pytest.raises(ConfigError):
            study.outcome(RUN, *wrong)


def test_the_best_rows_are_those_of_the_package() -> None:
    log = load_dataset("pendulum/medium-10k-v0")
    starts = torch.zeros(len(log.rewards), dtype=torch.long)
    starts[log.episode_starts[1:]] = 1
    mask = ch10.best_rows(log.rewards.double(), starts.cumsum(0), round(0.1 * len(log.episode_starts)))
    assert torch.equal(log.rewards[mask], log.top_episodes(0.1).rewards)


def test_many_protocols_pass_and_what_fails_is_told_why() -> None:
    for good in ((20, 10, 100), (15, 12, 120), (25, 8, 100), (30, 5, 150)):
        assert ch10._judge_protocol(good) is None, good
    for bad, words in (
        ((30, 10, 1), "There are 300"), ((30, 10, 0), "off by"), ((1, 0, 300), "may be lost"),
        ((20, 14, 20), "typically"), ((31, 1, 1), "between 1 and 30"), ((2, 0, 3), "some to be compared"),
        ((1.5, 2, 3), "three integers"), ("abc", "three integers"), ((True, 2, 3), "three integers"),
        ((0, 1, 1), "between 1"),
    ):  # fmt: skip
        assert words in str(ch10._judge_protocol(bad)), bad


# ---------------------------------------------------------------- intervals
def test_the_interval_over_draws_is_the_t_interval_of_their_means() -> None:
    scores = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    middle, half = ch10.interval_over_draws(scores)
    assert (float(middle), float(half)) == pytest.approx(t_interval(scores.mean(1).tolist()))


def test_only_the_interval_over_draws_keeps_its_promise() -> None:
    kept = study.coverage(ch10.interval_over_draws, 3, 3, 1.0, 1.0, 1500)
    assert kept == pytest.approx(0.95, abs=0.02)
    assert study.coverage(study.pooled, 3, 3, 1.0, 1.0, 1500) < 0.88
    assert study.coverage(study.pooled, 3, 3, 0.0, 1.0, 1500) == pytest.approx(0.95, abs=0.02)
    assert study.t_coverage(4) == pytest.approx(0.95, abs=0.02)


def test_shares_of_variance_are_found_again() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = 3 * torch.randn(4000, 1, generator=generator, dtype=torch.float64) + 2 * torch.randn(
        4000, 3, generator=generator, dtype=torch.float64
    )
    assert study.shares_of_variance(scores) == pytest.approx((3.0, 2.0), rel=0.05)
    assert study.shares_of_variance(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))[0] == 0.0


@pytest.mark.parametrize("count", [3, 5, 8, 11])
def test_the_interquartile_mean_is_scipys(count: int) -> None:
    values = np.random.default_rng(count).standard_normal(count)
    assert study.interquartile_mean(values.tolist()) == pytest.approx(stats.trim_mean(values, 0.25))
    assert study.middle_means(values) == pytest.approx(stats.trim_mean(values, 0.25))


def test_a_method_beats_itself_once_its_best_seed_counts() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    pairs = list(itertools.product(itertools.product([1.0, 2.0, 3.0, 4.0], repeat=2), repeat=2))
    exact = mean(max(ours) > mean(theirs) for ours, theirs in pairs)
    assert study.false_wins(scores, 2, "best", 20_000) == pytest.approx(exact, abs=0.015)


# ---------------------------------------------------------------- our table
def made(runs: list[mujoco.Job]) -> list[dict[str, str]]:
    """Rows as the experiment writes them, with made-up numbers."""
    rows = []
    for number, job in enumerate(runs):
        numbers = {"step": job.steps, "score": 50.0 + number % 7, "log_score": 40.0, "estimation_error": -3.0,
                   "predicted": 17.0, "true": 20.0, "q_drift": 0.5}  # fmt: skip
        row: dict[str, Any] = {name: getattr(job, name) for name in mujoco.KEYS} | numbers
        rows.append({name: to_text(row.get(name, "")) for name in mujoco.COLUMNS})
    return rows


def test_what_is_missing_is_called_unfinished_and_what_is_there_is_shown() -> None:
    whole = made(list(mujoco.jobs()))
    assert "UNFINISHED" not in study.unfinished(whole) and study.unfinished(whole).startswith("90 of 90")
    assert not any("unfinished" in line for line in [*study.lines_of(whole), *study.settled_lines(whole)])
    assert sum("6/6" in line for line in study.lines_of(whole)) == 15
    assert sum("-3.0" in line for line in study.settled_lines(whole)) == 9
    nothing = made([])
    assert "UNFINISHED" in study.unfinished(nothing) and study.unfinished(nothing).startswith("0 of 90")
    assert sum("unfinished" in line for line in study.lines_of(nothing)) == 15
    some = study.lines_of(whole[:1])
    assert [line.split()[-5:-1] for line in some if "1/6" in line] == [["50.0", "-", "-", "50.0"]]
    diverged = [{**row, "score": "", "step": ""} for row in whole]
    assert study.unfinished(diverged).startswith("0 of 90")


# ---------------------------------------------------------------- values
def test_the_verdicts_are_those_of_the_numbers() -> None:
    runs = study.cases(PENDULUM, MAZE, SEPSIS)
    for letter, (returns, values) in ch10.VERDICTS.items():
        case = runs[letter]
        bound = case.best_reward / (1 - case.discount) if case.discount < 1 else case.best_reward
        assert (case.policy > case.clone) == (returns == "better"), letter
        assert (case.predicted > bound) == (values == "impossible"), letter
        assert case.true <= bound and f"{case.true:.2f}" not in case.card.split("mean Q")[1]
    assert all(abs(runs[letter].predicted - runs[letter].true) > 8 for letter in "RT")  # possible, and far off


# ---------------------------------------------------------------- pictures, policies
def test_the_strips_are_there_and_small() -> None:
    folder = study.shipped(f"frames/{FRAMES[0]['file']}").parent
    assert {row["file"] for row in FRAMES} == {path.name for path in folder.glob("*.png")}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    with pytest.raises(DatasetNotFoundError, match="checkout"):
        study.shipped("frames/none.png")


def test_figures_say_what_they_show() -> None:
    folder = study.shipped(f"frames/{FRAMES[0]['file']}").parent
    medium = study.episodes_of(EPISODES, "hopper", "medium")
    falls = int((medium.lengths < 1000).sum())
    assert f"{falls} of 100 episodes end in a fall" in episodes_behind({"medium": medium}).caption
    assert all(row["task"] in films(FRAMES, folder).caption for row in FRAMES)
    best = int(RUN.selected.argmax())
    assert f"fresh episodes give {RUN.truth[best]:.1f}" in best_and_last(RUN).caption
    scores = study.by_draw_and_seed(PENDULUM, "iql")
    assert (
        f"± {t_interval(scores.mean(1).tolist())[1]:.1f}"
        in draws_and_seeds({"IQL": scores}, {"draws": ch10.interval_over_draws}).caption
    )
    runs = study.cases(PENDULUM, MAZE, SEPSIS)
    assert "P: predicted 1.30" in values_and_bounds(runs, dict.fromkeys(runs, 1.0)).caption
    slider = explore_best_of(RUN, [5, 10])
    assert slider.captions == [best_of(RUN, 5).caption, best_of(RUN, 10).caption]


def test_without_mujoco_there_are_no_live_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    from cql_tutorial.envs import mujoco_env

    def refuse(*_: Any, **__: Any) -> None:
        raise ConfigError("mujoco", "not installed", "the package mujoco")

    monkeypatch.setattr(mujoco_env, "make_mujoco", refuse)
    assert study.live_scores("hopper", "medium") is None


def test_live_scores_are_scores() -> None:
    pytest.importorskip("mujoco")
    found = study.live_scores("hopper", "medium", episodes=1)
    assert found is not None and found.shape == (1,) and math.isfinite(found[0])
