"""The tree, built while parsing: one method a rule of grammar/dl.lark, from its children to a node.

Children are tokens and finished nodes, in the order of the rule; the tables do not say which, hence `Any`, here and nowhere after. The
methods hold no state, so one builder serves all texts.
"""

from __future__ import annotations

import re
from typing import Any

from dsl.diagnostics import Diagnostic, Label, SpecError, did_you_mean
from dsl.source import Span
from dsl.syntax import (
    Argument,
    Assert,
    Assign,
    Backward,
    Binary,
    Call,
    Carry,
    Comparison,
    Comprehension,
    Conditional,
    Const,
    CopyOf,
    Ellipsis,
    Emit,
    Entry,
    Expr,
    For,
    Function,
    If,
    Import,
    ImportedName,
    Index,
    LayerDecl,
    ListExpr,
    Literal,
    Member,
    Metric,
    Minimize,
    Module,
    Name,
    NamePattern,
    Output,
    Parameter,
    Pattern,
    Pipe,
    Repeat,
    Require,
    Return,
    Rule,
    Scan,
    Slice,
    Stage,
    TensorDecl,
    Test,
    Train,
    TupleExpr,
    TuplePattern,
    TypeExpr,
    Unary,
    Update,
    While,
    With,
)
from dsl.tokens import Token

Children = list[Any]
Clause = tuple[str, Any]
"""A part of a statement that may be missing, under its name."""


def _over(first: Any, last: Any) -> Span:
    """The span from one token or node to another."""
    start: int = first.start if type(first) is Token else first.span.start
    if type(last) is Token:
        return Span(last.source, start, last.end)
    span: Span = last.span
    return Span(span.source, start, span.end)


def _between(children: Children) -> tuple[Any, ...]:
    """The nodes of a bracketed or separated list, without its punctuation."""
    return tuple([child for child in children if type(child) is not Token])


def _names(children: Children) -> tuple[str, ...]:
    return tuple([token.value for token in children if token.type == "NAME"])


def _begins_line(token: Token) -> bool:
    text = token.source.text
    return not text[text.rfind("\n", 0, token.start) + 1 : token.start].strip()


def _widen(node: Any, children: Children) -> Any:
    """A bracketed node's span takes in its brackets. The node is new and unshared, so that it may still be written to."""
    object.__setattr__(node, "span", _over(children[0], children[-1]))
    return node


