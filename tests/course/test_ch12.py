"""Chapter 12: each bug is the mistake that its source describes, and each test tells it from right code."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
import torch

from cql_tutorial import CQLAgent, losses
from cql_tutorial.course import SESSION
from cql_tutorial.course.checker import check_answer
from cql_tutorial.course.exercises import ch12
from cql_tutorial.course.silent_bugs import BUGS, end_rows
from cql_tutorial.course.studies import ch12 as study
from cql_tutorial.course.studies.common import result_rows
from cql_tutorial.networks import MAX_ACTION

torch.set_num_threads(1)
DOUBLE = torch.float64


def agent_of(name: str, **changes: object) -> CQLAgent:
    return study.of_bug(BUGS[name], CQLAgent, **study.small_settings(seed=3, **changes))


# ---------------------------------------------------------------- the bugs
def test_every_bug_names_its_source_and_what_it_changes() -> None:
    for bug in BUGS.values():
        assert all(link.startswith("https://github.com/") for link in bug.source.split())
        assert sum(part is not None for part in (bug.agent, bug.log, bug.resume, bug.load)) == 1
        assert bug.base in study.BASES and len(bug.says.split()) > 5 and "``" not in bug.says
    assert len(BUGS) >= 12 and len({bug.title for bug in BUGS.values()}) == len(BUGS)


def test_a_lost_reshape_is_the_mean_over_groups_of_three_by_a_slow_loop() -> None:
    agent, n = agent_of("reshape_lost"), 4
    q, density, data = torch.randn(2, 3, 12, dtype=DOUBLE), torch.randn(3, 12, dtype=DOUBLE), torch.randn(2, 3)
    for critic, found in enumerate(agent.penalty(q, density, data.double()).tolist()):
        terms = []
        for state in range(3):
            for group in range(n):
                three = [
                    math.exp(float(q[critic, state, k] - density[state, k])) for k in (group, group + 4, group + 8)
                ]
                terms.append(math.log(sum(three) / 3) - float(data[critic, state]))
        assert found == pytest.approx(sum(terms) / len(terms), abs=1e-6)


def test_the_densities_and_candidates_are_those_of_their_sources() -> None:
    q, density, data = torch.zeros(2, 3, 12, dtype=DOUBLE), torch.zeros(3, 12, dtype=DOUBLE), torch.zeros(2, 3)
    density[:, :4] = -2 * losses.LOG_2
    swapped = agent_of("swapped_density").penalty(q, density, data.double())
    assert float(swapped[0]) == pytest.approx(math.log((4 * 2**-0.5 + 8) / 12))  # log 2^0.5 for log 0.5^2
    without = agent_of("no_uniform_density").penalty(q, density, data.double())
    assert float(without[0]) == pytest.approx(0.0)
    bound, half = agent_of("random_at_bound").draw_noise(64).uniform, agent_of("half_range").draw_noise(64).uniform
    assert bound is not None and half is not None
    assert bool((bound == MAX_ACTION).all()) and float(half.min()) >= 0.0 and float(half.max()) < 1.0


@pytest.mark.parametrize("multiplier", [0.5, 2.0, 4.0, 10.0])
def test_an_undetached_multiplier_weighs_the_penalty_by_one_minus_half_of_it(multiplier: float) -> None:
    settings = {"cql_lagrange": True, "cql_target_action_gap": -50.0}
    wrong = study.weight_of_the_penalty(agent_of("undetached", **settings), multiplier)
    right = study.weight_of_the_penalty(CQLAgent(study.small_settings(**settings)), multiplier)
    assert wrong == pytest.approx(1 - multiplier / 2, abs=1e-9) and right == pytest.approx(multiplier, abs=1e-9)


def test_a_frozen_multiplier_and_a_stale_temperature_never_move() -> None:
    frozen = agent_of("frozen", cql_lagrange=True, cql_target_action_gap=-50.0)
    stale = CQLAgent(study.small_settings())
    assert BUGS["stale_optimizer"].resume is not None
    BUGS["stale_optimizer"].resume(stale)
    before = frozen.log_multiplier.item(), stale.log_temperature.item()
    for batch in study.batches(0, 4):
        frozen.update(batch)
        stale.update(batch)
    assert (frozen.log_multiplier.item(), stale.log_temperature.item()) == before


def test_a_clone_of_another_sample_does_not_read_the_logged_actions() -> None:
    settings = {"state_dim": 3, "action_dim": 2, "hidden_dim": 8, "device": "cpu"}
    agents = [study.of_bug(BUGS["another_sample"], study.BCAgent, **settings) for _ in range(2)]
    for batch in study.batches(0):
        batch = {name: value.float() for name, value in batch.items()}
        agents[0].update(batch)
        agents[1].update({**batch, "actions": -batch["actions"]})
    first, second = (agent.state() for agent in agents)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_broken_logs_by_hand() -> None:
    log = study.arm_log(3, episodes=3)
    cut, doubled, mixed = (BUGS[name].log for name in ("time_limit", "flags_doubled", "next_episode"))
    assert cut is not None and doubled is not None and mixed is not None
    assert end_rows(log).tolist() == [39, 79, 119]
    assert cut(log).terminations.nonzero().flatten().tolist() == [39, 79, 119] and not cut(log).truncations.any()
    assert doubled(log).terminations.nonzero().flatten().tolist() == [38, 39, 78, 79, 118, 119]
    wrong = mixed(log)
    assert torch.equal(wrong.next_observations[39], log.observations[40])
    rest = [row for row in range(120) if row not in (39, 79)]
    assert torch.equal(wrong.next_observations[rest], log.next_observations[rest])


def test_runs_of_a_group_are_those_of_each_alone() -> None:
    logs = [study.arm_log(seed, episodes=4) for seed in (0, 1)]
    runs = [("fixed", None, logs[0], 0), ("fixed", BUGS["stale_optimizer"], logs[1], 1)]
    together = study.train_together(runs, steps=2 * study.LOG_EVERY)
    for run, found in zip(runs, together, strict=True):
        alone = study.train(*run, steps=2 * study.LOG_EVERY)
        assert [row["step"] for row in found.history.rows] == [study.LOG_EVERY, 2 * study.LOG_EVERY]
        for one, other in zip(found.history.rows, alone.history.rows, strict=True):
            assert one == pytest.approx(other, rel=1e-3, abs=1e-3)
    still = [row["temperature"] for row in together[1].history.rows]
    assert still[1] == pytest.approx(float(together[1].agent.temperature))


# ---------------------------------------------------------------- the tests of the chapter
@pytest.mark.parametrize("name", [name for name in study.TESTS if "clone" not in name])
def test_each_test_passes_right_code_and_fails_what_the_table_says(name: str) -> None:
    for seed in (21, 22):
        failed = {bug for bug in BUGS if not study.TESTS[name](BUGS[bug], seed)}
        assert study.TESTS[name](None, seed) and failed == set(study.CAUGHT[name])


@pytest.mark.slow
def test_the_test_of_a_clone() -> None:
    for seed in (21, 22):
        assert study.clone_finds_a_constant(None, seed)
        assert not study.clone_finds_a_constant(BUGS["another_sample"], seed)


def test_the_committed_table_holds_what_the_exercise_is_judged_by() -> None:
    rates = study.test_rates(result_rows("bug-tests"))
    assert set(rates) == {"healthy", *(bug.title for bug in BUGS.values())}
    assert all(rate == 0 for rate in rates["healthy"].values())
    for test, caught in study.CAUGHT.items():
        assert {name for name, bug in BUGS.items() if rates[bug.title][test] == 1} == set(caught)
        assert {rates[bug.title][test] for bug in BUGS.values()} <= {0.0, 1.0}
    assert len(ch12.suite(study.CAUGHT)) == ch12.MOST


def test_students_tests_hold_on_fresh_seeds() -> None:
    for name, (right, _) in study.PENALTIES.items():
        for seed in range(500, 510):
            numbers = study.penalty_numbers(seed)
            assert ch12.is_the_penalty(study.IMPLEMENTATIONS[name], *numbers) is right, (name, seed)
    for name, (right, _) in study.RESUMES.items():
        for seed in (600, 601):
            found = ch12.resumes_exactly(study.maker(seed), study.RESUME_FUNCTIONS[name], study.batches(seed + 9))
            assert found is right, (name, seed)


def said(id: str, function: Any) -> str:
    result = check_answer(SESSION.exercises[id], function)
    assert result.status in ("wrong", "crashed"), result
    return result.message


def test_the_formula_in_a_test_of_the_penalty_is_found_by_what_it_passes() -> None:
    q, density, data = study.penalty_numbers(3)
    right = losses.cql_penalty(q, density, data)
    values = {name: formula(q, density, data) for name, formula in study.FORMULAS.items()}
    for name, value in values.items():  # each is wrong, by value, or by its gradient alone
        assert "gradient" in name or value.shape != right.shape or not torch.allclose(value, right), name
    for name, formula in study.FORMULAS.items():

        def test(program: Any, q: Any, density: Any, data: Any, formula: Any = formula) -> bool:
            found, wanted = (each(q.clone().requires_grad_(), density, data) for each in (program, formula))
            if found.shape != wanted.shape or not wanted.requires_grad:
                return False
            return bool(torch.allclose(found, wanted))

        if "gradient" not in name:
            assert f"It passes a penalty {name}" in said("12.3", test), name
    assert "none of" in said("12.3", lambda *given: False) and "never calls" in said("12.3", lambda *given: False)
    loose = said("12.3", lambda program, q, p, d: torch.allclose(program(q, p, d), losses.cql_penalty(q, p, d), atol=1))
    assert "plus 0.1" in loose
    own = torch.tensor([[[0.0, 1.0, 2.0]]], dtype=DOUBLE)

    def of_one_candidate(program: Any, q: Any, density: Any, data: Any) -> bool:
        one, other = q.clone().requires_grad_(), q.clone().requires_grad_()
        found, wanted = program(one, density, data), losses.cql_penalty(other, density, data)
        if found.shape != wanted.shape or not found.requires_grad:
            return False
        moved, right = (torch.autograd.grad(x.sum(), y)[0] for x, y in ((found, one), (wanted, other)))
        return torch.allclose(found, wanted) and torch.allclose(moved[..., 0], right[..., 0])

    assert "pushes down the uniform candidates alone" in said("12.3", of_one_candidate)

    def by_hand(program: Any, q: Any, density: Any, data: Any) -> bool:
        return bool(torch.isclose(program(own, own[0] * 0, own[..., 0]), own.logsumexp(-1)[0] - math.log(3)))

    assert "never about the q that it is given" in said("12.3", by_hand)


@pytest.mark.slow
def test_what_a_test_of_a_resume_did_with_its_agents_is_counted() -> None:
    def equal(one: Any, other: Any) -> bool:
        left, right = one.state(), other.state()
        return all(torch.equal(left[name], right[name]) for name in left)

    def go_on(agent: Any, batches: Any) -> Any:
        for batch in batches:
            agent.update(batch)
        return agent

    def judged(test: Any, name: str, many: int = 3) -> str:
        make, resume, batches = study.Maker(1), study.Resume(name), study.batches(5, many)
        return ch12._judge_resume_test(test(make, resume, batches), make, resume, batches) or ""

    stale, right = "stale_temperature", "complete"
    for name, test, words in (
        (stale, lambda make, resume, batches: True, "calls neither make nor resume"),
        (stale, lambda make, resume, batches: equal(go_on(make(), batches), go_on(make(), batches)), "never calls"),
        (stale, lambda make, resume, batches: equal(*(go_on(resume(make()), batches) for _ in range(2))), "none goes"),
        (stale, lambda make, resume, batches: equal(make(), resume(make())), "no update after its resume"),
        (
            right,
            lambda make, resume, batches: equal(go_on(make(), batches[:-1]), go_on(resume(make()), batches)),
            "gets 2 updates, and the resumed one 3",
        ),
        (
            right,
            lambda make, resume, batches: equal(go_on(make(), batches), go_on(resume(make()), batches[::-1])),
            "in the same order",
        ),
    ):
        assert words in judged(test, name), words

    def first(make: Any, resume: Any, batches: Any) -> bool:
        one, other = (go_on(agent, batches).state() for agent in (make(), resume(make())))
        return torch.equal(one["parameter.log_temperature"], other["parameter.log_temperature"])

    assert "all* tensors" in judged(first, "lost_target", 1) and not judged(first, "lost_target", 2)

    def critics(make: Any, resume: Any, batches: Any) -> bool:
        one, other = (go_on(agent, batches).state() for agent in (make(), resume(make())))
        return all(torch.equal(one[name], other[name]) for name in one if "critic" in name)

    assert "all* tensors" in judged(critics, stale, 1) and not judged(critics, "lost_target", 1)
    assert not {"stale_temperature", "lost_target", "lost_moment"} ^ set(ch12.ONE_BATCH)

    def one_agent(make: Any, resume: Any, batches: Any) -> bool:
        one = make()
        other = resume(one)
        return equal(go_on(one, batches), go_on(other, batches))

    assert not judged(one_agent, right) and not judged(one_agent, stale)


def test_a_dictionary_that_was_changed_is_to_be_copied_and_a_missing_gradient_asked_for() -> None:
    def pops(caught: dict[str, list[str]]) -> list[str]:
        caught.pop("penalty by a slow loop")
        return list(caught)

    assert "for example dict(caught)" in said("12.6", pops) and ".clone()" not in said("12.6", pops)
    few = said("12.6", lambda caught: [name for name in ch12.suite(caught) if "clone" not in name])
    assert "one bug is caught by none of them: 'another_sample'" in few

    def backward(penalty: Any, q: Any, log_density: Any, q_data: Any) -> bool:
        penalty(q, log_density, q_data).sum().backward()
        return True

    assert "asks for a gradient: x = x.clone()" in said("12.3", backward)


def test_the_listing_has_one_wrong_line_and_mended_is_the_package() -> None:
    lines = study.LISTING.splitlines()
    assert len(lines) == 30 and "reshape" in lines[ch12.line_of_the_bug() - 1] and "=" not in lines[18]
    assert set(ch12.RIGHT_LINES) == set(range(1, 31)) - {ch12.line_of_the_bug()}
    for seed in range(3):
        listed, right, mended = study.listing_penalties(seed)
        assert mended == pytest.approx(right, abs=1e-12) and listed < right - 0.01


# ---------------------------------------------------------------- the table of runs
def test_a_curve_is_held_against_runs_that_are_not_reported() -> None:
    rows = result_rows("bugs")
    low, high = study.band(rows, "fixed", "q_value") or (0, 0)
    ends = [float(r["q_value"]) for r in rows if (r["bug"], r["base"], r["split"]) == ("none", "fixed", "tune")]
    width = max(ends) - min(ends)
    assert len(ends) == 5 and (low, high) == pytest.approx((min(ends) - width / 2, max(ends) + width / 2), abs=1e-6)
    reported = {row["draw"] for row in rows if row["split"] == "report"}
    assert not reported & {row["draw"] for row in rows if row["split"] == "tune"}
    assert {row["bug"] for row in rows} == {"none", *BUGS}
    for row in rows:
        curves = json.loads(row["curves"])
        assert len({len(values) for values in curves.values()}) == 1


def test_run_x_and_log_d_are_what_the_exercises_say() -> None:
    assert "stale" in ch12.SUSPECTS[ch12.bug_of_run_x()] and study.RUN_X == "stale_optimizer"
    assert "next" in ch12.DEFECTS[ch12.defect_of_log_d()] and study.LOG_D == "next_episode"
    rows = [row for row in result_rows("bugs") if row["bug"] == study.RUN_X]
    for row in rows:  # flat from the resume on, in every draw
        values = json.loads(row["curves"])["temperature"]
        assert max(values[len(values) // 2 :]) - min(values[len(values) // 2 :]) < 1e-6
        assert max(values[: len(values) // 2]) - min(values[: len(values) // 2]) > 1e-3
    right, wrong = (re.findall(r"by ([\d.]+) at", study.log_report(log)[-1])[0] for log in logs())
    assert float(wrong) > 10 * float(right)


def logs() -> list:
    log = study.arm_log(7, episodes=40)
    broken = BUGS[study.LOG_D].log
    assert broken is not None
    return [log, broken(log)]
