"""Command lines in processes of their own, at the price of a fork: a crash, a hang or a kill ends such a process and no test.

`Sandbox` starts one process that has imported the compiler, and forks it for each command line. `python -m tests.sandbox` is that process.
"""

from __future__ import annotations

import gc
import importlib
import json
import math
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[1]
MEMORY = 1024**3
"""How many bytes a command line may take beyond those of the process that it is forked from."""
SECONDS = 5
"""How much time of a processor a command line may take."""
PATIENCE = 120.0
"""How long a command line may take by the clock. Other work on the machine is no fault of it, so this only ends what waits for ever."""
MOST_TEXT = 1 << 16
"""How many bytes of what a command line prints are kept."""
MOST_COMMANDS = 500
"""After how many command lines a shared process is replaced."""
NOBODY = 65534
"""The user without rights."""
ESCAPED = 99
"""What ends a command line with an exception that nobody caught."""

WARM = (["check", "specs/cnn/lenet.dl"],)
"""Command lines after which most of the compiler is imported."""
READERS = ("dsl.inputs", "dsl.weights", "dsl.commands.run", "PIL.Image")
"""Modules that read what is not a spec."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command line ended. `code` is its exit code, or minus the number of the signal that ended it."""

    code: int
    seconds: float
    output: str
    error: str


class Sandbox:
    """Runs command lines of `dslc`. Those of `warm_up` are run, and `modules` imported, before the first fork."""

    def __init__(self, *warm_up: Sequence[str], modules: Sequence[str] = ()) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
        environment.pop("DSLC_TRACEBACK", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.sandbox", json.dumps([list(modules), [list(a) for a in warm_up]])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
        )  # fmt: skip
        self._lock = threading.Lock()
        self._reply()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process; the next command line would be an error."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        stdin: bytes = b"",
        after: float | None = None,
        before: int | None = None,
        sent: signal.Signals = signal.SIGKILL,
        limited: bool = True,
        shared: bool = False,
        disk: int | None = None,
        unprivileged: bool = False,
    ) -> Ended:
        """Run `dslc ARGUMENTS` in a folder; `after` so many seconds it gets the signal `sent`, or it kills itself `before` its so many-th
        change of the file system (see `CHANGES`), counted from 0. Without `limited` it may take its time.
        With `disk` no file grows beyond so many bytes; `unprivileged` gives up the rights of root.
        `shared` is quicker: command lines follow one another in one process, as long as none ends it."""
        request = {
            "arguments": list(arguments),
            "folder": str(folder),
            "stdin": stdin.decode("latin-1"),
            "after": after,
            "before": before,
            "signal": int(sent),
            "limited": limited,
            "disk": disk,
            "unprivileged": unprivileged,
            "shared": shared,
        }
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            found = self._reply()
        code, seconds, output, error = found["code"], found["seconds"], found["output"], found["error"]
        assert isinstance(code, int) and isinstance(seconds, float) and isinstance(output, str) and isinstance(error, str)
        return Ended(code, seconds, output, error)

    def _reply(self) -> Mapping[str, object]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process of the sandbox has ended"
        found = json.loads(line)
        assert isinstance(found, dict)
        return found


# --- in the process of the sandbox ----------------------------------------------------------------------------------------------------


