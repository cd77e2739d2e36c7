"""Chapter 01: each reference answer against the package or a plain loop; the figures' captions against their data."""

from __future__ import annotations

import pytest
import torch

from cql_tutorial import load_dataset
from cql_tutorial.agents import tabular
from cql_tutorial.course import figures
from cql_tutorial.course.exercises import ch01
from cql_tutorial.course.sliders import explore_coverage
from cql_tutorial.envs import Gridworld, Sepsis
from cql_tutorial.evaluation import optimal_q

torch.set_num_threads(1)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_returns_to_go_are_the_packages() -> None:
    data = load_dataset("gridworld/epsilon30-2k-v0")
    own = ch01.returns_to_go(data.rewards.double(), data.episode_starts, 0.9)
    assert torch.allclose(own, data.returns_to_go(0.9).double(), atol=1e-4)
    whole = ch01.returns_to_go(data.rewards.double(), data.episode_starts, 1.0)[data.episode_starts]
    assert torch.allclose(whole, data.episode_returns().double(), atol=1e-4)


def test_targets_are_the_packages() -> None:
    from cql_tutorial.losses import td_target

    ended, cut = draw(0, 40) > 0.5, draw(1, 40) > 0.5
    rewards, values = draw(2, 40), draw(3, 40)
    assert torch.equal(ch01.targets(rewards, values, ended, cut, 0.9), td_target(rewards, ended, values, 0.9))


def test_total_variation_is_the_largest_disagreement_on_an_event() -> None:
    p, q = (torch.softmax(draw(seed, 5, 4), 1) for seed in (4, 5))
    events = torch.tensor([[(k >> i) & 1 for i in range(4)] for k in range(16)], dtype=torch.float64)
    largest = ((p - q) @ events.T).abs().amax(1)
    assert torch.allclose(ch01.total_variation(p, q), largest)


def test_nearest_against_a_loop() -> None:
    queries, rows = draw(6, 7, 3), draw(7, 30, 3)
    slow = [min(float((x - y).square().sum()) ** 0.5 for y in rows) for x in queries]
    assert ch01.nearest(queries, rows).tolist() == pytest.approx(slow)


def test_covered_share_is_what_rollouts_see() -> None:
    """Exact visits against counting: a policy is rolled out, and its decisions are looked up in another log."""
    world = Gridworld()
    policy = 0.5 * tabular.greedy_policy(optimal_q(world)) + 0.5 / 4
    log = tabular.record_log(world, policy, 15, seed=0)
    going = ~world.terminal_states
    chain = world.chain(policy)[going][:, going]
    visits = torch.zeros(64, dtype=torch.float64)
    start = world.start_distribution()[going]
    visits[going] = torch.linalg.solve(torch.eye(len(chain), dtype=torch.float64) - chain.T, start)
    rolled = tabular.record_log(world, policy, 20_000, seed=1)
    seen = float(log.seen.flatten()[rolled.pairs].double().mean())
    assert float(ch01.covered_share(visits, policy, log.counts)) == pytest.approx(seen, abs=0.01)
    assert float(visits.sum()) == pytest.approx(len(rolled) / 20_000, rel=0.02)


def test_the_optimum_of_sepsis_lies_among_the_estimated_doses() -> None:
    """Why its coverage is high: other doses lead where the estimated ones lead on average."""
    world = Sepsis()
    best = optimal_q(world)
    going = ~world.terminal_states
    estimated = best.masked_fill(~world.admissible, -1.0).amax(1)
    assert torch.allclose(estimated[going], best.amax(1)[going], atol=1e-8)


def test_captions_are_made_from_the_data() -> None:
    points = torch.tensor([[0.0, 0.0], [0.01, 0.01], [0.9, -0.9]])
    said = str(figures.three_logs(points, points, torch.tensor([10.0] + [1.0] * 9 + [0.0] * 10)))
    assert (
        "the maze log has been in 2, the Pendulum log in 2" in said
        and "58% of its rows, 10 of 20 have none, and none has more than 10." in said
    )
    said = str(figures.author_error(torch.tensor([2.0, 3.0, 100.0]), torch.tensor([0.5, 0.3, 0.1])))
    assert "0.40 in the states with the fewest rows, 0.10 in those with the most" in said
    said = str(figures.nearest_rows({"expert": {"own": 0.0, "anywhere": 1.1}}))
    assert said == "expert: own 0.00, anywhere 1.10."
    shares = {"clinician": [0.5, 0.9], "uniform": [0.1, 0.3]}
    assert "30,000 episodes has seen: clinician 90%, uniform 30%." in str(
        figures.covered_decisions([5000, 30000], shares)
    )
    explorer = explore_coverage([5000, 30000], shares)
    assert "5,000 episodes has seen: clinician 50%" in explorer.caption.value
