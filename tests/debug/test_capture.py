import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from netdefs.core.errors import CompareError
from netdefs.debug.reference import Reference
from netdefs.debug.scan import returned_values
from tests.debug.nets import Net, picture, seeded


def take(module, wanted, *arguments):
    """What `stream` gives, by name, and the reference it came from."""
    found = {}
    reference = Reference(module, arguments or (picture(),))
    reference.stream(wanted, lambda name, array: found.setdefault(name, array))
    return found


def seen(module, *arguments):
    return Reference(module, arguments or (picture(),)).scan().modules


def test_values_are_those_of_the_moment():
    """bn1's output is changed in place by the ReLU, and bn2's by +=: captured later, both would be wrong."""
    module = seeded(Net())
    x = torch.from_numpy(picture())
    with torch.no_grad():
        stem = module.bn1(module.conv1(x))
        block = module.layer1[0]
        y = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(F.relu(stem))))))
    found = take(module, ["bn1", "relu", "layer1.0.bn2"])
    np.testing.assert_allclose(found["bn1"], stem, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["relu"], F.relu(stem), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["layer1.0.bn2"], y, rtol=1e-5, atol=1e-5)
    assert (found["bn1"] < 0).any()
    assert (found["layer1.0.bn2"] < 0).any()


def test_only_what_is_wanted_is_copied():
    assert list(take(seeded(Net()), ["mix", "()"])) == ["mix", "()"]


def test_what_a_scan_tells():
    scan = Reference(seeded(Net()), (picture(),)).scan()
    found = scan.modules
    assert list(found)[:3] == ["conv1", "bn1", "relu"]
    assert (found["conv1"].type, found["conv1"].shape, found["conv1"].nbytes) == ("Conv2d", (2, 8, 16, 24), 4 * 6144)
    assert found["layer1.0.relu"].calls == 2
    assert found["relu"].reason == ""
    assert scan.returned["()"].shape == (2, 10)
    assert scan.returned["()"].same_as == "fc2"


def test_a_container_that_hands_on_a_tensor_is_recognized():
    found = seen(seeded(Net()))
    # The block's last tensor comes from its ReLU; the Sequential hands on the block's.
    assert found["layer1.1"].same_as == "layer1.1.relu"
    assert found["layer1"].same_as == "layer1.1.relu"
    assert found["layer2.0.downsample"].same_as == "layer2.0.downsample.1"


def test_a_tensor_changed_in_place_is_another():
    module = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Identity(), nn.ReLU(inplace=False))
    found = seen(nn.ModuleDict({"a": module})["a"].eval())
    assert [found[str(i)].same_as for i in range(4)] == ["", "", "1", ""]


def test_dead_tensors_are_not_taken_for_others():
    """Memory, and Python's ids, are used again after a tensor is gone."""
    module = nn.Sequential(*(nn.Linear(4, 4) for _ in range(50)))
    found = seen(module, np.ones((1, 4), np.float32))
    assert not any(entry.same_as for entry in found.values())


class Odd(nn.Module):
    """Everything that is not one tensor."""

    def __init__(self):
        super().__init__()
        self.listed = Returns(lambda x: [x, x])
        self.mapped = Returns(lambda x: {"a": x})
        self.number = Returns(lambda x: 3)
        self.sparse = Returns(lambda x: x.to_sparse())
        self.complex = Returns(lambda x: torch.fft.fft(x))
        self.whole = Returns(lambda x: x.argmax(1))
        self.skipped = nn.Identity()
        self.shared = nn.Identity()
        self.again = self.shared
        self.many = nn.ModuleList([nn.Identity()])

    def forward(self, x):
        for part in (self.listed, self.mapped, self.number, self.sparse, self.complex, self.whole):
            part(x)
        return {"out": self.many[0](self.shared(x) + 1), "deep": [x + 2, (x + 3, None)]}


