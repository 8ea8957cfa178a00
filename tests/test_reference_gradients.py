"""Gradients as values in the reference: every rule against differences, orders against closed forms, gradients inside gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from backends.reference import Interpreter
from backends.reference_reverse import sharp_slope
from backends.reference_vjp import PARTIALS, RULES
from dsl.ir import Call, Graph, Value
from dsl.ops.card import AttributeValue
from dsl.ops.numpy_types import array_dtype
from dsl.ops.registry import CARDS
from dsl.types import DType, TensorType
from tests.hand_made import SCALAR, Made, tensor

Attributes = dict[str, AttributeValue]
Case = tuple[str, tuple[np.ndarray, ...], Attributes]


def draw(*shape: int) -> np.ndarray:
    return np.asarray(np.random.default_rng(sum(shape) + len(shape)).standard_normal(shape))


def positive(*shape: int) -> np.ndarray:
    return np.asarray(0.5 + np.abs(draw(*shape)))


def each(names: str, *operands: np.ndarray, **attributes: AttributeValue) -> list[Case]:
    """The same case for several primitives."""
    return [(name, operands, attributes) for name in names.split()]


A, B, IMAGES = draw(2, 3), draw(3) + 2.0, draw(1, 3, 5, 4)
EQUAL = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
ROWS = np.array([[2, 0], [1, 1]])
LOWER = draw(3, 3) + 3 * np.eye(3)
DEFINITE = draw(2, 3, 4) @ np.swapaxes(draw(2, 3, 4), 1, 2) + np.eye(3)

CASES: list[Case] = [
    *each("add sub mul div maximum minimum remainder", A, B),
    *each("maximum minimum", EQUAL, EQUAL[:1]),
    ("add", (A, np.asarray(0.5)), {}),
    ("pow", (positive(2, 3), B), {}),
    ("pow", (A, np.asarray(3.0)), {}),
    *each("neg abs exp expm1 sin cos tanh sigmoid erf relu softplus", draw(2, 3)),
    *each("log log1p sqrt rsqrt", positive(2, 3)),
    ("relu", (np.array([-1.0, 0.0, 2.0]),), {}),
    ("clip", (A,), {"low": -0.5, "high": 0.5}),
    ("where", (A > 0, A, B), {}),
    ("cast", (A,), {"dtype": DType.F64}),
    ("dropout", (A,), {"rate": 0.5}),
    *each("sum mean prod max min logsumexp var norm", draw(2, 3, 2), over=(0, 2)),
    *each("sum mean prod max min logsumexp var", draw(2, 3), over=(1,), keepdims=True),
    *each("max min", EQUAL, over=(1,)),
    ("var", (A,), {"over": (1,), "correction": 1}),
    ("norm", (positive(2, 3),), {"over": (1,), "p": 3.0, "keepdims": True}),
    ("cumsum", (A,), {"over": 1}),
    ("matmul", (draw(3), draw(3)), {}),
    ("matmul", (draw(3), draw(2, 3, 4)), {}),
    ("matmul", (draw(2, 2, 3), draw(3)), {}),
    ("matmul", (draw(2, 1, 2, 3), draw(5, 3, 4)), {}),
    ("einsum", (draw(2, 3), draw(4, 3)), {"pattern": "id,jd->ij"}),
    ("einsum", (draw(2, 3), draw(3), draw(2)), {"pattern": "ab,b,c->a"}),
    ("einsum", (draw(3, 3), draw(2, 3)), {"pattern": "ii,...i->...i"}),
    ("cholesky", (DEFINITE,), {}),
    *each("triangular_solve", LOWER, draw(2, 3, 2), lower=False, transposed=False),
    *each("triangular_solve", LOWER, draw(2, 3, 2), lower=False, transposed=True),
    *each("triangular_solve", LOWER, draw(2, 3, 2), lower=True, transposed=False),
    *each("triangular_solve", LOWER, draw(2, 3, 2), lower=True, transposed=True),
    ("triangular_solve", (DEFINITE, draw(3, 2)), {}),
    ("eigh", (DEFINITE,), {}),
    ("eigh", (draw(2, 3, 3),), {}),
    *each("svd qr", draw(2, 3, 3)),
    *each("svd qr", draw(2, 4, 2)),
    *each("svd", draw(2, 2, 4)),
    *each("inverse slogdet", draw(2, 3, 3) + 2 * np.eye(3)),
    *each("rfft", draw(2, 5, 3), over=1),
    *each("rfft", draw(2, 4), over=1),
    *each("irfft", draw(3, 2), draw(3, 2) + 1, n=4, over=0),
    *each("irfft", draw(3, 2), draw(3, 2) + 1, n=5, over=0),
    *each("irfft", draw(1, 2), draw(1, 2) + 1, n=1, over=0),
    ("conv", (draw(2, 4, 7), draw(6, 2, 3)), {"stride": 2, "padding": ((1, 0),), "groups": 2}),
    ("conv", (IMAGES, draw(2, 3, 2, 3)), {"dilation": 2, "padding": 1}),
    ("conv_transpose", (draw(2, 4, 3), draw(4, 2, 3)), {"stride": 2, "padding": ((1, 0),), "output_padding": 1, "groups": 2}),
    ("conv_transpose", (draw(1, 2, 3, 2), draw(2, 3, 2, 2)), {"dilation": 2}),
    ("max_pool", (IMAGES,), {"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ("max_pool", (draw(1, 2, 6),), {"kernel": 2, "stride": 1, "dilation": 2}),
    ("avg_pool", (IMAGES,), {"kernel": 2, "stride": 2, "padding": 1, "count_include_pad": False}),
    ("adaptive_avg_pool", (IMAGES,), {"size": (3, 2)}),
    ("interpolate", (draw(1, 2, 2, 3),), {"scale": 2.0, "mode": "bilinear"}),
    ("interpolate", (draw(1, 2, 3),), {"size": (5,)}),
    ("reshape", (A,), {"shape": (3, 2)}),
    ("permute", (draw(2, 3, 4),), {"order": (2, 0, 1)}),
    ("expand", (draw(2, 1),), {"shape": (3, 2, 4)}),
    ("pad", (A,), {"widths": ((1, 0), (2, 1)), "value": 7.0}),
    ("pad", (A,), {"widths": ((0, 1), (2, 2)), "mode": "reflect"}),
    ("pad", (A,), {"widths": ((0, 2), (2, 1)), "mode": "edge"}),
    ("flip", (A,), {"over": (0, 1)}),
    ("roll", (A,), {"shift": (1,), "over": (1,)}),
    ("tile", (A,), {"repeats": (2, 2)}),
    ("concat", (A, draw(2, 1)), {"over": 1}),
    ("stack", (A, draw(2, 3)), {"over": 1}),
    ("slice", (draw(4, 5),), {"axes": (1,), "starts": (4,), "stops": (None,), "steps": (-2,)}),
    ("split", (draw(2, 5),), {"sizes": (2, 3), "over": 1}),
    ("gather", (A, ROWS), {"over": 1}),
    ("gather", (A, np.array([2, 0])), {"over": 1}),
    ("take", (A, np.array([1, 1, 0])), {"over": 0}),
    ("scatter_add", (A, ROWS, draw(2, 2)), {"over": 1}),
    ("topk", (draw(2, 5),), {"k": 2, "over": 1}),
    ("sort", (draw(2, 5),), {"over": 1, "descending": True}),
    ("tril", (draw(3, 3),), {"diagonal": 0}),
    ("triu", (draw(3, 3),), {"diagonal": 1}),
]


def weighted(name: str, operands: tuple[np.ndarray, ...], attributes: Attributes) -> Graph:
    """A block: the sum of all floating results of a primitive, each element with a weight of its own; floating operands come first."""
    dtypes = [array_dtype(x) for x in operands]
    types = [TensorType(DType.F64 if d is None or d.is_float else d, x.shape) for d, x in zip(dtypes, operands, strict=True)]
    inputs = {f"x{i}": types[i] for i in floating_first(operands)}
    made = Made(kind="block", **inputs)
    first = made.build(name, tuple(made[f"x{i}"] for i in range(len(operands))), **attributes)
    total = made.op("cast", made.scalar(0.0, DType.F32), dtype=DType.F64)
    for i, type_ in enumerate(made.graph.node(first).types):
        if not type_.dtype.is_float:
            continue
        value = made.op("cast", Value(first.node, i), dtype=DType.F64)
        shape = tuple(d for d in type_.shape if isinstance(d, int))
        weights = Value(made.graph.add("const", (), {"value": draw(*shape)}, (TensorType(DType.F64, shape),)).id)
        product = made.op("mul", value, weights)
        total = made.op("add", total, made.op("sum", product))
    return made.gives(total=total)


def floating_first(operands: tuple[np.ndarray, ...]) -> list[int]:
    return sorted(range(len(operands)), key=lambda i: operands[i].dtype.kind != "f")


@pytest.mark.parametrize(("name", "operands", "attributes"), CASES, ids=[f"{i}-{name}" for i, (name, _, _) in enumerate(CASES)])
def test_a_rule_is_what_differences_find(name: str, operands: tuple[np.ndarray, ...], attributes: Attributes) -> None:
    block = weighted(name, operands, attributes)
    order = floating_first(operands)
    floats = [i for i in order if operands[i].dtype.kind == "f"]
    made = Made(kind="model", **{key: block.type(value) for key, value in block.inputs.items()})
    types = tuple(block.type(block.inputs[f"x{i}"]) for i in floats)
    gradient = made.block("grad", block, *(made[f"x{i}"] for i in order), types=types, wrt=len(floats))
    graph = made.gives(**{f"x{i}": Value(gradient.node, k) for k, i in enumerate(floats)})
    found = Interpreter({}, training=True).run(graph, {f"x{i}": x for i, x in enumerate(operands)})

    interpreter = Interpreter({}, training=True)
    others = {f"x{i}": operands[i] for i in order if i not in floats}

    def value(moved: list[np.ndarray]) -> np.ndarray:
        return interpreter.run(block, {**others, **{f"x{i}": x for i, x in zip(floats, moved, strict=True)}})["total"]

    for i, expected in zip(floats, interpreter.gradients(value, [operands[i] for i in floats]), strict=True):
        np.testing.assert_allclose(found[f"x{i}"], expected, rtol=1e-8, atol=1e-8)


def test_every_primitive_with_a_gradient_is_compared() -> None:
    differentiable = {name for name, card in CARDS.items() if card.differentiable} - {"if_training"}
    assert {name for name, _, _ in CASES} == differentiable
    assert differentiable - {"prod"} == {*PARTIALS, *RULES}


# --- orders ---

X = np.array([-0.7, 0.2, 1.3])


def order(f: Callable[[Made], Value], count: int) -> np.ndarray:
    """The derivative of the scalar f(x), a sum over elements, of an order: each the gradient of the sum of the one before."""
    made = Made("block", x=tensor(3))
    graph = made.gives(value=f(made))
    for level in reversed(range(count)):
        made = Made("block" if level else "model", x=tensor(3))
        gradient = made.block("grad", graph, made["x"], types=(tensor(3),), wrt=1)
        graph = made.gives(value=made.op("sum", gradient, over=(0,), keepdims=False) if level else gradient)
    return Interpreter({}).run(graph, {"x": X})["value"]


@pytest.mark.parametrize(
    ("name", "derivatives"),
    [
        ("exp", [np.exp, np.exp, np.exp]),
        ("sin", [np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x)]),
        ("sigmoid", [lambda x: s(x) * (1 - s(x)), lambda x: s(x) * (1 - s(x)) * (1 - 2 * s(x))]),
    ],
)
def test_orders_are_those_of_the_formula(name: str, derivatives: list[Callable[[np.ndarray], np.ndarray]]) -> None:
    for count, derivative in enumerate(derivatives, start=1):
        found = order(lambda g: g.op("sum", g.op(name, g["x"]), over=(0,), keepdims=False), count)
        np.testing.assert_allclose(found, derivative(X), rtol=10.0 ** (3 * count - 16))


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda t: np.exp(t), 1.0),
        (lambda t: np.tan(3 * t), 3.0),
        (lambda t: np.log(0.01 + t), 100.0),
        (lambda t: np.array([np.sin(30 * t), t, 1.0]), np.array([30.0, 1.0, 0.0])),
    ],
    ids=["exp", "tan", "near_a_pole", "several"],
)
def test_the_difference_of_gradients_is_nearly_as_exact_as_they_are(
    f: Callable[[float], np.ndarray], expected: float | np.ndarray
) -> None:
    np.testing.assert_allclose(sharp_slope(f, 1.0).value, expected, rtol=1e-12, atol=1e-12)


def s(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def test_a_hessian_that_is_not_diagonal() -> None:
    """f = sum(x) ** 3: the gradient of sum(grad f) is 3 * 6 * sum(x) everywhere."""

    def f(made: Made) -> Value:
        return made.op("pow", made.op("sum", made["x"], over=(0,), keepdims=False), made.scalar(3.0, DType.F32))

    np.testing.assert_allclose(order(f, 2), np.full(3, 18 * X.sum()), rtol=1e-9)


def test_an_outer_gradient_goes_through_what_an_inner_one_captures_and_the_parameters_it_replaces() -> None:
    """The layer gives a * w ** 2 * x, and g = d/dx sum(layer(x)) is a * w ** 2: d/dw sum(g) = 2 a w, and d/da sum(g) = w ** 2."""
    layer = Made("module", x=tensor(3), a=tensor(3))
    w = layer.param("weight", tensor(3))
    scaled = layer.gives(y=layer.op("mul", layer.op("mul", layer["a"], layer["x"]), layer.op("mul", w, w)))
    inner = Made("block", x=tensor(3), a=tensor(3), w=tensor(3))
    target = Call(scaled, "scale", {})
    applied = inner.graph.add("call", (inner["x"], inner["a"], inner["w"]), {"given": ("weight",)}, (tensor(3),), target=target)
    inside = inner.gives(value=inner.op("sum", Value(applied.id), over=(0,), keepdims=False))
    outer = Made("block", w=tensor(3), a=tensor(3), x=tensor(3))
    gradient = outer.block("grad", inside, outer["x"], outer["a"], outer["w"], types=(tensor(3),), wrt=1)
    value = outer.gives(value=outer.op("sum", gradient, over=(0,), keepdims=False))
    made = Made(w=tensor(3), a=tensor(3), x=tensor(3))
    both = made.block("grad", value, made["w"], made["a"], made["x"], types=(tensor(3), tensor(3)), wrt=2)
    graph = made.gives(w=both, a=Value(both.node, 1))
    own, w0, a0 = np.full(3, 10.0), np.array([0.5, -1.0, 2.0]), np.array([1.0, 3.0, -2.0])
    found = Interpreter({"scale.weight": own}).run(graph, {"w": w0, "a": a0, "x": X})
    np.testing.assert_allclose(found["w"], 2 * a0 * w0, rtol=1e-9)
    np.testing.assert_allclose(found["a"], w0**2, rtol=1e-9)


def test_a_gradient_inside_a_layer_whose_parameters_are_replaced() -> None:
    """The layer itself differentiates: it gives d/dx sum(w ** 2 * x ** 2) / 2 = w ** 2 * x, and its parameter is replaced from outside."""
    loss = Made("block", x=tensor(3))
    product = loss.op("mul", loss.read("weight", tensor(3)), loss["x"])
    half = loss.op("mul", loss.op("mul", product, product), loss.scalar(0.5, DType.F32))
    inside = loss.gives(value=loss.op("sum", half, over=(0,), keepdims=False))
    layer = Made("module", x=tensor(3))
    layer.param("weight", tensor(3))
    module = layer.gives(y=layer.block("grad", inside, layer["x"], types=(tensor(3),), wrt=1))
    outer = Made("block", w=tensor(3), x=tensor(3))
    target = Call(module, "force", {})
    applied = outer.graph.add("call", (outer["x"], outer["w"]), {"given": ("weight",)}, (tensor(3),), target=target)
    value = outer.gives(value=outer.op("sum", Value(applied.id), over=(0,), keepdims=False))
    made = Made(w=tensor(3), x=tensor(3))
    graph = made.gives(w=made.block("grad", value, made["w"], made["x"], types=(tensor(3),), wrt=1))
    w0 = np.array([0.5, -1.0, 2.0])
    found = Interpreter({"force.weight": np.ones(3)}).run(graph, {"w": w0, "x": X})
    np.testing.assert_allclose(found["w"], 2 * w0 * X, rtol=1e-9)


def test_the_same_value_twice_is_two_variables() -> None:
    """d/da sum(a * b) at a = b = x is x, not 2 x."""
    inner = Made("block", a=tensor(3), b=tensor(3))
    inside = inner.gives(value=inner.op("sum", inner.op("mul", inner["a"], inner["b"]), over=(0,), keepdims=False))
    made = Made(x=tensor(3))
    graph = made.gives(g=made.block("grad", inside, made["x"], made["x"], types=(tensor(3),), wrt=1))
    np.testing.assert_array_equal(Interpreter({}).run(graph, {"x": X})["g"], X)


def test_a_gradient_that_a_spec_gives_need_not_be_that_of_a_function() -> None:
    """Its `backward` swaps the elements of x in: (g, x) -> g * (x1, x2, x0), whose Jacobian is not symmetric."""
    forward = Made("fn", x=tensor(3))
    function = forward.gives(y=forward.op("exp", forward["x"]))
    back = Made("fn", g=tensor(3), x=tensor(3))
    function.backward = back.gives(x=back.op("mul", back["g"], back.op("roll", back["x"], shift=(-1,), over=(0,))))

    def f(made: Made) -> Value:
        called = Value(made.graph.add("call", (made["x"],), {}, (tensor(3),), target=Call(function, None, {})).id)
        return made.op("sum", made.op("mul", called, made.op("stop_gradient", made["x"])), over=(0,), keepdims=False)

    np.testing.assert_allclose(order(f, 1), X * np.roll(X, -1), rtol=1e-9)
    np.testing.assert_allclose(order(f, 2), np.roll(X, 1), rtol=1e-9)


def test_a_constant_has_no_gradient() -> None:
    inner = Made("block", x=SCALAR)
    inside = inner.gives(value=inner.scalar(2.0, DType.F32))
    made = Made(x=SCALAR)
    graph = made.gives(g=made.block("grad", inside, made["x"], types=(SCALAR,), wrt=1))
    assert Interpreter({}).run(graph, {"x": np.asarray(1.0)})["g"] == 0.0
