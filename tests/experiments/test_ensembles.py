"""Two critics beside ten: what is measured, of which runs, and that the sentences say what the rows say."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from cql_tutorial.datasets.recording import record
from cql_tutorial.envs import Bandit
from cql_tutorial.envs.base import UniformPolicy
from cql_tutorial.errors import CQLWarning
from cql_tutorial.evaluation import t_interval
from experiments import ensembles, headline
from experiments import ensembles_tables as tables
from experiments.storage import RESULTS

torch.set_num_threads(1)


class Shifted:
    """An agent whose critics are the truth of a bandit plus a number each, and one of them more where a > 0."""

    def __init__(self, world: Bandit, reduction: str) -> None:
        self.world = world
        self.config = SimpleNamespace(discount=0.95, actor_reduction=reduction)

    def policy(self) -> Any:
        return UniformPolicy(self.world)

    def q_values(self, observations: Tensor, actions: Tensor) -> Tensor:
        truth = self.world.reward_function(actions)
        return torch.stack([truth + 1.0, truth + 2.0, truth + 6.0])


@pytest.mark.parametrize(("reduction", "climbed"), [("min", 1.0), ("mean", 3.0)])
def test_errors_and_spread_are_those_of_known_critics(reduction: str, climbed: float) -> None:
    world = Bandit(actions=1)
    common = record(world, UniformPolicy(world), 300, seed=0)
    row = ensembles.measure_values(Shifted(world, reduction), world, common)
    assert row["estimation_error"] == pytest.approx(climbed, abs=1e-5)
    assert row["error_min"] == pytest.approx(1.0, abs=1e-5) and row["error_mean"] == pytest.approx(3.0, abs=1e-5)
    assert row["error_data"] == pytest.approx(climbed, abs=1e-5) == row["error_uniform"]
    assert row["error_sd"] == pytest.approx(0.0, abs=1e-5)  # the same everywhere
    for name in ("spread", "spread_data", "spread_uniform"):  # n - 1: (4 + 1 + 9) / 2 = 7
        assert row[name] == pytest.approx(7**0.5, abs=1e-5)
    assert set(ensembles.VALUES) <= set(row)


def test_rank_correlation_is_spearmans() -> None:
    first, second = torch.tensor([0.1, 0.4, 0.2, 9.0, 0.3]), torch.tensor([1.0, 3.0, 5.0, 4.0, 2.0])
    apart = torch.tensor([0.0, 1.0, 3.0, 1.0, 1.0])  # ranks 0 3 1 4 2 and 0 2 4 3 1
    assert ensembles.rank_correlation(first, second) == pytest.approx(1 - 6 * float((apart**2).sum()) / (5 * 24))
    assert ensembles.rank_correlation(first, first.exp()) == pytest.approx(1.0)
    assert ensembles.rank_correlation(first, -first) == pytest.approx(-1.0)


def test_the_runs_are_what_is_said() -> None:
    online = list(ensembles.online_jobs())
    for updates in ensembles.UPDATES_PER_STEP:
        here = {(job.variant, job.seed) for job in online if job.updates_per_step == updates}
        names = {"two-min", "ten-pair-mean"} | ({"two-from-zero"} if updates == 1 else set())
        assert here == {(name, seed) for name in names for seed in ensembles.ONLINE_SEEDS}
    offline = list(ensembles.offline_jobs())
    tuned = float(headline.chosen_alpha("maze"))
    for alpha, count in ((0.0, 10), (tuned, 5)):
        draws = {job.draw for job in offline if job.cql_alpha == alpha}
        assert len(draws) == count
        assert [job.variant for job in offline if (job.cql_alpha, job.draw) == (alpha, 1000)] == list(
            ensembles.ENSEMBLES
        )
    tuning = {job.draw for job in headline.maze_jobs() if job.split == "tune"}
    assert not tuning & {job.draw for job in offline} and ensembles.COMMON not in {job.draw for job in offline} | tuning
    assert {ensembles.population_key(job) for job in offline} == {
        (agent, name) for agent in ("sac", "cql") for name in ensembles.ENSEMBLES
    }


@pytest.mark.parametrize(("variant", "alpha"), [("ten-pair-mean", 0.0), ("ten-min", 0.02)])
def test_an_offline_run_end_to_end(variant: str, alpha: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensembles, "OFFLINE_STARTS", 4)
    monkeypatch.setattr(ensembles, "STATES", 5)
    (row,) = ensembles.measure_offline([ensembles.OfflineJob(variant, alpha, 1000)], steps=3)
    assert set(row) == set(ensembles.OFFLINE_COLUMNS)
    settings = json.loads(row["settings"])
    assert settings["n_critics"] == 10 and settings["steps"] == 3 and settings["backup_entropy"] is False
    assert (settings.get("target_subset"), settings.get("cql_alpha", 0.0)) == (2 if "pair" in variant else None, alpha)
    climbed = row["error_mean"] if variant.endswith("mean") else row["error_min"]
    assert row["estimation_error"] == pytest.approx(climbed, abs=1e-6)  # float32 critics
    assert row["error_min"] < row["error_mean"] and row["spread"] > 0


def test_an_online_run_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows at the evaluations; the critics make so many updates a step, the actor one."""
    made: list[Any] = []
    monkeypatch.setattr(ensembles, "make_agent", lambda *given: made.append(ensembles_agent(*given)) or made[-1])
    for name, value in (
        ("ONLINE_STEPS", 12),
        ("WARM_UP", 8),
        ("EVALUATE_EVERY", 4),
        ("ONLINE_STARTS", 3),
        ("STATES", 4),
    ):
        monkeypatch.setattr(ensembles, name, value)
    with pytest.warns(CQLWarning):  # of a log of eight steps
        rows = ensembles.measure_online([ensembles.OnlineJob("ten-pair-mean", 5, seed=3)])
    assert [(row["step"], row["updates"]) for row in rows] == [(0, 0), (4, 0), (8, 0), (12, 20)]
    assert all(set(row) == set(ensembles.ONLINE_COLUMNS) for row in rows)
    assert rows[0]["return"] == rows[2]["return"] != rows[3]["return"]
    (agent,) = made
    steps = {name: {int(s["step"]) for s in agent.optimizers[name].state.values()} for name in agent.optimizers}
    assert steps == {"critic": {20}, "actor": {4}, "temperature": {4}}
    assert agent.config.n_critics == 10 and agent.config.target_subset == 2 and agent.config.actor_reduction == "mean"
    assert agent.config.initial_value < -20  # mean reward for ever


