"""Vision Transformer in PyTorch, with the state_dict keys of torchvision's checkpoints.

Paper: https://arxiv.org/abs/2010.11929.
Upstream: pytorch/vision, torchvision/models/vision_transformer.py.
"""

from functools import partial

import torch
from torch import Tensor, nn


class Layer(nn.Module):
    def __init__(self, hidden: int, heads: int):
        super().__init__()
        self.ln_1 = nn.LayerNorm(hidden, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(hidden, eps=1e-6)
        first, last = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)
        self.mlp = nn.Sequential(first, nn.GELU(), nn.Dropout(0.0), last, nn.Dropout(0.0))

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.self_attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    def __init__(self, tokens: int, layers: int, hidden: int, heads: int):
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, tokens, hidden))
        self.layers = nn.Sequential()
        for i in range(layers):
            self.layers.add_module(f"encoder_layer_{i}", Layer(hidden, heads))
        self.ln = nn.LayerNorm(hidden, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.ln(self.layers(x + self.pos_embedding))


class ViT(nn.Module):
    """(N, 3, size, size) in, logits (N, num_classes) out."""

    def __init__(
        self,
        patch: int,
        layers: int,
        hidden: int,
        heads: int,
        num_classes: int = 1000,
        size: tuple[int, int] = (224, 224),
    ):
        super().__init__()
        self.class_token = nn.Parameter(torch.empty(1, 1, hidden))
        self.conv_proj = nn.Conv2d(3, hidden, patch, patch)
        self.encoder = Encoder(1 + size[0] // patch * (size[1] // patch), layers, hidden, heads)
        self.heads = nn.Sequential()
        self.heads.add_module("head", nn.Linear(hidden, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_proj(x).flatten(2).transpose(1, 2)
        x = self.encoder(torch.cat([self.class_token.expand(len(x), -1, -1), x], 1))
        return self.heads(x[:, 0])


MODELS = {
    "vit_b_16": partial(ViT, 16, 12, 768, 12),
    "vit_b_32": partial(ViT, 32, 12, 768, 12),
    "vit_l_16": partial(ViT, 16, 24, 1024, 16),
    "vit_l_32": partial(ViT, 32, 24, 1024, 16),
}
