"""What parameters begin with: the scale by the sizes of a layer, what the labels say, and the weights of a smaller network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dsl.cli import run as dslc
from dsl.compiler import compile_graph, compile_training, run, run_program
from dsl.diagnostics import SpecError
from dsl.doctor.examine import examine
from dsl.doctor.finding import Status
from dsl.grow import grown_weights
from dsl.initial_values import initial_weights
from dsl.source import Source
from dsl.trainer.curves import read_rows
from dsl.weights import load_weights, save_weights
from tests.agreement import Agreement
from tests.small import SPECS
from tests.systems.expressions import TARGETS

every_target = pytest.mark.parametrize("target", TARGETS)


def source(body: str, kind: str = "float[B, 784]", definitions: str = "") -> Source:
    return Source("case", f"{definitions}\nmodel M()(x: {kind}) {{ return x -> {body} }}")


def weights(body: str, kind: str = "float[B, 784]", seed: int = 0) -> dict[str, np.ndarray]:
    return initial_weights(compile_graph(source(body, kind)), seed)


# --- by the sizes of the layer --------------------------------------------------------------------------------------------------


@pytest.mark.system("xavier")
def test_xavier_of_a_layer_from_784_to_100() -> None:
    uniform = weights("it: Linear(100, init=xavier_uniform)")["it.weight"]
    assert uniform.shape == (100, 784)
    assert np.abs(uniform).max() == pytest.approx(0.0823853, rel=1e-3) and np.abs(uniform).max() < 0.0823853
    by_fan_in = weights("it: Linear(100, init=lecun_normal)")["it.weight"]
    assert by_fan_in.std() == pytest.approx(0.0357143, rel=0.02)
    for init in ("xavier_uniform", "xavier_normal"):
        assert weights(f"it: Linear(100, init={init})")["it.weight"].var() == pytest.approx(2 / 884, rel=0.02)


@pytest.mark.system("xavier")
def test_the_fans_of_a_convolution_count_its_kernel() -> None:
    kernel = weights("it: Conv2d(64, 5, init=xavier_normal)", "float[B, 32, 9, 9]")["it.weight"]
    assert kernel.shape == (64, 32, 5, 5)
    assert kernel.var() == pytest.approx(2 / (32 * 25 + 64 * 25), rel=0.02)


@pytest.mark.system("kaiming")
def test_kaiming_of_a_layer_of_784_inputs_and_of_a_kernel() -> None:
    assert weights("it: Linear(1000, init=kaiming_normal)")["it.weight"].std() == pytest.approx(0.0505076, rel=0.01)
    kernel = weights("it: Conv2d(64, 3, init=kaiming_normal)", "float[B, 32, 9, 9]")["it.weight"]
    assert kernel.std() == pytest.approx(math.sqrt(2 / (32 * 9)), rel=0.02)


@pytest.mark.system("kaiming")
@every_target
@pytest.mark.parametrize("init", ["kaiming_normal", "kaiming_uniform"])
def test_ten_relu_layers_keep_the_second_moment_within_a_factor_of_two(init: str, target: str) -> None:
    x = np.random.default_rng(0).normal(size=(64, 512)).astype(np.float32)
    spec = source(f"repeat(10) {{ Linear(512, init={init}) -> relu }}", "float[B, 512]")
    y = run(spec, {"x": x}, target=target).outputs["y"]
    assert 0.5 < np.mean(y**2) / np.mean(x**2) < 2


@pytest.mark.system("orthogonal")
def test_a_tall_orthogonal_matrix_has_orthonormal_columns_and_a_wide_one_rows() -> None:
    tall = weights("it: Linear(200, init=orthogonal)", "float[B, 30]")["it.weight"]
    wide = weights("it: Linear(30, init=orthogonal(2.0))", "float[B, 200]")["it.weight"]
    assert tall.shape == (200, 30)
    np.testing.assert_allclose(tall.T @ tall, np.eye(30), atol=1e-5)
    np.testing.assert_allclose(wide @ wide.T, 4 * np.eye(30), atol=1e-5)


# --- constants and draws --------------------------------------------------------------------------------------------------------


@pytest.mark.system("basic-init")
def test_a_million_normal_draws_have_their_deviation_and_zeros_and_constants_are_exact() -> None:
    spec = source("it: Linear(1000, init=normal(std=0.01), bias_init=constant(0.5)) -> last: Linear(2)", "float[B, 1000]")
    drawn = initial_weights(compile_graph(spec))
    assert drawn["it.weight"].std() == pytest.approx(0.01, rel=0.02) and abs(drawn["it.weight"].mean()) < 1e-4
    assert (drawn["it.bias"] == 0.5).all() and not drawn["last.bias"].any()
    uniform = weights("it: Linear(1000, init=uniform(-0.5, 1.5))", "float[B, 1000]")["it.weight"]
    assert uniform.min() >= -0.5 and uniform.max() < 1.5 and uniform.mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.system("basic-init")
def test_the_draws_of_a_seed_are_the_same_on_every_target() -> None:
    spec = source("it: Linear(3, init=normal(std=0.01), bias=false)", "float[B, 5]")
    found = {t: run(spec, {"x": np.eye(5)}, target=t, seed=7).outputs["y"] for t in TARGETS}
    drawn = initial_weights(compile_graph(spec), 7)["it.weight"].T
    for y in found.values():
        np.testing.assert_allclose(y, drawn, atol=1e-8)
    assert not np.allclose(found["torch"], run(spec, {"x": np.eye(5)}, target="torch", seed=8).outputs["y"])


CONSTANT = Path(__file__).parents[1] / "doctor" / "constant_weights.dl"


@pytest.mark.system("basic-init")
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_hidden_units_that_begin_alike_stay_so_however_long_they_are_trained(backend: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data, folder = tmp_path / "data.npz", tmp_path / "run"
    np.savez(data, allow_pickle=False, x=rng.normal(size=(64, 6)).astype(np.float32), label=rng.integers(0, 3, 64))
    arguments = ["--data", str(data), "--batch", "16", "--steps", "60", "-o", str(folder), "-b", backend]
    assert dslc(["train", str(CONSTANT), *arguments]) == 0
    trained = load_weights(folder / "weights.safetensors", compile_training(CONSTANT)[0].program)
    first, last = trained["net.first.weight"], trained["net.last.weight"]
    assert np.abs(first[0] - 0.1).max() > 0.05  # it has learned something
    np.testing.assert_allclose(first, np.broadcast_to(first[:1], first.shape), atol=1e-4)
    np.testing.assert_allclose(last, np.broadcast_to(last[:, :1], last.shape), atol=1e-4)


@pytest.mark.system("basic-init")
def test_the_doctor_names_the_layer_of_constants() -> None:
    (finding,) = examine(compile_training(CONSTANT)[0], checks=["symmetry"]).findings
    assert finding.status is Status.WARNING
    assert finding.message.startswith("the 8 units of `net.first` begin alike")
    assert finding.span.line == 2


@pytest.mark.system("residual-scale")
def test_both_projections_of_every_block_begin_smaller_by_the_depth() -> None:
    parameters = compile_graph(SPECS / "language" / "gpt2.dl").parameters()
    stds = {name: p.initial.arguments["std"] for name, p in parameters.items() if p.initial.kind == "normal"}
    projections = [name for name in stds if name.endswith(("attn.out.weight", "proj.weight"))]
    assert len(projections) == 24
    assert all(stds[name] == pytest.approx(0.00408248, abs=1e-8) for name in projections)
    others = {stds[name] for name in stds if name not in projections and name != "wpe.weight"}
    assert others == {0.02}


# --- by the labels --------------------------------------------------------------------------------------------------------------


def losses(expression: str, x: np.ndarray, y: np.ndarray, target: str) -> float:
    text = f"model M()(x: float[B, 4], y: float[B, 1]) {{ return {expression} }}"
    return float(next(iter(run(Source("case", text), {"x": x, "y": y}, target=target).outputs.values())))


@pytest.mark.system("output-bias")
@every_target
def test_a_tenth_of_positives_begins_at_the_loss_of_knowing_that(target: str) -> None:
    bias = weights("it: Linear(1, bias_init=logit_prior(0.1))")["it.bias"]
    assert bias[0] == pytest.approx(-2.1972, abs=1e-4)
    x, y = np.zeros((100, 4)), np.repeat([1.0, 0.0], [10, 90])[:, None]
    assert losses("bce_with_logits(x -> Linear(1, bias_init=logit_prior(0.1)), y)", x, y, target) == pytest.approx(
        0.3251, abs=1e-4
    )
    assert losses("bce_with_logits(x -> Linear(1), y)", x, y, target) == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.system("output-bias")
@every_target
def test_a_mean_of_fifty_begins_at_the_variance(target: str) -> None:
    rng = np.random.default_rng(0)
    x, y = 0.01 * rng.normal(size=(20_000, 4)), rng.normal(50, 10, size=(20_000, 1))
    assert losses("mse(x -> Linear(1, bias_init=constant(50)), y)", x, y, target) == pytest.approx(100, rel=0.03)
    assert losses("mse(x -> Linear(1), y)", x, y, target) == pytest.approx(2600, rel=0.03)


@pytest.mark.system("output-bias")
@every_target
@pytest.mark.parametrize("biases", [1, 2])
def test_the_forget_gates_begin_open_and_keep_that_share_of_the_cell(biases: int, target: str) -> None:
    spec = Source(
        "case",
        f"""
