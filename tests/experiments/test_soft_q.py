"""The two tables of soft Q-learning: their runs, the exact policies beside them, and what is said of them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from cql_tutorial import fit, make_agent
from cql_tutorial.course.studies.ch11_soft import two_peaks
from cql_tutorial.envs import Maze
from cql_tutorial.envs.base import UniformPolicy
from cql_tutorial.evaluation import t_interval, true_q
from cql_tutorial.evaluation.quadrature import log_partition_quadrature
from cql_tutorial.networks import TanhGaussian
from experiments import soft_q
from experiments.logs import maze_data
from experiments.soft_q import MazeJob, ModesJob
from experiments.soft_q_tables import in_one_mode
from experiments.storage import read_rows
from experiments.tables import read_frame, read_reported

torch.set_num_threads(1)


# ---------------------------------------------------------------- which runs
def test_jobs_of_the_modes() -> None:
    jobs = list(soft_q.modes_jobs())
    assert len(jobs) == len(set(jobs)) == 2 * 3 * (3 + 10 + 4 * 10)
    for job in jobs:
        exact = job.policy not in ("gaussian", "energy")
        assert (job.draw == "") == exact and (job.candidates == "") == (job.policy != "energy")
        assert (soft_q.modes_key(job) is None) == exact


def test_alpha_is_chosen_on_tuning_draws_alone() -> None:
    tuning = list(soft_q.tuning_jobs())
    assert {job.draw for job in tuning} == set(soft_q.TUNING) and not set(soft_q.TUNING) & set(soft_q.REPORTED)
    # A better return on a reported draw, or at another temperature, moves nothing.
    best = {("cql", ""): 0.02, ("soft-q", 0.1): 0.1, ("soft-q", 1.0): 0.5}
    rows = []
    for job in [*tuning, *(replace(job, draw=1000) for job in tuning)]:
        hit = job.cql_alpha == best[job.algorithm, job.temperature]
        value = 40.0 if hit else 30.0
        row = {"algorithm": job.algorithm, "form": job.form, "temperature": str(job.temperature).removesuffix(".0")}
        split = "tune" if job.draw in soft_q.TUNING else "report"
        value = value if split == "tune" else 100 - value
        rows.append(row | {"cql_alpha": f"{job.cql_alpha:g}", "split": split, "return": str(value)})
    jobs = list(soft_q.reported_jobs(rows))
    assert {job.draw for job in jobs} == set(soft_q.REPORTED) and len(jobs) == len(set(jobs)) == 5 * (6 + 2)
    for job in jobs:
        assert job.cql_alpha in (0.0, best[job.algorithm, job.temperature])
        assert job.cql_alpha > 0 or (job.algorithm, job.form, job.temperature) in soft_q.WITHOUT


# ---------------------------------------------------------------- two equal modes: the ruler
@pytest.mark.parametrize("actions", [1, 2])
def test_the_boltzmann_policy_has_the_soft_value_of_quadrature(actions: int) -> None:
    world = two_peaks(actions)
    for temperature in soft_q.TEMPERATURES:
        (row,) = soft_q.measure_modes([ModesJob(actions, "boltzmann", temperature)])
        parts = [lambda x, t=temperature: world.bumps(x) / t] * actions
        exact = temperature * (float(log_partition_quadrature(parts)) - actions * math.log(2))
        assert row["true"] == pytest.approx(exact, abs=1e-4)
        assert row["least_mode"] == pytest.approx(0.5**actions) and row["total_variation"] == 0
        assert row["draw"] == "" and row["reward"] < actions


def test_a_gaussian_on_the_grid_is_the_packages_own() -> None:
    points = soft_q.grid(1)
    mean, log_std = torch.full_like(points, 0.4), torch.full_like(points, -1.0)
    share = soft_q.gaussian(points, mean, log_std)
    many = torch.full((200_000, 1), 1.0)
    drawn, _ = TanhGaussian(0.4 * many, -many).draw(torch.Generator().manual_seed(0))
    for point in (0.0, 0.3, 0.6):
        assert float(share[points[:, 0] < point].sum()) == pytest.approx(
            float((drawn < point).float().mean()), abs=5e-3
        )
    row = soft_q.describe(1, 0.1, share)
    exact = float(soft_q.objective(torch.tensor([0.4], dtype=torch.float64), -1.0, 0.1)) - 0.1 * math.log(2)
    assert row["true"] == pytest.approx(exact, abs=1e-5)


def test_the_best_gaussian_takes_one_mode_and_the_centred_one_is_a_local_optimum() -> None:
    means = torch.tensor([0.0, 0.01, 0.05, 0.1, 0.2], dtype=torch.float64)
    for temperature in (0.05, 0.2):
        (mean, width), (middle, log_std) = (soft_q.best_gaussian(temperature, centred) for centred in (False, True))
        assert mean > 0.5 and middle == 0
        near = soft_q.objective(means, log_std, temperature)
        assert bool((near[1:] < near[0]).all())
        best = soft_q.objective(torch.tensor([mean], dtype=torch.float64), width, temperature)
        assert float(best) > float(near[0]) + 0.1
        wider = (
            soft_q.objective(means[:1], log_std + 0.1, temperature),
            soft_q.objective(means[:1], log_std - 0.1, temperature),
        )
        assert max(map(float, wider)) < float(near[0])


def test_resampling_on_the_grid() -> None:
    """Two candidates: the integral in full; many: softmax; and the agent's own draws."""
    points = soft_q.grid(1)
    scores = two_peaks(1).reward_function(points) / 0.1
    full = torch.sigmoid(scores[:, None] - scores).mean(-1)
    torch.testing.assert_close(soft_q.resampled(scores, scores[:, None]), full / full.sum(), rtol=1e-3, atol=1e-9)
    others = scores[torch.randint(len(scores), (200, 4000), generator=torch.Generator().manual_seed(0))]
    assert float((soft_q.resampled(scores, others) - soft_q.boltzmann(scores)).abs().sum()) < 0.02
    shape = {"state_dim": 1, "action_dim": 1, "hidden_dim": 8, "device": "cpu"}
    agent: Any = make_agent("soft-q", {**shape, "temperature": 0.02, "n_acting_candidates": 4})
    drawn = agent.policy()(torch.zeros(40_000, 1), torch.Generator().manual_seed(1))[:, 0]
    with torch.no_grad():
        own = agent.least_q(torch.zeros(1, 1), points[None].float())[0].double() / 0.02
    law = soft_q.resampled(own, own[torch.randint(len(own), (4000, 3), generator=torch.Generator().manual_seed(2))])
    for point in (-0.5, 0.0, 0.5):
        assert float(law[points[:, 0] < point].sum()) == pytest.approx(float((drawn < point).float().mean()), abs=0.02)
    assert abs(float(law[points[:, 0] < 0].sum()) - 0.5) > 0.05  # not the uniform distribution


