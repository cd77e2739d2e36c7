"""What fresh readers typed that was passed, refused, or told something false: each case, by its kind."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cql_tutorial.course import SESSION
from cql_tutorial.course.checker import check_answer
from cql_tutorial.course.exercises import ch03, ch05, ch06, ch08, ch11
from cql_tutorial.course.slips import _far_fetched, single_steps

torch.set_num_threads(1)
EXERCISES = SESSION.exercises


def told(id: str, function: Callable[..., Any]) -> str:
    result = check_answer(EXERCISES[id], function)
    assert result.status in ("wrong", "crashed"), result
    return result.message


# ---------------------------------------------------------------- nothing coincides, nothing may be cut off
def test_no_two_numbers_of_an_exercise_are_alike_in_all_of_its_examples() -> None:
    """Nor is one of them one minus another: whoever takes one for the other is then seen."""
    for id, exercise in EXERCISES.items():
        names = inspect.signature(exercise.reference).parameters
        examples = [dict(zip(names, example.arguments, strict=False)) for example in exercise.examples]
        if id == "08.9":
            examples = [example["settings"] for example in examples]
        numbers = [key for key, value in examples[0].items() if type(value) in (int, float)]
        for one, other in itertools.combinations(numbers, 2):
            assert any(example[one] != example[other] for example in examples), (id, one, other)
            assert any(abs(example[one] + example[other] - 1) > 1e-9 for example in examples), (id, one, other)


CUT = {
    "shares below 0.05": ("05.1", "behaviour", lambda x: x.clamp(min=0.05)),
    "shares below 0.01": ("05.1", "behaviour", lambda x: x.clamp(min=0.01)),
    "shares of Equation 2": ("05.2", "behaviour", lambda x: x.clamp(min=0.01)),
    "shares of the premise": ("05.5", "behaviour", lambda x: x.clamp(min=0.01)),
    "u beyond 3.8": ("06.8", "u", lambda x: torch.atanh(torch.tanh(x).clamp(-0.999, 0.999))),
    "u beyond 7": ("06.8", "u", lambda x: torch.atanh(torch.tanh(x).clamp(-1 + 1e-6, 1 - 1e-6))),
}


@pytest.mark.parametrize(("id", "name", "change"), CUT.values(), ids=CUT)
def test_an_argument_that_is_cut_off_is_seen(id: str, name: str, change: Callable[[Tensor], Tensor]) -> None:
    exercise = EXERCISES[id]
    place = list(inspect.signature(exercise.reference).parameters).index(name)
    said = told(id, lambda *given: exercise.reference(*given[:place], change(given[place]), *given[place + 1 :]))
    assert "cut off" in said or id in ("05.2", "05.5")  # whose one or two wrong numbers name nothing


def page(*changes: tuple[str, str]) -> Callable[..., Any]:
    """The page of 08.9 with some passages exchanged."""
    source = EXERCISES["08.9"].source
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    scope = dict(vars(ch08))
    exec(source, scope)
    return scope["train_by_hand"]


SCALED = 'a = 2 * (batch["actions"] - low) / (high - low) - 1'
BOUNDS = "            log_multiplier.data.clamp_("


def test_the_page_s_settings_and_inputs_are_told_apart() -> None:
    for old, new, words in (
        ('lr=settings["multiplier_lr"]', 'lr=settings["actor_lr"]', "steps at the actor's rate"),
        ('temperature, settings["discount"])', 'temperature, 1 - settings["tau"])', "discounts by 1 - tau"),
        ('slow.lerp_(fast, settings["tau"])', 'slow.lerp_(fast, 1 - settings["discount"])', "move by 1 - discount"),
        (SCALED, f"{SCALED}\n        a = a.clamp(-0.999, 0.999)", "cut off short of the bounds"),
        (BOUNDS, BOUNDS[4:], "put inside its bounds without cql_lagrange"),
        (SCALED, 'a = batch["actions"].sub_(low).mul_(2 / (high - low)).sub_(1)', "changes its inputs in place"),
    ):
        assert words in told("08.9", page((old, new))), new


def test_a_page_is_described_after_the_first_update_that_shows_its_mistake() -> None:
    said = told("08.9", page(("(log_temperature, log_prob, A))", "(log_temperature, log_prob, A / 2))")))
    assert "With a second update of this kind the log temperature is wrong" in said
    assert "the target entropy is -A" in said
    # the critics' mistake is recognised by their numbers, though the actor is wrong too
    decays = "torch.optim.Adam(critic_parameters", "torch.optim.AdamW(critic_parameters"
    two = page(decays, ('lr=settings["actor_lr"]', 'lr=2 * settings["actor_lr"]'))
    assert "critics come from this mistake: the critics' optimiser lets weights decay" in told("08.9", two)
    before = (
        '            step(multiplier_adam, multiplier_loss(log_multiplier, penalty, A, settings["cql_target_action_gap'
        '"]))\n            log_multiplier.data.clamp_(math.log(1e-3), math.log(1e4))\n'
    )
    critics = f"        {ch08.CRITICS_STEP}"
    early = page((before, "            pass\n"), (critics, f"        if settings['cql_lagrange']:\n{before}{critics}"))
    said = told("08.9", early)
    assert "the multiplier steps before the critics" in said and "Something else" not in said


# ---------------------------------------------------------------- right answers
def test_shares_counted_one_by_one_are_taken_in_float32() -> None:
    def loop(q: Tensor, counts: Tensor, rare: float) -> Tensor:
        unseen = few = visited = 0
        for values, tried in zip(q.tolist(), counts.tolist(), strict=True):
            if sum(tried):
                best = tried[values.index(max(values))]
                visited, unseen, few = visited + 1, unseen + (best == 0), few + (0 < best <= rare)
        return torch.tensor([unseen / visited, few / visited])

    assert check_answer(EXERCISES["03.4"], loop).status == "passed"
    assert "a list: return a torch tensor" in told("03.4", lambda *given: loop(*given).tolist())


def test_a_row_of_numbers_stands_for_that_many_single_ones() -> None:
    def passed(id: str, pack: Callable[[tuple[Any, ...]], Any]) -> bool:
        exercise = EXERCISES[id]
        return check_answer(exercise, lambda *given: pack(exercise.reference(*given))).status == "passed"

    assert passed("11.4", lambda pair: torch.tensor(pair)) and passed("11.4", lambda pair: np.array(pair))
    assert passed("02.4", torch.stack)
    assert "returns 1 value(s)" in told("11.4", lambda *given: torch.tensor(sum(ch11.shift_of_q(*given))))
    alone = told("11.4", lambda t, dim, many, *_: np.array([t * dim * ch11.LOG_2, t * np.log(many)]))
    assert alone.startswith("these are the constants in one V")


# ---------------------------------------------------------------- what is not true is not told
def test_a_term_that_vanishes_is_no_exchange_of_arguments() -> None:
    def rewards_alone(rewards, next_values, terminations, truncations, discount):
        return rewards if terminations.any() else rewards + discount * next_values

    assert "what you return is `rewards`, as it came in." in told("01.2", rewards_alone)
    assert "means of the rewards alone" in told("03.1", lambda q, s, a, r, *_: ch03._mean_by_pair(q, s, a, r))
    for id in ("01.2", "03.1", "08.1", "08.2"):
        names = list(inspect.signature(EXERCISES[id].reference).parameters)
        given = [dict(zip(names, example.arguments, strict=True)) for example in EXERCISES[id].examples]
        steps = single_steps(EXERCISES[id], more=True)
        clauses = {words for words, _, _ in steps if not _far_fetched(EXERCISES[id], words)}
        for one, other in itertools.permutations(names, 2):
            shapes = [(getattr(x[one], "shape", ()), getattr(x[other], "shape", ())) for x in given]
            if any(left != right for left, right in shapes):
                assert f"{one} stands in place of {other}" not in clauses


def test_an_argument_that_counts_twice_is_not_said_to_be_left_out() -> None:
    """Left out of the ordering alone, q still makes the value."""
    words = [words for words, _, _ in single_steps(EXERCISES["11.5"], more=True) if "as if it were" in words]
    assert "`q` is left out in one place, as if it were 1" in words
    assert not any(f"`{name}` is left out," in each for name in ("q", "shares") for each in words)
    assert "`alpha` is left out, as if it were 1" in words


def _prefixes(q: Tensor, shares: Tensor, alpha: float) -> Tensor:
    """V of the first k logged actions, if they count."""
    share, total = shares.cumsum(0), (shares * q).cumsum(0)
    return total / share - 2 * alpha * (1 / share - 1)


def test_the_ways_to_miss_a_sorted_prefix_are_told_apart() -> None:
    def first_that_fits(q, shares, alpha):
        each = _prefixes(q, shares, alpha)
        return next(each[k] for k in range(len(q) - 1, -1, -1) if q[k] > each[k] - 2 * alpha)

    def mean_or_best(q, shares, alpha):
        best = q.argmax()
        return torch.maximum((shares * q).sum(), q[best] - 2 * alpha * (1 / shares[best] - 1))

    def upwards(q, shares, alpha):
        order = q.argsort()
        return _prefixes(q[order], shares[order], alpha).amax()

    assert "in the order of the log" in told("11.5", lambda *given: _prefixes(*given).amax())
    assert "in the order of the log" in told("11.5", first_that_fits)
    assert "two cases only" in told("11.5", mean_or_best)
    assert "From the worst action on" in told("11.5", upwards)
    half = told("11.5", lambda *given: ch11.sparse_value(*given) - 0.05)
    assert "with this V the weights have the mean 1.125, and not 1: V is too low" in half
    assert "lacks a factor" not in told("11.5", lambda *given: ch11._best(*given, 0.5).amax())  # which is 11.6's answer


def test_what_is_lost_is_named_for_what_it_is() -> None:
    assert "if a power is left out." in told("00.2", lambda rewards, discount: (discount * rewards).sum())
    whole = told("01.2", lambda r, v, ended, cut, discount: r + discount * ~(ended.long()) * v)
    assert "~ is taken of whole numbers, where it makes -1 of 0 and -2 of 1" in whole

    def positive_values(q_hat, reference):
        best = q_hat.argmax(1, keepdim=True)
        error = (q_hat - reference).gather(1, best)[:, 0]
        return error.mean(), (q_hat.amax(1) > 0).double().mean()

    assert "a constant is missing" not in told("02.4", positive_values)
    twice = told("04.3", lambda q, a: 2 * (q.softmax(1) - F.one_hot(a, q.shape[1])) / len(q))
    assert "every number is 2 times what it should be" in twice
    assert "upside down" in told("05.3", lambda policy, log: (policy * (log / policy - 1)).sum(1))
    assert "log_temperature does not occur" in told("08.6", lambda t, log_prob, a: -(log_prob.detach().mean() - a))
    alone = told("08.7", lambda m, penalty, a, target: ch08.multiplier_loss(1 + 0 * m.detach(), penalty, a, target))
    assert "if `log_multiplier` is left out, as if it were 1." in alone


# ---------------------------------------------------------------- more to go by
def test_brackets_that_are_missing_are_named() -> None:
    def bare(q, counts, rare):
        tried = ch03._greedy(q, counts)[counts.sum(1) > 0]
        return torch.stack([(tried == 0).double().mean(), (tried >= 1 & tried <= rare).double().mean()])

    def chained(q, counts, rare):
        tried = ch03._greedy(q, counts)[counts.sum(1) > 0]
        return torch.stack([(tried == 0).double().mean(), (1 <= tried <= rare).double().mean()])

    def plain(q, counts, rare):
        return q if (q > 0) & (counts > rare) else counts

    assert "`&` binds tighter than a comparison: brackets round each" in told("03.4", bare)
    assert "Python reads a <= b <= c as `a <= b and b <= c`" in told("03.4", chained)
    both = told("11.1", lambda q, density, own, data, returns: torch.max(q, returns, dim=1))
    assert "torch.maximum(a, b) is the larger" in both and "take .values" not in both
    assert "use torch.where" in told("03.4", plain) and "binds tighter" not in told("03.4", plain)


def test_exchanged_arguments_of_a_call_and_a_division_that_drops_fractions_are_named() -> None:
    assert "are two arguments of this call exchanged?" in told("04.2", lambda q, actions: F.cross_entropy(actions, q))

    def dropped(visits, policy, counts):
        return (visits[:, None] * policy * (counts > 0)).sum() // visits.sum()

    def whole(rewards, discount):
        weights = torch.tensor([discount**t for t in range(len(rewards))], dtype=torch.long)
        return (weights * rewards).sum() + 0.25

    assert "divides by //, which drops what is behind the point" in told("01.5", dropped)
    assert "makes whole numbers (dtype=)" in told("00.2", whole)


def test_the_inputs_of_an_example_that_is_not_shown_can_be_computed_by_hand() -> None:
    long = told("01.2", lambda r, v, ended, cut, discount: r + discount * v * ~ended * (len(r) == 3))
    assert "at place 0 of the first axis (counted from 0): rewards[0] = -0.3113, next_values[0] = -0.786" in long
    assert "discount = 0.9\n    yours there: -0.3113, expected -1.019" in long
    short = told("08.1", lambda r, ended, q, p, t, discount: ch08.bellman_target(r, ended, q[:2], p, t, discount))
    assert "next_q = [[" in short and "example: " not in short


def test_a_helper_s_line_is_no_line_of_the_function_and_a_runaway_is_told() -> None:
    assert "in `_breaks`, which your function calls" in told("04.1", lambda q: _breaks(q))
    assert "does a loop run away" in told("05.1", lambda *given: 1e9 * ch05.critic_at_rest(*given) ** 2)
    assert "return the one entry" in told("05.6", lambda run: {"W": "policy"})
    assert "of the largest number" in told("06.1", lambda q, a: 1.001 * ch06.uniform_log_integral(q, a))


def test_a_float32_answer_and_a_quantile_that_is_looked_up_are_told() -> None:
    def short(chance, half_width, action_dim):
        p = torch.tensor(half_width) ** action_dim
        return torch.log(torch.tensor(1 - chance)) / torch.log(1 - p)

    def looked_up(variant, correct, t_level):
        d = variant - correct
        half = torch.distributions.Normal(0.0, 1.0, validate_args=False).icdf(torch.tensor(t_level, dtype=d.dtype))
        return torch.stack([d.mean() - half * d.std() / len(d) ** 0.5, d.mean() + half * d.std() / len(d) ** 0.5])

    assert "What you return is float32" in told("07.3", short)
    assert "looks up a quantile (icdf): is one of its arguments that quantile already?" in told("07.5", looked_up)
    assert "a logarithm of 0 or less" in told("07.3", lambda c, h, a: math.log(1 - c) / math.log(1 - a**h))


def _breaks(q: Tensor) -> Tensor:
    raise ValueError("no")


# ---------------------------------------------------------------- chapters 05 and 06
def test_an_example_reaches_beyond_where_a_shortcut_holds() -> None:
    """Large values, rare actions, a far horizon, other functions: what the first examples alone would pass."""

    def sweeps(rewards, transitions, policy, mu, behaviour, alpha, discount):
        q = torch.zeros_like(rewards)
        for _ in range(300):
            q = rewards - alpha / 2 * mu / behaviour + discount * transitions @ (policy * q).sum(1)
        return q

    def by_hand(critic, log_prob, observations, next_observations, u):
        return observations[:, None] * u.tanh() + (u - next_observations[:, None]).abs()

    def softmax(q, behaviour):
        mu = q.exp() / q.exp().sum(1, keepdim=True)
        return (mu * (mu / behaviour - 1)).sum(1) / (mu / behaviour).amax(1)

    def largest_of_q(q, log_density):
        largest = q.amax(-1, keepdim=True)
        return (q - log_density - largest).exp().mean(-1).log() + largest[..., 0]

    assert "you stop after 300 sweeps" in told("05.1", sweeps)
    rare = told(
        "05.3", lambda pi, b: torch.where((pi > 0) & (b < 0.001), math.inf, ch05.distance(pi, b)[:, None]).amax(1)
    )
    assert "you take a share below" in rare and "for none" in rare
    told("05.3", lambda pi, b: ch05.distance(torch.where(pi > 0.01, pi, 0.0), b))
    assert "exp(900) overflows" in told("05.5", softmax)
    told("05.5", lambda q, b: ch05.largest_distance(q, b).clamp(max=0.9))
    for low in (-20, -5, -3.5):
        assert f"cut off at {low} and 2" in told(
            "06.2", lambda u, m, s, low=low: ch06.tanh_log_prob(u, m, s.clamp(low, 2))
        )
    cosh = told("06.2", lambda u, m, s: (ch06._normal(u, m, s) + 2 * u.cosh().log()).sum(-1))
    sech = told("06.2", lambda u, m, s: (ch06._normal(u, m, s) - torch.log(1 / u.cosh() ** 2)).sum(-1))
    assert "at u = 800 cosh(u) overflows" in cosh and "at u = 400 cosh(u)^2 overflows" in sech
    assert "cut off at -20," in told("06.3", lambda q, p: ch06.log_partition(q, p.clamp(min=-20)))
    assert "that of q alone" in told("06.3", largest_of_q)
    assert "you write out both functions" in told("06.8", by_hand)
    critic = told("06.8", lambda c, p, s, t, u: s[:, None] * u.tanh() - p(t, u))
    log_prob = told("06.8", lambda c, p, s, t, u: c(s, u.tanh()) + (u - t[:, None]).abs())
    assert "you write out Q(s, a)" in critic and "you write out log pi(a|s)" in log_prob


def test_two_mistakes_that_agree_where_all_is_logged_are_told_apart() -> None:
    """Both are 0 there; the rows of the other example say which it is, whether or not the answer is finite there."""

    def over_the_log(pi, b):
        return torch.where((b == 0) & (pi > 0), math.inf, torch.where(b > 0, b * (pi / b - 1), 0.0)).sum(1)

    not_finite = told("05.3", lambda pi, b: torch.where(pi == b, 0, b * (pi / b - 1)).sum(1))
    assert "you average over the *log's* actions" in told("05.3", over_the_log)
    assert "you average over the *log's* actions" in not_finite


def test_flags_that_are_left_out_select_no_lines_and_a_repeated_number_proves_nothing() -> None:
    assert "first state alone" in told("05.4", lambda f, p, t, seen: ((f - t) / p)[0].max().clamp(min=0))
    first = told("05.4", lambda f, p, t, seen: ((f - t) / p).masked_fill(~seen, 0)[:, 0].max().clamp(min=0))
    assert "first action alone" in first and "running sum" not in first
    second = told("05.4", lambda f, p, t, seen: ((f - t) / p)[seen].sort().values[-2].clamp(min=0))
    assert "second largest" in second
    third = told("05.4", lambda f, p, t, seen: ((f - t) / p)[seen].sort().values[-3].clamp(min=0))
    assert "alone" not in third
    whole = told("05.4", lambda f, p, t, seen: ((f - t) / p)[seen.all(1)].max().clamp(min=0))
    assert "every state that has an unseen pair" in whole and "free = [[" in whole


def test_the_largest_float_is_named_and_an_infinity_that_is_right_stops_nothing() -> None:
    slope = told("06.2", lambda u, m, s: (ch06._normal(u, m, s) - torch.log(1 - u.tanh() ** 2)).nan_to_num().sum(-1))
    assert "the largest number that a float can hold" in slope and "loop" not in slope
    assert "you add 1e-06" in told("05.3", lambda pi, b: (pi * (pi / (b + 1e-6) - 1)).sum(1))
    told("05.3", lambda pi, b: (pi * (pi / (b + 3e-6) - 1)).sum(1))  # finite where infinity is right


def test_a_dictionary_is_sent_back_for_an_entry_only_where_one_is_asked_for() -> None:
    whole = told("06.7", lambda: {"n_uniform": 15, "n_policy": 5, "weights": "mixture"})
    assert "wanted are two whole numbers and a word" in whole and "entry" not in whole


def test_the_arguments_of_a_function_and_of_a_distribution_are_told() -> None:
    turned = told("06.8", lambda c, p, s, t, u: c(u.tanh(), s) - p(t, u))
    assert "the order of their arguments: critic(observations, actions), log_prob(observations, u)" in turned

    def squashed(u, mean, log_std):
        normal = torch.distributions.Normal(mean, log_std.exp())
        tanh = [torch.distributions.transforms.TanhTransform()]
        return torch.distributions.TransformedDistribution(normal, tanh).log_prob(u).sum(-1)

    assert "wants the *action*" in told("06.2", squashed)
    beyond = told("06.2", lambda u, m, s: squashed(1.2 * u, m, s))
    assert "a value that it never draws" in beyond


def test_which_numbers_are_wrong_is_told_by_an_argument_that_counts() -> None:
    said = told("06.4", lambda p, n, a: ch06._with_uniform(p, n, -1.7 * a + n))
    assert "all where the index along axis 1 is below `n_uniform`" in said and "volume of the box 32" in said


def test_true_or_false_is_not_taken_for_a_number() -> None:
    """False counts as 0, and would be told the mistake that gives 0."""
    words = "returns True or False, and a number is asked for"
    assert words in told("05.4", lambda free, fines, truth, seen: (free <= truth)[seen].all())
    assert words in told("05.5", lambda mu, behaviour: mu.amax(1) >= behaviour.amax(1))
    assert words in told("01.5", lambda visits, policy, counts: bool((policy * (counts > 0)).any()))
