"""Language models that are trained in stages: what a stage takes from the one before, what of it moves, and what stays to the last bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from backends.base import Arrays, EmitOptions, TrainingBackend, TrainOptions
from dsl import cli
from dsl.compiler import compile_training, run
from dsl.initial_values import initial_weights
from dsl.lower import lower_training
from dsl.source import Source
from dsl.target import backend
from dsl.training import Training
from tests.small import SPECS
from tests.systems.expressions import TARGETS

ULMFIT = SPECS / "language" / "ulmfit.dl"
LAYERS = ("embedding", "first", "second", "third")
"""Those of the encoder, from the lowest on."""
SMALL = {"vocab": 9, "width": 3, "hidden": 4}
STEPS, EPOCH = 10, 2


def layer_of(name: str) -> str:
    """A layer of the encoder, or `head` for what is above it."""
    parts = name.split(".")
    return parts[2] if parts[1] == "encoder" else "head"


def hashes(weights: Arrays) -> dict[str, str]:
    """A hash for each layer of what all its parameters and buffers are."""
    found = {layer_of(name): hashlib.sha256() for name in weights}
    for name, value in sorted(weights.items()):
        found[layer_of(name)].update(np.ascontiguousarray(value).tobytes())
    return {layer: hash.hexdigest() for layer, hash in found.items()}


def changed(before: Arrays, after: Arrays) -> set[str]:
    """The layers that are not the same to the last bit."""
    old, new = hashes(before), hashes(after)
    return {layer for layer in new if new[layer] != old.get(layer)}


def stage(name: str, steps: int, **settings: object) -> Training:
    return compile_training(ULMFIT, {**SMALL, **settings, "steps": steps}, name=name)[0]


def examples(steps: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    return [
        {"tokens": random.integers(9, size=(4, 6)), "length": random.integers(1, 7, 4), "label": random.integers(2, size=4)}
        for _ in range(steps)
    ]


def after_each_step(training: Training, batches: Iterable[Arrays], target: str) -> Iterator[Arrays]:
    """The weights at the beginning, and after each step."""
    found = backend(target)
    assert isinstance(found, TrainingBackend)
    artifact, lowered = lower_training(training, found, EmitOptions(), TrainOptions())
    session = found.load_training(artifact, lowered, initial_weights(lowered.program, 0), seed=0)
    yield {name: np.array(value) for name, value in session.weights().items()}
    for i, batch in enumerate(batches):
        session.step(i, batch)
        yield {name: np.array(value) for name, value in session.weights().items()}


@pytest.mark.system("ulmfit")
@pytest.mark.parametrize("target", ["torch", pytest.param("jax", marks=pytest.mark.slow)])
def test_the_head_is_alone_at_first_and_the_next_lower_layer_joins_with_each_epoch(target: str) -> None:
    """Every step changes the layers that are unfrozen and no bit of the others. Dropout is on."""
    weights = list(after_each_step(stage("Classify", STEPS, head=3, epoch=EPOCH), examples(STEPS), target))
    for step, (before, after) in enumerate(pairwise(weights)):
        joined = min(step // EPOCH, len(LAYERS))
        assert changed(before, after) == {"head", *LAYERS[len(LAYERS) - joined :]}, step


@pytest.mark.system("ulmfit")
def test_a_layer_has_a_rate_2_6_times_smaller_than_the_one_above_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["schedule", str(ULMFIT), "FineTune", "--set", "steps=1000", "--at", "0,50,100,550", "--json"]) == 0
    rates = {layer_of(row["parameters"][0]): list(row["rates"].values()) for row in json.loads(capsys.readouterr().out)}
    top = [4e-3 / 32, 4e-3 * (1 / 32 + 31 / 64), 4e-3, 4e-3 * (1 / 32 + 31 / 64)]
    np.testing.assert_allclose(rates.pop("head"), top)  # with the last layer, which has no pattern of its own
    assert list(rates) == ["embedding", "first", "second"]
    for above, found in zip((3, 2, 1), rates.values(), strict=True):
        np.testing.assert_allclose(found, np.divide(top, 2.6**above))


# --- by the command line --------------------------------------------------------------------------------------------------------


def train(block: str, data: Path, *words: object, code: int = 0, **settings: object) -> dict[str, np.ndarray]:
    """The weights after a stage."""
    more = [word for name, value in {**SMALL, **settings}.items() for word in ("--set", f"{name}={value}")]
    command = ["train", ULMFIT, block, "--data", data, "--out", block, "--batch", 4, *more, *words]
    assert cli.run([str(word) for word in command]) == code
    return load_file(Path(block, "weights.safetensors")) if code == 0 else {}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Path]:
    """General text, that of the task, and some of it labelled."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    label = np.arange(8) % 2
    made: dict[str, dict[str, np.ndarray]] = {
        "general": {"tokens": random.integers(9, size=(8, 6))},
        "task": {"tokens": random.integers(9, size=(8, 6))},
        "labelled": {"tokens": random.integers(9, size=(8, 6)), "length": np.full(8, 6), "label": label},
    }
    for name, arrays in made.items():
        np.savez(tmp_path / f"{name}.npz", allow_pickle=False, **arrays)
    return {name: tmp_path / f"{name}.npz" for name in made}


