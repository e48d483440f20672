"""Layers with weights, arrays, and what depends on the batch, as statements: what they compute and how they read."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.scaffold.lowered import B, C, H, W, flat, lowered, picture, randomized

LAYERS = {
    "convs": lambda: (
        {
            "a": nn.Conv2d(C, 8, 3, 2, 1),
            "b": nn.Conv2d(C, C, (1, 3), padding="same", groups=C, bias=False),
            "c": nn.Conv2d(C, 4, 4, padding="same"),
            "d": nn.ConvTranspose2d(C, 4, 4, 2, 1, bias=False),
            "e": nn.Conv1d(C, 4, 3, padding=1, dilation=1),
            "f": nn.utils.parametrizations.weight_norm(nn.Conv2d(C, 4, 3)),
            "g": nn.ConvTranspose1d(C, 4, 3, 2, 1, 1, bias=False),
        },
        lambda m, x: [m.a(x), m.b(x), m.c(x), m.d(x), m.e(x.flatten(2)), m.f(x), m.g(x.flatten(2))],
    ),
    "volumes": lambda: (
        {
            "a": nn.Conv3d(2, 4, (3, 2, 1), (1, 2, 1), (1, 0, 0)),
            "b": nn.Conv3d(2, 2, 2, padding="same", groups=2, bias=False),
        },
        lambda m, x: [
            m.a(x.unflatten(1, (2, 3))),
            m.b(x.unflatten(1, (2, 3))),
            F.conv3d(x.unflatten(1, (2, 3)), m.a.weight * 2, m.a.bias, padding=1),
        ],
    ),
    "norms": lambda: (
        {
            "a": randomized(nn.BatchNorm2d(C, eps=1e-3)),
            "b": randomized(nn.BatchNorm1d(C, affine=False)),
            "c": randomized(nn.LayerNorm(W)),
            "d": nn.LayerNorm((H, W), eps=1e-6, elementwise_affine=False),
            "e": randomized(nn.LayerNorm(W, bias=False)),
            "f": randomized(nn.GroupNorm(3, C)),
            "g": nn.GroupNorm(2, C, affine=False),
            "h": nn.InstanceNorm2d(C),
            "i": randomized(nn.InstanceNorm2d(C, affine=True)),
            "j": randomized(nn.RMSNorm(W)),
            "l": randomized(nn.InstanceNorm2d(C, track_running_stats=True)),
        },
        lambda m, x: [
            m.a(x),
            m.b(x.flatten(2)),
            m.b(x.mean((2, 3))),
            *(getattr(m, name)(x) for name in "cdefghijl"),
            F.layer_norm(x, (W,), m.c.weight * 2, m.c.bias),
            F.group_norm(x, 2, m.f.weight, m.f.bias + 1),
        ],
    ),
    "linear": lambda: (
        {
            "a": nn.Linear(W, 7),
            "b": nn.Linear(W, 7, bias=False),
            "p": randomized(nn.PReLU(C)),
            "q": nn.PReLU(),
            "e": nn.Embedding(9, 5),
        },
        lambda m, x: [
            m.a(x),
            m.b(x[:, 0]),
            F.linear(x, m.a.weight[2:5] * 2, m.a.bias[2:5]),
            torch.addmm(m.a.bias, x[:, 0, 0], m.a.weight.t()),
            m.p(x),
            m.q(x),
            m.e((x[:, 0] * 4).abs().long()),
            m.e(torch.tensor([1, 4])) + x[:, :1, 0, :5],
        ],
    ),
    "attention": lambda: (
        {
            "a": nn.MultiheadAttention(W, 2, batch_first=True),
            "b": nn.TransformerEncoderLayer(W, 2, 16, batch_first=True),
        },
        lambda m, x: [
            m.a(x[:, 0], x[:, 1], x[:, 2], need_weights=False)[0],
            m.a(x[:, 0], x[:, 1], x[:, 2]),
            m.b(x[:, 3]),
        ],
    ),
}


@pytest.mark.parametrize("family", LAYERS)
def test_layers_with_weights_compute_what_pytorch_does(family):
    torch.manual_seed(0)
    children, function = LAYERS[family]()
    executed = lowered(lambda m, x: flat(function(m, x)), **children)
    own = {name for name, child in children.items() if "weight" in dict(child.named_parameters(recurse=False))}
    own -= {name for name, child in children.items() if isinstance(child, nn.Embedding)}  # which is an index of a table
    assert own <= {".".join(call.path or ()) for call in executed.statements() if call.named}


def test_computed_weights_are_numpys():
    """Convolutions that standardize their weights, as BiT's and NFNet's do."""

    def function(m, x):
        weight = m.a.weight
        flat_weight = F.batch_norm(weight.reshape(1, 8, -1), None, None, training=True, eps=1e-6)
        other = (weight - weight.mean((1, 2, 3), keepdim=True)) / weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, flat_weight.reshape_as(weight), m.a.bias), F.conv2d(x, other)

    executed = lowered(function, a=nn.Conv2d(C, 8, 3))
    assert [call.function for call in executed.statements() if not call.array].count("convolution") == 2


def test_what_is_known_is_numpys():
    """Arrays of weights and sizes alone: computed while the network is defined, and joined with tensors then."""
    table = nn.Parameter(torch.rand(225, 4, generator=torch.Generator().manual_seed(0)))
    index = torch.arange(36).reshape(6, 6) % 13

    def function(m, x):
        height, width = x.shape[2:]
        bias = m.table[m.index.view(-1)].view(6, 6, -1).permute(2, 0, 1).unsqueeze(0)
        ys, xs = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width, dtype=torch.float32), indexing="ij")
        grid = torch.stack((xs / width, ys / height), -1).flip(0).roll(1, 0)
        mask = torch.ones(height, width).tril().masked_fill(torch.eye(height, width) > 0, -1.0)
        scores = x[:, :, :6, :6] * bias[:, :1].softmax(-1).exp() + torch.full((6,), 0.5).cumsum(0)
        table = torch.cat([m.table, m.table.new_zeros(2, 4)])[::2].mean(0).repeat(3)[:6].view(1, 6, 1, 1)
        return [scores, x + grid.sum(-1) * mask, x * table.clamp(0.1, 0.4), x + torch.linspace(0, 1, width)]

    executed = lowered(function, table=table, index=index)
    templates = [call.function for call in executed.statements() if call.array]
    assert "{0}[{1}]" in templates and "{0}.transpose({dims})" in templates
    assert {"np.meshgrid({0}, {1}, indexing={indexing})", "np.linspace({start}, {end}, {steps})"} <= set(templates)


def test_positions_are_resized_while_the_network_is_defined():
    """A table of positions that follows the input's size, with antialias, as NaFlexViT's."""
    table = nn.Parameter(torch.rand(1, 5, 4, C, generator=torch.Generator().manual_seed(0)))

    def function(m, x):
        options = {"mode": "bicubic", "align_corners": False, "antialias": True}
        table = m.table.permute(0, 3, 1, 2)
        return [
            x + F.interpolate(table, size=x.shape[2:], **options),
            x[:, :, :6, :4] + F.interpolate(table, scale_factor=(1.3, 1), **options),
        ]

    executed = lowered(function, table=table)
    assert "upsample" not in executed.functions()
    assert re.search(r"antialiased.*size=\(x\d*\.shape\[2\], x\d*\.shape\[3\]\)", "\n".join(executed.texts()))


def test_tokens_go_to_every_picture():
    token = nn.Parameter(torch.rand(1, 1, W, generator=torch.Generator().manual_seed(0)))
    queries = nn.Parameter(torch.rand(3, W, generator=torch.Generator().manual_seed(1)))

    def function(m, x):
        tokens = x.flatten(1, 2)
        one = m.token.expand(x.shape[0], -1, -1)
        two = m.queries.unsqueeze(0).repeat(x.shape[0], 1, 1)
        three = m.queries.unsqueeze(1).repeat(1, x.shape[0], 1)
        zeros = torch.zeros_like(tokens[:, :1]) + x.new_ones(x.shape[0], 1, W)
        return torch.cat([one, two, zeros, tokens], 1), tokens.transpose(0, 1)[:3] + three

    executed = lowered(function, token=token, queries=queries)
    assert executed.functions().count("expand") >= 3


def test_a_module_that_fixes_the_batch_takes_any():
    def function(m, x):
        count = len(x)
        return m.linear(x.reshape(count, C, -1, 5)).reshape(count * C, -1), m.linear.weight.expand(count, -1, -1)

    executed = lowered(function, linear=nn.Linear(5, 4))
    assert len(executed.captured.batch) == 1
    reshaped = [call.options["shape"] for call in executed.statements() if call.function == "reshape"]
    assert reshaped[0][0] == 0 and reshaped[1][0] == -1


def test_two_inputs_sampled_and_convolved_by_each_other():
    grid = picture(B, 4, 5, 2, seed=1)
    for options in ({}, {"mode": "nearest"}, {"padding_mode": "border", "align_corners": True}):
        executed = lowered(
            lambda m, x, y, o=options: F.grid_sample(x, y, **{"align_corners": False, **o}), picture(), grid
        )
        assert executed.functions() == ["grid_sample"]


def test_statements_are_those_that_a_person_writes():
    def texts(function, **children):
        return [re.sub(r"  #.*|(?<=[a-z])_?\d*_?\d+\b(?!=)", "", t) for t in lowered(function, **children).texts()]

    assert texts(lambda m, x: x.reshape(x.shape) + x[:, :]) == ["add = add(x, x)"]
    assert texts(lambda m, x: x.view(x.shape[0], 2, 3, H, -1).flatten(1, 2)) == [
        "view = reshape(x, shape=(0, 2, 3, 8, x.shape[3]))",
        "flatten = flatten(view, start_dim=1, end_dim=2)",
    ]
    assert texts(lambda m, x: 1 - x[:, -1:]) == ["slice = slice(x, dim=1, start=-1)", "sub = sub(1, slice)"]
    assert texts(lambda m, x: F.relu6(x) / F.normalize(x)) == [
        "relu = relu(x)",
        "norm = norm(x, dim=1, keepdim=True)",
        "clamp_min = clamp(norm, min=1e-12)",
        "div = div(x, clamp_min)",
        "div = div(relu, div)",
    ]
