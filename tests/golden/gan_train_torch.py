"""GAN, compiled by dslc 0.1.0 from tour.dl."""

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


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = Linear(64, 256)
        self.linear_1 = Linear(256, 784)

    def forward(self, z: Tensor) -> Tensor:
        y = F.relu(self.linear(z))
        return torch.tanh(self.linear_1(y))


class Discriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = Linear(784, 256)
        self.linear_1 = Linear(256, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.linear(x), negative_slope=0.2)
        return self.linear_1(y).squeeze(-1)


class GAN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.G = Generator()
        self.D = Discriminator()

    def d_loss(self, real: Tensor, draw_0: Tensor) -> Tensor:
        fake = self.G(draw_0)  # [B, 784]
        d_loss = (F.softplus(-self.D(real)) + F.softplus(self.D(fake.detach()))).mean()
        return d_loss

    def g_loss(self, draw_0: Tensor) -> Tensor:
        fake = self.G(draw_0)  # [B, 784]
        g_loss = F.softplus(-self.D(fake)).mean()
        return g_loss

    def draws(self, real: Tensor, generator: torch.Generator | None = None) -> Tensor:
        B = real.shape[0]
        return torch.randn(
            B, 64, generator=generator, dtype=real.dtype, device=real.device
        )


def make_optimizers(model: GAN) -> dict[str, torch.optim.Optimizer]:
    """What follows the gradient of each objective."""
    return {
        "d_loss": torch.optim.Adam(
            model.D.parameters(), lr=0.0002, betas=(0.5, 0.999), eps=1e-08
        ),
        "g_loss": torch.optim.Adam(
            model.G.parameters(), lr=0.0002, betas=(0.5, 0.999), eps=1e-08
        ),
    }


def train_step(
    model: GAN, optimizers: dict[str, torch.optim.Optimizer], step: int, real: Tensor
) -> dict[str, Tensor]:
    """Step `step`, counted from 0: every objective in turn, on what the others left."""
    with torch.no_grad():
        draw_0 = model.draws(real)
    found: dict[str, Tensor] = {}
    optimizer = optimizers["d_loss"]
    optimizer.zero_grad()
    loss = model.d_loss(real, draw_0)
    loss.backward(inputs=optimizer.param_groups[0]["params"])
    found["d_loss"] = loss.detach()
    optimizer.step()
    optimizer = optimizers["g_loss"]
    optimizer.zero_grad()
    loss = model.g_loss(draw_0)
    loss.backward(inputs=optimizer.param_groups[0]["params"])
    found["g_loss"] = loss.detach()
    optimizer.step()
    return found


@torch.no_grad()
def evaluate(model: GAN, real: Tensor) -> dict[str, Tensor]:
    """The losses and metrics in inference mode."""
    model.eval()
    with torch.no_grad():
        draw_0 = model.draws(real)
    found: dict[str, Tensor] = {}
    loss = model.d_loss(real, draw_0)
    found["d_loss"] = loss
    loss = model.g_loss(draw_0)
    found["g_loss"] = loss
    model.train()
    return found


def train(
    data: dict[str, Tensor], steps: int = 1000, batch: int = 64, seed: int = 0
) -> GAN:
    """Train on tensors whose first axis is that of the examples."""
    torch.manual_seed(seed)
    model = GAN().to(data["real"].device)
    optimizers = make_optimizers(model)
    for step in range(steps):
        rows = torch.randint(len(data["real"]), (batch,))
        found = train_step(model, optimizers, step, data["real"][rows])
        if step % 100 == 0 or step == steps - 1:
            print(step, {name: round(x.item(), 4) for name, x in found.items()})
    return model


def main() -> None:
    """Read the data, train, write the weights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", help="an .npz file: real")
    parser.add_argument("weights", help="where the weights go")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    with np.load(given.data) as file:
        data = {
            "real": torch.tensor(
                file["real"], dtype=torch.float32, device=given.device
            ),
        }
    model = train(data, given.steps, given.batch, given.seed)
    torch.save(model.state_dict(), given.weights)


if __name__ == "__main__":
    main()
