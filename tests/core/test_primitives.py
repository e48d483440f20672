"""Every primitive of `Network` against torch.nn.functional, over tables of arguments, with fixed and dynamic sizes."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import netdefs


class Case(NamedTuple):
    define: Callable[..., Any]  # (net, x) -> tensor
    torch: Callable[..., torch.Tensor]  # (x, weights) -> tensor
    shape: tuple[int, ...] = (2, 6, 13, 11)
    weights: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    dynamic: bool = True


def case(name, *arguments, **options):
    return pytest.param(Case(*arguments, **options), id=name)


def conv(name, shape=(2, 6, 13, 11), out=8, **options):
    kernel = options.pop("kernel", 3)
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    bias = options.pop("bias", True)
    weights = {"c.weight": (out, shape[1] // options.get("groups", 1), kh, kw), **({"c.bias": (out,)} if bias else {})}
    return case(
        f"conv-{name}",
        lambda net, x: net.conv(x, "c", out, kernel, bias=bias, **options),
        lambda x, w: F.conv2d(x, w["c.weight"], w.get("c.bias"), **options),
        shape,
        weights,
    )


def deconv(name, out=8, kernel=4, bias=True, dynamic=True, **options):
    weights = {"c.weight": (6, out // options.get("groups", 1), kernel, kernel), **({"c.bias": (out,)} if bias else {})}
    return case(
        f"deconv-{name}",
        lambda net, x: net.deconv(x, "c", out, kernel, bias=bias, **options),
        lambda x, w: F.conv_transpose2d(x, w["c.weight"], w.get("c.bias"), **options),
        (2, 6, 5, 7),
        weights,
        dynamic,
    )


def pool(kind, name, shape=(2, 6, 13, 11), dynamic=True, **options):
    ours = {"max": "max_pool", "avg": "avg_pool"}[kind]
    theirs = {"max": F.max_pool2d, "avg": F.avg_pool2d}[kind]
    renamed = {("kernel_size" if key == "kernel" else key): value for key, value in options.items()}
    return case(
        f"{kind}_pool-{name}",
        lambda net, x: getattr(net, ours)(x, "p", **options),
        lambda x, w: theirs(x, **renamed),
        shape,
        {},
        dynamic,
    )


def resize(name, shape=(2, 3, 7, 10), dynamic=True, **options):
    return case(
        f"upsample-{name}",
        lambda net, x: net.upsample(x, "u", **options),
        lambda x, w: F.interpolate(x, **options),
        shape,
        {},
        dynamic,
    )


def pointwise(name, define, reference, **options):
    return case(name, define, lambda x, w: reference(x), **options)


BN = {f"b.{key}": (6,) for key in ("weight", "bias", "running_mean", "running_var")}

CASES = [
    conv("1x1", kernel=1),
    conv("3x3", padding=1),
    conv("no-bias", bias=False),
    conv("stride2-odd", kernel=3, stride=2, padding=1),
    conv("7x7s2", kernel=7, stride=2, padding=3),
    conv("1x7", kernel=(1, 7), padding=(0, 3)),
    conv("7x1-stride", kernel=(7, 1), stride=(2, 1), padding=(3, 0)),
    conv("dilated", dilation=2, padding=2),
    conv("dilated-uneven", dilation=(1, 3), padding=(0, 2)),
    conv("grouped", groups=2, padding=1),
    conv("depthwise", groups=6, out=12, padding=1),
    deconv("k4s2p1", stride=2, padding=1),
    deconv("no-bias", stride=2, padding=1, bias=False),
    deconv("k3s2p1op1", kernel=3, stride=2, padding=1, output_padding=1),
    deconv("k2s2", kernel=2, stride=2),
    deconv("k2s2op1", kernel=2, stride=2, output_padding=1, dynamic=False),
    deconv("k3s3op2-no-bias", kernel=3, stride=3, padding=1, output_padding=2, bias=False, dynamic=False),
    deconv("grouped", stride=2, padding=1, groups=2),
    deconv("dilated", kernel=3, dilation=2, padding=2),
    case(
        "batch_norm",
        lambda net, x: net.batch_norm(x, "b", eps=1e-3),
        lambda x, w: F.batch_norm(x, w["b.running_mean"], w["b.running_var"], w["b.weight"], w["b.bias"], eps=1e-3),
        weights=BN,
    ),
    case(
        "batch_norm-1d",
        lambda net, x: net.batch_norm(x, "b"),
        lambda x, w: F.batch_norm(x, w["b.running_mean"], w["b.running_var"], w["b.weight"], w["b.bias"]),
        shape=(3, 6),
        weights=BN,
    ),
    case(
        "linear",
        lambda net, x: net.linear(x, "l", 5),
        lambda x, w: F.linear(x, w["l.weight"], w["l.bias"]),
        shape=(3, 7),
        weights={"l.weight": (5, 7), "l.bias": (5,)},
    ),
    case(
        "linear-3d-no-bias",
        lambda net, x: net.linear(x, "l", 5, bias=False),
        lambda x, w: F.linear(x, w["l.weight"]),
        shape=(2, 4, 7),
        weights={"l.weight": (5, 7)},
    ),
    pointwise("relu", lambda net, x: net.relu(x, "y"), F.relu),
    pointwise("leaky_relu", lambda net, x: net.leaky_relu(x, "y"), F.leaky_relu),
    pointwise("leaky_relu-0.1", lambda net, x: net.leaky_relu(x, "y", 0.1), lambda x: F.leaky_relu(x, 0.1)),
    pointwise("leaky_relu-0", lambda net, x: net.leaky_relu(x, "y", 0.0), F.relu),
    case(
        "prelu",
        lambda net, x: net.prelu(x, "a", 6),
        lambda x, w: F.prelu(x, w["a.weight"]),
        weights={"a.weight": (6,)},
    ),
    case(
        "prelu-1", lambda net, x: net.prelu(x, "a"), lambda x, w: F.prelu(x, w["a.weight"]), weights={"a.weight": (1,)}
    ),
    pointwise("silu", lambda net, x: net.silu(x, "y"), F.silu),
    pointwise("sigmoid", lambda net, x: net.sigmoid(x, "y"), torch.sigmoid),
    pointwise("tanh", lambda net, x: net.tanh(x, "y"), torch.tanh),
    pointwise("mish", lambda net, x: net.mish(x, "y"), F.mish),
    pointwise("relu6", lambda net, x: net.relu6(net.mul(x, 5.0, "five"), "y"), lambda x: F.relu6(x * 5)),
    pointwise("hardswish", lambda net, x: net.hardswish(x, "y"), F.hardswish),
    pointwise("hardsigmoid", lambda net, x: net.hardsigmoid(x, "y"), F.hardsigmoid),
    pointwise("gelu", lambda net, x: net.gelu(x, "y"), F.gelu),
    pointwise("gelu-tanh", lambda net, x: net.gelu(x, "y", "tanh"), lambda x: F.gelu(x, approximate="tanh")),
    *[
        pointwise(
            f"softmax{dim}", lambda net, x, dim=dim: net.softmax(x, "y", dim=dim), lambda x, dim=dim: F.softmax(x, dim)
        )
        for dim in (0, 1, 3, -1, -3)
    ],
    pool("max", "k2", kernel=2),
    pool("max", "k3s2p1", kernel=3, stride=2, padding=1),
    pool("max", "k3s2-ceil", kernel=3, stride=2, ceil_mode=True),
    pool("max", "k3s2p1-ceil", kernel=3, stride=2, padding=1, ceil_mode=True),
    pool(
        "max",
        "k2s3p1-ceil-drops-last",
        shape=(1, 2, 4, 5),
        dynamic=False,
        kernel=2,
        stride=3,
        padding=1,
        ceil_mode=True,
    ),
    pool("max", "k2s2p1-ceil", dynamic=False, kernel=2, stride=2, padding=1, ceil_mode=True),
    pool("max", "uneven", kernel=(3, 2), stride=(1, 2), padding=(1, 0)),
    pool("max", "k5s1p2", kernel=5, stride=1, padding=2),
    pool("avg", "k2", kernel=2),
    pool("avg", "k3s2p1", kernel=3, stride=2, padding=1),
    pool("avg", "k3s2p1-excluded", kernel=3, stride=2, padding=1, count_include_pad=False),
    pool("avg", "k3s1p1", kernel=3, stride=1, padding=1),
    pool("avg", "k2-ceil", kernel=2, ceil_mode=True),
    pool("avg", "k3s2-ceil", shape=(2, 3, 12, 13), kernel=3, stride=2, ceil_mode=True),
    pool("avg", "k3s2p1-ceil", shape=(2, 3, 12, 13), dynamic=False, kernel=3, stride=2, padding=1, ceil_mode=True),
    pool(
        "avg",
        "k3s2p1-ceil-excluded",
        shape=(2, 3, 12, 13),
        kernel=3,
        stride=2,
        padding=1,
        ceil_mode=True,
        count_include_pad=False,
    ),
    pool("avg", "k2s3p1-ceil", shape=(1, 2, 4, 5), dynamic=False, kernel=2, stride=3, padding=1, ceil_mode=True),
    pointwise("global_avg_pool", lambda net, x: net.global_avg_pool(x, "y"), lambda x: F.adaptive_avg_pool2d(x, 1)),
    pointwise("global_max_pool", lambda net, x: net.global_max_pool(x, "y"), lambda x: F.adaptive_max_pool2d(x, 1)),
    resize("nearest2", scale_factor=2),
    resize("nearest8", scale_factor=8),
    resize("nearest1.5", scale_factor=1.5),
    resize("nearest-size", size=(9, 5)),
    resize("nearest-exact", size=(10, 15), mode="nearest-exact"),
    resize("bilinear2", scale_factor=2, mode="bilinear"),
    resize("bilinear-down", scale_factor=0.5, mode="bilinear"),
    resize("bilinear1.7", scale_factor=1.7, mode="bilinear"),
    resize("bilinear-size", size=(20, 13), mode="bilinear"),
    resize("bilinear-size1", size=(1, 1), mode="bilinear"),
    resize("bilinear-align", size=(20, 13), mode="bilinear", align_corners=True),
    resize("bilinear-align-scale", scale_factor=4, mode="bilinear", align_corners=True),
    resize("bilinear-align-size1", size=(1, 5), mode="bilinear", align_corners=True),
    resize("bicubic2", scale_factor=2, mode="bicubic"),
    resize("bicubic-align", size=(20, 13), mode="bicubic", align_corners=True),
    resize("uneven", scale_factor=(2.0, 3.0)),
    *[
        pointwise(
            f"upsample-{mode}-size-of-another",
            lambda net, x, o=options: net.upsample(net.max_pool(x, "p", kernel=2), "y", size=x, **o),
            lambda x, o=options: F.interpolate(F.max_pool2d(x, 2), x.shape[2:], **o),
        )
        for mode, options in (
            ("nearest", {}),
            ("bilinear", {"mode": "bilinear"}),
            ("bilinear-align", {"mode": "bilinear", "align_corners": True}),
            ("bicubic", {"mode": "bicubic"}),
        )
    ],
    pointwise(
        "upsample-down-to-another-of-other-channels",
        lambda net, x: net.upsample(x, "y", size=net.slice(net.max_pool(x, "p", kernel=3), "s", 1, 0, 2)),
        lambda x: F.interpolate(x, F.max_pool2d(x, 3).shape[2:]),
    ),
    pointwise("add", lambda net, x: net.add(x, net.relu(x, "r"), "y"), lambda x: x + F.relu(x)),
    pointwise("add-number", lambda net, x: net.add(x, 2.5, "y"), lambda x: x + 2.5),
    pointwise("sub", lambda net, x: net.sub(x, net.relu(x, "r"), "y"), lambda x: x - F.relu(x)),
    pointwise("mul", lambda net, x: net.mul(x, net.sigmoid(x, "r"), "y"), lambda x: x * torch.sigmoid(x)),
    pointwise("mul-number", lambda net, x: net.mul(x, -3, "y"), lambda x: x * -3),
    pointwise(
        "div",
        lambda net, x: net.div(x, net.add(net.sigmoid(x, "r"), 1, "s"), "y"),
        lambda x: x / (torch.sigmoid(x) + 1),
    ),
    pointwise("minimum", lambda net, x: net.minimum(x, net.relu(x, "r"), "y"), lambda x: torch.minimum(x, F.relu(x))),
    pointwise("minimum-number", lambda net, x: net.minimum(x, 0.5, "y"), lambda x: x.clamp(max=0.5)),
    pointwise("maximum-number", lambda net, x: net.maximum(x, 0.5, "y"), lambda x: x.clamp(min=0.5)),
    pointwise(
        "floor_divide-indices",
        lambda net, x: net.floor_divide(net.topk(x, "t", 5, dim=-1)[1], 3, "y"),
        lambda x: torch.topk(x, 5, dim=-1)[1] // 3,
    ),
    pointwise(
        "floor_divide-negative-indices",
        lambda net, x: net.floor_divide(net.sub(net.topk(x, "t", 5, dim=-1)[1], 6, "s"), 3, "y"),
        lambda x: (torch.topk(x, 5, dim=-1)[1] - 6) // 3,
    ),
    pointwise(
        "where-gt",
        lambda net, x: net.where(net.gt(x, 0.25, "c"), x, -1, "y"),
        lambda x: torch.where(x > 0.25, x, -1),
    ),
    pointwise(
        "where-eq",
        lambda net, x: net.where(net.eq(x, net.relu(x, "r"), "c"), net.global_max_pool(x, "m"), x, "y"),
        lambda x: torch.where(x == F.relu(x), x.amax((2, 3), keepdim=True), x),
    ),
    pointwise(
        "mul-broadcast",
        lambda net, x: net.mul(x, net.global_avg_pool(x, "r"), "y"),
        lambda x: x * x.mean((2, 3), keepdim=True),
    ),
    pointwise(
        "add-lower-rank",
        lambda net, x: net.add(x, net.constant(np.arange(11), "k", like=x), "y"),
        lambda x: x + torch.arange(11.0),
    ),
    *[
        pointwise(
            f"concat{dim}",
            lambda net, x, dim=dim: net.concat([x, net.relu(x, "r"), x], "y", dim=dim),
            lambda x, dim=dim: torch.cat([x, F.relu(x), x], dim),
        )
        for dim in (0, 1, -1)
    ],
    pointwise(
        "split",
        lambda net, x: net.concat(net.split(x, "s", 4, dim=1)[::-1], "y", dim=1),
        lambda x: torch.cat(torch.split(x, 4, dim=1)[::-1], 1),
    ),
    pointwise(
        "split-sizes",
        lambda net, x: net.concat(net.split(x, "s", [1, 3, 2], dim=1)[::-1], "y", dim=1),
        lambda x: torch.cat(torch.split(x, [1, 3, 2], dim=1)[::-1], 1),
    ),
    pointwise("slice", lambda net, x: net.slice(x, "y", 1, 1, 5, 2), lambda x: x[:, 1:5:2]),
    pointwise("slice-negative", lambda net, x: net.slice(x, "y", 1, -3), lambda x: x[:, -3:]),
    pointwise("slice-focus", lambda net, x: net.slice(x, "y", 2, 1, None, 2), lambda x: x[:, :, 1::2], dynamic=False),
    pointwise("pad", lambda net, x: net.pad(x, "y", (1, 2, 0, 3)), lambda x: F.pad(x, (1, 2, 0, 3)), dynamic=False),
    pointwise(
        "pad-value",
        lambda net, x: net.pad(x, "y", (1, 0, 2, 0), -5.0),
        lambda x: F.pad(x, (1, 0, 2, 0), value=-5.0),
        dynamic=False,
    ),
    pointwise("reshape", lambda net, x: net.reshape(x, "y", (0, 3, 2, -1)), lambda x: x.reshape(x.shape[0], 3, 2, -1)),
    pointwise("reshape-keep", lambda net, x: net.reshape(x, "y", (0, 0, -1)), lambda x: x.reshape(*x.shape[:2], -1)),
    pointwise("permute", lambda net, x: net.permute(x, "y", (0, 2, -1, 1)), lambda x: x.permute(0, 2, 3, 1)),
    pointwise("flatten", lambda net, x: net.flatten(x, "y", 1), lambda x: x.flatten(1)),
    pointwise("flatten-all", lambda net, x: net.flatten(x, "y"), lambda x: x.flatten()),
    pointwise("flatten-middle", lambda net, x: net.flatten(x, "y", 1, 2), lambda x: x.flatten(1, 2)),
    pointwise("flatten-front", lambda net, x: net.flatten(x, "y", 0, 1), lambda x: x.flatten(0, 1)),
    pointwise(
        "matmul",
        lambda net, x: net.matmul(x, net.permute(x, "t", (0, 1, 3, 2)), "y"),
        lambda x: x @ x.transpose(2, 3),
    ),
    pointwise(
        "matmul-lower-rank",
        lambda net, x: net.matmul(x, net.constant(np.ones((11, 3)), "k", like=x), "y"),
        lambda x: x @ torch.ones(11, 3),
    ),
    pointwise("topk", lambda net, x: net.topk(x, "y", 4, dim=1)[0], lambda x: torch.topk(x, 4, dim=1)[0]),
    pointwise(
        "topk-smallest",
        lambda net, x: net.topk(x, "y", 3, largest=False)[0],
        lambda x: torch.topk(x, 3, largest=False)[0],
    ),
    pointwise("topk-indices", lambda net, x: net.topk(x, "y", 4, dim=1)[1], lambda x: torch.topk(x, 4, dim=1)[1]),
    pointwise(
        "gather-indices",
        lambda net, x: net.gather(net.mul(x, 2.0, "m"), "y", -1, net.topk(x, "t", 3, dim=-1)[1]),
        lambda x: torch.gather(x * 2, -1, torch.topk(x, 3, dim=-1)[1]),
    ),
    pointwise(
        "reshape-like",
        lambda net, x: net.reshape(net.flatten(net.relu(x, "r"), "f", 2), "y", (0, 6, 0, 0), like=x),
        F.relu,
    ),
    pointwise(
        "pixel_shuffle",
        lambda net, x: net.pixel_shuffle(x, "y", 2),
        lambda x: F.pixel_shuffle(x, 2),
        shape=(2, 12, 5, 7),
    ),
    pointwise(
        "pixel_shuffle3",
        lambda net, x: net.pixel_shuffle(x, "y", 3),
        lambda x: F.pixel_shuffle(x, 3),
        shape=(1, 9, 5, 7),
    ),
]


def define(case, shape, precision="fp32"):
    rng = np.random.default_rng(0)
    weights = {
        key: (rng.random(size) + 0.5 if "var" in key else rng.standard_normal(size)).astype(np.float32)
        for key, size in case.weights.items()
    }
    net = netdefs.Network(weights, precision=precision)
    y = case.define(net, net.input("x", shape))
    net.finish(net.output(y, "result"))
    return net, {key: torch.from_numpy(value) for key, value in weights.items()}


def check(case, net, weights, tolerance=2e-6):
    # TopK of distinct values only: torch and TensorRT may order equal ones differently.
    x = np.random.default_rng(1).standard_normal(case.shape, dtype=np.float32)
    expected = case.torch(torch.from_numpy(x), weights).numpy()
    with netdefs.build(net, target="cpu") as engine:
        got = engine.run({"x": x})["result"]
    assert got.shape == expected.shape
    error = np.linalg.norm(got.astype(np.float64) - expected) / np.linalg.norm(expected)
    assert error < tolerance, error


@pytest.mark.parametrize("case", CASES)
def test_fixed_size(case):
    net, weights = define(case, case.shape)
    sizes = tuple(net.definition.get_output(0).shape)
    assert sizes == tuple(case.torch(torch.zeros(case.shape), weights).shape), "TensorRT's own shape is not PyTorch's"
    check(case, net, weights)


@pytest.mark.parametrize("case", [param for param in CASES if param.values[0].dynamic])
def test_dynamic_size(case):
    """Dynamic batch, height and width where the primitive allows it; the channels stay fixed."""
    if len(case.shape) == 4:
        shape = tuple(size if axis == 1 else (1, size, 4 * size) for axis, size in enumerate(case.shape))
        try:
            net, weights = define(case, shape)
        except netdefs.NetdefsError as error:
            # An axis that the operation itself cuts or contracts must be fixed, and the message must say so.
            assert "fixed" in str(error) or "input:" in str(error), error
            shape = ((1, case.shape[0], 8), *case.shape[1:])
            net, weights = define(case, shape)
    else:
        net, weights = define(case, ((1, case.shape[0], 8), *case.shape[1:]))
    check(case, net, weights)


@pytest.mark.parametrize("case", [param for param in CASES if "indices" not in param.id])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 5e-3), ("bf16", 4e-2)])
def test_half_precision(case, precision, tolerance):
    net, weights = define(case, case.shape, precision)
    check(case, net, weights, tolerance)


def test_a_size_can_only_follow_a_picture_of_the_same_batch():
    net = netdefs.Network()
    x, other, flat = net.input("x", (2, 3, 8, 8)), net.input("other", (1, 3, 4, 4)), net.input("flat", (2, 3))
    for like in (other, flat):
        with pytest.raises(
            netdefs.NetdefsError, match=r"u: the size of 'x' .* can only follow another .* not '(other|flat)'"
        ):
            net.upsample(x, "u", size=like)


@pytest.mark.parametrize("output_padding", [0, 1])
def test_a_bfloat16_deconvolution_compiles(output_padding):
    """TensorRT-RTX has no kernel for it: the layer computes in float32, and only its result is bfloat16."""
    rng = np.random.default_rng(0)
    weights = {"up.weight": rng.standard_normal((3, 4, 2, 2)), "up.bias": rng.standard_normal(4)}
    net = netdefs.Network({key: value.astype(np.float32) for key, value in weights.items()}, precision="bf16")
    x = net.deconv(net.input("x", (1, 3, 5, 6)), "up", 4, kernel=2, stride=2, output_padding=output_padding)
    assert x.name == "up" and x.dtype == net.trt.bfloat16
    net.finish(net.output(x, "y"))
    picture = rng.standard_normal((1, 3, 5, 6), dtype=np.float32)
    module = torch.nn.ConvTranspose2d(3, 4, 2, stride=2, output_padding=output_padding)
    module.load_state_dict({key[3:]: torch.from_numpy(value.astype(np.float32)) for key, value in weights.items()})
    with torch.no_grad():
        expected = module(torch.from_numpy(picture)).numpy()
    with netdefs.build(net, target="cpu") as engine:
        np.testing.assert_allclose(engine.run({"x": picture})["y"], expected, rtol=2e-2, atol=2e-2)
    assert netdefs.build(net, target="tensorrt_rtx").outputs["y"].shape == expected.shape
