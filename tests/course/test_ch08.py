"""Chapter 08: each part of the update against the package's own, with gradients; every message proven by its mutant."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import nbformat
import pytest
import torch

from cql_tutorial import CQLAgent, losses
from cql_tutorial.batch import Noise
from cql_tutorial.course import SESSION
from cql_tutorial.course.checker import Exercise, Result, check_answer
from cql_tutorial.course.exercises import ch08
from cql_tutorial.course.studies import ch08 as studies_08
from cql_tutorial.envs import Maze
from cql_tutorial.networks import TanhGaussian
from tests import ROOT

DOUBLE = torch.float64
EXERCISES = {id: exercise for id, exercise in SESSION.exercises.items() if id.startswith("08.")}
MUTANTS = [(exercise, mutant) for exercise in EXERCISES.values() for mutant in exercise.mutants]


def normal(*shape: int, seed: int = 0, moves: bool = True) -> torch.Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    return drawn.requires_grad_(moves)


def same_with_gradients(mine: torch.Tensor, theirs: torch.Tensor, *leaves: torch.Tensor) -> None:
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    found, wanted = (
        torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True) for value in (mine, theirs)
    )
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- references
def test_the_target_is_the_package_s() -> None:
    for seed in range(3):
        rewards, next_q = normal(50, seed=seed, moves=False), normal(4, 50, seed=seed + 10, moves=False)
        ended = torch.rand(50, generator=torch.Generator().manual_seed(seed)) < 0.3
        theirs = losses.td_target(rewards, ended, next_q.amin(0), 0.97)
        torch.testing.assert_close(ch08.bellman_target(rewards, ended, next_q, 0.97), theirs, rtol=0, atol=1e-14)
        assert torch.equal(ch08.bellman_target(rewards, ended, next_q, 0.97)[ended], rewards[ended])


def test_the_critics_loss_is_the_sum_in_the_agent_s_update() -> None:
    q, y, penalty, log_multiplier = normal(3, 8), normal(8, seed=1), normal(3, seed=2), normal(seed=3)
    theirs = (losses.td_loss(q, y) + log_multiplier.detach().exp() * penalty).sum()
    same_with_gradients(ch08.critic_loss(q, y, penalty, log_multiplier), theirs, q, y, penalty, log_multiplier)


def test_the_candidates_are_those_the_agent_proposes() -> None:
    config = {"state_dim": 3, "action_dim": 2, "hidden_dim": 8, "cql_n_actions": 4, "dtype": "float64", "device": "cpu"}
    agent = CQLAgent(config)
    policy, next_policy = (
        agent.actor(normal(5, 3, seed=seed, moves=False).to(agent.dtype)) for seed in (1, 2)
    )  # TanhGaussian(mean, log_std)
    noise = agent.draw_noise(5)
    with torch.no_grad():
        theirs = agent.sample_candidates(policy, next_policy, noise)
        mine = ch08.candidates(*policy, *next_policy, noise.uniform, noise.policy, noise.next_policy)
    assert isinstance(policy, TanhGaussian) and agent.dtype == DOUBLE
    assert mine[0].shape == (5, 12, 2) and mine[1].shape == (5, 12)
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_the_penalty_is_the_package_s_and_ignores_the_next_observations() -> None:
    weights = normal(3, 4 + 2, seed=5)

    def critic(observations: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        rows = torch.cat([observations[:, None].expand(-1, actions.shape[1], -1), actions], -1)
        return torch.einsum("bki,ei->ebk", rows.sin(), weights)

    s, a, k = normal(6, 4, seed=1, moves=False), normal(6, 2, seed=2, moves=False), normal(6, 9, 2, seed=3, moves=False)
    density = normal(6, 9, seed=4, moves=False)
    mine = ch08.conservative_penalty(critic, s, torch.full_like(s, torch.nan), a, k, density)
    theirs = losses.cql_penalty(critic(s, k), density, critic(s, a[:, None])[..., 0])
    assert mine.shape == (3,)
    same_with_gradients(mine.sum(), theirs.sum(), weights)


def test_the_three_small_losses_are_the_package_s() -> None:
    q, target_q, log_prob, number = normal(2, 7), normal(2, 7, seed=1), normal(7, seed=2), normal(seed=3)
    theirs = losses.actor_loss(log_prob, q.amin(0), number.detach())
    same_with_gradients(ch08.actor_loss(q, target_q, log_prob, number), theirs, q, target_q, log_prob, number)
    theirs = losses.temperature_loss(number, log_prob, -6.0)
    same_with_gradients(ch08.temperature_loss(number, log_prob, 6), theirs, number, log_prob)
    penalty = normal(5, seed=4)
    theirs = losses.multiplier_loss(number, losses.normalised_gap(penalty, 6), 0.8)
    same_with_gradients(ch08.multiplier_loss(number, penalty, 6, 0.8), theirs, number, penalty)


def test_a_step_of_descent_turns_temperature_and_multiplier_the_right_way() -> None:
    for log_prob, rises in ((torch.full((4,), 5.0), True), (torch.full((4,), -5.0), False)):  # narrow, wide
        number = torch.zeros((), requires_grad=True)
        ch08.temperature_loss(number, log_prob, 2).backward()
        assert (float(-number.grad) > 0) is rises
    for penalty, rises in ((torch.full((2,), 9.0), True), (torch.full((2,), 1.0), False)):
        number = torch.zeros((), requires_grad=True)
        ch08.multiplier_loss(number, penalty, 2, 1.0).backward()
        assert (float(-number.grad) > 0) is rises


def test_blend_is_lerp_on_new_tensors() -> None:
    target, online = normal(4, 3, moves=False), normal(4, 3, seed=1, moves=False)
    kept = target.clone(), online.clone()
    for tau in (0.0, 0.005, 0.5, 1.0):
        torch.testing.assert_close(ch08.blend(target, online, tau), torch.lerp(target, online, tau))
    assert torch.equal(target, kept[0]) and torch.equal(online, kept[1])


def test_only_one_order_of_the_five_steps_is_right() -> None:
    for example in EXERCISES["08.9"].examples:
        step, start = example.arguments
        wanted, right = ch08.one_update(step, start), []
        for order in itertools.permutations(step):
            state = start
            for name in order:
                state = step[name](state)
            if torch.equal(torch.as_tensor(state), torch.as_tensor(wanted)):
                right.append(order)
        assert right == [("critic", "actor", "temperature", "multiplier", "target")]


def update_by_references(agent: CQLAgent, raw: dict[str, torch.Tensor], noise: Noise) -> None:
    """The chapter's agent: one update of nothing but the reference answers and the agent's networks and optimizers."""
    config, batch = agent.config, agent.prepare(raw)
    s, s_next = batch.observations, batch.next_observations
    kept: dict[str, torch.Tensor] = {}

    def critic(state: int) -> int:
        with torch.no_grad():
            policy, following = agent.actor(s), agent.actor(s_next)
            proposed, density = ch08.candidates(*policy, *following, noise.uniform, noise.policy, noise.next_policy)
            next_q = agent.target_critic(s_next, following.sample(noise.target).actions)
            target = ch08.bellman_target(batch.rewards, batch.terminations.bool(), next_q, config.discount)
        penalty = ch08.conservative_penalty(agent.critic, s, s_next, batch.actions, proposed, density)
        kept["penalty"] = penalty
        agent.step("critic", ch08.critic_loss(agent.critic(s, batch.actions), target, penalty, agent.log_multiplier))
        return state

    def actor(state: int) -> int:
        sample = agent.actor(s).sample(noise.actor)
        kept["log_prob"] = sample.log_prob
        q, target_q = agent.critic(s, sample.actions), agent.target_critic(s, sample.actions)
        agent.step("actor", ch08.actor_loss(q, target_q, sample.log_prob, agent.log_temperature.exp()))
        return state

    def temperature(state: int) -> int:
        loss = ch08.temperature_loss(agent.log_temperature, kept["log_prob"], config.action_dim)
        agent.step("temperature", loss)
        return state

    def multiplier(state: int) -> int:
        dual = agent.log_multiplier, kept["penalty"], config.action_dim, config.cql_target_action_gap
        agent.step("multiplier", ch08.multiplier_loss(*dual))
        return state

    @torch.no_grad()
    def target(state: int) -> int:
        pairs = zip(agent.target_critic.parameters(), agent.critic.parameters(), strict=True)
        for slow, online in pairs:
            slow.copy_(ch08.blend(slow, online, config.tau))
        return state + 1

    steps = {f.__name__: f for f in (actor, critic, multiplier, target, temperature)}
    assert ch08.one_update(steps, 0) == 1


def test_the_references_together_are_the_package_s_update() -> None:
    settings = {"state_dim": 3, "action_dim": 2, "hidden_dim": 16, "cql_n_actions": 4, "cql_lagrange": True, "seed": 3}
    settings |= {"dtype": "float64", "device": "cpu", "cql_target_action_gap": 0.5}
    theirs, mine = CQLAgent(settings), CQLAgent(settings)
    for update in range(10):
        s, s_next = normal(8, 3, seed=update, moves=False), normal(8, 3, seed=update + 50, moves=False)
        batch = {"observations": s, "next_observations": s_next, "actions": normal(8, 2, moves=False).tanh()}
        batch |= {"rewards": normal(8, seed=update + 90, moves=False), "terminations": torch.arange(8) % 3 == 0}
        noise = theirs.draw_noise(8)
        theirs.update(batch, noise)
        update_by_references(mine, batch, noise)
    for name, module in theirs.named_children():
        pairs = zip(module.parameters(), mine.get_submodule(name).parameters(), strict=True)
        assert max(float((a - b).detach().abs().max()) for a, b in pairs) < 1e-9, name
    for name in ("log_temperature", "log_multiplier"):
        assert abs(float(getattr(theirs, name).detach() - getattr(mine, name).detach())) < 1e-9, name
    assert float(mine.log_multiplier.detach()) != CQLAgent(settings).log_multiplier.item()


# ---------------------------------------------------------------- every check is proven
def stub(exercise: Exercise) -> Any:
    scope: dict[str, Any] = {}
    exec(exercise.stub, scope)
    return next(value for name, value in scope.items() if callable(value) and not name.startswith("__"))


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=lambda e: e.id)
def test_stub_reference_and_shape_of_an_exercise(exercise: Exercise) -> None:
    assert check_answer(exercise, stub(exercise)).status == "not attempted"
    assert check_answer(exercise, exercise.reference).status == "passed"
    assert len(exercise.mutants) >= 4 and len(exercise.hints) == 3 and "____" in exercise.hints[2]
    messages = [mutant.message for mutant in exercise.mutants]
    assert len(set(messages)) == len(messages)
    assert [m for m in messages if re.match(r"[A-Z][a-z]", m) or not m.endswith((".", "?", ")"))] == []
    body = exercise.source.strip().splitlines()[len(exercise.stub.strip().splitlines()) - 1 :]
    assert 1 <= len(body) <= 12
    columns = [len(line) for line in exercise.stub.split("\n", 1)[1].splitlines()]
    assert max(columns) <= 88 and "->" in exercise.stub


@pytest.mark.parametrize(("exercise", "mutant"), MUTANTS, ids=lambda x: getattr(x, "id", None) or x.name)
def test_each_mutant_is_told_its_own_mistake(exercise: Exercise, mutant: Any) -> None:
    result = check_answer(exercise, mutant.function)
    assert result.status == "wrong" and result.mutant == mutant.name, result
    assert result.message.startswith(mutant.message) and "yours:" in result.message and "expected:" in result.message


def test_the_first_example_alone_names_nearly_every_mistake() -> None:
    late = set()
    for exercise, mutant in MUTANTS:
        if exercise.examples[0].about not in check_answer(exercise, mutant.function).message:
            late.add(mutant.name)
    assert late == {"broadcast", "in threes", "only rises"}  # more candidates, a CQL gap below its target


# ---------------------------------------------------------------- wrong answers that are no mutant's
def unforeseen(id: str, function: Any) -> Result:
    result = check_answer(EXERCISES[id], function)
    assert result.status == "wrong" and result.mutant == "", result
    return result


def test_a_wrong_gradient_is_described_when_no_mutant_matches() -> None:
    def half_detached(q, target, penalty, log_multiplier):  # the value is right, one critic's Q is a constant
        q = torch.cat([q[:1].detach(), q[1:]])
        return ch08.critic_loss(q, target, penalty, log_multiplier)

    assert "its gradient in q_data is not" in unforeseen("08.2", half_detached).message
    moved = unforeseen("08.5", lambda q, y, p, t: ch08.actor_loss(q, y, p, t) + y.mean() - y.mean().detach())
    assert "target_q is a constant here and your loss moves it" in moved.message
    still = unforeseen("08.2", lambda q, y, p, m: ch08.critic_loss(q.detach(), y, p, m))
    assert "no gradient reaches q_data" in still.message
    assert (
        "no gradient reaches log_temperature"
        in unforeseen("08.6", lambda t, p, d: ch08.temperature_loss(t.detach(), p, d)).message
    )
    other = unforeseen("08.7", lambda m, p, d, g: 2 * ch08.multiplier_loss(m, p, d, g))
    assert "2 times what it should be" in other.message


# ---------------------------------------------------------------- the notebook's agent, with one wrong function
NOTEBOOK = ROOT / "notebooks" / "08_the_full_agent.ipynb"
REFERENCES = {exercise.reference.__name__: exercise.reference for exercise in EXERCISES.values()}
STEPS = "each step moves the parameters of its own name alone"
ORDER = "the two steps do not read what the other writes"
EQUAL = {  # (exercise, mutant) -> why the agent with this wrong function still equals the package's
    ("08.2", "target moves"): f"{STEPS}; the target was computed without gradients",
    ("08.2", "multiplier moves"): STEPS,
    ("08.2", "both move"): STEPS,
    ("08.3", "uniform last"): "actions and densities change places together: a sum has no order",
    ("08.4", "mean over critics"): "the loss sums over the critics: E times their mean is their sum",
    ("08.5", "temperature moves"): STEPS,
    ("08.6", "log_prob moves"): STEPS,
    ("08.7", "penalty moves"): STEPS,
    ("08.9", "multiplier before the actor"): ORDER,
    ("08.9", "multiplier before the temperature"): ORDER,
    ("08.9", "target networks before the actor"): ORDER,
    ("08.9", "target networks before the multiplier"): ORDER,
}


def handmade(**functions: Any) -> type[CQLAgent]:
    """`HandmadeCQL` as the notebook's own cell defines it, with some of its nine functions exchanged."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    (source,) = [cell.source for cell in cells if cell.source.startswith("class HandmadeCQL(")]
    scope: dict[str, Any] = {"math": math, "torch": torch, "CQLAgent": CQLAgent, **REFERENCES, **functions}
    exec(source, scope)
    return scope["HandmadeCQL"]


