"""Chapter 02: references against the package's ruler, slow loops and closed forms; and what its figures say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cql_tutorial import load_dataset
from cql_tutorial.course.exercises import ch02
from cql_tutorial.course.figures import cut_rollouts, error_maps, interval_coverage, map_and_curve, settling, value_maps
from cql_tutorial.course.figures.grids import plain
from cql_tutorial.envs import Gridworld
from cql_tutorial.envs.tabular import TabularWorld
from cql_tutorial.evaluation import estimation_report, monte_carlo_value, optimal_q, solve_q, t_quantile
from cql_tutorial.losses import td_target
from tests import ROOT

torch.set_num_threads(1)
WORLD = Gridworld()
TABLES = (WORLD.expected_rewards, WORLD.transitions)
GOING = ~WORLD.terminal_states
UNIFORM = torch.full((64, 4), 0.25, dtype=torch.float64)


def greedy(q: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(q.argmax(1), q.shape[1]).double()


def policies() -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    random = torch.softmax(2 * torch.randn(64, 4, generator=draw, dtype=torch.float64), 1)
    best = greedy(optimal_q(WORLD))
    return [UNIFORM, random, best, 0.7 * best + 0.3 * UNIFORM]


# ---------------------------------------------------------------- the references, against independent truths
def test_a_backup_is_the_expected_td_target() -> None:
    draw = torch.Generator().manual_seed(1)
    q, policy = torch.randn(64, 4, generator=draw, dtype=torch.float64), policies()[1]
    found = ch02.policy_backup(q, *TABLES, WORLD.terminal_states, policy, 0.9)
    values, ended = (policy * q).sum(1), WORLD.terminal_states
    for s, a in (
        (0, 0),
        (48, 1),
        (54, 2),
        (56, 0),
        (55, 2),
        (60, 3),
    ):  # a corner, cliff's edge, start, above the goal, cliff
        rewards = WORLD.transition_rewards[s, a]
        slow = sum(p * td_target(rewards, ended, values, 0.9)[t] for t, p in enumerate(WORLD.transitions[s, a]))
        assert float(found[s, a]) == pytest.approx(float(slow), abs=1e-12)


@pytest.mark.parametrize("policy", policies(), ids=["uniform", "random", "best", "behaviour"])
def test_the_solve_is_the_packages_ruler_and_the_backups_fixed_point(policy: torch.Tensor) -> None:
    q = ch02.solve_policy(*TABLES, policy, 0.95)
    assert (q - solve_q(WORLD, policy)).abs().max() < 1e-9
    again = ch02.policy_backup(q, *TABLES, WORLD.terminal_states, policy, 0.95)
    assert (again - q).abs().max() < 1e-9


def test_the_hut_is_as_on_paper() -> None:
    q = ch02.solve_policy(ch02.HUT_REWARDS, ch02.HUT, ch02.COIN, 0.5)
    assert torch.allclose(q, torch.tensor([[2.5, 1.5], [1.0, 7.0], [0.0, 0.0]], dtype=torch.float64))
    hut = TabularWorld.from_tables(ch02.HUT, ch02.HUT_REWARDS, ch02.HUT_END, discount=0.5)
    best = torch.tensor([[2.5, 3.0], [1.5, 7.0], [0.0, 0.0]], dtype=torch.float64)
    assert torch.allclose(optimal_q(hut), best) and not torch.equal(q[0].argmax(), best[0].argmax())


def test_the_four_tables_are_what_their_letters_say() -> None:
    """The numbers that the notebook prints, and the one that is nobody's value."""
    tables = ((2.50, 2.27, 1.16, 7.00), (2.50, 3.00, 1.25, 7.00), (2.50, 1.50, 1.00, 7.00), (2.50, 3.00, 1.50, 7.00))
    best = torch.tensor([[0.0, 1.0]] * 3, dtype=torch.float64)
    log = torch.tensor([[0.25, 0.75]] * 3, dtype=torch.float64)  # three times in four, at both places
    q_coin, q_log, q_best = (ch02.solve_policy(ch02.HUT_REWARDS, ch02.HUT, p, 0.5) for p in (ch02.COIN, log, best))
    meant = {"a": q_coin, "b": q_log, "c": q_best, "d": ch02.HUT_REWARDS + 0.5 * ch02.HUT @ q_coin.amax(1)}
    for letter, table in zip(ch02.whose_values(), tables, strict=True):
        assert meant[letter][:2].flatten().tolist() == pytest.approx(table, abs=0.005)
    text = (ROOT / "notebooks" / "02_the_ruler.ipynb").read_text(encoding="utf-8")
    assert all(", ".join(f"{value:.2f}" for value in table) in text for table in tables)


