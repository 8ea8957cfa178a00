"""Primitives on matrices, the last two axes of a tensor: decompositions, inverses and determinants.

What a decomposition leaves open is fixed here, so that every target gives the same: the diagonal of an upper triangle is positive, and the
first of the largest components of a singular vector or eigenvector is. A symmetric matrix is (x + x.T) / 2, whatever x is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dsl.dims import Dim, dim_le, dim_min, dims_equal, format_dim
from dsl.ops.card import Accepts, Attribute, Attributes, Card, Example, Form, Operand, OpError
from dsl.ops.inference import require_equal
from dsl.ops.sizes import require_same_dtype
from dsl.types import DType, TensorType, TypeMismatch, broadcast

_silent = np.errstate(all="ignore")

LARGEST = 0.99
"""Components of at least this share of the largest are the largest: that equal ones are rounded differently decides nothing."""


def require_precise(x: TensorType, argument: str = "x") -> None:
    """OpError for 16 bits, in which no target factors matrices or transforms."""
    if x.dtype not in (DType.F32, DType.F64):
        raise OpError(f"{argument} is {x}: it is computed in f32 or f64", argument, f"`cast({argument}, f32)` first", "DL0403")


def require_matrix(x: TensorType, argument: str = "x") -> None:
    """OpError unless the tensor has two axes or more, and 32 bits."""
    require_precise(x, argument)
    if x.rank < 2:
        raise OpError(f"{argument} is {x}: a matrix has two axes or more, and it has {x.rank}", argument)


def require_square(x: TensorType, argument: str = "x") -> None:
    """OpError unless the last two axes are proved equal."""
    require_matrix(x, argument)
    require_equal(x.shape[-2], x.shape[-1], f"{argument} is {x}, and a square matrix is needed: its last axes differ", argument)


def _infer_square(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    require_square(types[0])
    return types[0]


def _infer_eigh(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, TensorType]:
    require_square(types[0])
    return types[0].with_shape(types[0].shape[:-1]), types[0]


def _infer_svd(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, TensorType, TensorType]:
    require_matrix(types[0])
    x, (*batch, rows, columns) = types[0], types[0].shape
    least: Dim = dim_min(rows, columns)
    return tuple(x.with_shape((*batch, *of)) for of in ((rows, least), (least,), (least, columns)))  # type: ignore[return-value]


def _infer_qr(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, TensorType]:
    require_matrix(types[0])
    x, (*batch, rows, columns) = types[0], types[0].shape
    if not dim_le(columns, rows):
        message = f"x is {x}: it needs at least as many rows as columns, and has {format_dim(rows)} and {format_dim(columns)}"
        raise OpError(message, "x", "take that of the transpose, `qr(x.T)`")
    return x, x.with_shape((*batch, columns, columns))


def _infer_slogdet(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, TensorType]:
    require_square(types[0])
    each = types[0].with_shape(types[0].shape[:-2])
    return each, each


def _infer_solve(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    a, b = types
    require_square(a, "a")
    require_matrix(b, "b")
    require_same_dtype(types, ("a", "b"), "b")
    if not dims_equal(a.shape[-1], b.shape[-2]):
        have, want = format_dim(b.shape[-2]), format_dim(a.shape[-1])
        help = "right-hand sides are columns; one alone is `unsqueeze(b, -1)`"
        raise OpError(f"a is {a} and b is {b}: b has {have} rows, and a takes {want}", "b", help)
    try:
        batch = broadcast(a.shape[:-2], b.shape[:-2])
    except TypeMismatch as mismatch:
        raise OpError(f"a is {a} and b is {b}: {mismatch} of the leading axes", "b") from None
    return b.with_shape((*batch, *b.shape[-2:]))


# --- in NumPy ---


def _each(function: Callable[[np.ndarray], object], x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The function of each matrix; NaN, of that shape, where it has none."""
    found = np.full((*x.shape[:-2], *shape), np.nan)
    for place in np.ndindex(x.shape[:-2]):
        try:
            found[place] = function(x[place])
        except np.linalg.LinAlgError:
            continue
    return found


