"""ResNet50, compiled by dslc 0.1.0 from resnet.dl."""

import torch.nn.functional as F
from torch import Tensor, nn


class ConvNorm2d(nn.Module):
    """A convolution without bias, whose places stay at stride 1, and batch
    normalisation: float[B, C, H, W] -> float[B, channels, H', W'].
    """

    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int, padding: int
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, channels, kernel, stride=stride, padding=padding, bias=False
        )
        self.bn = nn.BatchNorm2d(channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class Shortcut2d(nn.Module):
    """x itself, or its projection where the shape changes: what a residual block adds
    to.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x


class Shortcut2d2(nn.Module):
    """x itself, or its projection where the shape changes: what a residual block adds
    to.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.project = ConvNorm2d(
            in_channels, channels, kernel=1, stride=stride, padding=0
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x)


class BottleneckBlock(nn.Module):
    """A narrow 3x3 convolution between two 1x1, beside a shortcut: float[B, C, H, W] ->
    float[B, expansion channels, H', W']. The stride is at the 3x3, as in torchvision
    ("v1.5"); the paper has it at the first 1x1. He et al. 2016.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.a = ConvNorm2d(in_channels, channels, kernel=1, stride=1, padding=0)
        self.b = ConvNorm2d(channels, channels, kernel=3, stride=1, padding=1)
        self.c = ConvNorm2d(channels, in_channels, kernel=1, stride=1, padding=0)
        self.shortcut = Shortcut2d()

    def forward(self, x: Tensor) -> Tensor:
        main = F.relu(self.a(x))
        main = F.relu(self.b(main))
        main = self.c(main)
        return F.relu(main + self.shortcut(x))


class BottleneckBlock2(nn.Module):
    """A narrow 3x3 convolution between two 1x1, beside a shortcut: float[B, C, H, W] ->
    float[B, expansion channels, H', W']. The stride is at the 3x3, as in torchvision
    ("v1.5"); the paper has it at the first 1x1. He et al. 2016.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, channels_1: int
    ) -> None:
        super().__init__()
        self.a = ConvNorm2d(in_channels, channels, kernel=1, stride=1, padding=0)
        self.b = ConvNorm2d(channels, channels, kernel=3, stride=stride, padding=1)
        self.c = ConvNorm2d(channels, channels_1, kernel=1, stride=1, padding=0)
        self.shortcut = Shortcut2d2(in_channels, channels_1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        main = F.relu(self.a(x))
        main = F.relu(self.b(main))
        main = self.c(main)
        return F.relu(main + self.shortcut(x))


class Backbone(nn.Module):
    """All but the classifier: the maps of the four stages (C2 to C5), whose sides are
    1/4, 1/8, 1/16 and 1/32 of the image's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm2d(3, 64, kernel=7, stride=2, padding=3)
        self.first = BottleneckBlock2(64, 64, stride=1, channels_1=256)
        self.rest = nn.ModuleList([BottleneckBlock(256, 64) for _ in range(2)])
        self.first_1 = BottleneckBlock2(256, 128, stride=2, channels_1=512)
        self.rest_1 = nn.ModuleList([BottleneckBlock(512, 128) for _ in range(3)])
        self.first_2 = BottleneckBlock2(512, 256, stride=2, channels_1=1024)
        self.rest_2 = nn.ModuleList([BottleneckBlock(1024, 256) for _ in range(5)])
        self.first_3 = BottleneckBlock2(1024, 512, stride=2, channels_1=2048)
        self.rest_3 = nn.ModuleList([BottleneckBlock(2048, 512) for _ in range(2)])

    def forward(self, image: Tensor) -> Tensor:
        h = F.max_pool2d(F.relu(self.stem(image)), 3, stride=2, padding=1)
        h = self.first(h)
        for layer in self.rest:
            h = layer(h)
        h = self.first_1(h)
        for layer in self.rest_1:
            h = layer(h)
        h = self.first_2(h)
        for layer in self.rest_2:
            h = layer(h)
        h = self.first_3(h)
        for layer in self.rest_3:
            h = layer(h)
        return h


class ResNet50(nn.Module):
    """[3, 4, 23, 3] is ResNet-101."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.fc = nn.Linear(2048, 1000)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, image: Tensor) -> Tensor:
        H, W = image.shape[2], image.shape[3]
        if H % 32 != 0 or W % 32 != 0:
            raise ValueError("image sides must be multiples of 32")
        maps_3 = self.backbone(image)  # [B, 2048, H // 32, W // 32]
        return self.fc(maps_3.mean(dim=(2, 3)))
