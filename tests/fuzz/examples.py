"""What is done with one spec: which oracles it meets, and which primitives and library definitions it reaches."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import strategies as st

from dsl.ir import Program
from dsl.ops.registry import CARDS
from tests.fuzz.layers import library as library
from tests.fuzz.oracles import OTHERS, TARGETS, Tally, subject_of, text_survives
from tests.fuzz.scope import words
from tests.fuzz.specs import random_spec

ROTATION: dict[str, tuple[str, ...]] = {
    "targets": ("torch", "onnx", "torch", "onnx", "torch", "onnx", "jax", "torch", "onnx"),
    "others": (
        *("gradients",) * 8, "gradients everywhere", "inlined", "inlined", *("without any pass in torch",) * 2,
        *("without any pass in onnx",) * 2, *(name for name in OTHERS if name.startswith("without ")),
        *(name for name in OTHERS if name.startswith("opset")),
    ),
}  # fmt: skip
"""Every spec meets one of each, by turns that follow what an oracle costs: JAX compiles each program for the better part of a second."""


@dataclass(frozen=True, slots=True)
class Example:
    """A spec, the oracles that it meets, and at how many sizes."""

    spec: str
    oracles: tuple[str, ...]
    sizes: int


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """A spec and oracles for it. Choices made one by one by `draw` would be copied over each other in five examples of six."""
    random = draw(st.randoms(use_true_random=False))
    oracles = (random.choice(ROTATION["targets"]), random.choice(ROTATION["others"]))
    sizes = random.choice((1, 1, 2))
    return Example(random_spec(random), oracles, sizes)


def judge(example: Example, tally: Tally, reached: Counter[str], *, only: str | None = None) -> bool:
    """Finding where an oracle does not hold; False where there was nothing to judge. `only` is one that did not hold of a larger spec."""
    with tally.timing("reference"):
        subject = subject_of(example.spec, tally, sizes=example.sizes)
    if subject is None:
        return False
    if only is None:
        reached.update(reached_by(subject.program, example.spec))
    if only in (None, "text"):
        with tally.timing("text"):
            text_survives(subject)
    for name in example.oracles:
        if only in (None, name):
            with tally.timing(name):
                (TARGETS.get(name) or OTHERS[name])(subject)
    return True


def reached_by(program: Program, spec: str) -> set[str]:
    """The primitives in the graphs, and the library definitions that the text or the calls of the graphs name."""
    graphs = [g for root in program.entries.values() for g in root.callees()]
    primitives = {node.op for graph in graphs for node in graph if node.op in CARDS}
    return primitives | (library() & ({graph.definition for graph in graphs} | words(spec)))
