"""Running a generated JAX program in this process. The only file of the backend that imports jax."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import cast

import jax
import numpy as np

from backends.base import Arrays, Result
from dsl.diagnostics import Diagnostic, SpecError
from dsl.ir import Program
from dsl.types import DType


class JaxSession:
    """A program with weights in it. Products are computed in full precision on every device, as comparisons need."""

    def __init__(
        self, source: str, program: Program, entries: Mapping[str, str], weights: Arrays, x64: bool, device: str
    ) -> None:  # fmt: skip
        self.program = program
        self.entries = entries
        self.x64 = x64
        self.device = device_called(device)
        self.module = ModuleType(program.name)
        with self._settings():
            exec(compile(source, f"<{program.name} in JAX>", "exec"), self.module.__dict__)
            made = self._function("from_named")(dict(weights))
        self.stateful = any(not p.trained for p in program.parameters().values())
        self.params, self.state = cast("tuple[object, object]", made) if self.stateful else (made, None)
        self._compiled: dict[str, Callable[..., object]] = {}

    def run(self, inputs: Arrays, *, training: bool = False, entry: str = "forward") -> Result:
        graph = self.program.entries[entry]
        owned = [self.params, self.state] if self._takes_state(entry) else [self.params]
        with self._settings():
            feed = [given(inputs[name], graph.type(value).dtype) for name, value in graph.inputs.items()]
            found = self._jitted(entry)(*owned, *feed, training=training, key=jax.random.key(0))
            updates: dict[str, np.ndarray] = {}
            if self._takes_state(entry):
                found, state = cast("tuple[object, object]", found)
                named = cast("Mapping[str, jax.Array]", self._function("to_named")(state))
                updates = {name: array(leaf) for name, leaf in named.items()} if training else {}
            outputs = [found] if len(graph.outputs) == 1 else list(cast("tuple[object, ...]", found))
        return Result({name: array(value) for name, value in zip(graph.outputs, outputs, strict=True)}, updates)

    def _takes_state(self, entry: str) -> bool:
        code = self._function(self.entries[entry]).__code__
        return "state" in code.co_varnames[: code.co_argcount][1:2]

    def _function(self, name: str) -> Callable[..., object]:
        return cast("Callable[..., object]", self.module.__dict__[name])

    def _jitted(self, entry: str) -> Callable[..., object]:
        if entry not in self._compiled:
            self._compiled[entry] = jax.jit(self._function(self.entries[entry]), static_argnames="training")
        return self._compiled[entry]

    @contextmanager
    def _settings(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(jax.default_device(self.device))
            stack.enter_context(jax.default_matmul_precision("highest"))
            if self.x64:
                stack.enter_context(jax.enable_x64(True))
            yield


def given(value: np.ndarray, dtype: DType) -> jax.Array:
    """An input as an array of JAX; bf16 comes in the f32 that NumPy has for it."""
    return jax.numpy.asarray(value, jax.numpy.bfloat16 if dtype is DType.BF16 else None)


def device_called(name: str) -> jax.Device:
    """The device of that name; SpecError where this JAX does not run on it."""
    try:
        return jax.devices(name)[0]
    except RuntimeError:
        raise SpecError(Diagnostic("DL0703", f"this JAX does not run on `{name}`"), exit_code=3) from None


def array(value: object) -> np.ndarray:
    """A NumPy array of an element type that NumPy itself has."""
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array
