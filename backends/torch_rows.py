"""How PyTorch spells each primitive: a table from the name to a function of the node and the expressions of its operands.

The meaning of a primitive is its card; here is only its spelling. Element types follow PyTorch's promotion, which differs from the
card's for tensors without axes, bool and a few pairs of integers: there an operand gets a `.to(...)`.
"""

from __future__ import annotations

from dataclasses import replace

from backends.python import Body, Emit, Rows
from backends.torch_shapes import SHAPE_ROWS
from backends.torch_tensors import (
    as_type,
    axes_text,
    axis_text,
    dtype_text,
    integer_index,
    like,
    placed,
    tensor,
    tensors,
    types,
    wider,
)
from backends.torch_windows import WINDOW_ROWS
from backends.writer import Argument, Expression, attribute, binary, call, index, method, quoted, sequence, unary
from dsl.dims import Dim, dims_equal
from dsl.ir import Node, Value
from dsl.ops.inference import axes, axis, dtype_of
from dsl.ops.sizes import dim, dim_tuple
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


# --- indices ----------------------------------------------------------------------------------------------------------------


def _gather(body: Body, node: Node, xs: Operands) -> Expression:
    kinds = types(body, node)
    over = axis_text(node.attributes, kinds[0].rank)
    x, i = tensors(body, node, xs)
    i = integer_index(i, kinds[1], body)
    if kinds[1].rank == kinds[0].rank:
        return method(x, "gather", over, i)
    return method(method(x, "gather", over, method(i, "unsqueeze", over)), "squeeze", over)


def _take(body: Body, node: Node, xs: Operands) -> Expression:
    x, i = tensors(body, node, xs)
    i = integer_index(i, types(body, node)[1], body)
    return index(x, *[":"] * axis(node.attributes), i)


def _scatter_add(body: Body, node: Node, xs: Operands) -> Expression:
    kinds = types(body, node)
    x, i, updates = tensors(body, node, xs)
    updates = updates if kinds[2].dtype is kinds[0].dtype else as_type(body, updates, kinds[0].dtype)
    return method(x, "scatter_add", axis_text(node.attributes, kinds[0].rank), integer_index(i, kinds[1], body), updates)


