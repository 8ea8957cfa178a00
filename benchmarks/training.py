"""A training step of the generated programs against one by hand: pairs of processes on one core that take turns, as in latency.py.

Also what a `scan` costs by its length: seconds to compile, and memory while compiling.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from latency import Comparison, Worker, take_turns

PAIRS = (
    ("torch generated", "torch by hand"),
    ("torch.compile generated", "torch.compile by hand"),
    ("jax generated", "jax by hand"),
)
"""What is ours, and what it is compared with."""

ROUNDS = 9
SECONDS = {"Images": 0.3, "Text": 1.5, "Words": 2.5}
"""How long one turn of one process lasts."""

DIFFERENCE = 1e-4
"""How far the losses of the first steps may be apart, as a part of the largest."""


def prepare(block: str, target: str, folder: Path) -> None:
    """Weights and a batch, from one seed."""
    from training_targets import training

    from dsl.lower import weights_of

    random = np.random.default_rng(0)
    batches: dict[str, dict[str, np.ndarray]] = {
        "Images": {"x": random.normal(0, 1, (64, 784)).astype(np.float32), "label": random.integers(0, 10, 64)},
        "Text": {"tokens": random.integers(0, 65, (32, 101))},
        "Words": {"tokens": random.integers(0, 50257, (1, 129))},
    }
    np.savez(folder / f"{block} {target} weights.npz", **weights_of(training(block, target).program, None, seed=0))
    np.savez(folder / f"{block} {target} batch.npz", **batches[block])


def compare(block: str, ours: str, theirs: str, folder: Path, rounds: int = ROUNDS) -> Comparison:
    """Start both, check that their losses are the same, and let them take turns."""
    workers = [Worker(target, block, folder, "training_targets.py") for target in (ours, theirs)]
    a, b = (np.load(folder / f"{block} {w.target}.npy") for w in workers)
    difference = float(np.abs(a - b).max() / np.abs(b).max())
    if a.shape != b.shape or not difference <= DIFFERENCE:
        raise AssertionError(f"{block}: the losses of {ours} and {theirs} differ by {difference:.2g}: {a} and {b}")
    least = take_turns(workers, SECONDS[block], rounds)
    return Comparison(block, ours, theirs, least[0], least[1], workers[0].first, workers[1].first, difference)


def compare_all(blocks: list[str], pairs: list[tuple[str, str]], rounds: int = ROUNDS) -> list[Comparison]:
    """Every pair on every block."""
    found: list[Comparison] = []
    with tempfile.TemporaryDirectory(prefix="dslc-bench-") as name:
        folder = Path(name)
        for block in blocks:
            for target in ("torch", "jax"):
                prepare(block, target, folder)
            for ours, theirs in pairs:
                result = compare(block, ours, theirs, folder, rounds)
                print(f"{block:9} {ours:26} {result.our_seconds * 1e3:9.3f} ms {theirs:22} "
                      f"{result.their_seconds * 1e3:9.3f} ms  ratio {result.ratio:.3f}", flush=True)  # fmt: skip
                found.append(result)
    return found


if __name__ == "__main__":
    import sys

    compare_all(
        sys.argv[1].split(",") if len(sys.argv) > 1 else list(SECONDS),
        [p for p in PAIRS if len(sys.argv) < 3 or p[0].startswith(sys.argv[2])],
        int(sys.argv[3]) if len(sys.argv) > 3 else ROUNDS,
    )
