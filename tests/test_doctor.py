"""`dslc doctor`: each check fires on the spec of tests/doctor that has its fault, and is silent on what is sound."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from dsl.cli import run
from dsl.compiler import compile_training
from dsl.diagnostics import SpecError
from dsl.doctor import engine
from dsl.doctor.examine import CHECKS, examine
from dsl.doctor.finding import Finding, Report
from dsl.source import Source

ROOT = Path(__file__).parents[1]
FAULTS = Path(__file__).parent / "doctor"

PLANTED = [
    ("loud_output", "initial-loss", "failed", "`cross_entropy` begins above chance"),
    ("leaking_label", "initial-loss", "failed", "below chance: does the network see the answer?"),
    ("far_target", "initial-loss", "failed", "the targets are far from 0"),
    ("ignored_input", "inputs", "failed", "`extra` is ignored"),
    ("ignored_tokens", "inputs", "failed", "`tokens` is ignored"),
    ("deaf", "inputs", "failed", "`x` is ignored"),
    ("mixed_batch", "batch", "failed", "`centred` (sub) mixes the examples of `loss`"),
    ("reshaped_batch", "batch", "failed", "`h` (reshape) mixes the examples"),
    ("contrastive", "batch", "warning", "compares the examples of `loss` with one another"),
    ("normalised_reward", "batch", "warning", "is it meant to be normalised over the batch?"),
    ("dead_relu", "units", "failed", "`relu` in `net` gives are 0 for the whole batch"),
    ("saturated_tanh", "units", "failed", "`tanh` in `net` gives are at an end"),
    ("vanishing", "scale", "failed", "the gradients vanish backward"),
    ("exploding", "scale", "failed", "the outputs grow with depth"),
    ("cut_off", "gradients", "failed", "no path leads from a loss to `net.fc.weight`, `net.fc.bias`"),
    ("lost_layer", "gradients", "warning", "`body.weight`, `body.bias` are in no objective"),
    ("all_zero", "gradients", "failed", "the gradient of `loss` is 0 in every element of `net.fc.weight`"),
    (
        "constant_weights",
        "symmetry",
        "warning",
        "the 8 units of `net.first` begin alike and get the same gradient: they stay one unit",
    ),
    ("untrained", "gradients", "warning", "`body.weight`, `body.bias` are in no objective"),
    ("slow", "overfit", "failed", "plain adam at 0.003 does: look at its learning rate"),
    ("diverging", "overfit", "failed", "the loss is not finite"),
    ("softmax_twice", "overfit", "failed", "with plain adam neither: look at the network and the loss"),
    ("deaf", "baseline", "failed", "as good from the input of another example"),
]
"""A spec, the check that has to notice, its verdict, and what it says."""

SHIPPED = {
    "recurrent/hello.dl": {},
    "language/char_rnn.dl": {"width": 16, "hidden": 32},
    "cnn/lenet.dl": {},
    "language/gpt2.dl": {"width": 32, "layers": 2, "heads": 2},
    "autoencoder/vae.dl": {"hidden": 32},
    "gan/gan.dl": {"hidden": 32},
    "meta_learning/maml.dl": {},
    "rl/dqn.dl": {},
}
"""Specs with a `train` block, at small settings."""


def examined(path: Path, *checks: str, **hyper: object) -> Report:
    return examine(compile_training(path, hyper)[0], batch=16, checks=checks)


def problems(report: Report) -> list[Finding]:
    return [f for f in report.findings if f.status.value in ("warning", "failed")]


@pytest.mark.parametrize(("name", "check", "status", "message"), PLANTED, ids=[f"{p[0]}-{p[1]}" for p in PLANTED])
def test_a_planted_fault_is_found(name: str, check: str, status: str, message: str) -> None:
    report = examined(FAULTS / f"{name}.dl", check)
    (found, *_) = problems(report)
    assert (found.check, found.status.value) == (check, status)
    assert message in found.message
    assert report.ok == (status != "failed")


@pytest.mark.parametrize("name", ["sound", "batch_norm", "zero_output", "actor_critic"])
def test_what_is_sound_raises_no_alarm(name: str) -> None:
    assert problems(examined(FAULTS / f"{name}.dl")) == []


@pytest.mark.parametrize("path", SHIPPED)
def test_shipped_specs_are_sound(path: str) -> None:
    assert problems(examined(ROOT / "specs" / path, **SHIPPED[path])) == []


def test_every_check_has_a_planted_fault() -> None:
    assert {check for _, check, _, _ in PLANTED} == set(CHECKS)


def test_a_finding_has_its_numbers_and_its_place() -> None:
    (found,) = examined(FAULTS / "loud_output.dl", "initial-loss").findings
    assert found.numbers["expected"] == pytest.approx(math.log(4))
    assert found.numbers["loss"] > 3 * math.log(4)
    assert (found.expected, found.span.line) == ("ln 4 = 1.386", 8)
    (found,) = examined(FAULTS / "mixed_batch.dl", "batch").findings
    assert found.span.text == "h - mean(h, over=0)"


def test_batch_statistics_are_declared() -> None:
    (found,) = examined(FAULTS / "batch_norm.dl", "batch").findings
    assert "in training, `net.bn` declare statistics of the batch" in found.message


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("bce_with_logits(net(x), y)", "ln 2 = 0.6931"),
        ("bce(sigmoid(net(x)), y)", "ln 2 = 0.6931"),
        ("-mean(bernoulli_log_prob(y, net(x)))", "ln 2 = 0.6931"),
        ('bce_with_logits(net(x), y, reduction="sum")', "ln 2 = 0.6931"),
        ("bce_with_logits(net(x), y, pos_weight=1.0) + 0.01 * mean(net(x) ** 2)", "ln 2 = 0.6931"),
    ],
)
def test_chance_is_known_however_the_loss_is_written(loss: str, expected: str) -> None:
    text = (
        f"train T()(x: float[B, 5], y: float[B, 1]) {{\n  layer net = Linear(1)\n  minimize loss = {loss} using adam(0.1)\n}}\n"
    )
    report = examine(compile_training(Source("t.dl", text))[0], checks=["initial-loss"])
    (found,) = report.findings
    assert (found.status.value, found.expected) == ("ok", expected)


def test_the_variance_of_the_target_is_that_of_the_data(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 6)).astype(np.float32), (0.5 * rng.standard_normal(64)).astype(np.float32)
    np.savez(tmp_path / "points.npz", x=x, y=y)
    training, _ = compile_training(FAULTS / "diverging.dl")
    (found,) = examine(training, data=str(tmp_path / "points.npz"), batch=64, checks=["initial-loss"]).findings
    assert found.numbers["expected"] == pytest.approx(float(np.var(y)), rel=1e-5)


@pytest.mark.parametrize(("size", "message"), [(1, "is empty at"), (500, "longer than the context window")])
def test_sizes_that_the_block_rules_out_are_refused(size: int, message: str) -> None:
    training, _ = compile_training(ROOT / "specs/language/gpt2.dl", SHIPPED["language/gpt2.dl"])
    with pytest.raises(SpecError, match=message):
        examine(training, sizes={"T": size})


def test_a_loss_that_holds_gradients_back_need_not_fall() -> None:
    """The value of this one is 0 always, and its gradient is not."""
    lines = ["layer net = Linear(1)", "y = net(x)", "minimize loss = mean(y - stop_gradient(y)) using adam(0.1)"]
    training, _ = compile_training(Source("t.dl", "train T()(x: float[B, 5]) {\n" + "\n".join(lines) + "\n}\n"))
    (found,) = examine(training, checks=["overfit"]).findings
    assert (found.status.value, "stop_gradient" in found.message) == ("skipped", True)


def test_jax_serves_where_torch_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CANDIDATES", ("jax",))
    assert problems(examined(FAULTS / "sound.dl")) == []
    (found,) = problems(examined(FAULTS / "all_zero.dl", "gradients"))
    assert found.numbers["parameters"] == 3


def test_without_a_framework_the_rest_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CANDIDATES", ())
    verdicts = {f.check: f.status.value for f in examined(FAULTS / "sound.dl").findings}
    assert verdicts["overfit"] == verdicts["baseline"] == "skipped"
    assert verdicts["initial-loss"] == verdicts["batch"] == verdicts["inputs"] == "ok"


# --- the command ------------------------------------------------------------------------------------------------------------------


def test_the_command_says_what_where_and_what_was_expected(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", str(FAULTS / "mixed_batch.dl"), "--check", "batch"]) == 1
    text = capsys.readouterr().out
    assert "failed: batch: `centred` (sub) mixes the examples" in text
    assert "mixed_batch.dl:4:13\n  | centred = h - mean(h, over=0)" in text
    assert "rows that were made up: 1 failed" in text


def test_the_command_ends_with_0_where_all_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", str(FAULTS / "sound.dl"), "Classify", "--check", "scale", "--layers", "--set", "lr=0.02"]) == 0
    text = capsys.readouterr().out
    assert "net.fc" in text and "Classify, on rows that were made up: sound" in text


def test_json_has_all_findings(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", str(FAULTS / "loud_output.dl"), "--check", "initial-loss", "--check", "scale", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert {f["check"]: f["status"] for f in found["findings"]} == {"initial-loss": "failed", "scale": "ok"}
    assert found["findings"][0]["line"] == 8
    assert [row["layer"] for row in found["layers"]] == ["net.fc", "net.out"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--check", "overfitt"], 2, "did you mean `overfit`?"),
        (["--size", "T"], 2, "is not DIM=N"),
        (["--size", "T=4"], 2, "have no dimension `T`"),
        (["--batch", "0"], 2, "--batch"),
        (["--data", "nothing.npz"], 4, "nothing.npz"),
        (["Other"], 2, "has no `train` block `Other`"),
    ],
)
def test_what_cannot_be_examined_is_said(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", str(FAULTS / "sound.dl"), *arguments]) == code
    assert message in capsys.readouterr().err
