"""Rates that change with the steps: values ahead of a training, and what they do in one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dsl import cli
from dsl.compiler import compile_training
from dsl.source import Source
from dsl.types import DType
from tests.agreement import Agreement

FIT = """
train Fit(steps: int = 100)(x: float[B, 3], y: float[B, 2]) {{
  layer net = Linear(2)
  minimize loss = mse(net(x), y) using {}
}}
"""


def rates(rate: str, at: Sequence[int], folder: Path, capsys: pytest.CaptureFixture[str], steps: int = 100) -> list[float]:
    """What `dslc schedule` says of a learning rate at some steps."""
    (folder / "fit.dl").write_text(FIT.format(f"sgd({rate})"))
    words = [str(folder / "fit.dl"), "--at", ",".join(map(str, at)), "--steps", str(steps), "--json"]
    assert cli.run(["schedule", *words]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    return [row["rates"][str(n)] for n in at]


@pytest.mark.parametrize(
    ("rate", "at", "expected"),
    [
        pytest.param("0.5", [0, 50], [0.5, 0.5], marks=pytest.mark.system("decay-schedules")),
        pytest.param("step_decay(1.0, 30)", [29, 30], [1, 0.1], marks=pytest.mark.system("decay-schedules")),
        pytest.param("0.97 ** maximum(step - 10, 0)", [0, 10, 15], [1, 1, 0.97**5], marks=pytest.mark.system("decay-schedules")),
        pytest.param("inverse_time(1.0, 0.05)", [0, 20], [1, 0.5], marks=pytest.mark.system("decay-schedules")),
        pytest.param(
            "warmup_cosine(2.0, warmup=100, steps=1000)",
            [0, 100, 550, 1000],
            [0, 2, 1, 0],
            marks=pytest.mark.system("cosine-schedule"),
        ),
        pytest.param(
            "triangular(0.1, 0.5, period=20)",
            [0, 10, 20, 30, 40],
            [0.1, 0.5, 0.1, 0.5, 0.1],
            marks=pytest.mark.system("cosine-schedule"),
        ),
        pytest.param(
            "slanted_triangular(0.01, steps=100, cut=0.1, ratio=32.0)",
            [0, 10, 100],
            [0.0003125, 0.01, 0.0003125],
            marks=pytest.mark.system("slanted-triangular"),
        ),
    ],
)
def test_a_rate_has_its_published_values(
    rate: str, at: list[int], expected: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.testing.assert_allclose(rates(rate, at, tmp_path, capsys), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.system("decay-schedules")
@pytest.mark.parametrize(("milestones", "late"), [("[30, 160]", 160), ("[30, 60]", None), ("[200]", 200)])
def test_a_drop_that_comes_after_the_end_is_reported(
    milestones: str, late: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fit.dl").write_text(FIT.format(f"sgd(multistep_decay(1.0, {milestones}))"))
    assert cli.run(["schedule", str(tmp_path / "fit.dl")]) == 0
    said = capsys.readouterr().err
    assert (f"changes at step {late}, after the end at 100" in said) if late is not None else said == ""


THREE = """
train Fit()(x: float[B, 2]) {
  layer net = MLP([2, 2], out=2, act=tanh)
  minimize loss = sum(net(x) ** 2) over net using adam(frozen_until(0.1, until=4)) for net."linear.*",
    adam(frozen_until(0.1, until=2)) for net."linear_1.*", adam(0.1)
}
"""


@pytest.mark.system("gradual-unfreezing")
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_in_epoch_k_exactly_the_last_k_layers_change(backend: str, tmp_path: Path) -> None:
    """An epoch is two steps: the groups join at the steps 0, 2 and 4."""
    (tmp_path / "fit.dl").write_text(THREE)
    np.savez(tmp_path / "data.npz", x=np.array([[1.0, -0.5], [0.3, 2.0]]))
    words = ["--data", tmp_path / "data.npz", "--batch", 1, "-b", backend, "--steps"]
    saved = []
    for steps in (1, 2, 4, 6):
        assert cli.run([str(w) for w in ("train", tmp_path / "fit.dl", *words, steps, "--out", tmp_path / f"{steps}")]) == 0
        saved.append(load_file(tmp_path / f"{steps}" / "weights.safetensors"))
    layers = ["net.linear.weight", "net.linear_1.weight", "net.linear_2.weight"]
    changed = [[name for name in layers if not np.array_equal(a[name], b[name])] for a, b in itertools.pairwise(saved)]
    assert changed == [layers[2:], layers[1:], layers]


@pytest.mark.verification
@pytest.mark.parametrize(
    "rate",
    [
        pytest.param("inverse_time(0.1, 0.5)", marks=pytest.mark.system("decay-schedules")),
        pytest.param("warmup_cosine(0.1, warmup=3, steps=9)", marks=pytest.mark.system("cosine-schedule")),
        pytest.param("slanted_triangular(0.1, steps=9)", marks=pytest.mark.system("slanted-triangular")),
        pytest.param("frozen_until(0.1, until=2)", marks=pytest.mark.system("gradual-unfreezing")),
    ],
)
def test_the_loss_and_its_gradients_are_the_same_on_both_targets(rate: str, agrees: Agreement) -> None:
    training, _ = compile_training(Source("fit.dl", FIT.format(f"sgd({rate})")), float_type=DType.F64)
    agrees.outputs(training.program, [{"B": 3}])
    agrees.gradients(training.program, [{"B": 3}], loss=True)
