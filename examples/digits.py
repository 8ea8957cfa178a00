"""The demo: one spec, three targets, the same answers.

`specs/examples/digits.dl` is verified and compiled by the `dslc` command. The PyTorch class that comes out is trained on the digits of
scikit-learn; its weights, one safetensors file, then go into the JAX program and into the ONNX file. All three classify the images that
were held out. The exit code is 1 unless they agree.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
from sklearn.datasets import load_digits

SPEC = Path("specs/examples/digits.dl")
OUT = Path("examples/out")
SEED, EPOCHS, BATCH, HELD_OUT = 0, 12, 64, 360
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
    print(f"\n{len(train)} images to train on, {len(test)} held out\n")

    sys.path.insert(0, str(OUT))
    logits = {"torch": train_torch(images[train], digits.target[train], images[test])}
    weights = OUT / "digits.safetensors"
    dslc("compile", SPEC, "--backend", "onnx", "--weights", weights, "-o", OUT / "digits.onnx")
    logits["jax"] = run_jax(weights, images[test])
    logits["onnx"] = run_onnx(OUT / "digits.onnx", images[test])
    agree = compare(logits, digits.target[test])
    print(f"\n{'the same answers' if agree else 'THE ANSWERS DIFFER'}, {perf_counter() - started:.0f} s in all")
    return 0 if agree else 1


def train_torch(images: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Ordinary PyTorch with the generated class: train, save the weights, and give the logits of the images held out."""
    import torch
    from digits_torch import Digits
    from safetensors.torch import save_file

    torch.set_num_threads(1)  # as many as so small a model can use
    torch.manual_seed(SEED)
    x, y = torch.as_tensor(images), torch.as_tensor(labels)
    model = Digits()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(1, EPOCHS + 1):
        for batch in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
        if epoch % 4 == 0:
            print(f"epoch {epoch:2}  loss {loss.item():.4f}")
    print()
    model.eval()
    save_file(model.state_dict(), OUT / "digits.safetensors")
    with torch.no_grad():
        return model(torch.as_tensor(held_out)).numpy()


def run_jax(weights: Path, images: np.ndarray) -> np.ndarray:
    """The generated JAX program with the weights that PyTorch trained."""
    import digits_jax
    import jax
    from safetensors.numpy import load_file

    params, state = digits_jax.from_named(load_file(weights))
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
