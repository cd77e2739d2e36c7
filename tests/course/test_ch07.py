"""Chapter 07: its reference answers against independent truths, its studies by brute force, and the table's script."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import t, ttest_1samp

from cql_tutorial import losses
from cql_tutorial.course import SESSION
from cql_tutorial.course.checker import check_answer
from cql_tutorial.course.exercises import ch07
from cql_tutorial.course.studies import ch07 as studies_07
from cql_tutorial.envs import Bandit
from cql_tutorial.errors import CQLWarning
from cql_tutorial.evaluation import log_partition_quadrature, t_interval
from experiments import wrong_penalties

torch.set_num_threads(1)

DOUBLE = torch.float64
EXERCISES = {id: exercise for id, exercise in SESSION.exercises.items() if id.startswith("07.")}
REGIONS = studies_07.Regions(policy=(0.3, 0.7), data=(-1.0, 0.0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=DOUBLE)


# ---------------------------------------------------------------- references
def test_the_push_down_is_the_gradient_of_the_log_integral() -> None:
    for seed in range(3):
        q, density = 3 * normal(6, 9, seed=seed), normal(6, 9, seed=seed + 50)
        q.requires_grad_()
        (gradient,) = torch.autograd.grad(losses.log_partition(q, density).sum(), q)
        found = ch07.push_down(q.detach(), density)
        torch.testing.assert_close(found, gradient, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.sum(1), torch.ones(6, dtype=DOUBLE))
    q, data = normal(1, 6, 9).requires_grad_(), normal(1, 6)
    (gradient,) = torch.autograd.grad(losses.cql_penalty(q, density, data).sum(), q)
    torch.testing.assert_close(ch07.push_down(q.detach()[0], density) / 6, gradient[0])


def test_effective_actions_counts() -> None:
    for k in (1, 2, 7, 30):
        equal = torch.full((3, k), 1 / k, dtype=DOUBLE)
        torch.testing.assert_close(ch07.effective_actions(equal), torch.full((3,), float(k), dtype=DOUBLE))
    weights = torch.softmax(2 * normal(5, 8), 1)
    found = ch07.effective_actions(weights)
    for b in range(5):
        total = 0.0
        for k in range(8):
            total += float(weights[b, k]) ** 2
        assert float(found[b]) == pytest.approx(1 / total, rel=1e-12)
    order = torch.randperm(8, generator=generator())
    torch.testing.assert_close(ch07.effective_actions(weights[:, order]), found)
    unused = torch.cat([weights, torch.zeros(5, 4, dtype=DOUBLE)], 1)
    torch.testing.assert_close(ch07.effective_actions(unused), found)  # candidates without a share change nothing
    halved = weights.repeat_interleave(2, 1) / 2
    torch.testing.assert_close(ch07.effective_actions(halved), 2 * found)  # each split in two: twice as many
    assert (found >= 1 / weights.amax(1)).all() and (found <= 8).all()


def test_uniform_hits_are_counted_by_throwing_actions() -> None:
    n, half_width, centre = 50, 0.15, torch.tensor([0.3, -0.6], dtype=DOUBLE)
    actions = 2 * torch.rand(4000, n, 2, generator=generator(), dtype=DOUBLE) - 1
    counts = ((actions - centre).abs() <= half_width).all(-1).sum(1)
    mean, half = t_interval(counts.double().tolist(), 0.99)
    assert abs(mean - ch07.uniform_hits(n, half_width, 2)) < half < 0.1
    assert abs(mean - ch07.uniform_hits(n, half_width, 1)) > 10 * half  # so fine that one dimension is told from two


def test_the_smallest_effect_is_found_in_four_experiments_of_five() -> None:
    n, sd, experiments = 10, 1.7, 4000
    level, power = float(t.ppf(0.975, n - 1)), float(t.ppf(0.8, n - 1))
    shape = torch.linspace(-1, 1, n, dtype=DOUBLE)
    known = sd * (shape - shape.mean()) / shape.std()  # a sample whose standard deviation is the true one
    effect = float(ch07.smallest_effect(known, level, power))
    assert effect == pytest.approx((level + power) * sd / math.sqrt(n))
    for true, share, slack in ((effect, 0.8, 0.03), (0.0, 0.05, 0.015)):
        draws = true + sd * normal(experiments, n, seed=1)
        rejected = ttest_1samp(draws.numpy(), 0.0, axis=1).pvalue < 0.05
        assert float(rejected.mean()) == pytest.approx(share, abs=slack)


@pytest.mark.parametrize("unit", [0.01, 0.1, 1.0, 3.0, 30.0, 100.0])
def test_the_whole_loss_in_another_unit_is_the_loss_times_the_unit_squared(unit: float) -> None:
    alpha, density = 2.5, normal(6, 9, seed=3)
    q, data, target = normal(6, 9), normal(6, seed=1), normal(6, seed=2)

    def whole(scale: float) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        leaves = ((scale * q).requires_grad_(), (scale * data).requires_grad_())
        loss = losses.td_loss(leaves[1][None], scale * target)[0]
        loss = loss + ch07.penalty_in_unit(*leaves[:1], density, leaves[1], alpha, scale)
        return loss.detach(), torch.autograd.grad(loss, leaves)

    value, gradients = whole(1.0)
    scaled, steeper = whole(unit)
    torch.testing.assert_close(scaled / unit**2, value, rtol=1e-12, atol=1e-12)
    for mine, there in zip(gradients, steeper, strict=True):  # per unit: values are `unit` times as far apart
        torch.testing.assert_close(there / unit, mine, rtol=1e-12, atol=1e-12)
    right = alpha * losses.cql_penalty(q[None], density, data[None])[0]
    torch.testing.assert_close(ch07.penalty_in_unit(q, density, data, alpha, 1), right, rtol=1e-12, atol=1e-12)


def test_no_critic_on_a_grid_brings_the_gap_below_the_floor() -> None:
    """L-BFGS over all tables of 60 cells, on the midpoints of a grid; expectations exact."""
    cells = 60
    middle = (torch.arange(cells, dtype=DOUBLE) + 0.5) * 2 / cells - 1
    share = torch.softmax(-0.5 * ((middle + 0.3) / 0.4) ** 2, 0)
    log_behaviour = (share * cells / 2).log()  # a share of a cell, over its width

    def gap(values: Any) -> tuple[float, Any]:
        q = torch.tensor(values, dtype=DOUBLE, requires_grad=True)
        soft = torch.logsumexp(q, 0) + math.log(2 / cells)
        loss = soft - (share * q).sum() - math.log(2)
        loss.backward()
        return float(loss.detach()), q.grad.numpy()

    best = minimize(gap, normal(cells).numpy(), jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10})
    counts = (share * 1e7).round().long()  # a log in which each cell is as frequent as the behaviour says
    floor = float(ch07.lowest_gap(log_behaviour.repeat_interleave(counts), 1))
    assert floor == pytest.approx(-float((share * (share * cells).log()).sum()), abs=1e-6)  # minus KL to uniform
    assert float(best.fun) == pytest.approx(floor, abs=1e-6) and best.fun > floor - 1e-6
    at_behaviour = gap(log_behaviour.numpy())[0]
    assert at_behaviour == pytest.approx(floor, abs=1e-6)
    drawn = log_behaviour[torch.multinomial(share, 20_000, replacement=True, generator=generator())]
    mean, half = t_interval((-drawn - math.log(2)).tolist(), 0.99)
    assert float(ch07.lowest_gap(drawn, 1)) == pytest.approx(mean) and abs(mean - floor) < half


# ---------------------------------------------------------------- answers that students gave
@pytest.mark.parametrize(
    ("id", "answer", "mutant"),
    [
        ("07.1", lambda q, d: torch.softmax(q, 1) / d.exp(), "sum without densities"),
        ("07.1", lambda q, d: torch.softmax(-(q - d), 1), "sign of Q"),
        ("07.2", lambda w: (1 / w.pow(2).sum(1)).round(), "rounded"),
        ("07.3", lambda n, h, d: round(n * h**d), "rounded"),
        ("07.6", lambda b, d: -d * math.log(2), "behaviour forgotten"),
    ],
)
def test_answers_alike_by_the_example_s_numbers_get_a_message_that_fits_both(id: str, answer: Any, mutant: str) -> None:
    assert check_answer(EXERCISES[id], answer).mutant == mutant


# ---------------------------------------------------------------- studies: one update
def test_exact_shares_are_those_of_a_brute_force_sum() -> None:
    for actions, cells in ((1, 40_000), (2, 1000)):
        world = Bandit(actions=actions)
        middle = (torch.arange(cells, dtype=DOUBLE) + 0.5) * 2 / cells - 1
        grid = torch.cartesian_prod(*[middle] * actions).view(-1, actions)
        weights = torch.softmax(world.reward_function(grid), 0)
        found = REGIONS.exact(world)
        assert sum(found) == pytest.approx(1) and min(found) > 0
        for region, share in zip((REGIONS.policy, REGIONS.data), found[:2], strict=True):
            box = ((grid > region[0]) & (grid < region[1])).all(1)
            assert float(weights[box].sum()) == pytest.approx(share, abs=2e-4)
        torch.testing.assert_close(
            torch.tensor(REGIONS.shares(grid, weights), dtype=DOUBLE),
            torch.tensor(found, dtype=DOUBLE),
            atol=4e-4,
            rtol=0,
        )


def test_one_update_with_many_candidates_is_right_where_it_should_be() -> None:
    world, names = Bandit(actions=2), ("correct", "mixture", "hard_max", "uniform_only", "no_importance_correction")
    errors, shares = studies_07.one_update(world, 0.55, 0.15, names, REGIONS, generator(), n=400, batch=16, repeats=60)
    assert set(errors) == set(names) and set(shares) == {"exact", *names}
    for name in names:
        assert errors[name].shape == (60,) and sum(shares[name]) == pytest.approx(1)
        assert min(shares[name]) > -1e-9
    mean, half = t_interval(errors["mixture"].tolist(), 0.99)
    assert abs(mean) < half < 0.02  # the logarithm is biased by 1 / n only
    torch.testing.assert_close(torch.tensor(shares["mixture"]), torch.tensor(shares["exact"]), atol=0.02, rtol=0)
    assert shares["hard_max"][0] > 0.99 and shares["no_importance_correction"][0] > 2 * shares["exact"][0]
    top = 2 * math.log(2) + 2 * float(world.bumps(torch.tensor(0.5)))
    exact = float(log_partition_quadrature(world.per_dimension))
    assert float(errors["hard_max"].mean()) == pytest.approx(top - 2 * math.log(2) - exact, abs=0.02)


def test_the_gradient_s_shares_are_the_exercise_s() -> None:
    """One mini-batch drawn again from the same generator, pushed by the reference answer."""
    world, n, batch, repeats = Bandit(), 10, 8, 5
    mean, sd = 0.5, 0.3
    _, shares = studies_07.one_update(world, mean, sd, ["correct"], REGIONS, generator(3), n, batch, repeats)
    draw = generator(3)
    uniform = 2 * torch.rand(repeats, batch, n, 1, generator=draw, dtype=DOUBLE) - 1
    u = mean + sd * torch.randn(repeats, batch, n, 1, generator=draw, dtype=DOUBLE)
    a = torch.cat([uniform, u.tanh()], 2)[..., 0]
    log_pi = torch.distributions.Normal(mean, sd).log_prob(u[..., 0]) - (1 - u[..., 0].tanh() ** 2).log()
    density = torch.cat([torch.full_like(log_pi, -math.log(2)), log_pi], 2)
    push = ch07.push_down(world.bumps(a).view(-1, 2 * n), density.view(-1, 2 * n))
    for (low, high), share in zip((REGIONS.policy, REGIONS.data), shares["correct"][:2], strict=True):
        inside = ((a > low) & (a < high)).view(-1, 2 * n)
        assert float((push * inside).sum(1).mean()) == pytest.approx(share, abs=1e-5)


# ---------------------------------------------------------------- studies: the plane
def test_the_plane_is_a_log_beside_a_policy() -> None:
    plane = studies_07.Plane()
    torch.testing.assert_close(plane.behaviour.sum(1), torch.ones(41, dtype=DOUBLE))
    near = (plane.actions - plane.peak[:, None]).abs() <= 0.24
    assert float((plane.behaviour * near).sum(1).amax()) < 0.35  # hardly a logged action where the policy sits
    at_peak = plane.truth.gather(1, ((plane.peak + 1) * 40).round().long()[:, None])
    assert at_peak.shape == (41, 1) and float((plane.truth.amax(1) - at_peak[:, 0]).max()) < 0.05


def test_the_right_penalty_pushes_each_state_once_and_repeats_itself() -> None:
    plane = studies_07.Plane()
    q, pushed = plane.fitted("correct", steps=60, seed=4)
    again, pushed_again = plane.fitted("correct", steps=60, seed=4)
    other, _ = plane.fitted("correct", steps=60, seed=5)
    assert torch.equal(q, again) and torch.equal(pushed, pushed_again) and not torch.equal(q, other)
    torch.testing.assert_close(pushed.sum(1), torch.ones(41, dtype=DOUBLE))
    assert float(pushed.min()) >= 0


def test_one_maximum_over_the_batch_pushes_a_single_state() -> None:
    _, pushed = studies_07.Plane().fitted("batch_max", steps=3)  # the last third is one step
    assert float(pushed.sum()) == pytest.approx(41) and int((pushed.sum(1) > 0).sum()) == 1
    _, pushed = studies_07.Plane().fitted("batch_max", steps=60)
    assert float(pushed.sum()) == pytest.approx(41)


def test_without_a_penalty_the_table_learns_the_reward_where_there_is_a_log() -> None:
    plane = studies_07.Plane()
    q, pushed = plane.fitted("correct", alpha=0.0)
    error = (plane.behaviour * (q - plane.truth).abs()).sum(1)  # at logged actions, state by state
    assert float(error.max()) < 0.05 < 0.5 < float((plane.behaviour * plane.truth).sum(1).min())
    assert float(q[:, -1].abs().max()) == 0 and float(pushed.sum()) == pytest.approx(41)


@pytest.mark.parametrize("name", ["uniform_only", "policy_only"])
def test_half_of_the_candidates_push_half_of_the_plane(name: str) -> None:
    plane = studies_07.Plane()
    _, pushed = plane.fitted(name, steps=90)
    torch.testing.assert_close(pushed.sum(1), torch.ones(41, dtype=DOUBLE))
    near = (plane.actions - plane.peak[:, None]).abs() <= 0.4
    share = float((pushed * near).sum() / 41)
    assert share > 0.97 if name == "policy_only" else share < 0.7


# ---------------------------------------------------------------- studies: the table, on rows made by hand
def made(variant: str, returns: list[float], errors: list[float], **logged: list[float]) -> list[dict[str, str]]:
    """Rows of one variant on every task, the same numbers on each; a tuning row that must be ignored."""
    rows = []
    for task in studies_07.TASKS:
        for draw, (value, error) in enumerate(zip(returns, errors, strict=True)):
            log = {c: str(logged[c][draw]) if c in logged else "1.0" for c in studies_07.LOGGED}
            rows.append(
                {
                    "task": task,
                    "variant": variant,
                    "split": "report",
                    "draw": str(draw),
                    "return": str(value),
                    "estimation_error": str(error),
                    **log,
                }
            )
        rows.append(rows[-1] | {"split": "tune", "draw": "100", "return": "1e9", "estimation_error": "1e9"})
    return rows


CORRECT = made("correct", [10.0, 20.0, 30.0], [-1.0, -2.0, -3.0], log_cql_gap=[0.1, 0.2, 0.3])


def test_differences_are_paired_by_draw() -> None:
    rows = [*CORRECT, *made("hard_max", [9.0, 18.0, 33.0], [0.0, 0.0, 0.0])][::-1]
    assert studies_07.differences(rows, "maze", "hard_max", "return") == [-1.0, -2.0, 3.0]
    assert studies_07.differences(rows, "arm-mixed", "hard_max", "estimation_error") == [1.0, 2.0, 3.0]


def test_what_bites_and_its_letter() -> None:
    tasks = list(studies_07.TASKS)

    def lists(much: bool = False, little: bool = False, high: bool = False) -> dict[str, list[str]]:
        return {"return": tasks if much else [], "slightly": tasks if little else [], "error": tasks if high else []}

    rows = [
        *CORRECT,
        *made("worse", [5.0, 15.01, 25.0], [-1.0, -2.0, -3.0]),  # a quarter of the mean of 20
        *made("slightly", [9.0, 19.01, 29.0], [-1.0, -2.0, -3.0]),  # a twentieth
        *made("higher", [11.0, 19.0, 30.5], [4.0, 3.01, 2.0]),  # returns on both sides, values up by 5
        *made("perhaps", [10.0, 20.0, 30.0], [3.0, 3.0, 3.0]),  # up by 4, 5 and 6: enough at 95 %, not at 99 %
        *made("better", [12.0, 22.01, 32.0], [-9.0, -10.01, -11.0]),
        *made("equal", [10.0, 20.0, 30.0], [-1.0, -2.0, -3.0]),
        *made("both", [5.0, 15.01, 25.0], [4.0, 3.01, 2.0]),
    ]
    expected = {
        "worse": ("a", lists(much=True)),
        "slightly": ("b", lists(little=True)),
        "higher": ("b", lists(high=True)),
        "perhaps": ("c", lists()),
        "better": ("c", lists()),
        "equal": ("c", lists()),
        "both": ("a", lists(much=True, high=True)),
    }
    for variant, (letter, found) in expected.items():
        assert studies_07.bites(rows, variant) == found, variant
        assert studies_07.letter(found) == letter
    assert studies_07.bites(rows, "perhaps", 0.95) == lists(high=True)


def test_the_sign_in_the_logs_is_the_metric_that_tells_most_tasks() -> None:
    rows = [*CORRECT, *made("x", [1.0] * 3, [0.0] * 3, log_cql_gap=[-0.9, -0.81, -0.7], log_td_loss=[1.0, 9.0, 1.0])]
    assert studies_07.sign_in_logs(rows, "x") == "CQL gap lower on 5 of 5 tasks"
    raised = [
        row | {"log_cql_gap": "7" + row["draw"]} if row["task"] == "maze" else row for row in rows[len(CORRECT) :]
    ]
    assert studies_07.sign_in_logs([*CORRECT, *raised], "x") == "CQL gap higher on 1, lower on 4 of 5 tasks"
    same = made("y", [1.0] * 3, [0.0] * 3, log_cql_gap=[0.1, 0.2, 0.3])
    assert studies_07.sign_in_logs([*CORRECT, *same], "y") == "nothing told apart"


def test_the_target_is_read_from_the_settings() -> None:
    assert studies_07.target_of({"settings": json.dumps({"cql_target_action_gap": -1.25, "steps": 5})}) == -1.25


def test_the_right_penalty_and_the_wrong_ones_share_a_signature() -> None:
    q, density, data = normal(2, 5, 8), normal(5, 8, seed=1), normal(2, 5, seed=2)
    torch.testing.assert_close(
        studies_07.penalty_of("correct")(q, density, data, 4), losses.cql_penalty(q, density, data)
    )
    hard = studies_07.penalty_of("hard_max")(q, density, data, 4)
    torch.testing.assert_close(hard, (q.amax(-1) - data).mean(-1))


# ---------------------------------------------------------------- the script of the table
RETURNS = {0.03: 1.0, 0.1: 5.0, 0.3: 9.0, 1.0: 10.0, 3.0: 9.85, 10.0: 9.7}  # 3 is within 2 % of the best, 10 is not


def tuning_rows(shift: float = 0.0) -> list[dict[str, Any]]:
    """Three tuning draws a task at every alpha, at 0 and at the large one; the gap falls as alpha rises."""
    rows: list[dict[str, Any]] = []
    for task in wrong_penalties.TASKS:
        for draw in wrong_penalties.TUNING:
            wobble = (draw - 101) * 0.5
            for alpha, value in {0.0: 0.0, **RETURNS}.items():
                numbers = {"return": value + shift + wobble, "log_cql_gap": 1.0 - alpha / 2 + wobble / 10}
                kind = {"variant": "tuning", "cql_alpha": f"{alpha:g}", "draw": draw, "split": "tune"}
                rows.append({"task": task, **kind, **numbers})
            large = {"variant": "floor", "cql_alpha": "90", "return": 99.0, "log_cql_gap": -8.0 + wobble / 10}
            rows.append(rows[-1] | large)
    return rows


def test_every_run_has_a_key_of_its_own() -> None:
    rows = tuning_rows()
    jobs = [
        *wrong_penalties.tuning_jobs(),
        *wrong_penalties.large_alpha_jobs(rows),
        *wrong_penalties.reported_jobs(rows),
    ]
    study = wrong_penalties.STUDY
    keys = [study.key_of_job(job) for job in jobs]
    assert len(set(keys)) == len(keys) == 5 * (3 * 7 + 3 + 10 * len(wrong_penalties.VARIANTS))
    written = [
        {"task": j.task, "variant": j.variant, "cql_alpha": f"{j.cql_alpha:g}", "draw": str(j.draw)} for j in jobs
    ]
    assert [study.key_of_row(row) for row in written] == keys
    targets = {job.variant for job in jobs if job.target is not None}
    assert targets == {"lagrange", "lagrange_low", "lagrange_high"}
    scale = {job.variant: job.cql_alpha / 3.0 for job in jobs if job.variant in wrong_penalties.VARIANTS}
    assert scale["alpha_large"] == pytest.approx(30) and scale["alpha_small"] == pytest.approx(1 / 30)
    assert {value for name, value in scale.items() if not name.startswith("alpha")} == {1.0}
    assert set(studies_07.TASKS) == set(wrong_penalties.TASKS)


def test_tuning_takes_the_largest_alpha_that_costs_nothing() -> None:
    assert wrong_penalties.tuned_alpha(tuning_rows(), "maze") == 3.0
    assert (
        wrong_penalties.tuned_alpha(tuning_rows(-20.0), "maze") == 3.0
    )  # below zero: -10.15 counts as -10, -10.3 does not
    assert wrong_penalties.tuned_alpha(tuning_rows(-100.0), "arm-narrow") == 10.0


def test_lagrange_targets_are_in_order() -> None:
    for task in wrong_penalties.TASKS:
        found = wrong_penalties.lagrange_targets(tuning_rows(), task)
        assert found["lagrange_low"] < found["lagrange"] < found["lagrange_high"]
        assert found == {"lagrange": -0.5, "lagrange_low": -9.05, "lagrange_high": 2.05}


def test_a_row_of_the_table_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    short = dataclasses.replace(wrong_penalties.TASKS["bandit-1"], steps=30)
    monkeypatch.setitem(wrong_penalties.TASKS, "bandit-1", short)
    (row,) = wrong_penalties.measure([wrong_penalties.Job("bandit-1", "uniform_only", 3.0, 0)])
    assert set(row) == set(wrong_penalties.COLUMNS) and row["diverged"] == 0 and row["split"] == "report"
    words = ("task", "variant", "cql_alpha", "split", "settings")
    assert all(math.isfinite(float(row[name])) for name in wrong_penalties.COLUMNS if name not in words)
    assert row["estimation_error"] == pytest.approx(row["predicted"] - row["true"], abs=1e-6)
    assert 0 <= row["push_on_policy"] <= 1 and 0 <= row["softmax_on_policy"] <= 1 and row["log_multiplier"] == 3.0
    settings = json.loads(row["settings"])
    assert settings["pitfall"] == "uniform_only" and settings["steps"] == 30 and settings["cql_alpha"] == 3.0


def test_a_run_that_diverges_has_a_row_and_leaves_its_neighbours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    short = dataclasses.replace(wrong_penalties.TASKS["bandit-1"], steps=30)
    monkeypatch.setitem(wrong_penalties.TASKS, "bandit-1", short)
    jobs = [wrong_penalties.Job("bandit-1", variant, 1.0, 0) for variant in ("correct", "hard_max")]
    (alone,) = wrong_penalties.measure(jobs[:1])
    right = wrong_penalties.agent_settings

    def settings(job: Any, mean_reward: float) -> tuple[str, dict[str, Any]]:
        name, found = right(job, mean_reward)
        return name, found | ({"critic_lr": 1e30} if job.variant == "hard_max" else {})

    monkeypatch.setattr(wrong_penalties, "agent_settings", settings)
    with pytest.warns(CQLWarning, match="The other members go on"):
        healthy, gone = wrong_penalties.measure(jobs)
    assert gone["diverged"] == 1 and "configs[1]" in json.loads(gone["settings"])["diverged"]
    assert "return" not in gone and set(gone) <= set(wrong_penalties.COLUMNS)
    assert healthy["diverged"] == 0 and healthy["predicted"] == pytest.approx(alone["predicted"], abs=1e-3)
