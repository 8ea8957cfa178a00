"""Learning from examples without labels: what a head may see, whom the target of another has a gradient for, and what a step changes."""

from __future__ import annotations

import numpy as np
import pytest

from dsl.compiler import compile_graph, compile_training, run
from dsl.diagnostics import SpecError
from dsl.source import Source
from tests.small import SPECS
from tests.systems.expressions import DIFFERENTIATING, TARGETS, value
from tests.trained import trained

CROSS_VIEW = SPECS / "semi_supervised" / "cross_view.dl"
SMALL = {"tags": 3, "vocab": 9, "width": 4, "hidden": 5}
HEADS = ("ahead", "behind", "future", "past")

# --- cross-view training --------------------------------------------------------------------------------------------------------

UNLABELLED = """
from semi_supervised.cross_view import Tagger, disagreement, tokens_of

# The unlabelled loss, and gradients of it; the added term is 0, and says that there is something to differentiate.
model M()(tokens: int[B, T], length: int[B]) {
  layer net = Tagger(3, 9, 4, 5, rate=0.5)
  said = net(tokens, length, training=false)
  apart = disagreement(said, net.views(tokens, length), tokens_of(tokens, length))
  loss = apart + 0.0 * sum(net.primary.params ** 2)
  primary = [net.primary.hidden.weight, net.primary.hidden.bias, net.primary.out.weight, net.primary.out.bias]
  a, b, c, d = grad(loss, primary)
  return a, b, c, d, grad(loss, net.future.out.weight), grad(loss, net.encoder.embedding.weight)
}
"""


def sentences(rows: int = 3, longest: int = 6) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {"tokens": random.integers(9, size=(rows, longest)), "length": np.array([longest, 4, 5][:rows])}


@pytest.mark.system("cross-view-training")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_without_labels_every_gradient_of_the_primary_head_is_0(target: str) -> None:
    found = run(Source("unlabelled.dl", UNLABELLED), sentences(), target=target, training=True).outputs.values()
    *primary, future, encoder = (np.asarray(y) for y in found)
    assert all((gradient == 0).all() for gradient in primary)
    assert (future != 0).any() and (encoder != 0).any()


@pytest.mark.system("cross-view-training")
def test_that_it_is_0_is_known_before_anything_runs() -> None:
    text = UNLABELLED.replace("loss = apart + 0.0 * sum(net.primary.params ** 2)", "loss = apart")
    with pytest.raises(SpecError, match="does not depend on"):
        compile_graph(Source("unlabelled.dl", text))


@pytest.mark.system("cross-view-training")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_were_the_target_not_stopped_it_would_move_towards_the_views(target: str) -> None:
    definition = (
        CROSS_VIEW.read_text()
        .split("fn disagreement")[1]
        .split("\n}\n")[0]
        .replace("stop_gradient(softmax(logits))", "softmax(logits)")
    )
    text = UNLABELLED.replace(", disagreement", "") + f"\nfn disagreement{definition}\n}}\n"
    primary, *_ = run(Source("unlabelled.dl", text), sentences(), target=target, training=True).outputs.values()
    assert (np.asarray(primary) != 0).any()


@pytest.mark.system("cross-view-training")
@pytest.mark.parametrize("target", TARGETS)
def test_a_head_sees_its_part_of_the_sentence_only(target: str) -> None:
    """A sentence, and six others that each have another token at one place: of which tokens is something else said? What the head of the
    future says of t follows from no state at t or after; what the head of the past says, from none at t or before."""
    place, token = np.arange(6)[:, None], np.arange(6)[None]
    sentence = np.random.default_rng(0).integers(9, size=(1, 6))
    tokens = np.concatenate([sentence, np.where(place == token, (sentence + 1) % 9, sentence)])
    views = run(CROSS_VIEW, {"tokens": tokens, "length": np.full(7, 6)}, SMALL, entry="views", target=target).outputs.values()
    ahead, behind, future, past = (np.abs(np.asarray(v)[1:] - np.asarray(v)[0]).max(axis=-1) > 1e-6 for v in views)
    np.testing.assert_array_equal(ahead, token >= place)
    np.testing.assert_array_equal(behind, token <= place)
    np.testing.assert_array_equal(future, token > place)
    np.testing.assert_array_equal(past, token < place)


@pytest.mark.system("cross-view-training")
@pytest.mark.parametrize("target", TARGETS)
def test_at_both_ends_the_shifted_heads_see_nothing(target: str) -> None:
    """Of the first token the head of the future says the same in every sentence, and that of the past of the last one, where it ends."""
    given = sentences()
    _, _, future, past = (np.asarray(y) for y in run(CROSS_VIEW, given, SMALL, entry="views", target=target).outputs.values())
    assert (future[:, 0] == future[0, 0]).all()
    ends = np.stack([row[n - 1] for row, n in zip(past, given["length"], strict=True)])
    np.testing.assert_allclose(ends, np.tile(ends[:1], (3, 1)), atol=1e-6)
    assert np.abs(past[:, 0] - past[0, 0]).max() > 1e-4


