"""The small variants of the specs, from specs/small.toml, for the tests that run specs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dsl.compiler import compile_graph, compile_training
from dsl.ir import Program
from dsl.types import DType

SPECS = Path(__file__).parents[1] / "specs"


@dataclass(frozen=True, slots=True)
class Variant:
    """A model of a spec, or a `train` block, small enough to be run: `settings` are its hyper-parameters, `dims` the sizes to run it at,
    `refused` the backends that cannot express it; `gradients` whether its outputs are differentiated. `model` is None for the first model
    of the file."""

    spec: str
    model: str | None
    settings: Mapping[str, object]
    dims: Mapping[str, list[int]]
    refused: frozenset[str]
    gradients: bool

    @property
    def path(self) -> Path:
        return SPECS / self.spec

    @property
    def is_training(self) -> bool:
        return self.model is not None and f"\ntrain {self.model}" in self.path.read_text()

    @property
    def sizes(self) -> list[dict[str, int]]:
        """As many assignments as the longest list of sizes has entries; shorter lists repeat their last."""
        longest = max((len(sizes) for sizes in self.dims.values()), default=1)
        return [{name: sizes[min(i, len(sizes) - 1)] for name, sizes in self.dims.items()} for i in range(longest)]

    def program(self, float_type: DType = DType.F32) -> Program:
        if self.is_training:
            return compile_training(self.path, self.settings, name=self.model, float_type=float_type)[0].program
        return compile_graph(self.path, self.settings, model=self.model, float_type=float_type)


def _variant(key: str, values: Mapping[str, object]) -> Variant:
    spec, _, model = key.partition(":")
    settings = {name: value for name, value in values.items() if name not in ("dims", "refused", "gradients")}
    dims, refused = values.get("dims", {}), values.get("refused", [])
    assert isinstance(dims, dict) and isinstance(refused, list)
    return Variant(spec, model or None, settings, dims, frozenset(refused), bool(values.get("gradients", True)))


VARIANTS = {key: _variant(key, values) for key, values in tomllib.loads((SPECS / "small.toml").read_text()).items()}
"""By the key in small.toml: `folder/file.dl`, or `folder/file.dl:Name` for another model or a `train` block of the file."""
