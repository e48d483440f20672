"""Operators as statements: what these compute is what PyTorch computes, in both of its vocabularies."""

import inspect
import re

import pytest
import torch
from torch.nn import functional as F

from netdefs.core import blocks
from netdefs.core.network import Network
from netdefs.scaffold.ops import ARRAYS, LOWERINGS
from netdefs.scaffold.units import GapsError
from tests.scaffold.executed import Executed
from tests.scaffold.lowered import Made, flat, lowered, picture

# Values.

ONE_BY_ONE = {
    "activations": lambda m, x: [
        F.relu(x),
        F.relu6(x * 9),
        F.silu(x),
        F.mish(x),
        F.gelu(x),
        F.gelu(x, approximate="tanh"),
        F.hardswish(x * 5),
        F.hardsigmoid(x * 5),
        F.leaky_relu(x, 0.2),
        F.elu(x, 0.5),
        F.selu(x),
        F.celu(x, 0.7),
        F.softplus(x, 2.0),
        F.logsigmoid(x),
        F.softsign(x),
        F.hardtanh(x, -0.3, 0.6),
        F.hardtanh(x * 9, 0, 6),
        F.threshold(x, 0.1, 2.0),
        F.hardshrink(x, 0.3),
        F.softshrink(x, 0.3),
        F.tanhshrink(x),
        F.rrelu(x),
        F.glu(x, 1),
        x.softmax(1),
        x.log_softmax(-1),
    ],
    "functions": lambda m, x: [
        x.exp(),
        x.abs().log(),
        x.abs().sqrt(),
        (x.abs() + 0.1).rsqrt(),
        (x.abs() + 0.5).reciprocal(),
        -x,
        x.sign(),
        x.erf(),
        x.sin() + x.cos() * x.tan(),
        x.atan(),
        (x * 7).floor(),
        (x * 7).ceil(),
        (x * 7).round(),
        x.square(),
        x**2,
        x.abs() ** 0.5,
        x.abs() ** 1.7,
        2**x,
        x.abs().log1p(),
        x.expm1(),
    ],
    "arithmetic": lambda m, x: [
        x + 1,
        1 - x,
        2 / (x.abs() + 1),
        torch.add(x, x.abs(), alpha=2),
        torch.sub(x, 3, alpha=2),
        torch.rsub(x, x.abs(), alpha=3),
        x // 0.3,
        torch.div(x, 0.3, rounding_mode="floor"),
        x % 0.4,
        torch.maximum(x, x.flip(2)),
        torch.minimum(x, x.flip(3)),
        x.clamp(-0.2, 0.4),
        x.clamp(min=0.1),
        x.clamp_max(0.2),
        torch.lerp(x, x.abs(), 0.3),
        torch.addcmul(x, x.abs(), x, value=0.5),
        x.mul(x.sigmoid()).add_(1).mul_(2),
    ],
    "choices": lambda m, x: [
        x > 0,
        x < 0.1,
        x >= x.flip(1),
        x <= 0,
        x.round() == 0,
        x.round() != 0,
        (x > 0) & (x < 0.5),
        (x > 0) | (x < -0.5),
        ~(x > 0),
        torch.where(x > 0, x, x.exp()),
        torch.where(x > 0, x, 0.0),
        x.masked_fill(x > 0.5, 9.0),
        torch.logical_xor(x > 0, x > 0.5),
        (x > 0).float() * x,
        (x * 5).int(),
        (x * 5).long().float(),
        x.to(torch.float64).to(torch.float32),
        x.type_as(x) + (x > 0),
    ],
    "reductions": lambda m, x: [
        x.mean((2, 3)),
        x.mean(1, keepdim=True),
        x.sum(-1),
        x.sum((1, 2, 3)),
        x.amax((2, 3), keepdim=True),
        x.amin(1),
        x.max(1)[0],
        x.max(1)[1],
        x.max(1, keepdim=True),
        x.min(2).values,
        x.argmax(1),
        x.argmin(3, keepdim=True),
        x.var(1),
        x.var((2, 3), unbiased=False, keepdim=True),
        x.std(-1),
        list(torch.var_mean(x, dim=(1, 2), correction=0)),
        x.norm(dim=1),
        x.norm(p=1, dim=(2, 3), keepdim=True),
        F.normalize(x, dim=1),
        torch.logsumexp(x, 1),
        x.cumsum(2),
        (x > 0.9).any(1),
        (x > -0.9).all(3),
        x.prod(1),
    ],
    "shapes": lambda m, x: [
        x.flatten(2),
        x.flatten(1),
        x.view(x.shape[0], 2, 3, -1),
        x.reshape(-1, x.shape[2], x.shape[3]),
        x.unflatten(1, (2, 3)),
        x.permute(0, 2, 3, 1),
        x.transpose(1, -1),
        x.flatten(2).mT,
        x.movedim(1, -1),
        x.unsqueeze(2).squeeze(2) * 2,
        x[:, :1].squeeze(1),
        x[:, None],
        x[..., None],
        x.repeat(1, 2, 1, 1),
        x.repeat_interleave(2, dim=2),
        x[:, :1].expand(-1, 4, -1, -1),
        x[:, :1].expand(3, -1, -1, -1, -1).transpose(0, 1),
        x.roll((1, -2), (2, 3)),
        x.flip((2, 3)),
        F.pixel_shuffle(x.repeat(1, 2, 1, 1), 2),
        F.pixel_unshuffle(x, 2),
        F.channel_shuffle(x, 3),
        x.tril(1),
        x.triu(),
    ],
    "parts": lambda m, x: [
        x[:, 1:4],
        x[:, :, ::2, 1:-1],
        x[:, -1],
        x[:, 2],
        list(x.chunk(3, 1)),
        list(x.split(4, 1)),
        list(x.split([1, 2, 3], 1)),
        list(x.unbind(1))[:2],
        x.narrow(2, 1, 3),
        torch.cat([x, x.exp()], 1),
        torch.stack([x, x.exp()], -1),
        F.pad(x, (1, 2, 0, 1)),
        F.pad(x, (1, 1), value=3.0),
        F.pad(x, (-1, 1, -1, 1)),  # moved, but as large as before
        F.pad(x, (1, 2, 2, 1), mode="reflect"),
        F.pad(x, (1, 2, 2, 1), mode="replicate"),
        F.pad(x, (1, 2, 2, 1), mode="circular"),
        F.unfold(x, 3, padding=1, stride=2),
        x.unfold(2, 4, 2),
        x[:, [2, 0, 1]],
        x[:, torch.tensor([2, 0]), torch.tensor([1, 3])],
        x.index_select(3, torch.tensor([1, 4, 5])),
        list(x.topk(3, 1)),
        x.sort(1, descending=True)[0],
        x.argsort(1),
        x.gather(1, x.argsort(1)),
    ],
    "pools": lambda m, x: [
        F.max_pool2d(x, 3, 2, 1),
        F.max_pool2d(x, 2, ceil_mode=True),
        F.max_pool2d(x, 3, 1, 1, dilation=2),
        F.avg_pool2d(x, 3, 2, 1),
        F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        F.avg_pool2d(x, 2, divisor_override=3),
        F.adaptive_avg_pool2d(x, 1),
        F.adaptive_avg_pool2d(x, (2, 5)),
        F.adaptive_avg_pool2d(x, (3, 3)),
        F.adaptive_max_pool2d(x, 1),
        F.adaptive_max_pool2d(x, 2),
        F.adaptive_avg_pool1d(x.flatten(2), 4),
        F.max_pool1d(x.flatten(2), 2),
        F.interpolate(x, scale_factor=2),
        F.interpolate(x, (16, 11), mode="bilinear"),
        F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
        F.interpolate(x, scale_factor=2, mode="bicubic"),
        F.interpolate(x, scale_factor=0.5),
        F.interpolate(x, scale_factor=2, mode="nearest-exact"),
        F.interpolate(x, (5, 14), mode="bicubic", antialias=True),
        F.interpolate(x, x.shape[2:], mode="bicubic", antialias=True),
        F.interpolate(x, scale_factor=(0.4, 1), mode="bilinear", align_corners=True, antialias=True),
        F.max_pool3d(x.unflatten(1, (2, 3)), 2),
        F.max_pool3d(x.unflatten(1, (2, 3)), (2, 3, 3), 2, 1, ceil_mode=True),
        F.avg_pool3d(x.unflatten(1, (2, 3)), (1, 3, 3), 2, (0, 1, 1), count_include_pad=False),
        F.adaptive_avg_pool3d(x.unflatten(1, (2, 3)), 1),
        F.adaptive_max_pool3d(x.unflatten(1, (2, 3)), 1),
    ],
    "products": lambda m, x: [
        x @ x.transpose(2, 3),
        torch.bmm(x.flatten(2), x.flatten(2).transpose(1, 2)),
        torch.einsum("nchw,nkhw->nck", x, x),
        F.scaled_dot_product_attention(x, x.exp(), x),
        F.scaled_dot_product_attention(x, x, x, scale=0.3),
        F.scaled_dot_product_attention(x, x, x, is_causal=True),
        torch.baddbmm(x[:, 0], x[:, 1], x[:, 2][:, :1].expand(-1, 10, -1).contiguous(), beta=0.5, alpha=2.0),
        x @ torch.arange(10.0),
    ],
}


