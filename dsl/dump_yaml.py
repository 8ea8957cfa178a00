"""The tree as a YAML spec: `load_yaml(dump_yaml(tree)) == tree`. Comments stand above what they stood above, or at the end of its line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dsl.print_expression import print_expression, print_pattern, print_type, print_value
from dsl.printer import print_output, print_parameter
from dsl.syntax import (
    BLANK_LINE,
    Assert,
    Assign,
    Backward,
    Call,
    Carry,
    Comments,
    Const,
    Definition,
    Emit,
    Entry,
    Expr,
    File,
    For,
    Function,
    If,
    Import,
    LayerDecl,
    ListExpr,
    Literal,
    Member,
    Metric,
    Minimize,
    Module,
    Name,
    Output,
    Parameter,
    Pipe,
    Require,
    Return,
    Rule,
    Scan,
    Stage,
    Statement,
    TensorDecl,
    Test,
    Train,
    TupleExpr,
    TypeExpr,
    Update,
    While,
)

Lines = list[str]


def dump_yaml(file: File) -> str:
    """Canonical YAML text of a whole file."""
    lines: Lines = []
    if len(file.definitions) == 1:
        (definition,) = file.definitions
        lines = _commented(_definition(definition), definition.comments)
    else:
        lines = ["definitions:" if file.definitions else ""]
        for definition in file.definitions:
            item = _item(_definition(definition), definition.comments)
            lines += ["", *_indented(item[1:] if item[0] == "" else item)]
    if file.closing:
        lines += ["", *_comment_lines(file.closing)]
    return "".join(line + "\n" for line in lines).lstrip("\n")


# --- layout -----------------------------------------------------------------------------------------------------------------------


def _indented(lines: Lines) -> Lines:
    return ["  " + line if line else line for line in lines]


def _item(mapping: Lines, comments: Comments) -> Lines:
    """A mapping as an item of a list, under its comments."""
    return _commented(["- " + mapping[0], *_indented(mapping[1:])], comments)


def _commented(lines: Lines, comments: Comments) -> Lines:
    above = list(comments.leading)
    blank = [""] if above[:1] == [BLANK_LINE] else []
    above = above[len(blank) :]
    if comments.trailing is not None and len(lines) > 1:
        above.append(comments.trailing)
    elif comments.trailing is not None:
        lines = [f"{lines[0]}  #{comments.trailing}"]
    return blank + _comment_lines(above) + lines


def _comment_lines(comments: Sequence[str]) -> Lines:
    return ["" if comment == BLANK_LINE else f"#{comment}" for comment in comments]


def _list(key: str, body: Sequence[Statement], closing: Sequence[str] = ()) -> Lines:
    lines = [line for statement in body for line in _item(_statement(statement), statement.comments)]
    while lines and not lines[0]:
        lines.pop(0)
    return [f"{key}:", *_indented(lines), *_indented(_comment_lines(closing))] if lines else [f"{key}: []"]


def _flow(pairs: Sequence[tuple[str, str]]) -> str:
    return "{" + ", ".join([f"{key}: {value}" for key, value in pairs]) + "}"


# --- scalars ----------------------------------------------------------------------------------------------------------------------

_PLAIN = re.compile(r"-?[A-Za-z0-9_(][^\n\r\t]*\Z")
_AMBIGUOUS = re.compile(
    r"(?i:yes|no|on|off|null|true|false|none)\Z|[-+]?0[0-9xXbBo_]+\Z|[-+]?[0-9][0-9_]*(:[0-9]+)+|[0-9]{4}-[0-9]|---|\.\.\."
)


def _scalar(text: str, *, flow: bool = False, bare: bool = False) -> str:
    """The text as YAML writes it, without quotes where all versions of YAML read the same text; `bare` for what is a value of YAML too."""
    plain = _PLAIN.match(text) is not None and text.isprintable() and text == text.strip() and not text.endswith(":")
    plain = plain and ": " not in text and " #" not in text and (bare or not _AMBIGUOUS.match(text))
    if plain and not (flow and set(text) & set(",[]{}:")):
        return text
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else f"\\U{ord(c):08X}") for c in text) + '"'


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def _value(expr: Expr, *, flow: bool = False) -> str:
    """An expression; numbers, `true`, `false` and lists of them are values of YAML as well."""
    if isinstance(expr, ListExpr) and expr.items and all(_is_number(item) for item in expr.items):
        return print_expression(expr)
    return _scalar(print_expression(expr), flow=flow, bare=isinstance(expr, Literal))


def _open_value(expr: Expr) -> str:
    """What may stand after `=`, where several values need no brackets."""
    return _scalar(print_value(expr)) if isinstance(expr, TupleExpr) else _value(expr)


def _is_number(expr: Expr) -> bool:
    return isinstance(expr, Literal) and isinstance(expr.value, int | float)


# --- definitions ------------------------------------------------------------------------------------------------------------------


def _definition(node: Definition) -> Lines:
    closing = node.comments.closing
    match node:
        case Module():
            return _module(node)
        case Function():
            lines = [f"fn: {_scalar(node.name)}", *_parameters("params", node.parameters)]
            if node.backward is None:
                return [*lines, *_function_body(node, closing)]
            lines += _function_body(node, ())
            names = ", ".join([_scalar(name, flow=True) for name in node.backward.names])
            return [*lines, "backward:", *_indented([f"of: [{names}]", *_function_body(node.backward, closing)])]
        case Const():
            return [f"const: {_scalar(node.name)}", f"value: {_open_value(node.value)}"]
        case Import():
            return _import(node)
        case Train():
            lines = [f"train: {_scalar(node.name)}", *_parameters("params", node.parameters)]
            inputs = _parameters("inputs", node.inputs) or ["inputs: {}"]
            return [*lines, *inputs, *_list("graph", node.body, closing)]
        case Test():
            return [f"test: {_scalar(node.title)}", *_list("graph", node.body, closing)]


def _function_body(node: Function | Backward, closing: Sequence[str]) -> Lines:
    if node.short and len(node.body) == 1 and isinstance(node.body[0], Return):
        return [f"value: {_returned(node.body[0])}"]
    return _list("graph", node.body, closing)


def _module(node: Module) -> Lines:
    lines = [f"{node.kind}: {_scalar(node.name)}", *_parameters("params", node.parameters)]
    if node.short:
        return [*lines, *_entry(node.entries[0], node.comments.closing)]
    if node.body:
        lines += _list("graph", node.body)
    lines.append("entries:")
    for entry in node.entries:
        inner = [f"{_scalar(entry.name)}:", *_indented(_entry(entry, entry.comments.closing))]
        lines += _indented(_commented(inner, entry.comments))
    return [*lines, *_indented(_comment_lines(node.comments.closing))]


def _entry(node: Entry, closing: Sequence[str]) -> Lines:
    inputs = _parameters("inputs", node.inputs) or ["inputs: {}"]
    return [*inputs, *_outputs(node.outputs), *_list("graph", node.body, closing)]


def _parameters(key: str, parameters: Sequence[Parameter]) -> Lines:
    if not parameters:
        return []
    if len({parameter.name for parameter in parameters}) < len(parameters):
        return [f"{key}:", *[f"  - {_scalar(print_parameter(parameter))}" for parameter in parameters]]
    return [f"{key}:", *[f"  {_scalar(parameter.name)}: {_parameter(parameter)}" for parameter in parameters]]


def _parameter(node: Parameter) -> str:
    if node.type is not None and node.default is None:
        return _scalar(print_type(node.type))
    pairs = [] if node.type is None else [("type", _scalar(print_type(node.type), flow=True))]
    return _flow(pairs if node.default is None else [*pairs, ("default", _value(node.default, flow=True))])


def _outputs(outputs: Sequence[Output]) -> Lines:
    if not outputs:
        return []
    if len(outputs) == 1 and outputs[0].name is None:
        return [f"outputs: {_scalar(print_type(outputs[0].type))}"]
    names = [output.name for output in outputs if output.name is not None]
    if len(set(names)) == len(outputs):
        return ["outputs:", *[f"  {_scalar(str(output.name))}: {_scalar(print_type(output.type))}" for output in outputs]]
    return ["outputs:", *[f"  - {print_output(output)}" for output in outputs]]


def _import(node: Import) -> Lines:
    if not node.names:
        return [f"import: {node.path}"] + ([] if node.alias is None else [f"as: {_scalar(node.alias)}"])
    names = [_scalar(name.name if name.alias is None else f"{name.name} as {name.alias}", flow=True) for name in node.names]
    return [f"from: {node.path}", f"import: [{', '.join(names)}]"]


# --- statements -------------------------------------------------------------------------------------------------------------------


def _statement(node: Statement) -> Lines:
    closing = node.comments.closing
    match node:
        case Assign():
            return [f"{_scalar(print_pattern(node.pattern))}: {_layer_node(node) or _open_value(node.value)}"]
        case LayerDecl():
            return [f"layer: {_flow([(_scalar(node.name, flow=True), _value(node.value, flow=True))])}"]
        case Update() | Emit() | Metric():
            word = type(node).__name__.lower()
            return [f"{word}: {_flow([(_scalar(node.name, flow=True), _value(node.value, flow=True))])}"]
        case TensorDecl():
            pairs = [("type", _scalar(print_type(node.type), flow=True))]
            if node.initial is not None:
                pairs.append(("init", _value(node.initial, flow=True)))
            return [f"{node.kind}: {_flow([(_scalar(node.name, flow=True), _flow(pairs))])}"]
        case Return():
            return [f"return: {_returned(node)}"]
        case Require() | Assert():
            word = "require" if isinstance(node, Require) else "assert"
            message = [] if node.message is None else [f"message: {_value(node.message)}"]
            return [f"{word}: {_value(node.condition)}", *message]
        case For():
            head = f"{print_pattern(node.pattern)} in {print_expression(node.iterable)}"
            return [f"for: {_scalar(head)}", *_list("do", node.body, closing)]
        case Scan():
            lines = [f"scan: {_scalar(f'{print_pattern(node.pattern)} in {print_value(node.source)}')}"]
            if node.over is not None:
                lines.append(f"over: {_value(node.over)}")
            lines += [f"{option.name}: {_value(option.value)}" for option in node.options]
            return [*lines, *_carried(node.carries), *_list("do", node.body, closing)]
        case While():
            lines = [f"while: {_value(node.condition)}", *_carried(node.carries), f"limit: {_value(node.limit)}"]
            return [*lines, *_list("do", node.body, closing)]
        case Minimize():
            return _minimize(node)
        case If():
            lines = [f"if: {_value(node.condition)}", *_list("then", node.body, () if node.orelse else closing)]
            return [*lines, *_list("else", node.orelse, closing)] if node.orelse else lines


def _carried(carries: Sequence[Carry]) -> Lines:
    if len(carries) < 3:
        flow = _flow([(_scalar(carry.name, flow=True), _value(carry.value, flow=True)) for carry in carries])
        return [f"carry: {flow}"] if carries else []
    return ["carry:", *[f"  {_scalar(carry.name)}: {_value(carry.value)}" for carry in carries]]


def _minimize(node: Minimize) -> Lines:
    named = None if node.name is None else _flow([(_scalar(node.name, flow=True), _value(node.loss, flow=True))])
    lines = [f"minimize: {named or _value(node.loss)}"]
    if node.over:
        lines.append(f"over: {_one_or_more(node.over)}")
    if len(node.rules) == 1 and not node.rules[0].patterns:
        lines.append(f"using: {_value(node.rules[0].optimizer)}")
    else:
        lines += ["using:", *[f"  - {_rule(rule)}" for rule in node.rules]]
    if node.clip is not None:
        lines.append(f"{'clip' if node.clip_kind == 'norm' else 'clip_value'}: {_value(node.clip)}")
    return lines if node.every is None else [*lines, f"every: {_value(node.every)}"]


def _rule(rule: Rule) -> str:
    if not rule.patterns:
        return _value(rule.optimizer)
    return _flow([("rule", _value(rule.optimizer, flow=True)), ("for", _one_or_more(rule.patterns, flow=True))])


def _one_or_more(items: Sequence[Expr], *, flow: bool = False) -> str:
    """One expression, or a list of several; one that is a list itself is in quotes."""
    texts = [_scalar(print_expression(item), flow=flow or len(items) > 1) for item in items]
    return texts[0] if len(items) == 1 else f"[{', '.join(texts)}]"


def _layer_node(node: Assign) -> str | None:
    """`conv1 = x -> conv1: Conv2d(channels=6)` written out as a mapping."""
    match node:
        case Assign(pattern=Name(id=name), value=Pipe(source=source, stages=(Stage(target=target, label=label),))) if (
            name == label
        ):
            arguments = target.arguments if isinstance(target, Call) else ()
            layer = target.function if isinstance(target, Call) and arguments else target
            names = [argument.name for argument in arguments]
            typed = any(isinstance(argument.value, TypeExpr) for argument in arguments)
            if not isinstance(layer, Name | Member) or None in names or "of" in names or typed or len(set(names)) < len(names):
                return None
            pairs = [(_scalar(str(a.name), flow=True), _value(a.value, flow=True)) for a in arguments]
            of = _scalar(print_expression(source), flow=True)
            return _flow([("layer", _scalar(print_expression(layer), flow=True)), ("of", of), *pairs])
        case _:
            return None


def _returned(node: Return) -> str:
    """The scalar of one value or several."""
    return _open_value(node.values[0] if len(node.values) == 1 else TupleExpr(node.values))
