"""The text of a generated PyTorch file: header, imports, then its classes and functions."""

from __future__ import annotations

import ast
import re
from collections.abc import Hashable, Sequence

from backends.base import EmitOptions
from backends.torch_module import define
from backends.torch_names import RESERVED
from backends.torch_units import Tree, Unit, structure
from backends.writer import Line, Namespace, docstring, rendered
from dsl.ir import Program

_STANDARD = ("argparse", "math")
_IMPORTS = (
    ("np", "import numpy as np"),
    ("torch", "import torch"),
    ("F", "import torch.nn.functional as F"),
)

_CALLS_ENTRY = re.compile(r"functional_call\(\s*Entry\(")
_ENTRY = '''class Entry(nn.Module):
    """A method of a layer as a module, for `torch.func.functional_call`."""

    def __init__(self, layer: nn.Module, method: str) -> None:
        super().__init__()
        self.layer = layer
        self.method = method

    def forward(self, *inputs: Tensor, **options: torch.Generator | None) -> object:
        return getattr(self.layer, self.method)(*inputs, **options)
'''

_SCRATCH = '''@contextmanager
def scratch_buffers(module: nn.Module) -> Iterator[None]:
    """In here the buffers are copies: gradients may not change what is outside."""
    kept = [
        (part, name, buffer)
        for part in module.modules()
        for name, buffer in part.named_buffers(recurse=False)
    ]
    for part, name, buffer in kept:
        setattr(part, name, buffer.clone())
    try:
        yield
    finally:
        for part, name, buffer in kept:
            setattr(part, name, buffer)
'''


def source_of(program: Program, options: EmitOptions) -> str:
    """The text of the file."""
    return assembled(program.name, options, definitions(Tree(list(program.entries.values())), Namespace(RESERVED)))


def definitions(tree: Tree, names: Namespace) -> list[str]:
    """The classes and functions of a tree of units, those that others use before them."""
    blocks: list[tuple[Line, ...]] = []
    for level in tree.by_height():
        alike: dict[Hashable, list[Unit]] = {}
        known: dict[tuple[Line, ...], str] = {}
        for unit in level:
            alike.setdefault(structure(unit), []).append(unit)
        for units in alike.values():
            for definition, lines in define(units, names, tree.root):
                body = lines[1:] if lines[0].prefix.startswith("class ") else lines  # line 0 of a class has its name
                first = known.setdefault(body, definition.name)
                if first == definition.name:
                    blocks.append(lines)
                else:
                    definition.name = first
    texts = [rendered([*lines, Line(0, "")]).rstrip("\n") + "\n" for lines in blocks]
    helpers = [_ENTRY] if any(_CALLS_ENTRY.search(text) for text in texts) else []
    helpers += [_SCRATCH] if any("with scratch_buffers(self):" in text for text in texts) else []
    return [*helpers, *texts]


def assembled(name: str, options: EmitOptions, parts: Sequence[str]) -> str:
    """The file with these definitions, below the imports that they need."""
    version = f" {options.version}" if options.version else ""
    source = f" from {options.source}" if options.source else ""
    header = rendered(docstring(f"{name}, compiled by dslc{version}{source}.", 0))
    body = "\n\n".join(parts)
    return f"{header}\n{_imports(body)}\n\n{body}"


def _imports(body: str) -> str:
    used = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    lines = [f"import {name}" for name in _STANDARD if name in used]
    abstract = [name for name in ("Callable", "Iterable", "Iterator") if name in used]
    lines += [f"from collections.abc import {', '.join(abstract)}"] if abstract else []
    lines += ["from contextlib import contextmanager"] if "contextmanager" in used else []
    lines += [""] if lines else []
    lines += [line for name, line in _IMPORTS if name in used]
    together = [name for name in ("Tensor", "nn") if name in used]
    if together:
        lines.append(f"from torch import {', '.join(together)}")
    return "".join(f"{line}\n" for line in lines)
