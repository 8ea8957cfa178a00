"""Language models before they have a task: what a place of GPT-2 may see, and the words that BERT is to guess."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from dsl import cli
from dsl.compiler import run
from dsl.source import Source
from dsl.trainer.curves import Row, read_rows
from tests.small import SPECS, VARIANTS

SPEC = SPECS / "language" / "bert_pretrain.dl"
MASK = 103

on_every_target = pytest.mark.parametrize("target", ["torch", "jax", "onnx"])


@pytest.mark.system("gpt-2")
@on_every_target
def test_what_comes_later_does_not_change_a_guess(target: str) -> None:
    tokens = np.random.default_rng(0).integers(0, 13, (2, 9))
    later = np.concatenate([tokens[:, :5], (tokens[:, 5:] + 1) % 13], axis=1)
    small = VARIANTS["language/gpt2.dl"].settings
    before, after = (
        run(SPECS / "language/gpt2.dl", {"tokens": x}, small, target=target).outputs["logits"] for x in (tokens, later)
    )
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert (np.abs(before[:, 5:] - after[:, 5:]).max(axis=-1) > 1e-4).all()


@pytest.mark.system("bert-pretrain")
@on_every_target
def test_15_percent_are_chosen_and_of_these_80_masked_10_changed_and_10_kept(target: str) -> None:
    text = """
    from language.bert_pretrain import corrupted
    model M()(tokens: int[B, T]) { return corrupted(tokens, vocab=30522, mask_token=103) }
    """
    tokens = np.random.default_rng(0).integers(MASK + 1, 30522, (200, 512))
    tokens[:, 0], tokens[:, 500:] = 101, 0
    seen, chosen = (np.asarray(y) for y in run(Source("test.dl", text), {"tokens": tokens}, target=target).outputs.values())
    words = tokens > MASK
    assert words.sum() == 99_800
    assert chosen[words].mean() == pytest.approx(0.15, abs=0.01)
    assert not chosen[~words].any()
    assert (seen == tokens)[~chosen].all()
    masked, kept = (seen == MASK)[chosen].mean(), (seen == tokens)[chosen].mean()
    assert masked == pytest.approx(0.8, abs=0.01)
    assert kept == pytest.approx(0.1, abs=0.01)
    assert 1 - masked - kept == pytest.approx(0.1, abs=0.01)
    assert (seen[chosen] >= MASK).all() and (seen < 30522).all()


@pytest.mark.system("bert-pretrain")
@pytest.mark.parametrize("target", ["torch", "jax"])
def test_places_that_are_not_chosen_have_no_gradient(target: str) -> None:
    text = """
    from language.bert_pretrain import mean_of_chosen
    model M()(logits: float[B, T, V], tokens: int[B, T], chosen: bool[B, T]) {
      loss = mean_of_chosen(cross_entropy(logits, tokens, reduction="none"), chosen)
      return loss, grad(loss, logits)
    }"""
    random = np.random.default_rng(0)
    logits, tokens = random.standard_normal((4, 6, 9)).astype(np.float32), random.integers(0, 9, (4, 6))
    chosen = random.random((4, 6)) < 0.3
    loss, slope = run(
        Source("test.dl", text), {"logits": logits, "tokens": tokens, "chosen": chosen}, target=target
    ).outputs.values()
    assert (np.asarray(slope)[~chosen] == 0).all()
    likely = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    right = np.eye(9)[tokens]
    np.testing.assert_allclose(np.asarray(slope)[chosen], (likely - right)[chosen] / chosen.sum(), atol=1e-6)
    assert float(np.asarray(loss)) == pytest.approx(-np.log((likely * right).sum(axis=-1))[chosen].mean(), rel=1e-5)


def learned(folder: Path, *options: object, vocab: int = 200) -> list[Row]:
    """The curve of a small BERT on 64 pairs of segments of random words, all of them in each step."""
    random = np.random.default_rng(0)
    tokens = random.integers(4, vocab, (64, 40))
    tokens[:, 0], tokens[:, [20, 39]] = 1, 2
    segments = np.tile(np.arange(40) > 20, (64, 1)).astype(int)
    folder.mkdir()
    np.savez(folder / "pairs.npz", tokens=tokens, segments=segments, next=np.arange(64) % 2)
    small = {"vocab": vocab, "context": 40, "width": 32, "layers": 1, "heads": 2, "mask_token": 3, "warmup": 1}
    settings = [a for name, value in small.items() for a in ("--set", f"{name}={value}")]
    arguments = [
        "train",
        SPEC,
        "Pretrain",
        "--data",
        folder / "pairs.npz",
        "--out",
        folder / "run",
        "--batch",
        64,
        *settings,
        *options,
    ]
    assert cli.run([str(a) for a in arguments]) == 0
    return read_rows(folder / "run" / "curves.csv")


@pytest.mark.slow
@pytest.mark.system("bert-pretrain")
def test_before_it_knows_anything_the_loss_is_that_of_guessing(tmp_path: Path) -> None:
    first, *_ = learned(tmp_path / "a", "--steps", 3)
    assert first["of_words"] == pytest.approx(math.log(200), rel=0.02)
    assert first["of_next"] == pytest.approx(math.log(2), rel=0.05)
    assert first["loss"] == pytest.approx(math.log(200) + math.log(2), rel=0.02)


@pytest.mark.slow
@pytest.mark.system("bert-pretrain")
def test_the_same_seed_hides_the_same_words(tmp_path: Path) -> None:
    one, same, other = (learned(tmp_path / name, "--steps", 4, "--seed", seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    shares = [[row["share_chosen"] for row in curve] for curve in (one, same, other)]
    assert shares[0] == shares[1] != shares[2]
    assert len(set(shares[0])) > 1  # and other words in each step
