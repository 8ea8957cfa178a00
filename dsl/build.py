"""Making nodes: attributes are checked and made canonical, the shape rule runs, constants fold into place.

Everything that adds a primitive to a graph goes through `Builder.build`, so an ill-shaped graph cannot exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from dsl.dims import Dim, is_dim
from dsl.ir import Graph, Value
from dsl.ops.card import REQUIRED, Attribute, AttributeValue, Card, Form, OpError
from dsl.ops.registry import CARDS
from dsl.ops.sugar import Sugar
from dsl.source import Span
from dsl.types import DType, TensorType, TypeMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping

AxisOf = Callable[[Value, str], int]


class Builder:
    """Adds primitives to `graph`. `spans` is where the spec asks for them; callers set it before they build."""

    def __init__(self, graph: Graph, float_type: DType = DType.F32) -> None:
        self.graph = graph
        self.float_type = float_type
        self.spans: tuple[Span, ...] = ()

    def type_of(self, value: Value) -> TensorType:
        return self.graph.type(value)

    def build(self, op: str, operands: tuple[Value, ...], **attributes: AttributeValue) -> Value:
        """The first result of the primitive `op`; OpError when it has no meaning there."""
        return self.build_all(op, operands, attributes)[0]

    def build_all(self, op: str, operands: tuple[Value, ...], attributes: Mapping[str, AttributeValue]) -> list[Value]:
        """All results of the primitive `op`."""
        card = CARDS[op]
        types = tuple([self.graph.type(v) for v in operands])
        if card.operands and not card.operands[0].variadic:
            check_dtypes(card, types)
        canonical = canonical_attributes(card, types, attributes, self.float_type) if card.attributes else {}
        try:
            inferred = card.infer(types, canonical)
        except TypeMismatch as mismatch:
            raise OpError(str(mismatch)) from None
        results = inferred if isinstance(inferred, tuple) else (inferred,)
        for type_ in results:
            check_size(type_)
        node = self.graph.add(op, operands, canonical, results, spans=self.spans)
        return [Value(node.id, i) for i in range(len(results))]

    def constant(self, value: np.ndarray) -> Value:
        return self.build("const", (), value=value)

    def scalar(self, value: float | int | bool, dtype: DType) -> Value:
        """A number as a tensor of no axes."""
        return self.constant(np.asarray(value, dtype=numpy_dtype(dtype))) if dtype is not DType.BF16 else self._wide(value, dtype)

    def _wide(self, value: float | int | bool, dtype: DType) -> Value:
        return self.build("cast", (self.constant(np.asarray(value, dtype=np.float32)),), dtype=dtype)

    def size(self, dim: Dim, dtype: DType = DType.I64) -> Value:
        """A size as a scalar tensor: a constant where it is one."""
        return self.scalar(dim, dtype) if isinstance(dim, int) else self.build("size", (), dim=dim, dtype=dtype)


MOST_ELEMENTS = 2**62
"""How many elements a tensor may have, as far as its sizes are numbers: its bytes have to be counted in 64 bits."""


def check_size(type_: TensorType) -> None:
    """Raise OpError for a tensor that no machine can hold."""
    total = 1
    for size in type_.shape:
        if isinstance(size, int):
            total *= size
    if total > MOST_ELEMENTS:
        raise OpError(f"this would be {type_}, a tensor of at least {total:,} elements", code="DL0606")


def numpy_dtype(dtype: DType) -> np.dtype:
    """The NumPy element type that holds a constant of `dtype`."""
    names = {
        DType.F16: "float16",
        DType.F32: "float32",
        DType.F64: "float64",
        DType.BOOL: "bool",
        DType.I8: "int8",
        DType.U8: "uint8",
    }
    return np.dtype(names.get(dtype) or {DType.I32: "int32", DType.I64: "int64", DType.BF16: "float32"}[dtype])


def check_dtypes(card: Card, types: tuple[TensorType, ...]) -> None:
    for operand, found in zip(card.operands, types, strict=False):
        if not operand.accepts.admits(found.dtype):
            raise OpError(
                f"`{card.name}` takes {_article(operand.accepts.value)} tensor as `{operand.name}`, not {found.dtype}",
                operand.name,
                help="cast(x, float)" if operand.accepts.name == "FLOAT" else None,
                code="DL0403",
            )


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def canonical_attributes(
    card: Card, types: tuple[TensorType, ...], given: Mapping[str, AttributeValue], float_type: DType = DType.F32
) -> dict[str, AttributeValue]:
    """The attributes as the graph holds them: checked, with the model's floating type where no dtype is given, and in normal form."""
    values = checked_attributes(card, types, given)
    if "dtype" in values and values["dtype"] is None:
        values["dtype"] = float_type
    return card.normalize(types, values) if card.normalize else values


