"""Classes by distance: prototypes of few examples, and nets that learn in which space they are to be compared."""

from __future__ import annotations

import numpy as np
import pytest

from backends.base import Arrays
from dsl.compiler import compile_graph, compile_training, run
from dsl.ir import size_of
from tests.small import SPECS
from tests.systems.expressions import TARGETS, value, values
from tests.trained import trained

PROTOTYPICAL = SPECS / "metric_learning/prototypical.dl"
IMPORTED = "from metric_learning.prototypical import prototypes, nearness"

EXAMPLES = {
    "s": np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 4.0], [6.0, 4.0]]),
    "label": np.array([0, 0, 1, 1]),
    "classes": np.array([0, 1]),
    "x": np.array([[1.0, 1.0]]),
    "answer": np.array([0]),
}


@pytest.mark.system("prototypical-network")
@pytest.mark.parametrize("target", TARGETS)
def test_a_query_among_two_classes_of_two_examples(target: str) -> None:
    """Squared distances 1 and 25: the loss is log(1 + e^-24)."""
    wanted = ["prototypes(s, label, classes)", "cross_entropy(nearness(x, prototypes(s, label, classes)), answer)"]
    v, loss = values(wanted, EXAMPLES, target, exact=True, definitions=IMPORTED)
    assert v.tolist() == [[1, 0], [5, 4]]
    assert loss == pytest.approx(3.7751e-11, abs=1e-15)


@pytest.mark.system("prototypical-network")
@pytest.mark.parametrize("target", TARGETS)
def test_it_is_a_linear_layer_whose_weights_are_the_prototypes(target: str) -> None:
    """w = 2 v and b = -|v|^2: what is left out, |x|^2, is the same for all classes."""
    random = np.random.default_rng(0)
    given = {"x": random.normal(size=(7, 5)), "v": random.normal(size=(4, 5))}
    near, linear = values(
        ["log_softmax(nearness(x, v))", "log_softmax(x @ (2 * v).T - sum(v ** 2, over=1))"],
        given, target, exact=True, definitions=IMPORTED,
    )  # fmt: skip
    np.testing.assert_allclose(near, linear, atol=1e-12)


@pytest.mark.system("prototypical-network")
@pytest.mark.parametrize("target", TARGETS)
def test_classes_may_have_any_label_and_any_number_of_examples(target: str) -> None:
    given = {"s": np.arange(8.0).reshape(4, 2), "label": np.array([12, 40, 12, 12]), "classes": np.array([40, 12, 7])}
    found = value("prototypes(s, label, classes)", given, target, exact=True, definitions=IMPORTED)
    np.testing.assert_allclose(found, [[2.0, 3.0], [10 / 3, 13 / 3], [0.0, 0.0]])


@pytest.mark.system("prototypical-network")
def test_conv_4_has_its_size_and_is_there_once_for_examples_and_queries() -> None:
    names = compile_graph(PROTOTYPICAL).parameters()
    trained = {name: p for name, p in names.items() if p.trained}
    convolutions = (1 * 9 + 1) * 64 + 3 * (64 * 9 + 1) * 64
    assert sum(size_of(p.type) for p in trained.values()) == convolutions + 4 * 2 * 64 == 111_936
    assert all(name.startswith("encoder.") for name in trained)


# --- learning -------------------------------------------------------------------------------------------------------------------

DOWN, ACROSS = np.mgrid[:28, :28] / 28 - 0.5


def stripes(random: np.random.Generator, angles: np.ndarray) -> np.ndarray:
    """Pictures under noise. A class is a direction; how fine the stripes are, and where they begin, says nothing."""
    turned = angles[..., None, None] + random.normal(0, 0.03, size=(*angles.shape, 1, 1))
    fine, phase = random.uniform(15, 35, size=turned.shape), random.uniform(0, 2 * np.pi, size=turned.shape)
    waves: np.ndarray = np.sin(fine * (ACROSS * np.cos(turned) + DOWN * np.sin(turned)) + phase)
    waves += random.normal(size=waves.shape)
    return waves[..., None, :, :].astype(np.float32)


def episode(random: np.random.Generator, ways: int, shots: int, rows: int) -> Arrays:
    """Directions that were in no episode before, each called by some number."""
    angles = random.uniform(0, np.pi, (rows, ways))
    classes = np.stack([random.choice(1000, ways, replace=False) for _ in range(rows)])
    return {
        "support": stripes(random, np.tile(angles, (1, shots))),
        "label": np.tile(classes, (1, shots)),
        "classes": classes,
        "query": stripes(random, np.tile(angles, (1, 3))),
        "answer": np.tile(np.arange(ways), (rows, 3)),
    }


@pytest.mark.slow
@pytest.mark.system("prototypical-network")
def test_episodes_teach_what_a_new_class_is_to_be_known_by() -> None:
    """Two examples of each of five classes. The shares are those of the first run of the test, rounded down."""
    random = np.random.default_rng(0)
    training, _ = compile_training(PROTOTYPICAL, {"width": 8, "lr": 0.01}, name="Episodes")
    rows, weights = trained(training, [episode(random, ways=5, shots=2, rows=2) for _ in range(100)])
    accuracy = [row["accuracy"] for row in rows]
    assert np.mean(accuracy[:10]) < 0.5
    assert np.mean(accuracy[-20:]) > 0.75

    # The net is for any number of classes: ten, with four examples each.
    more = {name: x[0] for name, x in episode(random, ways=10, shots=4, rows=1).items()}
    answer = more.pop("answer")
    logits = run(PROTOTYPICAL, more, {"width": 8}, target="torch", weights=weights, training=True).outputs["logits"]
    assert np.mean(logits.argmax(axis=1) == answer) > 0.5