@pytest.mark.system("ulmfit")
def test_each_stage_begins_where_the_one_before_ended_and_changes_what_is_unfrozen(data: Mapping[str, Path]) -> None:
    first = train("Pretrain", data["general"], "--steps", 3)
    second = train("FineTune", data["task"], "--steps", 3, "--weights", "Pretrain/weights.safetensors")
    assert changed(first, second) == {"head", *LAYERS}  # the head of the language model: its bias
    third = train(
        "Classify", data["labelled"], "--steps", 4, "--weights", "net.encoder=FineTune/weights.safetensors:lm.encoder",
        head=3, epoch=2,
    )  # fmt: skip
    assert changed(second, third) == {"head", "third"}  # the head is a new one, and the last layer joined after two steps


@pytest.mark.system("ulmfit")
def test_the_head_of_another_task_begins_anew(data: Mapping[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Whole weights of the language model are no weights of the classifier, and the message says which part of them is."""
    train("Pretrain", data["general"], "--steps", 1)
    capsys.readouterr()
    train("Classify", data["labelled"], "--steps", 1, "--weights", "net.encoder=Pretrain/weights.safetensors", head=3, code=1)
    said = capsys.readouterr().err
    assert "lacks 13 tensors of the layer `net.encoder`" in said
    assert "`Pretrain/weights.safetensors:lm.encoder` is the part of the file that has all of them" in said


# --- concat pooling -------------------------------------------------------------------------------------------------------------

POOL = "from language.ulmfit import concat_pool\nmodel M()(hs: float[B, T, 3], length: int[B]) { return concat_pool(hs, length) }"


@pytest.mark.system("ulmfit")
@pytest.mark.parametrize("target", TARGETS)
def test_pooling_a_constant_sequence_gives_three_equal_parts(target: str) -> None:
    constant = np.random.default_rng(0).integers(-8, 8, (4, 1, 3)) / np.float32(8)  # whose sums are exact
    inputs = {"hs": np.tile(constant, (1, 5, 1)), "length": np.array([1, 2, 4, 5])}
    (pooled,) = run(Source("pool.dl", POOL), inputs, target=target).outputs.values()
    last, largest, mean = np.split(np.asarray(pooled), 3, axis=1)
    np.testing.assert_array_equal(last, constant[:, 0])
    np.testing.assert_array_equal(largest, last)
    np.testing.assert_array_equal(mean, last)


@pytest.mark.system("ulmfit")
@pytest.mark.parametrize("target", TARGETS)
def test_padding_is_not_pooled(target: str) -> None:
    hs = np.random.default_rng(0).normal(size=(3, 5, 3)).astype(np.float32)
    length = np.array([2, 5, 1])
    (pooled,) = run(Source("pool.dl", POOL), {"hs": hs, "length": length}, target=target).outputs.values()
    wanted = [np.concatenate([row[n - 1], row[:n].max(axis=0), row[:n].mean(axis=0)]) for row, n in zip(hs, length, strict=True)]
    np.testing.assert_allclose(pooled, wanted, rtol=1e-5, atol=1e-6)
