"""What the shape rules of several families have in common: promotion with broadcasting, axes, typed access to attributes.

Everything here turns a mismatch into an OpError that names the operand to blame and shows the numbers.
"""

from __future__ import annotations

from typing import cast

from dsl.dims import Dim, dim_le, dims_equal, format_dim
from dsl.ops.card import Attributes, AttributeValue, OpError
from dsl.types import DType, Shape, TensorType, TypeMismatch, broadcast, promote

STRETCH_HELP = "sizes are aligned at the right and must be equal, or 1 on one side"


def promoted(a: TensorType, b: TensorType, names: tuple[str, str]) -> DType:
    """The element type of both together, or OpError blaming the second."""
    if a.dtype is b.dtype:
        return a.dtype
    try:
        return promote(a.dtype, b.dtype)
    except TypeMismatch as mismatch:
        help = f"say which is meant, as in `cast({names[1]}, {a.dtype})`"
        raise OpError(f"{names[0]} is {a} and {names[1]} is {b}: {mismatch}", names[1], help, "DL0403") from mismatch


def stretched(a: TensorType, b: TensorType, names: tuple[str, str]) -> Shape:
    """The shape of both together by NumPy's broadcasting, or OpError blaming the second."""
    if a.shape == b.shape:
        return a.shape
    try:
        return broadcast(a.shape, b.shape)
    except TypeMismatch as mismatch:
        raise OpError(f"{names[0]} is {a} and {names[1]} is {b}: {mismatch}", names[1], STRETCH_HELP) from mismatch


def combined(a: TensorType, b: TensorType, names: tuple[str, str]) -> TensorType:
    """Promotion and broadcasting."""
    if a.dtype is b.dtype and a.shape == b.shape:
        return a
    return TensorType(promoted(a, b, names), stretched(a, b, names))


def require_equal(have: Dim, want: Dim, what: str, argument: str) -> None:
    """OpError unless the two sizes are proved equal; `what` says whose sizes they are."""
    if not dims_equal(have, want):
        raise OpError(f"{what}: {format_dim(have)} against {format_dim(want)}", argument)


def require_at_most(count: int, size: Dim, what: str, argument: str) -> None:
    """OpError where `count` is proved larger than `size`."""
    if dim_le(count, size) is False:
        raise OpError(f"{what}: {count} is more than {format_dim(size)}", argument)


def axis(attributes: Attributes, name: str = "over") -> int:
    """A canonical AXIS attribute."""
    return cast(int, attributes[name])


def axes(attributes: Attributes, name: str = "over") -> tuple[int, ...]:
    """A canonical AXES attribute."""
    return cast("tuple[int, ...]", attributes[name])


def dtype_of(attributes: Attributes) -> DType:
    """The canonical `dtype` attribute."""
    return cast(DType, attributes["dtype"])


def within(value: AttributeValue, rank: int, argument: str = "over") -> int:
    """An axis as a non-negative integer, or OpError when a tensor of that rank has none such."""
    if not isinstance(value, int) or isinstance(value, bool) or not -rank <= value < rank:
        span = f"-{rank} to {rank - 1}" if rank else "none: it is a scalar"
        raise OpError(f"axis {value} of a tensor with {rank} axes; it has {span}", argument, code="DL0304")
    return value % rank


def canonical_axis(types: tuple[TensorType, ...], attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    """`normalize` for a card with one axis, the last by default."""
    return {**attributes, "over": within(attributes.get("over", -1), types[0].rank)}


def canonical_axes(types: tuple[TensorType, ...], attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    """`normalize` for a reduction: `none` becomes all axes, one axis a tuple, and the tuple ascends."""
    rank = types[0].rank
    over = attributes.get("over")
    if over is None:
        return {**attributes, "over": tuple(range(rank))}
    listed = over if isinstance(over, tuple) else (over,)
    found = sorted(within(value, rank) for value in listed)
    if not found:
        raise OpError("`over` lists no axis", "over", "leave `over` out to reduce over all axes", "DL0304")
    if len(set(found)) < len(found):
        raise OpError(f"`over` lists an axis twice: {', '.join(map(str, found))}", "over", code="DL0304")
    return {**attributes, "over": tuple(found)}


def canonical_dtype(types: tuple[TensorType, ...], attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    """`normalize` for a card whose dtype is the model's floating type by default; f32 where the elaborator did not say."""
    return {**attributes, "dtype": attributes.get("dtype") or DType.F32}


def canonical_shape(types: tuple[TensorType, ...], attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    """`normalize` for a card that makes a tensor of a given shape: one size becomes a tuple."""
    shape = attributes["shape"]
    shape = shape if isinstance(shape, tuple) else (shape,)
    for size in shape:
        if isinstance(size, int) and size < 0:
            raise OpError(f"a size cannot be negative: {size}", "shape")
    return canonical_dtype(types, {**attributes, "shape": shape})
