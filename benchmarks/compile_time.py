"""How long the compiler takes: growth with the size of a spec, the time of a check, of emission, and the number of ONNX nodes.

Times are CPU time. Each row of the table of growth is measured in a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHECK = "import sys; sys.argv = ['dslc', 'check', sys.argv[1]]; from dsl.cli import main; main()"


# --- growth -----------------------------------------------------------------------------------------------------------------------


def chain(count: int) -> str:
    """A model of `count` primitives, each a statement."""
    lines = [f"  h{i + 1} = {'relu' if i % 2 else 'exp'}(h{i})" for i in range(count)]
    return "\n".join(["model Chain()(h0: float[B, 8]) {", *lines, f"  return h{count}", "}", ""])


def layers(count: int) -> str:
    """A model of `count` layers with their activations, each a statement."""
    lines = [f"  x = x -> layer{i}: Linear(8) -> relu" for i in range(count)]
    return "\n".join(["model Layers()(x: float[B, 8]) {", *lines, "  return x", "}", ""])


def repeat(count: int) -> str:
    """A model of `count` copies of one block."""
    return (
        "module Block()(x: float[B, D]) { return x + (x -> Linear(D) -> relu) }\n"
        f"model Repeat()(x: float[B, 8]) {{ return x -> blocks: repeat({count}) {{ Block() }} }}\n"
    )


SHAPES: dict[str, Callable[[int], str]] = {"chain": chain, "layers": layers, "repeat": repeat}


@dataclass(frozen=True, slots=True)
class Growth:
    """One spec elaborated, checked and pruned: CPU seconds and how many bytes the process grew by."""

    shape: str
    count: int
    seconds: float
    bytes: int


def measure(shape: str, count: int) -> Growth:
    """In this process. A small spec goes first: imports and the library are not growth."""
    from dsl.compiler import compile_graph
    from dsl.passes.every_graph import rewrite_every_graph
    from dsl.passes.prune import prune
    from dsl.source import Source

    def check(text: str) -> None:
        program, _ = rewrite_every_graph(compile_graph(Source(shape, text)), prune)
        program.main.verify()

    check(SHAPES[shape](10))
    text = SHAPES[shape](count)
    before = _peak()
    start = time.process_time()
    check(text)
    seconds = time.process_time() - start
    return Growth(shape, count, seconds, _peak() - before)


def _peak() -> int:
    """The most memory that this process has had, in bytes. (What getrusage says is at least the memory of the process that started it.)"""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def growth(shape: str, count: int, runs: int = 3) -> Growth:
    """The best of a few processes."""
    found = [Growth(**json.loads(_python(__file__, shape, str(count)))) for _ in range(runs)]
    return min(found, key=lambda g: g.seconds)


# --- check, emission, nodes -------------------------------------------------------------------------------------------------------


def cpu_seconds(command: list[str], runs: int = 10) -> float:
    """The least CPU time of the command, its start included."""
    least = float("inf")
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT, env=_environment())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        least = min(least, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return least


def check_seconds(spec: Path) -> float:
    """How much longer `dslc check` takes than Python that does nothing."""
    return cpu_seconds([sys.executable, "-c", CHECK, str(spec)]) - cpu_seconds([sys.executable, "-c", "pass"])


NETWORKS: dict[str, tuple[str, str, dict[str, object], dict[str, object]]] = {
    "MLP": ("mlp/mlp.dl", "Perceptron", {"widths": (256, 256)}, {"widths": (2, 2)}),
    "ResNet-50": ("cnn/resnet.dl", "ResNet50", {}, {"widths": (1, 1, 1, 1), "classes": 2}),
    "GPT-2": ("language/gpt2.dl", "GPT2", {}, {"width": 12, "vocab": 4, "context": 4}),
}
"""Spec, model, hyper-parameters, and hyper-parameters of the same graph with next to no weights."""


@dataclass(frozen=True, slots=True)
class Emission:
    """From the text of a spec to the artifact, in CPU seconds with everything imported: `seconds` for a graph of the same nodes with
    next to no weights, `whole` with the real ones. `nodes` are those of an ONNX graph with all functions inlined."""

    network: str
    backend: str
    seconds: float
    whole: float
    nodes: int | None = None
    opset: int | None = None


def emission(network: str, backend: str, opset: int | None = None, runs: int = 3) -> Emission:
    """In this process, the best of a few runs; torch must not be needed for it."""
    spec, model, hyper, small = NETWORKS[network]
    seconds, content = _emitted(ROOT / "specs" / spec, backend, model, small, opset, runs)
    whole, _ = _emitted(ROOT / "specs" / spec, backend, model, hyper, opset, 1)
    assert "torch" not in sys.modules
    if backend != "onnx":
        return Emission(network, backend, seconds, whole)
    import onnx

    made = onnx.load_model_from_string(content)
    return Emission(network, backend, seconds, whole, len(made.graph.node), made.opset_import[0].version)


def _emitted(spec: Path, backend: str, model: str, hyper: dict[str, object], opset: int | None, runs: int) -> tuple[float, bytes]:
    from dsl.compiler import compile_graph, compile_spec
    from dsl.lower import weights_of

    weights = weights_of(compile_graph(spec, hyper, model=model), None) if backend == "onnx" else None
    least, content = float("inf"), b""
    for _ in range(runs):
        start = time.process_time()
        content = compile_spec(spec, backend, hyper, model=model, weights=weights, opset=opset, inline=True).artifact.content
        least = min(least, time.process_time() - start)
    return least, content


def depth_seconds(backend: str, count: int, runs: int = 5) -> float:
    """CPU seconds to compile `repeat(count)` to a backend; the weights, of which ONNX takes one set for each copy, are made before."""
    from dsl.compiler import compile_graph, compile_spec
    from dsl.lower import weights_of
    from dsl.source import Source

    source = Source("repeat", repeat(count))
    weights = weights_of(compile_graph(source), None) if backend == "onnx" else None
    least = float("inf")
    for _ in range(runs):
        start = time.process_time()
        compile_spec(source, backend, weights=weights)
        least = min(least, time.process_time() - start)
    return least


def _python(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True, env=_environment()).stdout


def _environment() -> dict[str, str]:
    """Bytecode is kept, as it is for every installed package."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


if __name__ == "__main__":
    found = measure(sys.argv[1], int(sys.argv[2]))
    print(json.dumps({name: getattr(found, name) for name in found.__slots__}))
