"""The demo: one spec, three targets, the same answers.

`specs/examples/digits.dl` is verified, compiled, and trained on the digits of scikit-learn by `dslc train`, which runs PyTorch here. The
weights, one safetensors file, go into the PyTorch class, into the JAX program and into the ONNX file. All three classify the images that
were held out. The exit code is 1 unless they agree.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
from sklearn.datasets import load_digits

SPEC = Path("specs/examples/digits.dl")
OUT = Path("examples/out")
SEED, EPOCHS, BATCH, HELD_OUT = 0, 12, 64, 360
BARS = " ▁▂▃▄▅▆▇█"
TOLERANCE = 1e-4
"""How far two logits may be apart. They are of size 10, computed in 32 bits in another order."""


def dslc(*arguments: str | Path) -> None:
    """Run a command line of ours and show it."""
    words = [str(a) for a in arguments]
    print(f"$ dslc {' '.join(words)}", flush=True)
    finished = subprocess.run([sys.executable, "-m", "dsl.cli", *words])
    if finished.returncode:
        sys.exit(finished.returncode)


def main() -> int:
    started = perf_counter()
    os.chdir(Path(__file__).parents[1])
    OUT.mkdir(parents=True, exist_ok=True)
    dslc("check", SPEC)
    dslc("verify", SPEC)
    dslc("compile", SPEC, "--backend", "torch", "-o", OUT / "digits_torch.py")
    dslc("compile", SPEC, "--backend", "jax", "-o", OUT / "digits_jax.py")

    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    order = np.random.default_rng(SEED).permutation(len(images))
    train, test = order[:-HELD_OUT], order[-HELD_OUT:]
    np.savez(OUT / "train.npz", image=images[train], label=digits.target[train])
    print(f"\n{len(train)} images to train on, {len(test)} held out\n")
    folder = OUT / "training"
    shutil.rmtree(folder, ignore_errors=True)
    options = ("--epochs", str(EPOCHS), "--batch", str(BATCH), "--seed", str(SEED), "--validation", "0.1")
    dslc("train", SPEC, "Classify", "--backend", "torch", "--data", OUT / "train.npz", *options, "--out", folder)
    show_curve(folder / "curves.csv")

    sys.path.insert(0, str(OUT))
    weights = of_model(folder / "weights.safetensors")
    logits = {"torch": run_torch(weights, images[test])}
    dslc("compile", SPEC, "--backend", "onnx", "--weights", f"{folder}/weights.safetensors:net", "-o", OUT / "digits.onnx")
    logits["jax"] = run_jax(weights, images[test])
    logits["onnx"] = run_onnx(OUT / "digits.onnx", images[test])
    agree = compare(logits, digits.target[test])
    print(f"\n{'the same answers' if agree else 'THE ANSWERS DIFFER'}, {perf_counter() - started:.0f} s in all")
    return 0 if agree else 1


def show_curve(table: Path) -> None:
    """The loss as a line of bars, and where the picture is."""
    with open(table, newline="") as file:
        losses = np.array([float(row["loss"]) for row in csv.DictReader(file)])
    means = [part.mean() for part in np.array_split(losses, min(60, len(losses)))]
    heights = [round(mean / max(means) * (len(BARS) - 1)) for mean in means]
    print(f"\nloss {means[0]:.2f} |{''.join(BARS[h] for h in heights)}| {means[-1]:.3f}   {table.with_suffix('.png')}\n")


def of_model(trained: Path) -> dict[str, np.ndarray]:
    """The weights of the model: the block has them below its layer `net`."""
    from safetensors.numpy import load_file

    return {name.removeprefix("net."): tensor for name, tensor in load_file(trained).items()}


def run_torch(weights: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """The generated PyTorch class with the weights that were trained."""
    import torch
    from digits_torch import Digits

    model = Digits().eval()
    tensors = {name: torch.as_tensor(weight) for name, weight in weights.items()}
    model.load_state_dict(tensors, strict=False)  # batch norms count batches besides
    with torch.no_grad():
        return model(torch.as_tensor(images)).numpy()


def run_jax(weights: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """The generated JAX program with the same weights."""
    import digits_jax
    import jax

    params, state = digits_jax.from_named(weights)
    logits, _ = jax.jit(digits_jax.apply)(params, state, images)
    return np.asarray(logits)


def run_onnx(model: Path, images: np.ndarray) -> np.ndarray:
    """The ONNX file, which carries the weights."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"image": images})[0]


def compare(logits: dict[str, np.ndarray], labels: np.ndarray) -> bool:
    """Print what each target answers, and say whether they agree."""
    first = logits["torch"]
    print(f"\n{'target':8}{'correct':>12}{'accuracy':>12}{'largest difference of a logit':>34}")
    agree = True
    for name, answers in logits.items():
        correct = int((answers.argmax(1) == labels).sum())
        difference = float(np.abs(answers - first).max())
        print(f"{name:8}{correct:>8}/{len(answers)}{correct / len(answers):>12.2%}{difference:>34.1e}")
        agree = agree and bool((answers.argmax(1) == first.argmax(1)).all()) and difference <= TOLERANCE
    print(f"(at most {TOLERANCE:g} is allowed)")
    return agree


if __name__ == "__main__":
    sys.exit(main())
