"""The driver: the one file that knows every part. Commands, the public API and the tests go through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backends.base import Arrays, Artifact, EmitOptions, Result, TrainOptions
from dsl import syntax
from dsl.allowed import not_allowed
from dsl.diagnostics import Diagnostic, printable
from dsl.elaborate.program import (
    MOST_PARAMETERS,
    Elaborated,
    elaborate,
    elaborate_training,
    evaluate_text,
    models,
    run_tests,
    trainings,
    unique,
)
from dsl.ir import Graph, Program, Value
from dsl.lints import lint, lint_training
from dsl.loader import Loader, Unit, syntax_of
from dsl.lower import Compiled, lower, lower_training, only_entry, weights_of
from dsl.parse import read_source
from dsl.source import Source
from dsl.target import backend, require_packages
from dsl.training import Training
from dsl.types import DType
from dsl.version import version

if TYPE_CHECKING:
    from dsl.summary import Summary
    from dsl.verification.report import Report

Spec = str | Path | Source
"""A path, or a Source with the text itself."""


def load(spec: Spec) -> tuple[Unit, tuple[Diagnostic, ...]]:
    """Read and parse a spec and what it imports; the unit and the warnings."""
    loader = Loader()
    source = spec if isinstance(spec, Source) else read_source(str(spec))
    path = None if isinstance(spec, Source) or str(spec) == "-" else Path(spec)
    unit = loader.load(source, path)
    return unit, tuple(loader.warnings)


def compile_graph(
    spec: Spec,
    hyper: Mapping[str, object] | None = None,
    *,
    model: str | None = None,
    float_type: DType = DType.F32,
    max_parameters: int = MOST_PARAMETERS,
) -> Program:
    """The checked program of a spec, before any pass."""
    return elaborated(spec, hyper, model=model, float_type=float_type, max_parameters=max_parameters).program


def elaborated(
    spec: Spec,
    hyper: Mapping[str, object] | None = None,
    *,
    model: str | None = None,
    float_type: DType = DType.F32,
    max_parameters: int = MOST_PARAMETERS,
) -> Elaborated:
    """The checked program of a spec with all warnings. A `train` block that is named, or the first where the file has no model, is the
    program of its losses."""
    unit, warnings = load(spec)
    if model in trainings(unit) or (model is None and trainings(unit) and not models(unit)):
        training, found = elaborate_training(unit, name=model, settings=hyper, float_type=float_type)
        return Elaborated(training.program, _told(unit, [*warnings, *found, *lint_training(training)]))
    result = elaborate(unit, model=model, settings=hyper, float_type=float_type, max_parameters=max_parameters)
    lints = lint(result.program)
    for other in result.others:
        lints += lint(other) if isinstance(other, Program) else lint_training(other)
    return Elaborated(result.program, _told(unit, [*warnings, *result.warnings, *lints]), result.others)


def _told(unit: Unit, warnings: list[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Each warning once, without those that a comment of the spec allows."""
    return not_allowed(unit, unique(warnings))


def compile_training(
    spec: Spec,
    hyper: Mapping[str, object] | None = None,
    *,
    name: str | None = None,
    float_type: DType = DType.F32,
) -> tuple[Training, tuple[Diagnostic, ...]]:
    """The `train` block of a spec, the one called `name`, else the first, with all warnings."""
    unit, warnings = load(spec)
    training, found = elaborate_training(unit, name=name, settings=hyper, float_type=float_type)
    return training, _told(unit, [*warnings, *found, *lint_training(training)])


# --- compiling --------------------------------------------------------------------------------------------------------------------


def compile_spec(
    spec: Spec,
    target: str,
    hyper: Mapping[str, object] | None = None,
    *,
    model: str | None = None,
    entry: str | None = None,
    float_type: DType = DType.F32,
    max_parameters: int = MOST_PARAMETERS,
    weights: str | Path | Arrays | None = None,
    seed: int = 0,
    opset: int | None = None,
    inline: bool = False,
    disabled: Iterable[str] = (),
    after: Callable[[str, Program], None] | None = None,
    output: str = "",
) -> Compiled:
    """A spec in the form of a target.

    `weights` (a file or arrays by full name) go into targets that carry them, the initial values of `seed` otherwise, which seeds the
    random operators of ONNX too; `entry` keeps one entry point; passes in `disabled` do not run; `after` sees the program after each pass;
    `output` is the name of the file that it will be, after which data beside it are named.
    """
    found = backend(target)
    made = elaborated(spec, hyper, model=model, float_type=float_type, max_parameters=max_parameters)
    options = EmitOptions(_name(spec), version(), opset, inline, seed, output)
    compiled = lower(made.program, found, options, entry=entry, weights=weights, seed=seed, disabled=disabled, after=after)
    return Compiled(compiled.artifact, compiled.program, compiled.weights, made.warnings, compiled.passes)


@dataclass(frozen=True, slots=True)
class CompiledTraining:
    """A `train` block in the form of a target: the file, the block as it is after the passes, warnings."""

    artifact: Artifact
    training: Training
    warnings: tuple[Diagnostic, ...]


def compile_program(
    spec: Spec,
    target: str,
    hyper: Mapping[str, object] | None = None,
    *,
    name: str | None = None,
    float_type: DType = DType.F32,
    how: TrainOptions | None = None,
    disabled: Iterable[str] = (),
) -> CompiledTraining:
    """The `train` block of a spec as a training program of a target."""
    found = backend(target)
    training, warnings = compile_training(spec, hyper, name=name, float_type=float_type)
    options = EmitOptions(source=_name(spec), version=version())
    artifact, lowered = lower_training(training, found, options, how or TrainOptions(), disabled=disabled)
    return CompiledTraining(artifact, lowered, warnings)


