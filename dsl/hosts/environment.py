"""Environments that an agent acts in, in the interface of Gymnasium, and what episodes in them give: batches for `train` blocks.

An environment is a program of its own, no part of a graph: no gradient passes it. Any object with `reset` and `step` will do; Gymnasium's
own come with `pip install 'dslc[rl]'`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import ArrayLike

from dsl.diagnostics import Diagnostic, SpecError

Arrays = Mapping[str, np.ndarray]


class Environment(Protocol):
    """One that starts anew with `reset`, and answers an action with observation, reward, whether the episode has ended, whether it was
    cut off, and remarks (`gymnasium.Env`)."""

    def reset(self, *, seed: int | None = None) -> tuple[ArrayLike, dict[str, object]]: ...

    def step(self, action: int, /) -> tuple[ArrayLike, float, bool, bool, dict[str, object]]: ...


Act = Callable[[np.ndarray], int]
"""The action on an observation."""


@dataclass(frozen=True, slots=True)
class Episode:
    """What happened, an array each: one observation more than actions and rewards. `ended` is whether nothing can follow; an episode that
    was only cut off would have gone on."""

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    ended: bool


def open_environment(name: str, **settings: object) -> Environment:
    """An environment that Gymnasium has under this name, such as `CartPole-v1`."""
    try:
        import gymnasium
    except ModuleNotFoundError:
        message = f"the environment `{name}` needs the package `gymnasium`"
        raise SpecError(Diagnostic("DL0708", message, help="pip install 'dslc[rl]'"), exit_code=3) from None
    return cast(Environment, gymnasium.make(name, **settings))  # type: ignore[arg-type]  # settings of that environment


def episode(environment: Environment, act: Act, *, seed: int, longest: int | None = None) -> Episode:
    """Act until the environment ends or cuts off the episode, or `longest` steps. The same seed and actions give the same episode."""
    seen, _ = environment.reset(seed=seed)
    observations = [_observed(seen)]
    actions: list[int] = []
    rewards: list[float] = []
    ended = cut = False
    while not (ended or cut) and (longest is None or len(actions) < longest):
        action = act(observations[-1])
        seen, reward, ended, cut, _ = environment.step(action)
        observations.append(_observed(seen))
        actions.append(action)
        rewards.append(float(reward))
    return Episode(np.stack(observations), np.array(actions, np.int64), np.array(rewards, np.float32), bool(ended))


def returns(rewards: np.ndarray, gamma: float = 1.0) -> np.ndarray:
    """The return that followed each action: its reward and, discounted, those after it."""
    found = np.zeros(len(rewards), np.float32)
    following = 0.0
    for i in reversed(range(len(rewards))):
        following = float(rewards[i]) + gamma * following
        found[i] = following
    return found


def actions_with_returns(episodes: list[Episode], gamma: float = 1.0) -> Arrays:
    """A row for each action, for a block such as REINFORCE: `s` what was seen, `a` what was done, `ret` the return that followed."""
    return {
        "s": np.concatenate([e.observations[:-1] for e in episodes]),
        "a": np.concatenate([e.actions for e in episodes]),
        "ret": np.concatenate([returns(e.rewards, gamma) for e in episodes]),
    }


def transitions(found: Episode) -> Arrays:
    """A row for each action, for a block such as DQN: `s`, `a`, the reward `r`, what was seen next `s2`, and `done`, 1 where nothing
    follows. The last of an episode that was cut off is not done."""
    done = np.zeros(len(found.actions), np.float32)
    done[-1:] = found.ended
    return {"s": found.observations[:-1], "a": found.actions, "r": found.rewards, "s2": found.observations[1:], "done": done}


def _observed(seen: ArrayLike) -> np.ndarray:
    """An observation as an array; fractions in 32 bits."""
    array = np.asarray(seen)
    return array.astype(np.float32) if array.dtype.kind == "f" else array