def symmetric(x: np.ndarray) -> np.ndarray:
    """The symmetric part of each matrix."""
    return np.asarray((x + np.swapaxes(x, -1, -2)) / 2)


def _cholesky(x: np.ndarray) -> np.ndarray:
    return _each(np.linalg.cholesky, symmetric(x), x.shape[-2:])


@_silent
def _inverse(x: np.ndarray) -> np.ndarray:
    return _each(np.linalg.inv, x, x.shape[-2:])


@_silent
def _slogdet(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sign, logarithm = np.linalg.slogdet(x)
    return np.asarray(sign), np.asarray(logarithm)


@_silent
def _triangular_solve(a: np.ndarray, b: np.ndarray, lower: bool, transposed: bool) -> np.ndarray:
    """Substitution, row by row."""
    if transposed:
        a, lower = np.swapaxes(a, -1, -2), not lower
    n = a.shape[-1]
    x = np.zeros((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]))
    for i in range(n) if lower else reversed(range(n)):
        known = slice(0, i) if lower else slice(i + 1, n)
        rest = b[..., i, :] - np.einsum("...j,...jk->...k", a[..., i, known], x[..., known, :])
        x[..., i, :] = rest / a[..., i, i, None]
    return x


def signs(vectors: np.ndarray) -> np.ndarray:
    """Of each column the sign of the first of its largest components, with the axis kept."""
    size = np.abs(vectors)
    first = np.argmax(size >= LARGEST * np.max(size, axis=-2, keepdims=True), axis=-2, keepdims=True)
    return np.where(np.take_along_axis(vectors, first, axis=-2) < 0, -1.0, 1.0)