@pytest.mark.system("cross-view-training")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_the_target_is_computed_without_dropout_and_the_views_with_it(target: str) -> None:
    text = """
    from semi_supervised.cross_view import Tagger
    model M()(tokens: int[B, T], length: int[B]) {
      layer net = Tagger(3, 9, 4, 5, rate=0.5)
      return net(tokens, length, training=false), net(tokens, length), net.views(tokens, length)
    }"""
    training, inference = (
        [np.asarray(y) for y in run(Source("m.dl", text), sentences(), target=target, training=mode).outputs.values()]
        for mode in (True, False)
    )
    np.testing.assert_array_equal(training[0], inference[0])
    np.testing.assert_array_equal(inference[0], inference[1])
    assert all((a != b).any() for a, b in zip(training[1:], inference[1:], strict=True))


def batch(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    length = np.array([6, 4, 5, 2])
    tokens, other = random.integers(9, size=(2, 4, 6))
    return {"tokens": tokens, "length": length, "tag": tokens % 3, "other_tokens": other, "other_length": length}


@pytest.mark.system("cross-view-training")
@pytest.mark.parametrize(("objective", "moving"), [("loss", {"primary"}), ("apart", set(HEADS))])
def test_each_batch_moves_the_encoder_and_its_own_heads(objective: str, moving: set[str]) -> None:
    """The other objective is told to wait: its turn comes in the first step, which has a rate of 0, and not again."""
    text = CROSS_VIEW.read_text()
    waits = {"loss": "apart", "apart": "loss"}[objective]
    head, tail = text.split(f"minimize {waits}")
    tail = tail.replace("clip 1.0", "clip 1.0 every 1000", 1)
    text = f"{head}minimize {waits}{tail}".replace("lr / (1 + 0.005 * sqrt(step))", "lr * minimum(step, 1)")
    training, _ = compile_training(Source("cross_view.dl", text), {**SMALL, "rate": 0.5}, name="CrossView")
    _, before = trained(training, [])
    _, after = trained(training, [batch(), batch(1)])
    moved = {name.split(".")[1] for name in after if not np.array_equal(before[name], after[name])}
    assert moved == {"encoder", *moving}
    upper = any(not np.array_equal(before[n], after[n]) for n in after if n.startswith("net.encoder.high."))
    assert upper == (objective == "loss")  # the views are those of the lower layer


@pytest.mark.system("cross-view-training")
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_heads_that_never_saw_a_label_learn_what_can_be_learned_from_their_view(seed: int) -> None:
    """Tags follow from the token alone and tokens from nothing: who sees the token tags it rightly, who does not can only guess, which
    leaves ln 3 of each of the two. Fixed by the first runs: all right, 2.20 to 2.26 for 2 ln 3."""
    settings = {**SMALL, "hidden": 16, "rate": 0.1}
    training, _ = compile_training(CROSS_VIEW, {**settings, "lr": 0.1}, name="CrossView")
    rows, weights = trained(training, [batch(i) for i in range(150)], seed=seed)
    assert np.mean([row["apart"] for row in rows[-10:]]) == pytest.approx(2 * np.log(3), rel=0.05)
    tokens = batch(999)["tokens"]
    net = {name.removeprefix("net."): w for name, w in weights.items()}
    given = {"tokens": tokens, "length": np.full(4, 6)}
    said = {
        name: (np.asarray(logits).argmax(axis=-1) == tokens % 3).mean()
        for entry, names in (("forward", ["primary"]), ("views", HEADS))
        for name, logits in zip(
            names, run(CROSS_VIEW, given, settings, entry=entry, weights=net, target="torch").outputs.values(), strict=True
        )
    }
    assert min(said["primary"], said["ahead"], said["behind"]) > 0.95
    assert max(said["future"], said["past"]) < 0.7


@pytest.mark.system("cross-view-training")
@pytest.mark.parametrize("target", TARGETS)
def test_heads_that_say_the_same_do_not_disagree(target: str) -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    given = {"x": logits, "seen": np.array([[1, 1, 1], [1, 0, 0]], np.float32)}
    from_spec = "from semi_supervised.cross_view import disagreement"
    assert value("disagreement(x, [x, x + 1], seen)", given, target, definitions=from_spec) == pytest.approx(0, abs=1e-6)
    uniform = value("disagreement(x, [0.0 * x, x, 0.0 * x], seen)", given, target, definitions=from_spec)
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    apart = (p * np.log(4 * p)).sum(axis=-1)
    assert float(uniform) == pytest.approx(2 * (apart * given["seen"]).sum() / 4, rel=1e-5)