def test_the_critics_of_one_step_need_no_temperature() -> None:
    """Why one agent serves every temperature and number of candidates."""
    data = soft_q.modes_log(1, 0)
    found = []
    for temperature, many in ((0.05, 4), (0.2, 256)):
        settings = soft_q.modes_settings(1, data, 0) | {"temperature": temperature, "n_acting_candidates": many}
        agent: Any = make_agent("soft-q", settings)
        fit(agent, data, 5, batch_size=16, progress=False)
        found.append(agent.q_values(data.observations[:9], data.actions[:9]))
    assert torch.equal(*found)
    assert bool(data.terminations.all()) and torch.equal(data.rewards, two_peaks(1).reward_function(data.actions))


# ---------------------------------------------------------------- the maze: two truths
def test_the_simulation_gives_the_packages_values() -> None:
    world, temperature = Maze(), 0.3
    observations = maze_data(soft_q.COMMON).observations[::400][:20]
    actions = torch.zeros(len(observations), 2)
    shape = {"state_dim": 2, "action_dim": 2, "hidden_dim": 8, "device": "cpu", "n_acting_candidates": 8}
    for policy in (UniformPolicy(world), make_agent("soft-q", shape).policy()):
        rewards, information = soft_q.simulate(world, policy, world.states_of(observations), actions)
        for weight, returns in ((0.0, rewards), (temperature, rewards + temperature * information)):
            value, half = true_q(world, policy, observations, actions, 0.95, temperature=weight, rollouts=8)
            mean, own = soft_q.pooled(returns)
            assert mean == pytest.approx(float(value.mean()), abs=own + float(half.mean()) / 2)
    entropy = -0.95 * (1 - 0.95**soft_q.CUT) / 0.05 * -math.log(4)  # of the uniform policy, without noise
    _, information = soft_q.simulate(world, UniformPolicy(world), world.states_of(observations), actions)
    assert torch.allclose(information, torch.full_like(information, entropy))


