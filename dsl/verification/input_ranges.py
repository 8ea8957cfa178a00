"""Which values an integer input may have: where it is used as an index, the axes that it indexes bound it.

A forward analysis of one graph at a time, callees first. An integer value is followed as long as it is an input, shifted by a constant
at most; what computes anything else from it ends the trail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from dsl.dims import Dim, evaluate, substitute
from dsl.ir import Call, Graph, Node, Value


class Trail(NamedTuple):
    """A value that holds elements of the input `name`, plus `shift`."""

    name: str
    shift: int


class Use(NamedTuple):
    """Elements plus `shift` index an axis of `size`."""

    shift: int
    size: Dim


@dataclass(slots=True)
class Summary:
    """What a graph does with its integer inputs: the uses of each as an index, and the trails that leave as outputs."""

    uses: dict[str, set[Use]] = field(default_factory=dict)
    outputs: list[frozenset[Trail]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Range:
    """The values from `low` to the smallest of `highs`, exclusive."""

    low: int
    highs: tuple[Dim, ...]

    def bounds(self, sizes: Mapping[str, int]) -> tuple[int, int]:
        """The range as numbers at the given sizes; never empty."""
        return self.low, max(self.low + 1, min(evaluate(d, sizes) for d in self.highs))


UNUSED = Range(1, (4,))
"""For integers that index nothing: small, and safe to divide by."""

_PASSING = {
    "reshape", "permute", "expand", "slice", "split", "flip", "roll", "tile", "pad", "cast", "stop_gradient", "if_training", "concat",
    "stack", "where", "maximum", "minimum", "max", "min", "sort", "clip", "tril", "triu",
}  # fmt: skip
"""Primitives whose results hold elements of their operands."""

_INDEXING = {"take": 1, "gather": 1, "scatter_add": 1, "one_hot": 0}
"""The operand that is an index."""


def input_ranges(graph: Graph) -> dict[str, Range]:
    """The range of each integer input, in terms of the symbolic dimensions of the graph."""
    summaries: dict[int, Summary] = {}
    for callee in graph.callees():
        summaries[id(callee)] = _summary(callee, summaries)
    uses = summaries[id(graph)].uses
    ranges: dict[str, Range] = {}
    for name, value in graph.inputs.items():
        if graph.type(value).dtype.is_int:
            found = uses.get(name, set())
            low = max([0, *(-u.shift for u in found)])
            ranges[name] = Range(low, tuple(u.size - u.shift for u in found)) if found else UNUSED
    return ranges


def _summary(graph: Graph, known: Mapping[int, Summary]) -> Summary:
    summary = Summary()
    trails: dict[Value, frozenset[Trail]] = {}
    for name, value in graph.inputs.items():
        if graph.type(value).dtype.is_int:
            trails[value] = frozenset({Trail(name, 0)})
    for node in graph:
        operands = [trails.get(v, frozenset()) for v in node.inputs]
        if not any(operands):
            continue
        if node.target is not None:
            results = _through_target(summary, node, known[id(node.target.graph)], operands)
        else:
            _note_use(summary, graph, node, operands)
            results = [_through(graph, node, operands)] * len(node.types)
        for i, trail in enumerate(results):
            trails[Value(node.id, i)] = trail
    summary.outputs = [trails.get(v, frozenset()) for v in graph.outputs.values()]
    return summary


def _note_use(summary: Summary, graph: Graph, node: Node, operands: list[frozenset[Trail]]) -> None:
    index = _INDEXING.get(node.op)
    if index is None:
        return
    size = node.attributes["classes"] if node.op == "one_hot" else graph.type(node.inputs[0]).shape[_axis(node)]
    for trail in operands[index]:
        summary.uses.setdefault(trail.name, set()).add(Use(trail.shift, size))  # type: ignore[arg-type]


def _axis(node: Node) -> int:
    over = node.attributes["over"]
    assert isinstance(over, int)
    return over


def _through(graph: Graph, node: Node, operands: list[frozenset[Trail]]) -> frozenset[Trail]:
    """The trails in the results of a primitive."""
    if node.op in ("take", "gather"):
        return operands[0]
    if node.op in ("add", "sub"):
        left, right = operands
        if left and (by := _constant(graph, node.inputs[1])) is not None:
            return frozenset(Trail(t.name, t.shift + (by if node.op == "add" else -by)) for t in left)
        if right and node.op == "add" and (by := _constant(graph, node.inputs[0])) is not None:
            return frozenset(Trail(t.name, t.shift + by) for t in right)
        return frozenset()
    return frozenset().union(*operands) if node.op in _PASSING else frozenset()


def _constant(graph: Graph, value: Value) -> int | None:
    """The integer that a constant holds everywhere."""
    content = graph.node(value).attributes.get("value")
    if graph.node(value).op not in ("const", "full") or content is None:
        return None
    elements = np.unique(np.asarray(content))
    return int(elements[0]) if elements.size == 1 and elements.dtype.kind in "iu" else None


_ROUNDS = 3
"""How often the trails of carried values are followed around a loop."""


def _through_target(summary: Summary, node: Node, callee: Summary, operands: list[frozenset[Trail]]) -> list[frozenset[Trail]]:
    """The trails in the results of a call, a repeat, or a node with a block."""
    call = node.target
    assert call is not None
    nothing: frozenset[Trail] = frozenset()
    match node.op:
        case "scan":
            carries = node.attributes["carries"]
            assert isinstance(carries, int)
            counter = [nothing] if node.attributes["counter"] else []
            return _around(summary, call, callee, operands, carries, counter, 0)
        case "while":
            carries = node.attributes["carries"]
            assert isinstance(carries, int)
            return _around(summary, call, callee, operands[1:], carries, [], 1)
        case "grad":
            _through_call(summary, call, callee, operands)
            return [nothing] * len(node.types)
        case _:
            results = _through_call(summary, call, callee, operands[: len(call.graph.inputs)])
            return results[:1] if call.count is not None else results


def _around(
    summary: Summary, call: Call, callee: Summary, operands: list[frozenset[Trail]], carries: int,
    counter: list[frozenset[Trail]], condition: int,
) -> list[frozenset[Trail]]:  # fmt: skip
    """Through the block of a loop; `condition` outputs come before the carries."""
    results = []
    for _ in range(_ROUNDS):
        results = _through_call(summary, call, callee, [*counter, *operands])[condition:]
        operands = [o | r for o, r in zip(operands[:carries], results[:carries], strict=True)] + operands[carries:]
    return [*operands[:carries], *results[carries:]]


def _through_call(summary: Summary, call: Call, callee: Summary, operands: list[frozenset[Trail]]) -> list[frozenset[Trail]]:
    """Notes the uses in what is called, and gives the trails of its outputs."""
    given = dict(zip(call.graph.inputs, operands, strict=True))
    for name, uses in callee.uses.items():
        for use in uses:
            for trail in given[name]:
                size = substitute(use.size, call.bindings)
                summary.uses.setdefault(trail.name, set()).add(Use(trail.shift + use.shift, size))
    results = []
    for trails in callee.outputs:
        passed = {Trail(outer.name, outer.shift + inner.shift) for inner in trails for outer in given[inner.name]}
        results.append(frozenset(passed))
    return results
