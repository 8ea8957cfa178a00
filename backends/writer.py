"""Python source text: expressions with precedence, lines laid out as `ruff format` would, one namespace a scope.

Knows Python and nothing of graphs or targets. A line is at most WIDTH columns: who writes an expression that is too long gives
it a variable, or leaves a call to be broken after its opening parenthesis, an argument a line.
"""

from __future__ import annotations

import builtins
import itertools
import keyword
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

WIDTH = 88
INDENT = "    "


class Precedence(IntEnum):
    """How tightly an expression holds together, loosest first."""

    CONDITIONAL = 1
    OR = 2
    AND = 3
    NOT = 4
    COMPARE = 5
    BIT_OR = 6
    BIT_XOR = 7
    BIT_AND = 8
    SUM = 9
    PRODUCT = 10
    UNARY = 11
    POWER = 12
    ATOM = 13


@dataclass(frozen=True, slots=True)
class Expression:
    """Text and how tightly it holds together.

    `head` and `arguments` are the parts of a call on a dotted name, which may be broken over lines; so may `operands`, each after the
    first with its operator in front. `scalar` says that it is a Python number, not a tensor. The rest is the bookkeeping of python.py:
    variables read (as node and result index), inlined operations, calls of layers among them.
    """

    text: str
    precedence: Precedence = Precedence.ATOM
    head: str = ""
    arguments: tuple[str, ...] = ()
    operands: tuple[str, ...] = ()
    scalar: bool = False
    reads: tuple[tuple[int, int], ...] = ()
    size: int = 0
    layers: int = 0

    def __str__(self) -> str:
        return self.text

    def within(self, precedence: Precedence) -> str:
        """The text, in parentheses where it would fall apart beside an operator of that precedence."""
        return self.text if self.precedence >= precedence else f"({self.text})"

    @property
    def atom(self) -> str:
        """The text as it may stand before a dot or a bracket."""
        if self.precedence < Precedence.ATOM or _NUMBER.fullmatch(self.text):
            return f"({self.text})"
        return self.text

    @property
    def simple(self) -> bool:
        """Whether it is a name, a dotted name or a number: cheap to repeat, short to read."""
        return _SIMPLE.fullmatch(self.text) is not None


_NUMBER = re.compile(r"\d+|\d[\d_.]*(e[+-]?\d+)?")
_SIMPLE = re.compile(r"-?[\w.]+(e-\d+)?")
_DOTTED = re.compile(r"[A-Za-z_][\w.]*")

Argument = Expression | str


def argument(value: Argument) -> str:
    return value if isinstance(value, str) else value.text


def call(function: str, *arguments: Argument, **keywords: Argument | None) -> Expression:
    """`function(arguments, keyword=...)`; keywords that are None are left out."""
    texts = [argument(a) for a in arguments]
    texts += [f"{name}={argument(value)}" for name, value in keywords.items() if value is not None]
    text = f"{function}({', '.join(texts)})"
    if _DOTTED.fullmatch(function):
        return Expression(text, head=function, arguments=tuple(texts))
    return Expression(text)


def method(receiver: Expression, name: str, *arguments: Argument, **keywords: Argument | None) -> Expression:
    """`receiver.name(arguments)`."""
    return call(f"{receiver.atom}.{name}", *arguments, **keywords)


def attribute(receiver: Expression, name: str) -> Expression:
    return Expression(f"{receiver.atom}.{name}")


def index(receiver: Expression, *subscripts: Argument) -> Expression:
    """`receiver[subscripts]`."""
    return Expression(f"{receiver.atom}[{', '.join(argument(s) for s in subscripts)}]")


_OPERATORS = {
    "+": Precedence.SUM, "-": Precedence.SUM, "*": Precedence.PRODUCT, "/": Precedence.PRODUCT, "//": Precedence.PRODUCT,
    "%": Precedence.PRODUCT, "@": Precedence.PRODUCT, "&": Precedence.BIT_AND, "^": Precedence.BIT_XOR, "|": Precedence.BIT_OR,
    "==": Precedence.COMPARE, "!=": Precedence.COMPARE, "<": Precedence.COMPARE, "<=": Precedence.COMPARE,
    ">": Precedence.COMPARE, ">=": Precedence.COMPARE, "and": Precedence.AND, "or": Precedence.OR,
}  # fmt: skip