def serve() -> None:
    """Read requests from standard input, and answer each with a line on what was standard output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    modules, warm_up = json.loads(sys.argv[1])
    _warm_up(modules, warm_up)
    worker = _Worker()
    answers.write("{}\n")
    answers.flush()
    for line in sys.stdin:
        request = json.loads(line)
        found = worker.run(request) if request["shared"] else _alone(request)
        answers.write(json.dumps(found) + "\n")
        answers.flush()
    worker.end()


def _warm_up(modules: list[str], commands: list[list[str]]) -> None:
    """Import what commands need, and read the library, so that no forked process has to."""
    from dsl import cli
    from dsl.loader import library_index, library_unit

    for path in dict.fromkeys(library_index().values()):
        library_unit(path)
    for module in ("dsl.load_yaml", "dsl.compiler", *modules):
        importlib.import_module(module)
    for arguments in commands:
        code = cli.run(arguments)
        if code:
            raise SystemExit(f"`{' '.join(arguments)}` ended with {code}")
    gc.collect()
    gc.freeze()


class _Streams:
    """Standard input, output and error of a forked process, as files in memory that outlive it."""

    def __init__(self) -> None:
        self.files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]

    def give(self, text: str) -> None:
        for file in self.files:
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
        os.write(self.files[0], text.encode("latin-1"))
        os.lseek(self.files[0], 0, os.SEEK_SET)

    def printed(self) -> dict[str, object]:
        return {"output": self._text(1), "error": self._text(2)}

    def _text(self, i: int) -> str:
        return os.pread(self.files[i], MOST_TEXT, 0).decode(errors="replace")

    def take_over(self) -> None:
        """Make them the standard streams of this process."""
        for i, file in enumerate(self.files):
            os.dup2(file, i)
        self.begin()

    @staticmethod
    def begin() -> None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115

    def close(self) -> None:
        for file in self.files:
            os.close(file)


def _alone(request: Mapping[str, object]) -> dict[str, object]:
    """Run a command line in a process of its own."""
    streams = _Streams()
    streams.give(str(request["stdin"]))
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        streams.take_over()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if isinstance(request["before"], int):
            _kill_before(request["before"])
        os._exit(_command(request))
    after, number = request["after"], request["signal"]
    assert (after is None or isinstance(after, float)) and isinstance(number, int)
    status = _awaited(child, start, after, number)
    found = {"code": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - start, **streams.printed()}
    streams.close()
    return found


def _awaited(child: int, start: float, after: float | None, number: int) -> int:
    """The status with which a process ends, which gets a signal at the time `after`, and is killed where it goes on for ever."""
    ends = os.pidfd_open(child)
    try:
        if after is not None and not select.select([ends], [], [], max(start + after - time.monotonic(), 0))[0]:
            os.kill(child, number)
        if not select.select([ends], [], [], PATIENCE)[0]:
            os.kill(child, signal.SIGKILL)
        return os.waitpid(child, 0)[1]
    finally:
        os.close(ends)


CHANGES = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod", "os.truncate", "shutil.rmtree"}
)
"""The events of Python's audit hooks by which a command line changes files; of `open` those that write."""


def _kill_before(wanted: int) -> None:
    """Have this process kill itself before a change of the file system."""
    count = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event not in CHANGES or (event == "open" and not _writes(arguments)):
            return
        if count == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    sys.addaudithook(hook)


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2] if len(arguments) > 2 else 0
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


class _Worker:
    """A forked process that runs many command lines, one after the other; the next one follows where one ends it."""

    def __init__(self) -> None:
        self.streams = _Streams()
        self.child = 0
        self.count = 0
        self.requests = self.codes = -1

    def run(self, request: Mapping[str, object]) -> dict[str, object]:
        if not self.child or self.count >= MOST_COMMANDS:
            self.end()
            self._begin()
        self.count += 1
        self.streams.give(str(request["stdin"]))
        start = time.monotonic()
        os.write(self.requests, (json.dumps(request) + "\n").encode())
        if not select.select([self.codes], [], [], PATIENCE)[0]:
            os.kill(self.child, signal.SIGKILL)
        answer = os.read(self.codes, 16)
        code = int(answer) if answer else os.waitstatus_to_exitcode(self._ended())
        return {"code": code, "seconds": time.monotonic() - start, **self.streams.printed()}

    def end(self) -> None:
        if self.child:
            os.close(self.requests)
            self.requests = -1
            self._ended()

    def _begin(self) -> None:
        reads, self.requests = os.pipe()
        self.codes, writes = os.pipe()
        self.count = 0
        self.child = os.fork()
        if self.child == 0:
            os.close(self.requests)
            os.close(self.codes)
            self.streams.take_over()
            with os.fdopen(reads) as requests:
                for line in requests:
                    self.streams.begin()
                    os.write(writes, str(_command(json.loads(line))).encode())
            os._exit(0)
        os.close(reads)
        os.close(writes)

    def _ended(self) -> int:
        status = os.waitpid(self.child, 0)[1]
        os.close(self.codes)
        if self.requests >= 0:
            os.close(self.requests)
        self.child = 0
        return status


def _command(request: Mapping[str, object]) -> int:
    """Run the command line of a request in this process, within the limits, and give its exit code."""
    from dsl import cli

    arguments = request["arguments"]
    assert isinstance(arguments, list)
    os.chdir(str(request["folder"]))
    if request["limited"]:
        _limit()
    if isinstance(request["disk"], int):
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["disk"], request["disk"]))
    if request["unprivileged"] and os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        cli.main(arguments)
        return 0
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else ESCAPED
    except BaseException:  # what the command line let through is the finding, whatever it is
        traceback.print_exc()
        return ESCAPED
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _limit() -> None:
    """Limit the memory beyond what the process has taken, once, and the time of the processor beyond what it has taken, each time."""
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        with open("/proc/self/statm") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + SECONDS, resource.RLIM_INFINITY))


if __name__ == "__main__":
    serve()
