"""Generative adversarial networks: whom a term has a gradient for, what the two losses of the generator give, where the game ends."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from dsl.compiler import compile_graph, compile_training, run
from dsl.diagnostics import SpecError
from dsl.source import Source
from tests.systems.expressions import DIFFERENTIATING, values
from tests.trained import trained

GAN = "from gan.gan import Discriminator, Generator, discriminator_loss, minimax, non_saturating\n"

GAME = """
model Game()(real: float[B, 2], z: float[B, 3]) -> (whole: float[8, 2], part: float[8, 2]) {
  layer G = Generator(latent=3, hidden=8)
  layer D = Discriminator(hidden=8)
  fake = G(z)
  whole = grad(mean(-softplus(-D(real))) + minimax(D(fake)), G.linear_2.weight)
  part = grad(minimax(D(fake)), G.linear_2.weight)
  return transpose(whole, 0, 1), transpose(part, 0, 1)
}
"""


@pytest.mark.system("gan")
def test_what_the_discriminator_says_of_points_has_no_gradient_for_the_generator() -> None:
    """log D(x) does not depend on G at all, which is known before anything runs."""
    text = (
        GAN
        + """
model Game()(real: float[B, 2], z: float[B, 3]) {
  layer G = Generator(latent=3)
  layer D = Discriminator()
  fake = G(z)
  return grad(mean(-softplus(-D(real))), G.linear.weight), fake
}
"""
    )
    with pytest.raises(SpecError, match="does not depend on"):
        compile_graph(Source("game.dl", text))


@pytest.mark.system("gan")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_of_the_minimax_objective_the_generator_follows_the_second_term_alone(target: str) -> None:
    random = np.random.default_rng(0)
    inputs = {"real": random.normal(size=(5, 2)), "z": random.normal(size=(5, 3))}
    found = run(Source("game.dl", GAN + GAME), {n: x.astype(np.float32) for n, x in inputs.items()}, target=target).outputs
    np.testing.assert_array_equal(found["whole"], found["part"])
    assert np.abs(found["part"]).max() > 1e-4


@pytest.mark.system("gan")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_where_the_discriminator_is_sure_the_non_saturating_loss_has_the_gradient(target: str) -> None:
    """D(G(z)) = 0.01."""
    score = [math.log(0.01 / 0.99)]
    gradients = values(["grad(minimax(s), s)", "grad(non_saturating(s), s)"], {"s": score}, target, definitions=GAN)
    np.testing.assert_allclose([g.item() for g in gradients], [-0.01, -0.99], atol=1e-6)


@pytest.mark.system("gan")
def test_between_equal_gaussians_the_best_discriminator_says_one_half() -> None:
    text = (
        GAN
        + """
train Equal(steps: int = 400)(real: float[B, 2], fake: float[B, 2]) {
  layer D = Discriminator(hidden=16)
  minimize loss = discriminator_loss(D(real), D(fake)) using adam(cosine_decay(0.01, steps=steps))
  metric belief = mean(sigmoid(D(real)))
  metric spread = sqrt(mean((sigmoid(D(real)) - 0.5) ** 2))
}
"""
    )
    random = np.random.default_rng(0)
    training, _ = compile_training(Source("equal.dl", text))
    batches = [{name: random.normal(size=(256, 2)).astype(np.float32) for name in ("real", "fake")} for _ in range(400)]
    rows, _ = trained(training, batches)
    last = {name: np.mean([row[name] for row in rows[-50:]]) for name in rows[0]}
    assert last["loss"] == pytest.approx(2 * math.log(2), abs=0.02)
    assert last["belief"] == pytest.approx(0.5, abs=0.01)
    assert last["spread"] < 0.05


@pytest.mark.system("gan")
def test_both_losses_of_the_generator_train_the_same_block() -> None:
    specs = Path(__file__).parents[2] / "specs"
    random = np.random.default_rng(0)
    batches = [{"real": random.normal(size=(64, 2)).astype(np.float32)}]
    losses = {}
    for name in ("minimax", "non_saturating"):
        text = (specs / "gan/gan.dl").read_text().replace("generator_loss: fn = non_saturating", f"generator_loss: fn = {name}")
        rows, weights = trained(compile_training(Source("gan.dl", text))[0], batches)
        losses[name] = rows[0]["g_loss"]
        assert any(n.startswith("G.") for n in weights)
    assert losses["minimax"] < 0 < losses["non_saturating"]
