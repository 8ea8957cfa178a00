"""Rows of the ONNX backend: arithmetic, reductions, products, creation and control. Shapes and indices are in onnx_shapes.py, windows in
onnx_windows.py, library layers in onnx_layers.py.

Each row writes what the card of the primitive says, also where ONNX's operator of that name means something else.
"""

from __future__ import annotations

from math import inf, prod
from typing import cast

import numpy as np

from backends.base import Unsupported
from backends.onnx_builder import Body
from backends.onnx_creation import CREATION_ROWS
from backends.onnx_matrix import MATRIX_ROWS
from backends.onnx_shapes import SHAPE_ROWS
from backends.onnx_site import Row, Site
from backends.onnx_types import KERNELS
from backends.onnx_values import Tensor
from backends.onnx_windows import WINDOW_ROWS
from dsl.diagnostics import InternalError
from dsl.dims import Dim
from dsl.types import DType, promote

# --- element by element -----------------------------------------------------------------------------------------------------------


def _operands(s: Site, dtype: DType | None = None) -> list[Tensor]:
    """Both operands in their common element type."""
    common = dtype or promote(s.xs[0].dtype, s.xs[1].dtype)
    return [s.body.cast(x, common) for x in s.xs]


def _binary(op: str) -> Row:
    return lambda s: s.body.op(op, *_operands(s))


def _comparison(op: str) -> Row:
    return lambda s: s.body.op(op, *_operands(s), dtype=DType.BOOL)


def _unary(op: str) -> Row:
    return lambda s: s.body.op(op, s.x)


def _ne(s: Site) -> Tensor:
    return s.body.op("Not", s.body.op("Equal", *_operands(s), dtype=DType.BOOL))


def _add(s: Site) -> Tensor:
    """A bias on a product of matrices is noted: together they may be one Gemm."""
    x, y = _operands(s)
    total = s.body.op("Add", x, y)
    ranks = [t.rank for t in s.types]
    if ranks in ([2, 1], [1, 2]):
        s.body.biased[total.name] = (x.name, y.name) if ranks == [2, 1] else (y.name, x.name)
    return total


def _mul(s: Site) -> Tensor:
    return s.body.op("Mul", *_kept_apart(s, _operands(s)))


def _div(s: Site) -> Tensor:
    return s.body.op("Div", *_kept_apart(s, _operands(s, s.result.dtype)))


def _kept_apart(s: Site, factors: list[Tensor]) -> list[Tensor]:
    """In f64, scalars as vectors: onnxruntime moves a scalar factor into a MatMul beside it, and keeps it in single precision there."""
    shape = s.result.shape
    if s.result.dtype is not DType.F64 or not shape:
        return factors
    return [s.body.op("Expand", x, s.body.shape(shape[-1:])) if t.rank == 0 else x for x, t in zip(factors, s.types, strict=True)]


def _remainder(s: Site) -> Tensor:
    return _floor_mod(s.body, *_operands(s))


def _floor_mod(b: Body, x: Tensor, y: Tensor) -> Tensor:
    """ONNX Mod is Python's `%` on integers; on floats it is C's fmod, whose sign is the dividend's."""
    if not x.dtype.is_float:
        return b.op("Mod", x, y, fmod=0)
    rest = b.op("Mod", x, y, fmod=1)
    wrong = b.op("Less", b.op("Mul", rest, y), b.number(0, x.dtype), dtype=DType.BOOL)
    return b.op("Where", wrong, b.op("Add", rest, y), rest)


def _floor_divide(s: Site) -> Tensor:
    """Exact, as NumPy has it: 1.0 // 0.1 is 9, though 1.0 / 0.1 rounds to 10."""
    b, (x, y) = s.body, _operands(s)
    quotient = b.op("Div", b.op("Sub", x, _floor_mod(b, x, y)), y)
    if not x.dtype.is_float:
        return quotient
    quotient = b.op("Round", quotient)
    divisor = b.known(y)
    if divisor is not None and np.all(divisor != 0):
        return quotient
    return b.op("Where", b.op("Equal", y, b.number(0, y.dtype), dtype=DType.BOOL), b.op("Div", x, y), quotient)


def _log1p(s: Site) -> Tensor:
    """Kahan's: with u = 1 + x rounded, log(u) * x / (u - 1) has all its digits."""
    b, x = s.body, s.x
    u = b.op("Add", x, b.number(1, x.dtype))
    d = b.op("Sub", u, b.number(1, x.dtype))
    logarithm = b.op("Log", u)
    scaled = b.op("Mul", x, b.op("Div", logarithm, d))
    plain = b.op("Where", b.op("Equal", d, x, dtype=DType.BOOL), logarithm, scaled)
    return b.op("Where", b.op("Equal", d, b.number(0, x.dtype), dtype=DType.BOOL), x, plain)