def checked_attributes(
    card: Card | Sugar, types: tuple[TensorType, ...], given: Mapping[str, AttributeValue]
) -> dict[str, AttributeValue]:
    """Defaults filled in, forms and ranges checked, axes non-negative. Sizes beyond the declared attributes pass as they are."""
    rank = types[0].rank if types else 0
    if not types and any(operand.variadic for operand in card.operands):
        raise OpError(f"`{card.name}` needs at least one tensor", card.operands[0].name, code="DL0402")
    if card.name in ("stack", "unsqueeze"):
        rank += 1
    values: dict[str, AttributeValue] = {}
    for attribute in card.attributes:
        if attribute.name in given:
            values[attribute.name] = checked(card, attribute, given[attribute.name], rank)
        elif attribute.default is REQUIRED:
            raise OpError(f"`{card.name}` needs `{attribute.name}`", code="DL0203")
        else:
            values[attribute.name] = attribute.default
    for name in given:
        if name not in values:
            values[name] = given[name]
    return values


def checked(card: Card | Sugar, attribute: Attribute, value: AttributeValue, rank: int) -> AttributeValue:
    """`value` as an attribute of that form, or OpError."""
    name = attribute.name
    if value is None and attribute.default is None:
        return None
    match attribute.form:
        case Form.INT if isinstance(value, int) and not isinstance(value, bool):
            return _in_range(card, attribute, value)
        case Form.FLOAT if isinstance(value, int | float) and not isinstance(value, bool):
            return _in_range(card, attribute, float(value))
        case Form.BOOL if isinstance(value, bool):
            return value
        case Form.STRING if isinstance(value, str):
            if attribute.choices and value not in attribute.choices:
                raise OpError(
                    f"`{name}` is one of {', '.join(attribute.choices)}, not {describe_static(value)}", name, code="DL0402"
                )
            return value
        case Form.DIM if is_dim(value):
            return value
        case Form.DIMS if is_dim(value):
            return (value,)
        case Form.DIMS if isinstance(value, tuple) and all(is_dim(v) for v in value):
            return value
        case Form.INTS if isinstance(value, str) and attribute.choices:
            if value not in attribute.choices:
                raise OpError(
                    f"`{name}` is a number, a list or one of {', '.join(attribute.choices)}, not {describe_static(value)}",
                    name,
                    code="DL0402",
                )
            return value
        case Form.INTS if _ints(value):
            _each_in_range(card, attribute, value)
            return value
        case Form.AXIS if isinstance(value, int) and not isinstance(value, bool):
            return axis_in(value, rank, name)
        case Form.AXES if isinstance(value, int) and not isinstance(value, bool):
            return (axis_in(value, rank, name),)
        case Form.AXES if isinstance(value, tuple) and all(isinstance(v, int) for v in value):
            return unique_axes(tuple(axis_in(int(v), rank, name) for v in value), name)  # type: ignore[arg-type]
        case Form.DTYPE if isinstance(value, DType):
            return value
        case Form.ANY:
            return value
        case _:
            raise OpError(
                f"`{name}` of `{card.name}` is {_article(attribute.form.value)}, not {describe_static(value)}",
                name,
                code="DL0401",
            )


def _ints(value: AttributeValue) -> bool:
    if isinstance(value, tuple):
        return all(_ints(v) for v in value)
    return isinstance(value, int) and not isinstance(value, bool)


def _each_in_range(card: Card | Sugar, attribute: Attribute, value: AttributeValue) -> None:
    if isinstance(value, tuple):
        for v in value:
            _each_in_range(card, attribute, v)
    elif isinstance(value, int):
        _in_range(card, attribute, value)


def _in_range(card: Card | Sugar, attribute: Attribute, value: float) -> float:
    low, high = attribute.low, attribute.high
    if value != value or (low is not None and value < low) or (high is not None and value > high):
        bounds = f"at least {low:g}" if high is None else f"at most {high:g}" if low is None else f"between {low:g} and {high:g}"
        raise OpError(f"`{attribute.name}` of `{card.name}` is {bounds}, not {value}", attribute.name, code="DL0402")
    return value


def axis_in(axis: int, rank: int, name: str = "over") -> int:
    """A non-negative axis of a tensor of that rank."""
    if not -rank <= axis < rank:
        allowed = f"{-rank} to {rank - 1}" if rank else "none: it is a scalar"
        raise OpError(f"axis {axis} does not exist in a tensor of {rank} axes (allowed: {allowed})", name, code="DL0304")
    return axis % rank


def unique_axes(axes: tuple[int, ...], name: str = "over") -> tuple[int, ...]:
    if len(set(axes)) != len(axes):
        raise OpError(f"an axis is named twice in `{name}`", name, code="DL0304")
    return axes


def describe_static(value: object) -> str:
    """A static value and its kind in words, for messages: `"ten" (a string)`."""
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case str():
            return f'the string "{value}"'
        case int():
            return f"the integer {value}"
        case float():
            return f"the number {value:g}"
        case tuple():
            return f"a list of {len(value)}"
        case DType():
            return f"the dtype {value}"
        case _ if is_dim(value):
            return f"the symbolic size {value}"
        case _:
            return f"{value}"
