"""What generated PyTorch trainings copy, each only where it is used: the optimizer that applies a function of the spec.

The backend reads this file as text; its lines fit 88 columns.
"""
# mypy: ignore-errors
# fmt: off

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


class Updates(torch.optim.Optimizer):
    """Updates each parameter by `rule(p, g, *state, step, lr)`, which gives p and state."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        rule: Callable[..., Tensor | tuple[Tensor, ...]],
        lr: float,
        state: tuple[str, ...] = (),
    ) -> None:
        super().__init__(parameters, {"lr": lr})
        self.rule, self.names = rule, state

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            lr = torch.tensor(group["lr"], dtype=torch.float64)
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["step"] = torch.zeros((), dtype=torch.float64)
                    state.update({n: p.new_zeros(p.numel()) for n in self.names})
                state["step"] += 1
                kept = [state[name] for name in self.names]
                flat = p.reshape(-1), p.grad.reshape(-1), *kept
                found = self.rule(*flat, state["step"], lr)
                new, *kept = found if isinstance(found, tuple) else (found,)
                p.copy_(new.view_as(p))
                state.update(zip(self.names, kept, strict=True))
