"""Exercises of chapter 09: targets converted, a multiplier's pace, two that cannot work, five runs, a choice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..checker import Example
from ..registry import exercise, mutant, prediction, quiz_question, wrong_choice

DOUBLE = torch.float64
LOG_2 = math.log(2.0)


def _numbers(values: object) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


# ---------------------------------------------------------------- 09.1
@exercise(
    "09.1",
    title="another library's target",
    kind="build",
    difficulty=2,
    importance=5,
    minutes=8,
    plain="later cells compare it with a number",
    examples=(
        Example((6.0, 2.0, 1, 4), "worked by hand: 6 is a target for twice the raw gap; 3 - log 2 - log 4"),
        Example((-2.5, 5.0, 3, 12), "a negative target, a weight of five, three dimensions"),
        Example((0.8, 0.5, 8, 30), "a weight of a half, eight dimensions", shown=False),
        Example((40.0, 4.0, 2, 7), "a large target", shown=False),
    ),
    hints=(
        "Which CQL gap does a critic have whose *weighted raw* gap is exactly the target? Take the steps backwards.",
        "First the weight: raw gap = target / weight. A flat Q has the raw gap action_dim log 2 + log n_candidates and "
        "the CQL gap 0.",
        "return target / weight - ____ * math.log(2) - math.log(____)",
    ),
    meaning="One number means another CQL gap at every weight, dimension and count of candidates: convert, never copy.",
    steps=lambda target, weight, action_dim, n_candidates: {
        "the target without the weight": target / weight,
        "raw gap of a flat Q": action_dim * LOG_2 + math.log(n_candidates),
    },
)
def to_cql_gap(target, weight, action_dim, n_candidates):
    """The target of the CQL gap that is held where weight times the raw gap is held at `target`.

    The raw gap: log of the *sum* of exp(Q) / density over all n_candidates of a state, minus the logged action's Q.
    Four numbers -> a number
    """
    return target / weight - action_dim * math.log(2) - math.log(n_candidates)


@mutant("09.1", "weight forgotten", seen="what is asked in aviralkumar2907/CQL issue 23")
def _(target, weight, action_dim, n_candidates):
    """the weight is left out. The target is subtracted from the *weighted* gap: the gap itself is held at target over
    weight."""
    return target - action_dim * LOG_2 - math.log(n_candidates)


@mutant("09.1", "weight multiplied")
def _(target, weight, action_dim, n_candidates):
    """the target is multiplied by the weight. Where weight times gap equals the target, the gap is target *over*
    weight."""
    return target * weight - action_dim * LOG_2 - math.log(n_candidates)


@mutant("09.1", "weight on everything")
def _(target, weight, action_dim, n_candidates):
    """everything is divided by the weight. Only the target is: the offset of a flat Q belongs to the gap itself."""
    return (target - action_dim * LOG_2 - math.log(n_candidates)) / weight


@mutant("09.1", "log of the count forgotten")
def _(target, weight, action_dim, n_candidates):
    """log n_candidates is missing: the raw form sums over the candidates, and a flat Q adds up that many times."""
    return target / weight - action_dim * LOG_2


@mutant("09.1", "volume forgotten")
def _(target, weight, action_dim, n_candidates):
    """action_dim log 2 is missing: the candidates are divided by their densities, and the box has the volume
    2 ** action_dim."""
    return target / weight - math.log(n_candidates)


@mutant("09.1", "log 2 once")
def _(target, weight, action_dim, n_candidates):
    """log 2 is subtracted once. The box is two wide in *each* dimension."""
    return target / weight - LOG_2 - math.log(n_candidates)


@mutant("09.1", "weight on the offset")
def _(target, weight, action_dim, n_candidates):
    """the offset of a flat Q is divided by the weight, and the target is not. The weight multiplies the whole raw gap:
    divide the target, then subtract the offset."""
    return target - (action_dim * LOG_2 + math.log(n_candidates)) / weight


@mutant("09.1", "offset added")
def _(target, weight, action_dim, n_candidates):
    """the offset is added. A flat Q has a raw gap above 0 and a CQL gap of 0: subtract it."""
    return target / weight + action_dim * LOG_2 + math.log(n_candidates)


@mutant("09.1", "count added")
def _(target, weight, action_dim, n_candidates):
    """log n_candidates is added. A sum is larger than a mean: subtract it."""
    return target / weight - action_dim * LOG_2 + math.log(n_candidates)


@mutant("09.1", "volume added")
def _(target, weight, action_dim, n_candidates):
    """action_dim log 2 is added: subtract it, as for the count of candidates."""
    return target / weight + action_dim * LOG_2 - math.log(n_candidates)


@mutant("09.1", "count, not its log")
def _(target, weight, action_dim, n_candidates):
    """the number of candidates is subtracted, not its logarithm."""
    return target / weight - action_dim * LOG_2 - n_candidates


@mutant("09.1", "log of twice the dimension")
def _(target, weight, action_dim, n_candidates):
    """that is log(2 action_dim). The volume is 2 to the *power* of the dimension: its logarithm is action_dim log 2."""
    return target / weight - math.log(2 * action_dim) - math.log(n_candidates)


# ---------------------------------------------------------------- 09.2
@exercise(
    "09.2",
    title="how long a multiplier is on its way",
    kind="derive",
    difficulty=3,
    importance=4,
    minutes=8,
    plain="later cells compare it with a count",
    examples=(
        Example((1.0, 4.0, 0.5, False), "worked by hand: the multiplier itself, from 1 to 4 in steps of a half"),
        Example((2.0, 0.25, 0.01, True), "its logarithm, downwards"),
        Example((0.5, 12.0, 0.02, True), "its logarithm, upwards", shown=False),
        Example((5.0, 0.2, 0.03, False), "the multiplier itself, downwards", shown=False),
    ),
    hints=(
        "While the gap stays on one side of its target the gradient keeps its sign. How far does Adam move a parameter "
        "at every step then, whatever the gradient's size?",
        "By its step size. The way is a difference: of the multipliers, or of their logarithms. Ways down count "
        "as much as ways up.",
        "way = math.log(end / start) if of_log else ____; return abs(way) / ____",
    ),
    meaning=(
        "Adam walks at one speed. In the logarithm a decade takes as long at every size; in the multiplier itself the "
        "way up to a large one is long, and one step may cross all small ones."
    ),
    steps=lambda start, end, step, of_log: {
        "the way": math.log(end / start) if of_log else end - start,
    },
)
def updates_needed(start, end, step, of_log):
    """Updates until Adam has taken the multiplier from start to end, the gradient being the same all the way.

    Adam moves the multiplier, or with of_log its logarithm; step is its step size. -> a number, not rounded
    """
    return abs(math.log(end / start) if of_log else end - start) / step


@mutant("09.2", "no logarithm")
def _(start, end, step, of_log):
    """of_log is not used. Where Adam moves the logarithm, the way is the difference of the logarithms."""
    return abs(end - start) / step


@mutant("09.2", "always the logarithm")
def _(start, end, step, of_log):
    """of_log is not used: you take the logarithm always. Without it Adam moves the multiplier itself."""
    return abs(math.log(end / start)) / step


@mutant("09.2", "decades")
def _(start, end, step, of_log):
    """that is the logarithm to the base 10. The parameter is the natural one, whose exp is the multiplier."""
    return abs(math.log10(end / start) if of_log else end - start) / step


@mutant("09.2", "octaves")
def _(start, end, step, of_log):
    """that is the logarithm to the base 2. The parameter is the natural one, whose exp is the multiplier."""
    return abs(math.log2(end / start) if of_log else end - start) / step


@mutant("09.2", "signed")
def _(start, end, step, of_log):
    """the way has a sign here; a number of updates has none. Ways down take as long as ways up."""
    return (math.log(end / start) if of_log else end - start) / step


@mutant("09.2", "step multiplied")
def _(start, end, step, of_log):
    """the way is multiplied by the step. Larger steps need *fewer* updates: divide."""
    return abs(math.log(end / start) if of_log else end - start) * step


@mutant("09.2", "ratio for difference")
def _(start, end, step, of_log):
    """without of_log you count the ratio of end and start. Adam adds: the way is their difference."""
    return abs(math.log(end / start) if of_log else end / start) / step


@mutant("09.2", "logarithm of the way")
def _(start, end, step, of_log):
    """that is the logarithm of the difference. The way is the difference of the logarithms, log(end / start)."""
    return abs(math.log(abs(end - start)) if of_log else end - start) / step


@mutant("09.2", "growing by a factor")
def _(start, end, step, of_log):
    """that is the way of something that grows by the factor 1 + step. Adam adds the step to the logarithm, which is the
    factor exp(step)."""
    return abs(math.log(end / start) / math.log(1 + step) if of_log else (end - start) / step)


# ---------------------------------------------------------------- 09.3
@exercise(
    "09.3",
    title="what the summed loss does",
    kind="derive",
    difficulty=3,
    importance=5,
    minutes=10,
    plain="a factor is compared with a number",
    examples=(
        Example((_numbers([0.5, 3.0]),), "two multipliers, below and above the one at which it happens"),
        Example((_numbers([7.0, 1.25, 0.1]),), "three others", shown=False),
    ),
    hints=(
        "Collect what stands before `gap` of one critic in the value that line 6 returns. Nothing is detached.",
        "Line 4 has it once. Line 5 has it again, inside a product, with a sign and a factor.",
        "return 1 - ____ * multiplier",
    ),
    meaning=(
        "One minus half the multiplier: the more the dual asks for, the *less* is pushed, nothing at two, and upwards "
        "beyond."
    ),
)
def factor_in_the_sum(multiplier):
    """The factor before the penalty's gradient, with respect to the Q-values, in the gradient of the listing's loss.

    multiplier [n] -> [n]
    """
    return 1 - 0.5 * multiplier


@mutant("09.3", "as intended")
def _(multiplier):
    """that is what was intended: the multiplier as the penalty's weight. Line 4 does not multiply the gap by it."""
    return multiplier


