"""ONNX: scans, whiles, recurrent layers, layers with other parameters and draws, against the reference at lengths of all kinds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
import pytest

from backends.base import EmitOptions
from backends.onnx import BACKEND
from backends.reference import Interpreter
from dsl.compiler import compile_graph, compile_spec, run_program
from dsl.diagnostics import SpecError
from dsl.dims import evaluate
from dsl.ir import Graph, Program
from dsl.lower import lower
from dsl.source import Source
from dsl.types import DType

Sizes = Mapping[str, int]
FORMS = [(17, False), (20, True), (26, False), (26, True)]


def model(text: str) -> Program:
    return compile_graph(Source("model.dl", text))


def values(program: Program) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {name: [int(str(d)) for d in p.type.shape] for name, p in program.parameters().items()}
    found = {name: (rng.standard_normal(shape) / 2).astype(np.float32) for name, shape in shapes.items()}
    return {name: np.abs(value) + 0.5 if name.endswith("running_var") else value for name, value in found.items()}


def feed(graph: Graph, sizes: Sizes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    found: dict[str, np.ndarray] = {}
    for name, value in graph.inputs.items():
        t = graph.type(value)
        shape = [evaluate(d, sizes) for d in t.shape]
        found[name] = rng.integers(0, 4, shape) if t.dtype.is_int else rng.standard_normal(shape).astype(np.float32)
    return found


def checked(content: bytes) -> onnx.ModelProto:
    """The model, after the checker and strict shape inference have read it."""
    read = onnx.load_from_string(content)
    onnx.checker.check_model(read, full_check=True)
    onnx.shape_inference.infer_shapes(read, strict_mode=True, data_prop=True)
    return read


def agrees(text: str, *points: Sizes, forms: list[tuple[int, bool]] = FORMS, tolerance: float = 1e-5) -> onnx.ModelProto:
    """The model as compiled computes what the reference does at each of the sizes; the last form of it."""
    program = model(text)
    weights = values(program)
    for opset, inline in forms:
        made = lower(program, BACKEND, EmitOptions(opset=opset, inline=inline), weights=weights)
        read = checked(made.artifact.content)
        assert made.weights is not None
        session = BACKEND.load(made.artifact, made.program, made.weights)
        for sizes in points:
            inputs = feed(program.main, sizes)
            found, wanted = session.run(inputs).outputs, Interpreter(weights).run(program.main, inputs)
            assert list(found) == list(wanted)
            for name, want in wanted.items():
                assert found[name].shape == want.shape
                np.testing.assert_allclose(found[name], want, rtol=tolerance, atol=tolerance)
    return read


def operators(graph: onnx.GraphProto) -> list[str]:
    """The operators of a graph and of the bodies in it."""
    found = []
    for node in graph.node:
        found.append(node.op_type)
        found += [op for a in node.attribute if a.HasField("g") for op in operators(a.g)]
    return found


# --- scan -------------------------------------------------------------------------------------------------------------------------

RECURRENT = """
model M()(x: float[B, T, 3]) -> (hs: float[B, T, 4], h: float[B, 4]) {
  layer net = Linear(4)
  scan x_t in x over T %s carry h = zeros(B, 4) {
    h = tanh(net(concat(x_t, h, over=-1)))
    emit hs = h
  }
  return hs, h
}
"""


@pytest.mark.parametrize("option", ["", "reverse=true"])
def test_a_scan_runs_at_any_length(option: str) -> None:
    read = agrees(RECURRENT % option, *({"B": 2, "T": t} for t in (1, 3, 50)))
    assert operators(read.graph).count("Scan") == 1


def test_what_does_not_change_from_step_to_step_is_computed_once() -> None:
    text = """
    model M()(x: float[T, B], k: float[B]) -> float[T, B] {
      scan x_t in x over T carry h = zeros(B) {
        h = 0.5 * h + x_t * exp(sin(k))
        emit y = h
      }
      return y
    }"""
    read = agrees(text, {"B": 2, "T": 5})
    outside = [node.op_type for node in read.graph.node]
    assert {"Exp", "Sin"} <= set(outside) and operators(read.graph).count("Exp") == 1


def test_a_scan_counts() -> None:
    text = """
    model M()(x: float[B]) -> (y: float[5, B], z: float[B]) {
      scan i in range(5) carry h = x {
        h = h * 0.5 + cast(i, float)
        emit y = h
      }
      return y, h
    }"""
    agrees(text, {"B": 3})


def test_a_scan_over_what_may_be_nothing_is_a_loop() -> None:
    """onnxruntime's Scan divides by the number of steps."""
    text = """
    model M()(x: float[B, T, 3]) -> (hs: float[B, T - 1, 3], h: float[B, 3]) {
      scan x_t in x[:, 1:] over 1 %s carry h = x[:, 0] {
        h = 0.5 * h + x_t
        emit hs = h
      }
      return hs, h
    }"""
    for option in ("", "reverse=true"):
        read = agrees(text % option, {"B": 2, "T": 1}, {"B": 2, "T": 2}, {"B": 3, "T": 9})
        assert "Loop" in operators(read.graph) and "Scan" not in operators(read.graph)