model M()(x: float[B, T, 2], h: float[B, 3], c: float[B, 3]) {{
  _, _, after = LSTM(3, biases={biases}, init=zeros, bias_init=gate_bias)(x, h, c)
  _, by_cell = LSTMCell(3, biases={biases}, init=zeros, bias_init=gate_bias)(x[:, 0], h, c)
  return after, by_cell
}}
""",
    )
    names = {n: p.initial.values for n, p in compile_graph(spec).parameters().items() if n.endswith("bias_ih")}
    assert set(names.values()) == {(0.0, 1.0, 0.0, 0.0)}
    found = run(spec, {"x": np.ones((2, 1, 2)), "h": np.zeros((2, 3)), "c": np.ones((2, 3))}, target=target).outputs
    for cell in found.values():
        np.testing.assert_allclose(cell, 0.731059, atol=1e-6)


MEASURED = """
model Net(center: float, mean: list, std: list)(x: float[B, 4]) -> float[B, 1] {
  return x -> InputNorm(mean, std) -> Linear(1, init=normal(std=0.001), bias_init=constant(center))
}

train Fit(center: float = 0.0, mean: list = [0] * 4, std: list = [1] * 4)(x: float[B, 4], y: float[B, 1]) {
  layer net = Net(center, mean, std)
  minimize mse(net(x), y) using sgd(0.000001)
}
"""


@pytest.mark.system("output-bias", "input-normalisation")
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_statistics_of_the_data_are_hyper_parameters(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.dl").write_text(MEASURED)
    rng = np.random.default_rng(0)
    x, y = rng.normal(7, 3, size=(2000, 4)).astype(np.float32), rng.normal(50, 10, size=(2000, 1)).astype(np.float32)
    np.savez("data.npz", allow_pickle=False, x=x, y=y)
    common = ["train", "net.dl", "--data", "data.npz", "--batch", "2000", "--steps", "1", "-b", backend]
    statistics = ["center=mean(y)", "mean=mean(x, over=0)", "std=sqrt(var(x, over=0))"]
    assert dslc([*common, "-o", "with", *(word for s in statistics for word in ("--measure", s))]) == 0
    assert "measured center=" in capsys.readouterr().err
    assert dslc([*common, "-o", "without"]) == 0
    with_, without = (read_rows(Path(folder, "curves.csv"))[0]["loss"] for folder in ("with", "without"))
    assert with_ == pytest.approx(y.var(), rel=1e-3) and with_ == pytest.approx(100, rel=0.1)
    assert without == pytest.approx(2600, rel=0.05)
    weights = load_file(Path("with/weights.safetensors"))
    np.testing.assert_allclose(weights["net.input_norm.mean"], x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(weights["net.linear.bias"], y.mean(), rtol=1e-5)


@pytest.mark.system("output-bias")
def test_what_cannot_be_measured_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.dl").write_text(MEASURED)
    np.savez("data.npz", allow_pickle=False, x=np.zeros((8, 4), np.float32), y=np.zeros((8, 1), np.float32))
    common = ["train", "net.dl", "--data", "data.npz", "--batch", "8", "--steps", "1", "-o", "run"]
    for measure, message in (
        ("middle=mean(y)", "`Fit` has no hyper-parameter `middle` to measure"),
        ("center=mean(z)", "`z` is not defined"),
        ("center=log(mean(y))", "`center`, measured as `log(mean(y))`, is not finite"),
    ):
        assert dslc([*common, "--measure", measure]) != 0
        assert message in capsys.readouterr().err


# --- by a smaller network -------------------------------------------------------------------------------------------------------

GROWING = {
    "units": (
        "model Net(width: int = 4)(x: float[B, 3]) { return x -> MLP([width, 2 * width], out=2, act=tanh) }", (5, 3), {"width": 7}
    ),
    "channels": (
        """