@mutant("09.3", "line 4 alone")
def _(multiplier):
    """that is line 4 alone. Line 5 contains the gap too, and nothing is detached."""
    return torch.ones_like(multiplier)


@mutant("09.3", "line 5 alone")
def _(multiplier):
    """that is line 5 alone. Line 4 pushes as well, without a multiplier."""
    return -0.5 * multiplier


@mutant("09.3", "half forgotten")
def _(multiplier):
    """line 5 begins with a factor of a half."""
    return 1 - multiplier


@mutant("09.3", "sign of line 5")
def _(multiplier):
    """line 5 begins with a minus: it is to be made small by a *large* multiplier."""
    return 1 + 0.5 * multiplier


@mutant("09.3", "mean of both critics")
def _(multiplier):
    """both lines are sums over the critics: line 4's part of a critic is its whole gap, not half of it."""
    return 0.5 - 0.5 * multiplier


@mutant("09.3", "multiplier on both")
def _(multiplier):
    """line 4 is not multiplied by the multiplier. Read it once more."""
    return 0.5 * multiplier


@mutant("09.3", "turned round")
def _(multiplier):
    """the sign of the whole is turned. With a multiplier of 0 the loss is line 4's, which pushes down once."""
    return 0.5 * multiplier - 1


# ---------------------------------------------------------------- 09.4
FROZEN = """\
 1  class Multiplier:
 2      def __init__(self, step, device):
 3          self.log_value = torch.zeros(1, requires_grad=True)
 4          self.optimizer = torch.optim.Adam([self.log_value], lr=step)
 5          self.log_value = self.log_value.to(device)
 6      def value(self):
 7          return self.log_value.exp().clamp(1e-6, 1e6)
 8      def update(self, gap, target):
 9          loss = -(self.value() * (gap.detach() - target)).mean()
10          self.optimizer.zero_grad()
11          loss.backward()
12          self.optimizer.step()"""


