"""Blocks in JAX: `scan` is `lax.scan`, `while` is `lax.while_loop`, `grad` is `jax.grad`, each of a function inside the function.

Such a function reads parameters, state, sizes and what the block captures from the function around it. Layers inside cannot change
their state (the elaborator refuses that), so what they return of it is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias, cast

from backends.jax_calls import Inside
from backends.jax_repeats import Repeats
from backends.jax_spelling import array
from backends.jax_tuples import grouped, packed, return_values, unpack, unpack_groups
from backends.python import Body
from backends.writer import Expression, Line, Namespace, call, fits, method, sequence
from dsl.ir import Graph, Node, Value
from dsl.ops.sizes import dim, int_tuple

OWNED = ("params", "state", "training", "key", "keys")

LONGEST = 40
"""Characters of an operand that is written in the call of a loop."""
SHORTEST = 20
"""Characters of what a loop begins with, beyond which it is a variable."""
MOST_PLACES = 8
"""Numbers of arguments that are listed."""


Form: TypeAlias = "Callable[[list[Expression]], list[list[Expression]]]"


class Blocks(Repeats):
    """Writes the nodes that have a block."""

    def scan(self, body: Body, node: Node, operands: list[Expression]) -> None:
        block, carries = block_of(node), integer(node, "carries")
        axes, counted = int_tuple(node.attributes, "axes"), int(node.attributes["counter"] is True)
        own = carries + len(axes)
        captured = self._captured(body, node, own, own + counted)
        names, variables = self._scope(body, list(block.inputs)[: own + counted], captured)
        inputs, keys = list(variables), ["key"] if self._draws(node) else []
        inner = self._inside(body, node, names, variables, captured, Inside(self.within.owner, "key", "keys"))
        carry = self._received(inner, names, "carry", inputs[counted : counted + carries], [])
        taken = self._received(inner, names, "xs", inputs[:counted] + inputs[counted + carries :], keys)
        step = body.let_name("step")
        self._define(body, inner, step, [carry, taken], lambda xs: [xs[:carries], xs[carries:]])
        count = dim(node.attributes["count"], "count")
        over = [call("jnp.arange", body.dim(count))] if counted else []
        over += [_in_front(x, axis) for x, axis in zip(self._arrays(body, node, carries, own), axes, strict=True)]
        length = None if over else body.dim(count)
        over += [Expression(self._if_key(node, f"random.split({self.key(node)}, {body.dim(count)})"))] if keys else []
        first = packed(body, "carry", self._initial(body, node, 0, inputs[counted : counted + carries]))
        reverse = "True" if node.attributes["reverse"] else None
        if self.file.mixed and carries:
            step = call(self.copied("same_types"), step).text
        scanned = call("lax.scan", step, first, packed(body, "xs", over), length=length, reverse=reverse)
        self._consume(body, node)
        found = self._results(body, node)
        unpack_groups(body, {"carry": found[:carries], "stacks": found[carries:]}, scanned)
        for variable, axis in zip(found[carries:], int_tuple(node.attributes, "emit_axes"), strict=True):
            if variable != "_" and axis:
                body.statement(f"{variable} = ", _from_front(Expression(variable), axis))

    def while_loop(self, body: Body, node: Node, operands: list[Expression]) -> None:
        block, carries = block_of(node), integer(node, "carries")
        captured = self._captured(body, node, 1 + carries, carries)
        names, variables = self._scope(body, list(block.inputs)[:carries], captured)
        count, carry = names.new("count"), names.new("carry")
        key, keys = (names.new("step_key"), names.new("step_keys")) if self._draws(node) else ("", "")
        inner = self._inside(body, node, names, variables, captured, Inside(self.within.owner, key, keys))
        unpack(inner, ["_", count, *_read(inner, list(variables))], Expression(carry))
        if key:
            inner.statement(f"{key} = ", Expression(self._if_key(node, f"random.fold_in({self.key(node)}, {count})")))
        step = body.let_name("step")
        self._define(body, inner, step, [carry], lambda xs: [[xs[0]], [Expression(f"{count} + 1")], *([x] for x in xs[1:])])
        limit = body.dim(dim(node.attributes["limit"], "limit"))
        going = f"lambda {carry}: {carry}[0] & ({carry}[1] < {limit})"
        (start,), first = self._arrays(body, node, 0, 1), self._initial(body, node, 1, list(variables))
        if self.file.mixed:
            step = f"lambda {carry}: {self.copied('as_before')}({carry}, {step}({carry}))"
        looped = call("lax.while_loop", going, step, packed(body, "carry", [start, Expression("0"), *first]))
        self._consume(body, node)
        unpack(body, ["_", "_", *self._results(body, node)], looped)

    def gradient(self, body: Body, node: Node, operands: list[Expression]) -> Expression:
        block, wrt = block_of(node), integer(node, "wrt")
        captured = self._captured(body, node, wrt, wrt)
        for value in node.inputs[:wrt]:
            self._simple(body, value)
        names, variables = self._scope(body, list(block.inputs)[:wrt], captured)
        key, keys = (self.key(node).text, names.new("keys")) if self._draws(node) else ("", "")
        inner = self._inside(body, node, names, variables, captured, Inside(self.within.owner, key, keys))
        function = body.let_name(f"{next(iter(block.outputs))}_of")
        self._define(body, inner, function, list(variables.values()), lambda xs: [xs])
        places = sequence(map(str, range(wrt))) if wrt <= MOST_PLACES else call("tuple", call("range", str(wrt)))
        gradient = call("jax.grad", function, argnums=places if wrt > 1 else None)
        given = self._arrays(body, node, 0, wrt)
        found = call(gradient.text, *given)
        if not fits(Line(body.indent, ", ".join(body.hint(Value(node.id, i)) for i in range(wrt)), found, " = ")):
            found = call(body.let("gradient", gradient).text, *given)
        return replace(found, reads=tuple(read for v in node.inputs for read in body.expressions[v].reads))

    # --- the function ---

    def _inside(
        self,
        body: Body,
        node: Node,
        names: Namespace,
        variables: Mapping[str, str],
        captured: Mapping[str, Expression],
        inside: Inside,
    ) -> Body:
        """The body of the function."""
        dialect = type(self)(self.file, block_of(node), inside)
        return type(body)(block_of(node), dialect, names, variables, indent=body.indent + 1, around=body, captured=captured)

    def _captured(self, body: Body, node: Node, first: int, place: int) -> dict[str, Expression]:
        """The inputs of the block that it captures, as expressions that may be repeated: the operands from `first` on."""
        names = list(block_of(node).inputs)[place:]
        return {name: self._simple(body, v) for name, v in zip(names, node.inputs[first:], strict=True)}

    def _simple(self, body: Body, value: Value) -> Expression:
        """The value as something that may be repeated."""
        found = body.expressions[value]
        if not found.simple and found.size:
            body.expressions[value] = found = body.assign(value, found)
        return found

    def _scope(self, body: Body, inputs: Sequence[str], captured: Mapping[str, Expression]) -> tuple[Namespace, dict[str, str]]:
        """A scope for the function, with variables for the inputs; what the block does not read it may call by the same names."""
        read = {word for x in captured.values() for word in re.findall(r"\w+", x.text)} | body.size_names()
        names = Namespace({*read, *OWNED, self.within.key, self.within.keys}, outer=self.file.names)
        return names, {name: names.new(name) for name in inputs}

    def _received(self, inner: Body, names: Namespace, wanted: str, inputs: Sequence[str], more: list[str]) -> str:
        """The argument that brings these inputs; where they are several, a statement takes it apart."""
        if len(inputs) + len(more) == 1:
            return inner.argument(inputs[0]) if inputs else more[0]
        if not inputs and not more:
            return names.new(wanted) if wanted == "carry" else "_"
        argument = names.new(wanted)
        unpack(inner, [*_read(inner, inputs), *more], Expression(argument))
        return argument

    def _define(self, body: Body, inner: Body, name: str, arguments: list[str], form: Form) -> None:
        """Write the function, which returns its results in that form; what it receives is in `inner` already."""
        dialect = cast(Blocks, inner.dialect)
        if dialect.draws > 1:
            split = "random.split" if dialect.own.always else self.copied("split_key")
            inner.statement(f"{dialect.within.keys} = ", call(split, dialect.within.key, str(dialect.draws)))
        inner.write(lambda b: _return(b, form))
        body.lines += [Line(body.indent, "def ", call(name, *arguments), ":"), *inner.lines]

    # --- operands and results ---

    def _arrays(self, body: Body, node: Node, start: int, stop: int) -> list[Expression]:
        """Operands as arrays, long ones as variables."""
        found = []
        for value in node.inputs[start:stop]:
            if len(body.expressions[value].text) > LONGEST:
                self._simple(body, value)
            found.append(array(body, body.expressions[value], body.graph.type(value)))
        return found

    def _initial(self, body: Body, node: Node, start: int, names: Sequence[str]) -> list[Expression]:
        """What a loop carries into its first step, under the names that it has in the loop."""
        values = node.inputs[start : start + len(names)]
        for value, name in zip(values, names, strict=True):
            found = body.expressions[value]
            if len(found.text) > SHORTEST and found.size and not found.simple:
                body.expressions[value] = body.assign(value, found, name if values.count(value) == 1 else None)
        return self._arrays(body, node, start, start + len(names))

    def _if_key(self, node: Node, made: str) -> str:
        """What is made of the key, if there may be none then only if there is."""
        return made if self.facts(block_of(node)).always else f"None if {self.key(node)} is None else {made}"

    def _consume(self, body: Body, node: Node) -> None:
        for value in node.inputs:
            body.consume(body.expressions[value])

    def _results(self, body: Body, node: Node) -> list[str]:
        """Variables for the results that are read."""
        values = [Value(node.id, i) for i in range(len(node.types))]
        return [body.variable(value) if body.is_read(value) else "_" for value in values]


def block_of(node: Node) -> Graph:
    assert node.target is not None
    return node.target.graph


def integer(node: Node, name: str) -> int:
    value = node.attributes[name]
    assert isinstance(value, int)
    return value


def _read(inner: Body, inputs: Sequence[str]) -> list[str]:
    """The variables of inputs, `_` where nothing reads them."""
    return [inner.argument(name) if inner.is_read(inner.graph.inputs[name]) else "_" for name in inputs]


def _in_front(x: Expression, axis: int) -> Expression:
    if axis < 2:
        return method(x, "swapaxes", "0", "1") if axis else x
    return call("jnp.moveaxis", x, str(axis), "0")


def _from_front(x: Expression, axis: int) -> Expression:
    return method(x, "swapaxes", "0", "1") if axis == 1 else call("jnp.moveaxis", x, "0", str(axis))


def _return(body: Body, form: Form) -> None:
    """The return of a function: its results in groups, as variables where that would be too long."""
    graph = body.graph
    results = [array(body, body.results[name], graph.type(value)) for name, value in graph.outputs.items()]
    if not fits(Line(body.indent, f"return {', '.join(grouped(part).text for part in form(results))}")):
        for i, (name, value) in enumerate(graph.outputs.items()):
            if not results[i].simple:
                results[i] = body.assign(value, results[i], name)
    parts = form(results)
    if fits(Line(body.indent, f"return {', '.join(grouped(part).text for part in parts)}")):
        return_values(body, [grouped(part) for part in parts])
        return
    names = ("carry", "stacks") if len(parts) == 2 else [""] * len(parts)
    return_values(body, [packed(body, name, part) for name, part in zip(names, parts, strict=True)])
