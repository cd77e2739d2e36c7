"""Wrong answers that nobody listed: every single-step slip of an exercise's reference answer, made from its source.

`slips` changes one thing at one place: another axis, mean for sum, a sign, a factor, a mask dropped or turned, a term
left out, two arguments exchanged, a naive exponential, a detach. `shapes_of` wraps the whole answer: a list for a
tensor, float32 for float64, the transpose. A slip may be right after all (the mean of one row is its sum), so every
verdict is held against many random inputs: `draws` makes them, of the kinds and sizes of an exercise's own examples.
"""

from __future__ import annotations

import ast
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from cql_tutorial.course.checker import Answer, Example, Exercise, alike, outcome
from cql_tutorial.course.compare import form

Function = Callable[..., Any]
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
    "detached": "({}).detach()",
    "clamped at 0": "({}).clamp(min=0)",
    "absolute": "({}).abs()",
    "sign turned": "-({})",
    "doubled": "2 * ({})",
    "halved": "0.5 * ({})",
    "squared": "({}) ** 2",
    "exponentiated": "({}).exp()",
    "logarithm": "({}).log()",
    "backwards": "({}).flip(0)",
    "transposed": "({}).transpose(0, -1)",
}


# ---------------------------------------------------------------- slips
def slips(exercise: Exercise) -> Iterator[tuple[str, Function]]:
    """Every single-step slip of the reference: (what was done, the function that does it)."""
    tree = ast.parse(exercise.source)
    seen = {ast.unparse(tree)}
    for name, source in _edits(tree):
        if source not in seen:
            seen.add(source)
            yield name, _compiled(exercise, source)
    yield from shapes_of(exercise)


def _compiled(exercise: Exercise, source: str) -> Function:
    scope = {**exercise.reference.__globals__, "torch": torch}
    exec(compile(source, f"<slip of {exercise.id}>", "exec"), scope)
    return scope[exercise.reference.__name__]


def _edits(tree: ast.Module) -> Iterator[tuple[str, str]]:
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    first = 1 if ast.get_docstring(function) else 0
    for statement in function.body[first:]:
        for parent in ast.walk(statement):
            for field, value in ast.iter_fields(parent):
                for index, node in enumerate(value if isinstance(value, list) else [value]):
                    if not isinstance(node, ast.expr) or isinstance(getattr(node, "ctx", None), ast.Store):
                        continue
                    for name, other in _variants(node):
                        _put(parent, field, index, other)
                        yield f"line {node.lineno}: {ast.unparse(node)[:40]} {name}", ast.unparse(tree)
                        _put(parent, field, index, node)
                if field == "ops" and isinstance(parent, ast.Compare):
                    for other_op in COMPARISONS.get(type(parent.ops[0]), ()):
                        kept, parent.ops = parent.ops, [other_op, *parent.ops[1:]]
                        yield f"line {parent.lineno}: {type(other_op).__name__}", ast.unparse(tree)
                        parent.ops = kept
    names = [argument.arg for argument in function.args.args]
    for i, left in enumerate(names):
        for right in names[i + 1 :]:
            exchanged = _renamed(tree, {left: right, right: left}, first)
            yield f"{left} and {right} exchanged", ast.unparse(exchanged)
            yield f"{left} for {right}", ast.unparse(_renamed(tree, {right: left}, first))
            yield f"{right} for {left}", ast.unparse(_renamed(tree, {left: right}, first))
    for index in range(first, len(function.body) - 1):
        statement = function.body[index]
        function.body[index] = ast.Pass()
        yield f"without {ast.unparse(statement)[:40]}", ast.unparse(tree)
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


def _variants(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.BinOp):
        for other in OPERATORS.get(type(node.op), ()):
            yield f"by {type(other).__name__}", ast.BinOp(node.left, other, node.right)
        yield "left part alone", node.left
        yield "right part alone", node.right
        yield "turned round", ast.BinOp(node.right, node.op, node.left)
    elif isinstance(node, ast.UnaryOp):
        yield "without its sign", node.operand
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        for value in {2 * node.value, node.value / 2, node.value + 1, node.value - 1, -node.value} - {node.value}:
            whole = int(value) if isinstance(node.value, int) and float(value).is_integer() else value
            yield f"as {whole}", ast.Constant(whole)
    elif isinstance(node, ast.Call):
        yield from _call_variants(node)
    elif isinstance(node, ast.Subscript):
        yield "whole", node.value
        for old, new in (("[1:]", "[:-1]"), ("[:-1]", "[1:]"), ("[0]", "[-1]"), ("[-1]", "[0]")):
            if f"[{ast.unparse(node.slice)}]" == old:
                yield f"as {new}", _expression(f"({ast.unparse(node.value)}){new}")
    if isinstance(node, (ast.Name, ast.Call, ast.BinOp, ast.Subscript)):
        for name, template in AROUND.items():
            yield name, _expression(template.format(ast.unparse(node)))


