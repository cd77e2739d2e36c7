"""Chapter 08: each part of the update against the package's own, with gradients; every message proven by its mutant."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch

from cql_tutorial import CQLAgent, losses
from cql_tutorial.course import SESSION
from cql_tutorial.course.checker import Exercise, Result, check_answer
from cql_tutorial.course.exercises import ch08
from cql_tutorial.course.figures import metric_curves
from cql_tutorial.course.ladder import RUNGS
from cql_tutorial.course.studies import ch08 as study
from cql_tutorial.envs import Maze
from cql_tutorial.networks import TanhGaussian

DOUBLE = torch.float64
LATE = {  # the first example cannot tell these
    *("broadcast", "only rises", "bounds in the loss", "size of the distance"),
    *("first two critics", "first and last critic"),
    *("overflow", "one maximum for all states", "all axes of one squeezed"),
    *("absolute, only cools", "clamped, only cools"),
    *("rows of other states", "rows of other states at s"),
}
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
        mine = ch08.bellman_target(rewards, ended, next_q, rewards, torch.tensor(0.3), 0.97)
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-14)
        assert torch.equal(mine[ended], rewards[ended])


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


SCENARIOS = {
    "fixed alpha": {"seed": 11},
    "five critics, logged actions that stand out": {"seed": 12, "n_critics": 5, "stand_out": True},
    "multiplier": {"seed": 13, "cql_lagrange": True, "action_low": -2.0, "action_high": 2.0},
    "log_std beyond its clamps": {"seed": 14, "spread": True},
    "multiplier at its lower bound": {
        "seed": 15, "cql_lagrange": True, "cql_alpha": 1.01e-3, "cql_target_action_gap": 9.0
    },
    "multiplier at its upper bound": {
        "seed": 16, "cql_lagrange": True, "cql_alpha": 0.99e4, "cql_target_action_gap": -9.0
    },
}  # fmt: skip


@pytest.mark.parametrize("change", SCENARIOS.values(), ids=SCENARIOS)
def test_the_page_is_the_package_s_update(change: dict[str, Any]) -> None:
    settings, start, updates = study.scenario(updates=10, **change)
    mine, theirs = ch08.train_by_hand(settings, start, updates), study.by_the_package(settings, start, updates)
    assert study.furthest(mine, theirs) < 1e-12
    moved = study.furthest(mine, study.by_the_package(settings, start, ()))
    assert moved > 1e-3  # ten updates have moved them


@pytest.mark.parametrize("number", range(len(RUNGS)), ids=[rung.right for rung in RUNGS])
def test_each_rung_is_the_package_s_update(number: int) -> None:
    settings, start, updates = EXERCISES["08.9"].examples[number].arguments
    mine, theirs = ch08.train_by_hand(settings, start, updates), study.by_the_package(settings, start, updates)
    assert study.furthest(mine, theirs) < 1e-12


def test_the_rungs_add_what_they_say() -> None:
    """What is not there yet cannot be seen; then an end, a penalty below 0, both clamps, either bound."""
    examples = [example.arguments for example in EXERCISES["08.9"].examples]
    assert len(examples[0][2]) == 1 and {len(updates) for _, _, updates in examples[1:]} == {2, 3}
    rates = ("critic_lr", "actor_lr", "temperature_lr", "multiplier_lr", "tau", "discount", "alpha", "cql_alpha")
    reaching = []  # logged actions that all but touch the bounds: all but those that were chosen to stand out
    for settings, start, updates in examples:
        low, high = settings["action_low"], settings["action_high"]
        values = [settings[name] for name in rates if settings[name] not in (0.0, 1e-20)]
        values += [1 - settings["tau"], 1 - settings["discount"], settings["cql_target_action_gap"], low, high]
        assert len({round(value, 9) for value in values}) == len(values), "two settings of one value"
        scaled = torch.stack([2 * (batch["actions"] - low) / (high - low) - 1 for batch, _ in updates])
        assert (low, high) != (-1.0, 1.0)
        reaching.append(float(scaled.abs().amax()) > 0.9999)
        assert settings["cql_lagrange"] or start["log_multiplier"] == math.log(settings["cql_alpha"])
    assert reaching == [not rung.scenario.get("stand_out", False) for rung in RUNGS]
    ends = [any(bool(batch["terminations"].any()) for batch, _ in updates) for _, _, updates in examples]
    assert ends == [False] * 4 + [True] * (len(examples) - 4)
    assert examples[1][0]["cql_alpha"] < 1e-3  # a fixed one below the bounds of one that learns

    def metrics(number: int) -> tuple[CQLAgent, dict[str, torch.Tensor]]:
        settings, start, updates = examples[number]
        agent = study.load_numbers(CQLAgent(settings), study.by_the_package(settings, start, ()))
        return agent, agent.update(*updates[0])

    assert float(metrics(5)[1]["cql_loss"]) > 0 > float(metrics(6)[1]["cql_loss"])
    agent, _ = metrics(7)
    log_std = agent.actor(examples[7][2][0][0]["observations"]).log_std
    assert float(log_std.detach().min()) == -5.0 and float(log_std.detach().max()) == 2.0
    for (settings, start, updates), bound in zip(examples[-2:], (1e-3, 1e4), strict=True):
        assert float(ch08.train_by_hand(settings, start, updates)[3].exp()) == pytest.approx(bound)


def test_numbers_go_into_an_agent_and_come_back() -> None:
    settings, start, updates = study.scenario(updates=1, seed=3)
    numbers = ch08.train_by_hand(settings, start, updates)
    agent = study.load_numbers(CQLAgent(settings), numbers)
    assert study.furthest(numbers, study.numbers_of(agent)) < 1e-15
    observations = updates[0][0].observations
    plain = torch.nn.Sequential(
        *[module for size in ((8, 8), (8, 8)) for module in (torch.nn.Linear(*size), torch.nn.ReLU())]
    )
    plain.append(torch.nn.Linear(8, 1)).double().load_state_dict(study.linear_weights(agent.critic, 1))
    rows = torch.cat([observations, torch.zeros(6, 3, dtype=DOUBLE)], 1)
    with torch.no_grad():
        torch.testing.assert_close(plain(rows)[:, 0], agent.critic(observations, torch.zeros(6, 3, dtype=DOUBLE))[1])


@pytest.mark.slow
def test_run_x_has_the_bug_that_the_exercise_names() -> None:
    """The entropy term turned round: the policy sharpens without end, and the temperature rises against it."""
    config = {"state_dim": 3, "action_dim": 2, "hidden_dim": 16, "cql_n_actions": 4, "device": "cpu", "seed": 1}
    config |= {"actor_lr": 3e-3, "temperature_lr": 1e-2, "alpha": 0.5}
    run_x, right = study.RunX(config), CQLAgent(config)
    for seed in range(200):
        batch = study.random_batch(32, 3, 2, seed=seed, dtype=torch.float32)
        wrong, usual = run_x.update(batch), right.update(batch)
        if seed == 150:
            earlier = float(wrong["temperature"])
    assert float(wrong["entropy"]) < -20 < -4 < float(usual["entropy"])
    assert float(wrong["temperature"]) > earlier > 0
    assert ch08.bug_of_run_x() == "b" and "entropy term of the actor" in ch08.BUGS["b"]


def test_the_listing_s_wrong_line_mixes_the_states() -> None:
    """repeat(N, 1) with view(B, N) puts other states' rows into a state; repeat_interleave does not."""
    lines = ch08.LISTING.splitlines()
    assert len(lines) == 10 and "repeat(N, 1)" in lines[ch08.wrong_line() - 1]
    states = torch.arange(3.0)[:, None]
    assert not torch.equal(states.repeat(4, 1).view(3, 4), states.expand(3, 4))
    assert torch.equal(states.repeat_interleave(4, 0).view(3, 4), states.expand(3, 4))


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
    assert 1 <= len(body) <= (80 if exercise.id == "08.9" else 12)  # the page is the one exercise beyond twelve lines
    columns = [len(line) for line in exercise.stub.split("\n", 1)[1].splitlines()]
    assert max(columns) <= 88 and "->" in exercise.stub


