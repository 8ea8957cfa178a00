"""Arrays in `.npy` and `.npz` files, mapped into memory and not read. Members of a `.npz` can be mapped where they are stored
uncompressed, as `np.savez` does; those of `np.savez_compressed` are read whole."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from dsl.array_files import DAMAGED, member_header, read_header, read_member
from dsl.data.columns import ArrayColumn, Column
from dsl.data.problems import declared, listed, unmatched, unreadable, why
from dsl.diagnostics import did_you_mean
from dsl.types import TensorType

_LOCAL_HEADER = 30
"""The fixed part of what stands before a member of a zip file; its bytes 26 to 29 are the lengths of the name and of the extra."""


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """A `.npy` file: one array without a name, for the one input that is asked of it."""

    name: str

    def has(self, member: str) -> bool:
        return False

    def columns(self, wanted: Mapping[str, TensorType], sizes: Mapping[str, int]) -> dict[str, Column]:
        if len(wanted) != 1:
            raise unmatched(
                f"`{self.name}` has one array, and there are the inputs {declared(wanted)}",
                help="name a file for each: " + ",".join(f"{n}=FILE" for n in wanted),
            )
        (name,) = wanted
        try:
            with open(self.name, "rb") as file:
                return {name: ArrayColumn(_mapped(self.name, file, os.fstat(file.fileno()).st_size))}
        except DAMAGED as error:
            raise unreadable(self.name, why(error)) from None


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """A `.npz` file: arrays by name."""

    name: str

    def has(self, member: str) -> bool:
        return True

    def columns(self, wanted: Mapping[str, TensorType], sizes: Mapping[str, int]) -> dict[str, Column]:
        try:
            with zipfile.ZipFile(self.name) as archive:
                members = self._members(archive)
                if any(name not in members for name in wanted):
                    raise _other_names(self.name, wanted, {n: _described(archive, m) for n, m in members.items()})
                return {name: ArrayColumn(self._array(archive, members[name])) for name in wanted}
        except DAMAGED as error:
            raise unreadable(self.name, why(error)) from None

    def _members(self, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
        arrays = [m for m in archive.infolist() if m.filename.endswith(".npy")]
        found = {m.filename.removesuffix(".npy"): m for m in arrays}
        if not found:
            raise unreadable(self.name, "there is no array in it")
        if len(found) < len(arrays):
            raise unreadable(self.name, "an array is in it twice")
        return found

    def _array(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            return read_member(archive, member)
        with open(self.name, "rb") as file:
            file.seek(member.header_offset)
            header = file.read(_LOCAL_HEADER)
            file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
            return _mapped(self.name, file, file.tell() + member.file_size)


def _other_names(path: str, wanted: Mapping[str, TensorType], found: Mapping[str, str]) -> Exception:
    missing = {name: type_ for name, type_ in wanted.items() if name not in found}
    free = [name for name in found if name not in wanted]
    near = {name: did_you_mean(name, free) or "ARRAY" for name in missing}
    if len(free) == len(missing) and "ARRAY" in near.values():
        near = dict(zip(missing, free, strict=True))
    parts = [path] * (len(missing) < len(wanted)) + [f"{name}={path}:{other}" for name, other in near.items()]
    return unmatched(
        f"`{path}` has no array for {declared(missing)}",
        notes=[f"it has {listed(f'{name}: {text}' for name, text in found.items())}"],
        help=f"say which is meant: `--data {','.join(parts)}`",
    )


def _described(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    return str(member_header(archive, member))


def _mapped(path: str, file: BinaryIO, stop: int) -> np.ndarray:
    """The array that begins where the file stands, and has to end before byte `stop`."""
    header = read_header(file, stop)
    if not header.shape:
        raise unreadable(path, "it holds one number and no rows")
    if 0 in header.shape:
        return np.empty(header.shape, header.dtype)
    return np.memmap(path, header.dtype, "r", file.tell(), header.shape, "F" if header.fortran else "C")
