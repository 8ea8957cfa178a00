"""One way to train one network, in a process of its own: `python benchmarks/training_targets.py TARGET BLOCK FOLDER`.

As targets.py, with one training step in the place of one inference; what it leaves in FOLDER are the losses of its first steps.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from pathlib import Path

from targets import Run, Weights, best  # first: it sets the number of threads

import numpy as np  # isort: skip

from dsl.compiler import compile_program, compile_training
from dsl.training import Training

SPEC = Path(__file__).with_name("training.dl")
FIRST = 4
"""The losses of so many steps are compared."""


def hyper(block: str, target: str) -> dict[str, object]:
    """Flax has an LSTM of one bias only."""
    return {"biases": 1} if block == "Text" and target == "jax" else {}


def training(block: str, target: str) -> Training:
    return compile_training(SPEC, hyper(block, target), name=block)[0]


def generated(block: str, name: str, folder: Path) -> dict[str, object]:
    """The names of the generated program."""
    compiled = compile_program(SPEC, name, hyper(block, name), name=block)
    path = folder / f"{block}_{name}.py"
    path.write_bytes(compiled.artifact.content)
    return runpy.run_path(str(path))


def _torch(block: str, weights: Weights, batch: Weights, folder: Path, *, by_hand: bool, compiled: bool) -> Run:
    import torch

    torch.set_num_threads(1)
    given = [torch.from_numpy(x) for x in batch.values()]
    if by_hand:
        import hand_training_torch

        step = hand_training_torch.STEPS[block](_of_net(weights), compiled)
        return lambda: step(*given).numpy()
    names = generated(block, "torch", folder)
    net = names[block]()  # type: ignore[operator]
    net.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    if compiled:
        net.loss = torch.compile(net.loss)
    optimizers, train_step, count = names["make_optimizers"](net), names["train_step"], iter(range(1 << 30))  # type: ignore[operator]
    return lambda: train_step(net, optimizers, next(count), *given)["loss"].numpy()  # type: ignore[operator]


def _jax(block: str, weights: Weights, batch: Weights, folder: Path, *, by_hand: bool) -> Run:
    import jax

    given = [jax.numpy.asarray(x) for x in batch.values()]
    if by_hand:
        import hand_training_jax

        step = hand_training_jax.STEPS[block](_of_net(weights))
        return lambda: np.asarray(step(*given))
    names = generated(block, "jax", folder)
    state = [names["init_training"](names["from_named"](weights))]  # type: ignore[operator]
    keys = [jax.random.key(0)] if "split_key" in names else []
    train_step = names["train_step"]

    def run() -> np.ndarray:
        state[0], found = train_step(state[0], *keys, *given)  # type: ignore[operator]
        return np.asarray(found["loss"])

    return run


def _of_net(weights: Weights) -> Weights:
    """The weights by their names in the network, which is `net` in each block."""
    return {name.removeprefix("net."): value for name, value in weights.items()}


def make(target: str, block: str, folder: Path) -> Run:
    """One step of the target, from the weights and the batch of the folder."""
    kind = target.split()[0]
    weights, batch = (dict(np.load(folder / f"{block} {kind.split('.')[0]} {what}.npz")) for what in ("weights", "batch"))
    by_hand = target.endswith("by hand")
    if kind == "jax":
        return _jax(block, weights, batch, folder, by_hand=by_hand)
    return _torch(block, weights, batch, folder, by_hand=by_hand, compiled=kind == "torch.compile")


def main() -> None:
    target, block, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w")  # what libraries print does not come between
    os.dup2(2, 1)
    run = make(target, block, folder)
    start = time.perf_counter()
    losses = [run().copy()]
    first = time.perf_counter() - start
    losses += [run().copy() for _ in range(FIRST - 1)]
    np.save(folder / f"{block} {target}.npy", np.array(losses))
    print(first, file=answers, flush=True)
    for line in sys.stdin:
        print(best(run, float(line)), file=answers, flush=True)


if __name__ == "__main__":
    main()
