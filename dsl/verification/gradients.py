"""`dslc verify --gradients`: the gradients of the targets against each other and against central differences of the reference.

For each entry point and mode, a scalar (the outputs weighted with random numbers, or a loss) is differentiated by every parameter and every
floating input. In float64, each target is compared with central differences along random directions, tensors dealt into few groups, and
with the first target element by element. In the element type that the model was compiled for, each is compared with the first in float64.
How far off a gradient may be is the rule of dsl/verification/gradient_noise.py, and there only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from backends.base import Arrays, Backend, Differentiable, EmitOptions
from backends.reference_gradient import Slope
from dsl.diagnostics import Diagnostic, SpecError
from dsl.initial_values import in_dtype, initial_weights
from dsl.ir import Program
from dsl.types import DType
from dsl.verification.cases import flattened, pure_case
from dsl.verification.compare import chosen_backends, compile_and_load
from dsl.verification.expectation import EPSILON, TRIES
from dsl.verification.gradient_bisect import diverge
from dsl.verification.gradient_cases import Point, Scalar, points, scalars
from dsl.verification.gradient_noise import Tensors, gradients_by_name, noisy, tolerances
from dsl.verification.gradient_report import DIFFERENCES, GradientDivergence, GradientReport, GradientRow
from dsl.verification.inputs import unconstant
from dsl.verification.report import Refusal
from dsl.verification.sizes import choose_sizes

GROUPS, FEWEST, EVALUATIONS = 12, 3, 1200
"""Tensors are dealt into groups, each of which is moved along one direction: at most GROUPS of them, fewer in a graph of many nodes, so
that about EVALUATIONS nodes are computed for each step, but FEWEST at least."""

DIRECTIONS = 3
"""How many directions are tried until the scalar is smooth along one."""

SMOOTH = 1e-5
"""How far, relatively, two estimates of a slope may be apart where a scalar is smooth."""


def verify_gradients(
    exact: Program,
    program: Program | None = None,
    backends: Sequence[str] | None = None,
    *,
    loss: bool = False,
    brief: bool = False,
    seed: int = 0,
    sizes: int | Sequence[Mapping[str, int]] = 1,
    weights: Arrays | None = None,
    options: EmitOptions | None = None,
    device: str = "cpu",
) -> GradientReport:
    """Compare gradients. `exact` is the model compiled for float64, `program` for the type that is shipped (left out, float64 alone is
    compared). With `loss` the scalar is the first output of each entry point, as in a `train` block; with `brief` each entry point is
    compared in one mode alone, that of training (without dropout) where there is one. The rest is as in `verify`."""
    check = _Check(exact, loss, seed, options or EmitOptions(), device)
    used = weights if weights is not None else unconstant(initial_weights(exact, seed), exact.parameters(), seed)
    wide = {n: in_dtype(np.asarray(used[n], np.float64), p.type.dtype) if p.type.dtype.is_float else used[n]
            for n, p in exact.parameters().items()}  # fmt: skip
    check.use(chosen_backends(backends), wide, strict=backends is not None)
    found, remarks = scalars(exact, loss=loss)
    for scalar in _in_one_mode(found) if brief else found:
        chosen = _sizes(scalar, sizes, seed)
        for at in chosen:
            check.compare(scalar, wide, at)
    if program is not None and program is not exact:
        check.compare_shipped(program, wide)
    return GradientReport(tuple(check.rows), tuple(check.refusals), tuple(check.divergences), tuple(remarks))


def _in_one_mode(found: Sequence[Scalar]) -> list[Scalar]:
    chosen: dict[str, Scalar] = {}
    for scalar in found:
        known = chosen.get(scalar.case.entry)
        if known is None or (scalar.case.training and not known.case.training):
            chosen[scalar.case.entry] = scalar
    return list(chosen.values())


def _sizes(scalar: Scalar, sizes: int | Sequence[Mapping[str, int]], seed: int) -> Sequence[Mapping[str, int]]:
    """The sizes given, or so many: not the smallest, at which a loop runs once."""
    return choose_sizes(scalar.case.original, sizes + 1, seed)[-sizes:] if isinstance(sizes, int) else sizes


@dataclass(slots=True)
class _Check:
    exact: Program
    loss: bool
    seed: int
    options: EmitOptions
    device: str
    backends: list[Backend] = field(default_factory=list)
    rows: list[GradientRow] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    divergences: list[GradientDivergence] = field(default_factory=list)
    known: list[tuple[Point, Tensors]] = field(default_factory=list)
    sessions: dict[tuple[int, str], tuple[Program, Differentiable]] = field(default_factory=dict)
    """By the identity of the program, which is kept so that no other gets the same."""

    def use(self, backends: Sequence[Backend], weights: Arrays, *, strict: bool) -> None:
        """Those of the backends whose sessions differentiate."""
        for backend in backends:
            if not backend.training or backend.name == "reference":
                if strict:
                    raise SpecError(Diagnostic("DL0817", f"the backend `{backend.name}` does not differentiate"), exit_code=2)
                continue
            try:
                session = compile_and_load(backend, self.exact, weights, self.options, self.device)
            except SpecError as refusal:
                if strict:
                    raise
                self.refusals.append(Refusal(backend.name, refusal.diagnostics))
                continue
            if isinstance(session, Differentiable):
                self.sessions[id(self.exact), backend.name] = self.exact, session
                self.backends.append(backend)

    def session(self, backend: Backend, program: Program, weights: Arrays) -> Differentiable:
        key = (id(program), backend.name)
        if key not in self.sessions:
            made = compile_and_load(backend, program, weights, self.options, self.device)
            assert isinstance(made, Differentiable)
            self.sessions[key] = program, made
        return self.sessions[key][1]

    # --- float64 ---

    def compare(self, scalar: Scalar, weights: Arrays, sizes: Mapping[str, int]) -> None:
        """All comparisons of one scalar in float64 at some sizes."""
        best = next(points(scalar, weights, sizes, self.seed), None)
        if best is None or not self.backends:
            return
        case = scalar.case
        first: Tensors = {}
        allowed: dict[str, float] = {}
        differences: Differences | None = None
        for backend in self.backends:
            session = self.session(backend, case.program, {} if case.flat else weights)
            found = scalar.named(gradients_by_name(session, best.inputs, best.weights, case.entry, training=case.run_training))
            if not first:
                first, allowed = found, self._allowed(best, found, backend, DType.F64)
                self.known.append((best, first))
            else:
                self._row(best, backend, self.backends[0].name, DType.F64, compared(found, first, allowed), weights)
            differences = differences or Differences(best, first, self.seed)
            self._row(best, backend, DIFFERENCES, DType.F64, differences.worst(found), weights)

    def _allowed(self, point: Point, exact: Tensors, backend: Backend, dtype: DType) -> dict[str, float]:
        """How far off each gradient may be in the model's element type."""
        case = pure = point.case
        if not case.flat:
            flat = flattened(case.graph, training=case.training, gradients=True)
            pure = pure_case(case.original, flat, case.entry, case.mode, training=case.training)
        spread = noisy(pure.graph)
        session = self.session(backend, spread.program, {})
        tries = []
        for i in range(TRIES):
            rng = np.random.default_rng([self.seed, i])
            held = {name: np.asarray(point.stored[path]) for name, path in pure.parameters.items()}
            drawn = {draw.name: draw.sample(dict(point.sizes), rng) for draw in pure.draws}
            inputs = {name: {**drawn, **held, **point.inputs}[name] for name in pure.graph.inputs}
            feed = typed(Program("", {case.entry: spread.graph}), case.entry, spread.inputs(inputs, dict(point.sizes), rng))
            found = gradients_by_name(session, feed, point.weights, case.entry)
            tries.append(replace(point.scalar, case=pure).named(found))
        return tolerances(
            exact, [{name: t.get(name, g) for name, g in exact.items()} for t in tries], EPSILON[dtype], point.cancelled()
        )

    def _row(
        self, point: Point, backend: Backend, against: str, dtype: DType, worst: tuple[str, float, float, str], weights: Arrays
    ) -> None:
        tensor, error, tolerance, note = worst
        case = point.case
        ok = bool(error <= tolerance)
        row = GradientRow(
            backend.name, against, str(dtype), case.entry, case.mode, dict(point.sizes), tensor, error, tolerance, ok, note
        )
        self.rows.append(row)
        if not ok:
            known = any(
                d.row.backend == row.backend and d.row.entry == row.entry and d.row.mode == row.mode for d in self.divergences
            )
            if not known:
                self.divergences.append(diverge(point, row, self.backends, weights, self.options, self.device, self.seed))

    # --- as shipped ---

    def compare_shipped(self, program: Program, weights: Arrays) -> None:
        """Each backend in the type that is shipped, with the first in float64, at the points of before."""
        dtype = widest_float(program)
        narrow = {n: in_dtype(np.asarray(weights[n]), p.type.dtype) for n, p in program.parameters().items()}
        found, _ = scalars(program, loss=self.loss)
        by_case = {(s.case.entry, s.case.mode): s for s in found}
        for point, exact in self.known:
            scalar = by_case[point.case.entry, point.case.mode]
            case = scalar.case
            rounded = typed(point.case.program, case.entry, point.inputs, case.program)
            moved = replace(point, scalar=scalar, stored=narrow, inputs=rounded)
            allowed: dict[str, float] = {}
            for backend in self.backends:
                session = self.session(backend, case.program, {} if case.flat else narrow)
                named = scalar.named(gradients_by_name(session, rounded, point.weights, case.entry, training=case.run_training))
                allowed = allowed or self._allowed(moved, exact, backend, dtype)
                against = f"{self.backends[0].name} in f64"
                self._row(moved, backend, against, dtype, compared(named, exact, allowed), narrow)


