"""Which cells of a notebook need which: by the names that they define, change and use."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Sequence

MAGIC = re.compile(r"^[%!].*$", re.MULTILINE)
CHANGING = {"fit", "append", "extend", "update", "add"}  # calls that change their first argument or their own object


class Names(ast.NodeVisitor):
    """The names that a cell gives a value, those whose value it changes, and those it takes from earlier cells."""

    def __init__(self, source: str) -> None:
        self.defined: set[str] = set()
        self.changed: set[str] = set()
        self.used: set[str] = set()
        self._local: set[str] = set()  # of the functions and comprehensions that are being read
        self.visit(ast.parse(MAGIC.sub("", source)))  # lines of IPython's own are passed over

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self._local:
            return
        if isinstance(node.ctx, ast.Load):
            self.used |= {node.id} - self.defined
        else:
            self.defined.add(node.id)

    def visit_alias(self, node: ast.alias) -> None:
        self.defined.add((node.asname or node.name).partition(".")[0])

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)  # before the targets: `x = f(x)` takes an earlier x
        self._visit_all(node.targets)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.changed |= _roots([node.target])
        self.used |= _roots([node.target]) - self.defined - self._local
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._visit_all([node.iter, node.target, *node.body, *node.orelse])

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.ClassDef) -> None:
        self.defined.add(node.name)
        self._within(node, {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)})

    visit_ClassDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._within(node, {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)})

    def visit_ListComp(self, node: ast.AST) -> None:
        self._within(node, set())

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp

    def _within(self, node: ast.AST, arguments: set[str]) -> None:
        stored = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        before, self._local = self._local, self._local | arguments | stored
        self.generic_visit(node)
        self._local = before

    def _visit_all(self, nodes: Sequence[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def visit_Subscript(self, node: ast.Subscript | ast.Attribute) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.changed |= _roots([node])
        self.generic_visit(node)

    visit_Attribute = visit_Subscript

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in CHANGING:
            self.changed |= _roots([node.func] if isinstance(node.func, ast.Attribute) else node.args[:1])
        self.generic_visit(node)


def _roots(nodes: Sequence[ast.AST]) -> set[str]:
    """The names at the far left of such expressions: ``a`` of ``a.b[c].d``."""
    found = set()
    for node in nodes:
        while isinstance(node, (ast.Attribute, ast.Subscript)):
            node = node.value
        if isinstance(node, ast.Name):
            found.add(node.id)
    return found


def dependents(sources: Sequence[str], wanted: Collection[int]) -> set[int]:
    """Cells ``wanted`` and every later one that uses what they define, directly or by way of others."""
    chosen, told = set(), set[str]()
    for number, source in enumerate(sources):
        cell = Names(source)
        if number in wanted or cell.used & told:
            chosen.add(number)
            told |= cell.defined | cell.changed
        else:
            told -= cell.defined
    return chosen


def requirements(sources: Sequence[str], wanted: Collection[int]) -> set[int]:
    """Cells ``wanted`` and every earlier one that gave a value to what they use, directly or by way of others."""
    chosen, asked = set(), set[str]()
    for number in reversed(range(len(sources))):
        cell = Names(sources[number])
        if number in wanted or (cell.defined | cell.changed) & asked:
            chosen.add(number)
            asked = (asked - (cell.defined - cell.changed)) | cell.used
    return chosen
