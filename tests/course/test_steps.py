"""The numbers on the way, which a message shows where no mistake is recognised, lead to the right answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from cql_tutorial.course import SESSION
from cql_tutorial.course.checker import check_answer

COMBINED: dict[str, Callable[..., Any]] = {  # from the steps, in their order, and the example's arguments
    "00.2": lambda weights, terms, *_: terms.sum(),
    "04.1": lambda mean, entropy, *_: mean + entropy,
    "04.2": lambda reached, logged, *_: (reached - logged).mean(),
    "04.3": lambda shares, pulled, q, actions: pulled / len(q),
    "04.4": lambda ratio, q, rho: ratio * rho,
    "04.5": lambda logged, squares, mean, penalty, q, actions, target, alpha: mean + alpha * penalty,
    "05.1": lambda fine, less, v, r, moves, policy, mu, b, alpha, discount: less + discount * moves @ v,
    "05.2": lambda ratio, step, y, mu, behaviour, alpha: y - alpha / 2 * (ratio - 1),
    "05.3": lambda paid, weighed, *_: weighed.sum(1),
    "05.4": lambda above, needs, free, per_alpha, truth, seen: needs[seen].max().clamp(min=0),
    "05.5": lambda mu, ratio, left, *_: left / ratio.amax(1),
    "06.1": lambda total, number, volume, *_: total - number + volume,
    "06.3": lambda weighed, total, number, *_: total - number,
    "06.4": lambda volume, p, n, a: torch.cat([p.new_full((len(p), n), -math.log(volume)), p], 1),
    "06.5": lambda total, number, *_: total - number,
    "07.2": lambda rho, terms, *_: terms / terms.sum(),
    "07.3": lambda hit, miss, all_miss, *_: math.log(all_miss) / math.log(miss),
    "07.5": lambda differences, mean, std, half, *_: torch.stack([mean - half, mean + half]),
    "07.6": lambda q, soft, logged, weight, *_: weight * (soft - logged).mean(),
    "07.7": lambda mean, uniform, floor, log_behaviour, action_dim, error: floor + error,
    "08.4": lambda q, soft, logged, *_: (soft - logged).mean(-1),
    "08.5": lambda smallest, paid, *_: (paid - smallest).mean(),
    "08.6": lambda mean, target, bracket, log_temperature, *_: -log_temperature * bracket,
    "08.7": lambda mean, flat, gap, apart, log_multiplier, *_: -log_multiplier * apart,
}


@pytest.mark.parametrize("id", COMBINED)
def test_the_numbers_on_the_way_give_the_reference(id: str) -> None:
    exercise = SESSION.exercises[id]
    assert exercise.steps is not None
    for example in exercise.examples:
        found = COMBINED[id](*exercise.steps(*example.arguments).values(), *example.arguments)
        torch.testing.assert_close(found, exercise.reference(*example.arguments), rtol=1e-5, atol=1e-5)


def test_they_are_shown_for_an_unknown_mistake_and_not_for_a_known_one() -> None:
    exercise = SESSION.exercises["05.4"]
    unknown = check_answer(exercise, lambda free, per_alpha, truth, seen: (free - truth).std()).message
    known = check_answer(exercise, next(m.function for m in exercise.mutants if m.name == "unseen counted")).message
    assert "on the way: above the truth by [[2.4 , 1.3" in unknown and "on the way" not in known
