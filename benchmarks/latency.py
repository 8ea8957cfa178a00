"""Latency of the generated networks against the same networks by hand: pairs of processes on one core that take turns."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

HERE = Path(__file__).parent

PAIRS = (
    ("torch generated", "torch by hand"),
    ("torch.compile generated", "torch.compile by hand"),
    ("jax generated", "jax by hand"),
    ("onnx generated", "onnx exported"),
    ("onnx generated, opset 23", "onnx exported"),
)
"""What is ours, and what it is compared with."""

INPUTS = {"mlp": "float32, 64 x 784", "resnet50": "float32, 1 x 3 x 224 x 224", "gpt2": "int64, 1 x 128"}
ROUNDS = 15
SECONDS = {"mlp": 0.2, "resnet50": 0.5, "gpt2": 1.5}
"""How long one turn of one process lasts."""

DIFFERENCE = 2e-4
"""How far outputs may be apart, as a part of the largest."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Best times in seconds, and the largest difference of the outputs as a part of the largest output."""

    network: str
    ours: str
    theirs: str
    our_seconds: float
    their_seconds: float
    our_first: float
    their_first: float
    difference: float

    @property
    def ratio(self) -> float:
        return self.our_seconds / self.their_seconds


class Worker:
    """A process of targets.py, or of another script that answers as it does."""

    def __init__(self, target: str, network: str, folder: Path, script: str = "targets.py") -> None:
        self.target = target
        command = [sys.executable, str(HERE / script), target, network, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first = self._answer()

    def best(self, seconds: float) -> float:
        requests: TextIO | None = self._process.stdin
        assert requests is not None
        print(seconds, file=requests, flush=True)
        return self._answer()

    def _answer(self) -> float:
        answers: TextIO | None = self._process.stdout
        assert answers is not None
        line = answers.readline()
        if not line:
            raise RuntimeError(f"the process of {self.target} ended with {self._process.wait()}")
        return float(line)

    def close(self) -> None:
        self._process.communicate()


def prepare(network: str, folder: Path) -> None:
    """Weights and an input, from one seed; the running statistics are those of a trained network: not 0 and 1."""
    from targets import SPECS, spec

    from dsl.compiler import compile_graph
    from dsl.lower import weights_of

    _, model, hyper = SPECS[network]
    random = np.random.default_rng(0)
    weights = dict(weights_of(compile_graph(spec(network), hyper, model=model), None, seed=0))
    for name, value in weights.items():
        if name.endswith("running_mean"):
            weights[name] = random.normal(0, 0.1, value.shape).astype(np.float32)
        elif name.endswith("running_var"):
            weights[name] = random.uniform(1, 2, value.shape).astype(np.float32)
    np.savez(folder / f"{network}.npz", **weights)  # keeps the order
    dtype, shape = INPUTS[network].split(", ")
    sizes = tuple(map(int, shape.split(" x ")))
    x = random.integers(0, 50257, sizes) if dtype == "int64" else random.normal(0, 1, sizes)
    np.save(folder / f"{network}.npy", x.astype(dtype))


def compare(network: str, ours: str, theirs: str, folder: Path, rounds: int = ROUNDS) -> Comparison:
    """Start both, check that they compute the same, and let them take turns."""
    workers = [Worker(ours, network, folder), Worker(theirs, network, folder)]
    a, b = (np.load(folder / f"{network} {w.target}.npy") for w in workers)
    difference = float(np.abs(a - b).max() / np.abs(b).max())
    if a.shape != b.shape or not difference <= DIFFERENCE:
        raise AssertionError(f"{network}: {ours} and {theirs} differ by {difference:.2g} of the largest output")
    least = take_turns(workers, SECONDS[network], rounds)
    return Comparison(network, ours, theirs, least[0], least[1], workers[0].first, workers[1].first, difference)


def take_turns(workers: list[Worker], seconds: float, rounds: int) -> list[float]:
    """The best time of each of two processes, which are ended."""
    least = [float("inf"), float("inf")]
    for i in range(rounds):
        for j in (0, 1) if i % 2 == 0 else (1, 0):
            least[j] = min(least[j], workers[j].best(seconds))
    for worker in workers:
        worker.close()
    return least


def compare_all(networks: list[str], pairs: list[tuple[str, str]], rounds: int = ROUNDS) -> list[Comparison]:
    """Every pair on every network."""
    found: list[Comparison] = []
    with tempfile.TemporaryDirectory(prefix="dslc-bench-") as name:
        folder = Path(name)
        for network in networks:
            prepare(network, folder)
            for ours, theirs in pairs:
                if ours == "onnx generated, opset 23" and network != "gpt2":
                    continue  # only attention is written in another way there
                result = compare(network, ours, theirs, folder, rounds)
                print(f"{network:9} {ours:26} {result.our_seconds * 1e3:9.3f} ms {theirs:22} "
                      f"{result.their_seconds * 1e3:9.3f} ms  ratio {result.ratio:.3f}", flush=True)  # fmt: skip
                found.append(result)
    return found
