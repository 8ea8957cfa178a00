"""Reading a spec from a file or from standard input, refusing what is no text before anything looks at it."""

from __future__ import annotations

import os
import re
import stat
import sys
import unicodedata

from dsl.diagnostics import Diagnostic, SpecError
from dsl.limits import limits, raising
from dsl.source import Source, Span
from dsl.text_errors import character_name

CANNOT_READ = 4
"""The exit code of a file that cannot be read."""

_REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, halves of surrogate pairs, and characters that change the direction in which a text is shown."""


def read_source(path: str) -> Source:
    """The text of a file, or of standard input for `-`. SpecError with exit code 4 where it cannot be read."""
    name, data = ("<stdin>", _read_stdin()) if path == "-" else (path, _read(path))
    source = Source(name, _decoded(data, name))
    refuse_characters(source)
    return source


def refuse_characters(source: Source) -> None:
    """Raise for control characters, and for those that make a text look other than it reads."""
    match = _REFUSED.search(source.text)
    if match is None:
        return
    span = Span(source, match.start(), match.end())
    if match[0] == "\x00":
        raise SpecError(Diagnostic("DL0003", "the text has a NUL byte: it is no spec", span))
    if unicodedata.category(match[0]) in ("Cc", "Cs"):
        raise SpecError(Diagnostic("DL0003", f"the control character {character_name(match[0])} is not allowed", span))
    message = f"{character_name(match[0])} is refused: it makes a text look other than it reads"
    raise SpecError(Diagnostic("DL0006", message, span, help="delete the character; in a string write it as `\\u{...}`"))


def _read_stdin() -> bytes:
    if sys.stdin is None:
        raise _cannot_read("standard input", "it is closed")
    return _limited(sys.stdin.buffer.read(limits().bytes + 1), "<stdin>")


def _read(path: str) -> bytes:
    try:
        # Opening a FIFO for reading would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise _cannot_read(path, reason[:1].lower() + reason[1:]) from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise SpecError(Diagnostic("DL0004", f"`{path}` is {_kind(mode)}, not a file"), CANNOT_READ)
    with os.fdopen(descriptor, "rb") as file:
        try:
            return _limited(file.read(limits().bytes + 1), path)
        except OSError as error:
            raise _cannot_read(path, error.strerror or str(error)) from None


def _limited(data: bytes, name: str) -> bytes:
    most = limits().bytes
    if len(data) > most:
        size = f"{most // 1024**2} MB" if most % 1024**2 == 0 else f"{most:,} bytes"
        message = f"`{name}` is larger than {size}, the limit for a spec"
        raise SpecError(Diagnostic("DL0005", message, help=raising("bytes")), CANNOT_READ)
    return data


def _decoded(data: bytes, name: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        message = f"`{name}` is not UTF-8: it begins like UTF-16"
        raise SpecError(Diagnostic("DL0002", message, help="save it as UTF-8"), CANNOT_READ)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"`{name}` is not UTF-8: byte 0x{error.object[error.start]:02X} at offset {error.start}, line {line}"
        raise SpecError(Diagnostic("DL0002", message, help="save it as UTF-8"), CANNOT_READ) from None


def _cannot_read(path: str, reason: str) -> SpecError:
    return SpecError(Diagnostic("DL0001", f"cannot read `{path}`: {reason}"), CANNOT_READ)


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((name for matches, name in kinds if matches(mode)), "something else")
