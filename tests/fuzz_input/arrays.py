"""Files of arrays and pictures, good ones and such that lie."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterable, Mapping
from functools import cache

import numpy as np
from hypothesis import strategies as st

ARRAY_PIECES = (
    b"\x00", b"\xff" * 8, b"\x00" * 64, b"PK\x03\x04", b"\x80\x04\x95", b"\x93NUMPY", b"{", b"}", b"[" * 5000, b"(" * 5000,
    b"-1", b"99999999999999999999",
    b"'|O'", b"'<f8'", b"'<U9'", b"'>f4'", b"'<M8[s]'", b"[('a', '<f4')]", b"True", b"'shape': (2, 3), ", b"__import__('os')",
    b"\xd8\x3d",
    b'"dtype":"F32",',
)  # fmt: skip
"""What is put into files of arrays."""


def safetensors(header: object, body: bytes, length: int | None = None) -> bytes:
    """A file of this header and body; `length` is what it says of the size of its header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(compressed: bool, arrays: Mapping[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, allow_pickle=False, **arrays)
    return file.getvalue()


def lying_npy() -> st.SearchStrategy[bytes]:
    """Arrays whose headers say what is not so."""
    sizes = st.one_of(st.sampled_from((0, 1, 3, -1, 2**31, 2**40, 2**62, 2**64)), st.integers(0, 5)).map(str)
    shapes = st.lists(sizes, max_size=4).map(lambda parts: f"({''.join(part + ', ' for part in parts)})")
    kinds = st.sampled_from(
        (
            "'<f4'",
            "'<f8'",
            "'>f4'",
            "'|O'",
            "'<U99999999999'",
            "'<U4'",
            "'|V8'",
            "'<M8[s]'",
            "[('a', '<f4')]",
            "'c16'",
            "'?'",
            "None",
            "'|b1'",
        )
    )
    headers = st.builds(
        lambda kind, order, shape, more: f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, {more}}}",
        kinds, st.sampled_from(("False", "True", "0", "None")), shapes, st.sampled_from(("", "'a': 1", "**{}", "'shape': 3")),
    )  # fmt: skip

    def built(version: int, header: str, short: int, body: bytes) -> bytes:
        text = header.encode().ljust(118) + b"\n"
        size = struct.pack("<H" if version == 1 else "<I", (len(text) + short) % 65536)
        return b"\x93NUMPY" + bytes((version, 0)) + size + text + body

    return st.builds(
        built, st.sampled_from((1, 2, 3, 4, 0)), headers, st.sampled_from((0, 0, 0, 5, -5, 60000)), st.binary(max_size=64)
    )


def zipped(arrays: Iterable[bytes], names: Iterable[str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in zip(names, arrays, strict=False):
            archive.writestr(name, data)
    return file.getvalue()


@cache
def pictures() -> tuple[tuple[str, bytes], ...]:
    from PIL import Image

    found = []
    for kind in ("png", "jpg", "bmp", "gif"):
        file = io.BytesIO()
        Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(file, "jpeg" if kind == "jpg" else kind)
        found.append((kind, file.getvalue()))
    return tuple(found)
