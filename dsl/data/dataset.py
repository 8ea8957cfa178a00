"""Batches of a data set in an order that follows from the seed and the epoch alone, so that a resumed training sees what it would have.

Knows positions and columns; what they hold and whether it fits was settled before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from dsl.data.columns import Column
from dsl.diagnostics import Diagnostic, SpecError

_SPLIT_SEED = 0
"""Which rows are held out depends on nothing but their number: trainings with other seeds are measured on the same rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Some rows of a table, in ascending order."""

    index: np.ndarray

    @property
    def count(self) -> int:
        return len(self.index)

    def in_order(self) -> np.ndarray:
        return self.index

    def shuffled(self, generator: np.random.Generator) -> np.ndarray:
        return generator.permutation(self.index)

    def split(self, held_out: int) -> tuple[Rows, Rows]:
        """Rows chosen at random; the rest comes first."""
        chosen = np.zeros(self.count, dtype=bool)
        chosen[np.random.default_rng(_SPLIT_SEED).permutation(self.count)[:held_out]] = True
        return Rows(self.index[~chosen]), Rows(self.index[chosen])


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of a text from byte `start` up to `stop`: side by side, or as many at random places."""

    start: int
    stop: int
    length: int

    @property
    def count(self) -> int:
        return (self.stop - self.start) // self.length

    def in_order(self) -> np.ndarray:
        return self.start + self.length * np.arange(self.count)

    def shuffled(self, generator: np.random.Generator) -> np.ndarray:
        return generator.integers(self.start, self.stop - self.length + 1, self.count)

    def split(self, held_out: int) -> tuple[Windows, Windows]:
        """The last windows, whole; what comes before them comes first."""
        cut = self.stop - held_out * self.length
        return replace(self, stop=cut), replace(self, start=cut)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Rows that fit the inputs of a block. `sizes` are its symbolic dimensions as the data has them, the batch's excepted; `dtypes`
    the element types that the inputs are delivered in."""

    columns: Mapping[str, Column]
    dtypes: Mapping[str, np.dtype]
    sizes: Mapping[str, int]
    order: Rows | Windows

    @property
    def rows(self) -> int:
        """How many rows there are; of a text, how many windows lie side by side in it."""
        return self.order.count

    def split(self, fraction: float) -> tuple[Dataset, Dataset]:
        """Training and validation: `fraction` of the rows, at least one, is held out. Of a table these are chosen at random, the same
        whatever the seed of the training; of a text they are its end. SpecError where one of the two would be empty."""
        if not 0 < fraction < 1:
            raise SpecError(Diagnostic("DL0838", f"{fraction} of the data cannot be held out", help="a fraction, such as 0.1"), 2)
        held_out = max(1, round(self.rows * fraction))
        if held_out >= self.rows:
            raise SpecError(Diagnostic("DL0838", f"the data has {self._counted()}, and none is left to train on"))
        training, validation = self.order.split(held_out)
        return replace(self, order=training), replace(self, order=validation)

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The rows of those numbers (from 0, in the order of the data), by the name of the input."""
        return self._read(self.order.in_order()[np.asarray(indices)])

    def batch_count(self, batch_size: int, *, drop_last: bool = True) -> int:
        """How many batches an epoch has."""
        return self.rows // batch_size if drop_last else -(-self.rows // batch_size)

    def batches(
        self, batch_size: int, *, seed: int, epoch: int, shuffle: bool = True, drop_last: bool = True, first: int = 0
    ) -> Iterator[dict[str, np.ndarray]]:
        """An epoch from its batch number `first` on, in an order that follows from `seed` and `epoch` (both from 0 upwards) alone.

        SpecError where there are not enough rows for one batch.
        """
        if not self.batch_count(batch_size, drop_last=drop_last):
            message = f"the data has {self._counted()}, and a batch {batch_size}"
            raise SpecError(Diagnostic("DL0838", message, help="take smaller batches"))
        positions = self.order.shuffled(np.random.default_rng([seed, epoch])) if shuffle else self.order.in_order()
        numbers = range(first, self.batch_count(batch_size, drop_last=drop_last))
        return (self._read(positions[n * batch_size : (n + 1) * batch_size]) for n in numbers)

    def _counted(self) -> str:
        unit = "window" if isinstance(self.order, Windows) else "row"
        return f"{self.rows} {unit}{'' if self.rows == 1 else 's'}"

    def _read(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        return {name: column.read(positions).astype(self.dtypes[name], copy=False) for name, column in self.columns.items()}