def test_the_first_example_alone_names_nearly_every_mistake() -> None:
    late = set()
    for exercise, mutant in MUTANTS:
        small = exercise.id != "08.9"  # whose first example is one update without a multiplier
        if small and exercise.examples[0].about not in check_answer(exercise, mutant.function).message:
            late.add(mutant.name)
    assert late == LATE


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
    other = unforeseen("08.7", lambda m, p, d, g: 2 * ch08.multiplier_loss(m, p, d, g))
    assert "2 times what it should be" in other.message


def test_unlisted_wrong_penalties_do_not_pass() -> None:
    """Typed as a student might, and none of them a mutant."""

    def half_detached(critic, s, s_next, a, k, density):  # the uniform half alone carries a gradient
        half = k.shape[1] // 2
        q = torch.cat([critic(s, k[:, :half]), critic(s, k[:, half:]).detach()], -1)
        return (losses.log_partition(q, density) - critic(s, a[:, None])[..., 0]).mean(-1)

    def softplus(critic, s, s_next, a, k, density):
        q = losses.log_partition(critic(s, k), density)
        return torch.nn.functional.softplus(q - critic(s, a[:, None])[..., 0]).mean(-1)

    def median(critic, s, s_next, a, k, density):
        return (losses.log_partition(critic(s, k), density) - critic(s, a[:, None])[..., 0]).median(-1).values

    for function in (half_detached, softplus, median):
        unforeseen("08.4", function)


