"""Tensor types: element types, shapes, promotion and broadcasting.

Promotion widens within a kind (f16 to f32, i32 to i64) and lets `bool` become anything; an integer tensor never becomes a floating one
by itself (docs/language.md, "Types").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dsl.dims import Dim, dims_equal, format_dim


class DType(Enum):
    """An element type; the value is the name that specs use."""

    F16 = "f16"
    BF16 = "bf16"
    F32 = "f32"
    F64 = "f64"
    I8 = "i8"
    U8 = "u8"
    I32 = "i32"
    I64 = "i64"
    BOOL = "bool"

    @property
    def is_float(self) -> bool:
        return self in _FLOATS

    @property
    def is_int(self) -> bool:
        return self in _INTS

    @property
    def bytes(self) -> int:
        return _BYTES[self]

    def __str__(self) -> str:
        return self.value


_FLOATS = frozenset({DType.F16, DType.BF16, DType.F32, DType.F64})
_INTS = frozenset({DType.I8, DType.U8, DType.I32, DType.I64})
_BYTES = {
    DType.F16: 2, DType.BF16: 2, DType.F32: 4, DType.F64: 8,
    DType.I8: 1, DType.U8: 1, DType.I32: 4, DType.I64: 8, DType.BOOL: 1,
}  # fmt: skip

Shape = tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape; a scalar has the shape `()`."""

    dtype: DType
    shape: Shape

    @property
    def rank(self) -> int:
        return len(self.shape)

    def with_shape(self, shape: Shape) -> TensorType:
        return TensorType(self.dtype, shape)

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(dtype, self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(format_dim, self.shape))}]"


class TypeMismatch(Exception):
    """Types that do not go together; the text says which, with the numbers. The caller adds the place."""


_WIDENING = (
    (DType.F16, DType.F32), (DType.BF16, DType.F32), (DType.F32, DType.F64),
    (DType.U8, DType.I32), (DType.I8, DType.I32), (DType.I32, DType.I64),
)  # fmt: skip


def _wider(dtype: DType) -> set[DType]:
    found = {dtype}
    for low, high in _WIDENING:
        if low in found:
            found.add(high)
    return found


_ABOVE = {dtype: _wider(dtype) for dtype in DType}
_ORDER = list(DType)


def promote(a: DType, b: DType) -> DType:
    """The element type of `a` combined with `b`, or TypeMismatch when only a `cast` can say which is meant."""
    if a is b:
        return a
    if a is DType.BOOL:
        return b
    if b is DType.BOOL:
        return a
    common = _ABOVE[a] & _ABOVE[b]
    if not common:
        raise TypeMismatch(f"{a} and {b} do not mix without a `cast`")
    return min(common, key=_ORDER.index)


def broadcast(a: Shape, b: Shape) -> Shape:
    """NumPy's rule: align at the right, 1 stretches. Sizes that cannot be proved equal are an error."""
    if a == b:
        return a
    if len(a) < len(b):
        a, b = b, a
    offset = len(a) - len(b)
    result = list(a)
    for i, size in enumerate(b, offset):
        have = result[i]
        if have is size or have == size or size == 1:
            continue
        if have == 1:
            result[i] = size
        elif not dims_equal(have, size):
            raise TypeMismatch(f"{format_dim(a[i])} against {format_dim(size)} in axis {i}")
    return tuple(result)
