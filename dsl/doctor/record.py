"""The reference, taking notes: what each layer gives, what each loss of the library is given, and every node with the path of its layer.

Where the program itself differentiates (`grad`), a backend that can does it, since the reference would take a difference an element.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from backends.reference import Interpreter
from dsl.doctor.known_losses import LOSSES
from dsl.ir import Graph, Node
from dsl.source import NOWHERE, Span


@dataclass(frozen=True, slots=True)
class Term:
    """A loss of the library where it was applied: the function, what it was given by name, and its value."""

    graph: Graph
    given: Mapping[str, np.ndarray]
    value: np.ndarray
    span: Span


def by_place(terms: list[Term]) -> list[list[Term]]:
    """The terms that stand in one place of the spec together: a loop has one a step."""
    groups: dict[object, list[Term]] = {}
    for term in terms:
        groups.setdefault((id(term.graph), term.span.start), []).append(term)
    return list(groups.values())


@dataclass(frozen=True, slots=True)
class Seen:
    """A node that was computed: the layer that it is in, its results, and its place in the user's text."""

    graph: Graph
    node: Node
    layer: str
    results: tuple[np.ndarray, ...]
    span: Span


See = Callable[[Seen], None]
Slope = Callable[[Node, list[np.ndarray], Mapping[str, int], str, "Recorder"], tuple[np.ndarray, ...]]
"""The results of a `grad` node, with the path of its owner."""


class Recorder(Interpreter):
    """`layers` has what each layer that owns parameters gave, by its path, once a call; `places` where the user applies each; `terms` the
    losses, outermost ones only."""

    def __init__(
        self,
        state: Mapping[str, np.ndarray],
        *,
        training: bool,
        seed: int = 0,
        see: See | None = None,
        slope: Slope | None = None,
    ) -> None:
        super().__init__(state, training=training, seed=seed)
        self.layers: dict[str, list[np.ndarray]] = {}
        self.places: dict[str, Span] = {}
        self.terms: list[Term] = []
        self._see = see
        self._slope = slope
        self._layer = ""
        self._calls: list[Node] = []
        self._in_loss = False
        if see is not None:
            self.watch = self._notice

    def run(self, graph: Graph, inputs: Mapping[str, np.ndarray], prefix: str = "") -> dict[str, np.ndarray]:
        before, self._layer = self._layer, prefix.removesuffix(".")
        if graph.kind != "fn":
            self.places.setdefault(self._layer, self._place())
        is_term = graph.library and graph.kind == "fn" and graph.definition in LOSSES and not self._in_loss and not self.tapes
        self._in_loss = self._in_loss or is_term
        outputs = super().run(graph, inputs, prefix)
        if is_term:
            self._in_loss = False
            self.terms.append(Term(graph, dict(inputs), next(iter(outputs.values())), self._place()))
        if graph.parameters and graph.kind != "train" and not self.tapes:
            results = [x for x in outputs.values() if x.dtype.kind == "f"]
            self.layers.setdefault(self._layer, []).extend(results[:1])
        self._layer = before
        return outputs

    def _call(self, node: Node, operands: list[np.ndarray], prefix: str) -> tuple[np.ndarray, ...]:
        self._calls.append(node)
        results = super()._call(node, operands, prefix)
        self._calls.pop()
        return results

    def _grad(self, node: Node, operands: list[np.ndarray], sizes: Mapping[str, int], prefix: str) -> tuple[np.ndarray, ...]:
        if self._slope is None or self.tapes:
            return super()._grad(node, operands, sizes, prefix)
        return self._slope(node, operands, sizes, prefix, self)

    def _notice(self, graph: Graph, node: Node, results: tuple[np.ndarray, ...]) -> None:
        assert self._see is not None
        self._see(Seen(graph, node, self._layer, results, self._place(node)))

    def _place(self, node: Node | None = None) -> Span:
        """The innermost place that the user wrote, from a node or the calls around it."""
        chain = [*self._calls, *([node] if node is not None else [])]
        return users_place([span for n in reversed(chain) for span in n.spans])


def users_place(spans: list[Span]) -> Span:
    """The first span that is not in the library."""
    return next((s for s in spans if s is not NOWHERE and not s.source.name.startswith("dsl/lib/")), NOWHERE)
