"""Tagger, compiled by dslc 0.1.0 from sequence_label.dl."""

import torch
from torch import Tensor, nn


class LSTM(nn.Module):
    """Gates i, f, o and candidate g from W_ih x + b_ih + W_hh h + b_hh, in the order i
    f g o: c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c). float[B, T,
    D] -> the states h of all steps, and the last h and c. Hochreiter & Schmidhuber
    1997; Gers et al. 2000. torch.nn.LSTM; ONNX LSTM, whose order is i o f g (there:
    iofc). With `bias_init`, such as gate_bias, that is where `bias_ih` begins, and
    `bias_hh` at 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(512, 64))
        self.weight_hh = nn.Parameter(torch.empty(512, 128))
        self.bias_ih = nn.Parameter(torch.empty(512))
        self.bias_hh = nn.Parameter(torch.empty(512))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight_ih, -0.08838834764831843, 0.08838834764831843)
        nn.init.uniform_(self.weight_hh, -0.08838834764831843, 0.08838834764831843)
        nn.init.uniform_(self.bias_ih, -0.08838834764831843, 0.08838834764831843)
        nn.init.uniform_(self.bias_hh, -0.08838834764831843, 0.08838834764831843)

    def forward(self, x: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        B = x.shape[0]
        inputs = x @ self.weight_ih.T  # [B, T, 512]
        bias = self.bias_ih + self.bias_hh
        inputs = inputs + bias
        zeros = x.new_zeros(B, 128)
        h = zeros
        c = zeros
        hs = []
        for t, input_ in enumerate(inputs.unbind(1)):
            i, f, g, o = (input_ + h @ self.weight_hh.T).chunk(4, dim=-1)
            c_1 = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h_1 = torch.sigmoid(o) * torch.tanh(c_1)
            h_2 = (t < length).unsqueeze(-1)
            hs.append(torch.where(h_2, h_1, 0.0))
            h = torch.where(h_2, h_1, h)
            c = torch.where(h_2, c_1, c)
        hs = torch.stack(hs, dim=1)
        return hs, h, c


class LSTM2(nn.Module):
    """Gates i, f, o and candidate g from W_ih x + b_ih + W_hh h + b_hh, in the order i
    f g o: c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c). float[B, T,
    D] -> the states h of all steps, and the last h and c. Hochreiter & Schmidhuber
    1997; Gers et al. 2000. torch.nn.LSTM; ONNX LSTM, whose order is i o f g (there:
    iofc). With `bias_init`, such as gate_bias, that is where `bias_ih` begins, and
    `bias_hh` at 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(512, 64))
        self.weight_hh = nn.Parameter(torch.empty(512, 128))
        self.bias_ih = nn.Parameter(torch.empty(512))
        self.bias_hh = nn.Parameter(torch.empty(512))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight_ih, -0.08838834764831843, 0.08838834764831843)
        nn.init.uniform_(self.weight_hh, -0.08838834764831843, 0.08838834764831843)
        nn.init.uniform_(self.bias_ih, -0.08838834764831843, 0.08838834764831843)
        nn.init.uniform_(self.bias_hh, -0.08838834764831843, 0.08838834764831843)

    def forward(self, x: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        B, T = x.shape[:2]
        inputs = x @ self.weight_ih.T  # [B, T, 512]
        bias = self.bias_ih + self.bias_hh
        inputs = inputs + bias
        zeros = x.new_zeros(B, 128)
        h = zeros
        c = zeros
        hs = []
        for t, input_ in zip(
            reversed(range(T)), reversed(inputs.unbind(1)), strict=True
        ):
            i, f, g, o = (input_ + h @ self.weight_hh.T).chunk(4, dim=-1)
            c_1 = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h_1 = torch.sigmoid(o) * torch.tanh(c_1)
            h_2 = (t < length).unsqueeze(-1)
            hs.append(torch.where(h_2, h_1, 0.0))
            h = torch.where(h_2, h_1, h)
            c = torch.where(h_2, c_1, c)
        hs = torch.stack(hs[::-1], dim=1)
        return hs, h, c


class Bidirectional(nn.Module):
    """Two layers of one kind (RNN, LSTM or GRU), the second of which reads from the
    end, and their states side by side: float[B, T, D] -> float[B, T, 2 * hidden].
    Children are `fore` and `back`. Schuster & Paliwal 1997.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fore = LSTM()
        self.back = LSTM2()

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        ahead, _, _ = self.fore(x, length)
        behind, _, _ = self.back(x, length)
        return torch.cat([ahead, behind], dim=-1)


class Tagger(nn.Module):
    """The states of both directions at a token decide on that one."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10000, 64)
        self.bidirectional = Bidirectional()
        self.out = nn.Linear(256, 17)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Tensor, length: Tensor) -> Tensor:
        h = self.bidirectional(self.embedding(tokens), length)
        return self.out(h)
