"""The tables of calibration: which runs there are, how one is measured, and what its sentences say."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cql_tutorial import fit, make_agent
from cql_tutorial.envs import Maze
from cql_tutorial.evaluation import t_interval
from experiments import calibration, calibration_tables
from experiments.calibration import (
    ARMS,
    COMMON,
    CONTROL,
    DISCOUNT,
    REPORTED,
    TUNING,
    Job,
    common_states,
    evaluate,
    follow,
    log,
    settings_of,
)
from experiments.runner import group_jobs
from experiments.storage import RESULTS, read_rows
from experiments.tables import read_frame, read_reported

torch.set_num_threads(1)


def test_tuning_reported_and_common_draws_are_apart() -> None:
    assert not {*TUNING} & {*REPORTED, COMMON} and COMMON not in REPORTED and len(REPORTED) >= len(CONTROL) >= 5
    jobs = list(calibration.jobs())
    assert len({calibration.STUDY.key_of_job(job) for job in jobs}) == len(jobs)
    assert {job.draw for job in jobs if job.setting == "ladder"} == {*TUNING}
    assert {job.split for job in jobs if job.setting == "ladder"} == {"tune"}
    assert {job.split for job in jobs if job.setting != "ladder"} == {"report"}
    for setting, draws in (("wide", REPORTED), ("narrow", CONTROL)):  # both agents and both ways on every draw
        there = {(j.algorithm, j.arm, j.draw) for j in jobs if j.setting == setting and j.arm in ("kept", "dropped")}
        assert there == {(a, arm, d) for a in ("cql", "cal-ql") for arm in ("kept", "dropped") for d in draws}


def test_the_control_differs_in_the_target_entropy_alone_and_the_agents_in_nothing() -> None:
    wide, narrow = (
        settings_of(Job(name, entropy, "cql", "kept", 0)) for name, entropy in calibration.SETTINGS_OF.items()
    )
    assert {name for name in wide if wide[name] != narrow[name]} == {"target_entropy"}
    assert settings_of(Job("wide", -0.8, "cal-ql", "kept", 0)) == wide
    assert ARMS["kept"].options == {"mix": 0.5} and ARMS["dropped"].options == {"mix": 0.5, "online_alpha": 0.0}
    groups = group_jobs(calibration.jobs(), calibration.population_key, 1000)
    for group in groups:  # what `measure` trains once for all
        assert len({(job.setting, job.algorithm) for job in group}) == 1
        assert group[0].algorithm == "cql" or len({job.draw for job in group}) == 1


def test_returns_to_go_of_the_common_states_by_a_slow_loop() -> None:
    observations, returns = common_states()
    long, steps = log(COMMON, 200), 200
    assert len(observations) == calibration.STATES and len(log(COMMON)) == 60 * Maze().horizon
    for number in (0, 7, 199):
        (row,) = (long.observations == observations[number]).all(-1).nonzero().flatten().tolist()[:1]
        assert row % steps < Maze().horizon  # such as a log of 60 steps holds
        rewards = long.rewards[row : row - row % steps + steps].double().tolist()
        slow = sum(reward * DISCOUNT**t for t, reward in enumerate(rewards))
        assert float(returns[number]) == pytest.approx(slow, abs=1e-4)
        assert DISCOUNT ** len(rewards) / (1 - DISCOUNT) < 0.02  # all that the cut can hide


def small(algorithm: str, arm: str = "kept", **changes: Any) -> Job:
    return replace(Job("wide", -0.8, algorithm, arm, 0), **{"updates": 4, "steps": 60, **changes})


def test_an_evaluation_by_hand() -> None:
    agent = make_agent("cal-ql", settings_of(small("cal-ql")))
    row, (observations, returns) = evaluate(agent), common_states()
    assert row == evaluate(agent)  # the same states and random numbers each time
    generator = torch.Generator().manual_seed(COMMON)
    actions = agent.policy()(observations, generator)
    values = agent.q_values(observations, actions).double().numpy().min(0)
    assert row["predicted"] == pytest.approx(values.mean(), abs=1e-5)
    assert row["bound_rate"] == pytest.approx(np.mean(values < returns.numpy()))
    assert 0 <= row["worst_start"] <= row["return"] and 0 < row["true_half_width"] < 1
    assert "true" not in evaluate(agent, truth=False)


def test_a_copy_of_a_trained_agent_goes_on_as_the_agent_itself() -> None:
    data = log(0)
    (agent,) = calibration.train([small("cql")])
    other = copy.deepcopy(agent)
    for one in (agent, other):
        fit(one, data, 2, batch_size=8, seed=1, progress=False)
    for ours, theirs in zip(agent.critic.parameters(), other.critic.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.slow
def test_a_run_end_to_end() -> None:
    jobs = [small("cal-ql"), small("cal-ql", "dropped")]
    rows = calibration.measure(jobs)
    assert [(row["arm"], row["step"]) for row in rows] == [(a, s) for a in ("kept", "dropped") for s in (0, 60)]
    assert set().union(*rows) == set(calibration.COLUMNS)
    kept, dropped = rows[:2], rows[2:]
    for name in calibration.MEASURED:  # the same agent before any step
        assert kept[0][name] == dropped[0][name]
    assert kept[1]["predicted"] != dropped[1]["predicted"] and "true" not in kept[1]
    assert kept[0]["episode_return"] == "" and 0 <= kept[1]["episode_return"] <= 60
    told = json.loads(dropped[0]["settings"])
    assert told["online_alpha"] == 0 and told["target_entropy"] == -0.8 and not dropped[1]["settings"]
    agent = make_agent("cal-ql", settings_of(jobs[0]))  # the agent by itself, as `fit` trains it
    fit(agent, log(0), 4, batch_size=64, seed=0, progress=False)
    assert evaluate(agent)["predicted"] == pytest.approx(kept[0]["predicted"], abs=1e-6)
    assert follow(small("cal-ql", "offline", steps=None), agent, 1)[0]["predicted"] == evaluate(agent)["predicted"]


@pytest.mark.slow
def test_a_version_end_to_end() -> None:
    job = calibration.VersionJob("other_unit", 0, updates=10)
    (row,) = calibration.measure_version([job])
    assert set(row) == set(calibration.VERSION_COLUMNS) and row["log_bound_rate"] == 1.0
    jobs = list(calibration.version_jobs())
    assert len(jobs) == len({(job.version, job.draw) for job in jobs}) == 9 * 5


# ---------------------------------------------------------------- what the rows say
def runs(setting: str, algorithm: str, arm: str) -> Any:
    """The runs of a comparison, by draw."""
    return calibration_tables.curves().sort_index().xs((setting, algorithm, arm))


def test_the_sheet_shows_the_tables() -> None:
    sheet = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert "\n".join(calibration_tables.sheet()) in sheet
    assert "\n".join(calibration_tables.sheet_of_versions()) in sheet


def test_a_curve_in_numbers_by_hand() -> None:
    rows = [row for row in read_rows("calibration") if row["setting"] == "wide" and row["draw"] == "3"]
    rows = [row for row in rows if (row["algorithm"], row["arm"]) == ("cql", "dropped")]
    returns = [float(row["return"]) for row in rows]
    mine = runs("wide", "cql", "dropped").loc[3]
    assert [int(row["step"]) for row in rows] == list(range(0, 1201, 60))
    assert (mine["start"], mine["early"], mine["final"]) == (returns[0], returns[8], returns[-1])
    assert mine["curve"] == pytest.approx(sum(returns) / 21) and mine["reached"] == (max(returns) >= 44)
    assert mine["fall"] == pytest.approx(min(returns) - returns[0])
    values = [float(rows[0]["predicted"]) - float(rows[0][name]) for name in ("returns_to_go", "true")]
    assert [mine["below"], mine["error"]] == pytest.approx(values)


def test_claims_on_where_the_bound_acts() -> None:
    """The wider the policy is held, the lower CQL's values, at the same return: in both tuning draws."""
    frame = read_frame("calibration")
    for _, mine in frame[frame["setting"] == "ladder"].groupby("draw"):
        mine = mine.sort_values("target_entropy")
        below = (mine["predicted"] - mine["returns_to_go"]).tolist()
        assert below == sorted(below, reverse=True) and below[0] > -1 and below[-1] < -25
        assert mine["bound_rate"].iloc[0] < 0.5 and (mine["bound_rate"].iloc[1:] == 1).all()
        assert mine["return"].max() - mine["return"].min() < 2


