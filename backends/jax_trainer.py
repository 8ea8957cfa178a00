"""Running a generated JAX training in this process, step by step, for the loop that reads data and keeps checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import cast

import jax
import numpy as np

from backends.base import Arrays, Number
from backends.jax_session import array, device_called, given
from dsl.training import Training
from dsl.types import DType

Tree = dict[str, object]


class JaxTraining:
    """The state of a training and the jitted functions of the file. Draws of step n are by the key of the seed with n folded in."""

    def __init__(
        self, source: str, training: Training, weights: Arrays, *, drawing: bool, x64: bool, seed: int, device: str
    ) -> None:
        self.training = training
        self.x64 = x64
        self.device = device_called(device)
        self.module = ModuleType(training.name)
        with self._settings():
            exec(compile(source, f"<{training.name} in JAX>", "exec"), self.module.__dict__)
            self.key = [jax.random.key(seed)] if drawing else []
            self.tree = self._begun(weights)

    def _begun(self, weights: Arrays) -> Tree:
        made = self._function("from_named")(dict(weights))
        trees = cast("tuple[object, ...]", made) if isinstance(made, tuple) else (made,)
        return cast("Tree", self._function("init_training")(*trees))

    def step(self, number: int, batch: Arrays) -> Mapping[str, Number]:
        with self._settings():
            found = self._function("train_step")(self.tree, *self.key, *self._given(batch))
        self.tree, results = cast("tuple[Tree, dict[str, Number]]", found)
        turns = {o.name: o for o in self.training.objectives if number % o.every}
        entries = {name for o in turns.values() for name in (o.name, *list(self.training.program.entries[o.entry].outputs)[1:])}
        return {name: value for name, value in results.items() if name not in entries}

    def evaluate(self, batch: Arrays) -> Mapping[str, Number]:
        with self._settings():
            return cast("dict[str, Number]", self._function("evaluate")(self.tree, *self.key, *self._given(batch)))

    def _given(self, batch: Arrays) -> list[jax.Array]:
        return [given(np.asarray(batch[name]), type_.dtype) for name, type_ in self.training.inputs.items()]

    def scale(self, key: str, factor: float) -> None:
        scales = cast("dict[str, object]", self.tree["scales"])
        self.tree = {**self.tree, "scales": {**scales, key: jax.numpy.float32(factor)}}

    def weights(self) -> Arrays:
        trees = [self.tree[name] for name in ("params", "state") if name in self.tree]
        named = cast("Mapping[str, jax.Array]", self._function("to_named")(*trees))
        owned = self.training.program.parameters()
        arrays = {name: array(leaf) for name, leaf in named.items()}
        wide = {name: x.astype(np.int64) for name, x in arrays.items() if owned[name].type.dtype is DType.I64}  # JAX has i32
        return {**arrays, **wide}

    def moments(self) -> Arrays:
        leaves = jax.tree_util.tree_leaves_with_path(self._kept())
        return {_name(path): array(leaf) for path, leaf in leaves}

    def _kept(self) -> Tree:
        return {name: self.tree[name] for name in ("moments", "step")}

    def restore(self, weights: Arrays, moments: Arrays) -> None:
        with self._settings():
            begun = self._begun(weights)
            kept = {name: begun[name] for name in ("moments", "step")}
            leaves = jax.tree_util.tree_leaves_with_path(kept)
            if {_name(path) for path, _ in leaves} != set(moments):
                raise KeyError("the moments are another program's")
            restored = jax.tree_util.tree_map_with_path(
                lambda path, leaf: jax.numpy.asarray(moments[_name(path)], leaf.dtype).reshape(leaf.shape), kept
            )
            trees = self._function("from_named")(dict(weights))
            named = dict(zip(("params", "state"), trees if isinstance(trees, tuple) else (trees,), strict=False))
            self.tree = {**begun, **named, **restored}

    def _function(self, name: str) -> Callable[..., object]:
        return cast("Callable[..., object]", self.module.__dict__[name])

    @contextmanager
    def _settings(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(jax.default_device(self.device))
            if self.x64:
                stack.enter_context(jax.enable_x64(True))
            yield


def _name(path: tuple[object, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