def _expm1(s: Site) -> Tensor:
    """exp(x) - 1 = tanh(x / 2) (exp(x) + 1), which keeps the digits of small x."""
    b, x = s.body, s.x
    half = b.op("Tanh", b.op("Mul", x, b.number(0.5, x.dtype)))
    return b.op("Mul", half, b.op("Add", b.op("Exp", x), b.number(1, x.dtype)))


def _softplus(s: Site) -> Tensor:
    b, x = s.body, s.x
    if x.dtype is not DType.F64:
        return b.op("Softplus", x)
    tail = b.op("Log", b.op("Add", b.op("Exp", b.op("Neg", b.op("Abs", x))), b.number(1, x.dtype)))
    return b.op("Add", b.op("Max", x, b.number(0, x.dtype)), tail)


def _rsqrt(s: Site) -> Tensor:
    return s.body.op("Reciprocal", s.body.op("Sqrt", s.x))


def _relu(s: Site) -> Tensor:
    if s.x.dtype in (DType.I64, DType.U8):
        return s.body.op("Max", s.x, s.body.number(0, s.x.dtype))
    return s.body.op("Relu", s.x)


def _isnan(s: Site) -> Tensor:
    return s.body.op("IsNaN", s.x, dtype=DType.BOOL)


def _clip(s: Site) -> Tensor:
    """With one bound it is Max or Min: onnxruntime's Clip takes the largest finite number for a bound left out."""
    bounds = [None if (v := s.node.attributes[k]) is None else s.body.number(cast(float, v), s.x.dtype) for k in ("low", "high")]
    low, high = bounds
    if low is not None and high is not None:
        return s.body.op("Clip", s.x, low, high)
    return s.body.op("Max", s.x, low) if low is not None else s.body.op("Min", s.x, high)


def _where(s: Site) -> Tensor:
    condition, x, y = s.xs
    return s.body.op("Where", condition, *(s.body.cast(v, promote(x.dtype, y.dtype)) for v in (x, y)))


def _cast(s: Site) -> Tensor:
    return s.body.cast(s.x, s.dtype())


# --- reductions -------------------------------------------------------------------------------------------------------------------


def _over(s: Site) -> tuple[int, ...]:
    return s.ints("over")


def _nothing(s: Site) -> bool:
    """Whether an axis of size 0 is reduced."""
    return any(s.shape[i] == 0 for i in _over(s))


def _filled(s: Site, value: float) -> Tensor:
    return s.body.op("Expand", s.body.number(value, s.result.dtype), s.body.shape(s.result.shape))


def _reduction(op: str, nothing: float) -> Row:
    """A reduction in the element type of its result, with the value over nothing."""

    def row(s: Site) -> Tensor:
        if _nothing(s):
            return _filled(s, nothing)
        return s.body.reduce(op, s.body.cast(s.x, s.result.dtype), _over(s), s.flag("keepdims"))

    return row


def _extreme(op: str) -> Row:
    """onnxruntime drops a NaN: it comes back as the sum of zero times each element, infinities clipped."""

    def row(s: Site) -> Tensor:
        b, x = s.body, s.x
        found = b.reduce(op, x, _over(s), s.flag("keepdims"))
        if not x.dtype.is_float:
            return found
        top = {DType.F16: 65504.0, DType.F64: float(np.finfo(np.float64).max)}.get(x.dtype, 3e38)
        zeros = b.op("Mul", b.op("Clip", x, b.number(-top, x.dtype), b.number(top, x.dtype)), b.number(0, x.dtype))
        return b.op("Add", found, b.reduce("ReduceSum", zeros, _over(s), s.flag("keepdims")))

    return row


def _quantifier(op: str, nothing: float) -> Row:
    def row(s: Site) -> Tensor:
        if _nothing(s):
            return s.body.cast(s.body.op("Expand", s.body.number(nothing, DType.I32), s.body.shape(s.result.shape)), DType.BOOL)
        counted = s.body.cast(s.x, DType.I32)
        return s.body.cast(s.body.reduce(op, counted, _over(s), s.flag("keepdims")), DType.BOOL)

    return row


def _position(op: str) -> Row:
    return lambda s: s.body.op(
        op, s.x, dtype=DType.I64, axis=s.int("over"), keepdims=int(s.flag("keepdims")), select_last_index=0
    )


def _var(s: Site) -> Tensor:
    b, x, over = s.body, s.x, _over(s)
    centred = b.op("Sub", x, _mean_of(s))
    squares = b.op("Mul", centred, centred)
    correction = s.int("correction")
    if not correction:
        return b.reduce("ReduceMean", squares, over, s.flag("keepdims"))
    count: Dim = prod((s.shape[i] for i in over), start=1)
    divisor = b.number(count - correction, x.dtype) if isinstance(count, int) else b.cast(b.size(count - correction), x.dtype)
    return b.op("Div", b.reduce("ReduceSum", squares, over, s.flag("keepdims")), divisor)