class TreeBuilder:
    """The callbacks of the parser."""

    # --- definitions

    def model_head(self, c: Children) -> Children:
        return c

    def short_module(self, c: Children) -> Module:
        (kind, name), parameters, inputs, outputs, body = c
        span = Span(kind.source, kind.start, body[-1].end)
        forward = Entry("forward", check_inputs(inputs), outputs, _between(body), name.span, span)
        check_hyper_parameters(parameters)
        return Module(kind.value, name.value, parameters, (), (forward,), True, name.span, span)

    def long_module(self, c: Children) -> Module:
        (kind, name), body = c[0], c[-1]
        parameters = c[1] if len(c) == 3 else ()
        members = _between(body)
        entries = tuple([member for member in members if type(member) is Entry])
        if not entries:
            raise SpecError(no_entry(kind.value, name.value, name.span, bool(parameters)))
        check_entries(entries)
        check_hyper_parameters(parameters)
        statements = tuple([member for member in members if type(member) is not Entry])
        return Module(kind.value, name.value, parameters, statements, entries, False, name.span, _over(kind, body[-1]))

    def module_body(self, c: Children) -> Children:
        return c

    def entry(self, c: Children) -> Entry:
        word, name, inputs, outputs, body = c
        return Entry(name.value, check_inputs(inputs), outputs, _between(body), name.span, _over(word, body[-1]))

    def parameters(self, c: Children) -> tuple[Parameter, ...]:
        return _between(c)

    def parameter(self, c: Children) -> Parameter:
        kind = default = None
        for mark, node in zip(c[1::2], c[2::2], strict=True):
            if mark.type == "COLON":
                kind = node
            else:
                default = node
        return Parameter(c[0].value, kind, default, _over(c[0], c[-1]))

    def result(self, c: Children) -> tuple[Output, ...]:
        return c[1] if c else ()

    def one_output(self, c: Children) -> tuple[Output, ...]:
        return (Output(c[0], None, c[0].span),)

    def many_outputs(self, c: Children) -> tuple[Output, ...]:
        return _between(c)

    def output(self, c: Children) -> Output:
        return Output(c[-1], c[0].value if len(c) == 3 else None, _over(c[0], c[-1]))

    def short_function(self, c: Children) -> Function:
        word, name, parameters, _, value = c[:5]
        body = (Return(_values(value), value.span),)
        backward = c[5] if len(c) == 6 else None
        return Function(name.value, parameters, body, True, backward, name.span, _over(word, c[-1]))

    def long_function(self, c: Children) -> Function:
        word, name, parameters, body = c[:4]
        backward = c[4] if len(c) == 5 else None
        span = _over(word, body[-1] if backward is None else backward)
        return Function(name.value, parameters, _between(body), False, backward, name.span, span)

    def short_backward(self, c: Children) -> Backward:
        body = (Return(_values(c[-1]), c[-1].span),)
        return Backward(_names(c[1:-2]), body, True, _over(c[0], c[-1]))

    def long_backward(self, c: Children) -> Backward:
        return Backward(_names(c[1:-1]), _between(c[-1]), False, _over(c[0], c[-1][-1]))

    def const(self, c: Children) -> Const:
        return Const(c[1].value, c[3], c[1].span, _over(c[0], c[3]))

    def from_import(self, c: Children) -> Import:
        path, place = c[1]
        return Import(path, _between(c[2:]), None, place, _over(c[0], c[-1]))

    def imported(self, c: Children) -> ImportedName:
        return ImportedName(c[0].value, c[2].value if len(c) == 3 else None, _over(c[0], c[-1]))

    def import_(self, c: Children) -> Import:
        path, place = c[1]
        alias = c[3] if len(c) == 4 else None
        end = place.end if alias is None else alias.end
        return Import(path, (), alias.value if alias else None, place, Span(place.source, c[0].start, end))

    def path(self, c: Children) -> tuple[str, Span]:
        return "".join([token.value for token in c]), _over(c[0], c[-1])

    def train(self, c: Children) -> Train:
        word, name, parameters, inputs, body = c
        check_hyper_parameters(parameters)
        return Train(name.value, parameters, check_inputs(inputs), _between(body), name.span, _over(word, body[-1]))

    def test(self, c: Children) -> Test:
        title = self.string([c[1]])
        return Test(str(title.value), _between(c[2]), _over(c[0], c[2][-1]))

    # --- statements

    def block(self, c: Children) -> Children:
        return c

    def assign(self, c: Children) -> Assign:
        return Assign(c[0], c[2], _over(c[0], c[2]))

    def layer(self, c: Children) -> LayerDecl:
        return LayerDecl(c[1].value, c[3], c[1].span, _over(c[0], c[3]))

    def tensor(self, c: Children) -> TensorDecl:
        initial = c[5] if len(c) == 6 else None
        return TensorDecl(c[0].value, c[1].value, c[3], initial, c[1].span, _over(c[0], c[-1]))

    def update(self, c: Children) -> Update:
        return Update(c[1].value, c[3], c[1].span, _over(c[0], c[3]))

    def if_(self, c: Children) -> If:
        body = _between(c[2])
        if len(c) == 3:
            return If(c[1], body, (), _over(c[0], c[2][-1]))
        otherwise = c[4]
        if type(otherwise) is If:
            return If(c[1], body, (otherwise,), _over(c[0], otherwise))
        return If(c[1], body, _between(otherwise), _over(c[0], otherwise[-1]))

    def for_(self, c: Children) -> For:
        pattern, iterable = c[1]
        return For(pattern, iterable, _between(c[2]), _over(c[0], c[2][-1]))

    def for_head(self, c: Children) -> tuple[Pattern, Expr]:
        return c[0], c[2]

    def return_(self, c: Children) -> Return:
        return Return(_values(c[1]), _over(c[0], c[1]))

    def require(self, c: Children) -> Require:
        return Require(c[1], c[3] if len(c) == 4 else None, _over(c[0], c[-1]))

    def assert_(self, c: Children) -> Assert:
        return Assert(c[1], c[3] if len(c) == 4 else None, _over(c[0], c[-1]))

    # --- loops and training

    def scan(self, c: Children) -> Scan:
        clauses = dict(c[2:-1])
        pattern, source = c[1]
        options, carries = clauses.get("options", ()), clauses.get("carries", ())
        check_loop(carries, options)
        return Scan(pattern, source, clauses.get("over"), options, carries, _between(c[-1]), _over(c[0], c[-1][-1]))

    def scan_head(self, c: Children) -> tuple[Pattern, Expr]:
        return c[0], c[2]

    def over(self, c: Children) -> Clause:
        return "over", c[1]

    def options(self, c: Children) -> Clause:
        return "options", tuple(c)

    def option(self, c: Children) -> Argument:
        return Argument(c[2], c[0].value, _over(c[0], c[2]))

    def while_(self, c: Children) -> While:
        clauses = dict(c[2:-1])
        check_loop(clauses["carries"])
        return While(c[1], clauses["carries"], clauses["limit"], _between(c[-1]), _over(c[0], c[-1][-1]))

    def limit(self, c: Children) -> Clause:
        return "limit", c[1]

    def carries(self, c: Children) -> Clause:
        return "carries", _between(c)

    def carry(self, c: Children) -> Carry:
        return Carry(c[0].value, c[2], _over(c[0], c[2]))

    def emit(self, c: Children) -> Emit:
        return Emit(c[1].value, c[3], c[1].span, _over(c[0], c[3]))

    def minimize(self, c: Children) -> Minimize:
        name, loss = c[1]
        clauses = dict(c[2:])
        kind, clip = clauses.get("clip", ("norm", None))
        last = c[-1][1]
        end = (last[1] if c[-1][0] == "clip" else last[-1] if type(last) is tuple else last).span.end
        span = Span(c[0].source, c[0].start, end)
        return Minimize(loss, name, clauses.get("targets", ()), clauses["using"], clip, kind, clauses.get("every"), span)

    def objective(self, c: Children) -> tuple[str | None, Expr]:
        return (None, c[0]) if len(c) == 1 else (c[0].value, c[2])

    def targets(self, c: Children) -> Clause:
        return "targets", _between(c)

    def using(self, c: Children) -> Clause:
        rules: tuple[Rule, ...] = _between(c)
        for rule in rules:
            if type(rule.optimizer) in (Literal, NamePattern):
                raise SpecError(_not_an_optimizer(rule.optimizer))
        return "using", rules

    def rule(self, c: Children) -> Rule:
        if len(c) == 1:
            return Rule(c[0], (), c[0].span)
        patterns = c[2].items if type(c[2]) is ListExpr else (c[2],)
        if not patterns:
            raise SpecError(_no_patterns(c[2].span))
        return Rule(c[0], patterns, _over(c[0], c[2]))

    def clip(self, c: Children) -> Clause:
        return "clip", ("norm" if c[0].type == "CLIP" else "value", c[1])

    def every(self, c: Children) -> Clause:
        return "every", c[1]

    def metric(self, c: Children) -> Metric:
        return Metric(c[1].value, c[3], c[1].span, _over(c[0], c[3]))

    def with_parameters(self, c: Children) -> With:
        return With(c[0], c[2], _over(c[0], c[2]))

    def copy_of(self, c: Children) -> CopyOf:
        return CopyOf(c[0].value, c[2], c[4], _over(c[0], c[4]))

    # --- patterns

    def tuple_pattern(self, c: Children) -> TuplePattern:
        return TuplePattern(_between(c), _over(c[0], c[-1]))

    def bracketed_pattern(self, c: Children) -> Pattern:
        pattern: Pattern = _widen(c[1], c)
        return pattern

    # --- types

    def type(self, c: Children) -> TypeExpr:
        dims = _between(c) if len(c) > 1 else None
        return TypeExpr(c[0].value, dims, _over(c[0], c[-1]))

    # --- expressions

    def open_tuple(self, c: Children) -> TupleExpr:
        return TupleExpr(_between(c), _over(c[0], c[-1]))

    def closed_tuple(self, c: Children) -> TupleExpr:
        return TupleExpr(_between(c), _over(c[0], c[-1]))

    def pipe(self, c: Children) -> Pipe:
        for arrow, stage in zip(c[1::2], c[2::2], strict=True):
            if _begins_line(arrow):
                object.__setattr__(stage, "fresh_line", True)
        return Pipe(c[0], _between(c[1:]), _over(c[0], c[-1]))

    def stage(self, c: Children) -> Stage:
        target = c[-1]
        if type(target) in (Literal, ListExpr, Comprehension):
            raise SpecError(_not_a_stage(target))
        return Stage(target, c[0].value if len(c) == 3 else None, _over(c[0], target))

    def stages(self, c: Children) -> tuple[Stage, ...]:
        return _between(c)

    def conditional(self, c: Children) -> Conditional:
        return Conditional(c[0], c[2], c[4], _over(c[0], c[4]))

    def binary(self, c: Children) -> Binary:
        return Binary(c[1].value, c[0], c[2], _over(c[0], c[2]))

    def unary(self, c: Children) -> Unary:
        return Unary(c[0].value, c[1], _over(c[0], c[1]))

    def comparison(self, c: Children) -> Comparison:
        return Comparison(tuple(c[::2]), tuple(c[1::2]), _over(c[0], c[-1]))

    def comparator(self, c: Children) -> str:
        return " ".join([token.value for token in c])

    def call(self, c: Children) -> Call:
        return Call(c[0], _between(c[1:]), _over(c[0], c[-1]))

    def argument(self, c: Children) -> Argument:
        if len(c) == 1:
            return Argument(c[0], None, c[0].span)
        return Argument(c[2], c[0].value, _over(c[0], c[2]))

    def index(self, c: Children) -> Index:
        return Index(c[0], _between(c[1:]), _over(c[0], c[-1]))

    def slice(self, c: Children) -> Slice:
        bounds: list[Expr | None] = [None]
        for child in c:
            if type(child) is Token:
                bounds.append(None)
            else:
                bounds[-1] = child
        start, stop, step = [*bounds, None, None][:3]
        return Slice(start, stop, step, _over(c[0], c[-1]))

    def member(self, c: Children) -> Member:
        return Member(c[0], c[2].value, c[2].span, _over(c[0], c[2]))

    def name_pattern(self, c: Children) -> NamePattern:
        return NamePattern(c[0], unescape(c[2]), _over(c[0], c[2]))

    def repeat_function(self, c: Children) -> Call:
        return Call(Name("repeat", c[0].span), _between(c[1:]), _over(c[0], c[-1]))

    def repeat(self, c: Children) -> Repeat:
        arguments = _between(c[1:-3])
        if len(arguments) != 1 or arguments[0].name is not None:
            raise SpecError(_wrong_count(_over(c[1], c[-4])))
        return Repeat(arguments[0].value, c[-2], _over(c[0], c[-1]))

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
        return ListExpr(_between(c), _over(c[0], c[-1]))

    def comprehension(self, c: Children) -> Comprehension:
        return Comprehension(c[1], c[3], c[5], c[7] if len(c) == 9 else None, _over(c[0], c[-1]))

    def bracketed(self, c: Children) -> Expr:
        node: Expr = _widen(c[1], c)
        return node


