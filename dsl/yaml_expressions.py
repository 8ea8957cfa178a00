"""The scalars of a YAML spec read as pieces of `.dl`: expressions, types, patterns, with spans that point into the YAML text."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import cast

from dsl.diagnostics import Diagnostic, Label, SpecError
from dsl.parse import parse_piece
from dsl.source import Source, Span
from dsl.syntax import Argument, Expr, ImportedName, ListExpr, Name, Parameter, Pattern, TupleExpr, TypeExpr
from dsl.tokens import tokenize_piece
from dsl.words import KEYWORDS, LAYER_CLAUSES, NO_CLAUSES
from dsl.yaml_nodes import YamlList, YamlMapping, YamlNode, YamlScalar

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_AMBIGUOUS = (
    (re.compile(r"(?i:yes|on)\Z|True\Z|TRUE\Z"), "true"),
    (re.compile(r"(?i:no|off)\Z|False\Z|FALSE\Z"), "false"),
    (re.compile(r"~\Z|[nN]ull\Z|NULL\Z|None\Z"), "none"),
    (re.compile(r"[-+]?0o?[0-7_]+\Z"), None),
    (re.compile(r"[-+]?0[xXbB][0-9a-fA-F_]+\Z"), None),
    (re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?\Z"), None),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"), None),
    (re.compile(r"[-+]?\.(inf|Inf|INF|nan|NaN|NAN)\Z"), None),
)
"""Plain scalars that YAML 1.1, YAML 1.2 and people read differently, and what the language writes instead."""


def refuse_ambiguous(scalar: YamlScalar) -> None:
    """Raise for a plain scalar that does not mean the same to everyone."""
    if not scalar.plain or scalar.text == "0":
        return
    for pattern, meant in _AMBIGUOUS:
        if pattern.match(scalar.text):
            fix = "write it as a decimal number, or quote it"
            if meant is not None:
                fix = f"write `{meant}`" + (f", or quote the name: '{scalar.text}'" if scalar.text.isalpha() else "")
            message = f"`{scalar.text}` is read differently by different versions of YAML"
            raise SpecError(Diagnostic("DL0904", message, scalar.span, help=fix))


def word(node: YamlNode, what: str) -> YamlScalar:
    """The node as a scalar."""
    if isinstance(node, YamlScalar):
        return node
    kind = "a list" if isinstance(node, YamlList) else "a mapping"
    raise SpecError(Diagnostic("DL0907", f"expected {what}, found {kind}", _head(node.span)))


def _head(span: Span) -> Span:
    """The first line of a span."""
    return Span(span.source, span.start, span.start + len(span.text.split("\n", 1)[0].rstrip("\r")))


def expression(node: YamlNode) -> Expr:
    """An expression: a scalar of the expression grammar, or a list of expressions."""
    if isinstance(node, YamlList):
        return ListExpr(tuple([expression(item) for item in node.items]), node.span)
    return cast(Expr, _piece("expression", word(node, "an expression")))


def value(node: YamlNode) -> Expr:
    """What stands after `=`: an expression, or several with commas between."""
    return expression(node) if isinstance(node, YamlList) else cast(Expr, _piece("value", word(node, "an expression")))


def values(node: YamlNode) -> tuple[Expr, ...]:
    """What stands after `return`; a list has one item a value."""
    if isinstance(node, YamlList):
        return tuple([expression(item) for item in node.items])
    returned = value(node)
    return returned.items if isinstance(returned, TupleExpr) else (returned,)


def type_(node: YamlNode) -> TypeExpr:
    """`float[B, T]`"""
    return cast(TypeExpr, _piece("type", word(node, "a type, such as `float[B, D]`")))


def pattern(scalar: YamlScalar) -> Pattern:
    """The names that a statement binds."""
    if _NAME.match(scalar.text) and scalar.text not in KEYWORDS:  # most of them
        refuse_ambiguous(scalar)
        return Name(scalar.text, Span(scalar.span.source, scalar.places[0], scalar.places[-1]))
    return cast(Pattern, _piece("pattern", scalar))


def name(scalar: YamlScalar) -> str:
    """One name."""
    found = pattern(scalar)
    if not isinstance(found, Name):
        raise SpecError(Diagnostic("DL0101", "expected one name", scalar.span))
    return found.id


def parameter(scalar: YamlScalar) -> Parameter:
    """`heads: int = 8`"""
    return cast(Parameter, _piece("parameter", scalar))


def imported(scalar: YamlScalar) -> ImportedName:
    """`Block as B`"""
    return cast(ImportedName, _piece("imported", scalar))


def path(scalar: YamlScalar) -> str:
    """`language.blocks`"""
    return cast(tuple[str, Span], _piece("path", scalar))[0]


def for_head(scalar: YamlScalar) -> tuple[Pattern, Expr]:
    """`i, width in enumerate(widths)`"""
    return cast(tuple[Pattern, Expr], _piece("for_head", scalar))


def scan_head(scalar: YamlScalar) -> tuple[Pattern, Expr]:
    """`x_t, m_t in x, mask`"""
    return cast(tuple[Pattern, Expr], _piece("scan_head", scalar))


def layer(node: YamlNode) -> Expr:
    """What a layer is declared to be: an expression, `copy of q every 500`, or `net with PARAMETERS`."""
    return (
        expression(node)
        if isinstance(node, YamlList)
        else cast(Expr, _piece("layer_value", word(node, "a layer"), LAYER_CLAUSES))
    )


def argument(key: YamlScalar, node: YamlNode) -> Argument:
    """One attribute of a node that is written out as a mapping."""
    return Argument(expression(node), name(key), Span(key.span.source, key.span.start, node.span.end))


def _piece(rule: str, scalar: YamlScalar, clauses: frozenset[str] = NO_CLAUSES) -> object:
    refuse_ambiguous(scalar)
    text = Source(scalar.span.source.name, scalar.text)
    try:
        tokens = tokenize_piece(text, scalar.text, clauses=clauses)
    except SpecError as error:
        raise _relocated(error, text, scalar) from None
    if tokens.errors:
        raise _relocated(SpecError(tokens.errors), text, scalar)
    places, source = scalar.places, scalar.span.source
    for words in tokens.definitions:
        for token in words:
            token.source = source
            token.end = places[token.end - 1] + 1 if token.end > token.start else places[token.start]
            token.start = places[token.start]
    return parse_piece(rule, tokens, scalar.span)


def _relocated(error: SpecError, text: Source, scalar: YamlScalar) -> SpecError:
    def place(span: Span) -> Span:
        if span.source is not text:
            return span
        return Span(scalar.span.source, scalar.places[span.start], max(scalar.places[span.end], scalar.places[span.start]))

    moved = [
        replace(d, span=place(d.span), labels=tuple(Label(place(label.span), label.text) for label in d.labels))
        for d in error.diagnostics
    ]
    return SpecError(moved)


def lines_above(span: Span) -> list[str]:
    """The comment lines of the YAML text directly above what is the first of its line; a blank line is an empty string."""
    number, column = span.source.position(span.start)
    if span.source.line(number)[: column - 1].strip(" -"):
        return []
    lines: list[str] = []
    while number > 1:
        number -= 1
        line = span.source.line(number).strip()
        if line and not line.startswith("#"):
            break
        if line or not lines or lines[-1]:
            lines.append(line)
    return lines[::-1]


def mapping(node: YamlNode, what: str) -> YamlMapping:
    """The node as a mapping."""
    if isinstance(node, YamlMapping):
        return node
    kind = "a list" if isinstance(node, YamlList) else f"`{node.text}`" if node.text else "nothing"
    raise SpecError(Diagnostic("DL0907", f"expected {what}, a mapping, found {kind}", _head(node.span)))


def items(node: YamlNode, what: str) -> tuple[YamlNode, ...]:
    """The items of a list."""
    if isinstance(node, YamlList):
        return node.items
    kind = "a mapping" if isinstance(node, YamlMapping) else f"`{node.text}`" if node.text else "nothing"
    raise SpecError(Diagnostic("DL0907", f"expected {what}, a list, found {kind}", _head(node.span)))
