"""Primitives that rearrange elements: reshape and permute, join and cut, pad, flip, roll, tile."""

from __future__ import annotations

import numpy as np

from dsl.dims import Dim, Expr, dim_le, dim_upper, dims_equal, format_dim
from dsl.ops.card import Attribute, Attributes, AttributeValue, Card, Example, Form, Operand, OpError
from dsl.ops.inference import within
from dsl.ops.sizes import (
    BAD_ATTRIBUTE,
    BAD_AXIS,
    BAD_DTYPE,
    dim,
    dim_tuple,
    dims,
    distinct_axes,
    exact_quotient,
    int_tuple,
    integer,
    integers,
    listed,
    pair_tuple,
    require_same_dtype,
    shown,
    written_product,
)
from dsl.ops.slicing import Cut, canonical_cut, cut_size
from dsl.types import TensorType

Types = tuple[TensorType, ...]
Given = dict[str, AttributeValue]


# --- reshape, permute, expand -----------------------------------------------------------------------------------------


def _normalize_reshape(types: Types, attributes: Given) -> Given:
    """The shape with `-1` solved."""
    x, shape = types[0], dims(attributes["shape"], "shape")
    unknown = [i for i, d in enumerate(shape) if d == -1]
    if len(unknown) > 1:
        raise OpError(f"`shape` {shown(shape)} has -1 {len(unknown)} times; only one size can be found from the others", "shape")
    for d in shape:
        upper = dim_upper(d)
        if upper is not None and upper < 0 and d != -1:
            raise OpError(f"a size cannot be negative: {format_dim(d)}", "shape")
    known = tuple(d for d in shape if d != -1)
    if 0 in x.shape and 0 in known and not unknown:
        return {"shape": shape}
    quotient = exact_quotient(x.shape, known)
    if quotient is None or (not unknown and quotient != 1):
        wanted = "is not proved to be a multiple of" if unknown and quotient is None else "against"
        detail = f"{written_product(x.shape)} {wanted} {written_product(known)}"
        raise OpError(f"x is {x} and does not fill the shape {shown(shape)}: {detail}", "shape")
    return {"shape": tuple(quotient if d == -1 else d for d in shape)}


def _infer_to_shape(types: Types, attributes: Attributes) -> TensorType:
    return types[0].with_shape(dim_tuple(attributes, "shape"))


