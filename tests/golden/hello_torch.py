"""Hello, compiled by dslc 0.1.0 from hello.dl."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RNN(nn.Module):
    """h = act(W_ih x + b_ih + W_hh h + b_hh) for each step: float[B, T, D] -> the
    states of all steps and the last one. Elman 1990; torch.nn.RNN; ONNX RNN.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(3, 4))
        self.weight_hh = nn.Parameter(torch.empty(3, 3))
        self.bias_ih = nn.Parameter(torch.empty(3))
        self.bias_hh = nn.Parameter(torch.empty(3))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight_ih, -0.5773502691896258, 0.5773502691896258)
        nn.init.uniform_(self.weight_hh, -0.5773502691896258, 0.5773502691896258)
        nn.init.uniform_(self.bias_ih, -0.5773502691896258, 0.5773502691896258)
        nn.init.uniform_(self.bias_hh, -0.5773502691896258, 0.5773502691896258)

    @torch.compiler.disable
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        zeros = x.new_zeros(1, x.shape[0], self.weight_hh.shape[1])
        weights = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        hs, h = torch.rnn_tanh(
            x,
            zeros,
            weights,
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=torch.is_grad_enabled(),
            bidirectional=False,
            batch_first=True,
        )
        return hs, h[0]


class Hello(nn.Module):
    """Of two letters "l", the first is followed by "l" and the second by "o": only the
    state tells them apart. Without it (`recurrent=false`) the loss cannot go below
    ln 2 / 2.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rnn = RNN()
        self.out = nn.Linear(3, 4)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        e = F.one_hot(x, 4).to(torch.float32)  # [B, T, 4]
        hs, _ = self.rnn(e)
        return self.out(hs)
