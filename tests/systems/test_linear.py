"""The linear systems do what their fields say of them: classifiers, regressions, k-means, forests."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dsl.compiler import check, compile_spec, run
from dsl.diagnostics import SpecError
from dsl.hosts.forest import from_scikit_learn
from dsl.source import Source
from dsl.types import DType
from tests.test_learning import SPECS, saved, trained

LINEAR = SPECS / "linear"
TARGETS = ("torch", "jax", "onnx")
DIFFERENTIATING = ("torch", "jax")


def zeros(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


# --- classifiers ------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("linear-classifier")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("label", [0, 7, 999])
def test_zero_weights_lose_the_logarithm_of_the_number_of_classes_whatever_the_label(target: str, label: int) -> None:
    spec = """
    from linear.linear_classifier import LinearClassifier
    model Loss()(image: float[B, 3, 2, 2], label: int[B]) {
      logits, _ = LinearClassifier(classes=1000, size=2)(image)
      return cross_entropy(logits, label)
    }
    """
    weights = {f"linear_classifier.scores.{name}": v for name, v in zeros(weight=(1000, 12), bias=(1000,)).items()}
    inputs = {"image": np.random.default_rng(0).random((5, 3, 2, 2), np.float32), "label": np.full(5, label)}
    loss = run(Source("test.dl", spec), inputs, target=target, weights=weights).outputs["y"]
    assert float(loss) == pytest.approx(math.log(1000), rel=1e-6)


@pytest.mark.system("logistic-regression")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_a_score_of_zero_loses_the_logarithm_of_2_and_the_gradient_is_half_the_input(target: str) -> None:
    spec = """
    from linear.logistic_regression import LogisticRegression
    model Slope()(x: float[B, 2], y: float[B]) -> (loss: float[], slope: float[2]) {
      layer net = LogisticRegression(features=2)
      _, loss = net(x, y)
      return loss, grad(loss, net.weight)
    }
    """
    weights = {"net.weight": np.array([0.5, -0.25])}
    inputs = {"x": np.array([[1.0, 2.0]]), "y": np.array([1.0])}
    found = run(Source("test.dl", spec), inputs, target=target, weights=weights, float_type=DType.F64).outputs
    assert float(found["loss"]) == math.log(2)
    assert found["slope"].tolist() == [-0.5, -1.0]


@pytest.mark.system("logistic-regression")
@pytest.mark.parametrize("target", TARGETS)
def test_the_loss_of_a_score_of_a_thousand_is_finite(target: str) -> None:
    inputs = {"x": np.array([[1000.0, 0.0], [-1000.0, 0.0]], np.float32), "y": np.array([0.0, 0.0], np.float32)}
    weights = {"weight": np.array([1.0, 0.0], np.float32)}
    found = run(LINEAR / "logistic_regression.dl", inputs, target=target, weights=weights).outputs
    assert float(found["loss"]) == 500.0
    assert found["probability"].tolist() == [1.0, 0.0]


@pytest.mark.system("linear-svm")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_the_hinge_pulls_at_the_true_class_and_at_the_one_that_is_too_near(target: str) -> None:
    spec = """
    model Slope()(scores: float[B, 3], target: int[B]) -> (loss: float[], slope: float[B, 3]) {
      loss = hinge(scores, target)
      return loss, grad(loss, scores)
    }
    """
    inputs = {"scores": np.array([[3.2, 5.1, -1.7]]), "target": np.array([0])}
    found = run(Source("test.dl", spec), inputs, target=target, float_type=DType.F64).outputs
    assert float(found["loss"]) == pytest.approx(2.9, abs=1e-12)
    assert found["slope"].tolist() == [[-1.0, 1.0, 0.0]]


@pytest.mark.system("linear-svm")
def test_a_support_vector_machine_separates_what_a_line_separates(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((200, 2)).astype(np.float32)
    side = x @ np.array([1.0, 2.0], np.float32) - 0.3
    apart = np.abs(side) > 0.4
    data = saved(tmp_path, "apart", {"x": x[apart], "target": (side[apart] > 0).astype(np.int64)})
    curve = trained("linear/svm.dl:Fit", data, tmp_path / "run", "--batch", int(apart.sum()))
    assert curve[0]["errors"] > 0
    assert curve[-1]["errors"] == 0


@pytest.mark.system("threshold-classifier")
@pytest.mark.parametrize("target", TARGETS)
def test_a_threshold_is_1_exactly_above_its_plane(target: str) -> None:
    """Weights and inputs that are sums of powers of two: the scores are exact, those on the plane too."""
    random = np.random.default_rng(0)
    x = random.integers(-4, 5, (200, 2)) / np.float32(4)
    weights = {"plane.weight": np.array([[0.5, -1.0]], np.float32), "plane.bias": np.array([0.25], np.float32)}
    score = x @ weights["plane.weight"][0] + weights["plane.bias"]
    assert (score == 0).any()
    found = run(LINEAR / "threshold.dl", {"x": x.astype(np.float32)}, target=target, weights=weights).outputs
    assert np.array_equal(found["class"], (score > 0).astype(np.float32))


@pytest.mark.system("threshold-classifier")
def test_nothing_is_learned_through_a_threshold() -> None:
    spec = """
    from linear.threshold import Threshold
    train Fit()(x: float[B, 2], y: float[B]) {
      layer net = Threshold()
      minimize loss = mse(net(x), y) using sgd(0.1)
    }
    """
    with pytest.raises(SpecError) as problem:
        check(Source("test.dl", spec))
    (found,) = problem.value.diagnostics
    assert (found.code, found.message) == ("DL0534", "no gradient of `loss` reaches a parameter")
    assert found.help == "gradients stop at `stop_gradient`, comparisons and integers"


# --- regression -------------------------------------------------------------------------------------------------------------------


def white_design() -> tuple[np.ndarray, np.ndarray]:
    """100 rows whose three columns have mean 0 and are orthonormal but for the factor 10, and noisy targets."""
    random = np.random.default_rng(0)
    raw = random.standard_normal((100, 3))
    columns, _ = np.linalg.qr(raw - raw.mean(axis=0))
    x = 10 * columns
    return x, x @ [1.0, -2.0, 0.5] + 3.0 + 0.1 * random.standard_normal(100)


@pytest.mark.system("linear-regression")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_gradient_descent_finds_the_least_squares(target: str, tmp_path: Path) -> None:
    x, y = white_design()
    data = saved(tmp_path, "white", {"x": x, "y": y})
    trained("linear/linear_regression.dl", data, tmp_path / "run", "--batch", 100, "-b", target, "--dtype", "f64")
    found = load_file(tmp_path / "run" / "weights.safetensors")
    best, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(100)]), y, rcond=None)
    np.testing.assert_allclose([*found["net.line.weight"][0], *found["net.line.bias"]], best, atol=1e-5, rtol=0)


@pytest.mark.system("linear-regression")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_the_first_step_goes_against_minus_twice_the_sum_of_residual_times_input(target: str, tmp_path: Path) -> None:
    x, y = white_design()
    data = saved(tmp_path, "white", {"x": x, "y": y})
    start = np.array([[0.3, -0.2, 0.1]])
    weights = saved(tmp_path, "start", {"net.line.weight": start, "net.line.bias": np.array([0.5])})
    trained(
        "linear/linear_regression.dl", data, tmp_path / "run", "--batch", 100, "-b", target, "--dtype", "f64", "--steps", 1,
        "--weights", weights,
    )  # fmt: skip
    after = load_file(tmp_path / "run" / "weights.safetensors")["net.line.weight"]
    gradient = (start - after) / 1e-3
    delta = y - x @ start[0] - 0.5
    np.testing.assert_allclose(gradient[0], -2 * (delta[:, None] * x).sum(axis=0), rtol=1e-10)


# --- k-means ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("k-means")
@pytest.mark.parametrize("target", TARGETS)
def test_the_sum_of_squares_within_the_clusters_never_rises(target: str) -> None:
    random = np.random.default_rng(0)
    points = random.standard_normal((300, 2)).astype(np.float32)
    settings = {"clusters": 8, "steps": 30}
    found = run(LINEAR / "k_means.dl", {"points": points, "start": points[:8]}, settings, target=target).outputs
    within = found["within"]
    assert within[-1] < 0.8 * within[0]
    assert (np.diff(within) <= 1e-5 * within[0]).all()  # 32 bits: the last steps change nothing but the rounding


@pytest.mark.system("k-means")
@pytest.mark.parametrize("target", TARGETS)
def test_three_blobs_that_lie_apart_are_recovered(target: str) -> None:
    random = np.random.default_rng(0)
    blob = np.repeat([0, 1, 2], 40)
    points = np.array([[0, 0], [10, 0], [0, 10]])[blob] + random.standard_normal((120, 2))
    inputs = {"points": points.astype(np.float32), "start": points[[0, 40, 80]].astype(np.float32)}
    found = run(LINEAR / "k_means.dl", inputs, target=target).outputs
    assert np.array_equal(found["cluster"], blob)
    means = [points[blob == i].mean(axis=0) for i in range(3)]
    np.testing.assert_allclose(found["centers"], means, rtol=1e-5, atol=1e-5)


# --- densities --------------------------------------------------------------------------------------------------------------------

CENTER = np.array([1.0, -2.0, 0.5])
COVARIANCE = np.array([[2.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 0.5]])
GAUSSIAN = {"center": CENTER, "factor": np.linalg.cholesky(COVARIANCE)}


@pytest.mark.system("gaussian-density")
@pytest.mark.parametrize("target", TARGETS)
def test_the_density_is_the_closed_form(target: str) -> None:
    x = np.random.default_rng(0).standard_normal((20, 3))
    spec = LINEAR / "gaussian_density.dl"
    found = run(spec, {"x": x}, target=target, weights=GAUSSIAN, float_type=DType.F64).outputs["log_prob"]
    distance = np.einsum("ni,ij,nj->n", x - CENTER, np.linalg.inv(COVARIANCE), x - CENTER)
    closed = -0.5 * (distance + math.log((2 * math.pi) ** 3 * np.linalg.det(COVARIANCE)))
    np.testing.assert_allclose(found, closed, atol=1e-6, rtol=0)


@pytest.mark.system("gaussian-density")
@pytest.mark.parametrize("target", TARGETS)
def test_samples_have_the_covariance(target: str) -> None:
    weights = {name: value.astype(np.float32) for name, value in GAUSSIAN.items()}
    settings = {"draws": 100_000}
    found = run(LINEAR / "gaussian_density.dl", {}, settings, entry="sample", target=target, weights=weights).outputs["x"]
    assert np.linalg.norm(np.cov(found.T) - COVARIANCE) < 0.03 * np.linalg.norm(COVARIANCE)
    np.testing.assert_allclose(found.mean(axis=0), CENTER, atol=0.03)


@pytest.mark.system("gaussian-density")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_fitting_in_training_keeps_the_mean_and_the_factor_of_the_covariance(target: str) -> None:
    x = np.random.default_rng(0).standard_normal((50, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 2.0, 0.3], [0.0, 0.0, 0.7]])
    spec = LINEAR / "gaussian_density.dl"
    found = run(spec, {"x": x}, entry="fit", target=target, training=True, float_type=DType.F64)
    covariance = np.cov(x.T, bias=True)
    np.testing.assert_allclose(found.outputs["covariance"], covariance, rtol=1e-12)
    np.testing.assert_allclose(found.updates["center"], x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.updates["factor"], np.linalg.cholesky(covariance), rtol=1e-10, atol=1e-12)


# --- principal components ---------------------------------------------------------------------------------------------------------


def stretched(rows: int = 200) -> np.ndarray:
    """Centred rows of 8 features with standard deviations from 3 down to 0.2, rotated."""
    random = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(random.standard_normal((8, 8)))
    x = random.standard_normal((rows, 8)) * np.geomspace(3, 0.2, 8) @ rotation
    return np.asarray(x - x.mean(axis=0))


@pytest.mark.system("pca")
@pytest.mark.parametrize("target", DIFFERENTIATING)
@pytest.mark.parametrize("components", [1, 2, 5, 8])
def test_what_is_lost_is_the_sum_of_the_discarded_squared_singular_values(target: str, components: int) -> None:
    x = stretched() + 5.0
    spec = LINEAR / "pca.dl"
    found = run(spec, {"x": x}, {"components": components}, target=target, float_type=DType.F64).outputs
    discarded = (np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[components:] ** 2).sum()
    assert found["codes"].shape == (200, components)
    assert ((x - found["reconstruction"]) ** 2).sum() == pytest.approx(discarded, rel=1e-9, abs=1e-9)
    assert float(found["discarded"]) == pytest.approx(discarded, rel=1e-9, abs=1e-9)


@pytest.mark.system("pca")
def test_a_linear_autoencoder_comes_within_a_percent_of_it(tmp_path: Path) -> None:
    x = stretched()
    data = saved(tmp_path, "stretched", {"x": x})
    curve = trained("linear/pca.dl:Autoencoder", data, tmp_path / "run", "--batch", len(x))
    least = (np.linalg.svd(x, compute_uv=False)[2:] ** 2).sum()
    assert least * (1 - 1e-5) <= curve[-1]["error"] < 1.01 * least


@pytest.mark.system("pca")
def test_onnx_has_no_singular_values_and_says_so() -> None:
    with pytest.raises(SpecError) as problem:
        compile_spec(LINEAR / "pca.dl", "onnx")
    (found,) = problem.value.diagnostics
    assert found.code == "DL0705"
    assert found.message.startswith("the backend `onnx` cannot express `svd`: ONNX has no operator that factors")
    assert found.help == "`torch` and `jax` can"


# --- trees ------------------------------------------------------------------------------------------------------------------------


def full_tree() -> dict[str, np.ndarray]:
    """A tree of depth 3 in the order of a heap: it asks feature 0, then 1, then 2, each against 0, and a leaf's value is its number,
    0 to 7 from left to right."""
    feature = np.array([0, 1, 1, 2, 2, 2, 2, *[0] * 8])
    node = np.arange(15)
    inside = node < 7
    return {
        "feature": feature[None],
        "threshold": np.zeros((1, 15), np.float32),
        "left": np.where(inside, 2 * node + 1, node)[None],
        "right": np.where(inside, 2 * node + 2, node)[None],
        "value": np.where(inside, -1, node - 7).astype(np.float32)[None, :, None],
    }


PATHS = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], np.float32)
"""The rows that go left and right in every way; the last one takes the last leaf."""


@pytest.mark.system("decision-forest")
@pytest.mark.parametrize("target", TARGETS)
def test_each_of_the_eight_paths_ends_at_its_leaf(target: str) -> None:
    found = run(LINEAR / "decision_forest.dl", {"x": PATHS}, target=target, weights=full_tree()).outputs
    assert found["y"][:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert found["leaf"].tolist() == [[7, 8, 9, 10, 11, 12, 13, 14]]


@pytest.mark.system("decision-forest")
@pytest.mark.parametrize("target", TARGETS)
def test_a_row_on_the_threshold_goes_left(target: str) -> None:
    x = np.zeros((1, 3), np.float32)
    assert run(LINEAR / "decision_forest.dl", {"x": x}, target=target, weights=full_tree()).outputs["leaf"].tolist() == [[7]]


@pytest.mark.system("decision-forest")
@pytest.mark.parametrize("target", TARGETS)
def test_a_forest_of_copies_equals_one_tree(target: str) -> None:
    tree = full_tree()
    forest = {name: np.repeat(table, 5, axis=0) for name, table in tree.items()}
    one = run(LINEAR / "decision_forest.dl", {"x": PATHS}, target=target, weights=tree).outputs["y"]
    five = run(LINEAR / "decision_forest.dl", {"x": PATHS}, {"trees": 5}, target=target, weights=forest).outputs["y"]
    assert np.array_equal(one, five)


@pytest.mark.system("decision-forest")
@pytest.mark.parametrize("target", TARGETS)
def test_a_forest_that_scikit_learn_fitted_says_the_same_here(target: str) -> None:
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.tree import DecisionTreeClassifier

    measures, species = load_iris(return_X_y=True)
    x = measures.astype(np.float32)
    for estimator, expected in [
        (DecisionTreeClassifier(random_state=0), "predict_proba"),
        (RandomForestClassifier(8, max_depth=4, random_state=0), "predict_proba"),
        (RandomForestRegressor(4, random_state=0), "predict"),
    ]:
        estimator.fit(measures[:, :2], species if expected == "predict_proba" else measures[:, 2:])
        forest = from_scikit_learn(estimator)
        inputs = {"x": x[:, :2]}
        found = run(LINEAR / "decision_forest.dl", inputs, forest.settings, target=target, weights=forest.weights).outputs["y"]
        np.testing.assert_allclose(found, getattr(estimator, expected)(x[:, :2]), rtol=1e-5, atol=1e-6)


@pytest.mark.system("decision-forest")
def test_thresholds_are_rounded_so_that_every_row_goes_the_same_way() -> None:
    """0.1 is larger in 32 bits than in 64: a row of 0.1 in 32 bits lies above the threshold 0.1."""
    from sklearn.tree import DecisionTreeRegressor

    tree = DecisionTreeRegressor().fit([[0.0], [0.2]], [0.0, 1.0])
    tree.tree_.threshold[0] = 0.1
    x = np.array([[0.1], [np.nextafter(np.float32(0.1), np.float32(0))]], np.float32)
    forest = from_scikit_learn(tree)
    assert run(LINEAR / "decision_forest.dl", {"x": x}, forest.settings, weights=forest.weights).outputs["y"].tolist() == [
        [1],
        [0],
    ]
    assert tree.predict(x).tolist() == [1, 0]


@pytest.mark.system("decision-forest")
def test_what_is_no_forest_of_trees_that_vote_is_refused() -> None:
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.tree import DecisionTreeClassifier

    with pytest.raises(TypeError, match="a decision tree or a forest of scikit-learn is needed, not GradientBoostingRegressor"):
        from_scikit_learn(GradientBoostingRegressor())
    with pytest.raises(TypeError, match="this DecisionTreeClassifier has not been fitted"):
        from_scikit_learn(DecisionTreeClassifier())
    with pytest.raises(TypeError, match="a classifier of one label is needed"):
        from_scikit_learn(DecisionTreeClassifier().fit([[0.0], [1.0]], [[0, 1], [1, 0]]))
