"""Mutants of a module: its syntax tree with one node changed, each once, as source without comments.

Lines are those of `ast.unparse`: a statement has one, however it is wrapped, so that formatting does not matter.
"""

import ast
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
PAIRS = (
    "min max", "argmin argmax", "amin amax", "minimum maximum", "clamp_min clamp_max", "mean sum", "any all",
    "left right", "zeros ones", "new_zeros new_ones", "zeros_like ones_like", "floor ceil", "startswith endswith",
)  # fmt: skip
NAMES = {one: other for a, b in map(str.split, PAIRS) for one, other in ((a, b), (b, a))}
NO_BEHAVIOUR = {"annotation", "returns", "decorator_list", "type_params"}  # fields of a node
FOR_PEOPLE = {"description", "help"}  # keyword arguments


@dataclass(frozen=True)
class Mutant:
    """One fault. line: of the module as it stands; before, after: the changed line of `ast.unparse`."""

    id: str
    module: str
    line: int
    function: str
    operator: str
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        pairs = enumerate(zip(self.before, self.after, strict=False))
        place = next((i for i, (old, new) in pairs if old != new), 0)
        shown = slice(max(0, place - 120), place + 120)  # of a table in one line, where it changed
        where = f"{self.module}:{self.line} {self.function} ({self.operator}) {self.id}"
        return f"{where}\n-{self.before[shown]}\n+{self.after[shown]}"


def changed(node: Any, **fields: Any) -> Any:
    """A copy of a node with some fields replaced."""
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def variants(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """The mutation operators: (name, what replaces the node)."""
    match node:
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                for other in COMPARISONS[type(op)]:
                    yield "comparison", changed(node, ops=[*ops[:i], other(), *ops[i + 1 :]])
        case ast.BinOp(left, op, right):
            if type(op) in OPERATORS:
                yield "operator", changed(node, op=OPERATORS[type(op)]())
            yield from (("operand", left), ("operand", right))
        case ast.AugAssign(op=op) if type(op) in OPERATORS:
            yield "operator", changed(node, op=OPERATORS[type(op)]())
        case ast.UnaryOp(operand=operand):
            yield "unary", operand
        case ast.BoolOp(op=op):
            yield "and/or", changed(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.Constant(value=bool(value)):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield "constant", ast.Constant(type(value)({0: 1, 1: 0}.get(value, value + 1)))
        case ast.Constant(value=str(value)) if value in NAMES:
            yield "name", ast.Constant(NAMES[value])
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp):  # those have mutants of their own
                yield "condition", changed(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Expr(value=ast.Call()):
            yield "statement", ast.Pass()
        case ast.Call(func, args, keywords):
            if isinstance(func, ast.Attribute) and func.attr in NAMES:
                yield "name", changed(node, func=changed(func, attr=NAMES[func.attr]))
            if isinstance(func, ast.Name) and func.id in NAMES:
                yield "name", changed(node, func=changed(func, id=NAMES[func.id]))
            for i, keyword in enumerate(keywords):
                if keyword.arg not in FOR_PEOPLE:
                    yield "keyword", changed(node, keywords=keywords[:i] + keywords[i + 1 :])
            for i, (one, other) in enumerate(pairwise(args)):
                if kind(one) == kind(other):
                    yield "arguments", changed(node, args=[*args[:i], other, one, *args[i + 2 :]])


def kind(argument: ast.expr) -> type:
    """Arguments of one kind can change places: `x` and `self.x` count as the same kind."""
    return ast.Name if isinstance(argument, ast.Attribute) else type(argument)


def places(node: ast.AST, function: str = "") -> Iterator[tuple[Any, str, Callable[[ast.AST], None]]]:
    """(node, function it stands in, what puts another in its place) of all nodes below one, except text for people."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}".lstrip(".")
    for name, value in ast.iter_fields(node):
        if name in NO_BEHAVIOUR or isinstance(node, ast.Raise):
            continue
        if isinstance(value, ast.AST):
            yield value, function, partial(setattr, node, name)
            yield from places(value, function)
        for i, child in enumerate(value if isinstance(value, list) else ()):
            if isinstance(child, ast.AST):
                yield child, function, partial(value.__setitem__, i)
                yield from places(child, function)


def mutants(module: str, source: str) -> list[Mutant]:
    """Every mutant of a module, each once; an id stays as long as its function's own lines do."""
    tree = ast.parse(source)
    whole = ast.unparse(tree)
    lines = whole.splitlines()
    made: dict[str, Mutant] = {}
    same: Counter[str] = Counter()
    for node, function, put in places(tree):
        for operator, other in variants(node):
            put(other)
            text = ast.unparse(tree)
            if text not in made and text != whole:
                before, after = next((a, b) for a, b in zip(lines, text.splitlines(), strict=True) if a != b)
                key = f"{module} {function} {before} {after}"
                same[key] += 1  # the same change of the same line, elsewhere in the function
                name = f"{Path(module).stem}-{hashlib.sha256(f'{key} {same[key]}'.encode()).hexdigest()[:8]}"
                made[text] = Mutant(name, module, node.lineno, function, operator, before, after, text)
        put(node)
    return list(made.values())
