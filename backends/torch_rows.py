"""How PyTorch spells each primitive: a table from the name to a function of the node and the expressions of its operands.

The meaning of a primitive is its card; here is only its spelling. Element types follow PyTorch's promotion, which differs from the
card's for tensors without axes, bool and a few pairs of integers: there an operand gets a `.to(...)`.
"""

from __future__ import annotations

from dataclasses import replace

from backends.python import Body, Emit, Rows
from backends.torch_matrix import MATRIX_ROWS
from backends.torch_places import PLACE_ROWS
from backends.torch_shapes import SHAPE_ROWS
from backends.torch_tensors import (
    as_type,
    axes_text,
    axis_text,
    tensor,
    tensors,
    types,
    wider,
)
from backends.torch_windows import WINDOW_ROWS
from backends.writer import Expression, binary, call, method, quoted, unary
from dsl.ir import Node
from dsl.ops.inference import axes, dtype_of
from dsl.ops.sizes import dim
from dsl.types import DType

Operands = list[Expression]

# --- elementwise ------------------------------------------------------------------------------------------------------------


def promoted(body: Body, node: Node, xs: Operands, wanted: DType | None = None) -> Operands:
    """Operands that PyTorch combines to the element type that the card says."""
    kinds = types(body, node)
    want = wanted or wider({t.dtype for t in kinds})
    real = [(i, t) for i, t in enumerate(kinds) if not xs[i].scalar]
    deciding = [i for i, t in real if t.dtype is want and (t.rank > 0 or all(u.rank == 0 for _, u in real))]
    result = list(xs)
    if not real:
        result[0] = tensor(body, xs[0], kinds[0].with_dtype(want))
    elif not deciding:
        for i, t in real:
            if t.dtype is not want:
                result[i] = as_type(body, xs[i], want)
    return result


def _operator(symbol: str) -> Emit:
    def row(body: Body, node: Node, xs: Operands) -> Expression:
        a, b = promoted(body, node, xs)
        return binary(a, symbol, b)

    return row


def _floor_divide(body: Body, node: Node, xs: Operands) -> Expression:
    """PyTorch has no derivative of `//` and stops in `backward`, where that of a step is 0."""
    a, b = (method(x, "detach") if node.type.dtype.is_float and not x.scalar else x for x in promoted(body, node, xs))
    return binary(a, "//", b)


def _power(body: Body, node: Node, xs: Operands) -> Expression:
    a, b = promoted(body, node, xs)
    if b.scalar and b.text.endswith(".0"):
        b = replace(b, text=b.text[:-2])
    return binary(a, "**", b)


def _subtract(body: Body, node: Node, xs: Operands) -> Expression:
    kinds = types(body, node)
    want = wider({t.dtype for t in kinds})
    xs = [as_type(body, x, want) if t.dtype is DType.BOOL and not x.scalar else x for x, t in zip(xs, kinds, strict=True)]
    a, b = promoted(body, node, xs)
    return binary(a, "-", b)


def _divide(body: Body, node: Node, xs: Operands) -> Expression:
    kinds = types(body, node)
    if not any(t.dtype.is_float for t in kinds) and (node.type.dtype is not DType.F32 or all(x.scalar for x in xs)):
        first = as_type(body, tensor(body, xs[0], kinds[0]), node.type.dtype)
        return binary(first, "/", xs[1])
    a, b = promoted(body, node, xs)
    return binary(a, "/", b)


def _extremum(function: str, bound: str) -> Emit:
    def row(body: Body, node: Node, xs: Operands) -> Expression:
        a, b = promoted(body, node, xs)
        if a.scalar or b.scalar:
            x, limit = (b, a) if a.scalar else (a, b)
            return method(x, "clamp", **{bound: limit})
        return call(function, a, b)

    return row


def _function(name: str) -> Emit:
    return lambda body, node, xs: call(name, *tensors(body, node, xs))


