"""Training steps as one writes them by hand in PyTorch, of the networks of hand_torch.py and of a character LSTM.

A step takes a batch and gives the loss. `compiled` passes the loss through torch.compile, which is where a user would put it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import hand_torch
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Weights = Mapping[str, np.ndarray]
Loss = Callable[..., Tensor]
Step = Callable[..., Tensor]


class CharLSTM(nn.Module):
    def __init__(self, vocab: int = 65, width: int = 128, hidden: int = 512, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, width)
        self.lstm = nn.LSTM(width, hidden, layers, batch_first=True)
        self.out = nn.Linear(hidden, vocab)

    def forward(self, tokens: Tensor) -> Tensor:
        h, _ = self.lstm(self.embedding(tokens))
        return self.out(h)


def _lstm_state(weights: Weights) -> dict[str, Tensor]:
    state = {}
    for name, value in weights.items():
        layer, _, part = name.partition(".")
        name = f"lstm.{part}_l{layer.removeprefix('lstm').removeprefix('_') or 0}" if layer.startswith("lstm") else name
        state[name] = torch.from_numpy(value)
    return state


def _images(weights: Weights, compiled: bool) -> Step:
    net = hand_torch.network("mlp", weights).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def loss_of(x: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(net(x), label)

    return _step(loss_of, optimizer, net, None, compiled)


def _text(weights: Weights, compiled: bool) -> Step:
    net = CharLSTM()
    net.load_state_dict(_lstm_state(weights))
    return _step(_next_token(net), torch.optim.Adam(net.parameters(), lr=1e-3), net, 1.0, compiled)


def _words(weights: Weights, compiled: bool) -> Step:
    net = hand_torch.GPT2(layers=4)
    net.load_state_dict(hand_torch._gpt2_state(weights))
    matrices = [p for p in net.parameters() if p.ndim >= 2]
    others = [p for p in net.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return _step(_next_token(net), torch.optim.AdamW(groups, lr=3e-4), net, None, compiled)


def _next_token(net: nn.Module) -> Loss:
    def loss_of(tokens: Tensor) -> Tensor:
        logits = net(tokens[:, :-1])
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))

    return loss_of


def _step(loss_of: Loss, optimizer: torch.optim.Optimizer, net: nn.Module, clip: float | None, compiled: bool) -> Step:
    loss_of = torch.compile(loss_of) if compiled else loss_of

    def step(*batch: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(*batch)
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        return loss.detach()

    return step


STEPS: dict[str, Callable[[Weights, bool], Step]] = {"Images": _images, "Text": _text, "Words": _words}
