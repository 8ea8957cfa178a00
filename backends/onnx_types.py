"""Element types of ONNX, which of them onnxruntime computes each operator in, and the refusal of what has no spelling.

f32 has a kernel of every operator used here, and onnxruntime computes f16 in f32 where it has none, so neither is listed.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from dsl.types import DType

OPSETS = range(17, 27)
"""Operator sets that can be asked for: 17 brought LayerNormalization, 26 is the last that onnxruntime 1.31 runs."""

DEFAULT_OPSET = 20
"""Gelu is in it, and every onnxruntime since 1.17 runs it."""

ELEMENT = {
    DType.F16: TensorProto.FLOAT16,
    DType.BF16: TensorProto.BFLOAT16,
    DType.F32: TensorProto.FLOAT,
    DType.F64: TensorProto.DOUBLE,
    DType.I8: TensorProto.INT8,
    DType.U8: TensorProto.UINT8,
    DType.I32: TensorProto.INT32,
    DType.I64: TensorProto.INT64,
    DType.BOOL: TensorProto.BOOL,
}

NUMPY: dict[DType, np.dtype[np.generic]] = {
    DType.F16: np.dtype(np.float16),
    DType.F32: np.dtype(np.float32),
    DType.F64: np.dtype(np.float64),
    DType.I8: np.dtype(np.int8),
    DType.U8: np.dtype(np.uint8),
    DType.I32: np.dtype(np.int32),
    DType.I64: np.dtype(np.int64),
    DType.BOOL: np.dtype(np.bool_),
}


class Refused(Exception):
    """A node that cannot be expressed; the text is the reason, and the caller knows the place."""


_ALL = "f64 i8 u8 i32 i64"
_WIDE = "f64 i32 i64"
_KERNELS = {
    "Abs": _ALL, "Neg": "f64 i8 i32 i64", "Sign": _ALL, "Relu": "f64 i8 i32", "Max": "f64 i8 u8 i32 i64", "Min": "f64 i8 u8 i32 i64",
    "Add": _ALL, "Sub": _ALL, "Mul": _ALL, "Div": _ALL, "Mod": _ALL, "Pow": _WIDE, "Clip": _ALL,
    "Exp": "f64", "Log": "f64", "Sqrt": "f64", "Reciprocal": "f64", "Sin": "f64", "Cos": "f64", "Tanh": "f64", "Sigmoid": "f64",
    "Floor": "f64", "Ceil": "f64", "Round": "f64", "IsNaN": "f64", "Erf": "", "Softplus": "", "Gelu": "", "LeakyRelu": "", "Elu": "",
    "HardSigmoid": "", "HardSwish": "", "Selu": "", "Celu": "", "Mish": "", "GroupNormalization": "", "Softmax": "f64", "LogSoftmax": "f64",
    "Equal": _ALL + " bool", "Less": _ALL, "LessOrEqual": _ALL, "Greater": _ALL, "GreaterOrEqual": _ALL,
    "Where": _ALL, "And": "bool", "Or": "bool", "Xor": "bool", "Not": "bool",
    "ReduceSum": _WIDE, "ReduceMean": _WIDE, "ReduceProd": _WIDE, "ReduceMax": _ALL, "ReduceMin": _ALL, "ReduceL1": _WIDE,
    "ReduceL2": "f64", "ReduceLogSumExp": "f64", "ArgMax": _ALL, "ArgMin": _ALL, "CumSum": _WIDE,
    "MatMul": _WIDE, "Gemm": "f64", "Einsum": _WIDE, "Conv": "", "ConvTranspose": "", "MaxPool": "f64", "AveragePool": "",
    "GlobalAveragePool": "", "Resize": "", "BatchNormalization": "f64", "LayerNormalization": "f64", "InstanceNormalization": "",
    "RMSNormalization": "f64", "Attention": "", "Expand": _ALL + " bool", "Tile": _ALL + " bool", "Pad": _ALL + " bool",
    "TopK": _ALL, "Trilu": _WIDE + " bool", "Range": _WIDE, "RandomNormalLike": "f64", "RandomUniformLike": "f64",
    "ScatterElements": _ALL, "RNN": "", "LSTM": "", "GRU": "", "Det": "", "DFT": "f64",
}  # fmt: skip

KERNELS = {op: frozenset({DType.F32, DType.F16, *(DType(name) for name in names.split())}) for op, names in _KERNELS.items()}
"""Element types of the first operand (the second, for Where) that onnxruntime's CPU has kernels for. Operators that only move elements
are not here: they take all types."""

SINGLE_PRECISION = {"conv": "Conv", "conv_transpose": "ConvTranspose", "avg_pool": "AveragePool", "erf": "Erf", "slogdet": "Det"}
"""Primitives that onnxruntime's CPU cannot compute in f64 in any spelling, and the operators that they are."""

_WIDER = {
    DType.BF16: (DType.F32,),
    DType.BOOL: (DType.U8, DType.I32, DType.I64, DType.F32),
    DType.I8: (DType.I32, DType.I64),
    DType.U8: (DType.I32, DType.I64),
    DType.I32: (DType.I64,),
}


def computed_in(op: str, dtype: DType) -> DType:
    """The narrowest type that holds all of `dtype` and that `op` has a kernel for; Refused when there is none."""
    kernels = KERNELS.get(op)
    if kernels is None or dtype in kernels:
        return dtype
    for wider in _WIDER.get(dtype, ()):
        if wider in kernels:
            return wider
    raise Refused(f"onnxruntime has no {dtype} kernel of {op}")


def as_array(value: np.ndarray, dtype: DType) -> np.ndarray:
    """`value` in the element type that a file holds for `dtype`; bf16 as its upper half of f32, rounded to even."""
    if dtype is not DType.BF16:
        return np.asarray(value).astype(NUMPY[dtype], copy=False)
    bits = np.asarray(value, dtype=np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(np.asarray(value, np.float32)), np.uint32(0x7FC0), rounded).astype(np.uint16)


def tensor(name: str, value: np.ndarray, dtype: DType) -> TensorProto:
    """A TensorProto of that element type."""
    proto = TensorProto()
    fill(proto, name, value, dtype)
    return proto


def fill(proto: TensorProto, name: str, value: np.ndarray, dtype: DType) -> None:
    """Make `proto` hold that array. Weights are filled in where they stay: a TensorProto that moves is copied."""
    array = as_array(value, dtype)
    proto.name = name
    proto.data_type = ELEMENT[dtype]
    proto.dims.extend(array.shape)
    proto.raw_data = array.tobytes()
