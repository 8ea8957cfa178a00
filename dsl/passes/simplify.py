"""Algebraic simplification by rules. Each rule says in `.dl` what it matches and what it leaves; the tests run both sides.

No rule changes a result that is defined, NaN and infinities included: `x * 0` stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dsl.ir import Graph, Node, Value
from dsl.ops.card import Attributes

Change = "Value | tuple[str, tuple[Value, ...], Attributes] | None"


@dataclass(frozen=True, slots=True)
class Rule:
    """`before` and `after` are the two sides in `.dl`. `apply` gets a node with the operation `op` and answers with the value that
    replaces it, with the operation, operands and attributes that it becomes, or with None where the rule does not fit."""

    name: str
    op: str
    before: str
    after: str
    apply: Callable[[Graph, Node], Value | tuple[str, tuple[Value, ...], Attributes] | None]


def simplify(graph: Graph) -> tuple[Graph, bool]:
    result: Graph | None = None
    for listed in graph:
        if listed.op not in _BY_OP:
            continue
        current = result or graph
        node = current.node(listed.id)
        for rule in _BY_OP[node.op]:
            change = rule.apply(current, node)
            if change is None:
                continue
            result = result or graph.copy()
            _rewrite(result, node, change)
            break
    return (graph, False) if result is None else (result, True)


def _rewrite(graph: Graph, node: Node, change: Value | tuple[str, tuple[Value, ...], Attributes]) -> None:
    if isinstance(change, Value):
        graph.redirect(Value(node.id), change)
        if node.name is not None:
            graph.set_name(change, node.name)
        if not graph.users(node):
            graph.remove([node])
    else:
        op, inputs, attributes = change
        graph.replace_node(replace(node, op=op, inputs=inputs, attributes=attributes))


def _is_number(graph: Graph, value: Value, number: float) -> bool:
    node = graph.node(value)
    if node.op == "const":
        array = node.attributes["value"]
        return isinstance(array, np.ndarray) and array.ndim == 0 and array.dtype.kind in "fiu" and array.item() == number
    return False


def _same_type(graph: Graph, node: Node, value: Value) -> Value | None:
    """`value` where it has the type of the node: broadcasting or promotion may have made another of it."""
    return value if graph.type(value) == node.type else None


def _neutral(right: float, *, commutes: bool) -> Callable[[Graph, Node], Value | None]:
    def apply(graph: Graph, node: Node) -> Value | None:
        a, b = node.inputs
        if _is_number(graph, b, right):
            return _same_type(graph, node, a)
        if commutes and _is_number(graph, a, right):
            return _same_type(graph, node, b)
        return None

    return apply


def _twice(graph: Graph, node: Node) -> Value | None:
    """`f(f(x))` where f undoes itself."""
    inner = graph.node(node.inputs[0])
    return inner.inputs[0] if inner.op == node.op and inner.target is None else None


def _again(graph: Graph, node: Node) -> Value | None:
    """`f(f(x))` where the second f changes nothing."""
    return node.inputs[0] if graph.node(node.inputs[0]).op == node.op else None


def _no_change(graph: Graph, node: Node) -> Value | None:
    return _same_type(graph, node, node.inputs[0])


def _keeps_all(graph: Graph, node: Node) -> Value | None:
    return _no_change(graph, node) if node.attributes["rate"] == 0 else None


def _one_over_sqrt(graph: Graph, node: Node) -> tuple[str, tuple[Value, ...], Attributes] | None:
    numerator, denominator = node.inputs
    root = graph.node(denominator)
    if _is_number(graph, numerator, 1.0) and root.op == "sqrt" and root.type == node.type:
        return "rsqrt", root.inputs, {}
    return None


def _minus_minus(graph: Graph, node: Node) -> tuple[str, tuple[Value, ...], Attributes] | None:
    a, b = node.inputs
    negated = graph.node(b)
    return ("sub", (a, negated.inputs[0]), {}) if negated.op == "neg" else None


def _minus_negated(graph: Graph, node: Node) -> tuple[str, tuple[Value, ...], Attributes] | None:
    a, b = node.inputs
    negated = graph.node(b)
    return ("add", (a, negated.inputs[0]), {}) if negated.op == "neg" else None


RULES = (
    Rule("add_zero", "add", "x + 0", "x", _neutral(0.0, commutes=True)),
    Rule("subtract_zero", "sub", "x - 0", "x", _neutral(0.0, commutes=False)),
    Rule("multiply_by_one", "mul", "x * 1", "x", _neutral(1.0, commutes=True)),
    Rule("divide_by_one", "div", "x / 1", "x", _neutral(1.0, commutes=False)),
    Rule("first_power", "pow", "x ** 1", "x", _neutral(1.0, commutes=False)),
    Rule("double_negation", "neg", "-(-x)", "x", _twice),
    Rule("double_not", "logical_not", "cast(not (not (x > 0)), float)", "cast(x > 0, float)", _twice),
    Rule("relu_of_relu", "relu", "relu(relu(x))", "relu(x)", _again),
    Rule("abs_of_abs", "abs", "abs(abs(x))", "abs(x)", _again),
    Rule("stop_gradient_twice", "stop_gradient", "stop_gradient(stop_gradient(x))", "stop_gradient(x)", _again),
    Rule("cast_to_own_type", "cast", "cast(x, float)", "x", _no_change),
    Rule("expand_to_own_shape", "expand", "expand(x, x.shape)", "x", _no_change),
    Rule("dropout_of_nothing", "dropout", "dropout(x, 0.0)", "x", _keeps_all),
    Rule("reciprocal_root", "div", "1 / sqrt(abs(x) + 1)", "rsqrt(abs(x) + 1)", _one_over_sqrt),
    Rule("add_negated", "add", "x + (-x)", "x - x", _minus_minus),
    Rule("subtract_negated", "sub", "x - (-x)", "x + x", _minus_negated),
)

_BY_OP: dict[str, list[Rule]] = {}
for _rule in RULES:
    _BY_OP.setdefault(_rule.op, []).append(_rule)
