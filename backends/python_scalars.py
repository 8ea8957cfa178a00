"""A graph of scalars as a Python function of numbers: what a schedule of learning rates is, where the loop runs on the host.

Python's floats are those of 64 bits, so this needs no target; what has axes is refused.
"""

from __future__ import annotations

from backends.python import Body, Emit, Rows, scalar
from backends.writer import Expression, Line, Namespace, Precedence, binary, call, conditional, docstring, number, rendered, unary
from dsl.diagnostics import InternalError
from dsl.ir import Graph, Node
from dsl.types import DType

Operands = list[Expression]


def is_scalar(graph: Graph) -> bool:
    """Whether the graph and all that it calls can be said in Python's numbers."""
    return all(_is_said(node) for found in graph.callees() for node in found)


def constant_of(graph: Graph) -> float | None:
    """The number that the graph gives whatever its inputs are; None where it depends on them."""
    (value,) = graph.outputs.values()
    node = graph.node(value)
    if node.op == "const":
        content = node.attributes["value"]
        return float(content) if isinstance(content, int | float) else float(scalar(content))  # type: ignore[arg-type]
    if node.op == "full":
        return float(node.attributes["value"])  # type: ignore[arg-type]
    return None


def _is_said(node: Node) -> bool:
    if any(t.rank for t in node.types) or len(node.types) != 1:
        return False
    return node.op in ("input", "const", "call") or node.op in ROWS


class ScalarFunctions:
    """Writes functions of numbers, each once; `names` are those of the file."""

    name = "Python"
    repeats: frozenset[str] = frozenset()

    def __init__(self, names: Namespace) -> None:
        self.names = names
        self.rows: Rows = ROWS
        self.texts: list[list[Line]] = []
        self._written: dict[int, str] = {}
        self._known: dict[tuple[str, str], str] = {}

    def function(self, graph: Graph, wanted: str) -> str:
        """The name of the function of `graph`."""
        if id(graph) not in self._written:
            scope = Namespace((), self.names)
            arguments = {name: scope.new(name) for name in graph.inputs}
            body = Body(graph, self, scope, arguments).write(_finish)
            lines = [*docstring(_about(graph), 1), *body.lines]
            key = (wanted, rendered(lines))
            if key not in self._known:
                self._known[key] = self.names.new(wanted)
                given = [f"{v}: float" for v in arguments.values()]
                self.texts.append([Line(0, "def ", call(self._known[key], *given), " -> float:"), *lines])
            self._written[id(graph)] = self._known[key]
        return self._written[id(graph)]

    def call(self, body: Body, node: Node, operands: Operands) -> Expression:
        assert node.target is not None
        return call(self.function(node.target.graph, node.target.graph.definition), *operands)

    def training(self, body: Body) -> Expression:
        raise InternalError("a schedule has no mode")

    def owned(self, body: Body, node: Node) -> Expression:
        raise InternalError("a schedule owns nothing")

    def kept(self, buffer: Expression) -> Expression:
        raise InternalError("a schedule owns nothing")

    def constant(self, body: Body, node: Node) -> Expression:
        raise InternalError("a schedule has no table")

    def repeat(self, body: Body, node: Node, operands: Operands) -> Expression:
        raise InternalError("a schedule owns nothing")

    def scan(self, body: Body, node: Node, operands: Operands) -> None:
        raise InternalError("a schedule has no loop")

    def while_loop(self, body: Body, node: Node, operands: Operands) -> None:
        raise InternalError("a schedule has no loop")

    def gradient(self, body: Body, node: Node, operands: Operands) -> Expression:
        raise InternalError("a schedule has no gradient")

    def update(self, body: Body, path: str, value: Expression) -> None:
        raise InternalError("a schedule owns nothing")


def _about(graph: Graph) -> str:
    return "\n\n".join(graph.doc.strip().split("\n\n")[-1:])


def _finish(body: Body) -> None:
    (name,) = body.graph.outputs
    body.lines.append(Line(body.indent, "return ", body.results[name]))


# --- rows ---------------------------------------------------------------------------------------------------------------------


def _operator(symbol: str) -> Emit:
    return lambda body, node, xs: binary(xs[0], symbol, xs[1])


def _function(name: str) -> Emit:
    return lambda body, node, xs: call(name, *xs)


def _cast(body: Body, node: Node, xs: Operands) -> Expression:
    dtype = node.attributes["dtype"]
    assert isinstance(dtype, DType)
    source = body.graph.type(node.inputs[0]).dtype
    if dtype.is_float:
        return call("float", *xs) if source is DType.BOOL else xs[0]
    return call("bool" if dtype is DType.BOOL else "int", *xs)


def _clip(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = xs
    low, high = node.attributes["low"], node.attributes["high"]
    if low is not None:
        x = call("max", x, body.static(low))
    return call("min", x, body.static(high)) if high is not None else x


def _full(body: Body, node: Node, xs: Operands) -> Expression:
    return body.static(node.attributes["value"])


def _where(body: Body, node: Node, xs: Operands) -> Expression:
    return conditional(xs[0], xs[1], xs[2])


def _sigmoid(body: Body, node: Node, xs: Operands) -> Expression:
    negative = call("math.exp", unary("-", xs[0]))
    return binary(number(1.0), "/", binary(number(1.0), "+", negative))


def _same(body: Body, node: Node, xs: Operands) -> Expression:
    return xs[0]


ROWS: Rows = {
    **{op: _operator(symbol) for op, symbol in {
        "add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**", "floor_divide": "//", "remainder": "%", "eq": "==",
        "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "logical_and": "and", "logical_or": "or",
    }.items()},
    **{op: _function(name) for op, name in {
        "maximum": "max", "minimum": "min", "abs": "abs", "exp": "math.exp", "log": "math.log", "log1p": "math.log1p",
        "expm1": "math.expm1", "sqrt": "math.sqrt", "sin": "math.sin", "cos": "math.cos", "tanh": "math.tanh",
        "floor": "math.floor", "ceil": "math.ceil", "round": "round", "erf": "math.erf",
    }.items()},
    "neg": lambda body, node, xs: unary("-", xs[0]),
    "logical_not": lambda body, node, xs: Expression(f"not {xs[0].within(Precedence.NOT)}", Precedence.NOT),
    "where": _where, "cast": _cast, "clip": _clip, "full": _full, "sigmoid": _sigmoid, "reshape": _same, "expand": _same,
    "stop_gradient": _same,
}  # fmt: skip
