"""Rows of the ONNX backend for convolution, pooling and resizing of x [batch, channels, *spatial]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from backends.base import Unsupported
from backends.onnx_builder import Body
from backends.onnx_site import Row, Site
from backends.onnx_types import Refused
from backends.onnx_values import Tensor
from dsl.dims import Dim
from dsl.types import DType

Pairs = tuple[tuple[int, int], ...]


def pads(padding: Pairs) -> list[int] | None:
    """ONNX lists all lows first; None where nothing is padded."""
    return [low for low, _ in padding] + [high for _, high in padding] if any(map(any, padding)) else None


def unless_ones(values: Sequence[int]) -> list[int] | None:
    return list(values) if any(v != 1 for v in values) else None


def conv(s: Site, weight: Tensor, kernel: Sequence[int], bias: Tensor | None = None) -> Tensor:
    """Conv of the first operand, from the attributes of a `conv` node."""
    return s.body.op(
        "Conv", s.x, weight, *([bias] if bias else []), kernel_shape=list(kernel), strides=unless_ones(s.ints("stride")),
        pads=pads(s.pairs("padding")), dilations=unless_ones(s.ints("dilation")), group=s.int("groups"),
    )  # fmt: skip


def conv_transpose(s: Site, weight: Tensor, kernel: Sequence[int], bias: Tensor | None = None) -> Tensor:
    """ConvTranspose of the first operand, from the attributes of a `conv_transpose` node.

    onnxruntime wants `output_padding` below the stride; what is more is taken off the padding at the end, or added as zeros.
    """
    padding, extra, stride = list(s.pairs("padding")), list(s.ints("output_padding")), s.ints("stride")
    zeros = [0] * len(extra)
    for i, e in enumerate(extra):
        if e >= stride[i]:
            low, high = padding[i]
            padding[i], zeros[i], extra[i] = (low, high - min(e, high)), e - min(e, high), 0
    if bias is not None and any(zeros):
        raise Refused("zeros are added before the bias")
    y = s.body.op(
        "ConvTranspose", s.x, weight, *([bias] if bias else []), kernel_shape=list(kernel), strides=unless_ones(stride),
        pads=pads(tuple(padding)), dilations=unless_ones(s.ints("dilation")), group=s.int("groups"),
        output_padding=extra if any(extra) else None,
    )  # fmt: skip
    widths = [0] * (s.rank + 2) + zeros
    return s.body.op("Pad", y, s.body.const(widths), s.body.number(0, y.dtype), mode="constant") if any(zeros) else y


def _kernel(s: Site) -> list[int]:
    return [k for k in s.types[1].shape[2:] if isinstance(k, int)]


def _conv(s: Site) -> Tensor:
    return conv(s, s.xs[1], _kernel(s))


def _conv_transpose(s: Site) -> Tensor:
    return conv_transpose(s, s.xs[1], _kernel(s))


@dataclass(frozen=True, slots=True)
class Windows:
    """How a pooling node is told to ONNX: what remains of the operand, its padding and `ceil_mode`."""

    x: Tensor
    padding: Pairs
    ceil: bool


def _windows(s: Site, dilation: Sequence[int]) -> Windows:
    """ONNX's `ceil_mode` keeps a last window that starts in the padding at the end, which the card drops: there the end is cut off."""
    padding = list(s.pairs("padding"))
    if not s.flag("ceil_mode"):
        return Windows(s.x, tuple(padding), False)
    rounds_up = False
    cut: dict[int, int] = {}
    for i, (n, m, k, step, d) in enumerate(
        zip(s.shape[2:], s.result.shape[2:], s.ints("kernel"), s.ints("stride"), dilation, strict=True)
    ):
        if not isinstance(n, int) or not isinstance(m, int):
            rounds_up = True
            continue
        low, high = padding[i]
        room = n + low + high - (d * (k - 1) + 1)
        rest = room % step
        if rest and m == room // step + 1:
            padding[i] = (low, max(high - rest, 0))
            if high < rest:
                cut[i + 2] = high - rest
        elif rest:
            rounds_up = True
    x = s.x
    if cut:
        b = s.body
        x = b.slice(x, b.const([0] * len(cut)), b.const(list(cut.values())), list(cut))
    return Windows(x, tuple(padding), rounds_up)


def _max_pool(s: Site) -> Tensor:
    told = _windows(s, s.ints("dilation"))
    return s.body.op(
        "MaxPool", told.x, kernel_shape=list(s.ints("kernel")), strides=list(s.ints("stride")), pads=pads(told.padding),
        dilations=unless_ones(s.ints("dilation")), ceil_mode=int(told.ceil) or None,
    )  # fmt: skip


def _avg_pool(s: Site) -> Tensor:
    told = _windows(s, [1] * (s.rank - 2))
    padding = pads(told.padding)
    return s.body.op(
        "AveragePool", told.x, kernel_shape=list(s.ints("kernel")), strides=list(s.ints("stride")), pads=padding,
        count_include_pad=int(s.flag("count_include_pad") and padding is not None) or None, ceil_mode=int(told.ceil) or None,
    )  # fmt: skip


# --- maps along one axis at a time, written as matrices ----------------------------------------------------------------------------


def apply_along(b: Body, x: Tensor, rank: int, axis: int, matrix: Tensor) -> Tensor:
    """`x` with the matrix [from, to] applied along an axis."""
    if axis == rank - 2:
        return b.op("MatMul", b.transpose(matrix, [1, 0]), x)
    order = [i for i in range(rank) if i != axis] + [axis]
    back = [order.index(i) for i in range(rank)]
    return b.transpose(b.op("MatMul", b.transpose(x, order), matrix), back)


