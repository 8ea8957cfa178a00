"""The messages about characters, numbers, strings and brackets."""

from __future__ import annotations

import unicodedata

from dsl.diagnostics import Diagnostic, Label
from dsl.limits import raising
from dsl.source import Span

_REPLACEMENTS = {
    "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": '"', "’": '"', "'": '"', "`": '"', "−": "-", "–": "-", "—": "-", "×": "*",
    "·": "*", "÷": "/", "→": "->", "…": "...", "≤": "<=", "≥": ">=", "≠": "!=", "，": ",", "：": ":", "（": "(", "）": ")", "&": "and",
    "|": "or", "!": "not", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u3000": " ",
}  # fmt: skip


def character_name(character: str) -> str:
    """`U+00A0 NO-BREAK SPACE`"""
    name = "CARRIAGE RETURN" if character == "\r" else unicodedata.name(character, "(unnamed)")
    return f"U+{ord(character):04X} {name}"


def stray_character(span: Span, character: str) -> Diagnostic:
    shown = f"`{character}`, {character_name(character)}," if character.isprintable() else character_name(character)
    return Diagnostic("DL0105", f"{shown} has no meaning here", span, help=_replacement(character))


def _replacement(character: str) -> str | None:
    wanted = _REPLACEMENTS.get(character)
    if character == "\r":
        return "save it with line ends that are LF or CRLF"
    if wanted is None:
        return "a statement ends with its line" if character == ";" else None
    if wanted == '"':
        return 'a string is written between straight double quotes: `"text"`'
    return "write an ordinary space" if wanted == " " else f"write `{wanted}`"


def foreign_name(span: Span) -> Diagnostic:
    return Diagnostic(
        "DL0111", f"the name `{span.text}` has letters beyond A to Z", span, help="a name is made of A-Z, a-z, 0-9 and _"
    )


def number_too_large(span: Span, why: str) -> Diagnostic:
    return Diagnostic("DL0107", "number too large", span, why)


def malformed_number(span: Span) -> Diagnostic:
    text = span.text
    fix = None
    if text.isdigit():
        fix = f"write `{text.lstrip('0') or '0'}`"
    elif text[:2].lower() in ("0x", "0b", "0o"):
        fix = "numbers are decimal"
    elif text.lstrip("0123456789").isidentifier():
        fix = "a name cannot begin with a digit"
    return Diagnostic("DL0108", f"`{text}` is not a number", span, help=fix)


def unclosed(opening: Span, bracket: str, place: Span, text: str) -> Diagnostic:
    what = "string" if bracket == '"' else f"`{bracket}`"
    code = "DL0106" if bracket == '"' else "DL0103"
    return Diagnostic(code, f"this {what} is never closed", opening, "opened here", (Label(place, text),))


def mismatched(span: Span, found: str, opening: Span, bracket: str) -> Diagnostic:
    message = f"`{found}` does not close `{bracket}`"
    return Diagnostic("DL0104", message, span, f"expected `{_PAIRS[bracket]}`", (Label(opening, "opened here"),))


def no_opening(span: Span, found: str) -> Diagnostic:
    return Diagnostic("DL0104", f"`{found}` closes nothing", span)


def brace_alone(span: Span) -> Diagnostic:
    message = "`{` stands on the line of what it opens"
    return Diagnostic("DL0102", message, span, help="move it to the end of the line above")


def too_deep(span: Span, limit: int) -> Diagnostic:
    return Diagnostic("DL0601", f"nested deeper than {limit} levels", span, help=raising("nesting"))


_PAIRS = {"(": ")", "[": "]", "{": "}"}
