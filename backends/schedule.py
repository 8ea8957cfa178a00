"""In what order a graph is written as statements, what is written inside another expression, and what variables are called.

The mode (training or inference) is one flag for the whole model, so each node is needed in training, in inference or in both;
what one mode alone needs is kept for the branch of that mode. Nodes are spread over levels: a level begins with the
`if_training` nodes whose operands lie on the levels before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backends.writer import snake_case
from dsl.ir import Graph, Node, Value
from dsl.ops.registry import CARDS

TRAINING, INFERENCE = 1, 2
BOTH = TRAINING | INFERENCE

STATEMENTS = frozenset({"repeat", "scan", "while", "grad"})
"""Nodes that take statements of their own: a loop, a function."""


@dataclass(slots=True)
class Level:
    """`joins` are the `if_training` nodes that open the level, after what the two branches need; `always` follows."""

    joins: list[Node] = field(default_factory=list)
    training: list[Node] = field(default_factory=list)
    inference: list[Node] = field(default_factory=list)
    always: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Schedule:
    """`updating` is what the new values of buffers need beyond the levels; `reads` counts the uses of each value; `overtaken` are the reads
    of buffers that a later application of their layer changes."""

    levels: list[Level]
    updating: list[Node]
    reads: dict[Value, int]
    modes: dict[int, int]
    hints: dict[Value, str]
    inlined: frozenset[int]
    overtaken: frozenset[int]

    def inline(self, node: Node) -> bool:
        """Whether the node is part of the one expression that reads it."""
        return node.id in self.inlined

    def hint(self, value: Value) -> str:
        """The name that the value would like to have."""
        return self.hints[value]


def schedule(graph: Graph) -> Schedule:
    """The schedule of `graph`; nodes that nothing needs are not in it."""
    ordered = _ordered(graph)
    overtaken = frozenset(i for before in ordered.values() for i in before if graph.node(i).op == "buffer")
    modes = _modes(graph, ordered)
    modes |= {i: BOTH for i in overtaken if modes.get(i)}
    live = [node for node in graph if modes.get(node.id)]
    reads, readers = _reads(graph, live, modes)
    level = _levels(live, modes, ordered)
    blocks = _blocks(graph, live, modes, level)
    levels = [Level() for _ in range(1 + max(level.values(), default=0))]
    updating: list[Node] = []
    for node in live:
        mode = modes[node.id]
        if mode == BOTH:
            at = levels[level[node.id]]
            (at.joins if node.op == "if_training" else at.always).append(node)
        elif blocks[node.id] >= len(levels):
            updating.append(node)
        elif mode == TRAINING:
            levels[blocks[node.id]].training.append(node)
        else:
            levels[blocks[node.id]].inference.append(node)
    joins = {n.id for n in live if n.op == "if_training" and modes[n.id] == BOTH}
    sides = {v.node for n in live if n.id in joins for v in n.inputs}
    inlined = frozenset(
        n.id
        for n in live
        if n.id not in ordered and (_may_inline(n) or _is_side(n, sides, modes)) and reads.get(Value(n.id)) == 1
    )
    return Schedule(levels, updating, reads, modes, _hints(graph, live, readers), inlined, overtaken)


def _ordered(graph: Graph) -> dict[int, list[int]]:
    """Where a layer updates buffers: all nodes that apply the layer or read a buffer of it, and of each those before it, for the second
    sees what the first has left. (What is inside a loop updates nothing.)"""
    uses: dict[str, list[int]] = {}
    changed: set[str] = set()
    for node in graph:
        layer = _used(node)
        if layer is not None:
            uses.setdefault(layer, []).append(node.id)
            changed |= {layer} if _updates(node) else set()
    return {n: nodes[:i] for layer, nodes in uses.items() if layer in changed and len(nodes) > 1 for i, n in enumerate(nodes)}


def _used(node: Node) -> str | None:
    """The layer of this graph that a node applies, or whose buffer it reads."""
    if node.op == "buffer":
        layer, dot, _ = str(node.attributes["path"]).partition(".")
        return layer if dot else None
    return node.target.child if node.target is not None else None


def _updates(call: Node) -> bool:
    """Whether the call changes buffers."""
    return call.target is not None and any(callee.updates for callee in call.target.graph.callees())


def _may_inline(node: Node) -> bool:
    return node.name is None and len(node.types) == 1 and node.op not in STATEMENTS


def _is_side(node: Node, sides: set[int], modes: dict[int, int]) -> bool:
    """Whether the node is what an `if_training` chooses in one mode: the name goes to the choice."""
    return node.id in sides and modes[node.id] != BOTH and len(node.types) == 1 and node.op not in STATEMENTS


def operands(node: Node, mode: int) -> tuple[Value, ...]:
    """What the node reads in that mode: one side of an `if_training`, else everything."""
    if node.op != "if_training" or mode == BOTH:
        return node.inputs
    return (node.inputs[0] if mode == TRAINING else node.inputs[1],)


def _modes(graph: Graph, ordered: Mapping[int, Sequence[int]]) -> dict[int, int]:
    """The modes that need each node. A call that comes before another of its layer, or that something reads, keeps its place among them:
    it is written for both modes, since branches and the updates at the end are written elsewhere."""
    followed = {earlier for before in ordered.values() for earlier in before} | {v.node for n in graph for v in n.inputs}
    modes: dict[int, int] = {}
    for value in graph.updates.values():
        modes[value.node] = TRAINING
    for call in graph.calls():
        if _updates(call):
            modes[call.id] = BOTH if call.id in ordered and call.id in followed else TRAINING
    for value in graph.outputs.values():
        modes[value.node] = BOTH
    for node in reversed(list(graph)):
        mode = modes.get(node.id, 0)
        if not mode:
            continue
        if node.op == "if_training":
            for value, side in zip(node.inputs, (TRAINING, INFERENCE), strict=True):
                if mode & side:
                    modes[value.node] = modes.get(value.node, 0) | side
        else:
            for value in node.inputs:
                modes[value.node] = modes.get(value.node, 0) | mode
    return modes


def _reads(graph: Graph, live: list[Node], modes: dict[int, int]) -> tuple[dict[Value, int], dict[Value, list[Node]]]:
    reads: dict[Value, int] = {}
    readers: dict[Value, list[Node]] = {}
    for node in live:
        for value in operands(node, modes[node.id]):
            reads[value] = reads.get(value, 0) + 1
            readers.setdefault(value, []).append(node)
    for value in (*graph.outputs.values(), *graph.updates.values()):
        reads[value] = reads.get(value, 0) + 1
    return reads, readers


def _levels(live: list[Node], modes: dict[int, int], ordered: Mapping[int, Sequence[int]]) -> dict[int, int]:
    level: dict[int, int] = {}
    for node in live:
        needed = [v.node for v in operands(node, modes[node.id])]
        before = [i for i in ordered.get(node.id, ()) if i in level]  # what nothing needs is not written
        deepest = max((level[i] for i in (*needed, *before)), default=0)
        level[node.id] = deepest + (node.op == "if_training" and modes[node.id] == BOTH)
    return level


def _blocks(graph: Graph, live: list[Node], modes: dict[int, int], level: dict[int, int]) -> dict[int, int]:
    """The level before which a node of one mode is written: the first that reads it."""
    end = 1 + max(level.values(), default=0)
    blocks: dict[int, int] = {}
    for node in reversed(live):
        at = level[node.id] if modes[node.id] == BOTH else blocks.get(node.id, end)
        blocks.setdefault(node.id, at)
        for value in operands(node, modes[node.id]):
            if modes[value.node] != BOTH:
                blocks[value.node] = min(blocks.get(value.node, end), at)
    return blocks


def buffers_read(graph: Graph) -> dict[int, frozenset[str]]:
    """For each node the buffers whose present values it depends on in training."""
    reached: dict[int, frozenset[str]] = {}
    none: frozenset[str] = frozenset()
    for node in graph:
        found = frozenset({str(node.attributes["path"])}) if node.op == "buffer" else none
        for value in operands(node, TRAINING):
            found |= reached[value.node]
        reached[node.id] = found
    return reached


# --- names -------------------------------------------------------------------------------------------------------------------

_NOUNS = {
    "sum": "total",
    "max": "largest", "min": "smallest", "any": "some", "all": "every", "pow": "power", "eq": "same", "abs": "magnitude",
    "slice": "part", "const": "table", "arange": "positions", "logical_not": "mask", "logical_and": "mask", "logical_or": "mask",
    "lt": "mask",
    "le": "mask", "gt": "mask", "ge": "mask", "ne": "mask", "add": "h", "sub": "difference", "mul": "h", "div": "ratio",
    "matmul": "h", "reshape": "h", "permute": "h", "conv": "h", "conv_transpose": "h", "relu": "h", "tanh": "h", "concat": "h",
    "randn": "noise", "rand": "noise", "round": "rounded", "split": "part", "einsum": "h", "cast": "h", "if_training": "h",
    "max_pool": "h", "avg_pool": "h", "adaptive_avg_pool": "h", "interpolate": "h", "pad": "padded", "take": "h", "where": "h",
    "repeat": "h", "stop_gradient": "h", "softplus": "h", "expand": "h", "dropout": "h", "stack": "h", "flip": "flipped",
}  # fmt: skip

_FILLED = {0: "zeros", 1: "ones"}

_REDUCTIONS = frozenset(name for name, card in CARDS.items() if card.family == "reduce")


def _hints(graph: Graph, live: list[Node], readers: dict[Value, list[Node]]) -> dict[Value, str]:
    hints: dict[Value, str] = {}
    returned = {value: path for path, value in graph.updates.items()}
    returned |= {value: name for name, value in graph.outputs.items()}
    for node in reversed(live):
        for i in range(len(node.types)):
            value = Value(node.id, i)
            wanted = _own_name(node, i) or _from_reader(node, value, readers, hints)
            hints[value] = wanted or _fallback(node, i, returned.get(value))
    return hints


def _own_name(node: Node, index: int) -> str | None:
    return node.name if len(node.types) == 1 else node.names[index] if node.names else None


def _from_reader(node: Node, value: Value, readers: dict[Value, list[Node]], hints: dict[Value, str]) -> str | None:
    """The name of the one result that this value leads to, when it is its first operand."""
    found = readers.get(value, ())
    if len(found) != 1 or len(node.types) > 1:
        return None
    reader = found[0]
    if reader.op in _REDUCTIONS or len(reader.types) > 1 or reader.inputs[0] != value:
        return None
    return hints[Value(reader.id)]


def _fallback(node: Node, index: int, returned: str | None) -> str:
    if node.target is not None:
        callee = node.target.graph
        if node.op == "grad":
            return f"grad_{list(callee.inputs)[index]}"
        if callee.kind == "block":
            return list(callee.outputs)[index + (node.op == "while")]
        if len(node.types) > 1:
            return list(callee.outputs)[index]
        if node.target.child is None:
            return snake_case(callee.definition)
        return "h"
    if returned is not None:
        return returned
    if len(node.types) > 1 and node.op in CARDS and len(CARDS[node.op].results) == len(node.types):
        return CARDS[node.op].results[index]
    if node.op == "full":
        return _FILLED.get(node.attributes["value"], "filled")  # type: ignore[arg-type]
    return _NOUNS.get(node.op, node.op)