def _adaptive_avg_pool(s: Site) -> Tensor:
    b, x, sizes = s.body, s.x, s.dims("size")
    spatial = s.shape[2:]
    if all(m == 1 for m in sizes):
        return b.reduce("ReduceMean", x, range(2, s.rank), True) if x.dtype is DType.F64 else b.op("GlobalAveragePool", x)
    steps = [n // m for n, m in zip(spatial, sizes, strict=True) if isinstance(n, int) and isinstance(m, int) and n % m == 0]
    if len(steps) == len(sizes) and x.dtype is not DType.F64:
        return b.op("AveragePool", x, kernel_shape=steps, strides=steps)
    for axis, (n, m) in enumerate(zip(spatial, sizes, strict=True), 2):
        if n != m:
            x = apply_along(b, x, s.rank, axis, _cells(b, n, m, x.dtype))
    return x


def _cells(b: Body, n: Dim, m: Dim, dtype: DType) -> Tensor:
    """The matrix [n, m] that averages places floor(i n / m) up to ceil((i + 1) n / m)."""
    if isinstance(n, int) and isinstance(m, int):
        row, i = np.arange(n)[:, None], np.arange(m)
        counted = (row >= i * n // m) & (row < -(-(i + 1) * n // m))
        return b.const(counted / counted.sum(0), dtype)
    total, parts, one = b.size(n), b.size(m), b.const(1)
    cell, place = b.count_to(parts), b.unsqueeze(b.count_to(total), 1)
    low = b.op("Div", b.op("Mul", cell, total), parts)
    ends = b.op("Mul", b.op("Add", cell, one), total)
    high = b.op("Div", b.op("Add", ends, b.op("Sub", parts, one)), parts)
    inside = b.op("And", b.op("GreaterOrEqual", place, low, dtype=DType.BOOL), b.op("Less", place, high, dtype=DType.BOOL))
    return b.op("Div", b.cast(inside, dtype), b.cast(b.op("Sub", high, low), dtype))


# --- resizing ---------------------------------------------------------------------------------------------------------------------


def _interpolate(s: Site) -> Tensor:
    """Resize where its single-precision coordinates are exact or sizes are unknown; otherwise indices or matrices computed here."""
    spatial, sizes = s.shape[2:], s.dims("size")
    scale = s.node.attributes["scale"]
    factors = tuple(float(f) for f in scale if isinstance(f, int | float)) if isinstance(scale, tuple) else None
    constant = [(n, m) for n, m in zip(spatial, sizes, strict=True) if isinstance(n, int) and isinstance(m, int)]
    if len(constant) < len(sizes):
        if s.x.dtype is DType.F64:
            raise Refused("onnxruntime has no f64 kernel of Resize, and the sizes are not constant")
        return _resize(s, factors)
    ratios = [n / m for n, m in constant] if factors is None else [1 / f for f in factors]
    if s.x.dtype is not DType.F64 and all(map(_exact, ratios)):
        return _resize(s, factors)
    x = s.x
    for axis, ((n, m), ratio) in enumerate(zip(constant, ratios, strict=True), 2):
        if n == m and ratio == 1:
            continue
        if s.text("mode") == "nearest":
            place = np.minimum(np.floor(np.arange(m) * ratio), n - 1).astype(np.int64)
            x = s.body.op("Gather", x, s.body.const(place), axis=axis)
        else:
            x = apply_along(s.body, x, s.rank, axis, s.body.const(_blend(n, m, ratio, s.flag("align_corners")), x.dtype))
    return x


def _exact(ratio: float) -> bool:
    """Whether i / (1 / ratio) loses nothing in single precision: a whole number, or one over a whole number."""
    fraction = Fraction(ratio).limit_denominator(4096)
    top, bottom = fraction.numerator, fraction.denominator
    return float(fraction) == ratio and (top & (top - 1)) == 0 and 1 in (top, bottom)


def _resize(s: Site, factors: tuple[float, ...] | None) -> Tensor:
    mode = "nearest" if s.text("mode") == "nearest" else "linear"
    place = "asymmetric" if mode == "nearest" else "align_corners" if s.flag("align_corners") else "half_pixel"
    axes = list(range(2, s.rank)) if s.body.opset >= 18 else None
    kept = () if axes else (1.0, 1.0)
    scales = s.body.const(np.asarray([*kept, *factors], np.float32), DType.F32) if factors else None
    sizes = None if factors else s.body.shape(s.dims("size") if axes else (*s.shape[:2], *s.dims("size")))
    return s.body.op(
        "Resize", s.x, None, *([scales] if scales else [None, sizes]), axes=axes, mode=mode, coordinate_transformation_mode=place,
        nearest_mode="floor" if mode == "nearest" else None,
    )  # fmt: skip


def _blend(n: int, m: int, ratio: float, align_corners: bool) -> np.ndarray:
    """The matrix [n, m] of linear interpolation."""
    i = np.arange(m)
    place = i * ((n - 1) / (m - 1) if m > 1 else 0.0) if align_corners else np.maximum((i + 0.5) * ratio - 0.5, 0)
    low = np.minimum(np.floor(place).astype(int), n - 1)
    share = np.minimum(place - low, 1.0)
    matrix = np.zeros((n, m))
    np.add.at(matrix, (low, i), 1 - share)
    np.add.at(matrix, (np.minimum(low + 1, n - 1), i), share)
    return matrix


WINDOW_ROWS: dict[str, Row | Unsupported] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "adaptive_avg_pool": _adaptive_avg_pool,
    "interpolate": _interpolate,
}