def test_what_a_loop_emits_is_reshaped() -> None:
    text = """
    model M()(x: float[T, B, 3]) -> float[B * (T - 1), 3] {
      scan x_t in x[1:] over T carry h = x[0] {
        h = 0.5 * h + x_t
        emit hs = h
      }
      return reshape(hs, [B * (T - 1), 3])
    }"""
    agrees(text, {"B": 2, "T": 3}, forms=[(20, True)])


def test_an_empty_input_is_refused_where_onnxruntime_would_end_the_process() -> None:
    with pytest.raises(SpecError, match=r"DL0714.*`x` is empty"):
        run_program(model(RECURRENT % ""), {"x": np.zeros((2, 0, 3), np.float32)}, target="onnx")


def test_scans_nest() -> None:
    text = """
    model M()(x: float[B, T, U]) -> (y: float[B, T, U], total: float[B]) {
      scan row in x over T carry h = zeros(B) {
        scan e in row over U reverse=true carry g = h {
          g = tanh(g + e)
          emit ys = g
        }
        h = h + g
        emit y = ys
      }
      return y, h
    }"""
    agrees(text, {"B": 2, "T": 3, "U": 4}, {"B": 1, "T": 7, "U": 1})


def test_a_scan_in_a_repeat_and_a_repeat_in_a_scan() -> None:
    inside = """
    module Layer()(x: float[B, T, D]) -> float[B, T, D] {
      layer net = Linear(D)
      scan x_t in x over T carry h = zeros(B, D) {
        h = tanh(net(x_t + h))
        emit hs = h
      }
      return hs
    }
    model M()(x: float[B, T, 3]) -> float[B, T, 3] { return x -> layers: repeat(3) { Layer() } }
    """
    read = agrees(inside, {"B": 2, "T": 3}, {"B": 1, "T": 11})
    assert operators(read.graph).count("Scan") == 3
    around = """
    model M()(x: float[B, T, 3]) -> float[B, 3] {
      layer deep = Deep()
      scan x_t in x over T carry h = zeros(B, 3) { h = deep(x_t + h) }
      return h
    }
    module Deep()(x: float[B, D]) -> float[B, D] { return x -> blocks: repeat(2) { Linear(D) -> tanh } }
    """
    agrees(around, {"B": 2, "T": 3}, {"B": 1, "T": 11})


def test_functions_with_loops_are_called_in_loops() -> None:
    """The same modules at several lengths, so what a function's loop declares holds for all of its calls."""
    text = """
    module Inner()(x: float[B, T, D]) -> float[B, D] {
      layer net = Linear(D)
      scan x_t in x over T carry h = zeros(B, D) { h = tanh(net(x_t + h)) + mean(x, over=1) }
      return h
    }
    module Outer()(x: float[B, T, D]) -> float[B, D] {
      layer a = Inner()
      y = a(x)
      _, h, _ = x * reshape(y, [B, 1, D]) -> LSTM(D)
      while sum(h) < 1.0 carry h = h limit 3 { h = h + a(x) }
      return h
    }
    model M()(x: float[B, U, T, 3]) -> (y: float[B, U, 3], h: float[B, 3], long: float[B, 3]) {
      layer net = Outer()
      scan row in x over U carry h = zeros(B, 3) {
        h = h + net(row)
        emit y = h
      }
      long = net(concat(x[:, 0], x[:, 0], over=1))
      return y, h, long
    }"""
    agrees(text, {"B": 2, "U": 2, "T": 3}, {"B": 1, "U": 1, "T": 1}, {"B": 3, "U": 5, "T": 7})


def test_past_its_length_a_sequence_does_not_change() -> None:
    text = """
    model M()(x: float[B, T, 3], n: int[B]) -> (hs: float[B, T, 3], h: float[B, 3]) {
      scan x_t in x over T length=n carry h = zeros(B, 3) {
        h = 0.5 * h + x_t
        emit hs = h
      }
      return hs, h
    }"""
    agrees(text, {"B": 4, "T": 5}, {"B": 1, "T": 3})


# --- recurrent layers --------------------------------------------------------------------------------------------------------------

RESULTS = {"LSTM": ("hs", "h", "c"), "GRU": ("hs", "h"), "RNN": ("hs", "h")}


