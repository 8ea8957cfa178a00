"""Glow, compiled by dslc 0.1.0 from glow.dl."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def squeeze_blocks(x: Tensor, size: int, size_1: int) -> Tensor:
    """Blocks of 2 x 2 positions as channels, and back: float[B, C, H, W] -> float[B, 4
    C, H / 2, W / 2]. Dinh et al. 2017, section 3.6.
    """
    B = x.shape[0]
    y = x.reshape(B, size, size_1, 2, size_1, 2).permute(0, 1, 3, 5, 2, 4).flatten(1, 3)
    return y


def unsqueeze_blocks(x: Tensor, size: int, size_2: int) -> Tensor:
    B = x.shape[0]
    y = x.unflatten(1, (size, 2, 2)).permute(0, 1, 4, 2, 5, 3)
    return y.reshape(B, size, size_2, size_2)


class FirstBatch(nn.Module):
    """What a layer was given in the first batch of training, from that batch on: a
    statistic that initialises a layer from data. float[C] -> the same. In inference
    it is 0 as long as there was no training. No gradient passes.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.register_buffer("kept", torch.zeros(in_channels))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            first = torch.where(self.batches > 0, self.kept, x).detach()
            first_1 = first
        else:
            first_1 = self.kept
        if self.training:
            with torch.no_grad():
                batches = self.batches + 1
                self.kept = first.detach().clone()
                self.batches = batches
        return first_1

    def forward_1(self, x: Tensor) -> Tensor:
        return self.kept


