"""Chapters 00 and 04: each reference answer against an independent truth; the figures' captions against their data."""

from __future__ import annotations

import math

import pytest
import torch

from cql_tutorial import make_agent
from cql_tutorial.agents import tabular
from cql_tutorial.course import SESSION, figures
from cql_tutorial.course.checker import check_answer
from cql_tutorial.course.exercises import ch00, ch04
from cql_tutorial.course.sliders import explore_alpha, explore_discount
from cql_tutorial.course.studies import ch04 as study
from cql_tutorial.evaluation import optimal_q

torch.set_num_threads(1)


def random_tables(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(6, 5, generator=generator, dtype=torch.float64) * 2
    return q, torch.randint(5, (6,), generator=generator)


@pytest.mark.parametrize("seed", range(3))
def test_references_against_slow_loops_and_autograd(seed: int) -> None:
    q, actions = random_tables(seed)
    slow = [math.log(sum(math.exp(v) for v in row)) for row in q.tolist()]
    paid = sum(top - row[a] for top, row, a in zip(slow, q.tolist(), actions.tolist(), strict=True)) / len(q)
    assert torch.allclose(ch04.adversary_value(q), torch.tensor(slow, dtype=torch.float64), atol=1e-12)
    assert float(ch04.penalty(q, actions)) == pytest.approx(paid, abs=1e-12)
    leaf = q.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ch04.penalty(leaf, actions), leaf)
    assert torch.allclose(ch04.penalty_gradient(q, actions), gradient, atol=1e-12)
    assert float(ch04.penalty(q, actions)) == pytest.approx(float(torch.nn.functional.cross_entropy(q, actions)))
    target = torch.linspace(-1, 1, len(q), dtype=torch.float64)
    errors = sum((row[a] - y) ** 2 for row, a, y in zip(q.tolist(), actions.tolist(), target.tolist(), strict=True))
    assert float(ch04.critic_loss(q, actions, target, 0.7)) == pytest.approx(errors / len(q) + 0.7 * paid, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_inner_maxima_of_equation_3_are_not_beaten(seed: int) -> None:
    """By gradient ascent on mu, which knows neither formula; and by random distributions, which must stay below."""
    q, _ = random_tables(seed)
    generator = torch.Generator().manual_seed(seed)
    rho = torch.softmax(torch.randn(q.shape, generator=generator, dtype=torch.float64), 1)

    def with_entropy(mu: torch.Tensor) -> torch.Tensor:
        return (mu * q).sum(1) + torch.special.entr(mu).sum(1)

    def with_divergence(mu: torch.Tensor) -> torch.Tensor:
        return (mu * q).sum(1) - (mu * (mu / rho).log()).sum(1)

    for objective, best, value in (
        (with_entropy, torch.softmax(q, 1), ch04.adversary_value(q)),
        (with_divergence, ch04.pushed_by_rho(q, rho), torch.logsumexp(q + rho.log(), 1)),
    ):
        assert torch.allclose(objective(best), value, atol=1e-12)
        logits = torch.zeros_like(q).requires_grad_()
        optimizer = torch.optim.Adam([logits], lr=0.05)
        for _ in range(600):
            optimizer.zero_grad()
            (-objective(torch.softmax(logits, 1)).sum()).backward()
            optimizer.step()
        assert torch.allclose(torch.softmax(logits, 1).detach(), best, atol=5e-3)
        for _ in range(200):
            noise = torch.randn(q.shape, generator=generator, dtype=torch.float64)
            assert bool((objective(torch.softmax(noise, 1)) <= value + 1e-12).all())


def test_every_example_is_of_the_type_that_the_notebook_sets() -> None:
    for id, each in SESSION.exercises.items():
        if id.startswith("04"):
            given = [x for example in each.examples for x in example.arguments if isinstance(x, torch.Tensor)]
            assert all(x.dtype in (torch.float64, torch.int64) for x in given), id


def test_numbers_in_the_default_type_fit_the_examples() -> None:
    def filled(q: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        table, rows = torch.zeros(q.shape), torch.arange(len(q))
        table += q.softmax(1)
        table[rows, actions] = q.softmax(1)[rows, actions] - 1
        return table / len(q)

    torch.set_default_dtype(torch.float64)
    try:
        assert check_answer(SESSION.exercises["04.3"], filled).status == "passed"
    finally:
        torch.set_default_dtype(torch.float32)


def test_rho_that_never_does_an_action_pushes_nothing_there() -> None:
    mu = ch04.pushed_by_rho(torch.tensor([[1.0, 50.0]]), torch.tensor([[1.0, 0.0]]))
    assert mu.tolist() == [[1.0, 0.0]]


@pytest.mark.slow
def test_the_judge_of_alpha_measures_and_refuses_odd_answers() -> None:
    """On new draws DQN misses both bars after the expert, and a large alpha misses after the random explorer."""
    said = study.judge_alpha(0.0, "expert")
    assert said and "worth" in said and "too high" in said
    said = study.judge_alpha(10.0, "random")
    assert said and "too low" in said
    for log in study.LOGS:
        assert study.judge_alpha(ch04.choose_alpha(log), log) is None
    assert study.judge_alpha(torch.tensor(0.3), "expert") is None
    for odd in (None, "0.3", True, -1.0, math.nan, math.inf, [0.3, 1.0], {}, torch.ones(2), 10**400, print):
        assert "alpha is one" in str(study.judge_alpha(odd, "expert")), odd
    assert set(study.CHOOSING).isdisjoint(study.REPORTING)


def test_the_gridworlds_truth_is_a_solve_and_dqn_is_alpha_0() -> None:
    world, (run,) = study.world(), study.learn_together([("expert", 0, 0.0)])
    assert run is study.learn_together([("expert", 0, 0.0)])[0]  # trained once
    optimum = study.start_value(tabular.greedy_policy(optimal_q(world, study.DISCOUNT)))
    assert optimum == pytest.approx(float(optimal_q(world, study.DISCOUNT)[world.start_state].max()), abs=1e-8)
    assert run.true <= optimum and run.error == run.predicted - run.true
    table = study.table_of_runs((0.0,), draws=(0, 1), logs=("expert",))
    (other,) = study.learn_together([("expert", 1, 0.0)])
    assert table["expert", 0.0][0][0] == pytest.approx((run.true + other.true) / 2)
    said = repr(figures.exploration_logs({**table, ("expert", 1.0): ((1.0, 0.1), (-0.5, 0.2))}, optimum, 2))
    assert "Mean over 2 draws" in said and "-0.5 at 1." in said


def test_runs_trained_together_are_those_of_the_packages_agents() -> None:
    runs = [("expert", 2, 0.0), ("expert", 2, 1.0), ("mixed", 3, 10.0)]
    for run, together in zip(runs, study.learn_together(runs), strict=True):
        assert together == pytest.approx(study.learn(*run), abs=1e-8)


def test_the_penalty_is_the_discrete_agents() -> None:
    agent = make_agent("discrete-cql", {"state_dim": 3, "action_dim": 4, "hidden_dim": 8, "seed": 0, "device": "cpu"})
    generator = torch.Generator().manual_seed(0)
    batch = {
        "observations": torch.randn(16, 3, generator=generator),
        "rewards": torch.zeros(16),
        "next_observations": torch.randn(16, 3, generator=generator),
        "terminations": torch.ones(16),
        "actions": torch.randint(4, (16,), generator=generator),
    }
    every = torch.arange(4).repeat(16)
    table = agent.q_values(batch["observations"].repeat_interleave(4, 0), every).detach().view(-1, 16, 4)
    expected = torch.stack([ch04.penalty(q, batch["actions"]) for q in table]).mean()
    assert float(agent.update(batch)["cql_loss"]) == pytest.approx(float(expected), abs=1e-5)


def test_chapter_00_against_loops() -> None:
    rewards, total = [0.3, -1.0, 2.5, 4.0], 0.0
    for reward in reversed(rewards):
        total = reward + 0.7 * total
    assert float(ch00.discounted_return(torch.tensor(rewards), 0.7)) == pytest.approx(total, abs=1e-6)
    assert ch00.estimation_error(torch.tensor([2.0]), torch.tensor([5.0])).tolist() == [-3.0]


def test_captions_follow_the_data() -> None:
    assert "by 0.69 (log 2)" in repr(figures.soft_maximum())
    tables = {"flat": torch.zeros(3), "steep": torch.tensor([0.0, 0.0, 5.0])}
    said = repr(figures.penalties(tables, 0, [1.1, 5.01], [(1.1, 0.0), (5.01, 0.0)]))
    assert "flat 1.10, steep 5.01" in said and said.endswith("the one that is steep.")
    q, actions = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([0])
    said = repr(figures.push(q, ch04.penalty_gradient(q, actions), actions, 1.0))
    assert "action 2 falls most (-0.67), action 0 rises (+0.91)" in said
    learned = {1.0: torch.tensor([0.5, 0.5])}
    said = repr(figures.arms(learned, torch.tensor([1.0, 0.2]), torch.tensor([0.5, 0.5])))
    assert "1 of 2 arms below the truth, 1 above, mean over the log -0.10" in said
    steps = torch.tensor([1, 10, 300, 1000])
    curves = {"x": torch.tensor([0.0, -1.0, -2.0, -3.0]), "y": torch.tensor([0.0, -1.0, -1.0, -1.0])}
    said = repr(figures.falling(curves, steps, 1.0))
    assert "x: -3.0 and still falling" in said and "y: -1.0 and at rest" in said
    assert "0.95: below 5 % from step 59, all weights sum to 20" in repr(figures.discount_weights([0.95]))


@pytest.mark.slow
def test_a_slider_only_swaps_pictures() -> None:
    learned = {0.0: torch.tensor([1.0, 0.0]), 1.0: torch.tensor([0.6, 0.4])}
    explorer = explore_alpha(learned, torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5]))
    first, caption = bytes(explorer.picture.value), explorer.caption.value
    explorer.slider.value = 0
    assert bytes(explorer.picture.value) != first and explorer.caption.value != caption
    assert bytes(explorer.picture.value).startswith(b"\x89PNG") and "alpha = 0" in explorer.caption.value
    assert "2 settings" in repr(explorer) and len(explore_discount().captions) == 10


def test_a_static_run_leaves_no_widget_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CQL_TUTORIAL_STATIC", raising=False)
    explorer = explore_discount()
    assert "application/vnd.jupyter.widget-view+json" in explorer._repr_mimebundle_()
    monkeypatch.setenv("CQL_TUTORIAL_STATIC", "1")
    assert set(explorer._repr_mimebundle_()) == {"text/plain"}
