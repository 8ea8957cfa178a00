"""Convolution and transposed convolution in one, two or three spatial dimensions, by the rank of the operands."""

from __future__ import annotations

from itertools import product as places

import numpy as np

from dsl.dims import Dim, dims_equal, format_dim
from dsl.ops.card import Accepts, Attribute, Attributes, AttributeValue, Card, Example, Form, Operand, OpError
from dsl.ops.sizes import (
    BAD_ATTRIBUTE,
    exact_quotient,
    int_tuple,
    integer,
    pair_tuple,
    per_axis,
    require_rank,
    require_same_dtype,
)
from dsl.ops.windows import Pairs, canonical_padding, padded, require_fit, span, window_count, windows
from dsl.types import TensorType

LAYOUT = "it must be [batch, channels, *spatial] with 1 to 3 spatial axes"


def _kernel(types: tuple[TensorType, ...]) -> tuple[int, ...]:
    """The spatial sizes of the weight, after checking that the ranks agree."""
    x, weight = types
    require_rank(x, (3, 4, 5), LAYOUT)
    require_rank(weight, (x.rank,), f"with x {x} it must have {x.rank}", "weight")
    require_same_dtype(types, ("x", "weight"), "weight")
    for size in weight.shape[2:]:
        if not isinstance(size, int):
            raise OpError(f"the kernel size {format_dim(size)} must be a constant", "weight")
        if size < 1:
            raise OpError(f"the kernel size must be at least 1, not {size}", "weight")
    return tuple(k for k in weight.shape[2:] if isinstance(k, int))


def _require_groups(channels: Dim, groups: int, whose: str) -> None:
    if exact_quotient((channels,), (groups,)) is None:
        raise OpError(f"`groups` = {groups} does not divide the {format_dim(channels)} {whose}", "groups", code=BAD_ATTRIBUTE)


