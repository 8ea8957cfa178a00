"""Sliding windows over spatial axes: what convolution and pooling have in common.

A window of `kernel` places, `dilation` apart, moves by `stride` over an input padded by `(low, high)`. Symbolic input sizes are
accepted unless the window provably does not fit.
"""

from __future__ import annotations

import numpy as np

from dsl.dims import Dim, ceil_div, dim_le, dim_min, dims_equal, format_dim
from dsl.ops.card import AttributeValue, OpError
from dsl.ops.sizes import BAD_ATTRIBUTE, integer, integers, listed, per_axis, shown

Pairs = tuple[tuple[int, int], ...]


def span(kernel: int, dilation: int) -> int:
    """How many places of the input the window reaches over."""
    return dilation * (kernel - 1) + 1


def canonical_padding(
    value: AttributeValue,
    sizes: tuple[Dim, ...],
    spans: tuple[int, ...],
    stride: tuple[int, ...],
    named: tuple[str, ...] = ("same", "valid"),
) -> Pairs:
    """`padding` as `(low, high)` for each spatial axis, from a number, numbers, pairs, or one of the names."""
    if isinstance(value, str):
        if value not in named:
            choices = "".join(f', "{n}"' for n in named)
            message = f"`padding` must be a number, a list of numbers or of pairs{choices}, not {shown(value)}"
            raise OpError(message, "padding", code=BAD_ATTRIBUTE)
        if value == "valid":
            return tuple((0, 0) for _ in sizes)
        if value == "full":
            return tuple((reach - 1, reach - 1) for reach in spans)
        return tuple(_same(n, s, step) for n, s, step in zip(sizes, spans, stride, strict=True))
    if not any(isinstance(v, tuple) for v in listed(value)):
        return tuple((p, p) for p in per_axis(value, "padding", len(sizes), 0))
    entries = listed(value)
    if len(entries) != len(sizes):
        raise OpError(f"`padding` has {len(entries)} pairs for {len(sizes)} spatial axes", "padding", code=BAD_ATTRIBUTE)
    return tuple(_pair(v, "padding") for v in entries)


def _pair(value: AttributeValue, argument: str) -> tuple[int, int]:
    if not isinstance(value, tuple):
        width = integer(value, argument, 0)
        return width, width
    if len(value) != 2:
        raise OpError(f"`{argument}` needs a [low, high] pair for each axis, not {shown(value)}", argument, code=BAD_ATTRIBUTE)
    low, high = integers(value, argument, 0)
    return low, high


def _same(size: Dim, reach: int, stride: int) -> tuple[int, int]:
    """Padding that makes the output `ceil(size / stride)`; an odd number puts the extra place at the end."""
    total = (ceil_div(size, stride) - 1) * stride + reach - size
    if not isinstance(total, int):
        raise OpError(
            f'padding "same" with stride {stride}: {format_dim(size)} is not known to be a multiple of {stride}',
            "padding",
            f"state it with `require {format_dim(size)} % {stride} == 0`, or give the padding in numbers",
            BAD_ATTRIBUTE,
        )
    total = max(total, 0)
    return total // 2, total - total // 2


def require_fit(size: Dim, kernel: int, dilation: int, padding: tuple[int, int]) -> None:
    """OpError where the window is provably larger than the padded input."""
    padded = size + sum(padding)
    if dim_le(span(kernel, dilation), padded) is False:
        reach = f" with dilation {dilation} spans {span(kernel, dilation)}, which" if dilation > 1 and kernel > 1 else ""
        what = "padded input" if any(padding) else "input"
        raise OpError(f"kernel {kernel}{reach} is larger than the {what} {format_dim(padded)}", "kernel")


def window_count(size: Dim, reach: int, stride: int, padding: tuple[int, int], ceil_mode: bool = False) -> Dim:
    """How many windows fit. With `ceil_mode` the last may hang over the end, if it starts inside the input or the low padding."""
    low, high = padding
    room = size + low + high - reach
    if not ceil_mode:
        return room // stride + 1
    windows = ceil_div(room, stride) + 1
    if stride - 1 < reach - high or dims_equal(room // stride * stride, room):
        return windows
    return dim_min(windows, ceil_div(size + low, stride))


def padded(x: np.ndarray, padding: Pairs, value: float = 0.0) -> np.ndarray:
    """`x` [N, C, *spatial] padded on its spatial axes."""
    return np.pad(x, ((0, 0), (0, 0), *padding), constant_values=value) if any(map(any, padding)) else x


def windows(x: np.ndarray, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> np.ndarray:
    """A view of padded `x` [N, C, *spatial] as [N, C, *windows, *kernel]."""
    reaches = tuple(span(k, d) for k, d in zip(kernel, dilation, strict=True))
    axes = tuple(range(2, x.ndim))
    view = np.lib.stride_tricks.sliding_window_view(x, reaches, axis=axes)
    steps = (slice(None), slice(None), *(slice(None, None, s) for s in stride), *(slice(None, None, d) for d in dilation))
    found: np.ndarray = view[steps]
    return found
