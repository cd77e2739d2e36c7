"""Every check is proven: stub -> not attempted, reference -> passed, each mutant -> its own message."""

from __future__ import annotations

import json
import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cql_tutorial.course import (
    SESSION,
    check,
    exercises,
    guess,
    hint,
    or_reference,
    progress,
    quiz,
    registry,
    reveal,
    solution,
)
from cql_tutorial.course.checker import Example, Exercise, Mutant, check_answer
from cql_tutorial.course.session import PROGRESS_FILE, CourseSession, MultipleChoice
from cql_tutorial.errors import ConfigError

torch.set_num_threads(1)
EXERCISES = list(SESSION.exercises.values())
MUTANTS = [(exercise, mutant) for exercise in EXERCISES for mutant in exercise.mutants]
QUESTIONS = {**SESSION.quizzes, **SESSION.predictions}


@pytest.fixture(autouse=True)
def _a_fresh_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROGRESS_FILE, raising=False)
    for memory in (SESSION.status, SESSION.latest, SESSION.hints, SESSION.guesses):
        memory.clear()


def stub(exercise: Exercise) -> Any:
    scope: dict[str, Any] = {}
    exec(exercise.stub, scope)
    return next(value for name, value in scope.items() if callable(value) and not name.startswith("__"))


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
def test_stub_reference_and_shape_of_an_exercise(exercise: Exercise) -> None:
    assert check_answer(exercise, stub(exercise)).status == "not attempted"
    assert check_answer(exercise, exercise.reference).status == "passed"
    assert stub(exercise).__name__ == exercise.reference.__name__
    assert (
        len(exercise.mutants) >= 4 and len(exercise.hints) == 3 and all(exercise.hints) and "____" in exercise.hints[2]
    )
    messages = [mutant.message for mutant in exercise.mutants]
    assert len(set(messages)) == len(messages)
    assert 1 <= exercise.difficulty <= 5 and 1 <= exercise.importance <= 5 and exercise.id in exercise.header
    assert [m for m in messages if re.match(r"[A-Z][a-z]", m) or not m.endswith((".", "?", ")"))] == []
    body = exercise.source.strip().splitlines()[len(exercise.stub.strip().splitlines()) - 1 :]
    assert 1 <= len(body) <= (80 if exercise.id == "08.9" else 12)  # an agent of one page


@pytest.mark.parametrize("chapter", exercises.__all__)
def test_each_chapter_has_enough_exercises_and_a_published_mistake(chapter: str) -> None:
    found = [exercise for exercise in EXERCISES if exercise.id.startswith(f"{chapter[2:]}.")]
    fewest, most = {"ch00": (2, 7), "ch06": (4, 8), "ch08": (4, 10)}.get(
        chapter, (4, 7)
    )  # 08: the update, line by line
    assert fewest <= len(found) <= most
    assert any(mutant.seen for exercise in found for mutant in exercise.mutants)


@pytest.mark.parametrize("chapter", [name[2:] for name in exercises.__all__ if name >= "ch02"])
def test_a_chapter_asks_for_more_than_code(chapter: str) -> None:
    other = [exercise.id for exercise in EXERCISES if exercise.id[:2] == chapter and exercise.kind != "build"]
    assert len(other) >= 2


