"""Primitives that rearrange the elements of one tensor: reshape and permute, expand, pad, flip, roll, tile."""

from __future__ import annotations

import numpy as np

from dsl.dims import Dim, dim_le, dim_upper, dims_equal, format_dim
from dsl.ops.card import Attribute, Attributes, AttributeValue, Card, Example, Form, Operand, OpError
from dsl.ops.sizes import (
    BAD_ATTRIBUTE,
    BAD_AXIS,
    BAD_DTYPE,
    dim_tuple,
    dims,
    distinct_axes,
    exact_quotient,
    int_tuple,
    integers,
    listed,
    pair_tuple,
    shown,
    written_product,
)
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


def _least_pad(types: Types, attributes: Attributes) -> list[tuple[Dim, int]]:
    """What is reflected has more elements than are added; of what is repeated there is one."""
    if attributes["mode"] == "constant":
        return []
    widths = zip(types[0].shape, pair_tuple(attributes, "widths"), strict=True)
    return [(size, max(pair) + 1 if attributes["mode"] == "reflect" else 1) for size, pair in widths if max(pair) > 0]


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
            '"reflect" does not repeat the element at the edge, and needs more elements than it adds: of a symbolic size that is a '
            'requirement. "edge" repeats only that element.'
        ),
        normalize=_normalize_pad,
        least=_least_pad,
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
