"""The PyTorch backend: a program as one file of nn.Modules that imports torch alone.

Rows are in torch_rows.py and its neighbours, layers in torch_layers.py, classes in torch_units.py and torch_module.py, the file as a whole
in torch_file.py.
"""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from backends.base import Arrays, Artifact, EmitOptions, Gradients, Result, Session, TrainingSession, TrainOptions, Unsupported
from backends.torch_file import source_of
from backends.torch_names import method_name
from backends.torch_rows import ROWS
from dsl.diagnostics import Diagnostic, SpecError
from dsl.ir import Node, Program
from dsl.training import Rule, Training
from dsl.types import DType

if TYPE_CHECKING:
    import torch

# --- running --------------------------------------------------------------------------------------------------------------------


def module_of(text: str, name: str = "dslc_generated") -> ModuleType:
    """The generated file as a module."""
    filename = f"<{name}>"
    module = ModuleType(name)
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    sys.modules[name] = module
    exec(compile(text, filename, "exec", dont_inherit=True), module.__dict__)
    return module


def main_class(module: ModuleType) -> type[torch.nn.Module]:
    """The class of the model: the last in the file."""
    from torch import nn

    found = [
        v for v in vars(module).values() if isinstance(v, type) and issubclass(v, nn.Module) and v.__module__ == module.__name__
    ]
    return found[-1]


@dataclass(frozen=True, slots=True)
class TorchSession:
    """A model with its weights. Each run begins with the buffers of `state`: what a run changes, it returns."""

    program: Program
    model: torch.nn.Module
    state: Mapping[str, torch.Tensor]
    device: str

    def run(self, inputs: Arrays, *, training: bool = False, entry: str = "forward") -> Result:
        import torch

        with torch.no_grad():
            _, results = self._called(inputs, training, entry)
        outputs = {name: to_numpy(result) for name, result in results.items()}
        if not training:
            return Result(outputs)
        buffers = {name for name, p in self.program.parameters().items() if not p.trained}
        return Result(outputs, {name: to_numpy(b) for name, b in self.model.named_buffers() if name in buffers})

    def gradients(self, inputs: Arrays, weights: Arrays, *, training: bool = False, entry: str = "forward") -> Gradients:
        import torch

        given, results = self._called(inputs, training, entry, differentiate=True)
        parameters = {n: p for n, p in self.model.named_parameters() if p.requires_grad and p.dtype.is_floating_point}
        floating = {n: x for n, x in given.items() if x.requires_grad}
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for name, weight in weights.items():
            total = total + (results[name].double() * torch.as_tensor(weight, device=self.device)).sum()
        sources = {**{("parameter", n): p for n, p in parameters.items()}, **{("input", n): x for n, x in floating.items()}}
        none = [torch.zeros_like(x) for x in sources.values()]
        found = torch.autograd.grad(total, list(sources.values()), allow_unused=True) if total.requires_grad else none
        arrays = {key: to_numpy(zero if g is None else g) for key, g, zero in zip(sources, found, none, strict=True)}
        return Gradients(
            {name: to_numpy(result) for name, result in results.items()},
            {name: g for (kind, name), g in arrays.items() if kind == "parameter"},
            {name: g for (kind, name), g in arrays.items() if kind == "input"},
        )

    def _called(
        self, inputs: Arrays, training: bool, entry: str, *, differentiate: bool = False
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The inputs as tensors, and the outputs."""
        import torch

        graph = self.program.entries[entry]
        given = {}
        for name, value in graph.inputs.items():
            dtype = graph.type(value).dtype
            tensor = torch.as_tensor(np.asarray(inputs[name])).to(self.device, torch_dtype(dtype))
            given[name] = tensor.clone().requires_grad_() if differentiate and dtype.is_float else tensor
        self.model.load_state_dict(self.state)
        self.model.train(training)
        results = getattr(self.model, method_name(entry))(*given.values())
        results = results if isinstance(results, tuple) else (results,)
        return given, dict(zip(graph.outputs, results, strict=True))


def block_class(module: ModuleType) -> type[torch.nn.Module]:
    """The class of a training: what its `make_optimizers` takes."""
    found = inspect.signature(module.make_optimizers).parameters["model"].annotation
    assert isinstance(found, type)
    return found


def _refuse_device(device: str) -> None:
    import torch

    if device != "cpu" and not (device.split(":")[0] == "cuda" and torch.cuda.is_available()):
        raise SpecError(Diagnostic("DL0703", f"this PyTorch does not run on `{device}`"), exit_code=3)


def torch_dtype(dtype: DType) -> torch.dtype:
    import torch

    names = {
        DType.F16: "float16", DType.BF16: "bfloat16", DType.F32: "float32", DType.F64: "float64", DType.I8: "int8",
        DType.U8: "uint8", DType.I32: "int32", DType.I64: "int64", DType.BOOL: "bool",
    }  # fmt: skip
    found = getattr(torch, names[dtype])
    assert isinstance(found, torch.dtype)
    return found


def to_numpy(x: torch.Tensor) -> np.ndarray:
    import torch

    x = x.detach().cpu()
    return np.array((x.float() if x.dtype is torch.bfloat16 else x).numpy())


@dataclass(frozen=True, slots=True)
class TorchBackend:
    """PyTorch modules, one file."""

    name: str = "torch"
    summary: str = "PyTorch: a file of nn.Modules, with the spec's names in the state dict"
    requires: tuple[str, ...] = ("torch",)
    training: bool = True

    def refusal(self, node: Node, options: EmitOptions) -> str | None:
        owned = node.attributes.get("path") if node.op in ("param", "buffer") else node.target.child if node.target else None
        if owned == "training":
            return (
                "an nn.Module keeps its mode under the name `training`, so nothing that it owns can have it; choose another label"
            )
        row = ROWS.get(node.op)
        if row is None and node.target is None and node.op not in ("input", "param", "buffer"):
            return "it has no row for it"
        return row.because if isinstance(row, Unsupported) else None

    def emit(self, program: Program, options: EmitOptions, weights: Arrays | None = None) -> Artifact:
        return Artifact(".py", source_of(program, options).encode())

    def load(self, artifact: Artifact, program: Program, weights: Arrays, *, device: str = "cpu") -> Session:
        import torch

        _refuse_device(device)
        model = main_class(module_of(artifact.content.decode()))()
        state = {name: torch.as_tensor(np.asarray(weights[name])) for name in program.parameters()}
        return TorchSession(program, model.to(device), state, device)

    def rule_refusal(self, rule: Rule, program: Program, how: TrainOptions) -> str | None:
        if rule.update is not None:
            return None
        if how.amp is not None:
            return f"it compares losses that are nearer to each other than {how.amp} can tell (leave `--amp` out)"
        return "it is given the loss of the whole batch (leave `--accumulate` out)" if how.accumulate != 1 else None

    def emit_training(self, training: Training, options: EmitOptions, how: TrainOptions) -> Artifact:
        from backends.torch_training import training_source

        return Artifact(".py", training_source(training, options, how).encode())

    def load_training(
        self, artifact: Artifact, training: Training, weights: Arrays, *, seed: int = 0, device: str = "cpu"
    ) -> TrainingSession:
        from backends.torch_trainer import TorchTraining

        _refuse_device(device)
        module = module_of(artifact.content.decode())
        return TorchTraining(module, block_class(module), training, weights, seed, device)


BACKEND = TorchBackend()
