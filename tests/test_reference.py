"""The reference on graphs with blocks: each case is checked against plain NumPy, or a derivative known by its formula."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from backends.reference import Interpreter
from dsl.diagnostics import SpecError
from dsl.ir import Call, Graph, Value
from dsl.types import DType
from tests.hand_made import SCALAR, Made, T, running_sum, scan_attributes, tensor


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_carries_and_stacks(steps: int, reverse: bool) -> None:
    x = np.random.default_rng(0).standard_normal((steps, 3))
    found = Interpreter({}).run(running_sum(reverse=reverse), {"x": x, "start": np.ones(3)})
    sums = 1 + (np.cumsum(x[::-1], axis=0)[::-1] if reverse else np.cumsum(x, axis=0))
    np.testing.assert_allclose(found["sums"], sums)
    np.testing.assert_allclose(found["last"], sums[0 if reverse else -1])


def test_the_counter_of_a_reversed_scan_counts_down() -> None:
    step = Made("block", t=tensor(dtype=DType.I64), total=tensor(dtype=DType.I64))
    inside = step.gives(total=step.op("add", step["total"], step["t"]), t=step["t"])
    made = Made(x=tensor(T), start=tensor(dtype=DType.I64))
    types = (tensor(dtype=DType.I64), tensor(T, dtype=DType.I64))
    scan = made.block("scan", inside, made["start"], types=types, **scan_attributes(axes=(), counter=True, reverse=True))
    found = Interpreter({}).run(made.gives(last=scan, steps=Value(scan.node, 1)), {"x": np.ones(4), "start": np.asarray(5)})
    assert found["last"] == 11
    np.testing.assert_array_equal(found["steps"], [0, 1, 2, 3])


def test_a_scan_of_no_step_gives_its_beginning_and_empty_stacks() -> None:
    found = Interpreter({}).run(running_sum(count=0), {"x": np.zeros((2, 3)), "start": np.ones(3)})
    np.testing.assert_array_equal(found["last"], np.ones(3))


@pytest.mark.parametrize(("limit", "expected"), [(10, 8.0), (2, 4.0), (0, 1.0)])
def test_a_while_ends_with_its_condition_or_its_limit(limit: int, expected: float) -> None:
    step = Made("block", x=SCALAR, most=SCALAR)
    doubled = step.op("add", step["x"], step["x"])
    inside = step.gives(going=step.op("lt", doubled, step["most"]), x=doubled)
    made = Made(x=SCALAR, most=SCALAR)
    going = made.op("lt", made["x"], made["most"])
    last = made.block("while", inside, going, made["x"], made["most"], types=(SCALAR,), carries=1, limit=limit)
    found = Interpreter({}).run(made.gives(last=last), {"x": np.asarray(1.0), "most": np.asarray(7.0)})
    assert found["last"] == expected


def differentiated(f: Callable[[Made], Value], order: int = 1) -> Graph:
    """The gradient of the sum of f(x) by x, of a given order."""
    inside = Made("block" if order > 0 else "model", x=tensor(3))
    value = inside.op("sum", f(inside), over=(0,), keepdims=False)
    graph = inside.gives(value=value)
    for level in reversed(range(order)):
        made = Made("block" if level else "model", x=tensor(3))
        gradient = made.block("grad", graph, made["x"], types=(tensor(3),), wrt=1)
        result = made.op("sum", gradient, over=(0,), keepdims=False) if level else gradient
        graph = made.gives(value=result)
    return graph


X = np.array([-0.7, 0.0, 1.3])


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda g: g.op("exp", g["x"]), np.exp(X)),
        (lambda g: g.op("mul", g["x"], g.op("stop_gradient", g["x"])), X),
        (lambda g: g.op("add", g.op("round", g["x"]), g.op("sub", g["x"], g.op("stop_gradient", g["x"]))), np.ones(3)),
        (lambda g: g.op("relu", g["x"]), np.array([0.0, 0.0, 1.0])),
        (lambda g: g.op("abs", g["x"]), np.array([-1.0, 0.0, 1.0])),
        (lambda g: g.op("maximum", g["x"], g.scalar(0.0, DType.F32)), np.array([0.0, 0.5, 1.0])),
        (lambda g: g.op("clip", g["x"], low=-0.5, high=1.0), np.array([0.0, 1.0, 0.0])),
        (lambda g: g.op("dropout", g["x"], rate=0.5), None),
        (lambda g: g.op("mul", g["x"], g.op("randn", shape=(3,))), None),
    ],
    ids=["exp", "stop_gradient", "straight_through", "relu", "abs", "maximum", "clip", "dropout", "randn"],
)
def test_gradients(f: Callable[[Made], Value], expected: np.ndarray | None) -> None:
    found = Interpreter({}, training=True).run(differentiated(f), {"x": X})["value"]
    if expected is None:
        plain = Made(x=tensor(3))
        y = f(plain)
        wanted = Interpreter({}, training=True).run(plain.gives(y=y), {"x": np.ones(3)})["y"]
        np.testing.assert_allclose(found, wanted, rtol=1e-9)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2])
def test_gradients_of_gradients(order: int) -> None:
    found = Interpreter({}).run(differentiated(lambda g: g.op("sin", g["x"]), order), {"x": X})["value"]
    expected = [np.cos(X), -np.sin(X)][order - 1]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=10.0 ** (3 * order - 15))


def test_what_is_stopped_is_stopped_for_outer_gradients_too() -> None:
    """d/dx sum(d/dx (stop(x) * x ** 2)) with x stopped at both levels is 2 stop(x)."""
    found = Interpreter({}).run(
        differentiated(lambda g: g.op("mul", g.op("stop_gradient", g["x"]), g.op("mul", g["x"], g["x"])), 2), {"x": X}
    )
    np.testing.assert_allclose(found["value"], 2 * X, atol=1e-8)


def reversal(factor: float, *, linear: bool = True) -> Graph:
    """x -> exp(x), whose gradient is given as `factor` times the gradient that comes, or its sign."""
    forward = Made("fn", x=tensor(3))
    graph = forward.gives(y=forward.op("exp", forward["x"]))
    back = Made("fn", g=tensor(3), x=tensor(3))
    scaled = back.op("mul", back["g"], back.scalar(factor, DType.F32)) if linear else back.op("sign", back["g"])
    graph.backward = back.gives(x=scaled)
    return graph


def test_a_function_has_the_gradient_that_it_brings_along() -> None:
    graph = reversal(-3.0)

    def f(made: Made) -> Value:
        called = Value(made.graph.add("call", (made["x"],), {}, (tensor(3),), target=Call(graph, None, {})).id)
        return made.op("mul", called, called)

    np.testing.assert_allclose(Interpreter({}).run(differentiated(f), {"x": X})["value"], -6.0 * np.exp(X), rtol=1e-9)


def test_a_backward_that_is_not_linear_is_refused_where_differences_are_taken() -> None:
    made = Made(x=tensor(3))
    called = made.graph.add("call", (made["x"],), {}, (tensor(3),), target=Call(reversal(1.0, linear=False), None, {}))
    graph = made.gives(y=Value(called.id))
    interpreter = Interpreter({})
    with pytest.raises(SpecError, match="not linear"):
        interpreter.derivative(lambda t: interpreter.run(graph, {"x": X + t})["y"])


def test_a_layer_is_applied_with_other_values_in_place_of_its_parameters() -> None:
    layer = Made("module", x=tensor(3))
    graph = layer.gives(y=layer.op("mul", layer["x"], layer.param("weight", tensor(3))))
    made = Made(x=tensor(3), w=tensor(3))
    attributes = {"given": ("weight",)}
    once = made.graph.add("call", (made["x"], made["w"]), attributes, (tensor(3),), target=Call(graph, "scale", {}))
    again = made.graph.add("call", (Value(once.id),), {}, (tensor(3),), target=Call(graph, "scale", {}))
    made.graph.children["scale"] = None
    interpreter = Interpreter({"scale.weight": np.full(3, 10.0)})
    found = interpreter.run(made.gives(y=Value(again.id)), {"x": np.ones(3), "w": np.full(3, 2.0)})
    np.testing.assert_array_equal(found["y"], np.full(3, 20.0))
    assert interpreter.state.keys() == {"scale.weight"}


def test_a_scan_is_differentiated_through_its_parameters_and_captured_values() -> None:
    """h <- h * w, T times: the gradient of h by w is T h w ** (T - 1)."""
    step = Made("block", h=tensor(3), x=tensor(3), w=tensor(3))
    inside = step.gives(h=step.op("mul", step["h"], step["w"]))
    loss = Made("block", w=tensor(3), x=tensor(T, 3), h=tensor(3))
    scan = loss.block("scan", inside, loss["h"], loss["x"], loss["w"], types=(tensor(3),), **scan_attributes(emit_axes=()))
    scalar = loss.gives(loss=loss.op("sum", scan, over=(0,), keepdims=False))
    made = Made(w=tensor(3), x=tensor(T, 3), h=tensor(3))
    gradient = made.block("grad", scalar, made["w"], made["x"], made["h"], types=(tensor(3),), wrt=1)
    w = np.array([0.5, -1.5, 2.0])
    found = Interpreter({}).run(made.gives(g=gradient), {"w": w, "x": np.zeros((4, 3)), "h": np.ones(3)})["g"]
    np.testing.assert_allclose(found, 4 * w**3, rtol=1e-9)
