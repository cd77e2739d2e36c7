"""Chapter 05 and page a2: critics at rest against sweeps, policies against an optimiser, symptoms, captions."""

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
def test_the_steps_are_where_the_losses_rest(seed: int) -> None:
    """The gradient of both equations, by autograd, is zero at the minima that the exercises give."""
    mu, b = policies(seed)
    y = torch.randn(6, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    no_future = torch.zeros(6, 3, 6, dtype=torch.float64)
    first = ch05.critic_at_rest(y, no_future, b, mu, b, 0.7, 0.9)
    for found, data_term in ((first, 0.0), (ch05.equation_two_minimum(y, mu, b, 0.7), 1.0)):
        q = found.clone().requires_grad_()
        loss = (b * (q - y).square()).sum() + 0.7 * ((mu * q).sum() - data_term * (b * q).sum())
        (gradient,) = torch.autograd.grad(loss, q)
        assert float(gradient.abs().max()) < 1e-12


def test_critics_at_rest_are_what_sweeping_ends_at() -> None:
    """Both equations with targets from their own table, swept 500 times, against one solve; and Theorems 3.1, 3.2."""
    (policy, b), (mu, _) = policies(1), policies(2)
    truth = solve_q(WORLD, policy)
    for equation in (1, 2):
        q = torch.zeros(6, 3, dtype=torch.float64)
        for _ in range(500):
            y = WORLD.expected_rewards + 0.9 * WORLD.transitions @ (policy * q).sum(1)
            q = y - 0.4 * (mu / b) if equation == 1 else ch05.equation_two_minimum(y, policy, b, 0.8)
        if equation == 1:
            found = ch05.critic_at_rest(WORLD.expected_rewards, WORLD.transitions, policy, mu, b, 0.8, 0.9)
            assert (q <= truth).all()
        else:
            fined = ch05.equation_two_minimum(WORLD.expected_rewards, policy, b, 0.8)
            found = solve_q(studies_05.with_rewards(WORLD, fined), policy)
            assert ((policy * q).sum(1) <= (policy * truth).sum(1)).all()
        assert torch.allclose(q, found, atol=1e-10)


def test_theorem_3_1_is_an_equality_with_the_exact_world() -> None:
    (policy, b), (mu, _) = policies(3), policies(4)
    found = ch05.critic_at_rest(WORLD.expected_rewards, WORLD.transitions, policy, mu, b, 0.5, 0.9)
    pairs = (WORLD.transitions[..., None] * policy).reshape(18, 18)  # from pair to pair
    fine = torch.linalg.solve(torch.eye(18, dtype=torch.float64) - 0.9 * pairs, (mu / b).flatten())
    assert torch.allclose(found, solve_q(WORLD, policy) - 0.25 * fine.view(6, 3), atol=1e-10)


def test_distance_is_a_sum_of_squares_and_infinite_off_the_log() -> None:
    policy, b = policies(2)
    assert torch.allclose(ch05.distance(policy, b), ((policy - b).square() / b).sum(1))
    assert torch.allclose(ch05.distance(b, b), torch.zeros(6, dtype=torch.float64), atol=1e-15)
    b = b.clone()
    b[0, 0], b[1] = 0.0, torch.tensor([0.0, 0.4, 0.6])
    policy = policy.clone()
    policy[1] = torch.tensor([0.0, 0.7, 0.3])
    far = ch05.distance(policy, b)
    assert math.isinf(float(far[0])) and float(far[1]) == pytest.approx(0.3**2 / 0.4 + 0.3**2 / 0.6)
    assert far.isfinite().sum() == 5 and (far >= 0).all()


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


def test_the_largest_distance_is_where_the_premise_becomes_an_equality() -> None:
    b = policies(5)[1]
    q = torch.randn(6, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    mu, epsilon = torch.softmax(q, 1), ch05.largest_distance(q, b)
    assert torch.allclose(ch05.distance(mu, b), (mu / b).amax(1) * epsilon)
    assert float(ch05.largest_distance(b.log(), b).abs().max()) < 1e-14  # softmax(Q) is the log: nothing is allowed


def test_within_the_largest_distance_no_value_lies_above() -> None:
    """Theorem 3.3: actors anywhere within the premise, at every state, are bounded by CQL(H)'s step."""
    b = policies(6)[1]
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        q = 2 * torch.randn(6, 3, generator=draw, dtype=torch.float64)
        mu, towards = torch.softmax(q, 1), torch.eye(3, dtype=torch.float64)[torch.randint(3, (6,), generator=draw)]
        apart = 0.5 * (towards - mu).abs().sum(1)
        step = (ch05.largest_distance(q, b) / apart).clamp(max=1.0)[:, None]
        actor = (1 - step) * mu + step * towards
        assert float((actor * (mu / b - 1)).sum(1).min()) >= -1e-12  # the actor's average fine: never a bonus


def test_the_symptoms_of_the_four_runs_are_those_the_messages_tell() -> None:
    worlds = [Garnet(seed=seed) for seed in range(20)]
    many = studies_05.side_by_side(worlds)
    policy, b, other = (studies_05.random_policy(many, seed, sharp) for seed, sharp in ((1, 1.0), (2, 1.0), (3, 4.0)))
    small, large = 0.001, 5.0
    runs = studies_05.four_runs(worlds, policy, b, other, (small, large))
    over = {name: [float((e > 1e-9).double().mean()) for e in run.values()] for name, run in runs.items()}
    mean = {name: [float(e.mean()) for e in run.values()] for name, run in runs.items()}
    w = runs["W"]
    assert over["W"][0] == over["W"][1] > 0 and torch.allclose(w[large], w[small] * large / small, atol=1e-6)
    assert over["X"][0] == 1.0 and mean["X"][0] > 1 and mean["X"][1] < mean["X"][0]
    assert 0.2 < over["Y"][0] < 0.8 and over["Y"][1] == 0.0 and float(runs["Y"][small].abs().max()) < 0.15
    assert over["Z"] == [0.0, 1.0] and mean["Z"][1] > 0 > mean["Z"][0]
    start = torch.full((200,), 0.1, dtype=torch.float64)
    share = studies_05.visitation(many, b, start / 20)
    truth = (policy * solve_q(many, policy)).sum(1)
    shared = studies_05.grouped_evaluation(many, policy, b, share, torch.arange(200) // 5, small)
    error = (policy * shared).sum(1) - truth
    assert float(error.max()) > 1 and float(error.min()) < -1  # what the messages say of the fifth suspect
    assert [ch05.broken_condition(run) for run in "WXYZ"] == ["policy", "start", "log", "temperature"]


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
    fined = studies_05.with_rewards(WORLD, ch05.equation_two_minimum(WORLD.expected_rewards, policy, b, 0.3))
    assert torch.allclose(q, solve_q(fined, policy), atol=1e-8)
    shared = studies_05.grouped_evaluation(WORLD, policy, b, weights, torch.arange(6) // 2, 0.3)
    assert torch.equal(shared[0::2], shared[1::2]) and not torch.equal(shared[0], shared[2])


def test_cql_at_rest_is_bounded_at_temperature_one() -> None:
    b = policies(6)[1]
    q = studies_05.cql_at_rest(WORLD, b, 2.0, lambda q: (torch.softmax(q, 1) * q).sum(1))
    mu = torch.softmax(q, 1)
    y = WORLD.expected_rewards + 0.9 * WORLD.expected_next((mu * q).sum(1))
    assert torch.allclose(q, y + 1.0 * (1 - mu / b), atol=1e-6)  # the condition of the minimum, at the fixed point
    assert ((mu * q).sum(1) <= (mu * solve_q(WORLD, mu)).sum(1)).all()


def test_the_first_update_always_widens_the_lead() -> None:
    b = policies(7)[1]
    assert studies_05.gaps_expand(WORLD, b, 0.01, ch05.equation_two_minimum)[0] == 1.0
    assert min(studies_05.gaps_expand(WORLD, b, 50.0, ch05.equation_two_minimum)) == 1.0


def test_zeta_by_hand() -> None:
    visits, far = torch.tensor([4.0, 16.0]), torch.tensor([3.0, 0.0])
    found = studies_05.zeta(visits, far, torch.tensor([0.5, 0.5]), 0.1, discount=0.5, pairs=40)
    constant = math.sqrt(2 * (3 * math.log(2) + math.log(40 / 0.05)))
    by_hand = 2 * 0.5 * constant / 0.25 * (0.5 * 1 * 2 + 0.5 * 0.5 * 1) - 0.1 / 0.5 * 1.5
    assert float(found) == pytest.approx(by_hand, rel=1e-5)


# ---------------------------------------------------------------- what is shown
def test_captions_are_made_from_the_data() -> None:
    truth, policy = torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0.75, 0.25, 0.0])
    arms = figures.bounds_on_arms({"Equation 2": torch.tensor([0.4, 0.2, 0.5])}, truth, policy)
    assert str(arms) == ("Equation 2: 1 over, 1 under, 1 exact of 3 arms; the policy's average 0.35 (true 0.75).")
    assert [text.get_text() for text in arms.axes[0].texts] == ["under", "over", "exact"]
    said = str(figures.thresholds([100, 400], [[0.2, 0.4], [0.1, 0.2]]))
    assert said == "Mean threshold over 2 worlds: 0.3000 at 100 rows, 0.1500 at 400 rows."
    errors = {1.0: torch.tensor([-1.0, -0.5]), 0.2: torch.tensor([-0.5, 1.5])}
    assert str(figures.backup_errors(errors)).endswith("mean error. 1: 100%, -0.75; 0.2: 50%, +0.50.")
    explorer = explore_backup_temperature(errors)
    assert explorer.caption.value.endswith("1: 100%, -0.75.</span>")
    rows = result_rows("sepsis")
    greedy = [r for r in rows if r["algorithm"] == "cql-max"]
    over = [sum(float(r["predicted"]) > 1 for r in greedy if r["episodes"] == n) for n in ("5000", "30000")]
    assert f"greedy backup: {over[0]} and 0 of 35, {over[1]} and 0 of 35" in str(figures.survival(rows))


def test_captions_of_runs_and_of_page_a2() -> None:
    run = {0.1: torch.tensor([-1.0, 0.5]), 1.0: torch.tensor([1.0, 0.5])}
    drawn = figures.runs_by_alpha({"W": run, "X": {alpha: -error for alpha, error in run.items()}})
    assert str(drawn) == "Share of states above the truth at alpha 0.1, 1. W: 50%, 100%; X: 50%, 0%."
    assert drawn.axes[0].get_lines()[0].get_ydata().tolist() == [0.5, 1.0]  # the highest state
    said = str(figures.leads({0.1: [1.0, 0.975], 3.0: [1.0, 1.0]}))
    assert said == "Lowest share of states over the updates: 97.5% with alpha 0.1, 100.0% with alpha 3."
    said = str(figures.improvement({20: {0.0: [-1.0, 0.5], 1.0: [0.1, 0.2]}, 100: {0.0: [1.0, 2.0], 1.0: [-1, -2]}}))
    assert said == "Worlds of 2 with less than the author, at alpha 0, 1. 20 rows: 1, 0; 100 rows: 0, 2."
    said = str(figures.sharing({1: ([0.0, 0.0], [0.0, 0.0]), 5: ([0.1, 0.3, 0.2], [0.4, math.inf, 0.5])}))
    assert said.endswith("by group size. 1: 0.000 and 0.000; 5: 0.200 and 0.500.")


def test_a_missing_table_says_how_to_make_it() -> None:
    with pytest.raises(DatasetNotFoundError, match=r"no-such\.csv: found no such file.*make results"):
        result_rows("no-such")
