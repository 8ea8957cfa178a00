"""What is demanded of dslc whatever it is given: an answer in words and an exit code, in time, in memory, and no file touched."""

from __future__ import annotations

import re
import signal
import tempfile
from pathlib import Path

from tests.fuzz_input.cases import Case
from tests.sandbox import ESCAPED, SECONDS, Ended, Sandbox

ANSWERS = frozenset({0, 1, 2, 4})
"""All is well, the spec is wrong, the command line is wrong, a file cannot be read."""

_TERMINAL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What would change how a terminal shows a message."""

_PLACE = re.compile(r"\((\w+\.py:\d+)\)|line \d+, in (\w+)\n(?!.*line \d+, in )", re.DOTALL)


def problem(sandbox: Sandbox, case: Case) -> str | None:
    """Run a case; what is wrong with the answer, in words that are the same for the same fault, or None."""
    with tempfile.TemporaryDirectory(prefix="dslc-fuzz-") as name:
        folder = Path(name)
        write_files(folder, case)
        before = _contents(folder, case)
        ended = sandbox.run(case.arguments, folder, shared=True)
        after = _contents(folder, case)
    if after != before:
        return "a file was written"
    return _wrong(ended)


def write_files(folder: Path, case: Case) -> None:
    """Put the files of a case where they belong."""
    for file, data in case.files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)


def _contents(folder: Path, case: Case) -> dict[str, bytes]:
    """All files that the command line may not change."""
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {str(name): path.read_bytes() for name, path in found.items() if name.parts[0] != case.writes}


def _wrong(ended: Ended) -> str | None:
    if ended.code == -signal.SIGXCPU:
        return f"it took more than {SECONDS} s"
    if ended.code == -signal.SIGKILL:
        return "it waits for ever"
    if ended.code < 0:
        return f"it was ended by {signal.Signals(-ended.code).name}"
    if "out of memory" in ended.error or "MemoryError" in ended.error:
        return "it took more than 1 GB"
    if ended.code == ESCAPED or "internal error" in ended.error or "Traceback" in ended.error:
        place = _PLACE.search(ended.error)
        return f"{_kind(ended.error)} in {(place[1] or place[2]) if place else '?'}"
    if ended.code not in ANSWERS:
        return f"the exit code {ended.code}"
    if ended.code and not re.search(r"(?m)^(error|Error)", ended.error):
        return "no word of why"
    if _TERMINAL.search(ended.error + ended.output):
        return "control characters on the terminal"
    return None


def _kind(error: str) -> str:
    found = re.search(r"internal error: (\w+)", error) or re.search(r"(?m)^(\w+): .*\Z", error.strip())
    return found[1] if found else "an exception"
