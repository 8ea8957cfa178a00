"""Data beside the file that names them, as the weights of a large ONNX model: whatever happens, a file finds the data it was written with.

The name of a file of data has a digest of its content. The data take their places first and the file that names them last; then those
that nothing names any more are removed. A lock on the folder gives this to one process at a time; where there are none, all data stay.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from dsl.files import explained, replacing, write_atomically
from dsl.locks import folder_locked

_PLAIN = re.compile(r"\w[\w.+-]{0,149}", re.ASCII)
"""Names of files that mean nothing to anybody who reads them."""


def data_name(output: str, data: bytes | bytearray) -> str:
    """What the data that belong to the file `output` are called. Other outputs and other data have other names."""
    return f"{_stem(output)}.{hashlib.blake2b(data, digest_size=16).hexdigest()}.data"


def write_with_data(path: str | Path, content: bytes, beside: Mapping[str, bytes], *, inputs: Iterable[str | Path] = ()) -> None:
    """Write a file and the data in its folder that it names, by names of `data_name`; those that only its predecessor named go.

    Whenever the process ends, there is the old file with its data or the new one with its own. SpecError with exit code 4 when it
    cannot be done.
    """
    read, folder, ours = tuple(inputs), Path(path).parent, _pattern(Path(path).name)
    if not beside and not _found(folder, ours):
        write_atomically(path, content, inputs=read)
        return
    with ExitStack() as afterwards:
        with ExitStack() as places:  # which are left last to first
            _put(places, Path(path), content, read)
            for name, data in beside.items():
                _put(places, folder / name, data, read, owner=path)
            with explained(folder):
                alone = afterwards.enter_context(folder_locked(folder))
        if alone:
            for name in _found(folder, ours) - beside.keys():
                with suppress(OSError):  # what cannot be removed is in nobody's way
                    os.unlink(folder / name)


def _put(places: ExitStack, path: Path, data: bytes, inputs: Iterable[str | Path], owner: str | Path | None = None) -> None:
    """Write a file that takes its place when `places` is left."""
    temporary = places.enter_context(replacing(path, inputs=inputs, owner=owner))
    with explained(path):
        temporary.write_bytes(data)


def _found(folder: Path, pattern: re.Pattern[str]) -> set[str]:
    """The names of the files of a folder that match; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if pattern.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)}
    except (OSError, ValueError):
        return set()


def _pattern(output: str) -> re.Pattern[str]:
    return re.compile(re.escape(_stem(output)) + r"\.[0-9a-f]{32}\.data")


def _stem(output: str) -> str:
    """The name of the output where it is plain, and a digest of it otherwise."""
    if _PLAIN.fullmatch(output):
        return output
    return f"weights-{hashlib.blake2b(os.fsencode(output), digest_size=8).hexdigest()}"
