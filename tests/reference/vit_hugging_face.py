"""Vision Transformer in PyTorch, with the modules and the state_dict keys of Hugging Face's checkpoints.

Paper: https://arxiv.org/abs/2010.11929.
Upstream: huggingface/transformers, models/vit/modeling_vit.py.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def module(**children: nn.Module) -> nn.Module:
    """A module that only holds others."""
    parent = nn.Module()
    for name, child in children.items():
        parent.add_module(name, child)
    return parent


class Layer(nn.Module):
    def __init__(self, hidden: int, heads: int):
        super().__init__()
        self.heads = heads
        inner = module(**{name: nn.Linear(hidden, hidden) for name in ("query", "key", "value")})
        self.attention = module(attention=inner, output=module(dense=nn.Linear(hidden, hidden)))
        self.intermediate = module(dense=nn.Linear(hidden, 4 * hidden), intermediate_act_fn=nn.GELU())
        self.output = module(dense=nn.Linear(4 * hidden, hidden))
        self.layernorm_before = nn.LayerNorm(hidden, eps=1e-12)
        self.layernorm_after = nn.LayerNorm(hidden, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        inner, y = self.attention.attention, self.layernorm_before(x)
        q, k, v = (
            part(y).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (inner.query, inner.key, inner.value)
        )
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = self.attention.output.dense(y) + x
        y = self.intermediate.intermediate_act_fn(self.intermediate.dense(self.layernorm_after(x)))
        return self.output.dense(y) + x


class Embeddings(nn.Module):
    def __init__(self, patch: int, hidden: int, size: tuple[int, int]):
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, hidden))
        tokens = 1 + size[0] // patch * (size[1] // patch)
        self.position_embeddings = nn.Parameter(torch.empty(1, tokens, hidden))
        self.patch_embeddings = module(projection=nn.Conv2d(3, hidden, patch, patch))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embeddings.projection(x).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.position_embeddings


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
        encoder = module(layer=nn.ModuleList(Layer(hidden, heads) for _ in range(layers)))
        norm = nn.LayerNorm(hidden, eps=1e-12)
        self.vit = module(embeddings=Embeddings(patch, hidden, size), encoder=encoder, layernorm=norm)
        self.classifier = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.vit.embeddings(x)
        for layer in self.vit.encoder.layer:
            x = layer(x)
        return self.classifier(self.vit.layernorm(x)[:, 0])


MODELS = {"vit_b_16_hf": partial(ViT, 16, 12, 768, 12)}
