"""From a YAML spec to the same tree that its `.dl` form has, with every error placed in the YAML text.

A file is one definition (a mapping), or several in a list under `definitions`. Scalars are expressions, types and names of the `.dl`
grammar; grammar/spec.schema.json describes the keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dsl import yaml_expressions as read
from dsl.build_tree import check_hyper_parameters, check_inputs, no_entry
from dsl.depth import too_deep
from dsl.diagnostics import Diagnostic, SpecError, did_you_mean
from dsl.parse import collector_paused
from dsl.read_source import refuse_characters
from dsl.source import Source, Span
from dsl.syntax import (
    BLANK_LINE,
    NO_COMMENTS,
    Assert,
    Assign,
    Call,
    Comments,
    Const,
    Definition,
    Entry,
    Expr,
    File,
    For,
    Function,
    If,
    Import,
    LayerDecl,
    Module,
    Name,
    Output,
    Parameter,
    Pipe,
    Require,
    Return,
    Stage,
    Statement,
    TensorDecl,
    Test,
    TupleExpr,
    TypeExpr,
    Update,
)
from dsl.yaml_nodes import YamlList, YamlMapping, YamlNode, YamlScalar, read_nodes

DEFINITION_KEYS = {
    "model": {"model", "params", "inputs", "outputs", "graph", "entries"},
    "module": {"module", "params", "inputs", "outputs", "graph", "entries"},
    "fn": {"fn", "params", "value", "graph"},
    "const": {"const", "value"},
    "from": {"from", "import"},
    "import": {"import", "as"},
    "test": {"test", "graph"},
}
"""The keys of each kind of definition; the first names the kind."""

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
}

_T = TypeVar("_T")


def load_yaml(source: Source) -> File:
    """The tree of a YAML spec. SpecError carries all errors found."""
    refuse_characters(source)
    with collector_paused():
        return _load(source)


def _load(source: Source) -> File:
    root = read_nodes(source)
    if root is None or (isinstance(root, YamlScalar) and not root.text):
        return File((), source)
    loader = _Loader()
    top = read.mapping(root, "a definition")
    listed = top.get("definitions")
    if listed is not None:
        loader.known_keys(top, {"definitions"})
        definitions = loader.each(read.items(listed, "definitions"), loader.definition)
    else:
        definitions = loader.each((top,), loader.definition)
    if not loader.errors:
        loader.errors.extend(too_deep(definitions))
    if loader.errors:
        raise SpecError(sorted(loader.errors, key=lambda error: error.span.start))
    return File(definitions, source)


class _Loader:
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

    # --- definitions

    def definition(self, node: YamlNode) -> Definition:
        top = read.mapping(node, "a definition")
        kind = next((kind for kind in DEFINITION_KEYS if top.get(kind) is not None), None)
        if kind is None:
            kinds = ", ".join(f"`{kind}`" for kind in DEFINITION_KEYS)
            span = top.pairs[0][0].span if top.pairs else top.span
            raise SpecError(Diagnostic("DL0906", f"a definition has one of the keys {kinds}", span))
        self.known_keys(top, DEFINITION_KEYS[kind])
        head = read.word(self.needed(top, kind), "a name")
        comments = _comments(top)
        match kind:
            case "model" | "module":
                return self.module(kind, head, top, comments)
            case "fn":
                return self.function(head, top, comments)
            case "const":
                return Const(read.name(head), read.value(self.needed(top, "value")), head.span, top.span, comments)
            case "test":
                return Test(head.text, self.statements(self.needed(top, "graph")), top.span, comments)
            case "from":
                names = self.needed(top, "import")
                words = names.items if isinstance(names, YamlList) else (names,)
                imported = tuple([read.imported(read.word(item, "a name")) for item in words])
                return Import(read.path(head), imported, None, head.span, top.span, comments)
            case _:
                alias = top.get("as")
                name = None if alias is None else read.name(read.word(alias, "a name"))
                return Import(read.path(head), (), name, head.span, top.span, comments)

    def module(self, kind: str, head: YamlScalar, top: YamlMapping, comments: Comments) -> Module:
        name = read.name(head)
        params = top.get("params")
        parameters = () if params is None else self.parameters(params)
        check_hyper_parameters(parameters)
        if top.get("inputs") is not None:
            if top.get("entries") is not None:
                key = next(key for key, _ in top.pairs if key.text == "entries")
                raise SpecError(Diagnostic("DL0906", "a module has either `inputs` or `entries`", key.span))
            entry = self.entry("forward", head.span, top)
            return Module(kind, name, parameters, (), (entry,), True, head.span, top.span, comments)
        listed = top.get("entries")
        if listed is None:
            raise SpecError(no_entry(kind, name, head.span, bool(parameters)))
        entries: list[Entry] = []
        for key, node in read.mapping(listed, "entry points").pairs:
            inner = read.mapping(node, "an entry point")
            self.known_keys(inner, {"inputs", "outputs", "graph"})
            entries.append(self.entry(read.name(key), key.span, inner, _comments(inner, key)))
        graph = top.get("graph")
        body = () if graph is None else self.statements(graph)
        return Module(kind, name, parameters, body, tuple(entries), False, head.span, top.span, comments)

    def entry(self, name: str, place: Span, node: YamlMapping, comments: Comments = NO_COMMENTS) -> Entry:
        inputs = check_inputs(self.parameters(self.needed(node, "inputs")))
        outputs = node.get("outputs")
        results = () if outputs is None else self.outputs(outputs)
        body = self.statements(self.needed(node, "graph"))
        names = [Name(output.name, output.span) for output in results if output.name is not None]
        if names and len(names) == len(results) and not _returns(body):
            body = (*body, Return(tuple(names), node.span))  # a graph that returns nothing returns its outputs by their names
        return Entry(name, inputs, results, body, place, node.span, comments)

    def parameters(self, node: YamlNode) -> tuple[Parameter, ...]:
        if isinstance(node, YamlList):
            return tuple([read.parameter(read.word(item, "a parameter")) for item in node.items])
        return tuple([self.parameter(key, value) for key, value in read.mapping(node, "parameters").pairs])

    def parameter(self, key: YamlScalar, node: YamlNode) -> Parameter:
        name = read.name(key)
        span = Span(key.span.source, key.span.start, node.span.end)
        if not isinstance(node, YamlMapping):
            return Parameter(name, read.type_(node), None, span)
        self.known_keys(node, {"type", "default"})
        kind, default = node.get("type"), node.get("default")
        return Parameter(
            name, None if kind is None else read.type_(kind), None if default is None else read.expression(default), span
        )

    def outputs(self, node: YamlNode) -> tuple[Output, ...]:
        if isinstance(node, YamlScalar):
            return (Output(read.type_(node), None, node.span),)
        pairs: list[tuple[YamlScalar | None, YamlNode]] = []
        if isinstance(node, YamlMapping):
            pairs.extend(node.pairs)
        else:
            for item in node.items:
                pairs.extend(item.pairs if isinstance(item, YamlMapping) else [(None, item)])
        return tuple([Output(read.type_(kind), None if key is None else read.name(key), kind.span) for key, kind in pairs])

    def function(self, head: YamlScalar, top: YamlMapping, comments: Comments) -> Function:
        params = top.get("params")
        parameters = () if params is None else self.parameters(params)
        name = read.name(head)
        value = top.get("value")
        if value is None:
            body = self.statements(self.needed(top, "graph"))
            return Function(name, parameters, body, False, None, head.span, top.span, comments)
        body = (Return(read.values(value), value.span),)
        return Function(name, parameters, body, True, None, head.span, top.span, comments)

    # --- statements

    def statements(self, node: YamlNode) -> tuple[Statement, ...]:
        return self.each(read.items(node, "statements"), self.statement)

    def statement(self, node: YamlNode) -> Statement:
        top = read.mapping(node, "a statement")
        if not top.pairs:
            raise SpecError(Diagnostic("DL0906", "an empty statement", top.span))
        key, value = top.pairs[0]
        kind = next((kind for kind in STATEMENT_KEYS if top.get(kind) is not None), None)
        comments = _comments(top)
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
            case _:
                return self.declaration(kind, value, span, comments)

    def declaration(self, kind: str, node: YamlNode, span: Span, comments: Comments) -> Statement:
        named = read.mapping(node, "the name and what it is")
        if len(named.pairs) != 1:
            raise SpecError(Diagnostic("DL0906", f"one `{kind}` a list item", named.span))
        key, value = named.pairs[0]
        name = read.name(key)
        if kind == "layer":
            return LayerDecl(name, read.expression(value), key.span, span, comments)
        if kind == "update":
            return Update(name, read.expression(value), key.span, span, comments)
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


def _returns(body: tuple[Statement, ...]) -> bool:
    return any(
        isinstance(s, Return)
        or (isinstance(s, If) and (_returns(s.body) or _returns(s.orelse)))
        or (isinstance(s, For) and _returns(s.body))
        for s in body
    )


def _comments(node: YamlMapping, key: YamlScalar | None = None) -> Comments:
    """The comment lines above a statement or definition, and the one at the end of a line that is all of it."""
    span = node.span if key is None else key.span
    leading = tuple(BLANK_LINE if not line else line[1:] for line in read.lines_above(span))
    last = node.pairs[-1][1] if node.pairs else node
    trailing = None
    if last.span.line == span.line:
        rest = span.source.line(span.line)[span.source.position(last.span.end)[1] - 1 :].lstrip(" \t}]")
        trailing = rest[1:].rstrip() if rest.startswith("#") else None
    return Comments(leading, trailing) if leading or trailing is not None else NO_COMMENTS