class Returns(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def test_why_a_module_cannot_be_compared():
    found = {name: entry.reason for name, entry in seen(Odd(), picture(1, 3, 4, 4)).items()}
    assert found == {
        "listed": "returns several values (a list of 2)",
        "mapped": "returns several values (a dict of 1)",
        "number": "returns no tensor (int)",
        "sparse": "returns an unusual tensor (sparse)",
        "complex": "returns an unusual tensor (torch.complex64)",
        "whole": "",
        "skipped": "is never called",
        "shared": "",
        "again": "is the same module as another (shared)",
        "many": "is a list of modules",
        "many.0": "",
    }


def test_returned_values_have_labels():
    scan = Reference(Odd(), (picture(1, 3, 4, 4),)).scan()
    assert {label: entry.reason for label, entry in scan.returned.items()} == {
        "()['out']": "",
        "()['deep'][0]": "",
        "()['deep'][1][0]": "",
        "()['deep'][1][1]": "returns no tensor (NoneType)",
    }
    assert list(returned_values(torch.zeros(1))) == ["()"]


def test_flags_hooks_and_gradients_are_left_as_they_were():
    module = seeded(Net())
    module.train()
    module.layer1.eval()
    before = [m.training for m in module.modules()]
    statistics = module.bn1.running_mean.clone()
    reference = Reference(module, (picture(),))
    assert reference.training
    reference.scan()
    reference.stream(["bn1"], lambda name, array: None)
    assert [m.training for m in module.modules()] == before
    assert torch.equal(module.bn1.running_mean, statistics)
    assert all(not m._forward_hooks for m in module.modules())
    assert all(p.requires_grad and p.grad is None for p in module.parameters())


def test_everything_is_restored_after_an_error():
    module = Returns(lambda x: x + torch.ones(7)).train()
    with pytest.raises(CompareError, match="The PyTorch module can't run on these inputs: RuntimeError: The size of"):
        Reference(module, (picture(),)).scan()
    assert module.training
    assert not module._forward_hooks


def test_hooks_of_the_module_itself_count():
    module = nn.Sequential(nn.Identity())
    module[0].register_forward_hook(lambda module, args, output: output * 2)
    found = take(module, ["0"], np.ones((2,), np.float32))
    np.testing.assert_array_equal(found["0"], [2, 2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_modules_of_other_types(dtype):
    module = nn.Sequential(nn.Linear(3, 2)).to(dtype).eval()
    x = picture(4, 3)
    found = take(module, ["0"], x)
    assert found["0"].dtype == (np.float64 if dtype == torch.float64 else np.float32)
    with torch.no_grad():
        np.testing.assert_array_equal(found["0"], module(torch.from_numpy(x).to(dtype)).to(torch.float64))


def test_tensors_of_inference_mode():
    """PyTorch does not count the changes of these, so nothing is said about which are the same."""

    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm1d(3)
            self.relu = nn.ReLU(inplace=True)

        @torch.inference_mode()
        def forward(self, x):
            return self.relu(self.bn(x))

    found = take(Inner().eval(), ["bn", "relu"], picture(4, 3))
    assert (found["bn"] < 0).any()
    np.testing.assert_array_equal(found["relu"], np.maximum(found["bn"], 0))
    assert not any(entry.same_as for entry in seen(Inner().eval(), picture(4, 3)).values())


def test_a_random_module_gives_another_digest():
    reference = Reference(Returns(lambda x: F.dropout(x, training=True)), (picture(),))
    assert reference.scan().digest != reference.stream([], lambda name, array: None)
    reference = Reference(seeded(Net()), (picture(),))
    assert reference.scan().digest == reference.stream([], lambda name, array: None)


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script_method:DeprecationWarning"
)  # torch's own, when it imports dynamo
def test_a_compiled_module_is_unwrapped():
    reference = Reference(torch.compile(seeded(Net())), (picture(),))
    assert "layer1.0.conv1" in reference.scan().modules
