"""How JAX spells each primitive: a table from the name to a function of the node and the expressions of its operands.

The meaning of a primitive is its card; here is only its spelling. A row may ask its body for sizes, and the function being written for
element types, keys and the functions of jax_layers.py. Arrays are strongly typed and Python numbers weakly, so a number beside an array takes the array's type by itself.
"""

from __future__ import annotations

import math
from typing import Protocol, cast

import numpy as np

from backends.python import Body, Dialect, Emit, Rows, scalar
from backends.writer import (
    Argument,
    Expression,
    attribute,
    binary,
    call,
    conditional,
    index,
    method,
    number_text,
    quoted,
    sequence,
    slice_text,
    unary,
)
from dsl.dims import Dim, Expr
from dsl.ir import Node
from dsl.ops.card import AttributeValue
from dsl.ops.inference import axes, axis, dtype_of
from dsl.ops.sizes import dim_tuple, int_tuple, pair_tuple
from dsl.types import DType, TensorType


class JaxDialect(Dialect, Protocol):
    """What a row may ask of the function being written, beyond its body."""

    def dtype(self, dtype: DType) -> str:
        """An element type: `jnp.float32`."""

    def copied(self, function: str) -> str:
        """The name of a function of jax_layers.py, which the file then has."""

    def table(self, body: Body, value: np.ndarray, dtype: DType, name: str) -> Expression:
        """A constant of the file."""

    def key(self, node: Node) -> Expression:
        """The key of a node that draws random numbers."""


Operands = list[Expression]


def target(body: Body) -> JaxDialect:
    return cast(JaxDialect, body.dialect)


def types(body: Body, node: Node) -> tuple[TensorType, ...]:
    """The types of the operands."""
    return tuple(body.graph.type(v) for v in node.inputs)


# --- numbers and types ------------------------------------------------------------------------------------------------------------------


def array(body: Body, x: Expression, type_: TensorType) -> Expression:
    """`x` as an array, also where it is a Python number."""
    return call("jnp.array", x, target(body).dtype(type_.dtype)) if x.scalar else x


def arrays(body: Body, node: Node, xs: Operands) -> list[Expression]:
    return [array(body, x, t) for x, t in zip(xs, types(body, node), strict=True)]


def as_type(body: Body, x: Expression, dtype: DType) -> Expression:
    return method(x, "astype", target(body).dtype(dtype))


def promoted(body: Body, node: Node, xs: Operands) -> list[Expression]:
    """Operands that NumPy's promotion takes to the type that the card says: numbers stay numbers where an array decides."""
    kinds = [t.dtype for t in types(body, node)]
    wanted = wider(set(kinds))
    if wanted not in kinds:
        return [as_type(body, x, wanted) for x in arrays(body, node, xs)]
    if any(kind is wanted and not x.scalar for x, kind in zip(xs, kinds, strict=True)):
        return xs
    deciding = kinds.index(wanted)
    return [array(body, x, types(body, node)[i]) if i == deciding else x for i, x in enumerate(xs)]


_WIDTH_ORDER = (
    DType.BOOL, DType.U8, DType.I8, DType.I32, DType.I64, DType.F16, DType.BF16, DType.F32, DType.F64,
)  # fmt: skip


def wider(dtypes: set[DType]) -> DType:
    """The element type of all together (see dsl.types.promote)."""
    if {DType.I8, DType.U8} <= dtypes:
        dtypes = dtypes | {DType.I32}
    return max(dtypes, key=_WIDTH_ORDER.index)


def _axis_text(over: tuple[int, ...], rank: int) -> str | None:
    """`axis=` of a reduction; all axes need none."""
    if over == tuple(range(rank)):
        return None
    last = over[0] - rank if len(over) == 1 and over[0] == rank - 1 and rank > 1 else None
    return str(last) if last is not None else str(over[0]) if len(over) == 1 else _ints(over)


def _one_axis(node: Node, rank: int) -> str:
    over = axis(node.attributes)
    return "-1" if over == rank - 1 else str(over)


def _ints(values: tuple[int, ...]) -> str:
    return sequence(map(str, values)).text


def _true(value: AttributeValue) -> str | None:
    return "True" if value else None


def _shape(body: Body, shape: tuple[Dim, ...]) -> Expression:
    return sequence(body.dim(d) for d in shape)


