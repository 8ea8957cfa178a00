"""What can be compiled to: the backends, the packages each needs, and whether those are here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

from backends.base import Backend, find, names
from dsl.diagnostics import Diagnostic, SpecError

MISSING = 3
"""The exit code of a backend that is not installed, or too old."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package that a backend needs: the version that is installed, and the oldest that will do."""

    name: str
    installed: str | None
    oldest: str | None

    @property
    def works(self) -> bool:
        return self.installed is not None and (self.oldest is None or _numbers(self.installed) >= _numbers(self.oldest))


@dataclass(frozen=True, slots=True)
class Target:
    """A backend as `dslc targets` shows it. `installed` says that its packages are here and new enough."""

    name: str
    summary: str
    training: bool
    packages: tuple[Package, ...]

    @property
    def installed(self) -> bool:
        return all(p.works for p in self.packages)


def targets() -> tuple[Target, ...]:
    """All backends. Those that cannot even be imported are listed with what they lack."""
    found = []
    for name in names():
        try:
            one = find(name)
        except ModuleNotFoundError as error:
            found.append(Target(name, "not installed", False, (Package(_distribution(error), None, None),)))
        else:
            found.append(Target(name, one.summary, one.training, tuple(_package(p) for p in one.requires)))
    return tuple(found)


def backend(name: str) -> Backend:
    """The backend of that name; SpecError with exit code 2 when there is none, 3 when its package is missing."""
    with explain_missing(name):
        return find(name)


@contextmanager
def explain_missing(name: str) -> Iterator[None]:
    """Turn a package that is not there, or too old, into a SpecError that says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = _distribution(error)
        if package in ("dsl", "backends") or find_spec(package) is not None:
            raise
        raise SpecError(
            Diagnostic(
                "DL0708", f"the backend `{name}` needs the package `{package}`, which is not installed", help=_install(name)
            ),
            exit_code=MISSING,
        ) from None


def require_packages(one: Backend) -> None:
    """Raise unless what the backend needs to run is installed and new enough."""
    for package in (_package(p) for p in one.requires):
        if package.works:
            continue
        state = "is not installed" if package.installed is None else f"is {package.installed} here, older than {package.oldest}"
        message = f"the backend `{one.name}` needs the package `{package.name}`, which {state}"
        raise SpecError(Diagnostic("DL0708", message, help=_install(one.name)), exit_code=MISSING)


def _install(name: str) -> str:
    return f"pip install 'dslc[{name}]'"


def _distribution(error: ModuleNotFoundError) -> str:
    return (error.name or "").split(".")[0]


def _package(name: str) -> Package:
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version(name)
    except PackageNotFoundError:
        installed = None
    return Package(name, installed, _oldest().get(name))


def _oldest() -> dict[str, str]:
    """The oldest versions that pyproject.toml declares."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires("dslc") or []
    except PackageNotFoundError:
        return {}
    matches = (re.match(r"([\w.-]+)>=([\w.]+)", line) for line in lines)
    return {m[1]: m[2] for m in matches if m}


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text.split("+")[0])[:3])
