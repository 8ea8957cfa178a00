"""The systems of the family analysis: what of an input speaks for an output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dsl import cli
from dsl.commands.attribute import RULES

NET = "model Net(width: int = 3)(x: float[B, 3]) -> (scores: float[B, width]) { return relu(x) -> Linear(width, bias=false) }"

X = np.array([[1.0, -1.0, 5.0], [2.0, -5.0, -7.0], [-3.0, 2.0, 4.0]])
ABOVE = np.array([-2.0, 3.0, -1.0])
EXPECTED = {
    "saliency": np.where(X > 0, ABOVE, 0.0),
    "deconvnet": np.broadcast_to(np.maximum(ABOVE, 0.0), X.shape),
    "guided": np.where(X > 0, np.maximum(ABOVE, 0.0), 0.0),
}


def attribution(folder: Path, rule: str, *arguments: str) -> np.ndarray:
    """What `dslc attribute` writes for a net whose score 1 is the sum of relu(x) * ABOVE."""
    (folder / "net.dl").write_text(NET)
    np.savez(folder / "weights.npz", **{"linear.weight": np.stack([0 * ABOVE, ABOVE, 0 * ABOVE]).astype(np.float32)})  # type: ignore[arg-type]
    np.savez(folder / "x.npz", x=X.astype(np.float32))
    words = [str(folder / "net.dl"), "-i", str(folder / "x.npz"), "--weights", str(folder / "weights.npz"), *arguments]
    assert cli.run(["attribute", rule, *words, "--index", "1", "-o", str(folder / "out.npz")]) == 0
    return np.asarray(np.load(folder / "out.npz")["attribution"])


@pytest.mark.system("guided-backprop")
@pytest.mark.parametrize("backend", ["reference", "torch", "jax"])
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_for_relu_is_asked_of_a_model_that_knows_nothing_of_it(rule: str, backend: str, tmp_path: Path) -> None:
    np.testing.assert_allclose(attribution(tmp_path, rule, "-b", backend), EXPECTED[rule], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "y"], "the model has no floating input `y`"),
        (["--output-name", "score"], "did you mean `scores`?"),
        (["--index", "3"], "index 3 is out of range"),
        (["--backend", "onnx"], "cannot express `grad`"),
    ],
)
def test_what_cannot_be_asked_is_said(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.dl").write_text(NET)
    assert cli.run(["attribute", "guided", str(tmp_path / "net.dl"), "-i", "x=[[1, 2, 3]]", *arguments]) != 0
    assert message in capsys.readouterr().err


def test_a_score_is_one_number_of_each_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.dl").write_text("model Net()(x: float[B, 3]) -> (maps: float[B, 3, 1]) { return relu(x)[:, :, none] }")
    assert cli.run(["attribute", "guided", str(tmp_path / "net.dl"), "-i", "x=[[1, 2, 3]]"]) == 2
    assert "`maps` has 3 axes" in capsys.readouterr().err