def typed(program: Program, entry: str, inputs: Arrays, target: Program | None = None) -> Tensors:
    """Inputs in the element types that the entry point of `target` (or of `program`) declares."""
    graph = (target or program).entries[entry]
    return {
        name: in_dtype(np.asarray(inputs[name]), graph.type(value).dtype)
        if graph.type(value).dtype.is_float
        else np.asarray(inputs[name])
        for name, value in graph.inputs.items()
    }


def widest_float(program: Program) -> DType:
    """The floating type of a program's parameters, or of its inputs."""
    types = [p.type.dtype for p in program.parameters().values()]
    types += [graph.type(v).dtype for graph in program.entries.values() for v in graph.inputs.values()]
    return max((t for t in types if t.is_float), key=lambda t: t.bytes, default=DType.F32)


def compared(found: Tensors, exact: Tensors, allowed: Mapping[str, float]) -> tuple[str, float, float, str]:
    """The tensor that is worst for its tolerance, its largest difference, and the tolerance."""
    worst, share = ("", 0.0, 0.0, ""), -1.0
    for name, gradient in exact.items():
        missing = name not in found or found[name].shape != gradient.shape
        error = float("inf") if missing else float(np.max(np.abs(found[name] - gradient), initial=0.0))
        error = float("inf") if np.isnan(error) else error
        of_tolerance = error / allowed[name] if allowed[name] else (float("inf") if error else 0.0)
        if of_tolerance > share:
            worst, share = (name, error, allowed[name], ""), of_tolerance
    return worst


