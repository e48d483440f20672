import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.export.nets import Net, close, evaluate, export, floats, run, trt

CASES = [
    # channels, out, kernel, stride, padding, dilation, groups, size
    (3, 4, (3, 3), (1, 1), (1, 1), (1, 1), 1, (8, 8)),
    (4, 6, (3, 2), (2, 1), (1, 0), (1, 1), 2, (9, 7)),
    (4, 4, (3, 3), (1, 2), (2, 2), (2, 2), 4, (11, 8)),
    (3, 5, (1, 1), (2, 2), (0, 0), (1, 1), 1, (7, 7)),
    (2, 3, (3, 3, 3), (2, 1, 2), (1, 1, 0), (1, 1, 1), 1, (6, 5, 7)),
    (2, 4, (2, 3, 1), (1, 1, 1), (0, 1, 0), (1, 2, 1), 2, (5, 8, 4)),
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_convolution(case, bias):
    channels, out, kernel, stride, padding, dilation, groups, size = case
    w, b, x = floats(out, channels // groups, *kernel), floats(out, seed=1), floats(2, channels, *size, seed=2)
    net = Net()
    layer = net.definition.add_convolution_nd(net.input("x", x.shape), out, kernel, w, b if bias else None)
    layer.stride_nd, layer.padding_nd, layer.dilation_nd, layer.num_groups = stride, padding, dilation, groups
    net.output(layer)
    function = F.conv2d if len(size) == 2 else F.conv3d
    expected = function(
        *map(torch.from_numpy, (x, w)), torch.from_numpy(b) if bias else None, stride, padding, dilation, groups
    )
    close(evaluate(net, {"x": x})["y"], expected)


@pytest.mark.parametrize(("pre", "post"), [((1, 0), (0, 2)), ((0, 3), (1, 1))])
def test_convolution_with_uneven_padding(pre, post):
    w, x = floats(2, 3, 3, 3), floats(1, 3, 6, 7, seed=1)
    net = Net()
    layer = net.definition.add_convolution_nd(net.input("x", x.shape), 2, (3, 3), w)
    layer.pre_padding, layer.post_padding = pre, post
    net.output(layer)
    padded = F.pad(torch.from_numpy(x), (pre[1], post[1], pre[0], post[0]))
    close(evaluate(net, {"x": x})["y"], F.conv2d(padded, torch.from_numpy(w)))


def same_pads(size, kernel, stride, dilation, lower):
    extent = dilation * (kernel - 1) + 1
    total = max((-(-size // stride) - 1) * stride + extent - size, 0)
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation"),
    [(7, 4, 2, 1), (8, 3, 3, 1), (6, 3, 1, 2), (5, 1, 2, 1), (9, 2, 1, 1), (8, 3, 2, 2)],
)
def test_convolution_same(mode, size, kernel, stride, dilation, dynamic):
    w, x = floats(2, 3, kernel, kernel), floats(1, 3, size, size, seed=1)
    net = Net()
    layer = net.definition.add_convolution_nd(
        net.input("x", (1, 3, -1, -1) if dynamic else x.shape), 2, (kernel, kernel), w
    )
    layer.padding_mode = getattr(trt.PaddingMode, mode)
    layer.stride_nd, layer.dilation_nd = (stride, stride), (dilation, dilation)
    net.output(layer)
    pads = same_pads(size, kernel, stride, dilation, mode == "SAME_LOWER")
    expected = F.conv2d(F.pad(torch.from_numpy(x), pads * 2), torch.from_numpy(w), None, stride, 0, dilation)
    close(evaluate(net, {"x": x})["y"], expected)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("size", [6, 7, 8])
def test_convolution_round_up(size, dynamic):
    w, x = floats(2, 3, 3, 3), floats(1, 3, size, size, seed=1)
    net = Net()
    layer = net.definition.add_convolution_nd(net.input("x", (-1, 3, -1, -1) if dynamic else x.shape), 2, (3, 3), w)
    layer.padding_mode, layer.stride_nd, layer.padding_nd = trt.PaddingMode.EXPLICIT_ROUND_UP, (3, 3), (1, 1)
    net.output(layer)
    windows = -(-(size + 2 - 3) // 3) + 1
    expected = F.conv2d(F.pad(torch.from_numpy(x), (1, 4, 1, 4)), torch.from_numpy(w), None, 3)[
        :, :, :windows, :windows
    ]
    close(evaluate(net, {"x": x})["y"], expected)


def test_convolution_with_kernel_and_bias_as_inputs():
    w, b, x = floats(4, 3, 3, 3), floats(4, seed=1), floats(1, 3, 6, 6, seed=2)
    net = Net()
    layer = net.definition.add_convolution_nd(net.input("x", x.shape), 4, (3, 3), trt.Weights(), trt.Weights())
    layer.set_input(1, net.constant(w))
    layer.set_input(2, net.constant(b))
    net.output(layer)
    close(evaluate(net, {"x": x})["y"], F.conv2d(*map(torch.from_numpy, (x, w, b))))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "case",
    [
        (3, 4, (3, 3), (2, 2), (1, 1), (1, 1), 1, (5, 6)),
        (4, 6, (4, 2), (2, 3), (1, 0), (1, 1), 2, (5, 4)),
        (4, 4, (3, 3), (1, 1), (2, 1), (2, 1), 4, (7, 5)),
        (2, 3, (3, 2, 3), (2, 1, 2), (1, 0, 1), (1, 1, 1), 1, (3, 4, 3)),
    ],
)
def test_deconvolution(case, bias):
    channels, out, kernel, stride, padding, dilation, groups, size = case
    w, b, x = floats(channels, out // groups, *kernel), floats(out, seed=1), floats(2, channels, *size, seed=2)
    net = Net()
    layer = net.definition.add_deconvolution_nd(net.input("x", x.shape), out, kernel, w, b if bias else None)
    layer.stride_nd, layer.padding_nd, layer.dilation_nd, layer.num_groups = stride, padding, dilation, groups
    net.output(layer)
    function = F.conv_transpose2d if len(size) == 2 else F.conv_transpose3d
    biases = torch.from_numpy(b) if bias else None
    expected = function(*map(torch.from_numpy, (x, w)), biases, stride, padding, 0, groups, dilation)
    close(evaluate(net, {"x": x})["y"], expected)


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "EXPLICIT_ROUND_UP"])
@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (3, 2), (2, 3), (5, 1)])
def test_deconvolution_padding_modes(mode, kernel, stride):
    w, x = floats(3, 2, kernel, kernel), floats(1, 3, 5, 4, seed=1)
    net = Net()
    layer = net.definition.add_deconvolution_nd(net.input("x", x.shape), 2, (kernel, kernel), w)
    layer.stride_nd, layer.padding_mode = (stride, stride), getattr(trt.PaddingMode, mode)
    net.output(layer)
    full = F.conv_transpose2d(torch.from_numpy(x), torch.from_numpy(w), None, stride)
    if mode.startswith("SAME"):
        total = max(kernel - stride, 0)
        first = total - total // 2 if mode == "SAME_LOWER" else total // 2
        full = full[:, :, first : full.shape[2] - total + first, first : full.shape[3] - total + first]
    close(evaluate(net, {"x": x})["y"], full)


def test_half_precision_weights_are_written_as_they_are():
    w, x = floats(2, 3, 3, 3).astype(np.float16), floats(1, 3, 6, 6, seed=1).astype(np.float16)
    net = Net()
    net.output(net.definition.add_convolution_nd(net.input("x", x.shape, trt.float16), 2, (3, 3), w))
    model = export(net)
    (weight,) = model.graph.initializer
    assert (weight.name, weight.raw_data) == ("y.weight", w.tobytes())
    expected = F.conv2d(torch.from_numpy(x).float(), torch.from_numpy(w).float())
    close(run(model, {"x": x})["y"], expected, 1e-2)


def test_bfloat16_weights_are_found_in_memory():
    bits = (floats(2, 3, 3, 3).view(np.uint32) >> 16).astype(np.uint16)
    net = Net()
    kernel = trt.Weights(trt.bfloat16, bits.ctypes.data, bits.size)
    net.output(net.definition.add_convolution_nd(net.input("x", (1, 3, 6, 6), trt.bfloat16), 2, (3, 3), kernel))
    model = export(net)
    (weight,) = model.graph.initializer
    assert weight.raw_data == bits.tobytes()
    assert model.opset_import[0].version == 22  # the first in which ONNX's Conv takes bfloat16


def test_every_case_covers_two_and_three_dimensions():
    assert {len(size) for *_, size in itertools.chain(CASES)} == {2, 3}