def test_exercises_are_text_that_a_person_can_edit() -> None:
    for path in sorted(Path(exercises.__file__).parent.glob("ch*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert max(map(len, lines)) <= 120 and not any("fmt: skip" in line for line in lines), path.name


@pytest.mark.parametrize(("exercise", "mutant"), MUTANTS, ids=lambda x: getattr(x, "id", None) or x.name)
def test_each_mutant_is_told_its_own_mistake(exercise: Exercise, mutant: Any) -> None:
    result = check_answer(exercise, mutant.function)
    assert result.status == "wrong" and result.mutant == mutant.name
    assert result.message.startswith(mutant.message) and "yours:" in result.message
    assert ("  expected: " in result.message) is (exercise.judge is None and not exercise.secret)


def made(reference: Any, *arguments: tuple[Any, ...], **fields: Any) -> Exercise:
    """A small exercise of this test's own, with one example for each tuple of arguments."""
    defaults = {"kind": "build", "mutants": (), "hints": ("", "", ""), "meaning": "Yes."}
    return Exercise(
        id="x.1",
        title="x",
        difficulty=1,
        importance=1,
        minutes=1,
        reference=reference,
        examples=tuple(Example(each, f"example {i}") for i, each in enumerate(arguments)),
        **{**defaults, **fields},
    )


D = torch.float64
TABLES = [(torch.tensor(rows, dtype=D),) for rows in ([[1.0, -2.0, 4.5], [0.5, 3.0, -0.25]], [[2.0, 0.1], [-1.0, 0.7]])]


def double(q):
    return 2 * q


def average(q):
    return (q * q).mean()


def told(exercise: Exercise, function: Any) -> str:
    result = check_answer(exercise, function)
    assert result.status == "wrong" and result.mutant == "", result
    return result.message


def test_results_that_nobody_foresaw_are_described() -> None:
    table, number = made(double, *TABLES), made(average, *TABLES)
    assert "None: is the return missing" in told(number, lambda q: None)
    assert "3 times what it should be" in told(number, lambda q: 3 * average(q))
    assert "1/2 times what it should be" in told(number, lambda q: average(q) / 2)
    assert "log 2 times what it should be" in told(number, lambda q: average(q) * math.log(2))
    assert "as many times too large as q is long along axis 1" in told(number, lambda q: average(q) * q.shape[1])
    assert "too small as q is long along axis 1: a mean in place" in told(table, lambda q: double(q) / q.shape[1])
    assert "the shape is [2], expected []" in told(number, lambda q: q[:, 0])
    assert "its transpose" in told(table, lambda q: double(q).T)
    assert "off by the same +1" in told(table, lambda q: double(q) + 1)
    assert "not finite" in told(number, lambda q: torch.tensor(float("nan")))
    assert "2 value(s), 1 were expected" in told(number, lambda q: (average(q), 0))
    assert "returns a str" in told(number, lambda q: "1.75")
    assert "opposite sign" in told(number, lambda q: -average(q))
    assert "0 throughout" in told(table, lambda q: 0 * q)
    assert "another order" in told(made(lambda q: q[0], *TABLES), lambda q: q[0].flip(0))
    assert "2 of 6 numbers differ, all in row 0" in told(
        table, lambda q: torch.where(q == q[0].abs(), 0.0, double(q)) if q.shape[1] == 3 else double(q)
    )
    assert "right on the first 1 example(s)" in told(table, lambda q: double(q) if q.shape[1] == 3 else q)


def test_a_relation_is_told_only_where_it_cannot_be_an_accident() -> None:
    one, number = made(average, TABLES[0]), made(average, *TABLES)
    assert "times" not in told(one, lambda q: 3 * average(q))  # one number has any ratio one likes
    assert "another number was expected" in told(number, lambda q: average(q) * (3 if q.shape[1] == 3 else 5))
    assert "times" not in told(made(double, *TABLES), lambda q: 1.047 * double(q))  # no factor that anyone writes
    assert "0 throughout" not in told(number, lambda q: 0 * average(q) if q.shape[1] == 3 else average(q))


def test_right_numbers_of_another_type_are_sent_back() -> None:
    table, number = made(double, *TABLES), made(average, *TABLES)
    for other, word in (
        (lambda q: double(q).tolist(), "right numbers, but a list: return a torch tensor"),
        (lambda q: tuple(double(q)), "right numbers, but a tuple"),
        (lambda q: double(q).numpy(), "right numbers, but a NumPy array"),
        (lambda q: double(q).float(), "right to float32's precision only. Keep float64"),
        (lambda q: double(q).to_sparse(), "a sparse or quantised tensor"),
    ):
        assert word in told(table, other) and "hint(" in told(table, other)
    advice = told(table, lambda q: double(q).float())
    assert "torch.zeros(..., dtype=torch.float64)" in advice and ".double() before a division" in advice
    assert "right numbers, but a float" in told(number, lambda q: average(q).item())
    masks = made(lambda q: q > 0, *TABLES)
    assert "of dtype float64: return bool" in told(masks, lambda q: (q > 0).double())
    which = made(lambda q: q.argmax(1), *TABLES)
    assert "of dtype float64: return int64" in told(which, lambda q: q.argmax(1).double())
    assert check_answer(which, lambda q: q.argmax(1).int()).status == "passed"
    free = made(average, *TABLES, plain="it is printed, and nothing else")
    assert check_answer(free, lambda q: average(q).item()).status == "passed"
    plain = made(lambda q: float(average(q)), *TABLES)  # where the reference returns a number, both will do
    assert check_answer(plain, average).status == "passed"


@pytest.mark.parametrize("number", ["01.5", "03.2", "05.4"])
def test_a_plain_number_will_do_where_later_cells_make_one(number: str) -> None:
    exercise = SESSION.find(number)
    assert check_answer(exercise, lambda *given: float(exercise.reference(*given))).status == "passed"


def test_a_mutant_speaks_only_for_answers_that_agree_on_every_example() -> None:
    mutant = Mutant("largest", lambda q: q.amax(), "that is the largest.")
    exercise = made(lambda q: q.amin(), *TABLES, mutants=(mutant,))
    assert check_answer(exercise, lambda q: q.amax()).mutant == "largest"
    assert told(exercise, lambda q: q[0, -1] if q.shape[1] == 3 else q[0, 1])  # 4.5 as well, by accident


def score(q, weights):
    """A weighed mean of the rows' maxima."""
    return (weights * q.amax(dim=1)).mean()


def test_a_slip_that_nobody_listed_is_named_without_the_code() -> None:
    draw = torch.Generator().manual_seed(1)
    inputs = [
        tuple(torch.randn(*shape, generator=draw, dtype=D) for shape in ((n, k), (n,))) for n, k in ((2, 3), (3, 4))
    ]
    exercise = made(score, *inputs)
    for other, clause in (
        (lambda q, w: (w * q.mean(1)).mean(), "a mean stands in place of a maximum"),
        (lambda q, w: q.amax(1).mean(), "a factor with `weights` is left out"),
        (lambda q, w: (w + q.amax(1)).mean(), "a plus stands in place of a product"),
        (lambda q, w: (w.abs() * q.amax(1)).mean(), "`weights` is taken without its sign"),
    ):
        said = told(exercise, other)
        assert said.startswith(f"it is what comes out if {clause}.") and "amax" not in said
    assert "comes out" not in told(exercise, lambda q, w: (w**2 * q.mean(1)).sum())
    assert "comes out" not in told(made(score, *inputs, kind="diagnose"), lambda q, w: q.amax(1).mean())


def several(*shapes: tuple[int, ...], seed: int = 2) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, generator=draw, dtype=D) for shape in shapes)


