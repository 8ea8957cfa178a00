"""The rows of PyTorch for matrices and Fourier transforms: torch.linalg and torch.fft, with the signs that the cards fix."""

from __future__ import annotations

from backends.python import Body, Emit, Rows
from backends.torch_tensors import axis_text, tensors, types
from backends.writer import Expression, attribute, call, method
from dsl.ir import Node, Value
from dsl.ops.matrix import LARGEST
from dsl.ops.sizes import dim

Operands = list[Expression]


def _symmetric(body: Body, node: Node) -> Expression:
    """The symmetric part of the operand: PyTorch's own functions read the lower triangle."""
    x = body.named(node, 0)
    return Expression(f"({x} + {x}.mT) / 2")


def _signs(body: Body, vectors: Expression) -> Expression:
    """Of each column the sign of the first of its largest components."""
    size = body.let("size", method(vectors, "abs"))
    least = body.let("least", Expression(f"{LARGEST} * {size}.amax(-2, keepdim=True)"))
    largest = Expression(f"({size} >= {least}).byte().argmax(-2, keepdim=True)")
    return body.let("signs", method(method(vectors, "gather", "-2", body.let("largest", largest)), "sign"))


def _cholesky(body: Body, node: Node, xs: Operands) -> Expression:
    return call("torch.linalg.cholesky", _symmetric(body, node))


def _eigh(body: Body, node: Node, xs: Operands) -> Expression:
    found = call("torch.linalg.eigh", _symmetric(body, node))
    if not body.is_read(Value(node.id, 1)):
        return found
    system = body.let("eigen", found)
    vectors = attribute(system, "eigenvectors")
    return Expression(f"{system}.eigenvalues, {vectors} * {_signs(body, vectors)}")


def _svd(body: Body, node: Node, xs: Operands) -> Expression:
    found = call("torch.linalg.svd", *tensors(body, node, xs), full_matrices="False")
    if not body.is_read(Value(node.id, 0)) and not body.is_read(Value(node.id, 2)):
        return found
    factors = body.let("factors", found)
    u = attribute(factors, "U")
    signs = _signs(body, u)
    return Expression(f"{u} * {signs}, {factors}.S, {factors}.Vh * {signs}.mT")


def _qr(body: Body, node: Node, xs: Operands) -> Expression:
    factors = body.let("factors", call("torch.linalg.qr", *tensors(body, node, xs)))
    signs = body.let("signs", Expression(f"1 - 2 * ({factors}.R.diagonal(dim1=-2, dim2=-1) < 0)"))
    return Expression(f"{factors}.Q * {signs}.unsqueeze(-2), {factors}.R * {signs}.unsqueeze(-1)")


def _of(name: str) -> Emit:
    return lambda body, node, xs: call(name, *tensors(body, node, xs))


def _triangular_solve(body: Body, node: Node, xs: Operands) -> Expression:
    a, b = tensors(body, node, xs)
    transposed = bool(node.attributes["transposed"])
    upper = bool(node.attributes["lower"]) == transposed
    return call("torch.linalg.solve_triangular", attribute(a, "mT") if transposed else a, b, upper=str(upper))


def _rfft(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    spectrum = body.let("spectrum", call("torch.fft.rfft", x, dim=axis_text(node.attributes, types(body, node)[0].rank)))
    return Expression(f"{spectrum}.real, {spectrum}.imag")


def _irfft(body: Body, node: Node, xs: Operands) -> Expression:
    count, over = body.dim(dim(node.attributes["n"], "n")), axis_text(node.attributes, types(body, node)[0].rank)
    return call("torch.fft.irfft", call("torch.complex", *tensors(body, node, xs)), count, dim=over)


MATRIX_ROWS: Rows = {
    "cholesky": _cholesky,
    "triangular_solve": _triangular_solve,
    "eigh": _eigh,
    "svd": _svd,
    "qr": _qr,
    "inverse": _of("torch.linalg.inv"),
    "slogdet": _of("torch.linalg.slogdet"),
    "rfft": _rfft,
    "irfft": _irfft,
}
