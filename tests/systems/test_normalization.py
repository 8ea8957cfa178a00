"""The normalisation layers: what their statistics are, whom an example depends on, and which constants go along with the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dsl.compiler import compile_graph, run
from dsl.diagnostics import SpecError
from dsl.initial_values import initial_weights
from dsl.source import Source
from dsl.weights import load_weights, save_weights
from tests.agreement import Agreement
from tests.systems.expressions import DIFFERENTIATING, TARGETS, value, values

every_target = pytest.mark.parametrize("target", TARGETS)
every_differentiating_target = pytest.mark.parametrize("target", DIFFERENTIATING)
RNG = np.random.default_rng(0)


def model(layer: str, kind: str) -> Source:
    return Source("case", f"model M()(x: {kind}) {{ return x -> {layer} }}")


# --- batch normalisation --------------------------------------------------------------------------------------------------------

BATCH_NORMS = {"BatchNorm1d": ("float[B, 3]", (8, 3)), "BatchNorm2d": ("float[B, 3, H, W]", (4, 3, 5, 6))}


@pytest.mark.system("batch-norm")
@every_differentiating_target
@pytest.mark.parametrize("layer", BATCH_NORMS)
def test_in_training_each_channel_has_mean_0_and_deviation_1(layer: str, target: str) -> None:
    kind, shape = BATCH_NORMS[layer]
    x = 3 + 2 * RNG.normal(size=shape)
    found = run(model(layer, kind), {"x": x}, target=target, training=True)
    others = tuple(i for i in range(x.ndim) if i != 1)
    y = found.outputs["y"]
    np.testing.assert_allclose(y.mean(others), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(others), 1, atol=1e-4)
    (mean,) = (v for n, v in found.updates.items() if n.endswith("running_mean"))
    (var,) = (v for n, v in found.updates.items() if n.endswith("running_var"))
    np.testing.assert_allclose(mean, 0.1 * x.mean(others), rtol=1e-4)
    np.testing.assert_allclose(var, 0.9 + 0.1 * x.var(others, ddof=1), rtol=1e-4)


@pytest.mark.system("batch-norm")
@every_target
@pytest.mark.parametrize("layer", BATCH_NORMS)
def test_in_inference_an_example_does_not_depend_on_its_batch(layer: str, target: str) -> None:
    kind, shape = BATCH_NORMS[layer]
    x = RNG.normal(size=shape)
    state = {"it.running_mean": [1.0, 2, 3], "it.running_var": [4.0, 1, 9], "it.weight": [1.0, 1, 1], "it.bias": [0.0, 0, 0]}
    weights = {name: np.array(v, np.float32) for name, v in state.items()}
    spec = model(f"it: {layer}", kind)
    together = run(spec, {"x": x}, target=target, weights=weights).outputs["y"]
    alone = run(spec, {"x": x[:1]}, target=target, weights=weights).outputs["y"]
    np.testing.assert_allclose(together[:1], alone, atol=1e-6)
    column = np.array([1.0, 2, 3]).reshape(1, 3, *[1] * (x.ndim - 2))
    np.testing.assert_allclose(together, (x - column) / np.array([2.0, 1, 3]).reshape(column.shape), rtol=1e-4, atol=1e-4)


@pytest.mark.system("batch-norm")
@every_differentiating_target
@pytest.mark.parametrize("layer", BATCH_NORMS)
def test_one_value_a_channel_is_refused_in_training_and_fine_in_inference(layer: str, target: str) -> None:
    kind, shape = BATCH_NORMS[layer]
    one = np.ones((1, 3, *[1] * (len(shape) - 2)))
    assert run(model(layer, kind), {"x": one}, target=target).outputs["y"].shape == one.shape
    with pytest.raises(ValueError, match=r"more than (one|1) value"):
        run(model(layer, kind), {"x": one}, target=target, training=True)


# --- within an example ----------------------------------------------------------------------------------------------------------


@pytest.mark.system("layer-norm")
@every_target
def test_layer_norm_takes_away_scale_and_shift(target: str) -> None:
    x = RNG.normal(size=(4, 8))
    plain, scaled = values(["(x -> LayerNorm)", "(7 * x + 3 -> LayerNorm)"], {"x": x}, target)
    np.testing.assert_allclose(plain, scaled, atol=1e-4)
    np.testing.assert_allclose(plain.mean(1), 0, atol=1e-6)
    np.testing.assert_allclose(plain.std(1), 1, atol=1e-4)


@pytest.mark.system("layer-norm")
@every_differentiating_target
def test_layer_norm_is_the_same_in_training(target: str) -> None:
    x = RNG.normal(size=(4, 8))
    inference, training = (value("x -> LayerNorm", {"x": x}, target, training=mode) for mode in (False, True))
    np.testing.assert_array_equal(inference, training)


# --- a reference batch ----------------------------------------------------------------------------------------------------------

VIRTUAL = """
# Two layers by the statistics of a batch that was drawn once.
model Virtual()(x: float[B, 3]) -> (y: float[B, 4], reference: float[6, 4]) {
  buffer reference: float[6, 3] = normal(std=2.0)
  layer first = Linear(5)
  layer second = Linear(4)
  h, r = VirtualBatchNorm()(first(x), first(reference))
  return VirtualBatchNorm()(second(relu(h)), second(relu(r)))
}
"""


@pytest.mark.system("virtual-batch-norm")
@every_target
def test_the_reference_batch_has_mean_0_and_deviation_1_and_nobody_depends_on_his_batch(target: str) -> None:
    x = RNG.normal(size=(5, 3))
    together = run(Source("case", VIRTUAL), {"x": x}, target=target).outputs
    alone = run(Source("case", VIRTUAL), {"x": x[:1]}, target=target).outputs
    np.testing.assert_allclose(together["y"][:1], alone["y"], atol=1e-5)
    np.testing.assert_allclose(together["reference"].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(together["reference"].std(0), 1, atol=1e-3)


@pytest.mark.system("virtual-batch-norm")
@every_differentiating_target
def test_it_is_the_same_in_training(target: str) -> None:
    x = RNG.normal(size=(5, 3))
    inference, training = (run(Source("case", VIRTUAL), {"x": x}, target=target, training=mode).outputs for mode in (False, True))
    np.testing.assert_allclose(inference["y"], training["y"], atol=1e-6)


# --- between channels -----------------------------------------------------------------------------------------------------------


@pytest.mark.system("local-response-norm")
@every_target
def test_local_response_norm_is_the_operation_of_the_targets(target: str) -> None:
    x = RNG.normal(size=(2, 7, 3, 4)).astype(np.float32)
    found, flat = values(
        ["local_response_norm(x, 5, alpha=0.1, beta=0.75, k=2.0)", "local_response_norm(x, 5, alpha=0.0, k=2.0)"],
        {"x": x},
        target,
    )
    wanted = torch.nn.functional.local_response_norm(torch.from_numpy(x), 5, alpha=0.1, beta=0.75, k=2.0)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)
    np.testing.assert_allclose(flat, x / 2**0.75, atol=1e-6)


# --- the data -------------------------------------------------------------------------------------------------------------------

DATA = 5 + RNG.normal(size=(500, 3)) @ np.array([[1.0, 0.5, 0], [0, 2, 0.3], [0, 0, 0.1]])


def normalized(mean: object, std: object) -> Source:
    return model(f"InputNorm({list(mean)}, {list(std)}) -> Linear(2)", "float[B, 3]")  # type: ignore[call-overload]


@pytest.mark.system("input-normalisation")
@every_target
def test_the_training_set_has_mean_0_and_deviation_1_after_it(target: str) -> None:
    mean, std = DATA.mean(0).tolist(), DATA.std(0).tolist()
    y = run(model(f"InputNorm({mean}, {std})", "float[B, 3]"), {"x": DATA}, target=target).outputs["y"]
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(y.std(0), 1, atol=1e-4)


@pytest.mark.system("input-normalisation")
@every_target
def test_whitening_leaves_no_correlation(target: str) -> None:
    variances, axes = np.linalg.eigh(np.cov(DATA.T, bias=True))
    matrix = (axes / np.sqrt(variances)) @ axes.T
    y = run(model(f"Whiten({DATA.mean(0).tolist()}, {matrix.tolist()})", "float[B, 3]"), {"x": DATA}, target=target).outputs["y"]
    np.testing.assert_allclose(np.cov(y.T, bias=True), np.eye(3), atol=1e-3)


@pytest.mark.system("input-normalisation")
def test_weights_of_another_training_set_are_refused_and_both_values_shown(tmp_path: Path) -> None:
    program = compile_graph(normalized([0.5, 0.25, 0.0], [1, 1, 1]))
    save_weights(tmp_path / "w.safetensors", initial_weights(program))
    assert set(load_weights(tmp_path / "w.safetensors", program)) == {
        "input_norm.mean", "input_norm.std", "linear.weight", "linear.bias"
    }  # fmt: skip
    other = compile_graph(normalized([0.5, 0.35, 0.0], [1, 1, 1]))
    with pytest.raises(SpecError) as caught:
        load_weights(tmp_path / "w.safetensors", other)
    (problem,) = caught.value.diagnostics
    assert problem.code == "DL0810"
    assert problem.notes == ("`input_norm.mean` is [0.5, 0.25, 0] in the file and [0.5, 0.35, 0] in the spec",)


@pytest.mark.system("input-normalisation")
def test_a_list_that_is_updated_is_no_constant_of_the_spec(tmp_path: Path) -> None:
    spec = """
