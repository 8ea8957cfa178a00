"""What parameters begin with: the numbers of an `Initializer`, the same for a seed on every target and every machine.

Each parameter has a generator of its own, keyed by the seed and its full name, so neither the order of the parameters nor the
presence of others matters. Values are drawn in float64 and rounded to the type of the parameter.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping

import numpy as np

from dsl.build import numpy_dtype
from dsl.diagnostics import Diagnostic, SpecError
from dsl.ir import Parameter, Program, size_of
from dsl.types import DType

Numbers = Mapping[str, float]
Shape = tuple[int, ...]


def initial_weights(program: Program, seed: int = 0) -> dict[str, np.ndarray]:
    """Every parameter and buffer by its full name, as training begins. A bf16 parameter is float32 holding bf16 values."""
    parameters = program.parameters()
    _check_memory(program.name, parameters)
    return {name: initial_value(name, parameter, seed) for name, parameter in parameters.items()}


def initial_value(name: str, parameter: Parameter, seed: int) -> np.ndarray:
    """The initial value of one parameter with the full name `name`."""
    shape = tuple(int(size) for size in parameter.type.shape if isinstance(size, int))
    initial = parameter.initial
    if initial.kind == "constant":
        return in_dtype(np.full(shape, initial.arguments["value"]), parameter.type.dtype)
    if initial.kind == "values":
        repeated = np.repeat(initial.values, math.prod(shape) // len(initial.values))
        return in_dtype(repeated.reshape(shape), parameter.type.dtype)
    _check_arguments(name, parameter, shape)
    return in_dtype(KINDS[initial.kind](generator(name, seed), shape, initial.arguments), parameter.type.dtype)


def generator(name: str, seed: int) -> np.random.Generator:
    """The generator of the parameter `name`: counter-based, keyed by a hash of the seed and the name."""
    key = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def in_dtype(values: np.ndarray, dtype: DType) -> np.ndarray:
    """`values` rounded to `dtype`, in the NumPy type that holds it."""
    if dtype is DType.BF16:
        return round_to_bf16(values.astype(np.float32))
    return np.asarray(values.astype(numpy_dtype(dtype)))


def round_to_bf16(values: np.ndarray) -> np.ndarray:
    """float32 values with the eight leading bits of their fractions, rounded to nearest and half to even. NaN stays NaN."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.where(np.isnan(values), np.float32(np.nan), rounded).reshape(np.shape(values))


# --- kinds ----------------------------------------------------------------------------------------------------------------------


def _normal(rng: np.random.Generator, shape: Shape, numbers: Numbers) -> np.ndarray:
    values = rng.standard_normal(shape)
    values *= numbers["std"]
    values += numbers["mean"]
    return values


def _uniform(rng: np.random.Generator, shape: Shape, numbers: Numbers) -> np.ndarray:
    return numbers["low"] + (numbers["high"] - numbers["low"]) * rng.random(shape)


def _truncated_normal(rng: np.random.Generator, shape: Shape, numbers: Numbers) -> np.ndarray:
    """A normal distribution cut off at `low` and `high`, which are values, not numbers of deviations; torch's trunc_normal_."""
    mean, std = numbers["mean"], numbers["std"]
    low, high = (numbers["low"] - mean) / std, (numbers["high"] - mean) / std
    values = np.empty(math.prod(shape))
    filled = 0
    while filled < values.size:
        kept = _accepted(rng, max(64, values.size - filled), low, high)[: values.size - filled]
        values[filled : filled + kept.size] = kept
        filled += kept.size
    return np.clip(mean + std * values, numbers["low"], numbers["high"]).reshape(shape)


def _accepted(rng: np.random.Generator, count: int, low: float, high: float) -> np.ndarray:
    """Those of `count` candidates that fall to the standard normal distribution between `low` and `high`.

    Where the interval holds much of the distribution candidates are normal; else they are uniform on the part of it whose density
    is not below e^-38 of its peak, and kept in proportion to the density.
    """
    if low < 0 < high and high - low > 1:
        drawn = rng.standard_normal(count)
        return drawn[(drawn >= low) & (drawn <= high)]
    peak = max(low, 0.0) if low >= 0 else min(high, 0.0)
    reach = math.sqrt(peak * peak + 76)
    drawn = rng.uniform(max(low, -reach), min(high, reach), count)
    return drawn[rng.random(count) < np.exp((peak * peak - drawn * drawn) / 2)]


def _orthogonal(rng: np.random.Generator, shape: Shape, numbers: Numbers) -> np.ndarray:
    """Orthonormal rows or columns, whichever are fewer, of the matrix [first axis, the rest], times `gain`. Saxe et al. 2013."""
    rows, columns = shape[0], math.prod(shape[1:])
    drawn = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return np.asarray(numbers["gain"] * (q if rows >= columns else q.T).reshape(shape))


def _identity(rng: np.random.Generator, shape: Shape, numbers: Numbers) -> np.ndarray:
    return np.asarray(numbers["gain"] * np.eye(shape[0], shape[1]))


KINDS: Mapping[str, Callable[[np.random.Generator, Shape, Numbers], np.ndarray]] = {
    "normal": _normal,
    "uniform": _uniform,
    "truncated_normal": _truncated_normal,
    "orthogonal": _orthogonal,
    "identity": _identity,
}


# --- refusals -------------------------------------------------------------------------------------------------------------------


def _check_arguments(name: str, parameter: Parameter, shape: Shape) -> None:
    kind, numbers = parameter.initial.kind, parameter.initial.arguments
    problem = None
    if not parameter.type.dtype.is_float:
        problem = f"draws fractions, and `{name}` is {parameter.type.dtype}"
    elif kind == "orthogonal" and len(shape) < 2:
        problem = f"needs two axes or more, and `{name}` is {parameter.type}"
    elif kind == "identity" and len(shape) != 2:
        problem = f"makes a matrix, and `{name}` is {parameter.type}"
    elif kind == "truncated_normal" and not (numbers["low"] < numbers["high"] and numbers["std"] > 0):
        problem = f"needs std above 0 and low below high, not {numbers['std']:g}, {numbers['low']:g} and {numbers['high']:g}"
    if problem is not None:
        raise SpecError(Diagnostic("DL0801", f"the initialiser `{kind}` {problem}", parameter.span))


def _check_memory(model: str, parameters: Mapping[str, Parameter]) -> None:
    """Refuse values that this machine cannot hold, before any is made."""
    count = sum(size_of(p.type) for p in parameters.values())
    needed = sum(size_of(p.type) * numpy_dtype(p.type.dtype).itemsize for p in parameters.values())
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else needed
    if needed > there:
        message = f"`{model}` has {count:,} parameters: {needed:,} bytes, and this machine has {there:,} bytes of memory"
        raise SpecError(Diagnostic("DL0809", message), exit_code=4)
