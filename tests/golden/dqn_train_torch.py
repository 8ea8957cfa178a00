"""DQN, compiled by dslc 0.1.0 from tour.dl."""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Module):
    """What the library looks like: this is all that Linear is. Backends may spell a
    library name in their own way (nn.Linear, Gemm).
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, dim))
        self.bias = nn.Parameter(torch.zeros(width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight.T
        y = y + self.bias
        return y


class QNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = Linear(4, 64)
        self.linear_1 = Linear(64, 2)

    def forward(self, s: Tensor) -> Tensor:
        h = F.relu(self.linear(s))
        return self.linear_1(h)


class DQN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.target = QNet()
        self.q = QNet()

    def loss(self, s: Tensor, a: Tensor, r: Tensor, s2: Tensor, done: Tensor) -> Tensor:
        y = r + 0.99 * (1.0 - done) * self.target(s2).amax(dim=-1)
        huber = self.q(s).gather(-1, a.unsqueeze(-1)).squeeze(-1)
        return F.huber_loss(huber, y.detach())


def make_optimizers(model: DQN) -> dict[str, torch.optim.Optimizer]:
    """What follows the gradient of each objective."""
    return {
        "loss": torch.optim.RMSprop(
            model.q.parameters(), lr=0.00025, alpha=0.99, eps=1e-08
        ),
    }


def train_step(
    model: DQN,
    optimizers: dict[str, torch.optim.Optimizer],
    step: int,
    s: Tensor,
    a: Tensor,
    r: Tensor,
    s2: Tensor,
    done: Tensor,
) -> dict[str, Tensor]:
    """Step `step`, counted from 0: every objective in turn, on what the others left."""
    found: dict[str, Tensor] = {}
    optimizer = optimizers["loss"]
    optimizer.zero_grad()
    loss = model.loss(s, a, r, s2, done)
    loss.backward(inputs=optimizer.param_groups[0]["params"])
    found["loss"] = loss.detach()
    optimizer.step()
    if (step + 1) % 500 == 0:
        model.target.load_state_dict(model.q.state_dict())
    return found


@torch.no_grad()
def evaluate(
    model: DQN, s: Tensor, a: Tensor, r: Tensor, s2: Tensor, done: Tensor
) -> dict[str, Tensor]:
    """The losses and metrics in inference mode."""
    model.eval()
    found: dict[str, Tensor] = {}
    loss = model.loss(s, a, r, s2, done)
    found["loss"] = loss
    model.train()
    return found


def train(
    data: dict[str, Tensor], steps: int = 1000, batch: int = 64, seed: int = 0
) -> DQN:
    """Train on tensors whose first axis is that of the examples."""
    torch.manual_seed(seed)
    model = DQN().to(data["s"].device)
    model.target.load_state_dict(model.q.state_dict())
    optimizers = make_optimizers(model)
    for step in range(steps):
        rows = torch.randint(len(data["s"]), (batch,))
        found = train_step(
            model,
            optimizers,
            step,
            data["s"][rows],
            data["a"][rows],
            data["r"][rows],
            data["s2"][rows],
            data["done"][rows],
        )
        if step % 100 == 0 or step == steps - 1:
            print(step, {name: round(x.item(), 4) for name, x in found.items()})
    return model


def main() -> None:
    """Read the data, train, write the weights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", help="an .npz file: s, a, r, s2, done")
    parser.add_argument("weights", help="where the weights go")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    with np.load(given.data) as file:
        data = {
            "s": torch.tensor(file["s"], dtype=torch.float32, device=given.device),
            "a": torch.tensor(file["a"], dtype=torch.int64, device=given.device),
            "r": torch.tensor(file["r"], dtype=torch.float32, device=given.device),
            "s2": torch.tensor(file["s2"], dtype=torch.float32, device=given.device),
            "done": torch.tensor(
                file["done"], dtype=torch.float32, device=given.device
            ),
        }
    model = train(data, given.steps, given.batch, given.seed)
    torch.save(model.state_dict(), given.weights)


if __name__ == "__main__":
    main()
