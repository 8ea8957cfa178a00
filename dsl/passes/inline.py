"""Inline calls: one flat graph, with parameters by their full names and repeats unrolled.

Before:  y = block(x)  with  block(x) = relu(x @ block.weight)      After:  y = relu(x @ block.weight)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from dsl.dims import Dim, Expr, substitute
from dsl.ir import Call, Graph, Node, Program, Value
from dsl.ops.card import Attributes, AttributeValue
from dsl.source import Span
from dsl.types import TensorType

Wanted = Callable[[Call], bool]


def everything(call: Call) -> bool:
    return True


def inline(program: Program, wanted: Wanted = everything) -> Program:
    """The program with the calls that are `wanted` replaced by what they do."""
    return Program(program.name, {name: inline_graph(graph, wanted) for name, graph in program.entries.items()})


def inline_graph(graph: Graph, wanted: Wanted = everything) -> Graph:
    """One entry point, flat. A wanted call inside one that stays is not looked at."""
    flat = Graph(graph.definition, graph.entry, graph.kind, graph.span)
    flat.doc, flat.library, flat.hyper = graph.doc, graph.library, dict(graph.hyper)
    flat.constraints, flat.dim_names, flat.axis_names = list(graph.constraints), dict(graph.dim_names), dict(graph.axis_names)
    inliner = _Inliner(flat, wanted)
    values = inliner.copy_nodes(graph, {}, {}, "", ())
    flat.inputs = {name: values[v] for name, v in graph.inputs.items()}
    flat.outputs = {name: values[v] for name, v in graph.outputs.items()}
    return flat


class _Inliner:
    def __init__(self, flat: Graph, wanted: Wanted) -> None:
        self.flat = flat
        self.wanted = wanted
        self.read: dict[str, Value] = {}

    def copy_nodes(
        self, graph: Graph, given: Mapping[Value, Value], sizes: Mapping[str, Dim], prefix: str, spans: tuple[Span, ...]
    ) -> dict[Value, Value]:
        """Add the nodes of `graph` to the flat one; `given` are its inputs there, `sizes` what its dimensions are there."""
        values = dict(given)
        for name, parameter in graph.parameters.items():
            self.flat.parameters.setdefault(prefix + name, replace(parameter, name=prefix + name))
        for node in graph:
            if node.op == "input" and Value(node.id) in values:
                continue
            for i, result in enumerate(self._copied(node, values, sizes, prefix, spans)):
                values[Value(node.id, i)] = result
        for name, value in graph.updates.items():
            self.flat.updates[prefix + name] = values[value]
            self.read[prefix + name] = values[value]
        return values

    def _copied(
        self, node: Node, values: Mapping[Value, Value], sizes: Mapping[str, Dim], prefix: str, spans: tuple[Span, ...]
    ) -> list[Value]:
        operands = tuple(values[v] for v in node.inputs)
        if node.target is not None and self.wanted(node.target):
            return self._called(node, node.target, operands, sizes, prefix, spans)
        if node.op in ("param", "buffer"):
            path = prefix + str(node.attributes["path"])
            if path in self.read:
                return [self.read[path]]
            made = self.flat.add(node.op, (), {"path": path}, node.types, spans=node.spans + spans)
            if node.op == "param":
                self.read[path] = Value(made.id)
            return [Value(made.id)]
        target = node.target
        if target is not None:
            child = prefix + target.child if target.child is not None else None
            target = replace(target, child=child, bindings={k: substitute(d, sizes) for k, d in target.bindings.items()})
            if child is not None:
                self.flat.children.setdefault(child, None)
        types = tuple(outer(t, sizes) for t in node.types)
        made = self.flat.add(
            node.op, operands, renamed(node.attributes, sizes), types, name=node.name, spans=node.spans + spans, target=target
        )
        return [Value(made.id, i) for i in range(len(types))]

    def _called(
        self, node: Node, call: Call, operands: tuple[Value, ...], sizes: Mapping[str, Dim], prefix: str, spans: tuple[Span, ...]
    ) -> list[Value]:
        inner_sizes = {name: substitute(d, sizes) for name, d in call.bindings.items()}
        own = prefix if call.child is None else f"{prefix}{call.child}."
        where = spans + node.spans if len(spans) < 8 else spans
        copies = [own] if call.count is None else [f"{own}{i}." for i in range(call.start, call.start + call.count)]
        results = [operands[0]] if operands else []
        for copy in copies:
            given = dict(zip(call.graph.inputs.values(), operands, strict=True))
            inside = self.copy_nodes(call.graph, given, inner_sizes, copy, where)
            results = [inside[v] for v in call.graph.outputs.values()]
            operands = (results[0], *operands[1:])
        if node.name is not None:
            for result in results[:1]:
                self.flat.set_name(result, node.name)
        return results


def outer(type_: TensorType, sizes: Mapping[str, Dim]) -> TensorType:
    return type_.with_shape(tuple(substitute(d, sizes) for d in type_.shape)) if sizes else type_


def renamed(attributes: Attributes, sizes: Mapping[str, Dim]) -> Attributes:
    """Attributes with the sizes of an inner graph written in those of the outer one."""
    return {name: _renamed(value, sizes) for name, value in attributes.items()} if sizes else attributes


def _renamed(value: AttributeValue, sizes: Mapping[str, Dim]) -> AttributeValue:
    if isinstance(value, Expr):
        return substitute(value, sizes)
    if isinstance(value, tuple):
        return tuple(_renamed(v, sizes) for v in value)
    return value