model Net(width: int = 4)(x: float[B, 1, 6, 6]) {
  h = x -> Conv2d(width, 3) -> BatchNorm2d -> PReLU(shared=false) -> ConvTranspose2d(width, 2, stride=2) -> max_pool2d(2)
  return h + (h -> Conv2d(width, 1)) -> flatten -> Linear(2)
}
""", (2, 1, 6, 6), {"width": 6},
    ),
}  # fmt: skip


@pytest.mark.system("weight-reuse")
@every_target
@pytest.mark.parametrize("what", GROWING)
def test_a_larger_network_computes_what_the_small_one_did(what: str, target: str, tmp_path: Path) -> None:
    text, shape, larger = GROWING[what]
    small, large = compile_graph(Source("case", text)), compile_graph(Source("case", text), larger)
    save_weights(tmp_path / "small.safetensors", initial_weights(small, 3))
    grown = grown_weights(tmp_path / "small.safetensors", small, large, seed=5)
    assert sum(v.size for v in grown.values()) > 1.5 * sum(v.size for v in initial_weights(small).values())
    x = np.random.default_rng(0).normal(size=shape)
    before = run_program(small, {"x": x}, target=target, weights=initial_weights(small, 3)).outputs["y"]
    after = run_program(large, {"x": x}, target=target, weights=grown).outputs["y"]
    np.testing.assert_allclose(after, before, atol=1e-6)


@pytest.mark.system("weight-reuse")
def test_new_units_have_incoming_weights_and_no_outgoing_ones(tmp_path: Path) -> None:
    small, large = (compile_graph(Source("case", GROWING["units"][0]), {"width": w}) for w in (4, 7))
    save_weights(tmp_path / "small.safetensors", initial_weights(small))
    grown = grown_weights(tmp_path / "small.safetensors", small, large)
    names = [name for name in grown if name.endswith("weight")]
    first, second, last = (grown[name] for name in names)
    assert first[4:].all() and second[8:].all()
    assert not second[:8, 4:].any() and not last[:, 8:].any()


UNFIT = {
    "a layer norm": "x -> Linear(width) -> LayerNorm -> Linear(2)",
    "heads": "stack(x, 2 * x, over=1) -> Linear(width) -> SelfAttention(2) -> Linear(2)",
    "a recurrent cell": "(unsqueeze(x, 1) -> LSTM(width)).h -> Linear(2)",
    "a concat": "concat(x -> Linear(width), x -> Linear(width), over=1) -> Linear(2)",
    "a wider output": "x -> Linear(width)",
}


@pytest.mark.system("weight-reuse")
@pytest.mark.parametrize("what", UNFIT)
def test_a_network_that_would_compute_something_else_is_refused(what: str, tmp_path: Path) -> None:
    spec = Source("case", f"model Net(width: int = 4)(x: float[B, 3]) {{ return {UNFIT[what]} }}")
    save_weights(tmp_path / "small.safetensors", initial_weights(compile_graph(spec)))
    with pytest.raises(SpecError) as caught:
        grown_weights(tmp_path / "small.safetensors", compile_graph(spec), compile_graph(spec, {"width": 8}))
    (problem,) = caught.value.diagnostics
    assert problem.code == "DL0819" and "the larger network computes another `y` than the smaller one" in problem.message


@pytest.mark.system("weight-reuse")
def test_a_tensor_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    text = "model Net(width: int = 4)(x: float[B, 3]) { return x -> fc: Linear(width) -> out: Linear(2) }"
    small = compile_graph(Source("case", text))
    save_weights(tmp_path / "small.safetensors", initial_weights(small))
    with pytest.raises(SpecError) as caught:
        grown_weights(tmp_path / "small.safetensors", small, compile_graph(Source("case", text), {"width": 3}))
    (problem,) = caught.value.diagnostics
    assert problem.code == "DL0818"
    assert problem.notes[0] == "`fc.weight` is f32[4, 3] in the file and f32[3, 3] in the larger network"
    deeper = compile_graph(Source("case", text.replace("-> out", "-> more: Linear(4) -> out")))
    with pytest.raises(SpecError) as caught:
        grown_weights(tmp_path / "small.safetensors", small, deeper)
    assert caught.value.diagnostics[0].notes[0] == "`more.weight` (f32[4, 4]) is no tensor of the smaller network"


@pytest.mark.system("weight-reuse")
def test_the_command_writes_the_larger_network_for_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.dl").write_text("""
model Net(width: int = 4)(x: float[B, 3]) -> float[B, 2] { return x -> MLP([width], out=2) }

