"""Running a generated JAX program in this process. The only file of the backend that imports jax."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import cast

import jax
import numpy as np

from backends.base import Arrays, Gradients, Result
from dsl.diagnostics import Diagnostic, SpecError
from dsl.ir import Program
from dsl.types import DType

QUICK: dict[str, str | bool | int | float] = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""For what runs once: compiling takes longer than running."""


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
        self.named = weights
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

    def gradients(self, inputs: Arrays, weights: Arrays, *, training: bool = False, entry: str = "forward") -> Gradients:
        graph = self.program.entries[entry]
        function = self._function(self.entries[entry])
        stored = self.program.parameters()
        with self._settings():
            feed = {name: given(inputs[name], graph.type(value).dtype) for name, value in graph.inputs.items()}
            floating = {name: x for name, x in feed.items() if graph.type(graph.inputs[name]).dtype.is_float}
            trained = {
                name: jax.numpy.asarray(self.named[name]) for name, p in stored.items() if p.trained and p.type.dtype.is_float
            }

            def total(parameters: Arrays, floats: Arrays) -> tuple[jax.Array, dict[str, jax.Array]]:
                made = self._function("from_named")({**self.named, **parameters})
                params, state = cast("tuple[object, object]", made) if self.stateful else (made, None)
                owned = [params, state] if self._takes_state(entry) else [params]
                found = function(*owned, *{**feed, **floats}.values(), training=training, key=jax.random.key(0))
                results = cast("tuple[object, object]", found)[0] if self._takes_state(entry) else found
                several = [results] if len(graph.outputs) == 1 else list(cast("tuple[object, ...]", results))
                outputs = cast("dict[str, jax.Array]", dict(zip(graph.outputs, several, strict=True)))
                wide = jax.numpy.float64 if self.x64 else jax.numpy.float32
                parts = [jax.numpy.sum(outputs[name].astype(wide) * weight.astype(wide)) for name, weight in weights.items()]
                return sum(parts, jax.numpy.zeros((), wide)), outputs

            differentiate = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True), compiler_options=QUICK)
            (_, outputs), (by_parameter, by_input) = differentiate(trained, floating)
        return Gradients(_arrays(outputs), _arrays(by_parameter), _arrays(by_input))

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


def _arrays(values: Mapping[str, object]) -> dict[str, np.ndarray]:
    return {name: array(value) for name, value in values.items()}


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
