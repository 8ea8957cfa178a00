"""The expressions of the tree, built while parsing: one method a rule of grammar/dl.lark, from its children to a node.

Children are tokens and finished nodes, in the order of the rule; the tables do not say which, hence `Any`, here and in
dsl/build_tree.py, and nowhere after.
"""

from __future__ import annotations

import re
from typing import Any

from dsl.diagnostics import Diagnostic, SpecError
from dsl.source import Span
from dsl.syntax import (
    Argument,
    Binary,
    Call,
    Comparison,
    Comprehension,
    Conditional,
    Ellipsis,
    Expr,
    Index,
    ListExpr,
    Literal,
    Member,
    Name,
    NamePattern,
    Pattern,
    Pipe,
    Repeat,
    Slice,
    Stage,
    TupleExpr,
    TuplePattern,
    TypeExpr,
    Unary,
)
from dsl.tokens import Token

Children = list[Any]


def span_over(first: Any, last: Any) -> Span:
    """The span from one token or node to another."""
    start: int = first.start if type(first) is Token else first.span.start
    if type(last) is Token:
        return Span(last.source, start, last.end)
    span: Span = last.span
    return Span(span.source, start, span.end)


def between(children: Children) -> tuple[Any, ...]:
    """The nodes of a bracketed or separated list, without its punctuation."""
    return tuple([child for child in children if type(child) is not Token])


def _begins_line(token: Token) -> bool:
    text = token.source.text
    return not text[text.rfind("\n", 0, token.start) + 1 : token.start].strip()


def _widen(node: Any, children: Children) -> Any:
    """A bracketed node's span takes in its brackets. The node is new and unshared, so that it may still be written to."""
    object.__setattr__(node, "span", span_over(children[0], children[-1]))
    return node


def values(value: Expr) -> tuple[Expr, ...]:
    """The items of an open or closed tuple, or the one value."""
    return value.items if type(value) is TupleExpr else (value,)


