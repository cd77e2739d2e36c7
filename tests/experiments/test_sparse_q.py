"""The table of logs mixed with noise: its runs, its logs, the weights that it tells of, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from cql_tutorial import make_agent
from cql_tutorial.envs import Maze
from cql_tutorial.evaluation import t_interval
from experiments import sparse_q
from experiments.sparse_q import Job
from experiments.storage import read_rows
from experiments.tables import read_reported

torch.set_num_threads(1)


def test_each_method_has_one_setting_chosen_on_tuning_draws() -> None:
    tuning = list(sparse_q.tuning_jobs())
    assert len(tuning) == len(set(tuning)) == 4 * 4 * 4 * 2 and "bc" not in {job.algorithm for job in tuning}
    assert {job.draw for job in tuning} == set(sparse_q.TUNING) and not set(sparse_q.TUNING) & set(sparse_q.REPORTED)
    best = {"iql": "0.9, 3", "sparse-q": "0.1", "sparse-q-code": "1", "eql": "0.3", "bc": ""}
    rows = []
    for job in tuning:
        # The best on average, not at every share of noise; reported draws that say otherwise move nothing.
        value = 10.0 if job.setting == best[job.algorithm] else 20.0 * (job.noise == 0.5)
        row = {"algorithm": job.algorithm, "setting": job.setting, "noise": f"{job.noise:g}"}
        rows += [row | {"split": "tune", "return": str(value)}, row | {"split": "report", "return": str(-value)}]
    jobs = list(sparse_q.reported_jobs(rows))
    assert len(jobs) == len(set(jobs)) == 5 * 4 * 5
    assert all(job.setting == best[job.algorithm] and job.draw in sparse_q.REPORTED for job in jobs)
    assert sparse_q.tuning_returns(rows, "eql", "0.1", 0.5) == [20.0, 20.0]


def test_a_log_holds_its_share_of_noise() -> None:
    for noise in sparse_q.NOISE:
        data, good = sparse_q.mixed_log(noise, 3000)
        returns, many = data.episode_returns(), round(100 * (1 - noise))
        assert len(data) == 6000 and int(good.sum()) == 60 * many and bool(good[: 60 * many].all())
        assert bool((returns[:many] > 30).all()) and bool((returns[many:] < 10).all())
        assert not bool(data.terminations.any())
        # Random actions fill the square; the script's keep to its speed.
        assert float(data.actions[good].norm(dim=-1).mean()) < 0.75
        if noise:
            assert float(data.actions[~good].mean().abs()) < 0.05 and float(data.actions[~good].std()) > 0.55
    starts = sparse_q.mixed_log(0.5, 3000)[0].observations[::60]
    assert bool((starts[:, 0] < -1.4).all())  # the left arm


@pytest.mark.parametrize("method", list(sparse_q.METHODS))
def test_the_weights_are_those_of_the_update(method: str) -> None:
    """The mean over the whole log is what an update on the whole log reports, where nothing has moved."""
    data, good = sparse_q.mixed_log(0.5, 3000)
    setting = next(iter(sparse_q.METHODS[method][1]))
    name, settings = sparse_q.agent_settings(Job(method, setting, 0.5, 3000), data)
    agent: Any = make_agent(name, {**settings, "state_dim": 2, "action_dim": 2, "dtype": "float64"})
    weights = sparse_q.row_weights(agent, data)
    found = sparse_q.measure_weights(agent, data, good)
    assert weights.shape == (6000,) and 0 < found["effective_share"] <= 1
    total = weights.double().sum()
    assert found["weight_on_good"] == pytest.approx(float(weights[good].double().sum() / total))
    both = 0.5 * (found["zero_good"] + found["zero_noise"])
    assert found["share_zero"] == pytest.approx(both) == pytest.approx(float((weights == 0).double().mean()))
    if method == "bc":
        assert found["share_zero"] == 0 and found["weight_on_good"] == 0.5 and found["effective_share"] == 1
    else:
        with agent.hold(*agent.optimizers):
            columns = ("observations", "actions", "rewards", "next_observations", "terminations")
            metrics = agent.update({name: getattr(data, name) for name in columns})
        assert float(metrics["advantage_weight"]) == pytest.approx(float(weights.mean()))
        if "share_zero" in metrics:
            assert float(metrics["share_zero"]) == pytest.approx(found["share_zero"])


def test_what_is_said_of_the_rows() -> None:
    """The data sheet's note and docs/results.md."""
    frame, rows = read_reported("sparse-mixed"), read_rows("sparse-mixed")
    returns = {
        noise: some.pivot(index="draw", columns="algorithm", values="return") for noise, some in frame.groupby("noise")
    }
    learners = ["iql", "sparse-q", "sparse-q-code", "eql"]
    assert frame[frame["algorithm"] != "bc"]["success"].min() == 1
    assert bool((frame[frame["algorithm"] != "bc"]["return"] > 41).all())  # the script earns 39
    assert all(bool((returns[noise]["bc"] < 0.5).all()) for noise in (0.75, 0.9))
    for name in learners:
        last = list(sparse_q.METHODS[name][1])[-1 if name == "iql" else 0]
        assert sparse_q.own_setting(rows, name) == last
        gain, half = t_interval(list(returns[0.9][name] - returns[0.0][name]))
        assert gain > half
    for name in ("sparse-q", "eql"):
        assert max(sparse_q.tuning_returns(rows, name, "1", 0.9)) < 0.5
    for setting in sparse_q.METHODS["sparse-q-code"][1]:
        mean = t_interval(sparse_q.tuning_returns(rows, "sparse-q-code", setting, 0.9))[0]
        assert mean > 42
    for noise in sparse_q.NOISE:
        two = returns[noise]
        difference, half = t_interval(list(two["sparse-q-code"] - two["sparse-q"]))
        assert abs(difference) < half
        for better in ("iql", "eql") if noise >= 0.5 else ():
            for sparse in ("sparse-q", "sparse-q-code"):
                difference, half = t_interval(list(two[better] - two[sparse]))
                assert difference > half, (noise, better, sparse)
    zero = frame[frame["algorithm"].isin(["iql", "eql"])][["share_zero"]].max()
    assert float(zero.iloc[0]) < 0.01
    sparse = frame[(frame["algorithm"] == "sparse-q") & (frame["noise"] == 0.9)]
    assert 0.7 < sparse["share_zero"].mean() < 0.8 and sparse["zero_good"].mean() > 0.5
    errors = frame.groupby(["algorithm", "noise"])["estimation_error"].mean()
    for name in learners:
        by_noise = [errors[name, noise] for noise in sparse_q.NOISE]
        assert max(by_noise) < 0
        assert (by_noise == sorted(by_noise, reverse=True)) == (name != "eql")
    assert errors["eql", 0.9] > errors["eql", 0.0]


@pytest.mark.slow
def test_a_small_run_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STEPS": 5, "STARTS": 5, "STATES": 8}.items():
        monkeypatch.setattr(sparse_q, name, value)
    for method in ("bc", "iql", "eql"):
        setting = next(iter(sparse_q.METHODS[method][1]))
        first = Job(method, setting, 0.0, sparse_q.REPORTED[0])
        rows = sparse_q.measure([first, replace(first, noise=0.9), replace(first, draw=sparse_q.TUNING[0])])
        assert [row["split"] for row in rows] == ["report", "report", "tune"]
        for row in rows:
            assert set(row) <= set(sparse_q.COLUMNS) and json.loads(row["settings"])["trained_with"] == 2
            assert ("estimation_error" in row) == (method != "bc" and row["split"] == "report")
            assert ("zero_noise" in row) == (row["noise"] > 0) and 0 <= row["return"] <= Maze().horizon
        assert rows[0]["log_return"] > 30 > rows[1]["log_return"]
