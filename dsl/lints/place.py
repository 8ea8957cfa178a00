"""What a lint is given: one node of a graph and what is known of its operands; and the warning that it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dsl.diagnostics import Diagnostic, Label
from dsl.dims import Dim, symbols_of
from dsl.ir import Graph, Node, Value
from dsl.lints.facts import Facts, operator, written
from dsl.source import Span


@dataclass(frozen=True, slots=True)
class Place:
    """A node where the spec or a layer of the library applies it. `operands` are the facts of its operands, `batch` the names that the
    dimension of the examples has in this graph, `readers` how often each value is read or returned, `caller` the place in the spec that
    applies the layer of the library that the node is in."""

    graph: Graph
    node: Node
    operands: tuple[Facts, ...]
    batch: frozenset[str]
    readers: Mapping[Value, int]
    caller: Span | None = None

    @property
    def name(self) -> str:
        return operator(self.node)

    @property
    def span(self) -> Span:
        return self.caller or written(self.node)

    def operand(self, index: int) -> Node:
        return self.graph.node(self.node.inputs[index])

    def shape(self, index: int) -> tuple[Dim, ...]:
        """The sizes of an operand."""
        return self.graph.type(self.node.inputs[index]).shape

    def is_batch(self, size: Dim) -> bool:
        """Whether a size is the number of examples."""
        return not isinstance(size, int) and str(size) in self.batch and len(symbols_of(size)) == 1


Lint = Callable[[Place], Iterator[Diagnostic]]
"""What finds mistakes at one node."""


def warning(code: str, message: str, span: Span, *, text: str = "", labels: Sequence[Label] = (), help: str = "") -> Diagnostic:
    return Diagnostic(code, message, span, text, tuple(labels), help=help or None, severity="warning")
