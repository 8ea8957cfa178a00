"""ResNet50, compiled by dslc 0.1.0 from resnet.dl."""

import torch.nn.functional as F
from torch import Tensor, nn


class ConvNorm(nn.Module):
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


class Shortcut(nn.Module):
    """x itself, or its projection where the shape changes."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Shortcut2(nn.Module):
    """x itself, or its projection where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.project = ConvNorm(
            in_channels, channels, kernel=1, stride=stride, padding=0
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x)


class Bottleneck(nn.Module):
    """The stride is at the 3x3 convolution, as in torchvision ("v1.5"); the paper has
    it at the first 1x1.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.a = ConvNorm(in_channels, channels, kernel=1, stride=1, padding=0)
        self.b = ConvNorm(channels, channels, kernel=3, stride=1, padding=1)
        self.c = ConvNorm(channels, in_channels, kernel=1, stride=1, padding=0)
        self.shortcut = Shortcut()

    def forward(self, x: Tensor) -> Tensor:
        main = F.relu(self.a(x))
        main = F.relu(self.b(main))
        main = self.c(main)
        return F.relu(main + self.shortcut(x))


class Bottleneck2(nn.Module):
    """The stride is at the 3x3 convolution, as in torchvision ("v1.5"); the paper has
    it at the first 1x1.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, channels_1: int
    ) -> None:
        super().__init__()
        self.a = ConvNorm(in_channels, channels, kernel=1, stride=1, padding=0)
        self.b = ConvNorm(channels, channels, kernel=3, stride=stride, padding=1)
        self.c = ConvNorm(channels, channels_1, kernel=1, stride=1, padding=0)
        self.shortcut = Shortcut2(in_channels, channels_1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        main = F.relu(self.a(x))
        main = F.relu(self.b(main))
        main = self.c(main)
        return F.relu(main + self.shortcut(x))


class ResNet50(nn.Module):
    """ResNet-50; [3, 4, 23, 3] is ResNet-101."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 64, kernel=7, stride=2, padding=3)
        self.first = Bottleneck2(64, 64, stride=1, channels_1=256)
        self.rest = nn.ModuleList([Bottleneck(256, 64) for _ in range(2)])
        self.first_1 = Bottleneck2(256, 128, stride=2, channels_1=512)
        self.rest_1 = nn.ModuleList([Bottleneck(512, 128) for _ in range(3)])
        self.first_2 = Bottleneck2(512, 256, stride=2, channels_1=1024)
        self.rest_2 = nn.ModuleList([Bottleneck(1024, 256) for _ in range(5)])
        self.first_3 = Bottleneck2(1024, 512, stride=2, channels_1=2048)
        self.rest_3 = nn.ModuleList([Bottleneck(2048, 512) for _ in range(2)])
        self.fc = nn.Linear(2048, 1000)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, image: Tensor) -> Tensor:
        H, W = image.shape[2], image.shape[3]
        if H % 32 != 0 or W % 32 != 0:
            raise ValueError("image sides must be multiples of 32")
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
        return self.fc(h.mean(dim=(2, 3)))
