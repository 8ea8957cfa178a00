"""Inputs to compare at: normal or uniform numbers, valid indices, mostly true booleans."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum

import numpy as np

from dsl.dims import evaluate
from dsl.initial_values import in_dtype
from dsl.ir import Graph, Initializer, Parameter
from dsl.types import TensorType
from dsl.verification.input_ranges import UNUSED, Range, input_ranges


class Spread(Enum):
    """How floating inputs are distributed. Some models take logarithms or roots: there `UNIT` gives finite numbers."""

    NORMAL = "normal"
    UNIT = "uniform in 0 to 1"


def make_inputs(graph: Graph, sizes: Mapping[str, int], seed: int, spread: Spread = Spread.NORMAL) -> dict[str, np.ndarray]:
    """Values for each input of a root graph; the same for a seed, whatever the other inputs are."""
    ranges = input_ranges(graph)
    return {
        name: _values(graph.type(value), sizes, _generator(name, seed), spread, ranges.get(name, UNUSED))
        for name, value in graph.inputs.items()
    }


def _generator(name: str, seed: int) -> np.random.Generator:
    key = hashlib.blake2b(f"input {seed}/{name}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def _values(type_: TensorType, sizes: Mapping[str, int], rng: np.random.Generator, spread: Spread, range_: Range) -> np.ndarray:
    shape = tuple(evaluate(d, sizes) for d in type_.shape)
    if type_.dtype.is_float:
        return in_dtype(rng.standard_normal(shape) if spread is Spread.NORMAL else rng.random(shape), type_.dtype)
    if type_.dtype.is_int:
        return in_dtype(rng.integers(*range_.bounds(sizes), shape), type_.dtype)
    values = rng.random(shape) < 0.75
    if shape and shape[-1]:
        values[..., 0] = True
    return np.asarray(values)


def unconstant(weights: Mapping[str, np.ndarray], parameters: Mapping[str, Parameter], seed: int) -> dict[str, np.ndarray]:
    """The weights with a little added to those that begin as one constant, so that a bias of zeros or a scale of ones cannot hide that
    it is left out. What is added is positive: a variance stays one. Trained rotations are moved as well: of a determinant of exactly 1 the
    logarithm is nothing but rounding."""
    return {name: _moved(name, value, parameters[name], seed) for name, value in weights.items()}


def _moved(name: str, value: np.ndarray, parameter: Parameter, seed: int) -> np.ndarray:
    match parameter.initial:
        case Initializer("constant") if parameter.type.dtype.is_float:
            return in_dtype(value + 0.25 * _generator(f"weight {name}", seed).random(value.shape), parameter.type.dtype)
        case Initializer("orthogonal" | "identity") if parameter.trained:
            moves = 0.25 * _generator(f"weight {name}", seed).uniform(-1.0, 1.0, value.shape)
            return in_dtype(value + moves, parameter.type.dtype)
    return value
