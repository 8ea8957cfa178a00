"""Values of expressions of the language, computed by a target: what most checks of library functions need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dsl.compiler import run
from dsl.source import Source
from dsl.types import DType

TARGETS = ("torch", "jax", "onnx")
DIFFERENTIATING = ("torch", "jax")


def declared(name: str, value: np.ndarray) -> str:
    """The input of a model that `value` fits: `x: float[2, 3]`."""
    kind = {"f": "float", "i": "int", "b": "bool"}[value.dtype.kind]
    return f"{name}: {kind}[{', '.join(map(str, value.shape))}]"


def values(
    expressions: str | Sequence[str],
    inputs: Mapping[str, object],
    target: str,
    *,
    exact: bool = False,
    training: bool = False,
    seed: int = 0,
    definitions: str = "",
) -> list[np.ndarray]:
    """The values of expressions on named tensors; with `exact`, in float64."""
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    written = [expressions] if isinstance(expressions, str) else expressions
    given = ", ".join(declared(n, v) for n, v in arrays.items())
    spec = f"{definitions}\nmodel Case()({given}) {{ return {', '.join(written)} }}"
    result = run(
        Source("case", spec), arrays, target=target, float_type=DType.F64 if exact else DType.F32, training=training, seed=seed
    )
    return list(result.outputs.values())


def value(
    expression: str,
    inputs: Mapping[str, object],
    target: str,
    *,
    exact: bool = False,
    training: bool = False,
    seed: int = 0,
    definitions: str = "",
) -> np.ndarray:
    """The value of one expression."""
    return values(expression, inputs, target, exact=exact, training=training, seed=seed, definitions=definitions)[0]
