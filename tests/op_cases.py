"""Primitives on small arrays, one case each for what matters: the tests of every backend compare them with the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from dsl.build import Builder
from dsl.ir import Graph, Program, Value
from dsl.ops.card import AttributeValue
from dsl.ops.numpy_types import array_dtype
from dsl.types import DType, TensorType

rng = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def ints(high: int, *shape: int) -> np.ndarray:
    return rng.integers(0, high, shape)


def typed(array: np.ndarray) -> TensorType:
    dtype = array_dtype(array)
    assert dtype is not None
    return TensorType(dtype, array.shape)


def program(graph: Graph) -> Program:
    graph.verify()
    return Program(graph.definition, {"forward": graph})


def one_op(op: str, operands: tuple[np.ndarray, ...], attributes: Mapping[str, object]) -> Graph:
    """A model that applies one primitive to its inputs."""
    graph = Graph("Model", kind="model")
    for i, array in enumerate(operands):
        node = graph.add("input", (), {"name": f"x{i}"}, (typed(array),))
        graph.inputs[f"x{i}"] = Value(node.id)
    results = Builder(graph).build_all(op, tuple(graph.inputs.values()), cast("Mapping[str, AttributeValue]", attributes))
    graph.outputs = {f"y{i}": value for i, value in enumerate(results)}
    return graph


X, IMAGE, SMALL = floats(3, 4), floats(2, 4, 7, 6), np.abs(floats(3, 4)) * 0.4 + 0.1
WHOLE, MASK = ints(9, 3, 4) - 4, floats(3, 4) > 0
TIED = np.array([[3.0, 1.0, 3.0, 2.0, 1.0], [0.0, 0.0, -1.0, 5.0, 5.0]], dtype=np.float32)
HALVES = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 2.6], dtype=np.float32)
SPECIAL = np.array([1.0, -2.0, 0.0, np.nan, np.inf, -np.inf], dtype=np.float32)
I8, U8 = np.array([100, -7], dtype=np.int8), np.array([200, 9], dtype=np.uint8)
SQUARE = np.random.default_rng(1).standard_normal((2, 3, 3)).astype(np.float32)
DEFINITE = np.diag(np.arange(1, 5)).astype(np.float32) + 0.5

Case = tuple[str, tuple[np.ndarray, ...], Mapping[str, object]]
CASES: list[Case] = [
    *((op, (X, floats(4)), {}) for op in ("add", "sub", "mul", "div", "maximum", "minimum", "floor_divide", "remainder")),
    *((op, (WHOLE, np.array([3, -2, 5, 1])), {}) for op in ("add", "sub", "mul", "div", "maximum", "floor_divide", "remainder")),
    *((op, (I8, U8), {}) for op in ("add", "mul", "div", "maximum", "remainder")),
    *((op, (SPECIAL, SPECIAL[::-1].copy()), {}) for op in ("maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge")),
    *((op, (MASK, WHOLE), {}) for op in ("add", "mul", "eq")),
    *((op, (MASK, MASK[::-1].copy()), {}) for op in ("logical_and", "logical_or", "logical_xor")),
    ("pow", (SMALL, floats(4)), {}),
    ("pow", (WHOLE, np.array(2)), {}),
    *((op, (SMALL,), {}) for op in ("log", "log1p", "sqrt", "rsqrt")),
    *((op, (X,), {}) for op in ("exp", "expm1", "sin", "cos", "tanh", "sigmoid", "erf", "relu", "softplus")),
    *((op, (HALVES,), {}) for op in ("floor", "ceil", "round", "neg", "abs", "sign")),
    *((op, (SPECIAL,), {}) for op in ("isnan", "abs", "sign", "neg")),
    *((op, (WHOLE,), {}) for op in ("neg", "abs", "sign", "relu")),
    ("logical_not", (MASK,), {}),
    ("clip", (X,), {"low": -0.5, "high": 0.5}),
    ("clip", (WHOLE,), {"high": 2.0}),
    ("clip", (SPECIAL,), {"low": 0.0}),
    ("where", (MASK, X, floats(1, 4)), {}),
    ("where", (np.array([True, False]), I8, U8), {}),
    ("cast", (HALVES,), {"dtype": DType.I64}),
    ("cast", (WHOLE,), {"dtype": DType.BOOL}),
    ("cast", (MASK,), {"dtype": DType.F32}),
    *((op, (IMAGE,), {"over": (2, 3)}) for op in ("sum", "mean", "prod", "max", "min", "logsumexp", "norm", "var")),
    *((op, (IMAGE,), {"over": 1, "keepdims": True}) for op in ("sum", "mean", "prod", "max", "min", "logsumexp", "norm", "var")),
    *((op, (X,), {}) for op in ("sum", "mean", "prod", "max", "min", "logsumexp", "norm", "var")),
    *((op, (I8,), {}) for op in ("sum", "mean", "prod", "max", "min")),
    *((op, (U8,), {}) for op in ("sum", "mean", "prod", "max", "min")),
    *((op, (MASK,), {"over": 0}) for op in ("sum", "mean", "any", "all")),
    *((op, (floats(2, 0),), {"over": 1}) for op in ("sum", "mean", "prod", "logsumexp")),
    *((op, (SPECIAL,), {}) for op in ("max", "min", "sum")),
    ("logsumexp", (np.full((2, 3), -np.inf, np.float32),), {"over": 1}),
    ("var", (X,), {"over": 1, "correction": 1}),
    *(("norm", (IMAGE,), {"p": p, "over": (1, 3)}) for p in (1.0, 3.0, 0.5, float("inf"))),
    *((op, (TIED,), {"over": over, "keepdims": keep}) for op in ("argmax", "argmin") for over, keep in ((1, False), (0, True))),
    *(("cumsum", (x,), {"over": 0}) for x in (X, I8, MASK)),
    *(("matmul", (a, floats(4)), {}) for a in (floats(4), floats(2, 3, 4))),
    *(("matmul", (a, a.T.copy()), {}) for a in (X, WHOLE)),
    ("matmul", (floats(2, 1, 3, 4), floats(5, 4, 2)), {}),
    ("einsum", (floats(2, 3, 4), floats(2, 5, 4)), {"pattern": "b i d, b j d -> b i j"}),
    ("einsum", (floats(2, 3, 3),), {"pattern": "...ii->...i"}),
    *((op, (x,), {}) for op in ("cholesky", "eigh") for x in (SQUARE @ SQUARE.mT + np.eye(3, dtype=np.float32), DEFINITE)),
    ("cholesky", (DEFINITE + np.triu(np.ones((4, 4), np.float32), 1),), {}),
    ("eigh", (SQUARE,), {}),
    *(
        ("triangular_solve", (a, b), {"lower": lower, "transposed": transposed})
        for a, b in ((SQUARE + 3 * np.eye(3, dtype=np.float32), floats(2, 3, 4)), (DEFINITE, floats(2, 4, 1)))
        for lower in (False, True) for transposed in (False, True)
    ),
    ("triangular_solve", (floats(3, 3, 3) + 3 * np.eye(3, dtype=np.float32), floats(3, 3)), {}),
    *((op, (x,), {}) for op in ("svd", "qr") for x in (SQUARE, floats(2, 5, 3), floats(4, 2), DEFINITE)),
    ("svd", (floats(2, 3, 5),), {}),
    *((op, (x,), {}) for op in ("inverse", "slogdet") for x in (SQUARE, DEFINITE)),
    *(("rfft", (floats(*shape),), {"over": over}) for shape, over in (((8,), 0), ((5,), 0), ((3, 6), 1), ((4, 7, 2), 1), ((4, 3), 0))),
    *(("irfft", (floats(3, n // 2 + 1, 2), floats(3, n // 2 + 1, 2)), {"n": n, "over": 1}) for n in (1, 2, 7, 8)),
    ("irfft", (floats(4), floats(4)), {"n": 7}),
    ("conv", (floats(2, 4, 9), floats(6, 2, 3)), {"groups": 2, "padding": 1}),
    ("conv", (IMAGE, floats(5, 4, 3, 2)), {"stride": (2, 1), "padding": ((1, 2), (0, 1)), "dilation": (1, 2)}),
    ("conv", (IMAGE, floats(5, 4, 3, 3)), {"padding": "same"}),
    ("conv", (floats(1, 2, 4, 5, 6), floats(3, 2, 2, 2, 2)), {}),
    ("conv_transpose", (floats(2, 4, 9), floats(4, 3, 3)), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}),
    ("conv_transpose", (IMAGE, floats(4, 5, 3, 2)), {"stride": (2, 3), "dilation": (2, 1), "padding": ((1, 0), (0, 1))}),
    ("conv_transpose", (floats(1, 2, 3, 4, 3), floats(2, 3, 2, 2, 2)), {"padding": 1, "stride": 2}),
    *(("max_pool", (IMAGE,), {"kernel": 3, "stride": 2, "padding": p, "ceil_mode": c}) for p in (0, 1) for c in (False, True)),
    *(("max_pool", (IMAGE,), {"kernel": 2, "stride": 2, "padding": 1, "dilation": 2, "ceil_mode": c}) for c in (False, True)),
    *(
        ("avg_pool", (IMAGE,), {"kernel": (3, 2), "stride": 2, "padding": 1, "ceil_mode": c, "count_include_pad": n})
        for c in (False, True) for n in (False, True)
    ),
    ("avg_pool", (floats(1, 2, 7),), {"kernel": 3, "stride": 2, "ceil_mode": True}),
    ("adaptive_avg_pool", (IMAGE,), {"size": (3, 2)}),
    *(("interpolate", (IMAGE,), {"size": s, "mode": m}) for s in ((14, 12), (5, 9)) for m in ("nearest", "bilinear")),
    *(("interpolate", (IMAGE,), {"scale": s, "mode": m}) for s in (2.0, 1.5, 0.5) for m in ("nearest", "bilinear")),
    ("interpolate", (IMAGE,), {"size": (9, 4), "mode": "bilinear", "align_corners": True}),
    ("reshape", (X,), {"shape": (2, 6)}),
    ("reshape", (floats(1, 1),), {"shape": ()}),
    ("permute", (X,), {"order": (1, 0)}),
    ("permute", (IMAGE,), {"order": (0, 2, 3, 1)}),
    ("permute", (IMAGE,), {"order": (0, 1, 3, 2)}),
    ("expand", (floats(3, 1),), {"shape": (2, 3, 4)}),
    ("concat", (X, floats(3, 2)), {"over": 1}),
    ("stack", (X, X + 1), {"over": 1}),
    ("slice", (IMAGE,), {"axes": (1, 3), "starts": (1, 5), "stops": (3, None), "steps": (1, -2)}),
    ("slice", (X,), {"axes": (1,), "starts": (1,), "stops": (4,), "steps": (2,)}),
    ("split", (X,), {"sizes": 2, "over": 1}),
    ("split", (X,), {"sizes": (1, 2, 1), "over": 1}),
    *(("pad", (X,), {"widths": ((1, 2), (0, 1)), "mode": m, "value": 3.0}) for m in ("constant", "reflect", "edge")),
    ("flip", (IMAGE,), {"over": (1, 2)}),
    ("roll", (X,), {"shift": (1, -2), "over": (0, 1)}),
    ("tile", (X,), {"repeats": (2, 3)}),
    ("gather", (X, ints(4, 3)), {"over": 1}),
    ("gather", (X, ints(3, 2, 4)), {"over": 0}),
    ("take", (X, ints(3, 2, 5)), {"over": 0}),
    ("take", (X, ints(4, 2)), {"over": 1}),
    ("scatter_add", (X, ints(4, 3, 6), floats(3, 6)), {"over": 1}),
    ("one_hot", (ints(5, 2, 3),), {"classes": 5}),
    *(("topk", (TIED,), {"k": 3, "largest": largest, "over": 1}) for largest in (True, False)),
    ("topk", (TIED.T.copy(),), {"k": 2, "over": 0}),
    *((op, (TIED,), {"over": 1, "descending": d}) for op in ("sort", "argsort") for d in (False, True)),
    *((op, (floats(2, 3, 4),), {"diagonal": d}) for op in ("tril", "triu") for d in (-1, 0, 1)),
    ("arange", (), {"stop": 5}),
    ("arange", (), {"start": 7, "stop": 0, "step": -2, "dtype": DType.F32}),
    ("linspace", (), {"start": -1.0, "stop": 1.0, "count": 7}),
    ("eye", (), {"n": 2, "m": 3}),
    *(("full", (), {"shape": (2, 3), "value": v, "dtype": d}) for v, d in ((0.0, DType.F32), (1, DType.I64), (2.5, DType.F16))),
    ("full", (), {"shape": 4, "value": True, "dtype": DType.BOOL}),
    *(("const", (), {"value": v}) for v in (X, WHOLE, MASK, np.array([1.0, 2.0], np.float32), np.array([np.nan, np.inf], np.float32))),
    ("dropout", (X,), {"rate": 0.5}),
    ("stop_gradient", (X,), {}),
    ("if_training", (X, X + 1), {}),
    ("size", (), {"dim": 3}),
]  # fmt: skip
