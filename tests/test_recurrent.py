"""The recurrent layers of the library (dsl/lib/recurrent.dl) are those of PyTorch, in float64, by the reference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from backends.reference import Interpreter
from dsl.compiler import compile_graph, init
from dsl.diagnostics import SpecError
from dsl.source import Source
from dsl.types import DType

Tensors = Mapping[str, torch.Tensor]

RNG = torch.Generator().manual_seed(3)
B, T, D, H = 3, 5, 4, 2
INPUTS = "x: float[B, T, 4], s: float[B, 2], r: float[B, 2], n: int[B]"


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=RNG, dtype=torch.float64)


X, S, R, LENGTHS = draw(B, T, D), draw(B, H), draw(B, H), torch.tensor([5, 2, 3])


def spec(expression: str) -> Source:
    return Source("case", f"model Case()({INPUTS}) {{ return {expression} }}")


def computed(expression: str, weights: Tensors) -> list[np.ndarray]:
    """The results of an expression on x, s, r and n, with the parameters of its one layer."""
    graph = compile_graph(spec(expression), float_type=DType.F64).entries["forward"]
    (child,) = graph.children
    interpreter = Interpreter({f"{child}.{n}": v.detach().numpy() for n, v in weights.items()})
    return list(interpreter.run(graph, {"x": X.numpy(), "s": S.numpy(), "r": R.numpy(), "n": LENGTHS.numpy()}).values())


def check(found: list[np.ndarray], *wanted: torch.Tensor) -> None:
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == tuple(b.shape)
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-10, atol=1e-12)


def weights_of(layer: nn.Module, suffix: str = "_l0") -> dict[str, torch.Tensor]:
    """The parameters of one layer of torch, without the number that torch adds to the names."""
    return {n.removesuffix(suffix): v for n, v in layer.named_parameters() if n.endswith(suffix)}


LAYERS = {
    "RNN": nn.RNN(D, H, batch_first=True, dtype=torch.float64),
    "RNN relu": nn.RNN(D, H, batch_first=True, nonlinearity="relu", dtype=torch.float64),
    "LSTM": nn.LSTM(D, H, batch_first=True, dtype=torch.float64),
    "GRU": nn.GRU(D, H, batch_first=True, dtype=torch.float64),
}
WRITTEN = {"RNN": "RNN(2", "RNN relu": "RNN(2, act=relu", "LSTM": "LSTM(2", "GRU": "GRU(2"}


def states(layer: nn.Module) -> tuple[str, object]:
    """Initial states, as an argument here and there."""
    return (", h0=s, c0=r", (S[None], R[None])) if isinstance(layer, nn.LSTM) else (", h0=s", S[None])


def flat(hs: torch.Tensor, last: object) -> tuple[torch.Tensor, ...]:
    """What torch returns, with the axis of layers removed from the last states."""
    return (hs, *(v[0] for v in (last if isinstance(last, tuple) else (last,))))


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_that_of_torch(name: str) -> None:
    layer = LAYERS[name]
    check(computed(f"{WRITTEN[name]})(x)", weights_of(layer)), *flat(*layer(X)))
    given, started = states(layer)
    check(computed(f"{WRITTEN[name]})(x{given})", weights_of(layer)), *flat(*layer(X, started)))


@pytest.mark.parametrize("name", LAYERS)
def test_lengths_are_those_of_packed_sequences(name: str) -> None:
    layer = LAYERS[name]
    given, started = states(layer)
    packed, last = layer(pack_padded_sequence(X, LENGTHS, batch_first=True, enforce_sorted=False), started)
    hs, _ = pad_packed_sequence(packed, batch_first=True, total_length=T)
    check(computed(f"{WRITTEN[name]})(x{given}, length=n)", weights_of(layer)), *flat(hs, last))


@pytest.mark.parametrize("name", LAYERS)
def test_reversed_a_layer_reads_from_the_end(name: str) -> None:
    layer = LAYERS[name]
    hs, *last = flat(*layer(X.flip(1)))
    check(computed(f"{WRITTEN[name]}, reverse=true)(x)", weights_of(layer)), hs.flip(1), *last)


@pytest.mark.parametrize("name", LAYERS)
def test_reversed_with_lengths_each_row_begins_at_its_own_end(name: str) -> None:
    kinds = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
    options = {"nonlinearity": "relu"} if "relu" in name else {}
    both = kinds[name.split()[0]](D, H, batch_first=True, bidirectional=True, dtype=torch.float64, **options)
    packed, last = both(pack_padded_sequence(X, LENGTHS, batch_first=True, enforce_sorted=False))
    hs, _ = pad_packed_sequence(packed, batch_first=True, total_length=T)
    found = computed(f"{WRITTEN[name]}, reverse=true)(x, length=n)", weights_of(both, "_l0_reverse"))
    check(found, hs[..., H:], *(v[1] for v in (last if isinstance(last, tuple) else (last,))))


@pytest.mark.parametrize("name", LAYERS)
def test_one_bias_or_none(name: str) -> None:
    layer = LAYERS[name]
    weights = weights_of(layer)
    fewer = {n: v for n, v in weights.items() if n != "bias_hh"}
    without = {n: torch.zeros_like(v) if n == "bias_hh" else v for n, v in weights.items()}
    written = WRITTEN[name]
    check(computed(f"{written}, biases=1)(x)", fewer), *map(torch.tensor, computed(f"{written})(x)", without)))
    kinds = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
    options = {"nonlinearity": "relu"} if "relu" in name else {}
    plain = kinds[name.split()[0]](D, H, batch_first=True, bias=False, dtype=torch.float64, **options)
    check(computed(f"{written}, biases=0)(x)", weights_of(plain)), *flat(*plain(X)))


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_a_cell_is_one_step(name: str) -> None:
    cell = {"RNN": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}[name](D, H, dtype=torch.float64)
    weights = dict(cell.named_parameters())
    if name == "LSTM":
        check(computed("LSTMCell(2)(x[:, 0], s, r)", weights), *cell(X[:, 0], (S, R)))
    else:
        check(computed(f"{name}Cell(2)(x[:, 0], s)", weights), cell(X[:, 0], S))


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_a_stack_is_that_of_torch(name: str, bidirectional: bool) -> None:
    kind = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}[name]
    stack = kind(D, H, num_layers=3, batch_first=True, bidirectional=bidirectional, dtype=torch.float64)
    weights = {
        f"stacked_{name.lower()}.{way}{'_' * (k > 0)}{k or ''}.{n}": v
        for k in range(3)
        for way, suffix in (("fore", f"_l{k}"), ("back", f"_l{k}_reverse"))
        for n, v in weights_of(stack, suffix).items()
    }
    count = 6 if bidirectional else 3
    inputs = f"x: float[B, T, 4], h: float[{count}, B, 2], c: float[{count}, B, 2], n: int[B]"
    states = "h, c" if name == "LSTM" else "h"
    text = f"model Case()({inputs}) {{ return Stacked{name}(2, 3, bidirectional={str(bidirectional).lower()})(x, {states}, length=n) }}"
    graph = compile_graph(Source("case", text), float_type=DType.F64).entries["forward"]
    h, c = draw(count, B, H), draw(count, B, H)
    feed = {"x": X.numpy(), "h": h.numpy(), "c": c.numpy(), "n": LENGTHS.numpy()}
    found = Interpreter({n: v.detach().numpy() for n, v in weights.items()}).run(graph, feed)
    packed, last = stack(
        pack_padded_sequence(X, LENGTHS, batch_first=True, enforce_sorted=False), (h, c) if name == "LSTM" else h
    )
    hs, _ = pad_packed_sequence(packed, batch_first=True, total_length=T)
    check(list(found.values()), hs, *(last if isinstance(last, tuple) else (last,)))


def test_initial_values_are_those_of_torch() -> None:
    values = init(Source("m", "model M()(x: float[B, T, 3]) { return LSTM(16)(x).hs }"))
    assert {n: v.shape for n, v in values.items()} == {
        "lstm.weight_ih": (64, 3), "lstm.weight_hh": (64, 16), "lstm.bias_ih": (64,), "lstm.bias_hh": (64,)
    }  # fmt: skip
    for value in values.values():
        assert 0.2 < np.abs(value).max() <= 0.25  # 1 / sqrt(16)


def test_a_sequence_may_be_cut() -> None:
    """Two calls, the second from the states of the first, are one call."""
    text = """
    model Case()(x: float[B, 6, 4]) -> (whole: float[B, 2], cut: float[B, 2]) {
      layer net = LSTM(2)
      hs, h, c = net(x[:, :4])
      return net(x).h, net(x[:, 4:], stop_gradient(h), stop_gradient(c)).h
    }
    """
    graph = compile_graph(Source("case", text), float_type=DType.F64).entries["forward"]
    weights = {f"net.{n}": v.detach().numpy() for n, v in weights_of(LAYERS["LSTM"]).items()}
    found = Interpreter(weights).run(graph, {"x": draw(B, 6, 4).numpy()})
    np.testing.assert_allclose(found["whole"], found["cut"], rtol=1e-12)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("LSTM(2, biases=3)(x)", "biases is 0, 1 or 2"),
        ("LSTM(3)(x, s)", "h0"),
        ("GRU(2)(x, length=s)", "length"),
        ("LSTM(0)(x)", "0"),
    ],
)
def test_what_does_not_fit_is_refused(expression: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        compile_graph(spec(expression))
