"""Autoencoders: what their losses say to whom, what a code is worth, and that they learn."""

from __future__ import annotations

import numpy as np
import pytest

from dsl.compiler import compile_graph, compile_training, run, run_program
from dsl.diagnostics import SpecError
from dsl.initial_values import initial_weights
from dsl.source import Source
from tests.agreement import Agreement
from tests.small import SPECS
from tests.systems.expressions import DIFFERENTIATING, TARGETS
from tests.trained import trained

CODEBOOK = np.array([[0, 0], [1, 1], [3, 0]], np.float32)
VECTORS = np.array([[0.9, 0.8], [2.6, 0.3], [0.2, 0.1]], np.float32)
NEAREST = CODEBOOK[[1, 2, 0]]
ABOVE = np.array([[1, -2], [3, 4], [-5, 6]], np.float32)

# --- vector quantisation ----------------------------------------------------------------------------------------------------------

QUANTISED = """
model Case(beta: float)(z: float[3, 2]) {
  layer q = VectorQuantiser(3, 2, beta=beta, reduction="sum")
  quantised, code, loss = q(z)
  return quantised, code, loss
}
"""

GRADIENTS = """
model Case(beta: float)(z: float[3, 2], above: float[3, 2]) -> (
  of_code: float[3, 2], passed: float[3, 2], of_z: float[3, 2], of_codebook: float[3, 2]
) {
  layer q = VectorQuantiser(3, 2, beta=beta, reduction="sum")
  quantised, _, loss = q(z)
  decoded = sum(above * quantised)
  return grad(decoded, quantised), grad(decoded, z), grad(loss, z), grad(decoded + loss, q.codebook)
}
"""


