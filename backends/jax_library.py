"""How JAX spells the library's functions and layers that it has its own words for; the others get their bodies.

A row reads the arguments of a layer from the graph that it calls: its hyper-parameters, and the attributes of the primitive inside, which
are already canonical.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from backends.jax_spelling import Operands, target
from backends.jax_windows import (
    adaptive_avg_pool,
    avg_pool,
    conv_arguments,
    extra_padding,
    max_pool,
    windows,
)
from backends.python import Body, Emit
from backends.writer import Expression, call, index
from dsl.dims import Expr
from dsl.ir import Graph, Node, StaticValue
from dsl.ops.sizes import dim_tuple

FunctionRow: TypeAlias = "Callable[[Body, Graph, Operands], Expression | None]"
LayerRow: TypeAlias = "Callable[[Body, Graph, list[Expression], Operands], Expression]"


def _inner(callee: Graph, op: str) -> Node:
    return next(node for node in callee if node.op == op)


# --- functions ------------------------------------------------------------------------------------------------------------------


def _plain(function: str) -> FunctionRow:
    return lambda body, callee, xs: call(function, *xs)


def _over(function: str) -> FunctionRow:
    """A function along one axis, the last by default in JAX as well."""

    def row(body: Body, callee: Graph, xs: Operands) -> Expression | None:
        over = callee.hyper.get("over")
        rank = callee.type(next(iter(callee.inputs.values()))).rank
        if not isinstance(over, int):
            return None
        return call(function, *xs, axis=None if over in (-1, rank - 1) else body.number(over))

    return row


def _with(function: str, hyper: str, default: float) -> FunctionRow:
    """A function with one number, left out where it is the default."""

    def row(body: Body, callee: Graph, xs: Operands) -> Expression | None:
        value = callee.hyper.get(hyper)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return call(function, *xs, *([] if value == default else [body.number(value)]))

    return row


def _gelu(approximate: bool) -> FunctionRow:
    return lambda body, callee, xs: call("jax.nn.gelu", *xs, approximate=str(approximate))


def _cross_entropy(body: Body, callee: Graph, xs: Operands) -> Expression | None:
    """Of classes along the last axis; those with weights, smoothing or classes to ignore get their bodies."""
    logits = callee.type(next(iter(callee.inputs.values())))
    plain = callee.hyper["ignore_index"] is None and callee.hyper["label_smoothing"] == 0
    if callee.hyper["over"] not in (-1, logits.rank - 1) or len(callee.inputs) != 2 or not plain:
        return None
    each = call(target(body).copied("cross_entropy"), *xs)
    reduction = callee.hyper["reduction"]
    return each if reduction == "none" else call("jnp.mean" if reduction == "mean" else "jnp.sum", each)


def _pool(op: str, row: Emit) -> FunctionRow:
    def spelled(body: Body, callee: Graph, xs: Operands) -> Expression | None:
        node = _inner(callee, op)
        if "size" in node.attributes and any(isinstance(d, Expr) for d in dim_tuple(node.attributes, "size")):
            return None
        return row(body, node, xs)

    return spelled


FUNCTIONS: Mapping[str, FunctionRow] = {
    "softmax": _over("jax.nn.softmax"),
    "log_softmax": _over("jax.nn.log_softmax"),
    "cross_entropy": _cross_entropy,
    "log_sigmoid": _plain("jax.nn.log_sigmoid"),
    "gelu": _gelu(False),
    "gelu_tanh": _gelu(True),
    "silu": _plain("jax.nn.silu"),
    "swish": _plain("jax.nn.silu"),
    "leaky_relu": _with("jax.nn.leaky_relu", "slope", 0.01),
    "elu": _with("jax.nn.elu", "alpha", 1.0),
    "selu": _plain("jax.nn.selu"),
    "celu": _with("jax.nn.celu", "alpha", 1.0),
    "mish": _plain("jax.nn.mish"),
    "relu6": _plain("jax.nn.relu6"),
    "hard_sigmoid": _plain("jax.nn.hard_sigmoid"),
    "hard_swish": _plain("jax.nn.hard_swish"),
    "glu": _over("jax.nn.glu"),
    **{f"max_pool{n}d": _pool("max_pool", max_pool) for n in (1, 2, 3)},
    **{f"avg_pool{n}d": _pool("avg_pool", avg_pool) for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": _pool("adaptive_avg_pool", adaptive_avg_pool) for n in (1, 2, 3)},
    "global_avg_pool2d": lambda body, callee, xs: call("jnp.mean", *xs, axis="(2, 3)"),
    "global_max_pool2d": lambda body, callee, xs: call("jnp.max", *xs, axis="(2, 3)"),
}


# --- layers: `owned` holds the expressions of the parameters, and of the state where there is one -------------------------------


def _unless(body: Body, value: StaticValue, default: float) -> Expression | None:
    """A number as an argument, where it is not the default."""
    return None if value == default else body.static(value)


def _linear(body: Body, callee: Graph, owned: list[Expression], xs: Operands) -> Expression:
    return call(target(body).copied("linear"), *owned, *xs)


def _embedding(body: Body, callee: Graph, owned: list[Expression], xs: Operands) -> Expression:
    return index(index(owned[0], '"weight"'), *xs)


def _conv(body: Body, callee: Graph, owned: list[Expression], xs: Operands) -> Expression:
    node = _inner(callee, "conv")
    return call(target(body).copied("conv"), *owned, *xs, *windows(body, node), **conv_arguments(body, node))


def _conv_transpose(body: Body, callee: Graph, owned: list[Expression], xs: Operands) -> Expression:
    node = _inner(callee, "conv_transpose")
    function = target(body).copied("conv_transpose")
    return call(function, *owned, *xs, *windows(body, node), extra=extra_padding(body, node), **conv_arguments(body, node))


def _batch_norm(body: Body, callee: Graph, owned: list[Expression], xs: Operands) -> Expression:
    momentum, eps = callee.hyper["momentum"], callee.hyper["eps"]
    return call(
        target(body).copied("batch_norm"), *owned, *xs, body.dialect.training(body),
        momentum=_unless(body, momentum, 0.1), eps=_unless(body, eps, 1e-5),
    )  # fmt: skip


def _norm(function: str, default: float) -> LayerRow:
    def row(body: Body, callee: Graph, owned: list[Expression], xs: Operands) -> Expression:
        return call(target(body).copied(function), *owned, *xs, eps=_unless(body, callee.hyper["eps"], default))

    return row


def _group_norm(body: Body, callee: Graph, owned: list[Expression], xs: Operands) -> Expression:
    function, eps = target(body).copied("group_norm"), callee.hyper["eps"]
    return call(function, *owned, *xs, body.static(callee.hyper["groups"]), eps=_unless(body, eps, 1e-5))


LAYERS: Mapping[str, LayerRow] = {
    "Linear": _linear,
    "Embedding": _embedding,
    **{f"Conv{n}d": _conv for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": _conv_transpose for n in (1, 2, 3)},
    **{f"BatchNorm{n}d": _batch_norm for n in (1, 2, 3)},
    "LayerNorm": _norm("layer_norm", 1e-5),
    "RMSNorm": _norm("rms_norm", 1e-6),
    "GroupNorm": _group_norm,
}
