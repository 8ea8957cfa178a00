"""Products that sum over an axis: matrix products and Einstein summation."""

from __future__ import annotations

from typing import cast

import numpy as np

from dsl.dims import Dim, dims_equal, format_dim
from dsl.ops.card import Accepts, Attribute, Attributes, AttributeValue, Card, Example, Form, Operand, OpError
from dsl.ops.einsum import DOTS, Pattern, parse_pattern
from dsl.ops.inference import promoted
from dsl.ops.numpy_types import at_least_i32
from dsl.types import DType, Shape, TensorType, TypeMismatch, broadcast

_silent = np.errstate(all="ignore")
AB = ("a", "b")


def _infer_matmul(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    a, b = types
    dtype = promoted(a, b, AB)
    if not a.shape or not b.shape:
        name, scalar = ("b", b) if a.shape else ("a", a)
        raise OpError(f"{name} is {scalar}, a scalar", name, "a product with a scalar is `*`")
    last, first = a.shape[-1], b.shape[-2 if b.rank > 1 else 0]
    if last is not first and not dims_equal(last, first):
        message = f"a is {a} and b is {b}: the last axis of a is {format_dim(last)}, and b has {format_dim(first)} rows"
        raise OpError(message, "b", _transposition(a, b))
    batch = _batch(a, b)
    return TensorType(dtype, (*batch, *a.shape[-2:-1], *(b.shape[-1:] if b.rank > 1 else ())))


def _batch(a: TensorType, b: TensorType) -> Shape:
    try:
        return broadcast(a.shape[:-2], b.shape[:-2])
    except TypeMismatch as mismatch:
        raise OpError(f"a is {a} and b is {b}: {mismatch} of the leading axes", "b") from None


def _transposition(a: TensorType, b: TensorType) -> str | None:
    """A hint where the product exists with one side transposed."""
    if b.rank > 1 and dims_equal(a.shape[-1], b.shape[-1]):
        return "with b transposed it fits: `a @ b.T`"
    if a.rank > 1 and dims_equal(a.shape[-2], b.shape[-2 if b.rank > 1 else 0]):
        return "with a transposed it fits: `a.T @ b`"
    return None


@_silent
def _matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.matmul(*at_least_i32(a, b)))


def _normalize_einsum(types: tuple[TensorType, ...], attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    return {**attributes, "pattern": parse_pattern(cast(str, attributes["pattern"])).compact()}


def _infer_einsum(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    pattern = parse_pattern(cast(str, attributes["pattern"]))
    if len(pattern.operands) != len(types):
        raise OpError(
            f"the pattern has {len(pattern.operands)} operands, and {len(types)} tensors are given", "pattern", code="DL0402"
        )
    sizes: dict[str, Dim] = {}
    dots: Shape = ()
    dtype = types[0]
    for i, (names, x) in enumerate(zip(pattern.operands, types, strict=True)):
        dots = _bind(names, x, i, sizes, dots)
        dtype = x.with_dtype(promoted(dtype, x, ("xs", "xs")))
    if dtype.dtype is DType.BOOL:
        raise OpError("bool has no arithmetic", "xs", "`cast` to a number first", "DL0403")
    return TensorType(dtype.dtype, _result(pattern, sizes, dots))


def _bind(names: tuple[str, ...], x: TensorType, i: int, sizes: dict[str, Dim], dots: Shape) -> Shape:
    """Binds the axes of one operand; the shape under `...` with this operand's."""
    spread = x.rank - len(names) + 1
    if (DOTS not in names and spread != 1) or spread < 0:
        raise OpError(
            f"operand {i + 1} is {x}, and the pattern gives it {len(names)} axes: {' '.join(names)}", "xs", code="DL0402"
        )
    at = 0
    for name in names:
        if name == DOTS:
            try:
                dots = broadcast(dots, x.shape[at : at + spread])
            except TypeMismatch as mismatch:
                raise OpError(f"operand {i + 1} is {x}: {mismatch} of `...`", "xs") from None
            at += spread
            continue
        size = x.shape[at]
        bound = sizes.setdefault(name, size)
        if bound is not size and not dims_equal(bound, size):
            raise OpError(
                f"operand {i + 1} is {x}: its axis `{name}` is {format_dim(size)}, and `{name}` was {format_dim(bound)}", "xs"
            )
        at += 1
    return dots


def _result(pattern: Pattern, sizes: dict[str, Dim], dots: Shape) -> Shape:
    shape: list[Dim] = []
    for name in pattern.result:
        shape.extend(dots if name == DOTS else (sizes[name],))
    return tuple(shape)


@_silent
def _einsum(*xs: np.ndarray, pattern: str) -> np.ndarray:
    compact = parse_pattern(pattern).compact()
    common = np.result_type(*xs)
    common = np.dtype(np.int32) if common == np.int16 else common
    return np.asarray(np.einsum(compact, *(x.astype(common) for x in xs)))


CARDS: tuple[Card, ...] = (
    Card(
        name="matmul",
        family="linear",
        summary="The matrix product; written `a @ b`.",
        operands=(Operand("a", Accepts.NUMBER), Operand("b", Accepts.NUMBER)),
        attributes=(),
        infer=_infer_matmul,
        reference=_matmul,
        examples=(
            Example("matmul([[1.0, 2.0], [3.0, 4.0]], [[1.0], [10.0]])", [[21.0], [43.0]]),
            Example("linspace(1.0, 2.0, 2) @ [3.0, 4.0]", 11.0),
        ),
        notes="NumPy's rules, which PyTorch, JAX and ONNX share: axes before the last two are stretched like those of `+`; a "
        "tensor with one axis is a row on the left and a column on the right, and that axis is gone from the result.",
    ),
    Card(
        name="einsum",
        family="linear",
        summary="Einstein summation: axes of one name are matched, those not in the result are summed over.",
        operands=(Operand("xs", Accepts.NUMBER, variadic=True),),
        attributes=(Attribute("pattern", Form.STRING),),
        infer=_infer_einsum,
        normalize=_normalize_einsum,
        reference=_einsum,
        examples=(
            Example('einsum([[1.0, 2.0]], [[3.0, 4.0]], pattern="i d, j d -> i j")', [[11.0]]),
            Example('einsum([[1, 2], [3, 4]], pattern="ii->i")', [1, 4]),
        ),
        notes='Names between spaces as in einops, "b i d, b j d -> b i j", or one letter an axis as in NumPy, "bid,bjd->bij"; '
        "`...` stands for any leading axes, stretched. The result is always written. Within a name 1 does not stretch.",
    ),
)
