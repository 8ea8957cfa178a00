"""What a `scan` costs by its length: CPU seconds and memory to compile it, the size of the code, and the memory that running it takes.

Each row is measured in a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LENGTHS = (10, 100, 1_000, 10_000)

SPEC = """
model Loop(n: int = 10)(x: float[B, 64]) -> (y: float[B, 64]) {
  layer step = Linear(64)
  scan t in range(n) carry h = x {
    h = tanh(step(h))
  }
  return h
}

train Fit(n: int = 10)(x: float[B, 64]) {
  layer net = Loop(n)
  loss = mean(net(x) ** 2)
  minimize loss using adam(1e-3)
}
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds and growth of the peak of memory while compiling; bytes of the code; megabytes of buffers to run the network."""

    target: str
    length: int
    seconds: float
    megabytes: float
    code: int
    buffers: float | None = None


def peak() -> float:
    """The most memory that this process has had, in megabytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def emission(target: str, length: int) -> bytes:
    """The file: a training, or for ONNX the network."""
    from dsl.compiler import compile_program, compile_spec
    from dsl.source import Source

    source = Source("loop.dl", SPEC)
    if target == "onnx":
        return compile_spec(source, "onnx", {"n": length}, model="Loop").artifact.content
    return compile_program(source, target, {"n": length}).artifact.content


def jitted(length: int) -> Callable[[], float]:
    """Compiles the step of a training as XLA does; gives the megabytes that the network by itself needs for its intermediate results."""
    import jax

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "loop.py"
        path.write_bytes(emission("jax", length))
        names = runpy.run_path(str(path))
    params = names["init"](jax.random.key(0))
    training, x = names["init_training"](params), jax.numpy.ones((8, 64))

    def compiled() -> float:
        names["train_step"].lower(training, x).compile()
        network = jax.jit(lambda params, x: names["loss"](params, x)).lower(params, x).compile()
        found = network.memory_analysis()
        assert found is not None
        return float(found.temp_size_in_bytes) / 1e6

    return compiled


def measure(target: str, length: int) -> Cost:
    """In this process. A short loop goes first: imports and what is made once are not counted."""
    buffers = None
    if target == "jax.jit":
        jitted(10)()
        compiled = jitted(length)
        before, start = peak(), time.process_time()
        buffers = compiled()
        return Cost(target, length, time.process_time() - start, peak() - before, len(emission("jax", length)), buffers)
    emission(target, 10)
    before, start = peak(), time.process_time()
    made = emission(target, length)
    return Cost(target, length, time.process_time() - start, peak() - before, len(made))


def cost(target: str, length: int, runs: int = 3) -> Cost:
    """The best of a few processes."""
    command = [sys.executable, __file__, target, str(length)]
    found = [Cost(**json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)) for _ in range(runs)]
    return min(found, key=lambda c: c.seconds)


if __name__ == "__main__":
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    result = measure(sys.argv[1], int(sys.argv[2]))
    print(json.dumps({name: getattr(result, name) for name in Cost.__slots__}))
