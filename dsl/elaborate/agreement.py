"""One set of parameters: what a layer owns is the same wherever it is applied, and what a module owns in all of its entry points.

The names of layers and parameters are the keys of the weights. Two entry points that give one name to different things would share weights
that have nothing in common, or differ in size.
"""

from __future__ import annotations

from collections.abc import Sequence

from dsl.diagnostics import Diagnostic, Label, SpecError
from dsl.elaborate.values import Instance
from dsl.ir import Graph, owned
from dsl.source import Span


def check_applications(instance: Instance, graph: Graph, span: Span) -> None:
    """A layer that has been applied is applied again, as `graph`: to inputs that need the same parameters."""
    for other in instance.graphs:
        check_entry_points([other, graph])
        different = _different(other, graph)
        if different is not None:
            raise SpecError(
                Diagnostic(
                    "DL0515",
                    f"`{instance.name}` is applied to inputs that need different parameters",
                    span,
                    text=f"here {different}",
                    labels=(Label(instance.span, "one layer has one set of parameters"),),
                )
            )


def check_model(entries: Sequence[Graph]) -> None:
    """The entry points of a model, on their declared inputs, own the same."""
    check_entry_points(entries)
    for i, graph in enumerate(entries):
        for other in entries[:i]:
            different = _different(other, graph)
            if different is not None:
                message = f"`{other.entry}` and `{graph.entry}` need different parameters"
                raise SpecError(Diagnostic("DL0515", message, graph.span, text=f"in `{graph.entry}` {different}"))


def check_entry_points(graphs: Sequence[Graph]) -> None:
    """A name stands for one layer or parameter in all entry points of a module."""
    for i, graph in enumerate(graphs):
        for other in graphs[:i]:
            placed, before = _placed(graph), _placed(other)
            for name in placed.keys() & before.keys():
                if placed[name] != before[name]:
                    raise SpecError(
                        Diagnostic(
                            "DL0502",
                            f"`{graph.entry}` and `{other.entry}` both have a `{name}` of their own",
                            placed[name],
                            labels=(Label(before[name], "the other"),),
                            help="a `layer` or `param` before the entry points is shared by them; two need two names",
                        )
                    )


def _placed(graph: Graph) -> dict[str, Span]:
    """Where each layer and parameter of the graph itself is made."""
    return {name: span for name, span in graph.children.items() if span is not None} | {
        name: parameter.span for name, parameter in graph.parameters.items()
    }


def _different(before: Graph, graph: Graph) -> str | None:
    """The first parameter that two graphs own with different types, in words."""
    others = dict(owned(before))
    for name, parameter in owned(graph):
        known = others.get(name)
        if known is not None and known.type != parameter.type:
            return f"`{name}` would be {parameter.type}, and before it was {known.type}"
    return None