@exercise(
    "09.4",
    title="a multiplier that never moves",
    kind="read",
    difficulty=3,
    importance=4,
    minutes=6,
    examples=(Example((), "the listing of twelve lines above", shown=False),),
    hints=(
        "It learns on the processor and stands still on a GPU. What is different there? What does the optimiser hold?",
        "Tensor.to returns the tensor itself where nothing has to be moved, and a copy where something has.",
        "return ____  # after this line the name and the optimiser mean two tensors",
    ),
    meaning=(
        "Line 5: after it the optimiser steps a tensor that nobody reads. Move first and make the optimiser last; then "
        "test that a multiplier moves, on the device that it will live on."
    ),
)
def frozen_line():
    """The number of the one wrong line.

    -> an integer from 1 to 12
    """
    return 5


for _number, _message in {
    1: "line 1 is right: a class of its own keeps the value and its optimiser together.",
    2: "line 2 is right: a step size and a place are all that it needs.",
    3: "line 3 is right: the logarithm starts at 0, a multiplier of 1, and asks for a gradient. It is made on the "
    "processor, which is no fault by itself: see what happens to the name afterwards.",
    4: "line 4 is right when it runs: the optimiser holds the tensor that the name means then. See what comes next.",
    6: "line 6 is right: the multiplier is read from what the name means now.",
    7: "line 7 is right: the bounds are far away at a multiplier of 1, and exp has a gradient.",
    8: "line 8 is right: the gap and its target are what dual ascent needs.",
    9: "line 9 is right: the gap is a constant for the multiplier, and the minus makes the step an ascent.",
    10: "line 10 is right: the gradients of the step before are thrown away.",
    11: "line 11 is right: the gradient arrives in a tensor. The question is which, and who reads it.",
    12: "line 12 is right: the optimiser steps what it holds. The question is what that is.",
}.items():
    wrong_choice("09.4", f"line {_number}", _number, _message)


