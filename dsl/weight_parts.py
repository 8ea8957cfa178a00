"""Weights to begin a training with, put together from files: all of a block, or a layer here and a layer there.

`LAYER=FILE[:LAYER]` gives a layer of the block what a file has, whole and in the same shapes; what no file is for keeps its initial
values. Two files for one tensor are an error, so their order means nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np

from dsl.diagnostics import Diagnostic, SpecError
from dsl.initial_values import initial_weights
from dsl.ir import Program
from dsl.weights import load_weights, no_layer

_INTO = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*)=(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Part:
    """A file, or `FILE:LAYER`, for the layer `into` of a program, or for all of it where that is empty."""

    into: str
    path: str

    def covers(self, name: str) -> bool:
        """Whether it is for this tensor."""
        return not self.into or name.startswith(f"{self.into}.")

    def __str__(self) -> str:
        return f"{self.into}={self.path}" if self.into else self.path


def part_of(text: str) -> Part:
    """`[LAYER=]FILE[:LAYER]` taken apart. A file whose name has an equals sign is a file."""
    match = _INTO.fullmatch(text)
    return Part("", text) if match is None or os.path.exists(text) else Part(match[1], match[2])


def weights_from(sources: Sequence[str], program: Program, seed: int = 0, updated: Container[str] = ()) -> dict[str, np.ndarray]:
    """The weights of a program: what the sources have, and initial values for the rest. `updated` is as for `load_weights`.

    SpecError where a source names a layer that the program lacks, where two are for the same tensor, and as `load_weights`.
    """
    parts = [part_of(source) for source in sources]
    names = list(program.parameters())
    _check(parts, names)
    loaded = {n: w for part in parts for n, w in load_weights(part.path, program, into=part.into, updated=updated).items()}
    if len(loaded) == len(names):
        return loaded
    return initial_weights(program, seed) | loaded


def _check(parts: Sequence[Part], names: Sequence[str]) -> None:
    owners: dict[str, Part] = {}
    for part in parts:
        covered = [name for name in names if part.covers(name)]
        if part.into and not covered:
            raise SpecError(no_layer(f"what is trained has no layer `{part.into}`", part.into, names), exit_code=2)
        clash = next((name for name in covered if name in owners), None)
        if clash is not None:
            message = f"`{owners[clash]}` and `{part}` are both for `{clash}`"
            raise SpecError(Diagnostic("DL0852", message, help="one `--weights` for each layer"), exit_code=2)
        owners.update(dict.fromkeys(covered, part))