class ExpressionBuilder:
    """The callbacks of the parser for expressions, patterns and types."""

    # --- patterns

    def tuple_pattern(self, c: Children) -> TuplePattern:
        return TuplePattern(between(c), span_over(c[0], c[-1]))

    def bracketed_pattern(self, c: Children) -> Pattern:
        pattern: Pattern = _widen(c[1], c)
        return pattern

    # --- types

    def type(self, c: Children) -> TypeExpr:
        dims = between(c) if len(c) > 1 else None
        return TypeExpr(c[0].value, dims, span_over(c[0], c[-1]))

    # --- expressions

    def open_tuple(self, c: Children) -> TupleExpr:
        return TupleExpr(between(c), span_over(c[0], c[-1]))

    def closed_tuple(self, c: Children) -> TupleExpr:
        return TupleExpr(between(c), span_over(c[0], c[-1]))

    def pipe(self, c: Children) -> Pipe:
        for arrow, stage in zip(c[1::2], c[2::2], strict=True):
            if _begins_line(arrow):
                object.__setattr__(stage, "fresh_line", True)
        return Pipe(c[0], between(c[1:]), span_over(c[0], c[-1]))

    def stage(self, c: Children) -> Stage:
        target = c[-1]
        if type(target) in (Literal, ListExpr, Comprehension):
            raise SpecError(_not_a_stage(target))
        return Stage(target, c[0].value if len(c) == 3 else None, span_over(c[0], target))

    def stages(self, c: Children) -> tuple[Stage, ...]:
        return between(c)

    def conditional(self, c: Children) -> Conditional:
        return Conditional(c[0], c[2], c[4], span_over(c[0], c[4]))

    def binary(self, c: Children) -> Binary:
        return Binary(c[1].value, c[0], c[2], span_over(c[0], c[2]))

    def unary(self, c: Children) -> Unary:
        return Unary(c[0].value, c[1], span_over(c[0], c[1]))

    def comparison(self, c: Children) -> Comparison:
        return Comparison(tuple(c[::2]), tuple(c[1::2]), span_over(c[0], c[-1]))

    def comparator(self, c: Children) -> str:
        return " ".join([token.value for token in c])

    def call(self, c: Children) -> Call:
        return Call(c[0], between(c[1:]), span_over(c[0], c[-1]))

    def argument(self, c: Children) -> Argument:
        if len(c) == 1:
            return Argument(c[0], None, c[0].span)
        return Argument(c[2], c[0].value, span_over(c[0], c[2]))

    def index(self, c: Children) -> Index:
        return Index(c[0], between(c[1:]), span_over(c[0], c[-1]))

    def slice(self, c: Children) -> Slice:
        bounds: list[Expr | None] = [None]
        for child in c:
            if type(child) is Token:
                bounds.append(None)
            else:
                bounds[-1] = child
        start, stop, step = [*bounds, None, None][:3]
        return Slice(start, stop, step, span_over(c[0], c[-1]))

    def member(self, c: Children) -> Member:
        return Member(c[0], c[2].value, c[2].span, span_over(c[0], c[2]))

    def name_pattern(self, c: Children) -> NamePattern:
        return NamePattern(c[0], unescape(c[2]), span_over(c[0], c[2]))

    def repeat_function(self, c: Children) -> Call:
        return Call(Name("repeat", c[0].span), between(c[1:]), span_over(c[0], c[-1]))

    def repeat(self, c: Children) -> Repeat:
        arguments = between(c[1:-3])
        if len(arguments) != 1 or arguments[0].name is not None:
            raise SpecError(_wrong_count(span_over(c[1], c[-4])))
        return Repeat(arguments[0].value, c[-2], span_over(c[0], c[-1]))

    def name(self, c: Children) -> Name:
        token = c[0]
        return Name(token.value, Span(token.source, token.start, token.end))

    def integer(self, c: Children) -> Literal:
        token = c[0]
        return Literal(int(token.value), token.value, Span(token.source, token.start, token.end))

    def float(self, c: Children) -> Literal:
        token = c[0]
        return Literal(float(token.value), token.value, Span(token.source, token.start, token.end))

    def string(self, c: Children) -> Literal:
        token = c[0]
        return Literal(unescape(token), token.value, Span(token.source, token.start, token.end))

    def constant(self, c: Children) -> Literal:
        token = c[0]
        return Literal(_CONSTANTS[token.value], token.value, Span(token.source, token.start, token.end))

    def ellipsis(self, c: Children) -> Ellipsis:
        return Ellipsis(c[0].span)

    def list(self, c: Children) -> ListExpr:
        return ListExpr(between(c), span_over(c[0], c[-1]))

    def comprehension(self, c: Children) -> Comprehension:
        return Comprehension(c[1], c[3], c[5], c[7] if len(c) == 9 else None, span_over(c[0], c[-1]))

    def bracketed(self, c: Children) -> Expr:
        node: Expr = _widen(c[1], c)
        return node


_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "none": None}
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t"}
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F]{1,6})\}|(.))", re.DOTALL)


def unescape(token: Token) -> str:
    """The text of a string literal."""
    inner = token.value[1:-1]
    if "\\" not in inner:
        return inner

    def replace(match: re.Match[str]) -> str:
        if match[2] in _ESCAPES:
            return _ESCAPES[match[2]]
        code = int(match[1], 16) if match[1] else -1
        if code < 0 or code > 0x10FFFF or 0xD800 <= code < 0xE000:
            start = token.start + 1 + match.start()
            raise SpecError(_bad_escape(Span(token.source, start, start + len(match[0])), match[0]))
        return chr(code)

    return _ESCAPE.sub(replace, inner)


def _not_a_stage(target: Expr) -> Diagnostic:
    message = "a stage of a pipeline is a layer or function to apply, not a value"
    return Diagnostic("DL0101", message, target.span, "expected a name, a call or an expression in brackets")


def _wrong_count(span: Span) -> Diagnostic:
    return Diagnostic(
        "DL0113", "`repeat` with a body takes the number of copies and nothing else", span, help="write `repeat(12) { Block(8) }`"
    )


def _bad_escape(span: Span, text: str) -> Diagnostic:
    return Diagnostic("DL0106", f"`{text}` is not an escape", span, help='the escapes are \\" \\\\ \\n \\t and \\u{1F600}')
