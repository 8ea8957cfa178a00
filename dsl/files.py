"""Writing outputs so that nothing is ever half-written.

A file is written beside its place under a temporary name, flushed to the disk and renamed; when anything fails the old file is
still whole and the temporary one is gone. What a process that was killed left is removed by the next that writes the same file: who
writes holds a lock on the temporary file, which goes with the process. `-` is standard output. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dsl.diagnostics import Diagnostic, SpecError
from dsl.locks import lock

CANNOT_WRITE = 4
"""The exit code of a file that cannot be written."""

STDOUT = "-"


def write_atomically(path: str | Path, data: bytes, *, inputs: Iterable[str | Path] = ()) -> None:
    """Write `data` to `path`, wholly or not at all; `-` is standard output, and a device is written to directly.

    `inputs` are files that are being read, and so must not be the output. SpecError with exit code 4 when it cannot be done.
    """
    name = str(path)
    if name == STDOUT:
        _write_stdout(data)
    elif _kind(name) == "a device":
        with explained(name):
            _write_device(name, data)
    else:
        with replacing(name, inputs=inputs) as temporary, explained(name):
            temporary.write_bytes(data)


@contextmanager
def replacing(path: str | Path, *, inputs: Iterable[str | Path] = (), owner: str | Path | None = None) -> Iterator[Path]:
    """A temporary path beside `path` to write to. Leaving the block puts it in the place of `path`; an exception drops it.

    What is left of it when the process is killed is removed by the next that writes `path`, or `owner` where that is given.
    """
    if "\0" in str(path):
        raise cannot_write(path, "a name has no NUL byte in it")
    _refuse_input(path, inputs)
    place = Path(os.path.realpath(path))
    stem = f".{Path(os.path.realpath(owner or path)).name[:100]}."
    with explained(path):
        _refuse_place(path, place)
        _remove_litter(place.parent, stem)
        temporary, descriptor = _created(place.parent, stem)
    try:
        with explained(path):
            if place.exists():
                temporary.chmod(stat.S_IMODE(place.stat().st_mode))
        yield temporary
        with explained(path):
            _flush(temporary)
            temporary.replace(place)
            _flush(place.parent)
    finally:
        temporary.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


def _created(folder: Path, stem: str) -> tuple[Path, int | None]:
    """A new file, and the descriptor that holds the lock on it as long as it is open."""
    while True:
        temporary = folder / f"{stem}{secrets.token_hex(6)}.tmp"
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        if sys.platform == "win32":  # which renames no file that is open
            os.close(descriptor)
            return temporary, None
        lock(descriptor, wait=True)
        if os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)  # another process found it before it was locked, and took it for litter


def _remove_litter(folder: Path, stem: str) -> None:
    """Remove the temporary files of that name that processes left that were killed while they wrote."""
    litter = re.compile(re.escape(stem) + r"[0-9a-f]{12}\.tmp")
    with os.scandir(folder) as entries:
        found = [entry.path for entry in entries if litter.fullmatch(entry.name)]
    for name in found:
        with suppress(OSError):  # it is gone, or it is not ours: then it stays
            descriptor = os.open(name, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
            try:
                if lock(descriptor, wait=False):
                    os.unlink(name)
            finally:
                os.close(descriptor)


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Turn what the system says about writing `path` into a SpecError."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, (error.strerror or str(error)).lower()) from None


def cannot_write(path: str | Path, reason: str, help: str | None = None) -> SpecError:
    """The error for an output that cannot be written."""
    return SpecError(Diagnostic("DL0011", f"cannot write `{path}`: {reason}", help=help), CANNOT_WRITE)


def _refuse_input(path: str | Path, inputs: Iterable[str | Path]) -> None:
    for name in inputs:
        if os.path.realpath(name) == os.path.realpath(path) or _same_file(name, path):
            raise SpecError(
                Diagnostic("DL0012", f"the output `{path}` is the input `{name}`", help="name another file"), CANNOT_WRITE
            )


def _same_file(a: str | Path, b: str | Path) -> bool:
    return os.path.exists(a) and os.path.exists(b) and os.path.samefile(a, b)


def _refuse_place(path: str | Path, place: Path) -> None:
    kind = _kind(place)
    if kind is not None:
        raise cannot_write(path, f"it is {kind}")
    if place.is_symlink():
        raise cannot_write(path, "it is a link that leads back to itself")
    if str(path).endswith(("/", os.sep)):
        raise cannot_write(path, "it is the name of a directory", help="name a file")
    if not place.parent.is_dir():
        raise cannot_write(path, f"there is no directory `{place.parent}`", help="make it first")
    if place.exists() and not os.access(place, os.W_OK):
        raise cannot_write(path, "it is read-only")


def _kind(path: str | Path) -> str | None:
    """What stands at `path` in words, or None for a file or nothing at all."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(mode):
        return None
    kinds = ((stat.S_ISDIR, "a directory"), (stat.S_ISCHR, "a device"), (stat.S_ISFIFO, "a pipe"))
    return next((name for matches, name in kinds if matches(mode)), "neither a file nor a directory")


def refuse_special(path: str | Path) -> None:
    """Refuse to read what is there and is no file: opening a pipe would wait for a writer. SpecError with exit code 4."""
    kind = _kind(path)
    if kind is not None:
        raise SpecError(Diagnostic("DL0004", f"`{path}` is {kind}, not a file"), CANNOT_WRITE)


def _flush(path: Path) -> None:
    """Have the disk hold what was written. Systems that cannot open a directory do without."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_device(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _write_stdout(data: bytes) -> None:
    """Write to standard output. A reader that has gone away (`| head`) is no error: the rest goes nowhere."""
    if sys.stdout is None:
        raise cannot_write("standard output", "it is closed")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        silence_stdout()
    except OSError as error:
        raise cannot_write("standard output", (error.strerror or str(error)).lower()) from None


def silence_stdout() -> None:
    """Send what is still to come on standard output nowhere, so that closing it at the end does not fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
