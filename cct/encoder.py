"""The transformer encoder: tokens `(batch, tokens, channels)` in, the same shape out.

A mask `(batch, tokens)` is false where a token is padding, to which no token attends.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cct.cpu import Linear, scaled_dot_product_attention
from cct.named_models import EncoderConfig


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2) with dropout of the attention weights."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.attention_dropout = config.attention_dropout
        self.qkv = Linear(config.embed_dim, 3 * config.embed_dim, bias=False)
        self.proj = Linear(config.embed_dim, config.embed_dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.attention_dropout if self.training else 0.0
        keys = None if mask is None else mask[:, None, None]
        heads = scaled_dot_product_attention(q, k, v, keys, dropout)
        attended: Tensor = self.dropout(self.proj(heads.transpose(1, 2).flatten(2)))
        return attended


class StochasticDepth(nn.Module):
    """Drops a residual branch per image with probability `p` (Huang et al. 2016), scaling the others by 1 / (1 - p)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return branch
        kept = torch.empty(len(branch), 1, 1, device=branch.device, dtype=branch.dtype).bernoulli_(1 - self.p)
        return branch * (kept / (1 - self.p))


class Block(nn.Module):
    """One encoder block. As in the reference, the MLP's residual starts from the normalised tokens."""

    def __init__(self, config: EncoderConfig, stochastic_depth: float) -> None:
        super().__init__()
        hidden = config.mlp_ratio * config.embed_dim
        self.pre_norm = nn.LayerNorm(config.embed_dim)
        self.self_attn = Attention(config)
        self.linear1 = Linear(config.embed_dim, hidden)
        self.norm1 = nn.LayerNorm(config.embed_dim)
        self.linear2 = Linear(hidden, config.embed_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.stochastic_depth = StochasticDepth(stochastic_depth)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.norm1(x + self.stochastic_depth(self.self_attn(self.pre_norm(x), mask)))
        mlp: Tensor = self.linear2(self.dropout(F.gelu(self.linear1(x))))
        branch: Tensor = self.stochastic_depth(self.dropout(mlp))
        return x + branch
