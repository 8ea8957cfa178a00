"""Pictures pixel by pixel: what a pixel is predicted from, and that a picture is drawn from the distribution that was learned."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dsl.compiler import init, run
from dsl.source import Source
from tests.agreement import Agreement
from tests.small import SPECS

SPEC = SPECS / "autoregressive" / "pixelcnn.dl"
BINARY = {"levels": 2, "width": 8, "blocks": 2, "kernel": 3}

on_every_target = pytest.mark.parametrize("target", ["torch", "jax", "onnx"])


@pytest.mark.system("pixelcnn")
@pytest.mark.parametrize("target", ["torch", "jax"])
@pytest.mark.parametrize(("depth", "seen"), [(1, 4), (2, 11), (3, 21), (12, 21)])
def test_the_context_of_a_pixel_grows_with_the_depth_but_for_a_blind_spot(target: str, depth: int, seen: int) -> None:
    text = """
    from autoregressive.pixelcnn import MaskedConv2d
    model M(depth: int)(x: float[1, 1, 7, 7]) {
      y = x -> MaskedConv2d(2, 3, center=false) -> repeat(depth - 1) { MaskedConv2d(2, 3, center=true) }
      return grad(sum(y[:, :, 3, 3]), x)
    }"""
    source = Source("test.dl", text)
    weights = {name: np.abs(w) + np.float32(0.1) for name, w in init(source, {"depth": depth}).items()}  # nothing cancels
    (slope,) = run(
        source, {"x": np.ones((1, 1, 7, 7), np.float32)}, {"depth": depth}, target=target, weights=weights
    ).outputs.values()
    context = np.asarray(slope).reshape(49) != 0
    assert context.sum() == seen  # of 24: the three at the right of the rows above are never seen
    assert not context[24:].any()


@pytest.mark.system("pixelcnn")
@on_every_target
def test_no_pixel_depends_on_itself_or_on_later_ones(target: str) -> None:
    images = np.random.default_rng(0).integers(0, 8, (1, 4, 5)).repeat(21, axis=0)  # one as it is, and 20 with a pixel changed
    for place in range(20):
        images[place + 1].reshape(20)[place] ^= 7
    settings = {"levels": 8, "width": 16, "blocks": 2, "kernel": 5}
    (scores,) = run(SPEC, {"image": images}, settings, target=target, entry="logits").outputs.values()
    flat = np.asarray(scores).reshape(21, 8, 20)
    for place in range(20):
        moved = np.abs(flat[place + 1] - flat[0]).max(axis=0)
        assert moved[: place + 1].max() < 1e-6
        assert place % 5 == 4 or moved[place + 1] > 1e-4  # its neighbour on the right sees it


@pytest.mark.system("pixelcnn")
@on_every_target
def test_pictures_are_drawn_from_the_product_of_the_conditionals(target: str) -> None:
    all_pictures = np.array(list(itertools.product([0, 1], repeat=4))).reshape(16, 2, 2)
    (scores,) = run(SPEC, {"image": all_pictures}, BINARY, target=target, entry="logits").outputs.values()
    logs = np.asarray(scores) - np.logaddexp.reduce(np.asarray(scores), axis=1, keepdims=True)
    log_probs = np.take_along_axis(logs, all_pictures[:, None], axis=1).sum(axis=(1, 2, 3))
    assert np.exp(log_probs).sum() == pytest.approx(1, abs=1e-5)
    (drawn,) = run(SPEC, {"image": np.zeros((20_000, 2, 2), int)}, BINARY, target=target, entry="sample").outputs.values()
    shares = np.bincount(np.asarray(drawn).reshape(20_000, 4) @ [8, 4, 2, 1], minlength=16) / 20_000
    np.testing.assert_allclose(shares, np.exp(log_probs), atol=0.015)


RASTER = """
from autoregressive.pixelcnn import PixelNet
model M()(image: int[B, H, W]) {
  layer net = PixelNet(levels=3, width=6, blocks=1, kernel=3)
  drawn, used = raster_sample(net, image)
  return drawn, used, net(drawn)
}
"""


@pytest.mark.system("raster-sampler")
@on_every_target
def test_what_is_drawn_is_predicted_as_it_was_drawn(target: str) -> None:
    drawn, used, again = run(Source("test.dl", RASTER), {"image": np.full((4, 3, 4), 2)}, target=target).outputs.values()
    assert np.unique(drawn).tolist() == [0, 1, 2]
    np.testing.assert_allclose(used, again, atol=1e-5)


@pytest.mark.system("raster-sampler")
@pytest.mark.verification
def test_drawing_is_the_same_everywhere(agrees: Agreement) -> None:
    agrees(RASTER, sizes=[{"B": 2, "H": 2, "W": 3}], gradients=False)