def test_what_a_result_is_instead_is_told_only_if_it_is_true_of_every_example() -> None:
    def mix(q, r, ended):
        return torch.where(ended[:, None], r, r + 0.5 * q)

    inputs = [(*several((n, k), (n, k), seed=n), torch.arange(n) % 2 == 0) for n, k in ((3, 4), (5, 2))]
    table = made(mix, *inputs)
    assert "every number is too large by `q`." in told(table, lambda q, r, e: mix(q, r, e) + q)
    assert "every number is multiplied by `r` once too often" in told(table, lambda q, r, e: mix(q, r, e) * r)
    assert "what you return is `q`, as it came in" in told(table, lambda q, r, e: q.clone())
    assert "every number is the exponential of the right one" in told(table, lambda q, r, e: mix(q, r, e).exp())
    assert "in reverse order along axis 1" in told(table, lambda q, r, e: mix(q, r, e).flip(1))
    assert "a running sum" in told(table, lambda q, r, e: mix(q, r, e).cumsum(1))
    assert "along axis 1 all numbers are off by the same amount" in told(
        table, lambda q, r, e: mix(q, r, e) - mix(q, r, e).amax(1, keepdim=True)
    )
    assert "differ, all where `ended` is True." in told(
        table, lambda q, r, e: torch.where(e[:, None], q * r, mix(q, r, e))
    )
    assert "`q`." not in told(table, lambda q, r, e: mix(q, r, e) + (q if q.shape[1] == 4 else 2 * q + 1))
    logs = made(lambda q: q.logsumexp(1), *[(x,) for x in several((3, 4), (3, 7))])
    less = told(logs, lambda q: q.exp().mean(1).log())
    assert "too small by the log of how long q is along axis 1" in less
    alike = made(lambda q: q.logsumexp(1), *[(x,) for x in several((3, 4), (5, 4))])
    assert "off by the same -1.386 (minus the log of 4)" in told(alike, lambda q: q.exp().mean(1).log())
    shares = made(lambda q: torch.softmax(q, 1), *[(x,) for x in several((3, 4), (2, 5))])
    assert "each row should sum to 1; yours sum to" in told(shares, lambda q: torch.softmax(q, 1).square())


def test_another_shape_says_what_was_reduced_or_not() -> None:
    table, number = made(double, *TABLES), made(lambda q: q.sum(1), *TABLES)
    assert "yours is the mean of the right numbers along axis 1" in told(table, lambda q: double(q).mean(1))
    assert "yours is the sum of the right numbers, and" in told(table, lambda q: double(q).sum())
    assert "their sum along axis 1 would be right" in told(number, lambda q: q)
    assert "the right numbers in another shape" in told(number, lambda q: q.sum(1, keepdim=True))
    line = made(double, *[(x,) for x in several((5,), (7,))])
    assert "the places where `q` is negative are missing" in told(line, lambda q: 2 * q[q >= 0])
    assert "two tensors, values and indices" in told(number, lambda q: q.max(1))
    assert "a tuple of one value" in told(number, lambda q: (q.sum(1),))


