"""The activation functions: worked numbers, identities, slopes, and what they give for very large numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dsl.compiler import run
from dsl.source import Source
from tests.agreement import Agreement
from tests.systems.expressions import DIFFERENTIATING, TARGETS, value, values

every_target = pytest.mark.parametrize("target", TARGETS)
every_differentiating_target = pytest.mark.parametrize("target", DIFFERENTIATING)


@pytest.mark.system("relu")
@every_target
def test_relu_of_a_matrix(target: str) -> None:
    found = value("relu(x)", {"x": [[1.0, -1, 5], [2, -5, -7], [-3, 2, 4]]}, target)
    assert found.tolist() == [[1, 0, 5], [2, 0, 0], [0, 2, 4]]


@pytest.mark.system("relu")
@every_differentiating_target
def test_relu_passes_the_gradient_where_it_is_positive_and_not_at_0(target: str) -> None:
    x, upstream = [[1.0, -1, 5], [2, -5, -7], [-3, 2, 4]], [[-2.0, 3, -1], [6, -3, 1], [2, -1, 3]]
    found = value("grad(sum(u * relu(x)), x)", {"x": x, "u": upstream}, target)
    assert found.tolist() == [[-2, 0, -1], [6, 0, 0], [0, -1, 3]]
    assert value("grad(sum(relu(x)), x)", {"x": [0.0, -0.0]}, target).tolist() == [0, 0]


@pytest.mark.system("leaky-relu")
@every_target
def test_leaky_relu_and_elu_at_minus_one(target: str) -> None:
    leaky, elu = values(["leaky_relu(x, 0.2)", "elu(x)"], {"x": [-1.0, 2.0]}, target)
    np.testing.assert_allclose(leaky, [-0.2, 2.0])
    np.testing.assert_allclose(elu, [-0.632121, 2.0], atol=1e-6)


@pytest.mark.system("leaky-relu")
@every_differentiating_target
@pytest.mark.parametrize("shared", ["true", "false"])
def test_the_slope_of_prelu_is_learned_from_what_is_below_0(shared: str, target: str) -> None:
    spec = f"""
model Slope()(x: float[4, 3], u: float[4, 3]) {{
  layer act = PReLU(shared={shared})
  y = sum(u * act(x))
  return sum(u * act(x)), flatten(grad(y, act.params))
}}
"""
    rng = np.random.default_rng(0)
    x, u = rng.normal(size=(2, 4, 3))
    found = run(Source("case", spec), {"x": x, "u": u}, target=target).outputs
    wanted = np.where(x < 0, x * u, 0).sum(axis=0)
    np.testing.assert_allclose(list(found.values())[1], [wanted.sum()] if shared == "true" else wanted, rtol=1e-5)


@pytest.mark.system("sigmoid")
@every_target
def test_sigmoid_tanh_and_softplus_are_one_function_three_times(target: str) -> None:
    tanh, by_sigmoid, x, by_softplus, far, soft = values(
        ["tanh(x)", "2 * sigmoid(2 * x) - 1", "x", "softplus(x) - softplus(-x)", "log_sigmoid(f)", "softplus(f)"],
        {"x": np.linspace(-6, 6, 25), "f": [-1000.0, 1000.0]}, target,
    )  # fmt: skip
    np.testing.assert_allclose(tanh, by_sigmoid, atol=1e-6)
    np.testing.assert_allclose(x, by_softplus, atol=2e-6)
    assert far.tolist() == [-1000, 0] and soft.tolist() == [0, 1000]


@pytest.mark.system("sigmoid")
@every_differentiating_target
def test_the_slopes_of_sigmoid_and_tanh(target: str) -> None:
    sigmoid, tanh, s, t = values(
        ["grad(sum(sigmoid(x)), x)", "grad(sum(tanh(x)), x)", "sigmoid(x)", "tanh(x)"], {"x": np.linspace(-6, 6, 25)}, target
    )
    np.testing.assert_allclose(sigmoid, s * (1 - s), atol=1e-6)
    np.testing.assert_allclose(tanh, 1 - t**2, atol=1e-6)


@pytest.mark.system("softmax")
@every_target
def test_softmax_of_three_scores_with_any_offset_and_with_a_mask(target: str) -> None:
    plain, moved, masked, logs, cold, columns = values(
        [
            "softmax(x)", "softmax(x + 1000)", "softmax(where(m, x, -float_max()))", "exp(log_softmax(x))", "softmax(x / 0.01)",
            "softmax(c, over=0)",
        ],
        {"x": [3.2, 5.1, -1.7], "m": [True, False, True], "c": [[3.2, 0.0], [5.1, 0.0], [-1.7, 0.0]]}, target,
        definitions="fn float_max() = 3.4e38",
    )  # fmt: skip
    np.testing.assert_allclose(plain, [0.129983, 0.869050, 0.000968], atol=1e-6)
    np.testing.assert_allclose(moved, plain, atol=1e-4)  # 1003.2 in float32 is 6e-5 off
    np.testing.assert_allclose(logs, plain, atol=1e-6)
    np.testing.assert_allclose(cold, [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(columns, np.stack([plain, [1 / 3] * 3], axis=1), atol=1e-6)
    assert masked[1] == 0 and masked.sum() == pytest.approx(1)


@pytest.mark.system("softmax")
@every_differentiating_target
def test_adding_a_thousand_changes_nothing_in_float64(target: str) -> None:
    plain, moved = values(["softmax(x)", "softmax(x + 1000)"], {"x": [3.2, 5.1, -1.7]}, target, exact=True)
    np.testing.assert_allclose(moved, plain, atol=1e-12)


@pytest.mark.system("gelu")
@every_target
def test_gelu_at_one_and_its_tanh_form(target: str) -> None:
    one, exact, near = values(["gelu(one)", "gelu(x)", "gelu_tanh(x)"], {"one": 1.0, "x": np.linspace(-5, 5, 201)}, target)
    assert one == pytest.approx(0.841345, abs=1e-6)
    assert 0 < np.abs(exact - near).max() < 1e-3
    assert exact[100] == 0 and math.isclose(float(exact[-1]), 5, abs_tol=1e-5)


CASES = {
    "relu": "relu(x)",
    "leaky-relu": "leaky_relu(x, 0.2), elu(x, 0.7), (x -> PReLU), (x -> each: PReLU(shared=false))",
    "sigmoid": "sigmoid(x), tanh(x), log_sigmoid(9 * x), softplus(9 * x)",
    "softmax": "softmax(x), log_softmax(x), softmax(x / 0.5, over=0), softmax(where(x > 0, x, -1e9))",
    "gelu": "gelu(x), gelu_tanh(x)",
}


@pytest.mark.verification
@pytest.mark.parametrize(
    "expressions", [pytest.param(case, id=name, marks=pytest.mark.system(name)) for name, case in CASES.items()]
)
def test_targets_agree(expressions: str, agrees: Agreement) -> None:
    agrees(f"model M()(x: float[B, 4]) {{ return {expressions} }}", sizes=[{"B": 3}])
