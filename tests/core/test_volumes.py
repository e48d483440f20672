"""Volumes, (N, C, D, H, W), and deconvolutions of rows, (N, C, L), against PyTorch."""

import pytest
import torch.nn.functional as F

import netdefs
from netdefs.core.errors import NetworkError
from tests.core.against_torch import case, check, compile_all, network, values

VOLUME, ROW = (2, 3, 7, 6, 5), (2, 4, 9)


def conv3d(name, weight, bias=True, **options):
    weights = {"c.weight": weight, **({"c.bias": weight[:1]} if bias else {})}
    return case(
        f"conv3d-{name}",
        lambda net, x: net.conv3d(x, "c", weight[0], weight[2:], bias=bias, **options),
        lambda x, w: F.conv3d(x, w["c.weight"], w.get("c.bias"), **options),
        VOLUME,
        weights,
    )


def deconv1d(name, weight, bias=True, **options):
    channels = weight[1] * options.get("groups", 1)
    weights = {"d.weight": weight, **({"d.bias": (channels,)} if bias else {})}
    return case(
        f"deconv1d-{name}",
        lambda net, x: net.deconv1d(x, "d", channels, weight[2], bias=bias, **options),
        lambda x, w: F.conv_transpose1d(x, w["d.weight"], w.get("d.bias"), **options),
        ROW,
        weights,
    )


def pool(kind, kernel, **options):
    function = getattr(F, f"{kind}_pool3d")
    return case(
        f"{kind}_pool-{kernel}-{'-'.join(f'{key}={value}' for key, value in options.items())}",
        lambda net, x: getattr(net, f"{kind}_pool")(x, "p", kernel=kernel, **options),
        lambda x, w: function(x, kernel, **options),
        VOLUME,
    )


CASES = [
    conv3d("plain", (8, 3, 3, 3, 3)),
    conv3d("sides", (8, 3, 3, 2, 1), stride=(2, 1, 1), padding=(1, 0, 0)),
    conv3d("depthwise", (6, 1, 3, 3, 3), bias=False, padding=2, dilation=2, groups=3),
    deconv1d("plain", (4, 5, 4), stride=2, padding=1),
    deconv1d("no-bias", (4, 3, 3), bias=False, stride=2, padding=1, output_padding=1),
    deconv1d("grown", (4, 3, 3), stride=3, output_padding=2, groups=2),
    pool("max", 2),
    pool("max", (3, 2, 2), stride=2, padding=1),
    pool("max", 3, stride=2, padding=1, ceil_mode=True),
    pool("max", 2, stride=1, padding=1, dilation=2),
    pool("avg", 2),
    pool("avg", (3, 2, 2), stride=(2, 1, 2), padding=1),
    pool("avg", 3, stride=2, padding=1, ceil_mode=True),
    pool("avg", 3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
    pool("avg", 2, divisor_override=3),
    case("global", lambda net, x: net.global_avg_pool(x, "p"), lambda x, w: F.adaptive_avg_pool3d(x, 1), VOLUME),
]


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("case", CASES)
def test_against_torch(case, dynamic):
    check(case, dynamic=dynamic)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 3e-3), ("bf16", 2e-2)])
@pytest.mark.parametrize("case", CASES)
def test_narrow_types(case, precision, tolerance):
    check(case, precision, dynamic=True, tolerance=tolerance)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_tensorrt_rtx_compiles_it(precision):
    compile_all(CASES, precision)


WEIGHTS = {"a.weight": (8, 3, 3, 3, 3), "b.weight": (8, 1, 3, 3, 3), "c.weight": (4, 8, 1, 1)}


def volumes(precision, **options):
    net = netdefs.Network({key: values(shape) for key, shape in WEIGHTS.items()}, precision=precision, **options)
    x = net.conv3d(net.input("x", ((1, 2, 4), 3, 7, 6, 5)), "a", 8, 3, padding=1, bias=False)
    x = net.avg_pool(net.conv3d(x, "b", 8, 3, groups=8, bias=False), "p", kernel=2)
    x = net.conv(net.flatten(x, "f", 2, 3), "c", 4, 1, bias=False)
    net.finish(net.output(x, "result"))
    return net


def test_volumes_are_not_quantized():
    """Pictures made of them are."""
    net = volumes({"*": "int8", "c": "int8"}, calibration={"f": 2.0})
    names = [net.definition.get_layer(i).name for i in range(net.definition.num_layers)]
    assert [name for name in names if name.endswith(".q")] == ["f.q", "c.weight.q"]
    assert netdefs.build(net, target="tensorrt_rtx").outputs["result"].shape == (-1, 4, 4, 1)
    with pytest.raises(netdefs.NetdefsError, match="'a' matches no layer that can be int8"):
        volumes({"a": "int8"}, calibration={})


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (lambda net, x: net.conv3d(net.flatten(x, "f", 3), "c", 8, 3), r"c: conv3d takes \(N, C, D, H, W\), not 'f'"),
        (lambda net, x: net.conv3d(x, "c", 8, (3, 3)), r"depth, height and width is an int or three .* \(3, 3\)"),
        (lambda net, x: net.conv3d(x, "c", 8, 3, groups=2), "c: groups=2 does not divide the 3 channels"),
        (lambda net, x: net.deconv1d(x, "d", 8, 3), r"d: deconv1d takes \(N, C, L\), not 'x'"),
        (lambda net, x: net.max_pool(x, "p", kernel=(2, 2)), "an int or three of them"),
        (lambda net, x: net.avg_pool(x, "p", kernel=2, stride=0), r"p: stride=\(0, 0, 0\) can't be"),
    ],
)
def test_what_can_not_be_is_said(define, message):
    with pytest.raises(NetworkError, match=message):
        network(define, VOLUME)