# --- elementwise --------------------------------------------------------------------------------------------------------------------------


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


# --- reductions ---------------------------------------------------------------------------------------------------------------------------


def _reduction(name: str, *, wide: bool = False) -> Emit:
    """A reduction; `wide` where small integers add up in i64."""

    def row(body: Body, node: Node, xs: Operands) -> Expression:
        (x,) = arrays(body, node, xs)
        before = types(body, node)[0]
        dtype = target(body).dtype(node.type.dtype) if before.dtype is not node.type.dtype else None
        return call(
            name, x, axis=_axis_text(axes(node.attributes), before.rank), dtype=dtype if wide else None,
            keepdims=_true(node.attributes["keepdims"]),
        )  # fmt: skip

    return row


def _position(name: str) -> Emit:
    def row(body: Body, node: Node, xs: Operands) -> Expression:
        (x,) = arrays(body, node, xs)
        return call(name, x, axis=_one_axis(node, types(body, node)[0].rank), keepdims=_true(node.attributes["keepdims"]))

    return row


def _var(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = arrays(body, node, xs)
    correction = cast(int, node.attributes["correction"])
    over = _axis_text(axes(node.attributes), types(body, node)[0].rank)
    return call("jnp.var", x, axis=over, ddof=str(correction) if correction else None, keepdims=_true(node.attributes["keepdims"]))


def _norm(body: Body, node: Node, xs: Operands) -> Expression:
    (x,), p = arrays(body, node, xs), cast(float, node.attributes["p"])
    over = _axis_text(axes(node.attributes), types(body, node)[0].rank)
    order = None if p == 2 else "jnp.inf" if math.isinf(p) else body.number(int(p) if p.is_integer() else p)
    return call("jnp.linalg.vector_norm", x, axis=over, ord=order, keepdims=_true(node.attributes["keepdims"]))


def _cumsum(body: Body, node: Node, xs: Operands) -> Expression:
    (x,), before = arrays(body, node, xs), types(body, node)[0]
    dtype = target(body).dtype(node.type.dtype) if before.dtype is not node.type.dtype else None
    return call("jnp.cumsum", x, axis=_one_axis(node, before.rank), dtype=dtype)


# --- products and convolutions ------------------------------------------------------------------------------------------------------------


def _einsum(body: Body, node: Node, xs: Operands) -> Expression:
    given = arrays(body, node, xs)
    if {DType.I8, DType.U8} <= {t.dtype for t in types(body, node)}:
        given = [as_type(body, x, DType.I32) for x in given]
    return call("jnp.einsum", quoted(str(node.attributes["pattern"])), *given)


def conv_arguments(body: Body, node: Node) -> dict[str, Argument | None]:
    """Keywords `dilation` and `groups`, where they are not 1."""
    dilation, groups = int_tuple(node.attributes, "dilation"), cast(int, node.attributes["groups"])
    return {"dilation": body.static(dilation) if set(dilation) != {1} else None, "groups": body.number(groups) if groups != 1 else None}


def windows(body: Body, node: Node) -> tuple[Expression, Expression]:
    """`stride` and `padding`."""
    return body.static(node.attributes["stride"]), body.static(node.attributes["padding"])


def extra_padding(body: Body, node: Node) -> Expression | None:
    """The `output_padding` of a transposed convolution, where there is any."""
    extra = int_tuple(node.attributes, "output_padding")
    return body.static(extra) if any(extra) else None


def _conv(body: Body, node: Node, xs: Operands) -> Expression:
    given = conv_arguments(body, node)
    names = {"rhs_dilation": given["dilation"], "feature_group_count": given["groups"]}
    return call("lax.conv_general_dilated", *xs, *windows(body, node), **names)


def _conv_transpose(body: Body, node: Node, xs: Operands) -> Expression:
    function = target(body).copied("conv_transposed")
    return call(function, *xs, *windows(body, node), extra=extra_padding(body, node), **conv_arguments(body, node))


def max_pool(body: Body, node: Node, xs: Operands) -> Expression:
    (x,), kernel = xs, body.static(node.attributes["kernel"])
    stride, padding = windows(body, node)
    dilation = body.static(node.attributes["dilation"]) if set(int_tuple(node.attributes, "dilation")) != {1} else None
    if node.attributes["ceil_mode"]:
        padding = call(target(body).copied("ceil_padding"), x, kernel, stride, padding, dilation=dilation)
    if dilation is not None:
        return call(target(body).copied("max_pool_dilated"), x, kernel, stride, padding, dilation)
    return call(target(body).copied("max_pool"), x, kernel, stride, padding)


def avg_pool(body: Body, node: Node, xs: Operands) -> Expression:
    (x,), kernel = xs, body.static(node.attributes["kernel"])
    stride, padding = windows(body, node)
    ceil, count_padding = bool(node.attributes["ceil_mode"]), bool(node.attributes["count_include_pad"])
    if not ceil and (count_padding or not any(map(any, pair_tuple(node.attributes, "padding")))):
        return call(target(body).copied("avg_pool"), x, kernel, stride, padding)
    whole = call(target(body).copied("ceil_padding"), x, kernel, stride, padding) if ceil else padding
    return call(target(body).copied("avg_pool_counted"), x, kernel, stride, padding, whole, str(count_padding))


def adaptive_avg_pool(body: Body, node: Node, xs: Operands) -> Expression:
    return call(target(body).copied("adaptive_avg_pool"), xs[0], _shape(body, dim_tuple(node.attributes, "size")))


def _interpolate(body: Body, node: Node, xs: Operands) -> Expression:
    size, factors = _shape(body, dim_tuple(node.attributes, "size")), node.attributes["scale"]
    scale = None if factors is None else body.static(factors)
    if node.attributes["mode"] == "nearest":
        return call(target(body).copied("resize_nearest"), xs[0], size, scale=scale)
    return call(target(body).copied("resize_bilinear"), xs[0], size, scale=scale, align_corners=_true(node.attributes["align_corners"]))


# --- shapes -------------------------------------------------------------------------------------------------------------------------------


def _reshape(body: Body, node: Node, xs: Operands) -> Expression:
    (x,), shape = arrays(body, node, xs), dim_tuple(node.attributes, "shape")
    return method(x, "reshape", *[body.dim(d) for d in shape]) if shape else method(x, "reshape", "()")


def _permute(body: Body, node: Node, xs: Operands) -> Expression:
    (x,), order = arrays(body, node, xs), int_tuple(node.attributes, "order")
    if order == (1, 0):
        return attribute(x, "T")
    moved = [i for i, o in enumerate(order) if i != o]
    if len(moved) == 2:
        return method(x, "swapaxes", *(str(i - len(order) if moved[1] == len(order) - 1 else i) for i in moved))
    return method(x, "transpose", *map(str, order))


def _expand(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = arrays(body, node, xs)
    return call("jnp.broadcast_to", x, _shape(body, dim_tuple(node.attributes, "shape")))


def _join(name: str) -> Emit:
    def row(body: Body, node: Node, xs: Operands) -> Expression:
        given = sequence(arrays(body, node, xs), "[]")
        rank = node.type.rank
        return call(name, given, axis=_one_axis(node, rank))

    return row


def _slice(body: Body, node: Node, xs: Operands) -> Expression:
    (x,), before = arrays(body, node, xs), types(body, node)[0]
    over, starts, steps = (int_tuple(node.attributes, "axes"), dim_tuple(node.attributes, "starts"), int_tuple(node.attributes, "steps"))
    stops = cast("tuple[Dim | None, ...]", node.attributes["stops"])
    cuts = [":"] * (max(over, default=-1) + 1)
    for a, start, stop, step in zip(over, starts, stops, steps, strict=True):
        cuts[a] = _cut(body, before.shape[a], start, stop, step)
    if len(over) == 1 and over[0] == before.rank - 1 and before.rank > 2:
        cuts = ["...", cuts[-1]]
    return index(x, *cuts) if cuts else x


def _cut(body: Body, size: Dim, start: Dim, stop: Dim | None, step: int) -> str:
    at_start = start == 0 if step > 0 else start == size - 1
    at_stop = stop is None or (step > 0 and stop == size)
    first = "" if at_start else body.dim(start).text
    last = "" if at_stop else body.dim(cast("int | Expr", stop)).text
    return slice_text(first, last, str(step) if step != 1 else "")


def _split(body: Body, node: Node, xs: Operands) -> Expression:
    (x,), sizes = arrays(body, node, xs), dim_tuple(node.attributes, "sizes")
    over = _one_axis(node, node.type.rank)
    if all(size == sizes[0] for size in sizes):
        return call("jnp.split", x, str(len(sizes)), axis=over)
    places: list[Expression] = []
    total: Dim = 0
    for size in sizes[:-1]:
        total = total + size
        places.append(body.dim(total))
    return call("jnp.split", x, sequence(places, "[]"), axis=over)


def _pad(body: Body, node: Node, xs: Operands) -> Expression:
    (x,), widths = arrays(body, node, xs), body.static(node.attributes["widths"])
    mode, value = node.attributes["mode"], cast(float, node.attributes["value"])
    if mode != "constant":
        return call("jnp.pad", x, widths, mode=quoted(str(mode)))
    return call("jnp.pad", x, widths, constant_values=body.number(value) if value else None)


def _flip(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = arrays(body, node, xs)
    over = axes(node.attributes)
    return call("jnp.flip", x, axis=str(over[0]) if len(over) == 1 else _ints(over))


def _roll(body: Body, node: Node, xs: Operands) -> Expression:
    (x,), shift, over = arrays(body, node, xs), int_tuple(node.attributes, "shift"), axes(node.attributes)
    one = len(over) == 1
    return call("jnp.roll", x, str(shift[0]) if one else _ints(shift), axis=str(over[0]) if one else _ints(over))


def _tile(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = arrays(body, node, xs)
    return call("jnp.tile", x, _ints(int_tuple(node.attributes, "repeats")))


# --- by position --------------------------------------------------------------------------------------------------------------------------


def _gather(body: Body, node: Node, xs: Operands) -> Expression:
    x, places = arrays(body, node, xs)
    over = _one_axis(node, types(body, node)[0].rank)
    if types(body, node)[1].rank == types(body, node)[0].rank:
        return call("jnp.take_along_axis", x, places, axis=over)
    return call(target(body).copied("pick"), x, places, over)


def _take(body: Body, node: Node, xs: Operands) -> Expression:
    (x, places), over = xs, axis(node.attributes)
    x = array(body, x, types(body, node)[0])
    return index(x, places) if over == 0 else call("jnp.take", x, places, axis=str(over))


def _scatter_add(body: Body, node: Node, xs: Operands) -> Expression:
    return call(target(body).copied("scatter_add"), *arrays(body, node, xs), str(axis(node.attributes)))


def _one_hot(body: Body, node: Node, xs: Operands) -> Expression:
    classes = body.dim(cast(Dim, node.attributes["classes"]))
    return call("jax.nn.one_hot", *arrays(body, node, xs), classes, dtype=target(body).dtype(dtype_of(node.attributes)))


def _topk(body: Body, node: Node, xs: Operands) -> Expression:
    (x,), k, over = arrays(body, node, xs), str(node.attributes["k"]), _one_axis(node, node.type.rank)
    if not node.attributes["largest"]:
        return call(target(body).copied("smallest_k"), x, k, over)
    return call("lax.top_k", x, k, axis=over if over != "-1" else None)


def _sorting(name: str) -> Emit:
    def row(body: Body, node: Node, xs: Operands) -> Expression:
        (x,) = arrays(body, node, xs)
        return call(name, x, axis=_one_axis(node, node.type.rank), descending=_true(node.attributes["descending"]))

    return row


def _triangle(name: str) -> Emit:
    def row(body: Body, node: Node, xs: Operands) -> Expression:
        diagonal = cast(int, node.attributes["diagonal"])
        return call(name, *arrays(body, node, xs), *([body.number(diagonal)] if diagonal else []))

    return row


# --- making tensors -----------------------------------------------------------------------------------------------------------------------


def _arange(body: Body, node: Node, xs: Operands) -> Expression:
    start, stop = (cast(Dim, node.attributes[name]) for name in ("start", "stop"))
    step, dtype = cast(int, node.attributes["step"]), dtype_of(node.attributes)
    bounds = [body.dim(stop)] if start == 0 and step == 1 else [body.dim(start), body.dim(stop)]
    steps = [str(step)] if step != 1 else []
    if dtype.is_float:
        return as_type(body, call("jnp.arange", *bounds, *steps), dtype)
    return call("jnp.arange", *bounds, *steps, dtype=target(body).dtype(dtype))


def _linspace(body: Body, node: Node, xs: Operands) -> Expression:
    ends = [body.number(cast(float, node.attributes[name])) for name in ("start", "stop")]
    return call("jnp.linspace", *ends, body.dim(cast(Dim, node.attributes["count"])), dtype=target(body).dtype(node.type.dtype))


def _eye(body: Body, node: Node, xs: Operands) -> Expression:
    n, m = (cast(Dim, node.attributes[name]) for name in ("n", "m"))
    sizes = [body.dim(n)] if n == m else [body.dim(n), body.dim(m)]
    return call("jnp.eye", *sizes, dtype=target(body).dtype(node.type.dtype))


def _full(body: Body, node: Node, xs: Operands) -> Expression:
    shape, value = _shape(body, dim_tuple(node.attributes, "shape")), cast(float, node.attributes["value"])
    dtype = target(body).dtype(node.type.dtype)
    if value in (0, 1) and math.copysign(1, value) > 0:
        return call("jnp.ones" if value else "jnp.zeros", shape, dtype)
    return call("jnp.full", shape, body.number(value), dtype)


INLINE_ELEMENTS = 8


def constant(body: Body, node: Node, xs: Operands) -> Expression:
    """A short table as a list; a long one is a constant of the file."""
    value = cast(np.ndarray, node.attributes["value"])
    if value.ndim == 0:
        return body.number(scalar(value))
    if value.size > INLINE_ELEMENTS:
        return target(body).table(body, value, node.type.dtype, node.name or "table")
    return call("jnp.array", _nested(value.tolist()), target(body).dtype(node.type.dtype))


def _nested(value: object) -> str:
    return f"[{', '.join(map(_nested, value))}]" if isinstance(value, list) else number_text(cast(float, value))


# --- random draws, gradients, modes -------------------------------------------------------------------------------------------------------


def _draw(name: str) -> Emit:
    def row(body: Body, node: Node, xs: Operands) -> Expression:
        return call(name, target(body).key(node), _shape(body, dim_tuple(node.attributes, "shape")), target(body).dtype(node.type.dtype))

    return row


def _bernoulli(body: Body, node: Node, xs: Operands) -> Expression:
    drawn = call("random.bernoulli", target(body).key(node), *arrays(body, node, xs))
    return as_type(body, drawn, node.type.dtype)


def _categorical(body: Body, node: Node, xs: Operands) -> Expression:
    return call("random.categorical", target(body).key(node), *arrays(body, node, xs))


def _dropout(body: Body, node: Node, xs: Operands) -> Expression:
    rate = body.number(cast(float, node.attributes["rate"]))
    return call(target(body).copied("dropout"), *arrays(body, node, xs), rate, body.dialect.training(body), target(body).key(node))


def _if_training(body: Body, node: Node, xs: Operands) -> Expression:
    return conditional(body.dialect.training(body), *xs)


def _size(body: Body, node: Node, xs: Operands) -> Expression:
    return body.dim(cast(Dim, node.attributes["dim"]))


ROWS: Rows = {
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
    "matmul": _operator("@"), "einsum": _einsum, "conv": _conv, "conv_transpose": _conv_transpose,
    "max_pool": max_pool, "avg_pool": avg_pool, "adaptive_avg_pool": adaptive_avg_pool, "interpolate": _interpolate,
    "reshape": _reshape, "permute": _permute, "expand": _expand, "concat": _join("jnp.concatenate"), "stack": _join("jnp.stack"),
    "slice": _slice, "split": _split, "pad": _pad, "flip": _flip, "roll": _roll, "tile": _tile,
    "gather": _gather, "take": _take, "scatter_add": _scatter_add, "one_hot": _one_hot, "topk": _topk,
    "sort": _sorting("jnp.sort"), "argsort": _sorting("jnp.argsort"), "tril": _triangle("jnp.tril"), "triu": _triangle("jnp.triu"),
    "arange": _arange, "linspace": _linspace, "eye": _eye, "full": _full, "const": constant,
    "randn": _draw("random.normal"), "rand": _draw("random.uniform"), "bernoulli": _bernoulli, "categorical": _categorical,
    "dropout": _dropout, "stop_gradient": _function("lax.stop_gradient"), "if_training": _if_training, "size": _size,
}  # fmt: skip
