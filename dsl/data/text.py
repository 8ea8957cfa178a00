"""Text as bytes, for an input int[B, T]: windows of T bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dsl.data.columns import Column, TextColumn
from dsl.data.problems import declared, unmatched, unreadable, why
from dsl.diagnostics import Diagnostic, SpecError
from dsl.dims import evaluate, format_dim, symbols_of
from dsl.types import TensorType

SUFFIXES = (
    ".txt",
    ".text",
    ".md",
    ".rst",
    ".tex",
    ".html",
    ".xml",
    ".json",
    ".py",
    ".js",
    ".c",
    ".h",
    ".cpp",
    ".rs",
    ".dl",
    ".log",
)


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """The bytes of a text, which may be a mapped file."""

    name: str
    data: np.ndarray

    def has(self, member: str) -> bool:
        return False

    def columns(self, wanted: Mapping[str, TensorType], sizes: Mapping[str, int]) -> dict[str, Column]:
        if len(wanted) != 1:
            raise unmatched(
                f"`{self.name}` is one text, and there are the inputs {declared(wanted)}",
                help="declare one input `tokens: int[B, T]`, and take `tokens[:, :-1]` and `tokens[:, 1:]` of it",
            )
        ((name, type_),) = wanted.items()
        if type_.rank != 2 or not type_.dtype.is_int:
            raise unmatched(f"`{self.name}` is a text, and `{name}` is {type_}", help=f"a text gives bytes: `{name}: int[B, T]`")
        window = self._window(name, type_, sizes)
        if window > len(self.data):
            raise unreadable(self.name, f"it has {len(self.data)} bytes, and a window has {window}")
        return {name: TextColumn(self.data, window, (0, 255))}

    def _window(self, name: str, type_: TensorType, sizes: Mapping[str, int]) -> int:
        length = type_.shape[1]
        unknown = [symbol for symbol in symbols_of(length) if symbol not in sizes]
        if unknown:
            message = f"how long are the windows of `{self.name}`? `{name}` is {type_}"
            help = f"give the size of {' and '.join(f'`{s}`' for s in unknown)}: `--size {unknown[0]}=129`"
            raise SpecError(Diagnostic("DL0837", message, help=help), exit_code=2)
        window = evaluate(length, sizes)
        if window < 1:
            raise SpecError(Diagnostic("DL0837", f"a window of {format_dim(length)} = {window} bytes is empty"), exit_code=2)
        return window


def open_text(path: str) -> Text:
    """A text file, mapped and not read."""
    try:
        return Text(path, np.memmap(path, np.uint8, "r"))
    except (ValueError, OSError) as error:
        raise unreadable(path, "it is empty" if "empty" in str(error) else why(error)) from None
