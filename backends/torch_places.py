"""The rows of PyTorch for indices, new tensors and random draws."""

from __future__ import annotations

from backends.python import Body, Emit, Rows
from backends.torch_tensors import (
    as_type,
    axis_text,
    dtype_text,
    integer_index,
    like,
    placed,
    tensors,
    types,
)
from backends.writer import Argument, Expression, attribute, binary, call, index, method, sequence
from dsl.dims import Dim, dims_equal
from dsl.ir import Node, Value
from dsl.ops.inference import axis, dtype_of
from dsl.ops.sizes import dim, dim_tuple
from dsl.types import DType

Operands = list[Expression]

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
        sizes = _sizes(body, shape) or [Expression("()")]
        return call(f"torch.{name}", *sizes, generator="generator", dtype=dtype_text(body, dtype), device=placed(body))

    return row


def _categorical(body: Body, node: Node, xs: Operands) -> Expression:
    """The largest of the logits plus Gumbel noise, which is minus the logarithm of exponential noise."""
    (x,) = tensors(body, node, xs)
    noise = body.let("exponential", Expression(f"torch.empty_like({x}).exponential_(generator=generator)"))
    return method(binary(x, "-", method(noise, "log")), "argmax", dim="-1")


def _dropout(body: Body, node: Node, xs: Operands) -> Expression:
    (x,) = tensors(body, node, xs)
    return call("F.dropout", x, body.static(node.attributes["rate"]), body.dialect.training(body))


def _bernoulli(body: Body, node: Node, xs: Operands) -> Expression:
    return call("torch.bernoulli", *tensors(body, node, xs), generator="generator")


PLACE_ROWS: Rows = {
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
    "randn": _drawn("randn"),
    "rand": _drawn("rand"),
    "bernoulli": _bernoulli,
    "categorical": _categorical,
    "dropout": _dropout,
}