train Fit(width: int = 4)(x: float[B, 3], y: float[B, 2]) {
  layer net = Net(width)
  minimize mse(net(x), y) using adam(0.01)
}
""")
    rng = np.random.default_rng(0)
    np.savez("data.npz", allow_pickle=False, x=rng.normal(size=(32, 3)), y=rng.normal(size=(32, 2)))
    common = ["--data", "data.npz", "--batch", "32"]
    assert dslc(["train", "net.dl", *common, "--steps", "5", "-o", "small"]) == 0
    arguments = ["--model", "Fit", "--set", "width=9", "--grow", "small/weights.safetensors", "--small", "width=4"]
    assert dslc(["init", "net.dl", *arguments, "-o", "large.safetensors"]) == 0
    larger = ["--set", "width=9", "--weights", "large.safetensors"]
    assert dslc(["train", "net.dl", *common, *larger, "--steps", "1", "-o", "large"]) == 0
    assert dslc(["train", "net.dl", *common, "--steps", "6", "-o", "whole"]) == 0
    before, after = (read_rows(Path(folder, "curves.csv"))[-1]["loss"] for folder in ("whole", "large"))
    assert after == pytest.approx(before, rel=1e-5)


# --- verification ---------------------------------------------------------------------------------------------------------------


def chain(inits: Sequence[str]) -> str:
    return " -> ".join(f"Linear(4, init={init}, bias_init=normal(std=0.1))" for init in inits)


CASES = {
    "xavier": chain(["xavier_uniform", "xavier_normal"]),
    "kaiming": chain(["kaiming_uniform", "kaiming_normal", "kaiming_normal_out"]),
    "basic-init": chain(["constant(0.3)", "zeros", "normal(std=0.5)", "uniform(-1, 1)", "truncated_normal(std=0.5)"]),
    "orthogonal": chain(["orthogonal", "orthogonal(0.5)", "identity"]),
    "output-bias": "Linear(1, bias_init=logit_prior(0.1)) -> Linear(8, bias_init=gate_bias)",
    "weight-reuse": "MLP([7, 5], out=2, act=tanh)",
    "residual-scale": "repeat(2) { Linear(4, init=normal(std=0.02 / sqrt(2 * 2))) }",
}


@pytest.mark.verification
@pytest.mark.parametrize("body", [pytest.param(case, id=name, marks=pytest.mark.system(name)) for name, case in CASES.items()])
def test_targets_agree(body: str, agrees: Agreement) -> None:
    agrees(source(body, "float[B, 4]").text, sizes=[{"B": 3}])