def binary(left: Expression, operator: str, right: Expression) -> Expression:
    """`left operator right`, with the parentheses that Python needs."""
    if operator == "**":
        return _power(left, right)
    precedence = _OPERATORS[operator]
    tighter = Precedence(precedence + 1)
    first = left.within(tighter if precedence is Precedence.COMPARE else precedence)
    second = f"{operator} {right.within(tighter)}"
    operands = left.operands if left.operands and left.precedence == precedence else (first,)
    return Expression(f"{first} {second}", precedence, operands=(*operands, second))


def _power(left: Expression, right: Expression) -> Expression:
    base, exponent = left.within(Precedence.ATOM), right.within(Precedence.UNARY)
    if base.startswith("-"):
        base = f"({base})"
    spaced = "**" if left.simple and right.simple and not base.startswith("(") else " ** "
    return Expression(f"{base}{spaced}{exponent}", Precedence.POWER)


def unary(operator: str, operand: Expression) -> Expression:
    """`-x` or `~x`."""
    inner = operand.within(Precedence.UNARY)
    return Expression(f"{operator}{inner}" if not inner.startswith("-") else f"{operator}({inner})", Precedence.UNARY)


def conditional(condition: Expression, yes: Expression, no: Expression) -> Expression:
    """`yes if condition else no`."""
    above = Precedence.OR
    return Expression(f"{yes.within(above)} if {condition.within(above)} else {no.within(above)}", Precedence.CONDITIONAL)


def sequence(items: Iterable[Argument], brackets: str = "()") -> Expression:
    """A tuple, or a list with brackets `[]`."""
    texts = [argument(i) for i in items]
    comma = "," if brackets == "()" and len(texts) == 1 else ""
    return Expression(f"{brackets[0]}{', '.join(texts)}{comma}{brackets[1]}")


_SLICE_ATOM = re.compile(r"-?\w*")


def slice_text(start: str = "", stop: str = "", step: str = "") -> str:
    """`start:stop:step`, with the spaces that the formatter puts around the colons when a bound is more than a name or number."""
    parts = [start, stop, step] if step else [start, stop]
    if all(_SLICE_ATOM.fullmatch(p) for p in parts):
        return ":".join(parts)
    text = f"{start} : {stop}".strip() if stop or start else ":"
    return f"{text} : {step}".strip() if step else text


def quoted(text: str) -> str:
    """A string literal in the formatter's preferred quotes; nothing in `text` can end it."""
    body = repr(text + "\"'")[1:-4].replace("\\'", "'")  # repr with both quotes present chooses ' and escapes it
    double, single = text.count('"'), text.count("'")
    if double > single:
        return "'" + body.replace("'", "\\'") + "'"
    return '"' + body.replace('"', '\\"') + '"'


def number_text(value: float) -> str:
    """A Python literal of that value."""
    if isinstance(value, bool | int):
        return str(value)
    if math.isnan(value):
        return 'float("nan")'
    if value in (float("inf"), float("-inf")):
        return 'float("inf")' if value > 0 else 'float("-inf")'
    return re.sub(r"e([+-])0*(\d)", lambda m: f"e{'-' if m[1] == '-' else ''}{m[2]}", repr(float(value)))


def number(value: float) -> Expression:
    """A literal as an expression."""
    text = number_text(value)
    return Expression(text, Precedence.UNARY if text.startswith("-") else Precedence.ATOM, scalar=True)


# --- names -------------------------------------------------------------------------------------------------------------------

_TAKEN = frozenset({*keyword.kwlist, *dir(builtins), "self"})


