"""What is said of data that cannot be used: how it is named, whether it can be read, and whether it has what a block asks for.

The exit codes follow from whose mistake it is: 2 where `--data` is written wrong, 3 where a package is missing, 4 where a file cannot
be read, 1 where the data can be read and does not fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dsl.diagnostics import Diagnostic, SpecError
from dsl.types import TensorType

CANNOT_READ = 4
MISSING_PACKAGE = 3
COMMAND_LINE = 2

MOST_SHOWN = 20
"""How many names a message lists."""


def unknown(message: str, help: str | None = None, exit_code: int = COMMAND_LINE) -> SpecError:
    """The error for a `--data` that names nothing we can read."""
    return SpecError(Diagnostic("DL0831", message, help=help), exit_code)


def unreadable(path: str, reason: str, help: str | None = None) -> SpecError:
    """The error for a file that is missing, empty or damaged."""
    return SpecError(Diagnostic("DL0832", f"cannot read `{path}`: {reason}", help=help), CANNOT_READ)


def why(error: Exception) -> str:
    """What a library says is wrong with a file, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def missing_package(package: str, purpose: str) -> SpecError:
    """The error for a reader whose package is not installed."""
    diagnostic = Diagnostic("DL0708", f"{purpose} needs the package `{package}`", help="pip install 'dslc[data]'")
    return SpecError(diagnostic, MISSING_PACKAGE)


def unmatched(message: str, *, notes: Iterable[str] = (), help: str | None = None, exit_code: int = 1) -> SpecError:
    """The error for inputs and data whose names do not go together."""
    return SpecError(Diagnostic("DL0833", message, notes=tuple(notes), help=help), exit_code)


def declared(wanted: Mapping[str, TensorType]) -> str:
    """The inputs as the block declares them."""
    return listed(f"{name}: {type_}" for name, type_ in wanted.items())


def listed(words: Iterable[str]) -> str:
    """Words in backticks with commas, the first twenty of them."""
    shown = [f"`{word}`" for word in words]
    rest = len(shown) - MOST_SHOWN
    return ", ".join(shown[:MOST_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
