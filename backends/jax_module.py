"""A graph as a function of a JAX program: `block(params, x, training, key)`.

Parameters and state come in as nested trees (see jax_init.py); a graph with buffers also returns its new state. Random draws take keys
split from the one given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from backends.jax_blocks import Blocks
from backends.jax_calls import File
from backends.python import Body
from backends.writer import Expression, Line, Namespace, call, fits, quoted
from dsl.ir import Graph, Node, Value


class ModuleFunction(Blocks):
    """The dialect of one function."""


class ModuleBody(Body):
    """A body whose layers with state give their new state beside their results."""

    dialect: ModuleFunction

    def _visit(self, node: Node) -> None:
        target = node.target
        if "given" in node.attributes:
            self._replace(node)
        if (
            target is None
            or target.graph.kind == "block"
            or target.count is not None
            or not self.dialect.facts(target.graph).state
        ):
            super()._visit(node)
            return
        expression = self._composed(node)
        state = self.dialect.state_of(node)
        self._consume(expression)
        found = []
        for i in range(len(node.types)):
            value = Value(node.id, i)
            if self._pending.get(value, 0) == 0:
                found.append("_")
                continue
            found.append(self._variable(self.hint(value), value))
            self.expressions[value] = Expression(found[-1], reads=((value.node, value.index),))
        self.lines.append(Line(self.indent, f"{', '.join([*found, state])} = ", expression))

    def _replace(self, node: Node) -> None:
        """The parameters of a layer with other tensors among them, as a variable; the operands of the node that are these are gone."""
        assert node.target is not None and node.target.child is not None
        names = cast("tuple[str, ...]", node.attributes["given"])
        if not self.dialect.facts(node.target.graph).params:
            return
        values: list[str] = []
        for value in node.inputs[-len(names) :]:
            self._settle(value)
            values.append(f"{quoted(names[len(values)])}: {self.expressions[value]}")
        variable, place = self.let_name(f"{node.target.child}_params"), f"params[{quoted(node.target.child)}]"
        function = self.dialect.copied("replaced")
        line = Line(self.indent, f"{variable} = ", call(function, place, f"{{{', '.join(values)}}}"))
        if fits(line):
            self.lines.append(line)
        else:
            opening = [
                Line(self.indent, f"{variable} = {function}("),
                Line(self.indent + 1, f"{place},"),
                Line(self.indent + 1, "{"),
            ]
            self.lines += [*opening, *(Line(self.indent + 2, f"{value},") for value in values)]
            self.lines += [Line(self.indent + 1, "},"), Line(self.indent, ")")]
        self.dialect.replaced[node.id] = variable

    def _settle(self, value: Value) -> None:
        found = self.expressions[value]
        if not found.simple and found.size:
            self.expressions[value] = self.assign(value, found)


def write_function(
    file: File,
    graph: Graph,
    *,
    root: bool = False,
    first: Callable[[Body, ModuleFunction], None] | None = None,
) -> tuple[tuple[str, ...], list[Line], Namespace]:
    """The arguments as they stand in the signature, the statements, and the names in use."""
    function = ModuleFunction(file, graph)
    facts = function.own
    function.define_callees(graph)
    names = Namespace(("params", "state", "training", "key", "keys"), outer=file.names)
    arguments = {name: names.new(name) for name in graph.inputs}
    positional = [name for name, used in (("params", facts.params or root), ("state", facts.state)) if used]
    modes = (
        ["*", "training=False", "key=None"]
        if root
        else [n for n, used in (("training", facts.training), ("key", facts.key)) if used]
    )
    signature = (*positional, *arguments.values(), *modes)
    body = ModuleBody(graph, function, names, arguments)
    if first is not None:
        first(body, function)
    if facts.state:
        body.statement("state = dict(state)")
    if function.draws > 1:
        split = "random.split" if facts.always else function.copied("split_key")
        body.statement("keys = ", call(split, "key", str(function.draws)))
    body.write(lambda b: _finish(b, facts.state, root))
    return signature, body.lines, names


def _finish(body: Body, state: bool, root: bool) -> None:
    results = [body.results[name] for name in body.graph.outputs]
    texts = [r.text for r in results]
    if root and state and len(texts) > 1:
        texts = [f"({', '.join(texts)})"]
    if state:
        texts.append("state")
    expression = results[0] if len(texts) == 1 else Expression(", ".join(texts), arguments=tuple(texts))
    line = Line(body.indent, "return ", expression)
    if not fits(line) and len(results) == 1 and not state:
        ((_, value),) = body.graph.outputs.items()
        expression = body.assign(value, expression)
        line = Line(body.indent, "return ", expression)
    body.lines.append(line)
