"""Definitions and statements, built while parsing: one method a rule of grammar/dl.lark, from its children to a node.

The methods hold no state, so one builder serves all texts; those for expressions are in dsl/build_expressions.py.
"""

from __future__ import annotations

from typing import Any

from dsl.build_expressions import Children, ExpressionBuilder, between, span_over, values
from dsl.check_syntax import check_entries, check_hyper_parameters, check_inputs, check_loop, make_rule, no_entry
from dsl.diagnostics import SpecError
from dsl.source import Span
from dsl.syntax import (
    Argument,
    Assert,
    Assign,
    Backward,
    Carry,
    Const,
    CopyOf,
    Emit,
    Entry,
    Expr,
    For,
    Function,
    If,
    Import,
    ImportedName,
    LayerDecl,
    ListExpr,
    Metric,
    Minimize,
    Module,
    Name,
    Output,
    Parameter,
    Pattern,
    Require,
    Return,
    Rule,
    Scan,
    TensorDecl,
    Test,
    Train,
    Update,
    While,
    With,
    WithFunction,
)

Clause = tuple[str, Any]
"""A part of a statement that may be missing, under its name."""


def _names(children: Children) -> tuple[str, ...]:
    return tuple([token.value for token in children if token.type == "NAME"])


class TreeBuilder(ExpressionBuilder):
    """The callbacks of the parser."""

    # --- definitions

    def model_head(self, c: Children) -> Children:
        return c

    def short_module(self, c: Children) -> Module:
        (kind, name), parameters, inputs, outputs, body = c
        span = Span(kind.source, kind.start, body[-1].end)
        forward = Entry("forward", check_inputs(inputs), outputs, between(body), name.span, span)
        check_hyper_parameters(parameters)
        return Module(kind.value, name.value, parameters, (), (forward,), True, name.span, span)

    def long_module(self, c: Children) -> Module:
        (kind, name), body = c[0], c[-1]
        parameters = c[1] if len(c) == 3 else ()
        members = between(body)
        entries = tuple([member for member in members if type(member) is Entry])
        if not entries:
            raise SpecError(no_entry(kind.value, name.value, name.span, bool(parameters)))
        check_entries(entries)
        check_hyper_parameters(parameters)
        statements = tuple([member for member in members if type(member) is not Entry])
        return Module(kind.value, name.value, parameters, statements, entries, False, name.span, span_over(kind, body[-1]))

    def module_body(self, c: Children) -> Children:
        return c

    def entry(self, c: Children) -> Entry:
        word, name, inputs, outputs, body = c
        return Entry(name.value, check_inputs(inputs), outputs, between(body), name.span, span_over(word, body[-1]))

    def parameters(self, c: Children) -> tuple[Parameter, ...]:
        return between(c)

    def parameter(self, c: Children) -> Parameter:
        kind = default = None
        for mark, node in zip(c[1::2], c[2::2], strict=True):
            if mark.type == "COLON":
                kind = node
            else:
                default = node
        return Parameter(c[0].value, kind, default, span_over(c[0], c[-1]))

    def result(self, c: Children) -> tuple[Output, ...]:
        return c[1] if c else ()

    def one_output(self, c: Children) -> tuple[Output, ...]:
        return (Output(c[0], None, c[0].span),)

    def many_outputs(self, c: Children) -> tuple[Output, ...]:
        return between(c)

    def output(self, c: Children) -> Output:
        return Output(c[-1], c[0].value if len(c) == 3 else None, span_over(c[0], c[-1]))

    def short_function(self, c: Children) -> Function:
        word, name, parameters, _, value = c[:5]
        body = (Return(values(value), value.span),)
        backward = c[5] if len(c) == 6 else None
        return Function(name.value, parameters, body, True, backward, name.span, span_over(word, c[-1]))

    def long_function(self, c: Children) -> Function:
        word, name, parameters, body = c[:4]
        backward = c[4] if len(c) == 5 else None
        span = span_over(word, body[-1] if backward is None else backward)
        return Function(name.value, parameters, between(body), False, backward, name.span, span)

    def short_backward(self, c: Children) -> Backward:
        body = (Return(values(c[-1]), c[-1].span),)
        return Backward(_names(c[1:-2]), body, True, span_over(c[0], c[-1]))

    def long_backward(self, c: Children) -> Backward:
        return Backward(_names(c[1:-1]), between(c[-1]), False, span_over(c[0], c[-1][-1]))

    def const(self, c: Children) -> Const:
        return Const(c[1].value, c[3], c[1].span, span_over(c[0], c[3]))

    def from_import(self, c: Children) -> Import:
        path, place = c[1]
        return Import(path, between(c[2:]), None, place, span_over(c[0], c[-1]))

    def imported(self, c: Children) -> ImportedName:
        return ImportedName(c[0].value, c[2].value if len(c) == 3 else None, span_over(c[0], c[-1]))

    def import_(self, c: Children) -> Import:
        path, place = c[1]
        alias = c[3] if len(c) == 4 else None
        end = place.end if alias is None else alias.end
        return Import(path, (), alias.value if alias else None, place, Span(place.source, c[0].start, end))

    def path(self, c: Children) -> tuple[str, Span]:
        return "".join([token.value for token in c]), span_over(c[0], c[-1])

    def train(self, c: Children) -> Train:
        word, name, parameters, inputs, body = c
        check_hyper_parameters(parameters)
        return Train(name.value, parameters, check_inputs(inputs), between(body), name.span, span_over(word, body[-1]))

    def test(self, c: Children) -> Test:
        title = self.string([c[1]])
        return Test(str(title.value), between(c[2]), span_over(c[0], c[2][-1]))

    # --- statements

    def block(self, c: Children) -> Children:
        return c

    def assign(self, c: Children) -> Assign:
        return Assign(c[0], c[2], span_over(c[0], c[2]))

    def layer(self, c: Children) -> LayerDecl:
        return LayerDecl(c[1].value, c[3], c[1].span, span_over(c[0], c[3]))

    def tensor(self, c: Children) -> TensorDecl:
        initial = c[5] if len(c) == 6 else None
        return TensorDecl(c[0].value, c[1].value, c[3], initial, c[1].span, span_over(c[0], c[-1]))

    def update(self, c: Children) -> Update:
        name, place = c[1]
        return Update(name, c[3], place, span_over(c[0], c[3]))

    def if_(self, c: Children) -> If:
        body = between(c[2])
        if len(c) == 3:
            return If(c[1], body, (), span_over(c[0], c[2][-1]))
        otherwise = c[4]
        if type(otherwise) is If:
            return If(c[1], body, (otherwise,), span_over(c[0], otherwise))
        return If(c[1], body, between(otherwise), span_over(c[0], otherwise[-1]))

    def for_(self, c: Children) -> For:
        pattern, iterable = c[1]
        return For(pattern, iterable, between(c[2]), span_over(c[0], c[2][-1]))

    def for_head(self, c: Children) -> tuple[Pattern, Expr]:
        return c[0], c[2]

    def return_(self, c: Children) -> Return:
        return Return(values(c[1]), span_over(c[0], c[1]))

    def require(self, c: Children) -> Require:
        return Require(c[1], c[3] if len(c) == 4 else None, span_over(c[0], c[-1]))

    def assert_(self, c: Children) -> Assert:
        return Assert(c[1], c[3] if len(c) == 4 else None, span_over(c[0], c[-1]))

    # --- loops and training

    def scan(self, c: Children) -> Scan:
        clauses = dict(c[2:-1])
        pattern, source = c[1]
        options, carries = clauses.get("options", ()), clauses.get("carries", ())
        check_loop(carries, options)
        return Scan(pattern, source, clauses.get("over"), options, carries, between(c[-1]), span_over(c[0], c[-1][-1]))

    def scan_head(self, c: Children) -> tuple[Pattern, Expr]:
        return c[0], c[2]

    def over(self, c: Children) -> Clause:
        return "over", c[1]

    def options(self, c: Children) -> Clause:
        return "options", tuple(c)

    def option(self, c: Children) -> Argument:
        return Argument(c[2], c[0].value, span_over(c[0], c[2]))

    def while_(self, c: Children) -> While:
        clauses = dict(c[2:-1])
        check_loop(clauses["carries"])
        return While(c[1], clauses["carries"], clauses["limit"], between(c[-1]), span_over(c[0], c[-1][-1]))

    def limit(self, c: Children) -> Clause:
        return "limit", c[1]

    def carries(self, c: Children) -> Clause:
        return "carries", between(c)

    def carry(self, c: Children) -> Carry:
        return Carry(c[0].value, c[2], span_over(c[0], c[2]))

    def emit(self, c: Children) -> Emit:
        return Emit(c[1].value, c[3], c[1].span, span_over(c[0], c[3]))

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
        return "targets", between(c)

    def using(self, c: Children) -> Clause:
        return "using", between(c)

    def rule(self, c: Children) -> Rule:
        if len(c) == 1:
            return make_rule(c[0], None, c[0].span, c[0].span)
        patterns = c[2].items if type(c[2]) is ListExpr else (c[2],)
        return make_rule(c[0], patterns, c[2].span, span_over(c[0], c[2]))

    def clip(self, c: Children) -> Clause:
        return "clip", ("norm" if c[0].type == "CLIP" else "value", c[1])

    def every(self, c: Children) -> Clause:
        return "every", c[1]

    def metric(self, c: Children) -> Metric:
        return Metric(c[1].value, c[3], c[1].span, span_over(c[0], c[3]))

    def with_parameters(self, c: Children) -> With:
        return With(c[0], c[2], span_over(c[0], c[2]))

    def with_function(self, c: Children) -> WithFunction:
        return WithFunction(c[0], Name(c[2].value, c[2].span), c[4], span_over(c[0], c[4]))

    def copy_of(self, c: Children) -> CopyOf:
        return CopyOf(c[0].value, c[2], c[4], span_over(c[0], c[4]))


for _rule in ("if", "for", "while", "return", "assert", "import"):
    setattr(TreeBuilder, _rule, getattr(TreeBuilder, f"{_rule}_"))