# ---------------------------------------------------------------- the page, with one wrong function
CLEARED = "each optimiser clears the gradients of its own parameters before its own loss"
SMALL = "the values of the networks are small, and alike in all states"
WIDE = "a policy that is not trained yet has more entropy than its target, in every one of these updates"
EQUAL = {  # (exercise, mutant) -> why the page with this wrong function still equals the package's agent
    ("08.2", "target moves"): f"{CLEARED}; the target was computed without gradients",
    ("08.2", "multiplier moves"): CLEARED,
    ("08.2", "both move"): CLEARED,
    ("08.3", "uniform last"): "actions and densities change places together: a sum has no order",
    ("08.3", "next before here"): "actions and densities change places together: a sum has no order",
    ("08.4", "mean over critics"): "the loss sums over the critics: E times their mean is their sum",
    ("08.4", "K over 3"): "a constant, and no multiplier reads it",
    ("08.4", "normalised"): "a constant, and no multiplier reads it",
    ("08.4", "raw sum"): "a constant, and no multiplier reads it",
    ("08.4", "overflow"): SMALL,
    ("08.4", "one maximum for all states"): SMALL,
    ("08.4", "all axes of one squeezed"): "the batch has more than one state",
    ("08.5", "temperature moves"): "the page hands over a temperature that is detached",
    ("08.6", "absolute, only cools"): WIDE,
    ("08.6", "clamped, only cools"): WIDE,
    ("08.7", "bounds in the loss"): "the update keeps the multiplier inside its bounds",
}
PAGE = [(exercise, mutant) for exercise, mutant in MUTANTS if exercise.id not in ("08.8", "08.9", "08.10")]


def page_with(**functions: Any) -> Any:
    """The page with one of the chapter's functions exchanged."""
    scope = {**vars(ch08), **functions}
    exec(EXERCISES["08.9"].source, scope)
    return scope["train_by_hand"]


@pytest.mark.parametrize(("exercise", "mutant"), PAGE, ids=lambda x: getattr(x, "id", None) or x.name)
def test_a_wrong_function_breaks_the_equality_or_it_is_said_why_not(exercise: Exercise, mutant: Any) -> None:
    constant = "multiplier reads it" in EQUAL.get((exercise.id, mutant.name), "")
    changes = {"n_critics": 3, "action_low": -2.0, "stand_out": True, "cql_lagrange": not constant}
    changes |= {"cql_target_action_gap": 0.4}
    settings, start, updates = study.scenario(updates=4, seed=5, **changes)
    page = page_with(**{exercise.reference.__name__: mutant.function})
    try:
        difference = study.furthest(page(settings, start, updates), study.by_the_package(settings, start, updates))
    except (RuntimeError, ValueError):  # shapes that do not fit, a graph that a step has freed
        difference = math.inf
    equal = (exercise.id, mutant.name) in EQUAL
    assert (difference < 1e-9) is equal, f"differs by {difference:.1e}"