def test_the_listing_is_wrong_in_the_line_that_is_asked_for() -> None:
    """Q^beta at the policy's actions is what the listing computes, and with the policy in line 7 it computes Q^pi."""
    _, target, best, behaviour = policies()
    uniform_next, values = solve_q(WORLD, behaviour), (target * solve_q(WORLD, target)).sum(1)
    rest = {"behaviour": (behaviour * uniform_next).sum(1), "target": values}
    made = {name: WORLD.expected_rewards + 0.95 * WORLD.transitions @ v for name, v in rest.items()}
    assert torch.allclose(made["target"], solve_q(WORLD, target)) and torch.allclose(made["behaviour"], uniform_next)
    assert ch02.wrong_line() == 7 and not torch.allclose(uniform_next, solve_q(WORLD, best))


def test_a_table_is_held_against_its_own_numbers() -> None:
    """The judge of 02.3 contradicts each wrong letter by numbers that follow from the table and that policy alone."""
    right = ch02.whose_values()
    assert all(ch02.judge_letters(form) is None for form in (right, list(right), "".join(right)))
    for place in range(4):
        for letter in "abcde":
            if letter != right[place]:
                answer = (*right[:place], letter, *right[place + 1 :])
                said = str(ch02.judge_letters(answer))
                assert said.startswith(f"table {place + 1} is not {letter}): ") and "1 of the four" in said
    for letter in "abc":  # its own policy's table stays as it is under its own numbers, so nothing contradicts it
        said = ch02._not_its_own(right.index(letter) + 1, letter)
        worth, climb = (
            said.split("climbing would be worth ")[1].split(" and ")[0],
            ch02.TABLES[right.index(letter) + 1][1],
        )
        assert float(worth) == pytest.approx(climb, abs=0.011)
    for odd in (None, 3, "abc", (1, 2, 3, 4), "BDAC", ("a)", "b)", "c)", "d)"), [[], [], [], []]):
        assert isinstance(ch02.judge_letters(odd), str)


