"""Loops, gradients as values and random streams in PyTorch: the numbers are the reference's, the text is what a person would write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dsl.dims import evaluate
from dsl.ir import Program
from tests.op_cases import floats, ints
from tests.test_torch import assert_clean, compare, compiled, model_of, text_of

LSTM = """
module Memory(hidden: int)(x: float[B, T, D]) -> (hs: float[B, T, hidden], h: float[B, hidden], c: float[B, hidden]) {
  layer gates = Linear(4 * hidden)
  scan x_t in x over T carry h = zeros(B, hidden), c = zeros(B, hidden) {
    i, f, g, o = gates(concat(x_t, h, over=-1)) -> split(4, over=-1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    emit hs = h
  }
  return hs, h, c
}
model Net()(x: float[B, T, 3]) {
  hs, h, c = Memory(4)(x)
  ys, h2, c2 = Memory(5)(hs)
  return ys, h, c2
}
"""

SWAP = """
model Net()(x: float[B, T, 3], a: float[B, 3], b: float[B, 3]) {
  scan x_t in x over T carry a = a, b = b {
    a, b = b, a * 0.5 + x_t
  }
  return a, b
}
"""

REVERSED = """
model Net()(x: float[B, T, 3], n: int[B]) {
  scan x_t in x over T reverse=true length=n carry h = zeros(B, 3), m = ones(B, 3) {
    h, m = tanh(h) + x_t * m, h
    emit out = h + m
  }
  return out, h, m
}
"""

NESTED = """
model Net()(x: float[B, T, 3], y: float[T, S], a: float[B, 3]) {
  scan x_t, y_t in x, y over T carry b = a, c = a {
    scan y_s in y_t over S carry c = c {
      h = c * y_s
      c = sin(h) + a
      emit inside = h + b
    }
    b = b + x_t
    emit o = b * c
    emit p = inside
  }
  scan i in range(T - 1) reverse=true carry s = a {
    s = s * cast(i, float) + 1
    emit r = s
  }
  return o, p, c, b, s, r
}
"""

UNTIL = """
model Net()(x: float[B, 3], rate: float[]) {
  while sum(x ** 2) < 50 carry x = x, steps = 0 limit 20 {
    x, steps = x * rate, steps + 1
  }
  return x, steps
}
"""

ADAPTED = """
module Inner()(x: float[B, 3]) -> float[B, 1] { return x -> Linear(4) -> tanh -> Linear(1) }
model Net()(x: float[B, 3], y: float[B, 1]) {
  layer net = Inner()
  loss = mean((net(x) - y) ** 2)
  slope = grad(loss, x)
  layer fast = net with net.params - 0.1 * grad(loss, net.params)
  after = mean((fast(x) - y) ** 2)
  return slope, after, grad(sum(slope ** 2), x)
}
"""

DESCENT = """
model Net(steps: int = 4)(target: float[B, 3]) {
  layer decode = Linear(3, bias=false)
  scan i in range(steps) carry z = zeros(B, 2) {
    loss = sum((tanh(decode(z)) - target) ** 2)
    z = z - 0.1 * grad(loss, z)
    emit losses = loss
  }
  return z, losses
}
"""

LOOPED_LAYERS = """
module Step()(h: float[B, 3], x: float[B, 3]) -> float[B, 3] { return tanh(Linear(3)(concat(h, x, over=-1))) }
module Over()(x: float[B, T, 3]) -> float[B, T, 3] {
  layer step = Step()
  scan x_t in x over T carry h = zeros(B, 3) {
    h = step(h, x_t) -> repeat(2) { Linear(3) }
    emit hs = h
  }
  return hs
}
model Net()(x: float[B, T, 3]) -> float[B, T, 3] { return x -> repeat(2) { Over() } }
"""

FUSED = """
model Net()(x: float[B, T, 3], h0: float[B, 4]) {
  a, h, c = LSTM(4)(x)
  b, _, _ = LSTM(5, reverse=true, biases=1)(a)
  d, h1 = GRU(4)(b, h0)
  e, _ = GRU(4, biases=1, reverse=true)(b)
  f, _ = GRU(4, biases=0)(e)
  g, h2 = RNN(4, act=relu, reverse=true)(f + d, h0)
  i, h3 = StackedRNN(4, layers=2, bidirectional=true)(g)
  return i, h1, h2, h3, c
}
"""

CELLS = """
model Net()(x: float[B, T, 4]) {
  layer lstm = LSTMCell(4)
  layer rnn = RNNCell(4, act=relu)
  layer gru = GRUCell(4)
  layer short = GRUCell(4, biases=1)
  scan x_t in x over T carry h = zeros(B, 4), c = zeros(B, 4) {
    h, c = lstm(x_t, h, c)
    h = rnn(x_t, h) + gru(x_t, h) + short(x_t, h)
    emit hs = h
  }
  return hs, c
}
"""

OWN_GRADIENTS = """
fn two(x: float[B, D]) = softmax(x) * 2
fn clamped(x: float[B, D], low: float[], n: int[B]) = maximum(x, low) * 2 backward(g) {
  return where(x > low, g, g * 0.1) * dropout(two(x), 0.0), sum(g) * cast(sum(n), float)
}
fn both(x: float[...], y: float[...]) = x * y, x + y backward(a, b) = a * y + b, a * x + b
fn reversal(x: float[...]) = x backward(g) = -0.5 * g
model Net()(x: float[B, 3], n: int[B], low: float[]) {
  y = clamped(x, low, n)
  p, q = both(reversal(x), y)
  scan i in range(2) carry h = y { h = reversal(tanh(h)) }
  return y, grad(sum(y ** 2), x), grad(sum(p * q), x), h, sum(grad(sum(reversal(x) ** 3), x))
}
"""

HOSTILE = """
module Cell()(x: float[B, 3], h: float[B, 3]) -> float[B, 3] {
  param w: float[3] = ones
  return dropout(tanh(x * w + h), 0.0)
}
fn table(x: float[B, 3]) = x @ [[1.0, 2.0, 0.5], [0.1, 0.2, 0.3], [3.0, 1.0, 2.0]]
model Net()(torch: float[B, T, 3], self: float[B, 3], generator: float[B, 3], zip: float[B, 3]) {
  param F: float[3] = ones
  layer cell = Cell()
  scan math in torch over T carry self = self, zip = zip, nn = F {
    h = cell(math, self * F)
    if training { q = h * 2 } else { q = h }
    self, zip, nn = zip, table(q) + generator, nn * 2
    emit reversed = q
  }
  scan range in range(T) carry k = 0, x = zeros(B) {
    scan enumerate in range(2) carry m = k {
      m = m + range * enumerate
      emit js = enumerate
      emit ii = range
    }
    k = range
    x = x + cast(m, float) * 0.5
    emit places = range
    emit list = sum(js) + sum(ii)
  }
  return self, zip, reversed, nn, k, x, places, list
}
"""

CLOSURES = """
model Net()(xs: float[T, B, 3], ys: float[T, B, 3]) {
  layer net = Linear(3)
  scan x, y in xs, ys over T carry z = zeros(B, 3), w = ones(3) {
    v = grad(mean((net(x) * w - y) ** 2) + sum(z), x)
    scan i in range(2) carry u = v {
      u = u - 0.1 * grad(sum(grad(sum(sin(u * w)) * cast(i, float), u) * x), u)
    }
    layer fast = net with net.params - 0.1 * grad(mean((net(x) - y) ** 2), net.params)
    z, w = fast(x) + u, w * 0.5
    emit zs = z
  }
  while sum(w) > 0.1 carry w = w limit 2 { w = w - grad(sum(w ** 3) * sum(z), w) * 0.01 }
  return zs, w
}
"""

REPLACED = """
module Two() {
  layer net = Linear(3)
  def forward(x: float[B, 3]) -> float[B, 3] { return net(x) }
  def inverse(x: float[B, 3]) -> float[B, 3] { return net(x) * 2 }
}
model Net()(x: float[B, 3]) {
  layer two = Two()
  layer cell = LSTMCell(3)
  layer stack = RNN(3)
  h, c = cell(two(x), x, x)
  hs, last = stack(reshape(h, [B, 1, 3]))
  loss = sum(last * c)
  layer changed = two with two.params - 0.1 * grad(loss, two.params)
  layer moved = cell with cell.params * 0.5
  layer other = stack with stack.params + 0.5
  _, d = moved(x, h, c)
  _, e = other(hs)
  return changed.inverse(x), d, e
}
"""

SPECS = {
    "lstm": LSTM,
    "swap": SWAP,
    "reversed": REVERSED,
    "nested": NESTED,
    "until": UNTIL,
    "adapted": ADAPTED,
    "descent": DESCENT,
    "looped_layers": LOOPED_LAYERS,
    "fused": FUSED,
    "cells": CELLS,
    "own_gradients": OWN_GRADIENTS,
    "hostile": HOSTILE,
    "replaced": REPLACED,
    "closures": CLOSURES,
}


def inputs_of(made: Program, **sizes: int) -> dict[str, np.ndarray]:
    """Arbitrary inputs; integers are below 4."""
    found = {}
    for name, value in made.main.inputs.items():
        type_ = made.main.type(value)
        shape = tuple(evaluate(d, sizes) for d in type_.shape)
        found[name] = floats(*shape) if type_.dtype.is_float else ints(4, *shape)
    return found


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("name", SPECS)
def test_blocks_compute_what_the_reference_does(name: str, length: int) -> None:
    made = compiled(SPECS[name])
    compare(made, inputs_of(made, B=2, T=length, S=2))


def test_blocks_are_formatted(tmp_path: Path) -> None:
    for name, spec in SPECS.items():
        (tmp_path / f"{name}.py").write_text(text_of(compiled(spec)))
    assert_clean(tmp_path)


# --- loops ---


def test_a_scan_is_a_loop_in_place() -> None:
    assert """
        h = x.new_zeros(B, self.hidden)
        c = x.new_zeros(B, self.hidden)
        hs = []
        for x_t in x.unbind(1):
            i, f, g, o = self.gates(torch.cat([x_t, h], dim=-1)).chunk(4, dim=-1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            hs.append(h)
        hs = torch.stack(hs, dim=1)
        return hs, h, c
""" in text_of(compiled(LSTM))


def test_the_length_is_that_of_the_input_and_gradients_flow_through_it() -> None:
    made = compiled(LSTM)
    model = model_of(made)
    for length in (1, 7):
        ys, _, _ = model(torch.ones(2, length, 3))
        assert ys.shape == (2, length, 5)
    ys.sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())


def test_an_exchange_of_carries_is_one_assignment() -> None:
    text = text_of(
        compiled("model Net()(a: float[B], b: float[B]) { scan i in range(3) carry a = a, b = b { a, b = b, a }\n return a, b }")
    )
    assert "            a, b = b, a\n" in text


def test_a_loop_may_have_no_steps() -> None:
    made = compiled(NESTED)
    assert "r = torch.stack(r[::-1]) if r else x.new_zeros((T - 1, B, 3))" in text_of(made)


def test_a_while_leaves_its_loop() -> None:
    text = text_of(compiled(UNTIL))
    assert "        for _ in range(20):\n            if not condition:\n                break\n" in text


def test_recurrent_layers_are_fused() -> None:
    made = compiled(FUSED)
    text = text_of(made)
    assert " for " not in text.partition("class Net")[0].replace("for each step", "").replace("for all steps", "")
    model, plain = model_of(made), torch.nn.LSTM(3, 4, batch_first=True)
    own = model.get_submodule("lstm")
    plain.load_state_dict({f"{name}_l0": p for name, p in own.state_dict().items()})
    x = torch.randn(2, 5, 3)
    hs, (h, c) = plain(x)
    for found, wanted in zip(own(x), (hs, h[0], c[0]), strict=True):
        torch.testing.assert_close(found, wanted)
    assert max(float(p.detach().abs().max()) for p in own.parameters()) <= 0.5


def test_a_compiled_model_keeps_the_fused_operation() -> None:
    model = model_of(compiled("model Net()(x: float[B, T, 3]) { hs, _ = GRU(4)(x -> Linear(3))\n return relu(hs) }"))
    x = torch.randn(2, 50, 3)
    counted: list[int] = []

    def count(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        counted.append(len(graph.graph.nodes))
        return graph

    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, backend=count)(x), model(x))
    assert max(counted) < 50, "unrolled over the steps"


def test_a_cell_is_that_of_torch() -> None:
    text = text_of(compiled(CELLS))
    assert 'self.rnn = nn.RNNCell(4, 4, nonlinearity="relu")' in text
    assert "h, c = self.lstm(x_t, (h, c))" in text


def test_lengths_and_second_derivatives_ask_for_the_loop() -> None:
    lengths = compiled("model Net()(x: float[B, T, 3], n: int[B]) { hs, _ = GRU(4)(x, length=n)\n return hs }")
    slopes = compiled("model Net()(x: float[B, T, 3]) { hs, _ = GRU(4)(x)\n return grad(sum(hs ** 2), x) }")
    for made in (lengths, slopes):
        assert "torch.gru" not in text_of(made)
        compare(made, inputs_of(made, B=3, T=4))


# --- gradients as values ---


def test_a_gradient_is_that_of_autograd() -> None:
    made = compiled(ADAPTED)
    model = model_of(made)
    x, y = torch.randn(4, 3, requires_grad=True), torch.randn(4, 1)
    slope, _, again = model(x, y)
    (wanted,) = torch.autograd.grad(F.mse_loss(model.get_submodule("net")(x), y), x, create_graph=True)
    (twice,) = torch.autograd.grad((wanted**2).sum(), x)
    torch.testing.assert_close(slope, wanted)
    torch.testing.assert_close(again, twice)
    with torch.inference_mode():
        torch.testing.assert_close(model(x, y)[0], wanted.detach())


def test_an_adapted_layer_can_be_trained_through_its_adaptation() -> None:
    made = compiled(ADAPTED)
    model = model_of(made).double()
    x, y = torch.randn(4, 3, dtype=torch.double), torch.randn(4, 1, dtype=torch.double)
    net = model.get_submodule("net")
    named = dict(net.named_parameters())

    def after(*values: torch.Tensor) -> torch.Tensor:
        given = dict(zip(named, values, strict=True))
        loss = F.mse_loss(torch.func.functional_call(net, given, (x,)), y)
        slopes = torch.autograd.grad(loss, values, create_graph=True)
        fast = {n: v - 0.1 * g for (n, v), g in zip(given.items(), slopes, strict=True)}
        return F.mse_loss(torch.func.functional_call(net, fast, (x,)), y)

    model(x, y)[1].backward()
    wanted = torch.autograd.grad(after(*named.values()), tuple(named.values()))
    for parameter, gradient in zip(named.values(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_a_gradient_of_the_specs_own_is_an_autograd_function() -> None:
    text = text_of(compiled(OWN_GRADIENTS))
    assert (
        """
class Reversal(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        pass

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return -0.5 * g
"""
        in text
    )
    model = model_of(compiled("fn r(x: float[...]) = x backward(g) = -0.5 * g\nmodel Net()(x: float[B]) { return r(x ** 2) }"))
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    model(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([-1.0, -2.0]))


def test_a_function_in_a_loop_binds_what_the_loop_changes() -> None:
    text = text_of(compiled(CLOSURES))
    assert "x: Tensor, total: Tensor = total, w: Tensor = w, y: Tensor = y\n" in text


ATTENDED = """
model Net()(x: float[B, T, 8]) {
  y = attention(x, x, x) + hard_sigmoid(x)
  return y, grad(sum(y ** 2), x)
}
"""


def test_fused_attention_is_spelled_out_where_it_is_differentiated_twice() -> None:
    made = compiled(ATTENDED)
    assert "scaled_dot_product_attention" not in text_of(made).partition("grad")[2]
    compare(made, {"x": floats(2, 3, 8)})
    model = model_of(made)
    x = torch.randn(2, 3, 8, requires_grad=True)
    model(x)[1].square().sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


# --- random streams ---

SAMPLED = """
fn noisy(x: float[B, 3]) = x + randn(B, 3)
module Draw()(x: float[B, 3]) -> float[B, 3] { return noisy(x) + rand(B, 3) }
model Net()(x: float[B, T, 3]) {
  layer draw = Draw()
  scan x_t in x over T carry h = zeros(B, 3) {
    h = draw(h + x_t)
    emit hs = h
  }
  return hs, bernoulli(sigmoid(h)), categorical(h)
}
"""


def test_draws_come_from_a_generator() -> None:
    model = model_of(compiled(SAMPLED))
    x = torch.zeros(2, 4, 3)

    def drawn(seed: int) -> list[torch.Tensor]:
        return list(model(x, generator=torch.Generator().manual_seed(seed)))

    first, torch_state = drawn(1), torch.get_rng_state()
    for a, b in zip(first, drawn(1), strict=True):
        torch.testing.assert_close(a, b)
    assert torch.equal(torch_state, torch.get_rng_state()), "the global stream was touched"
    hs = drawn(2)[0]
    assert not torch.equal(first[0], hs)
    steps = hs.diff(dim=1)
    assert not torch.equal(steps[:, 0], steps[:, 1]), "each step draws anew"


def test_a_generator_reaches_the_function_of_a_gradient() -> None:
    model = model_of(compiled("model Net()(x: float[B, 3]) { return grad(sum(randn(B, 3) * x ** 2), x) }"))
    x = torch.ones(2, 3)
    first, again = (model(x, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, model(x, torch.Generator().manual_seed(6)))