@pytest.mark.system("vector-quantiser")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("beta", "loss"), [(0.0, 0.35), (0.25, 0.35 + 0.0875)])
def test_a_vector_becomes_the_nearest_of_the_codebook(beta: float, loss: float, target: str) -> None:
    weights = {"q.codebook": CODEBOOK}
    found = run(Source("q.dl", QUANTISED), {"z": VECTORS}, {"beta": beta}, target=target, weights=weights).outputs
    np.testing.assert_array_equal(found["code"], [1, 2, 0])
    np.testing.assert_array_equal(found["quantised"], NEAREST)
    assert found["loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.system("vector-quantiser")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_the_decoder_speaks_to_the_encoder_and_the_loss_to_the_codebook(target: str) -> None:
    """The gradient of what was decoded is the same at z and at its code, and the codebook has none of it."""
    inputs = {"z": VECTORS, "above": ABOVE}
    weights = {"q.codebook": CODEBOOK}
    found = run(Source("q.dl", GRADIENTS), inputs, {"beta": 0.25}, target=target, weights=weights).outputs
    np.testing.assert_array_equal(found["of_code"], ABOVE)
    np.testing.assert_array_equal(found["passed"], ABOVE)
    np.testing.assert_allclose(found["of_z"], 0.25 * 2 * (VECTORS - NEAREST), rtol=1e-5)
    np.testing.assert_allclose(found["of_codebook"][[1, 2, 0]], 2 * (NEAREST - VECTORS), rtol=1e-5)


@pytest.mark.system("vector-quantiser", "vq-ema")
@pytest.mark.verification
@pytest.mark.parametrize("layer", ["VectorQuantiser(3, 2)", "VectorQuantiserEMA(3, 2)"])
@pytest.mark.parametrize("axes", ["T", "H, W", "T, H, W"])
def test_a_map_has_any_number_of_axes(layer: str, axes: str, agrees: Agreement) -> None:
    """Sounds, images, videos."""
    spec = f"model M()(z: float[B, 2, {axes}]) {{ quantised, code, loss = {layer}(z)\n  return quantised, code, loss }}"
    agrees(spec, sizes=[{"B": 2, "T": 2, "H": 3, "W": 2}])


AVERAGED = """
train Fit()(z: float[B, 2]) {
  layer q = VectorQuantiserEMA(2, 2, decay=0.99, reduction="sum")
  layer scale = Linear(2)
  _, _, loss = q(z)
  minimize trained = loss + sum(scale(z) ** 2) using sgd(0.001)
}
"""


@pytest.mark.system("vq-ema")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_a_row_is_the_decaying_mean_of_what_chose_it(target: str) -> None:
    """Two vectors of sum [4, 2]; the other row is chosen by none, and stays."""
    training, _ = compile_training(Source("ema.dl", AVERAGED))
    begin = {"q.count": np.ones(2, np.float32), "q.total": np.array([[0, 0], [50, 60]], np.float32)}
    batch = {"z": np.array([[1.5, 0.5], [2.5, 1.5]], np.float32)}
    _, weights = trained(training, [batch], target, weights=begin)
    np.testing.assert_allclose(weights["q.count"], [1.01, 0.99], rtol=1e-6)
    codebook = weights["q.total"] / weights["q.count"][:, None]
    np.testing.assert_allclose(codebook, np.array([[0.03960396, 0.01980198], [50, 60]]), rtol=1e-5)


@pytest.mark.system("vq-ema")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_a_row_that_is_never_chosen_is_still_a_number_after_any_number_of_steps(target: str) -> None:
    training, _ = compile_training(Source("ema.dl", AVERAGED))
    begin = {"q.count": np.array([1, 2e-6], np.float32), "q.total": np.array([[0, 0], [1e-4, 1.2e-4]], np.float32)}
    rows, weights = trained(training, [{"z": np.ones((2, 2), np.float32)}] * 100, target, weights=begin)
    np.testing.assert_allclose(weights["q.total"][1] / weights["q.count"][1], [50, 60], rtol=1e-4)
    assert 0.9e-6 < weights["q.count"][1] < 1e-6
    assert all(np.isfinite(row["trained"]) for row in rows)


# --- VQ-VAE -----------------------------------------------------------------------------------------------------------------------

SMALL = {"codes": 7, "width": 4, "hidden": 6}


@pytest.mark.system("vq-vae")
def test_the_reconstruction_does_not_depend_on_the_codebook() -> None:
    """Which is known before anything runs."""
    text = """
from autoencoder.vqvae import VQVAE

model Case()(image: float[B, 3, 8, 8]) {
  layer net = VQVAE(codes=7, width=4, hidden=6)
  return grad(mse(net(image).recon, image), net.codebook.codebook)
}
"""
    with pytest.raises(SpecError, match="does not depend on"):
        compile_graph(Source("case.dl", text))


@pytest.mark.system("vq-vae")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_the_codebook_follows_its_own_loss_alone_and_the_encoder_both(target: str) -> None:
    text = """
from autoencoder.vqvae import VQVAE

model Case()(image: float[B, 3, 8, 8])
         -> (whole: float[7, 4], part: float[7, 4], encoder: float[4], encoder_part: float[4]) {
  layer net = VQVAE(codes=7, width=4, hidden=6)
  recon, _, latent_loss = net(image)
  loss = mse(recon, image) + latent_loss
  whole, encoder = grad(loss, [net.codebook.codebook, net.encoder.out.bias])
  part, encoder_part = grad(latent_loss, [net.codebook.codebook, net.encoder.out.bias])
  return whole, part, encoder, encoder_part
}
"""
    image = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    found = run(Source("case.dl", text), {"image": image}, target=target).outputs
    np.testing.assert_array_equal(found["whole"], found["part"])
    assert np.abs(found["part"]).max() > 1e-4
    assert np.abs(found["encoder"] - found["encoder_part"]).max() > 1e-4


@pytest.mark.system("vq-vae")
@pytest.mark.parametrize("quantiser", ["VectorQuantiser", "VectorQuantiserEMA"])
@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_decoded_from_its_codes_alone(target: str, quantiser: str) -> None:
    text = (
        (SPECS / "autoencoder/vqvae.dl")
        .read_text()
        .replace("quantiser: layer = VectorQuantiser", f"quantiser: layer = {quantiser}")
    )
    program = compile_graph(Source("vqvae.dl", text), SMALL)
    weights = initial_weights(program, seed=1)
    random = np.random.default_rng(0)
    weights |= {n: random.normal(size=w.shape).astype(w.dtype) for n, w in weights.items() if n.endswith(("codebook", "total"))}
    image = random.normal(size=(2, 3, 32, 32)).astype(np.float32)
    found = run_program(program, {"image": image}, target=target, weights=weights).outputs
    encoded = run_program(program, {"image": image}, target=target, weights=weights, entry="encode").outputs
    decoded = run_program(program, {"code": encoded["code"]}, target=target, weights=weights, entry="decode").outputs
    assert encoded["code"].shape == (2, 8, 8)
    assert len(np.unique(encoded["code"])) > 1
    np.testing.assert_array_equal(encoded["code"], found["code"])
    np.testing.assert_allclose(decoded["image"], found["recon"], atol=1e-6)


def pictures() -> np.ndarray:
    """Digits of 8 x 8 pixels, each pixel 4 x 4, in shades of orange from -1 to 1."""
    from sklearn.datasets import load_digits

    shades, _ = load_digits(return_X_y=True)
    large = np.kron(shades.reshape(-1, 1, 8, 8) / 8 - 1, np.ones((1, 1, 4, 4)))
    return np.asarray(large * np.array([1.0, 0.6, 0.1]).reshape(1, 3, 1, 1), np.float32)


@pytest.mark.slow
@pytest.mark.system("vq-vae")
@pytest.mark.parametrize("block", ["Fit", "FitEMA"])
def test_it_learns_to_say_pictures_in_codes(block: str) -> None:
    """The threshold is a fifth of what the mean picture leaves; the first correct run had a fifteenth."""
    images = pictures()
    settings = {"codes": 32, "width": 8, "hidden": 16, "lr": 3e-3}
    training, _ = compile_training(SPECS / "autoencoder/vqvae.dl", settings, name=block)
    random = np.random.default_rng(0)
    batches = [{"image": images[random.integers(len(images), size=16)]} for _ in range(200)]
    rows, _ = trained(training, batches)
    errors = [row["reconstruction"] for row in rows]
    assert np.mean(errors[-20:]) < np.mean((images - images.mean(0)) ** 2) / 5
    assert np.mean([row["loss"] for row in rows[-20:]]) < rows[0]["loss"]
