"""Rows of the ONNX backend that rearrange elements or pick them by position.

Shape arithmetic is kept off the graph where sizes are static, or where Reshape's 0 and -1 and Slice's clamping say the same.
"""

from __future__ import annotations

from math import prod
from typing import cast

import numpy as np

from backends.base import Unsupported
from backends.onnx_builder import Body
from backends.onnx_site import Row, Site, bound_dim
from backends.onnx_values import FIRST, LAST, Tensor
from dsl.dims import Dim, dim_lower, dim_tree, dims_equal
from dsl.types import DType, Shape


def reshaped(b: Body, x: Tensor, old: Shape, new: Shape) -> Tensor:
    """Reshape with as little arithmetic as possible: 0 copies an axis in its place, one -1 is found from the others."""
    b.shapes[x.name] = old
    before = b.before(x, "Reshape")
    if before is not None and _same(b.shapes.get(before.inputs[0]), new):
        return Tensor(before.inputs[0], x.dtype)
    if _same(old, new):
        return x
    made = b.op("Reshape", x, _shape_code(b, old, new), allowzero=1 if 0 in new else None)
    b.shapes[made.name] = new
    return made


def _same(a: Shape | None, b: Shape) -> bool:
    return a is not None and len(a) == len(b) and all(map(dims_equal, a, b))


def _shape_code(b: Body, old: Shape, new: Shape) -> Tensor:
    if 0 in new:
        return b.shape(new)
    codes: list[Dim] = []
    for i, d in enumerate(new):
        copied = not isinstance(d, int) and i < len(old) and dims_equal(d, old[i])
        codes.append(0 if copied else d)
    unknown = [i for i, d in enumerate(codes) if not isinstance(d, int)]
    if unknown:
        codes[unknown[-1]] = -1
    return b.shape(codes)


def _reshape(s: Site) -> Tensor:
    return reshaped(s.body, s.x, s.shape, s.dims("shape"))


def _permute(s: Site) -> Tensor:
    return s.body.transpose(s.x, s.ints("order"))


def _expand(s: Site) -> Tensor:
    """A 1 in the shape leaves an axis as it is, so only new sizes are computed."""
    shape, offset = s.dims("shape"), len(s.dims("shape")) - s.rank
    wanted = [1 if i >= offset and dims_equal(s.shape[i - offset], d) else d for i, d in enumerate(shape)]
    if offset == 0 and all(d == 1 for d in wanted):
        return s.x
    return s.body.op("Expand", s.x, s.body.shape(wanted))


def _concat(s: Site) -> Tensor:
    return s.x if len(s.xs) == 1 else s.body.op("Concat", *s.xs, axis=s.int("over"))


def _stack(s: Site) -> Tensor:
    over = s.int("over")
    parts = [s.body.unsqueeze(x, over) for x in s.xs]
    return parts[0] if len(parts) == 1 else s.body.op("Concat", *parts, axis=over)


def _slice(s: Site) -> Tensor:
    axes: list[int] = []
    starts: list[Dim] = []
    stops: list[Dim] = []
    steps: list[int] = []
    given = cast("tuple[Dim | None, ...]", s.node.attributes["stops"])
    for axis, start, raw, step in zip(s.ints("axes"), s.dims("starts"), given, s.ints("steps"), strict=True):
        size = s.shape[axis]
        stop = None if raw is None else _unclamped(s, raw, size)
        if step == 1 and start == 0 and stop == LAST:
            continue
        axes.append(axis)
        starts.append(_unclamped(s, start, size))
        stops.append(FIRST if stop is None else stop)
        steps.append(step)
    if not axes:
        return s.x
    return s.body.slice(s.x, s.body.shape(starts), s.body.shape(stops), axes, steps)


def _unclamped(s: Site, raw: Dim, size: Dim) -> Dim:
    """A bound as Slice takes it, which clamps by itself and counts negative ones from the end; LAST for the end of the axis."""
    bound = bound_dim(raw, s.bindings)
    if dims_equal(bound, size):
        return LAST
    if isinstance(bound, int):
        return bound
    tree = dim_tree(bound)
    if tree[0] == "min" and not isinstance(size, int):
        parts = cast("list[tuple[object, ...]]", tree[1])
        constants = [cast(int, p[1]) for p in parts if p[0] == "const"]
        if len(parts) == 2 and len(constants) == 1 and constants[0] >= 0 and dim_tree(size) in parts:
            return constants[0]
    behind = size - bound
    return -behind if isinstance(behind, int) else bound


def _split(s: Site) -> tuple[Tensor, ...]:
    sizes = s.dims("sizes")
    if len(sizes) == 1:
        return (s.x,)
    return s.body.ops("Split", (s.x, s.body.shape(sizes)), (s.x.dtype,) * len(sizes), {"axis": s.int("over")})


def _pad(s: Site) -> Tensor:
    widths = s.pairs("widths")
    if not any(map(any, widths)):
        return s.x
    pads = s.body.const([low for low, _ in widths] + [high for _, high in widths])
    if s.text("mode") != "constant":
        return s.body.op("Pad", s.x, pads, mode=s.text("mode"))
    return s.body.op("Pad", s.x, pads, s.body.number(s.number("value"), s.x.dtype), mode="constant")


