"""Primitives that work on each element by itself: arithmetic, comparison, logic, the elementary functions.

Operands follow NumPy's broadcasting and `dsl.types.promote`. References compute floats in float64 and keep integers as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numpy as np

from dsl.ops.card import Accepts, Attribute, Attributes, AttributeValue, Card, Example, Form, Operand, OpError
from dsl.ops.inference import combined, dtype_of, stretched
from dsl.ops.numpy_types import at_least_i32, computed
from dsl.types import DType, TensorType

AB = ("a", "b")
_silent = np.errstate(all="ignore")
_erf = np.vectorize(math.erf, otypes=[np.float64])


def _same(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    return types[0]


def _to_bool(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    return types[0].with_dtype(DType.BOOL)


def _arithmetic(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    result = combined(types[0], types[1], AB)
    if result.dtype is DType.BOOL:
        raise OpError(
            "a and b are both bool, which has no arithmetic", "b",
            "use logical_and, logical_or or logical_xor, or `cast` to a number first", "DL0403",
        )  # fmt: skip
    return result


def _division(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    result = _arithmetic(types, attributes)
    return result if result.dtype.is_float else result.with_dtype(DType.F32)


def _equality(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    return combined(types[0], types[1], AB).with_dtype(DType.BOOL)


def _order(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    return _arithmetic(types, attributes).with_dtype(DType.BOOL)


def _logic(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    return combined(types[0], types[1], AB)


def _pair(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """The reference of a binary card from NumPy's function."""

    @_silent
    def reference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(function(*at_least_i32(a, b)))

    return reference


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.true_divide(a, b, dtype=np.float64))


FLOOR = (
    "Rounds towards minus infinity, as `//` and `%` do in Python, NumPy and torch.remainder (C and ONNX Mod's default truncate)."
)
ZERO = "The result of an integer divided by zero is undefined."
NAN_WINS = "NaN wins over every number, as in NumPy, PyTorch and JAX (C's fmax, and ONNX on some runtimes, drop it)."
NO_EQUALS = "NaN equals nothing, itself included (IEEE 754)."

_BINARY: tuple[tuple[str, str, Callable[..., np.ndarray], Example, Example, str, bool], ...] = (
    ("add", "The sum of two tensors; written `a + b`.", np.add,
     Example("add([1.0, 2.0], [10.0, 20.0])", [11.0, 22.0]), Example("arange(2) + 3", [3, 4]),
     "Integers wrap around on overflow.", True),
    ("sub", "The difference of two tensors; written `a - b`.", np.subtract,
     Example("sub([1.0, 2.0], [10.0, 20.0])", [-9.0, -18.0]), Example("arange(2) - 3", [-3, -2]),
     "Integers wrap around on overflow.", False),
    ("mul", "The product of two tensors, element by element; written `a * b`.", np.multiply,
     Example("mul([[1.0], [2.0]], [3.0, 4.0])", [[3.0, 4.0], [6.0, 8.0]]), Example("arange(3) * 2", [0, 2, 4]),
     "A bool counts as 0 or 1 beside a number. Integers wrap around on overflow.", True),
    ("div", "The quotient of two tensors; written `a / b`.", _divide,
     Example("div([1.0, 3.0], [4.0, 2.0])", [0.25, 1.5]), Example("arange(3) / 2", [0.0, 0.5, 1.0]),
     ("Always true division: of two integer tensors it is the model's floating type, f32 where none is set (NumPy gives float64, "
      "ONNX Div truncates). By zero it is an infinity, and NaN for 0 / 0."), False),
    ("pow", "The first tensor to the power of the second; written `a ** b`.", np.power,
     Example("pow([2.0, 9.0], [3.0, 0.5])", [8.0, 3.0]), Example("arange(3) ** 2", [0, 1, 4]),
     ("0 ** 0 is 1. A negative number to a fractional power is NaN. An integer to a negative integer power has no integer value: "
      "a constant one is refused, any other is undefined (NumPy raises, PyTorch truncates)."), False),
    ("maximum", "The larger of two tensors, element by element.", np.maximum,
     Example("maximum([1.0, 5.0], [3.0, 2.0])", [3.0, 5.0]), Example("maximum([-1, 4], 0)", [0, 4]),
     NAN_WINS + " Where both are equal the gradient is split or goes to one of them, as the target does.", True),
    ("minimum", "The smaller of two tensors, element by element.", np.minimum,
     Example("minimum([1.0, 5.0], [3.0, 2.0])", [1.0, 2.0]), Example("minimum([-1, 4], 0)", [-1, 0]),
     NAN_WINS + " Where both are equal the gradient is split or goes to one of them, as the target does.", True),
    ("floor_divide", "The quotient rounded down; written `a // b`.", np.floor_divide,
     Example("floor_divide([7, -7], [2, 2])", [3, -4]), Example("neg([7.5, -7.5]) // 2.0", [-4.0, 3.0]),
     FLOOR + " " + ZERO, False),
    ("remainder", "What floor division leaves, with the sign of the divisor; written `a % b`.", np.remainder,
     Example("remainder([7, -7], [3, 3])", [1, 2]), Example("neg([5.5, -5.5]) % 2.0", [0.5, 1.5]),
     FLOOR + " " + ZERO + " A floating remainder by zero is NaN.", False),
)  # fmt: skip

