import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from netdefs.core.errors import ExportError
from tests.export.nets import Net, close, evaluate, floats, trt


def pool(x, kind, window, stride, pre, post, mode="EXPLICIT_ROUND_DOWN", exclusive=True, dynamic=False, blend=0.0):
    net = Net()
    shape = (x.shape[0], x.shape[1], *[-1] * (x.ndim - 2)) if dynamic else x.shape
    layer = net.definition.add_pooling_nd(net.input("x", shape), getattr(trt.PoolingType, kind), window)
    layer.stride_nd, layer.pre_padding, layer.post_padding = stride, pre, post
    layer.padding_mode = getattr(trt.PaddingMode, mode)
    layer.average_count_excludes_padding = exclusive
    layer.blend_factor = blend
    net.output(layer)
    return evaluate(net, {"x": x})["y"]


def reference(x, kind, window, stride, pre, post, mode="EXPLICIT_ROUND_DOWN", exclusive=True):
    """Window by window, as TensorRT's documentation says it."""
    spatial = x.shape[2:]
    starts = []
    for n, k, s, a, b in zip(spatial, window, stride, pre, post, strict=True):
        if mode.startswith("SAME"):
            count = -(-n // s)
            total = max((count - 1) * s + k - n, 0)
            a = total - total // 2 if mode == "SAME_LOWER" else total // 2
            b = total - a
        else:
            room = n + a + b - k
            count = (room // s if mode == "EXPLICIT_ROUND_DOWN" else -(-room // s)) + 1
        starts.append([(i * s - a, n, k, n + b) for i in range(count)])
    y = np.zeros((*x.shape[:2], *map(len, starts)))
    for index in itertools.product(*(range(len(axis)) for axis in starts)):
        places = [axis[i] for axis, i in zip(starts, index, strict=True)]
        part = x[(..., *(slice(max(at, 0), max(min(at + k, n), 0)) for at, n, k, _ in places))]
        part = part.reshape(*x.shape[:2], -1).astype(np.float64)
        if kind == "MAX":
            y[(..., *index)] = part.max(-1) if part.size else np.finfo(np.float32).min
        else:
            padded = np.prod([min(at + k, end) - at for at, _, k, end in places])
            y[(..., *index)] = part.sum(-1) / max(part.shape[-1] if exclusive else padded, 1)
    return y


def hollow(spatial, window, stride, pre, post, mode):
    """True if rounding up makes a last window that holds nothing of the input."""
    if mode != "EXPLICIT_ROUND_UP":
        return False
    axes = zip(spatial, window, stride, pre, post, strict=True)
    return any(-(-(n + a + b - k) // s) * s - a >= n for n, k, s, a, b in axes)


CASES = [
    # window, stride, pre, post, size
    ((2, 2), (2, 2), (0, 0), (0, 0), (6, 8)),
    ((3, 3), (2, 2), (1, 1), (1, 1), (8, 7)),
    ((3, 2), (2, 3), (1, 0), (0, 1), (9, 8)),
    ((3, 3), (1, 1), (2, 2), (2, 2), (5, 5)),
    ((2, 2), (3, 3), (1, 1), (1, 1), (4, 5)),  # PyTorch's ceil_mode has no last window here, TensorRT has
    ((4, 3), (3, 2), (1, 0), (2, 2), (10, 9)),
    ((2, 3, 2), (2, 2, 1), (0, 1, 0), (1, 1, 1), (5, 6, 4)),
]


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("mode", ["EXPLICIT_ROUND_DOWN", "EXPLICIT_ROUND_UP", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(("kind", "exclusive"), [("MAX", True), ("AVERAGE", True), ("AVERAGE", False)])
@pytest.mark.parametrize("case", CASES)
def test_pooling(case, kind, exclusive, mode, dynamic):
    *arguments, size = case
    x = floats(2, 3, *size) - 2  # mostly negative: padding must not win a maximum
    expected = reference(x, kind, *arguments, mode, exclusive)
    if kind == "AVERAGE" and exclusive and not dynamic and hollow(x.shape[2:], *arguments, mode):
        with pytest.raises(ExportError, match="has no shape"):  # TensorRT refuses an average of nothing
            pool(x, kind, *arguments, mode, exclusive)
        return
    close(pool(x, kind, *arguments, mode, exclusive, dynamic), expected)


def test_the_reference_is_pytorchs_where_both_are_defined():
    x = floats(2, 3, 9, 8)
    arguments = ((3, 2), (2, 2), (1, 1), (1, 1))
    close(reference(x, "MAX", *arguments), F.max_pool2d(torch.from_numpy(x), (3, 2), 2, 1))
    for inclusive in (False, True):
        expected = F.avg_pool2d(torch.from_numpy(x), (3, 2), 2, 1, count_include_pad=inclusive)
        close(reference(x, "AVERAGE", *arguments, exclusive=not inclusive), expected)


def test_round_up_counts_windows_as_tensorrt_does():
    net = Net()
    layer = net.definition.add_pooling_nd(net.input("x", (1, 1, 4, 4)), trt.PoolingType.MAX, (2, 2))
    layer.stride_nd, layer.padding_nd, layer.padding_mode = (3, 3), (1, 1), trt.PaddingMode.EXPLICIT_ROUND_UP
    assert tuple(net.output(layer).shape) == (1, 1, 3, 3)  # a last window of nothing but padding
    y = evaluate(net, {"x": floats(1, 1, 4, 4)})["y"]
    assert (y[0, 0, 2] == np.finfo(np.float32).min).all()


@pytest.mark.parametrize("blend", [0.0, 0.25, 1.0])
def test_blend(blend):
    x = floats(1, 2, 6, 6)
    arguments = ((3, 3), (2, 2), (1, 1), (1, 1))
    largest, mean = (reference(x, kind, *arguments) for kind in ("MAX", "AVERAGE"))
    close(pool(x, "MAX_AVERAGE_BLEND", *arguments, blend=blend), (1 - blend) * largest + blend * mean)
