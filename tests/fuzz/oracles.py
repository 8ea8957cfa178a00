"""What must hold of every spec. A refusal, a diagnostic that says what a target cannot express, is no finding; anything else is.

How far off a number may be is the rule of dsl/verification/expectation.py. Points where that rule says that the inputs decide nothing
(the noise of the arithmetic moves a result by more than the largest tolerance) are counted, not judged.
"""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from backends.base import EmitOptions, Session
from backends.onnx_types import OPSETS
from dsl.compiler import compile_graph
from dsl.diagnostics import SpecError
from dsl.dump_yaml import dump_yaml
from dsl.initial_values import initial_weights
from dsl.ir import Program
from dsl.load_yaml import load_yaml
from dsl.lower import lower
from dsl.parse import parse
from dsl.passes.pipeline import OPTIONAL
from dsl.printer import print_file
from dsl.source import Source
from dsl.target import backend as find
from dsl.types import DType
from dsl.verification.cases import cases_of
from dsl.verification.compare import Point, compare
from dsl.verification.gradients import verify_gradients
from dsl.verification.inputs import unconstant
from dsl.verification.sizes import choose_sizes

NO_SIZES = "DL0811"


class Finding(AssertionError):
    """A spec of which something does not hold: which oracle says so, and what it saw."""

    def __init__(self, oracle: str, message: str, spec: str) -> None:
        super().__init__(f"{oracle}: {message}")
        self.oracle, self.message, self.spec = oracle, message, spec

    @property
    def kind(self) -> str:
        """What raised it, with the code of a diagnostic; nothing for a number that is off."""
        found = re.match(r"\w+: (\[DL\d+\])?", self.message)
        return found[0] if found else ""


@dataclass(slots=True)
class Tally:
    """How often each thing happened: oracles that held, refusals by target, points that decide nothing; and how long each oracle took."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class Subject:
    """A spec with its program, its weights, and the points that it is compared at."""

    spec: str
    program: Program
    weights: dict[str, np.ndarray]
    points: tuple[Point, ...]
    tally: Tally


@contextmanager
def blaming(oracle: str, spec: str) -> Iterator[None]:
    """Whatever is raised inside is a finding of the oracle."""
    try:
        yield
    except Finding:
        raise
    except Exception as problem:
        raise Finding(oracle, f"{type(problem).__name__}: {problem}", spec) from problem


def subject_of(spec: str, tally: Tally, *, sizes: int = 1, seed: int = 0) -> Subject | None:
    """The spec with what the reference computes of it; None where no sizes satisfy its requirements. The checker does not refuse
    it: its statements were asked about one by one."""
    with blaming("check", spec):
        program = compile_graph(Source("finding.dl", spec))
        weights = unconstant(initial_weights(program, seed), program.parameters(), seed)
    with blaming("reference", spec):
        points = []
        for case in cases_of(program):
            try:
                chosen = choose_sizes(case.original, sizes, seed)
            except SpecError as problem:
                if problem.diagnostics[0].code != NO_SIZES:
                    raise
                tally.counts["no sizes"] += 1
                return None
            for at in chosen:
                inputs, expected = case.measured(weights, at, seed)
                points.append(Point(case, at, inputs, expected))
    return Subject(spec, program, weights, tuple(points), tally)


# --- numbers ---


def agrees(
    subject: Subject, target: str, *, options: EmitOptions | None = None, disabled: Iterable[str] = (), oracle: str | None = None
) -> None:
    """A target computes what the reference does, in every mode it has, at every point."""
    name = oracle or target
    backend = find(target)
    sessions: dict[int, Session] = {}
    for point in subject.points:
        case = point.case
        if case.training and not backend.training:
            continue
        if not point.expected.finite:  # as statistics of one number are not, at which PyTorch stops
            subject.tally.counts["undecided"] += 1
            continue
        with blaming(name, subject.spec):
            try:
                if id(case.program) not in sessions:
                    weights = {} if case.flat else subject.weights
                    made = lower(case.program, backend, options or EmitOptions(), weights=weights, disabled=disabled)
                    own = made.weights if made.weights is not None else weights
                    sessions[id(case.program)] = backend.load(made.artifact, made.program, own)
                result = sessions[id(case.program)].run(point.inputs, training=case.run_training, entry=case.entry)
            except SpecError as problem:  # of what a target cannot express, or cannot run on such inputs
                if not all(d.code.startswith("DL07") for d in problem.diagnostics):
                    raise
                subject.tally.counts[f"{name} refuses"] += 1
                return
            row = compare(target, point, case.tensors(result))
        if not row.ok and point.expected.sound:
            where = f"at {dict(point.sizes)}, in {case.mode}"
            raise Finding(
                name, f"`{row.output}` is off by {row.error:.3g} where {row.tolerance:.3g} is allowed, {where}", subject.spec
            )
        if not row.ok:
            subject.tally.counts["undecided"] += 1
    subject.tally.counts[name] += 1


def on_torch(subject: Subject) -> None:
    agrees(subject, "torch")


def on_jax(subject: Subject) -> None:
    agrees(subject, "jax")


def on_onnx(subject: Subject) -> None:
    agrees(subject, "onnx")


def gradients(subject: Subject, targets: tuple[str, ...] = ("torch",), name: str = "gradients") -> None:
    """Gradients in float64 against central differences of the reference, and of the targets against each other."""
    with blaming(name, subject.spec):
        exact = compile_graph(Source("finding.dl", subject.spec), float_type=DType.F64)
        if _narrow(exact):
            subject.tally.counts["gradients not in float64"] += 1
            return
        try:
            report = verify_gradients(exact, backends=list(targets), brief=True)
        except SpecError as problem:
            if not all(d.code.startswith(("DL07", "DL08")) for d in problem.diagnostics):
                raise
            subject.tally.counts["gradients refused"] += 1
            return
    bad = [row for row in report.rows if not row.ok]
    if bad:
        row = bad[0]
        what = (
            f"of `{row.tensor}`, {row.backend} against {row.against}: off by {row.error:.3g} where {row.tolerance:.3g} is allowed"
        )
        raise Finding(name, f"{what}, at {dict(row.sizes)}, in {row.mode}", subject.spec)
    subject.tally.counts[name if report.rows else "no gradients"] += 1


def _narrow(program: Program) -> bool:
    """Whether some number is of a narrower type than float64 whatever the model's is: differences of such numbers are not gradients."""
    graphs = {id(g): g for root in program.entries.values() for g in root.callees()}.values()
    types = [t.dtype for g in graphs for node in g for t in node.types]
    return any(t.is_float and t is not DType.F64 for t in types)