def test_an_argument_that_is_not_used_is_named() -> None:
    def reward(q, counts, rare):
        return (q * (counts > rare)).sum(1) ** 2

    inputs = [(several((n, 3), seed=n)[0], torch.arange(3 * n).view(n, 3) % 5, rare) for n, rare in ((4, 2), (6, 1))]
    exercise = made(reward, *inputs)
    assert "`rare` makes no difference to what you return" in told(exercise, lambda q, c, r: (q * (c > 0)).sum(1) ** 3)
    assert "`counts` makes no" in told(exercise, lambda q, c, r: (q * r).sum(1) ** 4)
    assert "no difference" not in told(exercise, lambda q, c, r: (q * (c > r) * c).sum(1) ** 3)
    extra = made(lambda q, used: (q.sum(1)) ** 2, *[several((n, 3), (n,), seed=n) for n in (3, 4)])
    assert "`used` makes a difference to what you return, and it should not" in told(extra, lambda q, u: q[:, 0] + u**2)


def test_close_results_and_results_that_are_not_finite_are_described_as_such() -> None:
    table = made(double, *TABLES)
    near = told(table, lambda q: 2.0001 * q + 1e-3)
    assert near.startswith("close, but not right: off by at most 0.0") and "Something small is different" in near
    wild = told(table, lambda q: torch.where(q == q.amax(), torch.nan, double(q)))
    assert "stand at [0, 2] (counted from 0); the other numbers are right" in wild
    known = Mutant("log ratio", lambda p, b: torch.xlogy(p, p / b).sum(1), "that is another distance.")
    shares = [tuple(x.softmax(1) for x in several((3, 4), (3, 4), seed=n)) for n in (0, 1)]
    shares[1][0][0] = torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=D)
    far = made(lambda p, b: (p - b).abs().sum(1), *shares, mutants=(known,))
    result = check_answer(far, lambda p, b: (p * (p / b).log()).sum(1))  # 0 times the log of 0
    assert result.mutant == "log ratio" and "Besides, your answer is not finite where the example is: example 1" in (
        result.message
    )
    long = made(lambda q: 3 * q, several((9, 5)))
    assert "The first stands at [0, 1] (counted from 0): yours" in told(
        long, lambda q: torch.cat([3 * q[:, :1], q[:, 1:] ** 2], 1)
    )


def test_float32_that_creeps_in_is_told_and_hides_no_known_mistake() -> None:
    known = Mutant("thrice", lambda q: 3 * q * 0.1, "that is three times it.")
    exact = made(lambda q: 0.1 * q, *TABLES, tolerance=1e-9, mutants=(known,))
    tenth = torch.tensor(0.1)  # float32
    assert "right to about seven digits only" in told(exact, lambda q: tenth.double() * q)
    assert "right to float32's precision only" in told(exact, lambda q: (0.1 * q).float())
    assert check_answer(exact, lambda q: 3 * tenth.double() * q).mutant == "thrice"


def test_a_small_difference_is_no_float32_where_another_example_shows_more() -> None:
    known = Mutant("cubed", lambda q: q**3, "that is the cube.")
    tables = [(torch.tensor([[1.0, 1 + 1e-8]], dtype=D),), *TABLES]
    exercise = made(lambda q: q**2, *tables, tolerance=1e-9, mutants=(known,))
    assert check_answer(exercise, lambda q: q**3).mutant == "cubed"
    said = told(exercise, lambda q: q**4 - 1e-3 * (q - 1).abs())
    assert "float32" not in said and "example (example 1)" in said
    assert "float32" in told(exercise, lambda q: (q**2).float().double())