# ---------------------------------------------------------------- 09.5
CAUSES = {"V": "floor", "W": "frozen", "X": "held", "Y": "natural", "Z": "sign"}
SUSPECTS = {
    "held": "the target is held",
    "floor": "the target lies below the floor",
    "natural": "the target lies above the natural gap",
    "frozen": "the multiplier is not stepped",
    "sign": "the multiplier's loss has the wrong sign",
}
SYMPTOMS = {
    ("V", "held"): "A target that is held has the gap on it at the end. Here the gap ends well above it.",
    ("V", "natural"): "A target above the natural gap lets the multiplier fall to its lower bound. Here it rises.",
    ("V", "frozen"): "A multiplier that is not stepped is a flat line. Here it rises over four decades.",
    (
        "V",
        "sign",
    ): "With the wrong sign it would fall while the gap is above its target. Here the gap is above, and the "
    "multiplier rises, as it should.",
    ("W", "held"): "A target that is held has the gap on it at the end. Here the gap never comes to it.",
    ("W", "floor"): "A target below the floor drives the multiplier up. Here it does not move.",
    ("W", "natural"): "A target above the natural gap drives the multiplier down. Here it does not move.",
    ("W", "sign"): "The wrong sign drives it the wrong way. Here it goes no way at all.",
    ("X", "floor"): "Below the floor the multiplier rises without an end. Here it comes to rest, and the gap lies on "
    "its target.",
    ("X", "natural"): "Above the natural gap the multiplier falls to its bound. Here it comes to rest far from it.",
    ("X", "frozen"): "It moves for some hundred updates and rests once the gap lies on its target.",
    ("X", "sign"): "The wrong sign flees from the target. Here the gap comes to it.",
    ("Y", "held"): "Here the gap comes to rest *below* its target, and the multiplier lies at its lower bound.",
    ("Y", "floor"): "A target below the floor drives the multiplier up. Here it falls to its lower bound.",
    ("Y", "frozen"): "It moves through three decades.",
    ("Y", "sign"): "With the wrong sign it would rise while the gap is below its target. Here it falls, as it should.",
    ("Z", "held"): "Here the gap ends far below its target, with the multiplier at its cap.",
    ("Z", "floor"): "Below the floor the gap stays *above* its target. On which side is it here?",
    ("Z", "natural"): "A target above the natural gap lets the multiplier fall. Here it rises to its cap.",
    ("Z", "frozen"): "It moves through four decades.",
}


