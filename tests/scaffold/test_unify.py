"""Bodies that repeat become loops, functions with arguments and optional parts: in text that gives PyTorch's values."""

import pytest
import torch
from torch import nn

import netdefs
from netdefs.core.errors import NetdefsError
from netdefs.scaffold.draft import draft


class Pair(nn.Module):
    """Two convolutions; with a skip or a gate where it is asked for."""

    def __init__(self, inputs, outputs, stride=1, skip=False, gate=False):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.gate = nn.Conv2d(outputs, outputs, 1) if gate else None
        self.skip = skip

    def forward(self, x):
        y = self.conv2(torch.sin(self.conv1(x)))
        if self.gate is not None:
            y = y * self.gate(y).sigmoid()
        return x + y if self.skip else y


class Chain(nn.Module):
    """One part after the other."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        for part in self.children():
            x = part(x)
        return x


class Levels(nn.Module):
    """What each of several levels gives is kept, and gone through again."""

    def __init__(self, count):
        super().__init__()
        widths = range(3, 4 * count + 3, 4)
        self.down = nn.ModuleList(nn.Conv2d(width, width + 4, 3, 2, 1) for width in widths)
        self.lateral = nn.ModuleList(nn.Conv2d(width + 4, 6, 1) for width in widths)
        self.head = nn.ModuleList(nn.Conv2d(6, 2, 3, padding=1) for _ in widths)

    def forward(self, x):
        maps = []
        for down in self.down:
            x = down(x).tanh()
            maps.append(x)
        maps = [lateral(x).relu() for lateral, x in zip(self.lateral, maps, strict=True)]
        return [head(x).sigmoid() for head, x in zip(self.head, maps, strict=True)]


class Pyramid(nn.Module):
    """A backbone whose stages' maps are kept, while the last is also what goes on."""

    def __init__(self, count):
        super().__init__()
        self.stages = nn.ModuleList(Pair(8 if i else 3, 8, 2) for i in range(count))
        self.lateral = nn.ModuleList(nn.Conv2d(8, 6, 1) for _ in range(count))
        self.top = nn.Conv2d(8, 6, 1)

    def forward(self, x):
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [lateral(x).relu() for lateral, x in zip(self.lateral, maps, strict=True)] + [self.top(x)]


class Crossed(nn.Module):
    """Two turns of the same statements, of which the second is given what the first was given, after what it made."""

    def __init__(self):
        super().__init__()
        self.first = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.second = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

    def forward(self, x):
        y = torch.tanh(x)
        for first, second in zip(self.first, self.second, strict=True):
            made = first(x).sin()
            x, y = second(y).cos(), made
        return x * y


class Tokens(nn.Module):
    """Patches, a table of positions, and linear layers whose result is split in three, as in a ViT."""

    def __init__(self, width, depth):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.table = nn.Parameter(torch.rand(1, 6, width))
        self.layers = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(depth))

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.table
        for layer in self.layers:
            q, k, v = layer(x).reshape(*x.shape[:2], 3, x.shape[2]).unbind(2)
            x = q * k.tanh() * v
        return x


class Again(nn.Module):
    """Calls parts of a chain a second time: a convolution, and what has no weights."""

    def __init__(self):
        super().__init__()
        self.parts = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.GELU()))

    def forward(self, x):
        return self.parts[1](self.parts(x)).mean((2, 3))


def body(**modules):
    """The lines of a draft from the body of `define` on; all of its variants give what PyTorch's modules do."""
    torch.manual_seed(0)
    x = torch.rand(2, 3, 16, 24)
    modules = {name: module.eval() for name, module in modules.items()}
    text = draft(modules, {"x": x}, name="net").text
    made = {"__name__": "net"}
    exec(text, made)
    for name, module in modules.items():
        network = made["define_network"](module.state_dict(), name, input_shape=tuple(x.shape))
        report = netdefs.compare(network, module, x.numpy())
        assert report.ok, report.verdict
    lines = text[: text.index("\n\n\nmodel = ")].splitlines()
    start = lines.index('    """') + 1
    return [line for line in lines[start:] if line], made["VARIANTS"]


def defined(lines, name):
    """The body of a function of a draft."""
    start = next(i for i, line in enumerate(lines) if line.startswith(f"def {name}("))
    stop = next((i for i, line in enumerate(lines) if i > start and line.startswith("def ")), len(lines))
    return lines[start:stop]


def test_a_number_in_the_middle_of_a_name_counts():
    parts = {f"block{i}_down": Pair(3 if i == 1 else 8, 8) for i in range(1, 5)}
    lines, _ = body(net=Chain(**parts))
    assert lines[:2] == ["    for i in range(4):", '        x = pair(net / f"block{i + 1}_down", x)']


def test_numbers_that_step():
    parts = [part for i in range(4) for part in (nn.Conv2d(8 if i else 3, 8, 3, padding=1), nn.ELU())]
    lines, _ = body(net=Chain(features=nn.Sequential(*parts)))
    assert lines[0] == "    for i in range(4):" and len(lines) == 3
    assert 'f"features.{2 * i}"' in lines[1] and 'f"features.{2 * i + 1}"' in lines[1]


def test_numbers_that_do_not_step_evenly_are_no_loop():
    parts = {f"part{i}": Pair(3 if i == 1 else 8, 8) for i in (1, 2, 4, 8)}
    lines, _ = body(net=Chain(**parts))
    assert not [line for line in lines if line.strip() == "for i in range(4):"]
    assert sum("pair(" in line for line in lines[: lines.index('    return net.output(x, "output")')]) >= 3


