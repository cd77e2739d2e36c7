"""The examples of 08.9, each with one part of the update more than the one before, and what the first wrong one says.

The discount, the temperature and the multiplier are 0, or all but 0, at first, so that what they weigh cannot be seen:
a page that is right there and wrong with one of them has its mistake in what was added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .checker import Answer, Example, Exercise, outcome, recalled
from .compare import agree
from .studies.ch08 import scenario

PAGE = (
    "settings: state_dim, action_dim, hidden_dim, n_critics, action_low, action_high, discount, tau, cql_alpha, "
    "cql_lagrange, cql_target_action_gap, critic_lr, actor_lr, temperature_lr, multiplier_lr. The five values, in the "
    "order of the update: critics, actor, log temperature, log multiplier, target critics"
)
VALUES = ("critics", "actor", "log temperature", "log multiplier", "target critics")
NOTHING = 1e-20  # as good as 0, and with a logarithm: what it weighs moves no number by more than 1e-13
Array = np.ndarray


@dataclass(frozen=True)
class Rung:
    """One example: what it adds in words, its scenario, and where to look if a value is wrong here for the first time.

    ``right`` says what an answer that is right here has shown.
    """

    adds: str
    right: str
    scenario: Mapping[str, Any]
    look: Mapping[str, str] = field(default_factory=dict)


ACTOR = (
    "the action is tanh(mean + std * noise.actor), of the policy at s as it was before this step, and is asked of the "
    "critics just updated, at s, and not of the targets; then Adam with actor_lr on the actor's parameters alone"
)
TEMPERATURE = (
    "its loss is minus the log temperature (not its exp) times a bracket, which reads log_prob of the actor's own "
    "action, from before the actor's step, and A; then its own Adam with temperature_lr, and no bounds"
)
FIXED = "without cql_lagrange it keeps its first value, even below the bounds that a learned one has"
TARGETS = (
    'they begin with start["targets"], and come last: tau of the way to the critics just updated, in place, parameter '
    "by parameter"
)
CARRIED = (
    "or something is carried over, or not: each optimiser is made once, before the loop, and cleared before each "
    "backward; batch and noise are those of this update, one update after the other; the temperature is read anew"
)
SIZE = (
    "Adam's first step is as long whatever the size of the gradient, so that one update shows little more than signs. "
    "Now the sizes count"
)
BARE = {
    "updates": 2,
    "seed": 1,
    "narrow": True,
    "n_critics": 3,
    "action_dim": 2,
    "discount": 0.0,
    "alpha": NOTHING,
    "cql_alpha": NOTHING,
    "terminates": False,
    "reward_scale": 3.0,  # beyond [-1, 1]: who cuts rewards off there is seen at once
}
WARM = BARE | {"alpha": 0.3}
AHEAD = WARM | {"discount": 0.9}
ENDED = AHEAD | {"terminates": True}
PENALISED = ENDED | {"cql_alpha": 2.3}
LEARNED = PENALISED | {"seed": 2, "narrow": False, "cql_lagrange": True, "cql_target_action_gap": 0.7}

RUNGS = (
    Rung(
        "discount, temperature and multiplier all but 0, and one update",
        "a bare update (critics drawn to the reward, actor to the smallest Q)",
        BARE | {"updates": 1},
        {
            "critics": "all that is left is the squared error of Q(s, a) against the reward, neither scaled nor "
            "discounted, a mean over the batch and a sum over the critics, without a half: the networks (two hidden "
            "layers, ReLU, observation before action), the logged actions scaled from [low, high] to [-1, 1] and not "
            "cut off, and one step of Adam with critic_lr and its default settings (no weight_decay), cleared before "
            "backward. Discount and penalty weigh next to nothing here: if a later reward has a part in yours, it does "
            'not read settings["discount"]; if the penalty has one, its weight is not exp of the log multiplier',
            "actor": f"all that is left is the smallest Q of its action: {ACTOR}. log_std is the second half of the "
            "actor's output. The temperature weighs next to nothing here: if log_prob has a part in yours, its weight "
            "is not exp of the log temperature, taken once",
        },
    ),
    Rung(
        "a second update of this kind",
        "a second one",
        BARE,
        {
            "critics": f"{SIZE}: the reward as it is, a mean over the batch and a sum over the critics, no half, no "
            f"clipping, Adam's default settings, actions scaled to [-1, 1] exactly; {CARRIED}",
            "actor": f"{SIZE}: {ACTOR}; a mean over the batch; {CARRIED}",
            "log temperature": f"{SIZE}: {TEMPERATURE}; the target entropy is -A; {CARRIED}",
        },
    ),
    Rung(
        "a temperature of 0.3",
        "what the temperature weighs",
        WARM,
        {
            "critics": "the temperature has no part in the critics' step, and in yours it has",
            "actor": "it is what the temperature adds to the actor's loss: the temperature from before its step (exp "
            "of its logarithm, read anew in each update) times log_prob, which reads u, mean and the clamped log_std "
            "of the same action",
        },
    ),
    Rung(
        "a discount of 0.9",
        "the look ahead",
        AHEAD,
        {
            "critics": "it is the Bellman target: the reward plus discount times the smallest of the *target* critics "
            "at s', asked about an action of the policy at s', tanh(mean + std * noise.target), without entropy. "
            "No transition ends the task here: all of them look ahead",
        },
    ),
    Rung(
        "transitions that end the task",
        "the terminations",
        ENDED,
        {"critics": "it is the terminations: True where the task ended; they cut what follows and leave the reward"},
    ),
    Rung(
        "a penalty of weight 2.3",
        "the penalty",
        PENALISED,
        {
            "critics": "it is the penalty, or its weight. Candidates: noise.uniform as it is, the policy at s with "
            "noise.policy, the policy at s' with noise.next_policy, each with the density that drew it, asked at u. "
            "All of them are scored at s, and the logged action too, scaled to [-1, 1]; a penalty for each critic, "
            "times exp of the log multiplier. The candidates carry no gradient, the critics' values of them do",
        },
    ),
    Rung(
        "logged actions that stand out, so that the penalty is below 0",
        "a penalty below 0",
        PENALISED | {"seed": 3, "stand_out": True},
        {"critics": "is the penalty, or a part of it, cut off at 0?"},
    ),
    Rung(
        "log standard deviations below -5 and above 2",
        "the clamp of log_std",
        PENALISED | {"seed": 4, "narrow": False, "spread": True, "action_dim": 3},
        {
            "critics": "log_std is clamped to [-5, 2] before anything reads it: the draws at s and at s', and the "
            "densities",
            "actor": "log_std is clamped to [-5, 2] before anything reads it; outside no gradient passes",
        },
    ),
    Rung(
        "a multiplier that learns",
        "the multiplier's step",
        LEARNED | {"updates": 3},
        {
            "critics": "either the multiplier's step is wrong (the next update reads it), or the critics' loss has not "
            "the multiplier from *before* this update's step: it comes after actor and temperature",
            "log multiplier": "its loss is minus the log multiplier (not its exp) times a bracket, which reads the "
            "penalties of the critics' loss, as numbers, with their log K, A, and cql_target_action_gap; then its own "
            "Adam with multiplier_lr, after the critics' step; then the bounds, 1e-3 and 1e4, of the multiplier and "
            "not of its logarithm",
        },
    ),
    Rung(
        "a multiplier that falls to its lower bound",
        "the lower bound of the multiplier",
        LEARNED
        | {"seed": 5, "n_critics": 2, "action_low": -2.0, "action_high": 2.5, "hidden_dim": 7}
        | {"cql_alpha": 1.003e-3, "cql_target_action_gap": 50.0},
        {"log multiplier": "after each step its logarithm is clamped, from below to log 1e-3"},
    ),
    Rung(
        "a multiplier that rises to its upper bound",
        "the upper bound of the multiplier",
        LEARNED | {"seed": 6, "stand_out": True, "cql_alpha": 0.997e4, "cql_target_action_gap": -50.0},
        {"log multiplier": "after each step its logarithm is clamped, from above to log 1e4"},
    ),
)
LEARNING = 8  # the first of the rungs that have a multiplier


def examples() -> tuple[Example, ...]:
    """The rungs as examples of 08.9."""
    made = []
    for number, rung in enumerate(RUNGS):
        arguments = scenario(**dict(rung.scenario))
        updates = len(arguments[2])
        size = f"{arguments[0]['n_critics']} critics" + (f", {updates} updates" if updates > 1 else "")
        about = f"{size}; {'' if number == 0 else 'and now '}{rung.adds}"
        made.append(Example(arguments, f"{about}. {PAGE}", shown=False))
    return tuple(made)


def redrawn(generator: np.random.Generator, number: int, example: Example) -> tuple[Any, ...]:
    """The arguments of a rung with other networks, transitions and noise; its settings stay, they are the rung."""
    seed = int(generator.integers(1_000, 1_000_000))  # those of `RUNGS` are below 10
    return scenario(**dict(RUNGS[number].scenario) | {"seed": seed})


# ---------------------------------------------------------------- what a wrong page is told
def which_part(exercise: Exercise, number: int, mine: Sequence[Answer | None], right: Sequence[Answer | None]) -> str:
    """Say what example ``number`` adds, which of the five values are wrong, and where to look; "" for another form."""
    found, expected = _arrays(mine[number]), _arrays(right[number])
    start = _beginning(exercise, exercise.examples[number])
    if (
        found is None
        or expected is None
        or start is None
        or list(map(np.shape, found)) != list(map(np.shape, expected))
    ):
        return ""
    wrong = [place for place in range(5) if not agree(found[place], expected[place], exercise.tolerance)]
    if not wrong:
        return ""
    # Where the multiplier learns, the next update's critics read it: what is new there is the multiplier.
    rung, first = RUNGS[number], 3 if number >= LEARNING and 3 in wrong else wrong[0]
    here = [VALUES[place] for place in range(5) if place not in wrong]
    others = [VALUES[place] for place in wrong if place != first]
    before = [earlier.right for earlier in RUNGS[:number]]
    said = f"right {_are(len(before) > 1)} {_listed(before)}. " if before else ""
    said += f"With {rung.adds} the {VALUES[first]} {_are(first in (0, 4))} wrong"
    said += f" ({_listed(others)} too)" if others else ""
    said += f"; right here: {_listed(here)}" if here else ""
    look = rung.look.get(VALUES[first]) or _usual(VALUES[first], number)
    said = f"{said[0].lower()}{said[1:]}. Look here: {look}{'' if look.endswith('?') else '.'}"
    said += _difference(found[first], expected[first], start[first], VALUES[first], exercise.tolerance)
    still = [place for place in wrong if agree(found[place], start[place], exercise.tolerance)]
    if first in still:
        said += _not_moved(first, wrong)
    elif still:
        said += f" As at the start: {_listed([VALUES[place] for place in still])}."
    if agree(found[first], _before(number, right, first), exercise.tolerance):
        said += " Yours is as after the update before: is there a step in every update?"
    if agree(found[0], found[4], exercise.tolerance):
        said += " Critics and target critics are the same numbers: is it one list under two names, or are the targets "
        said += "copied in every update?"
    if len(found[0]) > 1 and agree(found[0][1:], np.broadcast_to(found[0][:1], found[0][1:].shape), exercise.tolerance):
        said += " The critics are all alike: is it one network under several names?"
    if number == 0 and abs(float(found[2] - start[2])) > 1:
        said += ' The log temperature begins with start["log_temperature"], and has no bounds.'
    elif number == 0 and first == 0 and 2 in wrong:
        said += " The temperature does not depend on the critics, and is wrong too: is it something that both share?"
    if number == 0 and first == 0 and 3 in wrong:
        said += (
            ' The log multiplier is wrong too: it begins with start["log_multiplier"], with cql_lagrange or without.'
        )
    return said + _known(exercise, number, first, found, expected, start)


def _beginning(exercise: Exercise, example: Example) -> list[Array] | None:
    """The five values before the first update."""
    settings, start, _ = example.arguments
    return _arrays(outcome(exercise, exercise.reference, replace(example, arguments=(settings, start, ()))))


def _arrays(given: Answer | None) -> list[Array] | None:
    """The five values as arrays; None if they are not five arrays of numbers."""
    if given is None or not isinstance(given.value, (tuple, list)) or len(given.value) != 5:
        return None
    try:
        return [np.asarray(part.detach().cpu().double().numpy()) for part in given.value]
    except (AttributeError, TypeError, RuntimeError):
        return None


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _are(several: bool) -> str:
    return "are" if several else "is"


def _usual(value: str, number: int) -> str:
    """Where to look for a value that is wrong at a rung where another is expected to be."""
    return {
        "critics": f"what each update's critics read; {CARRIED}",
        "actor": ACTOR,
        "log temperature": TEMPERATURE,
        "log multiplier": FIXED if number < LEARNING else RUNGS[LEARNING].look["log multiplier"],
        "target critics": TARGETS,
    }[value]


def _before(number: int, right: Sequence[Answer | None], place: int) -> Array | None:
    """The right value one update earlier, if the example before is that."""
    earlier, now = RUNGS[number - 1].scenario, RUNGS[number].scenario
    values = _arrays(right[number - 1])
    same = {**earlier, "updates": 0} == {**now, "updates": 0}
    return values[place] if same and values is not None else None


def _difference(found: Array, expected: Array, start: Array, name: str, tolerance: float) -> str:
    """How the numbers of one value differ, and how they moved from where they began."""
    if not np.isfinite(found).all():
        return " Some numbers are not finite: a logarithm of 0, an atanh at a bound, or exp of a large number."
    bad = ~np.isclose(found, expected, rtol=tolerance, atol=tolerance)
    apart = np.abs(found - expected)
    at = np.unravel_index(int(apart.argmax()), apart.shape)
    mine, wanted = float(found[at]), float(expected[at])
    digits = next((n for n in range(4, 14) if f"{mine:.{n}g}" != f"{wanted:.{n}g}"), 14)
    where = f" at {[int(i) for i in at]}" if found.ndim else ""
    many = f"{int(bad.sum())} of {bad.size} numbers of the {name} differ, most" if bad.size > 1 else "It differs"
    said = f" {many}{where}: yours {mine:.{digits}g}, expected {wanted:.{digits}g}, {apart[at]:.2g} apart."
    if found.ndim == 2 and 0 < len(rows := np.flatnonzero(bad.any(1))) < len(bad):
        said += f" Only of {_listed([f'network {row}' for row in rows])} (counted from 0)."
    if found.ndim and np.allclose(np.sort(found.ravel()), np.sort(expected.ravel()), rtol=tolerance, atol=tolerance):
        return (
            " They are the right numbers in another order: parameters_to_vector(net.parameters()), network by network."
        )
    moved, wanted_moves = found - start, expected - start
    if not np.abs(moved).max(initial=0) > tolerance:
        return said
    there = np.abs(wanted_moves) > 1e-6
    if not there.any():
        return said
    ratios = moved[there] / wanted_moves[there]
    if found.ndim == 0:
        return f"{said} It moved the other way." if ratios[0] < 0 else said
    ratio, typical = float(np.median(ratios)), float(np.median(np.abs(wanted_moves[there])))
    if np.allclose(ratios, ratio, rtol=1e-3) and abs(ratio - 1) > 1e-3:
        size = "as far, the other way" if abs(ratio + 1) < 1e-3 else f"{ratio:.4g} times as far"
        return f"{said} Moved {size}: a step size, or a sign?"
    if apart[at] < 0.02 * typical:
        return (
            f"{said} That is small beside a step of {typical:.2g}: the gradient has nearly the right direction, and "
            "another size (a factor, a constant, a clip), or the optimiser another setting."
        )
    times = float(np.median(np.abs(moved[there]))) / typical
    if not 0.67 < times < 1.5:
        return f"{said} A typical number moved {times:.3g} times as far as it should."
    turned = int((ratios < 0).sum())
    return f"{said} {turned} of {ratios.size} moved the other way." if turned > 0.1 * ratios.size else said


def _not_moved(place: int, wrong: Sequence[int]) -> str:
    """What to ask where a value is as at the start: whether a step moved it, and whether it is what is returned."""
    said = f" Yours {_are(place in (0, 1, 4))} as at the start"
    if place == 0 and 4 not in wrong:
        return f"{said}, while the targets have followed the right ones: is what you return taken before the loop?"
    said += ": is there a step, is the gradient cleared only before backward, and does one arrive (no no_grad, no "
    return f"{said}detach on its way)?"


def _known(
    exercise: Exercise, number: int, first: int, found: list[Array], expected: list[Array], start: list[Array]
) -> str:
    """The message of a mutant that gives this example's first wrong value, though another value elsewhere."""
    bad = ~np.isclose(found[first], expected[first], rtol=exercise.tolerance, atol=exercise.tolerance)
    if (bad.size > 1 and bad.sum() <= 5) or agree(found[first], start[first], exercise.tolerance):
        return ""
    right = [place for place in range(5) if agree(found[place], expected[place], exercise.tolerance)]
    known = []
    for mutant in exercise.mutants:
        theirs = _arrays(recalled(exercise, mutant.function, exercise.examples[number]))
        if theirs is None or not agree(found[first], theirs[first], exercise.tolerance):
            continue
        # Whoever makes this mistake, and another one, has wrong what it alone makes wrong.
        if all(agree(theirs[place], expected[place], exercise.tolerance) for place in right):
            known.append(mutant.message)
    if not known:
        return ""
    return f" The same numbers of the {VALUES[first]} come from this mistake: {' Or from this one: '.join(known[:3])}"