def gradients_everywhere(subject: Subject) -> None:
    gradients(subject, ("torch", "jax"), "gradients everywhere")


def without_pass(name: str, target: str) -> Callable[[Subject], None]:
    def oracle(subject: Subject) -> None:
        agrees(subject, target, disabled=[name], oracle=f"without {name} in {target}")

    return oracle


def without_passes(target: str) -> Callable[[Subject], None]:
    def oracle(subject: Subject) -> None:
        agrees(subject, target, disabled=OPTIONAL, oracle=f"without any pass in {target}")

    return oracle


def inlined(subject: Subject) -> None:
    agrees(subject, "onnx", options=EmitOptions(inline=True), oracle="inlined")


def at_opset(opset: int) -> Callable[[Subject], None]:
    def oracle(subject: Subject) -> None:
        agrees(subject, "onnx", options=EmitOptions(opset=opset), oracle=f"opset {opset}")

    return oracle


# --- text ---


def text_survives(subject: Subject) -> None:
    """Printed and parsed, and by way of YAML, it is the same file; what is printed stays as it is when printed again."""
    with blaming("text", subject.spec):
        tree = parse(Source("finding.dl", subject.spec))
        printed = print_file(tree)
        again = parse(Source("finding.dl", printed))
        by_yaml = load_yaml(Source("finding.yaml", dump_yaml(tree)))
        if again != tree or by_yaml != tree:
            raise Finding("text", "another tree after printing" if again != tree else "another tree by way of YAML", subject.spec)
        if print_file(again) != printed:
            raise Finding("text", "printed differently the second time", subject.spec)
    subject.tally.counts["text"] += 1


TARGETS: dict[str, Callable[[Subject], None]] = {"torch": on_torch, "onnx": on_onnx, "jax": on_jax}
OTHERS: dict[str, Callable[[Subject], None]] = {
    "gradients": gradients,
    "gradients everywhere": gradients_everywhere,
    **{f"without {name} in {target}": without_pass(name, target) for name in OPTIONAL for target in ("torch", "onnx")},
    "without any pass in torch": without_passes("torch"),
    "without any pass in onnx": without_passes("onnx"),
    "inlined": inlined,
    **{f"opset {opset}": at_opset(opset) for opset in OPSETS},
}
