"""`dslc train`: what it writes, that it goes on where it was stopped, and what it says when something is wrong."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dsl.cli import run
from dsl.locks import only_process
from tests.trainings import BLOCKS, NET, batches

ROOT = Path(__file__).parents[1]
QUIET = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec with a block that draws, and data beside it; the folder is the current one."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.dl"
    path.write_text(NET + BLOCKS["Drawing"] + BLOCKS["Plain"] + BLOCKS["Scheduled"])
    np.savez(tmp_path / "clouds.npz", allow_pickle=False, **batches(1, 160)[0])
    return path


def train(*words: str, code: int = 0) -> None:
    assert run(["train", "net.dl", "--data", "clouds.npz", "--batch", "16", *words]) == code


def wrong(capsys: pytest.CaptureFixture[str], *words: str, code: int = 1) -> str:
    """What is said about a command line that fails."""
    capsys.readouterr()
    train(*words, code=code)
    said = capsys.readouterr()
    return said.err


def curve(folder: str) -> list[dict[str, str]]:
    with open(Path(folder) / "curves.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_training_leaves_weights_checkpoints_and_curves(spec: Path, backend: str) -> None:
    train("Plain", "--steps", "20", "--validation", "0.25", "--out", "out", "--backend", backend)
    rows = curve("out")
    assert [row["step"] for row in rows] == [str(i) for i in range(1, 21)]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert rows[-1]["validation accuracy"]
    pointer = json.loads(Path("out/checkpoint.json").read_text())
    assert {p.name for p in Path("out").glob("step-*")} == {pointer["last"], pointer["best"]}
    assert Path("out/weights.safetensors").read_bytes() == Path("out", pointer["best"], "weights.safetensors").read_bytes()


@pytest.mark.parametrize("backend", ["torch", pytest.param("jax", marks=pytest.mark.slow)])
def test_going_on_gives_the_numbers_of_an_unbroken_run(spec: Path, backend: str) -> None:
    """Draws and the order of the data are a function of seed and step, so the two are the same to the last bit."""
    common = ("Drawing", "--backend", backend, "--seed", "5", "--every-save", "4")
    train(*common, "--steps", "13", "--out", "whole")
    train(*common, "--steps", "6", "--out", "parts")
    train(*common[:3], "--every-save", "4", "--steps", "13", "--out", "parts", "--resume")
    assert curve("parts") == curve("whole")
    assert Path("parts/weights.safetensors").read_bytes() == Path("whole/weights.safetensors").read_bytes()


def test_a_training_that_is_killed_can_go_on(spec: Path) -> None:
    """At whatever moment it is killed, the last checkpoint is whole."""
    words = [sys.executable, "-m", "dsl.cli", "train", "net.dl", "Plain", "--data", "clouds.npz", "--batch", "16"]
    words += ["--steps", "100000", "--every-save", "1", "--out", "out"]
    process = subprocess.Popen(words, env={**QUIET, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    pointer = Path("out/checkpoint.json")
    deadline = time.monotonic() + 60
    while not pointer.exists() or json.loads(pointer.read_text())["last"] < "step-0000005":
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    done = int(json.loads(pointer.read_text())["last"].removeprefix("step-"))
    train("Plain", "--steps", str(done + 3), "--every-save", "1", "--out", "out", "--resume")
    assert [int(row["step"]) for row in curve("out")] == list(range(1, done + 4))


def test_ctrl_c_saves(spec: Path) -> None:
    words = [sys.executable, "-m", "dsl.cli", "train", "net.dl", "Plain", "--data", "clouds.npz", "--batch", "16"]
    words += ["--steps", "1000000", "--out", "out"]
    process = subprocess.Popen(words, env={**QUIET, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not Path("out/checkpoint.json").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "`--resume` goes on" in said
    last = json.loads(Path("out/checkpoint.json").read_text())["last"]
    assert int(curve("out")[-1]["step"]) == int(last.removeprefix("step-"))


def test_steps_are_a_hyper_parameter_where_the_block_has_one(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("Scheduled", "--epochs", "2", "--out", "out", "--json")
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0] == {"event": "started", "step": 0, "steps": 20}
    assert events[-1] == {"event": "finished"}
    assert "nothing says how long" in wrong(capsys, "Plain", code=2)


def test_a_checkpoint_of_another_training_lists_what_differs(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("Scheduled", "--steps", "10", "--out", "out")
    assert "DL0841" in wrong(capsys, "Scheduled", "--steps", "10", "--out", "out", code=2)
    assert "DL0844" in wrong(capsys, "Scheduled", "--steps", "10", "--seed", "1", "--out", "out", "--resume", code=2)
    said = wrong(capsys, "Scheduled", "--steps", "12", "--out", "out", "--resume")
    assert "DL0843" in said and "the hyper-parameter `steps` was 10 and is 12" in said
    said = wrong(capsys, "Plain", "--steps", "10", "--out", "out", "--resume")
    assert "the block was Scheduled and is Plain" in said
    spec.write_text(spec.read_text().replace("hidden: int = 16", "hidden: int = 17"))
    said = wrong(capsys, "Scheduled", "--steps", "10", "--out", "out", "--resume")
    assert "`net.fc.weight` was f32[16, 4] and is f32[17, 4]" in said


def test_a_checkpoint_that_is_damaged_or_missing(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no checkpoint" in wrong(capsys, "Plain", "--steps", "5", "--out", "none", "--resume", code=4)
    train("Plain", "--steps", "2", "--out", "out")
    moments = Path("out/step-0000002/optimizer.safetensors")
    changed = bytearray(moments.read_bytes())
    changed[-1] ^= 1
    moments.write_bytes(changed)
    said = wrong(capsys, "Plain", "--steps", "5", "--out", "out", "--resume", code=4)
    assert f"`{moments}` is damaged: it is not what was written" in said
    pointer = Path("out/checkpoint.json")
    pointer.write_text(pointer.read_text().replace("step-0000002", "../away"))
    said = wrong(capsys, "Plain", "--steps", "5", "--out", "out", "--resume", code=4)
    assert "`out/checkpoint.json` is damaged: it names no generation" in said
    Path("out/checkpoint.json").write_text("{")
    assert "damaged" in wrong(capsys, "Plain", "--steps", "5", "--out", "out", "--resume", code=4)


@pytest.mark.parametrize("name", ["checkpoint.json", "curves.csv", "step-0000005/weights.safetensors", "step-0000005"])
def test_links_in_the_folder_are_not_followed(spec: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    train("Plain", "--steps", "2", "--out", "out")
    place = Path("out", name)
    place.parent.mkdir(exist_ok=True)
    Path("mine").write_bytes(place.read_bytes() if place.exists() else b"mine")
    before = Path("mine").read_bytes()
    place.unlink(missing_ok=True)
    place.symlink_to(Path("mine").resolve())
    said = wrong(capsys, "Plain", "--steps", "5", "--out", "out", "--resume", code=4)
    assert f"cannot write `{place}`: it is a link" in said and Path("mine").read_bytes() == before


def test_two_trainings_in_one_folder(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("Plain", "--steps", "2", "--out", "out")
    with only_process(Path("out/.training")) as alone:
        assert alone
        for more in (["--resume"], []):
            said = wrong(capsys, "Plain", "--steps", "5", "--out", "out", *more, code=2)
            assert "error[DL0841]: another process is training in `out`" in said
    train("Plain", "--steps", "5", "--out", "out", "--resume")
    assert not Path("out/.training").exists()


@pytest.mark.parametrize(("data", "code"), [("label", "DL0836"), ("shape", "DL0834"), ("names", "DL0833"), ("few", "DL0838")])
def test_bad_data_is_found_before_the_first_step(spec: Path, capsys: pytest.CaptureFixture[str], data: str, code: str) -> None:
    arrays = batches(1, 32)[0]
    match data:
        case "label":
            arrays["label"][31] = 3
        case "shape":
            arrays["x"] = arrays["x"][:, :3]
        case "names":
            arrays["y"] = arrays.pop("label")
        case "few":
            arrays = {name: value[:5] for name, value in arrays.items()}
    np.savez("clouds.npz", allow_pickle=False, **arrays)
    capsys.readouterr()
    assert run(["train", "net.dl", "Plain", "--data", "clouds.npz", "--batch", "16", "--steps", "3", "--out", "out"]) in (1, 2)
    assert code in capsys.readouterr().err
    assert not Path("out/checkpoint.json").exists()


ROOT_OF_ZERO = """
train Root()(x: float[B, 4], label: int[B]) {
  layer net = MLP([8], out=3)
  logits = net(x)
  length = sqrt(sum((logits - logits) ** 2, over=1))
  minimize loss = mean(length) + cross_entropy(logits, label) using sgd(0.1)
}

