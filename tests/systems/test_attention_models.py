"""Models built on attention: decoders that look at their source, pointers, glimpses. What each must do, on every target that computes it.

The layers that they are made of are in test_attention.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from backends.base import Arrays
from dsl import cli
from dsl.compiler import compile_graph, init, run
from dsl.diagnostics import SpecError, render
from dsl.source import Source
from dsl.trainer.curves import read_rows
from tests.agreement import Agreement
from tests.small import SPECS, VARIANTS

on_every_target = pytest.mark.parametrize("target", ["torch", "jax", "onnx"])
where_gradients_are = pytest.mark.parametrize("target", ["torch", "jax"])

EQUAL = 2e-6
"""Two computations of one value in f32, of numbers around 1."""


def small(spec: str, **changed: object) -> dict[str, object]:
    """The hyper-parameters of the small variant of a spec."""
    return {**VARIANTS[f"attention/{spec}.dl"].settings, **changed}


def computed(spec: str, inputs: Arrays, target: str, hyper: Mapping[str, object] | None = None, **options: object) -> Arrays:
    path = SPECS / "attention" / f"{spec}.dl"
    found = run(path, inputs, small(spec) if hyper is None else hyper, target=target, **options)  # type: ignore[arg-type]
    return {name: np.asarray(value) for name, value in found.outputs.items()}


def of_text(text: str, inputs: Arrays, target: str, **options: object) -> list[np.ndarray]:
    found = run(Source("test.dl", text), inputs, target=target, **options)  # type: ignore[arg-type]
    return [np.asarray(value) for value in found.outputs.values()]


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def words(*shape: int, below: int = 7, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).integers(0, below, shape)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def is_distribution(weights: np.ndarray) -> bool:
    return bool(np.all(weights >= 0) and np.allclose(weights.sum(axis=-1), 1, atol=1e-6))


# --- translation: the alignment of Bahdanau ------------------------------------------------------------------------------------------

SENTENCES = {"source": words(2, 4), "length": np.array([4, 2]), "target": words(2, 3)}


@pytest.mark.system("bahdanau-nmt")
@on_every_target
def test_the_alignment_is_a_distribution_over_the_words_before_the_padding(target: str) -> None:
    found = computed("bahdanau", SENTENCES, target)
    assert is_distribution(found["alignment"])
    assert np.all(found["alignment"][1, :, 2:] == 0)
    other = SENTENCES["source"].copy()
    other[1, 2:] = 6 - other[1, 2:]
    again = computed("bahdanau", {**SENTENCES, "source": other}, target)
    np.testing.assert_allclose(again["logits"], found["logits"], atol=EQUAL)


@pytest.mark.system("bahdanau-nmt")
@on_every_target
def test_a_translation_is_what_teacher_forcing_finds_likeliest_after_its_own_words(target: str) -> None:
    source = {name: SENTENCES[name] for name in ("source", "length")}
    said = computed("bahdanau", source, target, entry="translate")["words"]
    before = np.pad(said, ((0, 0), (1, 0)))[:, :-1]
    logits = computed("bahdanau", {**source, "target": before}, target)["logits"]
    np.testing.assert_array_equal(logits.argmax(axis=-1), said)


@pytest.mark.system("bahdanau-nmt")
def test_a_score_of_the_state_that_it_leads_to_is_refused_as_a_cycle() -> None:
    text = (SPECS / "attention" / "bahdanau.dl").read_text()
    text = text.replace("scores = s[:, none]", "scores = s_t[:, none]").replace(
        "s = concat(word, context", "s_t = concat(word, context"
    )
    with pytest.raises(SpecError) as refused:
        compile_graph(Source("cyclic.dl", text))
    message = render(refused.value.diagnostics[0])
    assert "DL0220" in message
    assert "`s_t` depends on itself" in message
    assert "the state of the step before" in message


# --- Luong: global and local --------------------------------------------------------------------------------------------------------


@pytest.mark.system("luong-attention")
@on_every_target
def test_local_attention_with_a_window_without_end_is_global_attention(target: str) -> None:
    everywhere = computed("luong", SENTENCES, target)
    weights = init(SPECS / "attention" / "luong.dl", small("luong", window=9, sigma=1e9))
    shared = init(SPECS / "attention" / "luong.dl", small("luong"))
    windowed = computed("luong", SENTENCES, target, small("luong", window=9, sigma=1e9), weights={**weights, **shared})
    np.testing.assert_allclose(windowed["alignment"], everywhere["alignment"], atol=EQUAL)
    np.testing.assert_allclose(windowed["logits"], everywhere["logits"], atol=EQUAL)


LOCAL = """
from attention.luong import LocalAttention, Place
model Local(window: int = 2)(h: float[B, 5], memory: float[B, S, 4], length: int[B]) {
  context, weights = h -> local: LocalAttention(window)(memory, length)
  return context, weights
}
model Where()(h: float[B, 5], n: float[B]) { return h -> Place()(n) }
"""


@pytest.mark.system("luong-attention")
@on_every_target
def test_the_weights_vanish_outside_of_the_window(target: str) -> None:
    given = {"h": 3 * draw(64, 5), "memory": draw(64, 9, 4), "length": np.tile([9, 9, 7, 1], 16)}
    initial = init(Source("test.dl", LOCAL), model="Local")
    weights = {name: 4 * value if ".place." in name else value for name, value in initial.items()}
    p = of_text(
        LOCAL, {"h": given["h"], "n": given["length"].astype(np.float32)}, target, model="Where",
        weights={name.removeprefix("local."): value for name, value in weights.items() if name.startswith("local.place")},
    )[0]  # fmt: skip
    _, alignment = of_text(LOCAL, given, target, model="Local", weights=weights)
    assert np.ptp(p) > 4
    assert np.all((p >= 0) & (p < given["length"]))
    distance = np.abs(np.arange(9) - p[:, None])
    seen = (distance <= 2) & (np.arange(9) < given["length"][:, None])
    assert np.all(alignment[~seen] == 0)
    assert np.all(alignment[seen] > 0)


@pytest.mark.system("luong-attention")
@on_every_target
def test_places_beyond_the_window_are_not_read(target: str) -> None:
    given = {"h": draw(1, 5), "memory": draw(1, 30, 4), "length": np.array([30])}
    context, alignment = of_text(LOCAL, given, target, model="Local")
    unread = (alignment[..., None] == 0) & (np.arange(30) > 0)[:, None]  # place 0 stands in for those before the first
    assert unread.sum() >= 25
    given["memory"] = np.where(unread, np.float32(np.nan), given["memory"])
    np.testing.assert_array_equal(of_text(LOCAL, given, target, model="Local")[0], context)


# --- input feeding ------------------------------------------------------------------------------------------------------------------

SOURCE = {"memory": draw(2, 4, 6)}


@pytest.mark.system("attentional-lstm-decoder")
@on_every_target
def test_teacher_forcing_with_the_words_of_a_free_run_repeats_it(target: str) -> None:
    free = computed("lstm_decoder", SOURCE, target, entry="translate")
    before = np.pad(free["words"], ((0, 0), (1, 0)))[:, :-1]
    forced = computed("lstm_decoder", {**SOURCE, "target": before}, target)
    np.testing.assert_allclose(forced["logits"], free["logits"], atol=EQUAL)
    np.testing.assert_array_equal(forced["logits"].argmax(axis=-1), free["words"])


@pytest.mark.system("attentional-lstm-decoder")
@on_every_target
def test_a_source_of_zeros_is_looked_at_evenly(target: str) -> None:
    found = computed("lstm_decoder", {"memory": np.zeros((2, 4, 6), np.float32), "target": words(2, 3)}, target)
    np.testing.assert_allclose(found["alignment"], 0.25, atol=1e-7)
    assert np.ptp(computed("lstm_decoder", {**SOURCE, "target": words(2, 3)}, target)["alignment"]) > 0.01


# --- captions -----------------------------------------------------------------------------------------------------------------------

PICTURE = {"image": draw(2, 3, 8, 8), "words": words(2, 3)}

LOOKS = """
from attention.show_attend_tell import Soft, Hard
model SoftLook()(h: float[B, 4], places: float[B, N, 3]) { return h -> look: Soft(5)(places) }
model HardLook()(h: float[B, 4], places: float[B, N, 3]) { return h -> look: Hard(5)(places) }
"""


@pytest.mark.system("show-attend-tell")
@on_every_target
def test_the_attention_maps_are_a_distribution_over_the_places_of_the_picture(target: str) -> None:
    found = computed("show_attend_tell", PICTURE, target)
    assert found["maps"].shape == (2, 3, 4 * 4)
    assert is_distribution(found["maps"])


@pytest.mark.system("show-attend-tell")
@where_gradients_are
def test_the_soft_context_is_the_expectation_of_the_hard_one(target: str) -> None:
    """Exactly: each place is drawn once at least in many draws, and comes with its probability."""
    draws, places = 400, 5
    given = {"h": np.tile(draw(1, 4), (draws, 1)), "places": np.tile(draw(1, places, 3), (draws, 1, 1))}
    weights = init(Source("test.dl", LOOKS), model="HardLook")
    context, map, log_prob = of_text(LOOKS, given, target, model="HardLook", weights=weights, training=True)
    soft = {name.replace("look.look.", "look."): value for name, value in weights.items()}
    expected, probabilities, _ = of_text(LOOKS, given, target, model="SoftLook", weights=soft)
    _, first = np.unique(map.argmax(axis=-1), return_index=True)
    assert len(first) == places
    np.testing.assert_allclose(np.exp(log_prob[first]), probabilities[0], atol=EQUAL)
    np.testing.assert_allclose(np.exp(log_prob[first]) @ context[first], expected[0], atol=EQUAL)


@pytest.mark.system("show-attend-tell")
@pytest.mark.verification
def test_a_look_at_one_place_agrees_everywhere(agrees: Agreement) -> None:
    agrees(LOOKS, model="HardLook", sizes=[{"B": 1, "N": 1}, {"B": 2, "N": 3}])


# --- pointers -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("pointer-network")
@on_every_target
@pytest.mark.parametrize("n", [4, 5, 20])
def test_the_same_weights_point_into_inputs_of_any_length(target: str, n: int) -> None:
    weights = init(SPECS / "attention" / "pointer_network.dl", small("pointer_network"))
    given = {"x": draw(2, n, 2), "target": words(2, 3, below=n)}
    logits = computed("pointer_network", given, target, weights=weights)["logits"]
    assert logits.shape == (2, 3, n + 1)
    assert is_distribution(softmax(logits))
    places = computed("pointer_network", {"x": given["x"]}, target, weights=weights, entry="solve")["places"]
    assert places.shape == (2, n + 1)
    assert np.all((places >= 0) & (places <= n))


@pytest.mark.system("pointer-network")
@pytest.mark.slow
def test_a_pointer_network_learns_to_sort_five_numbers(tmp_path: Path) -> None:
    """Five of the numbers 0, 0.01, ..., 0.99, in a free run on inputs that it has not seen."""
    x = np.random.default_rng(0).permuted(np.tile(np.arange(100), (20_000, 1)), axis=1)[:, :5, None].astype(np.float32) / 100
    target = np.pad(x[..., 0].argsort(axis=1), ((0, 0), (0, 1)), constant_values=5)
    np.savez(tmp_path / "numbers.npz", x=x[2000:], target=target[2000:])
    spec, out = SPECS / "attention" / "pointer_network.dl", tmp_path / "run"
    settings = ["--set", "features=1", "--set", "hidden=32", "--set", "lr=0.03", "--steps", "800", "--batch", "128"]
    assert cli.run(["train", str(spec), "--data", str(tmp_path / "numbers.npz"), "--out", str(out), *settings]) == 0
    hyper, weights = {"features": 1, "hidden": 32}, f"{out}/weights.safetensors:net"
    found = run(spec, {"x": x[:2000]}, hyper, target="torch", weights=weights, entry="solve").outputs["places"]
    assert np.mean(np.all(np.asarray(found) == target[:2000], axis=1)) > 0.95


# --- convolutions ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("conv-seq2seq")
@on_every_target
def test_every_place_of_the_target_sees_the_words_before_it_and_no_others(target: str) -> None:
    given = {"source": words(1, 4), "target": words(1, 4)}
    logits = computed("conv_seq2seq", given, target)["logits"]
    for t in range(4):
        other = given["target"].copy()
        other[0, t] = 6 - other[0, t]
        changed = np.abs(computed("conv_seq2seq", {**given, "target": other}, target)["logits"] - logits).max(axis=(0, 2))
        assert np.all(changed[: t + 1] == 0)
        assert np.all(changed[t + 1 :] > 1e-6)


# --- a reader that keeps every state ---------------------------------------------------------------------------------------------------

READERS = """
from attention.lstmn import LSTMN
module Previous()(x: float[B, D], m: float[B, hidden], hs: float[B, T, hidden], past: bool[T]) -> float[B, T] {
  last = cast(past, float) - cast(pad(past[1:], [[0, 1]], value=false), float)
  return expand(last, [B, T]) + 0.0 * sum(x) * sum(m) * sum(hs)
}
model Reader()(x: float[B, T, 3]) { return x -> reader: LSTMN(4, 3, attend=Previous()) }
model Plain()(x: float[B, T, 3]) { return x -> lstm: LSTM(4, biases=1) }
"""


@pytest.mark.system("lstmn")
@on_every_target
def test_a_step_of_the_reader_attends_to_the_steps_before_it_only(target: str) -> None:
    weights = computed("lstmn", {"x": draw(2, 4, 3)}, target)["weights"]
    past = np.tril(np.ones((4, 4), bool), -1)
    assert np.all(weights[:, ~past] == 0)
    assert np.all(weights[:, past] > 0)
    assert is_distribution(weights[:, 1:])


@pytest.mark.system("lstmn")
@on_every_target
def test_a_reader_that_always_attends_to_the_last_step_is_an_lstm(target: str) -> None:
    given = {"x": draw(2, 5, 3)}
    weights = init(Source("test.dl", READERS), model="Reader")
    gates = weights["reader.gates.weight"]
    plain = {
        "lstm.weight_ih": gates[:, :3], "lstm.weight_hh": gates[:, 3:], "lstm.bias_ih": weights["reader.gates.bias"],
    }  # fmt: skip
    hs, *_ = of_text(READERS, given, target, model="Reader", weights=weights)
    expected, *_ = of_text(READERS, given, target, model="Plain", weights=plain)
    np.testing.assert_allclose(hs, expected, atol=EQUAL)


# --- glimpses -------------------------------------------------------------------------------------------------------------------------

GLIMPSE = """
from attention.ram import glimpse
model Glimpse()(image: float[B, C, H, W], center: int[B, 2]) { return glimpse(image, center, size=2, scales=2) }
"""


@pytest.mark.system("recurrent-attention-model")
@on_every_target
def test_a_glimpse_at_the_centre_of_a_constant_picture_is_constant(target: str) -> None:
    image = np.full((1, 1, 8, 8), 0.5, np.float32)
    (found,) = of_text(GLIMPSE, {"image": image, "center": np.array([[4, 4]])}, target)
    assert found.shape == (1, 2, 2, 2)
    assert np.all(found == 0.5)


@pytest.mark.system("recurrent-attention-model")
@on_every_target
def test_a_glimpse_has_pixels_around_its_place_and_zeros_outside_of_the_picture(target: str) -> None:
    image = np.arange(1, 65, dtype=np.float32).reshape(1, 1, 8, 8)
    (found,) = of_text(GLIMPSE, {"image": image, "center": np.array([[3, 5]])}, target)
    np.testing.assert_array_equal(found[0, 0], image[0, 0, 2:4, 4:6])
    np.testing.assert_array_equal(found[0, 1], image[0, 0, 1:5, 3:7].reshape(2, 2, 2, 2).mean(axis=(1, 3)))
    (corner,) = of_text(GLIMPSE, {"image": image, "center": np.array([[0, 0]])}, target)
    np.testing.assert_array_equal(corner[0, 0], [[0, 0], [0, 1]])


GRADIENTS = """
from attention.ram import RAM
model Gradients()(image: float[B, 1, 4, 4]) -> (exact: float[4, 5], sampled: float[4, 5], total: float[]) {
  layer net = RAM(3, steps=2, grid=[2, 2], size=[4, 4], patch=2, hidden=5)
  logits, centers, log_probs, _ = net(image)
  reward = log_softmax(logits)[:, 0]
  log_prob = sum(log_probs, over=1)
  way = sum(centers // 2 * [[8, 4], [2, 1]], over=[1, 2])
  probability = exp(log_prob) / gather(sum(one_hot(way, 16), over=0), way, over=0)
  exact = grad(sum(probability * stop_gradient(reward)), net.policy.linear.weight)
  return exact, grad(score_function(log_prob, reward - mean(reward)), net.policy.linear.weight), sum(probability)
}
"""


@pytest.mark.system("recurrent-attention-model")
@where_gradients_are
def test_the_sampled_gradient_of_the_policy_is_near_the_enumerated_one(target: str) -> None:
    """Of the 16 ways to place two glimpses on a grid of 2 x 2, all are drawn: their probabilities add up to 1."""
    image = np.tile(draw(1, 1, 4, 4, seed=1), (60_000, 1, 1, 1))
    exact, sampled, total = of_text(GRADIENTS, {"image": image}, target, training=True)
    np.testing.assert_allclose(total, 1, atol=1e-4)
    assert np.linalg.norm(exact) > 0.01
    assert np.linalg.norm(sampled - exact) < 0.03 * np.linalg.norm(exact)


def strips(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two digits of scikit-learn side by side, somewhere in a strip of 8 x 24 pixels; and which they are."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    chosen = rng.integers(0, len(labels), (count, 2))
    pairs = pixels.reshape(-1, 8, 8)[chosen].transpose(0, 2, 1, 3).reshape(count, 8, 16) / 16
    image = np.zeros((count, 1, 8, 24), np.float32)
    for row, pair, left in zip(image, pairs, rng.integers(0, 9, count), strict=True):
        row[0, :, left : left + 16] = pair
    return image, labels[chosen]


@pytest.mark.system("sequential-digit-reader")
@pytest.mark.slow
def test_the_reader_reads_strips_of_two_digits_from_left_to_right(tmp_path: Path) -> None:
    image, label = strips(22_000, np.random.default_rng(0))
    np.savez(tmp_path / "strips.npz", image=image, label=label)
    spec, out = SPECS / "attention" / "digit_reader.dl", tmp_path / "run"
    data = ["--data", str(tmp_path / "strips.npz"), "--validation", "0.1", "--every-validation", "1200"]
    assert cli.run(["train", str(spec), *data, "--out", str(out), "--steps", "1200", "--batch", "64"]) == 0
    assert read_rows(out / "curves.csv")[-1]["validation accuracy"] > 0.9