def test_the_sum_form_is_the_mean_form_with_a_bonus() -> None:
    """In a world that never ends the constant moves every value alike, and nothing else."""
    data, found = maze_data(1000), []
    for form in ("mean", "sum"):
        job = MazeJob("soft-q", form, 1.0, 0.1, 1000)
        shape = {"state_dim": 2, "action_dim": 2, "dtype": "float64", "hidden_dim": 8}
        agent: Any = make_agent("soft-q", {**soft_q.maze_settings(job, data), **shape})
        fit(agent, data, 10, batch_size=16, progress=False)
        found.append(agent.q_values(data.observations[:50], data.actions[:50]))
    shift = 0.95 * 2 * math.log(2) / 0.05
    torch.testing.assert_close(found[1] - found[0], torch.full_like(found[0], shift), rtol=0, atol=1e-5)


# ---------------------------------------------------------------- what is said of the rows
def test_what_is_said_of_the_modes() -> None:
    """The data sheet's note and docs/results.md."""
    frame = read_frame("soft-modes")
    learned = frame[frame["draw"].notna()]
    # The grid's reward is that of the agent's own 1,000 actions, whose rewards have a standard deviation below 0.6.
    assert float((learned["reward"] - learned["reward_drawn"]).abs().max()) < 3.5 * 0.6 / math.sqrt(soft_q.DRAWN)
    assert ((learned["predicted"] - learned["true"] - learned["estimation_error"]).abs() < 2e-5).all()
    middle: dict[float, int] = {}
    for (actions, temperature), some in frame.groupby(["actions", "temperature"]):
        by_policy = {name: of for name, of in some.groupby("policy")}
        exact, best, centred = (by_policy[name].iloc[0] for name in ("boltzmann", "best-gaussian", "centred-gaussian"))
        assert (some["true"] <= exact["true"] + 1e-6).all()
        assert best["least_mode"] < 1e-6 and best["in_modes"] > 0.99 and best["reward"] > 0.99 * exact["reward"]
        if temperature < 0.2:
            assert exact["true"] - best["true"] == pytest.approx(actions * temperature * math.log(2), rel=0.03)
        assert centred["true"] < best["true"] and centred["reward"] < 0.5 * exact["reward"]
        actors = by_policy["gaussian"]
        between = actors["reward"] < 0.5 * exact["reward"]
        assert ((actors["reward"] - centred["reward"]).abs()[between] < 0.03).all()
        assert ((actors["true"] < best["true"] + 1e-4) & ~(between & in_one_mode(actors))).all()
        middle[temperature] = middle.get(temperature, 0) + int(between.sum())
        energy = by_policy["energy"].groupby("candidates")
        assert not in_one_mode(by_policy["energy"]).any()
        few, distance = energy.get_group(4), energy["total_variation"]
        assert distance.min()[4] > (10 if actions == 1 else 2) * distance.max()[256] and few["reward"].std() < 0.01
        assert (few["reward"] < 0.82 * exact["reward"]).all()
        assert (energy.get_group(256)["least_mode"] > (0.45 if actions == 1 else 0.05)).all()
    assert middle == {0.05: 2, 0.1: 17, 0.2: 20}
    far = learned[(learned["candidates"] == 64) & (learned["temperature"] == 0.05)].groupby("actions")[
        "total_variation"
    ]
    assert far.mean()[2] > 10 * far.mean()[1]
    # More candidates do not mend the tilt.
    two = learned[(learned["actions"] == 2) & (learned["policy"] == "energy") & (learned["candidates"] > 4)]
    least = two.groupby(["temperature", "candidates"])["least_mode"].mean()
    assert all(least[0.05][many] < least[0.2][many] for many in (16, 64, 256)) and least[0.05][256] < least[0.05][16]


