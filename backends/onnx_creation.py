"""Rows of the ONNX backend that make tensors out of nothing: counting, filling, drawing at random."""

from __future__ import annotations

from typing import cast

import numpy as np

from backends.base import Unsupported
from backends.onnx_site import Row, Site
from backends.onnx_types import ELEMENT, Refused
from backends.onnx_values import Tensor
from dsl.types import DType


def _arange(s: Site) -> Tensor:
    b, start, stop, step = s.body, s.dim("start"), s.dim("stop"), s.int("step")
    if isinstance(start, int) and isinstance(stop, int):
        return b.const(np.arange(start, stop, step), s.dtype())
    found = b.cast(b.op("Range", b.size(start), b.size(stop), b.const(step)), s.dtype())
    if step == 1:
        b.runs[found.name] = (start, stop)
    return found


def _linspace(s: Site) -> Tensor:
    b, start, stop, count = s.body, s.number("start"), s.number("stop"), s.dim("count")
    if isinstance(count, int):
        return b.const(np.linspace(start, stop, count), s.dtype())
    wide = s.dtype() if s.dtype() is DType.F64 else DType.F32
    gaps = b.cast(b.op("Max", b.size(count - 1), b.const(1)), wide)
    share = b.op("Div", b.count_to(b.size(count), wide), gaps)
    return b.cast(b.op("Add", b.op("Mul", share, b.number(stop - start, wide)), b.number(start, wide)), s.dtype())


def _eye(s: Site) -> Tensor:
    b, n, m = s.body, s.dim("n"), s.dim("m")
    if isinstance(n, int) and isinstance(m, int):
        return b.const(np.eye(n, m), s.dtype())
    rows = b.unsqueeze(b.count_to(b.size(n)), 1)
    return b.cast(b.op("Equal", rows, b.count_to(b.size(m)), dtype=DType.BOOL), s.dtype())


def _full(s: Site) -> Tensor:
    b, shape = s.body, s.dims("shape")
    value = b.number(cast(float, s.node.attributes["value"]), s.dtype())
    return value if not shape else b.op("Expand", value, b.shape(shape))


def _const(s: Site) -> Tensor:
    return s.body.const(cast(np.ndarray, s.node.attributes["value"]), s.node.type.dtype)


# --- random draws -----------------------------------------------------------------------------------------------------------------


_DRAWN_BELOW = 22
"""From this opset on onnxruntime has no kernels that draw."""


def _drawn(s: Site, op: str, like: Tensor, dtype: DType) -> Tensor:
    if s.body.opset >= _DRAWN_BELOW:
        raise Refused(f"onnxruntime has no kernel of {op} at opset {s.body.opset}; `--opset {_DRAWN_BELOW - 1}` has one")
    wide = dtype if dtype is DType.F64 else DType.F32
    how = {"dtype": int(ELEMENT[wide]), "seed": s.body.next_seed()}
    made = s.body.ops(op, (s.body.cast(like, wide),), (wide,), how, unique=True)[0]
    return s.body.cast(made, dtype)


def _draw(op: str) -> Row:
    def row(s: Site) -> Tensor:
        like = s.body.op("Expand", s.body.number(0, DType.F32), s.body.shape(s.dims("shape")))
        return _drawn(s, op, like, s.dtype())

    return row


def _bernoulli(s: Site) -> Tensor:
    b = s.body
    wide = b.cast(s.x, DType.F32) if s.x.dtype is not DType.F64 else s.x
    return b.cast(b.op("Less", _drawn(s, "RandomUniformLike", wide, wide.dtype), wide, dtype=DType.BOOL), s.x.dtype)


def _categorical(s: Site) -> Tensor:
    """By the Gumbel trick: the largest of logits with Gumbel noise is distributed as their softmax."""
    b = s.body
    wide = b.cast(s.x, DType.F32)
    noise = b.op("Neg", b.op("Log", b.op("Neg", b.op("Log", _drawn(s, "RandomUniformLike", wide, DType.F32)))))
    return b.op("ArgMax", b.op("Add", wide, noise), dtype=DType.I64, axis=s.rank - 1, keepdims=0)


CREATION_ROWS: dict[str, Row | Unsupported] = {
    "arange": _arange,
    "linspace": _linspace,
    "eye": _eye,
    "full": _full,
    "const": _const,
    "randn": _draw("RandomNormalLike"),
    "rand": _draw("RandomUniformLike"),
    "bernoulli": _bernoulli,
    "categorical": _categorical,
}
