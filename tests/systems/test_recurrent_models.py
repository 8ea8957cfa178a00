"""The models of specs/recurrent do what they are named for: what may depend on what, what they equal, and what they learn.

Thresholds of learning are those of the first correct runs, with room for other machines.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from backends.base import Arrays
from dsl.compiler import init, run
from dsl.source import Source
from tests.small import SPECS, VARIANTS
from tests.test_learning import computed, saved, trained

RECURRENT = SPECS / "recurrent"
on_every_target = pytest.mark.parametrize("target", ["torch", "jax", "onnx"])


def small(
    spec: str, inputs: Arrays, target: str, weights: Arrays | None = None, *, entry: str | None = None
) -> dict[str, np.ndarray]:
    """The outputs of the small variant of a spec."""
    variant = VARIANTS[f"recurrent/{spec}"]
    return dict(
        run(variant.path, inputs, variant.settings, target=target, model=variant.model, entry=entry, weights=weights).outputs
    )


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def integers(high: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(high, size=shape)


# --- encoder and decoder --------------------------------------------------------------------------------------------------------


@pytest.mark.system("seq2seq")
@on_every_target
def test_a_token_of_the_target_changes_later_logits_only(target: str) -> None:
    source, said = integers(6, 1, 4), integers(6, 1, 5)
    other = said.copy()
    other[0, 2] = (said[0, 2] + 1) % 6
    a = small("seq2seq.dl", {"source": source, "target": said}, target)["logits"]
    b = small("seq2seq.dl", {"source": source, "target": other}, target)["logits"]
    np.testing.assert_array_equal(a[:, :3], b[:, :3])  # of the third token too: it is what is guessed
    assert np.abs(a[:, 3:] - b[:, 3:]).min() > 0


@pytest.mark.system("seq2seq")
def test_both_lengths_vary_at_run_time(tmp_path: Path) -> None:
    """One file for all lengths: onnxruntime has no shapes but those of the file."""
    import onnxruntime

    from tests.test_learning import dslc

    settings = [a for name, value in VARIANTS["recurrent/seq2seq.dl"].settings.items() for a in ("--set", f"{name}={value}")]
    dslc("compile", RECURRENT / "seq2seq.dl", "-b", "onnx", "--entry", "forward", *settings, "-o", tmp_path / "seq2seq.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "seq2seq.onnx"))
    for s, t in itertools.product((1, 4, 9), (1, 6)):
        (logits,) = session.run(None, {"source": integers(6, 2, s), "target": integers(6, 2, t)})
        assert logits.shape == (2, t, 6)


def reversals(symbols: int, length: int, first: int = 2) -> np.ndarray:
    """All strings of symbols, shuffled."""
    strings = np.array(list(itertools.product(range(first, first + symbols), repeat=length)))
    return np.random.default_rng(0).permutation(strings)


@pytest.mark.slow
@pytest.mark.system("seq2seq")
def test_five_tokens_are_reversed(tmp_path: Path) -> None:
    strings = reversals(6, 5)  # 7776, of which it sees 6000
    stop = np.zeros((len(strings), 1), int)
    pairs = {"source": strings, "target": np.hstack([strings[:, ::-1], stop])}
    data = saved(tmp_path, "pairs", {name: value[:6000] for name, value in pairs.items()})
    size = ("--set", "vocab=8", "--set", "hidden=64", "--set", "width=16")
    trained("recurrent/seq2seq.dl:Translate", data, tmp_path / "run", "--batch", 64, "--steps", 1500, *size, "--set", "lr=1e-2")
    weights = f"{tmp_path}/run/weights.safetensors:net"
    found = computed(
        "recurrent/seq2seq.dl", "Seq2Seq", weights, {"source": strings[6000:]}, tmp_path, *size, "--entry", "translate", "--set", "limit=6",
    )["tokens"]  # fmt: skip
    assert (found == pairs["target"][6000:]).all(axis=1).mean() > 0.95


# --- labels ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("rnn-classifier")
@pytest.mark.parametrize("spec", ["sequence_label.dl", "sequence_label.dl:Tagger"])
@on_every_target
def test_what_comes_after_a_sequence_changes_nothing(spec: str, target: str) -> None:
    tokens, length = integers(6, 3, 5), np.array([3, 5, 1])
    other = np.where(np.arange(5) < length[:, None], tokens, (tokens + 1) % 6)
    a = small(spec, {"tokens": tokens, "length": length}, target)["logits"]
    b = small(spec, {"tokens": other, "length": length}, target)["logits"]
    np.testing.assert_array_equal(a, b)
    (short,) = small(spec, {"tokens": tokens[:1, :3], "length": length[:1]}, target)["logits"]
    np.testing.assert_allclose(a[0, :3] if a.ndim == 3 else a[0], short, atol=1e-6)


@pytest.mark.system("rnn-classifier")
def test_the_parity_of_eight_bits_is_learned(tmp_path: Path) -> None:
    """From strings of one to eight bits: of strings of eight alone it learned nothing in 1500 steps."""
    random = np.random.default_rng(0)
    bits, length = random.integers(2, size=(4096, 8)), random.integers(1, 9, size=4096)
    label = (bits * (np.arange(8) < length[:, None])).sum(axis=1) % 2
    data = saved(tmp_path, "bits", {"tokens": bits, "length": length, "label": label})
    size = ("--set", "vocab=2", "--set", "width=4", "--set", "hidden=16")
    block = "recurrent/sequence_label.dl:Classify"
    trained(block, data, tmp_path / "run", "--batch", 64, "--steps", 300, *size, "--set", "lr=1e-2")
    every = {"tokens": np.array(list(itertools.product((0, 1), repeat=8))), "length": np.full(256, 8)}
    weights = f"{tmp_path}/run/weights.safetensors:net"
    logits = computed("recurrent/sequence_label.dl", "Classifier", weights, every, tmp_path, *size)["logits"]
    assert (logits.argmax(axis=1) == every["tokens"].sum(axis=1) % 2).all()


# --- captions -------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("rnn-one-to-many")
@on_every_target
def test_speaking_with_all_words_given_is_the_pass_of_training(target: str) -> None:
    image, caption = draw(2, 3, 8, 8), np.array([[3, 2, 5, 0], [4, 4, 0, 0]])
    taught = small("captioner.dl", {"image": image, "caption": caption}, target, entry="forward")["logits"]
    spoken = small("captioner.dl", {"image": image, "given": caption}, target, entry="speak")
    np.testing.assert_array_equal(spoken["words"], caption)
    np.testing.assert_allclose(spoken["logits"], taught, atol=1e-5)


@pytest.mark.system("rnn-one-to-many")
@on_every_target
def test_what_is_said_freely_is_what_would_be_said_after_it_and_nothing_comes_after_stop(target: str) -> None:
    image, free = draw(16, 3, 8, 8), np.full((16, 6), -1)
    weights = dict(init(RECURRENT / "captioner.dl", VARIANTS["recurrent/captioner.dl"].settings, seed=2))
    weights["eye.linear.weight"] = 30 * weights["eye.linear.weight"]  # so that images are told apart, and some words are STOP
    weights["decoder.out.weight"] = 10 * weights["decoder.out.weight"][::-1]
    words = small("captioner.dl", {"image": image, "given": free}, target, weights, entry="speak")["words"]
    taught = small("captioner.dl", {"image": image, "caption": words}, target, weights, entry="forward")["logits"]
    ended = np.cumsum(words == 0, axis=1) - (words == 0) > 0
    assert ended.any() and not words[ended].any() and len(np.unique(words, axis=0)) > 3
    np.testing.assert_array_equal(words[~ended], taught.argmax(axis=2)[~ended])


@pytest.mark.system("rnn-one-to-many")
@on_every_target
def test_the_image_enters_once_as_the_carry(target: str) -> None:
    """A state that forgets everything in a step knows nothing of the image from the second word on."""
    image, caption = draw(2, 3, 8, 8), np.array([[3, 2, 5, 0]] * 2)
    weights = dict(init(RECURRENT / "captioner.dl", VARIANTS["recurrent/captioner.dl"].settings))
    given = {"image": 5 * image, "caption": caption}
    logits = small("captioner.dl", given, target, weights, entry="forward")["logits"]
    assert np.abs(logits[0] - logits[1]).max(axis=-1).min() > 1e-4
    weights["decoder.rnn.weight_hh"] = np.zeros((12, 4), np.float32)
    weights["decoder.rnn.bias_hh"] = np.repeat(np.array([0, -1e3, 0], np.float32), 4)  # the gate that keeps
    logits = small("captioner.dl", given, target, weights, entry="forward")["logits"]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-6)


# --- questions about images -----------------------------------------------------------------------------------------------------


@pytest.mark.system("vqa")
@on_every_target
def test_answers_that_see_no_image_do_not_depend_on_it(target: str) -> None:
    question = {"question": integers(6, 2, 3), "length": np.array([3, 2])}
    seen = [small("vqa.dl", {"image": draw(2, 5, seed=seed), **question}, target)["logits"] for seed in (0, 1)]
    assert np.abs(seen[0] - seen[1]).min() > 1e-4
    blind = [small("vqa.dl", {"image": 0 * draw(2, 5, seed=seed), **question}, target)["logits"] for seed in (0, 1)]
    np.testing.assert_array_equal(blind[0], blind[1])
    # The product is the only way in: where the question says nothing, no image is seen either.
    variant = VARIANTS["recurrent/vqa.dl"]
    silent = {n: 0 * v if n.startswith("question.") else v for n, v in init(variant.path, variant.settings).items()}
    deaf = [small("vqa.dl", {"image": draw(2, 5, seed=seed), **question}, target, silent)["logits"] for seed in (0, 1)]
    np.testing.assert_array_equal(deaf[0], deaf[1])


@pytest.mark.system("vqa")
def test_whether_a_bit_that_is_seen_differs_from_one_that_is_said_is_learned(tmp_path: Path) -> None:
    seen, said = np.meshgrid([0, 1], [2, 3])
    one = np.eye(2, dtype=np.float32)
    rows = {
        "image": one[seen.ravel()], "question": np.stack([0 * said.ravel(), said.ravel(), 1 + 0 * said.ravel()], axis=1),
        "length": np.full(4, 3), "answer": (seen.ravel() != said.ravel() - 2).astype(int),
    }  # fmt: skip
    data = saved(tmp_path, "rows", {name: np.tile(value, (16,) + (1,) * (value.ndim - 1)) for name, value in rows.items()})
    size = {"features": 2, "vocab": 4, "width": 8, "hidden": 8, "layers": 1, "fused": 8, "answers": 2, "lr": 0.01}
    settings = [a for name, value in size.items() for a in ("--set", f"{name}={value}")]
    curve = trained("recurrent/vqa.dl:Answer", data, tmp_path / "run", "--batch", 16, "--steps", 300, *settings)
    assert curve[-1]["accuracy"] == 1 and curve[-1]["loss"] < 0.1


# --- trees ----------------------------------------------------------------------------------------------------------------------


def root(tokens: list[int], left: list[int], right: list[int], target: str, weights: Arrays | None = None) -> np.ndarray:
    arrays = {"tokens": np.array([tokens]), "left": np.array([left]), "right": np.array([right])}
    return np.asarray(small("recursive_net.dl", arrays, target, weights)["root"][0])


@pytest.mark.system("recursive-net")
@on_every_target
def test_a_tree_that_leans_to_the_left_is_a_recurrent_network(target: str) -> None:
    """((((a b) c) d): the left part is the state, the right part a token."""
    variant = VARIANTS["recurrent/recursive_net.dl"]
    weights = init(variant.path, variant.settings)
    found = root([4, 1, 0, 2, 0, 5, 0], [-1, -1, 0, -1, 2, -1, 4], [-1, -1, 1, -1, 3, -1, 5], target, weights)
    join, bias, words = weights["join.weight"], weights["join.bias"], weights["embedding.weight"]
    text = "model M()(x: float[B, T, 3], h: float[B, 3]) { return RNN(3, biases=1)(x, h0=h).h }"
    as_rnn = {"rnn.weight_hh": join[:, :3], "rnn.weight_ih": join[:, 3:], "rnn.bias_ih": bias}
    given = {"x": words[[[1, 2, 5]]], "h": words[[4]]}
    (wanted,) = run(Source("rnn", text), given, target=target, weights=as_rnn).outputs.values()
    np.testing.assert_allclose(found, wanted[0], atol=1e-6)


@pytest.mark.system("recursive-net")
@on_every_target
def test_another_order_of_the_nodes_has_the_same_root(target: str) -> None:
    """((a b) (c d)): in post-order, and with all leaves first, and with one that belongs to nothing in front."""
    post = root([1, 2, 0, 3, 4, 0, 0], [-1, -1, 0, -1, -1, 3, 2], [-1, -1, 1, -1, -1, 4, 5], target)
    leaves = root([4, 3, 2, 1, 0, 0, 0], [-1, -1, -1, -1, 3, 1, 4], [-1, -1, -1, -1, 2, 0, 5], target)
    padded = root([5, 1, 2, 0, 3, 4, 0, 0], [-1, -1, -1, 1, -1, -1, 4, 3], [-1, -1, -1, 2, -1, -1, 5, 6], target)
    np.testing.assert_array_equal(post, leaves)
    np.testing.assert_array_equal(post, padded)
    assert np.abs(post - root([2, 1, 0, 3, 4, 0, 0], [-1, -1, 0, -1, -1, 3, 2], [-1, -1, 1, -1, -1, 4, 5], target)).max() > 1e-3


# --- handwriting ----------------------------------------------------------------------------------------------------------------


def densities(x: np.ndarray, mixture: Arrays, target: str) -> np.ndarray:
    """exp of `mixture_log_prob` at points [N, 2], for a mixture of K components."""
    text = """
    from recurrent.handwriting import mixture_log_prob
    model M()(x: float[N, 2], logits: float[N, K], mean: float[N, K, 2], std: float[N, K, 2], rho: float[N, K]) {
      return mixture_log_prob(x, logits, mean, std, rho)
    }
    """
    given = {name: np.tile(v.astype(np.float32), (len(x), *[1] * v.ndim)) for name, v in mixture.items()}
    (found,) = run(Source("mixture", text), {"x": x.astype(np.float32), **given}, target=target).outputs.values()
    return np.exp(found)


@pytest.mark.system("handwriting-mdn")
@on_every_target
def test_one_component_of_unit_covariance_is_the_bivariate_gaussian(target: str) -> None:
    x = draw(20, 2)
    mean = np.array([[0.3, -1.2]])
    found = -np.log(densities(x, {"logits": np.array([0.7]), "mean": mean, "std": np.ones((1, 2)), "rho": np.zeros(1)}, target))
    np.testing.assert_allclose(found, ((x - mean) ** 2).sum(axis=1) / 2 + np.log(2 * np.pi), rtol=1e-5)


@pytest.mark.system("handwriting-mdn")
@on_every_target
def test_densities_integrate_to_one(target: str) -> None:
    step = 0.05
    axis = np.arange(-8, 8, step)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    mixture = {
        "logits": np.array([0.5, -1.0, 0.2]), "mean": np.array([[1.0, 2.0], [-2.0, 0.5], [0.0, -1.0]]),
        "std": np.array([[0.5, 0.8], [1.0, 0.4], [0.7, 0.7]]), "rho": np.array([0.6, -0.8, 0.0]),
    }  # fmt: skip
    assert abs(densities(grid, mixture, target).sum() * step**2 - 1) < 1e-3


@pytest.mark.system("handwriting-mdn")
@pytest.mark.parametrize("target", ["torch", "jax", "onnx"])
def test_samples_have_the_moments_of_the_density(target: str) -> None:
    text = """
    from recurrent.handwriting import mixture_sample
    model M()(logits: float[N, K], mean: float[N, K, 2], std: float[N, K, 2], rho: float[N, K]) {
      return mixture_sample(logits, mean, std, rho)
    }
    """
    one = {
        "logits": np.array([0.0, -40.0]), "mean": np.array([[1.0, 2.0], [9.0, 9.0]]),
        "std": np.array([[0.5, 2.0], [1.0, 1.0]]), "rho": np.array([0.8, 0.0]),
    }  # fmt: skip
    given = {name: np.tile(v.astype(np.float32), (20_000, *[1] * v.ndim)) for name, v in one.items()}
    (points,) = run(Source("mixture", text), given, target=target).outputs.values()
    np.testing.assert_allclose(points.mean(axis=0), [1, 2], atol=0.06)
    np.testing.assert_allclose(np.cov(points.T), [[0.25, 0.8], [0.8, 4.0]], atol=0.15)
