"""Faults of the machine: whatever happens to a command line, each output is the old one or the new one, whole.

Command lines are run in forked processes (tests/sandbox.py), which are killed at random moments and before each of their changes of
the file system. In every run a few for each command; with `-m slow` 200 kills.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.sandbox import Ended, Sandbox
from tests.trainings import BLOCKS, NET, batches

SPEC = """model Net(width: int = 40)(x: float[B, 30]) -> (y: float[B, width]) {
  return x -> a: Linear(50) -> relu -> b: Linear(width)
}
"""
A_FEW = 5
"""Kills of each command in every run."""
MANY = 40
"""Kills of each command when all are asked for: 200 together."""

COUNTS = [A_FEW, pytest.param(MANY, marks=pytest.mark.slow)]

LITTER = re.compile(r"\..*")
STEPS = "12"


@dataclass(frozen=True, slots=True)
class Command:
    """A command line that writes `output`; it is given with other settings for the file that was there before."""

    words: tuple[str, ...]
    output: str
    old: tuple[str, ...]
    new: tuple[str, ...]

    def line(self, settings: Sequence[str]) -> list[str]:
        return [*self.words, "-o", self.output, *settings]


COMMANDS = {
    "init": Command(("init", "net.dl"), "net.safetensors", ("--seed", "1"), ("--seed", "2")),
    "torch": Command(("compile", "net.dl", "-b", "torch"), "net.py", ("--set", "width=41"), ()),
    "jax": Command(("compile", "net.dl", "-b", "jax"), "net_jax.py", ("--set", "width=41"), ()),
    "onnx": Command(
        ("compile", "net.dl", "-b", "onnx"), "net.onnx", ("--weights", "a.safetensors"), ("--weights", "b.safetensors")
    ),
}

TRAIN = ["train", "blocks.dl", "Plain", "--data", "clouds.npz", "--batch", "16", "--steps", STEPS, "--every-save", "2", "--out"]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the specs, data and weights that the commands read."""
    folder = tmp_path_factory.mktemp("scene")
    (folder / "net.dl").write_text(SPEC)
    (folder / "blocks.dl").write_text(NET + BLOCKS["Plain"])
    np.savez(folder / "clouds.npz", allow_pickle=False, **batches(1, 160)[0])
    return folder


@pytest.fixture(scope="module")
def sandbox(scene: Path) -> Iterator[Sandbox]:
    """Every command was run once in the process that is forked, so that what is killed is its work and not its imports."""
    inits = [
        ["init", str(scene / "net.dl"), "-o", str(scene / f"{name}.safetensors"), "--seed", name_seed]
        for name, name_seed in (("a", "3"), ("b", "4"))
    ]
    compiles = [
        ["compile", str(scene / "net.dl"), "-b", target, "-o", str(scene / f"warm.{target}")]
        for target in ("torch", "jax", "onnx")
    ]
    training = [
        "train",
        str(scene / "blocks.dl"),
        "Plain",
        "--data",
        str(scene / "clouds.npz"),
        "--batch",
        "16",
        "--steps",
        "4",
        "--out",
        str(scene / "warm"),
    ]
    with Sandbox(*inits, *compiles, training) as started:
        yield started


@pytest.fixture
def folder(scene: Path, tmp_path: Path) -> Path:
    """A folder of its own for each test, with what the commands read."""
    for path in scene.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    return tmp_path


def done(ended: Ended) -> None:
    assert ended.code == 0, ended.error


def both(sandbox: Sandbox, command: Command, folder: Path) -> tuple[bytes, bytes, float]:
    """The output with the old settings and with the new ones, and how long it takes to write it."""
    place = folder / command.output
    done(sandbox.run(command.line(command.old), folder))
    old = place.read_bytes()
    done(sandbox.run(command.line(command.new), folder))
    new = place.read_bytes()
    again = sandbox.run(command.line(command.new), folder)
    assert place.read_bytes() == new != old
    for content in (old, new):
        check_whole(place, content)
    return old, new, again.seconds


def check_whole(place: Path, content: bytes) -> None:
    """Read the file as those do that it is written for."""
    if place.suffix == ".py":
        compile(content, place.name, "exec")
    elif place.suffix == ".onnx":
        import onnx

        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    else:
        assert load_file(place)


def litter(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if LITTER.fullmatch(path.name)]


def whole(folder: Path, command: Command, wanted: Sequence[bytes]) -> bool:
    """The output is one of the two, and beside it is nothing but litter; whether it is the new one."""
    found = (folder / command.output).read_bytes()
    assert found in wanted, f"{command.output} has {len(found)} bytes and is neither the old nor the new one"
    assert all(name.startswith(f".{command.output}.") for name in litter(folder))
    return found == wanted[1]


