"""What the nodes of an ONNX body are made of: tensors, parameters, places to read sizes at, nodes before they are protobufs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

import numpy as np
from onnx import GraphProto, TensorProto

from dsl.dims import DimTree
from dsl.types import DType

Attribute = int | float | str | Sequence[int] | Sequence[float] | Sequence[str] | TensorProto | None

LAST = np.iinfo(np.int64).max
FIRST = np.iinfo(np.int64).min


class Tensor(NamedTuple):
    name: str
    dtype: DType


class Gates(NamedTuple):
    """How the gates of a recurrent layer are stored: `order` says which of the library's comes first, second, ... ; each parameter is
    followed by as many zeros where `padded`; the whole has an axis of `directions` in front."""

    order: tuple[int, ...]
    directions: int = 1
    padded: bool = False

    def stored(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """The initializer for parameters in the library's order of gates."""
        turned: list[np.ndarray] = []
        for part in parts:
            blocks = np.split(part, len(self.order))
            turned.append(np.concatenate([blocks[i] for i in self.order]))
            if self.padded:
                turned.append(np.zeros_like(part))
        whole = np.concatenate(turned)
        return whole.reshape(self.directions, -1, *whole.shape[1:])


class Weight(NamedTuple):
    """A parameter by its full name; several of them joined along their first axis; or the transpose of that. The first of the several
    is multiplied by `scale`. Those of a recurrent layer are joined as `gates` says."""

    paths: tuple[str, ...]
    transposed: bool = False
    scale: float = 1.0
    gates: Gates | None = None

    @property
    def name(self) -> str:
        """`conv1.weight`, `attn.q_k_v.weight.T`."""
        parts = [path.split(".") for path in self.paths]
        middle = next((i for i, words in enumerate(zip(*parts, strict=False)) if len(set(words)) > 1), 0)
        joined = ".".join([*parts[0][:middle], "_".join(dict.fromkeys(p[middle] for p in parts)), *parts[0][middle + 1 :]])
        return (joined if len(parts) > 1 else self.paths[0]) + (".T" if self.transposed else ".gates" if self.gates else "")

    def under(self, prefix: str) -> Weight:
        """The same in the names of a caller."""
        return self._replace(paths=tuple(prefix + p for p in self.paths))


class Source(NamedTuple):
    """Where a symbolic size is to be read: an axis of a tensor."""

    name: str
    axis: int


class Subgraph(Protocol):
    """The body of a loop: what it reads from around it, and what it is in a file."""

    def reads(self) -> set[str]: ...

    def proto(self) -> GraphProto: ...


@dataclass(slots=True)
class Step:
    """A node before it is a NodeProto. A loop has a body."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Attribute]
    domain: str = ""
    loop: Subgraph | None = None

    def reads(self) -> list[str]:
        """Inputs, and what the body of a loop takes from around it."""
        return self.inputs if self.loop is None else [*self.inputs, *sorted(self.loop.reads())]


def composed(first: Step, second: Mapping[str, Attribute]) -> list[int]:
    """The order of axes of two transpositions, one after the other."""
    inner, outer = cast("list[int]", first.attributes["perm"]), cast("list[int]", second["perm"])
    return [inner[i] for i in outer]


def lowest(tree: DimTree) -> int | None:
    """A lower bound of a size whose symbols are at least 1; None where it has none."""
    match tree:
        case ("const", int(n)):
            return n
        case ("symbol", _):
            return 1
        case ("add", list(parts)):
            bounds = [lowest(p) for p in parts]
            return None if None in bounds else sum(b for b in bounds if b is not None)
        case ("mul" | "max" | "min" as kind, list(parts)):
            bounds = [lowest(p) for p in parts]
            if any(b is None or b < 0 for b in bounds):
                return None
            found = [b for b in bounds if b is not None]
            return int(np.prod(found)) if kind == "mul" else max(found) if kind == "max" else min(found)
        case ("floordiv", tuple(a), _):
            top = lowest(a)
            return None if top is None or top < 0 else 0
        case _:
            return None


def constant_name(array: np.ndarray, dtype: DType) -> str:
    """`i64_0_2`, `f32_0.5`, or the shape where there are many."""
    if array.size == 0 or array.size > 4:
        return f"const_{dtype}_{'x'.join(map(str, array.shape))}"
    words = [f"{v:.6g}" if dtype.is_float else str(int(v)) for v in array.reshape(-1).tolist()]
    text = "_".join({str(LAST): "last", str(FIRST): "first"}.get(w, w) for w in words)
    return re.sub(r"[^A-Za-z0-9_.]", "m", f"{dtype}_{text}" + ("" if array.ndim else "_scalar"))
