"""Inputs of a model from files and from the command line: `.npz`, `.npy`, pictures, or numbers written out.

Knows files and arrays; whether they fit a model is asked of its graph.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from backends.reference import bound_sizes, check_constraints
from dsl.array_files import DAMAGED, read_array, read_member
from dsl.build import numpy_dtype
from dsl.data import pictures
from dsl.diagnostics import Diagnostic, SpecError, did_you_mean
from dsl.files import refuse_special
from dsl.ir import Graph
from dsl.types import DType

CANNOT_READ = 4


def read_inputs(texts: Iterable[str], graph: Graph) -> dict[str, np.ndarray]:
    """Arrays by the name of the input. A text is `a.npz`, `name=FILE`, `name=[[1, 2]]`, or a file alone where there is one input."""
    found: dict[str, np.ndarray] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name.isidentifier():
            if text.endswith(".npz"):
                found |= _read_npz(text)
                continue
            if len(graph.inputs) != 1:
                raise _wrong(f"`{text}` is for which input?", f"write `NAME={text}`; the inputs are {_listed(graph)}")
            name, value = next(iter(graph.inputs)), text
        if name not in graph.inputs:
            raise _no_such_input(name, graph)
        if name in found:
            raise _wrong(f"the input `{name}` is given twice")
        found[name] = _read(name, value, graph)
    return found


def _listed(graph: Graph) -> str:
    return ", ".join(f"`{name}: {graph.type(value)}`" for name, value in graph.inputs.items())


def _wrong(message: str, help: str | None = None) -> SpecError:
    return SpecError(Diagnostic("DL0821", message, help=help), exit_code=2)


def _no_such_input(name: str, graph: Graph) -> SpecError:
    near = did_you_mean(name, graph.inputs)
    return _wrong(f"the model has no input `{name}`", f"did you mean `{near}`?" if near else f"the inputs are {_listed(graph)}")


def _read(name: str, value: str, graph: Graph) -> np.ndarray:
    suffix = Path(value).suffix.lower()
    if value[:1] in "[-0123456789" and not _exists(value):
        return _written(name, value)
    if suffix == ".npy":
        return _read_npy(value)
    if suffix in pictures.SUFFIXES:
        return _read_picture(value, name, graph)
    raise _wrong(f"`{value}` is no input", f"give `{name}` as a .npy file, a picture, or numbers such as `{name}=[[1, 2]]`")


def _exists(value: str) -> bool:
    try:
        return Path(value).exists()
    except (OSError, ValueError):  # too long for a name, or with a NUL in it
        return False


def _written(name: str, value: str) -> np.ndarray:
    try:
        array = np.asarray(json.loads(value))
    except (ValueError, RecursionError) as error:
        long = "set_int_max_str_digits" in str(error)
        reason = "it is nested too deep" if isinstance(error, RecursionError) else "a number is too long" if long else str(error)
        raise _wrong(f"`{name}={_shortened(value)}` is no array of numbers: {reason}") from None
    if array.dtype.kind not in "bif":
        raise _wrong(f"`{name}={_shortened(value)}` is no array of numbers")
    return array


def _shortened(value: str) -> str:
    return value if len(value) <= 80 else f"{value[:77]}..."


def _unreadable(path: str, reason: str) -> SpecError:
    return SpecError(Diagnostic("DL0822", f"cannot read `{path}`: {reason}"), CANNOT_READ)


def _read_npz(path: str) -> dict[str, np.ndarray]:
    refuse_special(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            found = {member.filename.removesuffix(".npy"): read_member(archive, member) for member in members}
    except DAMAGED as error:
        raise _unreadable(path, _reason(error)) from None
    if len(found) < len(members):
        raise _unreadable(path, "an array is in it twice")
    return found


def _read_npy(path: str) -> np.ndarray:
    refuse_special(path)
    try:
        with open(path, "rb") as file:
            return read_array(file, os.fstat(file.fileno()).st_size)
    except DAMAGED as error:
        raise _unreadable(path, _reason(error)) from None


def _reason(error: Exception) -> str:
    return error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)


def _read_picture(path: str, name: str, graph: Graph) -> np.ndarray:
    """A picture as the input wants it: float[.., C, H, W] from 0 to 1, with 1 or 3 channels."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ModuleNotFoundError:
        raise SpecError(
            Diagnostic("DL0708", "reading pictures needs the package `pillow`", help="pip install 'dslc[image]'"), exit_code=3
        ) from None
    refuse_special(path)
    type_ = graph.type(graph.inputs[name])
    channels = type_.shape[-3] if type_.rank >= 3 else None
    if channels not in (1, 3) or not type_.dtype.is_float or type_.rank > 4:
        raise _wrong(f"`{name}` is {type_}, which is no picture: float[3, H, W] or float[B, 3, H, W] would be, or one channel")
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, _reason(error)) from None
    planes = pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
    array = planes.astype(np.float32) / 255
    return array[None] if type_.rank == 4 else array


def fitted(graph: Graph, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs in the order and the element types of the graph; SpecError where names, types, shapes or requirements are not met."""
    for name in given:
        if name not in graph.inputs:
            raise _no_such_input(name, graph)
    missing = [name for name in graph.inputs if name not in given]
    if missing:
        raise _wrong(f"no value for {', '.join(f'`{m}`' for m in missing)}", f"the inputs are {_listed(graph)}")
    found = {name: _cast(name, np.asarray(given[name]), graph.type(value).dtype) for name, value in graph.inputs.items()}
    check_constraints(graph, bound_sizes(graph, found))
    return found


def _cast(name: str, array: np.ndarray, dtype: DType) -> np.ndarray:
    kinds = {"b": "bool", "i": "integer", "u": "integer", "f": "floating"}
    allowed = "buif" if dtype.is_float else "bui" if dtype.is_int else "b"
    if array.dtype.kind not in allowed:
        found = kinds.get(array.dtype.kind, str(array.dtype))
        raise _wrong(f"`{name}` is {dtype}, and {found} values are given")
    if dtype.is_int and array.size:
        limits = np.iinfo(numpy_dtype(dtype))
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            raise _wrong(f"`{name}` is {dtype}, and {low if low < limits.min else high} does not fit in it")
    return array if dtype is DType.BF16 else array.astype(numpy_dtype(dtype), copy=False)
