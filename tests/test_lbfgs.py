"""`minimize loss using lbfgs()`: a rule that only PyTorch has, which computes the loss several times a step."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from backends.base import EmitOptions, TrainingBackend, TrainingSession, TrainOptions
from dsl.cli import run as dslc
from dsl.compiler import compile_program, compile_training
from dsl.diagnostics import SpecError
from dsl.initial_values import initial_weights
from dsl.lower import lower_training
from dsl.source import Source
from dsl.target import backend
from dsl.training import Training
from dsl.types import DType

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype(np.float32)
Y = (X @ RNG.normal(size=(3, 2)) + 0.1 * RNG.normal(size=(40, 2)) + 1).astype(np.float32)
BATCH = {"x": X, "y": Y}
LAYER = "  layer net = Linear(2)\n"
SMALL = "  layer net = MLP([8], out=2)\n"


def spec(body: str) -> Source:
    return Source("fit.dl", f"train Fit()(x: float[B, 3], y: float[B, 2]) {{\n{body}\n}}\n")


def fit(using: str, before: str = LAYER, float_type: DType = DType.F32) -> Training:
    return compile_training(spec(f"{before}  minimize loss = mse(net(x), y) using {using}"), float_type=float_type)[0]


def begin(training: Training) -> TrainingSession:
    found = backend("torch")
    assert isinstance(found, TrainingBackend)
    artifact, lowered = lower_training(training, found, EmitOptions(), TrainOptions())
    return found.load_training(artifact, lowered, initial_weights(lowered.program, 0))


def losses(run: TrainingSession, steps: range, batch: Mapping[str, np.ndarray] = BATCH) -> list[float]:
    return [float(run.step(i, batch)["loss"]) for i in steps]


def refused(body: str, *, target: str = "torch", how: TrainOptions | None = None) -> str:
    with pytest.raises(SpecError) as caught:
        compile_program(spec(body), target, how=how)
    return str(caught.value)


# --- what it finds ------------------------------------------------------------------------------------------------------------------


def test_least_squares_are_found_in_two_steps() -> None:
    run = begin(fit("lbfgs(max_iter=20, history_size=10)"))
    losses(run, range(2))
    design = np.c_[X, np.ones(len(X))].astype(np.float64)
    best, *_ = np.linalg.lstsq(design, Y.astype(np.float64), rcond=None)
    np.testing.assert_allclose(run.weights()["net.weight"], best[:3].T, atol=2e-4)
    np.testing.assert_allclose(run.weights()["net.bias"], best[3], atol=2e-4)


def test_a_logistic_regression_is_at_its_optimum_in_a_few_steps() -> None:
    text = """train Fit()(x: float[B, 3], label: int[B]) {
      layer net = Linear(2)
      minimize loss = cross_entropy(net(x), label) + 0.01 * sum(net.params ** 2) using lbfgs()
    }"""
    run = begin(compile_training(Source("fit.dl", text))[0])
    batch: dict[str, np.ndarray] = {"x": X, "label": np.asarray(Y[:, 0] > 1, np.int64)}
    found = losses(run, range(4), batch)
    assert found[-1] < 0.7 * found[0]
    assert found[-1] == pytest.approx(losses(run, range(4, 8), batch)[-1], abs=1e-6)


def test_the_losses_are_those_of_torch() -> None:
    run = begin(fit("lbfgs(0.5, max_iter=4, line_search=false)", SMALL))
    start = run.weights()
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    model.load_state_dict(dict(zip(model.state_dict(), (torch.tensor(v) for v in start.values()), strict=True)))
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(torch.tensor(X)), torch.tensor(Y))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    wanted = [float(optimizer.step(closure).detach()) for _ in range(4)]  # type: ignore[no-untyped-call]
    assert losses(run, range(4)) == pytest.approx(wanted, rel=1e-5)


# --- what it is ---------------------------------------------------------------------------------------------------------------------


def test_the_language_has_no_formula_of_it() -> None:
    (rule,) = fit("lbfgs(max_iter=7)").objectives[0].rules
    assert (rule.name, rule.update, rule.state) == ("lbfgs", None, ())
    assert rule.settings == {
        "max_iter": 7, "max_eval": None, "tolerance_grad": 1e-7, "tolerance_change": 1e-9, "history_size": 100, "line_search": True,
    }  # fmt: skip


def test_the_text_is_a_closure() -> None:
    source = f"{LAYER}  found = net(x)\n  minimize loss = mse(found, y) using lbfgs(max_iter=9)\n  metric size = mean(found ** 2)"
    text = compile_program(spec(source), "torch").artifact.content.decode()
    assert (
        'torch.optim.LBFGS(\n            model.parameters(), lr=1.0, max_iter=9, line_search_fn="strong_wolfe"\n        )' in text
    )
    assert text[text.index("    def closure()") :].startswith("""\
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss, size = model.loss(x, y)
        loss.backward()
        found.setdefault("loss", loss.detach())
        found.setdefault("size", size.detach())
        return loss

    optimizer.step(closure)
    return found