def _normalize_conv(types: tuple[TensorType, ...], attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    kernel = _kernel(types)
    stride = per_axis(attributes["stride"], "stride", len(kernel), 1)
    dilation = per_axis(attributes["dilation"], "dilation", len(kernel), 1)
    spans = tuple(map(span, kernel, dilation))
    padding = canonical_padding(attributes["padding"], types[0].shape[2:], spans, stride, ("same", "valid", "full"))
    groups = integer(attributes["groups"], "groups", 1)
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def _infer_conv(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    x, weight = types
    kernel, groups = _kernel(types), integer(attributes["groups"], "groups", 1)
    channels = x.shape[1]
    _require_groups(channels, groups, "channels of x")
    _require_groups(weight.shape[0], groups, "output channels of the weight")
    if not dims_equal(weight.shape[1] * groups, channels):
        wanted = format_dim(weight.shape[1]) if groups == 1 else f"{format_dim(weight.shape[1])} * {groups} groups"
        raise OpError(f"x has {format_dim(channels)} channels, and the weight {weight} takes {wanted}", "weight")
    stride, dilation = int_tuple(attributes, "stride"), int_tuple(attributes, "dilation")
    padding = pair_tuple(attributes, "padding")
    spatial: list[Dim] = []
    for n, k, s, d, p in zip(x.shape[2:], kernel, stride, dilation, padding, strict=True):
        require_fit(n, k, d, p)
        spatial.append(window_count(n, span(k, d), s, p))
    return x.with_shape((x.shape[0], weight.shape[0], *spatial))


def _reference_conv(
    x: np.ndarray, weight: np.ndarray, *, stride: tuple[int, ...], padding: Pairs, dilation: tuple[int, ...], groups: int
) -> np.ndarray:
    """Windows as rows of a matrix, times the weights of their group."""
    view = windows(padded(x, padding), weight.shape[2:], stride, dilation)
    batch, channels = x.shape[:2]
    r = x.ndim - 2
    out = view.shape[2 : 2 + r]
    grouped = view.reshape(batch, groups, channels // groups, *view.shape[2:])
    rows = np.moveaxis(grouped, 2, 2 + r).reshape(batch, groups, int(np.prod(out)), -1)
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1)
    result = rows @ np.swapaxes(matrix, 1, 2)
    return np.ascontiguousarray(np.swapaxes(result, 2, 3)).reshape(batch, weight.shape[0], *out)


def _normalize_transpose(types: tuple[TensorType, ...], attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    kernel = _kernel(types)
    stride = per_axis(attributes["stride"], "stride", len(kernel), 1)
    dilation = per_axis(attributes["dilation"], "dilation", len(kernel), 1)
    extra = per_axis(attributes["output_padding"], "output_padding", len(kernel), 0)
    for e, s, d in zip(extra, stride, dilation, strict=True):
        if e >= max(s, d):
            message = f"`output_padding` = {e} must be smaller than the stride {s} or the dilation {d}"
            raise OpError(message, "output_padding", code=BAD_ATTRIBUTE)
    spans = tuple(map(span, kernel, dilation))
    padding = canonical_padding(attributes["padding"], types[0].shape[2:], spans, stride, named=())
    groups = integer(attributes["groups"], "groups", 1)
    return {"stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation, "groups": groups}


def _infer_transpose(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    x, weight = types
    kernel, groups = _kernel(types), integer(attributes["groups"], "groups", 1)
    channels = x.shape[1]
    _require_groups(channels, groups, "channels of x")
    if not dims_equal(weight.shape[0], channels):
        wanted = format_dim(weight.shape[0])
        raise OpError(f"x has {format_dim(channels)} channels, and the weight {weight} takes {wanted}", "weight")
    stride, dilation = int_tuple(attributes, "stride"), int_tuple(attributes, "dilation")
    padding, extra = pair_tuple(attributes, "padding"), int_tuple(attributes, "output_padding")
    spatial: list[Dim] = []
    for n, k, s, d, (low, high), e in zip(x.shape[2:], kernel, stride, dilation, padding, extra, strict=True):
        size = (n - 1) * s + span(k, d) + e - low - high
        if isinstance(size, int) and size < 1:
            message = f"padding {low} and {high} leaves nothing of {size + low + high} output places"
            raise OpError(message, "padding", code=BAD_ATTRIBUTE)
        spatial.append(size)
    return x.with_shape((x.shape[0], weight.shape[1] * groups, *spatial))


def _reference_transpose(
    x: np.ndarray,
    weight: np.ndarray,
    *,
    stride: tuple[int, ...],
    padding: Pairs,
    output_padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> np.ndarray:
    """Every input place adds its multiple of the kernel to the output; padding is cut off."""
    batch, channels, *spatial = x.shape
    kernel, features = weight.shape[2:], weight.shape[1]
    rows = x.reshape(batch, groups, channels // groups, -1)
    matrix = weight.reshape(groups, channels // groups, -1)
    pieces = (np.swapaxes(matrix, 1, 2) @ rows).reshape(batch, groups * features, *kernel, *spatial)
    extents = zip(spatial, stride, kernel, dilation, output_padding, strict=True)
    whole = [(n - 1) * s + span(k, d) + e for n, s, k, d, e in extents]
    total = np.zeros((batch, groups * features, *whole))
    for place in places(*map(range, kernel)):
        moves = zip(place, dilation, spatial, stride, strict=True)
        steps = tuple(slice(i * d, i * d + (n - 1) * s + 1, s) for i, d, n, s in moves)
        total[(slice(None), slice(None), *steps)] += pieces[(slice(None), slice(None), *place)]
    cut = tuple(slice(low, size - high) for (low, high), size in zip(padding, whole, strict=True))
    result: np.ndarray = total[(slice(None), slice(None), *cut)]
    return result


_FLOATS = (Operand("x", Accepts.FLOAT), Operand("weight", Accepts.FLOAT))

CARDS: tuple[Card, ...] = (
    Card(
        "conv",
        "conv",
        "Convolution of x [B, C, *spatial] with weight [F, C / groups, *kernel], without a bias.",
        _FLOATS,
        (
            Attribute("stride", Form.INTS, 1, low=1),
            Attribute("padding", Form.ANY, 0),
            Attribute("dilation", Form.INTS, 1, low=1),
            Attribute("groups", Form.INT, 1, low=1),
        ),
        _infer_conv,
        _reference_conv,
        (
            Example("conv([[[1.0, 2.0, 3.0, 4.0]]], [[[1.0, -1.0]]])", [[[-1.0, -1.0, -1.0]]]),
            Example("conv([[[1.0, 2.0, 3.0, 4.0]]], [[[1.0, 10.0]]], stride=2, padding=[[1, 0]])", [[[10.0, 32.0]]]),
        ),
        notes=(
            "Cross-correlation: the kernel is not flipped, as in torch.nn.functional.conv2d, lax.conv_general_dilated and ONNX "
            "Conv. `padding` is a number, one for each spatial axis, a (low, high) pair for each, "
            '"valid", "full" (every place that the kernel touches), or "same": output ceil(n / stride), with the odd place at the '
            "end, as in tf.nn.convolution, "
            "torch's padding='same' and ONNX SAME_UPPER. "
            "Output size: (n + low + high - dilation * (kernel - 1) - 1) // stride + 1."
        ),
        normalize=_normalize_conv,
    ),
    Card(
        "conv_transpose",
        "conv",
        "Transposed convolution of x [B, C, *spatial] with weight [C, F / groups, *kernel]: the gradient of `conv` by its input.",
        _FLOATS,
        (
            Attribute("stride", Form.INTS, 1, low=1),
            Attribute("padding", Form.ANY, 0),
            Attribute("output_padding", Form.INTS, 0, low=0),
            Attribute("dilation", Form.INTS, 1, low=1),
            Attribute("groups", Form.INT, 1, low=1),
        ),
        _infer_transpose,
        _reference_transpose,
        (
            Example("conv_transpose([[[1.0, 2.0]]], [[[1.0, 10.0]]])", [[[1.0, 12.0, 20.0]]]),
            Example("conv_transpose([[[1.0, 2.0]]], [[[1.0, 10.0, 100.0]]], stride=2, padding=1)", [[[10.0, 102.0, 20.0]]]),
        ),
        notes=(
            "The weight has its input channels first, as in torch.nn.ConvTranspose2d and ONNX ConvTranspose. `padding` cuts off "
            "places of the output; `output_padding` adds places at its end. Output size, as torch's: "
            "(n - 1) * stride - low - high + dilation * (kernel - 1) + output_padding + 1. "
            'lax.conv_transpose means other paddings by "SAME" and "VALID".'
        ),
        normalize=_normalize_transpose,
    ),
)
