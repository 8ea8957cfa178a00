"""Primitives that make a tensor from static values alone."""

from __future__ import annotations

from typing import cast

import numpy as np

from dsl.dims import Dim, ceil_div, dim_le, dim_max
from dsl.ops.card import Attribute, Attributes, AttributeValue, Card, Example, Form, OpError
from dsl.ops.inference import canonical_dtype, canonical_shape, dtype_of
from dsl.ops.numpy_types import array_dtype, computed
from dsl.types import DType, TensorType

MODEL_FLOAT = Attribute("dtype", Form.DTYPE, None)
DEFAULT = "In the model's floating type unless a dtype is given."


def _normalize_arange(types: tuple[TensorType, ...], attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    start, stop = attributes.get("start"), attributes.get("stop")
    if start is None and stop is None:
        raise OpError("no end is given", "stop", "`arange(n)` counts from 0 to n - 1", "DL0402")
    if stop is None:
        start, stop = 0, start
    return {**attributes, "start": 0 if start is None else start, "stop": stop}


def _infer_arange(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    start, stop, step = cast(Dim, attributes["start"]), cast(Dim, attributes["stop"]), cast(int, attributes["step"])
    if step == 0:
        raise OpError("step is 0: it would never arrive", "step", code="DL0402")
    dtype = dtype_of(attributes)
    if dtype is DType.BOOL:
        raise OpError("bool cannot count", "dtype", code="DL0403")
    count = ceil_div(stop - start, step) if step > 0 else ceil_div(start - stop, -step)
    return TensorType(dtype, (count if dim_le(0, count) else dim_max(0, count),))


def _arange(start: int, stop: int, step: int, dtype: DType) -> np.ndarray:
    return np.arange(start, stop, step).astype(computed(dtype))


def _infer_linspace(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    dtype = dtype_of(attributes)
    if not dtype.is_float:
        raise OpError(
            f"the numbers between are fractions, and dtype is {dtype}", "dtype", "`arange` counts in whole numbers", "DL0403"
        )
    return TensorType(dtype, (cast(Dim, attributes["count"]),))


def _linspace(start: float, stop: float, count: int, dtype: DType) -> np.ndarray:
    return np.linspace(start, stop, count)


def _normalize_eye(types: tuple[TensorType, ...], attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    n, m = attributes["n"], attributes.get("m")
    return canonical_dtype(types, {**attributes, "m": n if m is None else m})


def _infer_eye(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    return TensorType(dtype_of(attributes), (cast(Dim, attributes["n"]), cast(Dim, attributes["m"])))


def _eye(n: int, m: int, dtype: DType) -> np.ndarray:
    return np.eye(n, m, dtype=computed(dtype))


def _normalize_full(types: tuple[TensorType, ...], attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    attributes = canonical_shape(types, attributes)
    return {**attributes, "value": _element(attributes["value"], dtype_of(attributes))}


def _element(value: AttributeValue, dtype: DType) -> bool | int | float:
    if not isinstance(value, (bool, int, float)):
        raise OpError(f"value must be a number, true or false, and is {value}", "value", code="DL0402")
    if dtype.is_float:
        return float(value)
    if dtype is DType.BOOL:
        if value not in (0, 1):
            raise OpError(f"value is {value:g} and dtype is bool", "value", "use true or false", "DL0402")
        return bool(value)
    if value != int(value):
        raise OpError(f"value is {value:g} and dtype is {dtype}", "value", "give a whole number or a floating dtype", "DL0402")
    return int(value)


def _infer_shape(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    return TensorType(dtype_of(attributes), cast("tuple[Dim, ...]", attributes["shape"]))


def _full(shape: tuple[int, ...], value: float, dtype: DType) -> np.ndarray:
    return np.full(shape, value, dtype=computed(dtype))


def _infer_const(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    value = cast(np.ndarray, attributes["value"])
    dtype = array_dtype(value)
    if dtype is None:
        raise OpError(
            f"there is no element type for {value.dtype}", "value", f"use one of {', '.join(map(str, DType))}", "DL0403"
        )
    return TensorType(dtype, value.shape)


def _const(value: np.ndarray) -> np.ndarray:
    dtype = array_dtype(value)
    return value if dtype is None else value.astype(computed(dtype))


CARDS: tuple[Card, ...] = (
    Card(
        name="arange",
        family="create",
        summary="Whole numbers counting from start up to, not including, stop; `arange(n)` counts from 0.",
        operands=(),
        attributes=(
            Attribute("start", Form.DIM, None),
            Attribute("stop", Form.DIM, None),
            Attribute("step", Form.INT, 1),
            Attribute("dtype", Form.DTYPE, DType.I64),
        ),
        infer=_infer_arange,
        normalize=_normalize_arange,
        reference=_arange,
        examples=(Example("arange(3)", [0, 1, 2]), Example("arange(1, 6, 2)", [1, 3, 5])),
        notes="i64 unless a dtype is given. A negative step counts down; where the way leads nowhere the tensor is empty.",
        differentiable=False,
    ),
    Card(
        name="linspace",
        family="create",
        summary="count numbers at equal distances from start to stop, both included.",
        operands=(),
        attributes=(Attribute("start", Form.FLOAT), Attribute("stop", Form.FLOAT), Attribute("count", Form.DIM), MODEL_FLOAT),
        infer=_infer_linspace,
        normalize=canonical_dtype,
        reference=_linspace,
        examples=(Example("linspace(0.0, 1.0, 3)", [0.0, 0.5, 1.0]), Example("linspace(1, -1, 2)", [1.0, -1.0])),
        notes=DEFAULT + " With a count of 1 it is start.",
        differentiable=False,
    ),
    Card(
        name="eye",
        family="create",
        summary="The identity matrix: 1 on the diagonal, 0 elsewhere.",
        operands=(),
        attributes=(Attribute("n", Form.DIM), Attribute("m", Form.DIM, None), MODEL_FLOAT),
        infer=_infer_eye,
        normalize=_normalize_eye,
        reference=_eye,
        examples=(Example("eye(2)", [[1.0, 0.0], [0.0, 1.0]]), Example("eye(1, 3, dtype=i64)", [[1, 0, 0]])),
        notes="n rows and m columns, square without m. " + DEFAULT,
        differentiable=False,
    ),
    Card(
        name="full",
        family="create",
        summary="A tensor of a given shape, the same value everywhere.",
        operands=(),
        attributes=(Attribute("shape", Form.DIMS), Attribute("value", Form.ANY), MODEL_FLOAT),
        infer=_infer_shape,
        normalize=_normalize_full,
        reference=_full,
        examples=(Example("full([2, 2], 7.0)", [[7.0, 7.0], [7.0, 7.0]]), Example("full([2], 3, i64)", [3, 3])),
        notes=DEFAULT + " `zeros` and `ones` are short for it.",
        differentiable=False,
    ),
    Card(
        name="const",
        family="create",
        summary="A tensor written out: a number, or a list of numbers, lists of equal lengths nested.",
        operands=(),
        attributes=(Attribute("value", Form.ANY),),
        infer=_infer_const,
        reference=_const,
        examples=(Example("[[1.0, 2.0], [3.0, 4.0]]", [[1.0, 2.0], [3.0, 4.0]]), Example("[1, 2]", [1, 2])),
        notes="Takes its element type from the array; a literal alone is i64, the model's floating type or bool, and beside a "
        "tensor it takes the tensor's.",
        differentiable=False,
    ),
)