def test_the_first_turn_differs():
    blocks = nn.Sequential(Pair(3, 8, 2), *(Pair(8, 8) for _ in range(3)))
    lines, _ = body(net=Chain(blocks=blocks))
    assert lines[0] == "    for i, stride in enumerate((2, 1, 1, 1)):"
    assert lines[1] == '        x = pair(net / "blocks" / i, x, stride=stride)'
    assert defined(lines, "pair")[0] == "def pair(net: Network, x: Tensor, stride: int = 1) -> Tensor:"


def test_loops_in_loops():
    def stage(inputs, outputs, count):
        return nn.Sequential(Pair(inputs, outputs, 2), *(Pair(outputs, outputs) for _ in range(count - 1)))

    lines, _ = body(net=Chain(stage0=stage(3, 4, 2), stage1=stage(4, 8, 3), stage2=stage(8, 12, 4)))
    assert lines[:3] == [
        "    for i, (blocks, channels) in enumerate(((2, 4), (3, 8), (4, 12))):",
        "        for j in range(blocks):",
        '            x = pair(net / f"stage{i}" / j, x, channels, stride=2 if j == 0 else 1)',
    ]


def test_what_is_kept_of_every_turn():
    lines, _ = body(net=Levels(4))
    loops = [line.strip() for line in lines if line.strip().startswith("for ")]
    assert len(loops) >= 2 and any("enumerate(outs)" in loop for loop in loops)
    assert sum(".append(" in line for line in lines) >= 2 and sum("lateral." in line for line in lines) == 1


def test_what_is_kept_and_handed_on():
    lines, _ = body(net=Pyramid(3))
    assert [line.strip() for line in lines[:6] if ".conv(" not in line] == [
        "outs = []",
        "for i in range(3):",
        'x = net.sin(x, f"stages.{i}.sin")',
        "outs.append(x)",
    ]
    assert any('net.conv(x, "top"' in line for line in lines)


def test_what_a_turn_was_given_is_not_overwritten():
    lines, _ = body(net=Crossed())
    assert sum("net.conv(" in line for line in lines) == 6  # a loop would need a variable more


def test_parts_that_are_called_again():
    lines, _ = body(net=Again())
    assert any(".call(1)" in line and ".gelu(" in line for line in lines)


def test_two_turns_that_differ_are_two_lines():
    stages = {f"stage{i}": nn.Sequential(Pair(4 * i, 4 * i + 4, 2), Pair(4 * i + 4, 4 * i + 4)) for i in (1, 2, 3)}
    lines, _ = body(net=Chain(stem=nn.Conv2d(3, 4, 1), **stages))
    assert lines[1:4] == [
        "    for i, channels in enumerate((8, 12, 16)):",
        '        x = pair(net / f"stage{i + 1}" / 0, x, channels, stride=2)',
        '        x = pair(net / f"stage{i + 1}" / 1, x, channels)',
    ]


def test_parts_that_only_some_have():
    names = ("one", "two", "three", "four")
    parts = {name: Pair(8, 8, skip=name != "one", gate=name in ("two", "four")) for name in names}
    lines, _ = body(net=Chain(stem=nn.Conv2d(3, 8, 1), **parts))
    assert [line.strip() for line in lines[1:5]] == [
        'x = pair(net / "one", x)',
        'x = pair(net / "two", x, gate=True, add=True)',
        'x = pair(net / "three", x, add=True)',
        'x = pair(net / "four", x, gate=True, add=True)',
    ]
    function = defined(lines, "pair")
    assert function[0] == "def pair(net: Network, x: Tensor, gate: bool = False, add: bool = False) -> Tensor:"
    assert [line.strip() for line in function if line.strip().startswith("if ")] == ["if gate:", "if add:"]


def test_a_last_part_that_only_some_have():
    names = ("one", "two", "three", "four", "five", "six")
    parts = {name: Pair(8, 8, skip=name in ("two", "five")) for name in names}
    lines, _ = body(net=Chain(stem=nn.Conv2d(3, 8, 1), **parts))
    assert [line.strip() for line in lines[1:4]] == [
        'x = pair(net / "one", x)',
        'x = pair(net / "two", x, add=True)',
        'x = pair(net / "three", x)',
    ]
    assert defined(lines, "pair")[-3:] == ["    if add:", "        y = net.add(x, y)", "    return y"]


def test_variants_differ_in_numbers():
    def chain(width, depth):
        return Chain(stem=nn.Conv2d(3, width, 3), blocks=nn.Sequential(*(Pair(width, width) for _ in range(depth))))

    lines, variants = body(small=chain(8, 3), large=chain(12, 5))
    assert variants == {"small": {"channels": 8, "blocks": 3}, "large": {"channels": 12, "blocks": 5}}
    assert '    blocks = config["blocks"]' in lines and "    for i in range(blocks):" in lines


def test_shapes_that_follow_from_a_width_are_no_arguments():
    lines, variants = body(small=Tokens(8, 2), large=Tokens(12, 3))
    assert variants == {"small": {"channels": 8, "blocks": 2}, "large": {"channels": 12, "blocks": 3}}
    assert any('net.parameter("table", (1, 6, channels))' in line for line in lines)


def test_variants_of_other_structure_are_refused():
    small = Chain(stem=nn.Conv2d(3, 8, 3), blocks=nn.Sequential(Pair(8, 8), Pair(8, 8)))
    with pytest.raises(NetdefsError, match="one, other are not variants of one network"):
        draft({"one": small.eval(), "other": Levels(3).eval()}, {"x": torch.rand(2, 3, 16, 24)}, name="net")
