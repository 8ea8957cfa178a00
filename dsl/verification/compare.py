"""Comparing what backends compute with the reference: same weights, same inputs, sizes that the compiler never saw.

Each entry point is compared in inference and in training, at several sizes of every symbolic dimension. How far off a result may be is
the rule of dsl/verification/expectation.py, and there only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from backends.base import Arrays, Backend, EmitOptions, Session
from dsl.diagnostics import SpecError
from dsl.initial_values import initial_weights
from dsl.ir import Program
from dsl.lower import lower
from dsl.target import backend as find
from dsl.target import require_packages, targets
from dsl.verification.bisect import diverge
from dsl.verification.cases import Case, cases_of
from dsl.verification.expectation import Measurement
from dsl.verification.inputs import unconstant
from dsl.verification.report import Divergence, Refusal, Report, Row
from dsl.verification.sizes import choose_sizes


@dataclass(frozen=True, slots=True)
class Point:
    """A case at given sizes: its inputs, and what they should give."""

    case: Case
    sizes: Mapping[str, int]
    inputs: Arrays
    expected: Measurement


def verify(
    program: Program,
    backends: Sequence[str] | None = None,
    *,
    seed: int = 0,
    sizes: int | Sequence[Mapping[str, int]] = 3,
    options: EmitOptions | None = None,
    weights: Arrays | None = None,
    device: str = "cpu",
) -> Report:
    """Compare each backend with the reference.

    `backends` are names; without them all that are installed here are compared, and one that cannot express the model is reported as a
    refusal instead of an error. `sizes` is how many assignments to the symbolic dimensions to try, or the assignments. `weights` are
    used as they are; without them the initial ones of the seed, those that begin as a constant moved a little.
    `device` is where the backends compute.
    """
    parameters = program.parameters()
    used = weights if weights is not None else unconstant(initial_weights(program, seed), parameters, seed)
    points = list(_points(program, used, seed, sizes))
    found = _Findings()
    for backend in chosen_backends(backends):
        try:
            _compare(backend, points, used, options or EmitOptions(), found, device)
        except SpecError as refusal:
            if backends is not None:
                raise
            found.refusals.append(Refusal(backend.name, refusal.diagnostics))
    return Report(tuple(found.rows), tuple(found.refusals), tuple(found.divergences))


def chosen_backends(names: Sequence[str] | None) -> list[Backend]:
    """The backends of those names, all of which must be able to run; without names those that can."""
    if names is None:
        return [find(target.name) for target in targets() if target.installed and target.name != "reference"]
    chosen = [find(name) for name in names]
    for backend in chosen:
        require_packages(backend)
    return chosen


def _points(program: Program, weights: Arrays, seed: int, sizes: int | Sequence[Mapping[str, int]]) -> Iterator[Point]:
    for case in cases_of(program):
        chosen = choose_sizes(case.original, sizes, seed) if isinstance(sizes, int) else sizes
        for at in chosen:
            inputs, expected = case.measured(weights, at, seed)
            yield Point(case, at, inputs, expected)


@dataclass(slots=True)
class _Findings:
    rows: list[Row] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    divergences: list[Divergence] = field(default_factory=list)


def compile_and_load(backend: Backend, program: Program, weights: Arrays, options: EmitOptions, device: str = "cpu") -> Session:
    """Optimise, emit and open a program with its weights."""
    made = lower(program, backend, options, weights=weights)
    return backend.load(made.artifact, made.program, made.weights if made.weights is not None else weights, device=device)


def _compare(backend: Backend, points: list[Point], weights: Arrays, options: EmitOptions, found: _Findings, device: str) -> None:
    """Compare one backend at all points; the first failure of each case is followed to where it begins."""

    def compiled(program: Program, given: Arrays) -> Session:
        return compile_and_load(backend, program, given, options, device)

    sessions: dict[int, Session] = {}
    followed: set[int] = set()
    for point in points:
        case = point.case
        if case.training and not backend.training:
            continue
        if id(case.program) not in sessions:
            sessions[id(case.program)] = compiled(case.program, {} if case.flat else weights)
        result = sessions[id(case.program)].run(point.inputs, training=case.run_training, entry=case.entry)
        row = compare(backend.name, point, case.tensors(result))
        found.rows.append(row)
        if not row.ok and id(case) not in followed:
            followed.add(id(case))
            found.divergences.append(diverge(case, row, weights, point.inputs, compiled))


def compare(backend: str, point: Point, tensors: Mapping[str, np.ndarray]) -> Row:
    """The row for what a backend gave at a point: that of the tensor which is worst for its tolerance."""
    case = point.case
    worst, error, tolerance, share = "", 0.0, 0.0, -1.0
    for name, expected in point.expected.tensors.items():
        found = expected.error(tensors[name]) if name in tensors else float("inf")
        of_tolerance = found / expected.tolerance if expected.tolerance else (float("inf") if found else 0.0)
        if of_tolerance > share:
            worst, error, tolerance, share = name, found, expected.tolerance, of_tolerance
    note = "" if point.expected.sound else "the inputs found give infinities, NaN or results that hang on rounding"
    return Row(backend, case.entry, case.mode, dict(point.sizes), worst, error, tolerance, share <= 1.0, note)
