"""GoogLeNet, compiled by dslc 0.1.0 from googlenet.dl."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvRelu(nn.Module):
    """A convolution, with its bias, and relu."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int, padding: int
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, channels, kernel, stride=stride, padding=padding
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


class Inception(nn.Module):
    """Four branches side by side: 1x1; 3x3 and 5x5, each after a narrowing 1x1; a pool
    and its 1x1.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        channels_1: int,
        channels_2: int,
        channels_3: int,
        channels_4: int,
        channels_5: int,
    ) -> None:
        super().__init__()
        self.branch1 = ConvRelu(in_channels, channels, kernel=1, stride=1, padding=0)
        self.reduce3 = ConvRelu(in_channels, channels_1, kernel=1, stride=1, padding=0)
        self.branch3 = ConvRelu(channels_1, channels_2, kernel=3, stride=1, padding=1)
        self.reduce5 = ConvRelu(in_channels, channels_3, kernel=1, stride=1, padding=0)
        self.branch5 = ConvRelu(channels_3, channels_4, kernel=5, stride=1, padding=2)
        self.branch_pool = ConvRelu(
            in_channels, channels_5, kernel=1, stride=1, padding=0
        )

    def forward(self, x: Tensor) -> Tensor:
        b1 = self.branch1(x)
        b3 = self.branch3(self.reduce3(x))
        b5 = self.branch5(self.reduce5(x))
        bp = self.branch_pool(F.max_pool2d(x, 3, stride=1, padding=1))
        return torch.cat([b1, b3, b5, bp], dim=1)


class Blocks(nn.Module):
    """All but the classifiers: the map of each block."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvRelu(3, 64, kernel=7, stride=2, padding=3)
        self.conv2 = ConvRelu(64, 64, kernel=1, stride=1, padding=0)
        self.conv3 = ConvRelu(64, 192, kernel=3, stride=1, padding=1)
        self.block = Inception(
            192,
            64,
            channels_1=96,
            channels_2=128,
            channels_3=16,
            channels_4=32,
            channels_5=32,
        )
        self.block_1 = Inception(
            256,
            128,
            channels_1=128,
            channels_2=192,
            channels_3=32,
            channels_4=96,
            channels_5=64,
        )
        self.block_2 = Inception(
            480,
            192,
            channels_1=96,
            channels_2=208,
            channels_3=16,
            channels_4=48,
            channels_5=64,
        )
        self.block_3 = Inception(
            512,
            160,
            channels_1=112,
            channels_2=224,
            channels_3=24,
            channels_4=64,
            channels_5=64,
        )
        self.block_4 = Inception(
            512,
            128,
            channels_1=128,
            channels_2=256,
            channels_3=24,
            channels_4=64,
            channels_5=64,
        )
        self.block_5 = Inception(
            512,
            112,
            channels_1=144,
            channels_2=288,
            channels_3=32,
            channels_4=64,
            channels_5=64,
        )
        self.block_6 = Inception(
            528,
            256,
            channels_1=160,
            channels_2=320,
            channels_3=32,
            channels_4=128,
            channels_5=128,
        )
        self.block_7 = Inception(
            832,
            256,
            channels_1=160,
            channels_2=320,
            channels_3=32,
            channels_4=128,
            channels_5=128,
        )
        self.block_8 = Inception(
            832,
            384,
            channels_1=192,
            channels_2=384,
            channels_3=48,
            channels_4=128,
            channels_5=128,
        )

    def forward(self, image: Tensor) -> Tensor:
        h = F.max_pool2d(self.conv1(image), 3, stride=2, ceil_mode=True)
        h = self.conv2(F.local_response_norm(h, size=5))
        h = F.local_response_norm(self.conv3(h), size=5)
        h = F.max_pool2d(h, 3, stride=2, ceil_mode=True)
        h = self.block(h)  # [B, 256, (H + 1) // 8, (W + 1) // 8]
        h = self.block_1(h)  # [B, 480, (H + 1) // 8, (W + 1) // 8]
        h = F.max_pool2d(h, 3, stride=2, ceil_mode=True)
        h = self.block_2(h)  # [B, 512, (H + 1) // 16, (W + 1) // 16]
        h = self.block_3(h)
        h = self.block_4(h)
        h = self.block_5(h)  # [B, 528, (H + 1) // 16, (W + 1) // 16]
        h = self.block_6(h)  # [B, 832, (H + 1) // 16, (W + 1) // 16]
        h = F.max_pool2d(h, 3, stride=2, ceil_mode=True)
        h = self.block_7(h)
        h = self.block_8(h)  # [B, 1024, (H + 1) // 32, (W + 1) // 32]
        return h


class GoogLeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = Blocks()
        self.fc = nn.Linear(1024, 1000)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, image: Tensor) -> Tensor:
        maps_8 = self.blocks(image)  # [B, 1024, (H + 1) // 32, (W + 1) // 32]
        return self.fc(F.dropout(maps_8.mean(dim=(2, 3)), 0.4, self.training))
