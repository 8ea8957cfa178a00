"""Pictures that are trained: what they are compared by, and who learns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from dsl import cli
from dsl.compiler import compile_training
from dsl.diagnostics import Diagnostic
from dsl.initial_values import initial_weights
from dsl.training import Training
from tests.agreement import Agreement
from tests.small import SPECS
from tests.systems.expressions import DIFFERENTIATING, TARGETS, values
from tests.trained import trained

# --- Gram matrices ----------------------------------------------------------------------------------------------------------------


@pytest.mark.system("gram-loss")
@pytest.mark.parametrize("target", TARGETS)
def test_a_gram_matrix_says_which_channels_are_strong_together_and_not_where(target: str) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 3, 4, 5))
    shuffled = x.reshape(2, 3, 20)[:, :, random.permutation(20)]
    g, same = values(["gram(x)", "gram(shuffled)"], {"x": x, "shuffled": shuffled}, target)
    np.testing.assert_allclose(g, np.einsum("bchw,bdhw->bcd", x, x) / 20, atol=1e-5)
    np.testing.assert_allclose(same, g, atol=1e-6)
    np.testing.assert_array_equal(g, np.swapaxes(g, 1, 2))
    assert np.linalg.eigvalsh(g).min() > -1e-6


@pytest.mark.system("gram-loss")
@pytest.mark.parametrize("target", TARGETS)
def test_the_style_loss_of_a_layer(target: str) -> None:
    """1 / (4 N^2 M^2) of the squares between sums over M positions, for N channels; 0 for equal maps, also in another order."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 1, 3, 4, 5))
    given = {"x": x, "y": y, "shuffled": x.reshape(1, 3, 20)[:, :, ::-1].copy()}
    loss, equal, moved = values(["gram_loss(x, y)", "gram_loss(x, x)", "gram_loss(x, shuffled)"], given, target)
    sums = [np.einsum("bchw,bdhw->bcd", z, z) for z in (x, y)]
    assert loss == pytest.approx(np.sum((sums[0] - sums[1]) ** 2) / (4 * 3**2 * 20**2), rel=1e-4)
    assert equal == 0
    assert moved < 1e-12


@pytest.mark.system("gram-loss")
@pytest.mark.verification
def test_every_target_compares_maps_of_different_sizes_alike(agrees: Agreement) -> None:
    spec = "model M()(x: float[B, 3, H, W], y: float[B, 3, N]) -> (loss: float[]) { return gram_loss(x, y) }"
    agrees(spec, sizes=[{"B": 1, "H": 2, "W": 3, "N": 4}, {"B": 2, "H": 3, "W": 2, "N": 5}])


# --- style transfer ---------------------------------------------------------------------------------------------------------------

STYLE = SPECS / "style_and_adversarial/style_transfer.dl"
SMALL = {"depths": [1, 2], "widths": [4, 6], "size": 16, "content_at": 2, "style_at": [0, 1]}


def transfer(settings: Mapping[str, object] | None = None) -> tuple[Training, tuple[Diagnostic, ...]]:
    return compile_training(STYLE, {**SMALL, **(settings or {})})


def picture(seed: int) -> np.ndarray:
    """Pixels from 0 to 1, drawn."""
    return np.random.default_rng(seed).random((1, 3, 16, 16), np.float32)


def digest(weights: Mapping[str, np.ndarray]) -> str:
    """A hash of the network's tensors, by name and bytes."""
    parts = [name.encode() + weights[name].tobytes() for name in sorted(weights) if name.startswith("net.")]
    assert len(parts) == 2 * 3 + 2
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.system("style-transfer")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_a_picture_that_is_its_own_content_and_style_is_left_as_it_is(target: str) -> None:
    training, _ = transfer()
    image = picture(0)
    rows, weights = trained(training, [{"content": image, "style": image}] * 3, target, weights={"image": image})
    assert [(row["loss"], row["what"], row["how"]) for row in rows] == [(0, 0, 0)] * 3
    np.testing.assert_array_equal(weights["image"], image)


@pytest.mark.system("style-transfer")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_the_image_learns_and_the_network_stays(target: str) -> None:
    training, _ = transfer()
    begin = initial_weights(training.program, 0)
    rows, weights = trained(training, [{"content": picture(1), "style": picture(2)}] * 10, target, weights=begin)
    assert digest(weights) == digest(begin)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert np.abs(weights["image"] - begin["image"]).max() > 0.01
    assert weights["image"].min() >= 0 and weights["image"].max() <= 1


@pytest.mark.system("style-transfer")
def test_only_the_image_has_a_gradient() -> None:
    training, warnings = transfer()
    (objective,) = training.objectives
    assert objective.parameters == ("image",)
    convolutions = [f"net.features.{name}" for name in ("conv", "conv_1", "conv_2")]
    assert set(training.untrained) == {f"{name}.{part}" for name in convolutions for part in ("weight", "bias")}
    assert not warnings, "the spec allows the one that lists them"


@pytest.mark.system("style-transfer")
@pytest.mark.parametrize(("strength", "nearer"), [(0.0, "what"), (1e6, "how")])
def test_the_strength_says_which_of_the_two_the_image_follows(strength: float, nearer: str) -> None:
    """With nothing for the style, the content comes near; with everything for the style, the style."""
    training, _ = transfer({"strength": strength})
    rows, _ = trained(training, [{"content": picture(1), "style": 0.3 * picture(2)}] * 150)
    other = {"what": "how", "how": "what"}[nearer]
    left = {name: rows[-1][name] / rows[0][name] for name in (nearer, other)}
    assert left[nearer] < 0.1
    assert left[nearer] < left[other]


@pytest.mark.system("style-transfer")
def test_total_variation_makes_the_image_smooth() -> None:
    batches = [{"content": picture(1), "style": picture(2)}] * 50
    rough = trained(transfer()[0], batches)[1]["image"]
    smooth = trained(transfer({"smoothness": 1.0})[0], batches)[1]["image"]
    assert np.abs(np.diff(smooth)).mean() < 0.5 * np.abs(np.diff(rough)).mean()


@pytest.mark.system("style-transfer")
def test_the_command_line_paints(tmp_path: Path) -> None:
    np.savez(tmp_path / "pictures.npz", content=picture(1), style=picture(2))
    settings = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    words = ["train", str(STYLE), "--data", str(tmp_path / "pictures.npz"), "--batch", "1", "--steps", "2", *settings]
    assert cli.run([*words, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "weights.safetensors").exists()