class InvertibleConv(nn.Module):
    """A learned mix of the channels, the same at each position: float[B, C, H, W] ->
    the same, and logdet, H W log |det W|. It begins as a random rotation. With `lu`
    W is rotation L (U + diag(exp(log_scale))), a fixed rotation and unit triangles:
    logdet is a sum, and the inverse two substitutions. Kingma & Dhariwal 2018,
    section 3.2.
    """

    def __init__(self, in_channels: int, height: int, value: float) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.height = height
        self.value = value
        self.register_buffer("rotation", torch.empty(in_channels, in_channels))
        self.lower = nn.Parameter(torch.zeros(in_channels, in_channels))
        self.upper = nn.Parameter(torch.zeros(in_channels, in_channels))
        self.log_scale = nn.Parameter(torch.zeros(in_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.orthogonal_(self.rotation)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        B = x.shape[0]
        eye = torch.eye(self.in_channels, dtype=x.dtype, device=x.device)
        left = self.lower.tril(-1) + eye
        right = self.upper.triu(1) + eye * torch.exp(self.log_scale)
        weight = self.rotation @ left @ right
        y = torch.einsum("dc,bchw->bdhw", weight, x)
        volume = self.log_scale.sum()
        return y, (self.value * volume).expand(B)

    def inverse(self, y: Tensor) -> Tensor:
        eye = torch.eye(self.in_channels, dtype=y.dtype, device=y.device)
        left = self.lower.tril(-1) + eye
        right = self.upper.triu(1) + eye * torch.exp(self.log_scale)
        columns = y.flatten(2)
        h = self.rotation.T @ columns
        triangular_solve = torch.linalg.solve_triangular(left, h, upper=False)
        x = torch.linalg.solve_triangular(right, triangular_solve, upper=True)
        return x.unflatten(-1, (self.height, self.height))


def sum_each(x: Tensor) -> Tensor:
    """The sum of all numbers of each example: float[B, ...] -> float[B]."""
    return x.flatten(1).sum(dim=-1)


class ScaleAndShift(nn.Module):
    """Log scales and shifts, none at first."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 512, 3, padding=1)
        self.conv2 = nn.Conv2d(512, 512, 1)
        self.last = nn.Conv2d(512, out_channels, 3, padding=1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in (self.conv1, self.conv2):
            nn.init.kaiming_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv1(x))
        h = F.relu(self.conv2(h))
        return self.last(h)


class SqueezeBlocks(nn.Module):
    """Blocks of 2 x 2 positions as channels, as a flow."""

    def __init__(self, in_channels: int, height: int, size_1: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.height = height
        self.size_1 = size_1

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        B = x.shape[0]
        squeeze_blocks_1 = squeeze_blocks(x, size=self.in_channels, size_1=self.size_1)
        logdet = x.new_zeros(B)
        return squeeze_blocks_1, logdet

    def inverse(self, y: Tensor) -> Tensor:
        return unsqueeze_blocks(y, size=self.in_channels, size_2=self.height)


class ActNorm(nn.Module):
    """Activation normalisation: a scale and a shift for each channel (axis 1), such
    that each channel of the first batch has mean 0 and deviation 1; unlike in batch
    normalisation they are parameters from then on. float[B, C, ...] -> the same, and
    logdet, positions * sum(log |scale|). Kingma & Dhariwal 2018, section 3.1.
    """

    def __init__(self, in_channels: int, value: float) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.value = value
        self.log_scale = nn.Parameter(torch.zeros(in_channels))
        self.bias = nn.Parameter(torch.zeros(in_channels))
        self.center = FirstBatch(in_channels)
        self.log_spread = FirstBatch(in_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        B = x.shape[0]
        first_mean = self.center(x.mean(dim=(0, 2, 3)))
        h = self.log_spread(0.5 * torch.log(x.var(dim=(0, 2, 3), correction=0) + 1e-6))
        log_s = self.log_scale - h
        h = torch.exp(log_s).reshape(self.in_channels, 1, 1)
        y = (x - first_mean.reshape(self.in_channels, 1, 1)) * h
        y = y + self.bias.reshape(self.in_channels, 1, 1)
        return y, (self.value * log_s.sum()).expand(B)

    def inverse(self, y: Tensor) -> Tensor:
        zeros = y.new_zeros(self.in_channels)
        first_mean = self.center.forward_1(zeros)
        log_s = self.log_scale - self.log_spread.forward_1(zeros)
        h = torch.exp(-log_s).reshape(self.in_channels, 1, 1)
        y_1 = (y - self.bias.reshape(self.in_channels, 1, 1)) * h
        return y_1 + first_mean.reshape(self.in_channels, 1, 1)


class AffineCoupling(nn.Module):
    """Affine coupling: the first half of the channels (axis 1) stays, and `net` says of
    it how the rest is scaled and shifted, log scales and shifts side by side:
    float[B, C, ...] -> the same, and logdet, the sum of the log scales. The halves
    change roles with `swapped`. Dinh et al. 2017, section 3.2.
    """

    def __init__(self, in_channels: int, in_channels_1: int) -> None:
        super().__init__()
        self.scale_and_shift = ScaleAndShift(in_channels_1, in_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.chunk(2, dim=1)
        s, t = self.scale_and_shift(first).chunk(2, dim=1)
        y = second * torch.exp(s) + t
        return torch.cat([first, y], dim=1), sum_each(s)

    def inverse(self, y: Tensor) -> Tensor:
        first, second = y.chunk(2, dim=1)
        s, t = self.scale_and_shift(first).chunk(2, dim=1)
        x = (second - t) * torch.exp(-s)
        return torch.cat([first, x], dim=1)


class Flow(nn.Module):
    """Flows one after the other, and their log determinants in sum. Rezende & Mohamed
    2015.
    """

    def __init__(
        self, in_channels: int, value: float, height: int, in_channels_1: int
    ) -> None:
        super().__init__()
        self.step = ActNorm(in_channels, value)
        self.step_1 = InvertibleConv(in_channels, height, value=value)
        self.step_2 = AffineCoupling(in_channels, in_channels_1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        B = x.shape[0]
        logdet = x.new_zeros(B)  # [B]
        x_1, stretched = self.step(x)
        logdet = logdet + stretched
        x_1, stretched = self.step_1(x_1)
        logdet = logdet + stretched
        x_1, stretched = self.step_2(x_1)
        logdet = logdet + stretched
        return x_1, logdet

    def inverse(self, y: Tensor) -> Tensor:
        y = self.step_2.inverse(y)
        y = self.step_1.inverse(y)
        y = self.step.inverse(y)
        return y


class Flow2(nn.Module):
    """Flows one after the other, and their log determinants in sum. Rezende & Mohamed
    2015.
    """

    def __init__(
        self,
        in_channels: int,
        height: int,
        size_1: int,
        in_channels_1: int,
        value: float,
        in_channels_1_1: int,
    ) -> None:
        super().__init__()
        self.step = SqueezeBlocks(in_channels, height, size_1=size_1)
        self.step_1 = Flow(
            in_channels_1, value, height=size_1, in_channels_1=in_channels_1_1
        )
        self.step_2 = Flow(
            in_channels_1, value, height=size_1, in_channels_1=in_channels_1_1
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        B = x.shape[0]
        logdet = x.new_zeros(B)  # [B]
        x_1, stretched = self.step(x)
        logdet = logdet + stretched
        x_1, stretched = self.step_1(x_1)
        logdet = logdet + stretched
        x_1, stretched = self.step_2(x_1)
        logdet = logdet + stretched
        return x_1, logdet

    def inverse(self, y: Tensor) -> Tensor:
        y = self.step_2.inverse(y)
        y = self.step_1.inverse(y)
        y = self.step.inverse(y)
        return y


class MultiScale(nn.Module):
    """Flows one after the other, such that after each but the last one half of the
    channels (axis 1) is noise already and leaves: the latents are a list of tensors
    of unequal sizes. Dinh et al. 2017, section 3.6.
    """

    def __init__(self) -> None:
        super().__init__()
        self.level = Flow2(
            3, 32, size_1=16, in_channels_1=12, value=256.0, in_channels_1_1=6
        )
        self.level_1 = Flow2(
            6, 16, size_1=8, in_channels_1=24, value=64.0, in_channels_1_1=12
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        B = x.shape[0]
        logdet = x.new_zeros(B)  # [B]
        x_1, stretched = self.level(x)
        logdet = logdet + stretched
        done, x_1 = x_1.chunk(2, dim=1)
        x_1, stretched = self.level_1(x_1)
        logdet = logdet + stretched
        return done, x_1, logdet

    def inverse(self, latents_0: Tensor, latents_1: Tensor) -> Tensor:
        x = self.level_1.inverse(latents_1)  # [B, 6, 16, 16]
        x = torch.cat([latents_0, x], dim=1)  # [B, 12, 16, 16]
        x = self.level.inverse(x)  # [B, 3, 32, 32]
        return x


class Glow(nn.Module):
    """z is all latents in a row, those of the finest level first."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = MultiScale()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        latents_0, latents_1, logdet = self.flow(x)
        return latents_0, latents_1, logdet

    def inverse(self, z: Tensor) -> Tensor:
        parts_0, parts_1 = z.chunk(2, dim=-1)
        h = parts_0.unflatten(-1, (6, 16, 16))
        return self.flow.inverse(h, parts_1.unflatten(-1, (24, 8, 8)))

    def sample(
        self, temperature: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """An image for each temperature; 0 gives the most likely noise."""
        B = temperature.shape[0]
        noise = torch.randn(
            B,
            3072,
            generator=generator,
            dtype=temperature.dtype,
            device=temperature.device,
        )
        z = temperature.unsqueeze(-1) * noise
        parts_0, parts_1 = z.chunk(2, dim=-1)
        h = parts_0.unflatten(-1, (6, 16, 16))
        return self.flow.inverse(h, parts_1.unflatten(-1, (24, 8, 8)))
