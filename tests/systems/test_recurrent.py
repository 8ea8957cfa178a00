"""The recurrent layers of dsl/lib/recurrent.dl: their sizes, what they have in common with PyTorch's, and what masks and directions do.

The models that are made of them are in test_recurrent_models.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from backends.base import Arrays
from dsl.compiler import compile_graph, init, run
from dsl.source import Source
from tests.agreement import Agreement
from tests.test_learning import HELLO, saved, trained

TARGETS = ("torch", "jax", "onnx")
on_every_target = pytest.mark.parametrize("target", TARGETS)

B, T, D, H = 3, 5, 4, 3
X = np.random.default_rng(0).standard_normal((B, T, D)).astype(np.float32)
LENGTHS = np.array([5, 2, 3])


def model(body: str, inputs: str = "x: float[B, T, 4]") -> Source:
    return Source("test.dl", f"model M()({inputs}) {{ {body} }}")


def computed(
    spec: Source, inputs: Arrays, target: str, weights: Arrays | None = None, *, training: bool = False
) -> list[np.ndarray]:
    return list(run(spec, inputs, target=target, weights=weights, training=training).outputs.values())


def count(body: str, width: int = 4) -> int:
    values = init(model(f"return {body}", f"x: float[B, T, {width}]")).values()
    return sum(v.size for v in values)


def fused(layer: nn.RNNBase, prefix: str) -> dict[str, np.ndarray]:
    """The weights of a layer of PyTorch by the names of ours, `cell` and `cell_1` for two layers."""
    names = {"_l0": "", "_l1": "_1"}
    found = {}
    for name, value in layer.named_parameters():
        stem, _, number = name.rpartition("_l")
        found[f"{prefix}{names[f'_l{number}']}.{stem}"] = value.detach().numpy()
    return found


def said_by(layer: nn.Module) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(layer(torch.from_numpy(X))[0])


# --- sizes ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("lstm")
def test_an_lstm_has_four_maps_of_the_input_and_the_state() -> None:
    assert count("LSTM(7, biases=1)(x).hs", 5) == 4 * (5 * 7 + 7 * 7 + 7)
    assert count("StackedLSTM(512, 2)(x).hs -> Linear(65)", 65) == 3_320_385  # char-rnn, with both biases of PyTorch


@pytest.mark.system("gru")
def test_a_gru_has_three_maps_of_the_input_and_the_state() -> None:
    assert count("GRU(7, biases=1)(x).hs", 5) == 3 * (5 * 7 + 7 * 7 + 7)


@pytest.mark.system("vanilla-rnn")
def test_four_letters_and_three_units_without_biases_are_33_numbers() -> None:
    assert count("RNN(3, biases=0)(x).hs -> Linear(4, bias=false)") == 33


# --- the same as the fused layers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param("RNN", nn.RNN, marks=pytest.mark.system("vanilla-rnn")),
        pytest.param("LSTM", nn.LSTM, marks=pytest.mark.system("lstm")),
        pytest.param("GRU", nn.GRU, marks=pytest.mark.system("gru")),
    ],
)
@on_every_target
def test_with_both_biases_a_layer_equals_the_fused_one(name: str, kind: Callable[..., nn.RNNBase], target: str) -> None:
    torch.manual_seed(0)
    layer = kind(D, H, batch_first=True)
    (found,) = computed(model(f"return (x -> net: {name}({H})).hs"), {"x": X}, target, fused(layer, "net"))
    np.testing.assert_allclose(found, said_by(layer), atol=1e-5)


@pytest.mark.system("stacked-rnn")
@on_every_target
def test_a_stack_that_passes_states_equals_the_fused_one_and_one_that_passes_outputs_does_not(target: str) -> None:
    torch.manual_seed(0)
    layer = nn.LSTM(D, H, num_layers=2, batch_first=True)
    weights = fused(layer, "stacked.cell")
    (found,) = computed(model(f"return Stacked({H}, 2)(x)"), {"x": X}, target, weights)
    np.testing.assert_allclose(found, said_by(layer), atol=1e-5)

    passing = model(f"return Stacked({H}, 2, width={H})(x)")
    outputs = {n: v for n, v in init(passing).items() if ".out" in n}
    (other,) = computed(passing, {"x": X}, target, weights | outputs)
    assert np.abs(other - said_by(layer)).max() > 0.01
    same = {n: np.eye(H, dtype=np.float32) if n.endswith("weight") else np.zeros(H, np.float32) for n in outputs}
    (found,) = computed(passing, {"x": X}, target, weights | same)
    np.testing.assert_allclose(found, said_by(layer), atol=1e-5)  # unless y = h


# --- steps ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("vanilla-rnn")
@pytest.mark.parametrize("steps", [1, 2, 9])
@on_every_target
def test_step_by_step_is_the_whole_sequence(steps: int, target: str) -> None:
    text = """
    layer net = RNN(3)
    scan x_t in x over T carry h = zeros(B, 3) {
      hs, h = net(x_t[:, none], h0=h)
      emit stepwise = hs[:, 0]
    }
    return net(x).hs, stepwise
    """
    x = np.random.default_rng(steps).standard_normal((2, steps, D)).astype(np.float32)
    whole, stepwise = computed(model(text), {"x": x}, target)
    assert whole.shape == (2, steps, 3)
    np.testing.assert_allclose(stepwise, whole, atol=1e-6)


@pytest.mark.system("gru")
@on_every_target
def test_an_update_gate_that_keeps_everything_keeps_the_first_state(target: str) -> None:
    spec = model("return GRU(3)(x, h0=h).hs", "x: float[B, T, 4], h: float[B, 3]")
    weights = dict(init(spec)) | {"gru.bias_ih": np.repeat([0.0, 1e3, 0.0], 3).astype(np.float32)}  # of r, z and n
    h = np.random.default_rng(1).standard_normal((B, 3)).astype(np.float32)
    (hs,) = computed(spec, {"x": X, "h": h}, target, weights)
    np.testing.assert_allclose(hs, np.repeat(h[:, None], T, axis=1), rtol=1e-6)


# --- both directions ------------------------------------------------------------------------------------------------------------

BOTH = "return x -> net: Bidirectional(3, cell=CELL)(length=n)"
WITH_LENGTHS = "x: float[B, T, 4], n: int[B]"


@pytest.mark.system("bidirectional")
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
@on_every_target
def test_padded_rows_are_what_each_sequence_is_alone(target: str, cell: str) -> None:
    spec = model(BOTH.replace("CELL", cell), WITH_LENGTHS)
    (together,) = computed(spec, {"x": X, "n": LENGTHS}, target)
    for i, n in enumerate(LENGTHS):
        (alone,) = computed(spec, {"x": X[i : i + 1, :n], "n": np.array([n])}, target)
        np.testing.assert_allclose(together[i, :n], alone[0], atol=1e-6)
        assert not together[i, n:].any()


@pytest.mark.system("bidirectional")
@on_every_target
def test_with_tied_weights_reversing_the_input_reverses_time_and_swaps_the_halves(target: str) -> None:
    spec = model("return x -> net: Bidirectional(3)")
    weights = {name: value for name, value in init(spec).items() if ".fore." in name}
    weights |= {name.replace("fore", "back"): value for name, value in weights.items()}
    (found,) = computed(spec, {"x": X}, target, weights)
    (reversed_,) = computed(spec, {"x": np.ascontiguousarray(X[:, ::-1])}, target, weights)
    np.testing.assert_allclose(reversed_, np.roll(found[:, ::-1], 3, axis=2), atol=1e-6)


# --- dropout --------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("stacked-rnn")
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_dropout_stands_between_layers_only(layers: int) -> None:
    graph = compile_graph(model(f"return Stacked(3, {layers}, rate=0.5)(x)")).main
    assert sum(node.op == "dropout" for part in graph.callees() for node in part) == layers - 1


@pytest.mark.system("locked-dropout")
@pytest.mark.parametrize("target", ["torch", "jax"])
def test_locked_dropout_has_one_mask_for_all_steps(target: str) -> None:
    x = np.ones((4, 6, 50), np.float32)
    (kept,) = computed(model("return locked_dropout(x, 0.5)", "x: float[B, T, D]"), {"x": x}, target, training=True)
    assert set(np.unique(kept)) == {0.0, 2.0}
    assert (kept == kept[:, :1]).all()
    assert len(np.unique(kept[:, 0], axis=0)) == 4  # and each row its own
    (kept,) = computed(model("return locked_dropout(x, 0.5)", "x: float[B, T, D]"), {"x": x}, target)
    assert (kept == 1).all()


@pytest.mark.system("locked-dropout")
@pytest.mark.parametrize("target", ["torch", "jax"])
def test_a_dropped_row_of_an_embedding_is_gone_from_the_whole_sequence(target: str) -> None:
    text = """
    layer word = Embedding(20, 3, init=ones)
    whole = word(x)
    return embedding_dropout(word.weight, 0.5)[x], whole
    """
    spec = model(text, "x: int[B, T]")
    x = np.random.default_rng(0).integers(20, size=(8, 16))
    vectors, whole = computed(spec, {"x": x}, target, training=True)
    assert (whole == 1).all()
    by_word = {word: np.unique(vectors[x == word]) for word in range(20)}
    assert all(len(values) == 1 for values in by_word.values())  # at every place of a word the same
    assert {float(values[0]) for values in by_word.values()} == {0.0, 2.0}


@pytest.mark.system("locked-dropout")
@pytest.mark.parametrize("target", ["torch", "jax"])
def test_dropped_weights_are_dropped_for_all_steps_and_from_state_to_state_only(target: str) -> None:
    """With weights of 1 and no input, the states that a step makes say how many of its weights are left."""
    text = "return (x -> WeightDrop(RNN(1, act=relu, biases=0), rate=0.5)).hs"
    weights = {"weight_drop.net.weight_ih": np.ones((1, 4), np.float32), "weight_drop.net.weight_hh": np.ones((1, 1), np.float32)}
    x = np.zeros((2, 6, 4), np.float32)
    x[:, 0] = 0.25
    seen = set()
    for seed in range(12 if target == "torch" else 1):  # a session of JAX has one key
        torch.manual_seed(seed)
        (hs,) = computed(model(text), {"x": x}, target, weights, training=True)
        assert (hs[:, 0] == 1).all()  # what comes from the input is not dropped
        ways = {tuple(row) for row in hs[:, :, 0]}
        assert len(ways) == 1 and ways <= {(1.0, 0.0, 0.0, 0.0, 0.0, 0.0), (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)}
        seen |= ways
    assert target == "jax" or len(seen) == 2


# --- the word "hello" -----------------------------------------------------------------------------------------------------------


@pytest.mark.system("hello-rnn")
@pytest.mark.parametrize("recurrent", [True, False])
def test_hello_is_learned_to_the_end_by_what_recurs_and_to_half_of_ln_2_without(recurrent: bool, tmp_path: Path) -> None:
    curve = trained(
        "recurrent/hello.dl", saved(tmp_path, "hello", HELLO), tmp_path / "run", "--batch", 1,
        "--set", f"recurrent={str(recurrent).lower()}", "--steps", 800,
    )  # fmt: skip
    if recurrent:
        assert curve[-1]["loss"] < 1e-3
    else:
        assert math.log(2) / 2 <= curve[-1]["loss"] < math.log(2) / 2 + 1e-3


# --- every target ---------------------------------------------------------------------------------------------------------------

SIZES = [{"B": 1, "T": 1}, {"B": 2, "T": 4}]


@pytest.mark.verification
@pytest.mark.parametrize(
    "body",
    [
        pytest.param("return RNN(3)(x)", marks=pytest.mark.system("vanilla-rnn")),
        pytest.param("return LSTM(3)(x)", marks=pytest.mark.system("lstm")),
        pytest.param("return GRU(3)(x)", marks=pytest.mark.system("gru")),
        pytest.param("return x -> Bidirectional(2, cell=GRU)", marks=pytest.mark.system("bidirectional")),
        pytest.param("return x -> Stacked(2, 2, rate=0.5)", marks=pytest.mark.system("stacked-rnn")),
        pytest.param("return x -> Stacked(2, 2, cell=RNN, width=3)", marks=pytest.mark.system("stacked-rnn")),
        pytest.param("return (x -> locked_dropout(0.5) -> WeightDrop(GRU(2))).hs", marks=pytest.mark.system("locked-dropout")),
    ],
)
def test_the_layers_agree_on_every_target(body: str, agrees: Agreement) -> None:
    text = model(body).text
    agrees(text, sizes=SIZES)


@pytest.mark.verification
@pytest.mark.system("bidirectional")
def test_a_masked_layer_of_two_directions_agrees_on_every_target(agrees: Agreement) -> None:
    agrees(model(BOTH.replace("CELL", "LSTM"), WITH_LENGTHS).text, sizes=SIZES)
