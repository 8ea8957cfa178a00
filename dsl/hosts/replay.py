"""A replay memory: the last transitions of an agent, from which batches are drawn. Lin 1992; Mnih et al. 2015."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class ReplayMemory:
    """The last `capacity` rows, whatever they have; what is drawn follows from the seed."""

    def __init__(self, capacity: int, *, seed: int = 0) -> None:
        if capacity < 1:
            raise ValueError(f"a memory holds 1 row or more, not {capacity}")
        self.capacity = capacity
        self._random = np.random.default_rng(seed)
        self._kept: dict[str, np.ndarray] = {}
        self._added = 0

    def __len__(self) -> int:
        return min(self._added, self.capacity)

    def add(self, rows: Mapping[str, np.ndarray]) -> None:
        """Put rows in, and the oldest out where there is no more room. ValueError for rows that are not like the ones before."""
        counts = {len(values) for values in rows.values()}
        if len(counts) != 1:
            raise ValueError(
                f"the arrays have different numbers of rows: {', '.join(map(str, sorted(counts))) or 'there are none'}"
            )
        if not self._kept:
            self._kept = {name: np.zeros((self.capacity, *values.shape[1:]), values.dtype) for name, values in rows.items()}
        (count,) = counts
        found, known = _kinds(rows), _kinds(self._kept)
        if found != known:
            raise ValueError(f"the memory has rows of {known}, and these are {found}")
        last = np.arange(max(0, count - self.capacity), count)
        for name, values in rows.items():
            self._kept[name][(self._added + last) % self.capacity] = values[last]
        self._added += count

    def sample(self, count: int) -> dict[str, np.ndarray]:
        """Rows drawn with replacement, each with the same probability."""
        if not self._added:
            raise ValueError("nothing can be drawn from an empty memory")
        chosen = self._random.integers(len(self), size=count)
        return {name: values[chosen] for name, values in self._kept.items()}


def _kinds(rows: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"`{name}` {values.dtype}{list(values.shape[1:])}" for name, values in sorted(rows.items()))