@pytest.mark.parametrize("family", ONE_BY_ONE)
def test_every_operator_computes_what_pytorch_does(family):
    lowered(lambda m, x: flat(ONE_BY_ONE[family](m, x)))


@pytest.mark.parametrize("family", ["parts", "shapes", "products", "reductions"])
def test_as_many_operators_after_decomposition(family):
    """A view that is changed in place makes capture ask PyTorch for plain operators: others, of the same meaning."""

    def changed(m, x):
        y = x.clone()
        y[:, 0] = 0.5
        y[:, 1:3] *= 2
        return flat(ONE_BY_ONE[family](m, y))

    executed = lowered(changed)
    assert any("scatter" in function for function in executed.functions())


UNSUPPORTED = {
    "a part of the batch": lambda x: x[:1],
    "reduces the batch": lambda x: x.mean(0),
    "Fourier": lambda x: torch.fft.fft2(x).real,
    "not volumes": lambda x: F.interpolate(x[:, None], scale_factor=2),
    "volumes have no adaptive pool": lambda x: F.adaptive_avg_pool3d(x[:, None], 2),
    r"deconvolutions of \(N, C, D, H, W\)": lambda x: F.conv_transpose3d(x[:, None], torch.ones(1, 1, 2, 2, 2)),
    "random": lambda x: x + torch.rand_like(x),
    "rounds towards zero": lambda x: torch.div(x, 2, rounding_mode="trunc"),
}