def _flip(s: Site) -> Tensor:
    over = s.ints("over")
    starts, ends = s.body.const([-1] * len(over)), s.body.const([FIRST] * len(over))
    return s.body.slice(s.x, starts, ends, over, [-1] * len(over)) if over else s.x


def _roll(s: Site) -> Tensor:
    x = s.x
    for shift, axis in zip(s.ints("shift"), s.ints("over"), strict=True):
        cut = _cut(s.body, shift, s.shape[axis])
        if cut is not None:
            tail = s.body.slice(x, cut, s.body.const([LAST]), [axis])
            x = s.body.op("Concat", tail, s.body.slice(x, s.body.const([0]), cut, [axis]), axis=axis)
    return x


def _cut(b: Body, shift: int, size: Dim) -> Tensor | None:
    """The place that comes first after rolling by `shift`; None where nothing moves."""
    if isinstance(size, int):
        place = -shift % size if size else 0
        return b.const([place]) if place else None
    if shift == 0:
        return None
    if abs(shift) <= (dim_lower(size) or 0):
        return b.const([-shift])
    return b.op("Mod", b.const([-shift]), b.dim(size))


def _tile(s: Site) -> Tensor:
    repeats = s.ints("repeats")
    return s.x if prod(repeats) == 1 else s.body.op("Tile", s.x, s.body.const(list(repeats)))


# --- picking by position ----------------------------------------------------------------------------------------------------------


def _index(b: Body, index: Tensor) -> Tensor:
    return index if index.dtype is DType.I32 else b.cast(index, DType.I64)


def _gather(s: Site) -> Tensor:
    x, index, over = s.xs[0], _index(s.body, s.xs[1]), s.int("over")
    if s.types[1].rank == s.rank:
        return s.body.op("GatherElements", x, index, axis=over)
    return s.body.squeeze(s.body.op("GatherElements", x, s.body.unsqueeze(index, over), axis=over), over)


def _take(s: Site) -> Tensor:
    """A run of neighbours, as in `table[arange(T)]`, is a Slice."""
    run = s.body.runs.get(s.xs[1].name)
    if run is not None:
        return s.body.slice(s.x, s.body.dim(run[0]), s.body.dim(run[1]), [s.int("over")])
    return s.body.op("Gather", s.xs[0], _index(s.body, s.xs[1]), axis=s.int("over"))


def _scatter_add(s: Site) -> Tensor:
    """onnxruntime's kernel moves f16 but does not add it."""
    (x, index, updates), b = s.xs, s.body
    wide = DType.F32 if x.dtype is DType.F16 else x.dtype
    total = b.op("ScatterElements", b.cast(x, wide), _index(b, index), b.cast(updates, wide), axis=s.int("over"), reduction="add")
    return b.cast(total, x.dtype)


def _one_hot(s: Site) -> Tensor:
    b, classes, dtype = s.body, s.dim("classes"), s.dtype()
    index = b.cast(s.x, DType.I64)
    if dtype in (DType.F32, DType.I64) and s.rank:
        depth = b.dim(classes)
        return b.op("OneHot", index, depth, b.const(np.asarray([0, 1]), dtype), dtype=dtype, axis=-1)
    places = b.const(np.arange(classes)) if isinstance(classes, int) else b.count_to(b.size(classes))
    return b.cast(b.op("Equal", b.unsqueeze(index, s.rank), places, dtype=DType.BOOL), dtype)


def _top(s: Site, x: Tensor, k: Tensor, largest: bool) -> tuple[Tensor, ...]:
    return s.body.ops("TopK", (x, k), (None, DType.I64), {"axis": s.int("over"), "largest": int(largest), "sorted": 1})


def _topk(s: Site) -> tuple[Tensor, ...]:
    return _top(s, s.x, s.body.const([s.int("k")]), s.flag("largest"))


def _argsort(s: Site) -> Tensor:
    """By TopK, which puts the smaller index first among equals; NaN, which it has no place for, sorts as infinity."""
    b, x = s.body, s.x
    if x.dtype.is_float:
        x = b.op("Where", b.op("IsNaN", x, dtype=DType.BOOL), b.number(np.inf, x.dtype), x)
    return _top(s, x, b.dim(s.shape[s.int("over")]), s.flag("descending"))[1]


def _sort(s: Site) -> Tensor:
    if not s.x.dtype.is_float:
        return _top(s, s.x, s.body.dim(s.shape[s.int("over")]), s.flag("descending"))[0]
    return s.body.op("GatherElements", s.x, _argsort(s), axis=s.int("over"))


def _triangle(upper: bool) -> Row:
    return lambda s: s.body.op("Trilu", s.x, s.body.const(s.int("diagonal")), upper=int(upper))


SHAPE_ROWS: dict[str, Row | Unsupported] = {
    "reshape": _reshape,
    "permute": _permute,
    "expand": _expand,
    "concat": _concat,
    "stack": _stack,
    "slice": _slice,
    "split": _split,
    "pad": _pad,
    "flip": _flip,
    "roll": _roll,
    "tile": _tile,
    "gather": _gather,
    "take": _take,
    "scatter_add": _scatter_add,
    "one_hot": _one_hot,
    "topk": _topk,
    "sort": _sort,
    "argsort": _argsort,
    "tril": _triangle(False),
    "triu": _triangle(True),
}