module Counted()(x: float[B, 2]) {
  buffer seen: float[2] = [0, 0]
  update seen = seen + sum(x, over=B)
  return x
}
model M()(x: float[B, 2]) { return x -> repeat(2) { Counted } }
"""
    program = compile_graph(Source("case", spec))
    seen = {name: value + 1 for name, value in initial_weights(program).items()}
    save_weights(tmp_path / "w.safetensors", seen)
    assert set(load_weights(tmp_path / "w.safetensors", program)) == {"repeat.0.seen", "repeat.1.seen"}


# --- verification ---------------------------------------------------------------------------------------------------------------

CASES = {
    "batch-norm": ("x: float[B, 3, H, 2]", "x -> BatchNorm2d -> mean(over=[2, 3]) -> BatchNorm1d(momentum=0.3)"),
    "layer-norm": ("x: float[B, T, 4]", "x -> LayerNorm -> LayerNorm(affine=false) -> LayerNorm(bias=false)"),
    "virtual-batch-norm": ("x: float[B, 3, H, 2], r: float[4, 3, 2, 2]", "VirtualBatchNorm()(x, r).y"),
    "local-response-norm": ("x: float[B, 6, H, 2]", "local_response_norm(x, 5, alpha=0.1)"),
    "input-normalisation": (
        "x: float[B, 2]",
        "x -> InputNorm([1, 2], [0.5, 2]) -> Whiten([0.1, 0], [[1, 0.5], [0.5, 2]])",
    ),
}


@pytest.mark.verification
@pytest.mark.parametrize(
    ("inputs", "expression"), [pytest.param(*case, id=name, marks=pytest.mark.system(name)) for name, case in CASES.items()]
)
def test_targets_agree(inputs: str, expression: str, agrees: Agreement) -> None:
    sizes = {name: size for name, size in (("B", 3), ("H", 2), ("T", 2)) if f"{name}," in inputs}
    agrees(f"model M()({inputs}) {{ return {expression} }}", sizes=[sizes])
