"""Whether columns fit the inputs: the same number of rows, shapes, element types, values. All of it before anything starts.

Symbolic dimensions get their sizes here, from the data or from the user.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dsl.build import numpy_dtype
from dsl.data.columns import Column, TextColumn
from dsl.diagnostics import Diagnostic, SpecError
from dsl.dims import Symbol, as_symbol, evaluate, format_dim, symbols_of
from dsl.types import DType, TensorType

_MANTISSA = {DType.F16: 11, DType.BF16: 8, DType.F32: 24, DType.F64: 53}
"""Whole numbers up to two to this power are exact in the type."""


def batch_axis(wanted: Mapping[str, TensorType]) -> str:
    """The symbol that the first axis of all inputs is."""
    first = {name: as_symbol(type_.shape[0]) if type_.rank else None for name, type_ in wanted.items()}
    for name, type_ in wanted.items():
        if first[name] is None:
            raise _no_batch(f"`{name}` is {type_}, whose first axis is no batch", name, type_)
    symbols = {name: symbol.name for name, symbol in first.items() if symbol is not None}
    batch = next(iter(symbols.values()))
    for name, type_ in wanted.items():
        if symbols[name] != batch:
            one = next(iter(wanted))
            raise _no_batch(f"the batches of `{one}` and `{name}` have the sizes {batch} and {symbols[name]}", name, type_)
        if any(batch in symbols_of(dim) for dim in type_.shape[1:]):
            raise _no_batch(f"`{name}` is {type_}: another axis than the first depends on the size of the batch", name, type_)
    return batch


def _no_batch(message: str, name: str, type_: TensorType) -> SpecError:
    rest = "".join(f", {format_dim(dim)}" for dim in type_.shape[1:])
    return SpecError(
        Diagnostic("DL0839", message, help=f"a batch has the same free size everywhere, as in `{name}: {type_.dtype}[B{rest}]`")
    )


def check_counts(columns: Mapping[str, Column]) -> int:
    """The number of rows, which is the same everywhere and not 0."""
    counts = {name: column.count for name, column in columns.items()}
    if len(set(counts.values())) > 1:
        notes = [f"`{name}` has {count}" for name, count in counts.items()]
        raise SpecError(Diagnostic("DL0834", "the inputs have different numbers of rows", notes=tuple(notes)))
    count = next(iter(counts.values()))
    if not count:
        raise SpecError(Diagnostic("DL0832", "there are no rows in the data"), exit_code=4)
    return count


# --- shapes -----------------------------------------------------------------------------------------------------------------------


def bound_sizes(
    wanted: Mapping[str, TensorType], columns: Mapping[str, Column], given: Mapping[str, int], batch: str
) -> dict[str, int]:
    """The sizes of all symbols but the batch's; SpecError with each shape that does not fit."""
    known = {symbol for type_ in wanted.values() for dim in type_.shape[1:] for symbol in symbols_of(dim)}
    sizes = {name: size for name, size in given.items() if name in known}
    origin = dict.fromkeys(sizes, "as you say")
    for name, type_ in wanted.items():
        for dim, size in zip(type_.shape[1:], columns[name].shape, strict=False):
            symbol = as_symbol(dim)
            if symbol is not None and symbol.name not in sizes and _allowed(symbol, size):
                sizes[symbol.name], origin[symbol.name] = size, f"as `{name}` has it"
    problems = [
        _misshapen(name, type_, columns[name], sizes, origin)
        for name, type_ in wanted.items()
        if not _shape_fits(type_, columns[name].shape, sizes)
    ]
    if problems:
        raise SpecError(problems)
    return sizes


def _allowed(symbol: Symbol, size: int) -> bool:
    return size >= symbol.low and size % symbol.multiple == 0


def _shape_fits(type_: TensorType, shape: tuple[int, ...], sizes: Mapping[str, int]) -> bool:
    if type_.rank != len(shape) + 1:
        return False
    dims = type_.shape[1:]
    return all(set(symbols_of(d)) <= set(sizes) and evaluate(d, sizes) == n for d, n in zip(dims, shape, strict=True))


def _misshapen(name: str, type_: TensorType, column: Column, sizes: Mapping[str, int], origin: Mapping[str, str]) -> Diagnostic:
    found = f"{column.dtype}[{', '.join(map(str, (column.count, *column.shape)))}]"
    used = sorted({symbol for dim in type_.shape[1:] for symbol in symbols_of(dim)})
    notes = [f"{symbol} = {sizes[symbol]}, {origin[symbol]}" for symbol in used if symbol in sizes]
    notes += [f"{symbol} has to be a multiple of {s.multiple}" for symbol, s in _facts(type_).items() if s.multiple > 1]
    return Diagnostic("DL0834", f"`{name}` is {type_}, and the data has {found}", notes=tuple(notes))