def _judge_cause(found: object, run: str) -> str | None:
    """None for the right cause; else what speaks against the one given."""
    if found == CAUSES[run]:
        return None
    told = SYMPTOMS.get((run, found)) if isinstance(found, str) else None
    return told or f"that is none of the five: {', '.join(SUSPECTS)}."


@exercise(
    "09.5",
    title="five multipliers",
    kind="diagnose",
    difficulty=3,
    importance=5,
    minutes=10,
    examples=tuple(Example((run,), f"run {run} of the figure above") for run in CAUSES),
    hints=(
        "Two questions for each run: on which side of its target does the gap end, and which way does the multiplier "
        "go meanwhile?",
        "A gap above its target must drive the multiplier up, one below it down. One run does the opposite, one does "
        "nothing, two do it without an end, one comes to rest.",
        'return {"V": "____", "W": "____", "X": "____", "Y": "____", "Z": "____"}[run]',
    ),
    meaning=(
        "V: rises with the gap above its target, out of reach. Z: rises with the gap *below*, a wrong sign. Both "
        "curves of the multiplier look the same; only the gap beside its target tells them apart."
    ),
    judge=_judge_cause,
)
def state_of(run):
    """What the run shows: "V", "W", "X", "Y" or "Z" -> "held", "floor", "natural", "frozen" or "sign"."""
    return {"V": "floor", "W": "frozen", "X": "held", "Y": "natural", "Z": "sign"}[run]


def _wrong_cause(run: str, cause: str) -> None:
    def answer(asked: str) -> str:
        return cause if asked == run else CAUSES[asked]

    mutant("09.5", f"{run}: {cause}", message=f"run {run} is not {cause!r}.")(answer)


for _run, _cause in SYMPTOMS:
    _wrong_cause(_run, _cause)


# ---------------------------------------------------------------- 09.6
def _judge_procedure(found: object) -> str | None:
    """None for a procedure whose regret in its worst world is below the bar on fresh logs; else the regrets."""
    from ..studies import ch09 as study
    from ..studies.common import result_rows

    known, ways = ", ".join(study.ESTIMATES), ", ".join(study.WAYS)
    if isinstance(found, (tuple, list)) and len(found) == 2 and isinstance(found[0], str) and found[1] in study.WAYS:
        wanted = f"({found[0]!r},), with a comma" if found[0] in study.ESTIMATES else "each name in its own quotes"
        return f"the names are one text, {found[0]!r}, and a tuple of names is wanted: {wanted}."
    if not isinstance(found, (tuple, list)) or len(found) != 2 or not isinstance(found[0], (tuple, list, set)):
        return "a pair is wanted: the names of the scores that are asked, and how their ranks become one."
    names = [str(name) for name in found[0]]
    if not names or len(set(names)) < len(names) or not set(names) <= set(study.ESTIMATES):
        return f"the first part holds at least one of {known}, each once."
    if found[1] not in study.WAYS:
        return f"the second part is one of {ways}."
    logs = study.candidates(result_rows("ope"), study.FRESH)
    regrets, most = study.regret_of_choices(logs, study.combined(logs, names, str(found[1]))), study.bar(logs)
    worst = max(regrets, key=lambda world: regrets[world])
    if regrets[worst] < most:
        return None
    said = ", ".join(f"{world} {value:.0f}" for world, value in regrets.items())
    alone = {name: study.regret_of_choices(logs, study.single_choices(logs, name))[worst] for name in names}
    why = f" Asked alone there: {', '.join(f'{name} {value:.0f}' for name, value in alone.items())}."
    just = " and this is no less" if f"{regrets[worst]:.0f}" == f"{most:.0f}" else ""
    return (
        f"mean regret on three fresh logs of each world, per cent: {said}. The worst is {worst}; it has to be below "
        f"{most:.0f}{just}: that is what the best single rule loses in its worst world.{why if len(names) > 1 else ''}"
    )