def run_program(
    program: Program,
    inputs: Arrays,
    *,
    target: str = "reference",
    entry: str | None = None,
    weights: str | Path | Arrays | None = None,
    seed: int = 0,
    training: bool = False,
    device: str = "cpu",
) -> Result:
    """Outputs of one entry point for given inputs, computed by a backend on a device, with given or initial weights."""
    from dsl.inputs import fitted

    found = backend(target)
    values = weights_of(program, weights, seed)
    program = only_entry(program, entry if entry is not None else next(iter(program.entries)))
    feed = fitted(program.main, inputs)
    require_packages(found)
    if target == "reference":
        session = found.load(Artifact("", b""), program, values, device=device)
    else:
        made = lower(program, found, EmitOptions(version=version()), weights=values)
        session = found.load(made.artifact, made.program, made.weights if made.weights is not None else values, device=device)
    return session.run(feed, training=training, entry=program.main.entry)


def _name(spec: Spec) -> str:
    """The name of a spec as generated files tell it: on one line, and text even where the name of the file is none."""
    return printable(spec.name if isinstance(spec, Source) else "<stdin>" if str(spec) == "-" else Path(spec).name)


# --- the commands, for Python ---------------------------------------------------------------------------------------------------------


def check(
    spec: Spec, hyper: Mapping[str, object] | None = None, *, model: str | None = None, float_type: DType = DType.F32
) -> Elaborated:
    """The checked program of a spec, with warnings. SpecError says everything that is wrong."""
    return elaborated(spec, hyper, model=model, float_type=float_type)


def init(
    spec: Spec,
    hyper: Mapping[str, object] | None = None,
    *,
    model: str | None = None,
    float_type: DType = DType.F32,
    seed: int = 0,
) -> Arrays:
    """The initial weights of a model by full name."""
    return weights_of(compile_graph(spec, hyper, model=model, float_type=float_type), None, seed)


def run(
    spec: Spec,
    inputs: Arrays,
    hyper: Mapping[str, object] | None = None,
    *,
    target: str = "reference",
    model: str | None = None,
    entry: str | None = None,
    float_type: DType = DType.F32,
    weights: str | Path | Arrays | None = None,
    seed: int = 0,
    training: bool = False,
) -> Result:
    """Outputs of a model for given inputs, computed by a backend, with given or initial weights."""
    program = compile_graph(spec, hyper, model=model, float_type=float_type)
    return run_program(program, inputs, target=target, entry=entry, weights=weights, seed=seed, training=training)


def show_spec(
    spec: Spec, hyper: Mapping[str, object] | None = None, *, model: str | None = None, entry: str | None = None
) -> Summary:
    """The layers of a model with the types of their results, parameters and cost."""
    from dsl.summary import summarize

    program = compile_graph(spec, hyper, model=model)
    return summarize(program if entry is None else only_entry(program, entry))


def verify_spec(
    spec: Spec,
    backends: Sequence[str] | None = None,
    hyper: Mapping[str, object] | None = None,
    *,
    model: str | None = None,
    float_type: DType = DType.F32,
    weights: str | Path | None = None,
    seed: int = 0,
) -> Report:
    """What comparing the backends with the reference shows; all that are installed by default."""
    from dsl.verification.compare import verify

    program = compile_graph(spec, hyper, model=model, float_type=float_type)
    return verify(program, backends, seed=seed, weights=weights_of(program, weights) if weights is not None else None)


# --- text in, text out ------------------------------------------------------------------------------------------------------------


def format_source(source: Source) -> str:
    """The canonical text of a spec, in the form that it has: `.dl`, or YAML by the suffix of its name."""
    path = Path(source.name)
    return _printed(syntax_of(source, path), "yaml" if path.suffix in (".yaml", ".yml") else "dl")


def convert(spec: Spec, form: str) -> str:
    """A spec in another form, `dl` or `yaml`; comments and everything else are kept."""
    source = spec if isinstance(spec, Source) else read_source(str(spec))
    return _printed(syntax_of(source, Path(source.name)), form)


def _printed(file: syntax.File, form: str) -> str:
    if form == "yaml":
        from dsl.dump_yaml import dump_yaml

        return dump_yaml(file)
    from dsl.printer import print_file

    return print_file(file)


# --- computing --------------------------------------------------------------------------------------------------------------------


def compute(graph: Graph, value: Value) -> np.ndarray:
    """The value of a tensor that depends on no input and no parameter; the graph may have others."""
    from backends.reference import Interpreter

    closed = graph.copy()
    needed = graph.ancestors(value)
    closed.remove([node for node in graph if node.id not in needed])
    closed.inputs, closed.outputs, closed.updates = {}, {"value": value}, {}
    return Interpreter({}).run(closed, {})["value"]


def evaluate_expression(text: str) -> np.ndarray | tuple[np.ndarray, ...]:
    """The value of an expression of the language, computed by the reference: `evaluate_expression("relu([-1.0, 2.0])")`."""
    graph, values = evaluate_text(text)
    results = tuple(compute(graph, v) for v in values)
    return results[0] if len(results) == 1 else results


def test_blocks(spec: Spec) -> list[tuple[str, tuple[Diagnostic, ...]]]:
    """Run the `test` blocks of a spec: each title with what is wrong."""
    unit, _ = load(spec)
    return run_tests(unit, compute)
