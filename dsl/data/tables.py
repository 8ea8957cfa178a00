"""Tables in `.csv` and `.parquet` files, read by pyarrow into memory, the needed columns only.

An input of rank 1 is the column of its name. An input of rank 2 is the columns `x0`, `x1`, ... (or `x_0`, `x_1`, ...) of its name, or
else one column of lists, or else every numeric column that no other input takes, in the order of the file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count, takewhile
from typing import TYPE_CHECKING

import numpy as np

from dsl.data.columns import ArrayColumn, Column
from dsl.data.problems import declared, listed, missing_package, unmatched, unreadable, why
from dsl.diagnostics import did_you_mean
from dsl.types import TensorType

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, slots=True)
class TableFile:
    """A `.csv` file, whose first line names the columns, or a `.parquet` file."""

    name: str
    parquet: bool

    def has(self, member: str) -> bool:
        return True

    def columns(self, wanted: Mapping[str, TensorType], sizes: Mapping[str, int]) -> dict[str, Column]:
        for name, type_ in wanted.items():
            if type_.rank > 2:
                raise unmatched(
                    f"`{name}: {type_}` has more axes than a table",
                    help=f"declare `{name}` with two axes and reshape it in the block, or give a .npy file",
                )
        arrow = _read(self.name, self.parquet)
        table = _Table(self.name, arrow, frozenset(arrow.column_names))
        taken = table.taken(wanted)
        missing = {name: type_ for name, type_ in wanted.items() if name not in taken}
        if missing:
            raise _other_names(self.name, missing, table.free(taken.values()))
        return {name: ArrayColumn(table.array(taken[name], wanted[name].rank)) for name in wanted}


def _read(path: str, parquet: bool) -> pyarrow.Table:
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise missing_package("pyarrow", f"reading `{path}`") from None
    try:
        table = pyarrow.parquet.read_table(path) if parquet else pyarrow.csv.read_csv(path)
        names = Counter(table.column_names)
    except (pyarrow.ArrowException, OSError) as error:
        raise unreadable(path, why(error)) from None
    except UnicodeDecodeError:
        raise unreadable(path, "the name of a column is not UTF-8") from None
    if not table.num_rows:
        raise unreadable(path, "there are no rows in it")
    twice = [name for name, times in names.items() if times > 1]
    if twice:
        raise unreadable(path, f"there are two columns {listed(twice)}")
    if not parquet and all(re.fullmatch(r"\s*[-+\d.][-+\d.eE]*\s*", name) for name in names):
        raise unreadable(path, "its first line has numbers", "the first line names the columns, as in `x0,x1,label`")
    return table


@dataclass(frozen=True, slots=True)
class _Table:
    path: str
    table: pyarrow.Table
    names: frozenset[str]

    def taken(self, wanted: Mapping[str, TensorType]) -> dict[str, list[str]]:
        """The columns of each input. An input that finds none is not in the answer."""
        found = {name: self._by_name(name, type_.rank) for name, type_ in wanted.items()}
        without = [name for name, columns in found.items() if not columns]
        if len(without) == 1 and wanted[without[0]].rank == 2:
            found[without[0]] = [name for name in self.free(found.values()) if self._is_numeric(name)]
        return {name: columns for name, columns in found.items() if columns}

    def free(self, taken: Iterable[list[str]]) -> list[str]:
        """The columns that no input has, in the order of the file."""
        used = {name for columns in taken for name in columns}
        return [name for name in self.table.column_names if name not in used]

    def _by_name(self, name: str, rank: int) -> list[str]:
        if name in self.names and (rank == 1 or self._is_list(name)):
            return [name]
        series = [f"{name}{joint}" for joint in ("", "_") if f"{name}{joint}0" in self.names]
        if rank == 1 or not series:
            return []
        return list(takewhile(self.names.__contains__, (f"{series[0]}{i}" for i in count())))

    def _is_list(self, name: str) -> bool:
        return "list" in str(self.table.schema.field(name).type)

    def _is_numeric(self, name: str) -> bool:
        arrow = str(self.table.schema.field(name).type)
        return arrow in ("bool", "halffloat", "float", "double") or re.fullmatch(r"u?int(8|16|32|64)", arrow) is not None

    def array(self, columns: list[str], rank: int) -> np.ndarray:
        """A column, or several side by side."""
        arrays = [self._values(name) for name in columns]
        return arrays[0] if rank == 1 or arrays[0].ndim == 2 else np.stack(arrays, axis=1)

    def _values(self, name: str) -> np.ndarray:
        column = self.table.column(name)
        if column.null_count:
            row = int(np.argmax(np.asarray(column.is_null())))
            raise unreadable(
                self.path, f"row {row} has no `{name}` (rows are counted from 0)", "fill it in, or leave the row out"
            )
        if self._is_list(name):
            return self._lists(name)
        if not self._is_numeric(name):
            message = f"the column `{name}` of `{self.path}` holds {column.type}, and no numbers"
            raise unmatched(message, help="number the classes from 0")
        return np.asarray(column.to_numpy())

    def _lists(self, name: str) -> np.ndarray:
        column = self.table.column(name)
        rows = [np.asarray(row) for row in column.to_pylist()]
        lengths = {len(row) for row in rows}
        if len(lengths) > 1:
            raise unmatched(f"the lists in the column `{name}` of `{self.path}` have {min(lengths)} to {max(lengths)} numbers")
        return np.stack(rows)


def _other_names(path: str, missing: Mapping[str, TensorType], free: list[str]) -> Exception:
    vectors = [name for name, type_ in missing.items() if type_.rank == 1]
    matrices = [name for name in missing if name not in vectors]
    if vectors and len(matrices) == 1:  # it would have what is left
        matrices = []
    columns = [f"{name}={path}:{did_you_mean(name, free) or 'COLUMN'}" for name in vectors]
    return unmatched(
        f"`{path}` has no column for {declared({name: missing[name] for name in vectors + matrices})}",
        notes=[
            f"other columns are {listed(free)}" if free else "all its columns are taken",
            *(f"columns `{name}0`, `{name}1`, ... would make up `{name}`" for name in matrices),
        ],
        help=f"say which is meant: `--data {','.join([path, *columns])}`" if columns else None,
    )
