"""Search without gradients: populations, and the state that a generation leaves for the next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from dsl import cli
from dsl.compiler import compile_training
from dsl.initial_values import initial_weights
from dsl.source import Source
from dsl.trainer.curves import read_rows
from dsl.types import DType
from tests.small import SPECS
from tests.systems.expressions import DIFFERENTIATING, values
from tests.trained import trained

CMA_ES = SPECS / "evolution/cma_es.dl"
ROOTS = "from evolution.cma_es import roots\n"


def search(
    target: str, seed: int, generations: int, goal: np.ndarray, settings: Mapping[str, object] | None = None
) -> list[float]:
    """The lowest value of each generation, in float64."""
    training, _ = compile_training(CMA_ES, settings, float_type=DType.F64)
    return [row["lowest"] for row in trained(training, [{"goal": goal}] * generations, target, seed=seed)[0]]


@pytest.mark.system("cma-es")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_the_sphere_is_found_from_two_in_five_dimensions(target: str, seed: int) -> None:
    """20 offspring; the first correct runs needed 63 to 71 of the 120 generations."""
    training, _ = compile_training(CMA_ES)
    begin = initial_weights(training.program, 0)
    np.testing.assert_array_equal(begin["m"], np.full(5, 2.0))
    assert training.hyper["offspring"] == 20
    lowest = search(target, seed, 120, np.zeros((1, 5)))
    assert lowest[0] > 1
    assert min(lowest) < 1e-10


@pytest.mark.system("cma-es")
def test_the_covariance_learns_that_one_axis_is_a_thousand_times_as_steep() -> None:
    """Another objective is a setting. Without what the covariance learns, the search has hardly begun after as many generations."""
    goal = np.ones((1, 5))
    assert min(search("torch", 0, 250, goal, {"objective": "ellipsoid"})) < 1e-10
    text = CMA_ES.read_text().replace("update C = ", "update C = C + 0 * (").replace("+ c_mu * rank_mu", "+ c_mu * rank_mu)")
    training, _ = compile_training(Source("round.dl", text), {"objective": "ellipsoid"}, float_type=DType.F64)
    rows, _ = trained(training, [{"goal": goal}] * 250)
    assert min(row["lowest"] for row in rows) > 1e-3


@pytest.mark.system("cma-es")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_the_root_of_the_inverse_divides_by_the_deviations(target: str) -> None:
    """C = B D^2 B^T with B a rotation and D = 1, 2, 5: C^(-1/2) = B D^-1 B^T, not B D^(-1/2) B^T."""
    B, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    D = np.array([1.0, 2.0, 5.0])
    C = B * D**2 @ B.T
    root, inverse = values(["roots(C)[0]", "roots(C)[1]"], {"C": C}, target, exact=True, definitions=ROOTS)
    np.testing.assert_allclose(root, B * D @ B.T, atol=1e-12)
    np.testing.assert_allclose(inverse, B / D @ B.T, atol=1e-12)
    np.testing.assert_allclose(inverse @ C @ inverse, np.eye(3), atol=1e-12)


@pytest.mark.system("cma-es")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_one_generation_is_that_of_the_tutorial(target: str) -> None:
    """Its figure 6, in NumPy, from a state in the middle of a search. The draws are each target's own, so the step of the mean is taken
    as it came; paths and step size follow from it, and the rest of C is the offspring's."""
    training, _ = compile_training(CMA_ES, float_type=DType.F64)
    random = np.random.default_rng(0)
    n, root = 5, random.normal(size=(5, 5))
    state = {
        "m": random.normal(size=n), "sigma": np.array(0.3), "C": root @ root.T + np.eye(n),
        "p_sigma": 0.5 * random.normal(size=n), "p_c": 0.5 * random.normal(size=n),
    }  # fmt: skip
    _, after = trained(training, [{"goal": np.zeros((1, n))}], target, weights={**state, "step": np.array(40)})
    w = np.log(10.5) - np.log(np.arange(1, 11))
    w /= w.sum()
    mu = 1 / np.sum(w**2)
    c_sigma, c_c = (mu + 2) / (n + mu + 5), (4 + mu / n) / (n + 4 + 2 * mu / n)
    c_1 = 2 / ((n + 1.3) ** 2 + mu)
    c_mu = min(1 - c_1, 2 * (0.25 + mu + 1 / mu - 2) / ((n + 2) ** 2 + mu))
    d_sigma = 1 + 2 * max(0.0, np.sqrt((mu - 1) / (n + 1)) - 1) + c_sigma
    step = (after["m"] - state["m"]) / state["sigma"]
    variances, B = np.linalg.eigh(state["C"])
    whitened = B / np.sqrt(variances) @ B.T @ step
    p_sigma = (1 - c_sigma) * state["p_sigma"] + np.sqrt(c_sigma * (2 - c_sigma) * mu) * whitened
    np.testing.assert_allclose(after["p_sigma"], p_sigma, rtol=1e-9)
    length = np.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))
    ratio = np.linalg.norm(p_sigma) / length
    np.testing.assert_allclose(after["sigma"], state["sigma"] * np.exp(c_sigma / d_sigma * (ratio - 1)), rtol=1e-9)
    assert ratio / np.sqrt(1 - (1 - c_sigma) ** 82) < 1.4 + 2 / (n + 1)
    p_c = (1 - c_c) * state["p_c"] + np.sqrt(c_c * (2 - c_c) * mu) * step
    np.testing.assert_allclose(after["p_c"], p_c, rtol=1e-9)
    rank_mu = (after["C"] - (1 - c_1 - c_mu) * state["C"] - c_1 * np.outer(p_c, p_c)) / c_mu
    spread = np.linalg.eigvalsh(rank_mu)
    assert spread[0] > 0, "a mean of squares of ten vectors in five dimensions, with positive weights"
    assert 0.1 < np.trace(rank_mu) / np.trace(state["C"]) < 3
    assert after["step"] == 41


@pytest.mark.system("cma-es")
def test_onnx_has_neither_trainings_nor_eigenvectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "search.onnx")
    assert cli.run(["compile", str(CMA_ES), "--train", "-b", "onnx", "-o", out]) != 0
    assert "the backend `onnx` cannot train" in capsys.readouterr().err
    assert cli.run(["compile", str(CMA_ES), "--model", "CMAES", "-b", "onnx", "-o", out]) != 0
    assert "the backend `onnx` cannot express `eigh`" in capsys.readouterr().err


@pytest.mark.system("cma-es")
def test_the_command_line_searches_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "goal.npz", goal=np.ones((1, 5)))
    words = ["train", str(CMA_ES), "--data", str(tmp_path / "goal.npz"), "--batch", "1", "--steps", "40", "--dtype", "f64"]
    assert cli.run([*words, "--out", str(tmp_path / "out")]) == 0
    lowest = [row["lowest"] for row in read_rows(tmp_path / "out" / "curves.csv")]
    assert lowest[-1] < 1e-3 * lowest[0]
