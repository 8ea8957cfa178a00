"""The discrete Fourier transform of real signals. The language has no complex numbers: a spectrum is its real and its imaginary part."""

from __future__ import annotations

from typing import cast

import numpy as np

from dsl.dims import Dim, format_dim
from dsl.ops.card import Accepts, Attribute, Attributes, AttributeValue, Card, Example, Form, Operand, OpError
from dsl.ops.inference import axis, canonical_axis, require_equal
from dsl.ops.matrix import require_precise
from dsl.ops.sizes import require_same_dtype, size
from dsl.types import TensorType

LAST_AXIS = Attribute("over", Form.AXIS, -1)


def _resized(x: TensorType, over: int, count: Dim) -> TensorType:
    return x.with_shape((*x.shape[:over], count, *x.shape[over + 1 :]))


def _infer_rfft(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, TensorType]:
    (x,), over = types, axis(attributes)
    require_precise(x)
    if x.shape[over] == 0:
        raise OpError(f"axis {over} of {x} has size 0, and nothing has no spectrum", "over")
    spectrum = _resized(x, over, x.shape[over] // 2 + 1)
    return spectrum, spectrum


def _normalize_irfft(types: tuple[TensorType, ...], attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    return {**canonical_axis(types, attributes), "n": size(attributes["n"], "n")}


def _infer_irfft(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    (real, imaginary), over, n = types, axis(attributes), cast(Dim, attributes["n"])
    require_precise(real, "real")
    require_same_dtype(types, ("real", "imaginary"), "imaginary")
    if imaginary.rank != real.rank:
        raise OpError(f"real is {real} and imaginary is {imaginary}: the two have one shape", "imaginary")
    for i, (have, want) in enumerate(zip(imaginary.shape, real.shape, strict=True)):
        require_equal(have, want, f"real is {real} and imaginary is {imaginary}, axis {i}", "imaginary")
    what = f"a signal of {format_dim(n)} has n // 2 + 1 frequencies, and axis {over} of {real} has others"
    require_equal(real.shape[over], n // 2 + 1, what, "n")
    return _resized(real, over, n)


def _rfft(x: np.ndarray, over: int) -> tuple[np.ndarray, np.ndarray]:
    spectrum = np.fft.rfft(x, axis=over)
    return np.ascontiguousarray(spectrum.real), np.ascontiguousarray(spectrum.imag)


def _irfft(real: np.ndarray, imaginary: np.ndarray, n: int, over: int) -> np.ndarray:
    return np.fft.irfft(real + 1j * imaginary, n=n, axis=over)


CARDS: tuple[Card, ...] = (
    Card(
        name="rfft",
        family="fourier",
        summary="The discrete Fourier transform of a real signal along one axis, its real and imaginary part.",
        operands=(Operand("x", Accepts.FLOAT),),
        attributes=(LAST_AXIS,),
        infer=_infer_rfft,
        normalize=canonical_axis,
        reference=_rfft,
        results=("real", "imaginary"),
        examples=(
            Example("rfft([1.0, 2.0, 3.0, 4.0])[0]", [10.0, -2.0, -2.0]),
            Example("rfft([[1.0], [2.0], [3.0], [4.0]], over=0)[1]", [[0.0], [2.0], [0.0]]),
        ),
        notes="Frequencies 0 to n // 2: entry k is the sum of x[t] exp(-2 pi i k t / n), with no factor before it; the other "
        "frequencies mirror these. In f32 or f64.",
    ),
    Card(
        name="irfft",
        family="fourier",
        summary="The real signal of n samples with this spectrum: the inverse of `rfft`.",
        operands=(Operand("real", Accepts.FLOAT), Operand("imaginary", Accepts.FLOAT)),
        attributes=(Attribute("n", Form.DIM), LAST_AXIS),
        infer=_infer_irfft,
        normalize=_normalize_irfft,
        reference=_irfft,
        examples=(
            Example("irfft([10.0, -2.0, -2.0], [0.0, 2.0, 0.0], 4)", [1.0, 2.0, 3.0, 4.0]),
            Example("irfft([3.0, 0.0], [0.0, 0.0], n=3)", [1.0, 1.0, 1.0]),
        ),
        notes="The factor 1 / n is here. The number of samples is said, since n // 2 + 1 frequencies may be those of an even or of an odd "
        "one. The imaginary part of frequency 0, and for an even n that of n // 2, counts for nothing. In f32 or f64.",
    ),
)
