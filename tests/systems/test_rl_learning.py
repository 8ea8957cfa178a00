"""Reinforcement learning by trainings: policy gradients and Q-learning, on what is there and on what an agent does meanwhile."""

from __future__ import annotations

import numpy as np
import pytest

from backends.base import Arrays
from dsl.compiler import compile_training, run
from dsl.hosts.environment import actions_with_returns, episode, open_environment, transitions
from dsl.hosts.replay import ReplayMemory
from dsl.source import Source
from dsl.trainer.online import Online
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


@pytest.mark.slow
@pytest.mark.system("reinforce")
def test_a_pole_is_balanced_the_longer_the_more_often_it_fell() -> None:
    """Twenty updates, each on eight episodes of the policy of the moment; the numbers of steps are those of the first run, rounded."""
    pytest.importorskip("gymnasium", reason="the cart and its pole come with the package gymnasium")
    random = np.random.default_rng(0)
    environment = open_environment("CartPole-v1")
    training = Online(SPECS / "rl/reinforce.dl", "REINFORCE", {"lr": 0.02})
    policy = training.learned("policy", "Policy")

    def act(s: np.ndarray) -> int:
        logits = policy.outputs(observation=s[None])["logits"][0]
        return int(random.random() < 1 / (1 + np.exp(logits[0] - logits[1])))

    lengths = []
    for i in range(20):
        episodes = [episode(environment, act, seed=8 * i + k, longest=200) for k in range(8)]
        lengths.append(np.mean([len(e.actions) for e in episodes]))
        training.step(actions_with_returns(episodes, gamma=0.98))
        policy.refresh()
    assert np.mean(lengths[:2]) < 40
    assert np.mean(lengths[-3:]) > 80


# --- deep Q-learning ------------------------------------------------------------------------------------------------------------

NEXT = np.array([[0, 1], [0, 1]])
PAYS = np.array([[0.0, 1.0], [2.0, 0.0]])
Q = np.array([[13.263158, 14.736842], [15.263158, 13.736842]])
"""Two states: action a leads to state a. What `value-iteration` gives for gamma 0.9."""


class TwoStates:
    """The same as an environment, which never ends."""

    def reset(self, *, seed: int | None = None) -> tuple[np.ndarray, dict[str, object]]:
        self.state = 0
        return np.eye(2)[self.state], {}

    def step(self, action: int, /) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
        reward, self.state = float(PAYS[self.state, action]), int(NEXT[self.state, action])
        return np.eye(2)[self.state], reward, False, False, {}


@pytest.mark.system("dqn")
@pytest.mark.parametrize("target", TARGETS)
def test_where_an_episode_is_done_the_target_is_the_reward(target: str) -> None:
    given = {"r": [1.0, -2.0, 3.0], "done": [1.0, 1.0, 0.0], "following": [[5.0, 7.0]] * 3}
    found = value("q_target(r, done, following, 0.9)", given, target, definitions="from rl.dqn import q_target")
    np.testing.assert_allclose(found, [1.0, -2.0, 3.0 + 0.9 * 7.0], rtol=1e-6)


def transitions_of_both(random: np.random.Generator, count: int) -> Arrays:
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
        _, weights = trained(training, [transitions_of_both(random, 64) for _ in range(2500)], weights=weights)
    q = {name.removeprefix("q."): w for name, w in weights.items() if name.startswith("q.")}
    name = "QNet" if block == "DQN" else "LinearQNet"
    hidden = {"hidden": 8} if block == "DQN" else {}
    inputs = {"observation": np.eye(2, dtype=np.float32)}
    found = run(SPECS / "rl/dqn.dl", inputs, {"observations": 2, **hidden}, model=name, weights=q).outputs["values"]
    np.testing.assert_allclose(found, Q, atol=0.05)


@pytest.mark.system("dqn")
def test_an_agent_learns_from_a_memory_of_what_it_did() -> None:
    """Acting at random half of the time, on what was learned so far otherwise; a batch of the memory for each step in the environment."""
    random = np.random.default_rng(0)
    training = Online(SPECS / "rl/dqn.dl", "LinearQ", {"observations": 2, "gamma": 0.9, "every": 10, "lr": 0.3})
    q = training.learned("q", "LinearQNet", {"observations": 2})
    memory = ReplayMemory(500, seed=0)

    def act(s: np.ndarray) -> int:
        if random.random() < 0.5:
            return int(random.integers(2))
        return int(q.outputs(observation=s[None])["values"].argmax())

    for i in range(25):
        found = episode(TwoStates(), act, seed=i, longest=40)
        memory.add(transitions(found))
        for _ in found.actions:
            training.step(memory.sample(32))
        q.refresh()
    np.testing.assert_allclose(q.outputs(observation=np.eye(2, dtype=np.float32))["values"], Q, atol=0.05)


@pytest.mark.system("dqn")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_the_copy_follows_every_so_many_steps_and_is_not_trained(target: str) -> None:
    training = Online(SPECS / "rl/dqn.dl", "DQN", {"observations": 2, "hidden": 4, "every": 3}, target=target)
    random = np.random.default_rng(0)

    def same() -> bool:
        q, copy = training.weights("q"), training.weights("target")
        return all(np.array_equal(w, copy[name]) for name, w in q.items())

    assert same()
    followed = []
    for _ in range(6):
        training.step(transitions_of_both(random, 8))
        followed.append(same())
    assert followed == [False, False, True, False, False, True]