_COMPARISONS: tuple[tuple[str, str, Callable[..., np.ndarray], Example, Example, str, bool], ...] = (
    ("eq", "True where two tensors are equal; written `a == b`.", np.equal,
     Example("eq([1.0, 2.0], [1.0, 3.0])", [True, False]), Example("arange(3) == 2", [False, False, True]), NO_EQUALS, True),
    ("ne", "True where two tensors differ; written `a != b`.", np.not_equal,
     Example("ne([1.0, 2.0], [1.0, 3.0])", [False, True]), Example("arange(3) != 2", [True, True, False]), NO_EQUALS, True),
    ("lt", "True where the first is smaller; written `a < b`.", np.less,
     Example("lt([1.0, 3.0], [2.0, 3.0])", [True, False]), Example("arange(3) < 1", [True, False, False]),
     "False beside NaN.", False),
    ("le", "True where the first is smaller or equal; written `a <= b`.", np.less_equal,
     Example("le([1.0, 4.0], [1.0, 3.0])", [True, False]), Example("arange(3) <= 1", [True, True, False]),
     "False beside NaN.", False),
    ("gt", "True where the first is larger; written `a > b`.", np.greater,
     Example("gt([1.0, 4.0], [2.0, 3.0])", [False, True]), Example("arange(3) > 1", [False, False, True]),
     "False beside NaN.", False),
    ("ge", "True where the first is larger or equal; written `a >= b`.", np.greater_equal,
     Example("ge([1.0, 3.0], [2.0, 3.0])", [False, True]), Example("arange(3) >= 1", [False, True, True]),
     "False beside NaN.", False),
)  # fmt: skip

_LOGIC: tuple[tuple[str, str, Callable[..., np.ndarray], Example, Example], ...] = (
    ("logical_and", "True where both are; written `a and b`.", np.logical_and,
     Example("logical_and([true, true], [true, false])", [True, False]),
     Example("logical_and(arange(3) > 0, arange(3) < 2)", [False, True, False])),
    ("logical_or", "True where at least one is; written `a or b`.", np.logical_or,
     Example("logical_or([true, false], [false, false])", [True, False]),
     Example("logical_or(arange(3) < 1, arange(3) > 1)", [True, False, True])),
    ("logical_xor", "True where exactly one is.", np.logical_xor,
     Example("logical_xor([true, true], [true, false])", [False, True]),
     Example("logical_xor(arange(3) > 1, true)", [True, True, False])),
)  # fmt: skip

_OPERANDS = (Operand("a"), Operand("b"))
_BOOLS = (Operand("a", Accepts.BOOL), Operand("b", Accepts.BOOL))


def _binary_cards() -> list[Card]:
    cards = []
    for name, summary, function, first, second, notes, commutes in _BINARY:
        cards.append(Card(
            name, "elementwise", summary, _OPERANDS, (), _division if name == "div" else _arithmetic, _pair(function),
            (first, second), notes, commutes=commutes, broadcasts=True, elementwise=True, differentiable=name != "floor_divide",
        ))  # fmt: skip
    for name, summary, function, first, second, notes, commutes in _COMPARISONS:
        cards.append(Card(
            name, "elementwise", summary, _OPERANDS, (), _equality if name in ("eq", "ne") else _order, _pair(function),
            (first, second), notes, commutes=commutes, broadcasts=True, elementwise=True, differentiable=False,
        ))  # fmt: skip
    for name, summary, function, first, second in _LOGIC:
        cards.append(Card(
            name, "elementwise", summary, _BOOLS, (), _logic, _pair(function), (first, second),
            "Takes bool only: compare with zero first.", commutes=True, broadcasts=True, elementwise=True, differentiable=False,
        ))  # fmt: skip
    return cards


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-np.logaddexp(0.0, -x)))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.logaddexp(x, 0.0))


def _relu(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(x, x.dtype.type(0)))


def _rsqrt(x: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / np.sqrt(x))


