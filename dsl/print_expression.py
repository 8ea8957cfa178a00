"""Expressions, patterns and types as `.dl` text: brackets only where precedence asks for them, broken into lines only where too long."""

from __future__ import annotations

from collections.abc import Iterable

from dsl.syntax import (
    Argument,
    Binary,
    Call,
    Comparison,
    Comprehension,
    Conditional,
    CopyOf,
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
    TypeExpr,
    Unary,
    With,
    WithFunction,
)

WIDTH = 120
"""Columns that a line should not exceed."""

# Levels of precedence, loosest first.
EXPRESSION, CONDITIONAL, OR, AND, NOT, COMPARISON, SUM, PRODUCT, FACTOR, POWER, POSTFIX = range(11)

_BINARY = {
    "or": OR, "and": AND, "+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, "//": PRODUCT, "%": PRODUCT, "@": PRODUCT, "**": POWER,
}  # fmt: skip


def print_expression(expr: Expr | Slice | Ellipsis, level: int = EXPRESSION) -> str:
    """The expression on one line, in brackets where it binds looser than `level`."""
    text, own = _flat(expr)
    return text if own >= level else f"({text})"


def print_value(expr: Expr) -> str:
    """What stands after `=`: a tuple needs no brackets there."""
    if isinstance(expr, TupleExpr) and len(expr.items) > 1:
        return _list(expr.items)
    return print_expression(expr)


def print_pattern(pattern: Pattern) -> str:
    """`i, (depth, width)`"""
    if isinstance(pattern, Name):
        return pattern.id
    return ", ".join(item.id if isinstance(item, Name) else f"({print_pattern(item)})" for item in pattern.items)


def print_type(kind: TypeExpr) -> str:
    """`float[B, T]`, or a bare `int`."""
    return kind.name if kind.dims is None else f"{kind.name}[{_list(kind.dims)}]"


def print_argument(argument: Argument) -> str:
    """`name=value`, or `name: type` in a test."""
    if argument.name is None:
        return print_expression(argument.value)
    mark = ": " if isinstance(argument.value, TypeExpr) else "="
    return argument.name + mark + print_expression(argument.value)


def print_stage(stage: Stage) -> str:
    """`label: Layer(...)`"""
    label = "" if stage.label is None else f"{stage.label}: "
    return label + print_expression(stage.target, POSTFIX)


def quote(text: str) -> str:
    """A string literal."""
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else f"\\u{{{ord(c):X}}}") for c in text) + '"'


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def _list(items: Iterable[Expr | Slice | Ellipsis]) -> str:
    return ", ".join([print_expression(item) for item in items])


def _flat(expr: Expr | Slice | Ellipsis) -> tuple[str, int]:
    """The text without brackets around it, and the level it stands at."""
    match expr:
        case Name():
            return expr.id, POSTFIX
        case Literal():
            return _literal(expr)
        case Call():
            function = print_expression(expr.function, POSTFIX)
            return f"{function}({', '.join([print_argument(a) for a in expr.arguments])})", POSTFIX
        case Member():
            return f"{_before_dot(expr.object)}.{expr.name}", POSTFIX
        case NamePattern():
            return quote(expr.pattern) if expr.object is None else f"{_before_dot(expr.object)}.{quote(expr.pattern)}", POSTFIX
        case Index():
            return f"{print_expression(expr.object, POSTFIX)}[{_list(expr.items)}]", POSTFIX
        case ListExpr():
            return f"[{_list(expr.items)}]", POSTFIX
        case TupleExpr():
            comma = "," if len(expr.items) == 1 else ""
            return f"({_list(expr.items)}{comma})", POSTFIX
        case TypeExpr():
            return print_type(expr), POSTFIX
        case Repeat():
            return f"repeat({print_expression(expr.count)}) {{ {' -> '.join([print_stage(s) for s in expr.body])} }}", POSTFIX
        case Ellipsis():
            return "...", POSTFIX
        case Binary() | Unary() | Comparison() | Conditional():
            return _operation(expr)
        case Pipe():
            return " -> ".join([print_expression(expr.source, CONDITIONAL), *map(print_stage, expr.stages)]), EXPRESSION
        case Slice():
            return _slice(expr), EXPRESSION
        case Comprehension():
            return _comprehension(expr), POSTFIX
        case With():
            return f"{print_expression(expr.layer)} with {print_expression(expr.parameters)}", EXPRESSION
        case WithFunction():
            return f"{print_expression(expr.layer)} with {expr.function.id} = {print_expression(expr.replacement)}", EXPRESSION
        case CopyOf():
            amount = "every" if expr.kind == "copy" else "decay"
            return f"{expr.kind} of {print_expression(expr.layer)} {amount} {print_expression(expr.amount)}", EXPRESSION


def _before_dot(expr: Expr) -> str:
    text = print_expression(expr, POSTFIX)
    return f"({text})" if isinstance(expr, Literal) and text[0].isdigit() else text


def print_before_brace(expr: Expr) -> str:
    """What stands before the `{` of a block; after a `repeat(...)` without brackets around it that brace would be of the repeat."""
    text = print_expression(expr)
    return f"({text})" if _ends_with_repeat(expr) else text


def _ends_with_repeat(expr: Expr) -> bool:
    match expr:
        case Call(function=Name(id="repeat")):
            return True
        case Binary(right=last) | Unary(operand=last) | Conditional(otherwise=last):
            return _ends_with_repeat(last)
        case Comparison(operands=(*_, last)) | Pipe(stages=(*_, Stage(target=last))):
            return _ends_with_repeat(last)
        case _:
            return False


