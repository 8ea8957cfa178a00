"""From a checked program to what a backend makes of it: the passes, what it refuses, the weights that go in."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from backends.base import Arrays, Artifact, Backend, EmitOptions, TrainingBackend, TrainOptions
from backends.trainings import entries_of, graphs_of
from dsl.diagnostics import Diagnostic, SpecError, did_you_mean
from dsl.ir import Node, Program
from dsl.source import NOWHERE
from dsl.target import backend, explain_missing, targets
from dsl.training import Rule, Training


@dataclass(frozen=True, slots=True)
class Compiled:
    """What `compile_spec` made: the artifact, the program and the weights that are in it, warnings, and the passes that did something."""

    artifact: Artifact
    program: Program
    weights: Arrays | None
    warnings: tuple[Diagnostic, ...]
    passes: tuple[str, ...]


def lower(
    program: Program,
    found: Backend,
    options: EmitOptions,
    *,
    entry: str | None = None,
    weights: str | Path | Arrays | None = None,
    seed: int = 0,
    disabled: Iterable[str] = (),
    after: Callable[[str, Program], None] | None = None,
) -> Compiled:
    """Passes, refusals and code for a checked program. A target that cannot train carries its weights."""
    from dsl.passes.pipeline import OPTIONAL, optimize

    names = frozenset(disabled)
    for name in sorted(names - set(OPTIONAL)):
        raise _unknown("DL0706", "pass", name, OPTIONAL)
    given = None if found.training else weights_of(program, weights, seed)
    if entry is not None:
        program = only_entry(program, entry)
    best = optimize(program, given, training=found.training, disabled=names, after=after)
    refused = refusals(best.program, found, options)
    if refused:
        raise SpecError(refused)
    with explain_missing(found.name):
        artifact = found.emit(best.program, options, best.weights)
    return Compiled(artifact, best.program, best.weights, (), best.changed)


def lower_training(
    training: Training,
    found: Backend,
    options: EmitOptions,
    how: TrainOptions,
    *,
    disabled: Iterable[str] = (),
) -> tuple[Artifact, Training]:
    """Passes, refusals and code for a `train` block, and the block as it is after the passes."""
    from dsl.passes.pipeline import OPTIONAL, optimize
    from dsl.passes.read_followers import read_followers

    trains = training_backend(training, found, how)
    names = frozenset(disabled)
    for name in sorted(names - set(OPTIONAL)):
        raise _unknown("DL0706", "pass", name, OPTIONAL)

    training = read_followers(training)

    def best(program: Program) -> Program:
        made = optimize(program, None, training=True, disabled=names).program
        refused = refusals(made, found, options)
        if refused:
            raise SpecError(refused)
        return made

    program = best(entries_of(training))
    entries = {name: graph for name, graph in program.entries.items() if training.draws is None or name != "draws"}
    objectives = tuple(replace(o, rules=tuple(_best_rule(r, best) for r in o.rules)) for o in training.objectives)
    draws = program.entries["draws"] if training.draws is not None else None
    training = replace(training, program=Program(program.name, entries), objectives=objectives, draws=draws)
    with explain_missing(found.name):
        return trains.emit_training(training, options, how), training


def training_backend(training: Training, found: Backend, how: TrainOptions) -> TrainingBackend:
    """The backend, if it trains and has all rules of the training: SpecError where it has not."""
    if not isinstance(found, TrainingBackend):
        message = f"the backend `{found.name}` cannot train"
        raise SpecError(Diagnostic("DL0713", message, help="train with `torch` or `jax`, and compile the weights"), exit_code=2)
    rules = [rule for objective in training.objectives for rule in objective.rules]
    reasons = [(rule, found.rule_refusal(rule, training.program, how)) for rule in rules]
    refused = [
        Diagnostic("DL0702", f"`{rule.name}` cannot be compiled to {found.name}: {reason}", rule.span)
        for rule, reason in reasons
        if reason is not None
    ]
    if refused:
        raise SpecError(refused)
    return found


def _best_rule(rule: Rule, best: Callable[[Program], Program]) -> Rule:
    made = best(Program(rule.name, graphs_of(rule))).entries
    return replace(rule, update=made.get("update"), rate=made["rate"])


def only_entry(program: Program, entry: str) -> Program:
    """The program with one of its entry points."""
    if entry not in program.entries:
        raise _unknown("DL0707", "entry point", entry, program.entries, f" in `{program.name}`")
    return Program(program.name, {entry: program.entries[entry]})


def _unknown(code: str, kind: str, name: str, known: Iterable[str], where: str = "") -> SpecError:
    near = did_you_mean(name, known)
    help = f"did you mean `{near}`?" if near else f"there is {', '.join(f'`{k}`' for k in known)}"
    return SpecError(Diagnostic(code, f"there is no {kind} `{name}`{where}", help=help), exit_code=2)


def refusals(program: Program, found: Backend, options: EmitOptions) -> tuple[Diagnostic, ...]:
    """What the backend cannot express, each operation once a place, with the backends that can."""
    problems: dict[object, Diagnostic] = {}
    for graph in {id(g): g for root in program.entries.values() for g in root.callees()}.values():
        for node in graph:
            reason = found.refusal(node, options)
            if reason is None:
                continue
            help = _who_can(node, found, options)
            call = node.target
            what = call.child or call.graph.definition if call is not None and call.graph.kind != "block" else node.op
            message = f"the backend `{found.name}` cannot express `{what}`: {reason}"
            spans = node.spans or (NOWHERE,)
            problems.setdefault(
                (node.op, id(spans[0].source), spans[0].start), Diagnostic("DL0705", message, spans[0], help=help)
            )
    return tuple(problems.values())


def _who_can(node: Node, found: Backend, options: EmitOptions) -> str | None:
    """The installed targets that can express a node, in words."""
    others = [t.name for t in targets() if t.installed and t.name not in (found.name, "reference")]
    able = [f"`{name}`" for name in others if backend(name).refusal(node, options) is None]
    return f"{' and '.join(able)} can" if able else None


def weights_of(program: Program, weights: str | Path | Arrays | None, seed: int = 0, updated: Container[str] = ()) -> Arrays:
    """Weights from a file, as they are, or made from the seed. `updated` is as for `load_weights`."""
    if weights is None:
        from dsl.initial_values import initial_weights

        return initial_weights(program, seed)
    if isinstance(weights, str | Path):
        from dsl.weights import load_weights

        return load_weights(weights, program, updated=updated)
    return weights
