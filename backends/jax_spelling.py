"""What the rows of JAX have in common: arrays and Python numbers, promotion, axes and shapes as text.

Arrays are strongly typed and Python numbers weakly, so a number beside an array takes the array's type by itself; what has no array
beside it is made one here.
"""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np

from backends.python import Body, Dialect
from backends.writer import Expression, call, method, sequence
from dsl.dims import Dim
from dsl.ir import Node
from dsl.ops.card import AttributeValue
from dsl.ops.inference import axis
from dsl.types import DType, TensorType


class JaxDialect(Dialect, Protocol):
    """What a row may ask of the function being written, beyond its body."""

    def dtype(self, dtype: DType) -> str:
        """An element type: `jnp.float32`."""

    def copied(self, function: str) -> str:
        """The name of a function of jax_layers.py, which the file then has."""

    def table(self, body: Body, value: np.ndarray, dtype: DType, name: str) -> Expression:
        """A constant of the file."""

    def key(self, node: Node) -> Expression:
        """The key of a node that draws random numbers."""


Operands = list[Expression]


def target(body: Body) -> JaxDialect:
    return cast(JaxDialect, body.dialect)


def types(body: Body, node: Node) -> tuple[TensorType, ...]:
    """The types of the operands."""
    return tuple(body.graph.type(v) for v in node.inputs)


def array(body: Body, x: Expression, type_: TensorType) -> Expression:
    """`x` as an array, also where it is a Python number."""
    return call("jnp.array", x, target(body).dtype(type_.dtype)) if x.scalar else x


def arrays(body: Body, node: Node, xs: Operands) -> list[Expression]:
    return [array(body, x, t) for x, t in zip(xs, types(body, node), strict=True)]


def as_type(body: Body, x: Expression, dtype: DType) -> Expression:
    return method(x, "astype", target(body).dtype(dtype))


def promoted(body: Body, node: Node, xs: Operands) -> list[Expression]:
    """Operands that NumPy's promotion takes to the type that the card says: numbers stay numbers where an array decides."""
    kinds = [t.dtype for t in types(body, node)]
    wanted = wider(set(kinds))
    if wanted not in kinds:
        return [as_type(body, x, wanted) for x in arrays(body, node, xs)]
    if any(kind is wanted and not x.scalar for x, kind in zip(xs, kinds, strict=True)):
        return xs
    deciding = kinds.index(wanted)
    return [array(body, x, types(body, node)[i]) if i == deciding else x for i, x in enumerate(xs)]


_WIDTH_ORDER = (
    DType.BOOL, DType.U8, DType.I8, DType.I32, DType.I64, DType.F16, DType.BF16, DType.F32, DType.F64,
)  # fmt: skip


def wider(dtypes: set[DType]) -> DType:
    """The element type of all together (see dsl.types.promote)."""
    if {DType.I8, DType.U8} <= dtypes:
        dtypes = dtypes | {DType.I32}
    return max(dtypes, key=_WIDTH_ORDER.index)


def axis_text(over: tuple[int, ...], rank: int) -> str | None:
    """`axis=` of a reduction; all axes need none."""
    if over == tuple(range(rank)):
        return None
    last = over[0] - rank if len(over) == 1 and over[0] == rank - 1 and rank > 1 else None
    return str(last) if last is not None else str(over[0]) if len(over) == 1 else int_tuple_text(over)


def one_axis(node: Node, rank: int) -> str:
    over = axis(node.attributes)
    return "-1" if over == rank - 1 else str(over)


def int_tuple_text(values: tuple[int, ...]) -> str:
    return sequence(map(str, values)).text


def true(value: AttributeValue) -> str | None:
    return "True" if value else None


def shape_text(body: Body, shape: tuple[Dim, ...]) -> Expression:
    return sequence(body.dim(d) for d in shape)
