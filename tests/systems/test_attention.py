"""The attention of dsl/lib: its functions and layers do what their papers say, on every target that computes them.

The Transformer is here as well; the other models that are made of it are in test_attention_models.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from backends.base import Arrays
from dsl import cli
from dsl.compiler import compile_graph, init, run, run_program, show_spec
from dsl.diagnostics import SpecError
from dsl.source import Source
from dsl.types import DType
from tests.agreement import Agreement
from tests.small import SPECS

on_every_target = pytest.mark.parametrize("target", ["torch", "jax", "onnx"])
where_gradients_are = pytest.mark.parametrize("target", ["torch", "jax"])


def computed(text: str, inputs: Arrays, target: str, weights: Arrays | None = None, **options: object) -> dict[str, np.ndarray]:
    found = run(Source("test.dl", text), inputs, target=target, weights=weights, **options)  # type: ignore[arg-type]
    return {name: np.asarray(value) for name, value in found.outputs.items()}


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def count(text: str) -> int:
    """The trained numbers of `text` applied to x: float[B, T, 512] and memory: float[B, S, 512]."""
    model = f"model M()(x: float[B, T, 512], memory: float[B, S, 512]) {{ return {text}, sum(memory) }}"
    return show_spec(Source("test.dl", model)).parameters


# --- attention ------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("scaled-dot-product-attention")
@on_every_target
@pytest.mark.parametrize(("float_type", "dtype", "within"), [(DType.F32, np.float32, 1e-6), (DType.F64, np.float64, 1e-8)])
def test_the_weights_are_scaled_by_the_width_of_the_keys(
    target: str, float_type: DType, dtype: type[np.floating], within: float
) -> None:
    text = "model M()(q: float[1, 2, 2], k: float[1, 3, 2], v: float[1, 3, 3]) { return attention(q, k, v), attention(q, k, k) }"
    given: Arrays = {
        "q": np.eye(2, dtype=dtype)[None],
        "k": np.array([[[1, 0], [0, 1], [1, 1]]], dtype),
        "v": np.eye(3, dtype=dtype)[None],
    }
    weights, mean = computed(text, given, target, float_type=float_type).values()
    np.testing.assert_allclose(weights[0, 0], [0.40111209, 0.19777581, 0.40111209], atol=within)
    np.testing.assert_allclose(mean[0, 0], [0.80222419, 0.59888791], atol=within)


MASKED = """
model M()(x: float[B, T, 8], q: float[B, 2, T, 4], v: float[B, 2, T, 3], m: bool[T, T]) {
  single = x -> attention(x, x, mask=m)
  heads = attention(q, q, v, mask=m)
  causal = attention(q, q, v, mask=m, causal=true)
  dropped = attention(q, q, v, mask=m, rate=0.5)
  flat = attention(q[0, 0], q[0, 0], v[0, 0], mask=m)
  return single, heads, causal, dropped, flat
}
"""


@pytest.mark.system("scaled-dot-product-attention")
@pytest.mark.parametrize(
    ("target", "training"), [("torch", False), ("torch", True), ("jax", False), ("jax", True), ("onnx", False)]
)
def test_a_query_that_may_attend_to_nothing_gets_0(target: str, training: bool) -> None:
    mask = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 1]], bool)
    given = {"x": draw(2, 3, 8), "q": draw(2, 2, 3, 4), "v": draw(2, 2, 3, 3), "m": mask}
    found = computed(MASKED, given, target, training=training)
    assert all(np.isfinite(y).all() and (y[..., 1, :] == 0).all() for y in found.values())
    assert (found["heads"][..., 0, :] == given["v"][..., 0, :]).all()  # the one key that is allowed has weight 1
    nothing = computed(MASKED, {**given, "m": np.zeros((3, 3), bool)}, target, training=training)
    assert all((y == 0).all() for y in nothing.values())


@pytest.mark.system("scaled-dot-product-attention")
@where_gradients_are
def test_a_query_that_may_attend_to_nothing_has_gradient_0(target: str) -> None:
    text = """
    model M()(q: float[B, 2, T, 4], k: float[B, 2, T, 4], v: float[B, 2, T, 4], m: bool[T, T]) {
      loss = sum(attention(q, k, v, mask=m) ** 2)
      return grad(loss, q), grad(loss, k), grad(loss, v)
    }"""
    given = {name: draw(2, 2, 3, 4, seed=i) for i, name in enumerate("qkv")}
    mask = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1]], bool)  # the second place neither sees nor is seen
    found = computed(text, {**given, "m": mask}, target)
    assert all(np.isfinite(y).all() and (y[..., 1, :] == 0).all() and y[..., 0, :].any() for y in found.values())


@pytest.mark.system("scaled-dot-product-attention")
@pytest.mark.verification
def test_attention_is_the_same_everywhere(agrees: Agreement) -> None:
    agrees(
        """
        model M()(q: float[B, 2, T, 4], k: float[B, 2, S, 4], v: float[B, 2, S, 3], m: bool[B, 1, T, S]) {
          return attention(q, k, v), attention(q, k, v, mask=m), attention(q, k, v, causal=true, scale=0.3)
        }""",
        sizes=[{"B": 2, "T": 3, "S": 5}, {"B": 1, "T": 4, "S": 2}],
    )


# --- several heads --------------------------------------------------------------------------------------------------------------


@pytest.mark.system("multi-head-attention")
@pytest.mark.parametrize("heads", [2**i for i in range(10)])
def test_the_number_of_heads_does_not_change_that_of_parameters(heads: int) -> None:
    assert count(f"MultiHeadAttention({heads})(x, memory, memory)") == 1_050_624


@pytest.mark.system("multi-head-attention")
def test_the_heads_divide_the_width() -> None:
    with pytest.raises(SpecError, match="the heads must divide the width"):
        count("MultiHeadAttention(3)(x, memory, memory)")


SLOPE = """
model M()(x: float[B, T, 4], memory: float[B, S, 6], m: bool[B, 1, 1, S]) {
  layer attend = MultiHeadAttention(2)
  slope = grad(sum(attend(x, memory, memory, m) ** 2), x)
  return sum(slope ** 2)
}
"""


@pytest.mark.system("multi-head-attention")
def test_its_gradient_has_a_gradient(agrees: Agreement) -> None:
    agrees(SLOPE, sizes=[{"B": 2, "T": 3, "S": 4}], refused=["onnx"])
    agrees(
        SLOPE.replace("memory, m)", "memory)").replace(", m: bool[B, 1, 1, S]", ""),
        sizes=[{"B": 2, "T": 3, "S": 4}],
        refused=["onnx"],
    )


@pytest.mark.system("multi-head-attention")
@pytest.mark.verification
def test_several_heads_are_the_same_everywhere(agrees: Agreement) -> None:
    agrees(
        """
        model M()(x: float[B, T, 4], y: float[B, S, 6], z: float[B, S, 3], m: bool[B, 1, 1, S]) {
          return MultiHeadAttention(2)(x, y, z), MultiHeadAttention(4, kv_heads=2)(x, y, z, m)
        }""",
        sizes=[{"B": 2, "T": 3, "S": 4}],
    )


@pytest.mark.system("self-attention")
@on_every_target
def test_self_attention_does_not_know_the_order_of_tokens(target: str) -> None:
    text = "model M()(x: float[B, T, 8]) { return x -> SelfAttention(2) }"
    x, order = draw(2, 6, 8), np.random.default_rng(0).permutation(6)
    (y,), (moved,) = (computed(text, {"x": each}, target).values() for each in (x, x[:, order]))
    np.testing.assert_allclose(moved, y[:, order], atol=1e-5)


@pytest.mark.system("self-attention")
@where_gradients_are
def test_causal_self_attention_sees_no_later_token(target: str) -> None:
    text = """
    model M(causal: bool)(x: float[T, T, 8]) {                # T copies of a sequence: of copy t, the output at t counts
      y = x -> SelfAttention(2, causal=causal)
      return norm(grad(sum(y * eye(T)[:, :, none]), x), over=-1)
    }"""
    x = np.repeat(draw(1, 5, 8), 5, axis=0)
    (slopes,) = computed(text, {"x": x}, target, hyper={"causal": True}).values()
    assert (np.triu(slopes, 1) == 0).all()
    assert (slopes > 0).sum() == 5 * 6 // 2
    (slopes,) = computed(text, {"x": x}, target, hyper={"causal": False}).values()
    assert (slopes > 0).all()


@pytest.mark.system("self-attention")
@pytest.mark.verification
def test_self_attention_is_the_same_everywhere(agrees: Agreement) -> None:
    agrees(
        """
        model M()(x: float[B, T, 4], m: bool[B, 1, 1, T]) {
          return SelfAttention(2)(x, m), SelfAttention(1, causal=true)(x), SelfAttention(2, causal=true)(x, m)
        }""",
        sizes=[{"B": 2, "T": 3}, {"B": 1, "T": 1}],
    )


# --- the layers of the Transformer ----------------------------------------------------------------------------------------------


@pytest.mark.system("transformer-encoder")
def test_the_size_of_an_encoder() -> None:
    assert count("TransformerEncoderLayer(8, 2048)(x)") == 3_152_384
    assert count("TransformerEncoder(6, 8, 2048)(x)") == 6 * 3_152_384
    assert count("TransformerEncoder(6, 8, 2048, norm_first=true)(x)") == 6 * 3_152_384 + 2 * 512  # the last LayerNorm


@pytest.mark.system("transformer-encoder")
@on_every_target
@pytest.mark.parametrize("norm_first", [False, True])
def test_padded_places_never_influence_real_ones(target: str, norm_first: bool) -> None:
    text = """
    model M(norm_first: bool)(x: float[B, T, 8], m: bool[B, T]) {
      return x -> TransformerEncoder(2, 2, 12, norm_first=norm_first)(m[:, none, none])
    }"""
    real = np.arange(6) < np.array([[6], [4], [1]])
    x, other = draw(3, 6, 8, seed=1), draw(3, 6, 8, seed=2)
    padded = np.where(real[:, :, None], x, 100 * other)
    (y,), (z,) = (
        computed(text, {"x": each, "m": real}, target, hyper={"norm_first": norm_first}).values() for each in (x, padded)
    )
    assert (y[real] == z[real]).all()
    (alone,) = computed(text, {"x": x[1:2, :4], "m": real[1:2, :4]}, target, hyper={"norm_first": norm_first}).values()
    np.testing.assert_allclose(y[1, :4], alone[0], atol=1e-5)


@pytest.mark.system("transformer-encoder")
@pytest.mark.verification
@pytest.mark.slow
def test_encoders_are_the_same_everywhere(agrees: Agreement) -> None:
    agrees(
        """
        model M()(x: float[B, T, 4], m: bool[B, 1, 1, T]) {
          return TransformerEncoder(2, 2, 6)(x, m) -> TransformerEncoderLayer(1, 6, act=gelu, norm_first=true)
        }""",
        sizes=[{"B": 2, "T": 3}],
    )


@pytest.mark.system("transformer-decoder")
def test_the_size_of_a_decoder() -> None:
    assert count("TransformerDecoderLayer(8, 2048)(x, memory)") == 4_204_032
    assert count("TransformerDecoder(6, 8, 2048)(x, memory)") == 6 * 4_204_032


@pytest.mark.system("transformer-decoder")
@where_gradients_are
def test_a_decoder_sees_the_targets_before_and_the_whole_source(target: str) -> None:
    text = """
    model M()(x: float[T, T, 8], memory: float[T, S, 8]) {    # T copies of a sequence: of copy t, the output at t counts
      y = x -> TransformerDecoder(1, 2, 12)(memory)
      loss = sum(y ** 3 * eye(T)[:, :, none])
      return norm(grad(loss, x), over=-1), norm(grad(loss, memory), over=-1)
    }"""
    x, memory = np.repeat(draw(1, 5, 8), 5, axis=0), np.repeat(draw(1, 4, 8), 5, axis=0)
    to_target, to_source = computed(text, {"x": x, "memory": memory}, target).values()
    assert (np.triu(to_target, 1) == 0).all()
    assert (to_target[np.tril_indices(5)] > 0).all()
    assert (to_source > 0).all()


@pytest.mark.system("transformer-decoder")
@pytest.mark.verification
@pytest.mark.slow
def test_decoders_are_the_same_everywhere(agrees: Agreement) -> None:
    agrees(
        """
        model M()(x: float[B, T, 4], memory: float[B, S, 6], m: bool[B, 1, 1, S]) {
          return TransformerDecoder(1, 2, 6)(x, memory, m) -> TransformerDecoderLayer(1, 6, norm_first=true)(memory)
        }""",
        sizes=[{"B": 2, "T": 3, "S": 2}],
    )


@pytest.mark.system("transformer-ffn")
def test_the_size_of_a_feed_forward_network() -> None:
    assert count("FeedForward(2048)(x)") == 2_099_712


WRAPPED = """
module Zero()(x: float[..., D]) -> float[..., D] { return 0 * x }

