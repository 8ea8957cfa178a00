"""How JAX spells what is done to matrices, and Fourier transforms."""

from __future__ import annotations

from typing import cast

from backends.jax_spelling import Operands, arrays, one_axis, target, true, types
from backends.python import Body, Emit, Rows
from backends.writer import Expression, call, index
from dsl.dims import Dim
from dsl.ir import Node


def _of(name: str) -> Emit:
    return lambda body, node, xs: call(name, *arrays(body, node, xs))


def _copied(name: str) -> Emit:
    """A function of jax_layers.py."""
    return lambda body, node, xs: call(target(body).copied(name), *arrays(body, node, xs))


def _triangular_solve(body: Body, node: Node, xs: Operands) -> Expression:
    """A b with one axis less than a could be taken for a batch of vectors: it gets another."""
    a, b = arrays(body, node, xs)
    ranks = [t.rank for t in types(body, node)]
    b = index(b, "None") if ranks[0] == ranks[1] + 1 else b
    trans = "1" if node.attributes["transposed"] else None
    return call("jax.scipy.linalg.solve_triangular", a, b, trans=trans, lower=true(node.attributes["lower"]))


def _rfft(body: Body, node: Node, xs: Operands) -> Expression:
    return call(target(body).copied("rfft"), *arrays(body, node, xs), one_axis(node, node.type.rank))


def _irfft(body: Body, node: Node, xs: Operands) -> Expression:
    count = body.dim(cast(Dim, node.attributes["n"]))
    return call("jnp.fft.irfft", call("lax.complex", *arrays(body, node, xs)), count, axis=one_axis(node, node.type.rank))


MATRIX_ROWS: Rows = {
    "cholesky": _of("jnp.linalg.cholesky"), "triangular_solve": _triangular_solve, "eigh": _copied("eigh"), "svd": _copied("svd"),
    "qr": _copied("qr"), "inverse": _of("jnp.linalg.inv"), "slogdet": _of("jnp.linalg.slogdet"), "rfft": _rfft, "irfft": _irfft,
}  # fmt: skip
