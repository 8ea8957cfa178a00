"""Normalising flows: there and back is the identity, and the log determinant is that of the Jacobian."""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from pathlib import Path

import numpy as np
import pytest

from dsl.compiler import compile_graph, run_program
from dsl.diagnostics import SpecError
from dsl.initial_values import initial_weights
from dsl.ir import Program
from dsl.source import Source
from dsl.types import DType
from tests.agreement import Agreement
from tests.systems.expressions import DIFFERENTIATING, TARGETS

SPECS = Path(__file__).parents[2] / "specs" / "flow"
RNG = np.random.default_rng(0)

every_target = pytest.mark.parametrize("target", TARGETS)
every_differentiating_target = pytest.mark.parametrize("target", DIFFERENTIATING)


def program(text: str, exact: bool = False) -> Program:
    return compile_graph(Source("case", text), float_type=DType.F64 if exact else DType.F32)


def both_ways(flow: str, shape: str, definitions: str = "") -> str:
    """A model that is one flow, in both directions."""
    return f"""{definitions}
    model Case() {{
      layer flow = {flow}
      def forward(x: float[{shape}]) -> (y: float[{shape}], logdet: float[B]) {{
        y, logdet = flow(x)
        return y, logdet
      }}
      def inverse(y: float[{shape}]) -> float[{shape}] {{ return flow.inverse(y) }}
    }}"""


def jacobian(flow: str, shape: list[int], definitions: str = "", results: str = "[y]") -> str:
    """A model of the Jacobian of a flow on one example: a row for each number of `results`, by `grad`."""
    count = int(np.prod(shape))
    return f"""{definitions}
    model Case()(x: float[1, {", ".join(map(str, shape))}]) -> (logdet: float[1], rows: float[{count}, {count}], volume: float[]) {{
      layer flow = {flow}
      y, logdet = flow(x)
      noise = concat([reshape(part, [-1]) for part in {results}], over=0)
      rows = stack([reshape(grad(noise[i], x), [{count}]) for i in range({count})], over=0)
      return logdet, rows, slogdet(rows)[1]
    }}"""


def weights(made: Program, size: float = 0.2, given: Mapping[str, object] = {}) -> dict[str, np.ndarray]:
    """The initial weights, moved, so that nothing is zero; `given` are used as they are."""
    rng = np.random.default_rng(1)
    found = {}
    for name, value in initial_weights(made, 0).items():
        moved = value.dtype.kind == "f" and "rotation" not in name
        found[name] = value + size * rng.standard_normal(value.shape).astype(value.dtype) if moved else value
    return {**found, **{name: np.asarray(value, found[name].dtype) for name, value in given.items()}}


