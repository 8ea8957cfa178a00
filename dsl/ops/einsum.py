"""Patterns of `einsum`: `"b i d, b j d -> b i j"` with axis names between spaces, or compact, `"bid,bjd->bij"`.

The canonical form is the compact one, which NumPy, PyTorch, JAX and ONNX all read.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass

from dsl.ops.card import OpError

DOTS = "..."
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|\.\.\.")


@dataclass(frozen=True, slots=True)
class Pattern:
    """The axis names of each operand and of the result; `...` stands for any further axes."""

    operands: tuple[tuple[str, ...], ...]
    result: tuple[str, ...]

    def compact(self) -> str:
        """With one letter an axis: its own where it is one, else the first letter of its name that is free."""
        letters = _letters(dict.fromkeys(name for term in self.operands for name in term if name != DOTS))
        spell = ["".join(letters.get(name, name) for name in term) for term in (*self.operands, self.result)]
        return f"{','.join(spell[:-1])}->{spell[-1]}"


def _letters(names: dict[str, None]) -> dict[str, str]:
    letters = {name: name for name in names if len(name) == 1 and name.isalpha()}
    taken = set(letters)
    for name in names:
        if name not in letters:
            letter = next((c for c in name.lower() + string.ascii_letters if c.isalpha() and c not in taken), None)
            if letter is None:
                raise _wrong("more than 52 axes")
            letters[name] = letter
            taken.add(letter)
    return letters


def _wrong(message: str) -> OpError:
    return OpError(message, "pattern", 'a pattern is written like "b i d, b j d -> b i j"', "DL0402")


def parse_pattern(pattern: str) -> Pattern:
    """The pattern taken apart, or OpError."""
    left, arrow, right = pattern.partition("->")
    if not arrow or "->" in right:
        raise _wrong(f'the pattern "{pattern}" needs one `->`, with the axes of the result after it')
    terms = [term.strip() for term in (*left.split(","), right)]
    spaced = any(" " in term for term in terms)
    *operands, result = (_names(term, spaced) for term in terms)
    for name in dict.fromkeys(result):
        if result.count(name) > 1:
            raise _wrong(f'the pattern "{pattern}" has the axis `{name}` twice in the result')
        if not any(name in term for term in operands):
            raise _wrong(f'the pattern "{pattern}" has `{name}` in the result and in no operand')
    return Pattern(tuple(operands), result)


def _names(term: str, spaced: bool) -> tuple[str, ...]:
    names = term.split() if spaced else re.findall(r"\.\.\.|.", term)
    for name in names:
        if not _NAME.fullmatch(name):
            raise _wrong(f"`{name}` is not an axis name")
    if names.count(DOTS) > 1:
        raise _wrong(f'"{term}" has `...` twice')
    return tuple(names)