def furthest(kind: type[CQLAgent], updates: int = 10) -> float:
    """Largest difference of any number of two agents after ten updates, in float64, with multiplier and temperature."""
    config = {
        "state_dim": 3, "action_dim": 3, "hidden_dim": 16, "cql_n_actions": 4, "cql_alpha": 2.0, "cql_lagrange": True,
        "cql_target_action_gap": 0.1, "tau": 0.05, "dtype": "float64", "device": "cpu", "seed": 3,
    }  # fmt: skip
    mine, theirs = kind(config), CQLAgent(config)
    for seed in range(updates):
        batch = studies_08.random_batch(32, 3, 3, seed=seed)
        mine.update(batch)
        theirs.update(batch)
    pairs = zip(mine.state().values(), theirs.state().values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs if a.is_floating_point())


def test_the_notebook_s_agent_is_the_package_s() -> None:
    assert furthest(handmade()) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize(("exercise", "mutant"), MUTANTS, ids=lambda x: getattr(x, "id", None) or x.name)
def test_a_wrong_function_breaks_the_equality_or_it_is_said_why_not(exercise: Exercise, mutant: Any) -> None:
    try:
        difference = furthest(handmade(**{exercise.reference.__name__: mutant.function}))
    except (KeyError, RuntimeError):  # a step reads what another should have left, or shapes do not fit
        difference = math.inf
    equal = (exercise.id, mutant.name) in EQUAL
    assert (difference < 1e-9) is equal, f"differs by {difference:.1e}"


