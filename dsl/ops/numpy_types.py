"""Element types as NumPy knows them: those of arrays in a graph, and those of references (floats in float64)."""

from __future__ import annotations

import numpy as np

from dsl.types import DType

_NAMES = {
    "float16": DType.F16, "bfloat16": DType.BF16, "float32": DType.F32, "float64": DType.F64,
    "int8": DType.I8, "uint8": DType.U8, "int32": DType.I32, "int64": DType.I64, "bool": DType.BOOL,
}  # fmt: skip
_COMPUTED: dict[DType, np.dtype] = {
    DType.I8: np.dtype(np.int8), DType.U8: np.dtype(np.uint8), DType.I32: np.dtype(np.int32),
    DType.I64: np.dtype(np.int64), DType.BOOL: np.dtype(np.bool_),
}  # fmt: skip
_FLOAT64: np.dtype = np.dtype(np.float64)


def array_dtype(array: np.ndarray) -> DType | None:
    """The element type of an array; None when specs have no such type."""
    return _NAMES.get(array.dtype.name)


def computed(dtype: DType) -> np.dtype:
    """What a reference computes that element type in."""
    return _COMPUTED.get(dtype, _FLOAT64)


def at_least_i32(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both arrays in the type that `dsl.types.promote` gives them: i8 with u8 is i32, where NumPy makes it int16."""
    if a.dtype == b.dtype:
        return a, b
    common = np.result_type(a.dtype, b.dtype)
    if common == np.int16:
        common = np.dtype(np.int32)
    return a.astype(common), b.astype(common)
