"""The three networks as one writes them by hand in PyTorch, with the weights that dslc names.

MLP 784-256-256-10; ResNet-50 as in torchvision; GPT-2 small as in nanoGPT (queries, keys and values are one product).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Weights = Mapping[str, np.ndarray]


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, 256)
        self.fc2 = nn.Linear(256, 256)
        self.fc3 = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


class Bottleneck(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        out = 4 * channels
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or channels_in != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels_in, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += identity
        return self.relu(y)


class ResNet50(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        layers: list[nn.Module] = []
        channels_in = 64
        for i, (depth, channels) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True)):
            for j in range(depth):
                layers.append(Bottleneck(channels_in, channels, stride=2 if i > 0 and j == 0 else 1))
                channels_in = 4 * channels
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(2048, 1000)

    def forward(self, image: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        x = self.layers(x)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.c_attn(x).split(C, dim=2)
        q = q.view(B, T, self.heads, C // self.heads).transpose(1, 2)
        k = k.view(B, T, self.heads, C // self.heads).transpose(1, 2)
        v = v.view(B, T, self.heads, C // self.heads).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.c_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class GPT2(nn.Module):
    def __init__(self, vocab: int = 50257, context: int = 1024, width: int = 768, layers: int = 12, heads: int = 12) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocab, width)
        self.wpe = nn.Embedding(context, width)
        self.h = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.ln_f = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.h:
            x = block(x)
        return F.linear(self.ln_f(x), self.wte.weight)


def _in_order(net: nn.Module, weights: Weights) -> dict[str, Tensor]:
    """The weights under the names of `net`, which declares its layers in the order of the spec."""
    own = dict.fromkeys(name.rpartition(".")[0] for name in net.state_dict())
    given = dict.fromkeys(name.rpartition(".")[0] for name in weights)
    renamed = dict(zip(given, own, strict=True))
    return {f"{renamed[n.rpartition('.')[0]]}.{n.rpartition('.')[2]}": torch.from_numpy(v) for n, v in weights.items()}


def _gpt2_state(weights: Weights) -> dict[str, Tensor]:
    renamed = {".attn.out.": ".attn.c_proj.", ".fc.": ".c_fc.", ".proj.": ".c_proj.", "blocks.": "h."}
    state: dict[str, np.ndarray] = {}
    for name, value in weights.items():
        if ".attn.q." in name:
            parts = [weights[name.replace(".q.", f".{part}.")] for part in "qkv"]
            name, value = name.replace(".q.", ".c_attn."), np.concatenate(parts)
        elif ".attn.k." in name or ".attn.v." in name:
            continue
        for ours, theirs in renamed.items():
            name = name.replace(ours, theirs)
        state[name] = value
    return {name: torch.from_numpy(value) for name, value in state.items()}


def network(name: str, weights: Weights) -> nn.Module:
    """The network called `name` with these weights, for inference."""
    net: nn.Module = {"mlp": MLP, "resnet50": ResNet50, "gpt2": GPT2}[name]()
    state = _gpt2_state(weights) if name == "gpt2" else _in_order(net, weights)
    net.load_state_dict(state, strict=False)
    missing = [k for k in net.state_dict() if k not in state and not k.endswith("num_batches_tracked")]
    if missing:
        raise ValueError(f"no weights for {missing}")
    return net.eval()