def test_the_reasons_are_of_known_mutants() -> None:
    assert set(EQUAL) <= {(exercise.id, mutant.name) for exercise, mutant in MUTANTS} and all(EQUAL.values())


def test_a_wrong_page_says_which_lines_differ() -> None:
    page, changed = ch08.wrong_page("entropy target +A")
    assert changed.splitlines() == [
        "- temperature_loss(log_temperature, log_prob, A))",
        "+ temperature_loss(log_temperature, log_prob, -A))",
    ]
    settings, start, updates = EXERCISES["08.9"].examples[8].arguments
    right = ch08.train_by_hand(settings, start, updates[:2])
    assert study.furthest(page(settings, start, updates[:2]), right) > 1e-6


# ---------------------------------------------------------------- what a wrong page is told
PAGE_LINES = EXERCISES["08.9"].source


def page_as(old: str, new: str, more: str = "") -> Any:
    """The page with one passage exchanged, as a student might have it."""
    assert PAGE_LINES.count(old) == 1, old
    scope = dict(vars(ch08))
    exec(PAGE_LINES.replace(old, new) + more, scope)
    return scope["train_by_hand"]


SLIPS_OF_A_PAGE = {  # (what is exchanged, for what, where it is seen first, and what is said)
    "rewards a tenth": (
        'bellman_target(batch["rewards"],', 'bellman_target(0.1 * batch["rewards"],',
        "bare update", "the critics are wrong",
    ),
    "half the error": (
        "critic_loss(values(critics, s, a), y, penalty, log_multiplier))",
        "critic_loss(values(critics, s, a), y, penalty, log_multiplier) / 2 + 0 * y.sum())",
        "without a half", "the critics are wrong",
    ),
    "sampled by the variance": (
        "        u = mean + log_std.exp() * noise.actor", "        u = mean + (log_std / 2).exp() * noise.actor",
        "discount, temperature and multiplier all but 0", "the actor is wrong",
    ),
    "density of the mean": (
        "        log_prob = tanh_gaussian_log_prob(u, mean, log_std)",
        "        log_prob = tanh_gaussian_log_prob(u, u.detach(), log_std)",
        "", "is wrong",
    ),
    "the mean of the targets": (
        'bellman_target(batch["rewards"], ended, next_q,',
        'bellman_target(batch["rewards"], ended, next_q.mean(0, keepdim=True),',
        "With a discount of 0.9", "the critics are wrong",
    ),
    "goes on where it ended": (
        'ended = batch["terminations"].bool()', 'ended = batch["terminations"].bool() & (batch["rewards"] > 0)',
        "With transitions that end the task", "it is the terminations",
    ),
    "candidates in other units": (
        "drawn = noise.uniform,", "drawn = noise.uniform * (high - low) / 2 + (high + low) / 2,",
        "With a penalty of weight 2.3", "noise.uniform as it is",
    ),
    "log_std from below alone": (
        "log_std.clamp(-5, 2)", "log_std.clamp(min=-5)",
        "With log standard deviations below -5 and above 2", "clamped to [-5, 2]",
    ),
    "target times A": (
        'settings["cql_target_action_gap"])', 'A * settings["cql_target_action_gap"])',
        "With a multiplier that learns", "log multiplier",
    ),
    "the first noise for all": (
        "        s, s_next = batch", "        noise = updates[0][1]\n        s, s_next = batch",
        "a second update of this kind", "batch and noise are those of this update",
    ),
    "actor now and then": (
        "step(actor_adam, actor_loss(q, target_q, log_prob, temperature))",
        "[step(actor_adam, actor_loss(q, target_q, log_prob, temperature)) for _ in [0] if noise is updates[0][1]]",
        "a second update of this kind", "is there a step in every update?",
    ),
    "temperature of the next action": (
        "temperature_loss(log_temperature, log_prob, A))", "temperature_loss(log_temperature, next_log_prob, A))",
        "", "the log temperature is wrong",
    ),
    "another first temperature": (
        'log_temperature = start["log_temperature"].clone().requires_grad_()',
        'log_temperature = torch.zeros_like(start["log_temperature"]).requires_grad_()',
        "all but 0", 'begins with start["log_temperature"]',
    ),
    "biases first": (
        "parameters_to_vector(net.parameters()).detach()",
        "parameters_to_vector([p for _, p in sorted(net.named_parameters())]).detach()",
        "bare", "the right numbers in another order",
    ),
    "alpha 1 where it is fixed": (
        'log_multiplier = start["log_multiplier"].clone().requires_grad_()',
        'log_multiplier = (start["log_multiplier"] * settings["cql_lagrange"]).clone().requires_grad_()',
        "all but 0", 'it begins with start["log_multiplier"]',
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "where", "said"), SLIPS_OF_A_PAGE.values(), ids=SLIPS_OF_A_PAGE)
def test_a_wrong_page_is_told_the_part_that_is_wrong(old: str, new: str, where: str, said: str) -> None:
    message = unforeseen("08.9", page_as(old, new)).message.split("\n")[0]
    print(message)
    assert "?." not in message and said in message and (not where or where.removeprefix("bare").strip() in message)
    shown = re.search(r"yours ([^,]+), expected ([^,]+),", message)
    assert shown is None or shown[1] != shown[2], "digits enough to differ"