def _facts(type_: TensorType) -> dict[str, Symbol]:
    return {symbol.name: symbol for symbol in map(as_symbol, type_.shape[1:]) if symbol is not None}


# --- element types and values -----------------------------------------------------------------------------------------------------


def check_values(wanted: Mapping[str, TensorType], columns: Mapping[str, Column], ranges: Mapping[str, tuple[int, int]]) -> None:
    """SpecError unless each value is exact in the type of its input, finite, and in its range (half open). Data is read in parts, and
    only where its type leaves a doubt."""
    kinds = [_kind_problem(name, type_, columns[name]) for name, type_ in wanted.items()]
    found = [problem for problem in kinds if problem is not None]
    if not found:
        found = [p for name, type_ in wanted.items() for p in _value_problem(name, type_, columns[name], ranges.get(name))]
    if found:
        raise SpecError(found)


def _kind_problem(name: str, type_: TensorType, column: Column) -> Diagnostic | None:
    """Floating values may turn out to be whole; complex numbers, text and dates never do."""
    if column.dtype.kind in "buif":
        return None
    return Diagnostic("DL0835", f"`{name}` is {type_}, and the data has {column.dtype}, which are no numbers of any spec")


def _value_problem(name: str, type_: TensorType, column: Column, within: tuple[int, int] | None) -> Iterator[Diagnostic]:
    bounds = _bounds(type_.dtype)
    low, high = (max(bounds[0], within[0]), min(bounds[1], within[1] - 1)) if within else bounds
    possible = column.limits or _limits(column.dtype)
    certain = possible is not None and low <= possible[0] and possible[1] <= high
    if certain and (type_.dtype.is_float or column.dtype.kind != "f"):
        return
    start = 0
    for chunk in column.chunks():
        bad = _bad(chunk, low, high, type_.dtype)
        if bad.any():
            place = np.unravel_index(int(np.argmax(bad)), bad.shape)
            yield _bad_value(name, type_, column, start + int(place[0]), chunk[place].item(), within)
            return
        start += len(chunk)


def _bounds(dtype: DType) -> tuple[int, int]:
    """Between these every whole number is exact in the type."""
    if dtype is DType.BOOL:
        return 0, 1
    if dtype.is_float:
        return -(2 ** _MANTISSA[dtype]), 2 ** _MANTISSA[dtype]
    limits = np.iinfo(numpy_dtype(dtype))
    return int(limits.min), int(limits.max)


def _limits(dtype: np.dtype) -> tuple[int, int] | None:
    if dtype.kind == "b":
        return 0, 1
    return (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) if dtype.kind in "iu" else None


def _bad(values: np.ndarray, low: int, high: int, dtype: DType) -> np.ndarray:
    """Where a value is not allowed. Floating values of a floating input need only be finite in it: rounding them loses no meaning."""
    if values.dtype.kind != "f":
        return np.asarray((values < low) | (values > high))
    values = values.astype(np.float64, copy=False)
    if dtype.is_float:
        return np.asarray(~(np.abs(values) <= np.finfo(numpy_dtype(dtype)).max))
    return np.asarray(~((values >= low) & (values < high + 1) & (values == np.floor(values))))


def _bad_value(
    name: str, type_: TensorType, column: Column, place: int, value: float, within: tuple[int, int] | None
) -> Diagnostic:
    where = f"{column.unit} {place} of `{name}` is {value!r}"
    counted = (f"{column.unit}s are counted from 0",)
    if not np.isfinite(value):
        return Diagnostic("DL0836", where, notes=counted, help="leave the row out, or fill in what is missing")
    if not type_.dtype.is_float and value != np.floor(value):
        return Diagnostic("DL0835", f"{where}, and `{name}` is {type_}: it would be rounded", notes=counted)
    if within is not None and not within[0] <= value < within[1]:
        text = f"{where}, and the block takes {within[0]} to {within[1] - 1}"
        return Diagnostic("DL0836", text, notes=counted, help=_hint(column, value, within))
    return Diagnostic("DL0835", f"{where}, which {type_.dtype} does not hold exactly", notes=counted)


def _hint(column: Column, value: float, within: tuple[int, int]) -> str | None:
    if isinstance(column, TextColumn):
        return "a text is bytes, from 0 to 255: 256 words"
    return "classes are counted from 0" if value == within[1] else None
