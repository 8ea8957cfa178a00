"""The transducer loss: one number by hand, all alignments enumerated, the gradient by differences, and what is padding."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tests.agreement import Agreement
from tests.systems.expressions import DIFFERENTIATING, TARGETS, values

BLANK, CLASSES = 0, 3
LOSS = 'rnnt_loss(logits, targets, frames, labels, reduction="none")'


def by_enumeration(logits: np.ndarray, targets: np.ndarray) -> float:
    """-log of the sum over all ways to put the labels among the blanks, of which the last is a blank. `logits` are [T, U + 1, V]."""
    steps, used = logits.shape[0], len(targets)
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    total = 0.0
    for places in itertools.combinations(range(steps + used - 1), used):
        t = u = 0
        way = 0.0
        for k in range(steps + used):
            if k in places:
                way += logs[t, u, targets[u]]
                u += 1
            else:
                way += logs[t, u, BLANK]
                t += 1
        total += math.exp(way)
    return -math.log(total)


def drawn(frames: int, labels: int, rows: int = 2) -> dict[str, np.ndarray]:
    random = np.random.default_rng([frames, labels])
    return {
        "logits": random.standard_normal((rows, frames, labels + 1, CLASSES)),
        "targets": random.integers(1, CLASSES, size=(rows, labels)),
        "frames": np.full(rows, frames),
        "labels": np.full(rows, labels),
    }


@pytest.mark.system("rnnt-loss")
@pytest.mark.parametrize("target", TARGETS)
def test_two_frames_and_one_label_of_two_even_classes_are_ln_4(target: str) -> None:
    """Two ways, of three steps each, of 1 / 2."""
    given = {"logits": np.zeros((1, 2, 2, 2)), "targets": np.array([[1]]), "frames": np.array([2]), "labels": np.array([1])}
    (loss,) = values("rnnt_loss(logits, targets, frames, labels)", given, target)
    np.testing.assert_allclose(loss, 1.386294, atol=1e-6)


@pytest.mark.system("rnnt-loss")
@pytest.mark.parametrize("target", TARGETS)
def test_the_loss_is_the_sum_over_all_alignments_whatever_the_padding(target: str) -> None:
    """A row for each number of frames from 1 to 4 and of labels from 0 to 4."""
    frames, labels = (a.ravel() for a in np.meshgrid(range(1, 5), range(5)))
    given = drawn(4, 4, rows=20) | {"frames": frames, "labels": labels}
    rows = zip(given["logits"], given["targets"], frames, labels, strict=True)
    wanted = [by_enumeration(logits[:t, : u + 1], said[:u]) for logits, said, t, u in rows]
    (loss,) = values(LOSS, given, target)
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    padding = (np.arange(4)[:, None] >= frames[:, None, None]) | (np.arange(5) > labels[:, None, None])
    (same,) = values(LOSS, given | {"logits": np.where(padding[..., None], 1e4 * given["logits"], given["logits"])}, target)
    np.testing.assert_allclose(same, loss, rtol=1e-6)


@pytest.mark.system("rnnt-loss")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_the_gradient_is_that_of_the_sum_over_alignments(target: str) -> None:
    given = drawn(3, 2, rows=1)
    (found,) = values(f"grad(sum({LOSS}), logits)", given, target, exact=True)
    wanted = np.zeros_like(given["logits"])
    for place in np.ndindex(wanted.shape):
        moved = np.zeros_like(wanted)
        moved[place] = 1e-5
        up, down = (by_enumeration((given["logits"] + sign * moved)[0], given["targets"][0]) for sign in (1, -1))
        wanted[place] = (up - down) / 2e-5
    np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.verification
@pytest.mark.system("rnnt-loss")
def test_every_target_computes_the_loss_and_its_gradient(agrees: Agreement) -> None:
    text = f"""
    model M()(logits: float[B, T, U + 1, 3], targets: int[B, U], frames: int[B], labels: int[B]) {{ return {LOSS} }}
    """
    agrees(text, sizes=[{"B": 1, "T": 1, "U": 1}, {"B": 2, "T": 3, "U": 2}])