def _mean_of(s: Site) -> Tensor:
    return s.x if not _over(s) else s.body.reduce("ReduceMean", s.x, _over(s), True)


def _norm(s: Site) -> Tensor:
    b, x, p, over, kept = s.body, s.x, s.number("p"), _over(s), s.flag("keepdims")
    if _nothing(s):
        return _filled(s, 0.0)
    if p in (1.0, 2.0):
        return b.reduce("ReduceL1" if p == 1 else "ReduceL2", x, over, kept)
    size = b.op("Abs", x)
    if p == inf:
        return b.reduce("ReduceMax", size, over, kept)
    total = b.reduce("ReduceSum", b.op("Pow", size, b.number(p, x.dtype)), over, kept)
    return b.op("Pow", total, b.number(1 / p, x.dtype))


def _cumsum(s: Site) -> Tensor:
    return s.body.op("CumSum", s.body.cast(s.x, s.result.dtype), s.body.const(s.int("over")))


# --- products ---------------------------------------------------------------------------------------------------------------------


def _matmul(s: Site) -> Tensor:
    """A vector on the right is made a column: onnxruntime forgets a transposition of the left that it has fused. Of nothing it is
    zeros: onnxruntime fuses a product with the sum after it, and cannot when there is nothing."""
    if any(0 in t.shape for t in s.types):
        return _filled(s, 0.0)
    left, right = _operands(s)
    if s.types[1].rank == 1 and s.types[0].rank > 1:
        column = s.body.op("MatMul", left, s.body.unsqueeze(right, 1))
        return s.body.squeeze(column, -1)
    y = s.body.op("MatMul", left, right)
    if s.types[0].rank == s.types[1].rank == 2 and y.dtype in KERNELS["Gemm"]:
        s.body.matrices.add(y.name)
    return y


def _einsum(s: Site) -> Tensor:
    dtype = s.result.dtype
    return s.body.op("Einsum", *(s.body.cast(x, dtype) for x in s.xs), equation=s.text("pattern"))


# --- control ----------------------------------------------------------------------------------------------------------------------


def _same(s: Site) -> Tensor:
    return s.x


def _size(s: Site) -> Tensor:
    return s.body.cast(s.body.size(s.dim("dim")), s.dtype())


def _training_only(s: Site) -> Tensor:
    raise InternalError(f"`{s.node.op}` reached the ONNX backend: the graph was not specialised to inference")


ROWS: dict[str, Row | Unsupported] = {
    "add": _add,
    "sub": _binary("Sub"),
    "mul": _mul,
    "div": _div,
    "pow": _binary("Pow"),
    "maximum": _binary("Max"),
    "minimum": _binary("Min"),
    "floor_divide": _floor_divide,
    "remainder": _remainder,
    "eq": _comparison("Equal"),
    "ne": _ne,
    "lt": _comparison("Less"),
    "le": _comparison("LessOrEqual"),
    "gt": _comparison("Greater"),
    "ge": _comparison("GreaterOrEqual"),
    "logical_and": _binary("And"),
    "logical_or": _binary("Or"),
    "logical_xor": _binary("Xor"),
    "logical_not": _unary("Not"),
    "neg": _unary("Neg"),
    "abs": _unary("Abs"),
    "sign": _unary("Sign"),
    "exp": _unary("Exp"),
    "log": _unary("Log"),
    "log1p": _log1p,
    "expm1": _expm1,
    "sqrt": _unary("Sqrt"),
    "rsqrt": _rsqrt,
    "sin": _unary("Sin"),
    "cos": _unary("Cos"),
    "tanh": _unary("Tanh"),
    "sigmoid": _unary("Sigmoid"),
    "erf": _unary("Erf"),
    "relu": _relu,
    "softplus": _softplus,
    "floor": _unary("Floor"),
    "ceil": _unary("Ceil"),
    "round": _unary("Round"),
    "isnan": _isnan,
    "clip": _clip,
    "where": _where,
    "cast": _cast,
    "sum": _reduction("ReduceSum", 0.0),
    "mean": _reduction("ReduceMean", float("nan")),
    "prod": _reduction("ReduceProd", 1.0),
    "max": _extreme("ReduceMax"),
    "min": _extreme("ReduceMin"),
    "any": _quantifier("ReduceMax", 0),
    "all": _quantifier("ReduceMin", 1),
    "logsumexp": _reduction("ReduceLogSumExp", -inf),
    "argmax": _position("ArgMax"),
    "argmin": _position("ArgMin"),
    "var": _var,
    "norm": _norm,
    "cumsum": _cumsum,
    "matmul": _matmul,
    "einsum": _einsum,
    "dropout": _training_only,
    "stop_gradient": _same,
    "if_training": _training_only,
    "size": _size,
    **MATRIX_ROWS,
    **CREATION_ROWS,
    **SHAPE_ROWS,
    **WINDOW_ROWS,
}
"""How each primitive is spelled. `dropout` and `if_training` are gone from graphs specialised to inference."""
