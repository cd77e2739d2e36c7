"""Chapter 05: the fines against autograd and a slow iteration, the policies against an optimiser, the captions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from cql_tutorial.agents import tabular
from cql_tutorial.course import figures
from cql_tutorial.course.exercises import ch05
from cql_tutorial.course.sliders import explore_backup_temperature
from cql_tutorial.course.studies import ch05 as studies_05
from cql_tutorial.course.studies.common import result_rows
from cql_tutorial.envs import Garnet
from cql_tutorial.errors import DatasetNotFoundError
from cql_tutorial.evaluation import optimal_q, solve_q

torch.set_num_threads(1)
WORLD = Garnet(states=6, actions=3, seed=4)


def policies(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return studies_05.random_policy(WORLD, seed), studies_05.random_policy(WORLD, 100 + seed)


@pytest.mark.parametrize("seed", range(3))
def test_the_fines_are_where_the_losses_rest(seed: int) -> None:
    """The gradient of both equations, by autograd, is zero at targets that have paid the fine."""
    mu, b = policies(seed)
    y = torch.randn(6, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for fine, data_term in ((ch05.fined_everywhere, 0.0), (ch05.fined_on_balance, 1.0)):
        q = fine(y, mu, b, 0.7).requires_grad_()
        loss = (b * (q - y).square()).sum() + 0.7 * ((mu * q).sum() - data_term * (b * q).sum())
        (gradient,) = torch.autograd.grad(loss, q)
        assert float(gradient.abs().max()) < 1e-12


def test_a_critic_at_rest_is_exact_in_the_fined_world() -> None:
    """Eq. 2 with targets from its own table, swept 500 times, against one solve in the world with fines."""
    policy, b = policies(1)
    q = torch.zeros(6, 3, dtype=torch.float64)
    for _ in range(500):
        y = WORLD.expected_rewards + 0.9 * WORLD.transitions @ (policy * q).sum(1)
        q = y - 0.4 * (policy / b - 1)
    fined = studies_05.with_rewards(WORLD, ch05.fined_on_balance(WORLD.expected_rewards, policy, b, 0.8))
    assert torch.allclose(q, solve_q(fined, policy), atol=1e-10)
    assert ((policy * q).sum(1) <= (policy * solve_q(WORLD, policy)).sum(1)).all()


def test_distance_is_a_sum_of_squares() -> None:
    policy, b = policies(2)
    assert torch.allclose(ch05.distance(policy, b), ((policy - b).square() / b).sum(1))
    assert torch.allclose(ch05.distance(b, b), torch.zeros(6, dtype=torch.float64), atol=1e-15)


def test_the_smallest_alpha_is_the_edge() -> None:
    draw = torch.Generator().manual_seed(0)
    free, truth = (torch.randn(6, 3, generator=draw, dtype=torch.float64) for _ in range(2))
    per_alpha, seen = (
        torch.rand(6, 3, generator=draw, dtype=torch.float64) + 0.1,
        torch.rand(6, 3, generator=draw) < 0.7,
    )
    alpha = float(ch05.smallest_alpha(free, per_alpha, truth, seen))
    for factor, bounded in ((1 + 1e-9, True), (1 - 1e-6, False)):
        assert bool((free - factor * alpha * per_alpha <= truth)[seen].all()) is bounded


def test_softmax_value_is_the_packages_backup() -> None:
    q = torch.randn(64, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log = tabular.record_log(Garnet(states=64, seed=0), torch.full((64, 4), 0.25), 5)
    for temperature in (0.2, 1.0, 3.0):
        assert torch.allclose(ch05.softmax_value(q, temperature), tabular.softmax_backup(temperature)(log, q))


# ---------------------------------------------------------------- the studies
def test_worlds_side_by_side_are_the_worlds() -> None:
    worlds = [Garnet(seed=seed) for seed in range(3)]
    many = studies_05.side_by_side(worlds)
    policy = studies_05.random_policy(many, 0)
    together = solve_q(many, policy).view(3, 10, 4)
    for i, world in enumerate(worlds):
        assert torch.allclose(together[i], solve_q(world, policy[10 * i : 10 * i + 10]), atol=1e-10)
    logs = [tabular.record_log(world, torch.full((10, 4), 0.25), 4, seed=i) for i, world in enumerate(worlds)]
    log = studies_05.joined(logs)
    assert torch.equal(log.counts.view(3, 10, 4), torch.stack([one.counts for one in logs]))
    assert torch.equal(log.next_states // 10, log.states // 10) and len(log.episode_starts) == 12
    model = studies_05.counted_world(many, log)
    values = torch.randn(30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    counted = log.mean_next(values).where(log.seen, values[:, None])
    assert torch.allclose(model.expected_next(values), counted, atol=1e-12)


def test_visitation_is_a_sum_over_time() -> None:
    policy, start = policies(0)[0], torch.full((6,), 1 / 6, dtype=torch.float64)
    here, total = start.clone(), torch.zeros(6, dtype=torch.float64)
    for t in range(400):
        total += 0.1 * 0.9**t * here
        here = here @ WORLD.chain(policy)
    found = studies_05.visitation(WORLD, policy, start)
    assert torch.allclose(found, total, atol=1e-10) and float(found.sum()) == pytest.approx(1)
    returns = float((start * (policy * solve_q(WORLD, policy)).sum(1)).sum())
    assert float((found * (policy * WORLD.expected_rewards).sum(1)).sum()) / 0.1 == pytest.approx(returns)


@pytest.mark.parametrize("alpha", [0.05, 0.5, 5.0])
def test_the_regularised_policy_is_what_an_optimiser_finds(alpha: float) -> None:
    q = torch.randn(6, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    b = policies(3)[1].clone()
    b[0] = torch.tensor([0.4, 0.6, 0.0])
    policy = studies_05.regularised_policy(q, b, alpha)
    assert torch.allclose(policy.sum(1), torch.ones(6, dtype=torch.float64)) and float(policy.min()) >= 0
    assert float(policy[0, 2]) == 0
    for s in range(6):
        keep = b[s].numpy() > 0

        def loss(p: np.ndarray, s: int = s, keep: np.ndarray = keep) -> float:
            return float(-(p * q[s].numpy()[keep]).sum() + alpha * ((p**2 / b[s].numpy()[keep]).sum() - 1))

        best = minimize(
            loss,
            b[s].numpy()[keep],
            bounds=[(0, 1)] * int(keep.sum()),
            method="SLSQP",
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
        )
        assert loss(policy[s].numpy()[keep]) <= best.fun + 1e-7


def test_the_safe_policy_goes_from_greedy_to_the_log() -> None:
    b = policies(4)[1]
    greedy = studies_05.safe_policy(WORLD, b, 0.0, ch05.distance)
    best = (greedy * solve_q(WORLD, greedy)).sum(1)
    assert torch.allclose(best, optimal_q(WORLD).amax(1), atol=1e-8)
    assert torch.allclose(studies_05.safe_policy(WORLD, b, 1e6, ch05.distance), b, atol=1e-4)


def test_a_critic_with_groups_of_one_is_the_table() -> None:
    policy, b = policies(5)
    weights = torch.full((6,), 1 / 6, dtype=torch.float64)
    q = studies_05.grouped_evaluation(WORLD, policy, b, weights, torch.arange(6), 0.3)
    fined = studies_05.with_rewards(WORLD, ch05.fined_on_balance(WORLD.expected_rewards, policy, b, 0.3))
    assert torch.allclose(q, solve_q(fined, policy), atol=1e-8)
    shared = studies_05.grouped_evaluation(WORLD, policy, b, weights, torch.arange(6) // 2, 0.3)
    assert torch.equal(shared[0::2], shared[1::2]) and not torch.equal(shared[0], shared[2])


def test_cql_at_rest_is_bounded_at_temperature_one() -> None:
    b = policies(6)[1]
    q = studies_05.cql_at_rest(WORLD, b, 2.0, lambda q: ch05.softmax_value(q, 1.0))
    mu = torch.softmax(q, 1)
    y = WORLD.expected_rewards + 0.9 * WORLD.expected_next((mu * q).sum(1))
    assert torch.allclose(q, y + 1.0 * (1 - mu / b), atol=1e-6)  # the condition of the minimum, at the fixed point
    assert ((mu * q).sum(1) <= (mu * solve_q(WORLD, mu)).sum(1)).all()


def test_the_first_update_always_widens_the_lead() -> None:
    b = policies(7)[1]
    assert studies_05.gaps_expand(WORLD, b, 0.01, ch05.fined_on_balance)[0] == 1.0
    assert min(studies_05.gaps_expand(WORLD, b, 50.0, ch05.fined_on_balance)) == 1.0


def test_zeta_by_hand() -> None:
    visits, far = torch.tensor([4.0, 16.0]), torch.tensor([3.0, 0.0])
    found = studies_05.zeta(visits, far, torch.tensor([0.5, 0.5]), 0.1, discount=0.5, pairs=40)
    constant = math.sqrt(2 * (3 * math.log(2) + math.log(40 / 0.05)))
    by_hand = 2 * 0.5 * constant / 0.25 * (0.5 * 1 * 2 + 0.5 * 0.5 * 1) - 0.1 / 0.5 * 1.5
    assert float(found) == pytest.approx(by_hand, rel=1e-5)


# ---------------------------------------------------------------- what is shown
def test_captions_are_made_from_the_data() -> None:
    truth, policy = torch.tensor([1.0, 0.0]), torch.tensor([0.75, 0.25])
    said = str(figures.bounds_on_arms({"Equation 2": torch.tensor([0.4, 0.2])}, truth, policy))
    assert said == "Equation 2: 1 of 2 arms over, the policy's average 0.35 (true 0.75)."
    said = str(figures.thresholds([100, 400], [[0.2, 0.4], [0.1, 0.2]]))
    assert said == "Mean threshold over 2 worlds: 0.3000 at 100 rows, 0.1500 at 400 rows."
    errors = {1.0: torch.tensor([-1.0, -0.5]), 0.2: torch.tensor([-0.5, 1.5])}
    assert "temperature 0.2: under at 50% of the states, mean +0.50" in str(figures.backup_errors(errors))
    explorer = explore_backup_temperature(errors)
    assert explorer.caption.value.count("temperature") == 1 and "under at 100%" in explorer.caption.value
    rows = result_rows("sepsis")
    said = str(figures.survival(rows, {"random": 0.78}))
    over = sum(r["algorithm"] == "cql-max" and r["episodes"] == "5000" and float(r["predicted"]) > 1 for r in rows)
    assert f"5,000 episodes, greedy backup: above 1 in {over}" in said and said.endswith("random 0.780.")


def test_a_missing_table_says_how_to_make_it() -> None:
    with pytest.raises(DatasetNotFoundError, match=r"no-such: found no such result table.*make results"):
        result_rows("no-such")