def _call_variants(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    if not isinstance(node.func, ast.Attribute):
        return
    name, owner = node.func.attr, node.func.value
    of_torch = isinstance(owner, ast.Name) and owner.id in ("torch", "F")
    for other in OTHER_CALLS.get(name, ()):
        yield f"by {other}", ast.Call(ast.Attribute(owner, other, ast.Load()), node.args, node.keywords)
    yield from _other_axes(node, name, of_torch)
    inner = (node.args[0] if node.args else None) if of_torch else owner
    if inner is None:
        return
    yield f"without {name}", inner
    text = ast.unparse(inner)
    axis = next((ast.unparse(k.value) for k in node.keywords if k.arg == "dim"), None)
    axis = axis or (ast.unparse(node.args[-1]) if len(node.args) > of_torch else None)
    if name == "softmax" and axis:
        yield "by a naive exponential", _expression(f"({text}).exp() / ({text}).exp().sum({axis}, keepdim=True)")
        yield "one hot", _expression(f"(({text}) == ({text}).amax({axis}, keepdim=True)).to(({text}).dtype)")
    if name == "logsumexp" and axis:
        yield "by a naive exponential", _expression(f"({text}).exp().sum({axis}).log()")
        yield "by the logarithm of the mean", _expression(f"({text}).exp().mean({axis}).log()")
        yield "over everything", _expression(f"torch.logsumexp(({text}).flatten(), 0)")
    if name in ("amax", "amin", "sum", "mean", "max", "min") and axis:
        yield "first along the axis", _expression(f"({text}).select({axis}, 0)")
        yield "last along the axis", _expression(f"({text}).select({axis}, -1)")
        yield "median along the axis", _expression(f"({text}).median({axis}).values")
    if name == "where" and len(node.args) == 3:
        yield "its second", node.args[1]
        yield "its third", node.args[2]
        yield "turned", ast.Call(node.func, [node.args[0], node.args[2], node.args[1]], node.keywords)


def _other_axes(node: ast.Call, name: str, of_torch: bool) -> Iterator[tuple[str, ast.expr]]:
    if name not in WITH_AXIS:
        return
    values = [(keyword, keyword.value) for keyword in node.keywords if keyword.arg == "dim"]
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
        yield f"along axis {axis}", other
    if not of_torch and name in (*REDUCTIONS, "max", "min"):
        yield "over everything", ast.Call(node.func, [], [])


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


# ---------------------------------------------------------------- slips of the whole answer
def shapes_of(exercise: Exercise) -> Iterator[tuple[str, Function]]:
    """The right answer in a wrong form: as a list, in float32, one number short, summed, turned."""
    wraps: dict[str, Callable[[Tensor], Any]] = {
        "as a list": lambda x: x.tolist(),
        "as a tuple": lambda x: tuple(x) if x.ndim else (x,),
        "as an array": lambda x: x.detach().numpy(),
        "as a number": lambda x: x.item(),
        "in float32": lambda x: x.float() if x.dtype == torch.float64 else x.half(),
        "as text": str,
        "detached": lambda x: x.detach(),
        "sign turned": lambda x: -x,
        "absolute": lambda x: x.abs(),
        "clamped at 0": lambda x: x.clamp(min=0),
        "clamped below 1": lambda x: x.clamp(max=1),
        "doubled": lambda x: 2 * x,
        "halved": lambda x: x / 2,
        "plus one": lambda x: x + 1,
        "summed": lambda x: x.sum(),
        "averaged": lambda x: x.mean(),
        "transposed": lambda x: x.mT if x.ndim > 1 else x.flip(0) if x.ndim else x,
        "one short": lambda x: x[:-1],
        "a column": lambda x: x[..., None],
        "rounded": lambda x: x.round(),
        "nothing": lambda x: None,
    }
    for name, wrap in wraps.items():
        yield f"the answer {name}", _wrapped(exercise.reference, wrap)

    def without_gradients(*arguments: Any) -> Any:
        with torch.no_grad():
            return exercise.reference(*arguments)

    yield "without gradients", without_gradients


def _wrapped(reference: Function, wrap: Callable[[Tensor], Any]) -> Function:
    def function(*arguments: Any) -> Any:
        value = reference(*arguments)
        if isinstance(value, tuple):
            return tuple(wrap(torch.as_tensor(part)) for part in value)
        return wrap(torch.as_tensor(value))

    return function


# ---------------------------------------------------------------- random inputs
def draws(exercise: Exercise, number: int = 12) -> list[Example]:
    """Random valid inputs, of the kinds and sizes of the exercise's examples; none where it takes no input."""
    make = DRAW.get(exercise.id, _like)
    found = []
    for seed in range(number):
        generator = torch.Generator().manual_seed(seed)
        example = exercise.examples[seed % len(exercise.examples)]
        found.append(replace(example, arguments=make(generator, example)))
    return found


def _like(generator: torch.Generator, example: Example) -> tuple[Any, ...]:
    return tuple(_random(generator, argument) for argument in example.arguments)


def _random(generator: torch.Generator, value: Any) -> Any:
    """A value of the same kind: probabilities remain such, one sign remains one sign, indices remain in range."""
    if isinstance(value, float):
        factor = float(0.3 + torch.rand((), generator=generator))
        return 0.05 + 0.9 * float(torch.rand((), generator=generator)) if 0 < value < 1 else value * factor
    if not isinstance(value, Tensor):
        return value
    if value.dtype == torch.bool:
        return torch.rand(value.shape, generator=generator) < 0.5
    if not value.is_floating_point():
        largest = int(value.max()) if value.numel() else 0
        drawn = torch.randint(0, largest + 1, value.shape, generator=generator)
        return drawn.to(value.dtype)
    noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    rows = value.sum(-1) if value.ndim else value
    if value.ndim and bool((value >= 0).all()) and torch.allclose(rows, torch.ones_like(rows)):
        weights = torch.softmax(noise, -1) * (value > 0)  # what is impossible stays so
        return (weights / weights.sum(-1, keepdim=True)).to(value.dtype)
    if value.ndim and bool((value <= 0).all()) and torch.allclose(value.exp().sum(-1), torch.ones_like(rows)):
        return torch.log_softmax(noise, -1).to(value.dtype)
    scale = float(value.abs().mean()) or 1.0
    drawn = noise * min(scale, 5.0)
    if value.numel() and bool((value >= 0).all()):
        drawn = drawn.abs() * (value > 0)
    elif value.numel() and bool((value <= 0).all()):
        drawn = -drawn.abs() * (value < 0)
    return drawn.to(value.dtype)


def _alphas(generator: torch.Generator, example: Example) -> tuple[Any, ...]:
    free, per_alpha, truth, seen = example.arguments
    some = torch.rand(seen.shape, generator=generator) < 0.5
    some.view(-1)[0] = True  # nothing seen has no answer
    return _random(generator, free), 0.1 + _random(generator, per_alpha).abs(), _random(generator, truth), some


def _behaviours(generator: torch.Generator, example: Example) -> tuple[Any, ...]:
    log_behaviour, action_dim, error = example.arguments
    drawn = torch.randn(log_behaviour.shape, generator=generator, dtype=log_behaviour.dtype)
    above = 3 * torch.rand((), generator=generator)  # on average, no log-density lies below the uniform one
    return drawn - drawn.mean() - action_dim * math.log(2) + above, action_dim, error


def _episodes(generator: torch.Generator, example: Example) -> tuple[Any, ...]:
    rewards, starts, discount = example.arguments
    later = 1 + torch.randperm(len(rewards) - 1, generator=generator)[: len(starts) - 1]
    return _random(generator, rewards), torch.cat([torch.zeros(1, dtype=starts.dtype), later.sort().values]), discount


DRAW: dict[str, Callable[[torch.Generator, Example], tuple[Any, ...]]] = {
    "01.1": _episodes,
    "05.4": _alphas,
    "07.6": _behaviours,
}


# ---------------------------------------------------------------- verdicts
def answers(exercise: Exercise, function: Function, examples: Sequence[Example]) -> list[Answer | None]:
    """What a function answers to many inputs; None where it stops with an error."""
    return [outcome(exercise, function, example) for example in examples]


def equal(exercise: Exercise, left: list[Answer | None], right: list[Answer | None]) -> bool:
    """Whether two functions agree on all inputs."""
    return alike(left, right, 10 * exercise.tolerance)


def same_form(exercise: Exercise, left: list[Answer | None], right: list[Answer | None]) -> bool:
    """Whether the answers that agree are also of the type that is asked for."""
    if exercise.plain:
        return True
    pairs = [(a, b) for a, b in zip(left, right, strict=True) if a is not None and b is not None]
    return not any(form(a.value, b.value) for a, b in pairs)
