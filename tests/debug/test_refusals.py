"""What `compare` refuses, with a next step."""

import pytest
import torch
from torch import nn

import netdefs
from netdefs.core.errors import CompareError, InputError
from tests.debug.nets import Net, build, network, picture, seeded


@pytest.fixture(scope="module")
def module():
    return seeded(Net())


@pytest.mark.parametrize("tolerance", [0, -1e-3, float("nan"), float("inf"), "1e-3", True])
def test_a_tolerance_that_is_none(module, tolerance):
    with pytest.raises(CompareError, match="tolerance="):
        netdefs.compare(network(module), module, picture(), tolerance=tolerance)


def test_arguments_that_make_no_sense(module):
    net = network(module)
    with pytest.raises(CompareError, match="mode='all'"):
        netdefs.compare(net, module, picture(), mode="all")
    with pytest.raises(CompareError, match=r"No comparable layer matches 'layer1\.0\.conv9'. Near: layer1.0.conv"):
        netdefs.compare(net, module, picture(), layers="layer1.0.conv9")
    with pytest.raises(CompareError, match="not dict"):
        netdefs.compare({}, module, picture())
    with pytest.raises(CompareError, match=r"needs a torch.nn.Module to compare with, not OrderedDict"):
        netdefs.compare(net, module.state_dict(), picture())
    with pytest.raises(CompareError, match="can't run on these inputs: RuntimeError"):
        netdefs.compare(net, seeded(nn.Sequential(nn.Conv2d(5, 8, 3))), picture())
    with pytest.raises(InputError):
        netdefs.compare(net, module, picture(1, 3, 32, 48))
    with pytest.raises(InputError, match=r"1 input: input\. 2 were given"):
        netdefs.compare(net, module, (picture(), picture()))


def test_a_wrapped_module(module):
    """As nn.DataParallel does it: every name gets a prefix."""

    class Wrapped(nn.Module):
        def __init__(self, gives_output):
            super().__init__()
            self.module = module
            self.gives_output = gives_output

        def forward(self, x):
            x = self.module(x)
            return x if self.gives_output else None

    with pytest.raises(
        CompareError, match=r"prefix 'module\.'\. Compare with the inner module: module\.module\. To comp"
    ):
        netdefs.compare(network(module), Wrapped(True), picture())
    report = netdefs.compare(network(module), Wrapped(True), picture(), layers=())
    assert "no layer was compared, but the output logits agrees with PyTorch" in report.verdict
    with pytest.raises(CompareError, match="inner module"):
        netdefs.compare(network(module), nn.DataParallel(module), picture())
    with pytest.raises(CompareError, match=r"No output can be matched\. .* inner module: module\.module"):
        netdefs.compare(network(module), Wrapped(False), picture())


def test_a_network_whose_names_have_a_prefix():
    def define(net, x):
        return net.output((net / "backbone").conv(x, "conv", 4, 1), "out")

    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.conv(x)

    inner = seeded(Inner())
    net = build(define, {f"backbone.{key}": value for key, value in inner.state_dict().items()}, (1, 3, 4, 4))
    with pytest.raises(CompareError, match=r"1 name matches once the network's lose the prefix 'backbone\.'"):
        netdefs.compare(net, inner, picture(1, 3, 4, 4))


def test_modules_that_have_the_names_and_cannot_be_compared():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.conv(self.conv(x))

    module = seeded(Twice())
    net = build(lambda net, x: net.output(net.conv(x, "conv", 3, 1), "out"), module.state_dict(), (1, 3, 4, 4))
    with pytest.raises(
        CompareError, match=r"No layer can be compared\. .* conv is called more than once \(2 times\)\."
    ):
        netdefs.compare(net, module, picture(1, 3, 4, 4))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_traced_module(module):
    traced = torch.jit.trace(module, torch.from_numpy(picture()))
    with pytest.raises(CompareError, match=r"hooks don't fire in it.* Pass the nn\.Module that it was made from"):
        netdefs.compare(network(module), traced, picture())


def test_a_module_without_values(module):
    with torch.device("meta"):
        empty = Net()
    with pytest.raises(CompareError, match=r"The module has no values: conv1\.weight is on the device 'meta'"):
        netdefs.compare(network(module), empty, picture())


@pytest.mark.parametrize("layers", [3, [3], None])
def test_layers_that_are_no_names(module, layers):
    with pytest.raises(CompareError, match=r"layers=.*it is a name or a glob"):
        netdefs.compare(network(module), module, picture(), layers=layers)
