"""What a row of the ONNX backend sees of a node: the body to add to, operands, types in the sizes of that body, attributes."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

from backends.onnx_builder import Body
from backends.onnx_values import Tensor
from dsl.dims import Dim, substitute
from dsl.ir import Node
from dsl.types import DType, Shape, TensorType

Bindings: TypeAlias = Mapping[str, Dim]
"""Sizes of a graph in terms of the body that it is written into."""


@dataclass(slots=True)
class Site:
    """One node on its way into `body`."""

    body: Body
    node: Node
    xs: list[Tensor]
    types: list[TensorType]
    bindings: Bindings

    @property
    def x(self) -> Tensor:
        return self.xs[0]

    @property
    def shape(self) -> Shape:
        """The shape of the first operand."""
        return self.types[0].shape

    @property
    def rank(self) -> int:
        return self.types[0].rank

    @property
    def result(self) -> TensorType:
        return bound(self.node.type, self.bindings)

    def dim(self, name: str) -> Dim:
        return bound_dim(cast(Dim, self.node.attributes[name]), self.bindings)

    def dims(self, name: str) -> Shape:
        return tuple(bound_dim(d, self.bindings) for d in cast(Shape, self.node.attributes[name]))

    def int(self, name: str) -> builtins.int:
        return cast(builtins.int, self.node.attributes[name])

    def ints(self, name: str) -> tuple[builtins.int, ...]:
        return cast("tuple[builtins.int, ...]", self.node.attributes[name])

    def pairs(self, name: str) -> tuple[tuple[builtins.int, builtins.int], ...]:
        return cast("tuple[tuple[builtins.int, builtins.int], ...]", self.node.attributes[name])

    def text(self, name: str) -> str:
        return cast(str, self.node.attributes[name])

    def flag(self, name: str) -> bool:
        return cast(bool, self.node.attributes[name])

    def number(self, name: str) -> float:
        return cast(float, self.node.attributes[name])

    def dtype(self) -> DType:
        return cast(DType, self.node.attributes["dtype"])


Row: TypeAlias = Callable[[Site], "Tensor | tuple[Tensor, ...]"]


def bound_dim(d: Dim, bindings: Bindings) -> Dim:
    return d if isinstance(d, int) or not bindings else substitute(d, bindings)


def bound(t: TensorType, bindings: Bindings) -> TensorType:
    if not bindings or all(isinstance(d, int) for d in t.shape):
        return t
    return t.with_shape(tuple(bound_dim(d, bindings) for d in t.shape))
