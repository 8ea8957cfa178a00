"""The changes: each is a mistake that a person could make in one place, and that the compiler of Python does not see.

Annotations, assertions (`strict=True` is one), docstrings and the texts of errors are left alone: what they say is not what the code
does.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

Place = str
"""A statement or a lambda by its text and function: `dsl/ops/sizes.py dim: return value`."""

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
PAIRS = (
    ("min", "max"), ("dim_min", "dim_max"), ("any", "all"), ("floor", "ceil"), ("dim_lower", "dim_upper"), ("low", "high"),
    ("start", "stop"),
    ("ReduceMax", "ReduceMin"), ("ReduceSum", "ReduceMean"), ("ReduceL1", "ReduceL2"), ("ArgMax", "ArgMin"), ("Max", "Min"), ("Add", "Sub"),
    ("Mul", "Div"), ("Less", "Greater"), ("And", "Or"), ("Floor", "Ceil"), ("Exp", "Log"), ("Sin", "Cos"), ("Tanh", "Sigmoid"),
    ("Squeeze", "Unsqueeze"), ("Gather", "GatherElements"), ("constant", "edge"), ("lower", "upper"), ("over", "axes"),
    ("Sqrt", "Reciprocal"),
    ("RandomUniformLike", "RandomNormalLike"), ("nearest", "linear"), ("half_pixel", "asymmetric"), ("same", "valid"), ("add", "sub"),
    ("matmul", "mul"), ("F32", "F64"), ("I32", "I64"), ("lows", "highs"),
)  # fmt: skip
OTHER = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])}
SYMMETRIC = {
    "isinstance",
    "min",
    "max",
    "minimum",
    "maximum",
    "dim_min",
    "dim_max",
    "dims_equal",
    "promote",
    "OpError",
    "zip",
    "cast",
    "fits",
    "Unsupported",
}
"""Functions whose arguments are not swapped: the result is the same, or the call no longer means anything."""
COMMUTATIVE = {"Add", "Mul", "Max", "Min", "And", "Or", "Xor", "Equal"}
"""Operators of ONNX that do not mind the order of their operands."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change. `node` is the place of the changed node in `ast.walk`, `choice` which of its changes; `around` are the
    statements and lambdas that run it, the innermost first."""

    path: str
    line: int
    function: str
    code: str
    change: str
    node: int
    choice: int
    around: tuple[Place, ...]

    @property
    def key(self) -> str:
        """The same as long as the function and the change are, wherever the function stands."""
        return hashlib.sha1(f"{self.path} {self.function} {self.code} {self.change}".encode()).hexdigest()[:16]


def mutants(root: Path, path: str) -> list[Mutant]:
    """Every mutant of the functions of one file, in the order of the text."""
    text = (root / path).read_text()
    walk = Walk(ast.parse(text))
    found: list[Mutant] = []
    for number, node in enumerate(walk.nodes):
        for choice, (change, _) in enumerate(walk.changes(node)):
            line = getattr(node, "lineno", 0)
            code = text.splitlines()[line - 1].strip()
            places = walk.places(path, node)
            found.append(Mutant(path, line, walk.function(node), code, change, number, choice, places))
    return sorted(_distinct(found), key=lambda m: (m.line, m.node, m.choice))


def _distinct(found: list[Mutant]) -> list[Mutant]:
    """The last of those that read the same: two zeros of one line have one key."""
    return list({mutant.key: mutant for mutant in found}.values())


def mutated(text: str, mutant: Mutant) -> ast.Module:
    """The module with the change made."""
    walk = Walk(ast.parse(text))
    node = walk.nodes[mutant.node]
    replacement = [new for _, new in walk.changes(node)][mutant.choice]
    walk.replace(node, ast.copy_location(replacement, node))
    return ast.fix_missing_locations(walk.tree)


class Walk:
    """A parsed file, with what surrounds each node."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.nodes = list(ast.walk(tree))
        self.parent = {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}
        self.silent = {inner for node in self.nodes for left in _left_alone(node) for inner in ast.walk(left)}

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        yield node
        while node in self.parent:
            node = self.parent[node]
            yield node

    def places(self, path: str, node: ast.AST) -> tuple[Place, ...]:
        """What runs the node, innermost first: lambdas and statements of the functions around it."""
        return tuple(self.place(path, n) for n in self.above(node) if isinstance(n, ast.stmt | ast.Lambda))

    def place(self, path: str, node: ast.stmt | ast.Lambda) -> Place:
        return f"{path} {self.function(node)}: {ast.unparse(node).strip().splitlines()[0]}"

    def function(self, node: ast.AST) -> str:
        return ".".join(n.name for n in self.above(node) if isinstance(n, ast.FunctionDef | ast.ClassDef))

    def changes(self, node: ast.AST) -> list[tuple[str, ast.AST]]:
        """Each change of a node, as a person would describe it, with the node in its place."""
        if ast.unparse(node) == "0" and re.fullmatch(r"types\[0\]|\w+\.inputs\[0\]", ast.unparse(self.parent[node])):
            return [("0 -> 1", ast.Constant(1))]  # the last is the first where there is one operand
        inside = any(isinstance(n, ast.FunctionDef) for n in self.above(self.parent.get(node, node)))
        if not inside or node in self.silent or not hasattr(node, "lineno"):
            return []
        found = [*_of_expression(node), *_of_call(node), *_of_statement(node, self._owner(node))]
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += self._of_choice(node)
        return [(f"{_short(node)} -> {_short(new)}", new) for new in found]

    def _owner(self, node: ast.AST) -> ast.FunctionDef | None:
        return next((n for n in self.above(node) if isinstance(n, ast.FunctionDef)), None)

    def _of_choice(self, node: ast.Constant) -> list[ast.AST]:
        """Another string: the opposite where there is one, else the next one of the function."""
        if node.value in OTHER:
            return [ast.Constant(OTHER[node.value])]
        owner = self._owner(node)
        inner = [n for n in ast.walk(owner) if n not in self.silent] if owner else []
        words = sorted({n.value for n in inner if isinstance(n, ast.Constant) and isinstance(n.value, str)} - {node.value})
        return [ast.Constant(words[0])] if words else []

    def replace(self, node: ast.AST, new: ast.AST) -> None:
        above = self.parent[node]
        for name, value in ast.iter_fields(above):
            if value is node:
                setattr(above, name, new)
            elif isinstance(value, list) and any(v is node for v in value):
                value[:] = [new if v is node else v for v in value]


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 100 else f"{text[:60]} ... {text[-35:]}"


