"""Blocks: the body of a `scan` or a `while`, a graph that reads the tensors around it as inputs and shares layers and sizes with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from dsl.build import Builder
from dsl.dims import Dim, Expr, symbol, symbols_of
from dsl.elaborate.context import Context
from dsl.elaborate.frame import Frame
from dsl.elaborate.values import ParameterSet, Results, Tensor
from dsl.ir import Call, Graph, Node, Value
from dsl.ops.card import AttributeValue
from dsl.source import Span
from dsl.types import TensorType


@dataclass(slots=True, eq=False)
class Block:
    """A block under construction: the frame of its statements, and the outer tensors that it reads with what they are inside."""

    frame: Frame
    captured: dict[Value, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        return self.frame.graph

    def input(self, name: str, type_: TensorType, names: tuple[str | None, ...], span: Span) -> Tensor:
        """A new input of the block, under `name` where that is free."""
        free, number = name, 1
        while free in self.graph.inputs:
            free = f"{name}_{number}"
            number += 1
        node = self.graph.add("input", (), {"name": free}, (type_,), spans=(span,))
        self.graph.inputs[free] = Value(node.id)
        return Tensor(Value(node.id), names)

    def outer(self) -> list[Tensor]:
        """What the block reads from outside, in the order of its inputs."""
        return [outside for outside, _ in self.captured.values()]

    def drop_unread(self, tensor: Tensor) -> bool:
        """Remove an input that nothing reads; whether it was one."""
        read = {v for node in self.graph for v in node.inputs} | self.graph.returned()
        if tensor.value in read:
            return False
        name = next(n for n, v in self.graph.inputs.items() if v == tensor.value)
        del self.graph.inputs[name]
        self.graph.remove([self.graph.node(tensor.value)])
        return True


def open_block(context: Context, frame: Frame, definition: str, span: Span) -> Block:
    """A block of `frame`: names of the frame are read through it, and what it declares belongs to the owner of the frame's graph."""
    graph = Graph(definition, kind="block", span=span)
    inner = Frame(graph, Builder(graph, context.float_type), frame.unit, depth=frame.depth + 1, parent=frame)
    inner.holder, inner.mode, inner.fixed = frame.owner, frame.mode, frame.fixed
    inner.functions = frame.functions
    inner.children, inner.numbers = frame.children, frame.numbers
    inner.loops, inner.branches, inner.in_test = frame.loops, frame.branches, frame.in_test
    block = Block(inner)

    def translate(outer: object) -> object:
        match outer:
            case Tensor():
                if outer.value not in block.captured:
                    name = _captured_name(frame.graph.node(outer.value), len(block.captured))
                    block.captured[outer.value] = (outer, block.input(name, frame.type(outer), outer.names, span))
                return Tensor(block.captured[outer.value][1].value, outer.names)
            case Results():
                return Results({name: translate(t) for name, t in outer.tensors.items()}, outer.lists)  # type: ignore[misc]
            case ParameterSet():
                return ParameterSet({name: translate(t) for name, t in outer.tensors.items()})  # type: ignore[misc]
            case tuple():
                return tuple(translate(v) for v in outer)
            case _:
                return outer

    inner.translate = translate
    if frame.step is not None:
        steps = frame.step
        inner.step = lambda: cast("Tensor", translate(steps()))
    return block


def _captured_name(node: Node, number: int) -> str:
    path = node.attributes.get("path") or node.attributes.get("name")
    return node.name or (str(path).rsplit(".", 1)[-1] if path is not None else f"outer_{number}")


def block_call(graph: Graph) -> Call:
    """The target of a node that has `graph` as its block."""
    return Call(graph, None, dict(sorted(symbols_of_nodes(graph).items())))


def symbols_of_nodes(nodes: Iterable[Node]) -> Mapping[str, Dim]:
    """The symbolic dimensions that nodes of a graph have in their types and attributes, each as itself."""
    found: dict[str, Dim] = {}
    for node in nodes:
        sizes = [d for t in node.types for d in t.shape]
        sizes += [d for value in node.attributes.values() for d in _sizes(value)]
        if node.target is not None:
            sizes += list(node.target.bindings.values())
        for size in sizes:
            for name in symbols_of(size):
                found.setdefault(name, symbol(name))
    return found


def _sizes(value: AttributeValue) -> Iterator[Dim]:
    if isinstance(value, Expr):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _sizes(item)