""")


def test_a_function_of_that_name_hides_it() -> None:
    text = "fn lbfgs(p, g, step, lr=0.1) = p - lr * g\n" + spec(f"{LAYER}  minimize mse(net(x), y) using lbfgs()").text
    (rule,) = compile_training(Source("own.dl", text))[0].objectives[0].rules
    assert rule.update is not None and not rule.library


def test_schedules_and_other_objectives_are_as_ever() -> None:
    body = (
        SMALL
        + """  layer head = Linear(2)
    minimize first = mse(net(x), y) over net using lbfgs(cosine_decay(1.0, steps=10), max_iter=5) every 2
    minimize second = mse(head(stop_gradient(net(x))), y) over head using lbfgs(max_iter=2)
    """
    )
    run = begin(compile_training(spec(body))[0])
    rows = [run.step(i, BATCH) for i in range(6)]
    assert [set(row) for row in rows] == [{"first", "second"}, {"second"}] * 3
    assert float(rows[4]["first"]) < 0.5 * float(rows[0]["first"])
    assert float(rows[5]["second"]) < float(rows[0]["second"])


def test_a_draw_outside_of_layers_is_one_for_the_whole_step() -> None:
    body = f"{LAYER}  noise = randn(B, 3)\n  minimize loss = mse(net(x + 0.1 * noise), y) using lbfgs()"
    training = compile_training(spec(body))[0]
    assert training.draws is not None and list(training.draws.outputs) == ["noise"]
    found = losses(begin(training), range(3))
    assert found[1] < 0.2 * found[0]


def test_a_layer_may_be_applied_as_in_inference() -> None:
    body = "  layer net = Linear(2)\n  layer norm = BatchNorm1d()\n  h = norm(dropout(net(x), 0.5, training=false), training=false)\n"
    found = losses(begin(compile_training(spec(f"{body}  minimize loss = mse(h, y) using lbfgs()"))[0]), range(2))
    assert found[1] < found[0]


# --- the file, and going on -----------------------------------------------------------------------------------------------------------


def test_the_file_trains_alone(tmp_path: Path) -> None:
    made = compile_program(spec(f"{SMALL}  minimize loss = mse(net(x), y) using lbfgs()"), "torch")
    (tmp_path / "fit.py").write_bytes(made.artifact.content)
    np.savez(tmp_path / "data.npz", allow_pickle=False, **BATCH)
    words = [sys.executable, "-I", "fit.py", "data.npz", "weights.pt", "--steps", "3", "--batch", "40"]
    finished = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    first, last = (float(line.split("'loss': ")[1].rstrip("}")) for line in finished.stdout.splitlines())
    assert last < 0.5 * first
    assert set(torch.load(tmp_path / "weights.pt")) == set(made.training.program.parameters())
    for command in (["check", "--extend-select", "I,UP,W,B"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--isolated", "--no-cache", "--line-length", "88", "fit.py"]
        checked = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    "using", ["lbfgs(max_iter=3)", "lbfgs(0.1, max_iter=2, history_size=3, line_search=false)", "lbfgs(max_iter=1)"]
)
@pytest.mark.parametrize("at", [1, 4])
@pytest.mark.parametrize("float_type", [DType.F32, DType.BF16], ids=str)
def test_what_it_keeps_can_be_restored(using: str, at: int, float_type: DType) -> None:
    training = fit(using, SMALL, float_type)
    whole = begin(training)
    losses(whole, range(at))
    kept = dict(whole.weights()), dict(whole.moments())
    again = begin(training)
    again.restore(*kept)
    assert losses(again, range(at, at + 4)) == losses(whole, range(at, at + 4))


def test_a_training_that_goes_on_is_the_unbroken_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fit.dl").write_text(spec(f"{SMALL}  minimize loss = mse(net(x), y) using lbfgs(max_iter=3)").text)
    np.savez(tmp_path / "data.npz", allow_pickle=False, **BATCH)
    given = ["train", str(tmp_path / "fit.dl"), "--data", str(tmp_path / "data.npz"), "--batch", "10"]
    for steps, name, *more in (("9", "whole"), ("4", "half"), ("9", "half", "--resume")):
        assert dslc([*given, "--steps", steps, "--out", str(tmp_path / name), *more]) == 0, capsys.readouterr().err
    for name in ("weights.safetensors", "curves.csv"):
        assert (tmp_path / "half" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


# --- what is refused ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "clauses",
    [
        'using lbfgs() for "**.bias", sgd(0.1)',
        'using lbfgs() for "**"',
        "using lbfgs() clip 1.0",
        "using lbfgs() clip_value 1.0",
    ],
)
def test_it_is_the_only_rule_and_follows_the_gradient_itself(clauses: str) -> None:
    assert "DL0538" in refused(f"{LAYER}  minimize mse(net(x), y) {clauses}")


@pytest.mark.parametrize(
    "loss",
    [
        "mse(dropout(net(x), 0.5), y)",
        "mse(bernoulli(sigmoid(stop_gradient(net(x)))) + net(x), y)",
        "mse(Noisy()(net(x)), y)",
        "mse(BatchNorm1d()(net(x)), y)",
    ],
)
def test_the_loss_is_the_same_within_a_step(loss: str) -> None:
    noisy = "module Noisy()(x: float[B, D]) -> float[B, D] { return x + randn(B, D) }\n"
    source = Source("fit.dl", noisy + spec(f"{LAYER}  minimize loss = {loss} using lbfgs()").text)
    with pytest.raises(SpecError, match=r"DL0538.*several times a step"):
        compile_training(source)


@pytest.mark.parametrize(
    ("using", "code"),
    [
        ("lbfgs(max_iter=0)", "DL0402"),
        ("lbfgs(history_size=-1)", "DL0402"),
        ("lbfgs(max_iter=2.5)", "DL0401"),
        ("lbfgs(max_eval=0)", "DL0402"),
        ("lbfgs(line_search=1)", "DL0401"),
        ("lbfgs(tolerance_grad=-1e-3)", "DL0402"),
        ('lbfgs(tolerance_change="small")', "DL0401"),
        ("lbfgs(lr=0.0)", "DL0402"),
        ("lbfgs(line_search_fn=true)", "DL0203"),
        ("lbfgs(1.0, lr=1.0)", "DL0205"),
        ("lbfgs(1.0, 1, 1, 1.0, 1.0, 1, true, 1)", "DL0203"),
    ],
)
def test_settings_are_checked(using: str, code: str) -> None:
    assert code in refused(f"{LAYER}  minimize mse(net(x), y) using {using}")


def test_it_is_nothing_but_an_optimiser() -> None:
    assert "DL0209" in refused(f"{LAYER}  minimize mse(lbfgs(net(x)), y) using sgd(0.1)")


def test_jax_refuses_it_before_data_is_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = f"{LAYER}  minimize mse(net(x), y) using lbfgs()"
    assert "`lbfgs` cannot be compiled to jax" in refused(body, target="jax")
    (tmp_path / "fit.dl").write_text(spec(body).text)
    words = ["train", str(tmp_path / "fit.dl"), "--data", "no-such-file.npz", "--steps", "1", "--backend", "jax"]
    assert dslc(words) == 1
    said = capsys.readouterr().err
    assert "--backend torch" in said and "no-such-file" not in said


@pytest.mark.parametrize("how", [TrainOptions(amp="bf16"), TrainOptions(accumulate=2)], ids=["amp", "accumulate"])
def test_steps_in_parts_or_in_less_precision_are_refused(how: TrainOptions) -> None:
    found = refused(f"{LAYER}  minimize mse(net(x), y) using lbfgs()", how=how)
    assert "DL0702" in found and ("--amp" if how.amp else "--accumulate") in found