ensembles_agent = ensembles.make_agent


# ---------------------------------------------------------------- what the pages say of the rows
def test_what_is_said_of_the_critics_spread() -> None:
    """docs/results.md: critics agree where all of them are wrong; the minimum over ten errs less, and earns no more."""
    frame = tables.read_reported(tables.OFFLINE)
    rms = (frame["estimation_error"] ** 2 + frame["error_sd"] ** 2 * (1 - 1 / ensembles.STATES)) ** 0.5
    assert len(frame) == 60 and (frame["spread"] < 0.1 * rms).all()
    none = frame[frame["cql_alpha"] == "0"]
    assert (none["spread"] > 4 * none["spread_data"]).all()
    two = tables.offline_runs("two-min", "0")
    for variant, less in (("ten-pair-mean", False), ("ten-pair-min", False), ("ten-min", True)):
        mine = tables.offline_runs(variant, "0")
        error, half = t_interval((mine["estimation_error"] - two["estimation_error"]).tolist())
        assert (error + half < 0) == less and (less or abs(error) < half)
        earned, half = t_interval((mine["return"] - two["return"]).tolist())
        assert abs(earned) < half
        assert mine["success"].min() < 0.05 and mine["success"].max() > 0.95  # all or nothing
    error, half = t_interval(tables.offline_runs("ten-min", "0")["estimation_error"].tolist())
    assert error - half > 0 and error + half < 6  # not gone
    tuned = f"{headline.chosen_alpha('maze')}"
    for variant in ensembles.ENSEMBLES:  # with the penalty they all earn the same
        mine = tables.offline_runs(variant, tuned)
        assert (mine["success"] == 1).all()
        assert abs(mine["return"].mean() - tables.offline_runs("two-min", tuned)["return"].mean()) < 1


def test_the_tables_are_shown() -> None:
    sheet = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert "\n".join(tables.online_sheet()) in sheet and "\n".join(tables.offline_sheet()) in sheet
