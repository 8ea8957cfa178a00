"""From `.dl` text to the syntax tree, with every syntax error of the text found in one run.

Each definition is parsed by itself. At an error the statement it stands in is taken out and the definition parsed again, so an error hides
nothing that stands after it.
"""

from __future__ import annotations

from functools import cache
from typing import cast

from dsl.build_tree import TreeBuilder
from dsl.comments import attach
from dsl.depth import too_deep
from dsl.diagnostics import Diagnostic, SpecError
from dsl.garbage import collector_paused
from dsl.lalr import Automaton, UnexpectedToken, automaton
from dsl.read_source import read_source, refuse_characters
from dsl.source import Source, Span
from dsl.syntax import Definition, Expr, File
from dsl.syntax_errors import describe
from dsl.tokens import Token, Tokens, tokenize, tokenize_piece
from dsl.words import DEFINITIONS
from grammar import DL_GRAMMAR

__all__ = ["collector_paused", "parse", "parse_expression", "parse_piece", "read_source"]

PIECES = (
    "definition",
    "value",
    "expression",
    "pattern",
    "type",
    "parameter",
    "imported",
    "path",
    "for_head",
    "scan_head",
    "layer_value",
)
MAX_ERRORS = 30


def parse(source: Source) -> File:
    """The tree of a `.dl` file. SpecError carries all syntax errors found."""
    refuse_characters(source)
    with collector_paused():
        return _parse_file(source)


def _parse_file(source: Source) -> File:
    tokens = tokenize(source)
    definitions: list[Definition] = []
    errors = list(tokens.errors)
    definition: Definition | None = None
    for words in tokens.definitions:
        if errors and definition is None and words[0].value not in DEFINITIONS:
            continue  # the rest of what went wrong before
        definition = _parse_definition(words, errors)
        if definition is not None:
            definitions.append(definition)
        if len(errors) >= MAX_ERRORS:
            break
    if not errors:
        errors.extend(too_deep(definitions))
    if errors:
        raise SpecError(sorted(errors, key=lambda error: error.span.start))
    attach(definitions, tokens.keeper)
    return File(tuple(definitions), source, tokens.closing)


def parse_expression(source: Source) -> Expr:
    """An expression that is a whole text by itself, such as the value of `--set name=value`."""
    refuse_characters(source)
    return cast(Expr, parse_piece("expression", tokenize_piece(source, source.text), Span(source, 0, len(source.text))))


def parse_piece(start: str, tokens: Tokens, place: Span) -> object:
    """What the rule `start` of the grammar makes of the tokens; `place` is where an empty text stands."""
    errors = list(tokens.errors)
    if not errors and not tokens.definitions:
        errors.append(Diagnostic("DL0101", f"expected {_PIECE_NAMES[start]}", place))
    if errors:
        raise SpecError(errors)
    try:
        node = parser().parse(tokens.definitions[0], start=start)
    except UnexpectedToken as error:
        raise SpecError(describe(error, tokens.definitions[0])) from None
    deep = too_deep([node])
    if deep:
        raise SpecError(deep)
    return node


_PIECE_NAMES = {
    "definition": "a definition",
    "value": "an expression",
    "expression": "an expression",
    "pattern": "a name",
    "type": "a type",
    "parameter": "a parameter",
    "imported": "a name",
    "path": "a file",
    "for_head": "`name in expression`",
    "scan_head": "`name in expression`",
    "layer_value": "a layer",
}


@cache
def parser() -> Automaton:
    """The parser of grammar/dl.lark."""
    return automaton(DL_GRAMMAR, PIECES, TreeBuilder())


def _parse_definition(words: list[Token], errors: list[Diagnostic]) -> Definition | None:
    """The definition, or None after adding its errors."""
    known = [error.span.start for error in errors]
    bad = any(words[0].start <= start < words[-1].end for start in known)
    while words and len(errors) < MAX_ERRORS:
        try:
            definition = parser().parse(words, start="definition")
            return None if bad else cast(Definition, definition)
        except UnexpectedToken as error:
            found = [describe(error, words)]
            place = error.index
        except SpecError as error:
            found = list(error.diagnostics)
            place = _index_at(words, found[0].span.start)
        start, stop = _statement_around(words, place)
        low, high = words[start].start, words[stop - 1].end
        if not any(low <= known_start < high for known_start in known):
            errors.extend(found)
        bad = True
        if start == 0:
            return None
        words = _without(words, start, stop)
    return None


def _index_at(words: list[Token], offset: int) -> int:
    return next((i for i, word in enumerate(words) if word.end > offset), len(words) - 1)


def _statement_around(words: list[Token], place: int) -> tuple[int, int]:
    """Where the statement with the word at `place` starts and stops; (0, ...) where that is the definition itself."""
    partners = _partners(words)
    start = place
    while start > 0:
        before = words[start - 1]
        if before.type == "LBRACE" or (before.type == "_NEWLINE" and start - 1 != place and start <= place):
            break
        start = partners.get(start - 1, start - 1) if before.type in ("RPAR", "RSQB", "RBRACE") else start - 1
    stop = max(start, min(place, len(words)))
    if start < len(words) and start < place:
        stop = start
    while stop < len(words) and words[stop].type not in ("_NEWLINE", "RBRACE"):
        stop = partners.get(stop, stop) + 1
    return start, max(stop, start + 1)


def _partners(words: list[Token]) -> dict[int, int]:
    partners: dict[int, int] = {}
    opened: list[int] = []
    for i, word in enumerate(words):
        if word.type in ("LPAR", "LSQB", "LBRACE", "_REPEAT_OPEN"):
            opened.append(i)
        elif word.type in ("RPAR", "RSQB", "RBRACE"):
            partner = opened.pop()
            partners[i] = partner
            partners[partner] = i
    return partners


def _without(words: list[Token], start: int, stop: int) -> list[Token]:
    """The words without a statement and one of the new lines beside it."""
    if stop < len(words) and words[stop].type == "_NEWLINE":
        stop += 1
    elif words[start - 1].type == "_NEWLINE":
        start -= 1
    return words[:start] + words[stop:]
