"""Speech: from the samples of a signal to what a recogniser hears."""

from __future__ import annotations

import numpy as np
import pytest

from dsl.compiler import compile_graph
from dsl.source import Source
from tests.agreement import Agreement
from tests.systems.expressions import TARGETS, value, values

every_target = pytest.mark.parametrize("target", TARGETS)
RNG = np.random.default_rng(0)
LENGTH, STEP = 400, 160


@pytest.mark.system("spectrogram")
def test_a_second_at_16_kilohertz_has_98_frames_of_201_bins() -> None:
    graph = compile_graph(Source("case", "model M()(x: float[B, 16000]) { return spectrogram(x) }")).main
    assert str(graph.type(graph.outputs["y"])) == "f32[B, 98, 201]"


@pytest.mark.system("spectrogram")
@every_target
@pytest.mark.parametrize("bin", [1, 37, 199])
def test_a_sine_at_a_bin_peaks_at_it_in_every_frame(bin: int, target: str) -> None:
    x = np.sin(2 * np.pi * bin / LENGTH * np.arange(1600) + 0.3)
    found = value("spectrogram(x)", {"x": x}, target)
    assert found.shape == ((1600 - LENGTH) // STEP + 1, LENGTH // 2 + 1)
    assert np.all(found.argmax(axis=-1) == bin)
    np.testing.assert_allclose(found[:, bin], LENGTH / 4, rtol=1e-2)  # half the amplitude, times the mean of the window


@pytest.mark.system("spectrogram")
@every_target
def test_the_energy_of_a_frame_is_that_of_its_spectrum(target: str) -> None:
    """Parseval: bins that stand for their mirrored ones too count twice."""
    x = RNG.normal(size=(2, 1600))
    pieces, magnitude = values(["frames(x, 400, 160) * hann(400)", "spectrogram(x)"], {"x": x}, target)
    count = np.where(np.isin(np.arange(201), (0, 200)), 1, 2)
    np.testing.assert_allclose((count * magnitude**2).sum(-1) / LENGTH, (pieces**2).sum(-1), rtol=1e-4)


@pytest.mark.system("spectrogram")
@every_target
def test_the_window_is_the_periodic_one_of_hann(target: str) -> None:
    found = value("hann(8)", {}, target)
    np.testing.assert_allclose(found, np.sin(np.pi * np.arange(8) / 8) ** 2, atol=1e-6)


@pytest.mark.system("spectrogram")
@pytest.mark.verification
def test_spectrograms_of_any_length_agree(agrees: Agreement) -> None:
    agrees(
        "model M()(x: float[B, N]) { return spectrogram(x, 8, 3, eps=0.01) }",
        sizes=[{"B": 2, "N": 8}, {"B": 1, "N": 21}],
    )
