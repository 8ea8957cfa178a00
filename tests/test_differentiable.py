"""What stands in the way of a gradient is found, and named; what does not is let through."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dsl.differentiable import obstacles
from dsl.ir import Call, Graph, Value
from dsl.types import DType
from tests.hand_made import SCALAR, Made, scan_attributes, tensor


def found(graph: Graph, *paths: str) -> list[str]:
    return [n.op for n in obstacles(graph, graph.outputs["loss"], set(paths), set())]


def loss_of(f: Callable[[Made, Value], Value]) -> Graph:
    """The sum of f(w), with w a parameter."""
    made = Made(x=tensor(3))
    y = f(made, made.param("w", tensor(3)))
    return made.gives(loss=made.op("sum", y, over=(0,), keepdims=False))


def scanned(made: Made, w: Value, inside: Callable[[Made], Value]) -> Value:
    step = Made("block", h=tensor(3), x=tensor(3), w=tensor(3))
    graph = step.gives(h=inside(step))
    return made.block("scan", graph, made["x"], made["x"], w, types=(tensor(3),), **scan_attributes(emit_axes=(), count=3))


def repeated_while(made: Made, start: Value, captured: Value) -> Value:
    step = Made("block", h=tensor(3), c=tensor(3))
    inside = step.gives(going=step.scalar(True, DType.BOOL), h=step.op("mul", step["h"], step["c"]))
    going = made.scalar(True, DType.BOOL)
    return made.block("while", inside, going, start, captured, types=(tensor(3),), carries=1, limit=4)


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda g, w: g.op("bernoulli", g.op("sigmoid", w)), ["bernoulli"]),
        (lambda g, w: g.op("bernoulli", g.op("stop_gradient", g.op("sigmoid", w))), []),
        (lambda g, w: g.op("stop_gradient", g.op("bernoulli", g.op("sigmoid", w))), []),
        (lambda g, w: g.op("mul", w, g.op("bernoulli", g["x"])), []),
        (lambda g, w: g.op("one_hot", g.op("categorical", w), classes=3), ["categorical"]),
        (lambda g, w: g.op("take", w, g.op("reshape", g.op("categorical", w), shape=(1,)), over=0), []),
        (lambda g, w: g.op("bernoulli", g.op("sigmoid", g.op("bernoulli", g.op("sigmoid", w)))), ["bernoulli"]),
        (lambda g, w: repeated_while(g, g["x"], w), ["while"]),
        (lambda g, w: g.op("mul", w, repeated_while(g, g["x"], g["x"])), []),
        (lambda g, w: g.op("mul", w, g.op("stop_gradient", repeated_while(g, w, w))), []),
        (lambda g, w: scanned(g, w, lambda s: repeated_while(s, s["h"], s["x"])), []),
        (lambda g, w: scanned(g, w, lambda s: s.op("add", s["w"], repeated_while(s, s["h"], s["x"]))), ["while"]),
        (lambda g, w: scanned(g, w, lambda s: s.op("bernoulli", s["w"])), ["bernoulli"]),
        (lambda g, w: scanned(g, w, lambda s: s.op("mul", s["w"], s.op("bernoulli", s["h"]))), ["bernoulli"]),
        (lambda g, w: scanned(g, w, lambda s: s.op("mul", s["w"], s.op("bernoulli", s["x"]))), []),
    ],
    ids=[
        "draw", "stopped before", "stopped after", "of an input", "one_hot", "index", "two draws, the first is to blame", "while",
        "while of an input", "stopped while", "while beside the way", "while of a carry", "in a scan", "in a scan, of a carry",
        "in a scan, of an input",
    ],
)  # fmt: skip
def test_obstacles(f: Callable[[Made, Value], Value], expected: list[str]) -> None:
    assert found(loss_of(f), "w") == expected


def test_a_parameter_that_is_not_asked_for_is_no_matter() -> None:
    assert found(loss_of(lambda g, w: g.op("bernoulli", w)), "other") == []


def layer_that_draws() -> Graph:
    layer = Made("module", x=tensor(3))
    drawn = layer.op("bernoulli", layer.op("mul", layer["x"], layer.param("w", tensor(3))))
    return layer.gives(y=drawn)


@pytest.mark.parametrize(("path", "expected"), [("inner.w", ["bernoulli"]), ("other.w", [])])
def test_draws_inside_layers_are_found_by_the_parameters_below(path: str, expected: list[str]) -> None:
    made = Made(x=tensor(3))
    call = made.graph.add("call", (made["x"],), {}, (tensor(3),), target=Call(layer_that_draws(), "inner", {}))
    graph = made.gives(loss=made.op("sum", Value(call.id), over=(0,), keepdims=False))
    assert found(graph, path) == expected


@pytest.mark.parametrize("path", ["blocks.0.w", "blocks.2.w"])
def test_copies_of_a_repeat_pass_on_what_moves(path: str) -> None:
    made = Made(x=tensor(3))
    call = made.graph.add("repeat", (made["x"],), {}, (tensor(3),), target=Call(layer_that_draws(), "blocks", {}, count=3))
    graph = made.gives(loss=made.op("sum", Value(call.id), over=(0,), keepdims=False))
    assert found(graph, path) == ["bernoulli"]


def test_values_given_in_place_of_parameters_move_the_layer() -> None:
    made = Made(x=tensor(3))
    w = made.param("w", tensor(3))
    call = made.graph.add("call", (made["x"], w), {"given": ("w",)}, (tensor(3),), target=Call(layer_that_draws(), "inner", {}))
    graph = made.gives(loss=made.op("sum", Value(call.id), over=(0,), keepdims=False))
    assert found(graph, "w") == ["bernoulli"]
    assert found(graph, "inner.w") == []


def test_a_function_with_a_gradient_of_its_own_hides_its_draw() -> None:
    forward = Made("fn", x=tensor(3))
    estimator = forward.gives(y=forward.op("bernoulli", forward["x"]))
    back = Made("fn", g=tensor(3), x=tensor(3))
    estimator.backward = back.gives(x=back["g"])

    def f(made: Made, w: Value) -> Value:
        return Value(made.graph.add("call", (w,), {}, (tensor(3),), target=Call(estimator, None, {})).id)

    assert found(loss_of(f), "w") == []


def test_values_may_be_asked_for_as_well() -> None:
    made = Made(x=SCALAR)
    squared = made.op("mul", made["x"], made["x"])
    graph = made.gives(loss=made.op("bernoulli", squared))
    assert [n.op for n in obstacles(graph, graph.outputs["loss"], set(), {squared})] == ["bernoulli"]
    assert [n.op for n in obstacles(graph, graph.outputs["loss"], set(), {made["x"]})] == ["bernoulli"]
