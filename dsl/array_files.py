"""Arrays in `.npy` files and in members of `.npz` archives. What a header says is compared with the size of the file before anything is
allocated for it, and arrays of Python objects are never opened: that could run code."""

from __future__ import annotations

import sys
import zipfile
import zlib
from math import prod
from tokenize import TokenError
from typing import IO, NamedTuple

import numpy as np

DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, RuntimeError, NotImplementedError)
"""What reading a file of arrays raises where it is damaged: RuntimeError is what an encrypted archive gives, NotImplementedError one of an
unknown compression, ValueError all that is said here."""

OBJECTS = "it holds Python objects, which are refused: opening a pickle could run code"

_NO_HEADER = (ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError, OverflowError, AttributeError)
"""What NumPy raises for a header that is none: it reads it as a literal of Python's."""

_DENSEST = 1032
"""How many bytes a byte of deflated data stands for at most."""


class Header(NamedTuple):
    """Shape, whether the first axis is the one that varies fastest, element type."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"

    @property
    def size(self) -> int:
        """The bytes of the values."""
        return self.dtype.itemsize * prod(self.shape)


def read_header(file: IO[bytes], size: int) -> Header:
    """The header of the array that a file or member of `size` bytes holds, which stands at the values then. ValueError where it lies."""
    try:
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        header = Header(*reader(file))
    except _NO_HEADER as error:
        raise ValueError(str(error) or "it has no header") from None
    if header.dtype.hasobject:
        raise ValueError(OBJECTS)
    if any(not isinstance(n, int) or not 0 <= n <= sys.maxsize for n in header.shape) or file.tell() + header.size > size:
        raise ValueError(f"it says that it has {header}, and ends before")
    return header


def read_array(file: IO[bytes], size: int) -> np.ndarray:
    """The array that a file or member of `size` bytes holds. ValueError where it holds none."""
    start = file.tell()
    read_header(file, size)
    file.seek(start)
    return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def member_size(member: zipfile.ZipInfo) -> int:
    """How many bytes a member of an archive has, which the archive may exaggerate. ValueError where it does."""
    if member.file_size > _DENSEST * (member.compress_size + 1):
        raise ValueError(f"`{member.filename}` cannot have the {member.file_size:,} bytes that the archive says")
    return member.file_size


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """The array that a member of an archive holds."""
    with archive.open(member) as file:
        return read_array(file, member_size(member))


def member_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Header:
    """What a member of an archive says that it holds."""
    with archive.open(member) as file:
        return read_header(file, member_size(member))
