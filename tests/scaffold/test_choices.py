"""Modules that ask for sizes and go one way or another: a draft has one way, and refuses the sizes of the others."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from netdefs.core.errors import NetworkError
from netdefs.scaffold import scaffold
from netdefs.scaffold.check import load


class Fitted(nn.Module):
    """Resizes its map to 4 x 4, unless it is that large already."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = self.patches(x)
        if x.shape[2] != 4 or x.shape[3] != 4:
            x = F.interpolate(x, size=(4, 4), mode="bilinear")
        return self.head(x)


class Even(nn.Module):
    """Makes windows of 2 x 2, and pads where there is half a one, as MobileViT resizes."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.mix = nn.Linear(8, 8)

    def forward(self, x):
        x = self.stem(x)
        n, c, h, w = x.shape
        even = -(-h // 2) * 2, -(-w // 2) * 2
        if even != (h, w):
            x = F.interpolate(x, size=even, mode="bilinear")
        x = x.reshape(n, c, even[0] // 2, 2, even[1] // 2, 2).permute(0, 2, 4, 3, 5, 1)
        return self.mix(x).mean((3, 4))


class Table(nn.Module):
    """Adds a table of positions, as a ViT does."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 8, 8)
        self.table = nn.Parameter(torch.rand(1, 8, 4, 6))

    def forward(self, x):
        assert x.shape[2:] == (32, 48)
        return self.stem(x) + self.table


class Particular(nn.Module):
    """Asks something of the size that nobody would write down again."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        h, w = x.shape[2:]
        if (h * w + 3 * h + 5 * w) % 11 + (h * w + 7 * w) % 13 + (7 * h + w + 3 * h * w) % 17 == 26:
            return self.conv(x)
        return -self.conv(x)


def drafted(tmp_path, module, height, width):
    torch.manual_seed(0)
    path = tmp_path / "draft.py"
    verdict = scaffold(module.eval(), torch.rand(2, 3, height, width), path, compiles=False)
    assert verdict.clean, verdict.text
    return verdict.variants[0], load(path), path.read_text()


def defined(draft, module, height, width):
    return draft.define_network(module.state_dict(), input_shape=(1, 3, height, width))


def test_a_size_that_the_module_resizes(tmp_path):
    module = Fitted()
    checked, draft, text = drafted(tmp_path, module, 32, 32)
    assert checked.also == ["batch 3"] and "for this size only: 160x96 is refused" in checked.text
    asked = re.search(r"goes another way with such a size \(test_choices\.py, line (\d+)\)", text)
    assert "if x.shape[2] != 4" in Path(__file__).read_text().splitlines()[int(asked[1]) - 1]
    for size in ((64, 32), (32, 40), (24, 32)):
        with pytest.raises(NetworkError, match=r"another way with such a size \(test_choices\.py, line"):
            defined(draft, module, *size)
    defined(draft, module, 39, 33)  # as large a map


def test_a_size_for_which_it_is_one_way_among_others(tmp_path):
    module = Even()
    checked, draft, _ = drafted(tmp_path, module, 32, 32)
    assert checked.also == ["batch 3 of 64x96"] and not checked.notes
    with pytest.raises(NetworkError, match="another way with such a size"):
        defined(draft, module, 34, 32)


def test_a_fixed_size(tmp_path):
    module = Table()
    checked, draft, text = drafted(tmp_path, module, 32, 48)
    assert checked.also == ["batch 3"]
    with pytest.raises(NetworkError, match=r"This definition is for \(N, 3, 32, 48\), not \(1, 3, 32, 49\)\."):
        defined(draft, module, 32, 49)
    assert "if x.shape[2] != 32 or x.shape[3] != 48:" in text


def test_a_condition_that_is_too_long_to_read(tmp_path):
    module = Particular()
    assert (16 * 16 + 3 * 16 + 5 * 16) % 11 + (16 * 16 + 7 * 16) % 13 + (7 * 16 + 16 + 3 * 16 * 16) % 17 == 26
    _, draft, text = drafted(tmp_path, module, 16, 16)
    assert "    if x.shape[2] != 16 or x.shape[3] != 16:" in text.splitlines()
    with pytest.raises(NetworkError, match="another way with such a size"):
        defined(draft, module, 16, 17)


class Chaotic(nn.Module):
    """What rounds in the first layer is much in the second."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 7, padding=3)

    def forward(self, x):
        return torch.sin(self.conv(x) * 3e4)


def test_rounding_that_adds_up_is_said(tmp_path):
    checked, _, _ = drafted(tmp_path, Chaotic(), 32, 32)
    assert checked.error > 1e-4 and checked.rounding > 1e-4
    assert f"That is rounding that adds up: PyTorch's own float32 is {checked.rounding:.1e} off its" in checked.text