model M()(x: float[B, T, 8]) {
  layer norm = LayerNorm
  return x -> Sublayer(Zero), norm(x), x -> Sublayer(Zero, norm_first=true), x -> Sublayer(FeedForward(4, act=gelu))
}
"""


@pytest.mark.system("transformer-ffn")
@on_every_target
def test_around_a_layer_of_zeros_there_is_the_norm_or_nothing(target: str) -> None:
    x = draw(2, 3, 8)
    after, norm, before, _ = computed(WRAPPED, {"x": x}, target).values()
    assert (before == x).all()
    if target == "onnx":
        np.testing.assert_allclose(after, norm, rtol=0, atol=1e-6)  # onnxruntime makes one operator of the sum and its norm
    else:
        assert (after == norm).all()


@pytest.mark.system("transformer-ffn")
@on_every_target
def test_a_feed_forward_network_works_on_each_place_alone(target: str) -> None:
    text = "model M()(x: float[B, T, 8]) { return x -> FeedForward(12) }"
    x = draw(2, 5, 8)
    (y,), (one,) = (computed(text, {"x": each}, target).values() for each in (x, x[:, 3:4]))
    np.testing.assert_allclose(y[:, 3:4], one, atol=1e-6)


@pytest.mark.system("transformer-ffn")
@pytest.mark.verification
def test_sublayers_are_the_same_everywhere(agrees: Agreement) -> None:
    agrees(WRAPPED, sizes=[{"B": 2, "T": 3}])


# --- the Transformer -----------------------------------------------------------------------------------------------------------

TRANSFORMER = SPECS / "attention" / "transformer.dl"
SMALL = {"vocab": 12, "width": 32, "hidden": 64, "layers": 1, "heads": 4, "rate": 0.0}


@pytest.mark.system("transformer")
@on_every_target
def test_the_decoder_sees_no_later_word_and_no_padding(target: str) -> None:
    source, words = np.random.default_rng(0).integers(1, 12, (2, 3, 5))
    source[1:], words[1:] = source[0], words[0]
    mask = np.tile(np.arange(5) < 3, (3, 1))
    words[1, 3:] = words[1, 3:] % 11 + 1  # other words from the fourth on
    source[2, 3:] = source[2, 3:] % 11 + 1  # other padding
    given = {"source": source, "target": words, "source_mask": mask}
    before, later, padded = np.asarray(run(TRANSFORMER, given, {**SMALL, "layers": 2}, target=target).outputs["logits"])
    np.testing.assert_allclose(later[:3], before[:3], atol=1e-5)
    assert np.abs(later[3:] - before[3:]).max(axis=-1).min() > 1e-3
    np.testing.assert_allclose(padded, before, atol=1e-5)


def pairs(count: int, seed: int, longest: int = 6) -> dict[str, np.ndarray]:
    """Sequences of 2 to 6 of the words 3 ... 11, and the same between 1 and 2, filled up with 0."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, longest + 1, count)
    source = np.where(np.arange(longest) < lengths[:, None], random.integers(3, 12, (count, longest)), 0)
    target = np.pad(source, ((0, 0), (1, 1)), constant_values=((0, 0), (1, 0)))
    target[np.arange(count), lengths + 1] = 2
    return {"source": source, "target": target}


