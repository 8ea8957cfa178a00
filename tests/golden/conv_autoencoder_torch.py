"""ConvAutoencoder, compiled by dslc 0.1.0 from conv_autoencoder.dl."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(1, 16, 4, stride=2, padding=1)
        self.conv2d_1 = nn.Conv2d(16, 32, 4, stride=2, padding=1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in (self.conv2d, self.conv2d_1):
            nn.init.kaiming_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.conv2d(image))
        x = F.relu(self.conv2d_1(x))
        return x


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_transpose2d = nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1)
        self.out = nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in (self.conv_transpose2d, self.out):
            nn.init.kaiming_uniform_(layer.weight, mode="fan_out")
            nn.init.zeros_(layer.bias)

    def forward(self, code: Tensor) -> Tensor:
        x = F.relu(self.conv_transpose2d(code))
        return torch.sigmoid(self.out(x))


class ConvAutoencoder(nn.Module):
    """Two widths, hence a code of a quarter of the height and width."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()

    def forward(self, image: Tensor) -> Tensor:
        H, W = image.shape[2], image.shape[3]
        if H % 4 != 0 or W % 4 != 0:
            raise ValueError("image sides must be multiples of 4")
        return self.decoder(self.encoder(image))

    def encode(self, image: Tensor) -> Tensor:
        return self.encoder(image)

    def decode(self, code: Tensor) -> Tensor:
        return self.decoder(code)
