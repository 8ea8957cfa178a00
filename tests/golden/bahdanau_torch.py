"""Bahdanau, compiled by dslc 0.1.0 from bahdanau.dl."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GRU(nn.Module):
    """Gates r and z and candidate n, in the order r z n: h = (1 - sigmoid(z)) n +
    sigmoid(z) h, n = tanh(W_in x + b_in + sigmoid(r) (W_hn h + b_hn)), with the
    reset after the product. float[B, T, D] -> the states of all steps and the last
    one. Cho et al. 2014, who reset before the product. torch.nn.GRU; ONNX GRU with
    linear_before_reset = 1, whose order is z r n (there: zrh); Keras with
    reset_after.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(3000, 620))
        self.weight_hh = nn.Parameter(torch.empty(3000, 1000))
        self.bias_ih = nn.Parameter(torch.empty(3000))
        self.bias_hh = nn.Parameter(torch.empty(3000))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight_ih, -0.03162277660168379, 0.03162277660168379)
        nn.init.uniform_(self.weight_hh, -0.03162277660168379, 0.03162277660168379)
        nn.init.uniform_(self.bias_ih, -0.03162277660168379, 0.03162277660168379)
        nn.init.uniform_(self.bias_hh, -0.03162277660168379, 0.03162277660168379)

    def forward(self, x: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        B = x.shape[0]
        inputs = x @ self.weight_ih.T  # [B, T, 3000]
        inputs = inputs + self.bias_ih
        h = x.new_zeros(B, 1000)
        hs = []
        for t, input_ in enumerate(inputs.unbind(1)):
            r_x, z_x, n_x = input_.chunk(3, dim=-1)
            state = h @ self.weight_hh.T + self.bias_hh
            r_h, z_h, n_h = state.chunk(3, dim=-1)
            z = torch.sigmoid(z_x + z_h)
            h_1 = (1.0 - z) * torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
            h_1 = h_1 + z * h
            h_2 = (t < length).unsqueeze(-1)
            hs.append(torch.where(h_2, h_1, 0.0))
            h = torch.where(h_2, h_1, h)
        hs = torch.stack(hs, dim=1)
        return hs, h


class GRU2(nn.Module):
    """Gates r and z and candidate n, in the order r z n: h = (1 - sigmoid(z)) n +
    sigmoid(z) h, n = tanh(W_in x + b_in + sigmoid(r) (W_hn h + b_hn)), with the
    reset after the product. float[B, T, D] -> the states of all steps and the last
    one. Cho et al. 2014, who reset before the product. torch.nn.GRU; ONNX GRU with
    linear_before_reset = 1, whose order is z r n (there: zrh); Keras with
    reset_after.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(3000, 620))
        self.weight_hh = nn.Parameter(torch.empty(3000, 1000))
        self.bias_ih = nn.Parameter(torch.empty(3000))
        self.bias_hh = nn.Parameter(torch.empty(3000))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight_ih, -0.03162277660168379, 0.03162277660168379)
        nn.init.uniform_(self.weight_hh, -0.03162277660168379, 0.03162277660168379)
        nn.init.uniform_(self.bias_ih, -0.03162277660168379, 0.03162277660168379)
        nn.init.uniform_(self.bias_hh, -0.03162277660168379, 0.03162277660168379)

    def forward(self, x: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        B, T = x.shape[:2]
        inputs = x @ self.weight_ih.T  # [B, T, 3000]
        inputs = inputs + self.bias_ih
        h = x.new_zeros(B, 1000)
        hs = []
        for t, input_ in zip(
            reversed(range(T)), reversed(inputs.unbind(1)), strict=True
        ):
            r_x, z_x, n_x = input_.chunk(3, dim=-1)
            state = h @ self.weight_hh.T + self.bias_hh
            r_h, z_h, n_h = state.chunk(3, dim=-1)
            z = torch.sigmoid(z_x + z_h)
            h_1 = (1.0 - z) * torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
            h_1 = h_1 + z * h
            h_2 = (t < length).unsqueeze(-1)
            hs.append(torch.where(h_2, h_1, 0.0))
            h = torch.where(h_2, h_1, h)
        hs = torch.stack(hs[::-1], dim=1)
        return hs, h


def masked_softmax(x: Tensor, mask: Tensor) -> Tensor:
    """softmax over the places where `mask` is true; uniform where none is."""
    return F.softmax(torch.where(mask, x, -1e30), dim=-1)


class AdditiveScore(nn.Module):
    """v . tanh(W [q; k]), the matrix as two: one for the queries, one for the keys.
    Bahdanau et al. 2015, appendix A.1.2.
    """

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(1000, 1000, bias=False)
        self.key = nn.Linear(2000, 1000, bias=False)
        self.v = nn.Linear(1000, 1, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in (self.query, self.key, self.v):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        q = self.query(queries)
        k = self.key(keys)  # [B, S, 1000]
        return self.v(torch.tanh(q.unsqueeze(2) + k.unsqueeze(1))).squeeze(-1)


class StackedGRU(nn.Module):
    """Layers of GRU as StackedRNN has them of RNN. torch.nn.GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.fore = GRU()
        self.back = GRU2()

    def forward(self, x: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        hs, h = self.fore(x, length)
        hs_back, h_back = self.back(x, length)
        hs = torch.cat([hs, hs_back], dim=-1)  # [B, T, 2000]
        h = torch.stack([h, h_back], dim=0)  # [2, B, 1000]
        return hs, h


class DecoderStep(nn.Module):
    """One target word: where to look, by the state before it; the state after it; and
    what the next word may be.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30000, 620)
        self.score = AdditiveScore()
        self.cell = nn.GRUCell(2620, 1000)
        self.linear = nn.Linear(3620, 1240)
        self.linear_1 = nn.Linear(620, 30000)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in (self.linear, self.linear_1):
            nn.init.kaiming_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, token: Tensor, s: Tensor, memory: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        word = self.embedding(token)  # [B, 620]
        scores = self.score(s.unsqueeze(1), memory)  # [B, 1, S]
        weights = masked_softmax(scores.squeeze(1), mask)
        context = torch.einsum("bs,bsm->bm", weights, memory)  # [B, 2000]
        s = self.cell(torch.cat([word, context], dim=-1), s)
        h = self.linear(torch.cat([s, word, context], dim=-1)).unflatten(-1, (620, 2))
        maxout = h.amax(dim=-1)  # [B, 620]
        return self.linear_1(maxout), s, weights


class Bahdanau(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30000, 620)
        self.encoder = StackedGRU()
        self.start = nn.Linear(1000, 1000)
        self.step = DecoderStep()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.start.weight)
        nn.init.zeros_(self.start.bias)

    def forward(
        self, source: Tensor, length: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Teacher forcing: `target` begins with token 0, the start, and logits[:, t]
        are of the word after target[:, t].
        """
        S = source.shape[1]
        memory, last = self.encoder(self.embedding(source), length)
        mask = torch.arange(S, device=source.device) < length.unsqueeze(-1)  # [B, S]
        s = torch.tanh(self.start(last[1:].squeeze(0)))
        logits = []
        alignment = []
        for token in target.unbind(1):
            y, s, weights = self.step(token, s, memory, mask)
            logits.append(y)
            alignment.append(weights)
        logits = torch.stack(logits, dim=1)
        alignment = torch.stack(alignment, dim=1)
        return logits, alignment

    def translate(self, source: Tensor, length: Tensor) -> Tensor:
        """Free running: each word is the likeliest after the one before."""
        S = source.shape[1]
        memory, last = self.encoder(self.embedding(source), length)
        mask = torch.arange(S, device=source.device) < length.unsqueeze(-1)  # [B, S]
        s = torch.tanh(self.start(last[1:].squeeze(0)))
        token = torch.zeros_like(length)
        words = []
        for _ in range(50):
            y, s, _ = self.step(token, s, memory, mask)
            token = y.argmax(dim=-1)  # [B]
            words.append(token)
        words = torch.stack(words)
        return words.T
