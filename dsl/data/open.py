"""From what the user wrote after `--data` to a data set that fits a block.

A text is a file, a folder or a name (`digits`), or several of them for several inputs: `image=x.npy,label=table.csv:kind`. What stands
after a colon is the array or column of the file that is meant.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsl.build import numpy_dtype
from dsl.data import text
from dsl.data.arrays import ArchiveFile, ArrayFile
from dsl.data.columns import Column, Source, TextColumn
from dsl.data.dataset import Dataset, Rows, Windows
from dsl.data.fit import batch_axis, bound_sizes, check_counts, check_values
from dsl.data.named import NAMED
from dsl.data.pictures import open_pictures
from dsl.data.problems import COMMAND_LINE, declared, listed, unknown, unmatched, unreadable
from dsl.data.tables import TableFile
from dsl.diagnostics import did_you_mean
from dsl.files import refuse_special
from dsl.types import TensorType


def open_data(
    spec: str, wanted: Mapping[str, TensorType], *, sizes: Mapping[str, int], ranges: Mapping[str, tuple[int, int]]
) -> Dataset:
    """The data that `spec` names, for the inputs `wanted`.

    `sizes` are symbolic dimensions that the user gives; the others follow from the data. `ranges` are the values that integer inputs
    may have, half open; all of them are looked at, a part at a time. SpecError where anything does not fit.
    """
    if not wanted:
        raise unmatched("the block has no inputs, and data is given", exit_code=COMMAND_LINE)
    batch = batch_axis(wanted)
    columns = _columns(spec, wanted, sizes)
    count = check_counts(columns)
    found = bound_sizes(wanted, columns, sizes, batch)
    check_values(wanted, columns, ranges)
    dtypes = {name: numpy_dtype(type_.dtype) for name, type_ in wanted.items()}
    return Dataset(columns, dtypes, found, _order(columns, count))


def _order(columns: Mapping[str, Column], count: int) -> Rows | Windows:
    texts = {name: column for name, column in columns.items() if isinstance(column, TextColumn)}
    if not texts:
        return Rows(np.arange(count))
    if len(columns) > 1:
        raise unmatched(f"`{next(iter(texts))}` is a text, which has no rows to go with other inputs")
    return Windows(0, count, next(iter(texts.values())).window)


# --- what the user wrote ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """`input` is None for data that is matched by the names in it; `member` is what stands after the colon."""

    input: str | None
    place: str
    member: str | None


def _columns(spec: str, wanted: Mapping[str, TensorType], sizes: Mapping[str, int]) -> dict[str, Column]:
    found: dict[str, Column] = {}
    for place, keys in _requests(_parts(spec, wanted), wanted):
        source = _source(place, [key for key, name in keys.items() if key != name])
        columns = source.columns({key: wanted[name] for key, name in keys.items()}, sizes)
        found |= {name: columns[key] for key, name in keys.items()}
    missing = {name: type_ for name, type_ in wanted.items() if name not in found}
    if missing:
        raise unmatched(f"no data for {declared(missing)}", help=f"add `{next(iter(missing))}=FILE`", exit_code=COMMAND_LINE)
    return {name: found[name] for name in wanted}


def _requests(parts: list[_Part], wanted: Mapping[str, TensorType]) -> list[tuple[str, dict[str, str]]]:
    """For each place what is asked of it at once: the input by the name that it has there. A table has to know all of its columns that
    are taken, so that what is left can be an input."""
    named = {part.input for part in parts}
    requests: list[tuple[str, dict[str, str]]] = []
    for part in parts:
        keys = {part.member or part.input: part.input} if part.input else {name: name for name in wanted if name not in named}
        same = next((others for place, others in requests if place == part.place and not others.keys() & keys.keys()), None)
        if same is None:
            requests.append((part.place, keys))
        else:
            same.update(keys)
    return requests


def _parts(spec: str, wanted: Mapping[str, TensorType]) -> list[_Part]:
    parts = [_part(word) for word in ([spec] if _exists(spec) else spec.split(","))]
    inputs = [part.input for part in parts]
    for name in inputs:
        if name is not None and name not in wanted:
            near = did_you_mean(name, wanted)
            help = f"did you mean `{near}`?" if near else f"the inputs are {declared(wanted)}"
            raise unmatched(f"the block has no input `{name}`", help=help, exit_code=COMMAND_LINE)
        if inputs.count(name) > 1:
            what = f"`{name}` is given twice" if name else "two parts of the data are for no input by name"
            raise unmatched(what, help="write `--data NAME=FILE,NAME=FILE`", exit_code=COMMAND_LINE)
    if None in inputs and len([name for name in inputs if name]) == len(wanted):
        raise unmatched("all inputs are given by name, and there is more data", exit_code=COMMAND_LINE)
    return parts


def _part(word: str) -> _Part:
    name, separator, rest = word.partition("=")
    if not separator or not name.strip().isidentifier() or _exists(word):
        return _Part(None, word.strip(), None)
    place, colon, member = rest.rpartition(":")
    if colon and member and place and not _exists(rest):
        return _Part(name.strip(), place.strip(), member.strip())
    return _Part(name.strip(), rest.strip(), None)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long for a name, or with a NUL in it
        return False


# --- which reader -----------------------------------------------------------------------------------------------------------------

_KNOWN = (
    f"a .npz, .npy, .csv or .parquet file, a text ({', '.join(text.SUFFIXES)}), a folder of pictures, or one of {listed(NAMED)}"
)


def _source(place: str, members: Iterable[str]) -> Source:
    source = _opened(place)
    for member in members:
        if not source.has(member):
            raise unmatched(f"there is no `{member}` in `{place}`", exit_code=COMMAND_LINE)
    return source


def _opened(place: str) -> Source:
    if place in NAMED:
        return NAMED[place]()
    if os.path.isdir(place):
        return open_pictures(place)
    suffix = Path(place).suffix.lower()
    if not _exists(place):
        raise _nothing_there(place)
    refuse_special(place)
    match suffix:
        case ".npy":
            return ArrayFile(place)
        case ".npz":
            return ArchiveFile(place)
        case ".csv" | ".parquet":
            return TableFile(place, suffix == ".parquet")
        case _ if suffix in text.SUFFIXES:
            return text.open_text(place)
    raise unknown(f"`{place}` is of no kind that is known", f"data is {_KNOWN}")


def _nothing_there(place: str) -> Exception:
    """The file is missing, or the name is not known."""
    if not place:
        return unknown("no data is named", f"data is {_KNOWN}")
    folder = Path(place).parent
    beside = [str(folder / name) for name in os.listdir(folder)] if folder.is_dir() and "\0" not in place else []
    near = did_you_mean(place, [*NAMED, *beside])
    help = f"did you mean `{near}`?" if near else None if Path(place).suffix else f"data is {_KNOWN}"
    return unreadable(place, "there is no such file", help)
