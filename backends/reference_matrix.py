"""Vector-Jacobian products of decompositions, inverses and Fourier transforms, from operands, results and cotangents.

The derivatives of eigh, svd and qr follow Giles, "Collected matrix derivative results" (2008), and Walter and Lehmann, "Algorithmic
differentiation of linear algebra functions" (2010).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from dsl.ops.card import Attributes
from dsl.ops.matrix import symmetric
from dsl.ops.registry import CARDS

Arrays = Sequence[np.ndarray]
Adjoint = Callable[[Arrays, Arrays, Attributes, Arrays], Arrays]
"""The cotangents of the operands: of operands, results, attributes and the cotangents of the results."""


def _t(x: np.ndarray) -> np.ndarray:
    return np.swapaxes(x, -1, -2)


def _diagonal(values: np.ndarray) -> np.ndarray:
    return np.asarray(values[..., None] * np.eye(values.shape[-1]))


def _inverse_of(x: np.ndarray) -> np.ndarray:
    return np.asarray(CARDS["inverse"].reference(x))


def _over_differences(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Element (i, j) divided by values[j] - values[i]; zero on the diagonal."""
    apart = values[..., None, :] - values[..., :, None]
    return np.where(np.eye(values.shape[-1], dtype=bool), 0.0, x / apart)


def _cholesky(operands: Arrays, results: Arrays, attributes: Attributes, cotangents: Arrays) -> Arrays:
    (factor,), (g,) = results, cotangents
    product = _t(factor) @ g
    half = np.tril(product) - _diagonal(np.diagonal(product, axis1=-2, axis2=-1)) / 2
    inverse = _inverse_of(factor)
    return (symmetric(_t(inverse) @ half @ inverse),)


def _triangular_solve(operands: Arrays, results: Arrays, attributes: Attributes, cotangents: Arrays) -> Arrays:
    """The cotangents with all leading axes of the result."""
    (a, _), (x,), (g,) = operands, results, cotangents
    lower, transposed = bool(attributes["lower"]), bool(attributes["transposed"])
    by_b = np.asarray(CARDS["triangular_solve"].reference(a, g, lower=lower, transposed=not transposed))
    by_a = -(x @ _t(by_b) if transposed else by_b @ _t(x))
    return np.tril(by_a) if lower else np.triu(by_a), by_b


def _eigh(operands: Arrays, results: Arrays, attributes: Attributes, cotangents: Arrays) -> Arrays:
    (values, vectors), (by_values, by_vectors) = results, cotangents
    inner = _over_differences(_t(vectors) @ by_vectors, values) + _diagonal(by_values)
    return (symmetric(vectors @ inner @ _t(vectors)),)


def _svd(operands: Arrays, results: Arrays, attributes: Attributes, cotangents: Arrays) -> Arrays:
    (u, s, vt), (by_u, by_s, by_vt) = results, cotangents
    left, right = _t(u) @ by_u, vt @ _t(by_vt)
    left, right = (_over_differences(m - _t(m), s**2) for m in (left, right))
    inner = left * s[..., None, :] + s[..., :, None] * right + _diagonal(by_s)
    beside_u = by_u - u @ (_t(u) @ by_u)
    beside_v = by_vt - (by_vt @ _t(vt)) @ vt
    return (u @ inner @ vt + (beside_u / s[..., None, :]) @ vt + (u / s[..., None, :]) @ beside_v,)


def _qr(operands: Arrays, results: Arrays, attributes: Attributes, cotangents: Arrays) -> Arrays:
    (q, r), (by_q, by_r) = results, cotangents
    product = r @ _t(by_r) - _t(by_q) @ q
    below = np.tril(product, -1)
    mirrored = below + _t(below) + _diagonal(np.diagonal(product, axis1=-2, axis2=-1))
    return ((by_q + q @ mirrored) @ _t(_inverse_of(r)),)


def _inverse(operands: Arrays, results: Arrays, attributes: Attributes, cotangents: Arrays) -> Arrays:
    (y,), (g,) = results, cotangents
    return (-_t(y) @ g @ _t(y),)


def _slogdet(operands: Arrays, results: Arrays, attributes: Attributes, cotangents: Arrays) -> Arrays:
    return (cotangents[1][..., None, None] * _t(_inverse_of(operands[0])),)


def _rfft(operands: Arrays, results: Arrays, attributes: Attributes, cotangents: Arrays) -> Arrays:
    (x,), (real, imaginary), over = operands, cotangents, cast(int, attributes["over"])
    return (np.fft.fft(real - 1j * imaginary, n=x.shape[over], axis=over).real,)


def _irfft(operands: Arrays, results: Arrays, attributes: Attributes, cotangents: Arrays) -> Arrays:
    """Frequencies that stand for their mirrored ones as well count twice."""
    over, n = cast(int, attributes["over"]), cast(int, attributes["n"])
    spectrum = np.fft.rfft(cotangents[0], axis=over)
    frequencies = np.arange(n // 2 + 1)
    count = np.where((frequencies == 0) | (2 * frequencies == n), 1.0, 2.0) / n
    weighted = spectrum * count.reshape((-1,) + (1,) * (spectrum.ndim - 1 - over))
    return weighted.real, weighted.imag


ADJOINTS: dict[str, Adjoint] = {
    "cholesky": _cholesky,
    "triangular_solve": _triangular_solve,
    "eigh": _eigh,
    "svd": _svd,
    "qr": _qr,
    "inverse": _inverse,
    "slogdet": _slogdet,
    "rfft": _rfft,
    "irfft": _irfft,
}
