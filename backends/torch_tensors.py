"""What the rows of PyTorch share: element types, devices, axes, and numbers that must be tensors."""

from __future__ import annotations

from collections.abc import Collection

from backends.python import Body
from backends.writer import Expression, call, method, sequence
from dsl.dims import Dim, dims_equal
from dsl.ir import Node
from dsl.ops.card import Attributes
from dsl.ops.inference import axis
from dsl.types import DType, TensorType

DTYPES = {
    DType.F16: "torch.float16", DType.BF16: "torch.bfloat16", DType.F32: "torch.float32", DType.F64: "torch.float64",
    DType.I8: "torch.int8", DType.U8: "torch.uint8", DType.I32: "torch.int32", DType.I64: "torch.int64", DType.BOOL: "torch.bool",
}  # fmt: skip
_METHODS = {DType.I64: "long", DType.BOOL: "bool", DType.I32: "int"}
_WIDTH_ORDER = (DType.BOOL, DType.U8, DType.I8, DType.I32, DType.I64, DType.F16, DType.BF16, DType.F32, DType.F64)


def types(body: Body, node: Node) -> tuple[TensorType, ...]:
    """The types of the operands."""
    return tuple(body.graph.type(v) for v in node.inputs)


def wider(dtypes: Collection[DType]) -> DType:
    """The element type of all together, as dsl.types.promote has it."""
    found = set(dtypes)
    if {DType.I8, DType.U8} <= found:
        found.add(DType.I32)
    if {DType.F16, DType.BF16} <= found:
        found.add(DType.F32)
    return max(found, key=_WIDTH_ORDER.index)


def like(body: Body, dtype: DType, shape: tuple[Dim, ...] | None = None) -> Expression | None:
    """An input of that element type (and shape), for what should follow it when the model is moved or cast."""
    for name, value in body.tensor_inputs():
        found = body.graph.type(value)
        if found.dtype is not dtype or (shape is not None and not _same_shape(found.shape, shape)):
            continue
        if body.holds_input(name):
            return body.pinned(name)
    return like(body.around, dtype, shape) if body.around is not None else None


def _same_shape(a: tuple[Dim, ...], b: tuple[Dim, ...]) -> bool:
    return len(a) == len(b) and all(map(dims_equal, a, b))


def dtype_text(body: Body, dtype: DType) -> str:
    """An element type; a floating one follows an input or parameter where the function has one."""
    if dtype.is_float:
        pattern = like(body, dtype)
        if pattern is not None:
            return f"{pattern}.dtype"
        found: Body | None = body
        while found is not None:
            for node in found.graph:
                if node.op == "param" and node.type.dtype is dtype:
                    return f"{body.dialect.owned(body, node)}.dtype"
            found = found.around
    return DTYPES[dtype]


def placed(body: Body) -> str | None:
    """The device of the function's tensors, as an argument."""
    for name, _ in body.tensor_inputs():
        return f"{body.argument(name)}.device"
    for node in body.graph:
        if node.op in ("param", "buffer"):
            return f"{body.dialect.owned(body, node)}.device"
    return placed(body.around) if body.around is not None else None


def as_type(body: Body, x: Expression, dtype: DType) -> Expression:
    """`x` in another element type."""
    if dtype in _METHODS:
        return method(x, _METHODS[dtype])
    return method(x, "to", dtype_text(body, dtype))


def tensor(body: Body, x: Expression, type_: TensorType) -> Expression:
    """`x` as a tensor, also where it is a Python number."""
    if not x.scalar:
        return x
    own = type_.dtype is (DType.BOOL if x.text in ("True", "False") else DType.I64)  # what PyTorch makes of it by itself
    return call("torch.tensor", x, dtype=None if own else dtype_text(body, type_.dtype), device=placed(body))


def tensors(body: Body, node: Node, xs: list[Expression]) -> list[Expression]:
    return [tensor(body, x, t) for x, t in zip(xs, types(body, node), strict=True)]


def integer_index(x: Expression, type_: TensorType, body: Body) -> Expression:
    """`x` as an index: PyTorch takes i64."""
    return x if type_.dtype is DType.I64 else as_type(body, x, DType.I64)


def axis_text(attributes: Attributes, rank: int, name: str = "over") -> str:
    """One axis; the last one of several is -1."""
    return one_axis(axis(attributes, name), rank)


def one_axis(found: int, rank: int) -> str:
    return "-1" if found == rank - 1 and rank > 1 else str(found)


def axes_text(over: tuple[int, ...], rank: int) -> str:
    """One axis, or a tuple of several."""
    return one_axis(over[0], rank) if len(over) == 1 else sequence(map(str, over)).text
