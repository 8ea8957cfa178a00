"""Rows of the ONNX backend for matrices and Fourier transforms.

ONNX has `Det` and `DFT`, and no decomposition. Substitution is a Scan over the rows of the triangle.
"""

from __future__ import annotations

from backends.base import Unsupported
from backends.onnx_blocks import Step
from backends.onnx_builder import Body
from backends.onnx_site import Row, Site
from backends.onnx_values import Tensor
from dsl.types import DType, TensorType


def _slogdet(s: Site) -> tuple[Tensor, ...]:
    determinant = s.body.op("Det", s.x)
    return s.body.op("Sign", determinant), s.body.op("Log", s.body.op("Abs", determinant))


def _dft(b: Body, x: Tensor, over: int, onesided: int | None = None) -> Tensor:
    """A DFT along an axis of x, whose last axis holds real and imaginary parts; since opset 20 the axis is an input."""
    if b.opset < 20:
        return b.op("DFT", x, axis=over, onesided=onesided)
    return b.op("DFT", x, None, b.const(over), onesided=onesided)


def _rfft(s: Site) -> tuple[Tensor, ...]:
    """The operator wants an axis before the signal's: a signal alone gets one."""
    b, alone = s.body, s.rank == 1
    x = b.unsqueeze(s.x, 0, 2) if alone else b.unsqueeze(s.x, s.rank)
    spectrum = _dft(b, x, s.int("over") + alone, onesided=1)
    parts = [b.op("Gather", spectrum, b.const(i), axis=-1) for i in (0, 1)]
    return tuple(b.squeeze(part, 0) for part in parts) if alone else tuple(parts)


def _irfft(s: Site) -> Tensor:
    """The transform of the whole conjugate spectrum, by n: onnxruntime's inverse scales in single precision, and older ones have no
    inverse of one side."""
    b, n, alone = s.body, s.dim("n"), s.rank == 1
    real, imaginary = (b.unsqueeze(x, 0) for x in s.xs) if alone else s.xs
    over = s.int("over") + alone
    start, stop = b.shape([(n - 1) // 2]), b.const([0])
    mirrored = [b.slice(x, start, stop, [over], [-1]) for x in (real, imaginary)]
    whole = [b.op("Concat", real, mirrored[0], axis=over), b.op("Concat", b.op("Neg", imaginary), mirrored[1], axis=over)]
    rank = s.rank + alone
    spectrum = b.op("Concat", *(b.unsqueeze(x, rank) for x in whole), axis=rank)
    signal = b.op("Gather", _dft(b, spectrum, over), b.const(0), axis=-1)
    count = b.number(n, s.x.dtype) if isinstance(n, int) else b.cast(b.size(n), s.x.dtype)
    signal = b.op("Div", signal, count)
    return b.squeeze(signal, 0) if alone else signal


def _triangular_solve(s: Site) -> Tensor:
    """Row after row: what is known of x, zero elsewhere, is carried."""
    (a, right), (of_a, of_b), b = s.xs, s.types, s.body
    n, transposed = of_a.shape[-1], s.flag("transposed")
    a = b.op("Trilu", a, b.const(0), upper=int(not s.flag("lower")))
    axes = [of_a.rank - 1 if transposed else of_a.rank - 2, of_b.rank - 2, 0]
    places, inner = b.count_to(b.size(n)), b.within()
    types = [
        s.result,
        of_a.with_shape((*of_a.shape[:-2], n)),
        of_b.with_shape((*of_b.shape[:-2], of_b.shape[-1])),
        TensorType(DType.I64, ()),
    ]
    inputs = [
        (inner.input(f"{inner.scope}{name}", t.dtype), t) for name, t in zip(("x", "row", "side", "place"), types, strict=True)
    ]
    x, row, side, place = (tensor for tensor, _ in inputs)
    known = inner.op("MatMul", inner.unsqueeze(row, of_a.rank - 2), x)
    rest = inner.op("Sub", inner.unsqueeze(side, of_b.rank - 2), known)
    pivot = inner.op("Gather", row, inner.unsqueeze(place, 0), axis=-1)
    found = inner.op("Div", rest, inner.unsqueeze(pivot, of_a.rank - 1))
    here = inner.op("Equal", inner.unsqueeze(places, 1), place, dtype=DType.BOOL)
    step = Step("substitution", inner, inputs, [inner.op("Where", here, found, x)], [s.result])
    start = b.op("Expand", b.number(0, s.result.dtype), b.shape(s.result.shape))
    backwards = s.flag("lower") == transposed
    return b.loop(
        "Scan", [start, a, right, places], step, [s.result.dtype], num_scan_inputs=3,
        scan_input_axes=axes, scan_input_directions=[1, 1, 1] if backwards else None,
    )[0]  # fmt: skip


NO_OPERATOR = "ONNX has no operator that factors or inverts a matrix; what does not depend on the inputs may be given as one"

MATRIX_ROWS: dict[str, Row | Unsupported] = {
    **dict.fromkeys(("cholesky", "eigh", "svd", "qr", "inverse"), Unsupported(NO_OPERATOR)),
    "triangular_solve": _triangular_solve,
    "slogdet": _slogdet,
    "rfft": _rfft,
    "irfft": _irfft,
}