# --- kills ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_a_random_moment(sandbox: Sandbox, folder: Path, name: str, count: int) -> None:
    """Half of the moments are near the end, where the file is written."""
    command, random_ = COMMANDS[name], random.Random(f"{name} {count}")
    old, new, seconds = both(sandbox, command, folder)
    killed = 0
    while killed < count:
        (folder / command.output).write_bytes(old)
        after = seconds * random_.uniform(*random_.choice(((0.0, 1.0), (0.8, 1.1))))
        killed += sandbox.run(command.line(command.new), folder, after=after).code == -signal.SIGKILL
        whole(folder, command, (old, new))
    done(sandbox.run(command.line(command.new), folder))
    assert whole(folder, command, (old, new)) and not litter(folder), "the next one cleans up"


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_before_each_change_of_the_file_system(sandbox: Sandbox, folder: Path, name: str) -> None:
    command = COMMANDS[name]
    old, new, _ = both(sandbox, command, folder)
    outcomes: list[bool] = []
    while True:
        (folder / command.output).write_bytes(old)
        ended = sandbox.run(command.line(command.new), folder, before=len(outcomes))
        outcomes.append(whole(folder, command, (old, new)))
        if ended.code != -signal.SIGKILL:
            done(ended)
            break
    assert len(outcomes) > 3 and outcomes == sorted(outcomes) and outcomes[-1], "first the old one, then the new one"
    assert not litter(folder)


