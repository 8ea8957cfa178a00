"""A backend in one file: the graph itself is the program, computed by the reference. Tests spoil it to see that `verify` notices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from backends.base import Arrays, Artifact, EmitOptions, Result, Session
from backends.reference import Interpreter
from dsl.ir import Node, Program
from dsl.ops.card import Card

Spoil = Callable[[Node, tuple[np.ndarray, ...]], tuple[np.ndarray, ...]]
"""Sees a node of the program and its results, and gives the results that the backend computes."""


def faithful(node: Node, results: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return results


class Spoiled(Interpreter):
    """The reference, with the results of primitives, calls and repeats passed through `spoil`."""

    spoil: Spoil = staticmethod(faithful)

    def _primitive(self, card: Card, node: Node, operands: list[np.ndarray], sizes: Mapping[str, int]) -> tuple[np.ndarray, ...]:
        return self.spoil(node, super()._primitive(card, node, operands, sizes))

    def _call(self, node: Node, operands: list[np.ndarray], prefix: str) -> tuple[np.ndarray, ...]:
        return self.spoil(node, super()._call(node, operands, prefix))


@dataclass(frozen=True, slots=True)
class TwinSession:
    program: Program
    weights: Arrays
    spoil: Spoil

    def run(self, inputs: Arrays, *, training: bool = False, entry: str = "forward") -> Result:
        interpreter = Spoiled(self.weights, training=training)
        interpreter.spoil = self.spoil
        outputs = interpreter.run(self.program.entries[entry], inputs)
        return Result(outputs, interpreter.updated)


@dataclass(frozen=True, slots=True)
class TwinBackend:
    spoil: Spoil = faithful
    refuses: str | None = None
    name: str = "twin"
    summary: str = "the reference again"
    requires: tuple[str, ...] = ("numpy",)
    training: bool = True

    def refusal(self, node: Node, options: EmitOptions) -> str | None:
        return "it is too hard" if node.op == self.refuses else None

    def emit(self, program: Program, options: EmitOptions, weights: Arrays | None = None) -> Artifact:
        return Artifact(".txt", program.name.encode())

    def load(self, artifact: Artifact, program: Program, weights: Arrays, *, device: str = "cpu") -> Session:
        return TwinSession(program, weights, self.spoil)


BACKEND = TwinBackend()
