"""A graph in `.dl`, for people who want to see what a pass did (`--print-after`).

One statement a node, one module a graph. It reads as the language does; what only the compiler makes (`if_training(a, b)`, a module that
was specialised) is written as it would be if the language had it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dsl.dims import format_dim, is_dim
from dsl.ir import Graph, Initializer, Node, Parameter, Program, Value
from dsl.ops.card import AttributeValue
from dsl.ops.registry import CARDS
from dsl.types import DType

OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "floor_divide": "//", "remainder": "%", "pow": "**", "matmul": "@",
             "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}  # fmt: skip


def print_program(program: Program) -> str:
    """Every graph of the program, callees first."""
    graphs = list({id(g): g for root in program.entries.values() for g in root.callees()}.values())
    names = _unique_names(graphs)
    return "\n\n".join(_GraphPrinter(graph, names).text() for graph in graphs) + "\n"


def _unique_names(graphs: Iterable[Graph]) -> dict[int, str]:
    taken: set[str] = set()
    names: dict[int, str] = {}
    for graph in graphs:
        base = graph.definition if graph.entry == "forward" else f"{graph.definition}_{graph.entry}"
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        names[id(graph)] = name
    return names


class _GraphPrinter:
    def __init__(self, graph: Graph, names: dict[int, str]) -> None:
        self.graph = graph
        self.names = names
        self.values: dict[Value, str] = {}
        self.taken: set[str] = {*graph.parameters, *graph.children}

    def text(self) -> str:
        graph = self.graph
        inputs = ", ".join(f"{name}: {graph.type(v)}" for name, v in graph.inputs.items())
        outputs = ", ".join(f"{name}: {graph.type(v)}" for name, v in graph.outputs.items())
        keyword = graph.kind if graph.kind in ("model", "fn") else "module"
        head = f"{keyword} {self.names[id(graph)]}{'' if keyword == 'fn' else '()'}({inputs}) -> ({outputs}) {{"
        lines = [f"require {format_dim(c.left)} {c.relation} {format_dim(c.right)}" for c in graph.constraints]
        lines += [_declaration(p) for p in graph.parameters.values()]
        lines += self._layers()
        for node in graph:
            statement = self._statement(node)
            if statement:
                lines.append(statement)
        lines += [f"update {name} = {self.values[v]}" for name, v in graph.updates.items()]
        lines.append(f"return {', '.join(self.values[v] for v in graph.outputs.values())}")
        return "\n".join([head, *(f"  {line}" for line in lines), "}"])

    def _layers(self) -> list[str]:
        layers: dict[str, str] = {}
        for node in self.graph.calls():
            call = node.target
            assert call is not None
            if call.child is not None:
                made = self.names[id(call.graph)]
                layers.setdefault(call.child, made if call.count is None else f"repeat({call.count}) {{ {made} }}")
        return [f"layer {name} = {made if made.startswith('repeat') else made + '()'}" for name, made in layers.items()]

    def _statement(self, node: Node) -> str:
        if node.op == "input":
            self.values[Value(node.id)] = self._name(str(node.attributes["name"]))
            return ""
        if node.op in ("param", "buffer"):
            self.values[Value(node.id)] = str(node.attributes["path"])
            return ""
        expression = self._expression(node)
        if node.op == "const" and node.type.rank == 0:
            self.values[Value(node.id)] = expression
            return ""
        names = [self._name(node.name or f"v{node.id}") for _ in node.types]
        for i, name in enumerate(names):
            self.values[Value(node.id, i)] = name
        shapes = ", ".join(str(t) for t in node.types)
        return f"{', '.join(names)} = {expression}  # {shapes}"

    def _name(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self.taken:
            name = f"{wanted}_{number}"
            number += 1
        self.taken.add(name)
        return name

    def _expression(self, node: Node) -> str:
        operands = [self.values[v] for v in node.inputs]
        if node.target is not None:
            callee = node.target.child if node.target.child is not None else self.names[id(node.target.graph)]
            return f"{callee}({', '.join(operands)})"
        if node.op in OPERATORS:
            return f"{operands[0]} {OPERATORS[node.op]} {operands[1]}"
        if node.op == "const":
            return _shown(node.attributes["value"])
        defaults = {a.name: a.default for a in CARDS[node.op].attributes}
        attributes = [f"{k}={_shown(v)}" for k, v in node.attributes.items() if not _same(v, defaults.get(k))]
        return f"{node.op}({', '.join([*operands, *attributes])})"


def _declaration(parameter: Parameter) -> str:
    return f"{'param' if parameter.trained else 'buffer'} {parameter.name}: {parameter.type} = {_initializer(parameter.initial)}"


def _initializer(initial: Initializer) -> str:
    return f"{initial.kind}({', '.join(f'{k}={v:g}' for k, v in initial.arguments.items())})"


def _same(value: object, default: object) -> bool:
    return type(value) is type(default) and not isinstance(value, np.ndarray) and value == default


def _shown(value: AttributeValue) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(map(_shown, value))}]"
        case DType():
            return str(value)
        case np.ndarray():
            return _array(value)
        case float():
            return repr(value)
        case _ if is_dim(value):
            return format_dim(value)
        case _:
            return str(value)


def _array(value: np.ndarray) -> str:
    if value.ndim == 0 and value.dtype.kind == "f":
        return repr(float(str(value[()])))
    if value.size <= 16:
        return str(value.tolist()).replace("True", "true").replace("False", "false")
    return f"constant_of_shape({list(value.shape)})"
