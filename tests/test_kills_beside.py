"""An ONNX model whose weights stand in a second file: whenever its process is killed, it has its own weights and not those of another."""

from __future__ import annotations

import random
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from tests.sandbox import Sandbox

SPEC = "model Net()(x: float[B, 40]) { return x -> Linear(50) }\n"
LINE = ["compile", "net.dl", "-b", "onnx", "-o", "net.onnx", "--weights"]
OLD, NEW = "a.safetensors", "b.safetensors"
WEIGHT = 8000
"""The bytes of the weight, which stands in the second file; the bias stands in the first."""

Weights = tuple[bytes, ...]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    (folder / "net.dl").write_text(SPEC)
    return folder


@pytest.fixture(scope="module")
def sandbox(scene: Path) -> Iterator[Sandbox]:
    spec, warm = str(scene / "net.dl"), str(scene / "warm.onnx")
    inits = [["init", spec, "-o", str(scene / name), "--seed", str(i)] for i, name in enumerate((OLD, NEW))]
    with Sandbox(*inits, ["compile", spec, "-b", "onnx", "-o", warm], modules=("tests.weights_beside",)) as started:
        yield started


@pytest.fixture
def folder(scene: Path, tmp_path: Path) -> Path:
    for name in ("net.dl", OLD, NEW):
        shutil.copy(scene / name, tmp_path)
    return tmp_path


def written(sandbox: Sandbox, folder: Path, weights: str) -> Weights:
    """Compile to the end; the weights that are read then, and that nothing else is there."""
    ended = sandbox.run([*LINE, weights], folder)
    assert ended.code == 0, ended.error
    assert len(beside(folder)) == 1 and not list(folder.glob(".*"))
    return read(folder)


def read(folder: Path) -> Weights:
    """All weights of the model as a reader of ONNX finds them."""
    model = onnx.load(folder / "net.onnx")
    found = tuple(tensor.raw_data for tensor in model.graph.initializer)
    assert WEIGHT in map(len, found)
    return found


def beside(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("net.onnx.*.data")]


def test_the_weight_is_in_the_second_file(sandbox: Sandbox, folder: Path) -> None:
    written(sandbox, folder, OLD)
    model = onnx.load(folder / "net.onnx", load_external_data=False)
    assert [t.data_location for t in model.graph.initializer].count(TensorProto.EXTERNAL) == 1
    assert (folder / beside(folder)[0]).stat().st_size == WEIGHT


def test_killed_before_each_change_of_the_file_system(sandbox: Sandbox, folder: Path) -> None:
    """Also between the two files: the new weights are there, and the old model still has its own."""
    new, old = written(sandbox, folder, NEW), written(sandbox, folder, OLD)
    outcomes: list[tuple[bool, int]] = []
    while True:
        ended = sandbox.run([*LINE, NEW], folder, before=len(outcomes))
        found = read(folder)
        assert found in (old, new)
        outcomes.append((found == new, len(beside(folder))))
        if ended.code != -signal.SIGKILL:
            assert ended.code == 0, ended.error
            break
        assert written(sandbox, folder, OLD) == old, "the next one cleans up"
    assert outcomes == sorted(outcomes, key=lambda one: one[0])
    assert {(False, 1), (False, 2), (True, 2)} < set(outcomes) and outcomes[-1] == (True, 1)


@pytest.mark.parametrize("count", [4, pytest.param(40, marks=pytest.mark.slow)])  # slow: as many kills as of the other commands
def test_killed_at_a_random_moment(sandbox: Sandbox, folder: Path, count: int) -> None:
    new, old = written(sandbox, folder, NEW), written(sandbox, folder, OLD)
    seconds = sandbox.run([*LINE, OLD], folder).seconds
    random_, killed = random.Random(count), 0
    while killed < count:
        killed += sandbox.run([*LINE, NEW], folder, after=seconds * random_.uniform(0.5, 1.1)).code == -signal.SIGKILL
        assert read(folder) in (old, new)
        written(sandbox, folder, OLD)


def test_a_full_disk(sandbox: Sandbox, folder: Path) -> None:
    old = written(sandbox, folder, OLD)
    for disk in (300, WEIGHT - 1):
        ended = sandbox.run([*LINE, NEW], folder, disk=disk)
        assert ended.code == 4 and "file too large" in ended.error
        assert read(folder) == old and len(beside(folder)) == 1 and not list(folder.glob(".*"))


def found_meanwhile(folder: Path) -> set[Weights]:
    """What is read while others write; nothing where the weights are gone."""
    try:
        return {read(folder)}
    except (onnx.checker.ValidationError, FileNotFoundError):
        return set()
    except RuntimeError as error:
        if "No such file" not in str(error):  # which is a file that goes between two looks at it
            raise
        return set()


def test_two_processes_that_write_the_same_output(sandbox: Sandbox, folder: Path) -> None:
    """Whoever reads meanwhile finds a model with its own weights, or that the weights of the one that it has read are gone."""
    both = {written(sandbox, folder, OLD), written(sandbox, folder, NEW)}
    seen: set[Weights] = set()
    codes: list[int] = []

    def write(one: Sandbox, weights: Sequence[str]) -> None:
        codes.extend(one.run([*LINE, name], folder).code for name in weights)

    with Sandbox(modules=("tests.weights_beside",)) as other:
        writers = [
            threading.Thread(target=write, args=given) for given in ((sandbox, (OLD, NEW) * 3), (other, (OLD, OLD, NEW) * 2))
        ]
        for thread in writers:
            thread.start()
        try:
            while any(thread.is_alive() for thread in writers):
                seen |= found_meanwhile(folder)
        finally:
            for thread in writers:
                thread.join()
    assert set(codes) == {0} and seen == both and read(folder) in both
    assert len(beside(folder)) == 1 and not list(folder.glob(".*"))
