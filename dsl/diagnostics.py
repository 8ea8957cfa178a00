"""Diagnostics: what is wrong, where, and what to do; rendered as text for people and as JSON for tools.

A `SpecError` carries every diagnostic of a stage. A user's mistake is always a SpecError; a broken invariant of ours is an InternalError.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from dsl.source import NOWHERE, Span


@dataclass(frozen=True, slots=True)
class Label:
    """A second place that explains the first, and what is to be seen there."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. `code` is stable and explained by `dslc explain CODE`; `text` stands under the caret."""

    code: str
    message: str
    span: Span = NOWHERE
    text: str = ""
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str | None = None
    severity: str = "error"

    def as_json(self) -> dict[str, object]:
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "text": self.text,
            **_place(self.span),
            "labels": [{"text": label.text, **_place(label.span)} for label in self.labels],
            "notes": list(self.notes),
            "help": self.help,
        }


def _place(span: Span) -> dict[str, object]:
    if span.source is NOWHERE.source:
        return {}
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(max(span.end, span.start))
    return {"file": span.source.name, "line": line, "column": column, "end_line": end_line, "end_column": end_column}


class SpecError(Exception):
    """The spec, the data or the request is wrong; `diagnostics` say how. `exit_code` is what the command ends with."""

    def __init__(self, diagnostics: Diagnostic | Iterable[Diagnostic], exit_code: int = 1) -> None:
        self.diagnostics = (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        self.exit_code = exit_code
        super().__init__("; ".join(f"[{d.code}] {d.message}" for d in self.diagnostics))


class InternalError(Exception):
    """An invariant of the compiler is broken: our bug, whatever the input."""


_MOST_CANDIDATES = 2000
_LONGEST_WORD = 200
"""Beyond these, looking for a near name would take longer than reading the spec."""


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate nearest to `word`, or None when none is near."""
    pool = list(dict.fromkeys(candidates))
    for candidate in pool:
        if candidate.lower() == word.lower() or candidate.replace("_", "").lower() == word.replace("_", "").lower():
            return candidate
    pool = [c for c in pool if abs(len(c) - len(word)) <= max(1, len(word) // 3)]
    if len(pool) > _MOST_CANDIDATES or len(word) > _LONGEST_WORD:
        return None
    found = difflib.get_close_matches(word, pool, n=3, cutoff=0.6)
    return next((c for c in found if _edits(word.lower(), c.lower()) <= max(1, len(word) // 3)), None)


def _edits(a: str, b: str) -> int:
    """How many letters to insert, drop, change or swap with the next to get from one word to the other."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        above, row = rows[-1], [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y)))
            if i > 1 and j > 1 and (x, a[i - 2]) == (b[j - 2], y):
                row[j] = min(row[j], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]


# --- rendering --------------------------------------------------------------------------------------------------------------------

_COLOURS = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m", "frame": "\x1b[1;34m", "bold": "\x1b[1m", "help": "\x1b[1;36m"}


class _Paint:
    def __init__(self, colour: bool) -> None:
        self.colour = colour

    def __call__(self, style: str, text: str) -> str:
        return f"{_COLOURS[style]}{text}\x1b[0m" if self.colour and text else text


def render(diagnostic: Diagnostic, *, colour: bool = False) -> str:
    """The diagnostic as rustc would print it, without a final newline. Text of the spec cannot move the cursor of a terminal."""
    diagnostic = replace(
        diagnostic,
        message=printable(diagnostic.message),
        text=printable(diagnostic.text),
        labels=tuple(replace(label, text=printable(label.text)) for label in diagnostic.labels),
        notes=tuple(map(printable, diagnostic.notes)),
        help=printable(diagnostic.help) if diagnostic.help else None,
    )
    paint = _Paint(colour)
    head = paint(diagnostic.severity, f"{diagnostic.severity}[{diagnostic.code}]") + paint("bold", f": {diagnostic.message}")
    lines = [head]
    placed = diagnostic.span.source is not NOWHERE.source
    width = _gutter(diagnostic) if placed else 1
    bar = " " * width + paint("frame", " |")
    if placed:
        lines.append(" " * width + paint("frame", "--> ") + str(diagnostic.span))
        lines.append(bar)
        lines.extend(_excerpts(diagnostic, width, paint))
    if placed and (diagnostic.notes or diagnostic.help):
        lines.append(bar)
    lines.extend(" " * width + paint("frame", " = ") + f"note: {note}" for note in diagnostic.notes)
    if diagnostic.help:
        lines.append(" " * width + " " + paint("help", "help") + f": {diagnostic.help}")
    return "\n".join(lines)


def printable(text: str) -> str:
    """The text on one line, with control characters written out."""
    return "".join(c if c.isprintable() else " " if c in "\n\t" else f"\\u{{{ord(c):X}}}" for c in text)


def _gutter(diagnostic: Diagnostic) -> int:
    spans = [diagnostic.span, *(label.span for label in diagnostic.labels)]
    return max(len(str(s.line)) for s in spans)


def _excerpts(diagnostic: Diagnostic, width: int, paint: _Paint) -> list[str]:
    main = diagnostic.span
    marks = [(main, diagnostic.text, "^", diagnostic.severity)]
    marks += [(label.span, label.text, "-", "frame") for label in diagnostic.labels if label.span.source is not NOWHERE.source]
    here = sorted((m for m in marks if m[0].source is main.source), key=lambda m: m[0].start)
    elsewhere = [m for m in marks if m[0].source is not main.source]
    lines: list[str] = []
    shown = None
    for span, text, mark, style in here:
        lines.extend(_excerpt(span, text, mark, style, width, paint, repeat=shown == span.line))
        shown = span.line
    for span, text, mark, style in elsewhere:
        lines.append(" " * width + paint("frame", "::: ") + str(span))
        lines.extend(_excerpt(span, text, mark, style, width, paint, repeat=False))
    return lines


def _excerpt(span: Span, text: str, mark: str, style: str, width: int, paint: _Paint, *, repeat: bool) -> list[str]:
    line, column = span.source.position(span.start)
    source_line = _UNSAFE.sub("\ufffd", span.source.line(line))
    start = column - 1
    stop = min(start + max(span.end - span.start, 1), max(len(source_line), start + 1))
    source_line, start, stop = _clip(source_line, start, stop)
    pad = "".join("\t" if c == "\t" else " " for c in source_line[:start])
    under = pad + paint(style, mark * (stop - start) + (f" {text}" if text else ""))
    lines = [] if repeat else [paint("frame", f"{line:>{width}} | ") + source_line]
    return [*lines, " " * width + paint("frame", " | ") + under]


_LONGEST = 160
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What would change how a terminal shows the line."""


def _clip(line: str, start: int, stop: int) -> tuple[str, int, int]:
    """A window of a very long line around the marked part."""
    if len(line) <= _LONGEST:
        return line, start, stop
    left = max(0, start - 40)
    right = min(len(line), left + _LONGEST)
    prefix = "..." if left else ""
    clipped = prefix + line[left:right] + ("..." if right < len(line) else "")
    return clipped, start - left + len(prefix), min(stop, right) - left + len(prefix)