def test_two_names_of_one_list_are_seen_however_the_targets_move() -> None:
    scope, source = dict(vars(ch08)), PAGE_LINES
    for old, new in (
        ('[network(S + A, 1, weights) for weights in start["targets"]]', "critics"),
        ('slow.lerp_(fast, settings["tau"])', 'slow.mul_(1 - settings["tau"]).add_(settings["tau"] * fast)'),
    ):
        assert source.count(old) == 1
        source = source.replace(old, new)
    exec(source, scope)
    assert "one list under two names" in unforeseen("08.9", scope["train_by_hand"]).message


def test_what_a_target_copies_is_not_told_as_two_mistakes_that_were_not_made() -> None:
    moves = 'slow.lerp_(fast, settings["tau"])'
    copied = "slow.copy_(fast)"
    assert check_answer(EXERCISES["08.9"], page_as(moves, copied)).mutant == "targets copied"
    # with a second mistake beside it, which shows later
    drawn = "noise.policy, noise.next_policy\n"
    source = PAGE_LINES.replace(moves, copied).replace(drawn, "noise.next_policy, noise.policy\n")
    scope = dict(vars(ch08))
    exec(source, scope)
    said = unforeseen("08.9", scope["train_by_hand"]).message
    assert "or are the targets copied in every update" in said and "change places in what is returned" not in said
    assert "Or from this one: the targets are copied" in said


def test_what_should_weigh_nothing_and_does_is_asked_for_on_the_first_rung() -> None:
    step = "critic_loss(values(critics, s, a), y, penalty, log_multiplier))"
    penalised = page_as(step, "critic_loss(values(critics, s, a), y, 0.3 * penalty, 0 * log_multiplier))")
    assert (
        "if the penalty has one, its weight is not exp of the log multiplier" in unforeseen("08.9", penalised).message
    )
    warm = page_as("log_temperature.exp().detach()\n\n", "0.3 + log_temperature.exp().detach()\n\n")
    assert "its weight is not exp of the log temperature" in unforeseen("08.9", warm).message


def test_what_stands_at_the_start_is_said_and_why_that_may_be() -> None:
    numbers = "return numbers(critics), numbers([actor])[0],"
    began = page_as(numbers, 'return numbers([network(S + A, 1, w) for w in start["critics"]]), numbers([actor])[0],')
    assert "is their vector taken before the loop?" in check_answer(EXERCISES["08.9"], began).message
    lost = page_as(
        "        u = mean + log_std.exp() * noise.actor", "        u = (mean + log_std.exp() * noise.actor).detach()"
    )
    assert "does one arrive (no no_grad, no detach" in unforeseen("08.9", lost).message
    backwards = page_as('slow.lerp_(fast, settings["tau"])', 'fast.lerp_(slow, 2 * settings["tau"])')
    assert "As at the start: target critics." in unforeseen("08.9", backwards).message
    one = page_as('for weights in start["critics"]]', 'for weights in start["critics"][:1] * len(start["critics"])]')
    assert "is it one network under several names?" in unforeseen("08.9", one).message


