"""Trained by `dslc train`, specs learn what their fields say they learn. Everything goes through the command line.

What takes longer than some seconds is marked `slow`, and run by `make learn`; docs/learning.md has the numbers.
"""

from __future__ import annotations

import math
import runpy
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dsl import cli
from dsl.trainer.curves import Row, read_rows

SPECS = Path(__file__).parents[1] / "specs"
BACKENDS = ("torch", "jax")
SLOW_ON_JAX = pytest.param("jax", marks=pytest.mark.slow)

HELLO = {"x": np.array([[0, 1, 2, 2]]), "y": np.array([[1, 2, 2, 3]])}
"""h e l l, and what comes next: e l l o."""

RADIUS, SPREAD = 2.0, 0.1
CENTERS = RADIUS * np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], axis=1)

Arrays = Mapping[str, np.ndarray]


def dslc(*arguments: object) -> None:
    assert cli.run([str(a) for a in arguments]) == 0


def saved(folder: Path, name: str, arrays: Arrays) -> Path:
    np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    return folder / f"{name}.npz"


def trained(spec: str, data: object, out: Path, *arguments: object) -> list[Row]:
    """The curve of a training, a row a step."""
    name, _, block = spec.partition(":")
    dslc("train", SPECS / name, *([block] if block else []), "--data", data, "--out", out, *arguments)
    return read_rows(out / "curves.csv")


def computed(spec: str, model: str, weights: str, inputs: Arrays, folder: Path, *arguments: object) -> Arrays:
    """What a model computes with the weights of a training."""
    given, result = saved(folder, "given", inputs), folder / "result.npz"
    dslc("run", SPECS / spec, "--model", model, "--weights", weights, "-i", given, "-b", "torch", "-o", result, *arguments)
    return dict(np.load(result))


# --- a word ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("backend", "seed"), [*(("torch", seed) for seed in range(5)), ("jax", 0)])
def test_three_recurrent_units_memorise_hello(backend: str, seed: int, tmp_path: Path) -> None:
    data = saved(tmp_path, "hello", HELLO)
    curve = trained("recurrent/hello.dl", data, tmp_path / "run", "--batch", 1, "-b", backend, "--seed", seed, "--steps", 150)
    assert curve[-1]["loss"] < 0.01


@pytest.mark.parametrize("seed", range(3))
def test_without_recurrence_the_two_letters_after_l_cannot_be_told_apart(seed: int, tmp_path: Path) -> None:
    data = saved(tmp_path, "hello", HELLO)
    curve = trained(
        "recurrent/hello.dl", data, tmp_path / "run", "--batch", 1, "--set", "recurrent=false", "--seed", seed, "--steps", 300
    )
    least = math.log(2) / 2
    assert min(row["loss"] for row in curve) >= least
    assert curve[-1]["loss"] < 1.05 * least  # and it comes close


# --- pictures -------------------------------------------------------------------------------------------------------------------


