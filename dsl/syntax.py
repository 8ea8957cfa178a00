"""The syntax tree: what a spec says, before anything is known about shapes.

Both forms of a spec (`.dl` and YAML) become this tree, and the printer writes both from it. Nodes are frozen; spans and comments do not
count in equality, so `parse(print(tree)) == tree` is a law.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from dsl.source import NOWHERE, Source, Span


def _span() -> Span:
    return field(default=NOWHERE, compare=False, repr=False)


BLANK_LINE = "\n"
"""What stands among comment lines for a blank line."""


@dataclass(frozen=True, slots=True)
class Comments:
    """Comment lines without their `#`: those above a node, the one at the end of its line (of its first line where it has a block), and
    those before the brace that closes its block. Among the lines above, `BLANK_LINE` stands for a blank line."""

    leading: tuple[str, ...] = ()
    trailing: str | None = None
    closing: tuple[str, ...] = ()

    @property
    def documentation(self) -> str:
        """The comment block directly above the node, its lines without the margin."""
        block: list[str] = []
        for line in self.leading:
            block = [] if line == BLANK_LINE else [*block, line.removeprefix(" ").rstrip()]
        return "\n".join(block)


NO_COMMENTS = Comments()


def _comments() -> Comments:
    return field(default=NO_COMMENTS, compare=False, repr=False)


# --- expressions ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Name:
    id: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, string, `true`, `false` or `none`. `text` is how it was written (`124_439_808`, `1e-3`, `"a\\n"`)."""

    value: int | float | bool | str | None
    text: str = field(default="", compare=False)
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Ellipsis:
    """`...`, in a type or an index."""

    span: Span = _span()


