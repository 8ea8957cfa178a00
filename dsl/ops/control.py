"""Primitives about the gradient, the mode and symbolic sizes rather than about numbers."""

from __future__ import annotations

from typing import cast

import numpy as np

from dsl.dims import Dim
from dsl.ops.card import Accepts, Attribute, Attributes, Card, Example, Form, Operand, OpError
from dsl.ops.inference import dtype_of, require_equal
from dsl.ops.numpy_types import computed
from dsl.types import DType, TensorType


def _infer_stop(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    return types[0]


def _stop_gradient(x: np.ndarray) -> np.ndarray:
    return x


def _infer_if_training(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    a, b = types
    if a == b:
        return a
    if a.dtype is not b.dtype:
        raise OpError(f"a is {a} in training and b is {b} otherwise: the element types differ", "b", code="DL0403")
    if a.rank != b.rank:
        raise OpError(f"a is {a} in training and b is {b} otherwise: {a.rank} axes against {b.rank}", "b")
    for i, (have, want) in enumerate(zip(a.shape, b.shape, strict=True)):
        require_equal(have, want, f"a is {a} in training and b is {b} otherwise, axis {i}", "b")
    return a


def _if_training(a: np.ndarray, b: np.ndarray, training: bool = False) -> np.ndarray:
    return a if training else b


def _infer_size(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    dtype = dtype_of(attributes)
    if dtype is DType.BOOL:
        raise OpError("a size is a number, not bool", "dtype", code="DL0403")
    return TensorType(dtype, ())


def _size(dim: Dim, dtype: DType) -> np.ndarray:
    return np.asarray(cast(int, dim), dtype=computed(dtype))


CARDS: tuple[Card, ...] = (
    Card(
        name="stop_gradient",
        family="control",
        summary="x, taken as a constant by gradients.",
        operands=(Operand("x", Accepts.ANY),),
        attributes=(),
        infer=_infer_stop,
        reference=_stop_gradient,
        examples=(
            Example("stop_gradient([1.0, 2.0])", [1.0, 2.0]),
            Example("1.0 + stop_gradient([2.0])", [3.0]),
        ),
        notes="`detach()` in PyTorch, `lax.stop_gradient` in JAX, nothing in ONNX.",
        differentiable=False,
        elementwise=True,
    ),
    Card(
        name="if_training",
        family="control",
        summary="a in training, b in inference: what `if training` becomes.",
        operands=(Operand("a"), Operand("b")),
        attributes=(),
        infer=_infer_if_training,
        reference=_if_training,
        examples=(Example("if_training([1.0], [2.0])", [2.0]), Example("if_training(1, 0)", 0)),
        notes="Both must have the same type: nothing is stretched or promoted. Examples are evaluated in inference.",
        elementwise=True,
    ),
    Card(
        name="size",
        family="control",
        summary="A size as a scalar tensor, for arithmetic with data.",
        operands=(),
        attributes=(Attribute("dim", Form.DIM), Attribute("dtype", Form.DTYPE, DType.I64)),
        infer=_infer_size,
        reference=_size,
        examples=(Example("size(3)", 3), Example("size(2 + 2, f32) / 8.0", 0.5)),
        notes="A symbolic size used in an expression with tensors becomes this by itself.",
        differentiable=False,
    ),
)
