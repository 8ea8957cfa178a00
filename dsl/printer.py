"""The tree as canonical `.dl` text, with its comments: `parse(print_file(tree)) == tree`, and printing the result again changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from dsl.print_clauses import lay_out, loop_words, objective_words
from dsl.print_expression import (
    WIDTH,
    fill,
    layout,
    print_before_brace,
    print_expression,
    print_pattern,
    print_type,
    quote,
)
from dsl.syntax import (
    BLANK_LINE,
    Assert,
    Assign,
    Backward,
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
    Metric,
    Minimize,
    Module,
    Output,
    Parameter,
    Require,
    Return,
    Scan,
    Statement,
    TensorDecl,
    Test,
    Train,
    TupleExpr,
    Update,
    While,
)

__all__ = ["print_expression", "print_file"]


def print_file(file: File) -> str:
    """Canonical text of a whole file."""
    printer = _Printer()
    for definition in file.definitions:
        printer.separate()
        printer.definition(definition)
    if file.closing:
        printer.separate()
        printer.comment_lines(file.closing)
    return "".join(line + "\n" for line in printer.lines)


class _Printer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.indent = 0

    # --- lines

    def line(self, text: str, comments: Comments | None = None) -> None:
        """A line or, broken already, several; the trailing comment stands at the end of the last."""
        trailing = "" if comments is None else _trailing(comments)
        self.lines.append(" " * self.indent + text + trailing)

    def separate(self) -> None:
        """A blank line, except at the beginning and after another."""
        if self.lines and self.lines[-1]:
            self.lines.append("")

    def comment_lines(self, comments: Sequence[str]) -> None:
        for comment in comments:
            if comment == BLANK_LINE:
                if self.lines and not self.lines[-1].endswith("{"):
                    self.separate()
            else:
                self.line(f"#{comment}")

    def block(self, head: str, body: Sequence[Statement | Entry], comments: Comments, tail: str = "}") -> None:
        """`head` ends with the brace."""
        self.line(head, comments)
        self.inside(body, comments.closing)
        self.line(tail)

    def inside(self, body: Sequence[Statement | Entry], closing: Sequence[str]) -> None:
        self.indent += 2
        opened = len(self.lines)
        for node in body:
            leading = node.comments.leading
            if isinstance(node, Entry) and len(self.lines) > opened:
                self.separate()
            self.comment_lines(leading[1:] if leading[:1] == (BLANK_LINE,) and len(self.lines) == opened else leading)
            if isinstance(node, Entry):
                self.entry(node)
            else:
                self.statement(node)
        self.comment_lines(closing)
        self.indent -= 2

    # --- definitions

    def definition(self, node: Definition) -> None:
        self.comment_lines(node.comments.leading)
        match node:
            case Module():
                self.module(node)
            case Function():
                self.function(node)
            case Const():
                self.value(f"const {node.name} = ", node)
            case Import():
                self.import_(node)
            case Train():
                head = self.signature(f"train {node.name}", node.parameters, node.inputs, ())
                self.block(head, node.body, node.comments)
            case Test():
                self.block(f"test {quote(node.title)} {{", node.body, node.comments)

    def module(self, node: Module) -> None:
        head = f"{node.kind} {node.name}"
        if not node.short:
            parameters = self.parameters(head, node.parameters) if node.parameters else head
            self.block(f"{parameters} {{", (*node.body, *node.entries), node.comments)
            return
        (entry,) = node.entries
        self.block(self.signature(head, node.parameters, entry.inputs, entry.outputs), entry.body, node.comments)

    def signature(
        self, head: str, parameters: Sequence[Parameter], inputs: Sequence[Parameter], outputs: Sequence[Output]
    ) -> str:
        """The head of a definition with two brackets, up to the brace."""
        first = self.parameters(head, parameters)
        second = self.parameters("", inputs) + _result(outputs) + " {"
        last = first.rsplit("\n", 1)[-1]
        if len(last) + len(second) > WIDTH:
            pad = " " * len(head)
            second = f"\n{pad}{second}" if len(pad) + len(second) <= WIDTH else self.long_signature(pad, inputs, outputs)
        return first + second

    def long_signature(self, pad: str, inputs: Sequence[Parameter], outputs: Sequence[Output]) -> str:
        """Inputs on one line, or filled, and the outputs on the next."""
        words = [print_parameter(p) for p in inputs]
        flat = f"({', '.join(words)})"
        first = flat if len(pad) + len(flat) <= WIDTH else fill("(", words, ")", len(pad))
        result = _result(outputs)
        return f"\n{pad}{first}" + (f"\n{pad}{result} {{" if result else " {")

    def parameters(self, head: str, parameters: Sequence[Parameter]) -> str:
        items = [print_parameter(p) for p in parameters]
        flat = f"{head}({', '.join(items)})"
        return flat if self.indent + len(flat) <= WIDTH or not items else fill(f"{head}(", items, ")", self.indent)

    def entry(self, node: Entry) -> None:
        head = self.parameters(f"def {node.name}", node.inputs) + _result(node.outputs)
        self.block(f"{head} {{", node.body, node.comments)

    def function(self, node: Function) -> None:
        head = self.parameters(f"fn {node.name}", node.parameters)
        value, backward = short_value(node), node.backward
        if value is None:
            self.long_function(f"{head} {{", node)
        elif backward is None:
            self.line(self.laid_out(f"{head} = ", value), node.comments)
        else:
            first = self.laid_out(f"{head} = ", value) + "\n"
            self.indent += 2
            gradient, second = short_value(backward), " " * self.indent + _backward_head(backward)
            if gradient is None:
                self.lines.append(f"{first}{second} {{" + _trailing(node.comments))
                self.inside(backward.body, node.comments.closing)
                self.line("}")
            else:
                self.lines.append(first + self.laid_out(f"{second} = ", gradient, written=True) + _trailing(node.comments))
            self.indent -= 2

    def long_function(self, head: str, node: Function) -> None:
        backward = node.backward
        if backward is None:
            self.block(head, node.body, node.comments)
            return
        gradient, tail = short_value(backward), f"}} {_backward_head(backward)}"
        if gradient is not None:
            self.block(head, node.body, node.comments, self.laid_out(f"{tail} = ", gradient))
            return
        self.line(head, node.comments)
        self.inside(node.body, ())
        self.line(f"{tail} {{")
        self.inside(backward.body, node.comments.closing)
        self.line("}")

    def import_(self, node: Import) -> None:
        if not node.names:
            alias = "" if node.alias is None else f" as {node.alias}"
            self.line(f"import {node.path}{alias}", node.comments)
            return
        names = [name.name if name.alias is None else f"{name.name} as {name.alias}" for name in node.names]
        head = f"from {node.path} import "
        flat = head + ", ".join(names)
        self.line(flat if len(flat) <= WIDTH else fill(f"{head}(", names, ")", 0), node.comments)

    # --- statements

    def statement(self, node: Statement) -> None:
        match node:
            case Assign():
                self.value(f"{print_pattern(node.pattern)} = ", node)
            case LayerDecl():
                self.value(f"layer {node.name} = ", node)
            case Update():
                self.value(f"update {node.name} = ", node)
            case Emit():
                self.value(f"emit {node.name} = ", node)
            case Metric():
                self.value(f"metric {node.name} = ", node)
            case TensorDecl():
                head = f"{node.kind} {node.name}: {print_type(node.type)}"
                self.line(head if node.initial is None else self.laid_out(f"{head} = ", node.initial, closed=True), node.comments)
            case Return():
                self.line(self.laid_out("return ", _returned(node)), node.comments)
            case Require() | Assert():
                word = "require" if isinstance(node, Require) else "assert"
                message = "" if node.message is None else f", {print_expression(node.message)}"
                self.line(f"{word} {print_expression(node.condition)}{message}", node.comments)
            case For():
                pattern, iterable = print_pattern(node.pattern), print_before_brace(node.iterable)
                self.block(f"for {pattern} in {iterable} {{", node.body, node.comments)
            case Scan() | While():
                head = lay_out(loop_words(node), self.indent, self.indent + 4)
                self.block(head, node.body, node.comments)
            case Minimize():
                words = objective_words(node, self.indent)
                self.line(lay_out(words, self.indent, self.indent + 2), node.comments)
            case If():
                self.if_(node)

    def if_(self, node: If) -> None:
        comments = node.comments
        head = f"if {print_before_brace(node.condition)} {{"
        while True:
            self.line(head, comments if node.comments is comments else None)
            if not node.orelse:
                break
            self.inside(node.body, ())
            match node.orelse:
                case (If(comments=inner) as following,) if inner == Comments():
                    head = f"}} else if {print_before_brace(following.condition)} {{"
                    node = following
                case orelse:
                    self.line("} else {")
                    self.inside(orelse, comments.closing)
                    self.line("}")
                    return
        self.inside(node.body, comments.closing)
        self.line("}")

    def value(self, head: str, node: Assign | LayerDecl | Update | Emit | Metric | Const) -> None:
        closed = not isinstance(node, Assign | Const)
        self.line(self.laid_out(head, node.value, closed=closed), node.comments)

    def laid_out(self, head: str, value: Expr, *, written: bool = False, closed: bool = False) -> str:
        """The head and what stands after it; `written` says that the head begins with its indentation, `closed` that several values
        stand in brackets."""
        if closed and isinstance(value, TupleExpr):
            return head + print_expression(value)
        column = len(head.rsplit("\n", 1)[-1]) + (0 if written else self.indent)
        return head + layout(value, self.indent, column)


def _trailing(comments: Comments) -> str:
    return "" if comments.trailing is None else f"  #{comments.trailing}"


def short_value(node: Function | Backward) -> Expr | None:
    """What stands after the `=` of a function that is one expression."""
    match node.body:
        case (Return() as result,) if node.short:
            return _returned(result)
        case _:
            return None


def _returned(node: Return) -> Expr:
    return node.values[0] if len(node.values) == 1 else TupleExpr(node.values)


def _backward_head(node: Backward) -> str:
    return f"backward({', '.join(node.names)})"


def print_parameter(node: Parameter) -> str:
    """`heads: int = 8`"""
    kind = "" if node.type is None else f": {print_type(node.type)}"
    if node.default is None:
        return node.name + kind
    default = print_expression(node.default)
    return f"{node.name}{kind} = {default}" if kind else f"{node.name}={default}"


def _result(outputs: Sequence[Output]) -> str:
    if not outputs:
        return ""
    if len(outputs) == 1 and outputs[0].name is None:
        return f" -> {print_type(outputs[0].type)}"
    return f" -> ({', '.join(print_output(output) for output in outputs)})"


def print_output(output: Output) -> str:
    """`y: float[B, D]`"""
    return print_type(output.type) if output.name is None else f"{output.name}: {print_type(output.type)}"
