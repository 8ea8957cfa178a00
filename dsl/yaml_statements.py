"""The statements of a YAML spec: mappings with one key that names the kind, or with the names that an assignment binds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dsl import yaml_expressions as read
from dsl.check_syntax import check_loop, make_rule
from dsl.diagnostics import Diagnostic, SpecError, did_you_mean
from dsl.source import Span
from dsl.syntax import (
    BLANK_LINE,
    NO_COMMENTS,
    Argument,
    Assert,
    Assign,
    Call,
    Carry,
    Comments,
    Emit,
    Expr,
    For,
    If,
    LayerDecl,
    Metric,
    Minimize,
    Name,
    Pipe,
    Require,
    Return,
    Rule,
    Scan,
    Stage,
    Statement,
    TensorDecl,
    TupleExpr,
    TypeExpr,
    Update,
    While,
)
from dsl.yaml_nodes import YamlList, YamlMapping, YamlNode, YamlScalar

STATEMENT_KEYS = {
    "if": {"if", "then", "else"},
    "for": {"for", "do"},
    "require": {"require", "message"},
    "assert": {"assert", "message"},
    "return": {"return"},
    "layer": {"layer"},
    "param": {"param"},
    "buffer": {"buffer"},
    "update": {"update"},
    "scan": {"scan", "over", "reverse", "length", "carry", "do"},
    "while": {"while", "carry", "limit", "do"},
    "emit": {"emit"},
    "minimize": {"minimize", "over", "using", "clip", "clip_value", "every"},
    "metric": {"metric"},
}
"""The keys of each kind of statement; the first names the kind."""

_T = TypeVar("_T")


class StatementLoader:
    """Makes statements, and keeps the errors found on the way."""

    def __init__(self) -> None:
        self.errors: list[Diagnostic] = []

    def each(self, nodes: tuple[YamlNode, ...], make: Callable[[YamlNode], _T]) -> tuple[_T, ...]:
        """Make each node; what is wrong with one does not hide what is wrong with the next."""
        made: list[_T] = []
        for node in nodes:
            try:
                made.append(make(node))
            except SpecError as error:
                self.errors.extend(error.diagnostics)
        return tuple(made)

    def known_keys(self, node: YamlMapping, known: set[str]) -> None:
        for key, _ in node.pairs:
            if key.text not in known:
                near = did_you_mean(key.text, known)
                fix = f"did you mean `{near}`?" if near else f"the keys here are {', '.join(f'`{k}`' for k in sorted(known))}"
                raise SpecError(Diagnostic("DL0906", f"unknown key `{key.text}`", key.span, help=fix))

    def needed(self, node: YamlMapping, key: str) -> YamlNode:
        found = node.get(key)
        if found is None:
            first = node.pairs[0][0].span if node.pairs else node.span
            raise SpecError(Diagnostic("DL0906", f"the key `{key}` is missing", first))
        return found

    def statements(self, node: YamlNode) -> tuple[Statement, ...]:
        return self.each(read.items(node, "statements"), self.statement)

    def statement(self, node: YamlNode) -> Statement:
        top = read.mapping(node, "a statement")
        if not top.pairs:
            raise SpecError(Diagnostic("DL0906", "an empty statement", top.span))
        key, value = top.pairs[0]
        kind = next((kind for kind in STATEMENT_KEYS if top.get(kind) is not None), None)
        if kind == "while" and len(top.pairs) == 1:
            kind = None  # a tensor of that name
        comments = comments_of(top)
        if kind is None:
            if len(top.pairs) > 1:
                fix = "begin each with `-`"
                raise SpecError(Diagnostic("DL0906", "one statement a list item", top.pairs[1][0].span, help=fix))
            return self.assign(key, value, top.span, comments)
        self.known_keys(top, STATEMENT_KEYS[kind])
        return self.special(kind, self.needed(top, kind), top, comments)

    def special(self, kind: str, value: YamlNode, top: YamlMapping, comments: Comments) -> Statement:
        span = top.span
        match kind:
            case "return":
                return Return(read.values(value), span, comments)
            case "require" | "assert":
                message = top.get("message")
                text = None if message is None else read.expression(message)
                return (Require if kind == "require" else Assert)(read.expression(value), text, span, comments)
            case "if":
                orelse = top.get("else")
                otherwise = () if orelse is None else self.statements(orelse)
                return If(read.expression(value), self.statements(self.needed(top, "then")), otherwise, span, comments)
            case "for":
                pattern, iterable = read.for_head(read.word(value, "`name in expression`"))
                return For(pattern, iterable, self.statements(self.needed(top, "do")), span, comments)
            case "scan":
                return self.scan(value, top, comments)
            case "while":
                return self.while_(value, top, comments)
            case "minimize":
                return self.minimize(value, top, comments)
            case _:
                return self.declaration(kind, value, span, comments)

    def one_pair(self, node: YamlNode, kind: str) -> tuple[YamlScalar, YamlNode]:
        """A name and what it is."""
        named = read.mapping(node, "the name and what it is")
        if len(named.pairs) != 1:
            raise SpecError(Diagnostic("DL0906", f"one `{kind}` a list item", named.span))
        return named.pairs[0]

    def declaration(self, kind: str, node: YamlNode, span: Span, comments: Comments) -> Statement:
        key, value = self.one_pair(node, kind)
        name = read.path(key) if kind == "update" else read.name(key)
        if kind == "layer":
            return LayerDecl(name, read.layer(value), key.span, span, comments)
        if kind == "update":
            return Update(name, read.expression(value), key.span, span, comments)
        if kind == "emit":
            return Emit(name, read.expression(value), key.span, span, comments)
        if kind == "metric":
            return Metric(name, read.expression(value), key.span, span, comments)
        type_, initial = self.tensor(value)
        return TensorDecl(kind, name, type_, initial, key.span, span, comments)

    def tensor(self, node: YamlNode) -> tuple[TypeExpr, Expr | None]:
        if not isinstance(node, YamlMapping):
            return read.type_(node), None
        self.known_keys(node, {"type", "init"})
        initial = node.get("init")
        return read.type_(self.needed(node, "type")), None if initial is None else read.expression(initial)

    def assign(self, key: YamlScalar, node: YamlNode, span: Span, comments: Comments) -> Assign:
        pattern = read.pattern(key)
        if not isinstance(node, YamlMapping):
            return Assign(pattern, read.value(node), span, comments)
        layer = read.expression(self.needed(node, "layer"))
        source = self.source(self.needed(node, "of"))
        arguments = tuple([read.argument(name, value) for name, value in node.pairs if name.text not in ("layer", "of")])
        target = Call(layer, arguments, node.span) if arguments else layer
        label = pattern.id if isinstance(pattern, Name) else None
        return Assign(pattern, Pipe(source, (Stage(target, label, node.span),), node.span), span, comments)

    def source(self, node: YamlNode) -> Expr:
        """What a node is applied to: one expression, or a list of them."""
        if isinstance(node, YamlList):
            return TupleExpr(tuple([read.expression(item) for item in node.items]), node.span)
        return read.expression(node)

    # --- loops and training

    def scan(self, head: YamlNode, top: YamlMapping, comments: Comments) -> Scan:
        pattern, source = read.scan_head(read.word(head, "`name in expression`"))
        over = top.get("over")
        options = tuple(
            [
                Argument(read.expression(value), key.text, Span(key.span.source, key.span.start, value.span.end))
                for key, value in top.pairs
                if key.text in ("reverse", "length")
            ]
        )
        carries = self.carries(top.get("carry"))
        check_loop(carries)
        body = self.statements(self.needed(top, "do"))
        axis = None if over is None else read.expression(over)
        return Scan(pattern, source, axis, options, carries, body, top.span, comments)

    def while_(self, head: YamlNode, top: YamlMapping, comments: Comments) -> While:
        carries = self.carries(self.needed(top, "carry"))
        check_loop(carries)
        limit = read.expression(self.needed(top, "limit"))
        return While(read.expression(head), carries, limit, self.statements(self.needed(top, "do")), top.span, comments)

    def carries(self, node: YamlNode | None) -> tuple[Carry, ...]:
        """What a loop carries, by name, with the first values."""
        pairs = () if node is None else read.mapping(node, "what the loop carries, with its first value").pairs
        return tuple(
            [
                Carry(read.name(key), read.expression(value), Span(key.span.source, key.span.start, value.span.end))
                for key, value in pairs
            ]
        )

    def minimize(self, head: YamlNode, top: YamlMapping, comments: Comments) -> Minimize:
        name = None
        if isinstance(head, YamlMapping):
            key, head = self.one_pair(head, "minimize")
            name = read.name(key)
        targets, clip, value, every = (top.get(key) for key in ("over", "clip", "clip_value", "every"))
        if clip is not None and value is not None:
            raise SpecError(Diagnostic("DL0906", "gradients are clipped by `clip` or by `clip_value`", value.span))
        limit = clip if value is None else value
        return Minimize(
            read.expression(head),
            name,
            () if targets is None else _each_expression(targets),
            self.rules(self.needed(top, "using")),
            None if limit is None else read.expression(limit),
            "norm" if value is None else "value",
            None if every is None else read.expression(every),
            top.span,
            comments,
        )

    def rules(self, node: YamlNode) -> tuple[Rule, ...]:
        listed = node.items if isinstance(node, YamlList) else (node,)
        if not listed:
            raise SpecError(Diagnostic("DL0101", "expected an optimizer", node.span))
        return tuple([self.rule(item) for item in listed])

    def rule(self, node: YamlNode) -> Rule:
        """An optimizer, or `{rule: adam(1e-3), for: PATTERNS}`."""
        if not isinstance(node, YamlMapping):
            return make_rule(read.expression(node), None, node.span, node.span)
        self.known_keys(node, {"rule", "for"})
        optimizer, patterns = self.needed(node, "rule"), self.needed(node, "for")
        return make_rule(read.expression(optimizer), _each_expression(patterns), patterns.span, node.span)


def _each_expression(node: YamlNode) -> tuple[Expr, ...]:
    """One expression, or those of a list."""
    return tuple([read.expression(item) for item in (node.items if isinstance(node, YamlList) else (node,))])


def comments_of(node: YamlMapping, key: YamlScalar | None = None) -> Comments:
    """The comment lines above a statement or definition, and the one at the end of a line that is all of it."""
    span = node.span if key is None else key.span
    leading = tuple(BLANK_LINE if not line else line[1:] for line in read.lines_above(span))
    last = node.pairs[-1][1] if node.pairs else node
    trailing = None
    if last.span.line == span.line:
        rest = span.source.line(span.line)[span.source.position(last.span.end)[1] - 1 :].lstrip(" \t}]")
        trailing = rest[1:].rstrip() if rest.startswith("#") else None
    return Comments(leading, trailing) if leading or trailing is not None else NO_COMMENTS