@exercise(
    "09.6",
    title="a choice without a simulator",
    kind="design",
    difficulty=4,
    importance=5,
    minutes=20,
    examples=(Example((), "judged on the draws 12, 13 and 14 of each world"),),
    hints=(
        "No score is safe in all four worlds, but they fail in different ones. What becomes of a policy that one score "
        "likes and the others do not?",
        "Try procedures on the logs to look at: study.combined(looked_at, names, way), then the largest of "
        "study.regret_of_choices. Which score would you rather not ask, as it comes from the critic that made the "
        "policy?",
        'return ("fqe", "____", "____"), "____"',
    ),
    meaning=(
        "Ranks of three scores that fail in different places, without the critics that made the policy: no proof, but "
        "a smaller worst case than any rule alone had, on logs that nobody had looked at."
    ),
    judge=_judge_procedure,
)
def procedure():
    """Which scores you ask, and how the ranks they give a policy become one; the largest wins.

    -> (some of "fqe", "initial-value", "wis", "td-error"), and "sum", "median" or "lowest"
    """
    return ("fqe", "wis", "td-error"), "sum"


def _procedure(name: str, names: Sequence[str], way: str, message: str) -> None:
    def answer() -> tuple[tuple[str, ...], str]:
        return tuple(names), way

    mutant("09.6", name, message=message)(answer)


_procedure(
    "fitted Q-evaluation alone",
    ("fqe",),
    "sum",
    "you trust fitted Q-evaluation alone. In one of the worlds it ranks the policies upside down.",
)
_procedure(
    "the critics alone",
    ("initial-value",),
    "sum",
    "you ask the critics that made the policy what it is worth: the actor was trained to please them.",
)
_procedure(
    "the Bellman error alone",
    ("td-error",),
    "sum",
    "you trust the Bellman error alone. It says how consistent a critic is with itself, not how good its policy is.",
)
_procedure(
    "importance sampling alone",
    ("wis",),
    "sum",
    "you trust importance sampling alone, where it has few effective episodes or none.",
)
_procedure(
    "all four",
    ("fqe", "initial-value", "wis", "td-error"),
    "sum",
    "you ask all four. Two of them are kind to the same policies for the same reason, and together they outvote the "
    "rest.",
)
_procedure(
    "all four, the lowest",
    ("fqe", "initial-value", "wis", "td-error"),
    "lowest",
    "you take the lowest of all four ranks. Then the worst judge of each log decides.",
)
_procedure(
    "the median of three",
    ("fqe", "wis", "td-error"),
    "median",
    "the median of three ranks drops the one objection that matters: two scores that fail together win.",
)


# ---------------------------------------------------------------- predictions
prediction(
    "09.p1",
    "Ten thousand steps of uniform torques on Pendulum: random data. The rule of thumb says alpha 10 to 20. Of the "
    "ladder 0, 0.1, 0.5, 2, 5, 10, 20, which alphas earn most?",
    answer="c",
    a=(
        "10 and 20, as the rule says: random data are the least reliable",
        "They are the widest. The actions that a critic could over-estimate are in the log, with their outcomes.",
    ),
    b=(
        "the middle of the ladder: too little invents values, too much clones random moves",
        "The second half is right. The first is not: with every action in the log little is left to invent.",
    ),
    c=(
        "the small ones, with none among them",
        "A log that holds every action corrects the critic by itself; what a large alpha adds is a pull towards "
        "random moves.",
    ),
)

