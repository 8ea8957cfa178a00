"""SlowFusion, compiled by dslc 0.1.0 from video_cnn.dl."""

import torch.nn.functional as F
from torch import Tensor, nn


def halve_frames(x: Tensor, length: int, height: int) -> Tensor:
    """Normalised and halved, each frame for itself."""
    y = F.local_response_norm(x.flatten(2, 3), size=5, alpha=0.0005, beta=0.5, k=2.0)
    y = y.unflatten(2, (length, height))
    return F.max_pool3d(y, (1, 2, 2), ceil_mode=True)


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc6 = nn.Linear(12544, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, 487)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in (self.fc6, self.fc7, self.fc8):
            nn.init.kaiming_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = F.dropout(F.relu(self.fc6(x)), 0.5, self.training)
        h = F.dropout(F.relu(self.fc7(h)), 0.5, self.training)
        return self.fc8(h)


class SlowFusion(nn.Module):
    """Of ten frames the first convolution makes four maps in time, the second two, the
    third one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 96, (4, 11, 11), stride=(2, 3, 3))
        self.conv2 = nn.Conv3d(96, 256, (2, 5, 5), stride=(2, 1, 1), padding=(0, 2, 2))
        self.conv3 = nn.Conv3d(256, 384, (2, 3, 3), padding=(0, 1, 1))
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1)
        self.head = Classifier()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            nn.init.kaiming_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, clip: Tensor) -> Tensor:
        h = halve_frames(F.relu(self.conv1(clip)), length=4, height=54)
        h = halve_frames(F.relu(self.conv2(h)), length=2, height=27)
        h = F.relu(self.conv3(h)).squeeze(2)
        h = F.relu(self.conv4(h))
        h = F.max_pool2d(F.relu(self.conv5(h)), 2, ceil_mode=True)  # [B, 256, 7, 7]
        return self.head(h.flatten(1))
