"""Locks that processes hold on files and folders. The system takes them from a process that ends, however it does.

Windows has none of this kind: there nothing is locked.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def lock(descriptor: int, *, wait: bool) -> bool:
    """Whether this process alone has the file now. False on a system, or a disk, without locks, too."""
    try:
        return _locked(descriptor, wait)
    except BlockingIOError:
        return False


def _locked(descriptor: int, wait: bool) -> bool:
    """False where there are no locks; BlockingIOError where another process has the file."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


@contextmanager
def folder_locked(folder: Path) -> Iterator[bool]:
    """Keep other processes out of the blocks that lock the same folder. Whether that is so, which it is not on a system without locks."""
    if sys.platform == "win32":
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield lock(descriptor, wait=True)
    finally:
        os.close(descriptor)


@contextmanager
def only_process(file: Path) -> Iterator[bool]:
    """Have a file that one process at a time has; it goes with the block. Whether no other one has it, which is not known on a system
    without locks."""
    if sys.platform == "win32":
        yield True
        return
    descriptor = _opened(file)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            file.unlink(missing_ok=True)
            os.close(descriptor)


def _opened(file: Path) -> int | None:
    """The file, locked; None where another process has it."""
    while True:
        descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            _locked(descriptor, wait=False)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # the process that had it has just removed it
