"""The table of alpha: its runs, its logs, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from textwrap import fill
from typing import Any

import pytest
import torch

from cql_tutorial.networks import pre_tanh_of
from experiments import alpha, alpha_tables
from experiments.alpha import LOGS, Job
from experiments.report import RULE_MARKS
from experiments.storage import read_rows
from tests import ROOT

torch.set_num_threads(1)


def test_the_stages_hold_every_run_once_and_tune_apart() -> None:
    jobs = [job for stage in alpha.stages() for job in stage([])]
    assert len(jobs) == len({alpha.STUDY.key_of_job(job) for job in jobs})
    assert not set(alpha.TUNING) & set(alpha.REPORTED) and alpha.COMMON not in (*alpha.TUNING, *alpha.REPORTED)
    for name in LOGS:
        mine = [job for job in jobs if (job.log, job.variant, job.unit) == (name, "cql", 1.0)]
        assert len(mine) == len(alpha.ALPHAS) * (len(alpha.TUNING) + len(alpha.REPORTED))
    first = alpha.STUDY.jobs()
    assert {job.draw for job in first} == set(alpha.TUNING)
    assert {job.log for job in jobs if job.unit != 1} == {name for name, log in LOGS.items() if log.unit}


def test_another_unit_changes_the_rewards_alone_and_values_are_read_in_the_world_s() -> None:
    data = alpha.arm_data("narrow", 3)
    tenfold = alpha.scaled(data, 10.0)
    torch.testing.assert_close(tenfold.rewards, 10 * data.rewards)
    for name in ("observations", "actions", "terminations", "truncations", "episode_starts"):
        assert torch.equal(getattr(tenfold, name), getattr(data, name))
    own, other = (alpha.agent_settings(Job("arm-narrow", "cql", 5.0, 3, 10.0), log) for log in (data, tenfold))
    assert other["initial_value"] == pytest.approx(10 * own["initial_value"])


def test_a_run_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOGS, "maze", replace(LOGS["maze"], steps=10))
    monkeypatch.setattr(alpha, "STARTS", 5)
    monkeypatch.setattr(alpha, "STATES", 5)
    plain, held = (
        alpha.measure([Job("maze", "cql", a, 20) for a in (0.0, 5.0)]),
        alpha.measure([Job("maze", "lagrange", 1.0, 20)]),
    )
    rows: list[dict[str, Any]] = [*plain, *held]
    assert all(set(row) <= set(alpha.COLUMNS) and row["split"] == "report" for row in rows)
    assert [row["log_multiplier"] for row in plain] == [0.0, 5.0] and held[0]["log_multiplier"] != 1
    assert all(row["estimation_error"] == pytest.approx(row["predicted"] - row["true"], abs=1e-4) for row in rows)


def test_a_clone_of_wide_actions_lies_near_uniform() -> None:
    class Agent:
        """A standard normal before tanh, wherever it is."""

        class actor:
            def __init__(self, observations: torch.Tensor) -> None:
                self.many = len(observations)

            def log_prob(self, u: torch.Tensor) -> torch.Tensor:
                normal = torch.distributions.Normal(0.0, 1.0).log_prob(u).sum(-1)
                return normal - torch.log1p(-torch.tanh(u).square()).sum(-1)

        @classmethod
        def log_prob(cls, observations: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
            return cls.actor(observations).log_prob(pre_tanh_of(actions))

    data = alpha.arm_data("uniform", 3)
    # KL(uniform || tanh-normal) in closed form by quadrature, one dimension: the estimate is minus that, six times.
    a = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 100_000 - 1
    log_p = Agent.actor(a[:, None]).log_prob(torch.atanh(a)[:, None])
    wanted = 6 * float(log_p.mean() + torch.log(torch.tensor(2.0)))
    assert alpha.clone_divergence(Agent, data) == pytest.approx(wanted, abs=0.03)


def test_the_sentence_on_the_page_is_that_of_the_rows() -> None:
    rows = read_rows("alpha")
    sentence, page = alpha_tables.rule_sentence(rows), (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert fill(sentence, 120) == page.split(RULE_MARKS[0])[1].split(RULE_MARKS[1])[0].strip()
    assert all(row["log"] in LOGS and int(row["draw"]) in (*alpha.TUNING, *alpha.REPORTED) for row in rows)
    complete = [ladder.log for ladder in alpha_tables.complete_logs(rows)]
    text = "\n".join(alpha_tables.sheet())
    assert all(f"\n| {name} |" in text for name in complete)


def test_the_sentence_counts_what_is_told_apart() -> None:
    def rows(log: str, slope: float) -> list[dict[str, str]]:
        return [
            {"log": log, "variant": "cql", "cql_alpha": f"{a:g}", "unit": "1", "draw": str(draw), "log_return": "1",
             "split": "tune" if draw in alpha.TUNING else "report", "return": f"{slope * a + 0.01 * (draw % 3) * a}",
             "estimation_error": "0", "log_cql_gap": f"{-a}"}
            for a in alpha.ALPHAS for draw in (*alpha.TUNING, *alpha.REPORTED)
        ]  # fmt: skip

    said = alpha_tables.rule_sentence([*rows("pendulum-random", -1.0), *rows("arm-uniform", 1.0)])
    assert "tested on 2 kinds of log" in said and "on 1 of them" in said
    assert "loses up to 50 % of the spread between best and worst alpha (pendulum-random)" in said