def test_what_is_said_of_the_maze() -> None:
    """The data sheet's note and docs/results.md."""
    frame, rows = read_reported("soft-maze"), read_rows("soft-maze")
    keys = frame[["algorithm", "form", "temperature", "cql_alpha"]].astype(object).fillna("")
    by_draw = {
        (algorithm, form, temperature, alpha): some.set_index("draw")
        for (algorithm, form, temperature, alpha), some in frame.groupby([keys[name] for name in keys])
    }
    assert {key[3] for key in by_draw} == {"0", "0.02"} and all(
        soft_q.tuned_alpha(rows, algorithm, temperature) == min(soft_q.ALPHAS)
        for algorithm, _, temperature in soft_q.TUNED
    )
    penalised = {key[:3]: some for key, some in by_draw.items() if key[3] == "0.02"}
    assert set(penalised) == set(soft_q.FORMS) and len(by_draw) == len(penalised) + 2
    for some in penalised.values():
        assert (some["success"] == 1).all() and (some["own_error"] < 0).all() and len(some) == 5
    for key, reached in {("soft-q", "mean", 0.1, "0"): 2, ("cql", "", "", "0"): 3}.items():
        assert sorted(by_draw[key]["success"]) == [0] * (5 - reached) + [1] * reached
    for temperature, shift in ((0.1, 2.6), (1.0, 26.3)):
        less, more = (penalised["soft-q", form, temperature] for form in ("mean", "sum"))
        constant = 0.95 * temperature * 2 * math.log(2) / 0.05
        assert constant == pytest.approx(shift, abs=0.05)
        assert t_interval(list(more["predicted"] - less["predicted"]))[0] == pytest.approx(constant, rel=0.01)
        for name in ("return", "return_sampled", "own_error"):
            difference, half = t_interval(list(more[name] - less[name]))
            assert abs(difference) < half
        assert (less["estimation_error"] < -4).all()
    assert (penalised["soft-q", "sum", 0.1]["estimation_error"] < 0).all()
    assert (penalised["soft-q", "sum", 1.0]["estimation_error"] > 10).all()
    warm, cold = (penalised["soft-q", "mean", temperature]["return_sampled"].mean() for temperature in (1.0, 0.1))
    assert 0.6 < warm / cold < 0.72
    cql, expected = penalised["cql", "", ""], penalised["soft-q", "expected", 0.1]
    others = [some for form, some in penalised.items() if form[0] == "soft-q"]
    assert all((cql["return"] > some["return"]).all() for some in others)
    for name in ("return", "return_sampled"):
        difference, half = t_interval(list(expected[name] - penalised["soft-q", "mean", 0.1][name]))
        assert abs(difference) < half


# ---------------------------------------------------------------- a run from end to end
@pytest.mark.slow
def test_a_small_run_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STEPS": 10, "NUMBERS": 50, "MAZE_STEPS": 10, "STARTS": 5, "STATES": 8, "CUT": 10}.items():
        monkeypatch.setattr(soft_q, name, value)
    jobs = [ModesJob(2, "energy", 0.1, many, 100) for many in (4, 16)]
    rows = soft_q.measure_modes(jobs) + soft_q.measure_modes([ModesJob(2, "gaussian", 0.1, "", 100)])
    for row in rows:
        assert (
            row["estimation_error"] == pytest.approx(row["predicted"] - row["true"]) and 0 < row["total_variation"] < 1
        )
        assert set(row) <= set(soft_q.MODES_COLUMNS)
    for job in (
        MazeJob("soft-q", "sum", 1.0, 0.1, 1000),
        MazeJob("cql", "", "", 0.0, 1000),
        MazeJob("cql", "", "", 0.1, 2000),
    ):
        (row,) = soft_q.measure_maze([job])
        assert set(row) <= set(soft_q.MAZE_COLUMNS) and row["split"] == ("tune" if job.draw == 2000 else "report")
        assert ("true" in row) == (row["split"] == "report") and json.loads(row["settings"])[
            "cql_alpha"
        ] == job.cql_alpha
        if job.algorithm == "cql" and job.draw != 2000:
            assert row["own_error"] == row["estimation_error"]
