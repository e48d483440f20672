"""Modules that do what modules should not, and that people have all the same: traced, or refused with the reason."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.utils import checkpoint

from netdefs.core.errors import NetdefsError
from netdefs.scaffold import scaffold


class Odd(nn.Module):
    """Two convolutions; `forward` is what is odd."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)


class KeepsItsResult(Odd):
    def forward(self, x):
        self.seen = self.first(x)
        return self.second(self.seen)


@dataclasses.dataclass
class Result:
    features: torch.Tensor
    rest: list
    loss: object = None


class ReturnsADataclass(Odd):
    def forward(self, x):
        x = self.first(x)
        return Result(x, [self.second(x)])


class ReturnsMoreThanTensors(Odd):
    def forward(self, x):
        return {"out": self.second(self.first(x)), "aux": None, "stride": 1}


@torch.jit.script
def swish(x: torch.Tensor) -> torch.Tensor:
    return x * x.sigmoid()


class CallsAScriptedFunction(Odd):
    def forward(self, x):
        return self.second(swish(self.first(x)))


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class HasItsOwnGradient(Odd):
    def forward(self, x):
        return self.second(Swish.apply(self.first(x)))


class SavesMemory(Odd):
    def forward(self, x):
        return self.second(checkpoint.checkpoint(self.first, x, use_reentrant=False))


class NormsItsWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
        self.second = nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 1))

    def forward(self, x):
        return self.second(self.first(x))


class PutsBehindAMask(Odd):
    def forward(self, x):
        x = self.first(x)
        x[x < 0] = 0.25
        x[x.mean((2, 3)) > 0.3] = -1.0
        return self.second(x)


class IsHooked(Odd):
    def __init__(self):
        super().__init__()
        self.seen = {}
        self.first.register_forward_hook(lambda module, given, made: self.seen.update(first=made))

    def forward(self, x):
        return self.second(self.first(x)) + self.seen["first"]


class CountsItsCalls(Odd):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        return self.second(self.first(x))


class IsCompiled(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.compile(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()))

    def forward(self, x):
        return self.body(x)


ODD = [
    *(KeepsItsResult, ReturnsADataclass, ReturnsMoreThanTensors, CallsAScriptedFunction, HasItsOwnGradient),
    *(SavesMemory, NormsItsWeights, PutsBehindAMask, IsHooked, CountsItsCalls, IsCompiled),
]


@pytest.mark.parametrize("kind", ODD, ids=lambda kind: kind.__name__)
def test_odd_modules(tmp_path, kind):
    torch.manual_seed(0)
    verdict = scaffold(kind().eval(), torch.rand(2, 3, 16, 24), tmp_path / "odd.py", compiles=False)
    assert verdict.clean and verdict.variants[0].also == ["batch 3 of 48x88"], verdict.text


class Box:
    def __init__(self, tensor):
        self.tensor = tensor


class ReturnsItsOwn(Odd):
    def forward(self, x):
        return Box(self.first(x))


class TakesANumber(Odd):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x):
        return self.second(self.first(x)) * self.scale.item()


class HoldsTorchScript(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 1)))

    def forward(self, x):
        return self.body(x)


REFUSED = [
    (ReturnsItsOwn, r"it returns a Box: tensors, and tuples, lists, dicts and dataclasses do\."),
    (TakesANumber, r"test_captures\.py, line \d+: .*it needs a number that is one of a tensor's values, as \.item"),
    (HoldsTorchScript, r"body is TorchScript: give the Python module that it was made of\."),
]


@pytest.mark.parametrize(("kind", "says"), REFUSED, ids=lambda each: getattr(each, "__name__", ""))
def test_what_is_refused_says_why(tmp_path, kind, says):
    with pytest.raises(NetdefsError, match=says):
        scaffold(kind().eval(), torch.rand(2, 3, 16, 24), tmp_path / "odd.py", compiles=False)
    assert not list(tmp_path.iterdir())
