"""Inline calls: one flat graph, with parameters by their full names and repeats unrolled.

Before:  y = block(x)  with  block(x) = relu(x @ block.weight)      After:  y = relu(x @ block.weight)

The blocks of `scan`, `while` and `grad` stay, each flat in itself. What a block would read by a path that means something else there (a
buffer that was updated, a parameter in whose place another value is given) is captured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from dsl.dims import Dim, Expr, substitute, symbol, symbols_of
from dsl.ir import Call, Graph, Node, Program, Value
from dsl.ops.card import Attributes, AttributeValue
from dsl.source import Span
from dsl.types import TensorType

Wanted = Callable[[Call], bool]


def everything(call: Call) -> bool:
    """All but the functions that bring their gradient along: inlined, they would have another."""
    return call.graph.backward is None


def inline(program: Program, wanted: Wanted = everything) -> Program:
    """The program with the calls that are `wanted` replaced by what they do."""
    return Program(program.name, {name: inline_graph(graph, wanted) for name, graph in program.entries.items()})


def inline_graph(graph: Graph, wanted: Wanted = everything) -> Graph:
    """One entry point, flat. A wanted call inside one that stays is not looked at."""
    flat = Graph(graph.definition, graph.entry, graph.kind, graph.span)
    flat.doc, flat.library, flat.hyper = graph.doc, graph.library, dict(graph.hyper)
    flat.constraints, flat.dim_names, flat.axis_names = list(graph.constraints), dict(graph.dim_names), dict(graph.axis_names)
    inliner = _Inliner(flat, wanted, flat)
    values = inliner.copy_nodes(graph, {}, {}, "", ())
    flat.inputs = {name: values[v] for name, v in graph.inputs.items()}
    flat.outputs = {name: values[v] for name, v in graph.outputs.items()}
    return flat


class _Inliner:
    """Fills one graph: the flat one, or a block in it, whose layers and parameters belong to `owner`. `read` are the parameters that have
    been read, `changed` what paths mean instead of what they name, `captured` what a block reads of the graph around it."""

    def __init__(self, flat: Graph, wanted: Wanted, owner: Graph, around: _Inliner | None = None) -> None:
        self.flat = flat
        self.wanted = wanted
        self.owner = owner
        self.around = around
        self.read: dict[str, Value] = {}
        self.changed: dict[str, Value] = {}
        self.captured: dict[Value, Value] = {}

    def copy_nodes(
        self, graph: Graph, given: Mapping[Value, Value], sizes: Mapping[str, Dim], prefix: str, spans: tuple[Span, ...]
    ) -> dict[Value, Value]:
        """Add the nodes of `graph` to the flat one; `given` are its inputs there, `sizes` what its dimensions are there."""
        values = dict(given)
        for name, parameter in graph.parameters.items():
            self.owner.parameters.setdefault(prefix + name, replace(parameter, name=prefix + name))
        for node in graph:
            if node.op == "input" and Value(node.id) in values:
                continue
            for i, result in enumerate(self._copied(node, values, sizes, prefix, spans)):
                values[Value(node.id, i)] = result
        for name, value in graph.updates.items():
            self.flat.updates[prefix + name] = values[value]
            self.changed[prefix + name] = values[value]
        return values

    def _copied(
        self, node: Node, values: Mapping[Value, Value], sizes: Mapping[str, Dim], prefix: str, spans: tuple[Span, ...]
    ) -> list[Value]:
        operands = tuple(values[v] for v in node.inputs)
        target = node.target
        if target is not None and target.graph.kind == "block":
            target, operands = self._block(target, operands, sizes, prefix, spans)
            if node.op == "grad":  # what is differentiated changes no buffer: that is for the application itself
                target.graph.updates.clear()
        elif target is not None and (self.wanted(target) or self._is_changed(prefix, target)):
            return self._called(node, target, operands, sizes, prefix, spans)
        elif target is not None:
            child = prefix + target.child if target.child is not None else None
            target = replace(target, child=child, bindings={k: substitute(d, sizes) for k, d in target.bindings.items()})
            if child is not None:
                self.owner.children.setdefault(child, None)
        elif node.op in ("param", "buffer"):
            return [self._stored(node, prefix + str(node.attributes["path"]), spans)]
        types = tuple(outer(t, sizes) for t in node.types)
        made = self.flat.add(
            node.op, operands, renamed(node.attributes, sizes), types, name=node.name, spans=node.spans + spans, target=target
        )
        if node.names:
            self.flat.replace_node(replace(made, names=node.names))
        return [Value(made.id, i) for i in range(len(types))]

    def _stored(self, node: Node, path: str, spans: tuple[Span, ...]) -> Value:
        """The value of a parameter or buffer here."""
        meant = self._meant(path)
        if meant is None and path in self.read:
            meant = self.read[path]
        if meant is None:
            meant = Value(self.flat.add(node.op, (), {"path": path}, node.types, spans=node.spans + spans).id)
            if node.op == "param":
                self.read[path] = meant
        return meant

    def _meant(self, path: str) -> Value | None:
        """What a path means instead of what it names, in this graph or around it."""
        if path in self.changed:
            return self.changed[path]
        outside = self.around._meant(path) if self.around is not None else None
        if outside is None or self.around is None:
            return None
        if outside not in self.captured:
            name = path.replace(".", "_")
            while name in self.flat.inputs:
                name += "_"
            made = self.flat.add("input", (), {"name": name}, (self.around.flat.type(outside),))
            self.captured[outside] = self.flat.inputs[name] = Value(made.id)
        return self.captured[outside]

    def _is_changed(self, prefix: str, call: Call) -> bool:
        """Whether something below a layer means something else than it names."""
        if call.child is None:
            return False
        below = f"{prefix}{call.child}."
        inliner: _Inliner | None = self
        while inliner is not None:
            if any(path.startswith(below) for path in inliner.changed):
                return True
            inliner = inliner.around
        return False

    def _block(
        self, call: Call, operands: tuple[Value, ...], sizes: Mapping[str, Dim], prefix: str, spans: tuple[Span, ...]
    ) -> tuple[Call, tuple[Value, ...]]:
        """The block in terms of the flat graph, and its operands with those that it captures now."""
        graph = call.graph
        flat = Graph(graph.definition, graph.entry, "block", graph.span)
        inside = _Inliner(flat, self.wanted, self.owner, self)
        given: dict[Value, Value] = {}
        for name, value in graph.inputs.items():
            made = flat.add(
                "input", (), {"name": name}, (outer(graph.type(value), sizes),), spans=graph.node(value).spans + spans
            )
            given[value] = flat.inputs[name] = Value(made.id)
        values = inside.copy_nodes(graph, given, sizes, prefix, spans)
        flat.outputs = {name: values[v] for name, v in graph.outputs.items()}
        bound = {name: substitute(d, sizes) for name, d in call.bindings.items()}
        names = sorted({name for d in bound.values() for name in symbols_of(d)})
        return Call(flat, None, {name: symbol(name) for name in names}), (*operands, *inside.captured)

    def _called(
        self, node: Node, call: Call, operands: tuple[Value, ...], sizes: Mapping[str, Dim], prefix: str, spans: tuple[Span, ...]
    ) -> list[Value]:
        inner_sizes = {name: substitute(d, sizes) for name, d in call.bindings.items()}
        own = prefix if call.child is None else f"{prefix}{call.child}."
        where = spans + node.spans if len(spans) < 8 else spans
        copies = [own] if call.count is None else [f"{own}{i}." for i in range(call.start, call.start + call.count)]
        operands, others = operands[: len(call.graph.inputs)], operands[len(call.graph.inputs) :]
        before = self._give(own, node, others)
        results = [operands[0]] if operands else []
        for copy in copies:
            given = dict(zip(call.graph.inputs.values(), operands, strict=True))
            inside = self.copy_nodes(call.graph, given, inner_sizes, copy, where)
            results = [inside[v] for v in call.graph.outputs.values()]
            operands = (results[0], *operands[1:])
        for path, old in before.items():
            self.changed.pop(path)
            self.changed |= {} if old is None else {path: old}
        if node.name is not None:
            for result in results[:1]:
                self.flat.set_name(result, node.name)
        return results

    def _give(self, own: str, node: Node, others: tuple[Value, ...]) -> dict[str, Value | None]:
        """Let the parameters that a call replaces mean its last operands; what they meant before."""
        names = node.attributes.get("given", ())
        assert isinstance(names, tuple)
        paths = [f"{own}{name}" for name in names]
        before = {path: self.changed.get(path) for path in paths}
        self.changed |= dict(zip(paths, others, strict=True))
        return before


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
