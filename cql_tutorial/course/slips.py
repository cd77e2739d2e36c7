"""The single-step slips of an exercise's reference answer: made from its source, one thing changed at one place.

Another axis, a mean for a sum, a sign, a factor, a mask dropped or turned, a term left out, two arguments exchanged, a
naive exponential, a detach. A check names the slip that gives the student's results on every example, if no mutant
does; the tests demand that no slip passes and that none is told the message of another mistake.
"""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from .checker import Answer, Example, Exercise, Function, alike, outcome, recalled
from .compare import all_numbers, wrong_numbers

OTHER_LOGS = ("log10", "log2", "log1p")
REDUCTIONS = ("sum", "mean", "amax", "amin")
OTHER_CALLS = {
    "argmax": ("argmin",),
    "argmin": ("argmax",),
    "max": ("min", "mean"),
    "min": ("max", "mean"),
    "std": ("var",),
    "softmax": ("log_softmax",),
    "log_softmax": ("softmax",),
    "logsumexp": ("amax", "mean", "sum"),
    "cumsum": ("cumprod",),
    **{name: tuple(other for other in REDUCTIONS if other != name) for name in REDUCTIONS},
}
WITH_AXIS = {*OTHER_CALLS, "flip", "gather", "cumsum", "all", "any", "median"}
OPERATORS: dict[type[ast.operator], tuple[ast.operator, ...]] = {
    ast.Add: (ast.Sub(),),
    ast.Sub: (ast.Add(),),
    ast.Mult: (ast.Div(), ast.Add()),
    ast.Div: (ast.Mult(), ast.Sub()),
    ast.Pow: (ast.Mult(),),
    ast.BitAnd: (ast.BitOr(),),
    ast.BitOr: (ast.BitAnd(),),
}
COMPARISONS: dict[type[ast.cmpop], tuple[ast.cmpop, ...]] = {
    ast.Gt: (ast.GtE(), ast.Lt()),
    ast.GtE: (ast.Gt(), ast.LtE()),
    ast.Lt: (ast.LtE(), ast.Gt()),
    ast.LtE: (ast.Lt(), ast.GtE()),
    ast.Eq: (ast.NotEq(),),
    ast.NotEq: (ast.Eq(),),
}
AROUND = {  # what may be put around any name or call
    "is detached": "({}).detach()",
    "is cut off at 0": "({}).clamp(min=0)",
    "is taken without its sign": "({}).abs()",
    "has the other sign": "-({})",
    "counts twice": "2 * ({})",
    "counts half": "0.5 * ({})",
    "is squared": "({}) ** 2",
    "is exponentiated": "({}).exp()",
    "is replaced by its logarithm": "({}).log()",
    "is reversed": "({}).flip(0)",
    "is transposed": "({}).transpose(0, -1)",
}
AROUND_AN_ARGUMENT = {
    "is left out, as if it were 1": "(_nothing({0}) + 1)",
    "is left out, as if it were 0": "_nothing({0})",
    "is left out, as if it were True": "(({0}) | ~({0}))",
    "is left out, as if it were False": "(({0}) & ~({0}))",
    "is replaced by 1 at its largest number and 0 elsewhere": "torch.nn.functional.one_hot(({0}).argmax(-1), "
    "({0}).shape[-1]).to(({0}).dtype)",
    "is replaced by its mean along the last axis": "({0}).double().mean(-1, keepdim=True).expand_as({0})",
    "is divided by its sum": "({0}) / ({0}).sum()",
    "is divided by its sum along the last axis": "({0}) / ({0}).sum(-1, keepdim=True)",
    "is replaced by its softmax along the last axis": "({0}).softmax(-1)",
    "is shifted by one place": "({0}).roll(1, 0)",
    "is shifted back by one place": "({0}).roll(-1, 0)",
    "is sorted": "({0}).sort(-1).values",
    "is rounded": "({0}).round()",
    "is replaced by its running sum": "({0}).cumsum(-1)",
    "is replaced by 1 where it is positive": "(({0}) > 0).double()",
    **{f"is cut off below at {least}": f"({{0}}).clamp(min={least})" for least in (0.1, 0.05, 0.01, 0.001, 1e-4)},
    **{f"is cut off at -{most} and {most}": f"({{0}}).clamp(-{most}, {most})" for most in (0.9, 0.99, 0.999, 0.9999)},
}


