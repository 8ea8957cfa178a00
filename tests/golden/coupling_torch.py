"""Coupling, compiled by dslc 0.1.0 from tour.dl."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MLP(nn.Module):
    """Linear -> act for each of `widths`, then a plain Linear(out) unless `out` is
    none: float[..., D] -> float[..., out]. The layers are `linear`, `linear_1`, ...
    in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 64)
        self.linear_1 = nn.Linear(64, 64)
        self.linear_2 = nn.Linear(64, 2)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in (self.linear, self.linear_1, self.linear_2):
            nn.init.kaiming_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        x = F.relu(self.linear_1(x))
        return self.linear_2(x)


class Coupling(nn.Module):
    """One set of weights, two directions."""

    def __init__(self) -> None:
        super().__init__()
        self.net = MLP()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.chunk(2, dim=-1)
        s, t = self.net(a).chunk(2, dim=-1)
        s = torch.tanh(s)
        return torch.cat([a, b * torch.exp(s) + t], dim=-1), s.sum(dim=-1)

    def inverse(self, y: Tensor) -> Tensor:
        a, b = y.chunk(2, dim=-1)
        s, t = self.net(a).chunk(2, dim=-1)
        x = torch.cat([a, (b - t) * torch.exp(-torch.tanh(s))], dim=-1)  # [B, 2]
        return x
