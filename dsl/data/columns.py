"""The values of one input, row by row, wherever they are: in memory, in a mapped file, in a text.

Nothing here reads more than it is asked for, so data may be larger than the memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dsl.types import TensorType

CHUNK_BYTES = 1 << 24
"""About how many bytes are looked at at once when all values are checked."""


class Column(Protocol):
    """Values of the shape `shape` at each of `count` positions. `limits` are the least and the largest possible value, where that is
    known unread; `unit` is what a position is called in messages."""

    @property
    def count(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def limits(self) -> tuple[int, int] | None: ...
    @property
    def unit(self) -> str: ...

    def read(self, positions: np.ndarray) -> np.ndarray:
        """The values at those positions, [len(positions), *shape], in memory."""

    def chunks(self) -> Iterator[np.ndarray]:
        """All values in order, a part at a time; the first axis counts units."""


@dataclass(frozen=True, slots=True, eq=False)
class ArrayColumn:
    """The rows of an array, which may be a mapped file."""

    array: np.ndarray
    limits: tuple[int, int] | None = None
    unit: str = "row"

    @property
    def count(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def read(self, positions: np.ndarray) -> np.ndarray:
        return np.asarray(self.array[positions])

    def chunks(self) -> Iterator[np.ndarray]:
        row_bytes = max(1, self.array.nbytes // max(1, len(self.array)))
        step = max(1, CHUNK_BYTES // row_bytes)
        for start in range(0, len(self.array), step):
            yield np.asarray(self.array[start : start + step])


@dataclass(frozen=True, slots=True, eq=False)
class TextColumn:
    """Windows of `window` bytes; a position is that of the first byte."""

    data: np.ndarray
    window: int
    limits: tuple[int, int] | None = None
    unit: str = "byte"

    @property
    def count(self) -> int:
        return len(self.data)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.window,)

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    def read(self, positions: np.ndarray) -> np.ndarray:
        return np.asarray(self.data[positions[:, None] + np.arange(self.window)])

    def chunks(self) -> Iterator[np.ndarray]:
        yield from ArrayColumn(self.data).chunks()


@dataclass(frozen=True, slots=True, eq=False)
class ScaledColumn:
    """Bytes as numbers from 0 to 1: each value divided by the largest possible one."""

    raw: Column
    top: int
    dtype: np.dtype
    limits: tuple[int, int] | None = (0, 1)

    @property
    def count(self) -> int:
        return self.raw.count

    @property
    def shape(self) -> tuple[int, ...]:
        return self.raw.shape

    @property
    def unit(self) -> str:
        return self.raw.unit

    def read(self, positions: np.ndarray) -> np.ndarray:
        return self._scaled(self.raw.read(positions))

    def chunks(self) -> Iterator[np.ndarray]:
        yield from map(self._scaled, self.raw.chunks())

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values.astype(self.dtype) / self.dtype.type(self.top))


class Source(Protocol):
    """Something that `--data` names. `name` is what the user wrote."""

    @property
    def name(self) -> str: ...

    def has(self, member: str) -> bool:
        """Whether `member` may stand after the colon; where it is a name of the file's own, `columns` says so if it is not there."""

    def columns(self, wanted: Mapping[str, TensorType], sizes: Mapping[str, int]) -> dict[str, Column]:
        """A column for each of the inputs in `wanted`; SpecError where their names do not fit. Shapes are compared by the caller."""
