"""Rules by which parameters follow their gradients: published traces, on both targets, in float64."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dsl import cli
from dsl.compiler import compile_training
from dsl.source import Source
from dsl.trainer.curves import read_rows
from dsl.types import DType
from tests.agreement import Agreement

on_both = pytest.mark.parametrize("backend", ["torch", "jax"])
SPECS = Path(__file__).parents[2] / "specs"


def train(folder: Path, spec: str | Path, data: Mapping[str, object], backend: str, *arguments: object, steps: int = 6) -> None:
    """Train a spec, given as its text or its path, with all data as one batch."""
    if isinstance(spec, str):
        (folder / "spec.dl").write_text(spec)
    np.savez(folder / "data.npz", **{name: np.asarray(value) for name, value in data.items()})  # type: ignore[arg-type]
    path = spec if isinstance(spec, Path) else folder / "spec.dl"
    rows = len(np.asarray(next(iter(data.values()))))
    words = ["train", path, *arguments, "-b", backend, "--data", folder / "data.npz", "--batch", rows, "--steps", steps]
    shutil.rmtree(folder / "out", ignore_errors=True)
    assert cli.run([str(word) for word in (*words, "--dtype", "f64", "--out", folder / "out")]) == 0


def trace(rule: str, folder: Path, backend: str, *, begin: float = 1.0, loss: str = "w ** 2 / 2", own: str = "") -> list[float]:
    """w after each of the first five updates by a rule, where it begins at 1 and the loss is w^2 / 2."""
    block = f"train Fit()(x: float[B]) {{\n  param w: float[] = {begin}\n  minimize loss = {loss} + 0 * sum(x) using {rule}\n"
    train(folder, f"{own}\n{block}  metric now = w\n}}\n", {"x": [1.0]}, backend)
    return [row["now"] for row in read_rows(folder / "out" / "curves.csv")][1:6]


CORRECTED = [0.9, 0.800412, 0.701586, 0.603939, 0.507964]
RMSPROP = [0.683772, 0.498871, 0.369181, 0.272825, 0.199795]
ADAGRAD = [0.9, 0.833104, 0.780456, 0.736223, 0.697715]


@on_both
@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param("sgd(0.1)", [0.9, 0.81, 0.729, 0.6561, 0.59049], marks=pytest.mark.system("sgd")),
        pytest.param("sgd(0.1, momentum=0.9)", [0.9, 0.72, 0.486, 0.2268, -0.02916], marks=pytest.mark.system("momentum")),
        pytest.param("sgd(0.1, momentum=0.0)", [0.9, 0.81, 0.729, 0.6561, 0.59049], marks=pytest.mark.system("momentum")),
        pytest.param("adam(0.1, eps=0.0, eps_root=1e-8)", CORRECTED, marks=pytest.mark.system("adam")),
        pytest.param(
            "adam(0.1, eps=0.0, eps_root=1e-8, corrected=false)",
            [0.683774, 0.270209, -0.162138],
            marks=pytest.mark.system("adam"),
        ),
        pytest.param("rmsprop(0.1, alpha=0.9, eps=0.0, eps_root=1e-8)", RMSPROP, marks=pytest.mark.system("rmsprop")),
        pytest.param("rmsprop(0.1, alpha=0.9)", RMSPROP, marks=pytest.mark.system("rmsprop")),
        pytest.param("adagrad(0.1, eps=0.0, eps_root=1e-8)", ADAGRAD, marks=pytest.mark.system("adagrad")),
        pytest.param("adagrad(0.1)", ADAGRAD, marks=pytest.mark.system("adagrad")),
    ],
)
def test_the_trace_of_a_rule(rule: str, expected: Sequence[float], backend: str, tmp_path: Path) -> None:
    np.testing.assert_allclose(trace(rule, tmp_path, backend)[: len(expected)], expected, atol=2e-6)


SHIFTED = """
# Nesterov's momentum as it was printed first: v = beta v + (gradient at the shifted point w - lr beta v), w = w - lr v. The
# training has the shifted point for its parameter, and w is read off: w = p + lr beta v.
fn shifted(p, g, v, step, lr = 0.1, beta: float = 0.9) {
  w = p + lr * beta * v
  v = beta * v + g
  return w - lr * v - lr * beta * v, v
}
"""


@on_both
@pytest.mark.system("nesterov")
def test_nesterov_looks_ahead(backend: str, tmp_path: Path) -> None:
    """Our sgd (and torch's) has the shifted point for its parameter: w' = w - lr beta v. The table's trace is of w itself."""
    points = np.array(trace("sgd(0.1, momentum=0.9, nesterov=true)", tmp_path, backend))
    w, v = [1.0], 0.0
    for _ in range(5):
        v = 0.9 * v + (w[-1] - 0.1 * 0.9 * v)
        w.append(w[-1] - 0.1 * v)
    np.testing.assert_allclose(w[1:], [0.9, 0.729, 0.51759, 0.294589, 0.084499], atol=1e-6)
    v, shifted = 0.0, []
    for before, after in itertools.pairwise(w):
        v = (before - after) / 0.1
        shifted.append(after - 0.1 * 0.9 * v)
    np.testing.assert_allclose(points, shifted, atol=1e-12)


@on_both
@pytest.mark.system("nesterov")
def test_nesterov_as_it_was_printed_is_a_rule_of_ones_own(backend: str, tmp_path: Path) -> None:
    points = trace("shifted(0.1)", tmp_path, backend, own=SHIFTED)
    np.testing.assert_allclose(points, trace("sgd(0.1, momentum=0.9, nesterov=true)", tmp_path, backend), atol=1e-12)


@on_both
@pytest.mark.system("adam")
@pytest.mark.parametrize(("settings", "step"), [("eps=0.0, eps_root=1e-8", 0.070711), ("eps=1e-8", 0.099990)])
def test_where_epsilon_stands_matters_for_small_gradients(settings: str, step: float, backend: str, tmp_path: Path) -> None:
    after = trace(f"adam(0.1, {settings})", tmp_path, backend, loss="0.0001 * w")
    assert 1 - after[0] == pytest.approx(step, abs=1e-6)


@on_both
@pytest.mark.system("adam")
def test_adamw_shrinks_parameters_beside_the_rule(backend: str, tmp_path: Path) -> None:
    assert trace("adamw(0.1, weight_decay=0.5)", tmp_path, backend)[0] == pytest.approx((1 - 0.1 * 0.5) - 0.1, abs=1e-6)


# --- second order -----------------------------------------------------------------------------------------------------------------


@on_both
@pytest.mark.system("second-order")
def test_newton_solves_a_quadratic_in_one_step(backend: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(8, 5)), rng.normal(size=8)
    train(tmp_path, SPECS / "optimizer" / "newton_cg.dl", {"A": A, "b": b}, backend, "--size", "M=8", steps=1)
    w = load_file(tmp_path / "out" / "weights.safetensors")["w"]
    np.testing.assert_allclose(w, np.linalg.lstsq(A, b, rcond=None)[0], atol=1e-6)


# --- averages -----------------------------------------------------------------------------------------------------------------------

EMA = """
train Fit(decay: float = 0.9, lr: float = 0.1)(x: float[B]) {
  layer net = Linear(1, bias=false, init=constant(1.0))
  layer average = ema of net decay decay
  minimize loss = mean((net(x[:, none])) ** 2) over net using sgd(lr)
  metric live = sum(net.params)
  metric averaged = sum(average(x[:, none]))
}
"""


@on_both
@pytest.mark.system("asgd")
def test_the_average_of_constant_weights_is_that_constant(backend: str, tmp_path: Path) -> None:
    train(tmp_path, EMA, {"x": [1.0]}, backend, "--set", "lr=1e-300")
    rows = read_rows(tmp_path / "out" / "curves.csv")
    assert [row["averaged"] for row in rows] == [1.0] * len(rows)


@on_both
@pytest.mark.system("asgd")
def test_an_average_without_decay_is_the_live_weights(backend: str, tmp_path: Path) -> None:
    train(tmp_path, EMA, {"x": [1.0]}, backend, "--set", "decay=0.0")
    for row in read_rows(tmp_path / "out" / "curves.csv"):
        assert row["averaged"] == row["live"]


@on_both
@pytest.mark.system("asgd")
def test_the_average_is_of_the_steps_after_the_loss_no_longer_fell_and_is_what_is_evaluated(backend: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(16, 2))
    data = {"x": x, "y": x @ [[1.0], [-2.0]] + 0.5}
    settings = ("--set", "lr=0.9", "--set", "patience=2")
    train(tmp_path, SPECS / "optimizer" / "asgd.dl", data, backend, *settings, steps=40)
    rows = read_rows(tmp_path / "out" / "curves.csv")
    taken = [row["taken"] for row in rows]
    begin = next(i for i, count in enumerate(taken) if count)
    assert taken[:begin] == [0.0] * begin and taken[begin : begin + 5] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert rows[-1]["error"] < rows[-1]["loss"]


# --- clipping and accumulation --------------------------------------------------------------------------------------------------------

CLIPPED = """
train Fit(limit: float = 1.0)(x: float[B, 2]) {
  param w: float[2] = zeros
  minimize loss = -sum(w * mean(x, over=B)) using sgd(1.0) clip limit
}
"""


def moved(folder: Path, spec: str, data: object, backend: str, *arguments: object) -> np.ndarray:
    """Where the parameters are after one step of length one."""
    train(folder, spec, {"x": data}, backend, *arguments, steps=1)
    return load_file(folder / "out" / "weights.safetensors")["w"]


@on_both
@pytest.mark.system("gradient-clip")
@pytest.mark.parametrize(("gradient", "clipped"), [([6.0, 8.0], [0.6, 0.8]), ([0.3, 0.4], [0.3, 0.4])])
def test_a_long_gradient_keeps_its_direction_and_a_short_one_its_length(
    gradient: list[float], clipped: list[float], backend: str, tmp_path: Path
) -> None:
    np.testing.assert_allclose(moved(tmp_path, CLIPPED, [gradient], backend), clipped, rtol=1e-6)


@on_both
@pytest.mark.system("gradient-clip")
def test_clip_value_bounds_each_number(backend: str, tmp_path: Path) -> None:
    spec = CLIPPED.replace("clip limit", "clip_value limit")
    np.testing.assert_allclose(moved(tmp_path, spec, [[6.0, -0.5]], backend), [1.0, -0.5], rtol=1e-12)


@on_both
@pytest.mark.system("gradient-clip")
def test_four_parts_of_a_batch_are_the_batch(backend: str, tmp_path: Path) -> None:
    data = np.random.default_rng(2).normal(size=(8, 2))
    whole = moved(tmp_path, CLIPPED, data, backend, "--set", "limit=100.0")
    parts = moved(tmp_path, CLIPPED, data, backend, "--set", "limit=100.0", "--accumulate", 4)
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


# --- groups -----------------------------------------------------------------------------------------------------------------------------

GROUPS = """
train Fit(lr: float = 0.26)(x: float[B, 3]) {
  layer net = MLP([3, 3], out=3)
  layer idle = Linear(3)
  loss = sum(net(x)) + 0 * sum(idle(x))
  minimize loss over net."linear_1.*", net."linear_2.*" using sgd(lr / 2.6) for net."linear_1.*", sgd(lr)
}
"""


@pytest.mark.system("parameter-groups")
def test_layers_have_rates_of_their_own_and_what_is_in_no_objective_is_listed() -> None:
    training, warnings = compile_training(Source("groups.dl", GROUPS))
    rates = [sum(float(np.asarray(node.attributes["value"])) for node in rule.rate if node.op == "const")
             for rule in training.objectives[0].rules]  # fmt: skip
    assert rates[1] / rates[0] == pytest.approx(2.6)
    assert [rule.parameters[0] for rule in training.objectives[0].rules] == ["net.linear_1.weight", "net.linear_2.weight"]
    (said,) = [w.message for w in warnings if w.code == "DL1006"]
    assert "`net.linear.weight`" in said and "`idle.weight`" in said


@on_both
@pytest.mark.system("parameter-groups")
def test_what_is_in_no_group_stays_as_it_is(backend: str, tmp_path: Path) -> None:
    before: dict[str, np.ndarray] = {}
    after: dict[str, np.ndarray] = {}
    for steps, found in ((1, before), (3, after)):
        train(tmp_path, GROUPS, {"x": np.ones((2, 3))}, backend, "--seed", 1, steps=steps)
        found.update(load_file(tmp_path / "out" / "weights.safetensors"))
    for name in before:
        frozen = not name.startswith(("net.linear_1", "net.linear_2"))
        assert (before[name].tobytes() == after[name].tobytes()) == frozen, name


# --- targets --------------------------------------------------------------------------------------------------------------------------

RULED = "train Fit()(x: float[B, 3], y: float[B, 2]) {{\n  layer net = Linear(2)\n  minimize loss = mse(net(x), y) using {}{}\n}}"


@pytest.mark.verification
@pytest.mark.parametrize(
    ("rule", "clause"),
    [
        pytest.param("sgd(0.1)", "", marks=pytest.mark.system("sgd")),
        pytest.param("sgd(0.1, momentum=0.9)", "", marks=pytest.mark.system("momentum")),
        pytest.param("sgd(0.1, momentum=0.9, nesterov=true)", "", marks=pytest.mark.system("nesterov")),
        pytest.param("adam(0.1)", "", marks=pytest.mark.system("adam")),
        pytest.param("rmsprop(0.1)", "", marks=pytest.mark.system("rmsprop")),
        pytest.param("adagrad(0.1)", "", marks=pytest.mark.system("adagrad")),
        pytest.param("sgd(0.1)", " clip 0.5", marks=pytest.mark.system("gradient-clip")),
        pytest.param('sgd(0.1) for "**.bias", sgd(0.2)', "", marks=pytest.mark.system("parameter-groups")),
    ],
)
def test_the_loss_and_its_gradients_are_the_same_on_both_targets(rule: str, clause: str, agrees: Agreement) -> None:
    training, _ = compile_training(Source("fit.dl", RULED.format(rule, clause)), float_type=DType.F64)
    agrees.outputs(training.program, [{"B": 3}])
    agrees.gradients(training.program, [{"B": 3}], loss=True)
