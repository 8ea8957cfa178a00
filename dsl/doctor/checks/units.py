"""Units that say nothing: a relu that is 0 for the whole batch, a tanh or sigmoid that is at its end almost always. Neither passes a
gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dsl.doctor.finding import Finding, Status
from dsl.doctor.record import Seen
from dsl.doctor.subject import Subject
from dsl.source import Span

NAME = "units"

END = 0.99
"""A tanh beyond this is saturated; a sigmoid as far from one half, relatively."""

WARNING, FAILED = 0.5, 0.9
"""Shares of the units of a layer."""


@dataclass(frozen=True, slots=True)
class _Group:
    """All that one activation of one layer gave."""

    op: str
    layer: str
    span: Span
    results: list[np.ndarray]


def check_units(subject: Subject) -> Iterator[Finding]:
    """The share of dead or saturated units of each activation, on the batch with the initial weights."""
    groups = _groups(subject.start.units)
    if not groups:
        yield Finding(NAME, Status.SKIPPED, "there is no relu, tanh or sigmoid")
        return
    worst = 0.0
    quiet = True
    for group in groups:
        share = _dead(group.results) if group.op == "relu" else _saturated(group)
        worst = max(worst, share)
        if share > WARNING:
            quiet = False
            yield _finding(group, share)
    if quiet:
        numbers = {"activations": float(len(groups)), "largest share": worst}
        yield Finding(
            NAME, Status.OK, f"{_counted(len(groups))} in use", f"{worst:.0%} at most", f"under {WARNING:.0%}", numbers=numbers
        )


def _counted(count: int) -> str:
    return "the units of 1 activation are" if count == 1 else f"the units of {count} activations are"


def _finding(group: _Group, share: float) -> Finding:
    where = f" in `{group.layer}`" if group.layer else ""
    how = "are 0 for the whole batch" if group.op == "relu" else "are at an end of its range"
    message = f"{share:.0%} of what `{group.op}`{where} gives {how}: no gradient passes"
    status = Status.FAILED if share > FAILED else Status.WARNING
    return Finding(NAME, status, message, f"{share:.0%}", f"under {WARNING:.0%}", group.span, {"share": share})


def _groups(units: list[Seen]) -> list[_Group]:
    found: dict[object, _Group] = {}
    for seen in units:
        key = (seen.layer, id(seen.graph), seen.node.id, seen.span.start)
        found.setdefault(key, _Group(seen.node.op, seen.layer, seen.span, [])).results.append(seen.results[0])
    return list(found.values())


def _dead(results: list[np.ndarray]) -> float:
    """The share of units that are 0 always. The units of pictures are their channels, of others the last axis."""
    alive: np.ndarray | None = None
    for result in results:
        axis = 1 if result.ndim >= 4 else result.ndim - 1
        some = np.any(result > 0, axis=tuple(i for i in range(result.ndim) if i != axis))
        alive = some if alive is None or alive.shape != some.shape else alive | some
    return float(1 - np.mean(alive)) if alive is not None and alive.size else 0.0


def _saturated(group: _Group) -> float:
    flat = np.concatenate([r.ravel() for r in group.results])
    centred = flat if group.op == "tanh" else 2 * flat - 1
    return float(np.mean(np.abs(centred) > END)) if flat.size else 0.0
