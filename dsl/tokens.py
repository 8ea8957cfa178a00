"""From text to tokens: words, numbers and operators as the grammar names them, with brackets matched and new lines sorted out.

The rules for new lines stand at the head of grammar/dl.lark. Everything that is wrong with single characters or brackets is found here, so
the parser sees well-nested tokens of limited depth.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass, field

from dsl import text_errors
from dsl.comments import CommentKeeper
from dsl.diagnostics import Diagnostic
from dsl.limits import limits
from dsl.source import Source, Span
from dsl.words import (
    BEGINS_CONDITION,
    BINDS_NAME,
    CLAUSES,
    CONTEXTUAL,
    CONTINUES_LINE,
    DEFINITIONS,
    ENDS_OPERAND,
    FOLLOWERS,
    KEYWORDS,
    LAYER_CLAUSES,
    NO_CLAUSES,
    OPERATORS,
)


class Token:
    """A word of the text and its place; `type` is the terminal of the grammar."""

    __slots__ = ("end", "source", "start", "type", "value")

    # lark puts the end of the input at the place of the last token, and asks for it by these names.
    start_pos = end_pos = line = column = end_line = end_column = None

    def __init__(self, type: str, value: str, source: Source, start: int, end: int) -> None:
        self.type = type
        self.value = value
        self.source = source
        self.start = start
        self.end = end

    @property
    def span(self) -> Span:
        return Span(self.source, self.start, self.end)

    def __repr__(self) -> str:
        return f"Token({self.type}, {self.value!r})"


@dataclass(slots=True)
class Tokens:
    """The tokens of a text: one list for each definition, the comments, and what was found wrong on the way."""

    definitions: list[list[Token]] = field(default_factory=list)
    keeper: CommentKeeper = field(default_factory=CommentKeeper)
    closing: tuple[str, ...] = ()
    errors: list[Diagnostic] = field(default_factory=list)


_CLOSERS = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE", "_REPEAT_OPEN": "RBRACE"}

_PIECES = re.compile(
    r"""[ \t]+
    | [^\W\d]\w*
    | [0-9](?:[eE][+-](?=[0-9])|\w|\.(?!\.))*
    | ->|\.\.\.|[=!<>]=|//|\*\*|[<>=+\-*/%@,:.()\[\]{}]
    | "(?:[^"\\\n]|\\[^\n])*"
    | \r?\n
    | \#[^\r\n]*
    | .""",
    re.VERBOSE | re.DOTALL,
)
"""Cuts any text into pieces without a gap between them."""
_QUOTED = re.compile("&&|\\|\\||[“”„«‘’'`][^“”»‘’'`\\n]*[“”»‘’'`]")
_QUOTES = frozenset("\"'“”„«‘’`")
MAX_DIGITS = 30
_INTEGER = re.compile(r"(?:0|[1-9](?:_?[0-9])*)\Z")
_FLOAT = re.compile(r"[0-9](?:_?[0-9])*(?:\.(?:[0-9](?:_?[0-9])*)?(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)\Z")


# Pieces that are no tokens yet, beside the terminals of the grammar.
_SPACE, _NEWLINE, _COMMENT, _NUMBER, _FOREIGN, _WORD, _OTHER = "", "newline", "comment", "number", "foreign", "word", "other"
_KEYWORD_TYPES = {word: word.upper() for word in KEYWORDS}
_KNOWN = {
    **OPERATORS,
    **_KEYWORD_TYPES,
    **dict.fromkeys(CONTEXTUAL, _WORD),
    " ": _SPACE,
    "  ": _SPACE,
    "\n": _NEWLINE,
    "\r\n": _NEWLINE,
}
_BRACKETS = frozenset({"LPAR", "RPAR", "LSQB", "RSQB", "LBRACE", "RBRACE"})
_PLAIN = {*OPERATORS.values(), *_KEYWORD_TYPES.values(), "NAME", "INTEGER", "STRING"} - _BRACKETS - {"ELSE"}


def _kind(piece: str) -> str:
    first = piece[0]
    if first in " \t":
        return _SPACE
    if first == "#":
        return _COMMENT
    if first in "0123456789":
        return "INTEGER" if len(piece) <= MAX_DIGITS and _INTEGER.match(piece) else _NUMBER
    if first.isidentifier():
        return "NAME" if piece.isascii() else _FOREIGN
    return "STRING" if first == '"' and len(piece) > 1 else _OTHER


def tokenize(source: Source) -> Tokens:
    """The tokens of a file."""
    return _Tokenizer(source, source.text).file()


def tokenize_piece(source: Source, text: str, offset: int = 0, clauses: frozenset[str] = NO_CLAUSES) -> Tokens:
    """The tokens of an expression or another piece of a definition, in which new lines mean nothing; `text` stands at `offset`, and
    `clauses` are the words that begin clauses in it."""
    return _Tokenizer(source, text, offset).piece(clauses)


class _Tokenizer:
    def __init__(self, source: Source, text: str, offset: int = 0) -> None:
        self.source = source
        self.text = text
        self.offset = offset
        self.result = Tokens()
        self.keeper = self.result.keeper
        self.tokens: list[Token] = []
        self.open: list[Token] = []
        self.repeat_end: Token | None = None
        """The `)` that closed the latest `repeat(`."""
        self.repeats: set[int] = set()
        """Where the `(` of each `repeat(` stands."""
        self.clauses = NO_CLAUSES
        """The words that begin clauses of the statement that is being read."""
        self.level = 0
        """How many brackets were open where it began."""
        self.is_piece = False
        self.broken = False
        """After brackets that do not match: nothing counts until the next definition."""

    def piece(self, clauses: frozenset[str]) -> Tokens:
        self.is_piece = True
        self.clauses, self.level = clauses, 1
        self.keeper.statement = self.offset
        outermost = Token("LPAR", "(", self.source, self.offset, self.offset)
        self.open.append(outermost)
        self._read()
        if len(self.open) > 1:
            self._unclosed(self.open[-1], len(self.text), "the text ends here")
        self._finish_definition()
        return self.result

    def file(self) -> Tokens:
        self._read()
        if self.open and not self.broken:
            self._unclosed(self.open[-1], len(self.text.rstrip()), "the file ends here")
        self._finish_definition()
        self.result.closing = self.keeper.finish()
        return self.result

    def _read(self) -> None:
        keeper, text, source, offset = self.keeper, self.text, self.source, self.offset
        types = dict(_KNOWN)
        end = skip_to = newlines = 0
        fresh = True  # no token on this line yet
        for piece in _PIECES.findall(text):
            start = end
            end += len(piece)
            kind = types.get(piece)
            if kind is None:
                kind = types[piece] = _kind(piece)
            if kind == _SPACE or start < skip_to:
                continue
            if kind in _PLAIN and not fresh and keeper.statement is not None:  # most tokens
                newlines = 0
                if not self.broken:
                    self.tokens.append(Token(kind, piece, source, start + offset, end + offset))
                continue
            if kind == _NEWLINE:
                newlines += 1
                fresh = True
                if newlines == 2:
                    keeper.blank_line()
                continue
            if kind == _COMMENT:
                newlines = 0
                self._comment(piece[1:].rstrip(), fresh)
                continue
            stop = end
            if kind == _WORD:
                kind = self._contextual(piece, end, fresh)
            elif kind == _FOREIGN:
                stop = skip_to = self._foreign_word(start, end)
                kind = "NAME"
            elif kind == _NUMBER:
                kind, piece = self._number(piece, start)
            elif kind == _OTHER:
                stop = skip_to = self._other(start)
                if piece not in _QUOTES:
                    continue
                kind, piece = "STRING", '""'
            token = Token(kind, piece, source, start + offset, stop + offset)
            if fresh:
                self._begin_line(token)
                fresh = False
            elif keeper.statement is None:
                self._begin_statement(token)
            newlines = 0
            if kind in _BRACKETS:
                self._bracket(token)
            elif kind == "ELSE":
                keeper.reopen()
            if not self.broken:
                self.tokens.append(token)

    # --- lines and statements

    def _in_block(self) -> bool:
        return not self.open or self.open[-1].type == "LBRACE"

    def _begin_line(self, token: Token) -> None:
        """`token` is the first of its line: decide whether a statement ends before it."""
        if token.value in DEFINITIONS and (self.open or self.broken) and self._in_first_column(token):
            self._recover(token)
        last = self.tokens[-1] if self.tokens else None
        if not self._in_block() or last is None or token.type in CONTINUES_LINE or self._goes_on(token, last):
            if self._in_block() and last is None:
                self._begin_statement(token)
            else:
                self.keeper.continue_statement()
        elif token.type == "RBRACE" or last.type == "LBRACE":
            self._begin_statement(token)
        elif token.type == "LBRACE":
            self.result.errors.append(text_errors.brace_alone(token.span))
            self.keeper.continue_statement()
        else:
            self.keeper.end_statement()
            if self.open:
                self.tokens.append(Token("_NEWLINE", "\n", self.source, last.end, last.end))
            else:
                self._finish_definition()
            self._begin_statement(token)

    def _begin_statement(self, token: Token) -> None:
        if token.type != "RBRACE" and self._in_block():
            self.keeper.start_statement(token.start)
            self.clauses, self.level = CLAUSES.get(token.type, NO_CLAUSES), len(self.open)

    def _goes_on(self, token: Token, last: Token) -> bool:
        """The second bracket of a model may stand on the next line, and what follows a comma in the head of a `scan` or `minimize`."""
        if last.type == "COMMA":
            return bool(self.clauses) and self.clauses is not LAYER_CLAUSES
        return (
            token.type == "LPAR" and last.type == "RPAR" and not self.open and self.tokens[0].type in ("MODEL", "MODULE", "TRAIN")
        )

    def _contextual(self, word: str, end: int, fresh: bool) -> str:
        """The terminal of a word that is a name or begins a clause or a loop, by where it stands; `end` is its end in the text."""
        last = self.tokens[-1].type if self.tokens else ""
        if word == "while":
            begins = (fresh or self.keeper.statement is None) and self._in_block() and self.open and last != "COMMA"
            return "WHILE" if begins and BEGINS_CONDITION.match(self.text, end) else "NAME"
        if last not in ENDS_OPERAND:
            return "NAME"
        if word == "backward":
            return "BACKWARD" if not self.open and self.tokens[0].type == "FN" else "NAME"
        if word not in self.clauses or len(self.open) != self.level or (fresh and BINDS_NAME.match(self.text, end)):
            return "NAME"
        if word == "of":
            follower = self.tokens[-1]
            if follower.value not in FOLLOWERS or not (len(self.tokens) == 1 or self.tokens[-2].type == "EQUAL"):
                return "NAME"
            follower.type = follower.value.upper()
        return word.upper()

    def _in_first_column(self, token: Token) -> bool:
        return not self.is_piece and (token.start == 0 or self.text[token.start - 1] == "\n")

    def _recover(self, token: Token) -> None:
        """A definition begins in the first column although brackets are open: they were never closed."""
        if not self.broken:
            self._unclosed(self.open[-1], token.start, "this definition begins before it is closed", token.end)
        self.open.clear()
        self.keeper.abandon()
        self.tokens = []
        self.broken = False

    def _finish_definition(self) -> None:
        if self.tokens and not self.broken:
            self.result.definitions.append(self.tokens)
        self.tokens = []

    def _comment(self, text: str, fresh: bool) -> None:
        keeper = self.keeper
        if not self._in_block():
            keeper.inside(text)
        elif fresh:
            keeper.alone(text)
        elif self.tokens and self.tokens[-1].type == "LBRACE":
            keeper.after_brace(text)
        else:
            keeper.beside(text)

    # --- brackets

    def _bracket(self, token: Token) -> None:
        if self.broken:
            return
        if token.value in "([{":
            self._open(token)
            return
        if len(self.open) == self.is_piece:
            self._break(text_errors.no_opening(token.span, token.value))
        elif _CLOSERS[self.open[-1].type] != token.type:
            opening = self.open[-1]
            self._break(text_errors.mismatched(token.span, token.value, opening.span, opening.value))
        else:
            self._close(token, self.open.pop())

    def _open(self, token: Token) -> None:
        if token.value == "{":
            if self.tokens and self.tokens[-1] is self.repeat_end:
                token.type = "_REPEAT_OPEN"
            else:
                self.keeper.open_block()
                self.clauses = NO_CLAUSES
        elif token.value == "(" and self.tokens and self.tokens[-1].type == "REPEAT":
            self.repeats.add(token.start)
        self.open.append(token)
        if len(self.open) > limits().nesting:
            self._break(text_errors.too_deep(token.span, limits().nesting))

    def _close(self, token: Token, opening: Token) -> None:
        if opening.type == "LBRACE":
            self.keeper.close_block()
        elif opening.start in self.repeats:
            self.repeat_end = token

    def _break(self, error: Diagnostic) -> None:
        self.result.errors.append(error)
        self.broken = True
        self.tokens = []

    def _unclosed(self, opening: Token, offset: int, text: str, end: int | None = None) -> None:
        place = Span(self.source, offset, offset if end is None else end)
        self._break(text_errors.unclosed(opening.span, opening.value, place, text))

    # --- what is wrong with words

    def _number(self, text: str, start: int) -> tuple[str, str]:
        span = Span(self.source, start + self.offset, start + self.offset + len(text))
        if _INTEGER.match(text):
            if len(text.replace("_", "")) <= MAX_DIGITS:
                return "INTEGER", text
            self.result.errors.append(text_errors.number_too_large(span, f"it has more than {MAX_DIGITS} digits"))
        elif _FLOAT.match(text):
            if math.isfinite(float(text)):
                return "FLOAT", text
            self.result.errors.append(text_errors.number_too_large(span, "it is beyond the range of a floating-point number"))
        else:
            self.result.errors.append(text_errors.malformed_number(span))
        return "INTEGER", "0"

    def _foreign_word(self, start: int, end: int) -> int:
        """Refuse a name with letters beyond ASCII; combining marks belong to the word. It may have begun before `start`."""
        while start and (self.text[start - 1].isalnum() or self.text[start - 1] == "_"):
            start -= 1
        while end < len(self.text) and (
            self.text[end].isalnum() or self.text[end] == "_" or unicodedata.category(self.text[end]).startswith("M")
        ):
            end += 1
        self.result.errors.append(text_errors.foreign_name(Span(self.source, start + self.offset, end + self.offset)))
        return end

    def _other(self, start: int) -> int:
        """Refuse a character that begins no word; returns where to read on."""
        character = self.text[start]
        line_end = self.text.find("\n", start)
        line_end = len(self.text) if line_end < 0 else line_end
        if character == '"':
            self._unclosed_string(start, len(self.text[:line_end].rstrip("\r")))
            return line_end
        if unicodedata.category(character).startswith("M") and start and self.text[start - 1].isalnum():
            return self._foreign_word(start, start)
        quoted = _QUOTED.match(self.text, start)
        end = quoted.end() if quoted else start + 1
        span = Span(self.source, start + self.offset, start + self.offset + (1 if quoted is None else end - start))
        self.result.errors.append(text_errors.stray_character(span, character))
        return end

    def _unclosed_string(self, start: int, line_end: int) -> None:
        opening = Span(self.source, start + self.offset, start + self.offset + 1)
        place = Span(self.source, line_end + self.offset, line_end + self.offset)
        where = "file" if line_end >= len(self.text.rstrip()) else "line"
        self._break(text_errors.unclosed(opening, '"', place, f"the {where} ends here"))
