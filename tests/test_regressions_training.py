"""Trainings that once went wrong: draws that objectives share, names that generated steps use themselves, layers read by name alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dsl.cli import run
from dsl.compiler import compile_training
from dsl.source import Source
from tests.trainings import batches

SHARED = """
train Fit()(x: float[B, 4], label: int[B]) {
  layer net = Linear(3)
  layer other = Linear(4)
  z = normal_sample(zeros(B, 4), ones(B, 4))
  mask = bernoulli(full([B, 4], 0.5))
  noisy = dropout(x, 0.5)
  own = dropout(net(x), 0.5)
  minimize first = mean(net(z) ** 2) + mean(net(mask * noisy)) + mean(own) over net using sgd(0.1)
  minimize second = mean(other(z + mask * noisy) ** 2) + mean(own) over other using sgd(0.1)
}
"""

NAMES = """
fn loss(step, rate: float) = rate * 0.9 ** step
fn optimizer(x) = x * 2
fn step(p, g, found, step, lr = 0.1) {
  found = 0.5 * found + g
  return p - lr * found, found
}
train found()(x: float[B, 4], label: int[B]) {
  layer net = Linear(3)
  layer loss_1 = Linear(3)
  minimize value = cross_entropy(optimizer(net(x)), label) over net using step(loss(0.1))
  metric found = mean(x)
  metric mine = mean(x)
  minimize optimizer = cross_entropy(loss_1(x), label) using adam(loss(0.01)) for "**.bias", sgd(loss(0.3)) clip 1.0 every 2
  metric trained = mean(x)
}
"""

READ_ONLY = """
module Deep()(x: float[B, 4]) { return x -> attention: repeat(2) { projection: Linear(4) -> normalisation: LayerNorm } -> Linear(3) }
train Fit()(x: float[B, 4], label: int[B]) {
  layer backbone = Deep()
  layer reference = ema of backbone decay 0.9
  _y = reference(x)
  minimize loss = cross_entropy(backbone(x), label) using adam(0.1)
  metric drift = sum((backbone.params - reference.params) ** 2)
}
"""

TWO_MODES = """
train Fit()(x: float[B, 4], label: int[B]) {
  layer a = BatchNorm1d()
  layer net = Linear(3)
  layer slow = ema of a decay 0.5
  layer old = copy of a every 2
  minimize loss = cross_entropy(net(a(x) + a(x, training=false) + slow(x) + old(x)), label) using sgd(0.1)
}
"""


def test_a_draw_that_needs_no_parameter_is_made_once_a_step() -> None:
    training = compile_training(Source("fit.dl", SHARED))[0]
    assert training.draws is not None
    assert set(training.draws.outputs) == {"z", "mask", "noisy"}
    for entry in training.program.entries.values():
        assert {"z", "mask", "noisy"} <= set(entry.inputs)


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("spec", [NAMES, READ_ONLY, TWO_MODES])
def test_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, backend: str) -> None:
    """Functions, objectives and metrics named as variables of the step are; layers that are read and never needed applied;
    and layers that follow one of another class."""
    monkeypatch.chdir(tmp_path)
    Path("net.dl").write_text(spec)
    np.savez("data.npz", allow_pickle=False, **batches(1, 32)[0])
    assert (
        run(["train", "net.dl", "--data", "data.npz", "--batch", "8", "--steps", "3", "--backend", backend, "--out", "out"]) == 0
    )
    assert Path("out/weights.safetensors").exists()


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_long_lines_are_broken_as_the_formatter_does(tmp_path: Path, backend: str) -> None:
    (tmp_path / "net.dl").write_text(READ_ONLY)
    made = tmp_path / "net.py"
    assert run(["compile", str(tmp_path / "net.dl"), "--train", "--backend", backend, "-o", str(made)]) == 0
    ast.parse(made.read_text())
    words = [sys.executable, "-m", "ruff", "format", "--diff", "--isolated", "--no-cache", "--line-length", "88", str(made)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
