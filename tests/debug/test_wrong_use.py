"""`compare` on what people pass by mistake, and on modules that do unusual things: no silent error, and a next step."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import netdefs
from netdefs.core.errors import CompareError, InputError
from tests.debug.nets import Net, build, network, picture, seeded


@pytest.fixture
def module():
    return seeded(Net())


X = picture()


def compare(module, x=X, **options):
    return netdefs.compare(network(seeded(Net())), module, x, **options)


def test_arguments_of_another_kind(module):
    net = network(module)
    for given, match in (
        ("a.engine", r"pass netdefs\.load_engine\('a\.engine'\)"),
        (Path("a.engine"), r"pass netdefs\.load_engine\('a\.engine'\)"),
        (module, "The network comes first, the PyTorch module second: exchange them"),
    ):
        with pytest.raises(CompareError, match=match):
            netdefs.compare(given, module, picture())
    for given, match in (
        (module.state_dict(), r"weights alone: make the module, and load them with module\.load_state_dict"),
        (Net, r"That is a class: pass an object of it, Net\(\.\.\.\)"),
        (module.forward, "That is a method of a module: pass the module itself"),
    ):
        with pytest.raises(CompareError, match=match):
            netdefs.compare(net, given, picture())


@pytest.mark.parametrize(
    ("x", "match"),
    [
        ("a.jpg", r"an array, and 'a\.jpg' a name: np\.load reads an \.npy, netdefs\.vision a picture"),
        (None, "There are no inputs to compare on"),
        (picture().tolist(), "In input 1 of 2: .* of type list"),
        ((i for i in [picture()]), r"list\(\.\.\.\)"),
        (picture().astype(np.float64), r"must be float32, and this is float64.*input\.astype\(np\.float32\)"),
        (picture().astype(np.uint8), "Is it a picture as it was read"),
        (torch.from_numpy(picture()).bfloat16(), r"pass input\.float\(\)"),
        (torch.empty(2, 3, 32, 48, device="meta"), "on the device 'meta', which has no values"),
        (picture().transpose(0, 2, 3, 1), r"It looks like \(N, H, W, C\): pass x\.transpose\(0, 3, 1, 2\)"),
        (picture(3, 3, 32, 48), r"must be \(2, 3, 32, 48\), and this is \(3, 3, 32, 48\)"),
        ({"image": picture()}, "There is no input 'image'"),
    ],
)
def test_inputs_that_do_not_fit(module, x, match):
    with pytest.raises(InputError, match=match):
        compare(module, x)


def test_a_tensor_that_needs_a_gradient(module):
    x = torch.from_numpy(picture()).requires_grad_()
    assert compare(module, x).ok
    assert x.grad is None


def test_training_mode_is_told_and_left_as_it_was(module):
    module.train()
    module.layer1.eval()
    statistics = module.bn1.running_mean.clone()
    report = compare(module)
    assert report.ok
    assert any("was in training mode; it was compared in eval mode" in note for note in report.notes)
    assert module.training
    assert not module.layer1.training
    assert module.layer2[0].bn1.training
    assert torch.equal(module.bn1.running_mean, statistics)


def test_a_module_partly_without_values(module):
    module.layer1.to("meta")
    with pytest.raises(CompareError, match=r"has no values: layer1\.0\.conv1\.weight is on the device 'meta'"):
        compare(module)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use")
def test_a_module_on_a_gpu(module):
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        assert compare(module.cuda()).ok
    assert next(module.parameters()).is_cuda


def test_a_module_in_mixed_types(module):
    module.fc2.double()
    with pytest.raises(CompareError, match=r"can't run on these inputs: RuntimeError: .*same dtype"):
        compare(module)


def test_names_that_match_nothing_show_the_nearest(module):
    with pytest.raises(CompareError, match=r"matches 'layr1\.0\.conv1'\. Near: layer1\.0\.conv1"):
        compare(module, layers="layr1.0.conv1")
    with pytest.raises(CompareError, match=r"The module layer1 returns the very tensor of layer1\.1: name that"):
        compare(module, layers="layer1")
    with pytest.raises(CompareError, match=r"The module layer1\.0\.relu is called more than once \(2 times\)"):
        compare(module, layers="layer1.0.relu")

    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv_1 = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.conv_1(x)

    with pytest.raises(CompareError, match=r"No layer has the name .* Alike are conv1 and conv_1\. To compare the out"):
        compare(Other())


def test_hooks_of_its_own_run_and_stay(module):
    """What a hook makes of an output is what PyTorch computes with: it counts as the module's."""
    calls = []

    def scale(*_):
        calls.append(1)
        return 2 * _[-1]

    handle = module.layer1[0].conv1.register_forward_hook(scale)
    before = module.layer1[0].conv1.register_forward_pre_hook(lambda *_: calls.append(1))
    report = compare(module)
    assert report.first_bad.name == "layer1.0.conv1"
    assert report.cause.kind == "scale"
    assert calls
    assert len(module.layer1[0].conv1._forward_hooks) == 1
    assert len(module.layer1[0].conv1._forward_pre_hooks) == 1
    assert all(not inner._forward_hooks for name, inner in module.named_modules() if name != "layer1.0.conv1")
    handle.remove()
    before.remove()
    assert compare(module).ok