def recurrent(layer: str, given: str = "", inputs: str = "") -> str:
    names = RESULTS[layer.partition("(")[0]]
    types = ", ".join(f"{name}: float[B, T, 4]" if name == "hs" else f"{name}: float[B, 4]" for name in names)
    results = ", ".join(names)
    return f"""
    model M()(x: float[B, T, 3]{inputs}) -> ({types}) {{
      layer net = {layer}
      {results} = net(x{given})
      return {results}
    }}"""


@pytest.mark.parametrize("option", ["", ", biases=1", ", biases=0", ", reverse=true"])
@pytest.mark.parametrize("name", RESULTS)
def test_a_recurrent_layer_of_the_library_is_one_operator(name: str, option: str) -> None:
    read = agrees(recurrent(f"{name}(4{option})"), *({"B": 2, "T": t} for t in (1, 3, 40)), forms=[(17, False), (26, True)])
    assert name in operators(read.graph) and "Scan" not in operators(read.graph)


@pytest.mark.parametrize("name", RESULTS)
def test_a_recurrent_layer_goes_on_from_given_states(name: str) -> None:
    states = ("h0", "c0") if name == "LSTM" else ("h0",)
    inputs = "".join(f", {state}: float[B, 4]" for state in states)
    given = "".join(f", {state}={state}" for state in states)
    assert name in operators(agrees(recurrent(f"{name}(4)", given, inputs), {"B": 2, "T": 5}).graph)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", RESULTS)
def test_a_stack_is_one_operator_a_layer(name: str, bidirectional: bool) -> None:
    states, both = RESULTS[name][1:], 2 if bidirectional else 1
    types = ", ".join(f"{s}: float[{2 * both}, B, 4]" for s in states)
    text = f"""
    model M()(x: float[B, T, 3], {types.replace(":", "0:")}) -> (hs: float[B, T, {4 * both}], {types}) {{
      layer net = Stacked{name}(4, 2, bidirectional={str(bidirectional).lower()}, rate=0.5)
      hs, {", ".join(states)} = net(x, {", ".join(f"{s}0={s}0" for s in states)})
      return hs, {", ".join(states)}
    }}"""
    read = agrees(text, {"B": 2, "T": 4}, {"B": 1, "T": 1}, forms=[(17, False), (26, False), (20, True)])
    assert operators(read.graph).count(name) == 2 and "Scan" not in operators(read.graph)
    longest = ["Split"] * len(states) + ["Transpose", name, "Transpose", "Reshape", name, "Transpose", "Reshape", "Transpose"]
    assert len(read.graph.node) <= len(longest) + len(states)


def test_a_stack_splits_the_states_that_it_is_given() -> None:
    text = """
    model M()(x: float[B, T, 3], h0: float[1, B, 4]) -> (a: float[B, T, 4], b: float[B, T, 4]) {
      layer two = StackedGRU(4, 2)
      layer one = StackedGRU(4, 1)
      a, _ = two(x)
      b, _ = one(x, h0=h0)
      return a, b
    }"""
    found = operators(agrees(text, {"B": 2, "T": 3}, forms=[(20, True)]).graph)
    assert found.count("GRU") == 3 and "Split" not in found


@pytest.mark.parametrize("option", ["", ", reverse=true"])
@pytest.mark.parametrize("name", RESULTS)
def test_with_lengths_a_recurrent_layer_is_its_scan(name: str, option: str) -> None:
    """A length may be 0 or above the number of steps, which the operators of onnxruntime refuse."""
    text = recurrent(f"{name}(4{option})", ", length=n", ", n: int[B]")
    assert "Scan" in operators(agrees(text, {"B": 5, "T": 3}, {"B": 9, "T": 2}, forms=[(20, True)]).graph)


def test_an_activation_that_onnx_does_not_have_keeps_the_scan() -> None:
    assert "RNN" in operators(agrees(recurrent("RNN(4, act=relu)"), {"B": 2, "T": 3}, forms=[(20, True)]).graph)
    assert "Scan" in operators(agrees(recurrent("RNN(4, act=softplus)"), {"B": 2, "T": 3}, forms=[(20, True)]).graph)


def test_in_double_precision_a_recurrent_layer_keeps_the_scan() -> None:
    program = compile_graph(Source("model.dl", recurrent("LSTM(4)")), float_type=DType.F64)
    made = lower(program, BACKEND, EmitOptions(inline=True), weights=values(program))
    assert "Scan" in operators(checked(made.artifact.content).graph)


def test_a_language_model_of_two_lstms_has_nine_nodes() -> None:
    text = """
    model CharLSTM(hidden: int = 8)(tokens: int[B, T]) -> float[B, T, 5] {
      layer first = LSTM(hidden)
      layer second = LSTM(hidden)
      x, _, _ = tokens -> Embedding(5, 6) -> first
      x, _, _ = second(x)
      return x -> Linear(5)
    }"""
    read = agrees(text, {"B": 2, "T": 4}, {"B": 1, "T": 9})
    assert operators(read.graph) == ["Gather", "Transpose", "LSTM", "Squeeze", "LSTM", "Squeeze", "Transpose", "MatMul", "Add"]