prediction(
    "09.p2",
    "A multiplier holds the CQL gap that the tuned alpha has on the tuning draws. Ten other draws of five tasks: "
    "beside that fixed alpha, its return is...",
    answer="b",
    a=(
        "higher on most tasks: it adapts alpha along the training",
        "It does adapt. What it adapts to is one number, and the fixed alpha arrives at that number too.",
    ),
    b=(
        "told apart on none of them",
        "Where both hold the same gap at the end they are much the same method. The target has to be found as alpha "
        "had to.",
    ),
    c=(
        "lower on most tasks: it swings around its target",
        "With a small step it comes to rest.",
    ),
)

prediction(
    "09.p3",
    "A target that cannot be reached, a step of 0.005 for Adam, 3,000 updates, a start at 1. Where does a multiplier "
    "end that is stepped *itself*, not by its logarithm?",
    answer="a",
    a=(
        "at 16 or a little below",
        "Adam walks its step at each update, whatever the gradient: 3,000 times 0.005, from 1.",
    ),
    b=(
        "at the cap of ten thousand",
        "There its logarithm would be. Adam's steps add, and the cap is two million of them away.",
    ),
    c=("near 1: the gap moves too little", "The size of the gradient does not matter to Adam, only its sign does."),
)

prediction(
    "09.p4",
    "The loss of a critic and the loss of its multiplier are added, nothing is detached, one backward pass. The "
    "multiplier stands at 4. What does the penalty do to the candidates' values?",
    answer="c",
    a=(
        "it pushes them down four times as strongly",
        "That was the intention.",
    ),
    b=(
        "it pushes them down as with a multiplier of 1",
        "That would be so if the multiplier's loss were detached.",
    ),
    c=(
        "it pushes them up",
        "The multiplier's loss has the gap with a minus, and beyond 2 it outweighs the critic's own.",
    ),
)

prediction(
    "09.p5",
    "Six rules choose one of twelve policies without a simulator, in four worlds. How many of them are, in each world, "
    "at least as good as a choice by lot?",
    answer="a",
    a=(
        "none",
        "Each has a world in which it is worse than chance.",
    ),
    b=(
        "those two that only ask how the log was made: the clone and the largest alpha",
        "They ask nothing at all. Where the log is not to be imitated, both lose.",
    ),
    c=(
        "fitted Q-evaluation and importance sampling: they were made for this",
        "They were. Both have assumptions that two of these worlds break.",
    ),
)


# ---------------------------------------------------------------- quiz
quiz_question(
    "09.a",
    "A new log, the same robot, rewards in another unit (numbers ten times as large). Which of your old settings can "
    "you keep?",
    answer="b",
    a=(
        "alpha, as the log's quality is the same",
        "Alpha is weighed against squared errors of values, which have just grown.",
    ),
    b=(
        "neither alpha nor the target",
        "Both have to be found again: alpha is weighed against squared values, and the gap is a difference of values.",
    ),
    c=(
        "the Lagrange target, as the multiplier adapts",
        "The multiplier does; the target is a difference of values, with their unit.",
    ),
)

quiz_question(
    "09.b",
    "After 2,000 updates the multiplier is at its cap and the logged CQL gap is *below* its target. What do you look "
    "at first?",
    answer="a",
    a=(
        "the sign of the multiplier's loss",
        "A gap below its target must drive the multiplier down. Nothing but the code can turn that round.",
    ),
    b=(
        "the target: it lies below the floor",
        "Then the gap would stay above it.",
    ),
    c=("the multiplier's step: it is too large", "A large step swings. It does not rest at the cap."),
)

quiz_question(
    "09.c",
    "Fitted Q-evaluation puts the run with the smallest alpha first, on your only log. What follows?",
    answer="c",
    a=(
        "train with a smaller one still",
        "On two of the worlds above it prefers the smallest alpha in every draw, and is wrong.",
    ),
    b=(
        "nothing: no estimate is worth anything without a simulator",
        "One score alone is worth little. Scores that fail in different places are worth more, and the log's own "
        "return is a baseline.",
    ),
    c=(
        "ask a score that fails elsewhere, before you believe it",
        "It shares the critic's blind spot: actions that the log does not have.",
    ),
)
