"""What the parts of the elaborator share: the caches, the findings, and each other.

Expressions apply layers, layers execute statements, statements evaluate expressions: the three meet here, so that the files that define
them need not import one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dsl import syntax
from dsl.build import Builder
from dsl.diagnostics import Diagnostic, SpecError
from dsl.elaborate.values import POISON
from dsl.ir import Graph
from dsl.source import Span
from dsl.types import DType

if TYPE_CHECKING:
    from dsl.elaborate.apply import Applier
    from dsl.elaborate.binding import Binder
    from dsl.elaborate.evaluate import Evaluator
    from dsl.elaborate.execute import Executor
    from dsl.elaborate.frame import Frame
    from dsl.elaborate.functions import FunctionCaller
    from dsl.elaborate.gradients import Gradients
    from dsl.elaborate.instantiate import Instantiator
    from dsl.elaborate.loops import Loops
    from dsl.elaborate.objectives import Objectives
    from dsl.elaborate.operators import Operators
    from dsl.elaborate.repeats import Repeater
    from dsl.elaborate.roots import Roots
    from dsl.elaborate.tensors import Tensors
    from dsl.elaborate.updates import Updates

MOST_ERRORS = 100
"""After how many errors in one block the rest of it is not looked at."""


@dataclass(slots=True, eq=False)
class Context:
    """One elaboration. `graphs` holds every instantiation; `open` those in progress, to find recursion;
    `initializing` counts the declarations whose initial value is being evaluated; `rounds` those of `for` so far;
    `scratch` takes what static expressions build."""

    float_type: DType
    warnings: list[Diagnostic] = field(default_factory=list)
    graphs: dict[object, Graph] = field(default_factory=dict)
    open: list[tuple[object, str, Span]] = field(default_factory=list)
    initializing: int = 0
    rounds: int = 0
    scratch: Builder | None = None
    operators: Operators = field(init=False)
    tensors: Tensors = field(init=False)
    evaluator: Evaluator = field(init=False)
    binder: Binder = field(init=False)
    applier: Applier = field(init=False)
    executor: Executor = field(init=False)
    instantiator: Instantiator = field(init=False)
    repeats: Repeater = field(init=False)
    functions: FunctionCaller = field(init=False)
    roots: Roots = field(init=False)
    loops: Loops = field(init=False)
    gradients: Gradients = field(init=False)
    objectives: Objectives = field(init=False)
    updates: Updates = field(init=False)

    def evaluate(self, frame: Frame, expression: syntax.Expr) -> object:
        return self.evaluator.evaluate(frame, expression)

    def execute(self, frame: Frame, statements: Sequence[syntax.Statement]) -> None:
        self.executor.execute(frame, statements)

    def warn(self, code: str, message: str, span: Span, help: str | None = None) -> None:
        self.warnings.append(Diagnostic(code, message, span, help=help, severity="warning"))


def not_poison(value: object) -> object:
    if value is POISON:
        raise SpecError(())
    return value


def error(code: str, message: str, span: Span, *, text: str = "", help: str | None = None) -> SpecError:
    return SpecError(Diagnostic(code, message, span, text=text, help=help))
