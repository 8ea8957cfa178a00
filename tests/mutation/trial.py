"""One mutant, one process: forked from one that has collected the tests, and given the changed function in place of its own.

A change in what runs at import is tried in a process forked before anything of ours is imported.
"""

from __future__ import annotations

import gc
import importlib
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType

import pytest

from tests.mutation.hook import install
from tests.mutation.mutators import Mutant, mutated

LIBRARIES = (
    "numpy",
    "networkx",
    "lark",
    "yaml",
    "safetensors.numpy",
    "click",
    "rich",
    "onnx",
    "onnxruntime",
    "torch",
    "jax",
    "jax.numpy",
)
SECONDS = 180.0
"""A test that does not end has noticed."""
FAILED = 70
"""The exit status of a child that ended by an exception, which is a mistake of ours."""
MEMORY = 48 << 30
"""Bytes of addresses; torch and XLA reserve much and use little."""
ARGUMENTS = ("-q", "-s", "-p", "no:cacheprovider")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`killed` by the test named `by`, or `by` "timeout" or "import"; `tests` is how many could have."""

    killed: bool
    by: str
    tests: int


Said = Callable[[Mutant, Verdict], None]


def warm_up() -> None:
    """Import what the tests import, so that the children need not."""
    for name in LIBRARIES:
        importlib.import_module(name)


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
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _verdict(status: int | None, mutant: Mutant, tests: Sequence[str], folder: Path) -> Verdict:
    who = folder / "killer"
    if status is None:
        return Verdict(True, "timeout", len(tests))
    if status in (FAILED, pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError(f"the trial of {mutant} did not work: {(folder / 'log').read_text()[-2000:]}")
    if status == 0:
        return Verdict(False, "", len(tests))
    return Verdict(True, who.read_text() if who.exists() else "import", len(tests))


# --- tests collected already ----------------------------------------------------------------------------------------------------------


class Trials:
    """The plugin that tries mutants in place of running the tests that pytest has collected."""

    def __init__(self, root: Path, work: Sequence[tuple[Mutant, Sequence[str]]], folder: Path, said: Said) -> None:
        self.root, self.work, self.folder, self.said = root, work, folder, said

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        live = _functions(self.root)
        gc.collect()
        gc.freeze()
        for mutant, tests in self.work:
            chosen = [items[test] for test in tests if test in items]
            (self.folder / "killer").unlink(missing_ok=True)
            status = in_child(lambda: self._one(live, mutant, chosen), self.folder / "log", SECONDS)  # noqa: B023
            self.said(mutant, _verdict(status, mutant, tests, self.folder))
        return True

    def _one(self, live: Mapping[str, list[FunctionType]], mutant: Mutant, items: Sequence[pytest.Item]) -> int:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        _exchange(self.root, live.get(str(self.root / mutant.path), []), mutant)
        first = _First(self.folder / "killer")
        items[0].config.pluginmanager.register(first)
        for item, after in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if first.failed:
                return 1
        return 0


class _First:
    """Notes the first test that fails."""

    def __init__(self, out: Path) -> None:
        self.out, self.failed = out, False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = True
            self.out.write_text(report.nodeid)


def try_collected(
    root: Path, work: Sequence[tuple[Mutant, Sequence[str]]], files: Sequence[str], folder: Path, said: Said
) -> None:
    """Collect the tests once, in this process, and try each mutant with its tests."""
    plugin = Trials(root, work, folder, said)
    status = pytest.main([*ARGUMENTS, f"--basetemp={folder / 'tmp'}", *files], plugins=[plugin])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError(f"the trials ended with {status!r}")


def _functions(root: Path) -> dict[str, list[FunctionType]]:
    found: dict[str, list[FunctionType]] = {}
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename.startswith(str(root)):
            found.setdefault(thing.__code__.co_filename, []).append(thing)
    return found


def _exchange(root: Path, functions: Sequence[FunctionType], mutant: Mutant) -> None:
    """Give the functions of a file the code that they have in the mutant."""
    new = _changed_codes(root, mutant)
    changed = 0
    for function in functions:
        code = new.get(_name(function.__code__))
        if code is not None:
            function.__code__ = code
            changed += 1
    if not changed:
        raise RuntimeError(f"no function has changed: {mutant}")


def exchangeable(root: Path, mutant: Mutant) -> bool:
    """Whether functions that exist can be given the changed code: it has to have the same variables of the functions around it."""
    own, new = _codes(root / mutant.path), _changed_codes(root, mutant)
    return bool(new) and all(own[name].co_freevars == code.co_freevars for name, code in new.items())


Name = tuple[str, int, int]


def _name(code: CodeType) -> Name:
    """Qualified name and place: two lambdas of one line differ in their column."""
    column = next((c for _, _, c, _ in list(code.co_positions())[1:] if c is not None), 0) if code.co_name == "<lambda>" else 0
    return code.co_qualname, code.co_firstlineno, column


def _changed_codes(root: Path, mutant: Mutant) -> dict[Name, CodeType]:
    path = root / mutant.path
    tree = mutated(path.read_text(), mutant)
    new = {_name(c): c for c in _inside(compile(tree, str(path), "exec", dont_inherit=True))}
    return {name: new[name] for name, code in _codes(path).items() if name in new and new[name] != code}


@cache
def _codes(path: Path) -> dict[Name, CodeType]:
    return {_name(c): c for c in _inside(compile(path.read_text(), str(path), "exec", dont_inherit=True))}


def _inside(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _inside(constant)


# --- from the start -------------------------------------------------------------------------------------------------------------------


class _Chosen:
    """Runs only these tests, in this order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.order = {test: i for i, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self.order), key=lambda i: self.order[i.nodeid])


def try_from_the_start(root: Path, mutant: Mutant, tests: Sequence[str], folder: Path) -> Verdict:
    """Whether one of the tests fails where the file is imported with the change. Our files must not be imported here."""
    (folder / "killer").unlink(missing_ok=True)

    def work() -> int:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        install(root, {mutant.path: lambda text: mutated(text, mutant)})
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        plugins = [_Chosen(tests), _First(folder / "killer")]
        return int(pytest.main(["-x", *ARGUMENTS, f"--basetemp={folder / 'tmp'}", *files], plugins=plugins))

    return _verdict(in_child(work, folder / "log", SECONDS), mutant, tests, folder)
