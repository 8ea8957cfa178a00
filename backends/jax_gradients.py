"""Gradients that the spec itself gives for a function: `jax.custom_vjp`, with what the spec says in place of what JAX would derive."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from backends.jax_calls import File
from backends.jax_module import ModuleBody, ModuleFunction
from backends.jax_spelling import array
from backends.jax_tuples import grouped, return_values
from backends.python import Body
from backends.writer import Expression, Line, Namespace, call, fits, rendered, sequence
from dsl.diagnostics import InternalError
from dsl.ir import Graph


@dataclass(frozen=True, slots=True)
class Backward:
    """The gradient of a function: the arguments it needs again, its own arguments (the mode, those, the gradients), its statements."""

    saved: tuple[str, ...]
    arguments: tuple[str, ...]
    body: str

    def around(self, names: tuple[str, str, str], arguments: tuple[str, ...], body: str) -> str:
        """The function with those arguments and statements, and its gradient, under three names."""
        name, forward, backward = names
        parts = [
            _function(name, arguments, body),
            _function(forward, arguments, rendered(self._forward(call(name, *arguments), arguments))),
            _function(backward, self.arguments, self.body),
        ]
        registered = rendered([Line(0, "", call(f"{name}.defvjp", forward, backward))])
        if "training" not in arguments:
            return "\n\n".join([f"@jax.custom_vjp\n{parts[0]}", *parts[1:], registered])
        place = f"({arguments.index('training')},)"
        wrapped = rendered([Line(0, f"{name} = ", call("jax.custom_vjp", name, nondiff_argnums=place))])
        return "\n\n".join([*parts, wrapped + registered])

    def _forward(self, result: Expression, arguments: tuple[str, ...]) -> list[Line]:
        """The statements of the function that also gives what the gradient needs."""
        saved = grouped([Expression(name) for name in self.saved])
        line = Line(1, f"return {result}, {saved}")
        if fits(line):
            return [line]
        variable = Namespace(arguments).new("result")
        lines, line = [Line(1, f"{variable} = ", result)], Line(1, f"return {variable}, {saved}")
        if fits(line):
            return [*lines, line]
        kept = [Line(2, f"{name},") for name in self.saved]
        return [*lines, Line(1, f"return {variable}, ("), *kept, Line(1, ")")]


def write_backward(file: File, graph: Graph, arguments: tuple[str, ...]) -> Backward:
    """The gradient of a function whose arguments are these: its inputs, the mode, a key."""
    backward = graph.backward
    if backward is None:
        raise InternalError(f"{graph.definition} has no gradient of its own")
    function, count = ModuleFunction(file, backward), len(graph.outputs)
    function.define_callees(backward)
    scope = Namespace((*arguments, "params", "state", "training", "key", "keys"), outer=file.names)
    own = [scope.new(name) for name in list(backward.inputs)[:count]]
    body = ModuleBody(backward, function, scope, dict(zip(backward.inputs, (*own, *arguments), strict=False)))
    if function.draws > 1:
        body.statement("keys = ", call(function.copied("split_key"), "key", str(function.draws)))
    body.write(lambda found: _return(found, graph, arguments))
    text = rendered(body.lines)
    saved = tuple(name for name in arguments if name != "training" and re.search(rf"\b{name}\b", text))
    first: list[Line] = []
    taken, gradients = saved[0] if saved else "_", own[0]
    if len(saved) > 1:
        taken = scope.new("saved")
        first += _taken_apart(saved, taken)
    if count > 1:
        gradients = scope.new("gradients")
        first += _taken_apart(own, gradients)
    mode = ["training"] if "training" in arguments else []
    return Backward(saved, (*mode, taken, gradients), rendered(first) + text)


def _taken_apart(names: Sequence[str], source: str) -> list[Line]:
    """`a, b = source`."""
    line = Line(1, f"{', '.join(names)} = {source}")
    return [line] if fits(line) else [Line(1, "("), *(Line(2, f"{name},") for name in names), Line(1, f") = {source}")]


def _return(body: Body, graph: Graph, arguments: tuple[str, ...]) -> None:
    """A gradient for each argument but the mode, None for integers and keys."""
    for _ in range(2):
        found = [array(body, body.results[name], body.graph.type(value)) for name, value in body.graph.outputs.items()]
        given = [found.pop(0) if graph.type(v).dtype.is_float else Expression("None") for v in graph.inputs.values()]
        given += [Expression("None")] * ("key" in arguments)
        if fits(Line(body.indent, f"return {', '.join(map(str, given))}")):
            break
        for name, value in body.graph.outputs.items():
            body.results[name] = body.assign(value, body.results[name], name)
    if len(given) == 1 and not fits(Line(body.indent, f"return {sequence(given)}")):
        body.lines += [Line(body.indent, "return ("), Line(body.indent + 1, f"{given[0]},"), Line(body.indent, ")")]
    else:
        return_values(body, given if len(given) > 1 else [sequence(given)])


def _function(name: str, arguments: tuple[str, ...], body: str) -> str:
    return rendered([Line(0, "def ", call(name, *arguments), ":")]) + body