@pytest.mark.slow
@pytest.mark.system("transformer")
def test_a_transformer_learns_to_copy(tmp_path: Path) -> None:
    np.savez(tmp_path / "pairs.npz", **pairs(3000, seed=0))  # type: ignore[arg-type]
    settings = [a for name, value in {**SMALL, "warmup": 100}.items() for a in ("--set", f"{name}={value}")]
    options = ["--data", tmp_path / "pairs.npz", "--out", tmp_path / "run", "--batch", 32, "--steps", 300, *settings]
    assert cli.run([str(a) for a in ("train", TRANSFORMER, "Translate", *options)]) == 0

    learned = load_file(tmp_path / "run" / "weights.safetensors")
    weights = {name.removeprefix("net."): array for name, array in learned.items()}
    unseen = pairs(200, seed=1)
    program, source = compile_graph(TRANSFORMER, SMALL), unseen["source"]
    words = np.ones((200, 1), int)
    for _ in range(7):  # the likeliest word, again and again
        given = {"source": source, "target": words, "source_mask": source != 0}
        logits = run_program(program, given, target="torch", weights=weights).outputs["logits"]
        words = np.concatenate([words, np.asarray(logits)[:, -1:].argmax(axis=-1)], axis=1)
    asked = unseen["target"] != 0  # what comes after the end does not count
    copied = np.where(asked, words == unseen["target"], True).all(axis=1)
    assert copied.mean() > 0.95, copied.mean()


