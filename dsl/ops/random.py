"""Primitives that draw random numbers. The generator is the target's own, with a seed or key given by whoever runs the model.

A reference gets `rng`, a numpy Generator; targets agree in distribution, never in the numbers drawn.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from dsl.dims import Dim
from dsl.ops.card import Accepts, Attribute, Attributes, Card, Example, Form, Operand, OpError
from dsl.ops.inference import canonical_shape, dtype_of
from dsl.types import DType, TensorType

SHAPE = Attribute("shape", Form.DIMS)
MODEL_FLOAT = Attribute("dtype", Form.DTYPE, None)


def _infer_draw(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    dtype = dtype_of(attributes)
    if not dtype.is_float:
        raise OpError(f"the numbers drawn are fractions, and dtype is {dtype}", "dtype", "`cast` the result", "DL0403")
    return TensorType(dtype, cast("tuple[Dim, ...]", attributes["shape"]))


def _randn(shape: tuple[int, ...], dtype: DType, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape))


def _rand(shape: tuple[int, ...], dtype: DType, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(rng.random(shape))


def _same(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    return types[0]


def _bernoulli(p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(rng.random(p.shape) < p, dtype=np.float64)


def _infer_categorical(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    logits = types[0]
    if not logits.rank:
        raise OpError(f"logits is {logits}: it needs an axis of classes, the last", "logits")
    if logits.shape[-1] == 0:
        raise OpError(f"logits is {logits}: there is no class to choose", "logits")
    return TensorType(DType.I64, logits.shape[:-1])


def _categorical(logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """By the Gumbel trick: the largest of logits with Gumbel noise is distributed as their softmax."""
    return np.asarray(np.argmax(logits + rng.gumbel(size=logits.shape), axis=-1), dtype=np.int64)


def _infer_dropout(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    if attributes["rate"] == 1:
        raise OpError("a rate of 1 would drop everything", "rate", "the rate is at least 0 and below 1", "DL0402")
    return types[0]


def _dropout(x: np.ndarray, rate: float, rng: np.random.Generator, training: bool = False) -> np.ndarray:
    return np.where(rng.random(x.shape) < rate, 0.0, x / (1.0 - rate)) if training else x


CARDS: tuple[Card, ...] = (
    Card(
        name="randn",
        family="random",
        summary="Normal random numbers, of mean 0 and variance 1.",
        operands=(),
        attributes=(SHAPE, MODEL_FLOAT),
        infer=_infer_draw,
        normalize=canonical_shape,
        reference=_randn,
        examples=(Example("0.0 * randn(2, 1)", [[0.0], [0.0]]), Example("isnan(randn(2))", [False, False])),
        notes="In the model's floating type unless a dtype is given.",
        differentiable=False,
        random=True,
    ),
    Card(
        name="rand",
        family="random",
        summary="Random numbers from 0 up to, not including, 1, all equally likely.",
        operands=(),
        attributes=(SHAPE, MODEL_FLOAT),
        infer=_infer_draw,
        normalize=canonical_shape,
        reference=_rand,
        examples=(Example("rand(3) < 1.0", [True, True, True]), Example("floor(rand(2, 1))", [[0.0], [0.0]])),
        notes="In the model's floating type unless a dtype is given.",
        differentiable=False,
        random=True,
    ),
    Card(
        name="bernoulli",
        family="random",
        summary="1 with probability p, else 0, for each element of p.",
        operands=(Operand("p", Accepts.FLOAT),),
        attributes=(),
        infer=_same,
        reference=_bernoulli,
        examples=(Example("bernoulli([0.0, 1.0])", [0.0, 1.0]), Example("bernoulli([[1.0]])", [[1.0]])),
        notes="In the element type of p, as in PyTorch (JAX gives bool). A p outside 0 to 1 is undefined.",
        differentiable=False,
        random=True,
    ),
    Card(
        name="categorical",
        family="random",
        summary="A class for each row, drawn with probabilities softmax(logits); the classes are the last axis.",
        operands=(Operand("logits", Accepts.FLOAT),),
        attributes=(),
        infer=_infer_categorical,
        reference=_categorical,
        examples=(Example("categorical([[0.0, 1000.0], [1000.0, 0.0]])", [1, 0]), Example("categorical([0.0])", 0)),
        notes="Logits need not be normalised; the last axis is gone from the result. Probabilities p are given as `log(p)`.",
        differentiable=False,
        random=True,
    ),
    Card(
        name="dropout",
        family="random",
        summary="In training each element is 0 with probability rate and else x / (1 - rate); in inference x.",
        operands=(Operand("x", Accepts.FLOAT),),
        attributes=(Attribute("rate", Form.FLOAT, low=0, high=1),),
        infer=_infer_dropout,
        reference=_dropout,
        examples=(Example("dropout([1.0, 2.0], 0.5)", [1.0, 2.0]), Example("dropout([[3.0]], rate=0.0)", [[3.0]])),
        notes="`rate` is the probability of dropping, as in PyTorch and Keras (ONNX and JAX libraries agree; TensorFlow 1 gave "
        "that of keeping). Examples are evaluated in inference.",
        random=True,
        elementwise=True,
    ),
)
