"""Exercises of chapter 12, the debug lab: name a bug by its curves, find its line, write the test that catches it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ... import losses
from ..checker import Example
from ..registry import exercise, mutant, prediction, quiz_question, wrong_choice
from ..studies import ch12 as study

DOUBLE = torch.float64

# ---------------------------------------------------------------- 12.1
SUSPECTS = {
    "a": "every random action stands at the upper bound",
    "b": "base and exponent of the uniform density are swapped",
    "c": "time limits are logged as terminations",
    "d": "a resume left the temperature's optimiser with a stale tensor",
    "e": "the reshape is thrown away: log-sum-exp over three values",
    "f": "the target network was lost in a resume",
}


@exercise(
    "12.1",
    title="name the bug of run X",
    kind="diagnose",
    difficulty=3,
    importance=5,
    minutes=10,
    examples=(Example((), "run X of the figure above", shown=False),),
    hints=(
        "Do not look at one curve alone. Which of them leave the band of the healthy runs, and from which update on?",
        "One curve of run X does nothing at all from a certain update on. What happens at that update?",
        'return "____"  # the bug that can only begin there',
    ),
    meaning=(
        "The temperature is flat from update 400 on, the update of the resume: its tensor is a new one, and the "
        "optimiser goes on moving the old one. No other suspect can hold a learned number still."
    ),
)
def bug_of_run_x():
    """The letter of the bug in run X.

    -> "a", "b", "c", "d", "e" or "f"
    """
    return "d"


def _suspect(letter, message):
    wrong_choice("12.1", f"letter {letter}", letter, message)


_suspect(
    "a",
    "random actions at one corner change the CQL gap from the first update on. Run X is inside the band until its "
    "middle.",
)
_suspect(
    "b",
    "a wrong density shifts the CQL gap from the first update on. Run X's CQL gap begins as the healthy ones do.",
)
_suspect(
    "c",
    "flags of the log act from the first update on, on Q and on the Bellman error. Neither stands still, and one curve "
    "of run X does.",
)
_suspect(
    "e",
    "three values in place of fifteen change the CQL gap from the first update on, and hold nothing still.",
)
_suspect(
    "f",
    "that too begins at the resume. But the target network follows the critics again within some tens of updates, and "
    "it moves no temperature. Which curve of run X does not move at all?",
)


# ---------------------------------------------------------------- 12.2
@exercise(
    "12.2",
    title="find its line",
    kind="read",
    difficulty=3,
    importance=4,
    minutes=10,
    examples=(Example((), "the listing of thirty lines above", shown=False),),
    hints=(
        "Write the shape of every tensor beside its line, with numbers: B = 2 states, n = 5. What does line 22 add?",
        "Line 20 stacks three vectors. How long are they there, and how long were they meant to be? Who makes them so?",
        "return ____  # the line whose result nobody keeps",
    ),
    meaning=(
        "Line 19 makes a new tensor and throws it away. The three vectors stay [B n], the stack is [B n, 3], and the "
        "log-sum-exp runs over one candidate of each proposal."
    ),
)
def line_of_the_bug():
    """The number of the one wrong line.

    -> an integer from 1 to 30
    """
    return 19


RIGHT_LINES = {
    1: "the head: n candidates of each of three proposals.",
    2: "three columns of the batch.",
    3: "B states, A numbers in an action.",
    4: "uniform in [-1, 1], n rows a state: rand is in [0, 1].",
    5: "each state n times in a row, as the candidates are ordered.",
    6: "the same for the next states.",
    7: "candidates are constants for the critics.",
    8: "the policy's own actions, each with its log-density.",
    9: "actions of the policy at the next state; they are scored at this one, as in the official code.",
    10: "log of 0.5 to the power A, the uniform density.",
    11: "the target is made before, and is a constant.",
    12: "what is summed up over the critics.",
    13: "both critics in turn.",
    14: "the logged action's values, [B].",
    15: "the mean squared Bellman error; the target carries no gradient.",
    16: "three proposals, each with the log-density of its own candidates.",
    17: "three vectors of values, each less its log-density.",
    18: "each of the three in turn.",
    20: "it stacks what it is given; flatten(1) then joins all axes but the first.",
    21: "how many values the mean inside the logarithm is over.",
    22: "log-mean-exp along the values of a row.",
    23: "the penalty: log-partition minus the logged action's value, each averaged over the rows.",
    24: "the multiplier is a constant for the critics.",
    25: "Bellman error and weighted penalty.",
    26: "remembered for the multiplier.",
    27: "the mean over the critics, a constant for the multiplier.",
    28: "the CQL gap: a flat Q gives 0.",
    29: "up while the CQL gap is above its target; the logarithm is the variable.",
    30: "two losses; each has an optimiser of its own.",
}
for _number, _why in RIGHT_LINES.items():
    wrong_choice("12.2", f"line {_number}", _number, f"line {_number} is right: {_why}")


# ---------------------------------------------------------------- 12.3
def _truth(verdict: object) -> bool | None:
    """True or False, also as torch's or NumPy's single one; None for anything else."""
    if isinstance(verdict, (Tensor, np.generic)) and verdict.ndim == 0:
        verdict = verdict.item()
    return verdict if isinstance(verdict, bool) else None


def _judge_penalty_test(verdict: object, penalty: object, q: Tensor, log_density: Tensor, q_data: Tensor) -> str | None:
    """None where the verdict on an implementation is true."""
    if (verdict := _truth(verdict)) is None:
        return "True or False is wanted: is this the penalty?"
    assert isinstance(penalty, study.Program)
    right, about = study.PENALTIES[penalty.name]
    if verdict == right:
        return None
    told = f"your test {'passes' if verdict else 'fails'} {about}."
    if not penalty.seen:
        return f"{told} It never calls the program."
    if not any(torch.equal(given, q) for given in penalty.seen):
        return f"{told} It asks the program about numbers of its own alone, and never about the q that it is given."
    return told


def _what_else_passes(test: object, verdict: object) -> str:
    """Which formula a test compares with that fails right programs; how far off one may be that passes wrong ones."""
    assert callable(test)
    if _truth(verdict) is None:
        return ""
    if _truth(verdict):
        near = study.passed_by(test, study.NEARLY)
        return f"It also passes the right penalty {near[0]}." if near else ""
    passed = study.passed_by(test, study.FORMULAS)
    if len(passed) in (1, 2):
        return f"It passes a penalty {' and one '.join(passed)}: is that the formula in it?"
    if passed:
        return ""
    return (
        f"It passes none of {len(study.FORMULAS)} wrong formulas either. Print what you compare with beside what the "
        "package's penalty gives on the example by hand: do the numbers differ, or do you ask for equality to the last "
        "digit?"
    )


def _numbers(*shape: int, seed: int, size: float = 1.0) -> Tensor:
    return size * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def _penalty_example(name: str, seed: int, shape: tuple[int, int, int]) -> Example:
    e, b, k = shape
    density = _numbers(b, k, seed=seed + 1)
    density[:, : k // 3] = -2 * math.log(2.0)
    arguments = (study.Program(name), _numbers(e, b, k, seed=seed), density, _numbers(e, b, seed=seed + 2))
    return Example(arguments, f"{study.PENALTIES[name][1]}, on fresh numbers", shown=False)


@exercise(
    "12.3",
    title="the test that catches it",
    kind="build",
    difficulty=4,
    importance=5,
    minutes=15,
    examples=tuple(
        _penalty_example(name, 10 * number, shape)
        for number, (name, shape) in enumerate(
            zip(study.PENALTIES, 3 * ((2, 3, 6), (2, 4, 9), (3, 2, 6), (2, 5, 12)), strict=False)
        )
    ),
    hints=(
        "Compute what is right in another way than a program would: plain exp, mean, log, on these small numbers. Then "
        "compare. A critic is trained by the gradient, so compare that too.",
        "q = q.clone().requires_grad_() first. The gradient of each of the two sums comes from torch.autograd.grad; a "
        "result that has no gradient in q fails the test at once.",
        "right = ((q - log_density).____.mean(-1).____ - q_data).mean(-1); compare found and right, then ____ of both",
    ),
    meaning=(
        "A definition on random numbers, and its gradient, catch what no curve shows. Two right programs differ by "
        "rounding, so the comparison needs a tolerance; a wrong one differs by far more."
    ),
    judge=_judge_penalty_test,
    probe=_what_else_passes,
)
def is_the_penalty(penalty, q, log_density, q_data):
    """Whether a program computes CQL's penalty of each critic, in the log-mean form, and its gradient in q.

    The program, to be called penalty(q, log_density, q_data) -> [E]; [E, B, K], [B, K], [E, B] -> True or False
    """
    q = q.clone().requires_grad_()
    found, right = penalty(q, log_density, q_data), ((q - log_density).exp().mean(-1).log() - q_data).mean(-1)
    if found.shape != right.shape or not found.requires_grad:
        return False
    (moved,), (wanted,) = (torch.autograd.grad(value.sum(), q, retain_graph=True) for value in (found, right))
    return torch.allclose(found, right) and torch.allclose(moved, wanted)


def _right(q, log_density, q_data):
    return ((q - log_density).exp().mean(-1).log() - q_data).mean(-1)


@mutant("12.3", "finite")
def _(penalty, q, log_density, q_data):
    """your test passes whatever is finite. Every bug of this chapter is: what should the numbers *be*?"""
    return bool(torch.isfinite(penalty(q, log_density, q_data)).all())


@mutant("12.3", "shape alone")
def _(penalty, q, log_density, q_data):
    """your test looks at the shape of the result alone. All bugs but one give the right shape."""
    return penalty(q, log_density, q_data).shape == q.shape[:1]


@mutant("12.3", "a flat Q alone")
def _(penalty, q, log_density, q_data):
    """your test asks about a flat Q under a flat density alone. There any log-mean is right, over three values as over
    all: let the numbers differ."""
    flat = penalty(torch.zeros_like(q), torch.full_like(log_density, -2 * math.log(2.0)), torch.zeros_like(q_data))
    return flat.shape == q.shape[:1] and torch.allclose(flat, torch.full_like(flat, 2 * math.log(2.0)))


@mutant("12.3", "value alone", seen="EmptyJackson/unifloral PR 7: a penalty without a gradient")
def _(penalty, q, log_density, q_data):
    """your test compares values and no gradient. A penalty whose candidates are detached has the right value and pushes
    nothing down: it was published so."""
    found = penalty(q, log_density, q_data)
    return found.shape == q.shape[:1] and torch.allclose(found, _right(q, log_density, q_data))


@mutant("12.3", "fails everything")
def _(penalty, q, log_density, q_data):
    """your test fails every program, the right ones too."""
    return False


@mutant("12.3", "to the last digit")
def _(penalty, q, log_density, q_data):
    """your test asks for equality to the last digit, and fails a right program that sums in another order: allow for
    rounding."""
    q = q.clone().requires_grad_()
    found, right = penalty(q, log_density, q_data), losses.cql_penalty(q, log_density, q_data)
    if found.shape != right.shape or not found.requires_grad:
        return False
    (moved,), (wanted,) = (torch.autograd.grad(value.sum(), q, retain_graph=True) for value in (found, right))
    return torch.equal(found, right) and torch.equal(moved, wanted)


@mutant("12.3", "some gradient")
def _(penalty, q, log_density, q_data):
    """your test asks for right values and for *a* gradient, not for the right one: half of it passes."""
    q = q.clone().requires_grad_()
    found = penalty(q, log_density, q_data)
    if found.shape != q.shape[:1] or not found.requires_grad:
        return False
    return torch.allclose(found, _right(q, log_density, q_data))


@mutant("12.3", "a wide tolerance")
def _(penalty, q, log_density, q_data):
    """your tolerance is wide: a penalty that is wrong by 0.02 passes. These are double precision numbers, and two right
    programs differ by rounding alone."""
    q = q.clone().requires_grad_()
    found, right = penalty(q, log_density, q_data), _right(q, log_density, q_data)
    if found.shape != right.shape or not found.requires_grad:
        return False
    (moved,), (wanted,) = (torch.autograd.grad(value.sum(), q, retain_graph=True) for value in (found, right))
    return torch.allclose(found, right, atol=0.1) and torch.allclose(moved, wanted, atol=0.1)


@mutant("12.3", "gradients add up")
def _(penalty, q, log_density, q_data):
    """your test asks whether the push-down adds up to 1. That of a log-sum-exp over three values does, and that of a
    hard maximum does: the shares themselves have to be right."""
    q = q.clone().requires_grad_()
    found = penalty(q, log_density, q_data)
    if found.shape != q.shape[:1] or not found.requires_grad:
        return False
    (moved,) = torch.autograd.grad(found.sum(), q)
    return torch.allclose(moved.sum((-2, -1)), torch.ones(len(q), dtype=DOUBLE))


@mutant("12.3", "verdict turned")
def _(penalty, q, log_density, q_data):
    """your test is the wrong way round: True means that the program is right."""
    return not is_the_penalty(penalty, q, log_density, q_data)


# ---------------------------------------------------------------- 12.4
DEFECTS = {
    "a": "none: the log is as it should be",
    "b": "each time limit is flagged as a termination",
    "c": "the flag of each end stands in the row before it as well",
    "d": "the last next state of an episode is the first state of the next one",
    "e": "rewards stand one row too late",
    "f": "actions were clipped to a narrower range",
}


@exercise(
    "12.4",
    title="what is wrong with log D?",
    kind="diagnose",
    difficulty=3,
    importance=4,
    minutes=8,
    examples=(Example((), "the two reports printed above", shown=False),),
    hints=(
        "Go through the report line by line: which lines are the same for both logs? What is left?",
        "How far can the world move in one step? Compare the steps inside episodes with those at their ends.",
        "return '____'  # what makes a step at an end so long?",
    ),
    meaning=(
        "Flags, rewards and actions are the same; only the steps at the ends are longer than the world can make them. "
        "The last next state was read from the next row, which another episode begins."
    ),
)
def defect_of_log_d():
    """The letter of what is wrong with log D.

    -> "a", "b", "c", "d", "e" or "f"
    """
    return "d"


def _defect(letter, message):
    wrong_choice("12.4", f"letter {letter}", letter, message)


_defect("a", "one line of log D's report differs from the right log's by far more than chance: the steps at the ends.")
_defect("b", "then log D would count terminations, and no truncations. It counts as the right log does.")
_defect("c", "then log D would have twice as many flags as episodes. It has one for each.")
_defect("e", "the correlation of rewards with the states they were earned in is the same in both logs.")
_defect("f", "the largest action is the same in both logs.")


# ---------------------------------------------------------------- 12.5
def _judge_resume_test(verdict: object, make: object, resume: object, batches: object) -> str | None:
    """None where the verdict on a way to resume is true; else what the test did with its agents, or what it asks."""
    if (verdict := _truth(verdict)) is None:
        return "True or False is wanted: does the resumed run go on as the other one does?"
    assert isinstance(make, study.Maker) and isinstance(resume, study.Resume)
    right, about = study.RESUMES[resume.name]
    if verdict == right:
        return None
    told = f"your test {'passes' if verdict else 'fails'} {about}."
    if unlike := study.unlike_histories(make, resume):
        return f"{told} {unlike}"
    if verdict:
        return (
            f"{told} Its agents go on alike, so it is the comparison: does it ask *all* tensors of state(), by value?"
        )
    return f"{told} Its agents have equally many updates: on the same batches, in the same order, compared by value?"


ONE_BATCH = (
    "stale_temperature",
    "lost_target",
    "lost_moment",
)  # in the first update after it some tensors alone are others


@exercise(
    "12.5",
    title="a resume that is exact",
    kind="build",
    difficulty=4,
    importance=5,
    minutes=15,
    examples=tuple(
        Example(
            (study.Maker(20 + number), study.Resume(name), study.batches(70 + number, 1 if name in ONE_BATCH else 3)),
            about,
            shown=False,
        )
        for number, (name, (_, about)) in enumerate(study.RESUMES.items())
    ),
    hints=(
        "Two agents from make(): one goes on, the other is resumed and then goes on. When do they differ, and where?",
        "A stale optimiser shows only after further updates; a restarted random stream and lost moments too. Give both "
        "the same batches, one by one, and then compare everything that agent.state() holds.",
        "for batch in batches: ____; one, other = unbroken.state(), resumed.state(); return all(____ for name in one)",
    ),
    meaning=(
        "A saved run that goes on must end with the very tensors of the unbroken one. This one test stands for the "
        "target network, the optimisers, their moments, the statistics and the random stream."
    ),
    judge=_judge_resume_test,
)
def resumes_exactly(make, resume, batches):
    """Whether a run that is resumed ends with the very numbers of one that was never broken off.

    make() -> an agent that has trained a little, always the same one; resume(agent) -> the agent that comes back from
    its file; one batch or several for agent.update(batch); agent.state() is a dict of tensors -> True or False
    """
    unbroken, resumed = make(), resume(make())
    for batch in batches:
        unbroken.update(batch)
        resumed.update(batch)
    one, other = unbroken.state(), resumed.state()
    return all(torch.equal(one[name], other[name]) for name in one)


def _after(make, resume, batches):
    unbroken, resumed = make(), resume(make())
    for batch in batches:
        unbroken.update(batch)
        resumed.update(batch)
    return unbroken, resumed


@mutant("12.5", "at once")
def _(make, resume, batches):
    """your test does not see a stale optimiser. Right after the resume all numbers are the same, and so are the losses
    of the first update: compare what state() holds, once both agents have gone on after the resume."""
    one, other = make().state(), resume(make()).state()
    return all(torch.equal(one[name], other[name]) for name in one)


@mutant("12.5", "actions at once")
def _(make, resume, batches):
    """your test compares actions right after the resume. They come from policy and statistics alone; critics, targets
    and optimisers are not asked."""
    states = batches[0]["observations"]
    return bool((make().act(states) == resume(make()).act(states)).all())


@mutant("12.5", "the resumed one twice")
def _(make, resume, batches):
    """your test passes every way to resume. One agent has to go on unbroken and the other from its file, on the same
    batches; then everything that state() holds must be the same."""
    one, other = resume(make()), resume(make())
    for batch in batches:
        one.update(batch)
        other.update(batch)
    left, right = one.state(), other.state()
    return all(torch.equal(left[name], right[name]) for name in left)


@mutant("12.5", "some tensors alone")
def _(make, resume, batches):
    """your test asks too little. In the first update after it a lost target network moves some tensors, and by little:
    ask all of them (no return inside the loop, no choice of names), each to the last digit (no tolerance, no sums)."""
    one, other = (agent.state() for agent in _after(make, resume, batches))
    return torch.equal(one["parameter.log_temperature"], other["parameter.log_temperature"])


@mutant("12.5", "networks alone")
def _(make, resume, batches):
    """your test compares the networks, or what they do. In the first update after it a stale temperature moves none of
    them: ask everything that state() holds."""
    one, other = (agent.state() for agent in _after(make, resume, batches))
    return all(torch.equal(one[name], other[name]) for name in one if "critic" in name)


@mutant("12.5", "a wide tolerance")
def _(make, resume, batches):
    """your tolerance is wide: after a few updates the two differ by little. On one machine they must agree to the last
    digit."""
    one, other = (agent.state() for agent in _after(make, resume, batches))
    return all(torch.allclose(one[n].double(), other[n].double(), rtol=0.1, atol=0.1) for n in one if n != "generator")


@mutant("12.5", "the unbroken one stands still")
def _(make, resume, batches):
    """your test fails every way to resume, the right one too."""
    unbroken, resumed = make(), resume(make())
    for batch in batches:
        resumed.update(batch)
    one, other = unbroken.state(), resumed.state()
    return all(torch.equal(one[name], other[name]) for name in one)


# ---------------------------------------------------------------- 12.6
MOST = 5  # tests in a suite


def _judge_suite(names: object, caught: dict[str, list[str]]) -> str | None:
    """None for a suite that catches every bug with few tests."""
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) and name in caught for name in names):
        return "a list of names of tests is wanted, as the table has them."
    if len(set(names)) > MOST:
        return f"{len(set(names))} tests; the bar is {MOST} at most."
    missed = sorted({bug for bugs in caught.values() for bug in bugs} - {bug for name in names for bug in caught[name]})
    if len(missed) == 1:
        return f"one bug is caught by none of them: {missed[0]!r}."
    return f"{len(missed)} bugs are caught by none of them, {missed[0]!r} for one." if missed else None


@exercise(
    "12.6",
    title="five tests for fourteen bugs",
    kind="design",
    difficulty=2,
    importance=4,
    minutes=6,
    examples=(Example((study.CAUGHT,), "the table above: what each test catches, at every seed"),),
    hints=(
        "Begin with the bugs that a single test catches: those tests are in every suite.",
        "Then drop each test whose bugs are all caught by another one that you need anyway.",
        "return ['candidates fill the box', ____]",
    ),
    meaning=(
        "Two of the seven are not needed: what they catch, a test of a larger piece catches too. They are still worth "
        "having, since they say where."
    ),
    judge=_judge_suite,
)
def suite(caught):
    """At most five of the tests that catch all bugs between them.

    A dict: name of a test -> the bugs that it catches -> a list of names
    """
    return [
        "candidates fill the box",
        "multiplier rises and pushes",
        "resume is exact",
        "clone finds a constant",
        "ends agree with the world",
    ]


@mutant("12.6", "all")
def _(caught):
    """all seven, which is more than five. Which of them catch nothing that no other catches?"""
    return list(caught)


@mutant("12.6", "the five that catch most")
def _(caught):
    """these five catch most each, and several of them the same bugs. Count what they catch *together*."""
    return sorted(caught, key=lambda name: -len(caught[name]))[:5]


@mutant("12.6", "the first five")
def _(caught):
    """the first five of the table miss whatever the last two alone catch."""
    return list(caught)[:5]


@mutant("12.6", "none")
def _(caught):
    """no test catches nothing."""
    return []


@mutant("12.6", "one that catches most")
def _(caught):
    """one test, the one that catches most. Most of the bugs are of other kinds."""
    return [max(caught, key=lambda name: len(caught[name]))]


# ---------------------------------------------------------------- predictions
prediction(
    "12.p1",
    "Fourteen published bugs, three runs of each. With how many of them does *some* logged curve end outside the range "
    "of healthy runs, in all three?",
    answer="c",
    a=(
        "hardly any, three at most: that is why they were published late",
        "They were found late because nobody had healthy runs of the same kind to compare with.",
    ),
    b=(
        "about half of them, between four and eight",
        "Those that change the loss or the log all move something that is logged.",
    ),
    c=(
        "most of them, nine or more",
        "Beside healthy runs of the very same task most bugs show in some number. Only those of the file hide.",
    ),
)

prediction(
    "12.p2",
    "A flat Q must give a penalty of A log 2. The log-sum-exp of a run goes over three values in place of fifteen. "
    "What does the test with the flat Q say, in the log-mean form?",
    answer="a",
    a=(
        "it passes: the mean over three equal values is the mean over fifteen",
        "A flat Q tells a wrong density, and nothing about what is averaged inside the logarithm.",
    ),
    b=("it fails by log 5", "So it would in the raw form, the logarithm of a sum."),
    c=(
        "it fails, by an amount that depends on the seed",
        "With a flat Q under a uniform density nothing depends on it.",
    ),
)

prediction(
    "12.p3",
    "A run saves its networks and forgets the statistics that observations are normalised by. Which curve of the "
    "training shows it?",
    answer="c",
    a=("the Bellman error", "It is computed with the statistics in memory, which are right to the last update."),
    b=("Q of the logged actions", "The same: while the run lasts, nothing is wrong."),
    c=("none", "The bug acts when the file is loaded. Only an agent that was loaded can show it."),
)

prediction(
    "12.p4",
    "The doctor looks at a run's own numbers, and has no healthy run to compare with. Of the runs with a bug, how many "
    "lie under one of its cards?",
    answer="b",
    a=("nearly all of them", "Most bugs move values within what is possible: nothing about one run alone is odd."),
    b=(
        "about half, between three and seven in ten",
        "Cards tell broken logs, lost statistics, numbers that stand still, and values that cannot be.",
    ),
    c=("hardly any", "Broken logs, statistics that are not the log's and a still temperature need no comparison."),
)


# ---------------------------------------------------------------- quiz
quiz_question(
    "12.a",
    "Three healthy runs and a fourth look alike in all curves. What do you know about the fourth?",
    answer="c",
    a=("its update is right", "Some of the bugs above leave every curve where it was."),
    b=(
        "its policy will act as well as theirs, in the states that all of them have seen",
        "The policy that acts is the loaded one, and no curve has seen it.",
    ),
    c=(
        "it has no bug that moves a curve by more than healthy runs differ",
        "That, and no more: the rest takes a test.",
    ),
)

quiz_question(
    "12.b",
    "The multiplier rises without an end, and the CQL gap rises with it. Which experiment decides most cheaply?",
    answer="a",
    a=(
        "the penalty's weight in the critics' gradient, at two multipliers, in one update",
        "It says whether the multiplier works against the penalty, and takes a second.",
    ),
    b=("a larger step size of the multiplier", "If its sign is wrong it will run away faster."),
    c=(
        "ten seeds in place of one, so that an interval tells whether the rise is luck",
        "A wrong sign is wrong at every seed.",
    ),
)

quiz_question(
    "12.c",
    "The doctor finds no card that applies to a run. What follows?",
    answer="b",
    a=(
        "the run may be used",
        "The table counts how many broken runs lie under no card.",
    ),
    b=(
        "no number that it looked at is odd by itself: tests and a loaded agent come next",
        "A card needs a number that cannot be right; most bugs leave none.",
    ),
    c=(
        "the run is healthy, unless its return is low, which a simulator tells at once",
        "The return needs a simulator, and healthy runs differ in it.",
    ),
)