# --- positions ------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("positional-encoding")
@on_every_target
def test_positions_turn_by_fixed_angles(target: str) -> None:
    text = "model M()(x: float[T, 1]) { return sinusoid(T, 16) + 0 * x }"
    (table,) = computed(text, {"x": np.zeros((50, 1), np.float32)}, target).values()
    assert (table[0] == [0, 1] * 8).all()
    np.testing.assert_allclose(table[:, 0], np.sin(np.arange(50)), atol=1e-5)
    np.testing.assert_allclose(table[:, 15], np.cos(np.arange(50) * 10000 ** (-14 / 16)), atol=1e-5)
    later = 7
    angles = later * 10000.0 ** (-np.arange(0, 16, 2) / 16)
    turned = np.zeros((16, 16))
    for i, angle in enumerate(angles):
        turned[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    np.testing.assert_allclose(table[later:], table[:-later] @ turned.T, atol=1e-5)


@pytest.mark.system("positional-encoding")
def test_learned_positions_end_with_the_context() -> None:
    with pytest.raises(SpecError, match="the sequence is longer than the context window"):
        compile_graph(Source("test.dl", "model M()(x: float[B, 9, 4]) { return x -> LearnedPositions(8) }"))


@pytest.mark.system("positional-encoding")
@on_every_target
def test_learned_positions_end_with_the_context_at_run_time(target: str) -> None:
    text = "model M()(x: float[B, T, 4]) { return x -> LearnedPositions(8) }"
    weight = draw(8, 4)
    (y,) = computed(text, {"x": np.zeros((2, 8, 4), np.float32)}, target, {"learned_positions.weight": weight}).values()
    assert (y == weight).all()
    with pytest.raises(Exception, match="longer than the context window"):
        computed(text, {"x": np.zeros((2, 9, 4), np.float32)}, target)


@pytest.mark.system("positional-encoding")
@pytest.mark.verification
def test_positions_are_the_same_everywhere(agrees: Agreement) -> None:
    agrees(
        "model M()(x: float[B, T, 6]) { return x * sinusoid(T, 6), x -> LearnedPositions(8) }",
        sizes=[{"B": 2, "T": 3}, {"B": 1, "T": 8}],
    )


# --- scores ---------------------------------------------------------------------------------------------------------------------

ADDITIVE = "model M()(x: float[B, T, 5], y: float[B, S, 3]) { return x -> score: AdditiveScore(4)(y) }"


@pytest.mark.system("additive-score")
@on_every_target
def test_the_additive_score_is_that_of_each_pair(target: str) -> None:
    x, y = draw(2, 3, 5), draw(2, 4, 3)
    weights = {"score.query.weight": draw(4, 5), "score.key.weight": draw(4, 3), "score.v.weight": draw(1, 4)}
    (scores,) = computed(ADDITIVE, {"x": x, "y": y}, target, weights).values()
    both = np.concatenate([weights["score.query.weight"], weights["score.key.weight"]], axis=1)  # the one matrix of the paper
    for b in range(2):
        for t in range(3):
            for s in range(4):
                one = weights["score.v.weight"][0] @ np.tanh(both @ np.concatenate([x[b, t], y[b, s]]))
                assert scores[b, t, s] == pytest.approx(one, abs=1e-5)


@pytest.mark.system("additive-score")
@on_every_target
def test_the_only_place_of_a_source_has_weight_1(target: str) -> None:
    text = "model M()(x: float[B, T, 5], y: float[B, 1, 3]) { return softmax(x -> AdditiveScore(4)(y)) }"
    (weights,) = computed(text, {"x": draw(2, 3, 5), "y": draw(2, 1, 3)}, target).values()
    assert (weights == 1).all()


BILINEAR = "model M()(x: float[B, T, 4], y: float[B, S, 4]) { return dot_score(x, y), x -> score: BilinearScore()(y) }"


@pytest.mark.system("bilinear-score")
@on_every_target
def test_the_bilinear_score_with_the_identity_is_the_dot_product(target: str) -> None:
    x, y = draw(2, 3, 4), draw(2, 5, 4, seed=1)
    dot, bilinear = computed(BILINEAR, {"x": x, "y": y}, target, {"score.weight": np.eye(4, dtype=np.float32)}).values()
    np.testing.assert_allclose(dot, x @ y.transpose(0, 2, 1), atol=1e-5)
    np.testing.assert_allclose(bilinear, dot, atol=1e-6)


@pytest.mark.system("bilinear-score")
def test_only_the_bilinear_score_takes_vectors_of_two_widths() -> None:
    text = "model M()(x: float[B, T, 4], y: float[B, S, 6]) {{ return {} }}"
    program = compile_graph(Source("test.dl", text.format("x -> BilinearScore()(y)")))
    assert [p.type.shape for p in program.parameters().values()] == [(4, 6)]
    with pytest.raises(SpecError, match="shapes do not match in `keys`"):
        compile_graph(Source("test.dl", text.format("dot_score(x, y)")))


CONTENT = "model M()(x: float[B, T, 4], y: float[B, S, 4]) { return content_score(x, y) }"


@pytest.mark.system("content-location-score")
@on_every_target
def test_the_content_score_is_a_cosine(target: str) -> None:
    x, y = draw(2, 3, 4), draw(2, 5, 4, seed=1)
    (scores,) = computed(CONTENT, {"x": x, "y": y}, target).values()
    cosines = (x / np.linalg.norm(x, axis=-1, keepdims=True)) @ (y / np.linalg.norm(y, axis=-1, keepdims=True)).transpose(0, 2, 1)
    np.testing.assert_allclose(scores, cosines, atol=1e-6)
    for a, b in ((1000, 1), (1, 0.001), (0.01, 30)):
        (scaled,) = computed(CONTENT, {"x": a * x, "y": b * y}, target).values()
        np.testing.assert_allclose(scaled, scores, atol=1e-6)
    x[0, 1] = 0
    (scores,) = computed(CONTENT, {"x": x, "y": y}, target).values()
    assert (scores[0, 1] == 0).all()
    assert (scores[1] != 0).all()


@pytest.mark.system("content-location-score")
@where_gradients_are
def test_the_content_score_of_zeros_has_a_gradient(target: str) -> None:
    text = CONTENT.replace("return content_score(x, y)", "return grad(sum(content_score(x, y)), x)")
    (slope,) = computed(text, {"x": np.zeros((1, 2, 4), np.float32), "y": draw(1, 3, 4)}, target).values()
    assert np.isfinite(slope).all()


LOCATION = """
model M()(x: float[B, T, 4], memory: float[B, S, 6], m: bool[B, S]) {
  return x -> by_place: LocationAttention(7)(memory, m)
}
"""


@pytest.mark.system("content-location-score")
@on_every_target
def test_attention_by_location_ignores_what_is_there(target: str) -> None:
    x, memory, mask = draw(2, 3, 4), draw(2, 5, 6), np.arange(5) < np.array([[5], [3]])
    weight = draw(7, 4)
    given = {"x": x, "memory": memory, "m": mask}
    context, weights = computed(LOCATION, given, target, {"by_place.weight": weight}).values()
    assert (weights[1, :, 3:] == 0).all()
    np.testing.assert_allclose(weights[0], softmax(x[0] @ weight[:5].T), atol=1e-6)
    np.testing.assert_allclose(weights[1, :, :3], softmax(x[1] @ weight[:3].T), atol=1e-6)
    np.testing.assert_allclose(context, weights @ memory, atol=1e-5)
    _, others = computed(LOCATION, {**given, "memory": 10 - memory}, target, {"by_place.weight": weight}).values()
    assert (others == weights).all()


@pytest.mark.system("content-location-score")
@on_every_target
def test_attention_by_location_refuses_a_longer_source(target: str) -> None:
    with pytest.raises(SpecError, match="longer than the places"):
        compile_graph(Source("test.dl", LOCATION.replace("[B, S", "[B, 8")))
    longer = {"x": draw(2, 3, 4), "memory": draw(2, 8, 6), "m": np.ones((2, 8), bool)}
    with pytest.raises(Exception, match="longer than the places"):
        computed(LOCATION, longer, target)


@pytest.mark.system("additive-score", "bilinear-score", "content-location-score")
@pytest.mark.verification
@pytest.mark.parametrize("text", [ADDITIVE, BILINEAR, CONTENT, LOCATION])
def test_scores_are_the_same_everywhere(text: str, agrees: Agreement) -> None:
    agrees(text, sizes=[{"B": 2, "T": 3, "S": 4}, {"B": 1, "T": 1, "S": 7}])


# --- hard attention -------------------------------------------------------------------------------------------------------------

HARD = """
model M()(x: float[B, T, 4], memory: float[B, S, 6], m: bool[B, S]) {
  return x -> attend: HardAttention()(memory, m)
}
"""


@pytest.mark.system("hard-attention")
@on_every_target
def test_hard_attention_takes_the_likeliest_place_in_inference(target: str) -> None:
    x, memory, mask, weight = draw(3, 4, 4), draw(3, 5, 6), np.arange(5) < np.array([[5], [3], [1]]), draw(4, 6)
    given = {"x": x, "memory": memory, "m": mask}
    context, log_prob, place = computed(HARD, given, target, {"attend.score.weight": weight}).values()
    scores = np.where(mask[:, None], x @ weight @ memory.transpose(0, 2, 1), -1e30)
    assert (place == scores.argmax(axis=-1)).all()
    assert (context == np.take_along_axis(memory, place[:, :, None], axis=1)).all()
    np.testing.assert_allclose(np.exp(log_prob), softmax(scores).max(axis=-1), atol=1e-6)


@pytest.mark.system("hard-attention")
@where_gradients_are
def test_in_training_the_score_function_estimates_the_gradient(target: str) -> None:
    text = """
    model M()(x: float[N, 1, 4], memory: float[N, 5, 6], value: float[6]) {   # N draws
      layer attend = HardAttention()
      context, log_prob, place = attend(x, memory)
      drawn = grad(score_function(log_prob, context @ value), attend.score.weight)
      soft = sum(softmax(x[:1] @ attend.score.weight @ memory[:1].T) * (memory[:1, none] @ value))
      expected = grad(soft, attend.score.weight)
      return drawn, expected, place
    }"""
    given = {
        "x": np.repeat(draw(1, 1, 4), 100_000, axis=0),
        "memory": np.repeat(draw(1, 5, 6), 100_000, axis=0),
        "value": draw(6),
    }
    weights = {"attend.score.weight": 0.3 * draw(4, 6)}
    drawn, expected, place = computed(text, given, target, weights, training=True).values()
    assert np.linalg.norm(drawn - expected) < 0.02 * np.linalg.norm(expected)
    scores = given["x"][0] @ weights["attend.score.weight"] @ given["memory"][0].T
    np.testing.assert_allclose(np.bincount(place[:, 0], minlength=5) / 100_000, softmax(scores)[0], atol=0.01)


@pytest.mark.system("hard-attention")
@pytest.mark.verification
def test_hard_attention_is_the_same_everywhere(agrees: Agreement) -> None:
    agrees(HARD.replace("HardAttention()", "HardAttention(AdditiveScore(3))"), sizes=[{"B": 2, "T": 3, "S": 4}])


# --- attention over space -------------------------------------------------------------------------------------------------------

NON_LOCAL = "model M()(x: float[B, 8, H, W]) { return x -> block: NonLocal(width=3) }"


def non_local_weights(gamma: float) -> dict[str, np.ndarray]:
    shapes = {"query": (3, 8, 1, 1), "key": (3, 8, 1, 1), "value": (8, 8, 1, 1)}
    weights = {f"block.{name}.weight": draw(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    return {
        **weights,
        **{f"block.{name}.bias": draw(shape[0]) for name, shape in shapes.items()},
        "block.gamma": np.array(gamma, np.float32),
    }


@pytest.mark.system("non-local")
@on_every_target
def test_a_non_local_block_begins_as_the_identity(target: str) -> None:
    x = draw(2, 8, 3, 4)
    assert init(Source("test.dl", NON_LOCAL))["block.gamma"] == 0
    (y,) = computed(NON_LOCAL, {"x": x}, target, non_local_weights(0)).values()
    assert y.tobytes() == x.tobytes()


@pytest.mark.system("non-local")
@where_gradients_are
def test_at_first_only_gamma_learns(target: str) -> None:
    text = """
    model M()(x: float[B, 8, H, W]) {
      layer block = NonLocal(width=3)
      loss = sum(block(x) ** 3)
      return grad(loss, block.gamma), grad(loss, block.query.weight), grad(loss, block.key.weight), grad(loss, block.value.weight)
    }"""
    gamma, *convolutions = computed(text, {"x": draw(2, 8, 3, 4)}, target, non_local_weights(0)).values()
    assert gamma != 0
    assert all((slope == 0).all() for slope in convolutions)
    assert all(slope.any() for slope in computed(text, {"x": draw(2, 8, 3, 4)}, target, non_local_weights(1)).values())


@pytest.mark.system("non-local")
@on_every_target
def test_each_place_attends_to_all_others_with_weights_of_sum_1(target: str) -> None:
    x, weights = draw(2, 8, 3, 4), non_local_weights(0.5)
    (y,) = computed(NON_LOCAL, {"x": x}, target, weights).values()
    places = x.reshape(2, 8, 12)
    query, key, value = (
        np.einsum("oi,bin->bon", weights[f"block.{name}.weight"][:, :, 0, 0], places) + weights[f"block.{name}.bias"][:, None]
        for name in ("query", "key", "value")
    )
    shares = softmax(query.transpose(0, 2, 1) @ key)  # of place j, what it takes from each place i
    np.testing.assert_allclose(y, x + 0.5 * (value @ shares.transpose(0, 2, 1)).reshape(x.shape), atol=1e-4)
    constant = {**weights, "block.value.weight": np.zeros((8, 8, 1, 1), np.float32), "block.value.bias": np.ones(8, np.float32)}
    (y,) = computed(NON_LOCAL, {"x": x}, target, constant).values()
    np.testing.assert_allclose(y, x + 0.5, atol=1e-6)  # a mean of ones


@pytest.mark.system("non-local")
@pytest.mark.verification
def test_non_local_blocks_are_the_same_everywhere(agrees: Agreement) -> None:
    agrees(NON_LOCAL, sizes=[{"B": 2, "H": 2, "W": 3}])


MAP = "model M()(x: float[B, 4, H, W]) { return x -> attend: AttentionMap }"


@pytest.mark.system("attention-map")
@on_every_target
def test_an_attention_map_is_a_weighted_mean_over_places(target: str) -> None:
    x = draw(2, 4, 3, 5)
    weights = {"attend.score.weight": draw(1, 4, 1, 1), "attend.score.bias": draw(1)}
    pooled, where = computed(MAP, {"x": x}, target, weights).values()
    np.testing.assert_allclose(where.sum(axis=(1, 2)), 1, atol=1e-6)
    np.testing.assert_allclose(pooled, (x * where[:, None]).sum(axis=(2, 3)), atol=1e-5)
    uniform = {"attend.score.weight": np.zeros((1, 4, 1, 1), np.float32), "attend.score.bias": np.ones(1, np.float32)}
    pooled, where = computed(MAP, {"x": x}, target, uniform).values()
    np.testing.assert_allclose(where, 1 / 15, atol=1e-7)
    np.testing.assert_allclose(pooled, x.mean(axis=(2, 3)), atol=1e-6)


@pytest.mark.system("attention-map")
@pytest.mark.verification
def test_attention_maps_are_the_same_everywhere(agrees: Agreement) -> None:
    agrees(MAP, sizes=[{"B": 2, "H": 2, "W": 3}])