def _nothing(value: Any) -> Any:
    """The value times 0. Flags are no numbers: whole numbers in their place would select lines of a table."""
    if getattr(value, "dtype", None) == torch.bool:
        raise TypeError("flags")
    return 0 * value


IN_WORDS = {
    "sum": "a sum",
    "mean": "a mean",
    "amax": "a maximum",
    "max": "a maximum",
    "amin": "a minimum",
    "min": "a minimum",
    "std": "a standard deviation",
    "var": "a variance",
    "logsumexp": "a log-sum-exp",
    "argmax": "an argmax",
    "argmin": "an argmin",
    "softmax": "a softmax",
    "log_softmax": "a log-softmax",
    "cumsum": "a running sum",
    "median": "a median",
    ast.Add: "a plus",
    ast.Sub: "a minus",
    ast.Mult: "a product",
    ast.Div: "a quotient",
    ast.Pow: "a power",
    ast.BitAnd: "and",
    ast.BitOr: "or",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


IN_PLACE = "stands in place of"
EXCHANGED = "are exchanged"


def _in_place(new: Any, old: Any) -> str:
    return f"{IN_WORDS.get(new, new)} {IN_PLACE} {IN_WORDS.get(old, old)}"


# ---------------------------------------------------------------- slips
def single_steps(exercise: Exercise, more: bool = False) -> Iterator[tuple[str, str, Function]]:
    """Every single-step slip of the reference: (what was done, as a clause; where; the function that does it).

    ``more`` adds what may be done to an argument alone, which a message can name and the tests need not try.
    """
    try:
        tree = ast.parse(exercise.source)
    except (OSError, TypeError, SyntaxError, IndexError):  # a reference that was never in a file
        return
    seen = {ast.unparse(tree)}
    for words, place, source in _edits(tree, more):
        if source not in seen:
            seen.add(source)
            yield words, place, _compiled(exercise, source)


LONGEST = 40  # lines: a page has thousands of slips, and to try them all would take minutes
# What the slips of a reference answer, beside the examples that they were asked: an assignment's may be redrawn.
KNOWN: dict[Function, tuple[tuple[Example, ...], list[tuple[str, list[Answer | None]]]]] = {}


def as_if(
    exercise: Exercise, mine: Sequence[Answer | None], fits: Callable[[Sequence[Answer | None]], bool] | None = None
) -> str | None:
    """The slip that gives these answers on every example, as a clause that does not show the reference's code.

    ``fits`` judges a slip's answers in another way.
    """
    if len(exercise.source.splitlines()) > LONGEST:
        return None
    if exercise.reference not in KNOWN or KNOWN[exercise.reference][0] is not exercise.examples:
        steps = [step for step in single_steps(exercise, more=True) if not _far_fetched(exercise, step[0])]
        steps.sort(key=lambda step: _vague(step[0]))  # the vaguest come last
        answered = [
            (words, [outcome(exercise, function, example) for example in exercise.examples])
            for words, _, function in steps
        ]
        KNOWN[exercise.reference] = exercise.examples, answered
    if not _enough(exercise, mine):
        return None
    fits = fits or functools.partial(alike, mine, tolerance=exercise.tolerance)
    return next((words for words, theirs in KNOWN[exercise.reference][1] if fits(theirs)), None)


def _enough(exercise: Exercise, mine: Sequence[Answer | None]) -> bool:
    """Whether the answers hold numbers enough that a slip among hundreds does not give them by accident.

    Six different numbers in all, or examples of two different shapes; and two wrong numbers at least.
    """
    right = [recalled(exercise, exercise.reference, example) for example in exercise.examples]
    pairs = [(a, b) for a, b in zip(mine, right, strict=True) if a is not None and b is not None]
    different = {round(x, 9) for a, _ in pairs for x in all_numbers([a.value, *a.gradients])}
    shapes = {tuple(map(_kind, example.arguments)) for example in exercise.examples}
    wrong = sum(wrong_numbers([a.value, *a.gradients], [b.value, *b.gradients], exercise.tolerance) for a, b in pairs)
    return wrong > 1 and (len(different) >= 6 or (len(shapes) > 1 and len(different) > 1))


def _far_fetched(exercise: Exercise, words: str) -> bool:
    """Whether a clause exchanges two arguments of different kind or shape, which nobody takes for each other."""
    names = list(inspect.signature(exercise.reference).parameters)
    pair = re.fullmatch(rf"(\w+) (?:{IN_PLACE} (\w+)|and (\w+) {EXCHANGED})", words)
    if not pair or not {name for name in pair.groups() if name} <= set(names):
        return False
    one, other = (names.index(name) for name in pair.groups() if name)
    return any(
        _kind(example.arguments[one]) != _kind(example.arguments[other])
        for example in exercise.examples
        if max(one, other) < len(example.arguments)
    )


def _kind(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.shape, value.is_floating_point(), value.dtype == torch.bool
    return "number" if type(value) in (int, float) else type(value)


def _vague(words: str) -> int:
    """How little a clause says: it comes after those that say more."""
    if words.startswith("one part"):
        return 3
    if words in ("a term is left out", "a factor is left out"):
        return 2
    return int(words.startswith("`") and "in place" not in words)


def _compiled(exercise: Exercise, source: str) -> Function:
    scope = {**exercise.reference.__globals__, "torch": torch, "_nothing": _nothing}
    exec(compile(source, f"<slip of {exercise.id}>", "exec"), scope)
    return scope[exercise.reference.__name__]


def _edits(tree: ast.Module, more: bool) -> Iterator[tuple[str, str, str]]:
    function = tree.body[0]
    if not isinstance(function, ast.FunctionDef):  # a lambda, or a class
        return
    known = [argument.arg for argument in function.args.args]
    first = 1 if ast.get_docstring(function) else 0
    often = {name for name in known if sum(_uses(statement, name) for statement in function.body[first:]) > 1}
    for statement in function.body[first:]:
        for parent in ast.walk(statement):
            for field, value in ast.iter_fields(parent):
                for index, node in enumerate(value if isinstance(value, list) else [value]):
                    if not isinstance(node, ast.expr) or isinstance(getattr(node, "ctx", None), ast.Store):
                        continue
                    for name, other in _variants(node, known, more):
                        _put(parent, field, index, other)
                        if isinstance(node, ast.Name) and node.id in often:  # it still counts elsewhere
                            name = name.replace("is left out,", "is left out in one place,")
                        yield name, f"line {node.lineno}: {ast.unparse(node)[:40]}", ast.unparse(tree)
                        _put(parent, field, index, node)
                if field == "ops" and isinstance(parent, ast.Compare):
                    for other_op in COMPARISONS.get(type(parent.ops[0]), ()):
                        kept, parent.ops = parent.ops, [other_op, *parent.ops[1:]]
                        yield _in_place(type(other_op), type(kept[0])), f"line {parent.lineno}", ast.unparse(tree)
                        parent.ops = kept
    names = [argument.arg for argument in function.args.args]
    for i, left in enumerate(names):
        for right in names[i + 1 :]:
            exchanged = _renamed(tree, {left: right, right: left}, first)
            yield f"{left} and {right} {EXCHANGED}", "all lines", ast.unparse(exchanged)
            yield _in_place(left, right), "all lines", ast.unparse(_renamed(tree, {right: left}, first))
            yield _in_place(right, left), "all lines", ast.unparse(_renamed(tree, {left: right}, first))
    for index in range(first, len(function.body) - 1):
        statement = function.body[index]
        function.body[index] = ast.Pass()
        yield "a step is left out", ast.unparse(statement)[:40], ast.unparse(tree)
        function.body[index] = statement


def _put(parent: ast.AST, field: str, index: int, node: ast.expr) -> None:
    value = getattr(parent, field)
    if isinstance(value, list):
        value[index] = node
    else:
        setattr(parent, field, node)


def _renamed(tree: ast.Module, names: dict[str, str], first: int) -> ast.Module:
    other = copy.deepcopy(tree)
    assert isinstance(other.body[0], ast.FunctionDef)
    for statement in other.body[0].body[first:]:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id in names:
                node.id = names[node.id]
    return other


def _left_out(node: ast.BinOp, dropped: ast.expr, kept: ast.expr, known: Sequence[str]) -> str:
    """The arguments that are lost with a term or a factor, by name; an expression's own code is not shown."""
    if isinstance(node.op, ast.Pow):
        return "a power is left out" if kept is node.left else "the base of a power is left out"
    what = "a term" if isinstance(node.op, (ast.Add, ast.Sub)) else "a factor"
    names = [f"`{name}`" for name in known if name in _numbers_of(dropped) - _numbers_of(kept)]
    if not 0 < len(names) < 5:
        return f"{what} is left out"
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{what} with {listed} is left out"


def _uses(node: ast.AST, name: str) -> int:
    """How often more than the size or the type of an argument is used."""
    if isinstance(node, ast.Name):
        return int(node.id == name)
    if isinstance(node, ast.Attribute) and node.attr in ("shape", "dtype", "ndim", "device"):
        return 0
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len":
        return 0
    return sum(_uses(part, name) for part in ast.iter_child_nodes(node))


def _numbers_of(node: ast.expr) -> set[str]:
    """The names in an expression of which more than the size or the type counts."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Attribute) and node.attr in ("shape", "dtype", "ndim", "device"):
        return set()
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len":
        return set()
    parts = (part for part in ast.iter_child_nodes(node) if isinstance(part, (ast.expr, ast.keyword)))
    return set().union(*(_numbers_of(part.value if isinstance(part, ast.keyword) else part) for part in parts))


def _variants(node: ast.expr, known: Sequence[str], more: bool) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.BinOp):
        for other in OPERATORS.get(type(node.op), ()):
            yield _in_place(type(other), type(node.op)), ast.BinOp(node.left, other, node.right)
        yield _left_out(node, node.right, node.left, known), node.left
        yield _left_out(node, node.left, node.right, known), node.right
        yield "the two sides of an operation are exchanged", ast.BinOp(node.right, node.op, node.left)
    elif isinstance(node, ast.UnaryOp):
        yield "a minus or a negation is left out", node.operand
        if more and isinstance(node.op, ast.Invert):
            words = "~ is taken of whole numbers, where it makes -1 of 0 and -2 of 1: it turns flags round"
            yield words, _expression(f"~({ast.unparse(node.operand)}).long()")
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        number: Any = node.value
        for value in {2 * number, number / 2, number + 1, number - 1, -number} - {number}:
            whole = int(value) if isinstance(number, int) and float(value).is_integer() else value
            yield f"a constant is {whole} in place of {number}", ast.Constant(whole)
    elif more and isinstance(node, ast.Call) and ast.unparse(node.func) == "len":
        yield from _other_sizes(node)
    elif isinstance(node, ast.Call):
        yield from _call_variants(node, more)
    elif isinstance(node, ast.Subscript):
        if more and isinstance(node.value, ast.Attribute) and node.value.attr == "shape":
            yield from _other_sizes(node)
        yield "a selection is left out", node.value
        for old, new in (("[1:]", "[:-1]"), ("[:-1]", "[1:]"), ("[0]", "[-1]"), ("[-1]", "[0]")):
            if f"[{ast.unparse(node.slice)}]" == old:
                yield f"{new} stands in place of {old}", _expression(f"({ast.unparse(node.value)}){new}")
    if isinstance(node, (ast.Name, ast.Call, ast.BinOp, ast.Subscript)):
        part = f"`{node.id}`" if isinstance(node, ast.Name) and node.id in known else "one part"
        for name, template in AROUND.items():
            yield f"{part} {name}", _expression(template.format(ast.unparse(node)))
        if more and part != "one part":
            for name, template in AROUND_AN_ARGUMENT.items():
                yield f"{part} {name}", _expression(template.format(ast.unparse(node)))


def _other_sizes(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    for words, change in (("one too large", "+ 1"), ("one too small", "- 1"), ("doubled", "* 2"), ("1", "* 0 + 1")):
        yield f"a size is {words}", _expression(f"({ast.unparse(node)} {change})")


def _call_variants(node: ast.Call, more: bool) -> Iterator[tuple[str, ast.expr]]:
    if not isinstance(node.func, ast.Attribute):
        return
    name, owner = node.func.attr, node.func.value
    of_torch = isinstance(owner, ast.Name) and owner.id in ("torch", "F")
    for other in OTHER_CALLS.get(name, ()):
        yield _in_place(other, name), ast.Call(ast.Attribute(owner, other, ast.Load()), node.args, node.keywords)
    yield from _other_axes(node, name, of_torch)
    inner = (node.args[0] if node.args else None) if of_torch else owner
    if inner is None:
        return
    yield f"{IN_WORDS.get(name, name)} is left out", inner
    text = ast.unparse(inner)
    axis = next((ast.unparse(k.value) for k in node.keywords if k.arg == "dim"), None)
    axis = axis or (ast.unparse(node.args[-1]) if len(node.args) > of_torch else None)
    if name == "softmax" and axis:
        yield (
            "the exponential is taken without care for large numbers",
            _expression(f"({text}).exp() / ({text}).exp().sum({axis}, keepdim=True)"),
        )
        yield (
            "all of the weight lies on the largest",
            _expression(f"(({text}) == ({text}).amax({axis}, keepdim=True)).to(({text}).dtype)"),
        )
    if name == "logsumexp" and axis:
        yield (
            "the exponential is taken without care for large numbers",
            _expression(f"({text}).exp().sum({axis}).log()"),
        )
        yield "the logarithm is that of a mean, not of a sum", _expression(f"({text}).exp().mean({axis}).log()")
        yield "a reduction runs over everything", _expression(f"torch.logsumexp(({text}).flatten(), 0)")
    if name in ("amax", "amin", "sum", "mean", "max", "min") and axis:
        yield "the first one is taken", _expression(f"({text}).select({axis}, 0)")
        yield "the last one is taken", _expression(f"({text}).select({axis}, -1)")
        yield "a median is taken", _expression(f"({text}).median({axis}).values")
    for other in OTHER_LOGS if more and name == "log" else ():
        yield _in_place(other, name), ast.Call(ast.Attribute(owner, other, ast.Load()), node.args, node.keywords)
    if more and name in REDUCTIONS and not axis:
        yield "only the first number is taken, as if a loop ended after one pass", _expression(f"({text}).flatten()[0]")
    if name == "where" and len(node.args) == 3:
        yield "one of the two cases is used everywhere", node.args[1]
        yield "one of the two cases is used everywhere", node.args[2]
        yield (
            "the two cases are exchanged",
            ast.Call(node.func, [node.args[0], node.args[2], node.args[1]], node.keywords),
        )


def _other_axes(node: ast.Call, name: str, of_torch: bool) -> Iterator[tuple[str, ast.expr]]:
    if name not in WITH_AXIS:
        return
    values: list[tuple[ast.keyword | None, ast.expr]] = [(k, k.value) for k in node.keywords if k.arg == "dim"]
    if not values and len(node.args) > of_torch and isinstance(node.args[of_torch], (ast.Constant, ast.UnaryOp)):
        values = [(None, node.args[of_torch])]
    if not values:
        return
    keyword, value = values[0]
    for axis in ("0", "1", "2", "-1"):
        if axis == ast.unparse(value):
            continue
        other = copy.deepcopy(node)
        if keyword is None:
            other.args[of_torch] = _expression(axis)
        else:
            next(k for k in other.keywords if k.arg == "dim").value = _expression(axis)
        yield f"{IN_WORDS.get(name, name)} runs along axis {axis}", other
    if not of_torch and name in (*REDUCTIONS, "max", "min"):
        yield "a reduction runs over everything", ast.Call(node.func, [], [])


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body
