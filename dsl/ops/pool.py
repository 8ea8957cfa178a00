"""Pooling and resizing of the spatial axes of x [batch, channels, *spatial]."""

from __future__ import annotations

from fractions import Fraction
from itertools import product as places
from math import floor

import numpy as np

from dsl.dims import Dim, dim_upper, format_dim
from dsl.ops.card import Accepts, Attribute, Attributes, AttributeValue, Card, Example, Form, Operand, OpError
from dsl.ops.conv import LAYOUT
from dsl.ops.sizes import BAD_ATTRIBUTE, dim_tuple, int_tuple, listed, pair_tuple, per_axis, require_rank, shown, sizes
from dsl.ops.windows import Pairs, canonical_padding, require_fit, span, window_count
from dsl.types import TensorType


def _normalize_pool(types: tuple[TensorType, ...], attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    x = types[0]
    require_rank(x, (3, 4, 5), LAYOUT)
    count = x.rank - 2
    kernel = per_axis(attributes["kernel"], "kernel", count, 1)
    stride = kernel if attributes["stride"] is None else per_axis(attributes["stride"], "stride", count, 1)
    dilation = per_axis(attributes.get("dilation", 1), "dilation", count, 1)
    spans = tuple(map(span, kernel, dilation))
    padding = canonical_padding(attributes["padding"], x.shape[2:], spans, stride)
    for k, reach, pair in zip(kernel, spans, padding, strict=True):
        if max(pair) > reach // 2:
            raise OpError(f"padding {max(pair)} is more than half of the kernel {k}", "padding", code=BAD_ATTRIBUTE)
    found = {**attributes, "kernel": kernel, "stride": stride, "padding": padding}
    return {**found, "dilation": dilation} if "dilation" in attributes else found


def _infer_pool(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    x = types[0]
    kernel, stride, padding = int_tuple(attributes, "kernel"), int_tuple(attributes, "stride"), pair_tuple(attributes, "padding")
    dilation = int_tuple(attributes, "dilation") if "dilation" in attributes else (1,) * len(kernel)
    spatial: list[Dim] = []
    for n, k, s, d, p in zip(x.shape[2:], kernel, stride, dilation, padding, strict=True):
        require_fit(n, k, d, p)
        spatial.append(window_count(n, span(k, d), s, p, attributes["ceil_mode"] is True))
    return x.with_shape((*x.shape[:2], *spatial))


def _steps(
    x: np.ndarray, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...], out: list[int]
) -> list[np.ndarray]:
    """For each place of the kernel the view of padded `x` that it sees, one entry for each window."""
    found = []
    for place in places(*map(range, kernel)):
        moves = [slice(i * d, i * d + (m - 1) * s + 1, s) for i, d, s, m in zip(place, dilation, stride, out, strict=True)]
        found.append(x[(slice(None), slice(None), *moves)])
    return found


def _covering(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Pairs,
    dilation: tuple[int, ...],
    ceil_mode: bool,
) -> tuple[list[int], Pairs]:
    """Windows on each spatial axis, and padding that also covers windows hanging over the end."""
    out: list[int] = []
    whole: list[tuple[int, int]] = []
    for n, k, s, (low, high), d in zip(shape, kernel, stride, padding, dilation, strict=True):
        count = window_count(n, span(k, d), s, (low, high), ceil_mode)
        assert isinstance(count, int)
        out.append(count)
        whole.append((low, max(high, (count - 1) * s + span(k, d) - n - low)))
    return out, tuple(whole)


def _reference_max(
    x: np.ndarray, *, kernel: tuple[int, ...], stride: tuple[int, ...], padding: Pairs, dilation: tuple[int, ...], ceil_mode: bool
) -> np.ndarray:
    out, whole = _covering(x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
    views = _steps(np.pad(x, ((0, 0), (0, 0), *whole), constant_values=-np.inf), kernel, stride, dilation, out)
    result = views[0]
    for view in views[1:]:
        result = np.maximum(result, view)
    return np.array(result)


def _reference_average(
    x: np.ndarray, *, kernel: tuple[int, ...], stride: tuple[int, ...], padding: Pairs, ceil_mode: bool, count_include_pad: bool
) -> np.ndarray:
    ones = (1,) * len(kernel)
    out, whole = _covering(x.shape[2:], kernel, stride, padding, ones, ceil_mode)
    views = _steps(np.pad(x, ((0, 0), (0, 0), *whole)), kernel, stride, ones, out)
    total = np.zeros(views[0].shape)
    for view in views:
        total += view
    divisor = np.ones(())
    for n, k, s, (low, high), m in zip(x.shape[2:], kernel, stride, padding, out, strict=True):
        starts = np.arange(m) * s - low
        ends = np.minimum(starts + k, n + high if count_include_pad else n)
        divisor = np.multiply.outer(divisor, ends - (starts if count_include_pad else np.maximum(starts, 0)))
    return np.asarray(total / divisor)


def _spatial_sizes(x: TensorType, value: AttributeValue) -> tuple[Dim, ...]:
    """`size` as one size for each spatial axis; a bare one counts for all."""
    found = sizes(value, "size")
    if len(found) == 1:
        return found * (x.rank - 2)
    if len(found) != x.rank - 2:
        raise OpError(f"`size` has {len(found)} numbers for {x.rank - 2} spatial axes", "size", code=BAD_ATTRIBUTE)
    return found


def _normalize_adaptive(types: tuple[TensorType, ...], attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    require_rank(types[0], (3, 4, 5), LAYOUT)
    return {"size": _spatial_sizes(types[0], attributes["size"])}


def _infer_to_size(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    return types[0].with_shape((*types[0].shape[:2], *dim_tuple(attributes, "size")))


def _reference_adaptive(x: np.ndarray, *, size: tuple[int, ...]) -> np.ndarray:
    for axis, m in enumerate(size, 2):
        n = x.shape[axis]
        cells = [x.take(range(i * n // m, -(-(i + 1) * n // m)), axis).mean(axis) for i in range(m)]
        x = np.stack(cells, axis)
    return x


def _normalize_interpolate(types: tuple[TensorType, ...], attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    x = types[0]
    require_rank(x, (3, 4, 5), LAYOUT)
    mode, size, scale = attributes["mode"], attributes["size"], attributes["scale"]
    if mode == "bilinear" and x.rank != 4:
        raise OpError(f'mode "bilinear" needs x of [batch, channels, height, width], and x is {x}', "mode", code=BAD_ATTRIBUTE)
    if mode == "nearest" and attributes["align_corners"] is True:
        raise OpError('`align_corners` has no meaning with mode "nearest"', "align_corners", code=BAD_ATTRIBUTE)
    if (size is None) == (scale is None):
        raise OpError("give either `size` or `scale`", "size" if size is None else "scale", code=BAD_ATTRIBUTE)
    if scale is None:
        return {**attributes, "size": _spatial_sizes(x, size), "scale": None}
    factors = _factors(x, scale)
    found = tuple(_scaled(n, f) for n, f in zip(x.shape[2:], factors, strict=True))
    return {**attributes, "size": found, "scale": factors}


def _factors(x: TensorType, scale: AttributeValue) -> tuple[float, ...]:
    entries = listed(scale)
    found: list[float] = []
    for v in entries:
        if isinstance(v, bool) or not isinstance(v, int | float) or not 0 < v < float("inf"):
            raise OpError(f"`scale` must be a positive number, not {shown(v)}", "scale", code=BAD_ATTRIBUTE)
        found.append(float(v))
    if not isinstance(scale, tuple):
        found *= x.rank - 2
    if len(found) != x.rank - 2:
        raise OpError(f"`scale` has {len(found)} numbers for {x.rank - 2} spatial axes", "scale", code=BAD_ATTRIBUTE)
    return tuple(found)


def _scaled(size: Dim, factor: float) -> Dim:
    """floor(size * factor), as the float multiplication of the targets has it."""
    if isinstance(size, int):
        result: Dim = floor(size * factor)
    else:
        exact = Fraction(factor)
        if exact.denominator > 1024:
            message = f"scale {factor} is no exact fraction, so floor({format_dim(size)} * {factor}) is not known for every size"
            raise OpError(message, "scale", "give `size`, or a scale such as 2 or 0.5", BAD_ATTRIBUTE)
        result = size * exact.numerator // exact.denominator
    upper = dim_upper(result)
    if upper is not None and upper < 1:
        raise OpError(f"scale {factor} leaves nothing of size {format_dim(size)}", "scale", code=BAD_ATTRIBUTE)
    return result


def _reference_interpolate(
    x: np.ndarray, *, size: tuple[int, ...], scale: tuple[float, ...] | None, mode: str, align_corners: bool
) -> np.ndarray:
    for axis, m in enumerate(size, 2):
        n = x.shape[axis]
        ratio = n / m if scale is None else 1 / scale[axis - 2]
        i = np.arange(m)
        if mode == "nearest":
            x = x.take(np.minimum(np.floor(i * ratio), n - 1).astype(int), axis)
            continue
        if align_corners:
            place = i * ((n - 1) / (m - 1) if m > 1 else 0.0)
        else:
            place = np.maximum((i + 0.5) * ratio - 0.5, 0)
        low = np.minimum(np.floor(place).astype(int), n - 1)
        high = np.minimum(low + 1, n - 1)
        share = np.minimum(place - low, 1.0).reshape(-1, *(1,) * (x.ndim - axis - 1))
        x = x.take(low, axis) * (1 - share) + x.take(high, axis) * share
    return np.array(x)


_X = (Operand("x", Accepts.FLOAT),)
_CEIL = (
    "With `ceil_mode` the last window may hang over the end if it starts in the input or the low padding (torch.nn.MaxPool2d)."
)

CARDS: tuple[Card, ...] = (
    Card(
        "max_pool",
        "conv",
        "The largest element of each window of x [B, C, *spatial].",
        _X,
        (
            Attribute("kernel", Form.INTS, low=1),
            Attribute("stride", Form.INTS, None, low=1),
            Attribute("padding", Form.ANY, 0),
            Attribute("dilation", Form.INTS, 1, low=1),
            Attribute("ceil_mode", Form.BOOL, False),
        ),
        _infer_pool,
        _reference_max,
        (
            Example("max_pool([[[1.0, 3.0, 2.0, 4.0]]], 2)", [[[3.0, 4.0]]]),
            Example("max_pool([[[1.0, 3.0, 2.0]]], 2, ceil_mode=true)", [[[3.0, 2.0]]]),
        ),
        notes=f"The stride is the kernel unless given. Padding never wins and is at most half of the kernel. {_CEIL}",
        normalize=_normalize_pool,
    ),
    Card(
        "avg_pool",
        "conv",
        "The mean of each window of x [B, C, *spatial].",
        _X,
        (
            Attribute("kernel", Form.INTS, low=1),
            Attribute("stride", Form.INTS, None, low=1),
            Attribute("padding", Form.ANY, 0),
            Attribute("ceil_mode", Form.BOOL, False),
            Attribute("count_include_pad", Form.BOOL, True),
        ),
        _infer_pool,
        _reference_average,
        (
            Example("avg_pool([[[1.0, 3.0, 2.0, 4.0]]], 2)", [[[2.0, 3.0]]]),
            Example("avg_pool([[[2.0, 4.0]]], 2, padding=1, count_include_pad=false)", [[[2.0, 4.0]]]),
        ),
        notes=(
            "Zeros of the padding count in the mean, as in torch.nn.AvgPool2d, unless `count_include_pad` is false, the default "
            f"of ONNX AveragePool. What hangs over the padding never counts. The stride is the kernel unless given. {_CEIL}"
        ),
        normalize=_normalize_pool,
    ),
    Card(
        "adaptive_avg_pool",
        "conv",
        "The means of cells that divide each spatial axis of x [B, C, *spatial] into `size` parts.",
        _X,
        (Attribute("size", Form.DIMS),),
        _infer_to_size,
        _reference_adaptive,
        (
            Example("adaptive_avg_pool([[[1.0, 3.0, 2.0, 4.0]]], 2)", [[[2.0, 3.0]]]),
            Example("adaptive_avg_pool([[[1.0, 3.0, 5.0]]], 2)", [[[2.0, 4.0]]]),
        ),
        notes=(
            "Of n places, cell i of m is floor(i * n / m) up to ceil((i + 1) * n / m), so that cells may overlap "
            "(torch.nn.AdaptiveAvgPool2d)."
        ),
        normalize=_normalize_adaptive,
    ),
    Card(
        "interpolate",
        "conv",
        "x [B, C, *spatial] resized to `size`, or by the factor `scale`.",
        _X,
        (
            Attribute("size", Form.DIMS, None),
            Attribute("scale", Form.ANY, None),
            Attribute("mode", Form.STRING, "nearest", choices=("nearest", "bilinear")),
            Attribute("align_corners", Form.BOOL, False),
        ),
        _infer_to_size,
        _reference_interpolate,
        (
            Example("interpolate([[[1.0, 2.0]]], scale=2)", [[[1.0, 1.0, 2.0, 2.0]]]),
            Example('interpolate([[[[1.0, 3.0]]]], size=[1, 4], mode="bilinear")', [[[[1.0, 1.5, 2.5, 3.0]]]]),
        ),
        notes=(
            'As torch.nn.functional.interpolate: "nearest" takes place floor(i * in / out) (ONNX Resize: asymmetric, floor), '
            '"bilinear" maps the centres of pixels (ONNX: half_pixel) or, with `align_corners`, the outermost pixels onto each '
            "other, and never smooths when it shrinks. With `scale` the output is floor(in * scale), and the map uses 1 / scale "
            "in place of in / out, unless `align_corners`."
        ),
        normalize=_normalize_interpolate,
    ),
)
