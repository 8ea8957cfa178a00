"""What a sequence model may see: a guess that is made from the very token that it is compared with learns to copy it.

For each value it is found out how far ahead of its own place it looks in each input: 0 for a value that has at place t what the input has
there, 1 for `tokens[:, 1:]`, -1 for what was shifted back, all for attention without a mask. Where that is not known nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from typing import NamedTuple, TypeAlias

from dsl.diagnostics import Diagnostic, Label
from dsl.dims import dims_equal
from dsl.ir import Graph, Node, Value
from dsl.lints.facts import operator
from dsl.lints.place import warning
from dsl.ops.registry import CARDS
from dsl.source import Span

STEP = -1
"""The axis of what a step of a loop has: none, but it belongs to the place of that step."""


class Sight(NamedTuple):
    """The axis of a value that runs along the places of an input, and how far ahead of a place it looks; None where it is not known."""

    axis: int
    ahead: float | None


Sights: TypeAlias = Mapping[str, Sight]
UNKNOWN = Sight(0, None)
_COMPARED = frozenset({"cross_entropy", "nll", "token_cross_entropy", "categorical_log_prob", "bernoulli_log_prob"})


class Sequences:
    """Walks the graph of a block and of what it calls, and warns of guesses that see their targets."""

    def __init__(self) -> None:
        self.found: dict[Span, Diagnostic] = {}
        self._known: dict[object, list[Sights]] = {}

    def walk(self, graph: Graph, given: tuple[Sights, ...]) -> list[Sights]:
        """What the outputs of a graph see, from what its inputs see."""
        key = (id(graph), tuple(tuple(sorted(g.items())) for g in given))
        if key not in self._known:
            known: dict[Value, Sights] = dict(zip(graph.inputs.values(), given, strict=False))
            for node in graph:
                if node.op != "input":
                    self._node(graph, node, known)
            self._known[key] = [known.get(value, {}) for value in graph.outputs.values()]
        return self._known[key]

    def _node(self, graph: Graph, node: Node, known: dict[Value, Sights]) -> None:
        operands = [known.get(value, {}) for value in node.inputs]
        if operator(node) in _COMPARED:
            self._compare(graph, node, operands)
        results = self._results(graph, node, operands) if any(operands) else []
        for i in range(len(node.types)):
            known[Value(node.id, i)] = results[i] if i < len(results) else {}

    def _results(self, graph: Graph, node: Node, operands: list[Sights]) -> list[Sights]:
        if node.op == "scan":
            return self._scan(node, operands)
        if operator(node) == "attention":
            return [_attended(graph, node, operands)]
        if node.op in ("call", "repeat") and node.target is not None:
            results = self.walk(node.target.graph, tuple(operands))
            if node.op == "repeat" and (node.target.count or 0) > 1:
                results = self.walk(node.target.graph, (results[0], *operands[1:]))
            return results
        moved = _MOVES.get(node.op, _pointwise if node.op in CARDS and CARDS[node.op].elementwise else _unknown)
        return [moved(graph, node, operands)] * len(node.types)

    def _scan(self, node: Node, operands: list[Sights]) -> list[Sights]:
        """The emitted values of a loop see the slices of their own step, and by the carries those before; with `reverse`, those after."""
        assert node.target is not None
        block, axes, emitted = node.target.graph, _ints(node, "axes"), _ints(node, "emit_axes")
        carries = node.attributes["carries"]
        assert isinstance(carries, int)
        slices = [_at_step(s, axis) for s, axis in zip(operands[carries:], axes, strict=False)]
        captured = [_lost(s) for s in operands[carries + len(axes) :]]
        counter: list[Sights] = [{}] if node.attributes.get("counter") else []
        carried: list[Sights] = [_lost(s) for s in operands[:carries]]
        results: list[Sights] = []
        for _ in range(3):
            results = self.walk(block, (*counter, *carried, *slices, *captured))
            carried = [_joined(_shifted(new, -1), old) for new, old in zip(results[:carries], carried, strict=True)]
        outside = [_from_step(s, axis) for s, axis in zip(results[carries:], emitted, strict=False)]
        if node.attributes.get("reverse"):
            outside = [{n: Sight(s.axis, None if s.ahead is None else inf) for n, s in sights.items()} for sights in outside]
        return [_lost(s) for s in results[:carries]] + outside

    def _compare(self, graph: Graph, node: Node, operands: list[Sights]) -> None:
        guess, target = operands[:2] if operator(node).endswith(("entropy", "nll")) else (operands[1], operands[0])
        for name, wanted in target.items():
            seen = guess.get(name)
            if seen is None or seen.ahead is None or wanted.ahead in (None, inf) or seen.axis != wanted.axis:
                continue
            assert wanted.ahead is not None
            if seen.ahead >= wanted.ahead:
                whole = seen.ahead == inf
                extent = "all of it" if whole else "that place of it" if seen.ahead == wanted.ahead else "what comes after it"
                message = f"the guess at each place sees its target: it is made from `{name}`, and sees {extent}"
                help = (
                    "a model of the next token reads `x[:, :-1]`, has the target `x[:, 1:]`, and looks back only (`causal=true`)"
                )
                labels = (Label(graph.node(node.inputs[0]).span, "the guess"),)
                self.found.setdefault(node.span, warning("DL1050", message, node.span, labels=labels, help=help))


def sees_its_target(graph: Graph) -> Iterator[Diagnostic]:
    """Where in a block or a model a guess sees what it is compared with."""
    sequences = Sequences()
    given = [{name: Sight(1, 0)} if graph.type(value).rank > 1 else {} for name, value in graph.inputs.items()]
    sequences.walk(graph, tuple(given))
    yield from sequences.found.values()


# --- how operations move what is seen -------------------------------------------------------------------------------------------------


def _joined(*parts: Sights) -> Sights:
    """What several values see together, place by place."""
    found: dict[str, Sight] = {}
    for part in parts:
        for name, sight in part.items():
            other = found.get(name)
            if other is None:
                found[name] = sight
            elif other.ahead is None or sight.ahead is None or other.axis != sight.axis:
                found[name] = UNKNOWN
            else:
                found[name] = Sight(sight.axis, max(other.ahead, sight.ahead))
    return found


def _lost(*parts: Sights) -> Sights:
    return {name: UNKNOWN for part in parts for name in part}


def _shifted(sights: Sights, by: float | None) -> Sights:
    return {n: Sight(s.axis, None if by is None or s.ahead is None else s.ahead + by) for n, s in sights.items()}


def _moved(sights: Sights, axes: Mapping[int, int]) -> Sights:
    """With the axes in other places; what has no place any more is not known."""
    return {n: s if s.axis == STEP else Sight(axes[s.axis], s.ahead) if s.axis in axes else UNKNOWN for n, s in sights.items()}


def _at_step(sights: Sights, axis: int) -> Sights:
    return {n: Sight(STEP, s.ahead) if s.axis == axis else UNKNOWN for n, s in sights.items()}


def _from_step(sights: Sights, axis: int) -> Sights:
    return {n: Sight(axis, s.ahead) if s.axis == STEP else UNKNOWN for n, s in sights.items()}


def _unknown(graph: Graph, node: Node, operands: list[Sights]) -> Sights:
    return _lost(*operands)


def _aligned(graph: Graph, node: Node, operands: list[Sights]) -> list[Sights]:
    """What operands see, with axes counted from the end as in broadcasting."""
    moved = []
    for value, sights in zip(node.inputs, operands, strict=True):
        rank = graph.type(value).rank
        moved.append(_moved(sights, {i: i + node.type.rank - rank for i in range(rank)}))
    return moved


def _pointwise(graph: Graph, node: Node, operands: list[Sights]) -> Sights:
    if node.op == "where" and operands[0]:  # a mask that hangs on what is seen may hide just that
        return _lost(*operands)
    return {} if node.op == "stop_gradient" and not operands[0] else _joined(*_aligned(graph, node, operands))


def _slice(graph: Graph, node: Node, operands: list[Sights]) -> Sights:
    found = operands[0]
    for axis, start, step in zip(_ints(node, "axes"), node.attributes["starts"], node.attributes["steps"], strict=True):  # type: ignore[arg-type]
        by = start if isinstance(start, int) and start >= 0 and step == 1 else None
        found = {
            n: Sight(s.axis, None if by is None or s.ahead is None else s.ahead + by) if s.axis == axis else s
            for n, s in found.items()
        }
    return found


def _pad(graph: Graph, node: Node, operands: list[Sights]) -> Sights:
    widths = node.attributes["widths"]
    assert isinstance(widths, tuple)
    low = {i: pair[0] for i, pair in enumerate(widths) if isinstance(pair, tuple)}
    return {
        n: Sight(s.axis, None if s.ahead is None or not isinstance(by := low.get(s.axis, 0), int) else s.ahead - by)
        for n, s in operands[0].items()
    }


def _concat(graph: Graph, node: Node, operands: list[Sights]) -> Sights:
    over = node.attributes["over"]
    before: int | None = 0
    parts: list[Sights] = []
    for value, sights in zip(node.inputs, operands, strict=True):
        along = {n: s for n, s in sights.items() if s.axis == over}
        beside = {n: s for n, s in sights.items() if s.axis != over}
        parts += [_shifted(along, None if before is None else -before), beside]
        size = graph.type(value).shape[over]  # type: ignore[index]
        before = before + size if isinstance(size, int) and before is not None else None
    return _joined(*parts)


def _permute(graph: Graph, node: Node, operands: list[Sights]) -> Sights:
    order = _ints(node, "order")
    return _moved(operands[0], {old: new for new, old in enumerate(order)})


def _reshape(graph: Graph, node: Node, operands: list[Sights]) -> Sights:
    """Axes that keep their size, from the front and from the back, are where they were."""
    old, new = graph.type(node.inputs[0]).shape, node.type.shape
    axes: dict[int, int] = {}
    for i, (a, b) in enumerate(zip(old, new, strict=False)):
        if not dims_equal(a, b):
            break
        axes[i] = i
    for i in range(1, min(len(old), len(new)) + 1):
        if not dims_equal(old[-i], new[-i]):
            break
        axes.setdefault(len(old) - i, len(new) - i)
    return _moved(operands[0], axes)


def _reduce(graph: Graph, node: Node, operands: list[Sights]) -> Sights:
    over, keep = node.attributes.get("over"), node.attributes.get("keepdims")
    gone = set(over if isinstance(over, tuple) else (over,))
    left = [i for i in range(graph.type(node.inputs[0]).rank) if i not in gone]
    return _moved(operands[0], {i: i if keep else new for new, i in enumerate(left)})


def _matmul(graph: Graph, node: Node, operands: list[Sights]) -> Sights:
    """The rows of the left side stay; what is summed over, or stands on the right, is not known."""
    rank = graph.type(node.inputs[0]).rank
    kept = {i: i + node.type.rank - rank for i in range(rank - 1)} if graph.type(node.inputs[1]).rank == 2 else {}
    if operands[1]:
        return _lost(*operands)
    return _moved(operands[0], kept)


def _take(graph: Graph, node: Node, operands: list[Sights]) -> Sights:
    """Rows of a table, one for each index."""
    if operands[0] or node.attributes.get("over") != 0:
        return _lost(*operands)
    return operands[1]


def _same(graph: Graph, node: Node, operands: list[Sights]) -> Sights:
    return operands[0]


def _split(graph: Graph, node: Node, operands: list[Sights]) -> Sights:
    return {n: UNKNOWN if s.axis == node.attributes["over"] else s for n, s in operands[0].items()}


def _conv(graph: Graph, node: Node, operands: list[Sights]) -> Sights:
    """A kernel along time sees its width, from its padding on; one with holes is not known."""
    weight, stride, padding, dilation = (
        graph.node(node.inputs[1]), _ints(node, "stride"), node.attributes["padding"], _ints(node, "dilation"),
    )  # fmt: skip
    if graph.type(node.inputs[0]).rank != 3 or weight.op != "param" or stride != (1,) or not isinstance(padding, tuple):
        return _lost(*operands)
    kernel, low = weight.type.shape[2], padding[0]
    before = low[0] if isinstance(low, tuple) else low
    if not isinstance(kernel, int) or not isinstance(before, int):
        return _lost(*operands)
    ahead = (kernel - 1) * dilation[0] - before
    along = {n: s for n, s in operands[0].items() if s.axis == 2}
    return {**operands[0], **_lost(operands[0]), **_shifted(along, ahead)}


def _attended(graph: Graph, node: Node, operands: list[Sights]) -> Sights:
    """A query sees all keys, or those up to its own with `causal`."""
    assert node.target is not None
    query, names = operands[0], list(node.target.graph.inputs)
    own = graph.type(node.inputs[0]).rank - 2
    keys = [s for name, s in zip(names, operands, strict=True) if name in ("k", "v")]
    masks = [value for name, value in zip(names, node.inputs, strict=True) if name == "mask"]
    causal = node.target.graph.hyper.get("causal") is True
    if not causal and any(graph.type(mask).rank > 1 and graph.type(mask).shape[-2] != 1 for mask in masks):
        return _lost(*operands)
    seen = [{n: Sight(s.axis, s.ahead if causal or s.ahead is None else inf) for n, s in key.items()} for key in keys]
    return {n: s if s.axis == own else UNKNOWN for n, s in _joined(query, *seen).items()}


def _ints(node: Node, attribute: str) -> tuple[int, ...]:
    value = node.attributes.get(attribute, ())
    return tuple(v for v in value if isinstance(v, int)) if isinstance(value, tuple) else ()


def _expand(graph: Graph, node: Node, operands: list[Sights]) -> Sights:
    return _aligned(graph, node, operands)[0]


_REDUCTIONS = ("sum", "mean", "max", "min", "prod", "any", "all", "argmax", "argmin", "var", "logsumexp", "norm")
_MOVES = {
    "slice": _slice, "pad": _pad, "concat": _concat, "permute": _permute, "reshape": _reshape, "expand": _expand, "matmul": _matmul,
    "take": _take, "one_hot": _same, "split": _split, "conv": _conv, "cumsum": _same, **dict.fromkeys(_REDUCTIONS, _reduce),
}  # fmt: skip
