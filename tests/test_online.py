"""Trainings whose batches come from an environment: episodes, a replay memory, and steps between them."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from backends.base import Arrays
from dsl.diagnostics import SpecError, render
from dsl.hosts.environment import (
    Environment,
    Episode,
    actions_with_returns,
    episode,
    open_environment,
    returns,
    transitions,
)
from dsl.hosts.replay import ReplayMemory
from dsl.source import Source
from dsl.trainer.online import Online

LINE = """
model Line()(x: float[B, 1]) -> (y: float[B, 1]) { return x -> fc: Linear(1) }

train Fit()(x: float[B, 1], y: float[B, 1], kind: int[B]) {
  layer line = Line()
  buffer weight: float[3] = [1.0, 2.0, 4.0]
  minimize loss = mean(weight[kind][:, none] * (line(x) - y) ** 2) using sgd(0.1)
}
"""


class Countdown:
    """Begins at a number that the seed says; an action is taken from it, and where it comes to 0 the episode ends. 9 steps at most."""

    def reset(self, *, seed: int | None = None) -> tuple[list[float], dict[str, object]]:
        self.left = int(np.random.default_rng(seed).integers(3, 6))
        self.steps = 0
        return [float(self.left)], {}

    def step(self, action: int, /) -> tuple[list[float], float, bool, bool, dict[str, object]]:
        self.left = max(self.left - action, 0)
        self.steps += 1
        return [float(self.left)], -1.0, self.left == 0, self.steps == 9, {}


# --- episodes -------------------------------------------------------------------------------------------------------------------


def test_an_episode_has_one_observation_more_than_actions_and_rewards() -> None:
    found = episode(Countdown(), lambda s: 2 if s[0] > 2 else 1, seed=0)
    assert found.observations.dtype == np.float32 and found.observations.shape == (len(found.actions) + 1, 1)
    assert found.observations[-1] == 0 and found.ended
    assert np.array_equal(found.rewards, -np.ones(len(found.actions)))


@pytest.mark.parametrize(("longest", "steps"), [(None, 9), (4, 4)])
def test_an_episode_that_is_cut_off_has_not_ended(longest: int | None, steps: int) -> None:
    found = episode(Countdown(), lambda s: 0, seed=0, longest=longest)
    assert len(found.actions) == steps
    assert not found.ended
    assert not transitions(found)["done"].any()


def test_nothing_follows_the_last_transition_of_an_episode_that_ended() -> None:
    rows = transitions(episode(Countdown(), lambda s: 1, seed=1))
    assert rows["done"].tolist() == [0.0] * (len(rows["a"]) - 1) + [1.0]
    assert np.array_equal(rows["s"][1:], rows["s2"][:-1])


def test_returns_are_rewards_and_what_follows_them_discounted() -> None:
    np.testing.assert_allclose(returns(np.array([0.0, 0.0, 1.0]), 0.99), [0.9801, 0.99, 1])
    two = [Episode(np.zeros((n + 1, 1), np.float32), np.zeros(n, np.int64), np.ones(n, np.float32), True) for n in (3, 2)]
    assert actions_with_returns(two)["ret"].tolist() == [3, 2, 1, 2, 1]


def test_the_same_seed_and_actions_give_the_same_episode_in_cart_pole() -> None:
    pytest.importorskip("gymnasium", reason="environments come with the package gymnasium")

    def pushed(seed: int) -> Episode:
        return episode(open_environment("CartPole-v1"), lambda s: int(s[2] > 0), seed=seed)

    assert np.array_equal(pushed(3).observations, pushed(3).observations)
    assert not np.array_equal(pushed(3).observations[0], pushed(4).observations[0])


def test_without_gymnasium_its_environments_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(SpecError) as refused:
        open_environment("CartPole-v1")
    assert refused.value.exit_code == 3
    assert "pip install 'dslc[rl]'" in render(refused.value.diagnostics[0])


# --- the replay memory ----------------------------------------------------------------------------------------------------------


def numbers(*values: int) -> Arrays:
    return {"n": np.array(values)}


@pytest.mark.system("replay-buffer")
@pytest.mark.parametrize("pushes", [[[1, 2, 3, 4, 5]], [[1], [2], [3], [4], [5]], [[1, 2], [3, 4, 5]]])
def test_a_memory_holds_the_last_rows_and_draws_each_of_them_equally_often(pushes: list[list[int]]) -> None:
    memory = ReplayMemory(3)
    for push in pushes:
        memory.add(numbers(*push))
    assert len(memory) == 3
    drawn = memory.sample(100_000)["n"]
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [3, 4, 5]
    np.testing.assert_allclose(counts / len(drawn), 1 / 3, rtol=0.02)


@pytest.mark.system("replay-buffer")
def test_draws_follow_from_the_seed_and_come_from_what_is_there() -> None:
    memories = [ReplayMemory(10, seed=seed) for seed in (0, 0, 1)]
    for memory in memories:
        memory.add(numbers(1, 2, 3))
    a, b, c = (memory.sample(20)["n"].tolist() for memory in memories)
    assert a == b != c
    assert set(a) == {1, 2, 3}


def test_what_does_not_belong_into_a_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="1 row or more"):
        ReplayMemory(0)
    memory = ReplayMemory(3)
    with pytest.raises(ValueError, match="empty memory"):
        memory.sample(1)
    with pytest.raises(ValueError, match="different numbers of rows: 1, 2"):
        memory.add({"a": np.zeros(1), "b": np.zeros(2)})
    memory.add({"a": np.zeros(1), "b": np.zeros((1, 2))})
    with pytest.raises(ValueError, match=r"`a` float64\[\], `b` float64\[2\], and these are `a` float64\[\]"):
        memory.add({"a": np.zeros(1)})


# --- steps ----------------------------------------------------------------------------------------------------------------------


def batch(n: int = 4) -> Arrays:
    x = np.linspace(-1, 1, n, dtype=np.float32)[:, None]
    return {"x": x, "y": 3 * x, "kind": np.arange(n) % 3}


@pytest.mark.parametrize("target", ["torch", "jax"])
def test_a_model_has_the_weights_of_when_it_was_refreshed(target: str) -> None:
    training = Online(Source("line.dl", LINE), "Fit", target=target)
    line = training.learned("line", "Line")
    before = line.outputs(x=batch()["x"])["y"]
    losses = [training.step(batch())["loss"] for _ in range(20)]
    assert losses[-1] < 0.2 * losses[0]
    assert np.array_equal(line.outputs(x=batch()["x"])["y"], before)
    line.refresh()
    weights = training.weights("line")
    np.testing.assert_allclose(
        line.outputs(x=batch()["x"])["y"], batch()["x"] @ weights["fc.weight"].T + weights["fc.bias"], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"z": np.zeros(4)}, "the block has no input `z`"),
        ({"kinds": np.zeros(4)}, "did you mean `kind`?"),
        ({"kind": np.array([0, 1, 2, 3])}, "3"),
        ({"kind": np.array([0, 1])}, "different numbers of rows"),
        ({"x": np.zeros((4, 2))}, "the data has float64[4, 2]"),
        ({"x": np.full((4, 1), np.nan)}, "nan"),
    ],
)
def test_a_batch_that_does_not_fit_the_block_is_refused(given: Arrays, message: str) -> None:
    training = Online(Source("line.dl", LINE), "Fit")
    with pytest.raises(SpecError) as refused:
        training.step({**batch(), **given})
    assert message in "\n".join(render(d) for d in refused.value.diagnostics)
    assert training.steps == 0


def test_a_batch_without_an_input_and_a_layer_that_is_not_there_are_refused() -> None:
    training = Online(Source("line.dl", LINE), "Fit")
    with pytest.raises(SpecError, match="y"):
        training.step({name: x for name, x in batch().items() if name != "y"})
    with pytest.raises(SpecError, match="lines"):
        training.learned("lines", "Line")


def test_what_gymnasium_gives_is_an_environment() -> None:
    pytest.importorskip("gymnasium", reason="environments come with the package gymnasium")
    environment: Environment = open_environment("CartPole-v1", max_episode_steps=3)
    assert len(episode(environment, lambda s: 0, seed=0).actions) == 3