def test_sizes_that_do_not_fit_and_a_leaf_changed_in_place_are_explained() -> None:
    bare = check_answer(EXERCISES["08.9"], page_as(".squeeze(-1) for net in networks", " for net in networks"))
    assert bare.status == "crashed" and "which squeeze(-1) takes away" in bare.message
    leaf = page_as(
        "        with torch.no_grad():\n            for slow, fast", "        if True:\n            for slow, fast"
    )
    assert "in place only under torch.no_grad()" in check_answer(EXERCISES["08.9"], leaf).message


def test_rewards_reach_beyond_where_some_cut_them_off() -> None:
    clipped = page_as('bellman_target(batch["rewards"],', 'bellman_target(batch["rewards"].clamp(-2, 2),')
    assert "With a second update of this kind the critics are wrong" in unforeseen("08.9", clipped).message
    scale = page_as('bellman_target(batch["rewards"],', 'bellman_target(batch["rewards"].clamp(-9, 9),')
    assert check_answer(EXERCISES["08.9"], scale).status == "passed"  # no reward is as large: nothing is cut off


def test_a_page_that_steps_the_multiplier_first_is_not_told_of_anything_else() -> None:
    early = next(m.function for m in EXERCISES["08.9"].mutants if m.name == "multiplier before critics")
    result = check_answer(EXERCISES["08.9"], early)
    assert result.mutant == "multiplier before critics" and "Something else" not in result.message


def test_a_page_that_changes_the_batch_is_told_so_and_the_example_stays() -> None:
    def scales_in_place(settings, start, updates):
        answer = ch08.train_by_hand(settings, start, updates)
        updates[0][0]["actions"].sub_(0.5)
        return answer

    before = EXERCISES["08.9"].examples[0].arguments[2][0][0]["actions"].clone()
    said = check_answer(EXERCISES["08.9"], scales_in_place)
    assert said.status == "wrong" and "changes its inputs in place (`updates`)" in said.message
    assert "What it returns is right" in said.message
    assert torch.equal(EXERCISES["08.9"].examples[0].arguments[2][0][0]["actions"], before)


def test_noise_is_read_by_name() -> None:
    message = check_answer(EXERCISES["08.9"], page_as("noise.target\n", 'noise["target"]\n')).message
    assert "not subscriptable" in message and "x.name" in message
    assert "noise.actor" in EXERCISES["08.9"].stub


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
    assert study.against_cloning(rows, "1") == [3.0, 5.0]
    assert study.paired([row for row in rows if row["cql_alpha"] != "2"], "cql", "bc", "return") == [3.0, 5.0]


def test_what_a_table_tells_apart() -> None:
    seen, unseen = (2.0, 1.0), (1.0, 2.0)
    assert study.told_apart({("maze", "return"): seen, ("maze", "estimation_error"): unseen}) == "return"
    assert study.told_apart({("maze", "return"): unseen, ("maze", "estimation_error"): seen}) == "error"
    assert study.told_apart({("maze", "return"): unseen, ("maze", "estimation_error"): unseen}) == "neither"


def test_metric_curves_tell_how_each_run_ends() -> None:
    steps = [0.0, 100.0, 200.0]
    histories = {
        "CQL": {"step": steps, "entropy": [1.0, 0.5, -2.0]},
        "run X": {"step": steps, "entropy": [0.0, float("nan"), 3.0]},
    }
    figure = metric_curves(histories, {"entropy": "entropy, nats"}, {"entropy": ("target", -2.0)})
    assert figure.caption == "Second half of the runs. entropy, nats: CQL falls, run X no clear trend."
    assert figure.png().startswith(b"\x89PNG")


def test_a_snapshot_of_the_maze_is_value_action_and_error() -> None:
    world = Maze()
    places = study.maze_places(world)
    assert ((places.abs() <= world.half_width + 1e-6).any(1)).all() and len(places) > 100
    agent = CQLAgent({"state_dim": 2, "action_dim": 2, "hidden_dim": 8, "initial_value": 3.0, "device": "cpu"})
    snapshot = study.maze_snapshot(agent, world, places)
    observations = world.observe(places)
    value = agent.q_values(observations, snapshot["action"]).amin(0).double()
    assert torch.allclose(snapshot["value"], value) and snapshot["action"].shape == places.shape
    assert bool((snapshot["error"] <= value).all())  # rewards are not negative, so no truth is