def large_digits() -> Arrays:
    """The digits of scikit-learn, each of 8 x 8 pixels made 3 x 3 of them, with a blank border: 28 x 28."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    large = np.kron(pixels.reshape(-1, 1, 8, 8) / 16, np.ones((3, 3)))
    return {"image": np.pad(large, ((0, 0), (0, 0), (2, 2), (2, 2))).astype(np.float32), "label": labels}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_lenet_knows_more_than_97_percent_of_digits_that_it_has_not_seen(seed: int, tmp_path: Path) -> None:
    data = saved(tmp_path, "digits", large_digits())
    curve = trained(
        "cnn/lenet.dl", data, tmp_path / "run", "--validation", 0.25, "--steps", 300, "--every-validation", 300, "--seed", seed
    )
    assert curve[-1]["validation accuracy"] > 0.97


@pytest.mark.parametrize("backend", ["torch", SLOW_ON_JAX])
def test_the_bound_of_a_variational_autoencoder_rises(backend: str, tmp_path: Path) -> None:
    curve = trained(
        "autoencoder/vae.dl", "digits", tmp_path / "run", "-b", backend, "--validation", 0.1, "--steps", 600,
        "--every-validation", 300,
    )  # fmt: skip
    first, last = np.mean([row["loss"] for row in curve[:10]]), curve[-1]["validation loss"]
    assert last < first - 10  # nats an image, on digits that it has not seen
    assert curve[-1]["validation kl"] > 3  # and the code says something


# --- text -----------------------------------------------------------------------------------------------------------------------


def bigram_entropy() -> float:
    """Of a byte of the text `stdlib` given the one before it, in nats: no model that sees one byte does better on the whole text."""
    folder = Path(sysconfig.get_path("stdlib"))
    text = np.frombuffer(b"".join(path.read_bytes() for path in sorted(folder.glob("*.py"))), np.uint8).astype(int)
    counts = np.bincount(256 * text[:-1] + text[1:], minlength=256**2).reshape(256, 256)
    given = counts.sum(axis=1, keepdims=True)
    return float(-(counts * np.log(np.maximum(counts, 1) / np.maximum(given, 1))).sum() / counts.sum())


CHAR_LSTM = ("--size", "T=65", "--batch", 32, "--steps", 300, "--set", "hidden=128", "--set", "lr=1e-2")
GPT = (
    "--size", "T=65", "--batch", 32, "--steps", 500, "--set", "width=64", "--set", "layers=2", "--set", "context=64",
    "--set", "lr=4e-3",
)  # fmt: skip
HELD_OUT = ("--validation", 0.002, "--every-validation", 10_000)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("spec", "how"), [("language/char_rnn.dl", CHAR_LSTM), ("language/gpt2.dl", GPT)])
def test_a_language_model_says_more_than_pairs_of_bytes(spec: str, how: tuple[object, ...], backend: str, tmp_path: Path) -> None:
    curve = trained(spec, "stdlib", tmp_path / "run", "-b", backend, *how, *HELD_OUT)
    assert curve[-1]["validation loss"] < bigram_entropy()


# --- points on a ring -----------------------------------------------------------------------------------------------------------


def ring(count: int) -> Arrays:
    """Points around eight centers, each Gaussian with a standard deviation of SPREAD."""
    random = np.random.default_rng(0)
    points = CENTERS[random.integers(8, size=count)] + SPREAD * random.standard_normal((count, 2))
    return {"real": points.astype(np.float32)}


def covered(points: np.ndarray) -> tuple[int, float]:
    """How many modes have 2 % of all points within three standard deviations, and the share of all points that are that near to one.
    Points spread evenly over the circle would cover all eight, but fewer than 40 % of them would be near to one."""
    distances = np.linalg.norm(points[:, None] - CENTERS, axis=-1)
    near = distances < 3 * SPREAD
    return int((near.mean(axis=0) >= 0.02).sum()), float(near.any(axis=1).mean())


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "seed"), [("torch", 0), ("torch", 1), ("torch", 2), ("jax", 0)])
def test_a_generator_covers_the_modes_of_a_ring(backend: str, seed: int, tmp_path: Path) -> None:
    data, out = saved(tmp_path, "ring", ring(20_000)), tmp_path / "run"
    trained("gan/gan.dl", data, out, "-b", backend, "--seed", seed)
    codes = np.random.default_rng(1).standard_normal((2000, 8)).astype(np.float32)
    modes, share = covered(computed("gan/gan.dl", "Generator", f"{out}/weights.safetensors:G", {"z": codes}, tmp_path)["x"])
    assert modes >= 7
    assert share > 0.6


# --- tasks ----------------------------------------------------------------------------------------------------------------------


def sinusoids(count: int, seed: int, points: int = 10) -> Arrays:
    """A row is a task: points of a sinusoid to adapt to, and others to be judged by (Finn et al., section 5.1)."""
    random = np.random.default_rng(seed)
    amplitude, phase = random.uniform(0.1, 5, (count, 1, 1)), random.uniform(0, np.pi, (count, 1, 1))
    x = random.uniform(-5, 5, (count, 2 * points, 1))
    x, y = x.astype(np.float32), (amplitude * np.sin(x - phase)).astype(np.float32)
    return {"xs": x[:, :points], "ys": y[:, :points], "xq": x[:, points:], "yq": y[:, points:]}


def adapted_error(weights: Path, tasks: Arrays, inner_lr: float, folder: Path) -> float:
    """The mean squared error at the query points after five steps of that size on the others, by the compiled `Adapted`."""
    import torch

    code = folder / "adapted.py"
    dslc(
        "compile",
        SPECS / "meta_learning/maml.dl",
        "--model",
        "Adapted",
        "-b",
        "torch",
        "--set",
        f"inner_lr={inner_lr}",
        "-o",
        code,
    )
    model = runpy.run_path(str(code))["Adapted"]()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in load_file(weights).items()})
    rows = zip(*(torch.from_numpy(tasks[name]) for name in ("xs", "ys", "xq", "yq")), strict=True)
    return float(np.mean([float(((model(xs, ys, xq).detach() - yq) ** 2).mean()) for xs, ys, xq, yq in rows]))


@pytest.mark.slow
def test_what_maml_learned_adapts_in_five_steps_better_than_what_all_tasks_together_taught(tmp_path: Path) -> None:
    data, held_out = saved(tmp_path, "tasks", sinusoids(20_000, 0)), sinusoids(200, 1)
    weights = {}
    for block in ("MAML", "Joint"):
        trained(f"meta_learning/maml.dl:{block}", data, tmp_path / block, "--batch", 25, "-b", "jax")
        weights[block] = tmp_path / block / "weights.safetensors"
    maml = adapted_error(weights["MAML"], held_out, 0.01, tmp_path)
    joint = min(adapted_error(weights["Joint"], held_out, inner_lr, tmp_path) for inner_lr in (0.01, 0.003, 0.001))
    assert maml < 0.6 * joint  # whatever step suits the other best


# --- targets --------------------------------------------------------------------------------------------------------------------


def transitions(count: int) -> Arrays:
    random = np.random.default_rng(0)
    floats = {name: random.standard_normal((count, 4)).astype(np.float32) for name in ("s", "s2")}
    return floats | {
        "a": random.integers(2, size=count),
        "r": random.standard_normal(count).astype(np.float32),
        "done": (random.random(count) < 0.1).astype(np.float32),
    }


@pytest.mark.parametrize("backend", ["torch", SLOW_ON_JAX])
def test_the_target_of_q_learning_is_refreshed_every_five_steps(backend: str, tmp_path: Path) -> None:
    data = saved(tmp_path, "transitions", transitions(512))
    nets: dict[int, Arrays] = {}
    for steps in (1, 4, 5, 6, 9, 10):
        out = tmp_path / f"{steps}"
        trained("rl/dqn.dl", data, out, "-b", backend, "--set", "every=5", "--steps", steps)
        nets[steps] = load_file(out / "weights.safetensors")

    def same(target: int, q: int) -> bool:
        names = [name.removeprefix("q.") for name in nets[q] if name.startswith("q.")]
        return len(names) == 6 and all(np.array_equal(nets[target][f"target.{n}"], nets[q][f"q.{n}"]) for n in names)

    assert all(np.array_equal(nets[1][n], nets[4][n]) for n in nets[1] if n.startswith("target."))  # step 0, until step 5
    assert same(5, 5) and same(6, 5) and same(9, 5) and same(10, 10)
    assert not same(4, 4) and not same(6, 6)


# --- the same on both targets ---------------------------------------------------------------------------------------------------


SAME: dict[str, tuple[object, ...]] = {
    "recurrent/hello.dl": ("--batch", 1),
    "cnn/lenet.dl": ("--batch", 16),
    "language/char_rnn.dl": ("--batch", 8, "--size", "T=17", "--set", "width=16", "--set", "hidden=32"),
    "language/gpt2.dl": ("--batch", 8, "--size", "T=17", "--set", "context=16", "--set", "width=32", "--set", "layers=2"),
    "meta_learning/maml.dl": ("--batch", 4),
    "rl/dqn.dl": ("--batch", 32, "--set", "every=5"),
}
"""Small forms of the specs that draw nothing while they train."""

QUICK = ("recurrent/hello.dl", "rl/dqn.dl")

TOLERANCE = {"f64": (1e-10, 0.0), "f32": (1e-4, 1e-6)}
"""Relative and absolute. In f64, where rounding grows to 4e-13 in 100 steps at most (hello, whose loss goes to 1e-3), a curve that differs
by more computes something else. In f32 optax rounds the bias correction 1 - 0.999^t of Adam, by 2^-24 of 0.001 in the first step:
6e-5 of what the second moment is divided by, 3e-5 of the step; the losses were found to differ by 5e-5, hello's by 2e-7."""


@pytest.mark.parametrize(
    ("spec", "dtype"),
    [pytest.param(spec, dtype, marks=[] if spec in QUICK else [pytest.mark.slow]) for dtype in ("f32", "f64") for spec in SAME],
)
def test_a_hundred_steps_have_the_same_losses_on_both_targets(spec: str, dtype: str, tmp_path: Path) -> None:
    arrays: dict[str, Callable[[], Arrays]] = {
        "recurrent/hello.dl": lambda: HELLO,
        "cnn/lenet.dl": large_digits,
        "meta_learning/maml.dl": lambda: sinusoids(400, 0),
        "rl/dqn.dl": lambda: transitions(512),
    }
    data: object = saved(tmp_path, "data", arrays[spec]()) if spec in arrays else "stdlib"
    curves = {
        backend: [
            row["loss"]
            for row in trained(spec, data, tmp_path / backend, "-b", backend, "--steps", 100, "--dtype", dtype, *SAME[spec])
        ]
        for backend in BACKENDS
    }
    relative, absolute = TOLERANCE[dtype]
    assert len(curves["torch"]) == 100
    np.testing.assert_allclose(curves["torch"], curves["jax"], rtol=relative, atol=absolute)
