"""SuperPoint in PyTorch, with the state_dict keys of upstream's checkpoint.

Paper: https://arxiv.org/abs/1712.07629.
Upstream: magicleap/SuperPointPretrainedNetwork, demo_superpoint.py.
"""

from torch import Tensor, nn

ENCODER = ((1, 64), (64, 64), (64, 128), (128, 128))


class SuperPoint(nn.Module):
    """(N, 1, H, W) in, {"semi": (N, 65, H/8, W/8), "desc": (N, 256, H/8, W/8)} out; upstream's come as a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2, 2)
        for i, (before, channels) in enumerate(ENCODER, start=1):
            self.add_module(f"conv{i}a", nn.Conv2d(before, channels, 3, padding=1))
            self.add_module(f"conv{i}b", nn.Conv2d(channels, channels, 3, padding=1))
        for letter, channels in (("P", 65), ("D", 256)):
            self.add_module(f"conv{letter}a", nn.Conv2d(128, 256, 3, padding=1))
            self.add_module(f"conv{letter}b", nn.Conv2d(256, channels, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        for i in range(1, len(ENCODER) + 1):
            x = x if i == 1 else self.pool(x)
            for letter in "ab":
                x = self.relu(self.get_submodule(f"conv{i}{letter}")(x))
        semi = self.convPb(self.relu(self.convPa(x)))
        desc = self.convDb(self.relu(self.convDa(x)))
        return {"semi": semi, "desc": desc / desc.norm(dim=1, keepdim=True)}


MODELS = {"superpoint": SuperPoint}
