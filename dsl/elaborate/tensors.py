"""Tensors out of static values: a number takes the element type of what it meets, a list is a constant."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dsl.build import describe_static, numpy_dtype
from dsl.dims import Expr
from dsl.elaborate.context import Context, error
from dsl.elaborate.frame import Frame, tensor
from dsl.elaborate.statics import is_number
from dsl.elaborate.values import (
    Condition,
    Results,
    Tensor,
    describe,
)
from dsl.ir import Value
from dsl.source import Span
from dsl.types import DType, TensorType


class Tensors:
    def __init__(self, context: Context) -> None:
        self.context = context

    def as_tensor(self, frame: Frame, value: object, span: Span, like: TensorType | None = None) -> Tensor:
        """A tensor of a static value: a number takes the element type of `like`, a list that of its items."""
        match value:
            case Tensor():
                return value
            case Results():
                return self.as_tensor(frame, self.context.evaluator.only(value, span), span, like)
            case bool():
                return tensor(frame.builder.scalar(value, DType.BOOL), 0)
            case int() | float():
                return tensor(self._scalar(frame, value, span, like), 0)
            case Expr():
                dtype = like.dtype if like is not None and like.dtype is not DType.BOOL else DType.I64
                return tensor(frame.builder.size(value, dtype), 0)
            case tuple():
                return self._list_tensor(frame, value, span, like)
            case Condition():
                raise error("DL0412", "a condition on symbolic dimensions is not a tensor", span)
            case _:
                raise error("DL0404", f"a tensor is needed here, not {describe(value)}", span)

    def _scalar(self, frame: Frame, value: float, span: Span, like: TensorType | None) -> Value:
        if like is None or like.dtype is DType.BOOL:
            dtype = DType.I64 if isinstance(value, int) else frame.builder.float_type
        else:
            dtype = like.dtype
        if dtype.is_int:
            if isinstance(value, float):
                raise error(
                    "DL0414",
                    f"the number {value:g} does not go with an integer tensor ({dtype})",
                    span,
                    help="cast the tensor: `cast(x, float)`",
                )
            info = np.iinfo(numpy_dtype(dtype))
            if not info.min <= value <= info.max:
                raise error("DL0415", f"{describe_static(value)} does not fit into {dtype}", span)
        elif abs(value) > _LARGEST[dtype] and abs(value) != float("inf"):
            raise error("DL0415", f"{describe_static(value)} does not fit into {dtype}", span)
        return frame.builder.scalar(value, dtype)

    def _list_tensor(self, frame: Frame, value: tuple[object, ...], span: Span, like: TensorType | None) -> Tensor:
        flat = list(_leaves(value))
        if any(not (is_number(v) or isinstance(v, bool)) for v in flat):
            raise error("DL0404", "a list that stands for a tensor holds numbers only", span, help="use `stack` to join tensors")
        if all(isinstance(v, bool) for v in flat) and flat:
            dtype = DType.BOOL
        elif all(isinstance(v, int) for v in flat) and flat:
            dtype = like.dtype if like is not None and like.dtype is not DType.BOOL else DType.I64
        else:
            dtype = like.dtype if like is not None and like.dtype.is_float else frame.builder.float_type
        try:
            array = np.array(value, dtype=numpy_dtype(dtype))
        except (ValueError, OverflowError):
            raise error("DL0416", "the rows of a list that stands for a tensor have one length", span) from None
        return tensor(frame.builder.constant(array), array.ndim)


_LARGEST = {DType.F16: 65504.0, DType.BF16: 3.38e38, DType.F32: 3.4028234663852886e38, DType.F64: float("inf")}


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value