@pytest.mark.parametrize("reason", UNSUPPORTED)
def test_what_can_not_be_expressed_says_why(reason):
    with pytest.raises(GapsError, match=reason):
        Executed(Made(lambda m, x: UNSUPPORTED[reason](x)), picture())


# The tables.


def test_names_of_methods_and_their_options_exist():
    """Every method that a lowering names is Network's or a block, and takes the options that it is given."""
    for lowering in set(LOWERINGS.values()):
        source = inspect.getsource(inspect.getmodule(lowering))
        for method, options in re.findall(r'op\.layer\(\s*"([\w.]+)"((?:[^()]|\([^()]*\))*)\)', source):
            function = (
                getattr(blocks, method[7:], None) if method.startswith("blocks.") else getattr(Network, method, None)
            )
            assert function is not None, method
            known = inspect.signature(function).parameters
            words = set(re.findall(r"\b(\w+)=(?!=)", options)) - {"path", "part", "results", "sizes", "holds"}
            assert words <= set(known), (method, words - set(known))


def test_tables_hold_operators_of_pytorch():
    """A misspelled operator would never be met. Loops over overloads may have some too many."""
    found = {}
    for name in {*LOWERINGS, *ARRAYS}:
        if name.startswith("aten."):
            _, operator, overload = name.split(".")
            packet = getattr(torch.ops.aten, operator, None)
            exists = packet is not None and overload in packet.overloads()
            found[operator.rstrip("_")] = found.get(operator.rstrip("_"), False) or exists
    assert len(found) > 250 and not [operator for operator, exists in found.items() if not exists]
