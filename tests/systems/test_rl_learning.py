"""Reinforcement learning by trainings: policy gradients and Q-learning."""

from __future__ import annotations

import numpy as np
import pytest

from backends.base import Arrays
from dsl.compiler import compile_training, run
from dsl.source import Source
from tests.small import SPECS
from tests.systems.expressions import DIFFERENTIATING, TARGETS, value
from tests.trained import trained

# --- REINFORCE ------------------------------------------------------------------------------------------------------------------

EXPECTED = """
from rl.reinforce import policy_loss

# The gradient of the expected return: the loss of every action, weighted by how often it is drawn.
model Expected()(logits: float[3], returns: float[3], baseline: float[]) -> float[3] {
  p = stop_gradient(softmax(logits))
  total = 0.0
  for a in range(3) {
    total = total - p[a] * policy_loss(log_softmax(logits)[a], returns[a], baseline)
  }
  return grad(total, logits)
}
"""


@pytest.mark.system("reinforce")
@pytest.mark.parametrize("target", DIFFERENTIATING)
@pytest.mark.parametrize("baseline", [0.0, 10.0])
def test_a_baseline_does_not_change_the_expected_gradient(baseline: float, target: str) -> None:
    inputs = {"logits": [0.2, -0.4, 0.1], "returns": [1.0, 0.0, 3.0], "baseline": baseline}
    given = {name: np.asarray(x, np.float32) for name, x in inputs.items()}
    (found,) = run(Source("expected.dl", EXPECTED), given, target=target).outputs.values()
    np.testing.assert_allclose(found, [-0.209432, -0.338610, 0.548042], atol=3e-6)


@pytest.mark.system("reinforce")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_the_better_of_two_arms_is_found(target: str) -> None:
    """Arms that pay 0.2 and 0.8 on average."""
    random = np.random.default_rng(0)
    pays = [{"pay": (random.random((32, 2)) < [0.2, 0.8]).astype(np.float32)} for _ in range(200)]
    training, _ = compile_training(SPECS / "rl/reinforce.dl", name="Bandit")
    rows, weights = trained(training, pays, target)
    assert rows[0]["best"] == pytest.approx(0.5)
    assert rows[-1]["best"] > 0.99
    assert weights["logits"][1] > weights["logits"][0]


@pytest.mark.system("reinforce")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_rollouts_teach_a_policy_and_the_baseline_follows_their_returns(target: str) -> None:
    """The sign of the first number says which action pays."""
    random = np.random.default_rng(0)
    training, _ = compile_training(SPECS / "rl/reinforce.dl", {"lr": 0.02}, name="REINFORCE")

    def rollout() -> Arrays:
        s, a = random.normal(size=(64, 4)).astype(np.float32), random.integers(2, size=64)
        return {"s": s, "a": a, "ret": (10 + (a == (s[:, 0] > 0))).astype(np.float32)}

    rows, weights = trained(training, [rollout() for _ in range(100)], target)
    assert np.isfinite([row["loss"] for row in rows]).all()
    assert weights["baseline"] == pytest.approx(10.5, abs=0.1)
    s = random.normal(size=(200, 4)).astype(np.float32)
    policy = {name.removeprefix("policy."): w for name, w in weights.items() if name.startswith("policy.")}
    logits = run(SPECS / "rl/reinforce.dl", {"observation": s}, target=target, weights=policy).outputs["logits"]
    assert np.mean(logits.argmax(axis=1) == (s[:, 0] > 0)) > 0.95


# --- deep Q-learning ------------------------------------------------------------------------------------------------------------

NEXT = np.array([[0, 1], [0, 1]])
PAYS = np.array([[0.0, 1.0], [2.0, 0.0]])
Q = np.array([[13.263158, 14.736842], [15.263158, 13.736842]])
"""Two states: action a leads to state a. What `value-iteration` gives for gamma 0.9."""


@pytest.mark.system("dqn")
@pytest.mark.parametrize("target", TARGETS)
def test_where_an_episode_is_done_the_target_is_the_reward(target: str) -> None:
    given = {"r": [1.0, -2.0, 3.0], "done": [1.0, 1.0, 0.0], "following": [[5.0, 7.0]] * 3}
    found = value("q_target(r, done, following, 0.9)", given, target, definitions="from rl.dqn import q_target")
    np.testing.assert_allclose(found, [1.0, -2.0, 3.0 + 0.9 * 7.0], rtol=1e-6)


def transitions(random: np.random.Generator, count: int) -> Arrays:
    s, a = random.integers(2, size=count), random.integers(2, size=count)
    after = NEXT[s, a]
    eye = np.eye(2, dtype=np.float32)
    zeros = np.zeros(count, np.float32)
    return {"s": eye[s], "a": a, "r": PAYS[s, a].astype(np.float32), "s2": eye[after], "done": zeros}


@pytest.mark.slow
@pytest.mark.system("dqn")
@pytest.mark.parametrize(
    ("block", "settings", "rates"),
    [("DQN", {"hidden": 8, "every": 30}, (0.001, 0.0001)), ("LinearQ", {"every": 20}, (0.3,))],
)
def test_two_states_are_worth_what_value_iteration_says(
    block: str, settings: dict[str, object], rates: tuple[float, ...]
) -> None:
    """RMSProp takes steps of one size, so what it finds moves by as much as the learning rate says: it is lowered once."""
    settings = {**settings, "observations": 2, "gamma": 0.9}
    random = np.random.default_rng(0)
    weights: Arrays = {}
    for rate in rates:
        training, _ = compile_training(SPECS / "rl/dqn.dl", {**settings, "lr": rate}, name=block)
        _, weights = trained(training, [transitions(random, 64) for _ in range(2500)], weights=weights)
    q = {name.removeprefix("q."): w for name, w in weights.items() if name.startswith("q.")}
    name = "QNet" if block == "DQN" else "LinearQNet"
    hidden = {"hidden": 8} if block == "DQN" else {}
    inputs = {"observation": np.eye(2, dtype=np.float32)}
    found = run(SPECS / "rl/dqn.dl", inputs, {"observations": 2, **hidden}, model=name, weights=q).outputs["values"]
    np.testing.assert_allclose(found, Q, atol=0.05)
