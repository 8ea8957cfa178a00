"""The names in force at one place of a definition, and the graph that its statements add to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dsl import syntax
from dsl.build import Builder
from dsl.diagnostics import Diagnostic, Label, SpecError
from dsl.dims import Dim
from dsl.elaborate.familiar import FUNCTIONS, suggested
from dsl.elaborate.values import POISON, Tensor
from dsl.ir import Constraint, Graph, Value
from dsl.loader import Unit
from dsl.source import NOWHERE, Span
from dsl.types import TensorType

if TYPE_CHECKING:
    from dsl.elaborate.objectives import TrainingParts
    from dsl.elaborate.signature import LocalDims


@dataclass(slots=True)
class Binding:
    """A name in a scope: what it is, where it was bound, whether something reads it."""

    value: object
    span: Span = NOWHERE
    read: bool = False
    watched: bool = False


@dataclass(slots=True, eq=False)
class Frame:
    """One definition being elaborated.

    `dims` are the names that are dimensions (usable as axes). `mode` is "both", or "training" / "inference" inside `if training`.
    `inside` are names that only the body of a loop binds.
    `plain` are the dimensions without what `require` says of them; `one_sided` the names that only one branch of an `if training` binds.
    `hyper` are the hyper-parameters of the layers here, by definition and arguments, and `applied` the graphs, by types as well: so a long
    chain of like layers is quick.
    `parent` is set in the body of a `repeat` and in a block: names of the parent are read through `translate`.
    `emits` are what the body of a `scan` emits; `step` gives the number of updates or steps done, where schedules may stand; `training`
    collects the objectives of a `train` block; `fixed` is the mode that an application asked for (`net(x, training=false)`), if one did;
    `functions` are those that an application put in the place of others (`net with relu = guided_relu`), by the frozen value of these.
    """

    graph: Graph
    builder: Builder
    unit: Unit
    names: dict[str, Binding] = field(default_factory=dict)
    dims: dict[str, Dim] = field(default_factory=dict)
    mode: str = "both"
    parent: Frame | None = None
    translate: Callable[[object], object] | None = None
    depth: int = 0
    loops: int = 0
    branches: int = 0
    in_test: bool = False
    returned: list[tuple[str | None, object, Span]] | None = None
    plain: dict[str, Dim] = field(default_factory=dict)
    one_sided: dict[str, Span] = field(default_factory=dict)
    inside: dict[str, Span] = field(default_factory=dict)
    children: dict[str, Span] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    hyper: dict[object, Mapping[str, object]] = field(default_factory=dict)
    applied: dict[object, tuple[Graph, LocalDims]] = field(default_factory=dict)
    holder: Graph | None = None
    emits: dict[str, tuple[Tensor, Span]] | None = None
    step: Callable[[], Tensor] | None = None
    training: TrainingParts | None = None
    fixed: str | None = None
    functions: Mapping[object, object] = field(default_factory=dict)

    @property
    def owner(self) -> Graph:
        """The graph that owns what is declared here: this one, unless it is a block of another."""
        return self.holder or self.graph

    def has_value(self, name: str) -> bool:
        """Whether a name in a type stands for a value that is known: a hyper-parameter, a dimension bound before, a `const`."""
        if name in self.names:
            return True
        found = self.unit.names.get(name)
        return found is not None and isinstance(found[0], syntax.Const)

    def bind(self, name: str, value: object, span: Span = NOWHERE, *, watched: bool = False) -> None:
        """Bind a name, again if need be; an earlier tensor of the name stays in the graph."""
        self.names[name] = Binding(value, span, watched=watched)
        if name in self.dims:
            del self.dims[name]

    def bind_dim(self, name: str, dim: Dim, span: Span = NOWHERE) -> None:
        self.names[name] = Binding(dim, span, read=True)
        self.dims[name] = dim

    def lookup(self, name: str) -> Binding | None:
        binding = self.names.get(name)
        if binding is not None:
            binding.read = True
            return binding
        if self.parent is None or self.translate is None:
            return None
        outer = self.parent.lookup(name)
        if outer is None:
            return None
        inner = Binding(self.translate(outer.value), outer.span, read=True)
        self.names[name] = inner
        if name in self.parent.dims and isinstance(inner.value, int) | hasattr(inner.value, "terms"):
            self.dims[name] = inner.value  # type: ignore[assignment]
        return inner

    def visible(self) -> list[str]:
        """All names that an expression here may use, for suggestions."""
        outer = self.parent.visible() if self.parent is not None else []
        return [*self.names, *outer, *self.unit.names, *self.unit.modules]

    def type(self, tensor: Tensor) -> TensorType:
        return self.graph.type(tensor.value)

    def child_name(self, wanted: str, span: Span, *, labelled: bool) -> str:
        """A name for an owned layer: the label, or the type in snake case; numbered from the second on."""
        if not self._taken(wanted):
            self.children[wanted] = span
            return wanted
        if labelled and not self.loops:
            first = self.children.get(wanted) or self.owner.parameters[wanted].span
            raise SpecError(
                Diagnostic("DL0502", f"two layers are called `{wanted}`", span, labels=(Label(first, "the first is here"),))
            )
        number = self.numbers.get(wanted, 1)
        while self._taken(f"{wanted}_{number}"):
            number += 1
        self.numbers[wanted] = number + 1
        self.children[f"{wanted}_{number}"] = span
        return f"{wanted}_{number}"

    def _taken(self, name: str) -> bool:
        return name in self.children or name in self.owner.parameters


def snake_case(name: str) -> str:
    """`BatchNorm2d` to `batch_norm2d`, `MLP` to `mlp`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def unknown_name(name: str, span: Span, candidates: list[str]) -> SpecError:
    """The error for a name that means nothing here, with the nearest one that does."""
    near = suggested(name, candidates, FUNCTIONS)
    return SpecError(Diagnostic("DL0201", f"`{name}` is not defined", span, help=f"did you mean `{near}`?" if near else None))


def no_member(what: str, verb: str, name: str, span: Span, known: list[str]) -> SpecError:
    """The error for a member that is not there."""
    near = suggested(name, known, {})
    listed = f"it {verb} {', '.join(f'`{k}`' for k in known)}"
    return SpecError(Diagnostic("DL0207", f"{what} {verb} no `{name}`", span, help=f"did you mean `{near}`?" if near else listed))


def poison(frame: Frame, name: str, span: Span) -> None:
    frame.names[name] = Binding(POISON, span, read=True)


def tensor(value: Value, rank: int, names: tuple[str | None, ...] | None = None) -> Tensor:
    return Tensor(value, names if names is not None and len(names) == rank else (None,) * rank)


def require(frame: Frame, constraint: Constraint) -> None:
    """Note a constraint on the symbolic dimensions of the graph, once."""
    if constraint not in frame.owner.constraints:
        frame.owner.constraints.append(constraint)


def only_in_training(frame: Frame) -> bool:
    """Whether what stands here is for training, of a model that is used for both."""
    return frame.mode == "training" and frame.fixed is None and frame.training is None