@dataclass(slots=True)
class Training:
    """A training that is killed and goes on until it has done all its steps."""

    sandbox: Sandbox
    folder: Path

    def line(self, out: str) -> list[str]:
        """From where it was, where a checkpoint tells; from the beginning otherwise."""
        return [*TRAIN, out, *(["--resume"] if (self.folder / out / "checkpoint.json").exists() else [])]

    def check(self, out: str) -> None:
        """What counts is whole: the generations that the pointer names, and the weights for others to read."""
        place = self.folder / out
        if not (place / "checkpoint.json").exists():
            return
        pointer = json.loads((place / "checkpoint.json").read_text())
        for name in {pointer["last"], pointer["best"]}:
            state = json.loads((place / name / "state.json").read_text())
            assert load_file(place / name / "weights.safetensors").keys()
            assert len(load_file(place / name / "optimizer.safetensors")) == state["moments"]
        if (place / "weights.safetensors").exists():
            assert load_file(place / "weights.safetensors").keys()

    def finish(self, out: str) -> tuple[str, bytes]:
        """The curves and the weights of the whole training."""
        done(self.sandbox.run(self.line(out), self.folder, limited=False))
        assert not litter(self.folder / out)
        return (self.folder / out / "curves.csv").read_text(), (self.folder / out / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("count", [A_FEW // 2, pytest.param(MANY, marks=pytest.mark.slow)])
def test_a_training_that_is_killed_again_and_again(sandbox: Sandbox, folder: Path, count: int) -> None:
    """It goes on each time, and comes to the numbers of a training that nobody killed."""
    training, random_ = Training(sandbox, folder), random.Random(count)
    expected = training.finish("unbroken")
    seconds = sandbox.run([*TRAIN, "timed"], folder, limited=False).seconds
    killed = rounds = 0
    while killed < count:
        out = f"out{rounds}"
        ended = sandbox.run(training.line(out), folder, limited=False, after=seconds * random_.uniform(0.2, 0.9))
        killed += ended.code == -signal.SIGKILL
        assert ended.code in (0, -signal.SIGKILL), ended.error
        training.check(out)
        if ended.code == 0 or killed == count:
            assert training.finish(out) == expected
            rounds += 1


def test_a_training_that_is_killed_before_changes_of_the_file_system(sandbox: Sandbox, folder: Path) -> None:
    """Every seventh change: over the checkpoints that is each kind of change."""
    training = Training(sandbox, folder)
    expected = training.finish("unbroken")
    for before in range(0, 35, 7):
        ended = sandbox.run(training.line("out"), folder, limited=False, before=before)
        assert ended.code in (0, -signal.SIGKILL), ended.error
        training.check("out")
    assert training.finish("out") == expected


# --- signals that ask -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", ["init", "onnx"])
def test_asked_to_end(sandbox: Sandbox, folder: Path, name: str, sent: signal.Signals) -> None:
    command, random_ = COMMANDS[name], random.Random(name)
    old, new, seconds = both(sandbox, command, folder)
    for _ in range(5):
        (folder / command.output).write_bytes(old)
        ended = sandbox.run(command.line(command.new), folder, after=seconds * random_.uniform(0.4, 0.9), sent=sent)
        assert "Traceback" not in ended.error
        assert ended.code in (0, 130, -sent), "-sent is that the process had not begun with the command"
        assert whole(folder, command, (old, new)) or ended.code != 0


def test_a_training_that_is_asked_to_end_saves(sandbox: Sandbox, folder: Path) -> None:
    training = Training(sandbox, folder)
    long = [word if word != STEPS else "1000000" for word in TRAIN]
    ended = sandbox.run([*long, "out"], folder, limited=False, after=2.0, sent=signal.SIGTERM)
    assert ended.code == 130 and "`--resume` goes on" in ended.error
    training.check("out")


# --- the disk -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk(sandbox: Sandbox, folder: Path, name: str) -> None:
    command = COMMANDS[name]
    old, new, _ = both(sandbox, command, folder)
    for disk in (500, len(new) // 2, len(new) - 1):
        (folder / command.output).write_bytes(old)
        ended = sandbox.run(command.line(command.new), folder, disk=disk)
        assert ended.code == 4 and f"cannot write `{command.output}`: file too large" in ended.error, (disk, ended)
        assert not whole(folder, command, (old, new)) and not litter(folder)


def test_a_full_disk_while_a_training_saves(sandbox: Sandbox, folder: Path) -> None:
    """The checkpoint before is there, and the training goes on from it when there is room again."""
    training = Training(sandbox, folder)
    expected = training.finish("unbroken")
    curves = (folder / "unbroken" / "curves.csv").stat().st_size
    ended = sandbox.run(training.line("out"), folder, limited=False, disk=curves // 2)
    assert ended.code == 4 and "cannot write" in ended.error
    training.check("out")
    assert training.finish("out") == expected


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_is_read_only(sandbox: Sandbox, folder: Path, name: str) -> None:
    command = COMMANDS[name]
    _, new, _ = both(sandbox, command, folder)
    readable_by_all(folder)
    ended = sandbox.run(command.line(command.new), folder, unprivileged=True)
    folder.chmod(0o755)
    assert ended.code == 4 and "cannot write" in ended.error
    assert (folder / command.output).read_bytes() == new and not litter(folder)


def test_a_training_in_a_folder_that_is_read_only(sandbox: Sandbox, folder: Path) -> None:
    training = Training(sandbox, folder)
    (folder / "out").mkdir()
    readable_by_all(folder)
    for out in ("out", "new"):
        ended = sandbox.run(training.line(out), folder, limited=False, unprivileged=True)
        assert ended.code == 4 and "error[DL0011]: cannot write" in ended.error, ended.error
    for path in (folder / "out", folder):
        path.chmod(0o755)
    assert not list((folder / "out").iterdir()) and not (folder / "new").exists()


def readable_by_all(folder: Path) -> None:
    for path in [folder, *folder.iterdir()]:
        path.chmod(0o555 if path.is_dir() else 0o644)
    for parent in folder.parents:
        if parent.stat().st_uid == os.geteuid() and not os.access(parent, os.X_OK, follow_symlinks=True):
            parent.chmod(0o755)


# --- two at once ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["init", "onnx"])
def test_two_processes_that_write_the_same_output(sandbox: Sandbox, folder: Path, name: str) -> None:
    """Whoever reads meanwhile finds one of the two files, whole; and neither takes the temporary file of the other for litter."""
    command = COMMANDS[name]
    old, new, _ = both(sandbox, command, folder)
    seen: set[bytes] = set()
    codes: list[int] = []

    def write(one: Sandbox, settings: Sequence[str]) -> None:
        for _ in range(10):
            codes.append(one.run(command.line(settings), folder).code)

    with Sandbox() as other:
        writers = [threading.Thread(target=write, args=given) for given in ((sandbox, command.old), (other, command.new))]
        for thread in writers:
            thread.start()
        while any(thread.is_alive() for thread in writers):
            seen.add((folder / command.output).read_bytes())
        for thread in writers:
            thread.join()
    assert codes == [0] * 20 and seen == {old, new} and not litter(folder)


def test_a_temporary_file_that_is_in_use_is_no_litter(folder: Path) -> None:
    from dsl.files import replacing, write_atomically

    place = folder / "net.py"
    with replacing(place) as temporary:
        temporary.write_bytes(b"slow")
        write_atomically(place, b"quick")
        assert temporary.exists() and place.read_bytes() == b"quick"
    assert place.read_bytes() == b"slow" and not litter(folder)
