"""How JAX spells convolutions, pools and resizing: a call of lax, or of a function of jax_layers.py."""

from __future__ import annotations

from typing import cast

from backends.jax_spelling import Operands, shape_text, target, true
from backends.python import Body, Rows
from backends.writer import Argument, Expression, call
from dsl.ir import Node
from dsl.ops.sizes import dim_tuple, int_tuple, pair_tuple


def conv_arguments(body: Body, node: Node) -> dict[str, Argument | None]:
    """Keywords `dilation` and `groups`, where they are not 1."""
    dilation, groups = int_tuple(node.attributes, "dilation"), cast(int, node.attributes["groups"])
    return {
        "dilation": body.static(dilation) if set(dilation) != {1} else None,
        "groups": body.number(groups) if groups != 1 else None,
    }


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
    return call(target(body).copied("adaptive_avg_pool"), xs[0], shape_text(body, dim_tuple(node.attributes, "size")))


def _interpolate(body: Body, node: Node, xs: Operands) -> Expression:
    size, factors = shape_text(body, dim_tuple(node.attributes, "size")), node.attributes["scale"]
    scale = None if factors is None else body.static(factors)
    if node.attributes["mode"] == "nearest":
        return call(target(body).copied("resize_nearest"), xs[0], size, scale=scale)
    return call(
        target(body).copied("resize_bilinear"), xs[0], size, scale=scale, align_corners=true(node.attributes["align_corners"])
    )


WINDOW_ROWS: Rows = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": max_pool,
    "avg_pool": avg_pool,
    "adaptive_avg_pool": adaptive_avg_pool,
    "interpolate": _interpolate,
}