def test_claims_on_going_online() -> None:
    """The data sheet's note, docs/results.md and chapter 11 on wide, its control, and the run that fell to 0."""
    wide = {(name, arm): runs("wide", name, arm) for name in ("cql", "cal-ql") for arm in ("kept", "dropped")}
    control = {(name, arm): runs("narrow", name, arm) for name in ("cql", "cal-ql") for arm in ("kept", "dropped")}
    assert {len(mine) for mine in wide.values()} == {10} and {len(mine) for mine in control.values()} == {5}
    cql, calibrated = wide["cql", "dropped"], wide["cal-ql", "dropped"]
    assert (cql["below"] < -14).all() and (calibrated["below"].abs() < 3).all() and (calibrated["start"] > 41).all()
    assert (cql["bound_rate"] == 1).all() and cql["error"].mean() == pytest.approx(-15.9, abs=0.05)
    assert (calibrated["curve"] > cql["curve"]).all()
    assert (calibrated["reached"].sum(), cql["reached"].sum()) == (10, 1)
    (lost,) = cql.index[cql["final"] == 0]
    assert cql["final"].drop(lost).min() > 39 and (calibrated["fall"] > -3).all()
    at_the_end = calibrated["final"] - cql["final"]
    assert 0.4 < at_the_end[lost] / at_the_end.sum() < 0.5
    assert t_interval(at_the_end.drop(lost).tolist())[1] < 0.5 * t_interval(at_the_end.tolist())[1]
    gains = {}
    for name, of in (("wide", wide), ("narrow", control)):
        for arm in ("kept", "dropped"):
            gains[name, arm], half = t_interval((of["cal-ql", arm]["curve"] - of["cql", arm]["curve"]).tolist())
            assert gains[name, arm] > half
    gain, half = t_interval((calibrated["curve"] - cql["curve"]).tolist())
    assert (round(gain, 1), round(half, 1)) == (5.7, 2.0)
    assert gains["wide", "kept"] < 0.5 * gains["wide", "dropped"]
    assert 0.15 < gains["narrow", "dropped"] / gains["wide", "dropped"] < 0.25
    still = control["cql", "dropped"]
    assert abs(still["below"].mean()) < 0.3 and 0.33 < still["bound_rate"].mean() < 0.45
    paid, half = t_interval((calibrated["curve"] - control["cal-ql", "dropped"]["curve"]).dropna().tolist())
    assert paid > half
    paid, half = t_interval((cql["curve"] - still["curve"]).dropna().tolist())
    assert abs(paid) < half
    for of in (wide, control):
        paid, half = t_interval((of["cal-ql", "dropped"]["curve"] - of["cal-ql", "kept"]["curve"]).tolist())
        assert paid > half
    others = {arm: runs("wide", "cql", arm) for arm in ("no-log", "warm-up")}
    for mine in others.values():
        fewer, half = t_interval((mine["fall"] - cql["fall"]).dropna().tolist())
        assert len(mine) == 5 and lost not in mine.index and abs(fewer) < half


def test_claims_on_the_mistakes() -> None:
    frame = read_reported("calibration-versions")
    of = {version: mine.set_index("draw") for version, mine in frame.groupby("version")}
    said: dict[str, dict[str, int]] = {}
    for version in set(of) - {"correct", "no_bound"}:
        for column in ("return", "predicted", "predicted_uniform"):
            moved, half = t_interval((of[version][column] - of["correct"][column]).tolist())
            said.setdefault(column, {})[version] = 0 if abs(moved) <= half else 1 if moved > 0 else -1
    assert all(said[column][version] for column in ("predicted", "predicted_uniform") for version in said[column])
    told = {version for version, sign in said["return"].items() if sign}
    assert len(said["return"]) == 7 and told == {"min_for_max", "data_term_too", "undiscounted", "other_unit"}
    assert {version for version in told if said["return"][version] > 0} == {"data_term_too", "undiscounted"}
