"""Beam search: between the greedy sequence and the best of all, which enumeration finds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dsl.compiler import run
from dsl.source import Source
from tests.agreement import Agreement

FIRST, LAST, WORDS, LIMIT = 0, 2, 3, 4
ROWS = 16

SEARCH = """
# A model of three words: what comes next depends on the last word, and on a state that all of them have changed.
module Chain() {
  layer next = Embedding(3, 3)
  layer move = Embedding(3, 1)
  def step(state: float[N, 1], token: int[N]) -> (logits: float[N, 3], state: float[N, 1]) {
    return next(token) * (1 + state), 0.5 * state + move(token)
  }
}

model Search(width: int = 2, alpha: float = 0.0, limit: int = 4)(state: float[B, 1]) -> (tokens: int[B, limit], score: float[B]) {
  layer chain = Chain()
  return beam_search(chain.step, state, first=0, last=2, limit=limit, width=width, alpha=alpha)
}
"""
SPEC = Source("search.dl", SEARCH)
WEIGHTS = {
    "chain.next.weight": np.random.default_rng(1).standard_normal((3, 3)).astype(np.float32) - np.array([0, 0, 1.5], np.float32),
    "chain.move.weight": np.array([[1], [-2], [0]], np.float32),
}
STATES = np.random.default_rng(0).standard_normal((ROWS, 1)).astype(np.float32)


def found(target: str, **settings: object) -> tuple[np.ndarray, np.ndarray]:
    outputs = run(SPEC, {"state": STATES}, settings, target=target, weights=WEIGHTS).outputs
    return outputs["tokens"], outputs["score"]


def steps(tokens: tuple[int, ...], state: float) -> tuple[float, list[np.ndarray]]:
    """The log-probability of a sequence, and the log-probabilities of all words at each of its places."""
    word, total, seen = FIRST, 0.0, []
    for token in tokens:
        logits = WEIGHTS["chain.next.weight"][word].astype(float) * (1 + state)
        state = 0.5 * state + float(WEIGHTS["chain.move.weight"][word, 0])
        logs = logits - np.log(np.exp(logits).sum())
        seen.append(logs)
        total += logs[token]
        word = token
    return total, seen


def ended(tokens: tuple[int, ...]) -> tuple[int, ...]:
    """A sequence up to its first LAST."""
    return tokens[: tokens.index(LAST) + 1] if LAST in tokens else tokens


def padded(tokens: tuple[int, ...]) -> list[int]:
    return [*tokens, *[LAST] * (LIMIT - len(tokens))]


EVERY = sorted({ended(tokens) for tokens in itertools.product(range(WORDS), repeat=LIMIT)})


@pytest.mark.system("beam-search")
@pytest.mark.parametrize("target", ["torch", "jax", "onnx"])
def test_of_width_one_it_is_greedy(target: str) -> None:
    tokens, scores = found(target, width=1)
    for row, state, score in zip(tokens, STATES[:, 0], scores, strict=True):
        greedy: tuple[int, ...] = ()
        while len(greedy) < LIMIT and LAST not in greedy:
            _, seen = steps((*greedy, LAST), float(state))
            greedy = (*greedy, int(seen[-1].argmax()))
        assert row.tolist() == padded(greedy)
        np.testing.assert_allclose(score, steps(greedy, float(state))[0], atol=1e-5)


@pytest.mark.system("beam-search")
@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("target", ["torch", "jax", "onnx"])
def test_of_the_width_of_all_sequences_it_is_exhaustive(target: str, alpha: float) -> None:
    tokens, scores = found(target, width=WORDS**LIMIT, alpha=alpha)
    for row, state, score in zip(tokens, STATES[:, 0], scores, strict=True):
        best = max(EVERY, key=lambda s: steps(s, float(state))[0] / len(s) ** alpha)
        assert row.tolist() == padded(best)
        np.testing.assert_allclose(score, steps(best, float(state))[0], atol=1e-5)


@pytest.mark.system("beam-search")
@pytest.mark.parametrize("target", ["torch", "jax", "onnx"])
def test_what_is_better_than_greedy_is_found_by_wider_beams(target: str) -> None:
    by_width = [found(target, width=width)[1] for width in (1, 3, WORDS**LIMIT)]
    assert (by_width[0] < by_width[2] - 0.01).any()  # greedy is not the best of all here
    assert (by_width[1] <= by_width[2] + 1e-5).all()
    assert by_width[1].sum() > by_width[0].sum()


@pytest.mark.system("beam-search")
@pytest.mark.parametrize("target", ["torch", "jax", "onnx"])
def test_what_has_ended_stays_as_it_is_whatever_the_limit(target: str) -> None:
    tokens, scores = found(target, width=WORDS**LIMIT)
    over = (tokens == LAST).any(axis=1)
    longer, same = found(target, width=WORDS**LIMIT, limit=40)
    assert over.any() and (longer[over, LIMIT:] == LAST).all()
    np.testing.assert_array_equal(longer[over, :LIMIT], tokens[over])
    np.testing.assert_allclose(same[over], scores[over], atol=1e-6)


@pytest.mark.verification
@pytest.mark.system("beam-search")
def test_every_target_searches_alike(agrees: Agreement) -> None:
    agrees(SEARCH, {"width": 3, "alpha": 0.6}, sizes=[{"B": 1}, {"B": 3}], gradients=False)