def _single(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """The reference of a unary card from a function of an array."""

    @_silent
    def reference(x: np.ndarray) -> np.ndarray:
        return np.asarray(function(x))

    return reference


_F, _N = Accepts.FLOAT, Accepts.NUMBER
# The last column says whether the derivative is of any use.
_UNARY: tuple[tuple[str, str, Accepts, Callable[..., np.ndarray], Example, Example, str, bool], ...] = (
    ("neg", "The negative; written `-x`.", _N, np.negative,
     Example("neg([1.0, -2.0])", [-1.0, 2.0]), Example("-arange(3)", [0, -1, -2]), "An unsigned integer wraps around.", True),
    ("abs", "The absolute value.", _N, np.abs, Example("abs([-1.5, 2.0])", [1.5, 2.0]), Example("abs([-3, 3])", [3, 3]),
     "Its gradient at 0 is 0.", True),
    ("sign", "-1, 0 or 1 by the sign.", _N, np.sign, Example("sign([-2.0, 0.0, 5.0])", [-1.0, 0.0, 1.0]),
     Example("sign([-7, 7])", [-1, 1]), "0 for both zeros; NaN for NaN (PyTorch gives 0).", False),
    ("exp", "e to the power of x.", _F, np.exp, Example("exp([0.0, 1.0])", [1.0, math.e]), Example("exp([-1.0])", [1 / math.e]),
     "", True),
    ("log", "The natural logarithm.", _F, np.log,
     Example("log([1.0, 10.0])", [0.0, math.log(10)]), Example("log(exp([2.0]))", [2.0]),
     "Minus infinity at 0, NaN below.", True),
    ("log1p", "The natural logarithm of 1 + x, exact for small x.", _F, np.log1p,
     Example("log1p([0.0, 1.0])", [0.0, math.log(2)]),
     Example("log1p([-0.5])", [math.log(0.5)]), "Minus infinity at -1, NaN below.", True),
    ("expm1", "e to the power of x, minus 1, exact for small x.", _F, np.expm1, Example("expm1([0.0, 1.0])", [0.0, math.e - 1]),
     Example("expm1(log1p([0.25]))", [0.25]), "", True),
    ("sqrt", "The square root.", _F, np.sqrt, Example("sqrt([4.0, 9.0])", [2.0, 3.0]), Example("sqrt([0.25])", [0.5]),
     "NaN below 0; the gradient at 0 is infinite.", True),
    ("rsqrt", "One over the square root.", _F, _rsqrt, Example("rsqrt([4.0, 0.25])", [0.5, 2.0]), Example("rsqrt([1.0])", [1.0]),
     "Infinite at 0, NaN below.", True),
    ("sin", "The sine, of radians.", _F, np.sin,
     Example("sin([0.0, 1.0])", [0.0, math.sin(1)]), Example("sin([-1.0])", [-math.sin(1)]), "", True),
    ("cos", "The cosine, of radians.", _F, np.cos,
     Example("cos([0.0, 1.0])", [1.0, math.cos(1)]), Example("cos([-1.0])", [math.cos(1)]), "", True),
    ("tanh", "The hyperbolic tangent.", _F, np.tanh, Example("tanh([0.0, 1.0])", [0.0, math.tanh(1)]),
     Example("tanh([-1000.0, 1000.0])", [-1.0, 1.0]), "", True),
    ("sigmoid", "The logistic function, 1 / (1 + exp(-x)).", _F, _sigmoid,
     Example("sigmoid([0.0, 1.0])", [0.5, 1 / (1 + math.exp(-1))]), Example("sigmoid([-1000.0, 1000.0])", [0.0, 1.0]),
     "Never overflows.", True),
    ("erf", "The error function, 2 / sqrt(pi) times the integral of exp(-t ** 2) from 0 to x.", _F, _erf,
     Example("erf([0.0, 1.0])", [0.0, math.erf(1)]), Example("erf([-1.0])", [-math.erf(1)]), "", True),
    ("relu", "The positive part, maximum(x, 0).", _N, _relu,
     Example("relu([-1.0, 2.0])", [0.0, 2.0]), Example("relu([-3, 3])", [0, 3]), "Its gradient at 0 is 0.", True),
    ("softplus", "log(1 + exp(x)).", _F, _softplus, Example("softplus([0.0, 1.0])", [math.log(2), math.log1p(math.e)]),
     Example("softplus([1000.0])", [1000.0]),
     "Never overflows, and has no threshold: torch's softplus returns x itself above 20, which differs by 2e-9.", True),
    ("floor", "The largest whole number not above x.", _F, np.floor, Example("floor([1.5, -1.5])", [1.0, -2.0]),
     Example("floor([3.0])", [3.0]), "Stays floating: `cast` makes it an integer.", False),
    ("ceil", "The smallest whole number not below x.", _F, np.ceil, Example("ceil([1.5, -1.5])", [2.0, -1.0]),
     Example("ceil([3.0])", [3.0]), "Stays floating: `cast` makes it an integer.", False),
    ("round", "The nearest whole number, a half to the even one.", _F, np.round,
     Example("round([0.5, 1.5, 2.6])", [0.0, 2.0, 3.0]), Example("round([-0.5, -2.4])", [0.0, -2.0]),
     "Half to even as in IEEE 754, NumPy, PyTorch, JAX and ONNX Round; C's round goes away from zero.", False),
    ("isnan", "True where x is not a number.", _F, np.isnan, Example("isnan([1.0, 2.0])", [False, False]),
     Example("isnan(log([-1.0, 1.0]))", [True, False]), "", False),
    ("logical_not", "True where x is false; written `not x`.", Accepts.BOOL, np.logical_not,
     Example("logical_not([true, false])", [False, True]), Example("logical_not(arange(2) == 1)", [True, False]),
     "Takes bool only: compare with zero first.", False),
)  # fmt: skip


def _unary_cards() -> list[Card]:
    return [
        Card(
            name, "elementwise", summary, (Operand("x", accepts),), (), _to_bool if name == "isnan" else _same, _single(function),
            (first, second), notes, differentiable=differentiable, elementwise=True,
        )
        for name, summary, accepts, function, first, second, notes, differentiable in _UNARY
    ]  # fmt: skip


def _bound(name: str, value: AttributeValue, dtype: DType) -> float | None:
    if value is None:
        return None
    number = cast(float, value)
    if dtype.is_float:
        return float(number)
    if number != int(number):
        raise OpError(f"{name} is {number:g}, and x is {dtype}", name, "give a whole number, or `cast` x to f32 first", "DL0402")
    return int(number)


def _normalize_clip(types: tuple[TensorType, ...], attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    low, high = (_bound(name, attributes.get(name), types[0].dtype) for name in ("low", "high"))
    if low is None and high is None:
        raise OpError("neither low nor high is given", "low", "give at least one bound, as in `clip(x, low=0.0)`", "DL0402")
    if low is not None and high is not None and low > high:
        raise OpError(f"low is above high: {low:g} > {high:g}", "low", "exchange the two bounds", "DL0402")
    return {**attributes, "low": low, "high": high}


def _clip(x: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
    return np.asarray(np.clip(x, low, high)).astype(x.dtype)


def _infer_where(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    condition, a, b = types
    result = combined(a, b, AB)
    if condition.shape == result.shape:
        return result
    return result.with_shape(stretched(result, condition, ("a with b", "condition")))


def _where(condition: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(condition, *at_least_i32(a, b)))


def _infer_cast(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    return types[0].with_dtype(dtype_of(attributes))


@_silent
def _cast(x: np.ndarray, dtype: DType) -> np.ndarray:
    return x.astype(computed(dtype))


_OTHERS = (
    Card(
        name="clip",
        family="elementwise",
        summary="x kept between two bounds.",
        operands=(Operand("x", Accepts.NUMBER),),
        attributes=(Attribute("low", Form.FLOAT, None), Attribute("high", Form.FLOAT, None)),
        infer=_same,
        normalize=_normalize_clip,
        reference=_clip,
        examples=(Example("clip([-2.0, 0.5, 9.0], 0.0, 1.0)", [0.0, 0.5, 1.0]), Example("clip([-2, 5], low=0)", [0, 5])),
        notes="A bound left out is no bound; low above high is an error (NumPy and PyTorch return high). NaN stays NaN.",
        elementwise=True,
    ),
    Card(
        name="where",
        family="elementwise",
        summary="a where the condition holds, b elsewhere.",
        operands=(Operand("condition", Accepts.BOOL), Operand("a"), Operand("b")),
        attributes=(),
        infer=_infer_where,
        reference=_where,
        examples=(
            Example("where([true, false], [1.0, 2.0], [3.0, 4.0])", [1.0, 4.0]),
            Example("where(arange(2) > 0, 10.0, -10.0)", [-10.0, 10.0]),
        ),
        notes="Both sides are computed. A NaN or infinity in the gradient of the side not taken spoils the gradient, in every "
        "target: make the argument safe before the function, not after.",
        broadcasts=True,
        elementwise=True,
    ),
    Card(
        name="cast",
        family="elementwise",
        summary="x in another element type.",
        operands=(Operand("x"),),
        attributes=(Attribute("dtype", Form.DTYPE),),
        infer=_infer_cast,
        reference=_cast,
        examples=(Example("cast([1.7, -1.7], i64)", [1, -1]), Example("cast([true, false], f32)", [1.0, 0.0])),
        notes="A floating number becomes an integer by dropping its fraction (towards zero); one that does not fit, or NaN, is "
        "undefined. To bool: true where not zero.",
        elementwise=True,
    ),
)

CARDS: tuple[Card, ...] = (*_binary_cards(), *_unary_cards(), *_OTHERS)