@dataclass(frozen=True, slots=True)
class ListExpr:
    items: tuple[Expr, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class TupleExpr:
    """`a, b` or `(a, b)`."""

    items: tuple[Expr, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Comprehension:
    """`[element for pattern in iterable if condition]`"""

    element: Expr
    pattern: Pattern
    iterable: Expr
    condition: Expr | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call; `name` is None for a positional one."""

    value: Expr
    name: str | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Call:
    function: Expr
    arguments: tuple[Argument, ...] = ()
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Member:
    """`object.name`; `span` covers the whole, `name_span` the name."""

    object: Expr
    name: str
    name_span: Span = _span()
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Slice:
    start: Expr | None = None
    stop: Expr | None = None
    step: Expr | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Index:
    """`object[items]`"""

    object: Expr
    items: tuple[Expr | Slice | Ellipsis, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Unary:
    """`-x`, `+x`, `not x`; `operator` is the token."""

    operator: str
    operand: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Binary:
    """Arithmetic (`+ - * / // % ** @`) and logic (`and or`); `operator` is the token."""

    operator: str
    left: Expr
    right: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Comparison:
    """`a < b <= c`: one operator fewer than operands. Operators: `== != < <= > >=`, and `in`, `not in` for lists."""

    operands: tuple[Expr, ...]
    operators: tuple[str, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Conditional:
    """`then if condition else otherwise`"""

    then: Expr
    condition: Expr
    otherwise: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a pipeline: `label: target`. `fresh_line` says that it begins a line, which the formatter keeps."""

    target: Expr
    label: str | None = None
    span: Span = _span()
    fresh_line: bool = field(default=False, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Pipe:
    """`source -> stage -> stage`"""

    source: Expr
    stages: tuple[Stage, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Repeat:
    """`repeat(count) { stage -> stage }`: fresh copies in a chain."""

    count: Expr
    body: tuple[Stage, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class TypeExpr:
    """`float[B, T, 4 * D]`; `dims` is None for a bare name such as `int` or `layer`, the type of a hyper-parameter."""

    name: str
    dims: tuple[Expr | Ellipsis, ...] | None = None
    span: Span = _span()

    @property
    def is_list(self) -> bool:
        """Whether this is a list of tensors, of any shapes."""
        return self.name == "list" and self.dims is None


@dataclass(frozen=True, slots=True)
class NamePattern:
    """`lm."**.weight"`, parameters chosen by their names; `object` is None for a pattern over all names."""

    object: Expr | None
    pattern: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class With:
    """`net with PARAMETERS`: the same layer on other parameters."""

    layer: Expr
    parameters: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class WithFunction:
    """`net with relu = guided_relu`: the same layer, with another function in the place of one."""

    layer: Expr
    function: Name
    replacement: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class CopyOf:
    """`copy of q every 500` (`kind` "copy") or `ema of net decay 0.999` (`kind` "ema"): a layer that follows another one."""

    kind: str
    layer: Expr
    amount: Expr
    span: Span = _span()


Expr: TypeAlias = (
    Name
    | Literal
    | ListExpr
    | TupleExpr
    | Comprehension
    | Call
    | Member
    | Index
    | Unary
    | Binary
    | Comparison
    | Conditional
    | Pipe
    | Repeat
    | TypeExpr
    | NamePattern
    | With
    | WithFunction
    | CopyOf
)

Pattern: TypeAlias = "Name | TuplePattern"


@dataclass(frozen=True, slots=True)
class TuplePattern:
    """What stands left of `=` or after `for`: `i, (depth, width)`."""

    items: tuple[Pattern, ...]
    span: Span = _span()


# --- statements -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assign:
    """`pattern = value`"""

    pattern: Pattern
    value: Expr
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class LayerDecl:
    """`layer name = Embedding(vocab, width)`"""

    name: str
    value: Expr
    name_span: Span = _span()
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class TensorDecl:
    """`param name: type = initial` (`kind` is "param") or `buffer ...` (`kind` is "buffer")."""

    kind: str
    name: str
    type: TypeExpr
    initial: Expr | None
    name_span: Span = _span()
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class Update:
    """`update buffer = value`; in a `train` block `name` may be a path, `critic.params`."""

    name: str
    value: Expr
    name_span: Span = _span()
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class If:
    """`if condition { body } else { orelse }`; an `else if` is an If alone in `orelse`. The condition `training` is the Name."""

    condition: Expr
    body: tuple[Statement, ...]
    orelse: tuple[Statement, ...] = ()
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class For:
    pattern: Pattern
    iterable: Expr
    body: tuple[Statement, ...]
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class Return:
    """`return a, b`: one item a returned value."""

    values: tuple[Expr, ...]
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class Require:
    condition: Expr
    message: Expr | None = None
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class Assert:
    """In a `test` block."""

    condition: Expr
    message: Expr | None = None
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class Carry:
    """`name = initial`, after `carry`."""

    name: str
    value: Expr
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Scan:
    """`scan pattern in source over dim reverse=true length=n carry h = zeros(B, H) { body }`.

    `source` is an expression (a TupleExpr where several tensors are scanned) or a `range(...)`; `over` is None for a range; `options` are
    the named ones, `reverse` and `length`.
    """

    pattern: Pattern
    source: Expr
    over: Expr | None
    options: tuple[Argument, ...]
    carries: tuple[Carry, ...]
    body: tuple[Statement, ...]
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class While:
    """`while condition carry x = start limit n { body }`"""

    condition: Expr
    carries: tuple[Carry, ...]
    limit: Expr
    body: tuple[Statement, ...]
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class Emit:
    """`emit name = value`, in the body of a scan."""

    name: str
    value: Expr
    name_span: Span = _span()
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class Rule:
    """An optimiser after `using`, and the parameters that it is `for` (none written: the rest)."""

    optimizer: Expr
    patterns: tuple[Expr, ...] = ()
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Minimize:
    """`minimize name = loss over LAYERS using RULE for PATTERN, RULE clip 1.0 every 2`

    `name` is None where the loss is an expression without one; `clip_kind` is "norm" (`clip`) or "value" (`clip_value`).
    """

    loss: Expr
    name: str | None
    over: tuple[Expr, ...]
    rules: tuple[Rule, ...]
    clip: Expr | None = None
    clip_kind: str = "norm"
    every: Expr | None = None
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class Metric:
    """`metric name = value`"""

    name: str
    value: Expr
    name_span: Span = _span()
    span: Span = _span()
    comments: Comments = _comments()


Statement: TypeAlias = (
    Assign | LayerDecl | TensorDecl | Update | If | For | Return | Require | Assert | Scan | While | Emit | Minimize | Metric
)


# --- definitions ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parameter:
    """A hyper-parameter of a module, or a parameter of a function; `type` may be missing in a function."""

    name: str
    type: TypeExpr | None = None
    default: Expr | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Output:
    """One result of an entry point; `name` is None for `-> float[B, D]`."""

    type: TypeExpr
    name: str | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry point: `def forward(x: float[B, D]) -> (y: float[B, D]) { ... }`; `inputs` have types and no defaults."""

    name: str
    inputs: tuple[Parameter, ...]
    outputs: tuple[Output, ...]
    body: tuple[Statement, ...]
    name_span: Span = _span()
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class Module:
    """`module` or `model` (`kind`). The short form with a second bracket has `body == ()` and one entry named `forward`, `short` true."""

    kind: str
    name: str
    parameters: tuple[Parameter, ...]
    body: tuple[Statement, ...]
    entries: tuple[Entry, ...]
    short: bool = True
    name_span: Span = _span()
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class Backward:
    """`backward(g) = expression` or `backward(g) { ... return dx }` after a function: its gradient, from those of its results (`names`)
    and its own parameters, one result for each tensor among these."""

    names: tuple[str, ...]
    body: tuple[Statement, ...]
    short: bool = True
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class Function:
    """`fn name(x, rate=0.5) = expression` (`short`, the body is one Return) or `fn name(x) { ... return y }`."""

    name: str
    parameters: tuple[Parameter, ...]
    body: tuple[Statement, ...]
    short: bool = True
    backward: Backward | None = None
    name_span: Span = _span()
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class Const:
    """`const name = expression`"""

    name: str
    value: Expr
    name_span: Span = _span()
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class ImportedName:
    name: str
    alias: str | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Import:
    """`from language.blocks import Block as B, gelu` (`names`), or `import language.blocks as blocks` (`names` empty)."""

    path: str
    names: tuple[ImportedName, ...] = ()
    alias: str | None = None
    path_span: Span = _span()
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class Train:
    """`train Name(hyper)(inputs) { ... minimize ... }`"""

    name: str
    parameters: tuple[Parameter, ...]
    inputs: tuple[Parameter, ...]
    body: tuple[Statement, ...]
    name_span: Span = _span()
    span: Span = _span()
    comments: Comments = _comments()


@dataclass(frozen=True, slots=True)
class Test:
    """`test "title" { ... }`"""

    title: str
    body: tuple[Statement, ...]
    span: Span = _span()
    comments: Comments = _comments()


Definition: TypeAlias = Module | Function | Const | Import | Train | Test


@dataclass(frozen=True, slots=True)
class File:
    """A whole spec. `closing` are the comments after the last definition."""

    definitions: tuple[Definition, ...]
    source: Source = field(compare=False, repr=False)
    closing: tuple[str, ...] = field(default=(), compare=False)