def _one_hot(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    classes = body.dim(dim(node.attributes["classes"], "classes"))
    encoded = call("F.one_hot", integer_index(x, types(body, node)[0], body), classes)
    return encoded if node.type.dtype is DType.I64 else as_type(body, encoded, node.type.dtype)


def _topk(body: Body, node: Node, xs: Operands) -> Expression:
    """PyTorch's topk promises no order among equal elements: where the indices matter, a stable sort is cut."""
    (x,) = tensors(body, node, xs)
    over = axis_text(node.attributes, types(body, node)[0].rank)
    k, largest = body.dim(dim(node.attributes["k"], "k")), node.attributes["largest"]
    if not body.is_read(Value(node.id, 1)):
        return method(x, "topk", k, dim=over, largest=None if largest else "False")
    sort = method(body.named(node, 0), "sort", dim=over, descending="True" if largest else None, stable="True")
    ordered = body.let("ordered", sort)
    return Expression(f"(t.narrow({over}, 0, {k}) for t in {ordered})")


def _sort(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    over = axis_text(node.attributes, types(body, node)[0].rank)
    return attribute(method(x, "sort", dim=over, descending="True" if node.attributes["descending"] else None), "values")


def _argsort(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    over = axis_text(node.attributes, types(body, node)[0].rank)
    return method(x, "argsort", dim=over, descending="True" if node.attributes["descending"] else None, stable="True")


def _triangle(name: str) -> Emit:
    def row(body: Body, node: Node, xs: Operands) -> Expression:
        diagonal = node.attributes["diagonal"]
        (x,) = tensors(body, node, xs)
        return method(x, name, *([] if diagonal == 0 else [body.static(diagonal)]))

    return row


# --- creation and random draws ----------------------------------------------------------------------------------------------


def _arange(body: Body, node: Node, xs: Operands) -> Expression:
    attributes = node.attributes
    start, stop, step = dim(attributes["start"], "start"), dim(attributes["stop"], "stop"), attributes["step"]
    bounds: list[Argument] = [body.dim(stop)] if start == 0 else [body.dim(start), body.dim(stop)]
    if step != 1:
        bounds = [body.dim(start), body.dim(stop), body.static(step)]
    dtype = None if dtype_of(attributes) is DType.I64 else dtype_text(body, dtype_of(attributes))
    return call("torch.arange", *bounds, dtype=dtype, device=placed(body))


def _linspace(body: Body, node: Node, xs: Operands) -> Expression:
    ends = [body.static(node.attributes[name]) for name in ("start", "stop", "count")]
    return call("torch.linspace", *ends, dtype=dtype_text(body, dtype_of(node.attributes)), device=placed(body))


def _eye(body: Body, node: Node, xs: Operands) -> Expression:
    n, m = dim(node.attributes["n"], "n"), dim(node.attributes["m"], "m")
    sizes = [body.dim(n)] if dims_equal(n, m) else [body.dim(n), body.dim(m)]
    return call("torch.eye", *sizes, dtype=dtype_text(body, dtype_of(node.attributes)), device=placed(body))


_FILLED: dict[float, str] = {0: "zeros", 1: "ones"}


def _full(body: Body, node: Node, xs: Operands) -> Expression:
    shape, value, dtype = dim_tuple(node.attributes, "shape"), node.attributes["value"], dtype_of(node.attributes)
    assert isinstance(value, bool | int | float)
    word = _FILLED.get(value)
    filling = [] if word else [body.number(value)]
    same = like(body, dtype, shape)
    if same is not None:
        return call(f"torch.{word or 'full'}_like", same, *filling)
    sizes = _sizes(body, shape) if word and shape else [sequence(body.dim(d) for d in shape)]
    pattern = like(body, dtype)
    if pattern is not None:
        return method(pattern, f"new_{word or 'full'}", *sizes, *filling)
    return call(f"torch.{word or 'full'}", *sizes, *filling, dtype=dtype_text(body, dtype), device=placed(body))


def _sizes(body: Body, shape: tuple[Dim, ...]) -> list[Expression]:
    return [body.dim(d) for d in shape]


def _drawn(name: str) -> Emit:
    def row(body: Body, node: Node, xs: Operands) -> Expression:
        shape, dtype = dim_tuple(node.attributes, "shape"), dtype_of(node.attributes)
        same = like(body, dtype, shape)
        if same is not None:
            return call(f"torch.{name}_like", same)
        sizes = _sizes(body, shape) or [Expression("()")]
        return call(f"torch.{name}", *sizes, dtype=dtype_text(body, dtype), device=placed(body))

    return row


def _categorical(body: Body, node: Node, xs: Operands) -> Expression:
    """The largest of the logits plus Gumbel noise, which is minus the logarithm of exponential noise."""
    (x,) = tensors(body, node, xs)
    noise = f"torch.empty_like({x}).exponential_().log()"
    return method(binary(x, "-", Expression(noise)), "argmax", dim="-1")


def _dropout(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    return call("F.dropout", x, body.static(node.attributes["rate"]), body.dialect.training(body))


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
    "floor_divide": _operator("//"),
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
    "gather": _gather,
    "take": _take,
    "scatter_add": _scatter_add,
    "one_hot": _one_hot,
    "topk": _topk,
    "sort": _sort,
    "argsort": _argsort,
    "tril": _triangle("tril"),
    "triu": _triangle("triu"),
    "arange": _arange,
    "linspace": _linspace,
    "eye": _eye,
    "full": _full,
    "const": _scalar_constant,
    "randn": _drawn("randn"),
    "rand": _drawn("rand"),
    "bernoulli": _function("torch.bernoulli"),
    "categorical": _categorical,
    "dropout": _dropout,
    "stop_gradient": _stop_gradient,
    "if_training": _chosen,
    "size": _size,
}  # fmt: skip

REPEATS = frozenset({"categorical"})
"""Rows that write an operand more than once."""