def _eigh(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not np.all(np.isfinite(x)) or not x.size:
        return np.full(x.shape[:-1], np.nan), np.full(x.shape, np.nan)
    values, vectors = np.linalg.eigh(symmetric(x))
    return values, vectors * signs(vectors)


def _svd(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not np.all(np.isfinite(x)) or not x.size:
        u, s, vt = (np.full(t.shape, np.nan) for t in np.linalg.svd(np.zeros(x.shape), full_matrices=False))
        return u, s, vt
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    sign = signs(u)
    return u * sign, s, vt * np.swapaxes(sign, -1, -2)


def _qr(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    q, r = np.linalg.qr(x)
    sign = np.where(np.diagonal(r, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return q * sign[..., None, :], r * sign[..., :, None]


BATCHED = "Of the last two axes; those before them are a batch. In f32 or f64."
SYMMETRIC = "Of any x it is that of the symmetric part (x + x.T) / 2, also where a target's own function reads one triangle."
SIGNS = "first of its largest components (0.99 of the largest in magnitude, or more) positive"
APART = "not defined where two of them are equal, nor have the vectors a gradient there."

CARDS: tuple[Card, ...] = (
    Card(
        name="cholesky",
        family="matrix",
        summary="The lower triangular L with L @ L.T equal to a symmetric positive definite x.",
        operands=(Operand("x", Accepts.FLOAT),),
        attributes=(),
        infer=_infer_square,
        reference=_cholesky,
        examples=(
            Example("cholesky([[4.0, 2.0], [2.0, 5.0]])", [[2.0, 0.0], [1.0, 2.0]]),
            Example("cholesky([[[9.0]]])", [[[3.0]]]),
        ),
        notes=f"{BATCHED} {SYMMETRIC} Where that is not positive definite it is NaN, and PyTorch stops.",
    ),
    Card(
        name="triangular_solve",
        family="matrix",
        summary="The x with a @ x equal to b, for a triangular a.",
        operands=(Operand("a", Accepts.FLOAT), Operand("b", Accepts.FLOAT)),
        attributes=(Attribute("lower", Form.BOOL, True), Attribute("transposed", Form.BOOL, False)),
        infer=_infer_solve,
        reference=_triangular_solve,
        examples=(
            Example("triangular_solve([[2.0, 0.0], [1.0, 4.0]], [[2.0], [9.0]])", [[1.0], [2.0]]),
            Example("triangular_solve([[2.0, 1.0], [0.0, 4.0]], [[4.0], [8.0]], lower=false)", [[1.0], [2.0]]),
        ),
        notes=f"{BATCHED} The other triangle of a is not read. With `transposed` it is a.T @ x that equals b; `lower` still says "
        "what a is. The leading axes of a and b stretch like those of `@`. A zero on the diagonal gives infinities or NaN.",
    ),
    Card(
        name="eigh",
        family="matrix",
        summary="The eigenvalues of a symmetric matrix, ascending, and its eigenvectors as columns.",
        operands=(Operand("x", Accepts.FLOAT),),
        attributes=(),
        infer=_infer_eigh,
        reference=_eigh,
        results=("values", "vectors"),
        examples=(
            Example("eigh([[2.0, 0.0], [0.0, 1.0]])[0]", [1.0, 2.0]),
            Example("eigh([[2.0, 0.0], [0.0, 1.0]])[1]", [[0.0, 1.0], [1.0, 0.0]]),
        ),
        notes=f"{BATCHED} {SYMMETRIC} Each vector has length 1, and the {SIGNS}. Eigenvectors are {APART}",
    ),
    Card(
        name="svd",
        family="matrix",
        summary="u, s and vt with (u * s) @ vt equal to x; the singular values s descend.",
        operands=(Operand("x", Accepts.FLOAT),),
        attributes=(),
        infer=_infer_svd,
        reference=_svd,
        results=("u", "s", "vt"),
        examples=(
            Example("svd([[0.0, 3.0], [4.0, 0.0]])[1]", [4.0, 3.0]),
            Example("svd([[0.0, 3.0], [4.0, 0.0]])[2]", [[1.0, 0.0], [0.0, 1.0]]),
        ),
        notes=f"{BATCHED} The reduced form: with k the smaller of the two sizes, u is [rows, k] and vt [k, columns]. Each column of "
        f"u has the {SIGNS}, and the row of vt goes with it. Singular vectors are {APART}",
    ),
    Card(
        name="qr",
        family="matrix",
        summary="q with orthonormal columns and an upper triangular r with q @ r equal to x.",
        operands=(Operand("x", Accepts.FLOAT),),
        attributes=(),
        infer=_infer_qr,
        reference=_qr,
        results=("q", "r"),
        examples=(
            Example("qr([[0.0, 1.0], [-2.0, 3.0]])[0]", [[0.0, 1.0], [-1.0, 0.0]]),
            Example("qr([[0.0, 1.0], [-2.0, 3.0]])[1]", [[2.0, -3.0], [0.0, 1.0]]),
        ),
        notes=f"{BATCHED} The reduced form: q has the shape of x, which needs at least as many rows as columns. The diagonal of r "
        "is not negative, which makes the two unique where the columns of x are independent (LAPACK leaves the signs open).",
    ),
    Card(
        name="inverse",
        family="matrix",
        summary="The inverse of a square matrix.",
        operands=(Operand("x", Accepts.FLOAT),),
        attributes=(),
        infer=_infer_square,
        reference=_inverse,
        examples=(
            Example("inverse([[2.0, 0.0], [0.0, 4.0]])", [[0.5, 0.0], [0.0, 0.25]]),
            Example("inverse([[0.0, 1.0], [1.0, 0.0]]) @ [3.0, 5.0]", [5.0, 3.0]),
        ),
        notes=f"{BATCHED} Of a singular matrix it is infinities or NaN, and PyTorch stops.",
    ),
    Card(
        name="slogdet",
        family="matrix",
        summary="The sign of the determinant, and the logarithm of its absolute value.",
        operands=(Operand("x", Accepts.FLOAT),),
        attributes=(),
        infer=_infer_slogdet,
        reference=_slogdet,
        results=("sign", "logabsdet"),
        examples=(
            Example("slogdet([[0.0, 1.0], [1.0, 0.0]])[0]", -1.0),
            Example("slogdet([[[2.0, 1.0], [0.0, 0.5]]])[1]", [0.0]),
        ),
        notes=f"{BATCHED} Of a singular matrix 0 and minus infinity. No determinant is formed, which could overflow (in ONNX it is: "
        "there is only `Det`).",
    ),
)