def _left_alone(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a node that say something to people or to the type checker."""
    match node:
        case ast.Raise():
            yield from ast.iter_child_nodes(node)
        case ast.Assert() | ast.JoinedStr() | ast.Expr(value=ast.Constant()):
            yield node
        case ast.FunctionDef():
            yield from (part for part in (*node.decorator_list, node.returns) if part is not None)
        case ast.arg() | ast.AnnAssign():
            if node.annotation is not None:
                yield node.annotation
        case ast.Call(func=ast.Name(id="cast"), args=[kind, *_]):
            yield kind
        case ast.Call(func=ast.Name(id="OpError" | "refused" | "Unsupported" | "Refused")):
            yield node
        case ast.Call(func=ast.Name(id="isinstance"), args=[_, kind]):
            yield kind
        case ast.keyword(arg="strict", value=ast.Constant(value=True)):
            yield node


# --- what a node becomes --------------------------------------------------------------------------------------------------------------


def _with(node: ast.AST, **fields: object) -> ast.AST:
    made = copy.copy(node)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def _of_expression(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=[op, *rest]):
            yield from (_with(node, ops=[other(), *rest]) for other in COMPARISONS[type(op)])
        case ast.BinOp(left=left, op=op, right=right):
            if type(op) in OPERATORS and not any(_is_text(side) for side in (left, right)):
                yield _with(node, op=OPERATORS[type(op)]())
        case ast.BoolOp(op=op, values=values):
            yield _with(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
            yield from (_one_less(node, values, i) for i in range(len(values)))
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.IfExp(body=body, orelse=other):
            yield _with(node, body=other, orelse=body)
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield from (ast.Constant(other) for other in (value + 1, value - 1) if other != value)
        case ast.Name(id=name, ctx=ast.Load()) if name in OTHER:
            yield _with(node, id=OTHER[name])
        case ast.Attribute(attr=name, ctx=ast.Load()) if name in OTHER:
            yield _with(node, attr=OTHER[name])
        case ast.ListComp() | ast.GeneratorExp() | ast.SetComp():
            for i, part in enumerate(node.generators):
                if part.ifs:
                    kept = [*node.generators[:i], _with(part, ifs=[]), *node.generators[i + 1 :]]
                    yield _with(node, generators=kept)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _one_less(node: ast.AST, values: list[ast.expr], i: int) -> ast.AST:
    kept = [*values[:i], *values[i + 1 :]]
    return _with(node, values=kept) if len(kept) > 1 else kept[0]


def _of_call(node: ast.AST) -> Iterator[ast.AST]:
    if not isinstance(node, ast.Call):
        return
    name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value in COMMUTATIVE:
        return
    plain = [i for i, a in enumerate(node.args) if not isinstance(a, ast.Starred) and not _is_text(a)]
    for i, j in pairwise(plain):
        if name not in SYMMETRIC and ast.dump(node.args[i]) != ast.dump(node.args[j]):
            args = list(node.args)
            args[i], args[j] = args[j], args[i]
            yield _with(node, args=args)
    if name in ("reversed", "sorted") and len(node.args) == 1:
        yield ast.Call(ast.Name("list", ast.Load()), node.args, [])


def _of_statement(node: ast.AST, owner: ast.FunctionDef | None) -> Iterator[ast.AST]:
    match node:
        case ast.Raise() | ast.AugAssign() | ast.Delete():
            yield ast.Pass()
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.If():
            yield _with(node, test=ast.Constant(False))
        case ast.Continue():
            yield ast.Break()
        case ast.Break():
            yield ast.Continue()
        case ast.Return(value=value) if value is not None and owner is not None and owner.returns is not None:
            yield from (_with(node, value=other) for other in _other_results(value, ast.unparse(owner.returns), owner))
    if isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
        yield _with(node, op=OPERATORS[type(node.op)]())


def _other_results(value: ast.expr, kind: str, owner: ast.FunctionDef) -> Iterator[ast.expr]:
    """Values of the same type in place of a result."""
    if kind == "bool" and not isinstance(value, ast.Constant | ast.Compare | ast.UnaryOp):
        yield ast.UnaryOp(ast.Not(), value)
    if kind in ("int", "Dim") and not isinstance(value, ast.Constant):
        yield ast.BinOp(value, ast.Add(), ast.Constant(1))
    if kind.endswith("| None") and not (isinstance(value, ast.Constant) and value.value is None):
        yield ast.Constant(None)
    first = owner.args.args[0].arg if owner.args.args else ""
    operand = {"TensorType": f"{first}[0]", "Tensor": f"{first}.x"}.get(kind)
    if operand is not None and first in ("types", "s") and operand != ast.unparse(value):
        yield ast.parse(operand, mode="eval").body