def test_what_is_infinite_is_described_without_a_warning() -> None:
    table, number = made(double, *TABLES), made(average, *TABLES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (math.inf, -math.inf, math.nan):
            assert "not finite" in told(table, lambda q, x=value: torch.full_like(q, x))
            assert "not finite" in told(number, lambda q, x=value: average(q) * x)
        endless = made(lambda q: q / 0.0, *TABLES)
        for other in (lambda q: -q / 0.0, lambda q: q, lambda q: (q / 0.0).where(q > 0, 1.0)):
            assert told(endless, other)
        part = made(lambda q: torch.where(q > 0, q, -torch.inf), *TABLES)  # as a masked maximum leaves it
        for other in (lambda q: q, lambda q: part.reference(q) + 1, lambda q: part.reference(q) * 1.001):
            assert told(part, other)


def test_a_truth_value_in_place_of_a_number_is_shown_as_one() -> None:
    number = made(average, *TABLES)
    for value in (False, torch.tensor(False), np.bool_(False)):
        assert "yours:    False" in told(number, lambda q, x=value: x)


def test_a_second_mistake_hides_no_known_one() -> None:
    known = Mutant("squared", lambda q: q**2, "that is the square.")
    exercise = made(double, *TABLES, several((4, 2)), mutants=(known,))
    result = check_answer(exercise, lambda q: q**2 if len(q) == 2 else q**4)
    assert result.mutant == "squared" and "Something else differs as well where the example is: example 2" in (
        result.message
    )


def test_an_answer_that_changes_with_each_call_is_told_so() -> None:
    assert "other numbers each time" in told(made(double, *TABLES), lambda q: torch.rand_like(q))


def test_what_is_no_choice_is_told_the_choices() -> None:
    lines = tuple(Mutant(str(n), (lambda n=n: n), f"line {n} is right.") for n in (1, 2, 3, 5))
    line = made(lambda: 4, (), kind="read", mutants=lines)
    assert "expected the number of a line, from 1 to 5, your function returns 0" in told(line, lambda: 0)
    assert "the value itself" in told(line, lambda: (4,)) and "from 1 to 5" in told(line, lambda: "4")
    letters = tuple(Mutant(n, (lambda n=n: n), f"{n}) is right.") for n in "abd")
    letter = made(lambda: "c", (), kind="diagnose", mutants=letters)
    assert "expected one of 'a', 'b', 'c', 'd', your function returns 'C'" in told(letter, lambda: "C")


def test_columns_and_plain_numbers_are_named() -> None:
    table = made(double, *TABLES)
    assert "2 of 6 numbers differ, all in column 1" in told(
        table,
        lambda q: (
            torch.stack([2 * q[:, 0], *(q[:, i] ** 3 + i for i in range(1, q.shape[1]))], 1)[:, : q.shape[1]]
            if q.shape[1] == 2
            else torch.stack([2 * q[:, 0], q[:, 1] ** 3, 2 * q[:, 2]], 1)
        ),
    )
    scaled = made(lambda q, k: q.sum() ** 2, *[(x, k) for x, k in zip(several((3, 2), (2, 4)), (3, 5), strict=True)])
    assert "every number is `k` times what it should be" in told(scaled, lambda q, k: k * q.sum() ** 2)
    assert "every number is divided by `k` once too often" in told(scaled, lambda q, k: q.sum() ** 2 / k)
    assert "every number of this example is 3/2 times what" in told(table, lambda q: double(q) * q.shape[1] / 2)


def test_gradients_say_which_input_gets_none() -> None:
    def loss(q, target):
        return ((q - target.detach()) ** 2).mean() + q.sum()

    pair = (TABLES[0][0], TABLES[0][0].flip(1))
    exercise = made(loss, pair, gradients=("q", "target"))
    assert check_answer(exercise, loss).status == "passed"
    for cut in (
        lambda q, target: loss(q, target).item(),
        lambda q, target: loss(q, target).detach(),
        lambda q, target: loss(q.detach(), target),
        torch.no_grad()(loss),
    ):
        assert "no gradient reaches q" in told(exercise, cut)
    half = told(exercise, lambda q, target: ((q - target) ** 2).detach().mean() + q.sum())
    assert "its gradient in q is not: is one of the terms detached?" in half
    assert "target is a constant here" in told(exercise, lambda q, target: ((q - target) ** 2).mean() + q.sum())
    assert "in place" in told(exercise, lambda q, target: loss(q.add_(1), target))
    shares = made(lambda q: torch.softmax(q, 1), *TABLES, gradients=("q",))  # their sum has no gradient at all
    assert "no gradient reaches q" in told(shares, lambda q: torch.softmax(q, 1).detach())


def test_crashes_show_the_line_and_the_arguments() -> None:
    def broken(q: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(3)
        return q[rows, actions]

    result = check_answer(SESSION.find("04.2"), broken)
    assert result.status == "crashed"
    assert "in line 3 of your function" in result.message and "q[rows, actions]" in result.message
    assert "called with 2 arguments" in check("04.2", lambda q: q)
    assert "Pass its name without brackets" in check("04.2", 1.75)  # type: ignore[arg-type]
    for wrong, words in (
        (lambda q, a: q.max(1) * 2.0, "take .values, or use amax"),
        (lambda q, a: q if q > 0 else a, "use torch.where"),
        (lambda q, a: min(a, a.flip(0)), "Python's min and max ask for it too"),
        (lambda q, a: (q > 0).mean(), "turn flags or whole numbers into some first"),
        (lambda q, a: q[q > 0].amax(1), "x[mask] keeps one axis alone"),
        (lambda q, a: q.float() @ torch.ones(q.shape[1], 1, dtype=D), "give yours the dtype"),
        (lambda q, a: math.log(q), "torch has the same functions for tensors"),
        (lambda q, a: q.gather(1, q.argmax(1)), "as many axes as the table"),
    ):
        assert words in check("04.2", wrong), words
    assert "shapes of the arguments: q [" in check("04.2", lambda q, a: q + torch.ones(17))
    assert "use torch's functions" in check("04.1", lambda q: np.log(np.exp(q.requires_grad_()).sum(1)))


def test_an_error_names_the_next_step_and_an_unsolved_helper(capsys: pytest.CaptureFixture[str]) -> None:
    def precedence(q: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return q > 0 & q  # torch's own NotImplementedError, or a RuntimeError: no stub in any case

    card = check("04.2", precedence)
    assert "04.2 crashed" in card and "next: hint('04.2')" in card and "not attempted" not in card
    unsolved = stub(SESSION.exercises["04.1"])
    assert unsolved.__name__ == "adversary_value"
    result = check("04.2", lambda q, actions: unsolved(q).mean())
    assert "04.1's adversary_value is not solved yet" in result and "or_reference('04.1', adversary_value)" in result
    or_reference("04.2", precedence)
    assert "==== 04.2 stops with an error: from here on the REFERENCE" in capsys.readouterr().out

    def torchs_own(q: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError('"bitwise_and_cpu" not implemented for "Double"')

    assert "crashed" in check("04.2", torchs_own)
    assert "crashed" in check("04.2", lambda q, actions: torch.distributions.ExponentialFamily.entropy(None))
    assert "SystemExit" in check("04.2", lambda q, actions: exit(1))


def test_the_example_is_shown_before_one_is_wrong() -> None:
    card = check_answer(made(double, *TABLES), stub_of(double))
    assert card.status == "not attempted" and "replace the line" in card.message
    assert "q = [[ 1. , -2. , 4.5 ], [ 0.5 , 3. , -0.25]]" in card.message and "expected: [[ 2. , -4. " in card.message
    secret = made(lambda line: 7, (3,), kind="read")
    assert "line = 3" in check_answer(secret, stub_of(double)).message
    for result in (check_answer(secret, stub_of(double)), check_answer(secret, lambda line: 4)):
        assert "7" not in result.message and "expected: " not in result.message
    derived = made(lambda: torch.tensor([1.0, 2.0]), (), kind="derive")
    assert "1 of 2 numbers are not right" in told(derived, lambda: torch.tensor([1.0, 3.0]))
    long = made(lambda first, second: first, (torch.linspace(-1, 1, 12), torch.linspace(-1, 1, 12)))
    assert "\n    first = [" in told(long, lambda a, b: -a) and "\n    second = [" in told(long, lambda a, b: -a)


def stub_of(function: Any) -> Any:
    def unsolved(*arguments: Any) -> Any:
        raise NotImplementedError

    return unsolved


def test_the_numbers_on_the_way_are_shown_where_no_mistake_is_recognised() -> None:
    known = Mutant("thrice", lambda q: 3 * q, "that is three times it.")
    exercise = made(double, *TABLES, mutants=(known,), steps=lambda q: {"the largest of each row": q.amax(1)})
    assert "\n  on the way: the largest of each row [4.5, 3. ]\n" in told(exercise, lambda q: q**2)
    for function in (lambda q: 3 * q, double, stub_of(double)):
        assert "on the way" not in check_answer(exercise, function).message


@pytest.mark.parametrize("exercise", [e for e in EXERCISES if e.steps], ids=lambda e: e.id)
def test_the_numbers_on_the_way_fit_into_a_message(exercise: Exercise) -> None:
    assert exercise.steps is not None and not exercise.secret
    for example in exercise.examples:
        steps = exercise.steps(*example.arguments)
        assert steps and all(words.strip() for words in steps)
    assert "on the way: " in check_answer(exercise, lambda *_: torch.tensor(9.75, dtype=D)).message


def test_changing_the_inputs_is_noticed() -> None:
    def in_place(q: torch.Tensor) -> torch.Tensor:
        top = q.amax(1)
        q -= top[:, None]
        return q.exp().sum(1).log() + top

    def in_a_dictionary(q: torch.Tensor, start: dict[str, torch.Tensor]) -> torch.Tensor:
        start["bias"] += 1.0
        return q

    nested = made(lambda q, start: q, (TABLES[0][0], {"bias": torch.zeros(2)}))
    assert "in place (`start`)" in told(nested, in_a_dictionary)
    said = check("04.1", in_place)
    assert "in place (`q`)" in said and "q.clone()" in said and "What it returns is right." in said


def test_or_reference_goes_on_with_the_reference_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    exercise = SESSION.exercises["04.2"]
    for answer, banner in ((stub(exercise), "not attempted"), (exercise.mutants[0].function, "wrong")):
        assert or_reference("04.2", answer) is exercise.reference
        assert f"04.2 is {banner}" in capsys.readouterr().out

    def mine(q: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return exercise.reference(q, actions)

    assert or_reference("04.2", mine) is mine and "your own answer" in capsys.readouterr().out


def test_a_message_has_words_and_a_border() -> None:
    message = check("04.2", lambda q, a: q.sum() < 0)
    assert repr(message).startswith("04.2 wrong") and "&lt;" not in repr(message)
    assert 'style="border-left:5px solid #D55E00' in message._repr_html_() and "04.2 wrong" in message._repr_html_()


def test_hints_come_one_by_one_and_the_solution_is_the_reference() -> None:
    texts = [hint("04.3") for _ in range(4)]
    assert [f"hint {n} of 3" in text for n, text in zip((1, 2, 3, 3), texts, strict=True)] == [True] * 4
    assert "def penalty_gradient" in solution("04.3")


def test_every_choice_of_every_question_has_a_reason() -> None:
    for id, question in QUESTIONS.items():
        assert len(question.choices) >= 3 and question.answer in question.choices, id
        assert len({reason for _, reason in question.choices.values()}) == len(question.choices), id
    for id, question in SESSION.quizzes.items():
        assert question.text in quiz(id)
        for letter, (_, reason) in question.choices.items():
            answer = quiz(id, letter.upper())
            assert reason in answer and ("right" in repr(answer).split(".")[1]) is (letter == question.answer)
    with pytest.raises(ConfigError, match="one of"):
        quiz("04.a", "z")
    with pytest.raises(ConfigError, match="quiz"):
        quiz("04.zz")


def test_a_prediction_is_kept_and_held_against_the_measurement() -> None:
    assert "put your letter in" in guess("04.p1") and "You made no prediction" in reveal("04.p1", "b")
    noted = guess("04.p1", "A")
    assert "noted, a)" in noted and SESSION.predictions["04.p1"].choices["a"][1] not in noted  # no reason yet
    after = reveal("04.p1", "b")
    assert "You predicted a)" in after and SESSION.predictions["04.p1"].choices["a"][1] in after
    guess("04.p1", "b")
    assert "You predicted it." in reveal("04.p1", "b")
    assert "NOT what the course expects" in reveal("04.p1", "c")
    with pytest.raises(ConfigError, match="one letter"):
        guess("04.p1", "yes")


def test_progress_and_unknown_exercises() -> None:
    assert "0 passed" in progress()
    check("04.1", SESSION.exercises["04.1"].reference)
    solution("04.1"), solution("04.3")  # looked up after it was solved, and before
    assert "04.1  passed" in progress() and "04.2  not opened" in progress() and "1 passed in this" in progress()
    assert "04.3  looked up" in progress() and "02." not in progress()
    with pytest.raises(ConfigError, match=r"04\.1"):
        check("04.9", print)


def test_progress_keeps_the_best_result_and_says_what_the_present_cell_gives() -> None:
    exercise = SESSION.exercises["04.1"]
    check("04.1", exercise.reference)
    assert "the present cell" not in progress()
    check("04.1", lambda q: q)
    assert f"04.1  passed         {exercise.title} (the present cell: wrong)" in progress() and "1 passed" in progress()
    solution("04.1")
    assert "04.1  passed" in progress()
    check("04.2", lambda *_: 1 / 0), check("04.2", stub(SESSION.exercises["04.2"]))
    assert "04.2  crashed" in progress() and "(the present cell: not attempted)" in progress()
    or_reference("04.1", exercise.reference)
    assert progress().text.count("the present cell") == 1


def test_an_id_is_understood_or_the_nearest_is_named() -> None:
    assert repr(hint("4.1")).startswith("hint 1 of 3 for 04.1") and repr(hint(" 04.1 ")).startswith("hint 2 of 3")
    assert "04.1 passed" in check(4.1, SESSION.exercises["04.1"].reference)  # type: ignore[arg-type]
    assert "noted, a)" in guess("4.p1", "a") and "You predicted" in reveal("04.p1", "b")
    assert "quiz 04.a" in quiz("4.a")
    for call, words in (
        (lambda: hint("04.9"), r"exercise: found '04\.9'; expected one of \['04\.1'.*did you mean '04\.\d'\?"),
        (lambda: hint("soft_max"), r"an id as in the notebook, such as '00\.1'"),
        (lambda: quiz("04.a", "d"), r"found 'd'; expected one of \['a', 'b', 'c'\]"),
        (lambda: guess("04.1", "a"), r"prediction: found '04\.1'; expected one of \['04\.p1'"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_a_notebook_shows_a_wrong_id_as_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell()
    shell.run_cell("from cql_tutorial.course import quiz\nquiz('04.a', 'd')")
    written = capsys.readouterr().out
    assert written.strip() == "answer: found 'd'; expected one of ['a', 'b', 'c']. To mend it: answer with one letter."


def test_progress_is_kept_in_one_local_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "progress.json"
    monkeypatch.setenv(PROGRESS_FILE, str(file))
    session, later = (CourseSession(SESSION.exercises, SESSION.quizzes) for _ in range(2))
    session.check("04.1", SESSION.exercises["04.1"].reference)
    later.check("04.2", lambda q, a: 0)
    assert json.loads(file.read_text()) == {"04.1": "passed", "04.2": "wrong"}
    assert "04.1  passed" in later.progress() and "1 passed." in later.progress()
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]
    later.check("04.1", lambda q: q)
    assert json.loads(file.read_text())["04.1"] == "passed" and "(the present cell: wrong)" in later.progress()
    file.write_text("[half a fi")
    assert "1 passed." in session.progress()  # what this session knows is not lost with the file
    monkeypatch.setenv(PROGRESS_FILE, str(tmp_path / "no such folder" / "progress.json"))
    session.check("04.1", SESSION.exercises["04.1"].reference)  # a folder that cannot be written to stops nobody


def test_a_question_shows_its_choices() -> None:
    question = MultipleChoice("Why?", {"a": ("because", "x"), "b": ("not", "y")}, "a")
    assert str(question) == "Why?\n  a) because\n  b) not"


# ---------------------------------------------------------------- declaring exercises
@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registries of the test's own, so that nothing is left in the course's."""
    for name in ("EXERCISES", "PREDICTIONS", "QUIZZES"):
        monkeypatch.setattr(registry, name, {})


def declare(id: str) -> Any:
    @registry.exercise(
        id,
        title="twice",
        kind="build",
        difficulty=1,
        importance=1,
        minutes=1,
        examples=(Example((3.0,), "three"),),
        hints=("two", "times", "____"),
        meaning="Twice.",
    )
    def twice(x):
        """Two times x."""
        return 2 * x

    return twice


def test_an_exercise_is_declared_by_decorators(own: None) -> None:
    twice = declare("x.1")

    @registry.mutant("x.1", "thrice", seen="nowhere")
    def _(x):
        """that is three
        times x."""
        return 3 * x

    @registry.mutant("x.1", "thrice again")
    def _(x):
        """never reached: the first mutant that fits is reported."""
        return x + x + x

    (exercise,) = registry.EXERCISES.values()
    assert twice(2) == 4 and exercise.source == 'def twice(x):\n    """Two times x."""\n    return 2 * x\n'
    assert exercise.stub.startswith("def twice(x):") and "@" not in exercise.stub
    assert [(m.name, m.seen) for m in exercise.mutants] == [("thrice", "nowhere"), ("thrice again", "")]
    result = check_answer(exercise, lambda x: 3 * x)
    assert result.mutant == "thrice" and result.message.startswith("that is three times x.\n")
    session = CourseSession(registry.EXERCISES, {})
    declare("x.2")
    assert "passed" in session.check("x.2", twice)  # registered after the session was made


def test_a_declaration_that_cannot_be_meant_is_refused(own: None) -> None:
    declare("x.1")
    with pytest.raises(ConfigError, match="not taken"):
        declare("x.1")
    with pytest.raises(ConfigError, match="above its mutants"):
        registry.mutant("x.2", "early")(print)
    with pytest.raises(ConfigError, match="docstring"):
        registry.mutant("x.1", "silent")(lambda x: x)
    registry.mutant("x.1", "loud")(print)
    with pytest.raises(ConfigError, match="new to exercise"):
        registry.mutant("x.1", "loud")(print)
    with pytest.raises(ConfigError, match="comma missing"):
        registry.quiz_question("x.a", "Why?", answer="a", a=("becauseof this"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="answer"):
        registry.prediction("x.p1", "Why?", answer="b", a=("because", "of this"))
    registry.prediction("x.p1", "Why?", answer="a", a=("because", "of this"))
    with pytest.raises(ConfigError, match="not taken"):
        registry.prediction("x.p1", "Why?", answer="a", a=("because", "of this"))