def test_the_reasons_are_of_known_mutants() -> None:
    assert set(EQUAL) <= {(exercise.id, mutant.name) for exercise, mutant in MUTANTS} and all(EQUAL.values())


# ---------------------------------------------------------------- the studies
def test_pairs_are_taken_draw_by_draw() -> None:
    rows = [
        {"draw": d, "algorithm": a, "cql_alpha": c, "return": r}
        for d, a, c, r in (
            ("0", "cql", "1", "3"),
            ("0", "cql", "1", "5"),
            ("1", "cql", "1", "10"),
            ("0", "cql", "2", "99"),
            ("0", "bc", "", "1"),
            ("1", "bc", "", "4"),
            ("1", "bc", "", "6"),
        )
    ]
    assert studies_08.against_cloning(rows, "1") == [3.0, 5.0]
    assert studies_08.paired([row for row in rows if row["cql_alpha"] != "2"], "cql", "bc", "return") == [3.0, 5.0]


def test_the_letter_of_a_table() -> None:
    seen, unseen = (2.0, 1.0), (1.0, 2.0)
    assert studies_08.letter({("maze", "return"): seen, ("maze", "estimation_error"): unseen}) == "a"
    assert studies_08.letter({("maze", "return"): unseen, ("maze", "estimation_error"): seen}) == "b"
    assert studies_08.letter({("maze", "return"): unseen, ("maze", "estimation_error"): unseen}) == "c"


def test_a_snapshot_of_the_maze_is_value_action_and_error() -> None:
    world = Maze()
    places = studies_08.maze_places(world)
    assert ((places.abs() <= world.half_width + 1e-6).any(1)).all() and len(places) > 100
    agent = CQLAgent({"state_dim": 2, "action_dim": 2, "hidden_dim": 8, "initial_value": 3.0, "device": "cpu"})
    snapshot = studies_08.maze_snapshot(agent, world, places)
    observations = world.observe(places)
    value = agent.q_values(observations, snapshot["action"]).amin(0).double()
    assert torch.allclose(snapshot["value"], value) and snapshot["action"].shape == places.shape
    assert bool((snapshot["error"] <= value).all())  # rewards are not negative, so no truth is