def there_and_back(made: Program, x: np.ndarray, target: str, moved: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What `inverse` makes of what `forward` made, and the log determinant."""
    *latents, logdet = run_program(made, {"x": x}, target=target, weights=moved).outputs.values()
    name = next(iter(made.entries["inverse"].inputs))
    y = latents[0] if name == "y" else np.concatenate([z.reshape(len(x), -1) for z in latents], axis=1)
    (back,) = run_program(made, {name: y}, target=target, entry="inverse", weights=moved).outputs.values()
    return back, logdet


# --- affine coupling ------------------------------------------------------------------------------------------------------------

FIXED = f"module Fixed()(x: float[B, C]) -> float[B, 2 * C] {{ return expand([{log(3)}, 1.0], [B, 2]) }}"


@pytest.mark.system("affine-coupling")
@every_target
def test_a_scale_of_3_and_a_shift_of_1_make_7_of_2(target: str) -> None:
    made = program(both_ways("AffineCoupling(Fixed())", "B, 2", FIXED))
    x = np.array([[1.0, 2.0]])
    found = run_program(made, {"x": x}, target=target).outputs
    np.testing.assert_allclose(found["y"], [[1.0, 7.0]], rtol=1e-6)
    np.testing.assert_allclose(found["logdet"], [1.09861229], rtol=1e-6)
    back, _ = there_and_back(made, x, target, {})
    np.testing.assert_allclose(back, x, rtol=1e-6)


@pytest.mark.system("affine-coupling")
@every_differentiating_target
@pytest.mark.parametrize("swapped", ["false", "true"])
def test_the_log_determinant_of_a_coupling_is_that_of_its_jacobian(swapped: str, target: str) -> None:
    made = program(jacobian(f"AffineCoupling(MLP([6], out=4), swapped={swapped})", [4]), exact=True)
    found = run_program(made, {"x": RNG.normal(size=(1, 4))}, target=target, weights=weights(made)).outputs
    np.testing.assert_allclose(found["volume"], found["logdet"][0], rtol=1e-9)
    kept = slice(2, 4) if swapped == "true" else slice(0, 2)
    np.testing.assert_array_equal(found["rows"][kept], np.eye(4)[kept])


@pytest.mark.system("affine-coupling")
@pytest.mark.verification
def test_couplings_agree_in_both_directions(agrees: Agreement) -> None:
    agrees(both_ways("AffineCoupling(MLP([5], out=4), swapped=true)", "B, 4"), sizes=[{"B": 2}])
    agrees(both_ways("AffineCoupling(Conv2d(4, 3, padding=1))", "B, 3, 3, 2"), sizes=[{"B": 2}])


# --- actnorm --------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("actnorm")
@every_differentiating_target
@pytest.mark.parametrize("count", [1, 5])
def test_the_first_batch_has_mean_0_and_deviation_1_in_each_channel(count: int, target: str) -> None:
    made = program(both_ways("ActNorm()", "B, 3, H, W"))
    x = 5 + 3 * RNG.normal(size=(count, 3, 6, 7)) * np.array([1.0, 2.0, 4.0])[:, None, None]
    initial = {name: np.asarray(v) for name, v in initial_weights(made, 0).items()}
    first = run_program(made, {"x": x}, target=target, weights=initial, training=True)
    np.testing.assert_allclose(first.outputs["y"].mean(axis=(0, 2, 3)), np.zeros(3), atol=1e-5)
    np.testing.assert_allclose(first.outputs["y"].std(axis=(0, 2, 3)), np.ones(3), rtol=1e-5)
    deviation = x.std(axis=(0, 2, 3))
    np.testing.assert_allclose(first.outputs["logdet"], np.full(count, -6 * 7 * np.log(deviation).sum()), rtol=1e-4)


@pytest.mark.system("actnorm")
@every_differentiating_target
def test_later_batches_and_inference_follow_the_first(target: str) -> None:
    made = program(both_ways("ActNorm()", "B, 3, H, W"))
    x, later = RNG.normal(size=(2, 4, 3, 2, 2)) * 3 + 1
    initial = {name: np.asarray(v) for name, v in initial_weights(made, 0).items()}
    after = {**initial, **run_program(made, {"x": x}, target=target, weights=initial, training=True).updates}
    center, deviation = (stat.reshape(3, 1, 1) for stat in (x.mean(axis=(0, 2, 3)), x.std(axis=(0, 2, 3))))
    for training in (False, True):
        found = run_program(made, {"x": later}, target=target, weights=after, training=training)
        np.testing.assert_allclose(found.outputs["y"], (later - center) / deviation, rtol=1e-4, atol=1e-4)
    moved = {**after, **{name: after[name] + 0.3 for name in ("flow.log_scale", "flow.bias")}}
    found = run_program(made, {"x": later}, target=target, weights=moved)
    np.testing.assert_allclose(found.outputs["logdet"], np.full(4, 4 * (0.9 - np.log(deviation).sum())), rtol=1e-4)
    back, _ = there_and_back(made, later, target, moved)
    np.testing.assert_allclose(back, later, rtol=1e-4, atol=1e-5)


@pytest.mark.system("actnorm")
@pytest.mark.verification
def test_activation_normalisation_agrees(agrees: Agreement) -> None:
    agrees(both_ways("ActNorm()", "B, 3, H, W"), sizes=[{"B": 2, "H": 2, "W": 3}])
    agrees(both_ways("ActNorm()", "B, 3"), sizes=[{"B": 4}])


# --- invertible convolution -----------------------------------------------------------------------------------------------------

DOUBLED, REVERSED = np.diag([2.0, 1.0, 1.0]), np.eye(3)[::-1]
MATRICES = [(DOUBLED, 20 * log(2)), (REVERSED, 0.0)]


@pytest.mark.system("invertible-conv")
@every_target
@pytest.mark.parametrize(("matrix", "wanted"), MATRICES, ids=["doubled", "reversed"])
def test_the_log_determinant_counts_each_position(matrix: np.ndarray, wanted: float, target: str) -> None:
    made = program(both_ways("InvertibleConv()", "B, 3, 4, 5"))
    x = RNG.normal(size=(1, 3, 4, 5))
    found = run_program(made, {"x": x}, target=target, weights={"flow.weight": matrix.astype(np.float32)}).outputs
    np.testing.assert_allclose(found["logdet"], [wanted], atol=1e-5)
    np.testing.assert_allclose(found["y"], np.einsum("dc,bchw->bdhw", matrix, x), rtol=1e-5)


@pytest.mark.system("invertible-conv")
@every_target
@pytest.mark.parametrize(("matrix", "wanted"), MATRICES, ids=["doubled", "reversed"])
def test_the_triangular_form_has_the_same_log_determinant(matrix: np.ndarray, wanted: float, target: str) -> None:
    made = program(both_ways("InvertibleConv(lu=true)", "B, 3, 4, 5"))
    scale = np.abs(matrix).sum(axis=1)
    given = {"flow.rotation": matrix / scale[:, None], "flow.log_scale": np.log(scale), "flow.lower": np.zeros((3, 3))}
    x = RNG.normal(size=(1, 3, 4, 5))
    found = run_program(made, {"x": x}, target=target, weights=weights(made, 0.0, given)).outputs
    np.testing.assert_allclose(found["logdet"], [wanted], atol=1e-5)
    np.testing.assert_allclose(found["y"], np.einsum("dc,bchw->bdhw", matrix, x), rtol=1e-5)


@pytest.mark.system("invertible-conv")
@every_differentiating_target
def test_the_plain_and_the_triangular_form_agree(target: str) -> None:
    forms = {lu: program(both_ways(f"InvertibleConv(lu={lu})", "B, 4, 2, 3")) for lu in ("true", "false")}
    w = weights(forms["true"])
    left = np.tril(w["flow.lower"], -1) + np.eye(4)
    right = np.triu(w["flow.upper"], 1) + np.diag(np.exp(w["flow.log_scale"]))
    plain = {"flow.weight": (w["flow.rotation"] @ left @ right).astype(np.float32)}
    x = RNG.normal(size=(2, 4, 2, 3))
    for entry, name in (("forward", "x"), ("inverse", "y")):
        found = [
            run_program(made, {name: x}, target=target, entry=entry, weights=of).outputs
            for made, of in ((forms["true"], w), (forms["false"], plain))
        ]
        for output, value in found[0].items():
            np.testing.assert_allclose(value, found[1][output], rtol=1e-5, atol=1e-5)


@pytest.mark.system("invertible-conv")
@pytest.mark.verification
def test_invertible_convolutions_agree(agrees: Agreement) -> None:
    agrees(both_ways("InvertibleConv(lu=true)", "B, 3, H, 2"), sizes=[{"B": 2, "H": 3}])
    agrees(both_ways("InvertibleConv()", "B, 3, H, 2"), sizes=[{"B": 2, "H": 3}], refused=["onnx"])


# --- RealNVP --------------------------------------------------------------------------------------------------------------------

REALNVP = {"channels": 2, "size": 8, "scales": 3, "width": 2, "blocks": 1}


@pytest.mark.system("realnvp")
@every_target
def test_realnvp_at_three_scales_is_undone(target: str) -> None:
    made = compile_graph(SPECS / "realnvp.dl", REALNVP)
    x = RNG.normal(size=(3, 2, 8, 8))
    back, _ = there_and_back(made, x, target, weights(made, 0.05))
    np.testing.assert_allclose(back, x, atol=1e-5)


@pytest.mark.system("realnvp")
@every_differentiating_target
@pytest.mark.parametrize(
    "pair",
    [
        "AffineCoupling(Conv2d(2, 1)), AffineCoupling(Conv2d(2, 1), swapped=true)",
        "CheckerboardCoupling(Conv2d(4, 3, padding=1)), CheckerboardCoupling(Conv2d(4, 3, padding=1), swapped=true)",
    ],
    ids=["channels", "positions"],
)
def test_two_couplings_change_everything(pair: str, target: str) -> None:
    """Half of the rows of the Jacobian are those of the identity after one coupling, none after two."""
    first = pair.split("), ")[0] + ")"
    for flow, unchanged in ((first, 4), (f"Flow([{pair}])", 0)):
        made = program(jacobian(flow, [2, 2, 2]), exact=True)
        found = run_program(made, {"x": RNG.normal(size=(1, 2, 2, 2))}, target=target, weights=weights(made)).outputs
        assert np.sum(np.all(np.isclose(found["rows"], np.eye(8)), axis=1)) == unchanged
        np.testing.assert_allclose(found["volume"], found["logdet"][0], rtol=1e-9)


# --- Glow -----------------------------------------------------------------------------------------------------------------------

GLOW = {"channels": 2, "size": 4, "scales": 2, "depth": 2, "width": 3}


FORMS = [(True, "torch"), (True, "jax"), (True, "onnx"), (False, "torch"), (False, "jax")]


@pytest.mark.system("glow")
@pytest.mark.parametrize(("lu", "target"), FORMS)
def test_glow_is_undone(lu: bool, target: str) -> None:
    made = compile_graph(SPECS / "glow.dl", {**GLOW, "lu": lu})
    x = RNG.normal(size=(3, 2, 4, 4))
    back, _ = there_and_back(made, x, target, weights(made, 0.1))
    np.testing.assert_allclose(back, x, atol=1e-4)


@pytest.mark.system("glow")
@pytest.mark.parametrize(("lu", "target"), [(True, "torch"), (False, "torch"), pytest.param(True, "jax", marks=pytest.mark.slow)])
def test_the_log_determinant_of_glow_is_that_of_its_whole_jacobian(lu: bool, target: str) -> None:
    """On an image of 2 channels and 4 x 4 positions."""
    settings = {**GLOW, "depth": 1, "lu": lu}
    arguments = ", ".join(f"{name}={str(value).lower()}" for name, value in settings.items())
    made = program(jacobian(f"Glow({arguments})", [2, 4, 4], "from flow.glow import Glow", "y"), exact=True)
    moved = weights(made)
    found = run_program(made, {"x": RNG.normal(size=(1, 2, 4, 4))}, target=target, weights=moved).outputs
    np.testing.assert_allclose(found["volume"], found["logdet"][0], rtol=1e-9)


@pytest.mark.system("glow")
@every_target
def test_sampling_at_temperature_0_is_deterministic(target: str) -> None:
    made = compile_graph(SPECS / "glow.dl", GLOW)
    moved = weights(made)

    def sampled(temperature: float, seed: int) -> np.ndarray:
        given = {"temperature": np.full(2, temperature)}
        return run_program(made, given, target=target, entry="sample", weights=moved, seed=seed).outputs["x"]

    np.testing.assert_array_equal(sampled(0.0, 1), sampled(0.0, 2))
    np.testing.assert_array_equal(sampled(0.0, 1)[0], sampled(0.0, 1)[1])
    assert np.any(sampled(1.0, 1)[0] != sampled(1.0, 1)[1])
    most_likely = run_program(made, {"z": np.zeros((2, 32))}, target=target, entry="inverse", weights=moved).outputs["x"]
    np.testing.assert_allclose(sampled(0.0, 1), most_likely, rtol=1e-5, atol=1e-6)


@pytest.mark.system("glow")
def test_onnx_has_the_triangular_form_only() -> None:
    made = compile_graph(SPECS / "glow.dl", {**GLOW, "lu": False})
    with pytest.raises(SpecError, match="the backend `onnx` cannot express `inverse`"):
        run_program(made, {"z": np.zeros((1, 32))}, target="onnx", entry="inverse", weights=weights(made))
