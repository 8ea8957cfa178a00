"""How JAX spells each primitive: a table from the name to a function of the node and the expressions of its operands.

The meaning of a primitive is its card; here is only its spelling.
"""

from __future__ import annotations

import math
from typing import cast

from backends.jax_arrays import ARRAY_ROWS
from backends.jax_matrix import MATRIX_ROWS
from backends.jax_spelling import Operands, array, arrays, as_type, axis_text, one_axis, promoted, shape_text, target, true, types
from backends.jax_windows import WINDOW_ROWS
from backends.python import Body, Emit, Rows
from backends.writer import Expression, binary, call, conditional, quoted, unary
from dsl.dims import Dim
from dsl.ir import Node
from dsl.ops.inference import axes, dtype_of
from dsl.ops.sizes import dim_tuple
from dsl.types import DType

# --- elementwise ----------------------------------------------------------------------------------------------------------------


def _operator(symbol: str) -> Emit:
    def row(body: Body, node: Node, xs: Operands) -> Expression:
        a, b = promoted(body, node, xs)
        return binary(a, symbol, b)

    return row


def _function(name: str) -> Emit:
    """A function of arrays whose operands need nothing but promotion."""

    def row(body: Body, node: Node, xs: Operands) -> Expression:
        given = promoted(body, node, xs) if len(xs) > 1 else arrays(body, node, xs)
        return call(name, *given)

    return row


def _divide(body: Body, node: Node, xs: Operands) -> Expression:
    kinds = types(body, node)
    if any(t.dtype.is_float for t in kinds):
        a, b = promoted(body, node, xs)
        return binary(a, "/", b)
    a, b = (as_type(body, array(body, x, t), node.type.dtype) for x, t in zip(xs, kinds, strict=True))
    return binary(a, "/", b)


def _power(body: Body, node: Node, xs: Operands) -> Expression:
    base, exponent = promoted(body, node, xs)
    value = _literal(exponent)
    if value is not None and value == int(value) and abs(value) <= 64:
        exponent = body.number(int(value))  # an integer exponent multiplies, which is exact and has a gradient at 0
    return binary(base, "**", exponent)


