"""Learning rates that are lowered where the loss stops falling: what torch's ReduceLROnPlateau does, evaluation for evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dsl.cli import run
from dsl.trainer.curves import read_rows
from dsl.trainer.plateaus import Watched
from dsl.training import Plateau
from tests.trainings import BLOCKS, NET, batches, training

RATE = 0.05


@pytest.mark.parametrize(("patience", "cooldown", "minimum"), [(0, 0, 0.0), (2, 0, 0.0), (1, 3, 0.0), (1, 0, 0.01)])
def test_it_is_that_of_torch(patience: int, cooldown: int, minimum: float) -> None:
    rule = replace(training("Waiting").objectives[0].rules[0], plateau=None)
    ours = Watched("loss", 1, rule, Plateau(0.5, patience, 1e-3, cooldown, minimum))
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=RATE)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience, threshold=1e-3, cooldown=cooldown, min_lr=minimum, eps=0
    )
    losses = np.random.default_rng(0).normal(size=60).cumsum() * 0.1 + 5
    for loss in losses:
        ours.see(float(loss), RATE)
        theirs.step(float(loss))
        assert ours.factor * RATE == pytest.approx(optimizer.param_groups[0]["lr"])
    assert ours.factor < 1


@pytest.mark.parametrize(("backend", "held_out"), [("torch", "0.2"), ("torch", "0"), ("jax", "0.2")])
def test_a_training_goes_on_with_the_lowered_rate(
    backend: str, held_out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    block = BLOCKS["Waiting"].replace("patience=1", "patience=0, threshold=0.5")
    Path("net.dl").write_text(NET + block)
    np.savez("clouds.npz", allow_pickle=False, **batches(1, 160)[0])
    common = ["train", "net.dl", "--data", "clouds.npz", "--batch", "16", "--validation", held_out, "--every-validation", "3"]
    common += ["--backend", backend]
    assert run([*common, "--steps", "20", "--out", "whole"]) == 0
    assert "the learning rate of loss is 0.25 of what it was" in capsys.readouterr().out
    assert run([*common, "--steps", "8", "--out", "parts"]) == 0
    assert run([*common, "--steps", "20", "--out", "parts", "--resume"]) == 0
    losses = [[row["loss"] for row in read_rows(Path(folder, "curves.csv"))] for folder in ("whole", "parts")]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 20
