"""The multilayer perceptrons and their simplest relatives do what their fields say of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dsl.compiler import compile_graph, compile_spec, init, run
from dsl.ir import Program
from dsl.types import DType
from tests.agreement import Agreement
from tests.test_learning import SPECS, saved, trained

MLP = SPECS / "mlp"
TARGETS = ("torch", "jax", "onnx")
DIFFERENTIATING = ("torch", "jax")


# --- exclusive or -----------------------------------------------------------------------------------------------------------------

CORNERS = {"x": np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), "y": np.array([0, 1, 1, 0], np.float32)}


@pytest.mark.system("xor")
@pytest.mark.parametrize("seed", range(3))
def test_eight_hidden_units_classify_all_four_points(seed: int, tmp_path: Path) -> None:
    data = saved(tmp_path, "corners", CORNERS)
    curve = trained("mlp/xor.dl:Multilayer", data, tmp_path / "run", "--batch", 4, "--seed", seed)
    assert curve[-1]["accuracy"] == 1.0


@pytest.mark.system("xor")
@pytest.mark.parametrize("seed", range(3))
def test_a_line_never_classifies_more_than_three_of_the_four(seed: int, tmp_path: Path) -> None:
    data = saved(tmp_path, "corners", CORNERS)
    curve = trained("mlp/xor.dl:Line", data, tmp_path / "run", "--batch", 4, "--seed", seed)
    assert max(row["accuracy"] for row in curve) <= 0.75
    assert curve[-1]["loss"] == pytest.approx(math.log(2), rel=0.01)  # the best line says 1/2 everywhere


# --- linear layers ----------------------------------------------------------------------------------------------------------------


def linear_layers(program: Program) -> int:
    """How many linear layers the program applies."""
    calls = [n.target for n in program.main.calls() if n.target is not None and n.target.graph.definition == "Linear"]
    return sum(1 if call.count is None else call.count for call in calls)


@pytest.mark.system("linear-stack")
@pytest.mark.parametrize("target", TARGETS)
def test_three_linear_layers_compute_what_their_product_computes(target: str) -> None:
    spec = MLP / "linear_stack.dl"
    weights = init(spec)
    x = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    first, second, third = (weights[f"stack.{i}.weight"].astype(np.float64) for i in range(3))
    found = run(spec, {"x": x}, target=target, weights=weights).outputs["y"]
    np.testing.assert_allclose(found, x @ (third @ second @ first).T, atol=1e-6 * np.abs(found).max(), rtol=0)


@pytest.mark.system("linear-stack")
def test_at_inference_one_layer_is_left_of_three_and_all_three_where_they_train() -> None:
    spec = MLP / "linear_stack.dl"
    assert linear_layers(compile_graph(spec)) == 3
    inferring = compile_spec(spec, "onnx")
    assert linear_layers(inferring.program) == 1
    assert inferring.weights is not None
    assert {name: value.shape for name, value in inferring.weights.items()} == {"stack.weight": (8, 8)}
    for target in DIFFERENTIATING:
        assert linear_layers(compile_spec(spec, target).program) == 3


@pytest.mark.system("linear-stack")
def test_a_non_linearity_between_the_layers_keeps_them_apart() -> None:
    assert "fuse_linear" not in compile_spec(MLP / "linear_stack.dl", "onnx", model="Nested").passes


# --- scalars ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("scalar-graph")
@pytest.mark.parametrize("target", DIFFERENTIATING)
@pytest.mark.parametrize(("x1", "x2"), [(2.0, 5.0), (-1.5, 0.0), (0.3, -7.25)])
def test_the_two_ways_from_the_second_input_add_up(target: str, x1: float, x2: float) -> None:
    inputs = {"x1": np.array(x1), "x2": np.array(x2)}
    found = run(MLP / "scalar_graph.dl", inputs, target=target, float_type=DType.F64).outputs
    assert float(found["f"]) == pytest.approx(x1 * x2 + math.sin(x2), abs=1e-12)
    assert float(found["slope_1"]) == pytest.approx(x2, abs=1e-12)
    assert float(found["slope_2"]) == pytest.approx(x1 + math.cos(x2), abs=1e-12)


@pytest.mark.system("scalar-graph")
@pytest.mark.parametrize("target", DIFFERENTIATING)
@pytest.mark.parametrize(("a", "b", "to_a", "to_b"), [(3.0, 2.0, 1.0, 0.0), (-3.0, 2.0, 0.0, 1.0)])
def test_add_gives_its_gradient_to_both_and_max_to_the_larger(target: str, a: float, b: float, to_a: float, to_b: float) -> None:
    inputs = {"a": np.array(a), "b": np.array(b)}
    found = run(MLP / "scalar_graph.dl", inputs, model="Gates", target=target, float_type=DType.F64).outputs
    assert {name: float(value) for name, value in found.items()} == {"add_a": 1.0, "add_b": 1.0, "max_a": to_a, "max_b": to_b}


@pytest.mark.system("scalar-graph")
@pytest.mark.verification
def test_the_graph_itself_is_the_same_on_every_target(agrees: Agreement) -> None:
    agrees(
        """
        from mlp.scalar_graph import product_and_sine
        model M()(x1: float[], x2: float[]) { return product_and_sine(x1, x2), x1 + x2, maximum(x1, x2) }
        """,
        gradients=False,
    )


# --- double descent ---------------------------------------------------------------------------------------------------------------


def centred_digits(count: int) -> dict[str, np.ndarray]:
    """8 x 8 digits without the mean picture."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    chosen = np.random.default_rng(0).permutation(len(labels))[:count]
    return {"image": ((pixels - pixels.mean(axis=0)) / 16).astype(np.float32)[chosen], "label": labels[chosen]}