def test_a_recurrent_layer_whose_parameters_are_computed_keeps_the_scan() -> None:
    text = """
    model M()(x: float[B, T, 3]) -> float[B, T, 3] {
      layer net = LSTM(3)
      y, _, _ = net(x)
      layer slow = net with 0.5 * net.params
      z, _, _ = slow(y)
      return z
    }"""
    assert Counter(operators(agrees(text, {"B": 2, "T": 3}).graph)) >= Counter(["LSTM", "Scan"])


# --- while ------------------------------------------------------------------------------------------------------------------------


def test_a_while_stops_by_its_condition_or_its_limit() -> None:
    text = """
    model M()(x: float[B, 2]) -> (y: float[B, 2], n: int[]) {
      while sum(abs(y)) < 20.0 carry y = x, n = 0 limit 6 {
        y = 1.5 * y
        n = n + 1
      }
      return y, n
    }"""
    read = agrees(text, {"B": 1}, {"B": 3}, {"B": 50})
    assert "Loop" in operators(read.graph)


# --- layers with other parameters --------------------------------------------------------------------------------------------------


def test_a_layer_with_other_parameters() -> None:
    text = """
    model M()(x: float[B, 3]) -> float[B, 3] {
      layer net = MLP([4], out=3)
      y = net(x)
      layer fast = net with 0.5 * net.params
      return fast(y) + net(y)
    }"""
    agrees(text, {"B": 2})


def test_a_layer_with_parameters_that_change_from_step_to_step() -> None:
    text = """
    model M()(x: float[B, T, 4]) -> float[B, T, 4] {
      layer net = Outer()
      first = net(x[:, 0])
      scan x_t in x over T carry h = first, t = 0.5 {
        layer bent = net with t * net.params
        h = bent(x_t + h)
        t = 0.9 * t
        emit y = h
      }
      return y
    }
    module Outer()(x: float[B, D]) -> float[B, D] { return x -> LayerNorm -> inner: Linear(D) -> tanh -> Linear(D) }
    """
    agrees(text, {"B": 2, "T": 3})


NORMED = """
module Net()(x: float[B, 3, H, H]) -> float[B, 3, H, H] { return x -> conv: Conv2d(3, 3, padding=1) -> bn: BatchNorm2d -> relu }
model M()(x: float[B, 3, H, H]) -> float[B, 3, H, H] {
  layer net = Net()
  y = net(x)
  %s
}
"""
FOLDS = {
    "return net(y)": True,
    "layer fast = net with 0.5 * net.params return fast(y)": False,
    "return y * sum(net.conv.weight)": False,
}


@pytest.mark.parametrize("rest", FOLDS)
def test_batch_norm_is_folded_where_nothing_else_sees_the_weights(rest: str) -> None:
    read = agrees(NORMED % rest.replace("params return", "params\n  return"), {"B": 2, "H": 5})
    assert ("BatchNormalization" not in operators(read.graph)) == FOLDS[rest]


def test_a_gradient_is_refused() -> None:
    text = """
    model M()(x: float[B, 3]) -> float[B, 3] {
      return grad(sum(x ** 3), x)
    }"""
    with pytest.raises(SpecError, match=r"DL0705.*not differentiated"):
        lower(model(text), BACKEND, EmitOptions(), weights={})


# --- draws ------------------------------------------------------------------------------------------------------------------------


def seeds(graph: onnx.GraphProto) -> list[float]:
    found = []
    for node in graph.node:
        found += [a.f for a in node.attribute if a.name == "seed"]
        found += [s for a in node.attribute if a.HasField("g") for s in seeds(a.g)]
    return found


NOISE = """
model M()(x: float[T, B]) -> (y: float[T, B], z: float[B]) {
  scan x_t in x over T {
    emit y = x_t + randn(B)
  }
  return y, x[0] + randn(B)
}
"""


def test_each_step_draws_afresh() -> None:
    made = compile_spec(Source("model.dl", NOISE), "onnx")
    assert made.weights is not None
    session = BACKEND.load(made.artifact, made.program, made.weights)
    y = session.run({"x": np.zeros((50, 40), np.float32)}).outputs["y"]
    assert len(np.unique(y)) == y.size and abs(y.std() - 1) < 0.1


def test_random_nodes_have_a_seed_each_made_from_that_of_the_compilation() -> None:
    found = [
        seeds(onnx.load_from_string(compile_spec(Source("model.dl", NOISE), "onnx", seed=seed).artifact.content).graph)
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] and len({*found[0], *found[2]}) == 4
