"""Primitives that join tensors and cut them into parts."""

from __future__ import annotations

import numpy as np

from dsl.dims import Dim, Expr, dim_le, dims_equal, format_dim
from dsl.ops.card import Attribute, Attributes, AttributeValue, Card, Example, Form, Operand, OpError
from dsl.ops.inference import within
from dsl.ops.sizes import (
    BAD_ATTRIBUTE,
    dim,
    dim_tuple,
    dims,
    distinct_axes,
    exact_quotient,
    int_tuple,
    integer,
    integers,
    listed,
    require_same_dtype,
    shown,
)
from dsl.ops.slicing import Cut, canonical_cut, cut_size
from dsl.types import TensorType

Types = tuple[TensorType, ...]
Given = dict[str, AttributeValue]


def _ordinals(types: Types) -> tuple[str, ...]:
    return tuple(f"tensor {i}" for i in range(1, len(types) + 1))


def _normalize_concat(types: Types, attributes: Given) -> Given:
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


_X = (Operand("x"),)
_XS = (Operand("xs", variadic=True),)

CARDS: tuple[Card, ...] = (
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
)
