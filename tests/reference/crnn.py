"""CRNN in PyTorch, with the state_dict keys of upstream's checkpoints.

Paper: https://arxiv.org/abs/1507.05717.
Upstream: meijieru/crnn.pytorch, models/crnn.py.
"""

from torch import Tensor, nn


class BidirectionalLSTM(nn.Module):
    def __init__(self, channels: int, hidden: int, out: int):
        super().__init__()
        self.rnn = nn.LSTM(channels, hidden, bidirectional=True)
        self.embedding = nn.Linear(2 * hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = self.rnn(x)
        return self.embedding(steps.flatten(0, 1)).unflatten(0, steps.shape[:2])


class CRNN(nn.Module):
    """(N, 1, 32, W) in, logits (N, T, num_classes) out; upstream's come as (T, N, num_classes)."""

    def __init__(self, num_classes: int = 37, hidden: int = 256):
        super().__init__()
        self.cnn = nn.Sequential()
        before = 1
        for i, channels in enumerate((64, 128, 256, 256, 512, 512, 512)):
            kernel, padding = (2, 0) if i == 6 else (3, 1)
            self.cnn.add_module(f"conv{i}", nn.Conv2d(before, channels, kernel, 1, padding))
            if i in (2, 4, 6):
                self.cnn.add_module(f"batchnorm{i}", nn.BatchNorm2d(channels))
            self.cnn.add_module(f"relu{i}", nn.ReLU(True))
            if i in (0, 1):
                self.cnn.add_module(f"pooling{i}", nn.MaxPool2d(2, 2))
            if i in (3, 5):
                self.cnn.add_module(f"pooling{2 if i == 3 else 3}", nn.MaxPool2d((2, 2), (2, 1), (0, 1)))
            before = channels
        first, second = BidirectionalLSTM(before, hidden, hidden), BidirectionalLSTM(hidden, hidden, num_classes)
        self.rnn = nn.Sequential(first, second)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cnn(x)
        assert x.shape[2] == 1, "the picture is not 32 pixels high"
        return self.rnn(x.squeeze(2).permute(2, 0, 1)).transpose(0, 1)


MODELS = {"crnn": CRNN}
