"""One mutant, one process: forked from one that has imported the libraries and none of our files."""

from __future__ import annotations

import gc
import importlib
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutation.hook import install
from tests.mutation.mutators import Mutant, mutated

LIBRARIES = (
    "numpy", "networkx", "lark", "yaml", "safetensors.numpy", "click", "rich", "onnx", "onnxruntime", "torch", "jax",
    "jax.numpy",
)  # fmt: skip
SECONDS = 90.0
"""A test that does not end has noticed."""
FAILED = 70
"""The exit status of a child that ended by an exception, which is a mistake of ours."""
MEMORY = 48 << 30
"""Bytes of addresses; torch and XLA reserve much and use little."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`killed` by the test named `by`, or `by` "timeout" or "import"; `tests` is how many could have."""

    killed: bool
    by: str
    tests: int


def warm_up() -> None:
    """Import what the tests import, so that the children need not."""
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def in_child(work: Callable[[], int], log: Path, seconds: float) -> int | None:
    """The exit status of `work` in a forked process; None where it had to be stopped."""
    child = os.fork()
    if child == 0:
        status = FAILED
        try:
            os.setsid()
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(out, 1)
            os.dup2(out, 2)
            status = work()
        finally:
            if status == FAILED:
                traceback.print_exc()
            os._exit(status)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


class _Chosen:
    """Runs only these tests, in this order, and notes the first that fails."""

    def __init__(self, tests: Sequence[str], out: Path) -> None:
        self.order = {test: i for i, test in enumerate(tests)}
        self.out = out

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self.order), key=lambda i: self.order[i.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.out.write_text(report.nodeid)


def tried(root: Path, mutant: Mutant, tests: Sequence[str], folder: Path) -> Verdict:
    """Whether one of the tests fails on the mutant."""
    if not tests:
        return Verdict(False, "", 0)
    who = folder / "killer"
    who.unlink(missing_ok=True)

    def work() -> int:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        install(root, {mutant.path: lambda text: mutated(text, mutant)})
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *files], plugins=[_Chosen(tests, who)]))

    status = in_child(work, folder / "log", SECONDS)
    if status is None:
        return Verdict(True, "timeout", len(tests))
    if status == 0:
        return Verdict(False, "", len(tests))
    if status in (FAILED, 4, 5):
        raise RuntimeError(f"the trial of {mutant} did not work: {(folder / 'log').read_text()[-2000:]}")
    return Verdict(True, who.read_text() if who.exists() else "import", len(tests))