@pytest.mark.slow
@pytest.mark.system("double-descent")
def test_past_a_parameter_for_each_number_the_training_loss_is_near_zero_and_the_risk_falls_again(tmp_path: Path) -> None:
    """200 examples of 10 classes: the threshold lies at width 27. Real digits are fitted somewhat earlier than any labels would be, here
    at width 10, and there the risk is highest."""
    samples, classes = 200, 10
    data = saved(tmp_path, "digits", centred_digits(2 * samples))
    loss, risk = {}, {}
    for width in (5, 10, 27):
        curve = trained(
            "mlp/double_descent.dl", data, tmp_path / f"{width}", "--batch", samples, "--set", f"width={width}", "--set", "features=64",
            "--set", "lr=0.01", "--steps", 1500, "--validation", 0.5, "--every-validation", 1500,
        )  # fmt: skip
        loss[width], risk[width] = curve[-1]["loss"], curve[-1]["validation loss"]
    parameters = {width: 65 * width + 10 * width + 10 for width in loss}
    assert all(loss[width] < 1e-3 for width in loss if parameters[width] > samples * classes)
    assert loss[5] > 0.03
    assert risk[27] < 0.8 * risk[10]


@pytest.mark.system("double-descent")
def test_a_wider_network_that_reuses_the_weights_of_a_narrower_one_begins_where_that_ended(tmp_path: Path) -> None:
    data = saved(tmp_path, "digits", centred_digits(50))
    settings = ("--batch", 50, "--set", "features=64", "--dtype", "f64")
    narrow = tmp_path / "narrow"
    trained("mlp/double_descent.dl", data, narrow, *settings, "--set", "width=3", "--steps", 51)
    found = load_file(narrow / "weights.safetensors")
    more = {name: [(0, 0)] * value.ndim for name, value in found.items()}
    more["net.hidden.weight"][0] = more["net.hidden.bias"][0] = more["net.out.weight"][1] = (0, 4)
    start = saved(tmp_path, "start", {name: np.pad(value, more[name]) for name, value in found.items()})
    wide = trained(
        "mlp/double_descent.dl", data, tmp_path / "wide", *settings, "--set", "width=7", "--steps", 1, "--weights", start
    )
    again = trained("mlp/double_descent.dl", data, tmp_path / "again", *settings, "--set", "width=3", "--steps", 52)
    assert wide[0]["loss"] == pytest.approx(again[-1]["loss"], rel=1e-9)


# --- any points -------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("relu-memoriser")
@pytest.mark.parametrize("target", TARGETS)
def test_fifty_points_with_random_values_are_fitted_by_solving_for_the_weights(target: str) -> None:
    spec = MLP / "relu_memoriser.dl"
    random = np.random.default_rng(0)
    x, y = random.standard_normal((50, 7)), random.standard_normal(50)
    weights = dict(init(spec, float_type=DType.F64))
    solved = run(spec, {"x": x, "y": y}, entry="fit", target=target, weights=weights, float_type=DType.F64).outputs
    weights |= {name: solved[name] for name in ("b", "v")}
    assert sum(value.size for value in weights.values()) == 107
    found = run(spec, {"x": x}, target=target, weights=weights, float_type=DType.F64).outputs["y"]
    np.testing.assert_allclose(found, y, atol=1e-6, rtol=0)
