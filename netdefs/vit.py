"""Vision Transformer for image classification.

Paper: https://arxiv.org/abs/2010.11929.
Upstream: torchvision/models/vision_transformer.py (BSD-3-Clause); for vit_b_16_hf huggingface/transformers,
models/vit/modeling_vit.py (Apache-2.0), ViTForImageClassification.

Input: (N, 3, H, W) RGB, ImageNet's mean and std, or -1 to 1 for vit_b_16_hf; 224 x 224, or the size that the weights'
positions are for. Output: `logits` (N, num_classes).
"""

from typing import Any

import numpy as np

from netdefs.core.blocks import attend, layer_norm
from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.preprocess import IMAGENET, Decode, Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {
    "vit_b_16": {"patch": 16, "layers": 12, "heads": 12, "hidden": 768},
    "vit_b_32": {"patch": 32, "layers": 12, "heads": 12, "hidden": 768},
    "vit_l_16": {"patch": 16, "layers": 24, "heads": 16, "hidden": 1024},
    "vit_l_32": {"patch": 32, "layers": 24, "heads": 16, "hidden": 1024},
    "vit_b_16_hf": {"patch": 16, "layers": 12, "heads": 12, "hidden": 768},
}


def define(
    net: Network, x: Tensor, variant: str = "vit_b_16", num_classes: int | None = None, eps: float | None = None
) -> Tensor:
    """Adds a Vision Transformer to `net` and returns its `logits`, (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 3, H, W), H and W multiples of the patch's size.
        variant: one of `VARIANTS`.
        num_classes: read off the weights when None.
        eps: of the layer norms; 1e-6 when None, or Hugging Face's 1e-12.

    Raises:
        NetworkError: the size is dynamic, or no multiple of the patch's.
    """
    config = config_of(VARIANTS, variant)
    hidden, patch = config["hidden"], config["patch"]
    height, width = (net.known_size(x, axis, variant) for axis in (2, 3))
    if height % patch or width % patch:
        raise NetworkError(f"{variant} takes multiples of {patch} for height and width, not {height} x {width}.")
    if variant == "vit_b_16_hf":
        return hugging_face(net, x, config, num_classes, 1e-12 if eps is None else eps)
    eps = 1e-6 if eps is None else eps
    x = with_class_token(
        net, patches(net, x, "conv_proj", hidden, patch), ("class_token", "encoder.pos_embedding", "positioned")
    )
    for i in range(config["layers"]):
        x = block(net / "encoder" / "layers" / f"encoder_layer_{i}", x, config["heads"], eps)
    # Only the class token goes on, and each token is normalized by itself.
    x = net.slice(layer_norm(net, x, "encoder.ln", eps=eps), "class", 1, 0, 1)
    x = net.flatten(x, "flatten", start_dim=1)
    x = net.linear(x, "heads.head", net.class_count(num_classes, "heads.head.bias", default=1000))
    return net.output(x, "logits")


def hugging_face(net: Network, x: Tensor, config: dict[str, Any], num_classes: int | None, eps: float) -> Tensor:
    """The same network with the modules of transformers' ViTForImageClassification."""
    vit, hidden = net / "vit", config["hidden"]
    x = patches(vit, x, "embeddings.patch_embeddings.projection", hidden, config["patch"])
    x = with_class_token(vit / "embeddings", x, ("cls_token", "position_embeddings", None))
    for i in range(config["layers"]):
        x = hugging_face_block(vit / "encoder" / "layer" / i, x, config["heads"], eps)
    x = vit.slice(layer_norm(vit, x, "layernorm", eps=eps), "class", 1, 0, 1)
    x = vit.flatten(x, "flatten", start_dim=1)
    return net.output(
        net.linear(x, "classifier", net.class_count(num_classes, "classifier.bias", default=1000)), "logits"
    )