def test_a_hook_that_fails_leaves_no_hooks_of_ours(module):
    def fail(*_):
        raise ValueError("mine")

    module.mix.register_forward_hook(fail)
    module.train()
    with pytest.raises(CompareError, match="can't run on these inputs: ValueError: mine"):
        compare(module)
    assert sum(len(inner._forward_hooks) for inner in module.modules()) == 1
    assert module.training


def test_weight_norm(module):
    """Its state_dict holds what the weight is made of: it counts as the weight."""
    torch.nn.utils.parametrizations.weight_norm(module.mix)
    report = compare(module.eval())
    assert report.ok
    assert report.weights.status in ("identical", "rounded")
    assert not any("parametrizations" in finding.key for finding in report.weights.keys)
    old = seeded(Net())
    with pytest.warns(FutureWarning):
        torch.nn.utils.weight_norm(old.mix)
    assert compare(old).weights.status in ("identical", "rounded")


def test_in_place_operations(module):
    """Net's ReLUs work in place, and it adds with +=: what is compared is what each layer returned."""

    class InPlace(Net):
        def forward(self, x):
            return super().forward(x.mul_(1.0)).add_(0.0)

    x = picture()
    before = x.copy()
    assert compare(seeded(InPlace()), x).ok
    np.testing.assert_array_equal(x, before)


def test_modules_that_are_called_twice_and_modules_that_are_the_same():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(3, 3, 1)
            self.b = self.a
            self.c = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.c(self.b(self.a(x)))

    module = seeded(Shared())

    def define(net, x):
        return net.output(net.conv(net.conv(net.conv(x, "a", 3, 1), "b", 3, 1), "c", 3, 1), "out")

    report = netdefs.compare(build(define, module.state_dict(), (1, 3, 4, 4)), module, picture(1, 3, 4, 4))
    reasons = {item.name: item.reason for item in report.unmatched}
    assert report.ok
    assert reasons["a"] == "is called more than once (2 times)"
    assert "is the same module as another (a)" in reasons["b"]
    assert "c" in {row.name for row in report.rows}


@pytest.mark.parametrize("kind", ["tuple", "dict", "nested", "none"])
def test_what_the_module_returns(kind):
    class Returns(Net):
        def forward(self, x):
            y = super().forward(x)
            return {
                "tuple": (y, None, 3),
                "dict": {"logits": y, "loss": None},
                "nested": [{"scores": (y, y.argmax(1))}],
                "none": None,
            }[kind]

    report = compare(seeded(Returns()))
    assert report.ok
    outputs = [row.name for row in report.rows if row.kind == "output"]
    assert outputs == ([] if kind == "none" else ["logits"])
    if kind == "none":
        assert any(item.name == "logits" and "returns nothing" in item.reason for item in report.unmatched)


def test_what_is_random_is_named():
    class Random(Net):
        def forward(self, x):
            return super().forward(F.dropout(x, 0.5, training=True))

    report = compare(seeded(Random()))
    assert not report.ok
    assert any("not the same twice on one input: conv1 is the first" in note for note in report.notes)


def test_nan_in_the_reference_itself(module):
    with torch.no_grad():
        module.mix.weight[0] = float("nan")
    report = netdefs.compare(network(module), module, picture())
    assert not report.ok
    assert "PyTorch's own values hold NaN or infinity from mix on" in report.verdict
    assert "nothing can be said of" in report.verdict


def test_a_module_in_half_precision(module):
    report = compare(module.half())
    assert "The module computes in float16." in report.notes
    assert report.weights.status == "rounded"


@pytest.mark.filterwarnings("ignore")
def test_quantized_modules_and_compiled_ones(module):
    dynamic = torch.ao.quantization.quantize_dynamic(copy.deepcopy(module), {nn.Linear})
    report = compare(dynamic)
    assert {row.name for row in report.rows if row.verdict == "own error"} == {"fc1", "fc2"}
    assert compare(torch.compile(module)).ok


def test_a_module_that_needs_gradients():
    class Grad(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            y = self.conv(x)
            y.sum().backward()
            return y

    module = seeded(Grad())
    net = build(lambda net, x: net.output(net.conv(x, "conv", 4, 1), "out"), module.state_dict(), (1, 3, 4, 4))
    with pytest.raises(CompareError, match=r"can't run on these inputs: .*does not require grad"):
        netdefs.compare(net, module, picture(1, 3, 4, 4))
