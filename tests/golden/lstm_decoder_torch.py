"""LSTMDecoder, compiled by dslc 0.1.0 from lstm_decoder.dl."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LSTM(nn.Module):
    """Gates i, f, o and candidate g from W_ih x + b_ih + W_hh h + b_hh, in the order i
    f g o: c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c). float[B, T,
    D] -> the states h of all steps, and the last h and c. Hochreiter & Schmidhuber
    1997; Gers et al. 2000. torch.nn.LSTM; ONNX LSTM, whose order is i o f g (there:
    iofc). With `bias_init`, such as gate_bias, that is where `bias_ih` begins, and
    `bias_hh` at 0.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(2400, dim))
        self.weight_hh = nn.Parameter(torch.empty(2400, 600))
        self.bias_ih = nn.Parameter(torch.empty(2400))
        self.bias_hh = nn.Parameter(torch.empty(2400))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight_ih, -0.040824829046386304, 0.040824829046386304)
        nn.init.uniform_(self.weight_hh, -0.040824829046386304, 0.040824829046386304)
        nn.init.uniform_(self.bias_ih, -0.040824829046386304, 0.040824829046386304)
        nn.init.uniform_(self.bias_hh, -0.040824829046386304, 0.040824829046386304)

    @torch.compiler.disable
    def forward(
        self, x: Tensor, h0: Tensor, c0: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        weights = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        hs, h, c = torch.lstm(
            x,
            (h0.unsqueeze(0), c0.unsqueeze(0)),
            weights,
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=torch.is_grad_enabled(),
            bidirectional=False,
            batch_first=True,
        )
        return hs, h[0], c[0]


class StackedLSTM(nn.Module):
    """Layers of LSTM as StackedRNN has them of RNN; `c0` and `c` as `h0` and `h`.
    torch.nn.LSTM.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fore = LSTM(900)
        self.fore_1 = LSTM(600)

    def forward(
        self, x: Tensor, h0: Tensor, c0: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        hs, h, c = self.fore(x, h0[:1].squeeze(0), c0[:1].squeeze(0))
        hs, h_1, c_1 = self.fore_1(hs, h0[1:].squeeze(0), c0[1:].squeeze(0))
        h = torch.stack([h, h_1], dim=0)  # [2, B, 600]
        c = torch.stack([c, c_1], dim=0)  # [2, B, 600]
        return hs, h, c


class DecoderStep(nn.Module):
    """One word: `found` is the attentional state tanh(W [context; s])."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50000, 300)
        self.lstm = StackedLSTM()
        self.query = nn.Linear(600, 600)
        self.mix = nn.Linear(1200, 600)
        self.out = nn.Linear(600, 50000)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in (self.query, self.mix, self.out):
            nn.init.kaiming_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, token: Tensor, found: Tensor, h: Tensor, c: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        word = self.embedding(token)  # [B, 300]
        states, h, c = self.lstm(torch.cat([word, found], dim=-1).unsqueeze(1), h, c)
        s = states.squeeze(1)  # [B, 600]
        weights = F.softmax(torch.einsum("bsm,bm->bs", memory, self.query(s)), dim=-1)
        context = torch.einsum("bs,bsm->bm", weights, memory)  # [B, 600]
        found = torch.tanh(self.mix(torch.cat([context, s], dim=-1)))
        logits = self.out(found)  # [B, 50000]
        return logits, found, h, c, weights


class LSTMDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.step = DecoderStep()

    def forward(self, memory: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher forcing: `target` begins with token 0, the start, and logits[:, t]
        are of the word after target[:, t].
        """
        B = memory.shape[0]
        zeros = memory.new_zeros(2, B, 600)
        found = memory.new_zeros(B, 600)
        h = zeros
        c = zeros
        logits = []
        alignment = []
        for token in target.unbind(1):
            y, found, h, c, weights = self.step(token, found, h, c, memory)
            logits.append(y)
            alignment.append(weights)
        logits = torch.stack(logits, dim=1)
        alignment = torch.stack(alignment, dim=1)
        return logits, alignment

    def translate(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Free running: each word is the likeliest after the one before."""
        B = memory.shape[0]
        zeros = memory.new_zeros(2, B, 600)
        token = torch.zeros(B, dtype=torch.int64, device=memory.device)
        found = memory.new_zeros(B, 600)
        h = zeros
        c = zeros
        words = []
        logits = []
        for _ in range(50):
            y, found, h, c, _ = self.step(token, found, h, c, memory)
            token = y.argmax(dim=-1)  # [B]
            words.append(token)
            logits.append(y)
        words = torch.stack(words)
        logits = torch.stack(logits)
        return words.T, logits.transpose(0, 1)