def _literal(x: Expression) -> float | None:
    if not x.scalar:
        return None
    try:
        value = float(x.text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _absolute(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = arrays(body, node, xs)
    return call(target(body).copied("absolute") if node.type.dtype.is_float else "jnp.abs", x)


def _negative(body: Body, node: Node, xs: Operands) -> Expression:
    return unary("-", xs[0])


def _clip(body: Body, node: Node, xs: Operands) -> Expression:
    low, high = node.attributes["low"], node.attributes["high"]
    (x,) = arrays(body, node, xs)
    return call("jnp.clip", x, *(("None" if v is None else body.number(cast(float, v))) for v in (low, high)))


def _where(body: Body, node: Node, xs: Operands) -> Expression:
    condition, a, b = xs
    kinds, wanted = [t.dtype for t in types(body, node)], node.type.dtype
    if wanted not in kinds[1:]:
        a, b = (as_type(body, x, wanted) for x in arrays(body, node, xs)[1:])
    elif a.scalar and (b.scalar or kinds[2] is not wanted):
        a = array(body, a, node.type)
    elif b.scalar and kinds[1] is not wanted:
        b = array(body, b, node.type)
    return call("jnp.where", condition, a, b)


def _cast(body: Body, node: Node, xs: Operands) -> Expression:
    (x,), dtype = xs, dtype_of(node.attributes)
    return call("jnp.array", x, target(body).dtype(dtype)) if x.scalar else as_type(body, x, dtype)


# --- reductions and products ----------------------------------------------------------------------------------------------------


def _reduction(name: str, *, wide: bool = False) -> Emit:
    """A reduction; `wide` where small integers add up in i64."""

    def row(body: Body, node: Node, xs: Operands) -> Expression:
        (x,) = arrays(body, node, xs)
        before = types(body, node)[0]
        dtype = target(body).dtype(node.type.dtype) if before.dtype is not node.type.dtype else None
        return call(
            name, x, axis=axis_text(axes(node.attributes), before.rank), dtype=dtype if wide else None,
            keepdims=true(node.attributes["keepdims"]),
        )  # fmt: skip

    return row


def _position(name: str) -> Emit:
    def row(body: Body, node: Node, xs: Operands) -> Expression:
        (x,) = arrays(body, node, xs)
        return call(name, x, axis=one_axis(node, types(body, node)[0].rank), keepdims=true(node.attributes["keepdims"]))

    return row


def _var(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = arrays(body, node, xs)
    correction = cast(int, node.attributes["correction"])
    over = axis_text(axes(node.attributes), types(body, node)[0].rank)
    return call("jnp.var", x, axis=over, ddof=str(correction) if correction else None, keepdims=true(node.attributes["keepdims"]))


def _norm(body: Body, node: Node, xs: Operands) -> Expression:
    (x,), p = arrays(body, node, xs), cast(float, node.attributes["p"])
    over = axis_text(axes(node.attributes), types(body, node)[0].rank)
    order = None if p == 2 else "jnp.inf" if math.isinf(p) else body.number(int(p) if p.is_integer() else p)
    return call("jnp.linalg.vector_norm", x, axis=over, ord=order, keepdims=true(node.attributes["keepdims"]))


def _cumsum(body: Body, node: Node, xs: Operands) -> Expression:
    (x,), before = arrays(body, node, xs), types(body, node)[0]
    dtype = target(body).dtype(node.type.dtype) if before.dtype is not node.type.dtype else None
    return call("jnp.cumsum", x, axis=one_axis(node, before.rank), dtype=dtype)


def _einsum(body: Body, node: Node, xs: Operands) -> Expression:
    given = arrays(body, node, xs)
    if {DType.I8, DType.U8} <= {t.dtype for t in types(body, node)}:
        given = [as_type(body, x, DType.I32) for x in given]
    return call("jnp.einsum", quoted(str(node.attributes["pattern"])), *given)


# --- random draws, gradients, modes ---------------------------------------------------------------------------------------------


def _draw(name: str) -> Emit:
    def row(body: Body, node: Node, xs: Operands) -> Expression:
        shape = shape_text(body, dim_tuple(node.attributes, "shape"))
        return call(name, target(body).key(node), shape, target(body).dtype(node.type.dtype))

    return row


def _bernoulli(body: Body, node: Node, xs: Operands) -> Expression:
    drawn = call("random.bernoulli", target(body).key(node), *arrays(body, node, xs))
    return as_type(body, drawn, node.type.dtype)


def _categorical(body: Body, node: Node, xs: Operands) -> Expression:
    return call("random.categorical", target(body).key(node), *arrays(body, node, xs))


def _dropout(body: Body, node: Node, xs: Operands) -> Expression:
    rate = body.number(cast(float, node.attributes["rate"]))
    return call(
        target(body).copied("dropout"), *arrays(body, node, xs), rate, body.dialect.training(body), target(body).key(node)
    )


def _if_training(body: Body, node: Node, xs: Operands) -> Expression:
    return conditional(body.dialect.training(body), *xs)


def _size(body: Body, node: Node, xs: Operands) -> Expression:
    return body.dim(cast(Dim, node.attributes["dim"]))


ROWS: Rows = {
    **WINDOW_ROWS, **ARRAY_ROWS, **MATRIX_ROWS,
    "add": _operator("+"), "sub": _operator("-"), "mul": _operator("*"), "div": _divide, "pow": _power,
    "maximum": _function("jnp.maximum"), "minimum": _function("jnp.minimum"),
    "floor_divide": _operator("//"), "remainder": _operator("%"),
    "eq": _operator("=="), "ne": _operator("!="), "lt": _operator("<"), "le": _operator("<="), "gt": _operator(">"), "ge": _operator(">="),
    "logical_and": _function("jnp.logical_and"), "logical_or": _function("jnp.logical_or"),
    "logical_xor": _function("jnp.logical_xor"), "logical_not": _function("jnp.logical_not"),
    "neg": _negative, "abs": _absolute, "sign": _function("jnp.sign"),
    "exp": _function("jnp.exp"), "log": _function("jnp.log"), "log1p": _function("jnp.log1p"), "expm1": _function("jnp.expm1"),
    "sqrt": _function("jnp.sqrt"), "rsqrt": _function("lax.rsqrt"), "sin": _function("jnp.sin"), "cos": _function("jnp.cos"),
    "tanh": _function("jnp.tanh"), "sigmoid": _function("jax.nn.sigmoid"), "erf": _function("lax.erf"),
    "relu": _function("jax.nn.relu"), "softplus": _function("jax.nn.softplus"),
    "floor": _function("jnp.floor"), "ceil": _function("jnp.ceil"), "round": _function("jnp.round"), "isnan": _function("jnp.isnan"),
    "clip": _clip, "where": _where, "cast": _cast,
    "sum": _reduction("jnp.sum", wide=True), "mean": _reduction("jnp.mean", wide=True), "prod": _reduction("jnp.prod", wide=True),
    "max": _reduction("jnp.max"), "min": _reduction("jnp.min"), "any": _reduction("jnp.any"), "all": _reduction("jnp.all"),
    "logsumexp": _reduction("jax.nn.logsumexp"), "argmax": _position("jnp.argmax"), "argmin": _position("jnp.argmin"),
    "var": _var, "norm": _norm, "cumsum": _cumsum,
    "matmul": _operator("@"), "einsum": _einsum,
    "randn": _draw("random.normal"), "rand": _draw("random.uniform"), "bernoulli": _bernoulli, "categorical": _categorical,
    "dropout": _dropout, "stop_gradient": _function("lax.stop_gradient"), "if_training": _if_training, "size": _size,
}  # fmt: skip
