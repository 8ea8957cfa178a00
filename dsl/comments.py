"""Where the comments of a `.dl` text belong: to the statement or definition that they stand in, above, or at the end of.

The tokenizer tells a `CommentKeeper` of comments, blank lines and tokens in their order; the keeper files each comment under the offset
of a statement's first character, and `attach` puts them into the tree. No comment is lost: one inside brackets moves above its statement.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dsl.syntax import (
    BLANK_LINE,
    NO_COMMENTS,
    Comments,
    Definition,
    Entry,
    For,
    Function,
    If,
    Module,
    Scan,
    Statement,
    Test,
    Train,
    While,
)


@dataclass(slots=True)
class _Filed:
    leading: list[str] = field(default_factory=list)
    trailing: str | None = None
    closing: list[str] = field(default_factory=list)

    def comments(self) -> Comments:
        leading = tuple(self.leading)
        return Comments(leading, self.trailing, tuple(_without_blank_ends(self.closing)))


class CommentKeeper:
    """Files comments while a text is read from left to right."""

    def __init__(self) -> None:
        self.filed: dict[int, _Filed] = {}
        self.statement: int | None = None
        """Offset of the statement that is being read, None between statements."""
        self._outer: list[int | None] = []
        self._closed: set[int] = set()
        """Statements of which a block has been closed."""
        self._waiting: list[str] = []
        self._between: list[str] = []
        self._beside: str | None = None

    def blank_line(self) -> None:
        if not self._between or self._between[-1] != BLANK_LINE:
            self._between.append(BLANK_LINE)

    def beside(self, text: str) -> None:
        """A comment on the line of the token before it."""
        if self._beside is None and not self._between and self.statement is not None:
            self._beside = text
        else:
            self.alone(text)

    def after_brace(self, text: str) -> None:
        """A comment on the line of the `{` that has just been opened."""
        owner = self._outer[-1] if self._outer else None
        if owner is None or owner in self._closed or not self._file_trailing(owner, text):
            self._waiting.append(text)

    def alone(self, text: str) -> None:
        """A comment on a line of its own."""
        self._between.append(text)

    def inside(self, text: str) -> None:
        """A comment inside brackets."""
        if self.statement is None:
            self._waiting.append(text)
        else:
            self._file(self.statement).leading.append(text)

    def continue_statement(self) -> None:
        """The next token continues the statement, on the same line or on a new one."""
        if self.statement is None:
            return
        lines = [] if self._beside is None else [self._beside]
        lines += [line for line in self._between if line != BLANK_LINE]
        if lines:
            self._file(self.statement).leading.extend(lines)
        self._between.clear()
        self._beside = None

    def end_statement(self) -> None:
        """The statement ends before the next token; a comment beside its last token is its trailing one where that fits."""
        if self.statement is not None and self._beside is not None and not self._file_trailing(self.statement, self._beside):
            self._file(self.statement).leading.append(self._beside)
        self._beside = None
        self.statement = None

    def start_statement(self, offset: int) -> None:
        lines = self._waiting + self._between
        if lines:
            self._file(offset).leading.extend(lines)
        self._waiting = []
        self._between = []
        self.statement = offset

    def open_block(self) -> None:
        self.continue_statement()
        self._outer.append(self.statement)
        self.statement = None

    def close_block(self) -> None:
        self.end_statement()
        self.statement = self._outer.pop() if self._outer else None
        lines = self._waiting + self._between
        if self.statement is not None:
            self._closed.add(self.statement)
            if lines:
                self._file(self.statement).closing.extend(lines)
        self._waiting = []
        self._between = []

    def reopen(self) -> None:
        """An `else` follows: comments before the `}` go to the first statement of its block."""
        if self.statement in self.filed:
            filed = self.filed[self.statement]
            self._waiting = _without_blank_ends(filed.closing)
            filed.closing = []

    def abandon(self) -> None:
        """Forget where we are, after brackets that do not match."""
        self._outer.clear()
        self.statement = None

    def finish(self) -> tuple[str, ...]:
        """The comments after the last definition."""
        self.end_statement()
        return tuple(_without_blank_ends(self._waiting + self._between))

    def _file(self, offset: int) -> _Filed:
        return self.filed.setdefault(offset, _Filed())

    def _file_trailing(self, offset: int, text: str) -> bool:
        filed = self._file(offset)
        if filed.trailing is not None:
            return False
        filed.trailing = text
        return True


def _without_blank_ends(lines: list[str]) -> list[str]:
    start, stop = 0, len(lines)
    while start < stop and lines[start] == BLANK_LINE:
        start += 1
    while stop > start and lines[stop - 1] == BLANK_LINE:
        stop -= 1
    return lines[start:stop]


def attach(definitions: Iterable[Definition], keeper: CommentKeeper) -> None:
    """Give each statement and definition its comments.

    The parser made the nodes a moment ago and nobody else holds them, which is why frozen nodes may still be written to here.
    """
    if not keeper.filed:
        return
    waiting: list[Definition | Entry | Statement] = list(definitions)
    while waiting:
        node = waiting.pop()
        filed = keeper.filed.get(node.span.start)
        if filed is not None and node.comments is NO_COMMENTS:
            object.__setattr__(node, "comments", filed.comments())
        match node:
            case Module():
                waiting.extend(node.body)
                waiting.extend(node.entries[0].body if node.short else node.entries)
            case Entry() | For() | Scan() | While() | Train() | Test():
                waiting.extend(node.body)
            case Function():
                if not node.short:
                    waiting.extend(node.body)
                if node.backward is not None and not node.backward.short:
                    waiting.extend(node.backward.body)
            case If():
                waiting.extend(node.body)
                waiting.extend(node.orelse)
            case _:
                pass
