"""What of an input speaks for an output: the gradient of a score with respect to the input, by one of three rules for relu.

The question is itself a spec: it imports the model, and asks for `grad`. The model is the one that is compiled otherwise, on the same
weights; a rule is a function with a `backward` of its own in the place of relu.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dsl.compiler import elaborated
from dsl.diagnostics import Diagnostic, SpecError, did_you_mean
from dsl.elaborate.program import MOST_PARAMETERS, Elaborated, elaborate
from dsl.ir import Graph, Program
from dsl.loader import Loader
from dsl.source import Source
from dsl.types import DType

RULES: dict[str, str | None] = {"saliency": None, "deconvnet": "deconvolution_relu", "guided": "guided_relu"}
"""The function that stands in for relu, by the name of the rule: the gradient as it is (Simonyan et al. 2014), what Zeiler and Fergus 2014
let through, and both conditions together (Springenberg et al. 2015)."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which input is to be explained, and which score by: the entry `index` of the last axis of an output, the largest one for None.
    `input` and `output` are None for the first floating input, and for the first output."""

    rule: str
    input: str | None = None
    output: str | None = None
    index: int | None = None


def attributed(
    spec: str | Path,
    question: Question,
    hyper: Mapping[str, str] | None = None,
    *,
    model: str | None = None,
    float_type: DType = DType.F32,
    max_parameters: int = MOST_PARAMETERS,
) -> tuple[Elaborated, Program]:
    """The program that answers a question about a model of a spec, and the program of the model. Its first output is that of the model,
    its second the attribution, in the shape of the input. The layer `net` in it is the model."""
    explained = elaborated(spec, hyper, model=model, float_type=float_type, max_parameters=max_parameters)
    text = _text(Path(spec).stem, explained.program, question, hyper or {})
    beside = Path(spec).with_name(f"{question.rule}.dl")
    unit = Loader().load(Source(beside.name, text), beside)
    return elaborate(unit, float_type=float_type, max_parameters=max_parameters), explained.program


def _text(stem: str, program: Program, question: Question, hyper: Mapping[str, str]) -> str:
    graph = program.main
    floating = [name for name, value in graph.inputs.items() if graph.type(value).dtype.is_float]
    by = _chosen("floating input", question.input, floating)
    output = _chosen("output", question.output, list(graph.outputs))
    declared = ", ".join(f"{name}: {graph.type(value)}" for name, value in graph.inputs.items())
    settings = ", ".join(f"{name}={value}" for name, value in hyper.items())
    replaced = RULES[question.rule]
    ruled = f"  layer ruled = net with relu = {replaced}\n" if replaced is not None else ""
    given = ", ".join(graph.inputs)
    return (
        f"from {stem} import {program.name} as Explained\n"
        f"model Attribution()({declared}) {{\n"
        f"  layer net = Explained({settings})\n"
        f"  {output} = net({given}).{output}\n"
        f"{ruled}"
        f"  scores = {'ruled' if ruled else 'net'}({given}).{output}\n"
        f"  attribution = grad({_score(graph, output, question.index)}, {by})\n"
        f"  return {output}, attribution\n"
        "}\n"
    )


def _chosen(what: str, wanted: str | None, names: list[str]) -> str:
    if wanted is None and names:
        return names[0]
    if wanted in names:
        return str(wanted)
    near = did_you_mean(wanted or "", names)
    help = f"did you mean `{near}`?" if near else f"it has {', '.join(names) or 'none'}"
    message = f"the model has no {what}" + (f" `{wanted}`" if wanted is not None else "")
    raise SpecError(Diagnostic("DL0824", message, help=help), exit_code=2)


def _score(graph: Graph, output: str, index: int | None) -> str:
    """The scalar that is differentiated: the sum over the batch, whose examples do not depend on each other."""
    shape = graph.type(graph.outputs[output]).shape
    if len(shape) > 2:
        message = f"`{output}` has {len(shape)} axes, and a score is one number of each example"
        raise SpecError(Diagnostic("DL0824", message, help="explain an output of one or two axes"), exit_code=2)
    if len(shape) < 2:
        return "sum(scores)"
    return "sum(max(scores, over=-1))" if index is None else f"sum(scores[:, {index}])"