train Log()(x: float[B, 4], label: int[B]) {
  layer net = MLP([8], out=3)
  logits = net(x)
  hopeless = log(relu(softmax(logits) - 2.0))
  minimize loss = mean(hopeless) + cross_entropy(logits, label) using sgd(0.1)
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_loss_that_is_not_finite_names_the_operation(spec: Path, capsys: pytest.CaptureFixture[str], backend: str) -> None:
    spec.write_text(ROOT_OF_ZERO)
    said = wrong(capsys, "Log", "--steps", "5", "--out", "a", "--backend", backend)
    assert "`loss` is infinite in step 1" in said
    assert "of `log` (`hopeless`)" in said and "net.dl:12" in said
    said = wrong(capsys, "Root", "--steps", "5", "--out", "b", "--backend", backend)
    assert "`loss` is NaN in step 2" in said
    assert "the slope of `sqrt` is infinite at 0" in said and "net.dl:5" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps", "3", "--epochs", "1"], "not both"),
        (["--steps", "3", "--accumulate", "3"], "DL0847"),
        (["--steps", "3", "--size", "T=4"], "no dimension `T`"),
        (["--steps", "3", "--size", "T"], "not DIM=N"),
        (["--steps", "3", "--validation", "1.5"], "DL0838"),
        (["--steps", "3", "--backend", "onnx"], "DL0713"),
        (["--steps", "0"], "--steps"),
    ],
)
def test_wrong_command_lines(spec: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert said in wrong(capsys, "Plain", *words, code=2)


@pytest.mark.parametrize("rate", ["0", "-0.1", "0.0 / 0.0"])
def test_a_rate_that_cannot_be_one(spec: Path, capsys: pytest.CaptureFixture[str], rate: str) -> None:
    spec.write_text(NET + BLOCKS["Plain"].replace("adam(0.01)", f"adam({rate})"))
    assert "error[" in wrong(capsys, "Plain", "--steps", "3")


def test_the_program_can_be_kept(spec: Path) -> None:
    assert run(["compile", "net.dl", "--train", "--model", "Plain", "--backend", "torch", "-o", "plain.py"]) == 0
    assert "def train_step(" in Path("plain.py").read_text()
