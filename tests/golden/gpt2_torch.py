"""GPT2, compiled by dslc 0.1.0 from gpt2.dl."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def split_heads(x: Tensor) -> Tensor:
    """[B, T, heads * D] -> [B, heads, T, D]"""
    return x.unflatten(-1, (12, 64)).transpose(1, 2)


class SelfAttention(nn.Module):
    """MultiHeadAttention of a sequence to itself: float[B, T, D] -> float[B, T, D].
    Children `q`, `k`, `v`, `out`; masks as there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(768, 768)
        self.k = nn.Linear(768, 768)
        self.v = nn.Linear(768, 768)
        self.out = nn.Linear(768, 768)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in (self.q, self.k, self.v):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.out.weight, std=0.004082482904638631)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        q = split_heads(self.q(x))  # [B, 12, T, 64]
        k = split_heads(self.k(x))  # [B, 12, T, 64]
        v = split_heads(self.v(x))  # [B, 12, T, 64]
        y = F.scaled_dot_product_attention(
            q, k, v, dropout_p=0.1 if self.training else 0.0, is_causal=True
        )
        return self.out(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and a feed-forward step. What is added to the residual starts smaller
    in deeper networks (`out_std`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(768)
        self.attn = SelfAttention()
        self.ln_2 = nn.LayerNorm(768)
        self.fc = nn.Linear(768, 3072)
        self.proj = nn.Linear(3072, 768)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.fc.weight, std=0.02)
        nn.init.zeros_(self.fc.bias)
        nn.init.normal_(self.proj.weight, std=0.004082482904638631)
        nn.init.zeros_(self.proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x + F.dropout(self.attn(self.ln_1(x)), 0.1, self.training)
        h = F.gelu(self.fc(self.ln_2(x)), approximate="tanh")
        return x + F.dropout(self.proj(h), 0.1, self.training)


class GPT2(nn.Module):
    """Medium is width=1024, layers=24, heads=16; large 1280, 36, 20; XL 1600, 48,
    25.
    """

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(50257, 768)
        self.wpe = nn.Embedding(1024, 768)
        self.blocks = nn.ModuleList([Block() for _ in range(12)])
        self.ln_f = nn.LayerNorm(768)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.wte.weight, std=0.02)
        nn.init.normal_(self.wpe.weight, std=0.01)

    def forward(self, tokens: Tensor) -> Tensor:
        T = tokens.shape[1]
        if T > 1024:
            raise ValueError("the sequence is longer than the context window")
        h = self.wte(tokens) + self.wpe(torch.arange(T, device=tokens.device))
        h = F.dropout(h, 0.1, self.training)
        for block in self.blocks:
            h = block(h)
        h = self.ln_f(h)
        return h @ self.wte.weight.T
