"""Small networks, one for each pattern that Quantize and Dequantize layers are placed in."""

import numpy as np

import netdefs
from netdefs.core import blocks

SHAPE = (2, 8, 16, 16)


def conv(net, x, name):
    """A 3x3 convolution of as many channels out as in, its batch norm and ReLU, all named after `name`."""
    return blocks.conv_bn_relu(net / name, x, "conv", "bn", int(x.shape[1]), kernel=3, relu="relu")


def in_a_row(net, x):
    return conv(net, conv(net, x, "a"), "b")


def residual(net, x):
    x = conv(net, x, "a")
    return conv(net, blocks.basic_block(net / "block", x, 8), "b")


def downsampled(net, x):
    x = conv(net, x, "a")
    return conv(net, blocks.basic_block(net / "block", x, 16, stride=2), "b")


def concat(net, x):
    a, b = conv(net, x, "a"), conv(net, x, "b")
    both = conv(net, net.concat([a, b], "concat", dim=1), "c")
    return net.add(both, net.concat([conv(net, a, "d"), b], "e", dim=1), "sum")


def upsampled(net, x):
    fine = conv(net, x, "a")
    coarse = blocks.conv_bn(net / "down", fine, "conv", "bn", 8, kernel=3, stride=2)
    return conv(net, net.add(fine, net.upsample(coarse, "up", scale_factor=2), "sum"), "b")


def resized(net, x):
    small = net.upsample(conv(net, x, "a"), "small", size=(5, 5), mode="bilinear")
    return conv(net, small, "b")


def deconvolved(net, x):
    x = net.relu(blocks.deconv_bn(net, conv(net, x, "a"), "up", "bn", 4, kernel=4, stride=2, padding=1), "relu")
    return conv(net, x, "b")


def pooled(net, x):
    return conv(net, net.max_pool(conv(net, x, "a"), "pool", 2), "b")


def averaged(net, x):
    return conv(net, net.avg_pool(conv(net, x, "a"), "pool", 2), "b")


def squeezed(net, x):
    return conv(net, blocks.squeeze_excite(net / "se", conv(net, x, "a"), "fc1", "fc2", 4), "b")


def split(net, x):
    """The heart of YOLO's C2f: SiLU, halves, a bottleneck and all of it joined."""
    parts = net.split(net.silu(blocks.conv_bn(net / "a", x, "conv", "bn", 16, kernel=1), "a"), "split", 8, dim=1)
    y = net.silu(blocks.conv_bn(net / "b", parts[1], "conv", "bn", 8, kernel=3), "b")
    parts.append(net.add(parts[1], y, "sum"))
    return conv(net, net.concat(parts, "concat", dim=1), "c")


def attention(net, x):
    rows = net.flatten(conv(net, x, "a"), "rows", start_dim=2)
    weight = net.softmax(net.matmul(rows, rows, "product", transpose_b=True), "softmax", dim=-1)
    return conv(net, net.reshape(net.matmul(weight, rows, "mixed"), "map", SHAPE), "b")


def classified(net, x):
    pooled = net.flatten(net.global_avg_pool(conv(net, x, "a"), "pool"), "flat", start_dim=1)
    return net.linear(net.relu(net.linear(pooled, "fc1", 8), "relu"), "fc2", 4)


# Of each pattern the tensors that are quantized, and which of them share a scale with another.
PATTERNS = {
    in_a_row: ["input", "a.relu"],
    residual: ["input", "a.relu", "block.bn1.relu", "block"],
    downsampled: ["input", "a.relu", "block.bn1.relu", "block.downsample.1", "block"],
    concat: ["input", "concat", "a.relu", "e"],
    upsampled: ["input", "a.relu", "up", "sum"],
    resized: ["input", "a.relu", "small"],
    deconvolved: ["input", "a.relu", "relu"],
    pooled: ["input", "pool"],
    averaged: ["input", "a.relu", "pool"],
    squeezed: ["input", "se.avgpool", "se.fc1.relu", "se"],
    split: ["input", "split.1", "concat"],
    attention: ["input", "rows", "softmax", "map"],
    classified: ["input", "flat", "relu"],
}
SHARED = {concat: [["a.relu", "concat", "e"]], split: [["concat", "split.1"]]}


def values_of(shapes):
    """Random weights; a spread over the channels makes one scale for all of them visibly wrong."""
    rng = np.random.default_rng(0)
    found = {}
    for key, shape in shapes.items():
        value = rng.random(shape) + 0.5 if "var" in key else rng.standard_normal(shape)
        if key.endswith("weight") and len(shape) > 1:
            value *= np.exp(rng.standard_normal((shape[0], *[1] * (len(shape) - 1)))) / np.sqrt(np.prod(shape[1:]))
        found[key] = value.astype(np.float32)
    return found


def define(pattern, weights, precision, shape=SHAPE, **options):
    net = netdefs.Network(weights, pattern.__name__, precision, **options)
    outputs = net.output(pattern(net, net.input("input", shape)), "y")
    if weights:
        net.finish(outputs)
    return net


def prepared(pattern, shape=SHAPE):
    """Weights, an input, the float network, and the ranges of its tensors that could be quantized."""
    weights = values_of(define(pattern, {}, "fp32", shape).weights.taken)
    net, x = define(pattern, weights, "fp32", shape), np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    wanted = [name for name in net.activations if name != "input"]
    with netdefs.build(net, target="cpu") as engine:
        found = engine.run({"input": x}, outputs=wanted) | {"input": x}
    return weights, x, net, {name: float(np.abs(found[name]).max()) for name in net.activations}
