"""Learning to learn: gradients through gradient steps."""

from __future__ import annotations

import numpy as np
import pytest

from dsl.compiler import compile_training, run
from dsl.source import Source
from tests.small import SPECS
from tests.systems.expressions import DIFFERENTIATING
from tests.trained import trained

QUADRATIC = """
module Theta()(one: float[]) -> float[] {
  param value: float[] = 1.0
  return value * one
}

# `inner` steps of size 0.1 down theta^2, judged by 1.5 theta^2.
model Meta(inner: int = 1)(one: float[]) -> float[] {
  layer net = Theta()
  loss = net(one) ** 2
  layer fast = net with net.params - 0.1 * grad(loss, net.params)
  for _ in range(inner - 1) {
    loss = fast(one) ** 2
    layer fast = fast with fast.params - 0.1 * grad(loss, fast.params)
  }
  return grad(1.5 * fast(one) ** 2, net.value)
}
"""


@pytest.mark.system("maml")
@pytest.mark.parametrize("target", DIFFERENTIATING)
@pytest.mark.parametrize(("steps", "gradient"), [(1, 1.92), (2, 1.2288), (3, 0.786432)])
def test_the_meta_gradient_goes_through_every_inner_step(steps: int, gradient: float, target: str) -> None:
    """theta 1: after k steps 0.8^k, so the gradient is 3 * 0.8^(2 k); without the second order it would be 3 * 0.8^k."""
    inputs = {"one": np.ones((), np.float32)}
    (found,) = run(Source("meta.dl", QUADRATIC), inputs, {"inner": steps}, target=target).outputs.values()
    assert found == pytest.approx(gradient, rel=1e-5)


@pytest.mark.slow
@pytest.mark.system("maml")
@pytest.mark.parametrize("inner", [1, 2])
def test_both_targets_train_the_spec_alike(inner: int) -> None:
    """The whole block: tasks in a batch, inner steps, and Adam on what they give."""
    training, _ = compile_training(SPECS / "meta_learning/maml.dl", {"inner": inner}, name="MAML")
    random = np.random.default_rng(0)
    sizes = {"xs": 5, "ys": 5, "xq": 4, "yq": 4}
    batches = [{n: random.normal(size=(3, points, 1)).astype(np.float32) for n, points in sizes.items()} for _ in range(5)]
    first, second = ([row["loss"] for row in trained(training, batches, target)[0]] for target in DIFFERENTIATING)
    np.testing.assert_allclose(first, second, rtol=1e-4)