@dataclass(slots=True)
class Differences:
    """Central differences at one point. A direction and the slope along it are found once, for all targets."""

    point: Point
    like: Tensors
    seed: int
    tensors: Tensors = field(init=False)
    left: float = field(init=False)
    cancelled: float = field(init=False)
    groups: list[list[str]] = field(init=False)
    known: dict[tuple[str, ...], tuple[Tensors, Slope] | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tensors = self.point.tensors()
        graphs = self.point.case.graph.callees()
        self.left = 1e-8 if any(n.op == "grad" for g in graphs for n in g) else 1e-10
        self.cancelled = self.point.cancelled()
        names = sorted(self.tensors)
        count = max(FEWEST, min(GROUPS, EVALUATIONS // len(flattened(self.point.case.graph, training=self.point.case.training))))
        self.groups = [names[i::count] for i in range(min(count, len(names)))]

    def worst(self, gradients: Tensors) -> tuple[str, float, float, str]:
        """The group of tensors along whose direction gradient and central differences are worst apart."""
        worst, share = ("", 0.0, 0.0, ""), -1.0
        for group in self.groups:
            name, error, tolerance, note = self._along(gradients, group)
            if error > tolerance and len(group) > 1:
                single = [self._along(gradients, [n]) for n in group]
                name, error, tolerance, note = max(single, key=_share)
            of_tolerance = _share((name, error, tolerance, note))
            if of_tolerance > share:
                worst, share = (name, error, tolerance, note), of_tolerance
        return worst

    def _along(self, gradients: Tensors, group: list[str]) -> tuple[str, float, float, str]:
        """Gradient against central differences along a direction that moves the tensors of a group.

        What may be apart: four times what two estimates of the slope are, 1e-8 of the slopes of the single tensors, and 1e-10 of the
        scalar, which is what float64 leaves of a difference at the steps that are taken: of what it is made from, where it cancels. A
        scalar that has gradients in it is made of differences itself, and leaves a hundredth of that.
        """
        name = ", ".join(group[:2]) + (", ..." if len(group) > 2 else "")
        if any(n not in gradients for n in group):
            return name, float("inf"), 0.0, "no gradient was given"
        key = tuple(group)
        if key not in self.known:
            self.known[key] = self._smooth(group)
        found = self.known[key]
        if found is None:
            return name, 0.0, 0.0, "not smooth along any direction that was tried"
        direction, slope = found
        parts = [gradients[n] * direction[n] for n in group]
        spread = float(np.sqrt(sum(float(np.sum(np.square(part))) for part in parts)))
        error = abs(float(slope.value) - sum(float(np.sum(part)) for part in parts))
        tolerance = 4 * slope.doubt + 1e-8 * spread + self.left * max(slope.size, self.cancelled)
        return name, float("inf") if np.isnan(error) else error, tolerance, ""

    def _smooth(self, group: list[str]) -> tuple[Tensors, Slope] | None:
        """A direction along which the scalar is smooth, and its slope."""
        for attempt in range(DIRECTIONS):
            rng = np.random.default_rng([self.seed, attempt, len(group)])
            direction = {n: _scaled(self.tensors[n], self.like.get(n), rng) for n in group}
            slope = self.point.along(direction)
            if slope.doubt <= SMOOTH * max(abs(float(slope.value)), 1e-3 * slope.size):
                return direction, slope
        return None


def _share(found: tuple[str, float, float, str]) -> float:
    _, error, tolerance, _ = found
    return error / tolerance if tolerance else (float("inf") if error else 0.0)


def _scaled(x: np.ndarray, gradient: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """A direction that moves a tensor by about its own size, less where it moves the scalar by more than that."""
    size = float(np.sqrt(np.mean(np.square(x)))) if x.size else 1.0
    steep = float(np.linalg.norm(gradient)) if gradient is not None else 0.0
    return rng.standard_normal(x.shape) * min(size or 1.0, 1.0 / steep if steep > 0 and np.isfinite(steep) else 1.0)