def _reference_reshape(x: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    return x.reshape(shape)


def _normalize_permute(types: Types, attributes: Given) -> Given:
    rank = types[0].rank
    order = distinct_axes(attributes["order"], rank, "order")
    if len(order) != rank:
        raise OpError(f"`order` {shown(order)} must list each of the {rank} axes of x once", "order", code=BAD_AXIS)
    return {"order": order}


def _infer_permute(types: Types, attributes: Attributes) -> TensorType:
    return types[0].with_shape(tuple(types[0].shape[i] for i in int_tuple(attributes, "order")))


def _reference_permute(x: np.ndarray, *, order: tuple[int, ...]) -> np.ndarray:
    return x.transpose(order)


def _normalize_expand(types: Types, attributes: Given) -> Given:
    """The shape with `-1` replaced by the size that x has there."""
    x, shape = types[0], dims(attributes["shape"], "shape")
    offset = len(shape) - x.rank
    if offset < 0:
        raise OpError(f"`shape` {shown(shape)} has fewer axes than x, which is {x}", "shape")
    found: list[Dim] = []
    for i, size in enumerate(shape):
        have = x.shape[i - offset] if i >= offset else None
        if size == -1 and have is None:
            raise OpError(f"axis {i} of `shape` {shown(shape)} is new, so that -1 does not say its size", "shape")
        if have is not None and size != -1 and have != 1 and not dims_equal(have, size):
            message = f"axis {i - offset} of x, which is {x}, cannot become {format_dim(size)}: only size 1 is stretched"
            raise OpError(message, "shape")
        found.append(have if have is not None and size == -1 else size)
    for size in found:
        if isinstance(size, int) and size < 0:
            raise OpError(f"a size cannot be negative: {size}", "shape")
    return {"shape": tuple(found)}


def _reference_expand(x: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(x, shape)


# --- concat, stack, slice, split --------------------------------------------------------------------------------------


def _require_some(types: Types, name: str) -> None:
    if not types:
        raise OpError(f"`{name}` needs at least one tensor", "xs", code=BAD_ATTRIBUTE)


def _ordinals(types: Types) -> tuple[str, ...]:
    return tuple(f"tensor {i}" for i in range(1, len(types) + 1))


def _normalize_concat(types: Types, attributes: Given) -> Given:
    _require_some(types, "concat")
    return {"over": within(attributes["over"], types[0].rank)}


def _infer_concat(types: Types, attributes: Attributes) -> TensorType:
    first, over = types[0], integer(attributes["over"], "over")
    require_same_dtype(types, _ordinals(types), "xs")
    total: Dim = 0
    for i, t in enumerate(types, 1):
        if t.rank != first.rank:
            raise OpError(f"tensor 1 is {first} and tensor {i} is {t}: all must have the same number of axes", "xs")
        for axis, (a, b) in enumerate(zip(first.shape, t.shape, strict=True)):
            if axis != over and not dims_equal(a, b):
                detail = f"{format_dim(a)} against {format_dim(b)} in axis {axis}, and only axis {over} is joined"
                raise OpError(f"tensor 1 is {first} and tensor {i} is {t}: {detail}", "xs")
        total = total + t.shape[over]
    return first.with_shape((*first.shape[:over], total, *first.shape[over + 1 :]))


def _reference_concat(*xs: np.ndarray, over: int) -> np.ndarray:
    return np.concatenate(xs, axis=over)


def _normalize_stack(types: Types, attributes: Given) -> Given:
    _require_some(types, "stack")
    return {"over": within(attributes["over"], types[0].rank + 1)}


def _infer_stack(types: Types, attributes: Attributes) -> TensorType:
    first, over = types[0], integer(attributes["over"], "over")
    require_same_dtype(types, _ordinals(types), "xs")
    for i, t in enumerate(types, 1):
        if t.rank != first.rank or not all(map(dims_equal, first.shape, t.shape)):
            raise OpError(f"tensor 1 is {first} and tensor {i} is {t}: all must have the same shape", "xs")
    return first.with_shape((*first.shape[:over], len(types), *first.shape[over:]))


def _reference_stack(*xs: np.ndarray, over: int) -> np.ndarray:
    return np.stack(xs, axis=over)


def _bounds(value: AttributeValue, name: str, count: int) -> tuple[Dim | None, ...]:
    """One bound for each sliced axis; `none` stands for the end of the axis."""
    if value is None:
        return (None,) * count
    found = tuple(None if v is None else dim(v, name) for v in listed(value))
    if len(found) != count:
        raise OpError(f"`{name}` has {len(found)} entries for {count} axes", name, code=BAD_ATTRIBUTE)
    return found


def _normalize_slice(types: Types, attributes: Given) -> Given:
    x = types[0]
    axes = distinct_axes(attributes["axes"], x.rank, "axes")
    starts, stops = _bounds(attributes["starts"], "starts", len(axes)), _bounds(attributes["stops"], "stops", len(axes))
    steps = integers(attributes["steps"], "steps") if attributes["steps"] is not None else (1,) * len(axes)
    if len(steps) != len(axes):
        raise OpError(f"`steps` has {len(steps)} entries for {len(axes)} axes", "steps", code=BAD_ATTRIBUTE)
    if 0 in steps:
        raise OpError("the step of a slice cannot be 0", "steps", code=BAD_ATTRIBUTE)
    ordered = sorted(zip(axes, starts, stops, steps, strict=True), key=lambda entry: entry[0])
    cuts = [canonical_cut(x.shape[axis], start, stop, step) for axis, start, stop, step in ordered]
    return {
        "axes": tuple(entry[0] for entry in ordered),
        "starts": tuple(cut.start for cut in cuts),
        "stops": tuple(cut.stop for cut in cuts),
        "steps": tuple(cut.step for cut in cuts),
    }


def _infer_slice(types: Types, attributes: Attributes) -> TensorType:
    shape = list(types[0].shape)
    stops = attributes["stops"]
    assert isinstance(stops, tuple)
    axes, starts, steps = int_tuple(attributes, "axes"), dim_tuple(attributes, "starts"), int_tuple(attributes, "steps")
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        shape[axis] = cut_size(Cut(start, stop if isinstance(stop, int | Expr) else None, step), shape[axis])
    return types[0].with_shape(tuple(shape))


def _reference_slice(
    x: np.ndarray, *, axes: tuple[int, ...], starts: tuple[int, ...], stops: tuple[int | None, ...], steps: tuple[int, ...]
) -> np.ndarray:
    cuts = [slice(None)] * x.ndim
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        cuts[axis] = slice(start, stop, step)
    result: np.ndarray = x[tuple(cuts)]
    return result


def _normalize_split(types: Types, attributes: Given) -> Given:
    """An integer number of parts becomes their sizes."""
    x, given = types[0], attributes["sizes"]
    over = within(attributes["over"], x.rank)
    whole = x.shape[over]
    if isinstance(given, tuple):
        found = dims(given, "sizes")
        total = sum(found, start=0) if found else 0
        if not found or not dims_equal(total, whole):
            detail = f"{format_dim(total)} against {format_dim(whole)} in axis {over}"
            raise OpError(f"x is {x} and the parts {shown(found)} do not add up to it: {detail}", "sizes")
        for d in found:
            if dim_le(0, d) is False:
                raise OpError(f"a part cannot be negative: {format_dim(d)}", "sizes", code=BAD_ATTRIBUTE)
        return {"sizes": found, "over": over}
    parts = integer(given, "sizes", 1)
    part = exact_quotient((whole,), (parts,))
    if part is None:
        raise OpError(
            f"axis {over} of x, which is {x}, is not proved to be a multiple of {parts}: it is {format_dim(whole)}",
            "sizes",
            "an integer is the number of equal parts; give a list for parts of other sizes",
        )
    return {"sizes": (part,) * parts, "over": over}


def _infer_split(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    x, over = types[0], integer(attributes["over"], "over")
    return tuple(x.with_shape((*x.shape[:over], size, *x.shape[over + 1 :])) for size in dim_tuple(attributes, "sizes"))


def _reference_split(x: np.ndarray, *, sizes: tuple[int, ...], over: int) -> tuple[np.ndarray, ...]:
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis=over))


# --- pad, flip, roll, tile --------------------------------------------------------------------------------------------


def _normalize_pad(types: Types, attributes: Given) -> Given:
    x, entries = types[0], listed(attributes["widths"])
    if len(entries) != x.rank:
        message = f"`widths` has {len(entries)} entries, and x, which is {x}, has {x.rank} axes"
        raise OpError(message, "widths", "give a [low, high] pair for each axis, in the order of the axes", BAD_ATTRIBUTE)
    found: list[tuple[int, int]] = []
    for entry in entries:
        pair = integers(entry, "widths", 0)
        if len(pair) > 2:
            raise OpError(f"`widths` needs a [low, high] pair for each axis, not {shown(entry)}", "widths", code=BAD_ATTRIBUTE)
        found.append((pair[0], pair[-1]))
    value = attributes["value"]
    if value is None or isinstance(value, str | tuple):
        raise OpError(f"`value` must be a number, not {shown(value)}", "value", code=BAD_ATTRIBUTE)
    if isinstance(value, float) and not x.dtype.is_float:
        if not value.is_integer():
            raise OpError(f"`value` {value} is not an element of x, which is {x}", "value", code=BAD_DTYPE)
        value = int(value)
    return {"widths": tuple(found), "mode": attributes["mode"], "value": value}


def _infer_pad(types: Types, attributes: Attributes) -> TensorType:
    x, mode = types[0], attributes["mode"]
    widths = pair_tuple(attributes, "widths")
    for axis, (size, pair) in enumerate(zip(x.shape, widths, strict=True)):
        most = {"reflect": size - 1, "edge": max(pair) if size != 0 else 0}.get(str(mode))
        if most is not None and dim_le(max(pair), most) is False:
            raise OpError(f'mode "{mode}" cannot add {max(pair)} places to axis {axis} of size {format_dim(size)}', "widths")
    return x.with_shape(tuple(size + low + high for size, (low, high) in zip(x.shape, widths, strict=True)))


def _reference_pad(x: np.ndarray, *, widths: tuple[tuple[int, int], ...], mode: str, value: float) -> np.ndarray:
    if mode == "constant":
        return np.pad(x, widths, constant_values=x.dtype.type(value))
    return np.pad(x, widths, mode="reflect" if mode == "reflect" else "edge")


def _normalize_flip(types: Types, attributes: Given) -> Given:
    return {"over": tuple(sorted(distinct_axes(attributes["over"], types[0].rank, "over")))}


def _infer_same(types: Types, attributes: Attributes) -> TensorType:
    return types[0]


def _reference_flip(x: np.ndarray, *, over: tuple[int, ...]) -> np.ndarray:
    return np.flip(x, over)


def _normalize_roll(types: Types, attributes: Given) -> Given:
    over = distinct_axes(attributes["over"], types[0].rank, "over")
    shift = integers(attributes["shift"], "shift")
    if len(shift) != len(over):
        raise OpError(f"`shift` has {len(shift)} numbers for {len(over)} axes", "shift", code=BAD_ATTRIBUTE)
    ordered = sorted(zip(over, shift, strict=True))
    return {"shift": tuple(s for _, s in ordered), "over": tuple(axis for axis, _ in ordered)}


def _reference_roll(x: np.ndarray, *, shift: tuple[int, ...], over: tuple[int, ...]) -> np.ndarray:
    return np.roll(x, shift, over)


def _normalize_tile(types: Types, attributes: Given) -> Given:
    repeats = integers(attributes["repeats"], "repeats", 1)
    if len(repeats) != types[0].rank:
        message = f"`repeats` has {len(repeats)} numbers, and x, which is {types[0]}, has {types[0].rank} axes"
        raise OpError(message, "repeats", code=BAD_ATTRIBUTE)
    return {"repeats": repeats}


def _infer_tile(types: Types, attributes: Attributes) -> TensorType:
    return types[0].with_shape(tuple(n * r for n, r in zip(types[0].shape, int_tuple(attributes, "repeats"), strict=True)))


def _reference_tile(x: np.ndarray, *, repeats: tuple[int, ...]) -> np.ndarray:
    return np.tile(x, repeats)


_X = (Operand("x"),)
_XS = (Operand("xs", variadic=True),)

CARDS: tuple[Card, ...] = (
    Card(
        "reshape",
        "shape",
        "The elements of x, in row-major order, in another shape; one size may be -1 and is found from the others.",
        _X,
        (Attribute("shape", Form.DIMS),),
        _infer_to_shape,
        _reference_reshape,
        (
            Example("reshape([1.0, 2.0, 3.0, 4.0], [2, 2])", [[1.0, 2.0], [3.0, 4.0]]),
            Example("reshape([[1.0, 2.0], [3.0, 4.0]], [-1])", [1.0, 2.0, 3.0, 4.0]),
        ),
        normalize=_normalize_reshape,
    ),
    Card(
        "permute",
        "shape",
        "The axes of x in another order: axis i of the result is axis order[i] of x.",
        _X,
        (Attribute("order", Form.AXES),),
        _infer_permute,
        _reference_permute,
        (
            Example("permute([[1.0, 2.0, 3.0]], [1, 0])", [[1.0], [2.0], [3.0]]),
            Example("permute([[[1.0, 2.0]]], [2, 0, 1])", [[[1.0]], [[2.0]]]),
        ),
        notes="As torch.permute, numpy.transpose and ONNX Transpose.",
        normalize=_normalize_permute,
    ),
    Card(
        "expand",
        "shape",
        "x stretched to a shape by repeating axes of size 1 and adding axes in front.",
        _X,
        (Attribute("shape", Form.DIMS),),
        _infer_to_shape,
        _reference_expand,
        (
            Example("expand([[1.0], [2.0]], [2, 3])", [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]),
            Example("expand([1.0, 2.0], [2, -1])", [[1.0, 2.0], [1.0, 2.0]]),
        ),
        notes="-1 keeps the size, as in torch.Tensor.expand. The shape is the result's exactly, unlike that of ONNX Expand.",
        normalize=_normalize_expand,
    ),
    Card(
        "concat",
        "shape",
        "Tensors joined along an axis that they have.",
        _XS,
        (Attribute("over", Form.AXIS),),
        _infer_concat,
        _reference_concat,
        (
            Example("concat([1.0, 2.0], [3.0], over=0)", [1.0, 2.0, 3.0]),
            Example("concat([[1.0]], [[2.0]], over=-1)", [[1.0, 2.0]]),
        ),
        normalize=_normalize_concat,
    ),
    Card(
        "stack",
        "shape",
        "Tensors of one shape joined along a new axis; `over` is its place in the result.",
        _XS,
        (Attribute("over", Form.AXIS),),
        _infer_stack,
        _reference_stack,
        (
            Example("stack([1.0, 2.0], [3.0, 4.0], over=0)", [[1.0, 2.0], [3.0, 4.0]]),
            Example("stack([1.0, 2.0], [3.0, 4.0], over=-1)", [[1.0, 3.0], [2.0, 4.0]]),
        ),
        normalize=_normalize_stack,
    ),
    Card(
        "slice",
        "shape",
        "A part of x: `start:stop:step` of each of the given axes; `x[:, 1:]` is written for it.",
        _X,
        (
            Attribute("axes", Form.AXES),
            Attribute("starts", Form.ANY, None),
            Attribute("stops", Form.ANY, None),
            Attribute("steps", Form.INTS, None),
        ),
        _infer_slice,
        _reference_slice,
        (
            Example("slice([1.0, 2.0, 3.0, 4.0], 0, starts=1, stops=-1)", [2.0, 3.0]),
            Example("slice([1.0, 2.0, 3.0, 4.0], 0, steps=-2)", [4.0, 2.0]),
        ),
        notes="Bounds are clamped to the axis and negative ones count from its end, as in Python.",
        normalize=_normalize_slice,
    ),
    Card(
        "split",
        "shape",
        "x cut along an axis into parts of the given sizes, or into a number of equal parts.",
        _X,
        (Attribute("sizes", Form.ANY), Attribute("over", Form.AXIS)),
        _infer_split,
        _reference_split,
        (
            Example("split([1.0, 2.0, 3.0, 4.0], 2, over=0)[1]", [3.0, 4.0]),
            Example("split([1.0, 2.0, 3.0], [1, 2], over=0)[0]", [1.0]),
        ),
        notes=(
            "An integer is the number of equal parts, as in numpy.split and jax.numpy.split; "
            "in torch.split it is the size of a part."
        ),
        normalize=_normalize_split,
        results=("parts",),
    ),
    Card(
        "pad",
        "shape",
        "x with places added at both ends of its axes.",
        _X,
        (
            Attribute("widths", Form.ANY),
            Attribute("mode", Form.STRING, "constant", choices=("constant", "reflect", "edge")),
            Attribute("value", Form.ANY, 0.0),
        ),
        _infer_pad,
        _reference_pad,
        (
            Example("pad([1.0, 2.0], [[1, 2]])", [0.0, 1.0, 2.0, 0.0, 0.0]),
            Example('pad([1.0, 2.0, 3.0], [[2, 0]], mode="reflect")', [3.0, 2.0, 1.0, 2.0, 3.0]),
        ),
        notes=(
            "`widths` has a (low, high) pair for each axis, in the order of the axes, as in numpy.pad; torch.nn.functional.pad "
            "lists them from the last axis on, ONNX Pad all lows first. "
            '"reflect" does not repeat the element at the edge; "edge" repeats only that.'
        ),
        normalize=_normalize_pad,
    ),
    Card(
        "flip",
        "shape",
        "x with the order along the given axes reversed.",
        _X,
        (Attribute("over", Form.AXES),),
        _infer_same,
        _reference_flip,
        (Example("flip([1.0, 2.0, 3.0], over=0)", [3.0, 2.0, 1.0]), Example("flip([[1.0, 2.0]], over=[0, 1])", [[2.0, 1.0]])),
        normalize=_normalize_flip,
    ),
    Card(
        "roll",
        "shape",
        "x moved around cyclically: element i goes to place i + shift, and what leaves the end comes in at the beginning.",
        _X,
        (Attribute("shift", Form.INTS), Attribute("over", Form.AXES)),
        _infer_same,
        _reference_roll,
        (
            Example("roll([1.0, 2.0, 3.0], 1, over=0)", [3.0, 1.0, 2.0]),
            Example("roll([[1.0, 2.0], [3.0, 4.0]], [1, 1], over=[0, 1])", [[4.0, 3.0], [2.0, 1.0]]),
        ),
        notes="As numpy.roll and torch.roll.",
        normalize=_normalize_roll,
    ),
    Card(
        "tile",
        "shape",
        "x repeated as a whole along each axis.",
        _X,
        (Attribute("repeats", Form.INTS, low=1),),
        _infer_tile,
        _reference_tile,
        (
            Example("tile([1.0, 2.0], 2)", [1.0, 2.0, 1.0, 2.0]),
            Example("tile([[1.0, 2.0]], [2, 1])", [[1.0, 2.0], [1.0, 2.0]]),
        ),
        notes="As numpy.tile and ONNX Tile with one number for each axis; numpy.repeat repeats each element instead.",
        normalize=_normalize_tile,
    ),
)