def _negative(body: Body, node: Node, xs: Operands) -> Expression:
    return unary("-", *tensors(body, node, xs))


def _logical_not(body: Body, node: Node, xs: Operands) -> Expression:
    return unary("~", *tensors(body, node, xs))


def _softplus(body: Body, node: Node, xs: Operands) -> Expression:
    exact = "40" if node.type.dtype is DType.F64 else None
    return call("F.softplus", *tensors(body, node, xs), threshold=exact)


def _clip(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    low, high = node.attributes["low"], node.attributes["high"]
    if low is not None and high is not None:
        return method(x, "clamp", body.static(low), body.static(high))
    if low is not None:
        return method(x, "clamp", min=body.static(low))
    return method(x, "clamp", max=body.static(high))


def _where(body: Body, node: Node, xs: Operands) -> Expression:
    kinds = types(body, node)
    condition = tensor(body, xs[0], kinds[0])
    a, b = xs[1], xs[2]
    if a.scalar and b.scalar:
        a = tensor(body, a, kinds[1].with_dtype(node.type.dtype))
    elif any(not x.scalar and t.dtype is not node.type.dtype for x, t in zip((a, b), kinds[1:], strict=True)):
        a, b = (x if x.scalar or t.dtype is node.type.dtype else as_type(body, x, node.type.dtype)
                for x, t in zip((a, b), kinds[1:], strict=True))  # fmt: skip
    return call("torch.where", condition, a, b)


def _cast(body: Body, node: Node, xs: Operands) -> Expression:
    source, wanted = types(body, node)[0].dtype, dtype_of(node.attributes)
    if xs[0].scalar and source.is_int and wanted.is_float:
        return replace(call("float", xs[0]), scalar=True)
    if xs[0].scalar:
        return tensor(body, xs[0], node.type)
    return xs[0] if source is wanted else as_type(body, xs[0], wanted)


# --- reductions -------------------------------------------------------------------------------------------------------------


def _keep(node: Node) -> str | None:
    return "True" if node.attributes["keepdims"] else None


def _reduction(name: str, always: bool = False, **fixed: str) -> Emit:
    """`x.name(dim=..., keepdim=...)`; `always` where the method has no form without axes."""

    def row(body: Body, node: Node, xs: Operands) -> Expression:
        (x,) = tensors(body, node, xs)
        rank, over = types(body, node)[0].rank, axes(node.attributes)
        if not over:
            return method(method(x, "unsqueeze", "0"), name, dim="0", **fixed)
        whole = len(over) == rank and not node.attributes["keepdims"] and not always
        return method(x, name, dim=None if whole else axes_text(over, rank), keepdim=_keep(node), **fixed)

    return row


def _mean(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    if not types(body, node)[0].dtype.is_float:
        x = as_type(body, x, node.type.dtype)
    return _reduction("mean")(body, node, [x])


def _variance(body: Body, node: Node, xs: Operands) -> Expression:
    correction = body.static(node.attributes["correction"])
    (x,) = tensors(body, node, xs)
    rank, over = types(body, node)[0].rank, axes(node.attributes)
    if not over:
        return method(method(x, "unsqueeze", "0"), "var", dim="0", correction=correction)
    whole = len(over) == rank and not node.attributes["keepdims"]
    return method(x, "var", dim=None if whole else axes_text(over, rank), correction=correction, keepdim=_keep(node))


def _product(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    rank, over = types(body, node)[0].rank, axes(node.attributes)
    if len(over) == rank and not node.attributes["keepdims"]:
        return method(x, "prod")
    for a in sorted(over, reverse=True):
        x = method(x, "prod", dim=str(a), keepdim=_keep(node))
    return x


def _norm(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    rank, over = types(body, node)[0].rank, axes(node.attributes)
    p = node.attributes["p"]
    order = None if p == 2.0 else body.static(p)
    if not over:
        return method(x, "abs")
    whole = len(over) == rank and not node.attributes["keepdims"]
    return call("torch.linalg.vector_norm", x, ord=order, dim=None if whole else axes_text(over, rank), keepdim=_keep(node))


def _argument(name: str) -> Emit:
    def row(body: Body, node: Node, xs: Operands) -> Expression:
        (x,) = tensors(body, node, xs)
        return method(x, name, dim=axis_text(node.attributes, types(body, node)[0].rank), keepdim=_keep(node))

    return row


def _cumsum(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    return method(x, "cumsum", dim=axis_text(node.attributes, types(body, node)[0].rank))


# --- products ---------------------------------------------------------------------------------------------------------------


def _same_type(body: Body, node: Node, xs: Operands) -> Operands:
    """Products want operands of one element type."""
    kinds = types(body, node)
    return [
        x if t.dtype is node.type.dtype else as_type(body, x, node.type.dtype)
        for x, t in zip(tensors(body, node, xs), kinds, strict=True)
    ]


def _matmul(body: Body, node: Node, xs: Operands) -> Expression:
    a, b = _same_type(body, node, xs)
    return binary(a, "@", b)


def _einsum(body: Body, node: Node, xs: Operands) -> Expression:
    return call("torch.einsum", quoted(str(node.attributes["pattern"])), *_same_type(body, node, xs))


# --- control ---


def _stop_gradient(body: Body, node: Node, xs: Operands) -> Expression:
    return xs[0] if xs[0].scalar else method(xs[0], "detach")


def _scalar_constant(body: Body, node: Node, xs: Operands) -> Expression:
    return body.dialect.constant(body, node)


def _size(body: Body, node: Node, xs: Operands) -> Expression:
    return tensor(body, body.dim(dim(node.attributes["dim"], "dim")), node.type)


def _chosen(body: Body, node: Node, xs: Operands) -> Expression:
    return Expression(f"{xs[0]} if {body.dialect.training(body)} else {xs[1]}")


ROWS: Rows = {
    "add": _operator("+"),
    "sub": _subtract,
    "mul": _operator("*"),
    "div": _divide,
    "pow": _power,
    "maximum": _extremum("torch.maximum", "min"),
    "minimum": _extremum("torch.minimum", "max"),
    "floor_divide": _floor_divide,
    "remainder": _operator("%"),
    "eq": _operator("=="),
    "ne": _operator("!="),
    "lt": _operator("<"),
    "le": _operator("<="),
    "gt": _operator(">"),
    "ge": _operator(">="),
    "logical_and": _operator("&"),
    "logical_or": _operator("|"),
    "logical_xor": _operator("^"),
    "neg": _negative,
    "logical_not": _logical_not,
    **{name: _function(f"torch.{name}") for name in (
        "abs", "sign", "exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "sin", "cos", "tanh", "sigmoid", "erf", "floor", "ceil",
        "round", "isnan",
    )},
    "relu": _function("F.relu"),
    "softplus": _softplus,
    "clip": _clip,
    "where": _where,
    "cast": _cast,
    "sum": _reduction("sum"),
    "mean": _mean,
    "prod": _product,
    "max": _reduction("amax"),
    "min": _reduction("amin"),
    "any": _reduction("any"),
    "all": _reduction("all"),
    "logsumexp": _reduction("logsumexp", always=True),
    "var": _variance,
    "norm": _norm,
    "argmax": _argument("argmax"),
    "argmin": _argument("argmin"),
    "cumsum": _cumsum,
    "matmul": _matmul,
    "einsum": _einsum,
    **WINDOW_ROWS,
    **SHAPE_ROWS,
    **PLACE_ROWS,
    **MATRIX_ROWS,
    "const": _scalar_constant,
    "stop_gradient": _stop_gradient,
    "if_training": _chosen,
    "size": _size,
}  # fmt: skip

REPEATS = frozenset({"categorical"})
"""Rows that write an operand more than once."""
