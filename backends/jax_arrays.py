"""How JAX spells what rearranges, picks and makes elements."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from backends.jax_spelling import Operands, array, arrays, as_type, int_tuple_text, one_axis, shape_text, target, true, types
from backends.python import Body, Emit, Rows, scalar
from backends.writer import Expression, attribute, call, index, method, number_text, quoted, sequence, slice_text
from dsl.dims import Dim, Expr
from dsl.ir import Node
from dsl.ops.inference import axes, axis, dtype_of
from dsl.ops.sizes import dim_tuple, int_tuple

# --- shapes ---------------------------------------------------------------------------------------------------------------------


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
    return call("jnp.broadcast_to", x, shape_text(body, dim_tuple(node.attributes, "shape")))


def _join(name: str) -> Emit:
    def row(body: Body, node: Node, xs: Operands) -> Expression:
        given = sequence(arrays(body, node, xs), "[]")
        rank = node.type.rank
        return call(name, given, axis=one_axis(node, rank))

    return row


def _slice(body: Body, node: Node, xs: Operands) -> Expression:
    (x,), before = arrays(body, node, xs), types(body, node)[0]
    over, starts, steps = (
        int_tuple(node.attributes, "axes"),
        dim_tuple(node.attributes, "starts"),
        int_tuple(node.attributes, "steps"),
    )
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
    over = one_axis(node, node.type.rank)
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
    return call("jnp.flip", x, axis=str(over[0]) if len(over) == 1 else int_tuple_text(over))


def _roll(body: Body, node: Node, xs: Operands) -> Expression:
    (x,), shift, over = arrays(body, node, xs), int_tuple(node.attributes, "shift"), axes(node.attributes)
    one = len(over) == 1
    return call(
        "jnp.roll", x, str(shift[0]) if one else int_tuple_text(shift), axis=str(over[0]) if one else int_tuple_text(over)
    )


def _tile(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = arrays(body, node, xs)
    return call("jnp.tile", x, int_tuple_text(int_tuple(node.attributes, "repeats")))


# --- by position ----------------------------------------------------------------------------------------------------------------


def _gather(body: Body, node: Node, xs: Operands) -> Expression:
    x, places = arrays(body, node, xs)
    over = one_axis(node, types(body, node)[0].rank)
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
    (x,), k, over = arrays(body, node, xs), str(node.attributes["k"]), one_axis(node, node.type.rank)
    if not node.attributes["largest"]:
        return call(target(body).copied("smallest_k"), x, k, over)
    return call("lax.top_k", x, k) if over == "-1" else call(target(body).copied("largest_k"), x, k, over)


def _sorting(name: str) -> Emit:
    def row(body: Body, node: Node, xs: Operands) -> Expression:
        (x,) = arrays(body, node, xs)
        return call(name, x, axis=one_axis(node, node.type.rank), descending=true(node.attributes["descending"]))

    return row


def _triangle(name: str) -> Emit:
    def row(body: Body, node: Node, xs: Operands) -> Expression:
        diagonal = cast(int, node.attributes["diagonal"])
        return call(name, *arrays(body, node, xs), *([body.number(diagonal)] if diagonal else []))

    return row


# --- making tensors -------------------------------------------------------------------------------------------------------------


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
    shape, value = shape_text(body, dim_tuple(node.attributes, "shape")), cast(float, node.attributes["value"])
    dtype = target(body).dtype(node.type.dtype)
    if value in (0, 1) and math.copysign(1, value) > 0:
        return call("jnp.ones" if value else "jnp.zeros", shape, dtype)
    return call("jnp.full", shape, body.number(value), dtype)


INLINE_ELEMENTS, LONGEST_OPERAND = 8, 60


def constant(body: Body, node: Node, xs: Operands) -> Expression:
    """A short table as a list; a long one is a constant of the file."""
    value = cast(np.ndarray, node.attributes["value"])
    if value.ndim == 0:
        return body.number(scalar(value))
    if value.size > INLINE_ELEMENTS:
        return target(body).table(body, value, node.type.dtype, node.name or "table")
    made = call("jnp.array", _nested(value.tolist()), target(body).dtype(node.type.dtype))
    return made if len(made.text) <= LONGEST_OPERAND else body.let(node.name or "table", made)


def _nested(value: object) -> str:
    return f"[{', '.join(map(_nested, value))}]" if isinstance(value, list) else number_text(cast(float, value))


ARRAY_ROWS: Rows = {
    "reshape": _reshape, "permute": _permute, "expand": _expand, "concat": _join("jnp.concatenate"), "stack": _join("jnp.stack"),
    "slice": _slice, "split": _split, "pad": _pad, "flip": _flip, "roll": _roll, "tile": _tile,
    "gather": _gather, "take": _take, "scatter_add": _scatter_add, "one_hot": _one_hot, "topk": _topk,
    "sort": _sorting("jnp.sort"), "argsort": _sorting("jnp.argsort"), "tril": _triangle("jnp.tril"), "triu": _triangle("jnp.triu"),
    "arange": _arange, "linspace": _linspace, "eye": _eye, "full": _full, "const": constant,
}  # fmt: skip
