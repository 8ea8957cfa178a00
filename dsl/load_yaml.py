"""From a YAML spec to the same tree that its `.dl` form has, with every error placed in the YAML text.

A file is one definition (a mapping), or several in a list under `definitions`. Scalars are expressions, types and names of the `.dl`
grammar; grammar/spec.schema.json describes the keys.
"""

from __future__ import annotations

from dsl import yaml_expressions as read
from dsl.check_syntax import check_hyper_parameters, check_inputs, no_entry
from dsl.depth import too_deep
from dsl.diagnostics import Diagnostic, SpecError
from dsl.parse import collector_paused
from dsl.read_source import refuse_characters
from dsl.source import Source, Span
from dsl.syntax import (
    NO_COMMENTS,
    Backward,
    Comments,
    Const,
    Definition,
    Entry,
    File,
    For,
    Function,
    If,
    Import,
    Module,
    Name,
    Output,
    Parameter,
    Return,
    Scan,
    Statement,
    Test,
    Train,
    While,
)
from dsl.yaml_nodes import YamlList, YamlMapping, YamlNode, YamlScalar, read_nodes
from dsl.yaml_statements import StatementLoader, comments_of

DEFINITION_KEYS = {
    "model": {"model", "params", "inputs", "outputs", "graph", "entries"},
    "module": {"module", "params", "inputs", "outputs", "graph", "entries"},
    "fn": {"fn", "params", "value", "graph", "backward"},
    "const": {"const", "value"},
    "from": {"from", "import"},
    "import": {"import", "as"},
    "train": {"train", "params", "inputs", "graph"},
    "test": {"test", "graph"},
}
"""The keys of each kind of definition; the first names the kind."""


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


class _Loader(StatementLoader):
    def definition(self, node: YamlNode) -> Definition:
        top = read.mapping(node, "a definition")
        kind = next((kind for kind in DEFINITION_KEYS if top.get(kind) is not None), None)
        if kind is None:
            kinds = ", ".join(f"`{kind}`" for kind in DEFINITION_KEYS)
            span = top.pairs[0][0].span if top.pairs else top.span
            raise SpecError(Diagnostic("DL0906", f"a definition has one of the keys {kinds}", span))
        self.known_keys(top, DEFINITION_KEYS[kind])
        head = read.word(self.needed(top, kind), "a name")
        comments = comments_of(top)
        match kind:
            case "model" | "module":
                return self.module(kind, head, top, comments)
            case "fn":
                return self.function(head, top, comments)
            case "const":
                return Const(read.name(head), read.value(self.needed(top, "value")), head.span, top.span, comments)
            case "train":
                return self.train(head, top, comments)
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
            entries.append(self.entry(read.name(key), key.span, inner, comments_of(inner, key)))
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
        body, short = self.function_body(top)
        gradient = top.get("backward")
        backward = None if gradient is None else self.backward(read.mapping(gradient, "the gradient of the function"))
        return Function(read.name(head), parameters, body, short, backward, head.span, top.span, comments)

    def function_body(self, node: YamlMapping) -> tuple[tuple[Statement, ...], bool]:
        """The statements, and whether they are one expression."""
        value = node.get("value")
        if value is None:
            return self.statements(self.needed(node, "graph")), False
        return (Return(read.values(value), value.span),), True

    def backward(self, node: YamlMapping) -> Backward:
        self.known_keys(node, {"of", "value", "graph"})
        names = self.needed(node, "of")
        words = names.items if isinstance(names, YamlList) else (names,)
        body, short = self.function_body(node)
        return Backward(tuple([read.name(read.word(word, "a name")) for word in words]), body, short, node.span)

    def train(self, head: YamlScalar, top: YamlMapping, comments: Comments) -> Train:
        params = top.get("params")
        parameters = () if params is None else self.parameters(params)
        check_hyper_parameters(parameters)
        inputs = check_inputs(self.parameters(self.needed(top, "inputs")))
        body = self.statements(self.needed(top, "graph"))
        return Train(read.name(head), parameters, inputs, body, head.span, top.span, comments)


def _returns(body: tuple[Statement, ...]) -> bool:
    return any(
        isinstance(s, Return)
        or (isinstance(s, If) and (_returns(s.body) or _returns(s.orelse)))
        or (isinstance(s, For | Scan | While) and _returns(s.body))
        for s in body
    )