def _operation(expr: Binary | Unary | Comparison | Conditional) -> tuple[str, int]:
    match expr:
        case Binary(operator="**"):
            return f"{print_expression(expr.left, POSTFIX)} ** {print_expression(expr.right, FACTOR)}", POWER
        case Binary():
            level = _BINARY[expr.operator]
            return f"{print_expression(expr.left, level)} {expr.operator} {print_expression(expr.right, level + 1)}", level
        case Unary(operator="not"):
            return f"not {print_expression(expr.operand, NOT)}", NOT
        case Unary():
            return expr.operator + print_expression(expr.operand, FACTOR), FACTOR
        case Comparison():
            words = [print_expression(expr.operands[0], SUM)]
            for operator, operand in zip(expr.operators, expr.operands[1:], strict=True):
                words += [operator, print_expression(operand, SUM)]
            return " ".join(words), COMPARISON
        case Conditional():
            then, condition = print_expression(expr.then, OR), print_expression(expr.condition, OR)
            return f"{then} if {condition} else {print_expression(expr.otherwise, CONDITIONAL)}", CONDITIONAL


def _literal(literal: Literal) -> tuple[str, int]:
    value = literal.value
    if literal.text:
        return literal.text, POSTFIX
    if isinstance(value, str):
        return quote(value), POSTFIX
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value], POSTFIX
    return repr(value), FACTOR if value < 0 else POSTFIX


def _slice(expr: Slice) -> str:
    start, stop, step = ("" if b is None else print_expression(b, CONDITIONAL) for b in (expr.start, expr.stop, expr.step))
    return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"


def _comprehension(expr: Comprehension) -> str:
    condition = "" if expr.condition is None else f" if {print_expression(expr.condition, OR)}"
    element, pattern = print_expression(expr.element), print_pattern(expr.pattern)
    return f"[{element} for {pattern} in {print_expression(expr.iterable, OR)}{condition}]"


# --- long expressions -------------------------------------------------------------------------------------------------------------


def layout(expr: Expr, indent: int, column: int) -> str:
    """What stands after `=`, beginning at `column` of a statement indented by `indent`, broken where it would be longer than a line."""
    flat = print_value(expr)
    broken = isinstance(expr, Pipe) and any(stage.fresh_line for stage in expr.stages)
    if column + len(flat) <= WIDTH and not broken:
        return flat
    if isinstance(expr, Pipe):
        return _long_pipe(expr, indent, column)
    if isinstance(expr, WithFunction):
        inner = indent + 2
        start = f"with {expr.function.id} = "
        return f"{print_expression(expr.layer)}\n{' ' * inner}{start}{layout(expr.replacement, inner, inner + len(start))}"
    if isinstance(expr, With):
        inner = indent + 2
        return f"{print_expression(expr.layer)}\n{' ' * inner}with {layout(expr.parameters, inner, inner + len('with '))}"
    return _long_brackets(expr, flat, indent)


def _long_pipe(pipe: Pipe, indent: int, column: int) -> str:
    """Lines as full as they fit, and new ones where the author began one."""
    inner = indent + 2
    text = _long_part(pipe.source, print_expression(pipe.source, CONDITIONAL), indent, column)
    column += len(text) if "\n" not in text else len(text.rsplit("\n", 1)[1]) - column
    for stage in pipe.stages:
        words = f"-> {print_stage(stage)}"
        if column + 1 + len(words) <= WIDTH and not stage.fresh_line:
            text += f" {words}"
            column += 1 + len(words)
            continue
        label = "-> " if stage.label is None else f"-> {stage.label}: "
        target = print_expression(stage.target, POSTFIX)
        target = _long_part(stage.target, target, inner, inner + len(label))
        text += "\n" + " " * inner + label + target
        last = target.rsplit("\n", 1)
        column = len(last[1]) if len(last) > 1 else inner + len(label) + len(target)
    return text


def _long_part(expr: Expr, flat: str, indent: int, column: int) -> str:
    return flat if column + len(flat) <= WIDTH else _long_brackets(expr, flat, indent)


def _long_brackets(expr: Expr, flat: str, indent: int) -> str:
    """Break inside the outermost brackets, where there are any."""
    match expr:
        case Call(function=function, arguments=arguments) if arguments:
            return fill(print_expression(function, POSTFIX) + "(", [print_argument(a) for a in arguments], ")", indent)
        case ListExpr(items=items) if items:
            return fill("[", [print_expression(item) for item in items], "]", indent)
        case Repeat():
            head = f"repeat({print_expression(expr.count)}) {{"
            words = [print_stage(expr.body[0]), *(f"-> {print_stage(stage)}" for stage in expr.body[1:])]
            return fill(head, words, "}", indent, separator="")
        case _:
            return flat


def fill(head: str, items: list[str], tail: str, indent: int, separator: str = ",") -> str:
    """The items on lines as full as they fit, between `head` and `tail`."""
    lines = [""]
    inner = " " * (indent + 2)
    for position, item in enumerate(items):
        word = item + (separator if position < len(items) - 1 else "")
        if not lines[-1]:
            lines[-1] = inner + word
        elif len(lines[-1]) + 1 + len(word) <= WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(inner + word)
    return "\n".join([head, *lines, " " * indent + tail])
