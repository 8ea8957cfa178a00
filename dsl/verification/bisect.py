"""Where two computations part: every intermediate value becomes an output, and the first that differs, in order, is the one to blame.

First on the flat graph, where each value is one operation of the spec. When no operation differs by itself there, then on the entry point
with its modules, where a call stands for all that the backend makes of it.
"""

from __future__ import annotations

from collections.abc import Callable

from backends.base import Arrays, Session
from dsl.diagnostics import SpecError
from dsl.ir import Graph, Node, Program, Value
from dsl.source import Span
from dsl.verification.cases import Case, flattened, one_mode, pure_case
from dsl.verification.expectation import expect
from dsl.verification.report import Divergence, Row

Compile = Callable[[Program, Arrays], Session]

_NO_RESULT = frozenset({"input", "param", "buffer", "const"})


def diverge(case: Case, row: Row, weights: Arrays, inputs: Arrays, compiled: Compile) -> Divergence:
    """The first divergence behind a failing row. `inputs` are those of the row."""
    found = _in_flat(case, row, weights, inputs, compiled) or _in_modules(case, row, weights, inputs, compiled)
    return found or Divergence(row, None, None, _output_spans(case.graph, row.output), row.error, row.tolerance)


def _in_flat(case: Case, row: Row, weights: Arrays, inputs: Arrays, compiled: Compile) -> Divergence | None:
    if case.flat:
        return _first(case.program, case.entry, row, weights, inputs, compiled, training=False)
    pure = pure_case(case.original, flattened(case.graph, training=case.training), case.entry, case.mode, training=case.training)
    given = {**inputs, **{name: weights[path] for name, path in pure.parameters.items()}}
    return _first(pure.program, case.entry, row, {}, given, compiled, training=False)


def _in_modules(case: Case, row: Row, weights: Arrays, inputs: Arrays, compiled: Compile) -> Divergence | None:
    if case.flat:
        return None
    return _first(one_mode(case), case.entry, row, weights, inputs, compiled, training=case.training)


def _first(
    program: Program, entry: str, row: Row, weights: Arrays, inputs: Arrays, compiled: Compile, *, training: bool
) -> Divergence | None:
    """The first value of the graph that the backend computes otherwise; None where there is none, or it cannot show them all."""
    exposed, values = expose(program.entries[entry])
    expected = expect(exposed, weights, inputs, training=training)
    try:
        session = compiled(Program(program.name, {entry: exposed}), weights)
        result = session.run(inputs, training=training, entry=entry)
    except SpecError:
        return None
    for name, value in values.items():
        tensor = expected.tensors[name]
        if not tensor.accepts(result.outputs[name]):
            node = exposed.node(value)
            return Divergence(row, node.op, _called(node), node.spans, tensor.error(result.outputs[name]), tensor.tolerance)
    return None


def expose(graph: Graph) -> tuple[Graph, dict[str, Value]]:
    """The graph with each computed value as an output, and those values by the names of the outputs, in order."""
    values = {
        f"value_{node.id}_{i}": Value(node.id, i) for node in graph if node.op not in _NO_RESULT for i in range(len(node.types))
    }
    result = graph.copy()
    result.outputs = dict(values)
    return result, values


def _called(node: Node) -> str | None:
    """What the spec calls the result, or the function or layer that a call applies."""
    call = node.target
    return node.name or (call.graph.definition if call is not None and call.graph.kind != "block" else None)


def _output_spans(graph: Graph, name: str) -> tuple[Span, ...]:
    value = graph.outputs.get(name)
    return graph.node(value).spans if value is not None else ()
