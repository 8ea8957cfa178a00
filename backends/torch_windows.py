"""The rows of convolution, pooling and resizing. What PyTorch cannot pad on both ends alike is padded beforehand or cut afterwards."""

from __future__ import annotations

from backends.python import Body, Rows
from backends.torch_tensors import tensors
from backends.writer import Expression, binary, call, index, quoted, sequence, slice_text
from dsl.dims import Dim
from dsl.ir import Node, StaticValue
from dsl.ops.card import AttributeValue
from dsl.ops.sizes import dim_tuple, int_tuple, pair_tuple

Operands = list[Expression]
Pairs = tuple[tuple[int, int], ...]


def short(values: tuple[int, ...]) -> int | tuple[int, ...]:
    """One number where all are the same."""
    return values[0] if len(set(values)) == 1 else values


def symmetric(pairs: Pairs) -> bool:
    return all(low == high for low, high in pairs)


def padded_by(pairs: Pairs) -> tuple[int, ...]:
    """The widths in the order of F.pad: last axis first."""
    return tuple(width for pair in reversed(pairs) for width in pair)


def unless(body: Body, value: AttributeValue | StaticValue, default: object) -> Expression | None:
    """The value as an argument, where it is not the default."""
    return None if value == default else body.static(value)


def _padded(body: Body, node: Node, x: Expression, value: str | None = None) -> tuple[Expression, Expression | None]:
    """`x`, padded if its ends differ, and the `padding` argument that is left."""
    pairs = pair_tuple(node.attributes, "padding")
    if symmetric(pairs):
        return x, unless(body, short(tuple(low for low, _ in pairs)), 0)
    return call("F.pad", x, body.static(padded_by(pairs)), value=value), None


def _conv(body: Body, node: Node, xs: Operands) -> Expression:
    x, weight = tensors(body, node, xs)
    x, padding = _padded(body, node, x)
    return call(
        f"F.conv{node.type.rank - 2}d", x, weight,
        stride=unless(body, short(int_tuple(node.attributes, "stride")), 1), padding=padding,
        dilation=unless(body, short(int_tuple(node.attributes, "dilation")), 1), groups=unless(body, node.attributes["groups"], 1),
    )  # fmt: skip


def _conv_transpose(body: Body, node: Node, xs: Operands) -> Expression:
    x, weight = tensors(body, node, xs)
    pairs = pair_tuple(node.attributes, "padding")
    common = tuple(min(pair) for pair in pairs)
    y = call(
        f"F.conv_transpose{node.type.rank - 2}d", x, weight,
        stride=unless(body, short(int_tuple(node.attributes, "stride")), 1), padding=unless(body, short(common), 0),
        output_padding=unless(body, short(int_tuple(node.attributes, "output_padding")), 0),
        groups=unless(body, node.attributes["groups"], 1),
        dilation=unless(body, short(int_tuple(node.attributes, "dilation")), 1),
    )  # fmt: skip
    if symmetric(pairs):
        return y
    cuts = [(low - c, high - c) for (low, high), c in zip(pairs, common, strict=True)]
    return index(y, ":", ":", *(slice_text(str(low or ""), f"-{high}" if high else "") for low, high in cuts))


def _max_pool(body: Body, node: Node, xs: Operands) -> Expression:
    x, padding = _padded(body, node, xs[0], 'float("-inf")')
    kernel, stride = int_tuple(node.attributes, "kernel"), int_tuple(node.attributes, "stride")
    y = call(
        f"F.max_pool{len(kernel)}d", x, body.static(short(kernel)), stride=unless(body, short(stride), short(kernel)),
        padding=padding, dilation=unless(body, short(int_tuple(node.attributes, "dilation")), 1),
        ceil_mode=unless(body, node.attributes["ceil_mode"], False),
    )  # fmt: skip
    return _cut(body, node, y)


def _cut(body: Body, node: Node, y: Expression) -> Expression:
    """With ends padded beforehand, `ceil_mode` may add windows that begin in the padding: they are cut off."""
    if symmetric(pair_tuple(node.attributes, "padding")) or not node.attributes["ceil_mode"]:
        return y
    return index(y, ":", ":", *(slice_text("", body.dim(d).text) for d in node.type.shape[2:]))


def _avg_pool(body: Body, node: Node, xs: Operands) -> Expression:
    x = xs[0]
    kernel, stride = int_tuple(node.attributes, "kernel"), int_tuple(node.attributes, "stride")
    pairs, all_count = pair_tuple(node.attributes, "padding"), node.attributes["count_include_pad"]
    function, window = f"F.avg_pool{len(kernel)}d", body.static(short(kernel))
    steps = unless(body, short(stride), short(kernel))
    ceil = unless(body, node.attributes["ceil_mode"], False)
    if symmetric(pairs):
        padding = unless(body, short(tuple(low for low, _ in pairs)), 0)
        counted = None if all_count or padding is None else "False"
        return call(function, x, window, stride=steps, padding=padding, ceil_mode=ceil, count_include_pad=counted)
    widths = body.static(padded_by(pairs))
    y = call(function, call("F.pad", x, widths), window, stride=steps, ceil_mode=ceil)
    if not all_count:
        share = call("F.pad", call("torch.ones_like", x), widths)
        y = binary(y, "/", call(function, share, window, stride=steps, ceil_mode=ceil))
    return _cut(body, node, y)


def _to_size(body: Body, sizes: tuple[Dim, ...]) -> Expression:
    texts = [body.dim(d) for d in sizes]
    return texts[0] if len({t.text for t in texts}) == 1 else sequence(texts)


def _adaptive(body: Body, node: Node, xs: Operands) -> Expression:
    sizes = dim_tuple(node.attributes, "size")
    return call(f"F.adaptive_avg_pool{len(sizes)}d", xs[0], _to_size(body, sizes))


def _interpolate(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    mode, scale = node.attributes["mode"], node.attributes["scale"]
    sizes = None if scale is not None else sequence(body.dim(d) for d in dim_tuple(node.attributes, "size"))
    factors = body.static(_whole(scale)) if isinstance(scale, tuple) else None
    aligned = "True" if node.attributes["align_corners"] else None
    named = None if mode == "nearest" else quoted(str(mode))
    return call("F.interpolate", x, size=sizes, scale_factor=factors, mode=named, align_corners=aligned)


def _whole(scale: tuple[AttributeValue, ...]) -> float | tuple[float, ...]:
    """Factors, as integers where they are whole, and one where all are the same."""
    found = tuple(f for f in scale if isinstance(f, int | float))
    plain = tuple(int(f) if f == int(f) and type(f) is float else f for f in found)
    return plain[0] if len(set(plain)) == 1 else plain


WINDOW_ROWS: Rows = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "adaptive_avg_pool": _adaptive,
    "interpolate": _interpolate,
}