def test_a_plan_is_judged_by_what_it_measures() -> None:
    pilot = ch02.lottery(200, 60, seed=0)
    arguments = (pilot, 0.9, 10.0, 0.5)
    rollouts, steps = ch02.plan(*arguments)
    assert ch02.judge_plan((rollouts, steps), *arguments) is None
    assert "more than anybody" in str(ch02.judge_plan((10**6, 100), *arguments))
    assert "good enough, but" in str(ch02.judge_plan((4 * rollouts, steps), *arguments))
    assert "Wanted was 0.5" in str(ch02.judge_plan((rollouts // 4, steps), *arguments))
    assert "Wanted was 0.5" in str(ch02.judge_plan((rollouts, steps // 3), *arguments))
    for odd in ("many", None, (1, 50), (100, 0), (2, 10**4), (float("nan"), 3)):
        assert isinstance(ch02.judge_plan(odd, *arguments), str)
    for words, factor in (("the variance", 5.0**2), ("without the 1.96", 1 / 1.96**2), ("the whole width", 4.0)):
        deviation = float((pilot @ 0.9 ** torch.arange(60).double()).std())
        number = int(rollouts * (factor if words != "the variance" else deviation**2))
        assert words in str(ch02.judge_plan((number, steps), *arguments))
    assert "The tail alone is too much" in str(ch02.judge_plan((rollouts, 10), *arguments))
    assert "round both up" in str(ch02.judge_plan((rollouts + 0.5, steps), *arguments))
    paid = ch02.lottery(50_000, 200, seed=3)  # the pilot's process: ends with chance 1/8, on average at +4
    exact = (0.125 * 4.0 - 0.875 * 0.1) / (1 - 0.9 * 0.875)
    assert float((paid @ 0.9 ** torch.arange(200).double()).mean()) == pytest.approx(exact, abs=0.1)


@pytest.mark.parametrize(("discount", "wanted"), [(0.9, 0.5), (0.8, 1.0)])
def test_a_plan_is_not_judged_by_the_luck_of_its_own_rollouts(discount: float, wanted: float) -> None:
    """Every number of rollouts near the cheapest plan's passes; the deviation is that of the exact distribution."""
    arguments = (ch02.lottery(200, 60, seed=0), discount, 10.0, wanted)
    rollouts, steps = ch02.plan(*arguments)
    for number in range(round(0.97 * rollouts), round(1.3 * rollouts)):
        assert ch02.judge_plan((number, steps), *arguments) is None, number
    first = second = 0.0  # moments of the return: after k steps at -0.1, a prize of 10 or -10
    for k in range(steps):
        for chance, prize in ((0.7, 10.0), (0.3, -10.0)):
            value = -0.1 * (1 - discount**k) / (1 - discount) + discount**k * prize
            first, second = first + chance * 0.125 * 0.875**k * value, second + chance * 0.125 * 0.875**k * value**2
    never = -0.1 * (1 - discount**steps) / (1 - discount)
    first, second = first + 0.875**steps * never, second + 0.875**steps * never**2
    exact = (second - first**2) ** 0.5
    assert ch02._fresh_deviation(steps, discount) == pytest.approx(exact, rel=0.01)


def test_the_estimation_error_is_that_of_the_packages_report() -> None:
    draw = torch.Generator().manual_seed(3)
    table = torch.randn(64, 4, generator=draw, dtype=torch.float64)

    class Critic:
        """A table that acts greedily, in the form that the report wants."""

        def q_values(self, observations: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
            return table[observations.argmax(-1), actions.long()][None]

        def policy(self) -> Critic:
            return self

        def probabilities(self, observations: torch.Tensor) -> torch.Tensor:
            return greedy(table)[observations.argmax(-1)]

        def __call__(self, observations: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
            return table[observations.argmax(-1)].argmax(-1)

    log = load_dataset("gridworld/epsilon30-2k-v0")
    report = estimation_report(Critic(), WORLD, log, n_states=300)
    states = report.observations.argmax(-1)
    truth = solve_q(WORLD, greedy(table))
    mean, over = ch02.estimation_error(table[states], truth[states])
    assert float(mean) == pytest.approx(report.at("policy")["estimation_error"], abs=1e-9)
    assert float(over) == pytest.approx(report.at("policy")["share_over"])


def test_the_simulated_value_and_its_half_width() -> None:
    draw = torch.Generator().manual_seed(4)
    rewards = torch.randn(7, 5, generator=draw, dtype=torch.float64)
    returns = [sum(0.8**t * float(r) for t, r in enumerate(row)) for row in rewards]
    value, half = ch02.mc_value(rewards, 0.8, t_quantile(6))
    assert float(value) == pytest.approx(np.mean(returns))
    assert float(half) == pytest.approx(t_quantile(6) * np.std(returns, ddof=1) / math.sqrt(7))


# ---------------------------------------------------------------- what the chapter claims
def test_best_above_behaviour_above_random_at_every_state_and_four_improvements() -> None:
    uniform, _, best, behaviour = policies()
    v_uniform, v_behaviour, v_best = ((p * solve_q(WORLD, p)).sum(1)[GOING] for p in (uniform, behaviour, best))
    assert (v_best > v_behaviour + 0.1).all() and (v_behaviour > v_uniform + 0.1).all()
    policy, rounds = uniform, 0
    while not torch.equal(greedy(solve_q(WORLD, policy).round(decimals=9))[GOING], policy[GOING]):
        policy, rounds = greedy(solve_q(WORLD, policy).round(decimals=9)), rounds + 1
        top = solve_q(WORLD, policy)[GOING].topk(2, 1).values
        assert (top[:, 0] - top[:, 1]).min() > 1e-7  # no tie that rounding could break on another machine
    assert rounds == 4


def test_the_log_holds_the_behaviours_value_and_no_others() -> None:
    log = load_dataset("gridworld/epsilon30-2k-v0")
    returns = log.returns_to_go(0.95)[log.episode_starts].double()
    value, half = ch02.mc_value(returns[:, None], 0.95, t_quantile(len(returns) - 1))
    inside = [bool(abs((p * solve_q(WORLD, p)).sum(1)[WORLD.start_state] - value) < half) for p in policies()]
    assert inside == [False, False, False, True]
    # the mean over rows (+0.4 below Q^beta in the chapter) is within its own interval too, episodes being independent
    rows = solve_q(WORLD, policies()[3])[log.observations.argmax(1), log.actions.long()] - log.returns_to_go(0.95)
    episode = torch.bucketize(torch.arange(len(rows)), log.episode_starts, right=True) - 1
    sums = torch.zeros(len(returns), dtype=torch.float64).index_add(0, episode, rows)
    assert abs(rows.mean()) < t_quantile(len(sums) - 1) * sums.std() * math.sqrt(len(sums)) / len(rows)


def test_a_bootstrap_of_three_is_bounded_by_three_quarters_for_symmetric_returns() -> None:
    draw = torch.Generator().manual_seed(5)
    three = torch.randn(20_000, 3, generator=draw, dtype=torch.float64)
    inside = ((three.amin(1) <= 0) & (three.amax(1) >= 0)).double().mean()
    assert float(inside) == pytest.approx(0.75, abs=0.02)


def test_no_value_in_the_cliff_is_beyond_ten() -> None:
    worst = TabularWorld.from_tables(WORLD.transitions, -WORLD.transition_rewards, WORLD.terminal_states)
    assert optimal_q(WORLD, 0.95).max() <= 10 and (-optimal_q(worst, 0.95)).min() >= -10


def test_the_packages_simulation_holds_the_exact_value_and_says_what_it_cut() -> None:
    best = policies()[2]

    def act(observations: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        return best.argmax(1)[observations.argmax(1)]

    corner, exact = WORLD.one_hot(torch.tensor([0])), (best * solve_q(WORLD, best)).sum(1)[0]
    for tolerance, widest in ((0.5, 100.0), (1e-3, 0.1)):
        value, half = monte_carlo_value(WORLD, act, corner, rollouts=400, tolerance=tolerance)
        assert abs(value - exact) <= half < widest


# ---------------------------------------------------------------- figures
def test_a_caption_leaves_out_a_title_s_marks() -> None:
    assert plain("$\\hat Q=Q^*$\nagainst $Q^\\beta$") == "Q-hat=Q^* against Q^beta"


def test_value_maps_tell_the_start_and_who_lies_above_whom() -> None:
    low = torch.arange(64.0)
    high = low + 1
    high[0] = -1.0  # one state below
    high[WORLD.goal] = -100.0  # terminal states do not count
    said = repr(value_maps({"low": low, "high": high}, WORLD, policies={"high": UNIFORM}))
    assert said == "low: 56.00 at the start; high: 57.00 at the start; high: above low at 56 of 57 states."
    high[1] = float("nan")  # no data: not compared
    assert "above low at 55 of 56 states" in repr(value_maps({"low": low, "high": high}, WORLD))
    assert "low: below high at 57 of 57" in repr(value_maps({"high": low + 1, "low": low}, WORLD))


def test_value_maps_share_one_scale_and_draw_an_arrow_where_a_policy_decides() -> None:
    best = policies()[2]
    figure = value_maps({"a": torch.zeros(64), "b": torch.full((64,), 5.0)}, WORLD, policies={"b": best})
    images = [axis.images[0].get_clim() for axis in figure.axes if axis.images]
    assert images[:2] == [(0.0, 5.0)] * 2
    arrows = [axis.collections for axis in figure.axes[:2]]
    assert len(arrows[0]) == 0 and arrows[1][0].N == 57


def test_error_maps_diverge_around_zero_and_count_both_sides() -> None:
    error = torch.zeros(64)
    error[:10], error[10:15] = 2.0, -1.0
    figure = error_maps({"a": error, "none": torch.zeros(64)}, WORLD)
    assert repr(figure) == (
        "a: over at 10 and under at 5 of 57 states, mean +0.26; "
        "none: over at 0 and under at 0 of 57 states, mean +0.00."
    )
    assert figure.axes[0].images[0].get_clim() == (-2.0, 2.0)
    words = [text.get_text() for text in figure.axes[-1].texts] + [figure.axes[-1].get_title()]
    assert {"over", "under"} <= set(words)


def test_the_other_captions_follow_their_data() -> None:
    good = repr(settling({"zero": [1.0, 0.4, 0.004]}, 0.5))
    assert good == "from zero within 0.01 after 2 backups; the bound holds at every backup."
    assert "not within 0.01; the bound is broken" in repr(settling({"zero": [1.0, 0.9]}, 0.5))
    said = repr(interval_coverage({"$\\beta$": {"t": [0.9, 0.95]}}, (3, 20), repetitions=7))
    assert said == "beta: intervals that hold the truth at n = 3, 20: t 90%, 95% (7 repetitions)."
    row = {"steps": 5, "mean": 0.0, "half": 0.1, "tail": 9.0, "covered": 0.0, "covered_with_tail": 1.0}
    told = repr(cut_rollouts([row, {**row, "steps": 40, "covered": 0.95}], 3.74))
    assert "Cut after 5 steps, fewer than half" in told and "every setting holds it at least nine times in ten" in told
    values = torch.arange(64.0)
    shown = map_and_curve(values, WORLD, ([0.0, 1.0], [4.0, -7.0]), 1, name="n", xlabel="x", ylabel="y", limits=(0, 1))
    assert repr(shown) == "n: -7.00 at the start; values from 0.00 to 56.00."


@pytest.mark.slow
def test_the_slider_knows_every_setting() -> None:
    pytest.importorskip("ipywidgets")
    from cql_tutorial.course.sliders import explore_policy

    explorer = explore_policy()
    assert explorer.captions[0].startswith("0% random moves: 4.24 at the start")
    assert explorer.captions[-1].startswith("100% random moves: -7.71 at the start")
    explorer.slider.value = 3
    assert "10% random moves: 3.19" in explorer.caption.value