def identifier(name: str) -> str:
    """`name` as a Python identifier that is no keyword or builtin; at most 40 characters."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII)[:40] or "x"
    if text[0].isdigit():
        text = f"_{text}"
    return f"{text}_" if text in _TAKEN else text


def snake_case(name: str) -> str:
    """`SelfAttention` as `self_attention`, `Conv2d` as `conv2d`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def camel_case(name: str) -> str:
    """`ln_f` as `LnF`; a name that starts with a capital stays."""
    return name if name[:1].isupper() else "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def singular(name: str) -> str:
    """`blocks` as `block`; a name that is no plural gives `layer`."""
    name = name.rstrip("0123456789").rstrip("_")
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("s", "")):
        if name.endswith(ending) and len(name) > len(ending) + 1 and not name.endswith("ss"):
            return name[: -len(ending)] + instead
    return "layer"


class Namespace:
    """The names of one scope and of those around it."""

    def __init__(self, taken: Iterable[str] = (), outer: Namespace | None = None) -> None:
        self._own = set(taken)
        self._outer = outer

    def __contains__(self, name: str) -> bool:
        return name in self._own or (self._outer is not None and name in self._outer)

    def new(self, wanted: str) -> str:
        """`wanted` as an identifier that is still free, numbered where it is not; it is taken from then on."""
        base = name = identifier(wanted)
        count = 1
        while name in self:
            name = f"{base}_{count}"
            count += 1
        self._own.add(name)
        return name

    @property
    def own(self) -> frozenset[str]:
        """The names of this scope alone."""
        return frozenset(self._own)

    def shadow(self, name: str) -> str:
        """`name`, which hides that of a scope around this one."""
        self._own.add(name)
        return name


# --- lines -------------------------------------------------------------------------------------------------------------------


_DELIMITER = re.compile(r"""[()\[\]{},]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""")


_HEAD = re.compile(r"[\w.]*[(\[{]")


@dataclass(frozen=True, slots=True)
class Line:
    """A logical line: `prefix`, an expression that may be broken over several lines, `comment` where there is room for it."""

    indent: int
    prefix: str
    expression: Expression | None = None
    suffix: str = ""
    comment: str = ""

    def indented(self, by: int) -> Line:
        return replace(self, indent=self.indent + by)


def fits(line: Line) -> bool:
    """Whether the line, laid out with its operators on one line, stays within WIDTH columns."""
    if line.expression is not None and line.expression.operands:
        line = replace(line, expression=replace(line.expression, operands=()))
    return all(len(text) <= WIDTH for text in laid_out(line))


def laid_out(line: Line) -> list[str]:
    """The physical lines of a logical one."""
    start = INDENT * line.indent
    if line.expression is None:
        text = (start + line.prefix).rstrip()
        return [_commented(text, line.comment)]
    text = f"{start}{line.prefix}{line.expression.text}{line.suffix}"
    if len(text) <= WIDTH or not (line.expression.arguments or line.expression.operands):
        return [_commented(text, line.comment)]
    if line.expression.operands:
        return _broken_at_operators(line, line.expression)
    opening, closing = f"{start}{line.prefix}{line.expression.head}(", f"{start}){line.suffix}"
    targets, equals, _ = line.prefix.rpartition(" = ")
    if len(opening) > WIDTH and equals and len(_elements(targets)) > 1:
        *above, last = _in_brackets(f"({targets})", line.indent, "")
        return [*above, *laid_out(replace(line, prefix=f"{last.strip()} = "))]
    together = f"{start}{INDENT}{', '.join(line.expression.arguments)}"
    if len(together) <= WIDTH and line.expression.head:
        return [opening, together, _commented(closing, line.comment)]
    each = [text for a in line.expression.arguments for text in _in_brackets(a, line.indent + 1, ",")]
    return [opening, *each, _commented(closing, line.comment)]