for _rule in ("if", "for", "while", "return", "assert", "import"):
    setattr(TreeBuilder, _rule, getattr(TreeBuilder, f"{_rule}_"))

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


def _values(value: Expr) -> tuple[Expr, ...]:
    return value.items if type(value) is TupleExpr else (value,)


# --- what the grammar leaves open -------------------------------------------------------------------------------------------------


def check_hyper_parameters(parameters: tuple[Parameter, ...]) -> None:
    """Each hyper-parameter of a module has a type."""
    for parameter in parameters:
        if parameter.type is None:
            message = f"the hyper-parameter `{parameter.name}` has no type"
            fix = f"write `{parameter.name}: int`, or float, bool, str, list, fn, layer, dtype"
            raise SpecError(Diagnostic("DL0113", message, parameter.span, help=fix))


def check_inputs(inputs: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    """The inputs of an entry point have shapes and no defaults."""
    for parameter in inputs:
        if parameter.type is None or parameter.type.dims is None:
            raise SpecError(_input_without_type(parameter))
        if parameter.default is not None and not _is_none(parameter.default):
            raise SpecError(_input_with_default(parameter))
    return inputs


def check_entries(entries: tuple[Entry, ...]) -> None:
    """Entry points have different names."""
    seen: dict[str, Entry] = {}
    for entry in entries:
        first = seen.setdefault(entry.name, entry)
        if first is not entry:
            label = Label(first.name_span, "first here")
            raise SpecError(
                Diagnostic("DL0113", f"the entry point `{entry.name}` stands twice", entry.name_span, labels=(label,))
            )


SCAN_OPTIONS = ("reverse", "length")


def check_loop(carries: tuple[Carry, ...], options: tuple[Argument, ...] = ()) -> None:
    """A loop carries different names, and each option of a scan is known and stands once."""
    for option in options:
        if option.name not in SCAN_OPTIONS:
            near = did_you_mean(str(option.name), SCAN_OPTIONS)
            fix = f"did you mean `{near}`?" if near else "the options are `reverse=true` and `length=lengths`"
            raise SpecError(Diagnostic("DL0203", f"a scan has no option `{option.name}`", option.span, help=fix))
    _once([(str(option.name), option.span) for option in options])
    _once([(carry.name, carry.span) for carry in carries])


def _once(named: list[tuple[str, Span]]) -> None:
    first: dict[str, Span] = {}
    for name, span in named:
        if name in first:
            raise SpecError(Diagnostic("DL0206", f"`{name}` stands twice", span, labels=(Label(first[name], "first here"),)))
        first[name] = span


def no_entry(kind: str, name: str, span: Span, has_parameters: bool) -> Diagnostic:
    """A module without inputs."""
    brackets = "(...)" if has_parameters else "()"
    fix = f"write the inputs in a second bracket, `{kind} {name}{brackets}(x: float[B, D])`, or a `def forward(...)` inside"
    return Diagnostic("DL0113", f"the {kind} `{name}` has no entry point", span, help=fix)


# --- messages ---------------------------------------------------------------------------------------------------------------------


def _is_none(expression: Expr) -> bool:
    return isinstance(expression, Literal) and expression.value is None


def _input_without_type(parameter: Parameter) -> Diagnostic:
    kind = parameter.type.name if parameter.type else "float"
    fix = f"write `{parameter.name}: {kind}[B, D]`, or `{kind}[]` for a scalar"
    return Diagnostic("DL0113", f"the input `{parameter.name}` has no shape", parameter.span, help=fix)


def _input_with_default(parameter: Parameter) -> Diagnostic:
    message = f"the input `{parameter.name}` is a tensor and cannot have a default other than none"
    return Diagnostic("DL0113", message, parameter.span, help="hyper-parameters, which can, stand in the first bracket")


def _not_a_stage(target: Expr) -> Diagnostic:
    message = "a stage of a pipeline is a layer or function to apply, not a value"
    return Diagnostic("DL0101", message, target.span, "expected a name, a call or an expression in brackets")


def _not_an_optimizer(expr: Expr) -> Diagnostic:
    fix = 'several patterns of one optimizer stand in brackets: `for ["**.bias", "**.scale"]`'
    return Diagnostic("DL0101", "expected an optimizer, such as `adam(1e-3)`", expr.span, help=fix)


def _no_patterns(span: Span) -> Diagnostic:
    fix = 'write `for "**.bias"`, or leave `for` out: a rule without it is for the rest'
    return Diagnostic("DL0101", "expected the parameters that the rule is for", span, help=fix)


def _wrong_count(span: Span) -> Diagnostic:
    return Diagnostic(
        "DL0113", "`repeat` with a body takes the number of copies and nothing else", span, help="write `repeat(12) { Block(8) }`"
    )


def _bad_escape(span: Span, text: str) -> Diagnostic:
    return Diagnostic("DL0106", f"`{text}` is not an escape", span, help='the escapes are \\" \\\\ \\n \\t and \\u{1F600}')
