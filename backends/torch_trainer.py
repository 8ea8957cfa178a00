"""Running a generated PyTorch training in this process, step by step, for the loop that reads data and keeps checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType

import numpy as np
import torch

from backends.base import Arrays, Number
from backends.trainings import draws, rules_of
from dsl.training import Training
from dsl.types import DType

DTYPES = {
    DType.F16: torch.float16, DType.BF16: torch.bfloat16, DType.F32: torch.float32, DType.F64: torch.float64,
    DType.I8: torch.int8, DType.U8: torch.uint8, DType.I32: torch.int32, DType.I64: torch.int64, DType.BOOL: torch.bool,
}  # fmt: skip

NUMBER, LIST = ":number", ":list"
"""What the names of parts of an optimizer's state end with, where they are no tensors."""

SCRATCH = frozenset({"al"})
"""Lists that an optimizer (LBFGS) fills anew in each step."""


class TorchTraining:
    """A model, its optimizers and the functions of the file. Draws of step n are those of a generator seeded by the seed and n."""

    def __init__(
        self, module: ModuleType, kind: type[torch.nn.Module], training: Training, weights: Arrays, seed: int, device: str
    ) -> None:
        self.module = module
        self.training = training
        self.seed = seed
        self.device = device
        self.model = kind()
        self._load(weights)
        self.model.to(device)
        self.optimizers: dict[str, torch.optim.Optimizer] = module.make_optimizers(self.model)
        self.scales = {key: 1.0 for o in training.objectives for key, rule in rules_of(o) if rule.plateau is not None}
        self._names: dict[torch.Tensor, str] = {parameter: name for name, parameter in self.model.named_parameters()}
        self._draws = draws(training)

    def _load(self, weights: Arrays) -> None:
        wanted = self.training.program.parameters()
        self.model.load_state_dict({name: torch.as_tensor(np.asarray(weights[name])) for name in wanted})

    def step(self, number: int, batch: Arrays) -> Mapping[str, Number]:
        if self._draws:
            torch.manual_seed(_mixed(self.seed, number))
        more = [self.scales] if self.scales else []
        found: dict[str, torch.Tensor] = self.module.train_step(self.model, self.optimizers, *more, number, *self._given(batch))
        return found

    def evaluate(self, batch: Arrays) -> Mapping[str, Number]:
        if self._draws:
            torch.manual_seed(self.seed)
        found: dict[str, torch.Tensor] = self.module.evaluate(self.model, *self._given(batch))
        return found

    def _given(self, batch: Arrays) -> list[torch.Tensor]:
        types = self.training.inputs.items()
        return [torch.as_tensor(batch[n]).to(self.device, DTYPES[t.dtype], non_blocking=True) for n, t in types]

    def scale(self, key: str, factor: float) -> None:
        self.scales[key] = factor

    def weights(self) -> Arrays:
        owned = self.training.program.parameters()
        return {name: _array(tensor) for name, tensor in self.model.state_dict().items() if name in owned}

    def moments(self) -> Arrays:
        return dict(self._state())

    def _state(self) -> Iterator[tuple[str, np.ndarray]]:
        """What the optimizers keep: tensors, numbers, and tensors of one shape in a list, each with a name that says which it is."""
        for key, optimizer in self.optimizers.items():
            for parameter, state in optimizer.state.items():
                for part, value in state.items():
                    name = f"{key}/{self._names[parameter]}/{part}"
                    if isinstance(value, torch.Tensor):
                        yield name, _array(value)
                    elif isinstance(value, int | float):
                        yield name + NUMBER, np.asarray(value)
                    elif isinstance(value, list) and part not in SCRATCH:
                        yield name + LIST, _array(torch.stack(value)) if value else np.zeros(0, np.float32)

    def restore(self, weights: Arrays, moments: Arrays) -> None:
        self._load(weights)
        parameters = dict(self.model.named_parameters())
        for name, value in moments.items():
            key, path, part = name.split("/")
            parameter = parameters[path]
            state = self.optimizers[key].state[parameter]
            tensor = torch.as_tensor(np.array(value))
            if part.endswith(NUMBER):
                state[part.removesuffix(NUMBER)] = value.item()
            elif part.endswith(LIST):
                state[part.removesuffix(LIST)] = [row.clone() for row in _like(tensor, parameter)]
            else:
                state[part] = tensor if tensor.ndim == 0 else _like(tensor, parameter)


def _like(tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A tensor of the state where the parameter is, of the type that it had before `_array`."""
    return tensor.to(parameter.device, parameter.dtype if parameter.dtype is torch.bfloat16 else tensor.dtype)


def _mixed(seed: int, step: int) -> int:
    """One seed from two numbers."""
    words = np.random.SeedSequence((seed, step)).generate_state(2)
    return int(words[0]) << 31 ^ int(words[1])


def _array(tensor: torch.Tensor) -> np.ndarray:
    found = tensor.detach().cpu()
    return np.array((found.float() if found.dtype is torch.bfloat16 else found).numpy())
