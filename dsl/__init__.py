"""dslc: neural networks as readable specs, compiled to PyTorch, JAX and ONNX, and proved equal.

The names below are the commands of `dslc` for Python. Each is imported when it is first used, so that `import dsl` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsl.compiler import check, convert, init, run
    from dsl.compiler import compile_spec as compile
    from dsl.compiler import format_source as fmt
    from dsl.compiler import show_spec as show
    from dsl.compiler import verify_spec as verify
    from dsl.diagnostics import Diagnostic, SpecError
    from dsl.source import Source
    from dsl.target import targets

__all__ = [
    "Diagnostic",
    "Source",
    "SpecError",
    "check",
    "compile",
    "convert",
    "fmt",
    "init",
    "run",
    "show",
    "targets",
    "verify",
]

_PLACES = {
    "Diagnostic": "diagnostics:Diagnostic",
    "Source": "source:Source",
    "SpecError": "diagnostics:SpecError",
    "check": "compiler:check",
    "compile": "compiler:compile_spec",
    "convert": "compiler:convert",
    "fmt": "compiler:format_source",
    "init": "compiler:init",
    "run": "compiler:run",
    "show": "compiler:show_spec",
    "targets": "target:targets",
    "verify": "compiler:verify_spec",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module `dsl` has no attribute `{name}`")
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(import_module(f"dsl.{module}"), attribute)


def __dir__() -> list[str]:
    return __all__