def _in_brackets(text: str, indent: int, after: str) -> list[str]:
    """A tuple, list, dict or call that does not fit on one line, an element a line; anything else as it is."""
    start, inner = INDENT * indent, INDENT * (indent + 1)
    whole = f"{start}{text}{after}"
    head = _HEAD.match(text)
    if len(whole) <= WIDTH or head is None or head[0][-1] + text[-1:] not in ("()", "[]", "{}") or len(_elements(text)) > 1:
        return [whole]
    called = len(head[0]) > 1
    inside = text[head.end() : -1]
    elements = _elements(inside)
    if not elements or (len(elements) == 1 and not called):
        return [whole]
    each = [t for e in elements for t in _in_brackets(e, indent + 1, ",")]
    if called and len(inner) + len(inside) <= WIDTH:
        each = [f"{inner}{inside}"]
    return [f"{start}{head[0]}", *each, f"{start}{text[-1]}{after}"]


def _elements(text: str) -> list[str]:
    """What stands between the commas of the text, apart from those in brackets and in strings; none if a bracket closes too early."""
    found, depth, begin = [], 0, 0
    for token in _DELIMITER.finditer(text):
        if token[0] in "([{":
            depth += 1
        elif token[0] in ")]}":
            depth -= 1
            if depth < 0:
                return []
        elif token[0] == "," and depth == 0:
            found.append(text[begin : token.start()].strip())
            begin = token.end()
    return [*found, text[begin:].strip()]


def _broken_at_operators(line: Line, expression: Expression) -> list[str]:
    """The line with its expression in parentheses: an operand a line, if it has to be."""
    start, inner = INDENT * line.indent, INDENT * (line.indent + 1)
    whole = f"{inner}{expression.text}"
    parts = [whole] if len(whole) <= WIDTH else [f"{inner}{operand}" for operand in expression.operands]
    return [f"{start}{line.prefix}(", *parts, _commented(f"{start}){line.suffix}", line.comment)]


def _commented(text: str, comment: str) -> str:
    return f"{text}  # {comment}" if comment and len(text) + len(comment) + 4 <= WIDTH else text


def docstring(text: str, indent: int) -> list[Line]:
    """A docstring; whatever stands in `text`, it stays one."""
    safe = text.replace("\\", "\\\\").replace('"""', "'''")
    lines = ["".join(c if c.isprintable() else " " for c in line).strip() for line in safe.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        lines.pop(0)
    if not lines:
        return []
    if lines[-1].endswith('"'):
        lines[-1] += "."
    if lines[0].startswith('"'):
        lines[0] = f"'{lines[0][1:]}"
    room = WIDTH - len(INDENT) * indent - 3
    paragraphs = [" ".join(group) for _, group in itertools.groupby(lines, bool)]
    wrapped = [part for text in paragraphs for part in (textwrap.wrap(text, room, break_long_words=False) or [""])]
    if len(wrapped) == 1 and len(wrapped[0]) + 3 > room:
        wrapped = textwrap.wrap(wrapped[0], room - 3, break_long_words=False)
    if len(wrapped) == 1:
        return [Line(indent, f'"""{wrapped[0]}"""')]
    first, *rest = wrapped
    return [Line(indent, f'"""{first}'), *(Line(indent, line) for line in rest), Line(indent, '"""')]


def rendered(lines: Sequence[Line]) -> str:
    """The text of a file."""
    return "".join(f"{text}\n" for line in spaced(lines) for text in laid_out(line))


def spaced(lines: Sequence[Line]) -> Iterator[Line]:
    """The lines with one empty line around each function inside a function."""
    before = Line(0, "")
    open_indents: list[int] = []
    for line in lines:
        if line.prefix or line.expression:
            while open_indents and line.indent <= open_indents[-1]:
                open_indents.pop()
                if before.prefix or before.expression:
                    before = Line(0, "")
                    yield before
            if line.prefix == "def " and line.indent > 0:
                first = before.indent < line.indent and before.prefix.startswith(("def ", "class "))
                if (before.prefix or before.expression) and not first and not before.prefix.startswith("@"):
                    yield Line(0, "")
                open_indents.append(line.indent)
        yield line
        before = line
