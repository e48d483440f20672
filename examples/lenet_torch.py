"""LeNet-5 in PyTorch, with the state_dict keys of tensorrtx's example.

Paper: LeCun et al., Gradient-Based Learning Applied to Document Recognition,
http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf. Upstream: wang-xinyu/tensorrtx, lenet/gen_wts.py: ReLU and max
pooling in place of the paper's sigmoids and trainable subsampling.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class LeNet5(nn.Module):
    """(N, 1, 32, 32) in; `logits` and `prob`, their softmax, both (N, num_classes), out."""

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.flatten(1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        logits = self.fc3(x)
        return {"logits": logits, "prob": logits.softmax(dim=1)}


def lenet5(num_classes: int = 10) -> LeNet5:
    return LeNet5(num_classes)
