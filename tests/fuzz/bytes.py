"""Compiling again gives the same bytes: the digests of what each target makes of specs, here and in a process with another hash seed.

`python -m tests.fuzz.bytes` reads a JSON list of specs and writes the digests.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence

from backends.base import Arrays, EmitOptions
from dsl.compiler import compile_graph
from dsl.diagnostics import SpecError
from dsl.initial_values import initial_weights
from dsl.ir import Program
from dsl.lower import lower
from dsl.source import Source
from dsl.target import backend
from tests.fuzz.oracles import Finding

TARGETS = ("torch", "jax", "onnx")


def digests(spec: str) -> list[str]:
    """A digest for each target, or the code of its refusal."""
    program = compile_graph(Source("finding.dl", spec))
    weights = initial_weights(program, 0)
    return [_digest(program, target, weights) for target in TARGETS]


def _digest(program: Program, target: str, weights: Arrays) -> str:
    try:
        artifact = lower(program, backend(target), EmitOptions(), weights=weights).artifact
    except SpecError as refusal:
        return refusal.diagnostics[0].code
    return hashlib.blake2b(artifact.content + b"".join(artifact.beside.values()), digest_size=16).hexdigest()


def same_elsewhere(specs: Sequence[str]) -> None:
    """Finding for the first spec that is compiled to other bytes in another process."""
    here = [digests(spec) for spec in specs]
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    command = [sys.executable, "-m", "tests.fuzz.bytes"]
    done = subprocess.run(command, input=json.dumps(list(specs)), env=environment, capture_output=True, text=True, check=True)
    for spec, mine, others in zip(specs, here, json.loads(done.stdout), strict=True):
        for target, a, b in zip(TARGETS, mine, others, strict=True):
            if a != b:
                raise Finding("bytes", f"{target} is given other bytes in a process with another hash seed", spec)


if __name__ == "__main__":
    json.dump([digests(spec) for spec in json.load(sys.stdin)], sys.stdout)
