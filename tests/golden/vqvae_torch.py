"""VQVAE, compiled by dslc 0.1.0 from vqvae.dl."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(256, 256, 3, padding=1)
        self.conv2d_1 = nn.Conv2d(256, 256, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in (self.conv2d, self.conv2d_1):
            nn.init.kaiming_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv2d(F.relu(x)))
        return x + self.conv2d_1(h)


def nearest_code(z: Tensor, codebook: Tensor) -> Tensor:
    """The row of the codebook that is nearest: float[..., D], float[K, D] -> int[...].
    |z|^2, which all rows share, is left out.
    """
    return ((codebook**2).sum(dim=-1) - 2.0 * z @ codebook.T).argmin(dim=-1)


def vectors_of(codebook: Tensor, code: Tensor) -> Tensor:
    """The rows of a codebook by their codes, channels second: float[K, D], int[B, ...]
    -> float[B, D, ...].
    """
    return codebook[code].permute(0, 3, 1, 2)


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard` with the gradient of `soft`. Bengio et al. 2013; van den Oord
    et al. 2017 (VQ-VAE).
    """
    return hard.detach() + (soft - soft.detach())


class Encoder(nn.Module):
    """A quarter of the height and width."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(3, 256, 4, stride=2, padding=1)
        self.conv2d_1 = nn.Conv2d(256, 256, 4, stride=2, padding=1)
        self.repeat = nn.ModuleList([Residual() for _ in range(2)])
        self.out = nn.Conv2d(256, 64, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in (self.conv2d, self.conv2d_1, self.out):
            nn.init.kaiming_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> Tensor:
        h = F.relu(self.conv2d(image))
        h = self.conv2d_1(h)
        for layer in self.repeat:
            h = layer(h)
        return self.out(F.relu(h))


class VectorQuantiser(nn.Module):
    """Each vector of a map by the nearest of a codebook, float[B, D, ...], D = `width`:
    `quantised`, like the map; the codes, int[B, ...]; and |sg[z] - e|^2, which
    trains the codebook, plus beta * |z - sg[e]|^2, which commits the encoder. What
    follows `quantised` has its gradient in z as if nothing had been quantised, and
    none in the codebook. The squares are means over all numbers, or sums. van den
    Oord et al. 2017.
    """

    def __init__(self) -> None:
        super().__init__()
        self.codebook = nn.Parameter(torch.empty(512, 64))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.codebook, -0.001953125, 0.001953125)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        code = nearest_code(z.permute(0, 2, 3, 1), self.codebook)  # [B, d2, d3]
        nearest = vectors_of(self.codebook, code)  # [B, 64, d2, d3]
        loss = F.mse_loss(nearest, z.detach()) + 0.25 * F.mse_loss(z, nearest.detach())
        return straight_through(nearest, z), code, loss

    def lookup(self, code: Tensor) -> Tensor:
        return vectors_of(self.codebook, code)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(64, 256, 3, padding=1)
        self.repeat = nn.ModuleList([Residual() for _ in range(2)])
        self.conv_transpose2d = nn.ConvTranspose2d(256, 256, 4, stride=2, padding=1)
        self.out = nn.ConvTranspose2d(256, 3, 4, stride=2, padding=1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in (self.conv2d, self.conv_transpose2d):
            nn.init.kaiming_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.kaiming_uniform_(self.out.weight, mode="fan_out")
        nn.init.zeros_(self.out.bias)

    def forward(self, z: Tensor) -> Tensor:
        h = self.conv2d(z)
        for layer in self.repeat:
            h = layer(h)
        h = F.relu(self.conv_transpose2d(F.relu(h)))
        return self.out(h)


class VQVAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.codebook = VectorQuantiser()
        self.decoder = Decoder()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss trains the codebook, and keeps the encoder near to it."""
        H, W = image.shape[2], image.shape[3]
        if H % 4 != 0 or W % 4 != 0:
            raise ValueError("image sides must be multiples of 4")
        quantised, code, loss = self.codebook(self.encoder(image))
        return self.decoder(quantised), code, loss

    def encode(self, image: Tensor) -> Tensor:
        _, code, _ = self.codebook(self.encoder(image))
        return code

    def decode(self, code: Tensor) -> Tensor:
        return self.decoder(self.codebook.lookup(code))
