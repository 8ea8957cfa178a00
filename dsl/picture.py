"""The data flow of a model as boxes and arrows, for `dslc show --graph`: one box a layer or operation, none for what only moves data.

Shapes are those of the graph that a box stands in. Knows nothing of how a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dsl.dims import Expr, format_dim
from dsl.ir import Graph, Node, Value
from dsl.summary import live
from dsl.types import TensorType

QUIET = frozenset({"reshape", "permute", "expand", "cast", "stop_gradient"})
"""Operations that an arrow passes through."""

HIDDEN = frozenset({"const", "size"})


@dataclass(frozen=True, slots=True)
class Box:
    """One box. `kind` is `input`, `output`, `layer`, `repeat`, `loop`, `param` or `op`; `inside` is the graph of a layer or a block, and
    `opened` its picture where the box is drawn open."""

    id: str
    kind: str
    label: str
    result: str
    inside: Graph | None = None
    opened: Picture | None = None


@dataclass(frozen=True, slots=True)
class Arrow:
    """Data that flows from one box to another, with its type."""

    source: str
    target: str
    label: str


@dataclass(frozen=True, slots=True)
class Picture:
    """One graph. `title` names the definition."""

    title: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def picture(graph: Graph, depth: int = 1, prefix: str = "n", *, library: bool = True) -> Picture:
    """The picture of a graph; layers have theirs inside them down to `depth`, and none at depth 1. Those of the library stay closed
    without `library`."""
    return _Painter(graph, depth, prefix, library).picture()


class _Painter:
    def __init__(self, graph: Graph, depth: int, prefix: str, library: bool) -> None:
        self.graph = graph
        self.depth = depth
        self.prefix = prefix
        self.library = library
        self.nodes = live(graph)
        self.shown = {n.id for n in self.nodes if n.op not in HIDDEN and n.op not in QUIET}

    def picture(self) -> Picture:
        boxes = [self._box(n) for n in self.nodes if n.id in self.shown]
        arrows: dict[Arrow, None] = {}
        for node in self.nodes:
            if node.id in self.shown:
                for operand in node.inputs:
                    arrows |= dict.fromkeys(
                        Arrow(s, self._id(node), _short(self.graph.type(v))) for s, v in self._sources(operand)
                    )
        for i, (name, value) in enumerate(self.graph.outputs.items()):
            box = Box(f"{self.prefix}_out{i}", "output", name, _short(self.graph.type(value)))
            boxes.append(box)
            arrows |= dict.fromkeys(Arrow(s, box.id, _short(self.graph.type(v))) for s, v in self._sources(value))
        return Picture(self.graph.definition, tuple(boxes), tuple(arrows))

    def _id(self, node: Node) -> str:
        return f"{self.prefix}_{node.id}"

    def _sources(self, value: Value) -> Iterator[tuple[str, Value]]:
        """The boxes that a value comes from, through what only moves data."""
        node = self.graph.node(value)
        if node.id in self.shown:
            yield self._id(node), value
        elif node.op in QUIET:
            for operand in node.inputs:
                yield from self._sources(operand)

    def _box(self, node: Node) -> Box:
        result = ", ".join(_short(t) for t in node.types)
        call = node.target
        if call is None:
            kind = node.op if node.op in ("input", "param") else "param" if node.op == "buffer" else "op"
            named = {"input": "name", "param": "path", "buffer": "path"}.get(node.op)
            return Box(self._id(node), kind, str(node.attributes[named]) if named else node.op, result)
        if call.child is None and call.graph.kind != "block":
            return Box(self._id(node), "op", call.graph.definition, result)
        opened = None
        if self.depth > 1 and (self.library or not call.graph.library):
            opened = picture(call.graph, self.depth - 1, self._id(node), library=self.library)
        if call.graph.kind == "block":
            return Box(self._id(node), "loop" if node.op != "grad" else "op", _block_label(node), result, call.graph, opened)
        copies = "" if call.count is None else f"{call.count} × "
        kind = "layer" if call.count is None else "repeat"
        return Box(self._id(node), kind, f"{call.child}: {copies}{call.graph.definition}", result, call.graph, opened)


def _block_label(node: Node) -> str:
    """What a node with a block does, and how often."""
    bound = node.attributes.get("count", node.attributes.get("limit"))
    if not isinstance(bound, int | Expr):
        return node.op
    return f"{node.op}: {format_dim(bound)} steps" + (" at most" if node.op == "while" else "")


def _short(type_: TensorType) -> str:
    return f"[{', '.join(map(format_dim, type_.shape))}]"
