"""Functions in generated PyTorch: plain ones, and those with a gradient of their own as a `torch.autograd.Function`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from backends.python import Body
from backends.torch_dialect import TorchBody, TorchDialect
from backends.torch_tensors import tensor
from backends.torch_units import Plan, Unit
from backends.torch_varying import Varying
from backends.writer import Expression, Line, Namespace, call, docstring, fits, rendered
from dsl.diagnostics import InternalError
from dsl.ir import Graph


@dataclass(frozen=True, slots=True)
class Written:
    """The lines of a class or function without its first, and what they ask for."""

    lines: tuple[Line, ...]
    parameters: tuple[str, ...]
    methods: tuple[str, ...]
    needs_training: bool

    def text(self) -> tuple[object, ...]:
        """What must be the same for two units to share a class."""
        plain = tuple((line.indent, line.prefix, line.expression and line.expression.text, line.suffix) for line in self.lines)
        return plain, self.parameters, self.methods


def signature(indent: int, name: str, given: Sequence[str], result: str) -> list[Line]:
    """`def name(given) -> result:`."""
    return [Line(indent, "def ", call(name, *given), f" -> {result}:")]


def returned(graph: Graph) -> str:
    """The annotation of the result, on one line whatever there is."""
    count = len(graph.outputs)
    if count == 1:
        return "Tensor"
    return f"tuple[{', '.join(['Tensor'] * count)}]" if count <= 8 else "tuple[Tensor, ...]"


def finish(body: Body) -> None:
    """The return statement."""
    results = {}
    for name, value in body.graph.outputs.items():
        results[name] = replace(tensor(body, body.results[name], body.graph.type(value)), reads=body.results[name].reads)
    texts = [r.text for r in results.values()]
    line = Line(body.indent, "return ", next(iter(results.values())) if len(texts) == 1 else Expression(", ".join(texts)))
    if not fits(line):
        for name, value in body.graph.outputs.items():
            if not results[name].simple:
                results[name] = body.assign(value, results[name])
        texts = [r.text for r in results.values()]
        line = Line(body.indent, "return ", Expression(", ".join(texts)))
    if not fits(line):
        body.lines += [Line(body.indent, "return ("), *(Line(body.indent + 1, f"{t},") for t in texts), Line(body.indent, ")")]
        return
    body.lines.append(line)


def function(plan: Plan, numbers: Varying, names: Namespace) -> Written:
    (graph,) = plan.written()
    dialect = TorchDialect(plan.unit, "training")
    scope = Namespace(("training", *(["generator"] if plan.unit.draws(plan.unit.graph) else [])), names)
    parameters = {name: scope.new(name) for name in numbers.values}
    arguments = {name: scope.new(name) for name in graph.inputs}
    body = TorchBody(graph, dialect, scope, arguments, placeholder=lambda name: parameters[name]).write(finish)
    lines = [Line(1, v) for v in arguments.values()]
    lines += [*docstring(graph.doc, 1), *body.lines]
    used = tuple(name for name in numbers.values if name in body.placeholders)
    return Written(tuple(lines), used, (), dialect.mode_used)


# --- gradients of the spec's own ------------------------------------------------------------------------------------------------


def autograd_function(unit: Unit, names: Namespace) -> Written:
    """A class in the form that `torch.func` works with, too: `forward` without a context, and `setup_context`."""
    graph, backward = unit.graph, unit.graph.backward
    if backward is None:
        raise InternalError(f"{graph.definition} has no gradient of its own")
    dialect = TorchDialect(unit, "training")
    variables, forward = _body(graph, dialect, names, finish)
    gradients, back = _body(backward, dialect, names, None)
    types = {"training": "bool"} if dialect.mode_used else {}
    types |= {"generator": "torch.Generator | None"} if unit.draws(graph) else {}
    further = [f"{name}: {type_}" for name, type_ in types.items()]
    _return_gradients(back, graph, len(further))
    text = rendered(back.lines)
    found = [gradients[name] for name in backward.inputs]
    given, inputs = found[: len(graph.outputs)], found[len(graph.outputs) :]
    saved = {v: f"inputs[{i}]" for i, v in enumerate(inputs) if _mentions(text, v)}
    kept = [Line(2, "", call("ctx.save_for_backward", *saved.values()))] if saved else []
    targets = ", ".join(saved) if len(saved) != 1 else f"({next(iter(saved))},)"
    again = [Line(2, f"{targets} = ctx.saved_tensors")] if saved else []
    for i, name in enumerate(types, start=len(inputs)):
        if _mentions(text, name):
            kept.append(Line(2, f"ctx.{name} = inputs[{i}]"))
            again.append(Line(2, f"{name} = ctx.{name}"))
    result = "Tensor" if len(inputs) + len(further) == 1 else "tuple[Tensor | None, ...]"
    lines = [
        *docstring(graph.doc, 1),
        *([Line(0, "")] if graph.doc else []),
        Line(1, "@staticmethod"),
        *signature(1, "forward", [*(f"{v}: Tensor" for v in variables.values()), *further], returned(graph)),
        *forward.lines,
        Line(0, ""),
        Line(1, "@staticmethod"),
        *signature(1, "setup_context", ["ctx", "inputs", "output"], "None"),
        *(kept or [Line(2, "pass")]),
        Line(0, ""),
        Line(1, "@staticmethod"),
        *signature(1, "backward", ["ctx", *(f"{v}: Tensor" for v in given)], result),
        *again,
        *back.lines,
    ]
    return Written(tuple(lines), (), (), dialect.mode_used)


def _body(
    graph: Graph, dialect: TorchDialect, names: Namespace, end: Callable[[Body], None] | None
) -> tuple[dict[str, str], Body]:
    """The names of the inputs, and one of the two functions."""
    scope = Namespace(("ctx", "inputs", "output", "training", "generator"), names)
    variables = {name: scope.new(name) for name in graph.inputs}
    return variables, TorchBody(graph, dialect, scope, variables, indent=2).write(end)


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


def _return_gradients(body: Body, function: Graph, further: int) -> None:
    """`return g * x, None`: None for what has no gradient."""
    found = iter(body.graph.outputs.items())
    each: list[Expression] = []
    for value in function.inputs.values():
        if function.type(value).dtype.is_float:
            name, result = next(found)
            each.append(tensor(body, body.results[name], body.graph.type(result)))
        else:
            each.append(Expression("None"))
    each += [Expression("None")] * further
    line = Line(body.indent, "return ", each[0] if len(each) == 1 else Expression(", ".join(x.text for x in each)))
    if fits(line):
        body.lines.append(line)
        return
    body.lines += [Line(body.indent, "return ("), *(Line(body.indent + 1, "", x, ",") for x in each), Line(body.indent, ")")]