def hugging_face_block(net: Network, x: Tensor, heads: int, eps: float) -> Tensor:
    """`block`, of which queries, keys and values are linear layers of their own."""
    hidden, before = int(x.shape[2]), layer_norm(net, x, "layernorm_before", eps=eps)
    inner = net / "attention" / "attention"
    query, key, value = (inner.linear(before, name, hidden) for name in ("query", "key", "value"))
    out = attend(inner, query, key, value, heads)
    x = net.add(net.linear(out, "attention.output.dense", hidden), x, "attended")
    out = net.linear(layer_norm(net, x, "layernorm_after", eps=eps), "intermediate.dense", 4 * hidden)
    out = net.gelu(out, "intermediate.intermediate_act_fn")
    return net.add(net.linear(out, "output.dense", hidden), x)


def patches(net: Network, x: Tensor, name: str, hidden: int, patch: int) -> Tensor:
    """Squares of a picture as tokens: (N, 3, H, W) -> (N, L, hidden)."""
    x = net.conv(x, name, hidden, kernel=patch, stride=patch)
    return net.permute(net.flatten(x, "patches", start_dim=2), "tokens", (0, 2, 1))


def with_class_token(net: Network, x: Tensor, names: tuple[str, str, str | None]) -> Tensor:
    """Patches, (N, L, hidden), with one more in front of them, and the positions added: (N, 1 + L, hidden).

    `names` are those of the token's and of the positions' weights, and of the result.
    """
    count, hidden = int(x.shape[1]), int(x.shape[2])
    token_name, position_name, name = names
    position = net.weights.take(net.path_of(position_name), (1, count + 1, hidden))
    token = net.weights.take(net.path_of(token_name), (1, 1, hidden))
    # Of any batch: zeros of the first patch's shape, and the token added to them.
    nothing = net.mul(net.slice(x, "first", 1, 0, 1), 0.0, "nothing")
    first = net.add(nothing, net.constant(token.astype(np.float32), token_name, like=x), "class_tokens")
    x = net.concat([first, x], "all", dim=1)
    return net.add(x, net.constant(position, position_name, like=x), name)


def block(net: Network, x: Tensor, heads: int, eps: float) -> Tensor:
    """Attention and a multi-layer perceptron, each behind a layer norm and added to what goes in."""
    hidden = int(x.shape[2])
    x = net.add(attention(net / "self_attention", layer_norm(net, x, "ln_1", eps=eps), heads), x, "attended")
    out = net.gelu(net.linear(layer_norm(net, x, "ln_2", eps=eps), "mlp.0", 4 * hidden), "mlp.1")
    return net.add(net.linear(out, "mlp.3", hidden), x)


def attention(net: Network, x: Tensor, heads: int) -> Tensor:
    """`nn.MultiheadAttention` of x, (N, L, C), to itself."""
    hidden = int(x.shape[2])
    query, key, value = in_projection(net, x, hidden)
    out = attend(net, query, key, value, heads)
    return net.linear(out, "out_proj", hidden)


def in_projection(net: Network, x: Tensor, hidden: int) -> list[Tensor]:
    """Queries, keys and values: one linear layer, whose weights are called `in_proj_weight` and `in_proj_bias`."""
    weight = net.weights.take(net.path_of("in_proj_weight"), (3 * hidden, hidden)).T[None]
    bias = net.weights.take(net.path_of("in_proj_bias"), (3 * hidden,)).reshape(1, 1, -1)
    out = net.matmul(x, net.constant(np.ascontiguousarray(weight), "in_proj_weight", like=x), "in_proj.matmul")
    out = net.add(out, net.constant(bias, "in_proj_bias", like=out), "in_proj")
    return net.split(out, "in_proj", hidden, dim=2)


HALVES = Preprocess("RGB", mean=(0.5,) * 3, std=(0.5,) * 3, fit="squeeze")  # as google/vit-base-patch16-224

model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=(1, 3, 224, 224),
    preprocess={name: HALVES if name == "vit_b_16_hf" else IMAGENET for name in VARIANTS},
    decode=Decode("classes"),
)
define_network, build_engine = model.define_network, model.build_engine
